//! `leverd migrate calibrate`: tries chunk sizes and numbers of writers on real rows, and proposes where to begin.
//!
//! In: the configuration. Out: a table of what each step brought, and a proposal. Always holds: rows go into the schema
//! `leverd_calibration` of the target and nowhere else; it is dropped at the end, also after an error and Ctrl-C, and
//! so are the runs that filled it; a schema of that name which leverd did not make is never touched; a step ends after
//! so many seconds or rows.
//!
//! A step is a migration of the largest tables that is stopped on its way. Steps go forth and back, so that a cache
//! that becomes warm favours none of them.

use super::calibration::{Proposal, Setting, Step, proposal, rows_per_second, settings_to_try, text};
use super::figures::{counted, listed, named};
use super::{failure, scratch, settings_file};
use crate::cli::{EXIT_BAD_CONFIG, EXIT_DONE, EXIT_FAILED, EXIT_TRY_LATER, Global, signals};
use crate::config::MigrationConfig;
use crate::migrate::adjust::Stage;
use crate::migrate::brain::Decider;
use crate::migrate::brain::learner::Records;
use crate::migrate::progress::Progress;
use crate::migrate::quote::shown;
use crate::migrate::run::{self, Adjusting, MigrateError, Request, Start};
use crate::migrate::schema::TableName;
use crate::migrate::state::StateError;
use serde_json::json;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Arguments of `leverd migrate calibrate`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Write the proposal into the file; the old file is kept
    #[arg(long)]
    apply: bool,
    /// How often each step is tried
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=10))]
    rounds: u32,
    /// How long a step copies at most
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// How many rows a step copies at most
    #[arg(long, value_name = "N", default_value_t = 5_000_000)]
    rows: u64,
}

/// Between two looks at a step. The end of one is seen that much too early or late: of a short one it must be little.
const LOOK: Duration = Duration::from_millis(20);

/// Why there is no calibration.
enum Stopped {
    /// A run, or a server, failed.
    Failed(MigrateError),
    /// Nothing was wrong with a server; the words say what is.
    Refused(String, u8),
}

impl From<MigrateError> for Stopped {
    fn from(error: MigrateError) -> Self {
        Self::Failed(error)
    }
}

/// Runs it. 0: measured; 1: it could not be; 64: there is no plan; 75: a run is at work in the target.
pub(super) async fn run(global: &Global, config: &MigrationConfig, args: &Args) -> anyhow::Result<ExitCode> {
    let stop = CancellationToken::new();
    let measured = signals::until_stopped(measured(config, args, &stop), &stop).await;
    let steps = match measured {
        Ok(steps) => steps,
        Err(Stopped::Failed(MigrateError::Stopped)) => {
            eprintln!("leverd: stopped before its end; nothing is proposed");
            return Ok(ExitCode::from(EXIT_FAILED));
        }
        Err(Stopped::Failed(error)) => return Ok(failure::tell(&error)),
        Err(Stopped::Refused(words, code)) => {
            eprintln!("leverd: {words}");
            return Ok(ExitCode::from(code));
        }
    };
    let found = proposal(&steps);
    let applied = match found {
        Proposal::Change { setting, .. } if args.apply => {
            let values = [("chunk_size", setting.chunk_rows), ("write_ahead_writers", setting.writers)];
            Some(settings_file::write(&config.file, &values, super::now())?)
        }
        _ => None,
    };
    let mut out = std::io::stdout().lock();
    if global.json {
        let kept = applied.as_ref().and_then(|kept| kept.as_ref()).map(|kept| kept.display().to_string());
        let value = json!({ "steps": steps, "result": found, "applied": applied.is_some(), "backup": kept });
        writeln!(out, "{value:#}")?;
        return Ok(ExitCode::from(EXIT_DONE));
    }
    write!(out, "{}", text(&steps, &found))?;
    match &applied {
        Some(kept) => {
            eprintln!("wrote {}", config.file.display());
            if let Some(kept) = kept {
                eprintln!("the one before is {}", kept.display());
            }
        }
        None if args.apply => eprintln!("{} stays as it is", config.file.display()),
        None if matches!(found, Proposal::Change { .. }) => eprintln!("--apply writes that into the file"),
        None => {}
    }
    Ok(ExitCode::from(EXIT_DONE))
}

/// Makes the scratch schema, measures, and takes all of it away again.
async fn measured(
    config: &MigrationConfig,
    args: &Args,
    stop: &CancellationToken,
) -> Result<Vec<Step>, Stopped> {
    if config.serves {
        eprintln!("mind: the target serves others, and this loads it as much as it can");
    }
    let plan = run::plan(config).await?;
    let tables = scratch::tables(&plan);
    if tables.is_empty() {
        let words =
            "no table is fit to be tried: it needs 10,000 rows, and no type or default of its schema's own";
        return Err(Stopped::Refused(words.to_owned(), EXIT_FAILED));
    }
    let outside = scratch::made_outside(&run::plan(&scratch::config(config, &tables, own(config))).await?);
    if !outside.is_empty() {
        let words = format!("it would make what stays in the target: {}", listed(&outside, 5));
        return Err(Stopped::Refused(words, EXIT_FAILED));
    }
    if let Some(holder) = scratch::at_work(config).await? {
        return Err(Stopped::Refused(format!("the target is taken: {holder}"), EXIT_TRY_LATER));
    }
    if !scratch::make(config).await? {
        let words = format!("the target has a schema {} that leverd did not make", scratch::SCHEMA);
        return Err(Stopped::Refused(words, EXIT_FAILED));
    }
    let names: Vec<String> = tables.iter().map(shown).collect();
    eprintln!("trying with {}: {}", named(names.len() as u64, "table"), listed(&names, 5));
    let mut runs = Vec::new();
    let steps = rounds(config, args, &tables, stop, &mut runs).await;
    // Whatever came of it, and also while somebody wants it to stop.
    if let Err(error) = scratch::remove(config, &runs).await {
        eprintln!("leverd: the schema {} of the target could not be dropped: {error}", scratch::SCHEMA);
    }
    steps
}

