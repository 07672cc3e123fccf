"""Signals before the loop runs, task factories and contexts, negative delays, asyncio's classes."""

import asyncio
import contextvars
import os
import random
import signal
import socket
import sys
import time
import unittest
import weakref

import support
from support import asynchronous


class Signals(support.LoopCase):
    def test_arrives_before_the_loop_runs(self):
        calls = []
        self.loop.add_signal_handler(signal.SIGUSR1, calls.append, "usr1")
        os.kill(os.getpid(), signal.SIGUSR1)
        self.assertEqual(calls, [])
        self.turns(5)
        self.assertEqual(calls, ["usr1"])

    def test_arrives_between_two_runs(self):
        calls = []
        self.loop.add_signal_handler(signal.SIGUSR1, calls.append, "usr1")
        self.turns()
        os.kill(os.getpid(), signal.SIGUSR1)
        self.until(lambda: calls)
        self.assertEqual(calls, ["usr1"])

    def test_several_kinds(self):
        calls = []
        kinds = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGHUP)
        for kind in kinds:
            self.loop.add_signal_handler(kind, calls.append, kind)
        for kind in kinds:
            os.kill(os.getpid(), kind)
        self.until(lambda: len(calls) == len(kinds))
        self.assertEqual(sorted(calls), sorted(kinds))

    def test_wakes_a_loop_that_sleeps(self):
        self.loop.add_signal_handler(signal.SIGALRM, self.loop.stop)
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        late = []
        self.loop.call_later(20, lambda: (late.append(1), self.loop.stop()))
        self.loop.run_forever()
        self.assertEqual(late, [])


class Factories(support.LoopCase):
    def setUp(self):
        super().setUp()
        self.given = []

        def factory(loop, coroutine, **options):
            self.given.append(options)
            return asyncio.Task(coroutine, loop=loop, **options)

        self.factory = factory
        self.loop.set_task_factory(factory)

    async def nothing(self):
        pass

    @asynchronous
    async def test_context_only_if_the_caller_did(self):
        self.given.clear()
        await self.loop.create_task(self.nothing())
        self.assertNotIn("context", self.given.pop())
        context = contextvars.copy_context()
        await self.loop.create_task(self.nothing(), context=context)
        self.assertIs(self.given.pop()["context"], context)

    @unittest.skipIf(sys.version_info >= (3, 14), "since 3.14 a factory is given the name")
    @asynchronous
    async def test_a_factory_of_two_arguments(self):
        self.loop.set_task_factory(lambda loop, coroutine: asyncio.Task(coroutine, loop=loop))
        task = self.loop.create_task(self.nothing(), name="named")
        self.assertEqual(task.get_name(), "named")
        await task
        await asyncio.create_task(self.nothing())
        await asyncio.gather(self.nothing(), self.nothing())

    @asynchronous
    async def test_name(self):
        task = self.loop.create_task(self.nothing(), name="the name")
        self.assertEqual(task.get_name(), "the name")
        await task

    @support.stock_since(3, 13, 3)
    @asynchronous
    async def test_other_keywords_go_to_the_factory(self):
        seen = []

        def factory(loop, coroutine, *, shape=None, **options):
            seen.append(shape)
            return asyncio.Task(coroutine, loop=loop)

        self.loop.set_task_factory(factory)
        await self.loop.create_task(self.nothing(), shape="round")
        self.assertEqual(seen, ["round"])

    def test_set_and_get(self):
        self.assertIs(self.loop.get_task_factory(), self.factory)
        with self.assertRaises(TypeError):
            self.loop.set_task_factory(1)
        self.loop.set_task_factory(None)
        self.assertIsNone(self.loop.get_task_factory())

    @unittest.skipUnless(hasattr(asyncio, "eager_task_factory"), "eager tasks came with 3.12")
    @asynchronous
    async def test_eager(self):
        self.loop.set_task_factory(asyncio.eager_task_factory)
        steps = []

        async def step():
            steps.append("in")
            await asyncio.sleep(0)
            steps.append("out")

        task = asyncio.create_task(step())
        self.assertEqual(steps, ["in"])
        await task
        self.assertTrue(asyncio.create_task(self.nothing()).done())


