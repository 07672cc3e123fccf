#!/usr/bin/env bash
# docs/pictures/pstree.svg: the service of the guide's chapter "What is my program doing?", whose clients get no answer, as
# casyncio pstree shows it. The program is taken from that chapter.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$(realpath "${BUILD_DIR:-build}")
root=$PWD work=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid"; rm -rf "$work"' EXIT
awk '/^## What is my program doing/ { chapter = 1 } chapter && /^```c$/ { copies = 1; next } copies && /^```$/ { exit } copies' \
    docs/guide.md | sed 's/8710/0/' >"$work/bank.c"
libraries=$(sed -n 's/^Libs.private: //p' "$build/casyncio.pc")
# shellcheck disable=SC2086
(cd "$work" && ${CC:-cc} -g -O2 -w -I"$root/include" bank.c "$build/libcasyncio.a" -pthread -lm $libraries -o bank)
"$work/bank" & pid=$!
port=
while [ -z "$port" ]; do # the kernel chose it: the socket that the process listens at
    sleep 0.05
    kill -0 "$pid" # else it has ended
    inodes=$(find "/proc/$pid/fd" -lname 'socket:*' -printf '%l\n' | tr -dc '0-9\n')
    port=$(awk -v inodes="$inodes" 'BEGIN { split(inodes, list, "\n"); for (i in list) known[list[i]] = 1 }
        $4 == "0A" && ($10 in known) { split($2, at, ":"); print at[2]; exit }' "/proc/$pid/net/tcp")
done
port=$((16#$port))
exec 3<>"/dev/tcp/127.0.0.1/$port" 4<>"/dev/tcp/127.0.0.1/$port" 5<>"/dev/tcp/127.0.0.1/$port"
echo save >&3
echo spend >&4
for ((i = 0; i < 200; i++)); do # until both wait for each other
    "$build/bin/casyncio" pstree "$pid" >"$work/tree"
    [ "$(grep -c 'waits: lock' "$work/tree")" != 2 ] || break
    sleep 0.05
done
mkdir -p docs/pictures
{
    # shellcheck disable=SC2016
    echo '$ casyncio pstree $(pidof bank)'
    sed "s/^process [0-9]*/process 6208/" "$work/tree"
} | tools/picture_of_text.sh >docs/pictures/pstree.svg
