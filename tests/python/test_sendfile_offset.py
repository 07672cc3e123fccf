"""sendfile() begins at `offset`, wherever the file's position is, and by whatever way it is sent."""

import asyncio
import io
import os
import socket
import sys

import support
from support import asynchronous

CONTENTS = bytes(i % 251 for i in range(1000))


class Unseekable(io.RawIOBase):
    """Can only be read from where it is."""

    def __init__(self, data):
        self.file = io.BytesIO(data)

    def readable(self):
        return True

    def readinto(self, buffer):
        return self.file.readinto(buffer)


class Offset(support.Directory, support.TlsCase):

    def files(self):
        with open(self.path("file"), "wb") as file:
            file.write(CONTENTS)
        yield open(self.path("file"), "rb")
        yield io.BytesIO(CONTENTS)

    async def pair(self, tls):
        """A transport, and the protocol that receives."""
        received = []

        def factory():
            received.append(support.Recorder(self.loop))
            return received[-1]

        server = await self.loop.create_server(
            factory, "127.0.0.1", 0, ssl=support.server_context() if tls else None)
        transport, _ = await self.loop.create_connection(
            asyncio.Protocol, *server.sockets[0].getsockname(),
            ssl=support.client_context() if tls else None,
            server_hostname="localhost" if tls else None)
        server.close()
        await support.until(lambda: received and received[0].transport)
        self.addCleanup(transport.abort)
        return transport, received[0]

    async def check(self, send, recorder, file):
        for position, offset, count in ((1000, 0, None), (500, 0, 100), (0, 300, 100),
                                        (7, 1000, None), (3, 0, 5000)):
            with self.subTest(file=type(file), position=position, offset=offset, count=count):
                recorder.data.clear()
                file.seek(position)
                want = CONTENTS[offset:] if count is None else CONTENTS[offset:offset + count]
                self.assertEqual(await send(file, offset, count), len(want))
                await support.until(lambda: len(recorder.data) >= len(want))
                self.assertEqual(recorder.data, want)
                if want:
                    self.assertEqual(file.tell(), offset + len(want))

    @support.stock_cannot("falling back, it begins where the file's position is")
    @asynchronous
    async def test_transports(self):
        for tls in False, True:
            transport, recorder = await self.pair(tls)
            for file in self.files():
                with file:
                    await self.check(lambda file, offset, count: self.loop.sendfile(
                        transport, file, offset, count), recorder, file)

    @support.stock_cannot("falling back, it begins where the file's position is")
    @asynchronous
    async def test_sockets(self):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        transport, recorder = await self.loop.connect_accepted_socket(support.Recorder, theirs)
        for file in self.files():
            with file:
                await self.check(lambda file, offset, count: self.loop.sock_sendfile(
                    ours, file, offset, count), recorder, file)
        ours.close()
        await recorder.lost

    @asynchronous
    async def test_a_file_that_cannot_seek(self):
        transport, recorder = await self.pair(False)
        file = Unseekable(CONTENTS)
        try:
            await self.loop.sendfile(transport, file)
        except io.UnsupportedOperation:  # asyncio seeks in the end, and since 3.14 in the beginning
            if not recorder.data and sys.version_info >= (3, 14):
                return
        await support.until(lambda: len(recorder.data) == len(CONTENTS))
        self.assertEqual(recorder.data, CONTENTS)
        with self.assertRaises(OSError):
            await self.loop.sendfile(transport, file, 5)

    @support.stock_cannot("it raises RuntimeError itself")
    @asynchronous
    async def test_no_fallback_wanted(self):
        transport, _ = await self.pair(True)
        for file in self.files():
            with file, self.assertRaises(asyncio.SendfileNotAvailableError):
                await self.loop.sendfile(transport, file, fallback=False)
        transport.close()
        with self.assertRaisesRegex(RuntimeError, "closing"):
            await self.loop.sendfile(transport, io.BytesIO(), fallback=False)

    @support.stock_cannot("falling back, it does not look")
    @asynchronous
    async def test_arguments_are_checked(self):
        transport, _ = await self.pair(True)
        for offset, count, error in ((0, 0, ValueError), (0, -1, ValueError), (-1, None, ValueError),
                                     (0, "x", TypeError), ("x", None, TypeError)):
            with self.subTest(offset=offset, count=count), self.assertRaises(error):
                await self.loop.sendfile(transport, io.BytesIO(CONTENTS), offset, count)


class Pipe(support.LoopCase):
    """The end of a pipe that is written to comes once."""

    async def full(self, end):
        """A transport that has to wait, whose resume_writing() calls end(transport)."""
        calls = []

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport):
                self.transport = transport

            def resume_writing(self):
                calls.append("resume")
                end(self.transport)

            def connection_lost(self, error):
                calls.append(error)

        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        transport, _ = await self.loop.connect_write_pipe(Protocol, os.fdopen(writing, "wb", 0))
        transport.write(b"x" * 300000)
        return transport, reading, calls

    async def read_all(self, reading):
        os.set_blocking(reading, False)
        count = 0
        while True:
            try:
                data = os.read(reading, 65536)
            except BlockingIOError:
                await asyncio.sleep(0)
                continue
            if not data:
                return count
            count += len(data)

    @support.stock_cannot("it comes twice, and fails")
    @asynchronous
    async def test_ended_in_resume_writing(self):
        failure = OSError("its own")
        for end, error in ((lambda transport: transport.close(), None),
                           (lambda transport: transport.write_eof(), None),
                           (lambda transport: transport.abort(), None),
                           (lambda transport: transport._close(failure), failure),
                           (lambda transport: (transport.close(), transport.abort()), None)):
            transport, reading, calls = await self.full(end)
            self.assertEqual(await self.read_all(reading), 300000)
            await support.until(lambda: len(calls) > 1)
            for _ in range(3):
                await asyncio.sleep(0)
            self.assertEqual(calls, ["resume", error])
            transport.abort()
            transport.close()

    @support.stock_cannot("it fails")
    @asynchronous
    async def test_abort_after_the_end(self):
        transport, reading, calls = await self.full(lambda transport: None)
        transport.close()
        await self.read_all(reading)
        await support.until(lambda: None in calls)
        transport.abort()
        transport.close()
        self.assertTrue(transport.is_closing())


if __name__ == "__main__":
    support.main()
