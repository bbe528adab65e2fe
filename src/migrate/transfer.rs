//! Moving rows: readers cut chunks off tables and read them, writers commit them, side by side.
//!
//! ```text
//!   Schedule ──chunk──▶ readers ──segments──▶ Queue ──▶ writers ──▶ one transaction: rows + the chunk's record
//!      ▲                                                  │
//!      └───────────── committed, or again ────────────────┘
//! ```
//!
//! In: what is to be moved, and the settings in force, which may change at any time. Out: the tables' numbers as they
//! become complete, and at the end nothing or the failure that ended it. Always holds: bytes in flight stay within the
//! budget; more writers begin at once, fewer stop between two chunks; a chunk is cut by the size in force when it is
//! cut; what may pass is tried again so many times, what is refused by the target is sought out row by row, anything
//! else ends the transfer with every transaction rolled back. It creates nothing and builds no index.

mod copy;
pub(crate) mod counters;
mod failure;
mod postgres_reader;
mod queue;
mod schedule;
mod segment;
mod source;
mod transact;
mod uptake;
mod writer;

pub(crate) use copy::Form;
pub(crate) use failure::{Failure, Kind, Side};
pub(crate) use postgres_reader::EXACT_TEXT;
pub(crate) use schedule::{Chunk, Limits, PartPlan, Schedule, TablePlan};
pub(crate) use segment::{Budget, Sink, Totals, WriterGone};
pub(crate) use source::{IdleSessions, Source, TableOrder};
pub(crate) use writer::{Destination, Put};

use writer::Writer;

use crate::config::DatabaseEndpoint;
use crate::migrate::adjust::Settings;
use crate::migrate::state::Lease;
use counters::{Counters, add, at, count};
use queue::Queue;
use schedule::{BoundaryQuestion, Task};
use segment::Piece;
use source::Session;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uptake::Place;

/// The first wait before something is tried again; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// What a transfer is told.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) source: Source,
    pub(crate) target: DatabaseEndpoint,
    /// Under it chunks are recorded.
    pub(crate) lease: Lease,
    /// By the table's number.
    pub(crate) tables: BTreeMap<u32, TableOrder>,
    /// Tables at once.
    pub(crate) workers: u32,
    /// Bytes that may wait between readers and writers.
    pub(crate) budget_bytes: u64,
    /// So often something is tried again.
    pub(crate) max_retries: u32,
    /// Rows of one chunk that may be refused.
    pub(crate) most_rejected: u64,
    /// Foreign keys and triggers of the target's are passed over.
    pub(crate) as_replica: bool,
    pub(crate) connect_timeout: Duration,
    /// Sessions of the source and of the target at most.
    pub(crate) most_readers: u32,
    pub(crate) most_writers: u32,
}

/// A chunk that a reader reads.
#[derive(Debug)]
struct Ready {
    chunk: Chunk,
    pieces: mpsc::UnboundedReceiver<Piece>,
    began: Instant,
    /// Of [`uptake::Uptake::chunk_comes`].
    generation: u64,
}

/// What all readers and writers share.
#[derive(Debug)]
struct Shared {
    order: Order,
    schedule: Mutex<Schedule>,
    /// The schedule may have something again.
    changed: Notify,
    queue: Queue<Ready>,
    budget: Budget,
    counters: Arc<Counters>,
    settings: watch::Receiver<Settings>,
    stop: CancellationToken,
    failure: Mutex<Option<Failure>>,
    loaded: mpsc::UnboundedSender<u32>,
}

