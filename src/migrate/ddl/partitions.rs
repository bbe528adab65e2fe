//! Partitions: what is partitioned in a PostgreSQL arrives partitioned.
//!
//! Goes in: how a table is partitioned, and what was laid out for it. Comes out: the target's names, and a statement
//! for each partition, parents first. Always holds: a partition has its columns, defaults and checks from its table,
//! and none of its own; a bound is taken over as it is, since it has constants in it and no names. A key that cannot
//! be moved into other schemas makes its table a plain one, and is told.
//!
//! Where tables are kept, so is the way in which the target has partitioned them: a partition is added where its table
//! has none of that name and it fits beside those that are there. It does not look at bounds itself: the server does.

use super::layout::{Laid, Layout};
use super::names::{Names, Space};
use super::renaming::Renaming;
use super::tables::said;
use super::{Kind, Note, Options, Out, Phase, TargetMode, storage};
use crate::migrate::catalog::{Partition, Partitioned};
use crate::migrate::quote::{dollar_quoted, literal, qualified, shown};
use crate::migrate::schema::{Index, IndexPart, Table, TableName};
use crate::migrate::types::Engine;
use std::collections::BTreeMap;

/// How a table is partitioned in the target.
#[derive(Debug)]
pub(super) struct Partitioning<'a> {
    source: &'a Partitioned,
    /// What follows `PARTITION BY`.
    key: String,
    /// Each after its parent.
    pub(super) partitions: Vec<LaidPartition<'a>>,
}

/// A partition, with the names of all that belongs to it.
#[derive(Debug)]
pub(super) struct LaidPartition<'a> {
    source: &'a Partition,
    pub(super) name: TableName,
    /// Whose partition it is, by its name in the target.
    parent: TableName,
    /// What follows `PARTITION BY`; `None`: a leaf.
    key: Option<String>,
    /// A leaf's name for the primary key of its table.
    pub(super) primary_key: Option<String>,
    /// A leaf's names for the indexes of its table.
    pub(super) indexes: Vec<String>,
}

/// For each of these tables how it is partitioned.
pub(super) fn of_tables<'a, 't>(
    options: &'a Options,
    tables: impl Iterator<Item = &'t TableName>,
) -> Vec<Option<&'a Partitioned>> {
    let mut by_name: BTreeMap<&TableName, &'a Partitioned> = BTreeMap::new();
    if options.engine == Engine::Postgres {
        by_name.extend(options.partitioned.iter().map(|tree| (&tree.table, tree)));
    }
    tables.map(|name| by_name.get(name).copied()).collect()
}

impl<'a> Partitioning<'a> {
    /// Names the partitions of a table that is called `root` in the target. Its key comes with [`move_keys`].
    pub(super) fn named(
        source: &'a Partitioned,
        root: &TableName,
        mut name_of: impl FnMut(&TableName) -> TableName,
    ) -> Self {
        let mut targets: BTreeMap<&TableName, TableName> = BTreeMap::new();
        targets.insert(&source.table, root.clone());
        let mut partitions = Vec::with_capacity(source.partitions.len());
        for partition in &source.partitions {
            // The catalog has each after its parent.
            let Some(parent) = targets.get(&partition.parent).cloned() else { continue };
            let name = name_of(&partition.name);
            targets.insert(&partition.name, name.clone());
            partitions.push(LaidPartition {
                source: partition,
                name,
                parent,
                key: None,
                primary_key: None,
                indexes: Vec::new(),
            });
        }
        Self { source, key: String::new(), partitions }
    }

    /// Names the indexes of the leaves as PostgreSQL would. Those of partitioned partitions it names itself.
    pub(super) fn name_indexes(&mut self, names: &mut Names, table: &Table) {
        for leaf in self.partitions.iter_mut().filter(|partition| partition.source.key.is_none()) {
            let space = Space::Relations(leaf.name.schema.clone());
            let own = leaf.name.name.clone();
            let by = format!("an index of {}", shown(&leaf.source.name));
            if !table.primary_key.is_empty() {
                leaf.primary_key = Some(names.made(&space, (own.as_str(), "", "pkey"), &by));
            }
            for index in &table.indexes {
                let columns = words_of(index);
                let made_of = (own.as_str(), columns.as_str(), label_of(index));
                leaf.indexes.push(names.made(&space, made_of, &by));
            }
        }
    }

    /// What stands behind the table's columns: ` PARTITION BY RANGE (at)`.
    pub(super) fn clause(&self) -> String {
        partition_by(&self.key)
    }

    fn move_keys(&mut self, renaming: &Renaming) -> Result<(), String> {
        self.key = moved(&self.source.key, renaming)?;
        for partition in &mut self.partitions {
            let key = partition.source.key.as_deref().map(|key| moved(key, renaming));
            partition.key = key.transpose()?;
        }
        Ok(())
    }

    fn about(&self) -> String {
        format!("partitioning by {}", self.source.key)
    }
}

