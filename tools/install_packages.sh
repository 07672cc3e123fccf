#!/usr/bin/env bash
# Installs what `make demo`, `make check`, `make check-web`, the benchmarks in bench/python, the tests of one Python, or the libraries whose tests
# tests/python/foreign runs need and this machine lacks:
#   tools/install_packages.sh demo|demo-cluster|check|web|bench-python|python-X.Y|python-programs
# For Debian 12 and later; python-X.Y where the suite has that version (fresh.sh makes a root of sid).
# What is there is recognised by what it provides, not by its package: a cmake from elsewhere is a cmake. If nothing is missing
# nothing is run. Asks for root only when it must.
set -euo pipefail
purpose=${1:-}
case $purpose in
    demo | demo-cluster | check | web | bench-python | python-3.* | python-programs) ;;
    *) echo "usage: $0 demo|demo-cluster|check|web|bench-python|python-X.Y|python-programs" >&2; exit 2 ;;
esac

# Debian's package, and how to see that it is there: cmd:NAME, header:PATH, file:PATTERN, or python:MODULE for what the Python
# in question can import. X.Y in a name is the version of Debian's python3.
compiler="
gcc                     cmd:gcc
libc6-dev               header:stdio.h
make                    cmd:make
"
library="
cmake                   cmd:cmake
libcurl4-openssl-dev    header:curl/curl.h
libssl-dev              header:openssl/ssl.h
liburing-dev            header:liburing.h
pkg-config              cmd:pkg-config
libllhttp-dev           llhttp:
libnats-dev             header:nats/nats.h
libwslay-dev            header:wslay/wslay.h
zlib1g-dev              header:zlib.h
libnghttp2-dev          header:nghttp2/nghttp2.h
ca-certificates         file:/etc/ssl/certs/ca-certificates.crt
"
cluster="
nats-server             cmd:nats-server
libpng-dev              header:png.h
pkg-config              cmd:pkg-config
"
python="
python3                 file:/usr/bin/python3
python3-dev             file:/usr/include/python3.*/Python.h
python3-aiohttp         python:aiohttp
python3-uvicorn         python:uvicorn
python3-websockets      python:websockets
"
web="
chromium                cmd:chromium
python3-websockets      python:websockets
"
check="
git                     cmd:git
g++                     cmd:g++
ninja-build             cmd:ninja
binutils                cmd:nm
libcmocka-dev           header:cmocka.h
libglib2.0-dev          header:glib-2.0/glib.h
libjansson-dev          header:jansson.h
clang                   cmd:clang
libclang-rt-dev         file:/usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a
clang-format            cmd:clang-format
clang-tidy              cmd:clang-tidy
libdw-dev               header:elfutils/libdwfl.h
gdb                     cmd:gdb
lldb                    cmd:lldb
systemtap-sdt-dev       header:sys/sdt.h
valgrind                cmd:valgrind
valgrind                header:valgrind/valgrind.h
gcc-aarch64-linux-gnu   cmd:aarch64-linux-gnu-gcc
libc6-dev-arm64-cross   file:/usr/aarch64-linux-gnu/include/stdio.h
qemu-user-static        cmd:qemu-aarch64-static
musl-tools              cmd:musl-gcc
nginx-light             cmd:nginx
apache2-bin             cmd:apache2
haproxy                 cmd:haproxy
nghttp2-client          cmd:h2load
python3-h2              python:h2
openssl                 cmd:openssl
netbase                 file:/etc/services
socat                   cmd:socat
curl                    cmd:curl
postfix                 cmd:postfix
libpythonX.Y-testsuite  python:test.test_asyncio
python3-venv            python:ensurepip
debootstrap             cmd:debootstrap
mandoc                  cmd:mandoc
libuv1-dev              header:uv.h
"
bench="
openssl                 cmd:openssl
python3-uvloop          python:uvloop
python3-httptools       python:httptools
python3-websockets      python:websockets
libssl-dev              header:openssl/ssl.h
"
version=${purpose#python-}
one_python="
python$version           file:/usr/bin/python$version
python$version-dev       file:/usr/include/python$version/Python.h
python$version-venv      python:ensurepip
libpython$version-testsuite python:test.test_asyncio
python3-aiohttp          python:aiohttp
python3-uvicorn          python:uvicorn
openssl                  cmd:openssl
netbase                  file:/etc/services
procps                   cmd:ps
"
programs="
python3                  file:/usr/bin/python3
python3-dev              file:/usr/include/python3.*/Python.h
python3-aiohttp          python:aiohttp
python3-anyio            python:anyio
python3-asyncpg          python:asyncpg
python3-redis            python:redis
python3-tornado          python:tornado
python3-uvicorn          python:uvicorn
python3-uvloop           python:uvloop
python3-websockets       python:websockets
postgresql               file:/usr/lib/postgresql/*/bin/initdb
redis-server             cmd:redis-server
python3-pytest           python:pytest
python3-pytest-asyncio   python:pytest_asyncio
python3-pytest-mock      python:pytest_mock
python3-pytest-timeout   python:pytest_timeout
python3-a2wsgi           python:a2wsgi
python3-brotli           python:brotli
python3-coverage         python:coverage
python3-distro           python:distro
python3-dotenv           python:dotenv
python3-freezegun        python:freezegun
python3-httptools        python:httptools
python3-httpx            python:httpx
python3-hypothesis       python:hypothesis
python3-mock             python:mock
python3-psutil           python:psutil
python3-re-assert        python:re_assert
python3-trustme          python:trustme
python3-typing-extensions python:typing_extensions
python3-werkzeug         python:werkzeug
python3-wsproto          python:wsproto
python3-yaml             python:yaml
"
interpreter=/usr/bin/python3
case $purpose in
    demo) needs=$compiler$library ;;
    demo-cluster) needs=$compiler$library$cluster ;;
    web) needs=$compiler$library$web ;;
    check) needs=$compiler$library$cluster$check$python ;;
    bench-python) needs=$compiler$python$bench ;;
    python-programs) needs=$compiler$programs ;;
    python-*) needs=$compiler$one_python interpreter=/usr/bin/python$version ;;
esac

# Debian keeps daemons (nginx) in sbin, which a user's PATH may lack.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

there() {
    local what=${1#*:} place
    case $1 in
        cmd:*) command -v "$what" >/dev/null ;;
        header:*)
            for place in /usr/local/include /usr/include /usr/include/*-linux-gnu; do
                [ ! -e "$place/$what" ] || return 0
            done
            return 1
            ;;
        file:*) compgen -G "$what" >/dev/null ;;
        # Debian 12 has it as sources, which are compiled in.
        llhttp:) there header:llhttp.h || [ -e /usr/share/llhttp/llhttp.c ] ;;
        python:*) "$interpreter" -I -c "import $what" 2>/dev/null ;;
    esac
}

# The version of Debian's python3, installed or to be had.
python_version() {
    if [ -x /usr/bin/python3 ]; then
        /usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])'
    else
        apt-cache show python3 2>/dev/null | sed -n 's/^Version: \([0-9]*\.[0-9]*\).*/\1/p' | head -n 1
    fi
}

