//! Harm that shows while a trial runs: a guard, the goal or the work done that is visibly worse, and transactions
//! that fail.
//!
//! In: the samples of each signal before the change, and the newest ones. Out: why the trial must end now, or
//! nothing. When a signal is visibly worse is `judge::Alarm`'s to say. It is looked for four times a scrape, so that
//! what shows for the configured number of scrapes is taken out before there is another one.

use super::clock;
use super::session::{Session, delta};
use super::watch::Watch;
use crate::judge::Alarm;
use crate::model::{Activation, Arm, Direction, Phase, Signal, Trial};
use crate::observe::{self, Grid, Reduce, Vitals};
use crate::trial::Event;
use chrono::{DateTime, Utc};
use std::time::Duration;

/// A query that is watched, and what it was without the change.
#[derive(Debug, Clone)]
pub(super) struct Watched {
    query: String,
    alarm: Alarm,
}

/// Transactions of the target's databases over time; what failed before the change is not the change's doing.
#[derive(Debug, Default)]
pub(super) struct Errors {
    /// The share of transactions that failed without the change, as far as it was seen.
    normal: f64,
    /// When the counters last moved, with commits and rollbacks then.
    last: Option<(DateTime<Utc>, f64, f64)>,
    /// Shares of failed transactions, one a scrape, the newest last.
    shares: Vec<f64>,
}

impl Errors {
    /// What was normal: statistics from before the change.
    pub(super) fn before(first: &Vitals, normal: Option<f64>) -> Self {
        let mut errors = Self { normal: normal.unwrap_or(0.0), ..Self::default() };
        errors.last =
            first.commits.zip(first.rollbacks).map(|(commits, rollbacks)| (first.at, commits, rollbacks));
        errors
    }

    /// Takes a look; a share is only told over a scrape's time in which something was committed or rolled back.
    fn look(&mut self, now: &Vitals, scrape: Duration, keep: usize) {
        let Some((commits, rollbacks)) = now.commits.zip(now.rollbacks) else { return };
        let Some((at, old_commits, old_rollbacks)) = self.last else {
            self.last = Some((now.at, commits, rollbacks));
            return;
        };
        let (committed, failed) = (commits - old_commits, rollbacks - old_rollbacks);
        let moved = committed + failed;
        // Counters that go back were reset: begin anew.
        if committed < 0.0 || failed < 0.0 {
            self.last = Some((now.at, commits, rollbacks));
            return;
        }
        if moved <= 0.0 || now.at - at < delta(scrape.mul_f64(0.9)) {
            return;
        }
        self.last = Some((now.at, commits, rollbacks));
        self.shares.push(failed / moved);
        let surplus = self.shares.len().saturating_sub(keep);
        self.shares.drain(..surplus);
    }

    /// The newest share, where so many in a row are past the bound.
    fn past(&self, bound: f64, scrapes: usize) -> Option<f64> {
        let last = self.shares.len().checked_sub(scrapes).map(|skip| &self.shares[skip..])?;
        last.iter().all(|share| *share > bound).then(|| last.last().copied())?
    }
}

impl Session {
    /// Why the trial must end now, if harm shows. Where the hypervisor took CPU time meanwhile, what is slower is taken
    /// out too, and nothing is said of the change; transactions do not fail for it.
    pub(super) async fn visible_harm(&self, trial: &Trial, watch: &mut Watch, now: &Vitals) -> Option<Event> {
        let since = self.guarded_since(trial)?;
        let failing = self.failing_transactions(watch, now);
        let may_be_stolen = failing.is_none();
        let found = match failing {
            Some(found) => Some(found),
            None => match self.worse_signal(trial, watch, since).await {
                Some(found) => Some(found),
                None => self.less_work(trial, watch, since).await,
            },
        }?;
        let exposed = clock::now() - trial.applied_at.unwrap_or(since);
        let seconds = exposed.num_milliseconds() as f64 / 1000.0;
        let scrapes = seconds / self.config.cycle.scrape_interval.as_secs_f64();
        let seen = format!("{found} (seen {seconds:.1} s, {scrapes:.0} scrapes, after the change)");
        let stolen = if may_be_stolen { self.stolen_lately(trial, since).await } else { None };
        Some(match stolen {
            Some(percent) => Event::Interrupted(format!(
                "{seen}; the hypervisor took {percent:.0} % of the CPUs' time meanwhile, so this says nothing of the change"
            )),
            None => Event::Abort(seen),
        })
    }

    /// Transactions that fail, more than they did.
    fn failing_transactions(&self, watch: &mut Watch, now: &Vitals) -> Option<String> {
        let scrapes = self.guard_scrapes();
        let errors = &mut watch.errors;
        errors.look(now, self.config.cycle.scrape_interval, scrapes);
        let limits = &self.config.abort;
        let bound = (limits.error_percent / 100.0).max(errors.normal * limits.guard_factor);
        let share = errors.past(bound, scrapes)?;
        Some(format!(
            "{:.0} % of the transactions were rolled back, {:.1} % without the change: past {:.0} % for {scrapes} scrapes",
            100.0 * share,
            100.0 * errors.normal,
            100.0 * bound,
        ))
    }

