"""Servers: keep_alive, close_clients, abort_clients, cleanup_socket and a wait_closed that can wait,
on every Python, and the options that all of them have."""

import asyncio
import os
import socket
import struct
import sys

import support
from support import asynchronous


def wait_for_connections(server):
    """Server.wait_closed(), which on the standard loop waits for the connections since 3.12.1."""
    return server.wait_closed() if support.STOCK else server.wait_closed(connections=True)


class ServerCase(support.LoopCase):
    def setUp(self):
        super().setUp()
        self.accepted = []

    def factory(self):
        recorder = support.Recorder()
        self.accepted.append(recorder)
        return recorder

    async def server(self, host="127.0.0.1", port=0, **options):
        return await self.loop.create_server(self.factory, host, port, **options)

    async def client(self, server):
        """A connection to it: (our protocol, the server's)."""
        count = len(self.accepted)
        _, protocol = await self.loop.create_connection(
            support.Recorder, *server.sockets[0].getsockname()[:2]
        )
        await support.until(lambda: len(self.accepted) > count)
        await self.accepted[count].made
        return protocol, self.accepted[count]

    async def gone(self, *protocols):
        for protocol in protocols:
            protocol.transport.close()
        for protocol in protocols:
            await protocol.lost


class Options(ServerCase):
    @support.stock_since(3, 13)
    @asynchronous
    async def test_keep_alive(self):
        for option, value in (({"keep_alive": True}, 1), ({"keep_alive": None}, 0), ({}, 0)):
            server = await self.server(**option)
            sock = server.sockets[0]
            self.assertEqual(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), value)
            client, accepted = await self.client(server)
            sock = accepted.transport.get_extra_info("socket")
            self.assertEqual(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), value)
            await self.gone(client, accepted)
            server.close()
            await server.wait_closed()

    @asynchronous
    async def test_reuse_port(self):
        first = await self.server(reuse_port=True)
        second = await self.server(port=first.sockets[0].getsockname()[1], reuse_port=True)
        self.assertEqual(first.sockets[0].getsockname(), second.sockets[0].getsockname())
        first.close()
        second.close()

    @asynchronous
    async def test_reuse_address_is_the_rule(self):
        server = await self.server()
        sock = server.sockets[0]
        self.assertTrue(sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR))
        server.close()
        server = await self.server(reuse_address=False)
        sock = server.sockets[0]
        self.assertFalse(sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR))
        server.close()

    @asynchronous
    async def test_address_in_use(self):
        server = await self.server()
        address = server.sockets[0].getsockname()
        before = support.open_descriptors()
        with self.assertRaisesRegex(OSError, "address already in use"):
            await self.server(*address)
        self.assertEqual(support.open_descriptors(), before)
        server.close()

    @asynchronous
    async def test_several_hosts(self):
        server = await self.server(["127.0.0.1", "127.0.0.2"])
        hosts = [sock.getsockname()[0] for sock in server.sockets]
        self.assertEqual(sorted(hosts), ["127.0.0.1", "127.0.0.2"])
        for sock in server.sockets:
            _, protocol = await self.loop.create_connection(
                support.Recorder, *sock.getsockname()
            )
            await support.until(lambda: self.accepted and self.accepted[0].transport)
            await self.gone(protocol, self.accepted.pop())
        server.close()

    @support.needs_ipv6
    @asynchronous
    async def test_every_interface(self):
        server = await self.server(None)
        families = {sock.family for sock in server.sockets}
        self.assertEqual(families, {socket.AF_INET, socket.AF_INET6})
        for sock in server.sockets:
            if sock.family == socket.AF_INET6:
                self.assertTrue(sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
        server.close()

    @asynchronous
    async def test_start_serving_later(self):
        server = await self.server(start_serving=False)
        self.assertFalse(server.is_serving())
        with self.assertRaises(ConnectionRefusedError):
            await self.client(server)
        await server.start_serving()
        await server.start_serving()
        self.assertTrue(server.is_serving())
        await self.gone(*await self.client(server))
        server.close()
        self.assertFalse(server.is_serving())

    @asynchronous
    async def test_a_socket_of_ones_own(self):
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        server = await self.loop.create_server(self.factory, sock=sock)
        self.assertFalse(sock.getblocking())
        await self.gone(*await self.client(server))
        server.close()
        await server.wait_closed()
        self.assertEqual(sock.fileno(), -1)

    @asynchronous
    async def test_arguments(self):
        async def refuses(error, *arguments, **options):
            with self.assertRaises(error):
                await self.loop.create_server(self.factory, *arguments, **options)

        await refuses(ValueError)
        await refuses(TypeError, "127.0.0.1", 0, ssl=True)
        await refuses(ValueError, "127.0.0.1", 0, ssl_handshake_timeout=1)
        await refuses(ValueError, "127.0.0.1", 0, ssl_shutdown_timeout=1)
        with socket.socket() as sock:
            await refuses(ValueError, "127.0.0.1", 0, sock=sock)
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            await refuses(ValueError, sock=sock)


class TheServer(ServerCase):
    @asynchronous
    async def test_what_it_is(self):
        server = await self.server()
        self.assertIsInstance(server, asyncio.AbstractServer)
        self.assertIsInstance(server.sockets, tuple)
        self.assertEqual(len(server.sockets), 1)
        self.assertIsInstance(server.sockets[0], asyncio.trsock.TransportSocket)
        self.assertIs(server.get_loop(), self.loop)
        self.assertTrue(server.is_serving())
        self.assertIn("sockets", repr(server))
        server.close()
        server.close()
        self.assertEqual(server.sockets, ())
        self.assertFalse(server.is_serving())
        await server.wait_closed()

    @asynchronous
    async def test_async_with(self):
        async with await self.server() as server:
            self.assertTrue(server.is_serving())
            await self.gone(*await self.client(server))
        self.assertFalse(server.is_serving())

    @asynchronous
    async def test_serve_forever(self):
        server = await self.server(start_serving=False)
        serving = self.loop.create_task(server.serve_forever())
        await asyncio.sleep(0.01)
        await self.gone(*await self.client(server))
        with self.assertRaisesRegex(RuntimeError, "already being awaited"):
            await server.serve_forever()
        serving.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await serving
        self.assertFalse(server.is_serving())
        with self.assertRaisesRegex(RuntimeError, "is closed"):
            await server.serve_forever()

    @asynchronous
    async def test_close_ends_serve_forever(self):
        server = await self.server()
        serving = self.loop.create_task(server.serve_forever())
        await asyncio.sleep(0)
        server.close()
        with self.assertRaises(asyncio.CancelledError):
            await serving

    @asynchronous
    async def test_close_leaves_connections_alone(self):
        server = await self.server()
        client, accepted = await self.client(server)
        address = server.sockets[0].getsockname()
        server.close()
        with self.assertRaises(ConnectionRefusedError):
            await self.loop.create_connection(support.Recorder, *address)
        client.transport.write(b"still here")
        await support.until(lambda: accepted.data == b"still here")
        await self.gone(client, accepted)

    @support.stock_since(3, 12, 1)
    @asynchronous
    async def test_wait_closed_waits_for_connections(self):
        server = await self.server()
        first = await self.client(server)
        second = await self.client(server)
        server.close()
        waiting = self.loop.create_task(wait_for_connections(server))
        await asyncio.sleep(0.02)
        self.assertFalse(waiting.done())
        await self.gone(*first)
        await asyncio.sleep(0.02)
        self.assertFalse(waiting.done())
        await self.gone(*second)
        await waiting
        await server.wait_closed()

    @support.stock_since(3, 12, 1)
    @asynchronous
    async def test_wait_closed_waits_for_close(self):
        server = await self.server()
        waiting = [self.loop.create_task(wait_for_connections(server)) for _ in range(3)]
        await asyncio.sleep(0.01)
        self.assertFalse(any(task.done() for task in waiting))
        await self.gone(*await self.client(server))
        await asyncio.sleep(0.01)
        self.assertFalse(any(task.done() for task in waiting))
        waiting[0].cancel()
        server.close()
        await asyncio.wait(waiting)
        self.assertTrue(waiting[0].cancelled())

    @support.stock_since(3, 13)
    @asynchronous
    async def test_close_clients(self):
        server = await self.server()
        pairs = [await self.client(server) for _ in range(3)]
        server.close()
        server.close_clients()
        await wait_for_connections(server)
        for client, accepted in pairs:
            self.assertIsNone(await accepted.lost)
            self.assertIsNone(await client.lost)
            self.assertIn("eof", client.calls)

    @support.stock_since(3, 13)
    @asynchronous
    async def test_close_clients_sends_what_is_buffered(self):
        server = await self.server()
        client, accepted = await self.client(server)
        client.transport.pause_reading()
        size = 0
        while not accepted.transport.get_write_buffer_size():
            accepted.transport.write(b"x" * 1_000_000)
            size += 1_000_000
        server.close()
        server.close_clients()
        await asyncio.sleep(0.01)
        self.assertFalse(accepted.lost.done())
        client.transport.resume_reading()
        await wait_for_connections(server)
        await client.lost
        self.assertEqual(len(client.data), size)

    @support.stock_since(3, 13)
    @asynchronous
    async def test_abort_clients(self):
        server = await self.server()
        client, accepted = await self.client(server)
        client.transport.pause_reading()
        while not accepted.transport.get_write_buffer_size():
            accepted.transport.write(b"x" * 1_000_000)
        server.close()
        server.abort_clients()
        await wait_for_connections(server)
        self.assertIsNone(await accepted.lost)
        client.transport.abort()
        await client.lost

    @support.stock_since(3, 13)
    @asynchronous
    async def test_clients_of_a_server_that_goes_on(self):
        server = await self.server()
        client, accepted = await self.client(server)
        server.close_clients()
        await client.lost
        await self.gone(*await self.client(server))
        server.close()
        server.close_clients()
        server.abort_clients()

    @support.stock_since(3, 13)
    @support.needs_openssl
    @asynchronous
    async def test_close_clients_with_tls(self):
        server = await self.server(ssl=support.server_context())
        _, client = await self.loop.create_connection(
            support.Recorder,
            *server.sockets[0].getsockname(),
            ssl=support.client_context(),
            server_hostname="localhost",
        )
        await support.until(lambda: self.accepted and self.accepted[0].transport)
        server.close()
        server.close_clients()
        await wait_for_connections(server)
        self.assertIsNone(await client.lost)
        self.assertIsNone(await self.accepted[0].lost)

    @asynchronous
    async def test_many_at_once(self):
        server = await self.server(backlog=500)
        address = server.sockets[0].getsockname()
        pairs = await asyncio.gather(
            *(self.loop.create_connection(support.Recorder, *address) for _ in range(200))
        )
        await support.until(lambda: len(self.accepted) == 200)
        for _, protocol in pairs:
            protocol.transport.close()
        await asyncio.gather(*(protocol.lost for _, protocol in pairs))
        await asyncio.gather(*(protocol.lost for protocol in self.accepted))
        server.close()
        await asyncio.wait_for(server.wait_closed(), 5)

    @asynchronous
    async def test_peer_gone_before_it_is_accepted(self):
        sock = support.listener()
        for _ in range(5):
            with socket.create_connection(sock.getsockname()) as client:
                client.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
        server = await self.loop.create_server(self.factory, sock=sock)
        await self.gone(*await self.client(server))
        for protocol in self.accepted:
            await protocol.lost
        server.close()

    @asynchronous
    async def test_factory_that_fails(self):
        calls = []

        def factory():
            calls.append(1)
            if len(calls) < 2:
                raise ZeroDivisionError("the factory's")
            return support.Echo()

        server = await self.loop.create_server(factory, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(*address)
        self.assertEqual(await reader.read(), b"")
        await support.until(lambda: self.errors)
        writer.close()
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"hello")
        self.assertEqual(await reader.readexactly(5), b"hello")
        writer.close()
        server.close()
        (report,) = self.take_errors()
        self.assertIsInstance(report["exception"], ZeroDivisionError)


class Unix(support.Directory, ServerCase):
    async def unix_server(self, name="socket", **options):
        return await self.loop.create_unix_server(self.factory, self.path(name), **options)

    @support.stock_since(3, 13)
    @asynchronous
    async def test_cleanup_socket(self):
        server = await self.unix_server(cleanup_socket=True)
        self.assertTrue(os.path.exists(self.path("socket")))
        server.close()
        await server.wait_closed()
        self.assertFalse(os.path.exists(self.path("socket")))

    @asynchronous
    async def test_by_default_it_is_as_in_this_version_of_asyncio(self):
        server = await self.unix_server()
        server.close()
        await server.wait_closed()
        self.assertEqual(os.path.exists(self.path("socket")), sys.version_info < (3, 13))

    @support.stock_since(3, 13)
    @asynchronous
    async def test_no_cleanup_wanted(self):
        server = await self.unix_server(cleanup_socket=False)
        server.close()
        await server.wait_closed()
        self.assertTrue(os.path.exists(self.path("socket")))

    @support.stock_since(3, 13)
    @asynchronous
    async def test_cleanup_of_a_socket_of_ones_own(self):
        for cleanup in (True, False):
            sock = socket.socket(socket.AF_UNIX)
            sock.bind(self.path("socket"))
            server = await self.loop.create_unix_server(
                self.factory, sock=sock, cleanup_socket=cleanup
            )
            server.close()
            await server.wait_closed()
            self.assertEqual(os.path.exists(self.path("socket")), not cleanup)

    @support.stock_since(3, 13)
    @asynchronous
    async def test_what_another_put_there_is_left_alone(self):
        first = await self.unix_server(cleanup_socket=True)
        second = await self.unix_server(cleanup_socket=True)
        first.close()
        await first.wait_closed()
        self.assertTrue(os.path.exists(self.path("socket")))
        second.close()
        await second.wait_closed()
        self.assertFalse(os.path.exists(self.path("socket")))

    @support.stock_since(3, 13)
    @asynchronous
    async def test_socket_that_is_gone_already(self):
        server = await self.unix_server(cleanup_socket=True)
        os.unlink(self.path("socket"))
        server.close()
        await server.wait_closed()

    @asynchronous
    async def test_stale_socket_is_replaced(self):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(self.path("socket"))
        server = await self.unix_server()
        _, client = await self.loop.create_unix_connection(
            support.Recorder, self.path("socket")
        )
        await support.until(lambda: self.accepted and self.accepted[0].transport)
        await self.gone(client, *self.accepted)
        server.close()

    @asynchronous
    async def test_a_file_is_not_replaced(self):
        with open(self.path("socket"), "w"):
            pass
        with self.assertRaisesRegex(OSError, "already in use"):
            await self.unix_server()


if __name__ == "__main__":
    support.main()
