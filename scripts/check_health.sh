#!/usr/bin/env bash
# Is everything that leverd needs there, and does it answer? Exit 0 when it does.

set -euo pipefail
# shellcheck source=scripts/environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

build_leverd

if target_is_configured; then
    "$LEVERD" check
elif sandbox_is_up; then
    "$LEVERD" sandbox status
    "$LEVERD" check
else
    say "Nothing to check: no target is configured, and no sandbox runs."
    say "hint: give config/leverd.yaml a \`target:\`, or start a sandbox: $LEVERD sandbox up"
    exit 75
fi
