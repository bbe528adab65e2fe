//! A seeded simulation of the whole loop: turn after turn of decide → trial → ledger, on a world that fails at any
//! point, by a leverd that dies between any two steps and comes back with nothing but what was stored.
//!
//! `decide`, `trial` and the driver (`drive`) are the real ones; the hands, the target and the ledger are models, and
//! the ledger's model is held against the real one. Judgements are rolled: what a judgement is worth is measured
//! elsewhere (docs/VERDICT.md).
//!
//! A failure names its seed; `LEVERD_SEED=123 cargo test --lib simulation` plays that one again.
//! `LEVERD_SIMULATION_SEEDS` says how many are played.

mod book;
mod invariants;
mod world;

use super::drive::{Hands, Times, drive};
use crate::decide::{GivingBack, Input, Permissions, Permit, decide};
use crate::ledger::Hold;
use crate::model::{
    Activation, Arm, Bound, Conclusion, Direction, Found, Lever, LeverName, Phase, Plan, Reading, Signal,
    SlaTarget, Snapshot, Trial, Unit,
};
use crate::trial::{self, Effect, Event, Timing};
use book::Book;
use chrono::{DateTime, TimeDelta, Utc};
use invariants::{is_taken_out, not_for_a_person, not_held_back, note_rest, stands};
use rand::RngExt;
use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use world::{World, levers};

/// Lives of leverd with faults, then without.
const LIVES: u32 = 6;
const CALM_LIVES: u32 = 4;
/// A trial that waits longer than this never ends.
const MOST_WAITS: u32 = 500;

/// Why a turn could not go on: the ledger, or a loan that cannot go back now.
#[derive(Debug)]
struct NotStored;

/// One life of leverd in the world.
struct Life<'a> {
    world: &'a mut World,
    waits: u32,
    absences: u32,
    /// The event that is to be recorded next says that Postgres is down.
    postgres_went_down: bool,
    /// It says that a person edited what the trial manages.
    edit_was_seen: bool,
}

