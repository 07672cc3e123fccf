"""The classes of the streams: what they leave behind, and what they do when something fails."""

import asyncio
import contextlib
import gc
import sys
import tracemalloc
import warnings
import weakref
from unittest import mock

import support
from stream_cases import StreamCase, Transport

from casyncio import streams


class Failing:
    """Stands for an object, of which the n-th call fails; counted over all that share `calls`."""

    class Error(Exception):
        pass

    def __init__(self, thing, calls, n):
        self._parts = thing, calls, n

    def __getattr__(self, name):
        thing, calls, n = self._parts

        def call(*args):
            calls.append(name)
            if len(calls) == n:
                raise Failing.Error(name)
            return getattr(thing, name)(*args)

        return call


class WhateverFails(StreamCase):
    """The n-th call of a loop's or transport's method raises, for all n: that comes out."""

    def use(self, calls, n):
        loop, transport = Failing(self.loop, calls, n), Failing(Transport(), calls, n)
        reader = streams.StreamReader(limit=10, loop=loop)
        protocol = streams.StreamReaderProtocol(reader, self.serve, loop=loop)
        protocol.connection_made(transport)
        writer = streams.StreamWriter(transport, protocol, reader, loop)
        protocol.data_received(b"x" * 30)
        self.step(reader.read(25))
        self.step(reader.read(1000))
        for read in (reader.readline(), reader.readuntil((b"#", b"##")), reader.readexactly(9),
                     reader._wait_for_data("name"), anext(reader), reader.read()):
            self.step(read)
            protocol.data_received(b"12345678#\n")
            if read.cr_suspended:
                self.step(read)
        writer.write(b"x")
        writer.writelines([b"x"])
        self.step(writer.drain())
        protocol.pause_writing()
        drain = writer.drain()
        self.step(drain)
        protocol.resume_writing()
        self.step(drain)
        protocol.eof_received()
        self.step(read)
        protocol.connection_lost(None)
        self.step(writer.wait_closed())
        writer.close()

    async def serve(self, reader, writer):
        pass

    def step(self, coroutine):
        with contextlib.suppress(StopIteration, StopAsyncIteration):
            if future := coroutine.send(None):
                future._asyncio_future_blocking = False

    def test_the_nth_call(self):
        told = []
        with mock.patch("sys.unraisablehook", lambda report: told.append(report.exc_type)), \
                warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.use(all_calls := [], 0)
            gc.collect()
            self.assertGreater(len(all_calls), 20)
            for n in range(1, len(all_calls) + 1):
                told.clear()
                try:
                    self.use([], n)
                except Failing.Error:
                    told.append(Failing.Error)
                gc.collect()
                self.assertIn(Failing.Error, told, all_calls[n - 1])
            self.turns()
        self.take_errors()


class Memory(StreamCase):
    """Nothing is left behind, whichever way a call ends."""

    async def everything(self):
        transport, protocol, reader, writer = self.stream(limit=50)
        protocol.data_received(b"line\nmore and more")
        await reader.readline()
        await reader.read(3)
        await reader.readexactly(4)
        await reader.readuntil((b"d", b"more"))
        reader._maybe_resume_transport()
        protocol.data_received(bytearray(b"x" * 300))
        protocol.data_received(b"y" * 300)
        for read in reader.readuntil(b"y" * 500), reader.readexactly(-1), reader.readline():
            with self.assertRaises((ValueError, asyncio.LimitOverrunError)):
                await read
        for read in (reader.read(5), reader.readline(), reader.readexactly(7),
                     reader._wait_for_data("x")):
            task = asyncio.create_task(read)
            await asyncio.sleep(0)
            protocol.data_received(b"1234567\n")
            await task
        for read in reader.readexactly(50), reader.readuntil(b"#"):
            task = asyncio.create_task(read)
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        writer.write(b"abc")
        await writer.drain()
        protocol.pause_writing()
        task = asyncio.create_task(writer.drain())
        await asyncio.sleep(0)
        protocol.resume_writing()
        await task
        repr(reader), repr(writer), reader._buffer, reader._transport, protocol._drain_waiters
        waiting = reader.readexactly(10 ** 6)
        waiting.send(None)
        waiting.close()
        protocol.eof_received()
        with contextlib.suppress(asyncio.IncompleteReadError):
            await reader.readexactly(10 ** 6)
        await reader.read()
        protocol.connection_lost(OSError())
        with contextlib.suppress(OSError):
            await writer.drain()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        writer.close()

    def test_blocks(self):
        objects = (streams.StreamReader, streams.StreamWriter, streams.StreamReaderProtocol,
                   self.loop, None, asyncio.IncompleteReadError)

        def state():
            support.settle()
            return [sys.getrefcount(o) for o in objects]

        run = lambda: self.loop.run_until_complete(self.everything())
        self.assertLess(support.growth(run), 0.5)
        before = state()
        for _ in range(40):
            run()
        for what, old, new in zip(objects, before, state()):
            self.assertLess(new - old, 20, what)

    def test_the_memory_of_a_buffer_goes_with_its_data(self):
        reader = self.reader(limit=2 ** 30)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for _ in range(100):
            reader.feed_data(bytes(100_000))
        self.assertGreater(tracemalloc.get_traced_memory()[0], 10_000_000)
        self.assertEqual(len(self.loop.run_until_complete(reader.read(10_000_000))), 10_000_000)
        self.assertLess(tracemalloc.get_traced_memory()[0], 100_000)

    def test_cycles(self):
        gone = []
        for cls in streams.StreamReader, self.Derived:
            reader = self.reader(cls=cls)
            protocol = streams.StreamReaderProtocol(reader, loop=self.loop)
            transport = Transport()
            protocol.connection_made(transport)
            transport.protocol = protocol
            writer = streams.StreamWriter(transport, protocol, reader, self.loop)
            reader.me, reader.writer, protocol.writer, writer.me = reader, writer, writer, writer
            reader.waiting = reader.read(1)
            reader.waiting.send(None)
            transport.closing = True
            gone += map(weakref.ref, (reader, protocol, transport, writer))
            del reader, protocol, transport, writer
        gc.collect()
        self.assertEqual([ref() for ref in gone], [None] * 8)

    class Derived(streams.StreamReader):
        pass

    def test_brought_back_to_life(self):
        class Phoenix(streams.StreamWriter):
            def __del__(self):
                risen.append(self)

        risen = []
        transport = Transport()
        Phoenix(transport, None, None, self.loop)
        gc.collect()
        risen[0].write(b"alive")
        self.assertEqual(transport.calls, [b"alive"])
        transport.closing = True


if __name__ == "__main__":
    support.main()
