//! Which name everything gets in the target.
//!
//! Goes in: a name of the source's, and what it must differ from. Comes out: a name that PostgreSQL keeps as it is (63
//! bytes at most, not reserved) and that nothing else there has; and a [`Collision`] wherever that is another name than
//! the source's. Always holds: the same requests in the same order get the same names; who comes first keeps its name.
//!
//! PostgreSQL's rules are narrower than MySQL's: tables, indexes, sequences and views of a schema share one set of
//! names, so that two tables cannot both have an index `by_date`.

use crate::migrate::quote::{MAX_NAME_BYTES, clipped, shown};
use crate::migrate::schema::TableName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Columns that every table of PostgreSQL's has already.
const SYSTEM_COLUMNS: [&str; 6] = ["cmax", "cmin", "ctid", "tableoid", "xmax", "xmin"];

/// What a name is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NameKind {
    /// A schema; with MySQL a database.
    Schema,
    /// A table.
    Table,
    /// A column.
    Column,
    /// An index, a primary key's too.
    Index,
    /// A sequence.
    Sequence,
    /// A view.
    View,
    /// A check or a foreign key.
    Constraint,
}

impl fmt::Display for NameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Schema => "schema",
            Self::Table => "table",
            Self::Column => "column",
            Self::Index => "index",
            Self::Sequence => "sequence",
            Self::View => "view",
            Self::Constraint => "constraint",
        })
    }
}

/// Why a name could not stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CollisionReason {
    /// It has more than 63 bytes; what PostgreSQL would cut off is cut off.
    TooLong,
    /// After cutting something else has it.
    Taken {
        /// What has it, for people.
        by: String,
    },
    /// PostgreSQL keeps it for itself.
    Reserved,
}

/// Something that is named otherwise in the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collision {
    /// What it is.
    pub kind: NameKind,
    /// The source's table (or view, or sequence) that it is or belongs to; `None`: a schema.
    pub table: Option<TableName>,
    /// The name in the source.
    pub name: String,
    /// The name in the target.
    pub renamed: String,
    /// Why.
    pub reason: CollisionReason,
}

impl fmt::Display for Collision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = described(self.kind, self.table.as_ref(), &self.name);
        write!(f, "{who} becomes {}: ", self.renamed)?;
        match &self.reason {
            CollisionReason::TooLong => write!(f, "a name has at most {MAX_NAME_BYTES} bytes"),
            CollisionReason::Taken { by } => write!(f, "the name is taken by {by}"),
            CollisionReason::Reserved => f.write_str("PostgreSQL keeps the name for itself"),
        }
    }
}

/// Names that must differ from each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Space {
    /// Tables, indexes, sequences and views of a schema of the target's.
    Relations(String),
    /// Columns of a table of the target's.
    Columns(TableName),
    /// Constraints of a table of the target's.
    Constraints(TableName),
}

/// A request for a name.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) kind: NameKind,
    /// What it must differ from.
    pub(super) space: Space,
    /// The source's table that it is or belongs to.
    pub(super) table: &'a TableName,
    /// The name in the source, or the one that PostgreSQL would give.
    pub(super) name: &'a str,
    /// What to try when the name is taken.
    pub(super) second: Option<String>,
}

/// All names that were given.
#[derive(Debug, Default)]
pub(super) struct Names {
    taken: BTreeMap<Space, BTreeMap<String, String>>,
    collisions: Vec<Collision>,
}

impl Names {
    /// The name for a schema. Several of the source's may become one.
    pub(super) fn schema(&mut self, name: &str) -> String {
        let short = clipped(name, MAX_NAME_BYTES);
        let (renamed, reason) = if is_reserved(NameKind::Schema, short) {
            // A suffix would not help: it is the beginning that is reserved.
            let renamed = format!("db_{short}");
            (clipped(&renamed, MAX_NAME_BYTES).to_owned(), CollisionReason::Reserved)
        } else if short.len() < name.len() {
            (short.to_owned(), CollisionReason::TooLong)
        } else {
            return name.to_owned();
        };
        self.collisions.push(Collision {
            kind: NameKind::Schema,
            table: None,
            name: name.to_owned(),
            renamed: renamed.clone(),
            reason,
        });
        renamed
    }

