//! A made-up target that fails at any point: three levers, a server, two disks, a clock, a person.

use super::book::Book;
use crate::model::{
    Activation, Arm, Comparison, Context, CostTier, Direction, Found, Intent, Judgement, Lever, LeverName,
    OldValue, Place, Report, Ruling, ServerState, Setting, SettingType, Sourced, Trial, TrialId, Unit,
};
use crate::trial::{Effect, Event};
use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};

/// One lever's setting in the world.
#[derive(Debug, Clone)]
pub(super) struct Knob {
    pub(super) name: &'static str,
    pub(super) restarts: bool,
    pub(super) file: String,
    pub(super) server: String,
    /// A person wrote into the file since the last intent.
    pub(super) edited: bool,
}

pub(super) struct World {
    pub(super) random: StdRng,
    pub(super) knobs: Vec<Knob>,
    pub(super) up: bool,
    /// Somebody other than leverd took Postgres down, and it is not back.
    pub(super) killed: bool,
    pub(super) now: DateTime<Utc>,
    pub(super) ledger_full: bool,
    pub(super) files_full: bool,
    pub(super) metrics_missing: bool,
    /// What the last look said, where it found nothing wrong.
    pub(super) compliant: Option<Report>,
    /// No faults any more.
    pub(super) calm: bool,
    /// This life of leverd is over.
    pub(super) dead: bool,
    pub(super) book: Book,
    /// Trials that a judgement said to keep.
    pub(super) proven: BTreeSet<TrialId>,
    /// Trials whose end was recorded, and leverd was told that it was not.
    pub(super) end_unknown: BTreeSet<TrialId>,
    /// Levers that their last trial's end holds back: until when, or until a person says otherwise. Kept apart from
    /// the ledger, so that what it forgets is found.
    pub(super) must_rest: BTreeMap<LeverName, Option<DateTime<Utc>>>,
    /// Trials of which the ledger was told that Postgres went down in them.
    pub(super) went_down: BTreeSet<TrialId>,
    /// Postgres went down while nothing could be recorded: the log says so.
    pub(super) down_in_log: bool,
    /// How often each thing happened.
    pub(super) seen: BTreeMap<&'static str, u64>,
}

impl World {
    pub(super) fn new(seed: u64, book: Book) -> Self {
        let knob =
            |name, restarts| Knob { name, restarts, file: "10".into(), server: "10".into(), edited: false };
        Self {
            random: StdRng::seed_from_u64(seed),
            knobs: vec![knob("alpha", false), knob("beta", true), knob("gamma", false)],
            up: true,
            killed: false,
            now: DateTime::from_timestamp(1_700_000_000, 0).unwrap(),
            ledger_full: false,
            files_full: false,
            metrics_missing: false,
            compliant: None,
            calm: false,
            dead: false,
            book,
            proven: BTreeSet::new(),
            end_unknown: BTreeSet::new(),
            must_rest: BTreeMap::new(),
            went_down: BTreeSet::new(),
            down_in_log: false,
            seen: BTreeMap::new(),
        }
    }

