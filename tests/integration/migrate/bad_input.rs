//! Bad input, on real parts: a run that meets it completes, or ends with a clear answer and can be gone on with.

use super::pair::{Pair, QUICK, ask};
use super::{PATIENCE, both};
use crate::support::http::{TinyHttp, response};
use crate::support::leverd::{Project, finish, wait_for_exit};
use crate::support::mariadb::PrivateMariaDb;
use crate::support::postgres::{PrivatePostgres, give_to_unprivileged, system_bin};
use crate::support::proxy::{Fault, Proxy};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::{NamedTempFile, TempDir};
use tokio::runtime::Runtime;

/// 6,000 rows of some 130 bytes.
const ROWS: &str = "CREATE TABLE t (id int PRIMARY KEY, v text); \
     INSERT INTO t SELECT g, repeat('x', 100) || g FROM generate_series(1, 6000) AS g; ANALYZE";
/// The same place in the target.
const PLACE: &str = "CREATE TABLE t (id int PRIMARY KEY, v text)";
/// Each of them once, and what that gives.
const ONCE: &str = "SELECT count(*), count(DISTINCT id), sum(id) FROM t";
const ALL: &str = "6000|6000|18003000";
/// What the chunks of the last run brought, and the rows that were refused in any.
const BROUGHT: &str = "SELECT sum(row_count), (SELECT count(*) FROM leverd_migration.reject) \
     FROM leverd_migration.chunk WHERE run = (SELECT id FROM leverd_migration.run ORDER BY began_at DESC LIMIT 1)";
/// One reader and one writer, so that it is known which connection carries the rows.
const ONE_EACH: &str = "workers: 1, parallel_readers: 1, write_ahead_writers: 1";

/// Lets a row with 2,500 in only while nobody holds the gate.
const GATE: &str = "CREATE FUNCTION passes(int) RETURNS boolean LANGUAGE plpgsql AS \
     'BEGIN IF $1 = 2500 THEN PERFORM pg_advisory_xact_lock_shared(4711); END IF; RETURN true; END'";
const HOLD_THE_GATE: &str = "SELECT pg_advisory_xact_lock(4711)";
const AT_THE_GATE: &str =
    "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'advisory' AND query LIKE 'COPY%'";
const TRUNCATION_WAITS: &str =
    "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'TRUNCATE%'";

/// A run that is under way, and what it has said so far. Dropped, it is killed.
struct Background {
    child: Child,
    said: NamedTempFile,
}

impl Background {
    fn start(mut command: Command) -> Self {
        let said = NamedTempFile::new().unwrap();
        // One file, one place in it: neither output writes over the other.
        let file = said.reopen().unwrap();
        command.stdout(file.try_clone().unwrap()).stderr(file);
        Self { child: command.spawn().unwrap(), said }
    }

