"""asyncio.Server as the newest Python has it, on every Python."""

import sys
from asyncio import base_events

from . import _casyncio


class Server(base_events.Server):
    """What create_server() returns.

    close_clients() and abort_clients() close and abort the connections; wait_closed() waits for their
    end where the interpreter's own does, or where it is asked to.
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

    if sys.version_info >= (3, 12, 1):
        def _asyncio_returns(self):
            return False
    elif sys.version_info >= (3, 12):
        def _asyncio_returns(self):
            return not self._clients and not self._others
    else:
        def _asyncio_returns(self):
            return self._sockets is None

    async def wait_closed(self, *, connections=False):
        """Wait until the server is closed, and with connections=True until they are gone as well.

        By default it is as in asyncio: since Python 3.12.1 that waits for the connections. Before, it
        returns at once if the server is closed (3.12.0: or has no connection), and programs of then
        close the server, wait for it, and close the connections after that.
        """
        if self._waiters is None:
            return
        if not connections and self._asyncio_returns():
            return
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        await waiter
