"""Queue, PriorityQueue and LifoQueue in C, and the interpreter's own test_queues."""

# run: timeout=300

import asyncio
import gc
import math
import random
import types
import weakref

import accelerated
import support
from accelerated import Awaitables, Case, classes, turns
from support import asynchronous

STOCK_QUEUE = asyncio.Queue  # before the name is another one's


def load_tests(loader, tests, pattern):
    return accelerated.interpreters_own(loader, tests, "test_queues")


class Item:
    """Something whose life can be watched."""


class GetTests(Awaitables, Case):
    def ready(self):
        queue = classes.Queue()
        queue.put_nowait("item")
        return queue, queue.get

    def waiting(self):
        queue = classes.Queue()
        return queue, queue.get

    def waiters(self, queue):
        return len(queue._getters)


class PutTests(Awaitables, Case):
    def ready(self):
        queue = classes.Queue()
        return queue, lambda: queue.put("item")

    def waiting(self):
        queue = classes.Queue(1)
        queue.put_nowait("item")
        return queue, lambda: queue.put("another")

    def waiters(self, queue):
        return len(queue._putters)


class JoinTests(Awaitables, Case):
    def ready(self):
        queue = classes.Queue()
        return queue, queue.join

    def waiting(self):
        queue = classes.Queue()
        queue.put_nowait("item")
        return queue, queue.join

    def waiters(self, queue):
        return len(queue._finished._waiters)


