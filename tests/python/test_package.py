"""The package: what is in it and in its distributions, and the ways into it.

The ways: install(), the policy, Runner(loop_factory=...), python -m casyncio. What the interpreter
does with a program, python -m casyncio has to do: the two are run side by side.
"""
# run: timeout=1500

import ast
import asyncio
import contextlib
import csv
import base64
import email
import hashlib
import importlib.util
import inspect
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import textwrap
import threading
import time
import unittest
import zipfile
from pathlib import Path

import support
import casyncio

PACKAGE = Path(casyncio.__file__).parent
ROOT = Path(__file__).resolve().parent.parent.parent
QUICK = {**os.environ, "CFLAGS": "-O0"}  # for a build whose product is not to be fast
SANITIZED = "libasan" in os.environ.get("LD_PRELOAD", "")


def python(*arguments, **options):
    """Runs the interpreter that runs this. Gives the finished process, with its output as text."""
    options = {"stdin": subprocess.DEVNULL, "timeout": 120, "text": True, **options}
    if "input" in options:
        del options["stdin"]
    return subprocess.run([sys.executable, *map(str, arguments)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, **options)


class Directory(unittest.TestCase):
    """A test in an empty directory."""

    def setUp(self):
        self.directory = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.enterContext(contextlib.chdir(self.directory))

    def write(self, name, text):
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path


# ---- stubs ----


def stub_of(module):
    return ast.parse((PACKAGE / f"{module}.pyi").read_text())


def public(tree):
    return {node.name: node for node in tree.body
            if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))}


def parameters(node):
    """The names of a stub's parameters by kind, as inspect has them."""
    kinds = inspect.Parameter
    arguments = node.args
    found = [(name.arg, kinds.POSITIONAL_OR_KEYWORD) for name in arguments.args]
    found += [(arguments.vararg.arg, kinds.VAR_POSITIONAL)] if arguments.vararg else []
    found += [(name.arg, kinds.KEYWORD_ONLY) for name in arguments.kwonlyargs]
    found += [(arguments.kwarg.arg, kinds.VAR_KEYWORD)] if arguments.kwarg else []
    return found


