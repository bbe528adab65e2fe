//! The rules and the edges of the verdict, on evidence built by hand.

use super::noise::Noise;
use super::*;
use crate::model::{Arm, Direction, Segment, SignalName, Unit};
use proptest::prelude::*;

/// 60 and 60 scrapes of quiet noise (ρ 0.3, CV 5 %) around `before` and `after`.
fn series(name: &str, before: f64, after: f64) -> Series {
    let seed = name.bytes().map(u64::from).sum();
    let mut noise = Noise::new(0.3, 0.05).log_values(seed, 120).into_iter().flatten();
    let mut arm = |arm, level: f64| Segment {
        arm,
        values: noise.by_ref().take(60).map(|v| Some(level * v.exp())).collect(),
    };
    let segments = vec![arm(Arm::A, before), arm(Arm::B, after)];
    Series {
        signal: SignalName::new(name),
        unit: Unit::Ms,
        direction: Direction::LowerIsBetter,
        scales_with_load: false,
        floor: 0.0,
        segments,
    }
}

fn higher_is_better(series: Series) -> Series {
    Series { direction: Direction::HigherIsBetter, ..series }
}

fn per_load(series: Series) -> Series {
    Series { scales_with_load: true, ..series }
}

fn of_values(before: Vec<Option<f64>>, after: Vec<Option<f64>>) -> Series {
    let segments = vec![Segment { arm: Arm::A, values: before }, Segment { arm: Arm::B, values: after }];
    Series { segments, ..series("signal", 1.0, 1.0) }
}

fn evidence(goal: Series, guards: Vec<Series>) -> Evidence {
    Evidence {
        goal,
        guards,
        load: None,
        look: 0,
        looks: 3,
        incomparable: vec![],
        stolen: vec![],
        waves: None,
    }
}

fn under_load(evidence: Evidence, before: f64, after: f64) -> Evidence {
    Evidence { load: Some(series("commits", before, after)), ..evidence }
}

/// Leaves the first `keep` values of each segment of `arm` and takes the others away.
fn thin(mut series: Series, arm: Arm, keep: usize) -> Series {
    for segment in series.segments.iter_mut().filter(|segment| segment.arm == arm) {
        segment.values.iter_mut().skip(keep).for_each(|value| *value = None);
    }
    series
}

fn ruling(evidence: &Evidence) -> Ruling {
    judge(evidence).ruling
}

// --- the rules, with the sentences that people read ---

#[test]
fn a_proven_gain_and_safe_guards_are_kept() {
    let goal = per_load(series("wal_rate", 40e6, 11.6e6));
    let found =
        judge(&under_load(evidence(goal, vec![series("p95_write_latency", 180.0, 178.0)]), 900.0, 905.0));
    assert_eq!(found.ruling, Ruling::Keep);
    insta::assert_snapshot!(found.reason, @"wal_rate per unit of load fell by 71 % (99.1 % interval −73 … −70 %, 60 and 60 scrapes worth 46), no guard got worse");
    assert_eq!((found.guards.len(), found.look), (1, 0));
    assert!(found.goal.is_some_and(|goal| goal.per_load));
}

#[test]
fn a_gain_in_throughput_is_a_gain() {
    let found = judge(&evidence(higher_is_better(series("throughput", 1000.0, 1400.0)), vec![]));
    assert_eq!(found.ruling, Ruling::Keep);
    insta::assert_snapshot!(found.reason, @"throughput rose by 40 % (99.1 % interval +35 … +45 %, 60 and 60 scrapes worth 71), no guard was watched");
}

#[test]
fn a_harmed_guard_reverts_whatever_the_gain() {
    let found =
        judge(&evidence(series("wal_rate", 40.0, 10.0), vec![series("p95_write_latency", 100.0, 145.0)]));
    assert_eq!(found.ruling, Ruling::Revert);
    insta::assert_snapshot!(found.reason, @"p95_write_latency rose by 44 % (99.6 % interval +39 … +50 %, 60 and 60 scrapes worth 74): worse by more than 20 %");
}

