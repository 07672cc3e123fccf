# common.sh - for the scripts here, which source it: casyncio, a program to be looked into, and what is done with both.
. "$SOURCE_DIR/tests/scratch.sh"
casyncio=$BUILD_DIR/bin/casyncio
target=$BUILD_DIR/tests/inspect_target
sanitized=$(nm "$target" 2>/dev/null | grep -c '__asan_init\|__tsan_init')
cd "$work" || exit 1

# start PROGRAM ARGUMENT...: in the background, until it says that it is ready; its process in $pid, what it printed in out
start() {
    : >out # what the one before has said
    "$@" >out 2>err </dev/null &
    pid=$!
    started+=("$pid")
    for ((i = 0; i < 3000; i++)); do
        ! grep -q '^ready$' out || return 0
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.02
    done
    fault "$*: not ready: $(cat out err)"
}

end() {
    kill -9 "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
    return 0
}

# look ARGUMENT...: the program's output in $got, which may have no error
look() {
    got=$("$casyncio" "$@" 2>look.err) || fault "casyncio $*: exit status $?: $(cat look.err)"
    [ ! -s look.err ] || fault "casyncio $*: $(cat look.err)"
}

# has TEXT...: each of these is in $got
has() {
    local text
    for text in "$@"; do [[ $got == *"$text"* ]] || fault "not in it: $text"$'\n'"$got"; done
}

has_not() { [[ $got != *"$1"* ]] || fault "in it: $1"$'\n'"$got"; }

# refuses TEXT ARGUMENT...: exit status 1, one line that has the text, and nothing else
refuses() {
    local text=$1 said
    shift
    said=$("$casyncio" "$@" 2>&1 >/dev/null)
    [ $? = 1 ] || fault "casyncio $*: exit status is not 1: $said"
    [[ $said == casyncio:*"$text"* ]] && [ "$(wc -l <<<"$said")" = 1 ] || fault "casyncio $*: no '$text' in: $said"
}

# core_of PROGRAM: of its `crash`; the file's name in $core. False: none could be had
core_of() {
    rm -f core core.*
    (ulimit -c unlimited && exec "$1" crash >out 2>err)
    core=$(ls core* 2>/dev/null | head -n 1)
    [ -n "$core" ] && return
    command -v gcore >/dev/null || return
    start "$1" wedged
    gcore -o core "$pid" >/dev/null 2>&1
    end
    core=$(ls core* 2>/dev/null | head -n 1)
    [ -n "$core" ]
}
