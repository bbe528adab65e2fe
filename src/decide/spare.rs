//! Kept changes that are no longer needed: what their levels would be without them, by what their trials measured. Pure.
//!
//! A word for people; the daemon gives such a change back, on trial, only where `policy.give_back_after` says so. If the
//! level breaks again, the loop finds the lever again, and knows that it helped here.

use crate::model::{Comparison, Conclusion, Direction, Finding, Report, Trial};

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
