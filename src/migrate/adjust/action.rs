//! What may be decided about a run, and whether a decision makes sense as one.
//!
//! In: an action and the settings before and after it. Out: a [`Decision`] with its sentences for the log, or
//! [`Incoherent`] with the reason. Always holds: a decision that passed [`Action::check`] changes nothing, or one
//! setting, by one step, in its action's direction. It does not know whether the decision is good: that is its
//! trial's question.

use super::settings::{Parameter, Settings};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Nothing.
    Continue,
    /// More writers, readers or buffers.
    ScaleUp,
    /// Fewer of them.
    ScaleDown,
    /// Smaller chunks.
    ReduceChunk,
    /// Larger chunks.
    EnlargeChunk,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Continue, Self::ScaleUp, Self::ScaleDown, Self::ReduceChunk, Self::EnlargeChunk];

    /// As logs and models have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Continue => "continue",
            Self::ScaleUp => "scale_up",
            Self::ScaleDown => "scale_down",
            Self::ReduceChunk => "reduce_chunk",
            Self::EnlargeChunk => "enlarge_chunk",
        }
    }

    /// The action of this name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }

    /// Whether the setting that it changes grows.
    pub fn grows(self) -> bool {
        matches!(self, Self::ScaleUp | Self::EnlargeChunk)
    }

    fn is_about_chunks(self) -> bool {
        matches!(self, Self::ReduceChunk | Self::EnlargeChunk)
    }

    /// Whether the step from `from` to `to` is what this action says: nothing for `continue`, else exactly one
    /// setting of its kind, in its direction, by one step: to at most the double (or 2 more) and at least the half;
    /// chunks may have up to 100,000 rows at once, for it is far from a thousand of them to what is quick. More than
    /// one setting at once could not be judged: nobody would know which change helped.
    ///
    /// # Errors
    /// With the reason, where it is not.
    pub fn check(self, from: &Settings, to: &Settings) -> Result<(), Incoherent> {
        let changed = from.changed(to);
        let parameter = match (self, changed.as_slice()) {
            (Self::Continue, []) => return Ok(()),
            (Self::Continue, [first, ..]) => return Err(Incoherent::ContinueChanges { parameter: *first }),
            (_, []) => return Err(Incoherent::NothingChanges { action: self }),
            (_, [one]) => *one,
            (_, [first, second, ..]) => {
                return Err(Incoherent::SeveralChange { action: self, first: *first, second: *second });
            }
        };
        if self.is_about_chunks() != (parameter == Parameter::ChunkRows) {
            return Err(Incoherent::WrongParameter { action: self, parameter });
        }
        let (old, new) = (from.get(parameter), to.get(parameter));
        if self.grows() != (new > old) {
            return Err(Incoherent::WrongWay { action: self, parameter, old, new });
        }
        if !(old / 2..=parameter.one_step_up(old)).contains(&new) {
            return Err(Incoherent::TooFar { parameter, old, new });
        }
        Ok(())
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why a decision makes no sense as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Incoherent {
    /// `continue` must change nothing.
    #[error("the action is continue, but {parameter} changes")]
    ContinueChanges {
        /// The first that does.
        parameter: Parameter,
    },
    /// Every other action must change something.
    #[error("the action is {action}, but no setting changes")]
    NothingChanges {
        /// The action.
        action: Action,
    },
    /// One setting at a time.
    #[error("{action} changes {first} and {second}; one setting at a time may change")]
    SeveralChange {
        /// The action.
        action: Action,
        /// The first that changes.
        first: Parameter,
        /// The second that changes.
        second: Parameter,
    },
    /// The action is about another setting.
    #[error("{action} is not about {parameter}")]
    WrongParameter {
        /// The action.
        action: Action,
        /// The setting that would change.
        parameter: Parameter,
    },
    /// The action says one direction and the values another.
    #[error("the action is {action}, but {parameter} goes from {old} to {new}")]
    WrongWay {
        /// The action.
        action: Action,
        /// The setting that would change.
        parameter: Parameter,
        /// Its value now.
        old: u32,
        /// The proposed one.
        new: u32,
    },
    /// More than one step.
    #[error(
        "{parameter} from {old} to {new} is more than a step; allowed: {half} to {most}",
        half = old / 2,
        most = parameter.one_step_up(*old)
    )]
    TooFar {
        /// The setting that would change.
        parameter: Parameter,
        /// Its value now.
        old: u32,
        /// The proposed one.
        new: u32,
    },
}

