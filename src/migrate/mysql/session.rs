//! One connection to the source, and what it is in the middle of.
//!
//! In: an endpoint, statements. Out: answers. Always holds: rows of one command never come as the answer to another.
//! A future that is dropped half-way leaves its session in the state that it had: where the answer had not begun the
//! session is lost, because nobody could tell that answer from the next one; where it was being read it is interrupted
//! by a second connection (`KILL QUERY`), passed over, and the session, with its place in a snapshot, is whole again.

use super::connect::{Address, set_up};
use super::errors::{MySqlError, ReadError, words};
use crate::config::DatabaseEndpoint;
use crate::migrate::catalog::mysql::Flavour;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Opts, Params, Row};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// For a connection that ends another one's statement.
const INTERRUPTION: Duration = Duration::from_secs(10);
/// For passing over what a server had sent before it was interrupted, which is no more than buffers hold; and for all
/// of the rest, where it could not be interrupted.
const PASSING_OVER: Duration = Duration::from_secs(60);
/// The first answer after an interruption may tell of it, and an interruption that came late ends one more statement.
const TRIES: usize = 4;
/// The one error that ends a transaction, and leaves its connection.
const DEADLOCK: u16 = 1213;

/// For how long a session waits for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionLimits {
    /// Until it is connected and set up.
    pub(crate) connect: Duration,
    /// For a lock that a snapshot is begun under, and once more until it is released again.
    pub(crate) lock: Duration,
    /// For the source's next word in the middle of a statement.
    pub(crate) stall: Duration,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            lock: Duration::from_secs(5),
            stall: Duration::from_secs(600),
        }
    }
}

/// Where the time of reading goes, in nanoseconds; shared with whoever counts it.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReadClocks {
    /// Taking rows out of the driver and converting them: neither waiting for the source nor for room.
    pub(crate) converting: Arc<AtomicU64>,
    /// Waiting for the source.
    pub(crate) waiting: Arc<AtomicU64>,
}

/// What a session is in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing.
    Idle,
    /// A command was sent, and its answer has not begun.
    Asking,
    /// Rows are being read.
    Reading,
    /// The connection is of no more use.
    Lost,
}

/// A session of the source.
pub(crate) struct MySqlSession {
    pub(super) conn: Conn,
    pub(super) state: State,
    pub(super) limits: SessionLimits,
    pub(super) clocks: ReadClocks,
    opts: Opts,
    flavour: Flavour,
    at: String,
    database: String,
    in_snapshot: bool,
}

/// The driver's own would show its options, and in them the password.
impl fmt::Debug for MySqlSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MySqlSession")
            .field("at", &self.at)
            .field("id", &self.conn.id())
            .field("state", &self.state)
            .field("in_snapshot", &self.in_snapshot)
            .finish_non_exhaustive()
    }
}

impl MySqlSession {
    /// Connects, outside of any snapshot: each statement sees what is committed when it begins.
    pub(crate) async fn connect(
        source: &DatabaseEndpoint,
        limits: SessionLimits,
    ) -> Result<Self, MySqlError> {
        let address = Address::of(source);
        let opening = async {
            let (mut conn, opts) = address.open().await?;
            let flavour = set_up(&mut conn, &address.at).await?;
            Ok::<(Conn, Opts, Flavour), MySqlError>((conn, opts, flavour))
        };
        let (conn, opts, flavour) = match timeout(limits.connect, opening).await {
            Ok(opened) => opened?,
            Err(_) => {
                let why = format!("no answer within {:.1} s", limits.connect.as_secs_f64());
                return Err(MySqlError::Unreachable { at: address.at, why });
            }
        };
        Ok(Self {
            conn,
            state: State::Idle,
            limits,
            clocks: ReadClocks::default(),
            opts,
            flavour,
            at: address.at,
            database: source.database.clone(),
            in_snapshot: false,
        })
    }

    /// From now on its reading is counted there.
    pub(crate) fn count_into(&mut self, clocks: ReadClocks) {
        self.clocks = clocks;
    }

