//! `leverd gauntlet`: scenarios under several strategies, measured alike.
//!
//! Exit codes: 0 every run was measured, whatever came of it; 1 a run failed, or it was stopped; 64 an argument or a
//! scenario is wrong; 75 a strategy could not be used now, or another gauntlet is at work here.

use super::{EXIT_BAD_CONFIG, EXIT_DONE, EXIT_FAILED, EXIT_TRY_LATER, Global, signals};
use crate::config;
use crate::gauntlet::{self, Asked, Book, Event, Kind, Outcome, Program, Run, Style};
use crate::sandbox::Scenario;
use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Where everything of the gauntlet is, under the project.
const FOLDER: &str = ".leverd/gauntlet";

/// Arguments of `leverd gauntlet`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The record of all runs, as JSON; runs that it has are not made again [default: .leverd/gauntlet/runs.json].
    /// With `--json` and no FILE, JSON goes to stdout too
    #[arg(value_name = "FILE")]
    record: Option<PathBuf>,
    /// The scenarios of this folder alone [default: config/scenarios, and those that leverd was built with]
    #[arg(long, value_name = "DIR")]
    scenarios: Option<PathBuf>,
    /// leverd, playbook, pgtune, random, optuna
    #[arg(
        long,
        value_name = "NAME,…",
        value_delimiter = ',',
        default_value = "leverd,playbook,pgtune,random,optuna"
    )]
    strategies: Vec<Kind>,
    /// This scenario alone; may be given more than once
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// How often each scenario is run under each strategy
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: u32,
    /// What chance is drawn from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Cycles that a strategy has
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    cycles: u32,
    /// The chart [default: beside the record, ending in .svg]
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// Runs it.
pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<ExitCode> {
    let here = std::env::current_dir().context("finding the current folder")?;
    let record = here.join(args.record.clone().unwrap_or_else(|| PathBuf::from(FOLDER).join("runs.json")));
    let svg = args.svg.as_ref().map_or_else(|| record.with_extension("svg"), |svg| here.join(svg));
    let _lock = match lock(&here.join(FOLDER))? {
        Some(lock) => lock,
        None => {
            let hint = "wait for it, or run this one in another folder";
            return Ok(refuse("another gauntlet is at work in this folder", Some(hint), EXIT_TRY_LATER));
        }
    };
    let original = std::env::current_exe().context("finding leverd's own program")?;
    let program = Program::install(&original, &here.join(FOLDER).join("leverd"))?;
    let asked = match asked(&here, &args, program) {
        Ok(asked) => asked,
        Err((words, hint)) => return Ok(refuse(&words, hint, EXIT_BAD_CONFIG)),
    };
    let mut book = match Book::open(&record) {
        Ok(book) => book,
        Err(error) => return Ok(refuse(&error.to_string(), error.hint(), EXIT_BAD_CONFIG)),
    };
    let stop = CancellationToken::new();
    let narrator = Narrator::new(global);
    let tell = |event: Event<'_>| narrator.tell(&event);
    let work = gauntlet::run(&asked, &mut book, &load, &stop, &tell);
    let end = signals::until_stopped(work, &stop).await;
    narrator.end();
    let end = end?;

    let jobs = gauntlet::jobs(&asked);
    let runs: Vec<&Run> = jobs.iter().filter_map(|job| book.of(&job.key, &job.fingerprint)).collect();
    let (lines, totals) = (gauntlet::summarise(&runs), gauntlet::totals(&runs));
    gauntlet::replace(&svg, &gauntlet::chart(&lines))?;
    let mut out = std::io::stdout().lock();
    if global.json && args.record.is_none() {
        let skipped: std::collections::BTreeMap<_, _> =
            end.skipped.iter().map(|(kind, why)| (kind.name(), why)).collect();
        let value = serde_json::json!({
            "lines": lines, "totals": totals, "skipped": skipped, "stopped": end.stopped, "runs": runs,
        });
        writeln!(out, "{value:#}")?;
    } else {
        write!(out, "{}", gauntlet::table(&lines, &totals, &end.skipped, style(global)))?;
    }
    eprintln!("the record is {}, the chart {}", record.display(), svg.display());
    if end.stopped {
        eprintln!("leverd: stopped; the sandbox is down, and the same command goes on from here");
    }
    let failed = runs.iter().any(|run| matches!(run.outcome, Outcome::Failed(_)));
    Ok(ExitCode::from(match () {
        () if failed || end.stopped => EXIT_FAILED,
        () if !end.skipped.is_empty() => EXIT_TRY_LATER,
        () => EXIT_DONE,
    }))
}

