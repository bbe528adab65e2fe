//! A target for whole trials in seconds: a real Postgres, a real Prometheus, and a made-up application whose metric
//! answers to what stands in `postgresql.conf`.
//!
//! Only the application is made up: the level is broken while the old value stands, and met with the new one, so that
//! the way of a trial is the same every time.

use super::http::TinyHttp;
use super::leverd::{Project, both, finish};
use super::postgres::{PrivatePostgres, free_port};
use super::prometheus::{PrivatePrometheus, exporter, scraping};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Output;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(180);

/// What a trial on this rig will find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The new value cuts the goal's signal by two thirds.
    Helps,
    /// It changes nothing.
    Nothing,
    /// The goal is better for it, and the latency four times as high.
    Harms,
    /// As [`Effect::Harms`], while the hypervisor takes half of the CPU.
    StolenFrom,
    /// The level is broken for 8 s of every 24 s, whatever the value.
    NowAndThen,
    /// It is met for 8 s of every 24 s, whatever the value.
    MetNowAndThen,
    /// As [`Rig::demand`] said last; as [`Effect::Helps`] until then.
    AsDemanded,
}

/// The parts, running.
pub(crate) struct Rig {
    pub(crate) project: Project,
    pub(crate) postgres: PrivatePostgres,
    /// Where `leverd run` serves its metrics.
    pub(crate) exporter_port: u16,
    _application: TinyHttp,
    pub(crate) prometheus: PrivatePrometheus,
}

/// A lever as `levers.yaml` has it: max_wal_size reloads, shared_buffers restarts.
pub(crate) fn levers(parameter: &str, default: &str, value: &str) -> String {
    format!(
        r#"levers:
  low_cost:
    - name: "{parameter}"
      description: "the rig's only lever"
      target_symptom: "high_wal_rate"
      config_file: "monitoring/postgresql.conf"
      parameter: "{parameter}"
      default_value: "{default}"
      recommended_values: ["{value}"]
symptom_mappings:
  high_wal_rate: ["{parameter}"]
  high_io_wait: ["{parameter}"]
  high_p95_latency: ["{parameter}"]
  high_cpu_temperature: ["{parameter}"]
"#
    )
}

/// The reload lever of the rig.
pub(crate) fn reload_lever() -> String {
    levers("max_wal_size", "512MB", "640MB")
}

/// The restart lever of the rig.
pub(crate) fn restart_lever() -> String {
    levers("shared_buffers", "128MB", "160MB")
}

