//! What people said to plans that wait for them.

use super::LedgerError;
use super::store::Ledger;
use super::trials::NewEvent;
use crate::model::{Phase, Trial, TrialId};
use chrono::{DateTime, SecondsFormat, Utc};
use rusqlite::{OptionalExtension, params};

/// One answer. It is given once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Yes; else no.
    pub approved: bool,
    /// Who said it, as far as leverd can know.
    pub by: String,
    /// Why, in the person's words.
    pub why: Option<String>,
}

impl Ledger {
    /// Writes an answer down. `false`: there is one already.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub fn give_answer(
        &self,
        trial: &Trial,
        answer: &Answer,
        at: DateTime<Utc>,
    ) -> Result<bool, LedgerError> {
        let doing = "writing an answer";
        self.write(doing, |connection| {
            let sqlite = |source| self.sqlite(doing, source);
            let id = trial.id.0;
            let known: Option<i64> = connection
                .query_row("SELECT trial FROM answer WHERE trial = ?1", [id], |row| row.get(0))
                .optional()
                .map_err(sqlite)?;
            if known.is_some() {
                return Ok(false);
            }
            let time = at.to_rfc3339_opts(SecondsFormat::Millis, true);
            connection
                .execute(
                    "INSERT INTO answer (trial, approved, by, why, at) VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![id, answer.approved, answer.by, answer.why, time],
                )
                .map_err(sqlite)?;
            let what = if answer.approved { "approved by a person" } else { "rejected by a person" };
            let event = NewEvent::of_trial(trial, what, at);
            self.append(connection, doing, &event)?;
            Ok(true)
        })
    }

    /// The answer to a trial, where there is one.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn answer(&self, id: TrialId) -> Result<Option<Answer>, LedgerError> {
        self.read("reading an answer", |connection| {
            connection
                .query_row("SELECT approved, by, why FROM answer WHERE trial = ?1", [id.0], |row| {
                    Ok(Answer { approved: row.get(0)?, by: row.get(1)?, why: row.get(2)? })
                })
                .optional()
        })
    }
}

/// Whether a trial waits for an answer.
pub fn waits(trial: &Trial) -> bool {
    trial.phase == Phase::AwaitApproval
}
