//! Files cut at a random byte while no leverd runs: mended, or refused with a clear error and left as they are.

use super::campaign::{Dice, Tally};
use super::truth::{RELOADS, Running, Stand, Truth, changelog_of, ledger_of, leftovers, without_cool_down};
use crate::support::leverd::both;
use crate::support::rig::{Effect, Rig};
use std::fs::{self, OpenOptions};
use std::path::Path;

/// Cuts a file somewhere before its end; says what is left.
fn cut(dice: &mut Dice, path: &Path) -> Vec<u8> {
    let whole = fs::read(path).unwrap();
    let left = dice.below("bytes left", whole.len());
    OpenOptions::new().write(true).open(path).unwrap().set_len(left as u64).unwrap();
    whole[..left].to_vec()
}

fn rig() -> (Rig, Truth) {
    let rig = Rig::start(&RELOADS.yaml(), Effect::Nothing, 2);
    without_cool_down(&rig);
    let truth = Truth::of(&rig, RELOADS);
    (rig, truth)
}

/// leverd dies between writing its temporary file and renaming it, and the file is torn besides.
pub(super) fn temporary_file(dice: &mut Dice) -> Tally {
    let (rig, mut truth) = rig();
    let mut tally = Tally { faults: 1, ..Tally::default() };
    let died = rig.tune("actuate::temp_synced=return");
    assert_eq!(died.status.code(), None, "the point was not reached:\n{}", both(&died));
    let left = leftovers(&rig);
    assert_eq!(left.len(), 1, "{left:?}");
    cut(dice, &rig.postgres.data().join(&left[0]));
    let _ = rig.tune("");
    let _ = truth.tally(&rig, &mut tally);
    truth.settle(&rig, &mut tally);
    tally
}

/// Both records for people lose their ends.
pub(super) fn records(dice: &mut Dice) -> Tally {
    let (rig, mut truth) = rig();
    let mut tally = Tally { faults: 2, ..Tally::default() };
    let _ = rig.tune("");
    let _ = truth.look(&rig);
    let (changelog, log) = (changelog_of(&rig), rig.project.path().join("tuning.log"));
    let kept = cut(dice, &changelog);
    let logged = cut(dice, &log);
    let _ = rig.tune("");
    let _ = truth.tally(&rig, &mut tally);
    if !fs::read(&changelog).unwrap().starts_with(&kept) {
        tally.bad.push("what was left of the changelog was rewritten".to_owned());
    }
    let whole = logged.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    if !fs::read(&log).unwrap().starts_with(&logged[..whole]) {
        tally.bad.push("whole lines of tuning.log are gone".to_owned());
    }
    truth.settle(&rig, &mut tally);
    tally
}

/// leverd dies in the middle of a record, and SQLite's journal is torn besides.
pub(super) fn journal(dice: &mut Dice) -> Tally {
    let (rig, mut truth) = rig();
    let mut tally = Tally { faults: 1, ..Tally::default() };
    let skip = dice.below("records to pass", 10);
    let died = rig.tune(&format!("ledger::before_commit={skip}*off->return"));
    assert_eq!(died.status.code(), None, "the point was not reached:\n{}", both(&died));
    let journal = ledger_of(&rig).with_extension("db-journal");
    assert!(journal.exists(), "a dead writer leaves its journal");
    cut(dice, &journal);
    let _ = truth.tally(&rig, &mut tally);
    let _ = rig.tune("");
    let _ = truth.tally(&rig, &mut tally);
    truth.settle(&rig, &mut tally);
    tally
}

/// The ledger itself is torn while a change is in place: leverd must not touch anything.
pub(super) fn ledger(dice: &mut Dice) -> Tally {
    let (rig, mut truth) = rig();
    let mut tally = Tally { faults: 1, ..Tally::default() };
    let died = rig.tune("trial::performed=4*off->return");
    assert_eq!(died.status.code(), None, "the point was not reached:\n{}", both(&died));
    assert!(matches!(truth.look(&rig), Ok(Stand::Open(_, true))), "the change is in place");
    let (path, conf) = (ledger_of(&rig), rig.conf());
    let whole = fs::read(&path).unwrap();
    let torn = cut(dice, &path);
    for arguments in [&["tune", "--cycles", "1", "--no-tty"][..], &["rollback", "--all"], &["run"]] {
        let mut running = Running::start(&rig, arguments);
        let status = running.end();
        let said = running.said();
        let clear = said.contains(&path.display().to_string()) && said.contains("is damaged");
        if status.code() != Some(1) || !clear {
            tally.bad.push(format!("{arguments:?}: {status} and no clear error:\n{said}"));
        }
    }
    if fs::read(&path).unwrap() != torn || rig.conf() != conf {
        tally.bad.push("leverd touched a ledger that it refused, or went on without it".to_owned());
    }
    tally.refused += 1;
    let again = OpenOptions::new().write(true).open(&path).unwrap();
    std::io::Write::write_all(&mut &again, &whole).unwrap();
    let _ = rig.tune("");
    let _ = truth.tally(&rig, &mut tally);
    truth.settle(&rig, &mut tally);
    tally
}
