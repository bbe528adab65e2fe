//! What a run's adjustment came to, for its report.
//!
//! In: the adjuster's counts, bill and adjustments. Out: a [`Summary`], as JSON and as text. Always holds: what is
//! not known is not a number: a cost without a price is "price not known". It judges nothing.

use super::event::Adjustment;
use crate::migrate::adjust::Settings;
use crate::migrate::adjust::cost::{Bill, Tally, spelled};
use crate::migrate::brain::learner::{Features, PastRun};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What adjusting a run came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Who decided: `rules`, `local history`, or a model's name.
    pub decider: String,
    /// Intervals that were looked at.
    pub turns: u64,
    /// Questions that were sent to a model, failed ones too.
    pub calls: u64,
    /// Turns in which a model's last decision stood, and nothing was sent.
    pub cached: u64,
    /// Questions that gave no decision.
    pub failures: u64,
    /// Tokens that were sent, cached ones too.
    pub tokens_in: u64,
    /// Tokens that were answered.
    pub tokens_out: u64,
    /// What the calls cost, US dollars; `None`: no call was made, or no price is known.
    pub dollars: Option<f64>,
    /// Models that were asked and have no known price.
    pub unpriced: Vec<String>,
    /// How often the breaker opened.
    pub breaker_openings: u32,
    /// Time in which a change was on trial, seconds.
    pub trial_seconds: f64,
    /// The settings that the run began with.
    pub began_with: Settings,
    /// The settings that it ended with; what was still on trial is put back in here.
    pub ended_with: Settings,
    /// Every adjustment, in the order in which they were asked for.
    pub adjustments: Vec<Adjustment>,
    /// What was moved, and where.
    pub features: Features,
}

/// What a summary counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) turns: u64,
    pub(super) cached: u64,
    pub(super) failures: u64,
    pub(super) breaker_openings: u32,
}

impl Summary {
    pub(super) fn new(
        decider: &str,
        counts: Counts,
        bill: &Bill,
        (began_with, ended_with): (Settings, Settings),
        adjustments: Vec<Adjustment>,
        features: Features,
    ) -> Self {
        let sum = |of: fn(&Tally) -> u64| {
            bill.models().fold(0_u64, |sum, (_, tally)| sum.saturating_add(of(tally)))
        };
        Self {
            decider: decider.to_owned(),
            turns: counts.turns,
            calls: sum(|tally| tally.calls),
            cached: counts.cached,
            failures: counts.failures,
            tokens_in: sum(|tally| tally.usage.total().saturating_sub(tally.usage.output_tokens)),
            tokens_out: sum(|tally| tally.usage.output_tokens),
            dollars: bill.dollars(),
            unpriced: bill.unpriced().into_iter().map(str::to_owned).collect(),
            breaker_openings: counts.breaker_openings,
            trial_seconds: adjustments.iter().map(Adjustment::trial_seconds).fold(0.0, |all, one| all + one),
            began_with,
            ended_with,
            adjustments,
            features,
        }
    }

    /// What the learner remembers of the run itself; of its trials [`Adjustment::experience`]. `bytes_per_second`: of
    /// rows, while it copied, for `copying_seconds`.
    pub fn past_run(&self, run: &str, bytes_per_second: Option<f64>, copying_seconds: f64) -> PastRun {
        PastRun {
            run: run.to_owned(),
            features: self.features.clone(),
            settings: self.ended_with,
            bytes_per_second,
            copying_seconds,
        }
    }

    /// `$0.0123`, `price not known`, `no cost`.
    fn cost(&self) -> String {
        spelled(self.calls, self.dollars, &self.unpriced)
    }
}

impl fmt::Display for Summary {
    /// For people: a line of counts, one of settings, and one an adjustment.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Adjustment by {}: {} intervals, {} calls, {} cached, {} failed, {} tokens in, {} out, {}; the breaker \
             opened {} times; {:.0} s in trials",
            self.decider,
            self.turns,
            self.calls,
            self.cached,
            self.failures,
            self.tokens_in,
            self.tokens_out,
            self.cost(),
            self.breaker_openings,
            self.trial_seconds,
        )?;
        if self.began_with == self.ended_with {
            writeln!(f, "Settings: {}, as at the beginning", self.ended_with)?;
        } else {
            writeln!(f, "Settings: {} at the beginning, {} at the end", self.began_with, self.ended_with)?;
        }
        for adjustment in &self.adjustments {
            let second = adjustment.asked_at.0.as_secs();
            writeln!(f, "  {}. at {second} s, {adjustment}", adjustment.number)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::adjust::cost::Usage;

    fn settings() -> Settings {
        Settings::new(4, 50_000, 2, 8).unwrap()
    }

    fn summary(bill: &Bill) -> Summary {
        let counts = Counts { turns: 20, cached: 3, failures: 1, breaker_openings: 0 };
        let both = (settings(), settings());
        Summary::new("claude-haiku-4-5", counts, bill, both, Vec::new(), Features::default())
    }

    #[test]
    fn a_cost_is_a_price_or_not_known() {
        let mut bill = Bill::new();
        assert_eq!(summary(&bill).cost(), "no cost");
        let usage = Usage { input_tokens: 1_000, output_tokens: 200, ..Usage::default() };
        bill.note("claude-haiku-4-5", Some(&usage));
        assert_eq!(summary(&bill).cost(), "$0.0020");
        bill.note("llama3.1:8b", Some(&usage));
        assert_eq!(summary(&bill).cost(), "$0.0020 and more (no price is known of llama3.1:8b)");
        let mut local = Bill::new();
        local.note("llama3.1:8b", Some(&usage));
        assert_eq!(summary(&local).cost(), "price not known");
    }

    #[test]
    fn it_is_told_and_read_back() {
        let mut bill = Bill::new();
        let usage =
            Usage { input_tokens: 900, cache_read_tokens: 100, output_tokens: 200, ..Usage::default() };
        bill.note("claude-haiku-4-5", Some(&usage));
        let summary = summary(&bill);
        assert_eq!(
            summary.to_string(),
            "Adjustment by claude-haiku-4-5: 20 intervals, 1 calls, 3 cached, 1 failed, 1000 tokens in, 200 out, \
             $0.0019; the breaker opened 0 times; 0 s in trials\n\
             Settings: chunk_size=50000, readers=2, writers=4, buffers=8, as at the beginning\n"
        );
        let text = serde_json::to_string(&summary).unwrap();
        assert_eq!(serde_json::from_str::<Summary>(&text).unwrap(), summary);
    }
}
