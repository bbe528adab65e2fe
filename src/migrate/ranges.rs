//! How a table is cut into ranges that are read side by side. Pure: bounds and samples are arguments.
//!
//! In: a table, and what its source says of its key or its file. Out: [`Range`]s, each with the clause that reads it.
//!
//! Always holds: the ranges of a table do not overlap and leave nothing out. The first has no lower end and the last no
//! upper end, so that bounds which were read too early, or statistics that are wrong, cost balance and never rows.
//! Nothing overflows, at either end of 64 bits, signed or not. A key is a primary key, and so never NULL.
//!
//! Four methods, and [`method`] chooses: an integer key is best, since its ranges are cheap to make and mean the same
//! tomorrow. Blocks (ctid) need no key and read a file in its order, but mean something in one snapshot only. Any other
//! key can be cut at sampled values and compared as a row. Else a table is one range.
//!
//! What can be resumed: a range by key, in any snapshot, behind the last key of its last chunk ([`Range::rest_after`]).
//! A range by blocks, in the same snapshot alone: it gives the same rows in the same order, and so many of them are
//! passed over. A whole table not at all. A chunk ends at its row cap: `LIMIT` says so where there is an order
//! ([`Range::tail`]), the reader counts where there is none.
//!
//! It does not read, and does not say from which relation: a partitioned table is cut leaf by leaf.

mod clause;

use crate::migrate::schema::Table;
use crate::migrate::types::Engine;
use serde::{Deserialize, Serialize};

/// What a user says of cutting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// A table with fewer rows is one range.
    pub large_table_threshold_rows: u64,
    /// Ranges of one table, at most; 0 counts as 1.
    pub max_partitions: u32,
    /// Rows that a range should have; 0 counts as 1.
    pub range_rows: u64,
    /// Ranges may have to be resumed in another snapshot (another process, a lost connection).
    pub outlives_snapshot: bool,
}

/// How a table is cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// By an integer primary key: asks for its bounds, and for samples where it is sparse.
    Integer {
        /// The key.
        column: String,
    },
    /// By blocks of its file: asks for their number.
    Blocks,
    /// By any primary key: asks for samples of it.
    Keyset {
        /// The key's columns in order.
        columns: Vec<String>,
    },
    /// Not at all.
    Whole,
}

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

/// A part of a table's rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// Its place among the table's ranges, from 0; what is left of it keeps the number.
    pub number: u32,
    /// Which rows.
    pub extent: Extent,
    /// How many rows it probably has; `None`: nobody knows.
    pub estimated_rows: Option<u64>,
}

/// Why a range cannot be gone on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// Its rows are in no order that a key tells.
    #[error("resuming a range: it is not cut by a key")]
    NotByKey,
    /// The key has other columns or another type, or does not belong to the range.
    #[error("resuming a range: the last key does not belong to it")]
    NotItsKey,
}

/// The least and the greatest integer that a key of either engine can have: `bigint`, `bigint unsigned`.
const KEYS: (i128, i128) = (i64::MIN as i128, u64::MAX as i128);

/// Rows of a block that nobody has counted: 8 kB of rows of a hundred bytes.
const ROWS_OF_A_BLOCK: u64 = 80;

/// A sample is worth its query where fewer than this share of the integers between the bounds are keys.
const SPARSE: f64 = 0.5;

