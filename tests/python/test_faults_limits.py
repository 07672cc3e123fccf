"""No descriptors left, no memory left."""

# run: timeout=300

import asyncio
import contextlib
import errno
import os
import resource
import socket
import textwrap
import time
import unittest

import support

try:
    import _testcapi

    set_nomemory = _testcapi.set_nomemory
except (ImportError, AttributeError):
    set_nomemory = None


class Descriptors(support.LoopCase):
    @contextlib.contextmanager
    def no_more_descriptors(self):
        """Within the block the process can open nothing."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))
        fillers = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
        try:
            with contextlib.suppress(OSError):
                while True:
                    fillers.append(os.open(os.devnull, os.O_RDONLY))
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for filler in fillers:
                os.close(filler)

    def test_accept(self):
        """The server says so, rests for a second instead of spinning, and goes on."""
        server = self.run_async(self.loop.create_server(support.Echo, "127.0.0.1", 0))
        client = socket.socket()
        client.setblocking(False)

        async def talk():
            await self.loop.sock_sendall(client, b"hello")
            return await self.loop.sock_recv(client, 10)

        with self.no_more_descriptors():
            self.run_async(self.loop.sock_connect(client, server.sockets[0].getsockname()))
            start = time.process_time()
            self.run_async(asyncio.sleep(0.1))
            self.assertLess(time.process_time() - start, 0.08)
            reports = self.take_errors()
            # The standard loop says it once per place in its backlog.
            self.assertEqual(len(reports), 100 if support.STOCK else 1)
            self.assertEqual(reports[0]["exception"].errno, errno.EMFILE)
            self.assertIn("accept", reports[0]["message"])
        with client:
            self.assertEqual(self.run_async(talk(), 5), b"hello")
        server.close()
        self.turns(5)

    @support.stock_cannot("it tries to serve again")
    def test_server_closed_while_it_rests(self):
        server = self.run_async(self.loop.create_server(support.Echo, "127.0.0.1", 0))
        with socket.socket() as client:
            client.setblocking(False)
            with self.no_more_descriptors():
                self.run_async(self.loop.sock_connect(client, server.sockets[0].getsockname()))
                self.run_async(asyncio.sleep(0.02))
                self.assertTrue(self.take_errors())
            server.close()
            self.run_async(asyncio.sleep(1.1))

    @support.stock_since(3, 13)
    def test_everything_else_says_so(self):
        with self.no_more_descriptors():
            for call in (
                lambda: self.loop.create_connection(support.Recorder, "127.0.0.1", 1),
                lambda: self.loop.create_server(support.Recorder, "127.0.0.1", 0),
                lambda: self.loop.create_datagram_endpoint(
                    support.DatagramRecorder, ("127.0.0.1", 0)
                ),
                lambda: self.loop.create_unix_connection(support.Recorder, "/nowhere"),
                lambda: self.loop.subprocess_exec(asyncio.SubprocessProtocol, "true"),
            ):
                with self.assertRaises(OSError):
                    self.run_async(call())
            with self.assertRaises(OSError):
                support.new_event_loop()
        self.turns()


NO_MEMORY = """
import _testcapi, collections, contextlib, errno, faulthandler
faulthandler.enable()
sys.unraisablehook = lambda *_: None
loop = new_event_loop()
loop.set_exception_handler(lambda *_: None)
ours, theirs = socket.socketpair()
for sock in ours, theirs:
    sock.setblocking(False)
failures = collections.Counter()

class Protocol(asyncio.Protocol):
    pass

class Datagrams(asyncio.DatagramProtocol):
    pass

def without_memory(call, clean=int, allocations=60):
    for number in range(allocations):
        _testcapi.set_nomemory(number, number + 1)
        try:
            call()
        except BaseException as error:
            _testcapi.remove_mem_hooks()
            failures[type(error)] += 1
        finally:
            _testcapi.remove_mem_hooks()
        clean()
        turn()

def turn():
    loop.call_soon(loop.stop)
    loop.run_forever()

def turn_without_memory(prepare, allocations=60):
    for number in range(allocations):
        prepare()
        loop.call_soon(loop.stop)
        guard = loop.call_later(0.05, loop.stop)
        _testcapi.set_nomemory(number, number + 1)
        try:
            loop.run_forever()
        except BaseException as error:
            _testcapi.remove_mem_hooks()
            failures[type(error)] += 1
        finally:
            _testcapi.remove_mem_hooks()
        guard.cancel()  # on a slow machine it would stop a later run
        turn()

def connected(factory=Protocol):
    # The protocol's methods are C functions: no line of Python runs without memory.
    transport, protocol = loop.run_until_complete(loop.create_connection(factory, sock=ours))
    protocol.data_received = [].append
    return transport

