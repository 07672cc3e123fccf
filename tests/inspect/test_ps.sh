#!/usr/bin/env bash
# casyncio ps and pstree on programs that are wedged, blocked, in a deadlock, full of tasks, busy, dead; stripped, static, with
# shared libraries; and on what is none of these.
# ctest: labels=programs timeout=300
set -uo pipefail
. "$SOURCE_DIR/tests/inspect/common.sh"

# ---- every kind of wait, by both commands, and JSON ----
start "$target" all
look ps "$pid"
has "process $pid (inspect_target)" "casyncio " "sleep, 3" "read, descriptor" "held by Task-3" "gather" "a ?[31mred? name" \
    "sleeps; 6 tasks, 3 timers, 1 watches"
look pstree "$pid"
has "Task-1 (" ": waits: gather" $'\n  Task-4 (waiter): waits: lock, held by Task-3 (holder)' \
    $'\n  Task-5 (reader): waits: read, descriptor' "at all_kinds (target.c:" "at nap (target.c:" "at sleeper (target.c:"
[ "$sanitized" != 0 ] || has_not "run_task"
[ "$sanitized" != 0 ] || has_not "async__park ("
look pstree --internal "$pid"
has "run_task (task.c:"
look pstree --no-frames "$pid"
has_not " at "
if command -v python3 >/dev/null; then
    "$casyncio" pstree --json "$pid" >json || fault "--json"
    python3 - json <<'PYTHON' || fault "--json: $(cat json)"
import json, sys
process, = json.load(open(sys.argv[1]))
loop, = process["loops"]
tasks = {task["id"]: task for task in loop["tasks"]}
assert len(tasks) == 6 and loop["sleeping"] and not loop["incomplete"], loop
assert tasks[4]["held_by"] == 3 and tasks[4]["awaited_by"] == 1 and tasks[4]["object"].startswith("0x")
assert tasks[2]["name"] == "a ?[31mred? name" and 3000 < tasks[2]["left"] <= 3600
assert tasks[2]["frames"][-1]["function"] == "sleeper" and tasks[2]["frames"][-1]["file"].endswith("target.c")
assert not any(task["frames_cut"] or task["moved"] for task in tasks.values())
assert tasks[1]["main"] and tasks[1]["cpu"] is None and tasks[1]["stack"] > 300
PYTHON
fi
# It notices nothing: it has not run.
before=$(grep ctxt "/proc/$pid/status")
look pstree "$pid"
[ "$before" = "$(grep ctxt "/proc/$pid/status")" ] || fault "the process was disturbed"
got=$("$casyncio" ps --all 2>/dev/null) # others may end meanwhile, or be of another version
has "process $pid (inspect_target)"
end

# ---- the same text from inside ----
start "$target" graph
look pstree --no-frames "$pid"
[ "$(tail -n +3 <<<"$got")" = "$(grep -v '^ready$' out)" ] || fault "inside: $(cat out)"$'\n'"outside: $got"
has "waits: lock, held by Task-3 (holder)"
end

