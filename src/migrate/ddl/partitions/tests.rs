//! Partitioned tables, from the catalog's words to the target's statements.

use super::*;
use crate::migrate::ddl::{Ddl, plan};
use crate::migrate::quote::MAX_NAME_BYTES;
use crate::migrate::schema::fixtures::{self, column, name};
use crate::migrate::schema::{Check, ColumnDefault, ForeignKey, Schema};
use std::collections::BTreeSet;

fn table(of: &str, columns: &[(&str, &str)], key: &[&str]) -> Table {
    Table {
        primary_key: key.iter().map(|column| (*column).to_owned()).collect(),
        ..fixtures::table(
            name("shop", of),
            columns.iter().map(|(of, source_type)| column(of, source_type)).collect(),
        )
    }
}

fn part(expression: &str) -> IndexPart {
    IndexPart {
        expression: expression.to_owned(),
        is_column: !expression.contains('('),
        descending: false,
        prefix: None,
    }
}

fn index(of: &str, parts: &[&str], definition: &str) -> Index {
    Index {
        name: of.to_owned(),
        parts: parts.iter().map(|expression| part(expression)).collect(),
        unique: false,
        constraint: false,
        method: "btree".to_owned(),
        include: Vec::new(),
        condition: None,
        definition: Some(definition.to_owned()),
    }
}

fn unique(of: &str, parts: &[&str], definition: &str) -> Index {
    Index { unique: true, constraint: true, ..index(of, parts, definition) }
}

fn foreign_key(of: &str, columns: &[&str], to: &str, referred: &[&str]) -> ForeignKey {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    ForeignKey {
        name: of.to_owned(),
        columns: owned(columns),
        refers_to: name("shop", to),
        referred: owned(referred),
        on_delete: None,
        on_update: None,
        deferrable: None,
        match_full: false,
    }
}

fn partition(of: TableName, parent: &str, bound: &str) -> Partition {
    Partition { name: of, parent: name("shop", parent), bound: bound.to_owned(), key: None, comment: None }
}

/// By time, with a default partition; the second is partitioned itself, into another schema.
fn events() -> (Table, Partitioned) {
    let columns =
        [("id", "bigint"), ("at", "timestamp with time zone"), ("code", "integer"), ("what", "text")];
    let mut events = table("events", &columns, &["id", "at"]);
    events.columns[0].default = ColumnDefault::Identity { always: true, next: Some(7), counting: None };
    events.indexes = vec![
        index(
            "by_word",
            &["lower(what)"],
            "CREATE INDEX by_word ON shop.events USING btree (lower(what)) WHERE (code > 10)",
        ),
        unique(
            "events_code_key",
            &["code", "at"],
            "CREATE UNIQUE INDEX events_code_key ON shop.events USING btree (code, at)",
        ),
    ];
    events.checks = vec![Check { name: "said".to_owned(), expression: "(what <> ''::text)".to_owned() }];
    let year = |of: &str, from: u32| {
        let bound =
            format!("FOR VALUES FROM ('{from}-01-01 00:00:00+00') TO ('{}-01-01 00:00:00+00')", from + 1);
        partition(name("shop", of), "events", &bound)
    };
    let partitions = vec![
        Partition { comment: Some("the old".to_owned()), ..year("events_2023", 2023) },
        Partition { key: Some("HASH (id)".to_owned()), ..year("events_2024", 2024) },
        partition(name("shop", "events_rest"), "events", "DEFAULT"),
        partition(name("old", "events_2024_0"), "events_2024", "FOR VALUES WITH (modulus 1, remainder 0)"),
    ];
    (events, Partitioned { table: name("shop", "events"), key: "RANGE (at)".to_owned(), partitions })
}

