"""aiohttp's client and server, Debian's package: requests of all kinds, TLS, websockets, load."""

import asyncio
import contextlib
import logging
import os
import socket
import struct
import unittest

import support
from support import asynchronous

try:
    import aiohttp
    from aiohttp import web
except ImportError:
    aiohttp = None


@unittest.skipUnless(aiohttp, "this Python has no aiohttp")
class AiohttpCase(support.Directory, support.LoopCase):
    def application(self):
        async def hello(request):
            return web.Response(text="Hello, " + request.match_info.get("name", "world"))

        async def echo(request):
            return web.Response(body=await request.read())

        async def length(request):
            total = 0
            async for chunk in request.content.iter_chunked(10_000):
                total += len(chunk)
            return web.json_response({"length": total})

        async def chunks(request):
            response = web.StreamResponse()
            response.enable_chunked_encoding()
            await response.prepare(request)
            for number in range(100):
                await response.write(b"%d" % (number % 10) * 1000)
            await response.write_eof()
            return response

        async def slow(request):
            self.begun += 1
            try:
                await asyncio.sleep(0.3)
            finally:
                self.ended += 1
            return web.Response()

        async def websocket(request):
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            async for message in socket:
                if message.type == aiohttp.WSMsgType.TEXT:
                    await socket.send_str(message.data[::-1])
                elif message.type == aiohttp.WSMsgType.BINARY:
                    await socket.send_bytes(message.data)
            return socket

        async def file(request):
            return web.FileResponse(self.path("file"))

        application = web.Application(client_max_size=1 << 30)
        application.add_routes(
            [
                web.get("/", hello),
                web.get("/name/{name}", hello),
                web.post("/echo", echo),
                web.post("/length", length),
                web.get("/chunks", chunks),
                web.get("/slow", slow),
                web.get("/websocket", websocket),
                web.get("/file", file),
            ]
        )
        return application

    @contextlib.asynccontextmanager
    async def served(self, tls=False, unix=False):
        """(a session, the base of the addresses) of a server that runs."""
        self.begun = self.ended = 0
        runner = web.AppRunner(self.application())
        await runner.setup()
        connector = None
        if unix:
            site = web.UnixSite(runner, self.path("socket"))
            connector = aiohttp.UnixConnector(self.path("socket"))
        else:
            site = web.TCPSite(
                runner, "127.0.0.1", 0, ssl_context=support.server_context() if tls else None
            )
            if tls:
                connector = aiohttp.TCPConnector(ssl=support.client_context())
        await site.start()
        if unix:
            base = "http://localhost"
        else:
            self.address = site._server.sockets[0].getsockname()
            base = f"http{'s' if tls else ''}://localhost:{self.address[1]}"
        try:
            async with aiohttp.ClientSession(connector=connector) as session:
                yield session, base
                # What aiohttp closes of TLS it does not wait for.
            await asyncio.sleep(0.05 if tls else 0)
        finally:
            await runner.cleanup()


