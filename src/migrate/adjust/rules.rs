//! The rules that adjust a run where no model does: while there is none, while it rests, and when it gives nonsense.
//!
//! In: a [`View`]: the window of samples, the settings in force, what is allowed and what rests. Out: [`Ruled`], one
//! [`Decision`] and the rule's name. Always holds: there is always a decision, `continue` if nothing else; it is
//! inside the bounds and passes [`Action::check`]; what is unknown makes no rule act. The first rule of [`RULES`]
//! that has something to propose wins. It does not know whether a change helps: each is a trial.

use super::Moment;
use super::action::{Action, Brain, Confidence, Decision};
use super::sample::Sample;
use super::settings::{Caps, Parameter, Settings};
use super::trial::{MEMORY_DANGER, MEMORY_PRESSURE, Resting};
use super::window::{BASELINE, Window};

/// Chunks are not halved below this: smaller ones cost more than they free.
const CHUNK_FLOOR: u32 = 5_000;
/// The CPUs are saturated above this, percent.
const CPU_SATURATED: f64 = 90.0;
/// A throughput within this of its baseline, percent, is the same.
const SAME: f64 = 10.0;
/// There is room for one more below this, percent of memory.
pub(in crate::migrate) const MEMORY_ROOM: f64 = 70.0;
/// There is room for one more below this, percent of the CPUs.
const CPU_ROOM: f64 = 75.0;
/// Disks that are waited for more than this, percent of the CPUs' time, get no faster by one more writer.
const IO_WAIT_ROOM: f64 = 30.0;
/// A chunk that keeps its writer for less than this, seconds, is over quickly.
const QUICK_CHUNK: f64 = 1.0;
/// One that keeps its writer for less than this, seconds, is too small, whatever its overhead is measured to be.
const TOO_QUICK_CHUNK: f64 = 0.25;
/// Of readers and writers those wait for the others who do so for more than this, percent of an interval.
const KEPT_WAITING: f64 = 50.0;
/// Above this, percent of a chunk's time, it is mostly overhead.
const MOSTLY_OVERHEAD: f64 = 50.0;

/// What the rules look at.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The latest samples.
    pub window: &'a Window,
    /// The settings in force.
    pub current: &'a Settings,
    /// The most that this run may have.
    pub caps: &'a Caps,
    /// What was tried in vain lately.
    pub resting: &'a Resting,
    /// Now.
    pub now: Moment,
}

/// What the rules decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruled {
    /// The rule's name.
    pub rule: &'static str,
    /// The decision.
    pub decision: Decision,
}

/// A rule.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Its name.
    pub name: &'static str,
    /// Why it decides as it does, for people.
    pub reason: &'static str,
    /// How sure it is.
    pub confidence: Confidence,
    propose: fn(&View<'_>) -> Option<Proposal>,
}

/// What a rule would do.
enum Proposal {
    /// Nothing, and no later rule should either.
    Stay,
    /// A step of one setting.
    Step {
        action: Action,
        parameter: Parameter,
        value: u32,
        /// Even where this step was tried in vain lately.
        urgent: bool,
    },
}

