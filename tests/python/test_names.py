"""getaddrinfo and getnameinfo: numbers at once, names by the engine's own threads."""

import asyncio
import gc
import itertools
import socket
import threading
from unittest import mock

import support
from support import asynchronous, program

HOSTS = ("127.0.0.1", b"127.0.0.1", "::1", "0.0.0.0", "127.1", "0x7f.1", None, "localhost", "",
         "fe80::1%lo", "1.2.3.4.5", "no.such.name.invalid", "1" * 300, "ünïcode.invalid", bytearray(b"::1"))
PORTS = (80, "80", b"80", None, "http", 0, 65535, 70000, -1, "no such service", "")
HINTS = ({}, {"family": socket.AF_INET}, {"family": socket.AF_INET6}, {"type": socket.SOCK_STREAM},
         {"type": socket.SOCK_DGRAM, "proto": 17}, {"type": 12345}, {"family": 12345},
         {"flags": socket.AI_PASSIVE}, {"flags": socket.AI_CANONNAME},
         {"flags": socket.AI_NUMERICHOST}, {"flags": socket.AI_NUMERICSERV}, {"flags": 1 << 20},
         {"flags": socket.AI_ADDRCONFIG | socket.AI_V4MAPPED, "family": socket.AF_INET6,
          "type": socket.SOCK_STREAM})
WRONG = ((1, 80), (object(), 80), ("a\0b", 80), ("127.0.0.1", object()), ("127.0.0.1", 1.5),
         ("127.0.0.1", 1 << 70), ("\ud800", 80))


def describe(call):
    try:
        return call()
    except Exception as error:
        return type(error), getattr(error, "errno", None)


class Results(support.LoopCase):

    def agree(self, host, port, hints):
        def ours():
            return self.run_async(self.loop.getaddrinfo(host, port, **hints))

        with self.subTest(host=host, port=port, **hints):
            expect = describe(lambda: socket.getaddrinfo(host, port, **hints))
            found = describe(ours)
            self.assertEqual(found, expect)
            if isinstance(found, list):
                self.assertEqual([[type(part) for part in entry] for entry in found],
                                 [[type(part) for part in entry] for entry in expect])

    def test_the_socket_modules(self):
        for host, port, hints in itertools.product(HOSTS, PORTS, HINTS):
            if host in HOSTS[:8] or (port == 80 and not hints):
                self.agree(host, port, hints)

    def test_wrong_arguments(self):
        for host, port in WRONG:
            self.agree(host, port, {})
        for hints in {"family": "x"}, {"flags": None}, {"type": 1 << 70}, {"proto": 1.5}:
            self.agree("127.0.0.1", 80, hints)
            self.agree("localhost", 80, hints)
        with self.assertRaises(TypeError):
            self.run_async(self.loop.getaddrinfo("localhost"))
        with self.assertRaises(TypeError):
            self.run_async(self.loop.getaddrinfo("localhost", 80, 0))

    def test_the_message(self):
        with self.assertRaisesRegex(socket.gaierror, r"\[Errno -\d+\] \w+"):
            self.run_async(self.loop.getaddrinfo("no.such.name.invalid", 80))

    def test_getnameinfo(self):
        for address in ("127.0.0.1", 80), ("::1", 80), ("::1", 80, 0, 0), ("localhost", 80):
            for flags in (0, socket.NI_NUMERICHOST, socket.NI_NUMERICSERV,
                          socket.NI_NUMERICHOST | socket.NI_NUMERICSERV,
                          socket.NI_NUMERICHOST | socket.NI_NUMERICSERV | socket.NI_DGRAM):
                with self.subTest(address=address, flags=flags):
                    self.assertEqual(
                        describe(lambda: self.run_async(self.loop.getnameinfo(address, flags))),
                        describe(lambda: socket.getnameinfo(address, flags)))

    @support.stock_cannot("it has no debug mode of its own")
    def test_debug_mode_tells(self):
        self.loop.set_debug(True)
        self.loop.slow_callback_duration = 0
        with self.assertLogs("asyncio", "DEBUG") as log:
            found = self.run_async(self.loop.getaddrinfo("127.0.0.1", 80, type=1))
        self.assertEqual(found[0][4], ("127.0.0.1", 80))
        self.assertIn("address info 127.0.0.1:80", "\n".join(log.output))

    def test_a_getaddrinfo_that_was_replaced_is_asked(self):
        for host in "127.0.0.1", "localhost":
            with mock.patch("socket.getaddrinfo", return_value=["mine"]):
                self.assertEqual(self.run_async(self.loop.getaddrinfo(host, 80)), ["mine"])

    def test_a_closed_loop(self):
        self.loop.close()
        looking = self.loop.getaddrinfo("localhost", 80)
        with self.assertRaises(RuntimeError):
            looking.send(None)
        looking.close()


