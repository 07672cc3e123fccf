"""What differs from one Python to the next: each gets its own asyncio's meaning, and a later one's
arguments end nothing.
"""
# run: timeout=240

import asyncio
import contextlib
import contextvars
import gc
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import unittest
import weakref
from unittest import mock

import support
from support import asynchronous
import casyncio

variable = contextvars.ContextVar("variable", default="unset")


def python(code, *options, timeout=60, **more):
    """Runs a program; gives the finished process."""
    return subprocess.run([sys.executable, *options, "-c", textwrap.dedent(code)], text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=timeout, **more)


# ---- connections ----


class Connections(support.LoopCase):
    """Private methods that asyncio's own code calls: with keywords that there are not yet, too."""

    def future_loop(self):
        """A loop whose asyncio is of a later version: it gives more to each of these."""
        calls = []

        class Loop(casyncio.Loop):
            def _make_socket_transport(self, *args, **options):
                calls.append("socket")
                return super()._make_socket_transport(*args, later="keyword", **options)

            def _make_ssl_transport(self, *args, **options):
                calls.append("ssl")
                return super()._make_ssl_transport(*args, later="keyword", **options)

            def _accept_connection(self, *args):
                calls.append("accept")
                return super()._accept_connection(*args, "later", "positional")

            def _start_serving(self, *args, **options):
                calls.append("serve")
                return super()._start_serving(*args, later="keyword", **options)

        loop = Loop()
        self.addCleanup(loop.close)
        return loop, calls

    def test_a_later_asyncio_gives_more(self):
        loop, calls = self.future_loop()
        server_side, client_side = support.server_context(), support.client_context()

        async def echo(reader, writer):
            writer.write(await reader.readline())
            await writer.drain()
            writer.close()

        async def exchange(server_context, client_context):
            server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=server_context)
            port = server.sockets[0].getsockname()[1]
            options = {"ssl": client_context, "server_hostname": "localhost"}
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, **(options if client_context else {"family": socket.AF_INET}))
            writer.write(b"line\n")
            self.assertEqual(await reader.readline(), b"line\n")
            writer.close()
            server.close()

        loop.run_until_complete(exchange(None, None))
        loop.run_until_complete(exchange(server_side, client_side))
        self.assertEqual(set(calls), {"socket", "ssl", "accept", "serve"})

    def test_an_accept_with_no_more_than_it_needs(self):
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        self.addCleanup(listener.close)
        accepted = []

        def factory():
            accepted.append(support.Echo())
            return accepted[-1]

        client = socket.create_connection(listener.getsockname())
        self.addCleanup(client.close)
        self.loop._accept_connection(factory, listener)
        self.turns(2)
        self.assertEqual(len(accepted), 1)
        client.close()
        self.turns(5)

    def test_wrong_contexts(self):
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        self.addCleanup(ours.close)
        with self.assertRaises(TypeError):
            self.loop._make_socket_transport(ours, asyncio.Protocol(), context={})
        with self.assertRaises(TypeError):
            self.loop._accept_connection(asyncio.Protocol, ours, None, None, 1, None, None, {})
        with self.assertRaises(TypeError):
            self.loop._accept_connection(asyncio.Protocol)
        gc.collect()

    def test_out_of_descriptors(self):
        """The server listens again later, with all that it was made of."""
        server = self.run_async(self.loop.create_server(support.Echo, "127.0.0.1", 0))
        later = []
        with mock.patch.object(type(self.loop), "call_later", lambda loop, *args: later.append(args)):
            self.loop._accept_later(OSError(24, "too many"), server._sockets[0],
                                    (support.Echo, server._sockets[0], None, server))
        self.take_errors()
        (delay, callback, *arguments), = later
        callback(*arguments)

        async def ask():
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"again")
            self.assertEqual(await reader.readexactly(5), b"again")
            writer.close()

        self.run_async(ask())
        server.close()


