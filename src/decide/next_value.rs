//! The next stronger value of a lever: one step, never a jump to the end of the list.

use crate::model::{Lever, LimitKind, PgValue, Setting};

/// The mildest of `lever.values` that is stronger than the present value of `setting`, as people write it; and stronger
/// than `tried` too, one of the list that was too mild.
///
/// A list of numbers is read in its own direction (growing or falling). `Err` says, for people, why there is
/// none, or which value of the list this server refuses.
pub(super) fn of_setting(lever: &Lever, setting: &Setting, tried: Option<&str>) -> Result<String, String> {
    let present = PgValue::parse(&setting.value, setting).map_err(|error| error.to_string())?;
    let mut parsed = Vec::with_capacity(lever.values.len());
    for raw in &lever.values {
        let value = PgValue::parse(raw, setting)
            .map_err(|error| format!("{error} (recommended_values, levers.yaml line {})", lever.line))?;
        parsed.push((raw, value));
    }
    let default = lever.default_value.as_deref().and_then(|raw| PgValue::parse(raw, setting).ok());
    let numbers: Option<Vec<f64>> = parsed.iter().map(|(_, value)| value.number()).collect();
    let next = match (numbers, present.number()) {
        (Some(numbers), Some(present)) => {
            stronger(&numbers, present, default.and_then(|value| value.number()))
        }
        _ => after_in_list(parsed.iter().map(|(_, value)| value), &present),
    };
    past(lever, next, tried).ok_or_else(|| exhausted(lever, &present.show(setting)))
}

/// The same for a key of an `.env` file, whose present value may be absent (then the default counts).
pub(super) fn of_env(lever: &Lever, present: Option<&str>, tried: Option<&str>) -> Result<String, String> {
    of_texts(lever, present.or(lever.default_value.as_deref()), tried)
}

/// The same for a setting of PgBouncer.
pub(super) fn of_pooler(lever: &Lever, present: &str, tried: Option<&str>) -> Result<String, String> {
    of_texts(lever, Some(present), tried)
}

fn of_texts(lever: &Lever, effective: Option<&str>, tried: Option<&str>) -> Result<String, String> {
    let number = |raw: &str| raw.trim().parse::<f64>().ok();
    let numbers: Option<Vec<f64>> = lever.values.iter().map(|raw| number(raw)).collect();
    let next = match (numbers, effective.and_then(number)) {
        (Some(numbers), Some(present)) => {
            stronger(&numbers, present, lever.default_value.as_deref().and_then(number))
        }
        _ => match effective {
            Some(text) => after_in_list(lever.values.iter().map(String::as_str), text),
            None => (!lever.values.is_empty()).then_some(0),
        },
    };
    past(lever, next, tried).ok_or_else(|| exhausted(lever, effective.unwrap_or("not set")))
}

/// The same for a container's limit; `present` in bytes or cores.
pub(super) fn of_limit(
    lever: &Lever,
    kind: LimitKind,
    present: f64,
    tried: Option<&str>,
) -> Result<String, String> {
    let number = |raw: &String| {
        let at = format!("recommended_values, levers.yaml line {}", lever.line);
        kind.parse(raw).map_err(|error| format!("{error} ({at})"))
    };
    let numbers = lever.values.iter().map(number).collect::<Result<Vec<f64>, String>>()?;
    let default = lever.default_value.as_deref().and_then(|raw| kind.parse(raw).ok());
    let next = stronger(&numbers, present, default);
    past(lever, next, tried).ok_or_else(|| exhausted(lever, &kind.show(present)))
}

/// The value at `next`, or the one after `tried` where that is later in the list.
fn past(lever: &Lever, next: Option<usize>, tried: Option<&str>) -> Option<String> {
    let tried = tried.and_then(|tried| lever.values.iter().position(|value| value == tried));
    lever.values.get(next?.max(tried.map_or(0, |at| at + 1))).cloned()
}

fn exhausted(lever: &Lever, present: &str) -> String {
    format!("it is {present}, and its recommended values ({}) hold nothing stronger", lever.values.join(", "))
}

/// Index of the first number beyond `present` in the direction of the list. The direction of a single value
/// is that from the default to it; without a default any other value is a step.
fn stronger(numbers: &[f64], present: f64, default: Option<f64>) -> Option<usize> {
    let (first, last) = (*numbers.first()?, *numbers.last()?);
    let from = if first == last { default.unwrap_or(present) } else { first };
    let grows = if from == last { last > present } else { last > from };
    numbers.iter().position(|&number| if grows { number > present } else { number < present })
}

/// Index of the one after the present in a list without an order of its own; the first where it is not in it.
fn after_in_list<'a, T: PartialEq + ?Sized + 'a>(
    values: impl ExactSizeIterator<Item = &'a T> + Clone,
    present: &T,
) -> Option<usize> {
    let count = values.len();
    let next = values.clone().position(|value| value == present).map_or(0, |at| at + 1);
    (next < count).then_some(next)
}
