"""Server.wait_closed() is each interpreter's own: what programs of its time do must end."""

import asyncio
import socket
import sys

import support
from support import asynchronous, program

WAITS = sys.version_info >= (3, 12)


class WaitClosed(support.LoopCase):

    async def server(self):
        self.accepted = []
        server = await self.loop.create_server(
            lambda: self.accepted.append(support.Recorder()) or self.accepted[-1], "127.0.0.1", 0)
        client = socket.create_connection(server.sockets[0].getsockname())
        await support.until(lambda: self.accepted and self.accepted[0].transport)
        return server, client

    async def returns(self, wait):
        """Whether it returns while nothing else happens."""
        task = asyncio.ensure_future(wait)
        for _ in range(10):
            await asyncio.sleep(0.001)
        returned = task.done()
        task.cancel()
        return returned

    @asynchronous
    async def test_closed_with_a_connection(self):
        server, client = await self.server()
        server.close()
        self.assertEqual(await self.returns(server.wait_closed()), not WAITS)
        client.close()
        await self.accepted[0].lost
        self.assertTrue(await self.returns(server.wait_closed()))

    @asynchronous
    async def test_not_closed(self):
        server, client = await self.server()
        self.assertFalse(await self.returns(server.wait_closed()))
        client.close()
        await self.accepted[0].lost
        # 3.12.0 did not wait for close().
        self.assertEqual(await self.returns(server.wait_closed()), sys.version_info[:3] == (3, 12, 0))
        server.close()
        self.assertTrue(await self.returns(server.wait_closed()))

    @support.stock_cannot("it has no such argument")
    @asynchronous
    async def test_connections_that_are_asked_for(self):
        server, client = await self.server()
        waiting = self.loop.create_task(server.wait_closed(connections=True))
        server.close()
        self.assertFalse(await self.returns(server.wait_closed(connections=True)))
        client.close()
        await asyncio.wait_for(waiting, 10)
        self.assertTrue(await self.returns(server.wait_closed(connections=True)))

    @asynchronous
    async def test_the_servers_block_with_an_idle_client(self):
        server, client = await self.server()

        async def block():
            async with server:
                pass

        self.assertEqual(await self.returns(block()), not WAITS)
        client.close()

    def test_ctrl_c_in_serve_forever_with_an_idle_client(self):
        ended = program("""
            async def serve(reader, writer):
                await reader.read()
                writer.close()
            def connect(address):
                global client
                client = socket.create_connection(address)
                time.sleep(.1)
                os.kill(os.getpid(), signal.SIGINT)
                if sys.version_info >= (3, 12):  # which waits for it
                    time.sleep(.1)
                    client.close()
            async def main():
                server = await asyncio.start_server(serve, '127.0.0.1', 0)
                address = server.sockets[0].getsockname()
                threading.Thread(target=connect, args=(address,), daemon=True).start()
                async with server:
                    await server.serve_forever()
            try:
                with asyncio.Runner(loop_factory=new_event_loop) as runner:
                    runner.run(main())
            except KeyboardInterrupt:
                print('KeyboardInterrupt')
            """, timeout=20)
        self.assertEqual((ended.code, ended.out), (0, "KeyboardInterrupt\n"), ended.err)


if __name__ == "__main__":
    support.main()
