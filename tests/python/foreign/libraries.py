"""The libraries whose own tests run.py runs, one a row."""

import collections

# package: Debian's, whose installed library is tested
# source: Debian's source package, which has the tests; None if the installed package has them
# tests: what of them is run, without those that use no loop
# options: pytest's; {port} is the server's
# server: what is started for them, by its name in run.SERVERS
# user: who runs them if it is root who started it all
Library = collections.namedtuple(
    "Library", "package source tests options server user", defaults=(None, None))

MOCK = "-p", "pytest_mock"
ANYIO = "-p", "anyio.pytest_plugin"

LIBRARIES = {
    # Some tests take the permission to read a file away. Without --aiohttp-fast garbage is collected
    # after each test, which takes four fifths of the time.
    "aiohttp": Library(
        "python3-aiohttp", "python-aiohttp", ["tests"],
        [*MOCK, "--aiohttp-fast", "-m", "not dev_mode and not autobahn and not internal",
         "--ignore=tests/autobahn", "--ignore-glob=tests/test_benchmarks*"],
        user="nobody"),
    "anyio": Library(
        "python3-anyio", "python-anyio", ["tests"],
        [*MOCK, *ANYIO, "-m", "not network", "-k", "not trio and not uvloop"]),
    # PostgreSQL refuses to be root's. Its clusters are made and started by the tests.
    "asyncpg": Library(
        "python3-asyncpg", "asyncpg", ["tests"], ["--ignore=tests/test__sourcecode.py"],
        user="postgres"),
    # Without clusters and modules of Redis, and without an identity provider.
    "redis": Library(
        "python3-redis", "python-redis", ["tests/test_asyncio"],
        ["-p", "pytest_asyncio.plugin", "-m", "not onlycluster and not redismod and not cp_integration",
         *("--ignore=tests/test_asyncio/test_%s.py" % name for name in
           ("search", "vsets", "credentials")),
         "--redis-url=redis://127.0.0.1:{port}/0"],
        server="redis"),
    # Without classes that are parts of others, and a test that compares CPU times.
    "tornado": Library(
        "python3-tornado", None, ["--pyargs", "tornado.test"],
        ["-o", "python_files=*_test.py", "-k", "not Mixin and not linear_performance"]),
    # It imports a part of websockets that is deprecated, and takes warnings for errors. The supervisors
    # are processes without a loop.
    "uvicorn": Library(
        "python3-uvicorn", "python-uvicorn", ["tests"],
        [*MOCK, *ANYIO, "-W", "ignore::DeprecationWarning", "--ignore=tests/supervisors"]),
    "websockets": Library(
        "python3-websockets", "python-websockets", ["tests/asyncio", "tests/legacy"], []),
}
