"""Lock, Event, both semaphores and Condition in C, and the interpreter's own test_locks."""

# run: timeout=300

import asyncio
import gc
import math
import random
import sys
import unittest
import weakref

import accelerated
import support
from accelerated import Awaitables, Case, classes, since_313, turns
from support import asynchronous

STOCK = {name: getattr(asyncio, name) for name in ("Lock", "Semaphore", "Condition")}


def load_tests(loader, tests, pattern):
    return accelerated.interpreters_own(loader, tests, "test_locks")


class LockTests(Awaitables, Case):
    def ready(self):
        lock = classes.Lock()
        return lock, lock.acquire

    def waiting(self):
        lock = classes.Lock()
        lock._locked = True
        return lock, lock.acquire

    @asynchronous
    async def test_free(self):
        lock = classes.Lock()
        with self.no_futures():
            async with lock as entered:
                self.assertIsNone(entered)
                self.assertTrue(lock.locked())
            self.assertFalse(lock.locked())
            self.assertIs(await lock.acquire(), True)
            self.assertIsNone(lock.release())

    @asynchronous
    async def test_nothing_happens_before_it_is_awaited(self):
        lock = classes.Lock()
        coroutine = lock.acquire()
        self.assertFalse(lock.locked())
        coroutine.close()
        enter = lock.__aenter__()
        self.assertFalse(lock.locked())
        await enter
        leave = lock.__aexit__(None, None, None)
        self.assertTrue(lock.locked())
        await leave
        self.assertFalse(lock.locked())

    @asynchronous
    async def test_first_come_first_served(self):
        lock, order = classes.Lock(), []

        async def use(number):
            async with lock:
                order.append(number)
                await asyncio.sleep(0)

        await asyncio.gather(*map(use, range(10)))
        self.assertEqual(order, list(range(10)))

    @asynchronous
    async def test_nobody_jumps_the_queue(self):
        lock, order = classes.Lock(), []
        await lock.acquire()

        async def use(number):
            async with lock:
                order.append(number)

        first = self.task(use(1))
        await turns()
        lock.release()  # the first is woken, and has not run
        await use(2)
        await first
        self.assertEqual(order, [1, 2])

    @asynchronous
    async def test_woken_and_cancelled_wakes_the_next(self):
        lock = classes.Lock()
        await lock.acquire()
        first, second = self.task(lock.acquire()), self.task(lock.acquire())
        await turns()
        lock.release()
        first.cancel()
        self.assertIs(await asyncio.wait_for(second, 5), True)
        self.assertTrue(first.cancelled())
        self.assertTrue(lock.locked())

    @asynchronous
    async def test_all_waiters_cancelled(self):
        lock = classes.Lock()
        await lock.acquire()
        waiter = self.task(lock.acquire())
        await turns()
        waiter.cancel()
        lock.release()
        with self.no_futures():  # it does not wait behind one that is cancelled
            await lock.acquire()

    def test_release_of_a_free_one(self):
        with self.assertRaisesRegex(RuntimeError, "^Lock is not acquired.$"):
            classes.Lock().release()

    @asynchronous
    async def test_exit_of_a_free_one(self):
        with self.assertRaisesRegex(RuntimeError, "^Lock is not acquired.$"):
            await classes.Lock().__aexit__(None, None, None)
        with self.assertRaises(TypeError):
            classes.Lock().__aexit__()

    @asynchronous
    async def test_exceptions_pass(self):
        lock = classes.Lock()
        with self.assertRaises(ZeroDivisionError):
            async with lock:
                raise ZeroDivisionError
        self.assertFalse(lock.locked())

    def test_arguments(self):
        for bad in (lambda: classes.Lock(1), lambda: classes.Lock(loop=None)):
            self.assertRaisesRegex(TypeError, r"Lock\.__init__\(\)", bad)

    @asynchronous
    async def test_subclass(self):
        calls = []

        class Lock(classes.Lock):
            async def acquire(self):
                calls.append("acquire")
                return await super().acquire()

            def release(self):
                calls.append("release")
                return super().release()

        lock = Lock()
        async with lock:
            self.assertTrue(lock.locked())
        self.assertFalse(lock.locked())
        self.assertEqual(calls, ["acquire", "release"])

    @asynchronous
    async def test_instance_with_methods_of_its_own(self):
        lock, calls = classes.Lock(), []
        lock.release = lambda: calls.append("release")
        async with lock:
            pass
        self.assertEqual(calls, ["release"])
        self.assertTrue(lock.locked())

    def test_is_an_ordinary_object(self):
        for name in ("Lock", "Event", "Semaphore", "BoundedSemaphore", "Condition"):
            thing = getattr(classes, name)()
            with self.subTest(name):
                self.assertIsInstance(thing, getattr(asyncio, name))
                self.assertIs(weakref.ref(thing)(), thing)
                thing.attribute = 1
                self.assertEqual(vars(thing)["attribute"], 1)
                self.assertRegex(repr(thing), rf"^<(\w+\.)+{name} object at 0x\w+ \[\w+.*\]>$")
                self.assertIsNone(thing._loop)
                self.assertEqual(type(thing).__name__, name)

    @asynchronous
    async def test_mixed_with_a_cycle(self):
        lock = classes.Lock()
        lock.itself, ref = lock, weakref.ref(lock)
        await lock.acquire()
        waiter = self.task(lock.acquire())
        await turns()
        waiter.cancel()
        await turns()
        del lock, waiter
        gc.collect()
        self.assertIsNone(ref())


