//! Drives the live adjustment of a run: measured intervals → one change at a time → its trial → it stays or goes.
//!
//! In: a [`Sample`](super::adjust::Sample) an interval, a [`Reading`] a second, what the transfer has taken up,
//! which levels of the target are broken, and what a model answered. Out: [`Change`]s in a queue of one place,
//! [`Event`]s, at the end a [`Summary`]. Always holds: at most one change is on trial, and one question under way;
//! a change is in effect only when the transfer says so; what is not kept is put back; where a model fails, the
//! rules decide in the same turn; while the target's levels are broken nothing grows and nothing is tried; every
//! line that it says stands in the log already. [`Adjuster`] is pure but for that log and that queue: it knows no
//! clock and no network. [`drive()`] is the loop around it, which asks the model and passes on what happens. It moves
//! no rows and measures nothing.
//!
//! Who decides, in order: short of the target's levels, nobody; while a change is on trial, or is not in effect
//! yet, or the model is being asked, nobody; then the model, where it is not resting and its last decision does not
//! stand, or the learner where that is configured; then the rules.

mod courtesy;
mod deciding;
mod drive;
mod event;
mod summary;

pub use drive::{Clock, Input, drive};
pub use event::{Adjustment, Change, Event, Kind, Level, Line, TARGET};
pub use summary::Summary;

use super::adjust::cost::Bill;
use super::adjust::{
    Action, Breaker, Caps, Compare, DecisionCache, History, Moment, NOT_CONFIGURED, Outcome, Parameter,
    Reading, Resting, Settings, Timing, Trial, Tried, Window, enabled_line, started_line,
};
use super::brain::learner::{Context, Features};
use super::brain::{Decider, Service};
use super::schema::TableName;
use courtesy::{Courtesy, Step};
use serde_json::Value;
use std::time::Duration;
use summary::Counts;
use tokio::sync::watch;

/// So many samples are kept.
pub(super) const MOST_SAMPLES: usize = 20;

/// What a run's adjuster is told once.
#[derive(Debug, Clone)]
pub struct Options {
    /// The run's id, for the learner.
    pub run: String,
    /// Whether settings are adjusted; where not, writers still go when the target's levels are broken.
    pub adjusts: bool,
    /// Between two samples.
    pub interval: Duration,
    /// The most that this run may have.
    pub caps: Caps,
    /// The times of a trial.
    pub timing: Timing,
    /// `judge::compare`, which this room may not import.
    pub compare: Compare,
    /// What is moved, and where.
    pub features: Features,
    /// The plan's tables by their numbers, where their names may be told to a model; `None`: they may not.
    pub table_names: Option<Vec<TableName>>,
}

/// The adjuster of a run.
#[derive(Debug)]
pub struct Adjuster {
    options: Options,
    decider: Decider,
    changes: watch::Sender<Change>,
    /// What was last put into the queue.
    wanted: Change,
    /// The number of the change that is in effect.
    applied: u64,
    /// Its settings.
    in_force: Settings,
    began_with: Settings,
    window: Window,
    history: History,
    resting: Resting,
    tried: Vec<Tried>,
    open: Option<Open>,
    cache: DecisionCache,
    breaker: Breaker,
    bill: Bill,
    courtesy: Courtesy,
    /// The settings that the question under way is about.
    asked: Option<Settings>,
    /// A question that is to be sent.
    question: Option<Value>,
    /// A service wants not to be asked before.
    not_before: Option<Moment>,
    /// A person was told what to set right.
    told: bool,
    counts: Counts,
    done: Vec<Adjustment>,
}

/// The change on trial.
#[derive(Debug)]
struct Open {
    trial: Trial,
    adjustment: Adjustment,
    change: u64,
}

