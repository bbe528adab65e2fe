//! The Postgres sampler: one connection, one task, statistics and the write probe in turn.
//!
//! Always holds: at most one connection of its own. It is bounded by statement and lock timeouts in the server and by
//! a deadline here; when it breaks, the next try waits, from 1 s to 60 s; and when a connection had to be given up
//! while the server still worked on it, no other one goes on before that has ended. Exporters that opened
//! connection after connection behind a lock have taken servers down.

mod metrics;
mod write_probe;

use super::page::Page;
use super::{Shared, lock};
use crate::config::Secret;
use crate::postgres::stats::{self, Stats};
use crate::postgres::{PostgresError, connect};
use std::convert::Infallible;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_postgres::config::Host;
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};
use tokio_util::sync::CancellationToken;
use write_probe::Prober;

pub(super) use write_probe::Probe;

/// For connecting, and in the server for each statement and lock.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How much later than the server's own timeout an answer may come before the connection counts as dead.
const GRACE: Duration = Duration::from_secs(2);
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);
/// Between two reads of what has to walk files and catalogs: sizes of databases, rows of tables.
const SIZES_EVERY: Duration = Duration::from_secs(60);
const BEAT_EVERY: Duration = Duration::from_secs(1);

/// Samples until `shutdown`. Never fails: what goes wrong shows as `pg_up 0`, and in the log once.
pub(super) async fn sample(dsn: Secret, shared: Arc<Shared>, shutdown: CancellationToken) {
    let mut backoff = FIRST_BACKOFF;
    let mut sampler = Sampler {
        sizes: None,
        abandoned: None,
        local: is_local(dsn.expose()),
        prober: Prober::default(),
        turns: 0,
        shared,
    };
    loop {
        let turns_before = sampler.turns;
        let error = tokio::select! {
            () = shutdown.cancelled() => return,
            ended = sampler.session(&dsn) => match ended {
                Ok(never) => match never {},
                Err(error) => error,
            },
        };
        sampler.failed(&error);
        sampler.prober.lost(&sampler.shared.probe);
        if sampler.turns > turns_before {
            backoff = FIRST_BACKOFF;
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(backoff) => {}
        }
        backoff = (backoff * 2).min(LONGEST_BACKOFF);
    }
}

struct Sampler {
    shared: Arc<Shared>,
    prober: Prober,
    /// The latest read that held sizes, and when it was made.
    sizes: Option<(Stats, Instant)>,
    /// The backend of a connection that was given up before it had answered.
    abandoned: Option<Backend>,
    /// The server's files are this host's.
    local: bool,
    /// Good reads so far.
    turns: u64,
}

/// A process of the server: its number, and its start, because numbers come again.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Backend {
    pid: u32,
    start: String,
}

impl Sampler {
    /// One connection, until it breaks. Errors of statements alone do not break it.
    async fn session(&mut self, dsn: &Secret) -> Result<Infallible, PostgresError> {
        let connection = connect(dsn.expose(), TIMEOUT).await?;
        let Some(begun) = bounded(self.begin(connection.client())).await else {
            return Err(no_answer());
        };
        let me = begun?;
        let (mut next_stats, mut next_beat) = (Instant::now(), Instant::now());
        loop {
            let wakes = if self.shared.probe.is_wanted() { next_stats.min(next_beat) } else { next_stats };
            sleep_until(wakes).await;
            let done = bounded(async {
                if Instant::now() >= next_stats {
                    self.read_statistics(connection.client()).await?;
                    let now = Instant::now();
                    let next = lock(&self.shared.scrapes).next_sample(now.into_std(), self.shared.every);
                    next_stats = Instant::from_std(next);
                } else {
                    self.prober.beat(connection.client(), &self.shared.probe).await?;
                    next_beat = (next_beat + BEAT_EVERY).max(Instant::now());
                }
                Ok(())
            });
            match done.await {
                Some(Ok(())) => {}
                Some(Err(error)) if connection.is_closed() => return Err(error),
                Some(Err(error)) => {
                    self.failed(&error);
                    next_stats = Instant::now() + self.shared.every.max(FIRST_BACKOFF);
                }
                None => {
                    self.prober.unanswered(&self.shared.probe, TIMEOUT + GRACE);
                    self.abandoned = Some(me);
                    return Err(no_answer());
                }
            }
        }
    }