/// Moves the rows. `loaded` is told each table whose last chunk is committed; `stop` ends it between two rows.
pub(crate) async fn run(
    order: Order,
    schedule: Schedule,
    counters: Arc<Counters>,
    budget: Budget,
    settings: watch::Receiver<Settings>,
    loaded: mpsc::UnboundedSender<u32>,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let buffers = settings.borrow().buffers.get() as usize;
    let shared = Arc::new(Shared {
        order,
        schedule: Mutex::new(schedule),
        changed: Notify::new(),
        queue: Queue::new(buffers),
        budget,
        counters,
        settings,
        stop: stop.child_token(),
        failure: Mutex::new(None),
        loaded,
    });
    let mut tasks = JoinSet::new();
    for index in 0..shared.order.most_readers {
        tasks.spawn(Arc::clone(&shared).reader(index));
    }
    for index in 0..shared.order.most_writers {
        tasks.spawn(Arc::clone(&shared).writer(index));
    }
    tasks.spawn(Arc::clone(&shared).follow_settings());
    while let Some(ended) = tasks.join_next().await {
        // Those that were aborted below did not fail.
        if let Err(error) = ended
            && !error.is_cancelled()
        {
            shared.fail(Failure::lasting(Side::Target, format!("a task of the transfer ended: {error}")));
        }
        if shared.stop.is_cancelled() {
            // Sessions in the middle of something are cut: their servers roll back.
            tasks.abort_all();
        }
    }
    let failure = shared.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
    failure.map_or(Ok(()), Err)
}

impl Shared {
    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settings(&self) -> Settings {
        *self.settings.borrow()
    }

    /// Ends the transfer; the first failure is the one that is told.
    fn fail(&self, failure: Failure) {
        let mut first = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(failure);
        drop(first);
        self.stop.cancel();
    }

    /// Waits a while that grows with the number of failures; `false`: it is over.
    async fn pause(&self, failures: u32) -> bool {
        let pause = FIRST_PAUSE * 2_u32.saturating_pow(failures.min(8));
        tokio::select! {
            () = tokio::time::sleep(pause) => true,
            () = self.stop.cancelled() => false,
        }
    }

