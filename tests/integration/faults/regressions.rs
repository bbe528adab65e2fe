//! Faults that once had a bad outcome, each by itself.

use super::full::SmallDisk;
use super::truth::{
    PATIENCE, RELOADS, RESTARTS, Running, Stand, Truth, ledger_of, shown, trials, without_cool_down,
};
use crate::support::leverd::both;
use crate::support::rig::{Effect, Rig};
use chrono::TimeDelta;
use leverd::ledger::Ledger;
use leverd::model::Phase;
use std::fs;

#[test]
fn a_trial_that_never_began_is_not_begun_by_a_rollback() {
    let rig = Rig::start(&RELOADS.yaml(), Effect::Nothing, 2);
    let mut truth = Truth::of(&rig, RELOADS);
    // The first record is the trial itself.
    let died = rig.tune("ledger::after_commit=return");
    assert_eq!(died.status.code(), None, "{}", both(&died));
    assert_eq!(truth.look(&rig), Ok(Stand::Open("planned".to_owned(), false)));
    rig.project.must(&["rollback", "--all", "--no-tty"], PATIENCE);
    let trial = trials(&rig).unwrap().pop().unwrap();
    assert_eq!((trial.phase, trial.intent), (Phase::Aborted, None), "the rollback pulled the lever first");
}

/// A clock that was ahead while a change was recorded must not keep leverd waiting until that time comes.
#[test]
fn a_record_from_the_future_does_not_stop_the_loop() {
    let rig = Rig::start(&RELOADS.yaml(), Effect::Nothing, 2);
    without_cool_down(&rig);
    rig.tune("");
    let mut ahead = trials(&rig).unwrap().pop().unwrap();
    assert_eq!(ahead.phase, Phase::Reverted);
    let then = ahead.opened_at + TimeDelta::days(365);
    let ledger = Ledger::open_existing(&ledger_of(&rig)).unwrap();
    ahead.phase = Phase::Planned;
    ahead.id = ledger.insert(&ahead).unwrap();
    for phase in [Phase::RollingBack, Phase::Reverted] {
        ahead.phase = phase;
        ledger.save(&ahead, "by a clock that was ahead", then).unwrap();
    }
    drop(ledger);
    rig.tune("");
    assert_eq!(trials(&rig).unwrap().len(), 3, "no trial was begun");
}

/// While nothing can be recorded the daemon tries again and again; Postgres is restarted once, for the undo.
#[test]
fn a_full_ledger_does_not_restart_postgres_again_and_again() {
    let rig = Rig::start(&RESTARTS.yaml(), Effect::Nothing, 6);
    let disk = match SmallDisk::mount(&rig.state(), "512k") {
        Ok(disk) => disk,
        Err(why) => {
            eprintln!("a_full_ledger_does_not_restart_postgres_again_and_again: not made, {why}");
            return;
        }
    };
    let mut running = Running::start(&rig, &["run"]);
    let settling =
        || trials(&rig).ok().and_then(|mut trials| trials.pop()).is_some_and(|t| t.applied_at.is_some());
    assert!(running.waits_until(PATIENCE, settling), "no trial began:\n{}", running.said());
    assert_eq!(shown(&rig, "shared_buffers").unwrap(), "160MB");
    disk.fill();
    let log = rig.project.path().join("log");
    let refusals = move || {
        let said = fs::read_to_string(&log).unwrap_or_default();
        said.matches("cannot be written, so the change is put back").count()
    };
    // Restarted by somebody: the trial ends, and that cannot be recorded. leverd may restart it again at once.
    rig.postgres.try_pg_ctl("restart");
    let undone = || shown(&rig, "shared_buffers").is_ok_and(|shown| shown == "128MB");
    assert!(running.waits_until(PATIENCE, undone), "not put back:\n{}", running.said());
    let started = rig.postgres.pid();
    let so_far = refusals();
    let again = || refusals() >= so_far + 2;
    assert!(running.waits_until(PATIENCE, again), "it did not try again:\n{}", running.said());
    assert_eq!(rig.postgres.pid(), started, "Postgres was restarted again:\n{}", running.said());
    running.kill();
}

/// The server's words go to a file that only this test's user may open: leverd stops the server, and must start it again.
#[test]
fn a_log_that_the_servers_user_may_not_open_does_not_keep_it_down() {
    let rig = RESTARTS.rig(Effect::Nothing);
    let mut truth = Truth::of(&rig, RESTARTS);
    rig.postgres.pg_ctl("stop");
    rig.postgres.try_start();
    let tuned = rig.tune("");
    assert_eq!(truth.look(&rig), Ok(Stand::Old), "{}", both(&tuned));
    assert_eq!(trials(&rig).unwrap().pop().unwrap().phase, Phase::Reverted, "{}", both(&tuned));
}
