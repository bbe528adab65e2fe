//! How often the alarm rings on noise alone, and how fast it rings on harm. Test-only.
//!
//! `JUDGE_TRIALS=1000 cargo test --lib judge::alarm_rates -- --nocapture` prints the tables of `docs/TRUST.md`.

use super::alarm::Alarm;
use super::binomial::percent_with_interval;
use super::noise::Noise;
use super::rates::{disturbed, most_expected, plain, trials};
use crate::model::Direction;

/// Scrapes of a whole trial with the change in place: settling, three looks, and once more after an A-B-A.
const WITH_CHANGE: usize = 250;
/// The goal and three guards: each may ring.
const SIGNALS: u64 = 4;
/// As configured by default: twice as bad, three scrapes in a row.
const FACTOR: f64 = 2.0;
const SCRAPES: usize = 3;

/// The alarm's constants were chosen on the seeds of the first trials: these are others.
const SEEDS_FROM: u64 = 1_000_000_000;

fn values(noise: &Noise, seed: u64, before: usize, factor: f64) -> (Vec<Option<f64>>, Vec<f64>) {
    let logs = noise.log_values(SEEDS_FROM + seed, before + WITH_CHANGE);
    let a = logs[..before].iter().map(|v| v.map(|v| 100.0 * v.exp())).collect();
    let b = logs[before..].iter().flatten().map(|v| 100.0 * factor * v.exp()).collect();
    (a, b)
}

/// After how many scrapes with the change the alarm rings; `None`: never.
fn rings_after(noise: &Noise, seed: u64, before: usize, factor: f64, bound: Option<f64>) -> Option<usize> {
    let (a, b) = values(noise, seed, before, factor);
    let alarm = Alarm::new(&a, Direction::LowerIsBetter, 0.0, FACTOR)?;
    let rings = |seen: usize| match bound {
        Some(bound) => seen >= SCRAPES && b[seen - SCRAPES..seen].iter().all(|v| *v > bound * alarm.normal()),
        None => alarm.rings(&b[..seen], SCRAPES),
    };
    (1..=b.len()).find(|&seen| rings(seen))
}

/// Trials in which one of the signals rings although nothing changed.
fn false_alarms(noise: &Noise, before: usize, trials: u64, bound: Option<f64>) -> u64 {
    let rings = |trial: u64| {
        (1..=SIGNALS).any(|signal| rings_after(noise, trial * 1_009 + signal, before, 1.0, bound).is_some())
    };
    (0..trials).map(|trial| u64::from(rings(trial))).sum()
}

#[test]
fn noise_seldom_rings() {
    let trials = trials(20);
    println!("| noise | ρ | CV | 2× alone, 60 before | the alarm, 60 before | the alarm, 180 before |");
    for (name, noise) in plain().into_iter().chain(disturbed()) {
        let [alone, short, long] = [(60, Some(FACTOR)), (60, None), (180, None)]
            .map(|(before, bound)| false_alarms(&noise, before, trials, bound));
        println!(
            "| {name} | {} | {:.0} % | {} | {} | {} |",
            noise.rho,
            100.0 * noise.cv,
            percent_with_interval(alone, trials),
            percent_with_interval(short, trials),
            percent_with_interval(long, trials),
        );
        // Where the promise holds: docs/TRUST.md says where it does not.
        if noise.bursts == 0.0 {
            let most = most_expected(trials, 0.02);
            assert!(short <= most && long <= most, "{name} {noise:?}: {short}, {long}, {most} at most");
        }
    }
}

#[test]
fn harm_rings_within_three_scrapes() {
    let trials = trials(40);
    println!("| harm | ρ | CV | rings at the 3rd scrape | within 10 |");
    for (rho, cv) in [(0.0, 0.05), (0.8, 0.05), (0.3, 0.15), (0.8, 0.15), (0.3, 0.40), (0.8, 0.40)] {
        for harm in [3.0, 4.0, 10.0] {
            let noise = Noise::new(rho, cv);
            let after: Vec<_> =
                (0..trials).map(|trial| rings_after(&noise, trial * 1_009 + 1, 60, harm, None)).collect();
            let within =
                |scrapes: usize| after.iter().flatten().filter(|&&after| after <= scrapes).count() as u64;
            println!(
                "| ×{harm} | {rho} | {:.0} % | {} | {} |",
                100.0 * cv,
                percent_with_interval(within(SCRAPES), trials),
                percent_with_interval(within(10), trials),
            );
            if cv < 0.1 || (cv < 0.3 && (rho < 0.5 || harm > 4.5)) {
                let missed = trials - within(SCRAPES);
                assert!(missed <= most_expected(trials, 0.02), "×{harm} {noise:?}: {missed} rang later");
            }
        }
    }
}