class QueueTests(Case):
    @asynchronous
    async def test_producer_and_consumers(self):
        queue, taken = classes.Queue(3), []

        async def consume():
            while True:
                taken.append(await queue.get())
                queue.task_done()

        consumers = [self.task(consume()) for _ in range(3)]
        for number in range(50):
            await queue.put(number)
            self.assertLessEqual(queue.qsize(), 3)
        await queue.join()
        self.assertEqual(sorted(taken), list(range(50)))
        for task in consumers:
            task.cancel()
        await asyncio.gather(*consumers, return_exceptions=True)
        self.assertFalse(queue._getters)

    @asynchronous
    async def test_as_asyncio_in_any_order(self):
        for seed in range(100):
            with self.subTest(seed=seed):
                self.assertEqual(await self.history(STOCK_QUEUE(2), random.Random(seed)),
                                 await self.history(classes.Queue(2), random.Random(seed)))

    async def history(self, queue, choose):
        tasks, seen = [], []
        for step in range(60):
            action = choose.choice(("get", "put", "cancel", "turn", "take"))
            if action == "get":
                tasks.append(self.task(queue.get()))
            elif action == "put":
                tasks.append(self.task(queue.put(step)))
            elif action == "cancel" and tasks:
                choose.choice(tasks).cancel()
            elif action == "turn":
                await asyncio.sleep(0)
            elif action == "take" and not queue.empty():
                seen.append(queue.get_nowait())
            seen.append((queue.qsize(), len(queue._getters), len(queue._putters)))
        for task in tasks:
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return seen + [task.cancelled() or task.result() for task in tasks]

    @asynchronous
    async def test_woken_and_cancelled_wakes_the_next(self):
        queue = classes.Queue()
        first, second = self.task(queue.get()), self.task(queue.get())
        await turns()
        queue.put_nowait(1)
        first.cancel()
        self.assertEqual(await asyncio.wait_for(second, 5), 1)

        queue = classes.Queue(1)
        queue.put_nowait(1)
        first, second = self.task(queue.put(2)), self.task(queue.put(3))
        await turns()
        queue.get_nowait()
        first.cancel()
        await asyncio.wait_for(second, 5)
        self.assertEqual(queue.get_nowait(), 3)

    def test_nowait(self):
        queue = classes.Queue(1)
        self.assertRaises(asyncio.QueueEmpty, queue.get_nowait)
        self.assertIsNone(queue.put_nowait(item=1))
        self.assertRaises(asyncio.QueueFull, queue.put_nowait, 2)
        self.assertTrue(queue.full())
        self.assertEqual(queue.get_nowait(), 1)
        self.assertTrue(queue.empty())

    def test_arguments(self):
        queue = classes.Queue(maxsize=3)
        self.assertEqual((queue.maxsize, queue._maxsize), (3, 3))
        for bad in (queue.put, lambda: queue.put(1, 2), lambda: queue.put(thing=1),
                    queue.put_nowait, lambda: queue.get(1), lambda: classes.Queue(1, 2),
                    lambda: classes.Queue(1, maxsize=1), lambda: classes.Queue(size=1)):
            self.assertRaises(TypeError, bad)
        with self.assertRaises(AttributeError):
            queue.maxsize = 1

    def test_sizes(self):
        for size in (0, -1, math.inf):
            queue = classes.Queue(size)
            for number in range(100):
                queue.put_nowait(number)
            self.assertFalse(queue.full())
        queue = classes.Queue(1.5)
        queue.put_nowait(1)
        self.assertFalse(queue.full())
        queue.put_nowait(2)
        self.assertTrue(queue.full())
        queue._maxsize = 3
        self.assertFalse(queue.full())

    @asynchronous
    async def test_orders(self):
        for kind, expected in ((classes.Queue, [3, 1, 2]), (classes.PriorityQueue, [1, 2, 3]),
                               (classes.LifoQueue, [2, 1, 3])):
            queue = kind()
            for item in (3, 1, 2):
                await queue.put(item)
            self.assertEqual([await queue.get() for _ in range(3)], expected)
            self.assertIsInstance(queue, classes.Queue)
            self.assertIsInstance(queue, getattr(asyncio, kind.__name__))

    @asynchronous
    async def test_items_that_cannot_be_compared(self):
        queue = classes.PriorityQueue()
        await queue.put(1)
        with self.assertRaises(TypeError):
            await queue.put("one")

    def test_repr(self):
        queue = classes.Queue(2)
        queue.put_nowait("x")
        self.assertEqual(str(queue), "<Queue maxsize=2 _queue=['x'] tasks=1>")
        self.assertEqual(repr(queue), f"<Queue at {id(queue):#x} maxsize=2 _queue=['x'] tasks=1>")
        self.assertIsInstance(classes.Queue[int], types.GenericAlias)

    @asynchronous
    async def test_awkward_items(self):
        """A result that is an exception or a tuple is not taken for something else."""
        queue = classes.Queue()
        for item in (None, (), (1, 2), ValueError("item"), StopIteration(1), ValueError):
            for take in (queue.get, lambda: asyncio.create_task(queue.get())):
                queue.put_nowait(item)
                self.assertIs(await take(), item)
            queue.put_nowait(item)
            with self.assertRaises(StopIteration) as stopped:
                queue.get().send(None)
            self.assertIs(stopped.exception.value, item)

    @asynchronous
    async def test_items_are_let_go(self):
        queue = classes.Queue()
        for _ in range(3):
            item = Item()
            ref = weakref.ref(item)
            await queue.put(item)
            del item
            self.assertIsInstance(await queue.get(), Item)
            self.assertIsNone(ref())

    @asynchronous
    async def test_results_that_were_caught(self):
        """Somebody keeps the StopIteration: the next await has one of its own."""
        queue, kept = classes.Queue(), []
        for number in range(1, 5):
            queue.put_nowait(number)
            iterator = queue.get().__await__()
            try:
                next(iterator)
            except StopIteration as stop:
                kept.append(stop)
            queue.put_nowait(-number)
            self.assertEqual(await queue.get(), -number)
        self.assertEqual([stop.value for stop in kept], [1, 2, 3, 4])

    def test_task_done_too_often(self):
        queue = classes.Queue()
        self.assertRaisesRegex(ValueError, "called too many times", queue.task_done)

    @asynchronous
    async def test_containers_of_their_own(self):
        for base in (classes.Queue, classes.LifoQueue, classes.PriorityQueue):
            class Once(base):
                def _init(self, maxsize):
                    self.given = maxsize
                    self._queue = set()

                def _put(self, item):
                    self._queue.add(item)

                def _get(self):
                    return self._queue.pop()

            queue = Once(2)
            await queue.put(1)
            await queue.put(1)
            self.assertEqual((queue.given, queue.qsize(), queue.full()), (2, 1, False))
            self.assertEqual(await queue.get(), 1)
            self.assertTrue(queue.empty())

    @asynchronous
    async def test_methods_that_are_replaced(self):
        names = "qsize empty full get_nowait put_nowait _get _put".split()

        def watched(base, calls):
            def method(name):
                def call(self, *arguments):
                    calls.add(name)
                    return getattr(base, name)(self, *arguments)
                return call
            return type("Watched", (base,), {name: method(name) for name in names})

        for base in (classes.Queue, classes.PriorityQueue, classes.LifoQueue):
            calls = set()
            queue = watched(base, calls)(1)
            await queue.put(1)
            self.assertEqual(await queue.get(), 1)
            self.assertEqual(calls, set(names))

        queue = classes.Queue()
        queue.get_nowait = lambda: "replaced"
        await queue.put(1)
        self.assertEqual(await queue.get(), "replaced")

    @asynchronous
    async def test_methods_that_fail(self):
        class Broken(classes.Queue):
            def _put(self, item):
                raise ZeroDivisionError

        queue = Broken()
        with self.assertRaises(ZeroDivisionError):
            await queue.put(1)
        self.assertEqual(queue._unfinished_tasks, 0)

        class Half(classes.Queue):
            def _init(self, maxsize):
                pass

        self.assertRaises(AttributeError, Half().qsize)
        self.assertRaises(AttributeError, Half().get_nowait)

    def test_two_orders(self):
        both = type("Both", (classes.LifoQueue, classes.PriorityQueue), {})()
        for item in (1, 0, 2):
            both.put_nowait(item)
        self.assertEqual([both.get_nowait() for _ in range(3)], [2, 0, 1])

    def test_a_cycle_of_items(self):
        queue = classes.Queue()
        queue.put_nowait(queue)
        queue.attribute = queue
        ref = weakref.ref(queue)
        del queue
        gc.collect()
        self.assertIsNone(ref())

    def test_nothing_is_left(self):
        async def use():
            queue = classes.Queue(1)
            getters = [self.task(queue.get()) for _ in range(3)]
            for number in range(3):
                await queue.put(number)
            await asyncio.gather(*getters)
            putters = [self.task(queue.put(number)) for number in range(3)]
            await turns()
            putters[1].cancel()
            for _ in range(2):
                await queue.get()
            await asyncio.gather(*putters, return_exceptions=True)

        self.assertLess(support.growth(lambda: self.loop.run_until_complete(use())), 0.5)


