//! A MySQL's snapshot that is asked, as [`Ask`] wants it.
//!
//! In: sessions of one moment. Out: a [`MySqlSide`]. Always holds: what its values are written by is set once more, and
//! a session that lost its place in the snapshot is not used again.

use super::sides::{Answers, Ask, AskError, Row, pins};
use crate::migrate::mysql::{MySqlSession, Snapshot, text_at};
use crate::migrate::types::Engine;
use mysql_async::Params;
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore};

/// One statement passes over a whole table.
const PATIENCE: Duration = Duration::from_secs(6 * 3600);

const DOING: &str = "reading rows to compare";

/// A MySQL or MariaDB.
#[derive(Debug)]
pub(crate) struct MySqlSide {
    idle: Mutex<Vec<MySqlSession>>,
    /// As many as there are sessions.
    free: Semaphore,
    one_snapshot: bool,
}

impl MySqlSide {
    /// Takes a snapshot's sessions.
    ///
    /// # Errors
    /// A session refuses what it is set to.
    pub(crate) async fn of(snapshot: Snapshot) -> Result<Self, AskError> {
        let one_snapshot = snapshot.is_one_moment();
        Self::of_sessions(snapshot.sessions, one_snapshot).await
    }

    /// Takes sessions that are in a snapshot, one at least. `one_snapshot`: all of them see one moment for certain.
    ///
    /// # Errors
    /// A session refuses what it is set to.
    pub(crate) async fn of_sessions(
        mut sessions: Vec<MySqlSession>,
        one_snapshot: bool,
    ) -> Result<Self, AskError> {
        for session in &mut sessions {
            for pin in pins(Engine::MySql) {
                ask(session, pin).await?;
            }
        }
        let count = sessions.len();
        Ok(Self { idle: Mutex::new(sessions), free: Semaphore::new(count), one_snapshot })
    }
}

impl Ask for MySqlSide {
    async fn ask(&self, sql: &str) -> Result<Answers, AskError> {
        let _permit = self.free.acquire().await;
        let taken = self.idle.lock().await.pop();
        let Some(mut session) = taken else {
            let why = "every session of the source is lost".to_owned();
            return Err(AskError { doing: DOING.to_owned(), why });
        };
        let answer = ask(&mut session, sql).await;
        if !session.is_lost() {
            self.idle.lock().await.push(session);
        }
        answer
    }

    fn one_snapshot(&self) -> bool {
        self.one_snapshot
    }
}

async fn ask(session: &mut MySqlSession, sql: &str) -> Result<Answers, AskError> {
    let failed = |why: String| AskError { doing: DOING.to_owned(), why };
    let rows = session.ask_within(DOING, sql, Params::Empty, PATIENCE).await;
    let rows = rows.map_err(|error| failed(error.to_string()))?;
    Ok(rows.iter().map(|row| (0..row.len()).map(|at| text_at(row, at)).collect::<Row>()).collect())
}
