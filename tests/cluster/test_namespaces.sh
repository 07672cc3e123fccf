#!/usr/bin/env bash
# Two "machines" as network namespaces, with delay and loss between them where the kernel has netem: a picture whose caller and
# one worker are on one, the server and another worker on the other, while the link goes down for a second.
# ctest: timeout=180
set -uo pipefail
PATH=$PATH:/usr/sbin:/sbin
programs=$BUILD_DIR/examples
skip() { echo "skipped: $*"; exit 77; }
command -v nats-server >/dev/null || skip "there is no nats-server (Debian: nats-server)"
command -v ip >/dev/null || skip "there is no ip (Debian: iproute2)"
[ -x "$programs/22_render" ] || skip "22_render is not built"
. "$SOURCE_DIR/tests/scratch.sh"
one=casyncio-$$-1 two=casyncio-$$-2
ip netns add $one 2>/dev/null || skip "no network namespace may be made here"
trap 'kill "${started[@]}" 2>/dev/null; ip netns del $one; ip netns del $two 2>/dev/null; rm -rf "$work"' EXIT
ip netns add $two && ip link add link0 netns $one type veth peer name link0 netns $two || skip "no link may be made here"
# Without the mounts of `ip netns exec` and `ip -n`, which need a root that is a mount of its own.
in_one=(nsenter --net=/run/netns/$one) in_two=(nsenter --net=/run/netns/$two)
"${in_one[@]}" ip address add 10.213.7.1/24 dev link0
"${in_two[@]}" ip address add 10.213.7.2/24 dev link0
for link in lo link0; do
    "${in_one[@]}" ip link set $link up
    "${in_two[@]}" ip link set $link up
done
if "${in_one[@]}" tc qdisc add dev link0 root netem delay 10ms loss 1% 2>/dev/null; then
    echo "10 ms and 1 % loss between the two"
else
    echo "without delay and loss: this kernel has no netem (test_campaign has a relay with both)"
fi

url=nats://10.213.7.1:4222
"${in_one[@]}" nats-server -a 10.213.7.1 -p 4222 -js -sd "$work/store" --ports_file_dir "$work" >"$work/log" 2>&1 &
started+=($!)
for _ in $(seq 600); do
    compgen -G "$work/*.ports" >/dev/null && break
    sleep 0.05
done
for _ in $(seq 100); do # until the link is up
    "${in_two[@]}" bash -c ': </dev/tcp/10.213.7.1/4222' 2>/dev/null && break
    sleep 0.1
done
"${in_one[@]}" "$programs/22_render" $url work &
started+=($!)
"${in_two[@]}" "$programs/22_render" $url work &
started+=($!)
{
    # Once there are results the caller is connected.
    for _ in $(seq 100); do
        "${in_two[@]}" "$BUILD_DIR/bin/casyncio-jobs" --url $url 2>/dev/null | grep -Eq '^tile .* [1-9][0-9]*$' && break
        sleep 0.1
    done
    "${in_two[@]}" ip link set link0 down
    sleep 1
    "${in_two[@]}" ip link set link0 up
} &
cut=$!
"${in_two[@]}" timeout 120 "$programs/22_render" $url "$work/picture.png" 2000 1500 >"$work/told" 2>&1 ||
    { fault "the picture was not rendered: $(cat "$work/told")"; cat "$work/log"; }
grep -q 'picture.png: 2000 x 1500' "$work/told" || fault "nothing was told of it"
wait $cut
[ $faults = 0 ] && echo "ok"
exit $((faults > 0))
