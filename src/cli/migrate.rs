//! `leverd migrate`: moving a database into a PostgreSQL.
//!
//! Exit codes: 0 all is there; 1 it is not, or rows were rejected, or a lever of the target is not given back; 64 the
//! file or the plan is wrong; 75 another run has the target. One file a subcommand; beside them what is pure (`course`,
//! `eta`, `outline`, `history`, `calibration`, `report`), what is the terminal's (`progress`, `terminal`, `verbosity`),
//! the metrics' server (`serving`), the target's own levers (`levers`), and the history in the project's ledger
//! (`ledger`; `runs` lists it).

mod calibrate;
mod calibration;
mod course;
mod eta;
mod failure;
mod figures;
#[cfg(test)]
mod fixtures;
mod forget;
mod history;
mod ledger;
mod levers;
mod outline;
mod plan;
mod progress;
mod report;
mod run;
mod runs;
mod scratch;
mod serving;
mod session;
mod settings_file;
mod status;
mod target_look;
mod terminal;
mod verbosity;
mod verify;

use super::{EXIT_BAD_CONFIG, Global};
use crate::config::{self, ConfigErrors, Machine, MigrationConfig};
use crate::migrate::adjust::Settings;
use crate::migrate::brain::Decider;
use crate::migrate::brain::learner::Records;
use crate::migrate::run::{Adjusting, Start};
use crate::migrate::state::Who;
use crate::observe;
use anyhow::Context;
use chrono::{DateTime, Utc};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use verbosity::Verbosity;

/// What is read where nobody names a file.
const FILE: &str = "config/migration.yaml";

/// Arguments of `leverd migrate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How much is logged; each line then begins with its level
    #[arg(long, global = true, value_enum, value_name = "LEVEL")]
    verbosity: Option<Verbosity>,
    /// The ledger that keeps the history of runs [default: that of the project in this folder, if it is one]
    #[arg(long, global = true, value_name = "FILE")]
    ledger: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show what a run would do, what would be lost, and what becomes of what is in the target; change nothing
    Plan,
    /// Move the rows, and make all that belongs to them
    Run(run::Args),
    /// Go on with the run that was interrupted
    Resume(serving::MetricsArgs),
    /// Show the runs that the target knows, and how far the open ones are
    Status,
    /// List earlier runs and their adjustments, as the project's ledger has them; no database is asked
    History(runs::Args),
    /// Compare the target's rows with the source's
    Verify(verify::Args),
    /// Try settings on some of the rows, in a schema that is dropped again, and propose where to begin
    Calibrate(calibrate::Args),
    /// Give a run up and forget it; rows that it brought stay
    Forget(forget::Args),
}

impl Args {
    /// Starts the log as these arguments have it; `plain`: without colour.
    pub(super) fn start_log(&self, plain: bool) {
        verbosity::start(self.verbosity, plain);
    }
}

/// Runs it.
pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<ExitCode> {
    let ledger = args.ledger.as_deref();
    let config = match load(global) {
        Ok(config) => config,
        Err(errors) => {
            // The history needs no database. A file that was named must be right all the same.
            if let (Command::History(args), None) = (&args.command, &global.config) {
                return runs::run(global, ledger, None, args).await;
            }
            eprintln!("{errors}");
            return Ok(ExitCode::from(EXIT_BAD_CONFIG));
        }
    };
    match args.command {
        Command::Plan => plan::run(global, &config, ledger).await,
        Command::Run(args) => {
            let start = Start::New { id: new_id(), replace: args.replace };
            run::run(global, &config, start, &args.metrics, ledger).await
        }
        Command::Resume(metrics) => run::run(global, &config, Start::Resume, &metrics, ledger).await,
        Command::Status => status::run(global, &config).await,
        Command::History(args) => runs::run(global, ledger, Some(&config), &args).await,
        Command::Verify(args) => verify::run(global, &config, &args).await,
        Command::Calibrate(args) => calibrate::run(global, &config, &args).await,
        Command::Forget(args) => forget::run(global, &config, &args).await,
    }
}

#[expect(clippy::disallowed_methods, reason = "the command line reads the clock, and passes it on")]
fn now() -> DateTime<Utc> {
    Utc::now()
}

