//! Postgres' own reading of a setting's value: `64MB`, `10min`, `on`, `0.9`.
//!
//! Follows `parse_int`, `parse_real` and `parse_bool` of PostgreSQL's `guc.c`: units are case-sensitive,
//! a number without a unit is in the setting's own unit, integers are rounded, enums and booleans ignore case.

use super::{Setting, SettingType};
use std::fmt;

/// A value in the setting's own unit.
#[derive(Debug, Clone, PartialEq)]
pub enum PgValue {
    /// on or off.
    Bool(bool),
    /// In the setting's unit.
    Number(f64),
    /// Enum (lower case) or text.
    Text(String),
}

/// Why a value is not one for this setting.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PgValueError {
    /// Not a number, boolean or unit at all.
    #[error("{name} = {found:?} is not {expected}")]
    Malformed {
        /// The parameter.
        name: String,
        /// What was found.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// Outside of `min_val` … `max_val`.
    #[error("{name} = {found} is out of range: allowed is {min} to {max}")]
    OutOfRange {
        /// The parameter.
        name: String,
        /// What was found.
        found: String,
        /// The smallest, with its unit.
        min: String,
        /// The largest, with its unit.
        max: String,
    },
}

const MEMORY: [(&str, f64); 5] =
    [("B", 1.0), ("kB", 1024.0), ("MB", 1_048_576.0), ("GB", 1_073_741_824.0), ("TB", 1_099_511_627_776.0)];
const TIME_MS: [(&str, f64); 6] =
    [("us", 0.001), ("ms", 1.0), ("s", 1000.0), ("min", 60_000.0), ("h", 3_600_000.0), ("d", 86_400_000.0)];

impl PgValue {
    /// Reads `raw`, with or without single quotes, as a value of `setting` and checks its range.
    pub fn parse(raw: &str, setting: &Setting) -> Result<Self, PgValueError> {
        let text = unquote(raw);
        match setting.vartype {
            SettingType::Bool => parse_bool(&text).map(Self::Bool).ok_or_else(|| {
                malformed(setting, &text, "a boolean: on, off, true, false, yes, no, 1 or 0".to_owned())
            }),
            SettingType::Integer | SettingType::Real => parse_number(&text, setting).map(Self::Number),
            SettingType::Enum => parse_enum(&text, setting).map(Self::Text),
            SettingType::String => Ok(Self::Text(text)),
        }
    }

    /// The value as `SHOW` prints it: in the largest unit that divides it.
    pub fn show(&self, setting: &Setting) -> String {
        match self {
            Self::Bool(true) => "on".to_owned(),
            Self::Bool(false) => "off".to_owned(),
            Self::Text(text) => text.clone(),
            Self::Number(number) => show_number(*number, setting),
        }
    }

    /// The number, where it is one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Bool(_) | Self::Text(_) => None,
        }
    }

    /// A memory setting's value in bytes; `None` where its unit is not one of memory.
    pub fn bytes(&self, setting: &Setting) -> Option<f64> {
        let (table, factor) = unit_of(setting.unit.as_deref()?)?;
        (table == MEMORY.as_slice()).then_some(self.number()? * factor)
    }
}

/// Takes the single quotes of a configuration file off: `'a''b'` → `a'b`.
fn unquote(raw: &str) -> String {
    let trimmed = raw.trim();
    match trimmed.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        Some(inner) => inner.replace("''", "'").replace("\\'", "'"),
        None => trimmed.to_owned(),
    }
}

fn parse_bool(text: &str) -> Option<bool> {
    let lower = text.to_ascii_lowercase();
    if lower.is_empty() {
        return None;
    }
    match lower.as_str() {
        "on" | "1" => Some(true),
        "off" | "of" | "0" => Some(false),
        word if "true".starts_with(word) || "yes".starts_with(word) => Some(true),
        word if "false".starts_with(word) || "no".starts_with(word) => Some(false),
        _ => None,
    }
}

