//! What the learner makes of records made by hand.

use super::*;
use crate::migrate::adjust::{Caps, Moment, Phase, Resting, Sample, Stage, Window, Writers};
use crate::migrate::types::Engine;
use chrono::DateTime;
use proptest::prelude::*;
use std::time::Duration;

pub(super) fn features() -> Features {
    Features {
        cores: Some(2.0),
        memory_mb: Some(4_096.0),
        rows: Some(3e6),
        row_bytes: Some(150.0),
        columns: Some(12.0),
        variable_percent: Some(25.0),
        source: Some(Engine::Postgres),
    }
}

fn settings(writers: u32) -> Settings {
    Settings::new(i64::from(writers), 50_000, 2, 8).unwrap()
}

/// A case in which all is known.
pub(super) fn context(writers: u32, cpu: f64) -> Context {
    let pressure = Pressure {
        cpu: Some(cpu),
        memory: Some(50.0),
        io_wait: Some(5.0),
        chunk_overhead: Some(10.0),
        queue_full: Some(20.0),
        queue_empty: Some(20.0),
    };
    Context { features: features(), stage: Stage::Copying, settings: settings(writers), pressure }
}

/// A sample that shows `context(4, 60.0)`.
fn sample() -> Sample {
    let phase = Phase { stage: Stage::Copying, tables: vec![1], building: false };
    Sample {
        rows_per_second: Some(100_000.0),
        machine_cpu_percent: Some(60.0),
        memory_percent: Some(50.0),
        io_wait_percent: Some(5.0),
        chunk_overhead_percent: Some(10.0),
        queue_full_percent: Some(20.0),
        queue_empty_percent: Some(20.0),
        ..Sample::unknown(DateTime::UNIX_EPOCH, Duration::from_secs(30), settings(4), phase)
    }
}

fn trial(run: &str, parameter: Parameter, value: i64, change: f64) -> Experience {
    let from = settings(4);
    Experience {
        run: run.to_owned(),
        context: context(4, 60.0),
        from,
        to: from.with(parameter, value).unwrap(),
        verdict: if change > 0.0 { Verdict::Kept } else { Verdict::Reverted },
        change: Some(change),
    }
}

fn records(trials: Vec<Experience>) -> Records {
    Records { trials, runs: Vec::new() }
}

fn decided(records: &Records, sample: Sample, caps: Caps, resting: &Resting) -> Learned {
    let mut window = Window::new(10);
    let current = sample.settings;
    window.push(sample);
    let view = View { window: &window, current: &current, caps: &caps, resting, now: Moment::default() };
    decide(records, &features(), &view)
}

fn learned(trials: Vec<Experience>) -> Learned {
    decided(&records(trials), sample(), Caps::WIDEST, &Resting::new())
}

fn why_not(learned: &Learned) -> &str {
    match learned {
        Learned::Deferred(why) => why,
        Learned::Decided(decision) => panic!("{decision:?}"),
    }
}

fn three_good_ones() -> Vec<Experience> {
    ["a", "b", "c"].into_iter().map(|run| trial(run, Parameter::Writers, 6, 0.2)).collect()
}

#[test]
fn what_helped_in_like_runs_is_done_again() {
    let Learned::Decided(decision) = learned(three_good_ones()) else { panic!("three trials are enough") };
    assert_eq!(decision.action, Action::ScaleUp);
    assert_eq!(decision.settings, settings(5));
    assert_eq!(decision.by, Brain::Model(NAME.to_owned()));
    assert_eq!(decision.confidence, Confidence::Medium);
    assert_eq!(
        decision.reasoning,
        "writers up: 3 like trials of 3 runs brought +20.0 % on average, counted as +11.6 %"
    );
}

#[test]
fn too_little_is_known_defers_to_the_rules() {
    assert_eq!(why_not(&learned(Vec::new())), "no like trial is known");
    let one = vec![trial("a", Parameter::Writers, 6, 0.2)];
    let learned_of_one = learned(one);
    let why = why_not(&learned_of_one);
    assert!(why.contains("; most has writers up: 1 like trials of 1 runs brought +20.0 %"), "{why}");
    let of_one_run: Vec<Experience> = (0..9).map(|_| trial("a", Parameter::Writers, 6, 0.02)).collect();
    assert!(
        matches!(learned(of_one_run), Learned::Deferred(_)),
        "two of a run count, and 2 % are too little"
    );
    let undecided = three_good_ones()
        .into_iter()
        .map(|trial| Experience { verdict: Verdict::Undecided, ..trial })
        .collect();
    assert_eq!(why_not(&learned(undecided)), "no like trial is known");
}

#[test]
fn what_was_put_back_is_never_learned_as_good() {
    let put_back = three_good_ones()
        .into_iter()
        .map(|trial| Experience { verdict: Verdict::Reverted, ..trial })
        .collect();
    let learned = learned(put_back);
    let why = why_not(&learned);
    assert!(why.contains("writers up: 3 like trials of 3 runs brought +0.0 % on average"), "{why}");
}