/// How sure the brain says it is. For people: nothing depends on it, because a trial asks the run itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// Very.
    High,
    /// Somewhat.
    Medium,
    /// Hardly.
    Low,
}

impl Confidence {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::High, Self::Medium, Self::Low];

    /// As logs and models have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        }
    }

    /// The confidence of this name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|confidence| confidence.name() == name)
    }
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Who decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Brain {
    /// A model, by its provider's name for it.
    Model(String),
    /// The rules of [`super::rules`].
    Rules,
}

/// What is to be done, and by whose wish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// What is to be done.
    pub action: Action,
    /// The settings that are to be in force afterwards; the present ones where nothing is to be done.
    pub settings: Settings,
    /// How sure the brain says it is.
    pub confidence: Confidence,
    /// Why, one line for people.
    pub reasoning: String,
    /// Who decided.
    pub by: Brain,
}

impl Decision {
    /// The decision to do nothing.
    pub fn stay(current: Settings, confidence: Confidence, reasoning: &str, by: Brain) -> Self {
        Self { action: Action::Continue, settings: current, confidence, reasoning: reasoning.to_owned(), by }
    }

    /// Whether a setting is to change.
    pub fn is_change(&self) -> bool {
        self.action != Action::Continue
    }

    /// For the log, at info, when the decision is carried out.
    pub fn applied_line(&self) -> String {
        let source = match self.by {
            Brain::Model(_) => "",
            Brain::Rules => " (fallback rules)",
        };
        format!(
            "AI adjustment applied: {} - {}{source} (confidence: {})",
            self.action, self.reasoning, self.confidence
        )
    }

