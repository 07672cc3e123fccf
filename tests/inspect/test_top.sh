#!/usr/bin/env bash
# casyncio top: its lines and JSON where the output is no terminal; its screen, keys and end on one (a pty).
# ctest: labels=programs timeout=300
set -uo pipefail
. "$SOURCE_DIR/tests/inspect/common.sh"

# ---- without a terminal ----
start "$target" busy
look top --once --interval 0.3 "$pid"
has "process $pid (inspect_target), casyncio " "loop 1 of 1: " " % busy, " " callbacks/s, " "descriptors of the kernel's; threads: " \
    "CPU time of tasks is not counted here" "burner" "read, descriptor" "5 tasks: " "jobs/s"
look top --count 3 --interval 0.1 --filter READ --sort id "$pid"
[ "$(grep -c 'read, descriptor' <<<"$got")" = 3 ] && has_not "burner" || fault "--filter, --count: $got"
look top --once --rows 2 --interval 0.1 "$pid"
has "(3 more)"
if command -v python3 >/dev/null; then
    "$casyncio" top --json --count 2 --interval 0.5 --rows 0 --sort id "$pid" >json || fault "--json"
    python3 - json <<'PYTHON' || fault "--json: $(cat json)"
import json, sys
first, second = map(json.loads, open(sys.argv[1]))
for picture in first, second:
    loop, = picture["loops"]
    assert 0 < loop["busy"] <= 1 and loop["longest_step"] > 0 and loop["callbacks_per_second"] > 0, loop
    assert loop["jobs_per_second"] > 0 and loop["jobs_begun"] > 0 and loop["threads"] >= 1 and loop["watches"] == 1, loop
    assert loop["tasks"] == len(picture["tasks"]) == 5 and not loop["timed"] and loop["descriptors"] >= 1, loop
    assert loop["stacks_used"] == 5 and picture["descriptors_open"] >= 5
    assert [task["id"] for task in picture["tasks"]] == [1, 2, 3, 4, 5]
reader = second["tasks"][3]
assert reader["coroutine"] == "reader" and reader["waits_at_least"] and reader["waits"] >= 0.5 and reader["cpu"] is None, reader
PYTHON
fi
end

# Where steps are timed the busiest is known, and since when the others wait.
start env CASYNCIO_DEBUG=1 "$target" busy
look top --once --interval 0.5 "$pid"
has "CPU %"
has_not "not counted"
[[ $(grep -A1 '^ *ID' <<<"$got" | tail -n 1) == *burner* ]] || fault "the busiest: $got"
look top --once --interval 0.2 --sort wait "$pid"
[[ $(grep -A1 '^ *ID' <<<"$got" | tail -n 1) != *burner* ]] || fault "the longest wait: $got"
end

# What blocks is seen, and named, from outside.
start "$target" wedged
look top --count 1 --interval 0.5 "$pid"
has "100 % busy" "BLOCKED for " "Task-1 (" "running"
end

# ---- what it cannot do, and says ----
refuses "there is no process" top --once 4194000
refuses "has no casyncio" top --once $$
for arguments in "top" "top 1 2" "top --all" "top --interval 0 1" "top --sort nothing 1" "top --count x 1" "top nowhere"; do
    "$casyncio" $arguments >/dev/null 2>&1
    [ $? = 2 ] || fault "casyncio $arguments: exit status is not 2"
done
start "$target" sleeper
"$casyncio" top --interval 0.1 "$pid" >lines 2>gone.err &
watcher=$!
started+=("$watcher")
for ((i = 0; i < 3000; i++)); do
    [ ! -s lines ] || break
    sleep 0.02
done
end
wait "$watcher"
[ $? = 1 ] && grep -q "there is no process\|cannot be read" gone.err || fault "the process has gone: $(cat gone.err)"

# ---- on a terminal ----
if ! command -v python3 >/dev/null; then
    echo "no python3: the terminal is left out"
    exit $((faults > 0))
fi
start "$target" busy
timeout 250 python3 "$SOURCE_DIR/tests/inspect/top_on_a_pty.py" "$casyncio" "$pid" || fault "on a terminal"
end
exit $((faults > 0))
