//! `leverd migrate plan`: what a run would do, and what would be lost; nothing is changed.
//!
//! In: the configuration. Out: the plan on stdout. Always holds: where the target cannot be asked, the source's part is
//! shown all the same, and the command says so and fails.

use super::outline::Outline;
use super::target_look::{TargetLook, look};
use super::{failure, history};
use crate::cli::{EXIT_DONE, Global};
use crate::config::MigrationConfig;
use crate::migrate::run::{self, MigrateError};
use serde_json::json;
use std::io::Write;
use std::process::ExitCode;

/// Runs it. 0: a run may begin; 1: source or target cannot be asked; 64: there is no plan.
pub(super) async fn run(global: &Global, config: &MigrationConfig) -> anyhow::Result<ExitCode> {
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
    print(global, config, &outline, looked.as_ref())?;
    Ok(match looked {
        Ok(_) => ExitCode::from(EXIT_DONE),
        Err(error) => failure::tell(&error),
    })
}

fn print(
    global: &Global,
    config: &MigrationConfig,
    outline: &Outline,
    looked: Result<&TargetLook, &MigrateError>,
) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let forecast = looked.ok().and_then(|look| history::forecast(outline.rows, &look.past));
    if global.json {
        let mut value = serde_json::to_value(outline)?;
        value["existing"] = looked.map_or_else(failure::value, |look| json!(look));
        value["forecast"] = json!(forecast);
        writeln!(out, "{value:#}")?;
        return Ok(());
    }
    write!(out, "{}", outline.text())?;
    match looked {
        Ok(look) => {
            writeln!(
                out,
                "\n{}{}",
                look.text(config.settings.target_mode),
                history::text(forecast.as_ref())
            )?;
        }
        Err(_) => writeln!(out, "\nThe target could not be asked what it holds.")?,
    }
    Ok(())
}
