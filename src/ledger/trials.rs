//! Trials and their trail of events: writing them down. Finding them again is in `lookup`.

use super::holds::{Held, Hold};
use super::lookup::id_and_body;
use super::store::Ledger;
use super::{EntryKind, LedgerError, storable};
use crate::model::{LeverName, Phase, Plan, TargetName, Trial, TrialId, Verdict};
use chrono::{DateTime, SecondsFormat, Utc};
use rusqlite::{Connection, OptionalExtension, params};

/// Where a trial stands, as far as a search needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not ended.
    Open,
    /// The change stays.
    Kept,
    /// The old value is back.
    Reverted,
    /// Nothing was ever changed.
    Aborted,
    /// A person edited what it manages.
    Frozen,
    /// The undo failed.
    NeedsHuman,
}

impl State {
    /// The state of a trial in `phase`.
    pub fn of(phase: &Phase) -> Self {
        match phase {
            Phase::Planned
            | Phase::AwaitApproval
            | Phase::Preflight
            | Phase::IntentLogged
            | Phase::Applying
            | Phase::VerifyApplied
            | Phase::Settling
            | Phase::Measuring { .. }
            | Phase::BackToA
            | Phase::AgainB
            | Phase::RollingBack
            | Phase::VerifyReverted => Self::Open,
            Phase::Kept => Self::Kept,
            Phase::Reverted => Self::Reverted,
            Phase::Aborted => Self::Aborted,
            Phase::Frozen => Self::Frozen,
            Phase::NeedsHuman => Self::NeedsHuman,
        }
    }

    /// As it stands in the ledger, in markers and in JSON; never changes.
    pub fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Kept => "kept",
            Self::Reverted => "reverted",
            Self::Aborted => "aborted",
            Self::Frozen => "frozen",
            Self::NeedsHuman => "needs_human",
        }
    }
}

impl Ledger {
    /// Opens a trial and gives it its number. `trial.id` does not matter.
    ///
    /// # Errors
    /// [`LedgerError::AlreadyOpen`], or the ledger cannot be written.
    pub fn insert(&self, trial: &Trial) -> Result<TrialId, LedgerError> {
        let doing = "recording a new trial";
        let mut trial = Trial { id: TrialId(0), ..trial.clone() };
        self.write(doing, |connection| {
            let Plan { target, lever, symptom, .. } = &trial.plan;
            connection
                .execute(
                    "INSERT INTO trial (target, lever, symptom, state, body) VALUES (?1, ?2, ?3, ?4, '')",
                    params![
                        target.as_str(),
                        lever.as_str(),
                        symptom.as_str(),
                        State::of(&trial.phase).word()
                    ],
                )
                .map_err(|source| self.trial_refused(connection, doing, &trial, source))?;
            trial.id = TrialId(connection.last_insert_rowid());
            self.store(connection, doing, &trial)?;
            self.append(
                connection,
                doing,
                &NewEvent {
                    trial: Some(trial.id),
                    phase_to: Some(phase_text(&trial.phase)),
                    ..NewEvent::new(&trial.plan.target, Some(&trial.plan.lever), "opened", trial.opened_at)
                },
            )?;
            Ok(trial.id)
        })
    }

    /// Records a trial as it is now, and appends `what` happened to its trail.
    ///
    /// # Errors
    /// [`LedgerError::NoSuchTrial`], [`LedgerError::NotStorable`], or the ledger cannot be written.
    pub fn save(&self, trial: &Trial, what: &str, at: DateTime<Utc>) -> Result<(), LedgerError> {
        let doing = "recording a step of a trial";
        self.write(doing, |connection| self.step(connection, doing, trial, what, at))
    }

    /// Records the end of a trial and what holds its lever back from now on: both or neither, so that no crash leaves
    /// a lever free that must not be pulled.
    ///
    /// # Errors
    /// As [`Ledger::save`].
    pub fn save_and_hold(
        &self,
        trial: &Trial,
        what: &str,
        hold: Hold,
        at: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        let doing = "recording the end of a trial";
        let why = trial.ending.as_deref().unwrap_or_default();
        self.write(doing, |connection| {
            self.step(connection, doing, trial, what, at)?;
            self.hold(
                connection,
                hold,
                Held { target: &trial.plan.target, lever: &trial.plan.lever, why, at },
            )
        })
    }

