//! The adjuster without a clock and a network: what it decides, and what becomes of it.

use super::super::brain::AskError;
use super::super::brain::fake_service::decision_of;
use super::super::brain::learner::{Experience, Records};
use super::*;
use crate::config::{AiConfig, AiProvider};
use crate::judge::compare;
use crate::migrate::adjust::{Phase, Sample, Stage};
use crate::model::Verdict;
use chrono::DateTime;
use proptest::prelude::*;
use serde_json::json;

pub(super) fn at(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

pub(super) fn settings() -> Settings {
    Settings::new(4, 50_000, 2, 8).unwrap()
}

fn phase() -> Phase {
    Phase { stage: Stage::Copying, tables: vec![1], building: false }
}

/// A quiet sample.
pub(super) fn sample(rows_per_second: f64) -> Sample {
    Sample {
        rows_per_second: Some(rows_per_second),
        memory_mb: Some(512.0),
        memory_percent: Some(48.0),
        machine_cpu_percent: Some(62.0),
        ..Sample::unknown(DateTime::UNIX_EPOCH, Duration::from_secs(30), settings(), phase())
    }
}

/// With 3 % of noise that repeats itself and has no trend.
pub(super) fn reading(second: u64, rows: f64) -> Reading {
    let noise = [0.03, -0.01, 0.02, -0.03, 0.0, 0.01, -0.02][(second % 7) as usize];
    Reading {
        at: at(second),
        phase: phase(),
        rows_per_second: Some(rows * (1.0 + noise)),
        memory_percent: Some(48.0),
    }
}

pub(super) fn options() -> Options {
    Options {
        run: "this".to_owned(),
        adjusts: true,
        interval: Duration::from_secs(30),
        caps: Caps::WIDEST,
        timing: Timing::default(),
        compare,
        features: Features::default(),
        table_names: None,
    }
}

fn rules() -> Decider {
    Decider::Rules { unconfigured: false }
}

/// A model that nobody asks: answers are handed in.
fn model() -> Decider {
    let config = AiConfig {
        provider: AiProvider::Claude,
        api_key: None,
        model: Some("claude-haiku-4-5-20251001".to_owned()),
        endpoint: Some("http://127.0.0.1:1".to_owned()),
        timeout: Duration::from_secs(1),
    };
    Decider::Service(Service::new(&config).unwrap())
}

pub(super) fn texts(events: &[Event]) -> Vec<&str> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Said(line) => Some(line.text.as_str()),
            Event::Began(_) | Event::Ended(_) => None,
        })
        .collect()
}

fn says(events: &[Event], wanted: &str) -> bool {
    texts(events).contains(&wanted)
}

/// A minute of readings and three samples at the same speed.
fn with_baseline(options: Options, decider: Decider) -> (Adjuster, watch::Receiver<Change>) {
    let (mut adjuster, queue) = Adjuster::new(options, decider, settings());
    (0..60).for_each(|second| assert!(adjuster.reading(reading(second, 100.0)).is_empty()));
    for second in [20, 40, 60] {
        adjuster.turn(sample(100_000.0), at(second));
    }
    (adjuster, queue)
}

/// A sample that makes the rules add a writer.
fn declining() -> Sample {
    Sample { machine_cpu_percent: Some(45.0), memory_percent: Some(60.0), ..sample(85_000.0) }
}

/// With one writer more on trial, which the transfer has not taken up yet.
fn on_trial() -> (Adjuster, watch::Receiver<Change>) {
    let (mut adjuster, queue) = with_baseline(options(), rules());
    let events = adjuster.turn(declining(), at(61));
    assert!(
        says(
            &events,
            "AI adjustment applied: scale_up - Throughput declining and resources available - increasing workers \
             (fallback rules) (confidence: medium)"
        ),
        "{events:?}"
    );
    (adjuster, queue)
}

/// Reads at this speed until something happens.
fn read_on(adjuster: &mut Adjuster, from: u64, rows: f64) -> Vec<Event> {
    (from..from + 1_000)
        .map(|second| adjuster.reading(reading(second, rows)))
        .find(|events| !events.is_empty())
        .expect("every trial ends")
}

