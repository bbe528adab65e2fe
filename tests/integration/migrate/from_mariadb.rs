//! A MariaDB's database into a PostgreSQL.

use super::PATIENCE;
use super::kills::Scene;
use super::pair::{QUICK, connect};
use crate::support::leverd::{Project, both, wait_for_exit};
use crate::support::mariadb::PrivateMariaDb;
use crate::support::postgres::PrivatePostgres;
use crate::support::proxy::{Fault, Proxy};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio_postgres::{NoTls, SimpleQueryMessage};

const SHOP: &str = include_str!("mariadb.sql");

fn migrate(source: &PrivateMariaDb, target: &PrivatePostgres, command: &str) -> Output {
    let migration = "{chunk_size: 1000, workers: 2, sample_validation: true}";
    migrate_as(&Project::new(), (source.port, target.port), migration, command)
}

/// The same as that file's section says; `ports`: of the source and of the target.
fn migrate_as(project: &Project, ports: (u16, u16), migration: &str, command: &str) -> Output {
    write_file(project, ports, migration);
    project.leverd(&["migrate", command, "-c", "migration.yaml", "--no-tty"], PATIENCE)
}

fn write_file(project: &Project, ports: (u16, u16), migration: &str) {
    let text = format!(
        "source: {{type: mariadb, host: 127.0.0.1, port: {}, database: shop, user: root, ssl_mode: disable}}\n\
         target: {{type: postgres, host: 127.0.0.1, port: {}, database: postgres, user: postgres, ssl_mode: disable}}\n\
         migration: {migration}\n",
        ports.0, ports.1
    );
    project.write("migration.yaml", &text);
}

/// That program, begun and silent.
fn silent(project: &Project, command: &str) -> Command {
    let mut command = project.command(&["migrate", command, "-c", "migration.yaml", "--no-tty"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn ask(target: &PrivatePostgres, sql: &str) -> String {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let (client, connection) = tokio_postgres::connect(&target.dsn(), NoTls).await.unwrap();
        let asked =
            async move { client.simple_query(sql).await.unwrap_or_else(|error| panic!("{error:?}\n{sql}")) };
        let (messages, _) = tokio::join!(asked, connection);
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                let cells: Vec<&str> = (0..row.len()).map(|at| row.get(at).unwrap_or("NULL")).collect();
                Some(cells.join("|"))
            }
            _ => None,
        });
        rows.collect::<Vec<_>>().join("\n")
    })
}

