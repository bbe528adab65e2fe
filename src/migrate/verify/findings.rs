//! What was found in one table so far. Pure.
//!
//! In: counts, checksums, and the rows of small ranges from both sides. Out: how many rows are missing, extra and
//! different, and the keys of some of them. Always holds: a row of the source and a row of the target with the same key
//! and another digest are one difference, not two; rows that occur several times are counted as often; no more keys
//! are kept than are named in the end.

use super::canonical::values_of;
use super::report::Tally;
use super::sides::Side;
use std::collections::BTreeMap;

/// Count and checksum of some rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) rows: u64,
    /// The sum of their digests: whatever their order.
    pub(super) digest: i128,
}

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RowDigest {
    /// Its key as one text; without a key its digest.
    pub(super) key: String,
    pub(super) digest: i128,
}

/// How both ways of narrowing down go about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    /// A range with so many rows on each side is not divided further: its rows are compared.
    pub(super) leaf_rows: u64,
    /// Rows that are asked for at once, of several groups together.
    pub(super) batch_rows: u64,
    /// Keys that are named of each kind; 0 where there is no key.
    pub(super) most_keys: usize,
    /// After so many questions for rows the rest is left, and told to be incomplete.
    pub(super) most_row_questions: u64,
    /// Extra rows are no difference.
    pub(super) others_allowed: bool,
}

/// An answer that does not belong to its question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("comparing rows: an answer does not belong to its question")]
pub(super) struct Unexpected;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Findings {
    pub(super) source_rows: u64,
    pub(super) target_rows: u64,
    /// Some counts or checksums are not the same.
    pub(super) differs: bool,
    /// Something was not looked at to its end: there may be more than was counted.
    pub(super) incomplete: bool,
    pub(super) missing: Tally,
    pub(super) extra: Tally,
    pub(super) different: Tally,
}

impl Findings {
    /// Rows of the whole table.
    pub(super) fn count(&mut self, source: Sum, target: Sum) {
        self.source_rows = self.source_rows.saturating_add(source.rows);
        self.target_rows = self.target_rows.saturating_add(target.rows);
    }

    /// Rows that only one side has, without their keys. Returns how many of those are still wanted.
    pub(super) fn only_on(&mut self, side: Side, rows: u64, rules: &Rules) -> u64 {
        let tally = self.tally(side);
        tally.rows = tally.rows.saturating_add(rows);
        let wanted = rules.most_keys.saturating_sub(tally.keys.len()) as u64;
        if side == Side::Target && rules.others_allowed { 0 } else { wanted.min(rows) }
    }

    /// Keys of rows that were counted already.
    pub(super) fn name(&mut self, side: Side, rows: &[RowDigest], rules: &Rules) {
        let tally = self.tally(side);
        for row in rows {
            push(tally, &row.key, rules.most_keys);
        }
    }

    /// Compares the rows of a range, all of them on both sides.
    pub(super) fn compare(&mut self, source: &[RowDigest], target: &[RowDigest], rules: &Rules) {
        let mut both: BTreeMap<&str, (Vec<i128>, Vec<i128>)> = BTreeMap::new();
        for row in source {
            both.entry(row.key.as_str()).or_default().0.push(row.digest);
        }
        for row in target {
            both.entry(row.key.as_str()).or_default().1.push(row.digest);
        }
        for (key, (mut source, mut target)) in both {
            source.sort_unstable();
            target.sort_unstable();
            let (lost, gained) = without_common(&source, &target);
            let changed = lost.min(gained);
            add(&mut self.different, changed, key, rules.most_keys);
            add(&mut self.missing, lost - changed, key, rules.most_keys);
            let most_keys = if rules.others_allowed { 0 } else { rules.most_keys };
            add(&mut self.extra, gained - changed, key, most_keys);
        }
    }

    fn tally(&mut self, side: Side) -> &mut Tally {
        match side {
            Side::Source => &mut self.missing,
            Side::Target => &mut self.extra,
        }
    }
}

fn add(tally: &mut Tally, rows: u64, key: &str, most_keys: usize) {
    if rows > 0 {
        tally.rows = tally.rows.saturating_add(rows);
        push(tally, key, most_keys);
    }
}

