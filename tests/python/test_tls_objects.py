"""SSLProtocol: callbacks that raise or call back, and what is left of its objects."""

import asyncio
import contextlib
import gc
import sys
import warnings
import weakref

import support
from tls_wire import Filling, ProtocolCase, SSLProtocol, Wire


class Exceptions(ProtocolCase):
    """Raised in each callback that a protocol has."""

    @staticmethod
    def raising(name, error, base=support.Recorder):
        def method(self, *arguments):
            super(kind, self).__getattribute__("calls").append(name)
            raise error

        kind = type("Raising", (base,), {name: method})
        return kind

    def reported(self, message, text="on purpose"):
        (report,) = self.take_errors()
        self.assertEqual(report["message"], message)
        self.assertEqual(str(report["exception"]), text)
        self.assertIs(report["protocol"], self.tls)
        return report

    def test_connection_made(self):
        waiter = self.loop.create_future()
        self.make(self.raising("connection_made", ValueError("on purpose"))(self.loop), waiter=waiter)
        with self.assertRaisesRegex(ValueError, "on purpose") as caught:
            self.shake_hands()
        self.assertFalse(waiter.done())
        self.wire._force_close(caught.exception)  # as transports do
        self.turns()
        self.assertIs(waiter.exception(), caught.exception)
        self.assertEqual(self.app.calls, ["connection_made", "lost"])

    @support.stock_cannot("it goes on reading")
    def test_data_received(self):
        self.connected(self.raising("data_received", ValueError("on purpose"))(self.loop))
        self.feed(self.records(b"x"))
        report = self.reported("Fatal error on SSL protocol")
        self.assertIs(report["transport"], self.wire)
        self.feed(self.records(b"x"))
        self.turns()
        self.assertEqual(self.app.calls, ["made", "data_received", "lost"])
        self.assertEqual(str(self.app.error), "on purpose")

    def test_oserror_in_data_received(self):
        self.connected(self.raising("data_received", OSError("on purpose"))(self.loop))
        self.feed(self.records(b"x"))
        self.turns()
        self.assertEqual(self.app.calls, ["made", "data_received", "lost"])

    def test_cancelled_error_goes_up(self):
        self.connected(self.raising("data_received", asyncio.CancelledError())(self.loop))
        with self.assertRaises(asyncio.CancelledError):
            self.feed(self.records(b"x"))

    @support.stock_cannot("it asks for a buffer when there is nothing")
    def test_buffered(self):
        for name in "get_buffer", "buffer_updated":
            with self.subTest(name):
                self.wire = Wire(self.loop)
                kind = self.raising(name, ValueError("on purpose"), Filling)
                self.connected(kind(10))
                self.feed(self.records(b"x"))
                self.reported("Fatal error on SSL protocol")
                self.turns()
                self.assertEqual(self.app.calls, ["made", name, "lost"])

    def test_eof_received(self):
        for how in self.end, lambda: self.feed(self.close_notify()):
            self.wire = Wire(self.loop)
            self.connected(self.raising("eof_received", ValueError("on purpose"))(self.loop))
            how()
            self.reported("Error calling eof_received()")
            self.turns()
            self.assertEqual(self.app.calls, ["made", "eof_received", "lost"])
            self.assertEqual(str(self.app.error), "on purpose")

    def test_connection_lost(self):
        self.connected(self.raising("connection_lost", ValueError("on purpose"))(self.loop))
        self.transport.abort()
        self.turns()
        (report,) = self.take_errors()
        self.assertEqual(str(report["exception"]), "on purpose")
        self.assertEqual(self.app.calls, ["made", "connection_lost"])

    def test_flow_control(self):
        for name in "pause_writing", "resume_writing":
            with self.subTest(name):
                self.wire = Wire(self.loop)
                self.connected(self.raising(name, ValueError("on purpose"))(self.loop))
                self.transport.set_write_buffer_limits(high=10)
                self.tls.pause_writing()
                self.transport.write(b"x" * 100)
                self.tls.resume_writing()
                report = self.reported(f"protocol.{name}() failed")
                self.assertIs(report["transport"], self.transport)
                self.assertEqual(self.received(), b"x" * 100)

    def test_those_that_end_the_program(self):
        for error in KeyboardInterrupt, SystemExit:
            with self.subTest(error.__name__):
                for name in "connection_made", "data_received", "eof_received":
                    self.wire = Wire(self.loop)
                    self.make(self.raising(name, error())(self.loop))
                    with self.assertRaises(error):
                        self.shake_hands()
                        self.feed(self.records(b"x"))
                        self.end()
                    self.transport.abort()
                for name in "get_buffer", "buffer_updated":
                    self.wire = Wire(self.loop)
                    with self.assertRaises(error):
                        self.connected(self.raising(name, error(), Filling)(10))
                        self.feed(self.records(b"x"))
                    self.transport.abort()
                for name in "pause_writing", "resume_writing":
                    self.wire = Wire(self.loop)
                    self.connected(self.raising(name, error())(self.loop))
                    self.transport.set_write_buffer_limits(high=10)
                    self.tls.pause_writing()
                    with self.assertRaises(error):
                        self.transport.write(b"x" * 100)
                        self.tls.resume_writing()
                    self.transport.abort()
        self.turns()

    def test_wire_that_cannot_write(self):
        self.connected()
        self.wire.write = None
        self.transport.write(b"x")
        self.take_errors()
        self.turns()
        self.assertEqual(self.app.calls, ["made", "lost"])
        self.assertIsInstance(self.app.error, TypeError)

    @support.stock_cannot("it is half lost then")
    def test_loop_that_is_closed(self):
        self.connected()
        self.loop.close()
        with self.assertRaises(RuntimeError):
            self.tls.connection_lost(None)
        self.assertTrue(self.transport.is_closing())


