#!/bin/sh
# What leverd's adjustment while rows are moved is worth, between two private PostgreSQLs on this machine:
# 1. a grid of fixed settings, writers by rows of a chunk, all of them by turns: what the best of them reaches;
# 2. from the two worst starts (1 writer with chunks of 1,000 rows, 16 writers with chunks of 500,000) pairs of a run
#    with `ai_adjust: true`, decided by the rules, and one without, in turning order, and the grid's best once more: the
#    whole time, and the rows a second over the second half of the rows, each as a ratio with a bootstrap interval.
# Not a test: it prints, and fails only where it cannot measure. Every run's rows are counted in the target, and the
# adjusted runs' compared: a run that loses one has no figure.
#
# Bounded: ROUNDS rounds of the grid (default 2; 1 where SHORT=1), PAIRS pairs for each start (default 8; 4), TIMEOUT
# seconds for each run (default 1800; 300), nothing is begun after LONGEST seconds (default 14400; 2400).
# SHORT=1: 800 MB instead of 4 GB, and a grid of 9 instead of 25. GRID=coarse: that grid with all 4 GB; TABLE_MB=500: of
# each of the 8 tables. INTERVAL=2s: between two looks.
# WORKERS=1, READERS=2: the settings that stay. OUT=FILE: the figures as JSON (default .leverd/bench/adjust.json).
# WORK_DIR=FOLDER: another disk. LEVERD=FILE names a built leverd; without it a release build is made.
set -eu
cd "$(dirname "$0")/.."
exec python3 -B scripts/bench_adjust.py "$@"
