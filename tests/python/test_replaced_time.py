"""loop.time() replaced by the program, as test loops do it: timers follow it, as asyncio's do.

aiohttp's tests move the clock of a running loop to the instant at which a timer is due, and give the
loop two turns.
"""

import asyncio
import functools
import time
import unittest
from unittest import mock

import support


def alone(test):
    """A test that is a coroutine function. Without a time-out, which the clock would bring on."""

    @functools.wraps(test)
    def run(self):
        self.loop.run_until_complete(test(self))

    return run


class Clock:
    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now


class Replaced(support.LoopCase):
    async def moved(self, clock, now, turns=2):
        clock.now = now
        for _ in range(turns):
            await asyncio.sleep(0)

    @alone
    async def test_a_clock_that_is_moved_to_a_timer(self):
        loop, seen = self.loop, []
        clock = Clock(loop.time())
        with mock.patch.object(loop, "time", clock):
            start = clock.now
            for delay in 3000, 1000, 2000:
                loop.call_later(delay, seen.append, delay)
            cancelled = loop.call_at(start + 1500, seen.append, "cancelled")
            await self.moved(clock, start + 999)
            self.assertEqual(seen, [])
            cancelled.cancel()
            await self.moved(clock, start + 1000)
            self.assertEqual(seen, [1000])
            await self.moved(clock, start + 5000)
            self.assertEqual(seen, [1000, 2000, 3000])

    @alone
    async def test_timers_of_before(self):
        loop, seen = self.loop, []
        handle = loop.call_later(1000, seen.append, 1)
        with mock.patch.object(loop, "time", Clock(handle.when())):
            for _ in range(3):  # one more: nothing tells of the patch but the next callback
                await asyncio.sleep(0)
        self.assertEqual(seen, [1])

    @alone
    async def test_a_clock_that_stands_still(self):
        loop, seen = self.loop, []
        clock = Clock(loop.time())
        with mock.patch.object(loop, "time", clock):
            loop.call_later(0.05, seen.append, 1)
            end = time.monotonic() + 0.15
            while time.monotonic() < end:
                await asyncio.sleep(0)
            self.assertEqual(seen, [])
            await self.moved(clock, clock.now + 1000)
            self.assertEqual(seen, [1])

    @alone
    async def test_a_clock_that_is_put_back(self):
        """What was set by the other clock is due by the loop's own afterwards."""
        loop, seen = self.loop, []
        with mock.patch.object(loop, "time", Clock(loop.time() - 3000)):
            handle = loop.call_later(1000, seen.append, 1)
            self.assertLess(handle.when(), time.monotonic())
        await support.until(lambda: seen)

    @alone
    async def test_a_timer_is_cancelled_when_it_is_due(self):
        loop, seen = self.loop, []
        clock = Clock(loop.time())
        with mock.patch.object(loop, "time", clock):
            second = loop.call_later(2000, seen.append, 2)
            loop.call_later(1000, second.cancel)
            await self.moved(clock, clock.now + 3000, turns=3)
            self.assertEqual(seen, [])

    @alone
    async def test_sleeps_and_timeouts(self):
        loop = self.loop
        clock = Clock(loop.time())
        with mock.patch.object(loop, "time", clock):
            sleeper = asyncio.create_task(asyncio.sleep(1000, "slept"))
            waiter = asyncio.create_task(asyncio.wait_for(loop.create_future(), 500))
            await asyncio.sleep(0)
            await self.moved(clock, clock.now + 500, turns=5)
            self.assertTrue(waiter.done() and not sleeper.done())
            self.assertIsInstance(waiter.exception(), TimeoutError)
            await self.moved(clock, clock.now + 500, turns=5)
            self.assertEqual(sleeper.result(), "slept")

    def test_a_subclass_whose_time_runs_faster(self):
        class Fast(type(self.loop)):
            def time(self):
                return time.monotonic() * 1000

        loop = Fast()
        self.addCleanup(loop.close)
        begin = time.monotonic()

        async def sleep():
            for _ in range(10):
                await asyncio.sleep(20)  # 20 ms by the clock on the wall

        task = loop.create_task(sleep())
        ticks = loop.create_task(self.tick(task))
        loop.run_until_complete(asyncio.gather(task, ticks))
        self.assertLess(time.monotonic() - begin, 60)

    async def tick(self, task):
        """A loop that waits for a timer sleeps as long as the timer is away by its clock."""
        while not task.done():
            await asyncio.sleep(0)

    @alone
    async def test_a_clock_that_fails(self):
        loop = self.loop
        timer = loop.call_later(1000, int)
        loop.time = lambda: 1 / 0
        with self.assertRaises(ZeroDivisionError):
            loop.call_later(1, int)
        del loop.time
        timer.cancel()
        if not support.STOCK:  # asyncio's run ends with it
            await asyncio.sleep(0)


if __name__ == "__main__":
    support.main()
