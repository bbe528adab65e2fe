//! MySQL's types and what each becomes.

use super::*;

fn column(source_type: &str) -> Column {
    Column {
        name: "c".to_owned(),
        source_type: source_type.to_owned(),
        nullable: true,
        default: ColumnDefault::None,
        collation: Some("utf8mb4_bin".to_owned()),
        comment: None,
    }
}

fn counting(source_type: &str) -> Column {
    let default = ColumnDefault::Identity { always: false, next: None, counting: None };
    Column { default, ..column(source_type) }
}

fn mapped(source_type: &str) -> Mapped {
    map(&column(source_type), ColumnUse::Ordinary).unwrap()
}

fn kinds(mapped: &Mapped) -> Vec<NoteKind> {
    mapped.notes.iter().map(|note| note.kind.clone()).collect()
}

#[test]
fn every_type_has_its_target() {
    for (source, target) in [
        ("tinyint(1)", "boolean"),
        ("tinyint(4)", "smallint"),
        ("tinyint", "smallint"),
        ("tinyint(1) unsigned", "smallint"),
        ("tinyint(3) unsigned", "smallint"),
        ("smallint(6)", "smallint"),
        ("smallint unsigned", "integer"),
        ("mediumint(9)", "integer"),
        ("mediumint unsigned", "integer"),
        ("int(11)", "integer"),
        ("int(10) unsigned", "bigint"),
        ("INT unsigned zerofill", "bigint"),
        ("bigint(20)", "bigint"),
        ("bigint unsigned", "numeric(20)"),
        ("decimal(10,2)", "numeric(10,2)"),
        ("decimal", "numeric(10,0)"),
        ("float", "real"),
        ("float(7,3)", "real"),
        ("float(30)", "double precision"),
        ("double", "double precision"),
        ("double(8,2) unsigned", "double precision"),
        ("bit(1)", "boolean"),
        ("bit", "boolean"),
        ("bit(12)", "bit(12)"),
        ("char(36)", "character varying(36)"),
        ("char", "character varying(1)"),
        ("varchar(255)", "character varying(255)"),
        ("varchar(0)", "character varying(1)"),
        ("tinytext", "text"),
        ("longtext", "text"),
        ("binary(16)", "bytea"),
        ("mediumblob", "bytea"),
        ("date", "date"),
        ("datetime", "timestamp(0) without time zone"),
        ("datetime(6)", "timestamp(6) without time zone"),
        ("timestamp(3)", "timestamp(3) with time zone"),
        ("timestamp /* mariadb-5.3 */", "timestamp(0) with time zone"),
        ("time", "interval(0)"),
        ("time(2)", "interval(2)"),
        ("year(4)", "smallint"),
        ("json", "jsonb"),
        ("enum('a','b')", "text"),
        ("set('a','b')", "text"),
        ("uuid", "uuid"),
        ("inet6", "inet"),
    ] {
        let found = mapped(source);
        assert_eq!(found.target, target, "{source}");
        assert_eq!(found.transfer, Transfer::Binary, "{source}");
    }
}

#[test]
fn what_is_lost_is_told() {
    for (source, kinds_of_it) in [
        ("int(11)", vec![]),
        ("int(10) unsigned zerofill", vec![NoteKind::Negative, NoteKind::Display]),
        ("bigint unsigned", vec![NoteKind::Negative]),
        ("tinyint(1)", vec![NoteKind::Boolean]),
        ("bit(1)", vec![NoteKind::Boolean]),
        ("bit(8)", vec![]),
        ("double(8,2) unsigned", vec![NoteKind::Precision, NoteKind::Negative]),
        ("varchar(0)", vec![NoteKind::Length, NoteKind::NulByte]),
        ("varchar(10)", vec![NoteKind::NulByte]),
        ("text", vec![NoteKind::Length, NoteKind::NulByte]),
        ("longtext", vec![NoteKind::Size, NoteKind::NulByte]),
        ("longblob", vec![NoteKind::Size]),
        ("binary(16)", vec![NoteKind::Length]),
        ("datetime", vec![NoteKind::ZeroDate]),
        ("time", vec![NoteKind::TimeSpan]),
        ("year", vec![NoteKind::Year]),
        ("json", vec![NoteKind::Json]),
        ("enum('a')", vec![NoteKind::Enumeration]),
        ("set('a')", vec![NoteKind::Set]),
    ] {
        assert_eq!(kinds(&mapped(source)), kinds_of_it, "{source}");
    }
}

#[test]
fn a_zero_date_where_null_is_not_allowed_costs_the_row() {
    assert!(mapped("date").notes[0].text.contains("becomes NULL"));
    let strict = Column { nullable: false, ..column("date") };
    let found = map(&strict, ColumnUse::Ordinary).unwrap();
    assert!(found.notes[0].text.contains("is rejected"));
}

#[test]
fn what_counts_or_refers_is_a_number() {
    assert_eq!(map(&counting("tinyint(1)"), ColumnUse::Ordinary).unwrap().target, "smallint");
    assert_eq!(map(&column("tinyint(1)"), ColumnUse::InForeignKey).unwrap().target, "smallint");
    let found = map(&counting("bigint(20) unsigned"), ColumnUse::Ordinary).unwrap();
    assert_eq!(found.target, "bigint");
    assert_eq!(kinds(&found), [NoteKind::Range, NoteKind::Negative]);
    assert_eq!(map(&counting("int unsigned"), ColumnUse::Ordinary).unwrap().target, "bigint");
}

#[test]
fn a_collation_that_looks_through_case_is_told() {
    for (collation, told) in [
        (Some("utf8mb4_0900_ai_ci"), true),
        (Some("utf8mb4_0900_as_cs"), false),
        (Some("utf8mb4_bin"), false),
        (None, true),
    ] {
        let text = Column { collation: collation.map(str::to_owned), ..column("varchar(10)") };
        let found = map(&text, ColumnUse::Ordinary).unwrap();
        assert_eq!(kinds(&found).contains(&NoteKind::Collation), told, "{collation:?}");
    }
}

#[test]
fn geometry_and_what_is_unknown_are_refused_with_a_hint() {
    for refused in ["geometry", "point", "POLYGON", "multipoint", "geomcollection", "vector(3)"] {
        let refusal = map(&column(refused), ColumnUse::Ordinary).unwrap_err();
        assert!(matches!(refusal, TypeRefusal::NoCounterpart { .. }), "{refused}");
        assert!(refusal.hint().contains("exclude_tables"));
    }
    for unknown in ["", "hyperloglog", "enum('a", "row(a int)"] {
        let refusal = map(&column(unknown), ColumnUse::Ordinary).unwrap_err();
        assert_eq!(refusal, TypeRefusal::Unknown { source_type: unknown.to_owned() });
    }
}

#[test]
fn members_become_a_check() {
    assert_eq!(
        member_check("enum('a','it''s')", "\"c\"").unwrap(),
        "\"c\" = ANY (ARRAY['a', 'it''s']::text[])"
    );
    assert_eq!(
        member_check("set('a','b')", "\"c\"").unwrap(),
        "string_to_array(\"c\", ',') <@ ARRAY['a', 'b']::text[]"
    );
    assert_eq!(member_check("varchar(10)", "\"c\""), None);
}

proptest::proptest! {
    #[test]
    fn nothing_makes_it_panic(text in "(int|decimal|bit|varchar|time|enum|float)?[a-z(),' 0-9é]{0,30}") {
        if let Ok(found) = map(&column(&text), ColumnUse::Ordinary) {
            proptest::prop_assert!(!found.target.is_empty());
        }
        let _ = member_check(&text, "\"c\"");
    }
}