impl Adjuster {
    /// The adjuster of a run that begins with `start`, and the queue in which the transfer finds what is to be in
    /// force: `Receiver::borrow_and_update` at each boundary, `changed` to be woken. The transfer owes
    /// [`Adjuster::applied`] for every number that it takes, also where nothing changed for it; for numbers whose place
    /// a later one took before they were in effect it owes nothing.
    pub fn new(options: Options, decider: Decider, start: Settings) -> (Self, watch::Receiver<Change>) {
        let first = Change { number: 0, settings: start };
        let (changes, queue) = watch::channel(first);
        let adjuster = Self {
            options,
            decider,
            changes,
            wanted: first,
            applied: 0,
            in_force: start,
            began_with: start,
            window: Window::new(MOST_SAMPLES),
            history: History::new(),
            resting: Resting::new(),
            tried: Vec::new(),
            open: None,
            cache: DecisionCache::new(),
            breaker: Breaker::new(),
            bill: Bill::new(),
            courtesy: Courtesy::default(),
            asked: None,
            question: None,
            not_before: None,
            told: false,
            counts: Counts::default(),
            done: Vec::new(),
        };
        (adjuster, queue)
    }

    /// The first lines. To be called once, before anything else.
    pub fn begin(&self) -> Vec<Event> {
        if !self.options.adjusts {
            return Vec::new();
        }
        let interval = self.options.interval;
        let mut events = vec![Event::info(enabled_line(interval)), Event::info(started_line(interval))];
        if matches!(self.decider, Decider::Rules { unconfigured: true }) {
            events.push(Event::debug(NOT_CONFIGURED));
        }
        logged(events)
    }

    /// The model's service, where one is asked: for whoever sends [`Adjuster::take_question`].
    pub fn service(&self) -> Option<Service> {
        match &self.decider {
            Decider::Service(service) => Some(service.clone()),
            Decider::Rules { .. } | Decider::Learner(_) => None,
        }
    }

    /// Takes a reading, once a second. A trial is looked at with it, so that harm is seen at once.
    pub fn reading(&mut self, reading: Reading) -> Vec<Event> {
        let now = reading.at;
        self.history.push(reading.clone());
        let Some(open) = &mut self.open else { return Vec::new() };
        open.trial.push(reading);
        match open.trial.look(now, self.options.compare) {
            Some(outcome) => logged(self.close(&outcome, now)),
            None => Vec::new(),
        }
    }

    /// The transfer says that the change with this number is in effect since `at`: the workers are there, chunks are
    /// cut by the new size. A number that is not the latest says nothing.
    pub fn applied(&mut self, number: u64, at: Moment) -> Vec<Event> {
        if number != self.wanted.number || number == self.applied {
            return Vec::new();
        }
        self.applied = number;
        let before = std::mem::replace(&mut self.in_force, self.wanted.settings);
        self.history.restart(at, self.options.timing.settle);
        if let Some(open) = &mut self.open
            && open.change == number
        {
            open.trial.applied(at);
            open.adjustment.applied_at = Some(at);
        }
        let line = event::change_line(&before, self.in_force);
        logged(line.map(Event::debug).into_iter().collect())
    }

    /// How the target's levels are; to be called at least once an interval where the target serves others. `broken`:
    /// the names of those that are broken now. Writers go at once, a trial ends, and nothing grows until all levels
    /// were met for two intervals.
    pub fn serving(&mut self, broken: &[String], now: Moment) -> Vec<Event> {
        let mut events = Vec::new();
        if !broken.is_empty()
            && let Some(open) = &self.open
        {
            let outcome = open.trial.interrupted("the target's levels are broken");
            events.extend(self.close(&outcome, now));
        }
        // A change that takes writers away may be under way, and so may one that puts them back: there may be fewer than
        // are wanted, and those are what there was before.
        let wanted = self.wanted.settings.writers;
        let writers = wanted.min(self.in_force.writers).get();
        match self.courtesy.look(broken, (writers, wanted.get()), self.options.interval, now) {
            Step::Stay => {}
            Step::Take(fewer) => self.set_writers(fewer, Kind::Yielded, now, &mut events),
            Step::AtTheLeast => events.push(Event::warn(format!(
                "The target's levels are broken ({}), and there is one writer: nothing is left to take away",
                self.courtesy.names()
            ))),
            Step::Give(more) => self.set_writers(more, Kind::GivenBack, now, &mut events),
            Step::Over => {
                events.push(Event::info("The target's levels are met again: adjustments go on"));
            }
        }
        logged(events)
    }

