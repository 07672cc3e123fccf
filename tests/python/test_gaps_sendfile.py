"""sendfile() and sock_sendfile(), which uvloop does not have, with what they fall back to."""

import asyncio
import io
import os
import socket

import support
from support import asynchronous


class SendfileCase(support.Directory, support.LoopCase):
    def setUp(self):
        super().setUp()
        self.contents = os.urandom(1000) * 700
        with open(self.path("file"), "wb") as file:
            file.write(self.contents)
        self.file = open(self.path("file"), "rb")
        self.addCleanup(self.file.close)


class SockSendfile(SendfileCase):
    async def received(self, send):
        """What arrives at the other end when send(socket) is awaited and the socket closed."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            reader, writer = await asyncio.open_connection(sock=theirs)
            reading = asyncio.ensure_future(reader.read())
            try:
                with ours:
                    result = await send(ours)
            finally:
                data = await reading
                writer.close()
                await writer.wait_closed()
            return result, data

    @asynchronous
    async def test_whole_file(self):
        count, data = await self.received(lambda sock: self.loop.sock_sendfile(sock, self.file))
        self.assertEqual((count, data), (len(self.contents), self.contents))
        self.assertEqual(self.file.tell(), len(self.contents))

    @asynchronous
    async def test_without_fallback(self):
        count, data = await self.received(
            lambda sock: self.loop.sock_sendfile(sock, self.file, fallback=False)
        )
        self.assertEqual((count, data), (len(self.contents), self.contents))

    @asynchronous
    async def test_part(self):
        count, data = await self.received(
            lambda sock: self.loop.sock_sendfile(sock, self.file, 1234, 300000)
        )
        self.assertEqual((count, data), (300000, self.contents[1234:301234]))
        self.assertEqual(self.file.tell(), 301234)

    @asynchronous
    async def test_more_than_there_is(self):
        count, data = await self.received(
            lambda sock: self.loop.sock_sendfile(sock, self.file, 600000, 10**9)
        )
        self.assertEqual((count, data), (100000, self.contents[600000:]))
        self.assertEqual(self.file.tell(), 700000)

    @asynchronous
    async def test_empty_file(self):
        with open(self.path("empty"), "wb+") as file:
            count, data = await self.received(lambda sock: self.loop.sock_sendfile(sock, file))
        self.assertEqual((count, data), (0, b""))

    @asynchronous
    async def test_what_is_no_file_of_the_system_falls_back(self):
        file = io.BytesIO(self.contents)
        count, data = await self.received(
            lambda sock: self.loop.sock_sendfile(sock, file, 10, 99999)
        )
        self.assertEqual((count, data), (99999, self.contents[10:100009]))
        self.assertEqual(file.tell(), 100009)

    @asynchronous
    async def test_no_fallback_wanted(self):
        with self.assertRaises(asyncio.SendfileNotAvailableError):
            await self.received(
                lambda sock: self.loop.sock_sendfile(sock, io.BytesIO(b"abc"), fallback=False)
            )

    @asynchronous
    async def test_cancelled_while_the_peer_does_not_read(self):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with ours, theirs:
            sending = self.loop.create_task(self.loop.sock_sendfile(ours, self.file))
            await asyncio.sleep(0.02)
            self.assertFalse(sending.done())
            sending.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await sending
            await asyncio.sleep(0.01)
            self.assertFalse(self.loop.remove_writer(ours))

    @asynchronous
    async def test_peer_that_leaves(self):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with ours:
            sending = self.loop.create_task(self.loop.sock_sendfile(ours, self.file))
            await asyncio.sleep(0.02)
            theirs.close()
            with self.assertRaises(OSError):
                await sending

    @asynchronous
    async def test_arguments(self):
        with socket.socket() as sock:
            sock.setblocking(False)
            with self.assertRaisesRegex(ValueError, "binary mode"):
                with open(self.path("file")) as text:
                    await self.loop.sock_sendfile(sock, text)
            with self.assertRaises(TypeError):
                await self.loop.sock_sendfile(sock, self.file, count="10")
            with self.assertRaises(ValueError):
                await self.loop.sock_sendfile(sock, self.file, count=-1)
            with self.assertRaises(TypeError):
                await self.loop.sock_sendfile(sock, self.file, offset=1.5)
            with self.assertRaises(ValueError):
                await self.loop.sock_sendfile(sock, self.file, offset=-1)
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            with self.assertRaisesRegex(ValueError, "SOCK_STREAM"):
                await self.loop.sock_sendfile(sock, self.file)

    def test_blocking_socket_in_debug_mode(self):
        self.loop.set_debug(True)
        with socket.socket() as sock:
            with self.assertRaisesRegex(ValueError, "non-blocking"):
                self.run_async(self.loop.sock_sendfile(sock, self.file))


class Sendfile(SendfileCase):
    async def connected(self, tls=False, factory=None):
        """A transport to a server that records; (transport, protocol, recorder)."""
        accepted = self.loop.create_future()

        def accept():
            recorder = support.Recorder()
            accepted.set_result(recorder)
            return recorder

        server = await self.loop.create_server(
            accept, "127.0.0.1", 0, ssl=support.server_context() if tls else None
        )
        transport, protocol = await self.loop.create_connection(
            factory or support.Recorder,
            *server.sockets[0].getsockname(),
            ssl=support.client_context() if tls else None,
            server_hostname="localhost" if tls else None,
        )
        server.close()
        recorder = await accepted
        await recorder.made
        return transport, protocol, recorder

    async def both_close(self, *protocols):
        for protocol in protocols:
            protocol.transport.close()
        for protocol in protocols:
            await protocol.lost

    async def check(self, *arguments, tls=False, expect=None, file=None, **keywords):
        transport, protocol, recorder = await self.connected(tls)
        transport.write(b"before ")
        count = await self.loop.sendfile(transport, file or self.file, *arguments, **keywords)
        transport.write(b" after")
        expect = self.contents if expect is None else expect
        self.assertEqual(count, len(expect))
        expect = b"before " + expect + b" after"
        await support.until(lambda: len(recorder.data) >= len(expect))
        self.assertEqual(recorder.data, expect)
        await self.both_close(protocol, recorder)

    @asynchronous
    async def test_whole_file(self):
        await self.check(fallback=False)
        self.assertEqual(self.file.tell(), len(self.contents))

    @asynchronous
    async def test_part(self):
        await self.check(500, 654321, expect=self.contents[500:654821])
        self.assertEqual(self.file.tell(), 654821)

    @asynchronous
    async def test_empty_file(self):
        with open(self.path("empty"), "wb+") as file:
            await self.check(file=file, expect=b"")

    @asynchronous
    async def test_falls_back(self):
        await self.check(100, file=io.BytesIO(self.contents), expect=self.contents[100:])

    @asynchronous
    async def test_no_fallback_wanted(self):
        transport, protocol, recorder = await self.connected()
        with self.assertRaises(asyncio.SendfileNotAvailableError):
            await self.loop.sendfile(transport, io.BytesIO(b"abc"), fallback=False)
        await self.both_close(protocol, recorder)

    @support.needs_openssl
    @asynchronous
    async def test_tls_falls_back(self):
        await self.check(tls=True)

    @support.needs_openssl
    @asynchronous
    async def test_tls_part(self):
        await self.check(1, 100000, tls=True, expect=self.contents[1:100001])

    @support.needs_openssl
    @asynchronous
    async def test_tls_no_fallback_wanted(self):
        transport, protocol, recorder = await self.connected(tls=True)
        with self.assertRaises(RuntimeError):
            await self.loop.sendfile(transport, self.file, fallback=False)
        await self.both_close(protocol, recorder)

    @asynchronous
    async def test_waits_for_what_was_written_before(self):
        transport, protocol, recorder = await self.connected()
        recorder.transport.pause_reading()
        blocks = b"x" * 8_000_000
        transport.write(blocks)
        self.assertGreater(transport.get_write_buffer_size(), 0)
        sending = self.loop.create_task(self.loop.sendfile(transport, self.file))
        await asyncio.sleep(0.01)
        with self.assertRaisesRegex(RuntimeError, "sendfile is in progress"):
            transport.write(b"in between")
        recorder.transport.resume_reading()
        self.assertEqual(await sending, len(self.contents))
        await support.until(lambda: len(recorder.data) >= len(blocks) + len(self.contents))
        self.assertTrue(recorder.data == blocks + self.contents)
        await self.both_close(protocol, recorder)

    @asynchronous
    async def test_what_comes_meanwhile_is_delivered(self):
        transport, protocol, recorder = await self.connected()
        recorder.transport.pause_reading()
        transport.write(b"x" * 8_000_000)
        sending = self.loop.create_task(self.loop.sendfile(transport, self.file))
        await asyncio.sleep(0.01)
        recorder.transport.write(b"hello")
        await asyncio.sleep(0.02)
        recorder.transport.resume_reading()
        await sending
        await support.until(lambda: protocol.data == b"hello")
        await self.both_close(protocol, recorder)

    @asynchronous
    async def test_peer_that_leaves(self):
        transport, protocol, recorder = await self.connected()
        recorder.transport.pause_reading()
        with open(self.path("big"), "wb") as file:
            file.truncate(64 << 20)
        with open(self.path("big"), "rb") as file:
            sending = self.loop.create_task(self.loop.sendfile(transport, file))
            await asyncio.sleep(0.02)
            recorder.transport.abort()
            with self.assertRaises((ConnectionError, OSError)):
                await sending
        await recorder.lost
        transport.close()
        await protocol.lost

    @asynchronous
    async def test_closing_transport(self):
        transport, protocol, recorder = await self.connected()
        transport.close()
        with self.assertRaisesRegex(RuntimeError, "closing"):
            await self.loop.sendfile(transport, self.file)
        await protocol.lost
        await recorder.lost

    @asynchronous
    async def test_transport_that_cannot(self):
        transport, protocol = await self.loop.create_datagram_endpoint(
            support.DatagramRecorder, ("127.0.0.1", 0)
        )
        with self.assertRaisesRegex(RuntimeError, "not supported"):
            await self.loop.sendfile(transport, self.file)
        transport.close()
        await protocol.lost

    @asynchronous
    async def test_streams(self):
        async def serve(reader, writer):
            await writer.drain()
            await self.loop.sendfile(writer.transport, self.file)
            writer.write(b"end")
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        self.assertEqual(await reader.read(), self.contents + b"end")
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()


if __name__ == "__main__":
    support.main()
