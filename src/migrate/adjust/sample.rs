//! What one interval of a run was like: its metrics, as logs, Prometheus and models read them.
//!
//! In: numbers of one interval, each unknown until somebody sets it. Out: a [`Sample`], its log line, its Prometheus
//! text. Always holds: a metric is of its interval, never of the whole run so far; what is unknown, NaN or infinite
//! is left out or called unknown, and is never 0; there is no place for a row's value or a table's name. It does not
//! measure, and compares nothing: that is [`super::Window`].

use super::settings::Settings;
use super::{figure, one_decimal};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::time::Duration;

/// What a run is busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Tables are made, ranges are found.
    Preparing,
    /// Rows are moved.
    Copying,
    /// Rows are all there; indexes are built.
    Indexing,
    /// Constraints are added and validated.
    Constraining,
    /// Source and target are compared.
    Verifying,
}

impl Stage {
    /// As logs and models have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Copying => "copying",
            Self::Indexing => "indexing",
            Self::Constraining => "constraining",
            Self::Verifying => "verifying",
        }
    }
}

/// What was going on: only what was measured in equal phases can be compared. A narrow table's rows per second say
/// nothing about a wide one's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Phase {
    /// What the run was busy with.
    pub stage: Stage,
    /// What kinds of tables were in work, in order: for each of them the number of the plan's first table of its kind.
    pub tables: Vec<u32>,
    /// Indexes were built beside the copy.
    pub building: bool,
}

/// A metric of a sample.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name, with its unit: the field's name in [`Sample`].
    pub name: &'static str,
    /// Its Prometheus name, in base units.
    pub family: &'static str,
    /// What it says, for people.
    pub help: &'static str,
    /// Prometheus' value is this times the sample's.
    pub scale: f64,
    value: fn(&Sample) -> Option<f64>,
}

impl Metric {
    /// Its value in the unit of its name; `None`: unknown, or no finite number.
    pub fn of(&self, sample: &Sample) -> Option<f64> {
        (self.value)(sample).filter(|value| value.is_finite())
    }

    /// Its value in Prometheus' base unit; `None` as before.
    pub fn in_base_unit(&self, sample: &Sample) -> Option<f64> {
        self.of(sample).map(|value| value * self.scale).filter(|value| value.is_finite())
    }
}

/// The metrics are a table, so that the log, Prometheus and a model's prompt cannot differ in what there is.
macro_rules! sample {
    ($($field:ident => $family:literal, $scale:literal, $help:literal;)+) => {
        /// What one interval of a run was like. Units are in the names; a percentage is 0 to 100; `None` is unknown.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        pub struct Sample {
            /// When the interval ended.
            pub at: DateTime<Utc>,
            /// How long it was.
            pub interval: Duration,
            /// The settings that were in force at its end.
            pub settings: Settings,
            /// What was going on at its end.
            pub phase: Phase,
            $(
                #[doc = $help]
                pub $field: Option<f64>,
            )+
        }

        impl Sample {
            /// A sample of which no metric is known yet.
            pub fn unknown(at: DateTime<Utc>, interval: Duration, settings: Settings, phase: Phase) -> Self {
                Self { at, interval, settings, phase, $($field: None,)+ }
            }
        }

        /// Every metric of a sample, in the order in which it is shown.
        pub const METRICS: &[Metric] = &[$(
            Metric {
                name: stringify!($field),
                family: concat!("leverd_migrate_", $family),
                help: $help,
                scale: $scale,
                value: |sample: &Sample| sample.$field,
            },
        )+];
    };
}

