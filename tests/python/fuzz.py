"""Calls whatever there is, with whatever there is, in whatever order: no call from Python may crash.

    PYTHONPATH=<build> python tests/python/fuzz.py FIRST LAST [STEPS]

Each seed is a world of its own: loops, transports with protocols of every kind, TLS, servers,
streams, locks, queues, handles. A step calls a method of one of them, public or private, with
arguments that are mostly wrong, sets or deletes an attribute, lets a loop turn, or collects. Some of
the arguments strike back: whatever is asked of them (a truth value, a number, an attribute, their
end) has them close a loop or a transport, collect, or raise. Only the process's end counts; test_fuzz.py
looks at that.
"""

import asyncio
import contextlib
import contextvars
import faulthandler
import gc
import inspect
import logging
import os
import random
import resource
import socket
import ssl
import sys
import warnings

import casyncio
from casyncio import _casyncio

# What would end or block the process, or leave the world that a seed has to itself.
NEVER = {
    "__class__", "__subclasshook__", "__init_subclass__", "__reduce__", "__reduce_ex__", "__dir__",
    "subprocess_exec", "subprocess_shell", "_make_subprocess_transport", "run_in_executor",
    "add_signal_handler", "_handle_signal", "_process_self_data", "_child_watcher_callback",
    "set_default_executor", "shutdown_default_executor", "_do_shutdown", "run_until_complete",
    "_sock_sendfile_native", "_sock_sendfile_native_impl",
}
# They wait unless the loop is to stop; so it is told to first.
RUNS = {"run_forever", "_run", "_run_once"}


# A second __init__ that fails leaves an _asyncio.Task without a coroutine, and CPython's own finalizer
# crashes. The world's loops have had theirs.
CPYTHONS = (asyncio.Future, casyncio.Loop)


class World:
    """What one seed has."""

    def __init__(self, seed, certificate):
        self.random = random.Random(seed)
        self.certificate = certificate
        self.things = []
        self.depth = 0
        self.budget = 2000  # of what strikes back
        self.loops = [casyncio.new_event_loop() for _ in range(2)]
        for loop in self.loops:
            loop.set_exception_handler(lambda *_: self.strike(0.2))
        self.things.extend(self.loops)
        for make in self.random.choices(MAKERS, k=8):
            self.make(make)

    def make(self, make):
        try:
            made = make(self)
        except (Exception, asyncio.CancelledError):
            return
        self.things.extend(made if isinstance(made, tuple) else (made,))

    # ---- what strikes back ----

    def strike(self, chance=0.3):
        if self.depth > 3 or self.budget <= 0 or self.random.random() > chance:
            return
        self.budget -= 1
        self.depth += 1
        try:
            self.random.choice(STRIKES)(self)
        except (Exception, asyncio.CancelledError, GeneratorExit):
            if self.random.random() < 0.1:
                raise ValueError("struck") from None
        finally:
            self.depth -= 1

    # ---- values ----

    def loop(self):
        return self.random.choice(self.loops)

    def thing(self):
        """Each type is as likely as the others, and what is new more than what is old."""
        if self.random.random() < 0.3:
            return self.random.choice(self.things[-8:])
        kinds = {}
        for each in self.things:
            kinds.setdefault(type(each), []).append(each)
        return self.random.choice(kinds[self.random.choice(list(kinds))])

    def value(self):
        kind = self.random.random()
        if kind < 0.35:
            return self.thing()
        if kind < 0.6:
            return Evil(self)
        return self.random.choice(VALUES)(self)

    def callback(self):
        return self.random.choice((Evil(self), print_nothing, self.strike, self.value()))

    # ---- steps ----

    def step(self):
        kind = self.random.random()
        try:
            for i, loop in enumerate(self.loops):
                if _casyncio.Loop.is_closed(loop):
                    self.loops[i] = new = casyncio.new_event_loop()
                    new.set_exception_handler(lambda *_: self.strike(0.2))
                    self.things.append(new)
            if kind < 0.62:
                self.call(self.thing())
            elif kind < 0.70:
                self.tamper(self.thing())
            elif kind < 0.84:
                self.turn(self.loop())
            elif kind < 0.87:
                gc.collect(self.random.randrange(3))
            elif kind < 0.95:
                self.make(self.random.choice(MAKERS))
            elif len(self.things) > 6:
                del self.things[self.random.randrange(len(self.things))]
        except (Exception, asyncio.CancelledError, GeneratorExit):
            pass

    def call(self, thing):
        names = names_of(type(thing))
        name = self.random.choice(names)
        if name in NEVER:
            return
        if name in RUNS and isinstance(thing, _casyncio.Loop):
            self.turn(thing)
            return
        if name == "__init__" and isinstance(thing, CPYTHONS):
            return
        count = self.random.choice((0, 1, 1, 2, 2, 3, 4, 7))
        arguments = [self.value() for _ in range(count)]
        if arguments and self.random.random() < 0.2:
            arguments[-1] = self.callback()
        method = getattr(thing, name)
        if not callable(method) or isinstance(method, type):
            return
        keywords = {}
        if self.random.random() < 0.15:
            keywords[self.random.choice(KEYWORDS)] = self.value()
        result = method(*arguments, **keywords)
        self.drive(result)

    def drive(self, result):
        if hasattr(result, "send") and hasattr(result, "throw"):
            self.things.append(result)
            for _ in range(self.random.randrange(3)):
                if self.random.random() < 0.8:
                    result.send(None)
                elif self.random.random() < 0.5:
                    result.throw(self.random.choice((ValueError, asyncio.CancelledError, KeyError)))
                else:
                    result.close()
        elif type(result).__module__.startswith(("casyncio", "asyncio", "_asyncio")):
            if len(self.things) < 60:
                self.things.append(result)

    def tamper(self, thing):
        name = self.random.choice(names_of(type(thing)))
        if name.startswith("__") or name in ("_csock", "_ssock"):
            return
        if self.random.random() < 0.15:
            owner = next((base for base in type(thing).__mro__ if name in vars(base)), None)
            descriptor = vars(owner).get(name) if owner else None
            if hasattr(descriptor, "__set__"):
                descriptor.__set__(thing, self.value())
                return
        if isinstance(thing, casyncio.Loop) and callable(getattr(thing, name, None)):
            if self.random.random() < 0.9:
                return
        if self.random.random() < 0.25:
            delattr(thing, name)
        else:
            setattr(thing, name, self.value())

    def turn(self, loop):
        for _ in range(self.random.choice((1, 1, 2, 5))):
            _casyncio.Loop.stop(loop)
            try:
                _casyncio.Loop.run_forever(loop)
            except (Exception, asyncio.CancelledError, GeneratorExit):
                pass
            except KeyboardInterrupt:
                pass

    def end(self):
        for loop in [thing for thing in self.things if isinstance(thing, _casyncio.Loop)]:
            with contextlib.suppress(Exception, asyncio.CancelledError):
                self.turn(loop)
                _casyncio.Loop._close(loop)
        self.budget = 0
        self.things.clear()


