//! The signals over a time that a person calls normal → [`Baseline`].
//!
//! Every signal is sampled with its own rate window, as a level check sees it. Its value is the median; that of
//! `wal_rate` is the 95th percentile, its "baseline peak". Always holds: no baseline rests on missing data.

use super::signals::{self, Grid, Reduce, SampleSeries};
use crate::config::Config;
use crate::model::{Baseline, BaselineMetric, Signal, SignalName};
use crate::prometheus::{Client, PrometheusError};
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// A baseline may miss this share of its samples.
pub const MISSING_ALLOWED: f64 = 0.10;
/// Fewer samples say nothing of a spread.
pub const SAMPLES_NEEDED: usize = 10;
/// Its baseline is a peak: the playbook bounds the WAL rate by "1.5 × baseline peak".
const PEAK_SIGNAL: &str = "wal_rate";

/// A baseline, and the signals without a place in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    /// What was sampled.
    pub baseline: Baseline,
    /// Signals that need no baseline (optional, or without a bound) and had too little data for one.
    pub left_out: Vec<Lacking>,
}

/// A signal with too little data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking {
    /// The signal.
    pub signal: SignalName,
    /// How many samples are missing.
    pub missing: usize,
    /// Of how many.
    pub of: usize,
    /// Why, for people; empty where only some are missing.
    pub why: String,
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} of {} samples are missing", self.signal, self.missing, self.of)?;
        if self.why.is_empty() { Ok(()) } else { write!(f, " ({})", self.why) }
    }
}

/// Why there is no baseline.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// Prometheus could not be asked.
    #[error("sampling {signal}: {source}")]
    Prometheus {
        /// The signal that was being sampled.
        signal: SignalName,
        /// What went wrong.
        source: PrometheusError,
    },
    /// Signals with a bound have holes.
    #[error("no baseline is written from missing data:{}", list(.0))]
    Missing(Vec<Lacking>),
    /// The time holds too few scrapes.
    #[error(
        "{} s of sampling hold {found} scrapes of {} s; a baseline needs at least {SAMPLES_NEEDED}",
        sampled_for.as_secs_f64(), step.as_secs_f64()
    )]
    TooShort {
        /// How long it was sampled.
        sampled_for: Duration,
        /// The scrape interval.
        step: Duration,
        /// How many samples that gives.
        found: usize,
    },
}

impl BaselineError {
    /// What a person could do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Prometheus { source, .. } => source.hint(),
            Self::Missing(_) => {
                "are the exporters scraped (Prometheus' /targets), and is the load running? a signal that this \
                 host cannot have may be `optional: true`"
            }
            Self::TooShort { .. } => "sample longer (--for), or correct `cycle.scrape_interval`",
        }
    }
}

fn list(lacking: &[Lacking]) -> String {
    lacking.iter().map(|one| format!("\n  {one}")).collect()
}

/// The time that is sampled: `sampled_for`, ending at `to`, one sample each `step` (the scrape interval).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// How long.
    pub sampled_for: Duration,
    /// The scrape interval.
    pub step: Duration,
    /// Its end.
    pub to: DateTime<Utc>,
}

/// Samples every signal over a span that has passed. `progress` hears (signals done, signals in all).
pub async fn take(
    config: &Config,
    prometheus: &Client,
    span: Span,
    progress: &mut (dyn FnMut(usize, usize) + Send),
) -> Result<Taken, BaselineError> {
    let Span { sampled_for, step, to } = span;
    let grid = Grid::within(to - sampled_for, to, step);
    if grid.points() < SAMPLES_NEEDED {
        return Err(BaselineError::TooShort { sampled_for, step, found: grid.points() });
    }
    let (mut metrics, mut left_out, mut missing) = (BTreeMap::new(), Vec::new(), Vec::new());
    for (done, signal) in config.signals.iter().enumerate() {
        progress(done, config.signals.len());
        let reduce = Reduce::Worst(signal.direction);
        let series = signals::samples_on(prometheus, &signal.queries, reduce, grid, signal.window, None)
            .await
            .map_err(|source| BaselineError::Prometheus { signal: signal.name.clone(), source })?;
        match metric_of(signal, series) {
            Ok(metric) => drop(metrics.insert(signal.name.clone(), metric)),
            Err(lacking) if is_needed(config, signal) => missing.push(lacking),
            Err(lacking) => left_out.push(lacking),
        }
    }
    progress(config.signals.len(), config.signals.len());
    if !missing.is_empty() {
        return Err(BaselineError::Missing(missing));
    }
    Ok(Taken { baseline: Baseline { taken_at: to, sampled_for, metrics }, left_out })
}

