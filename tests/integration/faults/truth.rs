//! What must hold after every fault: the file is the old one or the new one to the byte, the ledger says which, the
//! server shows what a finished trial says, and nothing that was recorded is gone.

use super::campaign::Tally;
use crate::support::leverd::{both, finish, wait_for_exit};
use crate::support::rig::{Effect, Rig, reload_lever, restart_lever};
use leverd::ledger::{Ledger, State};
use leverd::model::{Phase, Ruling, TargetName, Trial};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take that must come.
pub(super) const PATIENCE: Duration = Duration::from_secs(180);

/// The rig's lever, with what stands in the file before and after.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lever {
    pub(super) parameter: &'static str,
    pub(super) old: &'static str,
    pub(super) new: &'static str,
    /// Set by `ALTER SYSTEM`, not in `postgresql.conf`.
    alter_system: bool,
}

/// It reloads.
pub(super) const RELOADS: Lever =
    Lever { parameter: "max_wal_size", old: "512MB", new: "640MB", alter_system: false };
/// It restarts.
pub(super) const RESTARTS: Lever =
    Lever { parameter: "shared_buffers", old: "128MB", new: "160MB", alter_system: false };
/// It reloads, and is set by `ALTER SYSTEM`.
pub(super) const ALTERS: Lever = Lever { alter_system: true, ..RELOADS };

impl Lever {
    /// As `levers.yaml` has it.
    pub(super) fn yaml(self) -> String {
        if self.parameter == RELOADS.parameter { reload_lever() } else { restart_lever() }
    }

    /// Starts a rig with it.
    pub(super) fn rig(self, effect: Effect) -> Rig {
        let rig = Rig::start(&self.yaml(), effect, 2);
        if self.alter_system {
            let path = format!("postgresql_conf: \"{}\"", rig.postgres.conf().display());
            let text = rig.project.read("config/leverd.yaml").replace(&path, "postgresql_conf: alter_system");
            rig.project.write("config/leverd.yaml", &text);
        }
        rig
    }

    /// The file that its value is written to.
    pub(super) fn file(self, rig: &Rig) -> PathBuf {
        let conf = rig.postgres.conf();
        if self.alter_system { conf.with_file_name("postgresql.auto.conf") } else { conf }
    }

    /// The whole file with the new value in it.
    fn changed(self, old: &[u8]) -> Vec<u8> {
        let text = String::from_utf8(old.to_vec()).unwrap();
        if self.alter_system {
            return format!("{text}{} = '{}'\n", self.parameter, self.new).into_bytes();
        }
        let line = format!("\n{} = {}", self.parameter, self.old);
        assert_eq!(text.matches(&line).count(), 1, "the rig's file has the lever's line once");
        text.replace(&line, &format!("\n{} = {}", self.parameter, self.new)).into_bytes()
    }
}

/// Where the target stands, by the ledger and by the file, which agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stand {
    /// Nothing is open; the old value is in place.
    Old,
    /// Nothing is open; the new value is kept.
    New,
    /// A trial is open: in which phase, and whether the new value stands in the file.
    Open(String, bool),
    /// The ledger says that a person must act.
    Person,
}

/// What was true before, to hold it against what is.
pub(super) struct Truth {
    lever: Lever,
    old: Vec<u8>,
    new: Vec<u8>,
    ended: BTreeMap<i64, Trial>,
    /// A rollback of a kept change was cut short: until it is done the file may be ahead of the ledger.
    pub(super) rolling_back: bool,
}

impl Truth {
    /// Of a rig that was just started.
    pub(super) fn of(rig: &Rig, lever: Lever) -> Self {
        let old = fs::read(lever.file(rig)).unwrap();
        let new = lever.changed(&old);
        Self { lever, old, new, ended: BTreeMap::new(), rolling_back: false }
    }

    /// While no leverd runs: where the target stands, or what is wrong.
    pub(super) fn look(&mut self, rig: &Rig) -> Result<Stand, String> {
        let conf = fs::read(self.lever.file(rig)).unwrap();
        if conf != self.old && conf != self.new {
            return Err(format!("a third state:\n{}", String::from_utf8_lossy(&conf)));
        }
        let is_new = conf == self.new;
        let trials = trials(rig).map_err(|error| format!("the ledger cannot be read: {error}"))?;
        self.nothing_is_lost(&trials)?;
        if trials.iter().filter(|trial| !trial.phase.is_final()).count() > 1 {
            return Err("two trials are open".to_owned());
        }
        let Some(last) = trials.last() else {
            return if is_new {
                Err("the file was changed, and no trial says so".to_owned())
            } else {
                Ok(Stand::Old)
            };
        };
        if !last.phase.is_final() {
            return self.open(last, is_new);
        }
        let in_force = last.phase == Phase::Kept && last.undone_at.is_none();
        match State::of(&last.phase) {
            State::NeedsHuman if last.undone_at.is_none() => return self.person_is_asked(rig, last),
            State::Frozen => return Err(format!("frozen, and no person was there: {:?}", last.ending)),
            _ => {}
        }
        if last.phase == Phase::Kept && last.judgements.last().map(|look| look.ruling) != Some(Ruling::Keep) {
            return Err(format!("trial {} is kept without a judgement", last.id));
        }
        if in_force != is_new && !(self.rolling_back && in_force) {
            return Err(format!("the ledger says {}, and the file has the other value", last.phase));
        }
        let wanted = if in_force { self.lever.new } else { self.lever.old };
        if !self.rolling_back {
            let shown = shown(rig, self.lever.parameter)?;
            if shown != wanted {
                return Err(format!("trial {} is {}, and the server shows {shown}", last.id, last.phase));
            }
        }
        Ok(if is_new { Stand::New } else { Stand::Old })
    }

