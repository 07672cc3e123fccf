"""Stream transports: what nobody does with them, until somebody does it."""

import asyncio
import gc
import os
import socket

import casyncio
import support
from casyncio import _casyncio
from support import asynchronous
from test_loop_streams import TransportCase


class Edges(TransportCase):
    @asynchronous
    async def test_data_received_is_replaced_after_connecting(self):
        for package in (asyncio, casyncio):
            ours, theirs = socket.socketpair()
            self.addCleanup(theirs.close)
            reader, writer = await package.open_connection(sock=ours)
            theirs.send(b"before")
            self.assertEqual(await reader.read(100), b"before")
            got = []
            writer.transport.get_protocol().data_received = got.append
            theirs.send(b"after")
            await support.until(lambda: got)
            self.assertEqual(got, [b"after"])
            writer.close()
            await writer.wait_closed()

    def together(self):
        """A transport whose writes go out together, and the other side."""

        async def connect():
            transport, _, theirs = await self.connected(asyncio.Protocol)
            return transport, theirs

        return self.run_async(connect())

    def test_what_waits_goes_out_when_the_loop_stops(self):
        transport, theirs = self.together()

        def write():
            for _ in range(3):
                transport.write(b"abc")
            self.loop.stop()

        self.loop.call_soon(write)
        self.loop.run_forever()
        theirs.setblocking(False)
        self.assertEqual(theirs.recv(100), b"abcabcabc")
        transport.abort()
        self.turns()

    def test_what_waits_goes_out_when_the_loop_is_closed(self):
        transport, theirs = self.together()
        for _ in range(3):
            transport.write(b"abc")
        self.loop.close()
        theirs.setblocking(False)
        self.assertEqual(theirs.recv(100), b"abcabcabc")
        with self.assertWarns(ResourceWarning):
            del transport
            gc.collect()

    def test_what_waits_goes_out_when_the_loop_is_garbage(self):
        transport, theirs = self.together()
        for _ in range(3):
            transport.write(b"abc")
        self.loop.set_exception_handler(None)
        with self.assertWarns(ResourceWarning):
            self.loop = support.new_event_loop()
            del transport
            gc.collect()
        theirs.setblocking(False)
        self.assertEqual(theirs.recv(100), b"abcabcabc")

    def test_what_waits_is_not_sent_by_a_child_as_well(self):
        transport, theirs = self.together()
        for _ in range(3):
            transport.write(b"abc")
        child = os.fork()
        if not child:
            try:
                transport.abort()
                self.loop.close()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        theirs.setblocking(False)
        self.assertEqual(theirs.recv(100), b"abc")  # the first goes out at once
        with self.assertRaises(BlockingIOError):
            theirs.recv(100)
        transport.abort()
        self.turns()
        self.assertEqual(theirs.recv(100), b"abcabc")

    @asynchronous
    async def test_abort_in_pause_writing(self):
        class Protocol(support.Recorder):
            def pause_writing(self):
                self.transport.abort()

        for lines in (False, True):
            transport, protocol, theirs = await self.connected(Protocol)
            for _ in range(100):
                if lines:
                    transport.writelines([b"x" * 100_000] * 3)
                else:
                    transport.write(b"x" * 100_000)
            self.assertIsNone(await protocol.lost)
            self.assertEqual(transport.get_write_buffer_size(), 0)
            self.assertEqual(protocol.calls.count("lost"), 1)

    @asynchronous
    async def test_pause_writing_raises(self):
        class Protocol(support.Recorder):
            def pause_writing(self):
                raise ZeroDivisionError

        transport, protocol, theirs = await self.connected(Protocol)
        size = self.fill(transport)
        (report,) = self.take_errors()
        self.assertIsInstance(report["exception"], ZeroDivisionError)
        transport.close()
        self.assertEqual(len(await self.drain(theirs, 1 << 40)), size)
        self.assertIsNone(await protocol.lost)

    @asynchronous
    async def test_writes_in_connection_lost(self):
        class Protocol(support.Recorder):
            def connection_lost(self, error):
                self.transport.write(b"x")
                self.transport.writelines([b"x"])
                self.transport.close()
                self.transport.abort()
                super().connection_lost(error)

        transport, protocol, theirs = await self.connected(Protocol)
        transport.close()
        self.assertIsNone(await protocol.lost)
        self.assertEqual(protocol.calls.count("lost"), 1)
        self.assertEqual(theirs.recv(100), b"")

    @asynchronous
    async def test_writelines_takes_all_or_nothing(self):
        transport, protocol, theirs = await self.connected()
        for bad in ("text", 5, None):
            with self.assertRaises(TypeError):
                transport.writelines([b"one", b"two", bad, b"three"])
        transport.write(b"good")
        transport.close()
        await protocol.lost
        self.assertEqual(theirs.recv(100), b"good")

    @asynchronous
    async def test_the_socket_is_closed_before_the_transport_and_the_number_is_anothers(self):
        ours, theirs = socket.socketpair()
        number = ours.fileno()
        first, _ = await self.loop.create_connection(support.Recorder, sock=ours)
        first.close()
        ours.close()
        theirs.close()
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        self.assertEqual(ours.fileno(), number)
        second = support.Recorder()
        transport = _casyncio.SocketTransport(self.loop, ours, second)
        await first.get_protocol().lost
        for word in (b"one", b"two"):
            theirs.send(word)
            await support.until(lambda: second.data.endswith(word))
        with self.assertRaises(RuntimeError):
            self.loop.add_reader(number, print)
        transport.close()
        await second.lost

    @asynchronous
    async def test_what_is_no_descriptor(self):
        class Sock:
            number = -1

            def fileno(self):
                return self.number

            def getsockname(self):
                raise OSError

            getpeername = getsockname

            def close(self):
                pass

            family = socket.AF_INET
            type = socket.SOCK_STREAM
            proto = 0

        sock = Sock()
        for sock.number in (-1, 1 << 30, (1 << 31) - 1, 1 << 31, 1 << 32, "seven", None):
            with self.assertRaises((OSError, TypeError)):
                _casyncio.SocketTransport(self.loop, sock, support.Recorder())
            with self.assertRaises((OSError, TypeError)):
                _casyncio.DatagramTransport(self.loop, sock, support.DatagramRecorder(), {})
        # Nobody waits in vain, although nothing can be read.
        sock.number = 999
        waiter = self.loop.create_future()
        transport = _casyncio.SocketTransport(self.loop, sock, asyncio.Protocol(), waiter)
        await waiter
        (report,) = self.take_errors()
        self.assertIsInstance(report["exception"], OSError)
        transport.abort()
        await asyncio.sleep(0)

    @asynchronous
    async def test_wrong_arguments(self):
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        self.addCleanup(ours.close)
        loop, protocol = self.loop, support.Recorder()
        for arguments in (
            (),
            (loop, ours),
            (None, ours, protocol),
            (asyncio.AbstractEventLoop(), ours, protocol),
            (loop, None, protocol),
            (loop, ours, None),
            (loop, ours, protocol, None, 5),
            (loop, ours, protocol, None, None, 5),
        ):
            with self.assertRaises((TypeError, AttributeError)):
                _casyncio.SocketTransport(*arguments)
        self.assertNotEqual(ours.fileno(), -1)
        base = _casyncio.SocketTransport.__base__
        for make in (base, lambda: type("Derived", (base,), {})(), lambda: object.__new__(base)):
            with self.assertRaises(TypeError):
                make()

    @asynchronous
    async def test_server_is_told_as_often_of_the_end_as_of_the_beginning(self):
        class Server:
            count = 0

            def _attach(self, transport=None):
                self.count += 1

            def _detach(self, transport=None):
                self.count -= 1

        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        server = Server()
        with self.assertRaises(AttributeError):  # the protocol has no connection_made
            _casyncio.SocketTransport(self.loop, ours, object(), None, None, server)
        self.assertEqual(server.count, 0)

    @asynchronous
    async def test_fatal_error_of_what_is_no_exception(self):
        transport, protocol, theirs = await self.connected()
        with self.assertRaises(TypeError):
            transport._fatal_error(5)
        transport._fatal_error(OSError("told"), "by hand")
        self.assertEqual(str(await protocol.lost), "told")

    @asynchronous
    async def test_each_kind_of_protocol_gives_way_to_each(self):
        """Also while it is told of data."""
        got = bytearray()
        order = []

        def plain():
            class Plain(asyncio.Protocol):
                def data_received(self, data):
                    got.extend(data)
                    next_one()

            return Plain()

        def buffered():
            class Buffered(asyncio.BufferedProtocol):
                def get_buffer(self, hint):
                    self.buffer = bytearray(100)
                    return self.buffer

                def buffer_updated(self, count):
                    got.extend(self.buffer[:count])
                    next_one()

            return Buffered()

        def streams():
            class Reader(asyncio.StreamReader):
                def feed_data(self, data):
                    got.extend(data)
                    next_one()

            self.reader = Reader(loop=self.loop)
            return casyncio.StreamReaderProtocol(self.reader, loop=self.loop)

        def next_one():
            transport.set_protocol(order.pop()() if order else plain())

        transport, _, theirs = await self.connected()
        for a in (plain, buffered, streams):
            for b in (plain, buffered, streams):
                for data in (b"to a", b"to b"):
                    order[:] = [b] if data == b"to a" else []
                    if data == b"to a":
                        transport.set_protocol(a())
                    got.clear()
                    theirs.send(data)
                    await support.until(lambda: got)
                    self.assertEqual(got, data)
        last = support.Recorder()
        transport.set_protocol(last)
        transport.close()
        await support.until(lambda: "lost" in last.calls)


if __name__ == "__main__":
    support.main()