fn ended(events: &[Event]) -> &Adjustment {
    let Some(Event::Ended(adjustment)) = events.iter().find(|event| matches!(event, Event::Ended(_))) else {
        panic!("nothing ended in {events:?}")
    };
    adjustment
}

#[test]
fn the_first_lines_are_the_testing_guides() {
    let (adjuster, _queue) = Adjuster::new(options(), Decider::Rules { unconfigured: true }, settings());
    assert_eq!(
        texts(&adjuster.begin()),
        [
            "AI-driven parameter adjustment enabled (interval: 30s)",
            "AI monitoring started (evaluation interval: 30s)",
            "AI adjustment requested but AI not configured",
        ]
    );
}

#[test]
fn a_stable_run_is_left_alone() {
    let (mut adjuster, queue) = with_baseline(options(), rules());
    let events = adjuster.turn(sample(100_000.0), at(90));
    assert_eq!(
        texts(&events),
        [
            "Metrics snapshot: 100000 rows/sec, memory=512MB (48%), CPU=62%, throughput_trend=0%",
            "Metrics of the interval: rows_per_second=100000, memory_mb=512, memory_percent=48, machine_cpu_percent=62",
            "AI adjustment applied: continue - Performance stable (fallback rules) (confidence: low)",
        ]
    );
    assert!(!queue.has_changed().unwrap());
}

#[test]
fn what_helps_stays() {
    let (mut adjuster, mut queue) = on_trial();
    let change = *queue.borrow_and_update();
    assert_eq!((change.number, change.settings.writers.get()), (1, 5));
    assert_eq!(adjuster.in_force, settings(), "until the transfer says so");
    assert!(says(
        &adjuster.turn(declining(), at(62)),
        "No adjustment in this interval: a change is on trial"
    ));
    assert_eq!(texts(&adjuster.applied(1, at(63))), ["Scaled writers from 4 to 5"]);
    assert!(adjuster.applied(1, at(64)).is_empty(), "once is enough");
    assert_eq!(adjuster.in_force.writers.get(), 5);
    let events = read_on(&mut adjuster, 64, 130.0);
    let adjustment = ended(&events);
    assert_eq!(adjustment.verdict, Some(Verdict::Kept), "{adjustment}");
    assert!(adjustment.throughput_percent.is_some_and(|percent| percent > 20.0), "{adjustment}");
    assert_eq!(adjustment.applied_at, Some(at(63)));
    assert!(texts(&events)[0].starts_with("AI adjustment kept: scale_up - faster; "), "{events:?}");
    assert!(!queue.has_changed().unwrap());
    let (summary, last) = adjuster.finish(at(200));
    assert!(last.is_empty());
    assert_eq!((summary.adjustments.len(), summary.ended_with.writers.get()), (1, 5));
    assert!(summary.trial_seconds > 30.0);
    assert!(summary.to_string().contains("1. at 61 s, scale_up: writers 4 -> 5: kept"), "{summary}");
}

#[test]
fn what_harms_is_put_back_and_rests() {
    let (mut adjuster, mut queue) = on_trial();
    queue.mark_unchanged();
    adjuster.applied(1, at(63));
    let events = read_on(&mut adjuster, 64, 60.0);
    assert_eq!(ended(&events).verdict, Some(Verdict::Reverted));
    let back = *queue.borrow_and_update();
    assert_eq!((back.number, back.settings), (2, settings()));
    let events = adjuster.turn(declining(), at(120));
    assert!(
        says(&events, "No adjustment in this interval: the last change is not in effect yet"),
        "{events:?}"
    );
    assert!(adjuster.applied(1, at(121)).is_empty(), "that was the change before");
    assert_eq!(texts(&adjuster.applied(2, at(122))), ["Scaled writers from 5 to 4"]);
    (122..200).for_each(|second| drop(adjuster.reading(reading(second, 100.0))));
    let events = adjuster.turn(declining(), at(200));
    assert!(
        says(
            &events,
            "AI adjustment applied: continue - Throughput declining, but no resources are known to be free \
             (fallback rules) (confidence: low)"
        ),
        "{events:?}"
    );
}

