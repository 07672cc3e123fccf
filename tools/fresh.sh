#!/usr/bin/env bash
# The clean room: a minimal Debian with nothing but git and make on it, this repository in it, and a make target (or any shell
# command) run there as root.
#
#   tools/fresh.sh demo                        make demo, in a bare Debian 12
#   tools/fresh.sh --suite trixie check        make check, in a bare Debian 13; forky and sid are there, too
#   tools/fresh.sh --command 'apt-get update'
#   tools/fresh.sh --suite sid --root build/roots/sid --command 'python3.15 -V'
#
# By default the room is new, its command is the first that runs in it, and it is gone afterwards. The repository in it is a
# clone of the last commit; with --worktree a copy of the files as they stand (those that git does not ignore).
#
# With --root DIR the room is DIR, which is kept: what was installed there is there the next time, without a network. The
# repository in it is this one itself, and what is built below build/ is built here.
#
# The bare system of a suite is kept in $CASYNCIO_FRESH_CACHE (/var/tmp) so that only the first run waits for debootstrap;
# --renew makes it anew, and the room of --root as well. KEEP=1 leaves a new room behind, to look around in.
#
# Exit status 77: there can be no room here (not root, no mount, no mirror that answers); the last line says why. Otherwise it
# is that of the command.
set -euo pipefail
cd "$(dirname "$0")/.."
repository=$PWD

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 2; }
fail() { echo "fresh.sh: $*" >&2; exit 1; }
cannot() { echo "fresh.sh: $*" >&2; exit 77; }

suite=bookworm worktree=no renew=no root='' command=''
targets=()
while [ $# -gt 0 ]; do
    case $1 in
        --suite) [ $# -ge 2 ] || usage; suite=$2; shift ;;
        --root) [ $# -ge 2 ] || usage; root=$(realpath -m "$2"); shift ;;
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
case $suite in
    bookworm | trixie | forky | sid) ;;
    *) fail "--suite $suite: it is for bookworm, trixie, forky and sid" ;;
esac
cache=${CASYNCIO_FRESH_CACHE:-/var/tmp}/casyncio-fresh-$suite.tar

[ "$(id -u)" = 0 ] || cannot "not root, which chroot and mount need"
unshare --mount --pid --fork mount --make-rprivate / 2>/dev/null || cannot "mount is not allowed here"

# ---- where packages come from: FRESH_MIRROR, or what this system's apt is set up to use ----

own_suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")

# Lines of sources.list for the suite: those of this system's own suite, under its name. Only a stable one has updates apart.
# shellcheck disable=SC2016
sources() {
    if [ -n "${FRESH_MIRROR:-}" ]; then
        echo "deb $FRESH_MIRROR $suite main"
        return
    fi
    apt-get indextargets --format '$(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null |
        awk -v own="$own_suite" -v suite="$suite" '
            $1 == "Debian" && $4 == "main" && index($3, own) == 1 && !seen[$2 $3]++ {
                rest = substr($3, length(own) + 1)
                if (rest == "" || suite == "bookworm" || suite == "trixie") print "deb", $2, suite rest, $4
            }'
}

mirror() { sources | awk -v suite="$suite" '$3 == suite { print $2; exit }'; }

check_mirror() {
    local address there
    address=$(mirror)
    [ -n "$address" ] || cannot "this system's apt knows no Debian mirror: set FRESH_MIRROR to one's address"
    there=$(mktemp)
    if ! timeout 60 /usr/lib/apt/apt-helper download-file "${address%/}/dists/$suite/InRelease" "$there" >/dev/null 2>&1; then
        rm -f "$there"
        cannot "the Debian mirror does not answer, or has no $suite"
    fi
    rm -f "$there"
}

# ---- the room ----

