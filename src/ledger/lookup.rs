//! Finding things again: trials, the trail, what was learned, what the changelog must say.

use super::store::Ledger;
use super::trials::verdict_word;
use super::{EntryKind, LedgerError, storable};
use crate::model::{Experience, LeverName, Symptom, TargetName, Trial, TrialId, Verdict};
use chrono::{DateTime, Utc};
use rusqlite::{OptionalExtension, Row, params};

/// One line of the trail.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Event {
    /// Its number; the trail's order.
    pub id: i64,
    /// When it happened, by the clock of then.
    pub at: DateTime<Utc>,
    /// The trial that it belongs to; none where a lever was frozen, thawed or quarantined.
    pub trial: Option<TrialId>,
    /// The lever.
    pub lever: Option<LeverName>,
    /// What happened, for people.
    pub what: String,
    /// The phase before, as people see it.
    pub phase_from: Option<String>,
    /// The phase after, as people see it.
    pub phase_to: Option<String>,
}

/// A changelog entry that an event made due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The trial.
    pub trial: TrialId,
    /// What kind of entry.
    pub kind: EntryKind,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// What the event said.
    pub what: String,
}

impl Ledger {
    /// The target's trial that has not ended.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn open_trial(&self, target: &TargetName) -> Result<Option<Trial>, LedgerError> {
        Ok(self.trials("WHERE target = ?1 AND state = 'open'", params![target.as_str()])?.pop())
    }

    /// One trial.
    ///
    /// # Errors
    /// [`LedgerError::NoSuchTrial`], or the ledger cannot be read.
    pub fn trial(&self, id: TrialId) -> Result<Trial, LedgerError> {
        self.trials("WHERE id = ?1", params![id.0])?
            .pop()
            .ok_or_else(|| LedgerError::NoSuchTrial { path: self.path().to_owned(), id })
    }

    /// The newest `limit` trials of a target, or of all of them; newest first.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn history(&self, target: Option<&TargetName>, limit: u32) -> Result<Vec<Trial>, LedgerError> {
        match target {
            Some(target) => {
                self.trials("WHERE target = ?1 ORDER BY id DESC LIMIT ?2", params![target.as_str(), limit])
            }
            None => self.trials("ORDER BY id DESC LIMIT ?1", params![limit]),
        }
    }

    /// The changes that are in force: kept and not undone, oldest first. A change that was given back is none.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn kept(&self, target: &TargetName) -> Result<Vec<Trial>, LedgerError> {
        self.trials(
            "WHERE target = ?1 AND state = 'kept' AND undone_at IS NULL
             AND json_extract(body, '$.plan.gives_back') IS NULL ORDER BY id",
            params![target.as_str()],
        )
    }

    /// What migrations' runs have borrowed and not given back, oldest first. It is among [`Ledger::kept`] too.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn borrowed(&self, target: &TargetName) -> Result<Vec<Trial>, LedgerError> {
        self.trials(
            "WHERE target = ?1 AND state = 'kept' AND undone_at IS NULL
             AND json_extract(body, '$.plan.borrowed_for') IS NOT NULL ORDER BY id",
            params![target.as_str()],
        )
    }

    /// The trials that gave a kept change back, or tried to, and have ended; oldest first.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn give_backs(&self, target: &TargetName) -> Result<Vec<Trial>, LedgerError> {
        self.trials(
            "WHERE target = ?1 AND state <> 'open' AND json_extract(body, '$.plan.gives_back') IS NOT NULL
             ORDER BY id",
            params![target.as_str()],
        )
    }

    /// Trials whose undo failed and that no person has settled since, oldest first.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn needing_human(&self, target: &TargetName) -> Result<Vec<Trial>, LedgerError> {
        self.trials(
            "WHERE target = ?1 AND state = 'needs_human' AND undone_at IS NULL ORDER BY id",
            params![target.as_str()],
        )
    }

    /// A trial's trail, oldest first.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn events(&self, id: TrialId) -> Result<Vec<Event>, LedgerError> {
        self.trail_where("trial = ?1 ORDER BY id", params![id.0])
    }

    /// The newest `limit` events of a target, its frozen and thawed levers included; newest first.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn trail(&self, target: &TargetName, limit: u32) -> Result<Vec<Event>, LedgerError> {
        self.trail_where("target = ?1 ORDER BY id DESC LIMIT ?2", params![target.as_str(), limit])
    }

    /// When the target was last changed: anything applied, put back or undone. The last in order, not in time.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn last_change_at(&self, target: &TargetName) -> Result<Option<DateTime<Utc>>, LedgerError> {
        let query = "SELECT at FROM event WHERE target = ?1 AND touched = 1 ORDER BY id DESC LIMIT 1";
        let at: Option<String> = self.read("looking for the last change", |connection| {
            connection.query_row(query, [target.as_str()], |row| row.get(0)).optional()
        })?;
        at.map(|text| self.time(&text)).transpose()
    }

    /// What every lever did so far, oldest first. Trials without a verdict teach nothing and are not in it, nor are
    /// those that gave something back: that a lever is no longer needed does not say that it did not help.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn experience(&self, target: &TargetName) -> Result<Vec<Experience>, LedgerError> {
        let query = "SELECT id, lever, symptom, verdict, change,
                            undone_at IS NOT NULL AND NOT EXISTS (
                                SELECT 1 FROM trial later WHERE later.target = trial.target AND later.state = 'kept'
                                AND json_extract(later.body, '$.plan.gives_back') = trial.id),
                            coalesce(json_extract(body, '$.plan.to'), '') FROM trial
                     WHERE target = ?1 AND verdict IS NOT NULL AND state <> 'open'
                     AND json_extract(body, '$.plan.gives_back') IS NULL ORDER BY id";
        let rows = self.read("looking for experience", |connection| {
            connection
                .prepare_cached(query)?
                .query_map([target.as_str()], |row| {
                    let (lever, symptom): (String, String) = (row.get(1)?, row.get(2)?);
                    let (verdict, to): (String, String) = (row.get(3)?, row.get(6)?);
                    Ok((TrialId(row.get(0)?), lever, symptom, to, verdict, row.get(4)?, row.get(5)?))
                })?
                .collect::<rusqlite::Result<Vec<_>>>()
        })?;
        rows.into_iter()
            .map(|(trial, lever, symptom, to, word, change, undone)| {
                let verdict = verdict_of(&word)
                    .ok_or_else(|| self.damaged(format!("trial {trial} has the verdict {word:?}")))?;
                Ok(Experience {
                    trial,
                    lever: LeverName::new(lever),
                    symptom: Symptom::new(symptom),
                    to,
                    verdict,
                    change,
                    undone,
                })
            })
            .collect()
    }

    /// The changelog entries that are due so far, in order.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn entries_due(&self) -> Result<Vec<Due>, LedgerError> {
        let query = "SELECT trial, entry, at, what FROM event WHERE entry IS NOT NULL ORDER BY id";
        let rows = self.read("looking for changelog entries", |connection| {
            connection
                .prepare_cached(query)?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
                .collect::<rusqlite::Result<Vec<(i64, String, String, String)>>>()
        })?;
        rows.into_iter()
            .map(|(trial, word, at, what)| {
                let kind = EntryKind::from_word(&word)
                    .ok_or_else(|| self.damaged(format!("trial {trial} has the entry {word:?}")))?;
                Ok(Due { trial: TrialId(trial), kind, at: self.time(&at)?, what })
            })
            .collect()
    }

    pub(super) fn time(&self, text: &str) -> Result<DateTime<Utc>, LedgerError> {
        DateTime::parse_from_rfc3339(text)
            .map(|time| time.to_utc())
            .map_err(|error| self.damaged(format!("{text:?} is not a time: {error}")))
    }

    fn trials(&self, which: &str, params: impl rusqlite::Params) -> Result<Vec<Trial>, LedgerError> {
        let query = format!("SELECT id, body FROM trial {which}");
        self.read("reading trials", |connection| {
            connection
                .prepare_cached(&query)?
                .query_map(params, id_and_body)?
                .collect::<rusqlite::Result<Vec<_>>>()
        })?
        .into_iter()
        .map(|row| self.parsed(row))
        .collect()
    }

    fn trail_where(&self, which: &str, params: impl rusqlite::Params) -> Result<Vec<Event>, LedgerError> {
        let query =
            format!("SELECT id, at, trial, lever, what, phase_from, phase_to FROM event WHERE {which}");
        let rows = self.read("reading the trail", |connection| {
            connection
                .prepare_cached(&query)?
                .query_map(params, |row| {
                    let at: String = row.get(1)?;
                    let event = Event {
                        id: row.get(0)?,
                        at: DateTime::UNIX_EPOCH,
                        trial: row.get::<_, Option<i64>>(2)?.map(TrialId),
                        lever: row.get::<_, Option<String>>(3)?.map(LeverName::new),
                        what: row.get(4)?,
                        phase_from: row.get(5)?,
                        phase_to: row.get(6)?,
                    };
                    Ok((at, event))
                })?
                .collect::<rusqlite::Result<Vec<_>>>()
        })?;
        rows.into_iter().map(|(at, event)| Ok(Event { at: self.time(&at)?, ..event })).collect()
    }

    pub(super) fn parsed(&self, (id, body): (i64, String)) -> Result<Trial, LedgerError> {
        let trial = storable::decode(&body)
            .map_err(|error| self.damaged(format!("trial {id} cannot be read: {error}")))?;
        Ok(Trial { id: TrialId(id), ..trial })
    }

    pub(super) fn damaged(&self, what: String) -> LedgerError {
        LedgerError::Damaged { path: self.path().to_owned(), what }
    }
}

pub(super) fn verdict_of(word: &str) -> Option<Verdict> {
    [Verdict::Kept, Verdict::Reverted, Verdict::Undecided]
        .into_iter()
        .find(|verdict| verdict_word(*verdict) == word)
}

pub(super) fn id_and_body(row: &Row<'_>) -> rusqlite::Result<(i64, String)> {
    Ok((row.get(0)?, row.get(1)?))
}
