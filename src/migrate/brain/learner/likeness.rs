//! How like two cases are: what is moved, on which machine, at which settings, under which pressure.
//!
//! In: two [`Context`]s. Out: their likeness, 1 to 0. Pure. Always holds: it is the same both ways; a case is
//! wholly like itself where all of it is known; what is unknown makes two cases neither equal nor strange; another
//! stage of a run is not like it at all.

use crate::migrate::adjust::{Parameter, Sample, Settings, Stage};
use crate::migrate::schema::Table;
use crate::migrate::types::Engine;
use serde::{Deserialize, Serialize};

/// A size that is so many times as large is one step away.
const SIZE_STEP: f64 = 4.0;
/// A share that is so many points apart is one step away.
const POINTS_STEP: f64 = 25.0;
/// No difference of one kind counts for more steps than this.
const FARTHEST: f64 = 4.0;
/// What is unknown of either is so many steps away.
const UNKNOWN: f64 = 0.7;

/// What a run moves, and on which machine. `None` is unknown.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Features {
    /// CPUs that the run may use.
    pub cores: Option<f64>,
    /// Memory that it may have, MB.
    pub memory_mb: Option<f64>,
    /// Rows of all tables.
    pub rows: Option<f64>,
    /// Mean bytes of a row.
    pub row_bytes: Option<f64>,
    /// Mean columns of a row.
    pub columns: Option<f64>,
    /// Columns of a length that differs (texts, bytes, JSON), percent of all.
    pub variable_percent: Option<f64>,
    /// What the source is.
    pub source: Option<Engine>,
}

impl Features {
    /// Those of a run over `tables`; a table counts by its rows. `cores`, `memory_mb`: what the run may use.
    pub fn of(tables: &[Table], source: Engine, cores: Option<f64>, memory_mb: Option<f64>) -> Self {
        let rows_of = |table: &Table| table.estimated_rows.unwrap_or(0).max(1) as f64;
        let rows: f64 = tables.iter().map(rows_of).sum();
        let mean = |value: &dyn Fn(&Table) -> f64| {
            (rows > 0.0).then(|| tables.iter().map(|table| rows_of(table) * value(table)).sum::<f64>() / rows)
        };
        let bytes: Option<u64> = tables.iter().map(|table| table.bytes).sum();
        Self {
            cores,
            memory_mb,
            rows: (rows > 0.0).then_some(rows),
            row_bytes: bytes.filter(|_| rows > 0.0).map(|bytes| bytes as f64 / rows),
            columns: mean(&|table: &Table| table.columns.len() as f64),
            variable_percent: mean(&variable_percent),
            source: Some(source),
        }
    }
}

fn variable_percent(table: &Table) -> f64 {
    const WORDS: [&str; 7] = ["char", "text", "blob", "binary", "bytea", "json", "xml"];
    let is_variable = |source_type: &str| {
        let source_type = source_type.to_ascii_lowercase();
        source_type.ends_with("[]") || WORDS.iter().any(|word| source_type.contains(word))
    };
    let variable = table.columns.iter().filter(|column| is_variable(&column.source_type)).count();
    100.0 * variable as f64 / table.columns.len().max(1) as f64
}

/// What a run is short of, percent; `None` is unknown. Each as in [`Sample`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pressure {
    /// `machine_cpu_percent`.
    pub cpu: Option<f64>,
    /// `memory_percent`.
    pub memory: Option<f64>,
    /// `io_wait_percent`.
    pub io_wait: Option<f64>,
    /// `chunk_overhead_percent`.
    pub chunk_overhead: Option<f64>,
    /// `queue_full_percent`: readers wait for writers.
    pub queue_full: Option<f64>,
    /// `queue_empty_percent`: writers wait for readers.
    pub queue_empty: Option<f64>,
}

/// A case: what a decision is made about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Context {
    /// What is moved, and where.
    pub features: Features,
    /// What the run was busy with.
    pub stage: Stage,
    /// The settings in force.
    pub settings: Settings,
    /// What it was short of.
    pub pressure: Pressure,
}

impl Context {
    /// The case that a sample shows.
    pub fn of(features: &Features, sample: &Sample) -> Self {
        let pressure = Pressure {
            cpu: sample.machine_cpu_percent,
            memory: sample.memory_percent,
            io_wait: sample.io_wait_percent,
            chunk_overhead: sample.chunk_overhead_percent,
            queue_full: sample.queue_full_percent,
            queue_empty: sample.queue_empty_percent,
        };
        Self { features: features.clone(), stage: sample.phase.stage, settings: sample.settings, pressure }
    }
}

/// How like two cases are, 1 to 0.
pub(super) fn likeness(one: &Context, other: &Context) -> f64 {
    if one.stage != other.stage {
        return 0.0;
    }
    let (a, b) = (&one.pressure, &other.pressure);
    let points = [
        (a.cpu, b.cpu),
        (a.memory, b.memory),
        (a.io_wait, b.io_wait),
        (a.chunk_overhead, b.chunk_overhead),
        (a.queue_full, b.queue_full),
        (a.queue_empty, b.queue_empty),
    ];
    let pressure: f64 = points.into_iter().map(|(a, b)| 0.3 * points_apart(a, b).powi(2)).sum();
    let settings: f64 = [
        (1.0, Parameter::Writers),
        (0.7, Parameter::ChunkRows),
        (0.5, Parameter::Readers),
        (0.3, Parameter::Buffers),
    ]
    .into_iter()
    .map(|(weight, parameter)| {
        let of = |context: &Context| Some(f64::from(context.settings.get(parameter)));
        weight * sizes_apart(of(one), of(other)).powi(2)
    })
    .sum();
    near(features_apart(&one.features, &other.features) + pressure + settings)
}

