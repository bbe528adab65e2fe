//! What a start does first, and what the end of a trial leaves behind: recovery by looking, freeze, the record.

use super::clock;
use super::session::{Session, SessionError};
use crate::actuate::ActuateError;
use crate::ledger::{Changelog, Kind, Line, waits};
use crate::model::{Found, Phase, Snapshot, Trial};
use std::collections::BTreeMap;
use std::time::Duration;

impl Session {
    /// The trial that an earlier process left open, if any.
    pub(super) fn recover(&mut self) -> Result<Option<Trial>, SessionError> {
        let trial = self.ledger.open_trial(&self.config.target.name)?;
        if let Some(trial) = trial.as_ref().filter(|trial| !waits(trial)) {
            self.reporter.note(format!(
                "trial {} of {} was left in phase “{}”: looking at what is there",
                trial.id, trial.plan.lever, trial.phase
            ));
        }
        self.sync_changelog();
        Ok(trial)
    }

    /// Looks at the place of a trial's change. What cannot be looked at is nobody's to touch.
    pub(super) async fn look(&mut self, trial: &Trial) -> Found {
        let Some(intent) = &trial.intent else { return Found::Before };
        let patience = self.config.target.restart.timeout;
        let until = tokio::time::Instant::now() + patience;
        loop {
            let client = self.postgres.client_within(patience).await.ok();
            match self.actuator.look(intent, &trial.plan.place, client).await {
                Ok(found) => return trial.found(found),
                // A container engine may still be starting, after a reboot say.
                Err(ActuateError::Docker(_)) if tokio::time::Instant::now() < until => {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Err(error) => return Found::Neither(format!("it cannot be looked at: {error}")),
            }
        }
    }

    /// Levers whose kept value a person has changed since are frozen: hands off.
    pub(super) async fn freeze_what_people_edited(&mut self) -> Result<(), SessionError> {
        let target = self.config.target.name.clone();
        let frozen = self.ledger.frozen(&target)?;
        // Only the newest change of a parameter is in place; what it replaced is not looked for.
        let mut newest: BTreeMap<String, Trial> = BTreeMap::new();
        for trial in self.ledger.kept(&target)? {
            newest.insert(format!("{:?} {}", trial.plan.place, trial.plan.parameter), trial);
        }
        for trial in newest.into_values() {
            if frozen.iter().any(|row| row.lever == trial.plan.lever) {
                continue;
            }
            let Some(intent) = &trial.intent else { continue };
            let client = self.postgres.client().await.ok();
            let why = match self.actuator.look(intent, &trial.plan.place, client).await {
                Ok(Found::After) | Err(_) => continue,
                Ok(Found::Before) => "the old value stands there again".to_owned(),
                Ok(Found::Neither(what)) => what,
            };
            let why = format!(
                "trial {} kept {} = {}; since then {why}",
                trial.id, trial.plan.parameter, trial.plan.to
            );
            self.reporter.note(format!("{} is frozen: {why}", trial.plan.lever));
            self.ledger.freeze(&target, &trial.plan.lever, &why, clock::now())?;
        }
        Ok(())
    }

    /// Tells people of the end of a trial, which the ledger has.
    pub(super) async fn close(&mut self, trial: &Trial) {
        if trial.phase == Phase::NeedsHuman {
            let why = trial.ending.as_deref().unwrap_or_default();
            tracing::error!(trial.id = trial.id.0, lever.name = %trial.plan.lever, "a person must look at this: {why}");
        }
        fail::fail_point!("trial::closed", |_| std::process::abort());
        self.sync_changelog();
        let snapshot = self.observe().await;
        self.log_sample(&snapshot, Some(trial));
    }

    /// Writes the entries that the changelog lacks. The ledger has them, so a failure here loses nothing.
    pub(super) fn sync_changelog(&self) {
        let undo = |trial: &Trial| {
            trial
                .intent
                .as_ref()
                .filter(|_| trial.plan.gives_back.is_none())
                .map(|intent| self.actuator.undo_commands(&trial.plan, intent))
                .unwrap_or_default()
        };
        if let Err(error) = Changelog::new(&self.config.paths.changelog).sync(&self.ledger, undo) {
            let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
            tracing::error!("the changelog could not be written: {error}{hint}");
            self.reporter.note(format!("the changelog could not be written: {error}{hint}"));
        }
    }

    /// Appends a line to `tuning.log`; a failure is told and changes nothing.
    pub(super) fn log_sample(&mut self, snapshot: &Snapshot, trial: Option<&Trial>) {
        let signals: BTreeMap<_, _> =
            snapshot.readings.iter().map(|(name, reading)| (name.clone(), reading.value())).collect();
        let line = Line {
            at: snapshot.at,
            kind: if trial.is_some() { Kind::Trial } else { Kind::Sample },
            signals: &signals,
            trial: trial.map(|trial| (trial.id, &trial.phase)),
            message: trial.and_then(|trial| trial.ending.as_deref()),
        };
        if let Err(error) = self.tuning_log.append(&line) {
            tracing::warn!("tuning.log could not be written: {error}");
        }
    }
}
