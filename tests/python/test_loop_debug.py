"""Debug mode: slow callbacks by name, threads, coroutines, tracebacks, what is left unclosed."""

import asyncio
import contextlib
import gc
import logging
import os
import socket
import sys
import threading
import time
import warnings

import support
from support import asynchronous


class Debug(support.LoopCase):
    debug = True

    def slow_warning(self, schedule):
        """The log line of a callback that is slower than it may be."""
        self.loop.slow_callback_duration = 0.02
        schedule()
        with self.assertLogs("asyncio", logging.WARNING) as logs:
            self.turns()
        lines = [line for line in logs.output if "took" in line]
        self.assertEqual(len(lines), 1, logs.output)
        return lines[0]

    def test_get_and_set(self):
        self.assertTrue(self.loop.get_debug())
        self.loop.set_debug(False)
        self.assertFalse(self.loop.get_debug())
        self.assertEqual(self.loop.slow_callback_duration, 0.1)

    def test_slow_callback_is_named(self):
        def dawdles():
            time.sleep(0.03)

        line = self.slow_warning(lambda: self.loop.call_soon(dawdles))
        self.assertRegex(line, r"Executing .*Handle.*dawdles.* took 0\.0\d+ seconds")
        self.assertIn("test_loop_debug.py", line)

    def test_slow_timer_is_named(self):
        def dawdles():
            time.sleep(0.03)

        line = self.slow_warning(lambda: self.loop.call_later(0, dawdles))
        self.assertRegex(line, r"Executing .*TimerHandle.*dawdles.* took")

    def test_slow_task_is_named(self):
        async def dawdles():
            time.sleep(0.03)

        line = self.slow_warning(lambda: self.loop.create_task(dawdles(), name="slow one"))
        self.assertRegex(line, r"Executing <Task .*slow one.*dawdles.* took")

    def test_slow_protocol_is_named(self):
        class Dawdles(support.Recorder):
            def data_received(self, data):
                time.sleep(0.03)

        ours, theirs = socket.socketpair()
        transport, protocol = self.run_async(
            self.loop.create_connection(lambda: Dawdles(self.loop), sock=ours)
        )
        self.loop.slow_callback_duration = 0.02
        with theirs:
            theirs.send(b"x")
            with self.assertLogs("asyncio", logging.WARNING) as logs:
                self.turns()
            transport.close()
            self.run_async(protocol.lost)
        self.assertRegex("\n".join(logs.output), r"Executing .* took")

    def test_slow_reader_is_named(self):
        ours, theirs = socket.socketpair()

        def dawdles():
            ours.recv(1)
            time.sleep(0.03)

        with ours, theirs:
            self.loop.add_reader(ours, dawdles)
            theirs.send(b"x")
            line = self.slow_warning(lambda: None)
            self.loop.remove_reader(ours)
        self.assertIn("dawdles", line)

    def test_quick_callbacks_are_not_named(self):
        with self.assertNoLogs("asyncio", logging.WARNING):
            self.loop.call_soon(time.sleep, 0.001)
            self.turns()

    def test_callables(self):
        async def coroutine():
            pass

        for method in (
            self.loop.call_soon,
            self.loop.call_soon_threadsafe,
            lambda callback: self.loop.call_later(0, callback),
            lambda callback: self.loop.call_at(0, callback),
            lambda callback: self.loop.run_in_executor(None, callback),
        ):
            with self.assertRaisesRegex(TypeError, "coroutine"):
                method(coroutine)
            with self.assertRaisesRegex(TypeError, "callable"):
                method(5)
        with self.assertRaises(TypeError):
            running = coroutine()
            try:
                self.loop.call_soon(running)
            finally:
                running.close()

    def test_coroutine_as_a_signal_handler(self):
        async def coroutine():
            pass

        with self.assertRaisesRegex(TypeError, "coroutines cannot be used"):
            self.loop.add_signal_handler(10, coroutine)

    @asynchronous
    async def test_wrong_thread(self):
        def call(method, *arguments):
            try:
                method(*arguments)
            except RuntimeError as error:
                return str(error)

        for arguments in (
            (self.loop.call_soon, int),
            (self.loop.call_later, 1, int),
            (self.loop.call_at, 1, int),
        ):
            found = await self.loop.run_in_executor(None, call, *arguments)
            self.assertIn("Non-thread-safe operation", found)
        self.assertIsNone(
            await self.loop.run_in_executor(None, call, self.loop.call_soon_threadsafe, int)
        )

    def test_a_thread_may_when_the_loop_does_not_run(self):
        thread = threading.Thread(target=self.loop.call_soon, args=(int,))
        thread.start()
        thread.join()
        self.turns()

    def test_source_traceback(self):
        def fail():
            raise ZeroDivisionError

        def schedules_it():
            self.loop.call_soon(fail)

        schedules_it()
        self.turns()
        (report,) = self.take_errors()
        names = [frame.name for frame in report["source_traceback"]]
        self.assertEqual(names[-1], "schedules_it")

        self.loop.call_later(0, fail)
        self.run_async(asyncio.sleep(0.002))
        (report,) = self.take_errors()
        self.assertEqual(
            report["source_traceback"][-1].name, "test_source_traceback"
        )

    def test_source_traceback_in_repr(self):
        handle = self.loop.call_soon(int)
        self.assertIn("created at", repr(handle))
        self.assertIn("test_loop_debug.py", repr(handle))

    def test_source_traceback_of_tasks_and_futures(self):
        async def fails():
            raise ZeroDivisionError

        async def main():
            asyncio.create_task(fails())
            await asyncio.sleep(0)
            gc.collect()

        self.run_async(main())
        gc.collect()
        (report,) = self.take_errors()
        self.assertIn("main", [frame.name for frame in report["source_traceback"]])
        self.assertIn("created at", repr(self.loop.create_future()))

    def test_coroutine_never_awaited_says_where_it_was_made(self):
        async def forgotten():
            pass

        async def main():
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                forgotten()
                gc.collect()
            return str(caught[0].message)

        message = self.run_async(main())
        self.assertIn("was never awaited", message)
        self.assertIn("Coroutine created at", message)
        self.assertEqual(sys.get_coroutine_origin_tracking_depth(), 0)

    def test_debug_can_be_set_while_it_runs(self):
        self.loop.set_debug(False)

        async def main():
            self.loop.set_debug(True)
            await asyncio.sleep(0)
            depth = sys.get_coroutine_origin_tracking_depth()
            self.loop.set_debug(False)
            await asyncio.sleep(0)
            return depth, sys.get_coroutine_origin_tracking_depth()

        on, off = self.run_async(main())
        self.assertGreater(on, 0)
        self.assertEqual(off, 0)

    def test_variable_of_the_environment(self):
        for options, variables, expect in (
            ([], {"PYTHONASYNCIODEBUG": "1"}, "True"),
            (["-X", "dev"], {"PYTHONASYNCIODEBUG": ""}, "True"),
            ([], {"PYTHONASYNCIODEBUG": ""}, "False"),
        ):
            result = support.program(
                "loop = new_event_loop(); print(loop.get_debug()); loop.close()",
                *options,
                **variables,
            )
            self.assertEqual(result.out.strip(), expect, result)


