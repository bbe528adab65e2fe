//! CPU time that the hypervisor gave to others ("steal"): whether it may stand behind a gain or a harm.
//!
//! Goes in: the share of all CPUs' time that was taken, percent, at each scrape of each arm. Comes out: whether a claim
//! may be believed. A neighbour on the same host comes and goes by itself: one that left when the change came looks like
//! a gain, and one that came like harm. Time that was taken on the other side weakens nothing: what got better although
//! more was taken did get better.

use super::load::Claim;
use super::sentence;
use crate::model::{Arm, Segment};

/// Percent of the CPUs' time: less of it is noise like other noise, and paid for as such.
const MOST: f64 = 5.0;
/// Of what was taken on the quieter side, where that is more: a host that always loses some can be compared with
/// itself.
const SHARE: f64 = 0.5;
/// A scrape before the change is usual up to so many times the median.
const FACTOR: f64 = 2.0;

/// Mean percent of the CPUs' time on each side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stolen {
    without: f64,
    with: f64,
}

impl Stolen {
    /// `None` where nothing is known of a side.
    pub(super) fn of(segments: &[Segment]) -> Option<Self> {
        let mean = |arm: Arm| {
            let of_arm = segments.iter().filter(|segment| segment.arm == arm);
            let values = of_arm.flat_map(|segment| segment.values.iter().flatten().copied());
            let values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        Some(Self { without: mean(Arm::A)?, with: mean(Arm::B)? })
    }

    /// Whether too little more was taken to explain the claim. A slower machine does less, and no more of anything for
    /// each unit of load: what is compared so may be believed.
    pub(super) fn allows(self, claim: Claim, is_per_load: bool) -> bool {
        if is_per_load {
            return true;
        }
        let (suspect, other) = match claim {
            Claim::Gain => (self.without, self.with),
            Claim::Harm => (self.with, self.without),
        };
        suspect - other <= MOST.max(SHARE * other)
    }

    /// For people.
    pub(super) fn sentence(self) -> String {
        let percent = |share: f64| sentence::percent(share / 100.0);
        format!(
            "the hypervisor took {} of the CPUs' time without the change and {} with it, so before and after cannot be \
             compared",
            percent(self.without),
            percent(self.with)
        )
    }
}

/// Above how many percent more than usual was taken, by what was taken at each scrape before; `None` where nothing is
/// known of it.
pub fn steal_bound(before: &[Option<f64>]) -> Option<f64> {
    let mut values: Vec<f64> = before.iter().flatten().copied().filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    Some(MOST.max(FACTOR * values.get(values.len() / 2)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::judge;
    use crate::model::{Direction, Evidence, Ruling, Series, Unit};

    const SCRAPES: usize = 60;

    /// Some noise of a few percent around a level, the same every time.
    fn around(level: f64, phase: f64) -> Vec<Option<f64>> {
        (0..SCRAPES).map(|n| Some(level * (1.0 + 0.03 * (n as f64 * 1.7 + phase).sin()))).collect()
    }

    fn arms(without: Vec<Option<f64>>, with: Vec<Option<f64>>) -> Vec<Segment> {
        vec![Segment { arm: Arm::A, values: without }, Segment { arm: Arm::B, values: with }]
    }

    /// What is ruled of a latency that goes from one level to another, and how much is taken meanwhile.
    fn ruling(latency: (f64, f64), stolen: (f64, f64)) -> (Ruling, String) {
        ruling_of(latency, stolen, false)
    }

    fn ruling_of(latency: (f64, f64), stolen: (f64, f64), scales_with_load: bool) -> (Ruling, String) {
        let series = |signal: &str, scales_with_load, segments| Series {
            signal: signal.into(),
            unit: Unit::Ms,
            direction: Direction::LowerIsBetter,
            scales_with_load,
            floor: 0.0,
            segments,
        };
        let segments = arms(around(latency.0, 0.0), around(latency.1, 1.0));
        let load = arms(around(100.0, 4.0), around(100.0, 5.0));
        let found = judge(&Evidence {
            goal: series("goal", scales_with_load, segments),
            guards: vec![],
            load: Some(series("load", false, load)),
            look: 0,
            looks: 3,
            incomparable: vec![],
            stolen: arms(around(stolen.0, 2.0), around(stolen.1, 3.0)),
            waves: None,
        });
        (found.ruling, found.reason)
    }

    #[test]
    fn a_neighbour_that_leaves_is_no_gain_and_one_that_comes_no_harm() {
        assert_eq!(ruling((50.0, 10.0), (0.3, 0.3)).0, Ruling::Keep);
        let (left, why) = ruling((50.0, 10.0), (30.0, 0.3));
        assert_eq!(left, Ruling::Extend, "{why}");
        assert!(
            why.contains("the hypervisor took 30 % of the CPUs' time without the change and 0.3 % with it"),
            "{why}"
        );
        assert_eq!(ruling((10.0, 50.0), (0.3, 0.3)).0, Ruling::Revert);
        let (came, why) = ruling((10.0, 50.0), (0.3, 30.0));
        assert_eq!(came, Ruling::Extend, "{why}");
        assert!(why.contains("the hypervisor took"), "{why}");
    }

    #[test]
    fn what_works_against_a_claim_does_not_weaken_it_and_what_is_usual_neither() {
        for stolen in [(0.3, 30.0), (12.0, 12.0), (30.0, 22.0)] {
            assert_eq!(ruling((50.0, 10.0), stolen).0, Ruling::Keep, "{stolen:?}");
        }
        for stolen in [(30.0, 0.3), (12.0, 12.0), (22.0, 30.0)] {
            assert_eq!(ruling((10.0, 50.0), stolen).0, Ruling::Revert, "{stolen:?}");
        }
    }

    #[test]
    fn what_is_compared_per_unit_of_load_is_believed() {
        assert_eq!(ruling_of((50.0, 10.0), (30.0, 0.3), true).0, Ruling::Keep);
        assert_eq!(ruling_of((10.0, 50.0), (0.3, 30.0), true).0, Ruling::Revert);
    }

    #[test]
    fn where_nothing_is_known_of_it_nothing_is_said() {
        for segments in [vec![], arms(vec![], vec![]), arms(vec![None; SCRAPES], vec![Some(f64::NAN)])] {
            assert_eq!(Stolen::of(&segments), None);
        }
        assert_eq!(steal_bound(&[]), None);
        assert_eq!(steal_bound(&[Some(0.2), None, Some(0.4), Some(40.0)]), Some(5.0));
        assert_eq!(steal_bound(&[Some(12.0); 9]), Some(24.0));
    }
}
