"""What a loop must have: running and stopping, callbacks, tasks, executors, names, exceptions."""

import asyncio
import concurrent.futures
import contextvars
import gc
import logging
import socket
import sys
import threading
import time
import unittest

import support
from support import asynchronous


class Running(support.LoopCase):
    def test_run_until_complete(self):
        async def main():
            self.assertTrue(self.loop.is_running())
            self.assertIs(asyncio.get_running_loop(), self.loop)
            await asyncio.sleep(0.001)
            return "result"

        self.assertFalse(self.loop.is_running())
        self.assertEqual(self.loop.run_until_complete(main()), "result")
        self.assertFalse(self.loop.is_running())
        with self.assertRaises(RuntimeError):
            asyncio.get_running_loop()

    def test_run_until_complete_of_a_future(self):
        future = self.loop.create_future()
        self.loop.call_soon(future.set_result, 5)
        self.assertEqual(self.loop.run_until_complete(future), 5)
        self.assertEqual(self.loop.run_until_complete(future), 5)

    def test_run_until_complete_that_fails(self):
        async def main():
            raise ZeroDivisionError

        with self.assertRaises(ZeroDivisionError):
            self.loop.run_until_complete(main())
        self.turns()

    def test_stopped_before_it_is_complete(self):
        async def main():
            self.loop.stop()
            await asyncio.sleep(10)

        task = self.loop.create_task(main())
        with self.assertRaisesRegex(RuntimeError, "stopped before"):
            self.loop.run_until_complete(task)
        task.cancel()
        self.turns()

    def test_what_is_no_future(self):
        with self.assertRaises(TypeError):
            self.loop.run_until_complete(5)
        other = support.new_event_loop()
        with self.assertRaises(ValueError):
            self.loop.run_until_complete(other.create_future())
        other.close()

    def test_stop_before_running(self):
        """It runs one turn, with what is ready in it."""
        calls = []
        self.loop.call_soon(calls.append, 1)
        self.loop.stop()
        self.loop.run_forever()
        self.assertEqual(calls, [1])
        self.loop.call_soon(calls.append, 2)
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()
        self.assertEqual(calls, [1, 2])

    def test_stop_ends_the_turn(self):
        """What is ready in the same turn still runs; what that schedules waits."""
        calls = []

        def first():
            self.loop.stop()
            calls.append("first")
            self.loop.call_soon(calls.append, "later")

        self.loop.call_soon(first)
        self.loop.call_soon(calls.append, "second")
        self.loop.run_forever()
        self.assertEqual(calls, ["first", "second"])
        self.turns()
        self.assertEqual(calls, ["first", "second", "later"])

    @unittest.skipIf(
        support.STOCK and sys.version_info[:3] == (3, 13, 0), "3.13.0 forgets that it runs"
    )
    def test_running_twice(self):
        other = support.new_event_loop()

        async def main():
            with self.assertRaisesRegex(RuntimeError, "already running"):
                self.loop.run_forever()
            coroutine = asyncio.sleep(0)
            for loop in (self.loop, other):
                with self.assertRaises(RuntimeError):
                    loop.run_until_complete(coroutine)
            coroutine.close()
            with self.assertRaisesRegex(RuntimeError, "Cannot close a running"):
                self.loop.close()

        self.run_async(main())
        other.close()

    def test_closed(self):
        self.assertFalse(self.loop.is_closed())
        self.loop.close()
        self.loop.close()
        self.assertTrue(self.loop.is_closed())
        coroutine = asyncio.sleep(0)
        for call in (
            self.loop.run_forever,
            lambda: self.loop.run_until_complete(coroutine),
            lambda: self.loop.call_soon(int),
            lambda: self.loop.call_soon_threadsafe(int),
            lambda: self.loop.call_later(1, int),
            lambda: self.loop.call_at(1, int),
            lambda: self.loop.create_task(coroutine),
            lambda: self.loop.run_in_executor(None, int),
            lambda: self.loop.add_signal_handler(10, int),
        ):
            with self.assertRaisesRegex(RuntimeError, "closed"):
                call()
        coroutine.close()

    def test_close_forgets_callbacks(self):
        class Thing:
            pass

        thing = Thing()
        before = sys.getrefcount(thing)
        self.loop.call_soon(int, thing)
        self.loop.call_later(100, int, thing)
        self.loop.call_soon_threadsafe(int, thing)
        self.assertEqual(sys.getrefcount(thing), before + 3)
        self.loop.close()
        gc.collect()
        self.assertEqual(sys.getrefcount(thing), before)

    def test_a_base_exception_comes_out_and_the_loop_goes_on(self):
        for kind in (KeyboardInterrupt, SystemExit):
            calls = []

            def fail():
                raise kind

            self.loop.call_soon(fail)
            self.loop.call_soon(calls.append, 1)
            with self.assertRaises(kind):
                self.loop.run_forever()
            self.assertFalse(self.loop.is_running())
            self.turns()
            self.assertEqual(calls, [1])

    def test_asyncgen_hooks_are_put_back(self):
        before = sys.get_asyncgen_hooks()

        async def main():
            return sys.get_asyncgen_hooks()

        self.assertNotEqual(self.run_async(main()), before)
        self.assertEqual(sys.get_asyncgen_hooks(), before)

    def test_shutdown_asyncgens(self):
        ended = []

        async def numbers():
            try:
                while True:
                    yield 1
            finally:
                await asyncio.sleep(0)
                ended.append(1)

        generators = [numbers() for _ in range(3)]

        async def main():
            for generator in generators:
                await generator.__anext__()
            await self.loop.shutdown_asyncgens()

        self.run_async(main())
        self.assertEqual(ended, [1, 1, 1])

    def test_a_forgotten_asyncgen_is_closed(self):
        ended = []

        async def numbers():
            try:
                yield 1
            finally:
                await asyncio.sleep(0)
                ended.append(1)

        async def main():
            async for _ in numbers():
                break
            gc.collect()
            await support.until(lambda: ended)

        self.run_async(main())

    def test_in_a_thread(self):
        results = []

        def run():
            loop = support.new_event_loop()
            results.append(loop.run_until_complete(asyncio.sleep(0.001, "done")))
            loop.close()

        threads = [threading.Thread(target=run) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(results, ["done"] * 5)

    def test_runner(self):
        async def main():
            return type(asyncio.get_running_loop())

        with asyncio.Runner(loop_factory=support.new_event_loop) as runner:
            self.assertIs(runner.run(main()), type(self.loop))
            self.assertIs(runner.run(main()), type(self.loop))


class Callbacks(support.LoopCase):
    def test_call_soon(self):
        calls = []
        self.loop.call_soon(calls.append, 1)
        self.loop.call_soon(calls.append, 2)
        self.loop.call_soon(lambda *arguments: calls.append(arguments), 3, 4, 5)
        self.turns()
        self.assertEqual(calls, [1, 2, (3, 4, 5)])

    def test_a_callback_of_a_callback_runs_in_the_next_turn(self):
        order = []

        def first():
            self.loop.call_soon(order.append, "third")
            order.append("first")

        self.loop.call_soon(first)
        self.loop.call_soon(order.append, "second")
        self.turns()
        self.assertEqual(order, ["first", "second", "third"])

    def test_cancelled(self):
        calls = []
        self.loop.call_soon(calls.append, 1).cancel()
        self.loop.call_later(0, calls.append, 1).cancel()
        self.loop.call_later(0.001, calls.append, 1).cancel()
        self.loop.call_soon_threadsafe(calls.append, 1).cancel()
        second = self.loop.call_soon(lambda: third.cancel())
        third = self.loop.call_soon(calls.append, 1)
        self.run_async(asyncio.sleep(0.005))
        self.assertEqual(calls, [])
        self.assertFalse(second.cancelled())

    def test_contexts(self):
        variable = contextvars.ContextVar("variable", default="outside")
        seen = []

        def note():
            seen.append(variable.get())
            variable.set("changed")

        context = contextvars.copy_context()
        context.run(variable.set, "given")
        self.loop.call_soon(note, context=context)
        self.loop.call_soon(note)
        self.loop.call_soon_threadsafe(note, context=context)
        self.loop.call_later(0, note, context=context)
        self.run_async(asyncio.sleep(0.005))
        self.assertEqual(seen, ["given", "outside", "changed", "changed"])
        self.assertEqual(variable.get(), "outside")

    def test_the_context_is_the_callers(self):
        variable = contextvars.ContextVar("variable", default=0)
        seen = []
        token = variable.set(5)
        self.loop.call_soon(lambda: seen.append(variable.get()))
        self.loop.call_later(0, lambda: seen.append(variable.get()))
        variable.reset(token)
        self.run_async(asyncio.sleep(0.002))
        self.assertEqual(seen, [5, 5])

    def test_arguments(self):
        with self.assertRaises(TypeError):
            self.loop.call_soon()
        with self.assertRaises(TypeError):
            self.loop.call_later(None, int)
        with self.assertRaises(TypeError):
            self.loop.call_at(None, int)
        with self.assertRaises(TypeError):
            self.loop.call_soon(int, nonsense=1)

    def test_time(self):
        before = time.monotonic()
        now = self.loop.time()
        self.assertLessEqual(before, now)
        self.assertLessEqual(now, time.monotonic())

    def test_call_later_and_at(self):
        order = []
        now = self.loop.time()
        self.loop.call_later(0.003, order.append, "3")
        self.loop.call_at(now + 0.001, order.append, "1")
        self.loop.call_later(0.002, order.append, "2")
        self.until(lambda: len(order) == 3)
        self.assertEqual(order, ["1", "2", "3"])

    def test_from_a_thread(self):
        calls = []

        def run():
            for number in range(100):
                self.loop.call_soon_threadsafe(calls.append, number)
            self.loop.call_soon_threadsafe(self.loop.stop)

        thread = threading.Thread(target=run)
        self.loop.call_soon(thread.start)
        self.loop.run_forever()
        thread.join()
        self.assertEqual(calls, list(range(100)))

    def test_a_thread_wakes_the_loop(self):
        timer = threading.Timer(0.02, self.loop.call_soon_threadsafe, (self.loop.stop,))
        timer.start()
        late = []
        self.loop.call_later(20, lambda: (late.append(1), self.loop.stop()))
        self.loop.run_forever()
        self.assertEqual(late, [])

    def test_idle_loop_does_not_spin(self):
        start = time.process_time()
        self.run_async(asyncio.sleep(0.3))
        self.assertLess(time.process_time() - start, 0.1)


class Tasks(support.LoopCase):
    @asynchronous
    async def test_create_task(self):
        async def double(number):
            await asyncio.sleep(0)
            return number * 2

        task = self.loop.create_task(double(5), name="doubles")
        self.assertEqual(task.get_name(), "doubles")
        self.assertIs(task.get_loop(), self.loop)
        self.assertEqual(await task, 10)

    @asynchronous
    async def test_context(self):
        variable = contextvars.ContextVar("variable", default="outside")
        context = contextvars.copy_context()
        context.run(variable.set, "given")

        async def get():
            return variable.get()

        self.assertEqual(await self.loop.create_task(get(), context=context), "given")
        self.assertEqual(await self.loop.create_task(get()), "outside")

    @asynchronous
    async def test_unknown_keyword(self):
        coroutine = asyncio.sleep(0)
        with self.assertRaises(TypeError):
            self.loop.create_task(coroutine, nonsense=1)
        coroutine.close()

    @asynchronous
    async def test_gather_and_cancel(self):
        results = await asyncio.gather(*(asyncio.sleep(0, number) for number in range(1000)))
        self.assertEqual(results, list(range(1000)))
        task = self.loop.create_task(asyncio.sleep(100))
        await asyncio.sleep(0)
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task

    @asynchronous
    async def test_wait_for(self):
        with self.assertRaises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.sleep(100), 0.001)
        self.assertEqual(await asyncio.wait_for(asyncio.sleep(0, 5), 10), 5)

    @asynchronous
    async def test_task_group(self):
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(asyncio.sleep(0, number)) for number in range(5)]
        self.assertEqual([task.result() for task in tasks], list(range(5)))
        async with asyncio.timeout(10):
            await asyncio.sleep(0)


