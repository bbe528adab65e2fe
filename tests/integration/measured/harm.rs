//! Levers that hurt on purpose, on a real Postgres under a real load: each must be out again before the first look at
//! the evidence, and what was exposed is told.
//!
//! Visible: the first moment at which what is watched stands past its bound in Prometheus (for memory, where it is
//! read). With `-- --nocapture` each test prints its row of the table in `docs/TRUST.md`.

use crate::support::http::TinyHttp;
use crate::support::leverd::{Project, both};
use crate::support::postgres::PrivatePostgres;
use crate::support::prometheus::{PrivatePrometheus, exporter, scraping};
use crate::support::rig::levers;
use crate::support::turn::turn;
use chrono::{DateTime, Utc};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(240);
/// Of Prometheus, of the trial, and of "within three".
const SCRAPE_SECONDS: f64 = 1.0;
/// What is promised stands measured in `docs/TRUST.md`. On a machine that is busy with other tests the way out takes
/// longer; here it fails where harm is left in place until a look at the evidence.
const MOST_SCRAPES: f64 = 10.0;

const STAGGER: Duration = Duration::from_millis(70);

/// An application: connections that work as fast as they can, or at a pace, and what it measures of itself.
struct Application {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Counters {
    done: AtomicU64,
    failed: AtomicU64,
    /// Milliseconds, since the last scrape.
    latencies: Mutex<Vec<f64>>,
}

impl Counters {
    fn page(&self) -> String {
        let mut latencies = std::mem::take(&mut *self.latencies.lock().unwrap());
        latencies.sort_by(f64::total_cmp);
        let p95 = latencies.get(latencies.len() * 95 / 100);
        let latency = p95.map(|ms| format!("app_p95_ms {ms}\n")).unwrap_or_default();
        let count = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        format!("{latency}app_done_total {}\napp_failed_total {}\n", count(&self.done), count(&self.failed))
    }
}

impl Application {
    fn start(dsn: &str, load: &Load, counters: &Arc<Counters>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..load.clients).map(|number| {
            let (dsn, load, counters) = (dsn.to_owned(), load.clone(), Arc::clone(counters));
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                // One after the other, as people come.
                std::thread::sleep(STAGGER * number);
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(client(&dsn, &load, &counters, &stop));
            })
        });
        Self { clients: clients.collect(), stop }
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for client in self.clients.drain(..) {
            let _ = client.join();
        }
    }
}

fn once(dsn: &str, statements: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(dsn, tokio_postgres::NoTls).await.unwrap();
        tokio::select! {
            done = client.batch_execute(statements) => done.unwrap(),
            ended = connection => panic!("the connection ended: {ended:?}"),
        }
    });
}

async fn client(dsn: &str, load: &Load, counters: &Counters, stop: &AtomicBool) {
    let (client, connection) = tokio_postgres::connect(dsn, tokio_postgres::NoTls).await.unwrap();
    let work = async {
        while !stop.load(Ordering::SeqCst) {
            let begun = Instant::now();
            let counter = match client.batch_execute(load.statement).await {
                Ok(()) => &counters.done,
                Err(_) => &counters.failed,
            };
            counter.fetch_add(1, Ordering::SeqCst);
            counters.latencies.lock().unwrap().push(begun.elapsed().as_secs_f64() * 1000.0);
            tokio::time::sleep(load.pace.saturating_sub(begun.elapsed())).await;
        }
    };
    tokio::select! {
        () = work => {}
        _ = connection => {}
    }
}

/// What the application does.
#[derive(Debug, Clone)]
struct Load {
    clients: u32,
    statement: &'static str,
    /// From one beginning to the next of a client, where the statement does not take longer.
    pace: Duration,
}

/// Where leverd believes `/proc` to be: a host of one gigabyte that has this Postgres alone. Real memory of real
/// processes, and a limit that a test can afford.
struct SmallHost {
    folder: tempfile::TempDir,
    stop: Arc<AtomicBool>,
    /// When more than 90 % were first in use.
    visible: Arc<Mutex<Option<DateTime<Utc>>>>,
    watcher: Option<JoinHandle<()>>,
}

