//! What a decision says: a plan that leaves nothing to decide when it is carried out, and the report that
//! explains it, also where the answer is "do nothing".

use super::{CostTier, LeverName, Place, SignalName, Symptom, TargetName, TrialId, Unit};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// What makes a written value take effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `pg_reload_conf()`.
    Reload,
    /// The application picks its `.env` up: by itself, or by the target's `app_reload` command.
    AppReload,
    /// Nothing more: it took effect as it was written.
    AtOnce,
    /// `RELOAD` on PgBouncer's console.
    PoolerReload,
    /// A restart of Postgres.
    Restart,
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Reload => "reload",
            Self::AppReload => "reload of the application",
            Self::AtOnce => "live update",
            Self::PoolerReload => "reload of PgBouncer",
            Self::Restart => "restart",
        })
    }
}

/// One change of one lever, decided in full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The workload.
    pub target: TargetName,
    /// What is wrong.
    pub symptom: Symptom,
    /// The signal whose gain decides.
    pub signal: SignalName,
    /// Its unit.
    pub unit: Unit,
    /// Its value when the plan was made.
    pub goal_from: f64,
    /// The bound that it breaks.
    pub limit: f64,
    /// The lever to pull.
    pub lever: LeverName,
    /// Its tier.
    pub tier: CostTier,
    /// The Postgres parameter or `.env` key.
    pub parameter: String,
    /// Where it is written.
    pub place: Place,
    /// The present value as people write it; `None`: absent from an `.env` file.
    pub from: Option<String>,
    /// The new value as people write it.
    pub to: String,
    /// What makes it take effect.
    pub activation: Activation,
    /// The trial spans at least three checkpoints.
    pub spans_checkpoints: bool,
    /// PromQL that answers the value once it has arrived (`.env` levers).
    pub verify_query: Option<String>,
    /// Why this lever, in sentences.
    pub reason: String,
    /// The levers that were passed over for it, each with its reason.
    pub passed_over: Vec<Considered>,
    /// The kept trial whose change is put back on trial: `from` is its new value, `to` its old one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gives_back: Option<TrialId>,
    /// A person must say yes first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub needs_approval: bool,
    /// The migration's run for whose time it is borrowed: it is not judged, and given back when the run has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub borrowed_for: Option<String>,
}

impl Plan {
    /// The plan as its place knows it. Giving back writes nothing of its own: it is the kept change, the other way round.
    pub fn as_written(&self) -> Cow<'_, Self> {
        match (&self.gives_back, &self.from) {
            (Some(_), Some(from)) => {
                Cow::Owned(Self { from: Some(self.to.clone()), to: from.clone(), ..self.clone() })
            }
            _ => Cow::Borrowed(self),
        }
    }
}

/// How one signal stands against its bound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Standing {
    /// Inside.
    Met,
    /// Outside.
    Broken,
    /// Cannot be said, and why.
    Unknown(String),
    /// No bound is set for it.
    Unbounded,
}

/// One signal in a report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The signal.
    pub signal: SignalName,
    /// Its unit.
    pub unit: Unit,
    /// Its value.
    pub value: Option<f64>,
    /// Its bound as a number.
    pub limit: Option<f64>,
    /// The bound as it was written, e.g. `≤ 1.5× baseline`.
    pub bound: String,
    /// The verdict on it.
    pub standing: Standing,
    /// The symptom it stands for.
    pub symptom: Symptom,
}

/// What became of a lever in a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is the plan.
    Chosen,
    /// Usable, but another one is cheaper or more likely to help.
    Later,
    /// It cannot be used now.
    Refused,
}

/// One lever in a report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Considered {
    /// The lever.
    pub lever: LeverName,
    /// What became of it.
    pub outcome: Outcome,
    /// Why, for people.
    pub reason: String,
}

/// What a decision comes to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[must_use]
pub enum Conclusion {
    /// Every bound is met, and every signal is known.
    Compliant,
    /// Pull this lever.
    Act(Box<Plan>),
    /// Something is broken and no lever may be pulled for it.
    NothingLeft(String),
    /// It cannot be said whether the bounds are met; nothing is changed on missing data.
    CannotTell(String),
}

/// A decision with all its reasons.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct Report {
    /// Every signal.
    pub findings: Vec<Finding>,
    /// Every lever of the broken symptoms, in the order in which they were ranked.
    pub considered: Vec<Considered>,
    /// What to do.
    pub conclusion: Conclusion,
}
