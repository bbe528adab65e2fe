//! The gauntlet's own look at the signals: each against its level, at one moment. It judges every strategy, and it is
//! what the strategies for comparison see; leverd's own statistics have no part in it.
//!
//! In: the configuration's signals and bounds, the baseline, a Prometheus. Out: a [`Look`]. A signal that is not known
//! is never inside of its level.

use crate::config::Config;
use crate::model::{Baseline, Direction, Signal, SlaTarget, Symptom, Unit};
use crate::observe::read_signal;
use crate::prometheus::Client;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How far outside a signal counts at most, as a logarithm: so far is a signal of which nothing is known.
const FARTHEST: f64 = 10.0;

/// A signal with its level as a number.
#[derive(Debug, Clone)]
pub(super) struct Level {
    pub(super) signal: Signal,
    pub(super) target: SlaTarget,
    /// In the signal's unit.
    pub(super) limit: f64,
}

impl Level {
    pub(super) fn is_outside(&self, value: f64) -> bool {
        self.target.is_broken(value, self.limit, self.signal.direction)
    }
}

/// The bounded signals. An optional one whose bound needs a baseline that lacks it has no level; any other such
/// signal is an error, in a sentence.
pub(super) fn levels(config: &Config, baseline: Option<&Baseline>) -> Result<Vec<Level>, String> {
    let mut levels = Vec::new();
    for signal in &config.signals {
        let Some(target) = config.sla_of(&signal.name) else { continue };
        let normal = baseline.and_then(|baseline| baseline.metrics.get(&signal.name));
        match target.limit(normal.map(|metric| metric.value)) {
            Some(limit) => {
                levels.push(Level { signal: signal.clone(), target: target.clone(), limit });
            }
            None if signal.optional => {}
            None => return Err(format!("the baseline has no {}, and its level needs one", signal.name)),
        }
    }
    Ok(levels)
}

/// One signal at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// The signal.
    pub signal: String,
    /// What it stands for when it is outside.
    pub symptom: Symptom,
    /// Its unit.
    pub unit: Unit,
    /// Which way is better.
    pub direction: Direction,
    /// Its value; `None`: not known.
    pub value: Option<f64>,
    /// Its level.
    pub limit: f64,
    /// Whether it is outside; `None`: not known.
    pub outside: Option<bool>,
    /// It may be missing.
    pub optional: bool,
}

impl Seen {
    fn of(level: &Level, value: Option<f64>) -> Self {
        Self {
            signal: level.signal.name.as_str().to_owned(),
            symptom: level.signal.symptom.clone(),
            unit: level.signal.unit,
            direction: level.signal.direction,
            value,
            limit: level.limit,
            outside: value.map(|value| level.is_outside(value)),
            optional: level.signal.optional,
        }
    }

    fn in_words(&self) -> String {
        match self.value {
            Some(value) => {
                format!("{} {} (level {})", self.signal, self.unit.show(value), self.unit.show(self.limit))
            }
            None => format!("{} is not known", self.signal),
        }
    }

    /// How far outside it is: the logarithm of the ratio of value and level; 0 inside.
    pub fn gap(&self) -> f64 {
        match (self.outside, self.value) {
            (None, _) | (_, None) if self.optional => 0.0,
            (None, _) | (_, None) => FARTHEST,
            (Some(false), _) => 0.0,
            (Some(true), Some(value)) => {
                let (more, less) = match self.direction {
                    Direction::LowerIsBetter => (value, self.limit),
                    Direction::HigherIsBetter => (self.limit, value),
                };
                if more > 0.0 && less > 0.0 { (more / less).ln().min(FARTHEST) } else { FARTHEST }
            }
        }
    }

    /// Whether `self` is better than `other` of the same signal; not known is never better.
    pub fn is_better_than(&self, other: &Self) -> bool {
        match (self.value, other.value, self.direction) {
            (Some(own), Some(theirs), Direction::LowerIsBetter) => own < theirs,
            (Some(own), Some(theirs), Direction::HigherIsBetter) => own > theirs,
            (Some(_), None, _) => true,
            (None, ..) => false,
        }
    }
}

/// Every bounded signal at one moment, in the configuration's order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// When.
    pub at: DateTime<Utc>,
    /// What was seen.
    pub seen: Vec<Seen>,
}