class Noting(asyncio.Protocol):
    """What each of its methods finds in the context, and leaves there."""

    def __init__(self, name):
        self.name, self.found, self.lost = name, [], asyncio.get_running_loop().create_future()

    def note(self, method):
        self.found.append((method, variable.get()))
        variable.set(f"{self.name}'s {method}")

    def connection_made(self, transport):
        self.transport = transport
        self.note("connection_made")

    def data_received(self, data):
        self.note("data_received")
        self.transport.write(data)
        self.transport.close()

    def connection_lost(self, exc):
        self.note("connection_lost")
        self.lost.set_result(None)


class Contexts(support.LoopCase):
    """Since 3.15 all methods of a protocol run in one context: for a server's connection a copy of
    that in which the server was made."""

    def found(self, name, first):
        if sys.version_info >= (3, 15):
            return [("connection_made", first), ("data_received", f"{name}'s connection_made"),
                    ("connection_lost", f"{name}'s data_received")]
        # Each descriptor's callbacks in one, and what is called at a later turn in a copy.
        return [("connection_made", first), ("data_received", first),
                ("connection_lost", f"{name}'s data_received")]

    async def exchange(self, **options):
        variable.set("server")
        accepted = []

        def factory():
            accepted.append(Noting("server"))
            return accepted[-1]

        server = await self.loop.create_server(factory, "127.0.0.1", 0, ssl=options.get("server"))
        variable.set("client")
        given = {"ssl": options["client"], "server_hostname": "localhost"} if options else {}
        transport, client = await self.loop.create_connection(
            lambda: Noting("client"), *server.sockets[0].getsockname(), **given)
        variable.set("later")
        transport.write(b"x")
        await client.lost
        await accepted[0].lost
        server.close()
        self.assertEqual(accepted[0].found[0], ("connection_made", "server"))
        self.assertEqual(client.found[0], ("connection_made", "client"))
        return accepted[0].found, client.found

    @unittest.skipIf(support.STOCK and sys.version_info < (3, 12), "contexts were copied elsewhere")
    def test_plain(self):
        server, client = self.run_async(self.exchange())
        self.assertEqual(server, self.found("server", "server"))
        self.assertEqual(client, self.found("client", "client"))

    @unittest.skipIf(sys.version_info < (3, 15), "one context since 3.15")
    def test_tls(self):
        server_side, client_side = support.server_context(), support.client_context()
        server, client = self.run_async(self.exchange(server=server_side, client=client_side))
        self.assertEqual(server[1][1], "server's connection_made")
        self.assertEqual(client[1][1], "client's connection_made")

    def test_a_reader_in_a_context(self):
        """_add_reader(context=) of 3.15, which all versions have here."""
        if support.STOCK and sys.version_info < (3, 15):
            self.skipTest("the standard loop does this since 3.15")
        ours, theirs = socket.socketpair()
        context = contextvars.copy_context()
        context.run(variable.set, "given")
        seen = []

        def ready():
            seen.append(variable.get())
            self.loop._remove_reader(ours.fileno())

        self.loop._add_reader(ours.fileno(), ready, context=context)
        theirs.send(b"x")
        self.until(lambda: seen)
        self.assertEqual(seen, ["given"])
        with self.assertRaises(TypeError):
            self.loop._add_reader(ours.fileno(), ready, other=1)
        ours.close()
        theirs.close()


# ---- policies ----


# Python 3.16: nothing of policies is left, and the functions around them have a thread's loop.
WITHOUT_POLICIES = """
    import asyncio, threading
    from asyncio import events, runners, unix_events
    current = threading.local()

    def set_event_loop(loop):
        {set_event_loop}

    def new_event_loop():
        return asyncio.SelectorEventLoop()

    for module in asyncio, events, unix_events:
        for name in [name for name in vars(module) if 'olicy' in name or 'watcher' in name]:
            delattr(module, name)
        vars(module).pop('__getattr__', None)
        vars(module).pop('iscoroutinefunction', None)
    for module in asyncio, events:
        module.set_event_loop, module.new_event_loop = set_event_loop, new_event_loop
"""


