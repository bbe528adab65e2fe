//! leverd's own learner: what came of like adjustments in like runs → what to do in this one.
//!
//! In: [`Records`] of earlier trials, of this run too; the run's [`Features`]; what the rules look at. Out: a
//! decision with the trials that stand behind it, or why there is none. Pure: the same records give the same
//! decision. Always holds: it decides only for a step of which enough like trials are known, whose expected gain,
//! pulled towards none, is above its own error; a decision is inside the bounds and passes `Action::check`; short
//! memory is left to the rules; everything that it decides is a trial all the same. It knows no model of the world
//! and fits nothing: it looks up what happened in the nearest cases, so that a person can do the sum again.
//!
//! The sum. A trial counts by its likeness to the present case, 1 to 0 (`likeness.rs`), and at most two trials of
//! one run count for a step. What was put back counts for no gain at best. The expected gain of a step is the mean of
//! their gains (as logarithms), as if two more trials had brought nothing. It acts where the trials are worth at least
//! two, that gain is at least 3 %, and it is more than its standard error.

mod likeness;
mod start;

pub use likeness::{Context, Features, Pressure};
pub use start::{PastRun, predict_start};

use crate::migrate::adjust::rules::{MEMORY_ROOM, View};
use crate::migrate::adjust::{Action, Brain, Confidence, Decision, MEMORY_PRESSURE, Parameter, Settings};
use crate::model::Verdict;
use likeness::likeness;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The learner's name where it is said who decided.
pub const NAME: &str = "local history";

/// As if so many trials of every step had brought nothing.
const PRIOR_TRIALS: f64 = 2.0;
/// The like trials of a step must be worth so many.
const LEAST_TRIALS: f64 = 2.0;
/// A gain below this, as a share, is not worth a trial.
const LEAST_GAIN: f64 = 0.03;
/// The gains of equal trials scatter by at least this, as a logarithm.
const NOISE: f64 = 0.05;
/// A trial that is less like the present case says nothing.
const LEAST_LIKENESS: f64 = 0.1;
/// Trials of one run resemble each other, so no more of them count for a step.
const MOST_OF_A_RUN: usize = 2;

/// What is remembered of earlier runs, and of this one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Records {
    /// Trials.
    pub trials: Vec<Experience>,
    /// Runs that moved their rows to the end.
    pub runs: Vec<PastRun>,
}

/// A trial that is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Experience {
    /// The run's id.
    pub run: String,
    /// What the case was like when it was decided.
    pub context: Context,
    /// The settings without the change.
    pub from: Settings,
    /// The settings with it.
    pub to: Settings,
    /// How it ended.
    pub verdict: Verdict,
    /// What rows per second did, as a share: 0.1 is 10 % more; `None` is unknown.
    pub change: Option<f64>,
}

impl Experience {
    /// What it brought, as a logarithm; `None`: nothing was learned. What was put back is no gain, whatever rows per
    /// second did: a gain was not shown, or memory was not freed.
    fn gain(&self) -> Option<f64> {
        let change = self.change.filter(|change| change.is_finite())?;
        let counted = match self.verdict {
            Verdict::Kept => change,
            Verdict::Reverted => change.min(0.0),
            Verdict::Undecided => return None,
        };
        Some(counted.clamp(-0.9, 3.0).ln_1p())
    }

    /// Whether it was this step.
    fn is(&self, parameter: Parameter, grows: bool) -> bool {
        self.from.changed(&self.to).as_slice() == [parameter]
            && (self.to.get(parameter) > self.from.get(parameter)) == grows
    }
}

/// What is to be expected of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Which setting.
    pub parameter: Parameter,
    /// Whether it grows.
    pub grows: bool,
    /// How many like trials count.
    pub trials: usize,
    /// Of how many runs they are.
    pub runs: usize,
    /// What they are worth together: each its likeness.
    pub worth: f64,
    /// The mean of their gains, as a logarithm.
    pub mean: f64,
    /// The same, pulled towards none.
    pub expected: f64,
    /// The standard error of the mean.
    pub error: f64,
}

impl Estimate {
    /// Whether a step is worth a trial.
    pub fn is_enough(&self) -> bool {
        self.worth >= LEAST_TRIALS && self.expected >= LEAST_GAIN.ln_1p() && self.expected > self.error
    }

    /// `writers up: 4 like trials of 3 runs brought +12.3 % on average, counted as +8.1 %`.
    fn text(&self) -> String {
        let way = if self.grows { "up" } else { "down" };
        format!(
            "{} {way}: {} like trials of {} runs brought {:+.1} % on average, counted as {:+.1} %",
            self.parameter,
            self.trials,
            self.runs,
            100.0 * self.mean.exp_m1(),
            100.0 * self.expected.exp_m1(),
        )
    }
}

/// What the learner says.
#[derive(Debug, Clone, PartialEq)]
pub enum Learned {
    /// To do this.
    Decided(Decision),
    /// Nothing, and why, one line for people: the rules decide.
    Deferred(String),
}

