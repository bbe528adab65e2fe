//! `leverd migrate forget`: a run is given up, and all that the target keeps of it goes.
//!
//! Rows that it brought stay where they are; its rejected rows go with it.

use super::{failure, session};
use crate::cli::{EXIT_DONE, Global};
use crate::config::MigrationConfig;
use crate::migrate::run::MigrateError;
use crate::migrate::state::{self, StateError};
use serde_json::json;
use std::io::Write;
use std::process::ExitCode;

/// Arguments of `leverd migrate forget`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The run, as `leverd migrate status` names it
    #[arg(value_name = "RUN")]
    run: String,
}

/// Runs it. 0: forgotten; 1: there is no such run, or it cannot be; 75: it is at work.
pub(super) async fn run(global: &Global, config: &MigrationConfig, args: &Args) -> anyhow::Result<ExitCode> {
    if let Err(error) = forget(config, &args.run).await {
        return Ok(failure::tell(&error));
    }
    let mut out = std::io::stdout().lock();
    if global.json {
        writeln!(out, "{}", json!({ "forgotten": args.run }))?;
    } else {
        writeln!(out, "The run {} is forgotten. Rows that it brought are still in the target.", args.run)?;
    }
    Ok(ExitCode::from(EXIT_DONE))
}

async fn forget(config: &MigrationConfig, run: &str) -> Result<(), MigrateError> {
    let connection = session::to_work(config).await?;
    let client = connection.client();
    // Without a state there is no run, and no table to ask.
    if state::installed_version(client).await?.is_none() {
        return Err(StateError::UnknownRun { run: run.to_owned() }.into());
    }
    state::install(client).await?;
    state::forget(client, run).await?;
    Ok(())
}
