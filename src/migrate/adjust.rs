//! The live adjustment of a migration run, as far as it is arithmetic and words: what an interval of the run was like
//! → which one setting changes next → whether the change stays.
//!
//! In: [`Sample`]s, one an interval, and [`Reading`]s, one a second; what a model answered. Out: [`Decision`]s,
//! [`Outcome`]s, sentences for the log, texts and bodies for a model. Always holds: nothing here knows a clock, a
//! file, a network or chance, `now` is an argument; unknown is a value of its own and never 0; no decision is out of
//! bounds, none changes two settings, and what is out of bounds is refused and not clamped; no row's value can get
//! into a text. It does not sample, ask a model, or apply anything: whoever drives the run does.
//!
//! One turn of the driver: push the sample into the [`Window`] → if a [`Trial`] is open, look at it and do nothing
//! else → else [`Breaker::ask`] and [`DecisionCache::look`] say whether the model is asked → where it is not, or does
//! not give a decision, [`rules::decide`] → the decision's trial.

mod action;
mod breaker;
mod cache;
pub mod cost;
pub mod prompt;
pub mod rules;
mod sample;
mod settings;
mod trial;
mod window;

pub use action::{Action, Brain, Confidence, Decision, Incoherent};
pub use breaker::{Breaker, Gate, failure_line};
pub use cache::{DecisionCache, Lookup};
pub use sample::{METRICS, Metric, Phase, Sample, Stage};
pub use settings::{Buffers, Caps, ChunkRows, OutOfBounds, Parameter, Readers, Settings, Writers};
pub use trial::{Compare, Goal, History, NoTrial, Outcome, Reading, Resting, Timing, Trial, Tried};
pub use window::{BASELINE, Trends, Window};

pub(super) use trial::MEMORY_PRESSURE;

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A point in time of a run: so long after the run began, by a clock that never goes back. The wall clock may jump in
/// a run of hours, and a breaker must not stay open for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(pub Duration);

impl Moment {
    /// How long after `earlier` it is; zero where it is before it.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// So much later.
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }
}

/// For the log, at info, when a run begins whose settings are adjusted.
pub fn enabled_line(interval: Duration) -> String {
    format!("AI-driven parameter adjustment enabled (interval: {})", spelled(interval))
}

/// For the log, at info, when the adjustment's loop has begun.
pub fn started_line(interval: Duration) -> String {
    format!("AI monitoring started (evaluation interval: {})", spelled(interval))
}

/// For the log, at debug, where adjustment is wanted and no model is configured: the rules decide alone.
pub const NOT_CONFIGURED: &str = "AI adjustment requested but AI not configured";

/// `30s`, `5m0s`, `1h0m0s`, `1.5s`: the form that users of dmt look for in a log.
fn spelled(duration: Duration) -> String {
    let whole = duration.as_secs();
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    let millis = duration.subsec_millis();
    let fraction =
        if millis == 0 { String::new() } else { format!(".{millis:03}").trim_end_matches('0').to_owned() };
    match (hours, minutes) {
        (0, 0) => format!("{seconds}{fraction}s"),
        (0, _) => format!("{minutes}m{seconds}{fraction}s"),
        _ => format!("{hours}h{minutes}m{seconds}{fraction}s"),
    }
}

/// At most one decimal, and none where it would be 0: `48`, `45.2`, `-15`.
fn one_decimal(value: f64) -> String {
    let text = format!("{value:.1}");
    let short = text.strip_suffix(".0").unwrap_or(&text);
    if short == "-0" { "0".to_owned() } else { short.to_owned() }
}

/// At most three decimals, and few digits for what is huge.
fn figure(value: f64) -> String {
    if value.abs() >= 1e15 {
        return format!("{value:e}");
    }
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_spelled_as_the_testing_guide_has_them() {
        let spelled_ms = |ms| spelled(Duration::from_millis(ms));
        assert_eq!(spelled_ms(30_000), "30s");
        assert_eq!(spelled_ms(300_000), "5m0s");
        assert_eq!(spelled_ms(3_661_000), "1h1m1s");
        assert_eq!(spelled_ms(1_500), "1.5s");
        assert_eq!(spelled_ms(0), "0s");
    }

    #[test]
    fn the_first_lines_are_those_of_the_testing_guide() {
        let interval = Duration::from_secs(30);
        assert_eq!(enabled_line(interval), "AI-driven parameter adjustment enabled (interval: 30s)");
        assert_eq!(started_line(interval), "AI monitoring started (evaluation interval: 30s)");
    }

    #[test]
    fn figures_have_a_decimal_only_where_it_says_something() {
        assert_eq!(one_decimal(48.0), "48");
        assert_eq!(one_decimal(45.24), "45.2");
        assert_eq!(one_decimal(-0.04), "0");
        assert_eq!(one_decimal(-15.0), "-15");
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(figure(85_000.0), "85000");
        assert_eq!(figure(0.12345), "0.123");
        assert_eq!(figure(-0.0001), "0");
        assert_eq!(figure(f64::MAX), "1.7976931348623157e308");
    }

    #[test]
    fn a_moment_before_another_is_no_time_after_it() {
        let early = Moment(Duration::from_secs(1));
        let late = early.plus(Duration::from_secs(2));
        assert_eq!(late.since(early), Duration::from_secs(2));
        assert_eq!(early.since(late), Duration::ZERO);
    }
}
