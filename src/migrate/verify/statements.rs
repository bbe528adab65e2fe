//! The questions in SQL, for either side.
//!
//! In: what a table's side is called and how its rows and keys are written. Out: one SELECT a question. Always holds:
//! the same question to both sides is about the same rows, each under its own names; what comes out is in the order
//! that the readers here expect (a count before a checksum, a key before its row's digest). It asks nothing.

use super::findings::{RowDigest, Sum};
use super::groups::Within;
use super::sides::{Answers, Row};
use crate::migrate::quote::identifier_of;
use crate::migrate::ranges::Extent;
use crate::migrate::types::Engine;

/// The partitioned tables of a PostgreSQL: their rows are read without `ONLY`.
pub(super) const PARTITIONED: &str = "\
SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
WHERE c.relkind = 'p'";

/// A table on one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TableSide {
    /// Whose words.
    pub(super) engine: Engine,
    /// `FROM … AS t`.
    pub(super) from: String,
    /// A row's digest.
    pub(super) row: String,
    /// What rows are grouped by: the digest of the key, or of the row.
    pub(super) group: String,
    /// The key as one text; without a key the row's digest.
    pub(super) key: String,
    /// The key's columns here, unquoted.
    pub(super) key_names: Vec<String>,
    /// The texts of their values.
    pub(super) key_values: Vec<String>,
}

impl TableSide {
    /// How many rows.
    pub(super) fn count(&self) -> String {
        format!("SELECT COUNT(*) {}", self.from)
    }

    /// Count and checksum of a range.
    pub(super) fn sums(&self, extent: &Extent) -> String {
        format!(
            "SELECT COUNT(*), COALESCE(SUM({}), 0) {}{}",
            self.row,
            self.from,
            clause(self.condition(extent))
        )
    }

    /// Keys and digests of a range's rows, `limit` of them at most.
    pub(super) fn rows(&self, extent: &Extent, limit: u64) -> String {
        format!("{}{} LIMIT {limit}", self.select_rows(), clause(self.condition(extent)))
    }

    /// The key of the row with that number in a range, from 0 and in the key's order.
    pub(super) fn boundary(&self, extent: &Extent, offset: u64) -> String {
        // With the table before it: else a name means what is selected under it, and texts have another order.
        let order: Vec<String> =
            self.key_names.iter().map(|key| format!("t.{}", identifier_of(self.engine, key))).collect();
        format!(
            "SELECT {} {}{} ORDER BY {} LIMIT 1 OFFSET {offset}",
            self.key_values.join(", "),
            self.from,
            clause(self.condition(extent)),
            order.join(", ")
        )
    }

    /// The least and the greatest key; only of a key that is one integer.
    pub(super) fn bounds(&self) -> String {
        let key = self.key_names.first().map(|key| identifier_of(self.engine, key)).unwrap_or_default();
        match self.engine {
            Engine::Postgres => format!("SELECT MIN({key})::text, MAX({key})::text {}", self.from),
            Engine::MySql => {
                format!("SELECT CAST(MIN({key}) AS CHAR), CAST(MAX({key}) AS CHAR) {}", self.from)
            }
        }
    }

    /// Count and checksum of each group of `2^bits`, all of them or those within some larger ones.
    pub(super) fn groups(&self, bits: u32, within: Option<&Within>) -> String {
        format!(
            "SELECT {}, COUNT(*), COALESCE(SUM({}), 0) {}{} GROUP BY 1",
            self.group_of(bits),
            self.row,
            self.from,
            clause(within.map(|within| self.is_within(within)))
        )
    }

    /// Keys and digests of the rows of some groups, `limit` of them at most.
    pub(super) fn group_rows(&self, within: &Within, limit: u64) -> String {
        format!("{}{} LIMIT {limit}", self.select_rows(), clause(Some(self.is_within(within))))
    }

    fn select_rows(&self) -> String {
        format!("SELECT {}, {} {}", self.key, self.row, self.from)
    }

    fn group_of(&self, bits: u32) -> String {
        let mask = (1_u64 << bits.min(63)) - 1;
        format!("({} & {mask})", self.group)
    }

    fn is_within(&self, within: &Within) -> String {
        let values: Vec<String> = within.values.iter().map(u64::to_string).collect();
        format!("{} IN ({})", self.group_of(within.bits), values.join(", "))
    }

    fn condition(&self, extent: &Extent) -> Option<String> {
        self.own(extent).condition(self.engine)
    }

    /// The extent under this side's names.
    fn own(&self, extent: &Extent) -> Extent {
        match extent {
            Extent::Integer { column, from, below } => Extent::Integer {
                column: self.key_names.first().unwrap_or(column).clone(),
                from: *from,
                below: *below,
            },
            Extent::Keyset { after, up_to, .. } => {
                Extent::Keyset { columns: self.key_names.clone(), after: after.clone(), up_to: up_to.clone() }
            }
            other => other.clone(),
        }
    }
}

fn clause(condition: Option<String>) -> String {
    condition.map(|condition| format!(" WHERE {condition}")).unwrap_or_default()
}

fn text(row: &[Option<String>], at: usize) -> Option<&str> {
    row.get(at)?.as_deref()
}

/// What [`TableSide::count`] was answered; `None`: something else came.
pub(super) fn count_of(rows: &[Row]) -> Option<u64> {
    text(rows.first()?, 0)?.parse().ok()
}

/// What [`TableSide::sums`] was answered.
pub(super) fn sum_of(rows: &[Row]) -> Option<Sum> {
    sum_at(rows.first()?, 0)
}

