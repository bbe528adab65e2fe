//! MySQL's expressions, taken over or told.

use super::*;
use crate::migrate::types::{Mapped, Transfer};

fn column(name: &str, target: &str, computed: bool) -> TargetColumn {
    TargetColumn {
        source: name.to_owned(),
        target: name.to_lowercase(),
        mapped: Mapped { target: target.to_owned(), transfer: Transfer::Text, notes: Vec::new() },
        computed,
    }
}

fn columns() -> Vec<TargetColumn> {
    vec![
        column("Price", "numeric(10,2)", false),
        column("qty", "integer", false),
        column("name", "character varying(20)", false),
        column("active", "boolean", false),
        column("born", "date", false),
        column("seen", "timestamp(0) with time zone", false),
        column("data", "jsonb", false),
        column("total", "numeric(10,2)", true),
    ]
}

fn checked(expression: &str) -> Result<String, String> {
    let columns = columns();
    let prefixes = vec![vec!["t".to_owned()], vec!["shop".to_owned(), "t".to_owned()]];
    let scope = Scope { columns: &columns, prefixes, volatile: false, computed: true };
    condition(expression, &scope).map(|condition| condition.sql)
}

fn generated(expression: &str, target: &str) -> Result<String, String> {
    let columns = columns();
    let scope = Scope { columns: &columns, prefixes: Vec::new(), volatile: false, computed: false };
    generation(expression, &scope, target)
}

fn default_of(expression: &str, target: &str) -> Option<String> {
    default(expression, target).unwrap().sql
}

#[test]
fn defaults_that_mean_the_same() {
    for (expression, target, sql) in [
        ("CURRENT_TIMESTAMP", "timestamp(0) without time zone", "CURRENT_TIMESTAMP"),
        ("current_timestamp()", "timestamp(0) with time zone", "CURRENT_TIMESTAMP"),
        ("CURRENT_TIMESTAMP(6)", "timestamp(6) with time zone", "CURRENT_TIMESTAMP(6)"),
        ("(curdate())", "date", "CURRENT_DATE"),
        ("uuid()", "character varying(36)", "(gen_random_uuid())::text"),
        ("(uuid_to_bin(uuid()))", "bytea", "uuid_send(gen_random_uuid())"),
        ("'it''s'", "text", "'it''s'"),
        ("_utf8mb4'new'", "text", "'new'"),
        ("'0.00'", "numeric(10,2)", "0.00"),
        ("-1", "integer", "-1"),
        ("1", "boolean", "true"),
        ("'0'", "boolean", "false"),
        ("b'1'", "boolean", "true"),
        ("b'101'", "bit(4)", "B'0101'"),
        ("0", "text", "'0'"),
        ("(json_object())", "jsonb", "'{}'"),
        ("'00:00:00'", "interval(0)", "'00:00:00'"),
        ("x'00ff'", "bytea", "E'\\\\x00ff'::bytea"),
    ] {
        assert_eq!(default_of(expression, target).as_deref(), Some(sql), "{expression}");
    }
    assert_eq!(default_of("NULL", "text"), None);
}

#[test]
fn on_update_is_told_apart() {
    let found =
        default("CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP", "timestamp(0) with time zone").unwrap();
    assert_eq!(found, DefaultValue { sql: Some("CURRENT_TIMESTAMP".to_owned()), on_update: true });
    let found = default("NULL on update current_timestamp()", "timestamp(0) with time zone").unwrap();
    assert_eq!(found, DefaultValue { sql: None, on_update: true });
}

#[test]
fn defaults_that_do_not_exist_here() {
    for (expression, target) in [
        ("'0000-00-00 00:00:00'", "timestamp(0) without time zone"),
        ("rand()", "double precision"),
        ("abc", "text"),
        ("'abc", "text"),
        ("'abc' 'def'", "text"),
        ("", "text"),
        ("now() + interval 1 day", "date"),
        ("5", "boolean"),
    ] {
        let found = default(expression, target);
        if expression == "5" {
            // A number that is not 0 is true.
            assert_eq!(found.unwrap().sql.as_deref(), Some("(5 <> 0)"));
        } else {
            assert!(found.is_err(), "{expression}");
        }
    }
}

