//! The vital signs that abort a trial at once: is Postgres there, and does the host have air to breathe.
//!
//! A local server's host is read directly. A remote one's is asked of Prometheus (`node_*`), where the right
//! instance can be told: the one whose name or address the DSN dials, or the only one. What is not known stays
//! `None`, and is never taken for good.

use super::host::{self, Host};
use crate::config::Config;
use crate::docker::Engine;
use crate::model::{Alert, ContainerState, LimitKind};
use crate::postgres::{PostgresError, stats};
use crate::prometheus::{Client, Sample};
use chrono::{DateTime, Utc};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// What can go wrong fast.
#[derive(Debug, Clone, PartialEq)]
pub struct Vitals {
    /// When they were taken.
    pub at: DateTime<Utc>,
    /// Postgres answers statements.
    pub postgres_up: bool,
    /// What is wrong with Postgres, for people.
    pub postgres_trouble: Option<String>,
    /// Used memory of the host or of the server's container, whichever is fuller.
    pub memory_used_percent: Option<f64>,
    /// Free space under the data folder and the WAL, whichever is fuller.
    pub disk_free_percent: Option<f64>,
    /// The largest replay lag of a streaming replica; `None` without replicas.
    pub replica_lag_seconds: Option<f64>,
    /// Processes of the host that were killed for want of memory; only grows.
    pub oom_kills: Option<f64>,
    /// Transactions committed in all databases; only grows until a reset.
    pub commits: Option<f64>,
    /// Transactions rolled back in all databases; only grows until a reset.
    pub rollbacks: Option<f64>,
    /// Deadlocks in all databases; only grows until a reset.
    pub deadlocks: Option<f64>,
    /// Checkpoints, timed and requested; only grows until a reset.
    pub checkpoints_done: Option<f64>,
    /// Firing alerts that may trigger tuning.
    pub alerts: Option<Vec<Alert>>,
}

