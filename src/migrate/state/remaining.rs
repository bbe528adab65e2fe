//! What of a table is not in the target yet. Pure.
//!
//! In: parts and their committed chunks. Out: the extents that are missing ([`remaining`]), and what that means for
//! the table ([`resumption`]).
//!
//! The rule. A part's extent never changes. Its chunks are handed out in order: chunk 0 begins where the part begins,
//! chunk n+1 begins where chunk n ends, and each keeps the extent that it was handed out with, however often it is
//! tried. So the committed chunks of a part, in the order of their numbers, are in the order of their keys, whatever
//! that order is, and what is missing is what lies between one's end and the next one's beginning, before the first and
//! behind the last. Only equality of keys is needed for this: the source alone knows how a text is ordered.
//!
//! When a run goes on, every part of which something is missing is closed, for good, and each gap in it becomes a *new
//! part*, whose extent is the gap and whose chunks count from 0; of a part of which nothing is there, that is all of
//! it. So the rule holds for every part at all times, however often a run is interrupted. A closed part is made of its
//! committed chunks and of the extents of the parts that were made of its gaps; by induction, committed chunks and
//! missing extents together are each part of the first plan, exactly once.
//!
//! Blocks of a file and whole relations have extents that mean something in one snapshot only. Of a relation read by
//! blocks either everything is there, or nothing (it is read anew in another snapshot), or the table must be emptied:
//! what is missing of it cannot be told any more.
//!
//! What cannot be (two chunks overlap, or neighbours do not meet) is a [`Contradiction`] and never guessed around: rows
//! would be there twice, or not at all.

use super::{CommittedChunk, Part, PartState, StateError};
use crate::migrate::ranges::{Extent, KeyValue};
use crate::migrate::schema::TableName;
use std::collections::BTreeMap;

/// Why the chunks of a part cannot all be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// Two chunks have one number.
    #[error("two chunks have the number {seq}")]
    SameNumber {
        /// The number.
        seq: u32,
    },
    /// A chunk is by another key, or by none.
    #[error("chunk {seq} is not cut as its part is")]
    OtherKind {
        /// The chunk's number.
        seq: u32,
    },
    /// A chunk does not begin where the one before it ends, or the part begins.
    #[error("chunk {seq} does not begin where what was handed out before it ends")]
    NoNeighbour {
        /// The chunk's number.
        seq: u32,
    },
    /// A chunk begins before the one before it ends.
    #[error("chunk {seq} overlaps what was handed out before it")]
    Overlap {
        /// The chunk's number.
        seq: u32,
    },
    /// A chunk ends behind the part's end, or before its own beginning.
    #[error("chunk {seq} does not end inside its part")]
    Outside {
        /// The chunk's number.
        seq: u32,
    },
}

/// What is left to be loaded of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Resumption {
    /// It has no parts: it was not cut yet, or has no relation to be read. Nothing of it is in the target.
    Uncut,
    /// Nothing.
    Complete,
    /// All of [`Split::added`] and nothing else, once [`super::split_parts`] has written it down.
    Split(Split),
    /// What is missing cannot be told from what is there: the table is emptied, forgotten
    /// ([`super::restart_table`]) and cut anew. Where it may not be emptied, the run cannot go on.
    Restart,
}

/// Parts that are closed, and those that take their place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Split {
    /// Numbers of the parts that are read no further.
    pub closed: Vec<u32>,
    /// What is missing of them, as parts with numbers of their own, in order.
    pub added: Vec<Part>,
}

/// Two ends; `None`: there is none.
type Ends<K> = (Option<K>, Option<K>);

/// The extents of a part that no committed chunk has, in their order. `committed` are the part's own chunks, in any
/// order.
pub fn remaining(part: &Extent, committed: &[CommittedChunk]) -> Result<Vec<Extent>, Contradiction> {
    let mut chunks: Vec<&CommittedChunk> = committed.iter().collect();
    chunks.sort_by_key(|chunk| chunk.seq);
    if let Some(pair) = chunks.windows(2).find(|pair| pair[0].seq == pair[1].seq) {
        return Err(Contradiction::SameNumber { seq: pair[0].seq });
    }
    match part {
        Extent::Whole => remaining_of_whole(&chunks),
        Extent::Integer { column, from, below } => {
            let ends = ends_of(&chunks, |extent| match extent {
                Extent::Integer { column: own, from, below } if own == column => Some((*from, *below)),
                _ => None,
            })?;
            let missing = gaps(&(*from, *below), &ends, |a, b| a < b)?;
            let extent = |(from, below)| Extent::Integer { column: column.clone(), from, below };
            Ok(missing.into_iter().map(extent).collect())
        }
        Extent::Blocks { from, below } => {
            let ends = ends_of(&chunks, |extent| match extent {
                Extent::Blocks { from, below } => Some((*from, *below)),
                _ => None,
            })?;
            let missing = gaps(&(*from, *below), &ends, |a, b| a < b)?;
            Ok(missing.into_iter().map(|(from, below)| Extent::Blocks { from, below }).collect())
        }
        Extent::Keyset { columns, after, up_to } => {
            let ends = ends_of(&chunks, |extent| match extent {
                Extent::Keyset { columns: own, after, up_to } if own == columns => {
                    Some((after.clone(), up_to.clone()))
                }
                _ => None,
            })?;
            // Keys that are not equal may be in either order: the numbers say in which.
            let part: Ends<Vec<KeyValue>> = (after.clone(), up_to.clone());
            let missing = gaps(&part, &ends, |a, b| a != b)?;
            let extent = |(after, up_to)| Extent::Keyset { columns: columns.clone(), after, up_to };
            Ok(missing.into_iter().map(extent).collect())
        }
    }
}