#[test]
fn what_the_transfer_never_takes_up_is_put_back() {
    let (mut adjuster, mut queue) = on_trial();
    let events = read_on(&mut adjuster, 62, 100.0);
    assert_eq!(ended(&events).verdict, Some(Verdict::Undecided));
    assert_eq!(ended(&events).outcome, "the change was not taken up in time");
    assert_eq!(queue.borrow_and_update().settings, settings());
}

#[test]
fn a_change_that_could_not_be_judged_waits() {
    let (mut adjuster, queue) = Adjuster::new(options(), rules(), settings());
    for second in [30, 60, 90] {
        adjuster.turn(sample(100_000.0), at(second));
    }
    let events = adjuster.turn(declining(), at(120));
    assert!(
        says(
            &events,
            "AI adjustment waits: scale_up - only 0 readings of one phase without the change, 20 are needed to \
             judge it"
        ),
        "{events:?}"
    );
    assert!(!queue.has_changed().unwrap());
}

#[test]
fn only_copying_is_adjusted() {
    let (mut adjuster, _queue) = with_baseline(options(), rules());
    let indexing = Phase { stage: Stage::Indexing, ..phase() };
    let events = adjuster.turn(Sample { phase: indexing, ..declining() }, at(90));
    assert!(says(&events, "No adjustment in this interval: no rows are being copied"), "{events:?}");
}