#[test]
fn it_arrives_and_what_differs_is_found() {
    let source = PrivateMariaDb::start();
    source.ask(SHOP);
    let target = PrivatePostgres::start("autovacuum = off\nfsync = off\n");
    let output = migrate(&source, &target, "run");
    // Two rows cannot be: a NUL in a text, and a truth value of 7.
    assert_eq!(output.status.code(), Some(1), "{}", both(&output));
    assert!(both(&output).contains("2 rows"), "{}", both(&output));
    let sample = "rows compared: the target holds the same, but for rejected rows.";
    assert!(both(&output).contains(sample), "{}", both(&output));
    let rejected = ask(&target, "SELECT column_name FROM leverd_migration.reject ORDER BY 1");
    assert_eq!(rejected, "name\nvip");

    // Every type, as PostgreSQL writes it.
    let row = "SELECT id, name, born, vip, mood, flags, created, at AT TIME ZONE 'UTC', took, made, amount, f, d, bits, encode(picture, 'hex'), \
               extra, most FROM customers WHERE id = 3";
    assert_eq!(
        ask(&target, row),
        "3|näme 3\t\\|1970-01-04|t|sad|a,c|2024-01-01 00:00:03.25|2024-01-01 00:03:00|-34:34:56|2003|3.125|\
         0.42857143|1.7320508075688772|00011|eccbc87e4b5ce2fe28308fd9f2a7baf3|{\"k\": 3}|18446744073709551612"
    );
    assert_eq!(
        ask(&target, "SELECT * FROM things ORDER BY id"),
        "00000000-0000-0000-0000-000000000000|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL\n\
         00112233-4455-6677-8899-aabbccddeeff|10.0.0.7|2001:db8::7|t|\
         0000000000000000000000000000000000000000000000000000000000000101|838:59:58.999999|\
         9999-12-31 23:59:59.999|-128|16777215|\
         12345678901234567890123456789012345.000000000000000000000000000001|-0.5000\n\
         ffffffff-ffff-ffff-ffff-ffffffffffff|255.255.255.255|::|f|\
         1111111111111111111111111111111111111111111111111111111111111111|-00:00:00.5|1000-01-01 00:00:00|127|0|\
         0.000000000000000000000000000000|-10000.0000"
    );
    // Zero dates are NULL, as the plan tells.
    assert_eq!(ask(&target, "SELECT id, day, note FROM zero ORDER BY id"), "1|NULL|a\n2|2020-01-02|b");
    assert_eq!(ask(&target, "SELECT count(*), sum(v) FROM by_text"), "6000|18003000");
    assert_eq!(ask(&target, "SELECT count(*) FROM keyless"), "500");
    // One key lies far from the others: chunks are no larger for it.
    assert_eq!(ask(&target, "SELECT count(*), max(id) FROM skewed"), "8001|1000000000000");
    let chunks = "SELECT max(c.row_count) <= 4000 FROM leverd_migration.chunk AS c \
                  JOIN leverd_migration.moved_table AS t ON t.run = c.run AND t.number = c.table_number \
                  WHERE t.source_name = 'skewed'";
    assert_eq!(ask(&target, chunks), "t");
    assert_eq!(ask(&target, "SELECT count(*) FROM some_orders"), "9990");
    let keys = "SELECT conname, contype, convalidated FROM pg_constraint WHERE contype IN ('f', 'p') AND connamespace = \
                'public'::regnamespace ORDER BY 2, 1";
    assert!(ask(&target, keys).starts_with("orders_customer|f|t\n"), "{}", ask(&target, keys));
    let next = source.ask("SELECT auto_increment FROM information_schema.tables WHERE table_name = 'orders'");
    assert_eq!(ask(&target, "INSERT INTO orders (customer_id, v) VALUES (1, 1) RETURNING id"), next);
    ask(&target, &format!("DELETE FROM orders WHERE id = {next}"));

    what_is_said_of_items_is_there(&target);

    let output = migrate(&source, &target, "verify");
    assert!(output.status.success(), "{}", both(&output));
    ask(&target, "UPDATE customers SET name = 'other' WHERE id = 77; DELETE FROM by_text WHERE k = 'key555'");
    let output = migrate(&source, &target, "verify");
    assert_eq!(output.status.code(), Some(1), "{}", both(&output));
    let words = both(&output);
    assert!(words.contains("id=77") && words.contains("k=key555") && !words.contains("other"), "{words}");
}

/// Its check, its computed column, its defaults and its comments, as the target's catalog has them.
fn what_is_said_of_items_is_there(target: &PrivatePostgres) {
    let check = "SELECT pg_get_constraintdef(oid), convalidated FROM pg_constraint \
                 WHERE conrelid = 'items'::regclass AND conname = 'sane_amount' AND contype = 'c'";
    assert_eq!(ask(target, check), "CHECK (((amount >= 1) AND (amount <= 1000)))|t");
    let column = |name: &str| {
        let sql = format!(
            "SELECT a.attgenerated, pg_get_expr(d.adbin, d.adrelid) FROM pg_attribute AS a \
             JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
             WHERE a.attrelid = 'items'::regclass AND a.attname = '{name}'"
        );
        ask(target, &sql)
    };
    let total = column("total");
    assert!(total.starts_with("s|") && total.contains("price * ") && total.contains("amount"), "{total}");
    assert_eq!(column("price"), "|0.50");
    assert_eq!(column("amount"), "|(1 + 2)");
    assert!(column("code").contains("gen_random_uuid()"), "{}", column("code"));
    let comments = "SELECT obj_description('items'::regclass), obj_description('customers'::regclass), \
                    col_description('items'::regclass, 2)";
    assert_eq!(ask(target, comments), "what is bought|who buys|as it's told");
    assert_eq!(ask(target, "SELECT count(*) FROM items WHERE total = price * amount"), "2000");
    let made = "INSERT INTO items (name) VALUES ('new') RETURNING price, amount, total, length(code)";
    assert_eq!(ask(target, made), "0.50|3|1.50|36");
    ask(target, "DELETE FROM items WHERE name = 'new'");
}

