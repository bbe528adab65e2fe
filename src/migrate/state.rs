//! What a migration run has done so far, kept in the target's own schema `leverd_migration`.
//!
//! In: a run, its tables and parts; each chunk as it is committed; what is done besides. Out: what is missing when the
//! run goes on, in whichever process. Nothing of a run's truth is elsewhere.
//!
//! Always holds:
//! - A chunk's row is written in the transaction that brings its rows ([`Recorder`]): both are there, or neither. A
//!   second row for the same chunk is refused ([`StateError::AlreadyRecorded`]), and with it the rows' second copy.
//! - One process at a time has a run ([`Lease`]): a session's advisory lock for each target schema keeps others out,
//!   and the fence refuses what an earlier process still writes after it lost the lock.
//! - What is written under a lease is one statement a call: it happens or it does not, whenever it is cut off, and it
//!   can stand in a transaction of the caller's. It names the fence and writes nothing where the lease is lost. (Only
//!   [`record_rejects`] may be several: they stand and fall with their chunk's record.)
//! - What is missing follows from extents alone ([`remaining()`]): within one part each chunk begins where the one
//!   before it ends, and a gap that is read again is a part of its own.
//! - Times are the server's, so that they compare, wherever leverd runs. Nothing here reads a clock.
//!
//! It moves no row, plans nothing and decides nothing. The reject table holds rows of the source's; no other table and
//! no error of this module does, but for keys in extents.

/// The beginning of a statement that writes: `held` has the run's row where the lease ($1: run, $2: fence) is held, and
/// keeps its fence from being raised until the transaction ends. Above the modules, which use it.
macro_rules! held {
    ($rest:literal) => {
        concat!(
            "WITH held AS (SELECT r.id FROM leverd_migration.run AS r \
             WHERE r.id = $1::text AND r.fence = $2::bigint FOR KEY SHARE)",
            $rest
        )
    };
}

mod adjustments;
mod chunks;
mod install;
mod lease;
mod parts;
mod reading;
mod rejects;
mod remaining;
mod runs;
mod statements;

pub use adjustments::{Adjustment, RecordedAdjustment, adjustments_of, record_adjustment};
pub use chunks::{
    ChunkKey, ChunkRecord, CommittedChunk, Recorder, TableTotals, committed_chunk, table_totals,
};
pub use install::{VERSION, install, installed_version};
pub use lease::{Holder, Lease, Who, holder};
pub use parts::{
    MovedTable, Part, PartState, TableState, TableStep, add_parts, add_tables, forget_files, mark_tables,
    restart_run, restart_table, split_parts,
};
pub use reading::{RunState, load};
pub use rejects::{Reject, record_rejects};
pub use remaining::{Contradiction, Resumption, Split, remaining, resumption};
pub use runs::{NewRun, Outcome, Run, finish, forget, last_runs, open_runs, set_snapshot};
pub use statements::{DoneStatement, record_statement};

use crate::migrate::ranges::Extent;
use crate::migrate::schema::TableName;
use crate::postgres::PostgresError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_postgres::types::FromSqlOwned;
use tokio_postgres::{Client, Row};

