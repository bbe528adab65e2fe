//! Running the target's statements: in order, or beside each other; each with its record in one transaction.
//!
//! In: statements of a [`super::ddl::Ddl`], and the tables as they become loaded. Out: what failed. Always holds: a
//! statement and the record that it is done are committed together; what is done is not run again; of one table
//! indexes are built beside each other and all else comes behind them, in order; a statement that fails keeps none
//! from running that does not stand behind it in its own table, and is named; while a level of the target is broken all
//! builders but one begin nothing.

mod way;

use super::ddl::{Kind, Statement};
use super::quote;
use super::run::Levels;
use super::schema::TableName;
use super::state::{self, Lease};
use super::transfer::counters::{Counters, count};
use super::transfer::{Failure, Kind as FailureKind, Side};
use crate::config::DatabaseEndpoint;
use crate::postgres::{Connection, connect_for_work};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use way::Way;

/// A statement that is to run, with its number in the plan.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) number: u32,
    pub(crate) statement: Statement,
}

/// A statement that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailedStatement {
    /// What it makes, for people.
    pub describes: String,
    /// The statement.
    pub sql: String,
    /// The server's words.
    pub why: String,
}

/// What is the same for all statements of a run.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) target: DatabaseEndpoint,
    pub(crate) lease: Lease,
    pub(crate) max_retries: u32,
    pub(crate) connect_timeout: Duration,
    /// What one builder may sort in at most, bytes; `None`: nobody knows what the target has.
    pub(crate) sort_bytes: Option<u64>,
    /// Where the target serves others.
    pub(crate) levels: Option<Levels>,
    pub(crate) stop: CancellationToken,
}

const SESSION: &str = "SET search_path = ''; SET client_min_messages = warning; \
                       SET idle_in_transaction_session_timeout = 0";
/// An index is sorted in memory as far as that goes: in so many bytes, or in the server's own value where it is larger.
const SORT_BYTES: u64 = 256 << 20;
/// No server takes less.
const LEAST_SORT_BYTES: u64 = 1 << 20;

/// What prepares a builder's session. `most`: what it may sort in.
fn session(most: Option<u64>) -> String {
    let own = "pg_catalog.pg_size_bytes(pg_catalog.current_setting('maintenance_work_mem'))";
    let wanted = format!("GREATEST({own}, {SORT_BYTES})");
    let bytes = match most {
        Some(most) => format!("LEAST({wanted}, {})", most.max(LEAST_SORT_BYTES)),
        None => wanted,
    };
    format!(
        "{SESSION}; SELECT pg_catalog.set_config('maintenance_work_mem', ({bytes} / 1024)::text || 'kB', false)"
    )
}

/// One session that runs statements.
#[derive(Debug)]
pub(crate) struct Builder {
    site: Site,
    name: String,
    connection: Option<Connection>,
}

impl Builder {
    pub(crate) fn new(site: &Site, name: impl Into<String>) -> Self {
        Self { site: site.clone(), name: name.into(), connection: None }
    }

    async fn client(&mut self) -> Result<&tokio_postgres::Client, Failure> {
        if self.connection.as_ref().is_none_or(Connection::is_closed) {
            let dsn = self.site.target.postgres_dsn();
            let connection = connect_for_work(dsn.expose(), &self.name, self.site.connect_timeout)
                .await
                .map_err(|error| Failure::lost(Side::Target, error.to_string()))?;
            connection
                .client()
                .batch_execute(&session(self.site.sort_bytes))
                .await
                .map_err(|error| Failure::of(Side::Target, "preparing a session", &error))?;
            self.connection = Some(connection);
        }
        Ok(self.connection.as_ref().expect("opened above").client())
    }

    /// Runs statements in one transaction, with their records. What may pass is tried again.
    pub(crate) async fn run(&mut self, steps: &[Step]) -> Result<(), Failure> {
        let mut failures = 0;
        loop {
            let failure = match self.try_run(steps).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            if failure.connection_is_gone {
                self.connection = None;
            }
            if failure.kind != FailureKind::Passing || failures >= self.site.max_retries {
                return Err(failure);
            }
            failures += 1;
            tracing::warn!("{failure}: trying again");
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(200) * 2_u32.pow(failures.min(8))) => {}
                () = self.site.stop.cancelled() => return Err(failure),
            }
        }
    }

    async fn try_run(&mut self, steps: &[Step]) -> Result<(), Failure> {
        let lease = self.site.lease.clone();
        let client = self.client().await?;
        let tried = transact(client, &lease, steps).await;
        if tried.as_ref().is_err_and(|failure| !failure.connection_is_gone) {
            // Where this fails too, the connection is gone and the next use finds out.
            let _ = client.batch_execute("ROLLBACK").await;
        }
        tried
    }

    /// Counts a table's rows for the planner.
    pub(crate) async fn analyze(&mut self, table: &TableName) -> Result<(), Failure> {
        let sql = format!("ANALYZE {}", quote::qualified(table));
        let doing = format!("analyzing {}", quote::shown(table));
        let client = self.client().await?;
        client.batch_execute(&sql).await.map_err(|error| Failure::of(Side::Target, &doing, &error))
    }
}

