//! What a plan does, as data for programs and as text for people. Pure.
//!
//! In: a [`Plan`] and the configuration. Out: an [`Outline`]. Always holds: all that is lost, renamed, left out or must
//! be there first is in it, whole in the data and cut only in the text, where it says how much was cut. It says nothing
//! of the target's present content: `target_look` does.

use super::figures::{MOST_NAMES, counted, listed, named, sized};
use crate::cli::render;
use crate::config::{MigrationConfig, MigrationSettings};
use crate::migrate::ddl::{Kind, Statement};
use crate::migrate::plan::{Plan, PlannedTable};
use crate::migrate::quote::shown;
use crate::migrate::ranges::{Extent, everything};
use crate::migrate::schema::TableName;
use crate::migrate::types::{Engine, NoteKind};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Tables that the text shows, the largest first.
const MOST_TABLES: usize = 40;
/// Lines that the text shows of a list of sentences.
const MOST_LINES: usize = 40;

/// What a plan does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Outline {
    /// Without a password.
    pub(super) source: String,
    pub(super) source_schema: String,
    pub(super) target: String,
    pub(super) target_schema: String,
    pub(super) target_mode: &'static str,
    /// As far as the source knows.
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// The largest first.
    pub(super) tables: Vec<OutlinedTable>,
    /// What is made, and how many of each.
    pub(super) makes: Vec<Made>,
    /// What the types of columns lose.
    pub(super) types: Vec<TypeNotes>,
    /// What is named otherwise in the target, and why.
    pub(super) renamed: Vec<String>,
    /// What else is not the same.
    pub(super) not_the_same: Vec<String>,
    /// What the target must have already.
    pub(super) must_exist: Vec<String>,
    /// Tables and views that the patterns leave out.
    pub(super) left_out: Vec<String>,
    pub(super) matched_nothing: Vec<NoMatch>,
    /// Foreign keys that would lead out of what is moved.
    pub(super) dropped_foreign_keys: Vec<String>,
    /// Tables without a primary key, as the source names them.
    pub(super) keyless: Vec<String>,
    /// What is allowed and yet may not be meant.
    pub(super) warnings: Vec<String>,
}

/// A table of a plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct OutlinedTable {
    pub(super) source: String,
    pub(super) target: String,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// How its rows are cut.
    pub(super) read: String,
    /// `binary` or `text`.
    pub(super) travels: &'static str,
    /// The primary key's columns in the target.
    pub(super) key: Vec<String>,
    pub(super) indexes: usize,
    pub(super) checks: usize,
    pub(super) foreign_keys: usize,
}

/// So many of something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Made {
    pub(super) what: &'static str,
    pub(super) count: u64,
}

/// Columns that lose the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct TypeNotes {
    /// Their type in the target.
    pub(super) target_type: String,
    pub(super) text: String,
    pub(super) columns: Vec<String>,
}

/// A pattern that fits nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct NoMatch {
    /// `include_tables` or `exclude_tables`.
    pub(super) list: String,
    pub(super) pattern: String,
}

impl Outline {
    /// Outlines a plan.
    pub(super) fn new(plan: &Plan, config: &MigrationConfig) -> Self {
        let remarks = plan.remarks.iter().map(|remark| format!("{} {}", remark.subject, remark.text));
        let notes = plan.notes().iter().map(|note| {
            let of = note.table.as_ref().map(|table| format!("{}: ", shown(table))).unwrap_or_default();
            format!("{of}{} {}", note.about, note.text)
        });
        let leading_out = |(table, name): &(TableName, String)| format!("{name} of {}", shown(table));
        let no_match =
            |(list, pattern): &(String, String)| NoMatch { list: list.clone(), pattern: pattern.clone() };
        Self {
            source: config.source.to_string(),
            source_schema: config.source.schema.clone(),
            target: config.target.to_string(),
            target_schema: config.target.schema.clone(),
            target_mode: config.settings.target_mode.as_str(),
            rows: plan.tables.iter().map(|table| table.rows).fold(0, u64::saturating_add),
            bytes: plan.tables.iter().map(|table| table.bytes).fold(0, u64::saturating_add),
            tables: plan.tables.iter().map(|table| outlined(table, plan.engine, &config.settings)).collect(),
            makes: makes(&plan.ddl.statements),
            types: type_notes(plan),
            renamed: plan.ddl.collisions.iter().map(ToString::to_string).collect(),
            not_the_same: remarks.chain(notes).collect(),
            must_exist: plan.ddl.must_exist.clone(),
            left_out: plan.left_out.iter().map(shown).collect(),
            matched_nothing: plan.matched_nothing.iter().map(no_match).collect(),
            dropped_foreign_keys: plan.dropped_foreign_keys.iter().map(leading_out).collect(),
            keyless: plan
                .tables
                .iter()
                .filter(|table| table.key.is_empty())
                .map(|table| shown(&table.source))
                .collect(),
            warnings: config.warnings(),
        }
    }

