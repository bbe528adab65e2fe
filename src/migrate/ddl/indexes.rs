//! Indexes, and the constraints that stand on them.
//!
//! Goes in: a table that was laid out. Comes out: `CREATE INDEX` for each, and then `ADD CONSTRAINT … USING INDEX`,
//! which takes a moment where building would take a lock for as long as it lasts. Always holds: an index of
//! PostgreSQL's keeps all that its definition says after `USING`; an index of MySQL's over the beginning of a text
//! becomes one over `left(c, n)`; what has no counterpart is told. Those of partitioned tables are made elsewhere, out
//! of what is said here of an index.

use super::expression::indexed;
use super::layout::{Laid, Layout};
use super::typed::Ty;
use super::{Kind, Out, Phase, TargetMode, constraint_named, constraints_of, storage, unless};
use crate::migrate::quote::{identifier, identifiers, qualified, shown};
use crate::migrate::schema::{Index, IndexPart, TableName};
use crate::migrate::types::Engine;

/// Builds a table's indexes, its primary key's first, and makes their constraints.
pub(super) fn indexes(layout: &Layout<'_>, laid: &Laid<'_>, out: &mut Out) {
    let mut constraints = Vec::new();
    if !layout.options.mode.keeps_rows() {
        constraints.extend(primary_key_statements(layout, laid, Phase::AfterLoad, out));
    }
    for (index, name) in laid.source.indexes.iter().zip(&laid.indexes) {
        if !index.unique && !index.constraint && !layout.options.indexes {
            continue;
        }
        match statement(layout, laid, index, name) {
            Ok(Made::Index(sql)) => {
                out.builds(&laid.name, name, false);
                say(out, laid, Phase::AfterLoad, Kind::Index, sql, describes("index", laid, name));
                notes(laid, index, out);
                if index.constraint && index.unique {
                    let sql = using_index(&laid.name, name, "UNIQUE", &constraint_named(&laid.name, name));
                    constraints.push((sql, describes("unique constraint", laid, name)));
                }
            }
            Ok(Made::Constraint(sql)) => {
                // Its index has its name.
                out.builds(&laid.name, name, false);
                constraints.push((sql, describes("constraint", laid, name)));
            }
            Err(why) => {
                let about = format!("index {}", index.name);
                out.note(Some(&laid.source.name), about, format!("is left out: {why}"));
            }
        }
    }
    for (sql, text) in constraints {
        say(out, laid, Phase::AfterLoad, Kind::Constraint, sql, text);
    }
}

/// Makes a table's primary key.
pub(super) fn primary_key(layout: &Layout<'_>, laid: &Laid<'_>, phase: Phase, out: &mut Out) {
    if let Some((sql, text)) = primary_key_statements(layout, laid, phase, out) {
        say(out, laid, phase, Kind::Constraint, sql, text);
    }
}

/// Builds its index, and gives the constraint.
fn primary_key_statements(
    layout: &Layout<'_>,
    laid: &Laid<'_>,
    phase: Phase,
    out: &mut Out,
) -> Option<(String, String)> {
    let name = laid.primary_key.as_ref()?;
    let columns = match laid.column_names(&laid.source.primary_key) {
        Ok(columns) => columns,
        Err(why) => {
            out.note(Some(&laid.source.name), "primary key".to_owned(), format!("is left out: {why}"));
            return None;
        }
    };
    let found = format!("{} AND contype = 'p'", constraints_of(&laid.name));
    let with = storage::of_key(layout, &laid.source.name);
    let sql = create(&laid.name, true, name, &format!(" ({}){with}", identifiers(&columns)));
    // A table that was kept may have its primary key under another name.
    let sql = if layout.options.mode == TargetMode::DropRecreate { sql } else { unless(&found, &sql) };
    out.builds(&laid.name, name, true);
    say(out, laid, phase, Kind::Index, sql, describes("index", laid, name));
    let index = format!("PRIMARY KEY USING INDEX {}", identifier(name));
    let words = format!("{index}{}", storage::checked_late(layout, laid, out));
    let sql = unless(&found, &add_constraint(&laid.name, name, &words));
    Some((sql, format!("primary key of {}", shown(&laid.name))))
}

/// Builds an index. `tail`: what follows the table's name.
pub(super) fn create(table: &TableName, unique: bool, name: &str, tail: &str) -> String {
    let unique = if unique { "UNIQUE " } else { "" };
    format!("CREATE {unique}INDEX IF NOT EXISTS {} ON {}{tail}", identifier(name), qualified(table))
}