/// What the records say of a run as it is.
pub fn decide(records: &Records, features: &Features, view: &View<'_>) -> Learned {
    let Some(latest) = view.window.latest() else {
        return Learned::Deferred("nothing was measured yet".to_owned());
    };
    let memory = latest.memory_percent.filter(|percent| percent.is_finite());
    // Short memory is the rules' matter, and nothing grows unless memory is known to be there.
    if memory.is_some_and(|percent| percent > MEMORY_PRESSURE) {
        return Learned::Deferred("memory is short, which is the rules' matter".to_owned());
    }
    let has_room = memory.is_some_and(|percent| percent < MEMORY_ROOM);
    let context = Context { settings: *view.current, ..Context::of(features, latest) };
    let mut steps: Vec<(Estimate, Decision)> = Vec::new();
    let mut nearest: Option<Estimate> = None;
    for parameter in Parameter::ALL {
        for grows in [true, false] {
            let estimate = expect(records, &context, parameter, grows);
            if nearest.is_none_or(|other| estimate.worth > other.worth) {
                nearest = Some(estimate);
            }
            if !estimate.is_enough() || (grows && !has_room) {
                continue;
            }
            if let Some(decision) = step(&estimate, view) {
                steps.push((estimate, decision));
            }
        }
    }
    let best = steps.into_iter().max_by(|(one, _), (other, _)| one.expected.total_cmp(&other.expected));
    match (best, nearest) {
        (Some((_, decision)), _) => Learned::Decided(decision),
        (None, Some(nearest)) if nearest.trials > 0 => Learned::Deferred(format!(
            "no step that may be made has enough behind it; most has {}",
            nearest.text()
        )),
        (None, _) => Learned::Deferred("no like trial is known".to_owned()),
    }
}

/// What is to be expected of a step in a case.
pub fn expect(records: &Records, context: &Context, parameter: Parameter, grows: bool) -> Estimate {
    let mut like: Vec<(f64, f64, &str)> = records
        .trials
        .iter()
        .filter(|trial| trial.is(parameter, grows))
        .filter_map(|trial| Some((likeness(context, &trial.context), trial.gain()?, trial.run.as_str())))
        .filter(|(likeness, _, _)| *likeness >= LEAST_LIKENESS)
        .collect();
    // The nearest first; the rest of the order only makes it the same each time.
    like.sort_by(|one, other| {
        other.0.total_cmp(&one.0).then(one.1.total_cmp(&other.1)).then(one.2.cmp(other.2))
    });
    let mut of_run: BTreeMap<&str, usize> = BTreeMap::new();
    like.retain(|(_, _, run)| {
        let count = of_run.entry(*run).or_default();
        *count += 1;
        *count <= MOST_OF_A_RUN
    });
    let worth: f64 = like.iter().map(|(likeness, _, _)| likeness).sum();
    let sum: f64 = like.iter().map(|(likeness, gain, _)| likeness * gain).sum();
    let (mean, error) = if like.is_empty() {
        (0.0, f64::INFINITY)
    } else {
        let mean = sum / worth;
        let scatter: f64 = like.iter().map(|(likeness, gain, _)| likeness * (gain - mean).powi(2)).sum();
        (mean, ((scatter / worth + NOISE * NOISE) / worth).sqrt())
    };
    let expected = sum / (worth + PRIOR_TRIALS);
    Estimate { parameter, grows, trials: like.len(), runs: of_run.len(), worth, mean, expected, error }
}

/// The decision for a step, where it may be made.
fn step(estimate: &Estimate, view: &View<'_>) -> Option<Decision> {
    let Estimate { parameter, grows, .. } = *estimate;
    if view.resting.holds(parameter, grows, view.now) {
        return None;
    }
    let value = next(view.current.get(parameter), parameter, grows).min(view.caps.most(parameter));
    let settings = view.current.with(parameter, i64::from(value)).ok()?;
    let action = match (parameter, grows) {
        (Parameter::ChunkRows, true) => Action::EnlargeChunk,
        (Parameter::ChunkRows, false) => Action::ReduceChunk,
        (_, true) => Action::ScaleUp,
        (_, false) => Action::ScaleDown,
    };
    action.check(view.current, &settings).ok()?;
    view.caps.allow(view.current, &settings).ok()?;
    let is_sure = estimate.worth >= 5.0 && estimate.expected > 2.0 * estimate.error;
    let confidence = if is_sure { Confidence::High } else { Confidence::Medium };
    let by = Brain::Model(NAME.to_owned());
    Some(Decision { action, settings, confidence, reasoning: estimate.text(), by })
}

/// A step's value: what is counted one by one goes by a quarter, what is a size by the double or the half.
fn next(now: u32, parameter: Parameter, grows: bool) -> u32 {
    let some = (now / 4).max(1);
    match (parameter, grows) {
        (Parameter::ChunkRows | Parameter::Buffers, true) => now.saturating_mul(2),
        (Parameter::ChunkRows | Parameter::Buffers, false) => now / 2,
        (Parameter::Writers | Parameter::Readers, true) => now.saturating_add(some),
        (Parameter::Writers | Parameter::Readers, false) => now.saturating_sub(some),
    }
}

#[cfg(test)]
mod tests;
