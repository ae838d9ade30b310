#!/bin/bash
# Shows that a stranger's first commands work: a new Debian 12 tree with nothing but git and make added, in mount and
# pid namespaces of its own, a clone of this repository, `make demo`, `make demo` again and `make test`.
#
# Usage: tools/fresh.sh [--rebuild] [--worktree] [--keep] [COMMAND...]
#   --rebuild   debootstrap again instead of taking the cached base tree
#   --worktree  take the files as they are instead of a clone of HEAD
#   --keep      leave the tree, and say where it is
#   COMMAND     what to run in the clone instead of the three
#
# The mirror, proxies, certificates and pip's configuration are those of this machine.
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
suite=bookworm
cache=${OPENHTC_FRESH_CACHE:-/var/cache/openhtc}
rebuild=no worktree=no keep=no
while [ $# -gt 0 ]; do
    case $1 in
        --rebuild) rebuild=yes ;;
        --worktree) worktree=yes ;;
        --keep) keep=yes ;;
        *) break ;;
    esac
    shift
done
[ $# -gt 0 ] || set -- "make demo" "make demo" "make test"
[ "$(id -u)" -eq 0 ] || { echo "fresh: root is needed for debootstrap and mounts" >&2; exit 1; }

say() { echo "fresh: $*"; }

# The URI of this machine's Debian mirror, from either form of apt's configuration.
debian_mirror() {
    apt-get indextargets --format '$(SITE)|$(RELEASE)' 'Created-By: Packages' | sed -n "s/|$suite\$//p" | head -n 1
}

build_base() {
    command -v debootstrap >/dev/null || DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends debootstrap
    local mirror
    mirror=$(debian_mirror)
    [ -n "$mirror" ] || { echo "fresh: apt on this machine knows no mirror of $suite" >&2; exit 1; }
    rm -rf "$cache/base.new"
    mkdir -p "$cache"
    debootstrap --variant=minbase --include=git,make "$suite" "$cache/base.new" "$mirror" >"$cache/debootstrap.log" 2>&1 ||
        { tail -n 20 "$cache/debootstrap.log" >&2; exit 1; }
    mv "$cache/base.new" "$cache/base"
}

# How this machine reaches Debian and PyPI; nothing else of it.
copy_access() {
    local tree=$1 name
    rm -f "$tree/etc/apt/sources.list"
    cp -a /etc/apt/sources.list.d "$tree/etc/apt/"
    [ ! -e /etc/apt/sources.list ] || cp /etc/apt/sources.list "$tree/etc/apt/"
    for name in /etc/apt/apt.conf.d/*; do
        ! grep -q '^Acquire' "$name" || cp -L "$name" "$tree/etc/apt/apt.conf.d/"
    done
    cp -L /etc/resolv.conf /etc/hosts "$tree/etc/"
    [ ! -e /etc/pip.conf ] || cp -L /etc/pip.conf "$tree/etc/"
    mkdir -p "$tree/etc/ssl" "$tree/usr/local/share"
    [ ! -d /etc/ssl/certs ] || cp -rL /etc/ssl/certs "$tree/etc/ssl/" 2>/dev/null || true
    [ ! -d /usr/local/share/ca-certificates ] || cp -rL /usr/local/share/ca-certificates "$tree/usr/local/share/"
}

access_environment() {
    env | grep -iE '^((https?|ftp|all|no)_proxy|PIP_[A-Z_]+|SSL_CERT_(FILE|DIR)|CURL_CA_BUNDLE|REQUESTS_CA_BUNDLE|GIT_SSL_CAINFO)=' |
        grep -v '^PIP_FIND_LINKS=' || true
}

copy_sources() {
    local target=$1
    if [ "$worktree" = yes ]; then
        mkdir -p "$target"
        (cd "$repository" && git ls-files -co --exclude-standard -z | xargs -0 tar -cf - --) | tar -xf - -C "$target"
    else
        git clone -q --no-hardlinks "$repository" "$target"
    fi
}

# The tree becomes the root (a chroot could not make user namespaces); kernel file systems come along.
write_entry() {
    cat >"$1" <<'ENTRY'
set -euo pipefail
tree=$1; shift
mount --bind "$tree" "$tree"
mount -t proc proc "$tree/proc"
mount --rbind /sys "$tree/sys"
mount --rbind /dev "$tree/dev"
mountpoint -q "$tree/dev/shm" || { mkdir -p "$tree/dev/shm"; mount -t tmpfs -o mode=1777 tmpfs "$tree/dev/shm"; }
mount -t tmpfs -o mode=755 tmpfs "$tree/run"
mkdir -p "$tree/.old"
cd "$tree"
pivot_root . .old
cd /
umount -l /.old
rmdir /.old
exec bash /.fresh-commands "$@"
ENTRY
}

write_commands() {
    cat >"$1" <<'COMMANDS'
set -uo pipefail
cd /openhtc
for command in "$@"; do
    echo "fresh: ===== $command"
    began=$(date +%s.%N)
    bash -c "$command"
    code=$?
    printf 'fresh: ===== %s: exit code %d after %.1f s\n' "$command" "$code" "$(echo "$began $(date +%s.%N)" | awk '{ print $2 - $1 }')"
    [ "$code" -eq 0 ] || exit "$code"
done
COMMANDS
}

if [ "$rebuild" = yes ]; then rm -rf "$cache/base"; fi
if [ -d "$cache/base" ]; then
    say "using the cached base tree $cache/base (of $(date -r "$cache/base" +%F); --rebuild makes it anew)"
else
    began=$(date +%s)
    build_base
    say "debootstrapped a base tree in $(($(date +%s) - began)) s"
fi
mkdir -p "$cache"
tree=$(mktemp -d "$cache/tree.XXXXXX")
clean_up() {
    if [ "$keep" = yes ]; then say "the tree stays at $tree"; else rm -rf --one-file-system "$tree"; fi
}
trap clean_up EXIT
chmod 755 "$tree"
cp -a "$cache/base/." "$tree/"
copy_access "$tree"
copy_sources "$tree/openhtc"
write_entry "$tree/.fresh-entry"
write_commands "$tree/.fresh-commands"
mapfile -t environment < <(access_environment)
say "$(grep PRETTY_NAME "$tree/etc/os-release" | cut -d= -f2), $(nproc) cores, $(git -C "$repository" rev-parse --short HEAD 2>/dev/null || echo 'no commit')"
env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM="${TERM:-dumb}" \
    "${environment[@]}" \
    unshare --mount --pid --fork --kill-child --propagation private bash "$tree/.fresh-entry" "$tree" "$@" &
inner=$!
trap 'kill "$inner" 2>/dev/null || true' TERM INT # everything in there ends with it
wait "$inner"
