//! `levers.yaml`: the playbook's format, and the optional keys beside it.
//!
//! A lever keeps its place also where it cannot be written ([`Place::Unavailable`]): people see it with the reason.
//! Whether Postgres knows the parameter and takes the values is not known here: the server says so when it is asked.

use super::place::{Reach, place_for};
use super::reader::{At, Fields, NAME_FORM};
use super::signals_section::query;
use super::suggest::did_you_mean;
use crate::model::{CostTier, EvidenceRule, FACTS, Lever, LeverName, Place, Symptom};
use std::collections::BTreeMap;

const TIERS: [(&str, CostTier); 3] =
    [("low_cost", CostTier::Low), ("medium_cost", CostTier::Medium), ("high_cost", CostTier::High)];
const KEYS: [&str; 12] = [
    "name",
    "description",
    "target_symptom",
    "config_file",
    "parameter",
    "default_value",
    "recommended_values",
    "impact",
    "risk",
    "evidence",
    "spans_checkpoints",
    "verify_query",
];
/// Durability is not for sale.
const NEVER: [&str; 4] = ["fsync", "full_page_writes", "synchronous_commit", "wal_level"];

/// What `levers.yaml` says.
pub(super) struct LeversFile {
    pub(super) levers: Vec<Lever>,
    pub(super) mappings: BTreeMap<Symptom, Vec<LeverName>>,
}

/// Reads the file. What is wrong is reported.
pub(super) fn read(at: &At<'_>, reach: Reach<'_>) -> LeversFile {
    let top = at.fields(&["levers", "symptom_mappings"]);
    let mut levers: Vec<Lever> = Vec::new();
    // Also those that are wrong: a mapping to one of them is not wrong too.
    let mut names: Vec<(String, u32)> = Vec::new();
    let mut places: BTreeMap<u32, At<'_>> = BTreeMap::new();
    let hint = "the playbook's form is levers: → low_cost: → a list";
    let tiers = top.required("levers", "low_cost, medium_cost, high_cost", Some(hint));
    let tiers = tiers.map(|at| at.fields(&TIERS.map(|(name, _)| name)));
    for (key, tier) in TIERS {
        let items = tiers.as_ref().and_then(|tiers| tiers.get(key)).map(|at| at.items("a list of levers"));
        for at in items.unwrap_or_default() {
            let fields = at.fields(&KEYS);
            if let Some(name) =
                fields.required("name", NAME_FORM, None).and_then(|at| unique(&at, &mut names))
            {
                levers.extend(lever(name, tier, &fields, at.line(), reach));
                places.insert(at.line(), at);
            }
        }
    }
    let mappings = mappings(&top, &names);
    join_symptoms(&mut levers, &mappings, &places);
    LeversFile { levers, mappings }
}

/// The lever's name, unless another one has it.
fn unique(at: &At<'_>, names: &mut Vec<(String, u32)>) -> Option<String> {
    let name = at.name()?;
    if let Some((_, line)) = names.iter().find(|(other, _)| *other == name) {
        at.problem(
            format!("there is a lever {name} already, on line {line}"),
            Some("give it another name, or take one of the two out".to_owned()),
        );
        return None;
    }
    names.push((name.clone(), at.line()));
    Some(name)
}

fn lever(name: String, tier: CostTier, fields: &Fields<'_>, line: u32, reach: Reach<'_>) -> Option<Lever> {
    let config_file =
        fields.required("config_file", "monitoring/postgresql.conf, .env", None).and_then(|at| at.text());
    let parameter = fields.required("parameter", "a parameter of Postgres, or a key of .env", None);
    let named = parameter.as_ref().and_then(|at| at.text()).unwrap_or_default();
    let place = config_file.map(|file| place_for(&file, named.trim(), reach));
    let parameter = parameter.and_then(|at| self::parameter(&at, place.as_ref()));
    let values = fields.required("recommended_values", VALUES_FORM, None).and_then(|at| values(&at));
    let default_value = fields.get("default_value").and_then(|at| at.text());
    let symptoms = fields.get("target_symptom").and_then(|at| at.name()).map(Symptom::new);
    let evidence = fields.get("evidence").map(|at| evidence(&at)).unwrap_or_default();
    let spans_checkpoints = fields.or("spans_checkpoints", false, At::boolean);
    let verify_query = fields.get("verify_query").and_then(|at| query(&at));
    Some(Lever {
        name: LeverName::new(name),
        description: fields.or("description", String::new(), At::long_text),
        tier,
        symptoms: symptoms.into_iter().collect(),
        parameter: parameter?,
        place: place?,
        default_value,
        values: values?,
        impact: fields.get("impact").and_then(|at| at.long_text()),
        risk: fields.get("risk").and_then(|at| at.long_text()),
        evidence,
        spans_checkpoints,
        verify_query,
        line,
    })
}

