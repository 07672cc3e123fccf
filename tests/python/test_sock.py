"""sock_recv, sock_sendall and their like: who waits, who gives way, what a cancelled call leaves."""

import asyncio
import contextlib
import gc
import select
import socket
import ssl
import tempfile
import unittest
import unittest.mock

import support
from support import asynchronous


class SockCase(support.LoopCase):
    def setUp(self):
        super().setUp()
        self.one, self.other = self.pair()

    async def start(self, call):
        """A task of the call, which waits for its socket."""
        task = self.loop.create_task(call)
        await asyncio.sleep(0)
        self.assertFalse(task.done())
        return task

    def fill(self, sock):
        with contextlib.suppress(BlockingIOError):
            while True:
                sock.send(bytes(100_000))

    def drain(self, sock):
        count = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                count += len(sock.recv(1_000_000))
        return count


class Calls(SockCase):
    @asynchronous
    async def test_results(self):
        self.assertIsNone(await self.loop.sock_sendall(self.one, b"hello"))
        self.assertEqual(await self.loop.sock_recv(self.other, 3), b"hel")
        buffer = bytearray(b"....")
        self.assertEqual(await self.loop.sock_recv_into(self.other, buffer), 2)
        self.assertEqual(buffer, b"lo..")
        self.one.close()
        self.assertEqual(await self.loop.sock_recv(self.other, 10), b"")
        self.assertEqual(await self.loop.sock_recv_into(self.other, buffer), 0)

    @asynchronous
    async def test_results_after_waiting(self):
        buffer = bytearray(10)
        receiving = await self.start(self.loop.sock_recv(self.one, 1000))
        self.other.send(b"hello")
        self.assertEqual(await receiving, b"hello")
        receiving = await self.start(self.loop.sock_recv_into(self.one, memoryview(buffer)[2:]))
        self.other.send(b"hello")
        self.assertEqual(await receiving, 5)
        self.assertEqual(buffer, b"\0\0hello\0\0\0")
        receiving = await self.start(self.loop.sock_recvfrom(self.one, 1000))
        self.other.send(b"hello")
        self.assertEqual(await receiving, self.plain_recvfrom(b"hello"))

    def plain_recvfrom(self, data):
        self.other.send(data)
        return self.one.recvfrom(1000)

    @asynchronous
    async def test_sizes_of_receive(self):
        for size in (1, 1000, 65536, 262144, 262145, 3_000_000):
            self.other.send(b"x" * 500)
            self.assertEqual(await self.loop.sock_recv(self.one, size), b"x" * min(size, 500))
            self.drain(self.one)
        self.assertEqual(await self.loop.sock_recv(self.one, 0), b"")
        self.assertEqual(await self.loop.sock_recv_into(self.one, bytearray()), 0)
        with self.assertRaises(ValueError):
            await self.loop.sock_recv(self.one, -1)
        with self.assertRaises(TypeError):
            await self.loop.sock_recv(self.one, "1")

    @asynchronous
    async def test_much_data(self):
        for kind in (bytes, bytearray, memoryview):
            data = kind(bytes(range(256)) * 20_000)
            sending = self.loop.create_task(self.loop.sock_sendall(self.one, data))
            got = bytearray()
            while len(got) < len(data):
                got += await self.loop.sock_recv(self.other, 1_000_000)
            self.assertEqual(got, data)
            self.assertIsNone(await sending)
            self.assertFalse(self.loop.remove_writer(self.one))

    @support.stock_cannot("it counts items")
    @asynchronous
    async def test_items_larger_than_bytes(self):
        data = memoryview(bytearray(range(200)) * 20_000).cast("I")
        sending = self.loop.create_task(self.loop.sock_sendall(self.one, data))
        got = bytearray()
        while len(got) < data.nbytes:
            got += await self.loop.sock_recv(self.other, 1_000_000)
        self.assertEqual(got, data.tobytes())
        await sending

    @asynchronous
    async def test_data_is_locked_while_it_waits(self):
        data = bytearray(10_000_000)
        sending = await self.start(self.loop.sock_sendall(self.one, data))
        with self.assertRaises(BufferError):
            data.clear()
        sending.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await sending
        del sending
        gc.collect()
        data.clear()

    @asynchronous
    async def test_errors(self):
        with self.assertRaises(TypeError):
            await self.loop.sock_sendall(self.one, "text")
        with self.assertRaises(TypeError):
            await self.loop.sock_recv_into(self.one, b"read only")
        self.other.close()
        with self.assertRaises(BrokenPipeError):
            await self.loop.sock_sendall(self.one, b"x")
        self.one.close()
        for call in (
            self.loop.sock_recv(self.one, 1),
            self.loop.sock_recvfrom(self.one, 1),
            self.loop.sock_sendall(self.one, b"x"),
        ):
            with self.assertRaises(OSError):
                await call

    @asynchronous
    async def test_error_while_it_waits(self):
        self.fill(self.one)
        sending = await self.start(self.loop.sock_sendall(self.one, b"x"))
        self.other.close()
        with self.assertRaises((BrokenPipeError, ConnectionResetError)):
            await sending

    @asynchronous
    async def test_accept(self):
        with support.listener() as sock:
            sock.setblocking(False)
            accepting = await self.start(self.loop.sock_accept(sock))
            with socket.create_connection(sock.getsockname()) as client:
                conn, address = await accepting
                with conn:
                    self.assertIs(type(conn), socket.socket)
                    self.assertEqual(conn.gettimeout(), 0)
                    self.assertEqual(address, client.getsockname())

    def test_arguments(self):
        for arguments, keywords in (
            ((), {}),
            ((self.one,), {}),
            ((self.one, 1, 2), {}),
            ((self.one, 1), {"n": 1}),
            ((self.one,), {"size": 1}),
        ):
            with self.assertRaises(TypeError):
                self.loop.sock_recv(*arguments, **keywords)
        self.other.send(b"x")
        self.assertEqual(self.run_async(self.loop.sock_recv(n=5, sock=self.one)), b"x")

    def test_they_are_coroutines(self):
        call = self.loop.sock_recv(self.one, 1)
        self.assertTrue(asyncio.iscoroutine(call))
        self.assertIn("sock_recv", repr(call))
        with self.assertWarnsRegex(RuntimeWarning, "sock_recv.* was never awaited"):
            del call
            gc.collect()

    @asynchronous
    async def test_what_is_refused(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        with context.wrap_socket(socket.socket(), do_handshake_on_connect=False) as secure:
            for call in (
                self.loop.sock_recv(secure, 1),
                self.loop.sock_sendall(secure, b""),
                self.loop.sock_accept(secure),
                self.loop.sock_sendto(secure, b"", ("127.0.0.1", 1)),
            ):
                with self.assertRaisesRegex(TypeError, "cannot be of type SSLSocket"):
                    await call
        transport, _ = await self.loop.create_connection(asyncio.Protocol, sock=self.one)
        with self.assertRaisesRegex(RuntimeError, "is used by transport"):
            await self.loop.sock_recv(self.one, 1)
        transport.close()

    def test_blocking_socket_in_debug_mode(self):
        self.one.setblocking(True)
        self.loop.set_debug(True)
        for call in (
            self.loop.sock_recv(self.one, 1),
            self.loop.sock_recv_into(self.one, bytearray(1)),
            self.loop.sock_sendall(self.one, b"x"),
            self.loop.sock_accept(self.one),
        ):
            with self.assertRaisesRegex(ValueError, "the socket must be non-blocking"):
                self.run_async(call)

    @support.stock_cannot("it blocks")
    @asynchronous
    async def test_blocking_socket_does_not_block_the_loop(self):
        self.one.setblocking(True)
        receiving = await self.start(self.loop.sock_recv(self.one, 10))
        self.other.send(b"x")
        self.assertEqual(await receiving, b"x")


class Waiting(SockCase):
    @asynchronous
    async def test_both_directions_at_once(self):
        self.fill(self.one)
        sending = await self.start(self.loop.sock_sendall(self.one, b"end"))
        receiving = await self.start(self.loop.sock_recv(self.one, 10))
        self.other.send(b"x")
        self.assertEqual(await receiving, b"x")
        self.assertFalse(sending.done())
        receiving = await self.start(self.loop.sock_recv(self.one, 10))
        self.drain(self.other)
        await sending
        self.other.send(b"y")
        self.assertEqual(await receiving, b"y")

    @asynchronous
    async def test_beside_a_reader(self):
        calls = []
        self.fill(self.one)
        self.loop.add_reader(self.one, lambda: calls.append(self.one.recv(10)))
        sending = await self.start(self.loop.sock_sendall(self.one, b"end"))
        self.drain(self.other)
        await sending
        for _ in range(2):
            self.other.send(b"x")
            await support.until(lambda: calls)
            self.assertEqual(calls.pop(), b"x")
        self.assertTrue(self.loop.remove_reader(self.one))

    @asynchronous
    async def test_cancelled_takes_nothing(self):
        for call in (
            lambda: self.loop.sock_recv(self.one, 10),
            lambda: self.loop.sock_recv_into(self.one, bytearray(10)),
            lambda: self.loop.sock_recvfrom(self.one, 10),
        ):
            task = await self.start(call())
            task.cancel()
            self.other.send(b"kept")
            with self.assertRaises(asyncio.CancelledError):
                await task
            self.assertFalse(self.loop.remove_reader(self.one))
            self.assertEqual(await self.loop.sock_recv(self.one, 10), b"kept")

    @asynchronous
    async def test_cancelled_as_data_comes(self):
        task = await self.start(self.loop.sock_recv(self.one, 10))
        self.other.send(b"kept")
        task.cancel()  # before the loop has looked
        await asyncio.wait([task])
        self.assertTrue(task.cancelled())
        self.assertEqual(self.one.recv(10), b"kept")

    @asynchronous
    async def test_the_next_one_takes_the_place(self):
        first = await self.start(self.loop.sock_recv(self.one, 10))
        second = await self.start(self.loop.sock_recv(self.one, 10))
        self.other.send(b"x")
        self.assertEqual(await second, b"x")
        self.other.send(b"y")
        await asyncio.sleep(0.01)
        self.assertFalse(first.done())
        third = await self.start(self.loop.sock_recv_into(self.other, bytearray(1)))
        first.cancel()
        third.cancel()
        await asyncio.wait([first, third])
        self.assertEqual(self.one.recv(10), b"y")

    @asynchronous
    async def test_the_first_ones_end_is_not_the_seconds(self):
        first = await self.start(self.loop.sock_recv(self.one, 10))
        second = await self.start(self.loop.sock_recv(self.one, 10))
        first.cancel()
        await asyncio.wait([first])
        self.other.send(b"x")
        self.assertEqual(await second, b"x")

    @asynchronous
    async def test_a_reader_takes_the_place(self):
        calls = []
        receiving = await self.start(self.loop.sock_recv(self.one, 10))
        self.loop.add_reader(self.one, lambda: calls.append(self.one.recv(10)))
        self.other.send(b"x")
        await support.until(lambda: calls)
        self.assertFalse(receiving.done())
        receiving.cancel()
        await asyncio.wait([receiving])
        self.assertTrue(self.loop.remove_reader(self.one))

    @asynchronous
    async def test_removed_by_remove_reader(self):
        receiving = await self.start(self.loop.sock_recv(self.one, 10))
        self.assertTrue(self.loop.remove_reader(self.one))
        self.other.send(b"x")
        await asyncio.sleep(0.01)
        self.assertFalse(receiving.done())
        receiving.cancel()
        await asyncio.wait([receiving])

    @support.stock_cannot("it believes that the closed one is watched")
    @asynchronous
    async def test_closed_while_it_waits(self):
        receiving = await self.start(self.loop.sock_recv(self.one, 10))
        number = self.one.fileno()
        self.one.close()
        self.other.close()
        await asyncio.sleep(0.01)
        one, other = support.socket_pair()  # of which one has the number again
        with one, other:
            self.assertIn(number, (one.fileno(), other.fileno()))
            for _ in range(3):
                first = await self.start(self.loop.sock_recv(one, 10))
                second = await self.start(self.loop.sock_recv(other, 10))
                one.send(b"a")
                other.send(b"b")
                self.assertEqual((await first, await second), (b"b", b"a"))
            receiving.cancel()
            await asyncio.wait([receiving])
            first = await self.start(self.loop.sock_recv(one, 10))
            other.send(b"b")
            self.assertEqual(await first, b"b")

    @support.stock_cannot("it believes that the closed one is watched")
    @asynchronous
    async def test_the_number_becomes_a_transports(self):
        receiving = await self.start(self.loop.sock_recv(self.one, 10))
        number = self.one.fileno()
        self.one.close()
        self.other.close()
        ours, theirs = support.socket_pair()
        if theirs.fileno() == number:
            ours, theirs = theirs, ours
        with theirs:
            transport, protocol = await self.loop.create_connection(support.Recorder, sock=ours)
            theirs.send(b"x")
            await support.until(lambda: protocol.data == b"x")
            receiving.cancel()
            await asyncio.wait([receiving])
            theirs.send(b"y")
            await support.until(lambda: protocol.data == b"xy")
            transport.close()
            await protocol.lost

    @asynchronous
    async def test_a_duplicate_stays(self):
        with self.one.dup() as duplicate:
            receiving = await self.start(self.loop.sock_recv(self.one, 10))
            self.one.close()
            one, other = support.socket_pair()
            with one, other:
                waiting = await self.start(self.loop.sock_recv(one, 10))
                self.other.send(b"for the duplicate")
                await asyncio.sleep(0.01)
                self.assertFalse(waiting.done())
                other.send(b"x")
                self.assertEqual(await waiting, b"x")
            self.assertEqual(await self.loop.sock_recv(duplicate, 100), b"for the duplicate")
            receiving.cancel()
            await asyncio.wait([receiving])

    def test_loop_is_closed_meanwhile(self):
        task = self.loop.create_task(self.loop.sock_recv(self.one, 10))
        self.turns()
        task._log_destroy_pending = False
        self.loop.close()
        self.other.send(b"x")
        del task
        gc.collect()
        call = self.loop.sock_recv(self.one, 10)
        self.assertEqual(self.one.recv(10), b"x")
        with self.assertRaisesRegex(RuntimeError, "closed"):
            call.send(None)


class OtherSockets(SockCase):
    """What is not a socket.socket as it came, is asked by its methods."""

    @asynchronous
    async def test_subclass(self):
        calls = []

        class Counting(socket.socket):
            def recv(self, *arguments):
                calls.append("recv")
                return super().recv(*arguments)

            def send(self, data, *arguments):
                calls.append("send")
                return super().send(data[:3], *arguments)

        with Counting(fileno=self.one.detach()) as sock:
            sock.setblocking(False)
            self.other.send(b"x")
            self.assertEqual(await self.loop.sock_recv(sock, 10), b"x")
            await self.loop.sock_sendall(sock, b"0123456789")
            self.assertEqual(await self.loop.sock_recv(self.other, 10), b"0123456789")
            receiving = await self.start(self.loop.sock_recv(sock, 10))
            self.other.send(b"y")
            self.assertEqual(await receiving, b"y")
        self.assertEqual(calls, ["recv"] + ["send"] * 4 + ["recv"] * 2)

    @asynchronous
    async def test_patched_class(self):
        with unittest.mock.patch.object(socket.socket, "recv", lambda sock, size: b"patched"):
            self.assertEqual(await self.loop.sock_recv(self.one, 10), b"patched")
        self.other.send(b"x")
        self.assertEqual(await self.loop.sock_recv(self.one, 10), b"x")

    @asynchronous
    async def test_what_a_method_raises(self):
        class Failing(socket.socket):
            error = BlockingIOError

            def recv(self, size):
                raise self.error

        with Failing(fileno=self.one.detach()) as sock:
            sock.setblocking(False)
            receiving = await self.start(self.loop.sock_recv(sock, 10))
            sock.error = ZeroDivisionError
            self.other.send(b"x")
            with self.assertRaises(ZeroDivisionError):
                await receiving

    def test_a_method_ends_the_loop(self):
        class Failing(socket.socket):
            error = BlockingIOError

            def recv(self, size):
                if self.error:
                    raise self.error
                return super().recv(size)

        with Failing(fileno=self.one.detach()) as sock:
            sock.setblocking(False)
            receiving = self.loop.create_task(self.loop.sock_recv(sock, 10))
            self.turns()
            sock.error = KeyboardInterrupt
            self.other.send(b"x")
            with self.assertRaises(KeyboardInterrupt):
                self.loop.run_until_complete(asyncio.sleep(1))
            sock.error = None
            self.assertEqual(self.run_async(receiving), b"x")

    @asynchronous
    async def test_a_file_cannot_be_waited_for(self):
        class Pretender:
            def __init__(self, file):
                self.fileno = file.fileno

            def recv(self, size):
                raise BlockingIOError

            def gettimeout(self):
                return 0

        with tempfile.TemporaryFile() as file, self.assertRaises(PermissionError):
            await self.loop.sock_recv(Pretender(file), 10)

    @asynchronous
    async def test_create_future_of_ones_own(self):
        made = []

        def create_future():
            made.append(asyncio.Future(loop=self.loop))
            return made[-1]

        self.loop.create_future = create_future
        receiving = await self.start(self.loop.sock_recv(self.one, 10))
        del self.loop.create_future
        self.other.send(b"x")
        self.assertEqual(await receiving, b"x")
        self.assertEqual(len(made), 1)


class Counting(socket.socket):
    """A socket that counts the attempts to receive."""

    attempts = 0

    def recv(self, *args):
        self.attempts += 1
        return super().recv(*args)

    def recv_into(self, *args):
        self.attempts += 1
        return super().recv_into(*args)

    def recvfrom(self, *args):
        self.attempts += 1
        return super().recvfrom(*args)

    def recvfrom_into(self, *args):
        self.attempts += 1
        return super().recvfrom_into(*args)


@support.stock_cannot("it tries without end")
class ErrorQueue(support.LoopCase):
    """While a socket's error queue is not empty, epoll reports an error, which receiving does not end."""

    IP_RECVERR = 11
    MOST_ATTEMPTS = 10  # there are three to five; without end there are thousands

    def make(self):
        """A socket with an error in its queue, and one to send to it."""
        sock = Counting(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(sock.close)
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))
        sock.setsockopt(socket.IPPROTO_IP, self.IP_RECVERR, 1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
            closed.bind(("127.0.0.1", 0))
            nowhere = closed.getsockname()
        sock.sendto(b"nobody listens there", nowhere)
        poll = select.poll()
        poll.register(sock, 0)
        if not poll.poll(10_000):
            self.skipTest("no error comes back for a datagram to a closed port")
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self.assertTrue(poll.poll(0), "the error queue is still full")
        friend = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(friend.close)
        friend.connect(sock.getsockname())
        return sock, friend

    async def check(self, receive):
        sock, friend = self.make()
        for _ in range(3):
            sock.attempts = 0
            task = self.loop.create_task(receive(sock))
            await asyncio.sleep(0.05)
            self.assertFalse(task.done())
            self.assertLess(sock.attempts, self.MOST_ATTEMPTS)
            friend.send(b"data")
            await task
        sock.attempts = 0
        task = self.loop.create_task(receive(sock))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0.05)
        self.assertLess(sock.attempts, self.MOST_ATTEMPTS)
        friend.send(b"data")  # what was cancelled has left nothing that would take it
        await receive(sock)

    @asynchronous
    async def test_recv(self):
        await self.check(lambda sock: self.loop.sock_recv(sock, 10))

    @asynchronous
    async def test_recv_into(self):
        await self.check(lambda sock: self.loop.sock_recv_into(sock, bytearray(10)))

    @asynchronous
    async def test_recvfrom(self):
        await self.check(lambda sock: self.loop.sock_recvfrom(sock, 10))

    @asynchronous
    async def test_recvfrom_into(self):
        await self.check(lambda sock: self.loop.sock_recvfrom_into(sock, bytearray(10)))

    @asynchronous
    async def test_two_directions(self):
        """What waits to receive does not keep a sender from its turn, nor a sender it."""
        sock, friend = self.make()
        task = self.loop.create_task(self.loop.sock_recv(sock, 10))
        await asyncio.sleep(0.01)
        for _ in range(3):
            await self.loop.sock_sendto(sock, b"there", friend.getsockname())
            self.assertEqual(friend.recv(10), b"there")
        writable = asyncio.Event()
        self.loop.add_writer(sock, writable.set)
        await writable.wait()
        self.loop.remove_writer(sock)
        await asyncio.sleep(0.01)
        self.assertFalse(task.done())
        self.assertLess(sock.attempts, self.MOST_ATTEMPTS)
        friend.send(b"data")
        self.assertEqual(await task, b"data")