# ---- what is counted in debug mode ----
start env CASYNCIO_DEBUG=1 "$target" sleeper
look ps --json "$pid"
[[ $got =~ \"since\":\ [0-9.]+,\ \"cpu\":\ [0-9.]+ ]] || fault "no times in debug mode: $got"
end

# ---- wedged, blocked, in a deadlock that the loop cannot see ----
start "$target" wedged
look pstree "$pid"
has ": running" "--stop tells" "at nap (target.c:"
look pstree --stop "$pid"
has "stopped for" "at spin (target.c:" "at wedged (target.c:" "at nap (target.c:"
kill -0 "$pid" 2>/dev/null && [[ $(cut -d' ' -f3 "/proc/$pid/stat") == R ]] || fault "it does not go on after --stop"
end
start "$target" blocked
look pstree "$pid"
has ": running" "at nap (target.c:"
look pstree --stop "$pid"
has "at blocked (target.c:"
[ "$sanitized" != 0 ] || has "at read ("
end
start "$target" deadlock
look pstree "$pid"
has "one_way): waits: lock, held by Task-4 (other_way)" "other_way): waits: lock, held by Task-3 (one_way)" "waits: read, descriptor"
end

# ---- many, deep, and a process that changes all the time ----
count=100000
[ "$sanitized" = 0 ] || count=2000
start "$target" many $count
for command in ps pstree; do
    begun=$(date +%s%N)
    "$casyncio" $command "$pid" >many.out || fault "$command of many tasks"
    echo "$command of $count tasks: $((($(date +%s%N) - begun) / 1000000)) ms"
    [ "$(grep -c 'sleeper' many.out)" -ge $count ] || fault "$command: $(wc -l <many.out) lines for $count tasks"
done
end
start "$target" chain 2000
look pstree "$pid"
[ "$(grep -c 'waits: task' <<<"$got")" = 2000 ] || fault "a chain: $(grep -c 'waits: task' <<<"$got")"
end
start "$target" churn
for ((turn = 0; turn < 6; turn++)); do
    look pstree "$pid"
    has "(announcer): waits: sleep"
    look ps --stop "$pid"
    has_not "moves"
    has "(inspect_target)" " announcer "
done
end

# ---- a core, whole and cut; stripped, with a shared library, static ----
if [ "$sanitized" = 0 ]; then
    if core_of "$target"; then
        look pstree "$core"
        has "(sleeper): waits: sleep" "at nap (target.c:" ": running"
        look ps "$core" "$target"
        has "core $core" "sleeper"
        size=$(stat -c %s "$core")
        for part in 100 5000 $((size / 2)) $((size - 1)); do
            head -c "$part" "$core" >cut
            refuses "" ps cut
        done
        head -c $((size / 2)) "$core" >cut
        refuses "the file is truncated: it has $((size / 2)) bytes" ps cut
    else
        echo "no core could be had: that part is left out"
    fi

    sources=$SOURCE_DIR/tests/inspect/targets/target.c
    check_variant() {
        start "./$1" all
        look pstree "$pid"
        has "(waiter): waits: lock, held by Task-3 (holder)" "  at " "6 tasks"
        has_not "at ..."
        end
    }
    # A Debug build's library is not linked with these: what they are about is the linking.
    read -r -a libraries < <(sed -n 's/^Libs.private: //p' "$BUILD_DIR/casyncio.pc") || true
    $CC -O2 -I"$SOURCE_DIR/include" "$sources" "$BUILD_DIR/libcasyncio.a" "${libraries[@]}" -static -pthread -lm -o static 2>link.err &&
        strip static && check_variant static || fault "static: $(cat link.err)"
    $CC -O2 -no-pie -I"$SOURCE_DIR/include" "$sources" "$BUILD_DIR/libcasyncio.a" "${libraries[@]}" -pthread -lm -o no_pie && check_variant no_pie
    if [ -e "$BUILD_DIR/libcasyncio.so" ]; then
        $CC -O2 -I"$SOURCE_DIR/include" "$sources" -L"$BUILD_DIR" -lcasyncio -Wl,-rpath,"$BUILD_DIR" -o shared && strip shared
        check_variant shared
    fi
    if [ "$CC" = "$(command -v gcc)" ] && command -v musl-gcc >/dev/null; then
        mkdir headers
        ln -s /usr/include/linux /usr/include/asm-generic headers/
        ln -s "/usr/include/$(gcc -print-multiarch)/asm" headers/
        (cd "$SOURCE_DIR" && musl-gcc -w -D_GNU_SOURCE -idirafter "$work/headers" -Iinclude -Isrc -static -pthread \
            src/{base,loop,fiber,wire,task,sync,io}/*.c "src/fiber/switch_$(uname -m).S" "$sources" -lm -o "$work/musl") &&
            strip musl && check_variant musl || fault "musl"
    fi
fi

# ---- what it cannot do, and says ----
refuses "there is no process" ps 4194000
refuses "has no casyncio" ps $$
refuses "has no casyncio" pstree $$
refuses "neither a process nor a core file" ps /etc/passwd
refuses "No such file" ps nowhere
refuses "No such file" ps "$casyncio.core"
refuses "neither a process nor a core file" ps "$casyncio"
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
    start "$target" sleeper
    # A sanitizer's file of suppressions may be where that user may not look.
    said=$(env -u TSAN_OPTIONS -u LSAN_OPTIONS setpriv --reuid 65534 --regid 65534 --clear-groups "$casyncio" ps "$pid" 2>&1)
    [[ $said == *"cannot be read"*"same user"*"ptrace_scope"* ]] || [[ $said == *"Permission denied"* ]] || fault "another user: $said"
    end
fi
for arguments in "" "nothing" "ps" "ps --all 1" "ps --nothing 1"; do
    "$casyncio" $arguments >/dev/null 2>&1
    [ $? = 2 ] || fault "casyncio $arguments: exit status is not 2"
done
"$casyncio" --help | grep -q pstree || fault "--help"
exit $((faults > 0))
