//! Ranges neither overlap nor leave anything out, and their clauses say so in both dialects.

use super::*;
use crate::migrate::quote;
use crate::migrate::schema::{Column, ColumnDefault, TableName};
use proptest::prelude::*;

const RULES: Rules =
    Rules { large_table_threshold_rows: 0, max_partitions: 8, range_rows: 100, outlives_snapshot: true };

fn table(key: &[(&str, &str)]) -> Table {
    let columns = key.iter().map(|(name, source_type)| Column {
        name: (*name).to_owned(),
        source_type: (*source_type).to_owned(),
        nullable: false,
        default: ColumnDefault::None,
        collation: None,
        comment: None,
    });
    Table {
        name: TableName { schema: "public".to_owned(), name: "t".to_owned() },
        columns: columns.collect(),
        primary_key: key.iter().map(|(name, _)| (*name).to_owned()).collect(),
        indexes: Vec::new(),
        checks: Vec::new(),
        foreign_keys: Vec::new(),
        comment: None,
        estimated_rows: None,
        bytes: None,
    }
}

fn integer_ends_of(ranges: &[Range]) -> Vec<(Option<i128>, Option<i128>)> {
    ranges
        .iter()
        .map(|range| match &range.extent {
            Extent::Integer { from, below, .. } => (*from, *below),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn words(values: &[i128]) -> Vec<KeyValue> {
    values.iter().map(|value| KeyValue::Integer(*value)).collect()
}

#[test]
fn the_method_follows_key_file_and_what_must_outlive_a_snapshot() {
    let (pg, mysql) = (Engine::Postgres, Engine::MySql);
    let short = Rules { outlives_snapshot: false, ..RULES };
    let id = |column: &str| Method::Integer { column: column.to_owned() };
    let keyset = |columns: &[&str]| Method::Keyset {
        columns: columns.iter().map(|name| (*name).to_owned()).collect(),
    };
    assert_eq!(method(&table(&[("id", "bigint")]), pg, Some(9), &short), id("id"));
    assert_eq!(method(&table(&[("id", "int(10) unsigned")]), mysql, None, &RULES), id("id"));
    assert_eq!(method(&table(&[("id", "uuid")]), pg, Some(9), &RULES), keyset(&["id"]));
    assert_eq!(method(&table(&[("id", "uuid")]), pg, Some(9), &short), Method::Blocks);
    assert_eq!(method(&table(&[("a", "integer"), ("b", "text")]), pg, None, &short), keyset(&["a", "b"]));
    assert_eq!(method(&table(&[("a", "integer[]")]), pg, None, &short), keyset(&["a"]));
    assert_eq!(method(&table(&[("a", "interval")]), pg, None, &short), keyset(&["a"]));
    assert_eq!(method(&table(&[]), pg, Some(9), &RULES), Method::Blocks);
    assert_eq!(method(&table(&[]), pg, None, &RULES), Method::Whole);
    assert_eq!(method(&table(&[("a", "enum('x','y')")]), mysql, None, &RULES), Method::Whole);
    assert_eq!(method(&table(&[("a", "varchar(20)")]), mysql, None, &RULES), keyset(&["a"]));
}

#[test]
fn even_keys_are_cut_evenly() {
    let ranges = by_integer("id", Some((1, 1000)), &[], Some(1000), &Rules { max_partitions: 4, ..RULES });
    let ends = integer_ends_of(&ranges);
    assert_eq!(ends, [(None, Some(251)), (Some(251), Some(501)), (Some(501), Some(751)), (Some(751), None)]);
    assert!(ranges.iter().all(|range| range.estimated_rows == Some(250)));
}

#[test]
fn few_rows_no_rows_and_one_key_are_one_range() {
    let large = Rules { large_table_threshold_rows: 1000, ..RULES };
    for (bounds, rows) in [
        (Some((1, 1_000_000)), Some(999)),
        (None, None),
        (Some((7, 7)), Some(1)),
        (Some((7, 7)), None),
        (Some((9, 7)), None),
    ] {
        assert_eq!(integer_ends_of(&by_integer("id", bounds, &[], rows, &large)), [(None, None)]);
    }
    assert_eq!(by_blocks(0, None, &RULES).len(), 1);
    assert_eq!(by_blocks(10, Some(10), &large).len(), 1);
    assert_eq!(by_keyset(&["k".to_owned()], &[], None, &RULES).len(), 1);
    assert_eq!(whole(Some(3))[0].condition(Engine::Postgres), None);
}

#[test]
fn skewed_keys_are_cut_at_quantiles() {
    // Nine of ten rows have keys below a thousand, the rest lie far away.
    let samples: Vec<i128> = (0..90).map(|at| at * 11).chain((0..10).map(|at| 1_000_000_000 + at)).collect();
    let rules = Rules { max_partitions: 10, ..RULES };
    let ranges = by_integer("id", Some((0, 2_000_000_000)), &samples, Some(1000), &rules);
    assert_eq!(ranges.len(), 10);
    assert_eq!(integer_ends_of(&ranges)[0], (None, Some(110)));
    assert!(ranges.iter().all(|range| range.estimated_rows == Some(100)), "{ranges:?}");
    // One key for all: nothing to cut at.
    assert_eq!(by_integer("id", Some((0, 9)), &[5; 50], Some(1000), &rules).len(), 2);
}

#[test]
fn samples_are_wanted_for_sparse_keys_of_large_tables() {
    assert!(wants_samples((1, 10_000), Some(1000), &RULES));
    assert!(!wants_samples((1, 1100), Some(1000), &RULES));
    assert!(!wants_samples((1, 10_000), Some(50), &RULES));
    assert!(!wants_samples((1, 10_000), None, &RULES));
    assert!(wants_samples((i128::MIN, i128::MAX), Some(u64::MAX / 4), &RULES));
}

#[test]
fn blocks_are_cut_in_their_order() {
    let ranges = by_blocks(100, Some(400), &RULES);
    let conditions: Vec<Option<String>> =
        ranges.iter().map(|range| range.condition(Engine::Postgres)).collect();
    let texts: Vec<&str> = conditions.iter().flatten().map(String::as_str).collect();
    assert_eq!(
        texts,
        [
            "ctid < '(25,0)'::tid",
            "ctid >= '(25,0)'::tid AND ctid < '(50,0)'::tid",
            "ctid >= '(50,0)'::tid AND ctid < '(75,0)'::tid",
            "ctid >= '(75,0)'::tid",
        ]
    );
    assert_eq!(ranges[0].tail(Engine::Postgres, Some(10)), " WHERE ctid < '(25,0)'::tid");
    assert!(!ranges[0].outlives_snapshot());
    assert_eq!(ranges[0].rest_after(&words(&[1])), Err(RangeError::NotByKey));
}

#[test]
fn integer_clauses_in_both_dialects() {
    let range = |from, below| Range {
        number: 0,
        extent: Extent::Integer { column: "i`d".to_owned(), from, below },
        estimated_rows: None,
    };
    let (pg, mysql) = (Engine::Postgres, Engine::MySql);
    let id = quote::identifier("i`d");
    let least = range(Some(i128::from(i64::MIN)), Some(i128::from(u64::MAX)));
    assert_eq!(
        least.condition(pg).unwrap(),
        format!("{id} >= '-9223372036854775808'::bigint AND {id} < '18446744073709551615'::numeric")
    );
    assert_eq!(
        least.condition(mysql).unwrap(),
        "`i``d` >= -9223372036854775808 AND `i``d` < 18446744073709551615"
    );
    assert_eq!(range(None, None).tail(mysql, Some(500)), " ORDER BY `i``d` LIMIT 500");
    assert_eq!(range(None, Some(5)).tail(pg, None), format!(" WHERE {id} < '5'::bigint ORDER BY {id}"));
}

#[test]
fn keyset_clauses_in_both_dialects() {
    let text = |value: &str| KeyValue::Text(value.to_owned());
    let range = Range {
        number: 3,
        extent: Extent::Keyset {
            columns: vec!["a".to_owned(), "b".to_owned()],
            after: Some(vec![KeyValue::Integer(1), text("x")]),
            up_to: Some(vec![KeyValue::Integer(2), text("it's \\ é")]),
        },
        estimated_rows: None,
    };
    let (a, b) = (quote::identifier("a"), quote::identifier("b"));
    let (x, its) = (quote::literal("x"), quote::literal("it's \\ é"));
    assert_eq!(
        range.tail(Engine::Postgres, Some(10)),
        format!(
            " WHERE ({a}, {b}) > ('1'::bigint, {x}) AND ({a}, {b}) <= ('2'::bigint, {its}) ORDER BY {a}, {b} LIMIT 10"
        )
    );
    assert_eq!(
        range.condition(Engine::MySql).unwrap(),
        "`a` >= 1 AND (`a` > 1 OR (`a` = 1 AND `b` > 'x')) AND `a` <= 2 AND \
         (`a` < 2 OR (`a` = 2 AND `b` <= _utf8mb4 X'69742773205C20C3A9'))"
    );
}

#[test]
fn values_of_one_column_are_written_safely() {
    let condition = |engine, value: KeyValue| {
        let extent = Extent::Keyset { columns: vec!["k".to_owned()], after: Some(vec![value]), up_to: None };
        Range { number: 0, extent, estimated_rows: None }.condition(engine).unwrap()
    };
    let mysql = |value| condition(Engine::MySql, value);
    assert_eq!(mysql(KeyValue::Decimal("-12.50".into())), "`k` > -12.50");
    assert_eq!(mysql(KeyValue::Decimal("1 OR 1".into())), "`k` > '1 OR 1'");
    assert_eq!(mysql(KeyValue::Decimal("1.2.3".into())), "`k` > '1.2.3'");
    assert_eq!(mysql(KeyValue::Bytes(vec![0, 39, 255])), "`k` > X'0027FF'");
    assert_eq!(mysql(KeyValue::Text("2024-01-31 10:00:00".into())), "`k` > '2024-01-31 10:00:00'");
    assert_eq!(mysql(KeyValue::Text("a\nb".into())), "`k` > _utf8mb4 X'610A62'");
    let k = quote::identifier("k");
    let pg = |value| condition(Engine::Postgres, value);
    assert_eq!(pg(KeyValue::Bytes(vec![0, 255])), format!("({k}) > (pg_catalog.decode('00FF', 'hex'))"));
    assert_eq!(pg(KeyValue::Decimal("1.5".into())), format!("({k}) > ({}::numeric)", quote::literal("1.5")));
}

#[test]
fn what_is_left_follows_the_last_key() {
    let ranges = by_integer("id", Some((0, 99)), &[], Some(1000), &Rules { max_partitions: 2, ..RULES });
    let rest = ranges[0].rest_after(&words(&[10])).unwrap().unwrap();
    assert_eq!((rest.number, integer_ends_of(&[rest])[0]), (0, (Some(11), Some(50))));
    assert_eq!(ranges[0].rest_after(&words(&[49])), Ok(None));
    assert_eq!(ranges[0].rest_after(&words(&[50])), Err(RangeError::NotItsKey));
    assert_eq!(ranges[1].rest_after(&words(&[49])), Err(RangeError::NotItsKey));
    assert_eq!(ranges[1].rest_after(&[KeyValue::Text("50".into())]), Err(RangeError::NotItsKey));

    let columns = ["a".to_owned(), "b".to_owned()];
    let samples: Vec<Vec<KeyValue>> = (0..10).map(|at| words(&[at, at])).collect();
    let ranges = by_keyset(&columns, &samples, Some(1000), &Rules { max_partitions: 2, ..RULES });
    assert_eq!(ranges[0].rest_after(&words(&[5, 5])), Ok(None));
    let rest = ranges[0].rest_after(&words(&[3, 9])).unwrap().unwrap();
    let expected = Extent::Keyset {
        columns: columns.to_vec(),
        after: Some(words(&[3, 9])),
        up_to: Some(words(&[5, 5])),
    };
    assert_eq!(rest.extent, expected);
    assert_eq!(ranges[0].rest_after(&words(&[3])), Err(RangeError::NotItsKey));
}

fn key() -> impl Strategy<Value = i128> {
    let near = |middle: i128| (-3_i128..=3).prop_map(move |off| middle + off);
    prop_oneof![
        near(i128::from(i64::MIN)),
        near(i128::from(i64::MAX)),
        near(i128::from(u64::MAX)),
        near(0),
        any::<i64>().prop_map(i128::from),
        any::<u64>().prop_map(i128::from),
        -1000_i128..1000,
        any::<i128>(),
    ]
}

fn rules() -> impl Strategy<Value = Rules> {
    (any::<u64>(), 0_u32..300, any::<u64>(), 0_u64..1000).prop_map(
        |(threshold, max_partitions, rows, few)| Rules {
            large_table_threshold_rows: if few > 300 { few } else { threshold },
            max_partitions,
            range_rows: if few > 300 { few } else { rows },
            outlives_snapshot: true,
        },
    )
}

/// Each ends where the next begins, and they rise: so none overlaps another and nothing is left out.
fn is_a_chain<T: PartialOrd>(ends: &[(Option<T>, Option<T>)]) -> bool {
    let open = ends.first().is_some_and(|(from, _)| from.is_none())
        && ends.last().is_some_and(|(_, below)| below.is_none());
    let joined = ends.windows(2).all(|pair| pair[0].1.is_some() && pair[0].1 == pair[1].0);
    let rising = ends.iter().all(|(from, below)| match (from, below) {
        (Some(from), Some(below)) => from < below,
        _ => true,
    });
    open && joined && rising
}

/// A key of two integers.
type Pair = (i128, i128);

proptest! {
    #[test]
    fn every_integer_key_is_in_one_range(
        ends in (key(), key()), samples in prop::collection::vec(key(), 0..40), rows in prop::option::of(any::<u64>()),
        rules in rules(), probes in prop::collection::vec(key(), 8),
    ) {
        let (min, max) = (ends.0.min(ends.1), ends.0.max(ends.1));
        let ranges = by_integer("id", Some((min, max)), &samples, rows, &rules);
        let found = integer_ends_of(&ranges);
        prop_assert!(is_a_chain(&found), "{:?}", found);
        prop_assert!(ranges.len() <= usize::try_from(rules.max_partitions.max(1)).unwrap());
        prop_assert!(ranges.iter().zip(0_u32..).all(|(range, number)| range.number == number));
        // Every range could hold a key between the bounds: none is made for nothing.
        for (from, below) in &found {
            prop_assert!(from.is_none_or(|from| from > min && from <= max));
            prop_assert!(below.is_none_or(|below| below > min && below <= max));
        }
        for probe in probes.into_iter().chain([min, max]) {
            let inside = found.iter().filter(|(from, below)| {
                from.is_none_or(|from| probe >= from) && below.is_none_or(|below| probe < below)
            });
            prop_assert_eq!(inside.count(), 1);
        }
        let total: u128 = ranges.iter().filter_map(|range| range.estimated_rows).map(u128::from).sum();
        prop_assert!(rows.is_none_or(|rows| total <= u128::from(rows)));
    }

    #[test]
    fn every_block_is_in_one_range(blocks: u32, rows in prop::option::of(any::<u64>()), rules in rules()) {
        let ranges = by_blocks(blocks, rows, &rules);
        let found: Vec<(Option<u32>, Option<u32>)> = ranges
            .iter()
            .map(|range| match range.extent {
                Extent::Blocks { from, below } => (from, below),
                _ => panic!("blocks"),
            })
            .collect();
        prop_assert!(is_a_chain(&found), "{:?}", found);
        prop_assert!(found.iter().all(|(_, below)| below.is_none_or(|below| below < blocks)));
    }

    #[test]
    fn every_row_key_is_in_one_range(
        keys in prop::collection::btree_set((0_i64..20, any::<i64>()), 0..60), rows in prop::option::of(any::<u64>()),
        rules in rules(), probe in (0_i64..20, any::<i64>()),
    ) {
        let samples: Vec<Vec<KeyValue>> =
            keys.iter().map(|(a, b)| words(&[i128::from(*a), i128::from(*b)])).collect();
        let ranges = by_keyset(&["a".to_owned(), "b".to_owned()], &samples, rows, &rules);
        let pair = |key: &Vec<KeyValue>| match key.as_slice() {
            [KeyValue::Integer(a), KeyValue::Integer(b)] => (*a, *b),
            _ => panic!("two integers"),
        };
        let found: Vec<(Option<Pair>, Option<Pair>)> = ranges
            .iter()
            .map(|range| match &range.extent {
                Extent::Keyset { after, up_to, .. } => (after.as_ref().map(pair), up_to.as_ref().map(pair)),
                _ => panic!("a keyset"),
            })
            .collect();
        prop_assert!(is_a_chain(&found), "{:?}", found);
        let probe = (i128::from(probe.0), i128::from(probe.1));
        let inside = found.iter().filter(|(after, up_to)| {
            after.is_none_or(|after| probe > after) && up_to.is_none_or(|up_to| probe <= up_to)
        });
        prop_assert_eq!(inside.count(), 1);
    }

    /// Chunk after chunk, a range gives each of its keys once.
    #[test]
    fn chunks_of_a_range_are_its_keys(
        keys in prop::collection::btree_set(any::<i64>(), 1..60), cap in 1_usize..10,
    ) {
        let keys: Vec<i128> = keys.into_iter().map(i128::from).collect();
        let bounds = (keys[0], keys[keys.len() - 1]);
        let ranges = by_integer("id", Some(bounds), &keys, Some(1000), &RULES);
        let mut given = Vec::new();
        for range in ranges {
            let mut left = Some(range);
            while let Some(range) = left {
                let (from, below) = integer_ends_of(std::slice::from_ref(&range))[0];
                let inside = keys.iter().copied().filter(|key| {
                    from.is_none_or(|from| *key >= from) && below.is_none_or(|below| *key < below)
                });
                let chunk: Vec<i128> = inside.take(cap).collect();
                left = match chunk.last() {
                    Some(last) => range.rest_after(&words(&[*last])).unwrap(),
                    None => None,
                };
                given.extend(chunk);
            }
        }
        prop_assert_eq!(given, keys);
    }

    #[test]
    fn a_plan_is_read_back(from in prop::option::of(key()), rows in prop::option::of(any::<u64>())) {
        let range = Range {
            number: 1,
            extent: Extent::Integer { column: "id".to_owned(), from, below: None },
            estimated_rows: rows,
        };
        let text = serde_json::to_string(&range).unwrap();
        prop_assert_eq!(serde_json::from_str::<Range>(&text).unwrap(), range);
    }
}
