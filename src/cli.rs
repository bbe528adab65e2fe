//! Arguments → command → exit code. One file a subcommand; stdout is data, stderr is logs.
//!
//! Exit codes: 0 done, 1 failed, 64 bad configuration, 75 try later.

mod approve;
mod baseline;
mod check;
mod configured;
mod documents;
mod exporter;
mod gauntlet;
mod health;
mod history;
mod listening;
mod logs;
mod migrate;
mod narrate;
mod plan;
mod render;
mod rollback;
mod run;
mod sandbox;
mod service;
mod signals;
mod status;
mod thaw;
mod tune;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Done.
pub const EXIT_DONE: u8 = 0;
/// Failed.
pub const EXIT_FAILED: u8 = 1;
/// The configuration is wrong; nothing was started.
pub const EXIT_BAD_CONFIG: u8 = 64;
/// Nothing is wrong with the request, but it cannot be served now.
pub const EXIT_TRY_LATER: u8 = 75;

#[derive(Debug, Parser)]
#[command(name = "leverd", version, about, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options that every command takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Global {
    /// The configuration [default: config/leverd.yaml where it has a target, else the running sandbox's]
    #[arg(long, short, global = true, env = "LEVERD_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// No progress bars and no colour
    #[arg(long, global = true)]
    pub(crate) no_tty: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sample the signals and write down what is normal
    Baseline(baseline::Args),
    /// Show what would be done now, why, and what was passed over; change nothing
    Plan(plan::Args),
    /// Run the loop until the levels are met
    Tune(tune::Args),
    /// Show the signals against their levels, open trials, and kept changes
    Status(status::Args),
    /// List the trials with their verdicts
    History(history::Args),
    /// Put kept changes back
    Rollback(rollback::Args),
    /// Say yes to a plan that waits for a person
    Approve(approve::Args),
    /// Say no to a plan that waits for a person
    Reject(approve::Args),
    /// Let leverd use a lever again that a person's edit froze
    Thaw(thaw::Args),
    /// Check the configuration, and everything that it names
    Check(check::Args),
    /// Serve metrics of the host and of Postgres
    Exporter(exporter::Args),
    /// A private Postgres, Prometheus and load to try leverd on
    Sandbox(sandbox::Args),
    /// Run scenarios under leverd and under other strategies, and compare
    Gauntlet(gauntlet::Args),
    /// Move a database into a PostgreSQL
    Migrate(migrate::Args),
    /// The daemon: the loop, for ever
    Run(run::Args),
    /// Install leverd as a service of systemd or launchd, take it away again, show it
    Service(service::Args),
    /// Ask a running leverd whether it is well
    Health(health::Args),
    /// Print what a shell needs to complete leverd's commands
    Completions(documents::Completions),
    /// Write the manual's pages
    Man(documents::Man),
}

/// Runs the command line's command, on a runtime of the size that it needs.
pub fn main() -> ExitCode {
    let Cli { global, command } = Cli::parse();
    // Fault points die here only: a release build has none that anyone could switch on.
    let _faults = cfg!(debug_assertions).then(fail::FailScenario::setup);
    let level = match command {
        Command::Run(_) | Command::Exporter(_) => "info",
        Command::Sandbox(ref args) if args.serves() => "info",
        _ => "warn",
    };
    match &command {
        Command::Migrate(args) => args.start_log(global.no_tty),
        _ => logs::start(level, global.no_tty),
    }
    // The exporter is to cost next to nothing: one thread serves it, and saves the memory of the others.
    let mut runtime = match command {
        Command::Exporter(_) => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let done = match runtime.worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime.block_on(dispatch(&global, command)),
        Err(error) => Err(anyhow::Error::new(error).context("the runtime cannot start")),
    };
    done.unwrap_or_else(|error| {
        eprintln!("leverd: {error:#}");
        ExitCode::from(EXIT_FAILED)
    })
}

async fn dispatch(global: &Global, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Baseline(args) => baseline::run(global, args).await,
        Command::Plan(args) => plan::run(global, args).await,
        Command::Tune(args) => tune::run(global, args).await,
        Command::Status(args) => status::run(global, args).await,
        Command::History(args) => history::run(global, args).await,
        Command::Rollback(args) => rollback::run(global, args).await,
        Command::Approve(args) => approve::run(global, args, true).await,
        Command::Reject(args) => approve::run(global, args, false).await,
        Command::Thaw(args) => thaw::run(global, args).await,
        Command::Check(args) => check::run(global, args).await,
        Command::Exporter(args) => exporter::run(global, args).await,
        Command::Sandbox(args) => sandbox::run(global, args).await,
        Command::Gauntlet(args) => gauntlet::run(global, args).await,
        Command::Migrate(args) => migrate::run(global, args).await,
        Command::Run(args) => run::run(global, args).await,
        Command::Service(args) => service::run(global, &args),
        Command::Health(args) => health::run(args).await,
        Command::Completions(args) => documents::completions(&args),
        Command::Man(args) => documents::man(&args),
    }
}