impl Look {
    /// Asks Prometheus, the signals' rate window being `window`.
    pub(super) async fn take(client: &Client, levels: &[Level], window: Duration, at: DateTime<Utc>) -> Self {
        let mut seen = Vec::new();
        for level in levels {
            let reading = read_signal(client, &level.signal, window, at).await;
            seen.push(Seen::of(level, reading.value().filter(|value| value.is_finite())));
        }
        Self { at, seen }
    }

    /// Every level is met, and every signal that must be known is.
    pub fn is_met(&self) -> bool {
        !self.seen.is_empty()
            && self
                .seen
                .iter()
                .all(|seen| seen.outside == Some(false) || (seen.outside.is_none() && seen.optional))
    }

    /// The first signal that is outside.
    pub fn first_outside(&self) -> Option<&Seen> {
        self.seen.iter().find(|seen| seen.outside == Some(true))
    }

    /// A signal by name.
    pub fn of(&self, signal: &str) -> Option<&Seen> {
        self.seen.iter().find(|seen| seen.signal == signal)
    }

    /// How far outside of the levels all is: the sum of the gaps; 0 inside.
    pub fn distance(&self) -> f64 {
        self.seen.iter().map(Seen::gap).sum()
    }

    /// `wal_rate 30.1 MB/s (level 12.0 MB/s)` for each signal that is outside or not known.
    pub fn complaints(&self) -> Vec<String> {
        let bad = self.seen.iter().filter(|seen| match seen.outside {
            Some(outside) => outside,
            None => !seen.optional,
        });
        bad.map(Seen::in_words).collect()
    }

    /// The same for every signal.
    pub fn in_words(&self) -> String {
        self.seen.iter().map(Seen::in_words).collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
pub(super) mod fixtures {
    use super::*;
    use crate::model::{Bound, SignalName};

    pub(in crate::gauntlet) fn level(name: &str, limit: f64) -> Level {
        let signal = Signal {
            name: SignalName::new(name),
            baseline_key: name.to_owned(),
            unit: Unit::Ms,
            direction: Direction::LowerIsBetter,
            queries: vec!["vector(1)".to_owned()],
            window: Duration::from_secs(20),
            scales_with_load: false,
            symptom: Symptom::new(format!("high_{name}")),
            optional: false,
        };
        let target = SlaTarget { signal: signal.name.clone(), bound: Bound::Absolute(limit), strict: false };
        Level { signal, target, limit }
    }

    /// Signals whose level is 100.
    pub(in crate::gauntlet) fn look(values: &[(&str, Option<f64>)]) -> Look {
        let seen = values.iter().map(|(name, value)| Seen::of(&level(name, 100.0), *value)).collect();
        Look { at: DateTime::UNIX_EPOCH, seen }
    }
}

#[cfg(test)]
mod tests {
    use super::fixtures::look;
    use super::*;

    #[test]
    fn inside_outside_and_unknown() {
        assert!(look(&[("a", Some(100.0)), ("b", Some(1.0))]).is_met());
        let broken = look(&[("a", Some(50.0)), ("b", Some(200.0))]);
        assert!(!broken.is_met());
        assert_eq!(broken.first_outside().unwrap().signal, "b");
        assert!((broken.distance() - 2.0_f64.ln()).abs() < 1e-12);
        assert_eq!(broken.complaints(), ["b 200 ms (level 100 ms)"]);
        assert_eq!(broken.in_words(), "a 50 ms (level 100 ms); b 200 ms (level 100 ms)");
        let unknown = look(&[("a", None)]);
        assert!(!unknown.is_met());
        assert_eq!(unknown.distance(), FARTHEST);
        assert!(!look(&[]).is_met(), "nothing was looked at");
    }

    #[test]
    fn an_optional_signal_may_be_missing_and_counts_when_it_is_there() {
        let mut seen = look(&[("a", Some(1.0)), ("sensor", None)]);
        seen.seen[1].optional = true;
        assert!(seen.is_met());
        assert_eq!(seen.distance(), 0.0);
        let mut hot = look(&[("sensor", Some(900.0))]);
        hot.seen[0].optional = true;
        assert!(!hot.is_met());
    }

    #[test]
    fn better_follows_the_direction_and_unknown_is_never_better() {
        let (low, high, none) = (look(&[("a", Some(1.0))]), look(&[("a", Some(2.0))]), look(&[("a", None)]));
        assert!(low.seen[0].is_better_than(&high.seen[0]));
        assert!(!high.seen[0].is_better_than(&low.seen[0]));
        assert!(!none.seen[0].is_better_than(&high.seen[0]));
        assert!(high.seen[0].is_better_than(&none.seen[0]));
    }
}