/// The needed signals that have no reading at all now: while there are any, sampling cannot succeed.
pub async fn silent(config: &Config, prometheus: &Client, at: DateTime<Utc>) -> Vec<(SignalName, String)> {
    let mut silent = Vec::new();
    for signal in config.signals.iter().filter(|signal| is_needed(config, signal)) {
        let reading = signals::read_signal(prometheus, signal, signal.window, at).await;
        if let crate::model::Reading::Unknown { reason } = reading {
            silent.push((signal.name.clone(), reason));
        }
    }
    silent
}

/// A signal with a bound that may not be absent.
fn is_needed(config: &Config, signal: &Signal) -> bool {
    !signal.optional && config.sla_of(&signal.name).is_some()
}

fn metric_of(signal: &Signal, series: SampleSeries) -> Result<BaselineMetric, Lacking> {
    let of = series.values.len();
    let mut values: Vec<f64> = series.values.into_iter().flatten().collect();
    let missing = of - values.len();
    if values.is_empty() || missing as f64 > MISSING_ALLOWED * of as f64 {
        let why = series.why_empty.unwrap_or_default();
        return Err(Lacking { signal: signal.name.clone(), missing, of, why });
    }
    values.sort_by(f64::total_cmp);
    let share = if signal.name.as_str() == PEAK_SIGNAL { 0.95 } else { 0.5 };
    Ok(BaselineMetric {
        query: series.query,
        value: quantile(&values, share),
        spread: (quantile(&values, 0.05), quantile(&values, 0.95)),
        samples: u32::try_from(values.len()).unwrap_or(u32::MAX),
    })
}

/// Linear between the two nearest of at least one sorted value.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Direction, Symptom, Unit};

    fn signal(name: &str) -> Signal {
        Signal {
            name: name.into(),
            baseline_key: name.to_owned(),
            unit: Unit::Count,
            direction: Direction::LowerIsBetter,
            queries: Vec::new(),
            window: Duration::from_secs(300),
            scales_with_load: false,
            symptom: Symptom::new("x"),
            optional: false,
        }
    }

    fn series(values: Vec<Option<f64>>) -> SampleSeries {
        SampleSeries { query: "x".to_owned(), values, why_empty: None }
    }

    #[test]
    fn the_value_is_the_median_and_the_wal_rates_is_its_peak() {
        let values: Vec<_> = (0..=100).rev().map(|value| Some(f64::from(value))).collect();
        let metric = metric_of(&signal("io_wait"), series(values.clone())).unwrap();
        assert_eq!((metric.value, metric.spread, metric.samples), (50.0, (5.0, 95.0), 101));
        assert_eq!(metric_of(&signal("wal_rate"), series(values)).unwrap().value, 95.0);
    }

    #[test]
    fn a_tenth_may_be_missing_and_no_more() {
        let mut values = vec![Some(1.0); 20];
        values[3] = None;
        values[4] = None;
        assert_eq!(metric_of(&signal("io_wait"), series(values.clone())).unwrap().samples, 18);
        values[5] = None;
        let lacking = metric_of(&signal("io_wait"), series(values)).unwrap_err();
        assert_eq!(lacking.to_string(), "io_wait: 3 of 20 samples are missing");
    }

    #[test]
    fn quantiles_lie_between_neighbours() {
        assert_eq!(quantile(&[3.0], 0.95), 3.0);
        assert_eq!(quantile(&[1.0, 2.0], 0.5), 1.5);
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.75), 3.0);
    }
}
