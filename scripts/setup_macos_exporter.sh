#!/usr/bin/env bash
# What of a Mac no container can see: its temperature and its own load. Installs node_exporter with brew, runs it and
# leverd's exporter as agents of launchd, and tells the Prometheus of docker-compose.yml where they are.
#
#   node_exporter      127.0.0.1:9100    ~/Library/LaunchAgents/homebrew.node_exporter.plist
#   leverd exporter    127.0.0.1:9189    ~/Library/LaunchAgents/org.leverd.exporter.plist
#
# Run again it changes what has changed, and no more. To take it away:
#   launchctl bootout "gui/$UID/org.leverd.exporter"; launchctl bootout "gui/$UID/homebrew.node_exporter"
#   rm ~/Library/LaunchAgents/{org.leverd.exporter,homebrew.node_exporter}.plist .leverd/compose/targets/macos.yml

set -euo pipefail
# shellcheck source=scripts/environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

NODE_EXPORTER_AT=127.0.0.1:9100
# Not leverd's 9188, nor postgres-exporter's 9187: the stack has those.
LEVERD_AT=127.0.0.1:9189
TARGETS=.leverd/compose/targets
AGENTS="$HOME/Library/LaunchAgents"
LOGS="$HOME/Library/Logs"
# Outside of the checkout: what launchd starts must survive `make clean`, and macOS keeps agents out of ~/Documents.
PROGRAM="$HOME/Library/Application Support/leverd/leverd"

# render TEMPLATE NAME VALUE …: the template with each @NAME@ replaced, for XML.
render() {
    local script="" value
    local template="$1"
    shift
    while [ $# -gt 1 ]; do
        # First what XML needs, then what sed does.
        value="$(printf '%s' "$2" | sed -e 's/&/\&amp;/g' -e 's/</\&lt;/g' -e 's/[\\|&]/\\&/g')"
        script="${script}s|@$1@|$value|g;"
        shift 2
    done
    sed "$script" "$template"
}

answers() { curl -fsS --max-time 2 -o /dev/null "http://$1/metrics" 2>/dev/null; }

is_loaded() { launchctl print "gui/$UID/$1" >/dev/null 2>&1; }

# agent LABEL ADDRESS NAME VALUE …: installs packaging/launchd/LABEL.plist and has it run.
agent() {
    local label="$1" address="$2" file="$AGENTS/$1.plist" tries
    shift 2
    render "packaging/launchd/$label.plist" "$@" ADDRESS "$address" LOGS "$LOGS" >"$file.new"
    plutil -lint -s "$file.new" || fail "$file.new is no property list" "is there an odd character in its paths?"
    if [ -z "${RESTART:-}" ] && cmp -s "$file.new" "$file" && is_loaded "$label" && answers "$address"; then
        rm -f "$file.new"
        say "setup: $label runs already"
        return 0
    fi
    launchctl bootout "gui/$UID/$label" 2>/dev/null || true
    # launchd takes a moment to let go of it, and refuses the new one until then.
    tries=10
    while is_loaded "$label" && [ "$((tries -= 1))" -gt 0 ]; do sleep 1; done
    if answers "$address"; then
        rm -f "$file.new"
        fail "something else serves http://$address already, which $label would" \
            "end it (brew services stop node_exporter?), then run this again"
    fi
    mv "$file.new" "$file"
    launchctl bootstrap "gui/$UID" "$file" ||
        fail "launchd does not take $file" "is this a session with a desktop? launchctl print gui/$UID"
    tries=15
    until answers "$address"; do
        [ "$((tries -= 1))" -gt 0 ] ||
            fail "$label was started, and http://$address/metrics does not answer" "its log: $LOGS/$label.log"
        sleep 1
    done
    say "setup: $label serves http://$address/metrics"
}

[ "$(uname -s)" = Darwin ] ||
    fail "this is for macOS, and this is $(uname -s), where leverd and node_exporter see the host without it" \
        "make dev-up starts a node_exporter too; leverd exporter runs alone"
command -v brew >/dev/null 2>&1 ||
    fail "Homebrew is needed to install node_exporter" "https://brew.sh has its one-line installation"

if ! brew list --formula node_exporter >/dev/null 2>&1; then
    say "setup: installing with brew: node_exporter"
    brew install node_exporter
fi

RESTART=""
INSTALLED="$(command -v leverd || true)"
if [ -n "$INSTALLED" ]; then
    PROGRAM="$INSTALLED"
else
    build_leverd
    mkdir -p "$(dirname "$PROGRAM")"
    if ! cmp -s "$LEVERD" "$PROGRAM"; then
        # A new file under the old name: macOS ends a program whose file is written over.
        cp "$LEVERD" "$PROGRAM.new"
        mv "$PROGRAM.new" "$PROGRAM"
        RESTART=yes
    fi
fi

mkdir -p "$AGENTS" "$LOGS" "$TARGETS"
RESTART="" agent homebrew.node_exporter "$NODE_EXPORTER_AT" NODE_EXPORTER "$(brew --prefix)/bin/node_exporter"
agent org.leverd.exporter "$LEVERD_AT" LEVERD "$PROGRAM"

# Docker leads host.docker.internal to the Mac's own loopback. Prometheus sees the file by itself.
cat >"$TARGETS/macos.yml.new" <<TARGET
# Written by scripts/setup_macos_exporter.sh, for the job macos-exporter.
- targets: ["host.docker.internal:${NODE_EXPORTER_AT##*:}", "host.docker.internal:${LEVERD_AT##*:}"]
  labels: {scope: host}
TARGET
chmod 0644 "$TARGETS/macos.yml.new"
mv "$TARGETS/macos.yml.new" "$TARGETS/macos.yml"

if curl -fsS --max-time 5 "http://$LEVERD_AT/metrics" | grep -q '^macos_cpu_temperature_celsius'; then
    say "setup: done; the CPU's temperature is shown"
else
    say "setup: done, but there is no macos_cpu_temperature_celsius yet: it takes some seconds, and Apple silicon"
fi
