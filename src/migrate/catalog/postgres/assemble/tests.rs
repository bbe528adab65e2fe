//! The assembly on made-up rows, and what each query must not forget.

use super::super::queries;
use super::super::rows::{CommentRow, IndexRow, OtherRow, ViewRow, values_statement};
use super::*;
use crate::migrate::catalog::Commented;
use crate::migrate::quote;

fn name(of: &str) -> TableName {
    TableName { schema: "public".to_owned(), name: of.to_owned() }
}

fn relation(oid: u32, of: &str) -> RelationRow {
    RelationRow {
        oid,
        name: name(of),
        kind: "r".to_owned(),
        is_partition: false,
        parents: Vec::new(),
        bound: None,
        partition_key: None,
        heap: true,
        reltuples: 1000.0,
        relpages: 10,
        heap_bytes: Some(81_920),
        table_bytes: Some(90_112),
        comment: None,
        parameters: Vec::new(),
        toast_parameters: Vec::new(),
        replica_identity: "d".to_owned(),
    }
}

fn partition(oid: u32, of: &str, parent: u32) -> RelationRow {
    let bound = Some(format!("FOR VALUES IN ({oid})"));
    RelationRow { is_partition: true, parents: vec![parent], bound, ..relation(oid, of) }
}

fn partitioned(oid: u32, of: &str) -> RelationRow {
    RelationRow {
        kind: "p".to_owned(),
        partition_key: Some("LIST (id)".to_owned()),
        heap: false,
        heap_bytes: None,
        table_bytes: None,
        ..relation(oid, of)
    }
}

fn column(relation: u32, position: i16, of: &str, source_type: &str) -> ColumnRow {
    ColumnRow {
        relation,
        position,
        name: of.to_owned(),
        source_type: source_type.to_owned(),
        not_null: false,
        identity: String::new(),
        generated: String::new(),
        expression: None,
        collation: None,
        comment: None,
    }
}

fn index(relation: u32, of: &str, parts: &[&str]) -> IndexRow {
    IndexRow {
        relation,
        of: name("t"),
        name: of.to_owned(),
        unique: false,
        primary: false,
        valid: true,
        method: "btree".to_owned(),
        keys: i16::try_from(parts.len()).unwrap(),
        parts: parts.iter().map(|part| (*part).to_owned()).collect(),
        is_column: vec![true; parts.len()],
        descending: vec![false; parts.len()],
        definition: format!("CREATE INDEX {of} ON public.t USING btree (…)"),
        condition: None,
        constraint: None,
        deferrable: false,
        constraint_statement: None,
        parameters: Vec::new(),
    }
}

fn sequence(oid: u32, of: &str, owner: Option<(u32, i16)>) -> SequenceRow {
    SequenceRow {
        oid,
        name: name(of),
        data_type: "bigint".to_owned(),
        start: 1,
        increment: 1,
        min: 1,
        max: i64::MAX,
        cache: 1,
        cycle: false,
        nextval: format!("nextval('public.{of}'::regclass)"),
        owner,
        readable: true,
    }
}

fn value(oid: u32, last_value: i64, is_called: bool) -> SequenceValueRow {
    SequenceValueRow { oid, last_value, is_called }
}

fn view(oid: u32, of: &str) -> ViewRow {
    let query = " SELECT 1;".to_owned();
    ViewRow { oid, name: name(of), materialized: false, query, options: None, comment: None }
}

fn rows() -> Rows {
    Rows { version_num: 150_004, block_size: 8192, ..Rows::default() }
}

fn remarks(catalog: &Catalog) -> Vec<String> {
    catalog.remarks.iter().map(|remark| format!("{} {}", remark.subject, remark.text)).collect()
}

#[test]
fn tables_are_in_order_of_name_with_what_is_counted() {
    let mut rows = rows();
    rows.relations = vec![relation(1, "b"), RelationRow { reltuples: -1.0, ..relation(2, "a") }];
    rows.columns = vec![column(1, 1, "x", "text"), column(2, 1, "y", "integer"), column(9, 1, "z", "text")];
    let catalog = assemble(&rows);
    let [a, b] = catalog.schema.tables.as_slice() else { panic!("two tables") };
    assert_eq!((a.name.name.as_str(), a.columns[0].name.as_str(), a.estimated_rows), ("a", "y", None));
    assert_eq!((b.name.name.as_str(), b.estimated_rows, b.bytes), ("b", Some(1000), Some(90_112)));
    assert!(b.columns[0].nullable);
    assert_eq!(catalog.relations[&name("b")][0].blocks, Some(10));
    assert_eq!(remarks(&catalog), Vec::<String>::new());
}

