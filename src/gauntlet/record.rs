//! What came of each run, and the file that holds it, so that an interrupted gauntlet goes on where it was.
//!
//! Always holds: the file on disk is whole, with every run that was finished; a run counts only for the scenario,
//! strategy, seed, cycles, levers and leverd that it was made with (its fingerprint).

use super::GauntletError;
use super::exposure::Exposure;
use super::look::Look;
use super::state::Difference;
use super::strategies::Kind;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The form of the file; another one is not read.
const FORM: u32 = 1;

/// Which run: everything in a gauntlet has exactly one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// The scenario.
    pub scenario: String,
    /// The strategy.
    pub strategy: Kind,
    /// From 1.
    pub repetition: u32,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {}, {}", self.scenario, self.strategy, self.repetition)
    }
}

/// One run that was made, or could not be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Which.
    pub key: Key,
    /// The hash of what it was made with: scenario, levers, strategy, seed, cycles, leverd.
    pub fingerprint: String,
    /// What chance was drawn from.
    pub seed: u64,
    /// When it began.
    pub began_at: DateTime<Utc>,
    /// How long it took, bringing the sandbox up and down included, seconds.
    pub took_s: f64,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was measured.
    Measured(Box<Measured>),
    /// It could not be measured, and why.
    Failed(String),
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Whether it ended as the scenario should end.
    pub solved: bool,
    /// Why, or why not, in a sentence.
    pub why: String,
    /// How many cycles the strategy used.
    pub cycles: u32,
    /// From the strategy's start to its own end, seconds.
    pub acted_s: f64,
    /// Every lever pulled, in order.
    pub pulled: Vec<Pull>,
    /// Those of them that the scenario does not expect, each once.
    pub wrong_pulled: Vec<String>,
    /// Levers that the scenario does not expect and whose value is another one at the end.
    pub wrong_kept: Vec<String>,
    /// What the users had to bear.
    pub exposure: Exposure,
    /// What is different at the end.
    pub changed: Vec<Difference>,
    /// The strategy's last words.
    pub said: String,
    /// The signals when the strategy began.
    pub before: Look,
    /// The signals over the judge's window.
    pub after: Look,
}

/// One lever pulled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// Its cycle, from 1.
    pub cycle: u32,
    /// The lever's name, or the parameter's where no lever has it.
    pub lever: String,
    /// The value that was set.
    pub value: String,
    /// What became of it, in the strategy's words.
    pub became: String,
}

/// What a run depends on, as a hash: what is the same gives the same figures, up to noise.
pub(super) fn fingerprint(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // Their lengths keep two parts from being taken for two others.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The runs so far, and their file.
#[derive(Debug)]
pub struct Book {
    file: PathBuf,
    runs: Vec<Run>,
}

#[derive(Serialize, Deserialize)]
struct Page {
    form: u32,
    leverd: String,
    runs: Vec<Run>,
}

impl Book {
    /// Reads the runs that were made before; no file is none.
    pub fn open(file: &Path) -> Result<Self, GauntletError> {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { file: file.to_owned(), runs: Vec::new() });
            }
            Err(error) => return Err(GauntletError::file("reading", file)(error)),
        };
        let unreadable = |why: String| GauntletError::Book { file: file.to_owned(), why };
        let page: Page = serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
        if page.form != FORM {
            return Err(unreadable(format!("form: found {}; allowed: {FORM}", page.form)));
        }
        Ok(Self { file: file.to_owned(), runs: page.runs })
    }

    /// Every run in it, also those of other gauntlets.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The run of this key and fingerprint, where it was measured. One that failed is made again.
    pub fn finished(&self, key: &Key, fingerprint: &str) -> Option<&Run> {
        self.of(key, fingerprint).filter(|run| matches!(run.outcome, Outcome::Measured(_)))
    }

    /// The same, also where it failed.
    pub fn of(&self, key: &Key, fingerprint: &str) -> Option<&Run> {
        self.runs.iter().find(|run| run.key == *key && run.fingerprint == fingerprint)
    }

    /// Takes a run in, in the place of an older one that was made with the same, and writes the file. Those of another
    /// leverd, or of another number of cycles, stay.
    pub fn record(&mut self, run: Run) -> Result<(), GauntletError> {
        self.runs.retain(|old| old.key != run.key || old.fingerprint != run.fingerprint);
        self.runs.push(run);
        self.runs.sort_by(|a, b| (&a.key, a.began_at).cmp(&(&b.key, b.began_at)));
        let page = Page { form: FORM, leverd: env!("CARGO_PKG_VERSION").to_owned(), runs: self.runs.clone() };
        let text = serde_json::to_string_pretty(&page).expect("plain data always serialises");
        replace(&self.file, &text)
    }
}

