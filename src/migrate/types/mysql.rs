//! MySQL's and MariaDB's types → PostgreSQL's.
//!
//! Goes in: a column with its `COLUMN_TYPE`. Comes out: the smallest type of PostgreSQL's that holds every value the
//! column may have, and what is not the same. Always holds: only two numbers are narrower than in their source, and both
//! say so: `tinyint(1)` (a truth value) and an AUTO_INCREMENT `bigint unsigned` (a sequence gives no more than a bigint).
//!
//! Three choices. A SET stays the text `a,b` that MySQL shows and is not an array: the value is the same on both sides,
//! so that rows can be compared, and `string_to_array(c, ',')` is the array. A TIME is an interval and not a time of
//! day: it may be -838:59:59, and an interval is written the same. A CHAR is a `character varying`: MySQL gives it back
//! without its trailing blanks, and `character` would show them.

mod type_text;

use super::{ColumnUse, Mapped, NoteKind, Transfer, TypeRefusal, UNSIGNED_BIGINT};
use crate::migrate::quote;
use crate::migrate::schema::{Column, ColumnDefault};
use type_text::TypeText;

/// PostgreSQL's `numeric(p)` has no more digits; `numeric` alone has.
const MOST_NUMERIC_DIGITS: u32 = 1000;

/// The target's type for a column.
pub(super) fn map(column: &Column, usage: ColumnUse) -> Result<Mapped, TypeRefusal> {
    let Some(found) = TypeText::parse(&column.source_type) else { return Err(TypeRefusal::unknown(column)) };
    let mapped = match found.base.as_str() {
        "tinyint" | "int1" | "bool" | "boolean" | "smallint" | "int2" | "mediumint" | "int3" | "middleint"
        | "int" | "integer" | "int4" | "bigint" | "int8" => integer(column, &found, usage),
        "decimal" | "dec" | "numeric" | "fixed" => decimal(&found),
        "float" | "float4" | "double" | "float8" | "real" => floating(&found),
        "bit" => bits(&found),
        "char" | "character" | "nchar" | "varchar" | "nvarchar" | "varcharacter" | "national" => {
            characters(column, &found)
        }
        "tinytext" | "text" | "mediumtext" | "longtext" | "long" => long_text(column, &found),
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => bytes(&found),
        "date" => zero_dates(column, becomes("date")),
        "datetime" => zero_dates(column, becomes(with_precision("timestamp", &found, " without time zone"))),
        "timestamp" => zero_dates(column, becomes(with_precision("timestamp", &found, " with time zone"))),
        "time" => becomes(with_precision("interval", &found, ""))
            .noting(NoteKind::TimeSpan, "is an interval: TIME goes from -838:59:59 to 838:59:59"),
        "year" => becomes("smallint").noting(NoteKind::Year, "accepts more than 1901 to 2155 and 0"),
        "enum" => becomes("text").noting(
            NoteKind::Enumeration,
            "is sorted by its text, not by its place in the list; an empty value that MySQL stored for an invalid one \
             breaks the check",
        ),
        "set" => becomes("text").noting(NoteKind::Set, "is the members' text with commas; a check keeps to the list"),
        "json" => becomes("jsonb").noting(
            NoteKind::Json,
            "keeps neither blanks, nor the order of keys, nor a key that occurs twice; a row with \\u0000 is rejected",
        ),
        "uuid" => becomes("uuid"),
        "inet4" | "inet6" => becomes("inet"),
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring" | "multipolygon"
        | "geometrycollection" | "geomcollection" => {
            return Err(no_counterpart(
                column,
                "leave the table out with exclude_tables and move it with ogr2ogr into a target with PostGIS",
            ));
        }
        "vector" => {
            return Err(no_counterpart(
                column,
                "leave the table out with exclude_tables; a target with pgvector reads VECTOR_TO_STRING(column)",
            ));
        }
        _ => return Err(TypeRefusal::unknown(column)),
    };
    Ok(mapped)
}

/// `"c" = ANY (…)` for an ENUM, `string_to_array("c", ',') <@ …` for a SET.
pub(super) fn member_check(source_type: &str, quoted_column: &str) -> Option<String> {
    let found = TypeText::parse(source_type)?;
    let members: Vec<String> = found.arguments.iter().map(|member| quote::literal(member)).collect();
    let list = format!("ARRAY[{}]::text[]", members.join(", "));
    match found.base.as_str() {
        "enum" => Some(format!("{quoted_column} = ANY ({list})")),
        "set" => Some(format!("string_to_array({quoted_column}, ',') <@ {list}")),
        _ => None,
    }
}

/// leverd writes each of these types in the binary form itself.
fn becomes(target: impl Into<String>) -> Mapped {
    Mapped::new(target, Transfer::Binary)
}

fn no_counterpart(column: &Column, hint: &str) -> TypeRefusal {
    TypeRefusal::NoCounterpart { source_type: column.source_type.clone(), hint: hint.to_owned() }
}