#[test]
fn what_was_never_counted_is_not_zero() {
    let never = RelationRow { reltuples: 0.0, relpages: 0, ..relation(1, "t") };
    assert_eq!(estimated_rows_of(&never), None);
    assert_eq!(estimated_rows_of(&RelationRow { heap_bytes: Some(0), ..never }), Some(0));
    assert_eq!(estimated_rows_of(&RelationRow { reltuples: -1.0, ..relation(1, "t") }), None);
    assert_eq!(estimated_rows_of(&RelationRow { reltuples: 0.0, ..relation(1, "t") }), Some(0));
}

#[test]
fn blocks_are_for_heaps_from_14_on() {
    let mut rows = rows();
    assert_eq!(blocks_of(&relation(1, "t"), &rows), Some(10));
    assert_eq!(blocks_of(&RelationRow { heap: false, ..relation(1, "t") }, &rows), None);
    rows.version_num = 130_012;
    assert_eq!(blocks_of(&relation(1, "t"), &rows), None);
}

#[test]
fn a_partitioned_table_is_one_table_read_from_its_leaves() {
    let mut rows = rows();
    let middle = RelationRow { is_partition: true, parents: vec![1], ..partitioned(3, "p_rest") };
    rows.relations = vec![
        partition(4, "p_rest_1", 3),
        partitioned(1, "p"),
        RelationRow { comment: Some("the first".to_owned()), ..partition(2, "p_1", 1) },
        middle,
        partition(5, "orphan", 77),
    ];
    rows.columns = vec![column(1, 1, "id", "bigint")];
    let catalog = assemble(&rows);
    assert_eq!(catalog.schema.tables.len(), 1);
    assert_eq!(catalog.schema.tables[0].estimated_rows, Some(2000));
    let leaves: Vec<&str> =
        catalog.relations[&name("p")].iter().map(|leaf| leaf.name.name.as_str()).collect();
    assert_eq!(leaves, ["p_1", "p_rest_1"]);
    let tree = &catalog.partitioned[0];
    let below: Vec<(&str, &str)> = tree
        .partitions
        .iter()
        .map(|partition| (partition.name.name.as_str(), partition.parent.name.as_str()))
        .collect();
    assert_eq!(below, [("p_1", "p"), ("p_rest", "p"), ("p_rest_1", "p_rest")]);
    assert_eq!((tree.key.as_str(), tree.partitions[0].bound.as_str()), ("LIST (id)", "FOR VALUES IN (2)"));
    let comments: Vec<Option<&str>> =
        tree.partitions.iter().map(|partition| partition.comment.as_deref()).collect();
    assert_eq!(comments, [Some("the first"), None, None]);
    let remarks = remarks(&catalog);
    assert!(remarks[0].starts_with("public.orphan is a partition of a table"), "{remarks:?}");
    assert_eq!(remarks.len(), 1, "{remarks:?}");
}

#[test]
fn children_and_foreign_tables_are_told_of() {
    let mut rows = rows();
    rows.relations = vec![
        relation(1, "parent"),
        RelationRow { parents: vec![1], ..relation(2, "child") },
        RelationRow { kind: "f".to_owned(), heap: false, heap_bytes: None, ..relation(3, "far") },
    ];
    let catalog = assemble(&rows);
    assert_eq!(catalog.schema.tables.len(), 2);
    assert_eq!(catalog.relations.len(), 2);
    let remarks = remarks(&catalog);
    assert!(remarks[0].starts_with("public.child inherits from public.parent"), "{remarks:?}");
    assert!(remarks[1].starts_with("public.far is a foreign table"), "{remarks:?}");
}