impl Life<'_> {
    /// A future that never goes on is how a process dies here: it is dropped with all that it knew.
    async fn go_on_living(&self) {
        if self.world.dead {
            pending::<()>().await;
        }
    }

    fn record(&mut self, done: impl FnOnce(&mut Book), end_of: Option<&Trial>) -> Result<(), NotStored> {
        let world = &mut *self.world;
        if world.dies("a crash before a record") {
            return Err(NotStored);
        }
        if world.ledger_full {
            world.note("a record fails for want of space");
            return Err(NotStored);
        }
        done(&mut world.book);
        if world.fault("a record is done, its answer is lost", 4) {
            if let Some(trial) = end_of {
                world.end_unknown.insert(trial.id);
            }
            return Err(NotStored);
        }
        world.dies("a crash after a record");
        Ok(())
    }

    /// No effect without its record, no touch without an intent, no pull of what is held back.
    fn may(&self, effect: Effect, trial: &Trial) {
        let world = &self.world;
        assert_eq!(world.book.trial(trial.id), Some(trial), "{effect:?} before the trial was stored");
        if matches!(effect, Effect::Write(_) | Effect::Activate | Effect::StartServer) {
            assert!(trial.intent.is_some(), "{effect:?} without an intent");
        }
        if effect == Effect::Write(Arm::B) && trial.plan.gives_back.is_none() {
            not_held_back(world, &trial.plan.lever);
        }
        if effect == Effect::Write(Arm::B) && trial.plan.gives_back.is_some() {
            not_for_a_person(world, &trial.plan.lever);
        }
    }

    /// One turn, as `Session::turn` has it.
    async fn turn(&mut self, times: &Times) -> Result<(), NotStored> {
        self.go_on_living().await;
        if let Some(trial) = self.world.book.open_trial() {
            if trial.plan.borrowed_for.is_some() && trial.intent.is_some() && !self.world.up {
                self.world.note("a loan that died half-way waits for Postgres");
                return Err(NotStored);
            }
            let found = self.world.found(&trial);
            self.world.note("a trial is recovered");
            return self.drive(trial, Event::Recovered(found), times).await;
        }
        self.give_back_borrowed().await?;
        self.freeze_what_people_edited()?;
        self.go_on_living().await;
        if self.world.fault("a run borrows levers", 100) {
            return self.borrow(times).await;
        }
        let Some(plan) = self.decided().or_else(|| self.no_longer_needed()) else { return Ok(()) };
        self.world.time_passes(60);
        self.pull(plan, times).await
    }

    /// Opens a trial and plays it.
    async fn pull(&mut self, plan: Plan, times: &Times) -> Result<(), NotStored> {
        let mut trial = trial::open(plan, self.world.now, self.world.now);
        let mut id = trial.id;
        self.record(|book| id = book.insert(&trial), None)?;
        trial.id = id;
        self.go_on_living().await;
        self.drive(trial, Event::Begin, times).await
    }

    async fn drive(&mut self, trial: Trial, first: Event, times: &Times) -> Result<(), NotStored> {
        (self.waits, self.absences) = (0, 0);
        let driven = drive(self, trial, first, times).await.map(|_| ());
        if driven.is_err() {
            is_taken_out(self.world);
        }
        driven
    }

    /// As `Session::borrow`: what reloads and may be pulled, one after the other. Then the run dies: the next turn finds
    /// what it has left.
    async fn borrow(&mut self, times: &Times) -> Result<(), NotStored> {
        for lever in levers() {
            let memory = self.world.book.memory(self.world.now);
            let is_held = memory.halted.is_some()
                || memory.frozen.contains_key(&lever.name)
                || memory.quarantined.contains_key(&lever.name);
            let knob = self.world.knob(&lever.parameter);
            if is_held || knob.restarts {
                continue;
            }
            let from = knob.file.clone();
            self.pull(loan(&lever, from), times).await?;
            self.go_on_living().await;
            self.world.time_passes(60);
        }
        Ok(())
    }

    /// As `Session::give_back_borrowed`. What cannot go back now stays, and ends the turn.
    async fn give_back_borrowed(&mut self) -> Result<(), NotStored> {
        for loan in self.world.book.borrowed().into_iter().rev() {
            let edited = self.undo(&loan).await?.then_some("a person's value stands there");
            self.world.note(match edited {
                Some(_) => "a loan that a person edited is left",
                None => "a loan is given back",
            });
            let now = self.world.now;
            self.record(|book| book.mark_returned(loan.id, now, "its run is gone", edited), None)?;
            self.go_on_living().await;
        }
        Ok(())
    }

    /// As `Session::undo`. `true`: a person's value stands there, and was left.
    async fn undo(&mut self, loan: &Trial) -> Result<bool, NotStored> {
        match self.world.write(loan, Arm::A) {
            Event::Written(Arm::A) => {}
            Event::Edited(_) => return Ok(true),
            _ => return Err(NotStored),
        }
        self.world.dies("a crash after an effect");
        self.go_on_living().await;
        if self.world.activate(loan) != Event::Activated {
            return Err(NotStored);
        }
        if self.world.verify(loan, Arm::A) != Event::Verified {
            return Err(NotStored);
        }
        self.world.dies("a crash after an effect");
        self.go_on_living().await;
        Ok(false)
    }

    /// As `Session::freeze_what_people_edited`: the newest kept change of each lever must still stand.
    fn freeze_what_people_edited(&mut self) -> Result<(), NotStored> {
        let newest: BTreeMap<LeverName, Trial> =
            self.world.book.kept().into_iter().map(|trial| (trial.plan.lever.clone(), trial)).collect();
        for (lever, trial) in newest {
            let found = self.world.found(&trial);
            if self.world.book.is_frozen(&lever) || found == Found::After {
                continue;
            }
            self.world.note("a kept value that a person changed is frozen");
            let now = self.world.now;
            self.record(|book| book.freeze(&lever, &format!("{found:?}"), now), None)?;
        }
        Ok(())
    }

    /// As `Session::no_longer_needed`, where all is well.
    fn no_longer_needed(&mut self) -> Option<Plan> {
        let world = &mut *self.world;
        let report = world.compliant.take()?;
        let giving_back = GivingBack {
            kept: &world.book.kept(),
            tried: &world.book.give_backs(),
            memory: &world.book.memory(world.now),
            permissions: &permissions(),
            after: TimeDelta::minutes(10),
            now: world.now,
        };
        let (_, plan) = giving_back.candidates(&report).into_iter().next()?;
        world.note("a change is given back on trial");
        Some(plan)
    }

    fn decided(&mut self) -> Option<Plan> {
        let world = &mut *self.world;
        let broken = world.metrics_missing || world.random.random_range(0..10) > 0;
        let reading = if world.metrics_missing {
            Reading::Unknown { reason: "the newest sample is stale".into() }
        } else {
            let value = if broken { 100.0 } else { 10.0 };
            Reading::Known { value, at: world.now, query: String::new() }
        };
        let snapshot = Snapshot {
            at: world.now,
            readings: BTreeMap::from([("goal".into(), reading)]),
            server: world.server_state(),
            env_values: BTreeMap::new(),
            container: None,
            pooler: None,
            alerts: vec![],
            took: Duration::ZERO,
        };
        let (signal, memory) = (signal(), world.book.memory(world.now));
        let bound = SlaTarget { signal: "goal".into(), bound: Bound::Absolute(50.0), strict: false };
        let report = decide(Input {
            target: &"simulated".into(),
            signals: &[signal],
            sla: &[bound],
            baseline: None,
            levers: &levers(),
            symptom_mappings: &BTreeMap::new(),
            permissions: &permissions(),
            memory: &memory,
            snapshot: &snapshot,
        });
        match report.conclusion {
            Conclusion::Act(plan) => {
                assert!(!world.metrics_missing && broken && world.up, "a plan on what is not known");
                assert_eq!(memory.halted, None, "a plan while a person is needed");
                not_held_back(world, &plan.lever);
                Some(*plan)
            }
            Conclusion::Compliant => {
                assert!(!broken, "compliant on what is not known");
                world.note("a turn without need");
                world.compliant = Some(report.clone());
                None
            }
            Conclusion::CannotTell(_) => {
                world.note("a turn that cannot tell");
                None
            }
            Conclusion::NothingLeft(_) if memory.halted.is_some() => {
                world.note("a turn that waits for a person");
                None
            }
            Conclusion::NothingLeft(_) => {
                world.note("a turn with no lever left");
                None
            }
        }
    }
}

