#!/usr/bin/env bash
# The programs of examples/: what they print, their exit statuses, Ctrl-C, bad input; the chat with a client that does not read;
# the demo's server with clients that are slow or talk nonsense. That nothing takes too long is not asked here, since a machine
# may be busy: tests/fault runs the same programs on a virtual clock, where each must take exactly its time.
# ctest: timeout=180 serial
set -uo pipefail
programs=$BUILD_DIR/examples
if [ ! -x "$programs/01_hello" ]; then
    echo "skipped: the examples are not built (CASYNCIO_EXAMPLES)"
    exit 77
fi
unset CASYNCIO_DEMO_URL
. "$SOURCE_DIR/tests/scratch.sh"
now_ms() { echo $((${EPOCHREALTIME/./} / 1000)); }
has() { [ -x "$programs/$1" ] || { echo "$1 is not built (no HTTP): left out"; false; }; }

# Of a background job in a script, bash has SIGINT ignored; a program that a user starts finds it as it is by default.
as_by_hand=(env "--default-signal=INT,PIPE")

# run LABEL PROGRAM ARGUMENT...: in the background. LABEL.took gets the milliseconds that it took.
run() {
    local label=$1 program=$2
    shift 2
    {
        local begin
        begin=$(now_ms)
        "${as_by_hand[@]}" timeout 60 "$programs/$program" "$@" </dev/null >"$work/$label.out" 2>"$work/$label.err"
        echo $? >"$work/$label.status"
        echo $(($(now_ms) - begin)) >"$work/$label.took"
    } &
}

# expect LABEL STATUS [ERROR]: what `run` gave, held to a row a line on standard input: seconds since the line before (- for any), the
# line. All of them together are the least that the program takes. ERROR is a regular expression for what is on standard error;
# none: it must be empty.
expect() {
    local label=$1 status=$2 error=${3:-} seconds text total=0 took
    : >"$work/$label.expected"
    while read -r seconds text; do
        [ "$seconds" = - ] || total=$((total + seconds))
        echo "$text" >>"$work/$label.expected"
    done
    took=$(cat "$work/$label.took")
    [ "$took" -ge $((total * 1000)) ] || fault "$label: took $took ms, not $total s"
    diff "$work/$label.expected" "$work/$label.out" >"$work/$label.diff" || fault "$label: printed (>) $(cat "$work/$label.diff")"
    status_and_error "$label" "$status" "$error"
}

status_and_error() {
    local label=$1 status=$2 error=${3:-} got
    got=$(cat "$work/$label.status")
    [ "$got" = "$status" ] || fault "$label: exit status $got, not $status: $(cat "$work/$label.err")"
    if [ -z "$error" ]; then
        [ ! -s "$work/$label.err" ] || fault "$label: on standard error: $(cat "$work/$label.err")"
    else
        grep -qE "$error" "$work/$label.err" || fault "$label: '$(cat "$work/$label.err")' on standard error, not '$error'"
    fi
}

# fails STATUS ERROR PROGRAM ARGUMENT...: it prints nothing on standard output
fails() {
    local status=$1 error=$2
    shift 2
    ("${as_by_hand[@]}" timeout 60 "$programs/$1" "${@:2}" </dev/null >"$work/fails.out" 2>"$work/fails.err")
    echo $? >"$work/fails.status"
    status_and_error fails "$status" "$error"
    [ ! -s "$work/fails.out" ] || fault "$*: printed $(cat "$work/fails.out")"
}

# until_true COMMAND...: tries for ten seconds
until_true() {
    local tries
    for ((tries = 0; tries < 500; tries++)); do
        if "$@" >/dev/null 2>&1; then return 0; fi
        sleep 0.02
    done
    fault "in vain for ten seconds: $*"
    return 1
}

# background LABEL PROGRAM ARGUMENT...: a server; its process is $pid, and its first line $first_line
background() {
    local label=$1 program=$2
    shift 2
    rm -f "$work/$label.out"
    "${as_by_hand[@]}" "$programs/$program" "$@" </dev/null >"$work/$label.out" 2>"$work/$label.err" &
    pid=$!
    started+=("$pid")
    until_true test -s "$work/$label.out"
    first_line=$(head -n 1 "$work/$label.out")
}

# stop LABEL PID SIGNAL: it ends with status 0
stop() {
    kill -"$3" "$2"
    wait "$2"
    echo $? >"$work/$1.status"
    status_and_error "$1" 0
}

# ---- what they print, all at once ----

