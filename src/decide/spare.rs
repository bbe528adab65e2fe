//! Kept changes that are no longer needed: what their levels would be without them, by what their trials measured. Pure.
//!
//! A word for people; the daemon gives such a change back, on trial, only where `policy.give_back_after` says so. If the
//! level breaks again, the loop finds the lever again, and knows that it helped here.

use super::{Memory, Permissions, Permit};
use crate::model::{Activation, Comparison, Conclusion, Direction, Finding, Phase, Plan, Report, Trial};
use chrono::{DateTime, TimeDelta, Utc};

/// A change is spare when without it the value would still keep this share of its level.
const WELL_INSIDE: f64 = 0.8;

/// The kept changes among `kept` that could go, each with a sentence that says why. Only where every level is known and
/// met: what is broken needs its levers, and perhaps the others too.
pub fn spare<'a>(kept: &'a [Trial], report: &Report) -> Vec<(&'a Trial, String)> {
    if report.conclusion != Conclusion::Compliant {
        return Vec::new();
    }
    kept.iter().filter_map(|trial| Some((trial, without(trial, &report.findings)?))).collect()
}

/// What giving back is decided from.
#[derive(Debug, Clone, Copy)]
pub struct GivingBack<'a> {
    /// The changes that are in force, oldest first.
    pub kept: &'a [Trial],
    /// The trials that gave one back, or tried to.
    pub tried: &'a [Trial],
    /// What must be respected.
    pub memory: &'a Memory,
    /// What the policy lets pull, it lets give back.
    pub permissions: &'a Permissions,
    /// How long a change must not have been needed.
    pub after: TimeDelta,
    /// The present time.
    pub now: DateTime<Utc>,
}

impl<'a> GivingBack<'a> {
    /// The changes that may be given back, the newest first, each with the plan of its trial. Whether its level would
    /// have held all the time is [`would_hold`]'s to say, from samples that a report does not have.
    pub fn candidates(&self, report: &Report) -> Vec<(&'a Trial, Plan)> {
        if self.memory.halted.is_some() {
            return Vec::new();
        }
        let spare = spare(self.kept, report).into_iter().rev();
        spare
            .filter(|(trial, _)| self.may_go(trial))
            .filter_map(|(trial, why)| Some((trial, self.plan(trial, &why, report)?)))
            .collect()
    }

    fn may_go(&self, trial: &Trial) -> bool {
        let (plan, permissions) = (&trial.plan, self.permissions);
        // Tidiness asks nobody: what needs a yes stays.
        let tier = permissions.of(plan.tier) == Permit::Free && permissions.now.is_ok();
        let restart = plan.activation != Activation::Restart || permissions.restart == Ok(Permit::Free);
        let is_newest = !self.kept.iter().any(|other| {
            // What lies below another change cannot be taken out alone.
            other.id > trial.id && other.plan.parameter == plan.parameter && other.plan.place == plan.place
        });
        let tried = self.tried.iter().filter(|other| other.plan.lever == plan.lever);
        let is_settled = tried.clone().all(|other| self.is_long_ago(other));
        // Given back, and needed again: that is for a person, or it would go to and fro for ever.
        let was_needed_again = tried.clone().any(|other| other.phase == Phase::Kept && other.id < trial.id);
        let is_frozen = self.memory.frozen.contains_key(&plan.lever);
        tier && restart
            && is_newest
            && is_settled
            && !was_needed_again
            && !is_frozen
            && self.is_long_ago(trial)
    }

    fn is_long_ago(&self, trial: &Trial) -> bool {
        trial.closed_at.is_some_and(|at| self.now - at >= self.after)
    }

    /// `None` where the old value was absent from an `.env`: that has no name to ask the application's metric for.
    fn plan(&self, trial: &Trial, why: &str, report: &Report) -> Option<Plan> {
        let finding = report.findings.iter().find(|finding| finding.signal == trial.plan.signal)?;
        Some(Plan {
            goal_from: finding.value?,
            limit: finding.limit?,
            from: Some(trial.plan.to.clone()),
            to: trial.plan.from.clone()?,
            reason: format!(
                "Trial {} is no longer needed, it seems: {why}, and so it was for as long as \
                 `policy.give_back_after` asks for. It is given back on trial.",
                trial.id
            ),
            passed_over: vec![],
            gives_back: Some(trial.id),
            ..trial.plan.clone()
        })
    }
}

/// Outside of this share of its level in so few of the moments is not needed.
const NOW_AND_THEN: f64 = 0.01;

/// Whether the trial's level would have held without its change at nearly all of the moments when its signal had these
/// `values`.
pub fn would_hold(trial: &Trial, values: &[f64], limit: f64) -> bool {
    let Some(goal) = trial.judgements.last().and_then(|look| look.goal.as_ref()) else { return false };
    let outside = values.iter().filter(|value| !is_well_inside(goal, **value / (1.0 + goal.change), limit));
    outside.count() as f64 <= NOW_AND_THEN * values.len() as f64
}

fn is_well_inside(goal: &Comparison, expected: f64, limit: f64) -> bool {
    let inside = match goal.direction {
        Direction::LowerIsBetter => expected <= limit * WELL_INSIDE,
        Direction::HigherIsBetter => expected >= limit / WELL_INSIDE,
    };
    inside && expected.is_finite()
}

fn without(trial: &Trial, findings: &[Finding]) -> Option<String> {
    let goal = trial.judgements.last()?.goal.as_ref()?;
    let finding = findings.iter().find(|finding| finding.signal == trial.plan.signal)?;
    let (value, limit) = (finding.value?, finding.limit?);
    let expected = value / (1.0 + goal.change);
    is_well_inside(goal, expected, limit).then(|| {
        format!(
            "without it {} would be about {} now, its level is {}",
            finding.signal,
            finding.unit.show(expected),
            finding.unit.show(limit)
        )
    })
}