#[test]
fn defaults_are_told_apart() {
    let mut rows = rows();
    rows.relations = vec![relation(1, "t")];
    let with = |position, expression: &str| ColumnRow {
        expression: Some(expression.to_owned()),
        ..column(1, position, "c", "integer")
    };
    rows.columns = vec![
        column(1, 1, "none", "text"),
        ColumnRow { identity: "a".to_owned(), ..column(1, 2, "always", "bigint") },
        with(3, "nextval('public.t_c_seq'::regclass)"),
        with(4, "7"),
        ColumnRow { generated: "s".to_owned(), ..with(5, "(a + b)") },
        ColumnRow { generated: "v".to_owned(), ..with(6, "(a - b)") },
        with(7, "nextval('public.shared'::regclass)"),
        with(8, "(nextval('public.shared'::regclass) + 1)"),
    ];
    rows.sequences = vec![
        sequence(10, "t_always_seq", Some((1, 2))),
        sequence(11, "t_c_seq", Some((1, 3))),
        sequence(12, "shared", Some((1, 7))),
        sequence(13, "alone", None),
    ];
    rows.sequence_values =
        vec![value(10, 41, true), value(11, 5, false), value(12, 8, true), value(13, 1, false)];
    let catalog = assemble(&rows);
    let defaults: Vec<&ColumnDefault> =
        catalog.schema.tables[0].columns.iter().map(|column| &column.default).collect();
    assert_eq!(defaults[0], &ColumnDefault::None);
    assert_eq!(defaults[1], &ColumnDefault::Identity { always: true, next: Some(42), counting: None });
    assert_eq!(defaults[2], &ColumnDefault::Serial { next: Some(5), counting: None });
    assert_eq!(defaults[3], &ColumnDefault::Expression("7".to_owned()));
    assert_eq!(defaults[4], &ColumnDefault::Generated("(a + b)".to_owned()));
    assert_eq!(defaults[5], &ColumnDefault::Generated("(a - b)".to_owned()));
    assert!(matches!(defaults[6], ColumnDefault::Expression(_)), "two columns ask it");
    let own: Vec<(&str, Option<i64>)> =
        catalog.schema.sequences.iter().map(|own| (own.name.name.as_str(), own.next)).collect();
    assert_eq!(own, [("alone", Some(1)), ("shared", Some(9))]);
    assert_eq!(
        catalog.schema.sequences[0].definition,
        "AS bigint INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1 NO CYCLE"
    );
}

#[test]
fn a_column_has_how_its_sequence_counts() {
    let by_fives =
        SequenceRow { increment: -5, min: -90, max: -1, start: -1, cache: 3, ..sequence(1, "s", None) };
    let counting = Counting { increment: -5, min: -90, max: -1, start: -1, cache: 3, cycle: false };
    assert_eq!(counting_of("bigint", &by_fives), (Some(counting), None));
    // The column's type would refuse what is beyond it.
    assert_eq!(counting_of("integer", &sequence(1, "s", None)), (None, None));
    let (none, remark) = counting_of("smallint", &SequenceRow { min: 40_000, ..sequence(1, "s", None) });
    assert!(none.is_none() && remark.unwrap().contains("MINVALUE 40000"));
}

#[test]
fn a_deferrable_constraint_is_made_in_one_statement() {
    let mut rows = rows();
    rows.relations = vec![relation(1, "t")];
    let statement = "ALTER TABLE public.t ADD CONSTRAINT t_x_key UNIQUE (x) DEFERRABLE INITIALLY DEFERRED";
    let deferrable = IndexRow { unique: true, deferrable: true, ..index(1, "t_x_key", &["x"]) };
    rows.indexes = vec![
        IndexRow {
            constraint: Some("u".to_owned()),
            constraint_statement: Some(statement.to_owned()),
            parameters: vec!["fillfactor=50".to_owned()],
            ..deferrable.clone()
        },
        IndexRow {
            name: "t_key".to_owned(),
            primary: true,
            constraint: Some("p".to_owned()),
            constraint_statement: Some("ALTER TABLE …".to_owned()),
            ..deferrable
        },
    ];
    let catalog = assemble(&rows);
    let table = &catalog.schema.tables[0];
    assert_eq!((table.primary_key_name.as_deref(), table.primary_key.len()), (Some("t_key"), 1));
    let [unique] = table.indexes.as_slice() else { panic!("{:?}", table.indexes) };
    assert_eq!(unique.definition.as_deref(), Some(statement));
    assert!(unique.constraint && !unique.unique);
    assert_eq!(catalog.storage[&name("t")].key_deferrable.as_deref(), Some("DEFERRABLE"));
    assert_eq!(
        remarks(&catalog),
        ["the index t_x_key of public.t is made without its storage parameters: fillfactor=50"]
    );
}

