//! Writing trials down and finding them again.

use super::super::fixtures::{at, intent, judgement, kept, planned, reverted};
use super::*;
use crate::model::Ruling;

fn ledger() -> (tempfile::TempDir, Ledger) {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&folder.path().join("ledger.db")).unwrap();
    (folder, ledger)
}

/// Walks a trial through `phases`, one second each.
fn walk(ledger: &Ledger, trial: &mut Trial, phases: &[Phase]) {
    for (second, phase) in (1..).zip(phases) {
        trial.phase = phase.clone();
        ledger.save(trial, &format!("now {phase}"), at(second)).unwrap();
    }
}

fn end(ledger: &Ledger, trial: &Trial, seconds: i64) -> TrialId {
    let opened = Trial { phase: Phase::Planned, verdict: None, ..trial.clone() };
    let id = ledger.insert(&opened).unwrap();
    ledger.save(&Trial { id, ..trial.clone() }, "ended", at(seconds)).unwrap();
    id
}

#[test]
fn a_trial_comes_back_as_it_was_saved() {
    let (_folder, ledger) = ledger();
    let mut trial = planned("capsim");
    trial.id = ledger.insert(&trial).unwrap();
    assert_eq!(ledger.trial(trial.id).unwrap(), trial);
    trial.intent = Some(intent());
    trial.judgements.push(judgement(Ruling::Extend, -0.25, -0.125, 0.5));
    trial.phase = Phase::Measuring { look: 2 };
    trial.applied_at = Some(at(7));
    ledger.save(&trial, "measuring", at(8)).unwrap();
    assert_eq!(ledger.trial(trial.id).unwrap(), trial);
    assert_eq!(ledger.open_trial(&"capsim".into()).unwrap(), Some(trial));
}

#[test]
fn the_trail_tells_every_step_with_its_phases() {
    let (_folder, ledger) = ledger();
    let mut trial = planned("capsim");
    trial.id = ledger.insert(&trial).unwrap();
    walk(
        &ledger,
        &mut trial,
        &[Phase::Preflight, Phase::IntentLogged, Phase::Measuring { look: 0 }, Phase::Measuring { look: 1 }],
    );
    let told: Vec<String> = ledger
        .events(trial.id)
        .unwrap()
        .into_iter()
        .map(|e| format!("{} {:?} → {}", e.what, e.phase_from.unwrap_or_default(), e.phase_to.unwrap()))
        .collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
    opened "" → planned
    now preflight "planned" → preflight
    now intent logged "preflight" → intent logged
    now measuring "intent logged" → measuring, look 1
    now measuring "measuring, look 1" → measuring, look 2
    "#);
}

#[test]
fn a_target_has_one_open_trial_and_its_number_is_named() {
    let (_folder, ledger) = ledger();
    let first = ledger.insert(&planned("capsim")).unwrap();
    let error = ledger.insert(&planned("capsim")).unwrap_err();
    assert_eq!(error.to_string(), "capsim already has an open trial: 1");
    let other = ledger.insert(&planned("billing")).unwrap();
    ledger.save(&Trial { id: first, ..kept("capsim") }, "kept", at(1)).unwrap();
    let next = ledger.insert(&planned("capsim")).unwrap();
    assert!(first < other && other < next);
    // A trial that had ended cannot be opened again beside another one.
    let again = Trial { id: first, phase: Phase::RollingBack, ..kept("capsim") };
    let error = ledger.save(&again, "rolling back", at(2)).unwrap_err();
    assert!(matches!(error, LedgerError::AlreadyOpen { trial, .. } if trial == next), "{error}");
    assert_eq!(ledger.trial(first).unwrap().phase, Phase::Kept, "a refused save leaves nothing behind");
    assert_eq!(ledger.events(first).unwrap().len(), 2);
}