/// As `decide` plans a loan.
fn loan(lever: &Lever, from: String) -> Plan {
    Plan {
        target: "simulated".into(),
        symptom: "migration r1".into(),
        signal: "none".into(),
        unit: Unit::Count,
        goal_from: 0.0,
        limit: 0.0,
        lever: lever.name.clone(),
        tier: lever.tier,
        parameter: lever.parameter.clone(),
        place: lever.place.clone(),
        from: Some(from),
        to: "60".to_owned(),
        activation: Activation::Reload,
        spans_checkpoints: false,
        verify_query: None,
        reason: String::new(),
        passed_over: vec![],
        gives_back: None,
        needs_approval: false,
        borrowed_for: Some("r1".to_owned()),
    }
}

fn permissions() -> Permissions {
    let free = Permit::Free;
    Permissions { low: free, medium: free, high: free, restart: Ok(free), now: Ok(()) }
}

fn signal() -> Signal {
    Signal {
        name: "goal".into(),
        baseline_key: "goal".into(),
        unit: Unit::Count,
        direction: Direction::LowerIsBetter,
        queries: vec![],
        window: Duration::from_secs(60),
        scales_with_load: false,
        symptom: "high_goal".into(),
        optional: false,
    }
}

impl Hands for Life<'_> {
    type Error = NotStored;

    fn now(&self) -> DateTime<Utc> {
        self.world.now
    }

    fn store(
        &mut self,
        trial: &Trial,
        event: &'static str,
        hold: Option<Hold>,
        now: DateTime<Utc>,
    ) -> Result<(), NotStored> {
        let end = trial.phase.is_final().then_some(trial);
        let stored = self.record(|book| book.save(trial, event, hold, now), end);
        let known = self.world.book.trial(trial.id) == Some(trial);
        if std::mem::take(&mut self.postgres_went_down) && known {
            self.world.went_down.insert(trial.id);
        }
        if known {
            note_rest(self.world, trial, now, times().cool_down);
        }
        if std::mem::take(&mut self.edit_was_seen) && known && trial.intent.is_some() {
            self.world.must_rest.insert(trial.plan.lever.clone(), None);
        }
        if let Some(intent) = trial.intent.as_ref().filter(|_| known && trial.phase == Phase::IntentLogged) {
            // From here on a person's value is one that the intent does not know.
            let before = world::value(trial, Arm::A);
            let knob = self.world.knob(&intent.parameter);
            knob.edited = knob.file != before;
        }
        stored
    }

    /// As `Session::take_out`.
    async fn take_out(&mut self, trial: &Trial) {
        self.go_on_living().await;
        if trial.intent.is_none() {
            return;
        }
        self.world.note("what could not be recorded is taken out");
        if self.world.write(trial, Arm::A) != Event::Written(Arm::A) {
            return;
        }
        self.world.dies("a crash after an effect");
        self.go_on_living().await;
        let restart = trial.plan.activation == Activation::Restart;
        if restart && self.world.verify(trial, Arm::A) == Event::Verified {
            return;
        }
        let mut done = self.world.activate(trial);
        if let Event::ActivationFailed { server_down: true, .. } = done {
            done = self.world.carry_out(Effect::StartServer, trial);
        }
        // There is no ledger to say it; the log does.
        self.world.down_in_log |= matches!(done, Event::ActivationFailed { server_down: true, .. });
    }

    async fn perform(&mut self, effect: Effect, trial: &Trial) -> Event {
        self.go_on_living().await;
        self.may(effect, trial);
        self.world.time_passes(5);
        self.world.dies("a crash before an effect");
        self.go_on_living().await;
        let event = self.world.carry_out(effect, trial);
        self.postgres_went_down = matches!(event, Event::ActivationFailed { server_down: true, .. });
        self.edit_was_seen = matches!(event, Event::Edited(_));
        self.world.dies("a crash after an effect");
        self.go_on_living().await;
        event
    }

    async fn closed(&mut self, trial: &Trial) {
        self.go_on_living().await;
        assert_eq!(self.world.book.trial(trial.id), Some(trial), "an end that was not stored");
        self.world.dies("a crash after the end");
        self.go_on_living().await;
    }

    async fn wait(&mut self, trial: &Trial) -> Option<Event> {
        self.go_on_living().await;
        self.waits += 1;
        assert!(self.waits < MOST_WAITS, "the trial never ends: {trial:?}");
        let world = &mut *self.world;
        world.time_passes(30);
        world.dies("a crash while waiting");
        if world.fault("the trial is parked", 10) {
            world.dead = true;
            return None;
        }
        if world.fault("the clock jumps while leverd waits", 8) {
            let seconds = world.clock_jumps();
            return Some(Event::Interrupted(format!("the clock jumped by {seconds} s")));
        }
        let found = world.found(trial);
        let expected = if trial.phase == Phase::BackToA { Found::Before } else { Found::After };
        if found != expected {
            self.edit_was_seen = true;
            return Some(Event::Edited(format!("{found:?}")));
        }
        self.absences = if world.up { 0 } else { self.absences + 1 };
        if self.absences >= 3 {
            world.note("Postgres is away for too long");
            return Some(Event::Abort("Postgres is away".into()));
        }
        if world.fault("a guard breaks", 15) {
            return Some(Event::Abort("a guard doubled".into()));
        }
        Some(Event::Tick { checkpoints: Some(self.waits % 7) })
    }
}