/// The arguments, checked; or what is wrong with them, and a hint.
fn asked(here: &Path, args: &Args, program: Program) -> Result<Asked, (String, Option<&'static str>)> {
    let mut scenarios = scenarios(here, args.scenarios.as_deref())?;
    for name in &args.only {
        if !scenarios.iter().any(|scenario| scenario.name == *name) {
            let names: Vec<&str> = scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
            return Err((format!("--only: found `{name}`; allowed: {}", names.join(", ")), None));
        }
    }
    if !args.only.is_empty() {
        scenarios.retain(|scenario| args.only.contains(&scenario.name));
    }
    let file = here.join("config/levers.yaml");
    let hint = Some("run it in a project's folder: one with a config/levers.yaml");
    let levers = std::fs::read_to_string(&file)
        .map_err(|error| (format!("{} cannot be read: {error}", file.display()), hint))?;
    let mut strategies = args.strategies.clone();
    strategies.sort();
    strategies.dedup();
    Ok(Asked {
        folder: here.join(FOLDER).join("folders"),
        optuna: here.join(".leverd/optuna"),
        program,
        levers,
        scenarios,
        strategies,
        repeat: args.repeat,
        seed: args.seed,
        cycles: args.cycles,
    })
}

/// Those of a named folder alone; else the project's with the shipped ones.
fn scenarios(here: &Path, named: Option<&Path>) -> Result<Vec<Scenario>, (String, Option<&'static str>)> {
    let folder = named.map_or_else(|| here.join("config/scenarios"), |folder| here.join(folder));
    let mut scenarios = Scenario::all(&folder).map_err(|error| (error.to_string(), error.hint()))?;
    if named.is_some() {
        let unreadable =
            |error: std::io::Error| (format!("--scenarios: {}: {error}", folder.display()), None);
        let mut texts = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.is_file() {
                texts.extend(std::fs::read_to_string(&path).ok());
            }
        }
        scenarios.retain(|scenario| texts.contains(&scenario.text));
        if scenarios.is_empty() {
            return Err((format!("--scenarios: {} holds no scenario (*.yaml)", folder.display()), None));
        }
    }
    Ok(scenarios)
}

fn load(file: &Path) -> Result<(config::Config, Option<crate::model::Baseline>), String> {
    let config = config::load(file, &|name| std::env::var(name).ok()).map_err(|errors| errors.to_string())?;
    let baseline = config::read_baseline(&config.paths.baseline, &config.signals);
    let baseline = baseline.map_err(|errors| errors.to_string())?;
    Ok((config, baseline))
}

/// `None`: somebody holds it.
fn lock(folder: &Path) -> anyhow::Result<Option<File>> {
    let path = folder.join("lock");
    std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("opening {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("locking {}", path.display())),
    }
}

fn refuse(words: &str, hint: Option<&str>, code: u8) -> ExitCode {
    eprintln!("leverd: {words}");
    if let Some(hint) = hint {
        eprintln!("hint: {hint}");
    }
    ExitCode::from(code)
}

fn style(global: &Global) -> Style {
    let look = super::history::Look::of_this_terminal(global);
    let width = look.terminal.then(|| comfy_table::Table::new().width()).flatten();
    Style { width, colour: look.colour }
}

/// Tells a person how far it is: a bar at a terminal, else a line a run. On stderr.
struct Narrator {
    bar: Option<ProgressBar>,
    doing: Mutex<String>,
}

