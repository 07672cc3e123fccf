"""Exceptions out of every callback that a protocol can have, KeyboardInterrupt among them."""

import asyncio
import contextlib
import os
import signal
import socket

import support
from support import asynchronous


class Boom(Exception):
    """What the callbacks raise."""


def raising(base, method, kind=Boom):
    return support.raising(base, method, kind)


class Callbacks(support.LoopCase):
    """An exception in a callback reaches the exception handler, the transport ends or goes on as
    asyncio's does, and the loop goes on in any case."""

    def one_report(self):
        reports = self.take_errors()
        self.assertEqual(len(reports), 1, reports)
        self.assertIsInstance(reports[0]["exception"], Boom)
        return reports[0]

    @asynchronous
    async def test_connection_made(self):
        transport, protocol, theirs = await self.connect(raising(support.Recorder, "connection_made"))
        self.one_report()
        theirs.send(b"still works")
        await support.until(lambda: protocol.data)
        transport.close()
        await protocol.lost

    @asynchronous
    async def test_data_received(self):
        transport, protocol, theirs = await self.connect(raising(support.Recorder, "data_received"))
        theirs.send(b"x")
        self.assertIsInstance(await protocol.lost, Boom)
        report = self.one_report()
        self.assertIn("data_received() call failed", report["message"])
        self.assertIs(report["protocol"], protocol)
        self.assertIs(report["transport"], transport)

    @asynchronous
    async def test_eof_received(self):
        transport, protocol, theirs = await self.connect(raising(support.Recorder, "eof_received"))
        theirs.close()
        self.assertIsInstance(await protocol.lost, Boom)
        self.assertIn("eof_received() call failed", self.one_report()["message"])

    @asynchronous
    async def test_connection_lost(self):
        transport, protocol, theirs = await self.connect(raising(support.Recorder, "connection_lost"))
        transport.close()
        await protocol.lost
        await asyncio.sleep(0)
        self.one_report()
        self.assertEqual(transport.get_extra_info("socket").fileno(), -1)

    @asynchronous
    async def test_get_buffer(self):
        transport, protocol, theirs = await self.connect(raising(support.BufferedRecorder, "get_buffer"))
        theirs.send(b"x")
        self.assertIsInstance(await protocol.lost, Boom)
        self.assertIn("get_buffer() call failed", self.one_report()["message"])

    @asynchronous
    async def test_buffer_updated(self):
        transport, protocol, theirs = await self.connect(raising(support.BufferedRecorder, "buffer_updated"))
        theirs.send(b"x")
        self.assertIsInstance(await protocol.lost, Boom)
        self.assertIn("buffer_updated() call failed", self.one_report()["message"])

    @asynchronous
    async def test_pause_and_resume_writing(self):
        for method in ("pause_writing", "resume_writing"):
            transport, protocol, theirs = await self.connect(raising(support.Recorder, method))
            size = 1_000_000
            transport.write(b"x" * size)
            while size:
                size -= len(await self.loop.sock_recv(theirs, 1 << 20))
            await asyncio.sleep(0.01)
            report = self.one_report()
            self.assertIn(f"protocol.{method}() failed", report["message"])
            self.assertFalse(transport.is_closing())
            transport.close()
            await protocol.lost

    @asynchronous
    async def test_datagram_received(self):
        factory = raising(support.DatagramRecorder, "datagram_received")
        transport, protocol = await self.loop.create_datagram_endpoint(
            factory, ("127.0.0.1", 0)
        )
        address = transport.get_extra_info("sockname")
        for count in (1, 2):
            transport.sendto(b"x", address)
            await support.until(lambda: len(protocol.received) == count)
            self.one_report()
        transport.close()
        await protocol.lost

    @asynchronous
    async def test_error_received(self):
        factory = raising(support.DatagramRecorder, "error_received")
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            address = sock.getsockname()
        transport, protocol = await self.loop.create_datagram_endpoint(
            factory, remote_addr=address
        )
        transport.sendto(b"x")
        await support.until(lambda: protocol.errors)
        await asyncio.sleep(0)
        self.one_report()
        transport.close()
        await protocol.lost

    @asynchronous
    async def test_error_received_from_within_sendto(self):
        """There it is the caller's."""
        factory = raising(support.DatagramRecorder, "error_received")
        transport, protocol = await self.loop.create_datagram_endpoint(
            factory, ("127.0.0.1", 0)
        )
        with self.assertRaises(Boom):
            transport.sendto(b"x" * 70000, ("127.0.0.1", 1))
        transport.close()
        await protocol.lost

    @asynchronous
    async def test_connection_lost_of_datagrams(self):
        factory = raising(support.DatagramRecorder, "connection_lost")
        transport, protocol = await self.loop.create_datagram_endpoint(
            factory, ("127.0.0.1", 0)
        )
        transport.close()
        await protocol.lost
        await asyncio.sleep(0)
        self.one_report()

    @asynchronous
    async def test_pipes(self):
        for method in ("connection_made", "data_received", "eof_received", "connection_lost"):
            with self.subTest(method):
                reading, writing = os.pipe()
                transport, protocol = await self.loop.connect_read_pipe(
                    raising(support.Recorder, method), os.fdopen(reading, "rb", 0)
                )
                os.write(writing, b"x")
                if not protocol.lost.done():
                    await asyncio.sleep(0.01)
                os.close(writing)
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(protocol.lost, 1)
                await asyncio.sleep(0)
                self.one_report()
                transport.close()

    @asynchronous
    async def test_processes(self):
        for method in (
            "connection_made",
            "pipe_data_received",
            "pipe_connection_lost",
            "process_exited",
            "connection_lost",
        ):
            with self.subTest(method):

                class Process(asyncio.SubprocessProtocol):
                    def __init__(self):
                        self.lost = asyncio.get_running_loop().create_future()

                    def connection_lost(self, error):
                        self.lost.set_result(error)

                asyncio.set_event_loop(self.loop)
                transport, protocol = await self.loop.subprocess_exec(
                    raising(Process, method), "echo", "x", stderr=None
                )
                await protocol.lost
                await asyncio.sleep(0.01)
                self.assertTrue(self.errors)
                for report in self.take_errors():
                    self.assertIsInstance(report["exception"], Boom)
                transport.close()
                asyncio.set_event_loop(None)

    @support.needs_openssl
    @asynchronous
    async def test_tls(self):
        for method in ("connection_made", "data_received", "eof_received", "connection_lost"):
            with self.subTest(method):
                server = await self.loop.create_server(
                    support.Echo, "127.0.0.1", 0, ssl=support.server_context()
                )
                protocols = []

                def factory():
                    protocols.append(raising(support.Recorder, method)())
                    return protocols[0]

                with contextlib.suppress(Boom):
                    transport, _ = await self.loop.create_connection(
                        factory,
                        *server.sockets[0].getsockname(),
                        ssl=support.client_context(),
                        server_hostname="localhost",
                    )
                    transport.write(b"hello")
                    await asyncio.sleep(0.02)
                    transport.close()
                await asyncio.sleep(0.02)
                server.close()
                for report in self.take_errors():
                    self.assertIsInstance(report["exception"], Boom)

    @asynchronous
    async def test_factories(self):
        def factory():
            raise Boom

        with self.assertRaises(Boom):
            await self.loop.create_datagram_endpoint(factory, ("127.0.0.1", 0))
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb", 0) as pipe, self.assertRaises(Boom):
            await self.loop.connect_read_pipe(factory, pipe)
        os.close(writing)
        asyncio.set_event_loop(self.loop)
        with self.assertRaises(Boom):
            await self.loop.subprocess_exec(factory, "true")
        asyncio.set_event_loop(None)


