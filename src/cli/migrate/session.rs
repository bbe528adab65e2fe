//! Connections to the target, for what looks and for what works.

use crate::config::MigrationConfig;
use crate::migrate::run::MigrateError;
use crate::postgres::{Connection, connect, connect_for_work};
use std::time::Duration;

/// To connect; and, for what only looks, for each statement.
const TIMEOUT: Duration = Duration::from_secs(30);

/// For short statements: each of them is bounded, and so is waiting for a lock.
pub(super) async fn to_look(config: &MigrationConfig) -> Result<Connection, MigrateError> {
    connect(config.target.postgres_dsn().expose(), TIMEOUT).await.map_err(MigrateError::Target)
}

/// For statements that take as long as they take.
pub(super) async fn to_work(config: &MigrationConfig) -> Result<Connection, MigrateError> {
    let dsn = config.target.postgres_dsn();
    connect_for_work(dsn.expose(), "leverd migrate", TIMEOUT).await.map_err(MigrateError::Target)
}
