//! One trial from event to event: step, store, then act.
//!
//! In: a trial, what happened first, and the hands that store, act and wait. Out: the trial at its end, or parked.
//!
//! Always holds: an effect is carried out only after the trial was stored as the step left it; where it cannot be
//! stored, the change is taken out again and the error goes up; a trial's end and what then holds its lever back are
//! stored in one. Nothing here touches the world, so the simulation drives the same code with hands of its own.

use super::trial_run::name_of;
use crate::ledger::Hold;
use crate::model::{Phase, Trial};
use crate::trial::{self, Effect, Event, Timing};
use chrono::{DateTime, TimeDelta, Utc};

/// What a trial's way needs of the world.
pub(super) trait Hands {
    /// Why a trial could not be stored.
    type Error;

    /// The wall clock.
    fn now(&self) -> DateTime<Utc>;

    /// Records the trial after `event`, and at its end what holds its lever back.
    fn store(
        &mut self,
        trial: &Trial,
        event: &'static str,
        hold: Option<Hold>,
        now: DateTime<Utc>,
    ) -> Result<(), Self::Error>;

    /// The trial could not be stored: puts the old value back as well as it can.
    async fn take_out(&mut self, trial: &Trial);

    /// Carries an effect out; what came of it is the next event.
    async fn perform(&mut self, effect: Effect, trial: &Trial) -> Event;

    /// The end is stored: tells people.
    async fn closed(&mut self, trial: &Trial);

    /// Waits for something to happen. `None`: the process was asked to stop, and the trial stays as it is.
    async fn wait(&mut self, trial: &Trial) -> Option<Event>;
}

/// The times that a trial's way depends on.
#[derive(Debug, Clone)]
pub(super) struct Times {
    pub(super) timing: Timing,
    /// How long a lever that did not help is left alone.
    pub(super) cool_down: TimeDelta,
}

/// Drives a trial to its end, or until it is parked.
pub(super) async fn drive<H: Hands>(
    hands: &mut H,
    mut trial: Trial,
    mut event: Event,
    times: &Times,
) -> Result<Trial, H::Error> {
    loop {
        let (name, before, now) = (name_of(&event), trial.phase.clone(), hands.now());
        let (next, effect) = trial::step(trial, event, now, &times.timing);
        trial = next;
        if effect.is_some() || trial.phase != before {
            let hold = hold_after(&trial, now, times.cool_down);
            if let Err(error) = hands.store(&trial, name, hold, now) {
                // Where the old value was verified, or a person's stands there, nothing is left to take out.
                if !matches!(trial.phase, Phase::Reverted | Phase::Aborted | Phase::Frozen) {
                    hands.take_out(&trial).await;
                }
                return Err(error);
            }
            fail::fail_point!("trial::stored", |_| std::process::abort());
        }
        match effect {
            Some(Effect::Close) => {
                hands.closed(&trial).await;
                return Ok(trial);
            }
            Some(effect) => event = hands.perform(effect, &trial).await,
            None if trial.phase.is_final() => return Ok(trial),
            None => match hands.wait(&trial).await {
                Some(happened) => event = happened,
                None => return Ok(trial),
            },
        }
    }
}

/// What a trial's end does to its lever.
fn hold_after(trial: &Trial, now: DateTime<Utc>, cool_down: TimeDelta) -> Option<Hold> {
    match trial.phase {
        // That a lever is still needed is no reason not to pull it; nor is a loan that could not be had.
        Phase::Reverted | Phase::Aborted
            if trial.plan.gives_back.is_some() || trial.plan.borrowed_for.is_some() =>
        {
            None
        }
        Phase::Reverted | Phase::Aborted => {
            let until = now.checked_add_signed(cool_down).unwrap_or(DateTime::<Utc>::MAX_UTC);
            Some(Hold::Quarantine(until))
        }
        Phase::Frozen | Phase::NeedsHuman => Some(Hold::Freeze),
        _ => None,
    }
}
