"""asyncio on casyncio's engine, in C.

    import casyncio
    casyncio.run(main())

runs an asyncio program; nothing else in it changes. `casyncio.new_event_loop` is for what takes a
loop factory, `casyncio.install()` for what makes its loop itself.
"""

from ._casyncio import (
    BoundedSemaphore, Condition, Event, Handle, LifoQueue, Lock, PriorityQueue, Queue,
    QueueShutDown, Semaphore, Timeout, TimerHandle, __version__, timeout, timeout_at,
)
from .loop import Loop
from . import runners as _runners
from .runners import Runner, install, new_event_loop, run, uninstall
from .server import Server
from .streams import (
    StreamReader, StreamReaderProtocol, StreamWriter, open_connection, open_unix_connection,
    start_server, start_unix_server,
)

__all__ = (
    'BoundedSemaphore', 'Condition', 'Event', 'Handle', 'LifoQueue', 'Lock',
    'Loop', 'PriorityQueue', 'Queue', 'QueueShutDown', 'Runner', 'Semaphore', 'Server',
    'StreamReader', 'StreamReaderProtocol', 'StreamWriter', 'TimerHandle', 'Timeout', 'install',
    'new_event_loop', 'open_connection', 'open_unix_connection', 'run', 'start_server',
    'start_unix_server', 'timeout', 'timeout_at', 'uninstall',
)

if hasattr(_runners, 'EventLoopPolicy'):  # not with the asyncio of Python 3.16
    from .runners import EventLoopPolicy
    __all__ += ('EventLoopPolicy',)
