//! Signals, the bounds on them, and the baseline that relative bounds refer to.

use super::{SignalName, Symptom};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The unit of a signal's value, after its queries' own conversions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Bytes per second.
    BytesPerSec,
    /// Degrees Celsius.
    Celsius,
    /// 0 to 100.
    Percent,
    /// Milliseconds.
    Ms,
    /// Seconds.
    Seconds,
    /// Events per second.
    PerSec,
    /// Bytes.
    Bytes,
    /// A number without a unit.
    Count,
}

impl Unit {
    /// How the unit ends a key in `baseline.yaml`: `value_bytes_per_sec`, `value_celsius`, …
    pub fn key_suffix(self) -> &'static str {
        match self {
            Self::BytesPerSec => "bytes_per_sec",
            Self::Celsius => "celsius",
            Self::Percent => "percent",
            Self::Ms => "ms",
            Self::Seconds => "seconds",
            Self::PerSec => "per_sec",
            Self::Bytes => "bytes",
            Self::Count => "count",
        }
    }

    /// Every unit, for messages that list what is allowed.
    pub const ALL: [Self; 8] = [
        Self::BytesPerSec,
        Self::Celsius,
        Self::Percent,
        Self::Ms,
        Self::Seconds,
        Self::PerSec,
        Self::Bytes,
        Self::Count,
    ];

    /// A value with its unit, scaled for reading: `1.18 MB/s`, `72.0 °C`, `15.5 %`, `180 ms`.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::BytesPerSec => format!("{}/s", scaled_bytes(value)),
            Self::Bytes => scaled_bytes(value),
            Self::Celsius => format!("{value:.1} °C"),
            Self::Percent => format!("{value:.1} %"),
            Self::Ms if value.abs() < 10.0 => format!("{value:.2} ms"),
            Self::Ms => format!("{value:.0} ms"),
            Self::Seconds => format!("{value:.3} s"),
            Self::PerSec => format!("{value:.1} /s"),
            Self::Count => format!("{value:.2}"),
        }
    }
}

fn scaled_bytes(value: f64) -> String {
    const STEPS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut rest = value;
    let mut step = 0;
    while rest.abs() >= 1024.0 && step + 1 < STEPS.len() {
        rest /= 1024.0;
        step += 1;
    }
    if step == 0 { format!("{rest:.0} B") } else { format!("{rest:.2} {}", STEPS[step]) }
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Latency, WAL rate, temperature.
    LowerIsBetter,
    /// Throughput.
    HigherIsBetter,
}

/// A named PromQL query with a unit and a direction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// Its name, e.g. `wal_rate`.
    pub name: SignalName,
    /// The key that it has in `baseline.yaml`, e.g. `wal_write_rate`.
    pub baseline_key: String,
    /// The unit of the query's answer.
    pub unit: Unit,
    /// Which way is better.
    pub direction: Direction,
    /// PromQL templates in order of preference, the first that answers wins. `{{window}}` stands for the
    /// rate window: `window` when a level is checked, twice the scrape interval when samples are judged.
    pub queries: Vec<String>,
    /// The rate window of a level check.
    pub window: Duration,
    /// Whether the value grows with the offered load, so that a verdict compares it per unit of load.
    pub scales_with_load: bool,
    /// The symptom that stands for "this signal is out of its bound".
    pub symptom: Symptom,
    /// An optional signal without any series does not stop compliance.
    pub optional: bool,
}

/// What a signal may be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// A value in the signal's own unit.
    Absolute(f64),
    /// A multiple of the baseline's value.
    TimesBaseline(f64),
}

/// The bound of one signal in one environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlaTarget {
    /// The signal it bounds.
    pub signal: SignalName,
    /// The bound.
    pub bound: Bound,
    /// `<` instead of `≤`: the bound itself is already a breach.
    pub strict: bool,
}

impl SlaTarget {
    /// The bound as a number in the signal's unit; `None` where it needs a baseline that is not there.
    pub fn limit(&self, baseline: Option<f64>) -> Option<f64> {
        match self.bound {
            Bound::Absolute(limit) => Some(limit),
            Bound::TimesBaseline(factor) => baseline.map(|value| value * factor),
        }
    }

    /// Whether `value` is outside of `limit`.
    pub fn is_broken(&self, value: f64, limit: f64, direction: Direction) -> bool {
        match (direction, self.strict) {
            (Direction::LowerIsBetter, false) => value > limit,
            (Direction::LowerIsBetter, true) => value >= limit,
            (Direction::HigherIsBetter, false) => value < limit,
            (Direction::HigherIsBetter, true) => value <= limit,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absolute(limit) => write!(f, "{limit}"),
            Self::TimesBaseline(factor) => write!(f, "{factor}× baseline"),
        }
    }
}

/// What the signals were when a person said "this is normal".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// When its sampling ended.
    pub taken_at: DateTime<Utc>,
    /// How long it was sampled.
    pub sampled_for: Duration,
    /// One entry for each signal that had data.
    pub metrics: BTreeMap<SignalName, BaselineMetric>,
}

/// One signal of a baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BaselineMetric {
    /// The query that answered, its window filled in.
    pub query: String,
    /// The value in the signal's unit: the median, for `wal_rate` the 95th percentile (its "baseline peak").
    pub value: f64,
    /// 5th and 95th percentile of the samples.
    pub spread: (f64, f64),
    /// How many samples it rests on.
    pub samples: u32,
}
