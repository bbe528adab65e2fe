//! The loop's one connection to the target: made when needed, made anew when it broke.

use crate::config::Secret;
use crate::postgres::{Connection, PostgresError, connect};
use std::time::Duration;

/// For connecting and for each statement.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Between two attempts while a server starts.
const RETRY_EVERY: Duration = Duration::from_millis(500);

/// The link.
#[derive(Debug)]
pub(super) struct PostgresLink {
    dsn: Secret,
    connection: Option<Connection>,
}

impl PostgresLink {
    pub(super) fn new(dsn: Secret) -> Self {
        Self { dsn, connection: None }
    }

    /// The client, connected; one attempt.
    pub(super) async fn client(&mut self) -> Result<&tokio_postgres::Client, PostgresError> {
        if self.connection.as_ref().is_none_or(Connection::is_closed) {
            self.connection = None;
            self.connection = Some(connect(self.dsn.expose(), TIMEOUT).await?);
        }
        Ok(self.connection.as_ref().expect("it was just made").client())
    }

    /// The client, waiting up to `patience` for a server that is just starting.
    pub(super) async fn client_within(
        &mut self,
        patience: Duration,
    ) -> Result<&tokio_postgres::Client, PostgresError> {
        let until = tokio::time::Instant::now() + patience;
        while let Err(error) = self.client().await {
            let worth_waiting =
                matches!(error, PostgresError::Unreachable { .. } | PostgresError::Refused { .. });
            if !worth_waiting || tokio::time::Instant::now() >= until {
                return Err(error);
            }
            tokio::time::sleep(RETRY_EVERY).await;
        }
        self.client().await
    }

    /// Forgets the connection: after a restart it may hang instead of being closed.
    pub(super) fn forget(&mut self) {
        self.connection = None;
    }
}
