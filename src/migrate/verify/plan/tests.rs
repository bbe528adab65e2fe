//! Which key and which way a table gets, and its whole statements.

use super::*;
use crate::migrate::ddl::{TargetColumn, TargetTable};
use crate::migrate::schema::{Column, Index, IndexPart, fixtures};
use crate::migrate::types::{Mapped, Transfer};

fn column(name: &str, source_type: &str, nullable: bool) -> Column {
    Column { nullable, ..fixtures::column(name, source_type) }
}

/// Columns as name, source's type, target's type; none may be NULL. The key's are those whose name begins with `k`.
fn subject(columns: &[(&str, &str, &str)]) -> Subject {
    let names = columns.iter().map(|(name, _, _)| (*name).to_owned());
    let source = Table {
        name: TableName { schema: "shop".to_owned(), name: "orders".to_owned() },
        columns: columns.iter().map(|(name, source, _)| column(name, source, false)).collect(),
        primary_key: names.filter(|name| name.starts_with('k')).collect(),
        primary_key_name: None,
        indexes: Vec::new(),
        checks: Vec::new(),
        foreign_keys: Vec::new(),
        comment: None,
        estimated_rows: Some(10),
        bytes: None,
    };
    let targets = columns.iter().map(|(name, _, target)| TargetColumn {
        source: (*name).to_owned(),
        target: format!("{name}2"),
        mapped: Mapped { target: (*target).to_owned(), transfer: Transfer::Text, notes: Vec::new() },
        computed: false,
    });
    let target = TargetTable {
        source: source.name.clone(),
        target: TableName { schema: "public".to_owned(), name: "orders".to_owned() },
        columns: targets.collect(),
    };
    Subject { source, target, rejected: 0 }
}

fn of(engine: Engine) -> Circumstances {
    let digest = if engine == Engine::MySql { Digest::Md5 } else { Digest::Fast };
    Circumstances { engine, digest, source_partitioned: false, target_partitioned: false }
}

fn method(engine: Engine, columns: &[(&str, &str, &str)]) -> Method {
    TablePlan::new(&subject(columns), of(engine)).unwrap().method
}

#[test]
fn only_what_both_sides_order_alike_is_cut_into_ranges() {
    let (pg, mysql) = (Engine::Postgres, Engine::MySql);
    let same = |name| (name, "", name);
    let keyset = |kinds: &[KeyKind]| Method::Keyset { kinds: kinds.to_vec() };
    let one = |engine, (_, source, target): (&str, &str, &str)| method(engine, &[("k", source, target)]);
    assert_eq!(one(pg, same("bigint")), Method::Integer);
    assert_eq!(one(pg, same("uuid")), keyset(&[KeyKind::Text]));
    assert_eq!(one(pg, same("timestamp(3) with time zone")), keyset(&[KeyKind::Text]));
    assert_eq!(one(pg, same("bytea")), keyset(&[KeyKind::Bytes]));
    for grouped in ["text", "character varying(9)", "shop.status", "double precision", "integer[]", "bit(3)"]
    {
        assert_eq!(one(pg, same(grouped)), Method::Grouped, "{grouped}");
    }
    assert_eq!(one(mysql, ("", "bigint unsigned", "numeric(20)")), Method::Integer);
    assert_eq!(one(mysql, ("", "decimal(10,2)", "numeric(10,2)")), keyset(&[KeyKind::Decimal]));
    assert_eq!(one(mysql, ("", "binary(16)", "bytea")), keyset(&[KeyKind::Bytes]));
    // Zero dates are no bounds for PostgreSQL, UUIDs of MariaDB's are ordered by their time, a boolean is no number.
    for (source, target) in [
        ("varchar(9)", "character varying(9)"),
        ("date", "date"),
        ("uuid", "uuid"),
        ("tinyint(1)", "boolean"),
        ("bit(3)", "bit(3)"),
    ] {
        assert_eq!(one(mysql, ("", source, target)), Method::Grouped, "{source}");
    }
    let two = [("k1", "int(11)", "integer"), ("k2", "binary(2)", "bytea"), ("x", "text", "text")];
    assert_eq!(method(mysql, &two), keyset(&[KeyKind::Integer, KeyKind::Bytes]));
    assert_eq!(method(mysql, &[("x", "int(11)", "integer")]), Method::Grouped);
}

#[test]
fn a_unique_index_is_a_key_where_nothing_in_it_may_be_null() {
    let index = |name: &str, column: &str, unique: bool, prefix: Option<u32>| Index {
        name: name.to_owned(),
        parts: vec![IndexPart { expression: column.to_owned(), is_column: true, descending: false, prefix }],
        unique,
        constraint: false,
        method: "btree".to_owned(),
        include: Vec::new(),
        condition: None,
        definition: None,
    };
    let mut with = subject(&[("a", "int", "integer"), ("b", "int", "integer"), ("c", "int", "integer")]);
    with.source.columns[1].nullable = true;
    with.source.indexes = vec![
        index("i1", "c", false, None),
        index("i2", "b", true, None),
        index("i3", "c", true, Some(3)),
        index("i4", "a", true, None),
    ];
    let plan = TablePlan::new(&with, of(Engine::Postgres)).unwrap();
    assert_eq!((plan.key.as_slice(), &plan.method), (&["a".to_owned()][..], &Method::Integer));
    with.source.indexes.pop();
    let plan = TablePlan::new(&with, of(Engine::Postgres)).unwrap();
    assert!(plan.key.is_empty() && plan.method == Method::Grouped);
    assert_eq!(plan.source.group, plan.source.row);
}

