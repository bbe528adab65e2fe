//! The record: what was tried, what came of it, and how to undo it.
//!
//! In: trials, events, what migrations did, and times (times are passed in; nothing here reads a clock). Out: the
//! ledger (SQLite), and two views for people: `CHANGELOG_TUNING.md` and `tuning.log`.
//!
//! Always holds:
//! - Every write is one transaction, on disk before the call returns. After a crash the ledger says either what it said
//!   before the write or what it says after it.
//! - The trail of events is append-only, trials are never deleted, and a target has at most one open trial: the
//!   database itself refuses anything else.
//! - A ledger that is damaged, foreign or newer than this program is an error that names the file. It is never
//!   repaired, replaced or emptied.
//! - The order is that of the numbers, not of the times: a clock that jumps back does not reorder the record.
//!
//! It does not decide, measure or change anything, and it knows no Postgres.

mod answers;
mod changelog;
mod entry;
mod error;
#[cfg(test)]
pub(crate) mod fixtures;
mod holds;
mod lookup;
mod migrations;
mod storable;
mod store;
mod trials;
mod tuning_log;

pub use answers::{Answer, waits};
pub use changelog::{Changelog, ChangelogError};
pub use entry::{EntryKind, render};
pub(crate) use entry::{interval, interval_name, lasted, look_text, one_line, outcome, percent};
pub use error::LedgerError;
pub use holds::{Frozen, Hold, Quarantined};
pub use lookup::{Due, Event};
pub use migrations::{Lessons, Migration, MigrationAdjustment, MigrationBeginning, MigrationEnding};
pub(crate) use storable::UNBOUNDED;
pub use store::Ledger;
pub use trials::State;
pub(crate) use trials::verdict_word;
pub use tuning_log::{Kind, Line, TuningLog, TuningLogError};

use chrono::{DateTime, Utc};

/// `2024-01-15 10:30`, as the playbook's headings have it; UTC.
pub(crate) fn minute(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M").to_string()
}

/// `2024-01-15 10:30:05`; UTC.
pub(crate) fn second(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S").to_string()
}
