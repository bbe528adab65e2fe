//! What readers, writers and builders count while they work; whoever samples takes differences.

use super::segment::nanos;
use super::uptake::Uptake;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Counters since the run began, and gauges. Times are nanoseconds, summed over all who did it.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) rows_written: AtomicU64,
    /// Rows that the target took, committed or not yet, and again where their chunk is tried again. They come evenly,
    /// where those of a large chunk are written all at once.
    pub(crate) rows_taken: AtomicU64,
    pub(crate) bytes_written: AtomicU64,
    pub(crate) chunks: AtomicU64,
    /// From a chunk's first read to its commit.
    pub(crate) chunk_time: AtomicU64,
    /// Readers at work, waiting for room included.
    pub(crate) read_time: Spent,
    /// Readers that waited for room; shared with the sinks.
    pub(crate) room_time: Arc<Spent>,
    /// Readers that converted rows.
    pub(crate) convert_time: Arc<AtomicU64>,
    /// Writers at work, waiting for rows or for a chunk included.
    pub(crate) write_time: Spent,
    /// Writers that waited for rows within a chunk, or for a chunk.
    pub(crate) starved_time: Spent,
    pub(crate) commit_time: AtomicU64,
    /// Builders at work.
    pub(crate) index_time: Spent,
    pub(crate) errors: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) tables_loaded: AtomicU64,
    pub(crate) readers: Gauge,
    pub(crate) writers: Gauge,
    pub(crate) builders: Gauge,
    pub(crate) source_connections: Gauge,
    pub(crate) target_connections: Gauge,
    /// Whether the transfer goes by the settings that were asked for.
    pub(crate) uptake: Uptake,
    /// For each table in work how many of its chunks are on their way.
    chunks_in_work: Mutex<BTreeMap<u32, u32>>,
    /// Times that the target took for a chunk, since they were last taken.
    pub(crate) write_latencies: Latencies,
    /// Times until the source answered, since they were last taken.
    pub(crate) query_latencies: Latencies,
}

impl Counters {
    /// A chunk of the table is on its way.
    pub(crate) fn chunk_comes(&self, table: u32) {
        *self.chunks_in_work.lock().unwrap_or_else(PoisonError::into_inner).entry(table).or_default() += 1;
    }

    /// It is committed, or has failed.
    pub(crate) fn chunk_goes(&self, table: u32) {
        let mut chunks = self.chunks_in_work.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(many) = chunks.get_mut(&table) {
            *many -= 1;
            if *many == 0 {
                chunks.remove(&table);
            }
        }
    }

    /// Somebody builds an index or a constraint, until what this gives is dropped.
    pub(crate) fn building(&self) -> (Entered<'_>, Spends<'_>) {
        (self.builders.enter(), self.index_time.enter())
    }

    /// The tables in work, by their numbers.
    pub(crate) fn in_work(&self) -> Vec<u32> {
        self.chunks_in_work.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }
}

/// How many there are now.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicI64);

impl Gauge {
    /// One more, until the guard is dropped.
    pub(crate) fn enter(&self) -> Entered<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Entered(self)
    }

    /// So many more, or fewer.
    pub(crate) fn add(&self, many: i64) {
        self.0.fetch_add(many, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Somebody is counted by a [`Gauge`].
#[derive(Debug)]
pub(crate) struct Entered<'a>(&'a Gauge);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The time that all who do something have spent on it so far: also those who are still at it, so that an interval
/// has its own part of what takes longer than that.
#[derive(Debug)]
pub(crate) struct Spent(Mutex<Spending>);

#[derive(Debug)]
struct Spending {
    many: u64,
    /// Up to here time is counted.
    until: Instant,
    nanos: u64,
}

impl Spending {
    fn pass(&mut self, now: Instant) {
        let passed = nanos(now.saturating_duration_since(self.until));
        self.nanos = self.nanos.saturating_add(passed.saturating_mul(self.many));
        self.until = self.until.max(now);
    }
}

impl Default for Spent {
    fn default() -> Self {
        Self(Mutex::new(Spending { many: 0, until: Instant::now(), nanos: 0 }))
    }
}

impl Spent {
    /// One more is at it, until the guard is dropped.
    pub(crate) fn enter(&self) -> Spends<'_> {
        self.passed().many += 1;
        Spends(self)
    }

    /// Nanoseconds up to now.
    pub(crate) fn so_far(&self) -> u64 {
        self.passed().nanos
    }

    fn passed(&self) -> MutexGuard<'_, Spending> {
        let mut spending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spending.pass(Instant::now());
        spending
    }
}

