//! The two sides that are asked: what a side must be able to do, and what its sessions are set to first.
//!
//! Always holds: a question is one SELECT, and its answer is texts; no error holds the question's text, in which there
//! may be keys. It opens no connection: `postgres` does for a PostgreSQL, and whoever reads a MySQL implements [`Ask`].

use crate::migrate::types::Engine;
use std::fmt;

/// A row of an answer, each value as the server writes it; `None`: NULL.
pub type Row = Vec<Option<String>>;

/// The rows of an answer.
pub type Answers = Vec<Row>;

/// Which side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Where the rows come from.
    Source,
    /// Where they should be.
    Target,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Target => "target",
        })
    }
}

/// Why a question was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{doing}: {why}")]
pub struct AskError {
    /// What was being done.
    pub doing: String,
    /// The server's words.
    pub why: String,
}

/// A side that can be asked.
pub trait Ask: Send + Sync + 'static {
    /// The rows of one SELECT.
    ///
    /// # Errors
    /// The server refuses it, or has gone. A later question must not suffer from it.
    fn ask(&self, sql: &str) -> impl Future<Output = Result<Answers, AskError>> + Send;

    /// Whether all answers show the same moment, whichever session gives them.
    fn one_snapshot(&self) -> bool;
}

/// What every session of a side runs before its transaction begins, one statement after the other, so that values are
/// written alike. Nothing that is compared depends on what is not set here.
pub fn pins(engine: Engine) -> &'static [&'static str] {
    match engine {
        Engine::Postgres => POSTGRES_PINS,
        Engine::MySql => MYSQL_PINS,
    }
}

const POSTGRES_PINS: &[&str] = &[
    "SET extra_float_digits = 3",
    "SET DateStyle = 'ISO, YMD'",
    "SET TimeZone = 'UTC'",
    "SET IntervalStyle = 'postgres'",
    "SET bytea_output = 'hex'",
    "SET lc_monetary = 'C'",
    // `regclass` and its like are written as the path has it.
    "SET search_path = pg_catalog",
    "SET quote_all_identifiers = off",
    // Rows that a policy hides would be missing without a word: so it is an error.
    "SET row_security = off",
    // Thousands of statements of a few milliseconds each: compiling them takes longer.
    "SET jit = off",
    // Not all versions have all of them.
    "SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name IN ('statement_timeout', \
     'transaction_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout')",
];

const MYSQL_PINS: &[&str] = &[
    "SET NAMES utf8mb4",
    "SET SESSION time_zone = '+00:00'",
    // Without PAD_CHAR_TO_FULL_LENGTH, ANSI_QUOTES, NO_UNSIGNED_SUBTRACTION and what refuses zero dates.
    "SET SESSION sql_mode = ''",
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_by_a_setting_is_pinned() {
        let all = pins(Engine::Postgres).join(";");
        for setting in
            ["extra_float_digits", "DateStyle", "TimeZone", "bytea_output", "IntervalStyle", "lc_monetary"]
        {
            assert!(all.contains(setting), "{setting}");
        }
        assert!(pins(Engine::MySql).join(";").contains("time_zone = '+00:00'"));
    }
}
