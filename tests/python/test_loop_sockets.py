"""Readers and writers, and the sock_* calls of streams."""

import asyncio
import contextlib
import gc
import os
import socket
import ssl
import tempfile

import support
from support import asynchronous


class Pair(support.LoopCase):
    def setUp(self):
        super().setUp()
        self.ours, self.theirs = self.pair()


class ReadersAndWriters(Pair):
    def test_reader(self):
        got = []
        self.assertIsNone(self.loop.add_reader(self.ours, lambda: got.append(self.ours.recv(10))))
        self.theirs.send(b"one")
        self.until(lambda: got)
        self.theirs.send(b"two")
        self.until(lambda: len(got) == 2)
        self.assertEqual(got, [b"one", b"two"])
        self.assertIs(self.loop.remove_reader(self.ours), True)
        self.assertIs(self.loop.remove_reader(self.ours), False)
        self.theirs.send(b"three")
        self.turns(5)
        self.assertEqual(len(got), 2)

    def test_writer(self):
        calls = []
        self.loop.add_writer(self.ours.fileno(), calls.append, "writable")
        self.until(lambda: len(calls) > 2)
        self.assertIs(self.loop.remove_writer(self.ours), True)
        self.assertIs(self.loop.remove_writer(self.ours), False)
        count = len(calls)
        self.turns(5)
        self.assertEqual(len(calls), count)

    def test_both_on_one_descriptor(self):
        calls = []
        self.loop.add_reader(self.ours, lambda: calls.append(self.ours.recv(10)))
        self.loop.add_writer(self.ours, calls.append, "w")
        self.turns(5)
        self.assertEqual(set(calls), {"w"})
        self.assertTrue(self.loop.remove_writer(self.ours))
        calls.clear()
        self.theirs.send(b"x")
        self.until(lambda: calls)
        self.assertEqual(calls, [b"x"])
        self.loop.add_writer(self.ours, calls.append, "w")
        self.assertTrue(self.loop.remove_reader(self.ours))
        self.turns(5)
        self.assertEqual(calls[-1], "w")
        self.assertTrue(self.loop.remove_writer(self.ours))

    def test_replaced(self):
        first, second = [], []
        self.loop.add_reader(self.ours, first.append, 1)
        self.loop.add_reader(self.ours, lambda: second.append(self.ours.recv(1)))
        self.theirs.send(b"x")
        self.until(lambda: second)
        self.assertEqual(first, [])
        self.loop.remove_reader(self.ours)

    def test_removed_in_the_turn_it_is_ready(self):
        """A reader that another one removes does not run, ready or not."""
        calls = []
        other, others = socket.socketpair()
        with other, others:

            def reader(name, remove):
                calls.append(name)
                self.loop.remove_reader(self.ours)
                self.loop.remove_reader(other)

            self.loop.add_reader(self.ours, reader, "ours", other)
            self.loop.add_reader(other, reader, "other", self.ours)
            self.theirs.send(b"x")
            others.send(b"x")
            self.turns(5)
        self.assertEqual(len(calls), 1)

    def test_end_and_hang_up_wake_the_reader(self):
        got = []
        self.loop.add_reader(self.ours, lambda: got.append(self.ours.recv(10)))
        self.theirs.close()
        self.until(lambda: got)
        self.assertEqual(got[0], b"")
        self.loop.remove_reader(self.ours)

    def test_hang_up_wakes_the_writer(self):
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writing, b"x" * 65536)
        calls = []
        self.loop.add_writer(writing, calls.append, 1)
        self.turns(5)
        self.assertEqual(calls, [])
        os.close(reading)
        self.until(lambda: calls)
        self.loop.remove_writer(writing)
        os.close(writing)

    def test_a_reader_that_fails_is_reported_and_stays(self):
        calls = []

        def fails():
            calls.append(self.ours.recv(1))
            raise ZeroDivisionError

        self.loop.add_reader(self.ours, fails)
        self.theirs.send(b"xy")
        self.until(lambda: len(calls) == 2)
        self.assertEqual(len(self.take_errors()), 2)
        self.loop.remove_reader(self.ours)

    def test_what_cannot_be_watched(self):
        for bad in (-1, 10**6, "text", None, object(), 1.5):
            with self.assertRaises((ValueError, TypeError, OSError)):
                self.loop.add_reader(bad, int)
        with tempfile.TemporaryFile() as regular:
            with self.assertRaises(PermissionError):
                self.loop.add_reader(regular, int)
            self.assertFalse(self.loop.remove_reader(regular))

    def test_a_transport_owns_its_descriptor(self):
        transport, protocol = self.run_async(
            self.loop.create_connection(lambda: support.Recorder(self.loop), sock=self.ours)
        )
        descriptor = self.ours.fileno()
        for method, arguments in (
            (self.loop.add_reader, (descriptor, int)),
            (self.loop.remove_reader, (descriptor,)),
            (self.loop.add_writer, (descriptor, int)),
            (self.loop.remove_writer, (descriptor,)),
        ):
            with self.assertRaisesRegex(RuntimeError, "is used by transport"):
                method(*arguments)
        transport.close()
        self.run_async(protocol.lost)

    def test_descriptor_closed_and_used_again(self):
        """One number, two sockets after each other; nobody removed the first one's reader."""
        got = []
        first, peer = socket.socketpair()
        number = first.fileno()
        self.loop.add_reader(first, got.append, "first")
        self.turns()
        self.loop.remove_reader(first)
        first.close()
        peer.close()
        second, peer = socket.socketpair()
        with second, peer:
            self.assertIn(number, (second.fileno(), peer.fileno()))
            sock, other = (second, peer) if second.fileno() == number else (peer, second)
            self.loop.add_reader(sock, lambda: got.append(sock.recv(10)))
            other.send(b"second")
            self.until(lambda: got)
            self.loop.remove_reader(sock)
        self.assertEqual(got, [b"second"])


