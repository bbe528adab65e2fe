//! A bound as people write it: `<= 1.5x baseline`, `< 25`, `≤ 200ms`, `>= 100`, `none`.

use super::reader::At;
use crate::model::{Bound, Direction, Signal, SlaTarget, Unit};

/// What a bound may look like, for messages.
const FORM: &str = "<= 200, < 25, <= 1.5x baseline, >= 100, none";

/// The symbols that people write for a unit.
fn symbols(unit: Unit) -> &'static [&'static str] {
    match unit {
        Unit::BytesPerSec => &["B/s"],
        Unit::Celsius => &["°C", "C"],
        Unit::Percent => &["%"],
        Unit::Ms => &["ms"],
        Unit::Seconds => &["s"],
        Unit::PerSec => &["/s"],
        Unit::Bytes => &["B"],
        Unit::Count => &[],
    }
}

/// A bound before it meets its signal.
struct Written<'a> {
    lower: bool,
    strict: bool,
    number: f64,
    suffix: &'a str,
}

/// Reads the bound of `signal`. `None`: it was wrong, and is reported; `Some(None)`: the word `none`.
pub(super) fn read(at: &At<'_>, signal: &Signal) -> Option<Option<SlaTarget>> {
    let text = at.read(FORM, |text| Some(text.trim().to_owned()))?;
    if text == "none" {
        return Some(None);
    }
    let Some(written) = parse(&text) else {
        at.refuse(FORM, Some("write the comparison first, then the number".to_owned()));
        return None;
    };
    if written.lower != (signal.direction == Direction::LowerIsBetter) {
        let (is, allowed) = match signal.direction {
            Direction::LowerIsBetter => ("lower_is_better", "<, <="),
            Direction::HigherIsBetter => ("higher_is_better", ">, >="),
        };
        at.refuse(
            &format!("{allowed}, because {} is {is}", signal.name),
            Some(format!("say `direction:` under signals.{} if that is wrong", signal.name)),
        );
        return None;
    }
    let bound = if matches!(written.suffix, "x baseline" | "× baseline" | "xbaseline" | "×baseline") {
        if written.number <= 0.0 {
            at.refuse("a factor above 0", None);
            return None;
        }
        Bound::TimesBaseline(written.number)
    } else if written.suffix.is_empty() || symbols(signal.unit).contains(&written.suffix) {
        Bound::Absolute(written.number)
    } else {
        let unit = signal.unit.key_suffix();
        let allowed = match symbols(signal.unit).first() {
            Some(symbol) => {
                format!("a number without a unit, or with {symbol}: {} is in {unit}", signal.name)
            }
            None => format!("a number without a unit: {} has none", signal.name),
        };
        at.refuse(&format!("{allowed}; or `x baseline`"), None);
        return None;
    };
    Some(Some(SlaTarget { signal: signal.name.clone(), bound, strict: written.strict }))
}

fn parse(text: &str) -> Option<Written<'_>> {
    let (comparison, rest) = ["<=", "≤", "<", ">=", "≥", ">"]
        .iter()
        .find_map(|sign| text.strip_prefix(sign).map(|rest| (*sign, rest.trim())))?;
    let split = rest.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-'))).unwrap_or(rest.len());
    let number: f64 = rest[..split].parse().ok().filter(|number: &f64| number.is_finite())?;
    Some(Written {
        lower: matches!(comparison, "<=" | "≤" | "<"),
        strict: matches!(comparison, "<" | ">"),
        number,
        suffix: rest[split..].trim(),
    })
}
