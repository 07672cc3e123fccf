#!/usr/bin/env bash
# The documentation is true: every C block in it compiles, every program in it runs and prints what the page says, every name of
# ours that it mentions is in a header, and every link leads somewhere. test_map.sh has asyncio's names.
# ctest: labels=programs timeout=300
#
#   tests/docs/test_docs.sh [PAGE...]     BUILD_DIR, SOURCE_DIR and CC say with what; KEEP=1 keeps the programs
#
# How a page says what is to be done with a block that is fenced as ```c:
#
#   it defines `main` or `main_task`   a program: compiled, and run. A block that has no main gets one that runs main_task, and
#                                      one that includes nothing gets the usual headers.
#   else                               definitions: compiled.
#   <!-- docs: statements -->          before a block: it is the inside of a function `int example(void *argument)`.
#   <!-- docs: compile -->             before a program: it is not run.
#   <!-- docs: internal -->            before definitions: they see the library's own headers, as from src/.
#   <!-- docs: real time -->           before a program: its clock is the real one. Otherwise it is virtual, so that a program
#                                      that sleeps for an hour takes no time.
#   ```output                          after a program: what it prints, standard output and standard error together. A line that
#                                      is only "..." is any number of lines.
#
#   <!-- docs: leaks -->               before a program that forgets something on purpose.
# A program must end with exit status 0, but <!-- docs: fails --> says that it must not.
set -euo pipefail
export LC_ALL=C
SOURCE_DIR=${SOURCE_DIR:-$(cd "$(dirname "$0")/../.." && pwd)}
BUILD_DIR=${BUILD_DIR:-$SOURCE_DIR/build}
CC=${CC:-cc}
here=$SOURCE_DIR/tests/docs
cd "$SOURCE_DIR"
pages=("$@")
[ $# -gt 0 ] || pages=(README.md python/README.md CONTRIBUTING.md CHANGELOG.md docs/*.md)
work=$(mktemp -d)
leave() { if [ "${KEEP:-}" = 1 ]; then echo "kept $work"; else rm -rf "$work"; fi; }
trap leave EXIT

# ---- the blocks: $work/N.c, and a row in $work/blocks: N, kind (program, definitions), page:line, words of the docs comment ----

awk -v work="$work" '
    function finish() {
        program = text ~ /(^|\n)(static )?int main(_task)?\(/
        has_main = text ~ /(^|\n)int main\(/
        file = work "/" n ".c"
        if (text !~ /(^|\n)#include/)
            printf "#include <casyncio.h>\n#include <math.h>\n#include <stdio.h>\n#include <stdlib.h>\n" \
                   "#include <string.h>\n" > file
        if (words ~ /statements/) printf "int example(void *argument);\nint example(void *argument)\n{\n" > file
        printf "#line %d \"%s\"\n%s", first, FILENAME, text > file
        if (words ~ /statements/) printf "    return 0;\n}\n" > file
        if (program && !has_main)
            printf "int main(void)\n{\n    return async_run(main_task) < 0;\n}\n" > file
        close(file)
        kind = program ? "program" : "definitions"
        gsub(/ /, "_", words)
        print n, kind, FILENAME ":" first, (words == "" ? "-" : words) > (work "/blocks")
        words = ""
    }
    /^<!-- docs: .* -->$/ { words = $0; sub(/^<!-- docs: /, "", words); sub(/ -->$/, "", words); next }
    !inside && /^```/ {
        inside = $0; text = ""; first = FNR + 1
        if (inside == "```c") n++
        next
    }
    inside && /^```$/ {
        if (inside == "```c") finish()
        c_before = inside == "```c" || (inside == "```output" && c_before)
        if (inside == "```output" && c_before) { printf "%s", text > (work "/" n ".expected"); close(work "/" n ".expected") }
        inside = ""
        next
    }
    inside { text = text $0 "\n" }
    END { printf "" > (work "/blocks") }
' "${pages[@]}"

# ---- one block ----

cache=$BUILD_DIR/CMakeCache.txt
sanitize=$(sed -n 's/^CASYNCIO_SANITIZE:[A-Z]*=//p' "$cache" 2>/dev/null || true)
flags=(-std=gnu11 -O1 -g -Wall -Wextra -Wno-unused-parameter -Werror -I "$SOURCE_DIR/include")
# In these examples a definition may stand without its use.
flags+=(-Wno-unused-function -Wno-unused-variable)
[ -z "$sanitize" ] || flags+=("-fsanitize=$sanitize" -fno-omit-frame-pointer)
http=no server=no http_libraries=$(sed -n 's/^Libs.private: //p' "$BUILD_DIR/casyncio-http.pc" 2>/dev/null || true)
[ ! -e "$BUILD_DIR/libcasyncio-http.a" ] || http=yes
! nm "$BUILD_DIR/libcasyncio-http.a" 2>/dev/null | grep ' T async_http_serve$' >/dev/null || server=yes
websocket=no tls=no
! nm "$BUILD_DIR/libcasyncio-http.a" 2>/dev/null | grep ' T async__websocket_accept$' >/dev/null || websocket=yes
[ ! -e "$BUILD_DIR/libcasyncio-tls.a" ] || tls=yes
cluster=no
[ ! -e "$BUILD_DIR/libcasyncio-cluster.a" ] || cluster=yes

testing=no
[ ! -e "$BUILD_DIR/libcasyncio-test.a" ] || testing=yes

# Whether the text in file $2 is what the page says in file $1.
matches() {
    awk 'NR == FNR { want[++w] = $0; next } { got[++g] = $0 }
         function match_from(i, j) {
             if (i > w) return j > g
             if (want[i] == "...") { for (; j <= g + 1; j++) if (match_from(i + 1, j)) return 1; return 0 }
             return j <= g && want[i] == got[j] && match_from(i + 1, j + 1)
         }
         END { exit !match_from(1, 1) }' "$1" "$2"
}

block() {
    local n=$1 kind=$2 where=$3 words=$4 private
    read -r -a private < <(sed -n 's/^Libs.private: //p' "$BUILD_DIR/casyncio.pc")
    local libraries=("$BUILD_DIR/libcasyncio.a" "${private[@]}") more=() status=0 sanitizer=${ASAN_OPTIONS-}
    local file=$work/$n
    if grep -q '<casyncio/testing.h>' "$file.c"; then
        if [ $testing = no ]; then echo "left out: $where: libcasyncio-test is not built"; return 0; fi
        libraries=("$BUILD_DIR/libcasyncio-test.a" "${private[@]}")
    fi
    if grep -q '<casyncio/http_server.h>' "$file.c" && [ $server = no ]; then
        echo "left out: $where: the HTTP server is not built"
        return 0
    fi
    if grep -q '<casyncio/http\(_server\)\?.h>' "$file.c"; then
        if [ $http = no ]; then echo "left out: $where: HTTP is not built"; return 0; fi
        # shellcheck disable=SC2206
        libraries=("$BUILD_DIR/libcasyncio-http.a" "${libraries[@]}" -lcurl $http_libraries)
    fi
    if grep -q '<casyncio/websocket.h>' "$file.c"; then
        if [ $websocket = no ]; then echo "left out: $where: WebSockets are not built"; return 0; fi
        libraries=("$BUILD_DIR/libcasyncio-http.a" "$BUILD_DIR/libcasyncio-tls.a" "${libraries[@]}" -lz -lssl -lcrypto)
    fi
    if grep -q '<casyncio/cluster.h>' "$file.c"; then
        if [ $cluster = no ]; then echo "left out: $where: the cluster is not built"; return 0; fi
        libraries=("$BUILD_DIR/libcasyncio-cluster.a" "${libraries[@]}" -lnats -lm)
    fi
    if grep -q '<casyncio/tls.h>' "$file.c"; then
        if [ $tls = no ]; then echo "left out: $where: TLS is not built"; return 0; fi
        libraries=("$BUILD_DIR/libcasyncio-tls.a" "${libraries[@]}" -lssl -lcrypto)
    fi
    case $words in *real_time*) ;; *) more=(-include "$here/virtual.h") ;; esac
    [[ $words != *internal* ]] || more=(-I "$SOURCE_DIR/src" -D_GNU_SOURCE)
    if [ "$kind" = definitions ] || [[ $words == *compile* ]]; then
        $CC "${flags[@]}" "${more[@]}" -fsyntax-only "$file.c" >"$file.log" 2>&1 ||
            { echo "FAILED: $where does not compile"; cat "$file.log"; return 1; }
        return 0
    fi
    $CC "${flags[@]}" "${more[@]}" "$file.c" -o "$file" "${libraries[@]}" >"$file.log" 2>&1 ||
        { echo "FAILED: $where does not compile"; cat "$file.log"; return 1; }
    [[ $words != *leaks* ]] || sanitizer+=:detect_leaks=0
    (cd "$work" && ASAN_OPTIONS=$sanitizer timeout 30 "$file" </dev/null) >"$file.output" 2>&1 || status=$?
    if [[ $words == *fails* ]] && [ $status = 0 ]; then
        echo "FAILED: $where ends with exit status 0"
        return 1
    fi
    if [[ $words != *fails* ]] && [ $status != 0 ]; then
        echo "FAILED: $where ends with exit status $status"
        cat "$file.output"
        return 1
    fi
    [ -e "$file.expected" ] || : >"$file.expected"
    matches "$file.expected" "$file.output" && return 0
    echo "FAILED: $where prints something else than the page says"
    diff "$file.expected" "$file.output"
    return 1
}