#[test]
fn a_harmed_goal_reverts() {
    assert_eq!(ruling(&evidence(series("wal_rate", 40.0, 60.0), vec![])), Ruling::Revert);
    assert_eq!(ruling(&evidence(higher_is_better(series("tps", 40.0, 25.0)), vec![])), Ruling::Revert);
}

#[test]
fn no_gain_is_not_kept() {
    let found = judge(&evidence(series("wal_rate", 40.0, 39.5), vec![]));
    assert_eq!(found.ruling, Ruling::Extend);
    insta::assert_snapshot!(found.reason, @"wal_rate fell by 2.2 % (99.1 % interval −5.7 … +1.4 %, 60 and 60 scrapes worth 63): a gain of 3 % is not proved");
}

#[test]
fn a_guard_that_is_measurably_worse_is_not_kept_though_it_is_no_harm() {
    let found = judge(&evidence(series("wal_rate", 40.0, 10.0), vec![series("io_wait", 10.0, 11.2)]));
    assert_eq!(found.ruling, Ruling::Extend);
    insta::assert_snapshot!(found.reason, @"wal_rate fell by 75 % (99.1 % interval −76 … −74 %, 60 and 60 scrapes worth 63), but io_wait rose by 15 % (99.1 % interval +11 … +20 %, 60 and 60 scrapes worth 57)");
}

#[test]
fn a_guard_too_noisy_to_clear_is_not_passed() {
    let noise = Noise::new(0.8, 0.40).log_values(3, 120);
    let wild = |range: std::ops::Range<usize>| noise[range].iter().map(|v| v.map(f64::exp)).collect();
    let guard = Series { signal: SignalName::new("io_wait"), ..of_values(wild(0..60), wild(60..120)) };
    let found = judge(&evidence(series("wal_rate", 40.0, 10.0), vec![guard]));
    assert_eq!(found.ruling, Ruling::Extend);
    insta::assert_snapshot!(found.reason, @"wal_rate fell by 75 % (99.1 % interval −76 … −74 %, 60 and 60 scrapes worth 63), but io_wait may be worse by up to 63 % (one-sided 95 % bound), 39 % is the most that is passed");
}

// --- missing data is never "pass" ---

#[test]
fn too_few_values_extend() {
    for (keep, expected) in [(19, Ruling::Extend), (47, Ruling::Extend), (48, Ruling::Keep)] {
        for arm in [Arm::A, Arm::B] {
            let goal = thin(series("wal_rate", 40.0, 10.0), arm, keep);
            assert_eq!(ruling(&evidence(goal, vec![])), expected, "{keep} of 60 in {arm:?}");
            let guard = thin(series("p95", 40.0, 40.0), arm, keep);
            assert_eq!(ruling(&evidence(series("wal_rate", 40.0, 10.0), vec![guard])), expected);
        }
    }
    let found = judge(&evidence(thin(series("wal_rate", 40.0, 10.0), Arm::B, 19), vec![]));
    insta::assert_snapshot!(found.reason, @"wal_rate has 19 values with the change, 20 are needed");
    assert_eq!(found.goal, None);
    let found = judge(&evidence(thin(series("wal_rate", 40.0, 10.0), Arm::A, 47), vec![]));
    insta::assert_snapshot!(found.reason, @"wal_rate misses 13 of 60 scrapes without the change, at most 20 % may be missing");
}

#[test]
fn a_guard_that_fell_silent_is_not_passed() {
    let guard = thin(series("p95", 40.0, 40.0), Arm::B, 0);
    let found = judge(&evidence(series("wal_rate", 40.0, 10.0), vec![guard]));
    assert_eq!(found.ruling, Ruling::Extend);
    insta::assert_snapshot!(found.reason, @"wal_rate fell by 75 % (99.1 % interval −76 … −74 %, 60 and 60 scrapes worth 63), but p95 had data before the change and has none after it");
}

