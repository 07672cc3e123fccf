#!/usr/bin/env bash
# casyncio trace: the timeline of programs that are idle, busy, full of tasks, wedged, gone; of one that traces itself; and its
# pictures.
# ctest: labels=programs timeout=300
set -uo pipefail
. "$SOURCE_DIR/tests/inspect/common.sh"

# trace STATUS ARGUMENT...: the exit status has to be that; what it said in $said
trace() {
    local status=$1 code
    shift
    said=$("$casyncio" trace "$@" 2>&1)
    code=$?
    [ "$code" = "$status" ] || fault "casyncio trace $*: exit status $code, not $status: $said"
}

says() { [[ $said == *"$1"* ]] || fault "not said: $1: $said"; }

# check FILE EXPRESSION: that it is a trace as Perfetto reads it, and that the expression holds, of its events by kind (X, M, s, f),
# the names of lanes, and the slices of a lane
have_python=$(command -v python3 || true)
check() {
    [ -n "$have_python" ] || return 0
    python3 - "$@" <<'PYTHON' || fault "$*"
import json, sys
from collections import defaultdict
trace = json.load(open(sys.argv[1]))
events = trace["traceEvents"]
kinds, slices, lanes = defaultdict(list), defaultdict(list), {}
for event in events:
    kinds[event["ph"]].append(event)
    assert {"ph", "pid", "tid", "name"} <= set(event), event
    assert isinstance(event["pid"], int) and isinstance(event["tid"], int)
    if event["ph"] != "M":
        assert event["ts"] >= 0, event
    if event["ph"] == "X":
        assert event["dur"] >= 0, event
        slices[event["tid"]].append(event)
    if event["ph"] == "M" and event["name"] == "thread_name":
        assert event["tid"] not in lanes
        lanes[event["tid"]] = event["args"]["name"]
assert set(kinds) <= set("XMsf"), set(kinds)
for lane, some in slices.items():
    assert lane in lanes
    some.sort(key=lambda event: (event["ts"], event["dur"]))
    for one, other in zip(some, some[1:]):
        assert one["ts"] + one["dur"] <= other["ts"] + 0.0015, (lanes[lane], one, other)
begins = {event["id"]: event for event in kinds["s"]}
assert len(begins) == len(kinds["s"]) == len(kinds["f"])
for event in kinds["f"]:
    assert event["bp"] == "e" and begins[event["id"]]["ts"] <= event["ts"] + 0.0015
    assert any(abs(one["ts"] - event["ts"]) < 0.0015 and one["cat"] in ("run", "job") for one in slices[event["tid"]]), event
lost = trace["otherData"]["lost"]
def cats(kind): return sum(event["cat"] == kind for event in kinds["X"])
def names(text): return sum(text in name for name in lanes.values())
print(len(events), "events,", lost, "lost")
assert eval("(" + sys.argv[2] + ")"), sys.argv[2]
PYTHON
}

picture() {
    trace 0 --svg "$1" -o picture.svg
    [ -z "$have_python" ] || python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' picture.svg ||
        fault "the picture of $1 is no XML"
    [ "$(grep -c "$2" picture.svg)" -ge "${3:-1}" ] || fault "the picture of $1 has not $2"
    [ "$(stat -c %s picture.svg)" -lt 3000000 ] || fault "the picture of $1 is large: $(stat -c %s picture.svg)"
}

# ---- a process that is idle: what its tasks wait for; and then it is as it was ----
start "$target" all
trace 0 "$pid" --seconds 0.3 -o idle.json
says "idle.json: "
check idle.json 'lost == 0 and names("(holder)") == 1 and names("a ?[31mred? name") == 1 and cats("wait") == 6 and
    sum(event["name"] == "lock" for event in kinds["X"]) == 1 and cats("run") == 0'
picture idle.json 'Task-4 (waiter): lock, '
before=$(grep ctxt "/proc/$pid/status")
sleep 0.3
[ "$before" = "$(grep ctxt "/proc/$pid/status")" ] || fault "the process goes on after the trace"
trace 0 "$pid" --seconds 0.2 --svg
[ -s "trace-$pid.svg" ] || fault "no picture"
[ "$("$casyncio" ps "$pid" | grep -c sleep)" -ge 1 ] || fault "ps after a trace"

