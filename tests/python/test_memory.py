"""Nothing leaks: objects, references, descriptors, memory. And much of everything fits."""

import asyncio
import collections
import contextlib
import gc
import itertools
import os
import resource
import shutil
import signal
import socket
import struct
import sys
import tracemalloc
import unittest
import weakref

import support

# It keeps what is freed for a while, and pads what is not.
SANITIZED = "libasan" in os.environ.get("LD_PRELOAD", "")

TLS = shutil.which("openssl")


def census():
    """How many objects of each type the garbage collector knows."""
    gc.collect()
    return collections.Counter(type(thing).__name__ for thing in gc.get_objects())


async def callbacks(loop):
    for _ in range(10):
        loop.call_soon(int)
        loop.call_later(0, int)
        loop.call_later(100, int).cancel()
        loop.call_soon_threadsafe(int).cancel()
    await asyncio.sleep(0.001)


async def failures(loop):
    loop.set_exception_handler(lambda *_: None)
    loop.call_soon(lambda: 1 / 0)
    await asyncio.sleep(0)
    with contextlib.suppress(ZeroDivisionError):
        await loop.run_in_executor(None, divmod, 1, 0)
    loop.set_exception_handler(None)


async def tasks(loop):
    await asyncio.gather(*(asyncio.sleep(0) for _ in range(10)))
    task = loop.create_task(asyncio.sleep(100))
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.sleep(100), 0.001)


async def readers(loop):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        loop.add_reader(ours, int)
        loop.add_reader(ours, ours.recv, 1)
        loop.add_writer(ours, int)
        theirs.send(b"x")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        loop.remove_reader(ours)
        loop.remove_writer(ours)


async def sock_calls(loop):
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    buffer = bytearray(100)
    with ours, theirs:
        for _ in range(3):
            task = loop.create_task(loop.sock_recv(ours, 10))
            await asyncio.sleep(0)
            await loop.sock_sendall(theirs, b"hello")
            await task
            await loop.sock_sendall(theirs, b"hello")
            await loop.sock_recv_into(ours, buffer)
        for call in (loop.sock_recv(ours, 5), loop.sock_recv_into(ours, buffer),
                     loop.sock_sendall(ours, b"x" * 1_000_000)):  # fmt: skip
            task = loop.create_task(call)
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
    with support.listener() as listening, socket.socket() as client:
        listening.setblocking(False)
        client.setblocking(False)
        task = loop.create_task(loop.sock_accept(listening))
        await loop.sock_connect(client, listening.getsockname())
        (await task)[0].close()


async def udp_calls(loop):
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        await loop.sock_sendto(sock, b"hello", sock.getsockname())
        await loop.sock_recvfrom(sock, 10)
        task = loop.create_task(loop.sock_recvfrom_into(sock, bytearray(10)))
        await asyncio.sleep(0)
        await loop.sock_sendto(sock, b"hello", sock.getsockname())
        await task


async def connections(loop, **tls):
    server = await loop.create_server(
        support.Echo, "127.0.0.1", 0, ssl=support.server_context() if tls else None
    )
    for _ in range(3):
        transport, protocol = await loop.create_connection(
            support.Recorder, *server.sockets[0].getsockname(), **tls
        )
        transport.write(b"x" * 100_000)
        transport.writelines([b"y", b"z"])
        await support.until(lambda: len(protocol.data) == 100_002)
        transport.close()
        await protocol.lost
    transport, protocol = await loop.create_connection(
        support.Recorder, *server.sockets[0].getsockname(), **tls
    )
    transport.write(b"x" * 3_000_000)
    transport.abort()
    await protocol.lost
    server.close()
    await asyncio.sleep(0.005)


async def tls_connections(loop):
    await connections(loop, ssl=support.client_context(), server_hostname="localhost")


async def buffered(loop):
    ours, theirs = socket.socketpair()
    transport, protocol = await loop.create_connection(support.BufferedRecorder, sock=ours)
    theirs.sendall(b"x" * 10_000)
    theirs.close()
    await protocol.lost