    /// First words on a new connection. Returns the server's process at its other end.
    async fn begin(&mut self, client: &Client) -> Result<Backend, PostgresError> {
        let own = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()";
        let me = query(client, own).await?.first().and_then(backend_in);
        let me = me.ok_or_else(|| broken("the server does not show this connection's own process"))?;
        if let Some(old) = &self.abandoned {
            let by_pid = format!("SELECT pid, backend_start FROM pg_stat_activity WHERE pid = {}", old.pid);
            if query(client, &by_pid).await?.first().and_then(backend_in).as_ref() == Some(old) {
                return Err(broken("the server still works for the connection that was given up"));
            }
            self.abandoned = None;
        }
        // No row, where the role may not see it.
        let setting = query(client, "SELECT setting FROM pg_settings WHERE name = 'data_directory'").await?;
        let path = setting.first().and_then(|row| row.get(0)).map(PathBuf::from);
        *lock(&self.shared.data_directory) = path.filter(|path| self.local && path.exists());
        Ok(me)
    }

    async fn read_statistics(&mut self, client: &Client) -> Result<(), PostgresError> {
        let due = self.sizes.as_ref().is_none_or(|(_, read)| read.elapsed() >= SIZES_EVERY);
        let stats = match &self.sizes {
            Some((sizes, _)) if !due => with_sizes(stats::read_quick(client).await?, sizes),
            _ => {
                let all = stats::read(client).await?;
                self.sizes = Some((all.clone(), Instant::now()));
                all
            }
        };
        let Some(slot) = &self.shared.postgres else { return Ok(()) };
        let mut page = Page::reusing(slot.spare());
        metrics::render(&stats, &mut page);
        if slot.publish(page.into_text(), Instant::now().into_std(), 0) {
            tracing::info!(sampler.name = "postgres", "Postgres answers again");
        }
        self.turns += 1;
        Ok(())
    }

    fn failed(&self, error: &PostgresError) {
        let Some(slot) = &self.shared.postgres else { return };
        if slot.fail(&error.to_string()) {
            let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
            tracing::warn!(sampler.name = "postgres", "no Postgres metrics: {error}{hint}");
        }
    }
}

/// `None`: the server's own timeouts have passed, and still there is no answer.
async fn bounded<T>(work: impl Future<Output = T>) -> Option<T> {
    timeout(TIMEOUT + GRACE, work).await.ok()
}

fn no_answer() -> PostgresError {
    broken("no answer, long after its own timeout; the connection is given up")
}

fn broken(why: &str) -> PostgresError {
    PostgresError::Statement { doing: "sampling Postgres".into(), why: why.into(), code: None }
}

async fn query(client: &Client, statement: &str) -> Result<Vec<SimpleQueryRow>, PostgresError> {
    let messages = client.simple_query(statement).await;
    let messages = messages.map_err(|error| PostgresError::statement("sampling Postgres", &error))?;
    Ok(messages
        .into_iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        })
        .collect())
}

fn backend_in(row: &SimpleQueryRow) -> Option<Backend> {
    Some(Backend { pid: row.get(0)?.parse().ok()?, start: row.get(1)?.to_owned() })
}

/// A quick read, with the sizes of an earlier one.
fn with_sizes(mut quick: Stats, earlier: &Stats) -> Stats {
    for database in &mut quick.databases {
        let known = earlier.databases.iter().find(|known| known.name == database.name);
        database.size_bytes = known.map_or(f64::NAN, |known| known.size_bytes);
    }
    (quick.live_rows, quick.dead_rows) = (earlier.live_rows, earlier.dead_rows);
    quick
}

/// Whether the server's paths may be looked up on this host. A container that publishes its port on loopback looks
/// local too: its path is used only where this host has it.
fn is_local(dsn: &str) -> bool {
    let Ok(config) = dsn.parse::<tokio_postgres::Config>() else { return false };
    config.get_hosts().iter().all(|host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_hosts_server_lends_its_paths() {
        for local in ["host=127.0.0.1", "host=/run/postgresql", "postgresql://u@localhost/x", "host=::1"] {
            assert!(is_local(local), "{local}");
        }
        for remote in ["host=10.0.0.7", "postgresql://u@db.example/x", "host=127.0.0.1,10.0.0.7", "host"] {
            assert!(!is_local(remote), "{remote}");
        }
    }
}
