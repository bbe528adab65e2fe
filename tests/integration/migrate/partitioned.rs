//! Partitioned tables, and what the target has under their partitions' names, or under those of indexes.

use super::pair::Pair;
use crate::support::leverd::both;
use std::process::Stdio;

/// Two years; the older one is in a schema of its own.
const EVENTS: &str = "CREATE SCHEMA old;
    CREATE TABLE events (id bigint GENERATED ALWAYS AS IDENTITY, at date NOT NULL, v text, PRIMARY KEY (id, at))
    PARTITION BY RANGE (at);
    CREATE TABLE old.events_2022 PARTITION OF events FOR VALUES FROM ('2022-01-01') TO ('2023-01-01');
    CREATE TABLE events_2023 PARTITION OF events FOR VALUES FROM ('2023-01-01') TO ('2024-01-01');
    INSERT INTO events (at, v) SELECT date '2022-01-01' + g % 730, 'v' || g FROM generate_series(1, 5000) AS g;
    ANALYZE";

/// Where the rows are, by partition.
const ROWS: &str = "SELECT tableoid::regclass::text, count(*), sum(id) FROM events GROUP BY 1 ORDER BY 1";

#[test]
fn what_has_a_partitions_name_is_told_and_replaced() {
    let pair = Pair::start(EVENTS);
    let there = "CREATE SCHEMA old; CREATE TABLE events (x int);
        CREATE TABLE old.events_2022 (y int); INSERT INTO old.events_2022 VALUES (1)";
    pair.target(there);
    let plan = both(&pair.migrate(&["plan"], "{}"));
    let dropped = "2 tables of the target will be DROPPED with all rows: ";
    assert!(plan.contains(dropped) && plan.contains("old.events_2022"), "{plan}");
    assert!(plan.contains("2 partitions") && !plan.contains("becomes one table"), "{plan}");

    // Behind the plain tables, and then behind those that the first run made.
    for _ in 0..2 {
        let output = pair.migrate(&["run"], "{chunk_size: 1000, workers: 3}");
        assert_eq!(output.status.code(), Some(0), "{}", both(&output));
        let rows = pair.target(ROWS);
        assert_eq!(rows, pair.source(ROWS));
        assert_eq!(rows.lines().count(), 2, "{rows}");
    }
    // The leaves' own indexes are those of the whole: none was built a second time.
    let leaves = "SELECT count(*), count(h.inhparent), bool_and(x.indisvalid) FROM pg_index x \
        JOIN pg_class c ON c.oid = x.indrelid AND c.relispartition \
        LEFT JOIN pg_inherits h ON h.inhrelid = x.indexrelid";
    assert_eq!(pair.target(leaves), "2|2|t");
    let output = pair.migrate(&["verify"], "{}");
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
}

/// The plan knows nothing of it: its rows would be read by nobody.
#[test]
fn a_partition_that_comes_after_the_plan_ends_the_run() {
    let pair = Pair::start(EVENTS);
    pair.target(
        "CREATE TABLE events (id bigint GENERATED ALWAYS AS IDENTITY, at date NOT NULL, v text, \
         PRIMARY KEY (id, at)) PARTITION BY RANGE (at)",
    );
    let migration = "{target_mode: truncate}";
    let output = pair.migrate(&["run"], migration);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    let brought = pair.target("SELECT count(*) FROM events");
    // Between the plan and the snapshot a run writes its tables down.
    let lock = pair.hold_in_target("LOCK TABLE leverd_migration.moved_table IN ACCESS EXCLUSIVE MODE");
    let mut command = pair.prepared(&["run"], migration, ("", ""));
    let run = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    pair.wait_for(
        "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%moved_table%'",
    );
    pair.source(
        "CREATE TABLE events_2024 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01'); \
         INSERT INTO events (at, v) VALUES ('2024-02-29', 'new')",
    );
    drop(lock);
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(64), "{}", both(&output));
    let why = "the source's partition public.events_2024 came or went after the plan was made";
    assert!(both(&output).contains(why), "{}", both(&output));
    assert_eq!(pair.target("SELECT count(*) FROM events"), brought, "nothing is emptied before");

    let output = pair.migrate(&["run", "--replace"], migration);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    let rows = pair.target(ROWS);
    assert_eq!(rows, pair.source(ROWS));
    assert_eq!(rows.lines().count(), 3, "{rows}");
}

#[test]
fn a_table_that_is_kept_keeps_its_own_partitions() {
    let pair = Pair::start(EVENTS);
    let there = "CREATE TABLE events (id bigint GENERATED ALWAYS AS IDENTITY, at date NOT NULL, v text, \
        PRIMARY KEY (id, at)) PARTITION BY RANGE (at); \
        CREATE TABLE events_to_2022 PARTITION OF events FOR VALUES FROM (MINVALUE) TO ('2023-01-01')";
    pair.target(there);
    let placed = "SELECT tableoid::regclass::text, count(*) FROM events GROUP BY 1 ORDER BY 1";
    for mode in ["truncate", "upsert"] {
        let migration = format!("{{target_mode: {mode}, chunk_size: 1000}}");
        let output = pair.migrate(&["run"], &migration);
        assert_eq!(output.status.code(), Some(0), "{mode}: {}", both(&output));
        // The one that was there stays; that which fits beside it was made.
        let of_years = pair.source("SELECT count(*) FILTER (WHERE at < '2023-01-01'), count(*) FROM events");
        let (first, all) = of_years.split_once('|').unwrap();
        let second = all.parse::<u32>().unwrap() - first.parse::<u32>().unwrap();
        assert_eq!(pair.target(placed), format!("events_2023|{second}\nevents_to_2022|{first}"), "{mode}");
        assert_eq!(pair.target("SELECT to_regclass('old.events_2022') IS NULL"), "t");
    }
}

/// `CREATE INDEX IF NOT EXISTS` would pass it over, and the index would be missing.
#[test]
fn an_index_whose_name_is_taken_ends_the_run_before_its_rows() {
    let pair = Pair::start(
        "CREATE TABLE t (id int PRIMARY KEY, v int); CREATE INDEX by_v ON t (v); INSERT INTO t VALUES (1, 1)",
    );
    pair.target("CREATE TABLE other (v int); CREATE INDEX by_v ON other (v)");
    let output = pair.migrate(&["run"], "{}");
    assert_ne!(output.status.code(), Some(0), "{}", both(&output));
    let why = "other relations of the target have the names of indexes that are to be built: public.by_v";
    assert!(both(&output).contains(why), "{}", both(&output));
    assert_eq!(pair.target("SELECT to_regclass('public.t') IS NULL"), "t");

    pair.target("ALTER INDEX by_v RENAME TO of_other");
    // The second time they are its own, of a table that is kept.
    for migration in ["{}", "{target_mode: truncate}"] {
        let output = pair.migrate(&["run", "--replace"], migration);
        assert_eq!(output.status.code(), Some(0), "{}", both(&output));
        let of = "SELECT indrelid::regclass, indisvalid FROM pg_index WHERE indexrelid = 'by_v'::regclass";
        assert_eq!(pair.target(of), "t|t");
    }
}