class Stubs(unittest.TestCase):
    def test_there_is_py_typed(self):
        self.assertEqual((PACKAGE / "py.typed").read_text(), "")

    def test_names(self):
        tree = stub_of("__init__")
        listed = next(node.value for node in tree.body
                      if isinstance(node, ast.Assign) and node.targets[0].id == "__all__")
        self.assertEqual(sorted(ast.literal_eval(listed)), sorted(casyncio.__all__))
        taken = [name.name for node in tree.body if isinstance(node, ast.ImportFrom) and node.level
                 for name in node.names]
        self.assertEqual(sorted([*public(tree), *taken]), sorted(casyncio.__all__))

    def test_bases(self):
        for module in "__init__", "server":
            names = importlib.import_module("casyncio" + ("." + module) * (module != "__init__"))
            for name, node in public(stub_of(module)).items():
                if not isinstance(node, ast.ClassDef):
                    continue
                for base in node.bases:
                    base = getattr(base, "value", base) if isinstance(base, ast.Subscript) else base
                    with self.subTest(name, base=ast.unparse(base)):
                        found = eval(ast.unparse(base), {"asyncio": asyncio, **vars(names)})
                        self.assertTrue(issubclass(getattr(names, name), found))

    def test_final_classes(self):
        """A class that cannot be a base is said to be final."""
        basetype = 1 << 10
        for name, node in public(stub_of("__init__")).items():
            if isinstance(node, ast.ClassDef):
                final = "final" in map(ast.unparse, node.decorator_list)
                self.assertEqual(final, not getattr(casyncio, name).__flags__ & basetype, name)

    def test_functions(self):
        for name, node in public(stub_of("__init__")).items():
            if isinstance(node, ast.ClassDef):
                continue
            with self.subTest(name):
                ours = getattr(casyncio, name)
                self.assertEqual(inspect.iscoroutinefunction(ours),
                                 isinstance(node, ast.AsyncFunctionDef))
                self.assertEqual([(each.name, each.kind) for each in
                                  inspect.signature(ours).parameters.values()], parameters(node))

    def test_methods(self):
        """What the stub says of a method can be given to it."""
        kinds = inspect.Parameter
        for name, owner in public(stub_of("__init__")).items():
            for node in owner.body if isinstance(owner, ast.ClassDef) else ():
                if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    continue
                with self.subTest(f"{name}.{node.name}"):
                    method = getattr(getattr(casyncio, name), node.name)
                    said = parameters(node)
                    with contextlib.suppress(ValueError):  # there is none for some C functions
                        inspect.signature(method).bind(
                            *(each for each, kind in said if kind == kinds.POSITIONAL_OR_KEYWORD),
                            **{each: each for each, kind in said if kind == kinds.KEYWORD_ONLY})

    def test_attributes_that_can_be_set(self):
        """The stubs of asyncio have methods where its objects have attributes: acquire() of a Condition is
        that of its lock. Ours has the attribute, so its stub says it."""
        for name, node in public(stub_of("__init__")).items():
            ours = getattr(casyncio, name)
            if not isinstance(node, ast.ClassDef) or name in ("Loop", "Handle", "TimerHandle"):
                continue
            said = [each.target.id for each in node.body if isinstance(each, ast.AnnAssign)]
            have = [each for each, value in vars(ours).items()
                    if inspect.ismemberdescriptor(value) and not each.startswith("_")]
            self.assertEqual(sorted(have), sorted(said), name)

    def test_constructors_without_arguments(self):
        for name in "Lock", "Event":
            with self.subTest(name):
                made = getattr(casyncio, name)
                self.assertEqual(list(inspect.signature(made).parameters), [])
                again = made()
                again.__init__()
                for bad in lambda: made(1), lambda: made(a=1), lambda: again.__init__(1):
                    self.assertRaises(TypeError, bad)

    def test_keywords_of_the_loop(self):
        """No keyword that asyncio's newest loops have is missing."""
        newest = {
            "create_connection": "all_errors happy_eyeballs_delay interleave ssl_shutdown_timeout",
            "create_server": "keep_alive reuse_port ssl_shutdown_timeout start_serving",
            "create_unix_server": "cleanup_socket ssl_shutdown_timeout start_serving",
            "shutdown_default_executor": "timeout",
        }
        stubs = {node.name: node for node in public(stub_of("__init__"))["Loop"].body}
        for name, keywords in newest.items():
            said = {name for name, _ in parameters(stubs[name])}
            self.assertLessEqual(set(keywords.split()), said, name)


# ---- ways in ----


