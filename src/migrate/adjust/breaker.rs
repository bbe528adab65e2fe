//! The circuit breaker in front of a model: after three failures in a row it is not asked for five minutes, then
//! once.
//!
//! In: that the model answered or failed, and when. Out: whether it may be asked, and sentences for the log. Always
//! holds: while it is open nothing is asked; after its rest exactly one try is let through until that try's result is
//! known. It says nothing about the rules: those go on whatever the breaker does.

use super::{Moment, spelled};
use crate::migrate::quote::one_line;
use std::time::Duration;

/// The state of the breaker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Breaker {
    state: State,
    /// In a row.
    failures: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// The model may be asked.
    #[default]
    Closed,
    /// It rests.
    Open { since: Moment },
    /// One try is under way.
    HalfOpen { since: Moment },
}

/// Whether the model may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// It may, now, and whoever got this answer must report what came of it.
    Ask,
    /// Not before this time is over.
    Wait {
        /// The time.
        left: Duration,
    },
}

impl Breaker {
    /// So many failures in a row open it.
    pub const FAILURES: u32 = 3;
    /// So long it stays open.
    pub const REST: Duration = Duration::from_secs(5 * 60);

    /// A closed one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the model may be asked at `now`. After the rest this lets one try through; where nobody reports of it,
    /// it counts as lost after another rest.
    pub fn ask(&mut self, now: Moment) -> Gate {
        let since = match self.state {
            State::Closed => return Gate::Ask,
            State::Open { since } | State::HalfOpen { since } => since,
        };
        let left = Self::REST.saturating_sub(now.since(since));
        if left.is_zero() {
            self.state = State::HalfOpen { since: now };
            return Gate::Ask;
        }
        Gate::Wait { left }
    }

    /// Whether the model may be asked without more ado.
    fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Notes that the model gave a decision. The sentence, for the log at info, where that closes the breaker.
    pub fn succeeded(&mut self) -> Option<String> {
        let closes = !self.is_closed();
        *self = Self::new();
        closes.then(|| "AI adjustment circuit breaker CLOSED - resuming".to_owned())
    }

    /// Notes that the model failed: no answer, or one that is no decision. The sentence, for the log at warn, where
    /// that opens the breaker.
    pub fn failed(&mut self, now: Moment) -> Option<String> {
        self.failures = self.failures.saturating_add(1);
        let opens = match self.state {
            State::Closed => self.failures >= Self::FAILURES,
            State::HalfOpen { .. } => true,
            // An answer to a question from before it opened.
            State::Open { .. } => false,
        };
        if !opens {
            return None;
        }
        self.state = State::Open { since: now };
        Some(format!(
            "AI adjustment circuit breaker OPEN after {} failures - will retry in {}",
            self.failures,
            spelled(Self::REST)
        ))
    }
}

/// For the log, at warn, when the model failed and the rules decide. `why` must hold no secret; it is cut to one
/// line.
pub fn failure_line(why: &str) -> String {
    format!("AI adjustment failed: {}, using fallback rules", one_line(why, 200))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    fn open() -> Breaker {
        let mut breaker = Breaker::new();
        for second in 1..=3 {
            breaker.failed(at(second));
        }
        breaker
    }

    #[test]
    fn three_failures_in_a_row_open_it() {
        let mut breaker = Breaker::new();
        assert_eq!(breaker.failed(at(0)), None);
        assert_eq!(breaker.failed(at(30)), None);
        assert_eq!(
            breaker.failed(at(60)).unwrap(),
            "AI adjustment circuit breaker OPEN after 3 failures - will retry in 5m0s"
        );
        assert_eq!(breaker.ask(at(61)), Gate::Wait { left: Duration::from_secs(299) });
        assert!(!breaker.is_closed());
    }

    #[test]
    fn a_success_between_failures_starts_the_count_again() {
        let mut breaker = Breaker::new();
        breaker.failed(at(0));
        breaker.failed(at(1));
        assert_eq!(breaker.succeeded(), None);
        assert_eq!(breaker.failed(at(2)), None);
        assert_eq!(breaker.ask(at(3)), Gate::Ask);
    }

    #[test]
    fn after_its_rest_one_try_is_let_through() {
        let mut breaker = open();
        assert!(matches!(breaker.ask(at(302)), Gate::Wait { .. }));
        assert_eq!(breaker.ask(at(303)), Gate::Ask);
        assert!(matches!(breaker.ask(at(304)), Gate::Wait { .. }), "one try only");
        assert_eq!(breaker.succeeded().unwrap(), "AI adjustment circuit breaker CLOSED - resuming");
        assert_eq!(breaker.ask(at(305)), Gate::Ask);
        assert_eq!(breaker.failed(at(306)), None, "the count began again");
    }

    #[test]
    fn a_failed_try_opens_it_for_another_rest() {
        let mut breaker = open();
        assert_eq!(breaker.ask(at(400)), Gate::Ask);
        assert_eq!(
            breaker.failed(at(410)).unwrap(),
            "AI adjustment circuit breaker OPEN after 4 failures - will retry in 5m0s"
        );
        assert_eq!(breaker.ask(at(411)), Gate::Wait { left: Duration::from_secs(299) });
    }

    #[test]
    fn a_try_that_nobody_reports_of_does_not_shut_it_for_ever() {
        let mut breaker = open();
        assert_eq!(breaker.ask(at(400)), Gate::Ask);
        assert!(matches!(breaker.ask(at(699)), Gate::Wait { .. }));
        assert_eq!(breaker.ask(at(700)), Gate::Ask);
    }

    #[test]
    fn a_late_failure_does_not_lengthen_the_rest() {
        let mut breaker = open();
        assert_eq!(breaker.failed(at(200)), None);
        assert_eq!(breaker.ask(at(303)), Gate::Ask);
    }

    #[test]
    fn the_failure_line_is_the_testing_guides() {
        assert_eq!(
            failure_line("context deadline exceeded"),
            "AI adjustment failed: context deadline exceeded, using fallback rules"
        );
        assert_eq!(failure_line("a\nb"), "AI adjustment failed: a b, using fallback rules");
    }

    proptest! {
        #[test]
        fn it_never_waits_longer_than_its_rest(steps in prop::collection::vec((0_u8..3, 0_u64..400), 0..60)) {
            let mut breaker = Breaker::new();
            let mut now = Moment::default();
            for (step, seconds) in steps {
                now = now.plus(Duration::from_secs(seconds));
                match step {
                    0 => {
                        if let Gate::Wait { left } = breaker.ask(now) {
                            prop_assert!(!left.is_zero() && left <= Breaker::REST);
                        }
                    }
                    1 => drop(breaker.succeeded()),
                    _ => drop(breaker.failed(now)),
                }
            }
            now = now.plus(Breaker::REST);
            prop_assert_eq!(breaker.ask(now), Gate::Ask);
        }
    }
}