fn integer(column: &Column, found: &TypeText, usage: ColumnUse) -> Mapped {
    // ZEROFILL makes a column unsigned.
    let unsigned = found.has("unsigned") || found.has("zerofill");
    let counts = matches!(column.default, ColumnDefault::Identity { .. } | ColumnDefault::Serial { .. });
    let base = found.base.as_str();
    let named_so = matches!(base, "bool" | "boolean");
    let one_digit = matches!(base, "tinyint" | "int1") && found.number(0) == Some(1) && !unsigned;
    if (named_so || one_digit) && !counts && usage == ColumnUse::Ordinary {
        return becomes("boolean")
            .noting(NoteKind::Boolean, "0 is false and 1 is true; a row with another number is rejected");
    }
    let mapped = match (base, unsigned) {
        ("tinyint" | "int1" | "bool" | "boolean", _) | ("smallint" | "int2", false) => becomes("smallint"),
        ("smallint" | "int2", true)
        | ("mediumint" | "int3" | "middleint", _)
        | ("int" | "integer" | "int4", false) => becomes("integer"),
        ("int" | "integer" | "int4", true) | (_, false) => becomes("bigint"),
        (_, true) if counts => becomes("bigint")
            .noting(NoteKind::Range, "a row with a number over 9223372036854775807 is rejected"),
        (_, true) => becomes(UNSIGNED_BIGINT),
    };
    unsigned_notes(found, mapped)
}

fn unsigned_notes(found: &TypeText, mapped: Mapped) -> Mapped {
    let zerofill = found.has("zerofill");
    let mapped = if zerofill || found.has("unsigned") {
        mapped.noting(NoteKind::Negative, "negative numbers are no longer refused")
    } else {
        mapped
    };
    if zerofill { mapped.noting(NoteKind::Display, "is shown without leading zeros") } else { mapped }
}

fn decimal(found: &TypeText) -> Mapped {
    let digits = found.number(0).unwrap_or(10);
    let scale = found.number(1).unwrap_or(0);
    let mapped = if digits == 0 || digits > MOST_NUMERIC_DIGITS || scale > digits {
        becomes("numeric").noting(NoteKind::Precision, "keeps every digit that it is given")
    } else {
        becomes(format!("numeric({digits},{scale})"))
    };
    unsigned_notes(found, mapped)
}

fn floating(found: &TypeText) -> Mapped {
    let single = match found.base.as_str() {
        // `float(p)` with more than 24 bits is a double.
        "float" => found.arguments.len() == 2 || found.number(0).is_none_or(|bits| bits <= 24),
        "float4" => true,
        _ => false,
    };
    let mapped = becomes(if single { "real" } else { "double precision" });
    let mapped = match found.number(1) {
        Some(scale) => mapped.noting(
            NoteKind::Precision,
            format!("is no longer rounded to {scale} decimals when it is written"),
        ),
        None => mapped,
    };
    unsigned_notes(found, mapped)
}

fn bits(found: &TypeText) -> Mapped {
    match found.number(0).unwrap_or(1) {
        0 | 1 => becomes("boolean").noting(NoteKind::Boolean, "b'0' is false and b'1' is true"),
        length => becomes(format!("bit({length})")),
    }
}

fn characters(column: &Column, found: &TypeText) -> Mapped {
    let length = found.number(0).unwrap_or(1);
    // A `varchar(0)` holds only the empty text; PostgreSQL has none.
    let mapped = becomes(format!("character varying({})", length.max(1)));
    let mapped = if length == 0 { mapped.noting(NoteKind::Length, "accepts one character") } else { mapped };
    text_notes(column, mapped)
}

fn long_text(column: &Column, found: &TypeText) -> Mapped {
    text_notes(column, length_note(found, becomes("text")))
}

fn bytes(found: &TypeText) -> Mapped {
    length_note(found, becomes("bytea"))
}

/// The limits of MySQL's types, none of which the target has.
fn length_note(found: &TypeText, mapped: Mapped) -> Mapped {
    let limit = match (found.base.as_str(), found.number(0)) {
        ("binary" | "varbinary", length) => length.unwrap_or(1).to_string(),
        ("tinytext" | "tinyblob", _) => "255".to_owned(),
        ("text" | "blob", _) => "65535".to_owned(),
        ("mediumtext" | "mediumblob" | "long", _) => "16777215".to_owned(),
        _ => return mapped.noting(NoteKind::Size, "a row with a value over 1 GB is rejected"),
    };
    mapped.noting(NoteKind::Length, format!("the limit of {limit} bytes is not kept"))
}

fn text_notes(column: &Column, mapped: Mapped) -> Mapped {
    let mapped = mapped.noting(NoteKind::NulByte, "a row with a NUL byte in it is rejected");
    let collation = match column.collation.as_deref() {
        Some(name) if name.ends_with("_bin") || name.ends_with("_cs") || name == "binary" => return mapped,
        Some(name) => name,
        None => "the table's own collation",
    };
    let text = format!("is compared letter by letter, not as {collation} does: 'a' is not 'A' here");
    mapped.noting(NoteKind::Collation, text)
}

/// `timestamp(3) without time zone`; MySQL's precision is 0 where it names none.
fn with_precision(name: &str, found: &TypeText, rest: &str) -> String {
    format!("{name}({}){rest}", found.number(0).unwrap_or(0).min(6))
}

fn zero_dates(column: &Column, mapped: Mapped) -> Mapped {
    let text = if column.nullable {
        "0000-00-00, and a date with a month or a day 0, becomes NULL"
    } else {
        "a row with 0000-00-00, or with a month or a day 0, is rejected"
    };
    mapped.noting(NoteKind::ZeroDate, text)
}

#[cfg(test)]
mod tests;
