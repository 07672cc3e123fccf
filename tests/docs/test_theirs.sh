#!/usr/bin/env bash
# The programs in docs/coming-from-*.md that are not ours are real: each is run, where its language is installed, and prints what
# the page says that both print. Ours are test_docs.sh's.
# ctest: labels=programs timeout=300
#
# A whole program is fenced as ```python, ```go, ```c libuv or ```c pthreads; the next ```output is what it prints.
set -euo pipefail
export LC_ALL=C
SOURCE_DIR=${SOURCE_DIR:-$(cd "$(dirname "$0")/../.." && pwd)}
CC=${CC:-cc}
if grep -q '^CASYNCIO_SANITIZE:STRING=.' "${BUILD_DIR:-build}/CMakeCache.txt" 2>/dev/null; then
    echo "skipped: a sanitizer's build changes nothing for programs that are not ours"
    exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$SOURCE_DIR"

# $work/N/program, $work/N/expected, and a row in $work/programs: N, language, page:line.
awk -v work="$work" '
    !inside && /^```/ {
        inside = $0; text = ""; first = FNR + 1
        next
    }
    inside && /^```$/ {
        if (inside == "```output") {
            for (i = waiting; i <= n; i++) if (i > 0) { printf "%s", text > (work "/" i ".expected"); close(work "/" i ".expected") }
            waiting = n + 1
        } else if (inside ~ /^```(python|go|c libuv|c pthreads)$/) {
            if (!waiting) waiting = 1
            language = inside; sub(/^```(c )?/, "", language)
            n++
            printf "%s", text > (work "/" n ".text"); close(work "/" n ".text")
            print n, language, FILENAME ":" first > (work "/programs")
        }
        inside = ""
        next
    }
    inside { text = text $0 "\n" }
' docs/coming-from-*.md

# $1: a number, $2: its language. 77 if the language is not here.
run() {
    local text=$work/$1
    case $2 in
        python)
            python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || return 77
            timeout 30 python3 "$text.text"
            ;;
        go)
            command -v go >/dev/null || return 77
            mv "$text.text" "$text.go"
            GOCACHE=$work/cache GO111MODULE=off GOFLAGS='' go build -o "$text" "$text.go" && timeout 30 "$text"
            ;;
        libuv)
            pkg-config --exists libuv 2>/dev/null || return 77
            # shellcheck disable=SC2046
            $CC -std=gnu11 -Wall -Wextra -Wno-unused-parameter -Werror -x c "$text.text" -o "$text" $(pkg-config --cflags --libs libuv) &&
                (cd "$work" && timeout 30 "$text")
            ;;
        pthreads)
            $CC -std=gnu11 -Wall -Wextra -Wno-unused-parameter -Werror -x c "$text.text" -o "$text" -pthread && timeout 30 "$text"
            ;;
    esac
}

failed=0 ran=0 left=
while read -r n language where; do
    status=0
    run "$n" "$language" >"$work/$n.output" 2>&1 </dev/null || status=$?
    if [ $status = 77 ]; then
        [[ $left = *$language* ]] || left+=" $language"
    elif [ $status != 0 ] || ! diff "$work/$n.expected" "$work/$n.output"; then
        echo "FAILED: $where ends with exit status $status, or prints something else than the page says"
        cat "$work/$n.output"
        failed=1
    fi
    [ $status = 77 ] || ran=$((ran + 1))
done <"$work/programs"
[ -z "$left" ] || echo "not installed:$left"
[ $ran -gt 0 ] || { echo "skipped: none of the languages is installed"; exit 77; }
echo "$ran of $(wc -l <"$work/programs") programs"
exit $failed
