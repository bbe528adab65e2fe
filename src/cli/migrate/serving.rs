//! `--metrics`: a run's metrics for Prometheus, served while it goes.
//!
//! In: an address, and the run's [`Progress`]. Out: `/metrics`, `/healthz` and `/readyz` there. Always holds: whoever
//! may not listen, or cannot, is told before anything of the run is done; the port is closed again before the run's
//! last words; a scrape reads memory alone, so that the run does not wait for whoever asks; beyond loopback nobody can
//! ask unless a person said so.

use crate::api::{self, ApiState, Readiness};
use crate::cli::{EXIT_BAD_CONFIG, EXIT_FAILED, listening};
use crate::config::MigrationConfig;
use crate::migrate::metrics::{self, Route};
use crate::migrate::progress::Progress;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const OPTION: &str = "--metrics";
const EXAMPLE: &str = "127.0.0.1:9465";

/// What commands that run a migration take besides.
#[derive(Debug, clap::Args)]
pub(super) struct MetricsArgs {
    /// Serve metrics for Prometheus while the run goes, e.g. on 127.0.0.1:9465
    #[arg(long, value_name = "ADDR")]
    metrics: Option<String>,
    /// Serve them beyond loopback too: anyone who reaches the port can read them, there is no token
    #[arg(long, requires = "metrics")]
    allow_remote: bool,
}

impl MetricsArgs {
    /// What is listened on; `None`: nobody asked for metrics. An error is told already, and has its exit code: 64 the
    /// address is none, or not one of this host's own; 1 it cannot be had.
    pub(super) async fn listener(&self) -> Result<Option<TcpListener>, ExitCode> {
        let Some(text) = &self.metrics else { return Ok(None) };
        let at =
            listening::address(OPTION, EXAMPLE, text).await.map_err(|error| told(&error, EXIT_BAD_CONFIG))?;
        if !listening::is_loopback(at.ip()) && !self.allow_remote {
            eprintln!(
                "leverd: {OPTION} {at} is reachable from other machines, and /metrics has no token: anyone there could \
                 read the target's address, the names of its user and database, and how the run goes.\nhint: listen on \
                 127.0.0.1 and let Prometheus scrape it locally or through a tunnel, or say --allow-remote where the \
                 network is trusted"
            );
            return Err(ExitCode::from(EXIT_BAD_CONFIG));
        }
        match TcpListener::bind(at).await {
            Ok(listener) => Ok(Some(listener)),
            Err(error) => Err(told(&listening::not_bound(OPTION, at, &error), EXIT_FAILED)),
        }
    }
}

fn told(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("leverd: {error:#}");
    ExitCode::from(code)
}

/// The server of a run's metrics, or none.
#[derive(Debug)]
pub(super) struct Serving {
    stop: CancellationToken,
    server: TaskTracker,
}

impl Serving {
    /// Begins to serve, where there is a listener.
    pub(super) fn start(
        listener: Option<TcpListener>,
        config: &MigrationConfig,
        progress: &Arc<Progress>,
    ) -> Self {
        let serving = Self { stop: CancellationToken::new(), server: TaskTracker::new() };
        if let Some(listener) = listener {
            if let Ok(at) = listener.local_addr() {
                tracing::info!(listen.address = %at, "the run's metrics are on http://{at}/metrics");
            }
            let state = answers(Route::of(config), progress);
            serving.server.spawn(api::serve(listener, state, serving.stop.clone()));
        }
        serving.server.close();
        serving
    }

    /// Closes the port, and lets a scrape that is under way end; that is bounded.
    pub(super) async fn end(self) {
        self.stop.cancel();
        self.server.wait().await;
    }
}

/// What is answered while the run goes.
fn answers(route: Route, progress: &Arc<Progress>) -> ApiState {
    let (of_metrics, of_readiness) = (Arc::clone(progress), Arc::clone(progress));
    ApiState::showing(
        move || metrics::text(&of_metrics, &route, Instant::now()),
        move || Readiness { ready: true, reason: of_readiness.stage().name().to_owned() },
    )
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;
    use crate::migrate::adjust::Settings;
    use clap::Parser;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: MetricsArgs,
    }

    fn parsed(words: &[&str]) -> Result<MetricsArgs, clap::Error> {
        Line::try_parse_from([&["run"], words].concat()).map(|line| line.args)
    }

    /// The whole answer, head included.
    async fn get(at: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(at).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_run_is_served_until_it_ends() {
        let listener = parsed(&["--metrics", "127.0.0.1:0"]).unwrap().listener().await.unwrap();
        let at = listener.as_ref().unwrap().local_addr().unwrap();
        let progress = Arc::new(Progress::new(Settings::new(4, 50_000, 2, 8).unwrap()));
        let serving = Serving::start(listener, &fixtures::config(""), &progress);
        let page = get(at, "/metrics").await;
        assert!(
            page.starts_with("HTTP/1.1 200") && page.contains("\nleverd_migrate_rows_total 0\n"),
            "{page}"
        );
        assert!(page.contains("content-type: text/plain; version=0.0.4"), "{page}");
        assert!(!page.contains("leverd_migrate_run_info"), "it has no lease yet: {page}");
        progress.name("r1");
        let page = get(at, "/metrics").await;
        let info = "\nleverd_migrate_run_info{run=\"r1\",source=\"postgres\",\
                    target=\"postgres://leverd@new.example:5432/shop\"} 1\n";
        assert!(page.contains(info) && !page.contains("hunter2"), "{page}");
        assert!(get(at, "/healthz").await.ends_with("\r\n\r\nok\n"));
        assert!(get(at, "/readyz").await.ends_with("\r\n\r\npreparing\n"));
        serving.end().await;
        assert!(TcpStream::connect(at).await.is_err(), "the port is open after the run");
    }

    #[tokio::test]
    async fn beyond_loopback_it_is_not_served_unasked() {
        assert!(parsed(&["--metrics", "0.0.0.0:0"]).unwrap().listener().await.is_err());
        let asked = parsed(&["--metrics", "0.0.0.0:0", "--allow-remote"]).unwrap();
        assert!(asked.listener().await.unwrap().is_some());
        assert!(parsed(&["--allow-remote"]).is_err(), "there is nothing to allow");
    }

    #[tokio::test]
    async fn what_cannot_be_had_is_refused_before_the_run() {
        let taken = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        for at in [taken.local_addr().unwrap().to_string(), "127.0.0.1".to_owned(), "9465".to_owned()] {
            assert!(parsed(&["--metrics", &at]).unwrap().listener().await.is_err(), "{at}");
        }
    }

    #[tokio::test]
    async fn without_an_address_there_is_no_server() {
        let listener = parsed(&[]).unwrap().listener().await.unwrap();
        assert!(listener.is_none());
        let progress = Arc::new(Progress::new(Settings::new(4, 50_000, 2, 8).unwrap()));
        Serving::start(listener, &fixtures::config(""), &progress).end().await;
    }
}
