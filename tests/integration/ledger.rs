//! The record on real processes and real disks: crashes, `kill -9`, other processes' locks, full disks, the command.
//!
//! A test that needs a second process starts this very test once more, with its part in an environment variable.

use chrono::{DateTime, TimeDelta, Utc};
use leverd::config::LogRotation;
use leverd::ledger::{Changelog, ChangelogError, Kind, Ledger, LedgerError, Line, TuningLog, TuningLogError};
use leverd::model::{
    Activation, Comparison, CostTier, Direction, Judgement, Phase, Place, Plan, Ruling, Trial, TrialId, Unit,
    Verdict,
};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

const PART: &str = "LEVERD_TEST_PART";
const PLACE: &str = "LEVERD_TEST_PLACE";

/// The part that this process plays, where a test started it, and the folder to play it in.
fn part() -> Option<(String, PathBuf)> {
    Some((std::env::var(PART).ok()?, PathBuf::from(std::env::var_os(PLACE)?)))
}

/// This test binary once more, playing `part` of `test`.
fn second_process(test: &str, part: &str, place: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("ledger::{test}"), "--nocapture", "--test-threads=1"]);
    command
        .env(PART, part)
        .env(PLACE, place)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Ends the process that it holds, whatever becomes of the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn at(seconds: i64) -> DateTime<Utc> {
    "2024-01-15T10:14:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::seconds(seconds)
}

fn planned() -> Trial {
    Trial {
        id: TrialId(0),
        plan: Plan {
            target: "capsim".into(),
            symptom: "high_wal_rate".into(),
            signal: "wal_rate".into(),
            unit: Unit::BytesPerSec,
            goal_from: 1_300_000.0,
            limit: 1_000_000.0,
            lever: "checkpoint_timeout".into(),
            tier: CostTier::Low,
            parameter: "checkpoint_timeout".to_owned(),
            place: Place::AlterSystem,
            from: Some("5min".to_owned()),
            to: "10min".to_owned(),
            activation: Activation::Reload,
            spans_checkpoints: true,
            verify_query: None,
            reason: "wal_rate is above its bound".to_owned(),
            passed_over: vec![],
            gives_back: None,
            needs_approval: false,
            borrowed_for: None,
        },
        phase: Phase::Planned,
        intent: None,
        opened_at: at(0),
        before_from: at(-900),
        applied_at: None,
        phase_since: at(0),
        deadline: None,
        arms: vec![],
        ending: None,
        alarm: false,
        judgements: vec![],
        verdict: None,
        closed_at: None,
        undone_at: None,
    }
}

fn kept(id: TrialId) -> Trial {
    let goal = Comparison {
        signal: "wal_rate".into(),
        unit: Unit::BytesPerSec,
        direction: Direction::LowerIsBetter,
        before: 1_234_567.0,
        after: 987_654.0,
        n_before: 60,
        n_after: 60,
        effective_n: 71.0,
        change: -0.25,
        low: -0.5,
        high: -0.125,
        per_load: true,
    };
    let reason = "the gain is proved".to_owned();
    let look =
        Judgement { ruling: Ruling::Keep, reason, goal: Some(goal), guards: vec![], look: 0, alpha: 0.05 };
    Trial {
        id,
        phase: Phase::Kept,
        judgements: vec![look],
        verdict: Some(Verdict::Kept),
        closed_at: Some(at(960)),
        ..planned()
    }
}

/// One transaction.
type Write = fn(&Ledger) -> Result<(), LedgerError>;

/// Every write that a ledger knows.
const STORY: [Write; 10] = [
    |ledger| ledger.bind_target(&"capsim".into(), 7_000_000_000_000_000_000, at(0)),
    |ledger| ledger.insert(&planned()).map(|_| ()),
    |ledger| step(ledger, Phase::IntentLogged, 1),
    |ledger| step(ledger, Phase::Applying, 2),
    |ledger| step(ledger, Phase::Measuring { look: 0 }, 3),
    |ledger| ledger.save(&kept(TrialId(1)), "the gain is proved", at(960)),
    |ledger| ledger.quarantine(&"capsim".into(), &"jit".into(), at(9000), "no gain", at(961)),
    |ledger| ledger.mark_undone(TrialId(1), at(962), "leverd rollback 1").map(|_| ()),
    |ledger| ledger.freeze(&"capsim".into(), &"work_mem".into(), "edited", at(963)),
    |ledger| ledger.thaw(&"capsim".into(), &"work_mem".into(), at(964)).map(|_| ()),
];

