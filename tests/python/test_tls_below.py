"""TLS knows what the transport below knows: that the peer has reset, that somebody has closed it."""

import asyncio
import logging
import socket
import struct

import support
from support import asynchronous
from tls_wire import ProtocolCase


class Below(ProtocolCase):

    @support.stock_since(3, 12)
    def test_is_closing_when_the_one_below_is(self):
        self.connected()
        self.assertFalse(self.transport.is_closing())
        self.wire.closing = True
        self.assertTrue(self.transport.is_closing())
        self.wire.closing = False
        self.assertFalse(self.transport.is_closing())

    @support.stock_cannot("it asks whatever is there")
    def test_one_below_that_does_not_say(self):
        self.connected()
        for error in AttributeError, NotImplementedError:
            def fail():
                raise error

            self.wire.is_closing = fail
            self.assertFalse(self.transport.is_closing())
        self.wire.is_closing = lambda: 1 / 0
        with self.assertRaises(ZeroDivisionError):
            self.transport.is_closing()
        del self.wire.is_closing

    def test_before_and_after_there_is_one(self):
        self.make()
        self.assertFalse(self.transport.is_closing())
        self.connected()
        self.wire.lose(OSError())
        self.turns()
        self.assertTrue(self.transport.is_closing())


class Counter(logging.Handler):
    def __init__(self):
        super().__init__()
        self.count = 0

    def emit(self, record):
        self.count += 1


class Reset(support.TlsCase):
    """write() and drain() for ever must end when the peer is gone, and not fill a log."""

    def setUp(self):
        super().setUp()
        self.log = Counter()
        logger = logging.getLogger("asyncio")
        logger.addHandler(self.log)
        logger.propagate = False
        self.addCleanup(setattr, logger, "propagate", True)
        self.addCleanup(logger.removeHandler, self.log)

    async def served(self, leave):
        """Serving ends once the peer has left by leave(sock, writer), in the middle of a turn."""
        ended = self.loop.create_future()
        greeted = self.loop.create_future()

        async def serve(reader, writer):
            writer.write(b"hello")
            await greeted
            leave(sock, writer)
            try:
                for _ in range(2000):
                    writer.write(b"y" * 65536)
                    await writer.drain()
                ended.set_result("it never ends")
            except OSError as error:
                ended.set_result(error)
            finally:
                writer.transport.abort()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=support.server_context())
        sock = socket.socket()
        sock.setblocking(False)
        await self.loop.sock_connect(sock, server.sockets[0].getsockname())
        peer = support.TlsPeer(self.loop, sock, support.client_context(), hostname="localhost")
        await peer.handshake()
        await peer.receive()
        greeted.set_result(None)
        self.assertIsInstance(await ended, OSError)
        self.assertLess(self.log.count, 10)
        server.close()
        sock.close()

    @support.stock_since(3, 12)
    @asynchronous
    async def test_reset(self):
        def leave(sock, writer):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()

        await self.served(leave)

    @support.stock_since(3, 12)
    @asynchronous
    async def test_closed_with_data_unread(self):
        await self.served(lambda sock, writer: sock.close())

    @support.stock_since(3, 12)
    @asynchronous
    async def test_somebody_aborts_the_transport_below(self):
        await self.served(lambda sock, writer: writer.transport._ssl_protocol._transport.abort())


if not support.STOCK:
    import casyncio

    @support.needs_openssl
    class ResetOfStreamsInC(Reset):
        """The same with the streams that are written in C."""

        def setUp(self):
            super().setUp()
            start = asyncio.start_server
            asyncio.start_server = casyncio.start_server
            self.addCleanup(setattr, asyncio, "start_server", start)


if __name__ == "__main__":
    support.main()
