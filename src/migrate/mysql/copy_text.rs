//! A value of MySQL's as COPY's text form has it. Pure, and made to be fast: it sees every value.
//!
//! In: a value as the driver gives it, and what its column becomes. Out: bytes of a line, or a [`Rejection`]. Always
//! holds: what PostgreSQL reads is the value; what it could not hold is refused, here or by the target.
//!
//! A TIME is written as hours: `-838:59:59.5` is an interval. Seconds have as many decimals as they need.

use super::conversion::{Conversion, Rejection, bit, day, json, text, truth};
use bytes::{BufMut, BytesMut};
use mysql_async::Value;
use std::fmt::{Display, LowerExp, Write as _};

/// Writes one value, escaped, without what stands before and behind it. Where it is refused `out` may hold a part.
pub(super) fn write_value(
    value: &Value,
    conversion: Conversion,
    nullable: bool,
    out: &mut BytesMut,
) -> Result<(), Rejection> {
    use Conversion::{
        BigInt, Bits, Boolean, Bytes, Date, DateTime, Double, Inet, Integer, Json, Numeric, Real, SmallInt,
        Text, Time, Timestamp, Uuid,
    };
    match (conversion, value) {
        (_, Value::NULL) => null(out),
        (Text | Uuid | Inet, Value::Bytes(bytes)) => escaped(text(bytes)?, out),
        (SmallInt | Integer | BigInt | Numeric | Text, Value::Int(number)) => signed(*number, out),
        (BigInt, Value::UInt(number)) if i64::try_from(*number).is_err() => {
            return Err(Rejection::too_large("bigint"));
        }
        (SmallInt | Integer | BigInt | Numeric | Text, Value::UInt(number)) => unsigned(*number, out),
        (SmallInt | Integer | BigInt | Numeric, Value::Bytes(digits)) => decimal(digits, out)?,
        (Boolean, value) => out.put_u8(b'0' + u8::from(truth(value)?)),
        (Bits(length), Value::Bytes(bytes)) => bits(bytes, length, out),
        (Real | Double, Value::Float(number)) => float(*number, f64::from(*number), out),
        (Real | Double, Value::Double(number)) => float(*number, *number, out),
        (Json, Value::Bytes(bytes)) => escaped(json(bytes)?, out),
        (Bytes, Value::Bytes(bytes)) => hexadecimal(bytes, out),
        (Date | DateTime | Timestamp, &Value::Date(year, month, of_month, hour, minute, second, micros)) => {
            if day(year, month, of_month, nullable)?.is_none() {
                null(out);
                return Ok(());
            }
            days(year, month, of_month, out);
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
        (_, other) => return Err(Rejection::unexpected(other)),
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
        return Err(Rejection::no_number());
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
        out.put_u8(b'0' + u8::from(bit(bytes, place)));
    }
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
