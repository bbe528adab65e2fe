//! What an interval of the run was like, out of counters that only grow.
//!
//! In: the transfer's [`Counters`], the host's and the process' own figures, the target's statistics. Out: a
//! [`Sample`] for each interval. Always holds: each number is of the interval alone; what was not measured is `None`.
//!
//! The host is Linux's `/proc`; elsewhere memory and CPU are unknown.

use super::adjust::{Phase, Sample, Settings};
use super::transfer::Budget;
use super::transfer::counters::{Counters, at};
use crate::postgres::stats::Stats;
use chrono::{DateTime, Utc};
use std::time::Duration;

/// How far a run is, as far as anybody knows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Extent {
    pub(crate) tables: u64,
    /// Rows of the whole run, as far as the source knows.
    pub(crate) rows: u64,
    /// Those of them that earlier processes brought.
    pub(crate) rows_before: u64,
}

/// What the target says of itself.
#[derive(Debug)]
pub(crate) struct OfTarget {
    pub(crate) stats: Stats,
    /// Its sessions that wait for a lock.
    pub(crate) lock_waits: f64,
}

/// Counters at one moment.
#[derive(Debug, Clone, Copy, Default)]
struct Reading {
    rows_written: u64,
    rows_taken: u64,
    bytes_written: u64,
    chunks: u64,
    chunk_time: u64,
    read_time: u64,
    room_time: u64,
    convert_time: u64,
    write_time: u64,
    starved_time: u64,
    commit_time: u64,
    index_time: u64,
    errors: u64,
    retries: u64,
    rejected: u64,
}

impl Reading {
    fn of(counters: &Counters) -> Self {
        Self {
            rows_written: at(&counters.rows_written),
            rows_taken: at(&counters.rows_taken),
            bytes_written: at(&counters.bytes_written),
            chunks: at(&counters.chunks),
            chunk_time: at(&counters.chunk_time),
            read_time: counters.read_time.so_far(),
            room_time: counters.room_time.so_far(),
            convert_time: at(&counters.convert_time),
            write_time: counters.write_time.so_far(),
            starved_time: counters.starved_time.so_far(),
            commit_time: at(&counters.commit_time),
            index_time: counters.index_time.so_far(),
            errors: at(&counters.errors),
            retries: at(&counters.retries),
            rejected: at(&counters.rejected),
        }
    }
}

/// Times of all CPUs in ticks, and of this process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct CpuTimes {
    all: f64,
    idle: f64,
    io_wait: f64,
    steal: f64,
    process: f64,
}

impl CpuTimes {
    /// Now; `None`: not on this system.
    pub(crate) fn now() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/stat").ok()?;
        let own = std::fs::read_to_string("/proc/self/stat").ok()?;
        Self::parse(&stat, &own)
    }

    fn parse(stat: &str, own: &str) -> Option<Self> {
        let ticks: Vec<f64> = stat
            .lines()
            .next()?
            .strip_prefix("cpu ")?
            .split_whitespace()
            .take(8)
            .map(|tick| tick.parse().ok())
            .collect::<Option<_>>()?;
        let [_, _, _, idle, io_wait, _, _, steal] = ticks.as_slice() else { return None };
        // A program's name may hold spaces and brackets: fields are counted behind its last one.
        let fields: Vec<&str> = own.rsplit_once(')')?.1.split_whitespace().collect();
        let user: f64 = fields.get(11)?.parse().ok()?;
        let system: f64 = fields.get(12)?.parse().ok()?;
        Some(Self {
            all: ticks.iter().sum(),
            idle: *idle,
            io_wait: *io_wait,
            steal: *steal,
            process: user + system,
        })
    }
}

/// Memory of this process in bytes; `None`: not on this system.
pub(crate) fn own_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// Takes samples, one after the other.
#[derive(Debug)]
pub(crate) struct Sampler {
    before: Reading,
    cpu: Option<CpuTimes>,
    target: Option<Stats>,
    extent: Extent,
    memory_limit: u64,
    budget_bytes: u64,
}

impl Sampler {
    pub(crate) fn new(counters: &Counters, extent: Extent, memory_limit: u64, budget_bytes: u64) -> Self {
        Self {
            before: Reading::of(counters),
            cpu: CpuTimes::now(),
            target: None,
            extent,
            memory_limit,
            budget_bytes,
        }
    }

