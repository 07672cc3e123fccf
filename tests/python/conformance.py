"""Runs the interpreter's own test.test_asyncio with casyncio's loop in place of asyncio's.

    PYTHONPATH=<build> PYTHON tests/python/conformance.py [options] [what ...]

`what` is a module (test_events), a test or a pattern of tests (test_events.TestServer.*, *sendto*).
Every module runs in a process of its own (conformance/worker.py), in an empty directory; a test
that hangs or crashes costs itself only, for the rest of its module goes on in another process.

What cannot apply is in exclusions.txt, with a reason per row. A row that matches no test of this
interpreter is an error, and so is an excluded test that passes: `--audit` runs those. A test that
passes without making a loop of ours says nothing about us (it tests CPython's private classes, or
has a mock for a loop): it is counted as `elsewhere`, not as passed. A test that gets one of
asyncio's own selector loops in spite of the replacement has failed, and so has one during which an
exception was raised that nobody could catch.

`--loop asyncio` runs the suite as it is, and `--loop uvloop` runs it on uvloop.
"""

import argparse
import collections
import concurrent.futures
import fnmatch
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
WORKER = os.path.join(HERE, "conformance", "worker.py")
EXCLUSIONS = os.path.join(HERE, "exclusions.txt")

# The longest first, or one of them is what is left at the end.
LONG = "test_subprocess test_tasks test_ssl test_taskgroups test_events test_sslproto".split()
RESTARTS = 10  # of one module's worker: a loop that crashes everywhere is seen before

Row = collections.namedtuple("Row", "pattern reason line")
Column = collections.namedtuple("Column", "name width format")
COLUMNS = [
    Column("passed", 7, "d"),
    Column("elsewhere", 10, "d"),
    Column("failed", 7, "d"),
    Column("skipped", 8, "d"),
    Column("excluded", 9, "d"),
    Column("seconds", 8, ".1f"),
]


def version_fits(conditions, accelerated):
    """`>=3.12`, `<3.13`, `>=3.11.4`: all of them have to hold for this interpreter.

    `accelerated`: the faster classes are in asyncio's place.
    """
    compare = {">=": lambda a, b: a >= b, "<": lambda a, b: a < b}
    for condition in conditions:
        if condition == "accelerated":
            if not accelerated:
                return False
            continue
        found = re.fullmatch(r"(>=|<)(\d+(?:\.\d+)*)", condition)
        if not found:
            raise ValueError(f"not a condition of versions: {condition}")
        version = tuple(map(int, found[2].split(".")))
        if not compare[found[1]](sys.version_info[: len(version)], version):
            return False
    return True


def read_exclusions(path, accelerated):
    """A reason starts at the line's beginning, its rows are indented: pattern, then versions."""
    rows, reason, in_rows = [], "", False
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            words = line.split("#")[0].split()
            if not words:
                continue
            if not line[0].isspace():
                text = " ".join(words)
                reason = text if in_rows or not reason else f"{reason} {text}"
                in_rows = False
                continue
            in_rows = True
            if not reason:
                raise ValueError(f"{path}:{number}: a row without a reason")
            if version_fits(words[1:], accelerated):
                rows.append(Row(words[0], reason, number))
    return rows


class Module:
    """What came out of one module."""

    def __init__(self, name):
        self.name = name
        self.results = {}
        self.plan = []
        self.excluded = []
        self.groups = []
        self.seconds = 0.0

    def count(self, outcome):
        return sum(result["outcome"] == outcome for result in self.results.values())

    def fail(self, test, details):
        self.results[test] = {"outcome": "failed", "details": details, "ours": 0, "seconds": 0.0}


def all_modules():
    import test.test_asyncio

    files = os.listdir(os.path.dirname(test.test_asyncio.__file__))
    return sorted(file[:-3] for file in files if re.fullmatch(r"test_\w+\.py", file))


def what_is_wanted(arguments):
    """The modules to load, and the patterns of the tests to run there."""
    modules = all_modules()
    if not arguments:
        return modules, ["*"]
    chosen, patterns = set(), []
    for argument in arguments:
        argument = argument.removeprefix("test.test_asyncio.")
        module = argument.split(".")[0]
        chosen.update([module] if module in modules else modules)
        if argument in modules:
            patterns += [argument + ".*"]
        else:
            patterns += [argument, f"*{argument}*" if module not in modules else argument + ".*"]
    return sorted(chosen), patterns


