//! PgBouncer's admin console, which speaks Postgres' protocol, simple queries only.
//!
//! In: its DSN. Out: what it says of itself, or that it read its file again. One connection for each question: it is
//! asked seldom, and a console that is held open is one that a restart of PgBouncer cuts.

use super::connect::{Connection, PostgresError, connect_to_console};
use crate::model::PoolerState;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

/// For the connection and each command.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Settings that a database or a user may have of its own, with the column of `SHOW DATABASES` that shows them and the
/// setting that is their default.
const OWN: [(&str, &str); 5] = [
    ("pool_size", "default_pool_size"),
    ("pool_mode", "pool_mode"),
    ("reserve_pool", "reserve_pool_size"),
    ("reserve_pool_size", "reserve_pool_size"),
    ("min_pool_size", "min_pool_size"),
];

/// Its settings, what has its own, and who waits.
pub async fn state(admin_dsn: &str) -> Result<PoolerState, PostgresError> {
    let console = connect_to_console(admin_dsn, TIMEOUT).await?;
    let config: BTreeMap<String, String> = rows(&console, "SHOW CONFIG")
        .await?
        .iter()
        .filter_map(|row| Some((column(row, "key")?, column(row, "value").unwrap_or_default())))
        .collect();
    let mut own_settings = BTreeMap::new();
    for row in rows(&console, "SHOW DATABASES").await? {
        let name = column(&row, "name").unwrap_or_default();
        if name == "pgbouncer" {
            continue;
        }
        for (shown, setting) in OWN {
            let (Some(own), Some(default)) = (column(&row, shown), config.get(setting)) else { continue };
            if !own.is_empty() && own != *default {
                let who = format!("the database {name} in pgbouncer.ini has {shown} = {own} of its own");
                own_settings.insert(setting.to_owned(), who);
            }
        }
    }
    let (mut waiting_clients, mut longest_wait_seconds) = (0.0, 0.0_f64);
    for row in rows(&console, "SHOW POOLS").await? {
        let number = |name: &str| column(&row, name).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
        waiting_clients += number("cl_waiting");
        longest_wait_seconds = longest_wait_seconds.max(number("maxwait") + number("maxwait_us") / 1e6);
    }
    Ok(PoolerState { config, own_settings, waiting_clients, longest_wait_seconds })
}

/// One setting as it is in force.
pub async fn setting(admin_dsn: &str, key: &str) -> Result<Option<String>, PostgresError> {
    let console = connect_to_console(admin_dsn, TIMEOUT).await?;
    let found = rows(&console, "SHOW CONFIG").await?;
    let row = found.iter().find(|row| column(row, "key").as_deref() == Some(key));
    Ok(row.and_then(|row| column(row, "value")))
}

/// Has it read its file again. It answers before old connections have gone.
pub async fn reload(admin_dsn: &str) -> Result<(), PostgresError> {
    let console = connect_to_console(admin_dsn, TIMEOUT).await?;
    rows(&console, "RELOAD").await.map(|_| ())
}

async fn rows(console: &Connection, command: &str) -> Result<Vec<SimpleQueryRow>, PostgresError> {
    let doing = format!("{command} on PgBouncer's console");
    let answer = tokio::time::timeout(TIMEOUT, console.client().simple_query(command)).await;
    let answer = answer.map_err(|_| PostgresError::Statement {
        doing: doing.clone(),
        why: format!("no answer within {} s", TIMEOUT.as_secs()),
        code: None,
    })?;
    let messages = answer.map_err(|error| PostgresError::statement(doing, &error))?;
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    Ok(rows.collect())
}

/// A column that this version of PgBouncer has.
fn column(row: &SimpleQueryRow, name: &str) -> Option<String> {
    let at = row.columns().iter().position(|column| column.name() == name)?;
    row.get(at).map(str::to_owned)
}
