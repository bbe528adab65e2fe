//! What the adjuster says and wants: lines for the log, changes for the transfer, records of what it did.
//!
//! In: decisions and outcomes. Out: values that can be stored and shown. Always holds: a record is whole by itself,
//! and holds settings, metrics and reasons only. It decides nothing.

use crate::migrate::adjust::{Action, Brain, Confidence, Decision, Moment, Parameter, Settings};
use crate::migrate::brain::learner::{Context, Experience};
use crate::model::Verdict;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where its lines stand in the log.
pub const TARGET: &str = "leverd::migrate";

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// For whoever looks closely.
    Debug,
    /// For everybody.
    Info,
    /// Something did not go as it should; the run goes on.
    Warn,
}

/// A line for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// How much it matters.
    pub level: Level,
    /// One line, without a secret.
    pub text: String,
}

impl Line {
    /// Writes it into the log.
    pub fn log(&self) {
        match self.level {
            Level::Debug => tracing::debug!(target: TARGET, "{}", self.text),
            Level::Info => tracing::info!(target: TARGET, "{}", self.text),
            Level::Warn => tracing::warn!(target: TARGET, "{}", self.text),
        }
    }
}

/// Settings that are to be in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// 0 for the settings that the run began with, then one more each time. The transfer names it when it is in
    /// effect.
    pub number: u64,
    /// The settings.
    pub settings: Settings,
}

/// What happened in the adjuster. An adjustment is told when it is asked for and again when it is over.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A line for the log.
    Said(Line),
    /// A setting is to change; it is not in effect yet.
    Began(Box<Adjustment>),
    /// An adjustment is over: judged, or it needed no judgement.
    Ended(Box<Adjustment>),
}

impl Event {
    /// At debug.
    pub(super) fn debug(text: impl Into<String>) -> Self {
        Self::Said(Line { level: Level::Debug, text: text.into() })
    }

    /// At info.
    pub(super) fn info(text: impl Into<String>) -> Self {
        Self::Said(Line { level: Level::Info, text: text.into() })
    }

    /// At warn.
    pub(super) fn warn(text: impl Into<String>) -> Self {
        Self::Said(Line { level: Level::Warn, text: text.into() })
    }
}

/// Why a setting was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// To see whether it helps: a trial.
    Trial,
    /// Writers were taken away because the target's levels were broken.
    Yielded,
    /// A writer was given back because they are met again.
    GivenBack,
}

/// A change of a setting, from its wish to its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Adjustment {
    /// From 1, in the order in which they were asked for.
    pub number: u32,
    /// Why.
    pub kind: Kind,
    /// What was done.
    pub action: Action,
    /// The settings before.
    pub from: Settings,
    /// The settings that were asked for.
    pub to: Settings,
    /// Who decided; `None`: the target's levels.
    pub by: Option<Brain>,
    /// How sure who decided was.
    pub confidence: Option<Confidence>,
    /// Why, in the words of who decided.
    pub reasoning: String,
    /// When it was asked for.
    pub asked_at: Moment,
    /// When it was in effect; `None`: not yet, or never.
    pub applied_at: Option<Moment>,
    /// When it was over; `None`: it is on trial.
    pub ended_at: Option<Moment>,
    /// How the trial ended; `None`: it is open, or it is none.
    pub verdict: Option<Verdict>,
    /// Why it ended so, one line; empty while it is open.
    pub outcome: String,
    /// What rows per second did, percent; `None` is unknown.
    pub throughput_percent: Option<f64>,
    /// What the run was like when it was decided; `None`: nothing was measured yet.
    pub context: Option<Context>,
}

impl Adjustment {
    /// The setting that changed, with its values before and after.
    pub fn setting(&self) -> Option<(Parameter, u32, u32)> {
        let parameter = *self.from.changed(&self.to).first()?;
        Some((parameter, self.from.get(parameter), self.to.get(parameter)))
    }

    /// How it ended: `kept, rows per second +12.3 % (faster; …)`.
    pub fn ending(&self) -> String {
        let word = match (self.kind, self.verdict) {
            (Kind::Yielded, _) => "for the target's levels",
            (Kind::GivenBack, _) => "given back",
            (Kind::Trial, Some(Verdict::Kept)) => "kept",
            (Kind::Trial, Some(Verdict::Reverted)) => "reverted",
            (Kind::Trial, Some(Verdict::Undecided)) => "undecided, put back",
            (Kind::Trial, None) => "on trial",
        };
        let gain = self.throughput_percent.map(|percent| format!(", rows per second {percent:+.1} %"));
        let why = if self.outcome.is_empty() { &self.reasoning } else { &self.outcome };
        format!("{word}{} ({why})", gain.unwrap_or_default())
    }