/// How like two runs are, 1 to 0.
pub(super) fn likeness_of_features(one: &Features, other: &Features) -> f64 {
    near(features_apart(one, other))
}

fn near(squared_distance: f64) -> f64 {
    (-squared_distance / 2.0).exp()
}

/// The squared distance of two runs, each feature by its weight.
fn features_apart(one: &Features, other: &Features) -> f64 {
    let sizes = [
        (1.0, one.cores, other.cores),
        (0.2, one.memory_mb, other.memory_mb),
        (0.2, one.rows, other.rows),
        (0.7, one.row_bytes, other.row_bytes),
        (0.4, one.columns, other.columns),
    ];
    let sizes: f64 = sizes.into_iter().map(|(weight, a, b)| weight * sizes_apart(a, b).powi(2)).sum();
    let variable = 0.4 * points_apart(one.variable_percent, other.variable_percent).powi(2);
    let source = match (one.source, other.source) {
        (Some(a), Some(b)) if a == b => 0.0,
        (Some(_), Some(_)) => 1.0,
        _ => UNKNOWN.powi(2),
    };
    sizes + variable + source
}

/// Steps between two sizes.
fn sizes_apart(one: Option<f64>, other: Option<f64>) -> f64 {
    apart(one, other, |a, b| (a.max(1.0).ln() - b.max(1.0).ln()) / SIZE_STEP.ln())
}

/// Steps between two shares in percent.
fn points_apart(one: Option<f64>, other: Option<f64>) -> f64 {
    apart(one, other, |a, b| (a - b) / POINTS_STEP)
}

fn apart(one: Option<f64>, other: Option<f64>, steps: fn(f64, f64) -> f64) -> f64 {
    let known = |value: Option<f64>| value.filter(|value| value.is_finite());
    match (known(one), known(other)) {
        (Some(a), Some(b)) => steps(a, b).abs().min(FARTHEST),
        _ => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{context, features};
    use super::*;
    use crate::migrate::schema::fixtures;
    use proptest::prelude::*;

    fn table(types: &[&str], rows: Option<u64>, bytes: Option<u64>) -> Table {
        let column = |source_type: &&str| fixtures::column("c", source_type);
        let columns = types.iter().map(column).collect();
        Table { estimated_rows: rows, bytes, ..fixtures::table(fixtures::name("s", "t"), columns) }
    }

    #[test]
    fn features_count_tables_by_their_rows() {
        let tables = [
            table(&["int", "varchar(20)"], Some(3_000), Some(300_000)),
            table(&["int", "int", "bigint", "date"], Some(1_000), Some(100_000)),
        ];
        let features = Features::of(&tables, Engine::MySql, Some(2.0), None);
        assert_eq!((features.rows, features.row_bytes), (Some(4_000.0), Some(100.0)));
        assert_eq!((features.columns, features.variable_percent), (Some(2.5), Some(37.5)));
        let unknown = Features::of(&[table(&["text[]"], None, None)], Engine::Postgres, None, None);
        assert_eq!((unknown.row_bytes, unknown.variable_percent), (None, Some(100.0)));
        let none = Features::of(&[], Engine::Postgres, None, None);
        assert_eq!((none.rows, none.columns, none.row_bytes), (None, None, None));
    }

    #[test]
    fn a_case_is_like_itself_and_less_like_others() {
        let here = context(4, 60.0);
        assert!((likeness(&here, &here) - 1.0).abs() < 1e-12);
        let busier = context(4, 85.0);
        let wider = context(16, 60.0);
        assert!(likeness(&here, &busier) > 0.8 && likeness(&here, &busier) < 1.0);
        assert!(likeness(&here, &wider) < likeness(&here, &context(5, 60.0)));
        let indexing = Context { stage: Stage::Indexing, ..here.clone() };
        assert_eq!(likeness(&here, &indexing), 0.0);
        let blind = Context { pressure: Pressure::default(), ..here.clone() };
        assert!(likeness(&here, &blind) < 0.9 && likeness(&blind, &blind) < 1.0);
    }

    #[test]
    fn another_source_or_machine_is_another_run() {
        let here = features();
        assert!((likeness_of_features(&here, &here) - 1.0).abs() < 1e-12);
        let elsewhere = Features { source: Some(Engine::MySql), ..here.clone() };
        assert!(likeness_of_features(&here, &elsewhere) < 0.7);
        let larger = Features { cores: Some(32.0), ..here.clone() };
        assert!(likeness_of_features(&here, &larger) < 0.3);
        assert!(likeness_of_features(&here, &Features::default()) < 0.6);
    }

    proptest! {
        #[test]
        fn likeness_is_a_share_and_the_same_both_ways(
            cpu in prop::option::of(any::<f64>()), cores in prop::option::of(any::<f64>()), writers in 1_u32..=16,
        ) {
            let here = context(4, 60.0);
            let mut there = context(writers, 60.0);
            there.pressure.cpu = cpu;
            there.features.cores = cores;
            let share = likeness(&here, &there);
            prop_assert!((0.0..=1.0).contains(&share));
            prop_assert_eq!(share, likeness(&there, &here));
        }
    }
}
