//! Evidence for and against a change, and what it comes to.

use super::{Direction, LeverName, SignalName, Symptom, TrialId, Unit};
use serde::{Deserialize, Serialize};

/// A is without the change, B is with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Arm {
    /// Without the change.
    A,
    /// With the change.
    B,
}

/// Consecutive scrapes under one arm; `None` is a scrape that gave no value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// Which arm.
    pub arm: Arm,
    /// One entry a scrape, in order of time, in the signal's unit.
    pub values: Vec<Option<f64>>,
}

/// All samples of one signal in a trial, in order of time: A, B, and for A-B-A more of each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// The signal.
    pub signal: SignalName,
    /// Its unit.
    pub unit: Unit,
    /// Which way is better.
    pub direction: Direction,
    /// Compare per unit of load.
    pub scales_with_load: bool,
    /// Values below this count as this, in the signal's unit: 0.1 % iowait against 0.3 % is three times nothing.
    pub floor: f64,
    /// The samples.
    pub segments: Vec<Segment>,
}

/// All that a judgement may look at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The signal whose gain decides.
    pub goal: Series,
    /// Signals that must not get worse.
    pub guards: Vec<Series>,
    /// The load: units of work per second, aligned scrape by scrape with the other series. Empty segments
    /// where no load signal is known.
    pub load: Option<Series>,
    /// Which look at this trial it is, from 0. An honest bound pays for all `looks`.
    pub look: u8,
    /// How many looks the trial may have at most, A-B-A included.
    pub looks: u8,
    /// Reasons why before and after cannot be compared yet, e.g. "1 of 3 checkpoints seen". For people.
    pub incomparable: Vec<String>,
    /// The share of all CPUs' time that the hypervisor gave to others, percent, at each scrape of each arm; empty where
    /// nothing is known of it.
    #[serde(default)]
    pub stolen: Vec<Segment>,
    /// How long the waves are that run through the goal; `None` where none are known of.
    pub waves: Option<Waves>,
}

/// The length in scrapes of what comes again and again: a checkpoint, and the whole pages in the WAL after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waves {
    /// Without the change.
    pub before: usize,
    /// With it: the change may be about this very length.
    pub after: usize,
}

/// Before against after for one signal, as a ratio of after to before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The signal.
    pub signal: SignalName,
    /// Its unit.
    pub unit: Unit,
    /// Which way is better.
    pub direction: Direction,
    /// Median before, in the unit (not load-normalised).
    pub before: f64,
    /// Median after, in the unit (not load-normalised).
    pub after: f64,
    /// Scrapes with a value, before.
    pub n_before: u32,
    /// Scrapes with a value, after.
    pub n_after: u32,
    /// What the scrapes are worth as independent ones, both arms together.
    pub effective_n: f64,
    /// Estimated change, after/before − 1 (load-normalised where the signal scales with load); +0.2 is 20 % more.
    pub change: f64,
    /// Lower end of the interval on `change`.
    pub low: f64,
    /// Upper end of the interval on `change`.
    pub high: f64,
    /// The comparison was made per unit of load.
    pub per_load: bool,
}

/// What one look at the evidence says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ruling {
    /// A proven gain and no harm.
    Keep,
    /// Harm.
    Revert,
    /// Not enough to say.
    Extend,
}

/// One look at the evidence, with its arithmetic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct Judgement {
    /// What it says.
    pub ruling: Ruling,
    /// Why, in a sentence for people.
    pub reason: String,
    /// The signal whose gain decides; `None` where there was too little data to compare.
    pub goal: Option<Comparison>,
    /// The guards that could be compared.
    pub guards: Vec<Comparison>,
    /// The look, from 0.
    pub look: u8,
    /// The error probability that this look spent: every interval here is two-sided with confidence 1 − this,
    /// half of it on each side.
    pub alpha: f64,
}

/// How a trial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It helped, and stays.
    Kept,
    /// It harmed, or broke something, and is out again.
    Reverted,
    /// No gain could be proved, or the trial was interrupted; it is out again.
    Undecided,
}

/// What a lever did for a symptom before.
#[derive(Debug, Clone, PartialEq)]
pub struct Experience {
    /// The trial.
    pub trial: TrialId,
    /// The lever.
    pub lever: LeverName,
    /// The symptom that it was to treat.
    pub symptom: Symptom,
    /// The value that was tried, as its list has it.
    pub to: String,
    /// What came of it.
    pub verdict: Verdict,
    /// The goal's change at the last look, after/before − 1; `None`: it was never looked at.
    pub change: Option<f64>,
    /// A person undid it afterwards.
    pub undone: bool,
}