class Evil:
    """Strikes whatever it is asked."""

    def __init__(self, world):
        object.__setattr__(self, "world", world)
        object.__setattr__(self, "wears", world.random.random() < 0.5)

    def __call__(self, *_, **__):
        self.world.strike()
        return self.world.random.choice((None, 1, b"x", self))

    def __del__(self):
        self.world.strike(0.5)

    def __bool__(self):
        self.world.strike()
        return self.world.random.random() < 0.5

    def __index__(self):
        self.world.strike()
        return self.world.random.choice((-1, 0, 1, 5, 1 << 40))

    def __float__(self):
        self.world.strike()
        return self.world.random.choice((0.0, -1.0, 1e-6, float("nan")))

    def __len__(self):
        self.world.strike()
        return self.world.random.choice((0, 1, 4))

    def __eq__(self, other):
        self.world.strike()
        return self is other

    def __hash__(self):
        return id(self)

    def __lt__(self, other):
        self.world.strike()
        return self.world.random.random() < 0.5

    __le__ = __gt__ = __ge__ = __lt__

    def __repr__(self):
        self.world.strike()
        return "evil"

    def __iter__(self):
        self.world.strike()
        return iter([b"a", b"b", self][: self.world.random.randrange(4)])

    def __await__(self):
        self.world.strike()
        yield None

    def __enter__(self):
        self.world.strike()
        return self

    def __exit__(self, *_):
        self.world.strike()

    def fileno(self):
        self.world.strike()
        return self.world.random.choice((-1, 900, 901, 5000))

    def __getattr__(self, name):
        if name.startswith("__") or not self.wears:
            raise AttributeError(name)
        self.world.strike()
        return Evil(self.world)


def print_nothing(*_):
    pass


class EvilProtocol(asyncio.Protocol):
    """Of the methods that a transport calls each may strike."""

    def __init__(self, world):
        self.world = world

    def __del__(self):
        self.world.strike(0.3)

    def connection_made(self, transport):
        self.world.things.append(transport)
        self.world.strike()

    def data_received(self, data):
        self.world.strike()

    datagram_received = error_received = pause_writing = resume_writing = data_received

    def datagram_received(self, data, address):
        self.world.strike()

    def pause_writing(self):
        self.world.strike()

    resume_writing = pause_writing

    def eof_received(self):
        self.world.strike()
        return self.world.random.random() < 0.5

    def connection_lost(self, error):
        self.world.strike()