class Delays(support.LoopCase):
    def order(self, *calls):
        """In which order callbacks run: calls are (method, argument, label)."""
        ran = []
        for method, argument, label in calls:
            if argument is None:
                self.loop.call_soon(ran.append, label)
            else:
                getattr(self.loop, method)(argument, ran.append, label)
        self.loop.call_later(0.01, self.loop.stop)
        self.loop.run_forever()
        return ran

    def test_negative_delays_keep_their_order(self):
        self.assertEqual(
            self.order(
                ("call_later", -1, "b"),
                ("call_later", -3, "a"),
                ("call_later", 0, "d"),
                ("call_later", -0.5, "c"),
            ),
            list("abcd"),
        )

    def test_times_in_the_past(self):
        now = self.loop.time()
        self.assertEqual(
            self.order(
                ("call_at", now - 1, "c"),
                ("call_at", now - 2, "b"),
                ("call_at", 0, "a"),
                ("call_at", now - 0.5, "d"),
            ),
            list("abcd"),
        )

    def test_what_is_ready_goes_first(self):
        self.assertEqual(
            self.order(("call_later", -1, "due"), ("call_soon", None, "ready")), ["ready", "due"]
        )

    def test_huge_and_tiny(self):
        far = self.loop.call_later(1e10, self.fail)
        endless = self.loop.call_later(float("inf"), self.fail)
        self.assertEqual(self.order(("call_later", 1e-9, "tiny")), ["tiny"])
        far.cancel()
        endless.cancel()

    def test_many_timers_come_in_order(self):
        delays = [random.randrange(100) / 10000 for _ in range(2000)]
        ran = []
        start = self.loop.time()
        handles = [self.loop.call_at(start + delay, ran.append, delay) for delay in delays]
        for handle in handles[::3]:
            handle.cancel()
        expect = sorted(delay for number, delay in enumerate(delays) if number % 3)
        self.until(lambda: len(ran) == len(expect))
        self.assertEqual(ran, expect)

    def test_never_too_early(self):
        late = []
        start = self.loop.time()
        for delay in (0.001, 0.0105, 0.02):
            self.loop.call_later(delay, lambda delay=delay: late.append(
                self.loop.time() - start - delay))  # fmt: skip
        self.until(lambda: len(late) == 3)
        self.assertGreaterEqual(min(late), -time.get_clock_info("monotonic").resolution)


class Classes(support.LoopCase):
    def test_loop(self):
        self.assertIsInstance(self.loop, asyncio.AbstractEventLoop)
        self.assertIsInstance(self.loop, asyncio.BaseEventLoop)

    def test_handle(self):
        handle = self.loop.call_soon(int, "5")
        self.assertIsInstance(handle, asyncio.Handle)
        self.assertNotIsInstance(handle, asyncio.TimerHandle)
        self.assertFalse(handle.cancelled())
        self.assertIn("Handle", repr(handle))
        handle.cancel()
        self.assertTrue(handle.cancelled())
        self.assertIn("cancelled", repr(handle))
        handle.cancel()
        handle = self.loop.call_soon_threadsafe(int)
        self.assertIsInstance(handle, asyncio.Handle)

    def test_a_handle_from_elsewhere(self):
        """Libraries make asyncio.Handle by hand, and give it this loop."""
        handle = asyncio.Handle(int, ("5",), self.loop)
        handle._run()
        timer = asyncio.TimerHandle(self.loop.time(), int, (), self.loop)
        timer.cancel()
        self.assertTrue(timer.cancelled())

    @support.stock_since(3, 12)
    def test_handle_context(self):
        context = contextvars.Context()
        self.assertIs(self.loop.call_soon(int, context=context).get_context(), context)
        self.assertIs(self.loop.call_later(0, int, context=context).get_context(), context)
        self.assertIs(self.loop.call_at(0, int, context=context).get_context(), context)
        self.assertIs(
            self.loop.call_soon_threadsafe(int, context=context).get_context(), context
        )
        self.assertIsInstance(self.loop.call_soon(int).get_context(), contextvars.Context)

    def test_timer_handle(self):
        early, late = self.loop.call_at(10, int), self.loop.call_at(20, int)
        self.assertIsInstance(early, asyncio.TimerHandle)
        self.assertEqual((early.when(), late.when()), (10, 20))
        now = self.loop.time()
        self.assertAlmostEqual(self.loop.call_later(5, int).when(), now + 5, delta=1)
        self.assertIn("when=", repr(late))
        late.cancel()
        self.assertTrue(late.cancelled())
        late.cancel()

    def test_timer_handles_are_ordered(self):
        first, second = self.loop.call_at(10, int), self.loop.call_at(20, int)
        self.assertLess(first, second)
        self.assertLessEqual(first, second)
        self.assertGreater(second, first)
        self.assertGreaterEqual(second, first)
        self.assertNotEqual(first, second)
        self.assertEqual(first, first)
        self.assertEqual(hash(first), hash(first))
        self.assertEqual(sorted([second, first]), [first, second])
        same = self.loop.call_at(10, int)
        self.assertEqual(first, same)
        self.assertLessEqual(first, same)
        foreign = asyncio.TimerHandle(15, int, (), self.loop)
        self.assertEqual(sorted([second, foreign, first]), [first, foreign, second])
        self.assertNotEqual(first, 10)
        with self.assertRaises(TypeError):
            first < 10
        for handle in (first, second, same):
            handle.cancel()

    def test_cancelling_timers_after_the_end(self):
        """A timer that has run, one of a closed loop: cancel() is harmless."""
        ran = self.loop.call_later(0, int)
        waits = self.loop.call_later(100, int)
        self.turns()
        time.sleep(0.002)
        self.turns()
        ran.cancel()
        self.loop.close()
        waits.cancel()
        self.assertTrue(waits.cancelled())

    @asynchronous
    async def test_transports(self):
        ours, theirs = socket.socketpair()
        reading, writing = os.pipe()
        made = [
            await self.loop.create_connection(support.Recorder, sock=ours),
            await self.loop.create_connection(support.Recorder, sock=theirs),
            await self.loop.connect_read_pipe(support.Recorder, os.fdopen(reading, "rb")),
            await self.loop.connect_write_pipe(support.Recorder, os.fdopen(writing, "wb")),
        ]
        kinds = (asyncio.Transport, asyncio.Transport, asyncio.ReadTransport,
                 asyncio.WriteTransport)  # fmt: skip
        for (transport, _), kind in zip(made, kinds):
            self.assertIsInstance(transport, kind)
            self.assertIsInstance(transport, asyncio.BaseTransport)
        sock = made[0][0].get_extra_info("socket")
        self.assertIsInstance(sock, asyncio.trsock.TransportSocket)
        self.assertEqual((sock.family, sock.type), (socket.AF_UNIX, socket.SOCK_STREAM))
        for transport, _ in made:
            transport.close()
        for _, protocol in made:
            await protocol.lost

    @asynchronous
    async def test_futures_and_tasks_are_cpythons(self):
        future = self.loop.create_future()
        self.assertIs(type(future), asyncio.Future)
        self.assertIs(future.get_loop(), self.loop)
        self.assertIs(type(asyncio.current_task()), asyncio.Task)
        future.cancel()