    /// Whoever must act is told, and until then nothing is pulled.
    fn person_is_asked(&self, rig: &Rig, trial: &Trial) -> Result<Stand, String> {
        let ledger = Ledger::open_existing(&ledger_of(rig)).map_err(|error| error.to_string())?;
        let frozen = ledger.frozen(&trial.plan.target).map_err(|error| error.to_string())?;
        if frozen.iter().any(|row| row.lever == trial.plan.lever) {
            return Ok(Stand::Person);
        }
        Err(format!("trial {} needs a person, and its lever is free: {:?}", trial.id, trial.ending))
    }

    fn open(&self, trial: &Trial, is_new: bool) -> Result<Stand, String> {
        match &trial.intent {
            None if is_new => return Err("the file was changed without an intent".to_owned()),
            None => {}
            Some(intent) => {
                let backup = intent.backup.as_ref().and_then(|path| fs::read(path).ok());
                if backup.as_ref() != Some(&self.old) {
                    return Err(format!("the backup {:?} is not the old file", intent.backup));
                }
            }
        }
        Ok(Stand::Open(trial.phase.to_string(), is_new))
    }

    /// What has ended stays as it was recorded, but for a later undo.
    fn nothing_is_lost(&mut self, trials: &[Trial]) -> Result<(), String> {
        for (id, was) in &self.ended {
            let is = trials.iter().find(|trial| trial.id.0 == *id);
            let same = is.is_some_and(|is| Trial { undone_at: was.undone_at, ..is.clone() } == *was);
            if !same {
                return Err(format!("trial {id} was {}, and is now {is:?}", was.phase));
            }
        }
        for trial in trials.iter().filter(|trial| trial.phase.is_final()) {
            self.ended.insert(trial.id.0, trial.clone());
        }
        Ok(())
    }

    /// Puts everything back by leverd's own command, and checks that nothing is left over.
    pub(super) fn settle(&mut self, rig: &Rig, tally: &mut Tally) {
        if let Err(bad) = self.try_settle(rig) {
            tally.bad.push(format!("at the end: {bad}"));
        }
    }

    fn try_settle(&mut self, rig: &Rig) -> Result<(), String> {
        let undone = rig.project.leverd(&["rollback", "--all", "--no-tty"], PATIENCE);
        if !undone.status.success() {
            return Err(format!("rollback --all: {}\n{}", undone.status, both(&undone)));
        }
        self.rolling_back = false;
        self.thaw(rig);
        match self.look(rig)? {
            Stand::Old => {}
            other => return Err(format!("after rollback --all: {other:?}")),
        }
        if shown(rig, self.lever.parameter)? != self.lever.old {
            return Err("after rollback --all the server still shows the new value".to_owned());
        }
        let left = leftovers(rig);
        if !left.is_empty() {
            return Err(format!("left behind: {left:?}"));
        }
        self.records_are_whole(rig)
    }

    /// The changelog has one entry for each ended trial that changed something; every line of tuning.log is JSON.
    pub(super) fn records_are_whole(&self, rig: &Rig) -> Result<(), String> {
        let changelog = fs::read_to_string(changelog_of(rig)).unwrap_or_default();
        for trial in self.ended.values().filter(|trial| trial.phase != Phase::Aborted) {
            let marker = format!("<!-- leverd trial {} {} ", trial.id, State::of(&trial.phase).word());
            let count = changelog.matches(&marker).count();
            if count != 1 {
                return Err(format!("the changelog has {count} entries of trial {}", trial.id));
            }
        }
        let log = fs::read_to_string(rig.project.path().join("tuning.log")).unwrap_or_default();
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        for line in whole.lines() {
            serde_json::from_str::<serde_json::Value>(line)
                .map_err(|error| format!("tuning.log has the line {line:?}: {error}"))?;
        }
        Ok(())
    }

    /// Lets the lever be pulled again after a rollback.
    pub(super) fn thaw(&self, rig: &Rig) {
        let _ = rig.project.leverd(&["thaw", self.lever.parameter], PATIENCE);
    }