class Requests(AiohttpCase):
    async def kinds(self, **where):
        async with self.served(**where) as (session, base):
            async with session.get(base + "/name/anna") as response:
                self.assertEqual((response.status, await response.text()), (200, "Hello, anna"))
            async with session.get(base + "/nothing") as response:
                self.assertEqual(response.status, 404)
            body = os.urandom(2_000_000)
            async with session.post(base + "/echo", data=body) as response:
                self.assertTrue(await response.read() == body)
            async with session.get(base + "/chunks") as response:
                data = await response.read()
                self.assertEqual(len(data), 100_000)
                self.assertEqual(data[5000:6000], b"5" * 1000)

    @asynchronous
    async def test_kinds(self):
        await self.kinds()

    @support.needs_openssl
    @asynchronous
    async def test_kinds_by_tls(self):
        await self.kinds(tls=True)

    @asynchronous
    async def test_kinds_by_unix_socket(self):
        await self.kinds(unix=True)

    @asynchronous
    async def test_chunked_upload(self):
        async def body():
            for number in range(200):
                yield bytes([number]) * 10_000
                if number % 20 == 0:
                    await asyncio.sleep(0)

        async with self.served() as (session, base):
            async with session.post(base + "/length", data=body()) as response:
                self.assertEqual(await response.json(), {"length": 2_000_000})

    @asynchronous
    async def test_file(self):
        """aiohttp serves files by loop.sendfile."""
        contents = os.urandom(1_500_000)
        with open(self.path("file"), "wb") as file:
            file.write(contents)
        async with self.served() as (session, base):
            async with session.get(base + "/file") as response:
                self.assertTrue(await response.read() == contents)
            async with session.get(base + "/file", headers={"Range": "bytes=10-99"}) as response:
                self.assertEqual(await response.read(), contents[10:100])

    @support.needs_openssl
    @asynchronous
    async def test_file_by_tls(self):
        contents = os.urandom(500_000)
        with open(self.path("file"), "wb") as file:
            file.write(contents)
        async with self.served(tls=True) as (session, base):
            async with session.get(base + "/file") as response:
                self.assertTrue(await response.read() == contents)

    async def talk(self, **where):
        async with self.served(**where) as (session, base):
            async with session.ws_connect(base + "/websocket") as websocket:
                for number in range(50):
                    await websocket.send_str(f"message {number}")
                    answer = await websocket.receive_str()
                    self.assertEqual(answer, f"message {number}"[::-1])
                for size in (0, 1, 125, 126, 65535, 65536, 500_000):
                    await websocket.send_bytes(b"x" * size)
                    self.assertEqual(len(await websocket.receive_bytes()), size)

    @asynchronous
    async def test_websocket(self):
        await self.talk()

    @support.needs_openssl
    @asynchronous
    async def test_websocket_by_tls(self):
        await self.talk(tls=True)

    @asynchronous
    async def test_timeout(self):
        async with self.served() as (session, base):
            with self.assertRaises(asyncio.TimeoutError):
                timeout = aiohttp.ClientTimeout(total=0.05)
                async with session.get(base + "/slow", timeout=timeout):
                    pass
            await support.until(lambda: self.ended == self.begun == 1)

    @asynchronous
    async def test_nobody_there(self):
        host, port = support.refused_address()
        async with aiohttp.ClientSession() as session:
            with self.assertRaises(aiohttp.ClientConnectorError):
                await session.get(f"http://{host}:{port}/")


class Load(AiohttpCase):
    @asynchronous
    async def test_200_connections(self):
        async with self.served() as (_, base):
            connector = aiohttp.TCPConnector(limit=200)
            async with aiohttp.ClientSession(connector=connector) as session:

                async def client():
                    for _ in range(5):
                        async with session.get(base + "/") as response:
                            self.assertEqual(await response.text(), "Hello, world")

                await asyncio.gather(*(client() for _ in range(200)))

    @support.needs_openssl
    @asynchronous
    async def test_30_connections_by_tls(self):
        async with self.served(tls=True) as (session, base):

            async def client():
                for _ in range(5):
                    async with session.get(base + "/") as response:
                        self.assertEqual(await response.text(), "Hello, world")

            await asyncio.gather(*(client() for _ in range(30)))

    @asynchronous
    async def test_clients_that_leave_at_any_byte(self):
        request = (
            b"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
        )
        log = logging.getLogger("aiohttp.server")  # it tells of each with a traceback
        log.disabled = True
        self.addCleanup(setattr, log, "disabled", False)
        async with self.served() as (session, base):
            for linger in (None, struct.pack("ii", 1, 0)):
                for count in range(len(request) + 1):
                    sock = socket.socket()
                    sock.setblocking(False)
                    await self.loop.sock_connect(sock, self.address)
                    if linger:
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    await self.loop.sock_sendall(sock, request[:count])
                    if count % 4 == 0:
                        await asyncio.sleep(0.0005)
                    sock.close()
            async with session.post(base + "/echo", data=b"works") as response:
                self.assertEqual(await response.read(), b"works")
        self.take_errors()

    @asynchronous
    async def test_clients_that_are_cancelled(self):
        async with self.served() as (session, base):

            async def client(delay):
                with contextlib.suppress(asyncio.TimeoutError):
                    async with asyncio.timeout(delay):
                        async with session.get(base + "/chunks") as response:
                            await response.read()

            await asyncio.gather(*(client(0.0005 * number) for number in range(60)))
            async with session.get(base + "/") as response:
                self.assertEqual(await response.text(), "Hello, world")


if __name__ == "__main__":
    support.main()