    fn words(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.said.path()).unwrap()).into_owned()
    }

    fn waits_for(&mut self, words: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            let ended = self.child.try_wait().unwrap();
            let said = self.words();
            if said.contains(words) {
                return;
            }
            assert!(ended.is_none() && Instant::now() < until, "{words:?} is not in\n{said}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Its exit code and all that it said.
    fn ends(mut self) -> (Option<i32>, String) {
        let status = wait_for_exit(&mut self.child, PATIENCE);
        let said = self.words();
        let status = status.unwrap_or_else(|| panic!("it does not end:\n{said}"));
        (status.code(), said)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `leverd migrate run` to its end; `other`: a side and keys of it that are others, `faults`: of leverd's own.
fn run(pair: &Pair, migration: &str, other: (&str, &str), faults: &str) -> Output {
    let mut command = pair.prepared(&["run"], migration, other);
    if !faults.is_empty() {
        command.env("FAILPOINTS", faults);
    }
    finish(command, PATIENCE)
}

/// It must say each of these.
#[track_caller]
fn says(words: &str, parts: &[&str]) {
    for part in parts {
        assert!(words.contains(part), "{part:?} is not in\n{words}");
    }
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

// --- The file and the servers --------------------------------------------------------------------------------------

#[test]
fn mistakes_in_the_file_are_told_with_their_place() {
    let project = Project::new();
    let text = "source: {type: postgres, host: localhost, database: a, user: ann, \
                password: '${env:LEVERD_IS_NOT_SET}'}\n\
                target: {host: localhost, database: b, user: ann}\n\
                migration:\n  chunk_sise: 5000\n  target_mode: upsrt\n";
    project.write("migration.yaml", text);
    let output = project.leverd(&["migrate", "run", "-c", "migration.yaml", "--no-tty"], PATIENCE);
    assert_eq!(output.status.code(), Some(64), "{}", both(&output));
    let words = both(&output);
    for line in [
        "migration.yaml:1: source.password: the environment variable LEVERD_IS_NOT_SET is not set",
        "  hint: set it, or give a default: ${env:LEVERD_IS_NOT_SET:-default}",
        "  hint: did you mean chunk_size?",
        "migration.yaml:5: migration.target_mode: found \"upsrt\"; allowed: drop_recreate, truncate, append, upsert",
        "  hint: did you mean upsert?",
    ] {
        assert!(words.lines().any(|found| found == line), "no line\n{line}\nin\n{words}");
    }
    says(&words, &["migration.yaml:4: migration.chunk_sise: this key is not known; allowed: workers, "]);
}

#[test]
fn wrong_credentials_are_told_without_the_password() {
    let role = "CREATE ROLE mover SUPERUSER LOGIN PASSWORD 'right-word'";
    let pair = Pair::start(&format!("{role}; CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)"));
    pair.target(role);
    for server in pair.servers() {
        ask_for_passwords(server);
    }
    let wrong = "password authentication failed for user \"mover\" (SQLSTATE 28P01)";
    for (side, keys, why) in [
        ("source", "user: mover, password: wrong-word", wrong),
        ("target", "user: mover, password: wrong-word", wrong),
        ("source", "user: mover", "password missing"),
        ("target", "user: nobody-known", "role \"nobody-known\" does not exist"),
    ] {
        let output = run(&pair, "{}", (side, keys), "");
        assert_eq!(output.status.code(), Some(1), "{}", both(&output));
        let words = both(&output);
        says(&words, &[&format!("leverd: the {side}: Postgres at 127.0.0.1:"), " refuses: ", why]);
        says(&words, &["  hint: check user, password "]);
        assert!(!words.contains("wrong-word"), "{words}");
    }
    // Nothing was begun that would have to be resumed.
    for side in ["source", "target"] {
        let output = run(&pair, "{}", (side, "user: mover, password: right-word"), "");
        assert_eq!(output.status.code(), Some(0), "{}", both(&output));
        assert_eq!(pair.target("SELECT count(*) FROM t"), "1");
    }
}

/// From now on the role `mover` needs its password.
fn ask_for_passwords(server: &PrivatePostgres) {
    let file = server.data().join("pg_hba.conf");
    let others = fs::read_to_string(&file).unwrap();
    #[expect(clippy::disallowed_methods, reason = "a test's own file")]
    fs::write(&file, format!("host all mover 127.0.0.1/32 scram-sha-256\n{others}")).unwrap();
    // Not a reload, of which nobody could tell when it has happened.
    server.pg_ctl("restart");
}

// --- Tables and rows -----------------------------------------------------------------------------------------------

#[test]
fn a_table_without_a_key_is_told_and_resumed_and_verified() {
    let pair = Pair::start(
        "CREATE TABLE t (a int, b text); INSERT INTO t \
         SELECT CASE g WHEN 2500 THEN 2500 ELSE g % 100 END, repeat('b', 200) || g FROM generate_series(1, 5000) AS g; \
         ANALYZE",
    );
    pair.target(&format!("{GATE}; CREATE TABLE t (a int CHECK (passes(a)), b text)"));
    let migration = "{target_mode: truncate, chunk_size: 1000, workers: 1, write_ahead_writers: 2}";
    let output = pair.migrate(&["plan", "--json"], migration);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(plan["keyless"], json!(["public.t"]), "{plan:#}");
    let read = plan["tables"][0]["read"].as_str().unwrap();
    assert!(read.starts_with("by blocks"), "{plan:#}");
    let output = pair.migrate(&["plan"], migration);
    says(&both(&output), &["Without a primary key: "]);

    let gate = pair.hold_in_target(HOLD_THE_GATE);
    let killed = Background::start(pair.prepared(&["run"], migration, ("", "")));
    pair.wait_for(AT_THE_GATE);
    pair.wait_for("SELECT 1 FROM leverd_migration.chunk HAVING count(*) >= 2");
    drop(killed);
    drop(gate);
    pair.wait_for(
        "SELECT 1 WHERE NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name LIKE 'leverd%')",
    );
    assert_ne!(pair.target("SELECT count(*) FROM t"), "0");
    let output = pair.migrate(&["resume"], migration);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    let sums = "SELECT count(*), sum(hashtextextended(t::text, 0)::numeric) FROM t";
    assert_eq!(pair.target(sums), pair.source(sums));

    let output = pair.migrate(&["verify"], migration);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    pair.target("DELETE FROM t WHERE a = 2500");
    let output = pair.migrate(&["verify"], migration);
    assert_eq!(output.status.code(), Some(1), "{}", both(&output));
    says(&both(&output), &["missing 1", "the table has no key: rows are counted and not named"]);
}

/// A MariaDB's database, a target for it, and the program between them.
struct FromMariaDb {
    source: PrivateMariaDb,
    target: PrivatePostgres,
    runtime: Runtime,
    project: Project,
}

impl FromMariaDb {
    fn start(seed: &str) -> Self {
        let source = PrivateMariaDb::start();
        source.ask(seed);
        let target = PrivatePostgres::start(QUICK);
        Self { source, target, runtime: Runtime::new().unwrap(), project: Project::new() }
    }

    /// `leverd migrate COMMAND` to its end; `login`: the source's user, and its password.
    fn migrate_as(&self, login: &str, command: &str, migration: &str) -> Output {
        let text = format!(
            "source: {{type: mariadb, host: 127.0.0.1, port: {}, database: shop, {login}, ssl_mode: disable}}\n\
             target: {{host: 127.0.0.1, port: {}, database: postgres, user: postgres, ssl_mode: disable}}\n\
             migration: {migration}\n",
            self.source.port, self.target.port
        );
        self.project.write("migration.yaml", &text);
        self.project.leverd(&["migrate", command, "-c", "migration.yaml", "--no-tty"], PATIENCE)
    }

    fn migrate(&self, command: &str, migration: &str) -> Output {
        self.migrate_as("user: root", command, migration)
    }

    fn target(&self, sql: &str) -> String {
        ask(&self.runtime, &self.target, sql)
    }
}

#[test]
fn a_type_without_a_counterpart_stops_the_run_before_anything_is_made() {
    let pair = FromMariaDb::start(
        "CREATE TABLE places (id int PRIMARY KEY, spot point); CREATE TABLE kinds (id int PRIMARY KEY); \
         INSERT INTO kinds VALUES (1)",
    );
    for command in ["plan", "run"] {
        let output = pair.migrate(command, "{}");
        assert_eq!(output.status.code(), Some(64), "{}", both(&output));
        says(
            &both(&output),
            &[
                "leverd: 1 of the source's columns have a type that PostgreSQL cannot hold",
                "places.spot: mapping the type \"point\": PostgreSQL itself has none that holds the same",
                "    hint: leave the table out with exclude_tables and move it with ogr2ogr",
                "  hint: leave their tables out with exclude_tables",
            ],
        );
    }
    let made = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    assert_eq!(pair.target(made), "0");
    assert_eq!(pair.target("SELECT count(*) FROM leverd_migration.run"), "0");

    let output = pair.migrate("run", "{exclude_tables: [places]}");
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    assert_eq!(pair.target("SELECT count(*) FROM kinds"), "1");
}

/// The source's password is wrong; then a day that is none is NULL where that is allowed, and else costs its row.
#[test]
fn a_mariadbs_refusal_and_its_zero_dates_are_told() {
    let pair = FromMariaDb::start(
        "SET sql_mode = ''; CREATE TABLE days (id int PRIMARY KEY, born date NOT NULL, died date); \
         INSERT INTO days VALUES (1, '1999-12-31', '2020-02-29'), (2, '2000-01-01', '0000-00-00'), \
         (3, '0000-00-00', NULL), (4, '2000-01-00', NULL), (5, '2000-01-02', '2000-00-02')",
    );
    let output = pair.migrate_as("user: root, password: wrong-word", "run", "{}");
    assert_eq!(output.status.code(), Some(1), "{}", both(&output));
    says(&both(&output), &["leverd: the source", " refuses the user: ", "hint: check user and password "]);
    assert!(!both(&output).contains("wrong-word"), "{}", both(&output));

    let output = pair.migrate("run", "{}");
    assert_eq!(output.status.code(), Some(1), "{}", both(&output));
    says(&both(&output), &["complete, but for rejected rows"]);
    let arrived = "SELECT string_agg(concat_ws(' ', id, born, coalesce(died::text, 'NULL')), ', ' ORDER BY id) \
                   FROM days";
    assert_eq!(pair.target(arrived), "1 1999-12-31 2020-02-29, 2 2000-01-01 NULL, 5 2000-01-02 NULL");
    let refused = "SELECT sqlstate, column_name, count(*) FROM leverd_migration.reject GROUP BY 1, 2";
    assert_eq!(pair.target(refused), "22008|born|2");
}

/// A database without an encoding may hold any bytes. The source itself cannot send them as a text.
#[test]
fn a_text_that_is_no_utf8_ends_the_run_and_set_right_it_goes_on() {
    let pair = Pair::start(
        "CREATE DATABASE bytes TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'",
    );
    pair.source_in(
        "bytes",
        "CREATE TABLE t (id int PRIMARY KEY, v text); \
         INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 3000) AS g; \
         UPDATE t SET v = convert_from('\\xff', 'SQL_ASCII') WHERE id = 2000; ANALYZE",
    );
    let source = ("source", "database: bytes");
    let migration = format!("{{chunk_size: 1000, {ONE_EACH}}}");
    let output = run(&pair, &migration, source, "");
    assert_eq!(output.status.code(), Some(1), "{}", both(&output));
    let words = both(&output);
    says(&words, &["leverd: the source: reading public.t: invalid byte sequence for encoding ", "[22021]"]);
    says(&words, &["  hint: leverd migrate resume -c FILE goes on where it stopped"]);
    // It is no row that the target refuses, and no byte of it is shown.
    assert!(!words.contains("looking for the rows") && !words.contains("0xff"), "{words}");

    pair.source_in("bytes", "UPDATE t SET v = 'v2000' WHERE id = 2000");
    let output = finish(pair.prepared(&["resume"], &migration, source), PATIENCE);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    assert_eq!(pair.target(ONCE), "3000|3000|4501500");
    assert_eq!(pair.target(BROUGHT), "3000|0");
}

#[test]
fn numbers_that_the_target_cannot_hold_are_set_aside() {
    let pair = Pair::start(
        "CREATE TABLE t (id int PRIMARY KEY, price numeric(12, 2), hits bigint); \
         INSERT INTO t SELECT g, g % 1000, g FROM generate_series(1, 5000) AS g; \
         UPDATE t SET price = 123456789.01 WHERE id IN (10, 2000); \
         UPDATE t SET hits = 3000000000 WHERE id = 4000; \
         CREATE TABLE same (id int PRIMARY KEY, price numeric(12, 2)); \
         INSERT INTO same SELECT id, price FROM t WHERE id < 3000; ANALYZE",
    );
    pair.target(
        "CREATE TABLE t (id int PRIMARY KEY, price numeric(6, 2), hits int); \
         CREATE TABLE same (id int PRIMARY KEY, price numeric(6, 2))",
    );
    let migration = "{target_mode: truncate, chunk_size: 1000}";
    let output = pair.migrate(&["run"], migration);
    assert_eq!(output.status.code(), Some(1), "{}", both(&output));
    says(
        &both(&output),
        &["complete, but for rejected rows", "public.t.hits is integer in the target and would be bigint"],
    );
    let arrived = "SELECT count(*), sum(id) FROM t";
    assert_eq!(pair.target(arrived), format!("4997|{}", 5000 * 5001 / 2 - 10 - 2000 - 4000));
    let refused = "SELECT sqlstate, count(*) FROM leverd_migration.reject GROUP BY 1";
    assert_eq!(pair.target(refused), "22003|5");
    // The rows of the table with the same types travel in the binary form; those that are refused are for people.
    assert_eq!(pair.target("SELECT count(*) FROM same"), "2997");
    let kept = "SELECT convert_from(r.payload, 'UTF8') FROM leverd_migration.reject AS r \
                JOIN leverd_migration.moved_table AS m ON m.run = r.run AND m.number = r.table_number \
                WHERE m.source_name = 'same' AND r.format = 'text' ORDER BY r.seq";
    assert_eq!(pair.target(kept), "10\t123456789.01\n\n2000\t123456789.01\n");
    // What is known to be missing is no surprise.
    let output = pair.migrate(&["verify"], migration);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    says(&both(&output), &["the same but for rejected rows"]);
}

/// In COPY's binary form each of these would be refused, or taken for another value without a word.
#[test]
fn values_become_what_the_targets_own_types_make_of_them() {
    let pair = Pair::start(
        "CREATE TABLE t (id int PRIMARY KEY, a int, b bigint, c bigint, d json); INSERT INTO t \
         SELECT g, g, g * 3, g, json_build_object('g', g) FROM generate_series(1, 3000) AS g; ANALYZE",
    );
    pair.target("CREATE TABLE t (id int PRIMARY KEY, a bigint, b numeric, c double precision, d jsonb)");
    let output = pair.migrate(&["run"], "{target_mode: truncate, chunk_size: 1000}");
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    says(
        &both(&output),
        &["public.t.b is numeric in the target and would be bigint: the table travelled as text"],
    );
    let sums = "SELECT count(*), sum(a), sum(b), sum(c)::bigint, sum((d->>'g')::int) FROM t";
    assert_eq!(pair.target(sums), "3000|4501500|13504500|4501500|4501500");
}

/// Once rows of a table are read its columns cannot go: readers hold it. Between the plan and the first row they can.
#[test]
fn a_column_that_is_dropped_meanwhile_ends_the_run() {
    let pair = Pair::start(ROWS);
    pair.target(PLACE);
    let lock = pair.hold_in_target("LOCK TABLE t IN ACCESS EXCLUSIVE MODE");
    let run = Background::start(pair.prepared(&["run"], "{target_mode: truncate}", ("", "")));
    pair.wait_for(TRUNCATION_WAITS);
    pair.source("ALTER TABLE t DROP COLUMN v");
    drop(lock);
    let (code, words) = run.ends();
    assert_eq!(code, Some(1), "{words}");
    says(&words, &["leverd: the source: reading public.t: column \"v\" does not exist [42703]"]);
    assert_eq!(pair.target("SELECT count(*) FROM t"), "0");

    let output = pair.migrate(&["resume"], "{target_mode: truncate}");
    assert_eq!(output.status.code(), Some(64), "{}", both(&output));
    says(
        &both(&output),
        &["cannot go on: the source's tables, or what the file asks for, are not what they were"],
    );
    says(&both(&output), &["  hint: leverd migrate run -c FILE --replace begins anew"]);
    let output = pair.migrate(&["run", "--replace"], "{target_mode: truncate}");
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    assert_eq!(pair.target(ONCE), ALL);
}

// --- Disks ---------------------------------------------------------------------------------------------------------

/// A file system of its own, gone when dropped.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// None where this process may not mount one.
    fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::Builder::new().prefix("leverd-disk-").tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size},mode=700"), "tmpfs"]).arg(folder.path());
        match mount.stdin(Stdio::null()).output() {
            Ok(output) if output.status.success() => {
                give_to_unprivileged(folder.path());
                Some(Self(folder))
            }
            refused => {
                eprintln!("not run: a small disk needs root and mount: {refused:?}");
                None
            }
        }
    }

    /// So many bytes are left.
    fn fill_but(&self, bytes: u64) {
        let room = rustix::fs::statvfs(self.0.path()).unwrap();
        let filler = room.f_bavail * room.f_frsize - bytes;
        let mut file =
            fs::OpenOptions::new().create(true).write(true).truncate(true).open(self.filler()).unwrap();
        std::io::copy(&mut std::io::repeat(b'x').take(filler), &mut file).unwrap();
    }

    fn free(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.0.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is just ending may still have a file of it open.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).stdin(Stdio::null()).status();
    }
}