#[test]
fn a_guard_without_data_before_is_not_passed() {
    let guard = thin(series("p95", 40.0, 40.0), Arm::A, 0);
    assert_eq!(ruling(&evidence(series("wal_rate", 40.0, 10.0), vec![guard])), Ruling::Extend);
}

#[test]
fn a_guard_that_never_had_data_is_named() {
    let silent = of_values(vec![None; 60], vec![None; 60]);
    let silent = Series { signal: SignalName::new("cpu_temperature"), ..silent };
    let found = judge(&evidence(series("wal_rate", 40.0, 10.0), vec![silent, series("p95", 40.0, 40.0)]));
    assert_eq!(found.ruling, Ruling::Keep);
    insta::assert_snapshot!(found.reason, @"wal_rate fell by 75 % (99.1 % interval −76 … −74 %, 60 and 60 scrapes worth 63), no guard got worse (no data: cpu_temperature)");
}

#[test]
fn harm_is_ruled_even_without_a_goal() {
    let goal = of_values(vec![Some(1.0); 60], vec![]);
    let found = judge(&evidence(goal, vec![series("p95", 100.0, 160.0)]));
    assert_eq!(found.ruling, Ruling::Revert);
}

#[test]
fn nan_and_infinity_count_as_missing() {
    let mut goal = series("wal_rate", 40.0, 10.0);
    for (i, value) in goal.segments[1].values.iter_mut().enumerate().take(13) {
        *value = Some([f64::NAN, f64::INFINITY, f64::NEG_INFINITY][i % 3]);
    }
    assert_eq!(ruling(&evidence(goal, vec![])), Ruling::Extend);
}

// --- comparable, or not ---

#[test]
fn reasons_against_a_comparison_forbid_to_keep_but_not_to_revert() {
    let because = |goal| Evidence {
        incomparable: vec!["1 of 3 checkpoints seen".to_owned()],
        ..evidence(goal, vec![series("p95", 40.0, 40.0)])
    };
    let found = judge(&because(series("wal_rate", 40.0, 10.0)));
    assert_eq!(found.ruling, Ruling::Extend);
    insta::assert_snapshot!(found.reason, @"wal_rate fell by 75 % (99.1 % interval −76 … −74 %, 60 and 60 scrapes worth 63), but 1 of 3 checkpoints seen");
    assert_eq!(ruling(&because(series("wal_rate", 40.0, 80.0))), Ruling::Revert);
}

#[test]
fn a_load_that_explains_the_gain_forbids_to_keep() {
    let found = judge(&under_load(evidence(series("p95", 40.0, 30.0), vec![]), 1000.0, 600.0));
    assert_eq!(found.ruling, Ruling::Extend);
    insta::assert_snapshot!(found.reason, @"p95 fell by 24 % (99.1 % interval −26 … −21 %, 60 and 60 scrapes worth 86), but the load fell by 40 %, at most 25 % lets before and after be compared");
}

#[test]
fn a_load_that_works_against_the_gain_does_not() {
    assert_eq!(
        ruling(&under_load(evidence(series("p95", 40.0, 30.0), vec![]), 1000.0, 1600.0)),
        Ruling::Keep
    );
    let throughput = higher_is_better(series("throughput", 30.0, 40.0));
    assert_eq!(ruling(&under_load(evidence(throughput.clone(), vec![]), 1000.0, 600.0)), Ruling::Keep);
    assert_eq!(ruling(&under_load(evidence(throughput, vec![]), 1000.0, 1600.0)), Ruling::Extend);
}

#[test]
fn a_load_that_explains_the_harm_extends() {
    assert_eq!(
        ruling(&under_load(evidence(series("p95", 40.0, 60.0), vec![]), 1000.0, 1600.0)),
        Ruling::Extend
    );
    assert_eq!(
        ruling(&under_load(evidence(series("p95", 40.0, 60.0), vec![]), 1000.0, 600.0)),
        Ruling::Revert
    );
    let guarded = evidence(series("wal_rate", 40.0, 20.0), vec![series("p95", 40.0, 60.0)]);
    let found = judge(&under_load(guarded, 1000.0, 1600.0));
    assert_eq!(found.ruling, Ruling::Extend);
    insta::assert_snapshot!(found.reason, @"wal_rate fell by 50 % (99.1 % interval −52 … −49 %, 60 and 60 scrapes worth 63), but p95 rose by 53 % (99.1 % interval +48 … +57 %, 60 and 60 scrapes worth 86) while the load moved with it");
}

