"""StreamReader in C, against asyncio's own.

It is used here with whatever loop support.py gives, and beside asyncio's class: what that does is
right, except where Python 3.13 does better than the version that runs this.
"""

import asyncio
import collections.abc
import gc
import inspect
import random
import sys
import weakref
from unittest import mock

import support
from stream_cases import STOCK, StreamCase, Transport
from support import asynchronous

from casyncio import streams


def describe(call):
    """What a call did, so that two can be compared."""
    try:
        return "returned", call()
    except Exception as error:
        return "raised", type(error).__name__, error.args


class Step:
    """A read in progress, stepped by hand."""

    def __init__(self, coroutine):
        self.coroutine = coroutine
        self.future = None

    def step(self):
        """What it came to, or None while it waits."""
        if self.future is not None and not self.future.done():
            return None
        try:
            self.future = self.coroutine.send(None)
            self.future._asyncio_future_blocking = False
            return None
        except StopIteration as stop:
            return "returned", stop.value
        except Exception as error:
            return "raised", type(error).__name__, error.args


class SameAsAsyncio(support.LoopCase):
    """Thousands of random conversations with asyncio's reader and ours give the same."""

    PIECES = [b"", b"a", b"\n", b"ab\r\n", b"\r", b"xyz", b"line\n", b"--END--", b"-",
              b"0123456789" * 3]
    SEPARATORS = [b"\n", b"\r\n", b"--END--", b"ab", bytearray(b"yz"), b""]
    if sys.version_info >= (3, 13):
        SEPARATORS += [(b"\r", b"\n"), (b"END", b"-"), (b"l", b"line", b"ine"), (b"", b"a"), ()]

    def read(self, rng):
        """The name of a method and its arguments."""
        return rng.choice([
            ("read", -1), ("read", 0), ("read", rng.randrange(1, 12)), ("read",),
            ("readexactly", rng.randrange(-1, 40)), ("readline",), ("__anext__",),
            ("readuntil", rng.choice(self.SEPARATORS)), ("readuntil",),
        ])

    def converse(self, cls, seed, limit):
        """One conversation: all that can be seen of it."""
        rng = random.Random(seed)
        reader, transport, pending, log = cls(limit=limit, loop=self.loop), Transport(), None, []
        if rng.random() < 0.8:
            reader.set_transport(transport)
        if rng.random() < 0.3:
            log.append(reader._buffer)  # ours lives in another way once it has been asked for
        for _ in range(rng.randrange(5, 40)):
            action = rng.random()
            if action < 0.45:
                piece = rng.choice(self.PIECES)
                piece = rng.choice((bytes, bytearray, memoryview))(piece)
                log.append(describe(lambda: reader.feed_data(piece)))
            elif action < 0.48:
                reader.feed_eof()
            elif action < 0.5:
                reader.set_exception(KeyError("stored"))
            elif action < 0.55 and pending:
                pending.coroutine.close()
                pending = None
            elif not pending:
                name, *arguments = self.read(rng)
                pending = Step(getattr(reader, name)(*arguments))
                log.append((name, arguments))
            if pending and (result := pending.step()):
                log.append(result)
                pending = None
            log.append((reader.at_eof(), reader.exception(), transport.calls[:], reader._paused,
                        reader._waiter is None, repr(reader).partition(" waiter")[0]))
        if pending:
            pending.coroutine.close()
        log.append(bytes(reader._buffer))
        return [tuple(map(repr, entry)) for entry in log]

    def test_random_conversations(self):
        for seed in range(3000):
            limit = (3, 8, 20, 2 ** 16)[seed % 4]
            expected = self.converse(STOCK["StreamReader"], seed, limit)
            self.assertEqual(self.converse(streams.StreamReader, seed, limit), expected, seed)

    def test_they_say_the_same_of_wrong_arguments(self):
        for cls in STOCK["StreamReader"], streams.StreamReader:
            for limit in 0, -1, -10 ** 30:
                with self.assertRaisesRegex(ValueError, "Limit cannot be <= 0"):
                    cls(limit=limit, loop=self.loop)
            with self.assertRaises(TypeError):
                cls(limit="many", loop=self.loop)
            reader = cls(loop=self.loop)
            with self.assertRaises(TypeError):
                reader.feed_data(5)
            with self.assertRaises(TypeError):
                reader.feed_data("text")
            for call in (lambda: reader.read(1, 2), lambda: reader.read(m=1),
                         lambda: reader.readexactly(), lambda: reader.readuntil(sep=b"x"),
                         lambda: reader.readline(1)):
                self.assertRaises(TypeError, call)
            with self.assertRaises(TypeError):
                self.loop.run_until_complete(reader.read("x"))
            reader.feed_data(b"abc")
            for separator in "x", 10, None:
                with self.assertRaises(TypeError):
                    self.loop.run_until_complete(reader.readuntil(separator))