    /// Looks, and tallies what it saw.
    pub(super) fn tally(&mut self, rig: &Rig, tally: &mut Tally) -> Option<Stand> {
        match self.look(rig) {
            Ok(stand) => {
                match &stand {
                    Stand::Old | Stand::Open(_, false) => tally.old += 1,
                    Stand::New | Stand::Open(_, true) => tally.new += 1,
                    Stand::Person => tally.person += 1,
                }
                Some(stand)
            }
            Err(bad) => {
                tally.bad.push(bad);
                None
            }
        }
    }
}

/// Where the changelog is: the rigs with a small disk have it there.
pub(super) fn changelog_of(rig: &Rig) -> PathBuf {
    let elsewhere = rig.project.path().join("small/CHANGELOG_TUNING.md");
    if elsewhere.exists() { elsewhere } else { rig.project.path().join("CHANGELOG_TUNING.md") }
}

/// The ledger's file.
pub(super) fn ledger_of(rig: &Rig) -> PathBuf {
    rig.state().join("ledger.db")
}

/// All trials, oldest first.
pub(super) fn trials(rig: &Rig) -> Result<Vec<Trial>, String> {
    let path = ledger_of(rig);
    if !path.exists() {
        return Ok(vec![]);
    }
    let ledger = Ledger::open_existing(&path).map_err(|error| error.to_string())?;
    let mut trials =
        ledger.history(Some(&TargetName::new("rig")), 100_000).map_err(|error| error.to_string())?;
    trials.reverse();
    Ok(trials)
}

/// A value as the server shows it; the server may need a moment to take a reload up.
pub(super) fn shown(rig: &Rig, parameter: &str) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let dsn = rig.postgres.dsn();
        let connection = leverd::postgres::connect(&dsn, Duration::from_secs(20)).await;
        let connection = connection.map_err(|error| format!("the server does not answer: {error}"))?;
        let row = connection.client().query_one(&format!("SHOW {parameter}"), &[]).await;
        Ok(row.map_err(|error| error.to_string())?.get(0))
    })
}

/// What a killed leverd may have left beside `postgresql.conf`.
pub(super) fn leftovers(rig: &Rig) -> Vec<String> {
    let names = fs::read_dir(rig.postgres.data()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.ends_with(".leverd-tmp")).collect()
}

/// Makes the rig forget a lever's failure at once, so that it is tried again and again.
pub(super) fn without_cool_down(rig: &Rig) {
    let text = rig.project.read("config/leverd.yaml").replace("cool_down: 1h", "cool_down: 1s");
    rig.project.write("config/leverd.yaml", &text);
}

/// A leverd in the background; killed when dropped.
pub(super) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    pub(super) fn start(rig: &Rig, arguments: &[&str]) -> Self {
        let log = rig.project.path().join("log");
        let file = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut command = rig.project.command(arguments);
        let child = command.stdout(Stdio::null()).stderr(file).spawn().unwrap();
        Self { child, log }
    }

    pub(super) fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    pub(super) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(super) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Its end, which must come.
    pub(super) fn end(&mut self) -> ExitStatus {
        let status = wait_for_exit(&mut self.child, PATIENCE);
        status.unwrap_or_else(|| panic!("leverd did not end within {PATIENCE:?}:\n{}", self.said()))
    }

    /// What it said so far, and those before it on this rig.
    pub(super) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sleeps, but no longer than it lives. `false`: it has ended.
    pub(super) fn lives_for(&mut self, time: Duration) -> bool {
        self.waits_until(time, || false);
        !self.has_ended()
    }

    /// Waits until it is so, while leverd lives, at most for `patience`. Whether it came.
    pub(super) fn waits_until(&mut self, patience: Duration, mut so: impl FnMut() -> bool) -> bool {
        let until = Instant::now() + patience;
        while Instant::now() < until && !self.has_ended() {
            if so() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(1).min(until.saturating_duration_since(Instant::now())));
        }
        false
    }

    /// While this one lives and holds the lock, another is refused. `None`: this one has none yet.
    pub(super) fn second_is_refused(&mut self, rig: &Rig) -> Option<Result<(), String>> {
        let holder = fs::read_to_string(rig.state().join("lock")).unwrap_or_default();
        if holder.trim() != format!("pid {}", self.child.id()) || self.has_ended() {
            return None;
        }
        let second = finish(rig.project.command(&["tune", "--cycles", "1", "--no-tty"]), PATIENCE);
        if self.has_ended() {
            return None;
        }
        let refused = second.status.code() == Some(75) && both(&second).contains(holder.trim());
        Some(if refused {
            Ok(())
        } else {
            Err(format!("a second leverd was not refused: {}\n{}", second.status, both(&second)))
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::CONT);
        self.kill();
    }
}

/// A watch on a file's bytes.
pub(super) fn differs(path: &Path) -> impl FnMut() -> bool + use<> {
    let (path, was) = (path.to_owned(), fs::read(path).ok());
    move || fs::read(&path).ok() != was
}