impl Narrator {
    fn new(global: &Global) -> Self {
        let bars = !global.no_tty && std::io::stderr().is_terminal();
        let bar = bars.then(|| {
            let style = ProgressStyle::with_template("{spinner} [{bar:24}] {pos}/{len} {elapsed} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::new(1).with_style(style);
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { bar, doing: Mutex::default() }
    }

    fn tell(&self, event: &Event<'_>) {
        match event {
            Event::Resumed(count) => {
                let runs = if *count == 1 { "run is" } else { "runs are" };
                self.line(&format!("{count} {runs} in the record already"));
            }
            Event::Skipped(kind, why) => self.line(&format!("{kind} is skipped: {why}")),
            Event::Begin { key, number, of, left } => {
                let left = left.map_or_else(String::new, |left| format!(", {} left", spoken(left)));
                let text = format!("{key}{left}");
                match &self.bar {
                    Some(bar) => {
                        bar.set_length(*of as u64);
                        bar.set_position(*number as u64 - 1);
                    }
                    None => eprintln!("run {number} of {of}: {text}"),
                }
                self.message(&text, "");
            }
            Event::Doing(what) => self.message("", what),
            Event::Done(run) => self.line(&done(run)),
        }
    }

    /// The run stays, what it does changes.
    fn message(&self, run: &str, what: &str) {
        let Ok(mut doing) = self.doing.lock() else { return };
        if !run.is_empty() {
            run.clone_into(&mut doing);
        }
        if let Some(bar) = &self.bar {
            bar.set_message(if what.is_empty() { doing.clone() } else { format!("{doing}: {what}") });
        }
    }

    fn line(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `wal-storm, leverd, 1: solved in 1 cycle, 41 s outside of the levels`.
fn done(run: &Run) -> String {
    match &run.outcome {
        Outcome::Failed(why) => format!("{}: failed: {why}", run.key),
        Outcome::Measured(one) => {
            let word = if one.solved { "solved".to_owned() } else { format!("not solved ({})", one.why) };
            let cycles =
                if one.cycles == 1 { "1 cycle".to_owned() } else { format!("{} cycles", one.cycles) };
            format!("{}: {word}, {cycles}, {:.0} s outside of the levels", run.key, one.exposure.outside_s)
        }
    }
}

/// `1 h 05 min`, `12 min`, `40 s`.
fn spoken(time: Duration) -> String {
    let minutes = (time.as_secs() + 30) / 60;
    match minutes {
        _ if time.as_secs() < 60 => format!("{} s", time.as_secs()),
        minutes if minutes < 60 => format!("{minutes} min"),
        minutes => format!("{} h {:02} min", minutes / 60, minutes % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_spoken() {
        let of = |seconds| spoken(Duration::from_secs(seconds));
        assert_eq!([of(40), of(60), of(720), of(3900)], ["40 s", "1 min", "12 min", "1 h 05 min"]);
    }

    #[test]
    fn a_named_folder_is_alone_and_a_wrong_name_lists_what_there_is() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let parse = |words: &[&str]| {
            use clap::Parser;
            #[derive(Debug, clap::Parser)]
            struct Line {
                #[command(flatten)]
                args: Args,
            }
            Line::parse_from([&["gauntlet"], words].concat()).args
        };
        let asked_of = |root: &Path, args: &Args| {
            asked(root, args, Program { path: PathBuf::from("leverd"), build: String::new() })
        };
        let error = asked_of(root, &parse(&["--only", "storm"])).unwrap_err().0;
        assert!(
            error.starts_with("--only: found `storm`; allowed: ") && error.contains("wal-storm"),
            "{error}"
        );
        let both =
            asked_of(root, &parse(&["--only", "healthy,wal-storm", "--strategies", "random,leverd,random"]))
                .unwrap();
        assert_eq!(both.scenarios.len(), 2);
        assert_eq!(both.strategies, [Kind::Leverd, Kind::Random]);

        let folder = tempfile::tempdir().unwrap();
        let named = folder.path().to_str().unwrap();
        assert!(asked_of(root, &parse(&["--scenarios", named])).unwrap_err().0.contains("holds no scenario"));
        let mine = include_str!("../../config/scenarios/healthy.yaml").replace("name: healthy", "name: mine");
        gauntlet::replace(&folder.path().join("mine.yaml"), &mine).unwrap();
        let alone = asked_of(root, &parse(&["--scenarios", named])).unwrap();
        assert_eq!(alone.scenarios.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["mine"]);
        let elsewhere = asked_of(folder.path(), &parse(&[])).unwrap_err();
        assert!(elsewhere.0.contains("levers.yaml cannot be read"), "{elsewhere:?}");
    }
}
