//! `leverd migrate`: moving a database into a PostgreSQL.
//!
//! Exit codes: 0 all is there; 1 it is not, or rows were rejected; 64 the file or the plan is wrong; 75 another run has
//! the target. One file a subcommand; beside them what is pure (`course`, `eta`, `outline`, `history`, `calibration`,
//! `report`) and what is the terminal's (`progress`, `terminal`, `verbosity`).

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
mod outline;
mod plan;
mod progress;
mod report;
mod run;
mod scratch;
mod session;
mod settings_file;
mod status;
mod target_look;
mod terminal;
mod verbosity;
mod verify;

use super::{EXIT_BAD_CONFIG, Global};
use crate::config::{self, Machine, MigrationConfig};
use crate::migrate::adjust::Settings;
use crate::migrate::brain::Decider;
use crate::migrate::brain::learner::Records;
use crate::migrate::run::{Adjusting, Start};
use crate::migrate::state::Who;
use anyhow::Context;
use chrono::{DateTime, Utc};
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
    Resume,
    /// Show the runs that the target knows, and how far the open ones are
    Status,
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
    let config = match load(global) {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    match args.command {
        Command::Plan => plan::run(global, &config).await,
        Command::Run(args) => {
            run::run(global, &config, Start::New { id: new_id(), replace: args.replace }).await
        }
        Command::Resume => run::run(global, &config, Start::Resume).await,
        Command::Status => status::run(global, &config).await,
        Command::Verify(args) => verify::run(global, &config, &args).await,
        Command::Calibrate(args) => calibrate::run(global, &config, &args).await,
        Command::Forget(args) => forget::run(global, &config, &args).await,
    }
}

#[expect(clippy::disallowed_methods, reason = "the command line reads the clock, and passes it on")]
fn now() -> DateTime<Utc> {
    Utc::now()
}

fn load(global: &Global) -> Result<MigrationConfig, ExitCode> {
    let file = global.config.clone().unwrap_or_else(|| PathBuf::from(FILE));
    config::load_migration(&file, &|name| std::env::var(name).ok(), machine()).map_err(|errors| {
        eprintln!("{errors}");
        ExitCode::from(EXIT_BAD_CONFIG)
    })
}

/// What the defaults depend on.
fn machine() -> Machine {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes = total.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    Machine { cores, memory_bytes: kilobytes.unwrap_or(0) * 1024 }
}

/// What the settings are adjusted by. A service that cannot be asked is told, and the rules decide.
fn adjusting(config: &MigrationConfig) -> Adjusting {
    let decider = Decider::new(&config.ai, Records::default()).unwrap_or_else(|error| {
        if config.settings.ai_adjust {
            tracing::warn!("{error}: the rules decide");
        }
        Decider::Rules { unconfigured: true }
    });
    let machine = machine();
    let cores = (machine.cores > 0).then_some(machine.cores as f64);
    let memory_mb = (machine.memory_bytes > 0).then_some(machine.memory_bytes as f64 / 1_048_576.0);
    Adjusting { decider, compare: crate::judge::compare, machine: (cores, memory_mb) }
}

fn jobs() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
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