class ShutForReading(ErrorQueue):
    """A datagram socket that was shut down for reading is readable, but receiving finds nothing."""

    def make(self):
        sock = Counting(socket.AF_INET, socket.SOCK_DGRAM)
        friend = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(sock.close)
        self.addCleanup(friend.close)
        sock.setblocking(False)
        for one in sock, friend:
            one.bind(("127.0.0.1", 0))
        sock.connect(friend.getsockname())
        friend.connect(sock.getsockname())
        sock.shutdown(socket.SHUT_RD)
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        self.assertTrue(poll.poll(0))
        with self.assertRaises(BlockingIOError):
            sock.recv(1)
        return sock, friend


class Leaks(SockCase):
    async def exercise(self):
        buffer = bytearray(100)
        for call in (
            lambda: self.loop.sock_recv(self.one, 100),
            lambda: self.loop.sock_recv_into(self.one, buffer),
            lambda: self.loop.sock_recvfrom(self.one, 100),
            lambda: self.loop.sock_recvfrom_into(self.one, buffer),
        ):
            receiving = self.loop.create_task(call())
            await asyncio.sleep(0)
            await self.loop.sock_sendall(self.other, b"x" * 50)
            await receiving
            receiving = self.loop.create_task(call())
            await asyncio.sleep(0)
            receiving.cancel()
            await asyncio.wait([receiving])
            with contextlib.suppress(AttributeError):
                await self.loop.sock_recv(None, 1)
        sending = self.loop.create_task(self.loop.sock_sendall(self.one, bytes(1_000_000)))
        await asyncio.sleep(0)
        while not sending.done():
            self.drain(self.other)
            await asyncio.sleep(0)
        self.drain(self.other)

    def test_nothing_is_left(self):
        self.assertLess(support.growth(lambda: self.run_async(self.exercise())), 0.5)


if __name__ == "__main__":
    support.main()
