//! The settings that a run begins with: those of its file and its machine, or those that like runs ended with.
//!
//! In: what is remembered of earlier runs, the plan, the settings as file and machine have them. Out: the settings, and
//! why they are others. Pure. Always holds: what stands in the file stays as it is; what comes from earlier runs comes
//! from runs that agreed with the file, so that no mixture is begun with that nobody tried; what is begun with is told.

use super::{Adjusting, Request, connections};
use crate::migrate::adjust::{Caps, Parameter, Settings, Writers};
use crate::migrate::brain::learner::{Features, PastRun, Records, predict_start};
use crate::migrate::plan::Plan;
use crate::migrate::schema::Table;
use std::collections::BTreeSet;

/// The settings to begin with, and one line for people where they are not `file`'s own.
pub(super) fn start(request: &Request<'_>, plan: &Plan, file: Settings) -> (Settings, Option<String>) {
    let Request { config, adjusting, .. } = request;
    let held = held(&config.typed);
    let caps = caps(connections::writers(config, request.jobs));
    match predicted(&adjusting.records, &features(plan, adjusting), &caps, &held, file) {
        Some((settings, why)) => (settings, Some(why)),
        None => (file, None),
    }
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
) -> Option<(Settings, String)> {
    let agrees =
        |run: &&PastRun| held.iter().all(|parameter| run.settings.get(*parameter) == file.get(*parameter));
    let runs: Vec<PastRun> = records.runs.iter().filter(agrees).cloned().collect();
    let (found, why) = predict_start(&Records { trials: Vec::new(), runs }, features, caps)?;
    // A cap may have made smaller what is held: the transfer has the cap too, and the file its word.
    let settings = held.iter().fold(found, |settings, parameter| {
        settings.with(*parameter, file.get(*parameter).into()).unwrap_or(settings)
    });
    let line = format!(
        "starting with writers {}, chunk {}, readers {}, buffers {}: {why}",
        settings.writers, settings.chunk_rows, settings.readers, settings.buffers
    );
    (settings != file).then_some((settings, line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::types::Engine;
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
        predicted(&records, &here(), &caps(most), &held, settings(FILE))
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
