//! A signal that comes in waves: what a checkpoint does to the WAL rate comes again with the next one.
//!
//! Goes in: a series, the load, and how long a wave is in each arm. Comes out: the shift between the arms and its
//! uncertainty, from the means of whole waves; `None` where an arm has fewer than three of them. Scrape by scrape
//! such a signal looks as if it hardly knew its own level: neighbours within a wave resemble each other, and a wave
//! is as deep as the gain may be. Whole waves resemble each other, and noise has forgotten itself from one to the next.
//!
//! Whether it is used depends on the lengths alone, never on the values: each look asks one question.

use super::contrast::paired;
use crate::model::{Arm, Series, Waves};

/// Fewer whole waves in an arm have no spread of their own.
const LEAST_WAVES: usize = 3;
/// Shorter waves are left to the scrapes: means over less than this are not independent in noise of ρ 0.8.
const SHORTEST: usize = 20;
/// The largest share of a wave's scrapes that may be missing.
const MOST_MISSING: f64 = 0.20;
/// Logarithms end here: the mean of numbers near the largest one is infinite.
const MOST: f64 = 700.0;

/// What whole waves say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ByWaves {
    /// Difference of the logarithms of the waves' means, after − before.
    pub(super) shift: f64,
    /// Its standard error (Welch).
    pub(super) error: f64,
    /// Degrees of freedom of that error (Welch and Satterthwaite).
    pub(super) df: f64,
    /// Whole waves, both arms together.
    pub(super) waves: f64,
}

/// Compares the arms wave by wave. `floor`: a value below it counts as it.
pub(super) fn compare(series: &Series, load: Option<&Series>, floor: f64, lengths: Waves) -> Option<ByWaves> {
    let arms = [(Arm::A, lengths.before), (Arm::B, lengths.after)]
        .map(|(arm, length)| Waved::of(&log_means(series, load, floor, arm, length)));
    let [Some(before), Some(after)] = arms else { return None };
    let variance = before.variance + after.variance;
    let df = if variance > 0.0 {
        variance.powi(2) / (before.variance.powi(2) / before.df + after.variance.powi(2) / after.df)
    } else {
        before.df + after.df
    };
    Some(ByWaves {
        shift: after.mean - before.mean,
        error: variance.sqrt(),
        df,
        waves: before.df + after.df + 2.0,
    })
}

/// The waves of one arm.
struct Waved {
    mean: f64,
    /// Of the mean.
    variance: f64,
    df: f64,
}

impl Waved {
    fn of(waves: &[f64]) -> Option<Self> {
        if waves.len() < LEAST_WAVES {
            return None;
        }
        let n = waves.len() as f64;
        let mean = waves.iter().sum::<f64>() / n;
        let squares: f64 = waves.iter().map(|wave| (wave - mean).powi(2)).sum();
        Some(Self { mean, variance: squares / (n - 1.0) / n, df: n - 1.0 })
    }
}

/// Logarithms of the mean of each whole wave, per unit of load where there is one. What is left over of a segment is
/// its oldest part.
fn log_means(series: &Series, load: Option<&Series>, floor: f64, arm: Arm, length: usize) -> Vec<f64> {
    if length < SHORTEST {
        return Vec::new();
    }
    let mut means = Vec::new();
    for (index, segment) in series.segments.iter().enumerate().filter(|(_, segment)| segment.arm == arm) {
        let scrapes = segment.values.len();
        let first = scrapes % length;
        for start in (first..scrapes).step_by(length) {
            let pairs: Vec<(f64, f64)> =
                (start..start + length).filter_map(|at| paired(series, load, index, at)).collect();
            if (pairs.len() as f64) < (1.0 - MOST_MISSING) * length as f64 {
                continue;
            }
            let (done, work) = pairs
                .iter()
                .fold((0.0, 0.0), |(done, work), (value, load)| (done + value.max(floor), work + load));
            means.push((done / work).ln().clamp(-MOST, MOST));
        }
    }
    means
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Direction, Segment, SignalName, Unit};

    const LENGTHS: Waves = Waves { before: 30, after: 60 };

    /// Whole pages after each checkpoint, fewer and fewer of them.
    fn wave(length: usize) -> impl Iterator<Item = f64> {
        (0..length).map(|at| 1.0 + 9.0 * (-(at as f64) / 8.0).exp())
    }

    fn series(before: Vec<Option<f64>>, after: Vec<Option<f64>>) -> Series {
        Series {
            signal: SignalName::new("wal_rate"),
            unit: Unit::BytesPerSec,
            direction: Direction::LowerIsBetter,
            scales_with_load: false,
            floor: 0.0,
            segments: vec![Segment { arm: Arm::A, values: before }, Segment { arm: Arm::B, values: after }],
        }
    }

    fn waves(length: usize, count: usize) -> Vec<Option<f64>> {
        (0..count).flat_map(|_| wave(length)).map(Some).collect()
    }

    #[test]
    fn longer_waves_of_the_same_shape_are_a_gain() {
        let found = compare(&series(waves(30, 3), waves(60, 3)), None, 1e-3, LENGTHS).unwrap();
        let mean = |length| wave(length).sum::<f64>() / length as f64;
        assert!((found.shift - (mean(60) / mean(30)).ln()).abs() < 1e-9, "{found:?}");
        assert!(found.error < 1e-9 && found.waves == 6.0, "{found:?}");
    }

    #[test]
    fn it_does_not_matter_where_in_a_wave_an_arm_begins() {
        let mut shifted = waves(30, 4);
        shifted.rotate_left(13);
        let found = compare(&series(shifted, waves(60, 3)), None, 1e-3, LENGTHS).unwrap();
        let whole = compare(&series(waves(30, 4), waves(60, 3)), None, 1e-3, LENGTHS).unwrap();
        assert!((found.shift - whole.shift).abs() < 1e-9, "{found:?} {whole:?}");
    }

    #[test]
    fn two_waves_and_short_ones_are_left_to_the_scrapes() {
        assert_eq!(compare(&series(waves(30, 2), waves(60, 3)), None, 1e-3, LENGTHS), None);
        assert_eq!(compare(&series(waves(30, 3), waves(60, 2)), None, 1e-3, LENGTHS), None);
        let short = Waves { before: 10, after: 10 };
        assert_eq!(compare(&series(waves(10, 9), waves(10, 9)), None, 1e-3, short), None);
        let none = Waves { before: 0, after: 0 };
        assert_eq!(compare(&series(waves(30, 3), waves(60, 3)), None, 1e-3, none), None);
    }

    #[test]
    fn a_wave_with_holes_does_not_count() {
        let mut holed = waves(30, 3);
        holed[31..40].fill(None);
        assert_eq!(compare(&series(holed, waves(60, 3)), None, 1e-3, LENGTHS), None);
    }

    #[test]
    fn a_load_that_doubles_divides() {
        let twice = waves(60, 3).into_iter().map(|value| value.map(|v| 2.0 * v)).collect();
        let load = series(vec![Some(10.0); 90], vec![Some(20.0); 180]);
        let found = compare(&series(waves(30, 3), twice), Some(&load), 1e-3, LENGTHS).unwrap();
        let alone = compare(&series(waves(30, 3), waves(60, 3)), None, 1e-3, LENGTHS).unwrap();
        assert!((found.shift - alone.shift).abs() < 1e-9, "{found:?} {alone:?}");
    }
}
