//! The program itself, run as a user runs it, bounded in time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A folder as a user's project: with the shipped configuration in it.
#[derive(Debug)]
pub(crate) struct Project {
    folder: TempDir,
}

impl Project {
    /// A fresh one, outside of the checkout.
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("leverd-project-").tempdir().unwrap();
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("config"), &folder.path().join("config"));
        open_to_all(folder.path());
        Self { folder }
    }

    /// Its folder.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A file of it, as text.
    pub(crate) fn read(&self, name: &str) -> String {
        let path = self.path().join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Writes a file of it.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        fs::write(&path, text).unwrap();
        path
    }

    /// `leverd ARGUMENTS` in it, not yet started.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_leverd"));
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null());
        command.env_remove("LEVERD_CONFIG").env_remove("FAILPOINTS").env("NO_COLOR", "1");
        command
    }

    /// `leverd ARGUMENTS` in it, to its end.
    pub(crate) fn leverd(&self, arguments: &[&str], patience: Duration) -> Output {
        finish(self.command(arguments), patience)
    }

    /// The same, and it must end well.
    pub(crate) fn must(&self, arguments: &[&str], patience: Duration) -> String {
        let output = self.leverd(arguments, patience);
        assert!(output.status.success(), "leverd {arguments:?}: {}\n{}", output.status, both(&output));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Runs a command to its end; one that takes too long is killed and fails the test.
pub(crate) fn finish(mut command: Command, patience: Duration) -> Output {
    let (out, err) = (tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap());
    command.stdout(out.reopen().unwrap()).stderr(err.reopen().unwrap());
    let mut child = command.spawn().unwrap();
    let status = wait_for_exit(&mut child, patience);
    let read = |file: &tempfile::NamedTempFile| fs::read(file.path()).unwrap();
    let output = |status| Output { status, stdout: read(&out), stderr: read(&err) };
    match status {
        Some(status) => output(status),
        None => {
            child.kill().unwrap();
            let output = output(child.wait().unwrap());
            panic!("{command:?} did not end within {patience:?}:\n{}", both(&output));
        }
    }
}

/// Waits for a child's end; `None` when it takes too long.
pub(crate) fn wait_for_exit(child: &mut Child, patience: Duration) -> Option<std::process::ExitStatus> {
    let until = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if Instant::now() >= until {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Both outputs, for a failure's message.
pub(crate) fn both(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("stdout:\n{}\nstderr:\n{}", text(&output.stdout), text(&output.stderr))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The sandbox's unprivileged user must get through.
fn open_to_all(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
}
