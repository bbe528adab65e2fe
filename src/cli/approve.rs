//! `leverd approve` and `leverd reject`: a person's answer to a plan that waits for it.

use super::{EXIT_DONE, EXIT_FAILED, Global, configured};
use crate::daemon::clock;
use crate::ledger::{Answer, Ledger, waits};
use crate::model::{Trial, TrialId};
use std::io::Write;
use std::process::ExitCode;

/// Arguments of both.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The trial, as `leverd status` shows it [default: the one that waits]
    id: Option<i64>,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
}

/// Writes the answer down; the daemon, or the next `leverd tune`, takes it up.
#[expect(clippy::unused_async, reason = "every command has the same form")]
pub(crate) async fn run(global: &Global, args: Args, approved: bool) -> anyhow::Result<ExitCode> {
    let config = match configured::load_config(global) {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    let ledger = Ledger::open_existing(&config.paths.ledger)?;
    let open = ledger.open_trial(&config.target.name)?.filter(waits);
    let Some(trial) = open.filter(|open| args.id.is_none_or(|id| open.id == TrialId(id))) else {
        let asked = args.id.map_or_else(|| "no plan".to_owned(), |id| format!("trial {id} is none that"));
        let verb = if args.id.is_some() { "waits for an answer" } else { "waits for an answer now" };
        eprintln!("leverd: {asked} {verb}");
        return Ok(ExitCode::from(EXIT_FAILED));
    };
    let answer = Answer { approved, by: who(), why: args.why };
    if !ledger.give_answer(&trial, &answer, clock::now())? {
        eprintln!("leverd: trial {} has its answer already", trial.id);
        return Ok(ExitCode::from(EXIT_FAILED));
    }
    writeln!(std::io::stdout(), "{}", said(&trial, approved))?;
    Ok(ExitCode::from(EXIT_DONE))
}

fn said(trial: &Trial, approved: bool) -> String {
    let plan = &trial.plan;
    let from = plan.from.as_deref().unwrap_or("not set");
    let what = format!("trial {} ({} {from} → {})", trial.id, plan.parameter, plan.to);
    if approved {
        format!("{what} is approved; leverd begins it at its next look, if it is still the best one then")
    } else {
        format!("{what} is rejected; its lever rests for a while")
    }
}

/// The login name, as the system and the environment have it.
fn who() -> String {
    let uid = rustix::process::getuid().as_raw();
    let name = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| format!("user {uid}"))
}
