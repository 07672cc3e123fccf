"""Servers under load, and clients that leave at any point of a conversation."""

import asyncio
import contextlib
import gc
import socket
import ssl

import support
from support import asynchronous, reset

REQUEST = b"POST /path HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n0123456789"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n" + b"x" * 4000


class Server:
    """A small HTTP server of streams, which counts how its conversations ended."""

    def __init__(self):
        self.whole = self.broken = self.open = 0

    async def serve(self, reader, writer):
        self.open += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            for start in range(0, len(ANSWER), 1000):
                writer.write(ANSWER[start : start + 1000])
                await writer.drain()
            self.whole += 1
        except (asyncio.IncompleteReadError, ConnectionError):
            self.broken += 1
        finally:
            self.open -= 1
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


class Disconnects(support.LoopCase):
    async def started(self, **options):
        handler = Server()
        server = await asyncio.start_server(handler.serve, "127.0.0.1", 0, **options)
        return server, handler

    async def still_serves(self, server, handler, **options):
        whole = handler.whole
        reader, writer = await asyncio.open_connection(
            *server.sockets[0].getsockname(), **options
        )
        writer.write(REQUEST)
        self.assertEqual(await reader.readexactly(len(ANSWER)), ANSWER)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        self.assertEqual(handler.whole, whole + 1)

    async def leave(self, server, handler, end):
        """A client leaves after each number of bytes sent and, then, received."""
        address = server.sockets[0].getsockname()
        count = 0
        for sent in range(len(REQUEST) + 1):
            sock = socket.socket()
            sock.setblocking(False)
            await self.loop.sock_connect(sock, address)
            if sent:
                await self.loop.sock_sendall(sock, REQUEST[:sent])
            if sent % 3 == 0:
                await asyncio.sleep(0)
            end(sock)
            count += 1
        for received in range(1, len(ANSWER), 97):
            sock = socket.socket()
            sock.setblocking(False)
            await self.loop.sock_connect(sock, address)
            await self.loop.sock_sendall(sock, REQUEST)
            got = 0
            while got < received:
                got += len(await self.loop.sock_recv(sock, received - got))
            end(sock)
            count += 1
        # A connection that was reset before it was accepted may never have reached the server.
        await support.until(lambda: not handler.open)
        await asyncio.sleep(0.01)
        self.assertLessEqual(handler.whole + handler.broken, count)
        self.assertGreater(handler.broken, 10)

    @asynchronous
    async def test_closed_after_any_byte(self):
        server, handler = await self.started()
        await self.leave(server, handler, lambda sock: sock.close())
        await self.still_serves(server, handler)
        server.close()

    @asynchronous
    async def test_reset_after_any_byte(self):
        server, handler = await self.started()
        await self.leave(server, handler, reset)
        await self.still_serves(server, handler)
        server.close()

    @support.needs_openssl
    @asynchronous
    async def test_tls_left_after_any_byte(self):
        """The bytes of a whole TLS client, recorded as they come, cut off after each so many."""
        server, handler = await self.started(ssl=support.server_context())
        address = server.sockets[0].getsockname()
        for end in (lambda sock: sock.close(), reset):
            for keep in range(0, 1200, 41):
                await self.tls_client(address, keep, end)
        await asyncio.sleep(0.02)
        await self.still_serves(
            server, handler, ssl=support.client_context(), server_hostname="localhost"
        )
        server.close()
        await support.until(lambda: not handler.open)
        self.take_errors()

    async def tls_client(self, address, keep, end):
        """A TLS client that leaves when it has sent `keep` bytes."""
        sock = socket.socket()
        sock.setblocking(False)
        await self.loop.sock_connect(sock, address)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = support.client_context().wrap_bio(incoming, outgoing, False, "localhost")
        with contextlib.suppress(ConnectionError):
            while keep > 0:
                try:
                    tls.do_handshake()
                    tls.write(REQUEST)
                except ssl.SSLWantReadError:
                    pass
                data = outgoing.read(keep)
                keep -= len(data)
                await self.loop.sock_sendall(sock, data)
                if outgoing.pending or not keep:
                    break
                got = await self.loop.sock_recv(sock, 65536)
                if not got:
                    break
                incoming.write(got)
        end(sock)


class Load(support.LoopCase):
    async def client(self, address, requests, **options):
        reader, writer = await asyncio.open_connection(*address, **options)
        try:
            for number in range(requests):
                block = bytes([number % 256]) * (1 + number * 37 % 5000)
                writer.write(len(block).to_bytes(4, "big") + block)
                await writer.drain()
                length = int.from_bytes(await reader.readexactly(4), "big")
                self.assertTrue(await reader.readexactly(length) == block)
        finally:
            writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    @staticmethod
    async def serve(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readexactly(4)
                writer.write(head + await reader.readexactly(int.from_bytes(head, "big")))
                await writer.drain()
        writer.close()

    @asynchronous
    async def test_200_connections(self):
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=300)
        address = server.sockets[0].getsockname()
        await asyncio.gather(*(self.client(address, 30) for _ in range(200)))
        server.close()
        await asyncio.sleep(0.02)

    @support.needs_openssl
    @asynchronous
    async def test_50_connections_with_tls(self):
        server = await asyncio.start_server(
            self.serve, "127.0.0.1", 0, backlog=300, ssl=support.server_context()
        )
        address = server.sockets[0].getsockname()
        context = support.client_context()
        await asyncio.gather(
            *(
                self.client(address, 20, ssl=context, server_hostname="localhost")
                for _ in range(50)
            )
        )
        server.close()
        await asyncio.sleep(0.05)

    @asynchronous
    async def test_half_of_them_leave(self):
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=300)
        address = server.sockets[0].getsockname()

        async def leaves(number):
            task = asyncio.create_task(self.client(address, 1000))
            await asyncio.sleep(0.001 * number)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        await asyncio.gather(
            *(self.client(address, 30) for _ in range(60)), *(leaves(n) for n in range(60))
        )
        server.close()
        gc.collect()
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    support.main()