#[test]
fn checks_are_translated() {
    for (expression, sql) in [
        ("(`price` > 0)", "(\"price\" > 0)"),
        ("`t`.`qty` >= 1 and `shop`.`t`.`qty` <= '9'", "((\"qty\" >= 1) AND (\"qty\" <= 9))"),
        (r"(`name` in (_utf8mb4\'a\',_utf8mb4\'b\'))", "(\"name\" IN ('a', 'b'))"),
        ("`name` not in ('a')", "(\"name\" NOT IN ('a'))"),
        ("`active` in (0,1)", "(\"active\" IN (false, true))"),
        ("`active` = 1 or not `active`", "((\"active\" = true) OR (NOT \"active\"))"),
        ("`qty` between 1 and 5", "(\"qty\" BETWEEN 1 AND 5)"),
        ("`qty` not between -5 and -1", "(\"qty\" NOT BETWEEN -5 AND -1)"),
        (
            "`born` is not null && `born` > '1900-01-01'",
            "((\"born\" IS NOT NULL) AND (\"born\" > '1900-01-01'))",
        ),
        ("`qty` <=> null", "(\"qty\" IS NOT DISTINCT FROM NULL)"),
        ("`name` like 'a%'", "(\"name\" LIKE 'a%')"),
        ("char_length(`name`) > 2", "(char_length(\"name\") > 2)"),
        ("length(`name`) > 2", "(octet_length(\"name\") > 2)"),
        ("`qty` % 2", "((\"qty\" % 2) <> 0)"),
        ("`qty` + 1 < `price` * 2", "((\"qty\"::bigint + 1) < (\"price\" * 2))"),
        ("json_valid(`data`)", "true"),
        ("`total` > 0", "(\"total\" > 0)"),
        ("(1 = `active`) is true", "((true = \"active\") IS TRUE)"),
    ] {
        assert_eq!(checked(expression).unwrap(), sql, "{expression}");
    }
}

#[test]
fn what_would_mean_something_else_is_refused() {
    for (expression, why) in [
        ("`price` / 2 > 1", "divides"),
        ("`name` regexp '^a'", "regexp"),
        ("`name` = 5", "compares"),
        ("`nothing` > 1", "no column"),
        ("`other`.`qty` > 1", "another table"),
        ("json_valid(`name`)", "json_valid()"),
        ("`qty` in (select 1)", "select"),
        ("`name`", "true or false"),
        ("`qty` || 1", "where it should end"),
        ("`qty` not 5", "NOT"),
        ("now() > `seen`", "now()"),
        ("`qty` % `qty`", "remainder"),
        ("`qty` >", "too early"),
        ("case `qty` when 1 then 2 end", "CASE"),
        ("_binary'a' = `name`", "bytes"),
    ] {
        let found = checked(expression).unwrap_err();
        assert!(found.contains(why), "{expression}: {found}");
    }
}

#[test]
fn comparing_texts_is_told() {
    let columns = columns();
    let scope = Scope { columns: &columns, prefixes: Vec::new(), volatile: false, computed: true };
    assert!(condition("`name` = 'a'", &scope).unwrap().compares_text);
    assert!(!condition("`qty` = 1", &scope).unwrap().compares_text);
}

#[test]
fn computed_columns_are_translated() {
    for (expression, target, sql) in [
        ("(`price` * `qty`)", "numeric(12,2)", "(\"price\" * \"qty\"::bigint)"),
        ("concat(`name`,' ',`qty`)", "text", "(\"name\" || ' '::text || (\"qty\")::text)"),
        ("if(`active`,1,0)", "integer", "(CASE WHEN \"active\" THEN 1 ELSE 0 END)"),
        (
            "case when `born` is null then 1 else null end",
            "smallint",
            "(CASE WHEN (\"born\" IS NULL) THEN 1 ELSE NULL END)",
        ),
        ("year(`born`)", "integer", "(EXTRACT(YEAR FROM \"born\"))::integer"),
        ("`qty` > 5", "smallint", "((\"qty\" > 5))::integer"),
        ("ifnull(`name`,'none')", "text", "COALESCE(\"name\", 'none')"),
        ("lower(`name`)", "text", "lower(\"name\")"),
    ] {
        assert_eq!(generated(expression, target).unwrap(), sql, "{expression}");
    }
    for expression in ["`total` + 1", "year(`seen`)", "uuid()", "`seen`", "json_extract(`data`,'$.a')"] {
        assert!(generated(expression, "numeric(10,2)").is_err(), "{expression}");
    }
}

#[test]
fn deep_nesting_is_refused_and_not_a_crash() {
    for deep in ["(".repeat(5000), "not ".repeat(5000), "-".repeat(5000), "abs(".repeat(5000)] {
        assert!(checked(&format!("{deep}1")).unwrap_err().contains("deeply"));
    }
}

proptest::proptest! {
    #[test]
    fn nothing_makes_it_panic(text in "[a-z`'()<>=,.*+0-9 -]{0,60}") {
        let _ = checked(&text);
        let _ = default(&text, "text");
    }

    #[test]
    fn any_text_stays_inside_its_quotes(text in "[^\0]{0,20}") {
        let written = format!("`name` = '{}'", text.replace('\\', "\\\\").replace('\'', "''"));
        let expected = format!("(\"name\" = {})", crate::migrate::quote::literal(&text));
        proptest::prop_assert_eq!(checked(&written).unwrap(), expected);
    }
}
