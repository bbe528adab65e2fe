//! Which name and which type everything gets in the target, before a statement is written.
//!
//! Goes in: a schema and the [`Options`]. Comes out: for each table that can be moved its name, columns and the names
//! of all that belongs to it. Always holds: tables, sequences and views keep their names before indexes do; a table
//! with a column of a refused type is left out as a whole, and told; what PostgreSQL would name by itself (indexes of
//! partitions) gets its name last. It writes no statement.

use super::column_types::{ColumnTypes, resolve};
use super::expression::{Scope, generation, same_name};
use super::names::{Collision, NameKind, Names, Space, Wanted, object_name};
use super::partitions::{self, LaidPartition, Partitioning};
use super::renaming::{Renaming, first_name};
use super::{Note, Options};
use crate::migrate::catalog::Partitioned;
use crate::migrate::quote::identifier;
use crate::migrate::schema::{ColumnDefault, Schema, Table, TableName, View};
use crate::migrate::types::{Engine, Mapped, NoteKind, TypeRefusal, member_check};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What a table of the source's is in the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetTable {
    /// Its name in the source.
    pub source: TableName,
    /// Its name in the target.
    pub target: TableName,
    /// In order of position.
    pub columns: Vec<TargetColumn>,
}

/// What a column of the source's is in the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetColumn {
    /// Its name in the source.
    pub source: String,
    /// Its name in the target.
    pub target: String,
    /// Its type there, and how its values travel.
    pub mapped: Mapped,
    /// The target computes it: no value is written to it.
    pub computed: bool,
}

/// A column whose type the target cannot have. Its table is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedColumn {
    /// Its table in the source.
    pub table: TableName,
    /// Its name.
    pub column: String,
    /// Why, and what to do about it.
    pub refusal: TypeRefusal,
}

/// A table, with the names of all that belongs to it.
#[derive(Debug)]
pub(super) struct Laid<'a> {
    pub(super) source: &'a Table,
    pub(super) name: TableName,
    /// How it is partitioned; `None`: it is a plain table.
    pub(super) partitioning: Option<Partitioning<'a>>,
    pub(super) columns: Vec<TargetColumn>,
    /// For each column what computes it.
    pub(super) generation: Vec<Option<String>>,
    /// For each column its sequence's name.
    pub(super) sequences: Vec<Option<String>>,
    pub(super) primary_key: Option<String>,
    /// For each index its name.
    pub(super) indexes: Vec<String>,
    /// What keeps ENUMs and SETs to their members: name and condition.
    pub(super) member_checks: Vec<(String, String)>,
    /// For each check its name.
    pub(super) checks: Vec<String>,
    /// For each foreign key its name.
    pub(super) foreign_keys: Vec<String>,
}

impl Laid<'_> {
    pub(super) fn column(&self, source: &str) -> Option<&TargetColumn> {
        let exact = self.columns.iter().find(|column| column.source == source);
        exact.or_else(|| self.columns.iter().find(|column| same_name(&column.source, source)))
    }

    /// The target's names of columns of the source's.
    pub(super) fn column_names(&self, sources: &[String]) -> Result<Vec<String>, String> {
        let found = sources.iter().map(|source| {
            let column = self.column(source).map(|column| column.target.clone());
            column.ok_or_else(|| format!("it names the column {source}, which the table has not"))
        });
        found.collect()
    }

    /// Its partitions, each after its parent; none where it is a plain table.
    pub(super) fn partitions(&self) -> &[LaidPartition<'_>] {
        match &self.partitioning {
            Some(tree) => &tree.partitions,
            None => &[],
        }
    }

    /// What an expression of MySQL's about this table may use.
    pub(super) fn scope(&self, computed: bool) -> Scope<'_> {
        let name = &self.source.name;
        let prefixes = vec![vec![name.name.clone()], vec![name.schema.clone(), name.name.clone()]];
        Scope { columns: &self.columns, prefixes, volatile: false, computed }
    }

    pub(super) fn public(&self) -> TargetTable {
        TargetTable {
            source: self.source.name.clone(),
            target: self.name.clone(),
            columns: self.columns.clone(),
        }
    }
}