run 01 01_hello
run 02 02_gather
run 03 03_errors
run 04 04_background
has 05_http_get && run 05 05_http_get
run 06 06_async_generator
run 07 07_lock
run 08 08_context_manager
run 08-fail 08_context_manager --fail
run 08-cancel 08_context_manager --cancel
run 09 09_async_iterator
run 10 10_chat
run 11 11_files
run 11-path 11_files "$work/lines"
has 12_stream_api && run 12 12_stream_api
run 13 13_memory_pair
run 14 14_name_lookup
run 15 15_subprocess
[ ! -x "$programs/19_glib" ] || run 19 19_glib
has 20_chat_web && run 20 20_chat_web
run 23 23_all_cores
[ ! -x "$programs/24_json" ] || run 24 24_json
has 25_http_server && run 25 25_http_server
has 26_reverse_proxy && run 26 26_reverse_proxy
has 27_event_stream && run 27 27_event_stream
wait

expect 01 0 <<'END'
0 Hello
1 World
END
expect 02 0 <<'END'
0 Task 1 started
0 Task 2 started
1 Task 2 completed
1 Task 1 completed
END
expect 03 0 <<'END'
1 Caught an exception: An error occurred!
END
expect 04 0 <<'END'
0 Main function continues running
1 Still running...
2 Background task completed
END
has 05_http_get >/dev/null && expect 05 0 <<'END'
0 Hello from casyncio's demo server
END
has 20_chat_web >/dev/null && expect 20 0 <<'END'
0 {"type":"hello","from":"Ann","text":"sea"
0 {"type":"came","from":"Ann","text":""
0 {"type":"people","names":["Ann"]}
0 {"type":"came","from":"Bob","text":""
0 {"type":"people","names":["Bob","Ann"]}
0 {"type":"said","from":"Bob","text":"Hello, \"Ann\" <b>"
0 {"type":"left","from":"Bob","text":""
0 {"type":"people","names":["Ann"]}
0 {"type":"came","from":"Bob","text":""
0 {"type":"people","names":["Bob","Ann"]}
0 Bob:
0 {"type":"hello","from":"Bob","text":"sea"
0 {"type":"came","from":"Ann","text":""
0 {"type":"came","from":"Bob","text":""
0 {"type":"said","from":"Bob","text":"Hello, \"Ann\" <b>"
0 {"type":"left","from":"Bob","text":""
0 {"type":"came","from":"Bob","text":""
0 {"type":"people","names":["Bob","Ann"]}
0 {"type":"came","from":"Carol","text":""
0 {"type":"people","names":["Carol","Bob","Ann"]}
0 {"type":"came","from":"Carol","text":""
0 {"type":"people","names":["Carol","Bob","Ann"]}
0 Carol was dropped
END
expect 23 0 <<'END'
0 Each of 4 threads has had a client
END
has 25_http_server >/dev/null && expect 25 0 <<'END'
0 /hello/Ann%20B: 200
0 Hello, Ann B!
0 /add: 200
0 42
0 /add: 400
0 a and b are to be given
0 /ticks: 200
0 data: tick 1
0 
0 data: tick 2
0 
0 data: tick 3
0 
0 /none: 404
0 404 Not Found
0 /metrics: 200
0 requests_total 6
0 failures_total 0
END
has 26_reverse_proxy >/dev/null && expect 26 0 <<'END'
0 /hello: 200 hello
2 /slow: 504 too slow
0 /broken: 500 500 Internal Server Error
0 /broken: 500 500 Internal Server Error
0 /hello: 503 the server rests
0 /health: 503 open
3 /hello: 200 hello
0 /health: 200 ok
0 /metrics: 200 proxy_passed_total 2
0 proxy_failed_total 3
0 proxy_refused_total 1
END
has 27_event_stream >/dev/null && expect 27 0 <<'END'
0 from 0: 200, 6 events
0 from 4: 200, 2 events
0 from 6: 204, 0 events
END
expect 06 0 <<'END'
1 0
1 1
1 2
1 3
1 4
END
expect 07 0 <<'END'
0 Lock acquired
1 Lock released
0 Lock acquired
1 Lock released
END
expect 08 0 <<'END'
0 Entering context
0 Inside block
0 Exiting context
END
expect 08-fail 1 'the block of example failed' <<'END'
0 Entering context
0 Inside block
0 Exiting context
END
expect 08-cancel 1 'the block was cancelled' <<'END'
0 Entering context
0 Inside block
0 Exiting context
END
expect 09 0 <<'END'
1 1
1 2
1 3
END
expect 10 0 <<'END'
0 * Ann has joined
0 * Bob has joined
0 * Carol has joined
0 Carol: I shall not read a word of what you say.
0 Bob: Then I sing for Ann, until you are gone.
- * Carol was dropped
- Bob: Good night, Ann!
- * Bob has left
END
for label in 11 11-path; do
    expect $label 0 <<'END'
0 1: This is line 1
0 2: This is line 2
0 3: This is line 3
0 4: This is line 4
0 5: This is line 5
0 5 lines
END
done
[ "$(wc -l <"$work/lines")" = 5 ] || fault "11_files: wrote $(cat "$work/lines")"
has 12_stream_api >/dev/null && expect 12 0 <<'END'
- chunk 1 of 5
- chunk 2 of 5
- chunk 3 of 5
- chunk 4 of 5
- chunk 5 of 5
END
expect 13 0 <<'END'
0 it takes its reply in single bytes, and waits for one that takes minutes
0 it sees that a reply of fewer than 7 bytes is cut off
0 it tells when the connection is lost, at any of 3 calls
END

expect 14 0 <<'END'
1 no answer: asking again
0 www.example.org has the address 192.0.2.7
END

expect 15 0 <<'END'
0 9
0 10
0 100
0 the shell says 1
0 the shell says 2
0 the shell says 3
0 and ends with 4
0 sleep takes too long
0 no such program
END

[ ! -x "$programs/19_glib" ] || expect 19 0 <<'END'
0 coroutine: waits for GLib
0 GLib: the button was pressed
0 coroutine: was woken by GLib
0 coroutine: has slept
0 coroutine: a thread gave 42
0 GLib: the main loop has ended, the coroutine gave 42
END

[ ! -x "$programs/24_json" ] || expect 24 0 <<'END'
0 order 1: 2 of tea
0 order 2: 6 of cups
0 refused: Object item not found: count
0 2 orders
END

# ---- bad input ----

fails 1 'No such file or directory' 11_files "$work/nowhere/lines"
fails 2 usage 10_chat join
fails 2 usage 10_chat serve here
fails 1 'port 99999' 10_chat serve 99999
fails 1 'Connection refused' 10_chat join 1 ann
fails 2 usage demo_server here
fails 1 'is no name' 14_name_lookup double..dot
fails 1 'remote port 99999 is not one of 1 to 65535' 14_name_lookup name 127.0.0.1 99999
if has 05_http_get; then
    fails 1 'Connection refused' 05_http_get http://127.0.0.1:1/
    fails 1 'nonsense' 05_http_get nonsense
    fails 1 'does not resolve' 05_http_get http://no.such.host.invalid/
    fails 1 'Connection refused' 12_stream_api http://127.0.0.1:1/
fi

# ---- Ctrl-C ----

for program in 02_gather 04_background 06_async_generator 07_lock 09_async_iterator; do
    background int "$program" # until its first line; 06 and 09 print one after a second
    kill -INT "$pid"
    wait "$pid"
    echo $? >"$work/int.status"
    status_and_error int 1 "^$program: interrupted"
    ! grep -q 'completed\|released' "$work/int.out" || fault "$program: interrupted, and printed $(cat "$work/int.out")"
done

# ---- the demo's server ----

background server demo_server
server=$pid
if [[ $first_line =~ ^http://127\.0\.0\.1:([0-9]+)$ ]]; then
    port=${BASH_REMATCH[1]}
else
    fault "demo_server: its first line is '$first_line'"
    exit 1
fi

# talk TEXT: what the server answers to it, without carriage returns. TEXT is printf's.
talk() {
    exec 5<>"/dev/tcp/127.0.0.1/$port"
    # shellcheck disable=SC2059
    printf "$1" >&5
    timeout 15 cat <&5 | tr -d '\r'
    exec 5>&-
}

# answers STATUS TEXT: to TEXT the answer begins so
answers() {
    local got
    got=$(talk "$2" | head -n 1)
    [[ $got == "HTTP/1.1 $1 "* ]] || fault "demo_server: '$got' to '${2:0:60}', not $1"
}

# Clients that say nothing, or half of something, while the others are served.
exec 6<>"/dev/tcp/127.0.0.1/$port" 7<>"/dev/tcp/127.0.0.1/$port"
printf 'GET /get HTT' >&7

long=$(printf '%5000s' '' | tr ' ' a)
headers=$(for ((i = 0; i < 150; i++)); do printf '%s' "X-$i: y\\r\\n"; done)
answers 200 'GET /get HTTP/1.0\r\n\r\n'
answers 200 'GET /get HTTP/1.1\nConnection: close\n\n'
answers 200 '\r\n\r\nGET /get?a=b HTTP/1.1\r\nconnection:close\r\n\r\n'
answers 200 'HEAD /get HTTP/1.0\r\n\r\n'
answers 404 'GET /nothing HTTP/1.0\r\n\r\n'
answers 503 'GET /status/503 HTTP/1.0\r\n\r\n'
answers 404 'GET /status/99 HTTP/1.0\r\n\r\n'
answers 405 'POST /get HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello'
answers 400 'hello\r\n\r\n'
answers 400 'GET /get\r\n\r\n'
answers 400 'GET /get HTTP/2.0\r\n\r\n'
answers 400 'GET /get HTTP/1.1 and more\r\n\r\n'
answers 400 'GET /get HTTP/1.1\r\nno colon\r\n\r\n'
answers 400 'GET /get HTTP/1.1\r\n: no name\r\n\r\n'
answers 400 'GET /get HTTP/1.1\r\nContent-Length: -1\r\n\r\n'
answers 400 '\0\0\0\r\n\r\n'
answers 413 'POST /get HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n'
answers 411 'POST /get HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n'
answers 414 "GET /$long HTTP/1.1\r\n\r\n"
answers 431 "GET /get HTTP/1.1\r\nX: $long\r\n\r\n"
answers 431 "GET /get HTTP/1.1\r\n$headers\r\n"

# Two requests, and a body to skip, on one connection.
got=$(talk 'GET /get HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /status/418 HTTP/1.1\r\nConnection: close\r\n\r\n' | grep -c '^HTTP/1.1 \(200\|418\) ')
[ "$got" = 2 ] || fault "demo_server: $got answers on one connection, not 2"

# Eight slow answers at once: one after another they would take eight seconds.
begin=$(now_ms)
streams=()
for ((i = 0; i < 8; i++)); do
    (talk 'GET /stream HTTP/1.1\r\nConnection: close\r\n\r\n' >"$work/stream.$i") &
    streams+=($!)
done
wait "${streams[@]}"
took=$(($(now_ms) - begin))
[ $took -ge 950 ] && [ $took -lt 7000 ] || fault "demo_server: eight streams took $took ms, not 1000"
for ((i = 0; i < 8; i++)); do
    [ "$(grep -c '^chunk . of 5$' "$work/stream.$i")" = 5 ] || fault "demo_server: a stream of $(cat "$work/stream.$i")"
    [ "$(tail -n 2 "$work/stream.$i" | head -n 1)" = 0 ] || fault "demo_server: a stream without an end"
done

if has 05_http_get; then
    export CASYNCIO_DEMO_URL=$first_line
    [ "$("$programs/05_http_get")" = "Hello from casyncio's demo server" ] || fault "05_http_get: from the server that runs"
    got=$("$programs/05_http_get" "$first_line/status/404" 2>"$work/404.err")
    echo $? >"$work/404.status"
    [ "$got" = "404 Not Found" ] || fault "05_http_get: '$got' is not what came with the 404"
    status_and_error 404 1 '404 Not Found'
    fails 1 '404 Not Found' 12_stream_api "$first_line/status/404"
    unset CASYNCIO_DEMO_URL
fi
exec 6>&- 7>&-
stop server "$server" TERM

background server demo_server 0
stop server "$pid" INT

# ---- the chat: one of the clients does not read ----

background chat 10_chat serve 0
chat=$pid port=${first_line##* }
said() { grep -qxF "$2" "$work/$1.said"; }

exec 6<>"/dev/tcp/127.0.0.1/$port"
printf 'sleeper\n' >&6
mkfifo "$work/ann" "$work/bob"
exec 7<>"$work/ann" 8<>"$work/bob"
"${as_by_hand[@]}" "$programs/10_chat" join "$port" ann <"$work/ann" >"$work/ann.said" 2>"$work/ann.err" 6>&- 7>&- 8>&- &
ann=$!
until_true said ann '* ann has joined'
"${as_by_hand[@]}" "$programs/10_chat" join "$port" bob <"$work/bob" >"$work/bob.said" 2>"$work/bob.err" 6>&- 7>&- 8>&- &
bob=$!
started+=("$ann" "$bob")
until_true said ann '* bob has joined'
echo 'Hello, bob!' >&7
until_true said bob 'ann: Hello, bob!'

long=$(printf '%4000s' '' | tr ' ' a)
yes "$long" | head -n 50 >"$work/much"
for ((round = 1; round <= 300; round++)); do
    cat "$work/much" >&8
    echo "round $round" >&8
    until_true said ann "bob: round $round" || break
    if said ann '* sleeper was dropped'; then break; fi
done
said ann '* sleeper was dropped' || fault "10_chat: $round rounds, and the sleeper still there"
said bob '* sleeper was dropped' || until_true said bob '* sleeper was dropped'
[ "$(grep -cxF "bob: $long" "$work/ann.said")" = $((round * 50)) ] || fault "10_chat: ann missed some of what bob said"

exec 8>&-
wait "$bob" || fault "10_chat: bob left with status $?: $(cat "$work/bob.err")"
until_true said ann '* bob has left'
kill -INT "$chat"
wait "$chat" || fault "10_chat serve: exit status $? after SIGINT"
wait "$ann" || fault "10_chat: ann's exit status $? when the server went: $(cat "$work/ann.err")"
exec 6>&- 7>&-

[ $faults = 0 ] || echo "$faults faults" >&2
[ $faults = 0 ]
