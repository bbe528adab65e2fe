//! What the actuators ask the server: one setting, its files, its identity.
//!
//! Every statement is bounded in time here too: a server that hangs must not hang a rollback.

use super::ActuateError;
use crate::model::Setting;
use crate::postgres::{PostgresError, settings};
use std::path::PathBuf;
use std::time::Duration;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

/// For one statement; the connection has a limit of its own, which a dead network does not keep.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// The rows of a query.
pub(super) async fn rows(
    pg: &Client,
    doing: &str,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, PostgresError> {
    let query =
        async { pg.query(sql, parameters).await.map_err(|error| PostgresError::statement(doing, &error)) };
    bounded(doing, query).await
}

async fn bounded<T>(
    doing: &str,
    statement: impl Future<Output = Result<T, PostgresError>>,
) -> Result<T, PostgresError> {
    match tokio::time::timeout(STATEMENT_TIMEOUT, statement).await {
        Ok(answer) => answer,
        Err(_) => Err(PostgresError::Statement {
            doing: doing.to_owned(),
            why: format!("no answer within {} s", STATEMENT_TIMEOUT.as_secs()),
            code: None,
        }),
    }
}

/// A statement without parameters and rows.
pub(super) async fn execute(pg: &Client, doing: &str, sql: &str) -> Result<(), PostgresError> {
    rows(pg, doing, sql, &[]).await.map(|_| ())
}

/// One row of `pg_settings`; names ignore case.
pub(super) async fn setting(pg: &Client, name: &str) -> Result<Option<Setting>, PostgresError> {
    bounded(&format!("reading {name} in pg_settings"), settings::read_one(pg, name)).await
}

/// A path that the server tells only to roles that may see it.
pub(super) async fn path_setting(pg: &Client, name: &str) -> Result<Option<PathBuf>, PostgresError> {
    const SQL: &str = "SELECT setting FROM pg_catalog.pg_settings WHERE name = $1 AND setting <> ''";
    let found = rows(pg, &format!("reading {name}"), SQL, &[&name]).await?;
    Ok(found.first().and_then(|row| row.try_get::<_, Option<String>>(0).ok().flatten()).map(PathBuf::from))
}

/// Refuses where this is another server than the one that a change was made on. 0 is "not known".
pub(super) async fn is_the_one(pg: &Client, expected: u64) -> Result<(), ActuateError> {
    const SQL: &str = "SELECT system_identifier FROM pg_catalog.pg_control_system()";
    if expected == 0 {
        return Ok(());
    }
    let found = match rows(pg, "reading the system identifier", SQL, &[]).await {
        Ok(found) => found,
        // A hardened server may hide it; every other check still stands.
        Err(PostgresError::Statement { code: Some(code), .. }) if code == "42501" => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let found = found.first().and_then(|row| row.try_get::<_, i64>(0).ok()).unwrap_or(0).cast_unsigned();
    if found == expected { Ok(()) } else { Err(ActuateError::WrongServer { expected, found }) }
}

/// What `pg_file_settings` finds wrong, as `file:line: name: error`; empty where this role may not read it.
pub(super) async fn file_errors(pg: &Client) -> Vec<String> {
    const SQL: &str = "SELECT format('%s:%s: %s: %s', sourcefile, sourceline, name, error)
          FROM pg_catalog.pg_file_settings WHERE error IS NOT NULL ORDER BY seqno LIMIT 5";
    let found = rows(pg, "reading pg_file_settings", SQL, &[]).await.unwrap_or_default();
    found.iter().filter_map(|row| row.try_get(0).ok()).collect()
}
