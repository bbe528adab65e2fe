//! Metrics of the host, of Postgres, and of leverd itself, as Prometheus reads them.
//!
//! In: the resolved configuration and a DSN. Out: one text, by [`Exporter::render`].
//! Always holds: samplers run in the background at their own interval; a scrape renders what they left in memory
//! and waits for nothing; every sampler's age is shown, and what got too old is left out rather than repeated;
//! Postgres is asked over one connection, never a second one beside it.
//! It does not listen: the HTTP side is [`crate::api`].

#[cfg(any(test, all(target_os = "macos", target_arch = "aarch64")))]
mod apple;
#[cfg(not(all(target_os = "macos", target_arch = "aarch64")))]
mod host;
mod own;
mod pace;
mod page;
mod postgres;
mod slot;

pub use own::{Held, OwnMetrics, WebhookResult};

use crate::config::{Config, ExporterConfig, Secret};
use chrono::{DateTime, Utc};
use pace::Scrapes;
use page::{Kind, Page};
use slot::Slot;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What to sample, and how to reach Postgres.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which sets, how often, and where `/proc` and `/sys` are. `listen` is not looked at here.
    pub sets: ExporterConfig,
    /// How to reach Postgres; `None`: no Postgres metrics.
    pub dsn: Option<Secret>,
}

impl Options {
    /// The exporter's part of a whole configuration.
    pub fn of(config: &Config) -> Self {
        Self { sets: config.exporter.clone(), dsn: Some(config.target.dsn.clone()) }
    }
}

/// Why the exporter could not start.
#[derive(Debug, thiserror::Error)]
pub enum ExporterError {
    /// The operating system gave no thread.
    #[error("the exporter cannot start its {name} thread: {source}")]
    Thread {
        /// The thread's name.
        name: &'static str,
        /// The reason.
        source: std::io::Error,
    },
}

/// A handle on the running samplers; clones show the same.
#[derive(Debug, Clone)]
pub struct Exporter {
    shared: Arc<Shared>,
}

/// What the samplers leave for the scrapes.
#[derive(Debug)]
struct Shared {
    every: Duration,
    scrapes: Mutex<Scrapes>,
    host: Option<Slot>,
    postgres: Option<Slot>,
    probe: postgres::Probe,
    /// Where Postgres' data is, as seen from this host; the Postgres sampler finds it, the host's uses it.
    data_directory: Mutex<Option<PathBuf>>,
    own: Arc<OwnMetrics>,
    /// The size of the last page, to ask for the next one's memory at once.
    page_bytes: AtomicUsize,
}

/// Starts the samplers. Tasks are tracked by `tracker` and end with `shutdown`; the threads that read the host end
/// within an interval of it, and nothing waits for them: a hanging network file system must not hold up an exit.
///
/// # Errors
/// Where the operating system gives no thread.
pub fn start(
    options: Options,
    tracker: &TaskTracker,
    shutdown: CancellationToken,
) -> Result<Exporter, ExporterError> {
    let sets = options.sets;
    let dsn = options.dsn.filter(|_| sets.postgres);
    let shared = Arc::new(Shared {
        every: sets.sample_every.max(Duration::from_millis(100)),
        scrapes: Mutex::default(),
        host: Some(Slot::default()),
        postgres: dsn.as_ref().map(|_| Slot::default()),
        probe: postgres::Probe::new(sets.write_probe && dsn.is_some()),
        data_directory: Mutex::default(),
        own: Arc::new(OwnMetrics::new()),
        page_bytes: AtomicUsize::new(0),
    });
    start_host(&shared, &sets, &shutdown)?;
    if let Some(dsn) = dsn {
        tracker.spawn(postgres::sample(dsn, shared.clone(), shutdown));
    }
    Ok(Exporter { shared })
}

/// Linux shows itself in files.
#[cfg(not(all(target_os = "macos", target_arch = "aarch64")))]
fn start_host(
    shared: &Arc<Shared>,
    sets: &ExporterConfig,
    shutdown: &CancellationToken,
) -> Result<(), ExporterError> {
    let (shared, shutdown, node_set) = (shared.clone(), shutdown.clone(), sets.host);
    let sampler = host::HostSampler::new(sets.procfs.clone(), sets.sysfs.clone(), node_set, host::space_of);
    let sampling = move || sample_host(sampler, &shared, &shutdown);
    let thread = std::thread::Builder::new().name("leverd-host".into()).spawn(sampling);
    thread.map(drop).map_err(|source| ExporterError::Thread { name: "host", source })
}

