//! A server setting as `pg_settings` describes it.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `pg_settings.context`: when a new value takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Context {
    /// Compiled in or fixed at initdb.
    Internal,
    /// At a restart.
    Postmaster,
    /// At a reload.
    Sighup,
    /// At the next connection, set by a superuser.
    SuperuserBackend,
    /// At the next connection.
    Backend,
    /// At a reload; a superuser may also set it for a session.
    Superuser,
    /// At a reload; anyone may also set it for a session.
    User,
}

/// `pg_settings.vartype`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SettingType {
    /// on or off.
    Bool,
    /// A whole number, perhaps with a unit.
    Integer,
    /// A number, perhaps with a unit.
    Real,
    /// One of a fixed set.
    Enum,
    /// Free text.
    String,
}

/// Where the present value came from: `pg_settings.source`, `sourcefile`, `sourceline`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sourced {
    /// e.g. `default`, `configuration file`, `command line`, `database`, `user`.
    pub source: String,
    /// The file, where the source is one and the role may see it.
    pub file: Option<PathBuf>,
    /// The line in that file, from 1.
    pub line: Option<u32>,
}

/// One row of `pg_settings`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// The parameter.
    pub name: String,
    /// The present value in `unit`s, as text.
    pub value: String,
    /// The unit of `value`, `min`, `max`: `8kB`, `kB`, `MB`, `B`, `ms`, `s`, `min` or none.
    pub unit: Option<String>,
    /// Its type.
    pub vartype: SettingType,
    /// When a new value takes effect.
    pub context: Context,
    /// The smallest value, in `unit`s.
    pub min: Option<f64>,
    /// The largest value, in `unit`s.
    pub max: Option<f64>,
    /// What an enum may be; depends on how the server was built.
    pub enumvals: Vec<String>,
    /// Where `value` came from.
    pub sourced: Sourced,
    /// What a reset would give, in `unit`s.
    pub reset_value: String,
    /// What the server was built with, in `unit`s.
    pub boot_value: String,
    /// A changed value waits for a restart.
    pub pending_restart: bool,
}

impl Setting {
    /// Whether a new value needs a restart. `Internal` never takes one.
    pub fn needs_restart(&self) -> bool {
        self.context == Context::Postmaster
    }
}
