//! Levers: what can be changed, at what cost, against which symptom.

use super::{LeverName, LimitKind, Symptom};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// What pulling a lever costs its owner, as `levers.yaml` groups them. It ranks; whether a restart is needed is
/// read from the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CostTier {
    /// A reload.
    Low,
    /// A restart, or a setting with wide effect.
    Medium,
    /// Infrastructure.
    High,
}

impl fmt::Display for CostTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        })
    }
}

/// Where a lever's value is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// A Postgres configuration file that leverd can edit. The parameter is edited where it takes effect: in
    /// this file or in one that it includes.
    PostgresqlConf(PathBuf),
    /// `ALTER SYSTEM` through the connection.
    AlterSystem,
    /// The server's own `config_file` where it can be read and written from here, else `ALTER SYSTEM`. Which of
    /// the two it is shows only once the server answers: the engine puts `PostgresqlConf` or `AlterSystem` in
    /// its place then, so no plan and no trial ever holds this.
    ServerConf,
    /// A `KEY=value` file of the application.
    EnvFile(PathBuf),
    /// A limit of a container, which its engine is told. The compose file that it was made from stays as it is.
    ContainerLimit {
        /// The container's name or id.
        container: String,
        /// Which limit.
        kind: LimitKind,
    },
    /// PgBouncer's `pgbouncer.ini`, section `[pgbouncer]`.
    PgBouncer(PathBuf),
    /// Nowhere, and why, for people.
    Unavailable(String),
}

/// The facts that a lever's evidence may refer to, each with its meaning. `observe` computes them.
pub const FACTS: [(&str, &str); 21] = [
    ("active_connections", "connections that run a statement"),
    ("backend_write_share", "buffers that backends wrote themselves / all buffers written"),
    ("backend_writes_per_second", "buffers per second that backends wrote themselves"),
    ("bgwriter_maxwritten_per_second", "times per second that the background writer stopped at its limit"),
    ("cache_hit_ratio", "blocks found in shared buffers / blocks asked for"),
    ("checkpoints_per_minute", "checkpoints per minute, timed and requested"),
    ("checkpoints_requested_share", "checkpoints forced by WAL volume / all checkpoints"),
    ("commits_per_second", "transactions committed per second, all databases"),
    ("connections_used_share", "client connections / max_connections"),
    ("container_cpu_throttled_share", "CPU periods in which the container was held back / all its periods"),
    ("container_memory_used_share", "memory of the container that is no page cache / its limit"),
    ("database_bytes_over_shared_buffers", "size of all databases / shared_buffers"),
    ("dead_row_share", "dead rows / all rows of the connected database's tables"),
    ("full_page_image_share", "full-page images / WAL records"),
    (
        "parallel_workers",
        "parallel workers at work at the last look; unknown where none was seen at that moment",
    ),
    ("pool_wait_seconds", "the longest that a client waits for PgBouncer to give it a connection"),
    ("pool_waiting_clients", "clients that wait for PgBouncer to give them a connection"),
    ("rows_per_commit", "rows inserted, updated or deleted per committed transaction"),
    (
        "sequential_rows_share",
        "rows that scans read without an index / rows and index entries that they read",
    ),
    ("temp_bytes_per_second", "bytes per second written to temporary files"),
    ("wal_buffers_full_per_second", "times per second that WAL went to disk because its buffers were full"),
];

/// A condition on a fact of the server without which the lever could not help.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvidenceRule {
    /// The fact's name, one of [`FACTS`].
    pub fact: String,
    /// The lever can help only while the fact is above this.
    pub above: Option<f64>,
    /// The lever can help only while the fact is below this.
    pub below: Option<f64>,
}

impl EvidenceRule {
    /// `Some(true)` supports the lever, `Some(false)` rules it out, `None`: the fact is not known.
    pub fn holds(&self, fact: Option<f64>) -> Option<bool> {
        let value = fact.filter(|value| value.is_finite())?;
        Some(self.above.is_none_or(|bound| value > bound) && self.below.is_none_or(|bound| value < bound))
    }
}

impl fmt::Display for EvidenceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.above, self.below) {
            (Some(above), Some(below)) => write!(f, "{above} < {} < {below}", self.fact),
            (Some(above), None) => write!(f, "{} > {above}", self.fact),
            (None, Some(below)) => write!(f, "{} < {below}", self.fact),
            (None, None) => f.write_str(&self.fact),
        }
    }
}

/// One thing that can be changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lever {
    /// Its name; unique.
    pub name: LeverName,
    /// For people.
    pub description: String,
    /// The tier under which it is listed.
    pub tier: CostTier,
    /// The symptoms that it treats: its `target_symptom` and every mapping that names it.
    pub symptoms: Vec<Symptom>,
    /// The Postgres parameter or the `.env` key.
    pub parameter: String,
    /// Where it is written, resolved for this target.
    pub place: Place,
    /// The value "as installed", as people write it.
    pub default_value: Option<String>,
    /// Values from mild to strong, as people write them.
    pub values: Vec<String>,
    /// What it does for the symptom.
    pub impact: Option<String>,
    /// What it may do beside that.
    pub risk: Option<String>,
    /// What must be true of the server for it to help; all must hold.
    pub evidence: Vec<EvidenceRule>,
    /// Its effect shows over whole checkpoints, so a trial spans at least three.
    pub spans_checkpoints: bool,
    /// PromQL whose answer equals the value once an `.env` lever has arrived in the application.
    pub verify_query: Option<String>,
    /// The line of `levers.yaml` where it stands, from 1.
    pub line: u32,
}
