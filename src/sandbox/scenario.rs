//! Scenarios: a load, settings under which it runs well, and the mis-settings to be found and cured.
//!
//! In: a name (`config/scenarios/NAME.yaml` of the project, else the one that leverd was built with) or a file.
//! Out: a checked [`Scenario`], or an error that names file, line, key, what was found and what is allowed.

mod broken;
mod check;
mod shipped;
mod values;
mod workload;

pub(super) use broken::Neighbour;
pub use broken::{Broken, Settings, Turn};
use shipped::SHIPPED;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
pub use values::{Scalar, Span};
pub(super) use workload::Analytics;
pub use workload::{Arrivals, Load};

/// One scenario, checked.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What is wrong, as the people who suffer from it would say.
    pub description: String,
    /// What is wrong, really.
    pub cause: String,
    /// Settings under which the load runs well.
    pub healthy: Settings,
    /// What breaks it, on top of `healthy`; empty where nothing is wrong.
    #[serde(default)]
    pub broken: Broken,
    /// How the load changes once it is broken, in order.
    #[serde(default)]
    pub timetable: Vec<Turn>,
    /// What the load program does.
    pub load: Load,
    /// From a change until its effect fills the signals' windows.
    pub warm_up: Span,
    /// The rate window of the signals.
    pub window: Span,
    /// The load cycle of trials.
    #[serde(default = "one_minute")]
    pub load_cycle: Span,
    /// Signal → bound, as in `leverd.yaml`.
    pub sla: BTreeMap<String, String>,
    /// The levers of which one should be kept; empty: nothing may be changed.
    pub expected: Vec<String>,
    /// How it should end.
    #[serde(default)]
    pub ends: Ending,
    /// The file's text, for the load program and for who wants to know which version it was.
    #[serde(skip)]
    pub text: String,
}

/// How a scenario should end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Every level is met; where levers are expected, one of them is kept, and no other.
    #[default]
    Compliant,
    /// No lever reaches the level: leverd says so and stops. Nothing is kept but a lever that is expected: one that
    /// helps without reaching it.
    OutOfReach,
    /// Nothing is kept, whether the levels are met at the end or not: what is wrong comes and goes by itself.
    Unchanged,
}

/// A load that repeats itself every second has long done so in a minute.
fn one_minute() -> Span {
    Span::new(Duration::from_mins(1))
}

/// Why a scenario cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// There is none of that name.
    #[error("no scenario `{name}`; allowed: {}, or a file", names().join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// The file cannot be read.
    #[error("reading the scenario {file}: {source}")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is wrong.
    #[error("{file}, line {line}: {why}")]
    Wrong {
        /// The file.
        file: PathBuf,
        /// Where in it; 0 where that is unknown.
        line: usize,
        /// The key, what was found, and what is allowed.
        why: String,
    },
}

impl ScenarioError {
    /// What a person could do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unknown { .. } => Some("a file is told from a name by a `/` or by `.yaml` at its end"),
            Self::Unreadable { .. } => None,
            Self::Wrong { .. } => Some("config/scenarios/healthy.yaml shows every key with its meaning"),
        }
    }
}

/// The names of the scenarios that leverd was built with.
pub(super) fn names() -> Vec<&'static str> {
    SHIPPED.iter().map(|(name, _)| *name).collect()
}

impl Scenario {
    /// Reads a scenario by name or by file.
    pub fn find(root: &Path, name_or_file: &str) -> Result<Self, ScenarioError> {
        if name_or_file.contains('/') || name_or_file.ends_with(".yaml") || name_or_file.ends_with(".yml") {
            return Self::read(Path::new(name_or_file));
        }
        let file = PathBuf::from(format!("config/scenarios/{name_or_file}.yaml"));
        if root.join(&file).is_file() {
            return Self::read(&root.join(&file));
        }
        let shipped = SHIPPED.iter().find(|(name, _)| *name == name_or_file);
        let (_, text) = shipped.ok_or_else(|| ScenarioError::Unknown { name: name_or_file.to_owned() })?;
        Self::parse(&file, text)
    }

    /// Every scenario: those of a folder (its `*.yaml`, as many as there are; no folder is none), and those that
    /// leverd was built with whose name no file has. Sorted by name.
    ///
    /// The first file that cannot be used is the error; two of one name are one too.
    pub fn all(folder: &Path) -> Result<Vec<Self>, ScenarioError> {
        let mut found: BTreeMap<String, Self> = BTreeMap::new();
        for file in files_of(folder)? {
            let scenario = Self::read(&file)?;
            let name = scenario.name.clone();
            if found.insert(name.clone(), scenario).is_some() {
                let text = std::fs::read_to_string(&file).unwrap_or_default();
                let why =
                    format!("name: found `{name}`; allowed: a name that no other file of the folder has");
                return Err(ScenarioError::Wrong { line: line_of(&text, "name"), file, why });
            }
        }
        for (name, text) in SHIPPED {
            if !found.contains_key(name) {
                let file = PathBuf::from(format!("config/scenarios/{name}.yaml"));
                found.insert(name.to_owned(), Self::parse(&file, text)?);
            }
        }
        Ok(found.into_values().collect())
    }

    /// Reads a scenario's file.
    pub fn read(file: &Path) -> Result<Self, ScenarioError> {
        let text = std::fs::read_to_string(file)
            .map_err(|source| ScenarioError::Unreadable { file: file.to_owned(), source })?;
        Self::parse(file, &text)
    }

