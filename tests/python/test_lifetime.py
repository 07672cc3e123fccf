"""Beginnings and ends: fork, the interpreter's end, debug allocators, odd orders of closing."""

# run: timeout=300

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import unittest

import support


class Programs(unittest.TestCase):
    """Each is a process of its own; what it must print, and that it ends by itself with 0."""

    def check(self, source, out="", options=(), err="", **environment):
        result = support.program(source, *options, timeout=30, **environment)
        self.assertEqual(result.code, 0, result)
        self.assertEqual(result.out, out, result)
        if err is not None:
            self.assertEqual(result.err, err)


class Fork(Programs):
    def test_child_makes_a_loop_of_its_own(self):
        self.check(
            """
            loop = new_event_loop()
            loop.call_later(0.01, os.write, 1, b"parent\\n")
            pid = os.fork()
            if not pid:
                own = new_event_loop()
                own.run_until_complete(asyncio.sleep(0.001))
                own.close()
                os.write(1, b"child\\n")
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
            loop.run_until_complete(asyncio.sleep(0.02))
            loop.close()
            """,
            "child\nparent\n",
        )

    def test_child_of_a_running_loop(self):
        """The child's loop is not the parent's, though it was running when it forked."""
        self.check(
            """
            async def child():
                await asyncio.sleep(0.001)
                os.write(1, b"child\\n")
            async def main():
                pid = os.fork()
                if not pid:
                    try:
                        asyncio._set_running_loop(None)
                        own = new_event_loop()
                        own.run_until_complete(child())
                        own.close()
                    finally:
                        os._exit(0)
                await asyncio.get_running_loop().run_in_executor(None, os.waitpid, pid, 0)
                os.write(1, b"parent\\n")
            loop = new_event_loop()
            loop.run_until_complete(main())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()
            """,
            "child\nparent\n",
        )

    @support.stock_cannot("parent and child share one epoll")
    def test_child_closes_the_inherited_loop(self):
        """That takes nothing away from the parent: its watches, its waking, its signals."""
        self.check(
            """
            loop = new_event_loop()
            ours, theirs = socket.socketpair()
            got = []
            loop.add_reader(ours, lambda: (got.append(ours.recv(10)), loop.stop()))
            loop.run_until_complete(asyncio.sleep(0))
            pid = os.fork()
            if not pid:
                loop.close()
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
            theirs.send(b"hello")
            loop.call_later(5, loop.stop)
            loop.run_forever()
            print(got)
            timer = threading.Timer(0.01, loop.call_soon_threadsafe, (loop.stop,))
            timer.start()
            loop.run_forever()
            loop.remove_reader(ours)
            loop.add_signal_handler(signal.SIGUSR1, loop.stop)
            os.kill(os.getpid(), signal.SIGUSR1)
            loop.run_forever()
            loop.close()
            ours.close()
            theirs.close()
            print("end")
            """,
            "[b'hello']\nend\n",
        )

    def test_child_exits_with_an_inherited_loop(self):
        """Through the whole end of the interpreter, not by os._exit."""
        self.check(
            """
            loop = new_event_loop()
            server = loop.run_until_complete(
                loop.create_server(asyncio.Protocol, "127.0.0.1", 0))
            address = server.sockets[0].getsockname()
            pid = os.fork()
            if not pid:
                sys.exit(0)
            assert os.waitpid(pid, 0)[1] == 0
            async def talk():
                transport, _ = await loop.create_connection(asyncio.Protocol, *address)
                transport.close()
                await asyncio.sleep(0.01)
            loop.run_until_complete(talk())
            server.close()
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()
            print("end")
            """,
            "end\n",
            err=None,
        )

    def test_multiprocessing(self):
        self.check(
            """
            import multiprocessing
            def work(number):
                loop = new_event_loop()
                try:
                    return loop.run_until_complete(asyncio.sleep(0.001, number * 2))
                finally:
                    loop.close()
            multiprocessing.set_start_method("fork")
            loop = new_event_loop()
            with multiprocessing.Pool(2) as pool:
                print(pool.map(work, range(5)))
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()
            """,
            "[0, 2, 4, 6, 8]\n",
            err=None,
        )


