"""What the tests of the C counterparts share (test_queue, test_locks, test_timeout).

The classes under test are casyncio's, `classes`; with CASYNCIO_TEST_LOOP=stock they are asyncio's
own, so that it can be seen that a test asks for what asyncio does (of Python 3.13: `since_313`).
"""

import asyncio
import contextlib
import gc
import importlib
import io

import casyncio
from casyncio import _casyncio

import support

classes = asyncio if support.STOCK else _casyncio
since_313 = support.stock_since(3, 13)


def interpreters_own(loader, tests, name):
    """For load_tests: `tests`, and the interpreter's own of that name, of our classes and loop."""
    if support.STOCK:
        return tests
    try:
        importlib.import_module("test.test_asyncio")
    except ImportError:
        return tests  # Debian has it in a package of its own
    casyncio.install(accelerate=True)
    tests.addTests(loader.loadTestsFromModule(importlib.import_module("test.test_asyncio." + name)))
    return tests


class Case(support.LoopCase):
    """A test of the classes, in a loop."""

    def task(self, coroutine):
        return self.loop.create_task(coroutine)

    @contextlib.contextmanager
    def no_futures(self):
        """Whoever wants to wait inside fails."""
        def create_future():
            raise AssertionError("this was not to wait")

        self.loop.create_future = create_future
        try:
            yield
        finally:
            del self.loop.create_future


async def turns(count=3):
    for _ in range(count):
        await asyncio.sleep(0)


class Awaitables:
    """What the coroutine methods of a class are held to; a mixin of a Case.

    `waiting()` gives an object and a coroutine function of it that has to wait, and `ready()` the
    same where the result is there at once.
    """

    def waiters(self, thing):
        return len(thing._waiters or ())

    def test_is_a_coroutine(self):
        _, function = self.ready()
        coroutine = function()
        self.assertTrue(asyncio.iscoroutine(coroutine))
        self.assertRegex(repr(coroutine), r"^<coroutine object \w+\.\w+ at 0x")
        self.assertEqual(coroutine.__qualname__.rpartition(".")[2], coroutine.__name__)
        coroutine.close()

    @support.asynchronous
    async def test_whatever_takes_coroutines_takes_it(self):
        expected = await self.ready()[1]()
        self.assertEqual(expected, await asyncio.create_task(self.ready()[1]()))
        self.assertEqual(expected, await asyncio.ensure_future(self.ready()[1]()))
        self.assertEqual(expected, await asyncio.wait_for(self.ready()[1](), 5))
        self.assertEqual([expected] * 2,
                         await asyncio.gather(self.ready()[1](), self.ready()[1]()))
        self.assertEqual(expected, await asyncio.shield(self.ready()[1]()))
        done, _ = await asyncio.wait({asyncio.create_task(self.ready()[1]())})
        self.assertEqual(expected, done.pop().result())

    def test_run_until_complete(self):
        expected = self.run_async(self.ready()[1]())
        self.assertEqual(expected, self.loop.run_until_complete(self.ready()[1]()))

    @support.asynchronous
    async def test_ready_needs_no_future(self):
        _, function = self.ready()
        with self.no_futures():
            await function()

    @support.asynchronous
    async def test_driven_by_hand(self):
        with self.assertRaises(StopIteration):
            self.ready()[1]().send(None)
        with self.assertRaises(StopIteration):
            self.ready()[1]().__await__().send(None)
        coroutine = self.ready()[1]()
        with self.assertRaisesRegex(TypeError, "just-started coroutine"):
            coroutine.send(1)
        coroutine.close()
        with self.assertRaisesRegex(RuntimeError, "cannot reuse already awaited coroutine"):
            coroutine.send(None)

    @support.asynchronous
    async def test_waits_for_a_future(self):
        thing, function = self.waiting()
        coroutine = function()
        future = coroutine.send(None)
        self.assertTrue(asyncio.isfuture(future))
        self.assertTrue(coroutine.cr_suspended)
        self.assertEqual(1, self.waiters(thing))
        with self.assertRaisesRegex(RuntimeError, "being awaited already"):
            await coroutine
        coroutine.close()
        self.assertEqual(0, self.waiters(thing))

    @support.asynchronous
    async def test_throw(self):
        thing, function = self.waiting()
        coroutine = function()
        with self.assertRaises(ZeroDivisionError):
            coroutine.throw(ZeroDivisionError)
        coroutine = function()
        coroutine.send(None)
        with self.assertRaisesRegex(ZeroDivisionError, "message"):
            coroutine.throw(ZeroDivisionError("message"))
        self.assertEqual(0, self.waiters(thing))
        coroutine = function()
        with self.assertRaises(TypeError):
            coroutine.throw()
        coroutine.close()

    @support.asynchronous
    async def test_dropped_while_it_waits(self):
        thing, function = self.waiting()
        coroutine = function()
        coroutine.send(None)
        del coroutine
        gc.collect()
        self.assertEqual(0, self.waiters(thing))

    def test_never_awaited(self):
        _, function = self.ready()
        with self.assertWarnsRegex(RuntimeWarning, r"coroutine '\w+\.\w+' was never awaited"):
            function()
            gc.collect()

    def test_never_awaited_in_a_cycle(self):
        thing, function = self.ready()
        with self.assertWarnsRegex(RuntimeWarning, "never awaited"):
            thing.coroutine = function()
            del thing, function
            gc.collect()

    @support.asynchronous
    async def test_cancelled_before_it_runs(self):
        thing, function = self.waiting()
        task = asyncio.create_task(function())
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task
        self.assertEqual(0, self.waiters(thing))

    @support.asynchronous
    async def test_cancelled_while_it_waits(self):
        thing, function = self.waiting()
        task = asyncio.create_task(function())
        await turns()
        self.assertIn("wait_for=<Future pending", repr(task))
        self.assertIn(task.get_coro().__qualname__, repr(task))
        task.print_stack(file=io.StringIO())
        task.cancel("why")
        with self.assertRaisesRegex(asyncio.CancelledError, "why"):
            await task
        self.assertEqual(0, self.waiters(thing))

    @support.asynchronous
    async def test_bound_to_the_loop_that_it_waits_in(self):
        thing, function = self.waiting()
        task = asyncio.create_task(function())
        await turns()

        def elsewhere():
            async def other():
                await function()

            loop = asyncio.new_event_loop()
            try:
                loop.run_until_complete(other())
            finally:
                loop.close()

        with self.assertRaisesRegex(RuntimeError, "is bound to a different event loop"):
            await asyncio.to_thread(elsewhere)
        task.cancel()

    def test_nothing_is_left(self):
        async def use():
            _, function = self.ready()
            await function()
            thing, function = self.waiting()
            tasks = [asyncio.create_task(function()) for _ in range(3)]
            await turns()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            thing.itself = thing
            coroutine = function()
            coroutine.send(None)
            thing.coroutine = coroutine

        self.assertLess(support.growth(lambda: self.loop.run_until_complete(use())), 0.5)