    /// A guard, or the goal itself, that is visibly worse than without the change for several scrapes in a row.
    async fn worse_signal(&self, trial: &Trial, watch: &mut Watch, since: DateTime<Utc>) -> Option<String> {
        for signal in &self.config.signals {
            let gives_back = trial.plan.gives_back.is_some();
            // A value that grows with the load says nothing alone: the load may have doubled. Of a level it does.
            if (signal.scales_with_load && !gives_back) || self.config.sla_of(&signal.name).is_none() {
                continue;
            }
            let reduce = Reduce::Worst(signal.direction);
            let asked = Asked { name: signal.name.as_str(), queries: &signal.queries, reduce };
            let bad = match self.limit_of(signal) {
                // Without what is given back it will be worse: that is harm where it is past its level.
                Some(limit) if gives_back && signal.direction == Direction::LowerIsBetter => {
                    Bad { direction: signal.direction, floor: limit, factor: 1.0 }
                }
                _ => self.bad(signal.direction, self.floor_of(signal)),
            };
            if let Some((normal, bound, now)) = self.ringing(asked, bad, trial, watch, since).await {
                let scrapes = self.guard_scrapes();
                return Some(match gives_back {
                    true => past_its_level(signal, bound, now, scrapes),
                    false => told(signal, normal, bound, now, scrapes),
                });
            }
        }
        None
    }

    /// The work done is what the load signal counts. Where it is halved, either the change slows the target, or
    /// people went home; before and after cannot be compared then either.
    async fn less_work(&self, trial: &Trial, watch: &mut Watch, since: DateTime<Utc>) -> Option<String> {
        let asked = Asked { name: LOAD, queries: &self.config.load.queries, reduce: Reduce::Sum };
        let bad = self.bad(Direction::HigherIsBetter, 0.0);
        let (normal, bound, now) = self.ringing(asked, bad, trial, watch, since).await?;
        let scrapes = self.guard_scrapes();
        Some(format!(
            "the work done was {normal:.1} /s without the change and is {now:.1} /s: below {bound:.1} for {scrapes} scrapes"
        ))
    }

    /// Normal value, bound and newest value of a query that rings.
    async fn ringing(
        &self,
        asked: Asked<'_>,
        bad: Bad,
        trial: &Trial,
        watch: &mut Watch,
        since: DateTime<Utc>,
    ) -> Option<(f64, f64, f64)> {
        if !watch.watched.contains_key(asked.name) {
            // Prometheus may be away for a moment: then it is asked again at the next look.
            let found = self.watched(&asked, bad, trial).await?;
            watch.watched.insert(asked.name.to_owned(), found);
        }
        let Watched { query, alarm } = watch.watched.get(asked.name)?.as_ref()?;
        let step = self.config.cycle.scrape_interval;
        let scrapes = self.guard_scrapes();
        let grid = Grid::ending_at(clock::now(), step, scrapes, since);
        let recent =
            observe::samples_on(&self.prometheus, asked.queries, asked.reduce, grid, step * 2, Some(query))
                .await;
        let recent: Vec<f64> = recent.ok()?.values.into_iter().flatten().collect();
        let now = recent.last().copied()?;
        alarm.rings(&recent, scrapes).then(|| (alarm.normal(), alarm.bound(), now))
    }

    /// What the query was in the first arm; `Some(None)`: it had no data there, so it is not watched.
    async fn watched(&self, asked: &Asked<'_>, bad: Bad, trial: &Trial) -> Option<Option<Watched>> {
        let &(_, from, to) = trial.arms.first()?;
        let step = self.config.cycle.scrape_interval;
        let grid = Grid::within(from, to, step);
        let series = observe::samples_on(&self.prometheus, asked.queries, asked.reduce, grid, step * 2, None)
            .await
            .ok()?;
        let alarm = Alarm::new(&series.values, bad.direction, bad.floor, bad.factor);
        Some(alarm.map(|alarm| Watched { query: series.query, alarm }))
    }

    /// From when on samples can hold the change; `None` while nothing is watched: the old value is in place, or a
    /// restart's cold caches are still filling.
    fn guarded_since(&self, trial: &Trial) -> Option<DateTime<Utc>> {
        match trial.phase {
            Phase::Settling if trial.plan.activation != Activation::Restart => trial.applied_at,
            Phase::Measuring { .. } if trial.plan.activation != Activation::Restart => trial.applied_at,
            Phase::Measuring { .. } => trial.arms.iter().find(|arm| arm.0 == Arm::B).map(|arm| arm.1),
            // Only what reloads is ever applied again.
            Phase::AgainB => Some(trial.phase_since),
            _ => None,
        }
    }

    fn bad(&self, direction: Direction, floor: f64) -> Bad {
        Bad { direction, floor, factor: self.config.abort.guard_factor }
    }

    fn guard_scrapes(&self) -> usize {
        self.config.abort.guard_scrapes.max(1) as usize
    }
}

/// The load's name among the watched queries; no signal can have it, for theirs have no blanks.
const LOAD: &str = "the load";

/// What counts as visibly worse, as [`Alarm::new`] takes it.
#[derive(Debug, Clone, Copy)]
struct Bad {
    direction: Direction,
    floor: f64,
    factor: f64,
}

/// What is asked of Prometheus.
struct Asked<'a> {
    name: &'a str,
    queries: &'a [String],
    reduce: Reduce,
}

/// Where a change is given back, its level counts and not what was normal with it.
fn past_its_level(signal: &Signal, bound: f64, now: f64, scrapes: usize) -> String {
    let (now, bound) = (signal.unit.show(now), signal.unit.show(bound));
    format!("{} is {now}: well outside of its level, past {bound} for {scrapes} scrapes", signal.name)
}

fn told(signal: &Signal, normal: f64, bound: f64, now: f64, scrapes: usize) -> String {
    format!(
        "{} was {} without the change and is {}: past {} for {scrapes} scrapes",
        signal.name,
        signal.unit.show(normal),
        signal.unit.show(now),
        signal.unit.show(bound),
    )
}
