# The public names, and their types. A class has all that the class of asyncio's has from which it
# is derived; what is written out is what the oldest Python's lacks.

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import Context
from socket import AddressFamily, AddressInfo, socket
from typing import Any, Literal, TypeVar, final

from _typeshed import StrPath

from .server import Server

__all__ = (
    'BoundedSemaphore', 'Condition', 'Event', 'EventLoopPolicy', 'Handle', 'LifoQueue', 'Lock',
    'Loop', 'PriorityQueue', 'Queue', 'QueueShutDown', 'Runner', 'Semaphore', 'Server',
    'StreamReader', 'StreamReaderProtocol', 'StreamWriter', 'Timeout', 'TimerHandle', 'install',
    'new_event_loop', 'open_connection', 'open_unix_connection', 'run', 'start_server',
    'start_unix_server', 'timeout', 'timeout_at', 'uninstall',
)

__version__: str

_T = TypeVar('_T')
_Client = Callable[[StreamReader, StreamWriter], Awaitable[None] | None]
_Protocol = TypeVar('_Protocol', bound=asyncio.BaseProtocol)
_SSL = bool | None | ssl.SSLContext

@final
class Handle(asyncio.Handle):
    def get_context(self) -> Context: ...

@final
class TimerHandle(asyncio.TimerHandle): ...

class Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None: ...
    def create_task(
        self, coro: Any, *, name: object = None, context: Context | None = None, **options: Any
    ) -> asyncio.Task[Any]: ...
    async def shutdown_default_executor(self, timeout: float | None = None) -> None: ...
    async def create_connection(
        self,
        protocol_factory: Callable[[], _Protocol],
        host: str | None = None,
        port: int | str | None = None,
        *,
        ssl: _SSL = None,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        sock: socket | None = None,
        local_addr: tuple[str, int] | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        happy_eyeballs_delay: float | None = None,
        interleave: int | None = None,
        all_errors: bool = False,
    ) -> tuple[asyncio.Transport, _Protocol]: ...
    async def create_server(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str | Sequence[str] | None = None,
        port: int | str | None = None,
        *,
        family: int = AddressFamily.AF_UNSPEC,
        flags: int = AddressInfo.AI_PASSIVE,
        sock: socket | None = None,
        backlog: int = 100,
        ssl: _SSL = None,
        reuse_address: bool | None = None,
        reuse_port: bool | None = None,
        keep_alive: bool | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
    ) -> Server: ...
    async def create_unix_server(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        path: StrPath | None = None,
        *,
        sock: socket | None = None,
        backlog: int = 100,
        ssl: _SSL = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
        cleanup_socket: bool = ...,
    ) -> Server: ...

class Runner(asyncio.Runner):  # type: ignore[misc]
    def __init__(
        self,
        *,
        debug: bool | None = None,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    ) -> None: ...

class EventLoopPolicy(asyncio.DefaultEventLoopPolicy): ...

def new_event_loop() -> Loop: ...
def run(
    main: Coroutine[Any, Any, _T],
    *,
    debug: bool | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> _T: ...
def install(*, accelerate: bool = False) -> None: ...
def uninstall() -> None: ...

class Lock(asyncio.Lock): ...
class Event(asyncio.Event): ...
class Condition(asyncio.Condition):
    # Of its lock; asyncio's has them as attributes, too.
    acquire: Callable[[], Coroutine[Any, Any, Literal[True]]]
    locked: Callable[[], bool]
    release: Callable[[], None]

class Semaphore(asyncio.Semaphore): ...
class BoundedSemaphore(asyncio.BoundedSemaphore, Semaphore): ...
class Queue(asyncio.Queue[_T]):
    def shutdown(self, immediate: bool = False) -> None: ...

class PriorityQueue(asyncio.PriorityQueue[_T], Queue[_T]): ...
class LifoQueue(asyncio.LifoQueue[_T], Queue[_T]): ...
class QueueShutDown(Exception): ...
class Timeout(asyncio.Timeout): ...  # type: ignore[misc]

def timeout(delay: float | None) -> Timeout: ...
def timeout_at(when: float | None) -> Timeout: ...

class StreamReader(asyncio.StreamReader): ...
class StreamWriter(asyncio.StreamWriter): ...
class StreamReaderProtocol(asyncio.StreamReaderProtocol): ...

# The keywords are those of the loop's create_connection() and so on.
async def open_connection(
    host: str | None = None, port: int | str | None = None, *, limit: int = 65536, **kwds: Any
) -> tuple[StreamReader, StreamWriter]: ...
async def open_unix_connection(
    path: StrPath | None = None, *, limit: int = 65536, **kwds: Any
) -> tuple[StreamReader, StreamWriter]: ...
async def start_server(
    client_connected_cb: _Client,
    host: str | Sequence[str] | None = None,
    port: int | str | None = None,
    *,
    limit: int = 65536,
    **kwds: Any,
) -> Server: ...
async def start_unix_server(
    client_connected_cb: _Client, path: StrPath | None = None, *, limit: int = 65536, **kwds: Any
) -> Server: ...
