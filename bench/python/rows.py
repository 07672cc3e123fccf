"""What is measured: the rows of the table.

A row is a coroutine function that does its operation `count` times in the process under test, or
one that starts a server, whose clients are load.c. `names` is where the classes come from:
asyncio, or, in a row of casyncio's own classes, casyncio for casyncio's loop and asyncio for the
others.
"""
import asyncio
import collections
import socket
import subprocess
import threading

import servers

Row = collections.namedtuple('Row', 'name title run count kind size own')

BATCH = 1000        # callbacks between two turns of the loop
ROWS = []


def row(name, title, count, own=False, plain=True):
    """Adds a coroutine function as a row; with `own`, as one with casyncio's classes too. `plain` is
    not for what asyncio's classes do without the loop: there all loops are alike."""
    def add(run):
        if plain:
            ROWS.append(Row(name, title, run, count, None, 0, False))
        if own:
            ROWS.append(Row(name + '-own', title + ' *', run, count, None, 0, True))
        return run
    return add


def nothing():
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

@row('sleep0', 'sleep(0), 1 task', 30_000)
async def sleep0(loop, names, count):
    for _ in range(count):
        await asyncio.sleep(0)


@row('sleep0-100', 'sleep(0), 100 tasks', 50_000)
async def sleep0_100(loop, names, count):
    await asyncio.gather(*[sleep0(loop, names, count // 100) for _ in range(100)])


@row('sleep-100', 'sleep(1 us), 100 tasks', 10_000)
async def sleep_100(loop, names, count):
    async def sleeper():
        for _ in range(count // 100):
            await asyncio.sleep(1e-6)
    await asyncio.gather(*[sleeper() for _ in range(100)])


@row('create_task', 'create_task + await', 20_000)
async def create_task(loop, names, count):
    for _ in range(count):
        await loop.create_task(nothing_async())


@row('gather', 'gather of 10,000, for each', 10_000)
async def gather(loop, names, count):
    await asyncio.gather(*[nothing_async() for _ in range(count)])


@row('future', 'future: call_soon(set_result), await', 20_000)
async def future(loop, names, count):
    for _ in range(count):
        future = loop.create_future()
        loop.call_soon(future.set_result, None)
        await future


@row('wait_for', 'wait_for(sleep(0), 10)', 8_000)
async def wait_for(loop, names, count):
    for _ in range(count):
        await asyncio.wait_for(asyncio.sleep(0), 10)


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


@row('executor', 'run_in_executor', 2_000)
async def executor(loop, names, count):
    for _ in range(count):
        await loop.run_in_executor(None, nothing)


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


@row('connect', 'connect + close, both ends', 300)
async def connect(loop, names, count):
    server = await loop.create_server(asyncio.Protocol, '127.0.0.1', 0)
    address = server.sockets[0].getsockname()
    for _ in range(count):
        transport, _ = await loop.create_connection(asyncio.Protocol, *address)
        transport.close()
        await asyncio.sleep(0)
    server.close()


# ---- servers ----

def server(name, title, run, kind, sizes, counts, own=False):
    for size, count in zip(sizes, counts):
        label = f'{size} B' if size < 1024 else f'{size // 1024} KiB'
        key = f'{name}-{size}' if len(sizes) > 1 else name
        text = f'{title}, {label}' if size else title
        ROWS.append(Row(key, text, run, count, kind, size, False))
        if own:
            ROWS.append(Row(key + '-own', text + ' *', run, count, kind, size, True))


SIZES, COUNTS = (64, 1024, 65536), (4_000, 4_000, 2_000)
server('echo-protocol', 'echo, Protocol', servers.protocol, 'tcp', SIZES, COUNTS)
server('echo-buffered', 'echo, BufferedProtocol', servers.buffered, 'tcp', SIZES, COUNTS)
server('echo-streams', 'echo, streams', servers.streams, 'tcp', SIZES, COUNTS, own=True)
server('echo-sock', 'echo, sock_recv + sock_sendall', servers.sock, 'tcp', SIZES, COUNTS)
server('echo-unix', 'echo, streams, Unix', servers.unix, 'unix', (1024,), (4_000,), own=True)
server('echo-udp', 'echo, UDP', servers.udp, 'udp', (64, 1024), (4_000, 4_000))
server('echo-tls', 'echo, TLS, Protocol', servers.tls, 'tls', SIZES, (3_000, 3_000, 600))
server('echo-tls-streams', 'echo, TLS, streams', servers.tls_streams, 'tls', SIZES,
       (3_000, 3_000, 600), own=True)
server('churn', 'accept + close, Protocol', servers.churn, 'churn', (0,), (800,))
server('churn-streams', 'accept + close, streams', servers.churn_streams, 'churn', (0,), (600,),
       own=True)
server('http', 'HTTP hello, aiohttp', servers.http, 'http', (0,), (400,))
