"""Runs the tests of the Python face: each tests/python/test_*.py in a process of its own.

    PYTHON tests/python/run.py [--build DIR] [--jobs N] [NAME ...]

DIR is what `backend.py build --output DIR` made; by default build/python-X.Y, where `make python`
has it. NAME is a file's, without test_ and .py; without any, all are run. The last two are
CPython's own suite (conformance.py): `conformance`, and with install(accelerate=True),
`accelerated`. A file's head may say more about it, in one line:

    # run: timeout=300 serial

timeout: in seconds, 120 if it does not say. serial: never beside another. Every test counts, and so
does a process that does not end well. The last line is `N passed, N failed, N skipped`.
"""

import argparse
import collections
import concurrent.futures
import faulthandler
import os
import re
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
VERSION = "%d.%d" % sys.version_info[:2] + sys.abiflags
BUILD = HERE.parent.parent / "build" / f"python-{VERSION}"
RECORD = "CASYNCIO_TEST_RECORD"
MALLOC = os.environ.get("PYTHONMALLOC", "debug")  # which finds what writes too far
SUMMARY = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", re.MULTILINE)

WELL = re.compile(r"^(test_\S+ \(\S+\)\n)?.* \.\.\. ok\n", re.MULTILINE)
SUITES = {"conformance": [], "accelerated": ["--accelerate"]}

Outcome = collections.namedtuple("Outcome", "passed failed skipped")
Run = collections.namedtuple("Run", "name outcome seconds reasons output")


# ---- in the process of one file ----


class Result(unittest.TextTestResult):
    """Writes an outcome a line into the record, as it comes: what crashes later has counted."""

    def record(self, outcome, test, reason=""):
        with open(os.environ[RECORD], "a") as file:
            print(outcome, test.id(), " ".join(reason.split()), sep="\t", file=file)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.record("passed", test)

    def addExpectedFailure(self, test, error):
        super().addExpectedFailure(test, error)
        self.record("passed", test)

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.record("failed", test)

    def addError(self, test, error):
        super().addError(test, error)
        self.record("failed", test)

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.record("failed", test)

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error:
            self.record("failed", test)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.record("skipped", test, reason)


def run_here(file, timeout):
    """The file as the main program, as if it had been started alone."""
    faulthandler.dump_traceback_later(timeout, exit=True)
    unittest.TextTestRunner.resultclass = Result
    sys.argv = [file, "-v"]
    try:
        runpy.run_path(file, run_name="__main__")
    except unittest.SkipTest as skip:
        with open(os.environ[RECORD], "a") as record:
            print("skipped", "all", skip, sep="\t", file=record)


# ---- from outside ----


def settings(file):
    """What the file says about itself: (seconds, whether it is to run alone)."""
    with open(file, encoding="utf-8") as source:
        head = [next(source, "") for _ in range(40)]
    says = "".join(line for line in head if line.startswith("# run:"))
    timeout = re.search(r"timeout=(\d+)", says)
    return int(timeout[1]) if timeout else 120, "serial" in says.split()


def environment(build, **more):
    path = [str(build), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), **more}


def run_file(file, build):
    """Runs one file in an empty directory, and counts."""
    timeout, _ = settings(file)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        record = os.path.join(directory, "record")
        work = os.path.join(directory, "work")
        os.mkdir(work)
        Path(record).touch()
        with open(os.path.join(directory, "output"), "w+", errors="replace") as output:
            command = [sys.executable, __file__, "--one", str(file), "--timeout", str(timeout)]
            settled = environment(build, PYTHONMALLOC=MALLOC, CASYNCIO_TEST_TIMEOUT=str(timeout))
            process = subprocess.Popen(
                command, cwd=work, env={**settled, RECORD: record}, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
            end = wait_for(process, timeout + 20)
            output.seek(0)
            text = output.read()
        outcomes = read_record(record)
    bad = sum(outcome == "failed" for outcome, _ in outcomes.values())
    none = sum(outcome == "skipped" for outcome, _ in outcomes.values())
    good = len(outcomes) - bad - none
    if end and not bad or not outcomes:
        bad += 1
        text += f"\n{file.name}: {end or 'there was no test in it'}\n"
    reasons = [f"{test}: {reason}" for test, (outcome, reason) in outcomes.items()
               if outcome == "skipped"]
    return Run(file.stem.removeprefix("test_"), Outcome(good, bad, none), time.monotonic() - begin,
               reasons, text)


def wait_for(process, limit):
    """Waits for the process, and ends what it left behind. Gives what was wrong with its end."""
    try:
        status = process.wait(limit)
    except subprocess.TimeoutExpired:
        status = None
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    if status is None:
        return f"it took longer than {limit} s"
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}" if status else ""


