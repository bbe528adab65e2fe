//! `leverd.yaml`, `levers.yaml`, `baseline.yaml` and a migration's file: as typed → checked → resolved.
//!
//! In: files. Out: one [`Config`] (or one [`MigrationConfig`]) that is whole before anything binds or connects, or a
//! list of errors that name file, line, key, what was found, what is allowed and a hint. It never connects to anything.
//!
//! Text becomes a tree with lines (`document`), `${…}` is replaced in its scalars (`substitute`), typed values are
//! read out of it (`reader`, one file for each section), and what one file says is held against the other (here).

mod ai_section;
mod announce_section;
mod api_section;
mod baseline_file;
mod defaults;
mod document;
mod dsn;
mod errors;
mod leverd_file;
mod levers_file;
mod migration_file;
mod migration_resolved;
mod place;
mod quantity;
mod reader;
mod resolved;
mod signals_section;
mod sla;
mod substitute;
mod suggest;
mod target_section;
pub mod watch;
mod windows;

pub use baseline_file::{read_baseline, render_baseline};
pub use dsn::complete as complete_dsn;
pub use errors::{ConfigError, ConfigErrors};
pub use migration_file::load_migration;
pub use place::{Reach, place_for};
pub use resolved::{
    AbortLimits, AiConfig, AiProvider, AnnounceConfig, ApiConfig, Config, ContainerConfig, Cycle,
    DatabaseEndpoint, DatabaseEngine, EngineSocket, ExporterConfig, LoadSignal, LogRotation, Machine,
    MigrationConfig, MigrationSettings, Paths, PgBouncerConfig, Policy, PostgresqlConf, PrometheusConfig,
    Pull, Restart, RestartMethod, Secret, SslMode, TableFilter, TablePattern, Target, TargetMode,
};
pub use windows::Window;

use crate::model::{Lever, Signal, SignalName, Symptom};
use document::{Node, Value, child_key};
use errors::Problems;
use levers_file::LeversFile;
use reader::At;
use signals_section::Signals;
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use substitute::{Sources, substitute};

/// Where the configuration stands unless `--config` says otherwise.
const USUAL: &str = "config/leverd.yaml";
/// Where a running sandbox leaves its own.
const SANDBOX: &str = ".leverd/sandbox/leverd.yaml";
/// No configuration is larger.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Which `leverd.yaml` to use: `explicit`; else `config/leverd.yaml` where it has a `target:`; else that of the
/// sandbox, where one was started; else an error that says both ways. Relative paths start at `cwd`.
///
/// A `config/leverd.yaml` that is broken is an error, never a reason to use the sandbox.
pub fn find(explicit: Option<&Path>, cwd: &Path) -> Result<PathBuf, ConfigErrors> {
    if let Some(explicit) = explicit {
        return Ok(cwd.join(explicit));
    }
    let usual = cwd.join(USUAL);
    let problems = Problems::of(&usual);
    let configured = if usual.exists() {
        let tree = read_tree(&usual, &problems);
        problems.into_result()?;
        tree.is_some_and(|tree| tree.get("target").is_some())
    } else {
        false
    };
    let sandbox = cwd.join(SANDBOX);
    if configured {
        return Ok(usual);
    }
    if sandbox.exists() {
        return Ok(sandbox);
    }
    Err(ConfigErrors::from(ConfigError {
        file: PathBuf::from(USUAL),
        line: None,
        key: "target".to_owned(),
        problem: if usual.exists() { "no Postgres is named here" } else { "there is no such file" }
            .to_owned(),
        hint: Some(format!(
            "name your Postgres under `target:` in {USUAL} (or in another file, with --config FILE), or run \
             `leverd sandbox up` to try leverd on a Postgres of its own"
        )),
    }))
}

