//! A writer: takes batches from the queue and writes each in one transaction, on a connection that it renews.

use super::environment::Environment;
use super::jobs::Jobs;
use super::metrics::Metrics;
use super::queue::{Event, Queue};
use super::statements;
use crate::postgres::{Connection, PostgresError, connect};
use crate::sandbox::scenario::Load;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio_postgres::Statement;

pub(super) const TIMEOUT: Duration = Duration::from_secs(20);

pub(super) struct Writer {
    /// From 0; writers update disjoint rows, so they never wait for each other's locks.
    pub(super) number: u32,
    pub(super) dsn: String,
    pub(super) load: Load,
    pub(super) queue: Arc<Queue>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) environment: watch::Receiver<Environment>,
    /// Which of the two event tables takes inserts. The other one is emptied at a change, so neither grows for ever.
    pub(super) events: Arc<Turns>,
    /// When the queue's table is emptied, for the same reason.
    pub(super) jobs: Arc<Turns>,
}

/// Rows in turns of so many.
#[derive(Debug)]
pub(super) struct Turns {
    counted: AtomicU64,
    rows_of_one: u64,
}

impl Turns {
    pub(super) fn of(rows: u32) -> Self {
        Self { counted: AtomicU64::new(0), rows_of_one: u64::from(rows).max(1) }
    }

    /// The turn of `rows` more rows, and whether they are its first.
    fn next(&self, rows: u64) -> (u64, bool) {
        let before = self.counted.fetch_add(rows, Ordering::Relaxed);
        let (turn, turn_before) = ((before + rows) / self.rows_of_one, before / self.rows_of_one);
        (turn, turn != turn_before)
    }
}

/// A connection with its statements.
struct Session {
    connection: Connection,
    update: Statement,
    inserts: [Statement; 2],
    read: Statement,
    add_jobs: Statement,
    remove_jobs: Statement,
}

/// What a writer carries from one batch to the next.
struct Work {
    session: Option<Session>,
    random: StdRng,
    jobs: Jobs,
}

impl Writer {
    pub(super) async fn run(self) {
        let random = StdRng::seed_from_u64(u64::from(self.number));
        let mut work = Work { session: None, random, jobs: Jobs::new(&self.load) };
        let (mut backoff, mut told) = (Backoff::default(), String::new());
        loop {
            let most = || self.environment.borrow().batch_size as usize;
            let batch = self.queue.take(most, self.load.linger.get()).await;
            // The same batch until it is written: its events' latency keeps growing, as for a real sender.
            while let Err(error) = self.write(&mut work, &batch).await {
                work.session = None;
                self.metrics.errors.inc();
                let words = error.to_string();
                // A server that refuses everybody would fill the log with one sentence.
                if told != words {
                    tracing::warn!(writer = self.number, "{words}");
                    told = words;
                }
                tokio::time::sleep(backoff.next()).await;
            }
            backoff = Backoff::default();
            if !self.load.sessions.kept {
                work.session = None;
            }
            self.metrics.transactions.inc();
            self.metrics.written.inc_by(batch.len() as u64);
            for event in &batch {
                self.metrics.latency.observe(event.arrived.elapsed().as_secs_f64() * 1_000.0);
            }
        }
    }

    async fn write(&self, work: &mut Work, batch: &[Event]) -> Result<(), PostgresError> {
        let Work { session, random, jobs } = work;
        let session = match session {
            Some(session) => session,
            None => session.insert(Session::open(&self.dsn, &self.load).await?),
        };
        let hold = self.load.sessions.hold.get();
        if !hold.is_zero() {
            tokio::time::sleep(hold).await;
        }
        let environment = *self.environment.borrow();
        let client = session.connection.client();
        client.batch_execute("BEGIN").await.map_err(failed("beginning"))?;
        let updated = self.accounts_of(batch.len(), environment, random);
        if !updated.is_empty() {
            client.execute(&session.update, &[&updated]).await.map_err(failed("updating"))?;
        }
        let inserted = self.rows_of(batch);
        if !inserted.is_empty() {
            let (turn, is_first) = self.events.next(inserted.len() as u64);
            let table = usize::from(turn % 2 == 1);
            if is_first {
                let truncate = format!("TRUNCATE capsim_events_{table}");
                client.batch_execute(&truncate).await.map_err(failed("emptying a table"))?;
            }
            client.execute(&session.inserts[table], &[&inserted]).await.map_err(failed("inserting"))?;
        }
        let moved = self.move_jobs(session, jobs, batch).await?;
        let read = self.items_of(batch.len(), environment, random);
        if !read.is_empty() {
            client.query_one(&session.read, &[&read]).await.map_err(failed("reading"))?;
        }
        // Planned anew each time, as a person's query is: a prepared plan would outlive a change of work_mem.
        for _ in 0..of_every(batch, environment.reports_every_events) {
            let report = statements::report(&self.load, random);
            client.query_one(&report, &[]).await.map_err(failed("reporting"))?;
        }
        for _ in 0..of_every(batch, environment.lookups_every_events) {
            let lookup = statements::lookup(&self.load, random);
            client.query_one(&lookup, &[]).await.map_err(failed("looking up"))?;
        }
        client.batch_execute("COMMIT").await.map_err(failed("committing"))?;
        if let Some((added, removed)) = moved {
            jobs.committed(added, removed);
        }
        Ok(())
    }

