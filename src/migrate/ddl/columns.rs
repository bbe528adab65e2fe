//! Columns: a name, a type, a collation, where a value comes from that nobody gives, and whether it may be NULL.
//!
//! Goes in: a column of the source's and what was laid out for it. Comes out: its line of `CREATE TABLE`. Always
//! holds: a default that cannot be had here is left out and told; the rows do not need it, they bring their values. A
//! PostgreSQL's collation is written as its catalog gives it, qualified and quoted; a MySQL's has no name here.

use super::layout::{Laid, Layout};
use super::{Out, expression, sequences};
use crate::migrate::quote::{identifier, literal, qualified};
use crate::migrate::schema::{Column, ColumnDefault, TableName};
use crate::migrate::types::Engine;

/// The column at that place, as `CREATE TABLE` wants it.
pub(super) fn definition(layout: &Layout<'_>, laid: &Laid<'_>, at: usize, out: &mut Out) -> String {
    let (Some(source), Some(column)) = (laid.source.columns.get(at), laid.columns.get(at)) else {
        return String::new();
    };
    let mut line = format!("{} {}", identifier(&column.target), column.mapped.target);
    if layout.options.engine == Engine::Postgres
        && let Some(collation) = &source.collation
    {
        line.push_str(&format!(" COLLATE {collation}"));
    }
    let generation = laid.generation.get(at).and_then(Option::as_deref);
    if let Some(sql) = generation {
        line.push_str(&format!(" GENERATED ALWAYS AS ({sql}) STORED"));
    } else if let Some(default) = value(layout, laid, at, out) {
        line.push_str(&default);
    }
    let in_key = laid.source.primary_key.contains(&source.name);
    if !source.nullable || in_key {
        line.push_str(" NOT NULL");
    }
    line
}

/// ` DEFAULT …` or ` GENERATED … AS IDENTITY …`.
fn value(layout: &Layout<'_>, laid: &Laid<'_>, at: usize, out: &mut Out) -> Option<String> {
    let (source, column) = (laid.source.columns.get(at)?, laid.columns.get(at)?);
    let sequence = laid.sequences.get(at).and_then(Option::as_deref);
    let sequence = sequence.map(|name| TableName { schema: laid.name.schema.clone(), name: name.to_owned() });
    match (&source.default, sequence) {
        (ColumnDefault::Identity { always, counting, .. }, Some(sequence))
            if can_be_identity(&column.mapped.target) =>
        {
            let when = if *always { "ALWAYS" } else { "BY DEFAULT" };
            let words = counting.as_ref().map(sequences::words).unwrap_or_default();
            Some(format!(" GENERATED {when} AS IDENTITY (SEQUENCE NAME {}{words})", qualified(&sequence)))
        }
        (ColumnDefault::Identity { .. } | ColumnDefault::Serial { .. }, Some(sequence)) => {
            Some(format!(" DEFAULT nextval({}::regclass)", literal(&qualified(&sequence))))
        }
        (ColumnDefault::Expression(text), _) => match layout.options.engine {
            Engine::Postgres => match layout.renaming.apply(text) {
                Ok(sql) => Some(format!(" DEFAULT {sql}")),
                Err(why) => {
                    left_out(laid, source, text, &why, out);
                    None
                }
            },
            Engine::MySql => of_mysql(laid, source, &column.mapped.target, text, out),
        },
        _ => None,
    }
}

fn of_mysql(laid: &Laid<'_>, source: &Column, target: &str, text: &str, out: &mut Out) -> Option<String> {
    match expression::default(text, target) {
        Ok(found) => {
            if found.on_update {
                let about = format!("column {}", source.name);
                let text = "is set whenever its row is updated: here only a trigger could do that";
                out.note(Some(&laid.source.name), about, text);
            }
            found.sql.map(|sql| format!(" DEFAULT {sql}"))
        }
        Err(why) => {
            left_out(laid, source, text, &why, out);
            None
        }
    }
}

fn left_out(laid: &Laid<'_>, source: &Column, text: &str, why: &str, out: &mut Out) {
    let about = format!("column {}", source.name);
    out.note(Some(&laid.source.name), about, format!("loses its default {text}: {why}"));
}

/// PostgreSQL's identity columns are of three types; others get a sequence and a default.
pub(super) fn can_be_identity(target: &str) -> bool {
    matches!(target, "smallint" | "integer" | "bigint")
}
