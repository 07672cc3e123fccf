"""Subprocesses: exec and shell, their pipes and ends, and what must not happen: a handler on
SIGCHLD, a stall when the process is big, a child that is lost when another reaps."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import tempfile
import threading
import unittest

import support
from support import asynchronous

CAT = (sys.executable, "-c", "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())")


class Recorder(asyncio.SubprocessProtocol):
    def __init__(self):
        self.calls = []
        self.data = {1: bytearray(), 2: bytearray()}
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        self.calls.append("made")

    def pipe_data_received(self, descriptor, data):
        self.data[descriptor] += data

    def pipe_connection_lost(self, descriptor, error):
        self.calls.append(("pipe", descriptor, error))

    def process_exited(self):
        self.calls.append("exited")

    def connection_lost(self, error):
        self.calls.append("lost")
        self.lost.set_result(error)


class ProcessCase(support.LoopCase):
    def setUp(self):
        super().setUp()
        # Up to 3.13 the standard loop's watchers want a loop that they are attached to.
        if support.STOCK and sys.version_info < (3, 12):
            asyncio.set_event_loop(self.loop)
            self.addCleanup(asyncio.set_event_loop, None)

    async def spawn(self, *arguments, **options):
        """subprocess_exec with a Recorder; the transport is closed in the end."""
        transport, protocol = await self.loop.subprocess_exec(Recorder, *arguments, **options)
        self.addCleanup(transport.close)
        return transport, protocol


class Exec(ProcessCase):
    @asynchronous
    async def test_protocol(self):
        transport, protocol = await self.spawn(
            "sh", "-c", "echo out; echo err >&2; exit 3"
        )
        self.assertIsInstance(transport, asyncio.SubprocessTransport)
        self.assertIs(transport, protocol.transport)
        self.assertGreater(transport.get_pid(), 0)
        self.assertIsNone(await protocol.lost)
        self.assertEqual(protocol.data, {1: b"out\n", 2: b"err\n"})
        self.assertEqual(transport.get_returncode(), 3)
        self.assertEqual(protocol.calls[0], "made")
        self.assertEqual(protocol.calls[-1], "lost")
        self.assertEqual(protocol.calls.count("exited"), 1)
        for descriptor in (1, 2):
            self.assertIn(("pipe", descriptor, None), protocol.calls)
        transport.close()

    @asynchronous
    async def test_standard_input(self):
        transport, protocol = await self.spawn(*CAT)
        stdin = transport.get_pipe_transport(0)
        self.assertIsInstance(stdin, asyncio.WriteTransport)
        self.assertIsInstance(transport.get_pipe_transport(1), asyncio.ReadTransport)
        self.assertIsNone(transport.get_pipe_transport(3))
        self.assertIsNone(transport.get_returncode())
        data = os.urandom(500_000)
        stdin.write(data)
        stdin.close()
        await protocol.lost
        self.assertTrue(protocol.data[1] == data)
        self.assertEqual(transport.get_returncode(), 0)

    @asynchronous
    async def test_without_pipes(self):
        transport, protocol = await self.spawn(
            "true", stdin=None, stdout=None, stderr=None
        )
        await protocol.lost
        self.assertEqual(protocol.calls, ["made", "exited", "lost"])
        self.assertIsNone(transport.get_pipe_transport(1))

    @asynchronous
    async def test_redirection(self):
        with tempfile.TemporaryFile() as file:
            transport, protocol = await self.spawn(
            "sh",
                "-c",
                "echo out; echo err >&2",
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
            await protocol.lost
            file.seek(0)
            self.assertEqual(file.read(), b"out\nerr\n")

    @asynchronous
    async def test_options_of_popen(self):
        reading, writing = os.pipe()
        transport, protocol = await self.spawn(
            "sh",
            "-c",
            f"pwd; echo $NAME; echo through >&{writing}; cut -d' ' -f6 /proc/$$/stat",
            cwd="/",
            env={**os.environ, "NAME": "value"},
            pass_fds=(writing,),
            start_new_session=True,
        )
        await protocol.lost
        session = b"%d" % transport.get_pid()
        self.assertEqual(protocol.data[1], b"/\nvalue\n" + session + b"\n")
        os.close(writing)
        self.assertEqual(os.read(reading, 100), b"through\n")
        os.close(reading)

    @asynchronous
    async def test_preexec_function(self):
        transport, protocol = await self.spawn(
            "sh", "-c", "echo $(umask)", preexec_fn=lambda: os.umask(0o77)
        )
        await protocol.lost
        self.assertEqual(protocol.data[1].strip(), b"0077")

    @asynchronous
    async def test_signals(self):
        for send, number in (
            (lambda transport: transport.kill(), signal.SIGKILL),
            (lambda transport: transport.terminate(), signal.SIGTERM),
            (lambda transport: transport.send_signal(signal.SIGUSR1), signal.SIGUSR1),
        ):
            transport, protocol = await self.spawn("sleep", "100")
            send(transport)
            await protocol.lost
            self.assertEqual(transport.get_returncode(), -number)
            with self.assertRaises(ProcessLookupError):
                send(transport)

    @asynchronous
    async def test_close_kills(self):
        transport, protocol = await self.spawn("sleep", "100")
        pid = transport.get_pid()
        transport.close()
        self.assertTrue(transport.is_closing())
        await protocol.lost
        with self.assertRaises(ProcessLookupError):
            os.kill(pid, 0)

    @asynchronous
    async def test_a_pipe_that_a_grandchild_keeps(self):
        """The child's end is told at once, the pipe's when the grandchild goes."""
        lives, ends = os.pipe()
        try:
            transport, protocol = await self.spawn(
                "sh", "-c", f"cat <&{lives} & exit 5", pass_fds=[lives])
            await support.until(lambda: "exited" in protocol.calls)
            self.assertEqual(transport.get_returncode(), 5)
            await asyncio.sleep(0.01)
            self.assertFalse(protocol.lost.done())
        finally:
            os.close(ends)
            os.close(lives)
        await protocol.lost

    @asynchronous
    async def test_program_that_is_not_there(self):
        before = support.open_descriptors()
        with self.assertRaises(FileNotFoundError):
            await self.loop.subprocess_exec(Recorder, "/nothing/of/the/kind")
        with self.assertRaises(PermissionError):
            await self.loop.subprocess_exec(Recorder, "/etc/passwd")
        self.assertLessEqual(support.open_descriptors(), before + 1)

    @asynchronous
    async def test_arguments(self):
        for options in (
            {"universal_newlines": True},
            {"text": True},
            {"shell": True},
            {"bufsize": 5},
            {"encoding": "utf-8"},
            {"errors": "strict"},
        ):
            with self.assertRaises(ValueError):
                await self.loop.subprocess_exec(Recorder, "true", **options)
        with self.assertRaises(TypeError):
            await self.loop.subprocess_exec(Recorder, 5)
        with self.assertRaises(ValueError):
            await self.loop.subprocess_shell(Recorder, "true", shell=False)
        with self.assertRaises(ValueError):
            await self.loop.subprocess_shell(Recorder, 5)


class Shell(ProcessCase):
    @asynchronous
    async def test_shell(self):
        for command in ("echo a b | tr a-z A-Z; exit 7", b"echo a b | tr a-z A-Z; exit 7"):
            transport, protocol = await self.loop.subprocess_shell(Recorder, command)
            self.addCleanup(transport.close)
            await protocol.lost
            self.assertEqual(protocol.data[1], b"A B\n")
            self.assertEqual(transport.get_returncode(), 7)


class Streams(ProcessCase):
    @asynchronous
    async def test_communicate(self):
        process = await asyncio.create_subprocess_exec(
            *CAT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        data = os.urandom(300_000)
        out, err = await process.communicate(data)
        self.assertTrue(out == data)
        self.assertIsNone(err)
        self.assertEqual(process.returncode, 0)

    @asynchronous
    async def test_wait_and_kill(self):
        process = await asyncio.create_subprocess_shell("sleep 100")
        waiting = asyncio.create_task(process.wait())
        await asyncio.sleep(0.01)
        process.kill()
        self.assertEqual(await waiting, -signal.SIGKILL)
        self.assertEqual(await process.wait(), -signal.SIGKILL)

    @asynchronous
    async def test_lines(self):
        process = await asyncio.create_subprocess_exec(
            "sh", "-c", "for i in 1 2 3; do echo $i; done", stdout=subprocess.PIPE
        )
        self.assertEqual([line async for line in process.stdout], [b"1\n", b"2\n", b"3\n"])
        await process.wait()

    @asynchronous
    async def test_many_at_once(self):
        async def one(number):
            process = await asyncio.create_subprocess_exec(
                "sh", "-c", f"echo {number}; exit {number}", stdout=subprocess.PIPE
            )
            out, _ = await process.communicate()
            return int(out), process.returncode

        results = await asyncio.gather(*(one(number) for number in range(40)))
        self.assertEqual(results, [(number, number) for number in range(40)])

    @asynchronous
    async def test_cancelled_while_it_starts(self):
        for turns in range(6):
            task = asyncio.create_task(asyncio.create_subprocess_exec("sleep", "100"))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            try:
                process = await task
            except asyncio.CancelledError:
                continue
            process.kill()
            await process.wait()


class NoSurprises(ProcessCase):
    @asynchronous
    async def test_nothing_on_sigchld(self):
        self.assertEqual(signal.getsignal(signal.SIGCHLD), signal.SIG_DFL)
        transport, protocol = await self.spawn("sleep", "0.02")
        self.assertEqual(signal.getsignal(signal.SIGCHLD), signal.SIG_DFL)
        self.assertNotIn(signal.SIGCHLD, signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        await protocol.lost
        self.assertEqual(signal.getsignal(signal.SIGCHLD), signal.SIG_DFL)

    @asynchronous
    async def test_other_peoples_children_are_left_alone(self):
        other = subprocess.Popen(["sh", "-c", "exit 9"])
        process = await asyncio.create_subprocess_exec("true")
        await process.wait()
        await asyncio.sleep(0.02)
        self.assertEqual(other.wait(), 9)

    @support.stock_since(3, 12)
    @asynchronous
    async def test_someone_else_reaps(self):
        """255 and a warning, as asyncio does; never a wait without end."""
        transport, protocol = await self.spawn(
            "sleep", "0.05", stdin=None, stdout=None, stderr=None
        )
        with self.assertLogs("asyncio", "WARNING"):
            os.waitid(os.P_PID, transport.get_pid(), os.WEXITED)
            await protocol.lost
        self.assertEqual(transport.get_returncode(), 255)

    @support.stock_since(3, 12)
    @asynchronous
    async def test_no_thread_per_child(self):
        before = threading.active_count()
        transport, protocol = await self.spawn("sleep", "0.05")
        self.assertEqual(threading.active_count(), before)
        await protocol.lost

    @asynchronous
    async def test_no_descriptor_is_left(self):
        before = support.open_descriptors()
        for _ in range(5):
            process = await asyncio.create_subprocess_exec(
                *CAT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            await process.communicate(b"x")
        del process
        gc.collect()
        self.assertLessEqual(support.open_descriptors(), before)

    def test_in_a_thread(self):
        """A loop that does not run in the main thread can have children."""
        results = []

        def run():
            loop = support.new_event_loop()

            async def main():
                process = await asyncio.create_subprocess_exec("sh", "-c", "exit 4")
                return await process.wait()

            results.append(loop.run_until_complete(main()))
            loop.close()

        thread = threading.Thread(target=run)
        thread.start()
        thread.join(20)
        self.assertEqual(results, [4])

    def test_a_child_does_not_inherit_our_descriptors(self):
        with support.listener() as listening:
            os.set_inheritable(listening.fileno(), False)

            async def main():
                process = await asyncio.create_subprocess_exec(
                    "sh", "-c", "ls /proc/self/fd | wc -l", stdout=subprocess.PIPE
                )
                out, _ = await process.communicate()
                return int(out)

            self.assertLessEqual(self.run_async(main()), 4)

    @unittest.skipUnless(os.path.exists("/proc/self/smaps"), "needs /proc")
    def test_a_big_process_does_not_stall(self):
        """The child shares our memory until it execs, as vfork's does.

        After a fork every page of ours is write-protected, and touching each again is a page
        fault: that is counted, since time says little on a busy machine.
        """
        result = support.program(
            """
            import mmap, resource, asyncio
            size = 256 << 20
            memory = mmap.mmap(-1, size)
            if hasattr(mmap, "MADV_NOHUGEPAGE"):
                memory.madvise(mmap.MADV_NOHUGEPAGE)

            def touch():
                before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
                memory[::4096] = b"x" * (size // 4096)
                return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

            async def main():
                process = await asyncio.create_subprocess_exec("true")
                await process.wait()

            touch()
            calm = touch()
            loop = new_event_loop()
            asyncio.set_event_loop(loop)
            loop.run_until_complete(main())
            print(calm, touch())
            loop.close()
            """,
        )
        self.assertEqual(result.code, 0, result)
        calm, after = map(int, result.out.split())
        self.assertLess(after - calm, 5000)

    def test_process_left_running_when_the_loop_closes(self):
        result = support.program(
            """
            async def main():
                transport, _ = await loop.subprocess_exec(
                    asyncio.SubprocessProtocol, "sleep", "100")
                return transport
            loop = new_event_loop()
            asyncio.set_event_loop(loop)
            transport = loop.run_until_complete(main())
            transport.close()
            loop.close()
            print("end", transport.get_returncode())
            """,
        )
        self.assertIn("end", result.out, result)
        self.assertEqual(result.code, 0, result)


if __name__ == "__main__":
    support.main()
