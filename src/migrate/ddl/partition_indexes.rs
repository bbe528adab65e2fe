//! Indexes of partitioned tables, and the constraints that stand on them.
//!
//! Goes in: a partitioned table that was laid out. Comes out: for each of its indexes one on every leaf, which are
//! built beside each other; behind them the leaves' constraints; and behind those the index of the whole. PostgreSQL
//! makes that one partition by partition, in one session: of a partition that has the same index it takes that, which
//! lasts a moment, and only where there is none it builds one. So an index that failed on a leaf is made after all, or
//! fails a second time and is told.
//!
//! Always holds: a leaf has its constraint before the whole has, which takes no index without one; the whole's
//! constraints come before its other indexes, so that these take none away that a constraint stands on. Where tables
//! are kept, the target's leaves may be others: the index of the whole is all that is asked for.

use super::indexes::{Tail, create, tail, using_index};
use super::layout::{Laid, Layout};
use super::partitions::{LaidPartition, Partitioning};
use super::{Kind, Out, Phase, TargetMode, constraint_named, constraints_of, storage, unless};
use crate::migrate::quote::{identifier, identifiers, qualified, shown};
use crate::migrate::schema::{Index, TableName};

const PRIMARY_KEY: &str = "PRIMARY KEY";
const UNIQUE: &str = "UNIQUE";

/// Builds a partitioned table's indexes, and makes their constraints.
pub(super) fn indexes(layout: &Layout<'_>, laid: &Laid<'_>, tree: &Partitioning<'_>, out: &mut Out) {
    let mut behind = Behind::default();
    if !layout.options.mode.keeps_rows()
        && let Some(whole) = primary(layout, laid, out)
    {
        // As with any deferrable constraint, no index can be built for it first.
        let leaves = if storage::is_checked_late(layout, laid) {
            Vec::new()
        } else {
            leaves(layout, tree, |leaf| leaf.primary_key.as_deref())
        };
        whole.make(laid, &leaves, &mut behind, out);
    }
    for (at, (index, name)) in laid.source.indexes.iter().zip(&laid.indexes).enumerate() {
        if !index.unique && !index.constraint && !layout.options.indexes {
            continue;
        }
        let whole = match tail(layout, laid, index) {
            // No index can be built for it first.
            Ok(Tail::Constraint(words)) => {
                let found = constraint_named(&laid.name, name);
                let describes = format!("constraint {name} of {}", shown(&laid.name));
                behind.constraints.push(Later {
                    kind: Kind::Constraint,
                    sql: unless(&found, &add(&laid.name, name, &words)),
                    describes,
                });
                continue;
            }
            Ok(Tail::Index(tail)) => Whole::of(laid, index, name, tail),
            Err(why) => Err(why),
        };
        match whole {
            Ok(whole) => {
                let leaves = leaves(layout, tree, |leaf| leaf.indexes.get(at).map(String::as_str));
                whole.make(laid, &leaves, &mut behind, out);
            }
            Err(why) => {
                let about = format!("index {}", index.name);
                out.note(Some(&laid.source.name), about, format!("is left out: {why}"));
            }
        }
    }
    behind.say(laid, out);
}

/// Makes a partitioned table's primary key by itself, before there are rows.
pub(super) fn primary_key(layout: &Layout<'_>, laid: &Laid<'_>, phase: Phase, out: &mut Out) {
    let Some(whole) = primary(layout, laid, out) else { return };
    if let Some(constraint) = &whole.constraint {
        let sql = constraint.add(&laid.name, whole.name);
        let describes = constraint.describes(&laid.name, whole.name);
        out.say(phase, Kind::Constraint, Some(&laid.source.name), sql, describes);
    }
}

/// The leaves that an index is built on first, with its name there.
fn leaves<'t>(
    layout: &Layout<'_>,
    tree: &'t Partitioning<'t>,
    name: impl Fn(&'t LaidPartition<'t>) -> Option<&'t str>,
) -> Vec<(&'t TableName, &'t str)> {
    if layout.options.mode != TargetMode::DropRecreate {
        return Vec::new();
    }
    tree.partitions.iter().filter_map(|leaf| Some((&leaf.name, name(leaf)?))).collect()
}

/// An index of a partitioned table.
struct Whole<'a> {
    name: &'a str,
    unique: bool,
    /// What follows the table's name: ` USING btree (at)`.
    tail: String,
    /// What stands on it.
    constraint: Option<Constraint>,
}

/// A primary key, or a unique constraint.
struct Constraint {
    /// `PRIMARY KEY` or `UNIQUE`.
    what: &'static str,
    /// What follows that: ` ("id", "at")`.
    words: String,
}

