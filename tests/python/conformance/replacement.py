"""Puts a loop of another package in place of every loop that a public name of asyncio gives.

It has to run before a test module is imported, for those do `from asyncio import ...`. Replaced are
the classes SelectorEventLoop (EventLoop) and BaseEventLoop where somebody calls them, the policy,
and with it new_event_loop, run and Runner. What is derived from BaseEventLoop or the private
BaseSelectorEventLoop stays as it is. One of these derived classes is the TestLoop of CPython's
tests, whose clock a generator drives; most tests that take it (`new_test_loop()`) give no generator
and need no such clock, and get our loop; where CPython's private transports are tested it stays.

Who made which loop is written to a file, one byte each, because the loop may be made in a child
process: `OURS` for a loop of the package, `STANDARD` for one of asyncio's own selector loops. A
test that gets a standard loop has found a way past the replacement, and would prove nothing.
"""

import asyncio
import asyncio.unix_events
import functools
import importlib
import os
import types

HERE = os.path.dirname(os.path.abspath(__file__))
JOURNAL = "CASYNCIO_CONFORMANCE_JOURNAL"
OURS, STANDARD = b"o", b"s"
PRIVATE_TRANSPORTS = "test_selector_events", "test_unix_events", "test_proactor_events"
MODULES = asyncio, asyncio.base_events, asyncio.unix_events


def tell_of_loops(journal, package, standard):
    """Let the making of a loop leave a mark in the journal, in this process and its forks."""
    file = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    write = os.write  # tests replace the module `os`

    def mark_making(cls, mark_for):
        make = cls.__init__

        @functools.wraps(make)
        def __init__(self, *args, **kwargs):
            mark = mark_for(self)
            if mark:
                write(file, mark)
            make(self, *args, **kwargs)

        cls.__init__ = __init__

    mark_making(package.Loop, lambda loop: OURS)
    if not issubclass(package.Loop, standard):
        mark_making(standard, lambda loop: STANDARD)
    elif package.Loop is not standard:
        mark_making(standard, lambda loop: None if isinstance(loop, package.Loop) else STANDARD)


def public_class(package, base, means):
    """A class that stands for one of asyncio's public ones: called, it makes the package's loop;
    derived from, it is `base`; and its instances are those of `means`. The selector that a caller
    may give has nothing to do there."""

    class Public(type(base)):
        def __call__(cls, *args, **kwargs):
            if cls is not public:
                return super().__call__(*args, **kwargs)
            for selector in args:
                selector.close()
            return package.new_event_loop()

        def __instancecheck__(cls, instance):
            if cls is public:
                return isinstance(instance, means)
            return super().__instancecheck__(instance)

        def __subclasscheck__(cls, other):
            if cls is public:
                return issubclass(other, means)
            return super().__subclasscheck__(other)

        # A test that replaces a method of the class (mock.patch) means the loop that it gets.
        @property
        def __dict__(cls):
            return vars(base) if cls is public else type.__dict__["__dict__"].__get__(cls)

        def __setattr__(cls, name, value):
            setattr(base, name, value) if cls is public else super().__setattr__(name, value)

    public = Public(base.__name__, (base,), {})
    return public


def replace(old, new):
    """Replace `old` wherever asyncio has it under a name."""
    for module in MODULES:
        for name in [name for name, value in vars(module).items() if value is old]:
            setattr(module, name, new)


def reach_child_interpreters(package_name, accelerate):
    """CPython's tests start interpreters with -I or -E, which no environment variable reaches:
    the replacement goes in front of the code that they are to run."""
    from test.support import script_helper

    path = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    prologue = (
        f"import sys; sys.dont_write_bytecode = True; sys.path[:0] = {[HERE, *path]!r}; "
        "import replacement; "
        f"replacement.install({package_name!r}, {accelerate!r}); "
        f"del sys.path[:{1 + len(path)}]\n"
    )
    run = script_helper.run_python_until_end

    @functools.wraps(run)
    def run_python_until_end(*args, **environment):
        args = list(args)
        if "-c" in args:
            args[args.index("-c") + 1] = prologue + args[args.index("-c") + 1]
        return run(*args, **environment)

    script_helper.run_python_until_end = run_python_until_end


def replace_test_loop(module):
    """The loop that the tests' own TestCase gives, unless the test drives its clock."""
    if module in PRIVATE_TRANSPORTS:
        return
    from test.test_asyncio import utils

    new_test_loop = utils.TestCase.new_test_loop

    def new_loop(case, gen=None):
        if gen is not None:
            return new_test_loop(case, gen)
        loop = asyncio.new_event_loop()
        case.set_event_loop(loop)
        return loop

    utils.TestCase.new_test_loop = new_loop


def need_no_private_names():
    """Let the tests' own TestCase close a loop that is no BaseEventLoop (uvloop's)."""
    from test.test_asyncio import utils

    close_loop = utils.TestCase.close_loop

    def close(loop):
        if isinstance(loop, asyncio.BaseEventLoop):
            close_loop(loop)
        elif not loop.is_closed():
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

    utils.TestCase.close_loop = staticmethod(close)


def standard_package():
    """asyncio itself, in the form of a package that brings a loop: for `--loop asyncio`."""
    return types.SimpleNamespace(Loop=asyncio.SelectorEventLoop, new_event_loop=None)


def install(package_name, accelerate=False):
    standard = asyncio.SelectorEventLoop
    journal = os.environ.get(JOURNAL)
    if package_name == "asyncio":
        if journal:
            tell_of_loops(journal, standard_package(), standard)
        return
    package = importlib.import_module(package_name)
    if journal:
        tell_of_loops(journal, package, standard)
    replace(standard, public_class(package, package.Loop, package.Loop))
    base = asyncio.BaseEventLoop
    replace(base, public_class(package, base, base))
    replace(asyncio.DefaultEventLoopPolicy, package.EventLoopPolicy)
    if accelerate:
        queue = asyncio.Queue
        package.install(accelerate=True)
        if asyncio.Queue is queue:
            raise RuntimeError("install(accelerate=True) has replaced nothing")
    else:
        package.install()
