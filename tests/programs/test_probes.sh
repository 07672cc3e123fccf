#!/usr/bin/env bash
# The points for perf, bpftrace and gdb (src/base/probes.h), each with its arguments: of a program with the core of the library
# in it, compiled with them.
# ctest: labels=programs timeout=120
set -uo pipefail
. "$SOURCE_DIR/tests/scratch.sh"
echo '#include <sys/sdt.h>' | $CC -E - >/dev/null 2>&1 || {
    echo "sys/sdt.h is missing (Debian: systemtap-sdt-dev)"
    exit 77
}
cd "$work" || exit 1
for file in task/task task/scheduler task/sleep loop/loop loop/pool; do
    for probes in "" -DASYNC_PROBES=1; do
        $CC -std=gnu11 -D_GNU_SOURCE $probes -O1 -c -I"$SOURCE_DIR/include" -I"$SOURCE_DIR/src" "$SOURCE_DIR/src/$file.c" \
            -o "$(basename $file)$probes.o" || fault "$file$probes"
    done
done
readelf -n ./*-DASYNC_PROBES=1.o >notes 2>/dev/null
readelf -n task.o scheduler.o loop.o pool.o 2>/dev/null | grep -q stapsdt && fault "there are points in a build without them"

# point NAME COUNT: it is there, with so many arguments
point() {
    local arguments
    grep -A 3 "Name: $1\$" notes | grep -q . || fault "no point $1"
    arguments=$(grep -A 2 "Name: $1\$" notes | sed -n 's/^ *Arguments: //p' | head -n 1)
    [ "$(wc -w <<<"$arguments")" = "$2" ] || fault "$1 has the arguments $arguments, not $2"
}

grep -q "Provider: casyncio" notes || fault "no provider casyncio"
point task__begin 2
point task__end 2
point task__park 3
point task__wake 1
point loop__look 2
point loop__looked 1
point job__queued 2
point job__begun 1
point job__ended 1
if command -v gdb >/dev/null && ! gdb -nx -batch -ex 'info probes stap casyncio' scheduler-DASYNC_PROBES=1.o 2>&1 | grep -q task__park; then
    fault "gdb does not list them"
fi
exit $((faults > 0))
