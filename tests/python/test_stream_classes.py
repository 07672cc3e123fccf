"""StreamWriter, StreamReaderProtocol and FlowControlMixin in C.

And all classes of the streams together: over sockets, and in the interpreter's own tests of them.
"""

# run: timeout=200

import asyncio
import asyncio.subprocess
import gc
import sys
import unittest
import warnings
import weakref
from unittest import mock

import support
from stream_cases import STOCK, StreamCase, Transport
from support import asynchronous

import casyncio
from casyncio import accelerate, streams


class Writing(StreamCase):
    def test_the_transports_methods(self):
        transport, _, reader, writer = self.stream()
        self.assertIsNone(writer.write(b"a"))
        writer.writelines([b"b", b"c"])
        writer.write_eof()
        self.assertTrue(writer.can_write_eof())
        self.assertFalse(writer.is_closing())
        self.assertEqual(writer.get_extra_info("x", default=5), 5)
        self.assertIsNone(writer.get_extra_info("x"))
        self.assertIs(writer.transport, transport)
        writer.close()
        self.assertEqual(transport.calls, [b"a", [b"b", b"c"], "eof", "close"])
        self.assertEqual(repr(writer), f"<StreamWriter transport=<transport> reader={reader!r}>")
        mine = type("Mine", (streams.StreamWriter,), {})(transport, None, None, self.loop)
        self.assertEqual(repr(mine), "<Mine transport=<transport>>")
        with self.assertRaises(AssertionError):
            streams.StreamWriter(transport, None, object(), self.loop)
        with self.assertRaises(AttributeError):
            writer.transport = None

    @asynchronous
    async def test_drain(self):
        transport, protocol, reader, writer = self.stream()
        await writer.drain()
        with self.assertRaises(StopIteration):
            writer.drain().send(None)  # at its first step
        protocol.pause_writing()
        tasks = [asyncio.create_task(writer.drain()) for _ in range(5)]
        await asyncio.sleep(0)
        self.assertEqual(len(protocol._drain_waiters), 5)
        tasks[2].cancel()
        await asyncio.sleep(0)
        self.assertFalse(tasks[0].done())
        protocol.resume_writing()
        await asyncio.gather(*tasks[:2], *tasks[3:])
        self.assertEqual(len(protocol._drain_waiters), 0)
        reader.set_exception(ZeroDivisionError())
        with self.assertRaises(ZeroDivisionError):
            await writer.drain()

    @asynchronous
    async def test_drain_of_what_is_closing(self):
        transport, protocol, _, writer = self.stream()
        transport.closing = True
        asyncio.get_running_loop().call_soon(protocol.connection_lost, None)
        with self.assertRaisesRegex(ConnectionResetError, "Connection lost"):
            await writer.drain()  # it gives the loop a turn, in which that is called

    @asynchronous
    async def test_drain_when_the_connection_is_lost(self):
        for error, expected in (None, None), (OSError("gone"), OSError):
            _, protocol, _, writer = self.stream()
            protocol.pause_writing()
            tasks = [asyncio.create_task(writer.drain()) for _ in range(2)]
            await asyncio.sleep(0)
            protocol.connection_lost(error)
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                self.assertIsInstance(result, expected or type(None))
            with self.assertRaises(ConnectionResetError if error is None else OSError):
                await writer.drain()

    def test_pause_and_resume_have_to_alternate(self):
        for protocol in (streams.FlowControlMixin(loop=self.loop),
                         streams.StreamReaderProtocol(None, loop=self.loop)):
            self.assertRaises(AssertionError, protocol.resume_writing)
            protocol.pause_writing()
            self.assertRaises(AssertionError, protocol.pause_writing)
            self.loop.set_debug(True)
            with self.assertLogs("asyncio", "DEBUG") as logs:
                protocol.resume_writing()
            self.assertIn("resumes writing", logs.output[0])
            self.loop.set_debug(False)
        with self.assertRaises(NotImplementedError):
            streams.FlowControlMixin(self.loop)._get_close_waiter(None)

    @asynchronous
    async def test_drain_of_a_protocol_of_another_kind(self):
        class Subprocess(asyncio.subprocess.SubprocessStreamProtocol):
            pass

        protocol = Subprocess(limit=100, loop=self.loop)
        writer = streams.StreamWriter(Transport(), protocol, None, self.loop)
        await writer.drain()
        protocol.pause_writing()
        task = asyncio.create_task(writer.drain())
        await asyncio.sleep(0)
        protocol.resume_writing()
        await task

    @asynchronous
    async def test_wait_closed(self):
        transport, protocol, _, writer = self.stream()
        task = asyncio.create_task(writer.wait_closed())
        await asyncio.sleep(0)
        self.assertFalse(task.done())
        protocol.connection_lost(None)
        self.assertIsNone(await task)
        _, protocol, _, writer = self.stream()
        protocol.connection_lost(ZeroDivisionError())
        with self.assertRaises(ZeroDivisionError):
            await writer.wait_closed()

    @asynchronous
    async def test_start_tls(self):
        secure = Transport({"sslcontext": "context"})
        for protocol_class in streams.StreamReaderProtocol, STOCK["StreamReaderProtocol"]:
            for callback in None, (lambda reader, writer: None):
                transport, protocol, _, writer = self.stream(callback=callback,
                                                             protocol=protocol_class)
                writer._loop = mock.Mock(start_tls=mock.AsyncMock(return_value=secure))
                writer._loop.is_closed.return_value = False
                await writer.start_tls("context", server_hostname="name", ssl_shutdown_timeout=5)
                writer._loop.start_tls.assert_awaited_once_with(
                    transport, protocol, "context", server_side=callback is not None,
                    server_hostname="name", ssl_handshake_timeout=None, ssl_shutdown_timeout=5)
                self.assertIs(writer.transport, secure)
                self.assertIs(protocol._transport, secure)
                self.assertFalse(protocol.eof_received())
        writer._loop.start_tls.side_effect = ZeroDivisionError
        with self.assertRaises(ZeroDivisionError):
            await writer.start_tls("context")
        with self.assertRaises(TypeError):
            writer.start_tls()

    def test_dropped(self):
        transport, _, _, writer = self.stream()
        with self.assertWarnsRegex(ResourceWarning, "unclosed <StreamWriter transport=<transport>"):
            del writer
            gc.collect()
        self.assertEqual(transport.calls, ["close"])
        transport, _, _, writer = self.stream()
        writer.close()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            del writer
            gc.collect()
        _, _, _, writer = self.stream()
        self.loop.close()
        with self.assertWarnsRegex(ResourceWarning, "loop is closed"):
            del writer
            gc.collect()

    def test_dropped_while_an_exception_is_on_its_way(self):
        transport = self.stream()[0]

        def fail():
            writer = streams.StreamWriter(transport, None, None, self.loop)
            transport.closing = False
            return writer, 1 / 0

        self.assertRaises(ZeroDivisionError, fail)
        gc.collect()