fn planned(
    tables: Vec<Table>,
    partitioned: Vec<Partitioned>,
    mode: TargetMode,
    renamed: Option<&str>,
) -> Ddl {
    let schemas = renamed.map(|new| ("shop".to_owned(), new.to_owned()));
    let options = Options {
        partitioned,
        schemas: schemas.into_iter().collect(),
        ..Options::new(Engine::Postgres, mode)
    };
    plan(&Schema { tables, ..Schema::default() }, &options)
}

fn sql_of(ddl: &Ddl, kind: Kind) -> Vec<&str> {
    ddl.statements.iter().filter(|statement| statement.kind == kind).map(|found| found.sql.as_str()).collect()
}

fn described(ddl: &Ddl, phase: Phase) -> Vec<&str> {
    let of_phase = ddl.statements.iter().filter(|statement| statement.phase == phase);
    of_phase.map(|statement| statement.describes.as_str()).collect()
}

#[test]
fn a_table_comes_with_its_partitions_parents_first() {
    let (events, tree) = events();
    let ddl = planned(vec![events], vec![tree], TargetMode::DropRecreate, Some("new"));
    assert_eq!(
        sql_of(&ddl, Kind::Drop),
        ["DROP TABLE IF EXISTS \"new\".\"events\", \"new\".\"events_2023\", \"new\".\"events_2024\", \
             \"new\".\"events_rest\", \"old\".\"events_2024_0\""]
    );
    assert_eq!(
        sql_of(&ddl, Kind::Table),
        ["CREATE TABLE IF NOT EXISTS \"new\".\"events\" (\n    \
          \"id\" bigint GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME \"new\".\"events_id_seq\") NOT NULL,\n    \
          \"at\" timestamp with time zone NOT NULL,\n    \
          \"code\" integer,\n    \
          \"what\" text\n) PARTITION BY RANGE (at)"]
    );
    assert_eq!(
        sql_of(&ddl, Kind::Partition),
        [
            "CREATE TABLE IF NOT EXISTS \"new\".\"events_2023\" PARTITION OF \"new\".\"events\" FOR VALUES FROM \
             ('2023-01-01 00:00:00+00') TO ('2024-01-01 00:00:00+00')",
            "CREATE TABLE IF NOT EXISTS \"new\".\"events_2024\" PARTITION OF \"new\".\"events\" FOR VALUES FROM \
             ('2024-01-01 00:00:00+00') TO ('2025-01-01 00:00:00+00') PARTITION BY HASH (id)",
            "CREATE TABLE IF NOT EXISTS \"new\".\"events_rest\" PARTITION OF \"new\".\"events\" DEFAULT",
            "CREATE TABLE IF NOT EXISTS \"old\".\"events_2024_0\" PARTITION OF \"new\".\"events_2024\" FOR VALUES \
             WITH (modulus 1, remainder 0)",
        ]
    );
    assert_eq!(
        described(&ddl, Phase::BeforeLoad),
        [
            "old table new.events",
            "names of 10 indexes",
            "schema new",
            "schema old",
            "table new.events",
            "partition new.events_2023",
            "partition new.events_2024",
            "partition new.events_rest",
            "partition old.events_2024_0",
        ]
    );
    let partitions: Vec<String> = ddl.partitions.iter().map(shown).collect();
    assert_eq!(partitions, ["new.events_2023", "new.events_2024", "new.events_rest", "old.events_2024_0"]);
    assert_eq!(sql_of(&ddl, Kind::Comment), ["COMMENT ON TABLE \"new\".\"events_2023\" IS 'the old'"]);
    assert!(ddl.notes.is_empty() && ddl.collisions.is_empty(), "{:?}", ddl.notes);
}

