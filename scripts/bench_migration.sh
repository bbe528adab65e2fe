#!/bin/sh
# Compares `leverd migrate run` with pgcopydb, pg_dump and pg_restore, pgloader, and a pipe of two COPYs, which all move
# the same rows between the same private servers in one run: time, rows a second, memory, CPU. Not a test: it prints,
# and fails only where it cannot measure. After each run the target's rows are compared with the source's: who loses or
# changes one, or leaves out an index, has no figure. What is not installed is told and left out.
#
# Bounded: ROUNDS rounds (default 3) a data set, in which the contenders take turns; TIMEOUT seconds (default 1800; 300
# where SHORT=1) for each of them; who fails or is too late is not asked again for that data set; no round is begun that
# would probably end later than LONGEST seconds (default 7200; 1200) after the data set's first began.
# SHORT=1: 500 MB in all instead of 5.5 GB. ONLY=wide,narrow,small,huge,mariadb and
# CONTENDERS=leverd,pgcopydb,pg_dump+restore,pgloader,copy-pipe choose among them.
# JOBS=2: of those who ask for a number. MIGRATION='{"workers": 2}': leverd's `migration:`, which is empty otherwise.
# OUT=FILE: where the figures go as JSON (default .leverd/bench/migration.json). WORK_DIR=FOLDER: another disk.
# LEVERD=FILE names a built leverd; without it a release build is made.
set -eu
cd "$(dirname "$0")/.."
exec python3 -B scripts/bench_migration.py "$@"
