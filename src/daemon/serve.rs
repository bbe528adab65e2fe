//! The daemon: the loop for ever, with its metrics, its health, and a configuration that may change.

use super::alert_board::AlertBoard;
use super::clock;
use super::progress::{Progress, Reporter};
use super::service_manager;
use super::session::{Session, SessionError, Turn};
use super::trial_run::WhenStopped;
use crate::announce::{Announcement, Announcer};
use crate::api::{self, ApiState, Readiness, TakeAlerts, Token};
use crate::config::{Config, ConfigErrors};
use crate::exporter::{self, ExporterError, OwnMetrics, WebhookResult};
use crate::model::{Conclusion, Phase, Report, Trial};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Between two turns after one that failed: doubling from the first to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(1));

/// Why the daemon could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Somebody else listens there.
    #[error("cannot listen on {at}: {source} (`exporter.listen` in leverd.yaml)")]
    Listen {
        /// The address.
        at: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// The exporter's threads cannot start.
    #[error(transparent)]
    Exporter(#[from] ExporterError),
    /// The loop cannot start.
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// What the daemon is told from outside while it runs.
#[derive(Debug, Clone, Default)]
pub struct Requests {
    /// Finish or park what is open, and end.
    pub stop: CancellationToken,
    /// Read the configuration again.
    pub reload: Arc<Notify>,
}

/// Runs until `requests.stop`. `load` reads the configuration again; a bad one is told and the old one stays.
pub async fn serve(
    config: Config,
    load: impl Fn() -> Result<Config, ConfigErrors>,
    requests: Requests,
) -> Result<(), ServeError> {
    let at = config.exporter.listen;
    let listener = TcpListener::bind(at).await.map_err(|source| ServeError::Listen { at, source })?;
    let tracker = TaskTracker::new();
    let ended = CancellationToken::new();
    let exporter = exporter::start(exporter::Options::of(&config), &tracker, ended.clone())?;
    let own = Arc::clone(exporter.own());
    let readiness: Arc<Mutex<Readiness>> = Arc::new(Mutex::new(Readiness {
        ready: false,
        reason: "starting: nothing was decided yet".to_owned(),
    }));
    let (pages, ready) = (exporter.clone(), Arc::clone(&readiness));
    let board = Arc::new(AlertBoard::default());
    let refused = Arc::clone(&own);
    let state = ApiState {
        metrics: Arc::new(move || pages.render()),
        readiness: Arc::new(move || ready.lock().unwrap_or_else(PoisonError::into_inner).clone()),
        alerts: to_board(Arc::clone(&board), Arc::clone(&own)),
        refused: Arc::new(move || refused.webhook(WebhookResult::Refused)),
        token: config.api.token.as_ref().map(|token| Token::new(token.expose())),
        guarded: !at.ip().is_loopback(),
    };
    tracker.spawn(api::serve(listener, state, ended.clone()));
    tracing::info!("leverd runs on {}; http://{at}/metrics", config.target.name);
    tracker.spawn(service_manager::watchdog(Arc::clone(&own), config.cycle.tick, ended.clone()));

    let announcer = Announcer::start(&config.announce, &tracker, ended.clone());
    let session =
        Session::open(Arc::new(config), to_log(Arc::clone(&own), announcer))?.with_board(Arc::clone(&board));
    service_manager::ready();
    let done = loop_for_ever(session, load, &requests, &own, &readiness, &board).await;
    service_manager::stopping();
    ended.cancel();
    tracker.close();
    tracker.wait().await;
    done
}

async fn loop_for_ever(
    mut session: Session,
    load: impl Fn() -> Result<Config, ConfigErrors>,
    requests: &Requests,
    own: &OwnMetrics,
    readiness: &Mutex<Readiness>,
    board: &AlertBoard,
) -> Result<(), ServeError> {
    let mut backoff = BACKOFF.0;
    session.warm_up(&requests.stop).await;
    while !requests.stop.is_cancelled() {
        let turn = {
            let mut turn = std::pin::pin!(session.tend(&requests.stop, WhenStopped::Park));
            // A request to reload in mid-trial is answered at once, and taken up after it.
            loop {
                tokio::select! {
                    done = &mut turn => break done,
                    () = requests.reload.notified() => announce(&load, own),
                }
            }
        };
        let pause = match turn {
            Ok(Turn::Parked(trial)) => {
                tracing::info!(trial.id = trial.id.0, "the trial is parked; the next start goes on with it");
                break;
            }
            Ok(Turn::Tried(_)) => Duration::ZERO,
            Ok(Turn::Awaiting(trial)) => {
                let reason = format!("trial {} ({}) waits for a person's yes", trial.id, trial.plan.lever);
                set(readiness, Readiness { ready: true, reason });
                session.config().cycle.tick
            }
            Ok(Turn::Rested(report)) => {
                set(readiness, readiness_of(&report));
                backoff = BACKOFF.0;
                session.config().cycle.tick
            }
            Err(error) => {
                tracing::error!("this turn of the loop failed: {error}");
                // It moves: to be started again would not help it.
                own.alive(clock::now());
                set(readiness, Readiness { ready: false, reason: error.to_string() });
                let pause = backoff;
                backoff = (backoff * 2).min(BACKOFF.1);
                pause
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = board.woken() => tracing::info!("an alert fires: looking at once"),
            () = requests.reload.notified() => announce(&load, own),
            () = requests.stop.cancelled() => {}
        }
        take_up(&mut session, &load);
    }
    Ok(())
}

/// Where the webhook puts its alerts, counted.
fn to_board(board: Arc<AlertBoard>, own: Arc<OwnMetrics>) -> TakeAlerts {
    Arc::new(move |alerts, truncated| {
        let taken = board.take(alerts, truncated, clock::now())?;
        let known = taken.accepted == 0 && taken.duplicates > 0;
        own.webhook(if known { WebhookResult::Duplicate } else { WebhookResult::Accepted });
        Ok(taken)
    })
}

/// Says whether the configuration on disk is good.
fn announce(load: &impl Fn() -> Result<Config, ConfigErrors>, own: &OwnMetrics) {
    let loaded = load();
    service_manager::reloaded();
    match loaded {
        Ok(_) => {
            own.config_reload(true);
            tracing::info!("the configuration was read again: it is good, and counts from the next turn");
        }
        Err(errors) => {
            own.config_reload(false);
            tracing::error!("the configuration was read again and has errors; the old one stays:\n{errors}");
        }
    }
}

/// Between two turns, takes what is on disk where it is good.
fn take_up(session: &mut Session, load: &impl Fn() -> Result<Config, ConfigErrors>) {
    let Ok(config) = load() else { return };
    let (old, new) = (session.config(), &config);
    let is_same = old.exporter.listen == new.exporter.listen
        && old.paths.ledger == new.paths.ledger
        && old.api == new.api
        && old.announce == new.announce;
    if !is_same {
        // A token that was replaced because somebody knows it is still the one that is asked for.
        tracing::warn!("exporter.listen, paths.*, api.* and announce.* count from the next start of leverd");
    }
    if let Err(error) = session.reconfigure(Arc::new(config)) {
        tracing::error!("the new configuration could not be taken up: {error}");
    }
}

fn set(readiness: &Mutex<Readiness>, now: Readiness) {
    *readiness.lock().unwrap_or_else(PoisonError::into_inner) = now;
}

fn readiness_of(report: &Report) -> Readiness {
    let (ready, reason) = match &report.conclusion {
        Conclusion::Compliant => (true, "every level is met".to_owned()),
        Conclusion::Act(plan) => (true, format!("{} is broken; {} is next", plan.signal, plan.lever)),
        Conclusion::NothingLeft(why) => (true, why.clone()),
        Conclusion::CannotTell(why) => (false, why.clone()),
    };
    Readiness { ready, reason }
}

/// An end that changed something, or what a person must look at or answer.
fn is_told(trial: &Trial) -> bool {
    let ended = trial.phase.is_final() && trial.phase != Phase::Aborted;
    ended || trial.phase == Phase::AwaitApproval
}

fn announcement(trial: &Trial) -> Announcement {
    let plan = &trial.plan;
    let call = match trial.phase {
        Phase::NeedsHuman | Phase::Frozen => " A person is needed.".to_owned(),
        Phase::AwaitApproval => {
            format!(" A person is needed: `leverd approve {}` or `leverd reject {}`.", trial.id, trial.id)
        }
        _ => String::new(),
    };
    let needs_person = !call.is_empty();
    let from = plan.from.as_deref().unwrap_or("not set");
    let ending = trial.ending.as_deref().unwrap_or(&plan.reason);
    Announcement {
        event: trial.phase.name().to_owned(),
        text: format!(
            "leverd on {}: {} {from} → {} against {}: {}.{call} {ending}",
            plan.target, plan.parameter, plan.to, plan.symptom, trial.phase
        ),
        needs_person,
        target: plan.target.to_string(),
        trial: trial.id.0,
        lever: plan.lever.to_string(),
        began: trial.opened_at,
        ended: trial.closed_at.unwrap_or(trial.phase_since),
    }
}

/// The daemon's reporter: metrics and the log.
fn to_log(own: Arc<OwnMetrics>, announcer: Option<Announcer>) -> Reporter {
    Reporter::new(move |progress| match progress {
        Progress::Observed(snapshot) => own.snapshot(&snapshot),
        Progress::Decided(report) => own.decision(&report),
        Progress::Held(held, baseline) => {
            own.held(held);
            own.baseline(baseline.as_deref());
        }
        Progress::Moved(trial) => {
            own.trial(&trial);
            if let Some(announcer) = announcer.as_ref().filter(|_| is_told(&trial)) {
                announcer.say(announcement(&trial));
            }
            tracing::info!(
                trial.id = trial.id.0,
                lever.name = %trial.plan.lever,
                "{} = {}: {}",
                trial.plan.parameter,
                trial.plan.to,
                trial.phase
            );
            if trial.phase.is_final()
                && let Some(verdict) = trial.verdict
            {
                own.trial_closed(verdict);
            }
        }
        Progress::Waiting { now, .. } => own.alive(now),
        Progress::Note(sentence) => tracing::info!("{sentence}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::fixtures;

    #[test]
    fn people_are_told_of_what_ended_and_of_what_waits_for_them() {
        let mut trial = fixtures::planned("shop");
        for (phase, told, needs_person) in [
            (Phase::Planned, false, false),
            (Phase::AwaitApproval, true, true),
            (Phase::Kept, true, false),
            (Phase::Reverted, true, false),
            (Phase::Aborted, false, false),
            (Phase::Frozen, true, true),
            (Phase::NeedsHuman, true, true),
        ] {
            trial.phase = phase;
            assert_eq!(is_told(&trial), told, "{}", trial.phase);
            let said = announcement(&trial);
            assert!(!told || said.needs_person == needs_person, "{said:?}");
            assert_eq!(said.text.contains("leverd approve"), trial.phase == Phase::AwaitApproval, "{said:?}");
        }
    }
}
