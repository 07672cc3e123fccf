"""Ctrl-C at any instant: run_forever ends with KeyboardInterrupt, once, and what the loop has borrowed of
the process (the wake-up descriptor, the hooks) is given back."""

# run: timeout=300

import asyncio
import gc
import os
import random
import signal
import socket
import sys
import tempfile
import unittest
import warnings

import support
from support import new_event_loop


class Interrupt:
    """Ctrl-C arrives at the n-th event of Python code: a call, a line or a return."""

    def __init__(self, at):
        self.left = at
        self.where = None

    def __call__(self, frame, event, argument):
        if "/asyncio/" not in frame.f_code.co_filename and "casyncio" not in frame.f_code.co_filename \
                and frame.f_code.co_filename != __file__ and "socket.py" not in frame.f_code.co_filename:
            return None
        if frame.f_code.co_name == "__del__":
            return None  # what a finalizer raises is lost in all of Python
        self.left -= 1
        if self.left == 0:
            self.where = f"{frame.f_code.co_filename}:{frame.f_lineno} {event}"
            sys.settrace(None)
            signal.raise_signal(signal.SIGINT)
        return self

    def __enter__(self):
        sys.settrace(self)

    def __exit__(self, *_):
        sys.settrace(None)


class Instants(unittest.TestCase):

    def setUp(self):
        handler = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.addCleanup(signal.signal, signal.SIGINT, handler)
        self.lost = []

    def after(self, loop, main, raised):
        """The loop is sane, and the process too."""
        self.assertIsNone(asyncio._get_running_loop())
        self.assertEqual(sys.get_asyncgen_hooks(), (None, None))
        self.assertEqual(sys.get_coroutine_origin_tracking_depth(), 0)
        self.assertFalse(loop.is_running())

        async def cancel():
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await asyncio.sleep(0.001)
            return "done"

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # As in asyncio, run_until_complete() may not have come to the end of what it does.
            main.remove_done_callback(asyncio.base_events._run_until_complete_cb)
            loop.call_soon(loop.stop)
            self.run_again(loop.run_forever, raised)
            cancelling = loop.create_task(cancel())
            self.run_again(lambda: loop.run_until_complete(cancelling), raised)
            self.assertEqual(cancelling.result(), "done")
            loop.close()
        self.assertEqual(signal.set_wakeup_fd(-1), -1)

    def run_again(self, run, raised):
        """A task that has ended with it hands the exception on to those that await it, as in asyncio."""
        while True:
            try:
                return run()
            except KeyboardInterrupt as error:
                self.assertIs(error, raised)

    def one(self, make, at, debug):
        """True if the instant was within the run."""
        loop = new_event_loop()
        loop.set_debug(debug)
        loop.slow_callback_duration = 100
        loop.set_exception_handler(lambda *_: None)
        interrupt = Interrupt(at)
        raised = None
        main = loop.create_task(make(loop))
        try:
            with interrupt:
                loop.run_until_complete(main)
        except KeyboardInterrupt as error:
            raised = error
        if interrupt.where and not raised:
            self.lost.append(interrupt.where)
        self.after(loop, main, raised)
        return interrupt.where is not None

    def every(self, make, step=1, debug=False):
        gc.disable()
        self.addCleanup(gc.enable)
        self.addCleanup(sys.settrace, sys.gettrace())
        at = 1
        while self.one(make, at, debug):
            at += step
            if at % 50 < step:
                gc.collect()
        self.assertEqual(self.lost, [])
        return at

    def test_a_run(self):
        async def main(loop):
            loop.call_soon(int)
            await asyncio.sleep(0)
            loop.call_later(0, int)
            await asyncio.sleep(0.0001)

        for debug in False, True:
            self.assertGreater(self.every(main, debug=debug), 10)

    def test_transports(self):
        async def main(loop):
            ours, theirs = socket.socketpair()
            protocol = support.Recorder(loop)
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, ours)
            theirs.send(b"x")
            await support.until(lambda: protocol.data)
            transport.write(b"y")
            transport.close()
            await protocol.lost
            theirs.close()

        for debug in False, True:
            self.assertGreater(self.every(main, debug=debug), 50)

    def test_streams(self):
        async def serve(reader, writer):
            writer.write(await reader.readline())
            await writer.drain()
            writer.close()

        async def main(loop):
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"hello\n")
            await reader.read()
            writer.close()
            await writer.wait_closed()
            server.close()

        self.assertGreater(self.every(main, step=3), 100)

    def test_datagrams(self):
        async def main(loop):
            protocol = support.DatagramRecorder(loop)
            transport, _ = await loop.create_datagram_endpoint(
                lambda: protocol, local_addr=("127.0.0.1", 0))
            transport.sendto(b"x", transport.get_extra_info("sockname"))
            await support.until(lambda: protocol.received)
            transport.close()
            await protocol.lost

        self.assertGreater(self.every(main, step=3), 50)

    @support.needs_openssl
    def test_tls(self):
        server, client = support.server_context(), support.client_context()

        async def main(loop):
            ours, theirs = socket.socketpair()
            a, b = support.Recorder(loop), support.Recorder(loop)
            accepted = loop.create_task(loop.connect_accepted_socket(lambda: a, ours, ssl=server))
            transport, _ = await loop.create_connection(
                lambda: b, sock=theirs, ssl=client, server_hostname="localhost")
            await accepted
            transport.write(b"x")
            await support.until(lambda: a.data)
            transport.close()
            await a.lost
            await b.lost

        self.assertGreater(self.every(main, step=5), 50)

    def test_random_instants(self):
        """By a timer, at a thousand instants of the first two milliseconds: also where C waits or works."""
        async def main(loop):
            for _ in range(100000):  # and not for ever: a signal that is lost is to be seen
                ours, theirs = socket.socketpair()
                protocol = support.Recorder(loop)
                transport, _ = await loop.connect_accepted_socket(lambda: protocol, ours)
                theirs.send(b"x")
                await asyncio.sleep(0)
                transport.close()
                theirs.close()

        # What is raised in a collection, by a finalizer of Python's, is lost in all of Python.
        gc.disable()
        self.addCleanup(gc.enable)
        before = signal.signal(signal.SIGALRM, signal.default_int_handler)
        self.addCleanup(signal.signal, signal.SIGALRM, before)
        random.seed(8)
        warnings.simplefilter("ignore", ResourceWarning)  # unittest restores them
        for i in range(1000):
            if i % 50 == 0:
                gc.collect()
            loop = new_event_loop()
            loop.set_exception_handler(lambda *_: None)
            task = loop.create_task(main(loop))
            with self.assertRaises(KeyboardInterrupt) as caught:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 2.1e-3))
                loop.run_until_complete(task)
            self.after(loop, task, caught.exception)


