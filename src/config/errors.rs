//! What is wrong with a configuration, all of it at once, in words for people.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};

/// One thing that is wrong: where, what was found, what is allowed, and a hint.
///
/// Nothing in it comes from `${env:…}` or `${file:…}`: it quotes what stands in the file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ConfigError {
    /// The file, as people would name it from where they stand.
    pub file: PathBuf,
    /// Its line, from 1; `None` where the whole file is meant.
    pub line: Option<u32>,
    /// The key, e.g. `levers.low_cost[3].parameter`; empty where the whole file is meant.
    pub key: String,
    /// What was found and what is allowed.
    pub problem: String,
    /// What a person could do about it.
    pub hint: Option<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        if !self.key.is_empty() {
            write!(f, " {}:", self.key)?;
        }
        write!(f, " {}", self.problem)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a configuration, in the order of files and lines; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

/// Where the problems of one file gather while it is read.
pub(super) struct Problems {
    file: PathBuf,
    found: RefCell<Vec<ConfigError>>,
}

impl Problems {
    pub(super) fn of(file: &Path) -> Self {
        Self { file: as_people_name_it(file), found: RefCell::default() }
    }

    pub(super) fn add(&self, line: Option<u32>, key: &str, problem: String, hint: Option<String>) {
        let error = ConfigError { file: self.file.clone(), line, key: key.to_owned(), problem, hint };
        self.found.borrow_mut().push(error);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.borrow().is_empty()
    }

    pub(super) fn into_result(self) -> Result<(), ConfigErrors> {
        Self::all([self])
    }

    /// The problems of several files as one list.
    pub(super) fn all(of: impl IntoIterator<Item = Self>) -> Result<(), ConfigErrors> {
        let mut all = Vec::new();
        for problems in of {
            let mut found = problems.found.into_inner();
            found.sort_by_key(|error| error.line);
            all.append(&mut found);
        }
        if all.is_empty() { Ok(()) } else { Err(ConfigErrors(all)) }
    }
}

/// Relative to the working folder where the file is below it.
fn as_people_name_it(file: &Path) -> PathBuf {
    std::env::current_dir()
        .ok()
        .and_then(|here| file.strip_prefix(here).ok().map(Path::to_path_buf))
        .unwrap_or_else(|| file.to_path_buf())
}
