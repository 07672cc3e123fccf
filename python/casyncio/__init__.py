"""asyncio on casyncio's engine, in C.

    import casyncio
    casyncio.run(main())

runs an asyncio program; nothing else in it changes. `casyncio.new_event_loop` is for what takes a loop
factory, `casyncio.install()` for what makes its loop itself.
"""

from ._casyncio import Handle, TimerHandle
from .loop import Loop
from .runners import EventLoopPolicy, Runner, install, new_event_loop, run, uninstall

__all__ = (
    'EventLoopPolicy', 'Handle', 'Loop', 'Runner', 'TimerHandle', 'install', 'new_event_loop', 'run',
    'uninstall',
)
