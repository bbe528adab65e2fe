//! The verdict on recorded noise: signals of real sandboxes while nothing was changed. Test-only.
//!
//! `tests/fixtures/noise/*.csv` hold ten minutes each, one row a second, as `scripts/record_noise.py` writes them (`make
//! placebo-record` makes more). A trial is a window of rows: A, B with its three looks, then A and B once more. Trials at
//! every fifth row overlap, so their rate is an estimate alone; the interval is that of the trials that do not.
//! `cargo test --lib judge::recorded -- --nocapture` prints the table of `docs/TRUST.md`.

use super::binomial::percent_with_interval;
use super::*;
use crate::model::{Arm, Direction, Segment, SignalName, Unit};

const RECORDINGS: [(&str, &str); 4] = [
    ("healthy", include_str!("../../tests/fixtures/noise/healthy.csv")),
    ("healthy, bursty", include_str!("../../tests/fixtures/noise/healthy-bursty.csv")),
    ("spilling-sorts", include_str!("../../tests/fixtures/noise/spilling-sorts.csv")),
    ("spilling-sorts, bursty", include_str!("../../tests/fixtures/noise/spilling-sorts-bursty.csv")),
];

/// Goals, each with the others as its guards.
const GOALS: [&str; 2] = ["wal_rate", "p95_write_latency"];
const STRIDE: usize = 5;

/// Columns by name, a value or none a second.
struct Recording(Vec<(String, Vec<Option<f64>>)>);

impl Recording {
    fn parse(text: &str) -> Self {
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        let mut columns: Vec<(String, Vec<Option<f64>>)> =
            lines.next().unwrap().split(',').map(|name| (name.to_owned(), Vec::new())).collect();
        for line in lines {
            let cells: Vec<&str> = line.split(',').collect();
            assert_eq!(cells.len(), columns.len(), "{line}");
            for ((_, column), cell) in columns.iter_mut().zip(cells) {
                column.push((!cell.is_empty()).then(|| cell.parse().unwrap()));
            }
        }
        Self(columns)
    }

    fn rows(&self) -> usize {
        self.0[0].1.len()
    }

    /// A column from row `at` on, cut into arms.
    fn series(&self, name: &str, at: usize, arms: &[(Arm, usize)]) -> Series {
        let column = &self.0.iter().find(|(known, _)| known == name).unwrap().1;
        let mut from = at;
        let mut segment = |&(arm, rows): &(Arm, usize)| {
            let values = column[from..from + rows].to_vec();
            from += rows;
            Segment { arm, values }
        };
        Series {
            signal: SignalName::new(name),
            unit: Unit::Ms,
            direction: Direction::LowerIsBetter,
            scales_with_load: name == "wal_rate",
            // As the daemon has it: a quarter of the level; 25 % of iowait is what the playbook allows.
            floor: if name == "io_wait" { 25.0 / 4.0 } else { 0.0 },
            segments: arms.iter().map(&mut segment).collect(),
        }
    }

    /// How a whole trial of a change that changes nothing ends, from row `at` on; `None`: undecided.
    fn trial(&self, goal: &str, at: usize, before: usize) -> Option<Ruling> {
        let arms = course(before);
        // What each look sees: B for 60, 120 and 180 rows; then, after A and B once more, all.
        for (look, b) in [60, 120, 180].into_iter().chain([0]).enumerate() {
            let seen = if b == 0 { arms.to_vec() } else { vec![arms[0], (Arm::B, b)] };
            let guards =
                self.0.iter().map(|(name, _)| name.as_str()).filter(|&name| name != goal && name != "load");
            let judgement = judge(&Evidence {
                goal: self.series(goal, at, &seen),
                guards: guards.map(|name| self.series(name, at, &seen)).collect(),
                load: Some(self.series("load", at, &seen)),
                look: look as u8,
                looks: 4,
                incomparable: vec![],
                stolen: vec![],
                waves: None,
            });
            if judgement.ruling != Ruling::Extend {
                return Some(judgement.ruling);
            }
        }
        None
    }
}

/// The arms of a trial that goes all the way.
fn course(before: usize) -> [(Arm, usize); 4] {
    [(Arm::A, before), (Arm::B, 180), (Arm::A, 60), (Arm::B, 60)]
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    trials: u64,
    kept: u64,
    harm: u64,
}

impl Counts {
    fn add(&mut self, ending: Option<Ruling>) {
        self.trials += 1;
        self.kept += u64::from(ending == Some(Ruling::Keep));
        self.harm += u64::from(ending == Some(Ruling::Revert));
    }
}

#[test]
fn nothing_is_kept_and_nothing_is_harm_in_recorded_noise() {
    let (mut overlapping, mut apart) = (Counts::default(), Counts::default());
    for (name, text) in RECORDINGS {
        let recording = Recording::parse(text);
        for before in [60, 180] {
            let length: usize = course(before).iter().map(|(_, rows)| rows).sum();
            for goal in GOALS {
                let mut here = Counts::default();
                for at in (0..=recording.rows() - length).step_by(STRIDE) {
                    let ending = recording.trial(goal, at, before);
                    here.add(ending);
                    if at % length == 0 {
                        apart.add(ending);
                    }
                }
                println!("| {name} | {goal} | {before} | {} | {} | {} |", here.trials, here.kept, here.harm);
                overlapping.trials += here.trials;
                overlapping.kept += here.kept;
                overlapping.harm += here.harm;
            }
        }
    }
    let told = |count, of: Counts| percent_with_interval(count, of.trials);
    println!("overlapping: {overlapping:?}; apart: {apart:?}");
    println!("apart: kept {}, harm {}", told(apart.kept, apart), told(apart.harm, apart));
    // One in fifty of the overlapping trials: what is promised, as far as four recordings can tell.
    let most = overlapping.trials / 50;
    assert!(overlapping.kept <= most && overlapping.harm <= most, "{overlapping:?}");
}
