#!/usr/bin/env bash
# How many instructions the hot paths take: a switch, create + await, a round trip by queue, stream or descriptor, a timer, a
# timeout, a task of a gather (tests/bench/targets/probe.c). Counted by callgrind, which a busy machine does not disturb, and
# held to counts.txt: at most 2 % more than stands there. What is faster by more than 2 % is told, so that it is entered and
# cannot be lost again.
#   BUILD_DIR=build/gcc CC=gcc SOURCE_DIR=. tests/bench/test_counts.sh --measure     prints the lines for the table
# ctest: labels=programs timeout=300
set -uo pipefail
. "$SOURCE_DIR/tests/scratch.sh"

skip() {
    echo "skipped: $*"
    exit 77
}

option() { sed -n "s/^$1:[A-Z]*=//p" "$BUILD_DIR/CMakeCache.txt"; }

compiler=$("${CC:-cc}" -dumpversion | sed 's/\..*//')
if "${CC:-cc}" --version | grep -q clang; then compiler=clang-$compiler; else compiler=gcc-$compiler; fi

command -v valgrind >/dev/null || skip "there is no valgrind"
[ "$(uname -m)" = x86_64 ] || skip "the counts are those of x86-64"
[ -z "$(option CASYNCIO_SANITIZE)" ] || skip "a sanitizer counts, too"
[ "$(option CASYNCIO_FAULTS)$(option CASYNCIO_LATE)" = OFFOFF ] || skip "the fault hook or the late back end is compiled in"
[ "$(option CMAKE_BUILD_TYPE)" = RelWithDebInfo ] && [ -z "$(option CMAKE_C_FLAGS)" ] ||
    skip "the counts are those of -O2, without other flags"
grep -q "^$compiler " "$SOURCE_DIR/tests/bench/counts.txt" || [ $# -gt 0 ] ||
    skip "counts.txt does not know $compiler"

# Without the debug information, of which valgrind 3.19 cannot read clang's.
strip --strip-debug -o "$work/probe" "$BUILD_DIR/tests/bench_probe" || exit 1
valgrind --tool=callgrind --instr-atstart=no --callgrind-out-file="$work/out" "$work/probe" >"$work/log" 2>&1 ||
    { cat "$work/log" >&2; exit 1; }
for file in "$work"/out*; do
    awk '/^desc: Trigger: Client Request: / { split($5, unit, "/") }
         /^(totals|summary):/ { total = $2 }
         END { if (unit[2]) printf "%s %.0f\n", unit[1], total / unit[2] }' "$file"
done >"$work/counts"
[ -s "$work/counts" ] || skip "the probe was built without <valgrind/callgrind.h>"

if [ "${1-}" = --measure ]; then
    sed "s/^/$compiler /" "$work/counts"
    exit
fi
while read -r _ name known; do
    count=$(sed -n "s/^$name //p" "$work/counts")
    if [ -z "$count" ]; then
        fault "$name: not counted"
    elif [ $((count * 100)) -gt $((known * 102)) ]; then
        fault "$name: $count instructions, and at most 2 % more than $known are allowed"
    elif [ $((count * 102)) -lt $((known * 100)) ]; then
        echo "$name: $count instructions, better than $known: to be entered in tests/bench/counts.txt"
    else
        echo "$name: $count instructions ($known)"
    fi
done < <(grep "^$compiler " "$SOURCE_DIR/tests/bench/counts.txt")
[ "$(wc -l <"$work/counts")" = "$(grep -c "^$compiler " "$SOURCE_DIR/tests/bench/counts.txt")" ] ||
    fault "counted, and not in the table: $(cut -d ' ' -f 1 "$work/counts" | tr '\n' ' ')"
exit $((faults > 0))
