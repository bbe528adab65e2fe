//! Rows of `information_schema` put together. Pure.

use super::{CheckRow, ColumnRow, Flavour, ForeignKeyPartRow, ForeignKeyRow, IndexPartRow, Rows, TableRow};
use crate::migrate::catalog::{Catalog, Draft, Relation, in_reading_order};
use crate::migrate::quote::shown;
use crate::migrate::schema::{
    Check, Column, ColumnDefault, ForeignKey, Index, IndexPart, Schema, TableName, View,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// A MariaDB that cuts checks off does it here.
const CUT_CHECK_CHARACTERS: usize = 64;

/// Makes a catalog of what the server of that flavour answered.
pub fn assemble(flavour: Flavour, rows: &Rows) -> Catalog {
    let (moved, left): (Vec<&TableRow>, Vec<&TableRow>) =
        rows.tables.iter().partition(|row| matches!(row.kind.as_str(), "BASE TABLE" | "SYSTEM VERSIONED"));
    let named =
        moved.iter().map(|row| (row.name.clone(), name_of(row), said(row.comment.as_deref()))).collect();
    let mut draft: Draft<String> = Draft::of(named);
    let mut relations = BTreeMap::new();
    let mut next_values = HashMap::new();
    for row in &moved {
        relations.insert(name_of(row), vec![add_table(&mut draft, row)]);
        let next = row.auto_increment.and_then(|next| i64::try_from(next).ok());
        next_values.insert(row.name.as_str(), next);
    }
    for row in left {
        draft.remark(shown(&name_of(row)), format!("is a {}: it is not moved", row.kind.to_lowercase()));
    }
    for row in &rows.columns {
        add_column(&mut draft, row, flavour, next_values.get(row.table.as_str()).copied().flatten());
    }
    for parts in groups_of(&rows.index_parts, |a, b| a.table == b.table && a.index == b.index) {
        add_index(&mut draft, parts, flavour);
    }
    let rules: HashMap<(&str, &str), &ForeignKeyRow> =
        rows.foreign_keys.iter().map(|row| ((row.table.as_str(), row.name.as_str()), row)).collect();
    let names: HashSet<TableName> = draft.tables.iter().map(|table| table.name.clone()).collect();
    for parts in groups_of(&rows.foreign_key_parts, |a, b| a.table == b.table && a.name == b.name) {
        add_foreign_key(&mut draft, parts, &rules, &names);
    }
    for row in &rows.checks {
        add_check(&mut draft, row, flavour);
    }
    let views = views_of(&mut draft, rows);
    for other in rows.others.iter().filter(|other| other.count > 0) {
        draft.remark(other.kind.clone(), format!("are not moved: {} of them", other.count));
    }
    draft.sort();
    Catalog {
        schema: Schema { tables: draft.tables, sequences: Vec::new(), views },
        relations,
        partitioned: Vec::new(),
        types: Vec::new(),
        comments: Vec::new(),
        storage: BTreeMap::new(),
        remarks: draft.remarks,
    }
}

fn name_of(row: &TableRow) -> TableName {
    TableName { schema: row.schema.clone(), name: row.name.clone() }
}

/// MySQL has no NULL for a comment that nobody made.
fn said(comment: Option<&str>) -> Option<String> {
    comment.filter(|comment| !comment.is_empty()).map(str::to_owned)
}

/// Neighbours that belong together.
fn groups_of<T>(rows: &[T], same: fn(&T, &T) -> bool) -> impl Iterator<Item = &[T]> {
    rows.chunk_by(same)
}

fn add_table(draft: &mut Draft<String>, row: &TableRow) -> Relation {
    let name = name_of(row);
    if let Some(table) = draft.table(&row.name) {
        table.estimated_rows = row.rows;
        table.bytes = row.bytes;
    }
    if row.kind == "SYSTEM VERSIONED" {
        draft.remark(shown(&name), "keeps old versions of its rows: the present ones alone are moved");
    }
    if row.options.as_deref().is_some_and(|options| options.to_lowercase().contains("partitioned")) {
        draft.remark(shown(&name), "is partitioned: it becomes one table");
    }
    Relation { name, blocks: None, estimated_rows: row.rows, bytes: row.bytes }
}

fn add_column(draft: &mut Draft<String>, row: &ColumnRow, flavour: Flavour, next: Option<i64>) {
    // Views have columns too.
    let Some(table) = draft.table(&row.table) else { return };
    let subject = format!("{}.{}", shown(&table.name), row.name);
    table.columns.push(Column {
        name: row.name.clone(),
        source_type: row.source_type.clone(),
        nullable: row.nullable == "YES",
        default: default_of(row, flavour, next),
        collation: row.collation.clone(),
        comment: said(row.comment.as_deref()),
    });
    let extra = row.extra.to_lowercase();
    if extra.contains("on update") {
        draft.remark(
            subject,
            "is set whenever its row is updated: on the target only a trigger could do that",
        );
    } else if extra.contains("virtual") {
        draft.remark(subject, "is computed whenever it is read: on the target it is stored");
    }
}

fn default_of(row: &ColumnRow, flavour: Flavour, next: Option<i64>) -> ColumnDefault {
    let extra = row.extra.to_lowercase();
    if extra.contains("auto_increment") {
        return ColumnDefault::Identity { always: false, next, counting: None };
    }
    if let Some(generation) = row.generation.as_deref().filter(|generation| !generation.is_empty()) {
        return ColumnDefault::Generated(expression_of(generation, flavour));
    }
    let Some(default) = row.default.as_deref() else { return ColumnDefault::None };
    if flavour.writes_default_expressions() {
        if default.eq_ignore_ascii_case("NULL") {
            return ColumnDefault::None;
        }
        return ColumnDefault::Expression(default.to_owned());
    }
    if extra.contains("default_generated") {
        return ColumnDefault::Expression(expression_of(default, flavour));
    }
    let source_type = row.source_type.to_lowercase();
    let is_a = |types: &[&str]| types.iter().any(|known| source_type.starts_with(*known));
    let is_expression = (is_a(&["timestamp", "datetime"])
        && default.to_uppercase().starts_with("CURRENT_TIMESTAMP"))
        || (is_a(&["bit"]) && default.starts_with("b'"))
        || (is_a(&["binary", "varbinary"]) && default.starts_with("0x"))
        || is_a(&[
            "tinyint",
            "smallint",
            "mediumint",
            "int",
            "bigint",
            "decimal",
            "numeric",
            "float",
            "double",
            "year",
        ]);
    ColumnDefault::Expression(if is_expression { default.to_owned() } else { text_of(default) })
}

/// A text as MySQL writes one.
fn text_of(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

/// An expression as it is, where `information_schema` has one more layer of backslashes on it.
fn expression_of(text: &str, flavour: Flavour) -> String {
    if !flavour.escapes_expressions() {
        return text.to_owned();
    }
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            plain.push(letter);
            continue;
        }
        match letters.next() {
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('0') => plain.push('\0'),
            Some('Z') => plain.push('\u{1a}'),
            Some(other) => plain.push(other),
            None => plain.push('\\'),
        }
    }
    plain
}

