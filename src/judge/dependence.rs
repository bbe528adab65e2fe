//! What autocorrelated scrapes are worth: the standard error of a shift between two arms.
//!
//! Goes in: log-values by segment. Comes out: the standard error of the Hodges–Lehmann shift, the degrees of
//! freedom it was estimated with, and the drift that may pose as a shift. Neighbouring scrapes resemble each other
//! (a rate over two scrape intervals even shares half of its data with the next), so 60 scrapes may be worth 7
//! independent ones. `docs/VERDICT.md` has the derivation and the measured error rates.

use super::location::median;
use super::waves::ByWaves;
use crate::model::Arm;

/// Consecutive log-values under one arm, `None` where a scrape gave none.
#[derive(Debug, Clone)]
pub(super) struct LogSegment {
    pub(super) arm: Arm,
    pub(super) values: Vec<Option<f64>>,
}

/// How uncertain a shift is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Uncertainty {
    /// Standard error of the shift, in log units.
    pub(super) error: f64,
    /// Degrees of freedom of that error: few where the autocorrelation is strong, for then it is itself uncertain.
    pub(super) df: f64,
    /// What the scrapes of both arms are worth as independent ones.
    pub(super) effective_n: f64,
    /// The part of the shift that a steady trend, going on through both arms, explains beyond doubt. Signed.
    pub(super) drift: f64,
    /// The shift that a trend too faint to be seen may have made, either way.
    pub(super) unseen: f64,
    /// Robust spread of single scrapes before the change, in log units.
    pub(super) scatter: f64,
}

impl Uncertainty {
    /// The uncertainty of a shift between whole waves. In so few of them a trend cannot be seen.
    pub(super) fn of_waves(self, waves: &ByWaves) -> Self {
        Self {
            error: waves.error.max(LEAST_ERROR),
            df: waves.df,
            effective_n: waves.waves,
            drift: 0.0,
            unseen: UNSEEN_IN_WAVES,
            scatter: self.scatter,
        }
    }
}

/// No shift is known better than to half a percent: two constant series still have a resolution.
const LEAST_ERROR: f64 = 0.005;
/// Residuals count at most this many robust standard deviations: bursts do not move the estimate either.
const CLIP_SD: f64 = 3.0;
/// The median absolute deviation of normal noise is 1/1.4826 of its standard deviation.
const MAD_TO_SD: f64 = 1.4826;
/// The autocorrelation is taken this many of its standard errors above its estimate: too low is the costly side.
const CAUTION: f64 = 0.3;
/// Autocorrelation beyond this is a random walk to us.
const MOST_RHO: f64 = 0.97;
/// The same for the spread of single values: at more, a minute of quiet scrapes would say nothing about the next one.
const MOST_RHO_OF_SPREAD: f64 = 0.8;
/// Batches an arm for the second opinion on the variance.
const BATCHES: usize = 4;
/// A few means scatter widely: the second opinion counts where it exceeds the first by a third.
const BATCHES_TRUST: f64 = 0.75;
/// Log units. A trend of 5 % over 240 scrapes makes a shift of 4 % in the longest trial of three to five waves; what is
/// left of it beyond the least gain must not be kept.
const UNSEEN_IN_WAVES: f64 = 0.015;
/// A trend counts as real from this many standard errors.
const TREND_SURE: f64 = 2.0;

/// The uncertainty of the shift between the arms of `segments`. Needs a few values in each arm.
pub(super) fn uncertainty(segments: &[LogSegment]) -> Uncertainty {
    let arms = [Residuals::of(segments, Arm::A), Residuals::of(segments, Arm::B)];
    let n = arms[0].count + arms[1].count;
    let squares = arms[0].squares + arms[1].squares;
    let scatter = arms[0].scatter;
    if squares <= 1e-18 * n {
        return Uncertainty { error: LEAST_ERROR, df: n, effective_n: n, drift: 0.0, unseen: 0.0, scatter };
    }
    let rho = autocorrelation(&arms, n, squares);
    // Long-run variance of each arm: the variance of its mean, times its length.
    let long_run = arms.each_ref().map(|arm| {
        let inflation = variance_inflation(arm.count, rho);
        arm.squares / (arm.count - inflation).max(1.0) * inflation
    });
    let modelled = long_run[0] / arms[0].count + long_run[1] / arms[1].count;
    let seen = arms[0].variance_by_batches() + arms[1].variance_by_batches();
    let variance = modelled.max(BATCHES_TRUST * seen);
    let independent =
        arms.iter().map(|arm| arm.squares / (arm.count * (arm.count - 1.0).max(1.0))).sum::<f64>();
    Uncertainty {
        error: variance.sqrt().max(LEAST_ERROR),
        // Delta method on ln of the long-run variance, from the sampling variances of s² and of ρ.
        df: (n * (1.0 - rho * rho) / (3.0 + rho * rho)).max(2.0),
        effective_n: (n * independent / variance).clamp(1.0, n),
        drift: drift(&arms, long_run),
        unseen: 0.0,
        scatter,
    }
}

