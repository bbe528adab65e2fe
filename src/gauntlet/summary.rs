//! The runs of a gauntlet, gathered: one line for each scenario and strategy, medians over the repetitions. Pure.

use super::record::{Key, Measured, Outcome, Run};
use super::strategies::Kind;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The middle of some values, and how far they spread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The least.
    pub low: f64,
    /// The most.
    pub high: f64,
}

impl Spread {
    /// `None` of no values.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted[middle]
        };
        Some(Self { median, low, high })
    }
}

/// `42`, or `42 (38–60)` where the values differ as shown. `{:.1}` sets the digits.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(0);
        let shown = |value: f64, digits: usize| {
            let text = format!("{value:.digits$}");
            text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
        };
        let (low, high) = (shown(self.low, digits), shown(self.high, digits));
        if low == high {
            return f.write_str(&low);
        }
        // The middle of two whole numbers may be a half.
        let median = shown(self.median, if self.median.fract() == 0.5 { digits.max(1) } else { digits });
        write!(f, "{median} ({low}–{high})")
    }
}

/// One scenario under one strategy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// The scenario.
    pub scenario: String,
    /// The strategy.
    pub strategy: Kind,
    /// Runs that were measured.
    pub runs: u32,
    /// Runs that could not be measured; they are in nothing else.
    pub failed: u32,
    /// Of the measured ones, solved.
    pub solved: u32,
    /// Cycles used.
    pub cycles: Option<Spread>,
    /// Seconds to compliance, of the solved ones in which a level was broken at first.
    pub met_after_s: Option<Spread>,
    /// Seconds outside of the levels.
    pub outside_s: Option<Spread>,
    /// Seconds that were looked at.
    pub seconds: Option<Spread>,
    /// Worst degradation: the ratio to the value at the start.
    pub worst: Option<Spread>,
    /// How long a signal was more than 20 % worse, seconds.
    pub worst_for_s: Option<Spread>,
    /// The signal of the worst run.
    pub worst_signal: Option<String>,
    /// Number of wrong levers pulled.
    pub wrong_pulled: Option<Spread>,
    /// Wrong levers that were kept in any run.
    pub wrong_kept: BTreeSet<String>,
    /// What was changed, in how many runs: `max_wal_size=1GB` → 3.
    pub changed: BTreeMap<String, u32>,
    /// Why runs were not solved, or failed.
    pub troubles: BTreeSet<String>,
}

/// Gathers runs; lines are sorted by scenario, then in the strategies' order.
pub fn summarise(runs: &[&Run]) -> Vec<Line> {
    let mut groups: BTreeMap<(String, Kind), Vec<&Run>> = BTreeMap::new();
    for run in runs {
        let Key { scenario, strategy, .. } = &run.key;
        groups.entry((scenario.clone(), *strategy)).or_default().push(run);
    }
    groups.into_iter().map(|((scenario, strategy), runs)| line(scenario, strategy, &runs)).collect()
}

fn line(scenario: String, strategy: Kind, runs: &[&Run]) -> Line {
    let mut measured: Vec<&Measured> = Vec::new();
    let mut troubles = BTreeSet::new();
    for run in runs {
        match &run.outcome {
            Outcome::Measured(one) => {
                if !one.solved {
                    troubles.insert(one.why.clone());
                }
                measured.push(one);
            }
            Outcome::Failed(why) => drop(troubles.insert(format!("failed: {why}"))),
        }
    }
    let spread = |of: &dyn Fn(&Measured) -> Option<f64>| {
        Spread::of(&measured.iter().filter_map(|one| of(one)).collect::<Vec<_>>())
    };
    let worst_run = measured
        .iter()
        .filter_map(|one| one.exposure.worst.as_ref())
        .max_by(|a, b| a.ratio.total_cmp(&b.ratio));
    let mut changed: BTreeMap<String, u32> = BTreeMap::new();
    for change in measured.iter().flat_map(|one| &one.changed) {
        let to = change.to.as_deref().unwrap_or("absent");
        *changed.entry(format!("{}={to}", change.name)).or_default() += 1;
    }
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Line {
        runs: count(measured.len()),
        failed: count(runs.len() - measured.len()),
        solved: count(measured.iter().filter(|one| one.solved).count()),
        cycles: spread(&|one| Some(f64::from(one.cycles))),
        met_after_s: spread(&|one| one.exposure.met_after_s.filter(|_| one.solved && !one.before.is_met())),
        outside_s: spread(&|one| Some(one.exposure.outside_s)),
        seconds: spread(&|one| Some(one.exposure.seconds)),
        worst: spread(&|one| one.exposure.worst.as_ref().map(|worst| worst.ratio)),
        worst_for_s: spread(&|one| one.exposure.worst.as_ref().map(|worst| worst.for_s)),
        worst_signal: worst_run.map(|worst| worst.signal.clone()),
        wrong_pulled: spread(&|one| Some(one.wrong_pulled.len() as f64)),
        wrong_kept: measured.iter().flat_map(|one| one.wrong_kept.iter().cloned()).collect(),
        changed,
        troubles,
        scenario,
        strategy,
    }
}

