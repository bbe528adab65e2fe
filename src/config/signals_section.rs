//! The sections `signals:` and `sla:` of `leverd.yaml`: the playbook's four with the user's changes, and the
//! user's own beside them.

use super::quantity::render_duration;
use super::reader::{At, Fields};
use super::suggest::did_you_mean;
use super::{Cycle, defaults, sla};
use crate::model::{Direction, Environment, Signal, SignalName, SlaTarget, Symptom, Unit};
use std::collections::BTreeMap;
use std::time::Duration;

const KEYS: [&str; 8] =
    ["queries", "unit", "direction", "window", "scales_with_load", "symptom", "baseline_key", "optional"];

/// The signals, their bounds, and where the user's own stand.
pub(super) struct Signals {
    pub(super) signals: Vec<Signal>,
    pub(super) sla: Vec<SlaTarget>,
    /// Line of each signal that is not one of the playbook's.
    pub(super) own: BTreeMap<SignalName, u32>,
}

/// Reads both sections.
pub(super) fn read(top: &Fields<'_>, environment: Environment, cycle: &Cycle) -> Signals {
    let mut signals = defaults::signals();
    let mut own = BTreeMap::new();
    let entries = top.get("signals").map(|at| at.entries("a mapping from a signal's name to its keys"));
    let entries = entries.unwrap_or_default();
    for (name, at) in &entries {
        match signals.iter_mut().find(|signal| signal.name.as_str() == *name) {
            Some(signal) => change(signal, at),
            None => {
                own.insert(SignalName::new(*name), at.line());
                signals.extend(new(name, at));
            }
        }
    }
    for signal in &signals {
        let at = entries.iter().find(|(name, _)| *name == signal.name.as_str()).map(|(_, at)| at);
        let report = |problem: String, hint: &str| match at {
            Some(at) => at.problem(problem, Some(hint.to_owned())),
            None => top.problem(&format!("signals.{}", signal.name), problem, Some(hint.to_owned())),
        };
        check_window(signal, cycle, report);
        check_baseline_key(signal, &signals, report);
    }
    let mut bounds = defaults::sla(environment);
    let entries = top.get("sla").map(|at| at.entries("a mapping from a signal's name to its bound"));
    for (name, at) in entries.unwrap_or_default() {
        let Some(signal) = signals.iter().find(|signal| signal.name.as_str() == name) else {
            // A signal that is there but wrong was reported already.
            if !own.contains_key(&SignalName::new(name)) {
                let known: Vec<_> = signals.iter().map(|signal| signal.name.as_str()).collect();
                at.problem(
                    format!("there is no signal {name}; allowed: {}", known.join(", ")),
                    did_you_mean(name, known).or_else(|| Some("define it under `signals:`".to_owned())),
                );
            }
            continue;
        };
        if let Some(bound) = sla::read(&at, signal) {
            bounds.retain(|other| other.signal != signal.name);
            bounds.extend(bound);
        }
    }
    // In the order of the signals, as people see them.
    bounds.sort_by_key(|bound| signals.iter().position(|signal| signal.name == bound.signal));
    Signals { signals, sla: bounds, own }
}

/// Changes the keys that are given, of one of the playbook's.
fn change(signal: &mut Signal, at: &At<'_>) {
    let fields = at.fields(&KEYS);
    if let Some(queries) = fields.get("queries").and_then(|at| queries(&at)) {
        signal.queries = queries;
    }
    signal.unit = fields.or("unit", signal.unit, unit);
    signal.direction = fields.or("direction", signal.direction, direction);
    signal.window = fields.or("window", signal.window, At::positive_duration);
    signal.scales_with_load = fields.or("scales_with_load", signal.scales_with_load, At::boolean);
    signal.optional = fields.or("optional", signal.optional, At::boolean);
    if let Some(symptom) = fields.get("symptom").and_then(|at| at.name()) {
        signal.symptom = Symptom::new(symptom);
    }
    if let Some(key) = fields.get("baseline_key").and_then(|at| at.name()) {
        signal.baseline_key = key;
    }
}