class ShutdownTests(Case):
    def setUp(self):
        super().setUp()
        if not hasattr(classes, "QueueShutDown"):
            self.skipTest("asyncio has it since 3.13")

    @asynchronous
    async def test_empty(self):
        queue = classes.Queue()
        queue.shutdown()
        for use in (queue.get, lambda: queue.put(1)):
            with self.assertRaises(classes.QueueShutDown):
                await use()
        self.assertRaises(classes.QueueShutDown, queue.get_nowait)
        self.assertRaises(classes.QueueShutDown, queue.put_nowait, 1)

    @asynchronous
    async def test_the_rest_is_taken(self):
        queue = classes.Queue()
        queue.put_nowait(1)
        queue.shutdown()
        self.assertEqual(await queue.get(), 1)
        with self.assertRaises(classes.QueueShutDown):
            await queue.get()

    @asynchronous
    async def test_the_rest_is_dropped(self):
        queue = classes.Queue()
        queue.put_nowait(1)
        joiner = self.task(queue.join())
        await turns()
        queue.shutdown(immediate=True)
        self.assertRaises(classes.QueueShutDown, queue.get_nowait)
        await asyncio.wait_for(joiner, 5)

    @asynchronous
    async def test_those_who_wait(self):
        for kind, function in ((classes.Queue(), "get"), (classes.Queue(1), "put")):
            arguments = (2,) if function == "put" else ()
            if arguments:
                kind.put_nowait(1)
            tasks = [self.task(getattr(kind, function)(*arguments)) for _ in range(3)]
            await turns()
            kind.shutdown()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            self.assertEqual([type(result) for result in results], [classes.QueueShutDown] * 3)


if __name__ == "__main__":
    support.main()
