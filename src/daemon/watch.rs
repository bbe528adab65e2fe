//! What is watched while a trial waits, four times a scrape: the vital signs, visible harm, the person at the file.

use super::clock;
use super::harm::{Errors, Watched};
use super::progress::Progress;
use super::session::Session;
use super::trial_run::WhenStopped;
use crate::model::{Found, Phase, Trial};
use crate::observe::{self, Vitals};
use crate::postgres::server;
use crate::trial::{CHECKPOINTS, Event};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Looks a scrape: what shows at a scrape is not to wait for the next one, nor to use up a good part of it.
const LOOKS: u32 = 4;
/// Postgres may be away for so many looks before a trial ends for it.
const ABSENCES: u32 = 3 * LOOKS;

/// What one trial's waiting remembers from look to look. Lost in a crash, and then begun anew.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// The vital signs when this watch began: before the change, unless leverd was started again meanwhile.
    first: Option<Vitals>,
    /// Checkpoints done when the present arm began, with the number of arms then.
    checkpoints: Option<(usize, f64)>,
    /// Checkpoints since then, at the last look.
    checkpoints_seen: Option<u32>,
    /// Looks in a row without Postgres.
    absences: u32,
    /// Each watched query by name, with what it was without the change; `None` where it had no data.
    pub(super) watched: BTreeMap<String, Option<Watched>>,
    /// Transactions that fail.
    pub(super) errors: Errors,
}

impl Watch {
    /// Notes how many checkpoints there were since the present arm began.
    fn count_checkpoints(&mut self, trial: &Trial, vitals: &Vitals) -> Option<u32> {
        let done = vitals.checkpoints_done?;
        let arms = trial.arms.len();
        if self.checkpoints.is_none_or(|(known, _)| known != arms) {
            self.checkpoints = Some((arms, done));
        }
        let start = self.checkpoints.map_or(done, |(_, start)| start);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count of a few at most"
        )]
        let seen = (done - start).clamp(0.0, 1e6) as u32;
        self.checkpoints_seen = Some(seen);
        self.checkpoints_seen
    }

    /// Why the arms cannot be compared yet, as far as the watch knows.
    pub(super) fn incomparable(&self, trial: &Trial) -> Vec<String> {
        match self.checkpoints_seen {
            Some(seen) if trial.plan.spans_checkpoints && seen < CHECKPOINTS => {
                vec![format!("{seen} of {CHECKPOINTS} checkpoints were seen with the change")]
            }
            _ => vec![],
        }
    }
}

impl Session {
    /// A watch over a trial. Where nothing was changed yet, what is normal is noted.
    pub(super) async fn begin_watch(&mut self, trial: &Trial) -> Watch {
        if trial.intent.is_some() {
            return Watch::default();
        }
        let first = self.vitals().await;
        let errors = Errors::before(&first, self.failed_share());
        Watch { first: Some(first), errors, ..Watch::default() }
    }

    /// Waits for the next look and takes it. `None`: the process was asked to stop, and the trial stays as it is.
    pub(super) async fn wait(
        &mut self,
        trial: &Trial,
        watch: &mut Watch,
        stop: &CancellationToken,
        when_stopped: WhenStopped,
    ) -> Option<Event> {
        tokio::select! {
            biased;
            () = stop.cancelled() => {
                return match when_stopped {
                    WhenStopped::Park => None,
                    WhenStopped::PutBack => Some(Event::Interrupted("a person stopped leverd".to_owned())),
                };
            }
            () = tokio::time::sleep(self.until_next_look(trial)) => {}
        }
        self.tell_waiting(trial);
        if let Some(jump) = self.jump_watch.jumped() {
            let seconds = jump.num_seconds();
            return Some(Event::Interrupted(format!(
                "the clock jumped by {seconds} s, so before and after cannot be told apart"
            )));
        }
        if let Some(edited) = self.edited_by_a_person(trial).await {
            return Some(edited);
        }
        if let Some(why) = self.restarted_by_somebody(trial).await {
            return Some(Event::Interrupted(why));
        }
        let vitals = self.vitals().await;
        if let Some(why) = self.broken_vitals(trial, watch, &vitals) {
            return Some(Event::Abort(why));
        }
        if let Some(why) = self.visible_harm(trial, watch, &vitals).await {
            return Some(Event::Abort(why));
        }
        Some(Event::Tick { checkpoints: watch.count_checkpoints(trial, &vitals) })
    }