impl SmallHost {
    fn start(data: &Path) -> Self {
        const TOTAL_KB: u64 = 1_048_576;
        let folder = tempfile::tempdir().unwrap();
        let (meminfo, data) = (folder.path().join("meminfo"), data.to_owned());
        let stop = Arc::new(AtomicBool::new(false));
        let visible = Arc::new(Mutex::new(None));
        let (stopped, seen) = (Arc::clone(&stop), Arc::clone(&visible));
        let measure = move || {
            let used = used_kb(&data).min(TOTAL_KB);
            let draft = meminfo.with_extension("draft");
            let text = format!("MemTotal: {TOTAL_KB} kB\nMemAvailable: {} kB\n", TOTAL_KB - used);
            #[expect(clippy::disallowed_methods, reason = "a test's own file")]
            fs::write(&draft, text).unwrap();
            fs::rename(&draft, &meminfo).unwrap();
            if used * 10 > TOTAL_KB * 9 {
                seen.lock().unwrap().get_or_insert_with(now);
            }
        };
        measure();
        let watcher = std::thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                measure();
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        Self { folder, stop, visible, watcher: Some(watcher) }
    }
}

impl Drop for SmallHost {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = self.watcher.take().map(JoinHandle::join);
    }
}

#[expect(clippy::disallowed_methods, reason = "what a test measures has its time")]
fn now() -> DateTime<Utc> {
    Utc::now()
}

/// Memory of a server's processes that no file backs.
fn used_kb(data: &Path) -> u64 {
    let pid = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let Some(postmaster) = pid.lines().next().map(str::to_owned) else { return 0 };
    let field = |pid: &str, name: &str| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
        line.and_then(|line| line.split_whitespace().next().map(str::to_owned)).unwrap_or_default()
    };
    let pids = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name());
    pids.filter_map(|pid| pid.into_string().ok())
        .filter(|pid| *pid == postmaster || field(pid, "PPid:") == postmaster)
        .filter_map(|pid| field(&pid, "RssAnon:").parse::<u64>().ok())
        .sum()
}

/// A target whose only lever hurts.
struct Target {
    project: Project,
    postgres: PrivatePostgres,
    prometheus: PrivatePrometheus,
    _application: Application,
    _exporter: TinyHttp,
    small_host: Option<SmallHost>,
}

/// A way to hurt.
struct Harm {
    settings: &'static str,
    /// SQL to begin with.
    prepare: &'static str,
    lever: (&'static str, &'static str, &'static str),
    load: Load,
    /// The latency is a guard.
    guards_latency: bool,
    small_host: bool,
}

impl Harm {
    /// Clients of the statement that waits as `commit_delay` says, at this pace.
    fn delayed(pace: Duration, guards_latency: bool) -> Self {
        Self {
            settings: "",
            prepare: "",
            lever: ("commit_delay", "0", "10000"),
            load: Load { clients: DELAYED_CLIENTS, statement: DELAYED, pace },
            guards_latency,
            small_host: false,
        }
    }

    fn start(&self) -> Target {
        let postgres = PrivatePostgres::start(self.settings);
        let small_host = self.small_host.then(|| SmallHost::start(&postgres.data()));
        once(&postgres.dsn(), self.prepare);
        let counters = Arc::new(Counters::default());
        let page = Arc::clone(&counters);
        let exporter = exporter(move |_| page.page());
        let prometheus =
            PrivatePrometheus::start(&scraping(&exporter, "1s"), &[("rules.yml", "groups: []\n")]);
        let application = Application::start(&postgres.dsn(), &self.load, &counters);
        let (parameter, default, value) = self.lever;
        let project = Project::new();
        project.write("config/levers.yaml", &levers(parameter, default, value));
        let config = self.config(&postgres, &prometheus, small_host.as_ref().map(|host| host.folder.path()));
        project.write("config/leverd.yaml", &config);
        Target { project, postgres, prometheus, _application: application, _exporter: exporter, small_host }
    }