class Instance(support.LoopCase):
    def test_has_a_dict(self):
        self.loop.something = 5
        self.assertEqual(self.loop.__dict__["something"], 5)

    def test_weak_reference(self):
        self.assertIs(weakref.ref(self.loop)(), self.loop)

    def test_replaced_methods_are_the_ones_called(self):
        """What asyncio itself calls on the loop, it calls by name."""
        seen = []

        def watch(name):
            method = getattr(self.loop, name)

            def replacement(*arguments, **options):
                seen.append(name)
                return method(*arguments, **options)

            setattr(self.loop, name, replacement)

        for name in ("create_future", "call_later", "call_soon", "time", "create_task",
                     "call_exception_handler", "run_in_executor"):  # fmt: skip
            watch(name)

        async def main():
            await asyncio.sleep(0.001)
            await asyncio.create_task(asyncio.sleep(0))
            await asyncio.to_thread(int)

        self.loop.run_until_complete(main())
        self.loop.call_exception_handler({"message": "for the test"})
        self.assertEqual(self.take_errors(), [{"message": "for the test"}])
        self.assertLessEqual(
            {"create_future", "call_later", "create_task", "run_in_executor",
             "call_exception_handler"},
            set(seen),
        )  # fmt: skip

    def test_the_exception_handler_can_be_replaced(self):
        seen = []
        self.loop.call_exception_handler = seen.append
        self.loop.call_soon(lambda: 1 / 0)
        self.turns()
        self.assertIsInstance(seen[0]["exception"], ZeroDivisionError)

    def test_time_can_be_replaced(self):
        """As time-travelling test loops do it: timers follow loop.time()."""
        offset = 0.0
        real = self.loop.time
        self.loop.time = lambda: real() + offset
        self.assertGreater(self.loop.call_later(5, int).when(), real() + 4)
        offset = 1000.0
        handle = self.loop.call_later(5, int)
        self.assertGreater(handle.when(), real() + 1004)
        handle.cancel()

    def test_subclass(self):
        class Mine(type(self.loop)):
            def __init__(self):
                self.calls = []
                super().__init__()

            def call_soon(self, callback, *arguments, context=None):
                self.calls.append(callback)
                return super().call_soon(callback, *arguments, context=context)

            def call_exception_handler(self, report):
                self.calls.append(report)

        loop = Mine()
        loop.call_soon(lambda: 1 / 0)
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        self.assertTrue(any(isinstance(call, dict) for call in loop.calls))

    def test_a_task_uses_the_call_soon_of_a_subclass(self):
        """CPython's Task calls loop.call_soon, and so what replaces it."""
        seen = []
        original = self.loop.call_soon

        def call_soon(*arguments, **options):
            seen.append(arguments[0])
            return original(*arguments, **options)

        self.loop.call_soon = call_soon
        self.loop.run_until_complete(asyncio.sleep(0))
        self.assertTrue(seen)

    def test_repr(self):
        self.assertIn("running=False closed=False debug=False", repr(self.loop))
        self.loop.close()
        self.assertIn("closed=True", repr(self.loop))


if __name__ == "__main__":
    support.main()