    fn step(
        &self,
        connection: &Connection,
        doing: &'static str,
        trial: &Trial,
        what: &str,
        at: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        let before = self.load(connection, doing, trial.id)?;
        self.store(connection, doing, trial)?;
        let moved = before.phase != trial.phase;
        let (old, new) = (State::of(&before.phase), State::of(&trial.phase));
        self.append(
            connection,
            doing,
            &NewEvent {
                trial: Some(trial.id),
                phase_from: Some(phase_text(&before.phase)),
                phase_to: Some(phase_text(&trial.phase)),
                touched: moved && touches(&trial.phase),
                entry: if old == new { None } else { EntryKind::of(new) },
                ..NewEvent::new(&trial.plan.target, Some(&trial.plan.lever), what, at)
            },
        )?;
        match trial.plan.gives_back {
            Some(kept) if moved && new == State::Kept => self.given_back(connection, doing, kept, trial, at),
            _ => Ok(()),
        }
    }

    /// The kept change is out again, by a later trial: that trial's entry tells people.
    fn given_back(
        &self,
        connection: &Connection,
        doing: &'static str,
        kept: TrialId,
        by: &Trial,
        at: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        let mut kept = self.load(connection, doing, kept)?;
        kept.undone_at = Some(at);
        self.store(connection, doing, &kept)?;
        let (phase, what) = (phase_text(&kept.phase), format!("given back by trial {}", by.id));
        self.append(
            connection,
            doing,
            &NewEvent {
                trial: Some(kept.id),
                phase_from: Some(phase.clone()),
                phase_to: Some(phase),
                ..NewEvent::new(&kept.plan.target, Some(&kept.plan.lever), &what, at)
            },
        )
    }

    /// Records that a person had a trial's change undone after its end, and freezes its lever: else it would be pulled
    /// again. `false`: it already was undone.
    ///
    /// # Errors
    /// [`LedgerError::NothingToUndo`] where none of it is in force; or the ledger cannot be written.
    pub fn mark_undone(&self, id: TrialId, at: DateTime<Utc>, why: &str) -> Result<bool, LedgerError> {
        let frozen = format!("a person rolled trial {id} back");
        self.undone(id, at, why, EntryKind::Undone, Some(&frozen))
    }

    /// Records that a loan is over: what was borrowed is out again. `edited`: a person's value stands there instead,
    /// which is left, and for which its lever is frozen. `false`: it already was over.
    ///
    /// # Errors
    /// As [`Ledger::mark_undone`].
    pub fn mark_returned(
        &self,
        id: TrialId,
        at: DateTime<Utc>,
        why: &str,
        edited: Option<&str>,
    ) -> Result<bool, LedgerError> {
        // Nothing went back: the changelog must not say so.
        let entry = if edited.is_some() { EntryKind::Frozen } else { EntryKind::Undone };
        self.undone(id, at, why, entry, edited)
    }

    /// `entry`: what the changelog tells; `frozen`: why its lever is left alone from now on.
    fn undone(
        &self,
        id: TrialId,
        at: DateTime<Utc>,
        why: &str,
        entry: EntryKind,
        frozen: Option<&str>,
    ) -> Result<bool, LedgerError> {
        let doing = "recording an undo";
        self.write(doing, |connection| {
            let mut trial = self.load(connection, doing, id)?;
            match State::of(&trial.phase) {
                // What it changed was the absence of another change.
                State::Kept if trial.plan.gives_back.is_some() => {
                    return Err(LedgerError::NothingToUndo { id, phase: trial.phase });
                }
                State::Kept | State::Frozen | State::NeedsHuman => {}
                State::Open | State::Reverted | State::Aborted => {
                    return Err(LedgerError::NothingToUndo { id, phase: trial.phase });
                }
            }
            if trial.undone_at.is_some() {
                return Ok(false);
            }
            trial.undone_at = Some(at);
            trial.alarm |= entry == EntryKind::Frozen;
            self.store(connection, doing, &trial)?;
            let phase = phase_text(&trial.phase);
            self.append(
                connection,
                doing,
                &NewEvent {
                    trial: Some(id),
                    phase_from: Some(phase.clone()),
                    phase_to: Some(phase),
                    touched: true,
                    entry: Some(entry),
                    ..NewEvent::new(&trial.plan.target, Some(&trial.plan.lever), why, at)
                },
            )?;
            if let Some(why) = frozen {
                let Plan { target, lever, .. } = &trial.plan;
                self.hold(connection, Hold::Freeze, Held { target, lever, why, at })?;
            }
            Ok(true)
        })
    }