#[test]
fn leaves_get_their_indexes_before_the_whole() {
    let (events, tree) = events();
    let ddl = planned(vec![events], vec![tree], TargetMode::DropRecreate, None);
    assert_eq!(
        described(&ddl, Phase::AfterLoad),
        [
            "index events_2023_pkey of shop.events_2023",
            "index events_rest_pkey of shop.events_rest",
            "index events_2024_0_pkey of old.events_2024_0",
            "index events_2023_lower_idx of shop.events_2023",
            "index events_rest_lower_idx of shop.events_rest",
            "index events_2024_0_lower_idx of old.events_2024_0",
            "index events_2023_code_at_key of shop.events_2023",
            "index events_rest_code_at_key of shop.events_rest",
            "index events_2024_0_code_at_key of old.events_2024_0",
            "primary key of shop.events_2023",
            "primary key of shop.events_rest",
            "primary key of old.events_2024_0",
            "unique constraint events_2023_code_at_key of shop.events_2023",
            "unique constraint events_rest_code_at_key of shop.events_rest",
            "unique constraint events_2024_0_code_at_key of old.events_2024_0",
            "primary key of shop.events",
            "unique constraint events_code_key of shop.events",
            "index by_word of shop.events",
            "check said of shop.events",
        ]
    );
    let indexes = sql_of(&ddl, Kind::Index);
    assert_eq!(indexes.len(), 9);
    assert_eq!(
        indexes[0],
        "CREATE UNIQUE INDEX IF NOT EXISTS \"events_2023_pkey\" ON \"shop\".\"events_2023\" (\"id\", \"at\")"
    );
    assert_eq!(
        indexes[5],
        "CREATE INDEX IF NOT EXISTS \"events_2024_0_lower_idx\" ON \"old\".\"events_2024_0\" USING btree (lower(what)) \
         WHERE (code > 10)"
    );
    assert_eq!(
        sql_of(&ddl, Kind::PartitionedIndex),
        [
            "CREATE INDEX IF NOT EXISTS \"by_word\" ON \"shop\".\"events\" USING btree (lower(what)) WHERE (code > 10)"
        ]
    );
    let constraints = sql_of(&ddl, Kind::Constraint);
    assert!(constraints[0].contains(
        "ALTER TABLE \"shop\".\"events_2023\" ADD CONSTRAINT \"events_2023_pkey\" PRIMARY KEY USING INDEX \
         \"events_2023_pkey\";"
    ));
    // No partitioned table can have a constraint of an index that is there.
    assert_eq!(
        constraints[6],
        "DO $leverd$BEGIN IF NOT EXISTS (SELECT 1 FROM pg_catalog.pg_constraint WHERE conrelid = \
         '\"shop\".\"events\"'::pg_catalog.regclass AND contype = 'p') THEN ALTER TABLE \"shop\".\"events\" ADD \
         CONSTRAINT \"events_pkey\" PRIMARY KEY (\"id\", \"at\"); END IF; END$leverd$"
    );
    assert!(constraints[7].contains("ADD CONSTRAINT \"events_code_key\" UNIQUE (\"code\", \"at\");"));
    assert!(constraints[8].contains("CHECK ((what <> ''::text)) NOT VALID;"));
    assert!(ddl.statements.iter().all(|statement| statement.table != Some(name("shop", "events_2023"))));
}

#[test]
fn a_unique_constraint_keeps_what_its_index_says() {
    let (mut events, tree) = events();
    let definition =
        "CREATE UNIQUE INDEX k ON shop.events USING btree (code, at) INCLUDE (what) NULLS NOT DISTINCT";
    events.indexes =
        vec![Index { include: vec!["what".to_owned()], ..unique("k", &["code", "at"], definition) }];
    let ddl = planned(vec![events], vec![tree], TargetMode::DropRecreate, None);
    let constraints = sql_of(&ddl, Kind::Constraint);
    let whole = constraints.iter().find(|sql| sql.contains("ADD CONSTRAINT \"k\"")).unwrap();
    assert!(
        whole.contains("\"k\" UNIQUE NULLS NOT DISTINCT (\"code\", \"at\") INCLUDE (\"what\");"),
        "{whole}"
    );
    assert!(sql_of(&ddl, Kind::Index)[3].ends_with(
        "\"events_2023_code_at_what_key\" ON \"shop\".\"events_2023\" USING btree (code, at) INCLUDE (what) NULLS NOT \
         DISTINCT"
    ));
}

