//! `leverd thaw`: a person says that a frozen lever may be used again.

use super::{EXIT_DONE, EXIT_FAILED, Global, configured};
use crate::daemon::clock;
use crate::ledger::Ledger;
use crate::model::LeverName;
use std::io::Write;
use std::process::ExitCode;

/// Arguments of `leverd thaw`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The lever, as `leverd status` lists it
    #[arg(required_unless_present = "all")]
    lever: Option<String>,
    /// Every frozen lever
    #[arg(long, conflicts_with = "lever")]
    all: bool,
}

/// Runs it. What stands in the file stays: it is the person's.
#[expect(clippy::unused_async, reason = "every command has the same form")]
pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<ExitCode> {
    let config = match configured::load_config(global) {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    let ledger = Ledger::open(&config.paths.ledger)?;
    let target = &config.target.name;
    let frozen: Vec<LeverName> = ledger.frozen(target)?.into_iter().map(|row| row.lever).collect();
    let wanted = match args.lever {
        Some(name) => vec![LeverName::new(name)],
        None => frozen.clone(),
    };
    let mut out = std::io::stdout().lock();
    for lever in &wanted {
        if !frozen.contains(lever) {
            let names: Vec<&str> = frozen.iter().map(LeverName::as_str).collect();
            eprintln!(
                "leverd: {lever} is not frozen; frozen are: {}",
                if names.is_empty() { "none".into() } else { names.join(", ") }
            );
            return Ok(ExitCode::from(EXIT_FAILED));
        }
        ledger.thaw(target, lever, clock::now())?;
        writeln!(out, "{lever} may be used again; what stands in its place now stays as it is")?;
    }
    Ok(ExitCode::from(EXIT_DONE))
}
