//! `leverd rollback`: kept changes go back because a person says so.

use super::{EXIT_DONE, EXIT_FAILED, EXIT_TRY_LATER, Global, configured, narrate, render};
use crate::daemon::{Lock, LockError, Session, roll_back};
use crate::model::{Trial, TrialId};
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

/// Arguments of `leverd rollback`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["id", "last", "all"]))]
pub(crate) struct Args {
    /// The trial whose change goes back
    id: Option<i64>,
    /// The newest kept change
    #[arg(long)]
    last: bool,
    /// Every kept change, the newest first
    #[arg(long)]
    all: bool,
    /// Print the commands that would do it without leverd, and change nothing
    #[arg(long)]
    print: bool,
}

/// Runs it.
pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<ExitCode> {
    let config = match configured::load_config(global) {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    let lock_path = config.paths.lock.clone();
    let target = config.target.name.clone();
    let mut session = Session::open(Arc::new(config), narrate::to_terminal(global.no_tty))?;
    // A trial whose undo failed may still hold its change: a person may ask for it once more.
    let mut kept = session.ledger().kept(&target)?;
    kept.extend(session.ledger().needing_human(&target)?);
    kept.sort_by_key(|trial| trial.id);
    let open = session.ledger().open_trial(&target)?;
    let open = open.filter(|open| args.id.is_none_or(|id| open.id == TrialId(id)));
    let chosen: Vec<Trial> = match args.id {
        Some(id) => kept.iter().filter(|trial| trial.id == TrialId(id)).cloned().collect(),
        None if args.last && open.is_some() => vec![],
        None if args.last => kept.last().cloned().into_iter().collect(),
        None => kept.clone(),
    };
    let mut out = std::io::stdout().lock();
    if chosen.is_empty() && open.is_none() {
        if let Some(id) = args.id {
            let ids: Vec<String> = kept.iter().map(|trial| trial.id.to_string()).collect();
            let ids = if ids.is_empty() { "none".to_owned() } else { ids.join(", ") };
            eprintln!("leverd: trial {id} holds no kept change; those that do: {ids}");
            return Ok(ExitCode::from(EXIT_FAILED));
        }
        writeln!(out, "Nothing to put back: leverd keeps no change on {target}.")?;
        return Ok(ExitCode::from(EXIT_DONE));
    }
    if args.print {
        for trial in open.iter().chain(chosen.iter().rev()) {
            writeln!(out, "# trial {}: {} = {}", trial.id, trial.plan.parameter, trial.plan.to)?;
            for line in session.undo_commands(trial) {
                writeln!(out, "{line}")?;
            }
        }
        return Ok(ExitCode::from(EXIT_DONE));
    }
    let _lock = match Lock::take(&lock_path) {
        Ok(lock) => lock,
        Err(error @ LockError::Held { .. }) => {
            eprintln!("leverd: {error}");
            eprintln!("  hint: stop it first (it parks an open trial), or use `leverd rollback --print`");
            return Ok(ExitCode::from(EXIT_TRY_LATER));
        }
        Err(error) => return Err(error.into()),
    };
    let mut code = EXIT_DONE;
    if open.is_some()
        && let Some(trial) = session.put_back_open_trial().await?
    {
        writeln!(out, "{}", render::ending(&trial))?;
    }
    for undone in roll_back(&mut session, chosen).await? {
        let trial = &undone.trial;
        match &undone.failed {
            None => writeln!(
                out,
                "Trial {}: {} is {} again",
                trial.id,
                trial.plan.parameter,
                trial.plan.from.as_deref().unwrap_or("absent")
            )?,
            Some(error) => {
                code = EXIT_FAILED;
                let hint = error.hint().map(|hint| format!("\n  hint: {hint}")).unwrap_or_default();
                eprintln!(
                    "leverd: trial {} ({}) could not be put back: {error}{hint}",
                    trial.id, trial.plan.lever
                );
            }
        }
    }
    Ok(ExitCode::from(code))
}
