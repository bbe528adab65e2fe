//! Migrations between real servers, by the real program.

mod adjusted;
mod bad_input;
mod calibrate;
mod from_mariadb;
mod history;
mod kills;
mod levers;
mod metrics;
mod pair;
mod partitioned;
mod settings;
mod skew;

use crate::support::leverd::both;
use kills::Scene;
use pair::{Pair, SHOP, crash};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(240);

#[test]
fn a_database_arrives_whole() {
    let pair = Pair::start(SHOP);
    let output = pair.migrate(&["run", "--json"], "{chunk_size: 1000, workers: 4, parallel_readers: 2}");
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    pair.is_whole();
    // Several chunks of a table were read at once, by key, by block and by a key of several columns.
    let chunks = pair.target("SELECT count(*) FROM leverd_migration.chunk");
    assert!(chunks.parse::<u32>().unwrap() > 40, "{chunks} chunks");
    let closed = pair.target("SELECT outcome || is_open FROM leverd_migration.run");
    assert_eq!(closed, "completefalse");
}

#[test]
fn what_is_killed_goes_on() {
    let pair = Pair::start(SHOP);
    let [source, target] = pair.servers();
    let scene = Scene {
        begin: &|command| pair.begin(&[command], "{chunk_size: 1000, workers: 3, parallel_readers: 2}"),
        crash_source: &|| crash(source),
        crash_target: &|| crash(target),
        target: &|sql| pair.target(sql),
        fresh: &|| (),
        is_whole: &|| pair.is_whole(),
    };
    eprintln!("{}", scene.survives(8));
}

#[test]
fn a_second_run_is_kept_out() {
    let pair =
        Pair::start("CREATE TABLE one (id int PRIMARY KEY); INSERT INTO one SELECT generate_series(1, 10)");
    pair.target("CREATE TABLE one (id int PRIMARY KEY)");
    let (mut first, lock) = pair.held_up("one", "{target_mode: truncate}");
    for command in ["run", "resume"] {
        let output = pair.migrate(&[command], "{target_mode: truncate}");
        assert_eq!(output.status.code(), Some(75), "{}", both(&output));
        assert!(both(&output).contains("the target is taken"), "{}", both(&output));
    }
    drop(lock);
    assert!(first.wait().unwrap().success());
    assert_eq!(pair.target("SELECT count(*) FROM one"), "10");
}

#[test]
fn rows_that_the_target_refuses_are_set_aside() {
    let pair = Pair::start(
        "CREATE TABLE t (id int PRIMARY KEY, v int, w text);
         INSERT INTO t SELECT g, g, repeat('x', 100) FROM generate_series(1, 5000) g",
    );
    pair.target("CREATE TABLE t (id int PRIMARY KEY, v int CHECK (v NOT IN (7, 3000, 4999)), w text)");
    let output = pair.migrate(&["run"], "{target_mode: truncate, chunk_size: 1000}");
    assert_eq!(output.status.code(), Some(1), "{}", both(&output));
    assert_eq!(
        pair.target("SELECT count(*), sum(v) FROM t"),
        format!("4997|{}", 5000 * 5001 / 2 - 7 - 3000 - 4999)
    );
    let rejected =
        "SELECT sqlstate, count(*), min(octet_length(payload)) > 100 FROM leverd_migration.reject GROUP BY 1";
    assert_eq!(pair.target(rejected), "23514|3|t");
    assert_eq!(pair.target("SELECT sum(rejected), sum(row_count) FROM leverd_migration.chunk"), "3|4997");
    // The row itself is in nothing that a person is shown.
    assert!(!both(&output).contains("xxx"), "{}", both(&output));
}

#[test]
fn a_table_of_other_types_is_converted_or_refused() {
    let pair = Pair::start(
        "CREATE TABLE t (id bigint PRIMARY KEY, v bigint); INSERT INTO t SELECT g, g FROM generate_series(1, 100) g;
         INSERT INTO t VALUES (101, 3000000000)",
    );
    pair.target("CREATE TABLE t (id numeric(20, 5) PRIMARY KEY, v int)");
    let output = pair.migrate(&["run"], "{target_mode: truncate}");
    assert_eq!(output.status.code(), Some(1), "{}", both(&output));
    assert_eq!(pair.target("SELECT count(*), sum(id), sum(v) FROM t"), "100|5050.00000|5050");
    assert_eq!(pair.target("SELECT sqlstate FROM leverd_migration.reject"), "22003");
    assert!(!both(&output).contains("3000000000"), "a row's value is shown:\n{}", both(&output));
}