class EventTests(Awaitables, Case):
    def ready(self):
        event = classes.Event()
        event.set()
        return event, event.wait

    def waiting(self):
        event = classes.Event()
        return event, event.wait

    @asynchronous
    async def test_set_wakes_all(self):
        event = classes.Event()
        tasks = [self.task(event.wait()) for _ in range(5)]
        await turns()
        self.assertIn("[unset, waiters:5]", repr(event))
        event.set()
        event.clear()
        self.assertEqual(await asyncio.gather(*tasks), [True] * 5)
        self.assertFalse(event.is_set())
        self.assertIn("[unset]", repr(event))

    @asynchronous
    async def test_cancelled_and_set(self):
        event = classes.Event()
        first, second = self.task(event.wait()), self.task(event.wait())
        await turns()
        first.cancel()
        event.set()
        self.assertIs(await second, True)
        self.assertTrue(first.cancelled())
        self.assertFalse(event._waiters)


class SemaphoreTests(Awaitables, Case):
    def ready(self):
        semaphore = classes.Semaphore(10)
        return semaphore, semaphore.acquire

    def waiting(self):
        semaphore = classes.Semaphore(0)
        return semaphore, semaphore.acquire

    @asynchronous
    async def test_units(self):
        semaphore = classes.Semaphore(2)
        with self.no_futures():
            async with semaphore:
                self.assertEqual(semaphore._value, 1)
                self.assertIs(await semaphore.acquire(), True)
                self.assertTrue(semaphore.locked())
        self.assertEqual(semaphore._value, 1)

    @since_313
    @asynchronous
    async def test_first_come_first_served(self):
        semaphore, order = classes.Semaphore(1), []

        async def use(number):
            async with semaphore:
                order.append(number)
                if number % 2:
                    await asyncio.sleep(0)

        await asyncio.gather(*map(use, range(10)))
        self.assertEqual(order, list(range(10)))
        self.assertEqual(semaphore._value, 1)

    @since_313
    @asynchronous
    async def test_woken_and_cancelled_gives_it_to_the_next(self):
        semaphore = classes.Semaphore(0)
        tasks = [self.task(semaphore.acquire()) for _ in range(3)]
        await turns()
        semaphore.release()
        tasks[0].cancel()
        self.assertIs(await asyncio.wait_for(tasks[1], 5), True)
        self.assertFalse(tasks[2].done())
        self.assertEqual(semaphore._value, 0)
        semaphore.release()
        await tasks[2]
        self.assertEqual(semaphore._value, 0)

    @asynchronous
    async def test_any_number(self):
        semaphore = classes.Semaphore(math.inf)
        for _ in range(10):
            await semaphore.acquire()
        self.assertEqual(semaphore._value, math.inf)
        self.assertIn("value:inf", repr(semaphore))
        self.assertIn("value:3]", repr(classes.Semaphore(value=3)))
        self.assertRaises(TypeError, classes.Semaphore, "1")
        self.assertRaises(TypeError, classes.Semaphore, 1, 2)
        self.assertRaisesRegex(ValueError, "must be >= 0", classes.Semaphore, -1)

    @asynchronous
    async def test_bounded(self):
        semaphore = classes.BoundedSemaphore(1)
        with self.assertRaisesRegex(ValueError, "released too many times"):
            semaphore.release()
        async with semaphore:
            pass
        with self.assertRaises(ValueError):
            async with semaphore:
                semaphore.release()
        self.assertEqual((semaphore._value, semaphore._bound_value), (1, 1))

    @asynchronous
    async def test_subclasses(self):
        for base in (classes.Semaphore, classes.BoundedSemaphore):
            calls = []

            class Own(base):
                def locked(self):
                    calls.append("locked")
                    return super().locked()

                def release(self):
                    calls.append("release")
                    super().release()

            async with Own(1):
                pass
            self.assertEqual(calls, ["locked", "release"])


