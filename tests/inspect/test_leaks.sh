#!/usr/bin/env bash
# casyncio leaks on a program with planted losses, and with tasks that only look so: what it finds of the ones, and of the others.
# ctest: labels=programs
set -uo pipefail
. "$SOURCE_DIR/tests/scratch.sh"
casyncio=$BUILD_DIR/bin/casyncio
target=$BUILD_DIR/tests/inspect_lost
[ "$(nm "$target" | grep -c '__asan_init\|__tsan_init')" = 0 ] ||
    { echo "skipped: the blocks of a sanitizer's heap cannot be told apart"; exit 77; }
cd "$work" || exit 1
"$target" >out 2>err &
pid=$!
started+=("$pid")
for ((i = 0; i < 3000; i++)); do
    ! grep -q ready out && kill -0 "$pid" 2>/dev/null || break
    sleep 0.02
done
"$casyncio" leaks --no-frames "$pid" >leaks || fault "exit status $?"
"$casyncio" ps --json "$pid" >json
planted=$(grep -o '"name": "lost[^"]*"' json | sed 's/"name": "//; s/"$//' | sort)
lost=$(sed -n 's/ (case): .*//p' leaks | grep '^lost' | sort)
false_alarms=$(tail -n +3 leaks | grep -v '^lost')
missed=$(comm -23 <(echo "$planted") <(echo "$lost"))
echo "found $(grep -c . <<<"$lost") of $(grep -c . <<<"$planted"), $(grep -c . <<<"$false_alarms") false alarms among \
$(grep -c '"name": "live' json) tasks that can be woken"
[ "$(grep -c . <<<"$planted")" -ge 30 ] || fault "planted: $planted; $(cat err)"
[ -z "$false_alarms" ] || fault "false alarms: $false_alarms"
[ -z "$missed" ] || fault "missed: $missed"
"$casyncio" leaks "$pid" >leaks
grep -q 'at own_event (lost.c:' leaks || fault "no frames: $(head -20 leaks)"
exit $((faults > 0))