/// How far a single later log-value may lie from the centre of these by chance.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spread {
    /// Standard deviation, the centre's own uncertainty included.
    pub(super) sd: f64,
    /// Degrees of freedom of it.
    pub(super) df: f64,
}

/// The spread of consecutive log-values without a change among them.
pub(super) fn spread(values: Vec<Option<f64>>) -> Spread {
    let segments = [LogSegment { arm: Arm::A, values }];
    let arms = [Arm::A, Arm::B].map(|arm| Residuals::of(&segments, arm));
    let (n, squares) = (arms[0].count, arms[0].squares);
    if squares <= 1e-18 * n {
        return Spread { sd: 0.0, df: n };
    }
    let rho = autocorrelation(&arms, n, squares).min(MOST_RHO_OF_SPREAD);
    let inflation = variance_inflation(n, rho);
    let variance = squares / (n - inflation).max(1.0);
    Spread {
        sd: (variance * (1.0 + inflation / n)).sqrt(),
        // From the sampling variance of s² (Bartlett).
        df: (n * (1.0 - rho * rho) / (1.0 + rho * rho)).max(2.0),
    }
}

/// One arm's log-values less their centre, at their place in time.
struct Residuals {
    /// By segment: time (scrapes since the trial's first) and residual.
    runs: Vec<Vec<(f64, f64)>>,
    count: f64,
    squares: f64,
    mean_time: f64,
    scatter: f64,
}

impl Residuals {
    fn of(segments: &[LogSegment], arm: Arm) -> Self {
        let mut start = 0.0;
        let mut runs = Vec::new();
        for segment in segments {
            if segment.arm == arm {
                let timed = segment.values.iter().enumerate();
                runs.push(timed.filter_map(|(i, v)| v.map(|v| (start + i as f64, v))).collect::<Vec<_>>());
            }
            start += segment.values.len() as f64;
        }
        let values: Vec<f64> = runs.iter().flatten().map(|&(_, value)| value).collect();
        let count = values.len().max(1) as f64;
        let centre = median(&values);
        let deviations: Vec<f64> = values.iter().map(|value| (value - centre).abs()).collect();
        let scatter = MAD_TO_SD * median(&deviations);
        // More than half of the values alike: nothing to clip by.
        let clip = if scatter > 0.0 { CLIP_SD * scatter } else { f64::INFINITY };
        for (_, value) in runs.iter_mut().flatten() {
            *value = (*value - centre).clamp(-clip, clip);
        }
        let mean = runs.iter().flatten().map(|&(_, value)| value).sum::<f64>() / count;
        for (_, value) in runs.iter_mut().flatten() {
            *value -= mean;
        }
        let squares = runs.iter().flatten().map(|&(_, value)| value * value).sum();
        let mean_time = runs.iter().flatten().map(|&(time, _)| time).sum::<f64>() / count;
        Self { runs, count, squares, mean_time, scatter }
    }

    /// The variance of the arm's mean, from the spread of the means of a few long batches: crude, but it sees
    /// slow wandering that the autocorrelation of neighbours does not.
    fn variance_by_batches(&self) -> f64 {
        let values: Vec<f64> = self.runs.iter().flatten().map(|&(_, value)| value).collect();
        if values.len() < 2 * BATCHES {
            return 0.0;
        }
        let of_batch = |batch: usize| {
            let slice = &values[batch * values.len() / BATCHES..(batch + 1) * values.len() / BATCHES];
            slice.iter().sum::<f64>() / slice.len() as f64
        };
        let spread: f64 = (0..BATCHES).map(|batch| of_batch(batch).powi(2)).sum();
        spread / ((BATCHES - 1) * BATCHES) as f64
    }
}

/// Lag-1 autocorrelation of both arms together, corrected for its bias at this length and rounded up by caution.
fn autocorrelation(arms: &[Residuals; 2], n: f64, squares: f64) -> f64 {
    let mut products = 0.0;
    let mut pairs = 0.0;
    for pair in arms.iter().flat_map(|arm| &arm.runs).flat_map(|run| run.windows(2)) {
        if pair[1].0 - pair[0].0 < 1.5 {
            products += pair[0].1 * pair[1].1;
            pairs += 1.0;
        }
    }
    if pairs < 1.0 {
        return MOST_RHO;
    }
    let raw = (products / pairs) / (squares / n);
    // E[raw] ≈ ρ − (1 + 3ρ)/m with a mean estimated from m values (Kendall 1954).
    let m = (0.5 * n).max(10.0);
    let unbiased = ((m * raw + 1.0) / (m - 3.0)).clamp(0.0, MOST_RHO);
    (unbiased + CAUTION * ((1.0 - unbiased * unbiased) / n).sqrt()).min(MOST_RHO)
}