    /// What its server is.
    pub(crate) fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// The database that it reads.
    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    /// Whether it is of no more use. A session that was one of a snapshot cannot be replaced by one that is.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self.state, State::Lost | State::Asking)
    }

    /// Begins its part of a snapshot, and ends the one before.
    pub(super) async fn begin(&mut self) -> Result<(), ReadError> {
        let doing = "beginning a snapshot on the source";
        self.ask(doing, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", Params::Empty).await?;
        self.in_snapshot = true;
        Ok(())
    }

    /// Runs a statement and takes all of its rows. Without parameters they come as text.
    pub(super) async fn ask(
        &mut self,
        doing: &str,
        sql: &str,
        params: Params,
    ) -> Result<Vec<Row>, ReadError> {
        let within = self.limits.stall;
        self.ask_within(doing, sql, params, within).await
    }

    /// The same within a time of its own. Where that is over the session is lost, and the server ends its statement.
    pub(crate) async fn ask_within(
        &mut self,
        doing: &str,
        sql: &str,
        params: Params,
        within: Duration,
    ) -> Result<Vec<Row>, ReadError> {
        self.ready(doing).await?;
        self.state = State::Asking;
        let conn = &mut self.conn;
        let answer = async move {
            let rows: Vec<Row> = match params {
                Params::Empty => conn.query(sql).await?,
                given => conn.exec(sql, given).await?,
            };
            Ok::<Vec<Row>, Error>(rows)
        };
        match timeout(within, answer).await {
            Ok(Ok(rows)) => {
                self.state = State::Idle;
                Ok(rows)
            }
            Ok(Err(error)) => Err(self.failed(doing, &error)),
            Err(_) => {
                self.abandon().await;
                Err(ReadError::silent(doing, within))
            }
        }
    }

    /// What an error of the driver's means, for the session too.
    pub(super) fn failed(&mut self, doing: &str, error: &Error) -> ReadError {
        let mut failure = ReadError::of(doing, error);
        // The transaction is rolled back: another statement would see another moment, and nothing would tell.
        let left_snapshot = matches!(error, Error::Server(server) if server.code == DEADLOCK);
        if self.in_snapshot && left_snapshot {
            failure = ReadError::Lost { doing: doing.to_owned(), why: words(error) };
        }
        self.state = if matches!(failure, ReadError::Lost { .. }) { State::Lost } else { State::Idle };
        failure
    }

    /// Makes sure that the session is in the middle of nothing.
    pub(super) async fn ready(&mut self, doing: &str) -> Result<(), ReadError> {
        match self.state {
            State::Idle => Ok(()),
            State::Reading => self.interrupt(doing).await,
            State::Asking | State::Lost => {
                self.state = State::Lost;
                let why = "a statement before was given up without an answer".to_owned();
                Err(ReadError::Lost { doing: doing.to_owned(), why })
            }
        }
    }

    /// Ends the statement whose rows were being read, and passes over the rows that are on their way.
    pub(super) async fn interrupt(&mut self, doing: &str) -> Result<(), ReadError> {
        if self.state != State::Reading {
            return Ok(());
        }
        kill(self.opts.clone(), self.conn.id(), "QUERY").await;
        // Before that the driver takes what is left of the result.
        let mut why = "it gives no answer after an interruption".to_owned();
        for _ in 0..TRIES {
            self.state = State::Asking;
            match timeout(PASSING_OVER, self.conn.query_drop("DO 0")).await {
                Ok(Ok(())) => {
                    self.state = State::Idle;
                    return Ok(());
                }
                Ok(Err(Error::Server(_))) => {}
                Ok(Err(error)) => {
                    why = words(&error);
                    break;
                }
                Err(_) => break,
            }
        }
        self.state = State::Lost;
        Err(ReadError::Lost { doing: doing.to_owned(), why })
    }

    /// Gives the session up, and has the server end it: it may hold a lock, or wait for one.
    pub(super) async fn abandon(&mut self) {
        self.state = State::Lost;
        kill(self.opts.clone(), self.conn.id(), "CONNECTION").await;
    }

    /// Ends the session. One that is only dropped may first take all the rows that it was sent.
    pub(crate) async fn close(mut self) {
        if self.state == State::Reading {
            // Where that fails the connection is closed all the same.
            let _ = self.interrupt("closing a session of the source").await;
        }
        if self.state != State::Idle {
            return;
        }
        if let Ok(Err(error)) = timeout(INTERRUPTION, self.conn.disconnect()).await {
            tracing::debug!("closing a session of the source: {}", words(&error));
        }
    }
}

/// Has the server end that session, or its statement. That takes a second connection for a moment: one at a time, which
/// `max_source_connections` has room for.
async fn kill(opts: Opts, id: u32, what: &str) {
    static ONE: Semaphore = Semaphore::const_new(1);
    let statement = format!("KILL {what} {id}");
    // It is never closed.
    let Ok(_one) = ONE.acquire().await else { return };
    let killing = async {
        let mut other = Conn::new(opts).await?;
        other.query_drop(statement.as_str()).await?;
        other.disconnect().await
    };
    match timeout(INTERRUPTION, killing).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("{statement}: {}", words(&error)),
        Err(_) => tracing::debug!("{statement}: no answer"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_short_and_a_slow_target_is_waited_for() {
        let limits = SessionLimits::default();
        assert!(limits.lock < limits.stall);
    }
}
