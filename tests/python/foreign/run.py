"""Runs the tests that libraries have of their own on casyncio's loop, and on others to compare.

    PYTHON tests/python/foreign/run.py --build DIR [--loops LOOPS] [--jobs N] [NAME ...]

DIR is what `backend.py build --output DIR` made; NAME is a row of libraries.py. The libraries are
Debian's packages, which have to be installed (`tools/install_packages.sh python-programs`); the tests
are those of Debian's source packages, which apt-get fetches into --sources DIR, where they stay.
What cannot be had is a skip, and the reason is told.

A test that fails on casyncio is run a few times more, and on the standard loop as well. If it fails
there, too, it says nothing about us; if it passes only there, it has failed. What looks at the insides of
one loop stands in exclusions.txt, each row with its reason; a row that matches no test is an error.

With --loops asyncio,uvloop,casyncio all tests run on each, and a table compares them. The last line
is `N passed, N failed, N skipped`, of casyncio.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import fnmatch
import functools
import glob
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path

from libraries import LIBRARIES

HERE = Path(__file__).resolve().parent
EXCLUSIONS = HERE / "exclusions.txt"
LIMIT = 900  # seconds for a suite on one loop
ATTEMPTS = 4  # for a test that has failed on casyncio
END = 60  # seconds for the interpreter's end after the last test
RESTARTS = 20  # after crashes, of a suite on one loop
FETCHING = threading.Lock()
LOOPS = "asyncio", "uvloop", "casyncio"

Suite = collections.namedtuple("Suite", "name library directory settings options excluded")
Run = collections.namedtuple("Run", "outcomes made seconds output")


class Skip(Exception):
    """What is said is why the suite cannot be run here."""


# ---- sources ----


@functools.cache
def source_apt(sources):
    """apt-get for the sources of the packages that it has now. What the system has set up stays."""
    lists = sources / "lists"
    settings = sources / "sources.list"
    known = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT)",
         "Created-By: Packages"], capture_output=True, text=True).stdout
    rows = {tuple(line.split()[1:]) for line in known.splitlines() if line.startswith("Debian ")}
    settings.write_text("".join("deb-src %s %s %s\n" % row for row in sorted(rows) if len(row) == 3))
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    apt = ["apt-get", "-o", f"Dir::Etc::SourceList={settings}", "-o", "Dir::Etc::SourceParts=-",
           "-o", f"Dir::State::Lists={lists}", "-o", "APT::Sandbox::User=root"]
    subprocess.run([*apt, "update"], stdin=subprocess.DEVNULL, capture_output=True)
    return apt


def fetch(source, sources):
    """The archive of Debian's source package: what of it the mirror has; upstream's part is enough."""
    pattern = str(sources / f"{source}_*.orig.tar.*")
    with FETCHING:
        sources.mkdir(parents=True, exist_ok=True)
        if not glob.glob(pattern) and shutil.which("apt-get"):
            subprocess.run([*source_apt(sources), "source", "--download-only", source], cwd=sources,
                           stdin=subprocess.DEVNULL, capture_output=True)
    found = [name for name in glob.glob(pattern) if not name.endswith(".asc")]
    if not found:
        raise Skip(f"the source package {source} cannot be had")
    return found[0]


def unpack(name, library, sources, directory):
    """The tests and what configures them, without the library itself: it is the installed one."""
    directory.mkdir()
    if not library.source:
        return directory
    with tarfile.open(fetch(library.source, sources)) as archive:
        for member in archive:
            _, _, path = member.name.partition("/")
            if path.partition("/")[0] in ("tests", "conftest.py", "setup.cfg", "pyproject.toml",
                                          "README.rst", "README.md", "examples"):
                member.name = path
                archive.extract(member, directory, filter="data")
    if not (directory / "tests").is_dir():
        raise Skip(f"there are no tests in the source package {library.source}")
    return directory


def installed(package):
    state = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", package],
                           capture_output=True, text=True).stdout.split()
    if state[:1] != ["installed"]:
        raise Skip(f"{package} is not installed")
    return state[1]


# ---- servers ----


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def certificate(directory):
    """What redis-py's tests of TLS want to find, as upstream's containers have it."""
    directory.mkdir(parents=True)
    if not shutil.which("openssl"):
        return
    subprocess.run(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
        " -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -out ca.crt -keyout redis.key".split(),
        cwd=directory, check=True, capture_output=True)
    for name in "redis.crt", "client.crt":
        shutil.copy(directory / "ca.crt", directory / name)
    shutil.copy(directory / "redis.key", directory / "client.key")


@contextlib.contextmanager
def redis_server(suite):
    if not shutil.which("redis-server"):
        raise Skip("there is no redis-server")
    certificate(suite.directory / "dockers" / "standalone" / "tls")
    port = free_port()
    directory = suite.directory / "server"
    directory.mkdir()
    process = subprocess.Popen(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory),
         "--save", "", "--enable-debug-command", "yes"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        else:
            raise Skip("redis-server does not answer")
        yield {"port": port}
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def no_server(suite):
    yield {}


SERVERS = {None: no_server, "redis": redis_server}


# ---- a suite on one loop ----


def command(suite, ids=()):
    """pytest, with no plugins but those that are asked for."""
    tests = [*ids] if ids else suite.library.tests
    words = [sys.executable, "-m", "pytest", "-p", "loop_plugin", "-p", "pytest_timeout",
             "-p", "no:cacheprovider", "--continue-on-collection-errors", "--timeout=60", "-o", "addopts=",
             "--tb=short", "-q"]
    words += suite.options
    if suite.library.user and os.getuid() == 0:
        user = suite.library.user
        group = str(pwd.getpwnam(user).pw_gid)
        words[:0] = ["setpriv", "--reuid", user, "--regid", group, "--clear-groups"]
    return words + tests


def read_record(path):
    """id -> (outcome, reason) in the order of the record; loops that were made; what did not end."""
    outcomes, made, started = {}, collections.Counter(), None
    for line in path.read_text().splitlines():
        row = json.loads(line)
        if "start" in row:
            started = row["start"]
        elif "made" in row:
            made.update(row["made"])
        else:
            outcomes[row["test"]] = row["outcome"], row["reason"]
            started = None
    return outcomes, dict(made), started


def run_once(suite, loop, ids, record, output):
    """One process; its exit status, None if it took too long."""
    with open(output, "a") as file:
        process = subprocess.Popen(
            command(suite, ids), cwd=suite.directory, stdin=subprocess.DEVNULL, stdout=file,
            stderr=subprocess.STDOUT, start_new_session=True,
            env={**suite.settings, "FOREIGN_LOOP": loop, "FOREIGN_RECORD": str(record),
                 "TMPDIR": str(record.parent)})
        limit = time.monotonic() + LIMIT
        done = False
        while process.poll() is None and time.monotonic() < limit:
            time.sleep(0.2)
            if not done and '"made"' in record.read_text():  # what is left is to come to an end
                done, limit = True, time.monotonic() + END
        status = process.poll()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return status


def run(suite, loop, ids=()):
    """All of it, or the tests that are named; what comes after a crash in a further process."""
    with tempfile.TemporaryDirectory(prefix="foreign-", ignore_cleanup_errors=True) as directory:
        os.chmod(directory, 0o777)
        record, output = Path(directory, "record"), Path(directory, "output")
        record.touch()
        record.chmod(0o666)
        begin = time.monotonic()
        for _ in range(RESTARTS):
            status = run_once(suite, loop, ids, record, output)
            outcomes, made, crashed = read_record(record)
            if not crashed:
                break
            with open(record, "a") as file:
                reason = f"the process ended in it: {status}"
                print(json.dumps({"test": crashed, "outcome": "failed", "reason": reason}), file=file)
            outcomes[crashed] = "failed", reason
        seconds = time.monotonic() - begin
        text = output.read_text(errors="replace")
    # pytest's: all passed, some failed, nothing was left to run
    if status not in (0, 1, 5) or not outcomes:
        why = "it did not end" if status is None else f"exit status {status}"
        outcomes["(pytest)"] = "failed", f"{why}\n{text[-3000:]}"
    if not ids and made.get(loop, 0) * 2 < sum(made.values()):
        outcomes["(loops)"] = "failed", f"most loops are of another kind: {made}"
    return Run(outcomes, made, seconds, text)


# ---- what is not asked of casyncio ----


def read_exclusions():
    """library -> [(pattern, reason)]: as in ../exclusions.txt, with the library before the pattern."""
    rows, reason, in_rows = collections.defaultdict(list), "", False
    for line in EXCLUSIONS.read_text().splitlines():
        words = line.partition("#")[0].split()
        if words and line[0].isspace():
            rows[words[0]].append((words[1], reason))
            in_rows = True
        elif words:
            reason = " ".join(words) if in_rows or not reason else f"{reason} {' '.join(words)}"
            in_rows = False
        else:
            reason = ""
    return rows


def fits(test, pattern):
    """`*` and `?` are patterns; brackets are pytest's."""
    return fnmatch.fnmatchcase(test, pattern.replace("[", "[[]"))


