//! Rows on their way from a reader to a writer, in COPY's form: a chunk is a channel of segments.
//!
//! In: rows, one after the other. Out: segments of some 128 KB, in order, and at the end how many rows there were.
//!
//! Always holds: what is between readers and writers is bounded in bytes. A segment waits with a permit of the shared
//! [`Budget`], or with the one seat that every chunk has of its own. The seat is why nothing can stand still: where
//! all of the budget lies in chunks that wait for a writer, the chunk that a writer waits for still moves. A row is
//! never divided: a longer one makes a longer segment, which counts as all of the budget at most.

use super::counters::Spent;
use super::failure::Failure;
use super::writer::Rejected;
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

/// A segment is sent when it has so many bytes: enough to make a system call worth it, little beside a CPU's cache.
const SEGMENT_BYTES: usize = 128 * 1024;

/// The least that a permit stands for.
const PERMIT_BYTES: usize = 1024;

/// The bytes that may wait between all readers and all writers.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    permits: Arc<Semaphore>,
    all: u32,
    /// Rows of all segments that there are now.
    rows: Arc<AtomicU64>,
}

impl Budget {
    /// So many bytes; at least one segment.
    pub(crate) fn new(bytes: u64) -> Self {
        let least = SEGMENT_BYTES / PERMIT_BYTES;
        let all = usize::try_from(bytes).unwrap_or(usize::MAX) / PERMIT_BYTES;
        let all = all.clamp(least, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Self {
            permits: Arc::new(Semaphore::new(all)),
            all: u32::try_from(all).expect("clamped to 32 bits"),
            rows: Arc::default(),
        }
    }

    /// Rows that wait now, those in the seats too.
    pub(crate) fn waiting_rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Bytes that wait now.
    pub(crate) fn used_bytes(&self) -> u64 {
        let free = self.permits.available_permits();
        ((self.all as usize).saturating_sub(free) * PERMIT_BYTES) as u64
    }

    fn permits_for(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX).min(self.all)
    }
}

/// Rows in COPY's form, without its header and trailer.
#[derive(Debug)]
pub(crate) struct Segment {
    /// The rows.
    pub(crate) bytes: Bytes,
    /// Where each of them ends, in bytes from the segment's beginning; as many as there are rows.
    pub(crate) ends: Vec<u32>,
    /// Given back when the segment is dropped: after it was written.
    _permit: OwnedSemaphorePermit,
    _waiting: Waiting,
}

/// Rows that are counted until they are dropped.
#[derive(Debug)]
struct Waiting {
    rows: u64,
    all: Arc<AtomicU64>,
}

impl Waiting {
    fn new(rows: usize, all: &Arc<AtomicU64>) -> Self {
        let rows = rows as u64;
        all.fetch_add(rows, Ordering::Relaxed);
        Self { rows, all: Arc::clone(all) }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.all.fetch_sub(self.rows, Ordering::Relaxed);
    }
}

/// How a chunk ended, as its reader has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Totals {
    /// Rows that the source sent.
    pub(crate) rows: u64,
    /// Their bytes in COPY's form.
    pub(crate) bytes: u64,
}

/// What comes out of a chunk's channel.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Some of its rows.
    Rows(Segment),
    /// There are no more, and these could not be read. A channel that ends without it was given up.
    End(Totals, Vec<Rejected>),
    /// The source failed in the middle.
    Failed(Failure),
}

/// Nobody takes the chunk's rows any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the chunk's writer has gone")]
pub(crate) struct WriterGone;

/// Where a reader puts a chunk's rows.
#[derive(Debug)]
pub(crate) struct Sink {
    to: mpsc::UnboundedSender<Piece>,
    budget: Budget,
    seat: Arc<Semaphore>,
    rows: BytesMut,
    ends: Vec<u32>,
    totals: Totals,
    waited: Arc<Spent>,
    /// The same of this chunk alone, in nanoseconds, once it is over.
    waited_here: Arc<AtomicU64>,
}

/// A chunk's channel. `waited` counts the time for which its reader waits for room.
pub(crate) fn channel(budget: &Budget, waited: Arc<Spent>) -> (Sink, mpsc::UnboundedReceiver<Piece>) {
    // Unbounded in number: the budget bounds its bytes.
    let (to, from) = mpsc::unbounded_channel();
    let sink = Sink {
        to,
        budget: budget.clone(),
        seat: Arc::new(Semaphore::new(1)),
        rows: BytesMut::new(),
        ends: Vec::new(),
        totals: Totals::default(),
        waited,
        waited_here: Arc::default(),
    };
    (sink, from)
}

