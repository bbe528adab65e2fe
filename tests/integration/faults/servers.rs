//! Servers that die in the middle of a trial: Postgres, which is started again, and Prometheus, which is not.

use super::campaign::{Dice, Tally};
use super::truth::{Lever, PATIENCE, RELOADS, RESTARTS, Running, Stand, Truth, differs, shown};
use crate::support::rig::{Effect, Rig};
use rustix::process::{Signal, kill_process};
use std::time::{Duration, Instant};

const TUNE: [&str; 4] = ["tune", "--cycles", "1", "--no-tty"];
const LIFE: Duration = Duration::from_secs(9);

pub(super) fn postgres_killed(dice: &mut Dice) -> Tally {
    let rig = Rig::start(&RELOADS.yaml(), Effect::Helps, 2);
    let mut running = Running::start(&rig, &TUNE);
    let truth = Truth::of(&rig, RELOADS);
    running.lives_for(dice.moment("anywhere", LIFE));
    kill_postgres(dice, &rig, truth, running, RELOADS)
}

/// Around the moment in which leverd itself stops and starts it.
pub(super) fn postgres_killed_in_a_restart(dice: &mut Dice) -> Tally {
    let rig = Rig::start(&RESTARTS.yaml(), Effect::Nothing, 2);
    let truth = Truth::of(&rig, RESTARTS);
    let mut running = Running::start(&rig, &TUNE);
    let came = running.waits_until(Duration::from_mins(1), differs(&rig.postgres.conf()));
    assert!(came, "no trial began:\n{}", running.said());
    running.lives_for(dice.moment("after the file changed", Duration::from_secs(2)));
    kill_postgres(dice, &rig, truth, running, RESTARTS)
}

fn kill_postgres(dice: &mut Dice, rig: &Rig, mut truth: Truth, mut running: Running, lever: Lever) -> Tally {
    let mut tally = Tally { faults: 1, ..Tally::default() };
    if let Some(postmaster) = rig.postgres.pid() {
        let _ = kill_process(postmaster, Signal::KILL);
    }
    running.lives_for(dice.moment("away for", Duration::from_secs(6)));
    bring_back(rig, lever);
    running.end();
    // leverd may have restarted it once more.
    bring_back(rig, lever);
    ended(rig, &mut truth, &mut tally);
    tally
}

/// As a service manager would, until it answers.
fn bring_back(rig: &Rig, lever: Lever) {
    let until = Instant::now() + PATIENCE;
    while let Err(why) = shown(rig, lever.parameter) {
        assert!(Instant::now() < until, "Postgres does not come back: {why}");
        rig.postgres.try_start();
    }
}

pub(super) fn prometheus_killed(dice: &mut Dice) -> Tally {
    let rig = Rig::start(&RELOADS.yaml(), Effect::Helps, 2);
    let (mut truth, mut tally) = (Truth::of(&rig, RELOADS), Tally { faults: 1, ..Tally::default() });
    let mut running = Running::start(&rig, &TUNE);
    running.lives_for(dice.moment("anywhere", LIFE));
    let _ = kill_process(rig.prometheus.pid(), Signal::KILL);
    running.end();
    ended(&rig, &mut truth, &mut tally);
    tally
}

fn ended(rig: &Rig, truth: &mut Truth, tally: &mut Tally) {
    if let Some(Stand::Open(phase, _)) = truth.tally(rig, tally) {
        tally.bad.push(format!("leverd ended, and left a trial open: {phase}"));
    }
    truth.settle(rig, tally);
}
