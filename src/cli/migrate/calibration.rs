//! What a calibration's steps measured → a table, and where to begin. Pure.
//!
//! In: rows over time of each step. Out: rows a second, and a [`Proposal`]. Always holds: steps are compared with the
//! file's own settings, measured alike; what is not more than the steps' own noise is no gain and is not proposed.

use super::figures::{counted, named};
use crate::cli::render;
use serde::Serialize;
use std::fmt::Write as _;

/// Settings that are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Setting {
    /// The most rows of a chunk.
    pub(super) chunk_rows: u32,
    pub(super) writers: u32,
}

/// Those that dmt tries.
pub(super) const SETTINGS: [Setting; 5] = [
    Setting { chunk_rows: 25_000, writers: 4 },
    Setting { chunk_rows: 75_000, writers: 6 },
    Setting { chunk_rows: 150_000, writers: 8 },
    Setting { chunk_rows: 200_000, writers: 6 },
    Setting { chunk_rows: 100_000, writers: 10 },
];

/// Less than this is no gain, however quiet the machine is.
const LEAST_GAIN: f64 = 0.05;
/// Less than this is no gain where nobody knows how much a step varies.
const LEAST_GAIN_OF_ONE_ROUND: f64 = 0.15;
/// So many times the steps' mean range must lie between two of them. The best of several is the best by luck too.
const RANGES: f64 = 2.0;

/// A step: its settings, and what each round of it brought.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Step {
    pub(super) setting: Setting,
    /// They are the file's own.
    pub(super) yours: bool,
    /// Rows a second of each round; `None`: too few chunks came to tell.
    pub(super) rounds: Vec<Option<f64>>,
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "proposal")]
pub(super) enum Proposal {
    /// With other settings than the file's.
    Change {
        /// The settings.
        setting: Setting,
        /// How many more rows a second, as a share.
        gain: f64,
        /// What is within the noise, as a share.
        noise: f64,
    },
    /// With the file's own settings.
    Keep {
        /// The best of the others, against the file's, as a share; below 0: all are slower.
        gain: f64,
        /// What is within the noise, as a share.
        noise: f64,
    },
    /// Too little was measured.
    Unknown,
}

/// Rows a second of one round.
///
/// `samples`: seconds since copying began, and rows that were there, one behind the other. `whole`: all rows were
/// copied, and the last sample is the moment of it. Else the round was cut, and chunks that were under way are in no
/// count: it is measured from the first chunk that arrived to the last.
pub(super) fn rows_per_second(samples: &[(f64, u64)], whole: bool) -> Option<f64> {
    let (first, last) = (samples.first()?, samples.last()?);
    let (from, to) = if whole {
        (first, last)
    } else {
        let rises: Vec<&(f64, u64)> =
            samples.windows(2).filter(|pair| pair[1].1 > pair[0].1).map(|pair| &pair[1]).collect();
        (*rises.first()?, *rises.last()?)
    };
    let (seconds, rows) = (to.0 - from.0, to.1.saturating_sub(from.1));
    (seconds > 0.0 && rows > 0).then(|| rows as f64 / seconds)
}

/// The settings to try: dmt's, and the file's own first, each once; without those that have more writers than the
/// target may have sessions.
pub(super) fn settings_to_try(own: Setting, most_writers: u32) -> Vec<Setting> {
    let mut settings = vec![own];
    settings.extend(SETTINGS.into_iter().filter(|other| *other != own && other.writers <= most_writers));
    settings
}

impl Step {
    fn mean(&self) -> Option<f64> {
        let known: Vec<f64> = self.rounds.iter().flatten().copied().collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    }

    /// Between the slowest and the fastest round, as a share of the mean.
    fn range(&self) -> Option<f64> {
        let known: Vec<f64> = self.rounds.iter().flatten().copied().collect();
        let (least, most) =
            (known.iter().copied().reduce(f64::min)?, known.iter().copied().reduce(f64::max)?);
        let mean = self.mean().filter(|mean| known.len() > 1 && *mean > 0.0)?;
        Some((most - least) / mean)
    }
}

/// What is within the noise, as a share.
fn noise(steps: &[Step]) -> f64 {
    let ranges: Vec<f64> = steps.iter().filter_map(Step::range).collect();
    if ranges.is_empty() {
        return LEAST_GAIN_OF_ONE_ROUND;
    }
    (RANGES * ranges.iter().sum::<f64>() / ranges.len() as f64).max(LEAST_GAIN)
}

/// Where to begin.
pub(super) fn proposal(steps: &[Step]) -> Proposal {
    let yours = steps.iter().find(|step| step.yours).and_then(Step::mean);
    let others = steps.iter().filter(|step| !step.yours);
    let best = others
        .filter_map(|step| Some((step.setting, step.mean()?)))
        .max_by(|(_, one), (_, other)| one.total_cmp(other));
    let (Some(yours), Some((setting, mean))) = (yours, best) else { return Proposal::Unknown };
    let (gain, noise) = (mean / yours - 1.0, noise(steps));
    if gain > noise { Proposal::Change { setting, gain, noise } } else { Proposal::Keep { gain, noise } }
}

