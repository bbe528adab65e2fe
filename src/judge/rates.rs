//! How often a whole trial errs and how often it finds a gain, on synthetic noise. Test-only.
//!
//! `cargo test --lib judge::rates` checks the promises with few trials a cell; with `JUDGE_TRIALS=2000` in the
//! environment and `-- --nocapture` the same test prints the table of `docs/VERDICT.md`.

use super::binomial::percent_with_interval;
use super::noise::{Noise, Wander};
use super::*;
use crate::model::{Arm, Direction, Segment, SignalName, Unit, Waves};

/// How long a trial's arms are.
#[derive(Debug, Clone, Copy)]
enum Course {
    /// A: `before` scrapes; B: 60, then 120, then 180.
    Extended { before: usize },
    /// A 60, B 60; then B 120; then A again 60; then B again 60: four looks.
    SwitchedBack,
    /// A 90; B: 180, then 240, then 300.
    Waves,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
struct Cell {
    noise: Noise,
    course: Course,
    guards: usize,
    /// after/before of the goal.
    goal: f64,
    /// after/before of the first guard.
    guard: f64,
    /// The waves that run through the goal.
    waves: Option<Waves>,
}

impl std::fmt::Display for Course {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Extended { before } => write!(f, "{before} + 60/120/180"),
            Self::SwitchedBack => f.write_str("A-B-A-B"),
            Self::Waves => f.write_str("90 + 180/240/300"),
        }
    }
}

impl Cell {
    fn null(noise: Noise, guards: usize) -> Self {
        Self { noise, course: Course::Extended { before: 60 }, guards, goal: 1.0, guard: 1.0, waves: None }
    }

    /// The segments that each look sees.
    fn looks(&self) -> Vec<Vec<(Arm, usize)>> {
        match self.course {
            Course::Extended { before } => {
                [60, 120, 180].iter().map(|&after| vec![(Arm::A, before), (Arm::B, after)]).collect()
            }
            Course::Waves => {
                [180, 240, 300].iter().map(|&after| vec![(Arm::A, 90), (Arm::B, after)]).collect()
            }
            Course::SwitchedBack => {
                let whole = [(Arm::A, 60), (Arm::B, 120), (Arm::A, 60), (Arm::B, 60)];
                vec![
                    vec![(Arm::A, 60), (Arm::B, 60)],
                    whole[..2].to_vec(),
                    whole[..3].to_vec(),
                    whole.to_vec(),
                ]
            }
        }
    }

    /// The look at which a trial ends, and how; `None` where it stays undecided.
    fn run_by(&self, trial: u64, rule: impl Fn(&Judgement) -> Ruling) -> Option<(usize, Ruling)> {
        let looks = self.looks();
        let length = looks.last().map_or(0, |segments| segments.iter().map(|(_, n)| n).sum());
        let noises: Vec<Vec<Option<f64>>> = (0..=self.guards)
            .map(|signal| self.noise.log_values(trial * 1_009 + signal as u64 + 1, length))
            .collect();
        for (look, segments) in looks.iter().enumerate() {
            let series = |signal: usize| {
                let factor = [self.goal, self.guard].get(signal).copied().unwrap_or(1.0);
                cut(&noises[signal], segments, factor, signal)
            };
            let mut goal = series(0);
            if let Some(waves) = self.waves {
                roll(&mut goal, waves, trial);
            }
            let judgement = judge(&Evidence {
                goal,
                guards: (1..=self.guards).map(series).collect(),
                load: None,
                look: look as u8,
                looks: looks.len() as u8,
                incomparable: vec![],
                stolen: vec![],
                waves: self.waves,
            });
            let ruling = rule(&judgement);
            if ruling != Ruling::Extend {
                return Some((look, ruling));
            }
        }
        None
    }

    fn measure(&self, trials: u64) -> Rates {
        self.measure_by(trials, |judgement| judgement.ruling)
    }

    fn measure_by(&self, trials: u64, rule: impl Fn(&Judgement) -> Ruling) -> Rates {
        let mut rates = Rates { trials, ..Rates::default() };
        for ending in (0..trials).filter_map(|trial| self.run_by(trial, &rule)) {
            match ending {
                (0, Ruling::Keep) => rates.kept_at_once += 1,
                (_, Ruling::Keep) => rates.kept_later += 1,
                _ => rates.reverted += 1,
            }
        }
        rates
    }
}

