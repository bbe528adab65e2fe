//! Which chunk is read next. It touches no server: what it learns, it is told.
//!
//! In: the parts that tables' rows lie in, and what became of each chunk. Out: chunks, each with its exact extent.
//!
//! Always holds: within a part chunk n + 1 begins where chunk n ends, so that committed extents say what is missing;
//! the last one has the part's own end. A chunk that failed is handed out again with the extent that it had. A table
//! is loaded when all of its parts were handed out and every chunk is committed.
//!
//! Who comes first: what failed, then tables that nobody reads, in the order given; then large tables get more readers,
//! and when no table is left to begin, any table does. How many keys or blocks a chunk needs for its rows follows from
//! what the part's last chunk had: keys are seldom dense. An integer key has one row at most, so a chunk of few
//! keys has few rows, wherever they lie; where it would need many keys, its end is asked for.

mod reach;

use crate::migrate::ranges::{Extent, KeyValue};
use crate::migrate::schema::TableName;
use reach::cut_before;
use std::collections::VecDeque;
use std::sync::Arc;

/// What a span may grow or shrink by from one chunk to the next. So many times the rows that were asked for is
/// also the most that a chunk by integer may have.
const STEP: f64 = 4.0;

/// A piece of a table's rows that is still to be moved.
#[derive(Debug, Clone)]
pub(crate) struct PartPlan {
    /// Its number in the state.
    pub(crate) number: u32,
    /// What the rows are read from.
    pub(crate) relation: TableName,
    /// Which of them.
    pub(crate) extent: Extent,
    /// The least and the greatest key that the whole relation has, for an extent by integer.
    pub(crate) bounds: Option<(i128, i128)>,
    /// The blocks that the whole relation has, for an extent by blocks.
    pub(crate) blocks: u32,
    /// Rows of the whole relation, as far as anybody knows.
    pub(crate) rows: Option<u64>,
    /// Bytes of them in the source.
    pub(crate) bytes: Option<u64>,
}

/// A table that is to be moved.
#[derive(Debug, Clone)]
pub(crate) struct TablePlan {
    /// Its number in the plan.
    pub(crate) number: u32,
    /// Whether it is read by several readers from the start.
    pub(crate) large: bool,
    /// It may have so many times the readers of one table; 0 counts as 1.
    pub(crate) shares: u32,
    /// What is left of it; empty: nothing.
    pub(crate) parts: Vec<PartPlan>,
}

/// What one reader reads, and one writer writes in one transaction.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    /// The table's number in the plan.
    pub(crate) table: u32,
    /// The part's number in the state.
    pub(crate) part: u32,
    /// Its place in the part.
    pub(crate) seq: u32,
    /// What it is read from.
    pub(crate) relation: Arc<TableName>,
    /// Which rows.
    pub(crate) extent: Extent,
    /// The size that was asked for when it was cut, in rows.
    pub(crate) chunk_rows: u32,
    /// How often it failed.
    pub(crate) failures: u32,
    /// Whether rows that the target refuses are sought out.
    pub(crate) salvage: bool,
    slot: Slot,
}

/// Where a part stands in the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    table: usize,
    part: usize,
}

/// A key that ends a chunk has to be asked for.
#[derive(Debug, Clone)]
pub(crate) struct BoundaryQuestion {
    /// The table's number in the plan.
    pub(crate) table: u32,
    /// What it is asked of.
    pub(crate) relation: Arc<TableName>,
    /// Where the chunk begins, and where its part ends.
    pub(crate) extent: Extent,
    /// After so many rows.
    pub(crate) rows: u32,
    slot: Slot,
}

/// What a reader is to do.
#[derive(Debug)]
pub(crate) enum Task {
    /// Read this.
    Read(Chunk),
    /// Ask for a boundary, and tell it.
    Ask(BoundaryQuestion),
    /// Nothing now; there may be something again.
    Wait,
    /// Nothing any more.
    Done,
}

