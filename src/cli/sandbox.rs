//! `leverd sandbox`: up, status, down, load.

use super::{EXIT_BAD_CONFIG, EXIT_DONE, EXIT_FAILED, EXIT_TRY_LATER, Global, baseline};
use crate::config;
use crate::sandbox::{self, Health, Options, SandboxError, Scenario, Status, Step, load};
use anyhow::Context;
use clap::Subcommand;
use comfy_table::Table;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Arguments of `leverd sandbox`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

impl Args {
    /// It stays and serves, so it logs what it does.
    pub(crate) fn serves(&self) -> bool {
        matches!(self.command, Command::Load(_) | Command::Supervise { .. } | Command::Neighbour { .. })
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a private Postgres, Prometheus and load; take a baseline; then mis-set it as the scenario says
    Up(Up),
    /// Show each part, and how to reach it
    Status,
    /// End everything that `up` started, and remove it
    Down {
        /// Keep the folder with its data for another `up --keep-data`
        #[arg(long)]
        keep_data: bool,
    },
    /// Run the load program alone
    Load(Load),
    /// Mis-set a healthy sandbox as its scenario says
    #[command(hide = true)]
    Break,
    /// Keep the parts running
    #[command(hide = true)]
    Supervise { folder: PathBuf },
    /// Take the CPU in bursts, as the scenario says
    #[command(hide = true)]
    Neighbour { scenario: PathBuf },
}

#[derive(Debug, clap::Args)]
struct Up {
    /// One of config/scenarios by its name, or a file
    #[arg(long, default_value = "wal-storm", value_name = "NAME|FILE")]
    scenario: String,
    /// Use the data that `down --keep-data` left
    #[arg(long)]
    keep_data: bool,
    /// Stop while all is well: no baseline, no mis-settings
    #[arg(long)]
    healthy: bool,
    /// The folder of Postgres' programs [default: the newest that is found]
    #[arg(long, env = "LEVERD_POSTGRES_BIN", value_name = "FOLDER")]
    postgres_bin: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Load {
    /// The .env with BATCH_SIZE, read again when it changes
    #[arg(long, value_name = "FILE")]
    env: PathBuf,
    /// A file of the same form that wins over the .env; it need not be there
    #[arg(long, value_name = "FILE")]
    turn: Option<PathBuf>,
    /// The Postgres to write to
    #[arg(long)]
    dsn: String,
    /// A file with its password, which then stands in no list of processes
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Make the load's tables first, where they are not there
    #[arg(long)]
    seed: bool,
    /// Where /metrics is served
    #[arg(long, value_name = "ADDRESS")]
    listen: SocketAddr,
    /// The scenario's file
    #[arg(long, value_name = "FILE")]
    scenario: PathBuf,
}

/// Runs it.
pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<ExitCode> {
    let root = std::env::current_dir().context("finding the current folder")?;
    let done = match args.command {
        Command::Up(args) => up(global, &root, args).await,
        Command::Status => status(global, &root).await,
        Command::Down { keep_data } => down(&root, keep_data),
        Command::Load(args) => run_load(args).await,
        Command::Break => break_it(global, &root).await,
        Command::Neighbour { scenario } => {
            let done = sandbox::neighbour(&scenario, interrupted()?).await;
            done.map(|()| EXIT_DONE).map_err(|error| SandboxError::from(error).into())
        }
        Command::Supervise { folder } => {
            sandbox::supervise(&folder).await.map(|()| EXIT_DONE).map_err(anyhow::Error::from)
        }
    };
    done.map(ExitCode::from).or_else(explain)
}

/// A sandbox error with its hint, and the exit code that belongs to it.
fn explain(error: anyhow::Error) -> anyhow::Result<ExitCode> {
    let Some(known) = error.downcast_ref::<SandboxError>() else { return Err(error) };
    eprintln!("leverd: {error:#}");
    if let Some(hint) = known.hint() {
        eprintln!("hint: {hint}");
    }
    Ok(ExitCode::from(match known {
        SandboxError::Scenario(_) => EXIT_BAD_CONFIG,
        known if known.is_temporary() => EXIT_TRY_LATER,
        _ => EXIT_FAILED,
    }))
}

async fn up(global: &Global, root: &Path, args: Up) -> anyhow::Result<u8> {
    let scenario = Scenario::find(root, &args.scenario).map_err(SandboxError::from)?;
    let has_mis_settings = !scenario.broken.is_empty();
    let options = Options {
        root: root.to_owned(),
        scenario,
        program: std::env::current_exe().context("finding leverd's own program")?,
        postgres_bin: args.postgres_bin,
        keep_data: args.keep_data,
    };
    let all = async {
        let bar = bar(global);
        #[expect(clippy::disallowed_methods, reason = "the moment of the command, written into the state")]
        let now = chrono::Utc::now();
        let up = sandbox::up(&options, now, &|step| show(&bar, step)).await?;
        bar.finish_and_clear();
        for warning in &up.warnings {
            eprintln!("leverd: {warning}");
        }
        if !args.healthy {
            take_baseline(global, &up.config).await?;
            if has_mis_settings {
                break_it(global, root).await?;
            }
        }
        anyhow::Ok(())
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let interrupted = tokio::select! {
        done = all => { done?; false }
        _ = tokio::signal::ctrl_c() => true,
        _ = terminate.recv() => true,
    };
    if interrupted {
        sandbox::down(root, args.keep_data)?;
        anyhow::bail!("interrupted; what had been started was ended");
    }
    status(global, root).await?;
    Ok(EXIT_DONE)
}

/// Samples the healthy sandbox, so that "normal" is known before it is mis-set.
async fn take_baseline(global: &Global, config: &Path) -> anyhow::Result<()> {
    let config = config::load(config, &|name| std::env::var(name).ok())?;
    let code = baseline::of_a_new_target(global, &config).await?;
    anyhow::ensure!(code == ExitCode::from(EXIT_DONE), "the sandbox gave no baseline");
    Ok(())
}

async fn break_it(global: &Global, root: &Path) -> anyhow::Result<u8> {
    let bar = bar(global);
    sandbox::break_it(root, &|step| show(&bar, step)).await?;
    bar.finish_and_clear();
    Ok(EXIT_DONE)
}

fn down(root: &Path, keep_data: bool) -> anyhow::Result<u8> {
    let down = sandbox::down(root, keep_data)?;
    eprintln!(
        "{}",
        match (down.was_running, down.removed) {
            (true, true) => "the sandbox is down, and its folder is removed",
            (true, false) => "the sandbox is down; its folder is kept",
            (false, true) => "no sandbox was running; its folder is removed",
            (false, false) => "no sandbox was running",
        }
    );
    Ok(EXIT_DONE)
}

async fn status(global: &Global, root: &Path) -> anyhow::Result<u8> {
    let status = sandbox::status(root).await?;
    let text = if global.json { serde_json::to_string_pretty(&status)? } else { render(&status) };
    writeln!(std::io::stdout().lock(), "{text}")?;
    Ok(if status.is_healthy() { EXIT_DONE } else { EXIT_FAILED })
}

fn render(status: &Status) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["part", "pid", "port", "health"]);
    for part in &status.parts {
        let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        let mut health = part.health.to_string();
        if part.restarts > 0 {
            health += &format!(", started again {}×", part.restarts);
        }
        if let Some(exit) = part.last_exit.as_ref().filter(|_| part.health != Health::Up) {
            health += &format!(" ({exit})");
        }
        table.add_row([
            part.name.to_owned(),
            number(part.pid.map(u64::from)),
            number(part.port.map(u64::from)),
            health,
        ]);
    }
    let state = if status.broken { "mis-set" } else { "healthy" };
    let user = status.user.as_ref().map_or_else(String::new, |user| format!(", as user {user}"));
    format!(
        "scenario {} ({state}), since {}{user}\n\n{table}\n\nPostgres    {}\nPrometheus  {}\nconfig      {}\nfolder      {}",
        status.scenario,
        status.started_at.format("%Y-%m-%d %H:%M:%S UTC"),
        status.psql,
        status.prometheus,
        status.config.display(),
        status.folder.display(),
    )
}

async fn run_load(args: Load) -> anyhow::Result<u8> {
    let stopped = interrupted()?;
    let Load { env, turn, dsn, password_file, seed, listen, scenario } = args;
    let password = password_file
        .map(|file| {
            let text = std::fs::read_to_string(&file);
            text.with_context(|| format!("reading the password in {}", file.display()))
        })
        .transpose()?;
    let dsn = config::complete_dsn(&dsn, password.as_deref().map(|text| text.trim_end_matches(['\r', '\n'])))
        .map_err(|(problem, hint)| anyhow::anyhow!("--dsn: {problem}; {hint}"))?;
    load::run(load::Arguments { env, turn, dsn, seed, listen, scenario }, stopped).await?;
    Ok(EXIT_DONE)
}

/// Ready at SIGTERM or Ctrl-C.
fn interrupted() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
    })
}

fn bar(global: &Global) -> ProgressBar {
    if global.no_tty || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{spinner} [{bar:24}] {pos}/{len} {msg}").expect("the template is good");
    let bar = ProgressBar::new(1).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

fn show(bar: &ProgressBar, step: Step<'_>) {
    // Without a terminal: one line a step, not one a second.
    let is_new = !step.what.contains(" of ") || step.what.contains("(0 of ");
    if bar.is_hidden() && is_new {
        eprintln!("sandbox: {}", step.what);
    }
    bar.set_length(u64::from(step.of));
    bar.set_position(u64::from(step.number - 1));
    bar.set_message(step.what.to_owned());
}
