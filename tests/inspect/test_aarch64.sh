#!/usr/bin/env bash
# The core of a program for AArch64, as qemu writes it, read on another machine: its tasks, and the frames of one that is parked
# and of one that runs. It takes the library that tools/check.sh has built for AArch64, or builds it with CASYNCIO_AARCH64=1.
# ctest: labels=programs timeout=300
set -uo pipefail
. "$SOURCE_DIR/tests/inspect/common.sh"
[ "$sanitized" = 0 ] || { echo "skipped: once is enough"; exit 77; }
compiler=$(command -v aarch64-linux-gnu-gcc) && qemu=$(command -v qemu-aarch64-static || command -v qemu-aarch64) ||
    { echo "skipped: there is no compiler for AArch64, or no qemu"; exit 77; }
flags=(-O2 -g -w -std=gnu11 -D_GNU_SOURCE -I"$SOURCE_DIR/include" -static -pthread)
library=$SOURCE_DIR/build/aarch64/libcasyncio.a
if [ -n "${CASYNCIO_AARCH64:-}" ]; then
    (cd "$SOURCE_DIR" && $compiler "${flags[@]}" -Isrc src/{base,loop,fiber,wire,task,sync,io}/*.c src/fiber/switch_aarch64.S \
        tests/inspect/targets/target.c -lm -o "$work/target" 2>"$work/link.err") || { fault "$(cat link.err)"; exit 1; }
elif [ -e "$library" ]; then
    $compiler "${flags[@]}" "$SOURCE_DIR/tests/inspect/targets/target.c" "$library" -lm -o target 2>link.err ||
        { echo "skipped: build/aarch64 is of another time: $(head -c 300 link.err)"; exit 77; }
else
    echo "skipped: build/aarch64 is not there, and CASYNCIO_AARCH64 is not set"
    exit 77
fi
(ulimit -c unlimited && exec "$qemu" ./target crash >out 2>err)
core=$(ls qemu_*.core 2>/dev/null | head -n 1)
[ -n "$core" ] || { echo "skipped: qemu writes no core here: $(cat err)"; exit 77; }
if "$casyncio" ps "$core" target 2>&1 | grep -q 'of the same version'; then
    echo "skipped: build/aarch64 is of another version"
    exit 77
fi
look pstree "$core" target
has "core $core, casyncio " "2 tasks" ": running" "at crash (target.c:" "(sleeper): waits: sleep" "at nap (target.c:" \
    "at sleeper (target.c:"
has_not "at ..."
refuses "no casyncio is in it" ps "$core"
exit $((faults > 0))