/// All rules, the most pressing first.
pub const RULES: &[Rule] = &[
    Rule {
        name: "memory_pressure",
        reason: "Memory saturated - reducing chunk size to free memory",
        confidence: Confidence::High,
        propose: memory_pressure,
    },
    Rule {
        name: "memory_pressure_at_the_floor",
        reason: "Memory saturated and chunks as small as is sensible - taking a writer away",
        confidence: Confidence::High,
        propose: memory_pressure_at_the_floor,
    },
    Rule {
        name: "chunk_overhead",
        reason: "Chunks are over quickly and cost more than their rows - enlarging chunks",
        confidence: Confidence::Medium,
        propose: chunk_overhead,
    },
    Rule {
        name: "gathering_baseline",
        reason: "Gathering a baseline of comparable samples",
        confidence: Confidence::Low,
        propose: gathering_baseline,
    },
    Rule {
        name: "cpu_saturated",
        reason: "CPU saturated - taking a writer away",
        confidence: Confidence::Medium,
        propose: cpu_saturated,
    },
    Rule {
        name: "declining_with_room",
        reason: "Throughput declining and resources available - increasing workers",
        confidence: Confidence::Medium,
        propose: declining_with_room,
    },
    Rule {
        name: "declining_without_room",
        reason: "Throughput declining, but no resources are known to be free",
        confidence: Confidence::Low,
        propose: declining_without_room,
    },
    Rule { name: "rising", reason: "Throughput rising", confidence: Confidence::Low, propose: rising },
    Rule {
        name: "writers_are_waited_for",
        reason: "Readers wait for writers and resources available - increasing workers",
        confidence: Confidence::Low,
        propose: writers_are_waited_for,
    },
    Rule {
        name: "readers_are_waited_for",
        reason: "Writers wait for readers and resources available - increasing readers",
        confidence: Confidence::Low,
        propose: readers_are_waited_for,
    },
    STABLE,
];

const STABLE: Rule =
    Rule { name: "stable", reason: "Performance stable", confidence: Confidence::Low, propose: stable };

/// What the rules decide about a run as it is.
pub fn decide(view: &View<'_>) -> Ruled {
    RULES.iter().find_map(|rule| ruled(rule, view)).unwrap_or_else(|| stay(&STABLE, view))
}

fn ruled(rule: &Rule, view: &View<'_>) -> Option<Ruled> {
    let (action, parameter, value, urgent) = match (rule.propose)(view)? {
        Proposal::Stay => return Some(stay(rule, view)),
        Proposal::Step { action, parameter, value, urgent } => (action, parameter, value, urgent),
    };
    if !urgent && view.resting.holds(parameter, action.grows(), view.now) {
        return None;
    }
    // What is not allowed is no proposal; the next rule may have one.
    let settings = view.current.with(parameter, i64::from(value)).ok()?;
    action.check(view.current, &settings).ok()?;
    view.caps.allow(view.current, &settings).ok()?;
    let decision = Decision {
        action,
        settings,
        confidence: rule.confidence,
        reasoning: rule.reason.to_owned(),
        by: Brain::Rules,
    };
    Some(Ruled { rule: rule.name, decision })
}

fn stay(rule: &Rule, view: &View<'_>) -> Ruled {
    let decision = Decision::stay(*view.current, rule.confidence, rule.reason, Brain::Rules);
    Ruled { rule: rule.name, decision }
}

/// A metric of the latest sample, where it is known.
fn latest(view: &View<'_>, value: fn(&Sample) -> Option<f64>) -> Option<f64> {
    value(view.window.latest()?).filter(|value| value.is_finite())
}

/// Memory in percent, where it is short.
fn short_memory(view: &View<'_>) -> Option<f64> {
    latest(view, |sample| sample.memory_percent).filter(|percent| *percent > MEMORY_PRESSURE)
}

fn memory_pressure(view: &View<'_>) -> Option<Proposal> {
    let memory = short_memory(view)?;
    let now = view.current.chunk_rows.get();
    (now > CHUNK_FLOOR).then(|| Proposal::Step {
        action: Action::ReduceChunk,
        parameter: Parameter::ChunkRows,
        value: (now / 2).max(CHUNK_FLOOR),
        urgent: memory >= MEMORY_DANGER,
    })
}

fn memory_pressure_at_the_floor(view: &View<'_>) -> Option<Proposal> {
    let memory = short_memory(view)?;
    if view.current.chunk_rows.get() > CHUNK_FLOOR {
        return None;
    }
    one_writer_less(view, memory >= MEMORY_DANGER)
}

fn gathering_baseline(view: &View<'_>) -> Option<Proposal> {
    (!view.window.has_baseline()).then_some(Proposal::Stay)
}

fn cpu_saturated(view: &View<'_>) -> Option<Proposal> {
    let cpu = latest(view, |sample| sample.machine_cpu_percent)?;
    if cpu > CPU_SATURATED { one_writer_less(view, false) } else { None }
}

