//! What is said of indexes, constraints, sequences, columns of views, types and schemas.
//!
//! Goes in: the layout. Comes out: for what is made by one statement, the end of that; for all else a
//! statement at the end. Always holds: nothing is said of what is not there, since whatever kept it from
//! being made is told already; what the target had before keeps its own comment; an index or a constraint is
//! found by its name in the target.

use super::layout::{Laid, Layout};
use super::{Kind, Out, Phase, TargetMode, constraint_named};
use crate::migrate::catalog::{Commented, UserType};
use crate::migrate::quote::{dollar_quoted, identifier, literal, qualified, shown};
use crate::migrate::schema::TableName;

/// What stands behind the statement that makes a schema. Several of the source's may become one, and that is
/// said of it which was said of the first.
pub(super) fn on_schema(layout: &Layout<'_>, target: &str, out: &mut Out) -> String {
    let becomes_it = |source: &str| layout.schemas.get(source).is_some_and(|new| new == target);
    let mut said = layout.options.comments.iter().filter_map(|comment| match &comment.of {
        Commented::Schema(source) if becomes_it(source) => Some((source, &comment.text)),
        _ => None,
    });
    let Some((_, first)) = said.next() else { return String::new() };
    for (source, _) in said {
        out.note(None, format!("comment on schema {source}"), format!("is left out: {target} has another"));
    }
    behind(&format!("SCHEMA {}", identifier(target)), first)
}

/// What stands behind the statement that makes a type, which is called `name` there.
pub(super) fn on_type(layout: &Layout<'_>, user: &UserType, name: &str) -> String {
    let mut sql = String::new();
    for comment in &layout.options.comments {
        let what = match &comment.of {
            Commented::Type(of) if *of == user.name => format!("TYPE {name}"),
            Commented::Attribute { of, name: own } if *of == user.name => {
                format!("COLUMN {name}.{}", identifier(own))
            }
            Commented::DomainCheck { of, name: own } if *of == user.name => {
                format!("CONSTRAINT {} ON DOMAIN {name}", identifier(own))
            }
            _ => continue,
        };
        sql.push_str(&behind(&what, &comment.text));
    }
    sql
}

fn behind(what: &str, text: &str) -> String {
    format!("; {}", comment_on(what, text))
}

fn comment_on(what: &str, text: &str) -> String {
    format!("COMMENT ON {what} IS {}", literal(text))
}

/// Says all else.
pub(super) fn comments(layout: &Layout<'_>, out: &mut Out) {
    let anew = layout.options.mode == TargetMode::DropRecreate;
    for comment in &layout.options.comments {
        let Some(target) = Target::of(layout, &comment.of) else { continue };
        let unsaid = if anew { String::new() } else { format!(" AND {} IS NULL", target.said) };
        let sql = comment_on(&target.what, &comment.text);
        let body = format!("BEGIN IF EXISTS ({}{unsaid}) THEN {sql}; END IF; END", target.found);
        let describes = format!("comment on {}", target.shown);
        let sql = format!("DO {}", dollar_quoted(&body));
        out.say(Phase::Last, Kind::Comment, target.table, sql, describes);
    }
}

/// What is said something of, in the target.
struct Target<'l> {
    /// The source's table that it belongs to.
    table: Option<&'l TableName>,
    /// `INDEX "shop"."by_date"`.
    what: String,
    /// A query that finds it, which goes on with AND.
    found: String,
    /// What was said of it, in that query's words.
    said: &'static str,
    /// For people.
    shown: String,
}