    fn config(
        &self,
        postgres: &PrivatePostgres,
        prometheus: &PrivatePrometheus,
        proc: Option<&Path>,
    ) -> String {
        let latency = if self.guards_latency { "app_p95_ms" } else { "vector(1)" };
        let places = proc.map(|folder| format!("procfs: \"{0}\", sysfs: \"{0}\",", folder.display()));
        format!(
            r#"target: {{ name: harm, dsn: "{}", postgresql_conf: "{}", memory: 64GB }}
prometheus: {{ url: "{}" }}
cycle: {{ load_cycle: 25s, settle: 5s, scrape_interval: 1s, max_extensions: 1, cool_down: 1h }}
signals:
  wal_rate: {{ queries: ["vector(100)"], window: 2s, scales_with_load: false }}
  io_wait: {{ queries: ["vector(1)"], window: 2s }}
  p95_write_latency: {{ queries: ["{latency}"], window: 2s }}
load: {{ queries: ["sum(rate(app_done_total[{{{{window}}}}]))"] }}
exporter: {{ {} listen: "127.0.0.1:0" }}
sla: {{ wal_rate: "<= 50", io_wait: "< 25", p95_write_latency: "<= 600" }}
"#,
            postgres.dsn(),
            postgres.conf().display(),
            prometheus.url(),
            places.unwrap_or_default(),
        )
    }
}

impl Target {
    /// One trial to its end. The change must be out, by the file and by the server's own word.
    fn tune(&self) -> Value {
        let before = fs::read(self.postgres.conf()).unwrap();
        let output = self.project.leverd(&["tune", "--cycles", "1", "--no-tty"], PATIENCE);
        assert_eq!(output.status.code(), Some(1), "{}", both(&output));
        assert!(fs::read(self.postgres.conf()).unwrap() == before, "the change is still in the file");
        let told = self.project.leverd(&["history", "1", "--json"], PATIENCE);
        let whole: Value =
            serde_json::from_slice(&told.stdout).unwrap_or_else(|_| panic!("{}", both(&output)));
        let trial = whole["trial"].clone();
        assert_eq!(trial["phase"], "reverted", "{trial}");
        assert_eq!(trial["judgements"].as_array().map(Vec::len), Some(0), "no look was needed: {trial}");
        trial
    }

    /// The first moment since `from` at which `query` has a value, to a tenth of a second.
    fn visible(&self, query: &str, from: DateTime<Utc>, to: DateTime<Utc>) -> DateTime<Utc> {
        let moment = |at: DateTime<Utc>| at.timestamp_millis() as f64 / 1000.0;
        let path = format!(
            "/api/v1/query_range?query={}&start={}&end={}&step=0.1",
            url_text(query),
            moment(from),
            moment(to)
        );
        let page = self.prometheus.page(&path);
        let body = page.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
        let answer: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {page}"));
        let first = answer["data"]["result"][0]["values"][0][0].as_f64();
        let first = first.unwrap_or_else(|| panic!("`{query}` was never visible: {page}"));
        DateTime::from_timestamp_millis((first * 1000.0) as i64).unwrap()
    }

