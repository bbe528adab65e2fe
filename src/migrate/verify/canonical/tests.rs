//! The expressions of both engines, form by form, and that their texts cannot be mistaken for each other.

use super::*;
use proptest::prelude::*;

fn column(form: Form) -> Compared {
    Compared { source: "c".to_owned(), target: "d".to_owned(), form, zero_is_null: false }
}

fn mysql(form: Form) -> String {
    source_value(Engine::MySql, &column(form), Usage::Row)
}

fn target(form: Form) -> String {
    target_value(&column(form), Usage::Row)
}

#[test]
fn every_type_of_mysql_has_its_form() {
    for (source, target, form) in [
        ("tinyint(1)", "boolean", Form::Truth),
        ("bit(1)", "boolean", Form::Truth),
        ("int(11)", "integer", Form::Integer),
        ("year(4)", "smallint", Form::Integer),
        ("bigint unsigned", "numeric(20)", Form::Integer),
        ("decimal(20,0)", "numeric(20,0)", Form::Decimal { zerofill: false }),
        ("decimal(10,2) unsigned ZEROFILL", "numeric(10,2)", Form::Decimal { zerofill: true }),
        ("float", "real", Form::Float),
        ("double(8,2)", "double precision", Form::Float),
        ("bit(12)", "bit(12)", Form::Bits { length: 12 }),
        ("char(36)", "character varying(36)", Form::Text),
        ("enum('a','b')", "text", Form::Text),
        ("set('a','b')", "text", Form::Text),
        ("varbinary(16)", "bytea", Form::Bytes),
        ("date", "date", Form::Date),
        ("datetime(3)", "timestamp(3) without time zone", Form::Timestamp),
        ("timestamp", "timestamp(0) with time zone", Form::TimestampTz),
        ("time(2)", "interval(2)", Form::TimeSpan),
        ("json", "jsonb", Form::Presence),
        ("uuid", "uuid", Form::Uuid),
        ("inet6", "inet", Form::Inet),
        ("something new", "something.else", Form::Presence),
    ] {
        assert_eq!(Form::of(Engine::MySql, source, target), form, "{source}");
    }
}

#[test]
fn types_of_postgres_are_text_unless_they_are_known_to_be_plain() {
    for (same, form) in [
        ("integer", Form::Integer),
        ("numeric(10,2)", Form::Plain),
        ("timestamp(3) with time zone", Form::Plain),
        ("interval(6)", Form::Plain),
        ("pg_catalog.uuid", Form::Plain),
        ("bytea", Form::Bytes),
        ("character varying(20)", Form::Text),
        ("character(3)", Form::Text),
        ("json", Form::Text),
        ("jsonb", Form::Text),
        ("integer[]", Form::Text),
        ("bytea[]", Form::Text),
        ("shop.status", Form::Text),
        ("\"date\"", Form::Text),
        ("interval day to second(3)", Form::Text),
    ] {
        assert_eq!(Form::of(Engine::Postgres, same, same), form, "{same}");
    }
}

#[test]
fn numbers_on_both_sides() {
    assert_eq!(mysql(Form::Integer), "CAST(`c` + 0 AS CHAR)");
    assert_eq!(target(Form::Integer), "\"d\"::text");
    assert_eq!(mysql(Form::Truth), "CAST(`c` + 0 AS CHAR)");
    assert_eq!(target(Form::Truth), "\"d\"::integer::text");
    assert_eq!(mysql(Form::Bits { length: 12 }), "LPAD(BIN(`c` + 0), 12, '0')");
    assert_eq!(target(Form::Bits { length: 12 }), "\"d\"::text");
    assert_eq!(
        mysql(Form::Decimal { zerofill: false }),
        "CASE WHEN LOCATE('.', CAST(`c` AS CHAR)) > 0 THEN TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM \
         CAST(`c` AS CHAR))) ELSE CAST(`c` AS CHAR) END"
    );
    assert!(mysql(Form::Decimal { zerofill: true }).contains("CAST(`c` + 0 AS CHAR)"));
    assert_eq!(
        target(Form::Decimal { zerofill: false }),
        "CASE WHEN strpos(\"d\"::text, '.') > 0 THEN rtrim(rtrim(\"d\"::text, '0'), '.') ELSE \"d\"::text END"
    );
}

#[test]
fn floats_have_the_same_steps_on_both_sides() {
    let (source, target) = (mysql(Form::Float), target(Form::Float));
    for (theirs, ours) in [
        ("`c` = 0 THEN '0'", "\"d\" = 0 THEN '0'"),
        ("ABS(`c`) >= 1e39", "abs(\"d\") >= '1e39'::float8"),
        ("ABS(`c`) < 1e-24", "abs(\"d\") < '1e-24'::float8"),
        ("ABS(`c`) < 1e15", "abs(\"d\") < '1e15'::float8"),
        ("CAST(`c` AS DECIMAL(65,25))", "\"d\"::float8::text::numeric::numeric(65,25)::text"),
        ("15 - LENGTH(", "15 - length("),
    ] {
        assert!(source.contains(theirs), "{theirs} in {source}");
        assert!(target.contains(ours), "{ours} in {target}");
    }
    assert_eq!(source.matches("WHEN").count(), target.matches("WHEN").count());
    assert!(
        Form::Float.limit().is_some() && Form::Presence.limit().is_some() && Form::Text.limit().is_none()
    );
}