    /// The names of the tables in the target; those of partitions too, where what has them is dropped.
    pub(super) fn target_names(plan: &Plan) -> Vec<TableName> {
        let drops = plan.ddl.statements.iter().any(|statement| statement.kind == Kind::Drop);
        let partitions = plan.ddl.partitions.iter().filter(|_| drops);
        plan.tables.iter().map(|table| &table.target).chain(partitions).cloned().collect()
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "{}, schema {} → {}, schema {} ({})\n{} with about {}, {}\n",
            self.source,
            self.source_schema,
            self.target,
            self.target_schema,
            self.target_mode,
            named(self.tables.len() as u64, "table"),
            named(self.rows, "row"),
            sized(self.bytes),
        );
        if !self.tables.is_empty() {
            let _ = writeln!(text, "{}", self.table_of_tables());
        }
        if let Some(more) = self.tables.get(MOST_TABLES..).filter(|more| !more.is_empty()) {
            let rows = more.iter().map(|table| table.rows).fold(0, u64::saturating_add);
            let tables = named(more.len() as u64, "smaller table");
            let _ = writeln!(text, "and {tables} with about {}", named(rows, "row"));
        }
        let made: Vec<String> = self.makes.iter().map(|made| named(made.count, made.what)).collect();
        if !made.is_empty() {
            let _ = writeln!(text, "\nMakes {}.", made.join(", "));
        }
        self.lists(&mut text);
        text
    }

    fn table_of_tables(&self) -> comfy_table::Table {
        let mut rows = render::table(&["table", "rows", "size", "is read", "travels as"]);
        for table in self.tables.iter().take(MOST_TABLES) {
            let name = if table.source == table.target {
                table.source.clone()
            } else {
                format!("{} → {}", table.source, table.target)
            };
            let travels = table.travels.to_owned();
            rows.add_row(vec![name, counted(table.rows), sized(table.bytes), table.read.clone(), travels]);
        }
        rows
    }

    fn lists(&self, text: &mut String) {
        let types: Vec<String> = self
            .types
            .iter()
            .map(|notes| {
                format!("{}: {} ({})", notes.target_type, notes.text, listed(&notes.columns, MOST_NAMES))
            })
            .collect();
        section(text, "Types that are not the same in the target", &types);
        section(text, "Named otherwise in the target", &self.renamed);
        section(text, "Not the same, or not moved", &self.not_the_same);
        let leading_out = "Foreign keys that are not made, because they lead out of what is moved";
        section(text, leading_out, &self.dropped_foreign_keys);
        section(text, "Must be in the target before the run", &self.must_exist);
        let keyless =
            "Without a primary key: begun anew where a run goes on, and differences are counted, not named";
        section(text, keyless, &self.keyless);
        if !self.left_out.is_empty() {
            let _ = writeln!(text, "\nLeft out as the file says: {}.", listed(&self.left_out, MOST_NAMES));
        }
        let patterns: Vec<String> =
            self.matched_nothing.iter().map(|one| format!("{}: {}", one.list, one.pattern)).collect();
        section(text, "Patterns that fit nothing; mistyped?", &patterns);
        section(text, "Mind", &self.warnings);
    }
}

