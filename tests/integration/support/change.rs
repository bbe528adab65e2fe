//! A target and a plan for the tests of what applies and undoes a change.

use leverd::config::{PostgresqlConf, Restart, RestartMethod, Secret, Target};
use leverd::model::{Activation, CostTier, Place, Plan, Unit};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(20);

/// A Postgres that is restarted so, without a container and a pooler.
pub(crate) fn target(dsn: &str, method: RestartMethod, app_reload: Option<&str>) -> Target {
    Target {
        name: "test".into(),
        dsn: Secret::new(dsn),
        postgresql_conf: PostgresqlConf::Auto,
        app_reload: app_reload.map(str::to_owned),
        restart: Restart { method, timeout: TIMEOUT },
        memory_budget_bytes: None,
        container: None,
        pgbouncer: None,
    }
}

/// One change, against a symptom that does not matter here.
pub(crate) fn plan(place: Place, parameter: &str, from: &str, to: &str, activation: Activation) -> Plan {
    Plan {
        target: "test".into(),
        symptom: "high_wal_rate".into(),
        signal: "wal_rate".into(),
        unit: Unit::BytesPerSec,
        goal_from: 2.0,
        limit: 1.0,
        lever: parameter.into(),
        tier: CostTier::Low,
        parameter: parameter.to_owned(),
        place,
        from: Some(from.to_owned()),
        to: to.to_owned(),
        activation,
        spans_checkpoints: false,
        verify_query: None,
        reason: String::new(),
        passed_over: vec![],
        gives_back: None,
        needs_approval: false,
        borrowed_for: None,
    }
}