/// Until the first scrape there is nothing to decide about.
fn wait_for_samples(prometheus: &PrivatePrometheus) {
    let until = Instant::now() + PATIENCE;
    loop {
        let mut answer = String::new();
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", prometheus.port)) {
            let _ = stream.write_all(b"GET /api/v1/query?query=rig_goal HTTP/1.0\r\n\r\n");
            let _ = stream.read_to_string(&mut answer);
        }
        if answer.contains("\"value\"") {
            return;
        }
        assert!(Instant::now() < until, "Prometheus never scraped the rig: {answer}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What the application reads beside `postgresql.conf`.
const DEMAND: &str = "rig_demand";
/// What both new values have in common, and no other line of the file has.
const NEW_VALUES: [&str; 2] = ["640MB", "160MB"];

impl Rig {
    /// Starts it on `postgres`. `cycle` is the load cycle in seconds, of five scrapes each; a judgement takes twenty.
    pub(crate) fn on(postgres: PrivatePostgres, levers: &str, effect: Effect, cycle: u32) -> Self {
        Self::alerting(postgres, levers, effect, cycle, "groups: []\n", "")
    }

    /// The same with alert rules, and what `prometheus.yml` says beside them.
    pub(crate) fn alerting(
        postgres: PrivatePostgres,
        levers: &str,
        effect: Effect,
        cycle: u32,
        rules: &str,
        more: &str,
    ) -> Self {
        let files = [postgres.conf(), postgres.conf().with_file_name("postgresql.auto.conf")];
        let demand = postgres.conf().with_file_name(DEMAND);
        let application = exporter(move |since| {
            let texts = files.each_ref().map(|file| fs::read_to_string(file).unwrap_or_default());
            let changed = NEW_VALUES.iter().any(|value| texts.iter().any(|text| text.contains(value)));
            // Some noise of a few percent, the same every time.
            let wobble = 1.0 + 0.03 * (since.as_secs_f64() * 2.7).sin();
            let goal = match effect {
                Effect::NowAndThen if since.as_secs() % 24 >= 8 => 30.0,
                Effect::MetNowAndThen if since.as_secs() % 24 < 8 => 30.0,
                Effect::AsDemanded => {
                    let text = fs::read_to_string(&demand).unwrap_or_else(|_| "30 100".to_owned());
                    let numbers: Vec<f64> = text.split(' ').filter_map(|word| word.parse().ok()).collect();
                    // Half written: as it was a moment ago.
                    let [with, without] = numbers[..] else { return String::new() };
                    if changed { with } else { without }
                }
                Effect::Helps | Effect::Harms | Effect::StolenFrom if changed => 30.0,
                _ => 100.0,
            };
            let is_slow = changed && matches!(effect, Effect::Harms | Effect::StolenFrom);
            let latency = if is_slow { 80.0 } else { 20.0 };
            let share = if changed && effect == Effect::StolenFrom { 0.5 } else { 0.0 };
            let stolen = share * since.as_secs_f64();
            format!(
                "rig_goal {}\nrig_latency {}\nnode_cpu_seconds_total{{cpu=\"0\",mode=\"steal\"}} {stolen}\n",
                goal * wobble,
                latency * wobble
            )
        });
        let config = format!("{}{more}", scraping(&application, "200ms"));
        let prometheus = PrivatePrometheus::start(&config, &[("rules.yml", rules)]);
        wait_for_samples(&prometheus);
        let exporter_port = free_port();
        let project = Project::new();
        project.write("config/levers.yaml", levers);
        project.write(
            "config/leverd.yaml",
            &format!(
                r#"target:
  name: rig
  dsn: "{}"
  postgresql_conf: "{}"
  restart: {{ method: pg_ctl, pg_ctl: "{}", data_directory: "{}", timeout: 30s }}
prometheus: {{ url: "{}" }}
cycle: {{ load_cycle: {cycle}s, settle: 2s, scrape_interval: 200ms, max_extensions: 1, cool_down: 1h }}
signals:
  wal_rate: {{ queries: ["rig_goal"], window: 2s, scales_with_load: false }}
  io_wait: {{ queries: ["vector(1)"], window: 2s }}
  p95_write_latency: {{ queries: ["rig_latency"], window: 2s }}
exporter: {{ listen: "127.0.0.1:{exporter_port}" }}
sla: {{ wal_rate: "<= 50", io_wait: "< 25", p95_write_latency: "<= 60" }}
"#,
                postgres.dsn(),
                postgres.conf().display(),
                postgres.bin().join("pg_ctl").display(),
                postgres.data().display(),
                prometheus.url(),
            ),
        );
        Self { project, postgres, exporter_port, _application: application, prometheus }
    }

    /// Starts it on the system's Postgres.
    pub(crate) fn start(levers: &str, effect: Effect, cycle: u32) -> Self {
        Self::on(PrivatePostgres::start("max_wal_size = 512MB   # by a person"), levers, effect, cycle)
    }

    /// `leverd tune --cycles 1`, with fault points.
    pub(crate) fn tune(&self, failpoints: &str) -> Output {
        let mut command = self.project.command(&["tune", "--cycles", "1", "--no-tty"]);
        if !failpoints.is_empty() {
            command.env("FAILPOINTS", failpoints);
        }
        finish(command, PATIENCE)
    }

    /// From now on the goal's signal is so much with the new value, and without it.
    pub(crate) fn demand(&self, with: f64, without: f64) {
        self.project.write(DEMAND, &format!("{with} {without}"));
        let written = self.project.path().join(DEMAND);
        fs::rename(written, self.postgres.conf().with_file_name(DEMAND)).unwrap();
    }

    /// The trials in the ledger, as JSON.
    pub(crate) fn trials(&self) -> Vec<Value> {
        let output = self.project.leverd(&["history", "--json"], PATIENCE);
        let history: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}\n{}", both(&output)));
        history.as_array().or_else(|| history["trials"].as_array()).unwrap().clone()
    }

    /// The first trial whole, as `history 1 --json` has it; `None` while there is none.
    pub(crate) fn first_trial(&self) -> Option<Value> {
        let output = self.project.leverd(&["history", "1", "--json"], PATIENCE);
        let whole: Value = serde_json::from_slice(&output.stdout).ok()?;
        Some(whole["trial"].clone())
    }

    /// postgresql.conf as it is.
    pub(crate) fn conf(&self) -> Vec<u8> {
        fs::read(self.postgres.conf()).unwrap()
    }

    /// A value as the server shows it.
    pub(crate) async fn shows(&self, parameter: &str) -> String {
        let connection =
            leverd::postgres::connect(&self.postgres.dsn(), Duration::from_secs(10)).await.unwrap();
        let row = connection.client().query_one(&format!("SHOW {parameter}"), &[]).await.unwrap();
        row.get(0)
    }

    /// Where leverd keeps its state.
    pub(crate) fn state(&self) -> PathBuf {
        self.project.path().join(".leverd")
    }
}
