//! `leverd status`: the signals against their levels, and what leverd holds.

use super::{EXIT_DONE, EXIT_FAILED, EXIT_TRY_LATER, Global, configured, render};
use crate::config::Config;
use crate::daemon::{Reporter, Session, clock};
use crate::decide;
use crate::ledger::{Frozen, Quarantined};
use crate::model::{Conclusion, Report, Trial};
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

/// Arguments of `leverd status`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs it. 0: every level is met; 1: one is not; 75: it cannot be told.
pub(crate) async fn run(global: &Global, _args: Args) -> anyhow::Result<ExitCode> {
    let config = match configured::load_config(global) {
        Ok(config) => Arc::new(config),
        Err(code) => return Ok(code),
    };
    let mut session = Session::open(Arc::clone(&config), Reporter::new(|_| {}))?;
    let (_, report) = session.decide().await?;
    let ledger = session.ledger();
    let held = Held {
        open: ledger.open_trial(&config.target.name)?,
        kept: ledger.kept(&config.target.name)?,
        needs_human: ledger.needing_human(&config.target.name)?,
        frozen: ledger.frozen(&config.target.name)?,
        quarantined: ledger.quarantined(&config.target.name, clock::now())?,
    };
    print(global, &config, &report, &held)?;
    Ok(ExitCode::from(match report.conclusion {
        Conclusion::Compliant => EXIT_DONE,
        Conclusion::CannotTell(_) => EXIT_TRY_LATER,
        Conclusion::Act(_) | Conclusion::NothingLeft(_) => EXIT_FAILED,
    }))
}

/// What the ledger holds of this target.
struct Held {
    open: Option<Trial>,
    kept: Vec<Trial>,
    needs_human: Vec<Trial>,
    frozen: Vec<Frozen>,
    quarantined: Vec<Quarantined>,
}

fn print(global: &Global, config: &Config, report: &Report, held: &Held) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if global.json {
        let value = serde_json::json!({
            "target": config.target.name,
            "environment": config.environment,
            "findings": report.findings,
            "conclusion": report.conclusion,
            "open": held.open,
            "kept": held.kept,
            "spare": decide::spare(&held.kept, report).iter()
                .map(|(trial, why)| (trial.id, why)).collect::<Vec<_>>(),
            "needs_human": held.needs_human,
            "frozen": held.frozen.iter().map(|row| (row.lever.as_str(), &row.why)).collect::<Vec<_>>(),
            "quarantined": held.quarantined.iter()
                .map(|row| (row.lever.as_str(), row.until, &row.why)).collect::<Vec<_>>(),
        });
        writeln!(out, "{value:#}")?;
        return Ok(());
    }
    writeln!(out, "{} ({})", config.target.name, config.environment)?;
    writeln!(out, "{}", render::findings(&report.findings))?;
    match &report.conclusion {
        // Which lever is next depends on rates that one short look does not have.
        Conclusion::Act(plan) => {
            writeln!(
                out,
                "{} is outside of its level: `leverd plan` shows what would be done.",
                plan.signal
            )?;
        }
        _ => writeln!(out, "{}", render::conclusion(report))?,
    }
    if let Some(trial) = &held.open {
        let to = &trial.plan.to;
        writeln!(out, "\nOpen: trial {} ({} = {to}) is {}", trial.id, trial.plan.parameter, trial.phase)?;
    }
    if !held.kept.is_empty() {
        writeln!(out, "\nKept changes (`leverd rollback ID` puts one back):")?;
        let mut rows = render::table(&["trial", "since", "change", "for"]);
        for trial in &held.kept {
            let from = trial.plan.from.as_deref().unwrap_or("absent");
            rows.add_row(vec![
                trial.id.to_string(),
                trial.closed_at.map(|at| at.format("%Y-%m-%d %H:%M").to_string()).unwrap_or_default(),
                format!("{} {from} → {}", trial.plan.parameter, trial.plan.to),
                trial.plan.symptom.to_string(),
            ]);
        }
        writeln!(out, "{rows}")?;
    }
    for (trial, why) in decide::spare(&held.kept, report) {
        let change = format!("{} = {}", trial.plan.parameter, trial.plan.to);
        writeln!(
            out,
            "No longer needed, it seems: trial {} ({change}): {why} (`leverd rollback {0}`)",
            trial.id
        )?;
    }
    for trial in &held.needs_human {
        let why = trial.ending.as_deref().unwrap_or_default();
        writeln!(out, "\nNeeds a person: trial {} ({}): {why}", trial.id, trial.plan.lever)?;
    }
    for row in &held.frozen {
        writeln!(out, "Frozen: {}: {} (`leverd thaw {}`)", row.lever, row.why, row.lever)?;
    }
    for row in &held.quarantined {
        writeln!(
            out,
            "In quarantine until {}: {}: {}",
            row.until.format("%Y-%m-%d %H:%M UTC"),
            row.lever,
            row.why
        )?;
    }
    Ok(())
}