#[test]
fn a_full_disk_ends_the_run_and_with_room_it_goes_on() {
    let Some(disk) = SmallDisk::mount("96m") else { return };
    let folder = tempfile::Builder::new().prefix("leverd-test-").tempdir().unwrap();
    std::os::unix::fs::symlink(disk.0.path(), folder.path().join("data")).unwrap();
    // WAL is on another disk, as on many hosts: a server that cannot write it ends itself.
    let wal = folder.path().join("wal").display().to_string();
    let target = PrivatePostgres::start_in(folder, &system_bin(), &["--waldir", &wal], QUICK);
    let pair = Pair::with_target(
        target,
        "CREATE TABLE t (id int PRIMARY KEY, v text); \
         INSERT INTO t SELECT g, repeat('x', 500) FROM generate_series(1, 20000) AS g; ANALYZE",
    );
    disk.fill_but(6 << 20);
    let migration = format!("{{chunk_size: 1000, {ONE_EACH}}}");
    let output = pair.migrate(&["run"], &migration);
    assert_eq!(output.status.code(), Some(1), "{}", both(&output));
    says(&both(&output), &["leverd: ", "the target", "53100", "leverd migrate resume -c FILE goes on"]);
    assert_eq!(pair.target("SELECT is_open FROM leverd_migration.run"), "t");

    disk.free();
    let output = pair.migrate(&["resume"], &migration);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    let once = "SELECT count(*), count(DISTINCT id), sum(length(v)) FROM t";
    assert_eq!(pair.target(once), "20000|20000|10000000");
    assert_eq!(pair.target(BROUGHT), "20000|0");
}

