//! A value of MySQL's as COPY's text form has it. Pure, and made to be fast: it sees every value.
//!
//! In: a value as the driver gives it, and what its column becomes. Out: bytes of a line, or a [`Rejection`]. Always
//! holds: what PostgreSQL reads is the value; what it could not hold is refused here, with PostgreSQL's own SQLSTATE
//! where it has one, and never bent; a refusal names no value. The one exception is told before the run by the column's
//! note: a date with a month or a day 0 becomes NULL, where NULL is allowed.
//!
//! Refused besides: a text that is no UTF-8 or has a NUL byte, a JSON with `\u0000`, a day that no calendar has (MySQL
//! stores one under ALLOW_INVALID_DATES), the year 0, another number than 0 and 1 for a truth value, more than a
//! `bigint` holds.
//!
//! A TIME is written as hours: `-838:59:59.5` is an interval. Seconds have as many decimals as they need.

use bytes::{BufMut, BytesMut};
use mysql_async::Value;
use std::borrow::Cow;
use std::fmt::{Display, LowerExp, Write as _};

/// How a column's values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conversion {
    /// Digits.
    Number,
    /// Digits, of which an unsigned number may have too many.
    BigInt,
    /// `0` or `1`.
    Boolean,
    /// So many bits.
    Bits(u32),
    /// The shortest digits that mean the same number.
    Float,
    /// Letters, escaped.
    Text,
    /// The same, without what `jsonb` cannot hold.
    Json,
    /// `\x…`.
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
const NO_DATE: &str = "22008";
/// PostgreSQL's `numeric_value_out_of_range`.
const TOO_LARGE: &str = "22003";
/// PostgreSQL's `invalid_text_representation`.
const NO_SUCH_VALUE: &str = "22P02";
/// PostgreSQL's `internal_error`.
const UNEXPECTED: &str = "XX000";

impl Rejection {
    fn new(sqlstate: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { sqlstate, reason: reason.into() }
    }

    /// The source sent fewer values than columns.
    pub(super) fn missing() -> Self {
        Self::new(UNEXPECTED, "has no value in the source's answer")
    }
}

impl Conversion {
    /// For a column with that type in the target.
    pub(super) fn for_target(target: &str) -> Self {
        let (name, rest) = target.split_once('(').unwrap_or((target, ""));
        match name {
            "smallint" | "integer" | "numeric" => Self::Number,
            "bigint" => Self::BigInt,
            "boolean" => Self::Boolean,
            "bit" => Self::Bits(rest.trim_end_matches(')').parse().unwrap_or(1)),
            "real" | "double precision" => Self::Float,
            "bytea" => Self::Bytes,
            "json" | "jsonb" => Self::Json,
            "date" => Self::Date,
            "interval" => Self::Time,
            _ if name.starts_with("timestamp") && target.ends_with(" with time zone") => Self::Timestamp,
            _ if name.starts_with("timestamp") => Self::DateTime,
            _ => Self::Text,
        }
    }
}