    /// The run ends: a trial that is open ends undecided.
    pub fn finish(mut self, now: Moment) -> (Summary, Vec<Event>) {
        let mut events = Vec::new();
        if let Some(open) = &self.open {
            let outcome = open.trial.interrupted("the run ends");
            events.extend(self.close(&outcome, now));
        }
        if self.asked.is_some() && self.question.is_none() {
            // It was sent, and nobody waits for the answer.
            self.bill.note(self.decider.name(), None);
        }
        let summary = Summary::new(
            self.decider.name(),
            self.counts,
            &self.bill,
            (self.began_with, self.wanted.settings),
            self.done,
            self.options.features,
        );
        (summary, logged(events))
    }

    /// Ends the trial: what is not kept goes back into the queue.
    fn close(&mut self, outcome: &Outcome, now: Moment) -> Vec<Event> {
        let Some(Open { trial, mut adjustment, .. }) = self.open.take() else { return Vec::new() };
        let tried = trial.tried(outcome);
        adjustment.ended_at = Some(now);
        adjustment.verdict = Some(outcome.verdict);
        adjustment.outcome.clone_from(&outcome.reason);
        adjustment.throughput_percent = tried.throughput_percent;
        self.resting.note(&trial, outcome, now);
        self.tried.push(tried);
        // What the model's decision was about is over.
        self.cache.forget();
        if let Decider::Learner(records) = &mut self.decider {
            records.trials.extend(adjustment.experience(&self.options.run));
        }
        if outcome.next != self.wanted.settings {
            self.put(outcome.next);
        }
        let line = Event::info(outcome.line(&trial));
        self.done.push(adjustment.clone());
        vec![line, Event::Ended(Box::new(adjustment))]
    }

    /// Puts settings into the queue, in the place of what waits there; the change's number.
    fn put(&mut self, settings: Settings) -> u64 {
        self.wanted = Change { number: self.wanted.number + 1, settings };
        self.changes.send_replace(self.wanted);
        self.wanted.number
    }

    /// Changes the number of writers without a trial.
    fn set_writers(&mut self, writers: u32, kind: Kind, now: Moment, events: &mut Vec<Event>) {
        let from = self.wanted.settings;
        let Ok(to) = from.with(Parameter::Writers, i64::from(writers)) else { return };
        if to == from {
            // They are asked for already.
            return;
        }
        let (reasoning, line) = match kind {
            Kind::GivenBack => {
                let reasoning = "the target's levels are met again".to_owned();
                let line = Event::info(format!("Writers given back: {} -> {writers}", from.writers));
                (reasoning, line)
            }
            Kind::Yielded | Kind::Trial => {
                let reasoning = format!("the target's levels are broken: {}", self.courtesy.names());
                let line = Event::warn(format!(
                    "The target's levels are broken ({}): writers {} -> {writers}, and nothing grows until they are \
                     met again",
                    self.courtesy.names(),
                    from.writers
                ));
                (reasoning, line)
            }
        };
        let mut adjustment = self.adjustment(kind, from, to, now);
        adjustment.reasoning = reasoning;
        adjustment.ended_at = Some(now);
        self.put(to);
        self.done.push(adjustment.clone());
        events.push(line);
        events.push(Event::Began(Box::new(adjustment.clone())));
        events.push(Event::Ended(Box::new(adjustment)));
    }

    /// A record of a change that is asked for now.
    fn adjustment(&self, kind: Kind, from: Settings, to: Settings, now: Moment) -> Adjustment {
        let action = if kind == Kind::GivenBack { Action::ScaleUp } else { Action::ScaleDown };
        let latest = self.window.latest();
        Adjustment {
            number: u32::try_from(self.done.len()).unwrap_or(u32::MAX).saturating_add(1),
            kind,
            action,
            from,
            to,
            by: None,
            confidence: None,
            reasoning: String::new(),
            asked_at: now,
            applied_at: None,
            ended_at: None,
            verdict: None,
            outcome: String::new(),
            throughput_percent: None,
            context: latest
                .map(|sample| Context { settings: from, ..Context::of(&self.options.features, sample) }),
        }
    }
}

/// Writes what is said into the log, once.
fn logged(events: Vec<Event>) -> Vec<Event> {
    for event in &events {
        if let Event::Said(line) = event {
            line.log();
        }
    }
    events
}

#[cfg(test)]
mod tests;
