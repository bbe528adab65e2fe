//! Each adjustment of a run is a trial: readings without it, readings with it, then it stays or goes.
//!
//! In: [`Reading`]s, about one a second, and the moment when the change was taken up. Out: an [`Outcome`] with its
//! arithmetic. Always holds: only readings of equal phases are compared for speed; no change stays of which nothing
//! could be shown; every trial ends. It applies and undoes nothing: the driver puts [`Outcome::next`] in force.
//!
//! The comparison itself is [`crate::judge::compare`]: Hodges–Lehmann on logarithms, with an interval that pays for
//! readings that resemble their neighbours. It is handed in as a [`Compare`], because this room may not import that
//! one. The rules of `judge::judge` are not used: they ask for a proven gain of 3 % whatever a change is for, but
//! smaller chunks are to free memory, and fewer writers are to be no slower; and they spend errors as a server's
//! settings deserve, in hours, where a run has minutes. Their limits are kept: 20 values an arm, harm beyond 20 %
//! that excludes 5 % of drift.

use super::action::{Action, Decision};
use super::sample::Phase;
use super::settings::{Parameter, Settings};
use super::{Moment, one_decimal};
use crate::model::{Arm, Comparison, Direction, Segment, Series, SignalName, Unit, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

/// How two arms of a signal are compared: `judge::compare`. `None`: an arm has too few values.
pub type Compare = fn(&Series, Option<&Series>, f64) -> Option<Comparison>;

/// Fewer readings than this in an arm prove nothing; `judge::compare` has the same bound.
const LEAST_READINGS: usize = 20;
/// At most so many readings of an arm are kept.
const MOST_READINGS: usize = 180;
/// The error probability of a whole trial, both sides together, shared equally by its looks. More than `judge`
/// spends: a writer too many costs less than a setting of a server, and there are minutes, not hours.
const TRIAL_ALPHA: f64 = 0.10;
/// Slower than this, as a share, is harm.
const HARM: f64 = 0.20;
/// Harm is proved when the interval excludes not only 0 but also this much: so much is drift.
const HARM_BEYOND_DRIFT: f64 = 0.05;
/// What is meant to be no slower must be shown to lose less than this share.
const NO_SLOWER: f64 = 0.05;
/// Memory above this, percent of what the run may have, calls for relief.
pub(in crate::migrate) const MEMORY_PRESSURE: f64 = 85.0;
/// Memory above this, percent, is relieved at any cost of speed: a run that is killed is slower.
pub(super) const MEMORY_DANGER: f64 = 95.0;

/// What a moment of the run was like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// When.
    pub at: Moment,
    /// What was going on.
    pub phase: Phase,
    /// Rows that the target took, per second; `None` is unknown.
    pub rows_per_second: Option<f64>,
    /// Memory of the process as a share of what it may have, 0 to 100; `None` is unknown.
    pub memory_percent: Option<f64>,
}

/// The readings under the settings in force: what the next trial's change is compared with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    readings: VecDeque<Reading>,
    from: Moment,
}

impl History {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a reading; one from before [`History::restart`]'s settling was over is left out.
    pub fn push(&mut self, reading: Reading) {
        if reading.at < self.from {
            return;
        }
        while self.readings.len() >= MOST_READINGS {
            self.readings.pop_front();
        }
        self.readings.push_back(reading);
    }

    /// Forgets all: other settings are in force since `now`, and show after `settle`.
    pub fn restart(&mut self, now: Moment, settle: Duration) {
        self.readings.clear();
        self.from = now.plus(settle);
    }
}

/// The times of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Between a change and the first reading that counts.
    pub settle: Duration,
    /// After so many more comparable readings comes the next look; at least 20 are taken.
    pub readings_per_look: usize,
    /// So many looks at most; at least one.
    pub looks: u8,
    /// When the trial ends at the latest: so long after the change was asked for, and again after it was taken up.
    pub patience: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            settle: Duration::from_secs(5),
            readings_per_look: 30,
            looks: 3,
            patience: Duration::from_secs(5 * 60),
        }
    }
}

/// What a change is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// To be faster: it stays when it is shown to be.
    Faster,
    /// To take less of something and be no slower: it stays when it is shown to lose less than 5 %.
    NoSlower,
    /// To free memory: it stays when memory is shown to be lower, or the pressure is over.
    FreeMemory,
}

