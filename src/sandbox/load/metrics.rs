//! What the load tells Prometheus. The names are the user's; `capsim_event_latency_ms` is in milliseconds for that
//! reason.

use prometheus::{Encoder, Histogram, HistogramOpts, IntCounter, IntGauge, Registry, TextEncoder};

#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    /// Arrival to commit, milliseconds.
    pub(super) latency: Histogram,
    pub(super) offered: IntCounter,
    pub(super) written: IntCounter,
    pub(super) dropped: IntCounter,
    pub(super) transactions: IntCounter,
    pub(super) errors: IntCounter,
    pub(super) analyses: IntCounter,
    pub(super) batch_size: IntGauge,
    /// Offered per second, as told; the counter tells what came.
    pub(super) rate: IntGauge,
    pub(super) waiting: IntGauge,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let registry = Registry::new();
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help).expect("the name is a metric's name");
            registry.register(Box::new(counter.clone())).expect("each name is used once");
            counter
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help).expect("the name is a metric's name");
            registry.register(Box::new(gauge.clone())).expect("each name is used once");
            gauge
        };
        let options = HistogramOpts::new("capsim_event_latency_ms", "From an event's arrival to its commit")
            .buckets(latency_buckets_ms());
        let latency = Histogram::with_opts(options).expect("the buckets grow");
        registry.register(Box::new(latency.clone())).expect("each name is used once");
        Self {
            latency,
            offered: counter("capsim_events_offered_total", "Events that arrived"),
            written: counter("capsim_events_written_total", "Events committed"),
            dropped: counter("capsim_events_dropped_total", "Events that found the queue full"),
            transactions: counter("capsim_transactions_total", "Transactions committed"),
            errors: counter(
                "capsim_errors_total",
                "Connections and transactions that failed; their events are retried",
            ),
            analyses: counter("capsim_analyses_total", "Large queries answered"),
            batch_size: gauge("capsim_batch_size", "Events of one transaction at most"),
            rate: gauge("capsim_events_per_second", "Events that are to arrive in a second"),
            waiting: gauge("capsim_events_waiting", "Events in the queue"),
            registry,
        }
    }

    pub(super) fn render(&self) -> Vec<u8> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).expect("writing to memory cannot fail");
        text
    }
}

/// From 0.25 ms to past 20 s in steps of a quarter: a percentile read from them errs by at most as much.
fn latency_buckets_ms() -> Vec<f64> {
    (0..52).map(|step| 0.25 * 1.25_f64.powi(step)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buckets_cover_half_a_millisecond_to_ten_seconds() {
        let buckets = latency_buckets_ms();
        assert!(buckets[0] <= 0.5 && buckets.last().is_some_and(|last| *last >= 10_000.0), "{buckets:?}");
    }

    #[test]
    fn the_promised_names_are_there() {
        let text = String::from_utf8(Metrics::new().render()).unwrap();
        for name in [
            "capsim_event_latency_ms_bucket",
            "capsim_events_offered_total",
            "capsim_events_written_total",
            "capsim_events_dropped_total",
            "capsim_batch_size",
            "capsim_errors_total",
        ] {
            assert!(text.contains(name), "{name} is not in {text}");
        }
    }
}
