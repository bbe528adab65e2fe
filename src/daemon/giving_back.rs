//! Giving back a kept change that is no longer needed: a trial of its absence, like any other.
//!
//! In: a report in which every level is met, and what is kept. Out: a trial that puts the newest such change back, waits,
//! and looks whether every level holds without it; where one does not, the change is in place again. Which
//! changes may go at all is for `decide` to say.

use super::clock;
use super::session::{Session, SessionError, Turn, delta, permissions};
use super::trial_run::WhenStopped;
use super::watch::Watch;
use crate::decide::{self, GivingBack};
use crate::judge::{self, Levels};
use crate::model::{
    Conclusion, Evidence, Judgement, Phase, Plan, Report, Segment, Series, Signal, Trial, TrialId,
};
use crate::observe::{self, Grid, Reduce};
use crate::trial::{self, Event};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// So many moments of the past are looked at.
const MOMENTS: u32 = 500;
/// At least this share of them must be known.
const KNOWN: f64 = 0.5;

impl Session {
    /// A turn of the daemon: as [`Session::turn`]; where every level is met, what is no longer needed is given back.
    pub async fn tend(
        &mut self,
        stop: &CancellationToken,
        when_stopped: WhenStopped,
    ) -> Result<Turn, SessionError> {
        let turn = self.turn(stop, when_stopped).await?;
        let Turn::Rested(report) = &turn else { return Ok(turn) };
        let Some(after) = self.config.policy.give_back_after else { return Ok(turn) };
        if report.conclusion != Conclusion::Compliant || stop.is_cancelled() {
            return Ok(turn);
        }
        let Some(plan) = self.no_longer_needed(report, after).await? else { return Ok(turn) };
        let Some(clean) = self.wait_for_before(&plan, stop).await? else { return Ok(turn) };
        let trial = self.open_trial(plan, clean)?;
        self.carry_on(trial, Event::Begin, stop, when_stopped).await
    }

    /// The plan that gives the newest change back that was not needed for so long.
    async fn no_longer_needed(&self, report: &Report, after: Duration) -> Result<Option<Plan>, SessionError> {
        let target = &self.config.target.name;
        let (kept, tried) = (self.ledger.kept(target)?, self.ledger.give_backs(target)?);
        let giving_back = GivingBack {
            kept: &kept,
            tried: &tried,
            memory: &self.memory()?,
            permissions: &permissions(&self.config, clock::now()),
            after: delta(after),
            now: clock::now(),
        };
        for (trial, plan) in giving_back.candidates(report) {
            if self.was_not_needed(trial, plan.limit, after).await {
                return Ok(Some(plan));
            }
        }
        Ok(None)
    }

    /// Whether its level would have held without it, by what its trial measured, all the time.
    async fn was_not_needed(&self, trial: &Trial, limit: f64, after: Duration) -> bool {
        let Some(signal) = self.config.signals.iter().find(|known| known.name == trial.plan.signal) else {
            return false;
        };
        let now = clock::now();
        let step = self.config.cycle.scrape_interval.max(after / MOMENTS);
        let grid = Grid::within(now - delta(after), now, step);
        let reduce = Reduce::Worst(signal.direction);
        let asked =
            observe::samples_on(&self.prometheus, &signal.queries, reduce, grid, signal.window, None).await;
        let Ok(series) = asked else { return false };
        let known: Vec<f64> = series.values.iter().flatten().copied().collect();
        known.len() as f64 >= KNOWN * series.values.len() as f64
            && !known.is_empty()
            && decide::would_hold(trial, &known, limit)
    }

    /// How the kept change is put back: it is its own intent, the other way round.
    pub(super) fn prepare_giving_back(&self, id: TrialId) -> Event {
        match self.ledger.trial(id) {
            Ok(Trial { intent: Some(intent), phase: Phase::Kept, undone_at: None, .. }) => {
                Event::Prepared(intent)
            }
            Ok(_) => Event::PrepareFailed(format!("trial {id} holds no change any more")),
            Err(error) => Event::PrepareFailed(error.to_string()),
        }
    }

    /// Looks whether every level holds without the change.
    pub(super) async fn judge_giving_back(&self, trial: &Trial, watch: &Watch) -> Judgement {
        let mut levels = Levels::new();
        let (mut goal, mut guards) = (None, Vec::new());
        for signal in &self.config.signals {
            let Some((target, limit)) = self.config.sla_of(&signal.name).zip(self.limit_of(signal)) else {
                continue;
            };
            levels.insert(signal.name.clone(), (target.clone(), limit));
            let series = self.as_levels_see(signal, trial).await;
            if signal.name == trial.plan.signal {
                goal = Some(series);
            } else if super::evidence::had_data(&series) {
                guards.push(series);
            }
        }
        let evidence = Evidence {
            goal: goal.unwrap_or_else(|| super::evidence::nothing(&trial.plan.signal)),
            guards,
            load: None,
            look: match trial.phase {
                Phase::Measuring { look } => look,
                _ => self.config.cycle.max_extensions + 1,
            },
            looks: trial::looks(&trial.plan, &self.timing()),
            incomparable: watch.incomparable(trial),
            stolen: vec![],
            waves: None,
        };
        judge::holds(&evidence, &levels)
    }

    /// A signal's samples in the trial's arms, averaged over its own window, of which nothing is from another arm.
    async fn as_levels_see(&self, signal: &Signal, trial: &Trial) -> Series {
        let step = self.config.cycle.scrape_interval;
        let reduce = Reduce::Worst(signal.direction);
        let mut segments = Vec::new();
        for &(arm, from, to) in &trial.arms {
            // An arm counts once it has settled, which may be sooner than a window holds it alone.
            let alone = from - delta(self.config.cycle.settle) + delta(signal.window);
            let grid = Grid::within(from.max(alone), to, step);
            let asked =
                observe::samples_on(&self.prometheus, &signal.queries, reduce, grid, signal.window, None);
            let values = asked.await.map_or_else(|_| vec![None; grid.points()], |series| series.values);
            segments.push(Segment { arm, values });
        }
        Series {
            signal: signal.name.clone(),
            unit: signal.unit,
            direction: signal.direction,
            scales_with_load: false,
            floor: 0.0,
            segments,
        }
    }
}
