//! A private MariaDB for a test, gone when dropped.

use super::leverd::wait_for_exit;
use super::postgres::{free_port, give_to_unprivileged, unprivileged};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

/// A server on loopback whose root needs no password, with a database `shop`.
pub(crate) struct PrivateMariaDb {
    folder: TempDir,
    child: Mutex<Child>,
    pub(crate) port: u16,
}

impl PrivateMariaDb {
    pub(crate) fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("leverd-maria-").tempdir().unwrap();
        give_to_unprivileged(folder.path());
        let data = folder.path().join("data").display().to_string();
        let mut install = as_user("mariadb-install-db", &folder, "install.log");
        let made = install
            .args(["--no-defaults", "--skip-test-db", "--force", "--auth-root-authentication-method=normal"])
            .arg(format!("--datadir={data}"))
            .status()
            .unwrap();
        assert!(made.success(), "{}", std::fs::read_to_string(folder.path().join("install.log")).unwrap());
        let port = free_port();
        let child = Mutex::new(spawn(&folder, port));
        let server = Self { folder, child, port };
        server.wait_for_an_answer();
        server.ask("CREATE DATABASE shop CHARACTER SET utf8mb4");
        server
    }

    /// Ends it as a crash would, and starts it again.
    pub(crate) fn crash(&self) {
        let mut child = self.child.lock().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        *child = spawn(&self.folder, self.port);
        drop(child);
        self.wait_for_an_answer();
    }

    fn wait_for_an_answer(&self) {
        let until = Instant::now() + PATIENCE;
        while !self.client("SELECT 1").status().unwrap().success() {
            let log = std::fs::read_to_string(self.folder.path().join("server.log")).unwrap();
            assert!(Instant::now() < until, "the server does not answer:\n{log}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Runs statements in `shop`; rows by line, columns by tab.
    pub(crate) fn ask(&self, sql: &str) -> String {
        let output = self.client(sql).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
        assert!(output.status.success(), "{}\n{sql}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    fn client(&self, sql: &str) -> Command {
        let mut client = Command::new("mariadb");
        client.args(["--no-defaults", "--default-character-set=utf8mb4", "-N", "-B", "-u", "root"]);
        client.arg(format!("--socket={}", self.folder.path().join("socket").display()));
        if !sql.starts_with("SELECT 1") && !sql.starts_with("CREATE DATABASE") {
            client.arg("shop");
        }
        client.args(["-e", sql]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        client
    }
}

impl Drop for PrivateMariaDb {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        let pid = rustix::process::Pid::from_child(child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        if wait_for_exit(child, PATIENCE).is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn spawn(folder: &TempDir, port: u16) -> Child {
    let mut server = as_user("/usr/sbin/mariadbd", folder, "server.log");
    // What is committed is written, and so outlives the process. It is not flushed, as for a host that crashes.
    server.args(["--no-defaults", "--bind-address=127.0.0.1", "--innodb-flush-log-at-trx-commit=2"]);
    server.args([
        format!("--datadir={}", folder.path().join("data").display()),
        format!("--port={port}"),
        format!("--socket={}", folder.path().join("socket").display()),
        "--pid-file=pid".to_owned(),
    ]);
    server.spawn().unwrap()
}

/// A program as the user that servers run as, its output in a file of the folder.
fn as_user(program: &str, folder: &TempDir, log: &str) -> Command {
    let path: PathBuf = folder.path().join(log);
    let out = File::options().create(true).append(true).open(path).unwrap();
    let mut command = Command::new(program);
    // In a folder for temporary files that servers share, one that starts deletes the others'.
    command.env("TMPDIR", folder.path()).current_dir(folder.path()).stdin(Stdio::null());
    command.stdout(out.try_clone().unwrap()).stderr(out);
    if let Some((uid, gid)) = unprivileged() {
        command.uid(uid).gid(gid);
    }
    command
}
