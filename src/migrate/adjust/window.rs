//! The latest samples of a run, and where they tend.
//!
//! In: [`Sample`]s as they come. Out: [`Trends`] in percent. Always holds: at most so many samples are kept; a trend
//! is finite or unknown, and unknown is never 0; only samples of the latest one's phase and settings are compared
//! with it, because another table's rows per second, or those under other settings, are no decline. It decides
//! nothing.

use super::one_decimal;
use super::sample::Sample;
use std::collections::VecDeque;

/// So many samples make a baseline.
pub const BASELINE: usize = 3;

/// Rows per second that rose by more than this against the baseline, percent, are told.
const INCREASES: f64 = 10.0;

/// The latest samples of a run, oldest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    samples: VecDeque<Sample>,
    most: usize,
}

/// Where a run tends, percent; `None` is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Trends {
    /// Rows per second, latest sample against the baseline; +5 is 5 % more.
    pub throughput_percent: Option<f64>,
    /// Memory of the process, growth a sample over the last few samples, whatever the phase.
    pub memory_growth_percent: Option<f64>,
    /// Mean latency of reads, latest sample against the baseline; +5 is 5 % slower.
    pub query_latency_percent: Option<f64>,
    /// Mean latency of writes, latest sample against the baseline; +5 is 5 % slower.
    pub write_latency_percent: Option<f64>,
}

impl Window {
    /// A window of at most `most` samples; fewer than a baseline and one more make no sense, so it holds at least
    /// that.
    pub fn new(most: usize) -> Self {
        Self { samples: VecDeque::new(), most: most.max(BASELINE + 1) }
    }