    /// The interval since the last one. `target`: what it says now, where it could be asked.
    #[expect(clippy::too_many_arguments, reason = "each is another thing that was measured")]
    pub(crate) fn sample(
        &mut self,
        now: DateTime<Utc>,
        interval: Duration,
        settings: Settings,
        phase: Phase,
        counters: &Counters,
        budget: &Budget,
        target: Option<OfTarget>,
    ) -> Sample {
        let mut sample = Sample::unknown(now, interval, settings, phase);
        let reading = Reading::of(counters);
        self.rows(&mut sample, &reading, counters, interval);
        shares(&mut sample, &self.before, &reading, interval);
        latencies(&mut sample, counters);
        sample.queue_rows = Some(budget.waiting_rows() as f64);
        sample.queue_bytes = Some(budget.used_bytes() as f64);
        sample.memory_budget_percent =
            Some(100.0 * budget.used_bytes() as f64 / self.budget_bytes.max(1) as f64);
        sample.index_builds = Some(counters.builders.get() as f64);
        sample.active_writers = Some(counters.writers.get() as f64);
        sample.active_readers = Some(counters.readers.get() as f64);
        sample.source_connections = Some(counters.source_connections.get() as f64);
        sample.target_connections = Some(counters.target_connections.get() as f64);
        self.host(&mut sample);
        self.target(&mut sample, target, interval);
        self.before = reading;
        sample
    }

    fn rows(&self, sample: &mut Sample, now: &Reading, counters: &Counters, interval: Duration) {
        let before = &self.before;
        let seconds = interval.as_secs_f64().max(1e-3);
        let rows = (now.rows_written - before.rows_written) as f64;
        let bytes = (now.bytes_written - before.bytes_written) as f64;
        let chunks = (now.chunks - before.chunks) as f64;
        let taken = (now.rows_taken - before.rows_taken) as f64;
        sample.rows_per_second = Some(taken / seconds);
        sample.bytes_per_second = Some(bytes / seconds);
        sample.chunks = Some(chunks);
        if chunks > 0.0 {
            sample.chunk_rows_mean = Some(rows / chunks);
            sample.chunk_bytes_mean = Some(bytes / chunks);
            sample.chunk_seconds_mean = Some((now.chunk_time - before.chunk_time) as f64 / 1e9 / chunks);
            let commit = (now.commit_time - before.commit_time) as f64;
            sample.commit_latency_ms_mean = Some(commit / 1e6 / chunks);
            let chunk_time = (now.chunk_time - before.chunk_time) as f64;
            sample.chunk_overhead_percent =
                (chunk_time > 0.0).then(|| (100.0 * commit / chunk_time).min(100.0));
        }
        sample.errors = Some((now.errors - before.errors) as f64);
        sample.retries = Some((now.retries - before.retries) as f64);
        sample.rejected_rows = Some((now.rejected - before.rejected) as f64);
        sample.tables_done = Some(at(&counters.tables_loaded) as f64);
        sample.tables_total = Some(self.extent.tables as f64);
        if self.extent.rows > 0 {
            let there = self.extent.rows_before + now.rows_written;
            // The source's statistics may be too low.
            sample.run_percent = Some((100.0 * there as f64 / self.extent.rows as f64).min(100.0));
            let left = self.extent.rows.saturating_sub(there) as f64;
            sample.eta_seconds = (rows > 0.0).then(|| left / (rows / seconds));
        }
    }

    fn host(&mut self, sample: &mut Sample) {
        if let Some(memory) = own_memory() {
            sample.memory_mb = Some(memory as f64 / 1_048_576.0);
            sample.memory_percent = Some(100.0 * memory as f64 / self.memory_limit.max(1) as f64);
        }
        let now = CpuTimes::now();
        if let (Some(before), Some(now)) = (self.cpu, now) {
            let all = now.all - before.all;
            let percent = |ticks: f64| (all > 0.0).then(|| (100.0 * ticks / all).clamp(0.0, 100.0));
            let idle = now.idle - before.idle;
            let io_wait = now.io_wait - before.io_wait;
            let steal = now.steal - before.steal;
            sample.machine_cpu_percent = percent(all - idle - io_wait);
            sample.io_wait_percent = percent(io_wait);
            sample.steal_percent = percent(steal);
            sample.process_cpu_percent = percent(now.process - before.process);
        }
        self.cpu = now;
    }

    fn target(&mut self, sample: &mut Sample, now: Option<OfTarget>, interval: Duration) {
        sample.lock_waits = now.as_ref().map(|now| now.lock_waits);
        let now = now.map(|now| now.stats);
        sample.replication_lag_seconds = now.as_ref().and_then(|stats| stats.replica_lag_seconds);
        if let (Some(before), Some(now)) = (&self.target, &now) {
            let grown = |before: f64, now: f64| Some(now - before).filter(|grown| *grown >= 0.0);
            sample.checkpoints_timed = grown(before.checkpoints.timed, now.checkpoints.timed);
            sample.checkpoints_requested = grown(before.checkpoints.requested, now.checkpoints.requested);
            let wal = grown(before.wal_lsn_bytes, now.wal_lsn_bytes);
            sample.wal_bytes_per_second = wal.map(|bytes| bytes / interval.as_secs_f64().max(1e-3));
        }
        self.target = now;
    }
}

