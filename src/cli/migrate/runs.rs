//! `leverd migrate history`: earlier runs and what was adjusted in them, as the ledger has them.
//!
//! In: the ledger, which is only read. Out: a table of runs with their adjustments, or all of it as JSON. Always holds:
//! no database is asked, so it works where none can be reached; a run that was resumed stands there once for each
//! process that worked on it; of a process that told no ending nothing is claimed.

use super::figures::{counted, named, sized, spoken_s};
use super::ledger::{Place, find};
use crate::cli::{EXIT_DONE, EXIT_FAILED, EXIT_TRY_LATER, Global, render};
use crate::config::MigrationConfig;
use crate::ledger::{Ledger, LedgerError, Migration, MigrationAdjustment, MigrationEnding, verdict_word};
use anyhow::Context;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Adjustments that the text shows, those of the youngest runs first.
const MOST_ADJUSTMENTS: usize = 60;
/// What is told of a process without an ending.
const OPEN: &str = "running, or killed: `leverd migrate status -c FILE` tells";
/// What is not known.
const UNKNOWN: &str = "—";

/// Arguments of `leverd migrate history`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show this run alone, with the reasons of its adjustments
    #[arg(value_name = "RUN")]
    run: Option<String>,
    /// How many runs, the newest first; a resumed run counts as often as it was worked on
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

/// Runs it. 0: told; 1: there is no such run, or no history; 75: the ledger is locked.
pub(super) async fn run(
    global: &Global,
    ledger: Option<&Path>,
    config: Option<&MigrationConfig>,
    args: &Args,
) -> anyhow::Result<ExitCode> {
    let path = match find(ledger, config) {
        Place::At(path) => path,
        Place::Nowhere(why) => {
            eprintln!("leverd: there is no history: {why}");
            return Ok(ExitCode::from(EXIT_FAILED));
        }
    };
    let (wanted, limit, is_named) = (args.run.clone(), args.limit, ledger.is_some());
    let reading = tokio::task::spawn_blocking(move || read(path, wanted.as_deref(), limit, is_named));
    let migrations = match reading.await.context("reading the ledger")? {
        Ok(migrations) => migrations,
        Err(error) => return Ok(tell(&error)),
    };
    if let Some(run) = &args.run
        && migrations.is_empty()
    {
        eprintln!("leverd: the history has no run {run}; `leverd migrate history` lists those that it has");
        return Ok(ExitCode::from(EXIT_FAILED));
    }
    let whole = args.run.is_some();
    let mut out = std::io::stdout().lock();
    if global.json {
        let values: Vec<Value> = migrations.iter().map(|migration| value(migration, whole)).collect();
        writeln!(out, "{:#}", Value::from(values))?;
    } else {
        write!(out, "{}", text(&migrations, whole))?;
    }
    Ok(ExitCode::from(EXIT_DONE))
}

/// Where nobody named it, a ledger that is not there yet has no run.
fn read(path: PathBuf, run: Option<&str>, limit: u32, is_named: bool) -> Result<Vec<Migration>, LedgerError> {
    let ledger = match Ledger::open_existing(&path) {
        Err(LedgerError::Missing { .. }) if !is_named => return Ok(Vec::new()),
        opened => opened?,
    };
    match run {
        Some(run) => ledger.migrations_of(run, limit),
        None => ledger.migrations(limit),
    }
}

fn tell(error: &LedgerError) -> ExitCode {
    eprintln!("leverd: {error}");
    if let Some(hint) = error.hint() {
        eprintln!("  hint: {hint}");
    }
    let later = matches!(error, LedgerError::Locked { .. });
    ExitCode::from(if later { EXIT_TRY_LATER } else { EXIT_FAILED })
}

/// For people, with a line ending.
fn text(migrations: &[Migration], whole: bool) -> String {
    if migrations.is_empty() {
        return "No migration is in the history yet.\n".to_owned();
    }
    let mut rows =
        render::table(&["run", "began (UTC)", "from", "into", "ended", "rows", "rejected", "copying"]);
    for migration in migrations {
        rows.add_row(vec![
            migration.run.clone(),
            migration.began_at.format("%Y-%m-%d %H:%M").to_string(),
            migration.source.clone(),
            migration.target.clone(),
            ended(migration),
            rows_of(migration),
            if migration.rejected == 0 { "—".to_owned() } else { counted(migration.rejected) },
            copying(migration),
        ]);
    }
    let mut text = format!("{rows}\n");
    for migration in migrations {
        let why = if migration.ending.is_none() { Some(OPEN) } else { migration.why.as_deref() };
        if let Some(why) = why {
            let _ = writeln!(text, "{}: {why}", migration.run);
        }
    }
    adjustments(&mut text, migrations, whole);
    text
}