fn sum_at(row: &[Option<String>], at: usize) -> Option<Sum> {
    Some(Sum { rows: text(row, at)?.parse().ok()?, digest: text(row, at + 1)?.parse().ok()? })
}

/// What [`TableSide::groups`] was answered.
pub(super) fn groups_of(rows: &[Row]) -> Option<Vec<(u64, Sum)>> {
    rows.iter().map(|row| Some((text(row, 0)?.parse().ok()?, sum_at(row, 1)?))).collect()
}

/// What [`TableSide::rows`] and [`TableSide::group_rows`] were answered.
pub(super) fn digests_of(rows: Answers) -> Option<Vec<RowDigest>> {
    rows.into_iter()
        .map(|row| {
            let digest = text(&row, 1)?.parse().ok()?;
            let key = row.into_iter().next()??;
            Some(RowDigest { key, digest })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::ranges::KeyValue;

    fn side(engine: Engine) -> TableSide {
        TableSide {
            engine,
            from: "FROM x AS t".to_owned(),
            row: "r".to_owned(),
            group: "g".to_owned(),
            key: "k".to_owned(),
            key_names: vec!["a".to_owned(), "b".to_owned()],
            key_values: vec!["va".to_owned(), "vb".to_owned()],
        }
    }

    fn keyset(columns: &[&str]) -> Extent {
        Extent::Keyset {
            columns: columns.iter().map(|name| (*name).to_owned()).collect(),
            after: Some(vec![KeyValue::Integer(1), KeyValue::Text("x".to_owned())]),
            up_to: None,
        }
    }

    #[test]
    fn ranges_are_asked_under_the_sides_own_names() {
        let pg = side(Engine::Postgres);
        assert_eq!(
            pg.sums(&keyset(&["A", "B"])),
            "SELECT COUNT(*), COALESCE(SUM(r), 0) FROM x AS t WHERE (\"a\", \"b\") > ('1'::bigint, 'x')"
        );
        let mysql = side(Engine::MySql);
        assert_eq!(
            mysql.rows(&keyset(&["A", "B"]), 9),
            "SELECT k, r FROM x AS t WHERE `a` >= 1 AND (`a` > 1 OR (`a` = 1 AND `b` > 'x')) LIMIT 9"
        );
        let all = Extent::Integer { column: "A".to_owned(), from: None, below: Some(5) };
        assert_eq!(mysql.sums(&all), "SELECT COUNT(*), COALESCE(SUM(r), 0) FROM x AS t WHERE `a` < 5");
        assert_eq!(pg.sums(&Extent::Whole), "SELECT COUNT(*), COALESCE(SUM(r), 0) FROM x AS t");
        assert_eq!(pg.count(), "SELECT COUNT(*) FROM x AS t");
    }

    #[test]
    fn a_boundary_is_in_the_columns_order() {
        let open = Extent::Keyset { columns: Vec::new(), after: None, up_to: None };
        assert_eq!(
            side(Engine::Postgres).boundary(&open, 127),
            "SELECT va, vb FROM x AS t ORDER BY t.\"a\", t.\"b\" LIMIT 1 OFFSET 127"
        );
        assert_eq!(
            side(Engine::MySql).boundary(&open, 0),
            "SELECT va, vb FROM x AS t ORDER BY t.`a`, t.`b` LIMIT 1 OFFSET 0"
        );
        assert_eq!(
            side(Engine::MySql).bounds(),
            "SELECT CAST(MIN(`a`) AS CHAR), CAST(MAX(`a`) AS CHAR) FROM x AS t"
        );
    }

    #[test]
    fn groups_in_both_dialects() {
        let within = Within { bits: 12, values: vec![0, 4095] };
        assert_eq!(
            side(Engine::Postgres).groups(24, Some(&within)),
            "SELECT (g & 16777215), COUNT(*), COALESCE(SUM(r), 0) FROM x AS t WHERE (g & 4095) IN (0, 4095) GROUP BY 1"
        );
        assert_eq!(
            side(Engine::MySql).groups(0, None),
            "SELECT (g & 0), COUNT(*), COALESCE(SUM(r), 0) FROM x AS t GROUP BY 1"
        );
        assert_eq!(
            side(Engine::Postgres).group_rows(&within, 7),
            "SELECT k, r FROM x AS t WHERE (g & 4095) IN (0, 4095) LIMIT 7"
        );
    }

    #[test]
    fn answers_are_read_or_refused() {
        let row = |values: &[&str]| -> Row { values.iter().map(|value| Some((*value).to_owned())).collect() };
        let large = Sum { rows: 3, digest: -170_141_183_460_469_231_731 };
        assert_eq!(sum_of(&[row(&["3", "-170141183460469231731"])]), Some(large));
        assert_eq!(sum_of(&[row(&["3", "1.5e10"])]), None);
        assert_eq!(sum_of(&[vec![Some("3".to_owned()), None]]), None);
        assert_eq!(sum_of(&[]), None);
        assert_eq!(count_of(&[row(&["12"])]), Some(12));
        assert_eq!(groups_of(&[row(&["7", "1", "2"])]), Some(vec![(7, Sum { rows: 1, digest: 2 })]));
        let found = digests_of(vec![row(&["a|b", "9"])]).unwrap();
        assert_eq!(found, [RowDigest { key: "a|b".to_owned(), digest: 9 }]);
        assert_eq!(digests_of(vec![vec![None, Some("9".to_owned())]]), None);
    }
}
