//! Checks and foreign keys.
//!
//! Goes in: tables that were laid out. Comes out: `ADD CONSTRAINT … NOT VALID`, which reads no row and keeps new ones
//! right, and `VALIDATE CONSTRAINT`, which reads the rows and lets others write meanwhile. Always holds: a foreign
//! key is made only where the target can have it: its table is moved, and what it refers to is unique there. MySQL
//! asks for neither. One of a partitioned table, or to one, is validated as it is made: before version 18 PostgreSQL
//! has no other way for the first, and leaves the second's parts for each partition marked as not valid.

use super::expression::{condition, same_name};
use super::layout::{Laid, Layout};
use super::{Kind, Out, Phase, constraint_named, unless};
use crate::migrate::quote::{identifier, identifiers, qualified, shown};
use crate::migrate::schema::{Check, ForeignKey, Table};
use crate::migrate::types::Engine;

/// What `ON DELETE` and `ON UPDATE` may do in every engine.
const ACTIONS: [&str; 5] = ["NO ACTION", "RESTRICT", "CASCADE", "SET NULL", "SET DEFAULT"];

/// Makes a table's checks, and those that keep ENUMs and SETs to their members.
pub(super) fn checks(layout: &Layout<'_>, laid: &Laid<'_>, out: &mut Out) {
    if !layout.options.checks {
        return;
    }
    for (name, sql) in &laid.member_checks {
        add_check(laid, name, sql, out);
    }
    for (check, name) in laid.source.checks.iter().zip(&laid.checks) {
        match check_condition(layout, laid, check, out) {
            Ok(sql) => add_check(laid, name, &sql, out),
            Err(why) => {
                let about = format!("constraint {}", check.name);
                out.note(Some(&laid.source.name), about, format!("is left out: {why}"));
            }
        }
    }
}

fn check_condition(
    layout: &Layout<'_>,
    laid: &Laid<'_>,
    check: &Check,
    out: &mut Out,
) -> Result<String, String> {
    if layout.options.engine == Engine::Postgres {
        return layout.renaming.apply(&check.expression);
    }
    let found = condition(&check.expression, &laid.scope(true))?;
    if found.compares_text {
        let about = format!("constraint {}", check.name);
        let text =
            "compares texts letter by letter here, so that a row may break it that kept it in the source";
        out.note(Some(&laid.source.name), about, text);
    }
    Ok(found.sql)
}

fn add_check(laid: &Laid<'_>, name: &str, condition: &str, out: &mut Out) {
    let sql = add(laid, name, &format!("CHECK ({condition}) NOT VALID"));
    let text = format!("check {name} of {}", shown(&laid.name));
    out.say(Phase::AfterLoad, Kind::Constraint, Some(&laid.source.name), sql, text.clone());
    let sql = validate(laid, name);
    out.say(Phase::Validate, Kind::Validation, Some(&laid.source.name), sql, format!("rows against {text}"));
}

/// Makes all foreign keys.
pub(super) fn foreign_keys(layout: &Layout<'_>, out: &mut Out) {
    if !layout.options.foreign_keys {
        return;
    }
    for laid in &layout.tables {
        for (key, name) in laid.source.foreign_keys.iter().zip(&laid.foreign_keys) {
            match foreign_key(layout, laid, key) {
                Ok(words) => {
                    let source = Some(&laid.source.name);
                    let text = format!("foreign key {name} of {}", shown(&laid.name));
                    if is_of_partitions(layout, laid, key) {
                        out.say(Phase::Validate, Kind::ForeignKey, source, add(laid, name, &words), text);
                        continue;
                    }
                    let sql = add(laid, name, &format!("{words} NOT VALID"));
                    out.say(Phase::Validate, Kind::ForeignKey, source, sql, text.clone());
                    let sql = validate(laid, name);
                    out.say(Phase::Validate, Kind::Validation, source, sql, format!("rows against {text}"));
                }
                Err(why) => {
                    let about = format!("foreign key {}", key.name);
                    out.note(Some(&laid.source.name), about, format!("is left out: {why}"));
                }
            }
        }
    }
}

/// Whether a partitioned table is at either end.
fn is_of_partitions(layout: &Layout<'_>, laid: &Laid<'_>, key: &ForeignKey) -> bool {
    let other = layout.table(&key.refers_to);
    laid.partitioning.is_some() || other.is_some_and(|other| other.partitioning.is_some())
}

/// Puts what makes foreign keys before what validates.
pub(super) fn validations(out: &mut Out) {
    out.statements.sort_by_key(|statement| statement.kind == Kind::Validation);
}

/// `FOREIGN KEY (…) REFERENCES …`.
fn foreign_key(layout: &Layout<'_>, laid: &Laid<'_>, key: &ForeignKey) -> Result<String, String> {
    let Some(other) = layout.table(&key.refers_to) else {
        return Err(format!("it refers to {}, which is not moved", shown(&key.refers_to)));
    };
    if layout.options.engine == Engine::MySql && !is_unique(other.source, &key.referred) {
        let columns = key.referred.join(", ");
        return Err(format!("what it refers to, {columns} of {}, is not unique", shown(&key.refers_to)));
    }
    let columns = identifiers(&laid.column_names(&key.columns)?);
    let referred = identifiers(&other.column_names(&key.referred)?);
    let mut words = format!("FOREIGN KEY ({columns}) REFERENCES {} ({referred})", qualified(&other.name));
    if key.match_full {
        words.push_str(" MATCH FULL");
    }
    for (event, action) in [("UPDATE", &key.on_update), ("DELETE", &key.on_delete)] {
        if let Some(action) = action {
            words.push_str(&format!(" ON {event} {}", known_action(layout, action)?));
        }
    }
    if let Some(deferrable) = &key.deferrable {
        words.push_str(&format!(" {deferrable}"));
    }
    Ok(words)
}

fn known_action(layout: &Layout<'_>, action: &str) -> Result<String, String> {
    let upper = action.trim().to_ascii_uppercase();
    if ACTIONS.contains(&upper.as_str()) {
        return Ok(upper);
    }
    // `SET NULL (column)`, with the column quoted as PostgreSQL had quoted it.
    if layout.options.engine == Engine::Postgres {
        return Ok(action.trim().to_owned());
    }
    Err(format!("it does {action}, which is not known"))
}

/// Whether the target will have a unique index on just these columns.
fn is_unique(table: &Table, columns: &[String]) -> bool {
    let same = |others: &[&str]| {
        others.len() == columns.len()
            && others.iter().all(|other| columns.iter().any(|column| same_name(column, other)))
    };
    let primary: Vec<&str> = table.primary_key.iter().map(String::as_str).collect();
    same(&primary)
        || table.indexes.iter().any(|index| {
            let plain = index.parts.iter().all(|part| part.is_column && part.prefix.is_none());
            let parts: Vec<&str> = index.parts.iter().map(|part| part.expression.as_str()).collect();
            index.unique && index.condition.is_none() && plain && same(&parts)
        })
}

fn add(laid: &Laid<'_>, name: &str, words: &str) -> String {
    let table = qualified(&laid.name);
    let sql = format!("ALTER TABLE {table} ADD CONSTRAINT {} {words}", identifier(name));
    unless(&constraint_named(&laid.name, name), &sql)
}

fn validate(laid: &Laid<'_>, name: &str) -> String {
    format!("ALTER TABLE {} VALIDATE CONSTRAINT {}", qualified(&laid.name), identifier(name))
}
