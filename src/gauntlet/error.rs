//! What can go wrong with a run, or with the gauntlet's files, in words for a person.

use crate::actuate::ActuateError;
use crate::postgres::PostgresError;
use crate::prometheus::PrometheusError;
use crate::sandbox::SandboxError;
use std::io;
use std::path::{Path, PathBuf};

/// Why a run could not be measured, or its record not be kept.
#[derive(Debug, thiserror::Error)]
pub enum GauntletError {
    /// leverd's own program ended badly.
    #[error("{doing}: {status}; the end of {log}: {tail}")]
    Program {
        /// What it was doing.
        doing: &'static str,
        /// Its exit status.
        status: String,
        /// Where its words went.
        log: PathBuf,
        /// The last of them.
        tail: String,
    },
    /// The sandbox could not be taken down.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Postgres could not be asked or changed.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// Postgres could not be restarted.
    #[error(transparent)]
    Actuate(#[from] ActuateError),
    /// Prometheus did not answer.
    #[error(transparent)]
    Prometheus(#[from] PrometheusError),
    /// The sandbox's configuration or state is not what is needed.
    #[error("{0}")]
    Config(String),
    /// What is to be cured is not there: no strategy may be credited with its absence.
    #[error("no level was broken when the strategy was to begin: {0}")]
    NotBroken(String),
    /// optuna did not do its part.
    #[error("optuna: {0}")]
    Optuna(String),
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
    /// The file of records is something else.
    #[error("{file} is no record of a gauntlet: {why}")]
    Book {
        /// The file.
        file: PathBuf,
        /// The reason.
        why: String,
    },
}

impl GauntletError {
    pub(super) fn file<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + use<'a> {
        move |source| Self::File { doing, path: path.to_owned(), source }
    }

    /// What a person could do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Book { .. } => Some("name another file, or move this one away"),
            Self::Sandbox(error) => error.hint(),
            _ => None,
        }
    }
}