// --- The network ---------------------------------------------------------------------------------------------------

/// Without a limit a network that carries nothing any more would be waited for as long as TCP believes in it: hours.
#[test]
fn a_source_that_stalls_is_given_up_and_its_chunk_read_again() {
    let pair = Pair::start(ROWS);
    let [source, _] = pair.servers();
    let proxy = Proxy::to(source.port, &[("leverd reader 1\0", Fault::StallAfter(300_000))]);
    let migration = format!("{{chunk_size: 1000, {ONE_EACH}}}");
    let output = run(
        &pair,
        &migration,
        ("source", &format!("port: {}", proxy.port)),
        "migrate::stalled_after=return(2)",
    );
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    assert_eq!(proxy.done(), 1, "{}", both(&output));
    says(&both(&output), &["reading public.t: it stalled: nothing came for ", " s: trying the chunk again"]);
    assert_eq!(pair.target(ONCE), ALL);
    assert_eq!(pair.target(BROUGHT), "6000|0");
}

#[test]
fn a_source_that_is_at_work_is_waited_for() {
    let pair = Pair::start(ROWS);
    pair.target(PLACE);
    // In one chunk, so that its reader is the first to touch the table.
    let migration = format!("{{target_mode: truncate, chunk_size: 10000, {ONE_EACH}}}");
    let before_the_load = pair.hold_in_target("LOCK TABLE t IN ACCESS EXCLUSIVE MODE");
    let mut command = pair.prepared(&["run"], &migration, ("", ""));
    command.env("FAILPOINTS", "migrate::stalled_after=return(1)");
    let run = Background::start(command);
    pair.wait_for(TRUNCATION_WAITS);
    let silence = pair.hold_in_source("LOCK TABLE t IN ACCESS EXCLUSIVE MODE");
    drop(before_the_load);
    let silent = "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'leverd reader%' \
                  AND wait_event_type = 'Lock' AND now() - query_start > interval '3 seconds'";
    wait_until(silent, || !pair.source(silent).is_empty());
    drop(silence);
    let (code, words) = run.ends();
    assert_eq!(code, Some(0), "{words}");
    assert!(!words.contains("stalled"), "{words}");
    assert_eq!(pair.target(ONCE), ALL);
}

