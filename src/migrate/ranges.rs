//! How a table's rows are cut: by what, and which of them an extent has. Pure.
//!
//! In: a table, and what its source says of its key or its file. Out: [`Extent`]s, each with the condition that its
//! rows meet. Always holds: the ranges of a table do not overlap and leave nothing out. The first has no lower end and the
//! last no upper end, so that bounds which were read too early, or statistics that are wrong, cost balance and never
//! rows. Nothing overflows, at either end of 64 bits, signed or not. A key is a primary key, and so never NULL.
//!
//! Four ways, and [`everything`] chooses: an integer key is best, since its ranges are cheap to make and mean the same
//! tomorrow. Blocks (ctid) need no key and read a file in its order, but mean something in one snapshot only. Any other
//! key can be compared as a row. Else a table is read in one piece.
//!
//! It does not read, and does not say from which relation: a partitioned table is cut leaf by leaf. Where a chunk ends
//! within an extent is the transfer's schedule's to say.

mod clause;

use crate::migrate::schema::Table;
use crate::migrate::types::Engine;
use serde::{Deserialize, Serialize};

/// A value of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyValue {
    /// Any integer of either engine.
    Integer(i128),
    /// An exact decimal, as the engine writes it.
    Decimal(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Anything else as the engine writes it: a text, a date, a UUID. Of MySQL in UTF-8; dates of PostgreSQL under the
    /// `DateStyle` and time zone that they are compared under.
    Text(String),
}

/// Which rows a range has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Extent {
    /// All.
    Whole,
    /// `from <= column < below`; `None`: no end.
    Integer {
        /// The key.
        column: String,
        /// The least key that belongs to it.
        from: Option<i128>,
        /// The least key that no longer does.
        below: Option<i128>,
    },
    /// Blocks `from` to before `below`.
    Blocks {
        /// The first block; `None`: the first of all.
        from: Option<u32>,
        /// The first block that no longer belongs to it; `None`: there is none.
        below: Option<u32>,
    },
    /// `after < (columns) <= up_to`, compared as a row.
    Keyset {
        /// The key's columns in order.
        columns: Vec<String>,
        /// The key before its first; `None`: no end.
        after: Option<Vec<KeyValue>>,
        /// Its last key; `None`: no end.
        up_to: Option<Vec<KeyValue>>,
    },
}

/// The least and the greatest integer that a key of either engine can have: `bigint`, `bigint unsigned`.
const KEYS: (i128, i128) = (i64::MIN as i128, u64::MAX as i128);

/// All rows of one of a table's relations, by what they are cut best. `blocks` are the relation's
/// [`blocks`](crate::migrate::catalog::Relation::blocks). `keeps_rows`: the target keeps the rows that it has, so that
/// what was brought is not taken away again. Then nothing is cut by blocks: in another snapshot they mean other rows.
pub fn everything(table: &Table, engine: Engine, blocks: Option<u32>, keeps_rows: bool) -> Extent {
    let types: Option<Vec<&str>> = table
        .primary_key
        .iter()
        .map(|key| {
            table.columns.iter().find(|column| column.name == *key).map(|column| column.source_type.as_str())
        })
        .collect();
    let types = types.unwrap_or_default();
    if let ([column], [source_type]) = (table.primary_key.as_slice(), types.as_slice())
        && is_integer(source_type)
    {
        return Extent::Integer { column: column.clone(), from: None, below: None };
    }
    let by_key = !types.is_empty() && types.iter().all(|source_type| is_orderable(source_type, engine));
    if blocks.is_some() && !keeps_rows {
        Extent::Blocks { from: None, below: None }
    } else if by_key {
        Extent::Keyset { columns: table.primary_key.clone(), after: None, up_to: None }
    } else {
        Extent::Whole
    }
}

/// `integer`, `int(10) unsigned`, `bigint`; not `interval`, not `integer[]`.
fn is_integer(source_type: &str) -> bool {
    let text = source_type.to_ascii_lowercase();
    let word = text.split(['(', ' ']).next().unwrap_or_default();
    matches!(word, "smallint" | "integer" | "bigint" | "tinyint" | "mediumint" | "int") && !text.contains('[')
}

/// Whether a literal compares with the key as the key's own order has it. That is true of every primary key of
/// PostgreSQL's. MySQL orders an enum by number and compares it as a text, and a float with what it is not quite.
fn is_orderable(source_type: &str, engine: Engine) -> bool {
    let text = source_type.to_ascii_lowercase();
    let word = text.split(['(', ' ']).next().unwrap_or_default();
    engine == Engine::Postgres || !matches!(word, "enum" | "set" | "float" | "double" | "real" | "bit")
}

/// Ranges over an integer key with about `range_rows` of `rows` rows each, at most `most` of them. Keys are taken to
/// lie evenly between `bounds`: the least and the greatest key.
pub fn by_integer(column: &str, bounds: (i128, i128), rows: u64, range_rows: u64, most: u32) -> Vec<Extent> {
    let (least, greatest) = (bounds.0.clamp(KEYS.0, KEYS.1), bounds.1.clamp(KEYS.0, KEYS.1));
    // At most 2^65, and `count` is below 2^32: no product leaves 128 bits.
    let keys = (greatest - least + 1).max(1);
    let count = i128::from(count_of(rows, range_rows, most)).min(keys);
    let range =
        |from: Option<i128>, below: Option<i128>| Extent::Integer { column: column.to_owned(), from, below };
    let mut ranges = Vec::new();
    let mut from = None;
    for at in 1..count {
        let below = Some(least + keys * at / count);
        ranges.push(range(from, below));
        from = below;
    }
    ranges.push(range(from, None));
    ranges
}

/// Ranges over a file's blocks with about `range_rows` of `rows` rows each, at most `most` of them. `blocks`, how many
/// there are, may be out of date.
pub fn by_blocks(blocks: u32, rows: u64, range_rows: u64, most: u32) -> Vec<Extent> {
    let count = count_of(rows, range_rows, most).min(u64::from(blocks.max(1)));
    let mut ranges = Vec::new();
    let mut from = None;
    for at in 1..count {
        // Less than `blocks`, because `at` is less than `count`.
        let below = u32::try_from(u64::from(blocks) * at / count).unwrap_or(blocks);
        ranges.push(Extent::Blocks { from, below: Some(below) });
        from = Some(below);
    }
    ranges.push(Extent::Blocks { from, below: None });
    ranges
}

/// So many ranges, from one to `most`.
fn count_of(rows: u64, range_rows: u64, most: u32) -> u64 {
    rows.div_ceil(range_rows.max(1)).clamp(1, u64::from(most.max(1)))
}

#[cfg(test)]
mod tests;