/// All tables, with all names.
#[derive(Debug)]
pub(super) struct Layout<'a> {
    pub(super) schema: &'a Schema,
    pub(super) options: &'a Options,
    pub(super) tables: Vec<Laid<'a>>,
    /// For each sequence of its own its name.
    pub(super) sequences: Vec<TableName>,
    /// For each view its name.
    pub(super) views: Vec<TableName>,
    /// For each view the names of its indexes.
    pub(super) view_indexes: Vec<Vec<String>>,
    /// The source's schemas, and what they are called.
    pub(super) schemas: BTreeMap<String, String>,
    pub(super) renaming: Renaming,
    pub(super) collisions: Vec<Collision>,
    pub(super) refused: Vec<RefusedColumn>,
    by_name: BTreeMap<TableName, usize>,
}

impl<'a> Layout<'a> {
    /// Gives everything its name. What could not be computed goes to `notes`.
    pub(super) fn new(schema: &'a Schema, options: &'a Options, notes: &mut Vec<Note>) -> Self {
        let (moved, refused) = moved_tables(schema, resolve(options.engine, schema));
        let partitioned = partitions::of_tables(options, moved.iter().map(|(table, _)| &table.name));
        let mut names = Names::default();
        let schemas = target_schemas(schema, options, &partitioned, &mut names);
        let tables: Vec<TableName> = moved
            .iter()
            .map(|(table, _)| relation(&mut names, &schemas, NameKind::Table, &table.name))
            .collect();
        let mut trees: Vec<Option<Partitioning<'a>>> = Vec::with_capacity(tables.len());
        for (tree, root) in partitioned.into_iter().zip(&tables) {
            let name = |source: &TableName| relation(&mut names, &schemas, NameKind::Table, source);
            trees.push(tree.map(|tree| Partitioning::named(tree, root, name)));
        }
        let sequences = schema.sequences.iter();
        let sequences: Vec<TableName> =
            sequences.map(|own| relation(&mut names, &schemas, NameKind::Sequence, &own.name)).collect();
        let views = schema.views.iter();
        let views: Vec<TableName> =
            views.map(|view| relation(&mut names, &schemas, NameKind::View, &view.name)).collect();
        let mut laid: Vec<Laid<'a>> = Vec::with_capacity(moved.len());
        for ((table, mapped), name) in moved.into_iter().zip(tables) {
            laid.push(lay(&mut names, options.engine, table, mapped, name));
        }
        let view_indexes =
            schema.views.iter().zip(&views).map(|(view, name)| name_view_indexes(&mut names, view, name));
        let view_indexes: Vec<Vec<String>> = view_indexes.collect();
        for (table, tree) in laid.iter_mut().zip(trees) {
            let Some(mut tree) = tree else { continue };
            tree.name_indexes(&mut names, table.source);
            table.partitioning = Some(tree);
        }
        let collisions = names.into_collisions();
        let renaming = Renaming::new(&schemas, &collisions);
        for table in &mut laid {
            if options.engine == Engine::Postgres {
                move_types(table, &renaming);
                partitions::move_keys(table, &renaming, notes);
            }
            compute(table, options.engine, &renaming, notes);
        }
        let by_name = laid.iter().enumerate().map(|(at, table)| (table.source.name.clone(), at)).collect();
        Self {
            schema,
            options,
            tables: laid,
            sequences,
            views,
            view_indexes,
            schemas,
            renaming,
            collisions,
            refused,
            by_name,
        }
    }

    /// The place of a table of the source's, if it is moved.
    pub(super) fn position(&self, source: &TableName) -> Option<usize> {
        self.by_name.get(source).copied()
    }

    /// A table of the source's, if it is moved.
    pub(super) fn table(&self, source: &TableName) -> Option<&Laid<'a>> {
        self.position(source).and_then(|at| self.tables.get(at))
    }
}