def excluded(suite, test):
    """Why the test is not asked of casyncio, if it is not."""
    return next((reason for pattern, reason in suite.excluded if fits(test, pattern)), None)


# ---- judging ----


def failures(outcomes):
    return [test for test, (outcome, _) in outcomes.items() if outcome == "failed"]


def tally(outcomes):
    counts = collections.Counter(outcome for outcome, _ in outcomes.values())
    return "%5d passed %4d failed %4d skipped" % tuple(
        counts[kind] for kind in ("passed", "failed", "skipped"))


def try_again(suite, tests, runs):
    """test -> why its failure says nothing about us. What is bound to the time needs a few attempts."""
    reasons = dict.fromkeys(tests)
    stock = runs["asyncio"].outcomes if "asyncio" in runs else {}
    for _ in range(ATTEMPTS):
        for test in tests:
            if test != "(loops)" and stock.get(test, ("",))[0] == "failed":
                reasons[test] = "fails on the standard loop, too"
        left = [test for test in tests if not reasons[test] and test[0] != "("]
        if not left:
            break
        again = run(suite, "casyncio", left).outcomes
        for test in left:
            if again.get(test, ("",))[0] == "passed":
                reasons[test] = "failed, and passed when it was run once more"
        left = [test for test in left if not reasons[test]]
        stock = run(suite, "asyncio", left).outcomes if left else {}
    return reasons


