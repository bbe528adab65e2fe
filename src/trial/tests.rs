//! Each way through a trial.

use super::*;
use crate::model::{Comparison, CostTier, Direction, OldValue, Place, Unit};
use proptest::prelude::*;

const TIMING: Timing =
    Timing { settle: Duration::from_secs(10), cycle: Duration::from_mins(1), max_extensions: 2 };

fn plan(activation: Activation) -> Plan {
    Plan {
        target: "test".into(),
        symptom: "high_wal_rate".into(),
        signal: "wal_rate".into(),
        unit: Unit::BytesPerSec,
        goal_from: 3e7,
        limit: 1e7,
        lever: "max_wal_size".into(),
        tier: CostTier::Low,
        parameter: "max_wal_size".into(),
        place: Place::PostgresqlConf("/data/postgresql.conf".into()),
        from: Some("32MB".into()),
        to: "1GB".into(),
        activation,
        spans_checkpoints: false,
        verify_query: None,
        reason: String::new(),
        passed_over: vec![],
        gives_back: None,
        needs_approval: false,
        borrowed_for: None,
    }
}

fn intent() -> Intent {
    Intent {
        system_identifier: 7,
        file: "/data/postgresql.conf".into(),
        parameter: "max_wal_size".into(),
        old: OldValue::Absent,
        new: "max_wal_size = 1GB\n".into(),
        sha256_before: "a".into(),
        sha256_after: "b".into(),
        backup: None,
        in_place: false,
    }
}

fn judgement(ruling: Ruling, look: u8, change: f64, spread: f64) -> Judgement {
    let goal = Comparison {
        signal: "wal_rate".into(),
        unit: Unit::BytesPerSec,
        direction: Direction::LowerIsBetter,
        before: 3e7,
        after: 3e7 * (1.0 + change),
        n_before: 60,
        n_after: 60,
        effective_n: 100.0,
        change,
        low: change - spread,
        high: change + spread,
        per_load: true,
    };
    Judgement { ruling, reason: format!("{ruling:?}"), goal: Some(goal), guards: vec![], look, alpha: 0.01 }
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
}

const TICK: Event = Event::Tick { checkpoints: None };

/// Plays events at their seconds; gives back the trial and the effects that it asked for.
fn play(trial: Trial, events: Vec<(i64, Event)>) -> (Trial, Vec<Effect>) {
    events.into_iter().fold((trial, vec![]), |(trial, mut effects), (second, event)| {
        let (trial, effect) = step(trial, event, at(second), &TIMING);
        effects.extend(effect);
        (trial, effects)
    })
}

fn applied(activation: Activation) -> Trial {
    let events = vec![
        (0, Event::Begin),
        (0, Event::PreflightPassed),
        (1, Event::Prepared(intent())),
        (1, Event::Written(Arm::B)),
        (1, Event::Activated),
        (2, Event::Verified),
    ];
    let (trial, effects) = play(open(plan(activation), at(-60), at(0)), events);
    let expected =
        [Effect::Preflight, Effect::Prepare, Effect::Write(Arm::B), Effect::Activate, Effect::Verify(Arm::B)];
    assert_eq!(effects, expected);
    assert_eq!(trial.phase, Phase::Settling);
    trial
}

fn undone() -> Vec<(i64, Event)> {
    vec![(900, Event::Written(Arm::A)), (900, Event::Activated), (901, Event::Verified)]
}

#[test]
fn a_proven_gain_is_kept() {
    let (trial, effects) = play(
        applied(Activation::Reload),
        vec![
            (11, TICK),
            (12, TICK),
            (71, TICK),
            (72, TICK),
            (72, Event::Judged(judgement(Ruling::Keep, 0, -0.7, 0.1))),
        ],
    );
    assert_eq!(effects, [Effect::Judge, Effect::Close]);
    assert_eq!((trial.phase, trial.verdict), (Phase::Kept, Some(Verdict::Kept)));
    assert_eq!(trial.arms, [(Arm::A, at(-60), at(1)), (Arm::B, at(12), at(72))]);
}

