//! Rows of PostgreSQL's catalogs put together. Pure: the same rows give the same catalog, in whatever order they came
//! (columns come in theirs).

use super::comments::comments_of;
use super::constraint;
use super::indexes::add_index;
use super::rows::{ColumnRow, ConstraintRow, RelationRow, Rows, SequenceRow, SequenceValueRow};
use super::storage::storage_of;
use crate::migrate::catalog::{Catalog, Draft, Partition, Partitioned, Relation, in_reading_order};
use crate::migrate::quote::shown;
use crate::migrate::schema::{
    Check, Column, ColumnDefault, Counting, ForeignKey, Index, Schema, Sequence, TableName, View,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// From this version on a scan can be limited to a range of blocks.
const TID_RANGE_SCANS: u32 = 140_000;

pub(super) fn assemble(rows: &Rows) -> Catalog {
    let moved = rows.relations.iter().filter(|row| !row.is_partition && row.kind != "f");
    let mut draft =
        Draft::of(moved.map(|row| (row.oid, row.name.clone(), row.comment.clone())).collect::<Vec<_>>());
    let (relations, partitioned) = relations_of(&mut draft, rows);
    let mut sequences = Sequences::of(rows);
    for row in &rows.columns {
        add_column(&mut draft, row, &mut sequences);
    }
    let mut of_views = BTreeMap::new();
    for row in &rows.indexes {
        add_index(&mut draft, row, &mut of_views);
    }
    let names: HashSet<TableName> = draft.tables.iter().map(|table| table.name.clone()).collect();
    for row in &rows.constraints {
        add_constraint(&mut draft, row, &names);
    }
    let own = own_sequences(&mut draft, rows, &sequences);
    let views = views_of(&mut draft, rows, of_views);
    for other in &rows.others {
        let dots = if other.count > 5 { ", …" } else { "" };
        draft.remark(
            other.kind.clone(),
            format!("are not moved: {} of them ({}{dots})", other.count, other.examples.join(", ")),
        );
    }
    draft.sort();
    Catalog {
        schema: Schema { tables: draft.tables, sequences: own, views },
        relations,
        partitioned,
        types: rows.types.clone(),
        storage: storage_of(rows),
        comments: comments_of(rows, &sequences.with_a_column),
        remarks: draft.remarks,
    }
}

/// What each table's rows are read from, and how partitioned tables are partitioned.
fn relations_of(
    draft: &mut Draft<u32>,
    rows: &Rows,
) -> (BTreeMap<TableName, Vec<Relation>>, Vec<Partitioned>) {
    let by_oid: HashMap<u32, &RelationRow> = rows.relations.iter().map(|row| (row.oid, row)).collect();
    let mut relations: BTreeMap<TableName, Vec<Relation>> =
        draft.tables.iter().map(|table| (table.name.clone(), Vec::new())).collect();
    let mut partitions: BTreeMap<u32, Vec<&RelationRow>> = BTreeMap::new();
    for row in &rows.relations {
        let Some((root, _)) = root_of(row, &by_oid) else {
            draft.remark(shown(&row.name), "is a partition of a table that is not moved: it is left out");
            continue;
        };
        if row.is_partition {
            partitions.entry(root.oid).or_default().push(row);
        } else if row.kind == "f" {
            draft.remark(shown(&row.name), "is a foreign table: neither it nor its rows are moved");
        } else if let Some(parent) = row.parents.first().and_then(|oid| by_oid.get(oid)) {
            let text = format!(
                "inherits from {}: they become two tables, and the parent no longer shows the child's rows",
                shown(&parent.name)
            );
            draft.remark(shown(&row.name), text);
        }
        if row.kind != "p"
            && let Some(of_root) = relations.get_mut(&root.name)
        {
            of_root.push(Relation {
                name: row.name.clone(),
                blocks: blocks_of(row, rows),
                estimated_rows: estimated_rows_of(row),
                bytes: row.table_bytes.and_then(|bytes| u64::try_from(bytes).ok()),
            });
        }
    }
    for of_table in relations.values_mut() {
        of_table.sort_by(|a, b| a.name.cmp(&b.name));
    }
    for table in &mut draft.tables {
        let of_table = relations.get(&table.name).map(Vec::as_slice).unwrap_or_default();
        table.estimated_rows = of_table.iter().map(|relation| relation.estimated_rows).sum();
        table.bytes = of_table.iter().map(|relation| relation.bytes).sum();
    }
    let partitioned = partitioned_of(rows, &by_oid, &partitions);
    (relations, partitioned)
}

fn partitioned_of(
    rows: &Rows,
    by_oid: &HashMap<u32, &RelationRow>,
    partitions: &BTreeMap<u32, Vec<&RelationRow>>,
) -> Vec<Partitioned> {
    let mut partitioned = Vec::new();
    for root in rows.relations.iter().filter(|row| row.kind == "p" && !row.is_partition) {
        let mut below: Vec<(usize, Partition)> = Vec::new();
        for row in partitions.get(&root.oid).into_iter().flatten() {
            let Some((_, depth)) = root_of(row, by_oid) else { continue };
            let Some(parent) = row.parents.first().and_then(|oid| by_oid.get(oid)) else { continue };
            below.push((
                depth,
                Partition {
                    name: row.name.clone(),
                    parent: parent.name.clone(),
                    bound: row.bound.clone().unwrap_or_default(),
                    key: row.partition_key.clone(),
                    comment: row.comment.clone(),
                },
            ));
        }
        below.sort_by(|a, b| (a.0, &a.1.name).cmp(&(b.0, &b.1.name)));
        partitioned.push(Partitioned {
            table: root.name.clone(),
            key: root.partition_key.clone().unwrap_or_default(),
            partitions: below.into_iter().map(|(_, partition)| partition).collect(),
        });
    }
    partitioned.sort_by(|a, b| a.table.cmp(&b.table));
    partitioned
}

/// The table at the top of a partition, and how many steps up it is; any other relation is its own.
fn root_of<'a>(
    row: &'a RelationRow,
    by_oid: &HashMap<u32, &'a RelationRow>,
) -> Option<(&'a RelationRow, usize)> {
    let mut at = row;
    let mut steps = 0;
    while at.is_partition {
        let parent = at.parents.first()?;
        at = by_oid.get(parent).copied()?;
        steps += 1;
    }
    Some((at, steps))
}

