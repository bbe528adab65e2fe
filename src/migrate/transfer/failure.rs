//! Why a chunk did not arrive, and what that means for it.
//!
//! In: what a server said. Out: a [`Failure`] whose kind says whether to try again, to seek out rows, or to stop.
//! Always holds: its text is one line with the server's SQLSTATE, and shows no row: a server's detail is left out, and
//! so are a function's own words.

use crate::migrate::quote::one_line;
use crate::migrate::state::StateError;
use crate::postgres::PostgresError;
use std::fmt;
use tokio_postgres::error::SqlState;

/// Longer words of a server say no more.
const MOST_CHARACTERS: usize = 300;
/// In the place of words that may show a row.
const SOMEBODYS: &str = "a function or a trigger of the database refuses it, in words that may show a row";

/// Which server failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Source,
    Target,
}

/// What a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It may pass: the connection is gone, or another transaction was in the way.
    Passing,
    /// A row is refused.
    Row,
    /// It will not pass by itself: a table is gone, a right is missing, a disk is full.
    Lasting,
}

/// Why a chunk did not arrive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{side}: {text}")]
pub(crate) struct Failure {
    pub(crate) side: Side,
    pub(crate) kind: Kind,
    pub(crate) code: Option<String>,
    pub(crate) text: String,
    /// What a function or a trigger said, which may show a row: for the table of rejected rows alone.
    pub(crate) said: Option<String>,
    /// The connection cannot be used any more.
    pub(crate) connection_is_gone: bool,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "the source",
            Self::Target => "the target",
        })
    }
}

impl Failure {
    /// Something that will not pass.
    pub(crate) fn lasting(side: Side, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { side, kind: Kind::Lasting, code: None, text, said: None, connection_is_gone: false }
    }

    /// The connection is gone.
    pub(crate) fn lost(side: Side, text: impl Into<String>) -> Self {
        Self { kind: Kind::Passing, connection_is_gone: true, ..Self::lasting(side, text) }
    }

    /// What a PostgreSQL said.
    pub(crate) fn of(side: Side, doing: &str, error: &tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            let source =
                std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
            return Self::lost(side, format!("{doing}: {error}{source}"));
        };
        // Class 57: the server, or a person, ends the connection.
        let code = db.code();
        let connection_is_gone = code.code().starts_with("57P") || code.code().starts_with("08");
        let place =
            [db.table(), db.column(), db.constraint()].into_iter().flatten().collect::<Vec<_>>().join(", ");
        let place = if place.is_empty() { place } else { format!(" ({place})") };
        let text = |words: &str| format!("{doing}: {words}{place} [{}]", code.code());
        let words = message_of(code, db.message());
        let is_somebodys = is_somebodys(code, !place.is_empty());
        Self {
            side,
            kind: kind_of(code),
            code: Some(code.code().to_owned()),
            text: text(if is_somebodys { SOMEBODYS } else { &words }),
            said: is_somebodys.then(|| text(&words)),
            connection_is_gone,
        }
    }

    /// What the run's state said: a lost connection may pass, a lost lease does not.
    pub(crate) fn of_state(error: &StateError) -> Self {
        let lasting = Self::lasting(Side::Target, error.to_string());
        match error {
            StateError::Postgres(PostgresError::Statement { code: None, .. }) => {
                Self::lost(Side::Target, error.to_string())
            }
            StateError::Postgres(PostgresError::Statement { code: Some(code), .. })
                if code.starts_with("40") || code.starts_with("57") =>
            {
                Self { kind: Kind::Passing, code: Some(code.clone()), ..lasting }
            }
            _ => lasting,
        }
    }
}

/// SQLSTATE by class; the classes are in PostgreSQL's appendix A.
fn kind_of(code: &SqlState) -> Kind {
    let passing = [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::QUERY_CANCELED,
        SqlState::TOO_MANY_CONNECTIONS,
        SqlState::OUT_OF_MEMORY,
    ];
    if passing.contains(code) {
        return Kind::Passing;
    }
    match code.code().get(..2) {
        // Exceptions of data, broken constraints, what a trigger raised.
        Some("22" | "23" | "P0" | "44") => Kind::Row,
        Some("08") => Kind::Passing,
        // Administrators and crashes; 57014 is above.
        Some("57") => Kind::Passing,
        _ => Kind::Lasting,
    }
}

