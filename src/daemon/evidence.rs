//! A trial's arms → the samples of each signal in each arm → a look by `judge`.

use super::clock;
use super::session::Session;
use super::watch::Watch;
use crate::judge;
use crate::model::{
    Arm, Direction, Evidence, Judgement, Phase, Segment, Series, Signal, SignalName, Trial, Unit,
};
use crate::observe::{self, Grid, Reduce};
use crate::trial;
use chrono::{DateTime, Utc};

/// Differences below this share of a guard's level matter to nobody.
const FLOOR_OF_LEVEL: f64 = 0.25;

/// Of all CPUs, as the I/O wait is.
const STEAL: &str = "avg(rate(node_cpu_seconds_total{mode=\"steal\"}[{{window}}])) * 100";
/// So many scrapes back: what had to wait then may be worked off only now.
const STEAL_REACHES: usize = 10;

impl Session {
    /// Looks at the evidence as it is now.
    pub(super) async fn judge(&self, trial: &Trial, watch: &Watch) -> Judgement {
        if trial.plan.gives_back.is_some() {
            return self.judge_giving_back(trial, watch).await;
        }
        let goal_name = &trial.plan.signal;
        let mut guards = Vec::new();
        let mut goal = None;
        for signal in &self.config.signals {
            let bounded = self.config.sla_of(&signal.name).is_some();
            if signal.name == *goal_name {
                goal = Some(self.series(signal, trial, 0.0).await);
            } else if bounded {
                let series = self.series(signal, trial, self.floor_of(signal)).await;
                if had_data(&series) {
                    guards.push(series);
                }
            }
        }
        let goal = goal.unwrap_or_else(|| nothing(goal_name));
        let evidence = Evidence {
            goal,
            guards,
            load: self.load(trial).await,
            look: match trial.phase {
                Phase::Measuring { look } => look,
                _ => self.config.cycle.max_extensions + 1,
            },
            looks: trial::looks(&trial.plan, &self.timing()),
            incomparable: watch.incomparable(trial),
            stolen: self.stolen(trial).await,
            waves: watch.waves(self.config.cycle.scrape_interval),
        };
        judge::judge(&evidence)
    }

    /// The share of the CPUs' time that the hypervisor took, percent, at each scrape of each arm. Without a value: no
    /// virtual machine, or nobody shows it.
    async fn stolen(&self, trial: &Trial) -> Vec<Segment> {
        self.segments(&[STEAL.to_owned()], Reduce::Worst(Direction::LowerIsBetter), trial).await
    }

    /// How many percent of the CPUs' time the hypervisor took lately, where that is more than it took before the change:
    /// what looks like harm may be a neighbour's work.
    pub(super) async fn stolen_lately(&self, trial: &Trial, since: DateTime<Utc>) -> Option<f64> {
        let step = self.config.cycle.scrape_interval;
        let queries = [STEAL.to_owned()];
        let reduce = Reduce::Worst(Direction::LowerIsBetter);
        let grid = Grid::ending_at(clock::now(), step, STEAL_REACHES, since);
        let recent =
            observe::samples_on(&self.prometheus, &queries, reduce, grid, step * 2, None).await.ok()?;
        let most = recent.values.into_iter().flatten().max_by(f64::total_cmp)?;
        let before = self.stolen(trial).await.into_iter().next()?;
        (most > judge::steal_bound(&before.values)?).then_some(most)
    }

    async fn series(&self, signal: &Signal, trial: &Trial, floor: f64) -> Series {
        let reduce = Reduce::Worst(signal.direction);
        Series {
            signal: signal.name.clone(),
            unit: signal.unit,
            direction: signal.direction,
            scales_with_load: signal.scales_with_load,
            floor,
            segments: self.segments(&signal.queries, reduce, trial).await,
        }
    }

    async fn load(&self, trial: &Trial) -> Option<Series> {
        let segments = self.segments(&self.config.load.queries, Reduce::Sum, trial).await;
        let series = Series {
            signal: "load".into(),
            unit: Unit::PerSec,
            direction: Direction::HigherIsBetter,
            scales_with_load: false,
            floor: 0.0,
            segments,
        };
        had_data(&series).then_some(series)
    }

    /// One value a scrape for each arm. Every arm asks the query that answered for the first: both sides measure the
    /// same thing. A Prometheus that does not answer leaves the arm without values, which is never a pass.
    async fn segments(&self, queries: &[String], reduce: Reduce, trial: &Trial) -> Vec<Segment> {
        let step = self.config.cycle.scrape_interval;
        let mut prefer: Option<String> = None;
        let mut segments = Vec::with_capacity(trial.arms.len());
        for &(arm, from, to) in &trial.arms {
            let grid = Grid::within(from, to, step);
            let asked =
                observe::samples_on(&self.prometheus, queries, reduce, grid, step * 2, prefer.as_deref());
            let values = match asked.await {
                Ok(series) => {
                    prefer.get_or_insert(series.query);
                    series.values
                }
                Err(error) => {
                    tracing::warn!(trial.id = trial.id.0, "samples are missing: {error}");
                    vec![None; grid.points()]
                }
            };
            segments.push(Segment { arm, values });
        }
        segments
    }

    /// The value below which a guard's differences do not count.
    pub(super) fn floor_of(&self, signal: &Signal) -> f64 {
        match signal.direction {
            Direction::LowerIsBetter => {
                self.limit_of(signal).map_or(0.0, |level| level.abs() * FLOOR_OF_LEVEL)
            }
            Direction::HigherIsBetter => 0.0,
        }
    }

    /// The signal's level as a number.
    pub(super) fn limit_of(&self, signal: &Signal) -> Option<f64> {
        let normal = self.baseline().ok().flatten();
        let normal = normal.and_then(|baseline| Some(baseline.metrics.get(&signal.name)?.value));
        self.config.sla_of(&signal.name)?.limit(normal)
    }
}

/// A guard that had no data without the change cannot be compared: it is not one.
pub(super) fn had_data(series: &Series) -> bool {
    let before = series.segments.iter().filter(|segment| segment.arm == Arm::A);
    before.flat_map(|segment| &segment.values).any(Option::is_some)
}

/// The goal's signal left the configuration in mid-trial: nothing to judge by.
pub(super) fn nothing(signal: &SignalName) -> Series {
    Series {
        signal: signal.clone(),
        unit: Unit::Count,
        direction: Direction::LowerIsBetter,
        scales_with_load: false,
        floor: 0.0,
        segments: vec![],
    }
}