/// A reader that waits for room hears nothing either, and that is no silence of its source.
#[test]
fn a_target_that_is_slow_stalls_no_source() {
    let pair = Pair::start(
        "CREATE TABLE t (id int PRIMARY KEY, v text); \
         INSERT INTO t SELECT g, repeat('x', 1000) FROM generate_series(1, 50000) AS g; ANALYZE",
    );
    pair.target(&format!("{GATE}; CREATE TABLE t (id int PRIMARY KEY CHECK (passes(id)), v text)"));
    // One chunk, of which little fits between the reader and its writer.
    let migration = format!("{{target_mode: truncate, chunk_size: 100000, max_memory_mb: 64, {ONE_EACH}}}");
    let gate = pair.hold_in_target(HOLD_THE_GATE);
    let mut command = pair.prepared(&["run"], &migration, ("", ""));
    command.env("FAILPOINTS", "migrate::stalled_after=return(1)");
    let run = Background::start(command);
    pair.wait_for(AT_THE_GATE);
    let kept_waiting = "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'leverd reader%' \
                        AND wait_event = 'ClientWrite' AND now() - query_start > interval '4 seconds'";
    wait_until(kept_waiting, || !pair.source(kept_waiting).is_empty());
    drop(gate);
    let (code, words) = run.ends();
    assert_eq!(code, Some(0), "{words}");
    assert!(!words.contains("stalled"), "{words}");
    assert_eq!(pair.target("SELECT count(*), count(DISTINCT id) FROM t"), "50000|50000");
    assert_eq!(pair.target(BROUGHT), "50000|0");
}

