//! A run beside a service: writers go when the target's levels are broken, and come back when they are met again.
//!
//! In: which levels are broken now, and how many writers there are. Out: how many there are to be. Pure. Always
//! holds: a broken level halves the writers at once, and again each interval while it stays broken, down to one;
//! nothing grows until all levels were met for two intervals; then writers come back one an interval, up to what
//! there was before, and no longer up to what broke a level again within two intervals. It judges no trial: the
//! service comes before proof.

use crate::migrate::adjust::Moment;
use std::time::Duration;

/// So many intervals all levels must be met before anything grows.
const MET_INTERVALS: u32 = 2;

/// How the target's levels are, and what was done for them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Courtesy {
    /// The levels that are broken, by name.
    broken: Vec<String>,
    /// Since when all are met again.
    met_since: Option<Moment>,
    last_taken: Option<Moment>,
    last_given: Option<Moment>,
    /// Writers may come back up to so many.
    goal: Option<u32>,
}

/// What is to be done for the levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    Stay,
    /// Take writers away: so many are to be left.
    Take(u32),
    /// There is one writer, and a level is broken: nothing is left to take.
    AtTheLeast,
    /// Give writers back: so many there are to be.
    Give(u32),
    /// All is as it was: adjustments go on.
    Over,
}

impl Courtesy {
    /// Whether a level is broken, or was so lately: then nothing else is adjusted.
    pub(super) fn holds(&self) -> bool {
        !self.broken.is_empty() || self.met_since.is_some()
    }

    /// The levels that are broken: `p95_write_latency, replication_lag`.
    pub(super) fn names(&self) -> String {
        self.broken.join(", ")
    }

    /// Looks at the levels. `broken`: the names of those that are broken now; `writers`: how many there are, or are
    /// asked for where that is fewer; `wanted`: how many are asked for; `interval`: of the adjuster.
    pub(super) fn look(
        &mut self,
        broken: &[String],
        (writers, wanted): (u32, u32),
        interval: Duration,
        now: Moment,
    ) -> Step {
        if broken.is_empty() {
            return self.met(writers, interval, now);
        }
        let is_new = self.broken.is_empty();
        self.broken = broken.to_vec();
        self.met_since = None;
        if is_new {
            // Broken again while writers came back: the last of them was one too many.
            let too_many = self.last_given > self.last_taken;
            let fewer = writers.saturating_sub(1).max(1);
            self.goal = Some(self.goal.map_or(wanted, |goal| if too_many { fewer } else { goal }));
        }
        if !is_due(self.last_taken, interval, now) {
            return Step::Stay;
        }
        if writers <= 1 && wanted <= 1 {
            return if is_new { Step::AtTheLeast } else { Step::Stay };
        }
        self.last_taken = Some(now);
        Step::Take((writers / 2).max(1))
    }

    fn met(&mut self, writers: u32, interval: Duration, now: Moment) -> Step {
        if !self.broken.is_empty() {
            self.broken.clear();
            self.met_since = Some(now);
            return Step::Stay;
        }
        let Some(since) = self.met_since else { return Step::Stay };
        if now.since(since) < interval.saturating_mul(MET_INTERVALS) {
            return Step::Stay;
        }
        if self.goal.is_none_or(|goal| writers >= goal) {
            // The last one that came back must show too, or what it breaks would not be its doing.
            if !is_due(self.last_given, interval.saturating_mul(MET_INTERVALS), now) {
                return Step::Stay;
            }
            *self = Self::default();
            return Step::Over;
        }
        if !is_due(self.last_given, interval, now) {
            return Step::Stay;
        }
        self.last_given = Some(now);
        Step::Give(writers.saturating_add(1))
    }
}

