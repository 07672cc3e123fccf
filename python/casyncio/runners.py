"""The ways in: run, Runner, new_event_loop, the policy, install.

Policies are deprecated since Python 3.14, and Python 3.16 has none. Where they are, they are taken
by names that do not warn: those of asyncio's modules, and not of asyncio itself.
"""

import asyncio
import functools
import sys
from asyncio import events, unix_events

from .loop import Loop

_DefaultPolicy = (vars(unix_events).get('_DefaultEventLoopPolicy')
                  or vars(unix_events).get('DefaultEventLoopPolicy'))
_set_policy = (vars(events).get('_set_event_loop_policy')
               or vars(events).get('set_event_loop_policy'))
_replaced = []  # without policies: (where, name, what it was)


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


if _DefaultPolicy is not None:
    class EventLoopPolicy(_DefaultPolicy):
        """The policy whose loops are casyncio's."""

        def _loop_factory(self):
            return new_event_loop()


def _replace(where, name, new):
    _replaced.append((where, name, getattr(where, name)))
    setattr(where, name, new)


def _install_without_policies():
    """Has asyncio.new_event_loop(), asyncio.run() and asyncio.Runner make our loops."""
    if _replaced:
        return
    original = events.new_event_loop
    for name, module in sorted(sys.modules.items()):
        if name.partition('.')[0] == 'asyncio' and vars(module).get('new_event_loop') is original:
            _replace(module, 'new_event_loop', new_event_loop)
    make = asyncio.Runner.__init__

    @functools.wraps(make)
    def __init__(self, *, loop_factory=None, **options):
        make(self, loop_factory=loop_factory or new_event_loop, **options)

    _replace(asyncio.Runner, '__init__', __init__)


def install(*, accelerate=False):
    """Makes casyncio's the loop of asyncio.run and the like, in this process.

    With accelerate=True, asyncio's queues, locks, time-outs and streams become casyncio's, too: do
    that before other modules take them from asyncio by name.
    """
    if _DefaultPolicy is not None and _set_policy is not None:
        _set_policy(EventLoopPolicy())
    else:
        _install_without_policies()
    if accelerate:
        from . import accelerate as names
        names.install()


def uninstall():
    """Undoes install()."""
    if _DefaultPolicy is not None and _set_policy is not None:
        _set_policy(None)
    while _replaced:
        setattr(*_replaced.pop())
    from . import accelerate as names
    names.uninstall()
