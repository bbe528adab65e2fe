//! Values of MySQL's as COPY's binary form; read back by another reader of that form wherever there is one.

use super::*;
use chrono::{DateTime, NaiveDateTime, NaiveTime, Utc};
use proptest::prelude::*;
use tokio_postgres::types::{FromSql, Type};

const ALL: [Conversion; 18] = [
    Conversion::SmallInt,
    Conversion::Integer,
    Conversion::BigInt,
    Conversion::Numeric,
    Conversion::Boolean,
    Conversion::Bits(70),
    Conversion::Real,
    Conversion::Double,
    Conversion::Text,
    Conversion::Json,
    Conversion::Uuid,
    Conversion::Inet,
    Conversion::Bytes,
    Conversion::Date,
    Conversion::DateTime,
    Conversion::Timestamp,
    Conversion::Time,
    Conversion::Bits(3),
];

/// The field's bytes, behind its length; `None` is NULL.
fn written(value: &Value, conversion: Conversion, nullable: bool) -> Result<Option<Vec<u8>>, Rejection> {
    // What stands before it in the row stays.
    let mut out = BytesMut::from(&b"before"[..]);
    write_value(value, conversion, nullable, &mut out)?;
    let field = out.strip_prefix(b"before").expect("nothing before it is changed");
    let (length, rest) = field.split_first_chunk::<4>().expect("a length comes first");
    let length = i32::from_be_bytes(*length);
    if length == NULL {
        assert!(rest.is_empty());
        return Ok(None);
    }
    assert_eq!(usize::try_from(length).unwrap(), rest.len());
    Ok(Some(rest.to_vec()))
}

fn field(value: Value, conversion: Conversion) -> Vec<u8> {
    written(&value, conversion, false).unwrap().unwrap()
}

fn sqlstate(value: Value, conversion: Conversion) -> &'static str {
    written(&value, conversion, false).unwrap_err().sqlstate
}

fn bytes(of: &[u8]) -> Value {
    Value::Bytes(of.to_vec())
}

fn read<T: for<'b> FromSql<'b>>(field: &[u8], of: &Type) -> T {
    T::from_sql(of, field).unwrap()
}

/// As PostgreSQL shows a `numeric`.
fn shown(field: &[u8]) -> String {
    let at = |place: usize| u16::from_be_bytes([field[place * 2], field[place * 2 + 1]]);
    let (many, weight) = (usize::from(at(0)), i32::from(at(1) as i16));
    let (negative, decimals) = (at(2) == 0x4000, usize::from(at(3)));
    assert_eq!(field.len(), 8 + many * 2);
    let group = |place: i32| {
        let index = usize::try_from(weight - place).ok().filter(|index| *index < many);
        index.map_or(0, |index| at(4 + index))
    };
    let whole: String = (0..=weight.max(0)).rev().map(|place| format!("{:04}", group(place))).collect();
    let behind: String =
        (1..=decimals.div_ceil(4) as i32).map(|place| format!("{:04}", group(-place))).collect();
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let point = if decimals > 0 { "." } else { "" };
    format!("{}{whole}{point}{}", if negative { "-" } else { "" }, &behind[..decimals])
}

#[test]
fn a_row_begins_with_its_number_of_fields() {
    let mut out = BytesMut::new();
    begin_row(258, &mut out);
    write_value(&Value::NULL, Conversion::Time, false, &mut out).unwrap();
    assert_eq!(&out[..], [1, 2, 255, 255, 255, 255]);
}

#[test]
fn whole_numbers_have_their_types_width() {
    assert_eq!(field(Value::Int(-2), Conversion::SmallInt), [0xff, 0xfe]);
    assert_eq!(field(Value::UInt(258), Conversion::SmallInt), [1, 2]);
    assert_eq!(field(Value::Int(-2), Conversion::Integer), [0xff, 0xff, 0xff, 0xfe]);
    assert_eq!(field(bytes(b"258"), Conversion::BigInt), [0, 0, 0, 0, 0, 0, 1, 2]);
    for (value, conversion) in [
        (Value::Int(32_768), Conversion::SmallInt),
        (Value::Int(-32_769), Conversion::SmallInt),
        (Value::UInt(1 << 31), Conversion::Integer),
        (Value::UInt(1 << 63), Conversion::BigInt),
    ] {
        assert_eq!(sqlstate(value.clone(), conversion), "22003", "{value:?}");
    }
    assert_eq!(sqlstate(bytes(b"1.5"), Conversion::Integer), "22P02");
}