class End(Programs):
    def test_loop_still_open(self):
        self.check("loop = new_event_loop(); print('end')", "end\n", err=None)

    def test_loop_still_open_with_work(self):
        self.check(
            """
            loop = new_event_loop()
            ours, theirs = socket.socketpair()
            server = loop.run_until_complete(
                loop.create_server(asyncio.Protocol, "127.0.0.1", 0))
            transport, _ = loop.run_until_complete(
                loop.create_connection(asyncio.Protocol, sock=ours))
            loop.add_reader(theirs, print)
            loop.call_soon(print, "never")
            loop.call_later(0, print, "never")
            loop.call_soon_threadsafe(print, "never")
            loop.add_signal_handler(signal.SIGUSR1, print)
            """,
            err=None,
        )

    def test_loop_in_a_cycle_and_in_a_global(self):
        self.check(
            """
            import builtins
            loop = new_event_loop()
            loop.self = loop
            builtins.kept = loop
            sys.kept = [loop.call_later(100, print), loop.call_soon(print)]
            """,
            err=None,
        )

    def test_tasks_still_pending(self):
        self.check(
            """
            async def forever():
                try:
                    await asyncio.sleep(1000)
                finally:
                    print("unwound")
            loop = new_event_loop()
            tasks = [loop.create_task(forever()) for _ in range(3)]
            loop.run_until_complete(asyncio.sleep(0))
            print("end")
            """,
            "end\n" + "unwound\n" * 3,
            err=None,
        )

    def test_exit_from_within_the_loop(self):
        self.check(
            """
            loop = new_event_loop()
            loop.call_soon(sys.exit, 0)
            loop.run_forever()
            """,
            err=None,
        )

    def test_exit_while_another_thread_runs_a_loop(self):
        self.check(
            """
            def run():
                loop = new_event_loop()
                loop.call_soon(started.set)
                def again():
                    loop.call_later(0.0001, again)
                again()
                loop.run_forever()
            started = threading.Event()
            threading.Thread(target=run, daemon=True).start()
            started.wait()
            time.sleep(0.02)
            print("end")
            """,
            "end\n",
            err=None,
        )

    def test_exit_while_threads_call_in(self):
        self.check(
            """
            loop = new_event_loop()
            def run():
                while True:
                    loop.call_soon_threadsafe(int)
            for _ in range(3):
                threading.Thread(target=run, daemon=True).start()
            loop.run_until_complete(asyncio.sleep(0.02))
            print("end")
            """,
            "end\n",
            err=None,
        )

    def test_thread_calls_in_after_the_end_of_main(self):
        self.check(
            """
            loop = new_event_loop()
            def run():
                threading.main_thread().join()
                loop.call_soon_threadsafe(int)
                print("thread")
            threading.Thread(target=run).start()
            loop.run_until_complete(asyncio.sleep(0))
            """,
            "thread\n",
            err=None,
        )

    def test_at_exit_functions_can_use_a_loop(self):
        self.check(
            """
            import atexit
            def last():
                loop.run_until_complete(asyncio.sleep(0.001))
                loop.close()
                print("last")
            loop = new_event_loop()
            atexit.register(last)
            """,
            "last\n",
        )

    def test_asyncgen_left_open(self):
        self.check(
            """
            async def numbers():
                try:
                    yield 1
                finally:
                    print("closed")
            async def main():
                async for _ in numbers():
                    break
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                runner.run(main())
            """,
            "closed\n",
        )


EVERYTHING = """
async def echo(reader, writer):
    while data := await reader.read(1000):
        writer.write(data)
        await writer.drain()
    writer.close()

class Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport
        self.got = asyncio.get_running_loop().create_future()
    def datagram_received(self, data, address):
        self.got.set_result(data)

async def main():
    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    for _ in range(5):
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"x" * 200000)
        assert await reader.readexactly(200000) == b"x" * 200000
        writer.close()
        await writer.wait_closed()
    server.close()
    transport, protocol = await loop.create_datagram_endpoint(Datagrams, ("127.0.0.1", 0))
    transport.sendto(b"hello", transport.get_extra_info("sockname"))
    await protocol.got
    transport.close()
    process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    assert (await process.communicate(b"hello"))[0] == b"hello"
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        task = loop.create_task(loop.sock_recv(ours, 10))
        await asyncio.sleep(0)
        theirs.send(b"hello")
        assert await task == b"hello"
        loop.add_reader(ours, int)
        loop.remove_reader(ours)
    loop.add_signal_handler(signal.SIGUSR1, int)
    os.kill(os.getpid(), signal.SIGUSR1)
    await asyncio.sleep(0.001)
    loop.remove_signal_handler(signal.SIGUSR1)
    await asyncio.to_thread(int)
    await asyncio.gather(*(asyncio.sleep(0.001) for _ in range(50)))
    try:
        await asyncio.wait_for(asyncio.sleep(100), 0.001)
    except asyncio.TimeoutError:
        pass
    loop.call_later(100, int).cancel()

for _ in range(3):
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main())
print("end")
"""


