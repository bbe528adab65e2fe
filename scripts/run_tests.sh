#!/usr/bin/env bash
# Runs all tests: first those that wait more than they compute, side by side; then those that measure, one by one.
#
# Where other guests of the machine's host took CPU time meanwhile, what failed is run again by itself: a rig that is
# scraped five times a second misses scrapes when its CPU is away for half a second. On a machine of its own nothing is
# run again. Whatever was is named at the end. Nothing is run again once LATEST seconds are over.

set -euo pipefail
# shellcheck source=scripts/environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

# Percent of the CPUs' time that others may take before a failure may be theirs.
STOLEN=1
ROUNDS=2
LATEST=2700

# Words without spaces, as the Makefile has them.
FLAGS="${CARGO_FLAGS:-}"
LOG="$(mktemp)"
trap 'rm -f "$LOG"' EXIT
AGAIN=""

# All of the CPUs' time so far and what a hypervisor gave to others, in ticks; elsewhere than on Linux none.
cpu_times() {
    if [ -r /proc/stat ]; then
        awk '/^cpu / { printf "%.0f %.0f\n", $2 + $3 + $4 + $5 + $6 + $7 + $8 + $9, $9 }' /proc/stat
    else
        echo "0 0"
    fi
}

# stolen "ALL STOLEN" "ALL STOLEN": percent between two readings.
stolen() {
    awk -v before="$1" -v after="$2" 'BEGIN {
        split(before, b, " "); split(after, a, " ")
        all = a[1] - b[1]
        share = (all > 0) ? 100 * (a[2] - b[2]) / all : 0
        printf "%.1f", share
    }'
}

# run "WHICH BINARY" ARGUMENTS...: its tests, and again what failed where the machine was disturbed.
run() {
    local which="$1" before share failed round
    shift
    before="$(cpu_times)"
    # shellcheck disable=SC2086
    if cargo test $FLAGS $which -- "$@" 2>&1 | tee "$LOG"; then return 0; fi
    for round in $(seq "$ROUNDS"); do
        failed="$(sed -n 's/^test \([^ ]*\).* \.\.\. FAILED$/\1/p' "$LOG" | sort -u)"
        share="$(stolen "$before" "$(cpu_times)")"
        # No name: it did not compile, or the process died.
        if [ -z "$failed" ] || awk -v share="$share" -v most="$STOLEN" 'BEGIN { exit !(share + 0 <= most) }'; then return 1; fi
        if [ "$SECONDS" -gt "$LATEST" ]; then
            printf '\n%s %% of the CPUs'"'"' time went to other guests of the host; too late to run anything again\n' "$share"
            return 1
        fi
        printf '\n%s %% of the CPUs'"'"' time went to other guests of the host. By itself again (round %d of %d):\n%s\n\n' \
            "$share" "$round" "$ROUNDS" "$failed"
        AGAIN="$AGAIN$failed"$'\n'
        before="$(cpu_times)"
        # shellcheck disable=SC2086
        if cargo test $FLAGS $which -- --exact $failed --test-threads=1 2>&1 | tee "$LOG"; then return 0; fi
    done
    return 1
}

# shellcheck disable=SC2086
cargo test $FLAGS --no-run
THREADS="$(($(getconf _NPROCESSORS_ONLN) * 3 / 2))"
run "--lib" --test-threads="$THREADS"
run "--test integration" --skip measured:: --test-threads="$THREADS"
run "--test integration" measured:: --test-threads=1

if [ -n "$AGAIN" ]; then
    printf '\npassed; on a disturbed machine, these by themselves:\n%s' "$AGAIN"
fi