fn add_index(draft: &mut Draft<String>, rows: &[IndexPartRow], flavour: Flavour) {
    let Some(first) = rows.first() else { return };
    let Some(table) = draft.table(&first.table) else { return };
    if first.index == "PRIMARY" {
        table.primary_key = rows.iter().filter_map(|row| row.column.clone()).collect();
        let prefixed = rows.iter().any(|row| row.prefix.is_some());
        let subject = format!("the primary key of {}", shown(&table.name));
        if prefixed {
            draft.remark(subject, "is over the beginnings of texts: it becomes one over the whole texts");
        }
        return;
    }
    let parts = rows.iter().map(|row| {
        let expression = match (&row.column, &row.expression) {
            (Some(column), _) => column.clone(),
            (None, Some(expression)) => expression_of(expression, flavour),
            (None, None) => String::new(),
        };
        IndexPart {
            expression,
            is_column: row.column.is_some(),
            descending: row.collation.as_deref() == Some("D"),
            prefix: row.prefix.and_then(|prefix| u32::try_from(prefix).ok()),
        }
    });
    table.indexes.push(Index {
        name: first.index.clone(),
        parts: parts.collect(),
        unique: first.non_unique == 0,
        constraint: false,
        method: first.method.to_lowercase(),
        include: Vec::new(),
        condition: None,
        definition: None,
    });
}