#[test]
fn times_on_both_sides() {
    assert_eq!(mysql(Form::Date), "DATE_FORMAT(`c`, '%Y-%m-%d')");
    assert_eq!(target(Form::Date), "to_char(\"d\"::timestamp, 'YYYY-MM-DD')");
    assert_eq!(mysql(Form::Timestamp), "DATE_FORMAT(`c`, '%Y-%m-%d %H:%i:%s.%f')");
    assert_eq!(mysql(Form::TimestampTz), mysql(Form::Timestamp));
    assert_eq!(target(Form::Timestamp), "to_char(\"d\", 'YYYY-MM-DD HH24:MI:SS.US')");
    assert_eq!(target(Form::TimestampTz), "to_char(\"d\" AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')");
    assert!(mysql(Form::TimeSpan).contains("* 1000000 + MICROSECOND(`c`)"));
    assert_eq!(target(Form::TimeSpan), "(EXTRACT(epoch FROM \"d\") * 1000000)::bigint::text");
    let nullable = Compared { zero_is_null: true, ..column(Form::Date) };
    assert_eq!(
        source_value(Engine::MySql, &nullable, Usage::Row),
        "CASE WHEN CAST(`c` AS CHAR) LIKE '%-00%' THEN NULL ELSE DATE_FORMAT(`c`, '%Y-%m-%d') END"
    );
}

#[test]
fn texts_bytes_and_the_rest_on_both_sides() {
    assert_eq!(
        mysql(Form::Text),
        "REPLACE(REPLACE(CAST(CONVERT(`c` USING utf8mb4) AS BINARY), X'7E', X'7E30'), X'7C', X'7E31')"
    );
    assert_eq!(target(Form::Text), "replace(replace(\"d\"::text COLLATE \"C\", '~', '~0'), '|', '~1')");
    assert_eq!(mysql(Form::Bytes), "SHA2(`c`, 256)");
    assert_eq!(target(Form::Bytes), "encode(sha256(\"d\"), 'hex')");
    assert_eq!(source_value(Engine::MySql, &column(Form::Bytes), Usage::Key), "LOWER(HEX(`c`))");
    assert_eq!(target_value(&column(Form::Bytes), Usage::Key), "encode(\"d\", 'hex')");
    assert_eq!(mysql(Form::Uuid), "LOWER(CAST(`c` AS CHAR))");
    assert_eq!(mysql(Form::Inet), "LOWER(HEX(`c`))");
    assert_eq!(target(Form::Inet), "encode(substring(inet_send(\"d\") FROM 5), 'hex')");
    assert_eq!(mysql(Form::Presence), "CASE WHEN `c` IS NULL THEN NULL ELSE 'x' END");
    let odd = Compared { source: "a`b".to_owned(), target: "a\"b".to_owned(), ..column(Form::Uuid) };
    assert_eq!(source_value(Engine::MySql, &odd, Usage::Row), "LOWER(CAST(`a``b` AS CHAR))");
    assert_eq!(target_value(&odd, Usage::Row), "\"a\"\"b\"::text");
    assert_eq!(source_value(Engine::Postgres, &column(Form::Plain), Usage::Row), "\"c\"::text");
}

#[test]
fn rows_and_digests() {
    let values = ["x".to_owned(), "y".to_owned()];
    assert_eq!(
        joined(Engine::Postgres, &values),
        "concat_ws('|', VARIADIC ARRAY[COALESCE(x, '~'), COALESCE(y, '~')]::text[])"
    );
    assert_eq!(
        joined(Engine::MySql, &values),
        "CONCAT_WS(X'7C', COALESCE(CAST(x AS BINARY), X'7E'), COALESCE(CAST(y AS BINARY), X'7E'))"
    );
    assert_eq!(joined(Engine::Postgres, &[]), "concat_ws('|', VARIADIC ARRAY[]::text[])");
    assert_eq!(digest(Engine::Postgres, Digest::Fast, "x"), "hashtextextended(x COLLATE \"C\", 0)");
    assert_eq!(
        digest(Engine::Postgres, Digest::Md5, "x"),
        "('x0' || left(md5(convert_to(x, 'UTF8')), 15))::bit(64)::bigint"
    );
    assert_eq!(
        digest(Engine::MySql, Digest::Md5, "x"),
        "COALESCE(CAST(CONV(LEFT(MD5(x), 15), 16, 10) AS UNSIGNED), 18446744073709551615)"
    );
}

/// What the servers do with a row of texts.
fn written(values: &[Option<String>]) -> String {
    let parts: Vec<String> = values
        .iter()
        .map(|value| match value {
            None => "~".to_owned(),
            Some(text) => text.replace('~', "~0").replace('|', "~1"),
        })
        .collect();
    parts.join("|")
}

fn rows() -> impl Strategy<Value = Vec<Option<String>>> {
    prop::collection::vec(prop::option::of("[~|01aé]{0,4}"), 1..4)
}

proptest! {
    #[test]
    fn two_rows_with_one_text_are_one_row(a in rows(), b in rows()) {
        prop_assert_eq!(written(&a) == written(&b), a == b);
    }

    #[test]
    fn a_key_is_read_back(key in prop::collection::vec("[~|01aé]{0,4}", 1..4)) {
        let values: Vec<Option<String>> = key.iter().cloned().map(Some).collect();
        prop_assert_eq!(values_of(&written(&values)), key);
    }

    #[test]
    fn no_type_makes_it_panic(source in "[a-z(),'0-9 ]{0,20}", target in "[a-z(),\\[\\]\"0-9 ]{0,20}") {
        let _ = Form::of(Engine::MySql, &source, &target);
        let _ = Form::of(Engine::Postgres, &source, &target);
    }
}