/// Takes them. The cost is a fraction of a snapshot's.
pub async fn vitals(
    config: &Config,
    prometheus: &Client,
    postgres: Result<&tokio_postgres::Client, String>,
    engine: Option<&Engine>,
    at: DateTime<Utc>,
) -> Vitals {
    let (alerts, (seen, trouble), container) =
        tokio::join!(super::alerts(config, prometheus, at), ask(postgres), super::container(engine));
    let mut vitals = Vitals {
        at,
        postgres_up: seen.is_some(),
        postgres_trouble: trouble,
        memory_used_percent: None,
        disk_free_percent: None,
        replica_lag_seconds: None,
        oom_kills: None,
        commits: None,
        rollbacks: None,
        deadlocks: None,
        checkpoints_done: None,
        alerts: alerts.ok(),
    };
    let container = container.and_then(Result::ok);
    let Some(Seen { address, data_directory, stats }) = seen else { return vitals };
    if let Some(stats) = stats {
        let sum = |pick: fn(&stats::Database) -> f64| stats.databases.iter().map(pick).sum::<f64>();
        vitals.replica_lag_seconds = stats.replica_lag_seconds;
        vitals.commits = finite(sum(|database| database.commits));
        vitals.rollbacks = finite(sum(|database| database.rollbacks));
        vitals.deadlocks = finite(sum(|database| database.deadlocks));
        vitals.checkpoints_done = finite(stats.checkpoints.timed + stats.checkpoints.requested);
    }
    if host::is_local(config.target.dsn.expose(), address) {
        let host = Host::of(&config.exporter, data_directory.as_deref());
        vitals.memory_used_percent = host.memory_used_percent();
        vitals.oom_kills = host.oom_kills();
        vitals.disk_free_percent = data_directory.as_deref().and_then(host::disk_free_percent);
    } else {
        from_prometheus(config, prometheus, data_directory.as_deref(), &mut vitals).await;
    }
    let of_container = container.and_then(|container| used_percent(&container));
    vitals.memory_used_percent =
        [vitals.memory_used_percent, of_container].into_iter().flatten().reduce(f64::max);
    vitals
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn used_percent(container: &ContainerState) -> Option<f64> {
    let limit = container.limits.get(LimitKind::Memory)?;
    Some(100.0 * container.memory_used? as f64 / limit)
}

/// What Postgres told; statistics may be missing while it is up.
struct Seen {
    address: Option<IpAddr>,
    data_directory: Option<PathBuf>,
    stats: Option<stats::Stats>,
}

const WHERE: &str = "SELECT host(inet_server_addr()), CASE WHEN pg_has_role('pg_read_all_settings', 'USAGE') \
    THEN current_setting('data_directory') END";

async fn ask(postgres: Result<&tokio_postgres::Client, String>) -> (Option<Seen>, Option<String>) {
    let client = match postgres {
        Ok(client) => client,
        Err(why) => return (None, Some(why)),
    };
    let (place, stats) = tokio::join!(client.query_typed_one(WHERE, &[]), stats::read_quick(client));
    let row = match place {
        Ok(row) => row,
        Err(error) => {
            let error = PostgresError::statement("asking whether the server is there", &error);
            return (None, Some(error.to_string()));
        }
    };
    let text = |index| row.try_get::<_, Option<&str>>(index).ok().flatten();
    let seen = Seen {
        address: text(0).and_then(|text| text.parse().ok()),
        data_directory: text(1).map(PathBuf::from),
        stats: stats.as_ref().ok().cloned(),
    };
    (Some(seen), stats.err().map(|error| error.to_string()))
}

const MEMORY: &str = "100 * (1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes)";
const OOM_KILLS: &str = "node_vmstat_oom_kill";
const DISK: &str =
    "100 * node_filesystem_avail_bytes{fstype!~\"tmpfs|squashfs|ramfs\"} / node_filesystem_size_bytes";

async fn from_prometheus(config: &Config, client: &Client, data: Option<&Path>, vitals: &mut Vitals) {
    let dialled = host::dialled(config.target.dsn.expose());
    let ask = async |query| client.query(query, vitals.at).await.unwrap_or_default();
    let (memory, kills, disks) = tokio::join!(ask(MEMORY), ask(OOM_KILLS), ask(DISK));
    let (memory, kills) = (of_host(memory, &dialled), of_host(kills, &dialled));
    let disks = of_host(disks, &dialled);
    vitals.memory_used_percent = only(&memory);
    vitals.oom_kills = only(&kills);
    vitals.disk_free_percent = data.and_then(|data| of_mount(&disks, data));
}

/// The samples of the instance that the DSN dials, or of the only instance there is.
fn of_host(samples: Vec<Sample>, dialled: &[String]) -> Vec<Sample> {
    let (dialled, others): (Vec<_>, Vec<_>) = samples.into_iter().partition(|sample| {
        let instance = sample.labels.get("instance").map(String::as_str).unwrap_or_default();
        let host = instance.rsplit_once(':').map_or(instance, |(host, _)| host);
        dialled.iter().any(|name| name == host.trim_matches(['[', ']']))
    });
    if !dialled.is_empty() {
        return dialled;
    }
    let first = others.first().map(|sample| sample.labels.get("instance").cloned());
    let is_only = others.iter().all(|sample| Some(sample.labels.get("instance").cloned()) == first);
    if is_only { others } else { Vec::new() }
}

fn only(samples: &[Sample]) -> Option<f64> {
    match samples {
        [sample] => sample.value,
        _ => None,
    }
}

/// The file system whose mount point is the longest one above the folder.
fn of_mount(samples: &[Sample], folder: &Path) -> Option<f64> {
    samples
        .iter()
        .filter_map(|sample| Some((Path::new(sample.labels.get("mountpoint")?), sample.value?)))
        .filter(|(mount, _)| folder.starts_with(mount))
        .max_by_key(|(mount, _)| mount.components().count())
        .map(|(_, free)| free)
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(labels: &[(&str, &str)], value: f64) -> Sample {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Sample { labels, at: DateTime::default(), value: Some(value) }
    }

    #[test]
    fn another_hosts_memory_is_not_ours() {
        let (ours, other) =
            (sample(&[("instance", "db1:9100")], 40.0), sample(&[("instance", "db2:9100")], 99.0));
        let dialled = vec!["db1".to_owned()];
        assert_eq!(only(&of_host(vec![ours.clone(), other.clone()], &dialled)), Some(40.0));
        assert_eq!(only(&of_host(vec![ours, other.clone()], &["db3".to_owned()])), None);
        assert_eq!(only(&of_host(vec![other], &["db3".to_owned()])), Some(99.0), "the only instance");
    }

    #[test]
    fn the_disk_is_the_one_under_the_data_folder() {
        let disks = [
            sample(&[("mountpoint", "/")], 50.0),
            sample(&[("mountpoint", "/var/lib")], 9.0),
            sample(&[("mountpoint", "/var/lib/postgresql-old")], 1.0),
        ];
        assert_eq!(of_mount(&disks, Path::new("/var/lib/postgresql/15/main")), Some(9.0));
        assert_eq!(of_mount(&disks[1..], Path::new("/srv")), None);
    }
}
