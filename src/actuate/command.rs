//! Running one command of the configuration: bounded in time, with the end of its output kept for the error.

use super::ActuateError;
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child, Command};

/// As much of a command's output as an error shows.
const SHOWN_BYTES: u64 = 4096;

/// A command through `sh -c`.
pub(super) fn shell(text: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(text);
    command
}

/// Runs it to its end or to the end of `timeout`; then its whole process group is ended. `shown` is what a person
/// would type. What it leaves behind on purpose, in the background, lives on.
pub(super) async fn run(mut command: Command, shown: &str, timeout: Duration) -> Result<(), ActuateError> {
    let failed =
        |why: String, output: String| ActuateError::Command { command: shown.to_owned(), why, output };
    // A file, not a pipe: a server that it starts keeps the other end of a pipe open for ever.
    let output = tempfile::tempfile().and_then(|file| Ok((file.try_clone()?, file.try_clone()?, file)));
    let (stdout, stderr, mut output) =
        output.map_err(|error| failed(format!("has no place for its output: {error}"), String::new()))?;
    command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).process_group(0);
    let mut child =
        command.spawn().map_err(|error| failed(format!("cannot be started: {error}"), String::new()))?;
    let ended = tokio::time::timeout(timeout, child.wait()).await;
    match ended {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(failed(format!("failed ({})", words(status)), tail(&mut output))),
        Ok(Err(error)) => Err(failed(format!("cannot be waited for: {error}"), tail(&mut output))),
        Err(_) => {
            end_group(&mut child).await;
            Err(failed(format!("did not end within {:.0} s", timeout.as_secs_f64()), tail(&mut output)))
        }
    }
}

async fn end_group(child: &mut Child) {
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait().await;
}

fn words(status: ExitStatus) -> String {
    status.to_string()
}

/// The last lines of a file.
pub(super) fn tail(file: &mut File) -> String {
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let mut bytes = Vec::new();
    let read = file
        .seek(SeekFrom::Start(length.saturating_sub(SHOWN_BYTES)))
        .and_then(|_| file.take(SHOWN_BYTES).read_to_end(&mut bytes));
    if read.is_err() {
        return String::new();
    }
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn its_end_and_its_words_are_kept() {
        run(shell("exit 0"), "exit 0", SOON).await.unwrap();
        let error = run(shell("echo to stdout; echo to stderr >&2; exit 3"), "x", SOON).await.unwrap_err();
        assert_eq!(error.to_string(), "`x` failed (exit status: 3):\nto stdout\nto stderr");
        let error = run(Command::new("/no/such/program"), "x", SOON).await.unwrap_err();
        assert!(error.to_string().starts_with("`x` cannot be started: "), "{error}");
    }

    #[tokio::test]
    async fn one_that_hangs_is_ended_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("child");
        let text = format!("sh -c 'echo $$ > {}; exec sleep 60' & wait", mark.display());
        let error = run(shell(&text), "x", Duration::from_secs(2)).await.unwrap_err();
        assert!(error.to_string().contains("did not end within 2 s"), "{error}");
        let child: i32 = std::fs::read_to_string(&mark).unwrap().trim().parse().unwrap();
        let pid = Pid::from_raw(child).unwrap();
        // Its new parent reaps it; where nobody does, it is a zombie, which holds nothing. Nobody waits for a
        // grandchild: the signal is on its way.
        let deadline = std::time::Instant::now() + SOON;
        loop {
            let state = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            if rustix::process::test_kill_process(pid).is_err() || state.contains(") Z ") {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "{state}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn one_that_leaves_something_in_the_background_is_not_waited_for() {
        run(shell("sleep 5 & exit 0"), "x", Duration::from_secs(4)).await.unwrap();
    }
}
