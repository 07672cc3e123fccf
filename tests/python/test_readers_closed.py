"""add_reader() and its like for objects that are closed while they are watched."""

import gc
import os
import socket
import weakref

import support


class Closed(support.LoopCase):

    def setUp(self):
        super().setUp()
        self.methods = {
            "reader": (self.loop.add_reader, self.loop.remove_reader),
            "writer": (self.loop.add_writer, self.loop.remove_writer),
        }

    def pair(self):
        pair = socket.socketpair()
        for sock in pair:
            sock.setblocking(False)
            self.addCleanup(sock.close)
        return pair

    def pair_with_number(self, number):
        """A pair whose first socket has the number of one that was closed."""
        ours, theirs = self.pair()
        if ours.fileno() != number:
            os.dup2(ours.fileno(), number)
            ours.close()
            ours = socket.socket(fileno=number)
            ours.setblocking(False)
            self.addCleanup(ours.close)
        return ours, theirs

    def test_a_closed_socket_is_found(self):
        for name, (add, remove) in self.methods.items():
            with self.subTest(name):
                ours, theirs = self.pair()
                calls = []
                add(ours, calls.append, 1)
                number = ours.fileno()
                ours.close()
                self.assertIs(remove(ours), True)
                with self.assertRaises(ValueError):
                    remove(ours)
                # Nothing stays behind for the next one that has the number.
                again, peer = self.pair_with_number(number)
                peer.send(b"x")
                self.turns()
                self.assertEqual(calls, [])
                self.assertIs(remove(number), False)
                theirs.close()

    @support.stock_cannot("it modifies what is closed")
    def test_both_directions(self):
        ours, _ = self.pair()
        self.loop.add_reader(ours, int)
        self.loop.add_writer(ours, int)
        ours.close()
        self.assertIs(self.loop.remove_reader(ours), True)
        self.assertIs(self.loop.remove_writer(ours), True)

    def test_one_that_was_never_watched(self):
        ours, other = self.pair()
        self.loop.add_reader(other, int)
        ours.close()
        for _, remove in self.methods.values():
            with self.assertRaises(ValueError):
                remove(ours)
        self.assertIs(self.loop.remove_reader(other), True)

    @support.stock_cannot("its selector keeps the first object of a number")
    def test_the_number_is_another_ones_by_now(self):
        ours, _ = self.pair()
        calls = []
        self.loop.add_reader(ours, calls.append, "old")
        number = ours.fileno()
        ours.close()
        again, peer = self.pair_with_number(number)
        self.loop.add_reader(number, calls.append, "new")
        with self.assertRaises(ValueError):
            self.loop.remove_reader(ours)
        peer.send(b"x")
        self.turns()
        self.assertEqual(set(calls), {"new"})
        self.assertIs(self.loop.remove_reader(number), True)

    @support.stock_cannot("its transport finds the descriptor registered")
    def test_the_number_is_a_transports_by_now(self):
        ours, _ = self.pair()
        self.loop.add_reader(ours, int)
        self.loop.add_writer(ours, int)
        number = ours.fileno()
        ours.close()
        again, peer = self.pair_with_number(number)
        transport, protocol = self.run_async(
            self.loop.connect_accepted_socket(support.Recorder, again))
        with self.assertRaises(ValueError):
            self.loop.remove_reader(ours)
        with self.assertRaises(RuntimeError):
            self.loop.remove_reader(number)
        peer.send(b"x")
        self.until(lambda: protocol.data)
        transport.abort()
        self.until(protocol.lost.done)

    def test_an_object_of_any_class(self):
        class File:
            def __init__(self, sock):
                self.sock = sock

            def fileno(self):
                return self.sock.fileno()

        ours, _ = self.pair()
        file = File(ours)
        self.loop.add_reader(file, int)
        self.assertIs(self.loop.remove_reader(ours.fileno()), True)
        self.loop.add_reader(file, int)
        ours.close()
        self.assertIs(self.loop.remove_reader(file), True)

    @support.stock_cannot("private")
    def test_the_object_is_let_go(self):
        for end in "remove", "replace", "close":
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            self.loop.add_reader(ours, int)
            gone = weakref.ref(ours)
            number = ours.detach()
            del ours
            gc.collect()
            self.assertIsNotNone(gone())
            if end == "remove":
                self.loop.remove_reader(number)
            elif end == "replace":
                self.loop.add_reader(number, int)
            else:
                self.loop.close()
            gc.collect()
            self.assertIsNone(gone())
            if end != "close":
                self.loop.remove_reader(number)
            os.close(number)
            theirs.close()

    def test_the_selector_knows_it(self):
        ours, _ = self.pair()
        self.loop.add_reader(ours, int)
        number = ours.fileno()
        ours.close()
        self.assertEqual(self.loop._selector.get_key(ours).fd, number)
        self.loop.remove_reader(ours)


if __name__ == "__main__":
    support.main()
