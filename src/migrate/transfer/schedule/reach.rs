//! How far a part's keys, blocks and bytes let a chunk reach. Pure.
//!
//! In: what is known of a part, ends of an extent. Out: keys, densities, and an extent cut in two. Always holds:
//! both halves together are the extent, whatever was asked or guessed; what cannot be is not cut.

use super::PartPlan;
use crate::migrate::ranges::{Extent, KeyValue};

/// A chunk is not made so large that trying it again is dear.
const MOST_CHUNK_BYTES: u64 = 64 * 1024 * 1024;

/// The keys before `end`, and the others; without an end all of them.
pub(super) fn cut_before(
    column: String,
    (from, below): (Option<i128>, Option<i128>),
    end: Option<i128>,
) -> (Extent, Option<Extent>) {
    let rest = end.map(|end| Extent::Integer { column: column.clone(), from: Some(end), below });
    (Extent::Integer { column, from, below: end.or(below) }, rest)
}

impl PartPlan {
    /// `chunk_rows`, or fewer where rows are wide.
    pub(super) fn capped(&self, chunk_rows: u32) -> u32 {
        let (Some(rows), Some(bytes)) = (self.rows, self.bytes) else { return chunk_rows.max(1) };
        let row_bytes = (bytes / rows.max(1)).max(1);
        let most = u32::try_from(MOST_CHUNK_BYTES / row_bytes).unwrap_or(u32::MAX);
        chunk_rows.min(most).max(1)
    }

    /// The first key that an extent by integer may have, and the first one behind it; `None`: nobody knows.
    pub(super) fn keys(&self, from: Option<i128>, below: Option<i128>) -> Option<(i128, i128)> {
        let first = from.or(self.bounds.map(|(least, _)| least))?;
        let end = below.or(self.bounds.map(|(_, greatest)| greatest.saturating_add(1)))?;
        Some((first, end))
    }

    /// How many keys an extent has up to `key`, and the first one behind it; `None`: all that it may have.
    pub(super) fn end_behind(
        &self,
        key: &[KeyValue],
        from: Option<i128>,
        below: Option<i128>,
    ) -> Option<(f64, i128)> {
        let [KeyValue::Integer(key)] = key else { return None };
        let cut = key.saturating_add(1);
        let (first, end) = self.keys(from, below)?;
        (first < cut && cut < end).then(|| (cut.saturating_sub(first) as f64, cut))
    }

    /// Rows for each key or block, as if they lay evenly; `None`: nobody knows.
    pub(super) fn density(&self) -> Option<f64> {
        let rows = self.rows? as f64;
        let span = match &self.extent {
            Extent::Integer { .. } => self.bounds.map(|(least, greatest)| (greatest - least) as f64 + 1.0)?,
            Extent::Blocks { .. } => f64::from(self.blocks),
            Extent::Keyset { .. } | Extent::Whole => return None,
        };
        (rows > 0.0 && span > 0.0).then(|| rows / span)
    }
}
