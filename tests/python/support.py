"""What the tests of the Python face share.

Every test file is a program: `PYTHONPATH=<build> python tests/python/test_x.py`. The loop under
test is casyncio's; with CASYNCIO_TEST_LOOP=stock it is the interpreter's own, which shows whether a
test asks for what asyncio really does. What the standard loop cannot do is marked where it is asked
for: `stock_since(3, 13)` (its older versions cannot), `stock_cannot` (none can).
"""

import array
import asyncio
import collections
import contextlib
import ctypes
import faulthandler
import functools
import gc
import os
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest

STOCK = os.environ.get("CASYNCIO_TEST_LOOP") == "stock"
HERE = os.path.dirname(os.path.abspath(__file__))

if STOCK:
    new_event_loop = asyncio.SelectorEventLoop
else:
    import casyncio

    new_event_loop = casyncio.new_event_loop


def stock_since(*version):
    """The decorated test describes what asyncio does since `version`; casyncio does it in all."""
    return unittest.skipIf(
        STOCK and sys.version_info < version,
        "the standard loop does this since " + ".".join(map(str, version)),
    )


def stock_cannot(why):
    return unittest.skipIf(STOCK, "not the standard loop: " + why)


def socket_pair():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


def reset(sock):
    """Close with a RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def settle():
    """Bring what the interpreter keeps for itself to the same state each time.

    Its cache of attributes holds the names that it was asked for. A name that is made at run time,
    as C's GetAttrString and reprlib make them, is another object each time: it takes a random place
    in that cache, which so grows for thousands of calls.
    """
    gc.collect()
    ctypes.pythonapi.PyType_ClearCache()
    gc.collect()


def growth(run, rounds=40, measure=sys.getallocatedblocks):
    """How many blocks of memory (or what `measure` counts) each call of run() leaves behind.

    After settle() the count is exact: a leak of one block is 1, and nothing is 0, but for what is
    filled once. That does not happen in each of several turns.
    """
    counts = array.array("q", bytes(5 * 8))  # numbers that are no objects
    for turn in range(len(counts)):
        for _ in range(rounds):
            run()
        settle()
        counts[turn] = measure()
    return min(b - a for a, b in zip(counts[1:], counts[2:])) / rounds


class LoopCase(unittest.TestCase):
    """A test with a loop, `self.loop`, that has to end without an unforeseen error.

    What reaches the loop's exception handler is in `self.errors`; a test that provokes such
    reports takes them out with `take_errors`, and any other fails it.
    """

    debug = False

    def setUp(self):
        self.loop = new_event_loop()
        self.loop.set_debug(self.debug)
        self.errors = []
        self.loop.set_exception_handler(lambda _, report: self.errors.append(report))
        asyncio.set_event_loop(None)
        self.addCleanup(self.finish)

    def finish(self):
        if not self.loop.is_closed():
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()
        gc.collect()
        self.assertEqual(self.errors, [])

    def run_async(self, coroutine, timeout=60):
        return self.loop.run_until_complete(asyncio.wait_for(coroutine, timeout))

    def take_errors(self):
        taken, self.errors[:] = self.errors[:], []
        return taken

    def until(self, condition, timeout=30):
        """Run the loop until condition() is true."""
        self.run_async(until(condition, timeout), timeout + 1)

    def pair(self):
        """Two connected sockets that do not block, and are closed with the test."""
        ours, theirs = socket_pair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        return ours, theirs

    async def connect(self, factory=None):
        """A transport on one end of a pair: (transport, protocol, the other end)."""
        ours, theirs = self.pair()
        return *await self.loop.create_connection(factory or Recorder, sock=ours), theirs

    def turns(self, count=3):
        """Run the loop for a few turns."""

        async def wait():
            for _ in range(count):
                await asyncio.sleep(0)

        self.run_async(wait())


def asynchronous(test):
    """Make a test of a coroutine function: it runs in the case's loop, with a time-out."""

    @functools.wraps(test)
    def run(self):
        self.run_async(test(self))

    return run


async def until(condition, timeout=30):
    """Wait until condition() is true; it is looked at every millisecond."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("what was waited for did not come: " + repr(condition))
        await asyncio.sleep(0.001)


class Recorder(asyncio.Protocol):
    """A protocol that writes down what happens to it."""

    def __init__(self, loop=None):
        self.calls = []
        self.data = bytearray()
        self.transport = None
        self.error = None
        loop = loop or asyncio.get_running_loop()
        self.made = loop.create_future()
        self.lost = loop.create_future()
        self.ended = loop.create_future()

    def connection_made(self, transport):
        self.transport = transport
        self.calls.append("made")
        self.made.set_result(transport)

    def data_received(self, data):
        self.data += data
        self.calls.append("data")

    def eof_received(self):
        self.calls.append("eof")
        self.ended.set_result(None)

    def connection_lost(self, error):
        self.calls.append("lost")
        self.error = error
        self.lost.set_result(error)

    def pause_writing(self):
        self.calls.append("pause")

    def resume_writing(self):
        self.calls.append("resume")


class BufferedRecorder(asyncio.BufferedProtocol):
    """A BufferedProtocol of 1000 bytes that only remembers its end."""

    def __init__(self):
        self.buffer = bytearray(1000)
        self.lost = asyncio.get_running_loop().create_future()

    def get_buffer(self, hint):
        return self.buffer

    def buffer_updated(self, count):
        pass

    def connection_lost(self, error):
        self.lost.set_result(error)


def raising(base, method, kind):
    """A class like `base` whose `method` raises, after it has done what it does."""

    def fails(self, *arguments):
        getattr(super(raises, self), method)(*arguments)
        raise kind(method)

    raises = type("Raises", (base,), {method: fails})
    return raises


class DatagramRecorder(asyncio.DatagramProtocol):
    """The same for datagrams."""

    def __init__(self, loop=None):
        self.received = []
        self.errors = []
        self.transport = None
        self.error = None
        self.lost = (loop or asyncio.get_running_loop()).create_future()

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.received.append((data, address))

    def error_received(self, error):
        self.errors.append(error)

    def connection_lost(self, error):
        self.error = error
        self.lost.set_result(error)


class Echo(asyncio.Protocol):
    """Sends back what comes."""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


def listener(family=socket.AF_INET, backlog=16):
    """A blocking socket that listens on the loopback at a port of the system's choice."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
    sock.listen(backlog)
    return sock


