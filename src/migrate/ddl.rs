//! A source's schema → the statements that make it in the target, and all that they do not make.
//!
//! Goes in: a [`Schema`] and the [`Options`]. Comes out: a [`Ddl`]: statements in four phases, the target's name of
//! every table and column, and what was renamed, refused, left out or must exist already. Always holds: the same
//! input gives the same statements in the same order; every name in them is quoted; each but the drops and the
//! truncations can be run twice, so that an interrupted run begins its phase again; nothing is left out without a
//! note. It runs nothing and asks nothing of either server.
//!
//! What PostgreSQL writes about itself is taken over as it is; what MySQL writes is translated where it means the same
//! here, and else told. Checks come after the rows and are validated apart: a row that MySQL had let in is better kept,
//! and the check told as broken, than lost. A partitioned table is made with its partitions: rows are written into the
//! table, and the target puts each where it belongs.

mod column_types;
mod columns;
mod comments;
mod constraints;
mod existing;
mod expression;
mod functions;
mod index_names;
mod indexes;
mod layout;
mod mysql_lexer;
mod names;
mod partition_indexes;
mod partitions;
mod renaming;
mod sequences;
mod storage;
mod tables;
mod typed;
mod views;

use super::catalog::{Comment, Partitioned, Storage, UserType};
use super::quote;
use super::schema::{Schema, TableName};
use super::types::{Engine, NoteKind};
use crate::config::TargetMode;
use layout::Layout;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

pub use layout::{RefusedColumn, TargetColumn, TargetTable};
pub use names::{Collision, CollisionReason, NameKind};

/// When a statement is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Before the first row. Once only: a run that goes on must not drop or truncate what is there.
    BeforeLoad,
    /// Once its own table's rows are there; it needs no other table's. Of one table in the order given, but for
    /// indexes, which may be built beside each other; of several tables beside each other.
    AfterLoad,
    /// Once `AfterLoad` is over for all tables. Foreign keys first, in the order given; then validations, beside each
    /// other.
    Validate,
    /// At the end, in the order given.
    Last,
}

/// What a statement does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Drops what is there.
    Drop,
    /// Fails where something else has the name of an index that is to be built.
    FreeNames,
    /// Makes a schema.
    Schema,
    /// Makes a type.
    Type,
    /// Makes a sequence, or ties it to its column.
    Sequence,
    /// Makes a table.
    Table,
    /// Makes a partition of a table.
    Partition,
    /// Empties tables.
    Truncate,
    /// Builds an index.
    Index,
    /// Makes an index of a partitioned table, of those that its partitions have: behind them.
    PartitionedIndex,
    /// Makes a primary key, a unique constraint or a check.
    Constraint,
    /// Makes a foreign key.
    ForeignKey,
    /// Validates a check or a foreign key.
    Validation,
    /// Moves a sequence to its next value.
    NextValue,
    /// Says how a table or a partition is stored.
    Storage,
    /// Makes a view.
    View,
    /// Says something of what was made.
    Comment,
}

/// A statement for the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// When it is run.
    pub phase: Phase,
    /// What it does.
    pub kind: Kind,
    /// The table in the source whose rows it belongs to; `None`: no single one.
    pub table: Option<TableName>,
    /// One statement, without a semicolon at its end.
    pub sql: String,
    /// What it makes, for people: `index by_date of shop.orders`.
    pub describes: String,
}

/// Something that is not the same in the target, or not there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Note {
    /// The table in the source; `None`: it is about no table.
    pub table: Option<TableName>,
    /// What it is about: `index by_date`.
    pub about: String,
    /// What becomes of it, as the rest of the sentence.
    pub text: String,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Whose words the schema is in.
    pub engine: Engine,
    /// What happens to tables that are there. Where their rows stay, primary keys are made before the load.
    pub mode: TargetMode,
    /// Schemas of the source's that are called otherwise in the target. Several may become one.
    pub schemas: BTreeMap<String, String>,
    /// Types to make, each after those that it needs. A type without a definition must exist.
    pub types: Vec<UserType>,
    /// What was said of all but tables, columns, partitions and views. What it is on may be left out.
    pub comments: Vec<Comment>,
    /// How tables are partitioned, with PostgreSQL as the source. Those of other tables count for nothing.
    pub partitioned: Vec<Partitioned>,
    /// How tables and partitions are stored, by their names in the source. Those of others count for nothing.
    pub storage: BTreeMap<TableName, Storage>,
    /// Whether to build indexes that are not unique. Unique ones are always built.
    pub indexes: bool,
    /// Whether to make foreign keys.
    pub foreign_keys: bool,
    /// Whether to make checks.
    pub checks: bool,
}

impl Options {
    /// Everything is made, under its own name; no types, and no partitions.
    pub fn new(engine: Engine, mode: TargetMode) -> Self {
        Self {
            engine,
            mode,
            schemas: BTreeMap::new(),
            types: Vec::new(),
            comments: Vec::new(),
            partitioned: Vec::new(),
            storage: BTreeMap::new(),
            indexes: true,
            foreign_keys: true,
            checks: true,
        }
    }
}