impl Goal {
    /// What `action` is for, with memory at `memory_percent` of what the run may have.
    pub fn of(action: Action, memory_percent: Option<f64>) -> Self {
        let pressed = memory_percent.is_some_and(|percent| percent > MEMORY_PRESSURE);
        match action {
            Action::ReduceChunk | Action::ScaleDown if pressed => Self::FreeMemory,
            Action::ScaleDown | Action::Continue => Self::NoSlower,
            Action::ScaleUp | Action::EnlargeChunk | Action::ReduceChunk => Self::Faster,
        }
    }
}

/// Why no trial can be made of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoTrial {
    /// The decision is the settings in force.
    #[error("nothing would change")]
    NothingChanges,
    /// Nothing could be shown of the change; it is better made when something can.
    #[error(
        "only {readings} readings of one phase without the change, {least} are needed to judge it",
        least = LEAST_READINGS
    )]
    TooLittleBefore {
        /// The most that there are of one phase.
        readings: usize,
    },
}

/// An adjustment under trial.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    decision: Decision,
    before: Settings,
    goal: Goal,
    timing: Timing,
    without: Vec<Reading>,
    with: Vec<Reading>,
    asked_at: Moment,
    applied_at: Option<Moment>,
    looks: u8,
}

/// How a trial ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct Outcome {
    /// Kept; or reverted: harm, or no gain; or undecided: nothing could be compared. Only what is kept stays.
    pub verdict: Verdict,
    /// Why, one line for people.
    pub reason: String,
    /// The settings that must be in force from now on.
    pub next: Settings,
    /// Rows per second without and with the change, where they could be compared.
    pub throughput: Option<Comparison>,
    /// Memory without and with the change, where that was the goal and could be compared.
    pub memory: Option<Comparison>,
}

/// A trial in short: what a model is told of earlier ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// The settings without the change.
    pub from: Settings,
    /// The settings with it.
    pub to: Settings,
    /// How it ended.
    pub verdict: Verdict,
    /// What rows per second did, percent; `None` is unknown.
    pub throughput_percent: Option<f64>,
}

impl Trial {
    /// A trial of `decision`, whose change is asked for at `now`. `history`: the readings under `before`, the
    /// settings in force.
    ///
    /// # Errors
    /// Where nothing would change, or nothing could be shown of the change. Relief of memory waits for no readings.
    pub fn open(
        decision: Decision,
        before: Settings,
        goal: Goal,
        history: &History,
        now: Moment,
        timing: Timing,
    ) -> Result<Self, NoTrial> {
        if decision.settings == before {
            return Err(NoTrial::NothingChanges);
        }
        let without: Vec<Reading> = history.readings.iter().cloned().collect();
        let readings = phases(&without).iter().map(|(_, count)| *count).max().unwrap_or(0);
        if readings < LEAST_READINGS && goal != Goal::FreeMemory {
            return Err(NoTrial::TooLittleBefore { readings });
        }
        Ok(Self {
            decision,
            before,
            goal,
            timing,
            without,
            with: Vec::new(),
            asked_at: now,
            applied_at: None,
            looks: 0,
        })
    }

    /// Notes that the change is in effect since `now`: the workers are there, chunks are cut by the new size.
    pub fn applied(&mut self, now: Moment) {
        if self.applied_at.is_none() {
            self.applied_at = Some(now);
        }
    }

    /// Adds a reading. Those from before the change showed are left out.
    pub fn push(&mut self, reading: Reading) {
        let Some(applied_at) = self.applied_at else { return };
        if reading.at >= applied_at.plus(self.timing.settle) && self.with.len() < 2 * MOST_READINGS {
            self.with.push(reading);
        }
    }

    /// Looks at the readings, where it is time to; `None`: the trial goes on. After an outcome there is nothing more
    /// to look at.
    pub fn look(&mut self, now: Moment, compare: Compare) -> Option<Outcome> {
        let Some(applied_at) = self.applied_at else {
            let late = now.since(self.asked_at) >= self.timing.patience;
            return late.then(|| self.interrupted("the change was not taken up in time"));
        };
        let late = now.since(applied_at) >= self.timing.patience;
        let phase = self.common_phase().cloned();
        let per_look = self.timing.readings_per_look.max(LEAST_READINGS);
        let next_look = usize::from(self.looks) + 1;
        let due = self.comparable(phase.as_ref()) >= per_look * next_look;
        if !late && !due {
            return None;
        }
        self.looks = self.looks.saturating_add(1);
        let last = late || self.looks >= self.looks_at_most();
        self.rule(phase.as_ref(), last, compare)
    }

