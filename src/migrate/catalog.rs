//! Reading what a source holds: its catalog in, a [`Schema`] out, and beside it what a schema has no words for.
//!
//! Always holds: the number of queries does not grow with the number of tables (only the values of PostgreSQL's
//! sequences are read some hundreds to a query); nothing is changed on the source; what is there and is not moved is
//! named in a [`Remark`]; the same database gives the same catalog.
//!
//! A table's rows may lie in several relations. A partitioned table of PostgreSQL is *one* table here: the definition
//! is the partitioned table's own (columns, keys, indexes, checks), its leaf partitions are what rows are read from
//! ([`Catalog::relations`]), and how it is partitioned is told apart ([`Partitioned`]), for a target that can do the
//! same. Without that the target gets one plain table with all the rows. Tables that inherit in the old way are tables
//! of their own, each with its own rows and with all its columns: a parent is read with `FROM ONLY`.
//!
//! It chooses nothing: which tables are moved is `selection`'s, how they are cut is `ranges`'.

pub mod mysql;
pub mod postgres;

use crate::migrate::schema::{Schema, Table, TableName};
use std::collections::{BTreeMap, BTreeSet};

/// What a source holds.
#[derive(Debug, Clone, Default, PartialEq)]
#[must_use]
pub struct Catalog {
    /// What is moved.
    pub schema: Schema,
    /// For each table of `schema` the relations that hold its rows, by name; every table has an entry. A partitioned
    /// table without partitions has an empty one.
    pub relations: BTreeMap<TableName, Vec<Relation>>,
    /// How the partitioned tables among them are partitioned, by name.
    pub partitioned: Vec<Partitioned>,
    /// How tables and partitions are stored, where that is not as usual, by name.
    pub storage: BTreeMap<TableName, Storage>,
    /// Types that users made, each after those that it needs (in the order of their creation).
    pub types: Vec<UserType>,
    /// What was said of all else; tables, columns, partitions and views have their comments with them.
    pub comments: Vec<Comment>,
    /// What is there and cannot be moved, or becomes something else.
    pub remarks: Vec<Remark>,
}

/// What rows are read from: `SELECT <columns by name> FROM ONLY <name>` on PostgreSQL, without `ONLY` on MySQL.
///
/// A partition may have its columns in another order than its table: they are always named.
#[derive(Debug, Clone, PartialEq)]
pub struct Relation {
    /// The table's own name, or a leaf partition's.
    pub name: TableName,
    /// Blocks when the catalog was read, where rows can be read by ranges of blocks (a heap, PostgreSQL 14 or later).
    pub blocks: Option<u32>,
    /// Rows, as the source's statistics have it; `None`: never counted.
    pub estimated_rows: Option<u64>,
    /// Bytes of its rows, indexes aside.
    pub bytes: Option<u64>,
}

/// How a table of PostgreSQL is partitioned.
#[derive(Debug, Clone, PartialEq)]
pub struct Partitioned {
    /// The partitioned table, which is a table of the schema.
    pub table: TableName,
    /// `RANGE (created_at)`, as PostgreSQL writes it after `PARTITION BY`.
    pub key: String,
    /// Its partitions, and theirs; each after its parent.
    pub partitions: Vec<Partition>,
}

/// One partition.
#[derive(Debug, Clone, PartialEq)]
pub struct Partition {
    /// Its name.
    pub name: TableName,
    /// Whose partition it is.
    pub parent: TableName,
    /// `FOR VALUES FROM … TO …` or `DEFAULT`.
    pub bound: String,
    /// How it is partitioned itself; `None`: a leaf, with rows.
    pub key: Option<String>,
    /// What was said of it.
    pub comment: Option<String>,
}

/// How a table or a partition is stored, as far as somebody said so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Storage {
    /// Its storage parameters as PostgreSQL keeps them: `fillfactor=70`. Those of what is too large for its rows begin
    /// with `toast.`.
    pub parameters: Vec<String>,
    /// Those of its primary key's index.
    pub key_parameters: Vec<String>,
    /// When its primary key is checked: `DEFERRABLE`, `DEFERRABLE INITIALLY DEFERRED`; `None`: at once.
    pub key_deferrable: Option<String>,
    /// What a changed row is known by to who replicates it: `FULL`, `NOTHING`; `None`: its primary key, or an index.
    pub replica_identity: Option<String>,
}

/// A type that a user made, which columns may have.
#[derive(Debug, Clone, PartialEq)]
pub struct UserType {
    /// As `Column::source_type` has it: schema-qualified, quoted where it must be.
    pub name: String,
    /// `enum`, `domain`, `composite` or `range`.
    pub kind: String,
    /// The statement that makes it; `None`: there is no simple one.
    pub definition: Option<String>,
}

/// What was said of something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Comment {
    /// Of what.
    pub of: Commented,
    /// What was said; never empty.
    pub text: String,
}

