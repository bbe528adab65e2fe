#!/usr/bin/env bash
# Installs what leverd needs, and only what is missing.
#
#   scripts/setup.sh --for run     Rust, a C compiler, Postgres' server programs, Prometheus
#   scripts/setup.sh --for test    the same, and promtool, Alertmanager, other exporters to compare with, PgBouncer,
#                                  MariaDB, on Linux a container engine with compose, rustfmt, clippy, and
#                                  PostgreSQL 12 to 18 under .leverd/postgres
#   scripts/setup.sh --for bench   all of that, and the tools that a migration is compared with: pgcopydb, pgloader
#
# Debian and Ubuntu by apt, macOS by brew, Rust by rustup. What is there is found by looking for the programs, so a
# run with everything in place changes nothing and asks no network. Nothing that it installs is left running, and
# nothing is started at boot: leverd's sandbox starts servers of its own.

set -euo pipefail
# shellcheck source=scripts/environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

usage() {
    say "usage: scripts/setup.sh --for run|test|bench"
    exit 64
}

PURPOSE=run
while [ $# -gt 0 ]; do
    case "$1" in
        --for)
            [ $# -ge 2 ] || usage
            PURPOSE="$2"
            shift 2
            ;;
        *) usage ;;
    esac
done
case "$PURPOSE" in
    run) WITH_TESTS="" ;;
    test | bench) WITH_TESTS=yes ;;
    *) usage ;;
esac

SYSTEM="$(uname -s)"
MIN_RUST="$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' Cargo.toml)"
POLICY=/usr/sbin/policy-rc.d
NO_CLUSTER=/etc/postgresql-common/createcluster.d/leverd-setup.conf
MARK="written by leverd's scripts/setup.sh while it installs; safe to remove"

# --- What is there -------------------------------------------------------------------------------------------------

has() { command -v "$1" >/dev/null 2>&1; }