#[test]
fn rows_that_are_cut_in_half_arrive_once() {
    let pair = Pair::start(ROWS);
    let [source, _] = pair.servers();
    let proxy = Proxy::to(source.port, &[("leverd reader 1\0", Fault::CutAfter(250_001))]);
    let migration = format!("{{chunk_size: 1000, {ONE_EACH}}}");
    let output = run(&pair, &migration, ("source", &format!("port: {}", proxy.port)), "");
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    assert_eq!(proxy.done(), 1, "{}", both(&output));
    says(&both(&output), &["the source: reading public.t: ", "trying the chunk again"]);
    assert_eq!(pair.target(ONCE), ALL);
    assert_eq!(pair.target(BROUGHT), "6000|0");
}

/// Where the table has its key already, the rows of a chunk that is tried again are all doubles.
#[test]
fn a_commit_whose_answer_is_lost_counts_once() {
    let pair = Pair::start(ROWS);
    let [_, target] = pair.servers();
    for mode in ["drop_recreate", "truncate"] {
        let commit = Fault::LoseAnswerTo(b"Q\0\0\0\x0bCOMMIT\0");
        let proxy = Proxy::to(target.port, &[("leverd writer 1\0", commit)]);
        let migration = format!("{{target_mode: {mode}, chunk_size: 2000, {ONE_EACH}}}");
        let output = run(&pair, &migration, ("target", &format!("port: {}", proxy.port)), "");
        assert_eq!(output.status.code(), Some(0), "{mode}: {}", both(&output));
        assert_eq!(proxy.done(), 1, "{mode}: {}", both(&output));
        let words = both(&output);
        says(&words, &["the target: committing a chunk: ", "trying the chunk again"]);
        assert!(!words.contains("looking for the rows that are refused"), "{mode}: {words}");
        assert_eq!(pair.target(ONCE), ALL, "{mode}");
        assert_eq!(pair.target(BROUGHT), "6000|0", "{mode}");
    }
}