type Moved<'a> = Vec<(&'a Table, Vec<Mapped>)>;

fn moved_tables(schema: &Schema, mut types: ColumnTypes) -> (Moved<'_>, Vec<RefusedColumn>) {
    let (mut moved, mut refused) = (Vec::new(), Vec::new());
    for table in &schema.tables {
        let before = refused.len();
        let mut mapped = Vec::with_capacity(table.columns.len());
        for (column, found) in table.columns.iter().zip(types.remove(&table.name).unwrap_or_default()) {
            match found {
                Ok(found) => mapped.push(found),
                Err(refusal) => {
                    let (table, column) = (table.name.clone(), column.name.clone());
                    refused.push(RefusedColumn { table, column, refusal });
                }
            }
        }
        if refused.len() == before {
            moved.push((table, mapped));
        }
    }
    (moved, refused)
}

/// All schemas that are used, and what they are called in the target.
fn target_schemas(
    schema: &Schema,
    options: &Options,
    partitioned: &[Option<&Partitioned>],
    names: &mut Names,
) -> BTreeMap<String, String> {
    let tables = schema.tables.iter().map(|table| table.name.schema.clone());
    let sequences = schema.sequences.iter().map(|sequence| sequence.name.schema.clone());
    let views = schema.views.iter().map(|view| view.name.schema.clone());
    let types = options.types.iter().filter_map(|user| first_name(&user.name));
    let partitions = partitioned.iter().flatten().flat_map(|tree| tree.partitions.iter());
    let partitions = partitions.map(|partition| partition.name.schema.clone());
    let used: BTreeSet<String> =
        tables.chain(sequences).chain(views).chain(types).chain(partitions).collect();
    let named = used.into_iter().map(|old| {
        let new = options.schemas.get(&old).cloned();
        let new = new.unwrap_or_else(|| names.schema(&old));
        (old, new)
    });
    named.collect()
}

fn relation(
    names: &mut Names,
    schemas: &BTreeMap<String, String>,
    kind: NameKind,
    source: &TableName,
) -> TableName {
    let schema = schemas.get(&source.schema).unwrap_or(&source.schema).clone();
    let space = Space::Relations(schema.clone());
    let name = names.take(&Wanted { kind, space, table: source, name: &source.name, second: None });
    TableName { schema, name }
}

/// Names for what belongs to one table.
struct Namer<'n> {
    names: &'n mut Names,
    table: &'n TableName,
}

impl Namer<'_> {
    fn take(&mut self, kind: NameKind, space: &Space, name: &str, second: Option<String>) -> String {
        self.names.take(&Wanted { kind, space: space.clone(), table: self.table, name, second })
    }
}

fn name_view_indexes(names: &mut Names, view: &View, target: &TableName) -> Vec<String> {
    let space = Space::Relations(target.schema.clone());
    let mut namer = Namer { names, table: &view.name };
    let named = view.indexes.iter().map(|index| {
        let second = format!("{}_{}", target.name, index.name);
        namer.take(NameKind::Index, &space, &index.name, Some(second))
    });
    named.collect()
}

