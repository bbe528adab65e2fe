//! Why a MySQL could not be used, and what that means: to stop, to try again, or to take another session.
//!
//! In: what the driver says. Out: [`MySqlError`] for what comes before rows, [`ReadError`] for what comes with them.
//! Always holds: a text is one line and holds no password; a server's error keeps its number and its SQLSTATE.

use crate::migrate::quote::one_line;
use crate::migrate::transfer::{Failure, Kind, Side, WriterGone};
use mysql_async::{DriverError, Error};
use std::time::Duration;

/// Longer words of a server say no more.
const MOST_CHARACTERS: usize = 300;

/// Why the source could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MySqlError {
    /// Nobody answers there, in time.
    #[error("the source at {at} does not answer: {why}")]
    Unreachable {
        /// host:port, or the socket.
        at: String,
        /// The reason.
        why: String,
    },
    /// The user is not known, its password is wrong, or it may not connect.
    #[error("the source at {at} refuses the user: {why}")]
    Credentials {
        /// host:port, or the socket.
        at: String,
        /// The server's words.
        why: String,
    },
    /// There is no such database.
    #[error("the source at {at} has no such database: {why}")]
    UnknownDatabase {
        /// host:port, or the socket.
        at: String,
        /// The server's words.
        why: String,
    },
    /// It answers, and refuses for another reason.
    #[error("the source at {at} refuses: {why}")]
    Refused {
        /// host:port, or the socket.
        at: String,
        /// The reason.
        why: String,
    },
    /// Its version is none that can be read.
    #[error("the source at {at} is {version:?}: it must be MySQL 5.7 or later, or MariaDB 10.0 or later")]
    NotSupported {
        /// host:port, or the socket.
        at: String,
        /// What it calls itself.
        version: String,
    },
    /// A statement failed.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Why a statement gave no answer, or a chunk did not arrive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadError {
    /// Nobody takes the chunk's rows any more.
    #[error(transparent)]
    WriterGone(#[from] WriterGone),
    /// The connection is gone, and with it the session's place in a snapshot.
    #[error("{doing}: the connection to the source is lost: {why}")]
    Lost {
        /// What was being done.
        doing: String,
        /// The reason.
        why: String,
    },
    /// It may pass. With a `code` the same session can try again.
    #[error("{doing}: {why}")]
    Transient {
        /// What was being done.
        doing: String,
        /// The reason.
        why: String,
        /// The server's number; `None`: it is leverd that gave up.
        code: Option<u16>,
    },
    /// It will not pass by itself: a table or a right is gone.
    #[error("{doing}: {why}")]
    Permanent {
        /// What was being done.
        doing: String,
        /// The reason.
        why: String,
        /// The server's number; `None`: the server was not asked.
        code: Option<u16>,
    },
    /// More rows of a chunk cannot be converted than may be rejected.
    #[error("{doing}: more than {most} rows of a chunk cannot be converted; the last: {column} {why}")]
    TooManyRejected {
        /// What was being done.
        doing: String,
        /// So many may be.
        most: usize,
        /// The column of the row that was too much.
        column: String,
        /// What is wrong with its value.
        why: String,
    },
}

impl MySqlError {
    /// What the driver says while connecting.
    pub(super) fn connecting(at: &str, error: &Error) -> Self {
        let (at, why) = (at.to_owned(), words(error));
        match error {
            Error::Server(server) => match server.code {
                // Wrong password, no right to the database, no password given, locked, expired.
                1044 | 1045 | 1698 | 1820 | 1862 | 3118 | 3955 | 4151 => Self::Credentials { at, why },
                1049 => Self::UnknownDatabase { at, why },
                _ => Self::Refused { at, why },
            },
            Error::Io(_) => Self::Unreachable { at, why },
            _ => Self::Refused { at, why },
        }
    }

    /// What a person could do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable { .. } => {
                Some("is the server up, and host and port right? `mysqladmin ping` tells")
            }
            Self::Credentials { .. } => Some(
                "check user and password (`password: ${env:…}` or `${file:…}`), and from which hosts the user may \
                 connect; it needs SELECT on the database",
            ),
            Self::UnknownDatabase { .. } => Some("check source.database"),
            Self::Refused { .. } => {
                Some("check source.ssl_mode, the server's max_connections and its user's plugin")
            }
            Self::NotSupported { .. } => None,
            Self::Read(error) => error.hint(),
        }
    }
}

impl ReadError {
    /// What the driver says of a statement.
    pub(super) fn of(doing: &str, error: &Error) -> Self {
        let (doing, why) = (doing.to_owned(), words(error));
        let code = match error {
            Error::Server(server) => Some(server.code),
            _ => None,
        };
        match fate(error) {
            Fate::Lost => Self::Lost { doing, why },
            Fate::Passing => Self::Transient { doing, why, code },
            Fate::Lasting => Self::Permanent { doing, why, code },
        }
    }