@support.stock_cannot("it has a thread for each")
class Ways(support.LoopCase):

    @asynchronous
    async def test_numbers_at_once(self):
        for arguments in ("127.0.0.1", 80), ("::1", "80"), (None, 80):
            looking = self.loop.getaddrinfo(*arguments)
            with self.assertRaises(StopIteration):
                looking.send(None)
        names = self.loop.getnameinfo(
            ("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
        with self.assertRaises(StopIteration):
            names.send(None)

    @asynchronous
    async def test_names_leave_the_default_executor_alone(self):
        gate = threading.Event()
        self.addCleanup(gate.set)
        busy = [self.loop.run_in_executor(None, gate.wait) for _ in range(64)]
        self.assertTrue(await self.loop.getaddrinfo("localhost", 80))
        gate.set()
        await asyncio.gather(*busy)

    @asynchronous
    async def test_many_at_once(self):
        found = await asyncio.gather(*(self.loop.getaddrinfo("localhost", i) for i in range(100)))
        for i, entries in enumerate(found):
            self.assertEqual(entries[0][4][1], i)

    @asynchronous
    async def test_cancelled(self):
        for turns in range(4):
            looking = asyncio.ensure_future(self.loop.getaddrinfo(f"{turns}.invalid", 80))
            for _ in range(turns):
                await asyncio.sleep(0)
            looking.cancel()
            with self.assertRaises((asyncio.CancelledError, socket.gaierror)):
                await looking
        self.assertTrue(await self.loop.getaddrinfo("localhost", 80))

    @asynchronous
    async def test_the_future_is_ended_by_another(self):
        looking = self.loop.getaddrinfo("localhost", 80)
        future = looking.send(None)
        future.set_result("mine")
        with self.assertRaises(StopIteration) as stop:
            looking.send(None)
        self.assertEqual(stop.exception.value, "mine")
        await asyncio.sleep(0.05)

    def test_the_loop_closes_meanwhile(self):
        for turns in range(5):
            loop = support.new_event_loop()
            looking = [loop.getaddrinfo(name, 80) for name in ("localhost", "a.invalid") * 3]
            for each in looking:
                each.send(None)
            for _ in range(turns):
                loop.call_soon(loop.stop)
                loop.run_forever()
            if turns % 2:
                looking.pop().close()
            loop.close()
            for each in looking:
                each.close()
            gc.collect()

    def test_a_look_up_is_garbage(self):
        looking = self.loop.getaddrinfo("localhost", 80)
        looking.send(None)
        del looking
        gc.collect()
        self.turns(20)

    @asynchronous
    async def test_connections_by_name(self):
        server = await self.loop.create_server(support.Echo, "localhost", 0)
        port = server.sockets[0].getsockname()[1]
        transport, protocol = await self.loop.create_connection(
            support.Recorder, "localhost", port, family=server.sockets[0].family)
        transport.write(b"x")
        await support.until(lambda: protocol.data == b"x")
        transport.close()
        await protocol.lost
        server.close()

    def test_it_is_audited(self):
        ended = program("""
            seen = []
            sys.addaudithook(lambda event, args: event == 'socket.getaddrinfo' and seen.append(args))
            async def main():
                loop = asyncio.get_running_loop()
                await loop.getaddrinfo('127.0.0.1', 80)
                await loop.getaddrinfo('localhost', 80, type=1)
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                runner.run(main())
            assert ('127.0.0.1', 80, 0, 0, 0) in seen and ('localhost', 80, 0, 1, 0) in seen, seen
            print('heard')
            """)
        self.assertEqual(ended.out, "heard\n", ended.err)


if __name__ == "__main__":
    support.main()
