//! Processes by id and start time, so that a reused id is never taken for the process that had it before.

use super::error::SandboxError;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// One process: its id and when it was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessId {
    /// The process' id.
    pub(super) pid: u32,
    /// Its start as the system tells it: ticks since boot and the boot's id on Linux, `ps`' `lstart` elsewhere.
    pub(super) started: String,
}

impl ProcessId {
    /// Who has this id now; `None` for nobody or a zombie (it runs no more, whoever is slow to collect it).
    pub(super) fn of(pid: u32) -> Option<Self> {
        started(pid).map(|started| Self { pid, started })
    }

    /// Whether this very process still runs.
    pub(super) fn is_alive(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// Whether it runs as `user`; where the system does not tell, it is believed.
    pub(super) fn is_of_user(&self, user: Option<u32>) -> bool {
        use std::os::unix::fs::MetadataExt;
        let actual = std::fs::metadata(format!("/proc/{}", self.pid)).map(|meta| meta.uid()).ok();
        actual.is_none() || user.is_none() || actual == user
    }

    /// Sends a signal, unless the process is gone.
    pub(super) fn signal(&self, signal: Signal) {
        if self.is_alive()
            && let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw)
        {
            // It may have ended in between; then there is nothing to do.
            let _ = kill_process(pid, signal);
        }
    }
}

/// Ends all of them: `first`, then SIGKILL for those that still run after `grace`.
pub(super) fn end(processes: &[ProcessId], first: Signal, grace: Duration) -> Result<(), SandboxError> {
    for process in processes {
        process.signal(first);
    }
    if wait_gone(processes, grace) {
        return Ok(());
    }
    for process in processes {
        process.signal(Signal::KILL);
    }
    if wait_gone(processes, Duration::from_secs(10)) {
        return Ok(());
    }
    let pids = processes.iter().filter(|process| process.is_alive()).map(|process| process.pid.to_string());
    Err(SandboxError::WillNotEnd { pids: pids.collect::<Vec<_>>().join(", ") })
}

pub(super) fn wait_gone(processes: &[ProcessId], within: Duration) -> bool {
    let deadline = Instant::now() + within;
    loop {
        if !processes.iter().any(ProcessId::is_alive) {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(target_os = "linux")]
fn started(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name stands in parentheses and may hold anything; the fields after it cannot.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    let ticks = fields.nth(18)?;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Some(format!("{ticks}@{}", boot.trim().get(..8).unwrap_or_default()))
}

#[cfg(not(target_os = "linux"))]
fn started(pid: u32) -> Option<String> {
    let output = std::process::Command::new("ps")
        .args(["-o", "stat=,lstart=", "-p", &pid.to_string()])
        .env("LC_ALL", "C")
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (state, lstart) = text.trim().split_once(char::is_whitespace)?;
    (!state.starts_with('Z')).then(|| lstart.trim().to_owned())
}

/// Processes that were started for the sandbox in `folder` but stand in no state file: the supervisor was killed
/// between starting one and writing it down, or a killed postmaster's children still run. Linux only; elsewhere the
/// state files are all there is.
#[cfg(target_os = "linux")]
pub(super) fn strays(folder: &std::path::Path) -> Vec<ProcessId> {
    let mark = format!("{}={}", super::place::MARK, folder.display());
    let data = folder.join("data");
    let own = std::process::id();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != own && (is_marked(*pid, &mark) || is_postgres_in(*pid, &data)))
        .filter_map(ProcessId::of)
        .collect()
}

/// See the Linux version.
#[cfg(not(target_os = "linux"))]
pub(super) fn strays(_folder: &std::path::Path) -> Vec<ProcessId> {
    Vec::new()
}

#[cfg(target_os = "linux")]
fn is_marked(pid: u32, mark: &str) -> bool {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
}

/// A server process works in its data folder; a person's shell there is not one.
#[cfg(target_os = "linux")]
fn is_postgres_in(pid: u32, data: &std::path::Path) -> bool {
    let is_postgres =
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "postgres");
    is_postgres && std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_itself_and_nobody_else() {
        let me = ProcessId::of(std::process::id()).unwrap();
        assert!(me.is_alive());
        let other = ProcessId { pid: me.pid, started: "before".to_owned() };
        assert!(!other.is_alive());
    }

    #[test]
    fn ending_waits_for_the_end_and_spares_a_reused_id() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let real = ProcessId::of(child.id()).unwrap();
        let stale = ProcessId { pid: child.id(), started: "before".to_owned() };
        end(&[stale], Signal::KILL, Duration::from_secs(1)).unwrap();
        assert!(real.is_alive());
        end(std::slice::from_ref(&real), Signal::TERM, Duration::from_secs(10)).unwrap();
        assert!(!real.is_alive());
        child.wait().unwrap();
    }
}