    /// Ends when every table is loaded.
    async fn done(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.schedule().is_done() {
                return;
            }
            changed.await;
        }
    }

    // --- Readers ---------------------------------------------------------------------------------------------------

    async fn reader(self: Arc<Self>, index: u32) {
        let mut settings = self.settings.clone();
        let mut session: Option<Session> = None;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            settings.mark_unchanged();
            let wanted = index < self.readers_for(&self.settings());
            // Before a task is taken: without a session it could not be given back as it was.
            let ready = wanted && self.open_source(index, &mut session).await;
            if !wanted {
                self.leave_source(&mut session);
            }
            // Also where no session is to be had.
            self.counters.uptake.reader(index, if wanted { Place::There } else { Place::Away });
            let task = if ready {
                self.schedule().next(self.settings().chunk_rows.get())
            } else if self.schedule().is_done() {
                Task::Done
            } else {
                Task::Wait
            };
            if matches!(task, Task::Done) {
                self.leave_source(&mut session);
                return;
            }
            let Some(source) = session.as_mut().filter(|_| !matches!(task, Task::Wait)) else {
                tokio::select! {
                    () = changed => {}
                    _ = settings.changed() => {}
                    () = self.stop.cancelled() => return,
                }
                continue;
            };
            let working = async {
                match task {
                    Task::Read(chunk) => self.read(source, chunk).await,
                    Task::Ask(question) => self.ask(source, question).await,
                    Task::Wait | Task::Done => {}
                }
            };
            tokio::select! {
                () = working => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// Makes sure of a session of the source; `false`: there is none to be had.
    async fn open_source(&self, index: u32, session: &mut Option<Session>) -> bool {
        if session.as_ref().is_some_and(Session::is_lost) {
            self.leave_source(session);
        }
        if session.is_none() {
            self.counters.uptake.reader(index, Place::Coming);
        }
        let mut failures = 0;
        while session.is_none() {
            let name = format!("leverd reader {}", index + 1);
            match self.order.source.open(&name, self.order.connect_timeout).await {
                Ok(Some(opened)) => {
                    self.counters.source_connections.add(1);
                    *session = Some(opened);
                }
                Ok(None) => {
                    // The last one that a MySQL had is gone, and with it the snapshot.
                    if self.order.source.is_gone() {
                        let text = "all sessions that had the snapshot are lost";
                        self.fail(Failure::lost(Side::Source, text));
                    }
                    return false;
                }
                Err(failure) => {
                    count(&self.counters.errors, 1);
                    // A snapshot that is not known any more was held by a session that is gone.
                    let lasting = !failure.connection_is_gone && failure.kind != Kind::Passing;
                    if lasting || failures >= self.order.max_retries {
                        self.fail(failure);
                        return false;
                    }
                    tracing::warn!("{failure}: trying again");
                    failures += 1;
                    if !self.pause(failures).await {
                        return false;
                    }
                }
            }
        }
        true
    }

    fn leave_source(&self, session: &mut Option<Session>) {
        if let Some(session) = session.take() {
            self.counters.source_connections.add(-1);
            self.order.source.take_back(session);
        }
    }

    fn table(&self, number: u32) -> Option<&TableOrder> {
        let table = self.order.tables.get(&number);
        if table.is_none() {
            self.fail(Failure::lasting(Side::Source, format!("table {number} is not in the plan")));
        }
        table
    }

    async fn ask(&self, source: &mut Session, question: BoundaryQuestion) {
        let Some(table) = self.table(question.table) else { return };
        let began = Instant::now();
        let asked = source.boundary(table, &question).await;
        self.counters.query_latencies.note(began.elapsed());
        match asked {
            Ok(key) => {
                let chunk_rows = self.settings().chunk_rows.get();
                let chunk = self.schedule().boundary(&question, key, chunk_rows);
                // The part can be cut again while this chunk is read.
                self.changed.notify_waiters();
                self.read(source, chunk).await;
            }
            Err(failure) => {
                count(&self.counters.errors, 1);
                let times = self.schedule().unanswered(&question);
                if failure.kind == Kind::Passing && times <= self.order.max_retries {
                    tracing::warn!("{failure}: asking again");
                    self.changed.notify_waiters();
                    self.pause(times).await;
                } else {
                    self.fail(failure);
                }
            }
        }
    }

    async fn read(&self, source: &mut Session, chunk: Chunk) {
        self.counters.chunk_comes(chunk.table);
        let Some(table) = self.table(chunk.table) else { return };
        let (sink, pieces) = segment::channel(&self.budget, Arc::clone(&self.counters.room_time));
        let waited = sink.waited_here();
        let generation = self.counters.uptake.chunk_comes(chunk.chunk_rows);
        let ready = Ready { chunk: chunk.clone(), pieces, began: Instant::now(), generation };
        let _reading = self.counters.read_time.enter();
        let waiting = self.counters.room_time.enter();
        self.queue.put(ready).await;
        drop(waiting);
        let _working = self.counters.readers.enter();
        let began = Instant::now();
        let rows = source.read(table, &chunk, self.order.most_rejected, sink).await;
        // For room it waited for the target.
        let waited = Duration::from_nanos(at(&waited));
        self.counters.query_latencies.note(began.elapsed().saturating_sub(waited));
        self.schedule().read(&chunk, rows);
        self.changed.notify_waiters();
    }

    // --- Writers ---------------------------------------------------------------------------------------------------

    async fn writer(self: Arc<Self>, index: u32) {
        let mut settings = self.settings.clone();
        let mut session: Option<Writer> = None;
        loop {
            settings.mark_unchanged();
            let wanted = index < self.settings().writers.get();
            if !wanted {
                self.leave_target(&mut session);
            }
            self.counters.uptake.writer(index, if wanted { Place::There } else { Place::Away });
            let waiting =
                wanted.then(|| (self.counters.write_time.enter(), self.counters.starved_time.enter()));
            let ready = tokio::select! {
                ready = self.queue.take(), if wanted => ready,
                _ = settings.changed() => continue,
                () = self.done() => return,
                () = self.stop.cancelled() => return,
            };
            drop(waiting);
            tokio::select! {
                () = self.write(index, &mut session, ready) => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    async fn write(&self, index: u32, session: &mut Option<Writer>, mut ready: Ready) {
        let Some(target) = self.target(index, session).await else { return };
        let _working = self.counters.writers.enter();
        let began = Instant::now();
        let writing = self.counters.write_time.enter();
        let written = self.transact(index, target, &mut ready).await;
        drop(writing);
        self.counters.uptake.chunk_goes(ready.generation, written.is_ok());
        let chunk = ready.chunk;
        match written {
            Ok(written) => {
                let starved = Duration::from_nanos(written.starved);
                self.counters.write_latencies.note(began.elapsed().saturating_sub(starved));
                count(&self.counters.rows_written, written.totals.rows - written.rejected.len() as u64);
                let rejected = written.rejected.len() + written.unreadable.len();
                count(&self.counters.rejected, rejected as u64);
                count(&self.counters.bytes_written, written.totals.bytes);
                count(&self.counters.chunks, 1);
                add(&self.counters.chunk_time, ready.began.elapsed());
                self.committed(&chunk);
            }
            Err(failure) => {
                count(&self.counters.errors, 1);
                let target = session.as_mut().expect("it was opened above");
                let gone = target.is_closed() || (failure.side == Side::Target && failure.connection_is_gone);
                if gone || target.roll_back().await.is_err() {
                    self.leave_target(session);
                }
                // The reader must stop before somebody else reads the same again.
                drop(ready.pieces);
                self.decide(chunk, failure).await;
            }
        }
    }

    fn committed(&self, chunk: &Chunk) {
        self.counters.chunk_goes(chunk.table);
        let loaded = self.schedule().committed(chunk);
        if let Some(table) = loaded {
            count(&self.counters.tables_loaded, 1);
            // Nobody listens where the run ends anyway.
            let _ = self.loaded.send(table);
        }
        self.changed.notify_waiters();
    }

    /// What becomes of a chunk that failed.
    async fn decide(&self, chunk: Chunk, failure: Failure) {
        let again = match failure.kind {
            // A row that the source itself cannot give is not among those that can be sought out.
            Kind::Row if failure.side == Side::Target && !chunk.salvage => Some(true),
            Kind::Passing if chunk.failures < self.order.max_retries => Some(false),
            Kind::Row | Kind::Passing | Kind::Lasting => None,
        };
        let Some(salvage) = again else {
            self.fail(failure);
            return;
        };
        count(&self.counters.retries, 1);
        self.counters.chunk_goes(chunk.table);
        if salvage {
            tracing::warn!("{failure}: looking for the rows that are refused");
        } else {
            tracing::warn!("{failure}: trying the chunk again");
            if !self.pause(chunk.failures).await {
                return;
            }
        }
        self.schedule().again(chunk, salvage);
        self.changed.notify_waiters();
    }

    async fn target<'a>(&self, index: u32, session: &'a mut Option<Writer>) -> Option<&'a mut Writer> {
        if session.as_ref().is_some_and(Writer::is_closed) {
            self.leave_target(session);
        }
        if session.is_none() {
            self.counters.uptake.writer(index, Place::Coming);
        }
        let mut failures = 0;
        while session.is_none() {
            let order = &self.order;
            let name = format!("leverd writer {}", index + 1);
            match Writer::open(&order.target, &name, order.as_replica, order.connect_timeout).await {
                Ok(opened) => {
                    self.counters.target_connections.add(1);
                    *session = Some(opened);
                }
                Err(failure) => {
                    count(&self.counters.errors, 1);
                    if failures >= order.max_retries || failure.kind == Kind::Lasting {
                        self.fail(failure);
                        return None;
                    }
                    tracing::warn!("{failure}: trying again");
                    failures += 1;
                    if !self.pause(failures).await {
                        return None;
                    }
                }
            }
        }
        self.counters.uptake.writer(index, Place::There);
        session.as_mut()
    }

    fn leave_target(&self, session: &mut Option<Writer>) {
        if session.take().is_some() {
            self.counters.target_connections.add(-1);
        }
    }
}
