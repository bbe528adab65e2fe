//! What is watched while a trial waits, four times a scrape: the vital signs, visible harm, the person at the file.

use super::clock;
use super::harm::{Errors, Watched};
use super::progress::Progress;
use super::session::Session;
use super::trial_run::WhenStopped;
use crate::model::{Arm, Found, PgValue, Phase, Plan, Trial, Waves};
use crate::observe::{self, Vitals};
use crate::postgres::{server, settings};
use crate::trial::{CHECKPOINTS, Event};
use chrono::{DateTime, Utc};
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
    /// Checkpoints of the present arm; `None` while they were not seen.
    checkpoints: Option<Checkpoints>,
    /// The longest time between two checkpoints, without the change and with it, for a lever that is about them.
    between_checkpoints: Option<(Duration, Duration)>,
    /// Looks in a row without Postgres.
    absences: u32,
    /// Each watched query by name, with what it was without the change; `None` where it had no data.
    pub(super) watched: BTreeMap<String, Option<Watched>>,
    /// Transactions that fail.
    pub(super) errors: Errors,
}

/// What is known of checkpoints.
#[derive(Debug, Clone, Copy)]
struct Checkpoints {
    /// The number of arms that the present one makes.
    arms: usize,
    /// The server's count when this arm began.
    start: f64,
    /// In this arm.
    seen: u32,
    /// In earlier arms with the change.
    with_change: u32,
}

impl Watch {
    /// Notes how many checkpoints there were since the present arm began.
    fn count_checkpoints(&mut self, trial: &Trial, vitals: &Vitals) -> Option<u32> {
        let done = vitals.checkpoints_done?;
        let arms = trial.arms.len();
        let known = match self.checkpoints {
            Some(known) if known.arms == arms => known,
            Some(known) => {
                let ended = trial.arms.get(known.arms.wrapping_sub(1)).is_some_and(|arm| arm.0 == Arm::B);
                let with_change = known.with_change + if ended { known.seen } else { 0 };
                Checkpoints { arms, start: done, seen: 0, with_change }
            }
            None => Checkpoints { arms, start: done, seen: 0, with_change: 0 },
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count of a few at most"
        )]
        let seen = (done - known.start).clamp(0.0, 1e6) as u32;
        self.checkpoints = Some(Checkpoints { seen, ..known });
        Some(seen)
    }

    /// Why the arms cannot be compared yet, as far as the watch knows.
    pub(super) fn incomparable(&self, trial: &Trial) -> Vec<String> {
        let Some(known) = self.checkpoints else { return vec![] };
        let present = trial.arms.get(known.arms.wrapping_sub(1)).is_some_and(|arm| arm.0 == Arm::B);
        let seen = known.with_change + if present { known.seen } else { 0 };
        if trial.plan.spans_checkpoints && seen < CHECKPOINTS {
            vec![format!("{seen} of {CHECKPOINTS} checkpoints were seen with the change")]
        } else {
            vec![]
        }
    }

    /// How many scrapes pass between two checkpoints, where the lever is about them.
    pub(super) fn waves(&self, scrape: Duration) -> Option<Waves> {
        let (before, after) = self.between_checkpoints?;
        let scrapes = |time: Duration| time.as_millis().div_ceil(scrape.as_millis().max(1));
        let scrapes = |time| usize::try_from(scrapes(time)).unwrap_or(usize::MAX);
        Some(Waves { before: scrapes(before), after: scrapes(after) })
    }
}

impl Session {
    /// A watch over a trial. Where nothing was changed yet, what is normal is noted.
    pub(super) async fn begin_watch(&mut self, trial: &Trial) -> Watch {
        let between_checkpoints = self.between_checkpoints(&trial.plan).await;
        if trial.intent.is_some() {
            return Watch { between_checkpoints, ..Watch::default() };
        }
        let first = self.vitals().await;
        let errors = Errors::before(&first, self.failed_share());
        Watch { first: Some(first), errors, between_checkpoints, ..Watch::default() }
    }

    /// The time between two checkpoints if only time brings them, without a plan's change and with it. Where WAL brings
    /// them earlier, several come within that time. `None` where the lever is not about checkpoints.
    pub(super) async fn between_checkpoints(&mut self, plan: &Plan) -> Option<(Duration, Duration)> {
        const TIMEOUT: &str = "checkpoint_timeout";
        if !plan.spans_checkpoints {
            return None;
        }
        let client = self.postgres.client().await.ok()?;
        let setting = settings::read_one(client, TIMEOUT).await.ok()??;
        let time = |text: &str| {
            let seconds = PgValue::parse(text, &setting).ok()?.number()?;
            Duration::try_from_secs_f64(seconds).ok()
        };
        if plan.parameter == TIMEOUT {
            return Some((time(plan.from.as_deref()?)?, time(&plan.to)?));
        }
        let time = time(&setting.value)?;
        Some((time, time))
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
        let mut vitals = self.vitals().await;
        let pushed = self.pushed_alerts(vitals.alerts.as_deref().unwrap_or_default());
        // Alertmanager tells since when an alert fires, not since when its condition holds: one about what the trial is
        // to cure may stand for what was wrong before. Prometheus tells both.
        let others = pushed.into_iter().filter(|alert| alert.symptom.as_ref() != Some(&trial.plan.symptom));
        vitals.alerts.get_or_insert_default().extend(others);
        if let Some(why) = self.broken_vitals(trial, watch, &vitals) {
            return Some(Event::Abort(why));
        }
        if let Some(event) = self.visible_harm(trial, watch, &vitals).await {
            return Some(event);
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
        let engine = self.engine.as_ref();
        observe::vitals(&self.config, &self.prometheus, client, engine, clock::now()).await
    }

    /// In the place must stand what the present arm wrote.
    async fn edited_by_a_person(&mut self, trial: &Trial) -> Option<Event> {
        let intent = trial.intent.as_ref()?;
        let client = self.postgres.client().await.ok();
        let found = self.actuator.look(intent, &trial.plan.place, client).await;
        let expected = if trial.phase == Phase::BackToA { Found::Before } else { Found::After };
        match found {
            Ok(found) if trial.found(found.clone()) == expected => None,
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
        let changed = changed_since(trial)?;
        let alert = now.alerts.iter().flatten().find(|alert| alert.active_since > changed)?;
        Some(format!("the alert {} began after the change", alert.name))
    }
}

/// Since when the new value has been in place; `None` while the old one is. What an alert says then is not the
/// change's doing: with the old value the level may well be broken again.
fn changed_since(trial: &Trial) -> Option<DateTime<Utc>> {
    match trial.phase {
        Phase::BackToA => None,
        Phase::AgainB => Some(trial.phase_since),
        _ => trial.applied_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::fixtures;
    use chrono::TimeDelta;

    #[test]
    fn an_alert_that_begins_while_the_old_value_is_back_is_not_the_changes_doing() {
        let mut trial = fixtures::kept("shop");
        let applied = fixtures::at(0);
        trial.applied_at = Some(applied);
        trial.phase_since = applied + TimeDelta::minutes(9);
        for (phase, since) in [
            (Phase::Measuring { look: 1 }, Some(applied)),
            (Phase::BackToA, None),
            (Phase::AgainB, Some(trial.phase_since)),
        ] {
            trial.phase = phase;
            assert_eq!(changed_since(&trial), since);
        }
    }
}
