//! One signal, before against after.
//!
//! Goes in: a series and the load. Comes out: a [`Contrast`] that can be asked for an interval at any error
//! probability, or the [`Gap`] in the data that forbids the comparison. NaN and infinite values count as missing.
//! Thresholds are not known here: those are the rules' in [`super`].

use super::dependence::{LogSegment, Uncertainty, uncertainty};
use super::location::{median, shift};
use super::quantile::student_t;
use super::waves;
use crate::model::{Arm, Comparison, Direction, Series, Waves};

/// Fewer values in an arm than this prove nothing.
pub(super) const LEAST_VALUES: usize = 20;
/// The largest share of an arm's scrapes that may be missing: what is missing is seldom missing by chance.
pub(super) const MOST_MISSING: f64 = 0.20;
/// Without a floor of its own, a signal's floor is this share of its median: zero has no logarithm.
const FLOOR_SHARE: f64 = 1e-3;
/// Ratios end at e^±13.8, a million: beyond it a number says no more.
pub(super) const MOST_LOG: f64 = 13.8;

/// Why a signal cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Gap {
    /// No value, before or after: nothing here knows this signal.
    NeverHadData,
    /// Values before, none after.
    Vanished,
    /// Too few values in an arm.
    FewValues { arm: Arm, values: usize },
    /// Too large a share of an arm's scrapes gave no value.
    Missing { arm: Arm, missing: usize, scrapes: usize },
}

/// One signal before against after, with all that intervals need.
#[derive(Debug, Clone)]
pub(super) struct Contrast<'a> {
    pub(super) series: &'a Series,
    /// Estimated shift of the logarithm, per unit of load where `per_load`.
    shift: f64,
    uncertainty: Uncertainty,
    /// Raw medians.
    pub(super) before: f64,
    pub(super) after: f64,
    pub(super) n_before: usize,
    pub(super) n_after: usize,
    pub(super) per_load: bool,
}

impl<'a> Contrast<'a> {
    /// `waves`: how long those are that run through the series, where any are known of.
    pub(super) fn of(series: &'a Series, load: Option<&Series>, waves: Option<Waves>) -> Result<Self, Gap> {
        let load = load.filter(|load| series.scales_with_load && has_data(load));
        let (before, after) = (values_of(series, load, Arm::A), values_of(series, load, Arm::B));
        require(series, before.len(), after.len())?;
        let floor = floor_of(series, before.iter().chain(&after));
        let segments: Vec<LogSegment> = series
            .segments
            .iter()
            .enumerate()
            .map(|(i, segment)| LogSegment {
                arm: segment.arm,
                values: (0..segment.values.len())
                    .map(|at| paired(series, load, i, at).map(|(value, load)| (value.max(floor) / load).ln()))
                    .collect(),
            })
            .collect();
        let logs = |arm| -> Vec<f64> {
            segments
                .iter()
                .filter(|s| s.arm == arm)
                .flat_map(|s| s.values.iter().flatten().copied())
                .collect()
        };
        let by_scrapes = uncertainty(&segments);
        let (shift, uncertainty) = match waves.and_then(|waves| waves::compare(series, load, floor, waves)) {
            Some(found) => (found.shift, by_scrapes.of_waves(&found)),
            None => (shift(&logs(Arm::A), &logs(Arm::B)), by_scrapes),
        };
        Ok(Self {
            series,
            shift,
            uncertainty,
            before: median(&before),
            after: median(&after),
            n_before: before.len(),
            n_after: after.len(),
            per_load: load.is_some(),
        })
    }

    /// Estimated change, after/before − 1.
    pub(super) fn change(&self) -> f64 {
        as_change(self.shift)
    }

    /// The two-sided interval of 1 − `alpha` on the change.
    pub(super) fn interval(&self, alpha: f64) -> (f64, f64) {
        let Uncertainty { error, df, drift, unseen, .. } = self.uncertainty;
        let reach = student_t(0.5 * alpha, df) * error + unseen;
        // A trend that runs through both arms may be the whole of the shift, or not: the interval covers both.
        (as_change(self.shift - reach - drift.max(0.0)), as_change(self.shift + reach - drift.min(0.0)))
    }