#[derive(Debug)]
struct Part {
    plan: PartPlan,
    relation: Arc<TableName>,
    /// What was not handed out; `None`: all was.
    rest: Option<Extent>,
    next_seq: u32,
    /// Rows for each key or block.
    density: Option<f64>,
    /// Somebody asks for its next boundary.
    asking: bool,
    /// How often in a row the question for it was not answered.
    unanswered: u32,
    /// Chunks that were handed out and are not committed, those that failed among them.
    in_flight: u32,
}

#[derive(Debug)]
struct Table {
    number: u32,
    large: bool,
    shares: u32,
    parts: Vec<Part>,
    readers: u32,
    loaded: bool,
}

/// How many may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Tables that are read at once.
    pub(crate) tables: usize,
    /// Readers of one table, or of each share of a large one.
    pub(crate) readers: u32,
}

/// The state of all tables.
#[derive(Debug)]
pub(crate) struct Schedule {
    tables: Vec<Table>,
    again: VecDeque<Chunk>,
    limits: Limits,
    /// Tables that somebody reads.
    reading: usize,
    /// Before this one all tables are handed out.
    first_open: usize,
    unfinished: usize,
}

impl Schedule {
    /// Tables in the order in which they are begun. Those without parts count as loaded.
    pub(crate) fn new(tables: Vec<TablePlan>, limits: Limits) -> Self {
        let tables: Vec<Table> = tables.into_iter().map(Table::new).collect();
        let unfinished = tables.iter().filter(|table| !table.loaded).count();
        Self { tables, again: VecDeque::new(), limits, reading: 0, first_open: 0, unfinished }
    }

    /// From now on so many may read.
    pub(crate) fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// What is next. A chunk of the part that it comes from is cut for `chunk_rows` rows.
    pub(crate) fn next(&mut self, chunk_rows: u32) -> Task {
        if let Some(chunk) = self.again.pop_front() {
            // It never ceased to be in flight.
            self.reader_comes(chunk.slot);
            return Task::Read(chunk);
        }
        if self.unfinished == 0 {
            return Task::Done;
        }
        while self.tables.get(self.first_open).is_some_and(Table::is_handed_out) {
            self.first_open += 1;
        }
        let Some(slot) = self.choose() else { return Task::Wait };
        let part = &mut self.tables[slot.table].parts[slot.part];
        if part.must_ask(chunk_rows) {
            part.asking = true;
            let extent = part.rest.clone().expect("chosen because it has one");
            let relation = Arc::clone(&part.relation);
            let rows = part.plan.capped(chunk_rows);
            let table = self.tables[slot.table].number;
            self.reader_comes(slot);
            return Task::Ask(BoundaryQuestion { table, relation, extent, rows, slot });
        }
        let chunk = self.tables[slot.table].cut(slot, chunk_rows);
        self.begin(slot);
        Task::Read(chunk)
    }

    /// The key that a chunk ends with; `None`: it ends with its part. Gives the chunk.
    pub(crate) fn boundary(
        &mut self,
        question: &BoundaryQuestion,
        up_to: Option<Vec<KeyValue>>,
        chunk_rows: u32,
    ) -> Chunk {
        let slot = question.slot;
        self.reader_goes(slot);
        let part = &mut self.tables[slot.table].parts[slot.part];
        part.asking = false;
        part.unanswered = 0;
        let chunk = part.asked_chunk(question, up_to, chunk_rows);
        self.begin(slot);
        chunk
    }

    /// The question was not answered. Gives how often in a row that is so now.
    pub(crate) fn unanswered(&mut self, question: &BoundaryQuestion) -> u32 {
        self.reader_goes(question.slot);
        let part = &mut self.tables[question.slot.table].parts[question.slot.part];
        part.asking = false;
        part.unanswered = part.unanswered.saturating_add(1);
        part.unanswered
    }

    /// A reader is through with a chunk; `rows`: what it had, where it was read to its end.
    pub(crate) fn read(&mut self, chunk: &Chunk, rows: Option<u64>) {
        self.reader_goes(chunk.slot);
        if let Some(rows) = rows {
            self.tables[chunk.slot.table].parts[chunk.slot.part].learn(&chunk.extent, rows);
        }
    }

