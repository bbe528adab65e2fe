//! What a scenario sets: the healthy settings, what breaks them, and how the load changes afterwards.

use super::values::{Bounded, Scalar, Span};
use std::collections::BTreeMap;

/// Values by name, for both kinds of file.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Of `postgresql.conf`.
    #[serde(default)]
    pub postgresql: BTreeMap<String, Scalar>,
    /// Of the load program's `.env`.
    #[serde(default)]
    pub env: BTreeMap<String, Scalar>,
}

impl Settings {
    /// Nothing is set.
    pub fn is_empty(&self) -> bool {
        self.postgresql.is_empty() && self.env.is_empty()
    }
}

/// What breaks a healthy sandbox. Each part is optional; those that are there are all applied.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broken {
    /// Of `postgresql.conf`.
    #[serde(default)]
    pub postgresql: BTreeMap<String, Scalar>,
    /// Of the load program's `.env`.
    #[serde(default)]
    pub env: BTreeMap<String, Scalar>,
    /// By `ALTER SYSTEM`: it wins over `postgresql.conf`.
    #[serde(default)]
    pub alter_system: BTreeMap<String, Scalar>,
    /// On the server's command line: it wins over every file.
    #[serde(default)]
    pub command_line: BTreeMap<String, Scalar>,
    /// By `ALTER ROLE` for the load's role: it wins over the files and the command line.
    #[serde(default)]
    pub role: BTreeMap<String, Scalar>,
    /// So many more indexes on the hot table, on the column that is updated.
    #[serde(default)]
    pub indexes: Bounded<0, 16>,
    /// Somebody else on the same machine.
    pub neighbour: Option<Neighbour>,
}

impl Broken {
    /// Nothing is broken.
    pub fn is_empty(&self) -> bool {
        self.settings().all(|(_, values)| values.is_empty())
            && self.env.is_empty()
            && self.indexes.get() == 0
            && self.neighbour.is_none()
    }

    /// The settings of Postgres, with the key under which they stand.
    pub(super) fn settings(&self) -> impl Iterator<Item = (&'static str, &BTreeMap<String, Scalar>)> {
        [
            ("postgresql", &self.postgresql),
            ("alter_system", &self.alter_system),
            ("command_line", &self.command_line),
            ("role", &self.role),
        ]
        .into_iter()
    }
}

/// Somebody else on the same machine, who takes the CPU in bursts.
#[derive(Debug, Clone, Copy, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Neighbour {
    /// Cores that it takes while it is busy.
    pub threads: Bounded<1, 16>,
    /// How long it is busy.
    pub busy: Span,
    /// How long it then rests.
    pub idle: Span,
    /// It ends by itself after that.
    #[serde(default = "half_an_hour")]
    pub lasts: Span,
}

fn half_an_hour() -> Span {
    Span::new(std::time::Duration::from_mins(30))
}

/// A change of the load, some time after the scenario was broken.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// So long after everything was mis-set.
    pub after: Span,
    /// Keys of the load's `.env`: until the next turn they win over the file, which is not touched.
    pub env: BTreeMap<String, Scalar>,
}
