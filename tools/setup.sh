#!/bin/bash
# Makes this clone ready: Debian packages that are missing, .venv from the hashed lock, and the native runtime's program.
# Usage: tools/setup.sh run|dev      A second run finds everything and changes nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

kind=${1:-run}
[ "$kind" = run ] || [ "$kind" = dev ] || { echo "usage: tools/setup.sh run|dev" >&2; exit 2; }

say() { echo "setup: $*"; }
fail() { echo "setup: $*" >&2; exit 1; }

wanted_packages() {
    awk -v kind="$kind" '!/^#/ && NF && ($2 == "run" || kind == "dev") { print $1 }' tools/debian-packages.txt
}

missing_packages() {
    local installed
    # Everything that is installed, by name and by what it provides; one query takes 30 ms, one for each name a second.
    installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p')
    comm -23 <(wanted_packages | sort) <(sort <<<"$installed")
}

is_installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

update_lists_if_old() {
    [ -n "$(find /var/lib/apt/lists -name '*_Packages*' -mtime -7 -print -quit 2>/dev/null)" ] || quietly apt-get update -q
}

# Hundreds of lines that nobody reads, unless it fails.
quietly() {
    local log
    log=$(mktemp)
    if "$@" >"$log" 2>&1; then
        rm -f "$log"
    else
        tail -n 40 "$log" >&2
        rm -f "$log"
        return 1
    fi
}

apt_install() {
    local install=(apt-get install -y -q --no-install-recommends "$@")
    quietly "${install[@]}" || { say "trying again with new package lists"; quietly apt-get update -q && quietly "${install[@]}"; }
}

# The packages of PostgreSQL and of the registry start services of their own when they are installed. openhtc runs
# its own, so nothing of that is wanted; what was installed before is left as it is.
install_packages() {
    local keep_quiet=/etc/postgresql-common/createcluster.d/openhtc-setup.conf
    local policy=/usr/sbin/policy-rc.d
    local made=() fresh_registry=no
    export DEBIAN_FRONTEND=noninteractive
    update_lists_if_old
    if ! is_installed postgresql-common; then
        mkdir -p "$(dirname "$keep_quiet")"
        echo "create_main_cluster = false" >"$keep_quiet"
        made+=("$keep_quiet")
    fi
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        made+=("$policy")
    fi
    trap 'rm -f "${made[@]}"' RETURN
    trap 'rm -f "${made[@]}"' EXIT
    is_installed docker-registry || fresh_registry=yes
    apt_install "$@"
    if [ "$fresh_registry" = yes ] && is_installed docker-registry && command -v systemctl >/dev/null; then
        systemctl disable docker-registry.service >/dev/null 2>&1 || true
    fi
}

setup_system() {
    local missing
    command -v dpkg-query >/dev/null || fail "this is not Debian: install what tools/debian-packages.txt lists yourself"
    mapfile -t missing < <(missing_packages)
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" -ne 0 ]; then
        fail "Debian packages are missing; as root: apt-get install --no-install-recommends ${missing[*]}"
    fi
    say "installing the Debian packages ${missing[*]}"
    install_packages "${missing[@]}"
}

find_python() {
    local candidate
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return 0
        fi
    done
    fail "Python 3.11 or newer is needed; found $(python3 --version 2>&1 || echo none)"
}

fingerprint() { cat "requirements/$1.txt" pyproject.toml | sha256sum | cut -d' ' -f1; }

setup_python() {
    local python
    # What dev installs contains what run installs.
    for done_kind in dev "$kind"; do
        if [ -x .venv/bin/python ] && [ "$(cat ".venv/openhtc-$done_kind" 2>/dev/null)" = "$(fingerprint "$done_kind")" ]; then
            return 0
        fi
    done
    python=$(find_python)
    # A virtual environment that was moved or whose Python has gone is made anew.
    .venv/bin/python -c '' 2>/dev/null || { say "making .venv with $python"; rm -rf .venv; "$python" -m venv .venv; }
    say "installing Python packages from requirements/$kind.txt"
    .venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r "requirements/$kind.txt"
    .venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
    fingerprint "$kind" >".venv/openhtc-$kind"
}

setup_system
setup_python
tools/build-native.sh
