"""SSLProtocol: what it receives and what it sends."""

import array
import ssl
import sys

import support
from tls_wire import TLS_1_2, Filling, ProtocolCase, Reluctant, Wire


class Receiving(ProtocolCase):
    def test_records_of_a_packet_come_as_one(self):
        self.connected()
        self.feed(self.records(b"one ", b"two ", b"three"))
        self.assertEqual(self.app.data, b"one two three")
        self.assertEqual(self.app.calls, ["made", "data"])

    def test_data_with_the_end_of_the_handshake(self):
        self.make()
        self.feed(self.last_flight() + self.records(b"early ", b"bird"))
        self.assertEqual(self.app.calls, ["made", "data"])
        self.assertEqual(self.app.data, b"early bird")

    def test_end_with_the_end_of_the_handshake(self):
        self.make()
        self.feed(self.last_flight() + self.records(b"all") + self.close_notify())
        self.turns()
        self.assertEqual(self.app.calls, ["made", "data", "eof", "lost"])
        self.assertEqual(self.app.data, b"all")

    def fragments(self):
        self.make()
        self.shake_hands(piece=1)
        self.feed(self.records(b"x" * 300, b"y"), piece=1)
        self.assertEqual(self.app.data, b"x" * 300 + b"y")
        self.assertEqual(self.app.calls, ["made", "data", "data"])

    def test_one_byte_at_a_time(self):
        self.fragments()

    def test_one_byte_at_a_time_1_2(self):
        self.version = TLS_1_2
        self.fragments()

    def test_as_a_client(self):
        self.connected(server_side=False)
        self.feed(self.records(b"hello"))
        self.assertEqual(self.app.data, b"hello")
        self.transport.write(b"world")
        self.assertEqual(self.received(), b"world")

    def test_much(self):
        self.connected()
        data = bytes(range(256)) * 8000
        self.feed(self.records(data), piece=100_000)
        self.assertTrue(self.app.data == data)

    def test_pause_and_resume(self):
        self.connected()
        self.transport.pause_reading()
        self.assertFalse(self.transport.is_reading())
        self.feed(self.records(b"one"))
        self.turns()
        self.assertEqual(self.app.calls, ["made"])
        self.assertGreater(self.transport.get_read_buffer_size(), 0)
        self.transport.resume_reading()
        self.assertTrue(self.transport.is_reading())
        self.assertEqual(self.app.calls, ["made"], "resume_reading() calls nobody")
        self.turns()
        self.assertEqual(self.app.data, b"one")
        self.assertEqual(self.transport.get_read_buffer_size(), 0)

    def test_resume_and_pause_before_the_next_turn(self):
        self.connected()
        self.transport.pause_reading()
        self.feed(self.records(b"one"))
        self.transport.resume_reading()
        self.transport.pause_reading()
        self.turns()
        self.assertEqual(self.app.data, b"")
        self.transport.resume_reading()
        self.transport.resume_reading()
        self.turns()
        self.assertEqual(self.app.data, b"one")

    def test_the_wire_is_paused_while_much_waits(self):
        self.connected()
        self.transport.pause_reading()
        data = self.records(b"x" * 300_000)
        self.feed(data[:200_000])
        self.assertFalse(self.wire.paused)
        self.feed(data[200_000:])
        self.assertTrue(self.wire.paused)
        self.transport.resume_reading()
        self.turns()
        self.assertFalse(self.wire.paused)
        self.assertEqual(len(self.app.data), 300_000)
        self.assertEqual(self.wire.calls, ["pause", "resume"])

    def test_read_limits(self):
        self.connected()
        self.assertEqual(self.transport.get_read_buffer_limits(), (65536, 262144))
        self.transport.set_read_buffer_limits(high=100)
        self.assertEqual(self.transport.get_read_buffer_limits(), (25, 100))
        self.transport.set_read_buffer_limits(low=100)
        self.assertEqual(self.transport.get_read_buffer_limits(), (100, 400))
        with self.assertRaisesRegex(ValueError, "must be >= low"):
            self.transport.set_read_buffer_limits(high=1, low=2)
        self.transport.pause_reading()
        self.feed(self.records(b"x" * 1000))
        self.assertTrue(self.wire.paused)

    def test_pausing_in_data_received(self):
        class Sips(support.Recorder):
            def data_received(self, data):
                super().data_received(data)
                self.transport.pause_reading()

        self.connected(Sips(self.loop))
        self.feed(self.records(b"one"))
        self.feed(self.records(b"two"))
        self.assertEqual(self.app.data, b"one")
        self.transport.resume_reading()
        self.turns()
        self.assertEqual(self.app.data, b"onetwo")

    def test_new_protocol_in_data_received(self):
        other = self.recorder()

        class First(support.Recorder):
            def data_received(self, data):
                super().data_received(data)
                self.transport.set_protocol(other)

        self.connected(First(self.loop))
        self.feed(self.records(b"one"))
        self.feed(self.records(b"two"))
        self.assertEqual((self.app.data, other.data), (b"one", b"two"))
        self.assertIs(self.transport.get_protocol(), other)
        self.feed(self.close_notify())
        self.turns()
        self.assertEqual(other.calls, ["data", "eof", "lost"])

    def test_abort_in_data_received(self):
        class Aborts(support.Recorder):
            def data_received(self, data):
                super().data_received(data)
                self.transport.abort()

        self.connected(Aborts(self.loop))
        self.feed(self.records(b"one"))
        self.feed(self.records(b"two"))
        self.turns()
        self.assertEqual(self.app.data, b"one")
        self.assertEqual(self.app.calls, ["made", "data", "lost"])
        self.assertEqual(self.wire.calls, ["abort"])

    @support.stock_cannot("it forgets what was decrypted before the bad record")
    def test_data_before_a_bad_record(self):
        self.connected()
        bad = bytearray(self.records(b"good") + self.records(b"bad"))
        bad[-1] ^= 1
        self.feed(bytes(bad))
        self.turns()
        self.assertEqual(self.app.data, b"good")
        self.assertIsInstance(self.app.error, ssl.SSLError)
        self.to_peer()
        with self.assertRaises(ssl.SSLError) as caught:
            self.peer.read()
        self.assertIn("ALERT", caught.exception.reason)


