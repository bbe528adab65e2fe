//! Values of MySQL's as COPY's text, and what is no value.

use super::*;
use proptest::prelude::*;

fn written(value: Value, conversion: Conversion) -> Result<String, Rejection> {
    let mut out = BytesMut::new();
    write_value(&value, conversion, false, &mut out)?;
    Ok(String::from_utf8(out.to_vec()).unwrap())
}

fn bytes(of: &[u8]) -> Value {
    Value::Bytes(of.to_vec())
}

fn sqlstate(value: Value, conversion: Conversion) -> &'static str {
    written(value, conversion).unwrap_err().sqlstate
}

/// As COPY reads a field: `None` is NULL.
fn read_back(field: &[u8]) -> Option<Vec<u8>> {
    if field == b"\\N" {
        return None;
    }
    let mut out = Vec::new();
    let mut rest = field.iter();
    while let Some(byte) = rest.next() {
        assert!(!matches!(byte, b'\n' | b'\r' | b'\t'), "a field ends too early");
        out.push(match byte {
            b'\\' => match rest.next().unwrap() {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                other => *other,
            },
            other => *other,
        });
    }
    Some(out)
}

#[test]
fn numbers_keep_every_digit() {
    assert_eq!(written(Value::Int(i64::MIN), Conversion::Numeric).unwrap(), "-9223372036854775808");
    assert_eq!(written(Value::Int(0), Conversion::Numeric).unwrap(), "0");
    assert_eq!(written(Value::UInt(u64::MAX), Conversion::Numeric).unwrap(), "18446744073709551615");
    assert_eq!(written(bytes(b"-0012.50"), Conversion::Numeric).unwrap(), "-0012.50");
    assert_eq!(written(Value::Float(0.1), Conversion::Real).unwrap(), "0.1");
    assert_eq!(written(Value::Double(0.1), Conversion::Double).unwrap(), "0.1");
    assert_eq!(written(Value::Double(1e300), Conversion::Double).unwrap(), "1e300");
    assert_eq!(written(Value::Double(-2.5e-9), Conversion::Double).unwrap(), "-2.5e-9");
    assert_eq!(written(Value::Double(-0.0), Conversion::Double).unwrap(), "-0");
    assert_eq!(written(Value::Float(16_777_216.0), Conversion::Double).unwrap(), "16777216");
    // What a sequence counts is a bigint.
    assert_eq!(written(Value::UInt(7), Conversion::BigInt).unwrap(), "7");
    assert_eq!(sqlstate(Value::UInt(u64::MAX), Conversion::BigInt), "22003");
    assert_eq!(sqlstate(bytes(b"1;2"), Conversion::Numeric), "22P02");
    assert_eq!(sqlstate(bytes(b""), Conversion::Numeric), "22P02");
}

#[test]
fn truth_values_and_bits() {
    assert_eq!(written(Value::Int(1), Conversion::Boolean).unwrap(), "1");
    assert_eq!(written(Value::Int(0), Conversion::Boolean).unwrap(), "0");
    assert_eq!(sqlstate(Value::Int(2), Conversion::Boolean), "22P02");
    assert_eq!(sqlstate(Value::Int(-1), Conversion::Boolean), "22P02");
    assert_eq!(written(bytes(&[1]), Conversion::Boolean).unwrap(), "1");
    assert_eq!(written(bytes(&[0]), Conversion::Boolean).unwrap(), "0");
    assert_eq!(written(bytes(&[0b101]), Conversion::Bits(3)).unwrap(), "101");
    assert_eq!(written(bytes(&[0b1, 0b10]), Conversion::Bits(12)).unwrap(), "000100000010");
    assert_eq!(written(bytes(&[255; 8]), Conversion::Bits(64)).unwrap(), "1".repeat(64));
    assert_eq!(written(bytes(&[]), Conversion::Bits(2)).unwrap(), "00");
}