fn parse_enum(text: &str, setting: &Setting) -> Result<String, PgValueError> {
    let lower = text.to_ascii_lowercase();
    let has = |word: &str| setting.enumvals.iter().any(|allowed| allowed.eq_ignore_ascii_case(word));
    if has(&lower) {
        return Ok(lower);
    }
    // Enums that grew out of a boolean accept its spellings without listing them.
    match parse_bool(&lower) {
        Some(true) if has("on") => Ok("on".to_owned()),
        Some(false) if has("off") => Ok("off".to_owned()),
        _ => Err(malformed(setting, text, format!("one of {}", setting.enumvals.join(", ")))),
    }
}

fn parse_number(text: &str, setting: &Setting) -> Result<f64, PgValueError> {
    let split = text
        .char_indices()
        .find(|&(at, c)| {
            let exponent_follows = matches!(c, 'e' | 'E')
                && text[at + 1..]
                    .starts_with(|next: char| next.is_ascii_digit() || matches!(next, '+' | '-'));
            !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-') || exponent_follows)
        })
        .map_or(text.len(), |(at, _)| at);
    let (digits, unit) = (&text[..split], text[split..].trim());
    let expected = || match setting.unit.as_deref().and_then(unit_of) {
        Some((table, _)) => {
            let units: Vec<_> = table.iter().map(|(name, _)| *name).collect();
            format!("a number with a unit of {} (case matters)", units.join(", "))
        }
        None => "a number without a unit".to_owned(),
    };
    let number: f64 = digits.parse().map_err(|_| malformed(setting, text, expected()))?;
    let in_own_unit = if unit.is_empty() {
        number
    } else {
        let (table, own) =
            setting.unit.as_deref().and_then(unit_of).ok_or_else(|| malformed(setting, text, expected()))?;
        let (_, factor) = table
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(|| malformed(setting, text, expected()))?;
        number * factor / own
    };
    let value =
        if setting.vartype == SettingType::Integer { in_own_unit.round_ties_even() } else { in_own_unit };
    let low = setting.min.unwrap_or(f64::NEG_INFINITY);
    let high = setting.max.unwrap_or(f64::INFINITY);
    if value < low || value > high || !value.is_finite() {
        return Err(PgValueError::OutOfRange {
            name: setting.name.clone(),
            found: text.to_owned(),
            min: show_number(low, setting),
            max: show_number(high, setting),
        });
    }
    Ok(value)
}

fn malformed(setting: &Setting, found: &str, expected: String) -> PgValueError {
    PgValueError::Malformed { name: setting.name.clone(), found: found.to_owned(), expected }
}

/// The table of a unit's kind and the unit's size in the table's base: `8kB` → (memory, 8192 bytes).
fn unit_of(unit: &str) -> Option<(&'static [(&'static str, f64)], f64)> {
    let split = unit.find(|c: char| !c.is_ascii_digit()).unwrap_or(unit.len());
    let count: f64 = if split == 0 { 1.0 } else { unit[..split].parse().ok()? };
    for table in [MEMORY.as_slice(), TIME_MS.as_slice()] {
        if let Some((_, factor)) = table.iter().find(|(name, _)| *name == &unit[split..]) {
            return Some((table, count * factor));
        }
    }
    None
}

fn show_number(number: f64, setting: &Setting) -> String {
    let Some((table, own)) = setting.unit.as_deref().and_then(unit_of) else { return trim(number) };
    // 0 and -1 mean "off" or "automatic" and carry no unit.
    if number <= 0.0 || !number.is_finite() {
        return trim(number);
    }
    let base = number * own;
    let (name, factor) = table
        .iter()
        .rev()
        .find(|(_, factor)| (base / factor).fract().abs() < 1e-9 && base / factor >= 1.0)
        .unwrap_or(&table[0]);
    format!("{}{name}", trim(base / factor))
}

fn trim(number: f64) -> String {
    format!("{number}")
}

