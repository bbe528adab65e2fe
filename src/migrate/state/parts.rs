//! Tables and the parts that their rows are read in.
//!
//! Always holds: a part's extent never changes; a part that is closed is read no further, and what was missing of it is
//! in parts that came in the same statement ([`split_parts`]). Which step comes after which, callers know.

use super::remaining::{Resumption, Split, resumption};
use super::{CommittedChunk, Lease, Reader, StateError, ask, counted, failed, json_text, write};
use crate::migrate::ranges::Extent;
use crate::migrate::schema::TableName;
use serde_json::{Value, json};
use tokio_postgres::Client;

/// A table of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedTable {
    /// Its number within the run.
    pub number: u32,
    /// Its name in the source.
    pub source: TableName,
    /// Its name in the target.
    pub target: TableName,
    /// The target's columns that rows are written to, in their order.
    pub columns: Vec<String>,
    /// Rows that it probably has; `None`: nobody knows.
    pub expected_rows: Option<u64>,
    /// Bytes that they probably have in the source.
    pub expected_bytes: Option<u64>,
}

/// How far a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TableStep {
    /// No row of it was asked for yet, or it is to be loaded again.
    Waiting,
    /// Rows are on their way.
    Loading,
    /// All rows are there.
    Loaded,
    /// Its indexes and constraints are there too.
    Built,
}

/// A part of a table: what is read of one relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The table's number.
    pub table: u32,
    /// Its own number within the table; no other part of the table ever has it.
    pub number: u32,
    /// The relation of the source that is read: the table, or a leaf partition.
    pub relation: TableName,
    /// Which of its rows.
    pub extent: Extent,
    /// The file of a PostgreSQL's relation (`pg_relation_filenode`) before its first row was read; `None`: it is not
    /// known, or was the same one when the last had been.
    pub file: Option<u32>,
}

/// A part, and what is in the target of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartState {
    /// The part.
    pub part: Part,
    /// It is read no further: what was missing of it are parts of their own.
    pub closed: bool,
    /// Its chunks that are in the target, by number.
    pub chunks: Vec<CommittedChunk>,
}

/// A table, and what is in the target of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableState {
    /// The table.
    pub table: MovedTable,
    /// How far it is.
    pub step: TableStep,
    /// Its parts by number; none: it was not cut yet.
    pub parts: Vec<PartState>,
}

impl TableStep {
    const ALL: [Self; 4] = [Self::Waiting, Self::Loading, Self::Loaded, Self::Built];

    /// As the target has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Loading => "loading",
            Self::Loaded => "loaded",
            Self::Built => "built",
        }
    }

    fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.as_str() == word)
    }
}

impl TableState {
    /// What is left to be loaded of it. Of a table that is loaded, nothing.
    pub fn resumption(&self) -> Result<Resumption, StateError> {
        if self.step >= TableStep::Loaded { Ok(Resumption::Complete) } else { resumption(&self.parts) }
    }
}

const ADD_TABLES: &str = held!(
    " INSERT INTO leverd_migration.moved_table (run, number, source_schema, source_name, target_schema, target_name, \
     column_names, expected_rows, expected_bytes) \
     SELECT held.id, t.number, t.source_schema, t.source_name, t.target_schema, t.target_name, t.column_names, \
     t.expected_rows, t.expected_bytes \
     FROM held, pg_catalog.json_to_recordset($3::text::json) AS t(number bigint, source_schema text, \
     source_name text, target_schema text, target_name text, column_names text[], expected_rows bigint, \
     expected_bytes bigint)"
);

const ADD_PARTS: &str = held!(
    " INSERT INTO leverd_migration.part (run, table_number, number, relation_schema, relation_name, extent, file) \
     SELECT held.id, p.table_number, p.number, p.relation_schema, p.relation_name, p.extent::json, p.file \
     FROM held, ROWS FROM (pg_catalog.unnest($3::bigint[]), pg_catalog.unnest($4::bigint[]), \
     pg_catalog.unnest($5::text[]), pg_catalog.unnest($6::text[]), pg_catalog.unnest($7::text[]), \
     pg_catalog.unnest($8::bigint[])) \
     AS p(table_number, number, relation_schema, relation_name, extent, file)"
);

