//! One change of one lever, from intent to verdict, as it is stored.

use super::{Arm, ContainerLimits, Judgement, Plan, TrialId, Verdict};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// Where a trial is. Stored with every change of it; `trial::step` alone moves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Decided, nothing touched.
    Planned,
    /// A person must say yes first.
    AwaitApproval,
    /// The value is being checked against the server.
    Preflight,
    /// The ledger holds how to undo it; nothing touched yet.
    IntentLogged,
    /// Being written and activated.
    Applying,
    /// The server is being asked whether it took effect.
    VerifyApplied,
    /// Waiting for the change to settle; samples of this time do not count.
    Settling,
    /// Samples are collected; the number is the look, from 0.
    Measuring {
        /// How often it was extended.
        look: u8,
    },
    /// Put back to compare once more (A-B-A): the second A is being measured.
    BackToA,
    /// Applied once more after the second A.
    AgainB,
    /// Being put back.
    RollingBack,
    /// The server is being asked whether the old value is back.
    VerifyReverted,
    /// The end: the change stays.
    Kept,
    /// The end: the old value is back.
    Reverted,
    /// The end: nothing was ever changed.
    Aborted,
    /// The end until a person acts: somebody edited what this trial manages.
    Frozen,
    /// The end until a person acts: the undo failed.
    NeedsHuman,
}

impl Phase {
    /// Whether no event moves it any more.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Kept | Self::Reverted | Self::Aborted | Self::Frozen | Self::NeedsHuman)
    }

    /// The phase's name as people see it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::AwaitApproval => "awaiting approval",
            Self::Preflight => "preflight",
            Self::IntentLogged => "intent logged",
            Self::Applying => "applying",
            Self::VerifyApplied => "verifying",
            Self::Settling => "settling",
            Self::Measuring { .. } => "measuring",
            Self::BackToA => "measuring without",
            Self::AgainB => "measuring again",
            Self::RollingBack => "rolling back",
            Self::VerifyReverted => "verifying the rollback",
            Self::Kept => "kept",
            Self::Reverted => "reverted",
            Self::Aborted => "aborted",
            Self::Frozen => "frozen",
            Self::NeedsHuman => "needs a human",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What stood in the place before: enough to put exactly that back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OldValue {
    /// The parameter was not set in this place.
    Absent,
    /// The whole line as it stood, its line ending included, and its number from 1.
    Line {
        /// The raw line.
        raw: String,
        /// Its number.
        number: u32,
    },
    /// The value that `ALTER SYSTEM` had set.
    AutoConf(String),
    /// All limits of a container.
    Container(ContainerLimits),
}

/// All that is needed to finish or undo a change, written before the first byte is touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// `pg_control_system().system_identifier`: never undo on another server.
    pub system_identifier: u64,
    /// The file that holds the value (links followed); `postgresql.auto.conf` for `ALTER SYSTEM` (as the
    /// server names it, perhaps not readable from here); `container NAME` for a limit.
    pub file: PathBuf,
    /// The parameter or `.env` key.
    pub parameter: String,
    /// What stood there.
    pub old: OldValue,
    /// The raw line that is written (files), or the value (`ALTER SYSTEM`, a container's limit).
    pub new: String,
    /// SHA-256 of the file before, hex; empty where the file cannot be read from here.
    pub sha256_before: String,
    /// SHA-256 of the file after, hex; empty where it cannot be known.
    pub sha256_after: String,
    /// The copy of the file from before, inside `backups/YYYYMMDD_HHMMSS/`; `None` where it cannot be read.
    pub backup: Option<PathBuf>,
    /// The file is mounted into a container by itself, which would go on seeing a file that was replaced by rename:
    /// it is written into.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_place: bool,
}

/// What recovery finds when it looks at the place of an intent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    /// As it was before.
    Before,
    /// As the change left it.
    After,
    /// Neither: somebody else was there. For people.
    Neither(String),
}

/// One trial, as the ledger stores it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Its number; 0 until the ledger gives one.
    pub id: TrialId,
    /// What it tries.
    pub plan: Plan,
    /// Where it is.
    pub phase: Phase,
    /// How to undo it; `None` until it is logged.
    pub intent: Option<Intent>,
    /// When it was opened.
    pub opened_at: DateTime<Utc>,
    /// From when its "before" samples count.
    pub before_from: DateTime<Utc>,
    /// When the change was verified as applied.
    pub applied_at: Option<DateTime<Utc>>,
    /// When the present phase began.
    pub phase_since: DateTime<Utc>,
    /// When the present phase must end.
    pub deadline: Option<DateTime<Utc>>,
    /// The arms in order of time: A before the change, B with it, for A-B-A one more of each; whose samples
    /// count from the second to the third.
    pub arms: Vec<(Arm, DateTime<Utc>, DateTime<Utc>)>,
    /// Why it ended or must end, once that is known.
    pub ending: Option<String>,
    /// A person must look at it even where everything was put back: Postgres did not come back, say. Of a loan that is
    /// over: a person's own value was found in its place, and left.
    pub alarm: bool,
    /// Every look at the evidence, in order.
    pub judgements: Vec<Judgement>,
    /// The verdict, at the end.
    pub verdict: Option<Verdict>,
    /// When it ended.
    pub closed_at: Option<DateTime<Utc>>,
    /// When a kept change was undone: by a person, given back by a later trial, or because a loan was over.
    pub undone_at: Option<DateTime<Utc>>,
}

impl Found {
    /// The same for a trial that gives the change back.
    fn turned(self) -> Self {
        match self {
            Self::Before => Self::After,
            Self::After => Self::Before,
            neither @ Self::Neither(_) => neither,
        }
    }
}

impl Trial {
    /// The arm of the intent that stands under this arm of the trial: where a kept change is given back, its absence
    /// is what is tried.
    pub fn arm_written(&self, arm: Arm) -> Arm {
        match (self.plan.gives_back, arm) {
            (None, arm) => arm,
            (Some(_), Arm::A) => Arm::B,
            (Some(_), Arm::B) => Arm::A,
        }
    }

    /// How the place stands to this trial, from how it stands to its intent.
    pub fn found(&self, found: Found) -> Found {
        if self.plan.gives_back.is_some() { found.turned() } else { found }
    }

    /// Whether it is a loan that was not given back, because a person has set another value meanwhile, which stands.
    pub fn is_left_to_person(&self) -> bool {
        let is_loan = self.plan.borrowed_for.is_some() && self.phase == Phase::Kept;
        is_loan && self.undone_at.is_some() && self.alarm
    }

    /// How long the change was in effect before it was out again: from its verification to that of the old value,
    /// less the time for which an A-B-A measured without it. `None` for a change that is not known to be out again.
    pub fn exposure(&self) -> Option<TimeDelta> {
        if self.phase != Phase::Reverted {
            return None;
        }
        let without: TimeDelta =
            self.arms.iter().skip(1).filter(|arm| arm.0 == Arm::A).map(|arm| arm.2 - arm.1).sum();
        Some(self.closed_at? - self.applied_at? - without)
    }
}