class Policies(unittest.TestCase):
    def test_no_warning(self):
        for statement in ("import casyncio", "from casyncio import *", "import casyncio.__main__",
                          "import casyncio; casyncio.run(__import__('asyncio').sleep(0))",
                          "import casyncio; casyncio.install(); casyncio.uninstall()",
                          "import casyncio; casyncio.install(accelerate=True)"):
            with self.subTest(statement):
                done = python(statement, "-W", "error")
                self.assertEqual((done.stdout, done.returncode), ("", 0))

    def without_policies(self, code, set_event_loop="current.loop = loop"):
        # The tests run on 3.11 to 3.13 as well: there the child watcher is asked of the policy.
        prologue = textwrap.dedent(WITHOUT_POLICIES).format(set_event_loop=set_event_loop)
        done = python(prologue + textwrap.dedent(code), "-W", "error")
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout.split()

    def test_without_them(self):
        said = self.without_policies("""
            import casyncio
            async def main(): return type(asyncio.get_running_loop()).__module__
            print(casyncio.run(main()), hasattr(casyncio, 'EventLoopPolicy'))
            print('EventLoopPolicy' in casyncio.__all__)
            print(asyncio.run(main()).startswith('casyncio'))
            casyncio.install()
            casyncio.install()
            print(asyncio.run(main()))
            with asyncio.Runner(debug=True) as runner: print(runner.run(main()))
            loop = asyncio.new_event_loop(); print(type(loop).__module__); loop.close()
            theirs = asyncio.Runner(loop_factory=asyncio.SelectorEventLoop)
            with theirs: print(theirs.run(main()).startswith('casyncio'))
            casyncio.uninstall()
            print(asyncio.run(main()).startswith('casyncio'))
            print(asyncio.new_event_loop is new_event_loop)
        """)
        ours = "casyncio.loop"
        self.assertEqual(said, [ours, "False", "False", "False", ours, ours, ours, "False", "False",
                                "True"])

    def test_where_no_loop_can_be_set(self):
        said = self.without_policies("""
            import casyncio
            casyncio.install()
            async def main(): return type(asyncio.get_running_loop()).__module__
            print(asyncio.run(main()))
        """, set_event_loop="raise NotImplementedError")
        self.assertEqual(said, ["casyncio.loop"])


# ---- attributes with a truth value ----


class Truth(support.LoopCase):
    def test_debug(self):
        for value in (1, 0, None, "yes", [], True, False):
            self.loop.set_debug(value)
            self.assertEqual(bool(self.loop.get_debug()), bool(value))
        self.loop.set_debug(False)

    def test_debug_while_it_runs(self):
        async def main():
            for value in (1, 0, "yes", ""):
                self.loop.set_debug(value)
                await asyncio.sleep(0)

        self.run_async(main())
        self.assertFalse(self.loop.get_debug())

    def test_all_others(self):
        """As attributes of asyncio's classes: what is there can be set to anything."""
        reader = casyncio.StreamReader(loop=self.loop)
        protocol = casyncio.StreamReaderProtocol(reader, loop=self.loop)
        for subject, name in ((casyncio.Event(), "_value"), (casyncio.Lock(), "_locked"),
                              (casyncio.Queue(), "_is_shutdown"), (reader, "_eof"),
                              (reader, "_paused"), (protocol, "_paused"),
                              (protocol, "_connection_lost"), (protocol, "_reject_connection"),
                              (protocol, "_over_ssl"), (self.loop, "_closed")):
            with self.subTest(name, subject=type(subject)):
                before = getattr(subject, name)
                for value in (1, 0, None, "yes", [], 0.5):
                    setattr(subject, name, value)
                    self.assertIs(getattr(subject, name), bool(value))
                with self.assertRaises(TypeError):
                    delattr(subject, name)
                with self.assertRaises(ZeroDivisionError):
                    setattr(subject, name, Untrue())
                setattr(subject, name, before)


