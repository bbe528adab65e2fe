//! Writing chunks into the target: rows and the chunk's record in one transaction.
//!
//! In: a chunk's pieces. Out: what was [`Written`], or a [`Failure`]. Always holds: rows arrive together with the
//! record that says so, or neither does; the server counted as many rows as the source sent, but for those that were
//! rejected, each of which stands in the reject table of the same transaction.

use super::copy::{Form, HEADER, TRAILER};
use super::counters::{Counters, count};
use super::failure::{Failure, Kind, Side};
use super::schedule::Chunk;
use super::segment::{Piece, Segment, Totals};
use crate::config::DatabaseEndpoint;
use crate::migrate::quote;
use crate::migrate::schema::TableName;
use crate::migrate::state::{
    ChunkKey, ChunkRecord, Lease, Recorder, Reject, StateError, committed_chunk, record_rejects,
};
use crate::postgres::{Connection, connect_to_load};
use bytes::Bytes;
use futures_util::SinkExt;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

/// How rows get into a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    /// They are added.
    Add,
    /// They take the place of rows with the same key.
    Replace,
}

/// A table as a writer sees it.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    /// The table's number in the plan.
    pub(crate) number: u32,
    /// Its name in the target.
    pub(crate) name: TableName,
    /// The columns that are written, in the order in which rows have them.
    pub(crate) columns: Vec<String>,
    /// The primary key there.
    pub(crate) key: Vec<String>,
    /// In which form rows come where none is refused.
    pub(crate) form: Form,
    pub(crate) put: Put,
}

impl Destination {
    /// In which form a chunk's rows come. Where refused ones are sought out it is text, for who reads them later.
    pub(crate) fn form_of(&self, chunk: &Chunk) -> Form {
        if chunk.salvage { Form::Text } else { self.form }
    }
}

/// A row that the target refused, or that no text can be made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejected {
    /// Its place among the rows of its chunk, from 0.
    pub(crate) number: u64,
    pub(crate) sqlstate: String,
    /// For the table of rejected rows: it may show the row.
    pub(crate) message: String,
    /// For logs and errors.
    pub(crate) shown: String,
    /// The column, where it is known.
    pub(crate) column: Option<String>,
    /// The row in COPY's text form.
    pub(crate) payload: Bytes,
}

/// What arrived.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Written {
    pub(crate) totals: Totals,
    /// Rows that the source sent and the target refused.
    pub(crate) rejected: Vec<Rejected>,
    /// Rows that are not among `totals`: no text could be made of them.
    pub(crate) unreadable: Vec<Rejected>,
    /// Nanoseconds for which the source kept the writer waiting.
    pub(crate) starved: u64,
}

/// A session of the target that writes.
#[derive(Debug)]
pub(crate) struct Writer {
    connection: Connection,
    recorder: Recorder,
    /// Stages of this session, by table.
    stages: std::collections::BTreeSet<u32>,
}

/// No transaction of a load need be on disk before the next: rows and their record are lost together.
const SESSION: &str = "SET synchronous_commit = off; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; \
     SET TimeZone = 'UTC'; SET lc_monetary = 'C'; SET client_encoding = 'UTF8'; SET idle_in_transaction_session_timeout = 0";

impl Writer {
    /// Connects.
    pub(crate) async fn open(
        target: &DatabaseEndpoint,
        name: &str,
        as_replica: bool,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let connection = connect_to_load(target.postgres_dsn().expose(), name, timeout)
            .await
            .map_err(|error| Failure::lost(Side::Target, error.to_string()))?;
        let replica = if as_replica { "; SET session_replication_role = replica" } else { "" };
        connection
            .client()
            .batch_execute(&format!("{SESSION}{replica}"))
            .await
            .map_err(|error| Failure::of(Side::Target, "preparing a session", &error))?;
        let recorder =
            Recorder::prepare(connection.client()).await.map_err(|error| Failure::of_state(&error))?;
        Ok(Self { connection, recorder, stages: std::collections::BTreeSet::new() })
    }

    /// The session, for what belongs into the chunk's transaction.
    pub(crate) fn client(&self) -> &tokio_postgres::Client {
        self.connection.client()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.connection.is_closed()
    }

