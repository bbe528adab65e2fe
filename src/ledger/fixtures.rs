//! Trials and migrations for the tests of this room and of the views on it.

use super::{Migration, MigrationAdjustment, MigrationEnding};
use crate::model::{
    Activation, Comparison, Considered, CostTier, Direction, Intent, Judgement, OldValue, Outcome, Phase,
    Place, Plan, Ruling, Trial, TrialId, Unit, Verdict,
};
use chrono::{DateTime, TimeDelta, Utc};
use std::path::PathBuf;

/// 2024-01-15 10:14:00 UTC and some seconds.
pub(crate) fn at(seconds: i64) -> DateTime<Utc> {
    "2024-01-15T10:14:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::seconds(seconds)
}

pub(crate) fn planned(target: &str) -> Trial {
    Trial {
        id: TrialId(0),
        plan: Plan {
            target: target.into(),
            symptom: "high_wal_rate".into(),
            signal: "wal_rate".into(),
            unit: Unit::BytesPerSec,
            goal_from: 1_300_000.0,
            limit: 1_000_000.0,
            lever: "checkpoint_timeout".into(),
            tier: CostTier::Low,
            parameter: "checkpoint_timeout".to_owned(),
            place: Place::PostgresqlConf(PathBuf::from("/srv/pg/postgresql.conf")),
            from: Some("5min".to_owned()),
            to: "10min".to_owned(),
            activation: Activation::Reload,
            spans_checkpoints: true,
            verify_query: None,
            reason: "wal_rate is 1.30 × its bound, and 9 of 10 checkpoints are timed.".to_owned(),
            passed_over: vec![
                Considered {
                    lever: "max_wal_size".into(),
                    outcome: Outcome::Refused,
                    reason: "no checkpoint was requested by WAL volume".to_owned(),
                },
                Considered {
                    lever: "batch_size".into(),
                    outcome: Outcome::Later,
                    reason: "comes after checkpoint_timeout in the mapping".to_owned(),
                },
            ],
            gives_back: None,
            needs_approval: false,
            borrowed_for: None,
        },
        phase: Phase::Planned,
        intent: None,
        opened_at: at(0),
        before_from: at(-900),
        applied_at: None,
        phase_since: at(0),
        deadline: None,
        arms: vec![],
        ending: None,
        alarm: false,
        judgements: vec![],
        verdict: None,
        closed_at: None,
        undone_at: None,
    }
}

pub(crate) fn comparison(signal: &str, low: f64, change: f64, high: f64) -> Comparison {
    Comparison {
        signal: signal.into(),
        unit: Unit::BytesPerSec,
        direction: Direction::LowerIsBetter,
        before: 1_234_567.0,
        after: 987_654.0,
        n_before: 60,
        n_after: 58,
        effective_n: 71.0,
        change,
        low,
        high,
        per_load: true,
    }
}

pub(crate) fn judgement(ruling: Ruling, low: f64, change: f64, high: f64) -> Judgement {
    Judgement {
        ruling,
        reason: "the gain is proved".to_owned(),
        goal: Some(comparison("wal_rate", low, change, high)),
        guards: vec![],
        look: 0,
        alpha: 0.05,
    }
}

pub(crate) fn intent() -> Intent {
    Intent {
        system_identifier: u64::MAX - 1,
        file: PathBuf::from("/srv/pg/postgresql.conf"),
        parameter: "checkpoint_timeout".to_owned(),
        old: OldValue::Line { raw: "checkpoint_timeout = 5min\r\n".to_owned(), number: 214 },
        new: "checkpoint_timeout = 10min\r\n".to_owned(),
        sha256_before: "aa".repeat(32),
        sha256_after: "bb".repeat(32),
        backup: Some(PathBuf::from("/srv/leverd/backups/20240115_101400/postgresql.conf")),
        in_place: false,
    }
}

/// A trial that ended well.
pub(crate) fn kept(target: &str) -> Trial {
    let mut look = judgement(Ruling::Keep, -0.241, -0.2, -0.156);
    look.guards.push(Comparison {
        unit: Unit::Percent,
        before: 15.5,
        after: 15.25,
        per_load: false,
        ..comparison("io_wait", -0.06, -0.016, 0.031)
    });
    Trial {
        phase: Phase::Kept,
        intent: Some(intent()),
        applied_at: Some(at(5)),
        phase_since: at(960),
        judgements: vec![look],
        verdict: Some(Verdict::Kept),
        closed_at: Some(at(960)),
        ..planned(target)
    }
}

/// A trial that ended badly.
pub(crate) fn reverted(target: &str, verdict: Verdict, ending: &str) -> Trial {
    Trial {
        phase: Phase::Reverted,
        verdict: Some(verdict),
        ending: Some(ending.to_owned()),
        judgements: vec![judgement(Ruling::Revert, 0.21, 0.3, 0.4)],
        ..kept(target)
    }
}

/// A process that moved a million rows and changed one setting.
pub(crate) fn migration(run: &str) -> Migration {
    Migration {
        id: 0,
        run: run.to_owned(),
        source: "mysql://ann@old:3306/shop".to_owned(),
        target: "postgres://leverd@new:5432/shop".to_owned(),
        began_at: at(0),
        ended_at: Some(at(90)),
        resumed: false,
        ending: Some(MigrationEnding::Complete),
        why: None,
        rows: 1_000_000,
        rejected: 0,
        bytes_per_second: Some(5e7),
        copying_seconds: 60.0,
        past: Some(format!("{{\"run\":\"{run}\"}}")),
        report: Some("{\"tables\":[]}".to_owned()),
        adjustments: vec![MigrationAdjustment {
            number: 1,
            setting: "writers".to_owned(),
            before: 4,
            after: 6,
            by: "rules".to_owned(),
            reasoning: "there is room".to_owned(),
            verdict: Some(Verdict::Kept),
            change: Some(0.125),
            outcome: "scale_up: writers 4 -> 6: kept, rows per second +12.5 % (faster)".to_owned(),
            experience: Some(format!("{{\"run\":\"{run}\"}}")),
        }],
    }
}
