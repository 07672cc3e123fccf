"""TLS: what is said over it, what is known of it, its time-outs, start_tls."""

import asyncio
import contextlib
import os
import socket
import ssl
import tempfile
import unittest

import support
from support import TlsPeer, asynchronous


class Talking(support.TlsCase):
    async def server(self, factory=support.Echo, **options):
        return await self.loop.create_server(
            factory, "127.0.0.1", 0, ssl=support.server_context(), **options
        )

    async def client(self, server, factory=support.Recorder, context=None, **options):
        return await self.loop.create_connection(
            factory,
            *server.sockets[0].getsockname(),
            ssl=context or support.client_context(),
            server_hostname="localhost",
            **options,
        )

    @asynchronous
    async def test_echo_of_all_sizes(self):
        server = await self.server()
        transport, protocol = await self.client(server)
        for size in (1, 100, 16383, 16384, 16385, 100_000, 3_000_000):
            data = bytes(range(256)) * (size // 256 + 1)
            transport.write(data[:size])
            await support.until(lambda: len(protocol.data) == size)
            self.assertTrue(protocol.data == data[:size])
            protocol.data.clear()
        transport.writelines([b"one ", bytearray(b"two "), memoryview(b"three")])
        await support.until(lambda: protocol.data == b"one two three")
        transport.close()
        self.assertIsNone(await protocol.lost)
        server.close()
        await server.wait_closed()

    @asynchronous
    async def test_extra_info(self):
        server = await self.server()
        context = support.client_context()
        transport, protocol = await self.client(server, context=context)
        self.assertIsInstance(transport, asyncio.Transport)
        self.assertIs(transport.get_extra_info("sslcontext"), context)
        self.assertIsInstance(transport.get_extra_info("ssl_object"), ssl.SSLObject)
        self.assertEqual(transport.get_extra_info("cipher")[1][:3], "TLS")
        self.assertIn(
            ("DNS", "localhost"), transport.get_extra_info("peercert")["subjectAltName"]
        )
        self.assertEqual(transport.get_extra_info("compression", "none"), None)
        self.assertEqual(
            transport.get_extra_info("peername"), server.sockets[0].getsockname()
        )
        self.assertIsInstance(transport.get_extra_info("socket"), asyncio.trsock.TransportSocket)
        self.assertFalse(transport.can_write_eof())
        with self.assertRaises(NotImplementedError):
            transport.write_eof()
        with self.assertRaises(TypeError):
            transport.write("text")
        transport.close()
        await protocol.lost
        server.close()

    @asynchronous
    async def test_alpn(self):
        server_context, client_context = support.server_context(), support.client_context()
        server_context.set_alpn_protocols(["h2", "http/1.1"])
        client_context.set_alpn_protocols(["http/1.1"])
        server = await self.loop.create_server(
            support.Echo, "127.0.0.1", 0, ssl=server_context
        )
        transport, protocol = await self.client(server, context=client_context)
        chosen = transport.get_extra_info("ssl_object").selected_alpn_protocol()
        self.assertEqual(chosen, "http/1.1")
        transport.close()
        await protocol.lost
        server.close()

    @asynchronous
    async def test_client_certificate(self):
        server_context, client_context = support.server_context(), support.client_context()
        server_context.verify_mode = ssl.CERT_REQUIRED
        server_context.load_verify_locations(support.certificate()[0])
        client_context.load_cert_chain(*support.certificate())
        seen = self.loop.create_future()

        class Protocol(support.Echo):
            def connection_made(self, transport):
                super().connection_made(transport)
                seen.set_result(transport.get_extra_info("peercert"))

        server = await self.loop.create_server(Protocol, "127.0.0.1", 0, ssl=server_context)
        transport, protocol = await self.client(server, context=client_context)
        self.assertEqual((await seen)["subject"], ((("commonName", "localhost"),),))
        transport.close()
        await protocol.lost
        server.close()

    @asynchronous
    async def test_certificate_that_nobody_knows(self):
        server = await self.server()
        with self.assertRaises(ssl.SSLCertVerificationError):
            await self.client(server, context=ssl.create_default_context())
        await asyncio.sleep(0.01)
        server.close()
        self.take_errors()

    @asynchronous
    async def test_wrong_name(self):
        server = await self.server()
        with self.assertRaises(ssl.SSLCertVerificationError):
            await self.loop.create_connection(
                support.Recorder,
                *server.sockets[0].getsockname(),
                ssl=support.client_context(),
                server_hostname="other.test",
            )
        await asyncio.sleep(0.01)
        server.close()
        self.take_errors()

    @asynchronous
    async def test_buffered_protocol(self):
        await self.buffered_protocol(True)

    @support.stock_cannot("it reads into a copy of a slice of the bytearray")
    @asynchronous
    async def test_buffered_protocol_with_a_bytearray(self):
        await self.buffered_protocol(False)

    async def buffered_protocol(self, views):
        server = await self.server()

        class Buffered(asyncio.BufferedProtocol):
            def __init__(self):
                self.buffer, self.data, self.sizes = bytearray(1000), bytearray(), []

            def get_buffer(self, hint):
                return memoryview(self.buffer) if views else self.buffer

            def buffer_updated(self, count):
                self.data += self.buffer[:count]

        transport, protocol = await self.client(server, Buffered)
        sent = bytes(range(256)) * 400
        transport.write(sent)
        await support.until(lambda: len(protocol.data) == len(sent))
        self.assertTrue(protocol.data == sent)
        transport.abort()
        await asyncio.sleep(0.01)
        server.close()

    @asynchronous
    async def test_flow_control(self):
        class Silent(support.Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                transport.pause_reading()
                servers.append(self)

        servers = []
        server = await self.server(Silent)
        transport, protocol = await self.client(server)
        await support.until(lambda: servers)
        size = 0
        while "pause" not in protocol.calls:
            transport.write(b"x" * 100_000)
            size += 100_000
            self.assertLess(size, 100_000_000)
            await asyncio.sleep(0)
        self.assertGreater(transport.get_write_buffer_size(), 0)
        servers[0].transport.resume_reading()
        await support.until(lambda: "resume" in protocol.calls)
        await support.until(lambda: len(servers[0].data) == size)
        transport.close()
        await protocol.lost
        await servers[0].lost
        server.close()

    @asynchronous
    async def test_close_sends_what_is_buffered(self):
        server_side = []

        class Slow(support.Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                server_side.append(self)

        server = await self.server(Slow)
        transport, protocol = await self.client(server)
        await support.until(lambda: server_side)
        transport.write(b"x" * 3_000_000)
        transport.close()
        self.assertTrue(transport.is_closing())
        transport.write(b"not this")
        await protocol.lost
        await server_side[0].lost
        self.assertEqual(len(server_side[0].data), 3_000_000)
        server.close()

    @asynchronous
    async def test_unix(self):

        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "socket")
            server = await self.loop.create_unix_server(
                support.Echo, path, ssl=support.server_context()
            )
            transport, protocol = await self.loop.create_unix_connection(
                support.Recorder, path, ssl=support.client_context(), server_hostname="localhost"
            )
            transport.write(b"hello")
            await support.until(lambda: protocol.data == b"hello")
            transport.close()
            await protocol.lost
            server.close()


class Timeouts(support.TlsCase):
    @asynchronous
    async def test_handshake_of_a_client(self):
        with support.listener() as silent:
            with self.assertRaisesRegex(ConnectionAbortedError, "0.05"):
                await self.loop.create_connection(
                    support.Recorder,
                    *silent.getsockname(),
                    ssl=support.client_context(),
                    server_hostname="localhost",
                    ssl_handshake_timeout=0.05,
                )

    @asynchronous
    async def test_handshake_of_a_server(self):
        server = await self.loop.create_server(
            support.Recorder,
            "127.0.0.1",
            0,
            ssl=support.server_context(),
            ssl_handshake_timeout=0.05,
        )
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        with contextlib.suppress(ConnectionError):
            self.assertEqual(await asyncio.wait_for(reader.read(), 5), b"")
        writer.close()
        server.close()
        self.take_errors()

    @asynchronous
    async def test_shutdown(self):
        """The peer never answers our close_notify."""
        for where in ("connect_accepted_socket", "start_tls"):
            with self.subTest(where):
                ours, theirs = socket.socketpair()
                peer = TlsPeer(self.loop, theirs, support.client_context(), hostname="localhost")
                handshake = self.loop.create_task(peer.handshake())
                timeouts = {"ssl_handshake_timeout": 5, "ssl_shutdown_timeout": 0.05}
                if where == "start_tls":
                    plain, protocol = await self.loop.create_connection(
                        support.Recorder, sock=ours
                    )
                    transport = await self.loop.start_tls(
                        plain, protocol, support.server_context(), server_side=True, **timeouts
                    )
                else:
                    transport, protocol = await self.loop.connect_accepted_socket(
                        support.Recorder, ours, ssl=support.server_context(), **timeouts
                    )
                await handshake
                transport.close()
                error = await protocol.lost
                self.assertTrue(error is None or isinstance(error, TimeoutError), repr(error))
                theirs.close()
                self.take_errors()

    @asynchronous
    async def test_of_start_tls(self):
        with support.listener() as silent:
            plain, protocol = await self.loop.create_connection(
                support.Recorder, *silent.getsockname()
            )
            with self.assertRaises(ConnectionAbortedError):
                await self.loop.start_tls(
                    plain,
                    protocol,
                    support.client_context(),
                    server_hostname="localhost",
                    ssl_handshake_timeout=0.05,
                )
            await asyncio.sleep(0.01)
            self.assertTrue(plain.is_closing())

    @asynchronous
    async def test_values(self):
        for option in ("ssl_handshake_timeout", "ssl_shutdown_timeout"):
            for value in (0, -1):
                with support.listener() as silent, self.assertRaises(ValueError):
                    await self.loop.create_connection(
                        support.Recorder,
                        *silent.getsockname(),
                        ssl=support.client_context(),
                        server_hostname="localhost",
                        **{option: value},
                    )


class StartTls(support.TlsCase):
    @asynchronous
    async def test_both_sides(self):
        """A plain hello, then TLS on the same connection, as STARTTLS of SMTP does."""
        done = self.loop.create_future()

        class Server(support.Recorder):
            def data_received(self, data):
                super().data_received(data)
                if data == b"STARTTLS\n":
                    loop.create_task(self.upgrade())

            async def upgrade(self):
                self.transport.write(b"go\n")
                transport = await loop.start_tls(
                    self.transport, self, support.server_context(), server_side=True
                )
                transport.write(b"now secret")
                self.secret = transport
                done.set_result(self)

        loop = self.loop
        server = await self.loop.create_server(Server, "127.0.0.1", 0)
        plain, protocol = await self.loop.create_connection(
            support.Recorder, *server.sockets[0].getsockname()
        )
        plain.write(b"STARTTLS\n")
        await support.until(lambda: protocol.data == b"go\n")
        transport = await self.loop.start_tls(
            plain, protocol, support.client_context(), server_hostname="localhost"
        )
        self.assertIsNot(transport, plain)
        self.assertIsInstance(transport, asyncio.Transport)
        self.assertIs(transport.get_protocol(), protocol)
        await support.until(lambda: protocol.data == b"go\nnow secret")
        transport.write(b"answer")
        at_server = await done
        await support.until(lambda: at_server.data == b"STARTTLS\nanswer")
        transport.close()
        await protocol.lost
        await at_server.lost
        server.close()
        await server.wait_closed()

    @unittest.skipUnless(hasattr(asyncio.StreamWriter, "start_tls"), "streams have it since 3.11")
    @asynchronous
    async def test_streams(self):
        async def serve(reader, writer):
            self.assertEqual(await reader.readline(), b"STARTTLS\n")
            writer.write(b"go\n")
            await writer.start_tls(support.server_context())
            writer.write(await reader.readline())
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"STARTTLS\n")
        self.assertEqual(await reader.readline(), b"go\n")
        await writer.start_tls(support.client_context(), server_hostname="localhost")
        writer.write(b"secret\n")
        self.assertEqual(await reader.readline(), b"secret\n")
        writer.close()
        await writer.wait_closed()
        server.close()

    @asynchronous
    async def test_tls_in_tls(self):
        server = await self.loop.create_server(
            support.Echo, "127.0.0.1", 0, ssl=support.server_context()
        )
        # A proxy that is spoken to in TLS and passes on what it is told.
        target = server.sockets[0].getsockname()

        async def proxy(reader, writer):
            to, out = await asyncio.open_connection(*target)

            async def pump(source, drain):
                while data := await source.read(65536):
                    drain.write(data)
                drain.close()

            await asyncio.gather(pump(reader, out), pump(to, writer), return_exceptions=True)

        between = await asyncio.start_server(
            proxy, "127.0.0.1", 0, ssl=support.server_context()
        )
        outer, protocol = await self.loop.create_connection(
            support.Recorder,
            *between.sockets[0].getsockname(),
            ssl=support.client_context(),
            server_hostname="localhost",
        )
        inner = await self.loop.start_tls(
            outer, protocol, support.client_context(), server_hostname="localhost"
        )
        inner.write(b"twice wrapped")
        await support.until(lambda: protocol.data == b"twice wrapped")
        inner.close()
        await protocol.lost
        between.close()
        server.close()
        await asyncio.sleep(0.02)

    @asynchronous
    async def test_arguments(self):
        with support.listener() as listening:
            transport, protocol = await self.loop.create_connection(
                support.Recorder, *listening.getsockname()
            )
            with self.assertRaises(TypeError):
                await self.loop.start_tls(transport, protocol, None)
            transport.close()
            await protocol.lost
        transport, protocol = await self.loop.create_datagram_endpoint(
            support.DatagramRecorder, ("127.0.0.1", 0)
        )
        with self.assertRaises(TypeError):
            await self.loop.start_tls(transport, protocol, support.server_context())
        transport.close()
        await protocol.lost

    @asynchronous
    async def test_peer_that_leaves_in_the_handshake(self):
        ours, theirs = socket.socketpair()
        plain, protocol = await self.loop.create_connection(support.Recorder, sock=ours)
        starting = self.loop.create_task(
            self.loop.start_tls(
                plain, protocol, support.client_context(), server_hostname="localhost"
            )
        )
        await asyncio.sleep(0.01)
        theirs.close()
        with self.assertRaises(OSError):
            await starting
        self.take_errors()

    @asynchronous
    async def test_cancelled(self):
        ours, theirs = socket.socketpair()
        with theirs:
            plain, protocol = await self.loop.create_connection(support.Recorder, sock=ours)
            starting = self.loop.create_task(
                self.loop.start_tls(
                    plain, protocol, support.client_context(), server_hostname="localhost"
                )
            )
            await asyncio.sleep(0.01)
            starting.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await starting
            await asyncio.sleep(0.01)
            self.assertTrue(plain.is_closing())


if __name__ == "__main__":
    support.main()
