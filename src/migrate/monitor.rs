//! Measures a run while it moves rows, and carries the adjuster's changes to the transfer.
//!
//! In: the transfer's counters, a session of the target for its statistics. Out: readings and samples for the
//! [`Adjuster`], and the settings in force. Always holds: a change that is asked for is in force before the adjuster
//! is told so; where the target's statistics cannot be read, what they would say is unknown, and the run goes on.

use super::adjust::{Brain, Moment, Phase, Reading};
use super::adjuster::{Adjuster, Change, Clock, Event, Input, Summary, drive};
use super::progress::Progress;
use super::sampler::{Extent, Sampler, own_memory};
use super::state::{self, Lease};
use super::transfer::Budget;
use super::transfer::counters::at;
use crate::config::DatabaseEndpoint;
use crate::postgres::stats::{self, Stats};
use crate::postgres::{Connection, connect};
use chrono::{DateTime, Utc};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// Readings are taken so often; oftener where the interval is short.
const READING: Duration = Duration::from_secs(1);
/// The target's statistics are given so long.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is measured, and for whom.
pub(crate) struct Monitor<'a> {
    pub(crate) progress: Arc<Progress>,
    pub(crate) budget: Budget,
    pub(crate) budget_bytes: u64,
    pub(crate) memory_limit: u64,
    pub(crate) extent: Extent,
    pub(crate) interval: Duration,
    /// The wall clock when the run began.
    pub(crate) began_at: DateTime<Utc>,
    pub(crate) target: &'a DatabaseEndpoint,
    /// The session that keeps the run's state.
    pub(crate) client: &'a tokio_postgres::Client,
    pub(crate) lease: &'a Lease,
}

impl Monitor<'_> {
    /// Measures until `stop`; then how the adjustment went.
    pub(crate) async fn watch(
        self,
        adjuster: Adjuster,
        changes: watch::Receiver<Change>,
        stop: CancellationToken,
    ) -> Summary {
        let clock = Clock::start();
        let (inputs, taken) = mpsc::channel(64);
        let (tell, mut told) = mpsc::unbounded_channel();
        let driving = drive(adjuster, clock, taken, tell);
        let measuring = self.measure(clock, inputs, changes, stop);
        let recording = async {
            while let Some(event) = told.recv().await {
                self.record(&event).await;
            }
        };
        let (summary, (), ()) = tokio::join!(driving, measuring, recording);
        summary
    }

    /// Writes adjustments down. The run does not need them to go on.
    async fn record(&self, event: &Event) {
        let (Event::Began(adjustment) | Event::Ended(adjustment)) = event else { return };
        let Some((setting, before, after)) = adjustment.setting() else { return };
        let by = match &adjustment.by {
            Some(Brain::Model(name)) => name.clone(),
            Some(Brain::Rules) => "rules".to_owned(),
            None => "sla".to_owned(),
        };
        let record = state::Adjustment {
            number: adjustment.number,
            setting,
            before,
            after,
            by,
            reasoning: adjustment.reasoning.clone(),
            outcome: adjustment.ended_at.map(|_| adjustment.to_string()),
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
        stop: CancellationToken,
    ) {
        let counters = &self.progress.counters;
        let mut sampler = Sampler::new(counters, self.extent, self.memory_limit, self.budget_bytes);
        let mut statistics = Statistics { target: self.target, connection: None };
        let mut ticks =
            tokio::time::interval(READING.min(self.interval / 10).max(Duration::from_millis(100)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut rows = (Instant::now(), at(&counters.rows_written));
        let mut sampled = Instant::now();
        let began = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let change = *changes.borrow_and_update();
                    self.progress.settings.send_replace(change.settings);
                    let applied = Input::Applied { number: change.number, at: clock.now() };
                    if inputs.send(applied).await.is_err() {
                        return;
                    }
                }
                _ = ticks.tick() => {
                    let now = (Instant::now(), at(&counters.rows_written));
                    let seconds = now.0.duration_since(rows.0).as_secs_f64();
                    if seconds > 0.0 {
                        let rate = (now.1 - rows.1) as f64 / seconds;
                        let reading = self.reading(clock.now(), rate);
                        rows = now;
                        if inputs.send(Input::Reading(reading)).await.is_err() {
                            return;
                        }
                    }
                    if sampled.elapsed() >= self.interval {
                        let sample = sampler.sample(
                            self.began_at + began.elapsed(),
                            sampled.elapsed(),
                            *self.progress.settings.borrow(),
                            self.phase(),
                            counters,
                            &self.budget,
                            statistics.read().await,
                        );
                        sampled = Instant::now();
                        self.progress.note(&sample);
                        if inputs.send(Input::Sample(Box::new(sample))).await.is_err() {
                            return;
                        }
                    }
                }
            }
        }
    }

    fn reading(&self, at: Moment, rows_per_second: f64) -> Reading {
        let memory = own_memory().map(|bytes| 100.0 * bytes as f64 / self.memory_limit.max(1) as f64);
        Reading { at, phase: self.phase(), rows_per_second: Some(rows_per_second), memory_percent: memory }
    }

    fn phase(&self) -> Phase {
        Phase {
            stage: self.progress.stage(),
            tables: self.progress.counters.in_work(),
            building: self.progress.counters.builders.get() > 0,
        }
    }
}

/// The target's statistics, over a session of their own that comes back when it is lost.
struct Statistics<'a> {
    target: &'a DatabaseEndpoint,
    connection: Option<Connection>,
}

impl Statistics<'_> {
    async fn read(&mut self) -> Option<Stats> {
        if self.connection.as_ref().is_none_or(Connection::is_closed) {
            let opened = connect(self.target.postgres_dsn().expose(), PATIENCE).await;
            self.connection =
                opened.map_err(|error| tracing::debug!("no statistics of the target: {error}")).ok();
        }
        let client = self.connection.as_ref()?.client();
        let read = tokio::time::timeout(PATIENCE, stats::read_quick(client)).await;
        match read {
            Ok(Ok(stats)) => Some(stats),
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