    /// Adds the newest sample; the oldest goes when there are too many.
    pub fn push(&mut self, sample: Sample) {
        while self.samples.len() >= self.most {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// The newest sample.
    pub fn latest(&self) -> Option<&Sample> {
        self.samples.back()
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Sample> {
        self.samples.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Whether the latest sample's throughput can be compared with a whole baseline.
    pub fn has_baseline(&self) -> bool {
        let throughput = |sample: &&Sample| known(sample.rows_per_second).is_some();
        self.latest().as_ref().is_some_and(throughput)
            && self.like_latest().filter(throughput).count() >= BASELINE
    }

    /// Where the run tends. The baseline is the mean of the oldest comparable samples, at most [`BASELINE`] of them,
    /// so that a slow decline adds up.
    pub fn trends(&self) -> Trends {
        Trends {
            throughput_percent: self.against_baseline(|sample| sample.rows_per_second),
            memory_growth_percent: self.growth(|sample| sample.memory_mb),
            query_latency_percent: self.against_baseline(|sample| sample.query_latency_ms_mean),
            write_latency_percent: self.against_baseline(|sample| sample.write_latency_ms_mean),
        }
    }

    /// For the log, at info, where rows per second are clearly above a whole baseline; the testing guide's words.
    pub fn increasing_line(&self) -> Option<String> {
        let (before, now) = self.compared(|sample| sample.rows_per_second).filter(|_| self.has_baseline())?;
        let rises = percent_change(before, now).is_some_and(|percent| percent > INCREASES);
        rises.then(|| format!("Throughput increasing: {} rows/sec -> {} rows/sec", short(before), short(now)))
    }

    /// The samples before the latest one that can be compared with it, oldest first.
    fn like_latest(&self) -> impl Iterator<Item = &Sample> {
        let latest = self.samples.back();
        let before = self.samples.len().saturating_sub(1);
        self.samples.iter().take(before).filter(move |sample| {
            latest.is_some_and(|latest| sample.phase == latest.phase && sample.settings == latest.settings)
        })
    }

    fn against_baseline(&self, value: fn(&Sample) -> Option<f64>) -> Option<f64> {
        let (before, now) = self.compared(value)?;
        percent_change(before, now)
    }

    /// The baseline's mean, and the latest sample's value.
    fn compared(&self, value: fn(&Sample) -> Option<f64>) -> Option<(f64, f64)> {
        let now = known(value(self.latest()?))?;
        let baseline: Vec<f64> =
            self.like_latest().filter_map(|sample| known(value(sample))).take(BASELINE).collect();
        if baseline.is_empty() {
            return None;
        }
        // Each is divided first: the sum of huge ones would not be finite.
        let mean: f64 = baseline.iter().map(|value| value / baseline.len() as f64).sum();
        Some((mean, now))
    }

    fn growth(&self, value: fn(&Sample) -> Option<f64>) -> Option<f64> {
        let newest_first: Vec<f64> =
            self.samples.iter().rev().map_while(|sample| known(value(sample))).take(BASELINE + 1).collect();
        let (newest, oldest) = (*newest_first.first()?, *newest_first.last()?);
        let steps = newest_first.len() - 1;
        if steps == 0 {
            return None;
        }
        percent_change(oldest, newest).map(|change| change / steps as f64)
    }
}

fn known(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite())
}

/// From `before` to `now`, percent; `None` where there is no such number: what was 0 or less has no growth.
fn percent_change(before: f64, now: f64) -> Option<f64> {
    let change = if before.is_finite() && before > 0.0 { (now / before - 1.0) * 100.0 } else { f64::NAN };
    known(Some(change))
}

/// `850`, `120K`, `1.2M`.
fn short(rows: f64) -> String {
    match rows {
        rows if rows >= 1e6 => format!("{}M", one_decimal(rows / 1e6)),
        rows if rows >= 1e3 => format!("{}K", one_decimal(rows / 1e3)),
        rows => one_decimal(rows),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::fixtures::{phase, sample};
    use super::super::settings::Parameter;
    use super::*;
    use proptest::prelude::*;

    fn window(samples: impl IntoIterator<Item = Sample>) -> Window {
        let mut window = Window::new(10);
        samples.into_iter().for_each(|sample| window.push(sample));
        window
    }

    fn throughput(rows: &[f64]) -> Option<f64> {
        window(rows.iter().map(|rows| sample(*rows))).trends().throughput_percent
    }

    fn close(value: Option<f64>, expected: f64) {
        let value = value.expect("it is known");
        assert!((value - expected).abs() < 1e-6, "{value} is not {expected}");
    }

    #[test]
    fn the_latest_sample_is_compared_with_the_oldest_three() {
        close(throughput(&[90.0, 100.0, 110.0, 85.0]), -15.0);
        close(throughput(&[90.0, 100.0, 110.0, 500.0, 105.0]), 5.0);
    }

    #[test]
    fn unknown_is_never_zero() {
        assert_eq!(throughput(&[]), None);
        assert_eq!(throughput(&[100.0]), None);
        assert_eq!(throughput(&[0.0, 0.0, 0.0, 100.0]), None, "nothing grows from 0");
        assert_eq!(throughput(&[100.0, 100.0, f64::NAN]), None);
        close(throughput(&[100.0, f64::NAN, 100.0, 100.0]), 0.0);
        assert_eq!(window([sample(1.0), sample(1.0)]).trends().query_latency_percent, None);
    }

    #[test]
    fn other_tables_and_other_settings_are_not_compared() {
        let other_table = Sample { phase: phase(2), ..sample(1_000.0) };
        let more = sample(1.0).settings.with(Parameter::Writers, 5).unwrap();
        let other_settings = Sample { settings: more, ..sample(1_000.0) };
        let trends = window([other_table.clone(), other_settings, sample(100.0), sample(110.0)]).trends();
        close(trends.throughput_percent, 10.0);
        assert_eq!(window([sample(100.0), sample(100.0), other_table]).trends().throughput_percent, None);
    }

    #[test]
    fn a_baseline_needs_three_like_samples_before_the_latest() {
        assert!(!window([sample(1.0), sample(1.0), sample(1.0)]).has_baseline());
        assert!(window([sample(1.0), sample(1.0), sample(1.0), sample(1.0)]).has_baseline());
        let blind = Sample { rows_per_second: None, ..sample(1.0) };
        assert!(!window([sample(1.0), sample(1.0), blind.clone(), sample(1.0)]).has_baseline());
        assert!(!window([sample(1.0), sample(1.0), sample(1.0), blind]).has_baseline());
    }

    #[test]
    fn what_increases_is_told_in_the_testing_guides_words() {
        let line = |rows: &[f64]| window(rows.iter().map(|rows| sample(*rows))).increasing_line();
        assert_eq!(
            line(&[100_000.0, 100_000.0, 100_000.0, 120_000.0]).as_deref(),
            Some("Throughput increasing: 100K rows/sec -> 120K rows/sec")
        );
        assert_eq!(line(&[100_000.0, 100_000.0, 100_000.0, 109_000.0]), None, "that is as before");
        assert_eq!(line(&[100_000.0, 100_000.0, 120_000.0]), None, "there is no baseline");
        assert_eq!([850.0, 1_200_000.0].map(short), ["850", "1.2M"]);
    }

    #[test]
    fn memory_growth_is_per_sample() {
        let memory = |mb| Sample { memory_mb: Some(mb), ..sample(1.0) };
        let trends = window([memory(100.0), memory(110.0), memory(120.0)]).trends();
        close(trends.memory_growth_percent, 10.0);
        let gap = Sample { memory_mb: None, ..sample(1.0) };
        assert_eq!(window([memory(100.0), gap, memory(120.0)]).trends().memory_growth_percent, None);
    }

    #[test]
    fn latency_has_its_trends() {
        let latency = |ms| Sample {
            query_latency_ms_mean: Some(ms),
            write_latency_ms_mean: Some(2.0 * ms),
            ..sample(1.0)
        };
        let trends = window([latency(10.0), latency(12.0)]).trends();
        close(trends.query_latency_percent, 20.0);
        close(trends.write_latency_percent, 20.0);
    }

    #[test]
    fn old_samples_go() {
        let mut window = Window::new(0);
        assert!(window.is_empty());
        (0..20).for_each(|rows| window.push(sample(f64::from(rows))));
        let kept: Vec<_> = window.iter().filter_map(|sample| sample.rows_per_second).collect();
        assert_eq!(kept, [16.0, 17.0, 18.0, 19.0]);
        assert_eq!(window.len(), 4);
    }

    proptest! {
        #[test]
        fn trends_are_finite_whatever_was_measured(
            values in prop::collection::vec((
                prop::option::of(any::<f64>()), prop::option::of(any::<f64>()), 1_u32..3,
            ), 0..12),
        ) {
            let mut window = Window::new(8);
            for (rows, other, table) in values {
                window.push(Sample {
                    rows_per_second: rows,
                    memory_mb: other,
                    query_latency_ms_mean: rows,
                    write_latency_ms_mean: other,
                    phase: phase(table),
                    ..sample(1.0)
                });
                let trends = window.trends();
                for trend in [
                    trends.throughput_percent,
                    trends.memory_growth_percent,
                    trends.query_latency_percent,
                    trends.write_latency_percent,
                ] {
                    prop_assert!(trend.is_none_or(f64::is_finite), "{trend:?}");
                }
            }
        }
    }
}
