//! A value of MySQL's as COPY's binary form has it. Pure, and made to be fast: it sees every value.
//!
//! In: a value as the driver gives it, and what its column becomes. Out: a field of a row, its length before it, or a
//! [`Rejection`]. Always holds: the field is what the target's type reads with its `…recv` function, whose layout is
//! the one of PostgreSQL's `src/backend/utils/adt`; a value that its type cannot hold is refused here, one that breaks
//! the column's own bounds (`numeric(5,2)`, `varchar(20)`) by the target. No value is parsed there: a target spends
//! about half the time that it needs for the same rows as text.
//!
//! PostgreSQL's moments count from the year 2000.

use super::conversion::{
    Conversion, NO_DATE, NO_SUCH_VALUE, Rejection, TOO_LARGE, bit, day, json, text, truth,
};
use bytes::{BufMut, BytesMut};
use chrono::NaiveDate;
use mysql_async::Value;
use std::net::IpAddr;

/// What stands in place of NULL's length.
const NULL: i32 = -1;
/// `jsonb`'s only version.
const JSONB_VERSION: u8 = 1;
/// `PGSQL_AF_INET` and the one behind it.
const INET4: u8 = 2;
const INET6: u8 = 3;
/// PostgreSQL's numbers are of digits of four decimal ones each.
const DIGITS_IN_GROUP: usize = 4;
/// What PostgreSQL allows before and behind the point.
const MOST_WHOLE_DIGITS: usize = 131_072;
const MOST_DECIMALS: usize = 16_383;
const NEGATIVE: u16 = 0x4000;
const MICROS_OF_A_SECOND: i64 = 1_000_000;
const MICROS_OF_A_DAY: i64 = 86_400 * MICROS_OF_A_SECOND;
const MIDNIGHT_OF_2000: NaiveDate = NaiveDate::from_ymd_opt(2000, 1, 1).expect("it is a day");

/// Begins a row of so many fields.
pub(super) fn begin_row(fields: usize, out: &mut BytesMut) {
    // A table of the target's has 1,600 columns at most.
    out.put_u16(u16::try_from(fields).unwrap_or(u16::MAX));
}

/// Writes one value, with its length before it. Where it is refused `out` may hold a part.
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
        (_, Value::NULL) => out.put_i32(NULL),
        (Text, Value::Bytes(bytes)) => field(text(bytes)?, out)?,
        (Text | Numeric, Value::Int(number)) => digits(&number.to_string(), conversion, out)?,
        (Text | Numeric, Value::UInt(number)) => digits(&number.to_string(), conversion, out)?,
        (Numeric, Value::Bytes(digits)) => numeric(digits, out)?,
        (SmallInt, value) => field(&narrow::<i16>(value, "smallint")?.to_be_bytes(), out)?,
        (Integer, value) => field(&narrow::<i32>(value, "integer")?.to_be_bytes(), out)?,
        (BigInt, value) => field(&narrow::<i64>(value, "bigint")?.to_be_bytes(), out)?,
        (Boolean, value) => field(&[u8::from(truth(value)?)], out)?,
        (Bits(length), Value::Bytes(bytes)) => bits(bytes, length, out),
        (Real, Value::Float(number)) => field(&number.to_be_bytes(), out)?,
        (Double, Value::Double(number)) => field(&number.to_be_bytes(), out)?,
        (Json, Value::Bytes(bytes)) => {
            let json = json(bytes)?;
            length(json.len() + 1, out)?;
            out.put_u8(JSONB_VERSION);
            out.extend_from_slice(json);
        }
        (Uuid, Value::Bytes(bytes)) => field(&uuid(bytes)?, out)?,
        (Inet, Value::Bytes(bytes)) => inet(bytes, out)?,
        (Bytes, Value::Bytes(bytes)) => field(bytes, out)?,
        (Date | DateTime | Timestamp, &Value::Date(year, month, of_month, hour, minute, second, micros)) => {
            let Some(day) = day(year, month, of_month, nullable)? else {
                out.put_i32(NULL);
                return Ok(());
            };
            // Of four digits' years: below 32 bits.
            let days = day.signed_duration_since(MIDNIGHT_OF_2000).num_days();
            if conversion == Date {
                field(&(days as i32).to_be_bytes(), out)?;
            } else {
                if hour > 23 {
                    return Err(no_time());
                }
                let of_day = micros_of(u64::from(hour), minute, second, micros)?;
                field(&(days * MICROS_OF_A_DAY + of_day).to_be_bytes(), out)?;
            }
        }
        (Time, &Value::Time(negative, days, hours, minutes, seconds, micros)) => {
            let hours = u64::from(days) * 24 + u64::from(hours);
            let span = micros_of(hours, minutes, seconds, micros)?;
            length(16, out)?;
            out.put_i64(if negative { -span } else { span });
            // Neither days nor months: 838 hours are no 34 days.
            out.put_i64(0);
        }
        (_, other) => return Err(Rejection::unexpected(other)),
    }
    Ok(())
}