/// Why the state could not be read or written. The text is for people and holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A statement failed, or the connection did (then the error has no SQLSTATE).
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// Another leverd made the schema.
    #[error(
        "the target's schema leverd_migration has version {found}, and this leverd knows version {known}: another \
         leverd made it"
    )]
    OtherVersion {
        /// Its version.
        found: i32,
        /// The version that is known.
        known: i32,
    },
    /// A schema of that name is there, and is somebody else's.
    #[error("the target has a schema leverd_migration with tables that leverd did not make")]
    Foreign,
    /// Another run is at work.
    #[error("the target is taken: {0}")]
    Held(Box<Holder>),
    /// The lease is lost: the connection that held it broke, or another process took the run, or it was ended.
    #[error("the run {run} is no longer this process's")]
    Lost {
        /// The run.
        run: String,
    },
    /// The run was never begun here, or was forgotten.
    #[error("the target knows no run {run}")]
    UnknownRun {
        /// The run.
        run: String,
    },
    /// A run of that name is there.
    #[error("the target has a run {run} already")]
    RunExists {
        /// The run.
        run: String,
    },
    /// The run is over and cannot be taken.
    #[error("the run {run} is over")]
    Over {
        /// The run.
        run: String,
    },
    /// Another run into one of the schemas was interrupted: what is begun over it could not be told from its rows.
    #[error("the run {run} into the same schema was interrupted and is still open")]
    Unfinished {
        /// The open run.
        run: String,
    },
    /// Without a schema nothing would keep others out.
    #[error("the run {run} names no target schema")]
    NoSchema {
        /// The run.
        run: String,
    },
    /// The chunk is in the target already: an earlier try was committed, and its answer lost. Roll back; it is done.
    #[error("chunk {} of part {} of table {} is in the target already", key.seq, key.part, key.table)]
    AlreadyRecorded {
        /// The chunk.
        key: ChunkKey,
    },
    /// The chunks of a part cannot all be right.
    #[error("part {part} of table {table}: {source}")]
    Contradiction {
        /// The table's number.
        table: u32,
        /// The part's number.
        part: u32,
        /// What is wrong.
        source: Contradiction,
    },
    /// The state holds what leverd never writes.
    #[error("the state in the target is damaged: {what}")]
    Damaged {
        /// What was found.
        what: String,
    },
}

impl StateError {
    /// What a person could do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Postgres(error) => error.hint(),
            Self::OtherVersion { .. } => {
                Some("use the leverd that made it, or finish its runs and drop the schema leverd_migration")
            }
            Self::Foreign => Some("rename that schema: leverd keeps a run's state under this name"),
            Self::Held(_) => Some("wait until it has ended, or stop that process"),
            Self::Lost { .. } => Some("resume the run: what is in the target stays"),
            Self::Unfinished { .. } => Some("resume that run, or forget it"),
            Self::Contradiction { .. } | Self::Damaged { .. } => Some(
                "the tables of leverd_migration were changed by somebody; forget the run and begin it anew",
            ),
            Self::UnknownRun { .. }
            | Self::RunExists { .. }
            | Self::Over { .. }
            | Self::NoSchema { .. }
            | Self::AlreadyRecorded { .. } => None,
        }
    }
}

/// Wraps what a statement answered; `doing` names the operation.
fn failed(doing: &'static str) -> impl FnOnce(tokio_postgres::Error) -> StateError {
    move |error| StateError::Postgres(PostgresError::statement(doing, &error))
}

/// A count for the server. What is beyond its integers is no count that can be.
fn counted(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A text that every text of PostgreSQL's can hold: without NUL.
fn plain(text: &str) -> String {
    text.chars().filter(|letter| *letter != '\0').collect()
}

/// A value as JSON in ASCII: a database of any encoding keeps it as it is, NUL in a text too (as `\u0000`, in a column
/// of type `json`).
fn json_text(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).expect("names, numbers and texts are JSON");
    if json.is_ascii() {
        return json;
    }
    let mut out = String::with_capacity(json.len() * 2);
    let mut units = [0_u16; 2];
    // JSON has other letters in its texts alone, where each may be escaped.
    for letter in json.chars() {
        if letter.is_ascii() {
            out.push(letter);
        } else {
            for unit in letter.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

/// A row of an answer, and what was being done.
#[derive(Clone, Copy)]
struct Reader<'a> {
    row: &'a Row,
    doing: &'static str,
}

impl Reader<'_> {
    fn get<T: FromSqlOwned>(&self, at: usize) -> Result<T, StateError> {
        self.row.try_get(at).map_err(failed(self.doing))
    }

    /// A number of a run, table, part or chunk.
    fn number(&self, at: usize) -> Result<u32, StateError> {
        let value: i64 = self.get(at)?;
        u32::try_from(value).map_err(|_| self.damaged(&format!("{value} is no number of anything")))
    }

    fn number_if_known(&self, at: usize) -> Result<Option<u32>, StateError> {
        let known: Option<i64> = self.get(at)?;
        if known.is_some() { self.number(at).map(Some) } else { Ok(None) }
    }

    /// Rows or bytes.
    fn count(&self, at: usize) -> Result<u64, StateError> {
        let value: i64 = self.get(at)?;
        u64::try_from(value).map_err(|_| self.damaged(&format!("{value} is no count")))
    }

    /// Rows or bytes, where they are known.
    fn count_if_known(&self, at: usize) -> Result<Option<u64>, StateError> {
        let known: Option<i64> = self.get(at)?;
        if known.is_some() { self.count(at).map(Some) } else { Ok(None) }
    }

    /// A schema and, in the next column, a name.
    fn name(&self, at: usize) -> Result<TableName, StateError> {
        Ok(TableName { schema: self.get(at)?, name: self.get(at + 1)? })
    }

    /// An extent, selected as text.
    fn extent(&self, at: usize) -> Result<Extent, StateError> {
        self.json(at)
    }

    /// JSON, selected as text.
    fn json<T: DeserializeOwned>(&self, at: usize) -> Result<T, StateError> {
        let text: String = self.get(at)?;
        // serde's words may hold a key's value: they say what was expected, and where.
        serde_json::from_str(&text).map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            self.damaged(&format!("a value cannot be read as what it should be, at {place}"))
        })
    }

    fn damaged(&self, what: &str) -> StateError {
        StateError::Damaged { what: format!("{}: {what}", self.doing) }
    }
}

