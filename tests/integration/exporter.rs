//! The exporter on real parts: what it reads from servers of several versions, and what it shows when they fail.

use crate::support::postgres::{PrivatePostgres, free_port, version_bin};
use crate::support::scrape::{assert_well_formed, get, value};
use leverd::config::{ExporterConfig, Secret};
use leverd::exporter::{self, Exporter, Options};
use leverd::postgres::{connect, stats};
use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

const TIMEOUT: Duration = Duration::from_secs(5);
const DEADLINE: Duration = Duration::from_secs(30);

/// An exporter that ends with the test.
struct Running {
    exporter: Exporter,
    _shutdown: DropGuard,
}

fn start(dsn: &str) -> Running {
    let sets = ExporterConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        host: true,
        postgres: true,
        write_probe: true,
        sample_every: Duration::from_millis(200),
        procfs: "/proc".into(),
        sysfs: "/sys".into(),
    };
    let shutdown = CancellationToken::new();
    let options = Options { sets, dsn: Some(Secret::new(dsn)) };
    let exporter = exporter::start(options, &TaskTracker::new(), shutdown.clone()).unwrap();
    Running { exporter, _shutdown: shutdown.drop_guard() }
}

impl Running {
    /// The first page that is as wanted.
    async fn page_with(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let page = self.exporter.render();
            if wanted(&page) {
                return page;
            }
            let (_, state) = self.exporter.readiness();
            assert!(begun.elapsed() < DEADLINE, "no page with {what}; {state}\n{page}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn page_when_up(&self) -> String {
        self.page_with("a write and pg_up 1", |page| {
            value(page, "pg_up") == Some(1.0)
                && value(page, "leverd_write_probe_duration_seconds_count").is_some_and(|count| count > 0.0)
        })
        .await
    }
}

fn families(page: &str) -> BTreeSet<String> {
    page.lines()
        .filter_map(|line| Some(line.strip_prefix("# TYPE ")?.split(' ').next()?.to_owned()))
        .collect()
}

#[tokio::test]
async fn the_statistics_of_a_real_server_are_read() {
    let server = PrivatePostgres::start("");
    let connection = connect(&server.dsn(), TIMEOUT).await.unwrap();
    let client = connection.client();
    let before = stats::read(client).await.unwrap();
    client
        .batch_execute("CREATE TABLE t AS SELECT generate_series(1, 10000) AS i; CHECKPOINT")
        .await
        .unwrap();
    let after = stats::read(client).await.unwrap();
    assert!(after.wal_lsn_bytes > before.wal_lsn_bytes, "{before:?} {after:?}");
    assert!(!after.in_recovery && after.version_num >= 120_000);
    assert_eq!(after.max_connections, 100);
    assert_eq!(after.connections.get("active"), Some(&1), "{:?}", after.connections);
    assert_eq!(after.databases.len(), 1, "{:?}", after.databases);
    assert_eq!(after.databases[0].name, "postgres");
    assert!(after.databases[0].size_bytes > 1e6 && after.databases[0].commits > 0.0);
    assert_eq!(after.replica_lag_seconds, None);
    let quick = stats::read_quick(client).await.unwrap();
    assert!(quick.databases[0].size_bytes.is_nan() && quick.dead_rows.is_nan());
}

/// The same families on every version, but for `pg_stat_wal`, which began with 14.
async fn runs_on(major: u32) {
    let server = PrivatePostgres::start_from(&version_bin(major), "");
    let running = start(&server.dsn());
    let before = running.page_when_up().await;
    assert_well_formed(&before);
    let connection = connect(&server.dsn(), TIMEOUT).await.unwrap();
    let client = connection.client();
    client
        .batch_execute("CREATE TABLE t AS SELECT generate_series(1, 10000) AS i; SELECT pg_switch_wal()")
        .await
        .unwrap();
    client.batch_execute("CHECKPOINT").await.unwrap();
    // A backend hands its counts over when it ends, else when it pleases.
    drop(connection);
    let requested = "pg_checkpoints_requested_total";
    let after = running
        .page_with("a checkpoint more", |page| {
            value(page, requested) > value(&before, requested)
                && value(page, "pg_checkpoint_buffers_written_total")
                    > value(&before, "pg_checkpoint_buffers_written_total")
                && value(page, "pg_stat_bgwriter_buffers_backend_total").is_some()
                && (major < 14
                    || value(page, "pg_stat_wal_bytes_total").unwrap()
                        > value(&before, "pg_stat_wal_bytes_total").unwrap() + 500_000.0)
        })
        .await;
    let grown = |series: &str| value(&after, series).unwrap() - value(&before, series).unwrap();
    let by_position = grown("pg_wal_lsn_bytes_total");
    assert!(by_position > 500_000.0, "{by_position}");
    if major >= 14 {
        // The switch skips the rest of a segment, which was never written.
        let written = grown("pg_stat_wal_bytes_total");
        assert!(written < by_position, "{written} {by_position}");
    }
    assert_eq!(value(&after, "pg_server_version_num").map(|version| version as u32 / 10_000), Some(major));
    assert_eq!(value(&after, "leverd_write_probe_active"), Some(1.0));
    assert_eq!(value(&after, "leverd_write_probe_errors_total"), Some(0.0));
    assert!(value(&after, "pg_database_size_bytes{datname=\"postgres\"}").unwrap() > 1e6);
    let postgres: Vec<String> = families(&after)
        .into_iter()
        .filter(|name| name.starts_with("pg_") && (major < 14 || !name.starts_with("pg_stat_wal_")))
        .collect();
    insta::allow_duplicates! {
        insta::assert_snapshot!(postgres.join("\n"), @"
        pg_checkpoint_buffers_written_total
        pg_checkpoint_sync_seconds_total
        pg_checkpoint_write_seconds_total
        pg_checkpoints_requested_total
        pg_checkpoints_timed_total
        pg_database_size_bytes
        pg_replication_is_replica
        pg_server_version_num
        pg_settings_max_connections
        pg_stat_activity_connections
        pg_stat_bgwriter_buffers_alloc_total
        pg_stat_bgwriter_buffers_backend_total
        pg_stat_bgwriter_buffers_clean_total
        pg_stat_bgwriter_maxwritten_clean_total
        pg_stat_database_blks_hit_total
        pg_stat_database_blks_read_total
        pg_stat_database_deadlocks_total
        pg_stat_database_numbackends
        pg_stat_database_temp_bytes_total
        pg_stat_database_temp_files_total
        pg_stat_database_tup_deleted_total
        pg_stat_database_tup_fetched_total
        pg_stat_database_tup_inserted_total
        pg_stat_database_tup_returned_total
        pg_stat_database_tup_updated_total
        pg_stat_database_xact_commit_total
        pg_stat_database_xact_rollback_total
        pg_stat_user_tables_n_dead_tup
        pg_stat_user_tables_n_live_tup
        pg_up
        pg_wal_lsn_bytes_total
        ");
    }
}

#[tokio::test]
async fn it_runs_on_postgres_12() {
    runs_on(12).await;
}

#[tokio::test]
async fn it_runs_on_postgres_14() {
    runs_on(14).await;
}

#[tokio::test]
async fn it_runs_on_postgres_17() {
    runs_on(17).await;
}

#[tokio::test]
async fn it_runs_on_postgres_18() {
    runs_on(18).await;
}

#[tokio::test]
async fn the_default_sets_stay_within_their_budget_of_series() {
    let server = PrivatePostgres::start("");
    let page = start(&server.dsn()).page_when_up().await;
    let samples: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
    let of_cpus = samples.iter().filter(|line| line.starts_with("node_cpu_seconds_total")).count();
    // Eight modes for each CPU are the machine's doing; with 2 CPUs all of it stays under 300.
    assert!(samples.len() - of_cpus <= 284, "{} series, {of_cpus} of CPUs", samples.len());
    let distinct: BTreeSet<&str> = samples.iter().map(|line| line.rsplit_once(' ').unwrap().0).collect();
    assert_eq!(distinct.len(), samples.len(), "a series stands there twice");
}

#[tokio::test]
async fn a_server_that_goes_and_comes_again_shows_as_pg_up_and_the_host_goes_on() {
    let server = PrivatePostgres::start("");
    let running = start(&server.dsn());
    let up = running.page_when_up().await;
    assert!(up.contains("\npg_wal_lsn_bytes_total "));
    server.pg_ctl("stop");
    let down = running.page_with("pg_up 0", |page| value(page, "pg_up") == Some(0.0)).await;
    assert!(!down.contains("\npg_wal_lsn_bytes_total ") && !down.contains("\npg_stat_"), "{down}");
    assert_eq!(value(&down, "leverd_write_probe_active"), Some(0.0));
    let (ready, state) = running.exporter.readiness();
    assert!(ready && state.starts_with("host: ok; postgres: "), "{state}");
    let cpu = "node_context_switches_total";
    running.page_with("fresh host metrics", |page| value(page, cpu) > value(&down, cpu)).await;
    server.pg_ctl("start");
    running
        .page_with("pg_up 1 and a running probe", |page| {
            value(page, "pg_up") == Some(1.0) && value(page, "leverd_write_probe_active") == Some(1.0)
        })
        .await;
    // leverd's own probe and this test's look: no connection was left behind.
    let connection = connect(&server.dsn(), TIMEOUT).await.unwrap();
    assert_eq!(leverds_connections(connection.client()).await, 2);
}

async fn leverds_connections(client: &tokio_postgres::Client) -> i64 {
    let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'leverd'";
    client.query_one(count, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_refusal_is_pg_up_0_without_a_secret() {
    let server = PrivatePostgres::start("");
    let dsn = format!("postgresql://nosuchrole:hunter2@127.0.0.1:{}/postgres?sslmode=disable", server.port);
    let running = start(&dsn);
    let page = running
        .page_with("an error", |page| {
            value(page, "leverd_sampler_errors_total{sampler=\"postgres\"}").is_some_and(|count| count > 0.0)
        })
        .await;
    assert_eq!(value(&page, "pg_up"), Some(0.0));
    assert!(value(&page, "node_load1").is_some());
    let (_, state) = running.exporter.readiness();
    assert!(state.contains("nosuchrole") && !format!("{state}{page}").contains("hunter2"), "{state}");
}

#[tokio::test]
async fn pg_monitor_is_enough_and_a_table_made_by_the_owner_serves_the_probe() {
    let server = PrivatePostgres::start("");
    let owner = connect(&server.dsn(), TIMEOUT).await.unwrap();
    owner.client().batch_execute("CREATE ROLE watcher LOGIN; GRANT pg_monitor TO watcher").await.unwrap();
    let dsn = server.dsn().replace("user=postgres", "user=watcher");
    let page = start(&dsn)
        .page_with("pg_up 1 and a probe that tried", |page| {
            value(page, "pg_up") == Some(1.0)
                && value(page, "leverd_write_probe_errors_total").is_some_and(|count| count > 0.0)
        })
        .await;
    assert_eq!(value(&page, "leverd_write_probe_active"), Some(0.0));
    assert_eq!(value(&page, "leverd_write_probe_duration_seconds_count"), Some(0.0));
    assert!(value(&page, "pg_database_size_bytes{datname=\"postgres\"}").is_some());
    assert_eq!(value(&page, "pg_stat_activity_connections{state=\"unknown\"}"), None, "{page}");
    owner
        .client()
        .batch_execute(
            "CREATE SCHEMA leverd; GRANT USAGE ON SCHEMA leverd TO watcher; \
             CREATE TABLE leverd.leverd_write_probe (id int PRIMARY KEY, beats bigint NOT NULL, \
             at timestamptz NOT NULL); \
             GRANT SELECT, INSERT, UPDATE ON leverd.leverd_write_probe TO watcher",
        )
        .await
        .unwrap();
    start(&dsn).page_when_up().await;
}

#[tokio::test]
async fn on_a_standby_statistics_are_read_and_the_probe_is_off() {
    let server = PrivatePostgres::start("");
    start(&server.dsn()).page_when_up().await;
    server.pg_ctl("stop");
    #[expect(clippy::disallowed_methods, reason = "a test's own file")]
    std::fs::write(server.data().join("standby.signal"), "").unwrap();
    server.pg_ctl("start");
    let running = start(&server.dsn());
    let page = running
        .page_with("pg_up 1 on a standby", |page| {
            value(page, "pg_up") == Some(1.0) && value(page, "pg_replication_is_replica") == Some(1.0)
        })
        .await;
    assert!(value(&page, "pg_wal_lsn_bytes_total").is_some_and(|bytes| bytes > 0.0), "{page}");
    // Some more turns of the probe: it stays off, and makes no noise.
    let reads = "pg_stat_database_xact_commit_total{datname=\"postgres\"}";
    let first = value(&page, reads).unwrap();
    let later = running.page_with("later reads", |page| value(page, reads) >= Some(first + 10.0)).await;
    assert_eq!(value(&later, "leverd_write_probe_active"), Some(0.0));
    assert_eq!(value(&later, "leverd_write_probe_errors_total"), Some(0.0));
}

#[tokio::test]
async fn on_a_read_only_server_the_probe_is_off() {
    let server = PrivatePostgres::start("default_transaction_read_only = on");
    let running = start(&server.dsn());
    let up = "pg_wal_lsn_bytes_total";
    let page = running.page_with("statistics", |page| value(page, up).is_some()).await;
    assert_eq!(value(&page, "leverd_write_probe_active"), Some(0.0));
    assert_eq!(value(&page, "leverd_write_probe_errors_total"), Some(0.0));
}

#[tokio::test]
async fn behind_a_lock_there_is_one_connection_and_the_stall_is_measured() {
    let server = PrivatePostgres::start("");
    let running = start(&server.dsn());
    running.page_when_up().await;
    let other = connect(&server.dsn(), TIMEOUT).await.unwrap();
    other.client().batch_execute("BEGIN; LOCK TABLE leverd.leverd_write_probe").await.unwrap();
    let slow = |page: &str| {
        let total = value(page, "leverd_write_probe_duration_seconds_count").unwrap();
        total - value(page, "leverd_write_probe_duration_seconds_bucket{le=\"2\"}").unwrap()
    };
    let page = running.page_with("a slow commit", |page| slow(page) >= 1.0).await;
    assert!(value(&page, "node_load1").is_some());
    assert_eq!(leverds_connections(other.client()).await, 2);
    other.client().batch_execute("ROLLBACK").await.unwrap();
    let counted = |page: &str| value(page, "leverd_write_probe_duration_seconds_bucket{le=\"2\"}");
    running.page_with("quick commits again", |later| counted(later) > counted(&page)).await;
}

#[tokio::test]
async fn a_connection_that_hangs_is_given_up_and_no_other_goes_on_beside_it() {
    let server = PrivatePostgres::start("");
    let running = start(&server.dsn());
    running.page_when_up().await;
    let other = connect(&server.dsn(), TIMEOUT).await.unwrap();
    let pid =
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'leverd' AND pid <> pg_backend_pid()";
    let pid: i32 = other.client().query_one(pid, &[]).await.unwrap().get(0);
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let down = running.page_with("pg_up 0", |page| value(page, "pg_up") == Some(0.0)).await;
    assert!(value(&down, "node_load1").is_some());
    running.page_with("a refusal to go on", |_| running.exporter.readiness().1.contains("given up")).await;
    let still = |_: &str| running.exporter.readiness().1.contains("still works");
    running.page_with("the second look", still).await;
    // The hanging one, this test's, and perhaps the one that takes a look just now.
    assert!(leverds_connections(other.client()).await <= 3);
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    running.page_with("pg_up 1", |page| value(page, "pg_up") == Some(1.0)).await;
    assert_eq!(leverds_connections(other.client()).await, 2);
}

fn leverd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leverd"));
    command.env_remove("PGHOST").env_remove("LEVERD_DSN").arg("exporter");
    command
}

#[test]
fn beyond_loopback_it_does_not_listen_unasked() {
    let output = leverd().args(["--listen", "0.0.0.0:0"]).output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{words}");
    assert!(words.contains("--allow-remote") && words.contains("0.0.0.0:0"), "{words}");
}

#[test]
fn a_taken_port_and_a_broken_dsn_are_named() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let at = taken.local_addr().unwrap().to_string();
    let output = leverd().args(["--listen", &at]).output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains(&at) && words.contains("--listen"), "{words}");
    let output = leverd().args(["--dsn", "postgresql://u:hunter2@h:notaport/x"]).output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{words}");
    assert!(words.contains("port") && !words.contains("hunter2"), "{words}");
}

#[test]
fn the_command_serves_a_fixture_host_and_ends_with_sigterm() {
    let fixture = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/host/intel_server");
    let listen = format!("127.0.0.1:{}", free_port());
    let mut child = leverd()
        .args(["--listen", &listen, "--no-postgres", "--path.procfs"])
        .arg(fixture.join("proc"))
        .arg("--path.sysfs")
        .arg(fixture.join("sys"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let page = loop {
        if let Ok(answer) = get(&listen, "/metrics")
            && answer.contains("node_load1")
        {
            break answer.split_once("\r\n\r\n").unwrap().1.to_owned();
        }
        assert!(begun.elapsed() < DEADLINE, "no metrics");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_well_formed(&page);
    assert_eq!(value(&page, "leverd_cpu_temperature_celsius"), Some(61.0));
    assert!(value(&page, "process_resident_memory_bytes").is_some_and(|bytes| bytes > 1e6));
    assert!(!page.contains("pg_"), "{page}");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}");
}
