"""start_tls() of a connection whose reader has received something already: that belongs to TLS."""

import asyncio
import socket
import ssl

import support
from support import asynchronous



class Client:
    """The other side, by hand: it says what is to go out in one piece."""

    def __init__(self, loop, sock):
        self.loop, self.sock = loop, sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = support.client_context().wrap_bio(self.incoming, self.outgoing, False, "localhost")

    def hello(self):
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return self.outgoing.read()

    async def drive(self, call, *arguments):
        while True:
            try:
                result = call(*arguments)
            except ssl.SSLWantReadError:
                result = None
            if self.outgoing.pending:
                await self.loop.sock_sendall(self.sock, self.outgoing.read())
            if result is not None or call == self.tls.do_handshake and self.tls.version():
                return result
            data = await self.loop.sock_recv(self.sock, 65536)
            if not data:
                raise EOFError
            self.incoming.write(data)


@support.needs_openssl
class Buffered(support.LoopCase):
    start_server = staticmethod(asyncio.start_server)
    open_connection = staticmethod(asyncio.open_connection)

    async def connected(self, limit=2 ** 16):
        """A server's (reader, writer), and a client's socket."""
        got = self.loop.create_future()
        server = await self.start_server(
            lambda *pair: got.set_result(pair), "127.0.0.1", 0, limit=limit)
        sock = socket.socket()
        self.addCleanup(sock.close)
        sock.setblocking(False)
        await self.loop.sock_connect(sock, server.sockets[0].getsockname())
        reader, writer = await got
        self.addCleanup(writer.transport.abort)
        server.close()
        return reader, writer, sock

    @support.stock_since(3, 14, 3)
    @asynchronous
    async def test_the_handshake_came_with_the_line_before(self):
        for cut in 0, 1, 100:
            with self.subTest(cut=cut):
                reader, writer, sock = await self.connected()
                client = Client(self.loop, sock)
                hello = client.hello()
                await self.loop.sock_sendall(sock, b"STARTTLS\n" + hello[:len(hello) - cut])
                self.assertEqual(await reader.readline(), b"STARTTLS\n")
                await asyncio.sleep(0.01)
                starting = self.loop.create_task(
                    writer.start_tls(support.server_context(), ssl_handshake_timeout=5))
                await asyncio.sleep(0)
                await self.loop.sock_sendall(sock, hello[len(hello) - cut:])
                await client.drive(client.tls.do_handshake)
                await starting
                await client.drive(client.tls.write, b"secret\n")
                self.assertEqual(await reader.readline(), b"secret\n")
                writer.write(b"answer")
                self.assertEqual(await client.drive(client.tls.read, 100), b"answer")

    @support.stock_cannot("the reader knows the old transport")
    @asynchronous
    async def test_flow_control_reaches_the_new_transport(self):
        reader, writer, sock = await self.connected(limit=1000)
        below = writer.transport
        client = Client(self.loop, sock)
        starting = self.loop.create_task(writer.start_tls(support.server_context()))
        await client.drive(client.tls.do_handshake)
        await starting
        self.assertIs(reader._transport, writer.transport)
        self.assertIsNot(reader._transport, below)
        await client.drive(client.tls.write, b"x" * 5000)
        await support.until(lambda: reader._paused)
        self.assertFalse(writer.transport.is_reading())
        self.assertEqual(await reader.readexactly(5000), b"x" * 5000)
        self.assertTrue(writer.transport.is_reading())
        await client.drive(client.tls.write, b"y")
        self.assertEqual(await reader.readexactly(1), b"y")

    @support.stock_cannot("it reads what was not encrypted as if it had been")
    @asynchronous
    async def test_a_reader_that_was_full(self):
        """It had paused the transport; and what it had is no record of TLS."""
        reader, writer, sock = await self.connected(limit=100)
        await self.loop.sock_sendall(sock, b"x" * 1000)
        await support.until(lambda: reader._paused)
        with self.assertRaises(ssl.SSLError):
            await writer.start_tls(support.server_context(), ssl_handshake_timeout=5)
        self.assertEqual(bytes(reader._buffer), b"")

    @support.stock_cannot("it waits until the time-out")
    @asynchronous
    async def test_the_end_came_before(self):
        reader, writer, sock = await self.connected()
        client = Client(self.loop, sock)
        await self.loop.sock_sendall(sock, b"STARTTLS\n" + client.hello())
        sock.shutdown(socket.SHUT_WR)
        self.assertEqual(await reader.readline(), b"STARTTLS\n")
        await support.until(lambda: reader._eof)
        with self.assertRaises(ConnectionError):
            await writer.start_tls(support.server_context(), ssl_handshake_timeout=60)

    @support.stock_cannot("what was injected is read as if it had been encrypted")
    @asynchronous
    async def test_a_client_is_not_taken_in(self):
        listening = support.listener()
        self.addCleanup(listening.close)
        reader, writer = await self.open_connection(*listening.getsockname())
        peer, _ = listening.accept()
        self.addCleanup(peer.close)
        peer.sendall(b"220 ready\r\n250 injected\r\n")
        self.assertEqual(await reader.readline(), b"220 ready\r\n")
        with self.assertRaises((ssl.SSLError, ConnectionError)):
            await writer.start_tls(support.client_context(), server_hostname="localhost",
                                   ssl_handshake_timeout=5)
        self.assertNotIn(b"injected", bytes(reader._buffer))


if not support.STOCK:
    import casyncio

    class BufferedInC(Buffered):
        start_server = staticmethod(casyncio.start_server)
        open_connection = staticmethod(casyncio.open_connection)


if __name__ == "__main__":
    support.main()