fn length(bytes: usize, out: &mut BytesMut) -> Result<(), Rejection> {
    let length = i32::try_from(bytes)
        .map_err(|_| Rejection::new(TOO_LARGE, "is longer than a field of PostgreSQL's can be"))?;
    out.put_i32(length);
    Ok(())
}

fn field(bytes: &[u8], out: &mut BytesMut) -> Result<(), Rejection> {
    length(bytes.len(), out)?;
    out.extend_from_slice(bytes);
    Ok(())
}

/// A whole number that the target's type holds.
fn narrow<N: TryFrom<i64> + TryFrom<u64>>(value: &Value, target: &str) -> Result<N, Rejection> {
    let number = match value {
        Value::Int(number) => N::try_from(*number).ok(),
        Value::UInt(number) => N::try_from(*number).ok(),
        Value::Bytes(digits) => {
            let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<i64>().ok());
            N::try_from(number.ok_or_else(Rejection::no_number)?).ok()
        }
        other => return Err(Rejection::unexpected(other)),
    };
    number.ok_or_else(|| Rejection::too_large(target))
}

fn digits(digits: &str, conversion: Conversion, out: &mut BytesMut) -> Result<(), Rejection> {
    if conversion == Conversion::Numeric {
        numeric(digits.as_bytes(), out)
    } else {
        field(digits.as_bytes(), out)
    }
}

/// An exact number, which MySQL gives as digits: groups of four of them, from the point on to both sides, without those
/// at both ends that are 0; before them how many there are, the place of the first, the sign, the decimals to show.
fn numeric(digits: &[u8], out: &mut BytesMut) -> Result<(), Rejection> {
    let (mut negative, digits) = match digits {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] | rest => (false, rest),
    };
    let point = digits.iter().position(|byte| *byte == b'.').unwrap_or(digits.len());
    let (whole, decimals) = (&digits[..point], digits.get(point + 1..).unwrap_or_default());
    let is_empty = whole.is_empty() && decimals.is_empty();
    if is_empty || !whole.iter().chain(decimals).all(u8::is_ascii_digit) {
        return Err(Rejection::no_number());
    }
    if whole.len() > MOST_WHOLE_DIGITS || decimals.len() > MOST_DECIMALS {
        return Err(Rejection::too_large("numeric"));
    }
    let start = out.len();
    // The field's length and the number's head, once they are known.
    out.put_bytes(0, 12);
    let mut weight = whole.len().div_ceil(DIGITS_IN_GROUP) as i32 - 1;
    let (mut written, mut kept) = (0_u16, 0_u16);
    let groups = whole.rchunks(DIGITS_IN_GROUP).rev().map(|group| group_of(group, 0));
    let behind =
        decimals.chunks(DIGITS_IN_GROUP).map(|group| group_of(group, (DIGITS_IN_GROUP - group.len()) as u32));
    for group in groups.chain(behind) {
        if written == 0 && group == 0 {
            weight -= 1;
            continue;
        }
        out.put_u16(group);
        written += 1;
        if group != 0 {
            kept = written;
        }
    }
    if kept == 0 {
        (weight, negative) = (0, false);
    }
    let bytes = 8 + 2 * usize::from(kept);
    out.truncate(start + 4 + bytes);
    let mut head = &mut out[start..start + 12];
    head.put_u32(bytes as u32);
    head.put_u16(kept);
    head.put_i16(weight as i16);
    head.put_u16(if negative { NEGATIVE } else { 0 });
    head.put_u16(decimals.len() as u16);
    Ok(())
}

