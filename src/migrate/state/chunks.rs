//! Chunks: each is written down in the transaction that brings its rows.
//!
//! Always holds: a chunk's row names the fence of the lease that it was brought under. Where another process took the
//! run meanwhile, or this one ended it, the fence is not found, the statement fails ([`StateError::Lost`]) and the
//! transaction cannot be committed. Where the chunk is there already, the statement fails too
//! ([`StateError::AlreadyRecorded`]); it waits for an earlier try that is still committing. Both have SQLSTATEs of
//! class 23 and say nothing of the data: [`Recorder::record`] tells them apart from every other error.

use super::{Lease, Reader, StateError, ask, counted, failed, json_text};
use crate::migrate::ranges::Extent;
use crate::postgres::PostgresError;
use chrono::{DateTime, Utc};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Statement};

/// Which chunk of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkKey {
    /// Its table's number.
    pub table: u32,
    /// Its part's number within the table.
    pub part: u32,
    /// Its number within the part, from 0, in the order in which chunks were handed out.
    pub seq: u32,
}

/// A chunk whose rows are being written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkRecord {
    /// Which one.
    pub key: ChunkKey,
    /// Which rows it has: as it was handed out, so that it begins where the chunk before it ends.
    pub extent: Extent,
    /// Rows that it brings into the target.
    pub rows: u64,
    /// Their bytes in COPY's form.
    pub bytes: u64,
    /// Rows of it that are rejected.
    pub rejected: u64,
    /// The most rows that a chunk might have when it was handed out.
    pub chunk_rows: u32,
    /// The writer's number.
    pub writer: u32,
}

/// A chunk whose rows are in the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedChunk {
    /// Its number within its part.
    pub seq: u32,
    /// Which rows it has.
    pub extent: Extent,
    /// Rows that it brought.
    pub rows: u64,
    /// Their bytes in COPY's form.
    pub bytes: u64,
    /// Rows of it that were rejected.
    pub rejected: u64,
}

/// What chunks brought for one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableTotals {
    /// The table's number.
    pub table: u32,
    /// Chunks that are in the target.
    pub chunks: u64,
    /// Their rows.
    pub rows: u64,
    /// Their bytes in COPY's form.
    pub bytes: u64,
    /// Rows that were rejected.
    pub rejected: u64,
    /// When the first of their transactions began.
    pub first_at: DateTime<Utc>,
    /// When the last of them was about to be committed.
    pub last_at: DateTime<Utc>,
}

/// The name of the constraint that a chunk under a lost lease breaks; in `install.sql`.
const LEASE: &str = "another_run_took_the_lease";
/// The name of the constraint that a second row for a chunk breaks; in `install.sql`.
const ONCE: &str = "chunk_is_recorded_once";

/// `FOR KEY SHARE` keeps the fence from being raised until the transaction ends.
const RECORD: &str = "\
INSERT INTO leverd_migration.chunk (run, table_number, part_number, seq, extent, row_count, byte_count, rejected,
                                    chunk_rows, writer, fence)
VALUES ($1::text, $3::bigint, $4::bigint, $5::bigint, $6::text::json, $7::bigint, $8::bigint, $9::bigint, $10::bigint,
        $11::bigint, (SELECT r.fence FROM leverd_migration.run AS r
                      WHERE r.id = $1::text AND r.fence = $2::bigint FOR KEY SHARE))";

const RECORD_TYPES: [Type; 11] = [
    Type::TEXT,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::TEXT,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::INT8,
    Type::INT8,
];

const TOTALS: &str = "\
SELECT c.table_number, pg_catalog.count(*), pg_catalog.sum(c.row_count)::bigint, pg_catalog.sum(c.byte_count)::bigint,
       pg_catalog.sum(c.rejected)::bigint, pg_catalog.min(c.began_at), pg_catalog.max(c.committed_at)
FROM leverd_migration.chunk AS c
WHERE c.run = $1::text GROUP BY c.table_number ORDER BY c.table_number";

const CHUNKS: &str = "\
SELECT c.table_number, c.part_number, c.seq, c.extent::text, c.row_count, c.byte_count, c.rejected
FROM leverd_migration.chunk AS c
WHERE c.run = $1::text ORDER BY c.table_number, c.part_number, c.seq";

const CHUNK: &str = "\
SELECT c.extent::text, c.row_count, c.byte_count, c.rejected FROM leverd_migration.chunk AS c
WHERE c.run = $1::text AND c.table_number = $2::bigint AND c.part_number = $3::bigint AND c.seq = $4::bigint";

/// What a writer needs to write chunks down: a statement that is prepared once on its connection.
#[derive(Debug, Clone)]
pub struct Recorder {
    statement: Statement,
}