#[test]
fn a_trial_that_is_not_there_is_named() {
    let (folder, ledger) = ledger();
    let error = ledger.trial(TrialId(12)).unwrap_err();
    let path = folder.path().join("ledger.db");
    assert_eq!(error.to_string(), format!("there is no trial 12 in {}", path.display()));
    assert!(ledger.save(&planned("capsim"), "?", at(0)).is_err());
    assert!(ledger.mark_undone(TrialId(12), at(0), "?").is_err());
}

#[test]
fn what_is_kept_and_not_undone_is_what_is_managed() {
    let (_folder, ledger) = ledger();
    let target = "capsim".into();
    let first = end(&ledger, &kept("capsim"), 1);
    let worse = end(&ledger, &reverted("capsim", Verdict::Reverted, "worse"), 2);
    let second = end(&ledger, &kept("capsim"), 3);
    let ids = |trials: Vec<Trial>| trials.into_iter().map(|trial| trial.id).collect::<Vec<_>>();
    assert_eq!(ids(ledger.kept(&target).unwrap()), [first, second]);
    assert_eq!(ids(ledger.history(Some(&target), 2).unwrap()), [second, worse]);
    assert_eq!(ids(ledger.history(None, 9).unwrap()), [second, worse, first]);

    assert!(ledger.mark_undone(first, at(10), "leverd rollback 1").unwrap());
    assert!(!ledger.mark_undone(first, at(11), "again").unwrap(), "only once");
    assert_eq!(ledger.trial(first).unwrap().undone_at, Some(at(10)));
    assert_eq!(ids(ledger.kept(&target).unwrap()), [second]);
    let error = ledger.mark_undone(worse, at(12), "?").unwrap_err();
    assert_eq!(
        error.to_string(),
        "trial 2 is reverted: none of its change is in force, so there is nothing to undo"
    );
}

#[test]
fn a_failed_undo_waits_for_a_person_until_it_is_settled() {
    let (_folder, ledger) = ledger();
    let target = "capsim".into();
    let id = end(&ledger, &Trial { phase: Phase::NeedsHuman, ..kept("capsim") }, 1);
    assert_eq!(ledger.needing_human(&target).unwrap()[0].id, id);
    assert!(ledger.mark_undone(id, at(2), "put back by hand").unwrap());
    assert_eq!(ledger.needing_human(&target).unwrap(), []);
}

#[test]
fn the_end_of_a_trial_and_what_holds_its_lever_are_one_write() {
    let (_folder, ledger) = ledger();
    let target = "capsim".into();
    let mut trial = planned("capsim");
    trial.id = ledger.insert(&trial).unwrap();
    trial.phase = Phase::NeedsHuman;
    trial.ending = Some("the undo failed".to_owned());
    // The hold cannot be written: then there is no end either.
    let spoil = "CREATE TRIGGER spoilt BEFORE INSERT ON freeze BEGIN SELECT RAISE(ABORT, 'no'); END";
    ledger.read("spoiling", |connection| connection.execute_batch(spoil)).unwrap();
    assert!(ledger.save_and_hold(&trial, "the end", Hold::Freeze, at(1)).is_err());
    assert_eq!(ledger.open_trial(&target).unwrap().unwrap().phase, Phase::Planned);
    ledger.read("mending", |connection| connection.execute_batch("DROP TRIGGER spoilt")).unwrap();
    ledger.save_and_hold(&trial, "the end", Hold::Freeze, at(2)).unwrap();
    assert_eq!(ledger.open_trial(&target).unwrap(), None);
    let frozen = ledger.frozen(&target).unwrap();
    assert_eq!((frozen[0].lever.as_str(), frozen[0].why.as_str()), ("checkpoint_timeout", "the undo failed"));
}

#[test]
fn what_a_person_undid_stays_undone() {
    let (_folder, ledger) = ledger();
    let target = "capsim".into();
    let id = end(&ledger, &kept("capsim"), 1);
    ledger.mark_undone(id, at(2), "leverd rollback 1").unwrap();
    assert_eq!(ledger.frozen(&target).unwrap()[0].why, "a person rolled trial 1 back");
}