class Unclosed(support.LoopCase):
    @contextlib.contextmanager
    def assert_warns(self, pattern, count=1):
        """What is in the block is forgotten without having been closed."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
            gc.collect()
        texts = [str(w.message) for w in caught if w.category is ResourceWarning]
        self.assertEqual(sum(pattern in text for text in texts), count, texts)

    def test_stream_transport(self):
        ours, theirs = socket.socketpair()

        async def connect():
            transport, _ = await self.loop.create_connection(asyncio.Protocol, sock=ours)
            transport.pause_reading()

        with theirs, self.assert_warns("unclosed transport"):
            self.run_async(connect())
        self.assertEqual(ours.fileno(), -1)

    def test_datagram_transport(self):
        with self.assert_warns("unclosed transport"):
            self.run_async(
                self.loop.create_datagram_endpoint(
                    asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
                )
            )
            self.loop.close()

    @support.needs_openssl
    def test_tls_transport(self):
        async def connect():
            ours, theirs = socket.socketpair()
            server = self.loop.create_task(
                self.loop.connect_accepted_socket(
                    asyncio.Protocol, theirs, ssl=support.server_context()
                )
            )
            await self.loop.create_connection(
                asyncio.Protocol,
                sock=ours,
                ssl=support.client_context(),
                server_hostname="localhost",
            )
            await server

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.run_async(connect())
            self.loop.close()
            gc.collect()
        texts = [str(w.message) for w in caught if w.category is ResourceWarning]
        self.assertGreaterEqual(sum("unclosed transport" in text for text in texts), 2, texts)

    @support.stock_since(3, 12)
    def test_pipes(self):
        reading, writing = os.pipe()
        read_end, write_end = os.fdopen(reading, "rb", 0), os.fdopen(writing, "wb", 0)

        async def connect():
            reader, _ = await self.loop.connect_read_pipe(asyncio.Protocol, read_end)
            writer, _ = await self.loop.connect_write_pipe(asyncio.BaseProtocol, write_end)
            reader.pause_reading()
            return reader, writer

        with self.assert_warns("unclosed transport", 2):
            # Kept until then: the end of the one would be the hang-up of the other.
            pair = self.run_async(connect())
            self.loop.close()
            del pair

    @support.stock_since(3, 12)
    def test_process(self):
        async def spawn():
            transport, _ = await self.loop.subprocess_exec(
                asyncio.SubprocessProtocol, "sleep", "100", stdin=None, stdout=None, stderr=None
            )
            return transport.get_pid()

        with self.assert_warns("unclosed transport"):
            pid = self.run_async(spawn())
            self.loop.close()
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, 9)
            os.waitpid(pid, 0)

    def test_loop(self):
        with self.assert_warns("unclosed event loop"):
            support.new_event_loop()

    def test_what_is_closed_does_not_warn(self):
        ours, theirs = socket.socketpair()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            transport, protocol = self.run_async(
                self.loop.create_connection(lambda: support.Recorder(self.loop), sock=ours)
            )
            transport.close()
            self.run_async(protocol.lost)
            theirs.close()
            del transport, protocol
            self.loop.close()
            gc.collect()


if __name__ == "__main__":
    support.main()