#[test]
fn a_kept_table_keeps_its_words_and_one_that_is_made_has_the_sources() {
    let pair = Pair::start(
        "CREATE TABLE t (id int CONSTRAINT own PRIMARY KEY DEFERRABLE, v int UNIQUE) WITH (fillfactor = 70);
         INSERT INTO t SELECT g, g FROM generate_series(1, 100) g;
         COMMENT ON CONSTRAINT own ON t IS 'source'; COMMENT ON INDEX t_v_key IS 'source';
         CREATE TABLE made (id int PRIMARY KEY DEFERRABLE) WITH (fillfactor = 60, autovacuum_enabled = false);
         COMMENT ON CONSTRAINT made_pkey ON made IS 'source'",
    );
    pair.target(
        "CREATE TABLE t (id int CONSTRAINT own PRIMARY KEY, v int UNIQUE);
         COMMENT ON CONSTRAINT own ON t IS 'target'",
    );
    let plan = both(&pair.migrate(&["plan"], "{target_mode: upsert}"));
    assert!(plan.contains("is DEFERRABLE in the source"), "{plan}");
    let output = pair.migrate(&["run"], "{target_mode: upsert}");
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    let said = "SELECT obj_description(oid, 'pg_constraint'), condeferrable FROM pg_constraint \
        WHERE conname IN ('own', 'made_pkey') ORDER BY conname";
    assert_eq!(pair.target(said), "source|f\ntarget|f");
    // Nothing was said of it there.
    assert_eq!(pair.target("SELECT obj_description('t_v_key'::regclass, 'pg_class')"), "source");
    let parameters = "SELECT relname, array_to_string(reloptions, ', ') FROM pg_class \
        WHERE oid IN ('t'::regclass, 'made'::regclass) ORDER BY 1";
    assert_eq!(pair.target(parameters), "made|fillfactor=60, autovacuum_enabled=false\nt|");
}

#[test]
fn rows_are_added_or_replaced() {
    let pair = Pair::start(
        "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text);
         INSERT INTO t (v) SELECT 'new ' || g FROM generate_series(1, 3000) g;
         CREATE TABLE keyless (v int); INSERT INTO keyless SELECT generate_series(1, 100);
         CREATE SEQUENCE tickets; SELECT setval('tickets', 3); CREATE SEQUENCE stubs; SELECT setval('stubs', 3)",
    );
    let there = "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text);
         INSERT INTO t (id, v) OVERRIDING SYSTEM VALUE SELECT g, 'old ' || g FROM generate_series(2901, 3100) g;
         CREATE TABLE keyless (v int); INSERT INTO keyless VALUES (0);
         CREATE SEQUENCE tickets; SELECT setval('tickets', 50)";
    pair.target(there);
    let refused = pair.migrate(&["run"], "{target_mode: upsert}");
    assert_eq!(refused.status.code(), Some(64), "{}", both(&refused));
    assert!(both(&refused).contains("target_mode upsert needs a primary key"), "{}", both(&refused));

    let output = pair.migrate(&["run"], "{target_mode: upsert, exclude_tables: [keyless], chunk_size: 1000}");
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    let counted = "SELECT count(*), count(*) FILTER (WHERE v LIKE 'new%'), max(id) FROM t";
    assert_eq!(pair.target(counted), "3100|3000|3100");
    // Its own numbers are not given twice.
    assert_eq!(pair.target("SELECT nextval('tickets'), nextval('stubs')"), "51|4");

    let output = pair.migrate(&["run"], "{target_mode: append, include_tables: [keyless]}");
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    assert_eq!(pair.target("SELECT count(*), sum(v) FROM keyless"), "101|5050");
}

#[test]
fn what_cannot_be_reached_is_told_without_a_password() {
    let pair = Pair::start("CREATE TABLE t (id int PRIMARY KEY)");
    let secret = "s3cret-word";
    for (side, extra) in [("source", "port: 1"), ("target", "database: nowhere")] {
        let output = pair.migrate_with(&["run"], side, &format!("{extra}, password: {secret}"));
        assert_eq!(output.status.code(), Some(1), "{}", both(&output));
        let words = both(&output);
        assert!(words.contains(&format!("the {side}")) && !words.contains(secret), "{words}");
    }
}

#[test]
fn many_small_tables_need_few_queries() {
    let tables = std::env::var("LEVERD_TABLES").ok().and_then(|tables| tables.parse().ok()).unwrap_or(300);
    let make: Vec<String> = (0..tables)
        .map(|at| format!("CREATE TABLE t{at} (id int PRIMARY KEY, v text); INSERT INTO t{at} VALUES (1, 'a'), (2, 'b');"))
        .collect();
    let pair = Pair::start(&make[0]);
    // Not all in one transaction: each of them holds locks.
    for some in make[1..].chunks(500) {
        pair.source(&some.concat());
    }
    pair.source("ALTER DATABASE postgres SET log_statement = 'all'");
    let output = pair.migrate(&["run"], "{workers: 4}");
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    assert_eq!(
        pair.target("SELECT sum(row_count), count(*) FROM leverd_migration.chunk"),
        format!("{}|{tables}", 2 * tables)
    );
    let log = pair.source_log();
    let (copies, others): (Vec<&str>, Vec<&str>) = log
        .lines()
        .filter(|line| line.contains("statement: ") || line.contains("execute "))
        .partition(|line| line.contains("COPY (SELECT"));
    assert_eq!(copies.len(), tables, "{} copies", copies.len());
    // Those of any run, and two that begin a session for each hundred tables.
    assert!(others.len() < 60 + tables / 50, "{} other statements:\n{}", others.len(), others.join("\n"));
}

#[test]
fn stopped_it_says_how_to_go_on() {
    let pair =
        Pair::start("CREATE TABLE one (id int PRIMARY KEY); INSERT INTO one SELECT generate_series(1, 10)");
    pair.target("CREATE TABLE one (id int PRIMARY KEY)");
    let (mut run, lock) = pair.held_up("one", "{target_mode: truncate}");
    pair.interrupt(&run);
    drop(lock);
    assert_eq!(run.wait().unwrap().code(), Some(1));
    let output = pair.migrate(&["resume"], "{target_mode: truncate}");
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    assert_eq!(pair.target("SELECT count(*) FROM one"), "10");
}
