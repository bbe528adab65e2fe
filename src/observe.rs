//! Clients → [`Snapshot`]: everything that a decision may look at, seen at one moment.
//!
//! In: the configuration, a Prometheus client, a Postgres connection or why there is none, and the time. Out: a
//! snapshot, the vital signs for a fast abort, samples for a verdict, or a baseline.
//!
//! Always holds: a part that fails never stops the others; it becomes `Unknown` or an error text in its own place.
//! Missing data is never a value. It decides nothing and changes nothing.

pub mod baseline;
mod container;
mod env_values;
mod facts;
mod host;
mod signals;
mod vitals;

pub use container::CpuPeriods;
pub use facts::facts;
pub use host::own_memory_bytes;
pub use signals::{Grid, Reduce, SampleSeries, ask, load_samples, read_signal, samples, samples_on};
pub use vitals::{Vitals, vitals};

use crate::config::Config;
use crate::docker::Engine;
use crate::model::{Alert, ContainerState, PoolerState, Reading, ServerState, Signal, SignalName, Snapshot};
use crate::postgres::{pgbouncer, server, stats, stats::Stats};
use crate::prometheus::Client;
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Queries that are in flight at once: Prometheus answers 20 at a time for everybody.
const QUERIES_AT_ONCE: usize = 4;

/// The label that makes an alert one of leverd's business.
const TRIGGER: (&str, &str) = ("tuning_trigger", "true");

/// What was read at an earlier look, for the facts that are rates.
#[derive(Debug, Clone, Copy, Default)]
pub struct Earlier<'a> {
    /// Postgres' statistics.
    pub stats: Option<&'a Stats>,
    /// The container's CPU periods.
    pub cpu_periods: Option<CpuPeriods>,
}

/// Takes a snapshot. The statistics just read are returned for the next one.
pub async fn snapshot(
    config: &Config,
    prometheus: &Client,
    postgres: Result<&tokio_postgres::Client, String>,
    engine: Option<&Engine>,
    earlier: Earlier<'_>,
    at: DateTime<Utc>,
) -> (Snapshot, Option<Stats>) {
    let begun = Instant::now();
    let (readings, alerts, (mut server, stats), container, pooler) = tokio::join!(
        readings(prometheus, &config.signals, at),
        alerts(config, prometheus, at),
        server_state(config, postgres, earlier.stats),
        container(engine),
        pooler(config),
    );
    if let Ok(server) = &mut server {
        if let Some(Ok(container)) = &container {
            container::enter(container, earlier.cpu_periods, server);
        }
        if let Some(Ok(pooler)) = &pooler {
            container::enter_pooler(pooler, server);
        }
    }
    let snapshot = Snapshot {
        at,
        readings,
        server,
        env_values: env_values::read(&config.levers),
        container,
        pooler,
        alerts: alerts.unwrap_or_else(|why| {
            tracing::debug!("the firing alerts are not known: {why}");
            Vec::new()
        }),
        took: begun.elapsed(),
    };
    (snapshot, stats)
}

/// Looks at the signals and the alerts alone, so that a look takes nothing from a loaded server. The snapshot's other
/// parts say that they were not asked, or are absent. With it: why the alerts are not known, where they are not.
pub async fn levels(config: &Config, prometheus: &Client, at: DateTime<Utc>) -> (Snapshot, Option<String>) {
    let begun = Instant::now();
    let (readings, alerts) =
        tokio::join!(readings(prometheus, &config.signals, at), alerts(config, prometheus, at));
    let (alerts, unknown) = match alerts {
        Ok(alerts) => (alerts, None),
        Err(why) => (Vec::new(), Some(why)),
    };
    let snapshot = Snapshot {
        at,
        readings,
        server: Err("it was not asked".to_owned()),
        env_values: BTreeMap::new(),
        container: None,
        pooler: None,
        alerts,
        took: begun.elapsed(),
    };
    (snapshot, unknown)
}

async fn container(engine: Option<&Engine>) -> Option<Result<ContainerState, String>> {
    Some(engine?.state().await.map_err(|error| error.to_string()))
}

async fn pooler(config: &Config) -> Option<Result<PoolerState, String>> {
    let dsn = config.target.pgbouncer.as_ref()?.admin_dsn.expose();
    Some(pgbouncer::state(dsn).await.map_err(|error| error.to_string()))
}

/// Every signal's reading. When Prometheus is found to be down the rest is not asked: a hanging server would cost a
/// timeout for each.
async fn readings(client: &Client, signals: &[Signal], at: DateTime<Utc>) -> BTreeMap<SignalName, Reading> {
    let permits = Arc::new(Semaphore::new(QUERIES_AT_ONCE));
    let down: Arc<OnceLock<String>> = Arc::default();
    let mut tasks = JoinSet::new();
    for signal in signals {
        let (client, signal) = (client.clone(), signal.clone());
        let (permits, down) = (Arc::clone(&permits), Arc::clone(&down));
        tasks.spawn(async move {
            let _permit = permits.acquire().await;
            let reading = match down.get() {
                Some(reason) => Reading::Unknown { reason: reason.clone() },
                None => {
                    signals::try_read(&client, &signal, signal.window, at).await.unwrap_or_else(|error| {
                        Reading::Unknown { reason: down.get_or_init(|| error.to_string()).clone() }
                    })
                }
            };
            (signal.name, reading)
        });
    }
    let mut readings: BTreeMap<SignalName, Reading> = BTreeMap::new();
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok((name, reading)) => drop(readings.insert(name, reading)),
            Err(error) => {
                tracing::error!("reading a signal ended early, which is a fault of leverd: {error}")
            }
        }
    }
    for signal in signals {
        let lost = || Reading::Unknown { reason: "its query was not finished".to_owned() };
        readings.entry(signal.name.clone()).or_insert_with(lost);
    }
    readings
}

async fn alerts(config: &Config, client: &Client, at: DateTime<Utc>) -> Result<Vec<Alert>, String> {
    let mut alerts = client.alerts_firing(TRIGGER, at).await.map_err(|error| error.to_string())?;
    for alert in &mut alerts {
        if alert.symptom.is_none() {
            alert.symptom = config.alert_symptoms.get(&alert.name).cloned();
        }
    }
    Ok(alerts)
}

/// The server's state with its facts and its memory; the statistics may be missing on their own.
async fn server_state(
    config: &Config,
    postgres: Result<&tokio_postgres::Client, String>,
    previous: Option<&Stats>,
) -> (Result<ServerState, String>, Option<Stats>) {
    let client = match postgres {
        Ok(client) => client,
        Err(why) => return (Err(why), None),
    };
    let (server, stats) = tokio::join!(server::state(client), stats::read(client));
    let stats = stats.inspect_err(|error| tracing::warn!("the facts are not known: {error}")).ok();
    let server = match server {
        Ok(server) => server,
        Err(error) => return (Err(error.to_string()), stats),
    };
    let is_local = host::is_local(config.target.dsn.expose(), server.address);
    let mut state = server.state;
    state.memory_budget_bytes = config.target.memory_budget_bytes.or_else(|| {
        is_local.then(|| {
            host::Host::of(&config.exporter, state.data_directory.as_deref()).memory_budget_bytes()
        })?
    });
    if let Some(stats) = &stats {
        state.facts = facts(previous.unwrap_or(stats), stats, &state.settings);
    }
    // For the guardrails; no lever's evidence.
    let free = state.data_directory.as_deref().filter(|_| is_local).and_then(host::disk_free_bytes);
    state.facts.extend(free.map(|free| ("data_disk_free_bytes".to_owned(), free)));
    (Ok(state), stats)
}
