#!/usr/bin/env bash
# The examples and casyncio-jobs, with a nats-server of the test's own: what they print, and bad input.
# ctest: timeout=180
set -uo pipefail
PATH=$PATH:/usr/sbin:/sbin
programs=$BUILD_DIR/examples jobs=$BUILD_DIR/bin/casyncio-jobs
command -v nats-server >/dev/null || { echo "skipped: there is no nats-server (Debian: nats-server)"; exit 77; }
[ -x "$jobs" ] && [ -x "$programs/21_chat_cluster" ] || { echo "skipped: the examples are not built (CASYNCIO_EXAMPLES)"; exit 77; }
. "$SOURCE_DIR/tests/scratch.sh"

nats-server -a 127.0.0.1 -p -1 -js -sd "$work/store" --ports_file_dir "$work" >"$work/log" 2>&1 &
server=$!
trap 'kill $server $(jobs -p) 2>/dev/null; wait; rm -rf "$work"' EXIT
for _ in $(seq 600); do
    compgen -G "$work/*.ports" >/dev/null && break
    sleep 0.05
done
url=nats://127.0.0.1:$(sed -n 's/.*127\.0\.0\.1:\([0-9]*\).*/\1/p' "$work"/*.ports)
failed=0
holds() { # LABEL COMMAND...
    local label=$1
    shift
    if "$@" >"$work/out" 2>&1; then echo "ok: $label"; else echo "FAILED: $label"; cat "$work/out"; failed=1; fi
}

"$programs/21_chat_cluster" "$url" >"$work/chat" 2>&1
holds "the chat ends well" test $? = 0
sort >"$work/expected" <<'END'
Ann hears "* Ann has joined"
Ann hears "* Bob has joined"
Ann hears "Ann: Is anybody at the other port?"
Ann hears "Bob: I am."
Bob hears "* Bob has joined"
Bob hears "Ann: Is anybody at the other port?"
Bob hears "Bob: I am."
END
holds "both hear all" diff "$work/expected" <(sort "$work/chat")

if [ -x "$programs/22_render" ]; then
    "$programs/22_render" "$url" work &
    worker=$!
    timeout 100 "$programs/22_render" "$url" "$work/picture.png" 200 100 >"$work/told"
    holds "a picture" test $? = 0
    holds "is told of" grep -q 'picture.png: 200 x 100' "$work/told"
    holds "it is a PNG" cmp -n 8 "$work/picture.png" <(printf '\211PNG\r\n\032\n')
    for _ in $(seq 100); do # a result comes before the acknowledgement
        "$jobs" --url "$url" >"$work/queues"
        ! grep -Eq '^tile +0 +0 ' "$work/queues" || break
        sleep 0.1
    done
    holds "its queue is listed, and empty" grep -Eq '^tile +0 +0 +- +0 +0 +[0-9]+$' "$work/queues"
    holds "no job is dead" test "$("$jobs" --url "$url" dead tile | wc -l)" = 1
    holds "none is tried again" test "$("$jobs" --url "$url" requeue tile)" = "0 jobs of tile are in the queue again"
    kill -TERM $worker
    wait $worker
    holds "SIGTERM ends a worker well" test $? = 0
else
    echo "22_render is not built (no libpng): left out"
fi
timeout 1.5 "$jobs" --url "$url" --watch 0.2 >"$work/watched"
holds "--watch goes on" test "$(grep -c ^queue "$work/watched")" -ge 2
"$jobs" --url "$url" requeue nothing 2>"$work/err"
holds "an unknown queue is an error" test $? = 1
holds "with a message" grep -q 'CASYNCIO_DEAD_nothing' "$work/err"
"$jobs" --url nats://127.0.0.1:1 2>"$work/err"
holds "no server is an error" test $? = 1
"$jobs" nonsense 2>"$work/err"
holds "nonsense is a question of usage" test $? = 2
if [ -x "$BUILD_DIR/bin/casyncio" ]; then
    "$BUILD_DIR/bin/casyncio" jobs --url "$url" dead tile >"$work/dead" 2>&1
    holds "casyncio jobs is casyncio-jobs" grep -q '^ *number .* message$' "$work/dead"
    "$BUILD_DIR/bin/casyncio" jobs nonsense 2>"$work/err"
    holds "with its exit status" test $? = 2
    "$BUILD_DIR/bin/casyncio" nonsense 2>"$work/err"
    holds "a command that is no program is an error" test $? = 2
    holds "which is told" grep -q 'there is no such command' "$work/err"
fi
exit $failed