    pub(super) fn note(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// Whether a fault of this chance, in thousandths, happens now; noted where it does.
    pub(super) fn fault(&mut self, what: &'static str, thousandths: u32) -> bool {
        let happens = !self.calm && self.random.random_range(0..1000) < thousandths;
        if happens {
            self.note(what);
        }
        happens
    }

    /// A fault that ends this life of leverd.
    pub(super) fn dies(&mut self, what: &'static str) -> bool {
        self.dead |= self.fault(what, 12);
        self.dead
    }

    pub(super) fn knob(&mut self, name: &str) -> &mut Knob {
        self.knobs.iter_mut().find(|knob| knob.name == name).unwrap()
    }

    /// Some seconds go by, and what happens in them without leverd.
    pub(super) fn time_passes(&mut self, most_seconds: i64) {
        let seconds = self.random.random_range(0..=most_seconds);
        self.now += TimeDelta::seconds(seconds);
        if self.calm {
            return;
        }
        if self.fault("a person edits the file", 8) {
            self.person_edits();
        }
        if self.up && self.fault("Postgres is killed", 4) {
            (self.up, self.killed) = (false, true);
        } else if self.killed && self.fault("Postgres is started again", 300) {
            self.start();
        }
        if self.ledger_full {
            self.ledger_full = !self.fault("the ledger's disk has space again", 200);
        } else {
            self.ledger_full = self.fault("the ledger's disk is full", 6);
        }
        if self.files_full {
            self.files_full = !self.fault("the file's disk has space again", 200);
        } else {
            self.files_full = self.fault("the file's disk is full", 6);
        }
        if self.metrics_missing {
            self.metrics_missing = !self.fault("metrics are back", 200);
        } else {
            self.metrics_missing = self.fault("metrics are missing", 20);
        }
    }

    /// The clock is moved, by up to a day, in either direction; by how much.
    pub(super) fn clock_jumps(&mut self) -> i64 {
        let seconds = self.random.random_range(-86_400..86_400);
        self.note(if seconds < 0 { "the clock goes back" } else { "the clock goes forward" });
        self.now += TimeDelta::seconds(seconds);
        seconds
    }

    fn person_edits(&mut self) {
        let value = self.random.random_range(11..19).to_string();
        let which = self.random.random_range(0..self.knobs.len());
        let knob = &mut self.knobs[which];
        (knob.file, knob.edited) = (value, true);
    }

    /// A person looks after frozen levers: gives one back, with everything as they want it.
    pub(super) fn person_thaws(&mut self) {
        for index in 0..self.knobs.len() {
            let lever = LeverName::new(self.knobs[index].name);
            if self.book.is_frozen(&lever) && self.fault("a person thaws a lever", 400) {
                self.start();
                let knob = &mut self.knobs[index];
                knob.edited = true;
                self.must_rest.remove(&lever);
                self.book.thaw(&lever, self.now);
            }
        }
    }

    /// Postgres starts on what its file says.
    pub(super) fn start(&mut self) {
        (self.up, self.killed) = (true, false);
        for knob in &mut self.knobs {
            knob.server.clone_from(&knob.file);
        }
    }

    fn reload(&mut self) {
        for knob in self.knobs.iter_mut().filter(|knob| !knob.restarts) {
            knob.server.clone_from(&knob.file);
        }
    }

    /// How the file stands to a trial's change, as `Session::look` has it.
    pub(super) fn found(&mut self, trial: &Trial) -> Found {
        let Some(intent) = &trial.intent else { return Found::Before };
        let file = self.knob(&intent.parameter).file.clone();
        trial.found(if file == intent.sha256_before {
            Found::Before
        } else if file == intent.sha256_after {
            Found::After
        } else {
            Found::Neither(format!("{file} stands there"))
        })
    }

    /// Carries an effect out, or fails at it; what comes back is what leverd would see.
    pub(super) fn carry_out(&mut self, effect: Effect, trial: &Trial) -> Event {
        match effect {
            Effect::Preflight if !self.up => Event::PreflightFailed("no answer".into()),
            Effect::Preflight if self.fault("preflight refuses", 20) => Event::PreflightFailed("no".into()),
            Effect::Preflight => Event::PreflightPassed,
            Effect::Prepare => self.prepare(trial),
            Effect::Write(arm) => self.write(trial, arm),
            Effect::Activate => self.activate(trial),
            Effect::StartServer if self.up => Event::Activated,
            Effect::StartServer if self.fault("Postgres does not start on the old file", 100) => {
                Event::ActivationFailed { why: "does not start".into(), server_down: true }
            }
            Effect::StartServer => {
                self.start();
                Event::Activated
            }
            Effect::Verify(arm) => self.verify(trial, arm),
            Effect::Judge => self.judge(trial),
            Effect::Close => unreachable!("closing is the loop's own"),
        }
    }

    fn prepare(&mut self, trial: &Trial) -> Event {
        if !self.up || self.files_full {
            return Event::PrepareFailed("it cannot be prepared".into());
        }
        if let Some(kept) = trial.plan.gives_back {
            return Event::Prepared(self.book.trial(kept).and_then(|kept| kept.intent.clone()).unwrap());
        }
        let to = trial.plan.to.clone();
        let knob = self.knob(&trial.plan.parameter);
        if knob.file == to {
            return Event::PrepareFailed("it stands there already".into());
        }
        Event::Prepared(Intent {
            system_identifier: 7,
            file: "/data/postgresql.conf".into(),
            parameter: trial.plan.parameter.clone(),
            old: OldValue::Line { raw: knob.file.clone(), number: 1 },
            new: to.clone(),
            sha256_before: knob.file.clone(),
            sha256_after: to,
            backup: None,
            in_place: false,
        })
    }

    pub(super) fn write(&mut self, trial: &Trial, arm: Arm) -> Event {
        let (found, full) = (self.found(trial), self.files_full);
        let there = if arm == Arm::A { Found::Before } else { Found::After };
        if let Found::Neither(what) = found {
            return Event::Edited(what);
        }
        if found != there {
            if full {
                self.note("a write fails for want of space");
                return Event::WriteFailed("disk full".into());
            }
            self.knob(&trial.plan.parameter).file = value(trial, arm).to_owned();
            if self.fault("a write is done, its answer is lost", 15) {
                return Event::WriteFailed("lost".into());
            }
        }
        Event::Written(arm)
    }

    pub(super) fn activate(&mut self, trial: &Trial) -> Event {
        let failed = |server_down| Event::ActivationFailed { why: "failed".into(), server_down };
        if self.fault("an activation is not done", 15) {
            return failed(false);
        }
        if trial.plan.activation == Activation::Restart {
            let new = trial.intent.is_some() && self.found(trial) == Found::After;
            if self.fault("Postgres does not come back", if new { 120 } else { 20 }) {
                self.up = false;
                return failed(true);
            }
            self.start();
        } else if self.up {
            self.reload();
        } else {
            return failed(false);
        }
        if self.fault("an activation is done, its answer is lost", 15) {
            return failed(false);
        }
        Event::Activated
    }

    pub(super) fn verify(&mut self, trial: &Trial, arm: Arm) -> Event {
        let (wanted, up) = (value(trial, arm), self.up);
        let knob = self.knob(&trial.plan.parameter);
        let holds = up && knob.file == wanted && knob.server == wanted;
        if !holds || self.fault("a verification is not answered", 10) {
            return Event::VerifyFailed("not in effect".into());
        }
        Event::Verified
    }

    fn judge(&mut self, trial: &Trial) -> Event {
        if self.metrics_missing {
            self.note("a look without data");
            return Event::Judged(judgement(Ruling::Extend, None));
        }
        let ruling = [Ruling::Keep, Ruling::Keep, Ruling::Revert, Ruling::Extend, Ruling::Extend]
            [self.random.random_range(0..5)];
        if ruling == Ruling::Keep {
            self.proven.insert(trial.id);
        }
        // In steps that a JSON number holds exactly.
        let change = f64::from(self.random.random_range(-32..20)) / 64.0;
        Event::Judged(judgement(ruling, Some(change)))
    }

    /// The server as a decision sees it.
    pub(super) fn server_state(&self) -> Result<ServerState, String> {
        if !self.up {
            return Err("no answer".into());
        }
        let settings = self.knobs.iter().map(setting).map(|setting| (setting.name.clone(), setting));
        Ok(ServerState {
            version_num: 150_018,
            system_identifier: 7,
            started_at: DateTime::UNIX_EPOCH,
            in_recovery: false,
            config_file: None,
            data_directory: None,
            settings: settings.collect(),
            file_errors: vec![],
            role_or_database_settings: BTreeMap::new(),
            facts: BTreeMap::new(),
            memory_budget_bytes: None,
        })
    }
}

/// What stands in the file under an arm of a trial that has its intent.
pub(super) fn value(trial: &Trial, arm: Arm) -> &str {
    let intent = trial.intent.as_ref().unwrap();
    match trial.arm_written(arm) {
        Arm::A => &intent.sha256_before,
        Arm::B => &intent.sha256_after,
    }
}

fn judgement(ruling: Ruling, change: Option<f64>) -> Judgement {
    let goal = change.map(|change| Comparison {
        signal: "goal".into(),
        unit: Unit::Count,
        direction: Direction::LowerIsBetter,
        before: 100.0,
        after: 100.0 * (1.0 + change),
        n_before: 60,
        n_after: 60,
        effective_n: 100.0,
        change,
        low: change - 0.125,
        high: change + 0.125,
        per_load: true,
    });
    Judgement { ruling, reason: format!("{ruling:?}"), goal, guards: vec![], look: 0, alpha: 0.25 }
}

fn setting(knob: &Knob) -> Setting {
    Setting {
        name: knob.name.into(),
        value: knob.server.clone(),
        unit: None,
        vartype: SettingType::Integer,
        context: if knob.restarts { Context::Postmaster } else { Context::Sighup },
        min: Some(0.0),
        max: Some(1e6),
        enumvals: vec![],
        sourced: Sourced {
            source: "configuration file".into(),
            file: Some("/data/postgresql.conf".into()),
            line: Some(1),
        },
        reset_value: knob.server.clone(),
        boot_value: "10".into(),
        pending_restart: false,
    }
}

/// The levers as the configuration has them.
pub(super) fn levers() -> Vec<Lever> {
    let lever = |name: &str| Lever {
        name: name.into(),
        description: String::new(),
        tier: CostTier::Low,
        symptoms: vec!["high_goal".into()],
        parameter: name.into(),
        place: Place::PostgresqlConf("/data/postgresql.conf".into()),
        default_value: Some("10".into()),
        values: ["20", "30", "40", "50"].map(str::to_owned).to_vec(),
        impact: None,
        risk: None,
        evidence: vec![],
        spans_checkpoints: name == "gamma",
        verify_query: None,
        line: 1,
    };
    ["alpha", "beta", "gamma"].map(lever).to_vec()
}