/// Up to four digits, with so many zeros behind them.
fn group_of(digits: &[u8], zeros: u32) -> u16 {
    let number = digits.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
    number * 10_u16.pow(zeros)
}

/// How many there are, then the bits from the left, the last byte filled up with 0.
fn bits(bytes: &[u8], many: u32, out: &mut BytesMut) {
    let length = many.div_ceil(8);
    out.put_u32(4 + length);
    out.put_u32(many);
    for at in 0..length {
        let of_byte = (0..8).map(|bit_at| at * 8 + bit_at);
        let byte = of_byte.fold(0, |byte, place| {
            let set = place < many && bit(bytes, many - 1 - place);
            byte << 1 | u8::from(set)
        });
        out.put_u8(byte);
    }
}

/// 32 hexadecimal digits, with hyphens among them.
fn uuid(letters: &[u8]) -> Result<[u8; 16], Rejection> {
    let refused = || Rejection::new(NO_SUCH_VALUE, "is no UUID in the source's answer");
    let mut bytes = [0; 16];
    let mut many = 0;
    for letter in letters.iter().filter(|letter| **letter != b'-') {
        let digit = char::from(*letter).to_digit(16).ok_or_else(refused)?;
        let byte: &mut u8 = bytes.get_mut(many / 2).ok_or_else(refused)?;
        *byte = *byte << 4 | digit as u8;
        many += 1;
    }
    if many == 32 { Ok(bytes) } else { Err(refused()) }
}

/// Its family, the bits of its network, that it is no `cidr`, its bytes with their number before them.
fn inet(letters: &[u8], out: &mut BytesMut) -> Result<(), Rejection> {
    let address = std::str::from_utf8(letters).ok().and_then(|letters| letters.parse().ok());
    let address = address
        .ok_or_else(|| Rejection::new(NO_SUCH_VALUE, "is no network address in the source's answer"))?;
    let mut put = |family: u8, bytes: &[u8]| {
        out.put_u32(4 + bytes.len() as u32);
        out.extend_from_slice(&[family, bytes.len() as u8 * 8, 0, bytes.len() as u8]);
        out.extend_from_slice(bytes);
    };
    match address {
        IpAddr::V4(address) => put(INET4, &address.octets()),
        IpAddr::V6(address) => put(INET6, &address.octets()),
    }
    Ok(())
}

fn micros_of(hours: u64, minutes: u8, seconds: u8, micros: u32) -> Result<i64, Rejection> {
    if minutes > 59 || seconds > 59 || i64::from(micros) >= MICROS_OF_A_SECOND {
        return Err(no_time());
    }
    // Hours are of 37 bits at most, and so this is below 64.
    let seconds = hours * 3600 + u64::from(minutes) * 60 + u64::from(seconds);
    let span = i64::try_from(seconds).ok().and_then(|seconds| seconds.checked_mul(MICROS_OF_A_SECOND));
    span.and_then(|span| span.checked_add(i64::from(micros))).ok_or_else(no_time)
}

fn no_time() -> Rejection {
    Rejection::new(NO_DATE, "has a time that no clock shows")
}

#[cfg(test)]
mod tests;