fn lay<'a>(
    names: &mut Names,
    engine: Engine,
    table: &'a Table,
    mapped: Vec<Mapped>,
    name: TableName,
) -> Laid<'a> {
    let mut namer = Namer { names, table: &table.name };
    let own_columns = Space::Columns(name.clone());
    let relations = Space::Relations(name.schema.clone());
    let constraints = Space::Constraints(name.clone());
    let mut columns = Vec::with_capacity(mapped.len());
    for (column, mapped) in table.columns.iter().zip(mapped) {
        columns.push(TargetColumn {
            source: column.name.clone(),
            target: namer.take(NameKind::Column, &own_columns, &column.name, None),
            mapped,
            computed: matches!(column.default, ColumnDefault::Generated(_)),
        });
    }
    let mut primary_key = None;
    if !table.primary_key.is_empty() {
        let usual = object_name(&name.name, "", "pkey");
        let wanted = table.primary_key_name.clone().unwrap_or_else(|| usual.clone());
        let taken = namer.take(NameKind::Index, &relations, &wanted, Some(usual));
        namer.names.hold(constraints.clone(), &taken, "the primary key");
        primary_key = Some(taken);
    }
    let (mut sequences, mut member_checks) = (Vec::new(), Vec::new());
    for (column, target) in table.columns.iter().zip(&columns) {
        let counts = matches!(column.default, ColumnDefault::Identity { .. } | ColumnDefault::Serial { .. });
        let wanted = object_name(&name.name, &target.target, "seq");
        sequences.push(counts.then(|| namer.take(NameKind::Sequence, &relations, &wanted, None)));
        if let Some(condition) = member_check(engine, &column.source_type, &identifier(&target.target)) {
            let wanted = object_name(&name.name, &target.target, "check");
            member_checks.push((namer.take(NameKind::Constraint, &constraints, &wanted, None), condition));
        }
    }
    let mut indexes = Vec::with_capacity(table.indexes.len());
    for index in &table.indexes {
        let second = format!("{}_{}", name.name, index.name);
        let taken = namer.take(NameKind::Index, &relations, &index.name, Some(second));
        // MySQL's index behind a foreign key has the foreign key's name, and may: it is no constraint.
        if index.constraint {
            namer.names.hold(constraints.clone(), &taken, "an index");
        }
        indexes.push(taken);
    }
    let mut constraint = |wanted: &str| namer.take(NameKind::Constraint, &constraints, wanted, None);
    let checks: Vec<String> = table.checks.iter().map(|check| constraint(&check.name)).collect();
    let foreign_keys: Vec<String> = table.foreign_keys.iter().map(|key| constraint(&key.name)).collect();
    Laid {
        source: table,
        name,
        partitioning: None,
        columns,
        generation: Vec::new(),
        sequences,
        primary_key,
        indexes,
        member_checks,
        checks,
        foreign_keys,
    }
}

/// Types of users, moved into the target's schemas. One that cannot be is left as it is, and must exist so.
fn move_types(laid: &mut Laid<'_>, renaming: &Renaming) {
    for column in &mut laid.columns {
        let Ok(target) = renaming.apply(&column.mapped.target) else { continue };
        column.mapped.target = target;
        for note in &mut column.mapped.notes {
            if let NoteKind::MustExist { name } = &mut note.kind
                && let Ok(moved) = renaming.apply(name)
            {
                note.text = note.text.replace(name.as_str(), &moved);
                *name = moved;
            }
        }
    }
}

/// Finds what computes the computed columns. One that nothing can compute here becomes an ordinary one, with the
/// source's values.
fn compute(laid: &mut Laid<'_>, engine: Engine, renaming: &Renaming, notes: &mut Vec<Note>) {
    let mut found: Vec<Option<Result<String, String>>> = Vec::with_capacity(laid.columns.len());
    for (source, column) in laid.source.columns.iter().zip(&laid.columns) {
        found.push(match (&source.default, engine) {
            (ColumnDefault::Generated(text), Engine::Postgres) => Some(renaming.apply(text)),
            (ColumnDefault::Generated(text), Engine::MySql) => {
                Some(generation(text, &laid.scope(false), &column.mapped.target))
            }
            _ => None,
        });
    }
    for (column, found) in laid.columns.iter_mut().zip(found) {
        let sql = match found {
            None => None,
            Some(Ok(sql)) => Some(sql),
            Some(Err(why)) => {
                notes.push(Note {
                    table: Some(laid.source.name.clone()),
                    about: format!("column {}", column.source),
                    text: format!(
                        "is no longer computed; it gets the values that it has in the source: {why}"
                    ),
                });
                None
            }
        };
        column.computed = sql.is_some();
        laid.generation.push(sql);
    }
}
