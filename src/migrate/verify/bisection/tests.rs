//! The search finds exactly what was planted, in few questions, and ends whatever it is told.

use super::*;
use crate::migrate::verify::report::Tally;
use proptest::prelude::*;

const RULES: Rules = Rules {
    leaf_rows: 4,
    batch_rows: 100,
    most_keys: 10_000,
    most_row_questions: 10_000,
    others_allowed: false,
};

/// Key and digest; in order of the key, which may occur several times.
type Pair = (i128, i128);

fn sorted(rows: &BTreeMap<i128, i128>) -> Vec<Pair> {
    rows.iter().map(|(key, digest)| (*key, *digest)).collect()
}

/// A key of two columns, for a keyset: order is the same.
fn pair(key: i128) -> Vec<KeyValue> {
    vec![KeyValue::Integer(key.div_euclid(10)), KeyValue::Integer(key.rem_euclid(10))]
}

fn unpaired(key: &[KeyValue]) -> i128 {
    match key {
        [KeyValue::Integer(high), KeyValue::Integer(low)] => high * 10 + low,
        other => panic!("{other:?}"),
    }
}

fn is_in(key: i128, extent: &Extent) -> bool {
    match extent {
        Extent::Integer { from, below, .. } => {
            from.is_none_or(|from| key >= from) && below.is_none_or(|below| key < below)
        }
        Extent::Keyset { after, up_to, .. } => {
            after.as_ref().is_none_or(|after| key > unpaired(after))
                && up_to.as_ref().is_none_or(|up_to| key <= unpaired(up_to))
        }
        other => panic!("{other:?}"),
    }
}

fn within<'a>(table: &'a [Pair], extent: &'a Extent) -> impl Iterator<Item = Pair> + 'a {
    table.iter().copied().filter(move |(key, _)| is_in(*key, extent))
}

fn sum(table: &[Pair], extent: &Extent) -> Sum {
    let mut sum = Sum::default();
    for (_, digest) in within(table, extent) {
        sum.rows += 1;
        sum.digest += digest;
    }
    sum
}

fn rows(table: &[Pair], extent: &Extent, limit: u64) -> Vec<RowDigest> {
    within(table, extent)
        .take(usize::try_from(limit).unwrap())
        .map(|(key, digest)| RowDigest { key: key.to_string(), digest })
        .collect()
}

fn answered(question: &Question, source: &[Pair], target: &[Pair]) -> Answer {
    match question {
        Question::Compare(extent) => {
            Answer::Compared { source: sum(source, extent), target: sum(target, extent) }
        }
        Question::Split { extent, side, offset } => {
            let table = if *side == Side::Source { source } else { target };
            let found = within(table, extent).nth(usize::try_from(*offset).unwrap());
            let integer = matches!(extent, Extent::Integer { .. });
            Answer::Boundary(found.map(
                |(key, _)| {
                    if integer { vec![KeyValue::Integer(key)] } else { pair(key) }
                },
            ))
        }
        Question::Rows { extent, limit } => {
            Answer::Rows { source: rows(source, extent, *limit), target: rows(target, extent, *limit) }
        }
    }
}

/// Runs it to its end; with how many questions.
fn run(pieces: Vec<Extent>, rules: Rules, source: &[Pair], target: &[Pair]) -> (Findings, u64) {
    let mut bisection = Bisection::new(pieces, rules);
    let mut asked = 0;
    loop {
        let questions = bisection.questions();
        if questions.is_empty() {
            return (bisection.into_findings(), asked);
        }
        // In any order: here the last first.
        for (ticket, question) in questions.into_iter().rev() {
            asked += 1;
            bisection.answer(ticket, answered(&question, source, target)).unwrap();
        }
    }
}

fn integers() -> Extent {
    Extent::Integer { column: "id".to_owned(), from: None, below: None }
}

