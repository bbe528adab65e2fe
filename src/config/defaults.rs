//! The playbook's four signals, its SLA table, and what counts as load.
//!
//! The first query of a signal is the playbook's, its fixed window replaced by `{{window}}` and wrapped so that one
//! number comes out. The others serve where another exporter is in its place; the first that answers wins.

use crate::model::{Bound, Direction, Environment, Signal, SignalName, SlaTarget, Symptom, Unit};
use std::time::Duration;

/// WAL written per second: leverd's and the playbook's name, `pg_stat_wal` by leverd and by postgres_exporter,
/// and last the LSN that postgres_exporter shows once for each replica.
const WAL_RATE: [&str; 4] = [
    "max(rate(pg_wal_lsn_bytes_total[{{window}}]))",
    "max(rate(pg_stat_wal_bytes_total[{{window}}]))",
    "max(rate(pg_stat_wal_wal_bytes[{{window}}]))",
    "max(rate(pg_stat_replication_pg_current_wal_lsn_bytes[{{window}}]))",
];

/// The hottest CPU sensor: leverd's and the playbook's name on macOS, macmon's, node_exporter's two.
const CPU_TEMPERATURE: [&str; 4] = [
    "max(macos_cpu_temperature_celsius)",
    "max(macmon_cpu_temp_celsius)",
    "max(node_hwmon_temp_celsius * on(instance,chip) group_left(chip_name) \
     node_hwmon_chip_names{chip_name=~\"coretemp|k10temp|zenpower|cpu_thermal\"})",
    "max(node_thermal_zone_temp{type=~\"x86_pkg_temp|cpu.*|soc.*\"})",
];

/// CPU time spent waiting for I/O, percent. Pressure (PSI) says more, but the playbook's SLA speaks of iowait: so
/// PSI serves where there is no iowait, or where the user puts it first.
const IO_WAIT: [&str; 2] = [
    "avg(rate(node_cpu_seconds_total{mode=\"iowait\"}[{{window}}])) * 100",
    "avg(rate(node_pressure_io_waiting_seconds_total[{{window}}])) * 100",
];

/// The application's own histogram in milliseconds; else leverd's write probe, a real commit once a second.
const P95_WRITE_LATENCY: [&str; 2] = [
    "histogram_quantile(0.95, sum by (le) (rate(capsim_event_latency_ms_bucket[{{window}}])))",
    "histogram_quantile(0.95, sum by (le) (rate(leverd_write_probe_duration_seconds_bucket[{{window}}]))) * 1000",
];

/// Rows written per second: unlike transactions it does not change when a lever changes the batch size. With
/// counters named as leverd does, then as postgres_exporter does.
const LOAD: [&str; 2] = [
    "sum(rate(pg_stat_database_tup_inserted_total[{{window}}])) \
     + sum(rate(pg_stat_database_tup_updated_total[{{window}}])) \
     + sum(rate(pg_stat_database_tup_deleted_total[{{window}}]))",
    "sum(rate(pg_stat_database_tup_inserted[{{window}}])) \
     + sum(rate(pg_stat_database_tup_updated[{{window}}])) \
     + sum(rate(pg_stat_database_tup_deleted[{{window}}]))",
];

/// The playbook's four, in its order.
pub(super) fn signals() -> Vec<Signal> {
    let signal = |name: &str, baseline_key: &str, unit, queries: &[&str], window, symptom| Signal {
        name: SignalName::new(name),
        baseline_key: baseline_key.to_owned(),
        unit,
        direction: Direction::LowerIsBetter,
        queries: texts(queries),
        window: Duration::from_secs(window),
        scales_with_load: false,
        symptom: Symptom::new(symptom),
        optional: false,
    };
    let mut wal_rate =
        signal("wal_rate", "wal_write_rate", Unit::BytesPerSec, &WAL_RATE, 300, "high_wal_rate");
    wal_rate.scales_with_load = true;
    let mut cpu_temperature = signal(
        "cpu_temperature",
        "cpu_temperature",
        Unit::Celsius,
        &CPU_TEMPERATURE,
        300,
        "high_cpu_temperature",
    );
    // A virtual machine has no sensor.
    cpu_temperature.optional = true;
    let io_wait = signal("io_wait", "io_wait_percentage", Unit::Percent, &IO_WAIT, 120, "high_io_wait");
    let p95 = signal(
        "p95_write_latency",
        "p95_write_latency",
        Unit::Ms,
        &P95_WRITE_LATENCY,
        300,
        "high_p95_latency",
    );
    vec![wal_rate, cpu_temperature, io_wait, p95]
}

/// The playbook's table "Performance Targets".
pub(super) fn sla(environment: Environment) -> Vec<SlaTarget> {
    let (celsius, io_wait, p95, wal) = match environment {
        Environment::Development => (85.0, 25.0, 200.0, 1.5),
        Environment::Staging => (80.0, 20.0, 150.0, 1.3),
        Environment::Production => (75.0, 15.0, 100.0, 1.2),
    };
    let target = |signal: &str, bound, strict| SlaTarget { signal: SignalName::new(signal), bound, strict };
    vec![
        target("wal_rate", Bound::TimesBaseline(wal), false),
        target("cpu_temperature", Bound::Absolute(celsius), false),
        target("io_wait", Bound::Absolute(io_wait), true),
        target("p95_write_latency", Bound::Absolute(p95), false),
    ]
}

/// What "offered load" is unless the user says so.
pub(super) fn load_queries() -> Vec<String> {
    texts(&LOAD)
}

fn texts(queries: &[&str]) -> Vec<String> {
    queries.iter().map(|query| (*query).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Prometheus' own tool reads every default query.
    #[test]
    fn the_default_queries_are_promql() {
        let mut rules = String::from("groups:\n- name: defaults\n  rules:\n");
        let all = signals().into_iter().flat_map(|signal| signal.queries).chain(load_queries());
        for (index, query) in all.enumerate() {
            assert!(!query.contains('\''), "{query}");
            rules.push_str(&format!(
                "  - {{record: 'q:{index}', expr: '{}'}}\n",
                query.replace("{{window}}", "30s")
            ));
        }
        let file = tempfile::Builder::new().suffix(".yml").tempfile().unwrap();
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        std::fs::write(file.path(), rules).unwrap();
        let promtool =
            std::process::Command::new("promtool").args(["check", "rules"]).arg(file.path()).output();
        let output = promtool.expect("promtool comes with Prometheus: scripts/setup.sh installs it");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
