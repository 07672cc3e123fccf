"""Storms of threads, Ctrl-C at any moment, other interpreters in the process."""

# run: timeout=300

import asyncio
import contextlib
import random
import select
import signal
import subprocess
import threading
import time
import unittest

import support


class Threads(support.LoopCase):
    def test_storm_of_call_soon_threadsafe(self):
        threads, each = 8, 3000
        counts = [0] * threads
        order = [[] for _ in range(threads)]

        def called(thread, number):
            counts[thread] += 1
            order[thread].append(number)
            if sum(counts) == threads * each:
                self.loop.stop()

        def run(thread):
            for number in range(each):
                self.loop.call_soon_threadsafe(called, thread, number)

        workers = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        self.loop.call_later(30, self.loop.stop)
        self.loop.run_forever()
        for worker in workers:
            worker.join()
        self.assertEqual(counts, [each] * threads)
        self.assertEqual(order, [list(range(each))] * threads)

    def test_storm_on_a_loop_that_sleeps(self):
        """Each call has to wake it: none may be left until the next one."""

        async def main():
            for _ in range(500):
                future = self.loop.create_future()
                self.loop.run_in_executor(
                    None, self.loop.call_soon_threadsafe, future.set_result, None
                )
                await asyncio.wait_for(future, 5)

        self.run_async(main())

    def test_storm_while_the_loop_closes(self):
        for _ in range(20):
            loop = support.new_event_loop()
            done = threading.Event()

            def run():
                with contextlib.suppress(RuntimeError):
                    while not done.is_set():
                        loop.call_soon_threadsafe(int)

            workers = [threading.Thread(target=run) for _ in range(3)]
            for worker in workers:
                worker.start()
            loop.run_until_complete(asyncio.sleep(0.001))
            loop.close()
            done.set()
            for worker in workers:
                worker.join()

    def test_run_coroutine_threadsafe(self):
        async def double(number):
            await asyncio.sleep(0)
            return number * 2

        def run():
            futures = [
                asyncio.run_coroutine_threadsafe(double(number), self.loop)
                for number in range(200)
            ]
            return [future.result(10) for future in futures]

        async def main():
            return await asyncio.gather(
                *(self.loop.run_in_executor(None, run) for _ in range(4))
            )

        expect = [number * 2 for number in range(200)]
        self.assertEqual(self.run_async(main()), [expect] * 4)

    def test_cancelled_from_the_loop_while_threads_add(self):
        handles = []

        def run():
            for _ in range(2000):
                handles.append(self.loop.call_soon_threadsafe(int))

        async def main():
            future = self.loop.run_in_executor(None, run)
            while not future.done():
                while handles:
                    handles.pop().cancel()
                await asyncio.sleep(0)

        self.run_async(main())

    def test_loops_in_many_threads(self):
        results = []

        def run():
            async def main():
                server = await asyncio.start_server(echo, "127.0.0.1", 0)
                reader, writer = await asyncio.open_connection(
                    *server.sockets[0].getsockname()
                )
                for _ in range(50):
                    writer.write(b"hello")
                    await reader.readexactly(5)
                writer.close()
                server.close()
                return True

            async def echo(reader, writer):
                while data := await reader.read(100):
                    writer.write(data)
                writer.close()

            loop = support.new_event_loop()
            results.append(loop.run_until_complete(main()))
            loop.run_until_complete(asyncio.sleep(0.01))
            loop.close()

        workers = [threading.Thread(target=run) for _ in range(6)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(20)
        self.assertEqual(results, [True] * 6)


class Interrupts(unittest.TestCase):
    """SIGINT at a random moment: the program ends, promptly, and as Python's programs do.

    Once in some hundred times CPython itself loses one (Runner cancels the main task from within a
    signal handler, which may be amid a future's own work; or the exception comes in a finalizer).
    Then a second is sent, as a person at a keyboard would; more than a few are a failure.
    """

    SOURCE = """
    async def echo(reader, writer):
        try:
            while data := await reader.read(100):
                writer.write(data)
        finally:
            writer.close()

    async def talk(address):
        reader, writer = await asyncio.open_connection(*address)
        try:
            while True:
                writer.write(b"hello")
                await reader.readexactly(5)
        finally:
            writer.close()

    async def main():
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        try:
            address = server.sockets[0].getsockname()
            tasks = [asyncio.create_task(talk(address)) for _ in range(3)]
            os.write(1, b"ready\\n")
            await asyncio.gather(asyncio.sleep(100), *tasks)
        finally:
            server.close()

    def run():
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(main())
    """

    ONCE = """
    run()
    """

    AGAIN = """
    for _ in range(100):
        try:
            run()
        except (KeyboardInterrupt, asyncio.InvalidStateError):
            pass
        else:
            sys.exit("it was not interrupted")
    """

    def setUp(self):
        self.lost = 0
        self.seed = random.randrange(1 << 30)
        self.chance = random.Random(self.seed)

    def interrupt(self, process):
        """Send SIGINT until something comes: the next line, or the end."""
        time.sleep(self.chance.random() * 0.01)
        for _ in range(3):
            process.send_signal(signal.SIGINT)
            if select.select([process.stdout], [], [], 3)[0]:
                return
            self.lost += 1
        self.fail(f"it goes on; seed {self.seed}")

    def test_one_process_again_and_again(self):
        # CPython has much to say of tasks that were cut short, and nobody reads it.
        process = support.start_program(self.SOURCE + self.AGAIN, stderr=subprocess.DEVNULL)
        try:
            for number in range(100):
                line = process.stdout.readline()
                if not line:
                    break
                self.interrupt(process)
            process.wait(10)
            self.assertEqual((process.returncode, number), (0, 99), self.seed)
            self.assertLessEqual(self.lost, 5, self.seed)
        finally:
            process.kill()
            process.communicate()

    def test_processes_at_any_moment(self):
        """Not caught: the process dies of the signal, as Python's processes do."""
        for _ in range(4):
            processes = [support.start_program(self.SOURCE + self.ONCE) for _ in range(5)]
            try:
                for process in processes:
                    self.assertEqual(process.stdout.readline(), "ready\n")
                for process in processes:
                    self.interrupt(process)
                    _, err = process.communicate(timeout=10)
                    if "InvalidStateError" not in err:
                        self.assertEqual(process.returncode, -signal.SIGINT, (self.seed, err))
            finally:
                for process in processes:
                    process.kill()
                    process.communicate()
        self.assertLessEqual(self.lost, 2, self.seed)


class SubInterpreters(unittest.TestCase):
    @support.stock_cannot("it is made for them")
    def test_refused_with_a_clear_message(self):
        source = """
        import casyncio
        code = '''
        try:
            import sys
            sys.path[:0] = {path!r}
            import casyncio
            casyncio.new_event_loop()
        except ImportError as error:
            import os
            os.write(1, ("refused: " + str(error)).encode())
        '''.format(path=sys.path)
        import textwrap, sys
        try:
            import _xxsubinterpreters as interpreters
        except ImportError:
            import _interpreters as interpreters
        one = interpreters.create()
        interpreters.run_string(one, textwrap.dedent(code))
        interpreters.destroy(one)
        loop = casyncio.new_event_loop()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        print("after")
        """
        result = support.program(source)
        self.assertEqual(result.code, 0, result)
        self.assertIn("refused: ", result.out)
        self.assertIn("interpreter", result.out)
        self.assertIn("after", result.out)


if __name__ == "__main__":
    support.main()
