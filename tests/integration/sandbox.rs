//! The sandbox on real parts: what `up` starts, `down` ends, whatever was killed in between.

use crate::support::postgres::{PrivatePostgres, free_port, system_bin};
use leverd::sandbox::load::{self, LoadError, SeedError};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A project folder whose sandbox is gone when dropped. As root nobody else can enter it, so these tests also show
/// that the sandbox then stands elsewhere.
struct Project(TempDir);

impl Project {
    fn new() -> Self {
        let project = Self(TempDir::new().unwrap());
        let quick = include_str!("../../config/scenarios/healthy.yaml")
            .replace("rows: 100000", "rows: 10000")
            .replace("working_set_rows: 100000", "working_set_rows: 10000")
            .replace("warm_up: 20s", "warm_up: 0s")
            .replace("events_per_sec: 500", "events_per_sec: 50")
            .replace("broken: {}", "broken: { postgresql: { shared_buffers: 1MB }, env: { BATCH_SIZE: 1 } }");
        project.write("quick.yaml", &quick);
        project
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    #[expect(clippy::disallowed_methods, reason = "a test's own file")]
    fn write(&self, name: &str, text: &str) {
        fs::write(self.root().join(name), text).unwrap();
    }

    fn sandbox(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_leverd"));
        command.arg("sandbox").args(arguments).current_dir(self.root());
        command.env("LEVERD_POSTGRES_BIN", system_bin()).output().unwrap()
    }

    fn up(&self) -> Value {
        let up = self.sandbox(&["up", "--healthy", "--scenario", "./quick.yaml"]);
        assert_eq!(up.status.code(), Some(0), "{}", text(&up.stderr));
        self.status()
    }

    fn status(&self) -> Value {
        serde_json::from_slice(&self.sandbox(&["status", "--json"]).stdout).unwrap()
    }

    /// Takes it down and checks that nothing is left of what `status` had shown.
    fn down_leaves_nothing(&self, status: &Value) {
        let down = self.sandbox(&["down"]);
        assert_eq!(down.status.code(), Some(0), "{}", text(&down.stderr));
        for part in status["parts"].as_array().unwrap() {
            if let Some(pid) = part["pid"].as_u64() {
                assert!(!runs(pid), "{part} still runs");
            }
            if let Some(port) = part["port"].as_u64() {
                let port = u16::try_from(port).unwrap();
                assert!(TcpListener::bind(("127.0.0.1", port)).is_ok(), "{part} still listens");
            }
        }
        let folder = status["folder"].as_str().unwrap();
        let all = Command::new("ps").args(["-eo", "args"]).output().unwrap();
        assert!(!text(&all.stdout).contains(folder), "{}", text(&all.stdout));
        assert!(!Path::new(folder).exists(), "{folder} is still there");
        assert!(!self.root().join(".leverd/sandbox").is_symlink());
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        self.sandbox(&["down"]);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whether a process runs; a zombie does not.
fn runs(pid: u64) -> bool {
    let ps = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().unwrap();
    let state = text(&ps.stdout);
    !state.trim().is_empty() && !state.trim().starts_with('Z')
}

fn part<'a>(status: &'a Value, name: &str) -> &'a Value {
    status["parts"].as_array().unwrap().iter().find(|part| part["name"] == name).unwrap()
}

fn kill_hard(status: &Value, name: &str) {
    let pid = part(status, name)["pid"].as_u64().unwrap();
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}

fn wait_for(what: &str, is_true: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_true() {
        assert!(Instant::now() < deadline, "{what}: not within 60 s");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn up_break_and_down_leave_no_process_and_no_port() {
    let project = Project::new();
    let status = project.up();
    for name in ["supervisor", "postgres", "prometheus", "load"] {
        assert_eq!(part(&status, name)["health"], "up", "{status:#}");
    }
    assert_eq!(status["broken"], false);
    let config = fs::read_to_string(status["config"].as_str().unwrap()).unwrap();
    assert!(config.contains("method: pg_ctl"), "{config}");

    let second = project.sandbox(&["up", "--scenario", "./quick.yaml"]);
    assert_eq!(second.status.code(), Some(75), "{}", text(&second.stderr));
    let words = text(&second.stderr);
    assert!(
        words.contains("runs here already: scenario healthy") && words.contains("sandbox down"),
        "{words}"
    );

    // shared_buffers needs a restart, which the supervisor must neither double nor count as a crash.
    let broken = project.sandbox(&["break"]);
    assert_eq!(broken.status.code(), Some(0), "{}", text(&broken.stderr));
    let after = project.status();
    assert_eq!(after["broken"], true);
    assert_eq!(part(&after, "postgres")["restarts"], 0, "{after:#}");
    assert_ne!(part(&after, "postgres")["pid"], part(&status, "postgres")["pid"]);
    wait_for("the load to come back", || part(&project.status(), "load")["health"] == "up");

    project.down_leaves_nothing(&after);
    let again = project.sandbox(&["down"]);
    assert_eq!(again.status.code(), Some(0), "{}", text(&again.stderr));
}

#[test]
fn killed_parts_come_back_and_down_ends_what_a_killed_supervisor_left() {
    let project = Project::new();
    let first = project.up();
    kill_hard(&first, "load");
    kill_hard(&first, "postgres");
    for name in ["load", "postgres"] {
        let is_back = |status: &Value| {
            part(status, name)["health"] == "up" && part(status, name)["pid"] != part(&first, name)["pid"]
        };
        wait_for(name, || is_back(&project.status()));
    }
    let second = project.status();
    kill_hard(&second, "supervisor");
    kill_hard(&second, "load");
    project.down_leaves_nothing(&second);
}

#[test]
fn kept_data_are_used_again() {
    let project = Project::new();
    project.up();
    let marker = |root: &Path| {
        fs::metadata(root.join(".leverd/sandbox/data/leverd-seed.sql")).unwrap().modified().unwrap()
    };
    let seeded = marker(project.root());
    assert_eq!(project.sandbox(&["down", "--keep-data"]).status.code(), Some(0));
    assert!(
        !project.root().join(".leverd/sandbox/leverd.yaml").exists(),
        "it would look like a running sandbox"
    );
    let up = project.sandbox(&["up", "--healthy", "--keep-data", "--scenario", "./quick.yaml"]);
    assert_eq!(up.status.code(), Some(0), "{}", text(&up.stderr));
    assert_eq!(marker(project.root()), seeded);
    project.down_leaves_nothing(&project.status());
}

/// Every way to break a sandbox, in a load that has a part of every kind.
fn broken_in_every_way() -> String {
    include_str!("../../config/scenarios/healthy.yaml")
        .replace("rows: 100000", "rows: 10000")
        .replace("warm_up: 20s", "warm_up: 0s")
        .replace("events_per_sec: 500", "events_per_sec: 50")
        .replace("lookups:", "lookups: {every_events: 5, rows: 50} #")
        .replace("    every_events: 0 ", "    # ")
        .replace("    rows: 100  ", "    # ")
        .replace("per_event: 0 ", "per_event: 2 ")
        .replace("pending: 100 ", "pending: 10 ")
        .replace("scan_every_events: 0 ", "scan_every_events: 5 ")
        .replace("connections: 0 ", "connections: 1 ")
        .replace("every: 1s", "every: 200ms")
        .replace("kept: true", "kept: false")
        .replace("hold: 0ms", "hold: 1ms")
        .replace(
            "broken: {}",
            "broken:
  alter_system: {checkpoint_timeout: 31s, max_connections: 50}
  command_line: {max_wal_size: 64MB}
  role: {work_mem: 128kB}
  indexes: 2
  neighbour: {threads: 1, busy: 1ms, idle: 1s}",
        )
        .replace("timetable: []", "timetable: [{after: 1s, env: {EVENTS_PER_SEC: 20}}]")
}

/// The one value that a query of the sandbox's Postgres answers.
fn ask(status: &Value, sql: &str) -> String {
    let shown = status["psql"].as_str().unwrap();
    let dsn = shown.trim_start_matches("psql ").trim_matches('"');
    let psql = Command::new("psql").args([dsn, "-qAtc", sql]).output().unwrap();
    assert!(psql.status.success(), "{}", text(&psql.stderr));
    text(&psql.stdout).trim().to_owned()
}

/// A metric of the load program; `None` while it does not answer.
fn metric(status: &Value, name: &str) -> Option<f64> {
    let port = u16::try_from(part(status, "load")["port"].as_u64()?).ok()?;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[test]
fn every_way_to_break_it_takes_effect_outlives_a_crash_and_is_not_handed_on() {
    const SOURCE: &str = "SELECT source FROM pg_settings WHERE name = 'max_wal_size'";
    const ROLE: &str = "SELECT coalesce(rolconfig::text, '') FROM pg_roles WHERE rolname = 'capsim'";
    const INDEXES: &str = "SELECT count(*) FROM pg_indexes WHERE tablename = 'capsim_accounts'";
    const SYSTEM: &str = "SELECT setting FROM pg_settings WHERE name = 'checkpoint_timeout'";
    let project = Project::new();
    project.write("broken.yaml", &broken_in_every_way());
    let up = project.sandbox(&["up", "--healthy", "--scenario", "./broken.yaml"]);
    assert_eq!(up.status.code(), Some(0), "{}", text(&up.stderr));
    let healthy = project.status();
    // Every kind of work is done, without an error.
    wait_for("the load", || {
        let more_than = |name, least: f64| metric(&healthy, name).is_some_and(|found| found > least);
        more_than("capsim_events_written_total", 100.0) && more_than("capsim_analyses_total", 2.0)
    });
    assert_eq!(metric(&healthy, "capsim_errors_total"), Some(0.0));
    assert_eq!(metric(&healthy, "capsim_events_per_second"), Some(50.0));
    let jobs: u32 = ask(&healthy, "SELECT count(*) FROM capsim_jobs").parse().unwrap();
    assert!((1..=20).contains(&jobs), "{jobs} wait, of two writers with 10 each");
    assert_eq!(
        ask(&healthy, "SELECT DISTINCT tableowner FROM pg_tables WHERE tablename ~ '^capsim'"),
        "capsim"
    );

    assert_eq!(project.sandbox(&["break"]).status.code(), Some(0));
    let broken = project.status();
    let holds = |status: &Value| {
        assert_eq!(ask(status, SOURCE), "command line");
        assert_eq!(ask(status, ROLE), "{work_mem=128kB}");
        assert_eq!(ask(status, INDEXES), "3");
        assert_eq!(ask(status, SYSTEM), "31");
        assert_eq!(ask(status, "SHOW max_connections"), "50");
    };
    holds(&broken);
    wait_for("the neighbour", || {
        let status = project.status();
        let parts = status["parts"].as_array().unwrap();
        parts.iter().any(|part| part["name"] == "neighbour" && part["health"] == "up")
    });
    let env = fs::read_to_string(project.root().join(".leverd/sandbox/.env")).unwrap();
    wait_for("the timetable", || metric(&broken, "capsim_events_per_second") == Some(20.0));
    let now = fs::read_to_string(project.root().join(".leverd/sandbox/.env")).unwrap();
    assert_eq!(now, env, "a turn of the timetable must not look like somebody's edit");

    kill_hard(&broken, "postgres");
    let is_back = |status: &Value| {
        part(status, "postgres")["health"] == "up"
            && part(status, "postgres")["pid"] != part(&broken, "postgres")["pid"]
    };
    wait_for("postgres", || is_back(&project.status()));
    let status = project.status();
    holds(&status);

    assert_eq!(project.sandbox(&["down", "--keep-data"]).status.code(), Some(0));
    let again = project.sandbox(&["up", "--healthy", "--keep-data", "--scenario", "./broken.yaml"]);
    assert_eq!(again.status.code(), Some(0), "{}", text(&again.stderr));
    let status = project.status();
    assert_eq!(ask(&status, SOURCE), "configuration file");
    assert_eq!(ask(&status, ROLE), "");
    assert_eq!(ask(&status, INDEXES), "1");
    assert_eq!(ask(&status, SYSTEM), "30");
    assert_eq!(metric(&status, "capsim_events_per_second"), Some(50.0));
    project.down_leaves_nothing(&status);
}

#[test]
fn a_bad_scenario_is_told_with_file_line_key_and_what_is_allowed() {
    let project = Project::new();
    let good = fs::read_to_string(project.root().join("quick.yaml")).unwrap();
    project.write("bad.yaml", &good.replace("  writers: 2", "  writerz: 2"));
    let line = 1 + good.lines().position(|line| line.starts_with("  writers: 2")).unwrap();
    let up = project.sandbox(&["up", "--scenario", "bad.yaml"]);
    assert_eq!(up.status.code(), Some(64));
    let words = text(&up.stderr);
    assert!(words.contains(&format!("bad.yaml, line {line}: ")), "{words}");
    assert!(words.contains("unknown key `writerz`") && words.contains("`writers`"), "{words}");
    assert!(!project.root().join(".leverd").exists(), "something was started");
}

#[test]
fn without_a_sandbox_status_says_so_and_down_is_content() {
    let project = Project::new();
    let status = project.sandbox(&["status"]);
    assert_eq!(status.status.code(), Some(1));
    assert!(text(&status.stderr).contains("no sandbox runs"), "{}", text(&status.stderr));
    assert_eq!(project.sandbox(&["down"]).status.code(), Some(0));
}

#[tokio::test]
async fn the_load_makes_its_tables_once_and_takes_no_others() {
    let postgres = PrivatePostgres::start("");
    let env = tempfile::NamedTempFile::new().unwrap();
    let load = async |scenario: &str| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/config/scenarios");
        let arguments = load::Arguments {
            env: env.path().to_owned(),
            turn: None,
            dsn: postgres.dsn(),
            seed: true,
            listen: ([127, 0, 0, 1], free_port()).into(),
            scenario: format!("{folder}/{scenario}.yaml").into(),
        };
        load::run(arguments, async {}).await
    };
    load("healthy").await.unwrap();
    load("healthy").await.unwrap();
    let error = load("wal-storm").await.unwrap_err();
    assert!(matches!(error, LoadError::Seed(SeedError::Another)), "{error}");
}