// --- Models --------------------------------------------------------------------------------------------------------

/// What a service answers that has this fault.
fn answer(fault: &str, connection: &mut TcpStream) {
    match fault {
        "nonsense" => give(connection, "200 OK", "All is well, thank you."),
        "out of bounds" => give(connection, "200 OK", &decision(400)),
        "too many questions" => give(connection, "429 Too Many Requests", "{}"),
        "a fault of its own" => give(connection, "500 Internal Server Error", "{}"),
        "late" => {
            std::thread::sleep(Duration::from_secs(3));
            give(connection, "200 OK", &decision(3));
        }
        // Never: until who asks hangs up.
        _ => {
            let _ = connection.read_to_end(&mut Vec::new());
        }
    }
}

fn give(connection: &mut TcpStream, status: &str, body: &str) {
    let _ = connection.write_all(response(status, "application/json", body).as_bytes());
    // What was not read would make the close an abortion.
    let _ = connection.set_read_timeout(Some(Duration::from_millis(500)));
    let _ = connection.read_to_end(&mut Vec::new());
}

/// In the wire format of the Messages API.
fn decision(writers: u32) -> String {
    let input = json!({
        "action": "scale_up", "writers": writers, "chunk_rows": 1000, "readers": 1, "buffers": 4,
        "confidence": "high", "reasoning": "there is room",
    });
    let answer = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5-20251001",
        "content": [{ "type": "tool_use", "id": "toolu_1", "name": "adjust_migration", "input": input }],
        "stop_reason": "tool_use", "usage": { "input_tokens": 900, "output_tokens": 120 },
    });
    answer.to_string()
}

