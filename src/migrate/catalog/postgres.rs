//! A PostgreSQL's catalog, 12 to 18: its own catalogs in, a [`Catalog`] out.
//!
//! Eleven queries in one transaction that is rolled back, whatever the number of tables. Then the sequences' present
//! values, 500 to a query and each query on its own: reading a sequence locks it until the end of its transaction, and
//! ten thousand locks at once would fill the server's lock table. Values of sequences obey no snapshot anyway; whoever
//! moves a live database reads them again once it has its snapshot ([`next_values`]).
//!
//! Always holds: every name in an expression or definition is qualified (`search_path` is empty), whatever the role's
//! settings are; no right is needed but to connect, and what may not be read is told in a remark.
//!
//! Decisions: a partitioned table is one table (see [`super`]). An identity column, and an integer column whose default
//! is the `nextval` of the sequence that it owns, have a sequence of their own; where another default asks the same
//! sequence (an inheriting table's), the column's default is an expression and the sequence stands on its own. An
//! exclusion constraint, and a key `WITHOUT OVERLAPS`, is an index with `constraint` and without `unique`, whose
//! definition is the `ALTER TABLE … ADD CONSTRAINT` that makes both; so is a deferrable unique constraint, which is no
//! key for a migration. What is not valid (an index that failed to build) or not enforced is left out.

mod assemble;
mod comments;
mod constraint;
mod indexes;
mod queries;
mod rows;
mod storage;

use super::Catalog;
use crate::migrate::schema::TableName;
use crate::postgres::PostgresError;
use rows::{
    ColumnRow, CommentRow, ConstraintRow, IndexRow, OtherRow, RelationRow, Rows, SequenceRow,
    SequenceValueRow, ViewRow,
};
use std::collections::BTreeMap;
use tokio_postgres::Client;

/// Sequences whose values are read by one query.
const SEQUENCES_AT_ONCE: usize = 500;

/// Reads what the database holds that `client` is connected to.
///
/// The connection must be in no transaction. Where the future is dropped half-way the connection stays in one: drop it
/// too.
pub async fn read(client: &Client) -> Result<Catalog, PostgresError> {
    let mut rows = in_one_view(client, rows_of(client)).await?;
    rows.sequence_values = sequence_values(client, &rows.sequences).await?;
    Ok(assemble::assemble(&rows))
}

/// The value that each sequence would give next, those of identity and serial columns too, by the sequence's name;
/// without those that may not be read and those that are used up.
///
/// The connection must be in no transaction.
pub async fn next_values(client: &Client) -> Result<BTreeMap<TableName, i64>, PostgresError> {
    let doing = "reading the source's sequences";
    let sequences =
        in_one_view(client, rows::ask(client, doing, queries::SEQUENCES, SequenceRow::of)).await?;
    let values = sequence_values(client, &sequences).await?;
    let values: BTreeMap<u32, SequenceValueRow> =
        values.into_iter().map(|value| (value.oid, value)).collect();
    let next = |sequence: SequenceRow| {
        let value = values.get(&sequence.oid)?;
        Some((sequence.name.clone(), assemble::next_value(&sequence, value)?))
    };
    Ok(sequences.into_iter().filter_map(next).collect())
}

/// Runs `reading` within one view of the catalogs, and ends that whatever came of it.
async fn in_one_view<T>(
    client: &Client,
    reading: impl Future<Output = Result<T, PostgresError>>,
) -> Result<T, PostgresError> {
    let doing = "holding one view of the source's catalogs";
    let failed = |error: tokio_postgres::Error| PostgresError::statement(doing, &error);
    client.batch_execute(queries::BEGIN).await.map_err(failed)?;
    let found = reading.await;
    let ended = client.batch_execute("ROLLBACK").await.map_err(failed);
    let found = found?;
    ended?;
    Ok(found)
}

async fn rows_of(client: &Client) -> Result<Rows, PostgresError> {
    let server =
        rows::ask(client, "asking the source for its version", queries::SERVER, rows::server_of).await?;
    let (version_num, block_size) = *server.first().expect("a SELECT without FROM has one row");
    let relations =
        rows::ask(client, "reading the source's tables", queries::RELATIONS, RelationRow::of).await?;
    let columns = rows::ask(client, "reading the source's columns", queries::COLUMNS, ColumnRow::of).await?;
    let indexes = rows::ask(client, "reading the source's indexes", queries::INDEXES, IndexRow::of).await?;
    let doing = "reading the source's constraints";
    let constraints = rows::ask(client, doing, queries::CONSTRAINTS, ConstraintRow::of).await?;
    let sequences =
        rows::ask(client, "reading the source's sequences", queries::SEQUENCES, SequenceRow::of).await?;
    let views = rows::ask(client, "reading the source's views", queries::VIEWS, ViewRow::of).await?;
    let doing = "reading which view reads which";
    let view_reads = rows::ask(client, doing, queries::VIEW_READS, rows::view_read_of).await?;
    let types = rows::ask(client, "reading the source's types", queries::TYPES, rows::type_of).await?;
    let doing = "reading the source's comments";
    let comments = rows::ask(client, doing, queries::COMMENTS, CommentRow::of).await?;
    let others =
        rows::ask(client, "reading what the source holds besides", queries::OTHERS, OtherRow::of).await?;
    Ok(Rows {
        version_num: version_num.unsigned_abs(),
        block_size,
        relations,
        columns,
        indexes,
        constraints,
        sequences,
        sequence_values: Vec::new(),
        views,
        view_reads,
        types,
        comments,
        others,
    })
}

async fn sequence_values(
    client: &Client,
    sequences: &[SequenceRow],
) -> Result<Vec<SequenceValueRow>, PostgresError> {
    let readable: Vec<&SequenceRow> = sequences.iter().filter(|sequence| sequence.readable).collect();
    let mut values = Vec::with_capacity(readable.len());
    for some in readable.chunks(SEQUENCES_AT_ONCE) {
        let sql = rows::values_statement(some);
        let doing = "reading the values of the source's sequences";
        values.extend(rows::ask(client, doing, &sql, SequenceValueRow::of).await?);
    }
    Ok(values)
}
