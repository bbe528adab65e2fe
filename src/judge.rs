//! Samples before and after a change → what they prove.
//!
//! Goes in: the [`Evidence`] of one trial so far. Comes out: a [`Judgement`]: keep, revert or extend, the arithmetic,
//! and a sentence. Always holds: the same evidence gives the same judgement; missing data never passes; nothing in a
//! series makes it panic; a whole trial, all looks together, keeps a change that changes nothing, or calls it harmful,
//! in at most 2 of 100 cases. It does not decide what follows, and knows neither clock nor database.
//!
//! The method, its reasons and its measured error rates are in `docs/VERDICT.md`.

mod alarm;
#[cfg(test)]
mod alarm_rates;
#[cfg(test)]
mod binomial;
mod contrast;
mod dependence;
mod levels;
mod load;
mod location;
#[cfg(test)]
mod noise;
mod quantile;
#[cfg(test)]
mod rates;
#[cfg(test)]
mod recorded;
mod sentence;
mod stolen;
#[cfg(test)]
mod tests;
mod waves;

use crate::model::{Comparison, Evidence, Judgement, Ruling, Series};
pub use alarm::Alarm;
use contrast::{Contrast, Gap};
pub use levels::{Levels, holds};
use load::{Claim, LoadChange};
use stolen::Stolen;
pub use stolen::steal_bound;

/// The error probability of a whole trial, both sides together: 2 % for a false keep and 2 % for a false alarm.
const TRIAL_ALPHA: f64 = 0.04;
/// A gain smaller than this is not kept. It is also more than drift usually makes in a trial.
const LEAST_GAIN: f64 = 0.03;
/// Worse than this, and proved: harm.
const HARM: f64 = 0.20;
/// Harm is proved when the interval excludes not only 0 but also this much: so much is drift.
const HARM_BEYOND_DRIFT: f64 = 0.05;
/// A guard that is measurably worse by more than this is no harm yet, but the change is not kept.
const GUARD_WORSE: f64 = 0.05;
/// Each guard must be shown, at this one-sided error, not to be worse by its limit. All of them must, so their
/// errors do not add up (an intersection–union test).
const GUARD_ERROR: f64 = 0.05;
/// A guard's limit is [`HARM`], or its own scrape-to-scrape spread before the change where that is more (it cannot be
/// asked to be steadier than it is), but never more than this.
const GUARD_LIMIT_MOST: f64 = 0.50;

/// What the evidence says at this look.
pub fn judge(evidence: &Evidence) -> Judgement {
    let looks = evidence.looks.max(1);
    let alpha = alpha_of_look(evidence.look, looks);
    let load = LoadChange::of(evidence.load.as_ref());
    let stolen = Stolen::of(&evidence.stolen);
    let goal = Contrast::of(&evidence.goal, evidence.load.as_ref(), evidence.waves);
    let guards: Vec<Guard<'_>> = evidence
        .guards
        .iter()
        .map(|series| Guard { series, contrast: Contrast::of(series, evidence.load.as_ref(), None) })
        .filter(|guard| guard.contrast.as_ref().err() != Some(&Gap::NeverHadData))
        .collect();
    let compared: Vec<&Contrast<'_>> =
        guards.iter().filter_map(|guard| guard.contrast.as_ref().ok()).collect();

    // Any of the signals may raise a false alarm, so they share the error probability.
    let harm_alpha = alpha / (1 + compared.len()) as f64;
    let harmed: Vec<&Contrast<'_>> = compared
        .iter()
        .copied()
        .chain(goal.as_ref().ok())
        .filter(|contrast| is_harmed(contrast, harm_alpha) && load.allows(Claim::Harm, contrast))
        .collect();
    let is_per_load = |series: &Series| series.scales_with_load && evidence.load.is_some();
    let (harmed, unbelieved): (Vec<_>, Vec<_>) = harmed.into_iter().partition(|harmed| {
        stolen.is_none_or(|stolen| stolen.allows(Claim::Harm, is_per_load(harmed.series)))
    });
    let (ruling, reason) = if !harmed.is_empty() {
        (Ruling::Revert, harm_reason(&harmed, harm_alpha))
    } else {
        let mut doubts = doubts(evidence, looks, load, &goal, &guards, alpha);
        // Harm that is not believed is no safe guard either.
        let weakens = |stolen: &Stolen| {
            !stolen.allows(Claim::Gain, is_per_load(&evidence.goal)) || !unbelieved.is_empty()
        };
        doubts.extend(stolen.filter(weakens).map(Stolen::sentence));
        match &goal {
            Err(_) => (Ruling::Extend, doubts.join("; ")),
            Ok(goal) if !is_gain(goal, alpha) => (Ruling::Extend, unproved_reason(goal, alpha, &doubts)),
            Ok(goal) if !doubts.is_empty() => {
                (Ruling::Extend, format!("{}, but {}", sentence::finding(goal, alpha), doubts.join("; ")))
            }
            Ok(goal) => (Ruling::Keep, keep_reason(goal, alpha, evidence, compared.len())),
        }
    };
    Judgement {
        ruling,
        reason,
        goal: goal.as_ref().ok().map(|contrast| contrast.comparison(alpha)),
        guards: compared.iter().map(|contrast| contrast.comparison(alpha)).collect(),
        look: evidence.look,
        alpha,
    }
}

