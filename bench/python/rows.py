"""What is measured: the rows of the table.

A row is a coroutine function that does its operation `count` times in the process under test, or
one that starts a server, whose clients are load.c. `names` is where the classes come from:
asyncio, or, in a row of casyncio's own classes, casyncio for casyncio's loop and asyncio for the
others. What a coroutine function returns, if that is not None, is the figure of all its operations,
in place of this process's CPU time.
"""
import asyncio
import dataclasses
import gc
import os
import resource
import socket
import subprocess
import sys
import threading
from functools import partial

import servers

BATCH = 1000        # callbacks between two turns of the loop
ROWS = []


@dataclasses.dataclass
class Row:
    name: str
    title: str
    run: object
    count: int          # operations of a round
    kind: str = None    # of load.c, the client of a server
    size: int = 0       # of its messages
    own: bool = False
    fresh: bool = False     # each round needs a process of its own
    scale: int = 1000       # what is measured, for one that is shown: ns for us
    peer: object = None     # the server that this is a client of: `run` is told its address


def add(row, own=False, plain=True):
    """Adds a row; with `own`, one with casyncio's classes too. `plain` is not for what asyncio's
    classes do without the loop: there all loops are alike."""
    if plain:
        ROWS.append(row)
    if own:
        ROWS.append(dataclasses.replace(row, name=row.name + '-own', title=row.title + ' *',
                                        own=True))


def row(name, title, count, own=False, plain=True, **more):
    def decorate(run):
        add(Row(name, title, run, count, **more), own, plain)
        return run
    return decorate


def repeated(name, title, count, make):
    """A row of something that is awaited again and again: make(loop) gives what makes it."""
    async def run(loop, names, count):
        made = make(loop)
        for _ in range(count):
            await made()
    add(Row(name, title, run, count))


def nothing(*args):
    pass


async def nothing_async():
    pass


# ---- callbacks and timers ----

