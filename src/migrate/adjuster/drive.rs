//! The loop around an [`Adjuster`]: passes on what happens, and asks the model while it does.
//!
//! In: [`Input`]s from the transfer's sampler, and a model's answers. Out: [`Event`]s, at the end the [`Summary`].
//! Always holds: while a question is under way, which its client bounds, inputs go on being taken; one question at
//! a time; when the inputs end, a question that is under way is dropped. It decides nothing.

use super::{Adjuster, Event, Summary};
use crate::migrate::adjust::{Moment, Reading, Sample};
use crate::migrate::brain::AskError;
use serde_json::Value;
use std::pin::Pin;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// A run's clock: how long ago it began.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    began: Instant,
}

impl Clock {
    /// One that begins now.
    pub fn start() -> Self {
        Self { began: Instant::now() }
    }

    /// Now.
    pub fn now(&self) -> Moment {
        Moment(self.began.elapsed())
    }
}

/// What an adjuster is told. Its moments are of the [`Clock`] that the loop is given.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A second is over.
    Reading(Reading),
    /// An interval is over. Boxed: it is large, and there are few.
    Sample(Box<Sample>),
    /// The transfer has taken a change up.
    Applied {
        /// Its number.
        number: u64,
        /// When it was in effect.
        at: Moment,
    },
    /// How the target's levels are: the names of those that are broken now.
    Serving {
        /// The names.
        broken: Vec<String>,
    },
}

/// A question on its way.
type Asking = Pin<Box<dyn Future<Output = Result<Value, AskError>> + Send>>;

/// Drives the adjuster until the inputs end. Nobody has to listen to the events.
pub async fn drive(
    mut adjuster: Adjuster,
    clock: Clock,
    mut inputs: mpsc::Receiver<Input>,
    events: mpsc::UnboundedSender<Event>,
) -> Summary {
    let mut asking: Option<Asking> = None;
    tell(&events, adjuster.begin());
    loop {
        let happened = tokio::select! {
            input = inputs.recv() => match input {
                Some(input) => take(&mut adjuster, input, clock),
                None => break,
            },
            answer = answer_to(&mut asking) => {
                asking = None;
                adjuster.answered(answer, clock.now())
            }
        };
        tell(&events, happened);
        if let Some(body) = adjuster.take_question()
            && let Some(service) = adjuster.service()
        {
            asking = Some(Box::pin(async move { service.ask(&body).await }));
        }
    }
    let (summary, last) = adjuster.finish(clock.now());
    tell(&events, last);
    summary
}

fn take(adjuster: &mut Adjuster, input: Input, clock: Clock) -> Vec<Event> {
    match input {
        Input::Reading(reading) => adjuster.reading(reading),
        Input::Sample(sample) => adjuster.turn(*sample, clock.now()),
        Input::Applied { number, at } => adjuster.applied(number, at),
        Input::Serving { broken } => adjuster.serving(&broken, clock.now()),
    }
}

/// The answer to the question under way; never, where there is none. Dropping this loses nothing.
async fn answer_to(asking: &mut Option<Asking>) -> Result<Value, AskError> {
    match asking {
        Some(asking) => asking.as_mut().await,
        None => std::future::pending().await,
    }
}

fn tell(events: &mpsc::UnboundedSender<Event>, happened: Vec<Event>) {
    for event in happened {
        // Nobody has to listen.
        let _ = events.send(event);
    }
}

#[cfg(test)]
mod tests;
