//! Schemas, types, tables and what is said of them.
//!
//! Goes in: the layout. Comes out: `CREATE SCHEMA`, `CREATE TYPE`, `CREATE TABLE`, `COMMENT`. Always holds: a table is
//! made without a key, an index or a check but what its columns say: those come when the rows are there. A partitioned
//! table is made with all its partitions behind it. A schema or a type that was there keeps its own comment.

use super::columns::definition;
use super::layout::{Laid, Layout};
use super::{Kind, Out, Phase, comments, indexes, partition_indexes, partitions, sequences, storage, unless};
use crate::migrate::quote::{identifier, literal, qualified, shown};
use std::collections::BTreeSet;

/// Makes the schemas. Asked first: `IF NOT EXISTS` wants the right to make one even where it exists.
pub(super) fn schemas(layout: &Layout<'_>, out: &mut Out) {
    let names: BTreeSet<&String> = layout.schemas.values().collect();
    for name in names {
        let found = format!("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = {}", literal(name));
        let comment = comments::on_schema(layout, name, out);
        let sql = unless(&found, &format!("CREATE SCHEMA {}{comment}", identifier(name)));
        out.say(Phase::BeforeLoad, Kind::Schema, None, sql, format!("schema {name}"));
    }
}

/// Makes types of users.
pub(super) fn types(layout: &Layout<'_>, out: &mut Out) {
    for user in &layout.options.types {
        let Some(definition) = &user.definition else { continue };
        match (layout.renaming.apply(&user.name), layout.renaming.apply(definition)) {
            (Ok(name), Ok(definition)) => {
                let found = format!("SELECT 1 WHERE pg_catalog.to_regtype({}) IS NOT NULL", literal(&name));
                let comments = comments::on_type(layout, user, &name);
                let sql = unless(&found, &format!("{definition}{comments}"));
                out.say(Phase::BeforeLoad, Kind::Type, None, sql, format!("type {name}"));
            }
            (Err(why), _) | (_, Err(why)) => {
                out.note(None, format!("type {}", user.name), format!("is left out: {why}"));
            }
        }
    }
}

/// Makes the tables.
pub(super) fn tables(layout: &Layout<'_>, out: &mut Out) {
    for laid in &layout.tables {
        sequences::of_columns(laid, out);
        let columns: Vec<String> =
            (0..laid.columns.len()).map(|at| definition(layout, laid, at, out)).collect();
        let columns: Vec<String> = columns.into_iter().filter(|column| !column.is_empty()).collect();
        let body =
            if columns.is_empty() { String::new() } else { format!("\n    {}\n", columns.join(",\n    ")) };
        let by = laid.partitioning.as_ref().map(|tree| tree.clause()).unwrap_or_default();
        let with = storage::at_creation(layout, &laid.source.name);
        let sql = format!("CREATE TABLE IF NOT EXISTS {} ({body}){by}{with}", qualified(&laid.name));
        say(out, laid, Kind::Table, sql, format!("table {}", shown(&laid.name)));
        sequences::owners(laid, out);
        partitions::tables(layout, laid, out);
        if layout.options.mode.keeps_rows() {
            match &laid.partitioning {
                None => indexes::primary_key(layout, laid, Phase::BeforeLoad, out),
                Some(_) => partition_indexes::primary_key(layout, laid, Phase::BeforeLoad, out),
            }
        }
    }
}

fn say(out: &mut Out, laid: &Laid<'_>, kind: Kind, sql: String, describes: String) {
    out.say(Phase::BeforeLoad, kind, Some(&laid.source.name), sql, describes);
}

/// Says what was said of tables and columns.
pub(super) fn comments(layout: &Layout<'_>, out: &mut Out) {
    for laid in &layout.tables {
        let table = qualified(&laid.name);
        let source = Some(&laid.source.name);
        if let Some(comment) = said(laid.source.comment.as_deref()) {
            let sql = format!("COMMENT ON TABLE {table} IS {}", literal(comment));
            out.say(Phase::Last, Kind::Comment, source, sql, format!("comment on {}", shown(&laid.name)));
        }
        partitions::comments(layout, laid, out);
        for (column, target) in laid.source.columns.iter().zip(&laid.columns) {
            if let Some(comment) = said(column.comment.as_deref()) {
                let name = identifier(&target.target);
                let sql = format!("COMMENT ON COLUMN {table}.{name} IS {}", literal(comment));
                let describes = format!("comment on {}.{}", shown(&laid.name), target.target);
                out.say(Phase::Last, Kind::Comment, source, sql, describes);
            }
        }
    }
}

/// MySQL has empty comments where nothing was said.
pub(super) fn said(comment: Option<&str>) -> Option<&str> {
    comment.filter(|comment| !comment.is_empty())
}