#[test]
fn texts_are_escaped_and_never_changed() {
    assert_eq!(written(bytes(b"a\tb\nc\rd\\e"), Conversion::Text).unwrap(), r"a\tb\nc\rd\\e");
    assert_eq!(written(bytes(br"\N"), Conversion::Text).unwrap(), r"\\N");
    assert_eq!(written(bytes(br"\."), Conversion::Text).unwrap(), r"\\.");
    assert_eq!(written(bytes(b""), Conversion::Text).unwrap(), "");
    assert_eq!(written(bytes("größe 🦀".as_bytes()), Conversion::Text).unwrap(), "größe 🦀");
    let nul = written(bytes(b"ab\0c"), Conversion::Text).unwrap_err();
    assert_eq!((nul.sqlstate, &*nul.reason), ("22021", "has a NUL byte, its byte 3"));
    let latin = written(bytes(b"gr\xf6\xdfe"), Conversion::Text).unwrap_err();
    assert_eq!((latin.sqlstate, &*latin.reason), ("22021", "is no UTF-8 from its byte 3 on"));
}

#[test]
fn json_is_text_without_nul() {
    assert_eq!(written(bytes(br#"{"a":"\n"}"#), Conversion::Json).unwrap(), r#"{"a":"\\n"}"#);
    assert_eq!(sqlstate(bytes(br#"{"a":"\u0000"}"#), Conversion::Json), "22P05");
    // A backslash and then letters.
    assert!(written(bytes(br#"{"a":"\\u0000"}"#), Conversion::Json).is_ok());
    assert_eq!(sqlstate(bytes(br#"{"a":"\\\u0000"}"#), Conversion::Json), "22P05");
    assert!(written(bytes(br#"{"a":"\u00001"}"#), Conversion::Json).is_err());
    assert!(written(bytes(br#"{"a":"\u0001"}"#), Conversion::Json).is_ok());
}

#[test]
fn bytes_are_hexadecimal() {
    assert_eq!(written(bytes(b"\x00\xffA"), Conversion::Bytes).unwrap(), r"\\x00ff41");
    assert_eq!(written(bytes(b""), Conversion::Bytes).unwrap(), r"\\x");
}

#[test]
fn dates_and_times() {
    let day = |hour, micros| Value::Date(2024, 2, 29, hour, 5, 6, micros);
    assert_eq!(written(day(0, 0), Conversion::Date).unwrap(), "2024-02-29");
    assert_eq!(written(day(23, 0), Conversion::DateTime).unwrap(), "2024-02-29 23:05:06");
    assert_eq!(written(day(23, 120), Conversion::DateTime).unwrap(), "2024-02-29 23:05:06.00012");
    assert_eq!(written(day(1, 999_999), Conversion::Timestamp).unwrap(), "2024-02-29 01:05:06.999999+00");
    let early = Value::Date(1, 1, 1, 0, 0, 0, 0);
    assert_eq!(written(early, Conversion::DateTime).unwrap(), "0001-01-01 00:00:00");
    let time = |negative, days, hours, micros| Value::Time(negative, days, hours, 59, 58, micros);
    assert_eq!(written(time(false, 0, 1, 0), Conversion::Time).unwrap(), "01:59:58");
    assert_eq!(written(time(true, 34, 22, 0), Conversion::Time).unwrap(), "-838:59:58");
    assert_eq!(written(time(false, 4, 4, 500_000), Conversion::Time).unwrap(), "100:59:58.5");
    assert_eq!(written(Value::Time(true, 0, 0, 0, 0, 1), Conversion::Time).unwrap(), "-00:00:00.000001");
}

#[test]
fn a_day_that_is_none_is_null_or_costs_the_row() {
    for (year, month, day) in [(0, 0, 0), (2020, 0, 10), (2020, 10, 0)] {
        let value = Value::Date(year, month, day, 0, 0, 0, 0);
        for conversion in [Conversion::Date, Conversion::DateTime, Conversion::Timestamp] {
            let mut out = BytesMut::new();
            write_value(&value, conversion, true, &mut out).unwrap();
            assert_eq!(&out[..], b"\\N");
            assert_eq!(sqlstate(value.clone(), conversion), "22008");
        }
    }
    // The note promises NULL for a month or a day 0 alone.
    for (year, month, day) in [(0, 5, 3), (2023, 2, 29), (2024, 4, 31), (1900, 2, 29), (2024, 13, 1)] {
        let value = Value::Date(year, month, day, 0, 0, 0, 0);
        let refused = write_value(&value, Conversion::Date, true, &mut BytesMut::new());
        assert_eq!(refused.unwrap_err().sqlstate, "22008", "{year}-{month}-{day}");
    }
    assert!(written(Value::Date(2000, 2, 29, 0, 0, 0, 0), Conversion::Date).is_ok());
}

#[test]
fn what_was_not_expected_is_refused() {
    assert_eq!(sqlstate(Value::Int(1), Conversion::Bytes), "XX000");
    assert_eq!(sqlstate(Value::Double(1.0), Conversion::Date), "XX000");
    assert_eq!(written(Value::NULL, Conversion::Time).unwrap(), r"\N");
}

#[test]
fn a_refused_row_is_shown_as_it_is() {
    let shown = |value: Value| {
        let mut out = BytesMut::new();
        write_as_it_is(&value, &mut out);
        out.to_vec()
    };
    assert_eq!(shown(bytes(b"a\0\xff\n")), b"a\0\xff\\n");
    assert_eq!(shown(Value::Date(0, 0, 0, 0, 0, 0, 0)), b"0000-00-00");
    assert_eq!(shown(Value::Date(2020, 0, 10, 1, 0, 0, 0)), b"2020-00-10 01:00:00");
    assert_eq!(shown(Value::Time(true, 1, 1, 0, 0, 0)), b"-25:00:00");
    assert_eq!(shown(Value::NULL), b"\\N");
}

/// Letters of which most mean something to COPY.
fn tricky() -> impl Strategy<Value = String> {
    "[a\\\\\n\r\tN.x0é🦀]{0,30}"
}

proptest! {
    #[test]
    fn any_text_is_read_back(content in prop_oneof![tricky(), "[^\0]{0,60}"]) {
        let field = written(bytes(content.as_bytes()), Conversion::Text).unwrap();
        prop_assert_eq!(read_back(field.as_bytes()), Some(content.into_bytes()));
    }

    #[test]
    fn bytes_are_text_or_refused(content in proptest::collection::vec(any::<u8>(), 0..40)) {
        let is_text = std::str::from_utf8(&content).is_ok() && !content.contains(&0);
        match written(bytes(&content), Conversion::Text) {
            Ok(field) => {
                prop_assert!(is_text);
                prop_assert_eq!(read_back(field.as_bytes()), Some(content));
            }
            Err(rejection) => {
                prop_assert!(!is_text);
                prop_assert_eq!(rejection.sqlstate, "22021");
            }
        }
    }

    #[test]
    fn any_bytes_are_read_back(content in proptest::collection::vec(any::<u8>(), 0..700)) {
        let field = read_back(written(bytes(&content), Conversion::Bytes).unwrap().as_bytes()).unwrap();
        let digits = std::str::from_utf8(field.strip_prefix(b"\\x").unwrap()).unwrap();
        let back: Vec<u8> = (0..digits.len() / 2)
            .map(|at| u8::from_str_radix(&digits[at * 2..at * 2 + 2], 16).unwrap())
            .collect();
        prop_assert_eq!(back, content);
    }

    #[test]
    fn any_number_is_read_back(signed in any::<i64>(), unsigned in any::<u64>()) {
        prop_assert_eq!(written(Value::Int(signed), Conversion::Numeric).unwrap(), signed.to_string());
        prop_assert_eq!(written(Value::UInt(unsigned), Conversion::Numeric).unwrap(), unsigned.to_string());
    }

    #[test]
    fn any_float_is_read_back(single in any::<f32>(), double in any::<f64>()) {
        prop_assume!(single.is_finite() && double.is_finite());
        let text = written(Value::Float(single), Conversion::Double).unwrap();
        prop_assert_eq!(text.parse::<f32>().unwrap().to_bits(), single.to_bits(), "{}", text);
        let text = written(Value::Double(double), Conversion::Double).unwrap();
        prop_assert_eq!(text.parse::<f64>().unwrap().to_bits(), double.to_bits(), "{}", text);
        prop_assert!(text.len() < 30, "{}", text);
    }

    #[test]
    fn bits_are_the_number(number in any::<u64>(), length in 1_u32..=64) {
        let kept = if length == 64 { number } else { number & ((1 << length) - 1) };
        let taken = (length as usize).div_ceil(8);
        let field = written(bytes(&kept.to_be_bytes()[8 - taken..]), Conversion::Bits(length)).unwrap();
        prop_assert_eq!(field.len(), length as usize);
        prop_assert_eq!(u64::from_str_radix(&field, 2).unwrap(), kept);
    }

    #[test]
    fn any_moment_has_the_usual_form(
        (year, month, day) in (1_u16..=9999, 1_u8..=12, 1_u8..=28),
        (hour, minute, second) in (0_u8..24, 0_u8..60, 0_u8..60),
        micros in 0_u32..1_000_000,
    ) {
        let value = Value::Date(year, month, day, hour, minute, second, micros);
        let field = written(value, Conversion::DateTime).unwrap();
        let whole = format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}");
        let expected = if micros == 0 {
            whole
        } else {
            format!("{whole}.{micros:06}").trim_end_matches('0').to_owned()
        };
        prop_assert_eq!(field, expected);
    }

    #[test]
    fn any_time_has_the_usual_form(
        negative in any::<bool>(),
        seconds in 0_u32..=3_020_399,
        micros in 0_u32..1_000_000,
    ) {
        let (hours, minute, second) = (seconds / 3600, (seconds / 60 % 60) as u8, (seconds % 60) as u8);
        let value = Value::Time(negative, hours / 24, (hours % 24) as u8, minute, second, micros);
        let field = written(value, Conversion::Time).unwrap();
        let sign = if negative { "-" } else { "" };
        prop_assert!(field.starts_with(&format!("{sign}{hours:02}:{minute:02}:{second:02}")), "{}", field);
    }

    #[test]
    fn nothing_makes_it_panic(
        content in proptest::collection::vec(any::<u8>(), 0..20),
        (year, month, day, hour) in (any::<u16>(), any::<u8>(), any::<u8>(), any::<u8>()),
        (days, micros) in (any::<u32>(), any::<u32>()),
        nullable in any::<bool>(),
    ) {
        let values = [
            Value::Bytes(content),
            Value::Date(year, month, day, hour, hour, hour, micros),
            Value::Time(nullable, days, hour, hour, hour, micros),
            Value::Double(f64::NAN),
            Value::Float(f32::INFINITY),
        ];
        let conversions = [
            Conversion::Numeric,
            Conversion::BigInt,
            Conversion::Boolean,
            Conversion::Bits(70),
            Conversion::Double,
            Conversion::Text,
            Conversion::Json,
            Conversion::Bytes,
            Conversion::Date,
            Conversion::DateTime,
            Conversion::Timestamp,
            Conversion::Time,
        ];
        for value in &values {
            write_as_it_is(value, &mut BytesMut::new());
            for conversion in conversions {
                let mut out = BytesMut::new();
                let _ = write_value(value, conversion, nullable, &mut out);
                prop_assert!(!out.contains(&b'\n') && !out.contains(&b'\t'));
            }
        }
    }
}
