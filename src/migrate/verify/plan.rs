//! How one table is compared. Pure.
//!
//! In: a table as the source has it and what it is in the target. Out: a [`TablePlan`]: both sides' expressions, the
//! way in which rows are narrowed down, and what is not compared exactly. Always holds: ranges are cut only by a key
//! whose order is a matter of its type alone, so that a bound means the same rows on both sides; a key that could be
//! ordered otherwise is grouped by its digest. It asks nothing.

use super::Subject;
use super::canonical::{Compared, Digest, Form, Usage, base_of, digest, joined, source_value, target_value};
use super::report::ColumnNote;
use super::statements::TableSide;
use crate::migrate::quote;
use crate::migrate::ranges::{Extent, KeyValue};
use crate::migrate::schema::{Table, TableName};
use crate::migrate::types::Engine;

/// How a table is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TablePlan {
    pub(super) source: TableSide,
    pub(super) target: TableSide,
    pub(super) method: Method,
    /// The key's columns as the source names them; empty: there is none.
    pub(super) key: Vec<String>,
    /// What is not compared exactly.
    pub(super) notes: Vec<ColumnNote>,
    /// Rows, as the source's statistics have it.
    pub(super) estimated_rows: Option<u64>,
}

/// How rows are narrowed down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Method {
    /// By ranges of a key that is one integer.
    Integer,
    /// By ranges of a key, compared as a row.
    Keyset {
        /// What each of its columns is.
        kinds: Vec<KeyKind>,
    },
    /// By groups of a digest: of the key where there is one, else of the row.
    Grouped,
}

/// What a key's column is as a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyKind {
    Integer,
    Decimal,
    Bytes,
    /// Of PostgreSQL's alone: what it writes it reads.
    Text,
}

/// Why a table cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PlanError {
    /// What was planned and what is there do not belong together.
    #[error("comparing rows: the source's catalog has no column {column}, which the target's plan names")]
    NoSuchColumn { column: String },
}

/// What both sides were found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Circumstances {
    pub(super) engine: Engine,
    pub(super) digest: Digest,
    pub(super) source_partitioned: bool,
    pub(super) target_partitioned: bool,
}

impl TablePlan {
    /// Plans one table.
    pub(super) fn new(subject: &Subject, of: Circumstances) -> Result<Self, PlanError> {
        let (columns, notes) = columns(subject, of.engine)?;
        let key = key(&subject.source, &columns);
        let kinds: Option<Vec<KeyKind>> = key
            .iter()
            .map(|at| {
                let target = subject.target.columns.get(*at)?;
                KeyKind::of(of.engine, columns.get(*at)?.form, &target.mapped.target)
            })
            .collect();
        let method = match kinds.as_deref() {
            None | Some([]) => Method::Grouped,
            Some([KeyKind::Integer]) => Method::Integer,
            Some(kinds) => Method::Keyset { kinds: kinds.to_vec() },
        };
        let key: Vec<&Compared> = key.iter().filter_map(|at| columns.get(*at)).collect();
        Ok(Self {
            source: source_side(&subject.source.name, of, &columns, &key),
            target: target_side(&subject.target.target, of, &columns, &key),
            method,
            key: key.iter().map(|column| column.source.clone()).collect(),
            notes,
            estimated_rows: subject.source.estimated_rows,
        })
    }

    /// All rows, as a range of the key.
    pub(super) fn everything(&self) -> Extent {
        match &self.method {
            Method::Integer => Extent::Integer {
                column: self.source.key_names.first().cloned().unwrap_or_default(),
                from: None,
                below: None,
            },
            Method::Keyset { .. } => {
                Extent::Keyset { columns: self.source.key_names.clone(), after: None, up_to: None }
            }
            Method::Grouped => Extent::Whole,
        }
    }

    /// The key that [`TableSide::boundary`] was answered; `None`: it is none.
    pub(super) fn key_of(&self, row: &[Option<String>]) -> Option<Vec<KeyValue>> {
        let kinds = match &self.method {
            Method::Integer => &[KeyKind::Integer][..],
            Method::Keyset { kinds } => kinds.as_slice(),
            Method::Grouped => return None,
        };
        if row.len() != kinds.len() {
            return None;
        }
        row.iter().zip(kinds).map(|(text, kind)| kind.value(text.as_deref()?)).collect()
    }
}

impl KeyKind {
    /// `None`: both sides may order such a column differently, or one of them refuses a bound that the other has.
    fn of(engine: Engine, form: Form, target_type: &str) -> Option<Self> {
        match (engine, form) {
            (_, Form::Integer) => Some(Self::Integer),
            (_, Form::Bytes) => Some(Self::Bytes),
            (Engine::MySql, Form::Decimal { .. }) => Some(Self::Decimal),
            (Engine::Postgres, Form::Plain) => matches!(
                base_of(target_type).as_str(),
                "numeric"
                    | "boolean"
                    | "date"
                    | "uuid"
                    | "oid"
                    | "timestamp without time zone"
                    | "timestamp with time zone"
            )
            .then_some(Self::Text),
            _ => None,
        }
    }

