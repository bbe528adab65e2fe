//! The life of one trial: `step(trial, event, now, timing) → (trial, effect)`.
//!
//! In: the trial as it is stored, and one thing that happened. Out: the trial as it must be stored next, and
//! the one thing to do after it was stored. Pure: `now` is passed in, and every effect is somebody else's.
//!
//! Always holds: an effect that touches the target comes only after the trial holds its intent; a trial is kept
//! only by a judgement that says so, or as a loan, which nobody judges; every way out that is not `Kept` puts the old
//! value back, or says in its final phase that a person must (`Frozen`, `NeedsHuman`); a final phase is never left.

use crate::model::{
    Activation, Arm, Found, Intent, Judgement, LimitKind, Phase, Place, Plan, Ruling, Trial, TrialId, Verdict,
};
use chrono::{DateTime, Utc};
use std::time::Duration;

/// How many checkpoints a trial must span where its lever is about checkpoints.
pub const CHECKPOINTS: u32 = 3;

/// How many cycles one arm may wait for its checkpoints.
const CHECKPOINT_PATIENCE: u32 = 3;

/// A smaller gain than this is not worth a change: the share by which the goal must at least improve.
pub const WORTHWHILE_GAIN: f64 = 0.03;

/// The times of a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// Between a change and the first sample that counts.
    pub settle: Duration,
    /// How long one look measures.
    pub cycle: Duration,
    /// How often the measuring may be extended by a cycle.
    pub max_extensions: u8,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The trial may begin.
    Begin,
    /// The value is right for the server as it is now.
    PreflightPassed,
    /// It is not, and why.
    PreflightFailed(String),
    /// How to undo it is known; nothing is touched.
    Prepared(Intent),
    /// It could not be prepared; nothing is touched.
    PrepareFailed(String),
    /// The place holds the value of this arm.
    Written(Arm),
    /// It could not be written, and why.
    WriteFailed(String),
    /// The server or application was told.
    Activated,
    /// It was not, and why.
    ActivationFailed {
        /// For people.
        why: String,
        /// Postgres does not answer any more.
        server_down: bool,
    },
    /// The value of this arm is in effect.
    Verified,
    /// It is not, and why.
    VerifyFailed(String),
    /// Time passes.
    Tick {
        /// Checkpoints finished since the present arm began, where known.
        checkpoints: Option<u32>,
    },
    /// A look at the evidence.
    Judged(Judgement),
    /// It must end now, for it harms: a guard broke, memory ran short. Why, for people.
    Abort(String),
    /// It cannot go on, through no fault of the change: a person stopped leverd, the clock jumped. Why, for people.
    Interrupted(String),
    /// A person edited what this trial manages. What was found, for people.
    Edited(String),
    /// leverd has started again and looked.
    Recovered(Found),
}

/// What to do next, after the trial was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Check the plan against a fresh look at the server.
    Preflight,
    /// Read the place, make the backup.
    Prepare,
    /// Write the value of this arm.
    Write(Arm),
    /// Make what is written take effect.
    Activate,
    /// Start the server, which is down, on the restored file.
    StartServer,
    /// Ask the server whether the value of this arm is in effect.
    Verify(Arm),
    /// Look at the evidence.
    Judge,
    /// Record the end.
    Close,
}

/// A trial that nothing has happened to yet.
pub fn open(plan: Plan, before_from: DateTime<Utc>, now: DateTime<Utc>) -> Trial {
    Trial {
        id: TrialId(0),
        plan,
        phase: Phase::Planned,
        intent: None,
        opened_at: now,
        before_from,
        applied_at: None,
        phase_since: now,
        deadline: None,
        arms: vec![],
        ending: None,
        alarm: false,
        judgements: vec![],
        verdict: None,
        closed_at: None,
        undone_at: None,
    }
}