class Reading(StreamCase):
    @asynchronous
    async def test_a_tuple_of_separators_on_all_versions(self):
        reader = self.reader(b"line 1\nline 2\rABCDEFG")
        self.assertEqual(await reader.readuntil((b"\r", b"\n")), b"line 1\n")
        self.assertEqual(await reader.readuntil((b"\r", b"\n")), b"line 2\r")
        self.assertEqual(await reader.readuntil((b"DEF", b"BCDE")), b"ABCDE")
        self.assertEqual(await reader.readuntil(separator=(b"EFG", b"G", b"FG")), b"FG")

    @asynchronous
    async def test_a_separator_in_pieces(self):
        reader = self.reader()
        task = asyncio.create_task(reader.readuntil(b"ENDE"))
        for byte in b"xEENENDEy":
            await asyncio.sleep(0)
            reader.feed_data(bytes([byte]))
        self.assertEqual(await task, b"xEENENDE")
        self.assertEqual(await reader.read(5), b"y")

    @asynchronous
    async def test_a_chunk_that_is_read_as_a_whole_is_not_copied(self):
        reader, data = self.reader(), bytes(1000)
        reader.feed_data(data)
        self.assertIs(await reader.read(5000), data)
        reader.feed_data(data)
        self.assertIs(await reader.readexactly(1000), data)
        reader.feed_data(data)
        self.assertEqual(await reader.read(1), data[:1])
        self.assertEqual(await reader.read(-1 if reader.feed_eof() else 5000), data[1:])

    @asynchronous
    async def test_what_was_fed_is_never_written_to(self):
        chunk = bytes(range(200))
        reader = self.reader(chunk)
        reader.feed_data(b"more")
        self.assertEqual(await reader.read(500), chunk + b"more")
        self.assertEqual(chunk, bytes(range(200)))
        given = await self.reader(bytearray(b"abcdef")).read(6)
        again = self.reader(bytearray(b"12"))
        again.feed_data(b"34")
        self.assertEqual((given, await again.read(9)), (b"abcdef", b"1234"))

    @asynchronous
    async def test_much_in_small_pieces(self):
        reader, rng = self.reader(limit=2 ** 20), random.Random(1)
        sent, got = bytearray(), bytearray()
        for _ in range(3000):
            piece = rng.randbytes(rng.randrange(1, 300))
            sent += piece
            reader.feed_data(piece)
            if rng.random() < 0.4:
                got += await reader.read(rng.randrange(1, 900))
        reader.feed_eof()
        got += await reader.read()
        self.assertEqual(got, sent)

    @asynchronous
    async def test_the_buffer_is_what_others_do_to_it(self):
        reader = self.reader(b"injected")
        buffer = reader._buffer
        self.assertIsInstance(buffer, bytearray)
        buffer.clear()
        reader.feed_data(b"line\nmore")
        self.assertEqual(await reader.readline(), b"line\n")
        self.assertEqual(buffer, b"more")
        self.assertIs(reader._buffer, buffer)
        reader._buffer = bytearray(b"another")
        self.assertEqual(await reader.readexactly(4), b"anot")
        with memoryview(reader._buffer):
            with self.assertRaises(BufferError):
                reader.feed_data(b"x")
        del reader._buffer
        self.assertEqual(repr(reader), "<StreamReader>")

    @asynchronous
    async def test_the_limit_can_be_raised(self):
        reader = self.reader(b"0123456789\n", limit=5)
        reader._limit = 20
        self.assertEqual(await reader.readline(), b"0123456789\n")
        self.assertEqual(reader._limit, 20)
        self.assertEqual(self.reader(limit=10 ** 30)._limit, sys.maxsize)

    @asynchronous
    async def test_pause_and_resume(self):
        transport, protocol, reader, _ = self.stream(limit=10)
        protocol.data_received(b"x" * 20)
        self.assertEqual(transport.calls, [])
        protocol.data_received(b"x")
        protocol.data_received(b"x")
        self.assertEqual(transport.calls, ["pause"])
        await reader.read(11)
        self.assertEqual(transport.calls, ["pause"])
        await reader.read(1)
        self.assertEqual(transport.calls, ["pause", "resume"])
        protocol.data_received(b"x" * 20)
        task = asyncio.create_task(reader.readexactly(50))
        await asyncio.sleep(0)
        self.assertEqual(transport.calls, ["pause", "resume"] * 2)  # it would wait for ever
        protocol.data_received(b"x" * 25)
        self.assertEqual(len(await task), 50)

    @asynchronous
    async def test_a_transport_that_cannot_pause(self):
        transport, protocol, reader, _ = self.stream(limit=1)
        transport.pause_reading = mock.Mock(side_effect=NotImplementedError)
        for _ in range(3):
            protocol.data_received(b"abc")
        transport.pause_reading.assert_called_once()
        self.assertIsNone(reader._transport)
        transport, protocol, reader, _ = self.stream(limit=1)
        transport.pause_reading = mock.Mock(side_effect=ZeroDivisionError)
        self.assertRaises(ZeroDivisionError, protocol.data_received, b"abc")
        self.assertEqual(await reader.read(9), b"abc")

    @asynchronous
    async def test_two_reads_at_once(self):
        reader = self.reader()
        first = asyncio.create_task(reader.read(1))
        await asyncio.sleep(0)
        for name, read in (("read", reader.read()), ("readuntil", reader.readline()),
                           ("readexactly", reader.readexactly(3))):
            message = name + r"\(\) called while another coroutine is already waiting"
            with self.assertRaisesRegex(RuntimeError, message):
                await read
        reader.feed_data(b"x")
        self.assertEqual(await first, b"x")

    @asynchronous
    async def test_a_read_that_begins_to_wait_before_the_last_one_went_on(self):
        reader = self.reader()
        first = asyncio.create_task(reader.read(2))
        await asyncio.sleep(0)
        reader.feed_data(b"ab")
        second = asyncio.create_task(reader.readexactly(4))
        await asyncio.sleep(0)
        self.assertEqual(await first, b"ab")
        await asyncio.sleep(0)
        reader.feed_data(b"cdef")
        self.assertEqual(await asyncio.wait_for(second, 1), b"cdef")

    @asynchronous
    async def test_an_exception_is_raised_by_all_reads(self):
        error = KeyError("broken")
        reader = self.reader(b"data")
        reader.set_exception(error)
        for read in (reader.read(), reader.read(1), reader.readline(), reader.readuntil(),
                     reader.readexactly(2), anext(reader)):
            with self.assertRaises(KeyError) as caught:
                await read
            self.assertIs(caught.exception, error)
        self.assertIs(reader.exception(), error)
        reader.set_exception(ZeroDivisionError)
        self.assertRaises(ZeroDivisionError, reader.read().send, None)
        reader.set_exception(StopIteration("x"))
        self.assertRaises(RuntimeError, reader.read().send, None)
        reader.set_exception("nonsense")
        self.assertRaises(TypeError, reader.read().send, None)

    @asynchronous
    async def test_iteration_over_lines(self):
        reader = self.reader(b"a\nb\n", eof=True)
        self.assertEqual([line async for line in reader], [b"a\n", b"b\n"])
        with self.assertRaises(StopAsyncIteration):
            await anext(reader)
        self.assertEqual(await anext(reader, None), None)

    def test_without_a_loop(self):
        with self.assertRaises(RuntimeError):
            streams.StreamReader()
        asyncio.set_event_loop(self.loop)
        self.addCleanup(asyncio.set_event_loop, None)
        self.assertIs(streams.StreamReader()._loop, self.loop)

    def test_where_it_was_made(self):
        self.assertIsNone(self.reader()._source_traceback)
        self.loop.set_debug(True)
        reader = self.reader()
        self.assertEqual(reader._source_traceback[-1].name, "reader")
        protocol = streams.StreamReaderProtocol(reader, loop=self.loop)
        self.assertIs(protocol._source_traceback, reader._source_traceback)

    def test_it_is_one_of_asyncio(self):
        reader = self.reader()
        for name in ("StreamReader", "StreamWriter", "StreamReaderProtocol", "FlowControlMixin"):
            self.assertTrue(issubclass(getattr(streams, name), STOCK[name]), name)
            self.assertEqual(getattr(streams, name).__name__, name)
        self.assertTrue(issubclass(streams.StreamReaderProtocol, asyncio.Protocol))
        self.assertIsInstance(STOCK["StreamWriter"](Transport(), None, reader, self.loop),
                              STOCK["StreamWriter"])
        reader.mine = 1
        self.assertEqual(vars(reader), {"mine": 1})
        self.assertIs(weakref.ref(reader)(), reader)