class SockCalls(Pair):
    @asynchronous
    async def test_recv(self):
        self.theirs.send(b"at once")
        self.assertEqual(await self.loop.sock_recv(self.ours, 100), b"at once")
        receiving = self.loop.create_task(self.loop.sock_recv(self.ours, 3))
        await asyncio.sleep(0.01)
        self.assertFalse(receiving.done())
        self.theirs.send(b"later")
        self.assertEqual(await receiving, b"lat")
        self.assertEqual(await self.loop.sock_recv(self.ours, 100), b"er")
        self.assertEqual(await self.loop.sock_recv(self.ours, 0), b"")
        self.theirs.close()
        self.assertEqual(await self.loop.sock_recv(self.ours, 100), b"")

    @asynchronous
    async def test_recv_gives_bytes_that_are_the_callers(self):
        """The loop's own buffer is used again, so what it gave must not change."""
        got = []
        for number in range(10):
            self.theirs.send(bytes([number]) * 5000)
            got.append(await self.loop.sock_recv(self.ours, 5000))
        self.assertEqual(got, [bytes([number]) * 5000 for number in range(10)])
        self.assertEqual({type(data) for data in got}, {bytes})

    @asynchronous
    async def test_recv_of_much(self):
        self.theirs.setblocking(True)
        data = os.urandom(1_000_000)
        sending = self.loop.run_in_executor(None, self.theirs.sendall, data)
        got = bytearray()
        while len(got) < len(data):
            got += await self.loop.sock_recv(self.ours, 4_000_000)
        await sending
        self.assertTrue(got == data)

    @asynchronous
    async def test_recv_into(self):
        buffer = bytearray(10)
        self.theirs.send(b"hello")
        self.assertEqual(await self.loop.sock_recv_into(self.ours, buffer), 5)
        self.assertEqual(buffer, b"hello\0\0\0\0\0")
        receiving = self.loop.create_task(
            self.loop.sock_recv_into(self.ours, memoryview(buffer)[5:])
        )
        await asyncio.sleep(0.01)
        self.theirs.send(b"world")
        self.assertEqual(await receiving, 5)
        self.assertEqual(buffer, b"helloworld")
        with self.assertRaises(TypeError):
            await self.loop.sock_recv_into(self.ours, b"read only")

    @asynchronous
    async def test_sendall(self):
        data = os.urandom(3_000_000)
        sending = self.loop.create_task(self.loop.sock_sendall(self.ours, data))
        await asyncio.sleep(0.01)
        self.assertFalse(sending.done())
        got = bytearray()
        while len(got) < len(data):
            got += await self.loop.sock_recv(self.theirs, 65536)
        self.assertIsNone(await sending)
        self.assertTrue(got == data)
        self.assertFalse(self.loop.remove_writer(self.ours))

    @asynchronous
    async def test_sendall_of_any_bytes(self):
        for data in (b"bytes", bytearray(b"array"), memoryview(b"view"), b""):
            self.assertIsNone(await self.loop.sock_sendall(self.ours, data))
        self.assertEqual(await self.loop.sock_recv(self.theirs, 100), b"bytesarrayview")
        with self.assertRaises(TypeError):
            await self.loop.sock_sendall(self.ours, "text")

    @asynchronous
    async def test_a_buffer_changed_while_it_is_sent_is_held(self):
        data = bytearray(2_000_000)
        sending = self.loop.create_task(self.loop.sock_sendall(self.ours, data))
        await asyncio.sleep(0.01)
        with self.assertRaises(BufferError):
            data.extend(b"more")
        sending.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await sending
        del sending
        gc.collect()
        data.extend(b"more")

    @asynchronous
    async def test_sendall_to_nobody(self):
        self.theirs.close()
        with self.assertRaises(BrokenPipeError):
            await self.loop.sock_sendall(self.ours, b"x")

    @asynchronous
    async def test_echo(self):
        async def echo():
            while data := await self.loop.sock_recv(self.theirs, 1024):
                await self.loop.sock_sendall(self.theirs, data)

        task = self.loop.create_task(echo())
        for number in range(200):
            await self.loop.sock_sendall(self.ours, b"%d" % number)
            self.assertEqual(int(await self.loop.sock_recv(self.ours, 100)), number)
        self.ours.close()
        await task

    @asynchronous
    async def test_accept_and_connect(self):
        with support.listener() as listening, socket.socket() as client:
            listening.setblocking(False)
            client.setblocking(False)
            accepting = self.loop.create_task(self.loop.sock_accept(listening))
            await asyncio.sleep(0.01)
            self.assertIsNone(await self.loop.sock_connect(client, listening.getsockname()))
            accepted, address = await accepting
            with accepted:
                self.assertIs(type(accepted), socket.socket)
                self.assertFalse(accepted.getblocking())
                self.assertEqual(address, client.getsockname())
                await self.loop.sock_sendall(accepted, b"hello")
                self.assertEqual(await self.loop.sock_recv(client, 10), b"hello")

    @asynchronous
    async def test_connect_to_a_name(self):
        with support.listener() as listening, socket.socket() as client:
            client.setblocking(False)
            await self.loop.sock_connect(client, ("localhost", listening.getsockname()[1]))

    @asynchronous
    async def test_connect_that_fails(self):
        with socket.socket() as client:
            client.setblocking(False)
            with self.assertRaises(ConnectionRefusedError):
                await self.loop.sock_connect(client, support.refused_address())
            self.assertFalse(self.loop.remove_writer(client))

    @asynchronous
    async def test_cancelled(self):
        """No watch is left behind, and the next call works."""
        with support.listener() as listening, support.black_hole() as hole:
            with socket.socket() as client:
                listening.setblocking(False)
                client.setblocking(False)
                for call, remove, sock in (
                    (self.loop.sock_recv(self.ours, 10), self.loop.remove_reader, self.ours),
                    (self.loop.sock_recv_into(self.ours, bytearray(5)), self.loop.remove_reader,
                     self.ours),
                    (self.loop.sock_accept(listening), self.loop.remove_reader, listening),
                    (self.loop.sock_connect(client, hole), self.loop.remove_writer, client),
                    (self.loop.sock_sendall(self.ours, b"x" * 5_000_000),
                     self.loop.remove_writer, self.ours),
                ):  # fmt: skip
                    task = self.loop.create_task(call)
                    await asyncio.sleep(0.005)
                    task.cancel()
                    with self.assertRaises(asyncio.CancelledError):
                        await task
                    await asyncio.sleep(0)
                    self.assertFalse(remove(sock))
        self.theirs.send(b"works")
        self.assertEqual(await self.loop.sock_recv(self.ours, 10), b"works")

    @asynchronous
    async def test_two_receivers_of_one_socket(self):
        """asyncio lets the later one have it; the earlier one must still be cancellable."""
        first = self.loop.create_task(self.loop.sock_recv(self.ours, 10))
        await asyncio.sleep(0)
        second = self.loop.create_task(self.loop.sock_recv(self.ours, 10))
        await asyncio.sleep(0)
        self.theirs.send(b"x")
        await asyncio.wait([first, second], return_when=asyncio.FIRST_COMPLETED)
        for task in (first, second):
            task.cancel()
        results = await asyncio.gather(first, second, return_exceptions=True)
        self.assertIn(b"x", results)

    @asynchronous
    async def test_receive_and_send_at_once(self):
        receiving = self.loop.create_task(self.loop.sock_recv(self.ours, 10))
        sending = self.loop.create_task(self.loop.sock_sendall(self.ours, b"x" * 3_000_000))
        await asyncio.sleep(0.01)
        self.theirs.send(b"answer")
        self.assertEqual(await receiving, b"answer")
        got = 0
        while got < 3_000_000:
            got += len(await self.loop.sock_recv(self.theirs, 65536))
        await sending

    def test_blocking_socket_in_debug_mode(self):
        self.loop.set_debug(True)
        with socket.socket() as sock:
            for call in (
                self.loop.sock_recv(sock, 1),
                self.loop.sock_recv_into(sock, bytearray(1)),
                self.loop.sock_sendall(sock, b""),
                self.loop.sock_accept(sock),
                self.loop.sock_connect(sock, ("127.0.0.1", 1)),
            ):
                with self.assertRaisesRegex(ValueError, "non-blocking"):
                    self.run_async(call)

    @asynchronous
    async def test_tls_sockets_are_refused(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        with context.wrap_socket(socket.socket()) as sock:
            for call in (
                self.loop.sock_recv(sock, 1),
                self.loop.sock_recv_into(sock, bytearray(1)),
                self.loop.sock_sendall(sock, b""),
                self.loop.sock_accept(sock),
                self.loop.sock_connect(sock, ("127.0.0.1", 1)),
            ):
                with self.assertRaisesRegex(TypeError, "SSLSocket"):
                    await call


if __name__ == "__main__":
    support.main()
