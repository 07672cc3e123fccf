#!/usr/bin/env bash
# The clean room: a minimal Debian 12 with nothing but git and make on it, this repository cloned into it, and a make target
# (or any shell command) run there as root, once, with no other command before it.
#
#   tools/fresh.sh demo                   make demo
#   tools/fresh.sh check                  make check
#   tools/fresh.sh --command 'apt-get update'
#
# By default the last commit is cloned; with --worktree the files as they stand are copied (those that git does not ignore).
# The bare system is kept in $CASYNCIO_FRESH_CACHE (/var/tmp) so that only the first run waits for debootstrap; --renew makes it
# anew. KEEP=1 leaves the room behind, to look around in.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
suite=bookworm
cache=${CASYNCIO_FRESH_CACHE:-/var/tmp}/casyncio-fresh-$suite.tar

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 2; }
fail() { echo "fresh.sh: $*" >&2; exit 1; }

worktree=no renew=no command=
targets=()
while [ $# -gt 0 ]; do
    case $1 in
        --worktree) worktree=yes ;;
        --renew) renew=yes ;;
        --command) [ $# -ge 2 ] || usage; command=$2; shift ;;
        -*) usage ;;
        *) targets+=("$1") ;;
    esac
    shift
done
if [ -z "$command" ]; then
    [ ${#targets[@]} -gt 0 ] || usage
    command="make ${targets[*]}"
fi

[ "$(id -u)" = 0 ] || fail "needs root (chroot and mount)"
command -v debootstrap >/dev/null || fail "needs debootstrap: apt-get install debootstrap"

# The mirrors are the host's own: FRESH_MIRROR, or what its apt is set up to use.
# shellcheck disable=SC2016
sources() {
    apt-get indextargets --format '$(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null |
        awk -v suite="$suite" '$1 == "Debian" && index($3, suite) == 1 && !seen[$2 $3 $4]++ { print "deb", $2, $3, $4 }'
}
mirror=${FRESH_MIRROR:-$(sources | awk -v suite="$suite" '$3 == suite { print $2; exit }')}
[ -n "$mirror" ] || fail "this host's apt knows no Debian $suite: set FRESH_MIRROR to a mirror's address"

room=$(mktemp -d "${CASYNCIO_FRESH_CACHE:-/var/tmp}/casyncio-fresh.XXXXXX")
chmod 755 "$room"
# The room's mounts live in a namespace of their own and are gone with it, so removing the tree cannot reach the host's /dev.
leave() { if [ "${KEEP:-}" = 1 ]; then echo "fresh.sh: kept $room" >&2; else rm -rf --one-file-system "$room"; fi; }
trap leave EXIT

if [ "$renew" = yes ] || [ ! -s "$cache" ]; then
    echo "== a bare Debian 12 (kept in $cache)"
    debootstrap --variant=minbase --include=git,make "$suite" "$room" "$mirror" >"$cache.log" 2>&1 ||
        { tail -n 20 "$cache.log" >&2; fail "debootstrap failed, see $cache.log"; }
    rm -rf "$room"/var/cache/apt/archives/*.deb "$room"/var/lib/apt/lists/*
    tar -C "$room" --one-file-system -cf "$cache.new" .
    mv "$cache.new" "$cache"
else
    tar -C "$room" -xpf "$cache"
fi

# apt inside is to reach what apt outside reaches: name service, mirrors, proxy, certificates.
cp -L /etc/resolv.conf "$room/etc/resolv.conf"
cp /etc/hosts "$room/etc/hosts"
if [ -n "${FRESH_MIRROR:-}" ]; then
    echo "deb $mirror $suite main"
else
    sources
fi >"$room/etc/apt/sources.list"
for file in /etc/apt/apt.conf /etc/apt/apt.conf.d/*; do
    if [ -f "$file" ] && grep -q 'Acquire::' "$file"; then cp "$file" "$room/etc/apt/apt.conf.d/"; fi
done
case $mirror in
    https:*)
        mkdir -p "$room/etc/ssl/certs"
        [ ! -f /etc/ssl/certs/ca-certificates.crt ] || cp /etc/ssl/certs/ca-certificates.crt "$room/etc/ssl/certs/"
        ;;
esac
# No daemon may start from a package's installation: the room shares the host's network.
printf '#!/bin/sh\nexit 101\n' >"$room/usr/sbin/policy-rc.d"
chmod 755 "$room/usr/sbin/policy-rc.d"

if [ "$worktree" = yes ]; then
    mkdir -p "$room/root/casyncio"
    git ls-files -z --cached --others --exclude-standard |
        while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done |
        tar --null -T - -cf - | tar -C "$room/root/casyncio" -xf -
    # The same footing as a clone: a git repository, all files known to it.
    git -C "$room/root/casyncio" init -q && git -C "$room/root/casyncio" add -A
else
    git clone --quiet --no-hardlinks "$root" "$room/root/casyncio"
fi

echo "== in the clean room: $command"
environment=(HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 TERM="${TERM:-dumb}")
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
    [ -z "${!name:-}" ] || environment+=("$name=${!name}")
done
# A process namespace too: whatever the command left running ends with it.
# shellcheck disable=SC2016
unshare --mount --pid --fork --kill-child bash -c '
    set -e
    room=$1 command=$2
    shift 2
    mount --make-rprivate /
    mount -t proc proc "$room/proc"
    mount -t sysfs -o ro sysfs "$room/sys"
    mount --rbind /dev "$room/dev"
    exec env -i "$@" chroot "$room" /bin/bash -c "cd /root/casyncio && $command"
' fresh "$room" "$command" "${environment[@]}" </dev/null
