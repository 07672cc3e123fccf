"""What an accepted connection's peer has sent already is read right after connection_made()."""

import asyncio
import gc
import socket

import support
from support import asynchronous


class Calls(asyncio.Protocol):
    """Notes its calls, and does something in one of them."""

    made = []

    def __init__(self, deeds):
        self.deeds = deeds
        self.calls = []
        Calls.made.append(self)

    def note(self, name, *more):
        self.calls.append((name, *more))
        self.deeds.get(name, lambda transport: None)(self.transport)

    def connection_made(self, transport):
        self.transport = transport
        self.note("made")

    def data_received(self, data):
        self.note("data", bytes(data))

    def eof_received(self):
        self.note("eof")

    def connection_lost(self, error):
        self.note("lost", error)


class FirstRead(support.LoopCase):

    def setUp(self):
        super().setUp()
        Calls.made.clear()

    async def with_deeds(self, deeds, data=b"hello", end=False):
        """The protocol of a connection whose peer has sent before it is accepted; and the peer."""
        server = await self.loop.create_server(lambda: Calls(deeds), "127.0.0.1", 0)
        peer = socket.create_connection(server.sockets[0].getsockname())
        self.addCleanup(peer.close)
        peer.settimeout(10)
        if data:
            peer.sendall(data)
        if end:
            peer.shutdown(socket.SHUT_WR)
        count = len(Calls.made)
        await support.until(lambda: len(Calls.made) > count and Calls.made[-1].calls)
        server.close()
        for _ in range(5):
            await asyncio.sleep(0.001)
        protocol = Calls.made[-1]
        self.addCleanup(protocol.transport.abort)
        return protocol, peer

    @asynchronous
    async def test_data_that_is_there(self):
        protocol, peer = await self.with_deeds({})
        self.assertEqual(protocol.calls, [("made",), ("data", b"hello")])
        peer.sendall(b"more")
        await support.until(lambda: len(protocol.calls) == 3)
        self.assertEqual(protocol.calls[2], ("data", b"more"))
        peer.close()
        await support.until(lambda: len(protocol.calls) == 5)
        self.assertEqual(protocol.calls[3:], [("eof",), ("lost", None)])

    @asynchronous
    async def test_nothing_is_there(self):
        protocol, peer = await self.with_deeds({}, data=b"")
        self.assertEqual(protocol.calls, [("made",)])
        peer.sendall(b"late")
        await support.until(lambda: len(protocol.calls) == 2)

    @asynchronous
    async def test_the_end_is_there_as_well(self):
        protocol, _ = await self.with_deeds({}, end=True)
        await support.until(lambda: protocol.calls[-1][0] == "lost")
        self.assertEqual(protocol.calls, [("made",), ("data", b"hello"), ("eof",), ("lost", None)])

    @asynchronous
    async def test_only_the_end_is_there(self):
        protocol, _ = await self.with_deeds({}, end=True, data=b"")
        await support.until(lambda: protocol.calls[-1][0] == "lost")
        self.assertEqual(protocol.calls, [("made",), ("eof",), ("lost", None)])

    @asynchronous
    async def test_an_end_that_is_kept_open(self):
        """Half-open it stays, and the end is told of once."""
        class Open(Calls):
            def eof_received(self):
                super().eof_received()
                return True

        server = await self.loop.create_server(lambda: Open({}), "127.0.0.1", 0)
        peer = socket.create_connection(server.sockets[0].getsockname())
        peer.shutdown(socket.SHUT_WR)
        await support.until(lambda: Calls.made and len(Calls.made[-1].calls) > 1)
        for _ in range(5):
            await asyncio.sleep(0.001)
        protocol = Calls.made[-1]
        self.assertEqual(protocol.calls, [("made",), ("eof",)])
        protocol.transport.write(b"answer")
        peer.settimeout(10)
        self.assertEqual(peer.recv(10), b"answer")
        protocol.transport.close()
        await support.until(lambda: protocol.calls[-1] == ("lost", None))
        server.close()
        peer.close()

    @support.stock_since(3, 11, 4)
    @asynchronous
    async def test_paused_in_connection_made(self):
        protocol, _ = await self.with_deeds(
            {"made": lambda transport: transport.pause_reading()})
        self.assertEqual(protocol.calls, [("made",)])
        protocol.transport.resume_reading()
        await support.until(lambda: len(protocol.calls) == 2)
        self.assertEqual(protocol.calls[1], ("data", b"hello"))

    @asynchronous
    async def test_paused_by_the_first_data(self):
        protocol, peer = await self.with_deeds(
            {"data": lambda transport: transport.pause_reading()})
        peer.sendall(b"two")
        for _ in range(5):
            await asyncio.sleep(0.001)
        self.assertEqual(protocol.calls, [("made",), ("data", b"hello")])
        protocol.transport.resume_reading()
        await support.until(lambda: len(protocol.calls) == 3)
        self.assertEqual(protocol.calls[2], ("data", b"two"))

    @asynchronous
    async def test_ended_in_its_calls(self):
        for name in "made", "data":
            for end in "close", "abort":
                deeds = {name: lambda transport: getattr(transport, end)()}
                protocol, peer = await self.with_deeds(deeds)
                await support.until(lambda: protocol.calls[-1] == ("lost", None))
                before = [("made",), ("data", b"hello")][:1 + (name == "data")]
                self.assertEqual(protocol.calls, before + [("lost", None)])

    @asynchronous
    async def test_answered_and_closed_at_once(self):
        def answer(transport):
            transport.write(b"a head, ")
            transport.write(b"a body")
            transport.close()

        protocol, peer = await self.with_deeds({"data": answer})
        self.assertEqual(protocol.calls[-1], ("lost", None))
        answered = b""
        while data := peer.recv(100):
            answered += data
        self.assertEqual(answered, b"a head, a body")

    @asynchronous
    async def test_a_failing_protocol(self):
        protocol, peer = await self.with_deeds({"data": lambda transport: 1 / 0})
        await support.until(lambda: protocol.calls[-1][0] == "lost")
        self.assertIsInstance(protocol.calls[-1][1], ZeroDivisionError)
        self.assertEqual(len(self.take_errors()), 1)

    @asynchronous
    async def test_kept_by_nobody_until_it_is_watched(self):
        """Between the first read and the watch it is the loop that keeps the transport."""
        calls = []

        class Forgets(asyncio.Protocol):
            def data_received(self, data):
                calls.append(bytes(data))
                gc.collect()
                asyncio.get_running_loop().call_soon(gc.collect)

            def connection_lost(self, error):
                calls.append(error)

        server = await self.loop.create_server(Forgets, "127.0.0.1", 0)
        peer = socket.create_connection(server.sockets[0].getsockname())
        peer.sendall(b"x")
        await support.until(lambda: calls)
        peer.sendall(b"y")
        await support.until(lambda: len(calls) == 2)
        peer.close()
        server.close()
        await support.until(lambda: len(calls) == 3)
        self.assertEqual(calls, [b"x", b"y", None])


