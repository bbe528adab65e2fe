//! Why the ledger could not be read or written. Each says which file, and what was being done.

use crate::model::{Phase, TargetName, TrialId};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why the ledger could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A file operation beside the database failed.
    #[error("the ledger {}: {doing}: {source}", path.display())]
    File {
        /// The ledger.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// There is none.
    #[error("there is no ledger at {}", path.display())]
    Missing {
        /// Where it was expected.
        path: PathBuf,
    },
    /// It is torn, cut short or overwritten.
    #[error("the ledger {} is damaged: {what}", path.display())]
    Damaged {
        /// The ledger.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// It is somebody else's database.
    #[error("{} is an SQLite database, but not a ledger of leverd", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer leverd wrote it.
    #[error("the ledger {} has format {found}; this leverd knows formats up to {known}", path.display())]
    Newer {
        /// The ledger.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format that is known.
        known: i64,
    },
    /// Another process held it too long.
    #[error("the ledger {} is locked by another process: {doing} waited {} s", path.display(), waited.as_secs_f64())]
    Locked {
        /// The ledger.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// For how long.
        waited: Duration,
    },
    /// No space is left; nothing was written.
    #[error("the ledger {}: {doing}: the disk is full; nothing was written", path.display())]
    DiskFull {
        /// The ledger.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
    },
    /// It may not be written; nothing was.
    #[error("the ledger {}: {doing}: it is read-only here", path.display())]
    ReadOnly {
        /// The ledger.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
    },
    /// Anything else that SQLite says.
    #[error("the ledger {}: {doing}: {source}", path.display())]
    Sqlite {
        /// The ledger.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// SQLite's answer.
        source: rusqlite::Error,
    },
    /// A record has no form in which it could be stored.
    #[error("a trial of {lever} cannot be stored: {source}")]
    NotStorable {
        /// The lever of the trial.
        lever: String,
        /// Why.
        source: serde_json::Error,
    },
    /// One open trial for each target.
    #[error("{target} already has an open trial: {trial}")]
    AlreadyOpen {
        /// The target.
        target: TargetName,
        /// Its open trial.
        trial: TrialId,
    },
    /// No trial has this number.
    #[error("there is no trial {id} in {}", path.display())]
    NoSuchTrial {
        /// The ledger.
        path: PathBuf,
        /// The number.
        id: TrialId,
    },
    /// Nothing of this trial is in force.
    #[error("trial {id} is {phase}: none of its change is in force, so there is nothing to undo")]
    NothingToUndo {
        /// The trial.
        id: TrialId,
        /// Where it stands.
        phase: Phase,
    },
    /// The target's name now points at another cluster.
    #[error(
        "{target} is another cluster than the one in {}: its system identifier is {found}, recorded is {recorded}",
        path.display()
    )]
    OtherCluster {
        /// The ledger.
        path: PathBuf,
        /// The target.
        target: TargetName,
        /// What the ledger has.
        recorded: u64,
        /// What the server says.
        found: u64,
    },
}

impl LedgerError {
    /// What a person could do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::File { .. } | Self::ReadOnly { .. } => {
                Some("check the owner and the mode of the file and of its folder (`paths.ledger` names it)")
            }
            Self::Missing { .. } => Some("nothing was tried yet, or `paths.ledger` names another file"),
            Self::Damaged { .. } => Some(
                "leverd leaves it as it is: put a copy of it back, or move it away to begin a new one. What it undid \
                 or kept stands in CHANGELOG_TUNING.md and backups/; `sqlite3 FILE .recover` may save the rest",
            ),
            Self::Foreign { .. } => {
                Some("let `paths.ledger` name a file of its own; this one was not touched")
            }
            Self::Newer { .. } => Some("run the leverd that wrote it, or a newer one"),
            Self::Locked { .. } => {
                Some("another leverd, or an open `sqlite3`, holds it: `fuser FILE` names the process")
            }
            Self::DiskFull { .. } => Some("free some space; leverd changes nothing that it cannot record"),
            Self::AlreadyOpen { .. } => Some("`leverd status` shows it; it must end first"),
            Self::NoSuchTrial { .. } => Some("`leverd history` lists them"),
            Self::OtherCluster { .. } => Some(
                "a restored or new server? Give this target a name or a ledger of its own: what was learned and kept \
                 belongs to the other cluster",
            ),
            Self::Sqlite { .. } | Self::NotStorable { .. } | Self::NothingToUndo { .. } => None,
        }
    }

    /// Sorts SQLite's answer into what a person can act on.
    pub(super) fn from_sqlite(
        path: &Path,
        doing: &'static str,
        waited: Duration,
        source: rusqlite::Error,
    ) -> Self {
        use rusqlite::ErrorCode;
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked { path, doing, waited },
            Some(ErrorCode::DiskFull) => Self::DiskFull { path, doing },
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::ReadOnly { path, doing },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged { path, what: source.to_string() }
            }
            _ => Self::Sqlite { path, doing, source },
        }
    }

    pub(super) fn from_io(path: &Path, doing: &'static str, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path, doing },
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { path, doing },
            _ => Self::File { path, doing, source },
        }
    }
}