    fn parse(file: &Path, text: &str) -> Result<Self, ScenarioError> {
        let mut scenario: Self =
            serde_yaml::from_str(text).map_err(|error| wrong_yaml(file, text, &error))?;
        check::check(&scenario).map_err(|wrong| ScenarioError::Wrong {
            file: file.to_owned(),
            line: line_of_path(text, &wrong.path),
            why: format!("{}: {}", wrong.path.last().copied().unwrap_or_default(), wrong.why),
        })?;
        text.clone_into(&mut scenario.text);
        Ok(scenario)
    }
}

/// The YAML files of a folder, sorted.
fn files_of(folder: &Path) -> Result<Vec<PathBuf>, ScenarioError> {
    let unreadable = |source| ScenarioError::Unreadable { file: folder.to_owned(), source };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// serde's words without its own place, and the line where that key stands.
fn wrong_yaml(file: &Path, text: &str, error: &serde_yaml::Error) -> ScenarioError {
    let mut why = error.to_string();
    if let Some(at) = why.rfind(" at line ") {
        why.truncate(at);
    }
    let place = error.location().map_or(0, |location| location.line());
    // serde points at the mapping; the unknown key itself is more use.
    let line = match why.split_once("unknown field `").and_then(|(_, rest)| rest.split_once('`')) {
        Some((key, _)) => line_of_after(text, key, place),
        None => place,
    };
    ScenarioError::Wrong { file: file.to_owned(), line, why: why.replace("unknown field", "unknown key") }
}

fn line_of(text: &str, key: &str) -> usize {
    line_of_after(text, key, 1)
}

/// The line of a key below others: `["broken", "env", "BATCH_SIZE"]`.
fn line_of_path(text: &str, path: &[&str]) -> usize {
    path.iter().fold(1, |from, key| line_of_after(text, key, from))
}

fn line_of_after(text: &str, key: &str, from: usize) -> usize {
    let names_it = |line: &str| {
        line.split([',', '{']).any(|piece| {
            piece.trim().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with(':'))
        })
    };
    let found = text.lines().enumerate().skip(from.saturating_sub(1)).find(|(_, line)| names_it(line));
    found.map_or(from, |(at, _)| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy() -> &'static str {
        SHIPPED.iter().find(|(name, _)| *name == "healthy").unwrap().1
    }

    fn refuse(text: &str) -> String {
        Scenario::parse(Path::new("s.yaml"), text).unwrap_err().to_string()
    }

    #[test]
    fn every_shipped_scenario_is_good_and_named_after_its_file() {
        for (name, text) in SHIPPED {
            let scenario = Scenario::parse(Path::new(name), text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(scenario.name, name);
            let is_cured = scenario.ends == Ending::Compliant && !scenario.broken.is_empty();
            assert_eq!(is_cured, !scenario.expected.is_empty(), "{name}");
        }
        assert!(SHIPPED.is_sorted_by_key(|(name, _)| *name));
    }

    #[expect(clippy::disallowed_methods, reason = "a test's own file")]
    fn write(folder: &Path, name: &str, text: &str) {
        std::fs::write(folder.join(name), text).unwrap();
    }

    #[test]
    fn all_are_the_folders_and_those_built_in() {
        let folder = tempfile::tempdir().unwrap();
        let count = SHIPPED.len();
        assert_eq!(Scenario::all(&folder.path().join("none")).unwrap().len(), count);

        let mine =
            healthy().replace("name: healthy", "name: mine").replace("ends: compliant", "ends: unchanged");
        write(folder.path(), "mine.yaml", &mine);
        write(folder.path(), "calm.yaml", &healthy().replace("Nothing is wrong.", "All is calm."));
        write(folder.path(), "README.md", "not a scenario");
        let all = Scenario::all(folder.path()).unwrap();
        assert_eq!(all.len(), count + 1);
        assert!(all.is_sorted_by_key(|scenario| scenario.name.clone()));
        let of = |name: &str| all.iter().find(|scenario| scenario.name == name).unwrap();
        assert_eq!(of("mine").ends, Ending::Unchanged);
        assert_eq!(of("healthy").description, "All is calm.");

        write(folder.path(), "other.yaml", &mine);
        let error = Scenario::all(folder.path()).unwrap_err().to_string();
        let line = 1 + mine.lines().position(|line| line.starts_with("name:")).unwrap();
        assert!(error.ends_with(&format!(
            "other.yaml, line {line}: name: found `mine`; allowed: a name that no other file of the folder has"
        )), "{error}");
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_what_is_allowed() {
        let text = healthy().replace("  writers:", "  writerz:");
        let line = 1 + text.lines().position(|line| line.contains("writerz")).unwrap();
        let error = refuse(&text);
        assert!(error.starts_with(&format!("s.yaml, line {line}: ")), "{error}");
        assert!(error.contains("unknown key `writerz`") && error.contains("`writers`"), "{error}");
    }

    #[test]
    fn a_number_out_of_its_bounds_is_refused() {
        let text = healthy().replace("  writers: 2", "  writers: 0");
        let line = 1 + text.lines().position(|line| line.contains("writers: 0")).unwrap();
        let error = refuse(&text);
        assert!(error.starts_with(&format!("s.yaml, line {line}: ")), "{error}");
        assert!(
            error.contains("writers: invalid value: integer `0`, expected a whole number from 1 to 200"),
            "{error}"
        );
    }

    #[test]
    fn the_sandboxs_own_settings_are_refused() {
        let text = healthy().replace("    shared_buffers: 128MB\n", "    fsync: off\n");
        assert!(refuse(&text).contains("fsync: is the sandbox's own"), "{}", refuse(&text));
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = Scenario::find(Path::new("/nowhere"), "storm").unwrap_err();
        let names = names().join(", ");
        assert_eq!(error.to_string(), format!("no scenario `storm`; allowed: {names}, or a file"));
        assert!(names.contains("healthy, ") && names.contains("wal-storm"), "{names}");
    }
}
