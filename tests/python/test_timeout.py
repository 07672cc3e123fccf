"""timeout() and timeout_at() in C, accelerate.py, and the interpreter's own test_timeouts."""

# run: timeout=300

import asyncio
import asyncio.subprocess
import asyncio.timeouts
import gc
import sys
import unittest
import weakref

from casyncio import _casyncio, accelerate, streams

import accelerated
import support
from accelerated import Case, classes, since_313, turns
from support import asynchronous


def load_tests(loader, tests, pattern):
    return accelerated.interpreters_own(loader, tests, "test_timeouts")


class TimeoutTests(Case):
    @asynchronous
    async def test_in_time(self):
        async with classes.timeout(10) as timeout:
            self.assertIsInstance(timeout, asyncio.timeouts.Timeout)
            self.assertAlmostEqual(timeout.when(), self.loop.time() + 10, delta=5)
            self.assertRegex(repr(timeout), r"^<Timeout \[active\] when=\d+\.\d{1,3}>$")
        self.assertFalse(timeout.expired())
        self.assertEqual(repr(timeout), "<Timeout [finished]>")
        self.assertEqual(asyncio.current_task().cancelling(), 0)

    @asynchronous
    async def test_late(self):
        with self.assertRaises(TimeoutError) as caught:
            async with classes.timeout(0.01) as timeout:
                await asyncio.sleep(10)
        self.assertTrue(timeout.expired())
        self.assertEqual(repr(timeout), "<Timeout [expired]>")
        self.assertEqual(asyncio.current_task().cancelling(), 0)
        if not support.STOCK or sys.version_info >= (3, 12):
            self.assertIsInstance(caught.exception.__cause__, asyncio.CancelledError)
        self.assertIsInstance(caught.exception.__context__, asyncio.CancelledError)

    @asynchronous
    async def test_never(self):
        for make in (classes.timeout, classes.timeout_at, classes.Timeout):
            async with make(None) as timeout:
                self.assertEqual(repr(timeout), "<Timeout [active] when=None>")
                await asyncio.sleep(0)
            self.assertIsNone(timeout.when())

    @asynchronous
    async def test_over_already(self):
        for make in (lambda: classes.timeout(0), lambda: classes.timeout(delay=-1),
                     lambda: classes.timeout_at(when=0), lambda: classes.Timeout(when=0)):
            with self.assertRaises(TimeoutError):
                async with make():
                    await asyncio.sleep(10)

    @asynchronous
    async def test_cancelled_by_somebody_else(self):
        async def work(started):
            async with classes.timeout(10):
                started.set()
                await asyncio.sleep(20)

        started = asyncio.Event()
        task = self.task(work(started))
        await started.wait()
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task

    @asynchronous
    async def test_expired_and_cancelled_by_somebody_else(self):
        async def work():
            async with classes.timeout(0):
                try:
                    await asyncio.sleep(20)
                except asyncio.CancelledError:
                    asyncio.current_task().cancel()
                    raise

        task = self.task(work())
        with self.assertRaises(asyncio.CancelledError):
            await task

    @since_313
    @asynchronous
    async def test_inside_a_task_that_was_cancelled(self):
        async def work():
            try:
                await asyncio.sleep(20)
            except asyncio.CancelledError:
                async with classes.timeout(0):
                    await asyncio.sleep(20)

        task = self.task(work())
        await turns()
        task.cancel()
        with self.assertRaises(TimeoutError):
            await task

    @asynchronous
    async def test_nested(self):
        with self.assertRaises(TimeoutError):
            async with classes.timeout(0.01) as outer:
                async with classes.timeout(10) as inner:
                    await asyncio.sleep(20)
        self.assertEqual((outer.expired(), inner.expired()), (True, False))

    @asynchronous
    async def test_other_exceptions(self):
        with self.assertRaises(ZeroDivisionError):
            async with classes.timeout(10):
                raise ZeroDivisionError

    @since_313
    @asynchronous
    async def test_exceptions_because_of_it(self):
        with self.assertRaises(ZeroDivisionError) as caught:
            async with classes.timeout(0):
                try:
                    await asyncio.sleep(20)
                except asyncio.CancelledError:
                    1 / 0
        error = caught.exception.__context__
        self.assertIsInstance(error, TimeoutError)
        self.assertIsInstance(error.__cause__, asyncio.CancelledError)

    @since_313
    @asynchronous
    async def test_groups_because_of_it(self):
        with self.assertRaises(ExceptionGroup) as caught:
            async with classes.timeout(0):
                try:
                    await asyncio.sleep(20)
                except asyncio.CancelledError:
                    try:
                        1 / 0
                    except ZeroDivisionError as error:
                        raise ExceptionGroup("both", [error])
        inner, = caught.exception.exceptions
        self.assertIsInstance(inner.__context__, TimeoutError)

    @asynchronous
    async def test_reschedule(self):
        with self.assertRaises(TimeoutError):
            async with classes.timeout(None) as timeout:
                self.assertIsNone(timeout.reschedule(self.loop.time() + 10))
                timeout.reschedule(when=None)
                timeout.reschedule(self.loop.time() + 0.01)
                await asyncio.sleep(20)
        with self.assertRaisesRegex(RuntimeError, "Cannot change state of expired Timeout"):
            timeout.reschedule(1)
        async with classes.timeout(10) as timeout:
            pass
        with self.assertRaisesRegex(RuntimeError, "Cannot change state of finished Timeout"):
            timeout.reschedule(1)

    @since_313
    @asynchronous
    async def test_states(self):
        timeout = classes.timeout(10)
        self.assertEqual(repr(timeout), "<Timeout [created]>")
        with self.assertRaisesRegex(RuntimeError, "Timeout has not been entered"):
            timeout.reschedule(None)
        with self.assertRaises(AssertionError):
            await timeout.__aexit__(None, None, None)
        async with timeout:
            with self.assertRaisesRegex(RuntimeError, "Timeout has already been entered"):
                await timeout.__aenter__()
        with self.assertRaisesRegex(RuntimeError, "Timeout has already been entered"):
            async with timeout:
                pass

    def test_outside_of_a_loop_or_a_task(self):
        self.assertRaisesRegex(RuntimeError, "no running event loop", classes.timeout, 1)

        def enter():
            try:
                classes.timeout_at(0).__aenter__().send(None)
            except BaseException as error:
                errors.append(error)

        errors = []
        self.loop.call_soon(enter)
        self.turns()
        self.assertRegex(str(errors[0]), "Timeout should be used inside a task")

    @asynchronous
    async def test_arguments(self):
        for bad in (classes.timeout, lambda: classes.timeout(1, 2), lambda: classes.timeout(x=1),
                    lambda: classes.timeout("1"), classes.timeout_at, classes.Timeout):
            self.assertRaises(TypeError, bad)

    @asynchronous
    async def test_is_let_go(self):
        async def use():
            async with classes.timeout(100) as timeout:
                timeout.attribute = timeout
            return weakref.ref(timeout)

        ref = await self.task(use())
        await turns()
        gc.collect()
        self.assertIsNone(ref())

    def test_nothing_is_left(self):
        async def use():
            async with classes.timeout(0.001) as timeout:
                timeout.reschedule(timeout.when())
            try:
                async with classes.timeout(0):
                    await asyncio.sleep(1)
            except TimeoutError:
                pass
            await asyncio.sleep(0.002)

        self.assertLess(support.growth(lambda: self.loop.run_until_complete(use())), 0.5)


