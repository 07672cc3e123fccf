"""A program that polls with sleep(0) sees what is there after a few turns."""

import asyncio
import socket
import threading

import support
from support import asynchronous

FEW = 6


class Polling(support.LoopCase):

    async def spin(self, condition):
        """How many times it gives way until the condition holds."""
        count = 0
        while not condition():
            await asyncio.sleep(0)
            count += 1
            self.assertLess(count, 100000)
        return count

    async def kinds(self, spin):
        """The turns until each kind of thing is seen that is there already."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=ours)
        watched, other = socket.socketpair()
        watched.setblocking(False)
        for _ in range(5):
            seen = []
            self.loop.add_reader(watched, lambda: seen.append(watched.recv(10)))
            other.send(b"x")
            yield "descriptor", await spin(lambda: seen)
            self.loop.remove_reader(watched)
            seen = []
            self.loop.call_later(0, seen.append, 1)
            yield "timer", await spin(lambda: seen)
            theirs.send(b"x")
            yield "stream", await spin(lambda: reader._buffer)
            await reader.read(10)
            seen = []
            thread = threading.Thread(target=self.loop.call_soon_threadsafe, args=(seen.append, 1))
            thread.start()
            thread.join()
            yield "thread", await spin(lambda: seen)
        writer.close()
        theirs.close()
        watched.close()
        other.close()

    @asynchronous
    async def test_one_task(self):
        async for kind, count in self.kinds(self.spin):
            self.assertLessEqual(count, FEW, kind)

    @asynchronous
    async def test_one_of_several(self):
        going = True

        async def others():
            while going:
                await asyncio.sleep(0)

        tasks = [asyncio.create_task(others()) for _ in range(3)]
        async for kind, count in self.kinds(self.spin):
            self.assertLessEqual(count, FEW, kind)
        going = False
        await asyncio.gather(*tasks)

    @asynchronous
    async def test_a_task_of_a_factory(self):
        self.loop.set_task_factory(lambda loop, coro, **options: asyncio.Task(
            coro, loop=loop, **options))
        async for kind, count in self.kinds(
                lambda condition: self.loop.create_task(self.spin(condition))):
            self.assertLessEqual(count, FEW, kind)


if __name__ == "__main__":
    support.main()