impl Recorder {
    /// Prepares it. It belongs to this connection alone.
    pub async fn prepare(client: &Client) -> Result<Self, StateError> {
        let prepared = client.prepare_typed(RECORD, &RECORD_TYPES).await;
        Ok(Self { statement: prepared.map_err(failed("preparing the record of chunks"))? })
    }

    /// Writes a chunk down. Within the transaction that brings its rows, and last in it: from here to the COMMIT a
    /// process that takes the run waits. Its extent must be the one that it was handed out with.
    ///
    /// After any error the transaction must be rolled back. [`StateError::Lost`]: the run is another process's; stop.
    /// [`StateError::AlreadyRecorded`]: the chunk is done. Anything else: its rows are not there, and it may be tried
    /// again.
    pub async fn record(
        &self,
        client: &Client,
        lease: &Lease,
        chunk: &ChunkRecord,
    ) -> Result<(), StateError> {
        let (run, fence, key) = (lease.run(), lease.fence(), chunk.key);
        let (table, part, seq) = (i64::from(key.table), i64::from(key.part), i64::from(key.seq));
        let extent = json_text(&chunk.extent);
        let (rows, bytes, rejected) = (counted(chunk.rows), counted(chunk.bytes), counted(chunk.rejected));
        let (chunk_rows, writer) = (i64::from(chunk.chunk_rows), i64::from(chunk.writer));
        let written = client
            .execute(
                &self.statement,
                &[&run, &fence, &table, &part, &seq, &extent, &rows, &bytes, &rejected, &chunk_rows, &writer],
            )
            .await;
        match written {
            Ok(_) => Ok(()),
            Err(error) => Err(match broken_constraint(&error) {
                Some(LEASE) => lease.lost(),
                Some(ONCE) => StateError::AlreadyRecorded { key },
                _ => StateError::Postgres(PostgresError::statement("recording a chunk", &error)),
            }),
        }
    }
}

/// What chunks brought, table by table, without tables that have none. One query.
pub async fn table_totals(client: &Client, run: &str) -> Result<Vec<TableTotals>, StateError> {
    ask(client, "adding up the run's chunks", TOTALS, &[&run], TableTotals::of).await
}

/// A chunk that is in the target; `None`: it is not, or its transaction is still open. One query.
pub async fn committed_chunk(
    client: &Client,
    run: &str,
    key: ChunkKey,
) -> Result<Option<CommittedChunk>, StateError> {
    let doing = "asking for a chunk";
    let (table, part, seq) = (i64::from(key.table), i64::from(key.part), i64::from(key.seq));
    let found = client.query_opt(CHUNK, &[&run, &table, &part, &seq]).await.map_err(failed(doing))?;
    let Some(row) = found else { return Ok(None) };
    let row = Reader { row: &row, doing };
    let (extent, rows) = (row.extent(0)?, row.count(1)?);
    Ok(Some(CommittedChunk { seq: key.seq, extent, rows, bytes: row.count(2)?, rejected: row.count(3)? }))
}

/// All chunks of a run, in order of table, part and number.
pub(super) async fn chunks_of(
    client: &Client,
    run: &str,
) -> Result<Vec<(ChunkKey, CommittedChunk)>, StateError> {
    ask(client, "reading the run's chunks", CHUNKS, &[&run], |row: Reader<'_>| {
        let key = ChunkKey { table: row.number(0)?, part: row.number(1)?, seq: row.number(2)? };
        let chunk = CommittedChunk {
            seq: key.seq,
            extent: row.extent(3)?,
            rows: row.count(4)?,
            bytes: row.count(5)?,
            rejected: row.count(6)?,
        };
        Ok((key, chunk))
    })
    .await
}

/// The name of the state's own constraint that a statement broke.
fn broken_constraint(error: &tokio_postgres::Error) -> Option<&str> {
    let error = error.as_db_error()?;
    if error.schema() == Some("leverd_migration") { error.constraint() } else { None }
}

impl TableTotals {
    fn of(row: Reader<'_>) -> Result<Self, StateError> {
        Ok(Self {
            table: row.number(0)?,
            chunks: row.count(1)?,
            rows: row.count(2)?,
            bytes: row.count(3)?,
            rejected: row.count(4)?,
            first_at: row.get(5)?,
            last_at: row.get(6)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constraints_are_those_of_the_tables() {
        let tables = include_str!("install.sql");
        assert!(tables.contains(&format!("CONSTRAINT {LEASE} CHECK (fence IS NOT NULL)")));
        assert!(tables.contains(&format!("CONSTRAINT {ONCE} PRIMARY KEY")));
    }

    #[test]
    fn every_parameter_of_the_record_has_a_type() {
        for (number, kind) in (1..).zip(&RECORD_TYPES) {
            let cast = if *kind == Type::TEXT { "text" } else { "bigint" };
            assert!(RECORD.contains(&format!("${number}::{cast}")), "${number}");
        }
        assert!(!RECORD.contains("$12"));
    }
}
