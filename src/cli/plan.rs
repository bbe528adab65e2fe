//! `leverd plan`: a dry run.

use super::{EXIT_DONE, EXIT_TRY_LATER, Global, configured, narrate, render};
use crate::daemon::Session;
use crate::model::Conclusion;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Arguments of `leverd plan`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Shows what would be done, the exact diff, why, and what was passed over and why. Changes nothing.
pub(crate) async fn run(global: &Global, _args: Args) -> anyhow::Result<ExitCode> {
    let config = match configured::load_config(global) {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    let mut session = Session::open(Arc::new(config), narrate::to_terminal(true))?;
    session.warm_up(&CancellationToken::new()).await;
    let (_, report) = session.decide().await?;
    let preview = match &report.conclusion {
        Conclusion::Act(plan) => Some(session.preview(plan).await),
        _ => None,
    };
    let code = match report.conclusion {
        Conclusion::CannotTell(_) => EXIT_TRY_LATER,
        _ => EXIT_DONE,
    };
    let mut out = std::io::stdout().lock();
    if global.json {
        let diff = preview.as_ref().and_then(|preview| preview.as_ref().ok());
        writeln!(out, "{:#}", serde_json::json!({ "report": report, "diff": diff }))?;
        return Ok(ExitCode::from(code));
    }
    writeln!(out, "{}", render::findings(&report.findings))?;
    writeln!(out, "{}", render::conclusion(&report))?;
    match preview {
        Some(Ok(diff)) => writeln!(out, "\n{diff}")?,
        Some(Err(error)) => writeln!(out, "It could not be carried out: {error}")?,
        None => {}
    }
    if !report.considered.is_empty() {
        writeln!(out, "Considered, in rank order (→ chosen, · later, × not now):")?;
        write!(out, "{}", render::considered(&report.considered))?;
    }
    Ok(ExitCode::from(code))
}
