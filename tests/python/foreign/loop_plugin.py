"""A pytest plugin: the loop that FOREIGN_LOOP names is that of all asyncio programs in the process.

Only what a user of that loop would do is done: casyncio.install(), uvloop's policy, or nothing.
uvloop is not to be had unless it is the one, or what finds it by itself (uvicorn's `--loop auto`,
anyio's parameters) would run on it.

What became of each test goes into FOREIGN_RECORD, a line of JSON a test, as it comes, and what is in
there already is not run: after a crash the suite goes on behind it. The last line tells how many
loops of which kind were made.
"""

import asyncio
import collections
import functools
import json
import os
import sys
import warnings

import pytest

LOOP = os.environ["FOREIGN_LOOP"]
RECORD = os.environ["FOREIGN_RECORD"]
made = collections.Counter()
outcomes = {}  # of the tests that are running: id -> (outcome, reason)


def count(where, name, kind):
    """Has calls of a function counted among the loops that were made."""
    original = getattr(where, name)

    @functools.wraps(original)
    def counted(*arguments, **options):
        made[kind] += 1
        return original(*arguments, **options)

    setattr(where, name, counted)


def name_default(policy):
    """For what asks for the default policy by its name, as aiohttp's fixtures did up to 3.12."""
    asyncio.DefaultEventLoopPolicy = policy


def install():
    if LOOP != "uvloop":
        sys.modules["uvloop"] = None  # importing it is an ImportError
    if LOOP == "casyncio":
        import casyncio

        count(casyncio.runners, "new_event_loop", "casyncio")
        casyncio.install()
        name_default(casyncio.EventLoopPolicy)
    elif LOOP == "uvloop":
        import uvloop

        count(uvloop, "new_event_loop", "uvloop")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            policy = uvloop.EventLoopPolicy
            policy._loop_factory = lambda self: uvloop.new_event_loop()
            asyncio.set_event_loop_policy(policy())
            name_default(policy)
    elif LOOP != "asyncio":
        sys.exit(f"loop_plugin.py: no loop {LOOP}")
    count(asyncio.selector_events.BaseSelectorEventLoop, "__init__", "asyncio")


def write(row):
    with open(RECORD, "a") as file:
        print(json.dumps(row), file=file)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    with open(RECORD) as file:
        done = {json.loads(line).get("test") for line in file}
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in done])
    items[:] = [item for item in items if item.nodeid not in done]


def pytest_collectreport(report):
    """A module that cannot be imported: for the lack of another one that is none of the matter."""
    if report.failed:
        text = str(report.longrepr)
        lacks = [line[1:].strip() for line in text.splitlines() if "ModuleNotFoundError: " in line]
        write({"test": report.nodeid, "outcome": "missing" if lacks else "failed",
               "reason": lacks[-1] if lacks else text[-4000:]})


def pytest_runtest_logstart(nodeid):
    write({"start": nodeid})


def pytest_runtest_logreport(report):
    """Set-up, call and tear-down each report; what is worst counts."""
    before = outcomes.get(report.nodeid, ("passed", ""))
    now = before
    if report.failed:
        now = "failed", str(report.longrepr)[-4000:]
    elif report.skipped and before[0] != "failed":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        now = "skipped", str(reason)[-200:]
    outcomes[report.nodeid] = now


def pytest_runtest_logfinish(nodeid):
    outcome, reason = outcomes.pop(nodeid, ("passed", ""))
    write({"test": nodeid, "outcome": outcome, "reason": reason})


def pytest_sessionfinish():
    write({"made": made})


install()
