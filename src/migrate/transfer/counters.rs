//! What readers, writers and builders count while they work; whoever samples takes differences.

use super::segment::nanos;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

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
    pub(crate) read_time: AtomicU64,
    /// Readers that waited for room; shared with the sinks.
    pub(crate) room_time: Arc<AtomicU64>,
    /// Readers that converted rows.
    pub(crate) convert_time: Arc<AtomicU64>,
    /// Writers at work, waiting for rows included.
    pub(crate) write_time: AtomicU64,
    /// Writers that waited for rows within a chunk, or for a chunk.
    pub(crate) starved_time: AtomicU64,
    pub(crate) commit_time: AtomicU64,
    pub(crate) index_time: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) tables_loaded: AtomicU64,
    pub(crate) readers: Gauge,
    pub(crate) writers: Gauge,
    pub(crate) builders: Gauge,
    pub(crate) source_connections: Gauge,
    pub(crate) target_connections: Gauge,
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
    fn a_gauge_forgets_who_goes() {
        let gauge = Gauge::default();
        let one = gauge.enter();
        let two = gauge.enter();
        assert_eq!(gauge.get(), 2);
        drop((one, two));
        assert_eq!(gauge.get(), 0);
    }
}