fn blocks_of(row: &RelationRow, rows: &Rows) -> Option<u32> {
    if !row.heap || rows.version_num < TID_RANGE_SCANS || rows.block_size <= 0 {
        return None;
    }
    row.heap_bytes.and_then(|bytes| u32::try_from(bytes / rows.block_size).ok())
}

/// An empty file has no rows. Else nothing counted is −1, and 0 in 0 pages before PostgreSQL 14.
fn estimated_rows_of(row: &RelationRow) -> Option<u64> {
    if row.heap_bytes == Some(0) {
        return Some(0);
    }
    let never = row.reltuples < 0.0 || (row.reltuples == 0.0 && row.relpages == 0);
    (!never).then(|| f64::from(row.reltuples).round() as u64)
}

fn add_column(draft: &mut Draft<u32>, row: &ColumnRow, sequences: &mut Sequences<'_>) {
    let Some(table) = draft.table(&row.relation) else { return };
    let (default, remark) = sequences.default_of(row);
    table.columns.push(Column {
        name: row.name.clone(),
        source_type: row.source_type.clone(),
        nullable: !row.not_null,
        default,
        collation: row.collation.clone(),
        comment: row.comment.clone(),
    });
    let subject = format!("{}.{}", shown(&table.name), row.name);
    if let Some(text) = remark {
        draft.remark(subject, text);
    }
}

fn add_constraint(draft: &mut Draft<u32>, row: &ConstraintRow, names: &HashSet<TableName>) {
    let Some(table) = draft.table(&row.relation) else { return };
    let subject = format!("the constraint {} of {}", row.name, shown(&table.name));
    let mut remarks = Vec::new();
    if row.kind == "c" {
        match constraint::check(&row.definition) {
            None => remarks.push(not_understood(&row.definition)),
            Some(parts) if parts.not_enforced => remarks.push(NOT_ENFORCED.to_owned()),
            Some(parts) => {
                if parts.not_valid {
                    remarks.push(NOT_VALID.to_owned());
                }
                table.checks.push(Check { name: row.name.clone(), expression: parts.expression });
            }
        }
    } else {
        match constraint::foreign_key(&row.definition) {
            None => remarks.push(not_understood(&row.definition)),
            Some(parts) if parts.not_enforced => remarks.push(NOT_ENFORCED.to_owned()),
            Some(parts) if !names.contains(&parts.refers_to) => {
                let to = shown(&parts.refers_to);
                remarks.push(format!("refers to {to}, which is not moved as a table: it is left out"));
            }
            Some(parts) => {
                if parts.not_valid {
                    remarks.push(NOT_VALID.to_owned());
                }
                table.foreign_keys.push(ForeignKey {
                    name: row.name.clone(),
                    columns: parts.columns,
                    refers_to: parts.refers_to,
                    referred: parts.referred,
                    on_delete: parts.on_delete,
                    on_update: parts.on_update,
                    deferrable: parts.deferrable,
                    match_full: parts.match_full,
                });
            }
        }
    }
    for text in remarks {
        draft.remark(subject.clone(), text);
    }
}

