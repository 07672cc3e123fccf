# scratch.sh - for test scripts, which source it: a directory of their own in $work and the processes in $started, both gone at the
# end; and fault, which prints what is wrong and counts it in $faults.
work=$(mktemp -d)
started=()
leave() {
    [ ${#started[@]} = 0 ] || kill "${started[@]}" 2>/dev/null
    rm -rf "$work"
}
trap leave EXIT

faults=0
fault() {
    printf '%.2000s\n' "$*" >&2
    faults=$((faults + 1))
}
