//! Processes that stop without ending: leverd itself, Postgres, Prometheus.

use super::campaign::{Dice, Tally};
use super::truth::{RELOADS, Running, Stand, Truth, differs};
use crate::support::rig::{Effect, Rig};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::time::Duration;

const TUNE: [&str; 4] = ["tune", "--cycles", "1", "--no-tty"];

fn rig() -> (Rig, Truth) {
    let rig = Rig::start(&RELOADS.yaml(), Effect::Helps, 2);
    let truth = Truth::of(&rig, RELOADS);
    (rig, truth)
}

/// Longer than the settling and the measuring that it stopped in; and it still holds its lock.
pub(super) fn of_leverd(dice: &mut Dice) -> Tally {
    let (rig, mut truth) = rig();
    let mut tally = Tally { faults: 1, ..Tally::default() };
    let mut running = Running::start(&rig, &TUNE);
    let came = running.waits_until(Duration::from_mins(1), differs(&rig.postgres.conf()));
    assert!(came, "no trial began:\n{}", running.said());
    running.lives_for(dice.moment("after the file changed", Duration::from_secs(4)));
    running.signal(Signal::STOP);
    match running.second_is_refused(&rig) {
        Some(Ok(())) => tally.seconds += 1,
        Some(Err(bad)) => tally.bad.push(bad),
        None => {}
    }
    std::thread::sleep(Duration::from_secs(8));
    running.signal(Signal::CONT);
    ends(&rig, &mut running, &mut truth, tally)
}

pub(super) fn of_postgres(dice: &mut Dice) -> Tally {
    let (rig, truth) = rig();
    let postmaster = rig.postgres.pid().unwrap();
    let mut all = children_of(postmaster);
    all.insert(0, postmaster);
    stop_for_a_while(dice, &rig, truth, &all)
}

pub(super) fn of_prometheus(dice: &mut Dice) -> Tally {
    let (rig, truth) = rig();
    let prometheus = rig.prometheus.pid();
    stop_for_a_while(dice, &rig, truth, &[prometheus])
}

fn stop_for_a_while(dice: &mut Dice, rig: &Rig, mut truth: Truth, pids: &[Pid]) -> Tally {
    let tally = Tally { faults: 1, ..Tally::default() };
    let mut running = Running::start(rig, &TUNE);
    running.lives_for(dice.moment("anywhere", Duration::from_secs(9)));
    let stopped = Stopped::all(pids);
    running.lives_for(Duration::from_secs(2) + dice.moment("stopped for 2 s and", Duration::from_secs(11)));
    drop(stopped);
    ends(rig, &mut running, &mut truth, tally)
}

/// leverd ends by itself, and says the truth.
fn ends(rig: &Rig, running: &mut Running, truth: &mut Truth, mut tally: Tally) -> Tally {
    running.end();
    if let Some(Stand::Open(phase, _)) = truth.tally(rig, &mut tally) {
        tally.bad.push(format!("leverd ended, and left a trial open: {phase}"));
    }
    truth.settle(rig, &mut tally);
    tally
}

/// Stopped processes, which go on when this is dropped.
struct Stopped(Vec<Pid>);

impl Stopped {
    fn all(pids: &[Pid]) -> Self {
        for pid in pids {
            let _ = kill_process(*pid, Signal::STOP);
        }
        Self(pids.to_vec())
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = kill_process(*pid, Signal::CONT);
        }
    }
}

fn children_of(parent: Pid) -> Vec<Pid> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The program's name, in brackets, may hold anything; the parent is the second field after it.
        let after = stat.rsplit(')').next().unwrap_or_default();
        after.split_whitespace().nth(1).and_then(|field| field.parse().ok())
            == Some(parent.as_raw_nonzero().get())
    })
    .filter_map(Pid::from_raw)
    .collect()
}