class EvilBuffered(EvilProtocol, asyncio.BufferedProtocol):

    def get_buffer(self, hint):
        self.world.strike()
        return self.world.random.choice((bytearray(10), bytearray(100000), b"x", None))

    def buffer_updated(self, count):
        self.world.strike()


def protocol_of(world):
    kind = world.random.random()
    if kind < 0.4:
        return EvilProtocol(world)
    if kind < 0.7:
        return EvilBuffered(world)
    loop = world.loop()
    reader = casyncio.StreamReader(limit=world.random.choice((1, 100, 65536)), loop=loop)
    callback = world.random.choice((None, world.strike, Evil(world)))
    return casyncio.StreamReaderProtocol(reader, callback, loop=loop)


# ---- what a world is made of ----


def make_transport(world):
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    with contextlib.suppress(OSError):
        theirs.send(b"x" * world.random.choice((0, 1, 100, 20000)))
    protocol = protocol_of(world)
    loop = world.loop()
    waiter = world.random.choice((None, loop.create_future(), Evil(world)))
    server = world.random.choice((None, None, world.value()))
    transport = _casyncio.SocketTransport(loop, ours, protocol, waiter, None, server)
    return transport, protocol, ours, theirs


def make_datagram(world):
    ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ours.setblocking(False)
    ours.bind(("127.0.0.1", 0))
    ours.sendto(b"to myself", ours.getsockname())
    protocol = EvilProtocol(world)
    return world.loop()._make_datagram_transport(ours, protocol), protocol, ours


def make_tls(world):
    loop = world.loop()
    ours, theirs = socket.socketpair()
    for sock in ours, theirs:
        sock.setblocking(False)
    server, client = contexts(world.certificate)
    protocols = protocol_of(world), protocol_of(world)
    below = []
    made = []
    for sock, context, side, protocol in zip((ours, theirs), (server, client), (True, False),
                                             protocols):
        waiter = loop.create_future()
        tls = _casyncio.SSLProtocol(loop, protocol, context, waiter, side, None,
                                    world.random.random() < 0.8)
        below.append(_casyncio.SocketTransport(loop, sock, tls))
        made += [tls, tls._app_transport, protocol]
    if world.random.random() < 0.7:
        for _ in range(6):
            world.turn(loop)
    return (*below, *made)


def make_server(world):
    loop = world.loop()
    context = contexts(world.certificate)[0] if world.random.random() < 0.3 else None
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    server = asyncio.base_events.Server(loop, [listening], lambda: protocol_of(world), context, 5,
                                        None, None)
    server = casyncio.Server(server, loop)
    server._start_serving()
    client = socket.socket()
    client.setblocking(False)
    client.connect_ex(listening.getsockname())
    return server, server._clients, listening, client


def make_streams(world):
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    loop = world.loop()
    reader = casyncio.StreamReader(limit=100, loop=loop)
    protocol = casyncio.StreamReaderProtocol(reader, loop=loop)
    transport = _casyncio.SocketTransport(loop, ours, protocol)
    writer = casyncio.StreamWriter(transport, protocol, reader, loop)
    with contextlib.suppress(OSError):
        theirs.send(b"line\nand a half")
    return reader, protocol, transport, writer, theirs


def make_lock(world):
    kind = world.random.choice((casyncio.Lock, casyncio.Event, casyncio.Condition,
                                casyncio.Semaphore, casyncio.BoundedSemaphore))
    return kind()


def make_queue(world):
    kind = world.random.choice((casyncio.Queue, casyncio.LifoQueue, casyncio.PriorityQueue))
    return kind(world.random.choice((0, 1, 3)))


def make_timeout(world):
    return casyncio.timeout(world.random.choice((None, 0, 0.001, 100)))


def make_handle(world):
    loop = world.loop()
    return world.random.choice((
        lambda: loop.call_soon(world.callback()),
        lambda: loop.call_later(0.0001, world.callback(), world.value()),
        lambda: loop.call_soon_threadsafe(world.callback(), world.value()),
        lambda: loop.call_at(0, world.callback()),
    ))()


def make_reader(world):
    loop = world.loop()
    r, w = socket.socketpair()
    for sock in r, w:  # a call of the loop on another one may block, as with asyncio's
        sock.setblocking(False)
    add = world.random.choice((loop.add_reader, loop.add_writer))
    for _ in range(world.random.randrange(1, 3)):
        add(r, world.callback(), world.value())
    return r, w


def make_bare_loop(world):
    """Loops whose __init__ has not run, and that of C alone."""
    return casyncio.Loop.__new__(casyncio.Loop), _casyncio.Loop()