class WaysIn(unittest.TestCase):
    def setUp(self):
        self.addCleanup(casyncio.uninstall)

    def assert_ours(self, loop):
        self.assertIsInstance(loop, casyncio.Loop)
        return loop

    def test_run(self):
        async def main():
            self.assert_ours(asyncio.get_running_loop())
            return 7

        self.assertEqual(casyncio.run(main()), 7)

    def test_run_within_a_loop(self):
        async def main():
            coroutine = main()
            with self.assertRaisesRegex(RuntimeError, "running event loop"):
                casyncio.run(coroutine)
            coroutine.close()

        casyncio.run(main())

    def test_run_with_debug_and_a_factory(self):
        made = []

        def factory():
            made.append(casyncio.new_event_loop())
            return made[-1]

        async def main():
            self.assertIs(asyncio.get_running_loop(), made[0])
            return asyncio.get_running_loop().get_debug()

        self.assertTrue(casyncio.run(main(), debug=True, loop_factory=factory))
        self.assertTrue(made[0].is_closed())

    def test_runners(self):
        async def main():
            return asyncio.get_running_loop()

        with asyncio.Runner(loop_factory=casyncio.new_event_loop) as runner:
            loop = self.assert_ours(runner.run(main()))
            self.assertIs(runner.run(main()), loop)
        self.assertTrue(loop.is_closed())
        with casyncio.Runner() as runner:
            self.assert_ours(runner.run(main()))

    def test_install(self):
        async def main():
            return asyncio.get_running_loop()

        before = type(asyncio.new_event_loop())
        casyncio.install()
        with contextlib.closing(asyncio.new_event_loop()) as loop:
            self.assert_ours(loop)
        self.assert_ours(asyncio.run(main()))
        with asyncio.Runner() as runner:
            self.assert_ours(runner.get_loop())
        casyncio.uninstall()
        with contextlib.closing(asyncio.new_event_loop()) as loop:
            self.assertIs(type(loop), before)

    def test_policy(self):
        asyncio.set_event_loop_policy(casyncio.EventLoopPolicy())
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.assert_ours(loop))
        self.assertIs(asyncio.get_event_loop(), loop)
        asyncio.set_event_loop(None)
        loop.close()

    def test_policy_in_a_thread(self):
        asyncio.set_event_loop_policy(casyncio.EventLoopPolicy())
        outcome = []

        def work():
            with self.assertRaises(RuntimeError):
                asyncio.get_event_loop()
            outcome.append(asyncio.run(asyncio.sleep(0, "done")))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        self.assertEqual(outcome, ["done"])

    def test_accelerate(self):
        names = {name: getattr(asyncio, name) for name in ("Queue", "Lock", "timeout")}
        casyncio.install(accelerate=True)
        for name in names:
            self.assertIs(getattr(asyncio, name), getattr(casyncio, name), name)
        casyncio.uninstall()
        for name in names:
            self.assertIs(getattr(asyncio, name), names[name], name)
            self.assertIsNot(getattr(casyncio, name), names[name], name)

    def test_second_import(self):
        """sys.modules was emptied: the module is still one, with its types."""
        from casyncio import _casyncio

        name = _casyncio.__name__
        self.addCleanup(sys.modules.__setitem__, name, sys.modules.pop(name))
        self.assertIs(importlib.import_module(name), _casyncio)


def interpreters():
    """How this Python calls its module of sub-interpreters: (module, ways to make one), or None."""
    for name in "_interpreters", "_xxsubinterpreters":
        with contextlib.suppress(ImportError):
            module = importlib.import_module(name)
            if name == "_interpreters":
                return module, [{"config": "legacy"}, {"config": "isolated"}]
            return module, [{"isolated": False}, {"isolated": True}]
    return None


@unittest.skipUnless(interpreters(), "this Python has no module of sub-interpreters")
class SubInterpreters(Directory):
    PROGRAM = """
        import sys
        sys.path[:] = {path!r}
        try:
            import casyncio
        except ImportError as error:
            told = str(error)
        else:
            told = 'imported'
        with open({file!r}, 'w') as file:
            file.write(told)
    """

    def test_are_refused(self):
        module, ways = interpreters()
        for number, way in enumerate(ways):
            told = self.directory / f"told{number}"
            program = textwrap.dedent(self.PROGRAM).format(path=sys.path, file=str(told))
            with self.subTest(**way):
                interpreter = module.create(*way.values() if "config" in way else (), **{
                    name: value for name, value in way.items() if name != "config"})
                try:
                    getattr(module, "exec", module.run_string)(interpreter, program)
                finally:
                    module.destroy(interpreter)
                self.assertRegex(told.read_text(), "sub-?interpreter")


# ---- python -m casyncio ----