/// Reads `leverd.yaml` and the `levers.yaml` that it names, checks both, and resolves them. `env` answers
/// `${env:NAME}`. On error it lists all that is wrong.
pub fn load(leverd_yaml: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigErrors> {
    let file = std::path::absolute(leverd_yaml).unwrap_or_else(|_| leverd_yaml.to_path_buf());
    let problems = Problems::of(&file);
    let Some(mut tree) = read_tree(&file, &problems) else {
        problems.into_result()?;
        unreachable!("a file that gives no tree leaves a problem");
    };
    let root = substitute_all(&mut tree, &file, env, &problems);
    let leverd = leverd_file::read(&At::root(&tree, &problems), &root);

    let levers_problems = Problems::of(&leverd.levers);
    let mut levers = LeversFile { levers: Vec::new(), mappings: BTreeMap::new() };
    if let Some(mut tree) = read_tree(&leverd.levers, &levers_problems) {
        substitute(&mut tree, "", &Sources { env, base: &root }, &levers_problems);
        let reach = Reach {
            postgresql_conf: &leverd.target.postgresql_conf,
            container: leverd.target.container.as_ref().map(|container| container.name.as_str()),
            pgbouncer: leverd.target.pgbouncer.as_ref().map(|pooler| pooler.config_file.as_path()),
            env_file: leverd.env_file.as_deref(),
            root: &root,
        };
        levers = levers_file::read(&At::root(&tree, &levers_problems), reach);
    }
    // A signal lacks levers only where the levers could be read.
    if levers_problems.is_empty() {
        own_signals_have_levers(&leverd.signals, &levers.levers, &problems);
    }
    Problems::all([problems, levers_problems])?;
    Ok(Config {
        file,
        environment: leverd.environment,
        target: leverd.target,
        prometheus: leverd.prometheus,
        signals: leverd.signals.signals,
        sla: leverd.signals.sla,
        load: leverd.load,
        cycle: leverd.cycle,
        policy: leverd.policy,
        abort: leverd.abort,
        levers: levers.levers,
        symptom_mappings: levers.mappings,
        levers_file: leverd.levers,
        exporter: leverd.exporter,
        api: leverd.api,
        alert_symptoms: leverd.alert_symptoms,
        announce: leverd.announce,
        paths: leverd.paths,
        log_rotation: leverd.log_rotation,
    })
}

impl Config {
    /// What is allowed and yet may not be meant, in sentences for people.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for bound in &self.sla {
            let Some(signal) = self.signals.iter().find(|signal| signal.name == bound.signal) else {
                continue;
            };
            if !treated(&signal.symptom, &self.levers) {
                warnings.push(format!(
                    "{} has a bound, and no lever treats {}: where it is broken, nothing can be done",
                    signal.name, signal.symptom
                ));
            }
        }
        for lever in &self.levers {
            let stands = |symptom: &Symptom| self.signals.iter().any(|signal| signal.symptom == *symptom);
            if !lever.symptoms.iter().any(stands) {
                let symptoms: Vec<_> = lever.symptoms.iter().map(Symptom::as_str).collect();
                warnings.push(format!(
                    "the lever {} treats {}, and no signal stands for that: it is never pulled",
                    lever.name,
                    symptoms.join(", ")
                ));
            }
        }
        warnings
    }
}

fn treated(symptom: &Symptom, levers: &[Lever]) -> bool {
    levers.iter().any(|lever| lever.symptoms.contains(symptom))
}

/// A user who bounds a signal of their own wants something done about it.
fn own_signals_have_levers(signals: &Signals, levers: &[Lever], problems: &Problems) {
    let bounded = |name: &SignalName| signals.sla.iter().any(|bound| bound.signal == *name);
    let own = |signal: &&Signal| signals.own.contains_key(&signal.name) && bounded(&signal.name);
    for signal in signals.signals.iter().filter(own) {
        if !treated(&signal.symptom, levers) {
            problems.add(
                signals.own.get(&signal.name).copied(),
                &format!("signals.{}", signal.name),
                format!("the signal {} stands for the symptom {}, and no lever treats it", signal.name, signal.symptom),
                Some(format!(
                    "map a lever to {} under `symptom_mappings:` in levers.yaml, or only observe it with `{}: none` \
                     under `sla:`",
                    signal.symptom, signal.name
                )),
            );
        }
    }
}

/// Replaces every `${…}` of `leverd.yaml`; answers the folder that relative paths start from. `root:` itself starts
/// at the default root, everything else at the root that it names.
fn substitute_all(
    tree: &mut Node,
    file: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    problems: &Problems,
) -> PathBuf {
    let mut root = leverd_file::default_root(file);
    let Value::Map(entries) = &mut tree.value else { return root };
    if let Some(entry) = entries.iter_mut().find(|entry| entry.key == "root" && !entry.node.is_null()) {
        substitute(&mut entry.node, "root", &Sources { env, base: &root }, problems);
        let at = At { node: &entry.node, key: "root".to_owned(), problems };
        root = leverd_file::configured_root(&at, file).unwrap_or(root);
    }
    for entry in entries.iter_mut().filter(|entry| entry.key != "root") {
        substitute(&mut entry.node, &child_key("", &entry.key), &Sources { env, base: &root }, problems);
    }
    root
}

/// The file's tree; `None` where there is none, which is reported then.
fn read_tree(file: &Path, problems: &Problems) -> Option<Node> {
    match read_text(file) {
        Ok(text) => document::parse(&text, problems),
        Err((problem, hint)) => {
            problems.add(None, "", problem, Some(hint));
            None
        }
    }
}

/// A small UTF-8 file, or (problem, hint).
fn read_text(file: &Path) -> Result<String, (String, String)> {
    let cannot = |error: std::io::Error| {
        (format!("this file cannot be read: {error}"), "check the path, and who may read it".to_owned())
    };
    let mut bytes = Vec::new();
    let open = std::fs::File::open(file).map_err(cannot)?;
    let mode = open.metadata().map_err(cannot)?.permissions().mode();
    if mode & 0o002 != 0 {
        // It names commands that leverd runs as its own user.
        return Err((
            format!("everybody may write this file (mode {:o}); allowed: its owner and group", mode & 0o777),
            format!("chmod o-w {}", file.display()),
        ));
    }
    open.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err((
            format!("this file is too large; allowed: {MAX_FILE_BYTES} bytes"),
            "is it the right file?".to_owned(),
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        (format!("line {line} is not UTF-8 text"), "save the file as UTF-8".to_owned())
    })
}

#[cfg(test)]
mod tests;