/// Shares of the time that readers, writers and builders had.
fn shares(sample: &mut Sample, before: &Reading, now: &Reading, interval: Duration) {
    let spent = |before: u64, now: u64| now.saturating_sub(before) as f64;
    let room = spent(before.room_time, now.room_time);
    let starved = spent(before.starved_time, now.starved_time);
    let convert = spent(before.convert_time, now.convert_time);
    // Waiting for each other is within the times of both.
    let read = (spent(before.read_time, now.read_time) - room - convert).max(0.0);
    let write = (spent(before.write_time, now.write_time) - starved).max(0.0);
    let index = spent(before.index_time, now.index_time);
    let all = read + convert + write + index + room + starved;
    if all > 0.0 {
        sample.read_percent = Some(100.0 * read / all);
        sample.convert_percent = Some(100.0 * convert / all);
        sample.write_percent = Some(100.0 * write / all);
        sample.index_percent = Some(100.0 * index / all);
        sample.idle_percent = Some(100.0 * (room + starved) / all);
    }
    let nanos = interval.as_nanos() as f64;
    if nanos > 0.0 {
        sample.queue_full_percent = Some((100.0 * room / nanos).min(100.0));
        sample.queue_empty_percent = Some((100.0 * starved / nanos).min(100.0));
    }
}

fn latencies(sample: &mut Sample, counters: &Counters) {
    if let Some((mean, p95)) = counters.write_latencies.take_ms() {
        (sample.write_latency_ms_mean, sample.write_latency_ms_p95) = (Some(mean), Some(p95));
    }
    if let Some((mean, p95)) = counters.query_latencies.take_ms() {
        (sample.query_latency_ms_mean, sample.query_latency_ms_p95) = (Some(mean), Some(p95));
    }
}

#[cfg(test)]
mod tests {
    use super::super::transfer::counters::count;
    use super::*;

    #[test]
    fn cpu_times_are_read_behind_any_name() {
        let stat = "cpu  10 0 20 100 5 0 1 4 0 0\ncpu0 1 1 1 1\n";
        let own = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14";
        let times = CpuTimes::parse(stat, own).unwrap();
        assert_eq!((times.all, times.idle, times.io_wait, times.steal), (140.0, 100.0, 5.0, 4.0));
        assert_eq!(times.process, 11.0 + 12.0);
        assert_eq!(CpuTimes::parse("intr 1", own), None);
    }

    fn unknown(interval: Duration) -> Sample {
        let settings = Settings::new(2, 1_000, 1, 2).unwrap();
        let phase = Phase { stage: super::super::adjust::Stage::Copying, tables: vec![], building: false };
        Sample::unknown(DateTime::<Utc>::UNIX_EPOCH, interval, settings, phase)
    }

    #[test]
    fn a_run_that_goes_on_is_as_far_as_it_was() {
        let counters = Counters::default();
        let extent = Extent { tables: 2, rows: 1_000, rows_before: 600 };
        let sampler = Sampler::new(&counters, extent, 1, 1);
        count(&counters.rows_written, 200);
        let interval = Duration::from_secs(1);
        let mut sample = unknown(interval);
        sampler.rows(&mut sample, &Reading::of(&counters), &counters, interval);
        assert_eq!((sample.run_percent, sample.eta_seconds), (Some(80.0), Some(1.0)));
    }

    #[test]
    fn who_is_still_at_work_has_spent_time() {
        let counters = Counters::default();
        let before = Reading::of(&counters);
        let _reading = counters.read_time.enter();
        let _building = counters.building();
        std::thread::sleep(Duration::from_millis(2));
        let now = Reading::of(&counters);
        assert!(now.read_time >= before.read_time + 2_000_000, "nobody has ended: {now:?}");
        assert!(now.index_time >= before.index_time + 2_000_000, "nobody has ended: {now:?}");
        assert_eq!((now.write_time, counters.builders.get()), (0, 1));
    }

    #[test]
    fn shares_are_of_the_interval() {
        let before = Reading { read_time: 5_000_000_000, ..Reading::default() };
        let now = Reading {
            read_time: before.read_time + 600_000_000,
            room_time: 300_000_000,
            write_time: 400_000_000,
            ..before
        };
        let interval = Duration::from_secs(1);
        let mut sample = unknown(interval);
        shares(&mut sample, &before, &now, interval);
        assert_eq!(sample.read_percent, Some(30.0));
        assert_eq!(sample.write_percent, Some(40.0));
        assert_eq!(sample.idle_percent, Some(30.0));
        assert_eq!(sample.queue_full_percent, Some(30.0));
    }
}