#[test]
fn a_sequence_ends_or_begins_again() {
    let short = SequenceRow { max: 3, ..sequence(1, "s", None) };
    assert_eq!(next_value(&short, &value(1, 2, true)), Some(3));
    assert_eq!(next_value(&short, &value(1, 3, true)), None);
    assert_eq!(next_value(&SequenceRow { cycle: true, ..short }, &value(1, 3, true)), Some(1));
    let down = SequenceRow { increment: -5, min: -9, max: -1, cycle: true, ..sequence(1, "s", None) };
    assert_eq!(next_value(&down, &value(1, -6, true)), Some(-1));
    assert_eq!(next_value(&sequence(1, "s", None), &value(1, i64::MAX, true)), None);
}

#[test]
fn a_sequence_that_may_not_be_read_is_told_of() {
    let mut rows = rows();
    rows.sequences = vec![SequenceRow { readable: false, ..sequence(1, "hidden", None) }];
    let catalog = assemble(&rows);
    assert_eq!(catalog.schema.sequences[0].next, None);
    assert_eq!(
        remarks(&catalog),
        ["the sequence public.hidden may not be read by this role: its next value is not known"]
    );
}

#[test]
fn indexes_keys_and_constraints_are_sorted_out() {
    let mut rows = rows();
    rows.relations = vec![relation(1, "t")];
    let excluding = "ALTER TABLE public.t ADD CONSTRAINT no_overlap EXCLUDE USING gist (during WITH &&)";
    rows.indexes = vec![
        IndexRow {
            primary: true,
            unique: true,
            constraint: Some("p".to_owned()),
            ..index(1, "t_pkey", &["b", "a"])
        },
        IndexRow { unique: true, constraint: Some("u".to_owned()), ..index(1, "t_x_key", &["x"]) },
        IndexRow {
            is_column: vec![false, true],
            descending: vec![true, false],
            keys: 1,
            condition: Some("(x > 0)".to_owned()),
            ..index(1, "by_lower", &["lower(x)", "y"])
        },
        IndexRow {
            method: "gist".to_owned(),
            constraint: Some("x".to_owned()),
            constraint_statement: Some(excluding.to_owned()),
            ..index(1, "no_overlap", &["during"])
        },
        IndexRow { valid: false, ..index(1, "broken", &["x"]) },
        IndexRow { unique: true, ..index(9, "of_a_view", &["x"]) },
        index(9, "also_of_it", &["y"]),
    ];
    rows.views = vec![ViewRow { materialized: true, ..view(9, "kept") }];
    let catalog = assemble(&rows);
    let table = &catalog.schema.tables[0];
    assert_eq!(table.primary_key, ["b", "a"]);
    let [by_lower, no_overlap, unique] = table.indexes.as_slice() else { panic!("{:?}", table.indexes) };
    assert_eq!((by_lower.parts.len(), by_lower.include.as_slice()), (1, &["y".to_owned()][..]));
    assert!(by_lower.parts[0].descending && !by_lower.parts[0].is_column);
    assert_eq!(by_lower.condition.as_deref(), Some("(x > 0)"));
    assert_eq!(no_overlap.definition.as_deref(), Some(excluding));
    assert!(no_overlap.constraint && !no_overlap.unique);
    assert!(unique.constraint && unique.unique);
    let of_view: Vec<(&str, bool)> =
        catalog.schema.views[0].indexes.iter().map(|index| (index.name.as_str(), index.unique)).collect();
    assert_eq!(of_view, [("also_of_it", false), ("of_a_view", true)]);
    assert_eq!(catalog.remarks.len(), 1, "{:?}", catalog.remarks);
}

