//! The search finds exactly what was planted, reads few rows, and ends with keys that no digest tells apart.

use super::*;
use proptest::prelude::*;

const RULES: Rules = Rules {
    leaf_rows: 4,
    batch_rows: 50,
    most_keys: 10_000,
    most_row_questions: 10_000,
    others_allowed: false,
};

/// A row: its key, the digest that it is grouped by, and its own digest.
type Planted = (String, u64, i128);

fn rows(of: impl IntoIterator<Item = u64>) -> Vec<Planted> {
    of.into_iter().map(|key| (key.to_string(), mixed(key), i128::from(mixed(key + 1_000_000)))).collect()
}

/// Any function that spreads.
fn mixed(value: u64) -> u64 {
    let value = (value ^ (value >> 31)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (value ^ (value >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 8
}

fn group(digest: u64, bits: u32) -> u64 {
    digest & ((1_u64 << bits) - 1)
}

fn is_within(digest: u64, within: &Within) -> bool {
    within.values.contains(&group(digest, within.bits))
}

fn sums(table: &[Planted], bits: u32, within: Option<&Within>) -> Vec<(u64, Sum)> {
    let mut groups: BTreeMap<u64, Sum> = BTreeMap::new();
    for (_, grouped_by, digest) in table {
        if within.is_none_or(|within| is_within(*grouped_by, within)) {
            let sum = groups.entry(group(*grouped_by, bits)).or_default();
            sum.rows += 1;
            sum.digest += digest;
        }
    }
    groups.into_iter().collect()
}

fn digests(table: &[Planted], of: &Within, limit: u64) -> Vec<RowDigest> {
    table
        .iter()
        .filter(|(_, grouped_by, _)| is_within(*grouped_by, of))
        .take(usize::try_from(limit).unwrap())
        .map(|(key, _, digest)| RowDigest { key: key.clone(), digest: *digest })
        .collect()
}

/// Runs it to its end; with how many questions.
fn run(expected: u64, rules: Rules, source: &[Planted], target: &[Planted]) -> (Findings, u64) {
    let mut grouping = Grouping::new(expected, rules);
    let mut asked = 0;
    loop {
        let questions = grouping.questions();
        if questions.is_empty() {
            return (grouping.into_findings(), asked);
        }
        for (ticket, question) in questions.into_iter().rev() {
            asked += 1;
            let answer = match &question {
                Question::Groups { bits, within } => Answer::Groups {
                    source: sums(source, *bits, within.as_ref()),
                    target: sums(target, *bits, within.as_ref()),
                },
                Question::Rows { of, limit } => {
                    Answer::Rows { source: digests(source, of, *limit), target: digests(target, of, *limit) }
                }
            };
            grouping.answer(ticket, answer).unwrap();
        }
    }
}

#[test]
fn bits_follow_the_rows() {
    assert_eq!(bits_for(0, 256), 0);
    assert_eq!(bits_for(128, 256), 0);
    assert_eq!(bits_for(129, 256), 1);
    assert_eq!(bits_for(1_000_000, 256), 12);
    assert_eq!(bits_for(u64::MAX, 1), 12);
}

#[test]
fn equal_tables_take_one_question() {
    let table = rows(0..5000);
    let (found, asked) = run(5000, RULES, &table, &table);
    assert_eq!((asked, found.source_rows, found.target_rows), (1, 5000, 5000));
    assert!(!found.differs);
    let (found, asked) = run(0, RULES, &[], &[]);
    assert_eq!((asked, found.source_rows, found.differs), (1, 0, false));
}

#[test]
fn a_wrong_estimate_costs_a_question_and_no_row() {
    let source = rows(0..5000);
    let target: Vec<Planted> = source.iter().filter(|row| row.0 != "77").cloned().collect();
    let (found, asked) = run(1, RULES, &source, &target);
    assert_eq!(found.missing.keys, [["77"]]);
    assert!(asked <= 4, "{asked}");
}

#[test]
fn an_empty_target_is_counted_and_a_few_keys_are_named() {
    let source = rows(0..5000);
    let (found, asked) = run(5000, Rules { most_keys: 3, ..RULES }, &source, &[]);
    assert_eq!((found.missing.rows, found.missing.keys.len(), asked), (5000, 3, 2));
    let allowed = Rules { others_allowed: true, ..RULES };
    let (found, asked) = run(5000, allowed, &[], &source);
    assert_eq!((found.extra.rows, found.extra.keys.len(), asked), (5000, 0, 1));
}

#[test]
fn rows_of_one_key_cannot_be_divided_and_are_told() {
    let source: Vec<Planted> = (0..100).map(|at| ("k".to_owned(), 7, at)).collect();
    let (found, asked) = run(1_000_000, RULES, &source, &source[..99]);
    assert!(found.differs && found.incomplete);
    assert!(asked <= 12, "{asked}");
}

#[test]
fn a_budget_bounds_the_questions_and_is_told() {
    let source = rows(0..500);
    let target: Vec<Planted> =
        source.iter().map(|(key, by, digest)| (key.clone(), *by, digest + 1)).collect();
    let rules = Rules { most_row_questions: 2, batch_rows: 1, ..RULES };
    let (found, _) = run(500, rules, &source, &target);
    assert!(found.incomplete && found.different.rows > 0 && found.different.rows < 500);
}

#[test]
fn answers_that_do_not_belong_are_refused() {
    let mut grouping = Grouping::new(1, RULES);
    let rows = || Answer::Rows { source: Vec::new(), target: Vec::new() };
    assert_eq!(grouping.answer(0, rows()), Err(Unexpected));
    let (ticket, _) = grouping.questions().remove(0);
    assert_eq!(grouping.answer(ticket, rows()), Err(Unexpected));
}

proptest! {
    #[test]
    fn exactly_what_was_planted_is_found(
        keys in prop::collection::btree_set(0_u64..3000, 0..300),
        lost in prop::collection::btree_set(0_u64..3000, 0..20),
        changed in prop::collection::btree_set(0_u64..3000, 0..20),
        gained in prop::collection::btree_set(3000_u64..4000, 0..20),
        expected in 0_u64..2000, batch_rows in 1_u64..200,
    ) {
        let source = rows(keys.iter().copied());
        let mut target: Vec<Planted> = Vec::new();
        let (mut missing, mut different) = (Vec::new(), Vec::new());
        for (key, row) in keys.iter().zip(&source) {
            if lost.contains(key) {
                missing.push(key.to_string());
            } else if changed.contains(key) {
                different.push(key.to_string());
                target.push((row.0.clone(), row.1, row.2 + (1_i128 << (64 + different.len()))));
            } else {
                target.push(row.clone());
            }
        }
        target.extend(rows(gained.iter().copied()));
        let (found, _) = run(expected, Rules { batch_rows, ..RULES }, &source, &target);
        let sorted = |mut keys: Vec<String>| {
            keys.sort();
            keys
        };
        let named = |keys: &[Vec<String>]| sorted(keys.iter().map(|key| key[0].clone()).collect());
        prop_assert_eq!(named(&found.missing.keys), sorted(missing));
        prop_assert_eq!(named(&found.different.keys), sorted(different));
        prop_assert_eq!(named(&found.extra.keys), sorted(gained.iter().map(u64::to_string).collect()));
        prop_assert_eq!(found.missing.rows as usize, found.missing.keys.len());
        prop_assert_eq!(found.extra.rows as usize, found.extra.keys.len());
        prop_assert!(!found.incomplete);
    }
}