fn cut(noise: &[Option<f64>], segments: &[(Arm, usize)], factor: f64, signal: usize) -> Series {
    let mut rest = noise;
    let segment = |&(arm, n): &(Arm, usize)| {
        let (now, later) = rest.split_at(n);
        rest = later;
        let effect = if arm == Arm::B { factor } else { 1.0 };
        Segment { arm, values: now.iter().map(|v| v.map(|v| 100.0 * effect * v.exp())).collect() }
    };
    Series {
        signal: SignalName::new(format!("signal_{signal}")),
        unit: Unit::Ms,
        direction: Direction::LowerIsBetter,
        scales_with_load: false,
        floor: 0.0,
        segments: segments.iter().map(segment).collect(),
    }
}

/// Waves as a checkpoint makes them: six times as much right after it, and less and less. `trial` says where in a wave
/// each arm begins.
fn roll(series: &mut Series, waves: Waves, trial: u64) {
    for segment in &mut series.segments {
        let length = if segment.arm == Arm::A { waves.before } else { waves.after };
        let begin = (trial.wrapping_mul(2_654_435_761) >> 7) as usize % length;
        for (at, value) in segment.values.iter_mut().enumerate() {
            let depth = 1.0 + 5.0 * (-(((begin + at) % length) as f64) / 8.0).exp();
            *value = value.map(|value| value * depth);
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Rates {
    trials: u64,
    kept_at_once: u64,
    kept_later: u64,
    reverted: u64,
}

impl Rates {
    fn kept(self) -> u64 {
        self.kept_at_once + self.kept_later
    }
}

/// Trials a cell: few in the suite, `JUDGE_TRIALS` for the table.
pub(super) fn trials(in_suite: u64) -> u64 {
    std::env::var("JUDGE_TRIALS").ok().and_then(|n| n.parse().ok()).unwrap_or(in_suite)
}

/// The count that a rate of `rate` exceeds in fewer than 1 of 1,000 runs of `n` trials.
pub(super) fn most_expected(n: u64, rate: f64) -> u64 {
    let mut term = (1.0 - rate).powi(i32::try_from(n).expect("few trials"));
    let mut below = term;
    let mut count = 0;
    while below < 0.999 && count < n {
        term *= (n - count) as f64 / (count + 1) as f64 * rate / (1.0 - rate);
        below += term;
        count += 1;
    }
    count
}

pub(super) fn plain() -> Vec<(&'static str, Noise)> {
    let cells = [0.05, 0.15, 0.40].into_iter().flat_map(|cv| [0.0, 0.3, 0.5, 0.7, 0.8].map(|rho| (rho, cv)));
    cells.map(|(rho, cv)| ("plain", Noise::new(rho, cv))).collect()
}

type Disturb = fn(Noise) -> Noise;

/// Each disturbance at the corners of ρ and CV.
fn at_corners(kinds: &[(&'static str, Disturb)]) -> Vec<(&'static str, Noise)> {
    let corners = [(0.0, 0.05), (0.8, 0.05), (0.3, 0.15), (0.0, 0.40), (0.8, 0.40)];
    kinds
        .iter()
        .flat_map(|(name, make)| corners.map(|(rho, cv)| (*name, make(Noise::new(rho, cv)))))
        .collect()
}

pub(super) fn disturbed() -> Vec<(&'static str, Noise)> {
    at_corners(&[
        ("bursts", |noise| Noise { bursts: 0.02, ..noise }),
        ("10 % missing", |noise| Noise { missing: 0.1, ..noise }),
        ("+5 % trend", |noise| Noise { wander: Wander::Trend(0.05 / 240.0), ..noise }),
        ("−5 % trend", |noise| Noise { wander: Wander::Trend(-0.05 / 240.0), ..noise }),
        ("walk 2 %", |noise| Noise { wander: Wander::Walk(0.02 / 60.0_f64.sqrt()), ..noise }),
    ])
}

/// Worse than what is promised for: what happens then is measured too.
fn beyond() -> Vec<(&'static str, Noise)> {
    at_corners(&[
        ("+10 % trend", |noise| Noise { wander: Wander::Trend(0.10 / 240.0), ..noise }),
        ("−10 % trend", |noise| Noise { wander: Wander::Trend(-0.10 / 240.0), ..noise }),
        ("walk 4 %", |noise| Noise { wander: Wander::Walk(0.04 / 60.0_f64.sqrt()), ..noise }),
        ("slow half", |noise| Noise { wander: Wander::Slow, ..noise }),
    ])
}

/// Kept at the first look, kept, reverted: each with its interval.
fn print_row(name: &str, cell: &Cell, rates: Rates) {
    let Cell { noise, course, guards, goal, guard, waves: _ } = cell;
    let shown = |count: u64| percent_with_interval(count, rates.trials);
    println!(
        "| {name} | {course} | {} | {:.0} % | {guards} | {goal:.2} | {guard:.2} | {} | {} | {} |",
        noise.rho,
        100.0 * noise.cv,
        shown(rates.kept_at_once),
        shown(rates.kept()),
        shown(rates.reverted),
    );
}

#[test]
fn a_change_that_changes_nothing_is_seldom_kept_and_seldom_called_harmful() {
    let trials = trials(25);
    let noises: Vec<_> = plain().into_iter().chain(disturbed()).collect();
    for guards in [0, 3] {
        let mut sum = Rates::default();
        for (name, noise) in &noises {
            let cell = Cell::null(*noise, guards);
            let rates = cell.measure(trials);
            print_row(name, &cell, rates);
            let most = most_expected(trials, 0.02);
            assert!(
                rates.kept() <= most && rates.reverted <= most,
                "{name} {cell:?}: {rates:?}, {most} at most"
            );
            sum.trials += rates.trials;
            sum.kept_later += rates.kept();
            sum.reverted += rates.reverted;
        }
        println!(
            "| all {} cells, {guards} guards: kept {}, reverted {} |",
            noises.len(),
            percent_with_interval(sum.kept(), sum.trials),
            percent_with_interval(sum.reverted, sum.trials),
        );
        let most = most_expected(sum.trials.min(20_000), 0.02);
        assert!(sum.kept() <= most && sum.reverted <= most, "all cells: {sum:?}, {most} at most");
    }
}

#[test]
fn noise_beyond_the_promise_does_not_break_it_altogether() {
    let trials = trials(15);
    for (name, noise) in beyond() {
        for course in [Course::Extended { before: 60 }, Course::SwitchedBack] {
            let cell = Cell { course, ..Cell::null(noise, 0) };
            let rates = cell.measure(trials);
            print_row(name, &cell, rates);
            let most = most_expected(trials, 0.12);
            assert!(
                rates.kept() <= most && rates.reverted <= most,
                "{name} {cell:?}: {rates:?}, {most} at most"
            );
        }
    }
}

#[test]
fn switching_back_and_forth_errs_no_more() {
    let trials = trials(25);
    for (name, noise) in plain().into_iter().chain(disturbed()).filter(|(_, noise)| noise.rho != 0.5) {
        let cell = Cell { course: Course::SwitchedBack, ..Cell::null(noise, 0) };
        let rates = cell.measure(trials);
        print_row(name, &cell, rates);
        let most = most_expected(trials, 0.02);
        assert!(rates.kept() <= most && rates.reverted <= most, "{name} {cell:?}: {rates:?}, {most} at most");
    }
}

/// Noise on waves of 30 scrapes; the change does nothing, or makes them twice as long, which is a gain of a third.
#[test]
fn waves_are_compared_as_waves() {
    let trials = trials(25);
    let same = Some(Waves { before: 30, after: 30 });
    for (name, noise) in plain().into_iter().chain(disturbed()) {
        let cell = Cell { course: Course::Waves, waves: same, ..Cell::null(noise, 0) };
        let rates = cell.measure(trials);
        print_row(&format!("waves, {name}"), &cell, rates);
        let most = most_expected(trials, 0.02);
        assert!(rates.kept() <= most && rates.reverted <= most, "{name} {cell:?}: {rates:?}, {most} at most");
    }
    let longer = Some(Waves { before: 30, after: 60 });
    for (rho, cv) in [(0.3, 0.05), (0.3, 0.15), (0.7, 0.15), (0.3, 0.40)] {
        let cell = Cell { course: Course::Waves, waves: longer, ..Cell::null(Noise::new(rho, cv), 0) };
        let rates = cell.measure(trials);
        print_row("waves, twice as long", &cell, rates);
        if cv < 0.1 {
            assert!(trials - rates.kept() <= most_expected(trials, 0.05), "{cell:?}: {rates:?}");
        }
    }
}

#[test]
fn real_gains_are_found() {
    let trials = trials(150);
    let noise = Noise::new(0.3, 0.15);
    for guards in [0, 3] {
        for (before, goal) in [(60, 0.8), (60, 0.9), (120, 0.9), (180, 0.9)] {
            let cell = Cell { goal, course: Course::Extended { before }, ..Cell::null(noise, guards) };
            let rates = cell.measure(trials);
            print_row("gain", &cell, rates);
            // The promises of docs/VERDICT.md, each less what chance takes in so few trials.
            let (found, promised) = match (before, goal) {
                (60, 0.8) => (rates.kept_at_once, 0.95),
                (180, _) => (rates.kept(), 0.80),
                _ => continue,
            };
            let missed = trials - found;
            assert!(missed <= most_expected(trials, 1.0 - promised), "{cell:?}: {rates:?}");
        }
    }
}

#[test]
fn a_large_gain_is_found_in_heavy_noise() {
    let trials = trials(40);
    for (rho, cv) in [(0.7, 0.15), (0.3, 0.40), (0.7, 0.40), (0.8, 0.40)] {
        for (guards, goal) in [(0, 0.8), (0, 0.5), (0, 0.3), (3, 0.8), (3, 0.5), (3, 0.3)] {
            let cell = Cell { goal, ..Cell::null(Noise::new(rho, cv), guards) };
            let rates = cell.measure(trials);
            print_row("gain", &cell, rates);
            if guards == 0 && goal < 0.4 {
                let missed = trials - rates.kept();
                assert!(missed <= most_expected(trials, 0.05), "{cell:?}: {rates:?}");
            }
        }
    }
}

#[test]
fn a_harmed_guard_is_not_passed() {
    let trials = trials(40);
    for (rho, cv) in [(0.3, 0.05), (0.3, 0.15), (0.7, 0.15), (0.7, 0.40)] {
        for guard in [1.1, 1.2, 1.3, 1.5] {
            let cell = Cell { goal: 0.5, guard, ..Cell::null(Noise::new(rho, cv), 3) };
            let rates = cell.measure(trials);
            print_row("harm", &cell, rates);
            if guard > 1.25 && cv < 0.3 {
                let most = most_expected(trials, 0.05);
                assert!(rates.kept() <= most, "{cell:?}: {rates:?}, {most} at most");
            }
        }
    }
}

/// Three rules for guards over the same intervals: all of the interval below +5 %; the estimate below +5 % and the
/// interval below +20 %; and the one in use.
#[test]
fn guards_with_their_own_noise_do_not_forbid_every_gain() {
    fn strict(judgement: &Judgement) -> Ruling {
        by_guards(judgement, |guard| guard.high < 0.05)
    }
    fn middle(judgement: &Judgement) -> Ruling {
        by_guards(judgement, |guard| guard.change < 0.05 && guard.high < 0.20)
    }
    fn by_guards(judgement: &Judgement, safe: impl Fn(&Comparison) -> bool) -> Ruling {
        let gain = judgement.goal.as_ref().is_some_and(|goal| goal.high <= -LEAST_GAIN);
        match judgement.ruling {
            Ruling::Revert => Ruling::Revert,
            _ if gain && judgement.guards.iter().all(safe) => Ruling::Keep,
            _ => Ruling::Extend,
        }
    }
    let trials = trials(50);
    for (rho, cv) in [(0.3, 0.05), (0.3, 0.15), (0.7, 0.15), (0.7, 0.40)] {
        for guard in [1.0, 1.1, 1.2] {
            let cell = Cell { goal: 0.5, guard, ..Cell::null(Noise::new(rho, cv), 3) };
            let in_use = cell.measure(trials);
            let strict = cell.measure_by(trials, strict);
            print_row("guards: interval < +5 %", &cell, strict);
            print_row("guards: estimate < +5 %", &cell, cell.measure_by(trials, middle));
            print_row("guards: in use", &cell, in_use);
            if (rho, cv, guard) == (0.3, 0.15, 1.0) {
                assert!(strict.kept_at_once <= trials / 10, "{strict:?}: then the simpler rule will do");
                assert!(trials - in_use.kept_at_once <= most_expected(trials, 0.05), "{in_use:?}");
            }
        }
    }
}
