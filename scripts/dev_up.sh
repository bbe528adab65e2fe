#!/usr/bin/env bash
# Starts the stack of docker-compose.yml and waits until all of it is healthy.
#
#   ./scripts/dev_up.sh
#   LEVERD_ENVIRONMENT=staging ./scripts/dev_up.sh      with staging's levels and alerts
#   POOL=yes ./scripts/dev_up.sh                        with a PgBouncer between the load and Postgres
#   POSTGRES_PORT=5433 ./scripts/dev_up.sh              where this machine has a Postgres on 5432 already; the same for
#                                                       LOAD, LEVERD, PROMETHEUS, ALERTMANAGER, GRAFANA,
#                                                       POSTGRES_EXPORTER, NODE_EXPORTER and CADVISOR
#   LEVERD_IMAGE=leverd:0.1.0 ./scripts/dev_up.sh       an image that is there already; without it one is built
#
# What it makes, it makes once: the secrets, the folders under .leverd/compose, and .env. Running it again with nothing
# changed changes nothing; what the variables above say counts until the next run. Nothing is installed: Docker with
# compose must be there.

set -euo pipefail
# shellcheck source=scripts/environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

SECRETS=.leverd/secrets
PLACE=.leverd/compose
ENV_FILE="$PLACE/app/.env"
# As docker-compose.yml names it.
DATABASE_VOLUME=leverd-postgres-data
# As docker-compose.yml has them.
PORTS=(POSTGRES=5432 LOAD=8000 LEVERD=9188 PROMETHEUS=9091 ALERTMANAGER=9093 GRAFANA=3000 POSTGRES_EXPORTER=9187
    NODE_EXPORTER=9100 CADVISOR=8080)
# Seconds; images are pulled and built before it begins.
HEALTHY_WITHIN="${HEALTHY_WITHIN:-300}"

# --- Docker --------------------------------------------------------------------------------------------------------

COMPOSE=()
find_compose() {
    command -v docker >/dev/null 2>&1 ||
        fail "there is no docker" "install Docker Engine or Docker Desktop; without it: make performance-tuning"
    local why
    why="$(docker info --format '{{.ServerVersion}}' 2>&1 >/dev/null)" ||
        fail "Docker does not answer: ${why##*$'\n'}" "start it, or join the group that may use it (often: docker)"
    if docker compose version >/dev/null 2>&1; then
        COMPOSE=(docker compose)
    elif command -v docker-compose >/dev/null 2>&1; then
        COMPOSE=(docker-compose)
    else
        fail "Docker has no compose" "install the compose plugin (Debian's package is docker-compose)"
    fi
}

# The user that the leverd container runs as, and where the engine's socket is on the engine's own machine.
find_identity() {
    local host unreadable
    # leverd keeps the owner of a file that it changes, and only the owner can do that without being root.
    [ -O monitoring/postgresql.conf ] ||
        fail "monitoring/postgresql.conf belongs to another user, as whom leverd would have to run" \
            "run this as the owner of the checkout"
    LEVERD_UID="$(id -u)"
    LEVERD_GID="$(id -g)"
    SOCKET=/var/run/docker.sock
    case "$(docker info --format '{{.OperatingSystem}} {{.SecurityOptions}}')" in
        # A rootless engine's root is the user who runs it.
        *name=rootless*) LEVERD_UID=0 LEVERD_GID=0 ;;
    esac
    [ "$(id -u)" -ne 0 ] ||
        say "note: this checkout is root's, so leverd runs as root in its container, without capabilities"
    # Elsewhere the engine is in a machine of its own, with its socket at the usual place, and files are everybody's.
    if [ "$PLATFORM" = linux ]; then
        host="${DOCKER_HOST:-$(docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null || true)}"
        case "$host" in
            */desktop/docker.sock) ;;
            unix://*) SOCKET="${host#unix://}" ;;
        esac
        unreadable="$(find monitoring config packaging/docker ! -perm -o=r)"
        [ -z "$unreadable" ] ||
            fail "the containers run as users of their own, who may not read ${unreadable%%$'\n'*}" \
                "chmod -R o+rX monitoring config packaging/docker"
    fi
    SOCKET="${LEVERD_DOCKER_SOCKET:-$SOCKET}"
}

# The group that the socket belongs to, as a container sees it.
group_of_socket() {
    docker run --rm --user 0 --network none --entrypoint stat --volume "$SOCKET:/socket" "${LEVERD_IMAGE:-leverd:dev}" \
        -c %g /socket
}

# --- Secrets -------------------------------------------------------------------------------------------------------

random_text() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

