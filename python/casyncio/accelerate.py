"""asyncio's names, bound to casyncio's classes: casyncio.install(accelerate=True).

A program that says asyncio.Queue, or uses a library that does, then gets the class that is
written in C. What was imported by `from asyncio import Queue` before stays what it was; both kinds
work side by side, since ours are subclasses of asyncio's.
"""

import importlib
import sys

from . import _casyncio, streams

# What is replaced: the module that defines it, where ours are, and the names. One that the asyncio
# of this Python does not have is left out.
NAMES = (
    ("asyncio.locks", _casyncio, ("Lock", "Event", "Condition", "Semaphore", "BoundedSemaphore")),
    ("asyncio.queues", _casyncio, ("Queue", "PriorityQueue", "LifoQueue")),
    ("asyncio.timeouts", _casyncio, ("Timeout", "timeout", "timeout_at")),
    ("asyncio.streams", streams, streams.__all__),
)

_replaced = []  # (module, name, what it was), in the order in which they were


def _asyncio_modules():
    return [module for name, module in sorted(sys.modules.items())
            if module is not None and (name == "asyncio" or name.startswith("asyncio."))]


def install():
    """Binds the names in asyncio and in all of its modules. Done once, it does nothing more."""
    if _replaced:
        return
    for home, ours, names in NAMES:
        definitions = vars(importlib.import_module(home))
        for name in names:
            original, replacement = definitions.get(name), getattr(ours, name)
            if original is None or original is replacement:
                continue
            for module in _asyncio_modules():
                if vars(module).get(name) is original:
                    _replaced.append((module, name, original))
                    setattr(module, name, replacement)


def uninstall():
    """Gives the names back to asyncio."""
    while _replaced:
        module, name, original = _replaced.pop()
        setattr(module, name, original)