missing=()
while read -r package probe; do
    [ -n "$package" ] || continue
    if ! there "$probe" && [[ " ${missing[*]-} " != *" $package "* ]]; then missing+=("$package"); fi
done <<<"$needs"
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "install_packages.sh: this is not Debian; missing are what Debian calls: ${missing[*]}" >&2
    exit 1
fi
named() {
    missing=("${missing[@]//X.Y/$(python_version)}")
    apt-cache show libllhttp-dev >/dev/null 2>&1 || missing=("${missing[@]/#libllhttp-dev/node-llhttp}")
}
if [ "$(id -u)" != 0 ]; then
    named
    echo "install_packages.sh: not root, and these packages are missing: apt-get install ${missing[*]}" >&2
    exit 1
fi

log=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
if ! apt-get update >"$log" 2>&1 </dev/null; then
    echo "install_packages.sh: apt-get update failed: $(grep '^[EW]:' "$log" | tail -n 1)" >&2
    exit 1
fi
named
echo "== installing ${missing[*]}"
# The tests start an nginx of their own; the package's is not to open port 80 of this machine. policy-rc.d is how Debian is told.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
fi
if ! apt-get install -y --no-install-recommends "${missing[@]}" >"$log" 2>&1 </dev/null; then
    tail -n 30 "$log" >&2
    echo "install_packages.sh: apt-get failed, see $log: $(grep '^E:' "$log" | tail -n 1)" >&2
    exit 1
fi
rm -f "$log"
