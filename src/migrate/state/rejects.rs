//! Rows that the target refused, each with the reason and with the row in COPY's text form.
//!
//! Always holds: a rejected row is written down in the transaction that brings its chunk, so it is there once, as the
//! chunk's other rows are in their table. How many a run may reject is the caller's to bound. Payloads are rows of the
//! source's: nothing here reads them back, logs them or puts them into an error.

use super::{ChunkKey, Lease, StateError, failed, plain};
use tokio_postgres::Client;

/// A row that the target refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// Its number among the rejected rows of its chunk.
    pub number: u32,
    /// The target's SQLSTATE, or what stands for one.
    pub sqlstate: String,
    /// Why, in the target's words.
    pub message: String,
    /// The target's column, where it is known.
    pub column: Option<String>,
    /// The row in COPY's text form.
    pub payload: Vec<u8>,
}

/// A statement takes no more rows than this…
const BATCH_ROWS: usize = 1_000;
/// …and ends with the row that passes so many bytes: far below a message's gigabyte, unless one row is that long.
const BATCH_BYTES: usize = 16 * 1024 * 1024;

const INSERT: &str = "\
INSERT INTO leverd_migration.reject (run, table_number, part_number, seq, number, sqlstate, message, column_name,
                                     payload, format)
SELECT $1::text, $2::bigint, $3::bigint, $4::bigint, r.number, r.sqlstate, r.message, r.column_name, r.payload, 'text'
FROM ROWS FROM (pg_catalog.unnest($5::bigint[]), pg_catalog.unnest($6::text[]), pg_catalog.unnest($7::text[]),
                pg_catalog.unnest($8::text[]), pg_catalog.unnest($9::bytea[]))
     AS r(number, sqlstate, message, column_name, payload)";

/// Writes down the rejected rows of a chunk. Within the transaction that brings the chunk, and before
/// [`super::Recorder::record`], which is what refuses it where the lease is lost.
pub async fn record_rejects(
    client: &Client,
    lease: &Lease,
    chunk: ChunkKey,
    rejects: &[Reject],
) -> Result<(), StateError> {
    let run = lease.run();
    let (table, part, seq) = (i64::from(chunk.table), i64::from(chunk.part), i64::from(chunk.seq));
    for batch in batches(rejects) {
        let numbers: Vec<i64> = batch.iter().map(|reject| i64::from(reject.number)).collect();
        let sqlstates: Vec<&str> = batch.iter().map(|reject| reject.sqlstate.as_str()).collect();
        let messages: Vec<String> = batch.iter().map(|reject| plain(&reject.message)).collect();
        let columns: Vec<Option<String>> =
            batch.iter().map(|reject| reject.column.as_deref().map(plain)).collect();
        let payloads: Vec<&[u8]> = batch.iter().map(|reject| reject.payload.as_slice()).collect();
        client
            .execute(
                INSERT,
                &[&run, &table, &part, &seq, &numbers, &sqlstates, &messages, &columns, &payloads],
            )
            .await
            .map_err(failed("recording rejected rows"))?;
    }
    Ok(())
}

/// Cuts the rows into what one statement takes, in their order.
fn batches(rejects: &[Reject]) -> Vec<&[Reject]> {
    let mut batches = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (at, reject) in rejects.iter().enumerate() {
        bytes += reject.payload.len();
        let end = at + 1;
        if bytes >= BATCH_BYTES || end - start >= BATCH_ROWS || end == rejects.len() {
            batches.push(&rejects[start..end]);
            (start, bytes) = (end, 0);
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reject(number: u32, bytes: usize) -> Reject {
        Reject {
            number,
            sqlstate: "22P02".to_owned(),
            message: "no".to_owned(),
            column: None,
            payload: vec![0; bytes],
        }
    }

    fn sizes(rejects: &[Reject]) -> Vec<usize> {
        batches(rejects).into_iter().map(<[Reject]>::len).collect()
    }

    #[test]
    fn statements_are_bounded_in_rows_and_bytes() {
        let many: Vec<Reject> = (0..2_500).map(|number| reject(number, 10)).collect();
        assert_eq!(sizes(&many), [1_000, 1_000, 500]);
        assert_eq!(sizes(&many[..1_000]), [1_000]);
        assert!(sizes(&[]).is_empty());
        let long: Vec<Reject> = (0..3).map(|number| reject(number, BATCH_BYTES)).collect();
        assert_eq!(sizes(&long), [1, 1, 1]);
        let numbers: Vec<u32> = batches(&many).concat().into_iter().map(|reject| reject.number).collect();
        assert!(numbers.into_iter().eq(0..2_500));
    }
}