fn add_foreign_key(
    draft: &mut Draft<String>,
    rows: &[ForeignKeyPartRow],
    rules: &HashMap<(&str, &str), &ForeignKeyRow>,
    names: &HashSet<TableName>,
) {
    let Some(first) = rows.first() else { return };
    let Some(table) = draft.table(&first.table) else { return };
    let refers_to = TableName { schema: first.to_schema.clone(), name: first.to_table.clone() };
    if !names.contains(&refers_to) {
        let subject = format!("the constraint {} of {}", first.name, shown(&table.name));
        let text = format!("refers to {}, which is not moved: it is left out", shown(&refers_to));
        draft.remark(subject, text);
        return;
    }
    let rule = rules.get(&(first.table.as_str(), first.name.as_str()));
    let action = |action: &str| (action != "NO ACTION").then(|| action.to_owned());
    table.foreign_keys.push(ForeignKey {
        name: first.name.clone(),
        columns: rows.iter().map(|row| row.column.clone()).collect(),
        refers_to,
        referred: rows.iter().map(|row| row.to_column.clone()).collect(),
        on_delete: rule.and_then(|rule| action(&rule.on_delete)),
        on_update: rule.and_then(|rule| action(&rule.on_update)),
        deferrable: None,
        match_full: false,
    });
}

fn add_check(draft: &mut Draft<String>, row: &CheckRow, flavour: Flavour) {
    let Some(table) = draft.table(&row.table) else { return };
    let subject = format!("the constraint {} of {}", row.name, shown(&table.name));
    if row.enforced == "NO" {
        draft.remark(subject, "is not enforced on the source: it is left out");
    } else if flavour.cuts_checks() && row.clause.chars().count() >= CUT_CHECK_CHARACTERS {
        draft.remark(
            subject,
            "may be cut off by this MariaDB, which tells 64 characters of a check: it is left out",
        );
    } else {
        let expression = expression_of(&row.clause, flavour);
        table.checks.push(Check { name: row.name.clone(), expression });
    }
}

fn views_of(draft: &mut Draft<String>, rows: &Rows) -> Vec<View> {
    let mut views: BTreeMap<TableName, View> = BTreeMap::new();
    for row in &rows.views {
        let name = TableName { schema: row.schema.clone(), name: row.name.clone() };
        if row.query.is_empty() {
            draft.remark(shown(&name), "is a view whose query this user may not see: it is not moved");
            continue;
        }
        if row.check_option != "NONE" {
            let text = format!("is a view WITH {} CHECK OPTION, which is not moved", row.check_option);
            draft.remark(shown(&name), text);
        }
        let view = View {
            name: name.clone(),
            query: row.query.clone(),
            materialized: false,
            options: None,
            indexes: Vec::new(),
            comment: None,
        };
        views.insert(name, view);
    }
    let names: BTreeSet<TableName> = views.keys().cloned().collect();
    let reads: BTreeMap<TableName, BTreeSet<TableName>> = views
        .values()
        .map(|view| (view.name.clone(), names_in(&view.query).filter(|name| names.contains(name)).collect()))
        .collect();
    let (ordered, circular) = in_reading_order(&names, &reads);
    for name in &circular {
        draft.remark(shown(name), "seems to read a view that reads it: it may have to be made by hand");
    }
    ordered.iter().chain(&circular).filter_map(|name| views.remove(name)).collect()
}

