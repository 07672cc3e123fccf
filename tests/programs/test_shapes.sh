#!/usr/bin/env bash
# What compiles and what does not: tests/programs/shapes/shapes.c and .cpp with every warning an error, as a strict program
# would be, then run; and each mistake of shapes.c, which must not compile. By the build's compiler, its C++ twin, and
# whichever of gcc and clang is there as well.
set -uo pipefail
shapes=$SOURCE_DIR/tests/programs/shapes
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0 tried=0

# try NAME COMPILER...: compiles and runs
try() {
    local name=$1
    shift
    tried=$((tried + 1))
    if ! "$@" -g -O2 -Wall -Wextra -pedantic -Werror "-I$SOURCE_DIR/include" -o "$work/program" \
        "$BUILD_DIR/libcasyncio.a" $(sed -n 's/^Libs.private: //p' "$BUILD_DIR/casyncio.pc") >"$work/log" 2>&1; then
        echo "$name does not compile"
        head -n 20 "$work/log"
        failed=1
    elif ! timeout 60 "$work/program" >"$work/log" 2>&1; then
        echo "$name does not run"
        cat "$work/log"
        failed=1
    fi
}

# The sanitizers' runtimes are those of the build's own compiler.
sanitized=$(grep -c '^CASYNCIO_SANITIZE:STRING=.' "$BUILD_DIR/CMakeCache.txt")
[ "$sanitized" = 0 ] || { echo "skipped: the library is built with sanitizers"; exit 77; }

says=([8]="is a block" [9]="not called" [10]="not called" [11]="not called" [12]="async_gather_array(tasks, count)"
    [13]="takes tasks" [14]="one argument")
for compiler in "$CC" gcc clang; do
    command -v "$compiler" >/dev/null || continue
    try "shapes.c ($compiler)" "$compiler" -std=c11 "$shapes/shapes.c"
    for wrong in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do
        tried=$((tried + 1))
        if "$compiler" -std=c11 -Wall -Wextra -Werror -DWRONG=$wrong "-I$SOURCE_DIR/include" -c "$shapes/shapes.c" \
            -o "$work/program.o" >"$work/log" 2>&1; then
            echo "shapes.c, mistake $wrong, compiles ($compiler)"
            failed=1
        elif [ -n "${says[$wrong]-}" ] && ! grep -q "error: .*${says[$wrong]}" "$work/log"; then
            echo "shapes.c, mistake $wrong ($compiler): no \"${says[$wrong]}\" in"
            cat "$work/log"
            failed=1
        fi
    done
done
for compiler in g++ clang++; do
    command -v "$compiler" >/dev/null || continue
    echo 'int main() { }' >"$work/empty.cpp"
    "$compiler" "$work/empty.cpp" -o "$work/empty" 2>/dev/null || continue # clang++ without a C++ library
    try "shapes.cpp ($compiler)" "$compiler" -std=c++17 "$shapes/shapes.cpp"
done
echo "$tried tried"
exit $failed
