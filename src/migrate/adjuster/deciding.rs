//! A turn of the adjuster: who decides, and what becomes of a decision.
//!
//! In: a sample; what a model answered. Out: events, and perhaps a question that is to be sent. Always holds: a
//! turn that finds a change on trial, a change under way or a question under way decides nothing, but for relief of
//! short memory, which waits for no answer; every failure of a model is followed by the rules' decision in the same
//! turn; a step that is forbidden or could not be judged is not made.

use super::event::{Event, Kind};
use super::{Adjuster, Open, logged};
use crate::migrate::adjust::cost::Usage;
use crate::migrate::adjust::rules::{self, Ruled, View};
use crate::migrate::adjust::{
    BASELINE, Brain, Decision, Gate, Goal, Lookup, MEMORY_PRESSURE, Moment, Sample, Stage, Trial,
    failure_line, prompt,
};
use crate::migrate::brain::learner::{self, Learned};
use crate::migrate::brain::{AskError, Decider, Service};
use crate::migrate::schema::TableName;
use serde_json::Value;

/// Memory that grows by more than this in an interval, percent, is told.
const MEMORY_GROWS: f64 = 5.0;
/// Why nothing is decided while a question is under way.
const ASKING: &str = "the model is being asked";

impl Adjuster {
    /// Takes the sample of an interval that is over, and decides. Afterwards [`Adjuster::take_question`] may have a
    /// question.
    pub fn turn(&mut self, sample: Sample, now: Moment) -> Vec<Event> {
        self.counts.turns += 1;
        if self.window.latest().is_some_and(|last| last.phase != sample.phase) {
            // What the model said was about another table, or another stage.
            self.cache.forget();
        }
        let mut events = Vec::new();
        self.window.push(sample);
        self.tell_sample(&mut events);
        if !self.options.adjusts {
            return logged(events);
        }
        match self.rests() {
            // A run that is killed for its memory is slower than any.
            Some(ASKING) if self.memory_percent().is_some_and(|percent| percent > MEMORY_PRESSURE) => {
                self.by_rules(now, &mut events);
            }
            Some(why) => events.push(Event::debug(format!("No adjustment in this interval: {why}"))),
            None => self.decide(now, &mut events),
        }
        logged(events)
    }

    /// The body of a question that is to be sent to [`Adjuster::service`]; whoever takes it must bring the answer to
    /// [`Adjuster::answered`], also where there is none.
    pub fn take_question(&mut self) -> Option<Value> {
        self.question.take()
    }

    /// Takes what came of the question: the body of an answer, or why there is none.
    pub fn answered(&mut self, answer: Result<Value, AskError>, now: Moment) -> Vec<Event> {
        let (Some(about), Some(service)) = (self.asked.take(), self.service()) else { return Vec::new() };
        let mut events = Vec::new();
        let body = match answer {
            Ok(body) => body,
            Err(error) => {
                self.bill.note(service.model(), None);
                self.no_answer(&error, now, &mut events);
                return logged(events);
            }
        };
        let usage = Usage::of(service.api(), &body);
        self.bill.note(service.model(), usage.as_ref());
        let call = self.bill.call_line(service.model(), usage.as_ref());
        match prompt::parse(service.api(), &body, service.model(), &about, &self.options.caps) {
            Err(refusal) => self.failed(&refusal.to_string(), now, &mut events),
            Ok(decision) => {
                events.extend(self.breaker.succeeded().map(Event::info));
                self.cache.decided(&decision, now);
                if about == self.in_force && self.rests().is_none() {
                    self.carry_out(decision, now, &mut events);
                } else {
                    self.cache.forget();
                    events.push(Event::debug("The answer came too late: the run has changed meanwhile"));
                }
            }
        }
        // Also of an answer that was of no use: it is paid for.
        events.push(Event::info(call));
        logged(events)
    }

    fn tell_sample(&self, events: &mut Vec<Event>) {
        let trends = self.window.trends();
        let Some(latest) = self.window.latest() else { return };
        events.push(Event::debug(latest.log_line(trends.throughput_percent)));
        events.push(Event::debug(latest.metrics_line()));
        if self.options.adjusts {
            events.extend(self.window.increasing_line().map(Event::info));
        }
        if trends.memory_growth_percent.is_some_and(|percent| percent > MEMORY_GROWS) {
            events.push(Event::debug("Memory increasing: true"));
        }
        if self.memory_percent().is_some_and(|percent| percent > MEMORY_PRESSURE) {
            events.push(Event::debug("Memory saturated: true"));
        }
    }

    fn memory_percent(&self) -> Option<f64> {
        self.window.latest()?.memory_percent.filter(|percent| percent.is_finite())
    }

