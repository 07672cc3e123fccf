"""The build of the Python face: a PEP 517 backend, and the same from the command line.

    PYTHON python/backend.py build --output DIR [--debug] [--sanitize address,undefined]
                                   [--werror] [--jobs N]

makes DIR/casyncio, which is the package as it would be installed: put DIR on PYTHONPATH. Only what
has changed is compiled, and nothing outside of DIR is written. The hooks that pip calls
(build_wheel and the others) are below. CC, CFLAGS and LDFLAGS are honoured.

It needs a C compiler, the headers of the interpreter that runs it, and the standard library: no
setuptools, no CMake and no network. The engine's own files are compiled into the extension, so that
the package needs no libcasyncio, and with hidden names, so that it does not meet one either.
"""

import argparse
import base64
import csv
import gzip
import hashlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
import tomllib
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "python" / "casyncio"
EXTENSION = "_casyncio" + (sysconfig.get_config_var("EXT_SUFFIX") or ".so")

# What is compiled, and what for it alone. A Python method has parameters that it does not use, and
# a PyMethodDef holds functions of several types.
PARTS = {
    "src/base": ["-Isrc"],
    "src/loop": ["-Isrc"],
    "python/src": ["-Wno-unused-parameter", "-Wno-cast-function-type"],
}

# What a source distribution has: what is compiled, what describes it, and the tests.
SOURCES = [
    "CMakeLists.txt", "LICENSE", "README.md", "pyproject.toml", "docs/python.md",
    "docs/differences.md", "include/**/*.h", "src/base/*.[ch]", "src/loop/*.[ch]", "python/*.py",
    "python/README.md", "python/src/**/*.[ch]", "python/casyncio/*", "tests/python/**/*",
]


class BuildError(Exception):
    """Something that the user can mend: told without a traceback."""


# ---- the compiler ----


def compiler():
    """The command that compiles: $CC, the interpreter's own, or any that is there."""
    for command in (os.environ.get("CC"), sysconfig.get_config_var("CC"), "cc", "gcc", "clang"):
        words = shlex.split(command or "")
        if words and shutil.which(words[0]):
            return words
        if words and command == os.environ.get("CC"):
            raise BuildError(f"CC={command}: there is no such command")
    raise BuildError("there is no C compiler (Debian: apt-get install gcc libc6-dev); "
                     "CC=... names one that has another name")


def python_headers():
    directories = dict.fromkeys(sysconfig.get_path(name) for name in ("include", "platinclude"))
    if not any(os.path.exists(os.path.join(directory, "Python.h")) for directory in directories):
        raise BuildError(f"the headers of {sys.executable} are missing: there is no Python.h in "
                         f"{' or '.join(directories)} (Debian: apt-get install python3-dev)")
    return ["-I" + directory for directory in directories]


def check_platform():
    if sys.implementation.name != "cpython" or sys.version_info < (3, 11):
        raise BuildError(f"casyncio is for CPython 3.11 and later, and {sys.executable} is "
                         f"{sys.implementation.name} {sys.version.split()[0]}")
    if not sys.platform.startswith("linux"):
        raise BuildError(f"casyncio's engine is for Linux, and this is {sys.platform}")


