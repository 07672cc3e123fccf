"""What the documentation of asyncio shows, as programs of their own, written anew."""

import asyncio
import random
import signal
import socket
import sys
import time

import support
from support import asynchronous


class Examples(support.LoopCase):
    def test_hello_world_by_callbacks(self):
        said = []

        def hello(loop):
            said.append("hello")
            loop.call_later(0.01, world, loop)

        def world(loop):
            said.append("world")
            loop.stop()

        self.loop.call_soon(hello, self.loop)
        self.loop.run_forever()
        self.assertEqual(said, ["hello", "world"])

    def test_the_time_again_and_again(self):
        times = []
        end = self.loop.time() + 0.05

        def show():
            times.append(self.loop.time())
            if self.loop.time() + 0.01 < end:
                self.loop.call_later(0.01, show)
            else:
                self.loop.stop()

        self.loop.call_soon(show)
        self.loop.run_forever()
        self.assertIn(len(times), range(2, 7))

    @asynchronous
    async def test_chain_of_coroutines(self):
        async def first(number):
            await asyncio.sleep(0.001 * random.random())
            return f"first({number})"

        async def second(number, before):
            await asyncio.sleep(0.001 * random.random())
            return f"second({number}, {before})"

        async def chain(number):
            return await second(number, await first(number))

        self.assertEqual(
            await asyncio.gather(*(chain(number) for number in range(3))),
            [f"second({number}, first({number}))" for number in range(3)],
        )

    @asynchronous
    async def test_producers_and_consumers(self):
        queue = asyncio.Queue(5)
        eaten = []

        async def produce(name):
            for number in range(20):
                await queue.put((name, number))
                await asyncio.sleep(0)

        async def consume():
            while True:
                eaten.append(await queue.get())
                queue.task_done()

        consumers = [asyncio.create_task(consume()) for _ in range(3)]
        await asyncio.gather(*(produce(name) for name in "abcd"))
        await queue.join()
        for consumer in consumers:
            consumer.cancel()
        await asyncio.gather(*consumers, return_exceptions=True)
        self.assertEqual(sorted(eaten), [(name, n) for name in "abcd" for n in range(20)])

    @asynchronous
    async def test_locks_and_semaphores(self):
        inside = highest = 0
        semaphore = asyncio.Semaphore(3)

        async def work():
            nonlocal inside, highest
            async with semaphore:
                inside += 1
                highest = max(highest, inside)
                await asyncio.sleep(0.001)
                inside -= 1

        await asyncio.gather(*(work() for _ in range(20)))
        self.assertEqual(highest, 3)

        event, condition, order = asyncio.Event(), asyncio.Condition(), []

        async def waits():
            await event.wait()
            async with condition:
                await condition.wait_for(lambda: order)
            order.append("woken")

        task = asyncio.create_task(waits())
        await asyncio.sleep(0)
        event.set()
        await asyncio.sleep(0)
        async with condition:
            order.append("ready")
            condition.notify_all()
        await task
        self.assertEqual(order, ["ready", "woken"])

    @asynchronous
    async def test_tcp_echo_with_protocols(self):
        class Server(asyncio.Protocol):
            def connection_made(self, transport):
                self.transport = transport

            def data_received(self, data):
                self.transport.write(data)
                self.transport.close()

        class Client(asyncio.Protocol):
            def __init__(self, message, lost):
                self.message, self.lost, self.got = message, lost, b""

            def connection_made(self, transport):
                transport.write(self.message)

            def data_received(self, data):
                self.got += data

            def connection_lost(self, error):
                self.lost.set_result(self.got)

        server = await self.loop.create_server(Server, "127.0.0.1", 0)
        lost = self.loop.create_future()
        async with server:
            await self.loop.create_connection(
                lambda: Client(b"Hello World!", lost), *server.sockets[0].getsockname()
            )
            self.assertEqual(await lost, b"Hello World!")

    @asynchronous
    async def test_udp_echo(self):
        class Server(asyncio.DatagramProtocol):
            def connection_made(self, transport):
                self.transport = transport

            def datagram_received(self, data, address):
                self.transport.sendto(data, address)

        class Client(asyncio.DatagramProtocol):
            def __init__(self, lost):
                self.lost, self.got = lost, None

            def connection_made(self, transport):
                self.transport = transport
                transport.sendto(b"Hello")

            def datagram_received(self, data, address):
                self.got = data
                self.transport.close()

            def connection_lost(self, error):
                self.lost.set_result(self.got)

        transport, _ = await self.loop.create_datagram_endpoint(Server, ("127.0.0.1", 0))
        lost = self.loop.create_future()
        await self.loop.create_datagram_endpoint(
            lambda: Client(lost), remote_addr=transport.get_extra_info("sockname")
        )
        self.assertEqual(await lost, b"Hello")
        transport.close()

    @asynchronous
    async def test_http_headers_with_streams(self):
        async def serve(reader, writer):
            request = await reader.readuntil(b"\r\n\r\n")
            self.assertTrue(request.startswith(b"HEAD / HTTP/1.0"))
            writer.write(b"HTTP/1.0 200 OK\r\nServer: test\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"HEAD / HTTP/1.0\r\nHost: localhost\r\n\r\n")
            lines = []
            while (line := await reader.readline()) != b"\r\n":
                lines.append(line.decode().rstrip())
            writer.close()
            await writer.wait_closed()
        self.assertEqual(lines, ["HTTP/1.0 200 OK", "Server: test", "Content-Length: 0"])

    @asynchronous
    async def test_watching_a_descriptor(self):
        ours, theirs = socket.socketpair()
        done = self.loop.create_future()

        def ready():
            self.loop.remove_reader(ours)
            done.set_result(ours.recv(100))

        with ours, theirs:
            self.loop.add_reader(ours, ready)
            self.loop.call_soon(theirs.send, b"abc")
            self.assertEqual(await done, b"abc")

    @asynchronous
    async def test_subprocess_date(self):
        asyncio.set_event_loop(self.loop)  # 3.11's watcher wants it
        code = "import datetime; print(datetime.datetime.now())"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE
        )
        line = (await process.stdout.readline()).decode()
        await process.wait()
        self.assertTrue(line.startswith("20"))
        asyncio.set_event_loop(None)

    def test_signals_end_a_server(self):
        process = support.start_program(
            """
            def end(name, loop):
                print("got", name)
                loop.stop()

            async def main():
                loop = asyncio.get_running_loop()
                for name in ("SIGINT", "SIGTERM"):
                    loop.add_signal_handler(getattr(signal, name), end, name, loop)
                os.write(1, b"ready\\n")

            loop = new_event_loop()
            loop.run_until_complete(main())
            loop.run_forever()
            loop.close()
            """
        )
        self.assertEqual(process.stdout.readline(), "ready\n")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=10)
        self.assertEqual((process.returncode, out, err), (0, "got SIGTERM\n", ""))

    def test_debug_mode(self):
        result = support.program(
            """
            import logging
            logging.basicConfig(level=logging.DEBUG)
            async def slow():
                time.sleep(0.15)
            async def main():
                await slow()
            loop = new_event_loop()
            loop.set_debug(True)
            loop.run_until_complete(main())
            loop.close()
            """
        )
        self.assertEqual(result.code, 0, result)
        self.assertRegex(result.err, r"WARNING:asyncio:Executing <Task.*main.*took \d+\.\d+ seconds")

    @asynchronous
    async def test_threads_and_the_loop(self):
        def blocking(number):
            time.sleep(0.01)
            return number

        results = await asyncio.gather(*(asyncio.to_thread(blocking, n) for n in range(4)))
        self.assertEqual(results, [0, 1, 2, 3])

    @asynchronous
    async def test_timeouts(self):
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(3600)
        except TimeoutError:
            pass
        else:
            self.fail("no time-out")
        async with asyncio.timeout(None) as timeout:
            timeout.reschedule(self.loop.time() + 10)
        self.assertFalse(timeout.expired())

    @asynchronous
    async def test_task_group_that_fails(self):
        cancelled = []

        async def waits():
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                cancelled.append(1)
                raise

        async def fails():
            await asyncio.sleep(0)
            raise ZeroDivisionError

        with self.assertRaises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(waits())
                group.create_task(fails())
        self.assertEqual(len(caught.exception.exceptions), 1)
        self.assertEqual(cancelled, [1])

    @asynchronous
    async def test_as_completed_and_wait(self):
        async def after(delay):
            await asyncio.sleep(delay)
            return delay

        delays = [0.03, 0.01, 0.02]
        got = [await one for one in asyncio.as_completed([after(d) for d in delays])]
        self.assertEqual(got, sorted(delays))
        tasks = [asyncio.create_task(after(delay)) for delay in (0.001, 100)]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        self.assertEqual((len(done), len(pending)), (1, 1))
        pending.pop().cancel()

    @asynchronous
    async def test_shield(self):
        async def matters():
            await asyncio.sleep(0.01)
            return "done"

        inner = asyncio.create_task(matters())
        outer = asyncio.create_task(asyncio.wait_for(asyncio.shield(inner), 0.001))
        with self.assertRaises(asyncio.TimeoutError):
            await outer
        self.assertEqual(await inner, "done")


if __name__ == "__main__":
    support.main()