impl Sink {
    /// Takes a row that is whole.
    pub(crate) async fn row(&mut self, row: &[u8]) -> Result<(), WriterGone> {
        self.buffer().extend_from_slice(row);
        self.end_row().await
    }

    /// Where the next row is written; [`Self::end_row`] ends it.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        if self.rows.is_empty() && self.rows.capacity() < SEGMENT_BYTES {
            // With room for the row that passes the limit, so that it seldom moves.
            self.rows.reserve(SEGMENT_BYTES + SEGMENT_BYTES / 8);
        }
        &mut self.rows
    }

    /// Forgets what was written of the row that is not ended.
    pub(crate) fn discard_row(&mut self) {
        let end = self.ends.last().map_or(0, |end| *end as usize);
        self.rows.truncate(end);
    }

    /// Ends the row that stands in the buffer.
    pub(crate) async fn end_row(&mut self) -> Result<(), WriterGone> {
        // PostgreSQL's rows are below 1 GB, and a segment ends with the row that passes its limit.
        self.ends.push(u32::try_from(self.rows.len()).unwrap_or(u32::MAX));
        self.totals.rows += 1;
        if self.rows.len() >= SEGMENT_BYTES { self.send().await } else { Ok(()) }
    }

    /// Counts the nanoseconds for which this chunk's reader waits for room.
    pub(crate) fn waited_here(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.waited_here)
    }

    /// So many rows were ended so far.
    pub(crate) fn totals(&self) -> Totals {
        Totals { bytes: self.totals.bytes + self.rows.len() as u64, ..self.totals }
    }

    /// Says that these were all.
    pub(crate) async fn finish(self) -> Result<Totals, WriterGone> {
        self.finish_with(Vec::new()).await
    }

    /// Says that these were all, but for rows that no text can be made of.
    pub(crate) async fn finish_with(mut self, unreadable: Vec<Rejected>) -> Result<Totals, WriterGone> {
        if !self.ends.is_empty() {
            self.send().await?;
        }
        self.to.send(Piece::End(self.totals, unreadable)).map_err(|_| WriterGone)?;
        Ok(self.totals)
    }

    /// Says that the source failed.
    pub(crate) fn fail(self, failure: Failure) {
        // A writer that has gone needs no reason.
        let _ = self.to.send(Piece::Failed(failure));
    }

    async fn send(&mut self) -> Result<(), WriterGone> {
        let bytes = self.rows.split().freeze();
        let ends = std::mem::take(&mut self.ends);
        self.ends.reserve(ends.len());
        self.totals.bytes += bytes.len() as u64;
        let permit = self.permit(bytes.len()).await?;
        let waiting = Waiting::new(ends.len(), &self.budget.rows);
        let segment = Segment { bytes, ends, _permit: permit, _waiting: waiting };
        self.to.send(Piece::Rows(segment)).map_err(|_| WriterGone)
    }

    /// Room in the budget, or else the chunk's own seat.
    async fn permit(&mut self, bytes: usize) -> Result<OwnedSemaphorePermit, WriterGone> {
        let many = self.budget.permits_for(bytes);
        let shared = Arc::clone(&self.budget.permits);
        if let Ok(permit) = shared.try_acquire_many_owned(many) {
            return Ok(permit);
        }
        let began = Instant::now();
        let waiting = self.waited.enter();
        let permit = tokio::select! {
            permit = Arc::clone(&self.budget.permits).acquire_many_owned(many) => permit,
            permit = Arc::clone(&self.seat).acquire_owned() => permit,
            () = self.to.closed() => return Err(WriterGone),
        };
        drop(waiting);
        self.waited_here.fetch_add(nanos(began.elapsed()), Ordering::Relaxed);
        Ok(permit.expect("these semaphores are never closed"))
    }
}

/// A duration for a counter.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn rows_wait_from_their_reader_to_their_end() {
        let budget = Budget::new(1 << 20);
        let (mut sink, mut pieces) = channel(&budget, Arc::default());
        for _ in 0..3 {
            sink.row(b"1\n").await.unwrap();
        }
        assert_eq!(budget.waiting_rows(), 0, "their segment is not sent yet");
        sink.finish().await.unwrap();
        assert_eq!(budget.waiting_rows(), 3);
        drop(pieces.recv().await);
        assert_eq!(budget.waiting_rows(), 0);
    }

    #[tokio::test]
    async fn rows_that_nobody_wants_do_not_wait() {
        let budget = Budget::new(1 << 20);
        let (mut sink, pieces) = channel(&budget, Arc::default());
        drop(pieces);
        sink.row(b"1\n").await.unwrap();
        assert_eq!(sink.finish().await, Err(WriterGone));
        assert_eq!(budget.waiting_rows(), 0);
    }
}