    /// Takes a name, or the nearest that is free.
    pub(super) fn take(&mut self, wanted: &Wanted<'_>) -> String {
        let short = clipped(wanted.name, MAX_NAME_BYTES);
        let who = described(wanted.kind, Some(wanted.table), wanted.name);
        let reason = if is_reserved(wanted.kind, short) {
            Some(CollisionReason::Reserved)
        } else if let Some(holder) = self.holder(&wanted.space, short) {
            Some(CollisionReason::Taken { by: holder.to_owned() })
        } else if short.len() < wanted.name.len() {
            Some(CollisionReason::TooLong)
        } else {
            None
        };
        let name = match &reason {
            None | Some(CollisionReason::TooLong) => short.to_owned(),
            Some(_) => self.free(wanted, short, &who),
        };
        self.hold(wanted.space.clone(), &name, &who);
        if let Some(reason) = reason {
            self.collisions.push(Collision {
                kind: wanted.kind,
                table: Some(wanted.table.clone()),
                name: wanted.name.to_owned(),
                renamed: name.clone(),
                reason,
            });
        }
        name
    }

    /// Keeps a name from being given there.
    pub(super) fn hold(&mut self, space: Space, name: &str, by: &str) {
        self.taken.entry(space).or_default().insert(name.to_owned(), by.to_owned());
    }

    /// A name of PostgreSQL's own making for what belongs to a table: with a number behind it where it is taken.
    /// Nothing is told of that, since nobody gave the name in the source.
    ///
    /// `made_of`: as [`object_name`] takes them.
    pub(super) fn made(&mut self, space: &Space, made_of: (&str, &str, &str), by: &str) -> String {
        let (table, column, label) = made_of;
        let mut name = object_name(table, column, label);
        let mut turn = 0_u32;
        while self.holder(space, &name).is_some() {
            turn += 1;
            name = object_name(table, column, &format!("{label}{turn}"));
        }
        self.hold(space.clone(), &name, by);
        name
    }

    /// What was renamed, in the order of the requests.
    pub(super) fn into_collisions(self) -> Vec<Collision> {
        self.collisions
    }

    fn holder(&self, space: &Space, name: &str) -> Option<&str> {
        self.taken.get(space)?.get(name).map(String::as_str)
    }

    fn free(&self, wanted: &Wanted<'_>, short: &str, who: &str) -> String {
        if let Some(second) = &wanted.second {
            let second = clipped(second, MAX_NAME_BYTES);
            if self.holder(&wanted.space, second).is_none() && !is_reserved(wanted.kind, second) {
                return second.to_owned();
            }
        }
        let mut name = suffixed(short, who);
        let mut turn = 0_u32;
        while self.holder(&wanted.space, &name).is_some() {
            turn += 1;
            name = suffixed(short, &format!("{who} {turn}"));
        }
        name
    }
}

/// The name that PostgreSQL would make of a table, perhaps a column, and what it is: `orders_id_seq`. Both are cut, the
/// longer one first, until it fits.
pub(super) fn object_name(table: &str, column: &str, label: &str) -> String {
    let joints = if column.is_empty() { 1 } else { 2 };
    let room = MAX_NAME_BYTES.saturating_sub(label.len() + joints);
    let (mut first, mut second) = (table.len(), column.len());
    while first + second > room {
        if first > second {
            first -= 1;
        } else {
            second -= 1;
        }
    }
    let table = clipped(table, first);
    if column.is_empty() {
        format!("{table}_{label}")
    } else {
        format!("{table}_{}_{label}", clipped(column, second))
    }
}

fn is_reserved(kind: NameKind, name: &str) -> bool {
    match kind {
        NameKind::Schema => name.starts_with("pg_") || name == "information_schema",
        NameKind::Column => SYSTEM_COLUMNS.contains(&name),
        _ => false,
    }
}

fn described(kind: NameKind, table: Option<&TableName>, name: &str) -> String {
    match table {
        Some(table) if matches!(kind, NameKind::Table | NameKind::View) => format!("{kind} {}", shown(table)),
        Some(table) => format!("{kind} {name} of {}", shown(table)),
        None => format!("{kind} {name}"),
    }
}

