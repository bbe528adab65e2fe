//! Disks that are full: a small tmpfs of its own at the place of a file. It takes root; where it cannot be mounted, the
//! fault is not made, and the table says so.

use super::campaign::{Dice, Tally};
use super::truth::{RELOADS, RESTARTS, Running, Stand, Truth, differs, shown};
use crate::support::postgres::give_to_unprivileged;
use crate::support::rig::{Effect, Rig};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const TUNE: [&str; 4] = ["tune", "--cycles", "1", "--no-tty"];

/// A mounted tmpfs, gone when dropped.
pub(super) struct SmallDisk {
    pub(super) path: PathBuf,
}

impl SmallDisk {
    /// `Err` says why not.
    pub(super) fn mount(path: &Path, size: &str) -> Result<Self, String> {
        fs::create_dir_all(path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size},mode=755"), "tmpfs"]).arg(path);
        let output = mount.stdin(Stdio::null()).output().map_err(|error| format!("mount: {error}"))?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(format!("a tmpfs cannot be mounted here ({})", why.replace('|', "/")));
        }
        give_to_unprivileged(path);
        Ok(Self { path: path.to_owned() })
    }

    /// Not a byte is left.
    pub(super) fn fill(&self) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.filler()).unwrap();
        for size in [4096, 512, 64, 1] {
            while file.write_all(&vec![b'x'; size]).is_ok() {}
        }
    }

    pub(super) fn free(&self) {
        let _ = fs::remove_file(self.filler());
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is just ending may still have a file of it open.
        let _ = Command::new("umount").arg("-l").arg(&self.path).stdin(Stdio::null()).status();
    }
}

fn not_made(why: String) -> Tally {
    eprintln!("disk full: not made, {why}");
    Tally { skipped: Some(why), ..Tally::default() }
}

/// Full before leverd starts, soon after the file changed (two times in four), or at any time.
fn fill_some_time(dice: &mut Dice, disk: &SmallDisk, rig: &Rig) -> Running {
    let kind = dice.below("kind of moment", 4);
    if kind == 3 {
        disk.fill();
    }
    let mut running = Running::start(rig, &TUNE);
    if kind < 2 {
        running.waits_until(Duration::from_mins(1), differs(&rig.postgres.conf()));
        running.lives_for(dice.moment("after the file changed", Duration::from_secs(5)));
    } else {
        running.lives_for(dice.moment("anywhere", Duration::from_secs(12)));
    }
    disk.fill();
    running
}

pub(super) fn at_the_conf(dice: &mut Dice) -> Tally {
    let rig = Rig::start(&RELOADS.yaml(), Effect::Nothing, 2);
    let disk = match SmallDisk::mount(&rig.project.path().join("small"), "128k") {
        Ok(disk) => disk,
        Err(why) => return not_made(why),
    };
    // The real file lives on the small disk; its place in the data folder is a link, as on many hosts.
    let (conf, real) = (rig.postgres.conf(), disk.path.join("postgresql.conf"));
    fs::copy(&conf, &real).unwrap();
    give_to_unprivileged(&real);
    fs::remove_file(&conf).unwrap();
    std::os::unix::fs::symlink(&real, &conf).unwrap();
    let (mut truth, mut tally) = (Truth::of(&rig, RELOADS), Tally { faults: 1, ..Tally::default() });
    fill_some_time(dice, &disk, &rig).end();
    if let Some(Stand::Open(phase, _)) = truth.tally(&rig, &mut tally) {
        tally.bad.push(format!("leverd ended, and left a trial open: {phase}"));
    }
    disk.free();
    truth.settle(&rig, &mut tally);
    if real.with_file_name(".postgresql.conf.leverd-tmp").exists() {
        tally.bad.push("a temporary file is left".to_owned());
    }
    tally
}

pub(super) fn at_the_ledger(dice: &mut Dice) -> Tally {
    let lever = if dice.below("lever", 2) == 0 { RELOADS } else { RESTARTS };
    let rig = Rig::start(&lever.yaml(), Effect::Nothing, 2);
    let disk = match SmallDisk::mount(&rig.state(), "512k") {
        Ok(disk) => disk,
        Err(why) => return not_made(why),
    };
    let (mut truth, mut tally) = (Truth::of(&rig, lever), Tally { faults: 1, ..Tally::default() });
    let mut running = fill_some_time(dice, &disk, &rig);
    running.end();
    let recorded = running.said();
    if let Some(Stand::Open(phase, true)) = truth.tally(&rig, &mut tally) {
        tally.bad.push(format!("what could not be recorded was left in place ({phase}):\n{recorded}"));
    }
    if shown(&rig, lever.parameter).is_ok_and(|shown| shown != lever.old) {
        tally.bad.push(format!("the server still has what could not be recorded:\n{recorded}"));
    }
    disk.free();
    rig.tune("");
    if let Some(Stand::Open(phase, _)) = truth.tally(&rig, &mut tally) {
        tally.bad.push(format!("with space again the trial stays open: {phase}"));
    }
    truth.settle(&rig, &mut tally);
    tally
}

/// Postgres and the ledger do not mind; the entries come when there is space again.
pub(super) fn at_the_changelog(dice: &mut Dice) -> Tally {
    let rig = Rig::start(&RELOADS.yaml(), Effect::Helps, 2);
    let disk = match SmallDisk::mount(&rig.project.path().join("small"), "32k") {
        Ok(disk) => disk,
        Err(why) => return not_made(why),
    };
    let config = rig.project.read("config/leverd.yaml");
    rig.project
        .write("config/leverd.yaml", &format!("{config}paths: {{ changelog: small/CHANGELOG_TUNING.md }}\n"));
    // A person's words, so that the last page ends anywhere within leverd's first entry.
    let words = dice.below("bytes in the changelog", 4096);
    rig.project.write("small/CHANGELOG_TUNING.md", &format!("# Ours\n{}\n", "x".repeat(words)));
    let (mut truth, mut tally) = (Truth::of(&rig, RELOADS), Tally { faults: 1, ..Tally::default() });
    disk.fill();
    Running::start(&rig, &TUNE).end();
    if let Some(Stand::Open(phase, _)) = truth.tally(&rig, &mut tally) {
        tally.bad.push(format!("leverd ended, and left a trial open: {phase}"));
    }
    disk.free();
    rig.tune("");
    if let Err(bad) = truth.records_are_whole(&rig) {
        tally.bad.push(bad);
    }
    truth.settle(&rig, &mut tally);
    tally
}