    /// Estimated worsening: +0.2 is 20 % worse, negative is a gain.
    pub(super) fn worsening(&self) -> f64 {
        self.towards_worse((self.change(), self.change())).0
    }

    /// The two-sided interval of 1 − `alpha` on the worsening: its good end, its bad end.
    pub(super) fn worsening_interval(&self, alpha: f64) -> (f64, f64) {
        self.towards_worse(self.interval(alpha))
    }

    fn towards_worse(&self, (low, high): (f64, f64)) -> (f64, f64) {
        match self.series.direction {
            Direction::LowerIsBetter => (low, high),
            Direction::HigherIsBetter => (-high, -low),
        }
    }

    /// Robust spread of single scrapes before the change, as a share.
    pub(super) fn scatter(&self) -> f64 {
        as_change(self.uncertainty.scatter)
    }

    /// What people and the ledger are shown.
    pub(super) fn comparison(&self, alpha: f64) -> Comparison {
        let (low, high) = self.interval(alpha);
        Comparison {
            signal: self.series.signal.clone(),
            unit: self.series.unit,
            direction: self.series.direction,
            before: self.before,
            after: self.after,
            n_before: u32::try_from(self.n_before).unwrap_or(u32::MAX),
            n_after: u32::try_from(self.n_after).unwrap_or(u32::MAX),
            effective_n: self.uncertainty.effective_n,
            change: self.change(),
            low,
            high,
            per_load: self.per_load,
        }
    }
}

fn as_change(log_ratio: f64) -> f64 {
    log_ratio.clamp(-MOST_LOG, MOST_LOG).exp_m1()
}

/// Whether the series has a single value that can be compared.
pub(super) fn has_data(series: &Series) -> bool {
    series.segments.iter().flat_map(|segment| &segment.values).flatten().any(|value| value.is_finite())
}

/// The value and the load of one scrape; a load of 1 where none is asked for.
pub(super) fn paired(
    series: &Series,
    load: Option<&Series>,
    segment: usize,
    at: usize,
) -> Option<(f64, f64)> {
    let value = series.segments.get(segment)?.values.get(at).copied().flatten().filter(|v| v.is_finite())?;
    let Some(load) = load else { return Some((value, 1.0)) };
    let load = load.segments.get(segment)?.values.get(at).copied().flatten()?;
    // An idle scrape says nothing about the cost of a unit of work.
    (load.is_finite() && load > 0.0).then_some((value, load))
}

fn values_of(series: &Series, load: Option<&Series>, arm: Arm) -> Vec<f64> {
    let segments = series.segments.iter().enumerate().filter(|(_, segment)| segment.arm == arm);
    segments
        .flat_map(|(i, s)| (0..s.values.len()).filter_map(move |at| paired(series, load, i, at)))
        .map(|(value, _)| value)
        .collect()
}

fn require(series: &Series, before: usize, after: usize) -> Result<(), Gap> {
    if !has_data(series) {
        return Err(Gap::NeverHadData);
    }
    if before > 0 && after == 0 {
        return Err(Gap::Vanished);
    }
    for (arm, values) in [(Arm::A, before), (Arm::B, after)] {
        let scrapes: usize = series.segments.iter().filter(|s| s.arm == arm).map(|s| s.values.len()).sum();
        if values < LEAST_VALUES {
            return Err(Gap::FewValues { arm, values });
        }
        let missing = scrapes - values;
        if missing as f64 > MOST_MISSING * scrapes as f64 {
            return Err(Gap::Missing { arm, missing, scrapes });
        }
    }
    Ok(())
}

/// The least that a value counts as: the signal's floor, or a small share of its median.
fn floor_of<'v>(series: &Series, values: impl Iterator<Item = &'v f64>) -> f64 {
    let positive: Vec<f64> = values.copied().filter(|value| *value > 0.0).collect();
    let given = if series.floor.is_finite() { series.floor } else { 0.0 };
    let floor = given.max(FLOOR_SHARE * median(&positive));
    // Nothing positive and no floor: every value counts the same, whatever the number.
    if floor > 0.0 { floor } else { 1.0 }
}