/// Whether the words are not the server's own: a function's author chose them, and may have put values in.
fn is_somebodys(code: &SqlState, names_something: bool) -> bool {
    // The server names what a constraint of its own is of.
    let of_constraints = matches!(code.code().get(..2), Some("23" | "44"));
    code.code().starts_with("P0") || (of_constraints && !names_something)
}

/// A server's words. Those of a data exception quote the value, and no row is shown; others quote names.
fn message_of(code: &SqlState, message: &str) -> String {
    if !code.code().starts_with("22") {
        return one_line(message, MOST_CHARACTERS);
    }
    // Before it is cut: a long value would lose its last quote, and be shown.
    match (message.find('"'), message.rfind('"')) {
        (Some(first), Some(last)) if first < last => {
            let without = format!("{}\"…\"{}", &message[..first], &message[last + 1..]);
            one_line(&without_bytes(&without), MOST_CHARACTERS)
        }
        _ => one_line(&without_bytes(message), MOST_CHARACTERS),
    }
}

/// `0xe9 0x20`: what is no text in a value is still a part of it.
fn without_bytes(message: &str) -> String {
    let words = message.split(' ').map(|word| if word.starts_with("0x") { "…" } else { word });
    let mut words: Vec<&str> = words.collect();
    words.dedup_by(|later, earlier| *later == "…" && *earlier == "…");
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_not_shown_and_a_name_is() {
        let syntax = SqlState::INVALID_TEXT_REPRESENTATION;
        let of = |code: &SqlState, text: &str| message_of(code, text);
        assert_eq!(
            of(&syntax, "invalid input syntax for type integer: \"a\"b c\""),
            "invalid input syntax for type integer: \"…\""
        );
        assert_eq!(
            of(
                &SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
                "value \"3000000000\" is out of range for type integer"
            ),
            "value \"…\" is out of range for type integer"
        );
        assert_eq!(
            of(&SqlState::CHECK_VIOLATION, "new row for relation \"t\" violates check constraint \"c\""),
            "new row for relation \"t\" violates check constraint \"c\""
        );
        assert_eq!(of(&syntax, "a \" alone"), "a \" alone");
        assert_eq!(
            of(
                &SqlState::CHARACTER_NOT_IN_REPERTOIRE,
                "invalid byte sequence for encoding \"UTF8\": 0xe9 0x20 0x62"
            ),
            "invalid byte sequence for encoding \"…\": …"
        );
        let long = format!("invalid input syntax for type integer: \"{}\"", "x".repeat(400));
        assert_eq!(of(&syntax, &long), "invalid input syntax for type integer: \"…\"");
    }

    #[test]
    fn what_a_function_says_is_not_shown() {
        assert!(is_somebodys(&SqlState::RAISE_EXCEPTION, true));
        assert!(is_somebodys(&SqlState::CHECK_VIOLATION, false), "raised with that code");
        assert!(!is_somebodys(&SqlState::CHECK_VIOLATION, true));
        assert!(!is_somebodys(&SqlState::UNDEFINED_TABLE, false));
    }

    #[test]
    fn what_may_pass_is_told_from_what_will_not() {
        for (code, kind) in [
            (SqlState::T_R_DEADLOCK_DETECTED, Kind::Passing),
            (SqlState::ADMIN_SHUTDOWN, Kind::Passing),
            (SqlState::CHECK_VIOLATION, Kind::Row),
            (SqlState::NUMERIC_VALUE_OUT_OF_RANGE, Kind::Row),
            (SqlState::UNDEFINED_TABLE, Kind::Lasting),
            (SqlState::DISK_FULL, Kind::Lasting),
        ] {
            assert_eq!(kind_of(&code), kind, "{}", code.code());
        }
    }
}