#[test]
fn a_rate_that_followed_the_load_is_no_gain_and_no_harm() {
    let idle = per_load(series("wal_rate", 40.0, 32.4));
    assert_eq!(ruling(&under_load(evidence(idle, vec![]), 1000.0, 800.0)), Ruling::Extend);
    let busy = per_load(series("wal_rate", 40.0, 49.0));
    assert_eq!(ruling(&under_load(evidence(busy, vec![]), 1000.0, 1220.0)), Ruling::Extend);
}

#[test]
fn a_load_that_fell_silent_forbids_to_keep() {
    let mut gone = under_load(evidence(series("p95", 40.0, 20.0), vec![]), 1000.0, 1000.0);
    gone.load = gone.load.map(|load| thin(load, Arm::B, 0));
    let found = judge(&gone);
    assert_eq!(found.ruling, Ruling::Extend);
    insta::assert_snapshot!(found.reason, @"p95 fell by 49 % (99.1 % interval −51 … −48 %, 60 and 60 scrapes worth 86), but commits had data before the change and has none after it");
    gone.goal = series("p95", 40.0, 80.0);
    assert_eq!(ruling(&gone), Ruling::Revert);
}

#[test]
fn an_unknown_load_is_left_out() {
    let mut unknown = evidence(per_load(series("wal_rate", 40.0, 10.0)), vec![]);
    unknown.load = Some(Series { segments: vec![], ..series("commits", 1.0, 1.0) });
    let found = judge(&unknown);
    assert_eq!(found.ruling, Ruling::Keep);
    assert!(found.goal.is_some_and(|goal| !goal.per_load));
}

// --- looks ---

#[test]
fn the_looks_share_one_error_probability() {
    for looks in 1..=20 {
        let spent: f64 = (0..looks).map(|look| alpha_of_look(look, looks)).sum();
        assert!((spent - TRIAL_ALPHA).abs() < 1e-12, "{looks}: {spent}");
    }
    assert!(alpha_of_look(0, 3) < alpha_of_look(2, 3));
}

#[test]
fn a_look_too_many_keeps_nothing() {
    let goal = series("wal_rate", 40.0, 10.0);
    let found = judge(&Evidence { look: 3, ..evidence(goal.clone(), vec![]) });
    assert_eq!(found.ruling, Ruling::Extend);
    insta::assert_snapshot!(found.reason, @"wal_rate fell by 75 % (98.2 % interval −76 … −74 %, 60 and 60 scrapes worth 63), but this is look 4 of 3, no error probability is left");
    assert_eq!(ruling(&Evidence { look: 0, looks: 0, ..evidence(goal.clone(), vec![]) }), Ruling::Keep);
    assert_eq!(ruling(&Evidence { look: 255, looks: 255, ..evidence(goal, vec![]) }), Ruling::Extend);
}

#[test]
fn switching_back_and_forth_cancels_a_trend() {
    let trend = |range: std::ops::Range<u32>, arm| Segment {
        arm,
        values: range
            .map(|i| Some(100.0 * (-0.002 * f64::from(i)).exp() * (1.0 + 0.01 * f64::from(i % 3))))
            .collect(),
    };
    let two = vec![trend(0..60, Arm::A), trend(60..120, Arm::B)];
    let three = [two.clone(), vec![trend(120..180, Arm::A)]].concat();
    let change = |segments| compare(&Series { segments, ..series("s", 1.0, 1.0) }, None, 0.05).unwrap();
    let (two, three) = (change(two), change(three));
    assert!((two.change + 0.113).abs() < 0.01 && three.change.abs() < 0.01, "{two:?} {three:?}");
    // Two arms alone cannot tell a trend from a change, and say so.
    assert!(two.high > -LEAST_GAIN, "{two:?}");
}

