//! What stands at which path.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::fmt;
use std::sync::Arc;

/// Whether leverd can do its work now, and why, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// It can.
    pub ready: bool,
    /// The reason, a line or a few.
    pub reason: String,
}

/// Where answers come from. The closures are called on every request: they must be quick, and must not block.
#[derive(Clone)]
pub struct ApiState {
    /// The text of `/metrics`.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// The answer of `/readyz`.
    pub readiness: Arc<dyn Fn() -> Readiness + Send + Sync>,
}

impl fmt::Debug for ApiState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiState").finish_non_exhaustive()
    }
}

const INDEX: &str = "leverd\n\n\
    /metrics  for Prometheus\n\
    /healthz  200 while the process answers\n\
    /readyz   200 when it can do its work, else 503; the text says why\n";

/// The content type of Prometheus' text format.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn router(state: ApiState) -> Router {
    Router::new()
        .route("/", get(async || INDEX))
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .fallback(async || (StatusCode::NOT_FOUND, "nothing is here; / lists what there is\n"))
        .with_state(state)
}

async fn metrics(State(state): State<ApiState>) -> Response {
    ([(header::CONTENT_TYPE, EXPOSITION)], (state.metrics)()).into_response()
}

async fn readyz(State(state): State<ApiState>) -> Response {
    let readiness = (state.readiness)();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, format!("{}\n", readiness.reason)).into_response()
}
