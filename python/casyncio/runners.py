"""The ways in: run, Runner, new_event_loop, the policy, install."""

import asyncio

from .loop import Loop


def new_event_loop():
    """A new loop of casyncio's: for whatever takes a loop factory."""
    return Loop()


class Runner(asyncio.Runner):
    """asyncio.Runner, whose loop is casyncio's unless another factory is given."""

    def __init__(self, *, debug=None, loop_factory=None):
        super().__init__(debug=debug, loop_factory=loop_factory or new_event_loop)


def run(main, *, debug=None, loop_factory=None):
    """asyncio.run, on casyncio's loop."""
    if asyncio._get_running_loop() is not None:
        raise RuntimeError('casyncio.run() cannot be called from a running event loop')
    with Runner(debug=debug, loop_factory=loop_factory) as runner:
        return runner.run(main)


class EventLoopPolicy(asyncio.DefaultEventLoopPolicy):
    """The policy whose loops are casyncio's."""

    def _loop_factory(self):
        return new_event_loop()


def install(*, accelerate=False):
    """Makes casyncio's the loop of asyncio.run and the like, in this process.

    With accelerate=True, asyncio's queues, locks, time-outs and streams become casyncio's, too: do
    that before other modules take them from asyncio by name.
    """
    asyncio.set_event_loop_policy(EventLoopPolicy())
    if accelerate:
        from . import accelerate as names
        names.install()


def uninstall():
    """Undoes install()."""
    asyncio.set_event_loop_policy(None)
    from . import accelerate as names
    names.uninstall()