has_postgres() {
    local folder
    for folder in /usr/lib/postgresql/*/bin /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin; do
        if [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ]; then return 0; fi
    done
    has initdb && has postgres
}

# An Oracle MySQL counts: apt would take it away to make room for MariaDB. The tests and benches tell the two apart.
has_mysql_server() {
    local program
    for program in mariadbd mysqld; do
        if has "$program" || [ -x "/usr/sbin/$program" ] || [ -x "/usr/libexec/$program" ]; then return 0; fi
    done
    [ -x /opt/homebrew/opt/mariadb/bin/mariadbd ] || [ -x /usr/local/opt/mariadb/bin/mariadbd ]
}

has_c_compiler() {
    # On macOS /usr/bin/cc is always there, and without the command line tools only asks for them.
    if [ "$SYSTEM" = Darwin ]; then xcode-select -p >/dev/null 2>&1; else has cc; fi
}

# at_least 1.95 1.100.0: is the second version not older than the first?
at_least() {
    awk -v want="$1" -v have="$2" 'BEGIN {
        split(want, w, "."); split(have, h, ".")
        for (i = 1; i <= 3; i++) if (h[i] + 0 != w[i] + 0) exit !(h[i] + 0 > w[i] + 0)
        exit 0
    }'
}

has_rust() {
    has cargo && has rustc && at_least "$MIN_RUST" "$(rustc --version 2>/dev/null | awk '{ print $2 }')"
}

has_rust_linters() {
    cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1
}

# --- Rights --------------------------------------------------------------------------------------------------------

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# --- Debian, Ubuntu ------------------------------------------------------------------------------------------------

# While packages are unpacked, two things of ours stand on the system, and both go again before we leave:
# - policy-rc.d keeps dpkg from starting the packages' services (a container image usually has its own: left alone);
# - a drop-in keeps Debian's postgresql from creating and starting a cluster `main` that nobody asked for.
hold_services() {
    if [ ! -e "$POLICY" ]; then
        printf '#!/bin/sh\n# %s\nexit 101\n' "$MARK" | as_root tee "$POLICY" >/dev/null
        as_root chmod 755 "$POLICY"
    fi
    if [ ! -e "$NO_CLUSTER" ]; then
        as_root mkdir -p "$(dirname "$NO_CLUSTER")"
        printf '# %s\ncreate_main_cluster = false\n' "$MARK" | as_root tee "$NO_CLUSTER" >/dev/null
    fi
}

release_services() {
    local file
    for file in "$POLICY" "$NO_CLUSTER"; do
        if grep -qsF "$MARK" "$file"; then as_root rm -f "$file"; fi
    done
}

# The packages enable their services for the next boot; those that we brought stay off.
disable_new_services() {
    local package service
    has systemctl || return 0
    for package in "$@"; do
        case "$package" in
            prometheus* | pgbouncer | docker.io | mariadb-server)
                service="${package%.io}"
                service="${service%-server}"
                as_root systemctl disable "$service.service" >/dev/null 2>&1 ||
                    say "setup: could not disable the service $service: it starts at the next boot"
                ;;
        esac
    done
}

apt_install() {
    if [ "$(id -u)" -ne 0 ] && ! has sudo; then
        fail "packages are missing, installing them needs root, and there is no sudo: $*" \
            "as root: apt-get install $*"
    fi
    say "setup: installing with apt: $*"
    trap release_services EXIT
    trap 'exit 130' INT TERM
    hold_services
    as_root apt-get update -q -o DPkg::Lock::Timeout=300 ||
        say "setup: some package lists could not be refreshed; going on with those at hand"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
        -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold "$@" ||
        fail "apt could not install: $*" "the lines above say why; then run make again"
    disable_new_services "$@"
    release_services
    trap - EXIT INT TERM
}

# --- macOS ---------------------------------------------------------------------------------------------------------

brew_install() {
    has brew || fail "Homebrew is needed to install: $*" "https://brew.sh has its one-line installation"
    say "setup: installing with brew: $*"
    brew install "$@"
}

# --- The packages that are missing ---------------------------------------------------------------------------------

MISSING=""
# need PACKAGE_ON_DEBIAN FORMULA_ON_MACOS: notes a package to install.
need() {
    if [ "$SYSTEM" = Darwin ]; then MISSING="$MISSING $2"; else MISSING="$MISSING $1"; fi
}

if ! has_c_compiler; then
    [ "$SYSTEM" != Darwin ] || fail "a C compiler is needed" "run: xcode-select --install"
    need "gcc libc6-dev" ""
fi
has_postgres || need postgresql postgresql@18
has prometheus || need prometheus prometheus
if ! has_rust && ! has curl; then need "curl ca-certificates" ""; fi

if [ -n "$WITH_TESTS" ]; then
    has promtool || need prometheus prometheus
    has alertmanager || has prometheus-alertmanager || need prometheus-alertmanager alertmanager
    has pgbouncer || need pgbouncer pgbouncer
    has_mysql_server || need mariadb-server mariadb
    # Its tests need an engine of their own, which takes root: not on macOS.
    [ "$SYSTEM" = Darwin ] || has dockerd || need docker.io ""
    [ "$SYSTEM" = Darwin ] || has docker-compose || need docker-compose ""
    has prometheus-node-exporter || has node_exporter || need prometheus-node-exporter node_exporter
    has prometheus-postgres-exporter || has postgres_exporter ||
        need prometheus-postgres-exporter postgres_exporter
    if ! ./scripts/postgres_versions.sh --check; then
        has node || need nodejs node
        has npm || need npm node
    fi
fi

if [ "$PURPOSE" = bench ]; then
    has python3 || need python3 python3
    has pgcopydb || need pgcopydb pgcopydb
    has pgloader || need pgloader pgloader
fi

CHANGED=""
if [ -n "$MISSING" ]; then
    # One package may be wanted for two reasons.
    # shellcheck disable=SC2086 # a list of words
    MISSING="$(printf '%s\n' $MISSING | awk '!seen[$0]++' | tr '\n' ' ')"
    case "$SYSTEM" in
        Darwin)
            # shellcheck disable=SC2086 # a list of words
            brew_install $MISSING
            ;;
        Linux)
            has apt-get || fail "this system has no apt; please install by hand:$MISSING" \
                "the names are Debian's; then run make again"
            # shellcheck disable=SC2086 # a list of words
            apt_install $MISSING
            ;;
        *) fail "leverd runs on Linux and macOS, and this is $SYSTEM" ;;
    esac
    CHANGED=yes
fi

# --- Rust ----------------------------------------------------------------------------------------------------------

if ! has_rust; then
    CHANGED=yes
    if has rustup; then
        say "setup: updating Rust (at least $MIN_RUST is needed) with rustup"
        rustup toolchain install stable --profile minimal
        # The person's default toolchain stays what it is; this folder alone uses stable where the default is older.
        has_rust || rustup override set stable
    else
        say "setup: installing Rust (at least $MIN_RUST is needed) with rustup into ${CARGO_BIN%/bin}"
        # An older Rust of the distribution may stay: ours comes first on the PATH of these scripts.
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
            RUSTUP_INIT_SKIP_PATH_CHECK=yes sh -s -- -y --profile minimal --no-modify-path ||
            fail "Rust could not be installed by rustup" "the lines above say why; https://rustup.rs has other ways"
    fi
    hash -r
    has_rust || fail "Rust is still older than $MIN_RUST: $(rustc --version 2>&1 || true)" \
        "run: rustup update stable"
fi

if [ -n "$WITH_TESTS" ] && ! has_rust_linters; then
    CHANGED=yes
    has rustup || fail "cargo fmt and cargo clippy are needed" "install Rust's rustfmt and clippy"
    say "setup: adding rustfmt and clippy with rustup"
    rustup component add rustfmt clippy
fi

# --- PostgreSQL 12 to 18 -------------------------------------------------------------------------------------------

if [ -n "$WITH_TESTS" ] && ! ./scripts/postgres_versions.sh --check; then
    CHANGED=yes
    ./scripts/postgres_versions.sh
fi

if [ -n "$CHANGED" ]; then
    say "setup: done"
fi
