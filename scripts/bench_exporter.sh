#!/bin/sh
# Compares leverd's exporter with prometheus-node-exporter and prometheus-postgres-exporter, side by side in one
# run against one private Postgres: memory, series, scrape time, CPU an hour. Not a test: it prints, and fails only
# where it cannot measure.
#
# Bounded: ROUNDS rounds (default 3); in each, every exporter in turn gets SCRAPES scrapes (default 100), and then
# all of them at once one scrape a second for SECONDS_EACH seconds (default 20), over which CPU is counted.
# LEVERD=FILE names a built leverd; without it a release build is made.
set -eu
cd "$(dirname "$0")/.."
exec python3 -B scripts/bench_exporter.py "$@"