impl LaidPartition<'_> {
    pub(super) fn source_name(&self) -> &TableName {
        &self.source.name
    }

    /// `with`: its storage parameters, as they are written at the end.
    fn create(&self, with: &str) -> String {
        let by = self.key.as_deref().map(partition_by).unwrap_or_default();
        format!(
            "CREATE TABLE IF NOT EXISTS {} PARTITION OF {} {}{by}{with}",
            qualified(&self.name),
            qualified(&self.parent),
            self.source.bound
        )
    }

    /// Its parent may be a plain table there, be partitioned otherwise, or have rows in its default partition that
    /// would belong here: then it stays as it is.
    fn create_where_it_fits(&self, with: &str) -> String {
        let oid_of = |name: &TableName| format!("pg_catalog.to_regclass({})", literal(&qualified(name)));
        let body = format!(
            "BEGIN IF {} IS NULL AND EXISTS (SELECT 1 FROM pg_catalog.pg_partitioned_table WHERE partrelid = {}) \
             THEN {}; END IF; EXCEPTION WHEN invalid_table_definition OR invalid_object_definition OR \
             check_violation THEN NULL; END",
            oid_of(&self.name),
            oid_of(&self.parent),
            self.create(with)
        );
        format!("DO {}", dollar_quoted(&body))
    }
}

/// Moves a table's keys into the target's schemas. One that cannot be leaves a plain table.
pub(super) fn move_keys(laid: &mut Laid<'_>, renaming: &Renaming, notes: &mut Vec<Note>) {
    let Some(mut tree) = laid.partitioning.take() else { return };
    match tree.move_keys(renaming) {
        Ok(()) => laid.partitioning = Some(tree),
        Err(why) => notes.push(Note {
            table: Some(laid.source.name.clone()),
            about: tree.about(),
            text: format!("is left out, so that one table has all rows: {why}"),
        }),
    }
}

/// Makes a table's partitions.
pub(super) fn tables(layout: &Layout<'_>, laid: &Laid<'_>, out: &mut Out) {
    let Some(tree) = &laid.partitioning else { return };
    let anew = layout.options.mode == TargetMode::DropRecreate;
    for partition in &tree.partitions {
        let with = storage::at_creation(layout, &partition.source.name);
        let sql = if anew { partition.create(&with) } else { partition.create_where_it_fits(&with) };
        let describes = format!("partition {}", shown(&partition.name));
        out.say(Phase::BeforeLoad, Kind::Partition, Some(&laid.source.name), sql, describes);
    }
    if !anew {
        let text = "stays as it is where the target has the table already: only partitions are made that it has not \
                    and that fit beside those that it has";
        out.note(Some(&laid.source.name), tree.about(), text);
    }
}

/// Says what was said of partitions. A table that was kept may have others.
pub(super) fn comments(layout: &Layout<'_>, laid: &Laid<'_>, out: &mut Out) {
    if layout.options.mode != TargetMode::DropRecreate {
        return;
    }
    for partition in laid.partitions() {
        let Some(comment) = said(partition.source.comment.as_deref()) else { continue };
        let sql = format!("COMMENT ON TABLE {} IS {}", qualified(&partition.name), literal(comment));
        let describes = format!("comment on {}", shown(&partition.name));
        out.say(Phase::Last, Kind::Comment, Some(&laid.source.name), sql, describes);
    }
}

fn partition_by(key: &str) -> String {
    format!(" PARTITION BY {key}")
}

/// `RANGE (shop.day(at))` with the target's schemas. What stands before the parenthesis is no name.
fn moved(key: &str, renaming: &Renaming) -> Result<String, String> {
    let (strategy, columns) = key.split_at(key.find('(').unwrap_or(key.len()));
    Ok(format!("{strategy}{}", renaming.apply(columns)?))
}

/// What PostgreSQL puts at the end of an index's name.
fn label_of(index: &Index) -> &'static str {
    match (index.constraint, index.unique) {
        (true, true) => "key",
        (true, false) => "excl",
        (false, _) => "idx",
    }
}

/// What PostgreSQL puts in the middle of an index's name: its columns. The same word again is numbered.
fn words_of(index: &Index) -> String {
    let mut words: Vec<String> = Vec::new();
    let parts = index.parts.iter().map(word_of);
    for word in parts.chain(index.include.iter().cloned()) {
        let mut own = word.clone();
        let mut turn = 0_u32;
        while words.contains(&own) {
            turn += 1;
            own = format!("{word}{turn}");
        }
        words.push(own);
    }
    words.join("_")
}

/// A column's name, a function's, or `expr`. PostgreSQL looks deeper into expressions; it is only a name.
fn word_of(part: &IndexPart) -> String {
    if part.is_column {
        return part.expression.clone();
    }
    let before = part.expression.split('(').next().unwrap_or_default();
    let function = before.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    let plain = !function.is_empty() && function.chars().all(is_name);
    if plain && part.expression.ends_with(')') { function } else { "expr".to_owned() }
}

#[cfg(test)]
mod tests;