class ReceivingIntoBuffers(ProtocolCase):
    @support.stock_cannot("it asks for a buffer when there is nothing")
    def test_of_several_sizes(self):
        data = bytes(range(256)) * 200
        for size in 1, 7, 16384, 100_000:
            with self.subTest(size=size):
                self.wire = Wire(self.loop)
                self.connected(Filling(size))
                self.feed(self.records(data))
                self.assertTrue(self.app.data == data)
                self.assertTrue(all(self.app.hints))

    @support.stock_cannot("what is left goes when the connection does")
    def test_end_behind_more_than_the_buffer_holds(self):
        self.connected(Filling(10))
        self.feed(self.records(b"0123456789" * 10))
        self.feed(self.records(b"abc") + self.close_notify())
        self.turns()
        self.assertEqual(self.app.data, b"0123456789" * 10 + b"abc")
        self.assertEqual(self.app.calls, ["made", "eof", "lost"])

    @support.stock_cannot("what is left goes when the connection does")
    def test_eof_while_paused(self):
        self.connected(Filling(10, pause_after=3))
        self.feed(self.records(b"0123456789" * 10))
        self.assertEqual(len(self.app.data), 30)
        self.assertTrue(self.end())
        self.turns()
        self.assertEqual(self.app.calls, ["made"])
        self.app.left = 2
        self.transport.resume_reading()
        self.turns()
        self.assertEqual(len(self.app.data), 50)
        self.assertEqual(self.app.calls, ["made"])
        self.transport.resume_reading()
        self.turns()
        self.assertEqual(self.app.data, b"0123456789" * 10)
        self.assertEqual(self.app.calls, ["made", "eof", "lost"])

    def fatal(self, app, text):
        self.connected(app)
        self.feed(self.records(b"data"))
        self.turns()
        (report,) = self.take_errors()
        self.assertEqual(report["message"], "Fatal error on SSL protocol")
        self.assertRegex(str(report["exception"]), text)
        self.assertEqual(self.app.calls, ["made", "lost"])

    @support.stock_cannot("it takes an empty buffer for the end")
    def test_empty_buffer(self):
        self.fatal(Filling(0), r"get_buffer\(\) returned an empty buffer")

    @support.stock_cannot("it asks for a buffer when there is nothing")
    def test_no_buffer(self):
        app = Filling(10)
        app.buffer = None
        self.fatal(app, ".")

    @support.stock_cannot("it asks for a buffer when there is nothing")
    def test_buffer_that_cannot_be_written_to(self):
        app = Filling(10)
        app.buffer = bytes(10)
        self.fatal(app, ".")

    def test_change_to_a_buffered_protocol_and_back(self):
        first = self.connected()
        self.feed(self.records(b"one"))
        second = Filling(10)
        self.transport.set_protocol(second)
        self.feed(self.records(b"two"))
        self.transport.set_protocol(first)
        self.feed(self.records(b"three"))
        self.assertEqual((first.data, second.data), (b"onethree", b"two"))