def judge(suite, runs):
    """test -> (what it comes to, reason): passed, failed, skipped. Tells of all that is not passed."""
    ours = dict(runs["casyncio"].outcomes)
    for test, (outcome, reason) in ours.items():
        if outcome == "missing":
            ours[test] = "skipped", reason
            print(f"    skipped: {suite.name} {test}: {reason}")
    tests = failures(ours)
    reasons = {test: excluded(suite, test) for test in tests}
    reasons.update(try_again(suite, [test for test in tests if not reasons[test]], runs))
    for test in tests:
        if reasons[test]:
            print(f"    skipped: {suite.name} {test}: {reasons[test]}")
            ours[test] = "skipped", reasons[test]
        else:
            print(f"FAILED {suite.name} {test}", "-" * 99, ours[test][1], "-" * 99, sep="\n")
    for pattern, _ in suite.excluded:
        if not any(fits(test, pattern) for test in ours):
            ours[pattern] = "failed", ""
            print(f"FAILED {suite.name} {pattern}: a row of {EXCLUSIONS.name} that is no test")
    return ours


def compare(suite, runs):
    """What the loops differ in."""
    names = sorted(set().union(*(run.outcomes for run in runs.values())))
    for test in names:
        row = [run.outcomes.get(test, ("-", ""))[0] for run in runs.values()]
        if len(set(row)) > 1:
            print(f"    {suite.name} {test}: "
                  + ", ".join(f"{loop} {outcome}" for loop, outcome in zip(runs, row)))


def prepare(name, options, work):
    library = LIBRARIES[name]
    version = installed(library.package)
    directory = unpack(name, library, options.sources, work / name)
    path = os.pathsep.join([str(work / "site"), str(work / "plugin")])
    settings = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1",
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "HOME": str(directory)}
    for binaries in sorted(glob.glob("/usr/lib/postgresql/*/bin")):  # which are not in Debian's PATH
        settings["PGINSTALLATION"] = binaries
    if library.user and os.getuid() == 0:
        subprocess.run(["chown", "-R", library.user, str(directory)], check=True)
    return version, Suite(name, library, directory, settings, library.options, options.excluded[name])


def run_library(name, options, work):
    """Its row of numbers; and what it says."""
    try:
        version, suite = prepare(name, options, work)
        with SERVERS[suite.library.server](suite) as server:
            suite = suite._replace(options=[word.format(**server) for word in suite.options])
            runs = {}
            for loop in options.loops:
                runs[loop] = run(suite, loop)
                print(f"{name:11} {version:24} {loop:9} {tally(runs[loop].outcomes)}"
                      f" {runs[loop].seconds:7.1f} s   loops made: {runs[loop].made}", flush=True)
                if options.verbose:
                    (options.verbose / f"{name}-{loop}.log").write_text(runs[loop].output)
            if len(runs) > 1:
                compare(suite, runs)
            return judge(suite, runs) if "casyncio" in runs else {}
    except Skip as skip:
        print(f"    skipped: {name}: {skip}", flush=True)
        return {"(all)": ("skipped", str(skip))}


def parse():
    parser = argparse.ArgumentParser(description="The tests that libraries have, on casyncio.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="some only")
    parser.add_argument("--build", type=Path, required=True, help="what has casyncio/ in it")
    parser.add_argument("--sources", type=Path, default=Path("/var/cache/casyncio-foreign"))
    parser.add_argument("--loops", default="casyncio", help="of " + ",".join(LOOPS))
    parser.add_argument("--jobs", type=int, default=2, help="libraries at a time (2)")
    parser.add_argument("--verbose", type=Path, metavar="DIR", help="pytest's output goes there")
    options = parser.parse_args()
    options.names = options.names or list(LIBRARIES)
    options.loops = options.loops.split(",")
    unknown = {*options.names} - {*LIBRARIES} | {*options.loops} - {*LOOPS}
    if unknown:
        parser.error(f"no such library or loop: {', '.join(sorted(unknown))}")
    return options


def main():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    options = parse()
    options.excluded = read_exclusions()
    with tempfile.TemporaryDirectory(prefix="foreign-", ignore_cleanup_errors=True) as work:
        work = Path(work)
        work.chmod(0o755)
        shutil.copytree(options.build / "casyncio", work / "site" / "casyncio")
        (work / "plugin").mkdir()
        shutil.copy(HERE / "loop_plugin.py", work / "plugin")
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            results = list(pool.map(lambda name: run_library(name, options, work), options.names))
    counts = collections.Counter(
        outcome for outcomes in results for outcome, _ in outcomes.values())
    print("\n%d passed, %d failed, %d skipped" % tuple(
        counts[kind] for kind in ("passed", "failed", "skipped")))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
