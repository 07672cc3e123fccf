#!/usr/bin/env bash
# Shows the programs of examples/: each under a heading, each line with the second at which it came, and whether that was as it should be.
# They are taken from build/examples (or $1) and fetch from the demo's own server, a casyncio program too.
# Exit status 0: all did what the table below says.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."
programs=${1:-build/examples}
# How much later than promised a line may come, in milliseconds: the machine may be busy.
late=${CASYNCIO_DEMO_LATE_MS:-600}

work=$(mktemp -d)
server=
leave() {
    [ -z "$server" ] || { kill "$server" 2>/dev/null && wait "$server" 2>/dev/null; } || true
    rm -rf "$work"
}
trap leave EXIT
trap 'exit 130' INT TERM

bold='' plain=''
if [ -t 1 ]; then bold=$'\e[1m' plain=$'\e[0m'; fi
now_ms() { echo $((${EPOCHREALTIME/./} / 1000)); }
begin=$(now_ms)

# The first sentence of the first comment of a program's source.
sentence() {
    [ -f "examples/$1.c" ] || return 0
    awk '{ gsub(/^\/\*|\*\/.*$/, ""); sub(/^ *\*? */, ""); if ($0 == "" && text != "") exit; text = text " " $0 }
         /\.( |$)/ { exit }
         END { sub(/^ +/, "", text); if (match(text, /\.( |$)/)) text = substr(text, 1, RSTART); print text }' "examples/$1.c"
}

shown=0 wrong=0 programs_shown=' '

# show NAME STATUS ARGUMENT...: runs a program and holds it to the table on standard input, one row a line of output:
# seconds since the line before (- for any), then a regular expression for the whole line. A row "..." is any number of lines.
# STATUS is 0, or "fails" for any other exit status.
show() {
    local name=$1 status=$2
    shift 2
    local -a rows=() faults=()
    mapfile -t rows
    local row=0 any=no line start last now seconds pattern got

    shown=$((shown + 1))
    [[ $programs_shown == *" $name "* ]] || programs_shown+="$name "
    printf '\n%s%s%s\n' "$bold" "$name${*:+ $*}" "$plain"
    printf '  %s\n' "$(sentence "$name")"
    start=$(now_ms) last=$start
    while IFS= read -r line || [ -n "$line" ]; do
        now=$(now_ms)
        printf '  %7.2f s  %s\n' "$(((now - start) / 10))e-2" "$line"
        while [ "${rows[row]-}" = "..." ]; do any=yes row=$((row + 1)); done
        if [ $row -ge ${#rows[@]} ]; then
            [ $any = yes ] || faults+=("one line too many: $line")
        else
            read -r seconds pattern <<<"${rows[row]}"
            if [[ $line =~ ^$pattern$ ]]; then
                if [ "$seconds" != - ] && { [ $((now - last)) -lt $((seconds * 1000 - 100)) ] ||
                    [ $((now - last)) -gt $((seconds * 1000 + late)) ]; }; then
                    faults+=("'$line' came $((now - last)) ms after the line before, not $seconds s")
                fi
                row=$((row + 1)) any=no
            elif [ $any = no ]; then
                faults+=("'$line' where '$pattern' should be")
                row=$((row + 1))
            fi
        fi
        last=$now
    done < <(
        # Line by line, so that the times are the program's and not its buffer's.
        got=0
        timeout 60 stdbuf -oL "$programs/$name" "$@" 2>&1 </dev/null || got=$?
        echo $got >"$work/status"
    )
    now=$(now_ms)
    got=$(cat "$work/status")
    while [ $row -lt ${#rows[@]} ]; do
        [ "${rows[row]}" = "..." ] || faults+=("missing: ${rows[row]#* }")
        row=$((row + 1))
    done
    case $status-$got in
        0-0) ;;
        fails-0) faults+=("exit status 0, where it should tell of a failure") ;;
        fails-124 | fails-12[67] | fails-1[3-9]?) faults+=("exit status $got") ;;
        fails-*) ;;
        *) faults+=("exit status $got") ;;
    esac
    printf '  %.2f s, exit status %s\n' "$(((now - start) / 10))e-2" "$got"
    if [ ${#faults[@]} -gt 0 ]; then
        wrong=$((wrong + 1))
        printf '  NOT AS EXPECTED: %s\n' "${faults[@]}"
    fi
}

# The demo's own server: on a free port of the loopback, which it tells in its first line.
stdbuf -oL "$programs/demo_server" 0 >"$work/server" 2>&1 &
server=$!
for _ in $(seq 100); do
    [ ! -s "$work/server" ] || break
    sleep 0.05
done
CASYNCIO_DEMO_URL=$(head -n 1 "$work/server")
case $CASYNCIO_DEMO_URL in
    http://127.0.0.1:*) ;;
    *) echo "demo.sh: the demo server did not start: $(cat "$work/server")" >&2; exit 1 ;;
esac
export CASYNCIO_DEMO_URL
echo "The demo's own server: $CASYNCIO_DEMO_URL"

show 01_hello 0 <<'EOF'
0 Hello
1 World
EOF
show 02_gather 0 <<'EOF'
0 Task 1 started
0 Task 2 started
1 Task 2 completed
1 Task 1 completed
EOF
show 03_errors 0 <<'EOF'
1 Caught an exception: An error occurred!
EOF
show 04_background 0 <<'EOF'
0 Main function continues running
1 Still running\.\.\.
2 Background task completed
EOF
show 05_http_get 0 <<'EOF'
0 .+
...
EOF
show 06_async_generator 0 <<'EOF'
- 0
1 1
1 2
1 3
1 4
EOF
show 07_lock 0 <<'EOF'
0 Lock acquired
1 Lock released
0 Lock acquired
1 Lock released
EOF
show 08_context_manager 0 <<'EOF'
- Entering context
- Inside block
- Exiting context
EOF
show 08_context_manager fails --fail <<'EOF'
- Entering context
...
- Exiting context
...
EOF
show 08_context_manager fails --cancel <<'EOF'
- Entering context
...
- Exiting context
...
EOF
show 09_async_iterator 0 <<'EOF'
- 1
1 2
1 3
...
EOF
show 10_chat 0 <<'EOF'
- .+
...
EOF
show 11_files 0 <<'EOF'
- .+
...
EOF
show 12_stream_api 0 <<'EOF'
- .+
- .+
...
EOF
show 13_memory_pair 0 <<'EOF'
- it takes its reply in single bytes, and waits for one that takes minutes
- it sees that a reply of fewer than 7 bytes is cut off
- it tells when the connection is lost, at any of 3 calls
EOF
show 14_name_lookup 0 <<'EOF'
1 no answer: asking again
0 www\.example\.org has the address 192\.0\.2\.7
EOF
show 15_subprocess 0 <<'EOF'
- 9
- 10
- 100
- the shell says 1
...
- no such program
EOF
show 20_chat_web 0 <<'EOF'
- \{"type":"hello","from":"Ann","text":"sea"
...
- Carol was dropped
EOF

printf '\n%s programs, run %s times: %s as expected, %s not, in %.1f s\n' "$(wc -w <<<"$programs_shown")" $shown \
    $((shown - wrong)) $wrong "$((($(now_ms) - begin) / 100))e-1"
[ $wrong = 0 ]
