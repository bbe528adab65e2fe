#!/usr/bin/env bash
# Ends the stack of docker-compose.yml, in every profile.
#
#   ./scripts/dev_down.sh               its data stays for the next dev_up.sh
#   ./scripts/dev_down.sh --volumes     the database and what Prometheus and Grafana have kept are gone
#
# What leverd changed in monitoring/postgresql.conf and .env stays as it is, and its records under .leverd/compose/state
# too. To have the changes undone, before:
#   docker compose stop leverd && docker compose run --rm leverd rollback --all

set -euo pipefail
# shellcheck source=scripts/environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

VOLUMES=""
case "$#:${1:-}" in
    0:) ;;
    1:--volumes) VOLUMES=--volumes ;;
    *)
        say "usage: scripts/dev_down.sh [--volumes]"
        exit 64
        ;;
esac

if docker compose version >/dev/null 2>&1; then
    COMPOSE=(docker compose)
elif command -v docker-compose >/dev/null 2>&1; then
    COMPOSE=(docker-compose)
else
    fail "there is no docker with compose, so nothing of the stack can be running"
fi

# A container of a profile that is not asked for is no part of the stack, and would be left.
export COMPOSE_PROFILES=linux,macos,pool
"${COMPOSE[@]}" down --remove-orphans $VOLUMES