class Sending(ProtocolCase):
    def test_kinds_of_data(self):
        self.connected()
        for data in (
            b"bytes",
            bytearray(b"bytearray"),
            memoryview(b"memoryview"),
            memoryview(b"xmemoryviewx")[1:-1],
        ):
            self.transport.write(data)
            self.assertEqual(self.received(), bytes(data))
        self.transport.write(b"")
        self.transport.write(bytearray())
        self.assertEqual(self.wire.sent, [])
        for data in "text", 1, None, [1], array.array("b", b"x"):
            with self.assertRaisesRegex(TypeError, "expecting a bytes-like"):
                self.transport.write(data)

    @support.stock_cannot("it takes what len() says for the number of bytes")
    def test_memoryviews_of_other_shapes(self):
        self.connected()
        for data in (
            memoryview(b"abcdefgh")[::2],
            memoryview(b"abcdefgh")[::-1],
            memoryview(array.array("i", range(10))),
            memoryview(bytes(range(24))).cast("B", [2, 3, 4]),
        ):
            self.transport.write(data)
            self.assertEqual(self.received(), data.tobytes())

    def test_writelines(self):
        self.connected()
        self.transport.writelines([b"one ", bytearray(b"two "), memoryview(b"three")])
        self.assertEqual(len(self.wire.sent), 1)
        self.assertEqual(self.received(), b"one two three")
        self.transport.writelines(bytes([65 + i]) for i in range(3))
        self.assertEqual(self.received(), b"ABC")
        self.transport.writelines([])
        self.transport.writelines([b""])
        self.assertEqual(self.wire.sent, [])
        with self.assertRaises(TypeError):
            self.transport.writelines([b"one", 2])
        self.assertFalse(self.transport.is_closing())

    def test_no_write_eof(self):
        self.connected()
        self.assertFalse(self.transport.can_write_eof())
        with self.assertRaises(NotImplementedError):
            self.transport.write_eof()

    def test_much(self):
        self.connected()
        data = bytes(range(256)) * 40_000
        self.transport.write(data)
        self.assertTrue(self.received() == data)

    @support.stock_cannot("it sends each piece by itself")
    def test_what_a_callback_writes_is_sent_at_once(self):
        class Answers(support.Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                transport.write(b"hello ")
                transport.write(b"world")

            def data_received(self, data):
                super().data_received(data)
                for piece in (b"head ", b"body ", b"tail"):
                    self.transport.write(piece)

        self.make(Answers(self.loop))
        self.shake_hands()
        self.assertEqual(self.received(), b"hello world")
        self.feed(self.records(b"request"))
        self.assertEqual(len(self.wire.sent), 1)
        self.assertEqual(self.received(), b"head body tail")

    def test_much_from_a_callback(self):
        class Answers(support.Recorder):
            def data_received(self, data):
                for _ in range(10):
                    self.transport.write(b"x" * 100_000)

        self.connected(Answers(self.loop))
        self.feed(self.records(b"request"))
        self.assertEqual(len(self.received()), 1_000_000)
        self.assertEqual(self.app.calls, ["made"])

    def test_what_a_callback_that_fails_has_written(self):
        class Answers(support.Recorder):
            def data_received(self, data):
                self.transport.write(b"sorry")
                raise ValueError("cannot answer")

        self.connected(Answers(self.loop))
        self.feed(self.records(b"request"))
        self.assertEqual(self.received(), b"sorry")
        self.turns()
        self.assertEqual(str(self.take_errors()[0]["exception"]), "cannot answer")

    def test_the_wire_pauses(self):
        self.connected()
        self.tls.pause_writing()
        self.transport.write(b"x" * 500_000)
        self.assertEqual(self.wire.sent, [])
        self.assertEqual(self.app.calls, ["made"])
        self.assertGreaterEqual(self.transport.get_write_buffer_size(), 500_000)
        self.transport.write(b"x" * 100_000)
        self.assertEqual(self.app.calls, ["made", "pause"])
        self.transport.write(b"x")
        self.tls.resume_writing()
        self.assertEqual(self.app.calls, ["made", "pause", "resume"])
        self.assertEqual(len(self.received()), 600_001)
        self.assertEqual(self.transport.get_write_buffer_size(), 0)

    def test_close_while_the_wire_pauses(self):
        self.connected()
        self.tls.pause_writing()
        self.transport.write(b"x" * 100_000)
        self.transport.close()
        self.turns()
        self.assertEqual(self.app.calls, ["made"])
        self.tls.resume_writing()
        self.assertEqual(len(self.received()), 100_000)
        self.feed(self.close_notify())
        self.turns()
        self.assertEqual(self.app.calls[-1], "lost")

    @support.stock_cannot("it closes the wire before it has said all")
    def test_eof_while_the_wire_pauses(self):
        self.connected()
        self.tls.pause_writing()
        self.transport.write(b"x" * 100_000)
        self.end()
        self.assertEqual(len(self.received()), 100_000)
        self.turns()
        self.assertEqual(self.app.calls, ["made", "eof", "lost"])

    def test_write_limits(self):
        self.connected()
        self.assertEqual(self.transport.get_write_buffer_limits(), (131072, 524288))
        self.transport.set_write_buffer_limits(high=1000)
        self.assertEqual(self.transport.get_write_buffer_limits(), (250, 1000))
        self.transport.set_write_buffer_limits(low=1000)
        self.assertEqual(self.transport.get_write_buffer_limits(), (1000, 4000))
        self.transport.set_write_buffer_limits(2000, 500)
        self.assertEqual(self.transport.get_write_buffer_limits(), (500, 2000))
        self.transport.set_write_buffer_limits(high=sys.maxsize * 4)
        for limits in (1, 2), (-1, None), (None, -1):
            with self.assertRaisesRegex(ValueError, "must be >= low"):
                self.transport.set_write_buffer_limits(*limits)
        self.transport.set_write_buffer_limits()
        self.assertEqual(self.transport.get_write_buffer_limits(), (131072, 524288))

    @support.stock_cannot("it pauses at once, and does not resume")
    def test_a_limit_of_nothing(self):
        self.connected()
        self.transport.set_write_buffer_limits(high=0)
        self.assertEqual(self.app.calls, ["made"])
        self.transport.write(b"x")
        self.assertEqual(self.app.calls, ["made"])
        self.tls.pause_writing()
        self.transport.write(b"x")
        self.assertEqual(self.app.calls, ["made", "pause"])
        self.tls.resume_writing()
        self.assertEqual(self.app.calls, ["made", "pause", "resume"])

    @support.stock_cannot("the order is lost")
    def test_writing_in_pause_writing(self):
        class Stubborn(support.Recorder):
            def pause_writing(self):
                super().pause_writing()
                self.transport.write(b"!")

        self.connected(Stubborn(self.loop))
        self.tls.pause_writing()
        self.transport.write(b"x" * 2_000_000)
        self.assertEqual(self.app.calls, ["made", "pause"])
        self.tls.resume_writing()
        self.assertEqual(self.received(), b"x" * 2_000_000 + b"!")

    @support.stock_cannot("it goes on without an end")
    def test_abort_in_pause_writing(self):
        class Impatient(support.Recorder):
            def pause_writing(self):
                super().pause_writing()
                self.transport.abort()

        self.connected(Impatient(self.loop))
        self.tls.pause_writing()
        self.transport.write(b"x" * 2_000_000)
        self.turns()
        self.assertEqual(self.app.calls, ["made", "pause", "lost"])


class Waiting(ProtocolCase):
    """An SSL object that does not write yet, as in a renegotiation."""

    def setUp(self):
        super().setUp()
        self.server_context.sslobject_class = Reluctant
        self.connected()
        self.object = self.transport.get_extra_info("ssl_object")
        self.assertIsInstance(self.object, Reluctant)

    def test_the_objects_own_methods_are_called(self):
        self.feed(self.records(b"x" * 50_000))
        self.assertEqual(len(self.app.data), 50_000)
        self.transport.write(b"y" * 50_000)
        self.assertEqual(len(self.received()), 50_000)

    def test_what_waits_is_sent_later(self):
        self.object.refusals = 2
        self.transport.write(bytearray(b"one "))
        self.transport.write(b"two ")
        self.assertEqual(self.transport.get_write_buffer_size(), 8)
        self.assertEqual(self.wire.sent, [])
        self.feed(self.records(b"x"))
        self.transport.write(b"three")
        self.assertEqual(self.received(), b"one two three")
        self.assertEqual(self.transport.get_write_buffer_size(), 0)

    def test_pauses_the_application(self):
        self.object.refusals = 1
        self.transport.write(b"x" * 300_000)
        self.transport.write(b"y" * 300_000)
        self.feed(self.records(b"x"))
        self.assertEqual(self.app.calls.count("resume"), self.app.calls.count("pause"))
        self.assertEqual(self.received(), b"x" * 300_000 + b"y" * 300_000)

    @support.stock_cannot("what waits is lost")
    def test_close_waits_for_it(self):
        self.object.refusals = 3
        self.transport.write(b"last words")
        self.transport.close()
        self.transport.write(b"too late")
        self.assertEqual(self.received(), b"")
        self.feed(self.records(b"x"))
        self.assertEqual(self.received(), b"last words")
        self.feed(self.close_notify())
        self.turns()
        self.assertEqual(self.app.calls[-1], "lost")
        self.assertIsNone(self.app.error)

    @support.stock_cannot("it reports an error of its own")
    def test_end_while_it_waits(self):
        self.object.refusals = 100
        self.transport.write(b"last words")
        self.feed(self.close_notify())
        self.turns()
        self.assertEqual(self.app.calls, ["made", "eof", "lost"])


if __name__ == "__main__":
    support.main()
