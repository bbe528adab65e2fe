//! Whether the load allows a comparison.
//!
//! Goes in: the load series and what a signal did. Comes out: whether a gain or a harm may be believed. A difference
//! in load that works against a claim does not weaken it: latency that fell although the load rose did fall.

use super::contrast::{Contrast, Gap, has_data};
use crate::model::{Direction, Series};

/// The offered load may differ this much between the arms.
pub(super) const MOST_LOAD_CHANGE: f64 = 0.25;

/// How the load differs between the arms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum LoadChange {
    /// No load signal here.
    Unknown,
    /// There is one, but it cannot be compared.
    Gap(Gap),
    /// after/before − 1.
    Known(f64),
}

/// What is claimed of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// The signal got better.
    Gain,
    /// The signal got worse.
    Harm,
}

impl LoadChange {
    pub(super) fn of(load: Option<&Series>) -> Self {
        let Some(load) = load.filter(|load| has_data(load)) else { return Self::Unknown };
        match Contrast::of(load, None, None) {
            Ok(contrast) => Self::Known(contrast.change()),
            Err(gap) => Self::Gap(gap),
        }
    }

    /// Whether the load differs too little to explain the claim, or works against it.
    pub(super) fn allows(self, claim: Claim, contrast: &Contrast<'_>) -> bool {
        let change = match self {
            Self::Unknown => return true,
            // Harm may be believed without it; a gain may not.
            Self::Gap(_) => return claim == Claim::Harm,
            Self::Known(change) => change,
        };
        if change.abs() <= MOST_LOAD_CHANGE {
            return true;
        }
        let claims_fall = (claim == Claim::Gain) == (contrast.series.direction == Direction::LowerIsBetter);
        // Values grow with load. The raw value counts too: per unit of load, a fixed cost thins out by itself.
        let fell = contrast.after < contrast.before;
        let rose = contrast.after > contrast.before;
        if claims_fall { change > 0.0 && fell } else { change < 0.0 && rose }
    }
}
