//! The alarm: is a signal so much worse for a few scrapes in a row that waiting for an interval would be wrong?
//!
//! Goes in: a signal's values without the change, then the newest ones with it. Comes out: whether they are all past
//! the signal's bound. Always holds: a value that was normal before the change never rings; without values from
//! before there is no alarm. It is no verdict: it says "take it out, now", and errs on noise more often than
//! [`judge`](super::judge) does; `docs/TRUST.md` has its measured rates.
//!
//! The bound is the largest of three: a multiple of the median; somewhat worse than the worst value there was before
//! the change; and as far from the median as noise of the signal's own width seldom goes.

use super::contrast::MOST_LOG;
use super::dependence::spread;
use super::location::median;
use super::quantile::student_t;
use crate::model::Direction;

/// The signal's own noise goes past its bound with this probability at a single scrape, one-sided.
const NOISE_TAIL: f64 = 4e-5;
/// But noise of the widest kind that is promised for (CV 40 %, ρ 0.8) hardly ever stays past this multiple: where the
/// record is short, its width is uncertain, and what is worse than this must not wait for it.
const NOISE_MOST: f64 = 5.0;
/// What is worse than the worst value before the change by less than this factor has, as good as, been there before.
const PAST_WORST: f64 = 1.25;

/// When one signal alarms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alarm {
    normal: f64,
    bound: f64,
    direction: Direction,
}

impl Alarm {
    /// From the values without the change. `floor`: a value below it counts as it, in the signal's unit. `factor`:
    /// so many times worse than the median is the least that alarms. `None` where there is no value, or the median
    /// is not positive: nothing is a multiple of nothing.
    pub fn new(before: &[Option<f64>], direction: Direction, floor: f64, factor: f64) -> Option<Self> {
        let before: Vec<Option<f64>> =
            before.iter().map(|value| value.filter(|v| v.is_finite()).map(|v| v.max(floor))).collect();
        let values: Vec<f64> = before.iter().flatten().copied().collect();
        let normal = median(&values);
        if normal <= 0.0 {
            return None;
        }
        // Zero has no logarithm, and has been there: nothing is worse than a standstill.
        let worse = |value: f64| match direction {
            Direction::LowerIsBetter => value / normal,
            Direction::HigherIsBetter => normal / value,
        };
        let logs = before.iter().map(|value| value.map(|v| worse(v).ln().clamp(-MOST_LOG, MOST_LOG)));
        let noise = spread(logs.collect());
        let noise = (student_t(NOISE_TAIL, noise.df) * noise.sd).exp().min(NOISE_MOST);
        let worst = values.iter().copied().map(worse).fold(1.0, f64::max);
        let times = factor.max(noise).max(worst * PAST_WORST);
        let bound = match direction {
            Direction::LowerIsBetter => normal * times,
            Direction::HigherIsBetter => normal / times,
        };
        Some(Self { normal, bound, direction })
    }

    /// The median without the change.
    pub fn normal(&self) -> f64 {
        self.normal
    }

    /// The value past which the signal is visibly worse.
    pub fn bound(&self) -> f64 {
        self.bound
    }

    /// Whether a value is past the bound; what is no number is not.
    pub fn is_past(&self, value: f64) -> bool {
        match self.direction {
            Direction::LowerIsBetter => value > self.bound,
            Direction::HigherIsBetter => value < self.bound,
        }
    }