#[test]
fn an_exclusion_is_made_on_the_whole_alone() {
    let (mut events, tree) = events();
    let definition =
        "ALTER TABLE shop.events ADD CONSTRAINT apart EXCLUDE USING gist (code WITH =, at WITH =)";
    events.indexes = vec![Index { constraint: true, ..index("apart", &["code", "at"], definition) }];
    let ddl = planned(vec![events], vec![tree], TargetMode::DropRecreate, None);
    let made: Vec<&str> =
        ddl.statements.iter().map(|made| made.sql.as_str()).filter(|sql| sql.contains("EXCLUDE")).collect();
    assert_eq!(made.len(), 1, "{made:?}");
    assert!(
        made[0].contains("ALTER TABLE \"shop\".\"events\" ADD CONSTRAINT \"apart\" EXCLUDE USING gist (")
    );
}

#[test]
fn foreign_keys_of_and_to_partitions_are_validated_at_once() {
    let (mut events, tree) = events();
    events.foreign_keys = vec![foreign_key("to_customer", &["code"], "customers", &["id"])];
    let customers = table("customers", &[("id", "integer")], &["id"]);
    let mut notes = table("notes", &[("id", "bigint"), ("at", "timestamp with time zone")], &["id"]);
    notes.foreign_keys = vec![foreign_key("to_event", &["id", "at"], "events", &["id", "at"])];
    let mut orders = table("orders", &[("id", "integer")], &["id"]);
    orders.foreign_keys = vec![foreign_key("plain", &["id"], "customers", &["id"])];
    let tables = vec![customers, events, notes, orders];
    let ddl = planned(tables, vec![tree], TargetMode::DropRecreate, None);
    assert_eq!(
        described(&ddl, Phase::Validate),
        [
            "foreign key to_customer of shop.events",
            "foreign key to_event of shop.notes",
            "foreign key plain of shop.orders",
            "rows against check said of shop.events",
            "rows against foreign key plain of shop.orders",
        ]
    );
    let later: Vec<bool> =
        sql_of(&ddl, Kind::ForeignKey).iter().map(|sql| sql.contains("NOT VALID")).collect();
    assert_eq!(later, [false, false, true]);
    // All hang together: what refers to a partition goes in the statement in which that goes.
    let drops = sql_of(&ddl, Kind::Drop);
    assert_eq!(drops.len(), 1);
    assert!(drops[0].starts_with("DROP TABLE IF EXISTS \"shop\".\"customers\", \"shop\".\"events\", "));
    assert!(drops[0].ends_with("\"shop\".\"events_rest\", \"old\".\"events_2024_0\""));
}

#[test]
fn what_is_kept_stays_partitioned_as_it_is() {
    let (events, tree) = events();
    let emptied = planned(vec![events.clone()], vec![tree.clone()], TargetMode::Truncate, None);
    assert_eq!(sql_of(&emptied, Kind::Truncate), ["TRUNCATE TABLE \"shop\".\"events\""]);
    assert!(sql_of(&emptied, Kind::Drop).is_empty());
    assert_eq!(
        sql_of(&emptied, Kind::Partition)[2],
        "DO $leverd$BEGIN IF pg_catalog.to_regclass('\"shop\".\"events_rest\"') IS NULL AND EXISTS (SELECT 1 FROM \
         pg_catalog.pg_partitioned_table WHERE partrelid = pg_catalog.to_regclass('\"shop\".\"events\"')) THEN CREATE \
         TABLE IF NOT EXISTS \"shop\".\"events_rest\" PARTITION OF \"shop\".\"events\" DEFAULT; END IF; EXCEPTION WHEN \
         invalid_table_definition OR invalid_object_definition OR check_violation THEN NULL; END$leverd$"
    );
    // The target's leaves may be others.
    assert!(sql_of(&emptied, Kind::Index).is_empty() && sql_of(&emptied, Kind::Comment).is_empty());
    assert_eq!(
        described(&emptied, Phase::AfterLoad),
        [
            "primary key of shop.events",
            "unique constraint events_code_key of shop.events",
            "index by_word of shop.events",
            "check said of shop.events",
        ]
    );
    assert_eq!(emptied.notes.len(), 1);
    assert_eq!(emptied.notes[0].about, "partitioning by RANGE (at)");

    let kept = planned(vec![events], vec![tree], TargetMode::Upsert, None);
    assert_eq!(described(&kept, Phase::BeforeLoad).last(), Some(&"primary key of shop.events"));
    assert!(described(&kept, Phase::AfterLoad).iter().all(|made| !made.contains("primary key")));
}

