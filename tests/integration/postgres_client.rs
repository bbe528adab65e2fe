//! The client's connection against a real server, and against none.

use crate::support::postgres::{PrivatePostgres, free_port};
use leverd::postgres::{PostgresError, connect};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(5);

#[tokio::test]
async fn connects_and_bounds_its_statements() {
    let server = PrivatePostgres::start("");
    let connection = connect(&server.dsn(), TIMEOUT).await.unwrap();
    let row = connection.client().query_one("SHOW statement_timeout", &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), "5s");
}

#[tokio::test]
async fn a_closed_port_is_unreachable() {
    let dsn = format!("postgresql://someone:hunter2@127.0.0.1:{}/x", free_port());
    let error = connect(&dsn, TIMEOUT).await.unwrap_err();
    assert!(matches!(error, PostgresError::Unreachable { .. }), "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[tokio::test]
async fn an_unknown_role_is_refused_in_the_servers_words() {
    let server = PrivatePostgres::start("");
    let dsn = format!("postgresql://nosuchrole:hunter2@127.0.0.1:{}/postgres?sslmode=disable", server.port);
    let error = connect(&dsn, TIMEOUT).await.unwrap_err();
    assert!(matches!(error, PostgresError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("nosuchrole") && !error.to_string().contains("hunter2"), "{error}");
}