/// Polls once. `None`: the process died on the way.
fn live<T>(life: impl Future<Output = T>) -> Option<T> {
    match pin!(life).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

fn times() -> Times {
    Times {
        timing: Timing { settle: Duration::from_secs(10), cycle: Duration::from_mins(1), max_extensions: 2 },
        cool_down: TimeDelta::minutes(10),
    }
}

/// Plays one seed to its end.
fn play(seed: u64, book: Book) -> World {
    let (mut world, times) = (World::new(seed, book), times());
    for _ in 0..LIVES {
        world.dead = false;
        let mut life = Life {
            world: &mut world,
            waits: 0,
            absences: 0,
            postgres_went_down: false,
            edit_was_seen: false,
        };
        let _ = live(async {
            for _ in 0..4 {
                // A turn that could not be recorded is not the end: the daemon tries again later.
                let _ = life.turn(&times).await;
                life.go_on_living().await;
                life.world.time_passes(900);
                life.world.person_thaws();
            }
        });
        stands(&world);
        world.time_passes(120);
        if world.fault("the clock jumps while leverd is away", 60) {
            world.clock_jumps();
        }
    }
    calm_down(&mut world, &times);
    world
}

/// Without faults all comes to rest.
fn calm_down(world: &mut World, times: &Times) {
    world.calm = true;
    (world.ledger_full, world.files_full, world.metrics_missing) = (false, false, false);
    if !world.up {
        world.start();
    }
    for _ in 0..CALM_LIVES {
        world.dead = false;
        let mut life = Life { world, waits: 0, absences: 0, postgres_went_down: false, edit_was_seen: false };
        let done = live(life.turn(times));
        assert!(matches!(done, Some(Ok(()))), "without faults a turn ends well");
        stands(world);
        world.time_passes(120);
    }
    assert_eq!(world.book.open_trial(), None, "a trial stays open");
    assert_eq!(world.book.borrowed(), [], "a loan is not given back");
    for trial in world.book.kept().iter().filter(|trial| world.end_unknown.contains(&trial.id)) {
        let newest = world.book.trials.iter().rev().find(|other| other.plan.lever == trial.plan.lever);
        let file = &world.knobs.iter().find(|knob| trial.plan.lever.as_str() == knob.name).unwrap().file;
        let stands = trial.intent.is_some() && world::value(trial, Arm::B) == file;
        let told = stands || world.book.is_frozen(&trial.plan.lever);
        assert!(told || newest.is_some_and(|newest| newest.id != trial.id), "kept, taken out, and not told");
    }
    for trial in world.book.trials.clone() {
        world.note(match trial.phase {
            Phase::Kept if trial.plan.gives_back.is_some() => "given back",
            Phase::Kept if trial.plan.borrowed_for.is_some() => "borrowed, and over",
            Phase::Kept => "kept",
            Phase::Reverted => "reverted",
            Phase::Aborted => "aborted",
            Phase::Frozen => "frozen",
            Phase::NeedsHuman => "needs a human",
            open => panic!("still {open}"),
        });
    }
}

fn number_from(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.trim().parse().unwrap_or_else(|_| panic!("{name}={text}: a whole number is wanted")))
}

