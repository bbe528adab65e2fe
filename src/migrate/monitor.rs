//! Measures a run while it moves rows, and carries the adjuster's changes to the transfer.
//!
//! In: the transfer's counters, a session of the target for its statistics, which of its levels are broken. Out:
//! readings and samples for the [`Adjuster`], each look at the levels, and the settings that it asks for. Always holds:
//! a change is in effect in the transfer before the adjuster is told so; where the target's statistics cannot be read,
//! what they would say is unknown, and the run goes on.

use super::adjust::{Brain, Moment, Phase, Reading, Sample, Settings, Stage};
use super::adjuster::{Adjuster, Change, Clock, Event, Input, Summary, drive};
use super::progress::Progress;
use super::run::Levels;
use super::sampler::{Extent, OfTarget, Sampler, own_memory};
use super::state::{self, Lease};
use super::transfer::Budget;
use super::transfer::counters::at;
use crate::config::DatabaseEndpoint;
use crate::postgres::{Connection, PostgresError, connect, stats};
use chrono::{DateTime, Utc};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// Readings are taken so often; oftener where the interval is short.
const READING: Duration = Duration::from_secs(1);
/// So often it is looked whether a change is in effect.
const UPTAKE: Duration = Duration::from_millis(50);
/// The target's statistics are given so long.
const PATIENCE: Duration = Duration::from_secs(5);
/// Of others than its own role's a role may see nothing.
const LOCK_WAITS: &str =
    "SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity AS a WHERE a.wait_event_type = 'Lock'";

/// What is measured, and for whom.
pub(crate) struct Monitor<'a> {
    pub(crate) progress: Arc<Progress>,
    pub(crate) budget: Budget,
    pub(crate) budget_bytes: u64,
    pub(crate) memory_limit: u64,
    pub(crate) extent: Extent,
    /// For each table of the plan its kind.
    pub(crate) kinds: Vec<u32>,
    pub(crate) interval: Duration,
    /// The wall clock when the run began.
    pub(crate) began_at: DateTime<Utc>,
    pub(crate) target: &'a DatabaseEndpoint,
    /// The session that keeps the run's state.
    pub(crate) client: &'a tokio_postgres::Client,
    pub(crate) lease: &'a Lease,
    /// The highest number of an adjustment that an earlier process of the run wrote down; 0: there is none.
    pub(crate) numbered: u32,
}

impl Monitor<'_> {
    /// Measures until `stop`; then how the adjustment went.
    pub(crate) async fn watch(
        self,
        adjuster: Adjuster,
        changes: watch::Receiver<Change>,
        levels: Option<Levels>,
        stop: CancellationToken,
    ) -> Summary {
        let clock = Clock::start();
        let (inputs, taken) = mpsc::channel(64);
        let (tell, mut told) = mpsc::unbounded_channel();
        let driving = drive(adjuster, clock, taken, tell);
        let measuring = self.measure(clock, inputs, changes, levels, stop);
        let recording = async {
            while let Some(event) = told.recv().await {
                self.record(&event).await;
            }
        };
        let (summary, (), ()) = tokio::join!(driving, measuring, recording);
        summary
    }

    /// Counts adjustments and writes them down. The run does not need that to go on.
    async fn record(&self, event: &Event) {
        if let Event::Ended(adjustment) = event {
            self.progress.adjusted(adjustment);
        }
        let (Event::Began(adjustment) | Event::Ended(adjustment)) = event else { return };
        let Some((setting, before, after)) = adjustment.setting() else { return };
        let by = match &adjustment.by {
            Some(Brain::Model(name)) => name.clone(),
            Some(Brain::Rules) => "rules".to_owned(),
            None => "sla".to_owned(),
        };
        let record = state::Adjustment {
            number: self.numbered.saturating_add(adjustment.number),
            setting,
            before,
            after,
            by,
            reasoning: adjustment.reasoning.clone(),
            outcome: adjustment.ended_at.map(|_| adjustment.ending()),
            gain: adjustment.throughput_percent.map(|percent| percent / 100.0),
        };
        if let Err(error) = state::record_adjustment(self.client, self.lease, &record).await {
            tracing::warn!("an adjustment could not be written down: {error}");
        }
    }

    async fn measure(
        &self,
        clock: Clock,
        inputs: mpsc::Sender<Input>,
        mut changes: watch::Receiver<Change>,
        mut levels: Option<Levels>,
        stop: CancellationToken,
    ) {
        let counters = &self.progress.counters;
        let mut sampler = Sampler::new(counters, self.extent, self.memory_limit, self.budget_bytes);
        let mut statistics = Statistics { target: self.target, connection: None };
        let mut ticks =
            tokio::time::interval(READING.min(self.interval / 10).max(Duration::from_millis(100)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut rows = (Instant::now(), at(&counters.rows_taken));
        let mut sampled = Instant::now();
        let began = Instant::now();
        let mut in_effect = *self.progress.settings.borrow();
        // The change that is not in effect yet.
        let mut asked: Option<u64> = None;
        loop {
            if let Some(number) = asked.filter(|_| self.is_in_effect()) {
                asked = None;
                in_effect = *self.progress.settings.borrow();
                if inputs.send(Input::Applied { number, at: clock.now() }).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let change = *changes.borrow_and_update();
                    self.progress.settings.send_replace(change.settings);
                    asked = Some(change.number);
                }
                () = tokio::time::sleep(UPTAKE), if asked.is_some() => {}
                looked = next_look(&mut levels) => match looked {
                    Some(broken) => {
                        if inputs.send(Input::Serving { broken }).await.is_err() {
                            return;
                        }
                    }
                    // Nobody looks any more.
                    None => levels = None,
                },
                _ = ticks.tick() => {
                    if let Some(reading) = self.reading(clock.now(), &mut rows)
                        && inputs.send(Input::Reading(reading)).await.is_err()
                    {
                        return;
                    }
                    if sampled.elapsed() >= self.interval {
                        // First: what is counted while the target answers belongs to this interval too.
                        let of_target = tokio::select! {
                            () = stop.cancelled() => return,
                            read = statistics.read() => read,
                        };
                        let interval = sampled.elapsed();
                        sampled = Instant::now();
                        let sample = self.sample(&mut sampler, (began.elapsed(), interval), in_effect, of_target);
                        self.progress.note(&sample);
                        if inputs.send(Input::Sample(Box::new(sample))).await.is_err() {
                            return;
                        }
                    }
                }
            }
        }
    }

    /// The interval that is over, `since` after the beginning, at whose end `settings` were in effect.
    fn sample(
        &self,
        sampler: &mut Sampler,
        (since, interval): (Duration, Duration),
        settings: Settings,
        of_target: Option<OfTarget>,
    ) -> Sample {
        sampler.sample(
            self.began_at + since,
            interval,
            settings,
            self.phase(),
            &self.progress.counters,
            &self.budget,
            of_target,
        )
    }

    /// Whether the transfer goes by the settings that were asked for last; where it is over, nothing goes by others.
    fn is_in_effect(&self) -> bool {
        let settings = *self.progress.settings.borrow();
        self.progress.stage() != Stage::Copying || self.progress.counters.uptake.is_in_effect(&settings)
    }

    /// The time since `rows` were counted, and counts them anew; `None`: none has passed.
    fn reading(&self, moment: Moment, rows: &mut (Instant, u64)) -> Option<Reading> {
        let now = (Instant::now(), at(&self.progress.counters.rows_taken));
        let seconds = now.0.duration_since(rows.0).as_secs_f64();
        if seconds <= 0.0 {
            return None;
        }
        let rate = (now.1 - rows.1) as f64 / seconds;
        *rows = now;
        let memory = own_memory().map(|bytes| 100.0 * bytes as f64 / self.memory_limit.max(1) as f64);
        Some(Reading { at: moment, phase: self.phase(), rows_per_second: Some(rate), memory_percent: memory })
    }

    fn phase(&self) -> Phase {
        Phase {
            stage: self.progress.stage(),
            tables: self.kinds_in_work(),
            building: self.progress.counters.builders.get() > 0,
        }
    }
}