# secret NAME TEXT [MODE]: writes the file where there is none. Docker shows the files in the containers with owner and
# mode as they are here, and Prometheus, Grafana and others run there as users of their own: so it is the folder that
# keeps them private (0700), and not the files (0644).
secret() {
    [ ! -s "$SECRETS/$1" ] || return 0
    case "$1" in
        postgres_password | leverd_db_password | capsim_password | exporter_password)
            if docker volume inspect "$DATABASE_VOLUME" >/dev/null 2>&1; then
                fail "$SECRETS/$1 is gone, and the database of an earlier start still has its password" \
                    "bring the file back, or give the database up: ./scripts/dev_down.sh --volumes"
            fi
            ;;
    esac
    printf '%s' "$2" >"$SECRETS/$1.new"
    chmod "${3:-0644}" "$SECRETS/$1.new"
    mv "$SECRETS/$1.new" "$SECRETS/$1"
}

make_secrets() {
    local name userlist
    mkdir -p "$SECRETS"
    chmod 0700 "$SECRETS"
    for name in postgres_password leverd_db_password capsim_password exporter_password grafana_password; do
        secret "$name" "$(random_text)"
    done
    # leverd runs as this file's owner, and takes no token that everybody may read.
    secret leverd_api_token "$(random_text)" 0600
    copied leverd_client_token "$(cat "$SECRETS/leverd_api_token")"
    # What PgBouncer asks its clients for, and shows to Postgres.
    userlist="$(printf '"%s" "%s"\n' capsim "$(cat "$SECRETS/capsim_password")" \
        leverd "$(cat "$SECRETS/leverd_db_password")")"
    copied pgbouncer_userlist "$userlist"
}

# copied NAME TEXT: a secret that is made of others.
copied() {
    [ "$(cat "$SECRETS/$1" 2>/dev/null)" = "$2" ] || rm -f "$SECRETS/$1"
    secret "$1" "$2"
}

# --- Folders and .env ----------------------------------------------------------------------------------------------

make_folders() {
    local folder
    for folder in app pgbouncer state targets; do
        mkdir -p "$PLACE/$folder"
        # Docker makes a folder that is missing, as root's.
        [ -w "$PLACE/$folder" ] ||
            fail "$PLACE/$folder belongs to another user" "sudo chown -R $(id -u):$(id -g) $PLACE"
    done
    # Users of other numbers look into them.
    chmod 0755 "$PLACE/app" "$PLACE/pgbouncer" "$PLACE/targets"
    [ -e "$PLACE/pgbouncer/pgbouncer.ini" ] ||
        install -m 0644 packaging/docker/pgbouncer.ini "$PLACE/pgbouncer/pgbouncer.ini"
    # .env is the load's, for leverd to change, and compose's own. leverd puts a new file in its place, so the
    # containers get its folder, which must not be the whole checkout: the file is there, and .env a link to it.
    if [ -e .env ] && [ ! -L .env ]; then
        fail "there is a .env already, which the containers could not see change" \
            "mv .env $ENV_FILE, then run this again: it leaves a link"
    fi
    if [ ! -e "$ENV_FILE" ]; then
        printf '%s\n' "# The load reads this, and reads it again when it changes; leverd may change BATCH_SIZE." \
            "# What is not about the load is for Docker Compose, and scripts/dev_up.sh writes it." \
            "BATCH_SIZE=50" >"$ENV_FILE"
        chmod 0644 "$ENV_FILE"
    fi
    ln -sfn "$ENV_FILE" .env
}

# remember KEY VALUE: in .env, so that compose by hand means the same stack.
remember() {
    if grep -qsxF "$1=$2" "$ENV_FILE"; then return 0; fi
    { grep -v "^$1=" "$ENV_FILE" || true; } >"$ENV_FILE.new"
    printf '%s=%s\n' "$1" "$2" >>"$ENV_FILE.new"
    chmod 0644 "$ENV_FILE.new"
    mv "$ENV_FILE.new" "$ENV_FILE"
}

# --- The stack -----------------------------------------------------------------------------------------------------

# The containers that are not healthy, in words; nothing when all are.
not_healthy() {
    local ids
    ids="$("${COMPOSE[@]}" ps -a -q)"
    [ -n "$ids" ] || { echo "no container is there"; return 0; }
    # shellcheck disable=SC2086 # a list of ids
    docker inspect --format \
        '{{.Name}} {{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{else}}unchecked{{end}}' $ids |
        awk '$2 != "running" || ($3 != "healthy" && $3 != "unchecked") {
            sub("^/", "", $1); list = list (list ? ", " : "") $1 " (" $2 ", " $3 ")"
        } END { print list }'
}

