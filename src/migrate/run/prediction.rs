//! The settings that a run begins with: those of its file and its machine, or those that like runs ended with; and
//! those that a run goes on with: what it had reached.
//!
//! In: what is remembered of earlier runs, the plan, the settings as file and machine have them; of a run that goes on
//! its adjustments. Out: the settings, and why they are others. Pure. Always holds: what stands in the file stays as it
//! is, but for writers that there are no connections for; what comes from earlier runs comes from runs that agreed with
//! the file, so that no mixture is begun with that nobody tried; what is begun with is told.

use super::{Adjusting, Request, connections};
use crate::migrate::adjust::{Caps, Parameter, Settings, Writers};
use crate::migrate::brain::learner::{Features, PastRun, Records, predict_start};
use crate::migrate::plan::Plan;
use crate::migrate::schema::Table;
use crate::migrate::state::RecordedAdjustment;
use serde_json::Value;
use std::collections::BTreeSet;

/// With what rows begin to be moved.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Beginning {
    pub(super) settings: Settings,
    /// Why they are not the file's own, a line each.
    pub(super) why: Vec<String>,
}

/// The settings that a new run begins with; `file`: as its file and its machine have them.
pub(super) fn start(request: &Request<'_>, plan: &Plan, file: Settings) -> Beginning {
    let Request { config, adjusting, .. } = request;
    let held = held(&config.typed);
    let caps = caps(connections::writers(config, request.jobs));
    let found = predicted(&adjusting.records, &features(plan, adjusting), &caps, &held, file);
    within(caps.writers, config.settings.max_target_connections, found.unwrap_or((file, None)))
}

/// The settings that a run goes on with, which was begun with `began`.
pub(super) fn resumed(
    request: &Request<'_>,
    began: &Value,
    adjustments: &[RecordedAdjustment],
    file: Settings,
) -> Beginning {
    let config = request.config;
    let began: Settings = serde_json::from_value(began.clone()).unwrap_or(file);
    let found = reached(began, adjustments, &held(&config.typed), file);
    let most = caps(connections::writers(config, request.jobs)).writers;
    within(most, config.settings.max_target_connections, found)
}

/// The same, with no more writers than there are `connections` for.
fn within(most: Writers, connections: u32, found: (Settings, Option<String>)) -> Beginning {
    let (mut settings, why) = found;
    let mut why: Vec<String> = why.into_iter().collect();
    if settings.writers > most {
        why.push(format!(
            "writers {most} instead of {}: max_target_connections is {connections}, and other sessions need some",
            settings.writers
        ));
        settings.writers = most;
    }
    Beginning { settings, why }
}

/// What a run had come to: what it began with and what was kept since. What the file says otherwise by now, holds.
fn reached(
    began: Settings,
    adjustments: &[RecordedAdjustment],
    held: &[Parameter],
    file: Settings,
) -> (Settings, Option<String>) {
    let mut settings = began;
    let mut kept = 0_u32;
    for RecordedAdjustment { adjustment, .. } in adjustments.iter().filter(|one| one.adjustment.is_kept()) {
        if let Ok(next) = settings.with(adjustment.setting, adjustment.after.into()) {
            settings = next;
            kept += 1;
        }
    }
    for parameter in held {
        let says = file.get(*parameter);
        if says != began.get(*parameter) {
            settings = settings.with(*parameter, says.into()).unwrap_or(settings);
        }
    }
    let why = match kept {
        0 => "as the run began".to_owned(),
        1 => "with what the run began with and one adjustment that was kept".to_owned(),
        more => format!("with what the run began with and {more} adjustments that were kept"),
    };
    let line = format!("{}: {why}", line("going on", &settings));
    (settings, (settings != file).then_some(line))
}

/// `starting with writers 4, …`.
fn line(word: &str, settings: &Settings) -> String {
    format!(
        "{word} with writers {}, chunk {}, readers {}, buffers {}",
        settings.writers, settings.chunk_rows, settings.readers, settings.buffers
    )
}

/// What a run moves, and where: what earlier runs are compared by.
pub(super) fn features(plan: &Plan, adjusting: &Adjusting) -> Features {
    let definitions: Vec<Table> = plan.tables.iter().map(|table| table.definition.clone()).collect();
    let (cores, memory_mb) = adjusting.machine;
    Features::of(&definitions, plan.engine, cores, memory_mb)
}