class Untrue:
    def __bool__(self):
        raise ZeroDivisionError


# ---- tasks ----


class Tasks(support.LoopCase):
    async def named(self):
        return asyncio.current_task().get_name()

    @unittest.skipIf(sys.version_info < (3, 14), "a factory is given the name since 3.14")
    @asynchronous
    async def test_eager_tasks_have_their_name_at_once(self):
        self.loop.set_task_factory(asyncio.eager_task_factory)
        self.assertEqual(await asyncio.create_task(self.named(), name="one"), "one")
        self.assertEqual(await self.loop.create_task(self.named(), name="two"), "two")
        self.assertEqual(await asyncio.create_task(self.named(), name="three", eager_start=False),
                         "three")

    @unittest.skipIf(sys.version_info < (3, 14), "a factory is given everything since 3.14")
    @asynchronous
    async def test_a_factory_is_given_what_the_caller_gave(self):
        given = []

        def factory(loop, coroutine, **options):
            given.append(options)
            return asyncio.Task(coroutine, loop=loop, **options)

        self.loop.set_task_factory(factory)
        await self.loop.create_task(self.named())
        await self.loop.create_task(self.named(), name=None, context=None)
        await self.loop.create_task(self.named(), name="n", eager_start=True)
        self.assertEqual(given, [{}, {"name": None, "context": None},
                                 {"name": "n", "eager_start": True}])

    @unittest.skipUnless(hasattr(asyncio, "eager_task_factory"), "eager tasks came with 3.12")
    def test_an_eager_task_that_fails_is_no_cycle(self):
        async def fail():
            raise ZeroDivisionError

        async def main():
            with contextlib.suppress(ZeroDivisionError):
                await self.loop.create_task(fail(), name="failing")
            task = self.loop.create_task(fail())  # 3.13.5's asyncio.create_task has a cycle of its own
            with contextlib.suppress(ZeroDivisionError):
                await task
            known = weakref.ref(task)
            del task  # this frame is in the traceback
            return known

        self.loop.set_task_factory(asyncio.eager_task_factory)
        self.run_async(main())
        gc.collect()
        gc.disable()
        try:
            self.assertIsNone(self.run_async(main())())
        finally:
            gc.enable()


class Failures(support.LoopCase):
    """No cycle is left by what has failed."""

    def test_start_tls(self):
        server_side = support.server_context()
        strict = ssl.create_default_context()

        async def main():
            async def serve(reader, writer):
                with contextlib.suppress(OSError):
                    await writer.start_tls(server_side)
                writer.close()

            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            transport, protocol = await self.loop.create_connection(
                asyncio.Protocol, *server.sockets[0].getsockname())
            with self.assertRaises(ssl.SSLCertVerificationError):
                await self.loop.start_tls(transport, protocol, strict, server_hostname="localhost")
            server.close()
            return weakref.ref(transport)

        gc.collect()
        gc.disable()
        try:
            transport = self.run_async(main())
            self.turns(5)
            self.assertIsNone(transport())
        finally:
            gc.enable()


class Callbacks(support.LoopCase):
    """A server's callback that is no coroutine function, and fails: reported, and the connection
    ends. asyncio does that since 3.15."""

    def test_ours(self):
        def fail(reader, writer):
            raise ZeroDivisionError("the callback's")

        async def main():
            server = await casyncio.start_server(fail, "127.0.0.1", 0)
            reader, writer = await casyncio.open_connection(*server.sockets[0].getsockname())
            self.assertEqual(await reader.read(), b"")
            writer.close()
            server.close()

        self.run_async(main())
        (report,) = self.take_errors()
        self.assertIsInstance(report["exception"], ZeroDivisionError)
        self.assertEqual(report["message"], "Unhandled exception in client_connected_cb")


# ---- handles of other threads ----


