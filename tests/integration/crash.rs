//! `kill -9` after every effect of a trial, on a real Postgres and a real Prometheus: the old state or the new one,
//! never a third, and the ledger says which.

use crate::support::leverd::both;
use crate::support::rig::{Effect, Rig, reload_lever, restart_lever};
use std::fs;

/// The last phase that the ledger has of each trial.
fn phases(rig: &Rig) -> Vec<String> {
    let word = |phase: &serde_json::Value| phase.as_str().map_or_else(|| phase.to_string(), str::to_owned);
    rig.trials().iter().map(|trial| word(&trial["phase"])).collect()
}

/// Dies at `point`, comes back, and must end as before, for no gain can be proved in two scrapes. `false`: the trial
/// ended before it came to that point.
fn dies_and_recovers(rig: &Rig, point: &str) -> bool {
    let before = rig.conf();
    let died = rig.tune(point);
    let in_between = String::from_utf8(rig.conf()).unwrap();
    let new_state = in_between.contains("640MB") || in_between.contains("160MB");
    assert!(in_between.as_bytes() == before || new_state, "{point}: a third state:\n{in_between}");
    let reached = died.status.code().is_none();
    if reached {
        let recovered = rig.tune("");
        assert_eq!(recovered.status.code(), Some(1), "{point}:\n{}", both(&recovered));
    }
    assert!(rig.conf() == before, "{point}: postgresql.conf is not as it was");
    let left: Vec<String> = fs::read_dir(rig.postgres.data())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(".postgresql.conf") || name.contains(".leverd-"))
        .collect();
    assert!(left.is_empty(), "{point}: left behind: {left:?}");
    let phases = phases(rig);
    let settled = phases.iter().all(|phase| ["reverted", "aborted"].contains(&phase.as_str()));
    assert!(settled, "{point}: the ledger says {phases:?}");
    fs::remove_dir_all(rig.state()).unwrap();
    reached
}

/// Dies at the first passing of `point` and at every third after it until a trial comes through alive; at each of them
/// where `LEVERD_EVERY_POINT` is set, as `make faults` does: five minutes for a point.
fn dies_at_each(levers: &str, point: &str, at_least: usize) {
    let rig = Rig::start(levers, Effect::Nothing, 2);
    let step = if std::env::var_os("LEVERD_EVERY_POINT").is_some() { 1 } else { 3 };
    let deaths = (0..40)
        .step_by(step)
        .take_while(|skip| dies_and_recovers(&rig, &format!("{point}={skip}*off->return")))
        .count();
    assert!((at_least..40).contains(&(deaths * step)), "{point}: {deaths} deaths");
}

#[test]
fn after_each_effect_of_a_lever_that_reloads() {
    dies_at_each(&reload_lever(), "trial::performed", 10);
}

#[test]
fn after_each_record_of_a_lever_that_reloads() {
    dies_at_each(&reload_lever(), "trial::stored", 10);
}

#[test]
fn after_each_effect_of_a_lever_that_restarts() {
    dies_at_each(&restart_lever(), "trial::performed", 8);
}

#[test]
fn within_each_effect() {
    let rig = Rig::start(&reload_lever(), Effect::Nothing, 2);
    let points = [
        "ledger::before_commit",
        "ledger::after_commit",
        "actuate::temp_written",
        "actuate::temp_synced",
        "actuate::renamed",
        "actuate::written",
        "actuate::reloaded",
        "trial::closed",
    ];
    for point in points {
        assert!(dies_and_recovers(&rig, &format!("{point}=return")), "{point} was not reached");
        // And in the undo, where the old value is written back.
        dies_and_recovers(&rig, &format!("{point}=1*off->return"));
    }
}

#[test]
fn within_a_restart() {
    let rig = Rig::start(&restart_lever(), Effect::Nothing, 2);
    for point in ["actuate::stopped", "actuate::restarted"] {
        assert!(dies_and_recovers(&rig, &format!("{point}=return")), "{point} was not reached");
    }
}