#[test]
fn the_targets_levels_come_before_a_trial() {
    let (mut adjuster, mut queue) = on_trial();
    let broken = ["p95_write_latency".to_owned()];
    let events = adjuster.serving(&broken, at(70));
    assert_eq!(ended(&events).verdict, Some(Verdict::Undecided));
    assert!(
        says(
            &events,
            "The target's levels are broken (p95_write_latency): writers 4 -> 2, and nothing grows until they are met \
             again"
        ),
        "{events:?}"
    );
    let change = *queue.borrow_and_update();
    assert_eq!((change.number, change.settings.writers.get()), (3, 2));
    let events = adjuster.turn(declining(), at(90));
    assert!(says(&events, "No adjustment in this interval: the target's levels come first"), "{events:?}");
    assert_eq!(texts(&adjuster.applied(3, at(91))), ["Scaled writers from 4 to 2"]);
    assert!(adjuster.serving(&[], at(100)).is_empty());
    assert!(adjuster.serving(&[], at(130)).is_empty());
    assert!(says(&adjuster.serving(&[], at(160)), "Writers given back: 2 -> 3"));
    adjuster.applied(4, at(161));
    assert!(says(&adjuster.serving(&[], at(190)), "Writers given back: 3 -> 4"));
    adjuster.applied(5, at(191));
    assert!(adjuster.serving(&[], at(220)).is_empty(), "the last one must show too");
    assert!(says(&adjuster.serving(&[], at(250)), "The target's levels are met again: adjustments go on"));
    let (summary, _) = adjuster.finish(at(260));
    let kinds: Vec<Kind> = summary.adjustments.iter().map(|adjustment| adjustment.kind).collect();
    assert_eq!(kinds, [Kind::Trial, Kind::Yielded, Kind::GivenBack, Kind::GivenBack]);
    let numbers: Vec<u32> = summary.adjustments.iter().map(|adjustment| adjustment.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
}

#[test]
fn without_adjustment_the_targets_levels_count_all_the_same() {
    let (mut adjuster, mut queue) =
        Adjuster::new(Options { adjusts: false, ..options() }, rules(), settings());
    assert!(adjuster.begin().is_empty());
    assert_eq!(texts(&adjuster.turn(declining(), at(30))).len(), 2, "the metrics alone");
    adjuster.serving(&["replication_lag".to_owned()], at(31));
    assert_eq!(queue.borrow_and_update().settings.writers.get(), 2);
}

fn scale_up() -> Value {
    decision_of(
        AiProvider::Claude,
        &json!({
            "action": "scale_up", "writers": 6, "chunk_rows": 50_000, "readers": 2, "buffers": 8,
            "confidence": "medium", "reasoning": "there is room",
        }),
    )
}

fn stay() -> Value {
    decision_of(
        AiProvider::Claude,
        &json!({
            "action": "continue", "writers": 4, "chunk_rows": 50_000, "readers": 2, "buffers": 8,
            "confidence": "high", "reasoning": "all is well",
        }),
    )
}

#[test]
fn a_model_is_asked_from_the_third_sample_on_and_its_decision_stands() {
    let (mut adjuster, _queue) = with_baseline(options(), model());
    let question = adjuster.take_question().unwrap();
    assert_eq!(question["model"], "claude-haiku-4-5-20251001");
    assert_eq!(adjuster.take_question(), None);
    let events = adjuster.turn(sample(100_000.0), at(62));
    assert!(says(&events, "No adjustment in this interval: the model is being asked"), "{events:?}");
    let events = adjuster.answered(Ok(stay()), at(63));
    assert_eq!(
        texts(&events),
        [
            "AI adjustment applied: continue - all is well (confidence: high)",
            "AI call: 900 tokens in, 120 out, $0.0015; so far 1 calls, 900 tokens in, 120 out, $0.0015",
        ]
    );
    let events = adjuster.turn(sample(100_000.0), at(93));
    assert!(says(&events, "Using cached AI decision (age 30.0s)"), "{events:?}");
    let (summary, _) = adjuster.finish(at(100));
    assert_eq!((summary.calls, summary.cached, summary.failures), (1, 1, 0));
    assert_eq!((summary.tokens_in, summary.tokens_out), (900, 120));
    assert!(summary.dollars.is_some_and(|dollars| (dollars - 0.0015).abs() < 1e-9));
}

#[test]
fn a_models_step_is_a_trial_like_any_other() {
    let (mut adjuster, mut queue) = with_baseline(options(), model());
    adjuster.take_question().unwrap();
    let events = adjuster.answered(Ok(scale_up()), at(62));
    assert_eq!(texts(&events)[..1], ["AI adjustment applied: scale_up - there is room (confidence: medium)"]);
    assert_eq!(queue.borrow_and_update().settings.writers.get(), 6);
    assert_eq!(adjuster.open.as_ref().map(|open| open.adjustment.number), Some(1));
    adjuster.applied(1, at(63));
    assert_eq!(ended(&read_on(&mut adjuster, 63, 60.0)).verdict, Some(Verdict::Reverted));
    adjuster.applied(2, at(110));
    (115..160).for_each(|second| drop(adjuster.reading(reading(second, 100.0))));
    adjuster.turn(sample(100_000.0), at(160));
    let again = adjuster.take_question().expect("its decision was forgotten with its trial");
    assert!(again["messages"][0]["content"].as_str().unwrap().contains("writers 4 to 6: reverted"));
    let events = adjuster.answered(Ok(scale_up()), at(161));
    assert_eq!(texts(&events)[..1], ["AI adjustment not applied: scale_up - it was tried in vain lately"]);
}

#[test]
fn short_memory_waits_for_no_model() {
    let (mut adjuster, mut queue) = with_baseline(options(), model());
    adjuster.take_question().unwrap();
    let full = Sample { memory_percent: Some(96.0), ..sample(100_000.0) };
    adjuster.turn(full, at(62));
    assert_eq!(queue.borrow_and_update().settings.chunk_rows.get(), 25_000);
    let events = adjuster.answered(Ok(scale_up()), at(63));
    assert_eq!(texts(&events)[..1], ["The answer came too late: the run has changed meanwhile"]);
}

#[test]
fn an_answer_to_an_old_question_is_not_carried_out() {
    let (mut adjuster, mut queue) = with_baseline(options(), model());
    adjuster.take_question().unwrap();
    adjuster.serving(&["p95_write_latency".to_owned()], at(61));
    let change = *queue.borrow_and_update();
    adjuster.applied(change.number, at(62));
    let events = adjuster.answered(Ok(scale_up()), at(63));
    assert_eq!(texts(&events)[..1], ["The answer came too late: the run has changed meanwhile"]);
    assert!(!queue.has_changed().unwrap());
}

#[test]
fn three_failures_open_the_breaker_and_the_rules_go_on() {
    let (mut adjuster, _queue) = with_baseline(options(), model());
    let stable = "AI adjustment applied: continue - Performance stable (fallback rules) (confidence: low)";
    let timeout = || Err(AskError::Timeout { after: Duration::from_secs(1) });
    adjuster.take_question().unwrap();
    let failed = "AI adjustment failed: context deadline exceeded, using fallback rules";
    assert_eq!(texts(&adjuster.answered(timeout(), at(61)))[0], failed);
    for second in [91, 121] {
        adjuster.turn(sample(100_000.0), at(second));
        adjuster.take_question().unwrap();
        let events = adjuster.answered(timeout(), at(second));
        let texts = texts(&events);
        assert_eq!((texts[0], texts.last()), (failed, Some(&stable)));
        let opens = texts[1] == "AI adjustment circuit breaker OPEN after 3 failures - will retry in 5m0s";
        assert_eq!(opens, second == 121, "{texts:?}");
    }
    let events = adjuster.turn(sample(100_000.0), at(200));
    assert!(says(&events, stable), "{events:?}");
    assert_eq!(adjuster.take_question(), None, "it rests");
    adjuster.turn(sample(100_000.0), at(421));
    adjuster.take_question().unwrap();
    let events = adjuster.answered(Ok(stay()), at(422));
    assert_eq!(texts(&events)[0], "AI adjustment circuit breaker CLOSED - resuming");
    let (summary, _) = adjuster.finish(at(430));
    assert_eq!((summary.calls, summary.failures, summary.breaker_openings), (4, 3, 1));
}

#[test]
fn a_busy_service_is_left_alone_as_long_as_it_wants() {
    let (mut adjuster, _queue) = with_baseline(options(), model());
    adjuster.take_question().unwrap();
    let wait = Some(Duration::from_secs(120));
    adjuster.answered(Err(AskError::Busy { retry_after: wait }), at(61));
    adjuster.turn(sample(100_000.0), at(120));
    assert_eq!(adjuster.take_question(), None);
    adjuster.turn(sample(100_000.0), at(181));
    assert!(adjuster.take_question().is_some());
}

#[test]
fn a_person_is_told_once_what_to_set_right() {
    let (mut adjuster, _queue) = with_baseline(options(), model());
    let hint = "The model claude-haiku-4-5-20251001 cannot be asked: check `ai.api_key`: the service does not accept \
                it, or not for this model";
    for (second, told) in [(61, true), (100, false)] {
        adjuster.turn(sample(100_000.0), at(second));
        adjuster.take_question().unwrap();
        let refusal = AskError::Misconfigured { status: 401, said: "invalid x-api-key".to_owned() };
        let events = adjuster.answered(Err(refusal), at(second));
        assert_eq!(says(&events, hint), told, "{events:?}");
    }
}

#[test]
fn short_memory_is_relieved_while_a_decision_stands() {
    let (mut adjuster, mut queue) = with_baseline(options(), model());
    adjuster.take_question().unwrap();
    adjuster.answered(Ok(stay()), at(61));
    let short = Sample { memory_percent: Some(90.0), ..sample(100_000.0) };
    let events = adjuster.turn(short, at(80));
    assert!(says(&events, "Using cached AI decision (age 19.0s)") && says(&events, "Memory saturated: true"));
    assert_eq!(queue.borrow_and_update().settings.chunk_rows.get(), 25_000);
}

#[test]
fn the_learner_decides_where_it_knows_enough() {
    let trial = |run: &str| Experience {
        run: run.to_owned(),
        context: Context::of(&Features::default(), &sample(100_000.0)),
        from: settings(),
        to: settings().with(Parameter::Readers, 3).unwrap(),
        verdict: Verdict::Kept,
        change: Some(0.5),
    };
    // Little is known of any of them, so each counts for a part.
    let trials: Vec<Experience> = (0..20).map(|run| trial(&run.to_string())).collect();
    let decider = Decider::Learner(Records { trials, runs: Vec::new() });
    let (mut adjuster, mut queue) = with_baseline(options(), decider);
    assert_eq!(
        queue.borrow_and_update().settings.readers.get(),
        3,
        "at the first sample with readings enough"
    );
    adjuster.applied(1, at(61));
    assert_eq!(ended(&read_on(&mut adjuster, 61, 130.0)).verdict, Some(Verdict::Kept));
    let Decider::Learner(records) = &adjuster.decider else { panic!("it stays what it is") };
    assert_eq!(records.trials.len(), 21, "it learns from this run too");
    let none = Decider::Learner(Records::default());
    let (mut adjuster, _queue) = with_baseline(options(), none);
    let events = adjuster.turn(sample(100_000.0), at(90));
    assert!(says(&events, "The local history decides nothing: no like trial is known"), "{events:?}");
    assert!(texts(&events).last().unwrap().contains("(fallback rules)"), "{events:?}");
}

#[test]
fn a_run_that_ends_on_trial_says_so() {
    let (adjuster, _queue) = on_trial();
    let (summary, events) = adjuster.finish(at(70));
    assert!(
        texts(&events)[0].starts_with("AI adjustment undecided, put back: scale_up - the run ends"),
        "{events:?}"
    );
    assert_eq!((summary.ended_with, summary.adjustments[0].verdict), (settings(), Some(Verdict::Undecided)));
    assert!(summary.adjustments[0].experience("a").is_some());
    assert_eq!(summary.past_run("a", Some(1e6), 60.0).settings, settings());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_happens_one_setting_changes_at_a_time_and_inside_the_bounds(
        steps in prop::collection::vec((0_u8..8, 1_u64..40, 0.0..200_000.0_f64, 0.0..110.0_f64), 0..150),
    ) {
        let (mut adjuster, mut queue) = with_baseline(options(), rules());
        let (mut now, mut is_broken) = (100, false);
        for (step, seconds, rows, percent) in steps {
            now += seconds;
            let in_force = adjuster.in_force;
            let events = match step {
                0 | 1 => adjuster.turn(
                    Sample {
                        settings: in_force,
                        memory_percent: Some(percent),
                        machine_cpu_percent: Some(110.0 - percent),
                        ..sample(rows)
                    },
                    at(now),
                ),
                2 => {
                    is_broken = true;
                    adjuster.serving(&["level".to_owned()], at(now))
                }
                3 | 4 => {
                    is_broken = false;
                    adjuster.serving(&[], at(now))
                }
                5 => (now..now + 40).flat_map(|second| adjuster.reading(reading(second, rows))).collect(),
                _ => {
                    let change = *queue.borrow_and_update();
                    adjuster.applied(change.number, at(now))
                }
            };
            for event in &events {
                if let Event::Began(adjustment) = event {
                    prop_assert_eq!(adjustment.from.changed(&adjustment.to).len(), 1, "{}", adjustment);
                    let (_, before, after) = adjustment.setting().unwrap();
                    prop_assert!(!is_broken || (after < before && adjustment.kind == Kind::Yielded));
                }
            }
            let wanted = queue.borrow().settings;
            for parameter in Parameter::ALL {
                let (least, most) = parameter.bounds();
                prop_assert!((least..=most).contains(&wanted.get(parameter)));
            }
        }
        let (summary, _) = adjuster.finish(at(now));
        for (index, adjustment) in summary.adjustments.iter().enumerate() {
            prop_assert_eq!(adjustment.number as usize, index + 1);
            prop_assert!(adjustment.ended_at.is_some());
            prop_assert_eq!(adjustment.verdict.is_some(), adjustment.kind == Kind::Trial);
        }
    }
}
