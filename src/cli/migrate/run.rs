//! `leverd migrate run` and `leverd migrate resume`: rows are moved, and all that belongs to them is made.
//!
//! In: the configuration, and how the run begins. Out: how far it is while it works, and its report. Always holds:
//! Ctrl-C and SIGTERM stop it between two rows and leave what is in the target; nothing is called done that is not,
//! and rejected rows are no success; a run that has its target is in the history before its rows move, however it ends.

use super::ledger::{Awaited, Done, History};
use super::progress::{Show, print_line, watched};
use super::serving::{MetricsArgs, Serving};
use super::{failure, levers, report};
use crate::cli::{EXIT_DONE, EXIT_FAILED, Global, signals};
use crate::config::MigrationConfig;
use crate::migrate::progress::Progress;
use crate::migrate::run::{self, Request, Start};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Arguments of `leverd migrate run`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Give an interrupted run into the same schema up
    #[arg(long)]
    pub(super) replace: bool,
    #[command(flatten)]
    pub(super) metrics: MetricsArgs,
}

/// Runs it. 0: all is there; 1: it is not, or rows were rejected, or levers of the target could not be given back; 64:
/// the plan is wrong; 75: the target is taken.
pub(super) async fn run(
    global: &Global,
    config: &MigrationConfig,
    start: Start,
    metrics: &MetricsArgs,
    ledger: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    let listener = match metrics.listener().await {
        Ok(listener) => listener,
        Err(code) => return Ok(code),
    };
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let progress = Arc::new(Progress::new(super::settings(config)?));
    let history = History::open(ledger, config).await;
    let adjusting = super::adjusting(config, history.records());
    let resumes = start == Start::Resume;
    let (who, jobs, now) = (super::who(), super::jobs(), super::now());
    let (beside, around) = match levers::open(config).await {
        Ok(opened) => opened.unzip(),
        Err(code) => return Ok(code),
    };
    let (beside, awaited) = Awaited::before(beside, config, resumes, now);
    let request = Request { config, start, who, jobs, now, adjusting, beside: Some(beside) };
    let stop = CancellationToken::new();
    // On the heap: each of those around it would have it twice on the stack.
    let work = Box::pin(run::run(request, Arc::clone(&progress), stop.clone()));
    let work = history.around(awaited, work);
    let work = Box::pin(levers::around(around, work, &stop));
    let work = signals::until_stopped(work, &stop);
    let serving = Serving::start(listener, config, &progress);
    let ((mut ended, mut told), watched) = watched(work, &progress, Show::of(global)).await;
    if let Ok(report) = &mut ended {
        told.note(report);
    }
    serving.end().await;
    let done = Done {
        config,
        progress: &progress,
        watched: &watched,
        ended: ended.as_ref(),
        resumes,
        began_at: now,
        ended_at: super::now(),
    };
    history.keep(done.row()).await;
    if global.json {
        print_line(&report::last_line(&watched, ended.as_ref(), progress.summary()).to_string());
    }
    // A run that yields adjusts too.
    let adjusts = config.settings.ai_adjust || config.serves;
    match ended {
        Ok(report) => {
            if !global.json {
                write!(std::io::stdout().lock(), "{}", report::text(&report, &watched, adjusts))?;
            }
            let is_done = report::is_whole(&report) && told.is_settled();
            Ok(ExitCode::from(if is_done { EXIT_DONE } else { EXIT_FAILED }))
        }
        Err(error) => {
            if let Some(adjusted) = progress.summary().filter(|_| adjusts && !global.json) {
                // What was tried, and what a model cost, is known all the same.
                let _ = write!(std::io::stdout().lock(), "{adjusted}");
            }
            told.say();
            Ok(failure::tell(&error))
        }
    }
}
