"""create_connection and its kin: happy eyeballs, which uvloop does not have, and every option."""

import asyncio
import os
import pathlib
import socket
import ssl
import time

import support
from support import asynchronous


class ConnectCase(support.LoopCase):
    """`name.test` has the addresses that `self.addresses` says."""

    def setUp(self):
        super().setUp()
        self.addresses = []
        self.asked = []

        async def getaddrinfo(host, port, **options):
            self.asked.append((host, port, options))
            return [
                (socket.AF_INET6 if ":" in address[0] else socket.AF_INET,
                 socket.SOCK_STREAM, 6, "", address)
                for address in self.addresses
            ]  # fmt: skip

        self.loop.getaddrinfo = getaddrinfo

    async def connect(self, host="name.test", port=80, **options):
        return await self.loop.create_connection(support.Recorder, host, port, **options)

    async def peer(self, **options):
        """The address that a connection to name.test gets."""
        transport, protocol = await self.connect(**options)
        peer = transport.get_extra_info("peername")
        transport.close()
        await protocol.lost
        return peer


class HappyEyeballs(ConnectCase):
    def test_first_address_is_silent(self):
        with support.black_hole() as hole, support.listener() as good:
            self.addresses = [hole, good.getsockname()]
            peer = self.run_async(self.peer(happy_eyeballs_delay=0.05))
            self.assertEqual(peer, good.getsockname())

    def test_first_address_refuses(self):
        """The next one is tried at once, not after the delay."""
        with support.listener() as good:
            self.addresses = [support.refused_address(), good.getsockname()]
            peer = self.run_async(self.peer(happy_eyeballs_delay=1000))
            self.assertEqual(peer, good.getsockname())

    def test_first_address_answers(self):
        with support.listener() as first, support.listener() as second:
            self.addresses = [first.getsockname(), second.getsockname()]
            peer = self.run_async(self.peer(happy_eyeballs_delay=1000))
            self.assertEqual(peer, first.getsockname())
            second.setblocking(False)
            self.assertRaises(BlockingIOError, second.accept)

    def test_delay_is_kept(self):
        with support.black_hole() as hole, support.listener() as good:
            self.addresses = [hole, hole, good.getsockname()]
            start = time.monotonic()
            self.run_async(self.peer(happy_eyeballs_delay=0.1))
            self.assertGreaterEqual(time.monotonic() - start, 0.19)

    def test_losers_are_closed(self):
        with support.black_hole() as hole, support.listener() as good:
            self.addresses = [hole, hole, good.getsockname()]
            before = support.open_descriptors()
            self.run_async(self.peer(happy_eyeballs_delay=0.01))
            self.turns()
            self.assertEqual(support.open_descriptors(), before)

    def test_all_refuse(self):
        self.addresses = [support.refused_address(), support.refused_address()]
        with self.assertRaises(OSError):
            self.run_async(self.peer(happy_eyeballs_delay=0.01))

    @support.stock_since(3, 12)
    def test_all_refuse_and_all_errors(self):
        self.addresses = [support.refused_address(), support.refused_address()]
        with self.assertRaises(ExceptionGroup) as caught:
            self.run_async(self.peer(happy_eyeballs_delay=0.01, all_errors=True))
        self.assertEqual(
            [type(error) for error in caught.exception.exceptions], [ConnectionRefusedError] * 2
        )

    def test_cancelled(self):
        before = support.open_descriptors()
        with support.black_hole() as hole:
            self.addresses = [hole, hole]

            async def main():
                task = self.loop.create_task(self.connect(happy_eyeballs_delay=0.01))
                await asyncio.sleep(0.05)
                task.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await task

            self.run_async(main())
        self.turns()
        self.assertEqual(support.open_descriptors(), before)

    @support.needs_ipv6
    def test_families_are_interleaved(self):
        with support.black_hole() as hole, support.listener() as four:
            with support.listener(socket.AF_INET6) as six:
                self.addresses = [hole, four.getsockname(), six.getsockname()]
                peer = self.run_async(self.peer(happy_eyeballs_delay=0.05))
                self.assertEqual(peer[0], "::1")
                peer = self.run_async(self.peer(happy_eyeballs_delay=0.05, interleave=0))
                self.assertEqual(peer[0], "127.0.0.1")
                peer = self.run_async(self.peer(happy_eyeballs_delay=0.05, interleave=2))
                self.assertEqual(peer[0], "127.0.0.1")

    @support.needs_ipv6
    def test_interleave_alone(self):
        with support.listener() as four, support.listener(socket.AF_INET6) as six:
            self.addresses = [support.refused_address(), four.getsockname(), six.getsockname()]
            self.assertEqual(self.run_async(self.peer(interleave=1))[0], "::1")
            self.assertEqual(self.run_async(self.peer())[0], "127.0.0.1")