/// For people: the steps, and where to begin.
pub(super) fn text(steps: &[Step], proposal: &Proposal) -> String {
    let rounds = steps.iter().map(|step| step.rounds.len()).max().unwrap_or(0);
    let yours = steps.iter().find(|step| step.yours).and_then(Step::mean);
    let mut rows =
        render::table(&["chunk rows", "writers", "rows/s of each round", "rows/s", "against the file's"]);
    for step in steps {
        let shown = |rate: Option<f64>| rate.map_or("?".to_owned(), |rate| counted(rate.round() as u64));
        let each: Vec<String> = step.rounds.iter().map(|rate| shown(*rate)).collect();
        let against = match (step.yours, step.mean().zip(yours)) {
            (true, _) => "the file's".to_owned(),
            (false, Some((mean, yours))) => signed_percent(mean / yours - 1.0),
            (false, None) => "?".to_owned(),
        };
        rows.add_row(vec![
            counted(step.setting.chunk_rows.into()),
            step.setting.writers.to_string(),
            each.join(" · "),
            shown(step.mean()),
            against,
        ]);
    }
    let mut text = format!("{rows}\n");
    let _ = match proposal {
        Proposal::Change { setting, gain, noise } => writeln!(
            text,
            "Begin with chunks of {} rows and {}: {} rows/s, and up to {} is noise here.",
            counted(setting.chunk_rows.into()),
            named(setting.writers.into(), "writer"),
            signed_percent(*gain),
            percent(*noise),
        ),
        Proposal::Keep { gain, noise } => writeln!(
            text,
            "Keep the file's settings: the best of the others brought {} rows/s, and up to {} is noise here.",
            signed_percent(*gain),
            percent(*noise),
        ),
        Proposal::Unknown => writeln!(
            text,
            "Nothing can be proposed: too few chunks came. Give each step more time with --seconds, or more rows with \
             --rows."
        ),
    };
    if rounds < 2 {
        let _ = writeln!(text, "One round says nothing of how much a step varies.");
    }
    text
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// `+12 %`, `-3 %`, `+0 %`.
fn signed_percent(share: f64) -> String {
    // Rounded first: -0.001 is no less than nothing.
    format!("{:+.0} %", (share * 100.0).round() + 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Setting = Setting { chunk_rows: 50_000, writers: 2 };

    fn step(setting: Setting, rounds: &[f64]) -> Step {
        Step { setting, yours: setting == OWN, rounds: rounds.iter().map(|rate| Some(*rate)).collect() }
    }

    #[test]
    fn a_cut_round_is_measured_between_chunks() {
        let samples = [(0.0, 0), (1.0, 0), (2.0, 100), (3.0, 100), (4.0, 300), (5.0, 300)];
        assert_eq!(rows_per_second(&samples, false), Some(100.0));
        assert_eq!(rows_per_second(&samples, true), Some(60.0));
        assert_eq!(rows_per_second(&samples[..4], false), None);
        assert_eq!(rows_per_second(&[], true), None);
    }

    #[test]
    fn the_files_own_settings_are_tried_too_and_once() {
        let settings = settings_to_try(OWN, 16);
        assert_eq!((settings.len(), settings[0]), (6, OWN));
        assert_eq!(settings_to_try(SETTINGS[1], 16).len(), 5);
        let few = settings_to_try(OWN, 6);
        assert!(few.len() == 4 && few.iter().all(|setting| setting.writers <= 6), "{few:?}");
    }

    #[test]
    fn what_is_more_than_noise_is_proposed() {
        let steps = [step(OWN, &[100_000.0, 102_000.0]), step(SETTINGS[0], &[130_000.0, 132_000.0])];
        let Proposal::Change { setting, gain, noise } = proposal(&steps) else {
            panic!("{:?}", proposal(&steps))
        };
        assert_eq!(setting, SETTINGS[0]);
        assert!((gain - 0.297).abs() < 0.001 && (noise - LEAST_GAIN).abs() < 1e-9, "{gain} {noise}");
        let text = text(&steps, &proposal(&steps));
        let told =
            "Begin with chunks of 25,000 rows and 4 writers: +30 % rows/s, and up to 5 % is noise here.";
        assert!(text.contains(told), "{text}");
    }

    #[test]
    fn what_is_noise_is_not() {
        let steps = [step(OWN, &[100_000.0, 120_000.0]), step(SETTINGS[0], &[115_000.0, 135_000.0])];
        assert!(
            matches!(proposal(&steps), Proposal::Keep { gain, .. } if gain > 0.1),
            "{:?}",
            proposal(&steps)
        );
        let once = [step(OWN, &[100_000.0]), step(SETTINGS[0], &[110_000.0])];
        assert!(matches!(proposal(&once), Proposal::Keep { .. }));
        assert!(text(&once, &proposal(&once)).contains("One round says nothing"));
        let slower = [step(OWN, &[100_000.0, 100_000.0]), step(SETTINGS[0], &[90_000.0, 90_000.0])];
        assert!(text(&slower, &proposal(&slower)).contains("brought -10 % rows/s"));
    }

    #[test]
    fn too_little_is_no_proposal() {
        let mut silent = step(SETTINGS[0], &[]);
        silent.rounds = vec![None, None];
        let steps = [step(OWN, &[100_000.0, 100_000.0]), silent];
        assert_eq!(proposal(&steps), Proposal::Unknown);
        assert!(text(&steps, &Proposal::Unknown).contains("? · ?"));
        assert_eq!(serde_json::to_value(Proposal::Unknown).unwrap()["proposal"], "unknown");
    }
}