/// Makes a constraint of an index, where the query `found` finds nothing. No partitioned table can have that.
pub(super) fn using_index(table: &TableName, name: &str, what: &str, found: &str) -> String {
    unless(found, &add_constraint(table, name, &format!("{what} USING INDEX {}", identifier(name))))
}

fn add_constraint(table: &TableName, name: &str, words: &str) -> String {
    format!("ALTER TABLE {} ADD CONSTRAINT {} {words}", qualified(table), identifier(name))
}

fn say(out: &mut Out, laid: &Laid<'_>, phase: Phase, kind: Kind, sql: String, describes: String) {
    out.say(phase, kind, Some(&laid.source.name), sql, describes);
}

fn describes(what: &str, laid: &Laid<'_>, name: &str) -> String {
    format!("{what} {name} of {}", shown(&laid.name))
}

/// What an index of the source's is made by.
enum Made {
    Index(String),
    /// A constraint that no index can be built for first: an exclusion, or one that is deferrable.
    Constraint(String),
}

fn statement(layout: &Layout<'_>, laid: &Laid<'_>, index: &Index, name: &str) -> Result<Made, String> {
    Ok(match tail(layout, laid, index)? {
        Tail::Index(tail) => Made::Index(create(&laid.name, index.unique, name, &tail)),
        Tail::Constraint(tail) => {
            let sql =
                format!("ALTER TABLE {} ADD CONSTRAINT {}{tail}", qualified(&laid.name), identifier(name));
            Made::Constraint(unless(&constraint_named(&laid.name, name), &sql))
        }
    })
}

/// What an index is, behind its own name and its table's.
pub(super) enum Tail {
    /// ` USING btree (a) WHERE …`
    Index(String),
    /// ` EXCLUDE USING gist (…)`: a constraint that no index can be built for first.
    Constraint(String),
}

/// What an index is, in the target's words. `Err`: why it cannot be, as the rest of a sentence.
pub(super) fn tail(layout: &Layout<'_>, laid: &Laid<'_>, index: &Index) -> Result<Tail, String> {
    if let Some(definition) = &index.definition {
        if let Some(tail) = after_constraint_name(definition) {
            return Ok(Tail::Constraint(layout.renaming.apply(tail)?));
        }
        if let Some(tail) = after_table_name(definition) {
            return Ok(Tail::Index(layout.renaming.apply(tail)?));
        }
    }
    if index.constraint && !index.unique {
        return Err("it stands behind a constraint whose definition is not known".to_owned());
    }
    Ok(Tail::Index(of_parts(layout, laid, index)?))
}

/// What an index of a materialised view is, behind its own name and its view's; as [`tail`].
pub(super) fn tail_of_view(layout: &Layout<'_>, index: &Index) -> Result<String, String> {
    let tail = index.definition.as_deref().and_then(after_table_name);
    layout.renaming.apply(tail.ok_or_else(|| "its definition is not known".to_owned())?)
}

/// ` USING btree ("a", left("b", 10) DESC) INCLUDE ("c") WHERE …`
fn of_parts(layout: &Layout<'_>, laid: &Laid<'_>, index: &Index) -> Result<String, String> {
    let method = match (layout.options.engine, index.method.to_ascii_lowercase().as_str()) {
        (Engine::Postgres, method) => identifier(method),
        // MySQL's hash indexes are for tables in memory, and may be unique.
        (Engine::MySql, "btree" | "hash" | "") => "btree".to_owned(),
        (Engine::MySql, "fulltext") => {
            return Err(
                "it is FULLTEXT: an index USING gin (to_tsvector('simple', …)) finds words here".to_owned()
            );
        }
        (Engine::MySql, method) => return Err(format!("PostgreSQL itself has no {method} index")),
    };
    let parts: Result<Vec<String>, String> =
        index.parts.iter().map(|part| one_part(layout, laid, part)).collect();
    let parts = parts?;
    if parts.is_empty() {
        return Err("it is over nothing".to_owned());
    }
    let mut sql = format!(" USING {method} ({})", parts.join(", "));
    if !index.include.is_empty() {
        sql.push_str(&format!(" INCLUDE ({})", identifiers(&laid.column_names(&index.include)?)));
    }
    if let Some(condition) = &index.condition {
        sql.push_str(&format!(" WHERE {}", layout.renaming.apply(condition)?));
    }
    Ok(sql)
}

