//! Which rows of a table with an ordered key differ: a state machine that says what to ask next. Pure.
//!
//! In: ranges of the key that cover the table, and the answers. Out: questions, and in the end [`Findings`]. Always
//! holds: a range is halved where the side with more rows in it has its middle row, so each question is about fewer
//! rows than the one before; a range whose counts and checksums agree is never asked about again; a range that only one
//! side has rows in is counted and not divided; it ends, whatever is answered. With `d` differences among `n` rows it
//! asks some `3 d log2(n)` questions beside one for each range that it was given.
//!
//! It does not ask: `driver` does, several questions at once, and gives the answers back in any order.

use super::findings::{Findings, RowDigest, Rules, Sum, Unexpected};
use super::sides::Side;
use crate::migrate::ranges::{Extent, KeyValue};
use std::collections::BTreeMap;

/// So many times the rows of a leaf are looked at where dividing does not help: keys that occur several times, or a
/// side that changes meanwhile.
const LARGE_LEAF: u64 = 16;

/// What to ask both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Question {
    /// Count and checksum.
    Compare(Extent),
    /// One side alone: the key of the row with that number, from 0.
    Split { extent: Extent, side: Side, offset: u64 },
    /// Keys and digests, `limit` of them at most.
    Rows { extent: Extent, limit: u64 },
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Compared {
        source: Sum,
        target: Sum,
    },
    /// `None`: there is no such row.
    Boundary(Option<Vec<KeyValue>>),
    Rows {
        source: Vec<RowDigest>,
        target: Vec<RowDigest>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Compare {
        extent: Extent,
        /// Rows of both sides in the range that it is a half of; `None`: it is no half.
        parent_rows: Option<u64>,
    },
    Split {
        extent: Extent,
        side: Side,
        offset: u64,
        rows: u64,
    },
    Rows {
        extent: Extent,
        limit: u64,
    },
    /// Rows that are counted, to name some.
    Names {
        extent: Extent,
        side: Side,
        limit: u64,
    },
}

/// The search through one table.
#[derive(Debug, Clone)]
pub(super) struct Bisection {
    rules: Rules,
    next: u64,
    ready: Vec<Step>,
    asked: BTreeMap<u64, Step>,
    row_questions: u64,
    findings: Findings,
}

impl Bisection {
    /// `pieces` cover the table and do not overlap: by an integer, or by a keyset.
    pub(super) fn new(pieces: Vec<Extent>, rules: Rules) -> Self {
        let ready = pieces.into_iter().map(|extent| Step::Compare { extent, parent_rows: None }).collect();
        Self {
            rules,
            next: 0,
            ready,
            asked: BTreeMap::new(),
            row_questions: 0,
            findings: Findings::default(),
        }
    }

    /// What can be asked now, each with the number under which it is answered; each only once. Nothing, and no answer
    /// owed: it is over.
    pub(super) fn questions(&mut self) -> Vec<(u64, Question)> {
        let mut questions = Vec::new();
        for step in std::mem::take(&mut self.ready) {
            let ticket = self.next;
            self.next += 1;
            questions.push((ticket, step.question()));
            self.asked.insert(ticket, step);
        }
        questions
    }

    /// Takes an answer.
    pub(super) fn answer(&mut self, ticket: u64, answer: Answer) -> Result<(), Unexpected> {
        let step = self.asked.remove(&ticket).ok_or(Unexpected)?;
        match (step, answer) {
            (Step::Compare { extent, parent_rows }, Answer::Compared { source, target }) => {
                self.compared(extent, parent_rows, source, target);
                Ok(())
            }
            (Step::Split { extent, rows, .. }, Answer::Boundary(key)) => self.split(extent, rows, key),
            (Step::Rows { limit, .. }, Answer::Rows { source, target }) => {
                self.rows(limit, &source, &target);
                Ok(())
            }
            (Step::Names { side, .. }, Answer::Rows { source, target }) => {
                let rows = if side == Side::Source { &source } else { &target };
                self.findings.name(side, rows, &self.rules);
                Ok(())
            }
            _ => Err(Unexpected),
        }
    }