@unittest.skipUnless(hasattr(asyncio.events, "_ThreadSafeHandle"), "asyncio has them since 3.14")
class SharedHandles(support.LoopCase):
    """Once cancel() or cancelled() of another thread has returned, the callback does not run."""

    def in_thread(self, work):
        thread = threading.Thread(target=work)
        thread.start()
        self.loop.run_forever()
        thread.join()

    def test_they_wait_for_the_callback(self):
        for method in "cancel", "cancelled":
            with self.subTest(method):
                steps, started, go = [], threading.Event(), threading.Event()

                def callback():
                    steps.append("begins")
                    started.set()
                    go.wait()
                    steps.append("ends")

                def work():
                    handle = self.loop.call_soon_threadsafe(callback)
                    started.wait()
                    # The other thread has its turn only while this one waits.
                    threading.Timer(0.02, go.set).start()
                    getattr(handle, method)()
                    steps.append(method)
                    self.loop.call_soon_threadsafe(self.loop.stop)

                self.in_thread(work)
                self.assertEqual(steps, ["begins", "ends", method])

    def test_one_that_cancels_itself(self):
        steps, handles = [], []

        def callback():
            handles[0].cancel()
            steps.append(handles[0].cancelled())
            self.loop.stop()

        held = threading.Event()
        self.loop.call_soon(held.wait)

        def work():
            handles.append(self.loop.call_soon_threadsafe(callback))
            held.set()

        self.in_thread(work)
        self.assertEqual(steps, [True])

    def test_one_that_is_cancelled_in_time(self):
        calls, held = [], threading.Event()
        self.loop.call_soon(held.wait)

        def work():
            handle = self.loop.call_soon_threadsafe(calls.append, 1)
            self.assertIsInstance(handle, asyncio.Handle)
            self.assertFalse(handle.cancelled())
            handle.cancel()
            self.assertTrue(handle.cancelled())
            held.set()
            self.loop.call_soon_threadsafe(self.loop.stop)

        self.in_thread(work)
        self.assertEqual(calls, [])

    def test_many_of_many_threads(self):
        """Every callback runs once or was cancelled; none runs after cancel() has returned."""
        ran, wrong, threads = set(), [], 4

        def work(base):
            for i in range(base, base + 500):
                handle = self.loop.call_soon_threadsafe(ran.add, i)
                if i % 3 == 0:
                    before = i in ran
                    handle.cancel()
                    after = i in ran
                    time.sleep(0)
                    if (i in ran) != after or before and not after:
                        wrong.append(i)
            self.loop.call_soon_threadsafe(self.ended)

        self.left = threads
        workers = [threading.Thread(target=work, args=(i * 1000,)) for i in range(threads)]
        self.loop.call_soon(lambda: [worker.start() for worker in workers])
        self.loop.run_forever()
        for worker in workers:
            worker.join()
        self.assertEqual(wrong, [])
        kept = {i for base in range(0, threads * 1000, 1000) for i in range(base, base + 500)
                if i % 3}
        self.assertLessEqual(kept, ran)

    def ended(self):
        self.left -= 1
        if not self.left:
            self.loop.stop()


# ---- child processes ----


@unittest.skipIf(sys.version_info < (3, 14), "a loop of asyncio's has one since 3.14")
class Watchers(support.LoopCase):
    def test_the_loop_has_one(self):
        theirs = asyncio.SelectorEventLoop()
        self.assertIs(type(self.loop._watcher), type(theirs._watcher))
        theirs.close()

    @asynchronous
    async def test_one_of_the_users(self):
        told = []

        class Watcher:
            def add_child_handler(self, pid, callback, *args):
                told.append(pid)
                threading.Thread(target=self.wait, args=(pid, callback, *args)).start()

            def wait(self, pid, callback, *args):
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                args[0]._loop.call_soon_threadsafe(callback, pid, status, *args)

        self.loop._watcher = Watcher()
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "raise SystemExit(7)")
        self.assertEqual(await process.wait(), 7)
        self.assertEqual(told, [process.pid])


# ---- looking into a process ----


