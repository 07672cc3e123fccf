"""connect_read_pipe and connect_write_pipe: pipes, sockets, terminals."""

import asyncio
import os
import pty
import socket
import tempfile
import termios
import tty

import support
from support import asynchronous


class PipeCase(support.LoopCase):
    async def reader(self, factory=support.Recorder):
        """(transport, protocol, the writing end, a descriptor)."""
        reading, writing = os.pipe()
        transport, protocol = await self.loop.connect_read_pipe(
            factory, os.fdopen(reading, "rb", 0)
        )
        return transport, protocol, writing

    async def writer(self, factory=support.Recorder):
        reading, writing = os.pipe()
        transport, protocol = await self.loop.connect_write_pipe(
            factory, os.fdopen(writing, "wb", 0)
        )
        return transport, protocol, reading


class Reading(PipeCase):
    @asynchronous
    async def test_data_and_end(self):
        transport, protocol, writing = await self.reader()
        self.assertIsInstance(transport, asyncio.ReadTransport)
        self.assertIs(transport.get_protocol(), protocol)
        self.assertIn("fd=", repr(transport))
        os.write(writing, b"hello")
        await support.until(lambda: protocol.data == b"hello")
        os.write(writing, b" again")
        await support.until(lambda: protocol.data == b"hello again")
        os.close(writing)
        self.assertIsNone(await protocol.lost)
        self.assertEqual(protocol.calls[-2:], ["eof", "lost"])
        self.assertTrue(transport.is_closing())

    @asynchronous
    async def test_extra_info(self):
        reading, writing = os.pipe()
        pipe = os.fdopen(reading, "rb", 0)
        transport, protocol = await self.loop.connect_read_pipe(support.Recorder, pipe)
        self.assertIs(transport.get_extra_info("pipe"), pipe)
        self.assertFalse(os.get_blocking(reading))
        transport.close()
        await protocol.lost
        self.assertTrue(pipe.closed)
        os.close(writing)

    @support.stock_since(3, 12)
    @asynchronous
    async def test_pause_and_resume(self):
        transport, protocol, writing = await self.reader()
        transport.pause_reading()
        self.assertFalse(transport.is_reading())
        os.write(writing, b"hello")
        os.close(writing)
        await asyncio.sleep(0.01)
        self.assertEqual(protocol.calls, ["made"])
        transport.resume_reading()
        await protocol.lost
        self.assertEqual(protocol.data, b"hello")

    @asynchronous
    async def test_much(self):
        transport, protocol, writing = await self.reader()
        data = os.urandom(1_000_000)

        def write():
            with os.fdopen(writing, "wb") as file:
                file.write(data)

        await self.loop.run_in_executor(None, write)
        await protocol.lost
        self.assertTrue(protocol.data == data)

    @asynchronous
    async def test_close(self):
        transport, protocol, writing = await self.reader()
        os.write(writing, b"never read")
        transport.close()
        self.assertIsNone(await protocol.lost)
        self.assertNotIn("eof", protocol.calls)
        with self.assertRaises(BrokenPipeError):
            os.write(writing, b"x")
        os.close(writing)

    @asynchronous
    async def test_set_protocol(self):
        transport, first, writing = await self.reader()
        second = support.Recorder()
        transport.set_protocol(second)
        self.assertIs(transport.get_protocol(), second)
        os.write(writing, b"x")
        await support.until(lambda: second.data)
        os.close(writing)
        await second.lost

    @asynchronous
    async def test_stream_reader(self):
        reading, writing = os.pipe()
        reader = asyncio.StreamReader()
        transport, _ = await self.loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb", 0)
        )
        os.write(writing, b"one\ntwo\n")
        os.close(writing)
        self.assertEqual([line async for line in reader], [b"one\n", b"two\n"])
        transport.close()

    @asynchronous
    async def test_what_is_no_pipe(self):
        with tempfile.TemporaryFile() as file:
            with self.assertRaisesRegex(ValueError, "pipe"):
                await self.loop.connect_read_pipe(support.Recorder, file)
            with self.assertRaisesRegex(ValueError, "pipe"):
                await self.loop.connect_write_pipe(support.Recorder, file)

    @asynchronous
    async def test_socket(self):
        ours, theirs = socket.socketpair()
        transport, protocol = await self.loop.connect_read_pipe(support.Recorder, ours)
        theirs.send(b"hello")
        theirs.close()
        await protocol.lost
        self.assertEqual(protocol.data, b"hello")

    @asynchronous
    async def test_named_pipe(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "fifo")
            os.mkfifo(path)
            file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", 0)
            writing = os.open(path, os.O_WRONLY)
            transport, protocol = await self.loop.connect_read_pipe(support.Recorder, file)
            os.write(writing, b"hello")
            os.close(writing)
            await protocol.lost
            self.assertEqual(protocol.data, b"hello")


