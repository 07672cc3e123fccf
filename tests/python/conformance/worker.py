"""Runs the tests of one module of test.test_asyncio: the child process of conformance.py.

The request is the one argument, in JSON; the answer goes to a file, a line of JSON per event, so
that a crash loses nothing: {"plan": ids, "excluded": ids}, {"start": id}, {"test": id, ...},
{"group": id, ...} for what setUpClass or setUpModule did, and at last {"end": true}.

Every test has its own time limit. faulthandler keeps it, in a thread that needs no GIL: it writes
all stacks and ends the process, and conformance.py starts another for the tests that are left.
"""

import faulthandler
import fnmatch
import json
import os
import sys
import time
import traceback
import unittest
import warnings

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import replacement  # noqa: E402

del sys.path[0]

# At the module's level, not in main(): a child that multiprocessing spawns imports this file again.
request = json.loads(sys.argv[1])
replacement.install(request["loop"], request["accelerate"])

PREFIX = "test.test_asyncio."


def short(test):
    return test.id().removeprefix(PREFIX)


class Answer:
    """The file of events. A process that a test forks off must not write to it."""

    def __init__(self, path):
        self.file = open(path, "a", encoding="utf-8", buffering=1)
        self.pid = os.getpid()

    def add(self, **event):
        if os.getpid() == self.pid:
            self.file.write(json.dumps(event) + "\n")


class Result(unittest.TestResult):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer
        self.outcome, self.details = None, []
        self.unraisable = []
        self.started = time.monotonic()
        self.journal = open(os.environ[replacement.JOURNAL], "rb")
        sys.unraisablehook = self.hear_unraisable

    def hear_unraisable(self, what):
        lines = traceback.format_exception(what.exc_type, what.exc_value, what.exc_traceback)
        self.unraisable.append(f"{what.err_msg or 'in'} {what.object!r}\n{''.join(lines)}")

    def watch(self):
        faulthandler.dump_traceback_later(request["timeout"], exit=True)

    def startTest(self, test):
        super().startTest(test)
        self.journal.read()
        self.answer.add(start=short(test))
        self.started = time.monotonic()
        self.watch()

    def stopTest(self, test):
        super().stopTest(test)
        self.watch()
        marks = self.journal.read()
        self.answer.add(
            test=short(test),
            outcome=self.outcome or "passed",
            details="\n".join(self.details),
            seconds=time.monotonic() - self.started,
            ours=marks.count(replacement.OURS),
            standard=marks.count(replacement.STANDARD),
            unraisable="\n".join(self.unraisable),
        )
        # Here, not in startTest: CPython 3.12.1 does not call that for what a decorator skips.
        self.outcome, self.details = None, []
        self.unraisable.clear()

    def note(self, test, outcome, details):
        """The worst of what a test reports is its outcome."""
        if isinstance(test, unittest.TestCase):
            if self.outcome != "failed":
                self.outcome = outcome
            self.details.append(details)
        else:
            self.answer.add(group=str(test), outcome=outcome, details=details)

    def fail(self, test, error):
        self.note(test, "failed", self._exc_info_to_string(error, test))

    def addError(self, test, error):
        self.fail(test, error)

    def addFailure(self, test, error):
        self.fail(test, error)

    def addSubTest(self, test, subtest, error):
        if error is not None:
            self.fail(test, error)

    def addSkip(self, test, reason):
        if not hasattr(test, "test_case"):  # a skipped sub-test skips no test
            self.note(test, "skipped", reason)

    def addUnexpectedSuccess(self, test):
        self.note(test, "failed", "passes, although it is marked as an expected failure")

    def addExpectedFailure(self, test, error):
        pass


def flatten(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from flatten(test)
        else:
            yield test


def matches(name, patterns):
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def choose(tests):
    """The tests to run, and the names of the chosen ones that the list excludes."""
    run, excluded = [], []
    for test in tests:
        name = short(test)
        if not matches(name, request["wanted"]):
            continue
        is_excluded = matches(name, request["excluded"])
        if is_excluded:
            excluded.append(name)
        if is_excluded == request["audit"]:
            run.append(test)
    return run, excluded


def main():
    faulthandler.enable()
    if request["loop"] != "asyncio":
        replacement.reach_child_interpreters(request["loop"], request["accelerate"])
        replacement.replace_test_loop(request["module"])
        replacement.need_no_private_names()
    answer = Answer(request["answer"])
    result = Result(answer)
    result.watch()
    module = PREFIX + request["module"]
    try:
        suite = unittest.defaultTestLoader.loadTestsFromName(module)
    except unittest.SkipTest as skip:
        answer.add(plan=[request["module"]], excluded=[])
        answer.add(group=f"import ({module})", outcome="skipped", details=str(skip))
        answer.add(end=True)
        return
    tests, excluded = choose(flatten(suite))
    answer.add(plan=[short(test) for test in tests], excluded=excluded)
    done = set(request["done"])
    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("default")
        unittest.TestSuite(test for test in tests if short(test) not in done).run(result)
    answer.add(end=True)
    # The watch goes on: the interpreter has to be able to end, too.
    result.watch()


if __name__ == "__main__":
    main()
