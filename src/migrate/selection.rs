//! Which tables are moved: `include_tables` and `exclude_tables`. Pure.
//!
//! A pattern is a name in which `*` stands for any letters or none and `?` for one. With a dot it is `schema.table`,
//! and each half is a pattern; without one it is about the name in whatever schema. Names of PostgreSQL are compared
//! letter by letter, names of MySQL without regard to case. A dot within a schema's name cannot be written: `?` stands
//! for it.
//!
//! In: patterns and a [`Schema`]. Out: the part of it that is selected, and what a person should hear of: patterns that
//! matched nothing, foreign keys that would lead out of the selection.
//!
//! Decisions: no include pattern means everything; exclude wins. Views are selected like tables, by name; whether the
//! tables that a view reads were selected is not looked at: making the view tells. A sequence is selected like a
//! table, or because a default of a selected table names it.

use crate::config::{TableFilter, TablePattern};
use crate::migrate::schema::{Column, ColumnDefault, Schema, Sequence, TableName};
use std::collections::HashSet;

/// How names are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// Letter by letter: PostgreSQL.
    Matters,
    /// `Orders` is `orders`: MySQL.
    Ignored,
}

/// Which list a pattern stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum List {
    /// `include_tables`.
    Include,
    /// `exclude_tables`.
    Exclude,
}

impl std::fmt::Display for List {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Include => "include_tables",
            Self::Exclude => "exclude_tables",
        })
    }
}

/// What to move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

/// What was selected.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Selected {
    /// What is moved, in the order that it had.
    pub schema: Schema,
    /// Tables and views that are not.
    pub left_out: Vec<TableName>,
    /// Patterns that matched no table, view or sequence, with their list; as they were typed.
    pub matched_nothing: Vec<(List, String)>,
    /// Foreign keys of selected tables that refer to others, and are therefore not moved: table and name.
    pub dropped_foreign_keys: Vec<(TableName, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    typed: TablePattern,
    /// `None`: whatever schema.
    schema: Option<Vec<char>>,
    name: Vec<char>,
    case: Case,
}

impl Selection {
    /// What the patterns select, where names are compared so.
    pub fn new(filter: &TableFilter, case: Case) -> Self {
        let all = |patterns: &[TablePattern]| -> Vec<Pattern> {
            patterns.iter().map(|pattern| Pattern::new(pattern, case)).collect()
        };
        Self { include: all(&filter.include), exclude: all(&filter.exclude) }
    }

    /// Whether what has that name is selected.
    fn selects(&self, name: &TableName) -> bool {
        let included = self.include.is_empty() || self.include.iter().any(|pattern| pattern.matches(name));
        included && !self.exclude.iter().any(|pattern| pattern.matches(name))
    }

    /// Takes what is selected.
    pub fn apply(&self, schema: Schema) -> Selected {
        let matched_nothing = self.matched_nothing(&schema);
        let Schema { tables, sequences, views } = schema;
        let mut left_out = Vec::new();
        let mut kept = Vec::new();
        for table in tables {
            if self.selects(&table.name) {
                kept.push(table);
            } else {
                left_out.push(table.name);
            }
        }
        let mut kept_views = Vec::new();
        for view in views {
            if self.selects(&view.name) {
                kept_views.push(view);
            } else {
                left_out.push(view.name);
            }
        }
        let names: HashSet<TableName> = kept.iter().map(|table| table.name.clone()).collect();
        let mut dropped_foreign_keys = Vec::new();
        for table in &mut kept {
            let owner = &table.name;
            table.foreign_keys.retain(|key| {
                let stays = names.contains(&key.refers_to);
                if !stays {
                    dropped_foreign_keys.push((owner.clone(), key.name.clone()));
                }
                stays
            });
        }
        let named: Vec<&str> =
            kept.iter().flat_map(|table| &table.columns).filter_map(asks_a_sequence).collect();
        let needed = |sequence: &Sequence| {
            self.selects(&sequence.name) || named.iter().any(|text| text.contains(&sequence.name.name))
        };
        let kept_sequences: Vec<Sequence> = sequences.into_iter().filter(needed).collect();
        left_out.sort();
        Selected {
            schema: Schema { tables: kept, sequences: kept_sequences, views: kept_views },
            left_out,
            matched_nothing,
            dropped_foreign_keys,
        }
    }

