//! The sandbox's Prometheus and the `leverd.yaml` that leads the loop to it: what is in their files, and questions
//! to the running one.

use super::error::SandboxError;
use super::place::Place;
use super::scenario::Scenario;
use super::state::{Ports, State};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where Prometheus' program is.
pub(super) fn find_prometheus() -> Result<PathBuf, SandboxError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path)
        .chain(["/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"].map(PathBuf::from));
    let mut candidates = folders.map(|folder| folder.join("prometheus"));
    candidates.find(|program| program.is_file()).ok_or(SandboxError::MissingProgram {
        program: "prometheus",
        looked_in: "the PATH, /usr/bin, /usr/local/bin and /opt/homebrew/bin".to_owned(),
    })
}

/// `prometheus.yml`: both jobs at one second.
pub(super) fn prometheus_config(ports: Ports) -> String {
    format!(
        "# Written by `leverd sandbox up`.
global:
  scrape_interval: 1s
  scrape_timeout: 1s
  evaluation_interval: 1s
scrape_configs:
  - job_name: capsim
    static_configs:
      - targets: [\"127.0.0.1:{}\"]
  - job_name: leverd
    static_configs:
      - targets: [\"127.0.0.1:{}\"]
",
        ports.load, ports.exporter
    )
}

/// Prometheus' arguments.
pub(super) fn prometheus_arguments(place: &Place, ports: Ports) -> Vec<String> {
    vec![
        format!("--config.file={}", place.prometheus_config().display()),
        format!("--storage.tsdb.path={}", place.prometheus_data().display()),
        "--storage.tsdb.retention.time=6h".to_owned(),
        format!("--web.listen-address=127.0.0.1:{}", ports.prometheus),
        "--log.level=warn".to_owned(),
    ]
}

/// `leverd.yaml`.
pub(super) fn leverd_config(place: &Place, state: &State, scenario: &Scenario) -> String {
    let (window, load_cycle) = (scenario.window, scenario.load_cycle);
    let bounds: Vec<String> =
        scenario.sla.iter().map(|(signal, bound)| format!("  {signal}: {}", quoted(bound))).collect();
    format!(
        "# Written by `leverd sandbox up` for the scenario {scenario_name}; `leverd sandbox down` removes it.
environment: development
root: {root}
target:
  name: sandbox
  dsn: {dsn}
  postgresql_conf: {conf}
  env_file: {env}
  restart:
    method: pg_ctl
    pg_ctl: {pg_ctl}
    data_directory: {data}
    timeout: 60s
prometheus:
  url: \"http://127.0.0.1:{prometheus}\"
cycle:
  load_cycle: {load_cycle}
  settle: 10s
  scrape_interval: 1s
  max_extensions: 2
  cool_down: 1h
  tick: 5s
signals:
  wal_rate: {{ window: {window} }}
  cpu_temperature: {{ window: {window}, optional: true }}  # a virtual machine has no sensor
  io_wait: {{ window: {window} }}
  p95_write_latency: {{ window: {window} }}
sla:
{bounds}
load:
  queries: [\"sum(rate(capsim_events_written_total[{{{{window}}}}]))\"]
levers: config/levers.yaml
paths:
  ledger: .leverd/sandbox/ledger.db
  lock: .leverd/sandbox/lock
  baseline: .leverd/sandbox/baseline.yaml
  changelog: CHANGELOG_TUNING.md
  tuning_log: tuning.log
  log_archive: logs/archive
  backups: backups
exporter:
  write_probe: true
",
        scenario_name = scenario.name,
        root = quoted_path(&place.root),
        dsn = quoted(&state.dsn()),
        conf = quoted_path(&place.postgresql_conf()),
        env = quoted_path(&place.env()),
        pg_ctl = quoted_path(&state.postgres_bin.join("pg_ctl")),
        data = quoted_path(&place.data()),
        prometheus = state.ports.prometheus,
        bounds = bounds.join("\n"),
    )
}

/// A JSON string is a YAML string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn quoted_path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// A client for the sandbox's own servers: loopback, no proxy.
pub(super) fn http() -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build();
    client.expect("a client without TLS settings can always be built")
}

/// Whether a part answers 200.
pub(super) async fn answers(http: &reqwest::Client, port: u16, path: &str) -> bool {
    let answer = http.get(format!("http://127.0.0.1:{port}{path}")).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}

/// The first value that Prometheus gives for a query; `None` for no answer, no series, or NaN.
pub(super) async fn value_of(http: &reqwest::Client, port: u16, query: &str) -> Option<f64> {
    let url =
        reqwest::Url::parse_with_params(&format!("http://127.0.0.1:{port}/api/v1/query"), [("query", query)])
            .ok()?;
    let text = http.get(url).send().await.ok()?.text().await.ok()?;
    let answer: serde_json::Value = serde_json::from_str(&text).ok()?;
    let value = answer.pointer("/data/result/0/value/1")?.as_str()?.parse::<f64>().ok()?;
    value.is_finite().then_some(value)
}
