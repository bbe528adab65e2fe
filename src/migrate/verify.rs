//! Whether the target holds what the source holds: exact counts and checksums over ranges of rows, narrowed down to the
//! keys that differ.
//!
//! In: the tables as the catalog has them, what they are in the target, and two sides that can be asked SQL
//! ([`Ask`]). Out: a [`Report`]. Always holds: both sides compute the checksum of the same text of every value
//! (`canonical`), so that no setting, version or engine makes the same value look different; what is not compared, or
//! less than exactly, is named in the report; no value but a key's is in it; nothing is written on either side. It
//! mends nothing.
//!
//! A table is compared in one of three ways. By ranges of its key, where both sides are sure to order the key alike
//! (numbers, dates, UUIDs, bytes): ranges that differ are halved until few rows are left (`bisection`). By groups of
//! its key's digest, where they are not (texts: collations differ between servers): one pass over the table gives the
//! checksums of up to 4,096 groups, and those that differ are divided further (`groups`). By groups of the row's own
//! digest, where there is no key: how many rows differ is then known, and not which.
//!
//! A target that holds other rows too (`append`, `upsert`) is asked whether it holds the source's; what else is there
//! is counted and is no difference. Rejected rows are missing in the target for a known reason, and are told apart by
//! their number: all of them are among the missing, so where there are no more missing than rejected, nothing else is.

mod asking;
mod bisection;
mod canonical;
mod driver;
mod findings;
mod groups;
mod mysql;
mod plan;
mod postgres;
mod report;
mod sides;
mod statements;

use super::ddl::TargetTable;
use super::schema::Table;
use super::types::Engine;
use serde::{Deserialize, Serialize};

pub use driver::{VerifyError, verify};
pub(crate) use mysql::MySqlSide;
pub use postgres::PostgresSide;
pub use report::{Checksum, ColumnNote, Coverage, Report, TableReport, Tally, Verdict};
pub use sides::{Answers, Ask, AskError, Row, Side, pins};

/// A table to compare.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    /// As the source's catalog has it.
    pub source: Table,
    /// What it is in the target.
    pub target: TargetTable,
    /// Rows of it that the run rejected; 0 where there was none, or no run is known.
    pub rejected: u64,
}

/// Whether the target's tables may hold rows that do not come from the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Others {
    /// They hold the source's rows and no others: an extra row is a difference.
    Refused,
    /// They held rows before (`append`, `upsert`): only whether the source's rows are there is looked at.
    Allowed,
}

/// How much is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// All rows.
    Everything,
    /// All counts, and in each table about `rows` rows that `seed` chooses, with all of their columns.
    Sample {
        /// Rows of each table, about.
        rows: u64,
        /// Another seed, other rows.
        seed: u64,
    },
}

/// How to compare.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The source's engine. The target is a PostgreSQL.
    pub engine: Engine,
    /// Whether other rows are differences.
    pub others: Others,
    /// How much is compared.
    pub depth: Depth,
    /// The source was not frozen since the run read it: a difference may be a change since. Only the report's words
    /// depend on it.
    pub source_may_have_changed: bool,
    /// Questions at once, each to both sides; 0 counts as 1. Each side should have as many sessions.
    pub concurrency: usize,
    /// Keys that are named of each table and kind of difference, at most.
    pub most_keys: usize,
}

impl Settings {
    /// Everything is compared, four questions at once, and 20 keys are named.
    pub fn new(engine: Engine, others: Others) -> Self {
        Self {
            engine,
            others,
            depth: Depth::Everything,
            source_may_have_changed: false,
            concurrency: 4,
            most_keys: 20,
        }
    }
}
