//! Where a run begins: with the settings that like runs ended with.
//!
//! In: earlier runs, and what the next one moves. Out: settings with the reason, or nothing where no run is like
//! it. Pure. Always holds: the settings are some run's own, made smaller where the next one may have less, never a
//! mixture that nobody tried. It is a start: the run goes on to adjust.

use super::Records;
use super::likeness::{Features, likeness_of_features};
use crate::migrate::adjust::{Caps, Parameter, Settings};
use serde::{Deserialize, Serialize};

/// A run that is less like the next one says nothing.
const LEAST_LIKENESS: f64 = 0.5;
/// The like runs must be worth so many together: one that is nearly the same is enough for a start.
const LEAST_RUNS: f64 = 0.7;
/// A run that copied for a shorter time says nothing of its settings, seconds.
const LEAST_SECONDS: f64 = 30.0;
/// Equal runs differ in speed by about this, as a logarithm.
const NOISE: f64 = 0.1;

/// A run that moved its rows to the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PastRun {
    /// Its id.
    pub run: String,
    /// What it moved, and where.
    pub features: Features,
    /// The settings that were in force at its end.
    pub settings: Settings,
    /// Bytes of rows per second while it copied; `None` is unknown.
    pub bytes_per_second: Option<f64>,
    /// How long it copied, seconds.
    pub copying_seconds: f64,
}

/// Like runs that ended with the same settings.
struct Group<'a> {
    settings: Settings,
    nearest: (&'a PastRun, f64),
    runs: usize,
    worth: f64,
    /// The sum of their speeds, each by its likeness.
    sum: f64,
}

/// The settings to begin a run with, and why, one line for people. `None`: no run is like it.
///
/// The like runs are grouped by the settings that they ended with; a group's speed is the mean of its runs' bytes per
/// second and core (as logarithms), as if one more run had been as fast as all of them on average, less its standard
/// error, so that one lucky run does not beat many. The fastest wins.
pub fn predict_start(records: &Records, features: &Features, caps: &Caps) -> Option<(Settings, String)> {
    let like: Vec<(&PastRun, f64, f64)> = records
        .runs
        .iter()
        .filter(|run| run.copying_seconds >= LEAST_SECONDS)
        .filter_map(|run| Some((run, likeness_of_features(features, &run.features), speed(run)?)))
        .filter(|(_, likeness, _)| *likeness >= LEAST_LIKENESS)
        .collect();
    let worth: f64 = like.iter().map(|(_, likeness, _)| likeness).sum();
    if worth < LEAST_RUNS {
        return None;
    }
    let overall = like.iter().map(|(_, likeness, speed)| likeness * speed).sum::<f64>() / worth;
    let mut groups: Vec<Group<'_>> = Vec::new();
    for (run, likeness, speed) in &like {
        match groups.iter_mut().find(|group| group.settings == run.settings) {
            Some(group) => {
                group.runs += 1;
                group.worth += likeness;
                group.sum += likeness * speed;
                if *likeness > group.nearest.1 {
                    group.nearest = (*run, *likeness);
                }
            }
            None => groups.push(Group {
                settings: run.settings,
                nearest: (*run, *likeness),
                runs: 1,
                worth: *likeness,
                sum: likeness * speed,
            }),
        }
    }
    let expected = |group: &Group<'_>| {
        let runs = group.worth + 1.0;
        (group.sum + overall) / runs - NOISE / runs.sqrt()
    };
    let best = groups.iter().max_by(|one, other| {
        expected(one).total_cmp(&expected(other)).then(one.worth.total_cmp(&other.worth))
    })?;
    let settings = within(best.settings, caps);
    let (nearest, likeness) = best.nearest;
    let why = format!(
        "{} of {} like runs ended with {} and were the fastest; the nearest is run {}, {:.0} % alike",
        best.runs,
        like.len(),
        best.settings,
        nearest.run,
        100.0 * likeness,
    );
    Some((settings, why))
}

/// Bytes per second and core, as a logarithm.
fn speed(run: &PastRun) -> Option<f64> {
    let bytes = run.bytes_per_second.filter(|bytes| bytes.is_finite() && *bytes >= 1.0)?;
    let cores = run.features.cores.filter(|cores| cores.is_finite() && *cores >= 1.0).unwrap_or(1.0);
    Some(bytes.ln() - cores.ln())
}

/// The same, made smaller where this run may have less.
fn within(settings: Settings, caps: &Caps) -> Settings {
    Parameter::ALL.into_iter().fold(settings, |settings, parameter| {
        let value = settings.get(parameter).min(caps.most(parameter));
        settings.with(parameter, i64::from(value)).unwrap_or(settings)
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::features;
    use super::*;
    use crate::migrate::adjust::Writers;

    fn run(id: &str, writers: i64, bytes_per_second: f64) -> PastRun {
        PastRun {
            run: id.to_owned(),
            features: features(),
            settings: Settings::new(writers, 50_000, 2, 8).unwrap(),
            bytes_per_second: Some(bytes_per_second),
            copying_seconds: 600.0,
        }
    }

    fn start(runs: Vec<PastRun>, features: &Features, caps: &Caps) -> Option<(Settings, String)> {
        predict_start(&Records { trials: Vec::new(), runs }, features, caps)
    }

    #[test]
    fn a_rehearsal_is_enough_to_begin_with() {
        let (settings, why) = start(vec![run("a", 6, 5e7)], &features(), &Caps::WIDEST).unwrap();
        assert_eq!(settings.writers.get(), 6);
        assert_eq!(
            why,
            "1 of 1 like runs ended with chunk_size=50000, readers=2, writers=6, buffers=8 and were the fastest; the \
             nearest is run a, 100 % alike"
        );
    }

    #[test]
    fn the_fastest_settings_win_and_one_lucky_run_does_not() {
        let runs = vec![run("a", 4, 5e7), run("b", 8, 7e7), run("c", 8, 6.5e7)];
        assert_eq!(start(runs, &features(), &Caps::WIDEST).unwrap().0.writers.get(), 8);
        let mut runs: Vec<PastRun> = (0..6).map(|_| run("steady", 8, 7e7)).collect();
        runs.push(run("lucky", 2, 7.2e7));
        assert_eq!(start(runs, &features(), &Caps::WIDEST).unwrap().0.writers.get(), 8);
    }

    #[test]
    fn a_run_may_have_less() {
        let caps = Caps { writers: Writers::new(3).unwrap(), ..Caps::WIDEST };
        let (settings, why) = start(vec![run("a", 6, 5e7)], &features(), &caps).unwrap();
        assert_eq!(settings.writers.get(), 3);
        assert!(why.contains("writers=6"), "{why}");
    }

    #[test]
    fn what_is_not_like_it_says_nothing() {
        assert_eq!(start(Vec::new(), &features(), &Caps::WIDEST), None);
        let short = PastRun { copying_seconds: 3.0, ..run("a", 6, 5e7) };
        let blind = PastRun { bytes_per_second: None, ..run("b", 6, 5e7) };
        let huge = Features { cores: Some(64.0), row_bytes: Some(9_000.0), ..features() };
        let strange = PastRun { features: huge, ..run("c", 6, 5e7) };
        assert_eq!(start(vec![short, blind, strange], &features(), &Caps::WIDEST), None);
    }
}
