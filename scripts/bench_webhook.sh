#!/bin/sh
# Compares leverd's webhook with a Prometheus Alertmanager that takes the same alerts on its own API, side by side in
# one run: bodies and alerts a second, the answer's time, CPU an alert, memory. Not a test: it prints, and fails only
# where it cannot measure.
#
# Bounded: ROUNDS rounds (default 3) of the same waves of alerts for each, and no round is begun that would probably
# end later than LONGEST seconds (default 110) after the first began.
# LEVERD=FILE names a built leverd; without it a release build is made.
set -eu
cd "$(dirname "$0")/.."
exec python3 -B scripts/bench_webhook.py "$@"