    /// The source did not say a word for so long.
    pub(super) fn silent(doing: &str, within: Duration) -> Self {
        let why = format!("the source said nothing for {:.1} s", within.as_secs_f64());
        Self::Transient { doing: doing.to_owned(), why, code: None }
    }

    /// Something that the server was not asked for.
    pub(super) fn permanent(doing: &str, why: impl Into<String>) -> Self {
        Self::Permanent { doing: doing.to_owned(), why: why.into(), code: None }
    }

    /// What a person could do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Permanent { code: Some(1142 | 1143 | 1227), .. } => {
                Some("GRANT SELECT ON the database's tables TO the source's user")
            }
            Self::Permanent { code: Some(1412), .. } => {
                Some("the table was altered while it was moved: begin again, and alter nothing meanwhile")
            }
            _ => None,
        }
    }

    /// The same in the transfer's words.
    pub(crate) fn failure(&self) -> Failure {
        let (kind, code) = match self {
            Self::WriterGone(_) | Self::Lost { .. } => (Kind::Passing, None),
            Self::Transient { code, .. } => (Kind::Passing, *code),
            Self::Permanent { code, .. } => (Kind::Lasting, *code),
            Self::TooManyRejected { .. } => (Kind::Lasting, None),
        };
        Failure {
            side: Side::Source,
            kind,
            code: code.map(|code| code.to_string()),
            text: self.to_string(),
            said: None,
            connection_is_gone: matches!(self, Self::Lost { .. }),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The connection is gone.
    Lost,
    /// It may pass.
    Passing,
    /// It will not.
    Lasting,
}

fn fate(error: &Error) -> Fate {
    match error {
        Error::Server(server) => match server.code {
            // The server shuts down, or somebody ended the session.
            1053 | 1080 | 1152..=1161 | 1184 | 1927 | 3169 | 4031 => Fate::Lost,
            // Out of memory, of connections or of what a user may use; a lock, a deadlock, an interruption, a time
            // limit of MySQL's or MariaDB's.
            1037 | 1038 | 1040 | 1041 | 1203 | 1205 | 1213 | 1226 | 1317 | 1969 | 3024 => Fate::Passing,
            _ => Fate::Lasting,
        },
        Error::Driver(
            DriverError::MixedParams | DriverError::Params(_) | DriverError::StmtParamsMismatch { .. },
        ) => Fate::Lasting,
        // After any other error of its own the driver has closed the connection.
        _ => Fate::Lost,
    }
}

/// An error for people, in one line.
pub(super) fn words(error: &Error) -> String {
    match error {
        Error::Server(server) => {
            format!("{} (error {}, SQLSTATE {})", said(&server.message), server.code, server.state)
        }
        other => said(&other.to_string()),
    }
}

fn said(text: &str) -> String {
    one_line(text, MOST_CHARACTERS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mysql_async::ServerError;

    fn server(code: u16) -> Error {
        Error::Server(ServerError { code, message: "no\nway".to_owned(), state: "HY000".to_owned() })
    }

    #[test]
    fn a_refused_connection_says_why() {
        let of = |code| MySqlError::connecting("db:3306", &server(code));
        assert!(matches!(of(1045), MySqlError::Credentials { .. }));
        assert!(matches!(of(1049), MySqlError::UnknownDatabase { .. }));
        assert!(matches!(of(1040), MySqlError::Refused { .. }));
        let gone = Error::from(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
        assert!(matches!(MySqlError::connecting("db:3306", &gone), MySqlError::Unreachable { .. }));
        assert_eq!(
            of(1045).to_string(),
            "the source at db:3306 refuses the user: no way (error 1045, SQLSTATE HY000)"
        );
    }

    #[test]
    fn what_may_pass_is_told_from_what_does_not() {
        let of = |code| ReadError::of("reading shop.orders", &server(code));
        for code in [1205, 1213, 1317, 3024, 1969] {
            assert!(of(code).failure().kind == Kind::Passing, "{code}");
        }
        for code in [1053, 1927, 4031] {
            assert!(of(code).failure().connection_is_gone, "{code}");
        }
        for code in [1054, 1146, 1142, 1412] {
            assert!(of(code).failure().kind == Kind::Lasting, "{code}");
        }
        let closed = ReadError::of("reading", &Error::from(DriverError::ConnectionClosed));
        assert!(matches!(closed, ReadError::Lost { .. }));
        assert_eq!(of(1146).failure().code.as_deref(), Some("1146"));
    }
}