/// Chooses how to cut a table; `blocks` are its
/// [`Relation::blocks`](crate::migrate::catalog::Relation::blocks).
pub fn method(table: &Table, engine: Engine, blocks: Option<u32>, rules: &Rules) -> Method {
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
        return Method::Integer { column: column.clone() };
    }
    let by_key = !types.is_empty() && types.iter().all(|source_type| is_orderable(source_type, engine));
    match (blocks, by_key) {
        (Some(_), true) if !rules.outlives_snapshot => Method::Blocks,
        (_, true) => Method::Keyset { columns: table.primary_key.clone() },
        (Some(_), false) => Method::Blocks,
        (None, false) => Method::Whole,
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

/// Whether samples should be asked for before cutting by an integer key: only of a table that is cut at all, and where
/// its keys do not lie close together.
pub fn wants_samples(bounds: (i128, i128), rows: Option<u64>, rules: &Rules) -> bool {
    let Some(rows) = rows else { return false };
    let (min, max) = within_keys(bounds);
    let keys = (max - min) as f64 + 1.0;
    pieces(rows, rules) > 1 && (rows as f64) < keys * SPARSE
}

/// One range with everything.
pub fn whole(rows: Option<u64>) -> Vec<Range> {
    vec![Range { number: 0, extent: Extent::Whole, estimated_rows: rows }]
}

/// Ranges over an integer key with about [`Rules::range_rows`] rows each.
///
/// `bounds`: the least and the greatest key, `None` where there are no rows. Keys are taken to lie evenly between them,
/// unless there are `samples`, in any order: keys of rows taken by chance, whose quantiles are then the ends. Where
/// `rows` is not known there are as many as there could be keys.
pub fn by_integer(
    column: &str,
    bounds: Option<(i128, i128)>,
    samples: &[i128],
    rows: Option<u64>,
    rules: &Rules,
) -> Vec<Range> {
    let mut samples = samples.to_vec();
    samples.sort_unstable();
    let ends = bounds.map(|bounds| integer_ends(bounds, &samples, rows, rules)).unwrap_or_default();
    let count = ends.len() as u128 + 1;
    let share = |from: Option<i128>, below: Option<i128>| {
        let rows = u128::from(rows?);
        if samples.is_empty() {
            return u64::try_from(rows / count).ok();
        }
        let before = |end: i128| samples.partition_point(|sample| *sample < end);
        let inside = below.map_or(samples.len(), before) - from.map_or(0, before);
        u64::try_from(rows * inside as u128 / samples.len() as u128).ok()
    };
    numbered(between(&ends).into_iter().map(|(from, below)| {
        (Extent::Integer { column: column.to_owned(), from, below }, share(from, below))
    }))
}

/// Ranges over the blocks of a file with about [`Rules::range_rows`] rows each. They mean the same rows in one snapshot
/// alone; `blocks` may be out of date.
pub fn by_blocks(blocks: u32, rows: Option<u64>, rules: &Rules) -> Vec<Range> {
    let expected = rows.unwrap_or(u64::from(blocks) * ROWS_OF_A_BLOCK);
    let count = pieces(expected, rules).min(u64::from(blocks).max(1));
    // Less than `blocks`, because `at` is less than `count`.
    let end = |at: u64| u32::try_from(u64::from(blocks) * at / count).unwrap_or(blocks);
    let ends: Vec<u32> = (1..count).map(end).collect();
    let share = rows.map(|rows| rows / count);
    numbered(between(&ends).into_iter().map(|(from, below)| (Extent::Blocks { from, below }, share)))
}

/// Ranges over a key of whatever type with about [`Rules::range_rows`] rows each.
///
/// `samples`: keys of rows taken by chance, each with a value for each column, *in the order in which the source has
/// them* (`ORDER BY` the key): only the source knows its collations. Without samples there is one range.
pub fn by_keyset(
    columns: &[String],
    samples: &[Vec<KeyValue>],
    rows: Option<u64>,
    rules: &Rules,
) -> Vec<Range> {
    let fitting: Vec<&Vec<KeyValue>> = samples.iter().filter(|key| key.len() == columns.len()).collect();
    let count = u128::from(pieces(rows.unwrap_or(u64::MAX), rules));
    let mut ends: Vec<Vec<KeyValue>> = Vec::new();
    for at in 1..count {
        let place = usize::try_from(fitting.len() as u128 * at / count).unwrap_or(usize::MAX);
        if let Some(key) = fitting.get(place)
            && ends.last() != Some(*key)
        {
            ends.push((*key).clone());
        }
    }
    let share = rows.map(|rows| rows / (ends.len() as u64 + 1));
    numbered(
        between(&ends)
            .into_iter()
            .map(|(after, up_to)| (Extent::Keyset { columns: columns.to_vec(), after, up_to }, share)),
    )
}

impl Range {
    /// What is left of the range behind a chunk whose last row had this key; `None`: nothing.
    ///
    /// Refused where the range is not by key, or the key is not one of its own.
    pub fn rest_after(&self, last: &[KeyValue]) -> Result<Option<Self>, RangeError> {
        let extent = match &self.extent {
            Extent::Whole | Extent::Blocks { .. } => return Err(RangeError::NotByKey),
            Extent::Integer { column, from, below } => {
                let [KeyValue::Integer(last)] = last else { return Err(RangeError::NotItsKey) };
                let inside = from.is_none_or(|from| *last >= from) && below.is_none_or(|below| *last < below);
                if !inside {
                    return Err(RangeError::NotItsKey);
                }
                let Some(next) = last.checked_add(1) else { return Ok(None) };
                if *below == Some(next) {
                    return Ok(None);
                }
                Extent::Integer { column: column.clone(), from: Some(next), below: *below }
            }
            Extent::Keyset { columns, up_to, .. } => {
                if last.len() != columns.len() {
                    return Err(RangeError::NotItsKey);
                }
                if up_to.as_deref() == Some(last) {
                    return Ok(None);
                }
                Extent::Keyset { columns: columns.clone(), after: Some(last.to_vec()), up_to: up_to.clone() }
            }
        };
        Ok(Some(Self { number: self.number, extent, estimated_rows: None }))
    }

    /// Whether it can be gone on with in another snapshot, behind the last key that arrived.
    pub fn outlives_snapshot(&self) -> bool {
        matches!(self.extent, Extent::Integer { .. } | Extent::Keyset { .. })
    }
}

/// So many ranges for so many rows.
fn pieces(rows: u64, rules: &Rules) -> u64 {
    if rows < rules.large_table_threshold_rows {
        return 1;
    }
    rows.div_ceil(rules.range_rows.max(1)).clamp(1, u64::from(rules.max_partitions.max(1)))
}

fn within_keys((min, max): (i128, i128)) -> (i128, i128) {
    (min.clamp(KEYS.0, KEYS.1), max.clamp(KEYS.0, KEYS.1))
}

/// Where one range ends and the next begins, rising. `samples` are in order.
fn integer_ends(bounds: (i128, i128), samples: &[i128], rows: Option<u64>, rules: &Rules) -> Vec<i128> {
    let (min, max) = within_keys(bounds);
    if min >= max {
        return Vec::new();
    }
    // At most 2^65, and `count` is below 2^32: no product leaves 128 bits.
    let keys = max - min + 1;
    let expected = rows.unwrap_or(u64::try_from(keys).unwrap_or(u64::MAX));
    let count = i128::from(pieces(expected, rules)).min(keys);
    if samples.is_empty() {
        return (1..count).map(|at| min + keys * at / count).collect();
    }
    let quantile = |at: i128| {
        let place = usize::try_from(samples.len() as i128 * at / count).unwrap_or(usize::MAX);
        samples.get(place).copied()
    };
    let mut ends: Vec<i128> =
        (1..count).filter_map(quantile).filter(|end| *end > min && *end <= max).collect();
    ends.dedup();
    ends
}

/// What lies before, between and after the ends.
fn between<T: Clone>(ends: &[T]) -> Vec<(Option<T>, Option<T>)> {
    let mut parts = Vec::with_capacity(ends.len() + 1);
    let mut before = None;
    for end in ends {
        parts.push((before.take(), Some(end.clone())));
        before = Some(end.clone());
    }
    parts.push((before, None));
    parts
}

fn numbered(extents: impl Iterator<Item = (Extent, Option<u64>)>) -> Vec<Range> {
    // There are at most `max_partitions` of them, which is a u32.
    (0_u32..)
        .zip(extents)
        .map(|(number, (extent, estimated_rows))| Range { number, extent, estimated_rows })
        .collect()
}

#[cfg(test)]
mod tests;