fn own(config: &MigrationConfig) -> Setting {
    Setting { chunk_rows: config.settings.chunk_size, writers: config.settings.write_ahead_writers }
}

/// All steps, forth and back; before them one that does not count, so that none is the first to read.
async fn rounds(
    config: &MigrationConfig,
    args: &Args,
    tables: &[TableName],
    stop: &CancellationToken,
    runs: &mut Vec<String>,
) -> Result<Vec<Step>, Stopped> {
    // A run has sessions of its own in the target, and one that builds.
    let others = config.control_connections() + 1;
    let most_writers = config.settings.max_target_connections.saturating_sub(others).max(1);
    let own = own(config);
    let mut steps: Vec<Step> = settings_to_try(own, most_writers)
        .into_iter()
        .map(|setting| Step { setting, yours: setting == own, rounds: Vec::new() })
        .collect();
    let bounds = Bounds { time: Duration::from_secs(args.seconds.into()), rows: args.rows };
    eprintln!("warming up");
    step(config, tables, own, bounds, stop, runs).await?;
    for round in 1..=args.rounds {
        let mut order: Vec<usize> = (0..steps.len()).collect();
        if round % 2 == 0 {
            order.reverse();
        }
        for at in order {
            let setting = steps[at].setting;
            let rate = step(config, tables, setting, bounds, stop, runs).await?;
            let shown = rate.map_or("too few chunks".to_owned(), |rate| {
                format!("{} rows/s", counted(rate.round() as u64))
            });
            eprintln!(
                "round {round} of {}: chunks of {}, {}: {shown}",
                args.rounds,
                counted(setting.chunk_rows.into()),
                named(setting.writers.into(), "writer"),
            );
            steps[at].rounds.push(rate);
        }
    }
    Ok(steps)
}

/// Where a step ends.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    time: Duration,
    rows: u64,
}

/// One step; rows a second, where enough came.
async fn step(
    config: &MigrationConfig,
    tables: &[TableName],
    setting: Setting,
    bounds: Bounds,
    stop: &CancellationToken,
    runs: &mut Vec<String>,
) -> Result<Option<f64>, Stopped> {
    let config = scratch::config(config, tables, setting);
    let mut attempt = 0;
    loop {
        attempt += 1;
        let id = format!("calibration-{}-{}", super::new_id(), runs.len());
        runs.push(id.clone());
        match tried(&config, id, bounds, stop).await {
            Err(Stopped::Failed(MigrateError::State(StateError::Held(_))))
                if attempt < scratch::TRIES && !stop.is_cancelled() =>
            {
                tokio::time::sleep(scratch::PAUSE).await;
            }
            ended => return ended,
        }
    }
}

async fn tried(
    config: &MigrationConfig,
    id: String,
    bounds: Bounds,
    stop: &CancellationToken,
) -> Result<Option<f64>, Stopped> {
    let began =
        super::settings(config).map_err(|error| Stopped::Refused(format!("{error:#}"), EXIT_BAD_CONFIG))?;
    let progress = Arc::new(Progress::new(began));
    // The scratch configuration adjusts nothing, and a step begins with its own settings.
    let adjusting = Adjusting {
        decider: Decider::Rules { unconfigured: false },
        records: Records::default(),
        tell: |_| {},
        compare: crate::judge::compare,
        machine: (None, None),
    };
    let start = Start::New { id, replace: true };
    let (who, jobs, now) = (super::who(), super::jobs(), super::now());
    let request = Request { config, start, who, jobs, now, adjusting, beside: None };
    let own_stop = stop.child_token();
    let mut work = std::pin::pin!(run::run(request, Arc::clone(&progress), own_stop.clone()));
    let mut samples: Vec<(f64, u64)> = Vec::new();
    let mut copying: Option<Instant> = None;
    let mut looks = tokio::time::interval(LOOK);
    let ended = loop {
        tokio::select! {
            ended = &mut work => break ended,
            _ = looks.tick() => {}
        }
        let view = progress.view();
        if view.stage != Stage::Copying {
            continue;
        }
        let since = *copying.get_or_insert_with(Instant::now);
        samples.push((since.elapsed().as_secs_f64(), view.rows));
        if since.elapsed() >= bounds.time || view.rows >= bounds.rows {
            own_stop.cancel();
        }
    };
    let whole = match ended {
        Ok(_) => true,
        // Stopped by this step and by nobody else.
        Err(MigrateError::Stopped) if !stop.is_cancelled() => false,
        Err(error) => return Err(error.into()),
    };
    if whole && let Some(last) = samples.last_mut() {
        // The last chunks came after the last look.
        last.1 = last.1.max(progress.view().rows);
    }
    Ok(rows_per_second(&samples, whole))
}