/// Whether it told what it had done.
fn has_told(migration: &Migration) -> bool {
    migration.ended_at.is_some()
}

/// `complete`, `failed, resumed`, `no word yet`.
fn ended(migration: &Migration) -> String {
    let resumed = if migration.resumed { ", resumed" } else { "" };
    let ending = migration.ending.map_or("no word yet", MigrationEnding::word);
    format!("{ending}{resumed}")
}

fn rows_of(migration: &Migration) -> String {
    if has_told(migration) { counted(migration.rows) } else { UNKNOWN.to_owned() }
}

/// `60 s, 48 MB/s`.
fn copying(migration: &Migration) -> String {
    if !has_told(migration) {
        return UNKNOWN.to_owned();
    }
    let time = spoken_s(migration.copying_seconds);
    match migration.bytes_per_second {
        // What is no number, or below 0, becomes 0.
        Some(bytes) => format!("{time}, {}/s", sized(bytes as u64)),
        None => time,
    }
}

fn adjustments(text: &mut String, migrations: &[Migration], whole: bool) {
    let all: usize = migrations.iter().map(|migration| migration.adjustments.len()).sum();
    if all == 0 {
        let is_known = migrations.iter().all(has_told);
        text.push_str(if is_known { "No setting was adjusted.\n" } else { "No adjustment is known.\n" });
        return;
    }
    let mut room = MOST_ADJUSTMENTS;
    for migration in migrations.iter().filter(|migration| !migration.adjustments.is_empty()) {
        if room == 0 {
            break;
        }
        let count = named(migration.adjustments.len() as u64, "adjustment");
        let _ = writeln!(text, "\n{} of run {}:", count, migration.run);
        for adjustment in migration.adjustments.iter().take(room) {
            let _ = writeln!(text, "  {}. {} (by {})", adjustment.number, adjustment.outcome, adjustment.by);
            if whole {
                let _ = writeln!(text, "     because: {}", adjustment.reasoning);
            }
        }
        room = room.saturating_sub(migration.adjustments.len());
    }
    if all > MOST_ADJUSTMENTS {
        let more = named((all - MOST_ADJUSTMENTS) as u64, "more adjustment");
        let _ = writeln!(text, "\nand {more} (--json has all of them)");
    }
}

/// For programs; what is not known is null. `whole`: with what was told at the run's end.
fn value(migration: &Migration, whole: bool) -> Value {
    let adjustments: Vec<Value> = migration.adjustments.iter().map(adjustment_value).collect();
    let has_told = has_told(migration);
    let mut value = json!({
        "run": migration.run,
        "source": migration.source,
        "target": migration.target,
        "began_at": migration.began_at,
        "ended_at": migration.ended_at,
        "resumed": migration.resumed,
        "ending": migration.ending.map(MigrationEnding::word),
        "why": migration.why,
        "rows": has_told.then_some(migration.rows),
        "rejected": has_told.then_some(migration.rejected),
        "bytes_per_second": migration.bytes_per_second,
        "copying_s": has_told.then_some(migration.copying_seconds),
        "adjustments": adjustments,
    });
    if whole {
        let report = migration.report.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
        value["report"] = report.unwrap_or(Value::Null);
    }
    value
}

