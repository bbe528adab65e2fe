-- What migrations did: one row for each process that worked on a run, so a run that was resumed has several. It is
-- written when the process has the run, and completed when it ends. Without an ending it is at work, or was killed:
-- `killed` is written once another process has the run; who speaks after all is believed.
-- `past` and `experience` are what the learner remembers, `report` is what was told: the ledger reads none of them.
CREATE TABLE migration (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    run            TEXT NOT NULL,         -- as the target's leverd_migration.run has it
    source         TEXT NOT NULL,         -- without a password, as target is
    target         TEXT NOT NULL,
    began_at       TEXT NOT NULL,
    ended_at       TEXT,                  -- not known where there is no ending, or it was killed
    resumed        INTEGER NOT NULL CHECK (resumed IN (0, 1)),
    ending         TEXT CHECK (ending IN ('complete', 'incomplete', 'failed', 'interrupted', 'killed')),
    why            TEXT,
    row_count      INTEGER NOT NULL,      -- of the run, those of earlier processes too
    rejected_count INTEGER NOT NULL,      -- of the run where it came to its end, else of this process
    bytes_per_s    REAL,                  -- of this process, while it copied
    copying_s      REAL NOT NULL,
    past           TEXT CHECK (past IS NULL OR json_valid(past)),
    report         TEXT CHECK (report IS NULL OR json_valid(report)),
    CHECK ((ended_at IS NULL) = (ending IS NULL OR ending = 'killed')),
    CHECK (ended_at IS NOT NULL OR past IS NULL)
) STRICT;
CREATE INDEX migration_of_run ON migration (run, id);
CREATE TRIGGER migrations_stay BEFORE DELETE ON migration
BEGIN SELECT RAISE(ABORT, 'migrations are never deleted'); END;
CREATE TRIGGER migrations_stand BEFORE UPDATE ON migration WHEN OLD.ended_at IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'a migration ends once'); END;

-- Settings that a process changed while rows moved. `change` is a share of rows per second: 0.1 is 10 % more.
CREATE TABLE migration_adjustment (
    migration    INTEGER NOT NULL REFERENCES migration (id),
    number       INTEGER NOT NULL,
    setting      TEXT NOT NULL,
    value_before INTEGER NOT NULL,
    value_after  INTEGER NOT NULL,
    decided_by   TEXT NOT NULL,
    reasoning    TEXT NOT NULL,
    verdict      TEXT CHECK (verdict IN ('kept', 'reverted', 'undecided')),
    change       REAL,
    outcome      TEXT NOT NULL,
    experience   TEXT CHECK (experience IS NULL OR json_valid(experience)),
    PRIMARY KEY (migration, number)
) STRICT;
CREATE TRIGGER adjustments_stay BEFORE DELETE ON migration_adjustment
BEGIN SELECT RAISE(ABORT, 'adjustments are never deleted'); END;
CREATE TRIGGER adjustments_stand BEFORE UPDATE ON migration_adjustment
BEGIN SELECT RAISE(ABORT, 'an adjustment is written once'); END;