impl fmt::Display for PgValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => f.write_str(if *value { "on" } else { "off" }),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Context, Sourced};

    fn setting(vartype: SettingType, unit: Option<&str>, min: f64, max: f64) -> Setting {
        Setting {
            name: "work_mem".into(),
            value: "4096".into(),
            unit: unit.map(str::to_owned),
            vartype,
            context: Context::User,
            min: Some(min),
            max: Some(max),
            enumvals: vec!["pglz".into(), "lz4".into(), "on".into(), "off".into()],
            sourced: Sourced::default(),
            reset_value: "4096".into(),
            boot_value: "4096".into(),
            pending_restart: false,
        }
    }

    #[test]
    fn units_convert_to_the_settings_own() {
        let work_mem = setting(SettingType::Integer, Some("kB"), 64.0, 2_147_483_647.0);
        assert_eq!(PgValue::parse("64MB", &work_mem), Ok(PgValue::Number(65536.0)));
        assert_eq!(PgValue::parse("'64MB'", &work_mem), Ok(PgValue::Number(65536.0)));
        assert_eq!(PgValue::parse("64 MB", &work_mem), Ok(PgValue::Number(65536.0)));
        assert_eq!(PgValue::parse("4096", &work_mem), Ok(PgValue::Number(4096.0)));
        let buffers = setting(SettingType::Integer, Some("8kB"), 16.0, 1_073_741_823.0);
        assert_eq!(PgValue::parse("1GB", &buffers), Ok(PgValue::Number(131_072.0)));
        assert_eq!(PgValue::Number(131_072.0).show(&buffers), "1GB");
        assert_eq!(PgValue::Number(131_072.0).bytes(&buffers), Some(1_073_741_824.0));
        let timeout = setting(SettingType::Integer, Some("s"), 30.0, 86400.0);
        assert_eq!(PgValue::parse("10min", &timeout), Ok(PgValue::Number(600.0)));
        assert_eq!(PgValue::Number(90.0).show(&timeout), "90s");
        assert_eq!(PgValue::Number(300.0).show(&timeout), "5min");
    }

    #[test]
    fn fifty_four_kb_of_work_mem_is_refused_with_the_range() {
        let work_mem = setting(SettingType::Integer, Some("kB"), 64.0, 2_147_483_647.0);
        let error = PgValue::parse("54kB", &work_mem).unwrap_err();
        assert_eq!(error.to_string(), "work_mem = 54kB is out of range: allowed is 64kB to 2147483647kB");
    }

    #[test]
    fn wrong_units_are_refused_with_those_allowed() {
        let work_mem = setting(SettingType::Integer, Some("kB"), 64.0, 2_147_483_647.0);
        let error = PgValue::parse("64mb", &work_mem).unwrap_err();
        assert_eq!(
            error.to_string(),
            "work_mem = \"64mb\" is not a number with a unit of B, kB, MB, GB, TB (case matters)"
        );
        let cost = setting(SettingType::Real, None, 0.0, 1e300);
        assert!(PgValue::parse("1.1ms", &cost).is_err());
        assert_eq!(PgValue::parse("1.1e0", &cost), Ok(PgValue::Number(1.1)));
    }

    #[test]
    fn booleans_and_enums_follow_guc() {
        let jit = setting(SettingType::Bool, None, 0.0, 0.0);
        assert_eq!(PgValue::parse("Yes", &jit), Ok(PgValue::Bool(true)));
        assert_eq!(PgValue::parse("f", &jit), Ok(PgValue::Bool(false)));
        assert!(PgValue::parse("maybe", &jit).is_err());
        let compression = setting(SettingType::Enum, None, 0.0, 0.0);
        assert_eq!(PgValue::parse("LZ4", &compression), Ok(PgValue::Text("lz4".into())));
        assert_eq!(PgValue::parse("true", &compression), Ok(PgValue::Text("on".into())));
        let error = PgValue::parse("zstd", &compression).unwrap_err();
        assert_eq!(error.to_string(), "work_mem = \"zstd\" is not one of pglz, lz4, on, off");
    }
}
