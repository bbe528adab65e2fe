//! Extents neither overlap nor leave anything out, and their conditions say so in both dialects.

use super::*;
use crate::migrate::quote;
use crate::migrate::schema::{Column, TableName, fixtures};
use proptest::prelude::*;

fn table(key: &[(&str, &str)]) -> Table {
    let columns = key
        .iter()
        .map(|(name, source_type)| Column { nullable: false, ..fixtures::column(name, source_type) });
    Table {
        primary_key: key.iter().map(|(name, _)| (*name).to_owned()).collect(),
        ..fixtures::table(TableName { schema: "public".to_owned(), name: "t".to_owned() }, columns.collect())
    }
}

fn integer_ends_of(ranges: &[Extent]) -> Vec<(Option<i128>, Option<i128>)> {
    ranges
        .iter()
        .map(|range| match range {
            Extent::Integer { from, below, .. } => (*from, *below),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn what_is_cut_by_follows_key_file_and_what_the_target_keeps() {
    let (pg, mysql) = (Engine::Postgres, Engine::MySql);
    let (keeps, empties) = (true, false);
    let id = Extent::Integer { column: "id".to_owned(), from: None, below: None };
    let blocks = Extent::Blocks { from: None, below: None };
    let keyset = |columns: &[&str]| Extent::Keyset {
        columns: columns.iter().map(|name| (*name).to_owned()).collect(),
        after: None,
        up_to: None,
    };
    assert_eq!(everything(&table(&[("id", "bigint")]), pg, Some(9), empties), id);
    assert_eq!(everything(&table(&[("id", "int(10) unsigned")]), mysql, None, keeps), id);
    assert_eq!(everything(&table(&[("id", "uuid")]), pg, Some(9), keeps), keyset(&["id"]));
    assert_eq!(everything(&table(&[("id", "uuid")]), pg, Some(9), empties), blocks);
    let two = table(&[("a", "integer"), ("b", "text")]);
    assert_eq!(everything(&two, pg, None, empties), keyset(&["a", "b"]));
    assert_eq!(everything(&table(&[("a", "integer[]")]), pg, None, empties), keyset(&["a"]));
    assert_eq!(everything(&table(&[("a", "interval")]), pg, None, empties), keyset(&["a"]));
    assert_eq!(everything(&table(&[]), pg, Some(9), empties), blocks);
    assert_eq!(everything(&table(&[]), pg, Some(9), keeps), Extent::Whole);
    assert_eq!(everything(&table(&[]), pg, None, empties), Extent::Whole);
    assert_eq!(everything(&table(&[("a", "enum('x','y')")]), mysql, None, keeps), Extent::Whole);
    assert_eq!(everything(&table(&[("a", "varchar(20)")]), mysql, None, keeps), keyset(&["a"]));
}

#[test]
fn keys_are_cut_evenly() {
    let ends = integer_ends_of(&by_integer("id", (1, 1000), 1000, 100, 4));
    assert_eq!(ends, [(None, Some(251)), (Some(251), Some(501)), (Some(501), Some(751)), (Some(751), None)]);
}

#[test]
fn few_rows_and_one_key_are_one_range() {
    for (bounds, rows) in [((1, 1_000_000), 99), ((1, 1_000_000), 0), ((7, 7), 5000), ((9, 7), 5000)] {
        assert_eq!(integer_ends_of(&by_integer("id", bounds, rows, 100, 8)), [(None, None)]);
    }
}

fn block_ends_of(ranges: &[Extent]) -> Vec<(Option<u32>, Option<u32>)> {
    ranges
        .iter()
        .map(|range| match range {
            Extent::Blocks { from, below } => (*from, *below),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn blocks_are_cut_evenly() {
    let ends = block_ends_of(&by_blocks(90, 1000, 100, 3));
    assert_eq!(ends, [(None, Some(30)), (Some(30), Some(60)), (Some(60), None)]);
    assert_eq!(block_ends_of(&by_blocks(0, 1000, 100, 3)), [(None, None)]);
    assert_eq!(block_ends_of(&by_blocks(90, 99, 100, 3)), [(None, None)]);
}

#[test]
fn blocks_are_tids() {
    let of = |from, below| Extent::Blocks { from, below }.filter(Engine::Postgres);
    assert_eq!(of(None, Some(25)), " WHERE ctid < '(25,0)'::tid");
    assert_eq!(of(Some(25), Some(50)), " WHERE ctid >= '(25,0)'::tid AND ctid < '(50,0)'::tid");
    assert_eq!(of(None, None), "");
    assert_eq!(Extent::Whole.condition(Engine::Postgres), None);
}

#[test]
fn integer_conditions_in_both_dialects() {
    let range = |from, below| Extent::Integer { column: "i`d".to_owned(), from, below };
    let (pg, mysql) = (Engine::Postgres, Engine::MySql);
    let id = quote::identifier("i`d");
    let least = range(Some(i128::from(i64::MIN)), Some(i128::from(u64::MAX)));
    assert_eq!(
        least.condition(pg).unwrap(),
        format!("{id} >= '-9223372036854775808'::bigint AND {id} < '18446744073709551615'::numeric")
    );
    assert_eq!(
        least.filter(mysql),
        " WHERE `i``d` >= -9223372036854775808 AND `i``d` < 18446744073709551615"
    );
    assert_eq!(range(None, None).filter(mysql), "");
    assert_eq!(range(None, Some(5)).filter(pg), format!(" WHERE {id} < '5'::bigint"));
}

#[test]
fn keyset_conditions_in_both_dialects() {
    let text = |value: &str| KeyValue::Text(value.to_owned());
    let range = Extent::Keyset {
        columns: vec!["a".to_owned(), "b".to_owned()],
        after: Some(vec![KeyValue::Integer(1), text("x")]),
        up_to: Some(vec![KeyValue::Integer(2), text("it's \\ é")]),
    };
    let (a, b) = (quote::identifier("a"), quote::identifier("b"));
    let (x, its) = (quote::literal("x"), quote::literal("it's \\ é"));
    assert_eq!(
        range.condition(Engine::Postgres).unwrap(),
        format!("({a}, {b}) > ('1'::bigint, {x}) AND ({a}, {b}) <= ('2'::bigint, {its})")
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
        extent.condition(engine).unwrap()
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

proptest! {
    #[test]
    fn every_integer_key_is_in_one_range(
        ends in (key(), key()), rows: u64, range_rows: u64, few in 0_u64..1000, most in 0_u32..300,
        probes in prop::collection::vec(key(), 8),
    ) {
        let (min, max) = (ends.0.min(ends.1), ends.0.max(ends.1));
        for range_rows in [range_rows, few] {
            let found = integer_ends_of(&by_integer("id", (min, max), rows, range_rows, most));
            prop_assert!(is_a_chain(&found), "{:?}", found);
            prop_assert!(found.len() <= usize::try_from(most.max(1)).unwrap());
            // Every range could hold a key between the bounds: none is made for nothing.
            for (from, below) in &found {
                prop_assert!(from.is_none_or(|from| from > min && from <= max));
                prop_assert!(below.is_none_or(|below| below > min && below <= max));
            }
            for probe in probes.iter().copied().chain([min, max]) {
                let inside = found.iter().filter(|(from, below)| {
                    from.is_none_or(|from| probe >= from) && below.is_none_or(|below| probe < below)
                });
                prop_assert_eq!(inside.count(), 1);
            }
        }
    }

    #[test]
    fn every_block_is_in_one_range(
        blocks: u32, rows: u64, range_rows: u64, few in 0_u64..1000, most in 0_u32..300,
    ) {
        for range_rows in [range_rows, few] {
            let found = block_ends_of(&by_blocks(blocks, rows, range_rows, most));
            prop_assert!(is_a_chain(&found), "{:?}", found);
            prop_assert!(found.len() <= usize::try_from(most.max(1)).unwrap());
            // None is made for nothing.
            prop_assert!(found.iter().all(|(from, _)| from.is_none_or(|from| from > 0 && from < blocks)));
        }
    }

    #[test]
    fn an_extent_is_read_back(from in prop::option::of(key()), below in prop::option::of(key())) {
        let extent = Extent::Integer { column: "id".to_owned(), from, below };
        let text = serde_json::to_string(&extent).unwrap();
        prop_assert_eq!(serde_json::from_str::<Extent>(&text).unwrap(), extent);
    }
}