/// One signal before against after with a two-sided interval of 1 − `alpha`, per unit of load where the signal
/// scales with it and `load` has data. `None` where an arm has too few values (fewer than 20, or more than 20 % of
/// its scrapes missing).
pub fn compare(series: &Series, load: Option<&Series>, alpha: f64) -> Option<Comparison> {
    Contrast::of(series, load, None).ok().map(|contrast| contrast.comparison(alpha))
}

/// A guard that had data at some time.
struct Guard<'a> {
    series: &'a Series,
    contrast: Result<Contrast<'a>, Gap>,
}

/// The share of [`TRIAL_ALPHA`] that a look may spend. Later looks get more: they are the ones that can tell small
/// gains from noise. The shares add up to the whole, so the bound holds however the looks depend on each other.
fn alpha_of_look(look: u8, looks: u8) -> f64 {
    let (look, looks) = (f64::from(look.min(looks - 1)), f64::from(looks));
    TRIAL_ALPHA * 2.0 * (look + 2.0) / (looks * (looks + 3.0))
}

fn is_gain(goal: &Contrast<'_>, alpha: f64) -> bool {
    goal.worsening_interval(alpha).1 <= -LEAST_GAIN
}

fn is_harmed(contrast: &Contrast<'_>, alpha: f64) -> bool {
    contrast.worsening() > HARM && contrast.worsening_interval(alpha).0 > HARM_BEYOND_DRIFT
}

/// Why the change cannot be kept yet, besides an unproved gain.
fn doubts(
    evidence: &Evidence,
    looks: u8,
    load: LoadChange,
    goal: &Result<Contrast<'_>, Gap>,
    guards: &[Guard<'_>],
    alpha: f64,
) -> Vec<String> {
    let mut doubts = evidence.incomparable.clone();
    if evidence.look >= looks {
        doubts.push(format!(
            "this is look {} of {looks}, no error probability is left",
            u32::from(evidence.look) + 1
        ));
    }
    match (goal, load) {
        (Err(gap), _) => doubts.push(sentence::gap(&evidence.goal.signal, *gap)),
        (Ok(_), LoadChange::Gap(gap)) => {
            doubts.extend(evidence.load.as_ref().map(|load| sentence::gap(&load.signal, gap)));
        }
        (Ok(goal), LoadChange::Known(change)) if !load.allows(Claim::Gain, goal) => doubts.push(format!(
            "the load {}, at most {} lets before and after be compared",
            sentence::moved(change),
            sentence::percent(load::MOST_LOAD_CHANGE),
        )),
        _ => {}
    }
    doubts.extend(guards.iter().filter_map(|guard| match &guard.contrast {
        Ok(contrast) => guard_doubt(contrast, load, alpha),
        Err(gap) => Some(sentence::gap(&guard.series.signal, *gap)),
    }));
    doubts
}

/// Why a guard forbids to keep the change; `None` where it is safe.
fn guard_doubt(guard: &Contrast<'_>, load: LoadChange, alpha: f64) -> Option<String> {
    let worse = guard.worsening();
    if worse > GUARD_WORSE && guard.worsening_interval(alpha).0 > 0.0 {
        let finding = sentence::finding(guard, alpha);
        // The change may not be to blame, but nothing shows that it is not.
        let under_load = if load.allows(Claim::Harm, guard) { "" } else { " while the load moved with it" };
        return Some(format!("{finding}{under_load}"));
    }
    let limit = guard.scatter().clamp(HARM, GUARD_LIMIT_MOST);
    let bad_end = guard.worsening_interval(2.0 * GUARD_ERROR).1;
    (worse > HARM || bad_end >= limit).then(|| {
        format!(
            "{} may be worse by up to {} (one-sided {:.0} % bound), {} is the most that is passed",
            sentence::subject(guard),
            sentence::percent(bad_end),
            100.0 * (1.0 - GUARD_ERROR),
            sentence::percent(limit),
        )
    })
}

fn harm_reason(harmed: &[&Contrast<'_>], alpha: f64) -> String {
    let findings: Vec<String> = harmed.iter().map(|contrast| sentence::finding(contrast, alpha)).collect();
    format!("{}: worse by more than {}", findings.join("; "), sentence::percent(HARM))
}

fn unproved_reason(goal: &Contrast<'_>, alpha: f64, doubts: &[String]) -> String {
    let finding = sentence::finding(goal, alpha);
    let unproved = format!("{finding}: a gain of {} is not proved", sentence::percent(LEAST_GAIN));
    std::iter::once(unproved).chain(doubts.iter().cloned()).collect::<Vec<_>>().join("; ")
}

fn keep_reason(goal: &Contrast<'_>, alpha: f64, evidence: &Evidence, compared: usize) -> String {
    let silent: Vec<&str> = evidence
        .guards
        .iter()
        .filter(|g| !contrast::has_data(g))
        .map(|guard| guard.signal.as_str())
        .collect();
    let guards = match compared {
        0 => "no guard was watched",
        _ => "no guard got worse",
    };
    let silent = if silent.is_empty() { String::new() } else { format!(" (no data: {})", silent.join(", ")) };
    format!("{}, {guards}{silent}", sentence::finding(goal, alpha))
}