@contextlib.contextmanager
def black_hole():
    """The address of a listener that answers nobody: its queue is full, so SYNs are dropped."""
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(listener(backlog=0))
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(sock.getsockname())
        time.sleep(0.05)
        yield sock.getsockname()


def refused_address():
    """An address that nobody listens on."""
    with listener() as sock:
        return sock.getsockname()


@functools.cache
def has_ipv6():
    try:
        with listener(socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = unittest.skipUnless(has_ipv6(), "this machine has no IPv6 loopback")


class Directory(unittest.TestCase):
    """Mixed into a case: `self.directory`, a directory that goes when the test ends."""

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="casyncio-")
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        super().setUp()

    def path(self, name):
        return os.path.join(self.directory, name)


@functools.cache
def certificate():
    """The paths of a certificate for localhost, signed by itself, and of its key."""
    directory = tempfile.mkdtemp(prefix="casyncio-tls-")
    unittest.addModuleCleanup(shutil.rmtree, directory, ignore_errors=True)
    certificate, key = os.path.join(directory, "certificate"), os.path.join(directory, "key")
    subprocess.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        " -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1".split()
        + ["-out", certificate, "-keyout", key],
        check=True,
        capture_output=True,
    )
    return certificate, key


needs_openssl = unittest.skipUnless(shutil.which("openssl"), "the openssl command is not there")


def server_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate())
    return context


def client_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certificate()[0])
    return context



class TlsPeer:
    """The other side of a connection: TLS by hand over a plain socket, so that it can misbehave."""

    def __init__(self, loop, sock, context, server_side=False, hostname=None):
        self.loop = loop
        self.sock = sock
        self.sock.setblocking(False)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side, hostname)

    async def flush(self):
        if self.outgoing.pending:
            await self.loop.sock_sendall(self.sock, self.outgoing.read())

    async def drive(self, call, *arguments):
        while True:
            try:
                result = call(*arguments)
                await self.flush()
                return result
            except ssl.SSLWantReadError:
                await self.flush()
                data = await self.loop.sock_recv(self.sock, 65536)
                if not data:
                    raise EOFError("the connection was closed") from None
                self.incoming.write(data)

    async def handshake(self):
        await self.drive(self.tls.do_handshake)

    async def send(self, data):
        await self.drive(self.tls.write, data)

    async def receive(self):
        return await self.drive(self.tls.read, 65536)

    def leave(self):
        """End the TCP connection without a word of TLS, and read what the other side still says."""

        async def read():
            with self.sock:
                while await self.loop.sock_recv(self.sock, 65536):
                    pass

        self.sock.shutdown(socket.SHUT_WR)
        self.leaving = self.loop.create_task(read())

    async def close_notify(self):
        """Say that nothing more comes, and do not wait for the answer."""
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        await self.flush()


@needs_openssl
class TlsCase(LoopCase):
    async def connected(self, factory=Recorder, version=None):
        """A protocol behind TLS on our side, and a TlsPeer: (protocol, peer)."""
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        context = client_context()
        if version:
            context.maximum_version = version
        peer = TlsPeer(self.loop, theirs, context, hostname="localhost")
        handshake = self.loop.create_task(peer.handshake())
        transport, protocol = await self.loop.connect_accepted_socket(
            factory, ours, ssl=server_context()
        )
        await handshake
        return protocol, peer


Result = collections.namedtuple("Result", "code out err")

PRELUDE = """\
import asyncio, os, signal, socket, sys, threading, time
sys.path.insert(0, {here!r})
from support import new_event_loop
"""


def program(source, *options, timeout=60, **environment):
    """Run `source` in an interpreter of its own, with `new_event_loop` at hand."""
    process = start_program(source, *options, **environment)
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"the program did not end\n{out}\n{err}") from None
    return Result(process.returncode, out, err)


def start_program(source, *options, stderr=subprocess.PIPE, **environment):
    prelude = PRELUDE.format(here=HERE)
    return subprocess.Popen(
        [sys.executable, *options, "-c", prelude + textwrap.dedent(source)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env={**os.environ, **environment},
    )


def open_descriptors():
    return len(os.listdir("/proc/self/fd"))


def main():
    """What a test file ends with. A test that hangs is ended, with the stacks of its threads."""
    faulthandler.enable()
    seconds = float(os.environ.get("CASYNCIO_TEST_TIMEOUT", 240))
    faulthandler.dump_traceback_later(seconds, exit=True)
    result = unittest.main(exit=False).result
    sys.exit(not result.wasSuccessful())  # 0 although all were skipped