/// A trial that waits for a person's yes, until `until`.
pub fn await_approval(
    plan: Plan,
    before_from: DateTime<Utc>,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Trial {
    Trial { phase: Phase::AwaitApproval, deadline: Some(until), ..open(plan, before_from, now) }
}

/// How many looks at the evidence this trial may take: an honest interval pays for all of them.
pub fn looks(plan: &Plan, timing: &Timing) -> u8 {
    1 + timing.max_extensions + u8::from(switches_back(plan))
}

/// A-B-A is for levers that reload: nobody restarts a server twice to make sure, nor takes memory away that is in use.
fn switches_back(plan: &Plan) -> bool {
    let memory = matches!(plan.place, Place::ContainerLimit { kind: LimitKind::Memory, .. });
    plan.activation != Activation::Restart && !memory
}

/// Moves the trial by one event. An event that has no meaning in the present phase changes nothing.
pub fn step(trial: Trial, event: Event, now: DateTime<Utc>, timing: &Timing) -> (Trial, Option<Effect>) {
    if trial.phase.is_final() {
        return (trial, None);
    }
    let mover = Mover { trial, now, timing };
    match event {
        Event::Recovered(found) => mover.recovered(found),
        Event::Edited(what) => mover.edited(what),
        Event::Abort(why) => mover.abort(Verdict::Reverted, why),
        Event::Interrupted(why) => mover.abort(Verdict::Undecided, why),
        other => match mover.trial.phase.clone() {
            Phase::Planned | Phase::AwaitApproval | Phase::Preflight => mover.before_touching(other),
            Phase::IntentLogged | Phase::Applying | Phase::VerifyApplied => mover.applying(other),
            Phase::Settling | Phase::Measuring { .. } => mover.measuring(other),
            Phase::BackToA | Phase::AgainB => mover.switching(other),
            Phase::RollingBack | Phase::VerifyReverted => mover.rolling_back(other),
            Phase::Kept | Phase::Reverted | Phase::Aborted | Phase::Frozen | Phase::NeedsHuman => {
                (mover.trial, None)
            }
        },
    }
}

/// One step in the making.
struct Mover<'a> {
    trial: Trial,
    now: DateTime<Utc>,
    timing: &'a Timing,
}

type Step = (Trial, Option<Effect>);