class Executors(support.LoopCase):
    @asynchronous
    async def test_default(self):
        thread = await self.loop.run_in_executor(None, threading.get_ident)
        self.assertNotEqual(thread, threading.get_ident())
        self.assertEqual(await asyncio.to_thread(divmod, 7, 2), (3, 1))
        with self.assertRaises(ZeroDivisionError):
            await self.loop.run_in_executor(None, divmod, 1, 0)

    @asynchronous
    async def test_of_ones_own(self):
        with concurrent.futures.ThreadPoolExecutor(1, "mine") as executor:
            name = await self.loop.run_in_executor(
                executor, lambda: threading.current_thread().name
            )
        self.assertTrue(name.startswith("mine"))

    @asynchronous
    async def test_set_default(self):
        executor = concurrent.futures.ThreadPoolExecutor(1, "default")
        self.loop.set_default_executor(executor)
        name = await self.loop.run_in_executor(None, lambda: threading.current_thread().name)
        self.assertTrue(name.startswith("default"))

    def test_type_is_checked(self):
        for executor in (None, 5, object(), concurrent.futures.Executor()):
            with self.assertRaises(TypeError):
                self.loop.set_default_executor(executor)

    @asynchronous
    async def test_many(self):
        results = await asyncio.gather(
            *(self.loop.run_in_executor(None, pow, 2, number) for number in range(200))
        )
        self.assertEqual(results, [2**number for number in range(200)])

    def test_shutdown(self):
        names = set(thread.name for thread in threading.enumerate())

        async def main():
            await self.loop.run_in_executor(None, int)
            await self.loop.shutdown_default_executor()
            with self.assertRaisesRegex(RuntimeError, "shutdown"):
                self.loop.run_in_executor(None, int)

        self.run_async(main())
        self.assertEqual(set(thread.name for thread in threading.enumerate()), names)

    @support.stock_since(3, 12, 2)
    def test_shutdown_with_a_timeout(self):
        done = threading.Event()
        self.addCleanup(done.set)

        async def main():
            future = self.loop.run_in_executor(None, done.wait)
            with self.assertWarnsRegex(RuntimeWarning, "did not finish"):
                await self.loop.shutdown_default_executor(0.05)
            future.cancel()

        self.run_async(main())

    @support.stock_since(3, 12)
    def test_shutdown_within_the_timeout(self):
        async def main():
            await self.loop.run_in_executor(None, int)
            await self.loop.shutdown_default_executor(timeout=10)
            await self.loop.shutdown_default_executor(timeout=None)

        self.run_async(main())


