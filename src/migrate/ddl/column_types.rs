//! The types of all columns together: a column that refers to another must be of a type that compares with it.
//!
//! Goes in: a schema. Comes out: for every table the type of each column, or its refusal. Always holds: where MySQL has
//! one type on both sides of a foreign key, so has the target. That is more than a column at a time can tell: an
//! AUTO_INCREMENT `bigint unsigned` becomes a bigint, and what refers to it would be a numeric, for which PostgreSQL
//! makes no foreign key.

use super::expression::same_name;
use crate::migrate::schema::{Column, Schema, Table, TableName};
use crate::migrate::types::{
    ColumnUse, Engine, Mapped, NoteKind, TypeNote, TypeRefusal, UNSIGNED_BIGINT, map,
};
use std::collections::{BTreeMap, BTreeSet};

/// For each table its columns' types, in their order.
pub(super) type ColumnTypes = BTreeMap<TableName, Vec<Result<Mapped, TypeRefusal>>>;

/// A column: its table and its place there.
type End<'a> = (&'a TableName, usize);

/// The types of all columns.
pub(super) fn resolve(engine: Engine, schema: &Schema) -> ColumnTypes {
    let tables: BTreeMap<&TableName, &Table> =
        schema.tables.iter().map(|table| (&table.name, table)).collect();
    let referring = in_foreign_keys(&tables);
    let mut types: ColumnTypes = BTreeMap::new();
    for table in &schema.tables {
        let mapped = table.columns.iter().enumerate().map(|(at, column)| {
            let refers = referring.contains(&(&table.name, at));
            map(engine, column, if refers { ColumnUse::InForeignKey } else { ColumnUse::Ordinary })
        });
        types.insert(table.name.clone(), mapped.collect());
    }
    if engine == Engine::MySql {
        follow_foreign_keys(&tables, &mut types);
    }
    types
}

/// The place of a column in its table.
fn place(columns: &[Column], name: &str) -> Option<usize> {
    columns
        .iter()
        .position(|column| column.name == name)
        .or_else(|| columns.iter().position(|column| same_name(&column.name, name)))
}

/// Both ends of all foreign keys, column by column: who refers, to whom.
fn pairs<'a>(tables: &BTreeMap<&'a TableName, &'a Table>) -> Vec<(End<'a>, End<'a>)> {
    let mut found = Vec::new();
    for table in tables.values() {
        for key in &table.foreign_keys {
            let Some(other) = tables.get(&key.refers_to) else { continue };
            for (own, referred) in key.columns.iter().zip(&key.referred) {
                if let (Some(own), Some(referred)) =
                    (place(&table.columns, own), place(&other.columns, referred))
                {
                    found.push(((&table.name, own), (&other.name, referred)));
                }
            }
        }
    }
    found
}

fn in_foreign_keys<'a>(tables: &BTreeMap<&'a TableName, &'a Table>) -> BTreeSet<End<'a>> {
    pairs(tables).into_iter().flat_map(|(own, referred)| [own, referred]).collect()
}

/// Hands a bigint on to all that refers to it, over as many tables as it takes. A column changes at most once, from a
/// numeric to a bigint, so this ends.
fn follow_foreign_keys(tables: &BTreeMap<&TableName, &Table>, types: &mut ColumnTypes) {
    let pairs = pairs(tables);
    loop {
        let next = pairs.iter().find(|(own, referred)| {
            target(types, own).is_some_and(|own| own == UNSIGNED_BIGINT)
                && target(types, referred).is_some_and(|referred| referred == "bigint")
        });
        let Some(((table, at), _)) = next else { return };
        let column = types.get_mut(*table).and_then(|columns| columns.get_mut(*at));
        let Some(Ok(mapped)) = column else { return };
        mapped.target = "bigint".to_owned();
        let text = "is a bigint, as the column that it refers to is: a row with a larger number is rejected";
        mapped.notes.push(TypeNote { kind: NoteKind::Range, text: text.to_owned() });
    }
}

fn target<'a>(types: &'a ColumnTypes, (table, at): &End<'_>) -> Option<&'a str> {
    let found = types.get(*table)?.get(*at)?;
    found.as_ref().ok().map(|mapped| mapped.target.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::schema::fixtures;
    use crate::migrate::schema::{ColumnDefault, ForeignKey};

    fn column(name: &str, source_type: &str) -> Column {
        Column { nullable: false, ..fixtures::column(name, source_type) }
    }

    fn name(of: &str) -> TableName {
        TableName { schema: "shop".to_owned(), name: of.to_owned() }
    }

    fn table(of: &str, columns: Vec<Column>, refers: Option<(&str, &str, &str)>) -> Table {
        Table {
            name: name(of),
            columns,
            primary_key: vec!["id".to_owned()],
            primary_key_name: None,
            indexes: Vec::new(),
            checks: Vec::new(),
            foreign_keys: refers
                .map(|(own, to, referred)| ForeignKey {
                    name: format!("{of}_fk"),
                    columns: vec![own.to_owned()],
                    refers_to: name(to),
                    referred: vec![referred.to_owned()],
                    on_delete: None,
                    on_update: None,
                    deferrable: None,
                    match_full: false,
                })
                .into_iter()
                .collect(),
            comment: None,
            estimated_rows: None,
            bytes: None,
        }
    }

    fn targets(schema: &Schema, of: &str) -> Vec<String> {
        let types = resolve(Engine::MySql, schema);
        types[&name(of)].iter().map(|found| found.as_ref().unwrap().target.clone()).collect()
    }

    #[test]
    fn a_bigint_is_handed_on_through_two_tables() {
        let counting = Column {
            default: ColumnDefault::Identity { always: false, next: None, counting: None },
            ..column("id", "bigint unsigned")
        };
        let schema = Schema {
            tables: vec![
                table("a", vec![column("b_id", "bigint unsigned")], Some(("b_id", "b", "ID"))),
                table("b", vec![column("id", "bigint unsigned")], Some(("id", "c", "id"))),
                table("c", vec![counting], None),
                table("d", vec![column("id", "bigint unsigned")], Some(("id", "d", "id"))),
            ],
            ..Schema::default()
        };
        for of in ["a", "b", "c"] {
            assert_eq!(targets(&schema, of), ["bigint"], "{of}");
        }
        assert_eq!(targets(&schema, "d"), ["numeric(20)"]);
    }

    #[test]
    fn a_truth_value_that_is_referred_to_is_a_number_on_both_sides() {
        let schema = Schema {
            tables: vec![
                table("kinds", vec![column("id", "tinyint(1)"), column("on", "tinyint(1)")], None),
                table("things", vec![column("kind", "tinyint(4)")], Some(("kind", "kinds", "id"))),
            ],
            ..Schema::default()
        };
        assert_eq!(targets(&schema, "kinds"), ["smallint", "boolean"]);
        assert_eq!(targets(&schema, "things"), ["smallint"]);
    }
}
