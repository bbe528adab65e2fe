//! `leverd migrate run` and `leverd migrate resume`: rows are moved, and all that belongs to them is made.
//!
//! In: the configuration, and how the run begins. Out: how far it is while it works, and its report. Always holds:
//! Ctrl-C and SIGTERM stop it between two rows and leave what is in the target; nothing is called done that is not,
//! and rejected rows are no success.

use super::progress::{Show, print_line, watched};
use super::{failure, report};
use crate::cli::{EXIT_DONE, EXIT_FAILED, Global, signals};
use crate::config::MigrationConfig;
use crate::migrate::progress::Progress;
use crate::migrate::run::{self, Request, Start};
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Arguments of `leverd migrate run`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Give an interrupted run into the same schema up
    #[arg(long)]
    pub(super) replace: bool,
}

/// Runs it. 0: all is there; 1: it is not, or rows were rejected; 64: the plan is wrong; 75: the target is taken.
pub(super) async fn run(global: &Global, config: &MigrationConfig, start: Start) -> anyhow::Result<ExitCode> {
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let progress = Arc::new(Progress::new(super::settings(config)?));
    let adjusting = super::adjusting(config);
    let (who, jobs, now) = (super::who(), super::jobs(), super::now());
    let request = Request { config, start, who, jobs, now, adjusting };
    let stop = CancellationToken::new();
    let work = run::run(request, Arc::clone(&progress), stop.clone());
    let work = signals::until_stopped(work, &stop);
    let (ended, watched) = watched(work, &progress, Show::of(global)).await;
    if global.json {
        print_line(&report::last_line(&watched, ended.as_ref()).to_string());
    }
    match ended {
        Ok(report) => {
            if !global.json {
                write!(
                    std::io::stdout().lock(),
                    "{}",
                    report::text(&report, &watched, config.settings.ai_adjust)
                )?;
            }
            Ok(ExitCode::from(if report::is_whole(&report) { EXIT_DONE } else { EXIT_FAILED }))
        }
        Err(error) => Ok(failure::tell(&error)),
    }
}