    /// Whether the last `scrapes` of `recent`, which is in order of time, are all past the bound.
    pub fn rings(&self, recent: &[f64], scrapes: usize) -> bool {
        let scrapes = scrapes.max(1);
        let last = recent.len().checked_sub(scrapes).map(|skip| &recent[skip..]);
        last.is_some_and(|last| last.iter().all(|&value| self.is_past(value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn alarm(before: &[f64], direction: Direction) -> Option<Alarm> {
        let before: Vec<Option<f64>> = before.iter().copied().map(Some).collect();
        Alarm::new(&before, direction, 0.0, 2.0)
    }

    /// A minute of scrapes that alternate between these.
    fn minute(values: &[f64]) -> Vec<f64> {
        values.iter().copied().cycle().take(60).collect()
    }

    #[test]
    fn a_quiet_signal_alarms_at_twice_its_median() {
        let latency = alarm(&minute(&[19.0, 20.0, 21.0]), Direction::LowerIsBetter).unwrap();
        assert_eq!((latency.normal(), latency.bound()), (20.0, 40.0));
        assert!(latency.rings(&[20.0, 41.0, 60.0, 60.0], 3));
        assert!(!latency.rings(&[41.0, 41.0], 3), "two are not three");
        assert!(!latency.rings(&[41.0, 39.0, 41.0], 3));
        let throughput = alarm(&minute(&[950.0, 1000.0, 1050.0]), Direction::HigherIsBetter).unwrap();
        assert!(throughput.rings(&[499.0, 0.0, 450.0], 3) && !throughput.rings(&[499.0, 501.0, 450.0], 3));
    }

    #[test]
    fn what_came_before_the_change_does_not_alarm_after_it() {
        let mut before = vec![20.0; 60];
        before[17] = 90.0;
        let latency = alarm(&before, Direction::LowerIsBetter).unwrap();
        assert!(!latency.rings(&[60.0, 90.0, 110.0], 3));
        assert!(latency.rings(&[113.0, 125.0, 150.0], 3));
        let stalls = alarm(&minute(&[1000.0, 1000.0, 0.0]), Direction::HigherIsBetter).unwrap();
        assert!(!stalls.rings(&[0.0, 0.0, 0.0], 3));
    }

    #[test]
    fn a_wide_signal_has_a_wide_bound_and_not_an_endless_one() {
        let before = minute(&[10.0, 40.0, 20.0, 9.0, 45.0, 20.0, 11.0]);
        assert!(alarm(&before, Direction::LowerIsBetter).unwrap().bound() > 90.0);
        let before: Vec<f64> = (0..60).map(|n| 20.0 * if n % 2 == 0 { 3.9 } else { 0.26 }).collect();
        let bound = alarm(&before, Direction::LowerIsBetter).unwrap().bound();
        assert!(bound < 5.01 * median(&before), "{bound}");
    }

    #[test]
    fn below_a_floor_that_is_its_level_all_is_well() {
        let before: Vec<Option<f64>> = [3.0, 4.0, 9.0].into_iter().map(Some).collect();
        let level = Alarm::new(&before, Direction::LowerIsBetter, 50.0, 1.0).unwrap();
        assert_eq!(level.bound(), 62.5);
    }

    #[test]
    fn nothing_before_and_nothing_measured_is_no_alarm() {
        assert_eq!(Alarm::new(&[None, None], Direction::LowerIsBetter, 0.0, 2.0), None);
        assert_eq!(alarm(&[0.0, 0.0], Direction::LowerIsBetter), None);
        let floored = Alarm::new(&[Some(0.1)], Direction::LowerIsBetter, 6.0, 2.0).unwrap();
        assert_eq!(floored.bound(), 12.0);
        assert!(!floored.rings(&[f64::NAN; 3], 3) && !floored.rings(&[], 3));
    }

    proptest! {
        #[test]
        fn a_value_from_before_never_rings(
            before in proptest::collection::vec(0.0_f64..1e12, 1..50), floor in 0.0_f64..10.0,
            lower in any::<bool>(), at in any::<proptest::sample::Index>(),
        ) {
            let direction = if lower { Direction::LowerIsBetter } else { Direction::HigherIsBetter };
            let same = at.get(&before).max(floor);
            let values: Vec<Option<f64>> = before.iter().copied().map(Some).collect();
            if let Some(alarm) = Alarm::new(&values, direction, floor, 2.0) {
                // Off by a rounding at most.
                let better = if lower { 1.0 - 1e-9 } else { 1.0 + 1e-9 };
                prop_assert!(!alarm.is_past(same * better));
            }
        }
    }
}
