//! Optuna (TPE, its default) over the same levers: each cycle a value for every lever at once, each drawn from its
//! recommended ones and the present one; the objective is how far outside of the levels all is. At the end the best
//! values that it tried are set.
//!
//! What it has: it changes many settings in one cycle, restarts without asking, and gets the look from before as a
//! trial for nothing. What it lacks: symptoms, evidence, and enough cycles: TPE draws its first ten at random, so with
//! five it is a random search that keeps the best. Two runs with the same seed and the same looks ask the same.
//!
//! Optuna is Python: it runs in a folder of its own (`.leverd/optuna`), installed from PyPI when it is first needed,
//! and is spoken to in lines of JSON. Every answer is bounded in time.

use super::{Proposal, Scene, Strategy};
use crate::gauntlet::GauntletError;
use crate::gauntlet::look::Look;
use crate::gauntlet::state::Change;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const SCRIPT: &str = include_str!("optuna.py");
const ANSWER_PATIENCE: Duration = Duration::from_secs(120);
const INSTALL_PATIENCE: Duration = Duration::from_secs(900);

/// A Python that has optuna.
#[derive(Debug, Clone)]
pub(in crate::gauntlet) struct Python(PathBuf);

impl Python {
    /// The Python in `folder`; makes it and installs optuna there where it is missing. The error says why it cannot,
    /// for people.
    pub(in crate::gauntlet) async fn ready(folder: &Path) -> Result<Self, String> {
        let python = folder.join("bin/python");
        if has_optuna(&python).await {
            return Ok(Self(python));
        }
        let mut make = Command::new("python3");
        make.args(["-m", "venv"]).arg(folder);
        install(make, "making a Python of its own").await?;
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]);
        pip.args(["--retries", "1", "optuna"]);
        install(pip, "installing optuna from PyPI").await?;
        if has_optuna(&python).await {
            return Ok(Self(python));
        }
        Err("optuna was installed, and cannot be imported".to_owned())
    }
}