def drain():
    with contextlib.suppress(BlockingIOError):
        while theirs.recv(1 << 20):
            pass

def end(transport):
    transport.abort()
    turn()
    turn()

{scenario}
ours.close()
theirs.close()
# The loop still works after all that.
loop.run_until_complete(asyncio.sleep(0.001))
loop.close()
print("survived", failures)
"""

SCENARIOS = {
    "call_soon": "without_memory(lambda: loop.call_soon(int, 5))",
    "call_soon_threadsafe": "without_memory(lambda: loop.call_soon_threadsafe(int, 5))",
    "call_later": "without_memory(lambda: loop.call_later(0, int, 5))",
    "many_timers": """
        def add():
            for _ in range(40):
                loop.call_later(0, int)
        without_memory(add, allocations=200)
        """,
    "turn": """
        def prepare():
            for _ in range(5):
                loop.call_soon(int)
                loop.call_later(0, int)
                loop.call_soon_threadsafe(int)
        turn_without_memory(prepare)
        """,
    "create_future_and_task": """
        without_memory(loop.create_future)
        """,
    "readers": """
        def both():
            loop.add_reader(ours, int)
            loop.add_writer(ours, int)
        def clean():
            loop.remove_reader(ours)
            loop.remove_writer(ours)
        without_memory(both, clean)
        """,
    "sock_recv": """
        # Driven by hand: CPython's Task does not survive a failed allocation in its step.
        def steps(awaitable):
            iterator = awaitable.__await__()
            with contextlib.suppress(StopIteration):
                next(iterator)
            return iterator
        started = []
        def receive():
            started.append(steps(loop.sock_recv(ours, 1)))
        without_memory(receive)
        def start():
            receive()
            theirs.send(b"x")
        turn_without_memory(start)
        started.clear()
        loop.remove_reader(ours)
        """,
    "sock_sendall": """
        data = b"x" * 1000000
        started = []
        def send():
            iterator = loop.sock_sendall(ours, data).__await__()
            started.append(iterator)
            next(iterator)
        def clean():
            started.clear()
            loop.remove_writer(ours)
            drain()
        without_memory(send, clean)
        """,
    "write": """
        transport = connected()
        data = b"x" * 300000
        without_memory(lambda: transport.write(data), drain)
        end(transport)
        """,
    "writelines": """
        transport = connected()
        data = [b"x" * 100000, b"y", b"z" * 200000]
        without_memory(lambda: transport.writelines(data), drain)
        end(transport)
        """,
    "reading": """
        transport = connected()
        def prepare():
            if transport.is_closing():
                return
            theirs.send(b"hello")
        turn_without_memory(prepare)
        end(transport)
        """,
    "making": """
        pairs = [socket.socketpair() for _ in range(120)]
        spare = iter(pairs)
        made = []
        def make():
            made.append(loop._make_socket_transport(next(spare)[0], Protocol()))
        without_memory(make)
        turn_without_memory(make)
        for transport in made:
            end(transport)
        """,
    "closing": """
        transports = []
        def make():
            global ours, theirs
            ours.close(); theirs.close()
            ours, theirs = socket.socketpair()
            transports.append(connected())
            transports[-1].close()
        turn_without_memory(make)
        """,
    "datagrams": """
        transport, protocol = loop.run_until_complete(
            loop.create_datagram_endpoint(Datagrams, ("127.0.0.1", 0)))
        protocol.datagram_received = lambda *_: None
        address = transport.get_extra_info("sockname")
        without_memory(lambda: transport.sendto(b"hello", address))
        turn_without_memory(lambda: transport.sendto(b"hello", address))
        end(transport)
        """,
}


@unittest.skipUnless(set_nomemory, "this Python has no _testcapi.set_nomemory")
@support.stock_cannot("CPython's own code crashes when an allocation fails")
class NoMemory(unittest.TestCase):
    """The n-th allocation of a call, or of a turn of the loop, fails, for each n: an error, or a
    report to the exception handler, but no crash, and a loop that goes on."""

    def check(self, name):
        scenario = textwrap.dedent(SCENARIOS[name])
        result = support.program(NO_MEMORY.replace("{scenario}", scenario), timeout=60)
        self.assertEqual(result.code, 0, result)
        self.assertIn("survived", result.out, result)
        self.assertIn("MemoryError", result.out, "no allocation failed: " + result.out)


for name in SCENARIOS:
    setattr(NoMemory, "test_" + name, lambda self, name=name: self.check(name))


if __name__ == "__main__":
    support.main()