fn keys(tally: &Tally) -> Vec<i128> {
    let mut keys: Vec<i128> = tally.keys.iter().map(|key| key[0].parse().unwrap()).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn equal_tables_take_one_question_a_piece() {
    let table: Vec<Pair> = (0..1000).map(|key| (key, key * 7)).collect();
    let pieces = vec![
        Extent::Integer { column: "id".to_owned(), from: None, below: Some(500) },
        Extent::Integer { column: "id".to_owned(), from: Some(500), below: None },
    ];
    let (found, asked) = run(pieces, RULES, &table, &table);
    assert_eq!((asked, found.source_rows, found.target_rows), (2, 1000, 1000));
    assert!(!found.differs && !found.incomplete);
}

#[test]
fn a_hole_is_counted_without_reading_it() {
    let source: Vec<Pair> = (0..100_000).map(|key| (key, key)).collect();
    let target: Vec<Pair> =
        source.iter().copied().filter(|(key, _)| !(20_000..60_000).contains(key)).collect();
    let rules = Rules { most_keys: 3, ..RULES };
    let (found, asked) = run(vec![integers()], rules, &source, &target);
    assert_eq!((found.missing.rows, found.extra.rows, found.different.rows), (40_000, 0, 0));
    assert_eq!(found.missing.keys.len(), 3);
    assert!(asked < 200, "{asked}");
    // A target without any row takes two.
    let (found, asked) = run(vec![integers()], rules, &source, &[]);
    assert_eq!((found.missing.rows, asked), (100_000, 2));
    // And one with a million rows that nobody knows of is halved by its own middle.
    let extra: Vec<Pair> = (0..100_000).map(|key| (key, key)).collect();
    let (found, asked) = run(vec![integers()], rules, &[(5, 5)], &extra);
    assert_eq!(found.extra.rows, 99_999);
    assert!(asked < 200, "{asked}");
}

#[test]
fn a_budget_bounds_the_questions_and_is_told() {
    let source: Vec<Pair> = (0..1000).map(|key| (key, key)).collect();
    let target: Vec<Pair> = (0..1000).map(|key| (key, key + 1)).collect();
    let (found, _) = run(vec![integers()], Rules { most_row_questions: 5, ..RULES }, &source, &target);
    assert!(found.incomplete && found.differs);
    assert!(found.different.rows >= 5 && found.different.rows <= 40, "{}", found.different.rows);
}

#[test]
fn a_key_that_occurs_often_ends_it_too() {
    let source = [(1, 1), (2, 2)];
    let few: Vec<Pair> = (0..20).map(|at| (1, at)).collect();
    let (found, _) = run(vec![integers()], RULES, &source, &few);
    // Of twenty rows with one key one is the source's; and one of the source's is not there.
    assert_eq!((found.missing.rows, found.extra.rows, found.different.rows), (1, 19, 0));
    let many: Vec<Pair> = (0..2000).map(|at| (1, at)).collect();
    let (found, asked) = run(vec![integers()], RULES, &source, &many);
    assert!(found.incomplete && asked < 20, "{asked}");
}

#[test]
fn answers_that_do_not_belong_are_refused() {
    let mut bisection = Bisection::new(vec![integers()], RULES);
    let questions = bisection.questions();
    assert_eq!(questions, [(0, Question::Compare(integers()))]);
    assert!(bisection.questions().is_empty());
    assert_eq!(bisection.answer(7, Answer::Boundary(None)), Err(Unexpected));
    assert_eq!(bisection.answer(0, Answer::Boundary(None)), Err(Unexpected));
    assert_eq!(halves(&integers(), vec![KeyValue::Text("x".to_owned())]), None);
    assert_eq!(halves(&Extent::Whole, vec![KeyValue::Integer(1)]), None);
}

#[test]
fn a_row_that_is_gone_when_its_key_is_asked_for_ends_in_a_look() {
    let mut bisection = Bisection::new(vec![integers()], RULES);
    let (ticket, _) = bisection.questions().remove(0);
    let (source, target) = (Sum { rows: 10, digest: 1 }, Sum { rows: 10, digest: 2 });
    bisection.answer(ticket, Answer::Compared { source, target }).unwrap();
    let (ticket, question) = bisection.questions().remove(0);
    assert_eq!(question, Question::Split { extent: integers(), side: Side::Source, offset: 4 });
    bisection.answer(ticket, Answer::Boundary(None)).unwrap();
    let (ticket, question) = bisection.questions().remove(0);
    assert_eq!(question, Question::Rows { extent: integers(), limit: 64 });
    bisection.answer(ticket, Answer::Rows { source: Vec::new(), target: Vec::new() }).unwrap();
    assert!(bisection.questions().is_empty());
    assert!(bisection.into_findings().differs);
}

/// What is done to a row of the source.
#[derive(Debug, Clone, Copy)]
enum Planted {
    Missing,
    Different,
    Extra,
}

fn planted() -> impl Strategy<Value = BTreeMap<i128, Planted>> {
    let kind = prop_oneof![Just(Planted::Missing), Just(Planted::Different), Just(Planted::Extra)];
    prop::collection::btree_map(0_i128..4000, kind, 0..12)
}

proptest! {
    #[test]
    fn exactly_what_was_planted_is_found(
        source in prop::collection::btree_map(0_i128..4000, 0_i128..1_000_000, 0..600), changes in planted(),
        by_integer: bool, cuts in prop::collection::btree_set(0_i128..4000, 0..4), others_allowed: bool,
    ) {
        let mut target = source.clone();
        let (mut missing, mut different, mut extra) = (Vec::new(), Vec::new(), Vec::new());
        for (key, change) in &changes {
            match (change, source.contains_key(key)) {
                (Planted::Missing, true) => {
                    target.remove(key);
                    missing.push(*key);
                }
                (Planted::Different, true) => {
                    // Large and unlike each other: no two changes cancel.
                    *target.get_mut(key).unwrap() += 1_i128 << (70 + different.len());
                    different.push(*key);
                }
                (Planted::Extra, false) => {
                    target.insert(*key, (1_i128 << 40) + key);
                    extra.push(*key);
                }
                _ => {}
            }
        }
        let mut pieces = Vec::new();
        let mut from = None;
        for cut in cuts {
            pieces.push(piece(by_integer, from, Some(cut)));
            from = Some(cut);
        }
        pieces.push(piece(by_integer, from, None));
        let count = pieces.len() as u64;
        let rules = Rules { others_allowed, ..RULES };
        let (found, asked) = run(pieces, rules, &sorted(&source), &sorted(&target));
        prop_assert_eq!((found.source_rows, found.target_rows), (source.len() as u64, target.len() as u64));
        prop_assert_eq!(keys(&found.missing), missing.clone());
        prop_assert_eq!(keys(&found.different), different.clone());
        prop_assert_eq!(found.extra.rows, extra.len() as u64);
        prop_assert_eq!(keys(&found.extra), if others_allowed { Vec::new() } else { extra.clone() });
        prop_assert!(!found.incomplete);
        let differences = (missing.len() + different.len() + extra.len()) as u64;
        prop_assert_eq!(found.differs, differences > 0);
        // A split and two comparisons a level; both sides' counts halve at the latest every two levels.
        let levels = 2 * u64::from((source.len().max(target.len()) as u64 + 1).ilog2() + 1) + 2;
        prop_assert!(asked <= count + differences * (3 * levels + 1), "{} for {}", asked, differences);
    }

    /// Whatever the sides say, even where they contradict themselves, it ends.
    #[test]
    fn it_ends_with_sides_that_change_all_the_time(
        answers in prop::collection::vec((0_u64..40, 0_u64..40, 0_i128..50), 1..50),
    ) {
        let rules = Rules { most_row_questions: 20, ..RULES };
        let mut bisection = Bisection::new(vec![integers()], rules);
        let mut at = 0;
        for _ in 0..10_000 {
            let questions = bisection.questions();
            if questions.is_empty() {
                break;
            }
            for (ticket, question) in questions {
                let (source, target, key) = answers[at % answers.len()];
                at += 1;
                let answer = match question {
                    Question::Compare(_) => Answer::Compared {
                        source: Sum { rows: source, digest: 0 },
                        target: Sum { rows: target, digest: 1 },
                    },
                    Question::Split { .. } => Answer::Boundary(Some(vec![KeyValue::Integer(key)])),
                    Question::Rows { .. } => Answer::Rows { source: Vec::new(), target: Vec::new() },
                };
                bisection.answer(ticket, answer).unwrap();
            }
        }
        prop_assert!(bisection.questions().is_empty());
    }
}

fn piece(by_integer: bool, from: Option<i128>, below: Option<i128>) -> Extent {
    if by_integer {
        Extent::Integer { column: "id".to_owned(), from, below }
    } else {
        // `from <= key < below` is `from - 1 < key <= below - 1`.
        let bound = |key: i128| pair(key - 1);
        let columns = vec!["a".to_owned(), "b".to_owned()];
        Extent::Keyset { columns, after: from.map(bound), up_to: below.map(bound) }
    }
}
