//! The history of migrations in a ledger: written, listed, begun with, and no obstacle where it cannot be used.

use super::pair::Pair;
use crate::support::leverd::both;
use leverd::ledger::{Ledger, Migration, MigrationEnding};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;
use tempfile::TempDir;

const ROWS: &str = "CREATE TABLE t (id int PRIMARY KEY, v text);
     INSERT INTO t SELECT g, repeat('x', 100) FROM generate_series(1, 20000) g; ANALYZE t";

/// `leverd migrate …` with a ledger of the test's own.
fn migrate(pair: &Pair, ledger: &Path, arguments: &[&str], migration: &str) -> Output {
    let ledger = ledger.display().to_string();
    let all: Vec<&str> = arguments.iter().copied().chain(["--ledger", ledger.as_str()]).collect();
    pair.migrate(&all, migration)
}

fn place() -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kept/ledger.db");
    (folder, path)
}

fn listed(pair: &Pair) -> Vec<Value> {
    let output = pair.migrate(&["history", "--json"], "{}");
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_run_that_had_its_target_is_in_the_projects_ledger() {
    let pair = Pair::start(ROWS);
    assert!(listed(&pair).is_empty());
    let early = pair.migrate(&["resume"], "{}");
    assert_eq!(early.status.code(), Some(1), "{}", both(&early));
    assert!(listed(&pair).is_empty(), "there was no run");

    let output = pair.migrate(&["run"], "{chunk_size: 5000}");
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    pair.target("ALTER TABLE t ADD CHECK (id <> 7) NOT VALID");
    let rejected = pair.migrate(&["run"], "{target_mode: truncate}");
    assert_eq!(rejected.status.code(), Some(1), "{}", both(&rejected));
    let runs = listed(&pair);
    assert_eq!(runs.len(), 2, "{runs:?}");
    let of =
        |at: usize| (runs[at]["ending"].as_str(), runs[at]["rows"].as_u64(), runs[at]["rejected"].as_u64());
    assert_eq!(of(0), (Some("incomplete"), Some(19_999), Some(1)));
    assert_eq!(of(1), (Some("complete"), Some(20_000), Some(0)));

    let run = runs[1]["run"].as_str().unwrap();
    let shown = pair.migrate(&["history", run], "{}");
    assert_eq!(shown.status.code(), Some(0), "{}", both(&shown));
    assert!(both(&shown).contains("complete"), "{}", both(&shown));
    let unknown = pair.migrate(&["history", "nothing-like-it"], "{}");
    assert_eq!(unknown.status.code(), Some(1), "{}", both(&unknown));
}

#[test]
fn a_run_that_was_stopped_and_resumed_is_there_twice() {
    let pair = Pair::start(ROWS);
    pair.target("CREATE TABLE t (id int PRIMARY KEY, v text)");
    let (mut run, lock) = pair.held_up("t", "{target_mode: truncate}");
    pair.interrupt(&run);
    drop(lock);
    assert_eq!(run.wait().unwrap().code(), Some(1));
    let output = pair.migrate(&["resume"], "{target_mode: truncate}");
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    let runs = listed(&pair);
    assert_eq!(runs.len(), 2, "{runs:?}");
    assert_eq!(runs[0]["run"], runs[1]["run"]);
    assert_eq!((&runs[1]["ending"], &runs[1]["resumed"]), (&json!("interrupted"), &json!(false)));
    assert_eq!((&runs[0]["ending"], &runs[0]["resumed"]), (&json!("complete"), &json!(true)));
}

#[test]
fn a_run_that_was_killed_is_there_and_is_called_so_once_it_was_resumed() {
    let pair = Pair::start(ROWS);
    pair.target("CREATE TABLE t (id int PRIMARY KEY, v text)");
    let (mut run, lock) = pair.held_up("t", "{target_mode: truncate}");
    run.kill().unwrap();
    run.wait().unwrap();
    drop(lock);
    let open = listed(&pair);
    assert_eq!(open.len(), 1, "{open:?}");
    for key in ["ending", "ended_at", "rows"] {
        assert!(open[0][key].is_null(), "{key}: {open:?}");
    }
    let words = both(&pair.migrate(&["history"], "{}"));
    assert!(words.contains(": running, or killed: `leverd migrate status -c FILE` tells\n"), "{words}");
    pair.wait_for(
        "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'leverd%')",
    );
    let output = pair.migrate(&["resume"], "{target_mode: truncate}");
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    let runs = listed(&pair);
    assert_eq!(runs.len(), 2, "{runs:?}");
    assert_eq!(runs[1]["run"], open[0]["run"]);
    assert_eq!((&runs[1]["ending"], &runs[1]["resumed"]), (&json!("killed"), &json!(false)));
    assert_eq!(runs[1]["why"], "killed: the process ended without a word");
    assert_eq!((&runs[0]["ending"], &runs[0]["resumed"]), (&json!("complete"), &json!(true)));
    assert_eq!(runs[0]["rows"].as_u64(), Some(20_000));
    assert_eq!(pair.target("SELECT id FROM leverd_migration.run"), runs[0]["run"].as_str().unwrap());
}

/// A run that copied for ten minutes and ended with other settings, in a ledger: what the next one moves is taken from
/// one that was.
fn taught(path: &Path) -> Migration {
    let ledger = Ledger::open_existing(path).unwrap();
    let last = ledger.migrations(1).unwrap().pop().unwrap();
    assert_eq!(last.ending, Some(MigrationEnding::Complete));
    let report: Value = serde_json::from_str(last.report.as_deref().unwrap()).unwrap();
    let past = json!({
        "run": "earlier",
        "features": report["adjusted"]["features"],
        "settings": { "writers": 3, "chunk_rows": 7000, "readers": 1, "buffers": 8 },
        "bytes_per_second": 5e7,
        "copying_seconds": 600.0,
    });
    let earlier = Migration { id: 0, run: "earlier".to_owned(), past: Some(past.to_string()), ..last };
    ledger.record_migration(&earlier).unwrap();
    earlier
}

#[test]
fn a_run_begins_as_like_runs_ended_unless_its_file_says_otherwise() {
    let (_folder, path) = place();
    let pair = Pair::start(ROWS);
    let first = migrate(&pair, &path, &["run"], "{}");
    assert_eq!(first.status.code(), Some(0), "{}", both(&first));
    assert!(!both(&first).contains("starting with"), "{}", both(&first));
    taught(&path);

    let predicted = migrate(&pair, &path, &["run"], "{}");
    assert_eq!(predicted.status.code(), Some(0), "{}", both(&predicted));
    let words = both(&predicted);
    assert!(
        words.contains(
            "starting with writers 3, chunk 7000, readers 1, buffers 8: 1 of 1 like runs ended with "
        ),
        "{words}"
    );
    // The target has the run's settings, and its chunks were cut by them.
    let last = "FROM leverd_migration.run ORDER BY began_at DESC LIMIT 1";
    assert_eq!(
        pair.target(&format!("SELECT settings ->> 'chunk_rows', settings ->> 'writers' {last}")),
        "7000|3"
    );
    let cut = format!("SELECT max(chunk_rows) FROM leverd_migration.chunk WHERE run = (SELECT id {last})");
    assert_eq!(pair.target(&cut), "7000");

    let typed = migrate(&pair, &path, &["run"], "{chunk_size: 1000}");
    assert_eq!(typed.status.code(), Some(0), "{}", both(&typed));
    assert!(!both(&typed).contains("starting with"), "{}", both(&typed));
    assert_eq!(pair.target(&cut), "1000");
    assert_eq!(Ledger::open_existing(&path).unwrap().migrations(9).unwrap().len(), 4);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test's own file")]
fn a_ledger_that_cannot_be_used_fails_no_migration() {
    let (folder, _) = place();
    let broken = folder.path().join("broken.db");
    std::fs::write(&broken, "somebody's notes, and no database").unwrap();
    let pair = Pair::start(ROWS);
    let output = migrate(&pair, &broken, &["run"], "{}");
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    let words = both(&output);
    assert!(words.contains("nothing is known of earlier runs: "), "{words}");
    assert!(words.contains("the history does not have this run's beginning: "), "{words}");
    assert!(words.contains("the history has nothing of this run: "), "{words}");
    assert_eq!(pair.target("SELECT count(*) FROM t"), "20000");
    assert_eq!(std::fs::read(&broken).unwrap(), b"somebody's notes, and no database");
    let listing = migrate(&pair, &broken, &["history"], "{}");
    assert_eq!(listing.status.code(), Some(1), "{}", both(&listing));
}
