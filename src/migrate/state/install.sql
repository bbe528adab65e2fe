-- The state of migration runs, version 1. Run as one message, and so as one transaction.
-- `json` and not `jsonb`: a key of MySQL's may hold a NUL, which `jsonb` refuses and `json` keeps as it was written.

CREATE TABLE IF NOT EXISTS leverd_migration.meta (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    version integer NOT NULL,
    installed_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    installed_by text NOT NULL DEFAULT current_user
);

CREATE TABLE IF NOT EXISTS leverd_migration.run (
    id text PRIMARY KEY,
    fence bigint NOT NULL,
    source text NOT NULL,
    source_fingerprint text NOT NULL,
    target_schemas text[] NOT NULL,
    mode text NOT NULL,
    settings json NOT NULL,
    plan_hash text NOT NULL,
    snapshot text,
    host text NOT NULL,
    pid bigint NOT NULL,
    backend_pid integer NOT NULL,
    began_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    leased_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    is_open boolean NOT NULL DEFAULT true,
    ended_at timestamptz,
    outcome text CHECK (outcome IN ('complete', 'failed', 'interrupted', 'abandoned', 'replaced')),
    report json,
    -- In a unique key, so that raising the fence waits for chunks that hold it FOR KEY SHARE.
    CONSTRAINT run_fence UNIQUE (id, fence)
);

CREATE TABLE IF NOT EXISTS leverd_migration.moved_table (
    run text NOT NULL REFERENCES leverd_migration.run (id) ON DELETE CASCADE,
    number bigint NOT NULL,
    source_schema text NOT NULL,
    source_name text NOT NULL,
    target_schema text NOT NULL,
    target_name text NOT NULL,
    column_names text[] NOT NULL,
    step text NOT NULL DEFAULT 'waiting' CHECK (step IN ('waiting', 'loading', 'loaded', 'built')),
    step_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    expected_rows bigint,
    expected_bytes bigint,
    PRIMARY KEY (run, number)
);

CREATE TABLE IF NOT EXISTS leverd_migration.part (
    run text NOT NULL,
    table_number bigint NOT NULL,
    number bigint NOT NULL,
    relation_schema text NOT NULL,
    relation_name text NOT NULL,
    extent json NOT NULL,
    closed boolean NOT NULL DEFAULT false,
    file bigint,
    PRIMARY KEY (run, table_number, number),
    FOREIGN KEY (run, table_number) REFERENCES leverd_migration.moved_table (run, number) ON DELETE CASCADE
);

CREATE TABLE IF NOT EXISTS leverd_migration.chunk (
    run text NOT NULL,
    table_number bigint NOT NULL,
    part_number bigint NOT NULL,
    seq bigint NOT NULL,
    extent json NOT NULL,
    row_count bigint NOT NULL,
    byte_count bigint NOT NULL,
    rejected bigint NOT NULL,
    chunk_rows bigint NOT NULL,
    writer bigint NOT NULL,
    began_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    committed_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    -- A check and not NOT NULL, because servers before 18 do not name that one in their error.
    fence bigint CONSTRAINT another_run_took_the_lease CHECK (fence IS NOT NULL),
    CONSTRAINT chunk_is_recorded_once PRIMARY KEY (run, table_number, part_number, seq),
    FOREIGN KEY (run, table_number, part_number)
        REFERENCES leverd_migration.part (run, table_number, number) ON DELETE CASCADE
);

CREATE TABLE IF NOT EXISTS leverd_migration.reject (
    run text NOT NULL,
    table_number bigint NOT NULL,
    part_number bigint NOT NULL,
    seq bigint NOT NULL,
    number bigint NOT NULL,
    sqlstate text NOT NULL,
    message text NOT NULL,
    column_name text,
    payload bytea NOT NULL,
    format text NOT NULL CHECK (format IN ('binary', 'text')),
    rejected_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (run, table_number, part_number, seq, number),
    FOREIGN KEY (run, table_number, part_number)
        REFERENCES leverd_migration.part (run, table_number, number) ON DELETE CASCADE
);

CREATE TABLE IF NOT EXISTS leverd_migration.statement (
    run text NOT NULL REFERENCES leverd_migration.run (id) ON DELETE CASCADE,
    phase text NOT NULL CHECK (phase IN ('before_load', 'after_load', 'validate', 'last')),
    number bigint NOT NULL,
    sql_hash text NOT NULL,
    done_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (run, phase, number)
);

CREATE TABLE IF NOT EXISTS leverd_migration.adjustment (
    run text NOT NULL REFERENCES leverd_migration.run (id) ON DELETE CASCADE,
    number bigint NOT NULL,
    adjusted_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    setting text NOT NULL,
    value_before bigint NOT NULL,
    value_after bigint NOT NULL,
    decided_by text NOT NULL,
    reasoning text NOT NULL,
    outcome text,
    gain double precision,
    PRIMARY KEY (run, number)
);

COMMENT ON SCHEMA leverd_migration IS
    'What leverd''s migrations into this database have done so far: with it an interrupted run goes on where it '
    'stopped. It may be dropped (DROP SCHEMA leverd_migration CASCADE) once no run is open: '
    'SELECT id FROM leverd_migration.run WHERE is_open.';
COMMENT ON TABLE leverd_migration.meta IS
    'One row: the version of these tables. Do not change it.';
COMMENT ON TABLE leverd_migration.run IS
    'One row a run. While is_open is true the run can be resumed; a run that is at work also holds an advisory '
    'lock for each of its target_schemas.';
COMMENT ON COLUMN leverd_migration.run.fence IS
    'Raised whenever a process takes or ends the run: what an earlier one still writes is refused.';
COMMENT ON COLUMN leverd_migration.run.source IS
    'Where the rows come from, without a password.';
COMMENT ON COLUMN leverd_migration.run.pid IS
    'The process of leverd on host; backend_pid is the session of this server that holds the locks.';
COMMENT ON COLUMN leverd_migration.run.ended_at IS
    'When the process that held the run last stopped; NULL: at work, or killed.';
COMMENT ON TABLE leverd_migration.moved_table IS
    'The tables of a run: waiting, loading, loaded (all rows are there), built (its indexes too).';
COMMENT ON TABLE leverd_migration.part IS
    'What the rows of a table are read in. A part that is closed is read no further: what was missing of it are '
    'parts of their own.';
COMMENT ON TABLE leverd_migration.chunk IS
    'Pieces of parts whose rows are in the target. A row here was committed together with the rows that it counts.';
COMMENT ON COLUMN leverd_migration.part.file IS
    'pg_relation_filenode of the source''s relation before its first row was read, until all rows are there: in another one some may be missing.';
COMMENT ON COLUMN leverd_migration.chunk.chunk_rows IS
    'The setting when the chunk was handed out: its most rows.';
COMMENT ON COLUMN leverd_migration.chunk.began_at IS
    'When the transaction that brought the chunk began.';
COMMENT ON TABLE leverd_migration.reject IS
    'Rows that the target refused. payload holds the row as COPY has it: it is as secret as its table.';
COMMENT ON TABLE leverd_migration.statement IS
    'Statements of a run (indexes, constraints and so on) that are done.';
COMMENT ON TABLE leverd_migration.adjustment IS
    'Settings that were changed while a run was at work, and what came of it; gain is a share: 0.1 is 10 % more '
    'rows a second.';

INSERT INTO leverd_migration.meta (version) VALUES (1) ON CONFLICT DO NOTHING;