    fn matched_nothing(&self, schema: &Schema) -> Vec<(List, String)> {
        let tables = schema.tables.iter().map(|table| &table.name);
        let views = schema.views.iter().map(|view| &view.name);
        let sequences = schema.sequences.iter().map(|sequence| &sequence.name);
        let names: Vec<&TableName> = tables.chain(views).chain(sequences).collect();
        let include = self.include.iter().map(|pattern| (List::Include, pattern));
        let exclude = self.exclude.iter().map(|pattern| (List::Exclude, pattern));
        include
            .chain(exclude)
            .filter(|(_, pattern)| !names.iter().any(|name| pattern.matches(name)))
            .map(|(list, pattern)| (list, pattern.typed.to_string()))
            .collect()
    }
}

/// A default that asks a sequence of its own accord; an identity or serial column brings its own.
fn asks_a_sequence(column: &Column) -> Option<&str> {
    match &column.default {
        ColumnDefault::Expression(text) if text.contains("nextval(") => Some(text),
        _ => None,
    }
}

impl Pattern {
    fn new(typed: &TablePattern, case: Case) -> Self {
        Self {
            typed: typed.clone(),
            schema: typed.schema.as_deref().map(|schema| letters_of(schema, case)),
            name: letters_of(&typed.name, case),
            case,
        }
    }

    fn matches(&self, name: &TableName) -> bool {
        let schema_fits =
            self.schema.as_ref().is_none_or(|schema| fits(schema, &letters_of(&name.schema, self.case)));
        schema_fits && fits(&self.name, &letters_of(&name.name, self.case))
    }
}

fn letters_of(text: &str, case: Case) -> Vec<char> {
    match case {
        Case::Matters => text.chars().collect(),
        Case::Ignored => text.to_lowercase().chars().collect(),
    }
}

