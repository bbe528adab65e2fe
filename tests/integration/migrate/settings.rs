//! Keys of a migration's file that show in the run's state, its report or its target.

use super::pair::Pair;
use crate::support::leverd::both;

/// One that is read by its key, one by blocks, and a small one.
const TABLES: &str = "CREATE TABLE by_id (id int PRIMARY KEY, v text);
    INSERT INTO by_id SELECT g, 'v' || g FROM generate_series(1, 6000) AS g;
    CREATE TABLE by_block (k text PRIMARY KEY, v text);
    INSERT INTO by_block SELECT 'k' || g, repeat('x', 100) FROM generate_series(1, 6000) AS g;
    CREATE TABLE small (id int PRIMARY KEY);
    INSERT INTO small SELECT generate_series(1, 500);
    ANALYZE";

/// Parts of the last run's tables.
const PARTS: &str = "SELECT relation_name, count(*) FROM leverd_migration.part \
    WHERE run = (SELECT id FROM leverd_migration.run ORDER BY began_at DESC LIMIT 1) GROUP BY 1 ORDER BY 1";

/// Rows of the source that were counted for the last run's sample.
const COUNTED: &str = "SELECT report->'sample'->'tables'->0->>'source_rows' FROM leverd_migration.run \
    ORDER BY began_at DESC LIMIT 1";

#[test]
fn a_large_table_is_divided_as_far_as_max_partitions_says() {
    let pair = Pair::start(TABLES);
    for (most, parts) in [(3, "by_block|3\nby_id|3\nsmall|1"), (1, "by_block|1\nby_id|1\nsmall|1")] {
        let migration = format!(
            "{{chunk_size: 1000, large_table_threshold: 1000, max_partitions: {most}, workers: 3, \
             parallel_readers: 2, checkpoint_frequency: 5}}"
        );
        let output = pair.migrate(&["run"], &migration);
        assert_eq!(output.status.code(), Some(0), "{}", both(&output));
        assert_eq!(pair.target(PARTS), parts);
        for table in ["by_id", "by_block", "small"] {
            let sums =
                format!("SELECT count(*), sum(hashtextextended(t::text, 0)::numeric) FROM {table} AS t");
            assert_eq!(pair.source(&sums), pair.target(&sums), "{table}");
        }
        let words = both(&output);
        assert!(words.contains("migration.checkpoint_frequency has no effect"), "{words}");
    }
}

/// Read by blocks, it cannot be gone on with in another snapshot; and no server empties it alone.
#[test]
fn a_table_that_others_refer_to_is_begun_again_with_them() {
    let tables = |check: &str| {
        format!(
            "CREATE TABLE kinds (k text PRIMARY KEY, v int{check});
             CREATE TABLE things (id int PRIMARY KEY, k text REFERENCES kinds)"
        )
    };
    let pair = Pair::start(&format!(
        "{}; INSERT INTO kinds SELECT 'k' || g, g FROM generate_series(1, 6000) AS g;
         INSERT INTO things SELECT g, 'k' || g FROM generate_series(1, 100) AS g; ANALYZE",
        tables("")
    ));
    pair.target(
        "CREATE FUNCTION waits(int) RETURNS boolean LANGUAGE plpgsql AS \
         'BEGIN IF $1 % 10 = 0 THEN PERFORM pg_sleep(0.002); END IF; RETURN true; END'",
    );
    pair.target(&tables(" CHECK (waits(v))"));
    for strict in [false, true] {
        let migration = format!(
            "{{target_mode: truncate, chunk_size: 1000, workers: 1, parallel_readers: 1, write_ahead_writers: 1, \
             strict_consistency: {strict}, ai_adjust: false}}"
        );
        let mut run = pair.begin(&["run"], &migration);
        pair.wait_for("SELECT 1 WHERE to_regclass('leverd_migration.adjustment') IS NOT NULL");
        pair.wait_for(
            "SELECT 1 FROM leverd_migration.chunk JOIN leverd_migration.run ON id = run AND is_open",
        );
        pair.interrupt(&run);
        assert_eq!(run.wait().unwrap().code(), Some(1));
        let left = pair.target("SELECT count(*) FROM kinds");
        assert!(left != "0" && left != "6000", "{left}");
        let output = pair.migrate(&["resume"], &migration);
        assert_eq!(output.status.code(), Some(0), "{}", both(&output));
        assert_eq!(
            pair.target("SELECT (SELECT count(*) FROM kinds), (SELECT count(*) FROM things)"),
            "6000|100"
        );
    }
}

/// TRUNCATE obeys no snapshot: who comes later finds nothing, and no error.
#[test]
fn a_table_that_is_emptied_meanwhile_is_told_and_read_again() {
    let tables =
        "CREATE TABLE first (id int PRIMARY KEY, v text); CREATE TABLE second (id int PRIMARY KEY, v text);
        CREATE TABLE third (id int PRIMARY KEY REFERENCES second);";
    let pair = Pair::start(&format!(
        "{tables} INSERT INTO first SELECT g, 'v' || g FROM generate_series(1, 9000) AS g;
         INSERT INTO second SELECT g, 'v' || g FROM generate_series(1, 500) AS g; ANALYZE"
    ));
    pair.target(tables);
    // A writer waits for the end of this transaction, and the only reader for the writer.
    let other = pair.hold_in_target("INSERT INTO first VALUES (500)");
    let migration = "{target_mode: upsert, chunk_size: 1000, workers: 1, parallel_readers: 1, \
         read_ahead_buffers: 2, write_ahead_writers: 1, ai_adjust: false}";
    let run = pair.begin_captured(&["run"], migration);
    pair.wait_for(
        "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT INTO%'",
    );
    // The bounds of its key were asked for, and no lock is left of that.
    let held = "SELECT count(*) FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid \
         WHERE a.application_name = 'leverd source' AND l.relation IN ('first'::regclass, 'first_pkey'::regclass)";
    assert_eq!(pair.source(held), "0");
    pair.source(
        "TRUNCATE second CASCADE; INSERT INTO second SELECT g, 'new' FROM generate_series(1, 400) AS g",
    );
    drop(other);
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", both(&output));
    let words =
        "public.second, public.third at the source was emptied, rewritten or dropped while rows were read";
    assert!(both(&output).contains(words), "{}", both(&output));
    let output = pair.migrate(&["resume"], migration);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    assert_eq!(pair.target("SELECT count(*), min(v) FROM second"), "400|new");
    assert_eq!(pair.target("SELECT count(*) FROM first"), "9000");
}

