//! Putting kept changes back because a person says so.

use super::clock;
use super::session::{Session, SessionError};
use crate::actuate::ActuateError;
use crate::model::{Activation, Arm, Found, Trial};

/// What became of one kept change.
#[derive(Debug)]
pub struct Undone {
    /// The trial that had kept it.
    pub trial: Trial,
    /// Why it could not be put back.
    pub failed: Option<ActuateError>,
}

/// Puts the changes of `trials` back, the newest first, and stops at the first that cannot be.
pub async fn roll_back(session: &mut Session, mut trials: Vec<Trial>) -> Result<Vec<Undone>, SessionError> {
    trials.sort_by_key(|trial| std::cmp::Reverse(trial.id));
    let mut all = Vec::with_capacity(trials.len());
    for trial in trials {
        let failed = session.undo(&trial).await.err();
        let stop = failed.is_some();
        if failed.is_none() {
            // Also freezes the lever: hands off what people touch.
            session.ledger.mark_undone(trial.id, clock::now(), "a person asked for it")?;
        }
        all.push(Undone { trial, failed });
        if stop {
            break;
        }
    }
    session.sync_changelog();
    Ok(all)
}

impl Session {
    pub(super) async fn undo(&mut self, trial: &Trial) -> Result<(), ActuateError> {
        let intent = trial.intent.as_ref().expect("a kept trial holds its intent");
        let (plan, arm) = (trial.plan.as_written(), trial.arm_written(Arm::A));
        let client = self.postgres.client().await.ok();
        // A crash between writing and recording: the old value is back already.
        if trial.found(self.actuator.look(intent, &plan.place, client).await?) != Found::Before {
            let client = self.postgres.client().await.ok();
            self.actuator.write(intent, arm, &plan.place, client).await?;
        }
        let client = self.postgres.client().await.ok();
        self.actuator.activate(trial.plan.activation, client).await?;
        if trial.plan.activation == Activation::Restart {
            self.postgres.forget();
        }
        let client = self.postgres.client().await?;
        self.actuator.verify(&plan, intent, arm, client).await
    }
}