#[test]
fn harm_is_put_back_and_verified() {
    let mut events =
        vec![(12, TICK), (72, TICK), (72, Event::Judged(judgement(Ruling::Revert, 0, 0.4, 0.1)))];
    events.extend(undone());
    let (trial, effects) = play(applied(Activation::Reload), events);
    assert_eq!(
        effects,
        [Effect::Judge, Effect::Write(Arm::A), Effect::Activate, Effect::Verify(Arm::A), Effect::Close]
    );
    assert_eq!((trial.phase, trial.verdict), (Phase::Reverted, Some(Verdict::Reverted)));
}

#[test]
fn doubt_extends_twice_then_switches_back_and_again() {
    let doubt = |look| Event::Judged(judgement(Ruling::Extend, look, -0.1, 0.12));
    let (trial, effects) = play(
        applied(Activation::Reload),
        vec![
            (12, TICK),
            (72, TICK),
            (72, doubt(0)),
            (132, TICK),
            (132, doubt(1)),
            (192, TICK),
            (192, doubt(2)),
            (193, Event::Written(Arm::A)),
            (193, Event::Activated),
            (194, Event::Verified),
            (200, TICK),
            (264, TICK),
            (264, Event::Written(Arm::B)),
            (265, Event::Activated),
            (266, Event::Verified),
            (336, TICK),
            (336, Event::Judged(judgement(Ruling::Keep, 3, -0.1, 0.05))),
        ],
    );
    assert_eq!(trial.phase, Phase::Kept);
    assert_eq!(effects.iter().filter(|effect| **effect == Effect::Judge).count(), 4);
    assert_eq!(usize::from(looks(&trial.plan, &TIMING)), 4);
    assert_eq!(
        trial.arms,
        [
            (Arm::A, at(-60), at(1)),
            (Arm::B, at(12), at(192)),
            (Arm::A, at(204), at(264)),
            (Arm::B, at(276), at(336))
        ]
    );
}

#[test]
fn a_lever_that_restarts_is_not_switched_back_and_forth() {
    let doubt = |look| Event::Judged(judgement(Ruling::Extend, look, -0.1, 0.12));
    let mut events = vec![(22, TICK), (82, TICK), (82, doubt(0)), (142, TICK), (142, doubt(1))];
    events.extend([(202, TICK), (202, doubt(2))]);
    events.extend(undone());
    let (trial, _) = play(applied(Activation::Restart), events);
    assert_eq!((trial.phase, trial.verdict), (Phase::Reverted, Some(Verdict::Undecided)));
}

#[test]
fn no_gain_in_sight_after_an_extension_ends_it() {
    let nothing = |look| Event::Judged(judgement(Ruling::Extend, look, 0.02, 0.1));
    let mut events = vec![(12, TICK), (72, TICK), (72, nothing(0)), (132, TICK), (132, nothing(1))];
    events.extend(undone());
    let (trial, _) = play(applied(Activation::Reload), events);
    assert_eq!((trial.phase, trial.verdict), (Phase::Reverted, Some(Verdict::Undecided)));
}

#[test]
fn checkpoints_are_waited_for_but_not_for_ever() {
    let mut trial = applied(Activation::Reload);
    trial.plan.spans_checkpoints = true;
    let few = Event::Tick { checkpoints: Some(1) };
    let (trial, effects) = play(trial, vec![(12, TICK), (72, few.clone()), (150, few.clone())]);
    assert_eq!((trial.phase.clone(), effects.len()), (Phase::Measuring { look: 0 }, 0));
    let (_, enough) = play(trial.clone(), vec![(151, Event::Tick { checkpoints: Some(3) })]);
    assert_eq!(enough, [Effect::Judge]);
    let (_, patience_over) = play(trial, vec![(192, few)]);
    assert_eq!(patience_over, [Effect::Judge]);
}

fn loan() -> Trial {
    let plan = Plan { borrowed_for: Some("r1".into()), ..plan(Activation::Reload) };
    open(plan, at(0), at(0))
}

#[test]
fn a_loan_ends_when_it_is_in_effect_and_nobody_judges_it() {
    let events = vec![
        (0, Event::Begin),
        (0, Event::PreflightPassed),
        (1, Event::Prepared(intent())),
        (1, Event::Written(Arm::B)),
        (1, Event::Activated),
        (2, Event::Verified),
    ];
    let (trial, effects) = play(loan(), events);
    assert_eq!(effects[4..], [Effect::Verify(Arm::B), Effect::Close]);
    assert_eq!((trial.phase, trial.verdict), (Phase::Kept, None));
    assert_eq!((trial.applied_at, trial.closed_at), (Some(at(2)), Some(at(2))));
}

