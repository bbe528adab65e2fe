//! What the users of the database had to bear while a strategy acted: time outside of the levels, and the worst
//! degradation. Pure: samples in, numbers out.

use super::look::{Level, Look};
use crate::model::Direction;
use serde::{Deserialize, Serialize};

/// A signal so many times worse than at the start has degraded; leverd calls the same a harm.
const DEGRADED: f64 = 1.2;
/// A value below this share of its level counts as that share: 0.1 % of iowait against 0.3 % is no degradation.
const FLOOR: f64 = 0.25;

/// What the run cost its users.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exposure {
    /// How long was looked, seconds: from the strategy's start to the end of the judge's window.
    pub seconds: f64,
    /// Of these, with a signal outside of its level.
    pub outside_s: f64,
    /// Of these, with none outside and one that was not known.
    pub unknown_s: f64,
    /// From the start until the levels were met for a whole rate window; `None`: they never were.
    pub met_after_s: Option<f64>,
    /// The worst that became of any bounded signal.
    pub worst: Option<Worst>,
}

/// The worst that became of a signal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Worst {
    /// The signal.
    pub signal: String,
    /// Its worst value as a multiple of that at the start; above 1 is worse.
    pub ratio: f64,
    /// How long it was more than 20 % worse than at the start, seconds.
    pub for_s: f64,
}

/// One value a step for each level, all on the same moments.
#[derive(Debug)]
pub(super) struct Samples {
    /// In the order of the levels.
    pub(super) values: Vec<Vec<Option<f64>>>,
    /// The step, seconds.
    pub(super) step_s: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Inside,
    Outside,
    Unknown,
}

/// Adds it up. `hold_s`: the levels are met once they were for so long.
pub(super) fn exposure(levels: &[Level], start: &Look, samples: &Samples, hold_s: f64) -> Exposure {
    let count = samples.values.iter().map(Vec::len).max().unwrap_or(0);
    let moments: Vec<Moment> = (0..count).map(|at| moment(levels, samples, at)).collect();
    let seconds_of =
        |wanted: Moment| samples.step_s * moments.iter().filter(|moment| **moment == wanted).count() as f64;
    let hold = ((hold_s / samples.step_s).ceil() as usize).max(1);
    let held = moments.windows(hold).position(|span| span.iter().all(|moment| *moment == Moment::Inside));
    let worst = levels
        .iter()
        .zip(&samples.values)
        .filter_map(|(level, values)| worst(level, start, values, samples.step_s))
        .max_by(|a, b| a.ratio.total_cmp(&b.ratio));
    Exposure {
        seconds: samples.step_s * count as f64,
        outside_s: seconds_of(Moment::Outside),
        unknown_s: seconds_of(Moment::Unknown),
        met_after_s: held.map(|at| at as f64 * samples.step_s),
        worst,
    }
}

fn moment(levels: &[Level], samples: &Samples, at: usize) -> Moment {
    let mut found = Moment::Inside;
    for (level, values) in levels.iter().zip(&samples.values) {
        match values.get(at).copied().flatten() {
            Some(value) if level.is_outside(value) => return Moment::Outside,
            Some(_) => {}
            None if level.signal.optional => {}
            None => found = Moment::Unknown,
        }
    }
    found
}

fn worst(level: &Level, start: &Look, values: &[Option<f64>], step_s: f64) -> Option<Worst> {
    let floor = level.limit * FLOOR;
    let floored = |value: f64| if floor > 0.0 { value.max(floor) } else { value };
    let base = floored(start.of(level.signal.name.as_str())?.value?);
    let ratio_of = |value: f64| match level.signal.direction {
        Direction::LowerIsBetter => floored(value) / base,
        Direction::HigherIsBetter => base / floored(value),
    };
    let ratios: Vec<f64> =
        values.iter().flatten().map(|value| ratio_of(*value)).filter(|ratio| ratio.is_finite()).collect();
    let ratio = ratios.iter().copied().max_by(f64::total_cmp)?;
    let for_s = step_s * ratios.iter().filter(|ratio| **ratio > DEGRADED).count() as f64;
    Some(Worst { signal: level.signal.name.as_str().to_owned(), ratio, for_s })
}

#[cfg(test)]
mod tests {
    use super::super::look::fixtures::{level, look};
    use super::*;

    fn samples(values: &[&[f64]]) -> Samples {
        let values =
            values.iter().map(|one| one.iter().map(|v| (*v >= 0.0).then_some(*v)).collect()).collect();
        Samples { values, step_s: 1.0 }
    }

    fn levels() -> Vec<Level> {
        vec![level("wal", 100.0), level("p95", 100.0)]
    }

    #[test]
    fn a_cure_is_seen_and_its_time_is_told() {
        let start = look(&[("wal", Some(300.0)), ("p95", Some(50.0))]);
        let wal: Vec<f64> = [vec![300.0; 5], vec![90.0; 2], vec![110.0; 1], vec![80.0; 6]].concat();
        let p95 = vec![50.0; wal.len()];
        let found = exposure(&levels(), &start, &samples(&[&wal, &p95]), 3.0);
        assert_eq!((found.seconds, found.outside_s, found.unknown_s), (14.0, 6.0, 0.0));
        assert_eq!(found.met_after_s, Some(8.0), "two seconds inside are not three");
        assert_eq!(found.worst.unwrap().ratio, 1.0);
    }

    #[test]
    fn the_worst_signal_counts_with_how_long() {
        let start = look(&[("wal", Some(100.0)), ("p95", Some(50.0))]);
        let found = exposure(
            &levels(),
            &start,
            &samples(&[&[100.0, 110.0, 130.0, 90.0], &[50.0, 200.0, 61.0, 50.0]]),
            2.0,
        );
        assert_eq!(found.worst, Some(Worst { signal: "p95".to_owned(), ratio: 4.0, for_s: 2.0 }));
        assert_eq!(found.met_after_s, None);
    }

    #[test]
    fn holes_are_unknown_and_never_inside() {
        let start = look(&[("wal", Some(1.0)), ("p95", Some(1.0))]);
        let found = exposure(&levels(), &start, &samples(&[&[-1.0, 200.0, 1.0], &[1.0, -1.0, 1.0]]), 1.0);
        assert_eq!((found.outside_s, found.unknown_s, found.met_after_s), (1.0, 1.0, Some(2.0)));
        let nothing = exposure(&levels(), &start, &samples(&[&[], &[]]), 1.0);
        assert_eq!((nothing.seconds, nothing.met_after_s, nothing.worst), (0.0, None, None));
    }

    #[test]
    fn almost_nothing_three_times_over_is_no_degradation() {
        let start = look(&[("wal", Some(0.1)), ("p95", Some(0.1))]);
        let found = exposure(&levels(), &start, &samples(&[&[0.3, 0.9], &[0.1, 0.1]]), 1.0);
        assert_eq!(found.worst.unwrap().ratio, 1.0);
    }
}