    /// Begins a chunk's transaction and writes its rows. Nothing is committed yet.
    ///
    /// `most_rejected`: `None`, a refused row is a failure; else rows are sought out, and more of them are a failure.
    /// `counters`: rows and waiting are counted as they go.
    pub(crate) async fn write(
        &mut self,
        to: &Destination,
        pieces: &mut UnboundedReceiver<Piece>,
        most_rejected: Option<u64>,
        counters: &Counters,
    ) -> Result<Written, Failure> {
        self.run("BEGIN", "beginning a transaction").await?;
        let into = match to.put {
            Put::Add => quote::qualified(&to.name),
            Put::Replace => self.stage(to).await?,
        };
        let copy = |form: Form| {
            format!("COPY {into} ({}) FROM STDIN (FORMAT {})", quote::identifiers(&to.columns), form.word())
        };
        let written = match most_rejected {
            None => self.pour(&copy(to.form), to, pieces, counters).await?,
            Some(most) => self.sift(&copy(Form::Text), to, &into, (pieces, most), counters).await?,
        };
        if to.put == Put::Replace && most_rejected.is_none() {
            self.run(&replace(to, &into), &doing(to)).await?;
        }
        Ok(written)
    }

    /// What an earlier try brought whose answer was lost; `None`: nothing, the chunk is not in the target.
    pub(crate) async fn earlier(&self, lease: &Lease, chunk: &Chunk) -> Result<Option<Written>, Failure> {
        let key = ChunkKey { table: chunk.table, part: chunk.part, seq: chunk.seq };
        let found = committed_chunk(self.client(), lease.run(), key)
            .await
            .map_err(|error| Failure::of_state(&error))?;
        Ok(found.map(|found| Written {
            totals: Totals { rows: found.rows, bytes: found.bytes },
            ..Written::default()
        }))
    }

    /// Writes the chunk down, and its rejected rows. `false`: it is in the target already.
    pub(crate) async fn record(
        &self,
        lease: &Lease,
        chunk: &Chunk,
        written: &Written,
        writer: u32,
    ) -> Result<bool, Failure> {
        let key = ChunkKey { table: chunk.table, part: chunk.part, seq: chunk.seq };
        let refused = written.rejected.len() as u64;
        let record = ChunkRecord {
            key,
            extent: chunk.extent.clone(),
            rows: written.totals.rows - refused,
            bytes: written.totals.bytes,
            rejected: refused + written.unreadable.len() as u64,
            chunk_rows: chunk.chunk_rows,
            writer,
        };
        if !written.rejected.is_empty() || !written.unreadable.is_empty() {
            let rejects: Vec<Reject> = written
                .rejected
                .iter()
                .chain(&written.unreadable)
                .zip(0_u32..)
                .map(|(row, number)| Reject {
                    number,
                    sqlstate: row.sqlstate.clone(),
                    message: row.message.clone(),
                    column: row.column.clone(),
                    payload: row.payload.to_vec(),
                })
                .collect();
            record_rejects(self.client(), lease, key, &rejects)
                .await
                .map_err(|error| Failure::of_state(&error))?;
        }
        match self.recorder.record(self.client(), lease, &record).await {
            Ok(()) => Ok(true),
            Err(StateError::AlreadyRecorded { .. }) => Ok(false),
            Err(error) => Err(Failure::of_state(&error)),
        }
    }

    /// Commits.
    pub(crate) async fn commit(&self) -> Result<(), Failure> {
        self.run("COMMIT", "committing a chunk").await
    }

    /// Undoes the open transaction, where the session still can.
    pub(crate) async fn roll_back(&self) -> Result<(), Failure> {
        self.run("ROLLBACK", "rolling a chunk back").await
    }

    /// One COPY for all of the chunk.
    async fn pour(
        &self,
        copy: &str,
        to: &Destination,
        pieces: &mut UnboundedReceiver<Piece>,
        counters: &Counters,
    ) -> Result<Written, Failure> {
        let failed = |error: tokio_postgres::Error| Failure::of(Side::Target, &doing(to), &error);
        let sink = self.client().copy_in(copy).await.map_err(failed)?;
        tokio::pin!(sink);
        if to.form == Form::Binary {
            sink.feed(Bytes::from_static(HEADER)).await.map_err(failed)?;
        }
        let mut starved = 0;
        let (totals, unreadable) = loop {
            let began = Instant::now();
            let piece = next(pieces, counters).await;
            starved += super::segment::nanos(began.elapsed());
            match piece {
                // The permit goes when the segment is dropped: behind the send.
                Some(Piece::Rows(segment)) => {
                    sink.send(segment.bytes.clone()).await.map_err(failed)?;
                    count(&counters.rows_taken, segment.ends.len() as u64);
                }
                Some(Piece::End(totals, unreadable)) => break (totals, unreadable),
                Some(Piece::Failed(failure)) => return Err(failure),
                None => return Err(given_up()),
            }
        };
        if to.form == Form::Binary {
            sink.feed(Bytes::from_static(TRAILER)).await.map_err(failed)?;
        }
        let rows = sink.finish().await.map_err(failed)?;
        same_count(to, totals.rows, rows)?;
        Ok(Written { totals, rejected: Vec::new(), unreadable, starved })
    }