const NOT_ENFORCED: &str = "is not enforced on the source: it is left out";
const NOT_VALID: &str = "is not validated on the source: rows may break it on the target";

fn not_understood(definition: &str) -> String {
    format!("is of a form that is not known here, and is left out: {definition}")
}

/// Which sequence each column has, and who else asks it.
struct Sequences<'a> {
    by_owner: HashMap<(u32, i16), &'a SequenceRow>,
    values: HashMap<u32, &'a SequenceValueRow>,
    /// How many calls in all columns' defaults are the same as this one.
    calls: HashMap<&'a str, usize>,
    /// Those that come with their column.
    with_a_column: HashSet<u32>,
}

impl<'a> Sequences<'a> {
    fn of(rows: &'a Rows) -> Self {
        let mut calls: HashMap<&str, usize> = HashMap::new();
        for call in rows.columns.iter().filter_map(|row| row.expression.as_deref()).flat_map(nextvals_in) {
            *calls.entry(call).or_default() += 1;
        }
        let owned = rows.sequences.iter().filter_map(|row| Some((row.owner?, row)));
        Self {
            by_owner: owned.collect(),
            values: rows.sequence_values.iter().map(|value| (value.oid, value)).collect(),
            calls,
            with_a_column: HashSet::new(),
        }
    }

    fn next_of(&self, sequence: &SequenceRow) -> Option<i64> {
        next_value(sequence, self.values.get(&sequence.oid).copied()?)
    }

    /// A column's default, and what is to be said of it.
    fn default_of(&mut self, row: &ColumnRow) -> (ColumnDefault, Option<String>) {
        let owned = self.by_owner.get(&(row.relation, row.position)).copied();
        if !row.generated.is_empty() {
            let text = "is computed whenever it is read: on the target it is stored";
            let remark = (row.generated == "v").then(|| text.to_owned());
            return (ColumnDefault::Generated(row.expression.clone().unwrap_or_default()), remark);
        }
        if !row.identity.is_empty() {
            let next = owned.and_then(|sequence| self.next_of(sequence));
            let (counting, remark) = owned.map_or((None, None), |sequence| self.taken(row, sequence));
            return (ColumnDefault::Identity { always: row.identity == "a", next, counting }, remark);
        }
        let Some(expression) = &row.expression else { return (ColumnDefault::None, None) };
        let is_integer = matches!(row.source_type.as_str(), "smallint" | "integer" | "bigint");
        match owned {
            Some(sequence)
                if is_integer
                    && *expression == sequence.nextval
                    && self.calls.get(sequence.nextval.as_str()) == Some(&1) =>
            {
                let next = self.next_of(sequence);
                let (counting, remark) = self.taken(row, sequence);
                (ColumnDefault::Serial { next, counting }, remark)
            }
            _ => (ColumnDefault::Expression(expression.clone()), None),
        }
    }

    /// The sequence comes with its column: how it counts, and what of it the column cannot say.
    fn taken(&mut self, row: &ColumnRow, sequence: &SequenceRow) -> (Option<Counting>, Option<String>) {
        self.with_a_column.insert(sequence.oid);
        counting_of(&row.source_type, sequence)
    }
}

/// How a column's sequence counts, unless it is as usual. Bounds beyond the column's type would be refused there.
fn counting_of(source_type: &str, sequence: &SequenceRow) -> (Option<Counting>, Option<String>) {
    let (least, most) = match source_type {
        "smallint" => (i64::from(i16::MIN), i64::from(i16::MAX)),
        "integer" => (i64::from(i32::MIN), i64::from(i32::MAX)),
        _ => (i64::MIN, i64::MAX),
    };
    let (min, max) = (sequence.min.max(least), sequence.max.min(most));
    if min >= max {
        let words = words_of(sequence);
        return (None, Some(format!("has a sequence beyond its type, which gets the usual bounds: {words}")));
    }
    let counting = Counting {
        increment: sequence.increment,
        min,
        max,
        start: sequence.start.clamp(min, max),
        cache: sequence.cache,
        cycle: sequence.cycle,
    };
    let usual = Counting { increment: 1, min: 1, max: most, start: 1, cache: 1, cycle: false };
    ((counting != usual).then_some(counting), None)
}

