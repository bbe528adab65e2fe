//! leverd's own program as a child, run as a person runs it, bounded in time.
//!
//! Always holds: a child that is not waited for any more is killed; a Ctrl-C at the terminal reaches the gauntlet
//! alone, which then ends its children in order.

use super::GauntletError;
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// Lines of a log that an error shows.
const TAIL: usize = 8;

/// The leverd that runs the sandbox, and that is one of the strategies.
#[derive(Debug, Clone)]
pub struct Program {
    /// Its file.
    pub path: PathBuf,
    /// Its content's SHA-256, hex: a leverd that was built anew is another one, whatever its version says.
    pub build: String,
}

/// How a child ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) success: bool,
    pub(super) status: String,
    pub(super) stdout: String,
    log: PathBuf,
}

impl Ended {
    /// As an error, with the end of its log.
    pub(super) fn into_error(self, doing: &'static str) -> GauntletError {
        GauntletError::Program { doing, status: self.status, tail: tail(&self.log), log: self.log }
    }
}

impl Program {
    /// Links (or copies) `original` to `path`, so that a build that replaces it does not change it under a gauntlet of
    /// hours.
    pub fn install(original: &Path, path: &Path) -> Result<Self, GauntletError> {
        let installed = || -> io::Result<String> {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            if fs::hard_link(original, path).is_err() {
                fs::copy(original, path)?;
            }
            let mut hash = Sha256::new();
            io::copy(&mut File::open(path)?, &mut HashWriter(&mut hash))?;
            Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
        };
        let build = installed().map_err(GauntletError::file("installing leverd as", path))?;
        Ok(Self { path: path.to_owned(), build })
    }

    /// Runs `leverd ARGUMENTS` in `folder`; stderr goes to `NAME.log` there.
    pub(super) async fn run(
        &self,
        folder: &Path,
        name: &'static str,
        arguments: &[String],
        patience: Duration,
    ) -> Result<Ended, GauntletError> {
        let log = folder.join(format!("{name}.log"));
        let opened = OpenOptions::new().create(true).append(true).open(&log);
        let errors = opened.map_err(GauntletError::file("opening", &log))?;
        let mut command = Command::new(&self.path);
        command.args(arguments).current_dir(folder);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
        command.env_remove("LEVERD_CONFIG").env("NO_COLOR", "1");
        command.process_group(0).kill_on_drop(true);
        let child = command.spawn().map_err(GauntletError::file("starting", &self.path))?;
        let output = tokio::time::timeout(patience, child.wait_with_output())
            .await
            .map_err(|_| GauntletError::Program {
                doing: name,
                status: format!("not done within {} s", patience.as_secs()),
                tail: tail(&log),
                log: log.clone(),
            })?
            .map_err(GauntletError::file("waiting for", &self.path))?;
        Ok(Ended {
            success: output.status.success(),
            status: output.status.to_string(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            log,
        })
    }
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The end of a log, on one line.
fn tail(log: &Path) -> String {
    let text =
        std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(TAIL)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gauntlet::replace;

    #[test]
    fn an_installed_program_stays_when_the_original_is_replaced_and_a_new_one_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let (original, path) = (folder.path().join("leverd"), folder.path().join("gauntlet/leverd"));
        replace(&original, "one").unwrap();
        let first = Program::install(&original, &path).unwrap();
        replace(&original, "two").unwrap();
        assert_eq!(fs::read_to_string(&first.path).unwrap(), "one");
        let second = Program::install(&original, &path).unwrap();
        assert_ne!(first.build, second.build);
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert!(Program::install(&folder.path().join("gone"), &path).is_err());
    }

    #[test]
    fn the_end_of_a_log_is_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("up.log");
        replace(&log, "a\n\n  b\nc\n").unwrap();
        assert_eq!(tail(&log), "a | b | c");
        assert_eq!(tail(&folder.path().join("none")), "");
    }
}
