//! What a migration will do, before it does anything.
//!
//! In: a source's catalog and the configuration. Out: a [`Plan`]: the tables with their numbers, the target's
//! statements, and all that a person should hear first. Pure: the same catalog and configuration give the same plan,
//! which is how a run that goes on knows that its source is still what it was ([`Plan::hash`]).
//!
//! Decisions: tables are numbered by size, the largest first, since they are begun in that order and their indexes take
//! longest. A type that the target cannot have stops the run: to leave a table out is a person's choice.

use super::catalog::{Catalog, Relation, Remark};
use super::ddl::{self, Ddl, Note, Options, Phase, RefusedColumn, TargetColumn};
use super::schema::{Table, TableName};
use super::selection::{Case, List, Selection, SelectionError};
use super::types::{Engine, Transfer};
use crate::config::{DatabaseEngine, MigrationConfig, TablePattern, TargetMode};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A pattern cannot be read.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// Nothing is left to move.
    #[error("nothing is to be moved: {why}")]
    Nothing {
        /// Why.
        why: String,
    },
    /// Columns have types that the target cannot have.
    #[error("{} of the source's columns have a type that PostgreSQL cannot hold", refused.len())]
    Refused {
        /// Which, why, and what to do.
        refused: Vec<RefusedColumn>,
    },
    /// Rows cannot be replaced without a key.
    #[error("target_mode upsert needs a primary key, and these tables have none: {}", tables.join(", "))]
    NoKey {
        /// The tables.
        tables: Vec<String>,
    },
}

/// A table of a plan.
#[derive(Debug, Clone)]
pub struct PlannedTable {
    /// Its name in the source.
    pub source: TableName,
    /// Its name in the target.
    pub target: TableName,
    /// The columns that are written: their names in the source and in the target.
    pub columns: Vec<(String, String)>,
    /// All columns, with their types in the target.
    pub laid: Vec<TargetColumn>,
    /// The primary key's columns in the target.
    pub key: Vec<String>,
    /// Whether rows are forwarded without being looked at.
    pub binary: bool,
    /// What its rows are read from.
    pub relations: Vec<Relation>,
    /// As the source has it.
    pub definition: Table,
    /// Rows, as far as the source knows; else guessed from their bytes.
    pub rows: u64,
    /// Bytes of them in the source.
    pub bytes: u64,
}

/// What a migration will do.
#[derive(Debug, Clone)]
#[must_use]
pub struct Plan {
    /// Whose words the source speaks.
    pub engine: Engine,
    /// The tables; a table's number is its place.
    pub tables: Vec<PlannedTable>,
    /// The target's statements.
    pub ddl: Ddl,
    /// What cannot be moved, or becomes something else.
    pub remarks: Vec<Remark>,
    /// Tables and views that the patterns leave out.
    pub left_out: Vec<TableName>,
    /// Patterns that fit nothing: perhaps mistyped.
    pub matched_nothing: Vec<(String, String)>,
    /// Foreign keys that would lead out of what is moved: table and name.
    pub dropped_foreign_keys: Vec<(TableName, String)>,
}

/// Bytes of a row that nobody has counted.
const GUESSED_ROW_BYTES: u64 = 100;

/// Makes the plan.
pub fn make(catalog: Catalog, config: &MigrationConfig) -> Result<Plan, PlanError> {
    let engine = match config.source.engine {
        DatabaseEngine::Postgres => Engine::Postgres,
        DatabaseEngine::MySql | DatabaseEngine::MariaDb => Engine::MySql,
    };
    let Catalog { mut schema, relations, types, mut remarks, partitioned } = catalog;
    remarks.extend(partitioned.iter().map(|table| Remark {
        subject: super::quote::shown(&table.table),
        text: format!("is partitioned by {}: it becomes one table with all rows", table.key),
    }));
    let wanted = |name: &TableName| name.schema == config.source.schema;
    schema.tables.retain(|table| wanted(&table.name));
    schema.views.retain(|view| wanted(&view.name));
    schema.sequences.retain(|sequence| wanted(&sequence.name));
    let case = if engine == Engine::Postgres { Case::Matters } else { Case::Ignored };
    let typed = |patterns: &[TablePattern]| patterns.iter().map(ToString::to_string).collect::<Vec<_>>();
    let filter = &config.settings.tables;
    let selected = Selection::new(&typed(&filter.include), &typed(&filter.exclude), case)?.apply(schema);
    let options = options_of(engine, config, types);
    let ddl = ddl::plan(&selected.schema, &options);
    if !ddl.refused.is_empty() {
        return Err(PlanError::Refused { refused: ddl.refused });
    }
    let by_name: BTreeMap<TableName, Table> =
        selected.schema.tables.into_iter().map(|table| (table.name.clone(), table)).collect();
    let mut tables = planned(&ddl, by_name, &relations);
    tables.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.source.cmp(&b.source)));
    if tables.is_empty() && ddl.statements.is_empty() {
        let why = format!("the source's schema {} holds nothing that is selected", config.source.schema);
        return Err(PlanError::Nothing { why });
    }
    let keyless: Vec<String> = tables
        .iter()
        .filter(|table| table.key.is_empty())
        .map(|table| super::quote::shown(&table.source))
        .collect();
    if config.settings.target_mode == TargetMode::Upsert && !keyless.is_empty() {
        return Err(PlanError::NoKey { tables: keyless });
    }
    let list = |list: List| list.to_string();
    Ok(Plan {
        engine,
        tables,
        ddl,
        remarks,
        left_out: selected.left_out,
        matched_nothing: selected
            .matched_nothing
            .into_iter()
            .map(|(of, pattern)| (list(of), pattern))
            .collect(),
        dropped_foreign_keys: selected.dropped_foreign_keys,
    })
}