fn one_writer_less(view: &View<'_>, urgent: bool) -> Option<Proposal> {
    let value = view.current.writers.get().checked_sub(1)?;
    Some(Proposal::Step { action: Action::ScaleDown, parameter: Parameter::Writers, value, urgent })
}

/// Waits for as many samples as a model does, and not for a baseline of them: what a chunk costs is no trend. It comes
/// before fewer writers, because it costs the CPUs less to write the same rows.
fn chunk_overhead(view: &View<'_>) -> Option<Proposal> {
    if view.window.len() < BASELINE {
        return None;
    }
    // Not from its first read on: then it waits for a writer.
    let seconds = latest(view, |sample| sample.write_latency_ms_mean)? / 1_000.0;
    let rows = latest(view, |sample| sample.chunk_rows_mean)?;
    let room = latest(view, |sample| sample.memory_percent)? < MEMORY_ROOM;
    let now = view.current.chunk_rows.get();
    // Chunks of tables that have no more rows grow by nothing.
    let are_full = rows > f64::from(now) / 2.0;
    let mostly_overhead =
        latest(view, |sample| sample.chunk_overhead_percent).is_some_and(|percent| percent > MOSTLY_OVERHEAD);
    let quick = seconds < TOO_QUICK_CHUNK || (seconds < QUICK_CHUNK && mostly_overhead);
    let lasting = (f64::from(now) * QUICK_CHUNK / seconds.max(1e-6)) as u32;
    let most = Parameter::ChunkRows.one_step_up(now).min(view.caps.most(Parameter::ChunkRows));
    let value = lasting.max(now.saturating_mul(2)).min(most);
    (quick && are_full && room && value > now).then_some(Proposal::Step {
        action: Action::EnlargeChunk,
        parameter: Parameter::ChunkRows,
        value,
        urgent: false,
    })
}

fn is_declining(view: &View<'_>) -> bool {
    view.window.trends().throughput_percent.is_some_and(|percent| percent < -SAME)
}

fn declining_with_room(view: &View<'_>) -> Option<Proposal> {
    if !is_declining(view) {
        return None;
    }
    has_room(view)?.then(|| one_more(view, Parameter::Writers))
}

fn one_more(view: &View<'_>, parameter: Parameter) -> Proposal {
    let value = view.current.get(parameter).saturating_add(1);
    Proposal::Step { action: Action::ScaleUp, parameter, value, urgent: false }
}

/// Whether memory, CPUs and disks are known to be free for one more.
fn has_room(view: &View<'_>) -> Option<bool> {
    let memory = latest(view, |sample| sample.memory_percent)? < MEMORY_ROOM;
    let cpu = latest(view, |sample| sample.machine_cpu_percent)? < CPU_ROOM;
    // Not every system tells of its disks; where it does, it counts.
    let disks = latest(view, |sample| sample.io_wait_percent).is_none_or(|percent| percent < IO_WAIT_ROOM);
    Some(memory && cpu && disks)
}

fn declining_without_room(view: &View<'_>) -> Option<Proposal> {
    is_declining(view).then_some(Proposal::Stay)
}

fn rising(view: &View<'_>) -> Option<Proposal> {
    let rises = view.window.trends().throughput_percent.is_some_and(|percent| percent > SAME);
    rises.then_some(Proposal::Stay)
}

fn writers_are_waited_for(view: &View<'_>) -> Option<Proposal> {
    let full = latest(view, |sample| sample.queue_full_percent)? > KEPT_WAITING;
    (full && has_room(view)?).then(|| one_more(view, Parameter::Writers))
}

fn readers_are_waited_for(view: &View<'_>) -> Option<Proposal> {
    let full = latest(view, |sample| sample.queue_full_percent)? > KEPT_WAITING;
    let empty = latest(view, |sample| sample.queue_empty_percent)? > KEPT_WAITING;
    (empty && !full && has_room(view)?).then(|| one_more(view, Parameter::Readers))
}

/// Proposes always, so that there is always a decision.
fn stable(_: &View<'_>) -> Option<Proposal> {
    Some(Proposal::Stay)
}

