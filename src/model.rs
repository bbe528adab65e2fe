//! The words of leverd as types: what flows from observation to verdict.
//!
//! Everything here is plain data: no I/O, no clock, no tokio. Every other room may import this one;
//! this one imports none. The words are those of `docs/ARCHITECTURE.md`.

mod container;
mod lever;
mod names;
mod pg_value;
mod plan;
mod setting;
mod signal;
mod snapshot;
mod trial;
mod verdict;

pub use container::{ContainerLimits, ContainerState, LimitKind, Mount};
pub use lever::{CostTier, EvidenceRule, FACTS, Lever, Place};
pub use names::{Environment, LeverName, SignalName, Symptom, TargetName, TrialId};
pub use pg_value::{PgValue, PgValueError};
pub use plan::{Activation, Conclusion, Considered, Finding, Outcome, Plan, Report, Standing};
pub use setting::{Context, Setting, SettingType, Sourced};
pub use signal::{Baseline, BaselineMetric, Bound, Direction, Signal, SlaTarget, Unit};
pub use snapshot::{Alert, PoolerState, PushedAlert, Reading, ServerState, Snapshot};
pub use trial::{Found, Intent, OldValue, Phase, Trial};
pub use verdict::{
    Arm, Comparison, Evidence, Experience, Judgement, Ruling, Segment, Series, Verdict, Waves,
};