sample! {
    rows_per_second => "rows_per_second", 1.0, "Rows that the target took, committed or not yet, per second.";
    bytes_per_second => "bytes_per_second", 1.0, "Bytes of rows that were committed in the target, per second.";
    chunks => "interval_chunks", 1.0, "Chunks that were committed in the interval.";
    chunk_seconds_mean => "chunk_seconds", 1.0, "Mean time of a chunk from its first read to its commit.";
    chunk_rows_mean => "chunk_rows", 1.0, "Mean rows of a committed chunk.";
    chunk_bytes_mean => "chunk_bytes", 1.0, "Mean bytes of a committed chunk.";
    chunk_overhead_percent => "chunk_overhead_ratio", 0.01,
        "Share of a chunk's time that its record and its commit took.";
    read_percent => "read_time_ratio", 0.01, "Share of the workers' time that went into reading the source.";
    convert_percent => "convert_time_ratio", 0.01, "Share of the workers' time that went into converting rows.";
    write_percent => "write_time_ratio", 0.01, "Share of the workers' time that went into writing to the target.";
    index_percent => "index_time_ratio", 0.01, "Share of the workers' time that went into building indexes.";
    idle_percent => "idle_time_ratio", 0.01, "Share of the workers' time in which they waited for each other.";
    query_latency_ms_mean => "query_latency_mean_seconds", 0.001,
        "Mean time in which the source gave a chunk, or a key that ends one.";
    query_latency_ms_p95 => "query_latency_p95_seconds", 0.001,
        "95th percentile of the time in which the source gave a chunk, or a key that ends one.";
    write_latency_ms_mean => "write_latency_mean_seconds", 0.001, "Mean time that the target took for a chunk.";
    write_latency_ms_p95 => "write_latency_p95_seconds", 0.001,
        "95th percentile of the time that the target took for a chunk.";
    commit_latency_ms_mean => "commit_latency_mean_seconds", 0.001,
        "Mean time that the target took for a chunk's record and its commit.";
    queue_rows => "queue_rows", 1.0, "Rows that waited between readers and writers, at the interval's end.";
    queue_bytes => "queue_bytes", 1.0, "Bytes that waited between readers and writers, at the interval's end.";
    queue_full_percent => "queue_full_ratio", 0.01,
        "Time that readers waited for room between them and writers, summed, as a share of the interval; 1 at most.";
    queue_empty_percent => "queue_empty_ratio", 0.01,
        "Time that writers waited for rows, summed, as a share of the interval; 1 at most.";
    active_writers => "active_writers", 1.0, "Writers that were at work, at the interval's end.";
    active_readers => "active_readers", 1.0, "Readers that were at work, at the interval's end.";
    index_builds => "index_builds", 1.0, "Indexes that were being built at the interval's end.";
    memory_mb => "memory_bytes", 1_048_576.0, "Memory of the run's process at the interval's end.";
    memory_percent => "memory_ratio", 0.01, "Memory of the run's process as a share of what it may have.";
    memory_budget_percent => "memory_budget_ratio", 0.01,
        "Share of the byte budget for rows in flight that was taken.";
    process_cpu_percent => "process_cpu_ratio", 0.01, "Time of all CPUs that the run's process took.";
    machine_cpu_percent => "machine_cpu_ratio", 0.01, "Time of all CPUs that was taken by anybody.";
    io_wait_percent => "io_wait_ratio", 0.01, "Time of all CPUs that was spent waiting for disks.";
    steal_percent => "steal_ratio", 0.01, "Time of all CPUs that the hypervisor gave to others.";
    errors => "interval_errors", 1.0, "Errors of source or target in the interval.";
    retries => "interval_retries", 1.0, "Chunks that were tried again in the interval.";
    rejected_rows => "interval_rejected_rows", 1.0, "Rows that went to the reject table in the interval.";
    checkpoints_timed => "interval_checkpoints_timed", 1.0, "Checkpoints of the target that came by time.";
    checkpoints_requested => "interval_checkpoints_requested", 1.0,
        "Checkpoints of the target that came because its WAL was full.";
    wal_bytes_per_second => "wal_bytes_per_second", 1.0, "WAL that the target wrote, per second.";
    replication_lag_seconds => "replication_lag_seconds", 1.0, "How far the target's slowest replica is behind.";
    lock_waits => "lock_waits", 1.0, "Sessions of the target that waited for a lock, at the interval's end.";
    source_connections => "source_connections", 1.0, "Connections of the run to the source, at the interval's end.";
    target_connections => "target_connections", 1.0, "Connections of the run to the target, at the interval's end.";
    tables_done => "tables_done", 1.0, "Tables whose rows are all there.";
    tables_total => "tables", 1.0, "Tables of the run.";
    run_percent => "progress_ratio", 0.01, "How much of the whole run is there, by rows.";
    eta_seconds => "eta_seconds", 1.0, "Time until all rows are there, at this interval's pace.";
}

impl Sample {
    /// For the log, at debug. `throughput_trend`: percent, as [`super::Trends`] has it.
    pub fn log_line(&self, throughput_trend: Option<f64>) -> String {
        let percent = |value: Option<f64>| match value.filter(|value| value.is_finite()) {
            Some(value) => format!("{}%", one_decimal(value)),
            None => "unknown".to_owned(),
        };
        let whole = |value: Option<f64>, unit: &str| match value.filter(|value| value.is_finite()) {
            Some(value) => format!("{value:.0}{unit}"),
            None => "unknown".to_owned(),
        };
        format!(
            "Metrics snapshot: {} rows/sec, memory={} ({}), CPU={}, throughput_trend={}",
            whole(self.rows_per_second, ""),
            whole(self.memory_mb, "MB"),
            percent(self.memory_percent),
            percent(self.machine_cpu_percent),
            percent(throughput_trend),
        )
    }

    /// Every metric that is known, by its name: for the log at debug, behind [`Self::log_line`].
    pub fn metrics_line(&self) -> String {
        let known = METRICS.iter().filter_map(|metric| {
            let value = metric.of(self)?;
            Some(format!("{}={}", metric.name, figure(value)))
        });
        format!("Metrics of the interval: {}", known.collect::<Vec<_>>().join(", "))
    }

