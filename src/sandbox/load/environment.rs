//! The load's `.env`: what an operator, or leverd, may change while it runs.

use crate::sandbox::scenario::Load;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::watch;

/// The keys that mean something; others are left to other programs.
pub const KEYS: [&str; 6] = [
    "BATCH_SIZE",
    "EVENTS_PER_SEC",
    "UPDATES_PER_EVENT",
    "READS_PER_EVENT",
    "REPORTS_EVERY_EVENTS",
    "LOOKUPS_EVERY_EVENTS",
];

/// What a key may say; `None`: it means nothing here.
pub(in crate::sandbox) fn range(key: &str) -> Option<RangeInclusive<u32>> {
    Some(match key {
        "BATCH_SIZE" => 1..=10_000,
        "EVENTS_PER_SEC" => 1..=100_000,
        "UPDATES_PER_EVENT" => 0..=1_000,
        "READS_PER_EVENT" => 0..=10_000,
        "REPORTS_EVERY_EVENTS" | "LOOKUPS_EVERY_EVENTS" => 0..=1_000_000,
        _ => return None,
    })
}

const POLL: Duration = Duration::from_secs(1);

/// What the `.env` says, defaults filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Environment {
    /// Events of one transaction at most; 50 unless told.
    pub(super) batch_size: u32,
    /// Events offered per second; this and what follows: the scenario's unless told.
    pub(super) events_per_sec: u32,
    pub(super) updates_per_event: u32,
    pub(super) reads_per_event: u32,
    /// 0: none.
    pub(super) reports_every_events: u32,
    /// 0: none.
    pub(super) lookups_every_events: u32,
}

/// Where the environment is read from.
#[derive(Debug, Clone)]
pub(super) struct Files {
    /// The `.env`, which must be there.
    pub(super) env: PathBuf,
    /// What wins over it, where there is such a file.
    pub(super) turn: Option<PathBuf>,
}

/// Why an `.env` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// It cannot be read.
    #[error("reading {file}: {source}")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A value is wrong.
    #[error("{file}, line {line}: {key}: found `{found}`; allowed: {} to {}", allowed.0, allowed.1)]
    Wrong {
        /// The file.
        file: PathBuf,
        /// Where.
        line: usize,
        /// The key.
        key: &'static str,
        /// Its value.
        found: String,
        /// The least and the most.
        allowed: (u32, u32),
    },
}

impl Environment {
    pub(super) fn of(load: &Load) -> Self {
        Self {
            batch_size: 50,
            events_per_sec: load.events_per_sec.get(),
            updates_per_event: load.accounts.updates_per_event.get(),
            reads_per_event: load.reads.per_event.get(),
            reports_every_events: load.reports.every_events.get(),
            lookups_every_events: load.lookups.every_events.get(),
        }
    }