#[test]
fn a_loan_that_cannot_be_had_teaches_nothing() {
    let begun = vec![(0, Event::Begin), (0, Event::PreflightPassed), (1, Event::Prepared(intent()))];
    let (written, _) = play(loan(), begun);
    let (trial, effects) = play(written.clone(), vec![(1, Event::WriteFailed("disk full".into()))]);
    assert_eq!((trial.verdict, effects), (None, vec![Effect::Write(Arm::A)]));
    let (trial, _) = play(trial, undone());
    assert_eq!((trial.phase, trial.verdict), (Phase::Aborted, None));
    // Whichever of the two is found: a run that stopped has borrowed nothing.
    for found in [Found::Before, Found::After] {
        let (trial, effects) = play(written.clone(), vec![(2, Event::Recovered(found))]);
        assert_eq!((trial.phase.clone(), effects), (Phase::RollingBack, vec![Effect::Write(Arm::A)]));
        let (trial, _) = play(trial, undone());
        assert_eq!((trial.phase, trial.verdict), (Phase::Aborted, None));
    }
    let edited = Event::Recovered(Found::Neither("2GB".into()));
    assert_eq!(play(written, vec![(2, edited)]).0.phase, Phase::Frozen);
}

fn any_event() -> impl Strategy<Value = Event> {
    let why = || "why".to_owned();
    prop::sample::select(vec![
        Event::Begin,
        Event::PreflightPassed,
        Event::PreflightFailed(why()),
        Event::Prepared(intent()),
        Event::PrepareFailed(why()),
        Event::Written(Arm::A),
        Event::Written(Arm::B),
        Event::WriteFailed(why()),
        Event::Activated,
        Event::ActivationFailed { why: why(), server_down: false },
        Event::ActivationFailed { why: why(), server_down: true },
        Event::Verified,
        Event::VerifyFailed(why()),
        TICK,
        Event::Judged(judgement(Ruling::Keep, 0, -0.7, 0.1)),
        Event::Abort(why()),
        Event::Interrupted(why()),
        Event::Edited(why()),
        Event::Recovered(Found::Before),
        Event::Recovered(Found::After),
        Event::Recovered(Found::Neither(why())),
    ])
}

/// What leads a loan to its end, as far as `steps` go; then whatever happens.
fn loan_events() -> impl Strategy<Value = Vec<Event>> {
    let way = [
        Event::Begin,
        Event::PreflightPassed,
        Event::Prepared(intent()),
        Event::Written(Arm::B),
        Event::Activated,
        Event::Verified,
    ];
    (0..=way.len(), prop::collection::vec(any_event(), 0..12))
        .prop_map(move |(steps, more)| way[..steps].iter().cloned().chain(more).collect::<Vec<Event>>())
}

proptest! {
    /// Whatever happens to a loan, in whatever order: it is in effect at its end, or out again, or a person is told;
    /// it is never measured, and teaches nothing.
    #[test]
    fn a_loan_is_had_or_goes_back_and_is_never_judged(events in loan_events()) {
        let mut trial = loan();
        for (second, event) in (0_i64..).zip(events) {
            let (before, verified) = (trial.clone(), event == Event::Verified);
            let (next, effect) = step(trial, event, at(second), &TIMING);
            trial = next;
            prop_assert_eq!(trial.verdict, None);
            let is_measured = matches!(
                trial.phase,
                Phase::Settling | Phase::Measuring { .. } | Phase::BackToA | Phase::AgainB | Phase::Reverted
            );
            prop_assert!(!is_measured && trial.judgements.is_empty(), "{:?}", trial.phase);
            prop_assert!(effect != Some(Effect::Judge));
            if matches!(effect, Some(Effect::Write(_) | Effect::Activate | Effect::StartServer)) {
                prop_assert!(trial.intent.is_some(), "{:?} without an intent", effect);
            }
            if before.phase.is_final() {
                prop_assert_eq!((&trial, effect), (&before, None));
            } else if trial.phase == Phase::Kept {
                let is_had = verified && before.phase == Phase::VerifyApplied;
                prop_assert!(is_had, "kept after {:?}", before.phase);
            } else if trial.phase == Phase::Aborted {
                let is_out = verified && before.phase == Phase::VerifyReverted;
                prop_assert!(is_out || trial.intent.is_none(), "given up after {:?}", before.phase);
            }
        }
    }
}

