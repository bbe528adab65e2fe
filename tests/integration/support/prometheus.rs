//! A private Prometheus for one test: the real program, a folder and a loopback port of its own, gone when dropped.

use super::http::{TinyHttp, response};
use super::postgres::free_port;
use rustix::process::Pid;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A running server.
#[derive(Debug)]
pub(crate) struct PrivatePrometheus {
    folder: TempDir,
    child: Child,
    /// Its loopback port.
    pub(crate) port: u16,
}

impl PrivatePrometheus {
    /// Starts it on a whole `prometheus.yml`; rule files stand beside it.
    pub(crate) fn start(config: &str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::Builder::new().prefix("leverd-test-").tempdir().unwrap();
        for (name, text) in files {
            write(&folder.path().join(name), text);
        }
        Self::start_in(folder, config)
    }

    /// Starts it with a past: samples in the OpenMetrics text format with timestamps, ended by `# EOF`.
    pub(crate) fn with_history(openmetrics: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("leverd-test-").tempdir().unwrap();
        let text = folder.path().join("history");
        write(&text, openmetrics);
        let made = Command::new("promtool")
            .args(["tsdb", "create-blocks-from", "openmetrics"])
            .args([text.as_os_str(), folder.path().join("data").as_os_str()])
            .output()
            .unwrap();
        assert!(made.status.success(), "promtool: {}", String::from_utf8_lossy(&made.stderr));
        Self::start_in(folder, "")
    }

    fn start_in(folder: TempDir, config: &str) -> Self {
        let port = free_port();
        let file = folder.path().join("prometheus.yml");
        write(&file, config);
        let log = fs::OpenOptions::new().create(true).append(true).open(folder.path().join("log")).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--storage.tsdb.retention.time=10y")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("Prometheus is needed: scripts/setup.sh installs it");
        let mut server = Self { folder, child, port };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !server.is_ready() {
            let gone = server.child.try_wait().unwrap();
            assert!(gone.is_none() && Instant::now() < deadline, "prometheus: {gone:?}\n{}", server.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// One of its own pages, with the head; empty while it does not answer.
    pub(crate) fn page(&self, path: &str) -> String {
        let Ok(mut connection) = TcpStream::connect(("127.0.0.1", self.port)) else { return String::new() };
        let mut answer = String::new();
        let asked = connection.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes());
        if asked.is_ok() && connection.read_to_string(&mut answer).is_ok() { answer } else { String::new() }
    }

    /// Its process, for signals.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn is_ready(&self) -> bool {
        self.page("/-/ready").starts_with("HTTP/1.0 200")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for PrivatePrometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Something to scrape: `metrics(time since the start)` is its page.
pub(crate) fn exporter(metrics: impl Fn(Duration) -> String + Send + Sync + 'static) -> TinyHttp {
    let begun = Instant::now();
    TinyHttp::start(move |_, connection| {
        let page = response("200 OK", "text/plain; version=0.0.4", &metrics(begun.elapsed()));
        let _ = connection.write_all(page.as_bytes());
    })
}

/// A `prometheus.yml` that scrapes one exporter and evaluates `rules.yml` as often.
pub(crate) fn scraping(exporter: &TinyHttp, every: &str) -> String {
    format!(
        "global: {{scrape_interval: {every}, scrape_timeout: {every}, evaluation_interval: {every}}}\n\
         rule_files: [rules.yml]\n\
         scrape_configs:\n\
         - job_name: test\n\
         \x20 static_configs: [{{targets: ['127.0.0.1:{}']}}]\n",
        exporter.port
    )
}

#[expect(clippy::disallowed_methods, reason = "a test's own file")]
fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}