fn parameter(at: &At<'_>, place: Option<&Place>) -> Option<String> {
    let allowed = "letters, digits and _, a letter first; a dot before an extension's own part";
    let name = at.read(allowed, |text| is_parameter(text).then(|| text.to_owned()))?;
    let of_postgres = !matches!(place, Some(Place::EnvFile(_)));
    if of_postgres && NEVER.contains(&name.to_ascii_lowercase().as_str()) {
        at.problem(
            format!("found \"{name}\"; allowed: any parameter but {}", NEVER.join(", ")),
            Some("leverd never trades committed data for speed".to_owned()),
        );
        return None;
    }
    Some(name)
}

fn is_parameter(text: &str) -> bool {
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '$'))
    };
    text.len() <= 127 && text.split('.').count() <= 2 && text.split('.').all(part)
}

const VALUES_FORM: &str = "a list of at least one value, from mild to strong";

fn values(at: &At<'_>) -> Option<Vec<String>> {
    let items = at.items(VALUES_FORM);
    if items.is_empty() {
        if at.found() == "a list" {
            at.problem(format!("found an empty list; allowed: {VALUES_FORM}"), None);
        }
        return None;
    }
    let mut values: Vec<String> = Vec::new();
    for item in &items {
        let value = item.text()?;
        if values.contains(&value) {
            item.problem(format!("the value {} stands twice", item.found()), None);
            return None;
        }
        values.push(value);
    }
    Some(values)
}

fn evidence(at: &At<'_>) -> Vec<EvidenceRule> {
    at.items("a list of {fact, above, below}").iter().filter_map(rule).collect()
}

fn rule(at: &At<'_>) -> Option<EvidenceRule> {
    let fields = at.fields(&["fact", "above", "below"]);
    let facts = FACTS.map(|(name, _)| name);
    let fact = fields
        .required("fact", &facts.join(", "), None)
        .and_then(|at| at.one_of(&facts.map(|name| (name, name))));
    let bound = |key: &str| fields.get(key).and_then(|at| at.number(f64::MIN, f64::MAX, "a number"));
    let (above, below) = (bound("above"), bound("below"));
    if fields.get("above").is_none() && fields.get("below").is_none() {
        at.problem("found neither `above` nor `below`; allowed: at least one of them", None);
    }
    if let (Some(above), Some(below)) = (above, below)
        && above >= below
    {
        at.problem(format!("no number is above {above} and below {below}"), None);
    }
    Some(EvidenceRule { fact: fact?.to_owned(), above, below })
}

/// `symptom_mappings`: symptom → levers that are there.
fn mappings(top: &Fields<'_>, names: &[(String, u32)]) -> BTreeMap<Symptom, Vec<LeverName>> {
    let known = || names.iter().map(|(name, _)| name.as_str());
    let mut mappings = BTreeMap::new();
    let entries = top.get("symptom_mappings").map(|at| at.entries("a mapping from a symptom to its levers"));
    for (symptom, at) in entries.unwrap_or_default() {
        let items = if at.node.is_null() { Vec::new() } else { at.items("a list of levers' names") };
        if items.is_empty() && matches!(at.found().as_str(), "a list" | "nothing") {
            at.problem(
                format!("the symptom {symptom} has no lever; allowed: a list of at least one"),
                Some("name a lever that treats it, or take the symptom out".to_owned()),
            );
        }
        let mut mapped: Vec<LeverName> = Vec::new();
        for item in &items {
            let Some(name) = item.text() else { continue };
            if !known().any(|known| known == name) {
                let hint = did_you_mean(&name, known());
                item.problem(
                    format!(
                        "the symptom {symptom} names the lever {}, which is not under `levers:`",
                        item.found()
                    ),
                    hint.or_else(|| Some("add the lever, or take the name out".to_owned())),
                );
            } else if mapped.iter().any(|other| other.as_str() == name) {
                item.problem(format!("the lever {} stands twice", item.found()), None);
            } else {
                mapped.push(LeverName::new(name));
            }
        }
        mappings.insert(Symptom::new(symptom), mapped);
    }
    mappings
}

/// A lever treats its `target_symptom` and every symptom that is mapped to it. One that treats none is a mistake.
fn join_symptoms(
    levers: &mut [Lever],
    mappings: &BTreeMap<Symptom, Vec<LeverName>>,
    places: &BTreeMap<u32, At<'_>>,
) {
    for lever in levers {
        for (symptom, mapped) in mappings {
            if mapped.contains(&lever.name) && !lever.symptoms.contains(symptom) {
                lever.symptoms.push(symptom.clone());
            }
        }
        if lever.symptoms.is_empty()
            && let Some(at) = places.get(&lever.line)
        {
            at.problem(
                format!("the lever {} treats no symptom", lever.name),
                Some("give it a `target_symptom:`, or name it under `symptom_mappings:`".to_owned()),
            );
        }
    }
}