/// Gives a row for each part that was closed or added: for all of them, or for none where the lease is lost.
const SPLIT_PARTS: &str = held!(
    ", closed AS (UPDATE leverd_migration.part AS o SET closed = true FROM held \
     WHERE o.run = held.id AND o.table_number = $9::bigint AND o.number = ANY ($10::bigint[]) AND NOT o.closed \
     RETURNING o.number), \
     added AS (INSERT INTO leverd_migration.part \
     (run, table_number, number, relation_schema, relation_name, extent, file) \
     SELECT held.id, p.table_number, p.number, p.relation_schema, p.relation_name, p.extent::json, p.file \
     FROM held, ROWS FROM (pg_catalog.unnest($3::bigint[]), pg_catalog.unnest($4::bigint[]), \
     pg_catalog.unnest($5::text[]), pg_catalog.unnest($6::text[]), pg_catalog.unnest($7::text[]), \
     pg_catalog.unnest($8::bigint[])) \
     AS p(table_number, number, relation_schema, relation_name, extent, file) \
     RETURNING number) \
     SELECT number FROM closed UNION ALL SELECT number FROM added"
);

/// Told out, though chunks would go with their parts: a session may have switched the triggers off that do that.
const RESTART_TABLE: &str = held!(
    ", rejects AS (DELETE FROM leverd_migration.reject AS o USING held \
     WHERE o.run = held.id AND o.table_number = $3::bigint), \
     chunks AS (DELETE FROM leverd_migration.chunk AS o USING held \
     WHERE o.run = held.id AND o.table_number = $3::bigint), \
     parts AS (DELETE FROM leverd_migration.part AS o USING held \
     WHERE o.run = held.id AND o.table_number = $3::bigint) \
     UPDATE leverd_migration.moved_table AS t SET step = 'waiting', step_at = pg_catalog.clock_timestamp() \
     FROM held WHERE t.run = held.id AND t.number = $3::bigint"
);

const RESTART_RUN: &str = held!(
    ", rejects AS (DELETE FROM leverd_migration.reject AS o USING held WHERE o.run = held.id), \
     chunks AS (DELETE FROM leverd_migration.chunk AS o USING held WHERE o.run = held.id), \
     parts AS (DELETE FROM leverd_migration.part AS o USING held WHERE o.run = held.id), \
     statements AS (DELETE FROM leverd_migration.statement AS o USING held WHERE o.run = held.id) \
     UPDATE leverd_migration.moved_table AS t SET step = 'waiting', step_at = pg_catalog.clock_timestamp() \
     FROM held WHERE t.run = held.id"
);

const FORGET_FILES: &str = held!(
    ", files AS (UPDATE leverd_migration.part AS o SET file = NULL FROM held \
     WHERE o.run = held.id AND o.file IS NOT NULL) \
     SELECT held.id FROM held"
);

const MARK_TABLES: &str = held!(
    " UPDATE leverd_migration.moved_table AS t SET step = $3::text, step_at = pg_catalog.clock_timestamp() \
     FROM held WHERE t.run = held.id AND t.number = ANY ($4::bigint[])"
);

const TABLES: &str = "\
SELECT t.number, t.source_schema, t.source_name, t.target_schema, t.target_name, t.column_names, t.expected_rows,
       t.expected_bytes, t.step
FROM leverd_migration.moved_table AS t
WHERE t.run = $1::text ORDER BY t.number";

/// The file by way of JSON: a state in which parts have no such column yet is read too.
const PARTS: &str = "\
SELECT p.table_number, p.number, p.relation_schema, p.relation_name, p.extent::text, p.closed,
       (pg_catalog.to_json(p)->>'file')::bigint
FROM leverd_migration.part AS p
WHERE p.run = $1::text ORDER BY p.table_number, p.number";