impl Monitor<'_> {
    /// Several of one kind at once are another phase than one of them.
    fn kinds_in_work(&self) -> Vec<u32> {
        let kind = |table: u32| self.kinds.get(table as usize).copied().unwrap_or(table);
        let mut kinds: Vec<u32> = self.progress.counters.in_work().into_iter().map(kind).collect();
        kinds.sort_unstable();
        kinds
    }
}

/// What is broken at the next look at the target's levels; `None`: there is none to come. Where nobody looks, never.
/// Dropping this loses no look.
async fn next_look(levels: &mut Option<Levels>) -> Option<Vec<String>> {
    match levels {
        Some(levels) => {
            levels.changed().await.ok()?;
            Some(levels.borrow_and_update().clone())
        }
        None => std::future::pending().await,
    }
}

/// The target's statistics, over a session of their own that comes back when it is lost.
struct Statistics<'a> {
    target: &'a DatabaseEndpoint,
    connection: Option<Connection>,
}

impl Statistics<'_> {
    async fn read(&mut self) -> Option<OfTarget> {
        if self.connection.as_ref().is_none_or(Connection::is_closed) {
            let opened = connect(self.target.postgres_dsn().expose(), PATIENCE).await;
            self.connection =
                opened.map_err(|error| tracing::debug!("no statistics of the target: {error}")).ok();
        }
        let client = self.connection.as_ref()?.client();
        let read = tokio::time::timeout(PATIENCE, of_target(client)).await;
        match read {
            Ok(Ok(read)) => Some(read),
            Ok(Err(error)) => {
                tracing::debug!("no statistics of the target: {error}");
                None
            }
            Err(_) => {
                self.connection = None;
                None
            }
        }
    }
}

async fn of_target(client: &tokio_postgres::Client) -> Result<OfTarget, PostgresError> {
    let stats = stats::read_quick(client).await?;
    let counted = client.query_one(LOCK_WAITS, &[]).await.and_then(|row| row.try_get::<_, i64>(0));
    let lock_waits =
        counted.map_err(|error| PostgresError::statement("counting who waits for a lock", &error))?;
    Ok(OfTarget { stats, lock_waits: lock_waits as f64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_look_at_the_levels_is_told_once_and_so_is_their_end() {
        let (tell, levels) = watch::channel(Vec::new());
        let mut levels = Some(levels);
        for broken in [vec!["io_wait".to_owned()], vec!["io_wait".to_owned()], vec![]] {
            tell.send_replace(broken.clone());
            assert_eq!(next_look(&mut levels).await, Some(broken));
        }
        let quiet = tokio::time::timeout(Duration::from_millis(20), next_look(&mut levels)).await;
        assert!(quiet.is_err(), "nobody has looked");
        drop(tell);
        assert_eq!(next_look(&mut levels).await, None);
        let never = tokio::time::timeout(Duration::from_millis(20), next_look(&mut None)).await;
        assert!(never.is_err(), "nobody looks");
    }
}
