//! What pulling a lever is worth: the chance that it helps, times what it may close of the gap, divided by its cost.
//!
//! In: how far each broken level is exceeded, whether the server's numbers speak for the lever, and what it did before on
//! this target. Out: a number to rank by, with its arithmetic in words. Pure.
//!
//! The chance is the mean of a Beta distribution, whose prior counts as two trials: half of the levers that the server's
//! numbers speak for help, and one in ten of those that they are silent about. So a supported lever that needs a restart
//! still comes before one in the dark that only reloads, until it has failed here.

use crate::model::{Activation, CostTier, Experience, Finding, LeverName, Symptom, Verdict};
use std::fmt;

/// How many trials the prior counts as.
const PRIOR_WEIGHT: f64 = 2.0;
/// The prior chance of a lever that the server's numbers speak for.
const SUPPORTED: f64 = 0.5;
/// The prior chance of one that they are silent about.
const IN_THE_DARK: f64 = 0.1;
/// A level that is broken by a hair is still broken.
const LEAST_GAP: f64 = 1.05;
/// Beyond this a gap is just large.
const MOST_GAP: f64 = 1000.0;

/// What a lever costs, in trials that reload.
pub(super) fn cost(tier: CostTier, activation: Activation) -> f64 {
    match (tier, activation) {
        (CostTier::High, _) => 8.0,
        (_, Activation::Restart) => 4.0,
        (_, Activation::Reload | Activation::AppReload | Activation::AtOnce | Activation::PoolerReload) => {
            1.0
        }
    }
}

/// How far outside of its bound a broken signal is, as a ratio from 1 up: the worst is treated first.
pub(super) fn gap(finding: &Finding) -> f64 {
    match (finding.value, finding.limit) {
        (Some(value), Some(limit)) if value > 0.0 && limit > 0.0 => {
            (value / limit).max(limit / value).min(MOST_GAP)
        }
        _ => 1.0,
    }
}

/// What a lever did for a symptom on this target.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Record {
    /// Trials that were kept.
    pub(super) helped: u32,
    /// Trials that were not, those that did harm counted twice.
    pub(super) failed: u32,
    /// The largest gain that was kept, as a ratio from 1 up; 0: none is known.
    gain: f64,
}

impl Record {
    /// What the ledger has learned. What a person undid teaches nothing: their reasons are not known.
    pub(super) fn of(experience: &[Experience], lever: &LeverName, symptom: &Symptom) -> Self {
        let mut record = Self::default();
        let its = experience.iter().filter(|one| one.lever == *lever && one.symptom == *symptom);
        for one in its.filter(|one| !one.undone) {
            match one.verdict {
                Verdict::Kept => {
                    record.helped += 1;
                    let ratio = 1.0 + one.change.unwrap_or(0.0);
                    if ratio > 0.0 {
                        record.gain = record.gain.max(ratio.max(1.0 / ratio));
                    }
                }
                Verdict::Reverted => record.failed += 2,
                Verdict::Undecided if one.change.is_some() => record.failed += 1,
                // Interrupted before it was looked at.
                Verdict::Undecided => {}
            }
        }
        record
    }

    fn chance(self, supported: bool) -> f64 {
        let prior = if supported { SUPPORTED } else { IN_THE_DARK };
        let (helped, failed) = (f64::from(self.helped), f64::from(self.failed));
        (prior * PRIOR_WEIGHT + helped) / (PRIOR_WEIGHT + helped + failed)
    }
}

/// One symptom's part in a lever's worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Part {
    chance: f64,
    /// What it may close of the gap, as a ratio from 1 up.
    closes: f64,
    /// What was learned.
    pub(super) record: Record,
}

impl Part {
    /// A lever's part in the cure of `finding`.
    pub(super) fn new(finding: &Finding, supported: bool, record: Record) -> Self {
        let gap = gap(finding).max(LEAST_GAP);
        // Nothing is known of how far a lever goes until it was tried; then it is.
        let closes = if record.gain > 1.0 { gap.min(record.gain).max(LEAST_GAP) } else { gap };
        Self { chance: record.chance(supported), closes, record }
    }

    /// Its worth before the cost.
    pub(super) fn value(&self) -> f64 {
        self.chance * self.closes.ln()
    }
}

/// What a lever is worth against all that is wrong.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Worth {
    parts: Vec<Part>,
    cost: f64,
}