#[test]
fn a_refusal_before_touching_aborts() {
    let events = vec![(0, Event::Begin), (0, Event::PreflightFailed("masked".into()))];
    let (trial, effects) = play(open(plan(Activation::Reload), at(-60), at(0)), events);
    assert_eq!(effects, [Effect::Preflight, Effect::Close]);
    assert_eq!((trial.phase, trial.verdict, trial.ending.as_deref()), (Phase::Aborted, None, Some("masked")));
}

#[test]
fn a_server_that_does_not_come_back_is_started_on_the_old_file_and_a_person_is_told() {
    let (trial, effects) = play(
        open(plan(Activation::Restart), at(-60), at(0)),
        vec![
            (0, Event::Begin),
            (0, Event::PreflightPassed),
            (0, Event::Prepared(intent())),
            (0, Event::Written(Arm::B)),
            (60, Event::ActivationFailed { why: "no answer in 60 s".into(), server_down: true }),
            (60, Event::Written(Arm::A)),
            (62, Event::Activated),
            (62, Event::Verified),
        ],
    );
    assert_eq!(
        effects[3..],
        [Effect::Activate, Effect::Write(Arm::A), Effect::StartServer, Effect::Verify(Arm::A), Effect::Close]
    );
    assert_eq!(trial.phase, Phase::NeedsHuman);
    insta::assert_snapshot!(trial.ending.unwrap(), @"no answer in 60 s; the old value is back and Postgres runs");
}

#[test]
fn an_interruption_is_no_proof_of_harm() {
    let ends = |event| {
        let back =
            vec![(20, event), (21, Event::Written(Arm::A)), (21, Event::Activated), (21, Event::Verified)];
        let (trial, _) = play(applied(Activation::Reload), back);
        (trial.phase, trial.verdict)
    };
    let interrupted = ends(Event::Interrupted("a person stopped leverd".into()));
    assert_eq!(interrupted, (Phase::Reverted, Some(Verdict::Undecided)));
    let harmful = ends(Event::Abort("a guard doubled".into()));
    assert_eq!(harmful, (Phase::Reverted, Some(Verdict::Reverted)));
}

#[test]
fn an_undo_that_fails_needs_a_human() {
    let (trial, _) = play(
        applied(Activation::Reload),
        vec![(20, Event::Abort("a guard doubled".into())), (20, Event::WriteFailed("disk full".into()))],
    );
    assert_eq!(trial.phase, Phase::NeedsHuman);
    insta::assert_snapshot!(trial.ending.unwrap(), @"a guard doubled; then the undo failed: disk full");
}

#[test]
fn a_persons_edit_freezes_and_is_left_alone() {
    let (trial, effects) =
        play(applied(Activation::Reload), vec![(20, Event::Edited("now it is 2GB".into()))]);
    assert_eq!((trial.phase, effects), (Phase::Frozen, vec![Effect::Close]));
}

#[test]
fn recovery_finds_the_old_state_or_the_new_one() {
    let settling = applied(Activation::Reload);
    let (resumed, effects) = play(settling.clone(), vec![(40, Event::Recovered(Found::After))]);
    assert_eq!((resumed.phase, effects), (Phase::Settling, vec![]));
    let (overdue, effects) = play(settling.clone(), vec![(400, Event::Recovered(Found::After))]);
    assert_eq!((overdue.phase, effects), (Phase::RollingBack, vec![Effect::Write(Arm::A)]));
    let (clock_went_back, _) = play(settling.clone(), vec![(-500, Event::Recovered(Found::After))]);
    assert_eq!(clock_went_back.phase, Phase::RollingBack);
    let (edited, _) = play(settling, vec![(40, Event::Recovered(Found::Neither("2GB".into())))]);
    assert_eq!(edited.phase, Phase::Frozen);
    let (untouched, _) =
        play(open(plan(Activation::Reload), at(0), at(0)), vec![(1, Event::Recovered(Found::Before))]);
    assert_eq!(untouched.phase, Phase::Aborted);
}