class Coroutines(StreamCase):
    """What the methods return is a coroutine for all who take one."""

    def test_what_it_says_of_itself(self):
        reader = self.reader()
        c = reader.readexactly(3)
        self.assertTrue(asyncio.iscoroutine(c))
        self.assertTrue(inspect.isawaitable(c))
        self.assertIsInstance(c, collections.abc.Coroutine)
        self.assertEqual((c.__name__, c.__qualname__), ("readexactly", "StreamReader.readexactly"))
        task = self.loop.create_task(c)
        self.assertIn("StreamReader.readexactly", repr(task))
        self.turns(1)
        self.assertIn("wait_for=<Future", repr(task))
        self.assertEqual(inspect.getcoroutinestate(c), inspect.CORO_SUSPENDED)
        task.print_stack(file=mock.Mock())
        reader.feed_data(b"abc")
        self.assertEqual(self.loop.run_until_complete(task), b"abc")

    @asynchronous
    async def test_tasks_and_the_like(self):
        reader = self.reader(b"0123456789")
        self.assertEqual(await asyncio.create_task(reader.read(2)), b"01")
        self.assertEqual(await asyncio.wait_for(reader.read(2), 1), b"23")
        self.assertEqual(await asyncio.shield(reader.read(2)), b"45")
        self.assertEqual(await asyncio.gather(reader.read(1), reader.read(1)), [b"6", b"7"])
        async with asyncio.TaskGroup() as group:
            task = group.create_task(reader.readexactly(2))
        self.assertEqual(task.result(), b"89")
        with self.assertRaises(asyncio.TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.01)
        self.assertIsNone(reader._waiter)
        reader.feed_data(b"x")
        self.assertEqual(await reader.read(1), b"x")

    @asynchronous
    async def test_nothing_happens_before_it_is_awaited(self):
        reader = self.reader()
        c = reader.read(10)
        reader.feed_data(b"later")
        self.assertEqual(await c, b"later")

    @asynchronous
    async def test_cancelled(self):
        _, protocol, reader, writer = self.stream()
        protocol.pause_writing()
        for c in reader.read(), reader.readline(), reader.readexactly(1), writer.drain():
            task = asyncio.create_task(c)
            await asyncio.sleep(0)
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task
        self.assertIsNone(reader._waiter)
        self.assertEqual(len(protocol._drain_waiters), 0)

    def test_by_hand(self):
        reader = self.reader()
        c = reader.read(5)
        with self.assertRaises(TypeError):
            c.send(5)
        future = c.send(None)
        self.assertTrue(asyncio.isfuture(future))
        with self.assertRaises(ZeroDivisionError):
            c.throw(ZeroDivisionError)
        self.assertIsNone(reader._waiter)
        self.assertRaises(RuntimeError, c.send, None)
        c = reader.read(5)
        c.send(None)
        c.close()
        c.close()
        self.assertIsNone(reader._waiter)
        self.assertRaises(KeyError, reader.read().throw, KeyError("early"))

    def test_never_awaited(self):
        with self.assertWarnsRegex(RuntimeWarning, "'StreamReader.read' was never awaited"):
            self.reader().read()
            gc.collect()

    def test_dropped_while_it_waits(self):
        reader = self.reader()
        c = reader.read(5)
        c.send(None)
        del c
        gc.collect()
        self.assertIsNone(reader._waiter)


