"""Streams: open_connection and start_server with the classes that are written in C."""

from asyncio import get_running_loop

from ._casyncio import FlowControlMixin, StreamReader, StreamReaderProtocol, StreamWriter

__all__ = (
    'FlowControlMixin', 'StreamReader', 'StreamReaderProtocol', 'StreamWriter', 'open_connection',
    'open_unix_connection', 'start_server', 'start_unix_server',
)

_DEFAULT_LIMIT = 2 ** 16  # bytes


def take_received(reader):
    """What the reader has received and not given away, and whether that was the end.

    The reader, which may be None, has then received nothing. Before TLS begins all of that belongs
    to TLS: a peer may send the start of the handshake with the line that asks for it.
    """
    if reader is None:
        return b'', False
    if isinstance(reader, StreamReader):
        received = reader._take_all()
    else:
        received = bytes(reader._buffer)
        reader._buffer.clear()
    reader._paused = False
    return received, reader._eof


def _client(loop, limit):
    reader = StreamReader(limit=limit, loop=loop)
    return reader, StreamReaderProtocol(reader, loop=loop)


def _server_factory(client_connected_cb, loop, limit):
    def factory():
        reader = StreamReader(limit=limit, loop=loop)
        return StreamReaderProtocol(reader, client_connected_cb, loop=loop)

    return factory


async def open_connection(host=None, port=None, *, limit=_DEFAULT_LIMIT, **kwds):
    """A connection as a pair (reader, writer).

    `limit` is that of the reader; the other arguments are those of loop.create_connection().
    """
    loop = get_running_loop()
    reader, protocol = _client(loop, limit)
    transport, _ = await loop.create_connection(lambda: protocol, host, port, **kwds)
    return reader, StreamWriter(transport, protocol, reader, loop)


async def start_server(client_connected_cb, host=None, port=None, *, limit=_DEFAULT_LIMIT, **kwds):
    """A server that calls client_connected_cb(reader, writer) for each connection.

    If the callback returns a coroutine, that becomes a task. `limit` is that of the readers; the other
    arguments, and the result, are those of loop.create_server().
    """
    loop = get_running_loop()
    factory = _server_factory(client_connected_cb, loop, limit)
    return await loop.create_server(factory, host, port, **kwds)


async def open_unix_connection(path=None, *, limit=_DEFAULT_LIMIT, **kwds):
    """open_connection() by a UNIX domain socket."""
    loop = get_running_loop()
    reader, protocol = _client(loop, limit)
    transport, _ = await loop.create_unix_connection(lambda: protocol, path, **kwds)
    return reader, StreamWriter(transport, protocol, reader, loop)


async def start_unix_server(client_connected_cb, path=None, *, limit=_DEFAULT_LIMIT, **kwds):
    """start_server() with a UNIX domain socket."""
    loop = get_running_loop()
    factory = _server_factory(client_connected_cb, loop, limit)
    return await loop.create_unix_server(factory, path, **kwds)