#[test]
fn checks_and_foreign_keys_are_parsed_or_told_of() {
    let mut rows = rows();
    rows.relations = vec![relation(1, "t"), relation(2, "o")];
    let constraint = |of: &str, kind: &str, definition: &str| ConstraintRow {
        relation: 1,
        name: of.to_owned(),
        kind: kind.to_owned(),
        definition: definition.to_owned(),
    };
    rows.constraints = vec![
        constraint("positive", "c", "CHECK ((a > 0))"),
        constraint("doubtful", "c", "CHECK ((a > 1)) NOT VALID"),
        constraint("paper", "c", "CHECK ((a > 2)) NOT ENFORCED"),
        constraint("t_o", "f", "FOREIGN KEY (o) REFERENCES public.o(id) ON DELETE CASCADE"),
        constraint("t_leaf", "f", "FOREIGN KEY (o) REFERENCES public.some_partition(id)"),
        constraint("t_new", "f", "FOREIGN KEY (o, PERIOD p) REFERENCES public.o(id, PERIOD p)"),
    ];
    let catalog = assemble(&rows);
    let table = catalog.schema.tables.iter().find(|table| table.name == name("t")).unwrap();
    let checks: Vec<(&str, &str)> =
        table.checks.iter().map(|check| (check.name.as_str(), check.expression.as_str())).collect();
    assert_eq!(checks, [("doubtful", "(a > 1)"), ("positive", "(a > 0)")]);
    assert_eq!(table.foreign_keys.len(), 1);
    assert_eq!(table.foreign_keys[0].refers_to, name("o"));
    assert_eq!(table.foreign_keys[0].on_delete.as_deref(), Some("CASCADE"));
    let remarks = remarks(&catalog);
    assert_eq!(remarks.len(), 4, "{remarks:?}");
    assert!(remarks.iter().any(|text| text.contains("t_leaf") && text.contains("public.some_partition")));
}

#[test]
fn views_come_after_those_that_they_read() {
    let mut rows = rows();
    rows.views = vec![
        ViewRow { options: Some("security_barrier=true, check_option=local".to_owned()), ..view(1, "a") },
        ViewRow { materialized: true, options: Some("odd='x'".to_owned()), ..view(2, "b") },
    ];
    rows.view_reads = vec![(1, 2)];
    rows.others =
        vec![OtherRow { kind: "triggers".to_owned(), count: 7, examples: vec!["public.t.g".to_owned()] }];
    let catalog = assemble(&rows);
    let found: Vec<(&str, bool)> =
        catalog.schema.views.iter().map(|view| (view.name.name.as_str(), view.materialized)).collect();
    assert_eq!(found, [("b", true), ("a", false)]);
    assert_eq!(catalog.schema.views[0].query, "SELECT 1");
    let remarks = remarks(&catalog);
    let options: Vec<Option<&str>> =
        catalog.schema.views.iter().map(|view| view.options.as_deref()).collect();
    assert_eq!(options, [None, Some("security_barrier=true, check_option=local")]);
    assert!(remarks[0].starts_with("public.b has options of a form"), "{remarks:?}");
    assert_eq!(remarks[1], "triggers are not moved: 7 of them (public.t.g, …)");
}

#[test]
fn how_things_are_stored_is_by_table() {
    let own = |parameters: &[&str]| parameters.iter().map(|text| (*text).to_owned()).collect::<Vec<String>>();
    let mut rows = rows();
    rows.relations = vec![
        RelationRow {
            parameters: own(&["fillfactor=70"]),
            toast_parameters: own(&["autovacuum_enabled=false"]),
            ..relation(1, "t")
        },
        RelationRow { replica_identity: "f".to_owned(), ..partitioned(2, "p") },
        RelationRow { parameters: own(&["fillfactor=80"]), ..partition(3, "p_1", 2) },
        RelationRow { replica_identity: "i".to_owned(), ..relation(4, "usual") },
    ];
    let statement = "ALTER TABLE public.t ADD CONSTRAINT k PRIMARY KEY (x) DEFERRABLE INITIALLY DEFERRED";
    rows.indexes = vec![IndexRow {
        primary: true,
        unique: true,
        deferrable: true,
        constraint: Some("p".to_owned()),
        constraint_statement: Some(statement.to_owned()),
        parameters: own(&["fillfactor=60"]),
        ..index(1, "k", &["x"])
    }];
    let catalog = assemble(&rows);
    let stored: Vec<&str> = catalog.storage.keys().map(|table| table.name.as_str()).collect();
    assert_eq!(stored, ["p", "p_1", "t"]);
    let t = &catalog.storage[&name("t")];
    assert_eq!(t.parameters, ["fillfactor=70", "toast.autovacuum_enabled=false"]);
    assert_eq!(t.key_parameters, ["fillfactor=60"]);
    assert_eq!(t.key_deferrable.as_deref(), Some("DEFERRABLE INITIALLY DEFERRED"));
    assert_eq!(catalog.storage[&name("p")].replica_identity.as_deref(), Some("FULL"));
    assert_eq!(catalog.storage[&name("p_1")].parameters, ["fillfactor=80"]);
    assert!(remarks(&catalog).is_empty());
}