    /// For the log, at debug, when the settings of the run have become this decision's; `None`: they were that
    /// already.
    pub fn change_line(&self, from: &Settings) -> Option<String> {
        match from.changed(&self.settings).as_slice() {
            [] => None,
            [Parameter::Writers] => {
                Some(format!("Scaled writers from {} to {}", from.writers, self.settings.writers))
            }
            _ => Some(format!("Config updated: {}", self.settings)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn now() -> Settings {
        Settings::new(4, 50_000, 2, 8).unwrap()
    }

    fn with(parameter: Parameter, value: i64) -> Settings {
        now().with(parameter, value).unwrap()
    }

    fn refused(action: Action, to: Settings) -> String {
        action.check(&now(), &to).unwrap_err().to_string()
    }

    #[test]
    fn names_are_read_back() {
        for action in Action::ALL {
            assert_eq!(Action::from_name(action.name()), Some(action));
            assert_eq!(serde_json::to_string(&action).unwrap(), format!("\"{action}\""));
        }
        assert_eq!(Action::from_name("scale_sideways"), None);
        for confidence in Confidence::ALL {
            assert_eq!(Confidence::from_name(confidence.name()), Some(confidence));
        }
    }

    #[test]
    fn each_action_may_make_its_own_step() {
        assert_eq!(Action::Continue.check(&now(), &now()), Ok(()));
        for (action, parameter, value) in [
            (Action::ScaleUp, Parameter::Writers, 6),
            (Action::ScaleUp, Parameter::Readers, 4),
            (Action::ScaleDown, Parameter::Writers, 2),
            (Action::ScaleDown, Parameter::Buffers, 4),
            (Action::ReduceChunk, Parameter::ChunkRows, 25_000),
            (Action::EnlargeChunk, Parameter::ChunkRows, 100_000),
        ] {
            assert_eq!(action.check(&now(), &with(parameter, value)), Ok(()), "{action} {parameter} {value}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_reason() {
        let writers = with(Parameter::Writers, 6);
        assert_eq!(refused(Action::Continue, writers), "the action is continue, but writers changes");
        assert_eq!(refused(Action::ScaleUp, now()), "the action is scale_up, but no setting changes");
        assert_eq!(
            refused(Action::ScaleUp, writers.with(Parameter::ChunkRows, 60_000).unwrap()),
            "scale_up changes writers and chunk_rows; one setting at a time may change"
        );
        assert_eq!(refused(Action::ReduceChunk, writers), "reduce_chunk is not about writers");
        assert_eq!(
            refused(Action::ScaleUp, with(Parameter::ChunkRows, 60_000)),
            "scale_up is not about chunk_rows"
        );
        assert_eq!(
            refused(Action::ScaleDown, writers),
            "the action is scale_down, but writers goes from 4 to 6"
        );
        assert_eq!(
            refused(Action::ScaleUp, with(Parameter::Writers, 16)),
            "writers from 4 to 16 is more than a step; allowed: 2 to 8"
        );
        assert!(refused(Action::ReduceChunk, with(Parameter::ChunkRows, 1_000)).contains("more than a step"));
    }

    #[test]
    fn small_numbers_may_take_larger_steps() {
        assert_eq!(Parameter::Writers.one_step_up(1), 3);
        assert_eq!(Parameter::Writers.one_step_up(4), 8);
        assert_eq!(Parameter::ChunkRows.one_step_up(1_000), 100_000);
        assert_eq!(Parameter::ChunkRows.one_step_up(30_000), 100_000);
        assert_eq!(Parameter::ChunkRows.one_step_up(80_000), 160_000);
    }

    fn decision(action: Action, settings: Settings, reasoning: &str, by: Brain) -> Decision {
        Decision { action, settings, confidence: Confidence::Medium, reasoning: reasoning.to_owned(), by }
    }

    #[test]
    fn the_log_has_the_testing_guides_sentences() {
        let reasoning = "Throughput declining and resources available - increasing workers";
        let model = Brain::Model("claude-haiku-4-5".to_owned());
        let up = decision(Action::ScaleUp, with(Parameter::Writers, 6), reasoning, model);
        assert_eq!(
            up.applied_line(),
            "AI adjustment applied: scale_up - Throughput declining and resources available - increasing workers \
             (confidence: medium)"
        );
        assert_eq!(up.change_line(&now()).unwrap(), "Scaled writers from 4 to 6");
        let chunk = decision(Action::ReduceChunk, with(Parameter::ChunkRows, 25_000), "x", Brain::Rules);
        assert_eq!(
            chunk.change_line(&now()).unwrap(),
            "Config updated: chunk_size=25000, readers=2, writers=4, buffers=8"
        );
        let stay = Decision::stay(now(), Confidence::Low, "Performance stable", Brain::Rules);
        assert_eq!(
            stay.applied_line(),
            "AI adjustment applied: continue - Performance stable (fallback rules) (confidence: low)"
        );
        assert_eq!(stay.change_line(&now()), None);
        assert!(!stay.is_change() && up.is_change());
    }

    proptest! {
        #[test]
        fn what_passes_changes_one_setting_by_one_step(
            action in prop::sample::select(Action::ALL.to_vec()),
            writers in 1_i64..=16, chunk in 1_000_i64..=500_000, readers in 1_i64..=4, buffers in 2_i64..=32,
        ) {
            let to = Settings::new(writers, chunk, readers, buffers).unwrap();
            if action.check(&now(), &to).is_ok() {
                let changed = now().changed(&to);
                prop_assert_eq!(changed.len(), usize::from(action != Action::Continue));
                for parameter in changed {
                    prop_assert_eq!(to.get(parameter) > now().get(parameter), action.grows());
                }
            }
        }
    }
}
