//! What was seen at one moment: the input of a decision.

use super::{ContainerState, Setting, SignalName, Symptom};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// A signal's value, or why there is none. Missing data is never a value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Reading {
    /// The value in the signal's unit, and when its sample was taken.
    Known {
        /// The value.
        value: f64,
        /// The sample's own time.
        at: DateTime<Utc>,
        /// The query that answered, for people to repeat.
        query: String,
    },
    /// No value, and why, for people: "no series", "not a number", "Prometheus does not answer: …".
    Unknown {
        /// The reason.
        reason: String,
    },
}

impl Reading {
    /// The value where there is one.
    pub fn value(&self) -> Option<f64> {
        match self {
            Self::Known { value, .. } => Some(*value),
            Self::Unknown { .. } => None,
        }
    }
}

/// A firing alert that carries `tuning_trigger="true"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// `alertname`.
    pub name: String,
    /// When it became active.
    pub active_since: DateTime<Utc>,
    /// The symptom that it stands for: its own label `symptom`, or as the configuration says.
    #[serde(default)]
    pub symptom: Option<Symptom>,
}

/// One alert of a webhook, as Alertmanager sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedAlert {
    /// `alertname`.
    pub name: String,
    /// The label `symptom`.
    pub symptom: Option<String>,
    /// It has `tuning_trigger="true"`.
    pub is_trigger: bool,
    /// It fires; else it is resolved.
    pub is_firing: bool,
    /// Since when.
    pub starts_at: DateTime<Utc>,
    /// Alertmanager's name for its set of labels.
    pub fingerprint: String,
}

/// What the server said of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerState {
    /// `server_version_num`, e.g. 150018.
    pub version_num: u32,
    /// `pg_control_system().system_identifier`.
    pub system_identifier: u64,
    /// `pg_postmaster_start_time()`.
    pub started_at: DateTime<Utc>,
    /// A standby: nothing is written there.
    pub in_recovery: bool,
    /// `SHOW config_file`, where the role may see it.
    pub config_file: Option<PathBuf>,
    /// `SHOW data_directory`, where the role may see it.
    pub data_directory: Option<PathBuf>,
    /// `pg_settings`, by name.
    pub settings: BTreeMap<String, Setting>,
    /// Errors that `pg_file_settings` lists: `file:line: name: error`.
    pub file_errors: Vec<String>,
    /// Parameters that `ALTER ROLE` or `ALTER DATABASE` set, by name, with who sets them to what.
    pub role_or_database_settings: BTreeMap<String, String>,
    /// Derived numbers that a lever's evidence may refer to, see `observe::facts`.
    pub facts: BTreeMap<String, f64>,
    /// The memory that Postgres may use, bytes: the container's limit or the host's RAM; `None` for a remote
    /// server whose host is not known.
    pub memory_budget_bytes: Option<u64>,
}

/// What PgBouncer said of itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PoolerState {
    /// `SHOW CONFIG`, by key: values as PgBouncer writes them.
    pub config: BTreeMap<String, String>,
    /// Settings that an entry of `[databases]` or `[users]` has of its own, by key, with who has it: the plain setting
    /// says nothing there.
    pub own_settings: BTreeMap<String, String>,
    /// Clients that wait for a connection, over all pools.
    pub waiting_clients: f64,
    /// The longest that one of them has waited, s.
    pub longest_wait_seconds: f64,
}

/// Everything that a decision may look at, seen at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When it was taken.
    pub at: DateTime<Utc>,
    /// A reading for each configured signal.
    pub readings: BTreeMap<SignalName, Reading>,
    /// The server, or why it could not be asked.
    pub server: Result<ServerState, String>,
    /// Present values of `.env` keys that levers refer to, by (file, key); absent keys are not in it.
    pub env_values: BTreeMap<String, String>,
    /// The container that Postgres runs in, or why it could not be asked; `None`: none is configured.
    pub container: Option<Result<ContainerState, String>>,
    /// The pooler before Postgres, or why it could not be asked; `None`: none is configured.
    pub pooler: Option<Result<PoolerState, String>>,
    /// Firing alerts that may trigger tuning.
    pub alerts: Vec<Alert>,
    /// How long taking it took.
    pub took: Duration,
}
