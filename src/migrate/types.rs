//! A source's types → the target's, and what is lost on the way.
//!
//! Goes in: a column of the source's. Comes out: a [`Mapped`] with the type that the target gets, how values travel,
//! and a [`TypeNote`] for all that is not the same there; or a [`TypeRefusal`] with a hint. Always holds: a type that
//! is not known is refused, never guessed; no value is changed silently: what the target's type cannot hold is
//! rejected with its row. It converts no value: what a value travels as is the reader's, and these targets
//! suppose that a reader of MySQL writes `b'101'` as three bits, BIT(1) as a truth value, a FLOAT with all of its digits,
//! and sets its `time_zone` to `+00:00`.

mod mysql;
mod postgres;

use super::schema::Column;
use serde::{Deserialize, Serialize};

/// What a `bigint unsigned` becomes that no sequence fills.
pub const UNSIGNED_BIGINT: &str = "numeric(20)";

/// Whose words a source's types and expressions are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// PostgreSQL, 12 or later.
    Postgres,
    /// MySQL, or MariaDB.
    MySql,
}

/// How values travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transfer {
    /// In COPY's binary form, as a PostgreSQL sends it, or as leverd writes a MySQL's values. A table travels so only
    /// when all of its columns can.
    Binary,
    /// As text.
    Text,
}

/// Whether a column is compared with another table's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnUse {
    /// It is not.
    Ordinary,
    /// A foreign key refers from it or to it, so both sides must become the same type.
    InForeignKey,
}

/// A type of the target's for a type of the source's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapped {
    /// The type, as PostgreSQL's `format_type` writes it.
    pub target: String,
    /// How its values travel.
    pub transfer: Transfer,
    /// What is not the same there, in a fixed order.
    pub notes: Vec<TypeNote>,
}

impl Mapped {
    fn new(target: impl Into<String>, transfer: Transfer) -> Self {
        Self { target: target.into(), transfer, notes: Vec::new() }
    }

    fn noting(mut self, kind: NoteKind, text: impl Into<String>) -> Self {
        self.notes.push(TypeNote { kind, text: text.into() });
        self
    }
}

/// Something about a column that is not the same in the target.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TypeNote {
    /// What it is about, so that a report can group.
    pub kind: NoteKind,
    /// What is lost, for people.
    pub text: String,
}

/// What a [`TypeNote`] is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoteKind {
    /// `0000-00-00` and dates with a month or a day 0.
    ZeroDate,
    /// Negative numbers are no longer refused.
    Negative,
    /// Values that the target's type cannot hold.
    Range,
    /// A number that becomes a truth value.
    Boolean,
    /// An ENUM.
    Enumeration,
    /// A SET.
    Set,
    /// A TIME, which may be longer than a day.
    TimeSpan,
    /// A YEAR.
    Year,
    /// JSON whose text is not kept.
    Json,
    /// A limit of length that is not kept, or another one.
    Length,
    /// Values of more than 1 GB.
    Size,
    /// NUL bytes in a text.
    NulByte,
    /// Texts are compared otherwise.
    Collation,
    /// Values are rounded otherwise.
    Precision,
    /// Only how it is shown.
    Display,
    /// It names a large object, and those are not moved.
    LargeObject,
    /// It depends on `lc_monetary`.
    Money,
    /// Something that must be in the target already.
    MustExist {
        /// Its name, quoted where it must be.
        name: String,
    },
}

/// A type that no column of the target can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TypeRefusal {
    /// It is none that the source's engine is known to have.
    #[error("mapping the type {source_type:?}: it is not known")]
    Unknown {
        /// As the source writes it.
        source_type: String,
    },
    /// It is known, and PostgreSQL has none that holds the same.
    #[error("mapping the type {source_type:?}: PostgreSQL itself has none that holds the same")]
    NoCounterpart {
        /// As the source writes it.
        source_type: String,
        /// What to do about it.
        hint: String,
    },
}

impl TypeRefusal {
    fn unknown(column: &Column) -> Self {
        Self::Unknown { source_type: column.source_type.clone() }
    }

    /// What to do about it.
    pub fn hint(&self) -> &str {
        match self {
            Self::Unknown { .. } => {
                "leave the table out with exclude_tables, or give the column another type first"
            }
            Self::NoCounterpart { hint, .. } => hint,
        }
    }
}

/// The target's type for a column of a source with that engine.
///
/// # Errors
/// The type is not known, or PostgreSQL has none that holds the same.
pub fn map(engine: Engine, column: &Column, usage: ColumnUse) -> Result<Mapped, TypeRefusal> {
    match engine {
        Engine::Postgres => postgres::map(column),
        Engine::MySql => mysql::map(column, usage),
    }
}

/// What keeps a column to the members that its type had: a condition for an ENUM or a SET of MySQL's, whose column is
/// named `quoted_column` in the target. `None`: the target's type says enough.
pub fn member_check(engine: Engine, source_type: &str, quoted_column: &str) -> Option<String> {
    match engine {
        Engine::Postgres => None,
        Engine::MySql => mysql::member_check(source_type, quoted_column),
    }
}