fn adjustment_value(adjustment: &MigrationAdjustment) -> Value {
    json!({
        "number": adjustment.number,
        "setting": adjustment.setting,
        "before": adjustment.before,
        "after": adjustment.after,
        "by": adjustment.by,
        "reasoning": adjustment.reasoning,
        "verdict": adjustment.verdict.map(verdict_word),
        "change": adjustment.change,
        "outcome": adjustment.outcome,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::fixtures::migration;

    #[test]
    fn earlier_runs_are_listed_with_what_was_adjusted() {
        let failed = Migration {
            ending: Some(MigrationEnding::Failed),
            resumed: true,
            why: Some("the target: it is gone".to_owned()),
            adjustments: Vec::new(),
            bytes_per_second: None,
            ..migration("r2")
        };
        let text = text(&[failed.clone(), migration("r1")], false);
        assert!(text.contains("\nr2: the target: it is gone\n"), "{text}");
        assert!(
            text.ends_with(
                "\n1 adjustment of run r1:\n  1. scale_up: writers 4 -> 6: kept, rows per second +12.5 % (faster) (by \
                 rules)\n"
            ),
            "{text}"
        );
        assert!(text.contains("1,000,000") && !text.contains("because"), "{text}");
        assert_eq!((ended(&failed).as_str(), copying(&failed).as_str()), ("failed, resumed", "60 s"));
        assert_eq!(copying(&migration("r1")), "60 s, 48 MB/s");
    }

    #[test]
    fn of_who_told_no_ending_nothing_is_claimed() {
        let open = Migration {
            ended_at: None,
            ending: None,
            rows: 0,
            bytes_per_second: None,
            copying_seconds: 0.0,
            report: None,
            adjustments: Vec::new(),
            ..migration("r2")
        };
        let killed = Migration {
            ending: Some(MigrationEnding::Killed),
            why: Some("killed: the process ended without a word".to_owned()),
            ..open.clone()
        };
        for (migration, word, line) in [
            (&open, "no word yet", "\nr2: running, or killed: `leverd migrate status -c FILE` tells\n"),
            (&killed, "killed", "\nr2: killed: the process ended without a word\n"),
        ] {
            assert_eq!(ended(migration), word);
            assert_eq!((rows_of(migration), copying(migration)), ("—".to_owned(), "—".to_owned()));
            let text = text(std::slice::from_ref(migration), true);
            assert!(text.contains(line) && text.ends_with("\nNo adjustment is known.\n"), "{text}");
            let value = value(migration, true);
            for key in ["ended_at", "rows", "rejected", "copying_s", "bytes_per_second", "report"] {
                assert!(value[key].is_null(), "{key}: {value}");
            }
        }
        assert_eq!(value(&open, false)["ending"], Value::Null);
        assert_eq!(value(&killed, false)["ending"], "killed");
    }

    #[test]
    fn one_run_has_its_reasons() {
        let text = text(&[migration("r1")], true);
        assert!(text.ends_with("(by rules)\n     because: there is room\n"), "{text}");
    }

    #[test]
    fn without_runs_or_adjustments_it_says_so() {
        assert_eq!(text(&[], false), "No migration is in the history yet.\n");
        let still = Migration { adjustments: Vec::new(), ..migration("r1") };
        assert!(text(&[still], false).ends_with("\nNo setting was adjusted.\n"));
    }

    #[test]
    fn a_long_list_is_cut_and_says_so() {
        let mut busy = migration("r1");
        let first = busy.adjustments[0].clone();
        busy.adjustments = (1..=MOST_ADJUSTMENTS as u32 + 2)
            .map(|number| MigrationAdjustment { number, ..first.clone() })
            .collect();
        let text = text(&[busy, migration("r0")], false);
        assert!(text.contains("62 adjustments of run r1:") && !text.contains("of run r0:"), "{text}");
        assert!(text.contains("\n  60. ") && !text.contains("\n  61. "), "{text}");
        assert!(text.ends_with("\nand 3 more adjustments (--json has all of them)\n"), "{text}");
    }

    #[test]
    fn programs_get_every_run_and_the_report_of_one() {
        let listed = value(&migration("r1"), false);
        assert_eq!((&listed["ending"], &listed["rows"]), (&json!("complete"), &json!(1_000_000)));
        assert_eq!(listed["began_at"], "2024-01-15T10:14:00Z");
        assert_eq!(listed["adjustments"][0]["verdict"], "kept");
        assert!(listed.get("report").is_none());
        assert_eq!(value(&migration("r1"), true)["report"], json!({ "tables": [] }));
    }

    #[test]
    fn a_ledger_that_is_not_there_yet_has_no_run_unless_it_was_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        assert_eq!(read(path.clone(), None, 9, false).unwrap(), []);
        assert!(matches!(read(path.clone(), None, 9, true), Err(LedgerError::Missing { .. })));
        assert!(!path.exists(), "looking back makes nothing");
        let ledger = Ledger::open(&path).unwrap();
        ledger.record_migration(&migration("r1")).unwrap();
        ledger.record_migration(&migration("r2")).unwrap();
        let runs = |run: Option<&str>| -> Vec<String> {
            read(path.clone(), run, 9, true).unwrap().into_iter().map(|migration| migration.run).collect()
        };
        assert_eq!(runs(None), ["r2", "r1"]);
        assert_eq!(runs(Some("r1")), ["r1"]);
        assert!(runs(Some("r3")).is_empty());
    }
}