    /// The end of a trial that cannot go on: the run ends, or a person changed the settings. `why`: for people.
    pub fn interrupted(&self, why: &str) -> Outcome {
        self.outcome(Verdict::Undecided, why.to_owned(), None, None)
    }

    /// The trial in short.
    pub fn tried(&self, outcome: &Outcome) -> Tried {
        let change = outcome.throughput.as_ref().map(|comparison| comparison.change * 100.0);
        Tried {
            from: self.before,
            to: self.decision.settings,
            verdict: outcome.verdict,
            throughput_percent: change.filter(|percent| percent.is_finite()),
        }
    }

    fn looks_at_most(&self) -> u8 {
        self.timing.looks.max(1)
    }

    /// How many readings with the change can be compared. Relief of memory asks for none of the same phase: a chunk
    /// of any table takes memory.
    fn comparable(&self, phase: Option<&Phase>) -> usize {
        let of_phase = |reading: &&Reading| phase == Some(&reading.phase);
        if self.goal == Goal::FreeMemory {
            self.with.len()
        } else {
            self.with.iter().filter(of_phase).count()
        }
    }

    /// The phase of which both arms have most.
    fn common_phase(&self) -> Option<&Phase> {
        let with = phases(&self.with);
        phases(&self.without)
            .into_iter()
            .filter_map(|(phase, count)| {
                let (_, other) = with.iter().find(|(other, _)| *other == phase)?;
                Some((phase, count.min(*other)))
            })
            .max_by_key(|(_, count)| *count)
            .map(|(phase, _)| phase)
    }

    /// Both arms of a signal; of one phase alone where `phase` is given.
    fn series(
        &self,
        (signal, unit, direction): (&str, Unit, Direction),
        phase: Option<&Phase>,
        value: fn(&Reading) -> Option<f64>,
    ) -> Series {
        let segment = |arm, readings: &[Reading]| Segment {
            arm,
            values: readings
                .iter()
                .filter(|reading| phase.is_none_or(|phase| *phase == reading.phase))
                .map(value)
                .collect(),
        };
        Series {
            signal: SignalName::new(signal),
            unit,
            direction,
            scales_with_load: false,
            floor: 0.0,
            segments: vec![segment(Arm::A, &self.without), segment(Arm::B, &self.with)],
        }
    }

    fn rule(&self, phase: Option<&Phase>, last: bool, compare: Compare) -> Option<Outcome> {
        let alpha = TRIAL_ALPHA / f64::from(self.looks_at_most());
        let throughput = phase.and_then(|phase| {
            let signal = ("rows_per_second", Unit::PerSec, Direction::HigherIsBetter);
            compare(&self.series(signal, Some(phase), |reading| reading.rows_per_second), None, alpha)
        });
        let memory = (self.goal == Goal::FreeMemory)
            .then(|| {
                let signal = ("memory_percent", Unit::Percent, Direction::LowerIsBetter);
                compare(&self.series(signal, None, |reading| reading.memory_percent), None, alpha)
            })
            .flatten();
        let speed = throughput.as_ref().map(|found| finding("rows per second", found, alpha));
        let ruling = match (&throughput, self.goal) {
            (Some(found), goal) if is_harm(found) && !(goal == Goal::FreeMemory && self.was_in_danger()) => {
                Some((Verdict::Reverted, "slower by more than 20 %"))
            }
            (_, Goal::FreeMemory) => self.relief(memory.as_ref(), last),
            (Some(found), Goal::Faster) if found.low > 0.0 => Some((Verdict::Kept, "faster")),
            (Some(found), Goal::NoSlower) if found.low > -NO_SLOWER => Some((Verdict::Kept, "no slower")),
            (Some(_), Goal::Faster) if last => Some((Verdict::Reverted, "no gain is shown")),
            (Some(_), Goal::NoSlower) if last => {
                Some((Verdict::Reverted, "not shown to lose less than 5 % of its speed"))
            }
            (None, _) if last => Some((Verdict::Undecided, "too few readings of one phase on both sides")),
            _ => None,
        };
        let (verdict, because) = ruling?;
        let figures = memory.as_ref().map(|found| finding("memory", found, alpha)).into_iter().chain(speed);
        let reason = std::iter::once(because.to_owned()).chain(figures).collect::<Vec<_>>().join("; ");
        Some(self.outcome(verdict, reason, throughput, memory))
    }