PROGRAM = """
    import asyncio, casyncio
    {install}

    async def inner(queue):
        await queue.get()

    async def waits_in_c(queue):
        await queue.get()

    async def outer():
        async with asyncio.TaskGroup() as group:
            group.create_task(inner(asyncio.Queue()), name='the first')
            group.create_task(waits_in_c(casyncio.Queue()), name='the second')
            group.create_task(asyncio.sleep(1000), name='the third')
            await asyncio.sleep(0)
            asyncio.get_running_loop().call_soon(lambda: print('up', flush=True))

    casyncio.run(outer())
"""

AWAITED = """
    import asyncio, casyncio

    async def numbers():
        yield 1
        await asyncio.sleep(1000)

    async def generates():
        async for number in numbers():
            pass

    async def above(task):
        await task

    async def ends():
        pass

    async def main():
        kept = [asyncio.create_task(generates(), name="below"), asyncio.create_task(ends(), name="ended"),
                asyncio.create_task(asyncio.sleep(1000), name="n\u00e4m\u0416\U0001f40d\x1b")]
        kept.append(asyncio.create_task(above(kept[0]), name="above"))
        await kept[1]
        print("up", flush=True)
        await asyncio.sleep(1000)

    casyncio.run(main())
"""

BLOCKED = """
    import asyncio, casyncio, time

    def blocks():
        print("up", flush=True)
        while True:
            time.sleep(0.001)

    async def inner():
        blocks()

    async def outer():
        await inner()

    async def main():
        await asyncio.create_task(outer(), name="the blocker")

    casyncio.run(main())
"""

BUSY = """
    import asyncio, casyncio

    async def turn(depth):
        if depth:
            await turn(depth - 1)
        else:
            await asyncio.sleep(0)

    async def works():
        for depth in range(1000000000):
            await asyncio.create_task(turn(depth % 50))

    async def main():
        tasks = [asyncio.create_task(works()) for _ in range(20)]
        print("up", flush=True)
        await asyncio.gather(*tasks)

    casyncio.run(main())
"""


CASYNCIO = os.environ.get("CASYNCIO_PROGRAM") or shutil.which("casyncio")


def start_program(case, source=PROGRAM, **names):
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(source).format(**names)],
                               stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    case.addCleanup(process.wait)
    case.addCleanup(process.stdout.close)
    case.addCleanup(process.kill)
    case.assertEqual(process.stdout.readline(), "up\n")
    return process


