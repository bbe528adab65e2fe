//! The words of a judgement: plain sentences with figures, for a DBA.
//!
//! Goes in: contrasts, gaps and thresholds. Comes out: text. Nothing is decided here.

use super::contrast::{Contrast, Gap, LEAST_VALUES, MOST_MISSING};
use crate::model::{Arm, SignalName};

/// A share as a percentage without its sign: `71 %`, `4.2 %`.
pub(super) fn percent(share: f64) -> String {
    format!("{} %", figure(share.abs()))
}

/// One decimal below 10, none above.
fn figure(share: f64) -> String {
    let percent = 100.0 * share;
    let text = if percent.abs() < 9.95 { format!("{percent:.1}") } else { format!("{percent:.0}") };
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

fn signed(share: f64) -> String {
    let text = figure(share.abs());
    match text.as_str() {
        "0" => text,
        _ if share < 0.0 => format!("−{text}"),
        _ => format!("+{text}"),
    }
}

/// The confidence of an interval with this error probability: `99.3 %`.
fn confidence(alpha: f64) -> String {
    let percent = 100.0 * (1.0 - alpha);
    let text = if percent > 99.9 { format!("{percent:.2}") } else { format!("{percent:.1}") };
    format!("{} %", text.strip_suffix(".0").unwrap_or(&text))
}

/// `rose by 12 %`, `fell by 3.1 %`, `did not change`.
pub(super) fn moved(change: f64) -> String {
    match change {
        _ if change.abs() < 0.000_5 => "did not change".to_owned(),
        _ if change < 0.0 => format!("fell by {}", percent(change)),
        _ => format!("rose by {}", percent(change)),
    }
}

/// `wal_rate per unit of load`.
pub(super) fn subject(contrast: &Contrast<'_>) -> String {
    let signal = &contrast.series.signal;
    if contrast.per_load { format!("{signal} per unit of load") } else { signal.to_string() }
}

/// What a signal did, with its interval and what that rests on.
pub(super) fn finding(contrast: &Contrast<'_>, alpha: f64) -> String {
    let (low, high) = contrast.interval(alpha);
    let comparison = contrast.comparison(alpha);
    format!(
        "{} {} ({} interval {} … {} %, {} and {} scrapes worth {:.0})",
        subject(contrast),
        moved(contrast.change()),
        confidence(alpha),
        signed(low),
        signed(high),
        comparison.n_before,
        comparison.n_after,
        comparison.effective_n,
    )
}

/// Why a signal cannot be compared.
pub(super) fn gap(signal: &SignalName, gap: Gap) -> String {
    let side = |arm| match arm {
        Arm::A => "without the change",
        Arm::B => "with the change",
    };
    match gap {
        Gap::NeverHadData => format!("{signal} has no data"),
        Gap::Vanished => format!("{signal} had data before the change and has none after it"),
        Gap::FewValues { arm, values } => {
            format!("{signal} has {values} values {}, {LEAST_VALUES} are needed", side(arm))
        }
        Gap::Missing { arm, missing, scrapes } => format!(
            "{signal} misses {missing} of {scrapes} scrapes {}, at most {} may be missing",
            side(arm),
            percent(MOST_MISSING),
        ),
    }
}
