//! Carries the effects of a trial out, one at a time, each after the trial was stored.

use super::clock;
use super::drive::{Hands, Times, drive};
use super::progress::Progress;
use super::session::{Session, SessionError, delta};
use super::watch::Watch;
use crate::actuate::ActuateError;
use crate::decide::guardrails;
use crate::ledger::Hold;
use crate::model::{Activation, Arm, Place, Plan, Reading, Trial};
use crate::observe;
use crate::postgres::server;
use crate::trial::{Effect, Event};
use chrono::{DateTime, Utc};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What a request to stop does to an open trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenStopped {
    /// It stays as it is in the ledger; the next start goes on with it: a daemon's restart.
    Park,
    /// It is put back: a person pressed Ctrl-C.
    PutBack,
}

impl Session {
    /// Runs a trial to its end, or until it is parked.
    pub(super) async fn run_trial(
        &mut self,
        trial: Trial,
        first: Event,
        stop: &CancellationToken,
        when_stopped: WhenStopped,
    ) -> Result<Trial, SessionError> {
        let times = Times { timing: self.timing(), cool_down: delta(self.config.cycle.cool_down) };
        let watch = self.begin_watch(&trial).await;
        let _ = self.jump_watch.jumped();
        let mut hands = SessionHands { session: self, watch, stop, when_stopped };
        drive(&mut hands, trial, first, &times).await
    }

    /// What cannot be recorded may not stay: puts the old value back, whatever the phase was to be.
    async fn take_out(&mut self, trial: &Trial) {
        let Some(intent) = &trial.intent else { return };
        tracing::error!(trial.id = trial.id.0, "the ledger cannot be written, so the change is put back");
        let (plan, arm) = (trial.plan.as_written(), trial.arm_written(Arm::A));
        let client = self.postgres.client().await.ok();
        if let Err(error) = self.actuator.write(intent, arm, &plan.place, client).await {
            tracing::error!(trial.id = trial.id.0, "and that failed too: {error}");
            return;
        }
        // The daemon comes here at every turn until it can write again: no restart where nothing is left to take out.
        if trial.plan.activation == Activation::Restart
            && let Ok(client) = self.postgres.client().await
            && self.actuator.verify(&plan, intent, arm, client).await.is_ok()
        {
            return;
        }
        let mut done = self.activate(trial).await;
        if let Event::ActivationFailed { server_down: true, .. } = done {
            done = self.start_server().await;
        }
        if let Event::ActivationFailed { why, .. } = done {
            tracing::error!(trial.id = trial.id.0, "and that failed too: {why}");
        }
    }

    async fn perform(&mut self, effect: Effect, trial: &Trial, watch: &Watch) -> Event {
        let event = match effect {
            Effect::Preflight => match self.preflight(&trial.plan).await {
                Ok(()) => Event::PreflightPassed,
                Err(why) => Event::PreflightFailed(why),
            },
            Effect::Prepare => self.prepare(trial).await,
            Effect::Write(arm) => self.write(trial, arm).await,
            Effect::Activate => self.activate(trial).await,
            Effect::StartServer => self.start_server().await,
            Effect::Verify(arm) => match self.verify(trial, arm).await {
                Ok(()) => Event::Verified,
                Err(why) => Event::VerifyFailed(why),
            },
            Effect::Judge => Event::Judged(self.judge(trial, watch).await),
            Effect::Close => unreachable!("closing is the loop's own"),
        };
        fail::fail_point!("trial::performed", |_| std::process::abort());
        event
    }

    /// The guardrails once more, on the server as it is this moment.
    async fn preflight(&mut self, plan: &Plan) -> Result<(), String> {
        let snapshot = self.observe().await;
        let state = snapshot.server?;
        if state.in_recovery {
            return Err("the server is a standby: settings are changed on the primary".to_owned());
        }
        if state.system_identifier == server::UNKNOWN_SYSTEM_IDENTIFIER {
            return Err("the role may not tell this server from another one: GRANT EXECUTE ON FUNCTION \
                        pg_control_system() TO it"
                .to_owned());
        }
        self.ledger
            .bind_target(&self.config.target.name, state.system_identifier, clock::now())
            .map_err(|error| error.to_string())?;
        match &plan.place {
            Place::EnvFile(_) => return Ok(()),
            Place::ContainerLimit { kind, .. } => {
                let container = snapshot.container.ok_or("no container is configured")??;
                return guardrails::check_limit(*kind, kind.parse(&plan.to)?, &container, &state);
            }
            Place::PgBouncer(_) => {
                let pooler = snapshot.pooler.ok_or("no PgBouncer is configured")??;
                return guardrails::check_pooler(&plan.parameter, &plan.to, &pooler, &state);
            }
            _ => {}
        }
        let change = guardrails::Change { parameter: &plan.parameter, to: &plan.to, place: &plan.place };
        match plan.gives_back {
            None => guardrails::check(change, &state),
            Some(_) => guardrails::check_old(change, &state),
        }
    }

    async fn prepare(&mut self, trial: &Trial) -> Event {
        if let Some(id) = trial.plan.gives_back {
            return self.prepare_giving_back(id);
        }
        let folder = self.config.paths.backups.join(clock::now().format("%Y%m%d_%H%M%S").to_string());
        let identifier = match self.postgres.client().await {
            Ok(client) => server::state(client).await.map(|server| server.state.system_identifier),
            Err(error) => Err(error),
        };
        let identifier = match identifier {
            Ok(identifier) => identifier,
            Err(error) => return Event::PrepareFailed(error.to_string()),
        };
        let client = self.postgres.client().await.ok();
        match self.actuator.prepare(&trial.plan, identifier, &folder, client).await {
            Ok(intent) => Event::Prepared(intent),
            Err(error) => Event::PrepareFailed(with_hint(&error)),
        }
    }