    /// What is to be said of a change that was to free memory.
    fn relief(&self, memory: Option<&Comparison>, last: bool) -> Option<(Verdict, &'static str)> {
        if memory.is_some_and(|found| found.high < 0.0) {
            return Some((Verdict::Kept, "memory is lower"));
        }
        let now = median(self.with.iter().filter_map(|reading| reading.memory_percent));
        match now {
            Some(percent) if percent <= MEMORY_PRESSURE => Some((Verdict::Kept, "memory is no longer short")),
            Some(_) if last => Some((Verdict::Reverted, "memory did not become less")),
            None if last => Some((Verdict::Undecided, "nothing is known of memory with the change")),
            _ => None,
        }
    }

    fn was_in_danger(&self) -> bool {
        median(self.without.iter().filter_map(|reading| reading.memory_percent))
            .is_some_and(|percent| percent >= MEMORY_DANGER)
    }

    fn outcome(
        &self,
        verdict: Verdict,
        reason: String,
        throughput: Option<Comparison>,
        memory: Option<Comparison>,
    ) -> Outcome {
        let next = if verdict == Verdict::Kept { self.decision.settings } else { self.before };
        Outcome { verdict, reason, next, throughput, memory }
    }
}

impl Outcome {
    /// For the log, at info.
    pub fn line(&self, trial: &Trial) -> String {
        let (word, stays) = match self.verdict {
            Verdict::Kept => ("kept", &trial.decision.settings),
            Verdict::Reverted => ("reverted", &trial.before),
            Verdict::Undecided => ("undecided, put back", &trial.before),
        };
        format!("AI adjustment {word}: {} - {} ({stays})", trial.decision.action, self.reason)
    }
}

/// What was tried in vain lately, and is not tried again for a while: else the same rule would make the same trial
/// again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resting {
    /// A setting, whether it is to grow, and until when not.
    until: Vec<(Parameter, bool, Moment)>,
}

impl Resting {
    /// So long a step rests.
    pub const REST: Duration = Duration::from_secs(10 * 60);

    /// Nothing rests.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes the end of a trial: what was not kept rests.
    pub fn note(&mut self, trial: &Trial, outcome: &Outcome, now: Moment) {
        if outcome.verdict == Verdict::Kept {
            return;
        }
        let (from, to) = (&trial.before, &trial.decision.settings);
        for parameter in from.changed(to) {
            let grows = to.get(parameter) > from.get(parameter);
            self.until.retain(|(other, way, _)| (*other, *way) != (parameter, grows));
            self.until.push((parameter, grows, now.plus(Self::REST)));
        }
    }

    /// Whether a step of `parameter` rests at `now`; `grows`: the step that makes it larger.
    pub fn holds(&self, parameter: Parameter, grows: bool, now: Moment) -> bool {
        self.until.iter().any(|(other, way, until)| (*other, *way) == (parameter, grows) && now < *until)
    }
}

fn is_harm(throughput: &Comparison) -> bool {
    throughput.change < -HARM && throughput.high < -HARM_BEYOND_DRIFT
}

/// `rows per second +12.3 % (96.7 % interval +4 … +21 %)`.
fn finding(what: &str, found: &Comparison, alpha: f64) -> String {
    let signed = |share: f64| {
        let figure = one_decimal(100.0 * share);
        if figure.starts_with('-') || figure == "0" { figure } else { format!("+{figure}") }
    };
    format!(
        "{what} {} % ({} % interval {} … {} %)",
        signed(found.change),
        one_decimal(100.0 * (1.0 - alpha)),
        signed(found.low),
        signed(found.high),
    )
}

/// Each phase with the number of its readings, in order of appearance.
fn phases(readings: &[Reading]) -> Vec<(&Phase, usize)> {
    let mut counts: Vec<(&Phase, usize)> = Vec::new();
    for reading in readings {
        match counts.iter_mut().find(|(phase, _)| **phase == reading.phase) {
            Some((_, count)) => *count += 1,
            None => counts.push((&reading.phase, 1)),
        }
    }
    counts
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests;