/// Plays a seed; a failure names it.
fn play_named(seed: u64, book: Book) -> World {
    let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| play(seed, book)));
    played.unwrap_or_else(|_| panic!("play it again: LEVERD_SEED={seed} cargo test --lib simulation"))
}

/// All that must have happened for the simulation to mean anything.
const MUST_BE_SEEN: [&str; 50] = [
    "a run borrows levers",
    "a loan is given back",
    "a loan that a person edited is left",
    "borrowed, and over",
    "a change is given back on trial",
    "given back",
    "a crash before a record",
    "a crash after a record",
    "a crash before an effect",
    "a crash after an effect",
    "a crash after the end",
    "a crash while waiting",
    "a guard breaks",
    "a kept value that a person changed is frozen",
    "a look without data",
    "a person edits the file",
    "a person thaws a lever",
    "a record fails for want of space",
    "a record is done, its answer is lost",
    "a trial is recovered",
    "a turn that cannot tell",
    "a turn that waits for a person",
    "a turn with no lever left",
    "a turn without need",
    "a verification is not answered",
    "a write fails for want of space",
    "a write is done, its answer is lost",
    "an activation is done, its answer is lost",
    "an activation is not done",
    "metrics are back",
    "metrics are missing",
    "Postgres does not come back",
    "Postgres does not start on the old file",
    "Postgres is away for too long",
    "Postgres is killed",
    "Postgres is started again",
    "preflight refuses",
    "the clock goes back",
    "the clock goes forward",
    "the clock jumps while leverd is away",
    "the clock jumps while leverd waits",
    "the file's disk is full",
    "the ledger's disk is full",
    "the trial is parked",
    "what could not be recorded is taken out",
    "kept",
    "reverted",
    "aborted",
    "frozen",
    "needs a human",
];

#[test]
fn every_seed_is_old_or_new_and_the_ledger_says_which() {
    if let Some(seed) = number_from("LEVERD_SEED") {
        let world = play_named(seed, Book::default());
        eprintln!("seed {seed}: {:#?}", world.seen);
        return;
    }
    let seeds = number_from("LEVERD_SIMULATION_SEEDS").unwrap_or(10_000);
    let mut seen = BTreeMap::<&str, u64>::new();
    for seed in 0..seeds {
        for (what, count) in play_named(seed, Book::default()).seen {
            *seen.entry(what).or_default() += count;
        }
    }
    eprintln!("{seeds} seeds: {seen:#?}");
    let missing: Vec<_> = MUST_BE_SEEN.iter().filter(|what| !seen.contains_key(*what)).collect();
    assert!(missing.is_empty() || seeds < 1000, "never happened: {missing:?}");
}

/// The model of the ledger says what the real one says.
#[test]
fn the_ledgers_model_is_like_the_real_one() {
    for seed in 0..10 {
        play_named(seed, Book::beside_a_real_one());
    }
}
