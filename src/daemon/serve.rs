//! The daemon: the loop for ever, with its metrics, its health, and a configuration that may change.

use super::progress::{Progress, Reporter};
use super::session::{Session, SessionError, Turn};
use super::trial_run::WhenStopped;
use crate::api::{self, ApiState, Readiness};
use crate::config::{Config, ConfigErrors};
use crate::exporter::{self, ExporterError, OwnMetrics};
use crate::model::{Conclusion, Report};
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
    let state = ApiState {
        metrics: Arc::new(move || pages.render()),
        readiness: Arc::new(move || ready.lock().unwrap_or_else(PoisonError::into_inner).clone()),
    };
    tracker.spawn(api::serve(listener, state, ended.clone()));
    tracing::info!("leverd runs on {}; http://{at}/metrics", config.target.name);

    let session = Session::open(Arc::new(config), to_log(Arc::clone(&own)))?;
    let done = loop_for_ever(session, load, &requests, &own, &readiness).await;
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
            Ok(Turn::Rested(report)) => {
                set(readiness, readiness_of(&report));
                backoff = BACKOFF.0;
                session.config().cycle.tick
            }
            Err(error) => {
                tracing::error!("this turn of the loop failed: {error}");
                set(readiness, Readiness { ready: false, reason: error.to_string() });
                let pause = backoff;
                backoff = (backoff * 2).min(BACKOFF.1);
                pause
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = requests.reload.notified() => announce(&load, own),
            () = requests.stop.cancelled() => {}
        }
        take_up(&mut session, &load);
    }
    Ok(())
}

/// Says whether the configuration on disk is good.
fn announce(load: &impl Fn() -> Result<Config, ConfigErrors>, own: &OwnMetrics) {
    match load() {
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
    if old.exporter.listen != new.exporter.listen || old.paths.ledger != new.paths.ledger {
        tracing::warn!("exporter.listen and paths.* count from the next start of leverd");
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

/// The daemon's reporter: metrics and the log.
fn to_log(own: Arc<OwnMetrics>) -> Reporter {
    Reporter::new(move |progress| match progress {
        Progress::Observed(snapshot) => own.snapshot(&snapshot),
        Progress::Decided(report) => own.decision(&report),
        Progress::Moved(trial) => {
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
        Progress::Waiting { .. } => {}
        Progress::Note(sentence) => tracing::info!("{sentence}"),
    })
}