#[test]
fn a_model_that_fails_leaves_it_to_the_rules() {
    let pair = Pair::start(
        "CREATE TABLE t (id int PRIMARY KEY, v int); \
         INSERT INTO t SELECT g, g FROM generate_series(1, 3000) AS g; ANALYZE",
    );
    pair.target(&format!("{GATE}; CREATE TABLE t (id int PRIMARY KEY, v int CHECK (passes(v)))"));
    for (fault, why) in [
        ("nonsense", "the model's answer is no JSON, it begins \"All is well, thank you.\""),
        ("out of bounds", "writers = 400 is out of bounds; allowed: 1 to 16"),
        ("too many questions", "the model's service is asked too often (429)"),
        ("a fault of its own", "the model's service has a fault (500): "),
        ("late", "context deadline exceeded"),
        ("never", "context deadline exceeded"),
    ] {
        let service = TinyHttp::start(move |_, connection| answer(fault, connection));
        let migration = format!(
            "{{target_mode: truncate, chunk_size: 1000, workers: 1, parallel_readers: 1, write_ahead_writers: 2, \
             read_ahead_buffers: 4, ai_adjust: true, ai_adjust_interval: 1s}}\n\
             ai: {{provider: claude, api_key: sk-test-key, endpoint: \"{}\", timeout_seconds: 1}}",
            service.url()
        );
        // The run lasts until the model has failed.
        let gate = pair.hold_in_target(HOLD_THE_GATE);
        let command = pair.prepared(&["run", "--verbosity", "debug"], &migration, ("", ""));
        let mut run = Background::start(command);
        run.waits_for("AI adjustment failed: ");
        drop(gate);
        let (code, words) = run.ends();
        assert_eq!(code, Some(0), "{fault}: {words}");
        assert_eq!(pair.target("SELECT count(*), sum(id) FROM t"), "3000|4501500", "{fault}");
        says(
            &words,
            &[
                "[INFO] AI-driven parameter adjustment enabled (interval: 1s)",
                "[INFO] AI monitoring started (evaluation interval: 1s)",
                "[DEBUG] Metrics snapshot: ",
                &format!("[WARN] AI adjustment failed: {why}"),
                ", using fallback rules",
                "[INFO] AI adjustment applied: ",
                "(fallback rules)",
            ],
        );
        assert!(!words.contains("sk-test-key"), "{fault}: {words}");
        assert!(service.requests()[0].starts_with("POST /v1/messages "), "{:?}", service.requests());
    }
}