#[test]
fn a_comment_knows_what_it_is_on() {
    let mut rows = rows();
    rows.relations = vec![relation(1, "t")];
    rows.columns = vec![ColumnRow { identity: "a".to_owned(), ..column(1, 1, "id", "bigint") }];
    rows.sequences = vec![sequence(10, "t_id_seq", Some((1, 1))), sequence(11, "own", None)];
    let comment = |kind: &str, of: &str, own: &str, text: &str| CommentRow {
        kind: kind.to_owned(),
        schema: "public".to_owned(),
        of: of.to_owned(),
        name: own.to_owned(),
        text: text.to_owned(),
    };
    rows.comments = vec![
        comment("view column", "v", "x", "a"),
        comment("sequence", "own", "own", "b"),
        comment("sequence", "t_id_seq", "t_id_seq", "c"),
        comment("constraint", "t", "t_pkey", "d"),
        comment("index", "t", "t_pkey", "e"),
        comment("domain check", "public.positive", "above", "f"),
        comment("attribute", "public.place", "street", "g"),
        comment("type", "public.place", "place", "h"),
        comment("schema", "public", "public", "i"),
        comment("index", "t", "silent", ""),
    ];
    let (of, own) = (name("t"), |name: &str| name.to_owned());
    let expected = [
        (Commented::Schema(own("public")), "i"),
        (Commented::Type(own("public.place")), "h"),
        (Commented::Attribute { of: own("public.place"), name: own("street") }, "g"),
        (Commented::DomainCheck { of: own("public.positive"), name: own("above") }, "f"),
        (Commented::Index { of: of.clone(), name: own("t_pkey") }, "e"),
        (Commented::Constraint { of: of.clone(), name: own("t_pkey") }, "d"),
        (Commented::Sequence(name("own")), "b"),
        (Commented::ColumnSequence { of, column: own("id") }, "c"),
        (Commented::ViewColumn { of: name("v"), name: own("x") }, "a"),
    ];
    let comments = assemble(&rows).comments;
    let found: Vec<(Commented, &str)> =
        comments.iter().map(|comment| (comment.of.clone(), comment.text.as_str())).collect();
    assert_eq!(found, expected);
}

#[test]
fn values_of_many_sequences_are_one_statement() {
    let (a, b) = (sequence(3_000_000_000, "A b", None), sequence(2, "c", None));
    let (schema, first, second) =
        (quote::identifier("public"), quote::identifier("A b"), quote::identifier("c"));
    assert_eq!(
        values_statement(&[&a, &b]),
        format!(
            "SELECT 3000000000::pg_catalog.oid, last_value, is_called FROM {schema}.{first} UNION ALL \
             SELECT 2::pg_catalog.oid, last_value, is_called FROM {schema}.{second}"
        )
    );
}

#[test]
fn every_query_leaves_out_what_is_not_the_users() {
    for query in [
        queries::RELATIONS,
        queries::COLUMNS,
        queries::INDEXES,
        queries::CONSTRAINTS,
        queries::SEQUENCES,
        queries::VIEWS,
        queries::VIEW_READS,
        queries::TYPES,
        queries::COMMENTS,
        queries::OTHERS,
    ] {
        assert!(query.contains("n.nspname !~ '^pg_'") && query.contains("e.deptype = 'e'"), "{query}");
        let count = |letter: char| query.matches(letter).count();
        assert_eq!(count('('), count(')'), "{query}");
        assert!(!query.contains("  "), "a text that goes on in the next line ends with a backslash: {query}");
    }
}