    pub(super) fn read(files: &Files, load: &Load) -> Result<Self, EnvironmentError> {
        let unreadable = |file: &Path, source| EnvironmentError::Unreadable { file: file.to_owned(), source };
        let text = std::fs::read_to_string(&files.env).map_err(|source| unreadable(&files.env, source))?;
        let environment = Self::of(load).with(&files.env, &text)?;
        let Some(turn) = &files.turn else { return Ok(environment) };
        match std::fs::read_to_string(turn) {
            Ok(text) => environment.with(turn, &text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(environment),
            Err(error) => Err(unreadable(turn, error)),
        }
    }

    /// With what a file's text says.
    fn with(mut self, file: &Path, text: &str) -> Result<Self, EnvironmentError> {
        for (at, line) in text.lines().enumerate() {
            let line_text = line.trim().trim_start_matches("export ");
            let Some((key, value)) = line_text.split_once('=').filter(|_| !line_text.starts_with('#')) else {
                continue;
            };
            let value = value.split(" #").next().unwrap_or_default().trim().trim_matches(['"', '\'']);
            let Some(key) = KEYS.into_iter().find(|known| *known == key.trim()) else { continue };
            let allowed = range(key).expect("each of the keys has a range");
            let number = value.parse().ok().filter(|number| allowed.contains(number));
            *self.field(key) = number.ok_or_else(|| EnvironmentError::Wrong {
                file: file.to_owned(),
                line: at + 1,
                key,
                found: value.to_owned(),
                allowed: (*allowed.start(), *allowed.end()),
            })?;
        }
        Ok(self)
    }

    fn field(&mut self, key: &str) -> &mut u32 {
        match key {
            "BATCH_SIZE" => &mut self.batch_size,
            "EVENTS_PER_SEC" => &mut self.events_per_sec,
            "UPDATES_PER_EVENT" => &mut self.updates_per_event,
            "READS_PER_EVENT" => &mut self.reads_per_event,
            "REPORTS_EVERY_EVENTS" => &mut self.reports_every_events,
            "LOOKUPS_EVERY_EVENTS" => &mut self.lookups_every_events,
            _ => unreachable!("it is one of KEYS"),
        }
    }
}

/// Reads the files every second; a good change is taken, a bad one is told once and the old values stay.
pub(super) async fn follow(files: Files, load: Load, sender: watch::Sender<Environment>) {
    let mut told = None;
    loop {
        tokio::time::sleep(POLL).await;
        match Environment::read(&files, &load) {
            Ok(new) => {
                told = None;
                let changed = sender.send_if_modified(|old| {
                    let changed = *old != new;
                    *old = new;
                    changed
                });
                if changed {
                    tracing::info!("the environment changed: {new:?}");
                }
            }
            Err(error) => {
                let words = error.to_string();
                if told.as_ref() != Some(&words) {
                    tracing::error!("{words}; keeping the values from before");
                    told = Some(words);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load() -> Load {
        let text = include_str!("../../../config/scenarios/healthy.yaml");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("healthy.yaml");
        write(&file, text);
        crate::sandbox::Scenario::read(&file).unwrap().load
    }

    #[expect(clippy::disallowed_methods, reason = "a test's own file")]
    fn write(file: &Path, text: &str) {
        std::fs::write(file, text).unwrap();
    }

    fn parse(text: &str) -> Result<Environment, String> {
        Environment::of(&load()).with(Path::new(".env"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn values_are_read_and_other_programs_keys_are_left_alone() {
        let found = parse("# x\nOTHER=y\nexport BATCH_SIZE=\"20\"\nEVENTS_PER_SEC = 7 # slow\n").unwrap();
        let scenarios = Environment::of(&load());
        assert_eq!(found, Environment { batch_size: 20, events_per_sec: 7, ..scenarios });
        assert_eq!(parse("").unwrap(), scenarios);
    }

    #[test]
    fn every_key_has_a_field_of_its_own_and_a_range() {
        for key in KEYS {
            let most = *range(key).unwrap().end();
            let changed = parse(&format!("{key}={most}\n")).unwrap();
            assert_ne!(changed, parse("").unwrap(), "{key}");
            assert!(parse(&format!("{key}={}\n", most + 1)).is_err(), "{key}");
        }
    }

    #[test]
    fn a_turn_wins_over_the_file_and_need_not_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files { env: folder.path().join(".env"), turn: Some(folder.path().join("turn.env")) };
        write(&files.env, "BATCH_SIZE=20\nREADS_PER_EVENT=1\n");
        assert_eq!(Environment::read(&files, &load()).unwrap().reads_per_event, 1);
        write(&folder.path().join("turn.env"), "READS_PER_EVENT=9\n");
        let found = Environment::read(&files, &load()).unwrap();
        assert_eq!((found.batch_size, found.reads_per_event), (20, 9));
    }

    #[test]
    fn a_wrong_value_is_told_with_its_line() {
        insta::assert_snapshot!(parse("A=1\nBATCH_SIZE=0\n").unwrap_err(), @".env, line 2: BATCH_SIZE: found `0`; allowed: 1 to 10000");
        assert!(parse("BATCH_SIZE=many").is_err());
    }
}
