#!/usr/bin/env bash
# `make demo-cluster`: a nats-server of its own, on a free port of the loopback and with a store of its own, and the two examples
# that need one. All of it is gone at the end.
set -euo pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin
cd "$(dirname "$0")/.."
programs=${1:-build/examples}
jobs=$(dirname "$programs")/bin/casyncio-jobs
work=$(mktemp -d)
started=()
leave() {
    [ ${#started[@]} = 0 ] || { kill "${started[@]}" 2>/dev/null && wait "${started[@]}" 2>/dev/null; } || true
    rm -rf "$work"
}
trap leave EXIT
trap 'exit 130' INT TERM
command -v nats-server >/dev/null || { echo "demo_cluster.sh: there is no nats-server (Debian: nats-server)" >&2; exit 1; }
for program in 21_chat_cluster 22_render; do
    [ -x "$programs/$program" ] || { echo "demo_cluster.sh: $program is not built (libnats-dev, libpng-dev)" >&2; exit 1; }
done

nats-server -a 127.0.0.1 -p -1 -js -sd "$work/store" --ports_file_dir "$work" >"$work/log" 2>&1 &
started+=($!)
for _ in $(seq 200); do
    compgen -G "$work/*.ports" >/dev/null && break
    sleep 0.05
done
port=$(sed -n 's/.*127\.0\.0\.1:\([0-9]*\).*/\1/p' "$work"/*.ports)
url=nats://127.0.0.1:$port
echo "nats-server, for this demo: $url"

printf '\nTwo chat servers on two ports, one room\n'
"$programs/21_chat_cluster" "$url"

picture=${CASYNCIO_DEMO_PICTURE:-$work/picture.png}
printf '\nA picture by three workers, of which one is killed\n'
for _ in 1 2 3; do
    "$programs/22_render" "$url" work &
    started+=($!)
done
{ sleep 0.5; kill -KILL "${started[1]}"; } &
"$programs/22_render" "$url" "$picture" 1280 960
file "$picture" 2>/dev/null | sed 's/^[^:]*: //' || true
printf '\ncasyncio-jobs\n'
"$jobs" --url "$url"