    fn value(self, text: &str) -> Option<KeyValue> {
        match self {
            Self::Integer => text.parse().ok().map(KeyValue::Integer),
            Self::Decimal => Some(KeyValue::Decimal(text.to_owned())),
            Self::Bytes => bytes(text).map(KeyValue::Bytes),
            Self::Text => Some(KeyValue::Text(text.to_owned())),
        }
    }
}

/// Reads hexadecimal digits.
fn bytes(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

fn columns(subject: &Subject, engine: Engine) -> Result<(Vec<Compared>, Vec<ColumnNote>), PlanError> {
    let (mut columns, mut notes) = (Vec::new(), Vec::new());
    for target in &subject.target.columns {
        let found = subject.source.columns.iter().find(|column| column.name == target.source);
        let Some(source) = found else {
            return Err(PlanError::NoSuchColumn { column: target.source.clone() });
        };
        let form = Form::of(engine, &source.source_type, &target.mapped.target);
        if let Some(text) = form.limit() {
            notes.push(ColumnNote { column: source.name.clone(), text: text.to_owned() });
        }
        columns.push(Compared {
            source: source.name.clone(),
            target: target.target.clone(),
            form,
            zero_is_null: source.nullable && !subject.source.primary_key.contains(&source.name),
        });
    }
    Ok((columns, notes))
}

/// Places of the columns that tell rows apart: the primary key's, or those of a unique index over columns that are
/// never NULL. Empty: there are none.
fn key(table: &Table, columns: &[Compared]) -> Vec<usize> {
    let primary = (!table.primary_key.is_empty()).then(|| table.primary_key.clone());
    let unique = table.indexes.iter().filter(|index| index.unique && index.condition.is_none());
    let unique = unique.filter_map(|index| {
        let whole = index.parts.iter().all(|part| {
            let column = table.columns.iter().find(|column| column.name == part.expression);
            part.is_column && part.prefix.is_none() && column.is_some_and(|column| !column.nullable)
        });
        let names = index.parts.iter().map(|part| part.expression.clone());
        (whole && !index.parts.is_empty()).then(|| names.collect::<Vec<String>>())
    });
    let places = |names: Vec<String>| -> Option<Vec<usize>> {
        names
            .iter()
            .map(|name| {
                let at = columns.iter().position(|column| column.source == *name)?;
                // What is not compared exactly tells no rows apart.
                columns.get(at)?.form.limit().is_none().then_some(at)
            })
            .collect()
    };
    primary.into_iter().chain(unique).find_map(places).unwrap_or_default()
}

fn source_side(table: &TableName, of: Circumstances, columns: &[Compared], key: &[&Compared]) -> TableSide {
    let engine = of.engine;
    let value = |column: &Compared, usage: Usage| source_value(engine, column, usage);
    let from = match engine {
        Engine::Postgres => from_postgres(table, of.source_partitioned),
        Engine::MySql => format!("FROM {} AS t", quote::mysql_qualified(table)),
    };
    let names = key.iter().map(|column| column.source.clone()).collect();
    side(engine, of.digest, from, names, columns, key, &value)
}

fn target_side(table: &TableName, of: Circumstances, columns: &[Compared], key: &[&Compared]) -> TableSide {
    let from = from_postgres(table, of.target_partitioned);
    let names = key.iter().map(|column| column.target.clone()).collect();
    side(Engine::Postgres, of.digest, from, names, columns, key, &target_value)
}

/// A partitioned table has no rows of its own, and a table that others inherit from has no others.
fn from_postgres(table: &TableName, partitioned: bool) -> String {
    let only = if partitioned { "" } else { "ONLY " };
    format!("FROM {only}{} AS t", quote::qualified(table))
}

fn side(
    engine: Engine,
    by: Digest,
    from: String,
    key_names: Vec<String>,
    columns: &[Compared],
    key: &[&Compared],
    value: &dyn Fn(&Compared, Usage) -> String,
) -> TableSide {
    let values: Vec<String> = columns.iter().map(|column| value(column, Usage::Row)).collect();
    let row = digest(engine, by, &joined(engine, &values));
    let key_values: Vec<String> = key.iter().map(|column| value(column, Usage::Key)).collect();
    let (group, key) = if key_values.is_empty() {
        (row.clone(), row.clone())
    } else {
        let text = joined(engine, &key_values);
        let group = digest(engine, by, &text);
        match engine {
            Engine::Postgres => (group, text),
            Engine::MySql => (group, format!("CONVERT({text} USING utf8mb4)")),
        }
    };
    TableSide { engine, from, row, group, key, key_names, key_values }
}

#[cfg(test)]
mod tests;
