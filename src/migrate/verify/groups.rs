//! Which rows of a table differ whose key both sides may order differently, or that has none: a state machine that says
//! what to ask next. Pure.
//!
//! In: about how many rows there are, and the answers. Out: questions, and in the end [`Findings`]. Rows are grouped by
//! the lowest bits of a digest, of the key or of the whole row, which both sides compute alike, and every question
//! reads the whole table once: so a question is about all groups that are still open, as far as its answer stays small.
//! Always holds: a group whose counts and checksums agree is never asked about again; a group that only one side has
//! rows in is counted and not divided; it ends, because a digest has so many bits.

use super::findings::{Findings, RowDigest, Rules, Sum, Unexpected};
use super::sides::Side;
use std::collections::BTreeMap;

/// Bits that one question adds: 4,096 groups.
const BITS_AT_ONCE: u32 = 12;

/// Groups in one answer, at most.
const MOST_GROUPS: u64 = 65_536;

/// Values in one question, at most.
const MOST_VALUES: usize = 1000;

/// Bits that are looked at, at most. Rows that share them share their key.
const MOST_BITS: u32 = 48;

/// The groups of `2^bits` with these numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Within {
    pub(super) bits: u32,
    pub(super) values: Vec<u64>,
}

/// What to ask both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Question {
    /// Count and checksum of every group of `2^bits`; `None`: of the whole table.
    Groups { bits: u32, within: Option<Within> },
    /// Keys and digests, `limit` of them at most.
    Rows { of: Within, limit: u64 },
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// A group without rows is left out.
    Groups {
        source: Vec<(u64, Sum)>,
        target: Vec<(u64, Sum)>,
    },
    Rows {
        source: Vec<RowDigest>,
        target: Vec<RowDigest>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Groups {
        bits: u32,
        within: Option<Within>,
    },
    Rows {
        of: Within,
        limit: u64,
    },
    /// Rows that are counted, to name some.
    Names {
        of: Within,
        side: Side,
        limit: u64,
    },
}

/// The search through one table.
#[derive(Debug, Clone)]
pub(super) struct Grouping {
    rules: Rules,
    next: u64,
    ready: Vec<Step>,
    asked: BTreeMap<u64, Step>,
    row_questions: u64,
    findings: Findings,
}

/// The smallest number of bits whose groups have at most half a leaf's rows each, on average.
pub(super) fn bits_for(rows: u64, leaf_rows: u64) -> u32 {
    let groups = rows.div_ceil((leaf_rows / 2).max(1));
    groups.min(1 << BITS_AT_ONCE).next_power_of_two().trailing_zeros()
}

impl Grouping {
    /// `rows`: about how many there are.
    pub(super) fn new(rows: u64, rules: Rules) -> Self {
        let bits = bits_for(rows, rules.leaf_rows);
        Self {
            rules,
            next: 0,
            ready: vec![Step::Groups { bits, within: None }],
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
            (Step::Groups { bits, within }, Answer::Groups { source, target }) => {
                self.compared(bits, within.is_none(), source, target);
                Ok(())
            }
            (Step::Rows { limit, .. }, Answer::Rows { source, target }) => {
                if source.len() as u64 >= limit || target.len() as u64 >= limit {
                    self.findings.incomplete = true;
                } else {
                    self.findings.compare(&source, &target, &self.rules);
                }
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

    fn compared(&mut self, bits: u32, of_the_whole: bool, source: Vec<(u64, Sum)>, target: Vec<(u64, Sum)>) {
        let mut both: BTreeMap<u64, (Sum, Sum)> = BTreeMap::new();
        for (value, sum) in source {
            both.entry(value).or_default().0 = sum;
        }
        for (value, sum) in target {
            both.entry(value).or_default().1 = sum;
        }
        let (mut small, mut large) = (Vec::new(), Vec::new());
        let (mut missing, mut extra) = (Vec::new(), Vec::new());
        for (value, (source, target)) in both {
            if of_the_whole {
                self.findings.count(source, target);
            }
            if source == target {
                continue;
            }
            self.findings.differs = true;
            let most = source.rows.max(target.rows);
            if target.rows == 0 {
                missing.push((value, most));
            } else if source.rows == 0 {
                extra.push((value, most));
            } else if most <= self.rules.leaf_rows {
                small.push((value, most));
            } else {
                large.push((value, most));
            }
        }
        self.only_on(Side::Source, bits, &missing);
        self.only_on(Side::Target, bits, &extra);
        self.look_at(bits, small);
        self.divide(bits, &large);
    }

    /// Counts groups that one side alone has, and asks for the keys that are to be named.
    fn only_on(&mut self, side: Side, bits: u32, groups: &[(u64, u64)]) {
        let rows = groups.iter().fold(0_u64, |sum, (_, rows)| sum.saturating_add(*rows));
        let limit = self.findings.only_on(side, rows, &self.rules);
        if limit > 0 {
            let values = groups.iter().take(MOST_VALUES).map(|(value, _)| *value).collect();
            self.ready.push(Step::Names { of: Within { bits, values }, side, limit });
        }
    }

    /// Compares the rows of small groups, as many groups at once as stay below the batch's rows.
    fn look_at(&mut self, bits: u32, groups: Vec<(u64, u64)>) {
        let (mut values, mut rows) = (Vec::new(), 0_u64);
        for (value, most) in groups {
            if !values.is_empty()
                && (rows.saturating_add(most) > self.rules.batch_rows || values.len() >= MOST_VALUES)
            {
                self.ask_rows(bits, std::mem::take(&mut values), rows);
                rows = 0;
            }
            values.push(value);
            rows = rows.saturating_add(most);
        }
        if !values.is_empty() {
            self.ask_rows(bits, values, rows);
        }
    }

    fn ask_rows(&mut self, bits: u32, values: Vec<u64>, rows: u64) {
        if self.row_questions >= self.rules.most_row_questions {
            self.findings.incomplete = true;
            return;
        }
        self.row_questions += 1;
        let limit = rows.saturating_mul(2).saturating_add(1);
        self.ready.push(Step::Rows { of: Within { bits, values }, limit });
    }

    /// Divides groups that are too large to be read.
    fn divide(&mut self, bits: u32, groups: &[(u64, u64)]) {
        let Some(most) = groups.iter().map(|(_, rows)| *rows).max() else { return };
        if bits >= MOST_BITS {
            self.findings.incomplete = true;
            return;
        }
        let more = bits_for(most, self.rules.leaf_rows).max(1);
        let at_once = usize::try_from(MOST_GROUPS >> more).unwrap_or(MOST_VALUES).clamp(1, MOST_VALUES);
        for some in groups.chunks(at_once) {
            let values = some.iter().map(|(value, _)| *value).collect();
            let within = Some(Within { bits, values });
            self.ready.push(Step::Groups { bits: (bits + more).min(MOST_BITS), within });
        }
    }
}

impl Step {
    fn question(&self) -> Question {
        match self {
            Self::Groups { bits, within } => Question::Groups { bits: *bits, within: within.clone() },
            Self::Rows { of, limit } | Self::Names { of, limit, .. } => {
                Question::Rows { of: of.clone(), limit: *limit }
            }
        }
    }
}

#[cfg(test)]
mod tests;