/// Whatever is written as `` `a`.`b` ``: MySQL stores a view's query with every table so. It may be a column of an
/// alias too, which does no harm: nobody gives a view's name to it.
fn names_in(query: &str) -> impl Iterator<Item = TableName> {
    // Odd pieces stand between backticks; a doubled backtick is within a name that is then not found.
    let pieces: Vec<&str> = query.split('`').collect();
    let mut names = Vec::new();
    let mut at = 1;
    while at + 2 < pieces.len() {
        if pieces[at + 1] == "." {
            names.push(TableName { schema: pieces[at].to_owned(), name: pieces[at + 2].to_owned() });
        }
        at += 2;
    }
    names.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::catalog::mysql::{OtherRow, ViewRow};

    const MYSQL_5: Flavour = Flavour::MySql(50_744);
    const MYSQL_8: Flavour = Flavour::MySql(80_036);
    const MARIADB: Flavour = Flavour::MariaDb(101_106);

    fn table(of: &str) -> TableRow {
        TableRow {
            schema: "shop".into(),
            name: of.into(),
            kind: "BASE TABLE".into(),
            rows: Some(10),
            bytes: Some(16_384),
            comment: Some(String::new()),
            ..TableRow::default()
        }
    }

    fn column(of: &str, source_type: &str, default: Option<&str>, extra: &str) -> ColumnRow {
        ColumnRow {
            table: "t".into(),
            name: of.into(),
            source_type: source_type.into(),
            nullable: "YES".into(),
            default: default.map(str::to_owned),
            extra: extra.into(),
            ..ColumnRow::default()
        }
    }

    fn expression(flavour: Flavour, source_type: &str, default: &str, extra: &str) -> String {
        match default_of(&column("c", source_type, Some(default), extra), flavour, None) {
            ColumnDefault::Expression(text) => text,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn each_servers_defaults_become_expressions() {
        assert_eq!(expression(MYSQL_5, "varchar(9)", "it's a \\", ""), "'it''s a \\\\'");
        assert_eq!(expression(MYSQL_5, "varchar(9)", "", ""), "''");
        assert_eq!(expression(MYSQL_5, "int(11)", "-7", ""), "-7");
        assert_eq!(expression(MYSQL_5, "bit(3)", "b'101'", ""), "b'101'");
        assert_eq!(expression(MYSQL_5, "datetime(3)", "CURRENT_TIMESTAMP(3)", ""), "CURRENT_TIMESTAMP(3)");
        assert_eq!(expression(MYSQL_5, "varchar(40)", "CURRENT_TIMESTAMP", ""), "'CURRENT_TIMESTAMP'");
        assert_eq!(expression(MYSQL_5, "datetime", "0000-00-00 00:00:00", ""), "'0000-00-00 00:00:00'");
        assert_eq!(expression(MYSQL_8, "char(36)", "uuid()", "DEFAULT_GENERATED"), "uuid()");
        assert_eq!(expression(MYSQL_8, "json", "_utf8mb4\\'{}\\'", "DEFAULT_GENERATED"), "_utf8mb4'{}'");
        assert_eq!(expression(MYSQL_8, "varchar(9)", "a(b)", ""), "'a(b)'");
        assert_eq!(expression(MARIADB, "varchar(9)", "'a'", ""), "'a'");
        assert_eq!(expression(MARIADB, "varchar(9)", "NULL", ""), "None");
        assert_eq!(default_of(&column("c", "int", None, ""), MYSQL_8, None), ColumnDefault::None);
    }

    #[test]
    fn a_table_with_all_that_it_has() {
        let rows = Rows {
            tables: vec![
                TableRow { auto_increment: Some(8), comment: Some("things".into()), ..table("t") },
                TableRow { options: Some("row_format=DYNAMIC partitioned".into()), ..table("o") },
                TableRow { kind: "SEQUENCE".into(), ..table("s") },
            ],
            columns: vec![
                column("id", "int(10) unsigned", None, "auto_increment"),
                column(
                    "at",
                    "timestamp",
                    Some("CURRENT_TIMESTAMP"),
                    "DEFAULT_GENERATED on update CURRENT_TIMESTAMP",
                ),
                ColumnRow {
                    generation: Some("concat(`a`,\\'-\\')".into()),
                    ..column("g", "text", None, "VIRTUAL GENERATED")
                },
                ColumnRow { table: "a_view".into(), ..column("x", "int", None, "") },
            ],
            index_parts: vec![
                IndexPartRow {
                    table: "t".into(),
                    index: "PRIMARY".into(),
                    column: Some("id".into()),
                    ..IndexPartRow::default()
                },
                IndexPartRow {
                    table: "t".into(),
                    index: "words".into(),
                    non_unique: 1,
                    column: Some("g".into()),
                    prefix: Some(20),
                    collation: Some("D".into()),
                    method: "BTREE".into(),
                    ..IndexPartRow::default()
                },
                IndexPartRow {
                    table: "t".into(),
                    index: "words".into(),
                    non_unique: 1,
                    expression: Some("lower(`g`)".into()),
                    method: "BTREE".into(),
                    ..IndexPartRow::default()
                },
            ],
            ..Rows::default()
        };
        let catalog = assemble(MYSQL_8, &rows);
        let [_, t] = catalog.schema.tables.as_slice() else { panic!("two tables") };
        assert_eq!((t.comment.as_deref(), t.estimated_rows), (Some("things"), Some(10)));
        assert_eq!(t.columns.len(), 3);
        let counts = ColumnDefault::Identity { always: false, next: Some(8), counting: None };
        assert_eq!(t.columns[0].default, counts);
        assert_eq!(t.columns[1].default, ColumnDefault::Expression("CURRENT_TIMESTAMP".into()));
        assert_eq!(t.columns[2].default, ColumnDefault::Generated("concat(`a`,'-')".into()));
        assert_eq!(t.primary_key, ["id"]);
        let words = &t.indexes[0];
        assert_eq!((words.method.as_str(), words.unique, words.parts.len()), ("btree", false, 2));
        assert_eq!((words.parts[0].prefix, words.parts[0].descending), (Some(20), true));
        assert!(!words.parts[1].is_column);
        let about: Vec<&str> = catalog.remarks.iter().map(|remark| remark.subject.as_str()).collect();
        assert_eq!(about, ["shop.o", "shop.s", "shop.t.at", "shop.t.g"]);
    }

    #[test]
    fn foreign_keys_and_checks() {
        let part = |name: &str, column: &str, to: &str| ForeignKeyPartRow {
            table: "t".into(),
            name: name.into(),
            column: column.into(),
            to_schema: "shop".into(),
            to_table: to.into(),
            to_column: column.to_uppercase(),
        };
        let check = |name: &str, clause: &str, enforced: &str| CheckRow {
            table: "t".into(),
            name: name.into(),
            clause: clause.into(),
            enforced: enforced.into(),
        };
        let rows = Rows {
            tables: vec![table("t"), table("o")],
            foreign_key_parts: vec![
                part("both", "a", "o"),
                part("both", "b", "o"),
                part("gone", "c", "elsewhere"),
            ],
            foreign_keys: vec![ForeignKeyRow {
                table: "t".into(),
                name: "both".into(),
                on_update: "NO ACTION".into(),
                on_delete: "CASCADE".into(),
            }],
            checks: vec![check("kept", "(`a` <> _utf8mb4\\'x\\')", "YES"), check("paper", "`a` > 0", "NO")],
            others: vec![
                OtherRow { kind: "triggers".into(), count: 2 },
                OtherRow { kind: "events".into(), count: 0 },
            ],
            ..Rows::default()
        };
        let catalog = assemble(MYSQL_8, &rows);
        let t = &catalog.schema.tables[1];
        assert_eq!(t.foreign_keys.len(), 1);
        assert_eq!((t.foreign_keys[0].columns.len(), t.foreign_keys[0].referred[1].as_str()), (2, "B"));
        assert_eq!(
            (t.foreign_keys[0].on_delete.as_deref(), &t.foreign_keys[0].on_update),
            (Some("CASCADE"), &None)
        );
        assert_eq!(t.checks, [Check { name: "kept".into(), expression: "(`a` <> _utf8mb4'x')".into() }]);
        assert_eq!(catalog.remarks.len(), 3, "{:?}", catalog.remarks);

        let long = Rows {
            tables: vec![table("t")],
            checks: vec![check("long", &"x".repeat(64), "YES")],
            ..Rows::default()
        };
        assert!(assemble(Flavour::MariaDb(100_320), &long).schema.tables[0].checks.is_empty());
        assert_eq!(assemble(MARIADB, &long).schema.tables[0].checks.len(), 1);
    }

    #[test]
    fn views_are_ordered_by_what_their_queries_name() {
        let view = |of: &str, query: &str| ViewRow {
            schema: "shop".into(),
            name: of.into(),
            query: query.into(),
            check_option: "NONE".into(),
        };
        let rows = Rows {
            views: vec![
                view("a", "select `b`.`x` AS `x` from `shop`.`b`"),
                view("b", "select `shop`.`t`.`x` AS `x` from `shop`.`t`"),
                view("hidden", ""),
            ],
            ..Rows::default()
        };
        let catalog = assemble(MYSQL_5, &rows);
        let order: Vec<&str> = catalog.schema.views.iter().map(|view| view.name.name.as_str()).collect();
        assert_eq!(order, ["b", "a"]);
        assert_eq!(catalog.remarks[0].subject, "shop.hidden");
    }
}