impl<'l> Target<'l> {
    /// `None`: it is not moved, or its statement has said it.
    fn of(layout: &'l Layout<'_>, of: &Commented) -> Option<Self> {
        match of {
            Commented::Index { of, name } => {
                if let Some(laid) = layout.table(of) {
                    let name = index_name(laid, name)?;
                    return Some(Self::index(Some(&laid.source.name), &laid.name, name));
                }
                let at = layout.schema.views.iter().position(|view| view.name == *of)?;
                let indexes = &layout.schema.views.get(at)?.indexes;
                let own = indexes.iter().position(|index| index.name == *name)?;
                Some(Self::index(None, layout.views.get(at)?, layout.view_indexes.get(at)?.get(own)?))
            }
            Commented::Constraint { of, name } => {
                let laid = layout.table(of)?;
                Some(Self::constraint(laid, constraint_name(laid, name)?))
            }
            Commented::Sequence(of) => {
                let at = layout.schema.sequences.iter().position(|own| own.name == *of)?;
                Some(Self::sequence(None, layout.sequences.get(at)?))
            }
            Commented::ColumnSequence { of, column } => {
                let laid = layout.table(of)?;
                let at = laid.source.columns.iter().position(|own| own.name == *column)?;
                let name = laid.sequences.get(at)?.clone()?;
                let name = TableName { schema: laid.name.schema.clone(), name };
                Some(Self::sequence(Some(&laid.source.name), &name))
            }
            Commented::ViewColumn { of, name } => {
                let at = layout.schema.views.iter().position(|view| view.name == *of)?;
                Some(Self::view_column(layout.views.get(at)?, name))
            }
            Commented::Schema(_)
            | Commented::Type(_)
            | Commented::Attribute { .. }
            | Commented::DomainCheck { .. } => None,
        }
    }

    /// `on`: the target's table or view.
    fn index(table: Option<&'l TableName>, on: &TableName, name: &str) -> Self {
        let own = TableName { schema: on.schema.clone(), name: name.to_owned() };
        Self {
            table,
            what: format!("INDEX {}", qualified(&own)),
            found: format!(
                "SELECT 1 FROM pg_catalog.pg_index WHERE indexrelid = {} AND indrelid = {}",
                oid_of(&own),
                oid_of(on)
            ),
            said: "pg_catalog.obj_description(indexrelid, 'pg_class')",
            shown: format!("index {name} of {}", shown(on)),
        }
    }

    fn constraint(laid: &'l Laid<'_>, name: &str) -> Self {
        Self {
            table: Some(&laid.source.name),
            what: format!("CONSTRAINT {} ON {}", identifier(name), qualified(&laid.name)),
            found: constraint_named(&laid.name, name),
            said: "pg_catalog.obj_description(oid, 'pg_constraint')",
            shown: format!("constraint {name} of {}", shown(&laid.name)),
        }
    }

    fn sequence(table: Option<&'l TableName>, name: &TableName) -> Self {
        Self {
            table,
            what: format!("SEQUENCE {}", qualified(name)),
            found: format!("SELECT 1 FROM pg_catalog.pg_sequence WHERE seqrelid = {}", oid_of(name)),
            said: "pg_catalog.obj_description(seqrelid, 'pg_class')",
            shown: format!("sequence {}", shown(name)),
        }
    }

    fn view_column(view: &TableName, name: &str) -> Self {
        Self {
            table: None,
            what: format!("COLUMN {}.{}", qualified(view), identifier(name)),
            found: format!(
                "SELECT 1 FROM pg_catalog.pg_attribute WHERE attrelid = {} AND attname = {}",
                oid_of(view),
                literal(name)
            ),
            said: "pg_catalog.col_description(attrelid, attnum)",
            shown: format!("column {name} of view {}", shown(view)),
        }
    }
}

fn oid_of(name: &TableName) -> String {
    format!("pg_catalog.to_regclass({})", literal(&qualified(name)))
}

/// The target's name of an index of the source's.
fn index_name<'l>(laid: &'l Laid<'_>, name: &str) -> Option<&'l str> {
    if laid.source.primary_key_name.as_deref() == Some(name) {
        return laid.primary_key.as_deref();
    }
    let at = laid.source.indexes.iter().position(|index| index.name == name)?;
    laid.indexes.get(at).map(String::as_str)
}

/// The target's name of a constraint of the source's.
fn constraint_name<'l>(laid: &'l Laid<'_>, name: &str) -> Option<&'l str> {
    if laid.source.primary_key_name.as_deref() == Some(name) {
        return laid.primary_key.as_deref();
    }
    let of = |names: &'l [String], at: Option<usize>| names.get(at?).map(String::as_str);
    let table = laid.source;
    let index = table.indexes.iter().position(|index| index.constraint && index.name == name);
    let check = table.checks.iter().position(|check| check.name == name);
    let key = table.foreign_keys.iter().position(|key| key.name == name);
    of(&laid.indexes, index).or_else(|| of(&laid.checks, check)).or_else(|| of(&laid.foreign_keys, key))
}

#[cfg(test)]
mod tests;
