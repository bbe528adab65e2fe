//! Does every level hold without a kept change? The judgement of a trial that gives one back.
//!
//! In: the samples with the change (A) and without it (B), each averaged as its level is, and the levels. Out: keep (it
//! stays given back), revert (it is needed), or extend. No gain is asked for, and a loss is expected: what counts is that
//! what was promised is kept. So no interval decides here but the share of B's scrapes that are outside.

use super::compare;
use crate::model::{Evidence, Judgement, Ruling, Series, SignalName, SlaTarget};
use std::collections::BTreeMap;

/// At most this share of the scrapes may be outside of a level.
const OUTSIDE_MOST: f64 = 0.05;
/// With fewer scrapes nothing can be said.
const LEAST_SCRAPES: usize = 10;
/// At most this share of the scrapes may be missing.
const MISSING_MOST: f64 = 0.20;
/// A level must hold for so many looks, where the trial has them: what a lever held back may take a while to come.
const LOOKS: u8 = 2;
/// Of the intervals that are told.
const ALPHA: f64 = 0.05;

/// A level and its bound in the signal's unit.
pub type Levels = BTreeMap<SignalName, (SlaTarget, f64)>;

/// What the evidence says of the levels at this look.
pub fn holds(evidence: &Evidence, levels: &Levels) -> Judgement {
    let mut doubts = evidence.incomparable.clone();
    let mut broken = Vec::new();
    let mut inside = Vec::new();
    let series = || std::iter::once(&evidence.goal).chain(&evidence.guards);
    for (one, (target, limit)) in series().filter_map(|one| Some((one, levels.get(&one.signal)?))) {
        let values = without(one);
        let known: Vec<f64> = values.iter().flatten().copied().collect();
        let least = (values.len() as f64 * (1.0 - MISSING_MOST)).max(LEAST_SCRAPES as f64);
        let outside = known.iter().filter(|value| target.is_broken(**value, *limit, one.direction)).count();
        let (shown, count) = (one.unit.show(*limit), known.len());
        if outside as f64 > OUTSIDE_MOST * count as f64 {
            broken.push(format!(
                "{} was outside of {shown} in {outside} of {count} scrapes without it",
                one.signal
            ));
        } else if (count as f64) < least {
            doubts.push(format!("{} has {count} of {} scrapes", one.signal, values.len()));
        } else {
            let middle = super::location::median(&known);
            inside.push(format!("{} is {}, allowed is {shown}", one.signal, one.unit.show(middle)));
        }
    }
    if inside.is_empty() && broken.is_empty() && doubts.is_empty() {
        doubts.push("no level is known".to_owned());
    }
    let more = evidence.looks > LOOKS && evidence.look + 1 < LOOKS;
    let (ruling, reason) = if !broken.is_empty() {
        (Ruling::Revert, format!("it is still needed: {}", broken.join("; ")))
    } else if !doubts.is_empty() {
        (Ruling::Extend, doubts.join("; "))
    } else if more {
        (Ruling::Extend, format!("so far every level holds without it: {}", inside.join("; ")))
    } else {
        (Ruling::Keep, format!("every level holds without it: {}", inside.join("; ")))
    };
    let compared = |one: &Series| compare(one, evidence.load.as_ref(), ALPHA);
    Judgement {
        ruling,
        reason,
        goal: compared(&evidence.goal),
        guards: evidence.guards.iter().filter_map(compared).collect(),
        look: evidence.look,
        alpha: ALPHA,
    }
}

fn without(series: &Series) -> Vec<Option<f64>> {
    let arms = series.segments.iter().filter(|segment| segment.arm == crate::model::Arm::B);
    arms.flat_map(|segment| segment.values.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Arm, Bound, Direction, Segment, Unit};

    fn series(signal: &str, values: &[Option<f64>]) -> Series {
        let arm = |arm, values: Vec<Option<f64>>| Segment { arm, values };
        Series {
            signal: signal.into(),
            unit: Unit::Ms,
            direction: Direction::LowerIsBetter,
            scales_with_load: false,
            floor: 0.0,
            segments: vec![arm(Arm::A, vec![Some(10.0); 60]), arm(Arm::B, values.to_vec())],
        }
    }

    fn look(goal: &[Option<f64>], guard: &[Option<f64>], look: u8, looks: u8) -> Judgement {
        let level = |signal: &str| {
            let target = SlaTarget { signal: signal.into(), bound: Bound::Absolute(50.0), strict: false };
            (signal.into(), (target, 50.0))
        };
        let evidence = Evidence {
            goal: series("p95", goal),
            guards: vec![series("io", guard)],
            load: None,
            look,
            looks,
            incomparable: vec![],
            stolen: vec![],
            waves: None,
        };
        holds(&evidence, &[level("p95"), level("io")].into())
    }

    #[test]
    fn worse_is_fine_while_every_level_holds() {
        let (three_times, same) = (vec![Some(30.0); 60], vec![Some(10.0); 60]);
        let first = look(&three_times, &same, 0, 4);
        assert_eq!(first.ruling, Ruling::Extend);
        insta::assert_snapshot!(first.reason, @"so far every level holds without it: p95 is 30 ms, allowed is 50 ms; io is 10 ms, allowed is 50 ms");
        let second = look(&three_times, &same, 1, 4);
        assert_eq!(second.ruling, Ruling::Keep);
        assert!(second.goal.is_some_and(|goal| goal.change > 1.9));
        assert_eq!(
            look(&three_times, &same, 0, 2).ruling,
            Ruling::Keep,
            "there is no other look to wait for"
        );
    }

    #[test]
    fn a_level_that_does_not_hold_puts_it_back() {
        let mut now_and_then = vec![Some(30.0); 60];
        now_and_then[..3].fill(Some(51.0));
        assert_eq!(look(&now_and_then, &now_and_then, 1, 4).ruling, Ruling::Keep);
        now_and_then[3] = Some(51.0);
        let needed = look(&vec![Some(30.0); 60], &now_and_then, 0, 4);
        assert_eq!(needed.ruling, Ruling::Revert);
        insta::assert_snapshot!(needed.reason, @"it is still needed: io was outside of 50 ms in 4 of 60 scrapes without it");
    }

    #[test]
    fn missing_data_are_no_pass() {
        let mut gaps = vec![Some(30.0); 60];
        gaps[..13].fill(None);
        let doubt = look(&gaps, &vec![Some(10.0); 60], 3, 4);
        assert_eq!(doubt.ruling, Ruling::Extend);
        insta::assert_snapshot!(doubt.reason, @"p95 has 47 of 60 scrapes");
        assert_eq!(look(&[], &[], 3, 4).ruling, Ruling::Extend);
    }
}
