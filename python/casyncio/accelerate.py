"""asyncio's names, bound to casyncio's classes: casyncio.install(accelerate=True).

A program that says asyncio.Queue, or uses a library that does, then gets the class that is written
in C. What was imported by `from asyncio import Queue` before stays what it was; both kinds work side
by side, since ours are subclasses of asyncio's.
"""

import importlib
import sys

from . import _casyncio

# What is replaced: the module that defines it, and its names. One that this Python's asyncio does
# not have (QueueShutDown, before 3.13) is left out.
NAMES = {
    "asyncio.locks": ("Lock", "Event", "Condition", "Semaphore", "BoundedSemaphore"),
    "asyncio.queues": ("Queue", "PriorityQueue", "LifoQueue"),
    "asyncio.timeouts": ("Timeout", "timeout", "timeout_at"),
    "asyncio.streams": ("StreamReader", "StreamReaderProtocol", "StreamWriter", "open_connection",
                        "open_unix_connection", "start_server", "start_unix_server"),
}

_replaced = []  # (module, name, what it was), in the order in which they were


def _ours(name):
    """casyncio's object of that name: the C one, or the package's own."""
    found = getattr(_casyncio, name, None)
    return found if found is not None else getattr(sys.modules[__package__], name, None)


def _asyncio_modules():
    return [module for name, module in sorted(sys.modules.items())
            if module is not None and (name == "asyncio" or name.startswith("asyncio."))]


def install():
    """Binds the names in asyncio and in all of its modules. Done once, it does nothing more."""
    if _replaced:
        return
    for home, names in NAMES.items():
        definitions = vars(importlib.import_module(home))
        for name in names:
            original, replacement = definitions.get(name), _ours(name)
            if original is None or replacement is None or original is replacement:
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
