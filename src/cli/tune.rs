//! `leverd tune`: the loop until the levels are met, or for a number of cycles.

use super::{EXIT_DONE, EXIT_FAILED, EXIT_TRY_LATER, Global, configured, narrate, render, signals};
use crate::config::Config;
use crate::daemon::{Session, Turn, WhenStopped};
use crate::model::{Conclusion, Report, Trial};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Arguments of `leverd tune`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Try at most so many levers [default: until the levels are met or no lever is left]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    cycles: Option<u32>,
}

/// Runs it. 0: every level is met; 1: one is not, and nothing more may be done; 75: it cannot be told now.
pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<ExitCode> {
    let (config, _lock) = match configured::load_and_lock(global) {
        Ok(both) => both,
        Err(code) => return Ok(code),
    };
    let mut session = Session::open(Arc::new(config), narrate::to_terminal(global.no_tty))?;
    let stop = CancellationToken::new();
    let end = signals::until_stopped(tune(&mut session, &stop, args.cycles), &stop).await?;
    print(global, &end)?;
    Ok(ExitCode::from(end.code()))
}

/// How it ended.
struct End {
    trials: Vec<Trial>,
    report: Option<Report>,
    stopped: bool,
}

impl End {
    fn code(&self) -> u8 {
        match self.report.as_ref().map(|report| &report.conclusion) {
            _ if self.stopped => EXIT_FAILED,
            Some(Conclusion::Compliant) => EXIT_DONE,
            Some(Conclusion::CannotTell(_)) => EXIT_TRY_LATER,
            _ => EXIT_FAILED,
        }
    }
}

async fn tune(session: &mut Session, stop: &CancellationToken, cycles: Option<u32>) -> anyhow::Result<End> {
    let mut trials: Vec<Trial> = Vec::new();
    let patience = patience(session.config());
    let mut blind_since: Option<tokio::time::Instant> = None;
    session.warm_up(stop).await;
    loop {
        if cycles.is_some_and(|cycles| trials.len() >= cycles as usize) {
            let (report, _) = session.confirmed(stop).await?;
            return Ok(End { trials, report: Some(report), stopped: false });
        }
        let turn = session.turn(stop, WhenStopped::PutBack).await?;
        let stopped = stop.is_cancelled();
        match turn {
            Turn::Tried(trial) | Turn::Parked(trial) => trials.push(*trial),
            // The note told which; a person answers, and runs this again.
            Turn::Awaiting(trial) => {
                trials.push(*trial);
                return Ok(End { trials, report: None, stopped });
            }
            Turn::Rested(report) => {
                let blind = matches!(report.conclusion, Conclusion::CannotTell(_));
                let since = *blind_since.get_or_insert_with(tokio::time::Instant::now);
                if stopped || !blind || since.elapsed() >= patience {
                    return Ok(End { trials, report: Some(*report), stopped });
                }
                tokio::select! {
                    () = tokio::time::sleep(session.config().cycle.scrape_interval) => {}
                    () = stop.cancelled() => {}
                }
                continue;
            }
        }
        blind_since = None;
        if stopped {
            return Ok(End { trials, report: None, stopped });
        }
    }
}

/// How long missing data is waited for: a few scrapes, for Prometheus may have just started.
fn patience(config: &Config) -> Duration {
    (config.cycle.scrape_interval * 5).max(Duration::from_secs(10))
}

fn print(global: &Global, end: &End) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if global.json {
        let value = serde_json::json!({ "trials": end.trials, "report": end.report, "stopped": end.stopped });
        writeln!(out, "{value:#}")?;
        return Ok(());
    }
    // Where both go to one terminal, the narration has said it.
    let told = out.is_terminal() && std::io::stderr().is_terminal();
    for trial in end.trials.iter().filter(|_| !told) {
        writeln!(out, "{}", render::ending(trial))?;
    }
    if let Some(report) = &end.report {
        if !told {
            writeln!(out, "{}", render::findings(&report.findings))?;
            writeln!(out, "{}", render::conclusion(report))?;
        }
        write!(out, "{}", render::considered(&report.considered))?;
    }
    if end.stopped {
        writeln!(out, "Stopped; an open trial was put back.")?;
    }
    Ok(())
}