/// Writes down the run's tables, each with another number: all of them, or none. [`StateError::Lost`] where the lease
/// is.
pub async fn add_tables(client: &Client, lease: &Lease, tables: &[MovedTable]) -> Result<(), StateError> {
    // Not `json_text`: these names become texts of the database, which knows its own encoding.
    let rows = Value::Array(tables.iter().map(row_of).collect()).to_string();
    let (run, fence) = (lease.run(), lease.fence());
    let doing = "writing down the run's tables";
    write(client, lease, doing, ADD_TABLES, &[&run, &fence, &rows], tables.len()).await
}

/// Writes down parts, of one table or of many: all of them, or none. [`StateError::Lost`] where the lease is.
pub async fn add_parts(client: &Client, lease: &Lease, parts: &[Part]) -> Result<(), StateError> {
    let (run, fence, lists) = (lease.run(), lease.fence(), Lists::of(parts));
    let Lists { tables, numbers, schemas, names, extents, files } = &lists;
    let doing = "writing down a table's parts";
    write(
        client,
        lease,
        doing,
        ADD_PARTS,
        &[&run, &fence, tables, numbers, schemas, names, extents, files],
        parts.len(),
    )
    .await
}

/// Closes the parts of a table of which something is missing, and writes down what that is as parts of their own: all
/// of it, or none. Before a chunk of the new parts is handed out. [`StateError::Lost`] where the lease is.
pub async fn split_parts(
    client: &Client,
    lease: &Lease,
    table: u32,
    split: &Split,
) -> Result<(), StateError> {
    let (run, fence, lists) = (lease.run(), lease.fence(), Lists::of(&split.added));
    let Lists { tables, numbers, schemas, names, extents, files } = &lists;
    let number = i64::from(table);
    let closed: Vec<i64> = split.closed.iter().map(|number| i64::from(*number)).collect();
    let written = client
        .query(
            SPLIT_PARTS,
            &[&run, &fence, tables, numbers, schemas, names, extents, files, &number, &closed],
        )
        .await
        .map_err(failed("writing down what is missing of a table"))?;
    let expected = split.closed.len() + split.added.len();
    if written.len() == expected { Ok(()) } else { Err(lease.lost()) }
}

/// Forgets a table's parts, chunks and rejected rows: it waits again. Within the transaction that empties it in the
/// target. [`StateError::Lost`] where the lease is.
pub async fn restart_table(client: &Client, lease: &Lease, table: u32) -> Result<(), StateError> {
    let (run, fence, number) = (lease.run(), lease.fence(), i64::from(table));
    let doing = "forgetting a table's chunks";
    write(client, lease, doing, RESTART_TABLE, &[&run, &fence, &number], 1).await
}

/// Forgets all that a run with so many tables has done: it makes and empties its tables again. [`StateError::Lost`] where
/// the lease is.
pub async fn restart_run(client: &Client, lease: &Lease, tables: usize) -> Result<(), StateError> {
    let (run, fence) = (lease.run(), lease.fence());
    write(client, lease, "forgetting what a run has done", RESTART_RUN, &[&run, &fence], tables).await
}

/// Forgets the files that parts were in: all rows were read out of the same ones. [`StateError::Lost`] where the lease is.
pub async fn forget_files(client: &Client, lease: &Lease) -> Result<(), StateError> {
    let (run, fence) = (lease.run(), lease.fence());
    write(client, lease, "forgetting the files of the source", FORGET_FILES, &[&run, &fence], 1).await
}

/// Says how far tables are; each number once. [`StateError::Lost`] where the lease is.
pub async fn mark_tables(
    client: &Client,
    lease: &Lease,
    tables: &[u32],
    step: TableStep,
) -> Result<(), StateError> {
    let (run, fence, word) = (lease.run(), lease.fence(), step.as_str());
    let numbers: Vec<i64> = tables.iter().map(|number| i64::from(*number)).collect();
    let doing = "writing down how far tables are";
    write(client, lease, doing, MARK_TABLES, &[&run, &fence, &word, &numbers], tables.len()).await
}