# Made once, for a class is garbage only to the collector.
BAD = [support.raising(support.Recorder, method, ZeroDivisionError)
       for method in ("connection_made", "data_received", "eof_received", "connection_lost")]


async def bad_protocols(loop):
    loop.set_exception_handler(lambda *_: None)
    for factory in BAD:
        ours, theirs = socket.socketpair()
        transport, protocol = await loop.create_connection(factory, sock=ours)
        theirs.send(b"x")
        await asyncio.sleep(0)
        theirs.close()
        await protocol.lost
        await asyncio.sleep(0)
    loop.set_exception_handler(None)


async def streams(loop):
    async def serve(reader, writer):
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    for _ in range(3):
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"hello\n")
        await reader.readline()
        await reader.read()
        writer.close()
        await writer.wait_closed()
    server.close()
    await asyncio.sleep(0)


async def datagrams(loop):
    transport, protocol = await loop.create_datagram_endpoint(
        support.DatagramRecorder, ("127.0.0.1", 0)
    )
    for _ in range(10):
        transport.sendto(b"hello", transport.get_extra_info("sockname"))
    await support.until(lambda: len(protocol.received) == 10)
    transport.close()
    await protocol.lost


async def pipes(loop):
    reading, writing = os.pipe()
    reader, reads = await loop.connect_read_pipe(support.Recorder, os.fdopen(reading, "rb", 0))
    writer, writes = await loop.connect_write_pipe(
        support.Recorder, os.fdopen(writing, "wb", 0)
    )
    writer.write(b"x" * 100_000)
    writer.write_eof()
    await reads.lost
    await writes.lost


async def processes(loop):
    process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    await process.communicate(b"hello")


async def signals(loop):
    loop.add_signal_handler(signal.SIGUSR1, int)
    os.kill(os.getpid(), signal.SIGUSR1)
    await asyncio.sleep(0.001)
    loop.remove_signal_handler(signal.SIGUSR1)


async def sendfile(loop):
    ours, theirs = socket.socketpair()
    transport, protocol = await loop.create_connection(support.Recorder, sock=ours)
    with theirs, open(__file__, "rb") as file:
        await loop.sendfile(transport, file, 0, 1000)
        transport.close()
        await protocol.lost


SCENARIOS = [callbacks, failures, tasks, readers, sock_calls, udp_calls, connections, buffered,
             bad_protocols, streams, datagrams, pipes, processes, signals, sendfile]  # fmt: skip
if TLS:
    SCENARIOS.append(tls_connections)


class Leaks(support.LoopCase):
    """Each scenario runs some times, to fill caches; then some more, which must add nothing."""

    rounds = 6

    def setUp(self):
        super().setUp()
        asyncio.set_event_loop(self.loop)
        self.addCleanup(asyncio.set_event_loop, None)
        if TLS:
            support.certificate()

    def repeat(self, scenario, rounds=None):
        for _ in range(rounds or self.rounds):
            self.run_async(scenario(self.loop))
        self.turns(5)
        support.settle()

    def check(self, scenario):
        self.repeat(scenario)
        self.repeat(scenario)
        census()  # counting fills caches too
        before = census(), support.open_descriptors(), sys.getrefcount(self.loop)
        self.repeat(scenario)
        after = census(), support.open_descriptors(), sys.getrefcount(self.loop)
        # Less than one per round is no leak of the scenario's: a cache, the interpreter's own.
        grown = {
            name: count - before[0][name]
            for name, count in after[0].items()
            if count - before[0][name] >= self.rounds
        }
        self.assertEqual(grown, {})
        self.assertLess(after[1] - before[1], self.rounds)
        self.assertLess(abs(after[2] - before[2]), self.rounds)

    def check_blocks(self, scenario):
        """The same by memory: what is no object of the collector's is seen as well."""
        def run():
            self.repeat(scenario, 10)

        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        # No block is smaller than 16 bytes; some are added by the counting itself.
        if support.growth(run, 1, lambda: tracemalloc.get_traced_memory()[0]) >= 10 * 16:
            before = tracemalloc.take_snapshot()
            run()
            differences = tracemalloc.take_snapshot().compare_to(before, "lineno")
            self.fail("\n".join(map(str, differences[:8])))


