"""Datagrams: the sock_* calls of UDP and the endpoints of AF_UNIX, which uvloop does not have."""

import asyncio
import contextlib
import os
import socket

import support
from support import asynchronous


def udp():
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock


class SockCalls(support.LoopCase):
    @asynchronous
    async def test_sendto_and_recvfrom(self):
        with udp() as one, udp() as other:
            self.assertEqual(await self.loop.sock_sendto(one, b"hello", other.getsockname()), 5)
            answer = await self.loop.sock_recvfrom(other, 100)
            self.assertEqual(answer, (b"hello", one.getsockname()))

    @asynchronous
    async def test_recvfrom_waits(self):
        with udp() as one, udp() as other:
            receiving = self.loop.create_task(self.loop.sock_recvfrom(other, 100))
            await asyncio.sleep(0.01)
            self.assertFalse(receiving.done())
            one.sendto(b"later", other.getsockname())
            self.assertEqual(await receiving, (b"later", one.getsockname()))
            self.assertFalse(self.loop.remove_reader(other))

    @asynchronous
    async def test_recvfrom_cuts(self):
        with udp() as one, udp() as other:
            await self.loop.sock_sendto(one, b"0123456789", other.getsockname())
            self.assertEqual((await self.loop.sock_recvfrom(other, 4))[0], b"0123")

    @asynchronous
    async def test_recvfrom_into(self):
        buffer = bytearray(b"." * 20)
        with udp() as one, udp() as other:
            await self.loop.sock_sendto(one, b"hello", other.getsockname())
            answer = await self.loop.sock_recvfrom_into(other, buffer)
            self.assertEqual(answer, (5, one.getsockname()))
            self.assertEqual(buffer, b"hello" + b"." * 15)

            await self.loop.sock_sendto(one, b"0123456789", other.getsockname())
            answer = await self.loop.sock_recvfrom_into(other, memoryview(buffer)[5:], 4)
            self.assertEqual(answer[0], 4)
            self.assertEqual(buffer, b"hello0123" + b"." * 11)

    @asynchronous
    async def test_recvfrom_into_waits(self):
        buffer = bytearray(20)
        with udp() as one, udp() as other:
            receiving = self.loop.create_task(self.loop.sock_recvfrom_into(other, buffer))
            await asyncio.sleep(0.01)
            one.sendto(b"later", other.getsockname())
            self.assertEqual(await receiving, (5, one.getsockname()))
            self.assertEqual(buffer[:5], b"later")

    @asynchronous
    async def test_empty_datagram(self):
        with udp() as one, udp() as other:
            self.assertEqual(await self.loop.sock_sendto(one, b"", other.getsockname()), 0)
            self.assertEqual(await self.loop.sock_recvfrom(other, 10), (b"", one.getsockname()))

    @asynchronous
    async def test_sendto_waits_for_room(self):
        name = b"\0casyncio-test-%d" % os.getpid()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind(name)
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sent = 0
                with contextlib.suppress(BlockingIOError):
                    while True:
                        sender.sendto(b"x" * 1000, name)
                        sent += 1
                waiting = self.loop.create_task(self.loop.sock_sendto(sender, b"last", name))
                await asyncio.sleep(0.01)
                self.assertFalse(waiting.done())
                for _ in range(sent):
                    self.assertEqual(len(receiver.recv(2000)), 1000)
                self.assertEqual(await waiting, 4)
                self.assertEqual(receiver.recv(10), b"last")

    @asynchronous
    async def test_errors(self):
        with udp() as sock:
            with self.assertRaises(OSError):
                await self.loop.sock_sendto(sock, b"x" * 70000, sock.getsockname())
            with self.assertRaises(TypeError):
                await self.loop.sock_recvfrom_into(sock, b"read only")

    @asynchronous
    async def test_cancelled(self):
        with udp() as sock:
            for call in (
                self.loop.sock_recvfrom(sock, 10),
                self.loop.sock_recvfrom_into(sock, bytearray(10)),
            ):
                task = self.loop.create_task(call)
                await asyncio.sleep(0)
                task.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await task
                self.assertFalse(self.loop.remove_reader(sock))

    def test_blocking_socket_in_debug_mode(self):
        self.loop.set_debug(True)
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            for call in (
                self.loop.sock_recvfrom(sock, 10),
                self.loop.sock_recvfrom_into(sock, bytearray(10)),
                self.loop.sock_sendto(sock, b"", ("127.0.0.1", 1)),
            ):
                with self.assertRaisesRegex(ValueError, "non-blocking"):
                    self.run_async(call)