/// By how much the variance of a mean of `n` AR(1) values exceeds that of independent ones:
/// 1 + 2 Σ (1 − k/n) ρ^k.
fn variance_inflation(n: f64, rho: f64) -> f64 {
    let gap = 1.0 - rho;
    ((1.0 + rho) / gap - 2.0 * rho * (1.0 - rho.powf(n)) / (n * gap * gap)).max(1.0)
}

/// What a common straight trend within the arms adds to the shift between them, as far as the trend is sure.
fn drift(arms: &[Residuals; 2], long_run: [f64; 2]) -> f64 {
    let mut leverage = [0.0; 2];
    let mut covariance = 0.0;
    for (arm, leverage) in arms.iter().zip(&mut leverage) {
        for &(time, value) in arm.runs.iter().flatten() {
            *leverage += (time - arm.mean_time).powi(2);
            covariance += (time - arm.mean_time) * value;
        }
    }
    let total = leverage[0] + leverage[1];
    if total <= 0.0 {
        return 0.0;
    }
    let slope = covariance / total;
    let error = (long_run[0] * leverage[0] + long_run[1] * leverage[1]).sqrt() / total;
    let sure = (slope.abs() - TREND_SURE * error).max(0.0).copysign(slope);
    sure * (arms[1].mean_time - arms[0].mean_time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::noise::{Noise, Wander};

    fn two_arms(noise: &Noise, seed: u64, n: usize) -> [LogSegment; 2] {
        let all = noise.log_values(seed, 2 * n);
        [(Arm::A, &all[..n]), (Arm::B, &all[n..])].map(|(arm, v)| LogSegment { arm, values: v.to_vec() })
    }

    fn average(noise: &Noise, n: usize, of: impl Fn(Uncertainty) -> f64) -> f64 {
        (0..100).map(|seed| of(uncertainty(&two_arms(noise, seed, n)))).sum::<f64>() / 100.0
    }

    #[test]
    fn effective_n_is_near_what_theory_says() {
        // Independent: about all of them. ρ = 0.8: (1 − ρ)/(1 + ρ) = 1/9 of them, less for caution.
        let independent = average(&Noise::new(0.0, 0.15), 60, |u| u.effective_n);
        assert!((80.0..=120.0).contains(&independent), "{independent}");
        let alike = average(&Noise::new(0.8, 0.15), 60, |u| u.effective_n);
        assert!((7.0..=18.0).contains(&alike), "{alike}");
    }

    #[test]
    fn the_error_does_not_fall_below_the_truth() {
        for rho in [0.0, 0.3, 0.5, 0.7, 0.8] {
            let noise = Noise::new(rho, 0.15);
            let sd = noise.log_sd();
            let truth = sd * (2.0 / 60.0 * variance_inflation(60.0, rho)).sqrt();
            let estimated = average(&noise, 60, |u| u.error);
            assert!((0.98..1.35).contains(&(estimated / truth)), "ρ {rho}: {estimated} for {truth}");
        }
    }

    #[test]
    fn missing_scrapes_break_no_pairs() {
        let noise = Noise { missing: 0.1, ..Noise::new(0.8, 0.15) };
        let alike = average(&noise, 60, |u| u.effective_n);
        assert!((6.0..=18.0).contains(&alike), "{alike}");
    }

    #[test]
    fn a_clear_trend_is_seen_and_noise_is_not_one() {
        let trend = Noise { wander: Wander::Trend(0.002), ..Noise::new(0.3, 0.05) };
        let found = average(&trend, 60, |u| u.drift);
        // 0.002 a scrape over 60 scrapes between the centres is 0.12.
        assert!((0.04..0.12).contains(&found), "{found}");
        let none = average(&Noise::new(0.3, 0.05), 60, |u| u.drift.abs());
        assert!(none < 0.003, "{none}");
    }

    #[test]
    fn constant_arms_keep_a_resolution() {
        let constant = |arm, value| LogSegment { arm, values: vec![Some(value); 60] };
        let found = uncertainty(&[constant(Arm::A, 1.0), constant(Arm::B, 2.0)]);
        assert_eq!(found.error, LEAST_ERROR);
        assert_eq!(found.effective_n, 120.0);
    }
}