@unittest.skipIf(support.STOCK, "the names are asyncio's own")
class AccelerateTests(Case):
    def setUp(self):
        super().setUp()
        was_installed = asyncio.Queue is _casyncio.Queue
        accelerate.uninstall()
        self.addCleanup(accelerate.install if was_installed else accelerate.uninstall)

    def test_there_and_back(self):
        stock = [dict(vars(module)) for module in accelerate._asyncio_modules()]
        for _ in range(2):
            accelerate.install()
            accelerate.install()
            for home, ours, names in accelerate.NAMES:
                for name in names:
                    for module in (asyncio, sys.modules[home]):
                        if hasattr(module, name):
                            self.assertIs(getattr(module, name), getattr(ours, name), name)
            accelerate.uninstall()
            self.assertEqual(stock, [dict(vars(module))
                                     for module in accelerate._asyncio_modules()])
        accelerate.uninstall()

    def test_users_inside_asyncio(self):
        accelerate.install()

        async def use():
            used = []

            class Watched(_casyncio.Timeout):
                pass

            async with asyncio.Condition() as _:
                used.append(type(asyncio.Barrier(1)._cond))
            if sys.version_info >= (3, 12):
                original, asyncio.timeouts.timeout = asyncio.timeouts.timeout, Watched
                try:
                    with self.assertRaises(TimeoutError):
                        await asyncio.wait_for(asyncio.sleep(10), -1)
                finally:
                    asyncio.timeouts.timeout = original
            used.append(type(await asyncio.wait_for(asyncio.sleep(0, asyncio.Lock()), 1)))
            return used

        self.assertEqual(self.run_async(use()), [_casyncio.Condition, _casyncio.Lock])
        self.assertIs(asyncio.subprocess.streams.StreamReader, streams.StreamReader)

    def test_what_was_made_before_goes_on(self):
        before = asyncio.Queue()
        accelerate.install()

        async def use():
            await before.put(asyncio.Queue())
            return isinstance(await before.get(), type(before))

        self.assertTrue(self.run_async(use()))


if __name__ == "__main__":
    support.main()