    /// A chunk is committed. Gives the table's number where that was its last one.
    pub(crate) fn committed(&mut self, chunk: &Chunk) -> Option<u32> {
        let table = &mut self.tables[chunk.slot.table];
        table.parts[chunk.slot.part].in_flight -= 1;
        if table.loaded || !table.is_complete() {
            return None;
        }
        table.loaded = true;
        self.unfinished -= 1;
        Some(table.number)
    }

    /// A chunk failed, and is to be tried again. Until it is committed its table is not loaded.
    pub(crate) fn again(&mut self, mut chunk: Chunk, salvage: bool) {
        chunk.failures += 1;
        chunk.salvage |= salvage;
        self.again.push_back(chunk);
    }

    /// Whether every table is loaded.
    pub(crate) fn is_done(&self) -> bool {
        self.unfinished == 0
    }

    fn begin(&mut self, slot: Slot) {
        self.reader_comes(slot);
        self.tables[slot.table].parts[slot.part].in_flight += 1;
    }

    fn reader_comes(&mut self, slot: Slot) {
        let table = &mut self.tables[slot.table];
        self.reading += usize::from(table.readers == 0);
        table.readers += 1;
    }

    fn reader_goes(&mut self, slot: Slot) {
        let table = &mut self.tables[slot.table];
        table.readers -= 1;
        self.reading -= usize::from(table.readers == 0);
    }

    fn choose(&self) -> Option<Slot> {
        let mut seen = 0;
        let may_begin = self.reading < self.limits.tables.max(1);
        let mut first: Option<Slot> = None;
        // Of the tables that are read, the one with the fewest readers; large ones before others.
        let mut joined: Option<(bool, u32, Slot)> = None;
        for (at, table) in self.tables.iter().enumerate().skip(self.first_open) {
            if seen == self.reading && (first.is_some() || !may_begin) {
                break;
            }
            seen += usize::from(table.readers > 0);
            let Some(part) = table.parts.iter().position(Part::can_be_cut) else { continue };
            let slot = Slot { table: at, part };
            if table.readers == 0 {
                first = first.or(may_begin.then_some(slot));
            } else if table.readers < table.most_readers(self.limits)
                && joined.is_none_or(|(large, readers, _)| (!table.large, table.readers) < (!large, readers))
            {
                joined = Some((table.large, table.readers, slot));
            }
        }
        match (first, joined) {
            (Some(_), Some((true, _, slot))) => Some(slot),
            (Some(slot), _) => Some(slot),
            (None, joined) => joined.map(|(_, _, slot)| slot),
        }
    }
}

impl Table {
    fn new(plan: TablePlan) -> Self {
        let loaded = plan.parts.is_empty();
        Self {
            number: plan.number,
            large: plan.large,
            shares: plan.shares,
            parts: plan.parts.into_iter().map(Part::new).collect(),
            readers: 0,
            loaded,
        }
    }

    fn most_readers(&self, limits: Limits) -> u32 {
        limits.readers.max(1).saturating_mul(self.shares.max(1))
    }

    fn is_handed_out(&self) -> bool {
        self.parts.iter().all(|part| part.rest.is_none())
    }

    fn is_complete(&self) -> bool {
        self.parts.iter().all(|part| part.rest.is_none() && part.in_flight == 0)
    }

    fn cut(&mut self, slot: Slot, chunk_rows: u32) -> Chunk {
        let number = self.number;
        self.parts[slot.part].cut(number, slot, chunk_rows)
    }
}

impl Part {
    fn new(plan: PartPlan) -> Self {
        let density = plan.density();
        Self {
            relation: Arc::new(plan.relation.clone()),
            rest: Some(plan.extent.clone()),
            plan,
            next_seq: 0,
            density,
            asking: false,
            unanswered: 0,
            in_flight: 0,
        }
    }

    fn can_be_cut(&self) -> bool {
        self.rest.is_some() && !self.asking
    }

    /// Keys or blocks that a chunk of so many rows needs, by what is known.
    fn span(&self, rows: u32) -> f64 {
        (f64::from(rows) / self.density.unwrap_or(1.0)).ceil().max(1.0)
    }