/// What was said something of, by its names in the source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Commented {
    /// A schema.
    Schema(String),
    /// A type, by its name as [`UserType`] has it.
    Type(String),
    /// An attribute of a composite type.
    Attribute {
        /// The type, by its name as [`UserType`] has it.
        of: String,
        /// Its own name.
        name: String,
    },
    /// A check of a domain.
    DomainCheck {
        /// The domain, by its name as [`UserType`] has it.
        of: String,
        /// Its own name.
        name: String,
    },
    /// An index; also one that a constraint stands on, which may have another comment than the constraint.
    Index {
        /// Its table or materialised view.
        of: TableName,
        /// Its own name.
        name: String,
    },
    /// A primary key, a unique constraint, an exclusion, a check or a foreign key.
    Constraint {
        /// Its table.
        of: TableName,
        /// Its own name.
        name: String,
    },
    /// A sequence of its own.
    Sequence(TableName),
    /// The sequence that comes with a column.
    ColumnSequence {
        /// The column's table.
        of: TableName,
        /// The column.
        column: String,
    },
    /// A column of a view or a materialised view.
    ViewColumn {
        /// The view.
        of: TableName,
        /// Its own name.
        name: String,
    },
}

/// Something that is there and is not moved, or not as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remark {
    /// What it is about: a table, a column, an index, or a kind of thing.
    pub subject: String,
    /// What becomes of it, as the rest of the sentence.
    pub text: String,
}

/// Tables and remarks while a catalog is put together; `K` is how rows say which table they belong to.
#[derive(Debug)]
struct Draft<K> {
    tables: Vec<Table>,
    at: BTreeMap<K, usize>,
    remarks: Vec<Remark>,
}

impl<K: Ord> Draft<K> {
    /// Tables by name, without anything in them.
    fn of(mut named: Vec<(K, TableName, Option<String>)>) -> Self {
        named.sort_by(|a, b| a.1.cmp(&b.1));
        let mut draft =
            Self { tables: Vec::with_capacity(named.len()), at: BTreeMap::new(), remarks: Vec::new() };
        for (key, name, comment) in named {
            draft.at.insert(key, draft.tables.len());
            draft.tables.push(Table {
                name,
                columns: Vec::new(),
                primary_key: Vec::new(),
                primary_key_name: None,
                indexes: Vec::new(),
                checks: Vec::new(),
                foreign_keys: Vec::new(),
                comment,
                estimated_rows: None,
                bytes: None,
            });
        }
        draft
    }

    /// The table of that key, if it is among those that are moved.
    fn table(&mut self, key: &K) -> Option<&mut Table> {
        let at = *self.at.get(key)?;
        self.tables.get_mut(at)
    }

    fn remark(&mut self, subject: impl Into<String>, text: impl Into<String>) {
        self.remarks.push(Remark { subject: subject.into(), text: text.into() });
    }

    /// The order that a [`Schema`] promises. Columns are in order already.
    fn sort(&mut self) {
        for table in &mut self.tables {
            table.indexes.sort_by(|a, b| a.name.cmp(&b.name));
            table.checks.sort_by(|a, b| a.name.cmp(&b.name));
            table.foreign_keys.sort_by(|a, b| a.name.cmp(&b.name));
        }
        self.remarks.sort();
    }
}

/// Orders `names` so that each comes after those of them that it reads. The second list: what reads itself in a circle,
/// and what reads that.
fn in_reading_order(
    names: &BTreeSet<TableName>,
    reads: &BTreeMap<TableName, BTreeSet<TableName>>,
) -> (Vec<TableName>, Vec<TableName>) {
    let mut waits: BTreeMap<&TableName, usize> = BTreeMap::new();
    let mut readers: BTreeMap<&TableName, Vec<&TableName>> = BTreeMap::new();
    for name in names {
        let mut count = 0;
        for read in reads.get(name).into_iter().flatten() {
            if read != name && names.contains(read) {
                readers.entry(read).or_default().push(name);
                count += 1;
            }
        }
        waits.insert(name, count);
    }
    let mut ready: BTreeSet<&TableName> =
        waits.iter().filter(|(_, count)| **count == 0).map(|(name, _)| *name).collect();
    let mut ordered = Vec::with_capacity(names.len());
    while let Some(name) = ready.pop_first() {
        waits.remove(name);
        for reader in readers.remove(name).unwrap_or_default() {
            if let Some(count) = waits.get_mut(reader) {
                *count -= 1;
                if *count == 0 {
                    ready.insert(reader);
                }
            }
        }
        ordered.push(name.clone());
    }
    (ordered, waits.into_keys().cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(of: &str) -> TableName {
        TableName { schema: "public".to_owned(), name: of.to_owned() }
    }

    fn ordered(names: &[&str], reads: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        let names: BTreeSet<TableName> = names.iter().map(|of| name(of)).collect();
        let mut edges: BTreeMap<TableName, BTreeSet<TableName>> = BTreeMap::new();
        for (reader, read) in reads {
            edges.entry(name(reader)).or_default().insert(name(read));
        }
        let (ordered, circular) = in_reading_order(&names, &edges);
        let plain = |names: Vec<TableName>| names.into_iter().map(|name| name.name).collect();
        (plain(ordered), plain(circular))
    }

    #[test]
    fn a_view_comes_after_what_it_reads() {
        let (found, circular) = ordered(&["a", "b", "c", "d"], &[("a", "d"), ("d", "b"), ("a", "no view")]);
        assert_eq!(found, ["b", "c", "d", "a"]);
        assert!(circular.is_empty());
    }

    #[test]
    fn a_circle_is_told_and_not_waited_for() {
        let (found, circular) =
            ordered(&["a", "b", "c", "d"], &[("a", "b"), ("b", "a"), ("c", "a"), ("d", "d")]);
        assert_eq!(found, ["d"]);
        assert_eq!(circular, ["a", "b", "c"]);
    }
}