class Protocols(StreamCase):
    def test_the_reader_is_not_kept(self):
        transport, protocol, reader, writer = self.stream()
        writer.close()
        self.assertIs(protocol._stream_reader, reader)
        reader_gone = weakref.ref(reader)
        del reader, writer, transport
        protocol.connection_lost(None)
        gc.collect()
        self.assertIsNone(reader_gone())
        self.assertIsNone(protocol._stream_reader)
        protocol.data_received(b"x")
        self.assertTrue(protocol.eof_received())

    def test_the_reader_of_a_server_is_kept_until_there_is_a_connection(self):
        readers = []
        protocol = streams.StreamReaderProtocol(
            self.reader(), lambda reader, writer: readers.append((reader, writer)), loop=self.loop)
        gc.collect()
        self.assertIsNotNone(protocol._stream_reader)
        transport = Transport()
        protocol.connection_made(transport)
        self.assertIsInstance(readers[0][0], streams.StreamReader)
        self.assertIsInstance(readers[0][1], streams.StreamWriter)
        transport.close()
        readers.clear()
        gc.collect()
        self.assertIsNone(protocol._stream_reader)

    def test_rejected(self):
        self.loop.set_debug(True)
        protocol = streams.StreamReaderProtocol(self.reader(), loop=self.loop)
        protocol._reject_connection = True
        transport = Transport()
        protocol.connection_made(transport)
        self.assertEqual(transport.calls, ["abort"])
        [report] = self.take_errors()
        self.assertIn("garbage collected", report["message"])
        self.assertTrue(report["source_traceback"])

    def test_a_server_callback_that_fails(self):
        async def serve(reader, writer):
            raise ZeroDivisionError

        transport, protocol, *_ = self.stream(callback=serve)
        self.turns()
        [report] = self.take_errors()
        self.assertEqual(report["message"], "Unhandled exception in client_connected_cb")
        self.assertIsInstance(report["exception"], ZeroDivisionError)
        self.assertIs(report["transport"], transport)
        self.assertEqual(transport.calls, ["close"])

        async def cancelled(reader, writer):
            asyncio.current_task().cancel()
            await asyncio.sleep(0)

        transport, *_ = self.stream(callback=cancelled)
        self.turns()
        self.assertEqual(transport.calls, ["close"])

    def test_callbacks_that_fail(self):
        def fail(*args):
            raise ZeroDivisionError

        transport, *_ = self.stream(callback=fail)
        [report] = self.take_errors()
        self.assertIs(report["transport"], transport)
        self.assertEqual(transport.calls, ["close"])
        for name in "feed_data", "feed_eof", "set_exception":
            _, protocol, reader, _ = self.stream()
            setattr(reader, name, fail)
            with self.assertRaises(ZeroDivisionError):
                protocol.data_received(b"x")
                protocol.eof_received()
                protocol.connection_lost(OSError())

    def test_lost_and_not_asked_about(self):
        _, protocol, _, writer = self.stream()
        writer.close()
        protocol.connection_lost(ZeroDivisionError())
        del protocol, writer
        gc.collect()  # `Future exception was never retrieved` would be in self.errors

    def test_a_reader_of_any_kind(self):
        reader = mock.Mock()
        protocol = streams.StreamReaderProtocol(reader, loop=self.loop)
        protocol.connection_made(transport := Transport())
        reader.set_transport.assert_called_once_with(transport)
        protocol.data_received(b"x")
        reader.feed_data.assert_called_once_with(b"x")
        protocol.connection_lost(None)
        reader.feed_eof.assert_called_once_with()

    @asynchronous
    async def test_asyncios_reader_behind_our_protocol_and_the_other_way(self):
        for reader_class, protocol_class in (("ours", "stock"), ("stock", "ours")):
            pick = {"ours": vars(streams), "stock": STOCK}
            reader = pick[reader_class]["StreamReader"](loop=self.loop)
            protocol = pick[protocol_class]["StreamReaderProtocol"](reader, loop=self.loop)
            protocol.connection_made(transport := Transport())
            writer = streams.StreamWriter(transport, protocol, reader, self.loop)
            protocol.data_received(b"line\n")
            self.assertEqual(await reader.readline(), b"line\n")
            await writer.drain()
            writer.close()


