#!/usr/bin/env bash
# casyncio tasks, bt, locals and threads, and how values are printed, in lldb: on a process, on a core, on what is no process.
# ctest: labels=programs timeout=600
set -uo pipefail
. "$SOURCE_DIR/tests/inspect/common.sh"
command -v lldb >/dev/null || { echo "skipped: there is no lldb"; exit 77; }
[ "$sanitized" = 0 ] || { echo "skipped: a sanitizer's fibers are switched by its own functions"; exit 77; }
# Debian's lldb does not find its own Python module.
for module in /usr/lib/llvm-*/lib/python3*/dist-packages /usr/lib/llvm-*/lib/python3/dist-packages; do
    [ ! -e "$module/lldb/embedded_interpreter.py" ] || export PYTHONPATH=$module
done
[[ $(lldb -b -x -o 'script print(6 * 7)' 2>&1 </dev/null) == *42* ]] || { echo "skipped: lldb has no Python"; exit 77; }
script=$BUILD_DIR/casyncio_lldb.py

# debug COMMAND...: their output in $got, of the process, or the core, in $of. lldb ends with the first that fails.
debug() {
    local command arguments=()
    for command in "$@"; do arguments+=(-o "$command"); done
    got=$(timeout 120 lldb -b -x "${of[@]}" -o "command script import $script" "${arguments[@]}" 2>&1 </dev/null)
}

start "$target" all
of=(-p "$pid")
# lldb 19 does not find its way through optimised code of the library, on a thread's own stack either.
debug "thread backtrace 1"
finds_frames=1
[[ $got == *'`main'* ]] || { finds_frames=0; echo "left out: callers' frames, which this lldb does not find on its own threads"; }
has_frames() { [ $finds_frames = 0 ] || has "$@"; }
debug "casyncio tasks" "casyncio bt all"
has "loop 1 at 0x" ": waits: gather" "a ?[31mred? name (sleeper): waits: sleep" "waits: lock, held by Task-3 (holder)" \
    "waits: read, descriptor" " <- Task-1 ("
# The frames of each fiber, to their end and no further.
[ "$(grep -c '#0 .*async__park' <<<"$got")" = 6 ] || fault "frames: $got"
has_frames "all_kinds" "async_gather_array" "async__fiber_start" "nap" "sleeper"
[ $finds_frames = 0 ] || [ "$(grep -c 'async__fiber_start' <<<"$got")" = 6 ] || fault "frames: $got"
has_not "Traceback"
debug "casyncio locals 6" "target variable lock" "casyncio bt Task-4"
has_frames "(double) seconds"
has "Task-6 (announcer): waits: sleep" "(async__tasks *) tasks" "<held by Task-3 (holder), 1 wait: Task-4 (waiter)>" \
    "Task-4 (waiter): waits: lock, held by Task-3 (holder)"
has_not "Traceback"
# As threads, with lldb's own commands; they are none any more when the process has gone on.
debug "thread list" "casyncio threads 4" "thread list" "casyncio threads all" "thread list" "thread select 3" "up" "detach"
has "1 task is a thread of the debugger" "6 tasks are threads of the debugger" "name = 'Task-3 (holder)'" "async__park"
[ "$(grep -c "^ *thread #.*name = 'Task-4 (waiter)'" <<<"$got")" = 2 ] || fault "threads: $got"
has_not "Traceback"
for wrong in "casyncio bt 99:there is no task 99" "casyncio bt:which task?" "casyncio threads nothing:there is no task nothing"; do
    debug "${wrong%%:*}"
    has "casyncio: ${wrong#*:}"
    has_not "Traceback"
done
kill -0 "$pid" || fault "it has not survived lldb"
[ "$("$casyncio" ps "$pid" | grep -c sleep)" -ge 1 ] || fault "ps after lldb"
end

# What runs: its own thread's frames.
start "$target" wedged
of=(-p "$pid")
debug "casyncio bt 1"
has "running" "spin"
has_frames "wedged"
has_not "Traceback"
end

if core_of "$target"; then
    of=("$target" -c "$core")
    debug "casyncio tasks" "casyncio bt 2" "casyncio bt 1"
    has "(sleeper): waits: sleep" ": running"
    has_frames "nap" "sleeper" "async__fiber_start" "crash" "run_task"
    has_not "Traceback"
else
    echo "no core could be had: that part is left out"
fi

# What it cannot do, and says.
of=("$target")
debug "casyncio tasks"
has "casyncio: there is no process"
of=(-p "$BASHPID")
debug "casyncio tasks"
has "casyncio: no casyncio is in this program"
has_not "Traceback"
exit $((faults > 0))