/// The tables of a run, by number.
pub(super) async fn tables_of(
    client: &Client,
    run: &str,
) -> Result<Vec<(MovedTable, TableStep)>, StateError> {
    ask(client, "reading the run's tables", TABLES, &[&run], |row: Reader<'_>| {
        let table = MovedTable {
            number: row.number(0)?,
            source: row.name(1)?,
            target: row.name(3)?,
            columns: row.get(5)?,
            expected_rows: row.count_if_known(6)?,
            expected_bytes: row.count_if_known(7)?,
        };
        let word: String = row.get(8)?;
        let step = TableStep::of(&word).ok_or_else(|| row.damaged("an unknown step"))?;
        Ok((table, step))
    })
    .await
}

/// The parts of a run, by table and number, without their chunks.
pub(super) async fn parts_of(client: &Client, run: &str) -> Result<Vec<PartState>, StateError> {
    ask(client, "reading the run's parts", PARTS, &[&run], |row: Reader<'_>| {
        let part = Part {
            table: row.number(0)?,
            number: row.number(1)?,
            relation: row.name(2)?,
            extent: row.extent(4)?,
            file: row.number_if_known(6)?,
        };
        Ok(PartState { part, closed: row.get(5)?, chunks: Vec::new() })
    })
    .await
}

/// Parts column by column, as a statement takes them.
struct Lists {
    tables: Vec<i64>,
    numbers: Vec<i64>,
    schemas: Vec<String>,
    names: Vec<String>,
    extents: Vec<String>,
    files: Vec<Option<i64>>,
}

impl Lists {
    fn of(parts: &[Part]) -> Self {
        Self {
            tables: parts.iter().map(|part| i64::from(part.table)).collect(),
            numbers: parts.iter().map(|part| i64::from(part.number)).collect(),
            schemas: parts.iter().map(|part| part.relation.schema.clone()).collect(),
            names: parts.iter().map(|part| part.relation.name.clone()).collect(),
            extents: parts.iter().map(|part| json_text(&part.extent)).collect(),
            files: parts.iter().map(|part| part.file.map(i64::from)).collect(),
        }
    }
}

fn row_of(table: &MovedTable) -> Value {
    json!({
        "number": table.number,
        "source_schema": table.source.schema,
        "source_name": table.source.name,
        "target_schema": table.target.schema,
        "target_name": table.target.name,
        "column_names": table.columns,
        "expected_rows": table.expected_rows.map(counted),
        "expected_bytes": table.expected_bytes.map(counted),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(of: &str) -> TableName {
        TableName { schema: "shop".to_owned(), name: of.to_owned() }
    }

    #[test]
    fn steps_are_read_back_and_in_order() {
        for step in TableStep::ALL {
            assert_eq!(TableStep::of(step.as_str()), Some(step));
        }
        assert_eq!(TableStep::of("lost"), None);
        assert!(TableStep::ALL.is_sorted());
    }

    #[test]
    fn a_table_is_one_object_of_json() {
        let table = MovedTable {
            number: 3,
            source: name("orders"),
            target: name("Orders"),
            columns: vec!["id".to_owned(), "größe".to_owned()],
            expected_rows: Some(u64::MAX),
            expected_bytes: None,
        };
        let row = row_of(&table);
        assert_eq!(row["number"], 3);
        assert_eq!(row["target_name"], "Orders");
        assert_eq!(row["column_names"], json!(["id", "größe"]));
        assert_eq!(row["expected_rows"], i64::MAX);
        assert!(row["expected_bytes"].is_null());
    }

    #[test]
    fn a_loaded_table_has_nothing_left_whatever_its_parts_say() {
        let table = MovedTable {
            number: 0,
            source: name("a"),
            target: name("a"),
            columns: Vec::new(),
            expected_rows: None,
            expected_bytes: None,
        };
        let part = Part { table: 0, number: 0, relation: name("a"), extent: Extent::Whole, file: None };
        let part = PartState { part, closed: false, chunks: Vec::new() };
        let mut state = TableState { table, step: TableStep::Loaded, parts: vec![part] };
        assert_eq!(state.resumption().unwrap(), Resumption::Complete);
        state.step = TableStep::Loading;
        assert!(matches!(state.resumption().unwrap(), Resumption::Split(_)));
    }
}