for scenario in SCENARIOS:
    setattr(Leaks, "test_" + scenario.__name__, lambda self, s=scenario: self.check(s))
    setattr(
        Leaks, f"test_{scenario.__name__}_by_memory", lambda self, s=scenario: self.check_blocks(s)
    )


class References(support.LoopCase):
    """Things that are counted one by one."""

    def assert_kept(self, make, count=0):
        """After make(thing) and some turns, `count` references more than before are held."""

        class Thing:
            def __call__(self, *_):
                pass

        thing = Thing()
        before = sys.getrefcount(thing)
        make(thing)
        self.turns(5)
        gc.collect()
        self.assertEqual(sys.getrefcount(thing) - before, count)

    def test_callbacks(self):
        for number in range(6):
            arguments = (object(),) * number
            self.assert_kept(lambda thing: self.loop.call_soon(thing, *arguments))
            self.assert_kept(lambda thing: self.loop.call_soon_threadsafe(thing, *arguments))
            self.assert_kept(lambda thing: self.loop.call_later(0, thing, *arguments))
        self.assert_kept(lambda thing: self.loop.call_soon(id, thing))
        self.assert_kept(lambda thing: self.loop.call_soon(thing).cancel())
        self.assert_kept(lambda thing: self.loop.call_later(1000, thing).cancel())
        self.assert_kept(lambda thing: self.loop.call_soon_threadsafe(thing).cancel())

    def test_a_cancelled_timer_lets_go_at_once(self):
        class Thing:
            pass

        thing = Thing()
        before = sys.getrefcount(thing)
        self.loop.call_later(1000, int, thing).cancel()
        self.assertEqual(sys.getrefcount(thing), before)

    def test_readers(self):
        ours, theirs = socket.socketpair()
        with ours, theirs:

            def watch(thing):
                self.loop.add_reader(ours, thing)
                self.loop.add_writer(ours, thing)
                self.loop.remove_reader(ours)
                self.loop.remove_writer(ours)

            def replace(thing):
                self.loop.add_reader(ours, thing)
                self.loop.add_reader(ours, int)

            self.assert_kept(watch)
            self.assert_kept(replace)
            self.loop.remove_reader(ours)

    def test_none_true_and_false(self):
        """Constants that are returned keep their counts; a missing Py_INCREF shows here."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            for constant in (None, True, False):
                before = sys.getrefcount(constant)
                for _ in range(5000):
                    self.loop.add_reader(ours, int)
                    self.loop.remove_reader(ours)
                    self.loop.remove_reader(ours)
                    self.loop.is_running()
                    self.loop.is_closed()
                    self.loop.get_debug()
                    self.loop.get_exception_handler()
                    self.loop.call_soon(int).cancel()
                self.turns()
                self.assertLess(abs(sys.getrefcount(constant) - before), 2000)

    def test_buffers_are_released(self):
        transport, protocol, theirs = self.run_async(self.connect())
        data = bytearray(3_000_000)
        transport.write(data)
        transport.abort()
        self.run_async(protocol.lost)
        data.append(1)
        theirs.close()

    def test_transport_and_protocol_go_when_the_connection_does(self):
        transport, protocol, theirs = self.run_async(self.connect())
        weak = weakref.ref(protocol)
        theirs.close()
        self.run_async(protocol.lost)
        del protocol, transport
        self.turns()
        gc.collect()
        self.assertIsNone(weak())

    def test_cycles_through_the_loop_are_collected(self):
        class Thing:
            pass

        thing = Thing()
        weak = weakref.ref(thing)
        loop = support.new_event_loop()
        thing.loop = loop
        loop.thing = thing
        loop.set_exception_handler(lambda *_, thing=thing: None)
        loop.call_soon(id, thing)
        handle = loop.call_later(100, int, thing)
        thing.handle = handle
        loop.close()
        del thing, loop, handle
        gc.collect()
        self.assertIsNone(weak())

    def test_a_loop_goes_without_the_collector_or_with_it(self):
        loop = support.new_event_loop()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        weak = weakref.ref(loop)
        del loop
        gc.collect()
        self.assertIsNone(weak())

    def test_a_big_block_is_not_kept_by_a_small_read(self):
        """data_received gets as much memory as there was data, not a slice of a big buffer."""
        got = []

        class Protocol(support.Recorder):
            def data_received(self, data):
                got.append(data)

        transport, protocol, theirs = self.run_async(self.connect(Protocol))
        theirs.send(b"x" * 100)
        self.until(lambda: got)
        self.assertLess(sys.getsizeof(got[0]), 200)
        transport.abort()
        self.run_async(protocol.lost)
        theirs.close()


class Growth(unittest.TestCase):
    """What the tests of leaks count by."""

    def setUp(self):
        if not sys.getallocatedblocks():
            self.skipTest("the allocator of this run does not count")

    def test_one_block(self):
        kept = {}
        leak = lambda: kept.setdefault(len(kept), object())
        for number in range(1000):
            kept[number] = None  # the numbers that follow are no objects that are there already
        self.assertGreaterEqual(support.growth(leak), 1)

    def test_one_in_four(self):
        turns, kept = itertools.cycle(range(4)), []
        self.assertEqual(support.growth(lambda: next(turns) or kept.append(object())), 0.25)

    def test_nothing(self):
        self.assertEqual(support.growth(lambda: [object() for _ in range(100)]), 0)

    def test_names_that_are_made_up(self):
        numbers = itertools.count(1000)
        self.assertEqual(support.growth(lambda: getattr(self, f"_{next(numbers)}", None)), 0)


class Many(unittest.TestCase):
    def test_loops(self):
        """10,000 loops, one after another: neither descriptors nor memory grow."""

        def make(count):
            for _ in range(count):
                loop = support.new_event_loop()
                loop.call_soon(loop.stop)
                loop.run_forever()
                loop.close()

        make(200)
        gc.collect()
        descriptors = support.open_descriptors()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        make(10_000)
        gc.collect()
        self.assertEqual(support.open_descriptors(), descriptors)
        if not SANITIZED:
            self.assertLess(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, 20_000)

    def test_idle_connections(self):
        """10,000 connections, both ends in this process; each still works at the end."""
        count = 10_000
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        needed = 2 * count + 200
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, max(needed, hard)))
        except (OSError, ValueError) as error:
            # Each connection needs two descriptors here; do with what there is.
            count = (hard - 200) // 2
            if count < 2000:
                self.skipTest(f"{needed} descriptors are not allowed: {error}")
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        loop = support.new_event_loop()
        self.addCleanup(loop.close)
        loop.run_until_complete(asyncio.wait_for(self.hold(loop, count), 100))

    async def hold(self, loop, count):
        echoed = []

        class Client(asyncio.Protocol):
            def connection_made(self, transport):
                self.transport = transport

            def data_received(self, data):
                echoed.append(data)

        server = await loop.create_server(support.Echo, "127.0.0.1", 0, backlog=1000)
        address = server.sockets[0].getsockname()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        clients = []
        for start in range(0, count, 500):
            # Several local addresses, so that ports do not run out.
            local = ("127.0.0.%d" % (2 + start // 5000), 0)
            pairs = await asyncio.gather(
                *(
                    loop.create_connection(Client, *address, local_addr=local)
                    for _ in range(min(500, count - start))
                )
            )
            clients += [protocol for _, protocol in pairs]
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        if not SANITIZED:
            self.assertLess(grown / count, 16, "KiB for both ends of a connection")
        for client in clients:
            client.transport.write(b"x")
        await support.until(lambda: len(echoed) == count, 60)
        server.close()
        for client in clients:
            # By a reset: 10,000 ports in TIME_WAIT would be in the way of other tests for a minute.
            sock = client.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.transport.abort()
        await (server.wait_closed() if sys.version_info >= (3, 12, 1) else asyncio.sleep(0.5))


if __name__ == "__main__":
    support.main()