class Names(support.LoopCase):
    @asynchronous
    async def test_getaddrinfo(self):
        found = await self.loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
        self.assertEqual(found, socket.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM))
        found = await self.loop.getaddrinfo(
            "localhost", None, family=socket.AF_INET, type=socket.SOCK_DGRAM, proto=0, flags=0
        )
        self.assertEqual(found[0][4][0], "127.0.0.1")
        found = await self.loop.getaddrinfo(None, "80", flags=socket.AI_PASSIVE)
        self.assertTrue(found)
        with self.assertRaises(socket.gaierror):
            await self.loop.getaddrinfo("127.0.0.1", 80, flags=0, family=9999)

    @asynchronous
    async def test_getnameinfo(self):
        flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
        found = await self.loop.getnameinfo(("127.0.0.1", 80), flags)
        self.assertEqual(found, ("127.0.0.1", "80"))

    @asynchronous
    async def test_names_that_are_bytes(self):
        found = await self.loop.getaddrinfo(b"127.0.0.1", b"80", type=socket.SOCK_STREAM)
        self.assertEqual(found[0][4], ("127.0.0.1", 80))


class Failures(support.LoopCase):
    def test_a_callback_that_fails(self):
        def fail():
            raise ZeroDivisionError("from the callback")

        handle = self.loop.call_soon(fail)
        calls = []
        self.loop.call_soon(calls.append, 1)
        self.turns()
        self.assertEqual(calls, [1])
        (report,) = self.take_errors()
        self.assertIsInstance(report["exception"], ZeroDivisionError)
        self.assertIs(report["handle"], handle)
        self.assertIn("Exception in callback", report["message"])
        self.assertIn("fail", report["message"])

    def test_without_a_handler_it_is_logged(self):
        self.loop.set_exception_handler(None)
        self.loop.call_soon(lambda: 1 / 0)
        with self.assertLogs("asyncio", logging.ERROR) as logs:
            self.turns()
        self.assertIn("ZeroDivisionError", logs.output[0])

    def test_a_handler_that_fails(self):
        def handler(loop, report):
            raise KeyError("from the handler")

        self.loop.set_exception_handler(handler)
        self.loop.call_soon(lambda: 1 / 0)
        with self.assertLogs("asyncio", logging.ERROR) as logs:
            self.turns()
        self.assertIn("from the handler", "\n".join(logs.output))

    def test_set_and_get(self):
        def handler(loop, report):
            pass

        self.loop.set_exception_handler(handler)
        self.assertIs(self.loop.get_exception_handler(), handler)
        self.loop.set_exception_handler(None)
        self.assertIsNone(self.loop.get_exception_handler())
        with self.assertRaises(TypeError):
            self.loop.set_exception_handler("handler")

    def test_default_handler(self):
        def handler(loop, report):
            loop.default_exception_handler(report)

        self.loop.set_exception_handler(handler)
        self.loop.call_soon(lambda: 1 / 0)
        with self.assertLogs("asyncio", logging.ERROR) as logs:
            self.turns()
        self.assertIn("ZeroDivisionError", logs.output[0])

    @support.stock_since(3, 12)
    def test_the_handler_runs_in_the_context_of_the_task(self):
        variable = contextvars.ContextVar("variable", default="outside")
        seen = []
        self.loop.set_exception_handler(lambda *_: seen.append(variable.get()))

        async def fails():
            variable.set("of the task")
            raise ZeroDivisionError

        async def main():
            task = asyncio.create_task(fails())
            await asyncio.wait([task])
            del task
            gc.collect()

        self.run_async(main())
        self.assertEqual(seen, ["of the task"])

    @support.stock_since(3, 12)
    def test_the_handler_runs_in_the_context_of_the_callback(self):
        variable = contextvars.ContextVar("variable", default="outside")
        seen = []
        self.loop.set_exception_handler(lambda *_: seen.append(variable.get()))
        context = contextvars.copy_context()
        context.run(variable.set, "of the callback")
        self.loop.call_soon(lambda: 1 / 0, context=context)
        self.turns()
        self.assertEqual(seen, ["of the callback"])

    def test_a_task_nobody_asked(self):
        async def fails():
            raise ZeroDivisionError

        async def main():
            asyncio.create_task(fails())
            await asyncio.sleep(0.001)

        self.run_async(main())
        gc.collect()
        (report,) = self.take_errors()
        self.assertIn("never retrieved", report["message"])


if __name__ == "__main__":
    support.main()