    /// What was found.
    pub(super) fn into_findings(self) -> Findings {
        self.findings
    }

    fn compared(&mut self, extent: Extent, parent_rows: Option<u64>, source: Sum, target: Sum) {
        if parent_rows.is_none() {
            self.findings.count(source, target);
        }
        if source == target {
            return;
        }
        self.findings.differs = true;
        let most = source.rows.max(target.rows);
        let all = source.rows.saturating_add(target.rows);
        let side = if target.rows > source.rows { Side::Target } else { Side::Source };
        if source.rows == 0 || target.rows == 0 {
            let limit = self.findings.only_on(side, most, &self.rules);
            if limit > 0 {
                self.ready.push(Step::Names { extent, side, limit });
            }
        } else if self.row_questions >= self.rules.most_row_questions {
            self.findings.incomplete = true;
        } else if most <= self.rules.leaf_rows {
            self.look_at(extent, self.rules.leaf_rows.saturating_mul(2));
        } else if parent_rows.is_some_and(|rows| all >= rows) {
            self.look_at(extent, self.rules.leaf_rows.saturating_mul(LARGE_LEAF));
        } else {
            // The last row of the first half: there is one behind it, so both halves are smaller.
            let offset = (most / 2).saturating_sub(1);
            self.ready.push(Step::Split { extent, side, offset, rows: all });
        }
    }

    /// Compares all rows of a range, if there are fewer than so many.
    fn look_at(&mut self, extent: Extent, below: u64) {
        self.row_questions += 1;
        self.ready.push(Step::Rows { extent, limit: below.max(1) });
    }

    fn rows(&mut self, limit: u64, source: &[RowDigest], target: &[RowDigest]) {
        if source.len() as u64 >= limit || target.len() as u64 >= limit {
            // What lies behind the limit is not known, so neither is what has no counterpart.
            self.findings.incomplete = true;
        } else {
            self.findings.compare(source, target, &self.rules);
        }
    }

    fn split(&mut self, extent: Extent, rows: u64, key: Option<Vec<KeyValue>>) -> Result<(), Unexpected> {
        let Some(key) = key else {
            // The row was counted and is gone: that side is changing.
            self.look_at(extent, self.rules.leaf_rows.saturating_mul(LARGE_LEAF));
            return Ok(());
        };
        let (low, high) = halves(&extent, key).ok_or(Unexpected)?;
        for half in [low, high] {
            self.ready.push(Step::Compare { extent: half, parent_rows: Some(rows) });
        }
        Ok(())
    }
}

impl Step {
    fn question(&self) -> Question {
        match self {
            Self::Compare { extent, .. } => Question::Compare(extent.clone()),
            Self::Split { extent, side, offset, .. } => {
                Question::Split { extent: extent.clone(), side: *side, offset: *offset }
            }
            Self::Rows { extent, limit } | Self::Names { extent, limit, .. } => {
                Question::Rows { extent: extent.clone(), limit: *limit }
            }
        }
    }
}

/// What lies up to a key, and what behind it. `None`: the key is not the extent's.
fn halves(extent: &Extent, key: Vec<KeyValue>) -> Option<(Extent, Extent)> {
    match extent {
        Extent::Integer { column, from, below } => {
            let [KeyValue::Integer(last)] = key.as_slice() else { return None };
            let next = last.checked_add(1)?;
            let half = |from, below| Extent::Integer { column: column.clone(), from, below };
            Some((half(*from, Some(next)), half(Some(next), *below)))
        }
        Extent::Keyset { columns, after, up_to } if key.len() == columns.len() => {
            let half = |after, up_to| Extent::Keyset { columns: columns.clone(), after, up_to };
            Some((half(after.clone(), Some(key.clone())), half(Some(key), up_to.clone())))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