#[test]
fn what_is_killed_goes_on() {
    let (source, target) = (PrivateMariaDb::start(), PrivatePostgres::start(QUICK));
    source.ask(SHOP);
    // What cannot be in the target, so that each run can be whole.
    source.ask("DELETE FROM customers WHERE id > 6000");
    let project = Project::new();
    let (ports, migration) =
        ((source.port, target.port), "{chunk_size: 1000, workers: 2, parallel_readers: 2}");
    write_file(&project, ports, migration);
    let is_whole = || {
        for (table, rows) in [
            ("customers", 5000),
            ("orders", 10_000),
            ("items", 2000),
            ("things", 3),
            ("by_text", 6000),
            ("keyless", 500),
            ("skewed", 8001),
        ] {
            assert_eq!(ask(&target, &format!("SELECT count(*) FROM {table}")), rows.to_string(), "{table}");
        }
        assert_eq!(ask(&target, "SELECT count(DISTINCT a), sum(a) FROM keyless"), "500|125250");
        assert_eq!(ask(&target, "SELECT count(*) FROM leverd_migration.reject"), "0");
        // A run that could not go on is begun anew, and what it brought was dropped.
        let brought = "SELECT sum(row_count) FROM leverd_migration.chunk \
                       WHERE run IN (SELECT id FROM leverd_migration.run WHERE outcome = 'complete')";
        assert_eq!(ask(&target, brought), "31506");
        let output = migrate_as(&project, ports, migration, "verify");
        assert!(output.status.success(), "{}", both(&output));
    };
    let scene = Scene {
        begin: &|command| silent(&project, command).spawn().unwrap(),
        crash_source: &|| source.crash(),
        crash_target: &|| super::pair::crash(&target),
        target: &|sql| ask(&target, sql),
        fresh: &|| {},
        is_whole: &is_whole,
    };
    eprintln!("{}", scene.survives(6));
}

/// 6,000 rows of some 130 bytes.
const ROWS: &str = "CREATE TABLE t (id int PRIMARY KEY, v varchar(200)); \
     INSERT INTO t SELECT seq, concat(repeat('x', 100), seq) FROM seq_1_to_6000; ANALYZE TABLE t";
const ONCE: &str = "SELECT count(*), count(DISTINCT id), sum(id) FROM t";
const ALL: &str = "6000|6000|18003000";
const BROUGHT: &str = "SELECT sum(row_count), (SELECT count(*) FROM leverd_migration.reject) \
     FROM leverd_migration.chunk";

/// A network that cuts the source's connection with that number, from 1, in the middle of its rows: the first is the
/// catalog's, and the last that was opened reads first.
fn cut(source: &PrivateMariaDb, connection: usize) -> Proxy {
    let mut faults = vec![("root", Fault::CutAfter(u64::MAX)); connection];
    faults[connection - 1] = ("root", Fault::CutAfter(250_001));
    Proxy::to_mysql(source.port, &faults)
}

#[test]
fn rows_that_are_cut_in_half_are_read_by_another_session_of_the_snapshot() {
    let (source, target) = (PrivateMariaDb::start(), PrivatePostgres::start(QUICK));
    source.ask(ROWS);
    // Four sessions have the snapshot, and one of them reads.
    let proxy = cut(&source, 5);
    let migration = "{chunk_size: 1000, workers: 1, parallel_readers: 1, write_ahead_writers: 1, \
                     max_source_connections: 6}";
    let output = migrate_as(&Project::new(), (proxy.port, target.port), migration, "run");
    let words = both(&output);
    assert_eq!(output.status.code(), Some(0), "{words}");
    assert_eq!(proxy.done(), 1, "{words}");
    assert!(words.contains("reading shop.t: the connection to the source is lost: "), "{words}");
    assert!(words.contains("trying the chunk again"), "{words}");
    assert_eq!(ask(&target, ONCE), ALL);
    assert_eq!(ask(&target, BROUGHT), "6000|0");
}

