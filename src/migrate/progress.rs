//! How far a run is, for whoever watches it: a console, the metrics.
//!
//! In: what the run says of its stages, and the transfer's counters. Out: a [`View`] of this moment. It formats
//! nothing and computes no rate: whoever watches has two views and the time between them.

use super::adjust::{Sample, Settings, Stage, Trends, Window};
use super::adjuster::{Adjustment, Kind, MOST_SAMPLES, Summary};
use super::transfer::counters::{Counters, at, count};
use crate::model::Verdict;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How adjustments end, as they are counted: trials by their verdict; writers taken away for the target's levels, and
/// given back.
pub const ENDINGS: [&str; 5] = ["kept", "reverted", "undecided", "yielded", "given_back"];

/// A run as it goes; shared by the run and those who watch.
#[derive(Debug)]
pub struct Progress {
    pub(crate) counters: Arc<Counters>,
    stage: Mutex<Stage>,
    tables: AtomicU64,
    rows: AtomicU64,
    /// Rows that an earlier process brought.
    rows_before: AtomicU64,
    /// The settings in force.
    pub(crate) settings: watch::Sender<Settings>,
    /// The latest samples, and the moment when the newest was taken.
    samples: Mutex<(Window, Option<Instant>)>,
    /// The run's name, once it has its lease.
    run: OnceLock<String>,
    /// By [`ENDINGS`].
    adjustments: [AtomicU64; ENDINGS.len()],
    /// How the settings were adjusted, once no rows are moved any more.
    summary: OnceLock<Summary>,
}

/// A run at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View {
    /// What it is busy with.
    pub stage: Stage,
    /// Rows that are in the target, those of an earlier process too.
    pub rows: u64,
    /// Rows that there probably are.
    pub rows_expected: u64,
    /// Bytes of rows in COPY's form that this process brought.
    pub bytes: u64,
    /// Tables whose rows are all there.
    pub tables: u64,
    /// Tables of the run.
    pub tables_expected: u64,
    /// Rows that the target refused.
    pub rejected: u64,
    /// Chunks that were tried again.
    pub retries: u64,
    /// Indexes and constraints that are being made.
    pub builds: u64,
    /// The settings in force.
    pub settings: Settings,
    /// Nanoseconds, summed over all who did it: reading, converting, writing, building.
    pub times: [u64; 4],
}

impl Progress {
    /// Nothing has begun; the run starts with these settings.
    pub fn new(settings: Settings) -> Self {
        Self {
            counters: Arc::new(Counters::default()),
            stage: Mutex::new(Stage::Preparing),
            tables: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            rows_before: AtomicU64::new(0),
            settings: watch::Sender::new(settings),
            samples: Mutex::new((Window::new(MOST_SAMPLES), None)),
            run: OnceLock::new(),
            adjustments: Default::default(),
            summary: OnceLock::new(),
        }
    }

    pub(crate) fn note(&self, sample: &Sample) {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.0.push(sample.clone());
        samples.1 = Some(Instant::now());
    }

    /// The last interval's sample, where the run tends, and how old that is at `now`; `None`: no interval is over yet.
    pub fn sampled(&self, now: Instant) -> Option<(Sample, Trends, Duration)> {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let (window, at) = &*samples;
        let age = now.saturating_duration_since((*at)?);
        Some((window.latest()?.clone(), window.trends(), age))
    }

    /// The run has its lease. A second name changes nothing.
    pub(crate) fn name(&self, run: &str) {
        let _ = self.run.set(run.to_owned());
    }

    /// The run's name; `None`: it has no lease yet.
    pub fn run(&self) -> Option<&str> {
        self.run.get().map(String::as_str)
    }

    /// Counts an adjustment that is over.
    pub(crate) fn adjusted(&self, adjustment: &Adjustment) {
        let ending = match (adjustment.kind, adjustment.verdict) {
            (Kind::Trial, Some(Verdict::Kept)) => 0,
            (Kind::Trial, Some(Verdict::Reverted)) => 1,
            (Kind::Trial, Some(Verdict::Undecided) | None) => 2,
            (Kind::Yielded, _) => 3,
            (Kind::GivenBack, _) => 4,
        };
        count(&self.adjustments[ending], 1);
    }

    /// Adjustments that are over, in the order of [`ENDINGS`].
    pub fn adjustments(&self) -> [u64; ENDINGS.len()] {
        self.adjustments.each_ref().map(at)
    }

    /// No rows are moved any more, whatever becomes of the run.
    pub(crate) fn sum_up(&self, summary: &Summary) {
        // A run moves its rows once.
        let _ = self.summary.set(summary.clone());
    }

    /// How the settings were adjusted, also where the run failed; `None`: no row was moved yet, or some still are.
    pub fn summary(&self) -> Option<&Summary> {
        self.summary.get()
    }

    pub(crate) fn enter(&self, stage: Stage) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    pub(crate) fn expect(&self, tables: u64, rows: u64, rows_before: u64) {
        self.tables.store(tables, Ordering::Relaxed);
        self.rows.store(rows, Ordering::Relaxed);
        self.rows_before.store(rows_before, Ordering::Relaxed);
    }

    /// What the run is busy with.
    pub fn stage(&self) -> Stage {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The run now.
    pub fn view(&self) -> View {
        let counters = &self.counters;
        let room = counters.room_time.so_far();
        let convert = at(&counters.convert_time);
        let waited = counters.starved_time.so_far();
        View {
            stage: self.stage(),
            rows: at(&self.rows_before) + at(&counters.rows_written),
            rows_expected: at(&self.rows),
            bytes: at(&counters.bytes_written),
            tables: at(&counters.tables_loaded),
            tables_expected: at(&self.tables),
            rejected: at(&counters.rejected),
            retries: at(&counters.retries),
            builds: u64::try_from(counters.builders.get()).unwrap_or(0),
            settings: *self.settings.borrow(),
            times: [
                counters.read_time.so_far().saturating_sub(room + convert),
                convert,
                counters.write_time.so_far().saturating_sub(waited),
                counters.index_time.so_far(),
            ],
        }
    }
}

/// What most of the time between two views went into: `reading`, `converting`, `writing`, `indexes`; `None`: nothing
/// was done.
pub fn bottleneck(before: &View, after: &View) -> Option<&'static str> {
    const NAMES: [&str; 4] = ["reading", "converting", "writing", "indexes"];
    let spent = |at: usize| after.times[at].saturating_sub(before.times[at]);
    let most = (0..NAMES.len()).max_by_key(|at| spent(*at))?;
    (spent(most) > 0).then(|| NAMES[most])
}
