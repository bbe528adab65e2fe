# shellcheck shell=bash
# Sourced by the other scripts: where the checkout is, which leverd to run, how to speak.
# Works with the bash 3.2 of macOS.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
cd "$ROOT" || exit 1

# rustup puts cargo here; a shell that was open before the installation does not know it yet.
CARGO_BIN="${CARGO_HOME:-$HOME/.cargo}/bin"
case ":$PATH:" in
    *":$CARGO_BIN:"*) ;;
    *) PATH="$CARGO_BIN:$PATH" ;;
esac
export PATH

# Where `cargo build` puts the program. CARGO_TARGET_DIR is cargo's own variable.
# shellcheck disable=SC2034 # used by the scripts that source this
LEVERD="${LEVERD:-${CARGO_TARGET_DIR:-target}/debug/leverd}"

# Progress goes to stderr: stdout is data.
say() { printf '%s\n' "$*" >&2; }

fail() {
    say "error: $1"
    [ $# -lt 2 ] || say "hint: $2"
    exit 1
}

# Installs what is missing and builds leverd; quick when there is nothing to do. The Makefile has done both.
build_leverd() {
    [ -z "${LEVERD_IS_BUILT:-}" ] || return 0
    ./scripts/setup.sh --for run
    cargo build
}

# True where a target is configured: by LEVERD_CONFIG, or by an uncommented `target:` in config/leverd.yaml.
target_is_configured() {
    [ -n "${LEVERD_CONFIG:-}" ] || grep -Eqs '^target:' config/leverd.yaml
}

sandbox_is_up() {
    "$LEVERD" sandbox status >/dev/null 2>&1
}