class Direct(asyncio.Transport):
    """A transport that hands over to its peer at once, within write()."""

    def __init__(self, loop):
        super().__init__()
        self.loop = loop
        self.peer = self.protocol = None
        self.closing = False

    def write(self, data):
        if self.peer.closing:
            return
        tls = self.peer.protocol
        buffer = tls.get_buffer(-1)
        buffer[: len(data)] = data
        tls.buffer_updated(len(data))

    def close(self):
        if not self.closing:
            self.closing = True
            self.protocol.connection_lost(None)

    def abort(self):
        self.close()

    def _force_close(self, error):
        self.close()


class Reentrance(ProtocolCase):
    def connect(self, first, second):
        """Two of ours, each within the other's calls."""
        ends = Direct(self.loop), Direct(self.loop)
        ends[0].peer, ends[1].peer = ends[1], ends[0]
        ends[0].protocol = SSLProtocol(self.loop, first, self.server_context, None, True)
        ends[1].protocol = SSLProtocol(
            self.loop, second, self.client_context, None, server_hostname="localhost"
        )
        for end in ends:
            end.protocol.connection_made(end)
        return ends

    def test_ping_pong(self):
        class Counts(support.Recorder):
            def data_received(self, data):
                super().data_received(data)
                if len(self.data) < 30:
                    self.transport.write(data)

        first, second = Counts(self.loop), Counts(self.loop)
        self.connect(first, second)
        self.assertEqual((first.calls, second.calls), (["made"], ["made"]))
        first.transport.write(b"x")
        self.assertEqual(len(first.data) + len(second.data), 59)
        second.transport.close()
        self.turns()
        self.assertEqual(first.calls[-2:], ["eof", "lost"])
        self.assertEqual(second.calls[-1], "lost")

    def test_the_wire_goes_within_a_call(self):
        for when in "connection_made", "data_received", "eof_received":
            with self.subTest(when):

                class Leaves(support.Recorder):
                    pass

                def leave(self, *arguments):
                    getattr(super(Leaves, self), when)(*arguments)
                    self.transport.abort()
                    self.transport.close()
                    self.transport.close()

                setattr(Leaves, when, leave)
                first, second = Leaves(self.loop), self.recorder()
                ends = self.connect(first, second)
                if when != "connection_made":
                    second.transport.write(b"hello")
                    second.transport.close()
                self.turns(6)
                self.assertEqual(first.calls.count("lost"), 1)
                ends[1].close()
                self.turns()


