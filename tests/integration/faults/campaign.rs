//! Faults → a table. Each fault gets dice of its own from the seed, runs on a rig of its own, and tallies what it saw.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// One kind of fault.
pub(super) struct Fault {
    pub(super) name: &'static str,
    /// How often it is run.
    pub(super) times: u64,
    pub(super) run: fn(&mut Dice) -> Tally,
}

/// The chance of one run, with what was rolled, so that a bad outcome can say it.
pub(super) struct Dice {
    random: StdRng,
    rolled: Vec<String>,
}

impl Dice {
    fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), rolled: vec![] }
    }

    /// A time up to `most`; `what` says what for.
    pub(super) fn moment(&mut self, what: &str, most: Duration) -> Duration {
        let most = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        let moment = Duration::from_micros(self.random.random_range(0..=most));
        self.rolled.push(format!("{what} {moment:?}"));
        moment
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, what: &str, end: usize) -> usize {
        let number = self.random.random_range(0..end.max(1));
        self.rolled.push(format!("{what} {number}"));
        number
    }
}

/// What a run saw.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// How many faults there were.
    pub(super) faults: u64,
    /// Outcomes: the old value stood, with the ledger saying so.
    pub(super) old: u64,
    /// The new value stood, with the ledger saying so.
    pub(super) new: u64,
    /// The ledger says that a person must act.
    pub(super) person: u64,
    /// leverd refused to go on, with a clear error, and touched nothing.
    pub(super) refused: u64,
    /// Starts of a second leverd that were refused.
    pub(super) seconds: u64,
    /// What the ledger's open trial was doing when the fault came.
    pub(super) reached: BTreeMap<String, u64>,
    /// Why the fault could not be made here.
    pub(super) skipped: Option<String>,
    /// What must not be.
    pub(super) bad: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.faults += other.faults;
        self.old += other.old;
        self.new += other.new;
        self.person += other.person;
        self.refused += other.refused;
        self.seconds += other.seconds;
        for (phase, count) in other.reached {
            *self.reached.entry(phase).or_default() += count;
        }
        self.skipped = self.skipped.take().or(other.skipped);
        self.bad.extend(other.bad);
    }
}

/// A number from the environment.
pub(super) fn number_from(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| {
        text.trim().parse().unwrap_or_else(|_| panic!("{name}={text}: a whole number is wanted"))
    })
}

/// One run to be done.
struct Job<'a> {
    fault: usize,
    seed: u64,
    of: &'a Fault,
}

/// Runs them all, prints the table, and fails where an outcome was bad.
pub(super) fn run(faults: &[Fault]) {
    let first = number_from("LEVERD_SEED", 1);
    let only = std::env::var("LEVERD_FAULT").unwrap_or_default();
    let mut jobs = Vec::new();
    for (index, fault) in faults.iter().enumerate().filter(|(_, fault)| fault.name.contains(&only)) {
        jobs.extend((0..fault.times).map(|time| Job { fault: index, seed: first + time, of: fault }));
    }
    let begun = Instant::now();
    let (next, done) = (AtomicUsize::new(0), Mutex::new(BTreeMap::<usize, Tally>::new()));
    let lanes = number_from("LEVERD_FAULT_LANES", 10);
    std::thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let tally = one(job);
                    done.lock().unwrap().entry(job.fault).or_default().add(tally);
                }
            });
        }
    });
    let done = done.into_inner().unwrap();
    let table = table(faults, &done, first, begun.elapsed());
    eprintln!("{table}");
    if let Ok(path) = std::env::var("LEVERD_FAULT_TABLE") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        file.unwrap().write_all(table.as_bytes()).unwrap();
    }
    let bad: Vec<&String> = done.values().flat_map(|tally| &tally.bad).collect();
    assert!(bad.is_empty(), "{} bad outcomes:\n{bad:#?}", bad.len());
    assert!(!done.is_empty(), "no fault is called {only:?}");
}

/// A run that panics is a bad outcome like any other.
fn one(job: &Job<'_>) -> Tally {
    let mut dice = Dice::new(job.seed.wrapping_mul(1_000_003).wrapping_add(job.fault as u64));
    let ran = catch_unwind(AssertUnwindSafe(|| (job.of.run)(&mut dice)));
    let mut tally = ran.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        Tally { faults: 1, bad: vec![text.unwrap_or_default()], ..Tally::default() }
    });
    let replay = format!("LEVERD_SEED={} LEVERD_FAULT='{}'", job.seed, job.of.name);
    for bad in &mut tally.bad {
        *bad = format!("{replay}: {bad} (rolled: {})", dice.rolled.join(", "));
        eprintln!("bad outcome: {bad}");
    }
    eprintln!("{replay}: {} faults, {} bad", tally.faults, tally.bad.len());
    tally
}

fn table(faults: &[Fault], done: &BTreeMap<usize, Tally>, seed: u64, took: Duration) -> String {
    let mut text = format!(
        "\n| fault (seeds from {seed}; {} s) | faults | old value | new value | a person is asked | refused | bad |\n\
         |---|---|---|---|---|---|---|\n",
        took.as_secs()
    );
    let mut all = Tally::default();
    let mut phases = BTreeMap::<String, u64>::new();
    for (&index, tally) in done {
        let name = faults[index].name;
        if let Some(why) = &tally.skipped {
            text.push_str(&format!("| {name} | not made: {why} | | | | | |\n"));
            continue;
        }
        let Tally { faults, old, new, person, refused, .. } = tally;
        text.push_str(&format!(
            "| {name} | {faults} | {old} | {new} | {person} | {refused} | {} |\n",
            tally.bad.len()
        ));
        all.faults += faults;
        all.old += old;
        all.new += new;
        all.person += person;
        all.refused += refused;
        all.seconds += tally.seconds;
        all.bad.extend(tally.bad.clone());
        for (phase, count) in &tally.reached {
            *phases.entry(phase.clone()).or_default() += count;
        }
    }
    let Tally { faults, old, new, person, refused, seconds, bad, .. } = &all;
    text.push_str(&format!(
        "| **all** | {faults} | {old} | {new} | {person} | {refused} | **{}** |\n\n",
        bad.len()
    ));
    let phases: Vec<String> = phases.iter().map(|(phase, count)| format!("{phase} {count}")).collect();
    text.push_str(&format!("Where kill -9 found the trial: {}.\n", phases.join(", ")));
    text.push_str(&format!("Starts of a second leverd, all refused: {seconds}.\n"));
    text
}