#[test]
fn exact_numbers_are_groups_of_four_digits() {
    // As a PostgreSQL 15 writes them (`COPY … (FORMAT binary)`).
    let cases: [(&[u8], &[u16]); 7] = [
        (b"0", &[0, 0, 0, 0]),
        (b"-0.00", &[0, 0, 0, 2]),
        (b"12.50", &[2, 0, 0, 2, 12, 5000]),
        (b"-10000", &[1, 1, 0x4000, 0, 1]),
        (b"0.00001", &[1, 0xfffe, 0, 5, 1000]),
        (b"123456789.123", &[4, 2, 0, 3, 1, 2345, 6789, 1230]),
        (b"+0100000000.0", &[1, 2, 0, 1, 1]),
    ];
    for (digits, words) in cases {
        let expected: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        assert_eq!(field(bytes(digits), Conversion::Numeric), expected, "{}", digits.escape_ascii());
    }
    assert_eq!(shown(&field(Value::UInt(u64::MAX), Conversion::Numeric)), "18446744073709551615");
    assert_eq!(shown(&field(Value::Int(i64::MIN), Conversion::Numeric)), "-9223372036854775808");
    for refused in [&b""[..], b".", b"-", b"1;2", b"1.2.3", b"1e5", b"NaN"] {
        assert_eq!(sqlstate(bytes(refused), Conversion::Numeric), "22P02", "{}", refused.escape_ascii());
    }
    assert_eq!(sqlstate(bytes(&[b'1'; 131_073]), Conversion::Numeric), "22003");
    assert_eq!(field(bytes(&[b'9'; 131_072]), Conversion::Numeric)[2..4], [0x7f, 0xff]);
}

#[test]
fn truth_values_and_bits() {
    assert_eq!(field(Value::Int(1), Conversion::Boolean), [1]);
    assert_eq!(field(bytes(&[0]), Conversion::Boolean), [0]);
    assert_eq!(sqlstate(Value::Int(2), Conversion::Boolean), "22P02");
    assert_eq!(field(bytes(&[0b101]), Conversion::Bits(3)), [0, 0, 0, 3, 0b1010_0000]);
    assert_eq!(field(bytes(&[0b1, 0b10]), Conversion::Bits(12)), [0, 0, 0, 12, 0b0001_0000, 0b0010_0000]);
    assert_eq!(field(bytes(&[]), Conversion::Bits(9)), [0, 0, 0, 9, 0, 0]);
}