async fn transact(client: &tokio_postgres::Client, lease: &Lease, steps: &[Step]) -> Result<(), Failure> {
    client
        .batch_execute("BEGIN")
        .await
        .map_err(|error| Failure::of(Side::Target, "beginning a transaction", &error))?;
    for step in steps {
        client.batch_execute(&step.statement.sql).await.map_err(|error| {
            Failure::of(Side::Target, &format!("making {}", step.statement.describes), &error)
        })?;
        state::record_statement(client, lease, step.number, &step.statement)
            .await
            .map_err(|error| Failure::of_state(&error))?;
    }
    client
        .batch_execute("COMMIT")
        .await
        .map_err(|error| Failure::of(Side::Target, "committing statements", &error))
}

// --- Indexes beside the load ---------------------------------------------------------------------------------------

/// What is built of one table.
#[derive(Debug, Default)]
struct OfTable {
    /// Indexes that are not begun.
    indexes: VecDeque<Step>,
    /// Indexes that are being built.
    building: usize,
    /// What comes behind them, in order.
    rest: VecDeque<Step>,
    busy: bool,
    failed: bool,
    analyze: Option<TableName>,
}

/// What a builder does next.
#[derive(Debug)]
enum Job {
    Index(u32, Step),
    Rest(u32, Vec<Step>),
    Analyze(u32, TableName),
    Wait,
    Done,
}

#[derive(Debug, Default)]
struct Work {
    open: BTreeMap<u32, OfTable>,
    no_more: bool,
    failed: Vec<FailedStatement>,
}

impl Work {
    fn next(&mut self) -> Job {
        for (number, table) in &mut self.open {
            if table.busy {
                continue;
            }
            if let Some(step) = table.indexes.pop_front() {
                table.building += 1;
                return Job::Index(*number, step);
            }
            if table.building > 0 {
                continue;
            }
            if !table.rest.is_empty() {
                table.busy = true;
                return Job::Rest(*number, table.rest.drain(..).collect());
            }
            if let Some(name) = table.analyze.take() {
                table.busy = true;
                return Job::Analyze(*number, name);
            }
        }
        self.open.retain(|_, table| table.busy || table.building > 0);
        if self.no_more && self.open.is_empty() { Job::Done } else { Job::Wait }
    }

    /// Whether nothing is left to begin, and nothing will come.
    fn is_all_begun(&self) -> bool {
        let is_begun =
            |table: &OfTable| table.indexes.is_empty() && table.rest.is_empty() && table.analyze.is_none();
        self.no_more && self.open.values().all(is_begun)
    }
}

