//! What a column's values become, and which of them it cannot hold: the rules that both of COPY's forms share. Pure.
//!
//! In: a column's type in the target, values as the driver gives them. Out: a [`Conversion`]; a [`Rejection`] for what
//! PostgreSQL could not hold, with its own SQLSTATE where it has one. Always holds: a refusal names no value; a value is
//! never bent. The one exception is told before the run by the column's note: a date with a month or a day 0 becomes
//! NULL, where NULL is allowed.
//!
//! Refused besides: a text that is no UTF-8 or has a NUL byte, a JSON with `\u0000`, a day that no calendar has (MySQL
//! stores one under ALLOW_INVALID_DATES), the year 0, another number than 0 and 1 for a truth value, more than a
//! `bigint` holds.

use chrono::NaiveDate;
use mysql_async::Value;
use std::borrow::Cow;

/// How a column's values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conversion {
    /// Of 16 bits.
    SmallInt,
    /// Of 32 bits.
    Integer,
    /// Of 64 bits, of which an unsigned number may need one more.
    BigInt,
    /// With as many digits as it has.
    Numeric,
    /// Yes or no.
    Boolean,
    /// So many bits.
    Bits(u32),
    /// A float of 32 bits.
    Real,
    /// A float of 64 bits.
    Double,
    /// Letters.
    Text,
    /// The same, without what `jsonb` cannot hold.
    Json,
    /// 128 bits, which the source writes as hexadecimal digits.
    Uuid,
    /// An address of a network, which the source writes as letters.
    Inet,
    /// Any bytes.
    Bytes,
    /// Without a time of day.
    Date,
    /// Without a zone.
    DateTime,
    /// In UTC.
    Timestamp,
    /// Hours, minutes and seconds, also more than a day of them, also negative.
    Time,
}

/// A value that cannot be had in the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rejection {
    /// As PostgreSQL would say it.
    pub(super) sqlstate: &'static str,
    /// The rest of a sentence that begins with the column.
    pub(super) reason: Cow<'static, str>,
}

/// PostgreSQL's `character_not_in_repertoire`.
const NO_TEXT: &str = "22021";
/// PostgreSQL's `untranslatable_character`.
const NO_JSON: &str = "22P05";
/// PostgreSQL's `datetime_field_overflow`.
pub(super) const NO_DATE: &str = "22008";
/// PostgreSQL's `numeric_value_out_of_range`.
pub(super) const TOO_LARGE: &str = "22003";
/// PostgreSQL's `invalid_text_representation`.
pub(super) const NO_SUCH_VALUE: &str = "22P02";
/// PostgreSQL's `internal_error`.
const UNEXPECTED: &str = "XX000";

impl Rejection {
    pub(super) fn new(sqlstate: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { sqlstate, reason: reason.into() }
    }

    /// The source sent fewer values than columns.
    pub(super) fn missing() -> Self {
        Self::new(UNEXPECTED, "has no value in the source's answer")
    }

    /// Its column's type has no such values.
    pub(super) fn unexpected(value: &Value) -> Self {
        let kind = match value {
            Value::NULL => "NULL",
            Value::Bytes(_) => "a text",
            Value::Int(_) | Value::UInt(_) => "a whole number",
            Value::Float(_) | Value::Double(_) => "a floating number",
            Value::Date(..) => "a date",
            Value::Time(..) => "a time",
        };
        Self::new(UNEXPECTED, format!("is {kind}, which was not expected of its type"))
    }

    /// The target's type ends before.
    pub(super) fn too_large(target: &str) -> Self {
        Self::new(TOO_LARGE, format!("is more than a {target} can hold"))
    }

    /// An exact number has other letters than one has.
    pub(super) fn no_number() -> Self {
        Self::new(NO_SUCH_VALUE, "is no number in the source's answer")
    }
}

impl Conversion {
    /// For a column with that type in the target.
    pub(super) fn for_target(target: &str) -> Self {
        let (name, rest) = target.split_once('(').unwrap_or((target, ""));
        match name {
            "smallint" => Self::SmallInt,
            "integer" => Self::Integer,
            "bigint" => Self::BigInt,
            "numeric" => Self::Numeric,
            "boolean" => Self::Boolean,
            "bit" => Self::Bits(rest.trim_end_matches(')').parse().unwrap_or(1)),
            "real" => Self::Real,
            "double precision" => Self::Double,
            "bytea" => Self::Bytes,
            "jsonb" => Self::Json,
            "uuid" => Self::Uuid,
            "inet" => Self::Inet,
            "date" => Self::Date,
            "interval" => Self::Time,
            _ if name.starts_with("timestamp") && target.ends_with(" with time zone") => Self::Timestamp,
            _ if name.starts_with("timestamp") => Self::DateTime,
            _ => Self::Text,
        }
    }
}

