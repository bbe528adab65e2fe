//! What must hold between any two steps of the simulated loop.

use super::world::{World, value};
use crate::model::{Arm, LeverName, Phase, Ruling, Trial};
use chrono::{DateTime, TimeDelta, Utc};

/// What the end of a trial means for its lever, noted as soon as the ledger has the end.
pub(super) fn note_rest(world: &mut World, trial: &Trial, now: DateTime<Utc>, cool_down: TimeDelta) {
    let rest = match trial.phase {
        Phase::Frozen | Phase::NeedsHuman => None,
        // What is still needed may be pulled further, and so may what a run could not borrow.
        Phase::Reverted | Phase::Aborted
            if trial.plan.gives_back.is_some() || trial.plan.borrowed_for.is_some() =>
        {
            return;
        }
        Phase::Reverted | Phase::Aborted => Some(now + cool_down),
        _ => return,
    };
    let lever = trial.plan.lever.clone();
    // A later end stands, and so does a person's say.
    let known = world.must_rest.get(&lever).copied();
    let rest = if known == Some(None) {
        None
    } else {
        rest.map(|rest| known.flatten().map_or(rest, |known| known.max(rest)))
    };
    world.must_rest.insert(lever, rest);
}

/// A frozen or quarantined lever is not pulled.
pub(super) fn not_held_back(world: &World, lever: &LeverName) {
    match world.must_rest.get(lever) {
        Some(None) => panic!("{lever} is pulled, and no person gave it back"),
        Some(Some(until)) => assert!(world.now >= *until, "{lever} is pulled before its cool-down ended"),
        None => {}
    }
    not_for_a_person(world, lever);
}

/// What is frozen is not touched, nor is anything while an undo that failed waits.
pub(super) fn not_for_a_person(world: &World, lever: &LeverName) {
    assert!(!world.book.is_frozen(lever), "{lever} is pulled while it is frozen");
    let wounds = world.book.trials.iter().filter(|trial| trial.phase == Phase::NeedsHuman);
    let open =
        wounds.map(|trial| &trial.plan.lever).find(|wounded| world.must_rest.get(*wounded) == Some(&None));
    assert_eq!(open, None, "{lever} is pulled, and an undo that failed waits for a person");
}

/// What could not be recorded is out again, as far as the disk allows.
pub(super) fn is_taken_out(world: &mut World) {
    let Some(trial) = world.book.open_trial().filter(|trial| trial.intent.is_some()) else { return };
    let full = world.files_full;
    let knob = world.knob(&trial.plan.parameter);
    assert!(
        full || knob.edited || knob.file != value(&trial, Arm::B),
        "not recorded, and left in place: {knob:?}"
    );
}

/// The old value or the new one, and the ledger says which, unless a person must act or has acted.
pub(super) fn stands(world: &World) {
    for knob in &world.knobs {
        let lever = LeverName::new(knob.name);
        let of_lever = world.book.trials.iter().filter(|trial| trial.plan.lever == lever);
        let Some(trial) = of_lever.rev().find(|trial| trial.intent.is_some()) else {
            assert!(knob.edited || knob.file == "10", "{knob:?} changed without an intent");
            continue;
        };
        let (old, new) = (value(trial, Arm::A), value(trial, Arm::B));
        let state = format!("trial {} is {}, {knob:?}, up {}", trial.id, trial.phase, world.up);
        assert!(knob.edited || knob.file == old || knob.file == new, "a third value: {state}");
        let is_loan = trial.plan.borrowed_for.is_some();
        assert!(!is_loan || trial.verdict.is_none(), "a loan was judged: {state}");
        if trial.phase == Phase::Kept && !is_loan {
            let last = trial.judgements.last().map(|judgement| judgement.ruling);
            assert_eq!(last, Some(Ruling::Keep), "kept without a judgement: {state}");
            assert!(world.proven.contains(&trial.id), "kept by nobody's judgement: {state}");
        }
        if matches!(trial.phase, Phase::Kept | Phase::Reverted | Phase::Aborted) {
            assert!(
                !world.went_down.contains(&trial.id),
                "Postgres went down, and no person is told: {state}"
            );
        }
        let wanted = match trial.phase {
            // Whoever comes next gives it back, and may have died on the way.
            Phase::Kept if is_loan && trial.undone_at.is_none() => continue,
            Phase::Kept if is_loan => old,
            Phase::Kept if world.end_unknown.contains(&trial.id) => continue,
            Phase::Kept => new,
            Phase::Reverted | Phase::Aborted => old,
            Phase::Frozen => {
                assert!(knob.edited, "frozen for nothing: {state}");
                continue;
            }
            // What is open, or waits for a person, says so.
            _ => continue,
        };
        assert!(knob.edited || knob.file == wanted, "the ledger is not true: {state}");
        assert!(knob.edited || !world.up || knob.server == wanted, "the server differs: {state}");
        assert!(
            world.up || world.killed || world.down_in_log || !ended_down(world),
            "leverd left Postgres down: {state}"
        );
    }
}

/// Postgres is down by leverd's doing, and no record asks for a person or is still open.
fn ended_down(world: &World) -> bool {
    world
        .book
        .trials
        .iter()
        .all(|trial| !matches!(trial.phase, Phase::NeedsHuman | Phase::Frozen) && trial.phase.is_final())
}
