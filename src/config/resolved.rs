//! The configuration as the other rooms see it: every default filled in, every path absolute, all of it checked.

use super::Window;
// What a migration was told stands in a file of its own, and is one of the resolved types all the same.
pub use super::migration_resolved::{
    AiConfig, AiProvider, DatabaseEndpoint, DatabaseEngine, Machine, MigrationConfig, MigrationSettings,
    SslMode, TableFilter, TablePattern, TargetMode,
};
use crate::model::{Environment, Lever, LeverName, Signal, SignalName, SlaTarget, Symptom, TargetName};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Everything leverd was told.
#[derive(Debug, Clone)]
pub struct Config {
    /// The `leverd.yaml` that it came from.
    pub file: PathBuf,
    /// Which column of SLA targets applies.
    pub environment: Environment,
    /// The managed Postgres.
    pub target: Target,
    /// Where signals are read.
    pub prometheus: PrometheusConfig,
    /// The playbook's four and the user's own.
    pub signals: Vec<Signal>,
    /// One bound a signal at most; a signal without one is observed only.
    pub sla: Vec<SlaTarget>,
    /// What "offered load" is.
    pub load: LoadSignal,
    /// Times.
    pub cycle: Cycle,
    /// What may be pulled without asking.
    pub policy: Policy,
    /// When a trial is aborted at once.
    pub abort: AbortLimits,
    /// All levers, in the order of `levers.yaml`.
    pub levers: Vec<Lever>,
    /// Symptom → levers, in the order of the mapping: the ranking's last word.
    pub symptom_mappings: BTreeMap<Symptom, Vec<LeverName>>,
    /// The `levers.yaml` that the levers came from.
    pub levers_file: PathBuf,
    /// What the exporter listens on and shows.
    pub exporter: ExporterConfig,
    /// Who may ask for changes over HTTP.
    pub api: ApiConfig,
    /// Alert name → symptom, for alerts that have no label `symptom`.
    pub alert_symptoms: BTreeMap<String, Symptom>,
    /// Who is told of verdicts.
    pub announce: AnnounceConfig,
    /// Where the record stands.
    pub paths: Paths,
    /// When `tuning.log` is rotated.
    pub log_rotation: LogRotation,
}

/// A text that must not be shown: its `Debug` and `Display` hide it.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself; only for the place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// The managed Postgres and how to reach, change and restart it.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its name in records.
    pub name: TargetName,
    /// A libpq URL or key-value string, password included.
    pub dsn: Secret,
    /// Which file holds the settings.
    pub postgresql_conf: PostgresqlConf,
    /// What runs, through `sh -c`, after an `.env` lever was written; `None`: the application watches its file.
    pub app_reload: Option<String>,
    /// How Postgres is restarted.
    pub restart: Restart,
    /// Memory that Postgres may use, bytes; `None`: the container's limit or the host's RAM where the server
    /// runs on this host, else unknown.
    pub memory_budget_bytes: Option<u64>,
    /// The container that Postgres runs in, where its limits are levers too.
    pub container: Option<ContainerConfig>,
    /// The pooler before Postgres.
    pub pgbouncer: Option<PgBouncerConfig>,
}

/// A container, and the engine that runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerConfig {
    /// Its name or id.
    pub name: String,
    /// How the engine is reached.
    pub socket: EngineSocket,
}

/// How a container engine is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineSocket {
    /// The first usual socket whose engine has the container.
    Auto,
    /// This Unix socket.
    Path(PathBuf),
}

/// A PgBouncer before Postgres.
#[derive(Debug, Clone)]
pub struct PgBouncerConfig {
    /// Its `pgbouncer.ini`.
    pub config_file: PathBuf,
    /// Its admin console, password included.
    pub admin_dsn: Secret,
}

/// Which file holds the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PostgresqlConf {
    /// The server's own `config_file` where it can be read and written here, else `ALTER SYSTEM`.
    Auto,
    /// No file access: `ALTER SYSTEM`.
    AlterSystem,
    /// This file, which is the server's `config_file` seen from here (a bind mount, say).
    File(PathBuf),
}

/// How Postgres is restarted.
#[derive(Debug, Clone)]
pub struct Restart {
    /// The way.
    pub method: RestartMethod,
    /// How long Postgres may take to answer again.
    pub timeout: Duration,
}

/// The ways to restart Postgres.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestartMethod {
    /// Never: levers that need a restart are refused.
    Never,
    /// `pg_ctl restart -D DATA -m fast`, as this process' user or, as root, as the data folder's owner.
    PgCtl {
        /// The `pg_ctl` to run.
        pg_ctl: PathBuf,
        /// The data folder.
        data_directory: PathBuf,
    },
    /// A command, through `sh -c`.
    Command(String),
    /// `systemctl restart UNIT`.
    Systemd(String),
    /// `brew services restart FORMULA`.
    Brew(String),
    /// The target's container is restarted by its engine.
    Docker,
}