def compile_flags(debug, sanitize, werror):
    flags = ["-std=gnu11", "-g", "-fPIC", "-fvisibility=hidden", "-fno-semantic-interposition",
             "-fno-plt", "-pthread", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wshadow"]
    # As in CMakeLists.txt; but musl cannot load a module that has it while the program runs.
    if "CS_GNU_LIBC_VERSION" in os.confstr_names:
        flags.append("-ftls-model=initial-exec")
    flags.append("-Og" if debug else "-O1" if sanitize else "-O2")
    flags.append("-UNDEBUG" if debug else "-DNDEBUG")
    if werror:
        flags.append("-Werror")
    if sanitize:
        flags += ["-fsanitize=" + sanitize, "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
    return flags + python_headers() + ["-Iinclude"]


def is_fresh(made, command, stamp, depend):
    """Whether `made` is newer than all that it was made from, by this very command."""
    try:
        if stamp.read_text() != shlex.join(command):
            return False
        # "made: source header \\\n header": gcc writes a blank in a name as "\ ".
        names = shlex.split(depend.read_text().replace("\\\n", " "))[1:]
        date = made.stat().st_mtime_ns
        return all((ROOT / name).stat().st_mtime_ns < date for name in names)
    except OSError:
        return False


def run(command):
    """The command, in the root (so that the names in it and in messages are short)."""
    result = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True, errors="replace")
    if result.stdout:
        sys.stderr.write(result.stdout)
    return result.returncode == 0


def compile_object(source, flags, objects):
    """Compiles one file unless that is done already. Gives the object, or None."""
    target = objects / (str(source).replace("/", "-") + ".o")
    stamp, depend = target.with_suffix(".command"), target.with_suffix(".d")
    command = [*flags, "-MMD", "-MF", str(depend), "-c", str(source), "-o", str(target)]
    if is_fresh(target, command, stamp, depend):
        return target
    stamp.unlink(missing_ok=True)
    begin = time.time_ns()
    if not run(command):
        return None
    os.utime(target, ns=(begin, begin))  # a source that was changed meanwhile is newer
    stamp.write_text(shlex.join(command))
    return target


def link(command, objects, target, directory):
    """Links into a file beside the target: a program that runs has the old one mapped."""
    names = directory / "names.map"
    names.write_text("{ global: PyInit_*; local: *; };\n")
    new = target.with_suffix(".new")
    command = [*command, "-shared", "-pthread", "-Wl,--version-script=" + str(names),
               "-Wl,-Bsymbolic-functions", *map(str, objects),
               *shlex.split(os.environ.get("LDFLAGS", "")), "-o", str(new)]
    stamp = directory / "link.command"
    if target.exists() and stamp.exists() and stamp.read_text() == shlex.join(command):
        if all(file.stat().st_mtime_ns < target.stat().st_mtime_ns for file in objects):
            return
    if not run(command):
        raise BuildError("the extension could not be linked")
    os.replace(new, target)
    stamp.write_text(shlex.join(command))


def build_extension(target, objects, *, debug=False, sanitize="", werror=False, jobs=None):
    """Makes the file `target`, with what is made on the way in the directory `objects`."""
    check_platform()
    objects.mkdir(parents=True, exist_ok=True)
    command = compiler()
    flags = [*command, *compile_flags(debug, sanitize, werror)]
    extra = shlex.split(os.environ.get("CFLAGS", ""))
    work = [(source.relative_to(ROOT), [*flags, *own, *extra], objects)
            for part, own in PARTS.items() for source in sorted((ROOT / part).rglob("*.c"))]
    with ThreadPoolExecutor(jobs or len(os.sched_getaffinity(0))) as pool:
        made = list(pool.map(lambda item: compile_object(*item), work))
    if None in made:
        raise BuildError("the extension could not be compiled")
    if sanitize:
        command.append("-fsanitize=" + sanitize)
    link(command, made, target, objects)


def package_files():
    """The package's files that are not compiled."""
    return sorted(file for file in PACKAGE.iterdir()
                  if file.suffix in (".py", ".pyi") or file.name == "py.typed")


def build(output, linked=False, **options):
    """Makes output/casyncio; `linked` to the sources and not copied: an editable installation."""
    directory = Path(output).resolve() / "casyncio"
    directory.mkdir(parents=True, exist_ok=True)
    build_extension(directory / EXTENSION, directory.parent / ".objects", **options)
    wanted = {file.name: file for file in package_files()}
    for old in directory.iterdir():
        if old.is_symlink() or (old.suffix in (".py", ".pyi") and old.name not in wanted):
            old.unlink()
    for name, file in wanted.items():
        if linked:
            (directory / name).unlink(missing_ok=True)
            (directory / name).symlink_to(file)
        else:
            copy_if_changed(file, directory / name)
    return directory


def copy_if_changed(source, target):
    text = source.read_bytes()
    if not target.exists() or target.read_bytes() != text:
        new = target.with_suffix(".new")
        new.write_bytes(text)
        os.replace(new, target)


# ---- what the package says of itself ----


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def version():
    """The version is the project's, and stands in CMakeLists.txt."""
    text = (ROOT / "CMakeLists.txt").read_text()
    return re.search(r"^project\(casyncio VERSION (\S+)", text, re.MULTILINE)[1]


def metadata():
    about = project()
    lines = ["Metadata-Version: 2.1", f"Name: {about['name']}", f"Version: {version()}",
             f"Summary: {about['description']}", f"License: {about['license']['text']}",
             f"Keywords: {','.join(about['keywords'])}",
             *(f"Author: {author['name']}" for author in about["authors"]),
             *(f"Project-URL: {name}, {url}" for name, url in about["urls"].items()),
             f"Requires-Python: {about['requires-python']}",
             *(f"Classifier: {classifier}" for classifier in about["classifiers"]),
             "Description-Content-Type: text/markdown"]
    return "\n".join(lines) + "\n\n" + (ROOT / about["readme"]).read_text()


# What a wheel for manylinux_2_NN may need of a system, by its policy (PEP 600), as far as we need it.
LIBRARIES = {"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1",
             "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}


def system_tag(extension):
    """manylinux_2_34_x86_64 for an extension whose newest symbol is glibc 2.34's.

    linux_x86_64, which says nothing of the C library, if that cannot be found out or another
    library than the C library's is needed; and as long as there is no extension.
    """
    system = re.sub(r"[-.]", "_", sysconfig.get_platform())
    if extension is None or not shutil.which("readelf"):
        return system
    said = subprocess.run(["readelf", "--wide", "--dynamic", "--version-info", str(extension)],
                          stdout=subprocess.PIPE, text=True, check=True).stdout
    needed = re.findall(r"\(NEEDED\).*\[(.+)\]", said)
    versions = [tuple(map(int, version.split(".")))
                for version in re.findall(r"Name: GLIBC_([\d.]+)", said)]
    if not versions or not LIBRARIES.issuperset(needed):
        return system
    major, minor = max(versions)[:2]
    return system.replace("linux", f"manylinux_{major}_{minor}", 1)


def wheel_tag(extension=None):
    """For this interpreter alone: cp311-cp311-…, or cp313-cp313t-… without the GIL."""
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    return f"{python}-{python}{sys.abiflags}-{system_tag(extension)}"


def dist_info(tag):
    """The files of the .dist-info directory, but for RECORD: name -> text."""
    wheel = ["Wheel-Version: 1.0", "Generator: casyncio", "Root-Is-Purelib: false",
             f"Tag: {tag}"]
    return {"METADATA": metadata(), "WHEEL": "\n".join(wheel) + "\n",
            "LICENSE": (ROOT / "LICENSE").read_text()}


# ---- archives ----


def write_wheel(directory, files, extension=None):
    """The wheel of `files` (name -> bytes, mode), the same bytes whenever it is made."""
    info, tag = f"casyncio-{version()}.dist-info", wheel_tag(extension)
    for name, text in dist_info(tag).items():
        files[f"{info}/{name}"] = text.encode(), 0o644
    record = io.StringIO()
    rows = csv.writer(record, lineterminator="\n")
    for name, (data, _) in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.writerow([name, f"sha256={digest}", len(data)])
    rows.writerow([f"{info}/RECORD", "", ""])
    files[f"{info}/RECORD"] = record.getvalue().encode(), 0o644

    wheel = f"casyncio-{version()}-{tag}.whl"
    with zipfile.ZipFile(Path(directory) / wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, (data, mode) in files.items():
            entry = zipfile.ZipInfo(name)  # its date is that of the first zip file: 1980
            entry.external_attr = (0o100000 | mode) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return wheel


def source_files():
    names = {file for pattern in SOURCES for file in ROOT.glob(pattern) if file.is_file()}
    return sorted(file for file in names
                  if "__pycache__" not in file.parts and file.suffix != ".so")


# ---- PEP 517 and PEP 660 ----


def for_users(hook):
    """A hook that ends with the message alone where the user can do something about it."""
    def hook_for_users(*arguments, **keywords):
        try:
            return hook(*arguments, **keywords)
        except BuildError as error:
            sys.exit(f"casyncio: {error}")
    return hook_for_users


def get_requires_for_build_wheel(config_settings=None):
    return []


get_requires_for_build_sdist = get_requires_for_build_editable = get_requires_for_build_wheel


@for_users
def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    check_platform()
    info = Path(metadata_directory) / f"casyncio-{version()}.dist-info"
    info.mkdir()
    for name, text in dist_info(wheel_tag()).items():
        (info / name).write_text(text)
    return info.name


prepare_metadata_for_build_editable = prepare_metadata_for_build_wheel


@for_users
def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    with tempfile.TemporaryDirectory() as directory:
        made = build(directory)
        files = {}
        for file in sorted(made.iterdir()):
            mode = 0o755 if file.suffix == ".so" else 0o644
            files[f"casyncio/{file.name}"] = file.read_bytes(), mode
        return write_wheel(wheel_directory, files, made / EXTENSION)


@for_users
def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """The extension below build/, the rest linked to the sources; `pip install -e .` renews it."""
    output = ROOT / "build" / f"editable-{sysconfig.get_python_version()}{sys.abiflags}"
    build(output, linked=True)
    return write_wheel(wheel_directory, {"casyncio.pth": (f"{output}\n".encode(), 0o644)})


@for_users
def build_sdist(sdist_directory, config_settings=None):
    top = f"casyncio-{version()}"

    def add(archive, name, data):
        entry = tarfile.TarInfo(f"{top}/{name}")
        entry.size, entry.mode = len(data), 0o644
        archive.addfile(entry, io.BytesIO(data))

    sdist = f"{top}.tar.gz"
    with (gzip.GzipFile(Path(sdist_directory) / sdist, "wb", mtime=0) as stream,
          tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive):
        add(archive, "PKG-INFO", metadata().encode())
        for file in source_files():
            add(archive, file.relative_to(ROOT), file.read_bytes())
    return sdist


# ---- the command line ----


def main():
    parser = argparse.ArgumentParser(description="Builds casyncio for this interpreter.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("build", help="make DIR/casyncio")
    command.add_argument("--output", required=True, metavar="DIR")
    command.add_argument("--debug", action="store_true", help="with assertions")
    command.add_argument("--sanitize", default="", help="as for -fsanitize=: address,undefined")
    command.add_argument("--werror", action="store_true", help="warnings are errors")
    command.add_argument("--jobs", type=int, help="compilations at a time")
    options = vars(parser.parse_args())
    options.pop("command")
    try:
        build(**options)
    except BuildError as error:
        sys.exit(f"backend.py: {error}")


if __name__ == "__main__":
    main()
