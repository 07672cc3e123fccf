"""The servers that load.c is the client of: each starts one and returns its address.

They are as a program would have them, and the same for every loop. `options` are worker.py's, and
the size of the messages.
"""
import asyncio
import os
import socket
import ssl
import tempfile

READ = 64 * 1024
HEAD = 32           # bytes of the first write, where an answer has two

# Whatever has to live as long as the process.
kept = []


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class EchoInTwo(Echo):
    """As what writes a head and then a body."""
    def data_received(self, data):
        self.transport.write(data[:HEAD])
        self.transport.write(data[HEAD:])


class EchoOnce(Echo):
    def data_received(self, data):
        self.transport.write(data)
        self.transport.close()


class EchoBuffered(asyncio.BufferedProtocol):
    def connection_made(self, transport):
        self.transport = transport
        self.buffer = memoryview(bytearray(READ))

    def get_buffer(self, sizehint):
        return self.buffer

    def buffer_updated(self, nbytes):
        self.transport.write(self.buffer[:nbytes])


class EchoDatagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.transport.sendto(data, addr)


class Closing(asyncio.Protocol):
    def connection_made(self, transport):
        transport.close()


async def echo(reader, writer):
    while data := await reader.read(READ):
        writer.write(data)
        await writer.drain()
    writer.close()


async def echo_once(reader, writer):
    writer.write(await reader.read(READ))
    await writer.drain()
    writer.close()


async def close(reader, writer):
    writer.close()


def keep(server):
    kept.append(server)
    return server.sockets[0].getsockname()[1]


def context(options):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.certificate, options.key)
    return context


def tcp(factory, tls=False):
    """A server whose connections are of this protocol."""
    async def start(loop, names, options):
        ssl = context(options) if tls else None
        return keep(await loop.create_server(factory, '127.0.0.1', 0, ssl=ssl, backlog=1024))
    return start


def tcp_streams(handler, tls=False):
    """A server whose connections are streams; with names' classes."""
    async def start(loop, names, options):
        ssl = context(options) if tls else None
        return keep(await names.start_server(handler, '127.0.0.1', 0, ssl=ssl, backlog=1024))
    return start


async def pulled(loop, names, options):
    piece = b'x' * READ

    async def send(reader, writer):
        while await reader.read(1):
            for _ in range(options.size // READ):
                writer.write(piece)
                await writer.drain()
        writer.close()
    return await tcp_streams(send)(loop, names, options)


async def pushed(loop, names, options):
    async def receive(reader, writer):
        left = options.size
        while data := await reader.read(READ):
            left -= len(data)
            if left == 0:
                left = options.size
                writer.write(b'.')
        writer.close()
    return await tcp_streams(receive)(loop, names, options)


async def unix(loop, names, options):
    directory = tempfile.TemporaryDirectory()
    kept.append(directory)
    path = os.path.join(directory.name, 'echo')
    kept.append(await names.start_unix_server(echo, path))
    return path


async def udp(loop, names, options):
    transport, _ = await loop.create_datagram_endpoint(EchoDatagrams, ('127.0.0.1', 0))
    kept.append(transport)
    return transport.get_extra_info('sockname')[1]


async def sock(loop, names, options):
    listener = socket.create_server(('127.0.0.1', 0))
    listener.setblocking(False)
    limit = max(4096, options.size)     # each sock_recv allocates as much

    async def serve(client):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with client:
            while data := await loop.sock_recv(client, limit):
                await loop.sock_sendall(client, data)

    async def accept():
        while True:
            client, _ = await loop.sock_accept(listener)
            client.setblocking(False)
            kept.append(loop.create_task(serve(client)))

    kept.append(loop.create_task(accept()))
    return listener.getsockname()[1]


def text(options):
    return 'Hello, world!\n' if options.size == 0 else 'x' * options.size


async def aiohttp(loop, names, options):
    from aiohttp import web
    body = text(options)

    async def hello(request):
        return web.Response(text=body)

    application = web.Application()
    application.router.add_get('/', hello)
    runner = web.AppRunner(application, access_log=None, keepalive_timeout=3600)
    await runner.setup()
    site = web.TCPSite(runner, '127.0.0.1', 0)
    await site.start()
    kept.append(runner)
    return runner.addresses[0][1]


async def uvicorn(loop, names, options):
    import uvicorn
    body = text(options).encode()
    start = {'type': 'http.response.start', 'status': 200,
             'headers': [(b'content-type', b'text/plain'),
                         (b'content-length', str(len(body)).encode())]}

    async def application(scope, receive, send):
        await send(start)
        await send({'type': 'http.response.body', 'body': body})

    server = uvicorn.Server(uvicorn.Config(application, port=0, log_level='error', lifespan='off',
                                           access_log=False, timeout_keep_alive=3600))
    kept.append(loop.create_task(server.serve()))
    while not server.started:
        await asyncio.sleep(0.01)
    return server.servers[0].sockets[0].getsockname()[1]


def websockets(tls=False):
    async def start(loop, names, options):
        import websockets

        async def serve(socket):
            async for message in socket:
                await socket.send(message)

        return keep(await websockets.serve(serve, '127.0.0.1', 0, ping_interval=None,
                                           ssl=context(options) if tls else None))
    return start


class Answer(asyncio.Protocol):
    """For clients of HTTP: always the same."""
    ANSWER = (b'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\n'
              b'Hello, world!\n')

    def connection_made(self, transport):
        self.transport = transport
        self.seen = b''

    def data_received(self, data):
        *heads, self.seen = (self.seen + data).split(b'\r\n\r\n')
        self.transport.write(self.ANSWER * len(heads))