class Endpoints(support.Directory, support.LoopCase):
    async def endpoint(self, *arguments, **keywords):
        return await self.loop.create_datagram_endpoint(
            support.DatagramRecorder, *arguments, **keywords
        )

    async def close(self, *protocols):
        for protocol in protocols:
            protocol.transport.close()
        for protocol in protocols:
            self.assertIsNone(await protocol.lost)

    @asynchronous
    async def test_echo(self):
        server, at_server = await self.endpoint(("127.0.0.1", 0))
        client, at_client = await self.endpoint(remote_addr=server.get_extra_info("sockname"))
        client.sendto(b"question")
        await support.until(lambda: at_server.received)
        self.assertEqual(
            at_server.received, [(b"question", client.get_extra_info("sockname"))]
        )
        server.sendto(b"answer", at_server.received[0][1])
        await support.until(lambda: at_client.received)
        self.assertEqual(at_client.received, [(b"answer", server.get_extra_info("sockname"))])
        self.assertEqual(
            client.get_extra_info("peername"), server.get_extra_info("sockname")
        )
        await self.close(at_server, at_client)

    @asynchronous
    async def test_many_in_order(self):
        server, at_server = await self.endpoint(("127.0.0.1", 0))
        client, at_client = await self.endpoint(remote_addr=server.get_extra_info("sockname"))
        for start in range(0, 500, 50):
            for number in range(start, start + 50):
                client.sendto(b"%d" % number)
            await support.until(lambda: len(at_server.received) == start + 50)
        self.assertEqual([int(data) for data, _ in at_server.received], list(range(500)))
        await self.close(at_server, at_client)

    @support.stock_since(3, 12)
    @asynchronous
    async def test_instances_and_extra_info(self):
        transport, protocol = await self.endpoint(("127.0.0.1", 0))
        self.assertIsInstance(transport, asyncio.DatagramTransport)
        sock = transport.get_extra_info("socket")
        self.assertIsInstance(sock, asyncio.trsock.TransportSocket)
        self.assertEqual(sock.getsockname(), transport.get_extra_info("sockname"))
        self.assertIsNone(transport.get_extra_info("peername"))
        self.assertEqual(transport.get_extra_info("nothing", "default"), "default")
        self.assertFalse(transport.is_closing())
        transport.close()
        self.assertTrue(transport.is_closing())
        await protocol.lost

    @support.stock_since(3, 13)
    @asynchronous
    async def test_empty_datagram(self):
        server, at_server = await self.endpoint(("127.0.0.1", 0))
        client, at_client = await self.endpoint(remote_addr=server.get_extra_info("sockname"))
        client.sendto(b"")
        await support.until(lambda: at_server.received)
        self.assertEqual(at_server.received, [(b"", client.get_extra_info("sockname"))])
        await self.close(at_server, at_client)

    @asynchronous
    async def test_kinds_of_data(self):
        server, at_server = await self.endpoint(("127.0.0.1", 0))
        client, at_client = await self.endpoint(remote_addr=server.get_extra_info("sockname"))
        for data in (b"bytes", bytearray(b"array"), memoryview(b"view")):
            client.sendto(data)
        await support.until(lambda: len(at_server.received) == 3)
        self.assertEqual([data for data, _ in at_server.received], [b"bytes", b"array", b"view"])
        self.assertEqual({type(data) for data, _ in at_server.received}, {bytes})
        with self.assertRaises(TypeError):
            client.sendto("text")
        await self.close(at_server, at_client)

    @asynchronous
    async def test_other_address_of_a_connected_endpoint(self):
        server, at_server = await self.endpoint(("127.0.0.1", 0))
        address = server.get_extra_info("sockname")
        client, at_client = await self.endpoint(remote_addr=address)
        client.sendto(b"the same", address)
        with self.assertRaises(ValueError):
            client.sendto(b"other", ("127.0.0.1", 1))
        await support.until(lambda: at_server.received)
        await self.close(at_server, at_client)

    @asynchronous
    async def test_error_received(self):
        with udp() as sock:
            address = sock.getsockname()
        client, at_client = await self.endpoint(remote_addr=address)
        client.sendto(b"to nobody")
        await support.until(lambda: at_client.errors)
        self.assertIsInstance(at_client.errors[0], ConnectionRefusedError)
        self.assertFalse(client.is_closing())
        await self.close(at_client)

    @asynchronous
    async def test_too_long(self):
        server, at_server = await self.endpoint(("127.0.0.1", 0))
        server.sendto(b"x" * 70000, server.get_extra_info("sockname"))
        self.assertIsInstance(at_server.errors[0], OSError)
        await self.close(at_server)

    @asynchronous
    async def test_a_socket_of_ones_own(self):
        sock = udp()
        sock.setblocking(True)
        transport, protocol = await self.endpoint(sock=sock)
        self.assertFalse(sock.getblocking())
        transport.sendto(b"to myself", sock.getsockname())
        await support.until(lambda: protocol.received)
        await self.close(protocol)
        self.assertEqual(sock.fileno(), -1)

    @asynchronous
    async def test_options(self):
        transport, protocol = await self.endpoint(
            ("127.0.0.1", 0), reuse_port=True, allow_broadcast=True
        )
        sock = transport.get_extra_info("socket")
        self.assertTrue(sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT))
        self.assertTrue(sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST))
        same, at_same = await self.endpoint(sock.getsockname(), reuse_port=True)
        self.assertEqual(same.get_extra_info("sockname"), sock.getsockname())
        await self.close(protocol, at_same)

        transport, protocol = await self.endpoint(family=socket.AF_INET, proto=17)
        sock = transport.get_extra_info("socket")
        self.assertFalse(sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST))
        self.assertEqual((sock.family, sock.proto), (socket.AF_INET, 17))
        await self.close(protocol)

    @asynchronous
    async def test_both_addresses(self):
        server, at_server = await self.endpoint(("127.0.0.1", 0))
        client, at_client = await self.endpoint(
            ("127.0.0.2", 0), server.get_extra_info("sockname")
        )
        client.sendto(b"x")
        await support.until(lambda: at_server.received)
        self.assertEqual(at_server.received[0][1][0], "127.0.0.2")
        await self.close(at_server, at_client)

    @support.needs_ipv6
    @asynchronous
    async def test_ipv6(self):
        server, at_server = await self.endpoint(("::1", 0))
        client, at_client = await self.endpoint(remote_addr=server.get_extra_info("sockname")[:2])
        client.sendto(b"six")
        await support.until(lambda: at_server.received)
        self.assertEqual(at_server.received[0][1][0], "::1")
        await self.close(at_server, at_client)

    @asynchronous
    async def test_arguments(self):
        with self.assertRaisesRegex(ValueError, "unexpected address family"):
            await self.endpoint()
        with self.assertRaises(TypeError):
            await self.endpoint("127.0.0.1")
        with self.assertRaises(OSError):
            await self.endpoint(("192.0.2.1", 1))
        with socket.socket() as stream, self.assertRaises(ValueError):
            await self.endpoint(sock=stream)
        for option in (
            {"local_addr": ("127.0.0.1", 0)},
            {"remote_addr": ("127.0.0.1", 1)},
            {"family": socket.AF_INET},
            {"proto": 17},
            {"flags": 1},
            {"reuse_port": True},
            {"allow_broadcast": True},
        ):
            with udp() as sock, self.assertRaisesRegex(ValueError, next(iter(option))):
                await self.endpoint(sock=sock, **option)

    @asynchronous
    async def test_connection_made_comes_before_all_else(self):
        calls = []

        class Protocol(support.DatagramRecorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                calls.append("made")

            def datagram_received(self, data, address):
                calls.append("received")

        sock = udp()
        with udp() as other:
            other.sendto(b"x", sock.getsockname())
        transport, protocol = await self.loop.create_datagram_endpoint(Protocol, sock=sock)
        self.assertEqual(calls[:1], ["made"])
        await support.until(lambda: len(calls) == 2)
        await self.close(protocol)

    @asynchronous
    async def test_abort(self):
        transport, protocol = await self.endpoint(("127.0.0.1", 0))
        transport.abort()
        self.assertIsNone(await protocol.lost)

    @asynchronous
    async def test_close_sends_what_is_buffered(self):
        path = self.path("receiver")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind(path)
            transport, protocol = await self.endpoint(remote_addr=path, family=socket.AF_UNIX)
            sent = 0
            while not transport.get_write_buffer_size():
                transport.sendto(b"%d" % sent)
                sent += 1
            transport.close()
            self.assertFalse(protocol.lost.done())
            got = []
            receiver.setblocking(False)
            while len(got) < sent:
                got.append(await self.loop.sock_recv(receiver, 100))
            self.assertEqual([int(data) for data in got], list(range(sent)))
            await protocol.lost


class Flow(support.Directory, support.LoopCase):
    @support.stock_cannot("it never takes back the 8 bytes that it adds per datagram")
    @asynchronous
    async def test_pauses_and_resumes_the_protocol(self):
        path = self.path("receiver")
        calls = []

        class Protocol(support.DatagramRecorder):
            def pause_writing(self):
                calls.append("pause")

            def resume_writing(self):
                calls.append("resume")

        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind(path)
            receiver.setblocking(False)
            transport, protocol = await self.loop.create_datagram_endpoint(
                Protocol, remote_addr=path, family=socket.AF_UNIX
            )
            self.assertEqual(transport.get_write_buffer_limits(), (16384, 65536))
            transport.set_write_buffer_limits(high=5000, low=1000)
            self.assertEqual(transport.get_write_buffer_limits(), (1000, 5000))
            sent = 0
            while not calls:
                transport.sendto(b"x" * 1000)
                sent += 1
            self.assertEqual(calls, ["pause"])
            self.assertGreater(transport.get_write_buffer_size(), 5000)
            for _ in range(sent):
                await self.loop.sock_recv(receiver, 2000)
            await support.until(lambda: calls == ["pause", "resume"])
            self.assertEqual(transport.get_write_buffer_size(), 0)
            transport.close()
            await protocol.lost


class Unix(support.Directory, support.LoopCase):
    async def endpoint(self, *arguments, **keywords):
        return await self.loop.create_datagram_endpoint(
            support.DatagramRecorder, *arguments, family=socket.AF_UNIX, **keywords
        )

    async def talk(self, server_path, client_path):
        server, at_server = await self.endpoint(server_path)
        client, at_client = await self.endpoint(client_path, server_path)
        client.sendto(b"question")
        await support.until(lambda: at_server.received)
        data, address = at_server.received[0]
        self.assertEqual(data, b"question")
        server.sendto(b"answer", address)
        await support.until(lambda: at_client.received)
        self.assertEqual(at_client.received[0][0], b"answer")
        for transport, protocol in ((server, at_server), (client, at_client)):
            transport.close()
            await protocol.lost
        return address

    @asynchronous
    async def test_paths(self):
        address = await self.talk(self.path("server"), self.path("client"))
        self.assertEqual(address, self.path("client"))

    @asynchronous
    async def test_abstract_names(self):
        name = "\0casyncio-test-%d" % os.getpid()
        address = await self.talk(name, name + "-client")
        self.assertEqual(address, (name + "-client").encode())

    @asynchronous
    async def test_client_without_a_name(self):
        server, at_server = await self.endpoint(self.path("server"))
        client, at_client = await self.endpoint(remote_addr=self.path("server"))
        client.sendto(b"from nobody")
        await support.until(lambda: at_server.received)
        self.assertEqual(at_server.received[0][0], b"from nobody")
        self.assertFalse(at_server.received[0][1])
        for transport, protocol in ((server, at_server), (client, at_client)):
            transport.close()
            await protocol.lost

    @asynchronous
    async def test_stale_socket_is_replaced(self):
        path = self.path("server")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stale:
            stale.bind(path)
        await self.talk(path, self.path("client"))

    @asynchronous
    async def test_a_file_is_not_replaced(self):
        path = self.path("file")
        with open(path, "w"):
            pass
        with self.assertRaises(OSError):
            await self.endpoint(path)
        self.assertTrue(os.path.exists(path))

    @asynchronous
    async def test_a_pair_of_ones_own(self):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        transport, protocol = await self.loop.create_datagram_endpoint(
            support.DatagramRecorder, sock=ours
        )
        with theirs:
            theirs.send(b"hello")
            await support.until(lambda: protocol.received)
            self.assertEqual(protocol.received[0][0], b"hello")
        transport.close()
        await protocol.lost

    @asynchronous
    async def test_addresses_are_strings(self):
        with self.assertRaises(TypeError):
            await self.endpoint(b"/tmp/bytes")
        with self.assertRaises(TypeError):
            await self.endpoint(("127.0.0.1", 0))


if __name__ == "__main__":
    support.main()