fn load(global: &Global) -> Result<MigrationConfig, ConfigErrors> {
    let file = global.config.clone().unwrap_or_else(|| PathBuf::from(FILE));
    config::load_migration(&file, &|name| std::env::var(name).ok(), machine())
}

/// Tells a person one line that no log level hides: in the log where it has lines of its kind, else beside it.
fn say(line: &str) {
    if tracing::enabled!(tracing::Level::INFO) {
        tracing::info!("{line}");
    } else {
        // Nobody has to listen.
        let _ = terminal::stderr().write_all(format!("leverd: {line}\n").as_bytes());
    }
}

/// What the defaults depend on.
fn machine() -> Machine {
    Machine { cores: cores().unwrap_or(0), memory_bytes: observe::own_memory_bytes().unwrap_or(0) }
}

fn cores() -> Option<usize> {
    std::thread::available_parallelism().ok().map(std::num::NonZero::get)
}

/// What the settings are adjusted by. A service that cannot be asked is told, and the rules decide. `records`: of
/// earlier runs.
fn adjusting(config: &MigrationConfig, records: &Records) -> Adjusting {
    let decider = Decider::new(&config.ai, records.clone()).unwrap_or_else(|error| {
        if config.settings.ai_adjust {
            tracing::warn!("{error}: the rules decide");
        }
        Decider::Rules { unconfigured: true }
    });
    let cores = cores().map(|cores| cores as f64);
    let memory_mb = observe::own_memory_bytes().map(|bytes| bytes as f64 / 1_048_576.0);
    Adjusting {
        decider,
        records: records.clone(),
        tell: say,
        compare: crate::judge::compare,
        machine: (cores, memory_mb),
    }
}

fn jobs() -> usize {
    cores().unwrap_or(2)
}

fn who() -> Who {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Who { host: host.trim().to_owned(), pid: std::process::id() }
}

/// A name that sorts by time.
fn new_id() -> String {
    format!("{}-{}", now().format("%Y%m%dT%H%M%S"), std::process::id())
}

/// Where a run begins.
fn settings(config: &MigrationConfig) -> anyhow::Result<Settings> {
    let settings = &config.settings;
    Settings::new(
        settings.write_ahead_writers.into(),
        settings.chunk_size.into(),
        settings.parallel_readers.into(),
        settings.read_ahead_buffers.into(),
    )
    .context("taking the settings to begin with")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parsed(words: &[&str]) -> Result<Args, clap::Error> {
        Line::try_parse_from([&["migrate"], words].concat()).map(|line| line.args)
    }

    #[test]
    fn verbosity_stands_before_or_behind_the_command() {
        for words in [["--verbosity", "debug", "run"], ["run", "--verbosity", "debug"]] {
            assert_eq!(parsed(&words).unwrap().verbosity, Some(Verbosity::Debug));
        }
        assert_eq!(parsed(&["resume"]).unwrap().verbosity, None);
        assert!(parsed(&["run", "--verbosity", "loud"]).is_err());
    }

    #[test]
    fn a_ledger_is_named_before_or_behind_the_command() {
        for words in [["--ledger", "kept.db", "history"], ["history", "--ledger", "kept.db"]] {
            assert_eq!(parsed(&words).unwrap().ledger, Some(PathBuf::from("kept.db")));
        }
        assert_eq!(parsed(&["run"]).unwrap().ledger, None);
        assert!(parsed(&["history", "r1", "--limit", "3"]).is_ok());
        assert!(parsed(&["history", "--limit", "0"]).is_err());
    }

    #[test]
    fn every_command_is_read() {
        let line = parsed(&["run", "--replace"]).unwrap();
        assert!(matches!(line.command, Command::Run(args) if args.replace));
        for words in
            [&["plan"][..], &["status"], &["verify", "--sample", "9"], &["calibrate"], &["forget", "r1"]]
        {
            assert!(parsed(words).is_ok(), "{words:?}");
        }
        for words in [&["forget"][..], &["verify", "--seed", "1"], &["calibrate", "--rounds", "0"], &[]] {
            assert!(parsed(words).is_err(), "{words:?}");
        }
    }
}