// --- odd series ---

#[test]
fn constant_series_are_compared() {
    let same = compare(&of_values(vec![Some(5.0); 60], vec![Some(5.0); 60]), None, 0.05).unwrap();
    assert_eq!((same.change, same.effective_n), (0.0, 120.0));
    assert!(same.low < 0.0 && same.high > 0.0 && same.high < 0.02, "{same:?}");
    let zeros = compare(&of_values(vec![Some(0.0); 60], vec![Some(0.0); 60]), None, 0.05).unwrap();
    assert_eq!(zeros.change, 0.0);
    let halved = of_values(vec![Some(10.0); 60], vec![Some(5.0); 60]);
    assert_eq!(ruling(&evidence(halved, vec![])), Ruling::Keep);
}

#[test]
fn the_floor_makes_three_times_nothing_nothing() {
    let mut idle = of_values(vec![Some(0.1); 60], vec![Some(0.3); 60]);
    assert_eq!(ruling(&evidence(idle.clone(), vec![])), Ruling::Revert);
    idle.floor = 1.0;
    assert_eq!(compare(&idle, None, 0.05).unwrap().change, 0.0);
    assert_eq!(ruling(&evidence(idle, vec![])), Ruling::Extend);
}

#[test]
fn empty_and_short_series_are_no_evidence() {
    for values in [vec![], vec![Some(1.0)], vec![None; 60]] {
        let found = judge(&evidence(of_values(values.clone(), values), vec![]));
        assert_eq!(found.ruling, Ruling::Extend);
        assert!(!found.reason.is_empty());
    }
    let none = Series { segments: vec![], ..series("s", 1.0, 1.0) };
    assert_eq!(compare(&none, None, 0.05), None);
    assert_eq!(ruling(&evidence(none, vec![])), Ruling::Extend);
}

#[test]
fn ten_thousand_scrapes_are_no_trouble() {
    let noise = Noise::new(0.5, 0.15).log_values(1, 20_000);
    let values = |range: std::ops::Range<usize>| noise[range].iter().map(|v| v.map(f64::exp)).collect();
    let found = compare(&of_values(values(0..10_000), values(10_000..20_000)), None, 0.05).unwrap();
    assert!(found.change.abs() < 0.02 && found.high - found.low < 0.05, "{found:?}");
}

// --- properties ---

fn any_value() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        8 => (0.1..1000.0f64).prop_map(Some),
        1 => Just(None),
        1 => prop_oneof![
            Just(0.0), Just(-5.0), Just(f64::NAN), Just(f64::INFINITY), Just(f64::MAX), Just(f64::MIN),
            Just(f64::MIN_POSITIVE), Just(-0.0), Just(1e-310),
        ].prop_map(Some),
    ]
}

fn any_series() -> impl Strategy<Value = Series> {
    let segment = (any::<bool>(), prop::collection::vec(any_value(), 0..80));
    let segment = segment.prop_map(|(b, values)| Segment { arm: if b { Arm::B } else { Arm::A }, values });
    let floor = prop_oneof![Just(0.0), Just(1.0), Just(f64::NAN), Just(-1.0), Just(f64::INFINITY)];
    (prop::collection::vec(segment, 0..5), any::<bool>(), any::<bool>(), floor).prop_map(
        |(segments, scales_with_load, higher, floor)| Series {
            scales_with_load,
            floor,
            direction: if higher { Direction::HigherIsBetter } else { Direction::LowerIsBetter },
            segments,
            ..series("signal", 1.0, 1.0)
        },
    )
}

fn noisy(seed: u64, factor: f64) -> Series {
    let noise = Noise { missing: 0.05, ..Noise::new(0.4, 0.2) }.log_values(seed, 120);
    let arm = |range: std::ops::Range<usize>, factor: f64| {
        noise[range].iter().map(|v| v.map(|v| 50.0 * factor * v.exp())).collect()
    };
    of_values(arm(0..60, 1.0), arm(60..120, factor))
}