/// A statement that comes behind the leaves' indexes.
struct Later {
    kind: Kind,
    sql: String,
    describes: String,
}

/// What comes behind the leaves' indexes, in this order.
#[derive(Default)]
struct Behind {
    of_leaves: Vec<Later>,
    constraints: Vec<Later>,
    indexes: Vec<Later>,
}

fn primary<'a>(layout: &Layout<'_>, laid: &'a Laid<'_>, out: &mut Out) -> Option<Whole<'a>> {
    let name = laid.primary_key.as_deref()?;
    match laid.column_names(&laid.source.primary_key) {
        Ok(columns) => {
            let tail = format!(" ({}){}", identifiers(&columns), storage::of_key(layout, &laid.source.name));
            let words = format!("{tail}{}", storage::checked_late(layout, laid, out));
            let constraint = Constraint { what: PRIMARY_KEY, words };
            Some(Whole { name, unique: true, tail, constraint: Some(constraint) })
        }
        Err(why) => {
            out.note(Some(&laid.source.name), "primary key".to_owned(), format!("is left out: {why}"));
            None
        }
    }
}

impl<'a> Whole<'a> {
    fn of(laid: &Laid<'_>, index: &Index, name: &'a str, tail: String) -> Result<Self, String> {
        let mut constraint = None;
        if index.constraint && index.unique {
            let columns: Vec<String> = index.parts.iter().map(|part| part.expression.clone()).collect();
            // PostgreSQL writes it behind the columns of an index, and wants it before those of a constraint.
            let nulls = if tail.contains(") NULLS NOT DISTINCT") { " NULLS NOT DISTINCT" } else { "" };
            let mut words = format!("{nulls} ({})", identifiers(&laid.column_names(&columns)?));
            if !index.include.is_empty() {
                let include = identifiers(&laid.column_names(&index.include)?);
                words.push_str(&format!(" INCLUDE ({include})"));
            }
            words.push_str(storage::clause_of(&tail));
            constraint = Some(Constraint { what: UNIQUE, words });
        }
        Ok(Self { name, unique: index.unique, tail, constraint })
    }

    fn make(&self, laid: &Laid<'_>, leaves: &[(&TableName, &str)], behind: &mut Behind, out: &mut Out) {
        for (leaf, name) in leaves {
            out.builds(leaf, name, false);
            let sql = create(leaf, self.unique, name, &self.tail);
            let describes = format!("index {name} of {}", shown(leaf));
            out.say(Phase::AfterLoad, Kind::Index, Some(&laid.source.name), sql, describes);
            if let Some(constraint) = &self.constraint {
                behind.of_leaves.push(Later {
                    kind: Kind::Constraint,
                    sql: using_index(leaf, name, constraint.what, &constraint.found(leaf, name)),
                    describes: constraint.describes(leaf, name),
                });
            }
        }
        match &self.constraint {
            Some(constraint) => behind.constraints.push(Later {
                kind: Kind::Constraint,
                sql: constraint.add(&laid.name, self.name),
                describes: constraint.describes(&laid.name, self.name),
            }),
            None => {
                out.builds(&laid.name, self.name, false);
                behind.indexes.push(Later {
                    kind: Kind::PartitionedIndex,
                    sql: create(&laid.name, self.unique, self.name, &self.tail),
                    describes: format!("index {} of {}", self.name, shown(&laid.name)),
                });
            }
        }
    }
}

impl Constraint {
    /// What finds it. A table that was kept may have its primary key under another name.
    fn found(&self, table: &TableName, name: &str) -> String {
        if self.what == PRIMARY_KEY {
            format!("{} AND contype = 'p'", constraints_of(table))
        } else {
            constraint_named(table, name)
        }
    }

    fn add(&self, table: &TableName, name: &str) -> String {
        let words = format!(" {}{}", self.what, self.words);
        unless(&self.found(table, name), &add(table, name, &words))
    }

    fn describes(&self, table: &TableName, name: &str) -> String {
        if self.what == PRIMARY_KEY {
            format!("primary key of {}", shown(table))
        } else {
            format!("unique constraint {name} of {}", shown(table))
        }
    }
}

impl Behind {
    fn say(self, laid: &Laid<'_>, out: &mut Out) {
        for later in self.of_leaves.into_iter().chain(self.constraints).chain(self.indexes) {
            out.say(Phase::AfterLoad, later.kind, Some(&laid.source.name), later.sql, later.describes);
        }
    }
}

fn add(table: &TableName, name: &str, words: &str) -> String {
    format!("ALTER TABLE {} ADD CONSTRAINT {}{words}", qualified(table), identifier(name))
}