/// Builds what belongs to each table once it is loaded, `jobs` at a time. Ends when `loaded` is closed and all is built.
///
/// `steps`: by table, in the plan's order, without those that are done already.
pub(crate) async fn beside_the_load(
    site: &Site,
    mut steps: BTreeMap<u32, (TableName, Vec<Step>)>,
    mut loaded: mpsc::UnboundedReceiver<u32>,
    jobs: usize,
    counters: Arc<Counters>,
) -> Vec<FailedStatement> {
    let work = Arc::new((Mutex::new(Work::default()), Notify::new()));
    let mut builders = JoinSet::new();
    for at in 0..jobs.max(1) {
        let builder = Builder::new(site, format!("leverd builder {}", at + 1));
        let way = Way::new(site.levels.as_ref(), at);
        builders.spawn(build(builder, way, Arc::clone(&work), Arc::clone(&counters)));
    }
    while let Some(table) = loaded.recv().await {
        let Some((name, of_table)) = steps.remove(&table) else { continue };
        let (indexes, rest) = of_table.into_iter().partition(|step| step.statement.kind == Kind::Index);
        let of_table = OfTable { indexes, rest, analyze: Some(name), ..OfTable::default() };
        lock(&work.0).open.insert(table, of_table);
        work.1.notify_waiters();
    }
    lock(&work.0).no_more = true;
    work.1.notify_waiters();
    while builders.join_next().await.is_some() {}
    std::mem::take(&mut lock(&work.0).failed)
}

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn build(
    mut builder: Builder,
    mut way: Way,
    work: Arc<(Mutex<Work>, Notify)>,
    counters: Arc<Counters>,
) {
    let (state, changed) = &*work;
    let stop = builder.site.stop.clone();
    loop {
        let notified = changed.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        if way.is_closed() {
            if lock(state).is_all_begun() {
                return;
            }
            tokio::select! {
                () = notified => {}
                () = way.looked_at() => {}
                () = stop.cancelled() => return,
            }
            continue;
        }
        let job = lock(state).next();
        match job {
            Job::Done => return,
            Job::Wait => {
                // A table that waits for its indexes is no work for anybody; its last builder wakes the others.
                tokio::select! {
                    () = notified => {}
                    () = stop.cancelled() => return,
                }
                continue;
            }
            Job::Index(number, step) => {
                let _building = counters.building();
                let failed = tokio::select! {
                    built = builder.run(std::slice::from_ref(&step)) => built.err().map(|why| failed(&step, &why)),
                    () = stop.cancelled() => return,
                };
                let mut work = lock(state);
                if let Some(table) = work.open.get_mut(&number) {
                    table.building -= 1;
                    table.failed |= failed.is_some();
                }
                work.failed.extend(failed);
            }
            Job::Rest(number, steps) => {
                let _building = counters.building();
                let mut failures = Vec::new();
                for step in steps {
                    let ran = tokio::select! {
                        ran = builder.run(std::slice::from_ref(&step)) => ran,
                        () = stop.cancelled() => return,
                    };
                    failures.extend(ran.err().map(|why| failed(&step, &why)));
                }
                let mut work = lock(state);
                if let Some(table) = work.open.get_mut(&number) {
                    table.busy = false;
                }
                work.failed.extend(failures);
            }
            Job::Analyze(number, name) => {
                if let Err(why) = builder.analyze(&name).await {
                    // The planner does without for a while: autovacuum comes.
                    tracing::warn!("{why}");
                }
                if let Some(table) = lock(state).open.get_mut(&number) {
                    table.busy = false;
                }
            }
        }
        changed.notify_waiters();
    }
}

fn failed(step: &Step, why: &Failure) -> FailedStatement {
    FailedStatement {
        describes: step.statement.describes.clone(),
        sql: step.statement.sql.clone(),
        why: why.text.clone(),
    }
}

/// Runs statements beside each other, each in its own transaction.
pub(crate) async fn beside_each_other(
    site: &Site,
    steps: Vec<Step>,
    jobs: usize,
    counters: &Arc<Counters>,
) -> Vec<FailedStatement> {
    let open = Arc::new((Mutex::new(VecDeque::from(steps)), Notify::new()));
    let mut sessions = JoinSet::new();
    for at in 0..jobs.max(1) {
        let builder = Builder::new(site, format!("leverd builder {}", at + 1));
        let way = Way::new(site.levels.as_ref(), at);
        sessions.spawn(take_turns(builder, way, Arc::clone(&open), Arc::clone(counters)));
    }
    let mut all = Vec::new();
    while let Some(failures) = sessions.join_next().await {
        all.extend(failures.unwrap_or_default());
    }
    all
}

/// Runs what is open until nothing is, and gives back what failed.
async fn take_turns(
    mut builder: Builder,
    mut way: Way,
    open: Arc<(Mutex<VecDeque<Step>>, Notify)>,
    counters: Arc<Counters>,
) -> Vec<FailedStatement> {
    let (open, changed) = &*open;
    let stop = builder.site.stop.clone();
    let mut all = Vec::new();
    while !stop.is_cancelled() {
        let notified = changed.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        if way.is_closed() && !lock(open).is_empty() {
            tokio::select! {
                () = notified => {}
                () = way.looked_at() => {}
                () = stop.cancelled() => {}
            }
            continue;
        }
        let Some(step) = lock(open).pop_front() else { break };
        changed.notify_waiters();
        let _building = counters.building();
        all.extend(builder.run(std::slice::from_ref(&step)).await.err().map(|why| failed(&step, &why)));
    }
    all
}

/// Runs statements in order, each in its own transaction, and goes on behind one that fails.
pub(crate) async fn in_order(site: &Site, steps: Vec<Step>, counters: &Counters) -> Vec<FailedStatement> {
    let mut builder = Builder::new(site, "leverd builder 1");
    let mut all = Vec::new();
    for step in steps {
        if site.stop.is_cancelled() {
            break;
        }
        let _building = counters.building();
        all.extend(builder.run(std::slice::from_ref(&step)).await.err().map(|why| failed(&step, &why)));
    }
    all
}

/// Counts what could not be made, for the metrics.
pub(crate) fn note_failures(counters: &Counters, failed: &[FailedStatement]) {
    count(&counters.errors, failed.len() as u64);
}