/// Writes one value, escaped, without what stands before and behind it. Where it is refused `out` may hold a part.
pub(super) fn write_value(
    value: &Value,
    conversion: Conversion,
    nullable: bool,
    out: &mut BytesMut,
) -> Result<(), Rejection> {
    use Conversion::{
        BigInt, Bits, Boolean, Bytes, Date, DateTime, Float, Json, Number, Text, Time, Timestamp,
    };
    match (conversion, value) {
        (_, Value::NULL) => null(out),
        (Text, Value::Bytes(bytes)) => text(bytes, out)?,
        (Number | BigInt | Text, Value::Int(number)) => signed(*number, out),
        (BigInt, Value::UInt(number)) if i64::try_from(*number).is_err() => {
            return Err(Rejection::new(TOO_LARGE, "is more than a bigint can hold"));
        }
        (Number | BigInt | Text, Value::UInt(number)) => unsigned(*number, out),
        (Number | BigInt, Value::Bytes(digits)) => decimal(digits, out)?,
        (Boolean, Value::Int(0) | Value::UInt(0)) => out.put_u8(b'0'),
        (Boolean, Value::Int(1) | Value::UInt(1)) => out.put_u8(b'1'),
        (Boolean, Value::Int(_)) => {
            return Err(Rejection::new(NO_SUCH_VALUE, "is another number than 0 and 1: no truth value"));
        }
        (Boolean, Value::Bytes(bytes)) => bits(bytes, 1, out),
        (Bits(length), Value::Bytes(bytes)) => bits(bytes, length, out),
        (Float, Value::Float(number)) => float(*number, f64::from(*number), out),
        (Float, Value::Double(number)) => float(*number, *number, out),
        (Json, Value::Bytes(bytes)) if names_nul(bytes) => {
            return Err(Rejection::new(NO_JSON, "has a \\u0000, which jsonb cannot hold"));
        }
        (Json, Value::Bytes(bytes)) => text(bytes, out)?,
        (Bytes, Value::Bytes(bytes)) => hexadecimal(bytes, out),
        (Date | DateTime | Timestamp, &Value::Date(year, month, day, hour, minute, second, micros)) => {
            if !date(year, month, day, nullable, out)? {
                null(out);
                return Ok(());
            }
            if conversion != Date {
                out.put_u8(b' ');
                time_of_day(u32::from(hour), minute, second, micros, out);
            }
            if conversion == Timestamp {
                out.extend_from_slice(b"+00");
            }
        }
        (Time, &Value::Time(negative, days, hours, minutes, seconds, micros)) => {
            if negative {
                out.put_u8(b'-');
            }
            time_of_day(
                days.saturating_mul(24).saturating_add(u32::from(hours)),
                minutes,
                seconds,
                micros,
                out,
            );
        }
        (_, other) => {
            let kind = kind_of(other);
            return Err(Rejection::new(UNEXPECTED, format!("is {kind}, which was not expected of its type")));
        }
    }
    Ok(())
}

/// Writes a value as the source has it, for people who look at a row that was refused: nothing is checked.
pub(super) fn write_as_it_is(value: &Value, out: &mut BytesMut) {
    match value {
        Value::NULL => null(out),
        Value::Bytes(bytes) => escaped(bytes, out),
        Value::Int(number) => signed(*number, out),
        Value::UInt(number) => unsigned(*number, out),
        Value::Float(number) => float(*number, f64::from(*number), out),
        Value::Double(number) => float(*number, *number, out),
        Value::Date(year, month, day, hour, minute, second, micros) => {
            days(*year, *month, *day, out);
            if (*hour, *minute, *second, *micros) != (0, 0, 0, 0) {
                out.put_u8(b' ');
                time_of_day(u32::from(*hour), *minute, *second, *micros, out);
            }
        }
        Value::Time(negative, days, hours, minutes, seconds, micros) => {
            if *negative {
                out.put_u8(b'-');
            }
            let hours = days.saturating_mul(24).saturating_add(u32::from(*hours));
            time_of_day(hours, *minutes, *seconds, *micros, out);
        }
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::NULL => "NULL",
        Value::Bytes(_) => "a text",
        Value::Int(_) | Value::UInt(_) => "a whole number",
        Value::Float(_) | Value::Double(_) => "a floating number",
        Value::Date(..) => "a date",
        Value::Time(..) => "a time",
    }
}

fn null(out: &mut BytesMut) {
    out.extend_from_slice(b"\\N");
}

fn signed(number: i64, out: &mut BytesMut) {
    if number < 0 {
        out.put_u8(b'-');
    }
    unsigned(number.unsigned_abs(), out);
}

