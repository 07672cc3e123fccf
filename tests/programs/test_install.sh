#!/usr/bin/env bash
# The library as a user finds it: installed, then a program built against it by pkg-config and by find_package, shared and static.
# ctest: shared serial timeout=300
set -euo pipefail
CC=${CC:-cc}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix
cmake --install "$BUILD_DIR" --prefix "$prefix" >"$work/install.log"

cat >"$work/hello.c" <<'EOF'
#include <casyncio.h>
#include <stdio.h>

static int say_hello(void *unused)
{
    (void)unused;
    int code = async_sleep(0.001);
    if (code < 0) return code;
    puts("Hello");
    return 0;
}

int main(void) { return async_run(say_hello, NULL); }
EOF

run() { # run DESCRIPTION PROGRAM...
    local what=$1 output
    shift
    output=$("$@")
    [ "$output" = Hello ] || { echo "$what: printed '$output'"; exit 1; }
    echo "ok: $what"
}

cd "$work"
libdir=$(dirname "$(find "$prefix" -name libcasyncio.so)")
if [ -e "$BUILD_DIR/man3.stamp" ]; then
    for page in man3/async_run.3 man3/async_gather_array.3 man7/casyncio.7; do
        [ -e "$prefix/share/man/$page" ] || { echo "$page was not installed"; exit 1; }
    done
    echo "ok: manual pages"
fi
find "$prefix/share/gdb/auto-load" -name 'libcasyncio.so.*-gdb.py' | grep -q . || { echo "what gdb loads was not installed"; exit 1; }
[ -e "$prefix/share/casyncio/casyncio_lldb.py" ] || { echo "what lldb imports was not installed"; exit 1; }
parts=
for part in http tls cluster; do
    [ ! -e "$libdir/libcasyncio-$part.so" ] || parts+=" $part"
done

if command -v pkg-config >/dev/null; then
    export PKG_CONFIG_PATH=$libdir/pkgconfig
    pkg-config --exact-version=0.2.0 casyncio
    $CC -Wall -Werror hello.c -o hello $(pkg-config --cflags --libs casyncio)
    run "pkg-config, shared" env LD_LIBRARY_PATH="$libdir" ./hello
    $CC -Wall -Werror hello.c -o hello $(pkg-config --cflags casyncio) -L"$libdir" -l:libcasyncio.a \
        $(sed -n 's/^Libs.private: //p' "$libdir/pkgconfig/casyncio.pc")
    run "pkg-config, static" ./hello
    if [ -e "$libdir/libcasyncio-test.so" ]; then
        cat >test.c <<'END'
#include <casyncio.h>
#include <casyncio/testing.h>
#include <stdio.h>

static int scenario(void *unused)
{
    (void)unused;
    int code = 0;
    async_assert_checkpoint () code = async_sleep(1);
    return code;
}

int main(void)
{
    if (async_test_faults(scenario, NULL, NULL) && async_test_seeds(scenario, NULL, 10, NULL)) puts("Hello");
    return 0;
}
END
        $CC -Wall -Werror test.c -o hello $(pkg-config --cflags --libs casyncio-test)
        run "pkg-config, test" env LD_LIBRARY_PATH="$libdir" ./hello
        for part in $parts; do # which is linked with the other library, whose symbols come from this one
            $CC -Wall -Werror test.c -o hello $(pkg-config --cflags --libs casyncio-test casyncio-$part)
            run "pkg-config, test and $part" env LD_LIBRARY_PATH="$libdir" ./hello
        done
    fi
    for part in $parts; do
        { echo "#include <casyncio/$part.h>"; cat hello.c; } >hello_part.c
        $CC -Wall -Werror hello_part.c -o hello $(pkg-config --cflags --libs casyncio-$part) -Wl,--no-as-needed -lcasyncio-$part
        run "pkg-config, $part" env LD_LIBRARY_PATH="$libdir" ./hello
    done
else
    echo "not tried: pkg-config is not installed"
fi

mkdir project
cp hello.c project/
cat >project/CMakeLists.txt <<'EOF'
cmake_minimum_required(VERSION 3.18)
project(hello C)
find_package(casyncio 0.2 REQUIRED)
add_executable(hello_shared hello.c)
target_link_libraries(hello_shared PRIVATE casyncio::casyncio)
add_executable(hello_static hello.c)
target_link_libraries(hello_static PRIVATE casyncio::casyncio_static)
if(TARGET casyncio::test)
    add_executable(hello_test hello.c)
    target_link_libraries(hello_test PRIVATE casyncio::test)
endif()
foreach(part IN ITEMS http tls cluster)
    if(casyncio_${part}_FOUND)
        add_executable(hello_${part} hello.c)
        target_link_libraries(hello_${part} PRIVATE casyncio::${part})
        add_executable(hello_${part}_static hello.c)
        target_link_libraries(hello_${part}_static PRIVATE casyncio::${part}_static)
    endif()
endforeach()
EOF
cmake -S project -B project/build -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$CC" >"$work/cmake.log" 2>&1 &&
    cmake --build project/build >>"$work/cmake.log" 2>&1 || { cat "$work/cmake.log"; exit 1; }
for program in project/build/hello_*; do
    run "find_package, ${program##*/}" "$program"
done
# What the .pc files and headers promise: no trace of the build tree, nothing internal.
if grep -rl -e "$BUILD_DIR" -e "$SOURCE_DIR" "$prefix/include" "$libdir"/pkgconfig "$libdir"/cmake; then
    echo "the files above name the build tree"
    exit 1
fi