/// Whether the pattern covers the whole text. Where letters differ after a `*`, that `*` takes one letter more; the
/// last `*` alone is gone back to, so that the time is bounded by the product of both lengths.
fn fits(pattern: &[char], text: &[char]) -> bool {
    let (mut in_pattern, mut in_text) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while in_text < text.len() {
        match pattern.get(in_pattern) {
            Some('*') => {
                last_star = Some((in_pattern, in_text));
                in_pattern += 1;
            }
            Some(letter) if *letter == '?' || *letter == text[in_text] => {
                in_pattern += 1;
                in_text += 1;
            }
            _ => {
                let Some((star, taken)) = last_star else { return false };
                last_star = Some((star, taken + 1));
                in_pattern = star + 1;
                in_text = taken + 1;
            }
        }
    }
    pattern[in_pattern..].iter().all(|letter| *letter == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::schema::fixtures;
    use crate::migrate::schema::{ForeignKey, Table, View};
    use proptest::prelude::*;

    fn name(schema: &str, name: &str) -> TableName {
        TableName { schema: schema.to_owned(), name: name.to_owned() }
    }

    fn table(schema: &str, of: &str, refers_to: &[&str]) -> Table {
        let keys = refers_to.iter().map(|to| ForeignKey {
            name: format!("{of}_{to}"),
            columns: vec!["x".to_owned()],
            refers_to: name(schema, to),
            referred: vec!["id".to_owned()],
            on_delete: None,
            on_update: None,
            deferrable: None,
            match_full: false,
        });
        Table {
            name: name(schema, of),
            columns: Vec::new(),
            primary_key: Vec::new(),
            primary_key_name: None,
            indexes: Vec::new(),
            checks: Vec::new(),
            foreign_keys: keys.collect(),
            comment: None,
            estimated_rows: None,
            bytes: None,
        }
    }

    fn selection(include: &[&str], exclude: &[&str], case: Case) -> Selection {
        let read = |patterns: &[&str]| -> Vec<TablePattern> {
            patterns.iter().map(|text| TablePattern::parse(text).unwrap()).collect()
        };
        Selection::new(&TableFilter { include: read(include), exclude: read(exclude) }, case)
    }

    #[test]
    fn patterns_select_by_name_and_schema() {
        let chosen = selection(&["order*", "audit.?og", "*.item_??"], &["*_old"], Case::Matters);
        for (schema, of, expected) in [
            ("public", "orders", true),
            ("public", "orders_old", false),
            ("public", "Orders", false),
            ("public", "reorder", false),
            ("audit", "log", true),
            ("public", "log", false),
            ("audit", "og", false),
            ("x", "item_12", true),
            ("x", "item_123", false),
            ("größe", "item_12", true),
        ] {
            assert_eq!(chosen.selects(&name(schema, of)), expected, "{schema}.{of}");
        }
        assert!(selection(&[], &[], Case::Matters).selects(&name("a", "b")));
        assert!(!selection(&[], &["a.*"], Case::Matters).selects(&name("a", "b")));
        assert!(selection(&["SHOP.Ord*"], &[], Case::Ignored).selects(&name("shop", "oRDERS")));
    }

    #[test]
    fn what_is_selected_and_what_a_person_should_hear_of() {
        let mut orders = table("public", "orders", &["customers", "orders"]);
        orders.columns.push(Column {
            nullable: false,
            default: ColumnDefault::Expression("nextval('public.numbers'::regclass)".to_owned()),
            ..fixtures::column("number", "bigint")
        });
        let sequence =
            |of: &str| Sequence { name: name("public", of), definition: String::new(), next: None };
        let view = |of: &str| {
            let query = "SELECT 1".to_owned();
            View {
                name: name("public", of),
                query,
                materialized: false,
                options: None,
                indexes: Vec::new(),
                comment: None,
            }
        };
        let schema = Schema {
            tables: vec![table("public", "customers", &[]), orders],
            sequences: vec![sequence("numbers"), sequence("others")],
            views: vec![view("order_totals"), view("customer_ages")],
        };
        let selected = selection(&["order*", "nothing*"], &["none"], Case::Matters).apply(schema);
        assert_eq!(selected.schema.tables.len(), 1);
        assert_eq!(selected.schema.tables[0].foreign_keys[0].name, "orders_orders");
        assert_eq!(selected.schema.sequences, [sequence("numbers")]);
        assert_eq!(selected.schema.views, [view("order_totals")]);
        assert_eq!(selected.left_out, [name("public", "customer_ages"), name("public", "customers")]);
        assert_eq!(
            selected.matched_nothing,
            [(List::Include, "nothing*".to_owned()), (List::Exclude, "none".to_owned())]
        );
        assert_eq!(
            selected.dropped_foreign_keys,
            [(name("public", "orders"), "orders_customers".to_owned())]
        );
    }

    /// The definition, without care for time.
    fn fits_by_definition(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), None) => fits_by_definition(rest, text),
            (Some(('*', rest)), Some((_, shorter))) => {
                fits_by_definition(rest, text) || fits_by_definition(pattern, shorter)
            }
            (Some((letter, rest)), Some((other, shorter))) if *letter == '?' || letter == other => {
                fits_by_definition(rest, shorter)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_is_as_defined(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(fits(&pattern, &text), fits_by_definition(&pattern, &text));
        }

        #[test]
        fn a_name_without_signs_selects_itself(schema in "[a-zA-Z_é]{1,12}", of in "[a-zA-Z_é]{1,12}") {
            let own = name(&schema, &of);
            for case in [Case::Matters, Case::Ignored] {
                for pattern in [of.clone(), format!("{schema}.{of}"), format!("{schema}.*"), "*".to_owned()] {
                    let chosen = selection(&[pattern.as_str()], &[], case);
                    prop_assert!(chosen.selects(&own), "{}", pattern);
                    let rest = selection(&[], &[pattern.as_str()], case);
                    prop_assert!(!rest.selects(&own), "{}", pattern);
                }
            }
        }
    }
}