    /// Whether nobody can tell beforehand how many rows the next chunk would have.
    fn must_ask(&self, chunk_rows: u32) -> bool {
        match &self.rest {
            Some(Extent::Keyset { after, .. }) => {
                after.is_some() || self.plan.rows.is_none_or(|rows| rows > u64::from(chunk_rows))
            }
            Some(Extent::Integer { from, below, .. }) => {
                let rows = self.plan.capped(chunk_rows);
                let left = self.plan.keys(*from, *below).map(|(first, end)| end.saturating_sub(first) as f64);
                left.is_some_and(|left| self.span(rows).min(left) > STEP * f64::from(rows))
            }
            Some(Extent::Blocks { .. } | Extent::Whole) | None => false,
        }
    }

    /// The next chunk of a part that needs no question.
    fn cut(&mut self, table: u32, slot: Slot, chunk_rows: u32) -> Chunk {
        let rest = self.rest.take().expect("chosen because it has one");
        let span = self.span(self.plan.capped(chunk_rows));
        let (extent, rest) = match rest {
            Extent::Integer { column, from, below } => {
                let end = self.plan.keys(from, below).and_then(|(first, end)| {
                    // A float beyond an integer's range becomes its end.
                    Some(first.saturating_add(span as i128)).filter(|cut| *cut < end)
                });
                cut_before(column, (from, below), end)
            }
            Extent::Blocks { from, below } => {
                let end = from.unwrap_or(0).saturating_add(span as u32);
                if end >= below.unwrap_or(self.plan.blocks) {
                    (Extent::Blocks { from, below }, None)
                } else {
                    (
                        Extent::Blocks { from, below: Some(end) },
                        Some(Extent::Blocks { from: Some(end), below }),
                    )
                }
            }
            whole => (whole, None),
        };
        self.rest = rest;
        self.chunk(table, slot, extent, chunk_rows)
    }

    /// The next chunk of a part, which ends with `boundary`.
    fn asked_chunk(
        &mut self,
        question: &BoundaryQuestion,
        boundary: Option<Vec<KeyValue>>,
        chunk_rows: u32,
    ) -> Chunk {
        let rest = self.rest.take().expect("asked for because it has one");
        let (extent, rest) = match (rest, boundary) {
            (Extent::Keyset { columns, after, up_to }, Some(key)) if up_to.as_ref() != Some(&key) => {
                let rest = Extent::Keyset { columns: columns.clone(), after: Some(key.clone()), up_to };
                (Extent::Keyset { columns, after, up_to: Some(key) }, Some(rest))
            }
            (Extent::Integer { column, from, below }, Some(key)) => {
                let cut = self.plan.end_behind(&key, from, below);
                if let Some((keys, _)) = cut {
                    // Known and not guessed: so the next chunk may need no question.
                    self.density = Some(f64::from(question.rows) / keys);
                }
                cut_before(column, (from, below), cut.map(|(_, end)| end))
            }
            (rest, _) => (rest, None),
        };
        self.rest = rest;
        self.chunk(question.table, question.slot, extent, chunk_rows)
    }

    fn chunk(&mut self, table: u32, slot: Slot, extent: Extent, chunk_rows: u32) -> Chunk {
        let seq = self.next_seq;
        self.next_seq += 1;
        Chunk {
            table,
            part: self.plan.number,
            seq,
            relation: Arc::clone(&self.relation),
            extent,
            chunk_rows,
            failures: 0,
            salvage: false,
            slot,
        }
    }

    /// What a chunk had says how long the next ones are.
    fn learn(&mut self, extent: &Extent, rows: u64) {
        let span = match extent {
            Extent::Integer { from: Some(from), below: Some(below), .. } => (below - from) as f64,
            Extent::Blocks { from, below: Some(below) } => f64::from(below - from.unwrap_or(0)),
            _ => return,
        };
        // An empty one says that the keys are sparser than it could see.
        let seen = (rows as f64).max(1.0 / STEP) / span.max(1.0);
        let before = self.density.unwrap_or(seen);
        self.density = Some(seen.clamp(before / STEP, before * STEP));
    }
}

#[cfg(test)]
mod tests;
