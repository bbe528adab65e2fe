//! How often a model is asked: its decision stands for a minute, and between two calls there are at least 30 seconds.
//!
//! In: when a call was made, and the decision that came of it. Out: whether to call at `now`. Always holds: calls are
//! at least [`DecisionCache::PAUSE`] apart, failed ones too; a decision comes out of here never.
//!
//! The last is a choice. A decision is carried out when it arrives: "two writers more" from the cache half a minute
//! later would be another two, decided on samples from before the first. So a cached decision only says that the
//! model need not be asked, because what it wanted is under way; the turn is over with a line in the log. It is
//! forgotten when what it was about is no more: when its trial ended, or the run came into another phase.

use super::Moment;
use super::action::{Action, Decision};
use std::time::Duration;

/// When a model was asked, and what it last decided.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DecisionCache {
    last_call: Option<Moment>,
    held: Option<(Action, Moment)>,
}

/// Whether the model is to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// It is.
    Call,
    /// Its last decision still stands, and was carried out already: nothing is to be done in this turn.
    Standing {
        /// What it was.
        action: Action,
        /// How old it is.
        age: Duration,
    },
    /// The last call was too short a time ago and gave no decision that stands: the rules decide.
    TooSoon {
        /// After this time it may be asked.
        left: Duration,
    },
}

impl Lookup {
    /// For the log, at info, where a decision stands.
    pub fn line(&self) -> Option<String> {
        match self {
            Self::Standing { age, .. } => {
                Some(format!("Using cached AI decision (age {:.1}s)", age.as_secs_f64()))
            }
            Self::Call | Self::TooSoon { .. } => None,
        }
    }
}

impl DecisionCache {
    /// So long a decision stands.
    pub const STANDS: Duration = Duration::from_secs(60);
    /// At least so long after a call comes the next, whatever came of it.
    pub const PAUSE: Duration = Duration::from_secs(30);

    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the model is to be asked at `now`.
    pub fn look(&self, now: Moment) -> Lookup {
        if let Some((action, since)) = self.held {
            let age = now.since(since);
            if age < Self::STANDS {
                return Lookup::Standing { action, age };
            }
        }
        let left = self.last_call.map_or(Duration::ZERO, |last| Self::PAUSE.saturating_sub(now.since(last)));
        if left.is_zero() { Lookup::Call } else { Lookup::TooSoon { left } }
    }

    /// Notes that a call is made. To be called before it, so that a failure counts.
    pub fn called(&mut self, now: Moment) {
        self.last_call = Some(now);
        self.held = None;
    }

    /// Notes what the model decided. The decision itself stays with the caller, who carries it out this once.
    pub fn decided(&mut self, decision: &Decision, now: Moment) {
        self.held = Some((decision.action, now));
    }

    /// Forgets the decision: what it was about is no more. The pause between calls stays.
    pub fn forget(&mut self) {
        self.held = None;
    }
}

#[cfg(test)]
mod tests {
    use super::super::action::{Brain, Confidence};
    use super::super::sample::fixtures::settings;
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Moment {
        Moment(Duration::from_millis(millis))
    }

    fn decision() -> Decision {
        Decision::stay(settings(), Confidence::High, "stable", Brain::Model("m".to_owned()))
    }

    #[test]
    fn a_decision_stands_for_a_minute() {
        let mut cache = DecisionCache::new();
        assert_eq!(cache.look(at(0)), Lookup::Call);
        cache.called(at(1_000));
        cache.decided(&decision(), at(3_000));
        let standing = cache.look(at(48_200));
        assert_eq!(standing.line().unwrap(), "Using cached AI decision (age 45.2s)");
        assert!(matches!(cache.look(at(62_999)), Lookup::Standing { action: Action::Continue, .. }));
        assert_eq!(cache.look(at(63_000)), Lookup::Call);
    }

    #[test]
    fn a_failed_call_counts_too() {
        let mut cache = DecisionCache::new();
        cache.called(at(0));
        let soon = cache.look(at(10_000));
        assert_eq!(soon, Lookup::TooSoon { left: Duration::from_secs(20) });
        assert_eq!(soon.line(), None);
        assert_eq!(cache.look(at(30_000)), Lookup::Call);
    }

    #[test]
    fn what_is_forgotten_does_not_stand_but_the_pause_does() {
        let mut cache = DecisionCache::new();
        cache.called(at(0));
        cache.decided(&decision(), at(1_000));
        cache.forget();
        assert!(matches!(cache.look(at(2_000)), Lookup::TooSoon { .. }));
        assert_eq!(cache.look(at(30_000)), Lookup::Call);
    }

    #[test]
    fn a_new_call_ends_the_old_decision() {
        let mut cache = DecisionCache::new();
        cache.decided(&decision(), at(0));
        cache.called(at(60_000));
        assert!(matches!(cache.look(at(60_001)), Lookup::TooSoon { .. }));
    }

    proptest! {
        #[test]
        fn calls_are_half_a_minute_apart(steps in prop::collection::vec((any::<bool>(), 0_u64..50_000), 0..60)) {
            let (mut cache, mut now, mut last) = (DecisionCache::new(), 0, None);
            for (answers, millis) in steps {
                now += millis;
                if cache.look(at(now)) == Lookup::Call {
                    if let Some(last) = last {
                        prop_assert!(now - last >= 30_000);
                    }
                    cache.called(at(now));
                    last = Some(now);
                    if answers {
                        cache.decided(&decision(), at(now));
                    }
                }
            }
        }
    }
}