/// Replaces a file whole, synced: temporary file beside it, renamed.
pub fn replace(file: &Path, text: &str) -> Result<(), GauntletError> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = || -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let mut new = tempfile::NamedTempFile::new_in(folder)?;
        new.write_all(text.as_bytes())?;
        new.as_file().set_permissions(Permissions::from_mode(0o644))?;
        new.as_file().sync_all()?;
        new.persist(file).map_err(|error| error.error)?;
        File::open(folder)?.sync_all()
    };
    written().map_err(GauntletError::file("writing", file))
}

#[cfg(test)]
pub(super) mod fixtures {
    use super::*;
    use crate::gauntlet::exposure::Worst;
    use crate::gauntlet::look::fixtures::look;

    pub(in crate::gauntlet) fn key(scenario: &str, strategy: Kind, repetition: u32) -> Key {
        Key { scenario: scenario.to_owned(), strategy, repetition }
    }

    pub(in crate::gauntlet) fn measured(solved: bool, cycles: u32, outside_s: f64) -> Measured {
        Measured {
            solved,
            why: if solved { "every level is met" } else { "wal 300 ms (level 100 ms)" }.to_owned(),
            cycles,
            acted_s: 90.0,
            pulled: vec![Pull {
                cycle: 1,
                lever: "max_wal_size".to_owned(),
                value: "1GB".to_owned(),
                became: "kept".to_owned(),
            }],
            wrong_pulled: Vec::new(),
            wrong_kept: Vec::new(),
            exposure: Exposure {
                seconds: if outside_s > 100.0 { 500.0 } else { 160.0 },
                outside_s,
                unknown_s: 0.0,
                met_after_s: solved.then_some(outside_s + 5.0),
                worst: Some(Worst { signal: "p95".to_owned(), ratio: 1.5, for_s: 12.0 }),
            },
            changed: vec![Difference {
                name: "max_wal_size".to_owned(),
                from: Some("32MB".to_owned()),
                to: Some("1GB".to_owned()),
            }],
            said: "every level is met".to_owned(),
            before: look(&[("wal", Some(300.0))]),
            after: look(&[("wal", Some(if solved { 80.0 } else { 300.0 }))]),
        }
    }

    pub(in crate::gauntlet) fn run(key: Key, outcome: Outcome) -> Run {
        Run {
            key,
            fingerprint: "f".to_owned(),
            seed: 1,
            began_at: DateTime::UNIX_EPOCH,
            took_s: 300.0,
            outcome,
        }
    }

    pub(in crate::gauntlet) fn done(key: Key, solved: bool, cycles: u32, outside_s: f64) -> Run {
        run(key, Outcome::Measured(Box::new(measured(solved, cycles, outside_s))))
    }
}

#[cfg(test)]
mod tests {
    use super::fixtures::{done, key, run};
    use super::*;

    #[test]
    fn what_was_finished_is_not_run_again_and_what_failed_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("runs/book.json");
        let mut book = Book::open(&file).unwrap();
        assert!(book.runs().is_empty());
        let (a, b) = (key("wal-storm", Kind::Leverd, 1), key("healthy", Kind::Random, 2));
        book.record(done(a.clone(), true, 1, 40.0)).unwrap();
        book.record(run(b.clone(), Outcome::Failed("no Prometheus".to_owned()))).unwrap();

        let again = Book::open(&file).unwrap();
        assert_eq!(again.runs(), book.runs());
        assert!(again.finished(&a, "f").is_some());
        assert!(again.finished(&a, "another scenario text").is_none());
        assert!(again.finished(&b, "f").is_none(), "it failed");
        assert!(again.of(&b, "f").is_some());
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_new_run_takes_the_place_of_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut book = Book::open(&folder.path().join("book.json")).unwrap();
        let key = key("healthy", Kind::Leverd, 1);
        book.record(done(key.clone(), false, 5, 90.0)).unwrap();
        let better = done(key, true, 0, 0.0);
        book.record(better.clone()).unwrap();
        assert_eq!(book.runs(), std::slice::from_ref(&better));
        let other = Run { fingerprint: "another leverd".to_owned(), ..better.clone() };
        book.record(other.clone()).unwrap();
        assert_eq!(book.runs(), [better, other], "what another leverd did is not lost");
    }

    #[test]
    fn a_file_that_is_something_else_is_told_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("book.json");
        replace(&file, "{\"form\": 9, \"leverd\": \"0\", \"runs\": []}").unwrap();
        let error = Book::open(&file).unwrap_err().to_string();
        assert!(
            error.ends_with("book.json is no record of a gauntlet: form: found 9; allowed: 1"),
            "{error}"
        );
        replace(&file, "[]").unwrap();
        assert!(Book::open(&file).is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "[]");
    }

    #[test]
    fn a_fingerprint_tells_its_parts_apart() {
        let of = |parts: &[&str]| fingerprint(&parts.iter().map(|part| part.as_bytes()).collect::<Vec<_>>());
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
        assert_ne!(of(&["a", "b"]), of(&["ab", ""]));
        assert_eq!(of(&["a"]).len(), 32);
    }
}