#[test]
fn a_key_moves_into_the_targets_schemas_or_the_table_is_a_plain_one() {
    let (mut events, mut tree) = events();
    tree.key = "RANGE (shop.day_of(at))".to_owned();
    let ddl = planned(vec![events.clone()], vec![tree.clone()], TargetMode::DropRecreate, Some("range"));
    assert!(sql_of(&ddl, Kind::Table)[0].ends_with(" PARTITION BY RANGE (\"range\".day_of(at))"));

    // A column that is called as the schema.
    events.columns[2].name = "shop".to_owned();
    events.indexes.clear();
    tree.key = "LIST (shop)".to_owned();
    let ddl = planned(vec![events], vec![tree], TargetMode::DropRecreate, Some("new"));
    assert!(sql_of(&ddl, Kind::Table)[0].ends_with("\n)"));
    assert!(sql_of(&ddl, Kind::Partition).is_empty() && ddl.partitions.is_empty());
    assert_eq!(sql_of(&ddl, Kind::Drop), ["DROP TABLE IF EXISTS \"new\".\"events\""]);
    assert_eq!(sql_of(&ddl, Kind::Index).len(), 1);
    assert_eq!((ddl.notes.len(), ddl.notes[0].about.as_str()), (1, "partitioning by LIST (shop)"));
    assert!(ddl.notes[0].text.contains("one table has all rows"), "{}", ddl.notes[0].text);
}

#[test]
fn partitions_count_as_tables_where_tables_are_dropped() {
    let with_partitions = |of: &str| {
        let partitions = (0..150).map(|at| {
            let bound = format!("FOR VALUES IN ({at})");
            partition(name("shop", &format!("{of}_{at}")), of, &bound)
        });
        Partitioned { table: name("shop", of), key: "LIST (id)".to_owned(), partitions: partitions.collect() }
    };
    let tables = ["a", "b", "c"].map(|of| table(of, &[("id", "integer")], &["id"])).to_vec();
    let trees = vec![with_partitions("a"), with_partitions("b")];
    let ddl = planned(tables, trees, TargetMode::DropRecreate, None);
    let sizes: Vec<usize> =
        sql_of(&ddl, Kind::Drop).iter().map(|sql| sql.matches("\"shop\".").count()).collect();
    assert_eq!(sizes, [151, 152]);
}

#[test]
fn names_of_the_source_come_before_those_that_are_made() {
    let (mut events, mut tree) = events();
    let by_code =
        |of: &str| index(of, &["code"], &format!("CREATE INDEX {of} ON shop.events USING btree (code)"));
    let mut customers = table("customers", &[("id", "integer")], &["id"]);
    customers.indexes = vec![index(
        "events_2023_code_idx1",
        &["id"],
        "CREATE INDEX events_2023_code_idx1 ON shop.customers USING btree (id)",
    )];
    // The second has a leaf's name already.
    events.indexes = vec![by_code("by_code"), by_code("events_2023_code_idx")];
    let long = "x".repeat(MAX_NAME_BYTES);
    tree.partitions[2].name.name = long.clone();
    let ddl = planned(vec![customers, events], vec![tree], TargetMode::DropRecreate, None);
    assert!(ddl.collisions.is_empty(), "{:?}", ddl.collisions);
    let made = described(&ddl, Phase::AfterLoad);
    for wanted in [
        "index events_2023_code_idx1 of shop.customers".to_owned(),
        "index events_2023_code_idx2 of shop.events_2023".to_owned(),
        "index events_2023_code_idx3 of shop.events_2023".to_owned(),
        "index events_2023_code_idx of shop.events".to_owned(),
        format!("index {}_code_idx1 of shop.{long}", "x".repeat(MAX_NAME_BYTES - 10)),
    ] {
        assert!(made.contains(&wanted.as_str()), "no {wanted} in {made:#?}");
    }
}

