//! Why a place could not be read, changed, activated or verified. Each text names the operation and its place.

use crate::docker::DockerError;
use crate::postgres::PostgresError;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why an actuator could not do its work. The text is for people and holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum ActuateError {
    /// The lever has no place here.
    #[error("{parameter} cannot be changed here: {reason}")]
    Unavailable {
        /// The parameter or key.
        parameter: String,
        /// The configuration's reason.
        reason: String,
    },
    /// The operating system refused something.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// The operation, e.g. "reading".
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The file may not or cannot be replaced as it should be. It is untouched.
    #[error("{} is not changed: {why}", path.display())]
    NotWritable {
        /// The file.
        path: PathBuf,
        /// What stands in the way.
        why: String,
    },
    /// A line that Postgres would not read. While it stands, a reload applies nothing of the file.
    #[error("{}:{line}: {found:?} is not a line that Postgres reads", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: u32,
        /// The line.
        found: String,
    },
    /// The line to be changed is not UTF-8, so it could not be recorded.
    #[error("{}:{line}: the line that sets {parameter} is not UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: u32,
        /// The parameter or key.
        parameter: String,
    },
    /// A name or value that must not be written.
    #[error("{parameter} = {value:?} cannot be written: {why}")]
    Value {
        /// The parameter or key.
        parameter: String,
        /// The value.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// The place holds this value already.
    #[error("{parameter} = {value} stands in {} already", file.display())]
    Unchanged {
        /// The parameter or key.
        parameter: String,
        /// The value.
        value: String,
        /// The file.
        file: PathBuf,
    },
    /// Somebody else changed what this trial manages. Nothing was written over it.
    #[error("{parameter} in {} was changed by someone else: {found}", file.display())]
    Edited {
        /// The file.
        file: PathBuf,
        /// The parameter or key.
        parameter: String,
        /// What stands there now, for people.
        found: String,
    },
    /// Postgres is needed for this and cannot be asked.
    #[error("{doing} needs a connection to Postgres, and the data folder cannot be used from here")]
    NeedsConnection {
        /// The operation.
        doing: &'static str,
    },
    /// Postgres refused, or did not answer.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// The container engine refused, or did not answer.
    #[error(transparent)]
    Docker(#[from] DockerError),
    /// The server, or the data folder, is another one than the change was made on.
    #[error("this is another Postgres: the change belongs to system identifier {expected}, here is {found}")]
    WrongServer {
        /// The intent's.
        expected: u64,
        /// The one found.
        found: u64,
    },
    /// A restart is needed and the configuration forbids it.
    #[error("a restart is needed, and `restart` is set to never")]
    RestartForbidden,
    /// A command failed, or ran out of time.
    #[error("`{command}` {why}{}", shown(output))]
    Command {
        /// The command, as a person would type it.
        command: String,
        /// How it ended.
        why: String,
        /// The end of what it printed.
        output: String,
    },
    /// The restart ended and the server did not answer again.
    #[error("Postgres did not come back within {:.0} s: {why}{}", waited.as_secs_f64(), shown(log))]
    NotBack {
        /// How long was waited for it.
        waited: Duration,
        /// The last answer.
        why: String,
        /// The end of the server's log where it can be read.
        log: String,
    },
    /// The restart command ended well, and the server that answers is the old one.
    #[error("`{command}` ended well, but Postgres was not restarted: it still runs since {since}")]
    NotRestarted {
        /// The command.
        command: String,
        /// `pg_postmaster_start_time()`.
        since: String,
    },
    /// What was written has not taken effect.
    #[error("{parameter} should be {expected} and is {found}: {why}")]
    NotInEffect {
        /// The parameter or key.
        parameter: String,
        /// What was written.
        expected: String,
        /// What the server says, in its own unit.
        found: String,
        /// Why, where that is known.
        why: String,
    },
}

impl ActuateError {
    /// What a person could do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Io { source, .. } => hint_of(source),
            Self::NotWritable { .. } => {
                Some("run leverd as the file's owner, or set `postgresql_conf: alter_system`")
            }
            Self::Syntax { .. } => {
                Some("correct the line; `SELECT * FROM pg_file_settings` lists all of them")
            }
            Self::NotUtf8 { .. } => Some("write the line's comment in UTF-8 or ASCII"),
            Self::Edited { .. } => {
                Some("leverd keeps its hands off; put the value back or tell it with `leverd thaw`")
            }
            Self::Postgres(error) => error.hint(),
            Self::Docker(error) => error.hint(),
            Self::NeedsConnection { .. } => {
                Some("start Postgres, or run this on the host of its data folder")
            }
            Self::WrongServer { .. } => Some("does `dsn` name the server that the ledger is about?"),
            Self::RestartForbidden => {
                Some("set `restart.method` to pg_ctl, command, systemd, brew or docker to allow it")
            }
            Self::NotBack { .. } => Some("the server's own log says why it does not start"),
            Self::NotRestarted { .. } => Some("does the restart command name this server?"),
            Self::NotInEffect { .. } => Some(
                "the command line, ALTER ROLE or ALTER DATABASE … SET and postgresql.auto.conf go before the file; \
                 a bind mount of the single file does not see a replaced file: mount its folder, or name the container \
                 (`target.docker`)",
            ),
            Self::Unavailable { .. } | Self::Value { .. } | Self::Unchanged { .. } | Self::Command { .. } => {
                None
            }
        }
    }
}

fn hint_of(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Some("run leverd as the file's owner, or as root"),
        io::ErrorKind::NotFound => Some("check the path in leverd.yaml"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("the disk is full: make room first; the old file is whole")
        }
        io::ErrorKind::ReadOnlyFilesystem => Some("the file system is mounted read-only"),
        io::ErrorKind::ResourceBusy => {
            Some("the file is a mount point of its own and cannot be replaced: mount its folder instead")
        }
        _ => None,
    }
}

fn shown(output: &str) -> String {
    match output.trim() {
        "" => String::new(),
        text => format!(":\n{text}"),
    }
}
