//! leverd over HTTP: `/metrics`, `/healthz`, `/readyz`, Alertmanager's webhook at `/api/v1/alerts`, an index at `/`.
//!
//! In: a listener and [`ApiState`], whose answers come from closures, so that this room knows none of the others.
//! Out: answers. Always holds: so many connections at most, a deadline for each request's head and for each write,
//! and an orderly end. What changes something needs a token, and so does all but the health beyond loopback.

mod alerts;
mod bounded_stream;
mod lobby;
mod pages;
mod token;

pub use alerts::{Busy, Taken};
pub use pages::{ApiState, Readiness, TakeAlerts};
pub use token::Token;

use axum::Router;
use bounded_stream::BoundedStream;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use lobby::{Guest, Lobby};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What a client may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Open connections; for a further one that goes which has asked nothing for longest.
    pub connections: usize,
    /// For the head of a request to arrive, and for an idle connection to be used again. A little more than ten
    /// seconds, so that it does not end at the very moment of a scrape that comes every ten.
    pub head_timeout: Duration,
    /// For the client to take some more of an answer.
    pub write_timeout: Duration,
    /// For open requests to end after the shutdown began.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            head_timeout: Duration::from_millis(11_500),
            write_timeout: Duration::from_secs(10),
            drain: Duration::from_secs(3),
        }
    }
}

/// Serves until `shutdown`, then lets open requests end, within [`Limits::drain`].
pub async fn serve(listener: TcpListener, state: ApiState, shutdown: CancellationToken) {
    serve_with(listener, state, shutdown, Limits::default()).await;
}

/// [`serve`] with other limits.
pub async fn serve_with(listener: TcpListener, state: ApiState, shutdown: CancellationToken, limits: Limits) {
    let router = pages::router(state);
    let lobby = Arc::new(Lobby::new(limits.connections));
    let (tracker, cut) = (TaskTracker::new(), CancellationToken::new());
    loop {
        let (stream, guest) = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &lobby) => accepted,
        };
        let connection = Connection { router: router.clone(), lobby: Arc::clone(&lobby), guest, limits };
        let (shutdown, cut) = (shutdown.clone(), cut.clone());
        tracker.spawn(async move {
            tokio::select! {
                () = cut.cancelled() => {}
                () = connection.guest.out.cancelled() => {}
                () = connection.answer(stream, shutdown) => {}
            }
            connection.lobby.leave(&connection.guest);
        });
    }
    drop(listener);
    tracker.close();
    if tokio::time::timeout(limits.drain, tracker.wait()).await.is_err() {
        cut.cancel();
        tracker.wait().await;
    }
}

/// The next connection, with a place for it.
async fn accept(listener: &TcpListener, lobby: &Lobby) -> (TcpStream, Arc<Guest>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, lobby.admit().await),
            Err(error) => {
                // Out of file descriptors, mostly: it passes, and must not become a busy loop.
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// One client's connection.
struct Connection {
    router: Router,
    lobby: Arc<Lobby>,
    guest: Arc<Guest>,
    limits: Limits,
}

impl Connection {
    async fn answer(&self, stream: TcpStream, shutdown: CancellationToken) {
        let io = TokioIo::new(BoundedStream::new(stream, self.limits.write_timeout));
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(self.limits.head_timeout).max_buf_size(16 * 1024);
        let service = TowerToHyperService::new(self.router.clone());
        let answered = service_fn(|request| {
            let asked = self.lobby.asked(&self.guest);
            let answer = service.call(request);
            async move {
                let answer = answer.await;
                drop(asked);
                answer
            }
        });
        let mut connection = std::pin::pin!(http.serve_connection(io, answered));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!("a connection ended early: {error}");
        }
    }
}