fn step(ledger: &Ledger, phase: Phase, seconds: i64) -> Result<(), LedgerError> {
    let trial = Trial { phase, ..ledger.trial(TrialId(1))? };
    ledger.save(&trial, "a step", at(seconds))
}

/// All that the ledger says.
fn said(ledger: &Ledger) -> String {
    let target = "capsim".into();
    format!(
        "{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{:?}",
        ledger.history(None, 99).unwrap(),
        ledger.trail(&target, 99).unwrap(),
        ledger.kept(&target).unwrap(),
        ledger.frozen(&target).unwrap(),
        ledger.quarantined(&target, at(0)).unwrap(),
        ledger.last_change_at(&target).unwrap(),
        ledger.entries_due().unwrap(),
    )
}

#[test]
fn a_crash_around_any_commit_leaves_what_was_before_or_after() {
    if let Some((part, place)) = part() {
        let (point, writes) = part.split_once('/').unwrap();
        let ledger = Ledger::open(&place.join("ledger.db")).unwrap();
        fail::cfg(point, &format!("{writes}*off->return")).unwrap();
        for write in STORY {
            write(&ledger).unwrap();
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let reference = Ledger::open(&folder.path().join("reference.db")).unwrap();
    let mut after: Vec<String> = vec![said(&reference)];
    for write in STORY {
        write(&reference).unwrap();
        after.push(said(&reference));
    }
    for (point, also) in [("ledger::before_commit", 0), ("ledger::after_commit", 1)] {
        for writes in 0..STORY.len() {
            let place = tempfile::tempdir().unwrap();
            let test = "a_crash_around_any_commit_leaves_what_was_before_or_after";
            let output = second_process(test, &format!("{point}/{writes}"), place.path()).output().unwrap();
            assert_eq!(output.status.signal(), Some(6), "it aborts at {point}, write {writes}: {output:?}");
            let ledger = Ledger::open(&place.path().join("ledger.db")).unwrap();
            let done = writes + also;
            assert_eq!(said(&ledger), after[done], "{point}, write {writes}");
            for write in &STORY[done..] {
                write(&ledger).unwrap();
            }
            assert_eq!(said(&ledger), after[STORY.len()], "{point}, write {writes}, and on");
        }
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9_at_any_moment() {
    if let Some((_, place)) = part() {
        let ledger = Ledger::open(&place.join("ledger.db")).unwrap();
        ledger.insert(&planned()).unwrap();
        for n in 1_u32.. {
            let padding = "x".repeat(20_000);
            let trial = Trial { id: TrialId(1), ending: Some(format!("{n} {padding}")), ..planned() };
            ledger.save(&trial, &n.to_string(), at(n.into())).unwrap();
            writeln!(std::io::stdout(), "saved {n}").unwrap();
        }
        return;
    }
    for round in 0..12_u32 {
        let place = tempfile::tempdir().unwrap();
        let test = "what_was_acknowledged_survives_kill_9_at_any_moment";
        let mut child = Ended(second_process(test, "writer", place.path()).spawn().unwrap());
        let saved: Vec<u32> = BufReader::new(child.0.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok)
            .filter_map(|line| line.split("saved ").nth(1)?.parse().ok())
            .inspect(|n| {
                if *n == 3 + 2 * round {
                    child.0.kill().unwrap();
                }
            })
            .collect();
        let acknowledged = *saved.last().unwrap();
        let ledger = Ledger::open(&place.path().join("ledger.db")).unwrap();
        let ending = ledger.trial(TrialId(1)).unwrap().ending.unwrap();
        let stored: u32 = ending.split(' ').next().unwrap().parse().unwrap();
        let events = ledger.events(TrialId(1)).unwrap();
        assert!(stored == acknowledged || stored == acknowledged + 1, "{acknowledged} said, {stored} stored");
        assert_eq!(events.last().unwrap().what, stored.to_string());
        assert_eq!(events.len(), stored as usize + 1, "the trail has every step once");
    }
}

#[test]
fn a_ledger_that_another_process_holds_is_an_error_that_says_so() {
    if let Some((_, place)) = part() {
        let connection = rusqlite::Connection::open(place.join("ledger.db")).unwrap();
        connection.execute_batch("BEGIN EXCLUSIVE").unwrap();
        writeln!(std::io::stdout(), "it is held").unwrap();
        // Until the other side hangs up.
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("ledger.db");
    Ledger::open(&path).unwrap().insert(&planned()).unwrap();
    let test = "a_ledger_that_another_process_holds_is_an_error_that_says_so";
    let mut child = Ended(second_process(test, "holder", place.path()).spawn().unwrap());
    let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("it is held")));

    let error = Ledger::open_waiting(&path, std::time::Duration::from_millis(100)).unwrap_err();
    assert!(matches!(error, LedgerError::Locked { .. }), "{error}");
    let output = history(&path, &[]);
    assert_eq!(output.status.code(), Some(75));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        message.contains("is locked by another process: ") && message.contains("waited 5 s"),
        "{message}"
    );
    assert!(message.contains("hint: "), "{message}");

    drop(child);
    assert_eq!(Ledger::open(&path).unwrap().history(None, 9).unwrap().len(), 1);
}

#[test]
fn readers_are_never_refused_and_never_see_half_a_write() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("ledger.db");
    let writer = Ledger::open(&path).unwrap();
    let id = writer.insert(&planned()).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut reads = 0;
                    let mut newest = 0;
                    while !done.load(Ordering::Relaxed) || reads == 0 {
                        // A connection of its own, as `leverd history` has.
                        let reader = Ledger::open_existing(&path).unwrap();
                        let trial = reader.trial(id).unwrap();
                        let events = reader.events(id).unwrap().len();
                        let step: usize = trial.ending.map_or(0, |text| text.parse().unwrap());
                        assert!(step < events, "step {step} is there before its event: {events}");
                        assert!(step >= newest);
                        newest = step;
                        reads += 1;
                    }
                })
            })
            .collect();
        for n in 1..=60 {
            let trial = Trial { id, ending: Some(n.to_string()), ..planned() };
            writer.save(&trial, "a step", at(n)).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

#[test]
fn a_crash_in_the_middle_of_a_rotation_loses_no_line() {
    fn open(place: &Path) -> TuningLog {
        let rotation = LogRotation { max_bytes: 400, keep: 99 };
        let (log, unfinished) = TuningLog::open(&place.join("tuning.log"), &place.join("archive"), rotation);
        assert!(unfinished.is_none(), "{unfinished:?}");
        log
    }
    fn append(log: &mut TuningLog, n: i64) {
        let (signals, message) = (BTreeMap::new(), n.to_string());
        let (kind, message) = (Kind::Sample, Some(message.as_str()));
        log.append(&Line { at: at(n), kind, signals: &signals, trial: None, message }).unwrap();
    }
    if let Some((point, place)) = part() {
        let mut log = open(&place);
        fail::cfg(point, "1*off->return").unwrap();
        for n in 0..100 {
            writeln!(std::io::stdout(), "appending {n}").unwrap();
            append(&mut log, n);
        }
        return;
    }
    for point in ["tuning_log::moved_aside", "tuning_log::archived"] {
        let place = tempfile::tempdir().unwrap();
        let test = "a_crash_in_the_middle_of_a_rotation_loses_no_line";
        let output = second_process(test, point, place.path()).output().unwrap();
        assert_eq!(output.status.signal(), Some(6), "{output:?}");
        let told = String::from_utf8(output.stdout).unwrap();
        // The line is written before the rotation in which the crash came.
        let written = told.matches("appending ").count() as i64;
        let mut log = open(place.path());
        append(&mut log, written);
        let mut text = String::new();
        for entry in fs::read_dir(place.path().join("archive")).unwrap() {
            let file = fs::File::open(entry.unwrap().path()).unwrap();
            flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
        }
        text.push_str(&fs::read_to_string(place.path().join("tuning.log")).unwrap());
        let mut numbers: Vec<i64> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|line| line["message"].as_str().unwrap().parse().unwrap())
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..=written).collect::<Vec<_>>(), "{point}");
    }
}