/// Where signals are read.
#[derive(Debug, Clone)]
pub struct PrometheusConfig {
    /// Base address without a trailing slash.
    pub url: String,
    /// For one query.
    pub timeout: Duration,
    /// Basic authentication.
    pub basic_auth: Option<(String, Secret)>,
    /// Bearer authentication.
    pub bearer_token: Option<Secret>,
}

/// What "offered load" is: units of work per second.
#[derive(Debug, Clone)]
pub struct LoadSignal {
    /// PromQL templates with `{{window}}`, the first that answers wins.
    pub queries: Vec<String>,
}

/// Times of the loop.
#[derive(Debug, Clone, PartialEq)]
pub struct Cycle {
    /// The time in which the load repeats itself enough to compare.
    pub load_cycle: Duration,
    /// Between a change and the first sample that counts.
    pub settle: Duration,
    /// Prometheus' scrape interval for these signals: one sample each.
    pub scrape_interval: Duration,
    /// How often a trial may be extended by a cycle.
    pub max_extensions: u8,
    /// How long a lever that did not help is left alone.
    pub cool_down: Duration,
    /// Between two looks of the daemon while all is well.
    pub tick: Duration,
}

/// What may be pulled without asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// For levers of the low tier.
    pub low: Pull,
    /// For levers of the medium tier.
    pub medium: Pull,
    /// For levers of the high tier.
    pub high: Pull,
    /// Whether levers that need a restart may be pulled.
    pub restart: Pull,
    /// For how long a kept change must not have been needed before the daemon gives it back; `None`: it never does.
    pub give_back_after: Option<Duration>,
    /// How long a plan waits for a person's yes.
    pub approve_within: Duration,
    /// When restarts are allowed; empty: always.
    pub windows: Vec<Window>,
    /// The windows hold for every change.
    pub windows_for_all: bool,
    /// The windows are in the host's local time; else UTC.
    pub windows_local: bool,
}

/// Whether a lever may be pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pull {
    /// Yes.
    Auto,
    /// After a person's yes.
    Approve,
    /// No; what would have been done is reported.
    Shadow,
}

/// When a trial is aborted at once.
#[derive(Debug, Clone, PartialEq)]
pub struct AbortLimits {
    /// A guard this many times worse than before…
    pub guard_factor: f64,
    /// …for so many scrapes in a row.
    pub guard_scrapes: u32,
    /// Transactions that are rolled back, percent, for as many scrapes.
    pub error_percent: f64,
    /// Used memory, percent.
    pub memory_percent: f64,
    /// Free space under the data folder, percent.
    pub disk_free_percent: f64,
    /// Replica lag.
    pub replica_lag: Duration,
}

/// What the exporter listens on and shows.
#[derive(Debug, Clone)]
pub struct ExporterConfig {
    /// Loopback unless told otherwise.
    pub listen: SocketAddr,
    /// Host metrics under `node_*` names; off beside a real node_exporter.
    pub host: bool,
    /// Postgres metrics.
    pub postgres: bool,
    /// The write probe: one real commit a second in leverd's own table.
    pub write_probe: bool,
    /// Between two samples.
    pub sample_every: Duration,
    /// Where `/proc` is.
    pub procfs: PathBuf,
    /// Where `/sys` is.
    pub sysfs: PathBuf,
}

/// Who may ask for changes over HTTP.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiConfig {
    /// What a request that changes something must name; `None`: nobody may.
    pub token: Option<Secret>,
}

/// Who is told of verdicts, and when a person is needed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AnnounceConfig {
    /// Any webhook; its address is its secret.
    pub webhook: Option<Secret>,
    /// A webhook of Slack, or of what speaks its form.
    pub slack: Option<Secret>,
    /// Grafana's address and a service account's token, for annotations.
    pub grafana: Option<(String, Secret)>,
}

/// Where the record stands; all absolute.
#[derive(Debug, Clone)]
pub struct Paths {
    /// The folder that relative paths of the configuration start from.
    pub root: PathBuf,
    /// The ledger, SQLite.
    pub ledger: PathBuf,
    /// Held by the one leverd that may act on this target.
    pub lock: PathBuf,
    /// `baseline.yaml`.
    pub baseline: PathBuf,
    /// `CHANGELOG_TUNING.md`.
    pub changelog: PathBuf,
    /// `tuning.log`.
    pub tuning_log: PathBuf,
    /// `logs/archive`.
    pub log_archive: PathBuf,
    /// `backups`.
    pub backups: PathBuf,
}

/// When `tuning.log` is rotated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRotation {
    /// Past this size, bytes.
    pub max_bytes: u64,
    /// How many compressed archives are kept.
    pub keep: u32,
}

impl Config {
    /// The bound of a signal.
    pub fn sla_of(&self, signal: &SignalName) -> Option<&SlaTarget> {
        self.sla.iter().find(|target| target.signal == *signal)
    }
}