fn times(series: &Series, factor: f64) -> Series {
    let mut scaled = series.clone();
    scaled.floor *= factor;
    scaled.segments.iter_mut().flat_map(|s| &mut s.values).flatten().for_each(|value| *value *= factor);
    scaled
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}

proptest! {
    #[test]
    fn nothing_panics_and_every_number_is_sane(
        goal in any_series(),
        guards in prop::collection::vec(any_series(), 0..3),
        load in prop::option::of(any_series()),
        look in any::<u8>(),
        looks in any::<u8>(),
    ) {
        let found = judge(&Evidence { goal, guards, load, look, looks, incomparable: vec![], stolen: vec![], waves: None });
        prop_assert!(!found.reason.is_empty());
        for c in found.goal.iter().chain(&found.guards) {
            prop_assert!(c.low.is_finite() && c.high.is_finite() && c.before.is_finite() && c.after.is_finite());
            prop_assert!(c.low <= c.change && c.change <= c.high && c.low >= -1.0, "{:?}", c);
            prop_assert!(c.effective_n >= 1.0 && c.effective_n <= f64::from(c.n_before + c.n_after) + 1e-9);
            prop_assert!(c.n_before >= 20 && c.n_after >= 20);
        }
    }

    #[test]
    fn swapping_the_arms_flips_the_sign(seed in any::<u64>(), factor in 0.2..5.0f64) {
        let there = noisy(seed, factor);
        let mut back = there.clone();
        back.segments.reverse();
        back.segments[0].arm = Arm::A;
        back.segments[1].arm = Arm::B;
        if let (Some(there), Some(back)) = (compare(&there, None, 0.05), compare(&back, None, 0.05)) {
            prop_assert!(close(there.change.ln_1p(), -back.change.ln_1p()), "{:?} {:?}", there, back);
            let width = |c: &Comparison| c.high.ln_1p() - c.low.ln_1p();
            // Time is reversed with the arms: the width may not care, but for the trend.
            prop_assert!((width(&there) - width(&back)).abs() < 0.25 * width(&there), "{:?} {:?}", there, back);
        }
    }

    #[test]
    fn the_unit_changes_nothing(seed in any::<u64>(), factor in 0.2..5.0f64, unit in 1e-6..1e9f64) {
        let (one, other) = (noisy(seed, factor), times(&noisy(seed, factor), unit));
        if let (Some(one), Some(other)) = (compare(&one, None, 0.05), compare(&other, None, 0.05)) {
            prop_assert!(close(one.change, other.change) && close(one.low, other.low) && close(one.high, other.high));
        }
        prop_assert_eq!(ruling(&evidence(one, vec![])), ruling(&evidence(other, vec![])));
    }

    #[test]
    fn more_load_and_as_much_more_of_the_signal_cancel(seed in any::<u64>(), factor in 0.5..2.0f64, more in 0.1..10.0f64) {
        let signal = per_load(noisy(seed, factor));
        let load = series("commits", 1000.0, 1000.0);
        let both = |s: &Series| Series {
            segments: vec![s.segments[0].clone(), times(s, more).segments[1].clone()], ..s.clone()
        };
        let one = compare(&signal, Some(&load), 0.05);
        let other = compare(&both(&signal), Some(&both(&load)), 0.05);
        prop_assert_eq!(one.is_some(), other.is_some());
        if let (Some(one), Some(other)) = (one, other) {
            prop_assert!(one.per_load && close(one.change, other.change) && close(one.high, other.high));
        }
    }

    #[test]
    fn less_error_means_a_wider_interval(seed in any::<u64>(), alpha in 0.001..0.2f64) {
        let signal = noisy(seed, 1.0);
        if let (Some(narrow), Some(wide)) = (compare(&signal, None, alpha), compare(&signal, None, alpha / 2.0)) {
            prop_assert!(wide.low < narrow.low && wide.high > narrow.high);
        }
    }
}