def read_record(record):
    """test -> (outcome, reason); a test of which something failed has failed."""
    outcomes = {}
    with open(record, errors="replace") as file:
        for line in file:
            outcome, test, reason = line.rstrip("\n").split("\t")
            if outcome == "failed" or test not in outcomes:
                outcomes[test] = outcome, reason
    return outcomes


def run_suite(name, build, jobs):
    """conformance.py, whose table is printed as it comes."""
    begin = time.monotonic()
    lines = []
    process = subprocess.Popen(
        [sys.executable, HERE / "conformance.py", "--jobs", str(jobs), *SUITES[name]],
        env=environment(build), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True)
    for line in process.stdout:
        lines.append(line)
        print("   " + line, end="", flush=True)
    status = process.wait()
    found = SUMMARY.findall("".join(lines))
    outcome = Outcome(*map(int, found[-1])) if found else Outcome(0, 0, 0)
    if status and not outcome.failed:
        outcome = outcome._replace(failed=1)
    return Run(name, outcome, time.monotonic() - begin, [], "")


def tell(run):
    print(f"{run.name:24} {run.outcome.passed:5} passed {run.outcome.failed:5} failed "
          f"{run.outcome.skipped:5} skipped {run.seconds:8.1f} s", flush=True)
    for reason in run.reasons:
        print("    skipped:", reason)
    if run.outcome.failed and run.output:
        print("-" * 99, WELL.sub("", run.output).strip(), "-" * 99, sep="\n", flush=True)


def run_all(files, build, jobs):
    """Yields a Run for each file: those that run alone at last."""
    alone = {file: settings(file)[1] for file in files}
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        work = [pool.submit(run_file, file, build) for file in files if not alone[file]]
        for done in concurrent.futures.as_completed(work):
            yield done.result()
    for file in files:
        if alone[file]:
            yield run_file(file, build)


def parse():
    parser = argparse.ArgumentParser(description="The tests of casyncio's Python face.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="some only")
    parser.add_argument("--build", type=Path, default=BUILD, help="what has casyncio/ in it")
    parser.add_argument("--jobs", type=int, default=2, help="files at a time (2)")
    parser.add_argument("--one", metavar="FILE", help=argparse.SUPPRESS)
    parser.add_argument("--timeout", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    # A shell that starts a job in the background has it ignore Ctrl-C, which its children inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    options = parse()
    if options.one:
        run_here(options.one, options.timeout)
        return 0
    build = options.build.resolve()
    if not (build / "casyncio").is_dir():
        sys.exit(f"run.py: there is no casyncio in {build}: `make python PYTHON={sys.executable}`")
    files = {file.stem.removeprefix("test_"): file for file in sorted(HERE.glob("test_*.py"))}
    names = [Path(name).stem.removeprefix("test_") for name in options.names] or [*files, *SUITES]
    unknown = set(names) - {*files, *SUITES}
    if unknown:
        sys.exit(f"run.py: no test {', '.join(sorted(unknown))}; there are: "
                 f"{' '.join([*files, *SUITES])}")

    runs = []
    for run in run_all([files[name] for name in names if name in files], build, options.jobs):
        tell(run)
        runs.append(run)
    for name in SUITES:
        if name in names:
            run = run_suite(name, build, options.jobs)
            tell(run)
            runs.append(run)
    total = Outcome(*map(sum, zip(*(run.outcome for run in runs))))
    print(f"\n{total.passed} passed, {total.failed} failed, {total.skipped} skipped")
    return 1 if total.failed or not total.passed else 0


if __name__ == "__main__":
    sys.exit(main())
