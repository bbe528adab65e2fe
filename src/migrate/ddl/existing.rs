//! What is done with tables that the target has already: dropped, or emptied.
//!
//! Goes in: the layout. Comes out: `DROP` or `TRUNCATE`, or nothing. Always holds: there is no `CASCADE`: what somebody
//! else has made on top of these tables stops the statement and is named by the server, instead of vanishing. So tables
//! that refer to each other go in one statement, and a statement has no more tables than a server with its usual
//! `max_locks_per_transaction` can lock, unless that many hang together. Partitions count as tables: they go with
//! theirs, and what has such a name and is a table of its own goes too.

use super::layout::{Laid, Layout};
use super::{Kind, Out, Phase, TargetMode};
use crate::migrate::quote::{qualified, shown};
use std::collections::BTreeMap;

/// Each of them takes a lock for itself, its TOAST table, its sequence and each of its indexes; there are 6400 at
/// least.
const TABLES_AT_ONCE: usize = 200;

/// Drops views, tables and sequences.
pub(super) fn drops(layout: &Layout<'_>, out: &mut Out) {
    if layout.options.mode != TargetMode::DropRecreate {
        return;
    }
    // Who reads goes before what is read.
    for (view, name) in layout.schema.views.iter().zip(&layout.views).rev() {
        let kind = if view.materialized { "MATERIALIZED VIEW" } else { "VIEW" };
        let sql = format!("DROP {kind} IF EXISTS {}", qualified(name));
        out.say(Phase::BeforeLoad, Kind::Drop, None, sql, format!("old view {}", shown(name)));
    }
    on_batches(layout, out, Kind::Drop, "DROP TABLE IF EXISTS", "old");
    for name in &layout.sequences {
        let sql = format!("DROP SEQUENCE IF EXISTS {}", qualified(name));
        out.say(Phase::BeforeLoad, Kind::Drop, None, sql, format!("old sequence {}", shown(name)));
    }
}

/// Empties the tables.
pub(super) fn truncate(layout: &Layout<'_>, out: &mut Out) {
    if layout.options.mode == TargetMode::Truncate {
        on_batches(layout, out, Kind::Truncate, "TRUNCATE TABLE", "rows of");
    }
}

fn on_batches(layout: &Layout<'_>, out: &mut Out, kind: Kind, command: &str, what: &str) {
    for batch in batches(layout) {
        let tables: Vec<&Laid<'_>> = batch.iter().filter_map(|at| layout.tables.get(*at)).collect();
        let mut names: Vec<String> = tables.iter().map(|laid| qualified(&laid.name)).collect();
        if kind == Kind::Drop {
            // Behind their tables: no partition can be dropped first that foreign keys refer to.
            let partitions = tables.iter().flat_map(|laid| laid.partitions());
            names.extend(partitions.map(|partition| qualified(&partition.name)));
        }
        let describes = match tables.as_slice() {
            [one] => format!("{what} table {}", shown(&one.name)),
            several => format!("{what} {} tables", several.len()),
        };
        let table = if let [one] = tables.as_slice() { Some(&one.source.name) } else { None };
        out.say(Phase::BeforeLoad, kind, table, format!("{command} {}", names.join(", ")), describes);
    }
}

/// Tables for one statement each, as places in the layout.
fn batches(layout: &Layout<'_>) -> Vec<Vec<usize>> {
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut in_last = 0;
    for group in groups(layout) {
        let tables = group.iter().filter_map(|at| layout.tables.get(*at));
        let with_partitions: usize = tables.map(|laid| 1 + laid.partitions().len()).sum();
        if batches.is_empty() || in_last + with_partitions > TABLES_AT_ONCE {
            batches.push(Vec::new());
            in_last = 0;
        }
        in_last += with_partitions;
        if let Some(last) = batches.last_mut() {
            last.extend(group);
        }
    }
    batches
}

/// Tables that foreign keys hold together.
fn groups(layout: &Layout<'_>) -> Vec<Vec<usize>> {
    let mut parents: Vec<usize> = (0..layout.tables.len()).collect();
    for (at, laid) in layout.tables.iter().enumerate() {
        for other in laid.source.foreign_keys.iter().filter_map(|key| layout.position(&key.refers_to)) {
            let (one, other) = (root(&parents, at), root(&parents, other));
            parents[one.max(other)] = one.min(other);
        }
    }
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for at in 0..parents.len() {
        groups.entry(root(&parents, at)).or_default().push(at);
    }
    groups.into_values().collect()
}

fn root(parents: &[usize], at: usize) -> usize {
    let mut at = at;
    while parents[at] != at {
        at = parents[at];
    }
    at
}