/// A strategy over all scenarios.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Total {
    /// The strategy.
    pub strategy: Kind,
    /// Runs that were measured.
    pub runs: u32,
    /// Solved.
    pub solved: u32,
    /// Could not be measured.
    pub failed: u32,
    /// Cycles of the solved runs in which a level was broken at first.
    pub cycles: Option<Spread>,
    /// Seconds outside of the levels.
    pub outside_s: Option<Spread>,
    /// Runs in which a wrong lever was kept.
    pub with_wrong_kept: u32,
}

/// Sums up each strategy.
pub fn totals(runs: &[&Run]) -> Vec<Total> {
    let kinds: BTreeSet<Kind> = runs.iter().map(|run| run.key.strategy).collect();
    kinds.into_iter().map(|kind| total(kind, runs)).collect()
}

fn total(strategy: Kind, runs: &[&Run]) -> Total {
    let own = runs.iter().filter(|run| run.key.strategy == strategy);
    let measured: Vec<&Measured> = own
        .clone()
        .filter_map(|run| match &run.outcome {
            Outcome::Measured(one) => Some(&**one),
            Outcome::Failed(_) => None,
        })
        .collect();
    let cured = measured.iter().filter(|one| one.solved && !one.before.is_met());
    let cycles: Vec<f64> = cured.map(|one| f64::from(one.cycles)).collect();
    let outside: Vec<f64> = measured.iter().map(|one| one.exposure.outside_s).collect();
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Total {
        strategy,
        runs: count(measured.len()),
        solved: count(measured.iter().filter(|one| one.solved).count()),
        failed: count(own.count() - measured.len()),
        cycles: Spread::of(&cycles),
        outside_s: Spread::of(&outside),
        with_wrong_kept: count(measured.iter().filter(|one| !one.wrong_kept.is_empty()).count()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::fixtures::{done, key, run};
    use super::*;

    #[test]
    fn the_middle_and_the_ends() {
        assert_eq!(Spread::of(&[]), None);
        let odd = Spread::of(&[9.0, 1.0, 4.0]).unwrap();
        assert_eq!((odd.median, odd.low, odd.high), (4.0, 1.0, 9.0));
        assert_eq!(Spread::of(&[1.0, 2.0]).unwrap().median, 1.5);
        let shown = |values: &[f64]| Spread::of(values).unwrap().to_string();
        assert_eq!(shown(&[42.0]), "42");
        assert_eq!(shown(&[42.0, 38.0, 60.0]), "42 (38–60)");
        assert_eq!(shown(&[1.0, 2.0]), "1.5 (1–2)");
        assert_eq!(format!("{:.1}", Spread::of(&[1.04, 1.0]).unwrap()), "1");
        assert_eq!(format!("{:.1}", Spread::of(&[1.0, 2.25, 3.0]).unwrap()), "2.2 (1–3)");
    }

    #[test]
    fn repetitions_come_together_and_failures_stay_apart() {
        let runs = [
            done(key("wal-storm", Kind::Leverd, 1), true, 1, 40.0),
            done(key("wal-storm", Kind::Leverd, 2), true, 2, 60.0),
            done(key("wal-storm", Kind::Leverd, 3), false, 5, 400.0),
            run(key("wal-storm", Kind::Leverd, 4), Outcome::Failed("no Postgres".to_owned())),
            done(key("healthy", Kind::Random, 1), true, 0, 0.0),
        ];
        let refs: Vec<&Run> = runs.iter().collect();
        let lines = summarise(&refs);
        assert_eq!(lines.len(), 2);
        let storm = &lines[1];
        assert_eq!((storm.runs, storm.failed, storm.solved), (3, 1, 2));
        assert_eq!(storm.cycles, Spread::of(&[1.0, 2.0, 5.0]));
        assert_eq!(storm.met_after_s, Spread::of(&[45.0, 65.0]), "of the solved ones alone");
        assert_eq!(storm.changed, BTreeMap::from([("max_wal_size=1GB".to_owned(), 3)]));
        let troubles: Vec<&str> = storm.troubles.iter().map(String::as_str).collect();
        assert_eq!(troubles, ["failed: no Postgres", "wal 300 ms (level 100 ms)"]);

        let totals = totals(&refs);
        let leverd = totals.iter().find(|total| total.strategy == Kind::Leverd).unwrap();
        assert_eq!((leverd.runs, leverd.solved, leverd.failed), (3, 2, 1));
        assert_eq!(leverd.cycles, Spread::of(&[1.0, 2.0]));
        assert_eq!(leverd.outside_s.unwrap().median, 60.0);
    }
}
