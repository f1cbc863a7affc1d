#!/usr/bin/env bash
# Installs what building and running need and this machine lacks: a C compiler and a PostgreSQL server. With `test` also
# what some tests run against, and skip where it cannot be had: Alertmanager, Chromium with its driver, and packages
# from PyPI and npm, which go into the target folder.
# As root, or with a sudo that asks nothing. It starts no server and leaves no cluster: Debunk and its tests run their own.
set -euo pipefail

oldest_postgres=15

die() {
    echo "install: $*" >&2
    exit 3
}

# The newest server that is installed, as Debunk looks for it.
has_postgres() {
    local folder
    for folder in /usr/lib/postgresql/*/bin; do
        if [[ -x $folder/initdb && $(basename "$(dirname "$folder")") -ge $oldest_postgres ]]; then return 0; fi
    done
    # Elsewhere its binaries are on the path.
    command -v pg_config >/dev/null && [[ -x $(pg_config --bindir)/initdb ]] || return 1
    local version
    version=$(pg_config --version)
    version=${version#PostgreSQL }
    [[ ${version%%[^0-9]*} -ge $oldest_postgres ]]
}

for_tests=
if [[ ${1:-} == test ]]; then for_tests=1; fi
tools=${CARGO_TARGET_DIR:-target}/tools

# Packages from PyPI and npm that tests read or run, as tests/tools lists them.
fetch() {
    local list=tests/tools stamp
    stamp=$(cat "$list"/* | cksum)
    [[ $stamp != "$(cat "$tools/stamp" 2>/dev/null)" ]] || return 0
    echo "install: packages for tests from PyPI and npm" >&2
    rm -rf "$tools" && mkdir -p "$tools" || return
    python3 -m venv "$tools/python" || return
    # The list is whole, so nothing that it does not name is brought along.
    "$tools/python/bin/pip" install -q --no-input --no-deps -r "$list/requirements.txt" || return
    # Where there is no npm, what needs it is skipped: Debian's brings four hundred packages.
    if command -v npm >/dev/null; then
        cp "$list"/package*.json "$tools" && npm ci --silent --no-audit --no-fund --ignore-scripts --prefix "$tools" || return
    fi
    echo "$stamp" >"$tools/stamp"
}

finish() {
    if [[ $for_tests ]] && ! fetch >&2; then
        echo "install: tests that need packages from PyPI or npm are skipped, as these cannot be had" >&2
    fi
    exit 0
}

command -v cargo >/dev/null || die "no cargo: install Rust first, see https://rustup.rs (Cargo.toml says which version)"

missing=()
command -v cc >/dev/null || missing+=(gcc libc6-dev)
has_postgres || missing+=(postgresql)
wanted=()
want() {
    if [[ $for_tests && ! -x $1 ]]; then wanted+=("${@:2}"); fi
}
want /usr/bin/prometheus-alertmanager prometheus-alertmanager
want /usr/bin/chromium chromium
want /usr/bin/chromedriver chromium-driver
if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then want "" python3-venv; fi
if [[ ${#missing[@]} == 0 && ${#wanted[@]} == 0 ]]; then
    finish
fi

# Whoever can install nothing runs without what is only wanted.
if [[ ${#missing[@]} == 0 ]] && { ! command -v apt-get || [[ $(id -u) != 0 ]] && ! sudo -n true; } >/dev/null 2>&1; then
    echo "install: tests that need ${wanted[*]} are skipped, as it cannot be installed" >&2
    finish
fi

command -v apt-get >/dev/null ||
    die "this machine has no apt-get; install a C compiler and a PostgreSQL server ($oldest_postgres or later) yourself"

if [[ $(id -u) == 0 ]]; then
    as_root=()
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
else
    die "missing: ${missing[*]}. Neither root nor a sudo without a password: run this once yourself:  apt-get install ${missing[*]}"
fi

log=$(mktemp)
dropin=/etc/postgresql-common/createcluster.d/debunk.conf
policy=/usr/sbin/policy-rc.d
forbidden=
# Only for the moment of the installation: later ones are their owner's business.
trap '"${as_root[@]}" rm -f "$dropin" $forbidden; rm -f "$log"' EXIT

quietly() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive "$@" >"$log" 2>&1 </dev/null || {
        cat "$log" >&2
        die "failed: $*"
    }
}

packages() {
    quietly apt-get install -q -y --no-install-recommends -o Dpkg::Options::=--force-confold "$@"
}

echo "install: ${missing[*]} ${wanted[*]}" >&2
quietly apt-get update -q
if [[ " ${missing[*]} " == *" postgresql "* ]]; then
    # The package makes and starts a cluster of its own, unless told before that it should not.
    packages postgresql-common
    quietly mkdir -p "$(dirname "$dropin")"
    quietly sh -c "echo 'create_main_cluster = false' >'$dropin'"
fi
if [[ ${#missing[@]} -gt 0 ]]; then packages "${missing[@]}"; fi
if [[ ${#wanted[@]} -gt 0 ]]; then
    # Its package would start a service, now and with the machine.
    if [[ ! -e $policy ]]; then
        forbidden=$policy
        quietly sh -c "printf '#!/bin/sh\nexit 101\n' >'$policy' && chmod +x '$policy'"
    fi
    packages "${wanted[@]}"
    if command -v systemctl >/dev/null && [[ " ${wanted[*]} " == *" prometheus-alertmanager "* ]]; then
        quietly sh -c "systemctl disable --now prometheus-alertmanager || true"
    fi
fi
has_postgres || die "the package postgresql brought no server of version $oldest_postgres or later; see https://www.postgresql.org/download"
finish
