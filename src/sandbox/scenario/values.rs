//! A scenario's values: numbers within bounds, durations, and settings as YAML has read them.
//!
//! In: YAML. Out: a checked value, or an error that says what is allowed; it carries the value's own line.

use serde::de::{self, Deserialize, Deserializer, Unexpected, Visitor};
use std::fmt;
use std::time::Duration;

/// A whole number within bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounded<const MIN: u32, const MAX: u32>(u32);

impl<const MIN: u32, const MAX: u32> Bounded<MIN, MAX> {
    /// A number of ours; one of a file's is read.
    pub(super) const fn new(number: u32) -> Self {
        assert!(MIN <= number && number <= MAX, "a default is within its bounds");
        Self(number)
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl<const MAX: u32> Default for Bounded<0, MAX> {
    fn default() -> Self {
        Self(0)
    }
}

impl<'de, const MIN: u32, const MAX: u32> Deserialize<'de> for Bounded<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Checked inside the visitor, so that an error carries the value's own line.
        struct Check<const MIN: u32, const MAX: u32>;
        impl<const MIN: u32, const MAX: u32> Visitor<'_> for Check<MIN, MAX> {
            type Value = Bounded<MIN, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from {MIN} to {MAX}")
            }

            fn visit_u64<E: de::Error>(self, found: u64) -> Result<Self::Value, E> {
                let number = u32::try_from(found).ok().filter(|number| (MIN..=MAX).contains(number));
                number.map(Bounded).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(found), &self))
            }

            fn visit_i64<E: de::Error>(self, found: i64) -> Result<Self::Value, E> {
                Err(E::invalid_value(Unexpected::Signed(found), &self))
            }
        }
        deserializer.deserialize_u32(Check::<MIN, MAX>)
    }
}

/// A duration as people write it: `500ms`, `20s`, `2m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(Duration);

impl Span {
    const LONGEST: Duration = Duration::from_secs(3_600);

    pub(super) fn new(duration: Duration) -> Self {
        Self(duration)
    }

    /// The duration.
    pub fn get(self) -> Duration {
        self.0
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let unit_ms = match &text[digits..] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            _ => return None,
        };
        let millis = text[..digits].parse::<u64>().ok()?.checked_mul(unit_ms)?;
        Some(Self(Duration::from_millis(millis))).filter(|span| span.0 <= Self::LONGEST)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Check;
        impl Visitor<'_> for Check {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number with ms, s or m, up to 60m")
            }

            fn visit_str<E: de::Error>(self, found: &str) -> Result<Span, E> {
                Span::parse(found).ok_or_else(|| E::invalid_value(Unexpected::Str(found), &self))
            }
        }
        deserializer.deserialize_str(Check)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        if millis.is_multiple_of(1_000) { write!(f, "{}s", millis / 1_000) } else { write!(f, "{millis}ms") }
    }
}

/// A setting's value; YAML may have read it as a number or a truth value.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    /// `on`, `off`, true, false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A fraction.
    Float(f64),
    /// Anything else, e.g. `256MB`.
    Text(String),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(true) => f.write_str("on"),
            Self::Bool(false) => f.write_str("off"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Text(value) => f.write_str(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(Span::parse("20s").unwrap().get(), Duration::from_secs(20));
        assert_eq!(Span::parse("500ms").unwrap().to_string(), "500ms");
        for wrong in ["20", "s", "-1s", "1h", "61m", "99999999999999999999s"] {
            assert!(Span::parse(wrong).is_none(), "{wrong}");
        }
    }
}
