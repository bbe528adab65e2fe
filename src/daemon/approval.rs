//! Asking a person first: a plan that waits for a yes.
//!
//! In: a plan that the policy lets nobody but a person begin. Out: an open trial that waits, and later, with the
//! person's answer, its beginning or its end. Always holds: nothing is touched before the yes; a yes is for the plan
//! that was shown, so a plan that would be another one by then is not carried out; while it waits no other lever is
//! pulled, because this one was the best.

use super::clock;
use super::progress::Progress;
use super::session::{Session, SessionError, Turn, delta};
use super::trial_run::WhenStopped;
use crate::ledger::Hold;
use crate::model::{Conclusion, Plan, Report, Trial};
use crate::trial::{self, Event};
use chrono::{DateTime, Utc};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

impl Session {
    /// Writes the plan down as one that waits.
    pub(super) fn ask_for(&mut self, plan: Plan, clean: DateTime<Utc>) -> Result<Turn, SessionError> {
        let now = clock::now();
        let until = now + delta(self.config.policy.approve_within);
        let mut trial = trial::await_approval(plan, clean, now, until);
        trial.id = self.ledger.insert(&trial)?;
        self.reporter.tell(Progress::Moved(Arc::new(trial.clone())));
        self.reporter.note(format!(
            "trial {} waits for a person: {} {} → {}; `leverd approve {}` or `leverd reject {}`, until {}",
            trial.id,
            trial.plan.parameter,
            trial.plan.from.as_deref().unwrap_or("absent"),
            trial.plan.to,
            trial.id,
            trial.id,
            until.format("%Y-%m-%d %H:%M UTC")
        ));
        Ok(Turn::Awaiting(Box::new(trial)))
    }

    /// Looks whether there is an answer, and whether the plan is still one.
    pub(super) async fn await_answer(
        &mut self,
        trial: Trial,
        stop: &CancellationToken,
        when_stopped: WhenStopped,
    ) -> Result<Turn, SessionError> {
        if let Some(answer) = self.ledger.answer(trial.id)? {
            if !answer.approved {
                let why = answer.why.map(|why| format!(": {why}")).unwrap_or_default();
                return self.withdraw(trial, format!("rejected by {}{why}", answer.by), true);
            }
            let (report, clean) = self.confirmed(stop).await?;
            return match (same_plan(&trial, &report), clean) {
                (Some(plan), Some(clean)) => {
                    let trial = Trial { plan, before_from: clean, ..trial };
                    self.carry_on(trial, Event::Begin, stop, when_stopped).await
                }
                _ if stop.is_cancelled() => Ok(Turn::Awaiting(Box::new(trial))),
                _ => self.withdraw(
                    trial,
                    format!("approved by {}, and by then {}", answer.by, instead(&report)),
                    false,
                ),
            };
        }
        if trial.deadline.is_some_and(|until| clock::now() >= until) {
            return self.withdraw(trial, "nobody approved it in time".to_owned(), true);
        }
        let stands = |report: &Report| {
            same_plan(&trial, report).is_some() || matches!(report.conclusion, Conclusion::CannotTell(_))
        };
        if stands(&self.report(stop).await?) {
            return Ok(Turn::Awaiting(Box::new(trial)));
        }
        // One look is a moment: a person who comes an hour later shall not find a plan gone for it.
        let (report, _) = self.confirmed(stop).await?;
        if stands(&report) || stop.is_cancelled() {
            return Ok(Turn::Awaiting(Box::new(trial)));
        }
        let why = format!("withdrawn before an answer came: {}", instead(&report));
        self.withdraw(trial, why, false)
    }

    /// Ends a trial that was never begun. `rests`: its lever is left alone for a while.
    fn withdraw(&mut self, trial: Trial, why: String, rests: bool) -> Result<Turn, SessionError> {
        let now = clock::now();
        let (trial, _) = trial::step(trial, Event::Interrupted(why), now, &self.timing());
        let until = now + delta(self.config.cycle.cool_down);
        let saved = if rests {
            self.ledger.save_and_hold(&trial, "withdrawn", Hold::Quarantine(until), now)
        } else {
            self.ledger.save(&trial, "withdrawn", now)
        };
        saved?;
        self.reporter.tell(Progress::Moved(Arc::new(trial.clone())));
        Ok(Turn::Tried(Box::new(trial)))
    }
}

/// The plan of today, where it is the one that was shown.
fn same_plan(trial: &Trial, report: &Report) -> Option<Plan> {
    let Conclusion::Act(plan) = &report.conclusion else { return None };
    let same = plan.lever == trial.plan.lever
        && plan.to == trial.plan.to
        && plan.from == trial.plan.from
        && plan.place == trial.plan.place;
    same.then(|| (**plan).clone())
}

fn instead(report: &Report) -> String {
    match &report.conclusion {
        Conclusion::Compliant => "every level is met".to_owned(),
        Conclusion::Act(plan) => format!("{} → {} would be better", plan.parameter, plan.to),
        Conclusion::NothingLeft(why) | Conclusion::CannotTell(why) => why.clone(),
    }
}
