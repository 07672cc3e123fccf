"""asyncio.Server as the newest Python has it, on every Python."""

from asyncio import base_events

from . import _casyncio


class Server(base_events.Server):
    """What create_server() returns.

    wait_closed() waits until the server is closed and its last connection gone, whatever comes first;
    close_clients() and abort_clients() close and abort the connections.
    """

    def __init__(self, bound, loop):
        """`bound`: a server that asyncio has made, with its sockets, and not started."""
        vars(self).update(vars(bound))  # whatever this version of asyncio keeps there
        self._clients = _casyncio.Clients()  # our transports come and go there by themselves
        self._others = 0
        self._waiters = []

    def _start_serving(self):
        if self._serving:
            return
        self._serving = True
        for sock in self._sockets:
            sock.listen(self._backlog)
            self._loop._start_serving(
                self._protocol_factory, sock, self._ssl_context, self, self._backlog,
                self._ssl_handshake_timeout, self._ssl_shutdown_timeout,
                context=getattr(self, '_context', None))

    # For transports of others: they are waited for, but not closed.

    def _attach(self, transport=None):
        self._others += 1

    def _detach(self, transport=None):
        self._others -= 1
        self._wake_if_over()

    def _wake_if_over(self):
        over = self._sockets is None and not self._clients and not self._others
        if over and self._waiters is not None:
            waiters, self._waiters = self._waiters, None
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    _wakeup = _wake_if_over

    def close(self):
        """Stop listening. Connections go on."""
        sockets, self._sockets = self._sockets, None
        if sockets is None:
            return
        for sock in sockets:
            self._loop._stop_serving(sock)
        self._serving = False
        forever, self._serving_forever_fut = self._serving_forever_fut, None
        if forever is not None and not forever.done():
            forever.cancel()
        self._wake_if_over()

    def close_clients(self):
        """Close all connections, once what they have to write is written."""
        for transport in list(self._clients):
            transport.close()

    def abort_clients(self):
        """Close all connections at once."""
        for transport in list(self._clients):
            transport.abort()

    async def wait_closed(self):
        """Wait until the server is closed and all of its connections are gone."""
        if self._waiters is None:
            return
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        await waiter
