"""What the tests of the streams' classes share (test_stream_reader, test_stream_classes)."""

import asyncio
import asyncio.streams
import warnings

import support

from casyncio import streams

# asyncio's own, whatever accelerate.install() does later.
STOCK = {name: vars(asyncio.streams)[name] for name in streams.__all__}


class Transport(asyncio.Transport):
    """Writes down what it is told."""

    def __init__(self, extra=None):
        super().__init__(extra)
        self.calls = []
        self.closing = False

    def __repr__(self):
        return "<transport>"

    def is_closing(self):
        return self.closing

    def close(self):
        self.calls.append("close")
        self.closing = True

    def abort(self):
        self.calls.append("abort")

    def pause_reading(self):
        self.calls.append("pause")

    def resume_reading(self):
        self.calls.append("resume")

    def write(self, data):
        self.calls.append(bytes(data))

    def writelines(self, lines):
        self.calls.append(list(lines))

    def write_eof(self):
        self.calls.append("eof")

    def can_write_eof(self):
        return True


class StreamCase(support.LoopCase):
    def stream(self, limit=2 ** 16, callback=None, protocol=None):
        """A (transport, protocol, reader, writer), connected."""
        reader = streams.StreamReader(limit=limit, loop=self.loop)
        protocol = (protocol or streams.StreamReaderProtocol)(reader, callback, loop=self.loop)
        transport = Transport()
        protocol.connection_made(transport)
        writer = streams.StreamWriter(transport, protocol, reader, self.loop)
        return transport, protocol, reader, writer

    def reader(self, data=b"", eof=False, cls=streams.StreamReader, **options):
        reader = cls(loop=self.loop, **options)
        if data:
            reader.feed_data(data)
        if eof:
            reader.feed_eof()
        return reader

    def run(self, result=None):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # writers that a test has dropped
            return super().run(result)


def describe(call):
    """What a call did, so that two can be compared."""
    try:
        return "returned", call()
    except Exception as error:
        return "raised", type(error).__name__, error.args