/// A disk of a few hundred kB; none where this process may not mount one.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    fn new(kib: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"]).arg(folder.path());
        match command.output() {
            Ok(output) if output.status.success() => Some(Self { folder }),
            refused => {
                eprintln!("skipped: a small disk needs root and mount: {refused:?}");
                None
            }
        }
    }

    /// Takes all the space that is left; it is free again when what this returns is dropped.
    fn fill(&self) -> impl Drop + use<> {
        struct Filler(PathBuf);
        impl Drop for Filler {
            fn drop(&mut self) {
                let _ = fs::remove_file(&self.0);
            }
        }
        let path = self.folder.path().join("filler");
        let mut file = fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
        while file.write_all(&[0_u8; 512]).is_ok() {}
        Filler(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.folder.path()).status();
    }
}

#[test]
fn on_a_full_disk_the_ledger_says_so_and_stays_as_it_was() {
    let Some(disk) = SmallDisk::new(512) else { return };
    let path = disk.folder.path().join("ledger.db");
    let ledger = Ledger::open(&path).unwrap();
    let id = ledger.insert(&planned()).unwrap();
    let before = said(&ledger);
    let large = Trial { id, ending: Some("x".repeat(30_000)), ..planned() };
    {
        let _full = disk.fill();
        for _ in 0..3 {
            let error = ledger.save(&large, "a large step", at(1)).unwrap_err();
            assert!(matches!(error, LedgerError::DiskFull { .. }), "{error:?}");
            assert!(error.hint().is_some());
        }
        assert_eq!(said(&ledger), before);
        let other = Ledger::open(&disk.folder.path().join("other.db")).unwrap_err();
        assert!(matches!(other, LedgerError::DiskFull { .. }), "{other:?}");
        assert_eq!(said(&Ledger::open(&path).unwrap()), before, "and it opens");
    }
    ledger.save(&large, "a large step", at(1)).unwrap();
    assert_eq!(said(&Ledger::open(&path).unwrap()), said(&ledger));
}