#[cfg(test)]
mod tests {
    use super::super::sample::fixtures::{phase, sample, settings};
    use super::super::trial::{Goal, History, Reading, Timing, Trial};
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::time::Duration;

    /// Three samples at 100,000 rows a second, then the given one.
    fn window(latest: Sample) -> Window {
        let mut window = Window::new(10);
        (0..3).for_each(|_| window.push(Sample { settings: latest.settings, ..sample(100_000.0) }));
        window.push(latest);
        window
    }

    fn decide_at(window: &Window, current: Settings, caps: Caps, resting: &Resting) -> Ruled {
        decide(&View { window, current: &current, caps: &caps, resting, now: Moment::default() })
    }

    fn decided(latest: Sample) -> Ruled {
        let current = latest.settings;
        decide_at(&window(latest), current, Caps::WIDEST, &Resting::new())
    }

    fn chunks_of(chunk_rows: i64) -> Settings {
        settings().with(Parameter::ChunkRows, chunk_rows).unwrap()
    }

    #[test]
    fn within_ten_percent_nothing_is_done() {
        for rows in [91_000.0, 100_000.0, 109_000.0] {
            let ruled = decided(sample(rows));
            assert_eq!(ruled.rule, "stable");
            assert_eq!(
                ruled.decision.applied_line(),
                "AI adjustment applied: continue - Performance stable (fallback rules) (confidence: low)"
            );
            assert_eq!(ruled.decision.settings, settings());
        }
        assert_eq!(decided(sample(120_000.0)).rule, "rising");
    }

    #[test]
    fn short_memory_halves_the_chunk_down_to_its_floor() {
        let short =
            |chunk| Sample { memory_percent: Some(87.0), settings: chunks_of(chunk), ..sample(100_000.0) };
        for (chunk, halved) in [(50_000, 25_000), (10_000, 5_000), (7_001, 5_000), (5_001, 5_000)] {
            let ruled = decided(short(chunk));
            assert_eq!((ruled.rule, ruled.decision.action), ("memory_pressure", Action::ReduceChunk));
            assert_eq!(ruled.decision.settings, chunks_of(halved));
        }
        let ruled = decided(short(5_000));
        assert_eq!(ruled.rule, "memory_pressure_at_the_floor");
        assert_eq!(ruled.decision.settings, chunks_of(5_000).with(Parameter::Writers, 3).unwrap());
        let at_the_bound = Sample { memory_percent: Some(85.0), ..sample(100_000.0) };
        assert_eq!(decided(at_the_bound).rule, "stable");
    }

    #[test]
    fn memory_waits_for_no_baseline() {
        let mut window = Window::new(10);
        window.push(Sample { memory_percent: Some(90.0), ..sample(1.0) });
        let ruled = decide_at(&window, settings(), Caps::WIDEST, &Resting::new());
        assert_eq!(ruled.rule, "memory_pressure");
    }

    #[test]
    fn all_else_waits_for_a_baseline() {
        let mut window = Window::new(10);
        for _ in 0..3 {
            let ruled = decide_at(&window, settings(), Caps::WIDEST, &Resting::new());
            assert_eq!((ruled.rule, ruled.decision.is_change()), ("gathering_baseline", false));
            window.push(Sample { machine_cpu_percent: Some(99.0), ..sample(100_000.0) });
        }
    }

    #[test]
    fn saturated_cpus_take_a_writer_away_but_not_the_last() {
        let busy = Sample { machine_cpu_percent: Some(95.0), ..sample(100_000.0) };
        let ruled = decided(busy.clone());
        assert_eq!((ruled.rule, ruled.decision.action), ("cpu_saturated", Action::ScaleDown));
        assert_eq!(ruled.decision.settings.writers.get(), 3);
        let alone = Sample { settings: settings().with(Parameter::Writers, 1).unwrap(), ..busy };
        assert_eq!(decided(alone).rule, "stable");
    }