#[test]
fn a_loan_is_in_force_until_it_is_returned_and_then_its_lever_is_free() {
    let (_folder, ledger) = ledger();
    let target = "capsim".into();
    let mut loan = Trial { verdict: None, judgements: vec![], ..kept("capsim") };
    loan.plan.borrowed_for = Some("r1".to_owned());
    let kept_id = end(&ledger, &kept("capsim"), 1);
    let (first, second) = (end(&ledger, &loan, 2), end(&ledger, &loan, 3));
    let ids = |trials: Vec<Trial>| trials.iter().map(|trial| trial.id).collect::<Vec<_>>();
    assert_eq!(ids(ledger.borrowed(&target).unwrap()), [first, second]);
    assert_eq!(ids(ledger.borrowed(&"billing".into()).unwrap()), []);
    assert_eq!(ids(ledger.kept(&target).unwrap()), [kept_id, first, second]);
    assert_eq!(ledger.experience(&target).unwrap().len(), 1, "nobody judged them");

    assert!(ledger.mark_returned(second, at(4), "the run r1 has ended", None).unwrap());
    assert!(!ledger.mark_returned(second, at(5), "again", None).unwrap());
    assert_eq!(ledger.frozen(&target).unwrap(), []);
    assert_eq!(ledger.last_change_at(&target).unwrap(), Some(at(4)));
    ledger.mark_returned(first, at(6), "the run r1 has ended", Some("it is 2GB now")).unwrap();
    assert_eq!(ledger.frozen(&target).unwrap()[0].why, "it is 2GB now");
    assert!(ledger.trial(first).unwrap().is_left_to_person());
    assert!(!ledger.trial(second).unwrap().is_left_to_person());
    assert_eq!(ledger.experience(&target).unwrap().len(), 1, "nor when they were over");
    assert_eq!(ledger.quarantined(&target, at(7)).unwrap(), []);
    let told: Vec<EntryKind> = ledger.entries_due().unwrap().iter().map(|due| due.kind).collect();
    assert_eq!(told[3..], [EntryKind::Undone, EntryKind::Frozen], "what was edited did not go back");
    assert_eq!(ids(ledger.borrowed(&target).unwrap()), []);
    assert_eq!(ids(ledger.kept(&target).unwrap()), [kept_id]);
}

#[test]
fn only_what_changes_the_target_counts_as_a_change() {
    let (_folder, ledger) = ledger();
    let target = "capsim".into();
    let mut trial = planned("capsim");
    trial.id = ledger.insert(&trial).unwrap();
    let last = |ledger: &Ledger| ledger.last_change_at(&target).unwrap();
    walk(&ledger, &mut trial, &[Phase::Preflight, Phase::IntentLogged]);
    assert_eq!(last(&ledger), None);
    walk(&ledger, &mut trial, &[Phase::Applying]);
    ledger.save(&trial, "still applying", at(3)).unwrap();
    assert_eq!(last(&ledger), Some(at(1)));
    trial.phase = Phase::Kept;
    ledger.save(&trial, "kept", at(50)).unwrap();
    assert_eq!(last(&ledger), Some(at(1)));
    ledger.mark_undone(trial.id, at(60), "rollback").unwrap();
    assert_eq!(last(&ledger), Some(at(60)));
    assert_eq!(ledger.last_change_at(&"billing".into()).unwrap(), None);
}

#[test]
fn a_persons_edit_counts_as_a_change() {
    let (_folder, ledger) = ledger();
    let mut trial = planned("capsim");
    trial.id = ledger.insert(&trial).unwrap();
    walk(&ledger, &mut trial, &[Phase::Preflight, Phase::IntentLogged, Phase::Applying]);
    trial.phase = Phase::Frozen;
    ledger.save(&trial, "edited by a person", at(50)).unwrap();
    assert_eq!(ledger.last_change_at(&"capsim".into()).unwrap(), Some(at(50)));
}