#[test]
fn a_read_only_ledger_can_be_read_and_says_why_it_is_not_written() {
    let Some(disk) = SmallDisk::new(512) else { return };
    let path = disk.folder.path().join("ledger.db");
    let id = Ledger::open(&path).unwrap().insert(&planned()).unwrap();
    let remounted =
        Command::new("mount").args(["-o", "remount,ro"]).arg(disk.folder.path()).status().unwrap();
    assert!(remounted.success());
    let ledger = Ledger::open_existing(&path).unwrap();
    assert_eq!(ledger.trial(id).unwrap().phase, Phase::Planned);
    assert_eq!(history(&path, &[]).status.code(), Some(0));
    let error = ledger.save(&kept(id), "kept", at(1)).unwrap_err();
    assert!(matches!(error, LedgerError::ReadOnly { .. }), "{error:?}");
    let error = Ledger::open(&disk.folder.path().join("new.db")).unwrap_err();
    assert!(matches!(error, LedgerError::ReadOnly { .. }), "{error:?}");
}

#[test]
fn on_a_full_disk_the_changelog_waits_and_is_made_up_for() {
    let Some(disk) = SmallDisk::new(64) else { return };
    let place = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(&place.path().join("ledger.db")).unwrap();
    let changelog = Changelog::new(disk.folder.path().join("CHANGELOG_TUNING.md"));
    let end = || {
        let id = ledger.insert(&planned()).unwrap();
        ledger.save(&kept(id), "kept", at(960)).unwrap();
    };
    // One page is left of the disk, and fills up in the middle of an entry.
    end();
    changelog.sync(&ledger, |_| vec![]).unwrap();
    let full = disk.fill();
    let mut refused = 0;
    for _ in 0..12 {
        end();
        match changelog.sync(&ledger, |_| vec![]) {
            Ok(_) => {}
            Err(ChangelogError::File { source, .. }) => {
                assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused > 0);
    drop(full);
    changelog.sync(&ledger, |_| vec![]).unwrap();
    let made_up = fs::read_to_string(changelog.path()).unwrap();
    let whole = Changelog::new(place.path().join("CHANGELOG_TUNING.md"));
    whole.sync(&ledger, |_| vec![]).unwrap();
    assert_eq!(made_up, fs::read_to_string(whole.path()).unwrap(), "as if the disk had never been full");
}

#[test]
fn on_a_full_disk_the_tuning_log_says_so_and_goes_on() {
    let Some(disk) = SmallDisk::new(64) else { return };
    let folder = disk.folder.path();
    let rotation = LogRotation { max_bytes: 3000, keep: 5 };
    let (mut log, _) = TuningLog::open(&folder.join("tuning.log"), &folder.join("archive"), rotation);
    let mut written = Vec::new();
    let mut append = |log: &mut TuningLog, n: i64| {
        let (signals, message) = (BTreeMap::new(), n.to_string());
        let (kind, message) = (Kind::Sample, Some(message.as_str()));
        let done = log.append(&Line { at: at(n), kind, signals: &signals, trial: None, message });
        if !matches!(done, Err(TuningLogError::Line { .. })) {
            written.push(n);
        }
        done
    };
    append(&mut log, 0).unwrap();
    let full = disk.fill();
    let refused: Vec<_> = (1..100).filter_map(|n| append(&mut log, n).err()).collect();
    assert!(refused.iter().any(|error| matches!(error, TuningLogError::Line { .. })), "{refused:?}");
    assert!(refused.iter().all(|error| error.hint().is_some()), "{refused:?}");
    drop(full);
    for n in 100..140 {
        append(&mut log, n).unwrap();
    }
    let mut text = String::new();
    for entry in fs::read_dir(folder.join("archive")).unwrap() {
        let file = fs::File::open(entry.unwrap().path()).unwrap();
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    }
    text.push_str(&fs::read_to_string(folder.join("tuning.log")).unwrap_or_default());
    let mut numbers: Vec<i64> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| line["message"].as_str().unwrap().parse().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, written, "every line that was acknowledged, once");
}

fn history(ledger: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leverd"));
    command.arg("history").arg("--ledger").arg(ledger).args(arguments).stdin(Stdio::null());
    command.output().unwrap()
}

#[test]
fn history_prints_a_table_json_and_one_trial_and_names_what_is_not_there() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("ledger.db");
    let output = history(&path, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("there is no ledger at "));
    assert!(!path.exists(), "looking back makes nothing");

    let ledger = Ledger::open(&path).unwrap();
    for _ in 0..3 {
        let id = ledger.insert(&planned()).unwrap();
        ledger.save(&kept(id), "kept", at(960)).unwrap();
    }
    let output = history(&path, &["--limit", "2"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.contains("5min → 10min") && text.contains("kept −25.0 % (−50.0 … −12.5 %)"), "{text}");
    assert!(!text.contains('\u{1b}'), "no colour into a pipe");

    let output = history(&path, &["--json"]);
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((list[0]["id"].as_i64(), list[2]["id"].as_i64()), (Some(3), Some(1)));
    let output = history(&path, &["2", "--json"]);
    let one: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((one["state"].as_str(), one["undo"][0].as_str()), (Some("kept"), Some("leverd rollback 2")));
    let output = history(&path, &["2"]);
    assert!(
        String::from_utf8(output.stdout).unwrap().starts_with("Trial 2: checkpoint_timeout 5min → 10min")
    );

    let output = history(&path, &["99"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    assert!(String::from_utf8(output.stderr).unwrap().contains("there is no trial 99 in "));
}
