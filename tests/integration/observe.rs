//! Snapshots, samples, vital signs and baselines, from a real Prometheus and a real Postgres.

use crate::support::config::{config, prometheus, signal};
use crate::support::http::TinyHttp;
use crate::support::postgres::{PrivatePostgres, free_port};
use crate::support::prometheus::PrivatePrometheus;
use chrono::{DateTime, TimeDelta, Utc};
use leverd::config::{Config, LoadSignal};
use leverd::model::{CostTier, Direction, Lever, Place, Reading, Signal, SlaTarget};
use leverd::observe::baseline::{self, BaselineError, Span};
use leverd::observe::{Earlier, SampleSeries, load_samples, read_signal, samples, snapshot, vitals};
use leverd::postgres::{Connection, connect};
use leverd::prometheus::Client;
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

const STEP: Duration = Duration::from_secs(5);
const MINUTE: Duration = Duration::from_secs(60);

/// Twenty minutes that ended here, one sample each 5 s.
fn end() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

/// What Prometheus remembers of them.
fn history() -> PrivatePrometheus {
    let mut text = String::new();
    let series = |text: &mut String, name: &str, value: &dyn Fn(i64) -> Option<String>| {
        for i in 0..=240 {
            if let Some(value) = value(i) {
                let at = end().timestamp() - (240 - i) * 5;
                writeln!(text, "{name} {value} {at}").unwrap();
            }
        }
    };
    text.push_str("# TYPE wal_bytes counter\n");
    // 1000 bytes a second, and 3000 in the last two minutes.
    series(&mut text, "wal_bytes_total{instance=\"a\"}", &|i| {
        Some((i * 5000 + (i - 216).max(0) * 10_000).to_string())
    });
    text.push_str("# TYPE commits counter\n");
    series(&mut text, "commits_total{db=\"x\"}", &|i| Some((i * 50).to_string()));
    series(&mut text, "commits_total{db=\"y\"}", &|i| Some((i * 100).to_string()));
    text.push_str("# TYPE heat gauge\n");
    series(&mut text, "heat{sensor=\"0\"}", &|i| Some((40 + i % 3).to_string()));
    series(&mut text, "heat{sensor=\"1\"}", &|_| Some("60".to_owned()));
    text.push_str("# TYPE stopped gauge\n");
    series(&mut text, "stopped", &|i| (i <= 120).then(|| "7".to_owned()));
    text.push_str("# TYPE odd gauge\n");
    series(&mut text, "odd", &|_| Some("NaN".to_owned()));
    text.push_str("# EOF\n");
    PrivatePrometheus::with_history(&text)
}

fn client(url: &str) -> Client {
    Client::new(&prometheus(url, Duration::from_secs(5))).unwrap()
}

async fn open(dsn: &str) -> Connection {
    connect(dsn, Duration::from_secs(20)).await.unwrap()
}

fn reason(reading: Reading) -> String {
    match reading {
        Reading::Unknown { reason } => reason,
        Reading::Known { value, .. } => panic!("{value} is known"),
    }
}

