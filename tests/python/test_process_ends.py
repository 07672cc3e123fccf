"""A child is being made, or runs, while the run ends: the run ends all the same."""

# run: timeout=300

import asyncio
import gc
import os
import subprocess
import sys
import unittest

import support
from support import asynchronous, program

# What main() does while a child is being made: it goes on for so many turns, and then ends thus.
ENDS = {
    "return": "return",
    "exception": "raise ZeroDivisionError",
    "exit": "raise SystemExit(0)",
    "cancelled": "asyncio.current_task().cancel(); await asyncio.sleep(0)",
    "interrupted": "signal.raise_signal(signal.SIGINT); await asyncio.sleep(0)",
}
MAKES = {
    "exec": "asyncio.create_subprocess_exec('sleep', '60', {pipes})",
    "shell": "asyncio.create_subprocess_shell('exec sleep 60', {pipes})",
    "protocol": "loop.subprocess_exec(asyncio.SubprocessProtocol, 'sleep', '60', {pipes})",
    "awaited": "wait_for_it({pipes})",
}
PIPES = ("stdin=P, stdout=P, stderr=P", "stdout=P, stderr=D, stdin=D", "stdin=D, stdout=D, stderr=D")

PROGRAM = """
import warnings
warnings.simplefilter('ignore')
P, D = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
async def wait_for_it(**pipes):
    child = await asyncio.create_subprocess_exec('sleep', '60', **pipes)
    await child.wait()
async def main(turns):
    loop = asyncio.get_running_loop()
    asyncio.create_task({make})
    for _ in range(turns):
        await asyncio.sleep(0)
    {end}
for turns in range(9):
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(main(turns))
    except (ZeroDivisionError, SystemExit, asyncio.CancelledError, KeyboardInterrupt):
        pass
with open(f'/proc/self/task/{{os.getpid()}}/children') as children:
    for pid in children.read().split():  # those that were made in time, and are left as they are
        os.kill(int(pid), signal.SIGKILL)
print('ended', flush=True)
"""


@support.stock_since(3, 14)
class Ends(unittest.TestCase):

    def ends(self, end):
        for how, make in MAKES.items():
            for pipes in PIPES:
                with self.subTest(make=how, pipes=pipes):
                    source = PROGRAM.format(make=make.format(pipes=pipes), end=ENDS[end])
                    ended = program(source, timeout=20)
                    self.assertEqual((ended.code, ended.out), (0, "ended\n"), ended.err)


for _end in ENDS:
    def _test(self, end=_end):
        self.ends(end)

    setattr(Ends, f"test_{_end}", _test)


class Wait(support.LoopCase):

    @support.stock_cannot("it waits until the pipes are closed")
    @asynchronous
    async def test_a_grandchild_holds_the_pipe(self):
        child = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", "sleep 60 & echo $!; read line; exit 7",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        grandchild = int(await child.stdout.readline())
        try:
            waits = [asyncio.ensure_future(child.wait()) for _ in range(2)]
            await asyncio.sleep(0)
            child.stdin.write(b"\n")
            self.assertEqual(await asyncio.wait_for(asyncio.gather(*waits), 10), [7, 7])
            self.assertEqual(await child.wait(), 7)
            self.assertFalse(child.stdout.at_eof())
        finally:
            os.kill(grandchild, 9)
        self.assertEqual(await child.stdout.read(), b"")

    @support.stock_cannot("it waits until the pipes are closed")
    def test_the_loop_is_closed_while_a_grandchild_holds_the_pipe(self):
        unraisable = []
        hook, sys.unraisablehook = sys.unraisablehook, unraisable.append
        self.addCleanup(setattr, sys, "unraisablehook", hook)
        before = support.open_descriptors()
        loop = support.new_event_loop()

        async def main():
            child = await asyncio.create_subprocess_exec(
                "/bin/sh", "-c", "sleep 60 & echo $!; read line",
                stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            grandchild = int(await child.stdout.readline())
            child.stdin.write(b"\n")
            await child.wait()
            return grandchild

        grandchild = loop.run_until_complete(main())
        loop.close()
        del loop
        gc.collect()
        os.kill(grandchild, 9)
        self.assertEqual(unraisable, [])
        self.assertEqual(support.open_descriptors(), before)

    @support.stock_cannot("it leaves the pipes to the collector")
    @asynchronous
    async def test_no_descriptor_is_left_of_one_that_was_cancelled(self):
        before = support.open_descriptors()
        for turns in range(1, 8):
            making = asyncio.ensure_future(asyncio.create_subprocess_exec(
                "sleep", "60", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE))
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                if task.get_coro().__qualname__ != "wait_for":
                    task.cancel()
            try:
                child = await making
            except asyncio.CancelledError:
                continue
            child.kill()
            await child.communicate()
        await support.until(lambda: support.open_descriptors() <= before)

    @support.stock_cannot("it has a thread for each")
    def test_no_descriptor_is_left_of_a_loop_that_was_closed(self):
        before = support.open_descriptors()
        for _ in range(3):
            loop = support.new_event_loop()
            transport, _ = loop.run_until_complete(
                loop.subprocess_exec(asyncio.SubprocessProtocol, "sleep", "60", stdin=None,
                                     stdout=None, stderr=None))
            pid = transport.get_pid()
            transport.kill()
            loop.close()
            os.waitpid(pid, 0)
            transport._proc.returncode = -9
            transport.close()
            del transport, loop
        gc.collect()
        self.assertEqual(support.open_descriptors(), before)


if __name__ == "__main__":
    support.main()
