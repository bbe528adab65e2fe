//! Settings and `.env` at one moment, what differs between two, and what a strategy wants changed. Pure.

use crate::model::{Lever, Place};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What is changed: a setting of Postgres or a key of the load's `.env`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// The lever's name, or the parameter's where no lever has it.
    pub(super) lever: String,
    pub(super) parameter: String,
    pub(super) value: String,
    pub(super) in_env: bool,
}

impl Change {
    /// A lever's value, where it can be set here: a limit of a container cannot.
    pub(super) fn of(lever: &Lever, value: &str) -> Option<Self> {
        let in_env = match lever.place {
            Place::EnvFile(_) => true,
            Place::PostgresqlConf(_) | Place::ServerConf | Place::AlterSystem => false,
            Place::ContainerLimit { .. } | Place::PgBouncer(_) | Place::Unavailable(_) => return None,
        };
        Some(Self {
            lever: lever.name.as_str().to_owned(),
            parameter: lever.parameter.clone(),
            value: value.to_owned(),
            in_env,
        })
    }
}

/// Settings and `.env` at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Name → the value as Postgres shows it, and whether somebody set it. A restart that is pending is told in the
    /// value.
    pub(super) settings: BTreeMap<String, (String, bool)>,
    /// Key → value.
    pub(super) env: BTreeMap<String, String>,
}

impl State {
    /// The present value of what a change would change.
    pub(super) fn value_of(&self, parameter: &str, in_env: bool) -> Option<&str> {
        if in_env {
            self.env.get(parameter).map(String::as_str)
        } else {
            self.settings.get(parameter).map(|(value, _)| value.as_str())
        }
    }
}

/// One thing that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The setting, or the key of `.env`.
    pub name: String,
    /// Before; `None`: it was not there.
    pub from: Option<String>,
    /// Now; `None`: it is not there.
    pub to: Option<String>,
}

/// What differs. A setting that Postgres derives from another one (wal_buffers) is no change of its own.
pub(super) fn differences(before: &State, after: &State) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut note = |name: &str, from: Option<&String>, to: Option<&String>| {
        if from != to {
            found.push(Difference { name: name.to_owned(), from: from.cloned(), to: to.cloned() });
        }
    };
    let names = |a: &BTreeMap<String, (String, bool)>, b: &BTreeMap<String, (String, bool)>| {
        a.keys().chain(b.keys()).cloned().collect::<BTreeSet<_>>()
    };
    for name in names(&before.settings, &after.settings) {
        let (from, to) = (before.settings.get(&name), after.settings.get(&name));
        let was_set = |of: Option<&(String, bool)>| of.is_some_and(|(_, set)| *set);
        if was_set(from) || was_set(to) {
            note(&name, from.map(|(value, _)| value), to.map(|(value, _)| value));
        }
    }
    for key in before.env.keys().chain(after.env.keys().filter(|key| !before.env.contains_key(*key))) {
        note(key, before.env.get(key), after.env.get(key));
    }
    found
}

/// `KEY=value` lines; the last of a key wins.
pub(super) fn env_of(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), value.trim().trim_matches(['"', '\'']).to_owned()))
        .collect()
}

/// The text with these values in the place of others of their keys.
pub(super) fn with(text: &str, values: &BTreeMap<String, String>) -> String {
    let is_other = |line: &&str| {
        let key = line.split_once('=').map_or("", |(key, _)| key.trim());
        !values.contains_key(key)
    };
    let others = text.lines().filter(is_other).map(|line| format!("{line}\n"));
    others.chain(values.iter().map(|(key, value)| format!("{key}={value}\n"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(settings: &[(&str, &str, bool)], env: &[(&str, &str)]) -> State {
        State {
            settings: settings
                .iter()
                .map(|(name, value, set)| ((*name).to_owned(), ((*value).to_owned(), *set)))
                .collect(),
            env: env.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        }
    }

    #[test]
    fn what_somebody_set_is_a_change_and_what_follows_from_it_is_not() {
        let before =
            state(&[("shared_buffers", "16MB", true), ("wal_buffers", "512kB", false)], &[("B", "1")]);
        let after = state(
            &[("shared_buffers", "1GB", true), ("wal_buffers", "16MB", false)],
            &[("B", "9"), ("C", "2")],
        );
        let found = differences(&before, &after);
        let shown: Vec<String> = found
            .iter()
            .map(|d| format!("{} {:?} {:?}", d.name, d.from.as_deref(), d.to.as_deref()))
            .collect();
        assert_eq!(
            shown,
            [
                "shared_buffers Some(\"16MB\") Some(\"1GB\")",
                "B Some(\"1\") Some(\"9\")",
                "C None Some(\"2\")"
            ]
        );
        assert_eq!(differences(&before, &before), []);
    }

    #[test]
    fn a_value_that_goes_back_to_its_default_is_a_change() {
        let before = state(&[("jit", "off", true)], &[]);
        let after = state(&[("jit", "on", false)], &[]);
        assert_eq!(differences(&before, &after).len(), 1);
    }

    #[test]
    fn an_env_file_is_read() {
        let read = env_of("# x=y\nBATCH_SIZE=50\n\nBATCH_SIZE = \"7\"\nnothing\n");
        assert_eq!(read, BTreeMap::from([("BATCH_SIZE".to_owned(), "7".to_owned())]));
    }

    #[test]
    fn a_key_of_the_env_file_is_replaced_and_the_rest_stays() {
        let values = BTreeMap::from([("BATCH_SIZE".to_owned(), "7".to_owned())]);
        let text = with("# BATCH\nBATCH_SIZE=50\nOTHER=x\nBATCH_SIZE = 1", &values);
        assert_eq!(text, "# BATCH\nOTHER=x\nBATCH_SIZE=7\n");
    }
}