/// The name with eight digits after it that depend on `who` alone.
fn suffixed(name: &str, who: &str) -> String {
    // FNV-1a: any fixed hash would do, as long as it stays the same one.
    let digest =
        who.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let suffix = format!("_{digest:08x}");
    format!("{}{suffix}", clipped(name, MAX_NAME_BYTES - suffix.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str) -> TableName {
        TableName { schema: "shop".to_owned(), name: name.to_owned() }
    }

    fn relation(names: &mut Names, kind: NameKind, of: &str, name: &str, second: Option<&str>) -> String {
        names.take(&Wanted {
            kind,
            space: Space::Relations("shop".to_owned()),
            table: &table(of),
            name,
            second: second.map(str::to_owned),
        })
    }

    #[test]
    fn the_first_keeps_its_name_and_the_second_is_told() {
        let mut names = Names::default();
        assert_eq!(
            relation(&mut names, NameKind::Index, "customers", "by_date", Some("customers_by_date")),
            "by_date"
        );
        assert_eq!(
            relation(&mut names, NameKind::Index, "orders", "by_date", Some("orders_by_date")),
            "orders_by_date"
        );
        let collisions = names.into_collisions();
        assert_eq!(collisions.len(), 1);
        assert_eq!(
            collisions[0].to_string(),
            "index by_date of shop.orders becomes orders_by_date: the name is taken by index by_date of shop.customers"
        );
    }

    #[test]
    fn case_matters() {
        let mut names = Names::default();
        for name in ["Users", "users"] {
            assert_eq!(relation(&mut names, NameKind::Table, name, name, None), name);
        }
        assert!(names.into_collisions().is_empty());
    }

    #[test]
    fn long_names_are_cut_and_told_apart() {
        let long = "x".repeat(70);
        let other = format!("{}y", "x".repeat(69));
        let mut names = Names::default();
        assert_eq!(relation(&mut names, NameKind::Table, &long, &long, None), "x".repeat(63));
        let second = relation(&mut names, NameKind::Table, &other, &other, None);
        assert_eq!(second.len(), 63);
        assert!(second.starts_with(&"x".repeat(54)) && second.as_bytes()[54] == b'_');
        let reasons: Vec<CollisionReason> =
            names.into_collisions().into_iter().map(|collision| collision.reason).collect();
        let by = format!("table shop.{long}");
        assert_eq!(reasons, [CollisionReason::TooLong, CollisionReason::Taken { by }]);
    }

    #[test]
    fn reserved_names_are_changed() {
        let mut names = Names::default();
        let orders = table("orders");
        let wanted = Wanted {
            kind: NameKind::Column,
            space: Space::Columns(orders.clone()),
            table: &orders,
            name: "ctid",
            second: None,
        };
        assert!(names.take(&wanted).starts_with("ctid_"));
        assert_eq!(names.schema("pg_shop"), "db_pg_shop");
        assert_eq!(names.schema("shop"), "shop");
        assert_eq!(names.into_collisions().len(), 2);
    }

    #[test]
    fn made_names_are_numbered_and_not_told() {
        let mut names = Names::default();
        let space = Space::Relations("shop".to_owned());
        for name in ["orders_at_idx", "orders_at_idx1", "orders_at_idx2"] {
            assert_eq!(names.made(&space, ("orders", "at", "idx"), "an index"), name);
        }
        assert_eq!(
            relation(&mut names, NameKind::Table, "orders_at_idx", "orders_at_idx", None),
            suffixed("orders_at_idx", "table shop.orders_at_idx")
        );
        assert_eq!(names.into_collisions().len(), 1);
    }

    #[test]
    fn names_that_postgres_would_make() {
        assert_eq!(object_name("orders", "id", "seq"), "orders_id_seq");
        assert_eq!(object_name("orders", "", "pkey"), "orders_pkey");
        let long = object_name(&"t".repeat(63), &"c".repeat(10), "seq");
        assert_eq!(long, format!("{}_{}_seq", "t".repeat(48), "c".repeat(10)));
        assert_eq!(object_name(&"t".repeat(63), "", "pkey").len(), 63);
    }

    proptest::proptest! {
        #[test]
        fn names_fit_and_differ(
            wanted in proptest::collection::vec("[aAéx]{1,90}", 1..12),
        ) {
            let mut names = Names::default();
            let mut given: Vec<String> =
                wanted.iter().map(|name| relation(&mut names, NameKind::Table, name, name, None)).collect();
            proptest::prop_assert!(given.iter().all(|name| name.len() <= MAX_NAME_BYTES && !name.is_empty()));
            given.sort();
            given.dedup();
            proptest::prop_assert_eq!(given.len(), wanted.len());
        }

        #[test]
        fn made_names_fit(table in "[aé]{1,90}", column in "[bé]{0,90}") {
            let name = object_name(&table, &column, "check");
            proptest::prop_assert!(name.len() <= MAX_NAME_BYTES && name.ends_with("_check"));
        }
    }
}
