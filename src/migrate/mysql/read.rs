//! Reading a chunk: its rows go from the server into the sink, one by one, and no more than one is ever held here.
//!
//! In: a plan of a table's rows, an exact extent, one of COPY's forms. Out: rows in the sink, and those that could not be
//! converted. Always holds: a row is either in the sink or among those that come back, or the chunk fails; nothing is
//! left out because there is too much of it. The rows have no order: the extent is exact, and an order would cost a
//! sort where the server does not read by the key.

use super::errors::ReadError;
use super::identifiers;
use super::row_plan::RowPlan;
use super::session::{MySqlSession, ReadClocks, State};
use crate::migrate::quote::{mysql_qualified, shown};
use crate::migrate::ranges::Extent;
use crate::migrate::schema::TableName;
use crate::migrate::transfer::counters::add;
use crate::migrate::transfer::{Form, Sink, Totals};
use crate::migrate::types::Engine;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Params};
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::time::Instant;

/// Of a row that is refused no more is kept.
const MOST_PAYLOAD_BYTES: usize = 256 * 1024;

/// Between two looks at the clock that tell what converting took.
const ROWS_OF_A_LAP: u64 = 512;

/// Else a server may prefer to read the whole table for each of its chunks, or an index that holds all the columns.
pub(super) const BY_PRIMARY_KEY: &str = " FORCE INDEX (PRIMARY)";

/// A row that cannot be had in the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RejectedRow {
    /// Its place among the rows that the source sent of the chunk, from 0; those that are in the sink count too.
    pub(crate) number: u64,
    /// Its primary key for people; `None`: the table has none.
    pub(crate) key: Option<String>,
    /// The column in the source.
    pub(crate) column: String,
    /// As PostgreSQL would say it.
    pub(crate) sqlstate: &'static str,
    /// What is wrong, for people; without the value.
    pub(crate) message: String,
    /// The row as COPY's text form has it, with its values as they are in the source; as secret as its table.
    pub(crate) payload: Vec<u8>,
}

impl MySqlSession {
    /// Reads the rows of an extent into the sink, which its caller then finishes, or fails.
    ///
    /// Up to `most_rejected` rows that cannot be converted come back; with one more the chunk fails. The totals are the
    /// sink's: without them. A chunk by blocks is refused.
    pub(crate) async fn read_chunk(
        &mut self,
        plan: &RowPlan,
        relation: &TableName,
        extent: &Extent,
        form: Form,
        most_rejected: usize,
        sink: &mut Sink,
    ) -> Result<(Totals, Vec<RejectedRow>), ReadError> {
        let doing = format!("reading {}", shown(relation));
        self.ready(&doing).await?;
        let Some(sql) = select(plan.select_list(), relation, extent) else {
            return Err(ReadError::permanent(&doing, "a MySQL has no blocks to read by"));
        };
        let mut reading = Reading {
            doing: &doing,
            plan,
            form,
            most_rejected,
            stall: self.limits.stall,
            rejected: Vec::new(),
            watch: Watch::new(&self.clocks),
        };
        self.state = State::Asking;
        let read = reading.read(&mut self.conn, &mut self.state, &sql, sink).await;
        let rejected = std::mem::take(&mut reading.rejected);
        // It holds the clocks.
        drop(reading);
        match read {
            Ok(()) => {
                self.state = State::Idle;
                Ok((sink.totals(), rejected))
            }
            Err(Stop::Driver(error)) => Err(self.failed(&doing, &error)),
            Err(Stop::Reader(error)) => {
                self.give_up().await;
                Err(error)
            }
        }
    }

    /// Ends what the server is still at, which leaves a session whole or lost.
    pub(super) async fn give_up(&mut self) {
        match self.state {
            State::Asking => self.abandon().await,
            // Where it cannot be interrupted it is lost, which the next one is told.
            State::Reading => {
                let _ = self.interrupt("ending a statement on the source").await;
            }
            State::Idle | State::Lost => {}
        }
    }
}

/// Why a chunk was not read to its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// The server, or the way to it.
    Driver(Error),
    /// leverd itself.
    Reader(ReadError),
}

/// A chunk that is being read.
#[derive(Debug)]
struct Reading<'r> {
    doing: &'r str,
    plan: &'r RowPlan,
    form: Form,
    most_rejected: usize,
    stall: Duration,
    rejected: Vec<RejectedRow>,
    watch: Watch<'r>,
}

impl Reading<'_> {
    async fn read(
        &mut self,
        conn: &mut Conn,
        state: &mut State,
        sql: &str,
        sink: &mut Sink,
    ) -> Result<(), Stop> {
        let asked = self.watch.source(self.stall, conn.exec_iter(sql, Params::Empty)).await;
        let mut result = asked.ok_or_else(|| self.silent())?.map_err(Stop::Driver)?;
        *state = State::Reading;
        let mut number = 0_u64;
        loop {
            let next = self.watch.source(self.stall, result.next()).await;
            let Some(row) = next.ok_or_else(|| self.silent())?.map_err(Stop::Driver)? else {
                return Ok(());
            };
            let written = self.plan.write_row(self.form, |at| row.as_ref(at), sink.buffer());
            match written {
                Ok(()) => {
                    let ended = self.watch.room(sink.end_row()).await;
                    ended.map_err(|gone| Stop::Reader(ReadError::WriterGone(gone)))?;
                }
                Err((at, rejection)) => {
                    sink.discard_row();
                    let column = self.plan.name(at).to_owned();
                    if self.rejected.len() >= self.most_rejected {
                        return Err(Stop::Reader(ReadError::TooManyRejected {
                            doing: self.doing.to_owned(),
                            most: self.most_rejected,
                            column,
                            why: rejection.reason.into_owned(),
                        }));
                    }
                    let (payload, cut) = self.plan.payload(|at| row.as_ref(at), MOST_PAYLOAD_BYTES);
                    let cut = if cut { " (the row is longer than what is kept of it)" } else { "" };
                    self.rejected.push(RejectedRow {
                        number,
                        key: self.plan.key_text(|at| row.as_ref(at)),
                        message: format!("{column} {}{cut}", rejection.reason),
                        column,
                        sqlstate: rejection.sqlstate,
                        payload,
                    });
                }
            }
            number += 1;
            if number.is_multiple_of(ROWS_OF_A_LAP) {
                self.watch.lap();
            }
        }
    }

    fn silent(&self) -> Stop {
        Stop::Reader(ReadError::silent(self.doing, self.stall))
    }
}