@row('call_soon', 'call_soon, 1,000 a turn', 100_000)
async def call_soon(loop, names, count):
    call = loop.call_soon
    for _ in range(count // BATCH):
        for _ in range(BATCH):
            call(nothing)
        await asyncio.sleep(0)


@row('call_soon-arguments', 'call_soon with two arguments', 100_000)
async def call_soon_arguments(loop, names, count):
    call = loop.call_soon
    for _ in range(count // BATCH):
        for i in range(BATCH):
            call(nothing, loop, i)
        await asyncio.sleep(0)


@row('turn', 'a turn: a callback schedules itself', 30_000)
async def turn(loop, names, count):
    done = loop.create_future()
    left = count

    def again():
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(again)
        else:
            done.set_result(None)

    loop.call_soon(again)
    await done


@row('call_later', 'call_later + cancel', 50_000)
async def call_later(loop, names, count):
    call = loop.call_later
    delays = [5 + i * 7919 % BATCH / 1000 for i in range(BATCH)]
    for _ in range(count // BATCH):
        for delay in delays:
            call(delay, nothing).cancel()
        await asyncio.sleep(0)


@row('timer', 'call_later, until it is called', 30_000)
async def timer(loop, names, count):
    for _ in range(count // BATCH):
        done = loop.create_future()
        for i in range(BATCH - 1):
            loop.call_later(i * 1e-7, nothing)
        loop.call_later(BATCH * 1e-7, done.set_result, None)
        await done


@row('threadsafe', 'call_soon_threadsafe, by the loop itself', 30_000)
async def threadsafe(loop, names, count):
    call = loop.call_soon_threadsafe
    for _ in range(count // BATCH):
        for _ in range(BATCH):
            call(nothing)
        await asyncio.sleep(0)


@row('threadsafe-pingpong', 'call_soon_threadsafe, ping-pong', 3_000)
async def threadsafe_pingpong(loop, names, count):
    done = loop.create_future()

    def other():
        lock = threading.Lock()
        lock.acquire()
        for _ in range(count):
            loop.call_soon_threadsafe(lock.release)
            lock.acquire()
        loop.call_soon_threadsafe(done.set_result, None)

    thread = threading.Thread(target=other)
    thread.start()
    await done
    thread.join()


# ---- tasks and futures ----

repeated('sleep0', 'sleep(0), 1 task', 30_000, lambda loop: partial(asyncio.sleep, 0))
repeated('create_task', 'create_task + await', 20_000,
         lambda loop: lambda: loop.create_task(nothing_async()))
repeated('wait_for', 'wait_for(sleep(0), 10)', 8_000,
         lambda loop: lambda: asyncio.wait_for(asyncio.sleep(0), 10))


@row('sleep0-100', 'sleep(0), 100 tasks', 50_000)
async def sleep0_100(loop, names, count):
    async def yielder():
        for _ in range(count // 100):
            await asyncio.sleep(0)
    await asyncio.gather(*[yielder() for _ in range(100)])


@row('sleep-100', 'sleep(1 us), 100 tasks', 10_000)
async def sleep_100(loop, names, count):
    async def sleeper():
        for _ in range(count // 100):
            await asyncio.sleep(1e-6)
    await asyncio.gather(*[sleeper() for _ in range(100)])


@row('gather', 'gather of 10,000, for each', 10_000)
async def gather(loop, names, count):
    await asyncio.gather(*[nothing_async() for _ in range(count)])


@row('future', 'future: call_soon(set_result), await', 20_000)
async def future(loop, names, count):
    for _ in range(count):
        future = loop.create_future()
        loop.call_soon(future.set_result, None)
        await future


@row('timeout', 'timeout(10), nothing inside', 20_000, own=True)
async def timeout(loop, names, count):
    timeout = names.timeout
    for _ in range(count):
        async with timeout(10):
            pass


@row('timeout-sleep', 'timeout(10) around sleep(0)', 15_000, own=True)
async def timeout_sleep(loop, names, count):
    timeout = names.timeout
    for _ in range(count):
        async with timeout(10):
            await asyncio.sleep(0)


@row('queue', 'queue ping-pong, round trip', 8_000, own=True)
async def queue(loop, names, count):
    there, back = names.Queue(), names.Queue()

    async def other():
        for _ in range(count):
            await back.put(await there.get())

    task = loop.create_task(other())
    for i in range(count):
        await there.put(i)
        await back.get()
    await task


@row('queue-free', 'queue put + get, nobody waits', 50_000, own=True, plain=False)
async def queue_free(loop, names, count):
    queue = names.Queue()
    for i in range(count):
        await queue.put(i)
        await queue.get()


@row('lock', 'lock, free', 50_000, own=True, plain=False)
async def lock(loop, names, count):
    lock = names.Lock()
    for _ in range(count):
        async with lock:
            pass


@row('lock-handed', 'lock, handed over', 10_000, own=True)
async def lock_handed(loop, names, count):
    lock = names.Lock()

    async def holder():
        for _ in range(count // 2):
            async with lock:
                await asyncio.sleep(0)

    await asyncio.gather(holder(), holder())


@row('semaphore', 'semaphore, free', 50_000, own=True, plain=False)
async def semaphore(loop, names, count):
    semaphore = names.Semaphore(4)
    for _ in range(count):
        async with semaphore:
            pass


@row('event', 'event: set, wait, clear', 10_000, own=True)
async def event(loop, names, count):
    event = names.Event()

    async def waiter():
        for _ in range(count):
            await event.wait()
            event.clear()

    task = loop.create_task(waiter())
    for _ in range(count):
        event.set()
        while event.is_set():
            await asyncio.sleep(0)
    await task


# ---- descriptors, threads, processes ----

@row('add_reader', 'add_reader + remove_reader', 10_000)
async def add_reader(loop, names, count):
    a, b = socket.socketpair()
    for _ in range(count):
        loop.add_reader(a, nothing)
        loop.remove_reader(a)
    a.close()
    b.close()


@row('reader', 'a reader called, 1 byte to itself', 10_000)
async def reader(loop, names, count):
    a, b = socket.socketpair()
    done = loop.create_future()
    left = count

    def readable():
        nonlocal left
        a.recv(1)
        left -= 1
        if left:
            b.send(b'x')
        else:
            done.set_result(None)

    loop.add_reader(a, readable)
    b.send(b'x')
    await done
    loop.remove_reader(a)
    a.close()
    b.close()


@row('sock-free', 'sock_sendall + sock_recv, nobody waits', 10_000)
async def sock_free(loop, names, count):
    a, b = socket.socketpair()
    a.setblocking(False)
    b.setblocking(False)
    message = b'x' * 64
    for _ in range(count):
        await loop.sock_sendall(a, message)
        await loop.sock_recv(b, 64)
    a.close()
    b.close()


repeated('executor', 'run_in_executor', 2_000,
         lambda loop: partial(loop.run_in_executor, None, nothing))
repeated('getaddrinfo', 'getaddrinfo of a numeric address', 5_000,
         lambda loop: partial(loop.getaddrinfo, '127.0.0.1', 80))


@row('subprocess', 'subprocess: spawn, wait', 40)
async def subprocess_wait(loop, names, count):
    for _ in range(count):
        process = await asyncio.create_subprocess_exec('/bin/true')
        await process.wait()


@row('subprocess-pipe', 'subprocess: output through a pipe', 40)
async def subprocess_pipe(loop, names, count):
    for _ in range(count):
        process = await asyncio.create_subprocess_exec('/bin/true', stdout=subprocess.PIPE)
        await process.communicate()


@row('subprocess-cat', 'subprocess: a line through cat and back', 1_000)
async def subprocess_cat(loop, names, count):
    process = await asyncio.create_subprocess_exec('cat', stdin=subprocess.PIPE,
                                                   stdout=subprocess.PIPE)
    for _ in range(count):
        process.stdin.write(b'a line of some length, as it is\n')
        await process.stdout.readline()
    process.stdin.close()
    await process.wait()


@row('connect', 'connect + close, both ends', 300)
async def connect(loop, names, count):
    server = await loop.create_server(asyncio.Protocol, '127.0.0.1', 0)
    address = server.sockets[0].getsockname()
    for _ in range(count):
        transport, _ = await loop.create_connection(asyncio.Protocol, *address)
        transport.close()
        await asyncio.sleep(0)
    server.close()


class Bouncing(asyncio.Protocol):
    """Sends back what comes, `left` times; tells a future of the end."""
    def __init__(self, left, done):
        self.left, self.done = left, done

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.left -= 1
        if self.left:
            self.transport.write(data)
        elif not self.done.done():
            self.done.set_result(None)


async def bounce(loop, count):
    done = loop.create_future()
    a, b = socket.socketpair()
    one, _ = await loop.create_connection(lambda: Bouncing(count, done), sock=a)
    other, _ = await loop.create_connection(lambda: Bouncing(count, done), sock=b)
    one.write(b'x' * 64)
    await done
    one.close()
    other.close()


THREADS = 4


def bounce_in_thread(kind, count):
    loop = kind()
    loop.run_until_complete(bounce(loop, count))
    loop.close()


@row('threads', f'{THREADS} loops in {THREADS} threads, 64 B there and back', 4_000)
async def threads(loop, names, count):
    kind, each = type(loop), count // THREADS
    threads = [threading.Thread(target=bounce_in_thread, args=(kind, each)) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# ---- what needs a process of its own ----

IMPORT = """
import time
start = time.process_time_ns()
import {}
print(time.process_time_ns() - start)
"""


@row('import', 'import, asyncio with it, ms', 3, scale=1_000_000)
async def import_time(loop, names, count):
    module = 'casyncio' if 'casyncio' in sys.modules else type(loop).__module__.partition('.')[0]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    environment.pop('PYTHONDONTWRITEBYTECODE', None)    # what is installed is compiled already

    def once():
        return int(subprocess.run([sys.executable, '-c', IMPORT.format(module)], env=environment,
                                  capture_output=True, check=True).stdout)
    once()
    return sum(once() for _ in range(count))


PAGE = resource.getpagesize()


def resident():
    gc.collect()
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * PAGE


async def hold(loop, server, count):
    """Bytes that the process grows by, with `count` connections to it; they live as long as it."""
    address = server.sockets[0].getsockname()
    held = servers.kept

    async def connect(count):
        for _ in range(count):
            client = socket.socket()
            client.connect(address)
            held.append(client.detach())
            await asyncio.sleep(0)
        await asyncio.sleep(0.1)

    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    held.append(server)
    await connect(100)
    held.extend([None] * count)         # the list's own room
    del held[-count:]
    before = resident()
    await connect(count)
    return resident() - before


@row('idle', 'an idle connection, Protocol: bytes', 4_000, fresh=True, scale=1)
async def idle(loop, names, count):
    return await hold(loop, await loop.create_server(servers.Echo, '127.0.0.1', 0), count)


@row('idle-streams', 'an idle connection, streams: bytes', 4_000, fresh=True, scale=1, own=True)
async def idle_streams(loop, names, count):
    return await hold(loop, await names.start_server(servers.echo, '127.0.0.1', 0), count)


# ---- clients ----

@row('aiohttp-client', 'HTTP GET, aiohttp, client', 400, peer=servers.tcp(servers.Answer))
async def aiohttp_client(loop, names, count, address):
    import aiohttp
    url = f'http://127.0.0.1:{address}/'
    async with aiohttp.ClientSession() as session:
        for _ in range(count):
            async with session.get(url) as response:
                await response.read()


# ---- servers ----

def server(name, title, run, kind, sizes, counts, own=False):
    for size, count in zip(sizes, counts):
        label = f'{size} B' if size < 1024 else f'{size // 1024} KiB'
        key = f'{name}-{size}' if len(sizes) > 1 else name
        add(Row(key, f'{title}, {label}' if size else title, run, count, kind, size), own)


def echo(name, title, run, kind='tcp', counts=(4_000, 4_000, 2_000), own=False):
    server('echo-' + name, 'echo, ' + title, run, kind, (64, 1024, 65536), counts, own)


MIB = 1024 * 1024
TLS = 3_000, 3_000, 600

echo('protocol', 'Protocol', servers.tcp(servers.Echo))
echo('buffered', 'BufferedProtocol', servers.tcp(servers.EchoBuffered))
echo('streams', 'streams', servers.tcp_streams(servers.echo), own=True)
echo('sock', 'sock_recv + sock_sendall', servers.sock)
server('echo-unix', 'echo, streams, Unix', servers.unix, 'unix', (1024,), (4_000,), own=True)
server('echo-udp', 'echo, UDP', servers.udp, 'udp', (64, 1024), (4_000, 4_000))
echo('tls', 'TLS, Protocol', servers.tcp(servers.Echo, tls=True), 'tls', TLS)
echo('tls-streams', 'TLS, streams', servers.tcp_streams(servers.echo, tls=True), 'tls', TLS, own=True)
server('two-writes', 'an answer in two writes', servers.tcp(servers.EchoInTwo), 'tcp',
       (64, 1024), (4_000, 4_000))
server('bulk-send', 'bulk, streams, sent', servers.pulled, 'pull', (MIB,), (100,), own=True)
server('bulk-receive', 'bulk, streams, received', servers.pushed, 'push', (MIB,), (100,), own=True)
for name, title, once, close in (
        ('', 'Protocol', servers.tcp(servers.EchoOnce), servers.tcp(servers.Closing)),
        ('-streams', 'streams', servers.tcp_streams(servers.echo_once),
         servers.tcp_streams(servers.close))):
    own = bool(name)
    server('churn' + name, f'accept + close, {title}', close, 'churn', (0,), (800,), own)
    server('once' + name, f'accept, answer once, close, {title}', once, 'churn', (64,), (800,), own)
server('aiohttp', 'HTTP hello, aiohttp', servers.aiohttp, 'http', (0, 10240), (400, 400))
server('uvicorn', 'HTTP hello, uvicorn', servers.uvicorn, 'http', (0, 10240), (800, 800))
server('websockets', 'websockets', servers.websockets(), 'ws', (64, 1024), (1_000, 1_000))
server('websockets-tls', 'websockets, TLS', servers.websockets(tls=True), 'wss', (64, 1024),
       (1_000, 1_000))