impl Mover<'_> {
    fn before_touching(mut self, event: Event) -> Step {
        match (&self.trial.phase, event) {
            (Phase::Planned | Phase::AwaitApproval, Event::Begin) => {
                self.trial.deadline = None;
                self.go(Phase::Preflight, Some(Effect::Preflight))
            }
            (Phase::Preflight, Event::PreflightPassed) => (self.trial, Some(Effect::Prepare)),
            (Phase::Preflight, Event::Prepared(intent)) => {
                self.trial.intent = Some(intent);
                self.trial.arms = vec![(Arm::A, self.trial.before_from, self.now)];
                self.go(Phase::IntentLogged, Some(Effect::Write(Arm::B)))
            }
            (Phase::Preflight, Event::PreflightFailed(why) | Event::PrepareFailed(why)) => {
                self.end(Phase::Aborted, why)
            }
            _ => (self.trial, None),
        }
    }

    fn applying(mut self, event: Event) -> Step {
        match (&self.trial.phase, event) {
            (Phase::IntentLogged, Event::Written(Arm::B)) => self.go(Phase::Applying, Some(Effect::Activate)),
            (Phase::Applying, Event::Activated) => {
                self.go(Phase::VerifyApplied, Some(Effect::Verify(Arm::B)))
            }
            // A loan is not judged: whoever borrowed it gives it back.
            (Phase::VerifyApplied, Event::Verified) if self.is_loan() => {
                self.trial.applied_at = Some(self.now);
                self.end(Phase::Kept, "it is in effect, and is given back when the run has ended".to_owned())
            }
            (Phase::VerifyApplied, Event::Verified) => {
                self.trial.applied_at = Some(self.now);
                self.trial.deadline = Some(self.now + self.settle());
                self.go(Phase::Settling, None)
            }
            (_, Event::ActivationFailed { why, server_down }) => {
                self.trial.alarm = server_down;
                self.roll_back(Verdict::Reverted, why)
            }
            (_, Event::WriteFailed(why) | Event::VerifyFailed(why)) => self.roll_back(Verdict::Reverted, why),
            _ => (self.trial, None),
        }
    }

    fn measuring(mut self, event: Event) -> Step {
        match (self.trial.phase.clone(), event) {
            (Phase::Settling, Event::Tick { .. }) if self.is_due() => {
                self.trial.arms.push((Arm::B, self.now, self.now));
                self.measure(0)
            }
            (Phase::Measuring { .. }, Event::Tick { checkpoints }) if self.is_due() => {
                if self.waits_for_checkpoints(checkpoints) {
                    return (self.trial, None);
                }
                self.end_arm();
                (self.trial, Some(Effect::Judge))
            }
            (Phase::Measuring { look }, Event::Judged(judgement)) => self.judged(look, judgement),
            _ => (self.trial, None),
        }
    }

    fn judged(mut self, look: u8, judgement: Judgement) -> Step {
        let (ruling, reason) = (judgement.ruling, judgement.reason.clone());
        let hopeless = look > 0 && no_gain_in_sight(&judgement);
        self.trial.judgements.push(judgement);
        match ruling {
            Ruling::Keep => self.keep(reason),
            Ruling::Revert => self.roll_back(Verdict::Reverted, reason),
            Ruling::Extend if hopeless => self.roll_back(Verdict::Undecided, reason),
            Ruling::Extend if look < self.timing.max_extensions => self.measure(look + 1),
            Ruling::Extend if switches_back(&self.trial.plan) => {
                self.go(Phase::BackToA, Some(Effect::Write(Arm::A)))
            }
            Ruling::Extend => self.roll_back(Verdict::Undecided, reason),
        }
    }

    /// A-B-A: the old value once more, then the new one once more.
    fn switching(mut self, event: Event) -> Step {
        let arm = if self.trial.phase == Phase::BackToA { Arm::A } else { Arm::B };
        match event {
            Event::Written(written) if written == arm => (self.trial, Some(Effect::Activate)),
            Event::Activated => (self.trial, Some(Effect::Verify(arm))),
            Event::Verified => {
                let from = self.now + self.settle();
                self.trial.arms.push((arm, from, from));
                self.trial.deadline = Some(from + self.timing.cycle);
                (self.trial, None)
            }
            Event::Tick { .. } if self.trial.deadline.is_some() && self.is_due() => {
                self.end_arm();
                match arm {
                    Arm::A => self.go(Phase::AgainB, Some(Effect::Write(Arm::B))),
                    Arm::B => (self.trial, Some(Effect::Judge)),
                }
            }
            Event::Judged(judgement) => {
                let (ruling, reason) = (judgement.ruling, judgement.reason.clone());
                self.trial.judgements.push(judgement);
                match ruling {
                    Ruling::Keep => self.keep(reason),
                    Ruling::Revert => self.roll_back(Verdict::Reverted, reason),
                    Ruling::Extend => self.roll_back(Verdict::Undecided, reason),
                }
            }
            Event::ActivationFailed { why, server_down } => {
                self.trial.alarm = server_down;
                self.roll_back(Verdict::Undecided, why)
            }
            Event::WriteFailed(why) | Event::VerifyFailed(why) => self.roll_back(Verdict::Undecided, why),
            _ => (self.trial, None),
        }
    }

    fn rolling_back(mut self, event: Event) -> Step {
        match (&self.trial.phase, event) {
            (Phase::RollingBack, Event::Written(Arm::A)) => {
                let next = if self.trial.alarm { Effect::StartServer } else { Effect::Activate };
                (self.trial, Some(next))
            }
            (Phase::RollingBack, Event::Activated) => {
                self.go(Phase::VerifyReverted, Some(Effect::Verify(Arm::A)))
            }
            (Phase::VerifyReverted, Event::Verified) => self.reverted(),
            // The restart that was to bring the old value back failed too: the file is right, so start on it once.
            (Phase::RollingBack, Event::ActivationFailed { server_down: true, .. }) if !self.trial.alarm => {
                self.trial.alarm = true;
                (self.trial, Some(Effect::StartServer))
            }
            (_, Event::WriteFailed(why) | Event::VerifyFailed(why) | Event::ActivationFailed { why, .. }) => {
                let ending = self.trial.ending.take().unwrap_or_default();
                self.end(Phase::NeedsHuman, format!("{ending}; then the undo failed: {why}"))
            }
            _ => (self.trial, None),
        }
    }

    fn reverted(mut self) -> Step {
        let ending = self.trial.ending.take().unwrap_or_default();
        if self.trial.alarm {
            return self.end(Phase::NeedsHuman, format!("{ending}; the old value is back and Postgres runs"));
        }
        if self.trial.applied_at.is_none() {
            self.trial.verdict = None;
            return self.end(Phase::Aborted, ending);
        }
        self.end(Phase::Reverted, ending)
    }

    fn abort(self, verdict: Verdict, why: String) -> Step {
        match self.trial.phase {
            Phase::Planned | Phase::AwaitApproval | Phase::Preflight => self.end(Phase::Aborted, why),
            Phase::RollingBack | Phase::VerifyReverted => (self.trial, None),
            _ => self.roll_back(verdict, why),
        }
    }

    fn edited(self, what: String) -> Step {
        if self.trial.intent.is_none() {
            return self.end(Phase::Aborted, what);
        }
        self.end(Phase::Frozen, what)
    }

    /// leverd is back, and this is what it found in the place. Old state or new state, never a third.
    fn recovered(self, found: Found) -> Step {
        if self.trial.intent.is_none() {
            return self.end(Phase::Aborted, "leverd stopped before anything was touched".to_owned());
        }
        if let Found::Neither(what) = found {
            return self.end(Phase::Frozen, what);
        }
        let was_going_back = matches!(self.trial.phase, Phase::RollingBack | Phase::VerifyReverted);
        if was_going_back || matches!(self.trial.phase, Phase::BackToA | Phase::AgainB) {
            let why = self.trial.ending.clone();
            let why = why.unwrap_or_else(|| "leverd stopped in the middle of an A-B-A comparison".to_owned());
            let verdict = self.trial.verdict.unwrap_or(Verdict::Undecided);
            return self.roll_back(verdict, why);
        }
        if self.is_loan() {
            let why = "leverd stopped before the run had borrowed it".to_owned();
            return self.roll_back(Verdict::Undecided, why);
        }
        match (found, self.is_overdue()) {
            (Found::Before, _) => {
                // The file is as it was, but the server may have been told of the change.
                self.roll_back(
                    Verdict::Undecided,
                    "leverd stopped, and found the old value in place".to_owned(),
                )
            }
            (_, true) => self.roll_back(
                Verdict::Undecided,
                "leverd stopped for longer than this trial could wait".to_owned(),
            ),
            (_, false) => match self.trial.phase {
                Phase::IntentLogged | Phase::Applying | Phase::VerifyApplied => {
                    self.go(Phase::Applying, Some(Effect::Activate))
                }
                _ => (self.trial, None),
            },
        }
    }

    fn keep(mut self, why: String) -> Step {
        self.trial.verdict = Some(Verdict::Kept);
        self.end(Phase::Kept, why)
    }

    fn roll_back(mut self, verdict: Verdict, why: String) -> Step {
        // What was never measured teaches nothing.
        self.trial.verdict = Some(verdict).filter(|_| !self.is_loan());
        self.trial.ending = Some(why);
        self.trial.deadline = None;
        self.go(Phase::RollingBack, Some(Effect::Write(Arm::A)))
    }

    fn end(mut self, phase: Phase, why: String) -> Step {
        self.trial.ending = Some(why);
        self.trial.closed_at = Some(self.now);
        self.trial.deadline = None;
        self.go(phase, Some(Effect::Close))
    }

    fn measure(mut self, look: u8) -> Step {
        self.trial.deadline = Some(self.now + self.timing.cycle);
        self.go(Phase::Measuring { look }, None)
    }

    fn go(mut self, phase: Phase, effect: Option<Effect>) -> Step {
        if matches!(phase, Phase::BackToA | Phase::AgainB) {
            self.trial.deadline = None;
        }
        self.trial.phase = phase;
        self.trial.phase_since = self.now;
        (self.trial, effect)
    }

    fn is_loan(&self) -> bool {
        self.trial.plan.borrowed_for.is_some()
    }

    fn end_arm(&mut self) {
        if let Some(arm) = self.trial.arms.last_mut() {
            arm.2 = self.now;
        }
    }

    fn is_due(&self) -> bool {
        self.trial.deadline.is_none_or(|deadline| self.now >= deadline)
    }

    /// Checkpoints are waited for beyond the deadline, but not for ever.
    fn waits_for_checkpoints(&self, seen: Option<u32>) -> bool {
        let began = self.trial.arms.last().map_or(self.now, |arm| arm.1);
        let patience = self.timing.cycle * CHECKPOINT_PATIENCE;
        self.trial.plan.spans_checkpoints
            && seen.is_some_and(|seen| seen < CHECKPOINTS)
            && self.now < began + patience
    }

    /// After a stop: past the deadline by more than a cycle, or the clock went back behind the opening.
    fn is_overdue(&self) -> bool {
        let due = self.trial.deadline.unwrap_or(self.trial.phase_since);
        self.now > due + self.timing.cycle || self.now < self.trial.opened_at
    }

    /// A restart empties the caches: it settles for twice as long.
    fn settle(&self) -> Duration {
        let factor = if self.trial.plan.activation == Activation::Restart { 2 } else { 1 };
        self.timing.settle * factor
    }
}

/// After an extension: the interval leaves no room for a worthwhile gain, or the estimate shows none at all.
/// Going on would only cost time.
fn no_gain_in_sight(judgement: &Judgement) -> bool {
    use crate::model::Direction;
    judgement.goal.as_ref().is_some_and(|goal| {
        let (best, estimate) = match goal.direction {
            Direction::LowerIsBetter => (-goal.low, -goal.change),
            Direction::HigherIsBetter => (goal.high, goal.change),
        };
        best < WORTHWHILE_GAIN || estimate < 0.01
    })
}

#[cfg(test)]
mod tests;