async fn has_optuna(python: &Path) -> bool {
    let mut command = Command::new(python);
    command.args(["-c", "import optuna"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.kill_on_drop(true).status().await.is_ok_and(|status| status.success())
}

async fn install(mut command: Command, doing: &str) -> Result<(), String> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(INSTALL_PATIENCE, command.output()).await;
    let output = output.map_err(|_| format!("{doing}: not done within {} s", INSTALL_PATIENCE.as_secs()))?;
    let output = output.map_err(|error| format!("{doing}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let words = [output.stdout, output.stderr].concat();
    let words = String::from_utf8_lossy(&words);
    let last = words.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no words").trim();
    Err(format!("{doing}: {last}"))
}

/// A study.
#[derive(Debug)]
pub(in crate::gauntlet) struct Optuna {
    /// Gone when dropped.
    _child: Child,
    to: ChildStdin,
    from: Lines<BufReader<ChildStdout>>,
    seed: u64,
    /// Lever → its values, the present one first; empty until the study is open.
    space: BTreeMap<String, Vec<Change>>,
    tried: bool,
}

impl Optuna {
    /// Its own words, where it has any, go to `optuna.log` in `folder`.
    pub(in crate::gauntlet) fn start(
        python: &Python,
        folder: &Path,
        seed: u64,
    ) -> Result<Self, GauntletError> {
        let log = folder.join("optuna.log");
        let opened = OpenOptions::new().create(true).append(true).open(&log);
        let errors = opened.map_err(GauntletError::file("opening", &log))?;
        let mut command = Command::new(&python.0);
        command.args(["-u", "-c", SCRIPT]).process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let mut child = command.spawn().map_err(GauntletError::file("starting", &python.0))?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(GauntletError::Optuna("it has no pipes".to_owned()));
        };
        let from = BufReader::new(from).lines();
        // Optuna's seeds have 32 bits.
        let seed = seed & u64::from(u32::MAX);
        Ok(Self { _child: child, to, from, seed, space: BTreeMap::new(), tried: false })
    }

    /// One line there, one line back.
    async fn talk(&mut self, line: &Value) -> Result<Value, GauntletError> {
        let broken = |why: String| GauntletError::Optuna(why);
        let talk = async {
            self.to
                .write_all(format!("{line}\n").as_bytes())
                .await
                .map_err(|error| broken(error.to_string()))?;
            let answer = self.from.next_line().await.map_err(|error| broken(error.to_string()))?;
            answer.ok_or_else(|| broken("it ended early".to_owned()))
        };
        let answer = tokio::time::timeout(ANSWER_PATIENCE, talk)
            .await
            .map_err(|_| broken(format!("no answer within {} s", ANSWER_PATIENCE.as_secs())))??;
        let answer: Value = serde_json::from_str(&answer).map_err(|error| broken(error.to_string()))?;
        match answer.get("error").and_then(Value::as_str) {
            Some(why) => Err(broken(why.to_owned())),
            None => Ok(answer),
        }
    }

    async fn open(&mut self, seen: &Look, scene: &Scene<'_>) -> Result<(), GauntletError> {
        self.space = space(scene);
        let values = |changes: &Vec<Change>| changes.iter().map(|c| c.value.clone()).collect::<Vec<_>>();
        let levers: BTreeMap<&String, Vec<String>> =
            self.space.iter().map(|(name, changes)| (name, values(changes))).collect();
        let present: BTreeMap<&String, &String> =
            self.space.iter().filter_map(|(name, changes)| Some((name, &changes.first()?.value))).collect();
        let line = json!({
            "do": "open", "seed": self.seed, "levers": levers, "present": present, "distance": seen.distance(),
        });
        self.talk(&line).await.map(drop)
    }

    /// The values of an answer as a proposal; those that stood there at the start are no change.
    fn proposal(&self, answer: &Value) -> Proposal {
        let values = answer.get("values").and_then(Value::as_object);
        let picked = values.into_iter().flatten().filter_map(|(name, value)| {
            let changes = self.space.get(name)?;
            let at = changes.iter().position(|change| Some(change.value.as_str()) == value.as_str())?;
            (at > 0).then(|| changes[at].clone())
        });
        Proposal { changes: picked.collect(), from_the_start: true }
    }
}

/// Every lever that can be set, with its present value and the recommended ones.
fn space(scene: &Scene<'_>) -> BTreeMap<String, Vec<Change>> {
    let mut space = BTreeMap::new();
    for lever in scene.levers {
        let mut changes = scene.choices(lever);
        let Some(first) = changes.first() else { continue };
        let present = scene.state.value_of(&first.parameter, first.in_env).unwrap_or_default().to_owned();
        changes.insert(0, Change { value: present, ..first.clone() });
        space.insert(lever.name.as_str().to_owned(), changes);
    }
    space
}

impl Strategy for Optuna {
    const KEPT: &str = "tried";

    async fn propose(&mut self, seen: &Look, scene: &Scene<'_>) -> Result<Option<Proposal>, GauntletError> {
        if self.space.is_empty() {
            self.open(seen, scene).await?;
        }
        if self.space.is_empty() {
            return Ok(None);
        }
        self.tried = true;
        let answer = self.talk(&json!({"do": "ask"})).await?;
        Ok(Some(self.proposal(&answer)))
    }

    async fn keeps(&mut self, _: &Look, after: &Look) -> Result<bool, GauntletError> {
        self.talk(&json!({"do": "tell", "distance": after.distance()})).await?;
        // The next one starts from the beginning anyway.
        Ok(true)
    }

    async fn last_word(&mut self) -> Result<Option<Proposal>, GauntletError> {
        if !self.tried {
            return Ok(None);
        }
        let answer = self.talk(&json!({"do": "best"})).await?;
        Ok(Some(self.proposal(&answer)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{levers, mappings, state};
    use super::*;

    #[test]
    fn the_space_holds_what_stands_there_first() {
        let (levers, mappings, state) = (levers(), mappings(), state());
        let scene = Scene { state: &state, levers: &levers, mappings: &mappings };
        let shown: Vec<String> = space(&scene)
            .into_iter()
            .map(|(name, changes)| {
                format!("{name}: {}", changes.iter().map(|c| c.value.as_str()).collect::<Vec<_>>().join(" "))
            })
            .collect();
        assert_eq!(
            shown,
            ["batch_size: 50 10", "checkpoint_timeout: 30s 10min 15min", "max_wal_size: 1GB 2GB"]
        );
    }

    /// A stand-in for Python that answers as the protocol says, so that no package is needed here.
    fn answering(lines: &[&str]) -> (tempfile::TempDir, Python) {
        use std::io::Write;
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("python");
        let text = lines.iter().map(|line| format!("read asked; echo '{line}'\n")).collect::<String>();
        let mut file = tempfile::NamedTempFile::new_in(folder.path()).unwrap();
        file.write_all(format!("#!/bin/sh\n{text}").as_bytes()).unwrap();
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o755)).unwrap();
        file.into_temp_path().persist(&path).unwrap();
        (folder, Python(path))
    }

    #[tokio::test]
    async fn ask_tell_and_the_best() {
        use crate::gauntlet::look::fixtures::look;
        let (levers, mappings, state) = (levers(), mappings(), state());
        let scene = Scene { state: &state, levers: &levers, mappings: &mappings };
        let values =
            r#"{"values": {"max_wal_size": "2GB", "checkpoint_timeout": "30s", "batch_size": "10"}}"#;
        let best = r#"{"values": {"max_wal_size": "2GB", "checkpoint_timeout": "30s", "batch_size": "50"}}"#;
        let (folder, python) = answering(&["{}", values, "{}", best, r#"{"error": "ValueError: no"}"#]);
        let mut optuna = Optuna::start(&python, folder.path(), 1).unwrap();
        assert_eq!(optuna.last_word().await.unwrap(), None, "nothing was tried");
        let broken = look(&[("wal", Some(300.0))]);
        let asked = optuna.propose(&broken, &scene).await.unwrap().unwrap();
        let shown = |proposal: &Proposal| -> Vec<String> {
            proposal.changes.iter().map(|c| format!("{}={}", c.parameter, c.value)).collect()
        };
        assert_eq!(shown(&asked), ["BATCH_SIZE=10", "max_wal_size=2GB"], "what stood there is no change");
        assert!(asked.from_the_start);
        assert!(optuna.keeps(&broken, &broken).await.unwrap());
        assert_eq!(shown(&optuna.last_word().await.unwrap().unwrap()), ["max_wal_size=2GB"]);
        let error = optuna.keeps(&broken, &broken).await.unwrap_err();
        assert_eq!(error.to_string(), "optuna: ValueError: no");
        assert!(optuna.last_word().await.unwrap_err().to_string().starts_with("optuna: "), "it has ended");
    }
}
