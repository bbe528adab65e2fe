//! From a decision to an open trial: samples of the time before the change, and a level that stays broken. And to rest:
//! levels that stay met.

use super::clock;
use super::progress::Progress;
use super::session::{Session, SessionError, delta};
use crate::model::{Conclusion, Finding, Place, Plan, Report, SignalName, Trial};
use crate::observe::{self, Grid, Reduce};
use crate::postgres::server;
use crate::trial::{self, CHECKPOINTS};
use chrono::{DateTime, Utc};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// How many load cycles of "before" samples are used where Prometheus has them.
const BEFORE_CYCLES: i32 = 3;
/// A level that was broken in less than this share of a load cycle's scrapes is broken only now and then.
const STAYS_BROKEN: f64 = 0.5;
/// What may pass is watched for so many quarters of a load cycle before the loop rests.
const QUARTERS: u32 = 4;

impl Session {
    /// Looks and decides; where a lever is to be pulled, waits for "before" samples of a clean load cycle and looks
    /// whether the level stayed broken in it. One scrape, or a noisy neighbour's minute, pulls no lever. Nor does one
    /// scrape make a level met: the quiet time between two checkpoints may be longer than a signal's window. With the
    /// report: since when there are such samples, where its plan is confirmed.
    pub async fn confirmed(
        &mut self,
        stop: &CancellationToken,
    ) -> Result<(Report, Option<DateTime<Utc>>), SessionError> {
        let mut report = self.report(stop).await?;
        let mut passing = String::new();
        for _ in 0..=QUARTERS {
            let what = match &report.conclusion {
                Conclusion::Act(plan) => {
                    let plan = plan.clone();
                    let Some(clean) = self.wait_for_before(&plan, stop).await? else {
                        return Ok((report, None));
                    };
                    match self.only_now_and_then(&plan, clean).await {
                        None => return Ok((report, Some(clean))),
                        Some(why) => passing = format!("{why}: no lever is pulled for that"),
                    }
                    format!("whether {} stays outside of its level", plan.signal)
                }
                Conclusion::Compliant => match self.mostly_outside(&report.findings).await? {
                    None => return Ok((report, None)),
                    Some((signal, why)) => {
                        passing = why;
                        format!("whether {signal} stays inside of its level")
                    }
                },
                _ => return Ok((report, None)),
            };
            if stop.is_cancelled() {
                return Ok((report, None));
            }
            let now = clock::now();
            let until = now + delta(self.config.cycle.load_cycle / QUARTERS);
            self.tell_and_wait(&what, now, until, stop).await;
            report = self.report(stop).await?;
        }
        match report.conclusion {
            Conclusion::Act(_) => report.conclusion = Conclusion::NothingLeft(passing),
            Conclusion::Compliant => report.conclusion = Conclusion::CannotTell(passing),
            _ => {}
        }
        Ok((report, None))
    }

    /// Opens a trial, with samples without the change since `clean`.
    pub(super) fn open_trial(&mut self, plan: Plan, clean: DateTime<Utc>) -> Result<Trial, SessionError> {
        let mut trial = trial::open(plan, clean, clock::now());
        trial.id = self.ledger.insert(&trial)?;
        self.reporter.tell(Progress::Moved(Arc::new(trial.clone())));
        Ok(trial)
    }

    /// Waits until there are samples of one load cycle without the change; for a lever that is about checkpoints, of as
    /// many whole times between them as are compared. Since when there are; `None` when asked to stop meanwhile.
    pub(super) async fn wait_for_before(
        &mut self,
        plan: &Plan,
        stop: &CancellationToken,
    ) -> Result<Option<DateTime<Utc>>, SessionError> {
        let cycle = delta(self.config.cycle.load_cycle);
        let asked = clock::now();
        // Nothing from before the last change. More than one cycle is more proof: docs/VERDICT.md has the rates.
        // A change that is recorded for later than now was recorded by a clock that was ahead.
        let clean = self.clean_since(plan).await?.max(asked - cycle * BEFORE_CYCLES).min(asked);
        let clean = self.sampled_since(clean, asked).await;
        let waves = self.between_checkpoints(plan).await.map(|(before, _)| delta(before * CHECKPOINTS));
        let spare = delta(self.config.cycle.scrape_interval) * 3;
        let enough = waves.map_or(cycle, |waves| cycle.max(waves + spare).min(cycle * BEFORE_CYCLES));
        let ready = clean + enough;
        let what = "samples of one load cycle without the change";
        self.tell_and_wait(what, clean, ready, stop).await;
        Ok((!stop.is_cancelled()).then_some(clean))
    }