#[test]
fn other_tables_and_other_engines_have_no_partitions() {
    let (events, tree) = events();
    let other = Partitioned { table: name("shop", "elsewhere"), ..tree.clone() };
    let ddl = planned(vec![events.clone()], vec![other], TargetMode::DropRecreate, None);
    assert!(ddl.partitions.is_empty() && sql_of(&ddl, Kind::Schema).len() == 1);
    let options =
        Options { partitioned: vec![tree], ..Options::new(Engine::MySql, TargetMode::DropRecreate) };
    let mut of_mysql = table("events", &[("id", "int")], &["id"]);
    of_mysql.name = events.name;
    let ddl = plan(&Schema { tables: vec![of_mysql], ..Schema::default() }, &options);
    assert!(ddl.partitions.is_empty() && !sql_of(&ddl, Kind::Table)[0].contains("PARTITION"));
}

#[test]
fn an_index_is_named_after_what_it_is_over() {
    let words = |parts: &[&str], include: &[&str]| {
        let include = include.iter().map(|column| (*column).to_owned()).collect();
        words_of(&Index { include, ..index("i", parts, "") })
    };
    assert_eq!(words(&["a", "b"], &["c"]), "a_b_c");
    assert_eq!(words(&["a", "a"], &["a"]), "a_a1_a2");
    assert_eq!(words(&["lower(a)", "shop.fold(a)", "COALESCE(a, b)"], &[]), "lower_fold_coalesce");
    assert_eq!(words(&["((a + b))", "((c)::date)"], &[]), "expr_expr1");
    assert_eq!(words(&["\"F\"(a)"], &[]), "expr");
}

proptest::proptest! {
    #[test]
    fn whatever_the_names_are_they_are_quoted_and_differ(
        names in proptest::collection::btree_set("[^\0]{1,70}", 2..6),
    ) {
        let mut names: Vec<&String> = names.iter().collect();
        let root = names.remove(0);
        let mut of_root = table(root, &[("id", "integer")], &["id"]);
        of_root.indexes = vec![index("i", &["id"], "CREATE INDEX i ON shop.t USING btree (id)")];
        let partitions: Vec<Partition> = names
            .iter()
            .enumerate()
            .map(|(at, of)| partition(name("shop", of), root, &format!("FOR VALUES IN ({at})")))
            .collect();
        let count = partitions.len();
        let tree = Partitioned { table: name("shop", root), key: "LIST (id)".to_owned(), partitions };
        let ddl = planned(vec![of_root], vec![tree], TargetMode::DropRecreate, None);
        let given: BTreeSet<&TableName> = ddl.partitions.iter().collect();
        proptest::prop_assert_eq!(given.len(), count);
        for (sql, made) in sql_of(&ddl, Kind::Partition).into_iter().zip(&ddl.partitions) {
            let start = format!("CREATE TABLE IF NOT EXISTS {} PARTITION OF ", qualified(made));
            proptest::prop_assert!(sql.starts_with(&start) && made.name.len() <= MAX_NAME_BYTES, "{}", sql);
        }
        let indexes = sql_of(&ddl, Kind::Index);
        let differ: BTreeSet<&str> =
            indexes.iter().map(|sql| sql.split(" ON ").next().unwrap_or_default()).collect();
        proptest::prop_assert_eq!(differ.len(), 2 * count);
    }
}