class Writing(PipeCase):
    @asynchronous
    async def test_data(self):
        transport, protocol, reading = await self.writer()
        self.assertIsInstance(transport, asyncio.WriteTransport)
        for data in (b"bytes ", bytearray(b"array "), memoryview(b"view")):
            transport.write(data)
        transport.writelines([b" one", b" two"])
        self.assertEqual(os.read(reading, 100), b"bytes array view one two")
        transport.close()
        self.assertIsNone(await protocol.lost)
        self.assertEqual(os.read(reading, 100), b"")
        os.close(reading)

    @asynchronous
    async def test_flow_control(self):
        transport, protocol, reading = await self.writer()
        sent = 0
        while "pause" not in protocol.calls:
            transport.write(b"x" * 50_000)
            sent += 50_000
        self.assertGreater(transport.get_write_buffer_size(), 65536)
        self.assertEqual(transport.get_write_buffer_limits(), (16384, 65536))
        transport.write_eof()
        got = 0
        while True:
            data = await self.loop.run_in_executor(None, os.read, reading, 1 << 20)
            if not data:
                break
            got += len(data)
        self.assertEqual(got, sent)
        self.assertIn("resume", protocol.calls)
        self.assertIsNone(await protocol.lost)
        os.close(reading)

    @asynchronous
    async def test_reader_leaves(self):
        """It is told although nothing is being written."""
        transport, protocol, reading = await self.writer()
        os.close(reading)
        error = await protocol.lost
        self.assertTrue(error is None or isinstance(error, BrokenPipeError))
        self.assertTrue(transport.is_closing())

    @asynchronous
    async def test_reader_leaves_while_much_is_buffered(self):
        transport, protocol, reading = await self.writer()
        transport.write(b"x" * 1_000_000)
        os.close(reading)
        self.assertIsInstance(await protocol.lost, BrokenPipeError)

    @asynchronous
    async def test_close_sends_what_is_buffered(self):
        transport, protocol, reading = await self.writer()
        transport.write(b"x" * 200_000)
        transport.close()
        got = 0
        while got < 200_000:
            got += len(await self.loop.run_in_executor(None, os.read, reading, 1 << 20))
        self.assertIsNone(await protocol.lost)
        os.close(reading)

    @asynchronous
    async def test_abort(self):
        transport, protocol, reading = await self.writer()
        transport.write(b"x" * 200_000)
        transport.abort()
        self.assertIsNone(await protocol.lost)
        os.close(reading)

    @asynchronous
    async def test_can_write_eof(self):
        transport, protocol, reading = await self.writer()
        self.assertTrue(transport.can_write_eof())
        transport.write(b"end")
        transport.write_eof()
        self.assertEqual(os.read(reading, 100), b"end")
        await protocol.lost
        os.close(reading)


class Terminals(support.LoopCase):
    def setUp(self):
        super().setUp()
        self.master, self.slave = pty.openpty()
        tty.setraw(self.slave, termios.TCSANOW)

    @asynchronous
    async def test_reading_from_the_master(self):
        transport, protocol = await self.loop.connect_read_pipe(
            support.Recorder, os.fdopen(self.master, "rb", 0)
        )
        os.write(self.slave, b"hello")
        await support.until(lambda: protocol.data == b"hello")
        # The other side's end is EIO, with nothing logged: for a terminal that is the end.
        os.close(self.slave)
        await protocol.lost

    @asynchronous
    async def test_reading_from_the_slave(self):
        transport, protocol = await self.loop.connect_read_pipe(
            support.Recorder, os.fdopen(self.slave, "rb", 0)
        )
        os.write(self.master, b"hello")
        await support.until(lambda: protocol.data == b"hello")
        transport.close()
        await protocol.lost
        os.close(self.master)

    @asynchronous
    async def test_writing_to_the_slave(self):
        transport, protocol = await self.loop.connect_write_pipe(
            support.Recorder, os.fdopen(self.slave, "wb", 0)
        )
        transport.write(b"hello")
        self.assertEqual(os.read(self.master, 100), b"hello")
        transport.close()
        await protocol.lost
        os.close(self.master)

    @asynchronous
    async def test_both_ways(self):
        """One terminal behind a read and a write transport, each with a descriptor of its own."""
        reader, read_protocol = await self.loop.connect_read_pipe(
            support.Recorder, os.fdopen(self.master, "rb", 0)
        )
        writer, write_protocol = await self.loop.connect_write_pipe(
            support.Recorder, os.fdopen(os.dup(self.master), "wb", 0)
        )
        writer.write(b"question")
        self.assertEqual(os.read(self.slave, 100), b"question")
        os.write(self.slave, b"answer")
        await support.until(lambda: read_protocol.data == b"answer")
        for transport, protocol in ((reader, read_protocol), (writer, write_protocol)):
            transport.close()
            await protocol.lost
        os.close(self.slave)


if __name__ == "__main__":
    support.main()
