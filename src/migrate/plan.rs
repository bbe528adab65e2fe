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
use super::selection::{Case, List, Selection};
use super::types::{Engine, Transfer};
use crate::config::{DatabaseEngine, MigrationConfig, TargetMode};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
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
    /// Whether rows travel in COPY's binary form; a PostgreSQL's are forwarded without being looked at then.
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
    let Catalog { mut schema, relations, types, comments, storage, mut remarks, partitioned } = catalog;
    let wanted = |name: &TableName| name.schema == config.source.schema;
    for tree in partitioned.iter().filter(|tree| !wanted(&tree.table)) {
        let of = super::quote::shown(&tree.table);
        let here = tree.partitions.iter().filter(|partition| wanted(&partition.name));
        remarks.extend(here.map(|partition| Remark {
            subject: super::quote::shown(&partition.name),
            text: format!("is a partition of {of}, which is in another schema: it is left out"),
        }));
    }
    schema.tables.retain(|table| wanted(&table.name));
    schema.views.retain(|view| wanted(&view.name));
    schema.sequences.retain(|sequence| wanted(&sequence.name));
    let case = if engine == Engine::Postgres { Case::Matters } else { Case::Ignored };
    let selected = Selection::new(&config.settings.tables, case).apply(schema);
    let options = Options { types, comments, storage, partitioned, ..options_of(engine, config) };
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

fn options_of(engine: Engine, config: &MigrationConfig) -> Options {
    let settings = &config.settings;
    let mut schemas = BTreeMap::new();
    if config.source.schema != config.target.schema {
        schemas.insert(config.source.schema.clone(), config.target.schema.clone());
    }
    Options {
        schemas,
        indexes: settings.create_indexes,
        foreign_keys: settings.create_foreign_keys,
        checks: settings.create_check_constraints,
        ..Options::new(engine, settings.target_mode)
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

impl PlannedTable {
    /// Its columns' types, and the power of 1.25 that is next to its bytes a row.
    fn kind(&self) -> (Vec<&str>, u32) {
        let types = self.laid.iter().map(|column| column.mapped.target.as_str()).collect();
        let row_bytes = self.bytes as f64 / self.rows.max(1) as f64;
        (types, row_bytes.max(1.0).log(1.25).round() as u32)
    }
}

/// Rows of a relation, counted by the source or guessed.
pub(crate) fn rows_of(relation: &Relation) -> u64 {
    relation.estimated_rows.unwrap_or_else(|| relation.bytes.unwrap_or(0) / GUESSED_ROW_BYTES)
}

impl Plan {
    /// For each table the number of the first one like it: as many bytes a row, but for a quarter, in columns of the
    /// same types. Rows per second of like tables can be compared.
    pub fn kinds(&self) -> Vec<u32> {
        let mut first = BTreeMap::new();
        (0_u32..)
            .zip(&self.tables)
            .map(|(number, table)| *first.entry(table.kind()).or_insert(number))
            .collect()
    }

    /// The statements of a phase.
    pub fn statements(&self, phase: Phase) -> impl Iterator<Item = &ddl::Statement> {
        self.ddl.statements.iter().filter(move |statement| statement.phase == phase)
    }

    /// The schemas of the target that tables and their partitions are in, `configured` first.
    pub fn target_schemas(&self, configured: &str) -> Vec<String> {
        let mut schemas = vec![configured.to_owned()];
        for name in self.tables.iter().map(|table| &table.target).chain(&self.ddl.partitions) {
            if !schemas.contains(&name.schema) {
                schemas.push(name.schema.clone());
            }
        }
        schemas
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
        let forwarded = |table: &PlannedTable| table.binary && self.engine == Engine::Postgres;
        let mut tables: Vec<_> = self
            .tables
            .iter()
            .map(|table| (&table.source, &table.target, table.columns.as_slice(), forwarded(table)))
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

    /// From now on sequences go on as `newer` has it, a plan of the same that was made later. One that is not in it
    /// stays as it was.
    pub(crate) fn take_positions(&mut self, newer: &Self) {
        let is_position = |statement: &&ddl::Statement| statement.kind == ddl::Kind::NextValue;
        let newest: BTreeMap<&str, &str> = newer
            .ddl
            .statements
            .iter()
            .filter(is_position)
            .map(|statement| (statement.describes.as_str(), statement.sql.as_str()))
            .collect();
        for statement in &mut self.ddl.statements {
            let is_position = statement.kind == ddl::Kind::NextValue;
            if let Some(sql) = newest.get(statement.describes.as_str()).filter(|_| is_position) {
                statement.sql = (*sql).to_owned();
            }
        }
    }

    /// What is not the same in the target, with what it is about.
    pub fn notes(&self) -> &[Note] {
        &self.ddl.notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A view, and behind it these positions of sequences: what they are about, and their statements.
    fn plan_with(positions: &[(&str, &str)]) -> Plan {
        let statement = |kind: ddl::Kind, describes: &str, sql: &str| ddl::Statement {
            phase: Phase::Last,
            kind,
            table: None,
            sql: sql.to_owned(),
            describes: describes.to_owned(),
        };
        let mut statements = vec![statement(ddl::Kind::View, "a", "CREATE VIEW a")];
        let positions = positions.iter();
        statements.extend(positions.map(|&(about, sql)| statement(ddl::Kind::NextValue, about, sql)));
        Plan {
            engine: Engine::Postgres,
            tables: Vec::new(),
            ddl: Ddl { statements, ..Ddl::default() },
            remarks: Vec::new(),
            left_out: Vec::new(),
            matched_nothing: Vec::new(),
            dropped_foreign_keys: Vec::new(),
        }
    }

    #[test]
    fn sequences_go_on_from_where_they_stand_later() {
        let mut plan = plan_with(&[("a", "to 1"), ("b", "to 2"), ("gone", "to 3")]);
        let hash = plan.hash();
        let newer = plan_with(&[("b", "to 9"), ("new", "to 5"), ("a", "to 1")]);
        plan.take_positions(&newer);
        let sql: Vec<&str> = plan.ddl.statements.iter().map(|statement| statement.sql.as_str()).collect();
        assert_eq!(sql, ["CREATE VIEW a", "to 1", "to 9", "to 3"]);
        // It is still the same plan, to a run that goes on.
        assert_eq!(plan.hash(), hash);
    }
}
