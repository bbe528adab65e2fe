//! Grafana's dashboards: each panel's query is asked of a real Prometheus that scrapes the real exporters and the load,
//! and an empty answer fails, unless the panel says why it may be empty. Grafana itself is not here.

use crate::support::leverd::{Project, both, wait_for_exit};
use crate::support::postgres::free_port;
use crate::support::prometheus::PrivatePrometheus;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_mins(5);
const MINUTE: Duration = Duration::from_mins(1);

fn dashboards() -> Vec<(PathBuf, Value)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/monitoring/grafana/dashboards");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files
        .map(|file| (file.clone(), serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap()))
        .collect()
}

/// Every panel, those of collapsed rows too.
fn panels(dashboard: &Value) -> Vec<&Value> {
    let top = dashboard["panels"].as_array().map(Vec::as_slice).unwrap_or_default();
    top.iter()
        .flat_map(|panel| std::iter::once(panel).chain(panel["panels"].as_array().into_iter().flatten()))
        .collect()
}

#[test]
fn each_dashboard_is_whole() {
    let all = dashboards();
    let titles: BTreeSet<&str> = all.iter().map(|(_, board)| board["title"].as_str().unwrap()).collect();
    assert_eq!(
        titles,
        BTreeSet::from(["CAPSIM Overview", "PostgreSQL", "System Metrics", "Performance Tuning"])
    );
    let uids: BTreeSet<&str> = all.iter().map(|(_, board)| board["uid"].as_str().unwrap()).collect();
    assert_eq!(uids.len(), all.len(), "each has a uid of its own");
    for (file, board) in &all {
        let mut ids = BTreeSet::new();
        for panel in panels(board) {
            let (title, kind) =
                (panel["title"].as_str().unwrap_or_default(), panel["type"].as_str().unwrap());
            assert!(
                ids.insert(panel["id"].as_i64().unwrap()),
                "{}: {title}: its id stands twice",
                file.display()
            );
            if matches!(kind, "row" | "text") {
                continue;
            }
            assert!(!panel["description"].as_str().unwrap_or_default().is_empty(), "{title}: no description");
            let source = panel["datasource"]["uid"].as_str().unwrap_or_default();
            assert_eq!(source, "${datasource}", "{}: {title}", file.display());
        }
    }
}

/// The parts that Grafana's Prometheus scrapes in the stack, each on a port of its own.
struct Scraped {
    children: Vec<Child>,
}

impl Drop for Scraped {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = kill_process(Pid::from_child(child), Signal::TERM);
            if wait_for_exit(child, MINUTE).is_none() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

fn quiet(mut command: Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Debian's name of a program, or everybody else's.
fn either<'a>(debian: &'a str, other: &'a str) -> &'a str {
    if Command::new(debian).arg("--version").output().is_ok() { debian } else { other }
}

/// A project with a sandbox, which goes down before its folder goes.
struct Sandboxed(Project);

impl Drop for Sandboxed {
    fn drop(&mut self) {
        self.0.leverd(&["sandbox", "down"], MINUTE);
    }
}

#[test]
fn each_panel_is_answered() {
    let project = Sandboxed(Project::new());
    let project = &project.0;
    let up = project.leverd(&["sandbox", "up", "--scenario", "healthy", "--no-tty"], PATIENCE);
    assert!(up.status.success(), "{}", both(&up));
    let status = project.leverd(&["sandbox", "status", "--json"], MINUTE);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    let port = |part: &str| {
        let parts = status["parts"].as_array().unwrap();
        parts.iter().find(|row| row["name"] == part).unwrap()["port"].as_u64().unwrap()
    };
    let psql = status["psql"].as_str().unwrap();
    let dsn = psql.trim_start_matches("psql ").trim_matches('"');
    let (node, postgres, daemon) = (free_port(), free_port(), free_port());
    let mut scraped = Scraped { children: Vec::new() };
    let mut command = Command::new(either("prometheus-node-exporter", "node_exporter"));
    command.arg(format!("--web.listen-address=127.0.0.1:{node}"));
    scraped.children.push(quiet(command));
    let mut command = Command::new(either("prometheus-postgres-exporter", "postgres_exporter"));
    command.arg(format!("--web.listen-address=127.0.0.1:{postgres}")).env("DATA_SOURCE_NAME", dsn);
    scraped.children.push(quiet(command));
    let config = project.path().join(status["config"].as_str().unwrap());
    let text = fs::read_to_string(&config).unwrap();
    assert!(text.contains("\nexporter:\n"), "{text}");
    let text = text.replace("\nexporter:\n", &format!("\nexporter:\n  listen: \"127.0.0.1:{daemon}\"\n"));
    let ours = config.with_file_name("dashboards.yaml");
    #[expect(clippy::disallowed_methods, reason = "a test's own file")]
    fs::write(&ours, text).unwrap();
    scraped.children.push(quiet(project.command(&["run", "--config", &ours.display().to_string()])));

    let job = |name: &str, port: u64| {
        format!("- job_name: {name}\n  static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n")
    };
    let jobs = [
        job("leverd", u64::from(daemon)),
        job("capsim-app", port("load")),
        job("node-exporter", u64::from(node)),
        job("postgres-exporter", u64::from(postgres)),
    ];
    let prometheus = PrivatePrometheus::start(
        &format!("global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n{}", jobs.concat()),
        &[],
    );

    let mut waiting: Vec<(String, String)> = Vec::new();
    for (_, board) in dashboards() {
        for panel in panels(&board) {
            let description = panel["description"].as_str().unwrap_or_default();
            if description.contains("May be empty:") {
                continue;
            }
            for target in panel["targets"].as_array().into_iter().flatten() {
                let query = target["expr"].as_str().unwrap();
                let query = query.replace("$__rate_interval", "20s").replace("$__range", "1m");
                let name =
                    format!("{}: {}", board["title"].as_str().unwrap(), panel["title"].as_str().unwrap());
                waiting.push((name, query));
            }
        }
    }
    assert!(waiting.len() > 100, "{}", waiting.len());
    let until = Instant::now() + PATIENCE;
    loop {
        waiting.retain(|(_, query)| !is_answered(&prometheus, query));
        if waiting.is_empty() {
            break;
        }
        assert!(Instant::now() < until, "no answer to {} queries: {waiting:#?}", waiting.len());
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn is_answered(prometheus: &PrivatePrometheus, query: &str) -> bool {
    let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let page = prometheus.page(&format!("/api/v1/query?query={encoded}"));
    let Some((_, body)) = page.split_once("\r\n\r\n") else { return false };
    let Ok(answer) = serde_json::from_str::<Value>(body) else { return false };
    answer["data"]["result"].as_array().is_some_and(|found| !found.is_empty())
}