    /// Why nothing is decided now; `None`: something is.
    fn rests(&self) -> Option<&'static str> {
        let stage = self.window.latest().map(|sample| sample.phase.stage);
        if self.courtesy.holds() {
            Some("the target's levels come first")
        } else if self.open.is_some() {
            Some("a change is on trial")
        } else if self.applied != self.wanted.number {
            Some("the last change is not in effect yet")
        } else if stage.is_some_and(|stage| stage != Stage::Copying) {
            Some("no rows are being copied")
        } else if self.asked.is_some() {
            Some(ASKING)
        } else {
            None
        }
    }

    fn decide(&mut self, now: Moment, events: &mut Vec<Event>) {
        let learned = match &self.decider {
            Decider::Rules { .. } => return self.by_rules(now, events),
            Decider::Service(service) => {
                let service = service.clone();
                return self.by_model(&service, now, events);
            }
            Decider::Learner(records) => learner::decide(records, &self.options.features, &self.view(now)),
        };
        match learned {
            Learned::Decided(decision) => self.carry_out(decision, now, events),
            Learned::Deferred(why) => {
                events.push(Event::debug(format!("The local history decides nothing: {why}")));
                self.by_rules(now, events);
            }
        }
    }

    fn view(&self, now: Moment) -> View<'_> {
        View {
            window: &self.window,
            current: &self.in_force,
            caps: &self.options.caps,
            resting: &self.resting,
            now,
        }
    }

    fn by_rules(&mut self, now: Moment, events: &mut Vec<Event>) {
        let Ruled { decision, .. } = rules::decide(&self.view(now));
        self.carry_out(decision, now, events);
    }

    fn by_model(&mut self, service: &Service, now: Moment, events: &mut Vec<Event>) {
        // Before there are three samples a model knows nothing that the rules do not.
        if self.window.len() < BASELINE {
            return self.by_rules(now, events);
        }
        let lookup = self.cache.look(now);
        if let Some(line) = lookup.line() {
            self.counts.cached += 1;
            events.push(Event::info(line));
            // A run that is killed for its memory is slower than one that did not wait for its model.
            if self.memory_percent().is_some_and(|percent| percent > MEMORY_PRESSURE) {
                self.by_rules(now, events);
            }
            return;
        }
        let may_ask = lookup == Lookup::Call
            && self.not_before.is_none_or(|not_before| now >= not_before)
            && self.breaker.ask(now) == Gate::Ask;
        if !may_ask {
            return self.by_rules(now, events);
        }
        self.cache.called(now);
        let tables = self.tables_in_work();
        let question = prompt::Question {
            window: &self.window,
            current: &self.in_force,
            caps: &self.options.caps,
            tried: &self.tried,
            tables: tables.as_deref(),
        };
        self.question = Some(prompt::body(service.api(), service.model(), &question));
        self.asked = Some(self.in_force);
    }

    /// The tables in work, where their names may be told.
    fn tables_in_work(&self) -> Option<Vec<TableName>> {
        let names = self.options.table_names.as_ref()?;
        let numbers = &self.window.latest()?.phase.tables;
        let name = |number: &u32| names.get(usize::try_from(*number).ok()?).cloned();
        Some(numbers.iter().filter_map(name).collect())
    }

    fn no_answer(&mut self, error: &AskError, now: Moment, events: &mut Vec<Event>) {
        if let Some(wait) = error.retry_after() {
            self.not_before = Some(now.plus(wait));
        }
        if let Some(hint) = error.hint().filter(|_| !self.told) {
            self.told = true;
            events.push(Event::warn(format!("The model {} cannot be asked: {hint}", self.decider.name())));
        }
        self.failed(&error.to_string(), now, events);
    }

    /// The model gave no decision: the rules do.
    fn failed(&mut self, why: &str, now: Moment, events: &mut Vec<Event>) {
        self.counts.failures += 1;
        events.push(Event::warn(failure_line(why)));
        if let Some(line) = self.breaker.failed(now) {
            self.counts.breaker_openings += 1;
            events.push(Event::warn(line));
        }
        if self.rests().is_none() {
            self.by_rules(now, events);
        }
    }

    /// Makes a trial of a decision, where it may be made.
    fn carry_out(&mut self, decision: Decision, now: Moment, events: &mut Vec<Event>) {
        if !decision.is_change() {
            events.push(Event::info(decision.applied_line()));
            return;
        }
        if self.was_in_vain(&decision, now) {
            self.cache.forget();
            events.push(Event::info(format!(
                "AI adjustment not applied: {} - it was tried in vain lately",
                decision.action
            )));
            return;
        }
        let goal = Goal::of(decision.action, self.memory_percent());
        let before = self.in_force;
        match Trial::open(decision.clone(), before, goal, &self.history, now, self.options.timing) {
            Ok(trial) => self.open_trial(trial, decision, now, events),
            Err(error) => {
                // It does not stand, since it was not carried out.
                self.cache.forget();
                events.push(Event::debug(format!("AI adjustment waits: {} - {error}", decision.action)));
            }
        }
    }

    fn open_trial(&mut self, trial: Trial, decision: Decision, now: Moment, events: &mut Vec<Event>) {
        events.push(Event::info(decision.applied_line()));
        let mut adjustment = self.adjustment(Kind::Trial, self.in_force, decision.settings, now);
        adjustment.action = decision.action;
        adjustment.by = Some(decision.by);
        adjustment.confidence = Some(decision.confidence);
        adjustment.reasoning = decision.reasoning;
        let change = self.put(decision.settings);
        events.push(Event::Began(Box::new(adjustment.clone())));
        self.open = Some(Open { trial, adjustment, change });
    }

    /// Whether a model asks for what is resting. The rules look themselves, and know what cannot wait.
    fn was_in_vain(&self, decision: &Decision, now: Moment) -> bool {
        let changed = self.in_force.changed(&decision.settings);
        let rests = |parameter| self.resting.holds(parameter, decision.action.grows(), now);
        decision.by != Brain::Rules && changed.into_iter().any(rests)
    }
}
