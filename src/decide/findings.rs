//! Each signal against its bound.

use crate::model::{Baseline, Direction, Finding, Reading, Signal, SlaTarget, Snapshot, Standing};

/// Compares every signal with its bound. A bound that needs a baseline is unknown without one.
pub fn find(
    signals: &[Signal],
    sla: &[SlaTarget],
    baseline: Option<&Baseline>,
    snapshot: &Snapshot,
) -> Vec<Finding> {
    signals.iter().map(|signal| finding(signal, sla, baseline, snapshot)).collect()
}

fn finding(signal: &Signal, sla: &[SlaTarget], baseline: Option<&Baseline>, snapshot: &Snapshot) -> Finding {
    let target = sla.iter().find(|target| target.signal == signal.name);
    let reading = snapshot.readings.get(&signal.name);
    let value = reading.and_then(Reading::value).filter(|value| value.is_finite());
    let normal = baseline.and_then(|baseline| baseline.metrics.get(&signal.name)).map(|metric| metric.value);
    let limit = target.and_then(|target| target.limit(normal));
    // Where no level is set, an alert that names the symptom says that something is wrong; it is met when that is over.
    let alert = snapshot.alerts.iter().find(|alert| alert.symptom.as_ref() == Some(&signal.symptom));
    let standing = match (target, value, limit) {
        (None, Some(_), _) if alert.is_some() => Standing::Broken,
        (None, ..) => Standing::Unbounded,
        (Some(_), None, _) => Standing::Unknown(why_unknown(reading)),
        (Some(_), Some(_), None) => {
            Standing::Unknown("its bound needs a baseline: `leverd baseline` takes one".to_owned())
        }
        (Some(target), Some(value), Some(limit)) => {
            if target.is_broken(value, limit, signal.direction) {
                Standing::Broken
            } else {
                Standing::Met
            }
        }
    };
    let bound = match (target, alert) {
        (Some(target), _) => written(target, signal),
        (None, Some(alert)) => format!("no alert {}", alert.name),
        (None, None) => "none".to_owned(),
    };
    Finding {
        signal: signal.name.clone(),
        unit: signal.unit,
        value,
        // A trial wants a number to be better than: the value as it is.
        limit: limit.or(value.filter(|_| standing == Standing::Broken)),
        bound,
        standing,
        symptom: signal.symptom.clone(),
    }
}

fn why_unknown(reading: Option<&Reading>) -> String {
    match reading {
        Some(Reading::Unknown { reason }) => reason.clone(),
        Some(Reading::Known { value, .. }) => format!("its value is {value}"),
        None => "it was not read".to_owned(),
    }
}

/// The bound as people write it: `≤ 1.5× baseline`, `< 25`.
fn written(target: &SlaTarget, signal: &Signal) -> String {
    let relation = match (signal.direction, target.strict) {
        (Direction::LowerIsBetter, false) => "≤",
        (Direction::LowerIsBetter, true) => "<",
        (Direction::HigherIsBetter, false) => "≥",
        (Direction::HigherIsBetter, true) => ">",
    };
    format!("{relation} {}", target.bound)
}
