"""Stream transports: what a protocol is told, in which order, and what a transport promises."""

import asyncio
import os
import socket

import support
from support import asynchronous


class TransportCase(support.LoopCase):
    async def connected(self, factory=support.Recorder):
        """(transport, protocol, the blocking socket of the other side)."""
        ours, theirs = socket.socketpair()
        theirs.settimeout(10)
        self.addCleanup(theirs.close)
        transport, protocol = await self.loop.create_connection(factory, sock=ours)
        return transport, protocol, theirs

    def fill(self, transport, block=b"x" * 100_000):
        """Write until more than the usual limit is buffered; how much was written."""
        size = 0
        while transport.get_write_buffer_size() <= 65536:
            transport.write(block)
            size += len(block)
        return size

    async def drain(self, sock, size):
        sock.setblocking(False)
        got = bytearray()
        while len(got) < size:
            data = await self.loop.sock_recv(sock, 1 << 20)
            if not data:
                break
            got += data
        return got


class Reading(TransportCase):
    @asynchronous
    async def test_order_of_calls(self):
        transport, protocol, theirs = await self.connected()
        self.assertEqual(protocol.calls, ["made"])
        theirs.sendall(b"hello")
        await support.until(lambda: protocol.data)
        theirs.close()
        self.assertIsNone(await protocol.lost)
        self.assertEqual(protocol.calls, ["made", "data", "eof", "lost"])

    @asynchronous
    async def test_connection_made_comes_first_although_data_waits(self):
        ours, theirs = socket.socketpair()
        theirs.sendall(b"early")
        theirs.close()
        _, protocol = await self.loop.create_connection(support.Recorder, sock=ours)
        await protocol.lost
        self.assertEqual(protocol.calls, ["made", "data", "eof", "lost"])

    @asynchronous
    async def test_data_is_bytes_and_stays_what_it_was(self):
        got = []

        class Protocol(support.Recorder):
            def data_received(self, data):
                got.append(data)

        transport, protocol, theirs = await self.connected(Protocol)
        for number in range(20):
            theirs.sendall(bytes([number]) * 3000)
            await support.until(lambda: sum(map(len, got)) == 3000 * (number + 1))
        self.assertEqual({type(data) for data in got}, {bytes})
        self.assertEqual(b"".join(got), b"".join(bytes([n]) * 3000 for n in range(20)))
        transport.abort()
        await protocol.lost

    @asynchronous
    async def test_pause_and_resume(self):
        transport, protocol, theirs = await self.connected()
        self.assertTrue(transport.is_reading())
        transport.pause_reading()
        transport.pause_reading()
        self.assertFalse(transport.is_reading())
        theirs.sendall(b"hello")
        await asyncio.sleep(0.01)
        self.assertEqual(protocol.data, b"")
        transport.resume_reading()
        transport.resume_reading()
        self.assertTrue(transport.is_reading())
        await support.until(lambda: protocol.data == b"hello")
        transport.close()
        self.assertFalse(transport.is_reading())
        transport.pause_reading()
        transport.resume_reading()
        await protocol.lost

    @support.stock_since(3, 12)
    @asynchronous
    async def test_paused_in_connection_made(self):
        class Paused(support.Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                transport.pause_reading()

        transport, protocol, theirs = await self.connected(Paused)
        theirs.sendall(b"hello")
        await asyncio.sleep(0.01)
        self.assertEqual(protocol.calls, ["made"])
        transport.resume_reading()
        await support.until(lambda: protocol.data == b"hello")
        transport.close()
        await protocol.lost

    @asynchronous
    async def test_end_while_paused(self):
        transport, protocol, theirs = await self.connected()
        transport.pause_reading()
        theirs.sendall(b"last words")
        theirs.close()
        await asyncio.sleep(0.01)
        self.assertEqual(protocol.calls, ["made"])
        transport.resume_reading()
        await protocol.lost
        self.assertEqual(protocol.data, b"last words")
        self.assertEqual(protocol.calls[-2:], ["eof", "lost"])

    @asynchronous
    async def test_half_closed(self):
        class Stays(support.Recorder):
            def eof_received(self):
                super().eof_received()
                return True

        transport, protocol, theirs = await self.connected(Stays)
        theirs.shutdown(socket.SHUT_WR)
        await protocol.ended
        await asyncio.sleep(0.01)
        self.assertFalse(transport.is_closing())
        self.assertEqual(protocol.calls.count("eof"), 1)
        transport.write(b"answer")
        transport.close()
        await protocol.lost
        self.assertEqual(theirs.recv(100), b"answer")
        self.assertEqual(theirs.recv(100), b"")

    @asynchronous
    async def test_reset(self):
        with support.listener() as listening:
            transport, protocol = await self.loop.create_connection(
                support.Recorder, *listening.getsockname()
            )
            accepted, _ = listening.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        accepted.close()
        self.assertIsInstance(await protocol.lost, ConnectionResetError)
        self.assertEqual(protocol.calls, ["made", "lost"])

    @asynchronous
    async def test_set_protocol(self):
        transport, first, theirs = await self.connected()
        second = support.Recorder()
        transport.set_protocol(second)
        self.assertIs(transport.get_protocol(), second)
        theirs.sendall(b"for the second")
        await support.until(lambda: second.data)
        self.assertEqual(first.calls, ["made"])
        transport.close()
        await second.lost

    @asynchronous
    async def test_set_protocol_of_the_other_kind(self):
        class Buffered(asyncio.BufferedProtocol):
            def __init__(self):
                self.buffer, self.data = bytearray(4), b""

            def get_buffer(self, hint):
                return self.buffer

            def buffer_updated(self, count):
                self.data += self.buffer[:count]

        transport, first, theirs = await self.connected()
        buffered = Buffered()
        transport.set_protocol(buffered)
        theirs.sendall(b"0123456789")
        await support.until(lambda: buffered.data == b"0123456789")
        transport.set_protocol(first)
        theirs.sendall(b"again")
        await support.until(lambda: first.data == b"again")
        transport.close()
        await first.lost

    @asynchronous
    async def test_buffered_protocol(self):
        hints = []

        class Buffered(asyncio.BufferedProtocol):
            def __init__(self):
                self.calls, self.data = [], bytearray()

            def connection_made(self, transport):
                self.calls.append("made")

            def get_buffer(self, hint):
                hints.append(hint)
                self.buffer = memoryview(bytearray(1000))
                return self.buffer

            def buffer_updated(self, count):
                self.calls.append("data")
                self.data += self.buffer[:count]

            def eof_received(self):
                self.calls.append("eof")

            def connection_lost(self, error):
                self.calls.append("lost")

        transport, protocol, theirs = await self.connected(Buffered)
        data = os.urandom(50_000)
        theirs.sendall(data)
        await support.until(lambda: len(protocol.data) == len(data))
        theirs.close()
        await support.until(lambda: protocol.calls[-1] == "lost")
        self.assertTrue(protocol.data == data)
        self.assertEqual(protocol.calls[0], "made")
        self.assertEqual(protocol.calls[-2:], ["eof", "lost"])
        self.assertEqual({type(hint) for hint in hints}, {int})

    @asynchronous
    async def test_buffer_that_is_empty_or_none(self):
        for buffer in (bytearray(), b"read only", 5):

            class Buffered(asyncio.BufferedProtocol):
                error = None

                def get_buffer(self, hint, buffer=buffer):
                    return buffer

                def connection_lost(self, error):
                    self.error = error

            transport, protocol, theirs = await self.connected(Buffered)
            theirs.sendall(b"x")
            await support.until(lambda: protocol.error)
            self.assertEqual(len(self.take_errors()), 1, buffer)


class Writing(TransportCase):
    @asynchronous
    async def test_write(self):
        transport, protocol, theirs = await self.connected()
        for data in (b"bytes ", bytearray(b"array "), memoryview(b"view "), b""):
            transport.write(data)
        transport.writelines([b"one ", bytearray(b"two "), memoryview(b"three")])
        transport.writelines([])
        transport.writelines(iter([b" four"]))
        self.assertEqual(theirs.recv(100), b"bytes array view one two three four")
        for bad in ("text", 5, None):
            with self.assertRaises(TypeError):
                transport.write(bad)
        transport.close()
        await protocol.lost

    @asynchronous
    async def test_order_is_kept_whatever_the_sizes(self):
        transport, protocol, theirs = await self.connected()
        expect = bytearray()
        reading = self.loop.create_task(self.drain(theirs, 1 << 40))
        for number in range(300):
            block = bytes([number % 256]) * (number * number % 40000)
            if number % 3:
                transport.write(block)
            else:
                transport.writelines([block[:100], block[100:]])
            expect += block
            if number % 50 == 0:
                await asyncio.sleep(0)
        transport.close()
        self.assertTrue(await reading == expect)
        await protocol.lost

    @asynchronous
    async def test_many_small_pieces_beyond_the_limit_of_a_sendmsg(self):
        transport, protocol, theirs = await self.connected()
        size = self.fill(transport)
        for _ in range(5000):
            transport.write(b"y")
        transport.writelines([b"z"] * 5000)
        transport.close()
        got = await self.drain(theirs, 1 << 40)
        self.assertEqual(len(got), size + 10000)
        self.assertEqual(got[-10000:], b"y" * 5000 + b"z" * 5000)
        await protocol.lost

    @asynchronous
    async def test_a_buffer_may_be_reused_after_write(self):
        """What write() could not send at once it has copied, or the caller's changes would show."""
        transport, protocol, theirs = await self.connected()
        size = self.fill(transport)
        block = bytearray(b"before")
        transport.write(bytes(block))
        block[:] = b"after!"
        transport.close()
        got = await self.drain(theirs, 1 << 40)
        self.assertEqual(got[size:], b"before")
        await protocol.lost

    @asynchronous
    async def test_flow_control(self):
        transport, protocol, theirs = await self.connected()
        self.assertEqual(transport.get_write_buffer_limits(), (16384, 65536))
        size = self.fill(transport)
        self.assertEqual(protocol.calls, ["made", "pause"])
        transport.write(b"more")
        self.assertEqual(protocol.calls, ["made", "pause"])
        await self.drain(theirs, size + 4)
        await support.until(lambda: protocol.calls == ["made", "pause", "resume"])
        self.assertEqual(transport.get_write_buffer_size(), 0)
        transport.close()
        await protocol.lost

    @asynchronous
    async def test_limits(self):
        transport, protocol, theirs = await self.connected()
        for arguments, limits in (
            ({"high": 100}, (25, 100)),
            ({"low": 100}, (100, 400)),
            ({"high": 100, "low": 50}, (50, 100)),
            ({"high": 0}, (0, 0)),
            ({}, (16384, 65536)),
        ):
            transport.set_write_buffer_limits(**arguments)
            self.assertEqual(transport.get_write_buffer_limits(), limits)
        with self.assertRaises(ValueError):
            transport.set_write_buffer_limits(high=5, low=10)
        with self.assertRaises(ValueError):
            transport.set_write_buffer_limits(high=5, low=-1)
        transport.close()
        await protocol.lost

    @asynchronous
    async def test_a_limit_of_zero_pauses_at_the_first_byte(self):
        transport, protocol, theirs = await self.connected()
        transport.set_write_buffer_limits(high=0)
        transport.write(b"goes through")
        self.assertEqual(protocol.calls, ["made"])
        size = self.fill(transport) + 12
        self.assertEqual(protocol.calls, ["made", "pause"])
        await self.drain(theirs, size)
        await support.until(lambda: protocol.calls[-1] == "resume")
        transport.close()
        await protocol.lost

    @asynchronous
    async def test_write_eof(self):
        transport, protocol, theirs = await self.connected()
        self.assertTrue(transport.can_write_eof())
        size = self.fill(transport)
        transport.write_eof()
        transport.write_eof()
        with self.assertRaises(RuntimeError):
            transport.write(b"x")
        self.assertFalse(transport.is_closing())
        self.assertEqual(len(await self.drain(theirs, 1 << 40)), size)
        theirs.send(b"still reading")
        await support.until(lambda: protocol.data == b"still reading")
        transport.close()
        await protocol.lost

    @support.stock_since(3, 12)
    @asynchronous
    async def test_writelines_after_write_eof(self):
        transport, protocol, theirs = await self.connected()
        transport.write_eof()
        with self.assertRaises(RuntimeError):
            transport.writelines([b"x"])
        transport.close()
        await protocol.lost

    @asynchronous
    async def test_close_sends_what_is_buffered(self):
        transport, protocol, theirs = await self.connected()
        size = self.fill(transport)
        transport.close()
        transport.close()
        self.assertTrue(transport.is_closing())
        await asyncio.sleep(0.01)
        self.assertFalse(protocol.lost.done())
        self.assertEqual(len(await self.drain(theirs, 1 << 40)), size)
        self.assertIsNone(await protocol.lost)

    @asynchronous
    async def test_abort(self):
        transport, protocol, theirs = await self.connected()
        self.fill(transport)
        transport.abort()
        self.assertTrue(transport.is_closing())
        self.assertEqual(transport.get_write_buffer_size(), 0)
        self.assertFalse(protocol.lost.done())
        self.assertIsNone(await protocol.lost)
        transport.abort()
        transport.close()

    @asynchronous
    async def test_peer_gone(self):
        transport, protocol, theirs = await self.connected()
        self.fill(transport)
        theirs.close()
        self.assertIsInstance(await protocol.lost, ConnectionError)
        self.assertEqual(protocol.calls.count("lost"), 1)

    @asynchronous
    async def test_writing_to_a_lost_connection(self):
        transport, protocol, theirs = await self.connected()
        theirs.close()
        transport.pause_reading()
        transport.write(b"x")
        await protocol.lost
        with self.assertLogs("asyncio", "WARNING") as logs:
            for _ in range(10):
                transport.write(b"x")
        self.assertIn("socket.send() raised exception", logs.output[0])

    @asynchronous
    async def test_connection_lost_is_a_callback_of_its_own(self):
        """Never from within close(), write() or abort()."""
        transport, protocol, theirs = await self.connected()
        transport.close()
        self.assertEqual(protocol.calls, ["made"])
        await protocol.lost
        transport, protocol, theirs = await self.connected()
        theirs.close()
        transport.write(b"x")
        self.assertEqual(protocol.calls, ["made"])
        await protocol.lost

    @asynchronous
    async def test_the_descriptor_is_closed(self):
        before = support.open_descriptors()
        for end in ("close", "abort"):
            transport, protocol, theirs = await self.connected()
            getattr(transport, end)()
            await protocol.lost
            theirs.close()
        self.assertEqual(support.open_descriptors(), before)

    @asynchronous
    async def test_repr(self):
        transport, protocol, theirs = await self.connected()
        self.assertIn("fd=", repr(transport))
        transport.close()
        self.assertIn("clos", repr(transport))
        await protocol.lost
        self.assertIn("closed", repr(transport))


class Streams(support.LoopCase):
    @asynchronous
    async def test_conversation(self):
        async def serve(reader, writer):
            while line := await reader.readline():
                writer.write(line.upper())
                await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for _ in range(100):
            writer.write(b"line\n")
            self.assertEqual(await reader.readline(), b"LINE\n")
        writer.write(b"x" * 1000 + b"\n")
        self.assertEqual(await reader.readexactly(500), b"X" * 500)
        self.assertEqual(await reader.readuntil(b"\n"), b"X" * 500 + b"\n")
        writer.write_eof()
        self.assertEqual(await reader.read(), b"")
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    @asynchronous
    async def test_back_pressure(self):
        """The writer waits in drain() while the reader does not read."""

        async def serve(reader, writer):
            await asyncio.sleep(0.05)
            total = 0
            while data := await reader.read(65536):
                total += len(data)
            writer.write(b"%d" % total)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        highest = 0
        for _ in range(200):
            writer.write(b"x" * 100_000)
            await writer.drain()
            highest = max(highest, writer.transport.get_write_buffer_size())
        self.assertLess(highest, 300_000)
        writer.write_eof()
        self.assertEqual(int(await reader.read()), 20_000_000)
        writer.close()
        server.close()


if __name__ == "__main__":
    support.main()
