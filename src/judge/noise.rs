//! Synthetic noise for the tests of this room: log-normal AR(1), with bursts, drift and missing scrapes on request.
//! Test-only.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// What moves slowly below the noise.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wander {
    Nothing,
    /// A straight line, in log units a scrape.
    Trend(f64),
    /// A random walk, standard deviation of a step in log units.
    Walk(f64),
    /// A second AR(1) component, ρ 0.95, as wide as the noise itself; both together have the noise's width.
    Slow,
}

/// A recipe for noise.
#[derive(Debug, Clone, Copy)]
pub(super) struct Noise {
    /// Lag-1 autocorrelation.
    pub(super) rho: f64,
    /// Coefficient of variation.
    pub(super) cv: f64,
    /// Probability that a burst (×3 for 1 to 6 scrapes) begins at a scrape.
    pub(super) bursts: f64,
    pub(super) wander: Wander,
    /// Probability that a scrape gives nothing.
    pub(super) missing: f64,
}

impl Noise {
    pub(super) fn new(rho: f64, cv: f64) -> Self {
        Self { rho, cv, bursts: 0.0, wander: Wander::Nothing, missing: 0.0 }
    }

    /// Standard deviation of the logarithms.
    pub(super) fn log_sd(&self) -> f64 {
        (1.0 + self.cv * self.cv).ln().sqrt()
    }

    /// `n` consecutive log-values.
    pub(super) fn log_values(&self, seed: u64, n: usize) -> Vec<Option<f64>> {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut state = normal(&mut random);
        let mut slow = 0.0;
        let mut burst_left = 0;
        let slow_share = if matches!(self.wander, Wander::Slow) { 0.5_f64 } else { 0.0 };
        let fast_sd = self.log_sd() * (1.0 - slow_share).sqrt();
        let mut value = || {
            if burst_left == 0 && random.random::<f64>() < self.bursts {
                burst_left = random.random_range(1..=6);
            }
            let burst = if burst_left > 0 { 3.0_f64.ln() } else { 0.0 };
            burst_left = (burst_left - 1).max(0);
            let value = fast_sd * state + slow + burst;
            state = self.rho * state + (1.0 - self.rho * self.rho).sqrt() * normal(&mut random);
            slow = match self.wander {
                Wander::Nothing => 0.0,
                Wander::Trend(step) => slow + step,
                Wander::Walk(step) => slow + step * normal(&mut random),
                Wander::Slow => 0.95 * slow + (1.0_f64 - 0.95 * 0.95).sqrt() * fast_sd * normal(&mut random),
            };
            (random.random::<f64>() >= self.missing).then_some(value)
        };
        (0..n).map(|_| value()).collect()
    }
}

/// One standard normal number, by Box and Muller.
fn normal(random: &mut SmallRng) -> f64 {
    let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.random::<f64>()).cos()
}
