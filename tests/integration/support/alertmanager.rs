//! A private Alertmanager for one test: the real program, a folder and a loopback port of its own, gone when dropped.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A running one.
pub(crate) struct PrivateAlertmanager {
    folder: TempDir,
    child: Child,
    port: u16,
}

impl PrivateAlertmanager {
    /// Starts it on `port` with a whole `alertmanager.yml`.
    pub(crate) fn start(port: u16, config: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("leverd-test-").tempdir().unwrap();
        let file = folder.path().join("alertmanager.yml");
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        fs::write(&file, config).unwrap();
        let log = fs::OpenOptions::new().create(true).append(true).open(folder.path().join("log")).unwrap();
        let names = ["alertmanager", "prometheus-alertmanager"];
        let path = std::env::var_os("PATH").unwrap_or_default();
        let in_path = |name: &&str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
        let program = names.iter().find(|name| in_path(name));
        let program = program.expect("Alertmanager is needed: scripts/setup.sh installs it");
        let child = Command::new(program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut server = Self { folder, child, port };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !server.is_ready() {
            let gone = server.child.try_wait().unwrap();
            assert!(gone.is_none() && Instant::now() < deadline, "alertmanager: {gone:?}\n{}", server.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    fn is_ready(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        let mut answer = String::new();
        let asked = stream.write_all(b"GET /-/ready HTTP/1.0\r\n\r\n");
        asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.0 200")
    }

    /// What it wrote.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for PrivateAlertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
