"""SSLProtocol: how a connection begins and ends."""

import asyncio
import contextlib
import logging
import ssl

import support
from tls_wire import TLS_1_2, TLS_1_3, OtherWire, ProtocolCase, SSLProtocol, Wire


class Handshake(ProtocolCase):
    def waiter(self):
        return self.loop.create_future()

    def test_wakes_the_waiter(self):
        waiter = self.waiter()
        self.connected(waiter=waiter)
        self.assertIsNone(waiter.result())
        self.assertEqual(self.app.calls, ["made"])

    def test_cancelled_waiter(self):
        waiter = self.waiter()
        waiter.cancel()
        self.connected(waiter=waiter)
        self.assertTrue(waiter.cancelled())

    def test_without_connection_made(self):
        waiter = self.waiter()
        self.connected(waiter=waiter, call_connection_made=False)
        self.assertTrue(waiter.done())
        self.assertEqual(self.app.calls, [])
        self.transport.write(b"x")
        self.feed(self.records(b"y") + self.close_notify())
        self.turns()
        self.assertEqual(self.app.calls, ["data", "eof", "lost"])

    @support.stock_cannot("a client's last message of the handshake waits for the reader")
    def test_pausing_in_connection_made(self):
        class Paused(support.Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                transport.pause_reading()

        for side in True, False:
            with self.subTest(server_side=side):
                self.wire = Wire(self.loop)
                self.connected(Paused(self.loop), server_side=side)
                self.feed(self.records(b"x"))
                self.assertEqual(self.app.calls, ["made"])
                self.transport.resume_reading()
                self.turns()
                self.assertEqual(self.app.data, b"x")

    @support.stock_cannot("the last message of the handshake is sent when it resumes")
    def test_the_last_message_is_sent_to_a_peer_of_one_that_paused(self):
        self.version = TLS_1_2

        class Paused(support.Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                transport.pause_reading()

        self.connected(Paused(self.loop))

    def test_writing_in_connection_made(self):
        class Greets(support.Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                transport.write(b"hello")

        for side in True, False:
            with self.subTest(server_side=side):
                self.wire = Wire(self.loop)
                self.connected(Greets(self.loop), server_side=side)
                self.assertEqual(self.received(), b"hello")

    def test_writing_before_it(self):
        self.make(call_connection_made=False)
        self.wire.connect(self.tls)
        self.transport.write(b"early")
        self.transport.writelines([b" ", b"bird"])
        self.assertEqual(self.transport.get_write_buffer_size(), 10)
        self.shake_hands()
        self.assertEqual(self.received(), b"early bird")
        self.assertEqual(self.transport.get_write_buffer_size(), 0)

    def test_closing_in_connection_made(self):
        class Shy(support.Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                transport.close()

        self.connected(Shy(self.loop))
        self.feed(self.close_notify())
        self.turns()
        self.assertEqual(self.app.calls[-1], "lost")
        self.assertIsNone(self.app.error)

    def test_garbage(self):
        waiter = self.waiter()
        self.make(waiter=waiter)
        self.wire.connect(self.tls)
        self.feed(b"GET / HTTP/1.1\r\n\r\n")
        self.assertIsInstance(waiter.exception(), ssl.SSLError)
        self.turns()
        self.assertEqual(self.app.calls, [])
        self.assertEqual(self.wire.calls, ["abort"])
        self.assertTrue(self.transport.is_closing())

    @support.stock_cannot("it keeps the alert to itself")
    def test_the_peer_is_told_why(self):
        waiter = self.waiter()
        self.client_context = ssl.create_default_context()  # knows nobody
        self.make(server_side=False, waiter=waiter)
        self.feed(self.answered())
        self.assertIsInstance(waiter.exception(), ssl.SSLCertVerificationError)
        self.to_peer()
        with self.assertRaises(ssl.SSLError) as caught:
            self.peer.do_handshake()
        self.assertIn("ALERT_UNKNOWN_CA", caught.exception.reason)

    def refused(self, **options):
        waiter = self.waiter()
        self.loop.set_debug(True)
        self.make(server_side=False, waiter=waiter, **options)
        answer = self.answered()
        with self.assertLogs("asyncio", logging.DEBUG) as logs:
            self.feed(answer)
        self.turns()
        self.assertEqual(self.app.calls, [])
        return waiter.exception(), "\n".join(logs.output)

    def test_wrong_name(self):
        error, log = self.refused(server_hostname="elsewhere")
        self.assertIsInstance(error, ssl.CertificateError)
        self.assertIn("Hostname mismatch, certificate is not valid for 'elsewhere'", str(error))
        self.assertIn("SSL handshake failed on verifying the certificate", log)
        self.assertIn("Traceback" if support.STOCK else "SSLCertVerificationError", log)

    def test_eof(self):
        waiter = self.waiter()
        self.make(waiter=waiter)
        self.wire.connect(self.tls)
        self.end()
        self.assertIsInstance(waiter.exception(), ConnectionResetError)
        self.turns()
        self.assertEqual(self.app.calls, [])

    def test_loss(self):
        waiter = self.waiter()
        self.make(waiter=waiter)
        self.wire.connect(self.tls)
        self.wire.lose(BrokenPipeError("gone"))
        self.turns()
        self.assertIsInstance(waiter.exception(), BrokenPipeError)
        self.assertEqual(self.app.calls, [])

    @support.stock_cannot("start_tls() returns None then")
    def test_loss_without_an_error(self):
        waiter = self.waiter()
        self.make(waiter=waiter)
        self.wire.connect(self.tls)
        self.wire.close()
        self.turns()
        self.assertIsInstance(waiter.exception(), ConnectionAbortedError)

    @support.stock_cannot("it forgets a protocol that start_tls() was given")
    def test_loss_of_a_protocol_that_was_connected_before(self):
        for error in None, BrokenPipeError("gone"):
            with self.subTest(error=error):
                self.wire = Wire(self.loop)
                waiter = self.waiter()
                self.make(waiter=waiter, call_connection_made=False)
                self.wire.connect(self.tls)
                self.wire.lose(error)
                self.turns()
                self.assertIsNotNone(waiter.exception())
                self.assertEqual(self.app.calls, ["lost"])

    def test_timeout(self):
        waiter = self.waiter()
        self.make(waiter=waiter, ssl_handshake_timeout=0.01)
        self.wire.connect(self.tls)
        with self.assertRaises(ConnectionAbortedError) as caught:
            self.run_async(waiter)
        self.assertEqual(
            str(caught.exception),
            "SSL handshake is taking longer than 0.01 seconds: aborting the connection",
        )
        self.assertEqual(self.app.calls, [])

    def test_no_timeout_after_it(self):
        self.connected(ssl_handshake_timeout=0.01)
        self.run_async(asyncio.sleep(0.03))
        self.assertEqual(self.app.calls, ["made"])

    def test_close_in_it(self):
        self.make(call_connection_made=True)
        self.wire.connect(self.tls)
        self.transport.close()
        self.turns()
        self.assertEqual(self.wire.calls, ["abort"])
        self.assertEqual(self.app.calls, [])

    @support.stock_cannot("the connection stays")
    def test_close_before_it(self):
        self.make()
        self.transport.close()
        self.wire.connect(self.tls)
        self.turns()
        self.assertEqual(self.wire.calls, ["abort"])
        self.assertEqual(self.wire.sent, [])

    def test_timeouts_that_are_none(self):
        for name in "ssl_handshake_timeout", "ssl_shutdown_timeout":
            for value in 0, -1, -0.5:
                with self.assertRaisesRegex(
                    ValueError, f"{name} should be a positive number, got {value}"
                ):
                    self.make(**{name: value})

    def test_arguments(self):
        with self.assertRaises(TypeError):
            SSLProtocol()
        with self.assertRaises(TypeError):
            SSLProtocol(self.loop, self.recorder(), self.server_context, None, nonsense=1)
        with self.assertRaisesRegex(ValueError, "Server side SSL needs a valid SSLContext"):
            SSLProtocol(self.loop, self.recorder(), None, None, True)
        with self.assertRaises(AttributeError):
            SSLProtocol(self.loop, self.recorder(), "a context", None, True)

    def test_a_client_without_a_context(self):
        for hostname in "localhost", None:
            tls = SSLProtocol(
                self.loop, self.recorder(), None, None, server_hostname=hostname
            )
            context = tls._app_transport.get_extra_info("sslcontext")
            self.assertEqual(context.check_hostname, hostname is not None)
            self.assertEqual(context.verify_mode, ssl.CERT_REQUIRED)
            tls._app_transport.close()

    def test_debug_messages(self):
        self.loop.set_debug(True)
        with self.assertLogs("asyncio", logging.DEBUG) as logs:
            self.connected()
            self.end()
        text = "\n".join(logs.output)
        for message in "starts SSL handshake", "SSL handshake took", "received EOF":
            self.assertIn(message, text)
        self.turns()


class Ending(ProtocolCase):
    def test_bare_eof(self):
        self.connected()
        self.feed(self.records(b"data"))
        self.assertFalse(self.end())
        self.turns()
        self.assertEqual(self.app.calls, ["made", "data", "eof", "lost"])
        self.assertIsNone(self.app.error)

    def test_close_notify(self):
        self.connected()
        self.feed(self.records(b"data") + self.close_notify())
        self.assertTrue(self.transport.is_closing())
        self.turns()
        self.assertEqual(self.app.calls, ["made", "data", "eof", "lost"])
        self.assertIsNone(self.app.error)
        self.to_peer()
        self.peer.unwrap()  # it has been answered

    def test_what_comes_behind_close_notify_is_ignored(self):
        self.connected()
        self.feed(self.close_notify() + b"this is no record of TLS")
        self.turns()
        self.assertEqual(self.app.calls, ["made", "eof", "lost"])

    def test_eof_while_paused(self):
        self.connected()
        self.transport.pause_reading()
        self.feed(self.records(b"one"))
        self.feed(self.records(b"two"))
        self.assertTrue(self.end(), "the wire is to stay open")
        self.turns()
        self.assertEqual(self.app.calls, ["made"])
        self.transport.resume_reading()
        self.turns(5)
        self.assertEqual(self.app.calls, ["made", "data", "eof", "lost"])
        self.assertEqual(self.app.data, b"onetwo")
        self.assertIsNone(self.app.error)

    def test_close_notify_while_paused(self):
        self.connected()
        self.transport.pause_reading()
        self.feed(self.records(b"one") + self.close_notify())
        self.end()
        self.turns()
        self.assertEqual(self.app.calls, ["made"])
        self.transport.resume_reading()
        self.turns(5)
        self.assertEqual(self.app.calls, ["made", "data", "eof", "lost"])
        self.assertEqual(self.app.data, b"one")

    @support.stock_cannot("a pause in data_received does not hold the end back")
    def test_end_behind_data_that_pauses(self):
        class Sips(support.Recorder):
            def data_received(self, data):
                super().data_received(data)
                self.transport.pause_reading()

        self.connected(Sips(self.loop))
        self.feed(self.records(b"one") + self.close_notify())
        self.turns()
        self.assertEqual(self.app.calls, ["made", "data"])
        self.assertFalse(self.transport.is_closing())
        self.transport.write(b"answer")
        self.assertEqual(self.received(), b"answer")
        self.transport.resume_reading()
        self.turns()
        self.assertEqual(self.app.calls, ["made", "data", "eof", "lost"])

    @support.stock_cannot("what is written then is dropped")
    def test_writing_between_eof_and_resume(self):
        self.connected()
        self.transport.pause_reading()
        self.feed(self.records(b"request"))
        self.assertTrue(self.end())
        self.transport.write(b"answer")
        self.assertEqual(self.received(), b"answer")
        self.transport.resume_reading()
        self.turns(5)
        self.assertEqual(self.app.calls, ["made", "data", "eof", "lost"])

    @support.stock_cannot("it does not close before the reader resumes")
    def test_close_while_an_eof_waits(self):
        self.connected()
        self.transport.pause_reading()
        self.feed(self.records(b"request"))
        self.assertTrue(self.end())
        self.transport.close()
        self.turns(5)
        self.assertEqual(self.app.calls[-1], "lost")
        self.assertNotIn("data", self.app.calls)

    def test_close(self):
        self.connected()
        self.transport.write(b"last words")
        self.transport.close()
        self.assertTrue(self.transport.is_closing())
        self.turns()
        self.assertEqual(self.app.calls, ["made"])
        self.assertEqual(self.received(), b"last words")
        self.feed(self.close_notify())
        self.turns()
        self.assertEqual(self.app.calls[-1], "lost")
        self.assertIsNone(self.app.error)
        self.assertEqual(self.wire.calls, ["close"])

    def test_close_and_eof_without_an_answer(self):
        self.connected()
        self.transport.close()
        self.end()
        self.turns()
        self.assertEqual(self.app.calls[-1], "lost")
        self.assertIsNone(self.app.error)

    @support.stock_cannot("it fails with APPLICATION_DATA_AFTER_CLOSE_NOTIFY")
    def test_close_while_the_peer_goes_on(self):
        self.connected()
        self.transport.close()
        for _ in range(3):
            self.feed(self.records(b"late" * 1000))
        self.to_peer()
        self.feed(self.records(b"later") + self.close_notify())
        self.turns()
        self.assertEqual(self.app.calls, ["made", "eof", "lost"])
        self.assertIsNone(self.app.error)

    @support.stock_cannot("it waits for an answer that it does not read")
    def test_close_while_the_wire_is_paused(self):
        self.connected()
        self.transport.pause_reading()
        self.feed(self.records(b"x" * 300_000))
        self.assertTrue(self.wire.paused)
        self.transport.close()
        self.assertFalse(self.wire.paused)
        self.feed(self.close_notify())
        self.turns()
        self.assertEqual(self.app.calls[-1], "lost")
        self.assertIsNone(self.app.error)
        self.assertEqual(self.app.data, b"")

    def test_close_twice(self):
        self.connected()
        self.transport.close()
        self.transport.close()
        self.feed(self.close_notify())
        self.turns()
        self.assertEqual(self.app.calls.count("lost"), 1)

    @support.stock_cannot("all of these raise AttributeError")
    def test_everything_after_the_end(self):
        self.connected()
        self.transport.close()
        self.feed(self.close_notify())
        self.turns()
        self.transport.close()
        self.transport.close()
        self.transport.abort()
        self.transport.pause_reading()
        self.transport.resume_reading()
        self.transport.set_write_buffer_limits(high=0)
        self.transport.set_read_buffer_limits(high=0)
        self.transport.set_protocol(self.app)
        self.assertTrue(self.transport.is_closing())
        self.assertEqual(self.transport.get_write_buffer_size(), 0)
        self.assertEqual(self.transport.get_extra_info("cipher", "none"), "none")
        self.assertEqual(self.transport.get_extra_info("peername", "none"), "none")
        self.transport.write(b"nobody reads it")
        self.transport.writelines([b"nobody", b"reads it"])

    @support.stock_cannot("the second close() makes abort() forget its work")
    def test_abort_after_close(self):
        self.connected()
        self.transport.close()
        self.transport.close()
        self.transport.abort()
        self.turns()
        self.assertEqual(self.app.calls, ["made", "lost"])

    def test_abort(self):
        self.connected()
        self.transport.write(b"x" * 100)
        self.transport.abort()
        self.assertTrue(self.transport.is_closing())
        self.turns()
        self.assertEqual(self.app.calls, ["made", "lost"])
        self.assertEqual(self.wire.calls, ["abort"])

    @support.stock_cannot("it takes transports of asyncio's only")
    def test_transports_without_force_close(self):
        self.wire = OtherWire(self.loop)
        self.connected()
        self.feed(b"this is no record")
        self.turns()
        self.assertEqual(self.app.calls, ["made", "lost"])
        self.assertEqual(self.wire.calls, ["abort"])

    def test_loss(self):
        self.connected()
        error = ConnectionResetError("gone")
        self.wire.lose(error)
        self.turns()
        self.assertEqual(self.app.calls, ["made", "lost"])
        self.assertIs(self.app.error, error)
        self.assertTrue(self.transport.is_closing())
        self.assertIsNone(self.transport.get_protocol())

    def test_warns_of_those_who_go_on_writing(self):
        self.connected()
        self.transport.abort()
        self.turns()
        with self.assertLogs("asyncio", logging.WARNING) as logs:
            for _ in range(6):
                self.transport.write(b"data")
        self.assertIn("SSL connection is closed", logs.output[0])

    def test_eof_received_that_wants_more(self):
        class Wants(support.Recorder):
            def eof_received(self):
                super().eof_received()
                return True

        self.connected(Wants(self.loop))
        with self.assertLogs("asyncio", logging.WARNING) as logs:
            self.end()
        self.assertIn("has no effect when using ssl", logs.output[0])
        self.turns()
        self.assertEqual(self.app.calls, ["made", "eof", "lost"])

    def test_shutdown_timeout(self):
        self.connected(ssl_shutdown_timeout=0.01)
        self.transport.close()
        error = self.run_async(self.app.lost)
        self.assertIsInstance(error, TimeoutError)
        self.assertEqual(str(error), "SSL shutdown timed out")

    def test_no_shutdown_timeout_while_paused(self):
        self.connected(ssl_shutdown_timeout=0.01)
        self.transport.pause_reading()
        self.feed(self.records(b"data"))
        self.end()
        self.run_async(asyncio.sleep(0.03))
        self.assertEqual(self.app.calls, ["made"])
        self.transport.resume_reading()
        self.assertIsNone(self.run_async(self.app.lost))
        self.assertEqual(self.app.data, b"data")

    def test_garbage(self):
        self.connected()
        self.feed(b"this is no record of TLS")
        self.turns()
        self.assertIsInstance(self.app.error, ssl.SSLError)
        self.assertEqual(self.app.calls, ["made", "lost"])


class Contexts(ProtocolCase):
    def test_extra_info(self):
        self.connected(server_side=False)
        ask = self.transport.get_extra_info
        self.assertIs(ask("sslcontext"), self.client_context)
        self.assertIsInstance(ask("ssl_object"), ssl.SSLObject)
        self.assertIs(ask("ssl_object"), self.tls._sslobj)
        self.assertEqual(ask("ssl_object").version(), "TLSv1.3")
        self.assertEqual(ask("cipher"), ask("ssl_object").cipher())
        self.assertIn(("DNS", "localhost"), ask("peercert")["subjectAltName"])
        self.assertIsNone(ask("compression", "a default"))
        self.assertEqual(ask("peername"), "the peer")
        self.assertIsNone(ask("nonsense"))
        self.assertEqual(ask("nonsense", default=1), 1)
        self.assertEqual(ask("nonsense", 1), 1)

    def test_extra_info_before_the_handshake(self):
        self.make()
        self.assertIs(self.transport.get_extra_info("sslcontext"), self.server_context)
        self.assertIsNone(self.transport.get_extra_info("cipher"))

    def test_versions(self):
        for version in TLS_1_2, TLS_1_3:
            self.version = version
            self.wire = Wire(self.loop)
            self.connected()
            chosen = self.transport.get_extra_info("ssl_object").version()
            self.assertEqual(chosen, version.name.replace("v1_", "v1."))

    def test_alpn(self):
        self.server_context.set_alpn_protocols(["h2", "http/1.1"])
        self.client_context.set_alpn_protocols(["http/1.1"])
        self.connected()
        chosen = self.transport.get_extra_info("ssl_object").selected_alpn_protocol()
        self.assertEqual(chosen, "http/1.1")

    def test_sni_callback(self):
        other = support.server_context()
        other.set_alpn_protocols(["other"])
        seen = []

        def choose(sslobject, name, context):
            seen.append((sslobject, name, context))
            sslobject.context = other

        self.client_context.set_alpn_protocols(["other"])
        self.server_context.sni_callback = choose
        self.connected()
        sslobject = self.transport.get_extra_info("ssl_object")
        self.assertEqual(seen, [(sslobject, "localhost", self.server_context)])
        self.assertEqual(sslobject.selected_alpn_protocol(), "other")

    def test_sni_callback_that_refuses(self):
        self.server_context.sni_callback = lambda *_: ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        waiter = self.loop.create_future()
        self.make(waiter=waiter)
        self.wire.connect(self.tls)
        with contextlib.suppress(ssl.SSLWantReadError):
            self.peer.do_handshake()
        self.feed(self.outgoing.read())
        self.assertIsInstance(waiter.exception(), ssl.SSLError)
        self.turns()

    def test_client_certificate(self):
        self.server_context.verify_mode = ssl.CERT_REQUIRED
        self.server_context.load_verify_locations(support.certificate()[0])
        self.client_context.load_cert_chain(*support.certificate())
        self.connected()
        subject = self.transport.get_extra_info("peercert")["subject"]
        self.assertEqual(subject, ((("commonName", "localhost"),),))

    @support.stock_cannot("it waits for the application's next word")
    def test_client_certificate_after_the_handshake(self):
        """The peer asks for it, and the answer is sent though the application says nothing."""
        self.client_context.post_handshake_auth = True
        self.client_context.load_cert_chain(*support.certificate())
        self.server_context.verify_mode = ssl.CERT_REQUIRED
        self.server_context.load_verify_locations(support.certificate()[0])
        self.server_context.verify_mode = ssl.CERT_OPTIONAL
        self.server_context.post_handshake_auth = True
        self.connected(server_side=False)
        self.assertFalse(self.peer.getpeercert())
        self.peer.verify_client_post_handshake()
        self.feed(self.records(b"who are you?"))
        self.assertEqual(self.app.data, b"who are you?")
        self.assertEqual(self.received(), b"")
        self.assertTrue(self.peer.getpeercert())

    def test_session_resumption(self):
        self.connected()
        self.transport.write(b"the tickets come before this")
        self.received()
        session = self.peer.session
        self.assertTrue(session.has_ticket)
        self.wire = Wire(self.loop)
        self.make()
        self.peer = self.client_context.wrap_bio(
            self.incoming, self.outgoing, False, "localhost", session
        )
        self.shake_hands()
        self.assertTrue(self.peer.session_reused)
        self.assertTrue(self.transport.get_extra_info("ssl_object").session_reused)

    def test_tls_in_tls(self):
        inner_app = self.recorder()
        inner = SSLProtocol(self.loop, inner_app, self.server_context, None, True)
        self.addCleanup(inner._app_transport.abort)
        self.connected(inner)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        peer = self.client_context.wrap_bio(incoming, outgoing, False, "localhost")

        for _ in range(3):
            with contextlib.suppress(ssl.SSLWantReadError):
                peer.do_handshake()
            if outgoing.pending:
                self.feed(self.records(outgoing.read()))
            incoming.write(self.received())
        self.assertEqual(inner_app.calls, ["made"])
        peer.write(b"x" * 100_000)
        self.feed(self.records(outgoing.read()), piece=1000)
        self.assertEqual(len(inner_app.data), 100_000)
        inner._app_transport.write(b"y" * 50_000)
        incoming.write(self.received())
        got = b""
        while len(got) < 50_000:
            got += peer.read(100_000)
        self.assertEqual(got, b"y" * 50_000)
        self.assertIsNot(
            inner._app_transport.get_extra_info("ssl_object"),
            self.transport.get_extra_info("ssl_object"),
        )
        self.feed(self.close_notify())
        self.turns(6)
        self.assertEqual(inner_app.calls[-2:], ["eof", "lost"])


if __name__ == "__main__":
    support.main()