/// The most that a run may have.
pub(super) fn caps(most_writers: u32) -> Caps {
    let writers = Writers::new(most_writers.into()).unwrap_or(Caps::WIDEST.writers);
    Caps { writers, ..Caps::WIDEST }
}

/// What the file says itself. `workers` is dmt's word for how much goes on at once, so it holds the writers too.
fn held(typed: &BTreeSet<&'static str>) -> Vec<Parameter> {
    let is_typed = |keys: &[&'static str]| keys.iter().any(|key| typed.contains(key));
    Parameter::ALL
        .into_iter()
        .filter(|parameter| match parameter {
            Parameter::Writers => is_typed(&["workers", "write_ahead_writers"]),
            Parameter::ChunkRows => is_typed(&["chunk_size"]),
            Parameter::Readers => is_typed(&["parallel_readers"]),
            Parameter::Buffers => is_typed(&["read_ahead_buffers"]),
        })
        .collect()
}

/// What earlier runs say that ended with what is held; `None`: nothing, or what the file says.
fn predicted(
    records: &Records,
    features: &Features,
    caps: &Caps,
    held: &[Parameter],
    file: Settings,
) -> Option<(Settings, Option<String>)> {
    let agrees =
        |run: &&PastRun| held.iter().all(|parameter| run.settings.get(*parameter) == file.get(*parameter));
    let runs: Vec<PastRun> = records.runs.iter().filter(agrees).cloned().collect();
    let (found, why) = predict_start(&Records { trials: Vec::new(), runs }, features, caps)?;
    // A cap may have made smaller what is held: the transfer has the cap too, and the file its word.
    let settings = held.iter().fold(found, |settings, parameter| {
        settings.with(*parameter, file.get(*parameter).into()).unwrap_or(settings)
    });
    (settings != file).then(|| (settings, Some(format!("{}: {why}", line("starting", &settings)))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::state::Adjustment;
    use crate::migrate::types::Engine;
    use chrono::DateTime;
    use proptest::prelude::*;

    const FILE: (i64, i64, i64, i64) = (2, 100_000, 2, 4);

    fn settings((writers, chunk, readers, buffers): (i64, i64, i64, i64)) -> Settings {
        Settings::new(writers, chunk, readers, buffers).unwrap()
    }

    fn here() -> Features {
        Features {
            cores: Some(8.0),
            memory_mb: Some(16_384.0),
            rows: Some(3e6),
            row_bytes: Some(150.0),
            columns: Some(12.0),
            variable_percent: Some(25.0),
            source: Some(Engine::Postgres),
        }
    }

    fn run(id: &str, of: (i64, i64, i64, i64), bytes_per_second: f64) -> PastRun {
        PastRun {
            run: id.to_owned(),
            features: here(),
            settings: settings(of),
            bytes_per_second: Some(bytes_per_second),
            copying_seconds: 600.0,
        }
    }

    fn predict(runs: Vec<PastRun>, typed: &[&'static str], most: u32) -> Option<(Settings, String)> {
        let records = Records { trials: Vec::new(), runs };
        let held = held(&typed.iter().copied().collect());
        let found = predicted(&records, &here(), &caps(most), &held, settings(FILE));
        found.map(|(settings, line)| (settings, line.unwrap()))
    }

    #[test]
    fn a_run_begins_as_the_fastest_like_run_ended_and_says_so() {
        let runs = vec![run("a", (4, 50_000, 2, 8), 7e7), run("b", FILE, 5e7)];
        let (found, line) = predict(runs, &[], 16).unwrap();
        assert_eq!(found, settings((4, 50_000, 2, 8)));
        assert!(
            line.starts_with(
                "starting with writers 4, chunk 50000, readers 2, buffers 8: 1 of 2 like runs ended"
            ),
            "{line}"
        );
        assert!(line.contains("the nearest is run a, 100 % alike"), "{line}");
    }

    #[test]
    fn without_a_like_run_or_with_nothing_new_the_file_stands() {
        assert_eq!(predict(Vec::new(), &[], 16), None);
        assert_eq!(predict(vec![run("a", FILE, 7e7)], &[], 16), None);
        let short = PastRun { copying_seconds: 2.0, ..run("a", (4, 50_000, 2, 8), 7e7) };
        assert_eq!(predict(vec![short], &[], 16), None);
    }

    #[test]
    fn what_stands_in_the_file_holds_and_only_runs_with_it_are_asked() {
        let runs = || vec![run("a", (8, 50_000, 2, 8), 9e7), run("b", (6, 100_000, 2, 8), 5e7)];
        let (found, line) = predict(runs(), &["chunk_size"], 16).unwrap();
        assert_eq!(found, settings((6, 100_000, 2, 8)));
        assert!(line.contains("1 of 1 like runs"), "{line}");
        assert_eq!(predict(runs(), &["write_ahead_writers"], 16), None, "no run ended with two writers");
        assert_eq!(predict(runs(), &["workers"], 16), None, "workers hold the writers");
    }

    #[test]
    fn a_run_with_fewer_connections_begins_with_fewer_writers() {
        let runs = vec![run("a", (8, 50_000, 2, 8), 9e7)];
        assert_eq!(predict(runs, &[], 3).unwrap().0.writers.get(), 3);
    }

    fn adjusted(setting: Parameter, before: u32, after: u32, outcome: Option<&str>) -> RecordedAdjustment {
        let adjustment = Adjustment {
            number: 1,
            setting,
            before,
            after,
            by: "rules".to_owned(),
            reasoning: "there is room".to_owned(),
            outcome: outcome.map(str::to_owned),
            gain: None,
        };
        RecordedAdjustment { at: DateTime::UNIX_EPOCH, adjustment }
    }

    #[test]
    fn a_run_goes_on_with_what_was_kept_and_with_no_open_trial() {
        let adjustments = [
            adjusted(Parameter::ChunkRows, 100_000, 200_000, Some("kept, rows per second +30.0 % (faster)")),
            adjusted(Parameter::Writers, 2, 4, Some("reverted (slower)")),
            adjusted(Parameter::Writers, 2, 1, Some("for the target's levels (io_wait)")),
            adjusted(Parameter::Writers, 2, 3, Some("kept (faster)")),
            adjusted(Parameter::Readers, 2, 4, None),
        ];
        let (found, line) = reached(settings(FILE), &adjustments, &[], settings(FILE));
        assert_eq!(found, settings((3, 200_000, 2, 4)));
        assert_eq!(
            line.unwrap(),
            "going on with writers 3, chunk 200000, readers 2, buffers 4: with what the run began with and 2 \
             adjustments that were kept"
        );
        assert_eq!(reached(settings(FILE), &[], &[], settings(FILE)), (settings(FILE), None));
    }

    #[test]
    fn writers_that_no_connection_is_for_are_not_begun_with() {
        let two = Writers::new(2).unwrap();
        let beginning = within(two, 5, (settings((4, 1_000, 2, 4)), Some("a line".to_owned())));
        assert_eq!(beginning.settings, settings((2, 1_000, 2, 4)));
        let why = "writers 2 instead of 4: max_target_connections is 5, and other sessions need some";
        assert_eq!(beginning.why, ["a line", why]);
        assert_eq!(
            within(two, 5, (settings(FILE), None)),
            Beginning { settings: settings(FILE), why: vec![] }
        );
    }

    #[test]
    fn what_the_file_says_otherwise_since_holds() {
        let kept = [adjusted(Parameter::Writers, 2, 3, Some("kept (faster)"))];
        let edited = settings((6, 100_000, 2, 4));
        assert_eq!(reached(settings(FILE), &kept, &[Parameter::Writers], edited).0, edited);
        let typed = reached(settings(FILE), &kept, &[Parameter::Writers], settings(FILE)).0;
        assert_eq!(typed.writers.get(), 3, "the file says what it said when the run began");
        let predicted = settings((4, 50_000, 2, 8));
        assert_eq!(reached(predicted, &[], &[], settings(FILE)).0, predicted, "what it began with");
    }

    proptest! {
        #[test]
        fn what_is_typed_is_never_another(
            writers in 1_i64..=16, chunk in 1_i64..=500, readers in 1_i64..=4, most in 1_u32..=16,
            typed in prop::sample::subsequence(
                vec!["workers", "chunk_size", "read_ahead_buffers", "write_ahead_writers", "parallel_readers"], 0..=5,
            ),
        ) {
            let runs = vec![
                run("a", (writers, chunk * 1_000, readers, 8), 9e7),
                run("b", (2, chunk * 1_000, readers, 4), 8e7),
                run("c", (writers, 100_000, 2, 4), 7e7),
            ];
            if let Some((found, _)) = predict(runs, &typed, most) {
                let held = held(&typed.iter().copied().collect());
                for parameter in held {
                    prop_assert_eq!(found.get(parameter), settings(FILE).get(parameter));
                }
                prop_assert!(found != settings(FILE));
            }
        }
    }
}