/// A signal of the user's own.
fn new(name: &str, at: &At<'_>) -> Option<Signal> {
    let fields = at.fields(&KEYS);
    let queries = fields.required("queries", QUERIES_FORM, None).and_then(|at| queries(&at));
    let units = Unit::ALL.map(Unit::key_suffix).join(", ");
    let unit = fields.required("unit", &units, None).and_then(|at| unit(&at));
    let direction = fields.or("direction", Direction::LowerIsBetter, direction);
    let prefix = if direction == Direction::LowerIsBetter { "high" } else { "low" };
    Some(Signal {
        name: SignalName::new(name),
        baseline_key: fields.or("baseline_key", name.to_owned(), At::name),
        unit: unit?,
        direction,
        queries: queries?,
        window: fields.or("window", Duration::from_secs(300), At::positive_duration),
        scales_with_load: fields.or("scales_with_load", false, At::boolean),
        symptom: Symptom::new(fields.or("symptom", format!("{prefix}_{name}"), At::name)),
        optional: fields.or("optional", false, At::boolean),
    })
}

fn unit(at: &At<'_>) -> Option<Unit> {
    at.one_of(&Unit::ALL.map(|unit| (unit.key_suffix(), unit)))
}

fn direction(at: &At<'_>) -> Option<Direction> {
    at.one_of(&[
        ("lower_is_better", Direction::LowerIsBetter),
        ("higher_is_better", Direction::HigherIsBetter),
    ])
}

const QUERIES_FORM: &str = "a list of PromQL queries, the first that answers wins";

/// A list of at least one query.
pub(super) fn queries(at: &At<'_>) -> Option<Vec<String>> {
    let items = at.items(QUERIES_FORM);
    if items.is_empty() && at.found() == "a list" {
        at.refuse("at least one query", None);
    }
    let queries: Vec<String> = items.iter().filter_map(query).collect();
    (!items.is_empty() && queries.len() == items.len()).then_some(queries)
}

/// A PromQL template: `{{window}}` is its only placeholder, and brackets and quotes are closed. More than that
/// Prometheus itself says.
pub(super) fn query(at: &At<'_>) -> Option<String> {
    let text = at.long_text()?;
    let others = text.replace("{{window}}", "");
    if others.contains("{{") {
        at.refuse("{{window}} as the only placeholder", None);
        return None;
    }
    if let Some(open) = unclosed(&text) {
        at.problem(format!("this query does not close its {open}"), None);
        return None;
    }
    Some(text)
}

/// The bracket or quote that a query opens and does not close, or closes and did not open.
fn unclosed(query: &str) -> Option<char> {
    let mut open = Vec::new();
    let mut chars = query.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' | '\'' | '`' => loop {
                match chars.next() {
                    None => return Some(c),
                    Some('\\') if c != '`' => {
                        chars.next();
                    }
                    Some(end) if end == c => break,
                    Some(_) => {}
                }
            },
            '(' | '[' | '{' => open.push(c),
            ')' | ']' | '}' => {
                let opener = match c {
                    ')' => '(',
                    ']' => '[',
                    _ => '{',
                };
                if open.pop() != Some(opener) {
                    return Some(c);
                }
            }
            _ => {}
        }
    }
    open.pop()
}

/// `rate()` over less than two scrapes is always empty.
fn check_window(signal: &Signal, cycle: &Cycle, report: impl Fn(String, &str)) {
    let least = cycle.scrape_interval * 2;
    if signal.window < least && signal.queries.iter().any(|query| query.contains("{{window}}")) {
        let (found, least) = (render_duration(signal.window), render_duration(least));
        report(
            format!("its window is {found}; allowed: at least two scrapes, {least}"),
            "a rate over less than two scrapes never has a value: set `window:`",
        );
    }
}

/// Two signals under one key would overwrite each other in `baseline.yaml`.
fn check_baseline_key(signal: &Signal, all: &[Signal], report: impl Fn(String, &str)) {
    let earlier = all.iter().take_while(|other| other.name != signal.name);
    for twin in earlier.filter(|other| other.baseline_key == signal.baseline_key) {
        report(
            format!("its baseline_key {} is that of {} too", signal.baseline_key, twin.name),
            "give it a `baseline_key:` of its own",
        );
    }
}
