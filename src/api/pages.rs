//! What stands at which path.

use super::alerts::{self, Busy, Taken};
use super::token::{self, Token};
use crate::model::PushedAlert;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, middleware};
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
    /// Takes a webhook's alerts; with them, whether Alertmanager left some out.
    pub alerts: TakeAlerts,
    /// Counts a webhook that could not be read.
    pub refused: Arc<dyn Fn() + Send + Sync>,
    /// What a request that changes something must name.
    pub token: Option<Token>,
    /// Whether every request must name it but `/healthz` and `/readyz`: where others than this host can ask.
    pub guarded: bool,
}

/// Where a webhook's alerts go.
pub type TakeAlerts = Arc<dyn Fn(Vec<PushedAlert>, bool) -> Result<Taken, Busy> + Send + Sync>;

impl ApiState {
    /// For a process that only shows: nobody can change anything there.
    pub fn showing(
        metrics: impl Fn() -> String + Send + Sync + 'static,
        readiness: impl Fn() -> Readiness + Send + Sync + 'static,
    ) -> Self {
        Self {
            metrics: Arc::new(metrics),
            readiness: Arc::new(readiness),
            alerts: Arc::new(|_, _| Err(Busy)),
            refused: Arc::new(|| {}),
            token: None,
            guarded: false,
        }
    }
}

impl fmt::Debug for ApiState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiState").finish_non_exhaustive()
    }
}

const INDEX: &str = "leverd\n\n\
    /metrics  for Prometheus\n\
    /healthz  200 while the process answers\n\
    /readyz   200 when it can do its work, else 503; the text says why\n\
    /api/v1/alerts  POST: Alertmanager's webhook; needs the token\n";

/// The content type of Prometheus' text format.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn router(state: ApiState) -> Router {
    let guard = || middleware::from_fn_with_state(state.token.clone(), token::needed);
    let changing = Router::new()
        .route("/api/v1/alerts", post(alerts::take))
        .route_layer(guard())
        .layer(DefaultBodyLimit::max(alerts::MOST_BYTES));
    let mut reading = Router::new().route("/", get(async || INDEX)).route("/metrics", get(metrics));
    if state.guarded {
        reading = reading.route_layer(guard());
    }
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .merge(reading)
        .merge(changing)
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