#[test]
fn trials_that_contradict_each_other_prove_nothing() {
    let mixed = vec![
        trial("a", Parameter::Writers, 6, 0.4),
        trial("b", Parameter::Writers, 6, -0.25),
        trial("c", Parameter::Writers, 6, 0.3),
        trial("d", Parameter::Writers, 6, -0.2),
    ];
    assert!(matches!(learned(mixed), Learned::Deferred(_)));
}

#[test]
fn other_machines_trials_do_not_count() {
    let elsewhere = three_good_ones()
        .into_iter()
        .map(|mut trial| {
            trial.context.features.cores = Some(64.0);
            trial.context.features.source = Some(Engine::MySql);
            trial
        })
        .collect();
    assert!(matches!(learned(elsewhere), Learned::Deferred(_)));
}

#[test]
fn the_step_with_the_most_to_gain_wins() {
    let mut trials = three_good_ones();
    trials.extend(["a", "b", "c"].into_iter().map(|run| trial(run, Parameter::ChunkRows, 100_000, 0.5)));
    let Learned::Decided(decision) = learned(trials) else { panic!("there is enough") };
    assert_eq!(decision.action, Action::EnlargeChunk);
    assert_eq!(decision.settings.chunk_rows.get(), 100_000);
}

#[test]
fn nothing_grows_without_room_and_short_memory_is_the_rules_matter() {
    let good = records(three_good_ones());
    let with_memory =
        |memory_percent| decided(&good, Sample { memory_percent, ..sample() }, Caps::WIDEST, &Resting::new());
    assert!(matches!(with_memory(Some(75.0)), Learned::Deferred(_)));
    assert!(matches!(with_memory(None), Learned::Deferred(_)));
    assert_eq!(why_not(&with_memory(Some(90.0))), "memory is short, which is the rules' matter");
}

#[test]
fn what_is_not_allowed_is_not_done() {
    let caps = Caps { writers: Writers::new(4).unwrap(), ..Caps::WIDEST };
    let learned = decided(&records(three_good_ones()), sample(), caps, &Resting::new());
    assert!(matches!(learned, Learned::Deferred(_)));
}

#[test]
fn records_are_read_back_also_from_an_older_form() {
    let records = records(three_good_ones());
    let text = serde_json::to_string(&records).unwrap();
    assert_eq!(serde_json::from_str::<Records>(&text).unwrap(), records);
    assert_eq!(serde_json::from_str::<Records>("{}").unwrap(), Records::default());
}

#[test]
fn evidence_makes_the_expectation_bolder() {
    let of = |count: usize| {
        let trials = (0..count).map(|run| trial(&run.to_string(), Parameter::Writers, 6, 0.2)).collect();
        expect(&records(trials), &context(4, 60.0), Parameter::Writers, true)
    };
    assert_eq!((of(0).expected, of(0).is_enough()), (0.0, false));
    assert!(of(2).expected < of(4).expected && of(4).expected < of(40).expected);
    assert!(of(40).expected < 0.2_f64.ln_1p() && of(40).error < of(4).error);
}

fn any_trial() -> impl Strategy<Value = Experience> {
    let parameter = prop::sample::select(Parameter::ALL.to_vec());
    (parameter, any::<bool>(), prop::option::of(-2.0..5.0_f64), 0_u8..4, 1_u32..=16).prop_filter_map(
        "a setting must change",
        |(parameter, grows, change, run, writers)| {
            let from = settings(writers);
            let value = next(from.get(parameter), parameter, grows);
            let to = from.with(parameter, i64::from(value)).ok()?;
            (to != from).then(|| Experience {
                run: run.to_string(),
                context: context(writers, 60.0),
                from,
                to,
                verdict: Verdict::Kept,
                change,
            })
        },
    )
}

proptest! {
    #[test]
    fn every_decision_is_inside_the_bounds(
        trials in prop::collection::vec(any_trial(), 0..30), writers in 1_u32..=16, most in 1_i64..=16,
    ) {
        let caps = Caps { writers: Writers::new(most).unwrap(), ..Caps::WIDEST };
        let current = settings(writers);
        let here = Sample { settings: current, ..sample() };
        if let Learned::Decided(decision) = decided(&records(trials), here, caps, &Resting::new()) {
            prop_assert_eq!(decision.action.check(&current, &decision.settings), Ok(()));
            prop_assert_eq!(caps.allow(&current, &decision.settings), Ok(()));
            prop_assert!(decision.is_change());
        }
    }

    #[test]
    fn the_order_of_records_does_not_matter(trials in prop::collection::vec(any_trial(), 0..12)) {
        let reversed: Vec<Experience> = trials.iter().rev().cloned().collect();
        prop_assert_eq!(learned(trials), learned(reversed));
    }

    #[test]
    fn what_never_helped_is_never_done(trials in prop::collection::vec(any_trial(), 0..30)) {
        let harmful = trials.into_iter().map(|trial| Experience { change: Some(-0.1), ..trial }).collect();
        prop_assert!(matches!(learned(harmful), Learned::Deferred(_)));
    }
}