/// All that is to be done in the target, and all that is not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct Ddl {
    /// By phase, and in each in an order in which they can be run one after the other.
    pub statements: Vec<Statement>,
    /// What every table that is moved is in the target.
    pub tables: Vec<TargetTable>,
    /// The target's names of all partitions of theirs. Where tables are dropped, so is what has such a name.
    pub partitions: Vec<TableName>,
    /// Sequences that no column owns: their names in the source and in the target.
    pub sequences: Vec<(TableName, TableName)>,
    /// What is not the same. What is lost with a type is told by the column.
    pub notes: Vec<Note>,
    /// What is named otherwise.
    pub collisions: Vec<Collision>,
    /// Columns that the target cannot have. Their tables are left out.
    pub refused: Vec<RefusedColumn>,
    /// What the target must have already, and none of the statements makes, by name.
    pub must_exist: Vec<String>,
}

/// Plans what is made in the target.
pub fn plan(schema: &Schema, options: &Options) -> Ddl {
    let mut out = Out::default();
    let layout = Layout::new(schema, options, &mut out.notes);
    existing::drops(&layout, &mut out);
    tables::schemas(&layout, &mut out);
    sequences::own(&layout, &mut out);
    tables::types(&layout, &mut out);
    tables::tables(&layout, &mut out);
    existing::truncate(&layout, &mut out);
    for laid in &layout.tables {
        match &laid.partitioning {
            None => indexes::indexes(&layout, laid, &mut out),
            Some(tree) => partition_indexes::indexes(&layout, laid, tree, &mut out),
        }
        constraints::checks(&layout, laid, &mut out);
    }
    constraints::foreign_keys(&layout, &mut out);
    constraints::validations(&mut out);
    sequences::next_values(&layout, &mut out);
    storage::afterwards(&layout, &mut out);
    tables::comments(&layout, &mut out);
    views::views(&layout, &mut out);
    comments::comments(&layout, &mut out);
    index_names::must_be_free(&mut out);
    // What was written of one phase stays in its order, but names are free only behind the drops.
    out.statements.sort_by_key(|statement| {
        let turn = match statement.kind {
            Kind::Drop => 0_u8,
            Kind::FreeNames => 1,
            _ => 2,
        };
        (statement.phase, turn)
    });
    Ddl {
        statements: out.statements,
        tables: layout.tables.iter().map(|laid| laid.public()).collect(),
        partitions: partition_names(&layout),
        sequences: sequence_names(&layout),
        notes: out.notes,
        must_exist: must_exist(&layout),
        collisions: layout.collisions,
        refused: layout.refused,
    }
}

impl Ddl {
    /// Has sequences that no column owns go on with other values, by their names in the source.
    pub fn go_on_with(&mut self, next: &BTreeMap<TableName, i64>) {
        let mut statements: BTreeMap<String, String> = BTreeMap::new();
        for (source, target) in &self.sequences {
            if let Some(next) = next.get(source) {
                statements.insert(sequences::next_of(target), sequences::next_value(target, *next));
            }
        }
        for statement in self.statements.iter_mut().filter(|statement| statement.kind == Kind::NextValue) {
            if let (None, Some(sql)) = (&statement.table, statements.get(&statement.describes)) {
                statement.sql.clone_from(sql);
            }
        }
    }
}

fn sequence_names(layout: &Layout<'_>) -> Vec<(TableName, TableName)> {
    let sources = layout.schema.sequences.iter().map(|sequence| sequence.name.clone());
    sources.zip(layout.sequences.iter().cloned()).collect()
}

fn partition_names(layout: &Layout<'_>) -> Vec<TableName> {
    let mut names = Vec::new();
    for laid in &layout.tables {
        names.extend(laid.partitions().iter().map(|partition| partition.name.clone()));
    }
    names
}

/// Types and collations that are named and not made.
fn must_exist(layout: &Layout<'_>) -> Vec<String> {
    let mut names = BTreeSet::new();
    for laid in &layout.tables {
        for note in laid.columns.iter().flat_map(|column| &column.mapped.notes) {
            if let NoteKind::MustExist { name } = &note.kind {
                names.insert(name.clone());
            }
        }
    }
    for user in layout.options.types.iter().filter(|user| user.definition.is_some()) {
        if let Ok(name) = layout.renaming.apply(&user.name) {
            names.remove(&name);
        }
    }
    names.into_iter().collect()
}

/// What is written so far.
#[derive(Debug, Default)]
struct Out {
    statements: Vec<Statement>,
    notes: Vec<Note>,
    /// Of the indexes that are built by a statement of their own.
    index_names: Vec<index_names::IndexName>,
}

impl Out {
    fn say(&mut self, phase: Phase, kind: Kind, table: Option<&TableName>, sql: String, describes: String) {
        self.statements.push(Statement { phase, kind, table: table.cloned(), sql, describes });
    }

    fn note(&mut self, table: Option<&TableName>, about: String, text: impl Into<String>) {
        self.notes.push(Note { table: table.cloned(), about, text: text.into() });
    }
}

/// `sql`, run only where the query `found` finds nothing: for what has no `IF NOT EXISTS` of its own.
fn unless(found: &str, sql: &str) -> String {
    let body = format!("BEGIN IF NOT EXISTS ({found}) THEN {sql}; END IF; END");
    format!("DO {}", quote::dollar_quoted(&body))
}

/// A query that finds a table's constraint of that name.
fn constraint_named(table: &TableName, name: &str) -> String {
    format!("{} AND conname = {}", constraints_of(table), quote::literal(name))
}

/// A query that finds a table's constraints.
fn constraints_of(table: &TableName) -> String {
    let regclass = quote::literal(&quote::qualified(table));
    format!("SELECT 1 FROM pg_catalog.pg_constraint WHERE conrelid = {regclass}::pg_catalog.regclass")
}

#[cfg(test)]
mod tests;