class Connections(StreamCase):
    """Over sockets, by the functions of the package."""

    async def echo(self, reader, writer):
        async for line in reader:
            writer.write(line)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def talk(self, reader, writer):
        for size in 1, 100, 60000:
            line = b"x" * size + b"\n"
            writer.write(line)
            await writer.drain()
            self.assertEqual(await reader.readline(), line)
        if writer.can_write_eof():
            writer.write_eof()
            self.assertEqual(await reader.read(), b"")
        writer.close()
        await writer.wait_closed()

    @asynchronous
    async def test_tcp(self):
        async with await streams.start_server(self.echo, "127.0.0.1", 0) as server:
            for _ in range(3):
                reader, writer = await streams.open_connection(*server.sockets[0].getsockname())
                self.assertIs(type(reader), streams.StreamReader)
                self.assertIs(type(writer), streams.StreamWriter)
                await self.talk(reader, writer)
        with self.assertRaises(OSError):
            await streams.open_connection(*support.refused_address())

    @support.needs_openssl
    @asynchronous
    async def test_tls(self):
        context = support.client_context()
        async with await streams.start_server(
                self.echo, "127.0.0.1", 0, ssl=support.server_context()) as server:
            port = server.sockets[0].getsockname()[1]
            await self.talk(*await streams.open_connection(
                "127.0.0.1", port, ssl=context, server_hostname="localhost"))

    @support.needs_openssl
    @asynchronous
    async def test_start_tls(self):
        async def serve(reader, writer):
            self.assertEqual(await reader.readline(), b"STARTTLS\n")
            writer.write(b"go\n")
            await writer.start_tls(support.server_context())
            await self.echo(reader, writer)

        async with await streams.start_server(serve, "127.0.0.1", 0) as server:
            reader, writer = await streams.open_connection(*server.sockets[0].getsockname())
            writer.write(b"STARTTLS\n")
            self.assertEqual(await reader.readline(), b"go\n")
            await writer.start_tls(support.client_context(), server_hostname="localhost",
                                   ssl_handshake_timeout=10, ssl_shutdown_timeout=10)
            self.assertIsNotNone(writer.get_extra_info("sslcontext"))
            await self.talk(reader, writer)

    @asynchronous
    async def test_the_limit_reaches_the_reader(self):
        readers = []
        done = asyncio.Event()

        async def serve(reader, writer):
            readers.append(reader)
            writer.close()
            done.set()

        async with await streams.start_server(serve, "127.0.0.1", 0, limit=100) as server:
            host, port = server.sockets[0].getsockname()
            reader, writer = await streams.open_connection(host, port, limit=200)
            await done.wait()
            self.assertEqual((readers[0]._limit, reader._limit), (100, 200))
            writer.close()
            await writer.wait_closed()

    @asynchronous
    async def test_more_than_the_limit_is_held_back(self):
        release = asyncio.Event()

        async def serve(reader, writer):
            await release.wait()
            writer.write(str(len(await reader.read())).encode())
            writer.close()

        async with await streams.start_server(serve, "127.0.0.1", 0, limit=1000) as server:
            reader, writer = await streams.open_connection(*server.sockets[0].getsockname())
            writer.write(bytes(20_000_000))
            writer.write_eof()
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(writer.drain(), 0.2)
            release.set()
            self.assertEqual(await reader.read(), b"20000000")
            writer.close()


    @asynchronous
    async def test_derived_classes(self):
        class Upper(streams.StreamReader):
            def feed_data(self, data):
                super().feed_data(data.upper())

        class Counting(streams.StreamReaderProtocol):
            count = 0

            def data_received(self, data):
                self.count += len(data)
                super().data_received(data)

        async with await streams.start_server(self.echo, "127.0.0.1", 0) as server:
            reader = Upper(loop=self.loop)
            protocol = Counting(reader, loop=self.loop)
            transport, _ = await self.loop.create_connection(
                lambda: protocol, *server.sockets[0].getsockname())
            writer = streams.StreamWriter(transport, protocol, reader, self.loop)
            await writer.drain()
            writer.write(b"line\n")
            self.assertEqual(await reader.readline(), b"LINE\n")
            self.assertEqual(protocol.count, 5)
            writer.close()

    @asynchronous
    async def test_a_method_replaced_during_a_connection(self):
        async with await streams.start_server(self.echo, "127.0.0.1", 0) as server:
            reader, writer = await streams.open_connection(*server.sockets[0].getsockname())
            for data in b"first\n", b"second\n":
                got = self.loop.create_future()
                reader.feed_data = got.set_result
                writer.write(data)
                self.assertEqual(await asyncio.wait_for(got, 5), data)
            writer.close()


