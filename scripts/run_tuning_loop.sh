#!/usr/bin/env bash
# The whole tuning loop: until the levels are met, or for MAX_CYCLES load cycles.
#
#   ./scripts/run_tuning_loop.sh
#   MAX_CYCLES=5 ./scripts/run_tuning_loop.sh
#   SCENARIO=spilling-sorts ./scripts/run_tuning_loop.sh
#
# With a target configured (config/leverd.yaml has `target:`, or LEVERD_CONFIG names a file) it tunes that. With none,
# it tunes the sandbox: a Postgres, a Prometheus and a load of its own, mis-set as SCENARIO says (default: wal-storm).

set -euo pipefail
# shellcheck source=scripts/environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

case "${MAX_CYCLES:-1}" in
    *[!0-9]* | 0*) fail "MAX_CYCLES is \"$MAX_CYCLES\", and must be a whole number from 1" "MAX_CYCLES=5 $0" ;;
esac

build_leverd

if target_is_configured; then
    ON_SANDBOX=""
    # What a person once called normal is never overwritten here.
    "$LEVERD" baseline --if-missing
else
    ON_SANDBOX=yes
    if [ -n "${SCENARIO:-}" ] && sandbox_is_up; then
        say "A sandbox is running; SCENARIO asks for a fresh one."
        "$LEVERD" sandbox down
    fi
    if sandbox_is_up; then
        say "No target is configured: tuning the sandbox that is running."
    else
        say "No target is configured: starting a sandbox, scenario ${SCENARIO:-wal-storm}."
        "$LEVERD" sandbox up --scenario "${SCENARIO:-wal-storm}"
    fi
fi

# The state is shown also when tuning failed; the exit code is that of `tune`.
CODE=0
"$LEVERD" tune ${MAX_CYCLES:+--cycles "$MAX_CYCLES"} || CODE=$?
say ""
"$LEVERD" status || true

if [ -n "$ON_SANDBOX" ]; then
    say ""
    "$LEVERD" sandbox status || true
    say ""
    say "Read why:      $LEVERD history, and CHANGELOG_TUNING.md"
    say "Undo all:      $LEVERD rollback --all"
    say "Stop it:       $LEVERD sandbox down"
    say "Your own:      give config/leverd.yaml a \`target:\`, then run this again"
fi
exit "$CODE"
