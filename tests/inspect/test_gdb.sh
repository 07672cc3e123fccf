#!/usr/bin/env bash
# casyncio tasks, bt and locals, and how values are printed, in gdb: on a process, a core, an optimised program, a library that
# was stripped; and that gdb loads the script by itself.
# ctest: labels=programs timeout=300
set -uo pipefail
. "$SOURCE_DIR/tests/inspect/common.sh"
command -v gdb >/dev/null || { echo "skipped: there is no gdb"; exit 77; }
gdb -nx -batch -ex 'python import gdb.unwinder' >/dev/null 2>&1 || { echo "skipped: gdb has no Python"; exit 77; }
[ "$sanitized" = 0 ] || { echo "skipped: a sanitizer's fibers are switched by its own functions"; exit 77; }
script=$(echo "$BUILD_DIR"/libcasyncio.so.*-gdb.py)
[ -e "$script" ] || { fault "there is no $script"; exit 1; }

# debug COMMAND...: their output in $got, of the process, or the core, in $of
debug() {
    local command arguments=()
    for command in "$@"; do arguments+=(-ex "$command"); done
    got=$(gdb -nx -batch -ex "set pagination off" "${source[@]}" "${of[@]}" "${arguments[@]}" 2>&1 </dev/null)
}
source=(-ex "source $script")

check_all() {
    start "$1" all
    of=(-p "$pid")
    debug "casyncio tasks" "casyncio bt all" "casyncio bt Task-4" "casyncio locals 6" "casyncio bt 99" "casyncio bt" \
        "python print('registers', int(gdb.parse_and_eval('\$sp').cast(gdb.lookup_type('unsigned long'))) == int(gdb.newest_frame().read_register('sp').cast(gdb.lookup_type('unsigned long'))))"
    has "loop 1 at 0x" ": waits: gather" "a ?[31mred? name (sleeper): waits: sleep" "waits: lock, held by Task-3 (holder)" "waits: read, descriptor" " <- Task-1 (" \
        "there is no task 99" "which task?" "registers True"
    # The frames of the fiber, to their end and no further.
    has "in all_kinds" "async_gather_array (" "async__fiber_start ()" "in nap" "in sleeper"
    [[ $(grep -c 'async__switch\|async__park' <<<"$got") -ge 5 ]] || fault "frames: $got"
    has_not "Backtrace stopped" && has_not "Traceback" && has_not "corrupt"
}
check_all "$target"
debug "print 'target.c'::lock"
[[ $got == *"held by Task-3 (holder), 1 wait: Task-4 (waiter)"* ]] || [[ $got == *"has unknown type"* || $got == *"No symbol"* ]] || fault "print lock: $got"
kill -0 "$pid" || fault "it has not survived gdb"
end
if core_of "$target"; then
    of=("$target" "$core")
    debug "casyncio tasks" "casyncio bt 2" "casyncio bt 1" "bt 3"
    has "(sleeper): waits: sleep" "in nap" "in sleeper" "async__fiber_start ()" ": running" "in crash" "in run_task"
    has_not "Backtrace stopped" && has_not "Traceback"
else
    echo "no core could be had: that part is left out"
fi

# What a program has by its address alone, by the library's debug information.
start "$target" objects
of=(-p "$pid")
debug "print some_queue" "print *some_queue" "print some_stream" "print some_file" "print some_group" "print (async_queue *)0" \
    "print (async_queue *)8" "print/r some_queue->core.items.count"
has " <items 2, maxsize 2, unfinished 2, 1 put: Task-2 (puts_one_more)>" "<items 2, maxsize 2, unfinished 2, 1 put: Task-2 (puts_one_more)>" \
    ", is read" '<path "/dev/null", descriptor ' "<tasks left 3, owner Task-1" "= (async_queue *) 0x0" "(async_queue *) 0x8" "= 2"
has_not "Traceback"
end

# What runs: its own thread's frames.
start "$target" wedged
of=(-p "$pid")
debug "casyncio bt 1" "casyncio tasks"
has "running" "spin" "in wedged"
has_not "Traceback"
end

# Without symbols, and by itself, from beside a library that was stripped; its frames are found, its functions mostly not.
if [ -e "$BUILD_DIR/libcasyncio.so" ]; then
    $CC -g -O2 -I"$SOURCE_DIR/include" "$SOURCE_DIR/tests/inspect/targets/target.c" -L"$BUILD_DIR" -lcasyncio -Wl,-rpath,"$work" -o shared
    library=$(basename "$(readlink -f "$BUILD_DIR/libcasyncio.so")")
    cp "$BUILD_DIR/$library" .
    strip "$library"
    ln -s "$library" "$(readelf -d shared | sed -n 's/.*NEEDED.*\[\(libcasyncio.so[^]]*\)\]/\1/p')"
    cp "$script" "$library-gdb.py"
    start ./shared all
    of=(-iex "add-auto-load-safe-path $work" -p "$pid")
    source=()
    debug "casyncio tasks" "casyncio bt 2" "casyncio bt 6" "print lock" "print lock.owner" "casyncio locals 1"
    has "waits: lock, held by Task-3 (holder)" "nap ()" "sleeper (" "<held by Task-3 (holder), 1 wait: Task-4 (waiter)>" \
        "<Task-3 (holder)>" "rest = {"
    has_not "Traceback"
    end
fi

# What it cannot do, and says.
of=(-p $$)
source=(-ex "source $script")
debug "casyncio tasks"
has "no casyncio is in this program"
of=("$target")
debug "casyncio bt all"
has "casyncio: there are no tasks"
has_not "Traceback"
exit $((faults > 0))
