//! What can go wrong with a sandbox, in words for a person.

use super::scenario::ScenarioError;
use crate::postgres::PostgresError;
use std::io;
use std::path::{Path, PathBuf};

/// Why the sandbox did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A sandbox is up.
    #[error("a sandbox runs here already: scenario {scenario}, since {since}, in {folder}")]
    AlreadyRunning {
        /// Its scenario.
        scenario: String,
        /// When it was started.
        since: String,
        /// Where.
        folder: PathBuf,
    },
    /// Another `sandbox` command is at work in the same project.
    #[error("another `leverd sandbox` command is at work here (it holds {lock})")]
    Busy {
        /// The lock that it holds.
        lock: PathBuf,
    },
    /// No sandbox is up.
    #[error("no sandbox runs under {root}")]
    NotRunning {
        /// The project root that was looked at.
        root: PathBuf,
    },
    /// A program is missing.
    #[error("{program} is not on this machine (looked in {looked_in})")]
    MissingProgram {
        /// What was looked for.
        program: &'static str,
        /// Where.
        looked_in: String,
    },
    /// Root, and no user to drop to.
    #[error(
        "Postgres refuses to run as root, and /etc/passwd has neither `postgres` nor `nobody` to run it as"
    )]
    NoUser,
    /// The scenario cannot be used.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// A file operation failed.
    #[error("{doing} {path}: {source}")]
    File {
        /// e.g. "writing".
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A program could not be started.
    #[error("starting {program}: {source}")]
    Start {
        /// The program.
        program: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A program ended badly.
    #[error("{doing} failed ({status}); the end of {log}:\n{tail}")]
    Failed {
        /// What it was doing.
        doing: String,
        /// Its exit status.
        status: String,
        /// Where it logs.
        log: PathBuf,
        /// The last lines of that.
        tail: String,
    },
    /// Something did not become ready in time.
    #[error("{what} was not ready within {waited_s} s; the end of {log}:\n{tail}")]
    NotReady {
        /// What was waited for.
        what: String,
        /// How long, seconds.
        waited_s: u64,
        /// Where it logs.
        log: PathBuf,
        /// The last lines of that.
        tail: String,
    },
    /// Postgres refused something.
    #[error("{doing}: {source}")]
    Postgres {
        /// What was being done.
        doing: &'static str,
        /// The reason.
        source: PostgresError,
    },
    /// Postgres does not take a setting of the scenario.
    #[error("Postgres does not take {name} of the scenario: {why}")]
    Setting {
        /// The setting.
        name: String,
        /// Postgres' words.
        why: String,
    },
    /// The state file cannot be understood.
    #[error("{path} cannot be understood: {why}")]
    State {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// Processes that do not end, even by SIGKILL.
    #[error("these processes do not end: {pids}")]
    WillNotEnd {
        /// Their ids.
        pids: String,
    },
}

impl SandboxError {
    /// What a person could do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::AlreadyRunning { .. } => {
                Some("`leverd sandbox status` shows it; `leverd sandbox down` ends it")
            }
            Self::Busy { .. } => Some("wait for it, or end it"),
            Self::NotRunning { .. } => Some("`leverd sandbox up` starts one"),
            Self::MissingProgram { .. } => Some("scripts/setup.sh installs what is missing"),
            Self::NoUser => Some("run it as an ordinary user"),
            Self::State { .. } => {
                Some("`leverd sandbox down` clears what it can; then remove .leverd/sandbox")
            }
            Self::Scenario(error) => error.hint(),
            Self::Postgres { source, .. } => source.hint(),
            _ => None,
        }
    }

    /// Whether waiting, or `down`, would make the same request possible.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::AlreadyRunning { .. } | Self::Busy { .. })
    }

    pub(super) fn file<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + use<'a> {
        move |source| Self::File { doing, path: path.to_owned(), source }
    }
}