def environment(directory):
    settings = dict(os.environ)
    for name in "PYTHONASYNCIODEBUG", "PYTHONWARNINGS":
        settings.pop(name, None)
    path = [entry for entry in settings.get("PYTHONPATH", "").split(os.pathsep) if entry]
    settings["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, path))
    settings["PYTHONDONTWRITEBYTECODE"] = "1"
    settings["CASYNCIO_CONFORMANCE_JOURNAL"] = os.path.join(directory, "journal")
    settings["TMPDIR"] = directory
    return settings


def run_worker(directory, request, limit):
    """Run the worker once. Returns its events, how it ended ("" if well), and the end of what it
    wrote, where faulthandler's stacks are."""
    answer = request["answer"] = os.path.join(directory, "answer")
    output = os.path.join(directory, "output")
    work = os.path.join(directory, "work")
    os.makedirs(work, exist_ok=True)
    open(answer, "w").close()
    open(os.path.join(directory, "journal"), "w").close()
    with open(output, "w") as file:
        process = subprocess.Popen(
            [sys.executable, WORKER, json.dumps(request)],
            cwd=work,
            env=environment(directory),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(limit)
            end = f"exit status {status}" if status > 0 else ""
            if status < 0:
                end = f"killed by {signal.Signals(-status).name}"
        except subprocess.TimeoutExpired:
            end = f"the module took longer than {limit} s"
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)  # what its tests left behind, too
            except ProcessLookupError:
                pass
            process.wait()
    with open(answer, encoding="utf-8") as file:
        events = [json.loads(line) for line in file if line.endswith("\n")]
    with open(output, encoding="utf-8", errors="replace") as file:
        tail = "".join(file.readlines()[-60:])
    return events, end, tail


def account(module, events, end, tail):
    """Take the events of one worker into the module's results. True: the worker came to its end."""
    running = None
    last = None
    ended = False
    for event in events:
        if "plan" in event:
            module.plan, module.excluded = event["plan"], event["excluded"]
        elif "start" in event:
            running = last = event["start"]
        elif "test" in event:
            running = None
            module.results[event["test"]] = event
            if event["standard"]:
                event["outcome"] = "failed"
                event["details"] += "\nthe standard loop was made: it got past the replacement"
            if event["unraisable"]:
                event["outcome"] = "failed"
                event["details"] += f"\nunraisable exception {event['unraisable']}"
        elif "group" in event:
            module.groups.append(event)
        ended = ended or "end" in event
    timed_out = "Timeout (" in tail and end == "exit status 1"
    why = ("timed out" if timed_out else end or "the worker ended early") + "\n" + tail
    if running:
        module.fail(running, why)
    elif not ended and last:
        module.fail(last, "after the test: " + why)
    elif end:
        module.fail(f"{module.name} ({'at its exit' if ended else 'before its first test'})", why)
    return ended or not last


def settle_the_rest(module):
    """Tests without a result: what set up their class or module skipped them, or failed."""
    for test in module.plan:
        if test in module.results:
            continue
        owner = test.rpartition(".")[0]
        for group in module.groups:
            name = group["group"].partition("(")[2].rstrip(")").removeprefix("test.test_asyncio.")
            if name in (owner, test, module.name):
                module.results[test] = dict(group, ours=0, seconds=0.0)
                break
        else:
            module.fail(test, "did not run")
    for group in module.groups:
        if group["outcome"] == "failed":
            module.fail(f"{module.name}: {group['group']}", group["details"])


def run_module(name, request, limit):
    module = Module(name)
    started = time.monotonic()
    directory = tempfile.mkdtemp(prefix="conform-")
    try:
        for _ in range(RESTARTS):
            left = limit - (time.monotonic() - started)
            request = dict(request, module=name, done=list(module.results))
            if account(module, *run_worker(directory, request, max(left, 1))):
                break
        settle_the_rest(module)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    module.seconds = time.monotonic() - started
    return module


def run_modules(names, request, options):
    """Run all of them, `options.jobs` at a time."""
    names = sorted(names, key=lambda name: LONG.index(name) if name in LONG else len(LONG))
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        jobs = [pool.submit(run_module, name, request, options.module_timeout) for name in names]
        try:
            for job in concurrent.futures.as_completed(jobs):
                yield job.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def passed_elsewhere(result):
    return result["outcome"] == "passed" and not result["ours"]


def figures(module):
    elsewhere = sum(map(passed_elsewhere, module.results.values()))
    return {
        "passed": module.count("passed") - elsewhere,
        "elsewhere": elsewhere,
        "failed": module.count("failed"),
        "skipped": module.count("skipped"),
        "excluded": len(module.excluded),
        "seconds": module.seconds,
    }


def print_row(name, row):
    cells = (f"{row[c.name]:{c.width}{c.format}}" for c in COLUMNS)
    print(f"{name:28}" + "".join(cells), flush=True)


def print_tests(module):
    for test, result in module.results.items():
        outcome = "elsewhere" if passed_elsewhere(result) else result["outcome"]
        print(f"    {outcome:9} {test}  {result['seconds']:.2f} s")


def print_failures(modules, standard):
    """What failed, each with its traceback, and what the standard loop does with the same test."""
    for module in modules:
        for test, result in module.results.items():
            if result["outcome"] != "failed":
                continue
            with_standard = standard.get(test, {}).get("outcome")
            note = f"  [with the standard loop: {with_standard}]" if with_standard else ""
            print(f"\n{'=' * 100}\nFAILED {test}{note}\n{result['details'].rstrip()}")


def run_on_standard_loop(modules, request, options):
    """The results of the failed tests on asyncio's loop, which tells whose fault it is."""
    results = {}
    for module in modules:
        failed = [name for name, result in module.results.items() if result["outcome"] == "failed"]
        if failed:
            again = dict(request, loop="asyncio", accelerate=False, wanted=failed, excluded=[])
            results.update(run_module(module.name, again, options.module_timeout).results)
    return results


def print_skips(modules):
    reasons = collections.Counter(
        result["details"]
        for module in modules
        for result in module.results.values()
        if result["outcome"] == "skipped"
    )
    for reason, number in reasons.most_common():
        print(f"skipped {number:4}: {reason}")


def stale_rows(rows, modules, arguments):
    """Rows that exclude nothing here. Only a run of everything can tell."""
    if arguments:
        return []
    names = [name for module in modules for name in module.excluded]
    return [row for row in rows if not fnmatch.filter(names, row.pattern)]


def parse(arguments):
    parser = argparse.ArgumentParser(description="CPython's test.test_asyncio on casyncio's loop.")
    add = parser.add_argument
    add("what", nargs="*", help="modules, tests, patterns of tests (all)")
    add("--loop", default="casyncio", help="the package that brings the loop (casyncio)")
    add("--accelerate", action="store_true", help="with install(accelerate=True)")
    add("--jobs", type=int, default=2, help="modules at a time (2)")
    add("--timeout", type=float, default=60, help="seconds a test may take (60)")
    add("--module-timeout", type=float, default=600, help="seconds a module may take (600)")
    add("--audit", action="store_true", help="run what is excluded: nothing of it may pass")
    add("-v", "--verbose", action="store_true", help="each test")
    return parser.parse_args(arguments)


def superfluous_exclusions(modules):
    """Excluded tests that pass on our loop: their rows have to go."""
    for module in modules:
        for test, result in module.results.items():
            if result["outcome"] == "passed" and result["ours"]:
                yield test


def main():
    # A shell that starts a job in the background has it ignore Ctrl-C, which its children inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    options = parse(sys.argv[1:])
    sys.stdout.reconfigure(line_buffering=True)
    rows = read_exclusions(EXCLUSIONS, options.accelerate) if options.loop != "asyncio" else []
    names, wanted = what_is_wanted(options.what)
    request = {
        "loop": options.loop,
        "accelerate": options.accelerate,
        "timeout": options.timeout,
        "wanted": wanted,
        "excluded": [row.pattern for row in rows],
        "audit": options.audit,
    }
    print(f"{'test.test_asyncio':28}" + "".join(f"{c.name:>{c.width}}" for c in COLUMNS))
    started = time.monotonic()
    modules = []
    for module in run_modules(names, request, options):
        if module.results or module.excluded:
            modules.append(module)
            print_row(module.name, figures(module))
            if options.verbose:
                print_tests(module)
    total = collections.Counter()
    for module in modules:
        total.update(figures(module))
    total["seconds"] = time.monotonic() - started
    print_row("all", total)
    if options.audit:
        superfluous = list(superfluous_exclusions(modules))
        for test in superfluous:
            print(f"passes, but is excluded: {test}")
        return 1 if superfluous else 0
    print()
    print_skips(modules)
    standard = {}
    if options.loop != "asyncio" and total["failed"]:
        standard = run_on_standard_loop(modules, request, options)
    print_failures(modules, standard)
    stale = stale_rows(rows, modules, options.what)
    for row in stale:
        print(f"stale row, {EXCLUSIONS}:{row.line}: no test matches {row.pattern}")
    print()
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    return 0 if total["passed"] and not total["failed"] and not stale else 1


if __name__ == "__main__":
    sys.exit(main())
