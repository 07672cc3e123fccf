"""uvicorn, Debian's package, as people start it: from the command line and by uvicorn.run.

Its versions differ in how they take a loop. From 0.36 on `--loop casyncio:new_event_loop` is a loop
factory. Those before know four names only; there `python -m casyncio -m uvicorn --loop asyncio`, or
casyncio.install() and loop="none", is the way.
"""

import http.client
import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import unittest

import support

try:
    import uvicorn

    VERSION = tuple(map(int, uvicorn.__version__.split(".")[:2]))
except ImportError:
    uvicorn = None

APPLICATION = '''
import asyncio

async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        more = message.get("more_body", False)
    loop = asyncio.get_running_loop()
    headers = [(b"x-loop", type(loop).__module__.encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if scope["path"] == "/echo":
        await send({"type": "http.response.body", "body": body})
    elif scope["path"] == "/chunks":
        for number in range(100):
            await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
        await send({"type": "http.response.body"})
    else:
        await send({"type": "http.response.body", "body": b"Hello, world"})
'''


@unittest.skipUnless(uvicorn, "this Python has no uvicorn")
class Uvicorn(support.Directory):
    def setUp(self):
        super().setUp()
        with open(self.path("application.py"), "w") as file:
            file.write(APPLICATION)

    def start(self, *arguments):
        """Start a server; its port."""
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(
                    [self.directory, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
                ),
            },
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        said = ""
        for line in process.stdout:
            said += line
            found = re.search(r"running on https?://127\.0\.0\.1:(\d+)", line)
            if found:
                self.process = process
                return int(found.group(1))
        self.fail("the server did not start\n" + said)

    def command(self, *options):
        """Start it from the command line, on the loop under test."""
        tail = ["uvicorn", "application:application", "--port", "0", *options]
        if support.STOCK:
            return self.start("-m", *tail, "--loop", "asyncio")
        if VERSION >= (0, 36):
            return self.start("-m", *tail, "--loop", "casyncio:new_event_loop")
        return self.start("-m", "casyncio", "-m", *tail, "--loop", "asyncio")

    def end(self, kind=signal.SIGTERM):
        """It ends in good order, having said so."""
        self.process.send_signal(kind)
        out, _ = self.process.communicate(timeout=15)
        self.assertIn("Application shutdown complete", out)
        self.assertIn("Finished server process", out)
        self.assertNotIn("Traceback", out)

    def check(self, connection):
        for _ in range(3):
            connection.request("GET", "/")
            response = connection.getresponse()
            self.assertEqual((response.status, response.read()), (200, b"Hello, world"))
            ours = response.headers["x-loop"].startswith("casyncio")
            self.assertEqual(ours, not support.STOCK)
        body = os.urandom(1_000_000)
        connection.request("POST", "/echo", body)
        self.assertTrue(connection.getresponse().read() == body)
        pieces = (bytes([number]) * 1000 for number in range(100))
        connection.request("POST", "/echo", pieces, encode_chunked=True,
                           headers={"Transfer-Encoding": "chunked"})  # fmt: skip
        self.assertEqual(len(connection.getresponse().read()), 100_000)
        connection.request("GET", "/chunks")
        self.assertEqual(connection.getresponse().read(), b"x" * 100_000)
        connection.close()

    def test_command_line(self):
        port = self.command()
        self.check(http.client.HTTPConnection("127.0.0.1", port, timeout=10))
        self.end()

    def test_interrupted(self):
        port = self.command()
        # uvicorn says that it is running before its start has ended, and what is interrupted before
        # that is not shut down, on any loop. A server that answers has started.
        self.check(http.client.HTTPConnection("127.0.0.1", port, timeout=10))
        self.end(signal.SIGINT)

    @support.needs_openssl
    def test_tls(self):
        certificate, key = support.certificate()
        port = self.command("--ssl-certfile", certificate, "--ssl-keyfile", key)
        context = support.client_context()
        self.check(http.client.HTTPSConnection("localhost", port, timeout=10, context=context))
        self.end()

    @support.stock_cannot("it needs no installing")
    def test_installed_in_a_program(self):
        source = (
            "import casyncio, uvicorn; casyncio.install();"
            " uvicorn.run('application:application', port=0, loop='none')"
        )
        port = self.start("-c", source)
        self.check(http.client.HTTPConnection("127.0.0.1", port, timeout=10))
        self.end()

    @support.stock_cannot("it needs no runner")
    def test_served_in_a_loop_of_ones_own(self):
        source = (
            "import casyncio, uvicorn;"
            " config = uvicorn.Config('application:application', port=0);"
            " casyncio.run(uvicorn.Server(config).serve())"
        )
        port = self.start("-c", source)
        self.check(http.client.HTTPConnection("127.0.0.1", port, timeout=10))
        self.process.send_signal(signal.SIGTERM)
        self.assertIn("shutdown complete", self.process.communicate(timeout=15)[0])

    def test_clients_that_leave_at_any_byte(self):
        port = self.command()
        request = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789"
        for linger in (None, struct.pack("ii", 1, 0)):
            for count in range(len(request) + 1):
                with socket.create_connection(("127.0.0.1", port)) as sock:
                    if linger:
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    sock.sendall(request[:count])
        self.check(http.client.HTTPConnection("127.0.0.1", port, timeout=10))
        self.end()

    def test_load(self):
        port = self.command("--no-access-log")
        failures = []

        def client():
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                for _ in range(10):
                    connection.request("GET", "/")
                    assert connection.getresponse().read() == b"Hello, world"
                connection.close()
            except (OSError, AssertionError, http.client.HTTPException, ssl.SSLError) as error:
                failures.append(error)

        threads = [threading.Thread(target=client) for _ in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.end()


if __name__ == "__main__":
    support.main()