/// Somebody's time is counted by a [`Spent`].
#[derive(Debug)]
pub(crate) struct Spends<'a>(&'a Spent);

impl Drop for Spends<'_> {
    fn drop(&mut self) {
        self.0.passed().many -= 1;
    }
}

/// Durations of one interval.
#[derive(Debug, Default)]
pub(crate) struct Latencies(Mutex<Vec<f32>>);

/// Of so many durations the figures of an interval are made; more of them say no more.
const MOST_LATENCIES: usize = 4096;

impl Latencies {
    pub(crate) fn note(&self, took: Duration) {
        let mut seconds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seconds.len() < MOST_LATENCIES {
            seconds.push(took.as_secs_f32());
        }
    }

    /// The interval's mean and 95th percentile in milliseconds, and begins a new one; `None`: there was none.
    pub(crate) fn take_ms(&self) -> Option<(f64, f64)> {
        let mut seconds = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if seconds.is_empty() {
            return None;
        }
        seconds.sort_by(f32::total_cmp);
        let mean = seconds.iter().map(|second| f64::from(*second)).sum::<f64>() / seconds.len() as f64;
        // The nearest rank.
        let rank = (seconds.len() * 95).div_ceil(100).clamp(1, seconds.len());
        Some((mean * 1e3, f64::from(seconds[rank - 1]) * 1e3))
    }
}

/// Adds a duration.
pub(crate) fn add(counter: &AtomicU64, took: Duration) {
    counter.fetch_add(nanos(took), Ordering::Relaxed);
}

/// Adds a number.
pub(crate) fn count(counter: &AtomicU64, many: u64) {
    counter.fetch_add(many, Ordering::Relaxed);
}

/// What it stands at.
pub(crate) fn at(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_those_of_an_interval() {
        let latencies = Latencies::default();
        assert_eq!(latencies.take_ms(), None);
        for millis in 1..=100 {
            latencies.note(Duration::from_millis(millis));
        }
        let (mean, p95) = latencies.take_ms().unwrap();
        assert!((mean - 50.5).abs() < 0.01 && (p95 - 95.0).abs() < 0.01, "{mean} {p95}");
        assert_eq!(latencies.take_ms(), None);
    }

    #[test]
    fn time_is_counted_while_it_is_spent() {
        let began = Instant::now();
        let after = |millis| began + Duration::from_millis(millis);
        let mut spending = Spending { many: 0, until: began, nanos: 0 };
        spending.pass(after(10));
        assert_eq!(spending.nanos, 0, "nobody is at it");
        spending.many = 2;
        spending.pass(after(15));
        assert_eq!(spending.nanos, 10_000_000, "two, for 5 ms, and still at it");
        spending.pass(after(12));
        assert_eq!(spending.nanos, 10_000_000, "no time is counted twice");
        spending.many = 1;
        spending.pass(after(16));
        assert_eq!(spending.nanos, 11_000_000);
    }

    #[test]
    fn who_has_gone_spends_no_time() {
        let spent = Spent::default();
        let one = spent.enter();
        let two = spent.enter();
        assert_eq!(spent.passed().many, 2);
        drop((one, two));
        assert_eq!(spent.passed().many, 0);
        assert_eq!(spent.so_far(), spent.so_far());
    }

    #[test]
    fn a_gauge_forgets_who_goes() {
        let gauge = Gauge::default();
        let one = gauge.enter();
        let two = gauge.enter();
        assert_eq!(gauge.get(), 2);
        drop((one, two));
        assert_eq!(gauge.get(), 0);
    }
}