#[test]
fn texts_are_as_they_are_or_refused() {
    assert_eq!(field(bytes(b"a\tb\nc\\N"), Conversion::Text), b"a\tb\nc\\N");
    assert_eq!(field(bytes(b""), Conversion::Text), b"");
    assert_eq!(field(Value::Int(-7), Conversion::Text), b"-7");
    assert_eq!(sqlstate(bytes(b"ab\0c"), Conversion::Text), "22021");
    assert_eq!(sqlstate(bytes(b"gr\xf6"), Conversion::Text), "22021");
    assert_eq!(field(bytes(b"{\"a\":1}"), Conversion::Json), b"\x01{\"a\":1}");
    assert_eq!(sqlstate(bytes(br#"{"a":"\u0000"}"#), Conversion::Json), "22P05");
    assert_eq!(field(bytes(b"a\0\xff"), Conversion::Bytes), b"a\0\xff");
}

#[test]
fn uuids_and_addresses() {
    let id = field(bytes(b"00112233-4455-6677-8899-AAbbccddeeff"), Conversion::Uuid);
    assert_eq!(id, (0..16).map(|digit| digit * 17).collect::<Vec<u8>>());
    for refused in [&b"0011"[..], b"00112233-4455-6677-8899-aabbccddeeff0", b"x", b""] {
        assert_eq!(sqlstate(bytes(refused), Conversion::Uuid), "22P02", "{}", refused.escape_ascii());
    }
    for text in ["10.0.0.7", "2001:db8::7", "::ffff:10.0.0.7"] {
        let back: std::net::IpAddr = read(&field(bytes(text.as_bytes()), Conversion::Inet), &Type::INET);
        assert_eq!(back, text.parse::<std::net::IpAddr>().unwrap());
    }
    assert_eq!(sqlstate(bytes(b"10.0.0.700"), Conversion::Inet), "22P02");
}

#[test]
fn a_day_that_is_none_is_null_or_costs_the_row() {
    for conversion in [Conversion::Date, Conversion::DateTime, Conversion::Timestamp] {
        let zero = Value::Date(2020, 0, 10, 0, 0, 0, 0);
        assert_eq!(written(&zero, conversion, true), Ok(None));
        assert_eq!(sqlstate(zero, conversion), "22008");
        assert_eq!(sqlstate(Value::Date(2023, 2, 29, 0, 0, 0, 0), conversion), "22008");
    }
    assert_eq!(sqlstate(Value::Date(2023, 2, 28, 24, 0, 0, 0), Conversion::DateTime), "22008");
    assert_eq!(sqlstate(Value::Date(2023, 2, 28, 0, 60, 0, 0), Conversion::Timestamp), "22008");
}

#[test]
fn spans_are_of_hours_and_not_of_days() {
    let span = |micros: i64| [&micros.to_be_bytes()[..], &[0; 8]].concat();
    let seconds = (838 * 3600 + 59 * 60 + 58) * MICROS_OF_A_SECOND;
    assert_eq!(field(Value::Time(true, 34, 22, 59, 58, 0), Conversion::Time), span(-seconds));
    assert_eq!(field(Value::Time(false, 0, 0, 0, 0, 1), Conversion::Time), span(1));
    assert_eq!(sqlstate(Value::Time(false, u32::MAX, 0, 0, 0, 0), Conversion::Time), "22008");
}

#[test]
fn what_was_not_expected_is_refused() {
    assert_eq!(sqlstate(Value::Int(1), Conversion::Bytes), "XX000");
    assert_eq!(sqlstate(Value::Double(1.0), Conversion::Date), "XX000");
    assert_eq!(sqlstate(Value::Double(1.0), Conversion::Real), "XX000");
}

proptest! {
    #[test]
    fn any_number_is_read_back(signed in any::<i64>(), single in any::<f32>(), double in any::<f64>()) {
        prop_assert_eq!(read::<i64>(&field(Value::Int(signed), Conversion::BigInt), &Type::INT8), signed);
        let back: f32 = read(&field(Value::Float(single), Conversion::Real), &Type::FLOAT4);
        prop_assert_eq!(back.to_bits(), single.to_bits());
        let back: f64 = read(&field(Value::Double(double), Conversion::Double), &Type::FLOAT8);
        prop_assert_eq!(back.to_bits(), double.to_bits());
        prop_assert_eq!(shown(&field(Value::Int(signed), Conversion::Numeric)), signed.to_string());
    }

    #[test]
    fn any_exact_number_is_read_back(digits in "-?(0|[1-9][0-9]{0,44})(\\.[0-9]{1,38})?") {
        let is_zero = !digits.bytes().any(|digit| matches!(digit, b'1'..=b'9'));
        let expected = if is_zero { digits.trim_start_matches('-') } else { digits.as_str() };
        prop_assert_eq!(shown(&field(bytes(digits.as_bytes()), Conversion::Numeric)), expected);
    }

    #[test]
    fn any_moment_is_read_back(
        (year, month, of_month) in (1_u16..=9999, 1_u8..=12, 1_u8..=28),
        (hour, minute, second) in (0_u8..24, 0_u8..60, 0_u8..60),
        micros in 0_u32..1_000_000,
    ) {
        let value = Value::Date(year, month, of_month, hour, minute, second, micros);
        let day = NaiveDate::from_ymd_opt(year.into(), month.into(), of_month.into()).unwrap();
        let time = NaiveTime::from_hms_micro_opt(hour.into(), minute.into(), second.into(), micros).unwrap();
        let moment = day.and_time(time);
        prop_assert_eq!(read::<NaiveDate>(&field(value.clone(), Conversion::Date), &Type::DATE), day);
        let back: NaiveDateTime = read(&field(value.clone(), Conversion::DateTime), &Type::TIMESTAMP);
        prop_assert_eq!(back, moment);
        let back: DateTime<Utc> = read(&field(value, Conversion::Timestamp), &Type::TIMESTAMPTZ);
        prop_assert_eq!(back, moment.and_utc());
    }

    #[test]
    fn any_bits_are_read_back(number in any::<u64>(), length in 1_u32..=64) {
        let kept = if length == 64 { number } else { number & ((1 << length) - 1) };
        let taken = (length as usize).div_ceil(8);
        let field = field(bytes(&kept.to_be_bytes()[8 - taken..]), Conversion::Bits(length));
        prop_assert_eq!(&field[..4], length.to_be_bytes());
        let back = field[4..].iter().fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
        prop_assert_eq!(back >> (taken * 8 - length as usize), u128::from(kept));
    }

    #[test]
    fn nothing_makes_it_panic(
        content in proptest::collection::vec(any::<u8>(), 0..40),
        (year, month, of_month, hour) in (any::<u16>(), any::<u8>(), any::<u8>(), any::<u8>()),
        (days, micros) in (any::<u32>(), any::<u32>()),
        (signed, unsigned, nullable) in (any::<i64>(), any::<u64>(), any::<bool>()),
    ) {
        let values = [
            Value::Bytes(content),
            Value::Int(signed),
            Value::UInt(unsigned),
            Value::Date(year, month, of_month, hour, hour, hour, micros),
            Value::Time(nullable, days, hour, hour, hour, micros),
            Value::Double(f64::NAN),
            Value::Float(f32::INFINITY),
        ];
        for value in &values {
            for conversion in ALL {
                let _ = written(value, conversion, nullable);
            }
        }
    }
}
