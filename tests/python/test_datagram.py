"""The datagram transport: what goes wrong in it, what it tells, and what it leaves behind."""

import asyncio
import contextlib
import contextvars
import gc
import socket
import weakref

import support
from support import asynchronous

EIGHT = "it never takes back the 8 bytes that it adds per datagram"


class DatagramCase(support.Directory, support.LoopCase):
    async def endpoint(
        self, factory=support.DatagramRecorder, local=("127.0.0.1", 0), remote=None, **more
    ):
        return await self.loop.create_datagram_endpoint(factory, local, remote, **more)

    async def close(self, *protocols):
        for protocol in protocols:
            protocol.transport.close()
        for protocol in protocols:
            await protocol.lost

    @contextlib.asynccontextmanager
    async def two(self, factory=support.DatagramRecorder):
        """A transport of the factory's, and another that is connected to it."""
        transport, protocol = await self.endpoint(factory)
        sender, at_sender = await self.endpoint(remote=transport.get_extra_info("sockname"))
        yield transport, protocol, sender
        await self.close(protocol, at_sender)


class Callbacks(DatagramCase):
    @asynchronous
    async def test_datagram_received_raises(self):
        class Protocol(support.DatagramRecorder):
            def datagram_received(self, data, address):
                super().datagram_received(data, address)
                if data == b"bad":
                    raise ZeroDivisionError

        async with self.two(Protocol) as (transport, protocol, sender):
            for data in (b"good", b"bad", b"good"):
                sender.sendto(data)
            await support.until(lambda: len(protocol.received) == 3)
            (report,) = self.take_errors()
            self.assertIsInstance(report["exception"], ZeroDivisionError)
            self.assertFalse(transport.is_closing())

    @asynchronous
    async def test_error_received_raises(self):
        class Protocol(support.DatagramRecorder):
            def error_received(self, error):
                super().error_received(error)
                raise ZeroDivisionError

        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            address = sock.getsockname()
        transport, protocol = await self.endpoint(Protocol, None, address)
        transport.sendto(b"to nobody")
        await support.until(lambda: protocol.errors)
        (report,) = self.take_errors()
        self.assertIsInstance(report["exception"], ZeroDivisionError)
        transport.sendto(b"to nobody")  # the socket has no error yet
        await support.until(lambda: self.errors)
        self.take_errors()
        with self.assertRaises(ZeroDivisionError):
            transport.sendto(b"x" * 70000)
        await self.close(protocol)

    @asynchronous
    async def test_connection_made_raises(self):
        class Protocol(support.DatagramRecorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                raise ZeroDivisionError

        async with self.two(Protocol) as (transport, protocol, sender):
            self.assertIsInstance(self.take_errors()[0]["exception"], ZeroDivisionError)
            sender.sendto(b"x")
            await support.until(lambda: protocol.received)

    @asynchronous
    async def test_connection_lost_raises(self):
        class Protocol(support.DatagramRecorder):
            def connection_lost(self, error):
                super().connection_lost(error)
                raise ZeroDivisionError

        transport, protocol = await self.endpoint(Protocol)
        sock = transport.get_extra_info("socket")
        transport.close()
        await protocol.lost
        await asyncio.sleep(0)
        self.assertIsInstance(self.take_errors()[0]["exception"], ZeroDivisionError)
        self.assertEqual(sock.fileno(), -1)

    def test_system_exit_ends_the_loop(self):
        class Protocol(support.DatagramRecorder):
            def datagram_received(self, data, address):
                raise SystemExit(3)

        async def begin():
            context = self.two(Protocol)
            return context, (await context.__aenter__())[2]

        context, sender = self.run_async(begin())
        sender.sendto(b"x")
        with self.assertRaises(SystemExit):
            self.loop.run_until_complete(asyncio.sleep(5))
        self.run_async(context.__aexit__(None, None, None))

    @asynchronous
    async def test_closed_by_a_callback(self):
        for end in ("close", "abort"):

            class Protocol(support.DatagramRecorder):
                def datagram_received(self, data, address):
                    super().datagram_received(data, address)
                    getattr(self.transport, end)()

            async with self.two(Protocol) as (transport, protocol, sender):
                for _ in range(5):
                    sender.sendto(b"x")
                await protocol.lost
                self.assertEqual(len(protocol.received), 1)

    @asynchronous
    async def test_many_leave_room_for_others(self):
        order = []

        class Protocol(support.DatagramRecorder):
            def datagram_received(self, data, address):
                super().datagram_received(data, address)
                if len(self.received) == 1:
                    self.loop.call_soon(order.append, "other")
                order.append(data)

        Protocol.loop = self.loop
        async with self.two(Protocol) as (transport, protocol, sender):
            for _ in range(50):
                sender.sendto(b"x")
            await support.until(lambda: len(order) == 51)
            self.assertLess(order.index("other"), 20)

    @asynchronous
    async def test_context(self):
        variable = contextvars.ContextVar("variable", default=0)
        seen = []

        class Protocol(support.DatagramRecorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                seen.append(variable.get())

            def datagram_received(self, data, address):
                super().datagram_received(data, address)
                seen.append(variable.get())

            def connection_lost(self, error):
                super().connection_lost(error)
                seen.append(variable.get())

        variable.set(1)
        async with self.two(Protocol) as (transport, protocol, sender):
            variable.set(2)
            sender.sendto(b"x")
            await support.until(lambda: protocol.received)
        await asyncio.sleep(0)
        self.assertEqual(seen, [1, 1, 2])

    @asynchronous
    async def test_another_protocol(self):
        async with self.two() as (transport, protocol, sender):
            self.assertIs(transport.get_protocol(), protocol)
            second = support.DatagramRecorder()
            transport.set_protocol(second)
            sender.sendto(b"x")
            await support.until(lambda: second.received)
            transport.set_protocol(protocol)
            self.assertEqual(protocol.received, [])

    @support.stock_since(3, 12)
    @asynchronous
    async def test_pause_reading(self):
        async with self.two() as (transport, protocol, sender):
            self.assertTrue(transport.is_reading())
            transport.pause_reading()
            self.assertFalse(transport.is_reading())
            sender.sendto(b"x")
            await asyncio.sleep(0.01)
            self.assertEqual(protocol.received, [])
            transport.resume_reading()
            await support.until(lambda: protocol.received)


class Sending(DatagramCase):
    @asynchronous
    async def test_arguments(self):
        async with self.two() as (transport, protocol, sender):
            address = transport.get_extra_info("sockname")
            sender.sendto(b"x", addr=address)
            for arguments, keywords in (
                ((), {}),
                ((b"x", None, None), {}),
                ((b"x",), {"address": None}),
                ((b"x", None), {"addr": None}),
                ((1,), {}),
            ):
                with self.assertRaises(TypeError):
                    sender.sendto(*arguments, **keywords)
            with self.assertRaisesRegex(ValueError, "Invalid address: must be None or .*127.0.0.1"):
                sender.sendto(b"x", ("127.0.0.1", 1))
            await support.until(lambda: protocol.received)

    @asynchronous
    async def test_names_of_hosts(self):
        async with self.two() as (transport, protocol, sender):
            port = transport.get_extra_info("sockname")[1]
            other, at_other = await self.endpoint()
            other.sendto(b"x", ("localhost", port))
            other.sendto(b"y", ("127.1", port))
            await support.until(lambda: len(protocol.received) == 2)
            await self.close(at_other)

    @asynchronous
    async def test_addresses_that_are_none(self):
        host = "127.0.0.1"
        for address in ((host, 70000), (host, "1"), (host,), 7, None, ("a\0b", 1)):
            transport, protocol = await self.endpoint()
            transport.sendto(b"x", address)
            (report,) = self.take_errors()
            self.assertEqual(report["message"], "Fatal write error on datagram transport")
            self.assertIs(report["transport"], transport)
            self.assertIs(report["protocol"], protocol)
            self.assertIs(await protocol.lost, report["exception"])

    @asynchronous
    async def test_after_the_end(self):
        async with self.two() as (transport, protocol, sender):
            sender.abort()
            with self.assertLogs("asyncio", "WARNING") as logs:
                for _ in range(7):
                    sender.sendto(b"x")
                await asyncio.sleep(0.01)
                for _ in range(7):
                    sender.sendto(b"x")
            self.assertIn("socket.send() raised exception.", logs.output[0])
            self.assertEqual(protocol.received, [])

    @support.needs_ipv6
    @asynchronous
    async def test_ipv6_addresses(self):
        transport, protocol = await self.endpoint(local=("::1", 0))
        address = transport.get_extra_info("sockname")
        for given in (address, address[:3], address[:2], ("0:0:0:0:0:0:0:1", address[1])):
            transport.sendto(b"x", given)
        await support.until(lambda: len(protocol.received) == 4)
        self.assertEqual({came for _, came in protocol.received}, {address})
        await self.close(protocol)

    @asynchronous
    async def test_addresses_are_the_socket_modules(self):
        async with self.two() as (transport, protocol, sender):
            for number in (1, 10, 99, 100, 255):
                with socket.socket(type=socket.SOCK_DGRAM) as sock:
                    sock.bind((f"127.{number}.{255 - number}.1", 0))
                    sock.sendto(b"x", transport.get_extra_info("sockname"))
                    await support.until(lambda: protocol.received)
                    self.assertEqual(protocol.received.pop(), (b"x", sock.getsockname()))

    @asynchronous
    async def test_a_subclass_is_asked_by_its_methods(self):
        class Shouting(socket.socket):
            def sendto(self, data, address):
                return super().sendto(data.upper(), address)

            def recvfrom(self, size):
                data, address = super().recvfrom(size)
                return data + b"!", address

        sock = Shouting(type=socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        transport, protocol = await self.loop.create_datagram_endpoint(
            support.DatagramRecorder, sock=sock
        )
        transport.sendto(b"hello", sock.getsockname())
        await support.until(lambda: protocol.received)
        self.assertEqual(protocol.received, [(b"HELLO!", transport.get_extra_info("sockname"))])
        await self.close(protocol)

    @asynchronous
    async def test_recvfrom_raises_what_it_should_not(self):
        class Failing(socket.socket):
            def recvfrom(self, size):
                raise ZeroDivisionError

        sock = Failing(type=socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        transport, protocol = await self.loop.create_datagram_endpoint(
            support.DatagramRecorder, sock=sock
        )
        transport.sendto(b"hello", sock.getsockname())
        self.assertIsInstance(await protocol.lost, ZeroDivisionError)
        (report,) = self.take_errors()
        self.assertEqual(report["message"], "Fatal read error on datagram transport")


class Flow(DatagramCase):
    async def full(self, factory=support.DatagramRecorder):
        """A transport whose receiver takes nothing."""
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(receiver.close)
        receiver.setblocking(False)
        receiver.bind(self.path("receiver"))
        transport, protocol = await self.endpoint(
            factory, None, self.path("receiver"), family=socket.AF_UNIX
        )
        while not transport.get_write_buffer_size():
            transport.sendto(b"0123456789")
        return receiver, transport, protocol

    @support.stock_cannot(EIGHT)
    @asynchronous
    async def test_sizes_and_limits(self):
        receiver, transport, protocol = await self.full()
        self.assertEqual(transport.get_write_buffer_size(), 18)
        transport.sendto(bytearray(b"123"))
        self.assertEqual(transport.get_write_buffer_size(), 29)
        for arguments in ({"high": 1, "low": 2}, {"low": -1}, {"high": -1}):
            with self.assertRaisesRegex(ValueError, "must be >="):
                transport.set_write_buffer_limits(**arguments)
        self.assertEqual(transport.get_write_buffer_limits(), (16384, 65536))
        transport.set_write_buffer_limits(low=100)
        self.assertEqual(transport.get_write_buffer_limits(), (100, 400))
        transport.set_write_buffer_limits(100)
        self.assertEqual(transport.get_write_buffer_limits(), (25, 100))
        transport.abort()
        self.assertEqual(transport.get_write_buffer_size(), 0)
        self.assertIsNone(await protocol.lost)

    @asynchronous
    async def test_what_is_queued_is_a_copy(self):
        receiver, transport, protocol = await self.full()
        data = bytearray(b"first")
        transport.sendto(data)
        data[:] = b"later"
        got = b""
        while got != b"first":
            self.assertNotEqual(got, b"later")
            got = await self.loop.sock_recv(receiver, 100)
        await self.close(protocol)

    @support.stock_cannot(EIGHT)
    @asynchronous
    async def test_pause_and_resume_raise(self):
        class Protocol(support.DatagramRecorder):
            def pause_writing(self):
                raise ZeroDivisionError

            resume_writing = pause_writing

        receiver, transport, protocol = await self.full(Protocol)
        transport.set_write_buffer_limits(0)
        self.assertEqual(self.take_errors()[0]["message"], "protocol.pause_writing() failed")
        while transport.get_write_buffer_size():
            await self.loop.sock_recv(receiver, 100)
            await asyncio.sleep(0)
        self.assertEqual(self.take_errors()[0]["message"], "protocol.resume_writing() failed")
        await self.close(protocol)

    @support.stock_cannot(EIGHT)
    @asynchronous
    async def test_resume_writing_sends_more(self):
        class Protocol(support.DatagramRecorder):
            def pause_writing(self):
                pass

            def resume_writing(self):
                self.transport.sendto(b"more")
                self.transport.close()

        receiver, transport, protocol = await self.full(Protocol)
        transport.set_write_buffer_limits(0)
        got = []
        while not protocol.lost.done() or b"more" not in got:
            got.append(await self.loop.sock_recv(receiver, 100))
        self.assertEqual(got.count(b"more"), 1)

    @support.stock_cannot(EIGHT)
    @asynchronous
    async def test_the_receiver_goes_away(self):
        receiver, transport, protocol = await self.full()
        transport.sendto(b"another")
        receiver.close()
        await support.until(lambda: protocol.errors and not transport.get_write_buffer_size())
        self.assertIsInstance(protocol.errors[0], OSError)
        await self.close(protocol)


class Life(DatagramCase):
    @asynchronous
    async def test_repr(self):
        transport, protocol = await self.endpoint()
        fd = transport.get_extra_info("socket").fileno()
        self.assertRegex(
            repr(transport), rf"^<\w+ fd={fd} read=polling write=<idle, bufsize=0>>$"
        )
        transport.close()
        self.assertRegex(repr(transport), rf"^<\w+ closing fd={fd} read=idle ")
        await protocol.lost
        await asyncio.sleep(0)
        self.assertRegex(repr(transport), rf"^<\w+ closed fd={fd}")

    @asynchronous
    async def test_its_descriptor_is_its_own(self):
        transport, protocol = await self.endpoint()
        sock = transport.get_extra_info("socket")
        for call in (
            lambda: self.loop.add_reader(sock, print),
            lambda: self.loop.remove_writer(sock.fileno()),
        ):
            with self.assertRaisesRegex(RuntimeError, "is used by transport"):
                call()
        await self.close(protocol)

    def test_unclosed(self):
        transport, protocol = self.run_async(self.endpoint())
        sock = transport.get_extra_info("socket")
        fd = sock.fileno()
        self.loop.close()
        with self.assertWarnsRegex(ResourceWarning, f"unclosed transport <.*fd={fd}"):
            protocol.transport = transport = None
            gc.collect()
        self.assertEqual(sock.fileno(), -1)

    def test_loop_is_closed(self):
        transport, protocol = self.run_async(self.endpoint())
        address = transport.get_extra_info("sockname")
        self.loop.close()
        with self.assertRaisesRegex(RuntimeError, "Event loop is closed"):
            transport.close()
        transport.abort()
        transport.sendto(b"x", address)
        repr(transport)
        with self.assertWarns(ResourceWarning):
            protocol.transport = transport = None
            gc.collect()

    @asynchronous
    async def test_kept_while_it_reads(self):
        class Protocol(asyncio.DatagramProtocol):
            def datagram_received(self, data, address):
                received.append(data)
                self.transport.close()

            def connection_made(self, transport):
                self.transport = transport

        received = []
        transport, protocol = await self.endpoint(Protocol)
        address = transport.get_extra_info("sockname")
        alive = weakref.ref(transport)
        del transport, protocol
        gc.collect()
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.sendto(b"x", address)
        await support.until(lambda: received)
        await asyncio.sleep(0.01)
        gc.collect()
        self.assertIsNone(alive())

    @support.stock_cannot("it tries without end")
    @asynchronous
    async def test_shut_for_reading(self):
        """The socket is readable for ever, and has nothing; what comes all the same is received."""

        class Counting(socket.socket):
            def recvfrom(self, *args):
                attempts.append(1)
                return super().recvfrom(*args)

        attempts = []
        for kind in Counting, socket.socket:
            friend = socket.socket(type=socket.SOCK_DGRAM)
            self.addCleanup(friend.close)
            friend.bind(("127.0.0.1", 0))
            sock = kind(type=socket.SOCK_DGRAM)
            sock.connect(friend.getsockname())
            friend.connect(sock.getsockname())
            sock.shutdown(socket.SHUT_RD)
            transport, protocol = await self.loop.create_datagram_endpoint(
                support.DatagramRecorder, sock=sock)
            sent = 0
            for count in 1, 50, 1:
                await asyncio.sleep(0.02)
                attempts.clear()
                await asyncio.sleep(0.02)
                self.assertLess(len(attempts), 3)
                for _ in range(count):
                    friend.send(b"x")
                sent += count
                await support.until(lambda: len(protocol.received) == sent)
            transport.sendto(b"back")
            self.assertEqual(friend.recv(10), b"back")
            await self.close(protocol)

    @asynchronous
    async def test_attributes(self):
        transport, protocol = await self.endpoint()
        transport.something = 1
        self.assertEqual(transport.something, 1)
        self.assertIsInstance(transport, asyncio.Transport)
        await self.close(protocol)

    def test_nothing_is_left(self):
        async def exercise():
            async with self.two() as (transport, protocol, sender):
                for data in (b"x", bytearray(b"y")):
                    sender.sendto(data)
                await support.until(lambda: len(protocol.received) == 2)
                transport.sendto(b"x", protocol.received[0][1])
                with contextlib.suppress(ValueError):
                    sender.sendto(b"x", ("127.0.0.1", 1))

        self.assertLess(support.growth(lambda: self.run_async(exercise()), 25), 0.5)


if __name__ == "__main__":
    support.main()