class Connecting(ConnectCase):
    def test_addresses_are_tried_in_turn(self):
        with support.listener() as good:
            self.addresses = [support.refused_address()] * 2 + [good.getsockname()]
            self.assertEqual(self.run_async(self.peer()), good.getsockname())

    def test_what_the_resolver_is_asked(self):
        with support.listener() as good:
            self.addresses = [good.getsockname()]
            self.run_async(self.peer(family=socket.AF_INET, proto=6, flags=socket.AI_CANONNAME))
        host, port, options = self.asked[0]
        self.assertEqual((host, port), ("name.test", 80))
        self.assertEqual(
            options,
            {"family": socket.AF_INET, "proto": 6, "flags": socket.AI_CANONNAME,
             "type": socket.SOCK_STREAM},
        )  # fmt: skip

    def test_no_addresses(self):
        with self.assertRaisesRegex(OSError, "empty list"):
            self.run_async(self.peer())

    def test_refused(self):
        self.addresses = [support.refused_address()]
        with self.assertRaises(ConnectionRefusedError):
            self.run_async(self.peer())

    def test_errors_are_combined(self):
        first, second = support.refused_address(), support.refused_address()
        self.addresses = [first, second]
        with self.assertRaisesRegex(OSError, f"Multiple.*{first[1]}.*{second[1]}"):
            self.run_async(self.peer())
        self.addresses = [first, first]
        with self.assertRaises(ConnectionRefusedError):
            self.run_async(self.peer())

    @support.stock_since(3, 12)
    def test_all_errors(self):
        self.addresses = [support.refused_address(), support.refused_address()]
        with self.assertRaises(ExceptionGroup) as caught:
            self.run_async(self.peer(all_errors=True))
        self.assertEqual(len(caught.exception.exceptions), 2)
        self.addresses[1:] = []
        with self.assertRaises(ExceptionGroup):
            self.run_async(self.peer(all_errors=True))

    def test_local_address(self):
        with support.listener() as good:
            del self.loop.getaddrinfo
            transport, protocol = self.run_async(
                self.connect(*good.getsockname(), local_addr=("127.0.0.3", 0))
            )
            self.assertEqual(transport.get_extra_info("sockname")[0], "127.0.0.3")
            transport.close()
            self.run_async(protocol.lost)
            with self.assertRaises(OSError) as caught:
                self.run_async(self.connect(*good.getsockname(), local_addr=("192.0.2.1", 0)))
            self.assertIn("192.0.2.1", str(caught.exception))

    def test_a_socket_of_ones_own(self):
        with support.listener() as good:
            sock = socket.create_connection(good.getsockname())
            transport, protocol = self.run_async(self.connect(None, None, sock=sock))
            self.assertFalse(sock.getblocking())
            self.assertIsInstance(
                transport.get_extra_info("socket"), asyncio.trsock.TransportSocket
            )
            self.assertEqual(transport.get_extra_info("socket").fileno(), sock.fileno())
            transport.close()
            self.run_async(protocol.lost)
            self.assertEqual(sock.fileno(), -1)

    def test_extra_info(self):
        with support.listener() as good:
            self.addresses = [good.getsockname()]
            transport, protocol = self.run_async(self.connect())
            accepted, address = good.accept()
            with accepted:
                self.assertEqual(transport.get_extra_info("peername"), good.getsockname())
                self.assertEqual(transport.get_extra_info("sockname"), address)
                self.assertEqual(transport.get_extra_info("nothing", 5), 5)
                self.assertIsInstance(transport, asyncio.Transport)
                self.assertIs(transport.get_protocol(), protocol)
                sock = transport.get_extra_info("socket")
                self.assertTrue(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
                transport.close()
                self.run_async(protocol.lost)
                self.assertEqual(transport.get_extra_info("peername"), good.getsockname())

    def test_arguments(self):
        def refuses(error, *arguments, **options):
            with self.assertRaises(error):
                self.run_async(
                    self.loop.create_connection(support.Recorder, *arguments, **options)
                )

        refuses(ValueError)
        refuses(ValueError, "127.0.0.1", 1, server_hostname="x")
        refuses(ValueError, "127.0.0.1", 1, ssl_handshake_timeout=1)
        refuses(ValueError, "127.0.0.1", 1, ssl_shutdown_timeout=1)
        refuses(ValueError, port=1, ssl=True)
        with socket.socket() as sock:
            refuses(ValueError, "127.0.0.1", 1, sock=sock)
            refuses(ValueError, sock=sock, ssl=True)
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            refuses(ValueError, sock=sock)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        with context.wrap_socket(socket.socket()) as sock:
            refuses(TypeError, sock=sock)

    def test_a_factory_that_fails(self):
        class Error(Exception):
            pass

        def factory():
            raise Error

        with support.listener() as good:
            with self.assertRaises(Error):
                self.run_async(self.loop.create_connection(factory, *good.getsockname()))


class Accepted(support.LoopCase):
    @asynchronous
    async def test_connect_accepted_socket(self):
        with support.listener() as listening:
            client = socket.create_connection(listening.getsockname())
            accepted, _ = listening.accept()
        transport, protocol = await self.loop.connect_accepted_socket(support.Recorder, accepted)
        with client:
            client.sendall(b"hello")
            await support.until(lambda: protocol.data == b"hello")
            transport.write(b"answer")
            transport.close()
            await protocol.lost
            self.assertEqual(client.recv(100), b"answer")
            self.assertEqual(client.recv(100), b"")

    @asynchronous
    async def test_arguments(self):
        with socket.socket(type=socket.SOCK_DGRAM) as sock, self.assertRaises(ValueError):
            await self.loop.connect_accepted_socket(support.Recorder, sock)
        with socket.socket() as sock:
            with self.assertRaises(ValueError):
                await self.loop.connect_accepted_socket(
                    support.Recorder, sock, ssl_handshake_timeout=1
                )
            with self.assertRaises(ValueError):
                await self.loop.connect_accepted_socket(
                    support.Recorder, sock, ssl_shutdown_timeout=1
                )

    @support.needs_openssl
    @asynchronous
    async def test_with_tls(self):
        with support.listener() as listening:
            connecting = self.loop.create_task(
                asyncio.open_connection(
                    *listening.getsockname(),
                    ssl=support.client_context(),
                    server_hostname="localhost",
                )
            )
            accepted, _ = await self.loop.run_in_executor(None, listening.accept)
        transport, protocol = await self.loop.connect_accepted_socket(
            support.Recorder,
            accepted,
            ssl=support.server_context(),
            ssl_handshake_timeout=5,
            ssl_shutdown_timeout=5,
        )
        reader, writer = await connecting
        writer.write(b"hello")
        await support.until(lambda: protocol.data == b"hello")
        writer.close()
        await writer.wait_closed()
        transport.close()
        await protocol.lost


class Unix(support.Directory, support.LoopCase):
    @asynchronous
    async def test_path_of_any_kind(self):
        for path in (self.path("a"), self.path("b").encode(), pathlib.Path(self.path("c"))):
            server = await self.loop.create_unix_server(support.Echo, path)
            transport, protocol = await self.loop.create_unix_connection(support.Recorder, path)
            transport.write(b"hello")
            await support.until(lambda: protocol.data == b"hello")
            self.assertIsInstance(transport, asyncio.Transport)
            self.assertEqual(transport.get_extra_info("peername"), os.fsdecode(path))
            transport.close()
            await protocol.lost
            server.close()
            await server.wait_closed()

    @asynchronous
    async def test_abstract_name(self):
        name = "\0casyncio-test-%d-stream" % os.getpid()
        server = await self.loop.create_unix_server(support.Echo, name)
        transport, protocol = await self.loop.create_unix_connection(support.Recorder, name)
        transport.write(b"hello")
        await support.until(lambda: protocol.data == b"hello")
        transport.close()
        await protocol.lost
        server.close()

    @asynchronous
    async def test_socket_of_ones_own(self):
        ours, theirs = socket.socketpair()
        transport, protocol = await self.loop.create_unix_connection(support.Recorder, sock=ours)
        with theirs:
            theirs.sendall(b"hello")
            await support.until(lambda: protocol.data == b"hello")
        await protocol.lost

    @asynchronous
    async def test_nobody_there(self):
        with self.assertRaises(FileNotFoundError):
            await self.loop.create_unix_connection(support.Recorder, self.path("nothing"))
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(self.path("dead"))
        with self.assertRaises(ConnectionRefusedError):
            await self.loop.create_unix_connection(support.Recorder, self.path("dead"))

    @asynchronous
    async def test_arguments(self):
        async def refuses(**options):
            with self.assertRaises(ValueError):
                await self.loop.create_unix_connection(support.Recorder, **options)

        await refuses()
        await refuses(path="x", server_hostname="x")
        await refuses(path="x", ssl=True)
        await refuses(path="x", ssl_handshake_timeout=1)
        await refuses(path="x", ssl_shutdown_timeout=1)
        with socket.socket() as sock:
            await refuses(sock=sock)
            await refuses(path="x", sock=sock)
            with self.assertRaises(ValueError):
                await self.loop.create_unix_server(support.Recorder, sock=sock)
            with self.assertRaises(ValueError):
                await self.loop.create_unix_server(support.Recorder, "x", sock=sock)
        with self.assertRaises(ValueError):
            await self.loop.create_unix_server(support.Recorder)
        with self.assertRaises(TypeError):
            await self.loop.create_unix_server(support.Recorder, "x", ssl=True)


if __name__ == "__main__":
    support.main()
