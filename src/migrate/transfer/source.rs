//! A source's sessions that read chunks, whichever engine it has.
//!
//! Always holds: all of them see the run's one snapshot. A session of PostgreSQL can take it on at any time; those of
//! MySQL are opened together, once, and one that is lost cannot be had again.

use super::failure::{Failure, Side};
use super::postgres_reader::PostgresReader;
use super::schedule::{BoundaryQuestion, Chunk};
use super::segment::Sink;
use super::writer::{Destination, Rejected};
use crate::config::DatabaseEndpoint;
use crate::migrate::mysql::{KeyColumn, MySqlSession, RowPlan};
use crate::migrate::ranges::KeyValue;
use bytes::Bytes;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Sessions of a MySQL's snapshot that nobody reads with. After a load all that are left are among them.
pub(crate) type IdleSessions = Arc<Mutex<Vec<MySqlSession>>>;

/// Where readers get their sessions.
#[derive(Debug)]
pub(crate) enum Source {
    /// A PostgreSQL, and the snapshot that its sessions take on.
    Postgres { endpoint: DatabaseEndpoint, snapshot: String },
    /// Sessions of a MySQL that are in the snapshot: those that nobody reads with, and how many there are in all.
    MySql { idle: IdleSessions, alive: AtomicUsize },
}

/// What a reader must know of a table.
#[derive(Debug, Clone)]
pub(crate) struct TableOrder {
    /// The columns' names in the source, in the order in which rows have them.
    pub(crate) columns: Vec<String>,
    /// For a MySQL: how its rows are written, and its key.
    pub(crate) mysql: Option<(RowPlan, Vec<KeyColumn>)>,
    pub(crate) destination: Destination,
}

/// One session that reads.
#[derive(Debug)]
pub(crate) enum Session {
    Postgres(Box<PostgresReader>),
    MySql(Box<MySqlSession>),
}

impl Source {
    /// Another session; `None`: there is none left.
    pub(crate) async fn open(&self, name: &str, timeout: Duration) -> Result<Option<Session>, Failure> {
        match self {
            Self::Postgres { endpoint, snapshot } => {
                let reader = PostgresReader::open(endpoint, name, snapshot, timeout).await?;
                Ok(Some(Session::Postgres(Box::new(reader))))
            }
            Self::MySql { idle, .. } => {
                let session = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
                Ok(session.map(|session| Session::MySql(Box::new(session))))
            }
        }
    }

    /// These sessions of a MySQL.
    pub(crate) fn of_mysql(sessions: Vec<MySqlSession>) -> Self {
        Self::MySql { alive: AtomicUsize::new(sessions.len()), idle: Arc::new(Mutex::new(sessions)) }
    }

    /// Takes a session back that is lost, or not needed now. PostgreSQL's are closed.
    pub(crate) fn take_back(&self, session: Session) {
        let (Self::MySql { idle, alive }, Session::MySql(session)) = (self, session) else { return };
        if session.is_lost() {
            alive.fetch_sub(1, Ordering::Relaxed);
        } else {
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(*session);
        }
    }

    /// Whether no session is left, and none can be had.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::MySql { alive, .. } if alive.load(Ordering::Relaxed) == 0)
    }
}

impl Session {
    /// Whether it can read no more.
    pub(crate) fn is_lost(&self) -> bool {
        match self {
            Self::Postgres(reader) => reader.is_closed(),
            Self::MySql(session) => session.is_lost(),
        }
    }

    /// Reads a chunk into the sink. The rows that it had; `None`: it was not read to its end, which the chunk's writer
    /// knows.
    pub(crate) async fn read(
        &mut self,
        table: &TableOrder,
        chunk: &Chunk,
        most: u64,
        mut sink: Sink,
    ) -> Option<u64> {
        let form = table.destination.form_of(chunk);
        match self {
            Self::Postgres(reader) => {
                let columns: Vec<&str> = table.columns.iter().map(String::as_str).collect();
                let totals = reader.read(&columns, &chunk.relation, &chunk.extent, form, sink).await?;
                Some(totals.rows)
            }
            Self::MySql(session) => {
                let Some((plan, _)) = &table.mysql else {
                    sink.fail(Failure::lasting(Side::Source, "a table of a MySQL without its plan"));
                    return None;
                };
                let most = usize::try_from(most).unwrap_or(usize::MAX);
                let read =
                    session.read_chunk(plan, &chunk.relation, &chunk.extent, form, most, &mut sink).await;
                match read {
                    Ok((_, refused)) => {
                        let refused: Vec<Rejected> = refused
                            .into_iter()
                            .map(|row| Rejected {
                                number: row.number,
                                sqlstate: row.sqlstate.to_owned(),
                                shown: row.message.clone(),
                                message: row.message,
                                column: Some(row.column),
                                payload: Bytes::from(row.payload),
                            })
                            .collect();
                        let many = refused.len() as u64;
                        let totals = sink.finish_with(refused).await.ok()?;
                        Some(totals.rows + many)
                    }
                    Err(error) => {
                        sink.fail(error.failure());
                        None
                    }
                }
            }
        }
    }

    /// The key that ends a chunk; `None`: it ends with its part.
    pub(crate) async fn boundary(
        &mut self,
        table: &TableOrder,
        question: &BoundaryQuestion,
    ) -> Result<Option<Vec<KeyValue>>, Failure> {
        match self {
            Self::Postgres(reader) => {
                reader.boundary(&question.relation, &question.extent, question.rows).await
            }
            Self::MySql(session) => {
                let keys = table.mysql.as_ref().map(|(_, keys)| keys.as_slice()).unwrap_or_default();
                session
                    .boundary(keys, &question.relation, &question.extent, question.rows)
                    .await
                    .map_err(|error| error.failure())
            }
        }
    }
}