/// A text that PostgreSQL can hold.
pub(super) fn text(bytes: &[u8]) -> Result<&[u8], Rejection> {
    if let Err(error) = std::str::from_utf8(bytes) {
        let at = error.valid_up_to() + 1;
        return Err(Rejection::new(NO_TEXT, format!("is no UTF-8 from its byte {at} on")));
    }
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        return Err(Rejection::new(NO_TEXT, format!("has a NUL byte, its byte {}", at + 1)));
    }
    Ok(bytes)
}

/// A JSON that `jsonb` can hold.
pub(super) fn json(bytes: &[u8]) -> Result<&[u8], Rejection> {
    if names_nul(bytes) {
        return Err(Rejection::new(NO_JSON, "has a \\u0000, which jsonb cannot hold"));
    }
    text(bytes)
}

/// Whether a JSON has the letter U+0000, which only an escape can write.
fn names_nul(json: &[u8]) -> bool {
    let mut escapes = false;
    for (at, byte) in json.iter().enumerate() {
        if escapes {
            if json[at..].starts_with(b"u0000") {
                return true;
            }
            escapes = false;
        } else {
            escapes = *byte == b'\\';
        }
    }
    false
}

/// Yes or no.
pub(super) fn truth(value: &Value) -> Result<bool, Rejection> {
    match value {
        Value::Int(0) | Value::UInt(0) => Ok(false),
        Value::Int(1) | Value::UInt(1) => Ok(true),
        Value::Int(_) | Value::UInt(_) => {
            Err(Rejection::new(NO_SUCH_VALUE, "is another number than 0 and 1: no truth value"))
        }
        Value::Bytes(bytes) => Ok(bit(bytes, 0)),
        other => Err(Rejection::unexpected(other)),
    }
}

/// A number's bit at that place from its end, where its highest byte stands first.
pub(super) fn bit(bytes: &[u8], place: u32) -> bool {
    let behind = (place / 8) as usize + 1;
    let byte = bytes.len().checked_sub(behind).and_then(|at| bytes.get(at)).copied().unwrap_or(0);
    byte >> (place % 8) & 1 == 1
}

/// A day. `None`: it is none, and NULL is allowed.
pub(super) fn day(year: u16, month: u8, day: u8, nullable: bool) -> Result<Option<NaiveDate>, Rejection> {
    if month == 0 || day == 0 {
        if nullable {
            return Ok(None);
        }
        return Err(Rejection::new(NO_DATE, "has a month or a day 0, and NULL is not allowed"));
    }
    if year == 0 {
        return Err(Rejection::new(NO_DATE, "is in the year 0, which PostgreSQL has not"));
    }
    let found = NaiveDate::from_ymd_opt(i32::from(year), u32::from(month), u32::from(day));
    match found.filter(|_| year <= 9999) {
        Some(day) => Ok(Some(day)),
        None => Err(Rejection::new(NO_DATE, "is a day that no calendar has")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_type_says_how_values_are_written() {
        for (target, conversion) in [
            ("smallint", Conversion::SmallInt),
            ("integer", Conversion::Integer),
            ("bigint", Conversion::BigInt),
            ("numeric(20)", Conversion::Numeric),
            ("numeric(10,2)", Conversion::Numeric),
            ("numeric", Conversion::Numeric),
            ("boolean", Conversion::Boolean),
            ("bit(12)", Conversion::Bits(12)),
            ("real", Conversion::Real),
            ("double precision", Conversion::Double),
            ("character varying(20)", Conversion::Text),
            ("text", Conversion::Text),
            ("uuid", Conversion::Uuid),
            ("inet", Conversion::Inet),
            ("jsonb", Conversion::Json),
            ("bytea", Conversion::Bytes),
            ("date", Conversion::Date),
            ("timestamp(0) without time zone", Conversion::DateTime),
            ("timestamp without time zone", Conversion::DateTime),
            ("timestamp(6) with time zone", Conversion::Timestamp),
            ("timestamp with time zone", Conversion::Timestamp),
            ("interval(3)", Conversion::Time),
        ] {
            assert_eq!(Conversion::for_target(target), conversion, "{target}");
        }
    }
}
