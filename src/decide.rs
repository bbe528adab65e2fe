//! Snapshot → symptoms → plan and report.
//!
//! In: what was seen, the levels, the levers, and what the ledger remembers. Out: a [`Report`] that says what
//! to do and why, also where the answer is "nothing". Pure: same input, same output, no clock, no I/O. A plan
//! that comes out has passed every guardrail; it is checked again, on a fresh look at the server, right before
//! it is carried out.

mod findings;
pub mod guardrails;
mod loans;
mod next_value;
mod ranking;
mod spare;
mod worth;

use crate::model::{
    Baseline, Conclusion, CostTier, Experience, Finding, Lever, LeverName, Report, Signal, SlaTarget,
    Snapshot, Standing, Symptom, TargetName,
};
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;

pub use findings::find;
pub use loans::{Lending, Loans};
pub use spare::{GivingBack, spare, would_hold};

/// Whether a lever may be pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    /// Without asking.
    Free,
    /// After a person's yes.
    AfterApproval,
    /// It is only reported.
    Never,
}

/// What may be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permissions {
    /// Levers of the low tier.
    pub low: Permit,
    /// Levers of the medium tier.
    pub medium: Permit,
    /// Levers of the high tier.
    pub high: Permit,
    /// Levers that need a restart: `Err` says why not.
    pub restart: Result<Permit, String>,
    /// Any lever: `Err` says why not now, outside of the maintenance windows say.
    pub now: Result<(), String>,
}

impl Permissions {
    /// For levers of a tier.
    pub fn of(&self, tier: CostTier) -> Permit {
        match tier {
            CostTier::Low => self.low,
            CostTier::Medium => self.medium,
            CostTier::High => self.high,
        }
    }
}

/// What the ledger remembers and a decision must respect.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// Levers that a person's edit froze, with the reason.
    pub frozen: BTreeMap<LeverName, String>,
    /// Levers that did not help, with the end of their cool-down and the reason.
    pub quarantined: BTreeMap<LeverName, (DateTime<Utc>, String)>,
    /// What every lever did so far on this target, oldest first.
    pub experience: Vec<Experience>,
    /// Nothing may be pulled at all, and why: an earlier undo failed, say.
    pub halted: Option<String>,
}

/// All that a decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The workload.
    pub target: &'a TargetName,
    /// The configured signals.
    pub signals: &'a [Signal],
    /// Their bounds.
    pub sla: &'a [SlaTarget],
    /// What is normal, where it was taken.
    pub baseline: Option<&'a Baseline>,
    /// Every lever.
    pub levers: &'a [Lever],
    /// Symptom → levers in the user's order.
    pub symptom_mappings: &'a BTreeMap<Symptom, Vec<LeverName>>,
    /// What may be done.
    pub permissions: &'a Permissions,
    /// What was learned.
    pub memory: &'a Memory,
    /// What was seen.
    pub snapshot: &'a Snapshot,
}

/// Decides what to do about what was seen.
pub fn decide(input: Input<'_>) -> Report {
    let findings = find(input.signals, input.sla, input.baseline, input.snapshot);
    let unknown: Vec<String> =
        findings.iter().filter_map(|finding| blocking(finding, input.signals)).collect();
    let mut broken: Vec<&Finding> =
        findings.iter().filter(|finding| finding.standing == Standing::Broken).collect();
    broken.sort_by(|a, b| worth::gap(b).total_cmp(&worth::gap(a)));

    let report = |considered, conclusion| Report { findings: findings.clone(), considered, conclusion };
    if !unknown.is_empty() {
        return report(vec![], Conclusion::CannotTell(unknown.join("; ")));
    }
    if broken.is_empty() {
        return report(vec![], Conclusion::Compliant);
    }
    let server = match &input.snapshot.server {
        Ok(server) if server.in_recovery => {
            let why = "the server is a standby: settings are changed on the primary".to_owned();
            return report(vec![], Conclusion::NothingLeft(why));
        }
        Ok(server) => server,
        Err(why) => {
            return report(vec![], Conclusion::CannotTell(format!("Postgres cannot be asked: {why}")));
        }
    };
    if let Some(why) = &input.memory.halted {
        return report(vec![], Conclusion::NothingLeft(why.clone()));
    }
    let (considered, plan) = ranking::rank(&input, server, &broken);
    if let Some(plan) = plan {
        return report(considered, Conclusion::Act(Box::new(plan)));
    }
    let symptoms: Vec<&str> = broken.iter().map(|finding| finding.symptom.as_str()).collect();
    let why = format!("no lever is left for {}", symptoms.join(", "));
    report(considered, Conclusion::NothingLeft(why))
}

/// Why this finding keeps leverd from acting: a bounded signal that is not optional and cannot be told.
fn blocking(finding: &Finding, signals: &[Signal]) -> Option<String> {
    let Standing::Unknown(why) = &finding.standing else { return None };
    let optional = signals.iter().any(|signal| signal.name == finding.signal && signal.optional);
    (!optional).then(|| format!("{} is not known: {why}", finding.signal))
}

#[cfg(test)]
mod tests;