class Exits(support.LoopCase):
    """KeyboardInterrupt and SystemExit come out of run_forever, and it can run again."""

    def comes_out(self, kind, clean=int):
        with self.assertRaises(kind):
            self.loop.call_later(10, self.loop.stop)
            self.loop.run_forever()
        self.assertFalse(self.loop.is_running())
        clean()
        self.turns()

    def test_stream_protocols(self):
        for kind in (KeyboardInterrupt, SystemExit):
            for base, method in (
                (support.Recorder, "data_received"),
                (support.Recorder, "eof_received"),
                (support.BufferedRecorder, "get_buffer"),
                (support.BufferedRecorder, "buffer_updated"),
            ):
                with self.subTest(kind=kind, method=method):
                    factory = raising(base, method, kind)
                    transport, protocol, theirs = self.run_async(self.connect(factory))
                    theirs.send(b"x")
                    if method == "eof_received":
                        theirs.shutdown(socket.SHUT_WR)
                    self.comes_out(kind, transport.abort)
                    theirs.close()

    def test_connection_lost(self):
        for kind in (KeyboardInterrupt, SystemExit):
            factory = raising(support.Recorder, "connection_lost", kind)
            transport, protocol, theirs = self.run_async(self.connect(factory))
            transport.close()
            self.comes_out(kind)
            self.assertEqual(transport.get_extra_info("socket").fileno(), -1)
            theirs.close()

    def test_datagram_received(self):
        for kind in (KeyboardInterrupt, SystemExit):

            async def connect():
                return await self.loop.create_datagram_endpoint(
                    raising(support.DatagramRecorder, "datagram_received", kind),
                    ("127.0.0.1", 0),
                )

            transport, protocol = self.run_async(connect())
            transport.sendto(b"x", transport.get_extra_info("sockname"))
            self.comes_out(kind)
            transport.close()
            self.turns()

    def test_readers_timers_and_handlers(self):
        for kind in (KeyboardInterrupt, SystemExit):

            def fails(*_):
                raise kind

            ours, theirs = self.pair()
            self.loop.add_writer(ours, fails)
            self.comes_out(kind, lambda: self.loop.remove_writer(ours))
            self.loop.call_later(0.001, fails)
            self.comes_out(kind)
            self.loop.add_signal_handler(signal.SIGUSR1, fails)
            os.kill(os.getpid(), signal.SIGUSR1)
            self.comes_out(kind)
            self.loop.remove_signal_handler(signal.SIGUSR1)
            self.loop.set_exception_handler(fails)
            self.loop.call_soon(lambda: 1 / 0)
            self.comes_out(kind)
            self.loop.set_exception_handler(lambda _, report: self.errors.append(report))


if __name__ == "__main__":
    support.main()
