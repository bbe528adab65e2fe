//! A trial as text, and back: what is written can always be read again.
//!
//! JSON has no infinity and no NaN; serde writes both as `null` and cannot read that back as a number. A ledger with
//! such a row could not say how to undo it. So before writing, infinite ends of an interval become the largest
//! number there is, and a comparison that is not a number is left out, with a word in the reason.

use crate::model::{Comparison, Judgement, Trial};

/// What an infinite end of an interval is stored as; readers show it as ∞.
pub(crate) const UNBOUNDED: f64 = f64::MAX;

/// The trial as JSON.
pub(super) fn encode(trial: &Trial) -> Result<String, serde_json::Error> {
    let mut trial = trial.clone();
    for judgement in &mut trial.judgements {
        make_storable(judgement);
    }
    let text = serde_json::to_string(&trial)?;
    // The proof, before anything depends on it.
    decode(&text)?;
    Ok(text)
}

/// A trial from its JSON.
pub(super) fn decode(text: &str) -> Result<Trial, serde_json::Error> {
    serde_json::from_str(text)
}

fn make_storable(judgement: &mut Judgement) {
    let before = judgement.guards.len() + usize::from(judgement.goal.is_some());
    judgement.goal = judgement.goal.take().and_then(storable);
    judgement.guards = std::mem::take(&mut judgement.guards).into_iter().filter_map(storable).collect();
    let after = judgement.guards.len() + usize::from(judgement.goal.is_some());
    if after < before {
        let lost = before - after;
        judgement.reason.push_str(&format!(" ({lost} of {before} comparisons gave no number)"));
    }
    if !judgement.alpha.is_finite() {
        judgement.alpha = 0.0;
    }
}

fn storable(mut comparison: Comparison) -> Option<Comparison> {
    let Comparison { before, after, effective_n, change, low, high, .. } = &mut comparison;
    for number in [before, after, effective_n, change, low, high] {
        if number.is_nan() {
            return None;
        }
        *number = number.clamp(-UNBOUNDED, UNBOUNDED);
    }
    Some(comparison)
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{comparison, judgement, planned};
    use super::*;
    use crate::model::Ruling;
    use proptest::prelude::*;

    #[test]
    fn an_infinite_interval_and_a_nan_come_back_readable() {
        let mut trial = planned("capsim");
        let mut wide = judgement(Ruling::Extend, f64::NEG_INFINITY, 0.1, f64::INFINITY);
        wide.guards.push(comparison("io_wait", f64::NAN, f64::NAN, f64::NAN));
        trial.judgements.push(wide);
        let back = decode(&encode(&trial).unwrap()).unwrap();
        let goal = back.judgements[0].goal.as_ref().unwrap();
        assert_eq!((goal.low, goal.high), (-UNBOUNDED, UNBOUNDED));
        assert!(back.judgements[0].guards.is_empty());
        assert!(back.judgements[0].reason.ends_with("(1 of 2 comparisons gave no number)"));
    }

    #[test]
    fn a_trial_that_could_not_be_read_back_is_refused() {
        let mut trial = planned("capsim");
        trial.plan.goal_from = f64::NAN;
        assert!(encode(&trial).is_err());
    }

    proptest! {
        #[test]
        fn any_judgement_can_be_read_back(
            low in any::<f64>(), change in any::<f64>(), high in any::<f64>(), alpha in any::<f64>(),
            reason in any::<String>(),
        ) {
            let mut trial = planned("capsim");
            let mut look = judgement(Ruling::Keep, low, change, high);
            look.alpha = alpha;
            look.reason.clone_from(&reason);
            trial.judgements.push(look);
            let back = decode(&encode(&trial).unwrap()).unwrap();
            prop_assert!(back.judgements[0].reason.starts_with(&reason));
        }
    }
}