class Derived(StreamCase):
    """What a derived class, or somebody on one object, puts in its place is called."""

    class Lines(streams.StreamReader):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            self.log = []

        def feed_data(self, data):
            self.log.append(bytes(data))
            super().feed_data(data.upper())

        async def readuntil(self, separator=b"\n"):
            self.log.append("readuntil")
            return await super().readuntil(separator)

        async def read(self, n=-1):
            self.log.append(("read", n))
            return await super().read(n)

    @asynchronous
    async def test_a_reader(self):
        reader = self.reader(b"a\nb\nrest", eof=True, cls=self.Lines)
        self.assertEqual(await reader.readline(), b"A\n")
        self.assertEqual(await anext(reader), b"B\n")
        self.assertEqual(await reader.read(), b"REST")
        self.assertEqual(reader.log, [b"a\nb\nrest", "readuntil", "readuntil", ("read", -1),
                                      ("read", 65536), ("read", 65536)])

    @asynchronous
    async def test_its_limits(self):
        for line, rest in (b"123456789\nx", b"x"), (b"123456789", b""):
            reader = self.reader(line, eof=True, cls=self.Lines, limit=4)
            with self.assertRaises(ValueError):
                await reader.readline()
            self.assertEqual(await reader.read(9), rest.upper())

    @asynchronous
    async def test_a_reader_behind_a_protocol(self):
        reader = self.reader(cls=self.Lines)
        protocol = streams.StreamReaderProtocol(reader, loop=self.loop)
        protocol.data_received(b"abc")
        self.assertEqual(reader.log, [b"abc"])

    @asynchronous
    async def test_methods_of_one_object(self):
        _, protocol, reader, writer = self.stream()
        reader.feed_data = mock.Mock()
        reader.exception = mock.Mock(return_value=ZeroDivisionError())
        protocol.data_received(b"x")
        reader.feed_data.assert_called_once_with(b"x")
        with self.assertRaises(ZeroDivisionError):
            await writer.drain()
        reader.exception = mock.Mock(return_value=None)
        protocol._drain_helper = mock.AsyncMock()
        await writer.drain()
        protocol._drain_helper.assert_awaited_once()

    def test_not_initialised(self):
        reader = streams.StreamReader.__new__(streams.StreamReader)
        writer = streams.StreamWriter.__new__(streams.StreamWriter)
        protocol = streams.StreamReaderProtocol.__new__(streams.StreamReaderProtocol)
        self.assertIsNone(protocol._get_close_waiter(None))
        for c in (reader.read(1), reader.readline(), reader.readexactly(1), writer.drain(),
                  writer.wait_closed(), writer.start_tls(None)):
            with self.assertRaises((AttributeError, TypeError)):
                c.send(None)
        for call in (lambda: writer.write(b""), writer.close, writer.is_closing,
                     protocol.pause_writing, lambda: writer.get_extra_info("x")):
            self.assertRaises(AttributeError, call)
        repr(reader), repr(writer), repr(protocol)
        protocol.data_received(b"x"), protocol.connection_lost(None)


if __name__ == "__main__":
    support.main()
