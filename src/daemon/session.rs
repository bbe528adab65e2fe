//! One target's loop: what it holds, and one turn of it.

use super::alert_board::AlertBoard;
use super::clock::{self, JumpWatch};
use super::postgres_link::PostgresLink;
use super::progress::{Progress, Reporter};
use super::trial_run::WhenStopped;
use super::{lock, places};
use crate::actuate::{ActuateError, Actuator};
use crate::config::{Config, ConfigErrors, Policy, Pull, RestartMethod};
use crate::decide::{self, Memory, Permissions, Permit};
use crate::docker::Engine;
use crate::exporter::Held;
use crate::ledger::{Frozen, Ledger, LedgerError, TuningLog, waits};
use crate::model::{Alert, Baseline, Conclusion, Lever, Phase, Plan, Report, Snapshot, Trial, TrialId};
use crate::observe;
use crate::postgres::stats::Stats;
use crate::prometheus::{self, PrometheusError};
use crate::trial::{Event, Timing};
use chrono::{DateTime, Datelike, Local, TimeDelta, Timelike, Utc};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between the two reads of statistics at a start. Shorter ones miss what comes in bursts: spilled files, checkpoints.
const SHORTEST_WARM_UP: Duration = Duration::from_secs(2);
const LONGEST_WARM_UP: Duration = Duration::from_secs(20);
/// The scrape after a change may have begun before it; the next one has not.
const SCRAPES_UNTIL_SEEN: u32 = 2;

/// Why the loop cannot go on. Failures of the target are events of a trial, not errors of the session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Another leverd acts.
    #[error(transparent)]
    Locked(#[from] lock::LockError),
    /// The ledger cannot be used: without it nothing may be touched.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The Prometheus client cannot be made.
    #[error(transparent)]
    Prometheus(#[from] PrometheusError),
    /// The baseline cannot be read.
    #[error("{0}")]
    Baseline(ConfigErrors),
    /// A rollback that a person asked for failed.
    #[error(transparent)]
    Actuate(#[from] ActuateError),
    /// What a migration's run has borrowed cannot be given back now.
    #[error(
        "trial {trial} borrowed {parameter} for the migration's run {run}, and cannot give it back: {source}"
    )]
    NotReturned {
        /// The loan.
        trial: TrialId,
        /// What it changed.
        parameter: String,
        /// The run.
        run: String,
        /// Why.
        source: Box<ActuateError>,
    },
    /// What a migration's run was borrowing when it died could not be put back.
    #[error("trial {trial} borrowed {parameter} for the migration's run {run}, and needs a person: {why}")]
    Stuck {
        /// The loan.
        trial: TrialId,
        /// What it was to change.
        parameter: String,
        /// The run.
        run: String,
        /// Why.
        why: String,
    },
}

/// How one turn of the loop ended.
#[derive(Debug)]
pub enum Turn {
    /// Nothing was pulled; the report says why.
    Rested(Box<Report>),
    /// A trial ran to its end.
    Tried(Box<Trial>),
    /// The process was asked to stop in the middle of a trial, which stands in the ledger.
    Parked(Box<Trial>),
    /// A plan waits for a person's yes.
    Awaiting(Box<Trial>),
}

/// Everything that one target's loop holds.
#[derive(Debug)]
pub struct Session {
    pub(super) config: Arc<Config>,
    pub(super) prometheus: prometheus::Client,
    pub(super) ledger: Ledger,
    pub(super) actuator: Actuator,
    /// Of the container that Postgres runs in.
    pub(super) engine: Option<Engine>,
    pub(super) postgres: PostgresLink,
    pub(super) reporter: Reporter,
    pub(super) jump_watch: JumpWatch,
    pub(super) tuning_log: TuningLog,
    /// Alerts that were pushed; `None` where nobody can push any.
    board: Option<Arc<AlertBoard>>,
    /// Recent statistics, oldest first: facts are taken over up to one load cycle.
    stats: VecDeque<Stats>,
    /// The container's CPU periods, as long as the statistics.
    cpu_periods: VecDeque<(DateTime<Utc>, observe::CpuPeriods)>,
}

impl Session {
    /// Opens the ledger and makes the clients; connects to nothing yet.
    pub fn open(config: Arc<Config>, reporter: Reporter) -> Result<Self, SessionError> {
        let paths = &config.paths;
        let (tuning_log, trouble) =
            TuningLog::open(&paths.tuning_log, &paths.log_archive, config.log_rotation.clone());
        if let Some(trouble) = trouble {
            reporter.note(format!("tuning.log: {trouble}"));
        }
        Ok(Self {
            tuning_log,
            prometheus: prometheus::Client::new(&config.prometheus)?,
            ledger: Ledger::open(&config.paths.ledger)?,
            actuator: Actuator::new(&config.target),
            engine: config.target.container.as_ref().map(Engine::new),
            postgres: PostgresLink::new(config.target.dsn.clone()),
            reporter,
            jump_watch: JumpWatch::start(),
            board: None,
            stats: VecDeque::new(),
            cpu_periods: VecDeque::new(),
            config,
        })
    }

