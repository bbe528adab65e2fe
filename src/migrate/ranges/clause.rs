//! The condition that an extent's rows meet, in the words of either engine.
//!
//! Always holds: a value is written so that no setting of the session can make it something else. PostgreSQL's literals
//! are `quote`'s. MySQL's texts are plain where nothing in them could be read in two ways, and else hexadecimal:
//! whether a backslash escapes there is a setting.

use super::{Extent, KeyValue};
use crate::migrate::quote::{self, identifier_of};
use crate::migrate::types::Engine;

impl Extent {
    /// ` WHERE …`, with a space before it, to follow the relation; empty where every row belongs to it.
    pub fn filter(&self, engine: Engine) -> String {
        self.condition(engine).map(|condition| format!(" WHERE {condition}")).unwrap_or_default()
    }

    /// What stands behind `WHERE`; `None`: every row belongs to it.
    pub fn condition(&self, engine: Engine) -> Option<String> {
        let conditions: Vec<String> = match self {
            Self::Whole => Vec::new(),
            Self::Integer { column, from, below } => {
                let column = identifier_of(engine, column);
                let end = |sign: &str, end: &Option<i128>| {
                    end.map(|end| format!("{column} {sign} {}", integer(engine, end)))
                };
                [end(">=", from), end("<", below)].into_iter().flatten().collect()
            }
            Self::Blocks { from, below } => {
                let end = |sign: &str, end: &Option<u32>| {
                    end.map(|block| format!("ctid {sign} '({block},0)'::tid"))
                };
                [end(">=", from), end("<", below)].into_iter().flatten().collect()
            }
            Self::Keyset { columns, after, up_to } => {
                let end = |side: Side, end: &Option<Vec<KeyValue>>| {
                    end.as_ref().map(|key| compared(engine, columns, side, key))
                };
                [end(Side::After, after), end(Side::UpTo, up_to)].into_iter().flatten().collect()
            }
        };
        (!conditions.is_empty()).then(|| conditions.join(" AND "))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    After,
    UpTo,
}

/// A key compared as a row.
fn compared(engine: Engine, columns: &[String], side: Side, key: &[KeyValue]) -> String {
    match engine {
        Engine::Postgres => {
            let sign = if side == Side::After { ">" } else { "<=" };
            let values: Vec<String> = key.iter().map(|value| literal(engine, value)).collect();
            format!("({}) {sign} ({})", quote::identifiers(columns), values.join(", "))
        }
        Engine::MySql => compared_by_column(columns, side, key),
    }
}

/// MySQL finds no range of an index in a comparison of rows, so it is written out: `(a > 1 OR (a = 1 AND b > 2))`, with
/// what it implies for the first column before it, which is the range.
fn compared_by_column(columns: &[String], side: Side, key: &[KeyValue]) -> String {
    let (beyond, at_last, implied) = match side {
        Side::After => (">", ">", ">="),
        Side::UpTo => ("<", "<=", "<="),
    };
    let pairs: Vec<(String, String)> = columns
        .iter()
        .zip(key)
        .map(|(column, value)| (quote::mysql_identifier(column), literal(Engine::MySql, value)))
        .collect();
    let mut written = String::new();
    // From the last column to the first: each wraps what follows it.
    for (column, value) in pairs.iter().rev() {
        written = if written.is_empty() {
            format!("{column} {at_last} {value}")
        } else {
            format!("({column} {beyond} {value} OR ({column} = {value} AND {written}))")
        };
    }
    match pairs.as_slice() {
        [(column, value), _, ..] => format!("{column} {implied} {value} AND {written}"),
        _ => written,
    }
}

/// PostgreSQL takes −9223372036854775808 without a cast for a numeric, which no index on a bigint finds.
fn integer(engine: Engine, value: i128) -> String {
    match engine {
        Engine::Postgres if i64::try_from(value).is_ok() => format!("'{value}'::bigint"),
        Engine::Postgres => format!("'{value}'::numeric"),
        Engine::MySql => value.to_string(),
    }
}

fn literal(engine: Engine, value: &KeyValue) -> String {
    match (engine, value) {
        (_, KeyValue::Integer(value)) => integer(engine, *value),
        (Engine::Postgres, KeyValue::Decimal(text)) => format!("{}::numeric", quote::literal(text)),
        // As a text MySQL would compare it as a float, which loses digits.
        (Engine::MySql, KeyValue::Decimal(text)) if is_decimal(text) => text.clone(),
        (Engine::MySql, KeyValue::Decimal(text) | KeyValue::Text(text)) => mysql_text(text),
        (Engine::Postgres, KeyValue::Text(text)) => quote::literal(text),
        (Engine::Postgres, KeyValue::Bytes(bytes)) => {
            format!("pg_catalog.decode('{}', 'hex')", hexadecimal(bytes))
        }
        (Engine::MySql, KeyValue::Bytes(bytes)) => format!("X'{}'", hexadecimal(bytes)),
    }
}

/// Digits, with a sign before and a point among them.
fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let mut halves = digits.splitn(2, '.');
    let is_number = |half: &str| !half.is_empty() && half.bytes().all(|byte| byte.is_ascii_digit());
    halves.next().is_some_and(is_number) && halves.next().is_none_or(is_number)
}

fn mysql_text(text: &str) -> String {
    let plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'\'' && byte != b'\\');
    if plain { format!("'{text}'") } else { format!("_utf8mb4 X'{}'", hexadecimal(text.as_bytes())) }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push_str(&format!("{byte:02X}"));
    }
    text
}
