"""loop.watchdog: what blocks the loop is told while it does, with Python's frames."""

import asyncio
import contextlib
import faulthandler
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import unittest

import casyncio
import support

# Blocks until its own report has been written: standard error is a file that it looks into.
PROGRAM = """
    import asyncio, casyncio, os, sys, time
    report = sys.argv[1]

    def told(word="the loop is blocked"):
        with open(report) as file:
            return word in file.read()

    def sleeps():
        while not told():
            time.sleep(0.001)

    def computes():
        while True:
            for i in range(100000):
                pass
            if told():
                return

    async def inner(block):
        block()

    async def outer(block):
        await inner(block)

    async def main():
        {set_up}
        await asyncio.create_task(outer({block}), name="the blocker")

    casyncio.run(main())
"""


class Watchdog(unittest.TestCase):
    def report(self, **names):
        environment = {**os.environ, "CASYNCIO_WATCHDOG": names.pop("environment", "")}
        names.setdefault("set_up", "asyncio.get_running_loop().watchdog = 0.01")
        program = textwrap.dedent(PROGRAM).format(**names)
        with tempfile.NamedTemporaryFile("w+") as file:
            done = subprocess.run([sys.executable, "-c", program, file.name], stderr=file, timeout=100,
                                  stdin=subprocess.DEVNULL, env=environment)
            file.seek(0)
            said = file.read()
        self.assertEqual(done.returncode, 0, said)
        return said

    def check(self, said, function):
        self.assertIn("the loop is blocked for ", said)
        self.assertIn("\n  in Python:\n", said)
        frames = said.partition("\n  in Python:\n")[2].splitlines()
        names = [frame.split()[1] for frame in frames if frame.startswith("  at ")]
        self.assertIn(function, names[:3], said)  # told() may be inside it
        after = names.index(function)
        self.assertEqual(names[after:after + 3], [function, "inner", "outer"], said)
        line = next(i for i, line in enumerate(PROGRAM.splitlines()[1:], 2) if "block()" in line)
        self.assertIn(f"  at inner (<string>:{line})", frames)
        self.assertNotIn("faulthandler", said)

    def test_sleeps(self):
        self.check(self.report(block="sleeps"), "sleeps")

    def test_computes(self):
        self.check(self.report(block="computes"), "computes")

    def test_environment(self):
        self.check(self.report(block="sleeps", set_up="", environment="0.01"), "sleeps")

    def test_handler_of_the_program(self):
        """Its SIGURG stays its own: then there are no frames, and no signal."""
        said = self.report(block="sleeps", set_up="import signal; signal.signal(signal.SIGURG, print)\n"
                           "    asyncio.get_running_loop().watchdog = 0.01")
        self.assertIn("what cannot be said", said)
        self.assertNotIn("in Python", said)


class Attribute(support.LoopCase):
    def test_values(self):
        self.assertIsNone(self.loop.watchdog)
        self.loop.watchdog = 2
        self.assertEqual(self.loop.watchdog, 2.0)
        for wrong in -1, 0, float("nan"), float("inf"), 1e300:
            with self.assertRaises(ValueError):
                self.loop.watchdog = wrong
        with self.assertRaises(TypeError):
            self.loop.watchdog = "1"
        self.assertEqual(self.loop.watchdog, 2.0)
        self.loop.watchdog = None
        self.assertIsNone(self.loop.watchdog)
        with self.assertRaises(AttributeError):
            del self.loop.watchdog

    def watchdogs(self, count):
        """A thread takes a moment to have its name, and to be gone."""
        for _ in range(6000):
            names = []
            for thread in os.listdir("/proc/self/task"):
                with contextlib.suppress(OSError), open(f"/proc/self/task/{thread}/comm") as file:
                    names.append(file.read().strip())
            if names.count("async-watchdog") == count:
                return
            time.sleep(0.01)
        self.fail(f"threads: {names}")

    def test_thread_is_there_while_it_runs(self):
        async def look():
            self.watchdogs(1 if self.loop.watchdog else 0)
            self.loop.watchdog = 1000
            self.watchdogs(1)
            self.loop.watchdog = 2000  # another limit, the one watchdog
            self.watchdogs(1)
            self.loop.watchdog = None
            self.watchdogs(0)

        self.loop.run_until_complete(look())
        self.loop.watchdog = 1000
        self.watchdogs(0)
        self.loop.run_until_complete(look())
        self.watchdogs(0)
        self.assertFalse(faulthandler.unregister(signal.SIGURG))

    def test_another_thread(self):
        def sets():
            try:
                self.loop.watchdog = 1000
            except RuntimeError as error:
                said.append(str(error))

        async def main():
            await asyncio.to_thread(sets)

        said = []
        self.loop.run_until_complete(main())
        self.assertEqual(len(said), 1)
        self.assertIsNone(self.loop.watchdog)

    def test_two_loops(self):
        """Each of two threads has a loop with a watchdog; the first to end leaves the other's."""
        def run():
            async def main():
                asyncio.get_running_loop().watchdog = 1000
                barrier.wait(100)
                self.watchdogs(2)
                barrier.wait(100)
            casyncio.run(main())
            done.append(True)

        barrier, done = threading.Barrier(2), []
        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(done, [True, True])
        self.watchdogs(0)
        self.assertFalse(faulthandler.unregister(signal.SIGURG))

    def test_closed(self):
        self.loop.close()
        self.loop.watchdog = 1000
        self.watchdogs(0)


if __name__ == "__main__":
    support.main()