#[test]
fn a_snapshot_that_is_lost_ends_the_run_and_it_goes_on_in_another() {
    let (source, target) = (PrivateMariaDb::start(), PrivatePostgres::start(QUICK));
    source.ask(ROWS);
    // One session has the snapshot.
    let (proxy, project) = (cut(&source, 2), Project::new());
    let migration = "{chunk_size: 1000, workers: 1, parallel_readers: 1, write_ahead_writers: 1, \
                     max_source_connections: 2}";
    let output = migrate_as(&project, (proxy.port, target.port), migration, "run");
    let words = both(&output);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert_eq!(proxy.done(), 1, "{words}");
    assert!(words.contains("leverd: the source: all sessions that had the snapshot are lost"), "{words}");
    assert!(words.contains("  hint: leverd migrate resume -c FILE goes on where it stopped"), "{words}");

    let output = migrate_as(&project, (proxy.port, target.port), migration, "resume");
    let words = both(&output);
    assert_eq!(output.status.code(), Some(0), "{words}");
    assert_eq!(ask(&target, ONCE), ALL);
    assert_eq!(ask(&target, BROUGHT), "6000|0");
}

/// A table that no session of the snapshot has touched yet can be altered.
#[test]
fn a_column_that_is_dropped_in_mid_run_ends_it() {
    let (source, target) = (PrivateMariaDb::start(), PrivatePostgres::start(QUICK));
    source.ask(
        "CREATE TABLE t (id int PRIMARY KEY, v varchar(200)); \
         INSERT INTO t SELECT seq, concat(repeat('x', 100), seq) FROM seq_1_to_20000; \
         CREATE TABLE u (id int PRIMARY KEY, v varchar(200)); INSERT INTO u SELECT seq, 'u' FROM seq_1_to_500; \
         ANALYZE TABLE t, u",
    );
    ask(
        &target,
        "CREATE TABLE t (id int PRIMARY KEY, v varchar(200)); CREATE TABLE u (id int PRIMARY KEY, v varchar(200))",
    );
    // The writer that comes to this row waits for the end of its transaction, and the run for the writer.
    let runtime = Runtime::new().unwrap();
    let holder = runtime.block_on(connect(&target.dsn()));
    runtime.block_on(holder.batch_execute("BEGIN; INSERT INTO t VALUES (2500, '')")).unwrap();
    let (project, ports) = (Project::new(), (source.port, target.port));
    let migration = "{target_mode: append, chunk_size: 1000, workers: 1, parallel_readers: 1, \
                     write_ahead_writers: 1, read_ahead_buffers: 2}";
    write_file(&project, ports, migration);
    let (said, mut command) = (tempfile::NamedTempFile::new().unwrap(), silent(&project, "run"));
    let mut run = command.stderr(said.reopen().unwrap()).spawn().unwrap();
    let waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'COPY%'";
    let until = Instant::now() + PATIENCE;
    while ask(&target, waits).is_empty() {
        assert!(Instant::now() < until, "never: {waits}");
        std::thread::sleep(Duration::from_millis(20));
    }
    source.ask("SET lock_wait_timeout = 30; ALTER TABLE u DROP COLUMN v");
    runtime.block_on(holder.batch_execute("ROLLBACK")).unwrap();
    let status = wait_for_exit(&mut run, PATIENCE).expect("it ends");
    let words = std::fs::read_to_string(said.path()).unwrap();
    assert_eq!(status.code(), Some(1), "{words}");
    assert!(words.contains("leverd: the source: reading shop.u: Unknown column"), "{words}");
    assert!(words.contains("(error 1054, "), "{words}");

    let output = migrate_as(&project, ports, migration, "resume");
    assert_eq!(output.status.code(), Some(64), "{}", both(&output));
    let changed = "cannot go on: the source's tables, or what the file asks for, are not what they were";
    assert!(both(&output).contains(changed), "{}", both(&output));
    source.ask("ALTER TABLE u ADD COLUMN v varchar(200)");
    let output = migrate_as(&project, ports, migration, "resume");
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    assert_eq!(ask(&target, ONCE), "20000|20000|200010000");
    assert_eq!(ask(&target, "SELECT count(*), count(v) FROM u"), "500|0");
}