    /// Reads the alerts that a webhook puts there, too.
    pub(super) fn with_board(mut self, board: Arc<AlertBoard>) -> Self {
        board.map(self.config.alert_symptoms.clone());
        self.board = Some(board);
        self
    }

    /// The alerts that were pushed and are not among those that Prometheus told.
    pub(super) fn pushed_alerts(&self, told: &[Alert]) -> Vec<Alert> {
        let all = self.board.as_ref().map(|board| board.firing(clock::now())).unwrap_or_default();
        all.into_iter().filter(|alert| !told.iter().any(|other| other.name == alert.name)).collect()
    }

    /// Takes a new configuration, between two trials.
    pub fn reconfigure(&mut self, config: Arc<Config>) -> Result<(), SessionError> {
        self.prometheus = prometheus::Client::new(&config.prometheus)?;
        self.actuator = Actuator::new(&config.target);
        self.engine = config.target.container.as_ref().map(Engine::new);
        self.postgres = PostgresLink::new(config.target.dsn.clone());
        if let Some(board) = &self.board {
            board.map(config.alert_symptoms.clone());
        }
        self.config = config;
        Ok(())
    }

    /// The configuration in force.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The ledger.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Looks at everything once.
    pub async fn observe(&mut self) -> Snapshot {
        let at = clock::now();
        self.forget_old_stats();
        let previous = self.stats.front().cloned();
        let client = self.postgres.client().await.map_err(|error| error.to_string());
        let earlier = observe::Earlier {
            stats: previous.as_ref(),
            cpu_periods: self.cpu_periods.front().map(|(_, periods)| *periods),
        };
        let engine = self.engine.as_ref();
        let (mut snapshot, stats) =
            observe::snapshot(&self.config, &self.prometheus, client, engine, earlier, at).await;
        let pushed = self.pushed_alerts(&snapshot.alerts);
        snapshot.alerts.extend(pushed);
        self.stats.extend(stats);
        if let Some(Ok(container)) = &snapshot.container {
            self.cpu_periods.extend(container.cpu_periods.map(|periods| (at, periods)));
        }
        snapshot
    }