    /// How long it was on trial, seconds.
    pub fn trial_seconds(&self) -> f64 {
        match (self.kind, self.ended_at) {
            (Kind::Trial, Some(ended)) => ended.since(self.asked_at).as_secs_f64(),
            _ => 0.0,
        }
    }

    /// What the learner remembers of it; `None`: it was no trial, or is not over.
    pub fn experience(&self, run: &str) -> Option<Experience> {
        let (Kind::Trial, Some(verdict), Some(context)) = (self.kind, self.verdict, &self.context) else {
            return None;
        };
        Some(Experience {
            run: run.to_owned(),
            context: context.clone(),
            from: self.from,
            to: self.to,
            verdict,
            change: self.throughput_percent.map(|percent| percent / 100.0),
        })
    }
}

impl fmt::Display for Adjustment {
    /// One line for people: `scale_up: writers 4 -> 6: kept, rows per second +12.3 % (faster; …)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.action)?;
        if let Some((parameter, before, after)) = self.setting() {
            write!(f, "{parameter} {before} -> {after}: ")?;
        }
        f.write_str(&self.ending())
    }
}

/// For the log, at debug, when the run's settings have become `to`; `None`: they were that already. The words are
/// [`Decision::change_line`]'s, which looks at a decision's settings alone.
pub(super) fn change_line(from: &Settings, to: Settings) -> Option<String> {
    Decision::stay(to, Confidence::High, "", Brain::Rules).change_line(from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn adjustment() -> Adjustment {
        let from = Settings::new(4, 50_000, 2, 8).unwrap();
        Adjustment {
            number: 1,
            kind: Kind::Trial,
            action: Action::ScaleUp,
            from,
            to: from.with(Parameter::Writers, 6).unwrap(),
            by: Some(Brain::Rules),
            confidence: Some(Confidence::Medium),
            reasoning: "there is room".to_owned(),
            asked_at: Moment(Duration::from_secs(60)),
            applied_at: None,
            ended_at: None,
            verdict: None,
            outcome: String::new(),
            throughput_percent: None,
            context: None,
        }
    }

    #[test]
    fn an_adjustment_is_one_line_for_people() {
        let open = adjustment();
        assert_eq!(open.to_string(), "scale_up: writers 4 -> 6: on trial (there is room)");
        assert_eq!((open.setting(), open.trial_seconds()), (Some((Parameter::Writers, 4, 6)), 0.0));
        let kept = Adjustment {
            verdict: Some(Verdict::Kept),
            outcome: "faster".to_owned(),
            throughput_percent: Some(12.34),
            ended_at: Some(Moment(Duration::from_secs(100))),
            ..open.clone()
        };
        assert_eq!(kept.to_string(), "scale_up: writers 4 -> 6: kept, rows per second +12.3 % (faster)");
        assert_eq!(kept.trial_seconds(), 40.0);
        let yielded = Adjustment { kind: Kind::Yielded, verdict: None, ..open };
        assert_eq!(yielded.to_string(), "scale_up: writers 4 -> 6: for the target's levels (there is room)");
    }

    #[test]
    fn a_record_is_read_back() {
        let text = serde_json::to_string(&adjustment()).unwrap();
        assert_eq!(serde_json::from_str::<Adjustment>(&text).unwrap(), adjustment());
        assert_eq!(adjustment().experience("a"), None, "nothing is learned of an open trial");
    }

    #[test]
    fn a_change_is_told_in_the_testing_guides_words() {
        let from = adjustment().from;
        assert_eq!(change_line(&from, from), None);
        assert_eq!(change_line(&from, adjustment().to).unwrap(), "Scaled writers from 4 to 6");
        let smaller = from.with(Parameter::ChunkRows, 25_000).unwrap();
        assert_eq!(
            change_line(&from, smaller).unwrap(),
            "Config updated: chunk_size=25000, readers=2, writers=4, buffers=8"
        );
    }
}