/// A heading and a line for each; nothing where there is none.
fn section(text: &mut String, heading: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{heading}:");
    for line in lines.iter().take(MOST_LINES) {
        let _ = writeln!(text, "  {line}");
    }
    if lines.len() > MOST_LINES {
        let _ = writeln!(
            text,
            "  and {} more (--json has all of them)",
            counted((lines.len() - MOST_LINES) as u64)
        );
    }
}

fn outlined(table: &PlannedTable, engine: Engine, settings: &MigrationSettings) -> OutlinedTable {
    OutlinedTable {
        source: shown(&table.source),
        target: shown(&table.target),
        rows: table.rows,
        bytes: table.bytes,
        read: read(table, engine, settings),
        travels: if table.binary { "binary" } else { "text" },
        key: table.key.clone(),
        indexes: table.definition.indexes.len(),
        checks: table.definition.checks.len(),
        foreign_keys: table.definition.foreign_keys.len(),
    }
}

/// `by id, about 40 chunks`; `12 partitions by blocks, about 90 chunks`; `in one chunk`.
fn read(table: &PlannedTable, engine: Engine, settings: &MigrationSettings) -> String {
    let Some(first) = table.relations.first() else { return "has no rows to read".to_owned() };
    let keeps_rows = settings.target_mode.keeps_rows();
    let how = match everything(&table.definition, engine, first.blocks, keeps_rows) {
        Extent::Integer { column, .. } => Some(format!("by {column}")),
        Extent::Keyset { columns, .. } => Some(format!("by ({})", columns.join(", "))),
        Extent::Blocks { .. } => Some("by blocks".to_owned()),
        Extent::Whole => None,
    };
    let partitions = table.relations.len() as u64;
    let chunks = table.rows.div_ceil(u64::from(settings.chunk_size).max(1)).max(partitions);
    match (how, partitions) {
        (None, 1) => "in one chunk".to_owned(),
        (None, _) => format!("{partitions} partitions, a chunk each"),
        (Some(_), 1) if chunks == 1 => "in one chunk".to_owned(),
        (Some(how), 1) => format!("{how}, about {} chunks", counted(chunks)),
        (Some(how), _) => format!("{partitions} partitions {how}, about {} chunks", counted(chunks)),
    }
}

/// What is made, in the order in which it is.
fn makes(statements: &[Statement]) -> Vec<Made> {
    const WORDS: [&str; 11] = [
        "type",
        "sequence",
        "table",
        "partition",
        "index",
        "primary key",
        "unique constraint",
        "check",
        "other constraint",
        "foreign key",
        "view",
    ];
    let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
    for statement in statements {
        if let Some(what) = what_of(statement) {
            *counts.entry(what).or_default() += 1;
        }
    }
    let found =
        WORDS.into_iter().filter_map(|what| counts.get(what).map(|count| Made { what, count: *count }));
    found.collect()
}

fn what_of(statement: &Statement) -> Option<&'static str> {
    let describes = statement.describes.as_str();
    match statement.kind {
        Kind::Type => Some("type"),
        // Others tie one to its column.
        Kind::Sequence if statement.sql.starts_with("CREATE") => Some("sequence"),
        Kind::Table => Some("table"),
        Kind::Partition => Some("partition"),
        Kind::Index | Kind::PartitionedIndex => Some("index"),
        Kind::Constraint if describes.starts_with("primary key") => Some("primary key"),
        Kind::Constraint if describes.starts_with("unique") => Some("unique constraint"),
        Kind::Constraint if describes.starts_with("check") => Some("check"),
        Kind::Constraint => Some("other constraint"),
        Kind::ForeignKey => Some("foreign key"),
        Kind::View => Some("view"),
        Kind::Drop
        | Kind::FreeNames
        | Kind::Schema
        | Kind::Sequence
        | Kind::Truncate
        | Kind::Validation
        | Kind::NextValue
        | Kind::Storage
        | Kind::Comment => None,
    }
}