    #[test]
    fn a_decline_with_room_adds_a_writer() {
        let slow = Sample { machine_cpu_percent: Some(45.0), memory_percent: Some(60.0), ..sample(85_000.0) };
        let ruled = decided(slow.clone());
        assert_eq!((ruled.rule, ruled.decision.action), ("declining_with_room", Action::ScaleUp));
        assert_eq!(ruled.decision.settings.writers.get(), 5);
        for no_room in [
            Sample { machine_cpu_percent: Some(80.0), ..slow.clone() },
            Sample { machine_cpu_percent: None, ..slow.clone() },
            Sample { memory_percent: Some(f64::NAN), ..slow.clone() },
            Sample { memory_percent: Some(75.0), ..slow.clone() },
            Sample { io_wait_percent: Some(40.0), ..slow.clone() },
            Sample { settings: settings().with(Parameter::Writers, 16).unwrap(), ..slow.clone() },
        ] {
            let ruled = decided(no_room);
            assert_eq!((ruled.rule, ruled.decision.is_change()), ("declining_without_room", false));
        }
        let caps = Caps { writers: settings().writers, ..Caps::WIDEST };
        let ruled = decide_at(&window(slow), settings(), caps, &Resting::new());
        assert_eq!(ruled.rule, "declining_without_room", "a cap is as good as a bound");
    }

    #[test]
    fn chunks_that_are_over_quickly_are_enlarged() {
        let of = |rows: i64| Sample {
            settings: chunks_of(rows),
            chunk_rows_mean: Some(rows as f64),
            write_latency_ms_mean: Some(500.0),
            chunk_overhead_percent: Some(65.0),
            ..sample(100_000.0)
        };
        let ruled = decided(of(50_000));
        assert_eq!((ruled.rule, ruled.decision.action), ("chunk_overhead", Action::EnlargeChunk));
        assert_eq!(ruled.decision.settings, chunks_of(100_000));
        for other in [
            Sample { write_latency_ms_mean: Some(2_000.0), ..of(50_000) },
            Sample { chunk_overhead_percent: Some(30.0), ..of(50_000) },
            Sample { chunk_overhead_percent: None, ..of(50_000) },
            Sample { memory_percent: None, ..of(50_000) },
            Sample { chunk_rows_mean: Some(20_000.0), ..of(50_000) },
            of(500_000),
        ] {
            assert_eq!(decided(other).rule, "stable");
        }
        assert_eq!(decided(of(400_000)).decision.settings, chunks_of(500_000));
        // Small ones go far at once, whatever their overhead, to what lasts a second, and before anything is a trend.
        let tiny = Sample { write_latency_ms_mean: Some(4.0), chunk_overhead_percent: None, ..of(1_000) };
        let mut first = Window::new(10);
        (0..2).for_each(|_| first.push(Sample { rows_per_second: None, ..tiny.clone() }));
        let early = decide_at(&first, chunks_of(1_000), Caps::WIDEST, &Resting::new());
        assert_eq!(early.rule, "gathering_baseline");
        first.push(Sample { machine_cpu_percent: Some(99.0), ..tiny });
        let ruled = decide_at(&first, chunks_of(1_000), Caps::WIDEST, &Resting::new());
        assert_eq!((ruled.rule, ruled.decision.settings), ("chunk_overhead", chunks_of(100_000)));
        let small = Sample { write_latency_ms_mean: Some(200.0), ..of(10_000) };
        assert_eq!(decided(small).decision.settings, chunks_of(50_000));
    }

    #[test]
    fn whoever_is_waited_for_becomes_more_where_there_is_room() {
        let room = Sample { machine_cpu_percent: Some(30.0), ..sample(100_000.0) };
        let full = Sample { queue_full_percent: Some(80.0), queue_empty_percent: Some(5.0), ..room.clone() };
        let empty = Sample { queue_full_percent: Some(5.0), queue_empty_percent: Some(80.0), ..room };
        let ruled = decided(full.clone());
        assert_eq!((ruled.rule, ruled.decision.settings.writers.get()), ("writers_are_waited_for", 5));
        let ruled = decided(empty.clone());
        assert_eq!((ruled.rule, ruled.decision.settings.readers.get()), ("readers_are_waited_for", 3));
        for other in [
            Sample { machine_cpu_percent: Some(80.0), ..full },
            Sample { io_wait_percent: Some(40.0), ..empty.clone() },
            Sample { queue_full_percent: None, ..empty },
        ] {
            assert_eq!(decided(other).rule, "stable");
        }
    }