export -f block matches
export work here http http_libraries server websocket tls cluster testing BUILD_DIR SOURCE_DIR CC
flags_text=$(declare -p flags)
export flags_text
failed=0
# shellcheck disable=SC2016
xargs -r -P "$(nproc)" -L 1 bash -c 'eval "$flags_text"; block "$@"' block <"$work/blocks" || failed=1
programs=$(grep -c ' program ' "$work/blocks" || true)
echo "$(wc -l <"$work/blocks") C blocks, $programs of them programs"

# ---- names, links ----

grep -rohE --include='*.h' --include='*.c' --include=CMakeLists.txt '[A-Za-z0-9_]+' include src CMakeLists.txt | sort -u >"$work/known"
unknown=$(awk 'NR == FNR { known[$0]; next }
     { while (match($0, /[A-Za-z0-9_]*[aA][sS][yY][nN][cC]_[A-Za-z0-9_]*/)) {
           name = substr($0, RSTART, RLENGTH); $0 = substr($0, RSTART + RLENGTH)
           if (name ~ /^(async_|ASYNC_)[A-Za-z]/ && substr($0, 1, 1) != "*" && !(name in known) && !told[name, FILENAME]++)
               print FILENAME ": no header has a " name } }' "$work/known" "${pages[@]}")
[ -z "$unknown" ] || { echo "FAILED:"; echo "$unknown"; failed=1; }

broken=$(for page in "${pages[@]}"; do
    { grep -oE '\]\([^)#]+' "$page" || true; } | sed 's/^](//' | grep -v '^[a-z]*:' | sort -u | while read -r link; do
        [ -e "$(dirname "$page")/$link" ] || echo "$page: the link to $link leads nowhere"
    done
done)
[ -z "$broken" ] || { echo "FAILED:"; echo "$broken"; failed=1; }

exit $failed
