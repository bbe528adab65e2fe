//! The neighbour: somebody else on the same machine, who takes the CPU in bursts.
//!
//! In: a scenario with `broken: neighbour:`. Out: heat. It ends its work by itself after the scenario's `lasts`, and
//! its process ends with the sandbox.

use super::scenario::{Neighbour, Scenario, ScenarioError};
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

/// Works and rests in turns until `stopped` is ready. A scenario without a neighbour has a quiet one.
pub async fn neighbour(scenario: &Path, stopped: impl Future<Output = ()>) -> Result<(), ScenarioError> {
    let scenario = Scenario::read(scenario)?;
    if let Some(neighbour) = scenario.broken.neighbour {
        let began = Instant::now();
        for _ in 0..neighbour.threads.get() {
            // They share `began`, so they are busy at the same time. The end of the process ends them.
            std::thread::spawn(move || work_and_rest(neighbour, began));
        }
    }
    stopped.await;
    Ok(())
}

fn work_and_rest(neighbour: Neighbour, began: Instant) {
    while began.elapsed() < neighbour.lasts.get() {
        match rest(neighbour, began.elapsed()) {
            Some(rest) => std::thread::sleep(rest),
            None => burn(),
        }
    }
}

/// How long it still rests at that time; `None`: it is busy.
fn rest(neighbour: Neighbour, at: Duration) -> Option<Duration> {
    let (busy, idle) = (neighbour.busy.get().as_micros(), neighbour.idle.get().as_micros());
    let into = at.as_micros() % (busy + idle);
    let left = u64::try_from(busy + idle - into).ok()?;
    (into >= busy).then(|| Duration::from_micros(left))
}

/// Some microseconds of work.
fn burn() {
    let mut sum = 0_u64;
    for n in 0..black_box(10_000_u64) {
        sum = black_box(sum.wrapping_mul(31).wrapping_add(n));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_busy_and_rests_in_turns() {
        let neighbour: Neighbour = serde_yaml::from_str("{threads: 1, busy: 3s, idle: 2s}").unwrap();
        let rests_at = |millis| rest(neighbour, Duration::from_millis(millis)).map(|rest| rest.as_millis());
        assert_eq!([0, 2_999, 3_000, 4_500].map(rests_at), [None, None, Some(2_000), Some(500)]);
        assert_eq!(rests_at(5_000), None);
    }
}