fn is_due(last: Option<Moment>, interval: Duration, now: Moment) -> bool {
    last.is_none_or(|last| now.since(last) >= interval)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INTERVAL: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    fn broken() -> Vec<String> {
        vec!["p95_write_latency".to_owned()]
    }

    #[test]
    fn writers_are_halved_at_once_and_again_while_it_stays_broken() {
        let mut courtesy = Courtesy::default();
        assert_eq!(courtesy.look(&[], (8, 8), INTERVAL, at(0)), Step::Stay);
        assert!(!courtesy.holds());
        assert_eq!(courtesy.look(&broken(), (8, 8), INTERVAL, at(10)), Step::Take(4));
        assert_eq!(courtesy.names(), "p95_write_latency");
        assert_eq!(courtesy.look(&broken(), (4, 4), INTERVAL, at(20)), Step::Stay, "it must show first");
        assert_eq!(courtesy.look(&broken(), (4, 4), INTERVAL, at(40)), Step::Take(2));
        assert_eq!(courtesy.look(&broken(), (2, 2), INTERVAL, at(70)), Step::Take(1));
        assert_eq!(courtesy.look(&broken(), (1, 1), INTERVAL, at(100)), Step::Stay);
        assert!(courtesy.holds());
    }

    #[test]
    fn one_writer_cannot_become_fewer() {
        let mut courtesy = Courtesy::default();
        assert_eq!(courtesy.look(&broken(), (1, 1), INTERVAL, at(0)), Step::AtTheLeast);
        assert_eq!(courtesy.look(&broken(), (1, 1), INTERVAL, at(30)), Step::Stay, "it is said once");
    }

    #[test]
    fn they_come_back_after_two_intervals_one_by_one() {
        let mut courtesy = Courtesy::default();
        assert_eq!(courtesy.look(&broken(), (4, 4), INTERVAL, at(0)), Step::Take(2));
        assert_eq!(courtesy.look(&[], (2, 2), INTERVAL, at(30)), Step::Stay);
        assert_eq!(courtesy.look(&[], (2, 2), INTERVAL, at(89)), Step::Stay);
        assert!(courtesy.holds());
        assert_eq!(courtesy.look(&[], (2, 2), INTERVAL, at(90)), Step::Give(3));
        assert_eq!(courtesy.look(&[], (3, 3), INTERVAL, at(100)), Step::Stay);
        assert_eq!(courtesy.look(&[], (3, 3), INTERVAL, at(120)), Step::Give(4));
        assert_eq!(courtesy.look(&[], (4, 4), INTERVAL, at(121)), Step::Stay, "the last must show too");
        assert!(courtesy.holds());
        assert_eq!(courtesy.look(&[], (4, 4), INTERVAL, at(180)), Step::Over);
        assert!(!courtesy.holds());
    }

    #[test]
    fn what_broke_a_level_again_does_not_come_back() {
        let mut courtesy = Courtesy::default();
        assert_eq!(courtesy.look(&broken(), (4, 4), INTERVAL, at(0)), Step::Take(2));
        assert_eq!(courtesy.look(&[], (2, 2), INTERVAL, at(30)), Step::Stay);
        assert_eq!(courtesy.look(&[], (2, 2), INTERVAL, at(90)), Step::Give(3));
        assert_eq!(courtesy.look(&broken(), (3, 3), INTERVAL, at(100)), Step::Take(1));
        assert_eq!(courtesy.look(&[], (1, 1), INTERVAL, at(130)), Step::Stay);
        assert_eq!(courtesy.look(&[], (1, 1), INTERVAL, at(190)), Step::Give(2));
        assert_eq!(courtesy.look(&[], (2, 2), INTERVAL, at(250)), Step::Over, "three were too many");
    }

    #[test]
    fn nor_does_the_last_one_that_broke_it_again() {
        let mut courtesy = Courtesy::default();
        assert_eq!(courtesy.look(&broken(), (2, 2), INTERVAL, at(0)), Step::Take(1));
        assert_eq!(courtesy.look(&[], (1, 1), INTERVAL, at(30)), Step::Stay);
        assert_eq!(courtesy.look(&[], (1, 1), INTERVAL, at(90)), Step::Give(2));
        assert_eq!(courtesy.look(&broken(), (2, 2), INTERVAL, at(140)), Step::Take(1));
        assert_eq!(courtesy.look(&[], (1, 1), INTERVAL, at(170)), Step::Stay);
        assert_eq!(courtesy.look(&[], (1, 1), INTERVAL, at(230)), Step::Over, "two were too many");
    }

    #[test]
    fn what_is_put_back_meanwhile_comes_back_too() {
        // A trial had left four of eight writers, and was put back: that is not in effect yet.
        let mut courtesy = Courtesy::default();
        assert_eq!(courtesy.look(&broken(), (4, 8), INTERVAL, at(0)), Step::Take(2));
        assert_eq!(courtesy.goal, Some(8));
        // More are on their way: they do not come.
        assert_eq!(Courtesy::default().look(&broken(), (1, 8), INTERVAL, at(0)), Step::Take(1));
    }

    #[test]
    fn a_level_that_flickers_takes_once_an_interval() {
        let mut courtesy = Courtesy::default();
        let steps: Vec<Step> = (0..30)
            .map(|second| {
                let now = if second % 2 == 0 { broken() } else { Vec::new() };
                courtesy.look(&now, (8, 8), INTERVAL, at(second))
            })
            .collect();
        assert_eq!(steps.iter().filter(|step| matches!(step, Step::Take(_))).count(), 1);
        assert_eq!(courtesy.goal, Some(8), "all of them may come back");
    }

    proptest! {
        #[test]
        fn writers_grow_only_when_levels_were_met_for_two_intervals(
            looks in prop::collection::vec((any::<bool>(), 0_u64..60), 0..80), writers in 1_u32..=16,
        ) {
            let (mut courtesy, mut now, mut there) = (Courtesy::default(), 0, writers);
            let mut last_broken: Option<u64> = None;
            for (is_broken, seconds) in looks {
                now += seconds;
                let names = if is_broken { broken() } else { Vec::new() };
                if is_broken {
                    last_broken = Some(now);
                }
                match courtesy.look(&names, (there, there), INTERVAL, at(now)) {
                    Step::Take(fewer) => {
                        prop_assert!(is_broken && fewer >= 1 && fewer < there);
                        there = fewer;
                    }
                    Step::Give(more) => {
                        prop_assert!(!is_broken && more == there + 1 && more <= writers);
                        prop_assert!(last_broken.is_some_and(|last| now - last >= 60));
                        there = more;
                    }
                    Step::Stay | Step::AtTheLeast | Step::Over => {}
                }
            }
        }
    }
}
