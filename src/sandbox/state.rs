//! What is written down about a running sandbox: two JSON files with one writer each, so that none needs a lock.
//!
//! `state.json` is the commands': what was started, where. It is written before the first process starts.
//! `parts.json` is the supervisor's: which process is which part now.

use super::error::SandboxError;
use super::files;
use super::place::Place;
use super::process::ProcessId;
use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The role of the load program, which owns its tables.
pub(super) const LOAD_ROLE: &str = "capsim";

/// `state.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) scenario: String,
    pub(super) started_at: DateTime<Utc>,
    /// The folder that it was written for: a copied one is not a running sandbox.
    pub(super) folder: PathBuf,
    /// The user that the parts run as, where that is not the caller.
    pub(super) user: Option<String>,
    pub(super) ports: Ports,
    /// The folder of Postgres' programs.
    pub(super) postgres_bin: PathBuf,
    pub(super) prometheus: PathBuf,
    /// Whether the scenario's mis-settings were applied.
    pub(super) broken: bool,
    /// Settings on the server's command line.
    #[serde(default)]
    pub(super) command_line: BTreeMap<String, String>,
    /// The supervisor, once there is one.
    pub(super) supervisor: Option<ProcessId>,
}

/// The loopback ports.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Ports {
    pub(super) postgres: u16,
    pub(super) prometheus: u16,
    pub(super) load: u16,
    pub(super) exporter: u16,
}

impl State {
    /// How to connect as the superuser.
    pub(super) fn dsn(&self) -> String {
        self.dsn_of("leverd", "capsim")
    }

    /// How the load program connects: as an application does, not as a superuser.
    pub(super) fn load_dsn(&self) -> String {
        self.dsn_of(LOAD_ROLE, "capsim")
    }

    /// How to connect to a database as a role.
    pub(super) fn dsn_of(&self, role: &str, database: &str) -> String {
        let port = self.ports.postgres;
        format!("host=127.0.0.1 port={port} user={role} dbname={database} sslmode=disable")
    }
}

/// `parts.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Parts {
    /// Part → what became of it.
    pub(super) parts: BTreeMap<String, Part>,
}

/// One supervised part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    /// Its process; `None` while it is down.
    pub(super) process: Option<ProcessId>,
    /// How often it was started again.
    pub(super) restarts: u32,
    /// It died too often; the supervisor leaves it alone.
    pub(super) given_up: bool,
    /// How it ended last.
    pub(super) last_exit: Option<String>,
}

/// `None` where there is no such file.
pub(super) fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, SandboxError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(SandboxError::file("reading", path)(error)),
    };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| SandboxError::State { path: path.to_owned(), why: error.to_string() })
}

pub(super) fn store<T: Serialize>(path: &Path, value: &T) -> Result<(), SandboxError> {
    let text = serde_json::to_string_pretty(value).expect("plain data always serialises");
    files::write(path, &text, None)
}

/// Every process of the sandbox that runs, the postmaster apart: from both files, and what is in neither.
pub(super) fn processes(place: &Place) -> Vec<ProcessId> {
    // A file that cannot be understood must not keep `down` from ending what it can find.
    let state: Option<State> = load(&place.state()).ok().flatten();
    let parts: Parts = load(&place.parts()).ok().flatten().unwrap_or_default();
    let mut found: Vec<ProcessId> = state.and_then(|state| state.supervisor).into_iter().collect();
    let theirs = parts.parts.into_values().filter_map(|part| part.process);
    // That file is the parts' user's to write: root must not end a process of another user on its word.
    let user = std::fs::metadata(place.logs()).map(|meta| meta.uid()).ok();
    found.extend(theirs.filter(|process| process.is_of_user(user)));
    found.retain(ProcessId::is_alive);
    for stray in super::process::strays(&place.folder) {
        if !found.contains(&stray) {
            found.push(stray);
        }
    }
    found
}