    async fn write(&mut self, trial: &Trial, arm: Arm) -> Event {
        let intent = trial.intent.as_ref().expect("a write comes after its intent");
        let client = self.postgres.client().await.ok();
        match self.actuator.write(intent, trial.arm_written(arm), &trial.plan.place, client).await {
            Ok(()) => Event::Written(arm),
            Err(error @ ActuateError::Edited { .. }) => Event::Edited(error.to_string()),
            Err(error) => Event::WriteFailed(with_hint(&error)),
        }
    }

    async fn activate(&mut self, trial: &Trial) -> Event {
        // A restart may be what brings a dead server back; a reload needs one that answers.
        let patience = match trial.plan.activation {
            Activation::Restart | Activation::AtOnce | Activation::PoolerReload => Duration::ZERO,
            Activation::Reload | Activation::AppReload => self.config.target.restart.timeout,
        };
        let client = self.postgres.client_within(patience).await.ok();
        let done = self.actuator.activate(trial.plan.activation, client).await;
        if trial.plan.activation == Activation::Restart {
            self.postgres.forget();
        }
        match done {
            Ok(()) => Event::Activated,
            Err(error) => activation_failed(&error),
        }
    }

    async fn start_server(&self) -> Event {
        match self.actuator.start().await {
            Ok(()) => Event::Activated,
            Err(error) => activation_failed(&error),
        }
    }

    /// Asks the server, and for an `.env` lever the application's own metric, for up to a minute.
    async fn verify(&mut self, trial: &Trial, arm: Arm) -> Result<(), String> {
        let intent = trial.intent.as_ref().expect("a verification comes after its intent");
        let client = self.postgres.client().await.map_err(|error| error.to_string())?;
        let (plan, written) = (trial.plan.as_written(), trial.arm_written(arm));
        self.actuator.verify(&plan, intent, written, client).await.map_err(|error| with_hint(&error))?;
        let Some(query) = &trial.plan.verify_query else { return Ok(()) };
        let expected = if arm == Arm::B { Some(&trial.plan.to) } else { trial.plan.from.as_ref() };
        let Some(expected) = expected.and_then(|text| text.trim().parse::<f64>().ok()) else { return Ok(()) };
        let patience = Duration::from_secs(30) + self.config.cycle.scrape_interval * 2;
        let until = tokio::time::Instant::now() + patience;
        loop {
            let found = observe::ask(&self.prometheus, query, clock::now()).await;
            if let Reading::Known { value, .. } = &found
                && (value - expected).abs() <= 1e-9 * expected.abs().max(1.0)
            {
                return Ok(());
            }
            if tokio::time::Instant::now() >= until {
                let seen = match found {
                    Reading::Known { value, .. } => value.to_string(),
                    Reading::Unknown { reason } => reason,
                };
                return Err(format!(
                    "the application did not take {} = {expected} up within {} s: {query} says {seen}",
                    trial.plan.parameter,
                    patience.as_secs()
                ));
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

fn activation_failed(error: &ActuateError) -> Event {
    let server_down = matches!(error, ActuateError::NotBack { .. });
    Event::ActivationFailed { why: with_hint(error), server_down }
}

fn with_hint(error: &ActuateError) -> String {
    match error.hint() {
        Some(hint) => format!("{error} ({hint})"),
        None => error.to_string(),
    }
}

/// The session's hands for one trial, with what they remember while it waits.
struct SessionHands<'a> {
    session: &'a mut Session,
    watch: Watch,
    stop: &'a CancellationToken,
    when_stopped: WhenStopped,
}

impl Hands for SessionHands<'_> {
    type Error = SessionError;

    fn now(&self) -> DateTime<Utc> {
        clock::now()
    }

    fn store(
        &mut self,
        trial: &Trial,
        event: &'static str,
        hold: Option<Hold>,
        now: DateTime<Utc>,
    ) -> Result<(), SessionError> {
        let ledger = &self.session.ledger;
        let stored = match hold {
            Some(hold) => ledger.save_and_hold(trial, event, hold, now),
            None => ledger.save(trial, event, now),
        };
        self.session.reporter.tell(Progress::Moved(Arc::new(trial.clone())));
        Ok(stored?)
    }

    async fn take_out(&mut self, trial: &Trial) {
        self.session.take_out(trial).await;
    }

    async fn perform(&mut self, effect: Effect, trial: &Trial) -> Event {
        self.session.perform(effect, trial, &self.watch).await
    }

    async fn closed(&mut self, trial: &Trial) {
        self.session.close(trial).await;
    }

    async fn wait(&mut self, trial: &Trial) -> Option<Event> {
        self.session.wait(trial, &mut self.watch, self.stop, self.when_stopped).await
    }
}

/// The event's name in the ledger's trail.
pub(super) fn name_of(event: &Event) -> &'static str {
    match event {
        Event::Begin => "begun",
        Event::PreflightPassed => "preflight passed",
        Event::PreflightFailed(_) => "preflight failed",
        Event::Prepared(_) => "intent prepared",
        Event::PrepareFailed(_) => "preparing failed",
        Event::Written(Arm::B) => "new value written",
        Event::Written(Arm::A) => "old value written",
        Event::WriteFailed(_) => "writing failed",
        Event::Activated => "activated",
        Event::ActivationFailed { .. } => "activation failed",
        Event::Verified => "verified",
        Event::VerifyFailed(_) => "verification failed",
        Event::Tick { .. } => "time passed",
        Event::Judged(_) => "judged",
        Event::Abort(_) => "aborted",
        Event::Interrupted(_) => "interrupted",
        Event::Edited(_) => "edited by a person",
        Event::Recovered(_) => "leverd started again",
    }
}