fn options_of(engine: Engine, config: &MigrationConfig, types: Vec<super::catalog::UserType>) -> Options {
    let settings = &config.settings;
    let mode = match settings.target_mode {
        TargetMode::DropRecreate => ddl::TargetMode::DropRecreate,
        TargetMode::Truncate => ddl::TargetMode::Truncate,
        // Both leave what is there, and want the key before the rows.
        TargetMode::Append | TargetMode::Upsert => ddl::TargetMode::Upsert,
    };
    let mut schemas = BTreeMap::new();
    if config.source.schema != config.target.schema {
        schemas.insert(config.source.schema.clone(), config.target.schema.clone());
    }
    Options {
        schemas,
        types,
        indexes: settings.create_indexes,
        foreign_keys: settings.create_foreign_keys,
        checks: settings.create_check_constraints,
        ..Options::new(engine, mode)
    }
}

fn planned(
    ddl: &Ddl,
    mut by_name: BTreeMap<TableName, Table>,
    relations: &BTreeMap<TableName, Vec<Relation>>,
) -> Vec<PlannedTable> {
    let mut tables = Vec::with_capacity(ddl.tables.len());
    for laid in &ddl.tables {
        let Some(definition) = by_name.remove(&laid.source) else { continue };
        let written = laid.columns.iter().filter(|column| !column.computed);
        let key = definition.primary_key.iter().filter_map(|name| {
            let column = laid.columns.iter().find(|column| column.source == *name)?;
            Some(column.target.clone())
        });
        let relations = relations.get(&laid.source).cloned().unwrap_or_default();
        let bytes = relations.iter().filter_map(|relation| relation.bytes).sum();
        tables.push(PlannedTable {
            source: laid.source.clone(),
            target: laid.target.clone(),
            binary: written.clone().all(|column| column.mapped.transfer == Transfer::Binary),
            columns: written.map(|column| (column.source.clone(), column.target.clone())).collect(),
            laid: laid.columns.clone(),
            key: key.collect(),
            rows: relations.iter().map(rows_of).sum(),
            bytes,
            relations,
            definition,
        });
    }
    tables
}

/// Rows of a relation, counted by the source or guessed.
pub(crate) fn rows_of(relation: &Relation) -> u64 {
    relation.estimated_rows.unwrap_or_else(|| relation.bytes.unwrap_or(0) / GUESSED_ROW_BYTES)
}

impl Plan {
    /// The statements of a phase.
    pub fn statements(&self, phase: Phase) -> impl Iterator<Item = &ddl::Statement> {
        self.ddl.statements.iter().filter(move |statement| statement.phase == phase)
    }

    /// What is the same in two plans that move the same into the same: tables, columns and statements. The values that
    /// sequences go on with, and sizes, change while a source is used, and are not in it.
    pub fn hash(&self) -> String {
        /// Its names, its columns' names, and whether its rows travel as they are.
        type SameTable<'a> = (&'a TableName, &'a TableName, &'a [(String, String)], bool);
        #[derive(Serialize)]
        struct Same<'a> {
            tables: Vec<SameTable<'a>>,
            statements: Vec<&'a str>,
        }
        let mut tables: Vec<_> = self
            .tables
            .iter()
            .map(|table| (&table.source, &table.target, table.columns.as_slice(), table.binary))
            .collect();
        tables.sort();
        let lasting = |statement: &&ddl::Statement| statement.kind != ddl::Kind::NextValue;
        let statements = self.ddl.statements.iter().filter(lasting).map(|statement| statement.sql.as_str());
        let same = Same { tables, statements: statements.collect() };
        let text = serde_json::to_string(&same).expect("names and texts are JSON");
        let mut hash = String::with_capacity(64);
        for byte in Sha256::digest(text.as_bytes()) {
            let _ = write!(hash, "{byte:02x}");
        }
        hash
    }

    /// What is not the same in the target, with what it is about.
    pub fn notes(&self) -> &[Note] {
        &self.ddl.notes
    }
}
