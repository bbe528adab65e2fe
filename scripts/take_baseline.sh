#!/usr/bin/env bash
# Writes baseline.yaml from what the signals are now. With no target configured, it measures the sandbox, and starts
# a healthy one where none runs.

set -euo pipefail
# shellcheck source=scripts/environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

build_leverd

if ! target_is_configured && ! sandbox_is_up; then
    say "No target is configured: starting a healthy sandbox to measure."
    # It takes its baseline before it reports that it is up.
    "$LEVERD" sandbox up --scenario healthy
    exit 0
fi
"$LEVERD" baseline