/// What types lose, with the columns that lose the same together.
fn type_notes(plan: &Plan) -> Vec<TypeNotes> {
    let mut groups: BTreeMap<(NoteKind, String, String), Vec<String>> = BTreeMap::new();
    for table in &plan.ddl.tables {
        for column in &table.columns {
            for note in &column.mapped.notes {
                // Told apart, and once for all columns.
                if matches!(note.kind, NoteKind::MustExist { .. }) {
                    continue;
                }
                let group = (note.kind.clone(), column.mapped.target.clone(), note.text.clone());
                groups.entry(group).or_default().push(format!("{}.{}", shown(&table.source), column.source));
            }
        }
    }
    groups
        .into_iter()
        .map(|((_, target_type, text), columns)| TypeNotes { target_type, text, columns })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{config, plan};
    use super::*;

    #[test]
    fn a_plan_is_outlined() {
        let outline = Outline::new(&plan(), &config(""));
        assert_eq!((outline.rows, outline.bytes), (1_200_010, 100_008_192));
        let orders = outline.tables.first().unwrap();
        assert_eq!(
            (orders.source.as_str(), orders.read.as_str()),
            ("public.orders", "by id, about 20 chunks")
        );
        assert_eq!((orders.travels, orders.key.join(", ")), ("binary", "id".to_owned()));
        assert_eq!(outline.tables[1].read, "by blocks, about 4 chunks");
        assert_eq!(outline.tables[2].read, "in one chunk");
        let count = |what: &str| outline.makes.iter().find(|made| made.what == what).map(|made| made.count);
        assert_eq!((count("table"), count("primary key"), count("view")), (Some(3), Some(2), None));
        assert_eq!(outline.types.len(), 1);
        assert_eq!(outline.types[0].columns, ["public.orders.paid"]);
        assert_eq!(outline.keyless, ["public.log"]);
        assert!(outline.text().contains("Without a primary key: "), "{}", outline.text());
    }

    #[test]
    fn the_text_names_what_is_lost() {
        let text = Outline::new(&plan(), &config("")).text();
        for line in [
            "postgres://ann@old.example:5432/shop, schema public → postgres://leverd@new.example:5432/shop, schema \
             public (drop_recreate)",
            "3 tables with about 1,200,010 rows, 95 MB",
            "  money: the amounts are the same only under the same lc_monetary (public.orders.paid)",
        ] {
            assert!(text.lines().any(|found| found == line), "no line\n{line}\nin\n{text}");
        }
        assert!(text.contains("Makes 3 tables, 2 indexes, 2 primary keys"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn where_rows_are_kept_a_table_without_a_key_is_one_chunk() {
        let outline = Outline::new(&plan(), &config("  target_mode: append\n"));
        let log = outline.tables.iter().find(|table| table.source == "public.log").unwrap();
        assert_eq!(log.read, "in one chunk");
    }

    #[test]
    fn partitions_are_named_where_what_has_their_names_is_dropped() {
        let mut plan = plan();
        plan.ddl.partitions.push(TableName { schema: "old".to_owned(), name: "log_2024".to_owned() });
        let last = |plan: &Plan| Outline::target_names(plan).pop().map(|name| name.name);
        assert_eq!(last(&plan).as_deref(), Some("log_2024"));
        plan.ddl.statements.retain(|statement| statement.kind != Kind::Drop);
        assert_ne!(last(&plan).as_deref(), Some("log_2024"));
        // The run takes both schemas for itself.
        assert_eq!(plan.target_schemas("public"), ["public", "old"]);
    }

    #[test]
    fn a_long_list_is_cut_in_the_text_alone() {
        let mut outline = Outline::new(&plan(), &config(""));
        outline.must_exist = (0..50).map(|number| format!("type {number}")).collect();
        let text = outline.text();
        assert!(text.contains("  type 39\n  and 10 more (--json has all of them)\n"), "{text}");
        assert_eq!(serde_json::to_value(&outline).unwrap()["must_exist"].as_array().unwrap().len(), 50);
    }
}