# ---- two at once; the first dies ----
# until_traced: it is, by $first, as a second one is told. One that comes first makes the first fail, which is then begun again.
begin_first() {
    "$casyncio" trace "$pid" --seconds 600 -o first.json >first.out 2>&1 &
    first=$!
}
until_traced() {
    for ((i = 0; i < 500; i++)); do
        said=$("$casyncio" trace "$pid" --seconds 0.1 -o second.json 2>&1)
        [[ $said != *"being traced already, by process $first"* ]] || return 0
        kill -0 "$first" 2>/dev/null || begin_first
        sleep 0.1
    done
    fault "two at once: $said"
}
begin_first
until_traced
kill -9 $first
wait $first 2>/dev/null
trace 0 "$pid" --seconds 0.2 -o third.json
check third.json 'cats("wait") == 6'
# Ctrl-C ends one, and its file is whole
begin_first
until_traced
kill -TERM $first
wait $first || fault "a trace that was interrupted: exit status $?"
check first.json 'cats("wait") == 6'
# several that ask in the same moment: each ends, with a trace or with why not
for ((i = 0; i < 20; i++)); do
    racers=()
    for racer in 1 2 3; do
        timeout 60 "$casyncio" trace "$pid" --seconds 0.1 -o "racer$racer.json" >"racer$racer.out" 2>&1 &
        racers+=($!)
    done
    wait "${racers[@]}"
    for racer in 1 2 3; do
        grep -Eq "^racer$racer.json: |being traced already|another casyncio traces" "racer$racer.out" ||
            fault "at once with others: $(cat "racer$racer.out")"
    done
done
trace 1 "$pid" --seconds 0.1 -o /nowhere/at/all
says "/nowhere/at/all cannot be written: No such file or directory"
end
trace 1 "$pid" --seconds 0.1
says "there is no process"

# ---- busy: more than can be read is lost, and told; the ring is what bounds it ----
start "$target" churn
for seconds in 0.3 3 30; do # a sanitizer's program may do nothing for a while
    trace 0 "$pid" --seconds $seconds --events 1024 -o busy.json
    [ "$(grep -o '"cat":"run"' busy.json | wc -l)" -le 10 ] || [ "$(grep -o '"cat":"ready"' busy.json | wc -l)" -le 10 ] || break
done
check busy.json 'cats("run") > 10 and cats("ready") > 10'
grep -q '"lost":0}' busy.json || says "events came too fast"
picture busy.json "(brief)"
end
count=10000
[ "$sanitized" = 0 ] || count=1000
start "$target" many $count
trace 0 "$pid" --seconds 0.2 -o many.json
check many.json "cats('wait') >= $count and names('(sleeper)') == $count"
picture many.json "more lanes"
end

# ---- wedged, and gone in the middle ----
start "$target" wedged
trace 1 "$pid" --seconds 0.3 -o wedged.json
says "has not come to its next callback: it is blocked in Task-1"
[ ! -e wedged.json ] || fault "a trace of nothing"
end
start "$target" all
begin_first
until_traced
end
wait "$first" && fault "a trace of a process that has gone: exit status 0"
grep -q "has ended after" first.out || fault "gone: $(cat first.out)"
check first.json 'True'

# ---- a program that traces itself: the examples ----
for example in 02_gather 03_errors 07_lock 09_async_iterator; do
    [ -x "$BUILD_DIR/examples/$example" ] || continue
    "$BUILD_DIR/examples/$example" >plain.out 2>&1 </dev/null
    CASYNCIO_TRACE=$example.json "$BUILD_DIR/examples/$example" >traced.out 2>&1 </dev/null || fault "$example, traced"
    cmp -s plain.out traced.out || fault "$example says something else when it is traced: $(diff plain.out traced.out)"
    check $example.json 'cats("run") > 0 and lost == 0'
    picture $example.json "Task-1"
done

# ---- what is refused ----
trace 1 4194000
says "there is no process"
trace 1 $$
says "has no casyncio"
echo '{"traceEvents":[{"ph":"X","tid":1' >broken.json
for file in broken.json /etc/passwd; do
    trace 1 --svg $file -o picture.svg
    says "that is no trace: it is wrong at byte"
done
[ -z "$have_python" ] || python3 -c 'print("[" * 100000)' >deep.json
[ -z "$have_python" ] || trace 1 --svg deep.json -o picture.svg
echo '{"traceEvents":[]}' >empty.json
trace 1 --svg empty.json -o picture.svg
says "there is nothing in that trace"
trace 1 --svg nowhere.json
says "No such file"
for arguments in "" "1 2" "1 --seconds x" "1 --seconds 0" "1 --seconds nan" "1 --events 3" "1 --nothing" "idle.json"; do
    # shellcheck disable=SC2086
    trace 2 $arguments
done
trace 0 --help
says "casyncio trace PID"
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
    start "$target" sleeper
    said=$(env -u TSAN_OPTIONS -u LSAN_OPTIONS setpriv --reuid 65534 --regid 65534 --clear-groups "$casyncio" trace "$pid" --seconds 0.1 -o /dev/null 2>&1)
    [[ $said == *"cannot be read"*"same user"*"ptrace_scope"* ]] || [[ $said == *"Permission denied"* ]] || fault "another user: $said"
    end
fi
exit $((faults > 0))