class Allocators(Programs):
    def test_debug_allocator(self):
        self.check(EVERYTHING, "end\n", PYTHONMALLOC="debug")

    def test_malloc_itself(self):
        """glibc's own checks see what pymalloc's arenas hide."""
        self.check(EVERYTHING, "end\n", PYTHONMALLOC="malloc_debug", MALLOC_PERTURB_="165")

    def test_developers_mode(self):
        self.check(EVERYTHING, "end\n", ("-X", "dev"), err=None)

    def test_without_assertions(self):
        self.check(EVERYTHING.replace("assert ", "_ = "), "end\n", ("-OO",))

    def test_collector_at_every_chance(self):
        self.check("import gc; gc.set_threshold(1)\n" + EVERYTHING, "end\n")

    @unittest.skipUnless(hasattr(sys, "gettotalrefcount"), "this Python does not count references")
    def test_total_references(self):
        result = support.program(EVERYTHING, "-X", "showrefcount")
        self.assertEqual(result.code, 0, result)


class Closing(support.LoopCase):
    """Things that happen to objects after their loop has gone."""

    def made(self, factory=asyncio.Protocol):
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        transport, protocol = self.loop.run_until_complete(
            self.loop.create_connection(factory, sock=ours)
        )
        return transport, theirs

    def test_a_transport_after_its_loop(self):
        transport, theirs = self.made()
        self.loop.close()
        with contextlib.suppress(RuntimeError):  # asyncio's: the loop is closed
            transport.close()
        repr(transport)
        transport.get_extra_info("peername")
        transport.is_closing()
        del transport
        gc.collect()

    def test_a_server_after_its_loop(self):
        server = self.loop.run_until_complete(
            self.loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        )
        self.loop.close()
        server.close()
        self.assertEqual(server.sockets, ())

    def test_a_closed_loop_closes_the_callbacks_of_transports(self):
        calls = []

        class Protocol(asyncio.Protocol):
            def connection_lost(self, error):
                calls.append("lost")

        transport, theirs = self.made(Protocol)
        transport.close()
        self.loop.close()
        self.assertEqual(calls, [])

    def test_loop_deleted_while_transports_live(self):
        loop = support.new_event_loop()
        ours, theirs = socket.socketpair()
        transport, _ = loop.run_until_complete(
            loop.create_connection(asyncio.Protocol, sock=ours)
        )
        loop.close()
        del loop
        gc.collect()
        repr(transport)
        with contextlib.suppress(RuntimeError):
            transport.write_eof()
            transport.close()
        del transport
        gc.collect()
        theirs.close()

    def test_closing_from_a_finalizer(self):
        class Owner:
            def __init__(self):
                self.loop = support.new_event_loop()

            def __del__(self):
                self.loop.close()

        owner = Owner()
        owner.itself = owner
        del owner
        gc.collect()

    def catch_unraisable(self):
        """BaseEventLoop.__del__ cannot close what was never made; that is not for the screen."""
        hook = sys.unraisablehook
        sys.unraisablehook = lambda _: None
        self.addCleanup(setattr, sys, "unraisablehook", hook)

    def test_new_object_without_init(self):
        """What pickle or a careless subclass makes must raise, not crash."""
        kind = type(self.loop)
        blank = kind.__new__(kind)
        self.catch_unraisable()
        for name in ("run_forever", "close", "is_running", "is_closed", "time", "stop", "__repr__"):
            try:
                getattr(blank, name)()
            except (RuntimeError, AttributeError, TypeError):
                pass

    def test_subclass_that_forgets_init(self):
        class Forgets(type(self.loop)):
            def __init__(self):
                pass

        loop = Forgets()
        self.catch_unraisable()
        coroutine = asyncio.sleep(0)
        for call in (
            lambda: loop.call_soon(int),
            lambda: loop.call_later(1, int),
            lambda: loop.add_reader(0, int),
            lambda: loop.run_until_complete(coroutine),
        ):
            try:
                result = call()
            except (RuntimeError, AttributeError, TypeError):
                continue
            del result
        coroutine.close()
        del loop
        gc.collect()

    def test_signal_handlers_of_a_forgotten_loop(self):
        loop = support.new_event_loop()
        loop.add_signal_handler(signal.SIGUSR1, int)
        loop.close()
        del loop
        gc.collect()
        self.assertEqual(signal.getsignal(signal.SIGUSR1), signal.SIG_DFL)

    def test_standard_input_can_be_watched_and_given_back(self):
        reading, writing = os.pipe()
        self.loop.add_reader(reading, self.loop.stop)
        self.assertTrue(self.loop.remove_reader(reading))
        os.close(reading)
        os.close(writing)
        self.turns()


if __name__ == "__main__":
    support.main()
