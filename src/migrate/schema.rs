//! What a database holds, in words that no engine owns: what a source's catalog is read into, and what the target's
//! statements are made of.
//!
//! Names are the source's own, unquoted. Everything is in the order of its name or position, so that the same database
//! gives the same plan.

use serde::{Deserialize, Serialize};

/// A table's full name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableName {
    /// Its schema; with MySQL its database.
    pub schema: String,
    /// Its own name.
    pub name: String,
}

/// All that is moved.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    /// Tables, by name.
    pub tables: Vec<Table>,
    /// Sequences that no column owns.
    pub sequences: Vec<Sequence>,
    /// Views, so that each comes after those that it reads.
    pub views: Vec<View>,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Its name.
    pub name: TableName,
    /// In order of position.
    pub columns: Vec<Column>,
    /// The primary key's columns in order; empty: none.
    pub primary_key: Vec<String>,
    /// The primary key's name, where the source names it.
    pub primary_key_name: Option<String>,
    /// Other indexes, unique ones too, by name.
    pub indexes: Vec<Index>,
    /// By name.
    pub checks: Vec<Check>,
    /// By name.
    pub foreign_keys: Vec<ForeignKey>,
    /// What was said of it.
    pub comment: Option<String>,
    /// Rows, as the source's statistics have it; `None`: never counted.
    pub estimated_rows: Option<u64>,
    /// Bytes of its rows, indexes aside, as the source has it.
    pub bytes: Option<u64>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type as the source writes it: `int(10) unsigned`, `character varying(20)`.
    pub source_type: String,
    /// Whether NULL is allowed.
    pub nullable: bool,
    /// Where a value comes from that nobody gives.
    pub default: ColumnDefault,
    /// The collation, where it is not the type's own.
    pub collation: Option<String>,
    /// What was said of it.
    pub comment: Option<String>,
}

/// Where a column's value comes from that nobody gives.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub enum ColumnDefault {
    /// Nowhere: it is NULL, or refused.
    #[default]
    None,
    /// An expression of the source's.
    Expression(String),
    /// An identity column or a MySQL AUTO_INCREMENT: a sequence of its own.
    Identity {
        /// Whether a given value is refused (`GENERATED ALWAYS`).
        always: bool,
        /// The next value that it would give; `None`: the source does not say.
        next: Option<i64>,
        /// How it counts; `None`: from 1 on, by 1, to the end of its type.
        counting: Option<Counting>,
    },
    /// A PostgreSQL column that owns a sequence by `nextval(...)`: `serial`.
    Serial {
        /// The next value that it would give.
        next: Option<i64>,
        /// How it counts; `None`: from 1 on, by 1, to the end of its type.
        counting: Option<Counting>,
    },
    /// Computed from other columns and stored.
    Generated(String),
}

/// How a column's sequence counts, within what the column's type holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counting {
    /// From one value to the next; never 0, below 0 it counts down.
    pub increment: i64,
    /// The least value.
    pub min: i64,
    /// The largest value; above `min`.
    pub max: i64,
    /// The first value.
    pub start: i64,
    /// Values that a session takes at once.
    pub cache: i64,
    /// Whether it begins again at its end.
    pub cycle: bool,
}

/// An index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Index {
    /// Its name.
    pub name: String,
    /// What it is over, in order.
    pub parts: Vec<IndexPart>,
    /// Whether it is unique.
    pub unique: bool,
    /// Whether a unique index stands behind a constraint of its name.
    pub constraint: bool,
    /// `btree`, `gin`, `hash`, …
    pub method: String,
    /// Columns that are in it and are not searched by.
    pub include: Vec<String>,
    /// The condition of a partial one.
    pub condition: Option<String>,
    /// The whole statement, where the source is PostgreSQL.
    pub definition: Option<String>,
}

/// What an index is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IndexPart {
    /// A column's name, or an expression.
    pub expression: String,
    /// Whether `expression` is a column.
    pub is_column: bool,
    /// Descending.
    pub descending: bool,
    /// So many characters of it alone (MySQL).
    pub prefix: Option<u32>,
}

/// A check constraint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// The condition in the source's words, without `CHECK`.
    pub expression: String,
}

/// A foreign key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForeignKey {
    /// Its name.
    pub name: String,
    /// The columns that refer.
    pub columns: Vec<String>,
    /// The table that they refer to.
    pub refers_to: TableName,
    /// Its columns.
    pub referred: Vec<String>,
    /// `ON DELETE`, where it is not `NO ACTION`.
    pub on_delete: Option<String>,
    /// `ON UPDATE`, where it is not `NO ACTION`.
    pub on_update: Option<String>,
    /// `DEFERRABLE INITIALLY DEFERRED` and the like.
    pub deferrable: Option<String>,
    /// Whether NULL must be in all of its columns or in none (`MATCH FULL`).
    pub match_full: bool,
}

/// A sequence of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sequence {
    /// Its name.
    pub name: TableName,
    /// `AS bigint INCREMENT BY 1 …`, as PostgreSQL writes it.
    pub definition: String,
    /// The next value that it would give.
    pub next: Option<i64>,
}

/// A view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// Its name.
    pub name: TableName,
    /// Its query in the source's words.
    pub query: String,
    /// Whether its rows are stored.
    pub materialized: bool,
    /// What stands in its `WITH (…)`, as PostgreSQL writes it: `security_barrier=true, check_option=local`.
    pub options: Option<String>,
    /// Indexes of its stored rows, by name.
    pub indexes: Vec<Index>,
    /// What was said of it.
    pub comment: Option<String>,
}

#[cfg(test)]
pub(crate) mod fixtures;