    /// What rests after a reverted trial of `decision`.
    fn rest_of(decision: Decision) -> Resting {
        let mut history = History::new();
        (0..30).for_each(|second| {
            history.push(Reading {
                at: Moment(Duration::from_secs(second)),
                phase: phase(1),
                rows_per_second: Some(1.0),
                memory_percent: Some(50.0),
            });
        });
        let now = Moment::default();
        let trial =
            Trial::open(decision, settings(), Goal::Faster, &history, now, Timing::default()).unwrap();
        let mut resting = Resting::new();
        resting.note(&trial, &trial.interrupted("x"), now);
        resting
    }

    #[test]
    fn what_was_tried_in_vain_is_left_alone() {
        let slow = Sample { machine_cpu_percent: Some(45.0), ..sample(85_000.0) };
        let resting = rest_of(decided(slow.clone()).decision);
        let ruled = decide_at(&window(slow), settings(), Caps::WIDEST, &resting);
        assert_eq!(ruled.rule, "declining_without_room");
        let short = |percent| Sample { memory_percent: Some(percent), ..sample(100_000.0) };
        let resting = rest_of(decided(short(87.0)).decision);
        let ruled = decide_at(&window(short(87.0)), settings(), Caps::WIDEST, &resting);
        assert!(!ruled.decision.is_change());
        let ruled = decide_at(&window(short(96.0)), settings(), Caps::WIDEST, &resting);
        assert_eq!(ruled.rule, "memory_pressure", "in danger it does not rest");
    }

    #[test]
    fn every_rule_has_a_name_of_its_own_and_a_reason() {
        let names: BTreeSet<&str> = RULES.iter().map(|rule| rule.name).collect();
        assert_eq!(names.len(), RULES.len());
        assert!(RULES.iter().all(|rule| !rule.reason.is_empty() && rule.reason.is_ascii()));
    }

    fn any_value() -> impl Strategy<Value = Option<f64>> {
        prop_oneof![
            4 => (0.0..130.0_f64).prop_map(Some),
            1 => prop::option::of(any::<f64>()),
        ]
    }

    proptest! {
        #[test]
        fn every_decision_is_inside_the_bounds(
            now in (1_i64..=16, 1_000_i64..=500_000, 1_i64..=4, 2_i64..=32),
            most in (1_i64..=16, 1_000_i64..=500_000),
            samples in prop::collection::vec((any_value(), any_value(), any_value(), any_value(), any_value()), 0..8),
        ) {
            let current = Settings::new(now.0, now.1, now.2, now.3).unwrap();
            let caps = Caps {
                writers: super::super::Writers::new(most.0).unwrap(),
                chunk_rows: super::super::ChunkRows::new(most.1).unwrap(),
                ..Caps::WIDEST
            };
            let mut window = Window::new(10);
            for (rows, memory, cpu, seconds, overhead) in samples {
                window.push(Sample {
                    settings: current,
                    rows_per_second: rows,
                    memory_percent: memory,
                    machine_cpu_percent: cpu,
                    write_latency_ms_mean: seconds,
                    chunk_overhead_percent: overhead,
                    chunk_rows_mean: rows.map(|rows| rows * 10_000.0),
                    queue_full_percent: overhead,
                    queue_empty_percent: cpu,
                    ..sample(1.0)
                });
                let ruled = decide_at(&window, current, caps, &Resting::new());
                let next = ruled.decision.settings;
                prop_assert_eq!(ruled.decision.action.check(&current, &next), Ok(()));
                prop_assert_eq!(caps.allow(&current, &next), Ok(()));
                for parameter in Parameter::ALL {
                    let (least, most) = parameter.bounds();
                    prop_assert!((least..=most).contains(&next.get(parameter)));
                }
            }
        }
    }
}