/// The `nextval('…'::regclass)` of an expression.
fn nextvals_in(expression: &str) -> Vec<&str> {
    const END: &str = "::regclass)";
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(start) = rest.find("nextval(") {
        let call = &rest[start..];
        let Some(end) = call.find(END) else { break };
        let (call, after) = call.split_at(end + END.len());
        found.push(call);
        rest = after;
    }
    found
}

/// The value that a sequence would give next; `None`: it is used up.
pub(super) fn next_value(sequence: &SequenceRow, value: &SequenceValueRow) -> Option<i64> {
    if !value.is_called {
        return Some(value.last_value);
    }
    let next = value.last_value.checked_add(sequence.increment);
    let next = next.filter(|next| (sequence.min..=sequence.max).contains(next));
    let again = if sequence.increment > 0 { sequence.min } else { sequence.max };
    next.or(sequence.cycle.then_some(again))
}

fn words_of(sequence: &SequenceRow) -> String {
    format!(
        "AS {} INCREMENT BY {} MINVALUE {} MAXVALUE {} START WITH {} CACHE {}{}",
        sequence.data_type,
        sequence.increment,
        sequence.min,
        sequence.max,
        sequence.start,
        sequence.cache,
        if sequence.cycle { " CYCLE" } else { " NO CYCLE" }
    )
}

fn own_sequences(draft: &mut Draft<u32>, rows: &Rows, sequences: &Sequences<'_>) -> Vec<Sequence> {
    let mut own = Vec::new();
    for row in &rows.sequences {
        let next = sequences.next_of(row);
        if next.is_none() {
            let text = if row.readable {
                "is used up: it has no next value"
            } else {
                "may not be read by this role: its next value is not known"
            };
            draft.remark(format!("the sequence {}", shown(&row.name)), text);
        }
        if !sequences.with_a_column.contains(&row.oid) {
            own.push(Sequence { name: row.name.clone(), definition: words_of(row), next });
        }
    }
    own.sort_by(|a, b| a.name.cmp(&b.name));
    own
}

fn views_of(draft: &mut Draft<u32>, rows: &Rows, mut indexes: BTreeMap<u32, Vec<Index>>) -> Vec<View> {
    let by_oid: HashMap<u32, &TableName> = rows.views.iter().map(|row| (row.oid, &row.name)).collect();
    let mut reads: BTreeMap<TableName, BTreeSet<TableName>> = BTreeMap::new();
    for (reader, read) in &rows.view_reads {
        if let (Some(reader), Some(read)) = (by_oid.get(reader), by_oid.get(read)) {
            reads.entry((*reader).clone()).or_default().insert((*read).clone());
        }
    }
    let mut views: BTreeMap<TableName, View> = BTreeMap::new();
    for row in &rows.views {
        let options = row.options.clone().filter(|options| !options.is_empty());
        if let Some(options) = options.as_deref().filter(|options| !is_plain(options)) {
            let text = format!("has options of a form that is not known, which are not moved: {options}");
            draft.remark(shown(&row.name), text);
        }
        let mut indexes = indexes.remove(&row.oid).unwrap_or_default();
        indexes.sort_by(|a, b| a.name.cmp(&b.name));
        let view = View {
            name: row.name.clone(),
            query: row.query.trim().trim_end_matches(';').to_owned(),
            materialized: row.materialized,
            options: options.filter(|options| is_plain(options)),
            indexes,
            comment: row.comment.clone(),
        };
        views.insert(row.name.clone(), view);
    }
    let (ordered, circular) = in_reading_order(&views.keys().cloned().collect(), &reads);
    for name in &circular {
        draft.remark(shown(name), "reads a view that reads it: it may have to be made by hand");
    }
    ordered.iter().chain(&circular).filter_map(|name| views.remove(name)).collect()
}

/// Whether `name=value, …` can be written as it is.
fn is_plain(options: &str) -> bool {
    options.chars().all(|letter| letter.is_ascii_alphanumeric() || "_=.,- ".contains(letter))
}

#[cfg(test)]
mod tests;