class Names(support.LoopCase):
    """getsockname() of what was accepted, which may be shared."""

    async def names(self, server, connect):
        accepted = Calls.made
        accepted.clear()
        for _ in range(2):
            self.addCleanup(connect().close)
        await support.until(lambda: len([each for each in accepted if each.calls]) == 2)
        found = []
        for each in accepted:
            sock = each.transport.get_extra_info("socket")
            self.assertEqual(each.transport.get_extra_info("sockname"), sock.getsockname())
            self.assertEqual(each.transport.get_extra_info("peername"), sock.getpeername())
            found.append(each.transport.get_extra_info("sockname"))
            each.transport.abort()
        server.close()
        return found

    @asynchronous
    async def test_one_address_and_every_address(self):
        for host in "127.0.0.1", "0.0.0.0":
            server = await self.loop.create_server(lambda: Calls({}), host, 0)
            port = server.sockets[0].getsockname()[1]
            found = await self.names(
                server, lambda: socket.create_connection(("127.0.0.1", port)))
            self.assertEqual(found, [("127.0.0.1", port)] * 2)

    async def accepted(self):
        """A transport that nobody has asked for anything, its peer's socket, and the server's address."""
        server = await self.loop.create_server(lambda: Calls({}), "127.0.0.1", 0)
        self.addCleanup(server.close)
        Calls.made.clear()
        peer = socket.create_connection(server.sockets[0].getsockname())
        self.addCleanup(peer.close)
        await support.until(lambda: Calls.made and Calls.made[0].calls)
        return Calls.made[0].transport, peer, server.sockets[0].getsockname()

    @asynchronous
    async def test_asked_after_the_end(self):
        transport, peer, address = await self.accepted()
        name = peer.getsockname()
        support.reset(peer)
        await support.until(lambda: Calls.made[0].calls[-1][0] == "lost")
        self.assertEqual(transport.get_extra_info("peername"), name)
        self.assertEqual(transport.get_extra_info("sockname"), address)
        self.assertEqual(transport.get_extra_info("socket").fileno(), -1)

    @asynchronous
    async def test_what_is_not_known(self):
        transport, peer, address = await self.accepted()
        for _ in range(2):  # before the others are asked for, and after it
            self.assertIsNone(transport.get_extra_info("sslcontext"))
            self.assertEqual(transport.get_extra_info("cipher", 1), 1)
            self.assertEqual(transport.get_extra_info(name="cipher", default=2), 2)
            self.assertIs(transport.get_extra_info("socket"), transport.get_extra_info("socket"))
        with self.assertRaises(TypeError):
            transport.get_extra_info()
        transport.abort()

    @asynchronous
    async def test_the_dict_itself(self):
        transport, peer, address = await self.accepted()
        extra = transport._extra
        self.assertEqual(sorted(extra), ["peername", "socket", "sockname"])
        extra["more"] = 1
        self.assertEqual(transport.get_extra_info("more"), 1)
        transport.abort()
        transport, peer, address = await self.accepted()
        transport._extra = {"own": 2}
        self.assertEqual(transport.get_extra_info("own"), 2)
        self.assertIsNone(transport.get_extra_info("peername"))
        del transport._extra
        with self.assertRaises(AttributeError):
            transport.get_extra_info("own")
        transport.abort()

    @asynchronous
    async def test_two_listeners_by_turns(self):
        found = []
        for host in ("127.0.0.1", "127.0.0.2") * 2:
            server = await self.loop.create_server(lambda: Calls({}), host, 0)
            port = server.sockets[0].getsockname()[1]
            names = await self.names(server, lambda: socket.create_connection((host, port)))
            self.assertEqual(names, [(host, port)] * 2)
            found += names
        self.assertEqual(len(set(found)), 4)

    @support.needs_ipv6
    @asynchronous
    async def test_ipv6(self):
        for host in "::1", "::":
            server = await self.loop.create_server(lambda: Calls({}), host, 0)
            port = server.sockets[0].getsockname()[1]
            found = await self.names(server, lambda: socket.create_connection(("::1", port)))
            self.assertEqual(found, [("::1", port, 0, 0)] * 2)


class UnixNames(support.Directory, Names):

    @asynchronous
    async def test_a_path(self):
        path = self.path("socket")
        server = await self.loop.create_unix_server(lambda: Calls({}), path)

        def connect():
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(path)
            return sock

        self.assertEqual(await self.names(server, connect), [path, path])


if __name__ == "__main__":
    support.main()