class MainModule(Directory):
    """The interpreter's behaviour, and ours."""

    SAY = """
        import asyncio, sys
        main = sys.modules['__main__']
        print(sys.argv, sys.path[:3], main.__dict__ is globals())
        print(__spec__ and __spec__.name, __package__)
        print([(name, value) for name, value in sorted(globals().items())
               if name in ('__name__', '__file__', '__cached__', '__doc__', '__annotations__')])
        print(type(__loader__), type(__builtins__))
        if 'fail' in sys.argv:
            raise ValueError('as it was told to')
        if 'leave' in sys.argv:
            sys.exit('bye')
    """

    def assert_same(self, *arguments, before=(), **options):
        """What the program prints and how it ends is the same with and without -m casyncio."""
        theirs = python(*before, *arguments, **options)
        ours = python(*before, "-m", "casyncio", *arguments, **options)
        self.assertEqual(ours.stdout, theirs.stdout)
        self.assertEqual(ours.stderr, theirs.stderr)
        self.assertEqual(ours.returncode, theirs.returncode)
        return ours

    def test_file(self):
        self.write("app.py", self.SAY)
        self.write("elsewhere/other.py", self.SAY)
        os.symlink("elsewhere/other.py", "link.py")
        for name in "app.py", self.directory / "app.py", "elsewhere/other.py", "link.py":
            with self.subTest(name):
                self.assertIn("__main__", self.assert_same(name, "-c", "x").stdout)

    def test_module(self):
        self.write("app.py", self.SAY)
        self.write("package/__init__.py", "")
        self.write("package/__main__.py", self.SAY)
        self.write("package/inner.py", self.SAY)
        for name in "app", "package", "package.inner":
            with self.subTest(name):
                self.assertIn("__main__", self.assert_same("-m", name, "-m", "x").stdout)

    def test_directory_and_zip_file(self):
        self.write("app/__main__.py", self.SAY)
        with zipfile.ZipFile("app.zip", "w") as archive:
            archive.write("app/__main__.py", "__main__.py")
        for name in "app", "app.zip":
            with self.subTest(name):
                self.assertIn("__main__", self.assert_same(name, "x").stdout)

    def test_code_and_standard_input(self):
        text = textwrap.dedent(self.SAY)
        self.assertIn("__main__", self.assert_same("-c", text, "x", "-m").stdout)
        self.assertIn("__main__", self.assert_same("-", "x", input=text).stdout)

    def test_safe_path(self):
        self.write("app.py", self.SAY)
        for arguments in ["app.py"], ["-c", textwrap.dedent(self.SAY)], [self.directory / "app.py"]:
            self.assert_same(*arguments, before=["-P"])

    def test_ends(self):
        self.write("app.py", self.SAY)
        self.assertEqual(self.assert_same("app.py", "fail").returncode, 1)
        self.assertEqual(self.assert_same("app.py", "leave").returncode, 1)
        self.write("interrupted.py", "raise KeyboardInterrupt")
        self.assertEqual(self.assert_same("interrupted.py").returncode, -2)
        self.write("wrong.py", "x = = 1")
        self.assertEqual(self.assert_same("wrong.py").returncode, 1)
        self.write("hook.py", """
            import sys
            sys.excepthook = lambda *error: print(*error[:2], error[2].tb_lineno, error[2].tb_next)
            1 / 0
        """)
        self.assertEqual(self.assert_same("hook.py").returncode, 1)

    def test_what_is_not_there(self):
        self.assertEqual(self.assert_same("nothing.py").returncode, 2)
        self.assertEqual(self.assert_same("-m", "nothing").returncode, 1)

    def test_wrong_options(self):
        for arguments in ["-m"], ["-c"], ["--nothing"]:
            with self.subTest(arguments):
                ended = python("-m", "casyncio", *arguments)
                self.assertEqual(ended.returncode, 2)
                self.assertIn("python -m casyncio", ended.stderr)
        self.assertIn("python -m casyncio", python("-m", "casyncio", "--help").stdout)

    def test_program_runs_on_our_loop(self):
        program = """
            import asyncio

            async def main():
                await asyncio.sleep(0)
                return type(asyncio.get_running_loop()).__module__, asyncio.Queue.__module__

            print(*asyncio.run(main()))
        """
        self.write("app.py", program)
        ended = python("-m", "casyncio", "app.py")
        self.assertEqual((ended.stdout, ended.stderr), ("casyncio.loop asyncio.queues\n", ""))
        ended = python("-m", "casyncio", "--accelerate", "app.py")
        self.assertEqual((ended.stdout, ended.stderr), ("casyncio.loop casyncio\n", ""))

    def test_classes_of_the_program_can_be_pickled(self):
        self.write("app.py", """
            import pickle

            class Item:
                pass

            print(type(pickle.loads(pickle.dumps(Item()))))
        """)
        self.assertEqual(self.assert_same("app.py").stdout, "<class '__main__.Item'>\n")

    def test_processes_of_the_program(self):
        self.write("app.py", """
            import multiprocessing

            def work(number):
                return number * 2

            if __name__ == '__main__':
                for method in 'spawn', 'fork':
                    with multiprocessing.get_context(method).Pool(1) as pool:
                        print(pool.map(work, [1, 2, 3]))
        """)
        self.assertEqual(self.assert_same("app.py").stdout, "[2, 4, 6]\n" * 2)

    def test_thread_that_outlives_the_main_module(self):
        self.write("app.py", """
            import atexit, threading, time

            def work():
                time.sleep(0.2)
                print(name)

            name = 'still there'
            threading.Thread(target=work).start()
            atexit.register(lambda: print(name))
        """)
        self.assertEqual(self.assert_same("app.py").stdout, "still there\n" * 2)

    def test_console(self):
        lines = "type(asyncio.get_running_loop())\nawait asyncio.sleep(0, 6 * 7)\n"
        ended = python("-m", "casyncio", input=lines)
        self.assertEqual(ended.returncode, 0)
        self.assertIn("asyncio REPL", ended.stderr)
        self.assertIn("<class 'casyncio.loop.Loop'>", ended.stdout)
        self.assertIn("42", ended.stdout)


