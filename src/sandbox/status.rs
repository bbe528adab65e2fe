//! How the running sandbox is: each part's process, port and health.

use super::error::SandboxError;
use super::monitoring::{answers, http};
use super::place::Place;
use super::postgres::{self, Server};
use super::process::ProcessId;
use super::state::{self, Part, Parts, State};
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The running sandbox.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Its scenario.
    pub scenario: String,
    /// Whether the scenario's mis-settings were applied.
    pub broken: bool,
    /// When it was started.
    pub started_at: DateTime<Utc>,
    /// Where everything is.
    pub folder: PathBuf,
    /// The user that the parts run as, where that is not the caller.
    pub user: Option<String>,
    /// Its `leverd.yaml`.
    pub config: PathBuf,
    /// A command that opens its Postgres.
    pub psql: String,
    /// Its Prometheus.
    pub prometheus: String,
    /// The parts.
    pub parts: Vec<PartStatus>,
}

impl Status {
    /// Every part is healthy.
    pub fn is_healthy(&self) -> bool {
        self.parts.iter().all(|part| part.health == Health::Up)
    }
}

/// One part.
#[derive(Debug, Clone, Serialize)]
pub struct PartStatus {
    /// `supervisor`, `postgres`, `prometheus`, `load`, `exporter`, and where the scenario has one `neighbour`.
    pub name: &'static str,
    /// Its process.
    pub pid: Option<u32>,
    /// Its port on 127.0.0.1.
    pub port: Option<u16>,
    /// How it is.
    pub health: Health,
    /// How often the supervisor started it again.
    pub restarts: u32,
    /// How it ended last.
    pub last_exit: Option<String>,
}

/// How a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It runs and answers.
    Up,
    /// It runs, and does not answer.
    Silent,
    /// It does not run.
    Down,
    /// It died too often; the supervisor leaves it alone.
    GivenUp,
}

impl std::fmt::Display for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Up => "up",
            Self::Silent => "runs, does not answer",
            Self::Down => "down",
            Self::GivenUp => "given up",
        })
    }
}

/// Looks at the sandbox of a project.
pub async fn status(root: &Path) -> Result<Status, SandboxError> {
    let not_running = || SandboxError::NotRunning { root: root.to_owned() };
    let place = Place::existing(root).ok_or_else(not_running)?;
    let state: State = state::load(&place.state())?.ok_or_else(not_running)?;
    let parts: Parts = state::load(&place.parts())?.unwrap_or_default();
    let part = |name: &str| parts.parts.get(name).cloned().unwrap_or_default();
    let http = http();

    let ports = state.ports;
    let supervisor = Part { process: state.supervisor.clone(), ..Part::default() };
    let database = Part {
        process: match postgres::server(&place) {
            Server::Runs(process) => Some(process),
            Server::Crashed | Server::Stopped => None,
        },
        ..part("postgres")
    };
    let connects = postgres::open(&state, "capsim", Duration::from_secs(2)).await.is_ok();
    let mut all = vec![
        judge("supervisor", supervisor, None, true),
        judge("postgres", database, Some(ports.postgres), connects),
        judge(
            "prometheus",
            part("prometheus"),
            Some(ports.prometheus),
            answers(&http, ports.prometheus, "/-/ready").await,
        ),
        judge("load", part("load"), Some(ports.load), answers(&http, ports.load, "/metrics").await),
        judge(
            "exporter",
            part("exporter"),
            Some(ports.exporter),
            answers(&http, ports.exporter, "/metrics").await,
        ),
    ];
    if parts.parts.contains_key("neighbour") {
        // It serves nothing: that it runs is all there is to see.
        all.push(judge("neighbour", part("neighbour"), None, true));
    }
    Ok(Status {
        parts: all,
        psql: format!("psql \"{}\"", state.dsn()),
        prometheus: format!("http://127.0.0.1:{}", ports.prometheus),
        config: place.config(),
        scenario: state.scenario,
        broken: state.broken,
        started_at: state.started_at,
        user: state.user,
        folder: place.folder,
    })
}

fn judge(name: &'static str, part: Part, port: Option<u16>, answers: bool) -> PartStatus {
    let process = part.process.filter(ProcessId::is_alive);
    let health = match &process {
        Some(_) if answers => Health::Up,
        Some(_) => Health::Silent,
        None if part.given_up => Health::GivenUp,
        None => Health::Down,
    };
    let pid = process.map(|process| process.pid);
    PartStatus { name, pid, port, health, restarts: part.restarts, last_exit: part.last_exit }
}