/// Sends a query and reads each row.
async fn ask<T>(
    client: &Client,
    doing: &'static str,
    sql: &str,
    params: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    read: fn(Reader<'_>) -> Result<T, StateError>,
) -> Result<Vec<T>, StateError> {
    let rows = client.query(sql, params).await.map_err(failed(doing))?;
    rows.iter().map(|row| read(Reader { row, doing })).collect()
}

/// Sends a statement that names the lease and must write so many rows: another number means that it is lost.
async fn write(
    client: &Client,
    lease: &Lease,
    doing: &'static str,
    sql: &str,
    params: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    expected: usize,
) -> Result<(), StateError> {
    let written = client.execute(sql, params).await.map_err(failed(doing))?;
    if written == expected as u64 { Ok(()) } else { Err(lease.lost()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::ranges::KeyValue;

    fn keyset(text: &str) -> Extent {
        Extent::Keyset {
            columns: vec!["schlüssel".to_owned()],
            after: None,
            up_to: Some(vec![KeyValue::Text(text.to_owned()), KeyValue::Bytes(vec![0, 255])]),
        }
    }

    #[test]
    fn any_extent_is_ascii_and_is_read_back() {
        for extent in [
            Extent::Whole,
            Extent::Integer { column: "id".to_owned(), from: Some(i128::MIN), below: Some(i128::MAX) },
            Extent::Blocks { from: None, below: Some(u32::MAX) },
            keyset("a\0b\"\\ é 🦀 \u{2028}"),
        ] {
            let text = json_text(&extent);
            assert!(text.is_ascii(), "{text}");
            assert!(!text.contains('\0'), "{text}");
            assert_eq!(serde_json::from_str::<Extent>(&text).unwrap(), extent);
        }
    }

    #[test]
    fn texts_lose_their_nul_and_counts_their_overflow() {
        assert_eq!(plain("a\0b"), "ab");
        assert_eq!(counted(7), 7);
        assert_eq!(counted(u64::MAX), i64::MAX);
    }

    #[test]
    fn every_writing_statement_begins_with_the_lease() {
        let sql = held!(" SELECT 1");
        assert!(sql.starts_with("WITH held AS (SELECT r.id"), "{sql}");
        assert!(sql.ends_with("FOR KEY SHARE) SELECT 1"), "{sql}");
    }

    proptest::proptest! {
        #[test]
        fn any_key_is_read_back(text in proptest::prelude::any::<String>()) {
            let extent = keyset(&text);
            let json = json_text(&extent);
            proptest::prop_assert!(json.is_ascii());
            proptest::prop_assert_eq!(serde_json::from_str::<Extent>(&json).unwrap(), extent);
        }
    }
}