    /// Adds to the queue, removes what waited long enough, and reads it where it is time for that. The rows that
    /// came, and how many went; `None` without a queue.
    async fn move_jobs(
        &self,
        session: &Session,
        jobs: &Jobs,
        batch: &[Event],
    ) -> Result<Option<(Vec<i64>, usize)>, PostgresError> {
        let added = jobs.added_by(batch.len());
        if added == 0 {
            return Ok(None);
        }
        let client = session.connection.client();
        let (_, is_first) = self.jobs.next(added as u64);
        if is_first {
            client.batch_execute("TRUNCATE capsim_jobs").await.map_err(failed("emptying the queue"))?;
        }
        let count = i32::try_from(added).expect("at most 10,000 events of 1,000 rows");
        let rows = client.query(&session.add_jobs, &[&count]).await.map_err(failed("adding jobs"))?;
        let due = jobs.due(added);
        client.execute(&session.remove_jobs, &[&due]).await.map_err(failed("removing jobs"))?;
        for _ in 0..of_every(batch, self.load.jobs.scan_every_events.get()) {
            client.query_one(statements::SCAN_JOBS, &[]).await.map_err(failed("counting jobs"))?;
        }
        Ok(Some((rows.iter().map(|row| row.get(0)).collect(), due.len())))
    }

    /// Random rows of this writer's own share, sorted, each once.
    fn accounts_of(&self, events: usize, environment: Environment, random: &mut StdRng) -> Vec<i32> {
        let count = events * environment.updates_per_event as usize;
        let writers = self.load.writers.get();
        let share = self.load.accounts.rows.get() / writers;
        let id = |index: u32| i32::try_from(index * writers + self.number).expect("at most 5,000,000 rows");
        let mut ids: Vec<i32> = (0..count).map(|_| id(random.random_range(0..share))).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    fn rows_of(&self, batch: &[Event]) -> Vec<i64> {
        let each = self.load.inserts.per_event.get() as usize;
        let rows = batch.iter().flat_map(|event| std::iter::repeat_n(event.sequence, each));
        rows.map(|sequence| i64::try_from(sequence).unwrap_or(i64::MAX)).collect()
    }

    fn items_of(&self, events: usize, environment: Environment, random: &mut StdRng) -> Vec<i32> {
        let count = events * environment.reads_per_event as usize;
        let rows = self.load.reads.working_set_rows.get();
        (0..count)
            .map(|_| i32::try_from(random.random_range(0..rows)).expect("at most 5,000,000 rows"))
            .collect()
    }
}

/// How many events of a batch are one of every so many; 0: none.
fn of_every(batch: &[Event], every: u32) -> usize {
    let every = u64::from(every);
    batch.iter().filter(|event| every > 0 && event.sequence.is_multiple_of(every)).count()
}

fn failed(doing: &'static str) -> impl Fn(tokio_postgres::Error) -> PostgresError {
    move |error| PostgresError::statement(doing, &error)
}

impl Session {
    async fn open(dsn: &str, load: &Load) -> Result<Self, PostgresError> {
        let connection = connect(dsn, TIMEOUT).await?;
        let client = connection.client();
        let prepare = async |sql: &str| client.prepare(sql).await.map_err(failed("preparing"));
        Ok(Self {
            update: prepare(statements::UPDATE).await?,
            inserts: [
                prepare(&statements::insert(0, load)).await?,
                prepare(&statements::insert(1, load)).await?,
            ],
            read: prepare(statements::READ).await?,
            add_jobs: prepare(&statements::add_jobs(load)).await?,
            remove_jobs: prepare(statements::REMOVE_JOBS).await?,
            connection,
        })
    }
}

/// Waits between attempts to reach Postgres: 100 ms, doubled up to 2 s.
#[derive(Debug, Default)]
pub(super) struct Backoff(u32);

impl Backoff {
    pub(super) fn next(&mut self) -> Duration {
        let wait = Duration::from_millis(100) * 2_u32.pow(self.0.min(5));
        self.0 += 1;
        wait.min(Duration::from_secs(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_so_many_rows_and_begins_once() {
        let rows = Turns::of(10);
        let turns: Vec<_> = (0..5).map(|_| rows.next(5)).collect();
        assert_eq!(turns, [(0, false), (1, true), (1, false), (2, true), (2, false)]);
    }

    #[test]
    fn waiting_for_postgres_is_bounded() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..7).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 2000, 2000]);
    }

    #[test]
    fn one_event_of_so_many_has_more_to_do() {
        let arrived = std::time::Instant::now();
        let batch: Vec<Event> = (5..25).map(|sequence| Event { sequence, arrived }).collect();
        assert_eq!([0, 1, 10, 7].map(|every| of_every(&batch, every)), [0, 20, 2, 3]);
    }
}
