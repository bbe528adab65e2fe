//! An analyst: a large query at a fixed rate, on a connection of its own, beside the events.

use super::metrics::Metrics;
use super::statements;
use super::writer::{Backoff, TIMEOUT};
use crate::postgres::{Connection, PostgresError, connect};
use crate::sandbox::scenario::Analytics;
use std::sync::Arc;
use tokio::time::MissedTickBehavior;

pub(super) async fn run(number: u32, dsn: String, analytics: Analytics, metrics: Arc<Metrics>) {
    let mut ticks = tokio::time::interval(analytics.every.get());
    // One that takes longer than its time delays the next one, and never causes two at once.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut session, mut backoff) = (None, Backoff::default());
    loop {
        ticks.tick().await;
        match ask(&mut session, &dsn).await {
            Ok(()) => {
                backoff = Backoff::default();
                metrics.analyses.inc();
            }
            Err(error) => {
                session = None;
                metrics.errors.inc();
                tracing::warn!(analyst = number, "{error}");
                tokio::time::sleep(backoff.next()).await;
            }
        }
    }
}

async fn ask(session: &mut Option<Connection>, dsn: &str) -> Result<(), PostgresError> {
    let connection = match session {
        Some(connection) => connection,
        None => session.insert(connect(dsn, TIMEOUT).await?),
    };
    // Planned anew each time: a prepared plan would outlive a change of the settings.
    let asked = connection.client().query_one(statements::ANALYSE, &[]).await;
    asked.map(|_| ()).map_err(|error| PostgresError::statement("analysing", &error))
}