impl Worth {
    /// The parts of the symptoms that the lever treats, and what it costs.
    pub(super) fn new(parts: Vec<Part>, cost: f64) -> Self {
        Self { parts, cost }
    }

    /// The number to rank by; more is better.
    pub(super) fn value(&self) -> f64 {
        self.parts.iter().map(Part::value).sum::<f64>() / self.cost
    }

    /// Trials of it that helped, and that did not, over all the symptoms.
    pub(super) fn record(&self) -> (u32, u32) {
        self.parts
            .iter()
            .fold((0, 0), |(helped, failed), part| (helped + part.record.helped, failed + part.record.failed))
    }
}

impl fmt::Display for Worth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |part: &Part| format!("{:.0} % chance × ln {:.2}", 100.0 * part.chance, part.closes);
        let parts: Vec<String> = self.parts.iter().map(part).collect();
        match parts.as_slice() {
            [one] => write!(f, "{:.2} = {one} ÷ cost {}", self.value(), self.cost),
            _ => write!(f, "{:.2} = ({}) ÷ cost {}", self.value(), parts.join(" + "), self.cost),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Standing, TrialId, Unit};

    fn broken(value: f64, limit: f64) -> Finding {
        Finding {
            signal: "wal_rate".into(),
            unit: Unit::BytesPerSec,
            value: Some(value),
            limit: Some(limit),
            bound: "≤ 1".into(),
            standing: Standing::Broken,
            symptom: "high_wal_rate".into(),
        }
    }

    fn worth(supported: bool, record: Record, activation: Activation) -> f64 {
        Worth::new(vec![Part::new(&broken(4.0, 1.0), supported, record)], cost(CostTier::Low, activation))
            .value()
    }

    fn experience(verdict: Verdict, change: f64, undone: bool) -> Experience {
        let (lever, symptom) = ("max_wal_size".into(), "high_wal_rate".into());
        Experience {
            trial: TrialId(1),
            lever,
            symptom,
            to: "1".into(),
            verdict,
            change: Some(change),
            undone,
        }
    }

    fn learned(rows: &[Experience]) -> Record {
        Record::of(rows, &"max_wal_size".into(), &"high_wal_rate".into())
    }

    #[test]
    fn a_restart_for_a_cause_that_shows_comes_before_reloads_in_the_dark_until_it_failed() {
        use Activation::{Reload, Restart};
        let nothing = Record::default();
        assert!(worth(true, nothing, Reload) > worth(true, nothing, Restart));
        assert!(worth(true, nothing, Restart) > worth(false, nothing, Reload));
        assert!(worth(false, nothing, Reload) > worth(false, nothing, Restart));
        let failed = learned(&[experience(Verdict::Undecided, 0.0, false)]);
        assert!(worth(true, failed, Restart) < worth(false, nothing, Reload));
        let harmed = learned(&[experience(Verdict::Reverted, 0.4, false)]);
        assert!(worth(true, harmed, Reload) < worth(true, failed, Reload));
    }

    #[test]
    fn what_helped_here_ranks_by_how_much_it_helped() {
        let some = learned(&[experience(Verdict::Kept, -0.2, false)]);
        let much = learned(&[experience(Verdict::Kept, -0.9, false)]);
        assert!(worth(true, much, Activation::Reload) > worth(true, some, Activation::Reload));
        // A gain beyond the gap is worth no more than the gap.
        let part = Part::new(&broken(4.0, 1.0), true, much);
        assert_eq!(Worth::new(vec![part], 1.0).to_string(), "0.92 = 67 % chance × ln 4.00 ÷ cost 1");
    }

    #[test]
    fn what_a_person_undid_and_other_symptoms_teach_nothing() {
        assert_eq!(learned(&[experience(Verdict::Kept, -0.9, true)]), Record::default());
        let other = Experience { symptom: "high_io_wait".into(), ..experience(Verdict::Kept, -0.9, false) };
        assert_eq!(learned(&[other]), Record::default());
        assert_eq!(learned(&[experience(Verdict::Kept, f64::NAN, false)]).helped, 1);
    }

    #[test]
    fn two_symptoms_at_once_add_up() {
        let part = |value| Part::new(&broken(value, 1.0), true, Record::default());
        let both = Worth::new(vec![part(4.0), part(2.0)], 4.0);
        assert_eq!(both.to_string(), "0.26 = (50 % chance × ln 4.00 + 50 % chance × ln 2.00) ÷ cost 4");
        assert!(both.value() > Worth::new(vec![part(4.0)], 4.0).value());
    }
}