# bare DIRECTORY: fills it with the bare system. What is unstable is not kept for longer than a week.
bare() {
    local directory=$1 include=()
    case $suite in forky | sid) [ ! -e "$cache" ] || [ -z "$(find "$cache" -mtime +6)" ] || renew=yes ;; esac
    if [ "$renew" = no ] && [ -s "$cache" ]; then
        tar -C "$directory" -xpf "$cache"
        return
    fi
    command -v debootstrap >/dev/null || cannot "debootstrap is missing: apt-get install debootstrap"
    check_mirror
    echo "== a bare Debian $suite (kept in $cache)"
    # A mirror that is reached by https only needs certificates from the first package on.
    case $(mirror) in https:*) include=(,ca-certificates) ;; esac
    debootstrap --variant=minbase --include="git,make${include[*]-}" "$suite" "$directory" "$(mirror)" >"$cache.log" 2>&1 ||
        { tail -n 20 "$cache.log" >&2; cannot "debootstrap failed, see $cache.log"; }
    rm -rf "$directory"/var/cache/apt/archives/*.deb "$directory"/var/lib/apt/lists/*
    tar -C "$directory" --one-file-system -cf "$cache.$$" .
    mv "$cache.$$" "$cache"
}

# settle DIRECTORY: apt inside is to reach what apt outside reaches: name service, mirrors, proxy, certificates.
settle() {
    local directory=$1 file
    cp -L /etc/resolv.conf "$directory/etc/resolv.conf"
    cp /etc/hosts "$directory/etc/hosts"
    rm -f "$directory"/etc/apt/sources.list.d/*
    sources >"$directory/etc/apt/sources.list"
    for file in /etc/apt/apt.conf /etc/apt/apt.conf.d/*; do
        if [ -f "$file" ] && grep -q 'Acquire::' "$file"; then cp "$file" "$directory/etc/apt/apt.conf.d/"; fi
    done
    case $(mirror) in
        https:*)
            mkdir -p "$directory/etc/ssl/certs"
            [ ! -f /etc/ssl/certs/ca-certificates.crt ] || cp /etc/ssl/certs/ca-certificates.crt "$directory/etc/ssl/certs/"
            ;;
    esac
    # The room does not outlive a crash of the machine: packages need not wait until each file is on the disk.
    echo force-unsafe-io >"$directory/etc/dpkg/dpkg.cfg.d/casyncio"
    # No daemon may start from a package's installation: the room shares the host's network.
    printf '#!/bin/sh\nexit 101\n' >"$directory/usr/sbin/policy-rc.d"
    chmod 755 "$directory/usr/sbin/policy-rc.d"
    mkdir -p "$directory/root/casyncio"
}

if [ -n "$root" ]; then
    room=$root
    [ "$renew" = no ] || rm -rf --one-file-system "$room"
    if [ ! -e "$room/root/casyncio" ]; then
        rm -rf --one-file-system "$room" "$room.new"
        mkdir -p "$room.new"
        trap 'rm -rf --one-file-system "$room.new"' EXIT
        bare "$room.new"
        settle "$room.new"
        mv "$room.new" "$room"
        trap - EXIT
    fi
    shared=$repository
else
    room=$(mktemp -d "${CASYNCIO_FRESH_CACHE:-/var/tmp}/casyncio-fresh.XXXXXX")
    chmod 755 "$room"
    # The room's mounts live in a namespace of their own and are gone with it: removing the tree cannot reach the host's /dev.
    leave() { if [ "${KEEP:-}" = 1 ]; then echo "fresh.sh: kept $room" >&2; else rm -rf --one-file-system "$room"; fi; }
    trap leave EXIT
    bare "$room"
    settle "$room"
    shared=''
    if [ "$worktree" = yes ]; then
        git ls-files -z --cached --others --exclude-standard |
            while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done |
            tar --null -T - -cf - | tar -C "$room/root/casyncio" -xf -
        # The same footing as a clone: a git repository, all files known to it.
        git -C "$room/root/casyncio" init -q && git -C "$room/root/casyncio" add -A
    else
        git clone --quiet --no-hardlinks "$repository" "$room/root/casyncio"
    fi
fi

echo "== in a $([ -n "$root" ] && echo kept || echo bare) Debian $suite: $command"
environment=(HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 TERM="${TERM:-dumb}")
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
    [ -z "${!name:-}" ] || environment+=("$name=${!name}")
done
# A process namespace too: whatever the command left running ends with it.
# shellcheck disable=SC2016
unshare --mount --pid --fork --kill-child bash -c '
    set -e
    room=$1 shared=$2 command=$3
    shift 3
    mount --make-rprivate /
    mount -t proc proc "$room/proc"
    mount -t sysfs -o ro sysfs "$room/sys"
    mount --rbind /dev "$room/dev"
    if [ -n "$shared" ]; then
        mount --bind "$shared" "$room/root/casyncio"
        mount -t tmpfs -o mode=1777 tmpfs "$room/tmp"
    fi
    exec env -i "$@" chroot "$room" /bin/bash -c "cd /root/casyncio && $command"
' fresh "$room" "$shared" "$command" "${environment[@]}" </dev/null