@unittest.skipUnless(CASYNCIO, "the program casyncio is not there: $CASYNCIO_PROGRAM, or in the path")
class Program(unittest.TestCase):
    """`casyncio ps` and `pstree`: before 3.14 by what the extension describes, since then by the interpreter."""

    def ask(self, *arguments):
        done = subprocess.run([CASYNCIO, *map(str, arguments)], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
        if "cannot be read" in done.stderr:
            self.skipTest(done.stderr)
        self.assertEqual((done.returncode, done.stderr), (0, ""), arguments)
        return done.stdout

    def tasks(self, process):
        found = json.loads(self.ask("pstree", "--json", process.pid))[0]["python_tasks"]
        return {task["name"]: task for task in found}

    def functions(self, task):
        return [frame["function"] for frame in task["frames"]]

    def test_names(self):
        process = start_program(self, install="")
        for command in ["ps"], ["pstree"], ["pstree", "--json"]:
            said = self.ask(*command, process.pid)
            for name in "the first", "the second", "the third", "Task-1", "waits_in_c":
                self.assertIn(name, said)
        inner = self.tasks(process)["the first"]
        self.assertEqual(self.functions(inner), ["Queue.get", "inner"])
        self.assertEqual(inner["frames"][1]["file"], "<string>")
        line = next(i for i, line in enumerate(PROGRAM.splitlines(), 1) if "await queue.get()" in line)
        self.assertEqual(inner["frames"][1]["line"], line)

    def test_awaited(self):
        process = start_program(self, AWAITED)
        tasks = self.tasks(process)
        self.assertEqual(self.functions(tasks["below"]), ["sleep", "numbers", "generates"])
        self.assertEqual(tasks["below"]["awaited_by"], [tasks["above"]["id"]])
        self.assertEqual(self.functions(tasks["above"]), ["above"])
        self.assertEqual(self.functions(tasks["n\u00e4m\u0416\U0001f40d?"]), ["sleep"])
        self.assertNotIn("ended", tasks)
        tree = self.ask("pstree", process.pid).splitlines()
        above = next(i for i, line in enumerate(tree) if line.startswith("above"))
        self.assertIn("  below (generates)", tree[above + 1:above + 4])

    def test_runs(self):
        """What blocks: the frames of the coroutine that runs, and of what it has called."""
        process = start_program(self, BLOCKED)
        task = self.tasks(process)["the blocker"]
        functions = self.functions(task)
        self.assertEqual(functions[-2:], ["inner", "outer"])
        self.assertIn("blocks", functions)
        self.assertNotIn("run_until_complete", functions)

    def test_under_load(self):
        """Read while it changes: no answer is wrong in its form, and the program is not disturbed."""
        process = start_program(self, BUSY)
        for _ in range(20):
            for name, task in self.tasks(process).items():
                self.assertLessEqual(len(task["frames"]), 64)
        self.assertIsNone(process.poll())

    @unittest.skipIf(sys.version_info >= (3, 14), "the interpreter reads no cores")
    @unittest.skipIf("LD_PRELOAD" in os.environ, "the core of a sanitizer's process has its shadow memory, too")
    @unittest.skipUnless(shutil.which("gcore"), "there is no gcore")
    def test_core(self):
        process = start_program(self, install="")
        with tempfile.TemporaryDirectory() as directory:
            name = os.path.join(directory, "core")
            subprocess.run(["gcore", "-o", name, str(process.pid)], stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, timeout=100)
            core = f"{name}.{process.pid}"
            if not os.path.exists(core):
                self.skipTest("no core could be had")
            said = self.ask("pstree", core)
        for text in "the first (inner)", "at waits_in_c (<string>:", "the third (sleep)":
            self.assertIn(text, said)


@unittest.skipIf(sys.version_info < (3, 14), "python -m asyncio ps came with 3.14")
class Tools(unittest.TestCase):
    def program(self, **names):
        return start_program(self, **names)

    def ask(self, command, process):
        done = subprocess.run([sys.executable, "-m", "asyncio", command, str(process.pid)],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=60)
        if done.returncode and ("ermission" in done.stdout or "not supported" in done.stdout):
            self.skipTest("one process may not read another's memory here: " + done.stdout.strip())
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def test_ps(self):
        for install in "", "casyncio.install(accelerate=True)":
            with self.subTest(install):
                said = self.ask("ps", self.program(install=install))
                for name in "the first", "the second", "the third", "Task-1":
                    self.assertIn(name, said)

    def test_pstree(self):
        said = self.ask("pstree", self.program(install=""))
        lines = said.splitlines()
        for name, function in ("the first", "inner"), ("the second", "waits_in_c"):
            row = next(i for i, line in enumerate(lines) if f"(T) {name}" in line)
            self.assertIn(function, lines[row + 1])
            self.assertIn("outer", "\n".join(lines[:row]))

    def test_call_graph(self):
        async def main():
            graph = []

            async def inner():
                graph.append(asyncio.format_call_graph())

            async with asyncio.TaskGroup() as group:
                group.create_task(inner(), name="inner task")
            waiting = asyncio.create_task(casyncio.Queue().get(), name="waits in C")
            await asyncio.sleep(0)
            graph.append(asyncio.format_call_graph(waiting))
            waiting.cancel()
            return graph

        inner, waiting = casyncio.run(main())
        self.assertIn("inner task", inner)
        self.assertIn("main()", inner)
        self.assertIn("waits in C", waiting)


if __name__ == "__main__":
    support.main()