/// Tells the time of converting from that of waiting. The clock is looked at where something has to be waited for, and
/// once in some hundreds of rows: to ask it for each row would cost as much as a small row.
#[derive(Debug)]
struct Watch<'c> {
    clocks: &'c ReadClocks,
    since: Instant,
    waited: Duration,
}

impl<'c> Watch<'c> {
    fn new(clocks: &'c ReadClocks) -> Self {
        Self { clocks, since: Instant::now(), waited: Duration::ZERO }
    }

    /// What the source gives; `None`: it was silent for too long.
    async fn source<F: Future>(&mut self, stall: Duration, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let first = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
        if let Poll::Ready(output) = first {
            return Some(output);
        }
        let began = Instant::now();
        let output = tokio::time::timeout(stall, future).await;
        let took = began.elapsed();
        self.waited += took;
        add(&self.clocks.waiting, took);
        output.ok()
    }

    /// What the sink gives. It counts its waiting itself.
    async fn room<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        let first = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
        if let Poll::Ready(output) = first {
            return output;
        }
        let began = Instant::now();
        let output = future.await;
        self.waited += began.elapsed();
        output
    }

    fn lap(&mut self) {
        let now = Instant::now();
        let took = now.saturating_duration_since(self.since);
        add(&self.clocks.converting, took.saturating_sub(self.waited));
        self.since = now;
        self.waited = Duration::ZERO;
    }
}

/// Also where a chunk ends in the middle.
impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.lap();
    }
}

/// The statement for an extent; `None`: there is none for blocks.
fn select(list: &str, relation: &TableName, extent: &Extent) -> Option<String> {
    let mut sql = format!("SELECT {list} FROM {}", mysql_qualified(relation));
    match extent {
        Extent::Whole => return Some(sql),
        Extent::Blocks { .. } => return None,
        Extent::Integer { .. } | Extent::Keyset { .. } => sql.push_str(BY_PRIMARY_KEY),
    }
    sql.push_str(&extent.filter(Engine::MySql));
    Some(sql)
}

/// The key's columns of an extent, quoted; `None`: it is not by key.
pub(super) fn key_list(extent: &Extent) -> Option<String> {
    match extent {
        Extent::Integer { column, .. } => Some(identifiers(std::iter::once(column.as_str()))),
        Extent::Keyset { columns, .. } => Some(identifiers(columns.iter().map(String::as_str))),
        Extent::Whole | Extent::Blocks { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::ranges::KeyValue;
    use std::sync::atomic::Ordering;

    fn orders() -> TableName {
        TableName { schema: "shop".to_owned(), name: "orders".to_owned() }
    }

    #[test]
    fn a_chunk_is_read_by_its_key() {
        let extent = Extent::Integer { column: "id".to_owned(), from: Some(-5), below: Some(20) };
        assert_eq!(
            select("`id`, `total`", &orders(), &extent).unwrap(),
            "SELECT `id`, `total` FROM `shop`.`orders` FORCE INDEX (PRIMARY) WHERE `id` >= -5 AND `id` < 20"
        );
        let open = Extent::Integer { column: "id".to_owned(), from: None, below: None };
        assert_eq!(
            select("`id`", &orders(), &open).unwrap(),
            "SELECT `id` FROM `shop`.`orders` FORCE INDEX (PRIMARY)"
        );
        let keyset = Extent::Keyset {
            columns: vec!["a".to_owned(), "b".to_owned()],
            after: Some(vec![KeyValue::Integer(1), KeyValue::Text("x".to_owned())]),
            up_to: None,
        };
        assert_eq!(
            select("`a`", &orders(), &keyset).unwrap(),
            "SELECT `a` FROM `shop`.`orders` FORCE INDEX (PRIMARY) \
             WHERE `a` >= 1 AND (`a` > 1 OR (`a` = 1 AND `b` > 'x'))"
        );
        assert_eq!(select("`a`", &orders(), &Extent::Whole).unwrap(), "SELECT `a` FROM `shop`.`orders`");
        assert_eq!(select("`a`", &orders(), &Extent::Blocks { from: None, below: Some(1) }), None);
        assert_eq!(key_list(&keyset).as_deref(), Some("`a`, `b`"));
    }

    #[tokio::test]
    async fn waiting_is_counted_and_silence_has_an_end() {
        let clocks = ReadClocks::default();
        let mut watch = Watch::new(&clocks);
        let long = Duration::from_secs(60);
        assert_eq!(watch.source(long, std::future::ready(1)).await, Some(1));
        assert_eq!(clocks.waiting.load(Ordering::Relaxed), 0);
        let slow = Duration::from_millis(20);
        assert_eq!(watch.source(long, tokio::time::sleep(slow)).await, Some(()));
        watch.room(tokio::time::sleep(slow)).await;
        assert_eq!(watch.source(slow, std::future::pending::<()>()).await, None);
        assert!(watch.waited >= 3 * slow, "{:?}", watch.waited);
        drop(watch);
        assert!(clocks.waiting.load(Ordering::Relaxed) >= 40_000_000);
    }
}
