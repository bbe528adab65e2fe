//! PostgreSQL's types → PostgreSQL's: the same, with what must be there already.
//!
//! Goes in: a column whose type `format_type` has written. Comes out: that type. Always holds: values travel in binary
//! form only where every version sends and reads the same bytes and no OID is among them; an enum, a domain, a
//! composite type or an extension's type travels as text, and is named as something that must exist. It creates no
//! type.

use super::{Mapped, NoteKind, Transfer, TypeRefusal};
use crate::migrate::schema::Column;

/// Built-in types whose binary form is the same everywhere. Short forms too, though `format_type` does not write them.
const BINARY: &[&str] = &[
    "\"char\"",
    "bigint",
    "bit",
    "bit varying",
    "bool",
    "boolean",
    "box",
    "bpchar",
    "bytea",
    "character",
    "character varying",
    "cidr",
    "circle",
    "date",
    "datemultirange",
    "daterange",
    "double precision",
    "float4",
    "float8",
    "inet",
    "int",
    "int2",
    "int4",
    "int4multirange",
    "int4range",
    "int8",
    "int8multirange",
    "int8range",
    "integer",
    "interval",
    "json",
    "jsonb",
    "jsonpath",
    "line",
    "lseg",
    "macaddr",
    "macaddr8",
    "money",
    "name",
    "numeric",
    "nummultirange",
    "numrange",
    "oid",
    "path",
    "pg_lsn",
    "point",
    "polygon",
    "real",
    "smallint",
    "text",
    "time",
    "time with time zone",
    "time without time zone",
    "timestamp",
    "timestamp with time zone",
    "timestamp without time zone",
    "timestamptz",
    "timetz",
    "tsmultirange",
    "tsquery",
    "tsrange",
    "tstzmultirange",
    "tstzrange",
    "tsvector",
    "uuid",
    "varbit",
    "varchar",
];

/// Built-in types that travel as text: OIDs that another server does not share, or a form that depends on settings.
const TEXT: &[&str] = &[
    "aclitem",
    "cid",
    "int2vector",
    "oidvector",
    "pg_snapshot",
    "refcursor",
    "regclass",
    "regcollation",
    "regconfig",
    "regdictionary",
    "regnamespace",
    "regoper",
    "regoperator",
    "regproc",
    "regprocedure",
    "regrole",
    "regtype",
    "tid",
    "txid_snapshot",
    "xid",
    "xid8",
    "xml",
];

/// The same type, and how its values travel.
pub(super) fn map(column: &Column) -> Result<Mapped, TypeRefusal> {
    let written = column.source_type.trim();
    // `???` and `-` are what `format_type` writes for a type that is gone.
    if written.is_empty() || written.starts_with("???") || written == "-" {
        return Err(TypeRefusal::unknown(column));
    }
    let element = element_of(written);
    let name = without_modifiers(element);
    let plain = name.strip_prefix("pg_catalog.").unwrap_or(&name);
    if BINARY.binary_search(&plain).is_ok() || plain.starts_with("interval ") {
        let mapped = Mapped::new(written, Transfer::Binary);
        return Ok(match plain {
            "oid" => mapped.noting(NoteKind::LargeObject, "large objects that it may name are not moved"),
            "money" => {
                mapped.noting(NoteKind::Money, "the amounts are the same only under the same lc_monetary")
            }
            _ => mapped,
        });
    }
    let mapped = Mapped::new(written, Transfer::Text);
    if TEXT.binary_search(&plain).is_ok() {
        return Ok(mapped);
    }
    let text = format!("the type {name} must exist in the target");
    Ok(mapped.noting(NoteKind::MustExist { name }, text))
}

/// `integer[][]` → `integer`.
fn element_of(written: &str) -> &str {
    let mut rest = written;
    while let Some(shorter) = rest.strip_suffix("[]") {
        rest = shorter.trim_end();
    }
    rest
}

/// `timestamp(3) without time zone` → `timestamp without time zone`. A name in double quotes stays as it is.
fn without_modifiers(written: &str) -> String {
    let mut out = String::with_capacity(written.len());
    let (mut quoted, mut depth) = (false, 0_usize);
    for letter in written.chars() {
        match letter {
            '"' if depth == 0 => {
                quoted = !quoted;
                out.push(letter);
            }
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth = depth.saturating_sub(1),
            _ if depth == 0 => out.push(letter),
            _ => {}
        }
    }
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::schema::fixtures;

    fn column(source_type: &str) -> Column {
        fixtures::column("c", source_type)
    }

    fn mapped(source_type: &str) -> Mapped {
        map(&column(source_type)).unwrap()
    }

    #[test]
    fn the_lists_are_in_order() {
        assert!(BINARY.is_sorted() && TEXT.is_sorted());
        assert!(BINARY.iter().all(|name| TEXT.binary_search(name).is_err()));
    }

    #[test]
    fn built_in_types_are_the_same_and_binary() {
        for same in [
            "integer",
            "character varying(20)",
            "character(3)",
            "\"char\"",
            "numeric(10,2)",
            "timestamp(3) without time zone",
            "timestamp with time zone",
            "time(0) with time zone",
            "interval day to second(3)",
            "interval(6)",
            "bit varying(5)",
            "jsonb",
            "integer[]",
            "text[][]",
            "int4range",
            "pg_catalog.uuid",
        ] {
            let found = mapped(same);
            assert_eq!((found.target.as_str(), found.transfer), (same, Transfer::Binary));
            assert!(found.notes.is_empty(), "{same}");
        }
    }

    #[test]
    fn what_holds_oids_travels_as_text() {
        for text in ["regclass", "xml", "aclitem[]"] {
            assert_eq!(mapped(text), Mapped::new(text, Transfer::Text));
        }
    }

    #[test]
    fn types_of_users_must_exist() {
        for (written, name) in [
            ("shop.status", "shop.status"),
            ("shop.status[]", "shop.status"),
            ("\"My (odd) Schema\".\"T\"(1,2)", "\"My (odd) Schema\".\"T\""),
            ("geometry(Point,4326)", "geometry"),
            ("public.citext", "public.citext"),
        ] {
            let found = mapped(written);
            assert_eq!((found.target.as_str(), found.transfer), (written, Transfer::Text));
            assert_eq!(found.notes.len(), 1);
            assert_eq!(found.notes[0].kind, NoteKind::MustExist { name: name.to_owned() });
        }
    }

    #[test]
    fn large_objects_and_money_are_told() {
        assert_eq!(mapped("oid").notes[0].kind, NoteKind::LargeObject);
        assert_eq!(mapped("money").notes[0].kind, NoteKind::Money);
    }

    #[test]
    fn what_format_type_cannot_name_is_refused() {
        for gone in ["", " ", "???", "-"] {
            let refusal = map(&column(gone)).unwrap_err();
            assert!(refusal.hint().contains("exclude_tables"));
        }
    }

    proptest::proptest! {
        #[test]
        fn the_type_is_never_changed(source_type in "[a-z\"\\[\\]() ,.0-9é]{1,30}") {
            if let Ok(found) = map(&column(&source_type)) {
                proptest::prop_assert_eq!(found.target, source_type.trim());
            }
        }
    }
}
