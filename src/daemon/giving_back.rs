//! Giving back a kept change that is no longer needed: a trial of its absence, like any other.
//!
//! In: a report in which every level is met, and what is kept. Out: a trial that puts the newest such change back, waits,
//! and looks whether every level holds without it; where one does not, the change is in place again. A lever that was
//! given back once, and was needed again, is left to a person: nothing is pulled and given back in turn for ever.

use super::clock;
use super::session::{Session, SessionError, Turn, delta};
use super::trial_run::WhenStopped;
use super::watch::Watch;
use crate::config::Pull;
use crate::decide;
use crate::judge::{self, Levels};
use crate::model::{
    Activation, Arm, Conclusion, CostTier, Evidence, Judgement, Phase, Plan, Report, Segment, Series, Signal,
    Trial, TrialId,
};
use crate::observe::{self, Grid, Reduce};
use crate::trial::{self, Event};
use chrono::{DateTime, Utc};
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
        let (kept, frozen) = (self.ledger.kept(target)?, self.ledger.frozen(target)?);
        let tries = self.ledger.give_backs(target)?;
        let long_ago = |at: Option<DateTime<Utc>>| at.is_some_and(|at| clock::now() - at >= delta(after));
        for (trial, why) in decide::spare(&kept, report).into_iter().rev() {
            let plan = &trial.plan;
            // What lies below another change cannot be taken out alone.
            let covered = kept.iter().any(|other| {
                other.id > trial.id
                    && other.plan.parameter == plan.parameter
                    && other.plan.place == plan.place
            });
            let mut tried = tries.iter().filter(|other| other.plan.lever == plan.lever);
            let rests = tried.any(|other| other.phase == Phase::Kept || !long_ago(other.closed_at));
            if covered
                || rests
                || !long_ago(trial.closed_at)
                || frozen.iter().any(|row| row.lever == plan.lever)
                || !self.may_be_given_back(plan)
                || !self.was_not_needed(trial, report, after).await
            {
                continue;
            }
            let finding = report.findings.iter().find(|finding| finding.signal == plan.signal);
            let now = finding.and_then(|finding| finding.value).unwrap_or(f64::NAN);
            return Ok(plan.from.clone().map(|old| giving_back(trial, old, now, &why, after)));
        }
        Ok(None)
    }

    /// The policy holds for both ways.
    fn may_be_given_back(&self, plan: &Plan) -> bool {
        let policy = &self.config.policy;
        let tier = match plan.tier {
            CostTier::Low => policy.low,
            CostTier::Medium => policy.medium,
            CostTier::High => policy.high,
        };
        let restart = plan.activation != Activation::Restart || policy.restart == Pull::Auto;
        // A value that was absent from an `.env` has no name that the application's metric could be asked for.
        tier == Pull::Auto && restart && plan.from.is_some()
    }

    /// Whether its level would have held without it, by what its trial measured, all the time.
    async fn was_not_needed(&self, trial: &Trial, report: &Report, after: Duration) -> bool {
        let Some(signal) = self.config.signals.iter().find(|known| known.name == trial.plan.signal) else {
            return false;
        };
        let limit = report.findings.iter().find(|finding| finding.signal == signal.name);
        let Some(limit) = limit.and_then(|finding| finding.limit) else { return false };
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
            let from = match (arm, trial.applied_at) {
                (Arm::B, Some(applied)) => from.max(applied + delta(signal.window)),
                _ => from,
            };
            let grid = Grid::within(from, to, step);
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

fn giving_back(trial: &Trial, old: String, now: f64, why: &str, after: Duration) -> Plan {
    let reason = format!(
        "Trial {} is no longer needed, it seems: {why}, and so it was for {}. It is given back on trial.",
        trial.id,
        crate::config::render_duration(after),
    );
    Plan {
        from: Some(trial.plan.to.clone()),
        to: old,
        goal_from: now,
        reason,
        passed_over: vec![],
        gives_back: Some(trial.id),
        ..trial.plan.clone()
    }
}
