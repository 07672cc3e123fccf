"""What the tests of SSLProtocol share: the class stands between a transport that is a list and a peer
that is an ssl.SSLObject, so each record comes when the test says so, cut as it says.

With CASYNCIO_TEST_LOOP=stock the class is asyncio's; what asyncio gets wrong is marked `stock_cannot`.
"""

import asyncio
import contextlib
import ssl

import support

if support.STOCK:
    from asyncio.sslproto import SSLProtocol
else:
    from casyncio._casyncio import SSLProtocol

TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


class Wire(asyncio.Transport):
    """The transport below: what is written lies in `sent`, and nothing is received by itself."""

    def __init__(self, loop):
        super().__init__({"peername": "the peer"})
        self.loop = loop
        self.sent = []
        self.paused = False
        self.closing = False
        self.calls = []
        self.protocol = None

    def connect(self, protocol):
        self.protocol = protocol
        protocol.connection_made(self)

    def write(self, data):
        self.sent.append(bytes(data))

    def pause_reading(self):
        self.calls.append("pause")
        self.paused = True

    def resume_reading(self):
        self.calls.append("resume")
        self.paused = False

    def is_closing(self):
        return self.closing

    def close(self):
        self.calls.append("close")
        self.lose(None)

    def abort(self):
        self._force_close(None)

    def _force_close(self, error):
        self.calls.append("abort")
        self.lose(error)

    def lose(self, error):
        if not self.closing:
            self.closing = True
            self.loop.call_soon(self.protocol.connection_lost, error)


class OtherWire(Wire):
    """A transport that is not one of asyncio's: abort() is all it has."""

    _force_close = None

    def abort(self):
        self.calls.append("abort")
        self.lose(None)

    def __getattribute__(self, name):
        if name == "_force_close":
            raise AttributeError(name)
        return super().__getattribute__(name)


class Reluctant(ssl.SSLObject):
    """An SSLObject of somebody's own class: it refuses so many writes."""

    refusals = 0

    def write(self, data):
        if self.refusals:
            self.refusals -= 1
            raise ssl.SSLWantReadError
        return super().write(data)


@support.needs_openssl
class ProtocolCase(support.LoopCase):
    version = TLS_1_3

    def setUp(self):
        super().setUp()
        self.server_context = support.server_context()
        self.client_context = support.client_context()
        self.wire = Wire(self.loop)
        self.tls = self.peer = self.app = None

    def recorder(self):
        return support.Recorder(self.loop)

    def make(self, app=None, server_side=True, waiter=None, **options):
        """Our side, not connected, and the peer."""
        self.app = app or self.recorder()
        for context in self.server_context, self.client_context:
            context.maximum_version = self.version
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        if server_side:
            ours, theirs = self.server_context, self.client_context
        else:
            ours, theirs = self.client_context, self.server_context
            options.setdefault("server_hostname", "localhost")
        self.peer = theirs.wrap_bio(
            self.incoming, self.outgoing, not server_side, "localhost" if server_side else None
        )
        self.tls = SSLProtocol(self.loop, self.app, ours, waiter, server_side, **options)
        self.transport = self.tls._app_transport
        self.addCleanup(self.transport.abort)
        return self.app

    def feed(self, data, piece=None):
        """Give our side what the wire has received, in pieces of that length."""
        piece = piece or len(data) or 1
        for start in range(0, len(data), piece):
            part = data[start : start + piece]
            while part:
                buffer = self.tls.get_buffer(-1)
                count = min(len(buffer), len(part))
                buffer[:count] = part[:count]
                self.tls.buffer_updated(count)
                part = part[count:]

    def to_peer(self):
        for data in self.wire.sent:
            self.incoming.write(data)
        self.wire.sent.clear()

    def shake_hands(self, piece=None):
        """Connect, and exchange until the peer is through and has nothing to say."""
        if not self.wire.protocol:
            self.wire.connect(self.tls)
        through = False
        for _ in range(10):
            if not through:
                self.to_peer()
                with contextlib.suppress(ssl.SSLWantReadError):
                    self.peer.do_handshake()
                    through = True
            self.feed(self.outgoing.read(), piece)
            if through and not self.wire.sent and not self.outgoing.pending:
                break
        self.to_peer()
        self.assertTrue(through)

    def last_flight(self):
        """Shake hands as a server up to the peer's last flight, which is not fed yet; what the peer
        sends with it may follow."""
        self.wire.connect(self.tls)
        with contextlib.suppress(ssl.SSLWantReadError):
            self.peer.do_handshake()
        self.feed(self.outgoing.read())
        self.to_peer()
        self.peer.do_handshake()
        return self.outgoing.read()

    def answered(self):
        """Begin as a client; what the server answers is not fed yet."""
        self.wire.connect(self.tls)
        self.to_peer()
        with contextlib.suppress(ssl.SSLWantReadError):
            self.peer.do_handshake()
        return self.outgoing.read()

    def connected(self, app=None, **options):
        app = self.make(app, **options)
        self.shake_hands()
        return app

    def records(self, *pieces):
        """The records with which the peer sends them."""
        for piece in pieces:
            self.peer.write(piece)
        return self.outgoing.read()

    def close_notify(self):
        with contextlib.suppress(ssl.SSLWantReadError):
            self.peer.unwrap()
        return self.outgoing.read()

    def received(self):
        """What the peer gets to read."""
        self.to_peer()
        got = b""
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            while data := self.peer.read(1 << 20):
                got += data
        return got

    def end(self):
        """The wire's EOF, and what a transport does upon it."""
        keep_open = self.tls.eof_received()
        if not keep_open:
            self.wire.close()
        return keep_open


class Filling(asyncio.BufferedProtocol):
    """A BufferedProtocol with a buffer of that size, which pauses after `pause_after` calls."""

    def __init__(self, size, pause_after=None):
        self.buffer = bytearray(size)
        self.data = bytearray()
        self.calls = []
        self.hints = []
        self.left = pause_after

    def connection_made(self, transport):
        self.transport = transport
        self.calls.append("made")

    def get_buffer(self, hint):
        self.hints.append(hint)
        return self.buffer

    def buffer_updated(self, count):
        self.data += self.buffer[:count]
        self.buffer.append(0)  # nobody holds it
        del self.buffer[-1]
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                self.transport.pause_reading()

    def eof_received(self):
        self.calls.append("eof")

    def connection_lost(self, error):
        self.calls.append("lost")
        self.error = error
