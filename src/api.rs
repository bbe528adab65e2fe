//! leverd over HTTP: `/metrics`, `/healthz`, `/readyz`, and an index at `/`.
//!
//! In: a listener and [`ApiState`], whose answers come from closures, so that this room knows none of the others.
//! Out: answers. Always holds: so many connections at most, a deadline for each request's head and for each write,
//! and an orderly end. It has no authentication: it is for loopback, or for a network that its owner trusts.

mod bounded_stream;
mod pages;

pub use pages::{ApiState, Readiness};

use axum::Router;
use bounded_stream::BoundedStream;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What a client may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Open connections; further ones wait in the kernel's queue.
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
    let slots = Arc::new(Semaphore::new(limits.connections));
    let (tracker, cut) = (TaskTracker::new(), CancellationToken::new());
    loop {
        let (stream, permit) = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let (router, shutdown, cut) = (router.clone(), shutdown.clone(), cut.clone());
        tracker.spawn(async move {
            tokio::select! {
                () = cut.cancelled() => {}
                () = answer(stream, router, shutdown, limits) => {}
            }
            drop(permit);
        });
    }
    drop(listener);
    tracker.close();
    if tokio::time::timeout(limits.drain, tracker.wait()).await.is_err() {
        cut.cancel();
        tracker.wait().await;
    }
}

/// The next connection, once there is room for it.
async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    let permit = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
            Err(error) => {
                // Out of file descriptors, mostly: it passes, and must not become a busy loop.
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(stream: TcpStream, router: Router, shutdown: CancellationToken, limits: Limits) {
    let io = TokioIo::new(BoundedStream::new(stream, limits.write_timeout));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head_timeout).max_buf_size(16 * 1024);
    let connection = http.serve_connection(io, TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
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
