"""No call from Python ends the process: fuzz.py with a fixed number of seeds, and what it has found."""

# run: timeout=600

import os
import subprocess
import sys
import unittest

import support
from support import HERE, program

SEEDS = 24  # of each test
STEPS = 300


@support.stock_cannot("it has no C of ours")
@support.needs_openssl
class Fuzz(unittest.TestCase):

    def survive(self, first):
        environment = {
            **os.environ,
            "CASYNCIO_FUZZ_CERTIFICATE": os.pathsep.join(support.certificate()),
            "PYTHONHASHSEED": "0",
        }
        process = subprocess.run(
            [sys.executable, os.path.join(HERE, "fuzz.py"), str(first), str(first + SEEDS),
             str(STEPS)],
            env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        said = process.stdout.split()
        self.assertEqual((process.returncode, said[-1:]), (0, ["survived"]),
                         f"seed {said[-1:]}:\n{process.stderr[:6000]}")

    def test_seeds_a(self):
        self.survive(0)

    def test_seeds_b(self):
        self.survive(1000)

    def test_seeds_c(self):
        self.survive(2000)

    def test_seeds_d(self):
        self.survive(3000)


@support.stock_cannot("private names")
class Crashes(unittest.TestCase):
    """Each ended the process once."""

    def survives(self, source):
        ended = program("import asyncio, gc, casyncio\nfrom casyncio import _casyncio\n"
                        + source + "\nprint('survived')")
        self.assertEqual((ended.code, ended.out.split()[-1:]), (0, ["survived"]), ended.err)

    def test_a_replaced_callback_closes_the_loop(self):
        for method in "add_reader", "add_writer":
            with self.subTest(method):
                self.survives(f"""
class Callback:
    def __call__(self): pass
    def __del__(self): loop.close()
loop = new_event_loop()
a, b = socket.socketpair()
loop.{method}(a, Callback())
try: loop.{method}(a, print)
except RuntimeError: pass
assert loop.is_closed()
""")

    def test_a_replaced_callback_watches_again(self):
        self.survives("""
class Callback:
    def __call__(self): pass
    def __del__(self): loop.add_reader(a, called.append, 'of __del__')
called = []
loop = new_event_loop()
a, b = socket.socketpair()
loop.add_reader(a, Callback())
loop.add_reader(a, called.append, 'the second')
b.send(b'x')
loop.call_later(.01, loop.stop)
loop.run_forever()
assert set(called) == {'of __del__'}, called
assert loop.remove_reader(a) and not loop.remove_reader(a)
loop.close()
""")

    def test_a_dropped_callback_closes_the_loop_that_closes(self):
        self.survives("""
class Callback:
    def __call__(self): pass
    def __del__(self):
        loop._close()
        loop.close()
        try: loop.call_soon(print)
        except RuntimeError: closed.append(1)
closed = []
loop = new_event_loop()
a, b = socket.socketpair()
for _ in range(3):
    loop.call_soon(Callback())
    loop.call_later(1, Callback())
    loop.call_soon_threadsafe(Callback())
loop.add_reader(a, Callback())
loop.close()
assert len(closed) == 10, closed
""")

    def test_a_running_loop_refuses_its_private_close(self):
        self.survives("""
loop = new_event_loop()
seen = []
def close():
    loop._thread_id = None
    for call in loop._close, loop.close:
        try: call()
        except RuntimeError as error: seen.append(str(error))
    loop.stop()
loop.call_soon(close)
loop.run_forever()
assert seen == ['Cannot close a running event loop'] * 2, seen
loop.close()
""")

    def test_a_handles_slots_hold_anything(self):
        self.survives("""
def fails(): raise ValueError
reports = []
loop = new_event_loop()
loop.set_exception_handler(lambda loop, report: reports.append(report))
other = new_event_loop()
for wrong in 5, 'a loop that is none' * 100, other, None:
    for make in loop.call_soon, loop.call_soon_threadsafe, lambda f: loop.call_later(0, f):
        handle = make(fails)
        handle._loop = wrong
        make(print)._loop = wrong
        handle = make(fails)
        handle._loop = wrong
        handle.cancel()
        try: make(fails).__init__(fails, (), wrong)
        except (AttributeError, TypeError): pass
        handle = make(fails)
        for name in '_loop', '_repr', '_scheduled', '_context', '_source_traceback':
            try: delattr(handle, name)
            except AttributeError: pass
        handle.get_context()
        handle.cancel()
        loop.set_debug(not loop.get_debug())
loop.call_later(.01, loop.stop)
loop.run_forever()
assert reports and all(type(r['exception']) in (ValueError, TypeError) for r in reports), reports
handle = loop.call_soon(fails)
handle._loop = 5
try: handle._run()
except TypeError: pass
else: raise AssertionError
loop.close()
other.close()
""")

    def test_connection_lost_is_called_by_its_private_name(self):
        self.survives("""
async def main(begun):
    a, b = socket.socketpair()
    a.setblocking(False)
    loop = asyncio.get_running_loop()
    transport = loop._make_socket_transport(a, asyncio.Protocol())
    if begun:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    transport.write(b'x' * 10_000_000)
    transport._call_connection_lost(None)
    assert transport.is_closing()
    c, d = socket.socketpair()
    d.send(b'x')
    os.dup2(c.fileno(), transport._sock_fd)
    await asyncio.sleep(.01)
    transport.write(b'x')
    transport.resume_reading()
    transport._call_connection_lost(None)
    assert d.setblocking(False) is None
    try: d.recv(1)
    except BlockingIOError: pass
    else: raise AssertionError('written to the number of another socket')
    assert c.recv(10) == b'x', 'read from the number of another socket'
    os.close(transport._sock_fd)
for begun in False, True:
    casyncio.run(main(begun))
""")

    def test_the_memory_of_tls_stays(self):
        self.survives("""
import ssl
loop = new_event_loop()
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
def make(): return _casyncio.SSLProtocol(loop, asyncio.Protocol(), context, None)
tls = make()
view = tls.get_buffer(-1)
base = view.obj
view.release()
for change in 'clear', 'pop':
    try: getattr(base, change)()
    except AttributeError: pass
loop._casyncio_tls_memory = memoryview(bytes(256 * 1024))
other = make()
assert len(other.get_buffer(-1)) == len(tls.get_buffer(-1))
assert not other.get_buffer(-1).readonly
""")

    def test_what_looks_at_a_server_or_a_queue_while_it_changes(self):
        self.survives("""
loop = new_event_loop()
gc.set_threshold(1)
class Cycle:
    def __init__(self): self.me = self
    def __del__(self):
        for handle in handles[::2]: handle.cancel()
handles = [loop.call_soon(print) for _ in range(100)]
handles += [loop.call_later(1, print) for _ in range(100)]
for _ in range(20):
    Cycle()
    assert len(loop._ready) <= 100 and len(loop._scheduled) <= 100
gc.set_threshold(700)
loop.close()
""")


if __name__ == "__main__":
    support.main()
