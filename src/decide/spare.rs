//! Kept changes that are no longer needed: what their levels would be without them, by what their trials measured. Pure.
//!
//! A word for people, never an act: a trial measured one load, and `leverd rollback` is one command. If the level breaks
//! again, the loop finds the lever again, and knows that it helped here.

use crate::model::{Conclusion, Direction, Finding, Report, Trial};

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

fn without(trial: &Trial, findings: &[Finding]) -> Option<String> {
    let goal = trial.judgements.last()?.goal.as_ref()?;
    let finding = findings.iter().find(|finding| finding.signal == trial.plan.signal)?;
    let (value, limit) = (finding.value?, finding.limit?);
    let expected = value / (1.0 + goal.change);
    let inside = match goal.direction {
        Direction::LowerIsBetter => expected <= limit * WELL_INSIDE,
        Direction::HigherIsBetter => expected >= limit / WELL_INSIDE,
    };
    (inside && expected.is_finite()).then(|| {
        format!(
            "without it {} would be about {} now, its level is {}",
            finding.signal,
            finding.unit.show(expected),
            finding.unit.show(limit)
        )
    })
}