    /// Facts are deltas: right after the start, statistics are read twice with some time in between.
    pub async fn warm_up(&mut self, stop: &CancellationToken) {
        if self.stats.is_empty() {
            let _ = self.observe().await;
            let pause = (self.config.cycle.load_cycle / 3).clamp(SHORTEST_WARM_UP, LONGEST_WARM_UP);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Levels are averages over a window, of scrapes that come one by one: after a change, waits until the windows hold
    /// nothing from before it.
    async fn wait_for_fresh_levels(&mut self, stop: &CancellationToken) -> Result<(), SessionError> {
        let Some(changed) = self.ledger.last_change_at(&self.config.target.name)? else { return Ok(()) };
        // One that is recorded for later than now was recorded by a clock that was ahead: it is not waited for.
        let since = changed.min(clock::now());
        let what = "until the levels' windows hold nothing from before the last change";
        let until = since + self.longest_window() + self.config.cycle.scrape_interval * SCRAPES_UNTIL_SEEN;
        self.tell_and_wait(what, since, until, stop).await;
        Ok(())
    }

    /// Waits from `since` until `until`, or until asked to stop, and tells how far it is.
    pub(super) async fn tell_and_wait(
        &self,
        what: &str,
        since: DateTime<Utc>,
        until: DateTime<Utc>,
        stop: &CancellationToken,
    ) {
        while clock::now() < until && !stop.is_cancelled() {
            let now = clock::now();
            self.reporter.tell(Progress::Waiting { what: what.to_owned(), since, until, now });
            let pause = (until - now).to_std().unwrap_or_default().min(Duration::from_secs(1));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// The longest window over which a level is an average.
    fn longest_window(&self) -> Duration {
        let bounded = self.config.signals.iter().filter(|signal| self.config.sla_of(&signal.name).is_some());
        let averaged = bounded.filter(|signal| signal.queries.iter().any(|query| query.contains("window")));
        averaged.map(|signal| signal.window).max().unwrap_or_default()
    }

    /// The exact change that a plan would make, as a unified diff. Changes nothing.
    pub async fn preview(&mut self, plan: &Plan) -> Result<String, ActuateError> {
        let client = self.postgres.client().await.ok();
        self.actuator.preview(plan, client).await
    }

    /// The commands that put a trial's old value back without leverd.
    pub fn undo_commands(&self, trial: &Trial) -> Vec<String> {
        trial
            .intent
            .as_ref()
            .filter(|_| trial.plan.gives_back.is_none())
            .map(|intent| self.actuator.undo_commands(&trial.plan, intent))
            .unwrap_or_default()
    }

    /// The share of transactions that were rolled back lately; `None` while it is not known.
    pub(super) fn failed_share(&self) -> Option<f64> {
        let sum = |stats: &Stats| {
            stats.databases.iter().fold((0.0, 0.0), |(c, r), db| (c + db.commits, r + db.rollbacks))
        };
        let (old, new) = (sum(self.stats.front()?), sum(self.stats.back()?));
        let (committed, failed) = (new.0 - old.0, new.1 - old.1);
        (committed >= 0.0 && failed >= 0.0 && committed + failed > 0.0).then(|| failed / (committed + failed))
    }

    fn forget_old_stats(&mut self) {
        let Some(newest) = self.stats.back().map(|stats| stats.at) else { return };
        while self.stats.len() > 1 && newest - self.stats[1].at >= delta(self.config.cycle.load_cycle) {
            self.stats.pop_front();
        }
        while self.cpu_periods.len() > 1
            && newest - self.cpu_periods[1].0 >= delta(self.config.cycle.load_cycle)
        {
            self.cpu_periods.pop_front();
        }
    }

    /// Looks, and decides what to do.
    pub async fn decide(&mut self) -> Result<(Snapshot, Report), SessionError> {
        let snapshot = self.observe().await;
        let baseline = self.baseline()?;
        let levers = self.levers_for(&snapshot);
        let memory = self.memory()?;
        let permissions = permissions(&self.config, clock::now());
        let report = decide::decide(decide::Input {
            target: &self.config.target.name,
            signals: &self.config.signals,
            sla: &self.config.sla,
            baseline: baseline.as_ref(),
            levers: &levers,
            symptom_mappings: &self.config.symptom_mappings,
            permissions: &permissions,
            memory: &memory,
            snapshot: &snapshot,
        });
        Ok((snapshot, report))
    }

    /// One turn: finish what was begun, look, decide, and try at most one lever.
    pub async fn turn(
        &mut self,
        stop: &CancellationToken,
        when_stopped: WhenStopped,
    ) -> Result<Turn, SessionError> {
        // Whoever comes here holds the lock, and a run that borrows holds it too.
        self.give_back_borrowed("its run is no longer at work").await?;
        if let Some(trial) = self.recover()? {
            if trial.phase == Phase::AwaitApproval {
                return self.await_answer(trial, stop, when_stopped).await;
            }
            let found = Event::Recovered(self.look(&trial).await);
            return self.carry_on(trial, found, stop, when_stopped).await;
        }
        match self.confirmed(stop).await? {
            (Report { conclusion: Conclusion::Act(plan), .. }, Some(clean)) if plan.needs_approval => {
                self.ask_for(*plan, clean)
            }
            (Report { conclusion: Conclusion::Act(plan), .. }, Some(clean)) => {
                let trial = self.open_trial(*plan, clean)?;
                self.carry_on(trial, Event::Begin, stop, when_stopped).await
            }
            (report, _) => Ok(Turn::Rested(Box::new(report))),
        }
    }

    /// Looks, decides and tells, once the signals' windows hold nothing from before the last change.
    pub(super) async fn report(&mut self, stop: &CancellationToken) -> Result<Report, SessionError> {
        self.wait_for_fresh_levels(stop).await?;
        self.freeze_what_people_edited().await?;
        let (snapshot, report) = self.decide().await?;
        self.log_sample(&snapshot, None);
        self.reporter.tell(Progress::Observed(Arc::new(snapshot)));
        self.reporter.tell(Progress::Decided(Arc::new(report.clone())));
        self.reporter.tell(Progress::Held(self.held()?, self.baseline()?.map(Arc::new)));
        Ok(report)
    }

    /// Ends a trial that an earlier process left open by putting it back.
    pub async fn put_back_open_trial(&mut self) -> Result<Option<Trial>, SessionError> {
        let Some(trial) = self.recover()? else { return Ok(None) };
        let stop = CancellationToken::new();
        stop.cancel();
        let found = Event::Recovered(self.look(&trial).await);
        Ok(Some(self.run_trial(trial, found, &stop, WhenStopped::PutBack).await?))
    }

    pub(super) async fn carry_on(
        &mut self,
        trial: Trial,
        first: Event,
        stop: &CancellationToken,
        when_stopped: WhenStopped,
    ) -> Result<Turn, SessionError> {
        let trial = self.run_trial(trial, first, stop, when_stopped).await?;
        Ok(if trial.phase.is_final() { Turn::Tried(Box::new(trial)) } else { Turn::Parked(Box::new(trial)) })
    }

    /// What is normal, where it was taken.
    pub fn baseline(&self) -> Result<Option<Baseline>, SessionError> {
        crate::config::read_baseline(&self.config.paths.baseline, &self.config.signals)
            .map_err(SessionError::Baseline)
    }

    /// What the ledger remembers for decisions.
    pub fn memory(&self) -> Result<Memory, SessionError> {
        let target = &self.config.target.name;
        let frozen = self.ledger.frozen(target)?;
        let halted = halted_by(self.ledger.needing_human(target)?, &frozen);
        Ok(Memory {
            frozen: frozen.into_iter().map(|row| (row.lever, row.why)).collect(),
            quarantined: self
                .ledger
                .quarantined(target, clock::now())?
                .into_iter()
                .map(|row| (row.lever, (row.until, row.why)))
                .collect(),
            experience: self.ledger.experience(target)?,
            halted,
        })
    }

    /// What the ledger holds, counted.
    fn held(&self) -> Result<Held, SessionError> {
        let target = &self.config.target.name;
        let frozen = self.ledger.frozen(target)?;
        let is_open_wound = |trial: &&Trial| frozen.iter().any(|row| row.lever == trial.plan.lever);
        Ok(Held {
            kept: self.ledger.kept(target)?.len(),
            needs_human: self.ledger.needing_human(target)?.iter().filter(is_open_wound).count(),
            quarantined: self.ledger.quarantined(target, clock::now())?.len(),
            frozen: frozen.len(),
            awaiting_approval: usize::from(self.ledger.open_trial(target)?.is_some_and(|open| waits(&open))),
        })
    }

    pub(super) fn levers_for(&self, snapshot: &Snapshot) -> Vec<Lever> {
        match &snapshot.server {
            Ok(server) => {
                let mounts = match &snapshot.container {
                    Some(Ok(container)) => container.mounts.as_slice(),
                    _ => &[],
                };
                places::resolve(&self.config.levers, server, mounts)
            }
            Err(_) => self.config.levers.clone(),
        }
    }

    /// The times of a trial.
    pub(super) fn timing(&self) -> Timing {
        let cycle = &self.config.cycle;
        Timing { settle: cycle.settle, cycle: cycle.load_cycle, max_extensions: cycle.max_extensions }
    }
}

/// Why nothing may be pulled: an undo that failed, and that no person has looked after since.
pub(super) fn halted_by(needing_human: Vec<Trial>, frozen: &[Frozen]) -> Option<String> {
    let open_wound =
        needing_human.into_iter().find(|trial| frozen.iter().any(|row| row.lever == trial.plan.lever))?;
    Some(format!(
        "trial {} ({}) needs a person: {}; `leverd thaw {}` once it is looked after",
        open_wound.id,
        open_wound.plan.lever,
        open_wound.ending.unwrap_or_default(),
        open_wound.plan.lever
    ))
}

/// A configured duration as chrono has it; ours are days at most.
pub(super) fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}

/// What the policy allows at this moment.
pub(super) fn permissions(config: &Config, now: DateTime<Utc>) -> Permissions {
    let policy = &config.policy;
    let permit = |pull: Pull| match pull {
        Pull::Auto => Permit::Free,
        Pull::Approve => Permit::AfterApproval,
        Pull::Shadow => Permit::Never,
    };
    let window = in_window(policy, now);
    let restart = if policy.restart == Pull::Shadow {
        Err("the policy for restarts is shadow".to_owned())
    } else if config.target.restart.method == RestartMethod::Never {
        Err("the target has no way to restart (`target.restart.method`)".to_owned())
    } else {
        window.clone().map(|()| permit(policy.restart))
    };
    Permissions {
        low: permit(policy.low),
        medium: permit(policy.medium),
        high: permit(policy.high),
        restart,
        now: if policy.windows_for_all { window } else { Ok(()) },
    }
}

/// Whether a maintenance window is open, or why not.
fn in_window(policy: &Policy, now: DateTime<Utc>) -> Result<(), String> {
    let (weekday, minute) = if policy.windows_local {
        let local = now.with_timezone(&Local);
        (local.weekday().num_days_from_monday(), local.hour() * 60 + local.minute())
    } else {
        (now.weekday().num_days_from_monday(), now.hour() * 60 + now.minute())
    };
    if policy.windows.is_empty() || policy.windows.iter().any(|window| window.is_open(weekday, minute)) {
        return Ok(());
    }
    let all: Vec<String> = policy.windows.iter().map(ToString::to_string).collect();
    let zone = if policy.windows_local { "local time" } else { "UTC" };
    Err(format!("no maintenance window is open ({}, {zone})", all.join("; ")))
}