#[test]
fn a_clock_that_jumps_back_does_not_reorder_the_record() {
    let (_folder, ledger) = ledger();
    let target = "capsim".into();
    let before = end(&ledger, &reverted("capsim", Verdict::Undecided, "no gain"), 100_000);
    let after = end(&ledger, &Trial { opened_at: at(-100_000), ..kept("capsim") }, -99_000);
    ledger.mark_undone(after, at(-98_000), "rollback").unwrap();
    let newest = &ledger.history(Some(&target), 1).unwrap()[0];
    assert_eq!(newest.id, after);
    assert!(before < after);
    assert_eq!(ledger.last_change_at(&target).unwrap(), Some(at(-98_000)));
    let due: Vec<_> = ledger.entries_due().unwrap().into_iter().map(|due| due.trial).collect();
    assert_eq!(due, [before, after, after]);
}

#[test]
fn experience_has_the_verdict_and_the_size_of_what_was_seen() {
    let (_folder, ledger) = ledger();
    end(&ledger, &kept("capsim"), 1);
    end(&ledger, &reverted("capsim", Verdict::Undecided, "no gain"), 2);
    end(&ledger, &Trial { phase: Phase::Aborted, verdict: None, ..planned("capsim") }, 3);
    end(&ledger, &kept("billing"), 4);
    let of: Vec<_> = ledger
        .experience(&"capsim".into())
        .unwrap()
        .into_iter()
        .map(|e| (e.lever.to_string(), e.symptom.to_string(), e.verdict, e.change, e.undone))
        .collect();
    let (lever, symptom) = ("checkpoint_timeout".to_owned(), "high_wal_rate".to_owned());
    assert_eq!(
        of,
        [
            (lever.clone(), symptom.clone(), Verdict::Kept, Some(-0.2), false),
            (lever, symptom, Verdict::Undecided, Some(0.3), false),
        ]
    );
}

#[test]
fn the_database_itself_refuses_to_rewrite_the_trail() {
    let (_folder, ledger) = ledger();
    ledger.insert(&planned("capsim")).unwrap();
    for statement in ["UPDATE event SET what = 'x'", "DELETE FROM event", "DELETE FROM trial"] {
        let refused = ledger.read("trying", |connection| connection.execute(statement, []));
        assert!(refused.is_err(), "{statement}");
    }
    assert_eq!(ledger.events(TrialId(1)).unwrap().len(), 1);
}

#[test]
fn ten_thousand_trials_are_listed_and_found() {
    let (_folder, ledger) = ledger();
    let body = storable::encode(&kept("capsim")).unwrap();
    ledger
        .write("filling it", |connection| {
            for _ in 0..10_000 {
                connection
                    .execute(
                        "INSERT INTO trial (target, lever, symptom, state, verdict, change, body)
                         VALUES ('capsim', 'checkpoint_timeout', 'high_wal_rate', 'kept', 'kept', -0.2, ?1)",
                        [&body],
                    )
                    .map_err(|source| ledger.sqlite("filling it", source))?;
            }
            Ok(())
        })
        .unwrap();
    let newest = ledger.history(Some(&"capsim".into()), 20).unwrap();
    assert_eq!((newest.len(), newest[0].id), (20, TrialId(10_000)));
    assert_eq!(ledger.experience(&"capsim".into()).unwrap().len(), 10_000);
    let plan: String = ledger
        .read("asking how", |connection| {
            connection.query_row(
                "EXPLAIN QUERY PLAN SELECT id, body FROM trial
                 WHERE target = 'capsim' ORDER BY id DESC LIMIT 20",
                [],
                |row| row.get(3),
            )
        })
        .unwrap();
    assert!(plan.contains("trial_of_target"), "the newest are found by the index: {plan}");
}