wait_until_healthy() {
    local until=$((SECONDS + HEALTHY_WITHIN)) waiting told=""
    while :; do
        waiting="$(not_healthy)"
        [ -n "$waiting" ] || return 0
        if [ "$SECONDS" -ge "$until" ]; then
            "${COMPOSE[@]}" logs --no-color --tail=10 >&2 || true
            fail "not healthy after $HEALTHY_WITHIN s: $waiting" \
                "the lines above are the last of each; ${COMPOSE[*]} logs SERVICE has all"
        fi
        [ "$waiting" = "$told" ] || say "waiting for $waiting"
        told="$waiting"
        sleep 2
    done
}

case "$(uname -s)" in
    Linux) PLATFORM=linux ;;
    Darwin) PLATFORM=macos ;;
    *) fail "the stack runs on Linux and macOS, and this is $(uname -s)" ;;
esac
case "${LEVERD_ENVIRONMENT:=development}" in
    development) ALERTS=alerts.yml ;;
    staging | production) ALERTS="alerts.$LEVERD_ENVIRONMENT.yml" ;;
    *) fail "LEVERD_ENVIRONMENT is \"$LEVERD_ENVIRONMENT\", and must be development, staging or production" ;;
esac

find_compose
find_identity
make_secrets
make_folders
remember COMPOSE_PROFILES "$PLATFORM${POOL:+,pool}"
remember CAPSIM_DATABASE_HOST "${POOL:+pgbouncer}"
remember LEVERD_ENVIRONMENT "$LEVERD_ENVIRONMENT"
remember LEVERD_ALERTS "$ALERTS"
remember LEVERD_UID "$LEVERD_UID"
remember LEVERD_GID "$LEVERD_GID"
remember LEVERD_DOCKER_SOCKET "$SOCKET"
remember LEVERD_IMAGE "${LEVERD_IMAGE:-leverd:dev}"
for port in "${PORTS[@]}"; do
    name="${port%=*}_PORT"
    printf -v "$name" %s "${!name:-${port#*=}}"
    remember "$name" "${!name}"
done
# Else these would win over what was just written.
unset COMPOSE_PROFILES CAPSIM_DATABASE_HOST LEVERD_ALERTS LEVERD_DOCKER_SOCKET DOCKER_GID

if [ -z "${LEVERD_IMAGE:-}" ]; then
    say "Building leverd's image; the first time takes some minutes."
    DOCKER_BUILDKIT=1 COMPOSE_DOCKER_CLI_BUILD=1 "${COMPOSE[@]}" build leverd
fi
GROUP="$(group_of_socket)" || fail "a container cannot see the Docker socket $SOCKET" "is DOCKER_HOST right?"
remember DOCKER_GID "$GROUP"
say "Starting the stack ($PLATFORM${POOL:+, with PgBouncer}, $LEVERD_ENVIRONMENT)."
"${COMPOSE[@]}" up -d --remove-orphans ||
    fail "the stack did not start" \
        "a port in use? POSTGRES_PORT=5433 and the like move them; ${COMPOSE[*]} logs SERVICE tells more"
wait_until_healthy

say ""
say "All is healthy."
# shellcheck disable=SC2154 # the ports were set by name, above
{
    say "  Grafana             http://localhost:$GRAFANA_PORT    user admin, password in $SECRETS/grafana_password"
    say "  Prometheus          http://localhost:$PROMETHEUS_PORT"
    say "  Alertmanager        http://localhost:$ALERTMANAGER_PORT"
    say "  leverd              http://localhost:$LEVERD_PORT    token in $SECRETS/leverd_api_token"
    say "  load (capsim)       http://localhost:$LOAD_PORT/metrics"
    say "  Postgres            localhost:$POSTGRES_PORT           user postgres, password in $SECRETS/postgres_password"
    say "  postgres-exporter   http://localhost:$POSTGRES_EXPORTER_PORT/metrics"
    [ "$PLATFORM" = macos ] || say "  node-exporter       http://localhost:$NODE_EXPORTER_PORT/metrics"
    say "  cAdvisor            http://localhost:$CADVISOR_PORT"
}
say ""
[ -e "$PLACE/state/baseline.yaml" ] ||
    say "Say what is normal:   ${COMPOSE[*]} exec leverd leverd baseline"
say "See what leverd sees: ${COMPOSE[*]} exec leverd leverd status"
say "Read what it did:     $PLACE/state/CHANGELOG_TUNING.md"
say "Stop all of it:       make dev-down"
if [ "$PLATFORM" = macos ] && [ ! -e "$PLACE/targets/macos.yml" ]; then
    say "The Mac's own heat:   make setup-macos-monitoring"
fi