fn push(tally: &mut Tally, key: &str, most_keys: usize) {
    if tally.keys.len() < most_keys {
        tally.keys.push(values_of(key));
    }
}

/// How many of each are left where what both have is taken away. Both are in order.
fn without_common(a: &[i128], b: &[i128]) -> (u64, u64) {
    let (mut at_a, mut at_b, mut common) = (0, 0, 0);
    while let (Some(x), Some(y)) = (a.get(at_a), b.get(at_b)) {
        if x == y {
            common += 1;
        }
        if x <= y {
            at_a += 1;
        }
        if y <= x {
            at_b += 1;
        }
    }
    ((a.len() - common) as u64, (b.len() - common) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        leaf_rows: 10,
        batch_rows: 100,
        most_keys: 2,
        most_row_questions: 100,
        others_allowed: false,
    };

    fn rows(of: &[(&str, i128)]) -> Vec<RowDigest> {
        of.iter().map(|(key, digest)| RowDigest { key: (*key).to_owned(), digest: *digest }).collect()
    }

    #[test]
    fn a_changed_row_is_one_difference() {
        let mut found = Findings::default();
        found.compare(&rows(&[("1", 5), ("2", 6), ("3", 7)]), &rows(&[("3", 7), ("2", 9), ("4", 1)]), &RULES);
        assert_eq!((found.missing.rows, found.extra.rows, found.different.rows), (1, 1, 1));
        assert_eq!(found.missing.keys, [["1"]]);
        assert_eq!(found.extra.keys, [["4"]]);
        assert_eq!(found.different.keys, [["2"]]);
    }

    #[test]
    fn rows_without_a_key_are_counted_as_often_as_they_occur() {
        let mut found = Findings::default();
        let keyless = |of: &[i128]| -> Vec<RowDigest> {
            of.iter().map(|digest| RowDigest { key: digest.to_string(), digest: *digest }).collect()
        };
        let rules = Rules { most_keys: 0, ..RULES };
        found.compare(&keyless(&[1, 1, 1, 2]), &keyless(&[1, 3]), &rules);
        assert_eq!((found.missing.rows, found.extra.rows, found.different.rows), (3, 1, 0));
        assert!(found.missing.keys.is_empty());
    }

    #[test]
    fn extra_rows_are_counted_and_not_named_where_they_may_be_there() {
        let mut found = Findings::default();
        let rules = Rules { others_allowed: true, ..RULES };
        found.compare(&rows(&[("1", 5)]), &rows(&[("1", 5), ("2", 5)]), &rules);
        assert_eq!((found.missing.rows, found.extra.rows), (0, 1));
        assert!(found.extra.keys.is_empty());
        assert_eq!(found.only_on(Side::Target, 7, &rules), 0);
        assert_eq!(found.extra.rows, 8);
    }

    #[test]
    fn no_more_keys_are_kept_than_are_named() {
        let mut found = Findings::default();
        assert_eq!(found.only_on(Side::Source, 5, &RULES), 2);
        found.name(Side::Source, &rows(&[("1|a", 0), ("2|b", 0), ("3|c", 0)]), &RULES);
        assert_eq!(found.missing.keys, [["1", "a"], ["2", "b"]]);
        assert_eq!(found.only_on(Side::Source, 1, &RULES), 0);
        assert_eq!(found.missing.rows, 6);
    }

    proptest::proptest! {
        #[test]
        fn what_is_common_is_taken_away_once(
            mut a in proptest::collection::vec(0_i128..5, 0..20), mut b in proptest::collection::vec(0_i128..5, 0..20),
        ) {
            a.sort_unstable();
            b.sort_unstable();
            let mut left_of_b = b.clone();
            let mut lost = 0;
            for value in &a {
                match left_of_b.iter().position(|other| other == value) {
                    Some(at) => drop(left_of_b.remove(at)),
                    None => lost += 1,
                }
            }
            proptest::prop_assert_eq!(without_common(&a, &b), (lost, left_of_b.len() as u64));
        }
    }
}
