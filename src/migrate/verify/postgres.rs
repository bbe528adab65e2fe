//! A PostgreSQL that is asked over several sessions, all of them at one moment.
//!
//! In: an address, how many sessions, and perhaps a snapshot that someone holds. Out: a [`PostgresSide`]. Always holds:
//! its transactions read only; what fails in one question does not spoil the next, because each is undone to the same
//! savepoint, which gives its locks back too: ten thousand tables take no more of them than one. Dropping it ends all
//! of its transactions.

use super::sides::{Answers, Ask, AskError, Row, pins};
use crate::migrate::quote;
use crate::migrate::types::Engine;
use crate::postgres::{Connection, PostgresError, connect_for_work};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_postgres::{Client, SimpleQueryMessage};

const BEGIN: &str = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY";
const SAVE: &str = "SAVEPOINT leverd_verify";
const UNDO: &str = "ROLLBACK TO SAVEPOINT leverd_verify";

/// A PostgreSQL, as [`Ask`] wants it.
#[derive(Debug)]
pub struct PostgresSide {
    sessions: Vec<Connection>,
    /// Sessions that nobody uses, by their place.
    idle: Mutex<Vec<usize>>,
    /// As many as there are idle ones.
    free: Semaphore,
    one_snapshot: bool,
}

impl PostgresSide {
    /// Opens so many sessions, at least one, each within `timeout`; statements take as long as they take.
    ///
    /// They see `snapshot`, which another session has exported and still holds; without one they share a snapshot of
    /// their own. Where the server exports none, each sees its own moment, and [`Ask::one_snapshot`] says so.
    ///
    /// # Errors
    /// The server does not answer or refuses, or the snapshot is not there.
    pub async fn open(
        dsn: &str,
        sessions: usize,
        snapshot: Option<&str>,
        timeout: Duration,
    ) -> Result<Self, PostgresError> {
        let mut opened = Vec::new();
        let mut snapshot = snapshot.map(str::to_owned);
        for at in 0..sessions.max(1) {
            let session = connect_for_work(dsn, "leverd verify", timeout).await?;
            let client = session.client();
            for pin in pins(Engine::Postgres) {
                batch(client, "setting how values are written", pin).await?;
            }
            batch(client, "beginning a transaction", BEGIN).await?;
            if let Some(id) = &snapshot {
                let sql = format!("SET TRANSACTION SNAPSHOT {}", quote::literal(id));
                batch(client, "taking a snapshot that is held", &sql).await?;
            } else if at == 0 && sessions > 1 {
                snapshot = exported(client).await?;
            }
            batch(client, "setting a savepoint", SAVE).await?;
            opened.push(session);
        }
        let count = opened.len();
        Ok(Self {
            sessions: opened,
            idle: Mutex::new((0..count).collect()),
            free: Semaphore::new(count),
            one_snapshot: count == 1 || snapshot.is_some(),
        })
    }

    /// A session of one's own.
    async fn session(&self) -> Option<Session<'_>> {
        let permit = self.free.acquire().await.ok()?;
        let at = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        Some(Session { side: self, at, _permit: permit })
    }
}

/// A session that nobody else uses until this is dropped.
struct Session<'a> {
    side: &'a PostgresSide,
    at: usize,
    /// Given back after the session is among the idle ones.
    _permit: SemaphorePermit<'a>,
}

impl Session<'_> {
    fn client(&self) -> Option<&Client> {
        self.side.sessions.get(self.at).map(Connection::client)
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.side.idle.lock().unwrap_or_else(PoisonError::into_inner).push(self.at);
    }
}

impl Ask for PostgresSide {
    async fn ask(&self, sql: &str) -> Result<Answers, AskError> {
        let failed = |why: String| AskError { doing: "reading rows to compare".to_owned(), why };
        let gone = || failed("there is no session left".to_owned());
        let session = self.session().await.ok_or_else(gone)?;
        let client = session.client().ok_or_else(gone)?;
        match client.simple_query(&format!("{sql}; {UNDO}")).await {
            Ok(messages) => rows_of(&messages).map_err(|error| failed(error.to_string())),
            Err(error) => {
                // Where this fails too, the next question says so.
                let undone = client.batch_execute(UNDO).await;
                if let Err(error) = undone {
                    tracing::debug!("undoing a question that failed: {error}");
                }
                let why = match PostgresError::statement("reading rows to compare", &error) {
                    PostgresError::Statement { why, .. } => why,
                    other => other.to_string(),
                };
                Err(failed(why))
            }
        }
    }

    fn one_snapshot(&self) -> bool {
        self.one_snapshot
    }
}

fn rows_of(messages: &[SimpleQueryMessage]) -> Result<Answers, tokio_postgres::Error> {
    let mut rows = Vec::new();
    for message in messages {
        if let SimpleQueryMessage::Row(row) = message {
            let mut values: Row = Vec::with_capacity(row.len());
            for at in 0..row.len() {
                values.push(row.try_get(at)?.map(str::to_owned));
            }
            rows.push(values);
        }
    }
    Ok(rows)
}

async fn batch(client: &Client, doing: &str, sql: &str) -> Result<(), PostgresError> {
    client.batch_execute(sql).await.map_err(|error| PostgresError::statement(doing, &error))
}

/// The snapshot of this session's transaction; `None`: the server exports none, and the transaction has begun anew.
async fn exported(client: &Client) -> Result<Option<String>, PostgresError> {
    match client.simple_query("SELECT pg_catalog.pg_export_snapshot()").await {
        Ok(messages) => {
            let rows = rows_of(&messages)
                .map_err(|error| PostgresError::statement("reading the snapshot's name", &error))?;
            Ok(rows.into_iter().flatten().flatten().next())
        }
        Err(error) => {
            tracing::debug!("the server exports no snapshot: {error}");
            batch(client, "beginning a transaction again", "ROLLBACK").await?;
            batch(client, "beginning a transaction again", BEGIN).await?;
            Ok(None)
        }
    }
}