    pub(super) fn append(
        &self,
        connection: &Connection,
        doing: &'static str,
        event: &NewEvent<'_>,
    ) -> Result<(), LedgerError> {
        connection
            .prepare_cached(
                "INSERT INTO event (at, target, trial, lever, what, phase_from, phase_to, touched, entry)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    stamp(event.at),
                    event.target.as_str(),
                    event.trial.map(|id| id.0),
                    event.lever.map(LeverName::as_str),
                    event.what,
                    event.phase_from,
                    event.phase_to,
                    event.touched,
                    event.entry.map(EntryKind::word),
                ])
            })
            .map(|_| ())
            .map_err(|source| self.sqlite(doing, source))
    }

    fn store(&self, connection: &Connection, doing: &'static str, trial: &Trial) -> Result<(), LedgerError> {
        let body = storable::encode(trial)
            .map_err(|source| LedgerError::NotStorable { lever: trial.plan.lever.to_string(), source })?;
        let change = trial.judgements.last().and_then(|look| look.goal.as_ref()).map(|goal| goal.change);
        connection
            .prepare_cached(
                "UPDATE trial SET target = ?2, lever = ?3, symptom = ?4, state = ?5, verdict = ?6, change = ?7,
                 undone_at = ?8, body = ?9 WHERE id = ?1",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    trial.id.0,
                    trial.plan.target.as_str(),
                    trial.plan.lever.as_str(),
                    trial.plan.symptom.as_str(),
                    State::of(&trial.phase).word(),
                    trial.verdict.map(verdict_word),
                    change.filter(|change| change.is_finite()),
                    trial.undone_at.map(stamp),
                    body,
                ])
            })
            .map(|_| ())
            .map_err(|source| self.trial_refused(connection, doing, trial, source))
    }

    fn load(&self, connection: &Connection, doing: &'static str, id: TrialId) -> Result<Trial, LedgerError> {
        let row = connection
            .query_row("SELECT id, body FROM trial WHERE id = ?1", [id.0], id_and_body)
            .optional()
            .map_err(|source| self.sqlite(doing, source))?
            .ok_or_else(|| LedgerError::NoSuchTrial { path: self.path().to_owned(), id })?;
        self.parsed(row)
    }

    /// The unique index is what refuses a second open trial; here its answer gets its name.
    fn trial_refused(
        &self,
        connection: &Connection,
        doing: &'static str,
        trial: &Trial,
        source: rusqlite::Error,
    ) -> LedgerError {
        if source.sqlite_error_code() != Some(rusqlite::ErrorCode::ConstraintViolation) {
            return self.sqlite(doing, source);
        }
        let query = "SELECT id FROM trial WHERE target = ?1 AND state = 'open' AND id <> ?2";
        let target = trial.plan.target.clone();
        match connection.query_row(query, params![target.as_str(), trial.id.0], |row| row.get(0)).optional() {
            Ok(Some(id)) => LedgerError::AlreadyOpen { target, trial: TrialId(id) },
            Ok(None) | Err(_) => self.sqlite(doing, source),
        }
    }
}

/// An event to append.
pub(super) struct NewEvent<'a> {
    pub(super) at: DateTime<Utc>,
    pub(super) target: &'a TargetName,
    pub(super) trial: Option<TrialId>,
    pub(super) lever: Option<&'a LeverName>,
    pub(super) what: &'a str,
    pub(super) phase_from: Option<String>,
    pub(super) phase_to: Option<String>,
    pub(super) touched: bool,
    pub(super) entry: Option<EntryKind>,
}

impl<'a> NewEvent<'a> {
    pub(super) fn new(
        target: &'a TargetName,
        lever: Option<&'a LeverName>,
        what: &'a str,
        at: DateTime<Utc>,
    ) -> Self {
        let (trial, phase_from, phase_to, touched, entry) = (None, None, None, false, None);
        Self { at, target, trial, lever, what, phase_from, phase_to, touched, entry }
    }

    /// About a trial that stays where it is.
    pub(super) fn of_trial(trial: &'a Trial, what: &'a str, at: DateTime<Utc>) -> Self {
        let event = Self::new(&trial.plan.target, Some(&trial.plan.lever), what, at);
        Self { trial: Some(trial.id), ..event }
    }
}

/// Whether entering a phase means that the target was changed, or may have been.
fn touches(phase: &Phase) -> bool {
    match phase {
        Phase::Applying
        | Phase::VerifyApplied
        | Phase::BackToA
        | Phase::AgainB
        | Phase::RollingBack
        | Phase::VerifyReverted
        | Phase::Reverted
        // Not by leverd, but by a person.
        | Phase::Frozen => true,
        Phase::Planned
        | Phase::AwaitApproval
        | Phase::Preflight
        | Phase::IntentLogged
        | Phase::Settling
        | Phase::Measuring { .. }
        | Phase::Kept
        | Phase::Aborted
        | Phase::NeedsHuman => false,
    }
}

fn phase_text(phase: &Phase) -> String {
    match phase {
        Phase::Measuring { look } => format!("{phase}, look {}", u32::from(*look) + 1),
        other => other.name().to_owned(),
    }
}

/// A time as text that sorts: UTC, always nine digits.
pub(super) fn stamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Nanos, true)
}

pub(crate) fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Kept => "kept",
        Verdict::Reverted => "reverted",
        Verdict::Undecided => "undecided",
    }
}

#[cfg(test)]
mod tests;