#[tokio::test]
async fn the_first_query_that_answers_is_the_reading() {
    let server = history();
    let client = client(&server.url());
    let read = async |queries: &[&str]| read_signal(&client, &signal("x", queries), MINUTE * 5, end()).await;

    let reading = read(&["rate(absent_total[{{window}}])", "odd", "heat", "stopped"]).await;
    assert_eq!(reading, Reading::Known { value: 60.0, at: end(), query: "heat".to_owned() });
    let throughput = Signal { direction: Direction::HigherIsBetter, ..signal("x", &["heat"]) };
    assert_eq!(read_signal(&client, &throughput, MINUTE, end()).await.value(), Some(40.0));
    assert!(matches!(
        read(&["rate(wal_bytes_total[{{window}}])"]).await,
        Reading::Known { query, .. } if query == "rate(wal_bytes_total[5m])"
    ));

    let unknown = reason(read(&["rate(absent_total[{{window}}])", "odd", "sum(", "stopped"]).await);
    insta::assert_snapshot!(unknown, @r#"`rate(absent_total[5m])`: no series; `odd`: not a number; Prometheus cannot evaluate `sum(`: invalid parameter "query": 1:5: parse error: unclosed left parenthesis; `stopped`: no series"#);
    assert_eq!(reason(read(&[]).await), "the signal has no query");
}

#[tokio::test]
async fn samples_of_all_signals_line_up_and_holes_stay_holes() {
    let server = history();
    let client = client(&server.url());
    let (from, to) = (end() - TimeDelta::minutes(15) + TimeDelta::milliseconds(1), end());
    let take = async |queries: &[&str], prefer: Option<&str>| -> SampleSeries {
        samples(&client, &signal("x", queries), from, to, STEP, prefer).await.unwrap()
    };

    let wal = take(&["rate(absent_total[{{window}}])", "rate(wal_bytes_total[{{window}}])"], None).await;
    assert_eq!(wal.query, "rate(wal_bytes_total[10s])");
    // 15 minutes hold 180 scrapes; the first two of them would look at what was before.
    assert_eq!(wal.values.len(), 178);
    assert!(wal.values.iter().all(Option::is_some));
    let near =
        |value: Option<f64>, wanted: f64| value.is_some_and(|value| (value / wanted - 1.0).abs() < 0.01);
    assert!(near(wal.values[0], 1000.0) && near(wal.values[177], 3000.0), "{:?}", wal.values);

    let stopped = take(&["stopped"], None).await;
    assert_eq!(stopped.values.len(), 178);
    // Prometheus looks back five minutes, and no further.
    assert_eq!(stopped.values.iter().flatten().count(), 178 - 60);
    assert_eq!((stopped.values[0], stopped.values[177]), (Some(7.0), None));

    let load = LoadSignal { queries: vec!["rate(commits_total[{{window}}])".to_owned()] };
    let load = load_samples(&client, &load, from, to, STEP, None).await.unwrap();
    assert_eq!(load.values.len(), 178);
    assert!(near(load.values[0], 30.0), "the databases are summed: {:?}", load.values[0]);

    let nothing = take(&["odd", "absent"], None).await;
    assert_eq!((nothing.values.len(), nothing.values.iter().flatten().count()), (178, 0));
    insta::assert_snapshot!(nothing.why_empty.unwrap(), @"`odd`: not a number; `absent`: no series");
}

#[tokio::test]
async fn both_sides_of_a_trial_ask_the_same_query() {
    let server = history();
    let client = client(&server.url());
    let both = signal("x", &["stopped", "heat"]);
    let (before, after) = (end() - TimeDelta::minutes(12), end() - TimeDelta::minutes(1));
    let first = samples(&client, &both, before - TimeDelta::minutes(2), before, STEP, None).await.unwrap();
    assert_eq!(first.query, "stopped");
    let alone = samples(&client, &both, after, end(), STEP, None).await.unwrap();
    assert_eq!(alone.query, "heat", "without a preference the next query answers");
    let same = samples(&client, &both, after, end(), STEP, Some(&first.query)).await.unwrap();
    assert_eq!((same.query.as_str(), same.values.iter().flatten().count()), ("stopped", 0));
    assert_eq!(same.why_empty.as_deref(), Some("`stopped`: no series"));
}

fn with_signals(url: &str, dsn: &str, signals: Vec<Signal>) -> Config {
    config(Path::new("/nonexistent"), dsn, url, signals)
}

fn span(sampled_for: Duration) -> Span {
    Span { sampled_for, step: STEP, to: end() }
}

#[tokio::test]
async fn a_baseline_is_the_median_and_for_wal_the_peak() {
    let server = history();
    let mut wal =
        signal("wal_rate", &["rate(absent_total[{{window}}])", "rate(wal_bytes_total[{{window}}])"]);
    wal.window = Duration::from_secs(30);
    let cold = Signal { optional: true, ..signal("cpu_temperature", &["absent", "odd"]) };
    let mut config = with_signals(
        &server.url(),
        "",
        vec![wal, signal("io_wait", &["heat"]), cold, signal("seen", &["stopped"])],
    );
    config.sla.retain(|target: &SlaTarget| target.signal.as_str() != "seen");
    let client = client(&server.url());

    let mut heard = Vec::new();
    let taken = baseline::take(&config, &client, span(MINUTE * 15), &mut |done, all| heard.push((done, all)))
        .await
        .unwrap();
    assert_eq!(heard, [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]);
    let metrics = &taken.baseline.metrics;
    assert_eq!(metrics.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["io_wait", "wal_rate"]);
    let wal = &metrics[&"wal_rate".into()];
    assert_eq!(wal.query, "rate(wal_bytes_total[30s])");
    assert!((wal.value / 3000.0 - 1.0).abs() < 0.01 && (wal.spread.0 / 1000.0 - 1.0).abs() < 0.01, "{wal:?}");
    let io = &metrics[&"io_wait".into()];
    assert_eq!((io.value, io.spread, io.samples), (60.0, (60.0, 60.0), 179));
    let left_out: Vec<_> = taken.left_out.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(left_out.join("\n"), @r#"
    cpu_temperature: 179 of 179 samples are missing (`absent`: no series; `odd`: not a number)
    seen: 60 of 179 samples are missing
    "#);
    assert!(baseline::silent(&config, &client, end()).await.is_empty());
}

#[tokio::test]
async fn no_baseline_is_written_from_missing_data() {
    let server = history();
    let client = client(&server.url());
    let config = with_signals(
        &server.url(),
        "",
        vec![
            signal("io_wait", &["heat"]),
            signal("p95_write_latency", &["stopped"]),
            signal("wal_rate", &["absent", "odd"]),
        ],
    );
    let mut nobody = |_, _| {};
    let error = baseline::take(&config, &client, span(MINUTE * 15), &mut nobody).await.unwrap_err();
    insta::assert_snapshot!(error, @r#"
    no baseline is written from missing data:
      p95_write_latency: 60 of 179 samples are missing
      wal_rate: 179 of 179 samples are missing (`absent`: no series; `odd`: not a number)
    "#);
    let silent = baseline::silent(&config, &client, end()).await;
    assert_eq!(
        silent.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["p95_write_latency", "wal_rate"]
    );

    let error = baseline::take(&config, &client, span(STEP * 8), &mut nobody).await.unwrap_err();
    insta::assert_snapshot!(error, @"40 s of sampling hold 7 scrapes of 5 s; a baseline needs at least 10");
    drop(server);
    let error = baseline::take(&config, &client, span(MINUTE * 15), &mut nobody).await.unwrap_err();
    assert!(
        matches!(&error, BaselineError::Prometheus { signal, .. } if signal.as_str() == "io_wait"),
        "{error}"
    );
}

fn env_lever(file: &Path) -> Lever {
    Lever {
        name: "batch_size".into(),
        description: String::new(),
        tier: CostTier::Low,
        symptoms: Vec::new(),
        parameter: "BATCH_SIZE".to_owned(),
        place: Place::EnvFile(file.to_owned()),
        default_value: None,
        values: Vec::new(),
        impact: None,
        risk: None,
        evidence: Vec::new(),
        spans_checkpoints: false,
        verify_query: None,
        line: 1,
    }
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a test's own file")]
async fn a_snapshot_holds_everything_that_can_be_seen() {
    let (metrics, server) = (history(), PrivatePostgres::start("shared_buffers = 32MB\n"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".env");
    std::fs::write(&file, "SECRET=hunter2\nBATCH_SIZE=25\n").unwrap();
    let mut config = with_signals(
        &metrics.url(),
        &server.dsn(),
        vec![signal("io_wait", &["heat"]), signal("p95_write_latency", &["absent"])],
    );
    config.levers = vec![env_lever(&file), env_lever(Path::new("/nonexistent/.env"))];
    let (client, connection) = (client(&metrics.url()), open(&server.dsn()).await);

    let (first, stats) =
        snapshot(&config, &client, Ok(connection.client()), None, Earlier::default(), end()).await;
    assert_eq!(first.at, end());
    assert_eq!(first.readings[&"io_wait".into()].value(), Some(60.0));
    assert_eq!(reason(first.readings[&"p95_write_latency".into()].clone()), "`absent`: no series");
    assert_eq!(first.env_values.len(), 1);
    assert_eq!(first.env_values[&format!("{}:BATCH_SIZE", file.display())], "25");
    assert!(first.alerts.is_empty());
    let state = first.server.unwrap();
    let memory = state.memory_budget_bytes.unwrap();
    assert!((64 << 20..1 << 50).contains(&memory), "{memory} bytes");
    assert!(state.facts.contains_key("database_bytes_over_shared_buffers"), "{:?}", state.facts);
    assert!(state.facts.contains_key("data_disk_free_bytes"), "for the guardrails: {:?}", state.facts);
    assert!(!state.facts.contains_key("commits_per_second"), "a rate needs two reads");

    let work = "CREATE TABLE t AS SELECT generate_series(1, 1000) AS i; CHECKPOINT";
    open(&server.dsn()).await.client().batch_execute(work).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let (next, _) = snapshot(
            &config,
            &client,
            Ok(connection.client()),
            None,
            Earlier { stats: stats.as_ref(), cpu_periods: None },
            end(),
        )
        .await;
        let facts = next.server.unwrap().facts;
        // Statistics arrive when their session ends, or up to a second later.
        if facts.get("checkpoints_per_minute").is_some_and(|rate| *rate > 0.0)
            && facts.get("commits_per_second").is_some_and(|rate| *rate > 0.0)
        {
            assert_eq!(facts["checkpoints_requested_share"], 1.0);
            break;
        }
        assert!(Instant::now() < deadline, "{facts:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    config.target.memory_budget_bytes = Some(123);
    let (configured, _) =
        snapshot(&config, &client, Ok(connection.client()), None, Earlier::default(), end()).await;
    assert_eq!(configured.server.unwrap().memory_budget_bytes, Some(123));
}

#[tokio::test]
async fn a_snapshot_survives_whatever_is_down() {
    let (metrics, server) = (history(), PrivatePostgres::start(""));
    let connection = open(&server.dsn()).await;
    let signals: Vec<Signal> = (0..10).map(|i| signal(&format!("s{i}"), &["heat", "odd"])).collect();

    // Prometheus hangs: every reading says so, after one timeout and not after one for each.
    let hanging = TinyHttp::start(|_, connection| drop(std::io::copy(connection, &mut std::io::sink())));
    let config = with_signals(&hanging.url(), &server.dsn(), signals.clone());
    let hasty = Client::new(&prometheus(&hanging.url(), Duration::from_millis(300))).unwrap();
    let (seen, stats) =
        snapshot(&config, &hasty, Ok(connection.client()), None, Earlier::default(), end()).await;
    let reasons: Vec<_> = seen.readings.into_values().map(reason).collect();
    assert_eq!(reasons.len(), 10);
    assert!(reasons.iter().all(|why| why.contains("did not answer within 0.3 s")), "{reasons:?}");
    assert!(hanging.requests().len() <= 5, "four readings at once, and the alerts");
    assert!(seen.server.is_ok() && stats.is_some());

    // No connection to Postgres.
    let client = client(&metrics.url());
    let config = with_signals(&metrics.url(), &server.dsn(), signals);
    let (seen, stats) =
        snapshot(&config, &client, Err("refused".to_owned()), None, Earlier::default(), end()).await;
    assert_eq!((seen.server.unwrap_err().as_str(), stats), ("refused", None));
    assert!(seen.readings.values().all(|reading| reading.value() == Some(60.0)));

    // Postgres goes away under the connection.
    server.pg_ctl("stop");
    let (seen, stats) =
        snapshot(&config, &client, Ok(connection.client()), None, Earlier::default(), end()).await;
    assert!(seen.server.unwrap_err().starts_with("reading pg_settings: "));
    assert_eq!((stats, seen.readings.len()), (None, 10));
}

#[tokio::test]
async fn vital_signs_of_a_local_server() {
    let server = PrivatePostgres::start("");
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let config = with_signals(&nowhere, &server.dsn(), Vec::new());
    let (client, connection) = (client(&nowhere), open(&server.dsn()).await);
    let signs = vitals(&config, &client, Ok(connection.client()), None, end()).await;
    assert!(signs.postgres_up && signs.postgres_trouble.is_none(), "{signs:?}");
    assert_eq!((signs.alerts, signs.replica_lag_seconds), (None, None));
    let percent = |value: Option<f64>| value.is_some_and(|value| (0.0..=100.0).contains(&value));
    assert!(percent(signs.disk_free_percent));
    if cfg!(target_os = "linux") {
        assert!(percent(signs.memory_used_percent) && signs.oom_kills.is_some());
    }
    assert!(signs.checkpoints_done.is_some() && signs.rollbacks.is_some() && signs.deadlocks == Some(0.0));

    server.pg_ctl("stop");
    let signs = vitals(&config, &client, Ok(connection.client()), None, end()).await;
    assert!(!signs.postgres_up && signs.postgres_trouble.is_some(), "{signs:?}");
    assert_eq!((signs.memory_used_percent, signs.checkpoints_done), (None, None));
}

/// Ten signals as they come: answers at once, after a fallback, and after five empty ones.
fn ten_signals() -> Vec<Signal> {
    let wal = "max by (instance) (rate(wal_bytes_total[{{window}}]))";
    (0..10)
        .map(|i| match i % 3 {
            0 => signal(&format!("s{i}"), &[wal]),
            1 => signal(&format!("s{i}"), &["rate(absent_total[{{window}}])", "max(heat)"]),
            _ => signal(&format!("s{i}"), &["absent1", "absent2", "absent3", "absent4", "heat"]),
        })
        .collect()
}

/// This thread's time on a CPU; the runtime of a test has no other thread.
fn cpu() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(text.split(' ').next()?.parse().ok()?))
}

/// How many connections Prometheus has accepted.
fn accepted(metrics: &PrivatePrometheus) -> u32 {
    let name = "net_conntrack_listener_conn_accepted_total{listener_name=\"http\"} ";
    metrics.page("/metrics").lines().find_map(|line| line.strip_prefix(name)?.parse().ok()).unwrap()
}

/// Fails where a reading is missing or connections are not kept; prints what a tick costs (`--nocapture`), for the record.
#[tokio::test]
async fn a_tick_reads_ten_signals_over_few_connections() {
    const TICKS: u32 = 50;
    let (metrics, server) = (history(), PrivatePostgres::start(""));
    let config = with_signals(&metrics.url(), &server.dsn(), ten_signals());
    let (client, connection) = (client(&metrics.url()), open(&server.dsn()).await);
    let accepted_before = accepted(&metrics);
    let (_, mut stats) =
        snapshot(&config, &client, Ok(connection.client()), None, Earlier::default(), end()).await;
    let before = cpu();
    for _ in 0..TICKS {
        let (seen, next) = snapshot(
            &config,
            &client,
            Ok(connection.client()),
            None,
            Earlier { stats: stats.as_ref(), cpu_periods: None },
            end(),
        )
        .await;
        assert!(seen.readings.values().all(|reading| reading.value().is_some()), "{:?}", seen.readings);
        assert!(seen.server.is_ok());
        stats = next;
    }
    if let Some((before, after)) = before.zip(cpu()) {
        eprintln!("a tick with 10 signals costs {:?} of CPU", (after - before) / TICKS);
    }
    // 26 queries a tick; the connections of the first tick serve them all.
    let opened = accepted(&metrics) - accepted_before;
    assert!(opened < 10, "{opened} connections");
}