fn one_part(layout: &Layout<'_>, laid: &Laid<'_>, part: &IndexPart) -> Result<String, String> {
    let mut sql = if part.is_column {
        let Some(column) = laid.column(&part.expression) else {
            return Err(format!("it names the column {}, which the table has not", part.expression));
        };
        let name = identifier(&column.target);
        match (part.prefix, Ty::of(&column.mapped.target)) {
            (None, _) => name,
            (Some(length), Ty::Text) => format!("left({name}, {length})"),
            (Some(length), Ty::Bytes) => format!("substr({name}, 1, {length})"),
            (Some(_), _) => return Err(format!("it is over a part of {}", part.expression)),
        }
    } else if layout.options.engine == Engine::Postgres {
        format!("({})", layout.renaming.apply(&part.expression)?)
    } else {
        format!("({})", indexed(&part.expression, &laid.scope(true))?)
    };
    if part.descending {
        sql.push_str(" DESC");
    }
    Ok(sql)
}

fn notes(laid: &Laid<'_>, index: &Index, out: &mut Out) {
    let cut: Vec<&str> = index
        .parts
        .iter()
        .filter(|part| part.is_column && part.prefix.is_some())
        .map(|part| part.expression.as_str())
        .collect();
    if !cut.is_empty() {
        let about = format!("index {}", index.name);
        let text =
            format!("is over the beginning of {}: a query must ask for left(…) to use it", cut.join(", "));
        out.note(Some(&laid.source.name), about, text);
    }
}

/// What `pg_get_indexdef` writes after the table's name: ` USING btree (…) …`.
fn after_table_name(definition: &str) -> Option<&str> {
    let rest = definition.strip_prefix("CREATE ")?;
    let rest = rest.strip_prefix("UNIQUE ").unwrap_or(rest).strip_prefix("INDEX ")?;
    let rest = after_name(rest)?.strip_prefix(" ON ")?;
    let rest = after_name(rest.strip_prefix("ONLY ").unwrap_or(rest))?;
    let rest = match rest.strip_prefix('.') {
        Some(table) => after_name(table)?,
        None => rest,
    };
    rest.starts_with(" USING ").then_some(rest)
}

/// What stands after the constraint's name in `ALTER TABLE … ADD CONSTRAINT …`: ` EXCLUDE USING gist (…)`.
fn after_constraint_name(definition: &str) -> Option<&str> {
    let rest = after_name(definition.strip_prefix("ALTER TABLE ")?)?;
    let rest = match rest.strip_prefix('.') {
        Some(table) => after_name(table)?,
        None => rest,
    };
    let rest = after_name(rest.strip_prefix(" ADD CONSTRAINT ")?)?;
    rest.starts_with(' ').then_some(rest)
}

/// What stands after a name, quoted or not.
fn after_name(text: &str) -> Option<&str> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '.'])?;
        return (end > 0).then(|| &text[end..]);
    };
    let mut from = 0;
    loop {
        let end = from + quoted[from..].find('"')? + 1;
        // A doubled one is a letter of the name.
        if !quoted[end..].starts_with('"') {
            return Some(&quoted[end..]);
        }
        from = end + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_names_is_found() {
        for (definition, tail) in [
            ("CREATE INDEX i ON shop.t USING btree (a)", Some(" USING btree (a)")),
            (
                "CREATE UNIQUE INDEX \"I \"\" ON\" ON ONLY \"S.1\".\"t\" USING gin (b) WHERE (c > 1)",
                Some(" USING gin (b) WHERE (c > 1)"),
            ),
            ("CREATE INDEX i ON t USING hash (a)", Some(" USING hash (a)")),
            ("CREATE INDEX i ON t (a)", None),
            ("CREATE INDEX \"i ON t USING", None),
            ("DROP TABLE t", None),
            ("", None),
        ] {
            assert_eq!(after_table_name(definition), tail, "{definition}");
        }
        assert_eq!(
            after_constraint_name("ALTER TABLE shop.\"T\" ADD CONSTRAINT x EXCLUDE USING gist (r WITH &&)"),
            Some(" EXCLUDE USING gist (r WITH &&)")
        );
        assert_eq!(after_constraint_name("CREATE INDEX i ON t USING hash (a)"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_name_is_passed_over(name in "[^\0]{1,20}", table in "[^\0]{1,20}") {
            let definition = format!(
                "CREATE INDEX {} ON {}.{} USING btree (a)",
                identifier(&name), identifier("s"), identifier(&table)
            );
            proptest::prop_assert_eq!(after_table_name(&definition), Some(" USING btree (a)"));
        }

        #[test]
        fn nothing_makes_it_panic(text in "(CREATE INDEX |ALTER TABLE )?[a\". ONéUSIG]{0,30}") {
            let _ = after_table_name(&text);
            let _ = after_constraint_name(&text);
        }
    }
}
