//! The load program, capsim: events arrive at a fixed rate, wait in a bounded queue, and are written in batches.
//!
//! In: a scenario's `load:`, an `.env` (read again whenever it changes), a Postgres. Out: metrics on `/metrics`.
//!
//! Always holds: an event's latency runs from when it was due to arrive until its commit, so a slow Postgres cannot
//! hide behind a slow sender; every event offered is written, waiting, or counted as dropped. It outlives restarts
//! of Postgres.

mod analyst;
mod environment;
mod jobs;
mod metrics;
mod queue;
mod statements;
mod writer;

use super::scenario::{Arrivals, Scenario, ScenarioError};
use super::seed;
use environment::{Environment, Files};
use metrics::Metrics;
use queue::Queue;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use writer::Turns;

pub use super::seed::SeedError;
pub use environment::KEYS as ENV_KEYS;
pub(super) use environment::range as env_range;

/// What `leverd sandbox load` is told.
#[derive(Debug, Clone)]
pub struct Arguments {
    /// The `.env` with BATCH_SIZE.
    pub env: PathBuf,
    /// A file of the same form that wins over the `.env`, and need not be there.
    pub turn: Option<PathBuf>,
    /// The Postgres to write to.
    pub dsn: String,
    /// Whether its tables are made first, where they are not there.
    pub seed: bool,
    /// Where `/metrics` is served.
    pub listen: SocketAddr,
    /// The scenario's file.
    pub scenario: PathBuf,
}

/// Why the load cannot run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The scenario cannot be used.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The `.env` cannot be used.
    #[error(transparent)]
    Environment(#[from] environment::EnvironmentError),
    /// The tables cannot be made, or are another scenario's.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// The metrics' address cannot be used.
    #[error("listening on {listen}: {source}")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// Runs until `stopped` is ready.
pub async fn run(arguments: Arguments, stopped: impl Future<Output = ()>) -> Result<(), LoadError> {
    let scenario = Scenario::read(&arguments.scenario)?;
    let files = Files { env: arguments.env, turn: arguments.turn };
    let environment = Environment::read(&files, &scenario.load)?;
    let listen = arguments.listen;
    let listener = TcpListener::bind(listen).await.map_err(|source| LoadError::Listen { listen, source })?;
    if arguments.seed {
        seed::seed_tables_once(&arguments.dsn, &scenario.load).await?;
    }
    let metrics = Arc::new(Metrics::new());
    let queue = Arc::new(Queue::new(scenario.load.queue.get() as usize));
    let (sender, environment) = watch::channel(environment);

    let mut tasks = JoinSet::new();
    tasks.spawn(serve(listener, Arc::clone(&metrics)));
    tasks.spawn(environment::follow(files, scenario.load.clone(), sender));
    tasks.spawn(offer(Arc::clone(&queue), Arc::clone(&metrics), environment.clone(), scenario.load.arrivals));
    // There are two tables of events, so each takes half of what is kept.
    let events = Arc::new(Turns::of(scenario.load.inserts.kept_rows.get() / 2));
    let jobs = Arc::new(Turns::of(scenario.load.jobs.kept_rows.get()));
    for number in 0..scenario.load.analytics.connections.get() {
        let (dsn, metrics) = (arguments.dsn.clone(), Arc::clone(&metrics));
        tasks.spawn(analyst::run(number, dsn, scenario.load.analytics, metrics));
    }
    for number in 0..scenario.load.writers.get() {
        let writer = writer::Writer {
            number,
            dsn: arguments.dsn.clone(),
            load: scenario.load.clone(),
            queue: Arc::clone(&queue),
            metrics: Arc::clone(&metrics),
            environment: environment.clone(),
            events: Arc::clone(&events),
            jobs: Arc::clone(&jobs),
        };
        tasks.spawn(writer.run());
    }
    stopped.await;
    // Dropping the set ends every task; what waits in the queue was never promised to anybody.
    Ok(())
}

async fn serve(listener: TcpListener, metrics: Arc<Metrics>) {
    let text = move || {
        let text = metrics.render();
        async move { ([("content-type", "text/plain; version=0.0.4")], text) }
    };
    let router = axum::Router::new().route("/metrics", axum::routing::get(text));
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!("serving metrics ended: {error}");
    }
}

/// Offers events at the rate of the environment: each is due at its own time, whenever this task gets to run.
async fn offer(
    queue: Arc<Queue>,
    metrics: Arc<Metrics>,
    mut environment: watch::Receiver<Environment>,
    arrivals: Arrivals,
) {
    // A suspended machine does not owe the events of its sleep.
    const MOST_BEHIND: Duration = Duration::from_secs(5);
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut random = StdRng::seed_from_u64(0);
    let mut due = Instant::now();
    let mut sequence = 0_u64;
    loop {
        ticks.tick().await;
        let (rate, batch) = {
            let now = environment.borrow_and_update();
            (now.events_per_sec, now.batch_size)
        };
        metrics.batch_size.set(i64::from(batch));
        metrics.rate.set(i64::from(rate));
        let now = Instant::now();
        if now.duration_since(due) > MOST_BEHIND {
            due = now;
        }
        let mut arrived = Vec::new();
        while due <= now {
            arrived.push(queue::Event { sequence, arrived: due });
            sequence += 1;
            due += gap(arrivals, rate, &mut random);
        }
        if !arrived.is_empty() {
            metrics.offered.inc_by(arrived.len() as u64);
            metrics.dropped.inc_by(queue.push(arrived) as u64);
        }
        metrics.waiting.set(i64::try_from(queue.len()).unwrap_or(i64::MAX));
    }
}

/// From one event to the next, at `rate` per second.
fn gap(arrivals: Arrivals, rate: u32, random: &mut StdRng) -> Duration {
    let mean = 1.0 / f64::from(rate);
    Duration::from_secs_f64(match arrivals {
        Arrivals::Steady => mean,
        // Exponential gaps: 1 − u is never 0.
        Arrivals::Random => mean * -(1.0 - random.random::<f64>()).ln(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_arrivals_keep_the_rate() {
        let mut random = StdRng::seed_from_u64(1);
        let total: Duration = (0..10_000).map(|_| gap(Arrivals::Random, 100, &mut random)).sum();
        assert!((90.0..110.0).contains(&total.as_secs_f64()), "{total:?}");
        assert_eq!(gap(Arrivals::Steady, 100, &mut random), Duration::from_millis(10));
    }
}