    /// The metrics in Prometheus' text format; what is unknown leaves no line. All are gauges, because they are of
    /// one interval.
    pub fn prometheus_text(&self) -> String {
        let mut text = String::new();
        for metric in METRICS {
            if let Some(value) = metric.in_base_unit(self) {
                let Metric { family, help, .. } = metric;
                // Writing into a String cannot fail.
                let _ = write!(text, "# HELP {family} {help}\n# TYPE {family} gauge\n{family} {value}\n");
            }
        }
        text
    }
}

#[cfg(test)]
pub(super) mod fixtures {
    //! Samples for the tests of this folder.

    use super::*;

    pub(in super::super) fn settings() -> Settings {
        Settings::new(4, 50_000, 2, 8).unwrap()
    }

    pub(in super::super) fn phase(table: u32) -> Phase {
        Phase { stage: Stage::Copying, tables: vec![table], building: false }
    }

    /// A sample in which all that rules look at is known and quiet.
    pub(in super::super) fn sample(rows_per_second: f64) -> Sample {
        Sample {
            rows_per_second: Some(rows_per_second),
            memory_mb: Some(512.0),
            memory_percent: Some(48.0),
            machine_cpu_percent: Some(62.0),
            ..Sample::unknown(DateTime::UNIX_EPOCH, Duration::from_secs(30), settings(), phase(1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_log_line_is_the_requirements() {
        assert_eq!(
            fixtures::sample(150_000.0).log_line(Some(5.2)),
            "Metrics snapshot: 150000 rows/sec, memory=512MB (48%), CPU=62%, throughput_trend=5.2%"
        );
        let guide = Sample {
            memory_percent: Some(45.2),
            machine_cpu_percent: Some(65.3),
            ..fixtures::sample(125_000.0)
        };
        assert_eq!(
            guide.log_line(Some(12.5)),
            "Metrics snapshot: 125000 rows/sec, memory=512MB (45.2%), CPU=65.3%, throughput_trend=12.5%"
        );
    }

    #[test]
    fn every_metric_that_is_known_is_in_the_log() {
        let sample = Sample { query_latency_ms_p95: Some(0.25), ..fixtures::sample(150_000.0) };
        assert_eq!(
            sample.metrics_line(),
            "Metrics of the interval: rows_per_second=150000, query_latency_ms_p95=0.25, memory_mb=512, \
             memory_percent=48, machine_cpu_percent=62"
        );
    }

    #[test]
    fn what_is_unknown_is_called_unknown() {
        let nothing = Sample::unknown(
            DateTime::UNIX_EPOCH,
            Duration::from_secs(30),
            fixtures::settings(),
            fixtures::phase(1),
        );
        assert_eq!(
            nothing.log_line(None),
            "Metrics snapshot: unknown rows/sec, memory=unknown (unknown), CPU=unknown, throughput_trend=unknown"
        );
        assert_eq!(nothing.prometheus_text(), "");
        let nan = Sample { rows_per_second: Some(f64::NAN), memory_mb: Some(f64::INFINITY), ..nothing };
        assert!(
            nan.log_line(Some(f64::NAN)).starts_with("Metrics snapshot: unknown rows/sec, memory=unknown")
        );
        assert_eq!(nan.prometheus_text(), "");
    }

    #[test]
    fn there_are_enough_metrics_with_proper_names() {
        assert!(METRICS.len() >= 30, "{}", METRICS.len());
        let families: BTreeSet<&str> = METRICS.iter().map(|metric| metric.family).collect();
        assert_eq!(families.len(), METRICS.len(), "each family once");
        for metric in METRICS {
            let proper = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(metric.family.chars().all(proper), "{}", metric.family);
            assert!(!metric.family.ends_with("_total"), "{}: no counter", metric.family);
            assert!(metric.help.ends_with('.') && !metric.help.contains(['\n', '\\']), "{}", metric.name);
            let (unit, base) = match metric.scale {
                0.01 => ("_percent", "_ratio"),
                0.001 => ("_ms_", "_seconds"),
                1_048_576.0 => ("_mb", "_bytes"),
                _ => continue,
            };
            assert!(metric.name.contains(unit) && metric.family.ends_with(base), "{}", metric.name);
        }
    }

    #[test]
    fn prometheus_gets_base_units() {
        let sample = Sample { query_latency_ms_p95: Some(250.0), ..fixtures::sample(10.0) };
        let text = sample.prometheus_text();
        for line in [
            "leverd_migrate_rows_per_second 10\n",
            "leverd_migrate_memory_bytes 536870912\n",
            "leverd_migrate_query_latency_p95_seconds 0.25\n",
            "# TYPE leverd_migrate_memory_ratio gauge\n",
            "# HELP leverd_migrate_rows_per_second Rows that the target took, committed or not yet, per second.\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(!text.contains("leverd_migrate_queue_rows"), "{text}");
    }

    #[test]
    fn a_sample_is_read_back_from_its_record() {
        let sample = fixtures::sample(150_000.0);
        let text = serde_json::to_string(&sample).unwrap();
        assert_eq!(serde_json::from_str::<Sample>(&text).unwrap(), sample);
    }
}