# ---- building ----


class Building(Directory):
    """The build, from a copy of the sources, which is what the source distribution has."""

    @classmethod
    def setUpClass(cls):
        if SANITIZED:
            raise unittest.SkipTest("the preloaded sanitizer would run in the compiler, too")
        cls.place = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.sdist = cls.place / cls.hook(ROOT, "build_sdist", cls.place)
        with tarfile.open(cls.sdist) as archive:
            if hasattr(tarfile, "data_filter"):
                archive.extraction_filter = tarfile.data_filter
            archive.extractall(cls.place)
        cls.source = next(cls.place.glob("casyncio-*/"))
        cls.wheel = cls.place / cls.hook(cls.source, "build_wheel", cls.place)

    @staticmethod
    def hook(root, name, *arguments):
        """Calls a hook as a front end does: in a process in the root. Gives what it returns."""
        code = ("import sys; sys.dont_write_bytecode = True; sys.path.insert(0, 'python')\n"
                "import backend\n"
                f"print(backend.{name}(*{[str(each) for each in arguments]!r}))")
        ended = python("-c", code, cwd=root, env=QUICK, timeout=300)
        if ended.returncode:
            raise AssertionError(f"{name}: exit status {ended.returncode}\n{ended.stderr}")
        return ended.stdout.splitlines()[-1]

    def build(self, env=QUICK):
        return python(self.source / "python" / "backend.py", "build", "--output", "made", env=env,
                      timeout=300)

    def extension(self):
        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        return self.directory / "made" / "casyncio" / f"_casyncio{suffix}"

    def test_wheel(self):
        with zipfile.ZipFile(self.wheel) as archive:
            names = archive.namelist()
            info = names[-1].rpartition("/")[0]
            sources = ROOT / "python" / "casyncio"
            files = {file.name for file in sources.iterdir() if file.is_file()}
            self.assertEqual(set(names), {
                *(f"casyncio/{name}" for name in (*files, self.extension().name)),
                *(f"{info}/{name}" for name in ("LICENSE", "METADATA", "RECORD", "WHEEL"))})
            self.check_record(archive, info)
            self.check_metadata(archive.read(f"{info}/METADATA").decode(), info)
            tag = self.wheel.stem.removeprefix(info.removesuffix(".dist-info") + "-")
            self.assertIn(f"Tag: {tag}\n", archive.read(f"{info}/WHEEL").decode())
            self.assertIn("Root-Is-Purelib: false\n", archive.read(f"{info}/WHEEL").decode())
        version_tag, abi, system = tag.split("-")
        version = "cp%d%d" % sys.version_info[:2]
        self.assertEqual((version_tag, abi), (version, version + sys.abiflags))
        self.check_platform(system)

    def check_platform(self, said):
        """manylinux_2_NN is said if, and only if, glibc 2.NN has all that the extension needs."""
        plain = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        if not shutil.which("readelf") or "CS_GNU_LIBC_VERSION" not in os.confstr_names:
            self.assertEqual(said, plain)
            return
        with zipfile.ZipFile(self.wheel) as archive:
            extension = archive.extract(f"casyncio/{self.extension().name}", self.directory)
        undefined = subprocess.run(["nm", "-D", "--undefined-only", extension], check=True,
                                   stdout=subprocess.PIPE, text=True).stdout
        needed = {tuple(map(int, version.split(".")))
                  for version in re.findall(r"@GLIBC_([\d.]+)$", undefined, re.MULTILINE)}
        major, minor = max(needed)[:2]
        self.assertEqual(said, plain.replace("linux", f"manylinux_{major}_{minor}"))
        ours = tuple(map(int, os.confstr("CS_GNU_LIBC_VERSION").split()[-1].split(".")))
        self.assertLessEqual((major, minor), ours)

    def test_tags(self):
        """Where nothing is known of what an extension needs, nothing is promised."""
        def tag(path):
            code = f"import sys; sys.path.insert(0, 'python'); import backend\n{path}"
            ended = python("-c", code, cwd=self.source)
            self.assertEqual(ended.stderr, "")
            return ended.stdout.strip()

        plain = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        self.assertEqual(tag("print(backend.system_tag(None))"), plain)
        if not shutil.which("readelf"):
            self.skipTest("there is no readelf")
        ssl_module = importlib.util.find_spec("_ssl").origin
        if ssl_module:  # it needs libssl
            self.assertEqual(tag(f"print(backend.system_tag({ssl_module!r}))"), plain)

    def check_record(self, archive, info):
        rows = list(csv.reader(archive.read(f"{info}/RECORD").decode().splitlines()))
        self.assertEqual([row[0] for row in rows], archive.namelist())
        for name, digest, size in rows[:-1]:
            data = archive.read(name)
            expected = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
            self.assertEqual((digest, size), ("sha256=" + expected, str(len(data))), name)
        self.assertEqual(rows[-1][1:], ["", ""])

    def check_metadata(self, text, info):
        head, _, body = text.partition("\n\n")
        self.assertIn("Name: casyncio\n", head)
        self.assertIn(f"Version: {info.removesuffix('.dist-info').partition('-')[2]}\n", head)
        self.assertIn("Requires-Python: >=3.11\n", head)
        for line in ("Author: The casyncio authors", "Keywords: asyncio,event loop,async,tls",
                     "Classifier: Programming Language :: Python :: 3.15",
                     "Description-Content-Type: text/markdown"):
            self.assertIn(line, head.splitlines())
        self.assertRegex(head, r"(?m)^Project-URL: [\w ]+, https://\S+$")
        self.assertEqual(body, (ROOT / "python" / "README.md").read_text())
        parsed = email.message_from_string(text)
        self.assertEqual(parsed.defects, [])
        self.assertEqual(parsed["Version"], casyncio.__version__)

    def test_wheel_is_the_same_twice(self):
        again = Path(self.hook(self.source, "build_wheel", self.directory))
        self.assertEqual((self.directory / again).read_bytes(), self.wheel.read_bytes())

    def test_what_is_in_the_wheel_works(self):
        with zipfile.ZipFile(self.wheel) as archive:
            archive.extractall(self.directory)
        ended = python("-I", "-c", f"import sys; sys.path.insert(0, {str(self.directory)!r})\n"
                       "import asyncio, casyncio\n"
                       "print(casyncio.run(asyncio.sleep(0, casyncio.__file__)))")
        expected = f"{self.directory}/casyncio/__init__.py\n"
        self.assertEqual((ended.stdout, ended.stderr), (expected, ""))

    def test_version_is_the_projects(self):
        header = (ROOT / "include" / "casyncio" / "base.h").read_text()
        version = header.partition('#define ASYNC_VERSION "')[2].partition('"')[0]
        self.assertTrue(self.wheel.name.startswith(f"casyncio-{version}-cp"))
        self.assertEqual(self.sdist.name, f"casyncio-{version}.tar.gz")
        self.assertEqual(casyncio.__version__, version)

    def test_metadata_hook(self):
        hook = "prepare_metadata_for_build_wheel"
        info = self.directory / self.hook(self.source, hook, self.directory)
        with zipfile.ZipFile(self.wheel) as archive:
            self.assertEqual((info / "METADATA").read_bytes(), archive.read(f"{info.name}/METADATA"))
        # What the extension needs of the system is known when it is built.
        self.assertRegex((info / "WHEEL").read_text(), r"Tag: cp\d+-cp\d+t?-linux_\w+\n")

    def test_requirements(self):
        for kind in "wheel", "sdist", "editable":
            self.assertEqual(self.hook(self.source, f"get_requires_for_build_{kind}"), "[]")

    def test_editable(self):
        source = shutil.copytree(self.source, self.directory / "source")
        wheel = self.hook(source, "build_editable", self.directory)
        with zipfile.ZipFile(wheel) as archive:
            path = archive.read("casyncio.pth").decode().strip()
        code = f"import sys; sys.path.insert(0, {path!r}); import casyncio; print(casyncio.hello)"
        with open(source / "python" / "casyncio" / "__init__.py", "a") as file:
            file.write("\nhello = 'changed since'\n")
        self.assertEqual(python("-I", "-c", code).stdout, "changed since\n")

    def test_only_what_has_changed_is_built(self):
        self.assertEqual(self.build().returncode, 0)
        objects = {file: file.stat().st_mtime_ns for file in self.directory.rglob("*.o")}
        linked = self.extension().stat().st_mtime_ns
        self.assertGreater(len(objects), 10)

        self.assertEqual(self.build().returncode, 0)
        self.assertEqual({file: file.stat().st_mtime_ns for file in objects}, objects)
        self.assertEqual(self.extension().stat().st_mtime_ns, linked)

        time.sleep(0.01)
        source = self.source / "src" / "loop" / "timers.c"
        self.addCleanup(os.utime, source, ns=(source.stat().st_atime_ns, source.stat().st_mtime_ns))
        os.utime(source)
        self.assertEqual(self.build().returncode, 0)
        changed = [file.name for file, date in objects.items() if file.stat().st_mtime_ns != date]
        self.assertEqual(changed, ["src-loop-timers.c.o"])
        self.assertGreater(self.extension().stat().st_mtime_ns, linked)

    def test_nothing_is_written_elsewhere(self):
        def files():
            return {file: file.stat().st_mtime_ns for file in self.source.rglob("*")}

        before = files()
        self.assertEqual(self.build(env={**QUICK, "PYTHONDONTWRITEBYTECODE": "1"}).returncode, 0)
        self.assertEqual(files(), before)

    def test_only_the_modules_own_function_is_exported(self):
        self.assertEqual(self.build().returncode, 0)
        if not shutil.which("nm"):
            self.skipTest("there is no nm")
        listing = subprocess.run(["nm", "-D", "--defined-only", self.extension()], check=True,
                                 stdout=subprocess.PIPE, text=True).stdout
        self.assertEqual([line.split()[-1] for line in listing.splitlines()], ["PyInit__casyncio"])

    def test_error_without_a_compiler(self):
        ended = self.build(env={**os.environ, "CC": "no-such-compiler"})
        self.assertEqual((ended.returncode, ended.stderr),
                         (1, "backend.py: CC=no-such-compiler: there is no such command\n"))
        ended = self.build(env={"PATH": str(self.directory)})
        self.assertEqual(ended.returncode, 1)
        self.assertRegex(ended.stderr, r"\Abackend.py: there is no C compiler .*\n\Z")

    def test_error_without_headers(self):
        code = ("import sys, sysconfig; sysconfig.get_path = lambda name: '/nowhere'\n"
                "sys.path.insert(0, 'python'); import backend; backend.build_wheel('.')")
        ended = python("-c", code, cwd=self.source)
        self.assertEqual(ended.returncode, 1)
        self.assertRegex(ended.stderr, r"\Acasyncio: the headers .* no Python.h in /nowhere .*\n\Z")

    def test_error_in_a_source(self):
        source = shutil.copytree(self.source, self.directory / "source")
        (source / "src" / "loop" / "wrong.c").write_text("int wrong(void) { return nothing; }\n")
        ended = python(source / "python" / "backend.py", "build", "--output", "made", timeout=300)
        self.assertEqual(ended.returncode, 1)
        self.assertIn("src/loop/wrong.c:1:", ended.stderr)
        self.assertFalse((self.directory / "made" / "casyncio" / self.extension().name).exists())

    @unittest.skipUnless(importlib.util.find_spec("ensurepip"), "no ensurepip (python3-venv)")
    def test_pip(self):
        """pip install, in a fresh environment and without a network."""
        before = {file.name for file in self.source.iterdir()}
        self.assertEqual(python("-m", "venv", "venv").returncode, 0)
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.directory), "PIP_NO_INDEX": "1",
                       "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

        def run(*arguments):
            return subprocess.run(["venv/bin/python", *map(str, arguments)], env=environment,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  timeout=300)

        ended = run("-m", "pip", "install", self.source)
        self.assertEqual(ended.returncode, 0, ended.stdout)
        self.assertEqual({file.name for file in self.source.iterdir()} - {"__pycache__"}, before)
        code = "import asyncio, casyncio; print(casyncio.run(asyncio.sleep(0, casyncio.__file__)))"
        self.assertRegex(run("-c", code).stdout, r"\A/.*/venv/lib/.*/casyncio/__init__.py\n\Z")
        self.assertEqual(run("-m", "pip", "check").returncode, 0)
        said = run("-m", "casyncio", "--version").stdout
        self.assertEqual(said, f"casyncio {casyncio.__version__} (Python {platform.python_version()})\n")
        self.assertIn("Author: The casyncio authors\n", run("-m", "pip", "show", "casyncio").stdout)
        self.assertEqual(run("-m", "pip", "uninstall", "--yes", "casyncio").returncode, 0)
        self.assertEqual(list(self.directory.glob("venv/lib/python*/site-packages/casyncio*")), [])

        source = shutil.copytree(self.source, self.directory / "editable")
        ended = run("-m", "pip", "install", "--editable", source)
        self.assertEqual(ended.returncode, 0, ended.stdout)
        with open(source / "python" / "casyncio" / "__init__.py", "a") as file:
            file.write("\nhello = 'changed since'\n")
        code = "import asyncio, casyncio; print(casyncio.run(asyncio.sleep(0, casyncio.hello)))"
        self.assertEqual(run("-c", code).stdout, "changed since\n")


if __name__ == "__main__":
    support.main()