    /// A savepoint for each segment, and halves of it down to the rows that are refused.
    async fn sift(
        &self,
        copy: &str,
        to: &Destination,
        into: &str,
        (pieces, most): (&mut UnboundedReceiver<Piece>, u64),
        counters: &Counters,
    ) -> Result<Written, Failure> {
        let mut written = Written::default();
        let mut before = 0;
        loop {
            match next(pieces, counters).await {
                Some(Piece::Rows(segment)) => {
                    let rows = segment.ends.len() as u64;
                    let rejected = self.sift_segment(copy, to, into, &segment, before).await?;
                    before += rows;
                    count(&counters.rows_taken, rows);
                    written.rejected.extend(rejected);
                    if written.rejected.len() as u64 > most {
                        return Err(too_many(to, most, &written.rejected));
                    }
                }
                Some(Piece::End(totals, unreadable)) => {
                    (written.totals, written.unreadable) = (totals, unreadable);
                    return Ok(written);
                }
                Some(Piece::Failed(failure)) => return Err(failure),
                None => return Err(given_up()),
            }
        }
    }

    async fn sift_segment(
        &self,
        copy: &str,
        to: &Destination,
        into: &str,
        segment: &Segment,
        before: u64,
    ) -> Result<Vec<Rejected>, Failure> {
        let mut rejected = Vec::new();
        let mut open = Vec::from([(0, segment.ends.len())]);
        while let Some((start, end)) = open.pop() {
            let rows = start..end;
            if rows.is_empty() {
                continue;
            }
            let begin = rows.start.checked_sub(1).map_or(0, |last| segment.ends[last] as usize);
            let payload = segment.bytes.slice(begin..segment.ends[rows.end - 1] as usize);
            let refusal = match self.try_rows(copy, to, into, payload.clone(), rows.len() as u64).await {
                Ok(()) => continue,
                Err(failure) if failure.kind == Kind::Row && !failure.connection_is_gone => failure,
                Err(failure) => return Err(failure),
            };
            if rows.len() == 1 {
                rejected.push(Rejected {
                    number: before + rows.start as u64,
                    sqlstate: refusal.code.unwrap_or_default(),
                    message: refusal.said.unwrap_or_else(|| refusal.text.clone()),
                    shown: refusal.text,
                    column: None,
                    payload,
                });
                continue;
            }
            let middle = rows.start + rows.len() / 2;
            open.push((middle, end));
            open.push((start, middle));
        }
        Ok(rejected)
    }

    /// All of these rows, or none.
    async fn try_rows(
        &self,
        copy: &str,
        to: &Destination,
        into: &str,
        payload: Bytes,
        rows: u64,
    ) -> Result<(), Failure> {
        self.run("SAVEPOINT leverd_rows", "setting a savepoint").await?;
        let tried = self.put_rows(copy, to, into, payload, rows).await;
        match &tried {
            Ok(()) => self.run("RELEASE SAVEPOINT leverd_rows", "releasing a savepoint").await?,
            Err(failure) if failure.connection_is_gone => {}
            Err(_) => {
                let undo = "ROLLBACK TO SAVEPOINT leverd_rows; RELEASE SAVEPOINT leverd_rows";
                self.run(undo, "rolling back to a savepoint").await?;
            }
        }
        tried
    }

    async fn put_rows(
        &self,
        copy: &str,
        to: &Destination,
        into: &str,
        payload: Bytes,
        rows: u64,
    ) -> Result<(), Failure> {
        let failed = |error: tokio_postgres::Error| Failure::of(Side::Target, &doing(to), &error);
        let sink = self.client().copy_in(copy).await.map_err(failed)?;
        tokio::pin!(sink);
        sink.send(payload).await.map_err(failed)?;
        let arrived = sink.finish().await.map_err(failed)?;
        same_count(to, rows, arrived)?;
        if to.put == Put::Replace {
            self.run(&format!("{}; TRUNCATE {into}", replace(to, into)), &doing(to)).await?;
        }
        Ok(())
    }