    /// Checks and prints how long the harm stood where it could be seen.
    fn was_out_in_time(&self, kind: &str, trial: &Trial, visible: DateTime<Utc>) {
        let seconds = |span: chrono::TimeDelta| span.num_milliseconds() as f64 / 1000.0;
        let (exposed, since_visible) =
            (seconds(trial.closed - trial.applied), seconds(trial.closed - visible));
        eprintln!(
            "| {kind} | {exposed:.1} s | {since_visible:.1} s = {:.1} scrapes | {} |",
            since_visible / SCRAPE_SECONDS,
            trial.ending
        );
        assert!(
            since_visible <= MOST_SCRAPES * SCRAPE_SECONDS,
            "{kind}: out {since_visible} s after it was visible: {}",
            trial.ending
        );
        let changelog = self.project.read("CHANGELOG_TUNING.md");
        assert!(changelog.contains("* Result: ⚠️ put back at once"), "{changelog}");
        assert!(changelog.contains("**Exposed:** the new value was in effect for"), "{changelog}");
        assert!(trial.ending.contains("scrapes, after the change)") || kind == "memory", "{}", trial.ending);
    }
}

/// The times of a trial that is over.
struct Trial {
    applied: DateTime<Utc>,
    closed: DateTime<Utc>,
    ending: String,
}

impl Trial {
    fn of(trial: &Value) -> Self {
        let time = |key: &str| trial[key].as_str().and_then(|text| text.parse().ok());
        Self {
            applied: time("applied_at").unwrap_or_else(|| panic!("never applied: {trial}")),
            closed: time("closed_at").unwrap_or_else(|| panic!("never closed: {trial}")),
            ending: trial["ending"].as_str().unwrap_or_default().to_owned(),
        }
    }
}

fn url_text(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// A statement of 200 ms, and forty times `commit_delay` (in µs): so the lever harms by as much as is wanted, on any
/// disk. So long, and by many clients at once, that what a busy machine adds of its own (some 40 ms seen) is small
/// beside it.
const DELAYED: &str = "SELECT pg_sleep(0.2 + 4e-5 * current_setting('commit_delay')::int)";
const DELAYED_CLIENTS: u32 = 10;

#[test]
fn three_times_the_latency_is_out_again() {
    let _turn = turn();
    let target = Harm::delayed(Duration::from_secs(1), true).start();
    let trial = Trial::of(&target.tune());
    assert!(trial.ending.contains("p95_write_latency was"), "{}", trial.ending);
    let normal = format!("(quantile_over_time(0.5, app_p95_ms[20s] @ {}))", trial.applied.timestamp());
    let visible = target.visible(&format!("app_p95_ms > 2 * {normal}"), trial.applied, trial.closed);
    target.was_out_in_time("latency", &trial, visible);
}

#[test]
fn half_of_the_throughput_is_out_again() {
    let _turn = turn();
    let target = Harm::delayed(Duration::ZERO, false).start();
    let trial = Trial::of(&target.tune());
    assert!(trial.ending.contains("the work done was"), "{}", trial.ending);
    let normal = format!("(rate(app_done_total[20s] @ {}))", trial.applied.timestamp());
    let visible =
        target.visible(&format!("rate(app_done_total[2s]) < 0.5 * {normal}"), trial.applied, trial.closed);
    target.was_out_in_time("throughput", &trial, visible);
}

#[test]
fn errors_are_out_again() {
    let _turn = turn();
    let load = Load {
        clients: 2,
        // One in two writes a temporary file, which the lever forbids.
        statement: "SELECT count(*) FROM generate_series(1, CASE WHEN random() < 0.5 THEN 20000 ELSE 10 END)",
        pace: Duration::from_millis(10),
    };
    let lever = ("temp_file_limit", "-1", "128kB");
    let harm = Harm {
        settings: "work_mem = 64kB",
        prepare: "",
        lever,
        load,
        guards_latency: false,
        small_host: false,
    };
    let target = harm.start();
    let trial = Trial::of(&target.tune());
    assert!(trial.ending.contains("of the transactions were rolled back"), "{}", trial.ending);
    let failed =
        "rate(app_failed_total[2s]) > 0.05 * (rate(app_failed_total[2s]) + rate(app_done_total[2s]))";
    let visible = target.visible(failed, trial.applied, trial.closed);
    target.was_out_in_time("errors", &trial, visible);
}

#[test]
fn growing_memory_is_out_again() {
    let _turn = turn();
    let load = Load {
        clients: 2,
        // Spills with a little work_mem, and takes some 600 MB where it may.
        statement: "SELECT count(*) FROM (SELECT g, repeat('x', 60) FROM generate_series(1, 3000000) g ORDER BY md5(g::text)) s",
        pace: Duration::from_millis(10),
    };
    let lever = ("work_mem", "4MB", "2GB");
    let harm = Harm {
        settings: "max_connections = 20",
        prepare: "",
        lever,
        load,
        guards_latency: false,
        small_host: true,
    };
    let target = harm.start();
    let trial = Trial::of(&target.tune());
    assert!(trial.ending.contains("memory is"), "{}", trial.ending);
    let visible = target.small_host.as_ref().and_then(|host| *host.visible.lock().unwrap());
    target.was_out_in_time("memory", &trial, visible.expect("memory was used"));
}
