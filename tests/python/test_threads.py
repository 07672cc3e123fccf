"""Several loops in several threads, each with its own connections, timers, tasks and children.

With the GIL this shows that loops have nothing in common that they get in each other's way with;
without it (a build of CPython 3.13 or later with --disable-gil) that nothing shared is unguarded.
"""
# run: timeout=300

import asyncio
import contextlib
import gc
import os
import socket
import subprocess
import sys
import tempfile
import threading
import unittest
import warnings
from pathlib import Path

import support
import casyncio

THREADS = 6
ROUNDS = 40
WITHOUT_GIL = not getattr(sys, "_is_gil_enabled", lambda: True)()


class Threads(unittest.TestCase):
    def setUp(self):
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        self.addCleanup(sys.setswitchinterval, interval)

    def run_all(self, work, count=THREADS):
        """Calls work(number) in so many threads at once; what one raises is raised here."""
        begin, failed = threading.Barrier(count), []

        def run(number):
            begin.wait()
            try:
                work(number)
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]

    def test_the_gil_stays_as_it_was(self):
        code = ("import sys\nbefore = getattr(sys, '_is_gil_enabled', int)()\n"
                "import casyncio\nprint(before == getattr(sys, '_is_gil_enabled', int)())")
        done = subprocess.run([sys.executable, "-W", "error", "-c", code], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(done.stdout, "True\n")

    def test_connections(self):
        async def echo(reader, writer):
            while line := await reader.readline():
                writer.write(line)
                await writer.drain()
            writer.close()

        async def main(number, streams):
            server = await streams.start_server(echo, "127.0.0.1", 0)
            address = server.sockets[0].getsockname()

            async def client(i):
                reader, writer = await streams.open_connection(*address)
                for j in range(5):
                    writer.write(b"%d %d %d\n" % (number, i, j))
                    self.assertEqual(await reader.readline(), b"%d %d %d\n" % (number, i, j))
                writer.close()

            await asyncio.gather(*map(client, range(ROUNDS)))
            server.close()

        self.run_all(lambda number: casyncio.run(main(number, (asyncio, casyncio)[number % 2])))

    def test_tls(self):
        server_side, client_side = support.server_context(), support.client_context()

        async def main(number):
            server = await self.echo_server(ssl=server_side)
            address = server.sockets[0].getsockname()
            data = os.urandom(50_000)
            for _ in range(3):
                reader, writer = await asyncio.open_connection(
                    *address, ssl=client_side, server_hostname="localhost")
                writer.write(data)
                self.assertEqual(await reader.readexactly(len(data)), data)
                writer.close()
            server.close()

        self.run_all(lambda number: casyncio.run(main(number)), 4)

    @staticmethod
    async def echo_server(**options):
        loop = asyncio.get_running_loop()
        return await loop.create_server(support.Echo, "127.0.0.1", 0, **options)

    def test_what_tasks_wait_for(self):
        async def main(number):
            queue, lock, event = casyncio.Queue(3), casyncio.Lock(), casyncio.Event()
            condition, semaphore = casyncio.Condition(), casyncio.Semaphore(2)
            got = []

            async def produce():
                for i in range(ROUNDS * 5):
                    await queue.put((number, i))

            async def consume():
                for _ in range(ROUNDS * 5):
                    async with lock, semaphore:
                        got.append(await queue.get())
                event.set()
                async with condition:
                    condition.notify_all()

            async def wait():
                async with condition, casyncio.timeout(60):
                    await condition.wait_for(event.is_set)

            await asyncio.gather(produce(), consume(), wait(), event.wait())
            self.assertEqual(got, [(number, i) for i in range(ROUNDS * 5)])

        self.run_all(lambda number: casyncio.run(main(number)))

    def test_timers(self):
        async def main(number):
            loop, calls = asyncio.get_running_loop(), []
            for i in range(ROUNDS * 5):
                handle = loop.call_later(i % 7 / 1000, calls.append, i)
                if i % 3 == 0:
                    handle.cancel()
            await asyncio.sleep(0.02)
            self.assertEqual(sorted(calls), [i for i in range(ROUNDS * 5) if i % 3])

        self.run_all(lambda number: casyncio.run(main(number)))

    def test_from_loop_to_loop(self):
        """Each loop has the next one run coroutines and callbacks, and waits for them."""
        loops, ready, over = [None] * THREADS, threading.Barrier(THREADS), threading.Barrier(THREADS)

        async def main(number):
            loops[number] = asyncio.get_running_loop()
            await asyncio.to_thread(ready.wait)
            following = loops[(number + 1) % THREADS]

            async def there(i):
                await asyncio.sleep(0)
                self.assertIs(asyncio.get_running_loop(), following)
                return number, i

            for i in range(ROUNDS):
                future = asyncio.run_coroutine_threadsafe(there(i), following)
                self.assertEqual(await asyncio.wrap_future(future), (number, i))
            await asyncio.to_thread(over.wait)

        self.run_all(lambda number: casyncio.run(main(number)))

    def test_a_loop_that_is_closed_meanwhile(self):
        """call_soon_threadsafe() works, or says that the loop is closed."""
        for _ in range(10):
            loop, calls, refused, asked = casyncio.new_event_loop(), [], [], []

            def work(number):
                if number == 0:
                    loop.call_later(0.002, loop.stop)
                    loop.run_forever()
                    loop.close()
                    return
                with contextlib.suppress(RuntimeError):
                    for i in range(100_000):
                        handle = loop.call_soon_threadsafe(calls.append, i)
                        if i % 5 == 0:
                            handle.cancel()
                        asked.append(i)
                    return
                refused.append(number)

            self.run_all(work, 4)
            self.assertTrue(loop.is_closed())
            self.assertLessEqual(len(calls), len(asked))

    def test_collections_in_between(self):
        """Transports that nobody has closed are found by the collector of any thread."""
        done = threading.Event()

        async def main(number):
            loop = asyncio.get_running_loop()
            for _ in range(ROUNDS):
                ours, theirs = socket.socketpair()
                transport, protocol = await loop.create_connection(support.Echo, sock=ours)
                transport.pause_reading()
                protocol.cycle = transport, protocol
                del transport, protocol
                await asyncio.sleep(0)
                theirs.close()
            await asyncio.sleep(0.01)

        def work(number):
            if number == 0:
                while not done.wait(0.001):
                    gc.collect()
                return
            try:
                casyncio.run(main(number))
            finally:
                with counted:
                    left.pop()
                    if not left:
                        done.set()

        left, counted = [None] * (THREADS - 1), threading.Lock()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            self.run_all(work)
            gc.collect()

    def test_a_socket_that_was_closed_before_its_transport(self):
        """As above, without a thread: its number is another socket's now."""
        async def main():
            loop = asyncio.get_running_loop()
            ours, theirs = socket.socketpair()
            first, _ = await loop.create_connection(support.Echo, sock=ours)
            first.pause_reading()
            number = ours.fileno()
            ours.close()
            again, there = socket.socketpair()
            self.assertEqual(again.fileno(), number)
            second, _ = await loop.create_connection(support.Echo, sock=again)
            first.abort()
            await asyncio.sleep(0)
            there.setblocking(False)
            await loop.sock_sendall(there, b"hello")
            self.assertEqual(await loop.sock_recv(there, 10), b"hello")
            second.close()
            theirs.close()
            there.close()

        casyncio.run(main())

    def test_children(self):
        async def main(number):
            for i in range(3):
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-I", "-S", "-c", f"print({number}, {i}); raise SystemExit({i})",
                    stdout=subprocess.PIPE)
                output, _ = await process.communicate()
                self.assertEqual((output, process.returncode), (b"%d %d\n" % (number, i), i))

        self.run_all(lambda number: casyncio.run(main(number)), 3)

    @unittest.skipUnless(WITHOUT_GIL, "this interpreter has the GIL, under which it does no harm")
    def test_wrong_thread(self):
        """Without the GIL: what is not thread-safe says so to another thread."""
        loop, up = casyncio.new_event_loop(), threading.Event()
        loop.call_soon(up.set)
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        up.wait()
        for call in (lambda: loop.call_soon(print), lambda: loop.call_later(1, print),
                     lambda: loop.add_reader(0, print)):
            with self.assertRaises(RuntimeError):
                call()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@unittest.skipIf(sys.version_info < (3, 13), "there are interpreters without the GIL since 3.13")
@unittest.skipIf("LD_PRELOAD" in os.environ, "the sanitizer would run in the compiler, too")
class Compiled(unittest.TestCase):
    def test_for_an_interpreter_without_the_gil(self):
        """Only compiled, unless this is such an interpreter: its headers are the same."""
        root = Path(__file__).resolve().parent.parent.parent
        flags = "" if WITHOUT_GIL else " -DPy_GIL_DISABLED=1"
        with tempfile.TemporaryDirectory() as directory:
            done = subprocess.run(
                [sys.executable, root / "python" / "backend.py", "build", "--output", directory,
                 "--werror"], env={**os.environ, "CFLAGS": "-O0" + flags}, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.assertEqual((done.stdout, done.returncode), ("", 0))


if __name__ == "__main__":
    support.main()
