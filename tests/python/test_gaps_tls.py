"""TLS at its ends: each is told, nothing is lost at it, whatever the peer does."""

import asyncio
import contextlib
import socket
import ssl

import support
from support import TlsPeer, asynchronous


class End(support.TlsCase):
    async def bare_eof(self, version):
        protocol, peer = await self.connected(version=version)
        await peer.send(b"hello")
        peer.leave()
        self.assertIsNone(await protocol.lost)
        await peer.leaving
        self.assertEqual(protocol.data, b"hello")
        self.assertEqual(protocol.calls[-2:], ["eof", "lost"])

    @asynchronous
    async def test_bare_tcp_eof(self):
        await self.bare_eof(ssl.TLSVersion.TLSv1_3)

    @asynchronous
    async def test_bare_tcp_eof_1_2(self):
        await self.bare_eof(ssl.TLSVersion.TLSv1_2)

    @asynchronous
    async def test_close_notify(self):
        protocol, peer = await self.connected()
        await peer.send(b"hello")
        await peer.close_notify()
        await support.until(lambda: "eof" in protocol.calls)
        self.assertEqual(protocol.data, b"hello")
        peer.leave()
        self.assertIsNone(await protocol.lost)
        await peer.leaving
        self.assertEqual(protocol.calls.count("eof"), 1)

    @asynchronous
    async def test_streams_see_the_end(self):
        got = self.loop.create_future()

        async def serve(reader, writer):
            got.set_result(await reader.read())
            writer.close()

        server = await asyncio.start_server(
            serve, "127.0.0.1", 0, ssl=support.server_context()
        )
        sock = socket.socket()
        sock.setblocking(False)
        await self.loop.sock_connect(sock, server.sockets[0].getsockname())
        peer = TlsPeer(self.loop, sock, support.client_context(), hostname="localhost")
        await peer.handshake()
        await peer.send(b"hello")
        sock.close()
        self.assertEqual(await got, b"hello")
        server.close()
        await server.wait_closed()

    @asynchronous
    async def test_reset(self):
        protocol, peer = await self.connected()
        protocol.transport.write(b"x" * 5_000_000)
        await asyncio.sleep(0.01)
        peer.sock.close()
        error = await protocol.lost
        self.assertTrue(error is None or isinstance(error, OSError), error)
        self.assertEqual(protocol.calls.count("lost"), 1)

    @asynchronous
    async def test_a_peer_that_talks_on_after_our_close_notify(self):
        """It is not waited for until the shutdown's time-out."""
        protocol, peer = await self.connected()
        await peer.send(b"hello")
        await support.until(lambda: protocol.data)
        protocol.transport.close()
        await asyncio.sleep(0.01)
        for _ in range(3):
            peer.tls.write(b"more")
            with contextlib.suppress(ConnectionError):
                await peer.flush()
            await asyncio.sleep(0.01)
        error = await asyncio.wait_for(protocol.lost, 5)
        self.assertTrue(error is None or isinstance(error, OSError), repr(error))
        self.take_errors()

    @asynchronous
    async def test_garbage(self):
        protocol, peer = await self.connected()
        await self.loop.sock_sendall(peer.sock, b"this is no TLS record at all" * 10)
        self.assertIsInstance(await protocol.lost, ssl.SSLError)
        self.take_errors()


class EarlyData(support.TlsCase):
    """Data, and the end, that come in one piece with the last record of the handshake."""

    async def in_one_piece(self, version, end):
        ours, theirs = socket.socketpair()
        context = support.client_context()
        context.maximum_version = version
        peer = TlsPeer(self.loop, theirs, context, hostname="localhost")
        connecting = self.loop.create_task(
            self.loop.connect_accepted_socket(support.Recorder, ours, ssl=support.server_context())
        )
        with contextlib.suppress(ssl.SSLWantReadError):
            peer.tls.do_handshake()
        await peer.flush()
        done = False
        while not done:
            peer.incoming.write(await self.loop.sock_recv(theirs, 65536))
            try:
                peer.tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                await peer.flush()
        peer.tls.write(b"hello ")
        peer.tls.write(b"at once")
        await peer.flush()
        if end:
            peer.leave()
        _, protocol = await connecting
        await support.until(lambda: protocol.data == b"hello at once", 5)
        if not end:
            peer.leave()
        self.assertIsNone(await protocol.lost)
        await peer.leaving
        self.assertEqual(protocol.calls[-2:], ["eof", "lost"])

    @asynchronous
    async def test_data(self):
        await self.in_one_piece(ssl.TLSVersion.TLSv1_3, False)

    @asynchronous
    async def test_data_1_2(self):
        await self.in_one_piece(ssl.TLSVersion.TLSv1_2, False)

    @asynchronous
    async def test_data_and_end(self):
        await self.in_one_piece(ssl.TLSVersion.TLSv1_3, True)

    @asynchronous
    async def test_data_and_end_1_2(self):
        await self.in_one_piece(ssl.TLSVersion.TLSv1_2, True)


class PausedReader(support.TlsCase):
    class Paused(support.Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.pause_reading()

    data = bytes(range(256)) * 2000

    async def finish_with(self, end):
        protocol, peer = await self.connected(self.Paused)
        sending = self.loop.create_task(peer.send(self.data))
        await asyncio.sleep(0.01)
        self.assertEqual(protocol.data, b"")
        if not sending.done():
            protocol.transport.resume_reading()
            await sending
            protocol.transport.pause_reading()
        await end(peer)
        await asyncio.sleep(0.02)
        self.assertFalse(protocol.lost.done())
        protocol.transport.resume_reading()
        self.assertIsNone(await protocol.lost)
        await peer.leaving
        self.assertEqual(len(protocol.data), len(self.data))
        self.assertTrue(protocol.data == self.data)
        self.assertEqual(protocol.calls[-2:], ["eof", "lost"])

    @asynchronous
    async def test_bare_eof(self):
        async def end(peer):
            peer.leave()

        await self.finish_with(end)

    @asynchronous
    async def test_close_notify_and_eof(self):
        async def end(peer):
            await peer.close_notify()
            peer.leave()

        await self.finish_with(end)

    @asynchronous
    async def test_little_data(self):
        """All of it is in our memory already when the end comes."""
        self.data = b"little"

        async def end(peer):
            await peer.close_notify()
            peer.leave()

        await self.finish_with(end)

    @asynchronous
    async def test_pausing_in_data_received(self):
        class Sips(support.Recorder):
            def data_received(self, data):
                super().data_received(data)
                self.transport.pause_reading()
                loop.call_later(0.001, self.transport.resume_reading)

        loop = self.loop
        protocol, peer = await self.connected(Sips)
        sending = self.loop.create_task(peer.send(self.data))
        await sending
        peer.leave()
        self.assertIsNone(await protocol.lost)
        await peer.leaving
        self.assertEqual(len(protocol.data), len(self.data))

    @asynchronous
    async def test_nothing_while_paused(self):
        protocol, peer = await self.connected()
        protocol.transport.pause_reading()
        self.assertFalse(protocol.transport.is_reading())
        await peer.send(b"hello")
        await asyncio.sleep(0.02)
        self.assertEqual(protocol.data, b"")
        protocol.transport.resume_reading()
        self.assertTrue(protocol.transport.is_reading())
        await support.until(lambda: protocol.data == b"hello")
        protocol.transport.abort()
        await protocol.lost


if __name__ == "__main__":
    support.main()