class ConditionTests(Awaitables, Case):
    def waiting(self):
        condition = classes.Condition()

        async def wait():
            async with condition:
                await condition.wait()

        return condition, wait

    def ready(self):
        condition = classes.Condition()
        condition._lock._locked = True
        return condition, lambda: condition.wait_for(lambda: 1)

    @asynchronous
    async def test_notify(self):
        condition, woken = classes.Condition(), []

        async def wait(number):
            async with condition:
                self.assertIs(await condition.wait(), True)
                self.assertTrue(condition.locked())
                woken.append(number)

        tasks = [self.task(wait(number)) for number in range(6)]
        await turns()
        for arguments, expected in (((), 1), ((2,), 3)):
            async with condition:
                condition.notify(*arguments)
            await turns(10)
            self.assertEqual(woken, list(range(expected)))
        async with condition:
            condition.notify(n=0)
            condition.notify_all()
        await asyncio.gather(*tasks)
        self.assertEqual(woken, list(range(6)))

    @asynchronous
    async def test_wait_for(self):
        condition, values = classes.Condition(), []

        async def wait():
            async with condition:
                return await condition.wait_for(predicate=lambda: values and values[-1])

        task = self.task(wait())
        await turns()
        for value in (0, "", "at last"):
            async with condition:
                values.append(value)
                condition.notify()
            await turns()
        self.assertEqual(await task, "at last")

    @asynchronous
    async def test_predicate_raises(self):
        condition = classes.Condition()
        async with condition:
            with self.assertRaises(ZeroDivisionError):
                await condition.wait_for(lambda: 1 / 0)

    @asynchronous
    async def test_takes_the_lock_although_cancelled(self):
        condition, states = classes.Condition(), []

        async def wait():
            async with condition:
                try:
                    await condition.wait()
                except asyncio.CancelledError as error:
                    states.append((condition.locked(), error.args))
                    raise

        task = self.task(wait())
        await turns()
        await condition.acquire()
        task.cancel("first")
        await turns()
        self.assertFalse(task.done())
        task.cancel("second")
        await turns()
        self.assertFalse(task.done())
        condition.release()
        await asyncio.wait([task])
        self.assertTrue(task.cancelled())
        self.assertFalse(condition.locked())
        if not support.STOCK or sys.version_info >= (3, 13):
            self.assertEqual(states, [(True, ("second",))])

    @since_313
    @asynchronous
    async def test_notified_and_cancelled_notifies_another(self):
        condition = classes.Condition()

        async def wait():
            async with condition:
                return await condition.wait()

        first, second = self.task(wait()), self.task(wait())
        await turns()
        async with condition:
            condition.notify()
            first.cancel()
        self.assertIs(await asyncio.wait_for(second, 5), True)
        self.assertTrue(first.cancelled())

    @asynchronous
    async def test_any_lock(self):
        for lock in (asyncio.Lock(), classes.Lock(), classes.Semaphore(1)):
            condition = classes.Condition(lock)
            self.assertIs(condition._lock, lock)

            async def wait():
                async with condition:
                    await condition.wait()

            task = self.task(wait())
            await turns()
            async with lock:
                self.assertTrue(condition.locked())
                condition.notify_all()
            await task

    @asynchronous
    async def test_without_the_lock(self):
        condition = classes.Condition()
        with self.assertRaisesRegex(RuntimeError, "cannot wait on un-acquired lock"):
            await condition.wait()
        for notify in (condition.notify, condition.notify_all):
            self.assertRaisesRegex(RuntimeError, "cannot notify on un-acquired lock", notify)
        self.assertFalse(condition._waiters)

    def test_not_a_lock(self):
        self.assertRaises(AttributeError, classes.Condition, 5)

    @asynchronous
    async def test_the_lock_fails(self):
        class Broken(classes.Lock):
            def release(self):
                raise ZeroDivisionError

        condition = classes.Condition(Broken())
        await condition.acquire()
        with self.assertRaises(ZeroDivisionError):
            await condition.wait()
        self.assertFalse(condition._waiters)

    @asynchronous
    async def test_barrier_of_asyncio(self):
        barrier = asyncio.Barrier(3)
        self.assertEqual(sorted(await asyncio.gather(*(barrier.wait() for _ in range(3)))),
                         [0, 1, 2])


class HistoryTests(Case):
    """Any order of steps has the outcomes that it has with asyncio's classes (of Python 3.13)."""

    @asynchronous
    async def test_lock(self):
        await self.compare("Lock")

    @unittest.skipIf(sys.version_info < (3, 13), "asyncio's own has another order")
    @asynchronous
    async def test_semaphore(self):
        await self.compare("Semaphore", 2)

    @unittest.skipIf(sys.version_info < (3, 13), "asyncio's own does not pass a notification on")
    @asynchronous
    async def test_condition(self):
        await self.compare("Condition")

    async def compare(self, name, *arguments):
        for seed in range(100):
            with self.subTest(seed=seed):
                histories = [await self.history(kind(*arguments), random.Random(seed))
                             for kind in (STOCK[name], getattr(classes, name))]
                self.assertEqual(*histories)

    async def history(self, thing, choose):
        async def use(number):
            async with thing:
                seen.append(number)
                if hasattr(thing, "notify"):
                    if number % 3:
                        await thing.wait()
                    else:
                        thing.notify(number % 2 + 1)
                else:
                    await asyncio.sleep(0)

        tasks, seen = [], []
        for step in range(60):
            action = choose.choice(("use", "use", "cancel", "turn", "turn"))
            if action == "use":
                tasks.append(self.task(use(step)))
            elif action == "cancel" and tasks:
                choose.choice(tasks[-4:]).cancel()
            elif action == "turn":
                await asyncio.sleep(0)
            seen.append((thing.locked(), len(thing._waiters or ())))
        for task in tasks:
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return seen, [task.cancelled() for task in tasks], repr(thing).partition("[")[2]


if __name__ == "__main__":
    support.main()
