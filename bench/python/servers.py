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

# Whatever has to live as long as the process.
kept = []


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


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


async def close(reader, writer):
    writer.close()


def keep(server):
    kept.append(server)
    return server.sockets[0].getsockname()[1]


def context(options):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.certificate, options.key)
    return context


async def protocol(loop, names, options):
    return keep(await loop.create_server(Echo, '127.0.0.1', 0))


async def buffered(loop, names, options):
    return keep(await loop.create_server(EchoBuffered, '127.0.0.1', 0))


async def streams(loop, names, options):
    return keep(await names.start_server(echo, '127.0.0.1', 0))


async def unix(loop, names, options):
    directory = tempfile.TemporaryDirectory()
    kept.append(directory)
    path = os.path.join(directory.name, 'echo')
    kept.append(await names.start_unix_server(echo, path))
    return path


async def tls(loop, names, options):
    return keep(await loop.create_server(Echo, '127.0.0.1', 0, ssl=context(options)))


async def tls_streams(loop, names, options):
    return keep(await names.start_server(echo, '127.0.0.1', 0, ssl=context(options)))


async def churn(loop, names, options):
    return keep(await loop.create_server(Closing, '127.0.0.1', 0, backlog=1024))


async def churn_streams(loop, names, options):
    return keep(await names.start_server(close, '127.0.0.1', 0, backlog=1024))


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


async def http(loop, names, options):
    from aiohttp import web

    async def hello(request):
        return web.Response(text='Hello, world!\n')

    application = web.Application()
    application.router.add_get('/', hello)
    runner = web.AppRunner(application, access_log=None, keepalive_timeout=3600)
    await runner.setup()
    site = web.TCPSite(runner, '127.0.0.1', 0)
    await site.start()
    kept.append(runner)
    return runner.addresses[0][1]