/// What is left to be loaded of a table with these parts, all of them, in any order.
pub fn resumption(parts: &[PartState]) -> Result<Resumption, StateError> {
    if parts.is_empty() {
        return Ok(Resumption::Uncut);
    }
    let mut next = parts.iter().map(|state| state.part.number).max().unwrap_or(0);
    let mut split = Split::default();
    let mut torn = false;
    // Of each relation that is read by blocks: whether something is there, and whether something is missing.
    let mut by_blocks: BTreeMap<&TableName, (bool, bool)> = BTreeMap::new();
    for state in parts.iter().filter(|state| !state.closed) {
        let part = &state.part;
        let missing = remaining(&part.extent, &state.chunks).map_err(|source| StateError::Contradiction {
            table: part.table,
            part: part.number,
            source,
        })?;
        if matches!(part.extent, Extent::Blocks { .. }) {
            let (there, lacking) = by_blocks.entry(&part.relation).or_default();
            *there |= !state.chunks.is_empty();
            *lacking |= !missing.is_empty();
        }
        if missing.is_empty() {
            continue;
        }
        torn |= !state.chunks.is_empty() && !is_by_key(&part.extent);
        split.closed.push(part.number);
        for extent in missing {
            // A table has no four thousand million parts; if it had, the target would refuse the number.
            next = next.saturating_add(1);
            split.added.push(Part { number: next, extent, ..part.clone() });
        }
    }
    if torn || by_blocks.values().any(|(there, lacking)| *there && *lacking) {
        return Ok(Resumption::Restart);
    }
    Ok(if split.closed.is_empty() { Resumption::Complete } else { Resumption::Split(split) })
}

/// Whether its rows are the same ones in every snapshot.
fn is_by_key(extent: &Extent) -> bool {
    matches!(extent, Extent::Integer { .. } | Extent::Keyset { .. })
}

/// A whole relation is one chunk.
fn remaining_of_whole(chunks: &[&CommittedChunk]) -> Result<Vec<Extent>, Contradiction> {
    if let Some(other) = chunks.iter().find(|chunk| chunk.extent != Extent::Whole) {
        return Err(Contradiction::OtherKind { seq: other.seq });
    }
    match chunks {
        [] => Ok(vec![Extent::Whole]),
        [_] => Ok(Vec::new()),
        [_, second, ..] => Err(Contradiction::Overlap { seq: second.seq }),
    }
}

/// Each chunk's number and ends.
fn ends_of<K>(
    chunks: &[&CommittedChunk],
    read: impl Fn(&Extent) -> Option<Ends<K>>,
) -> Result<Vec<(u32, Ends<K>)>, Contradiction> {
    let ends = chunks.iter().map(|chunk| {
        let ends = read(&chunk.extent).ok_or(Contradiction::OtherKind { seq: chunk.seq })?;
        Ok((chunk.seq, ends))
    });
    ends.collect()
}

/// What lies between the chunks, which are in the order of their numbers. `may_precede` says whether the first of two
/// ends that are not equal may come before the second.
fn gaps<K: Clone + PartialEq>(
    part: &Ends<K>,
    chunks: &[(u32, Ends<K>)],
    may_precede: impl Fn(&K, &K) -> bool,
) -> Result<Vec<Ends<K>>, Contradiction> {
    let (start, end) = part;
    let mut missing = Vec::new();
    // Where what is known ends so far, the number that begins there, and whether that is the part's end.
    let mut reached = start.clone();
    let mut next = 0_u64;
    let mut over = false;
    for (seq, (from, to)) in chunks {
        let seq = *seq;
        if over {
            return Err(Contradiction::Overlap { seq });
        }
        if *from != reached {
            if u64::from(seq) == next {
                return Err(Contradiction::NoNeighbour { seq });
            }
            // A beginning without an end before it is the beginning of all.
            let Some(from) = from else { return Err(Contradiction::Overlap { seq }) };
            if reached.as_ref().is_some_and(|reached| !may_precede(reached, from)) {
                return Err(Contradiction::Overlap { seq });
            }
            missing.push((reached, Some(from.clone())));
        }
        let backwards = match (from, to) {
            (Some(from), Some(to)) => from != to && !may_precede(from, to),
            _ => false,
        };
        let beyond = match (to, end) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(to), Some(end)) => to != end && !may_precede(to, end),
        };
        if backwards || beyond {
            return Err(Contradiction::Outside { seq });
        }
        reached = to.clone();
        next = u64::from(seq) + 1;
        over = to == end;
    }
    if !over {
        missing.push((reached, end.clone()));
    }
    Ok(missing)
}

#[cfg(test)]
mod tests;