    fn until_next_look(&self, trial: &Trial) -> Duration {
        let pause = self.config.cycle.scrape_interval / LOOKS;
        let left = trial.deadline.map(|deadline| (deadline - clock::now()).to_std().unwrap_or_default());
        // Not in a busy loop where the deadline has passed and something else is waited for.
        left.filter(|left| !left.is_zero()).map_or(pause, |left| left.min(pause))
    }

    fn tell_waiting(&self, trial: &Trial) {
        let Some(until) = trial.deadline else { return };
        let what = format!("{} {} = {}", trial.phase, trial.plan.parameter, trial.plan.to);
        self.reporter.tell(Progress::Waiting { what, since: trial.phase_since, until, now: clock::now() });
    }

    pub(super) async fn vitals(&mut self) -> Vitals {
        let client = self.postgres.client().await.map_err(|error| error.to_string());
        observe::vitals(&self.config, &self.prometheus, client, clock::now()).await
    }

    /// In the place must stand what the present arm wrote.
    async fn edited_by_a_person(&mut self, trial: &Trial) -> Option<Event> {
        let intent = trial.intent.as_ref()?;
        let client = self.postgres.client().await.ok();
        let found = self.actuator.look(intent, &trial.plan.place, client).await;
        let expected = if trial.phase == Phase::BackToA { Found::Before } else { Found::After };
        match found {
            Ok(found) if found == expected => None,
            Ok(Found::Before) => Some(Event::Edited("the old value stands there again".to_owned())),
            Ok(Found::After) => Some(Event::Edited("the new value stands there again".to_owned())),
            Ok(Found::Neither(what)) => Some(Event::Edited(what)),
            // Postgres may be away for a moment; its absence is counted elsewhere.
            Err(error) => {
                tracing::debug!(trial.id = trial.id.0, "the place cannot be looked at: {error}");
                None
            }
        }
    }

    /// A restart that this trial did not ask for leaves cold caches: before and after cannot be compared.
    async fn restarted_by_somebody(&mut self, trial: &Trial) -> Option<String> {
        let applied = trial.applied_at?;
        let client = self.postgres.client().await.ok()?;
        let started = server::started_at(client).await.ok()?;
        (started > applied).then(|| {
            let at = started.format("%H:%M:%S");
            format!(
                "Postgres was restarted by somebody else at {at} UTC, so before and after cannot be compared"
            )
        })
    }

    fn broken_vitals(&self, trial: &Trial, watch: &mut Watch, now: &Vitals) -> Option<String> {
        watch.absences = if now.postgres_up { 0 } else { watch.absences + 1 };
        if watch.absences >= ABSENCES {
            let trouble = now.postgres_trouble.as_deref().unwrap_or("no answer");
            return Some(format!("Postgres is away: {trouble}"));
        }
        let first = watch.first.get_or_insert_with(|| now.clone());
        let limits = &self.config.abort;
        // What was past its limit before the change is not the change's doing.
        let crossed = |then: Option<f64>, now: Option<f64>, limit: f64, above: bool| {
            let past = |value: f64| if above { value > limit } else { value < limit };
            now.is_some_and(past) && !then.is_some_and(past)
        };
        if crossed(first.memory_used_percent, now.memory_used_percent, limits.memory_percent, true) {
            return Some(format!(
                "memory is {:.0} % used, allowed are {:.0} %",
                now.memory_used_percent.unwrap_or_default(),
                limits.memory_percent
            ));
        }
        if crossed(first.disk_free_percent, now.disk_free_percent, limits.disk_free_percent, false) {
            return Some(format!(
                "only {:.1} % of the data folder's disk are free, at least {:.0} % must be",
                now.disk_free_percent.unwrap_or_default(),
                limits.disk_free_percent
            ));
        }
        let lag = limits.replica_lag.as_secs_f64();
        if crossed(first.replica_lag_seconds, now.replica_lag_seconds, lag, true) {
            return Some(format!("a replica lags by {:.0} s", now.replica_lag_seconds.unwrap_or_default()));
        }
        if let (Some(then), Some(kills)) = (first.oom_kills, now.oom_kills)
            && kills > then
        {
            return Some("the system killed a process for want of memory".to_owned());
        }
        let applied = trial.applied_at?;
        let alert = now.alerts.iter().flatten().find(|alert| alert.active_since > applied)?;
        Some(format!("the alert {} began after the change", alert.name))
    }
}