    /// Why the plan's level is no lasting trouble: it was broken in less than half of the last load cycle. Each moment
    /// is looked at as a decision looks, over the signal's own window. `None`: it was, or it cannot be told, and then
    /// the trial's own samples decide.
    async fn only_now_and_then(&self, plan: &Plan, clean: DateTime<Utc>) -> Option<String> {
        let (broken, scrapes) = self.broken_scrapes(&plan.signal, plan.limit, clean).await?;
        let stays = scrapes == 0 || broken as f64 >= STAYS_BROKEN * scrapes as f64;
        (!stays).then(|| {
            format!(
                "{} was outside of its level in {broken} of {scrapes} scrapes only, a passing disturbance",
                plan.signal
            )
        })
    }

    /// A signal that stands inside of its level, and was outside of it in most of the load cycle that ends now, with
    /// that as a sentence. `None`: there is none, or it cannot be told, and then the look stands.
    async fn mostly_outside(
        &mut self,
        findings: &[Finding],
    ) -> Result<Option<(SignalName, String)>, SessionError> {
        let since = self.last_configured().await?;
        for finding in findings {
            let Some(limit) = finding.limit else { continue };
            let Some((broken, scrapes)) = self.broken_scrapes(&finding.signal, limit, since).await else {
                continue;
            };
            if broken as f64 > STAYS_BROKEN * scrapes as f64 {
                let why = format!(
                    "{} stands inside of its level, but was outside of it in {broken} of the last {scrapes} scrapes",
                    finding.signal
                );
                return Ok(Some((finding.signal.clone(), why)));
            }
        }
        Ok(None)
    }

    /// In how many scrapes of the last load cycle, and of nothing before `clean`, a signal was outside of its level; and
    /// how many scrapes there were.
    async fn broken_scrapes(
        &self,
        signal: &SignalName,
        limit: f64,
        clean: DateTime<Utc>,
    ) -> Option<(usize, usize)> {
        let signal = self.config.signals.iter().find(|known| known.name == *signal)?;
        let target = self.config.sla_of(&signal.name)?;
        let now = clock::now();
        let from = (clean + delta(signal.window)).max(now - delta(self.config.cycle.load_cycle));
        let grid = Grid::within(from, now, self.config.cycle.scrape_interval);
        let reduce = Reduce::Worst(signal.direction);
        let asked =
            observe::samples_on(&self.prometheus, &signal.queries, reduce, grid, signal.window, None).await;
        let values: Vec<f64> = asked.ok()?.values.into_iter().flatten().collect();
        let broken = values.iter().filter(|value| target.is_broken(**value, limit, signal.direction)).count();
        Some((broken, values.len()))
    }

    /// From when on every signal that has samples at all has them: a Prometheus that was just started has no past.
    async fn sampled_since(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> DateTime<Utc> {
        let step = self.config.cycle.scrape_interval;
        let mut since = from;
        for signal in &self.config.signals {
            if self.config.sla_of(&signal.name).is_none() {
                continue;
            }
            let asked = observe::samples(&self.prometheus, signal, from, to, step, None).await;
            let first = asked.ok().and_then(|series| series.values.iter().position(Option::is_some));
            if let Some(skipped) = first.and_then(|index| u32::try_from(index).ok()) {
                since = since.max(from + step * skipped);
            }
        }
        since
    }

    /// From when on nobody changed what is measured: the last change by leverd, the last reload, the last start of
    /// Postgres, the last write of the `.env` file.
    async fn clean_since(&mut self, plan: &Plan) -> Result<DateTime<Utc>, SessionError> {
        let since = self.last_configured().await?;
        if let Place::EnvFile(file) = &plan.place
            && let Ok(modified) = std::fs::metadata(file).and_then(|metadata| metadata.modified())
        {
            return Ok(since.max(DateTime::from(modified) + delta(self.config.cycle.settle)));
        }
        Ok(since)
    }

    /// The same for the server alone.
    async fn last_configured(&mut self) -> Result<DateTime<Utc>, SessionError> {
        let mut last = self.ledger.last_change_at(&self.config.target.name)?;
        if let Ok(client) = self.postgres.client().await {
            last = last.max(server::last_configured_at(client).await.ok());
        }
        Ok(last.map_or(DateTime::<Utc>::MIN_UTC, |last| last + delta(self.config.cycle.settle)))
    }
}