fn unsigned(mut number: u64, out: &mut BytesMut) {
    // 18446744073709551615 has 20 digits.
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// An exact number, which MySQL gives as text.
fn decimal(digits: &[u8], out: &mut BytesMut) -> Result<(), Rejection> {
    let is_digit = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
    if digits.is_empty() || !digits.iter().all(is_digit) {
        return Err(Rejection::new(NO_SUCH_VALUE, "is no number in the source's answer"));
    }
    out.extend_from_slice(digits);
    Ok(())
}

/// Rust's digits are the shortest that give the same number back; without an exponent there may be 300 of them.
fn float<F: Display + LowerExp>(number: F, size: f64, out: &mut BytesMut) {
    let is_plain = size == 0.0 || (1e-5..1e15).contains(&size.abs());
    let written = if is_plain { write!(out, "{number}") } else { write!(out, "{number:e}") };
    written.expect("a buffer in memory takes everything");
}

/// The last bits of a number with its highest byte first.
fn bits(bytes: &[u8], length: u32, out: &mut BytesMut) {
    for place in (0..length).rev() {
        let behind = (place / 8) as usize + 1;
        let byte = bytes.len().checked_sub(behind).and_then(|at| bytes.get(at)).copied().unwrap_or(0);
        out.put_u8(b'0' + ((byte >> (place % 8)) & 1));
    }
}

fn text(bytes: &[u8], out: &mut BytesMut) -> Result<(), Rejection> {
    if let Err(error) = std::str::from_utf8(bytes) {
        let at = error.valid_up_to() + 1;
        return Err(Rejection::new(NO_TEXT, format!("is no UTF-8 from its byte {at} on")));
    }
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        return Err(Rejection::new(NO_TEXT, format!("has a NUL byte, its byte {}", at + 1)));
    }
    escaped(bytes, out);
    Ok(())
}

/// With a backslash before what means something to COPY.
fn escaped(bytes: &[u8], out: &mut BytesMut) {
    let mut from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let letter = match byte {
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            _ => continue,
        };
        out.extend_from_slice(&bytes[from..at]);
        out.extend_from_slice(&[b'\\', letter]);
        from = at + 1;
    }
    out.extend_from_slice(&bytes[from..]);
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

/// `\x…`, whose backslash is escaped.
fn hexadecimal(bytes: &[u8], out: &mut BytesMut) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.reserve(3 + bytes.len() * 2);
    out.extend_from_slice(b"\\\\x");
    // By blocks: a call for each byte would cost more than the byte.
    let mut block = [0_u8; 512];
    for some in bytes.chunks(block.len() / 2) {
        for (at, byte) in some.iter().enumerate() {
            block[at * 2] = DIGITS[usize::from(byte >> 4)];
            block[at * 2 + 1] = DIGITS[usize::from(byte & 15)];
        }
        out.extend_from_slice(&block[..some.len() * 2]);
    }
}

/// Writes a day. `false`: it is none, nothing was written, and NULL is allowed.
fn date(year: u16, month: u8, day: u8, nullable: bool, out: &mut BytesMut) -> Result<bool, Rejection> {
    if month == 0 || day == 0 {
        if nullable {
            return Ok(false);
        }
        return Err(Rejection::new(NO_DATE, "has a month or a day 0, and NULL is not allowed"));
    }
    if year == 0 {
        return Err(Rejection::new(NO_DATE, "is in the year 0, which PostgreSQL has not"));
    }
    if year > 9999 || month > 12 || day > days_of(year, month) {
        return Err(Rejection::new(NO_DATE, "is a day that no calendar has"));
    }
    days(year, month, day, out);
    Ok(true)
}

fn days_of(year: u16, month: u8) -> u8 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days(year: u16, month: u8, day: u8, out: &mut BytesMut) {
    if year > 9999 {
        unsigned(u64::from(year), out);
    } else {
        // Both halves are below 100.
        two((year / 100) as u8, out);
        two((year % 100) as u8, out);
    }
    out.put_u8(b'-');
    two(month, out);
    out.put_u8(b'-');
    two(day, out);
}

fn time_of_day(hours: u32, minutes: u8, seconds: u8, micros: u32, out: &mut BytesMut) {
    match u8::try_from(hours) {
        Ok(hours) if hours < 100 => two(hours, out),
        _ => unsigned(u64::from(hours), out),
    }
    out.put_u8(b':');
    two(minutes, out);
    out.put_u8(b':');
    two(seconds, out);
    if micros == 0 {
        return;
    }
    let mut decimals = [b'0'; 7];
    decimals[0] = b'.';
    let mut rest = micros;
    for digit in decimals[1..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let length = decimals.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
    out.extend_from_slice(&decimals[..length]);
}

fn two(number: u8, out: &mut BytesMut) {
    if number > 99 {
        unsigned(u64::from(number), out);
    } else {
        out.extend_from_slice(&[b'0' + number / 10, b'0' + number % 10]);
    }
}

#[cfg(test)]
mod tests;