    /// A temporary table that rows wait in; it is empty again after each transaction.
    async fn stage(&mut self, to: &Destination) -> Result<String, Failure> {
        let name = format!("pg_temp.leverd_stage_{}", to.number);
        if !self.stages.contains(&to.number) {
            let make = format!(
                "CREATE TEMPORARY TABLE IF NOT EXISTS leverd_stage_{} (LIKE {}) ON COMMIT DELETE ROWS",
                to.number,
                quote::qualified(&to.name)
            );
            self.run(&make, "making a stage for rows").await?;
        }
        Ok(name)
    }

    /// The stage of that table outlives the transaction that made it.
    pub(crate) fn committed(&mut self, to: &Destination) {
        if to.put == Put::Replace {
            self.stages.insert(to.number);
        }
    }

    async fn run(&self, sql: &str, doing: &str) -> Result<(), Failure> {
        self.client().batch_execute(sql).await.map_err(|error| Failure::of(Side::Target, doing, &error))
    }
}

fn doing(to: &Destination) -> String {
    format!("writing {}", quote::shown(&to.name))
}

/// The chunk's next piece; waiting for it is counted.
async fn next(pieces: &mut UnboundedReceiver<Piece>, counters: &Counters) -> Option<Piece> {
    let _starving = counters.starved_time.enter();
    pieces.recv().await
}

fn given_up() -> Failure {
    Failure { kind: Kind::Passing, ..Failure::lasting(Side::Source, "the reader of a chunk was stopped") }
}

fn same_count(to: &Destination, sent: u64, arrived: u64) -> Result<(), Failure> {
    if sent == arrived {
        return Ok(());
    }
    let why = "does a trigger or a rule leave rows out?";
    let text = format!("{}: {sent} rows were sent, and the server counted {arrived}: {why}", doing(to));
    Err(Failure::lasting(Side::Target, text))
}

fn too_many(to: &Destination, most: u64, rejected: &[Rejected]) -> Failure {
    let first = rejected.first().map_or("", |row| row.shown.as_str());
    let text = format!("{}: more than {most} rows of a chunk were refused; the first: {first}", doing(to));
    Failure::lasting(Side::Target, text)
}

/// Rows of the stage over rows with the same key.
fn replace(to: &Destination, stage: &str) -> String {
    let columns = quote::identifiers(&to.columns);
    let written: Vec<String> = to
        .columns
        .iter()
        .filter(|column| !to.key.contains(column))
        .map(|column| format!("{0} = EXCLUDED.{0}", quote::identifier(column)))
        .collect();
    let action =
        if written.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", written.join(", ")) };
    format!(
        "INSERT INTO {} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {stage} \
         ON CONFLICT ({}) DO {action}",
        quote::qualified(&to.name),
        quote::identifiers(&to.key)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders(columns: &[&str], key: &[&str]) -> Destination {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Destination {
            number: 3,
            name: TableName { schema: "shop".to_owned(), name: "orders".to_owned() },
            columns: owned(columns),
            key: owned(key),
            form: Form::Binary,
            put: Put::Replace,
        }
    }

    #[test]
    fn rows_replace_rows_with_the_same_key() {
        assert_eq!(
            replace(&orders(&["id", "total"], &["id"]), "pg_temp.s"),
            "INSERT INTO \"shop\".\"orders\" (\"id\", \"total\") OVERRIDING SYSTEM VALUE SELECT \"id\", \"total\" \
             FROM pg_temp.s ON CONFLICT (\"id\") DO UPDATE SET \"total\" = EXCLUDED.\"total\""
        );
        assert!(replace(&orders(&["id"], &["id"]), "s").ends_with("DO NOTHING"));
    }

    #[test]
    fn a_row_that_got_lost_is_told() {
        let to = orders(&["id"], &["id"]);
        assert_eq!(same_count(&to, 5, 5), Ok(()));
        let text = same_count(&to, 5, 4).unwrap_err().to_string();
        assert!(text.contains("5 rows were sent, and the server counted 4"), "{text}");
    }
}