/// A process that is killed asks for no files any more; the one that goes on does.
#[test]
fn a_table_that_is_emptied_before_the_run_goes_on_is_read_again() {
    for (mode, code, words) in [
        (
            "upsert",
            0,
            "public.t at the source was emptied or rewritten since its first row was read: all of it was",
        ),
        ("append", 64, "t was begun, and target_mode append may not empty it to begin again"),
    ] {
        let table = "CREATE TABLE t (id int PRIMARY KEY, v text);";
        let rows = "INSERT INTO t SELECT g, 'old' FROM generate_series(1, 9000) AS g; ANALYZE";
        let pair = Pair::start(&format!("{table} {rows}"));
        pair.target(table);
        // The only writer waits for the end of this transaction, with four chunks behind it.
        let other = pair.hold_in_target("INSERT INTO t VALUES (4500)");
        let migration = format!(
            "{{target_mode: {mode}, chunk_size: 1000, workers: 1, parallel_readers: 1, write_ahead_writers: 1}}"
        );
        let mut run = pair.begin(&["run"], &migration);
        pair.wait_for(
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ '^(COPY|INSERT INTO)'",
        );
        assert_eq!(pair.target("SELECT sum(row_count) FROM leverd_migration.chunk"), "4000", "{mode}");
        run.kill().unwrap();
        run.wait().unwrap();
        drop(other);
        pair.source("TRUNCATE t; INSERT INTO t SELECT g, 'new' FROM generate_series(1, 3000) AS g");
        let output = pair.migrate(&["resume"], &migration);
        assert_eq!(output.status.code(), Some(code), "{mode}: {}", both(&output));
        assert!(both(&output).contains(words), "{mode}: {}", both(&output));
        let new = if code == 0 { "3000" } else { "0" };
        assert_eq!(pair.target("SELECT count(*) FROM t WHERE v = 'new'"), new, "{mode}");
    }
}

/// What others do at the source while rows are moved is in no row of the run's snapshot. Its sequences obey none.
#[test]
fn what_is_written_meanwhile_is_no_difference_and_moves_the_sequences() {
    let table = "CREATE TABLE t (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, v text);";
    let pair = Pair::start(&format!(
        "{table} INSERT INTO t (v) SELECT 'v' || g FROM generate_series(1, 3000) AS g;
         CREATE SEQUENCE tickets START 7; ANALYZE"
    ));
    pair.target(table);
    // The writer that comes to this row waits for the end of its transaction, and the run for the writer.
    let other = pair.hold_in_target("INSERT INTO t VALUES (2500)");
    let migration = "{target_mode: append, chunk_size: 1000, sample_validation: true}";
    let mut run = pair.begin(&["run"], migration);
    pair.wait_for("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'COPY%'");
    pair.source("INSERT INTO t (v) SELECT 'later' FROM generate_series(1, 50)");
    pair.source("UPDATE t SET v = 'changed'");
    pair.source("SELECT nextval('tickets') FROM generate_series(1, 5)");
    drop(other);
    assert!(run.wait().unwrap().success());
    assert_eq!(pair.target("SELECT count(*), count(*) FILTER (WHERE v LIKE 'v%') FROM t"), "3000|3000");
    assert_eq!(pair.target(COUNTED), "3000");
    assert_eq!(pair.target("INSERT INTO t (v) VALUES ('new') RETURNING id"), "3051");
    assert_eq!(pair.target("SELECT nextval('tickets')"), "12");
}

#[test]
fn a_sample_that_differs_ends_the_run_as_not_complete() {
    let pair = Pair::start(
        "CREATE TABLE t (id int PRIMARY KEY, v text);
         INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 3000) AS g; ANALYZE",
    );
    // It fires for whoever writes.
    pair.target(
        "CREATE TABLE t (id int PRIMARY KEY, v text);
         CREATE FUNCTION other() RETURNS trigger LANGUAGE plpgsql AS
         'BEGIN IF NEW.id = 77 THEN NEW.v = ''another word''; END IF; RETURN NEW; END';
         CREATE TRIGGER other BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION other();
         ALTER TABLE t ENABLE ALWAYS TRIGGER other",
    );
    let migration = "{target_mode: truncate, chunk_size: 1000, sample_validation: true}";
    // What goes on has all its rows, and they are compared again.
    for command in ["run", "resume"] {
        let output = pair.migrate(&[command], migration);
        let words = both(&output);
        assert_eq!(output.status.code(), Some(1), "{words}");
        assert!(words.contains(" is NOT complete: ") && words.contains("Not the same: 1 table"), "{words}");
        assert!(words.contains("different 1: id=77"), "{words}");
        assert!(!words.contains("another word"), "a row's value is shown:\n{words}");
    }
    pair.target("ALTER TABLE t DISABLE TRIGGER other");
    let output = pair.migrate(&["run", "--replace"], migration);
    let words = both(&output);
    assert_eq!(output.status.code(), Some(0), "{words}");
    assert!(words.contains("and 3,000 rows compared: the target holds the same."), "{words}");
}
