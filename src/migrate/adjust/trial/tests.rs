//! Trials on readings made by hand, judged by the judge itself.

use super::super::action::{Brain, Confidence};
use super::super::sample::fixtures::{phase, settings};
use super::*;
use crate::judge::compare;
use proptest::prelude::*;

fn at(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

fn decision(action: Action, parameter: Parameter, value: i64) -> Decision {
    let settings = settings().with(parameter, value).unwrap();
    let (confidence, reasoning, by) = (Confidence::High, "because".to_owned(), Brain::Rules);
    Decision { action, settings, confidence, reasoning, by }
}

fn up() -> Decision {
    decision(Action::ScaleUp, Parameter::Writers, 6)
}

/// 3 % of noise that repeats itself and has no trend.
fn noisy(level: f64, second: u64) -> f64 {
    level * (1.0 + [0.03, -0.01, 0.02, -0.03, 0.0, 0.01, -0.02][(second % 7) as usize])
}

fn reading(second: u64, table: u32, rows: f64, memory: f64) -> Reading {
    Reading {
        at: at(second),
        phase: phase(table),
        rows_per_second: Some(noisy(rows, second)),
        memory_percent: Some(noisy(memory, second + 3)),
    }
}

/// A minute of table 1.
fn history(rows: f64, memory: f64) -> History {
    let mut history = History::new();
    (0..60).for_each(|second| history.push(reading(second, 1, rows, memory)));
    history
}

fn trial(decision: Decision, goal: Goal, history: &History) -> Trial {
    Trial::open(decision, settings(), goal, history, at(60), Timing::default()).unwrap()
}

/// Takes the change up at second 60 and looks each second; the outcome and when it came.
fn run(mut trial: Trial, mut make: impl FnMut(u64) -> Reading) -> (Outcome, u64) {
    trial.applied(at(60));
    for second in 60..1_000 {
        trial.push(make(second));
        if let Some(outcome) = trial.look(at(second), compare) {
            return (outcome, second);
        }
    }
    panic!("every trial ends");
}

#[test]
fn what_is_faster_is_kept_at_the_first_look() {
    let (outcome, second) =
        run(trial(up(), Goal::Faster, &history(100.0, 50.0)), |s| reading(s, 1, 130.0, 50.0));
    assert_eq!(outcome.verdict, Verdict::Kept, "{}", outcome.reason);
    assert_eq!(outcome.next, up().settings);
    assert!(outcome.reason.starts_with("faster; rows per second +"), "{}", outcome.reason);
    assert_eq!(second, 94, "5 s of settling, then 30 readings");
}

#[test]
fn what_is_no_faster_is_put_back_after_the_last_look() {
    let (outcome, second) =
        run(trial(up(), Goal::Faster, &history(100.0, 50.0)), |s| reading(s, 1, 100.0, 50.0));
    assert_eq!(outcome.verdict, Verdict::Reverted, "{}", outcome.reason);
    assert_eq!(outcome.next, settings());
    assert!(outcome.reason.starts_with("no gain is shown; "), "{}", outcome.reason);
    assert_eq!(second, 154, "three looks");
}

#[test]
fn what_is_slower_by_a_fifth_is_put_back_at_once() {
    for goal in [Goal::Faster, Goal::NoSlower, Goal::FreeMemory] {
        let (outcome, second) = run(trial(up(), goal, &history(100.0, 90.0)), |s| reading(s, 1, 60.0, 60.0));
        assert_eq!(outcome.verdict, Verdict::Reverted, "{goal:?}: {}", outcome.reason);
        assert!(outcome.reason.starts_with("slower by more than 20 %"), "{}", outcome.reason);
        assert_eq!(second, 94);
    }
}

#[test]
fn fewer_writers_stay_when_they_are_no_slower() {
    let fewer = decision(Action::ScaleDown, Parameter::Writers, 3);
    let (outcome, _) =
        run(trial(fewer.clone(), Goal::NoSlower, &history(100.0, 50.0)), |s| reading(s, 1, 101.0, 50.0));
    assert_eq!(outcome.verdict, Verdict::Kept, "{}", outcome.reason);
    let (outcome, _) =
        run(trial(fewer, Goal::NoSlower, &history(100.0, 50.0)), |s| reading(s, 1, 88.0, 50.0));
    assert_eq!(outcome.verdict, Verdict::Reverted, "{}", outcome.reason);
    assert!(outcome.reason.starts_with("not shown to lose less than 5 %"), "{}", outcome.reason);
}

#[test]
fn smaller_chunks_stay_when_memory_is_lower_although_it_is_slower() {
    let smaller = decision(Action::ReduceChunk, Parameter::ChunkRows, 25_000);
    let (outcome, _) =
        run(trial(smaller, Goal::FreeMemory, &history(100.0, 90.0)), |s| reading(s, 1, 92.0, 70.0));
    assert_eq!(outcome.verdict, Verdict::Kept, "{}", outcome.reason);
    assert!(outcome.reason.starts_with("memory is lower; memory -"), "{}", outcome.reason);
    assert!(outcome.memory.is_some() && outcome.throughput.is_some());
}

#[test]
fn smaller_chunks_that_free_nothing_are_put_back() {
    let smaller = decision(Action::ReduceChunk, Parameter::ChunkRows, 25_000);
    let (outcome, _) =
        run(trial(smaller, Goal::FreeMemory, &history(100.0, 90.0)), |s| reading(s, 1, 100.0, 90.0));
    assert_eq!(outcome.verdict, Verdict::Reverted, "{}", outcome.reason);
    assert!(outcome.reason.starts_with("memory did not become less"), "{}", outcome.reason);
}

#[test]
fn in_danger_memory_comes_before_speed() {
    let smaller = decision(Action::ReduceChunk, Parameter::ChunkRows, 25_000);
    let (outcome, _) =
        run(trial(smaller, Goal::FreeMemory, &history(100.0, 99.0)), |s| reading(s, 1, 50.0, 60.0));
    assert_eq!(outcome.verdict, Verdict::Kept, "{}", outcome.reason);
}

#[test]
fn another_tables_speed_proves_nothing() {
    let (outcome, second) =
        run(trial(up(), Goal::Faster, &history(100.0, 50.0)), |s| reading(s, 2, 400.0, 50.0));
    assert_eq!(outcome.verdict, Verdict::Undecided);
    assert_eq!(outcome.next, settings());
    assert_eq!(outcome.reason, "too few readings of one phase on both sides");
    assert_eq!(second, 360, "its patience is over");
}

#[test]
fn readings_of_other_phases_between_are_left_out() {
    let (outcome, second) = run(trial(up(), Goal::Faster, &history(100.0, 50.0)), |s| {
        if s % 2 == 0 { reading(s, 1, 130.0, 50.0) } else { reading(s, 2, 10.0, 50.0) }
    });
    assert_eq!(outcome.verdict, Verdict::Kept, "{}", outcome.reason);
    assert_eq!(second, 124, "30 readings of table 1 take a minute");
}

#[test]
fn what_is_not_taken_up_ends_undecided() {
    let mut trial = trial(up(), Goal::Faster, &history(100.0, 50.0));
    trial.push(reading(70, 1, 500.0, 50.0));
    assert_eq!(trial.look(at(359), compare), None);
    let outcome = trial.look(at(360), compare).unwrap();
    assert_eq!((outcome.verdict, outcome.next), (Verdict::Undecided, settings()));
    assert_eq!(outcome.reason, "the change was not taken up in time");
    assert_eq!(trial.tried(&outcome).throughput_percent, None);
}

#[test]
fn no_trial_is_made_of_what_could_not_be_judged() {
    let mut short = History::new();
    (0..19).for_each(|second| short.push(reading(second, 1, 100.0, 50.0)));
    let open =
        |decision: Decision, goal| Trial::open(decision, settings(), goal, &short, at(60), Timing::default());
    let error = open(up(), Goal::Faster).unwrap_err();
    assert_eq!(
        error.to_string(),
        "only 19 readings of one phase without the change, 20 are needed to judge it"
    );
    assert!(open(up(), Goal::FreeMemory).is_ok(), "memory cannot wait");
    let stay = Decision::stay(settings(), Confidence::High, "x", Brain::Rules);
    assert_eq!(open(stay, Goal::NoSlower).unwrap_err(), NoTrial::NothingChanges);
}

#[test]
fn a_history_begins_anew_after_a_change_has_settled() {
    let mut history = history(100.0, 50.0);
    history.restart(at(60), Duration::from_secs(5));
    (60..70).for_each(|second| history.push(reading(second, 1, 100.0, 50.0)));
    assert_eq!(history.readings.len(), 5);
    (70..400).for_each(|second| history.push(reading(second, 1, 100.0, 50.0)));
    assert_eq!(history.readings.len(), MOST_READINGS);
}

#[test]
fn what_was_tried_in_vain_rests() {
    let mut resting = Resting::new();
    let trial = trial(up(), Goal::Faster, &history(100.0, 50.0));
    let outcome = trial.interrupted("the run ends");
    assert_eq!(
        outcome.line(&trial),
        "AI adjustment undecided, put back: scale_up - the run ends \
         (chunk_size=50000, readers=2, writers=4, buffers=8)"
    );
    resting.note(&trial, &outcome, at(100));
    resting.note(&trial, &outcome, at(100));
    assert_eq!(resting.until.len(), 1);
    assert!(resting.holds(Parameter::Writers, true, at(699)));
    assert!(!resting.holds(Parameter::Writers, true, at(700)));
    assert!(!resting.holds(Parameter::Writers, false, at(101)));
    let mut none = Resting::new();
    none.note(&trial, &Outcome { verdict: Verdict::Kept, ..outcome }, at(100));
    assert_eq!(none, Resting::new());
}

#[test]
fn goals_follow_from_what_is_done_and_why() {
    assert_eq!(Goal::of(Action::ReduceChunk, Some(87.0)), Goal::FreeMemory);
    assert_eq!(Goal::of(Action::ScaleDown, Some(87.0)), Goal::FreeMemory);
    assert_eq!(Goal::of(Action::ReduceChunk, Some(60.0)), Goal::Faster);
    assert_eq!(Goal::of(Action::ScaleDown, None), Goal::NoSlower);
    assert_eq!(Goal::of(Action::ScaleUp, Some(99.0)), Goal::Faster);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_trial_ends_whatever_is_read(
        goal in prop::sample::select(vec![Goal::Faster, Goal::NoSlower, Goal::FreeMemory]),
        values in prop::collection::vec(
            (prop::option::of(any::<f64>()), prop::option::of(any::<f64>()), 1_u32..3),
            1..50,
        ),
    ) {
        let mut made = 0_usize;
        let make = |second: u64| {
            let (rows, memory, table) = values[made % values.len()];
            made += 1;
            Reading { at: at(second), phase: phase(table), rows_per_second: rows, memory_percent: memory }
        };
        let (outcome, second) = run(trial(up(), goal, &history(100.0, 90.0)), make);
        prop_assert!(second <= 360);
        prop_assert!(!outcome.reason.is_empty());
        let stays = outcome.next == up().settings;
        prop_assert_eq!(stays, outcome.verdict == Verdict::Kept);
    }
}
