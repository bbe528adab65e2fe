//! `leverd migrate plan`: what a run would do, and what would be lost; nothing is changed.
//!
//! In: the configuration. Out: the plan on stdout. Always holds: where the target cannot be asked, the source's part is
//! shown all the same, and the command says so and fails.

use super::history::Forecast;
use super::outline::Outline;
use super::target_look::{TargetLook, look};
use super::{failure, history, ledger};
use crate::cli::{EXIT_DONE, Global};
use crate::config::MigrationConfig;
use crate::migrate::run::{self, MigrateError};
use serde_json::json;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// Runs it. 0: a run may begin; 1: source or target cannot be asked; 64: there is no plan.
pub(super) async fn run(
    global: &Global,
    config: &MigrationConfig,
    named: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    let plan = match run::plan(config).await {
        Ok(plan) => plan,
        Err(error) => {
            if global.json {
                writeln!(std::io::stdout().lock(), "{:#}", failure::value(&error))?;
            }
            return Ok(failure::tell(&error));
        }
    };
    let outline = Outline::new(&plan, config);
    let looked = look(config, &Outline::target_names(&plan)).await;
    let of_target = looked.as_ref().ok().and_then(|look| history::forecast(outline.rows, &look.past));
    let of_ledger = match of_target {
        Some(_) => None,
        None => by_ledger(config, &outline, named).await,
    };
    print(global, config, &outline, looked.as_ref(), (of_target, of_ledger))?;
    Ok(match looked {
        Ok(_) => ExitCode::from(EXIT_DONE),
        Err(error) => failure::tell(&error),
    })
}

/// What like runs of the ledger promise.
async fn by_ledger(config: &MigrationConfig, outline: &Outline, named: Option<&Path>) -> Option<Forecast> {
    let source = config.source.to_string();
    let row_bytes = (outline.rows > 0).then(|| outline.bytes as f64 / outline.rows as f64);
    let earlier = ledger::earlier(named, config).await;
    let past: Vec<history::Past> =
        earlier.iter().filter_map(|run| history::past_of_ledger(run, &source, row_bytes)).collect();
    history::forecast(outline.rows, &past)
}

fn print(
    global: &Global,
    config: &MigrationConfig,
    outline: &Outline,
    looked: Result<&TargetLook, &MigrateError>,
    (of_target, of_ledger): (Option<Forecast>, Option<Forecast>),
) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if global.json {
        let mut value = serde_json::to_value(outline)?;
        value["existing"] = looked.map_or_else(failure::value, |look| json!(look));
        value["forecast"] = json!(of_target.as_ref().or(of_ledger.as_ref()));
        value["forecast_of"] = json!(match (&of_target, &of_ledger) {
            (Some(_), _) => "target",
            (None, Some(_)) => "ledger",
            (None, None) => "guess",
        });
        value["guessed_copying_s"] = json!(history::guess(outline.bytes));
        writeln!(out, "{value:#}")?;
        return Ok(());
    }
    write!(out, "{}", outline.text())?;
    match looked {
        Ok(look) => {
            let time = match &of_target {
                Some(_) => history::text(of_target.as_ref()),
                None => history::text_without_target(of_ledger.as_ref(), outline.bytes),
            };
            writeln!(out, "\n{}{time}", look.text(config.settings.target_mode))?;
        }
        Err(_) => writeln!(out, "\nThe target could not be asked what it holds.")?,
    }
    Ok(())
}