class UnixConnections(support.Directory, StreamCase):
    @asynchronous
    async def test_unix(self):
        async def serve(reader, writer):
            writer.write(await reader.readexactly(3))
            writer.close()

        path = self.path("socket")
        async with await streams.start_unix_server(serve, path):
            reader, writer = await streams.open_unix_connection(path)
            writer.write(b"abc")
            self.assertEqual(await reader.read(), b"abc")
            writer.close()
            await writer.wait_closed()


class TheirTests(unittest.TestCase):
    """test.test_asyncio.test_streams of the interpreter, with the names bound to our classes."""

    def run_theirs(self, ours):
        try:
            theirs = __import__("test.test_asyncio.test_streams", fromlist=["x"])
        except ImportError as error:
            self.skipTest(str(error))
        result = unittest.TestResult()
        accelerate.install()
        self.addCleanup(accelerate.uninstall)
        if ours:
            casyncio.install()
            self.addCleanup(casyncio.uninstall)
        self.assertIs(asyncio.StreamReader, streams.StreamReader)
        unittest.defaultTestLoader.loadTestsFromModule(theirs).run(result)
        for test, traceback in result.failures + result.errors:
            print(test, traceback, sep="\n", file=sys.stderr)
        self.assertTrue(result.wasSuccessful())
        self.assertGreater(result.testsRun, 60)

    def test_with_the_standard_loop(self):
        self.run_theirs(False)

    @unittest.skipIf(support.STOCK, "the standard loop is what the other test is for")
    def test_with_our_loop(self):
        self.run_theirs(True)


if __name__ == "__main__":
    support.main()