class Lost(support.LoopCase):
    """Where a signal was lost."""

    def interrupted(self):
        self.loop.call_later(10, self.loop.stop)
        with self.assertRaises(KeyboardInterrupt):
            self.loop.run_forever()

    def test_in_the_sockets_close(self):
        class Socket(socket.socket):
            def _real_close(self):
                super()._real_close()
                signal.raise_signal(signal.SIGINT)

        for end in "close", "abort":
            ours, theirs = socket.socketpair()
            ours = Socket(fileno=ours.detach())
            transport, protocol = self.run_async(
                self.loop.connect_accepted_socket(support.Recorder, ours))
            getattr(transport, end)()
            self.interrupted()
            self.assertEqual(protocol.calls, ["made", "lost"])
            self.assertTrue(transport.is_closing())
            theirs.close()

    def test_in_a_datagram_sockets_close(self):
        class Socket(socket.socket):
            def _real_close(self):
                super()._real_close()
                raise SystemExit

        sock = Socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        transport, _ = self.run_async(
            self.loop.create_datagram_endpoint(support.DatagramRecorder, sock=sock))
        transport.close()
        with self.assertRaises(SystemExit):
            self.loop.run_forever()

    def test_in_the_servers_end(self):
        async def serve():
            server = await self.loop.create_server(support.Recorder, "127.0.0.1", 0)
            server._wakeup = server._wake_if_over = server._detach = \
                lambda *_: signal.raise_signal(signal.SIGINT)
            with socket.create_connection(server.sockets[0].getsockname()):
                await asyncio.sleep(0.01)
            server.close = type(server).close
            await asyncio.sleep(5)

        with self.assertRaises(KeyboardInterrupt):
            self.loop.run_until_complete(serve())
        for task in asyncio.all_tasks(self.loop):
            task.cancel()

    def test_a_stop_of_before_is_forgotten(self):
        """Ctrl-C between stop() and run_forever(): the run after it is a whole one."""
        self.loop.stop()

        def raise_in_time():
            signal.raise_signal(signal.SIGINT)

        turned = []
        with self.assertRaises(KeyboardInterrupt):
            self.loop.call_soon(raise_in_time)
            self.loop.run_forever()
        self.loop.call_soon(self.loop.call_soon, lambda: (turned.append(1), self.loop.stop()))
        self.loop.run_forever()
        self.assertEqual(turned, [1])


class Wakeup(support.LoopCase):

    def test_the_number_is_another_files_then(self):
        """Whenever Ctrl-C comes, no byte is written into a file that has the loop's number."""
        for at in range(1, 40):
            loop = new_event_loop()
            number = loop._csock.fileno()
            interrupt = Interrupt(at)
            try:
                with interrupt:
                    loop.run_until_complete(asyncio.sleep(0))
            except KeyboardInterrupt:
                pass
            loop.close()
            handler = signal.signal(signal.SIGUSR1, lambda *_: None)
            with tempfile.TemporaryFile() as file:
                os.dup2(file.fileno(), number)
                signal.raise_signal(signal.SIGUSR1)
                os.close(number)
                file.seek(0)
                self.assertEqual(file.read(), b"", interrupt.where)
            signal.signal(signal.SIGUSR1, handler)

    def test_in_the_middle_of_add_signal_handler(self):
        for at in range(1, 30):
            loop = new_event_loop()
            try:
                with Interrupt(at):
                    loop.add_signal_handler(signal.SIGUSR1, int)
            except KeyboardInterrupt:
                pass
            loop.close()
            self.assertEqual(signal.set_wakeup_fd(-1), -1)
            signal.signal(signal.SIGUSR1, signal.SIG_DFL)

    def test_a_handler_that_was_added_within_a_run(self):
        """Its signal may come between that run and the next."""
        calls = []
        self.loop.call_soon(self.loop.add_signal_handler, signal.SIGUSR1, calls.append, 1)
        self.turns()
        os.kill(os.getpid(), signal.SIGUSR1)
        self.until(lambda: calls)
        self.loop.remove_signal_handler(signal.SIGUSR1)
        self.assertEqual(signal.set_wakeup_fd(-1), -1)

    def test_the_programs_own_descriptor_stays(self):
        a, b = socket.socketpair()
        a.setblocking(False)
        signal.set_wakeup_fd(a.fileno())
        self.addCleanup(lambda: (a.close(), b.close()))
        self.turns()
        self.loop.close()
        self.assertEqual(signal.set_wakeup_fd(-1), a.fileno())


if __name__ == "__main__":
    support.main()