/// Apple silicon shows itself to macmon.
#[cfg(all(target_os = "macos", target_arch = "aarch64"))]
fn start_host(
    shared: &Arc<Shared>,
    sets: &ExporterConfig,
    shutdown: &CancellationToken,
) -> Result<(), ExporterError> {
    let (shared, shutdown, node_set) = (shared.clone(), shutdown.clone(), sets.host);
    let sampling = move || apple::sampler::run(&shared, node_set, &shutdown);
    let thread = std::thread::Builder::new().name("leverd-macos".into()).spawn(sampling);
    thread.map(drop).map_err(|source| ExporterError::Thread { name: "macos", source })
}

#[cfg(not(all(target_os = "macos", target_arch = "aarch64")))]
fn sample_host(mut sampler: host::HostSampler, shared: &Shared, shutdown: &CancellationToken) {
    let Some(slot) = &shared.host else { return };
    let mut known_problems = Vec::new();
    while !shutdown.is_cancelled() {
        let mut page = Page::reusing(slot.spare());
        let data_directory = lock(&shared.data_directory).clone();
        let problems = sampler.sample(&mut page, data_directory.as_deref());
        host::own_process(&mut page);
        if problems != known_problems {
            for problem in &problems {
                tracing::warn!(sampler.name = "host", "host metrics are incomplete: {problem}");
            }
            known_problems.clone_from(&problems);
        }
        let now = Instant::now();
        slot.publish(page.into_text(), now, problems.len());
        let next = lock(&shared.scrapes).next_sample(now, shared.every);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

impl Exporter {
    /// leverd's own counters, for those who have something to count.
    pub fn own(&self) -> &Arc<OwnMetrics> {
        &self.shared.own
    }

    /// The page for a scrape, from memory alone.
    pub fn render(&self) -> String {
        #[expect(clippy::disallowed_methods, reason = "the one clock read of a scrape: it dates the ages")]
        let wall = Utc::now();
        self.shared.render(Instant::now(), wall)
    }

    /// Whether every sampler has had its first turn, and how they stand, for people.
    pub fn readiness(&self) -> (bool, String) {
        let slots = [("host", &self.shared.host), ("postgres", &self.shared.postgres)];
        let mut ready = true;
        let mut words = Vec::new();
        for (name, slot) in slots {
            let Some(slot) = slot else { continue };
            let (tried, state) = slot.state();
            ready &= tried;
            words.push(format!("{name}: {state}"));
        }
        (ready, words.join("; "))
    }
}

impl Shared {
    /// What is older than this is left out.
    fn keep_for(&self) -> Duration {
        (self.every * 5).max(Duration::from_secs(15))
    }

    fn render(&self, now: Instant, wall: DateTime<Utc>) -> String {
        lock(&self.scrapes).note(now);
        let mut text = String::with_capacity(self.page_bytes.load(Ordering::Relaxed));
        let slots = [("host", &self.host), ("postgres", &self.postgres)];
        for slot in slots.iter().filter_map(|(_, slot)| slot.as_ref()) {
            slot.append(now, self.keep_for(), &mut text);
        }
        let mut page = Page::continuing(text);
        if let Some(slot) = &self.postgres {
            let up = f64::from(slot.is_fresh(now, self.keep_for()));
            page.single("pg_up", Kind::Gauge, "Whether the last read of Postgres' statistics worked.", up);
            self.probe.render(&mut page);
        }
        let mut ages = page.family(
            "leverd_sampler_age_seconds",
            Kind::Gauge,
            "Age of each sampler's latest good sample; absent until the first.",
        );
        for (name, slot) in &slots {
            let age = slot.as_ref().and_then(|slot| slot.age(now)).map_or(f64::NAN, |age| age.as_secs_f64());
            ages.sample(&[("sampler", name)], age);
        }
        let mut errors = page.family("leverd_sampler_errors_total", Kind::Counter, "Reads that failed.");
        for (name, slot) in &slots {
            if let Some(slot) = slot {
                errors.sample(&[("sampler", name)], slot.errors() as f64);
            }
        }
        self.own.render(wall, &mut page);
        let text = page.into_text();
        self.page_bytes.store(text.len() + 256, Ordering::Relaxed);
        text
    }
}

/// A panic of one holder leaves whole values behind everywhere in this room.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