def make_task(world):
    loop = world.loop()

    async def work():
        for _ in range(world.random.randrange(5)):
            world.strike()
            with contextlib.suppress(Exception):
                await asyncio.sleep(0)
            with contextlib.suppress(Exception):
                awaitable = world.thing()
                if inspect.isawaitable(awaitable):
                    await asyncio.wait_for(awaitable, 0.001)

    return loop.create_task(work()), loop.create_future()


MAKERS = (make_transport, make_transport, make_datagram, make_tls, make_server, make_streams,
          make_lock, make_queue, make_timeout, make_handle, make_handle, make_reader, make_reader,
          make_task, make_bare_loop)


# ---- how it is struck ----


def strike_close(world):
    loop = world.loop()
    world.random.choice((loop.close, loop._close))()
    if world.random.random() < 0.5:
        world.loops[world.loops.index(loop)] = new = casyncio.new_event_loop()
        world.things.append(new)


def strike_method(world):
    thing = world.thing()
    for name in world.random.choices(HARSH, k=3):
        method = getattr(thing, name, None)
        if name in RUNS and isinstance(thing, _casyncio.Loop):
            world.turn(thing)
        elif callable(method):
            method(*world.random.choice(((), (None,), (ValueError(),), (b"x",), (0,))))


def strike_call(world):
    world.call(world.thing())


def strike_make(world):
    world.make(world.random.choice(MAKERS))


def strike_collect(world):
    gc.collect()


def strike_drop(world):
    if len(world.things) > 6:
        del world.things[world.random.randrange(len(world.things))]


def strike_run(world):
    world.turn(world.loop())


def strike_tamper(world):
    world.tamper(world.thing())


STRIKES = (strike_close, strike_method, strike_method, strike_call, strike_call, strike_make, strike_collect,
           strike_drop, strike_run, strike_tamper)

HARSH = ("close", "abort", "_call_connection_lost", "_force_close", "cancel", "stop", "detach",
         "pause_reading", "resume_reading", "write", "set_protocol", "connection_lost", "_begin",
         "write_eof", "_close", "release", "set_exception", "feed_eof", "eof_received", "_detach",
         "connection_made", "close_clients", "abort_clients", "_run", "set_result")

KEYWORDS = ("loop", "context", "name", "timeout", "limit", "waiter", "server", "extra", "high",
            "low", "sock", "ssl", "protocol", "default", "n", "addr", "whatever")

VALUES = (
    lambda world: None, lambda world: 0, lambda world: -1, lambda world: 1, lambda world: 3.5,
    lambda world: 1 << 70, lambda world: True, lambda world: "text", lambda world: b"bytes",
    lambda world: b"x" * 300000, lambda world: bytearray(b"array"),
    lambda world: memoryview(b"0123456789")[::2], lambda world: (), lambda world: (b"a", b"b"),
    lambda world: ("127.0.0.1", 1), lambda world: [], lambda world: {}, lambda world: ValueError,
    lambda world: ValueError("x"), lambda world: KeyboardInterrupt(), lambda world: object(),
    lambda world: contextvars.copy_context(), lambda world: asyncio.Future,
    lambda world: world.loop().create_future(), lambda world: float("nan"),
    lambda world: float("inf"), lambda world: contexts(world.certificate)[0], lambda world: 5,
    lambda world: protocol_of(world), lambda world: print_nothing, lambda world: 900,
)


_names = {}


def names_of(kind):
    names = _names.get(kind)
    if names is None and issubclass(kind, socket.socket):  # others would block
        names = _names[kind] = ["close", "detach", "fileno", "getsockname", "shutdown"]
    if names is None:
        found = set()
        for base in kind.__mro__:
            if base is not object:
                found.update(vars(base))
        names = _names[kind] = sorted(found - NEVER) or ["__repr__"]
    return names


_contexts = {}


def contexts(certificate):
    if certificate not in _contexts:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(*certificate)
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = False
        client.verify_mode = ssl.CERT_NONE
        _contexts[certificate] = server, client
    return _contexts[certificate]


def quiet():
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    sys.unraisablehook = print_nothing
    # Bound the damage of a number that is taken for a size.
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def run(seed, steps, certificate):
    asyncio._set_running_loop(None)
    asyncio.set_event_loop(None)
    world = World(seed, certificate)
    for _ in range(steps):
        world.step()
    world.end()
    del world
    gc.collect()


def main():
    first, last = int(sys.argv[1]), int(sys.argv[2])
    steps = int(sys.argv[3]) if len(sys.argv) > 3 else 150
    faulthandler.enable()
    quiet()
    import support
    certificate = os.environ.get("CASYNCIO_FUZZ_CERTIFICATE")
    certificate = tuple(certificate.split(os.pathsep)) if certificate else support.certificate()
    for seed in range(first, last):
        print(seed, flush=True)
        faulthandler.dump_traceback_later(300, exit=True)  # a seed takes half a second
        run(seed, steps, certificate)
    print("survived", flush=True)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