#[test]
fn what_is_not_compared_exactly_is_noted_and_no_key() {
    let plan = TablePlan::new(
        &subject(&[("k", "float", "real"), ("j", "json", "jsonb"), ("x", "int", "integer")]),
        of(Engine::MySql),
    )
    .unwrap();
    let noted: Vec<&str> = plan.notes.iter().map(|note| note.column.as_str()).collect();
    assert_eq!(noted, ["k", "j"]);
    assert!(plan.key.is_empty());
}

#[test]
fn a_plan_of_another_catalog_is_refused() {
    let mut other = subject(&[("k", "int", "integer")]);
    other.source.columns[0].name = "renamed".to_owned();
    let refused = TablePlan::new(&other, of(Engine::Postgres)).unwrap_err();
    assert!(refused.to_string().contains("no column k"));
}

#[test]
fn whole_statements_of_both_sides() {
    let plan =
        TablePlan::new(&subject(&[("k", "int(11)", "integer"), ("x", "text", "text")]), of(Engine::MySql))
            .unwrap();
    let extent = Extent::Integer { column: "k".to_owned(), from: Some(1), below: Some(9) };
    assert_eq!(
        plan.source.sums(&extent),
        "SELECT COUNT(*), COALESCE(SUM(COALESCE(CAST(CONV(LEFT(MD5(CONCAT_WS(X'7C', \
         COALESCE(CAST(CAST(`k` + 0 AS CHAR) AS BINARY), X'7E'), \
         COALESCE(CAST(REPLACE(REPLACE(CAST(CONVERT(`x` USING utf8mb4) AS BINARY), X'7E', X'7E30'), X'7C', X'7E31') \
         AS BINARY), X'7E'))), 15), 16, 10) AS UNSIGNED), 18446744073709551615)), 0) \
         FROM `shop`.`orders` AS t WHERE `k` >= 1 AND `k` < 9"
    );
    assert_eq!(
        plan.target.sums(&extent),
        "SELECT COUNT(*), COALESCE(SUM(('x0' || left(md5(convert_to(concat_ws('|', VARIADIC ARRAY[\
         COALESCE(\"k2\"::text, '~'), \
         COALESCE(replace(replace(\"x2\"::text COLLATE \"C\", '~', '~0'), '|', '~1'), '~')]::text[]), 'UTF8')), 15))\
         ::bit(64)::bigint), 0) \
         FROM ONLY \"public\".\"orders\" AS t WHERE \"k2\" >= '1'::bigint AND \"k2\" < '9'::bigint"
    );
    assert_eq!(
        plan.source.boundary(&plan.everything(), 3),
        "SELECT CAST(`k` + 0 AS CHAR) FROM `shop`.`orders` AS t ORDER BY t.`k` LIMIT 1 OFFSET 3"
    );
    assert_eq!(
        plan.target.boundary(&plan.everything(), 3),
        "SELECT \"k2\"::text FROM ONLY \"public\".\"orders\" AS t ORDER BY t.\"k2\" LIMIT 1 OFFSET 3"
    );
    assert!(plan.source.key.starts_with("CONVERT(CONCAT_WS(X'7C', "));
    let partitioned = Circumstances { source_partitioned: true, ..of(Engine::Postgres) };
    let plan = TablePlan::new(&subject(&[("k", "integer", "integer")]), partitioned).unwrap();
    assert_eq!(plan.source.from, "FROM \"shop\".\"orders\" AS t");
    assert_eq!(plan.target.from, "FROM ONLY \"public\".\"orders\" AS t");
}

#[test]
fn bounds_are_read_back_by_their_kind() {
    let columns =
        [("k1", "int", "integer"), ("k2", "decimal(4,1)", "numeric(4,1)"), ("k3", "binary(2)", "bytea")];
    let plan = TablePlan::new(&subject(&columns), of(Engine::MySql)).unwrap();
    let row = |values: [&str; 3]| -> Vec<Option<String>> {
        values.iter().map(|value| Some((*value).to_owned())).collect()
    };
    assert_eq!(
        plan.key_of(&row(["-5", "1.5", "00ff"])),
        Some(vec![KeyValue::Integer(-5), KeyValue::Decimal("1.5".to_owned()), KeyValue::Bytes(vec![0, 255])])
    );
    for bad in [["x", "1.5", "00"], ["1", "1", "0"], ["1", "1", "zz"], ["1", "1", "é"]] {
        assert_eq!(plan.key_of(&row(bad)), None, "{bad:?}");
    }
    assert_eq!(plan.key_of(&[Some("1".to_owned())]), None);
    assert_eq!(plan.key_of(&[None, Some("1".to_owned()), Some("00".to_owned())]), None);
}