class Objects(ProtocolCase):
    def test_classes(self):
        self.make()
        self.assertIsInstance(self.tls, asyncio.BufferedProtocol)
        self.assertIsInstance(self.transport, asyncio.Transport)
        self.assertIsInstance(self.transport, asyncio.transports._FlowControlMixin)
        self.assertIs(self.transport._ssl_protocol, self.tls)
        self.assertIs(self.transport._loop, self.loop)
        self.assertIs(self.transport.get_protocol(), self.app)
        self.assertTrue(self.transport._start_tls_compatible)
        self.assertEqual(self.transport._sendfile_compatible.name, "FALLBACK")
        self.assertFalse(self.transport._protocol_paused)
        self.assertIn("SSLProtocol", repr(self.tls))
        self.transport.note = "kept"
        self.assertEqual(self.transport.note, "kept")
        self.assertIs(weakref.ref(self.transport)(), self.transport)
        self.transport.close()

    def test_no_second_transport(self):
        self.connected()
        self.transport.abort()
        self.turns()
        with self.assertRaisesRegex(RuntimeError, "Creating _SSLProtocolTransport twice"):
            self.tls._get_app_transport()

    @support.stock_cannot("it can be made of nothing")
    def test_no_transport_by_itself(self):
        with self.assertRaises(TypeError):
            type(self.make() and self.transport)()

    def test_unclosed_transport(self):
        tls = SSLProtocol(self.loop, self.recorder(), self.server_context, None, True)
        with self.assertWarnsRegex(
            ResourceWarning, "unclosed transport <asyncio._SSLProtocolTransport object>"
        ):
            del tls
            gc.collect()

    def test_unclosed_transport_when_warnings_are_errors(self):
        tls = SSLProtocol(self.loop, self.recorder(), self.server_context, None, True)
        seen = []
        before, sys.unraisablehook = sys.unraisablehook, seen.append
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                del tls
                gc.collect()
        finally:
            sys.unraisablehook = before
        self.assertEqual([item.exc_type for item in seen], [ResourceWarning])

    @support.stock_cannot("each connection has its own")
    def test_connections_share_their_memory(self):
        first, second = (
            SSLProtocol(self.loop, self.recorder(), self.server_context, None, True)
            for _ in range(2)
        )
        self.assertIs(first.get_buffer(-1).obj, second.get_buffer(-1).obj)
        self.assertEqual(len(first.get_buffer(1)), 256 * 1024)
        for count in -1, 256 * 1024 + 1:
            with self.assertRaises(ValueError):
                first.buffer_updated(count)
        for tls in first, second:
            tls._app_transport.close()

    @support.stock_cannot("its protocol can be left half made")
    def test_loop_without_attributes(self):
        class Loop:
            __slots__ = ("loop",)

            def __getattr__(self, name):
                if name.startswith("_"):
                    raise AttributeError(name)
                return getattr(self.loop, name)

        loop, self.loop = self.loop, Loop()
        self.loop.loop = loop
        try:
            self.app = support.Recorder(loop)
            self.connected(self.app)
            self.feed(self.records(b"x"))
        finally:
            self.loop = loop
        self.assertEqual(self.app.data, b"x")

    def one_life(self):
        wire, app = Wire(self.loop), self.recorder()
        self.wire = wire
        self.connected(app)
        self.feed(self.records(b"x" * 1000))
        self.transport.write(b"y" * 1000)
        self.received()
        self.transport.pause_reading()
        self.feed(self.records(b"x" * 10))
        self.transport.resume_reading()
        self.turns(2)
        self.transport.close()
        self.feed(self.close_notify())
        self.turns(3)
        self.assertEqual(app.calls[-1], "lost")
        self.clean_up_this_life()

    def clean_up_this_life(self):
        while len(self._cleanups) > self.kept:
            function, arguments, options = self._cleanups.pop()
            function(*arguments, **options)
        self.tls = self.transport = self.peer = self.app = self.wire = None
        self.incoming = self.outgoing = None

    def test_nothing_is_left_over(self):
        self.kept = len(self._cleanups)
        self.assertLess(support.growth(self.one_life), 0.5)

    def test_nothing_is_left_over_of_failures(self):
        self.kept = len(self._cleanups)

        def life():
            self.wire = Wire(self.loop)
            self.connected(Exceptions.raising("data_received", OSError())(self.loop))
            self.feed(self.records(b"x"))
            self.turns()
            self.wire = Wire(self.loop)
            waiter = self.loop.create_future()
            self.make(waiter=waiter)
            self.wire.connect(self.tls)
            self.feed(b"garbage, and no TLS at all")
            waiter.exception()
            self.turns()
            with contextlib.suppress(ValueError):
                self.make(ssl_handshake_timeout=-1)
            self.clean_up_this_life()

        self.assertLess(support.growth(life), 0.5)

    def test_cycles_are_collected(self):
        self.connected()
        tls, transport, app = weakref.ref(self.tls), weakref.ref(self.transport), weakref.ref(self.app)
        self.transport.close()  # no answer comes
        self.transport.itself = self.transport
        self.app.tls = self.tls
        self._cleanups.pop()
        self.tls = self.transport = self.app = self.wire = None
        self.loop.close()  # with the shutdown's timer in it
        gc.collect()
        self.assertEqual((tls(), transport(), app()), (None, None, None))


if __name__ == "__main__":
    support.main()
