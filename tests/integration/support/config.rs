//! A whole configuration for tests, to be changed where a test needs it.

use leverd::config::{
    AbortLimits, AnnounceConfig, ApiConfig, Config, Cycle, ExporterConfig, LoadSignal, LogRotation, Paths,
    Policy, PostgresqlConf, PrometheusConfig, Pull, Restart, RestartMethod, Secret, Target,
};
use leverd::model::{Bound, Direction, Environment, Signal, SlaTarget, Symptom, Unit};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// How a test reaches its Prometheus.
pub(crate) fn prometheus(url: &str, timeout: Duration) -> PrometheusConfig {
    PrometheusConfig { url: url.to_owned(), timeout, basic_auth: None, bearer_token: None }
}

/// A signal where lower is better.
pub(crate) fn signal(name: &str, queries: &[&str]) -> Signal {
    Signal {
        name: name.into(),
        baseline_key: name.to_owned(),
        unit: Unit::Count,
        direction: Direction::LowerIsBetter,
        queries: queries.iter().map(|query| (*query).to_owned()).collect(),
        window: Duration::from_secs(60),
        scales_with_load: false,
        symptom: Symptom::new(format!("high_{name}")),
        optional: false,
    }
}

/// A configuration without levers; every signal gets the bound 1000.
pub(crate) fn config(root: &Path, dsn: &str, prometheus_url: &str, signals: Vec<Signal>) -> Config {
    let sla = signals.iter().map(|signal| SlaTarget {
        signal: signal.name.clone(),
        bound: Bound::Absolute(1000.0),
        strict: false,
    });
    Config {
        file: root.join("leverd.yaml"),
        environment: Environment::Development,
        target: Target {
            name: "test".into(),
            dsn: Secret::new(dsn),
            postgresql_conf: PostgresqlConf::Auto,
            app_reload: None,
            restart: Restart { method: RestartMethod::Never, timeout: Duration::from_secs(30) },
            memory_budget_bytes: None,
            container: None,
            pgbouncer: None,
        },
        prometheus: prometheus(prometheus_url, Duration::from_secs(5)),
        sla: sla.collect(),
        signals,
        load: LoadSignal { queries: Vec::new() },
        cycle: Cycle {
            load_cycle: Duration::from_secs(60),
            settle: Duration::from_secs(1),
            scrape_interval: Duration::from_secs(1),
            max_extensions: 2,
            cool_down: Duration::from_secs(60),
            tick: Duration::from_secs(1),
        },
        policy: Policy {
            low: Pull::Auto,
            medium: Pull::Auto,
            high: Pull::Shadow,
            restart: Pull::Shadow,
            give_back_after: None,
            approve_within: Duration::from_secs(60),
            windows: Vec::new(),
            windows_for_all: false,
            windows_local: false,
        },
        abort: AbortLimits {
            guard_factor: 2.0,
            guard_scrapes: 3,
            error_percent: 5.0,
            memory_percent: 90.0,
            disk_free_percent: 10.0,
            replica_lag: Duration::from_secs(30),
        },
        levers: Vec::new(),
        levers_file: "levers.yaml".into(),
        symptom_mappings: BTreeMap::new(),
        exporter: ExporterConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            host: true,
            postgres: true,
            write_probe: false,
            sample_every: Duration::from_secs(1),
            procfs: "/proc".into(),
            sysfs: "/sys".into(),
        },
        api: ApiConfig::default(),
        alert_symptoms: BTreeMap::new(),
        announce: AnnounceConfig::default(),
        paths: Paths {
            root: root.to_owned(),
            ledger: root.join("ledger.sqlite"),
            lock: root.join("lock"),
            baseline: root.join("baseline.yaml"),
            changelog: root.join("CHANGELOG_TUNING.md"),
            tuning_log: root.join("tuning.log"),
            log_archive: root.join("logs/archive"),
            backups: root.join("backups"),
        },
        log_rotation: LogRotation { max_bytes: 1 << 20, keep: 3 },
    }
}
