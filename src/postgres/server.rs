//! What the server says of itself: version, identity, settings, errors in its files, settings of roles and databases.
//!
//! In: a connection. Out: [`Server`]. Most statements go out together: a look costs about four round trips.
//!
//! Always holds: a role with `pg_monitor` alone is enough; what it may not see is absent and named in `denied`.
//! It changes nothing.

use super::{PostgresError, settings};
use crate::model::{Context, PgValue, ServerState, Setting};
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::net::IpAddr;
use tokio_postgres::{Client, Row};

/// `pg_control_system()` was refused: the identifier is not known. No real system has this one.
pub const UNKNOWN_SYSTEM_IDENTIFIER: u64 = 0;

const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// What a look at the server tells.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// The state; its `facts` and `memory_budget_bytes` are for `observe` to fill.
    pub state: ServerState,
    /// The server's own end of the connection; `None` on a Unix socket. Another address than the one dialled
    /// means that something stands in between: a container's port mapping, a tunnel.
    pub address: Option<IpAddr>,
    /// What the role may not see, in sentences with the cure.
    pub denied: Vec<String>,
}

const HEADER: &str = "\
SELECT current_setting('server_version_num')::int4, pg_postmaster_start_time(), pg_is_in_recovery(),
       host(inet_server_addr())";
const IDENTIFIER: &str = "SELECT system_identifier FROM pg_catalog.pg_control_system()";
const FILE_ERRORS: &str = "\
SELECT sourcefile, sourceline, name, setting, error FROM pg_catalog.pg_file_settings
WHERE error IS NOT NULL ORDER BY seqno";
const OVERRIDES: &str = "\
SELECT pg_catalog.quote_ident(d.datname), pg_catalog.quote_ident(r.rolname), s.setconfig
FROM pg_catalog.pg_db_role_setting s
LEFT JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
ORDER BY s.setrole, s.setdatabase";

/// Asks the server.
pub async fn state(client: &Client) -> Result<Server, PostgresError> {
    // In a transaction of its own, which nothing else may run in.
    let settings = settings::read(client).await?;
    let (header, identifier, file_errors, overrides) = tokio::join!(
        rows(client, HEADER, "asking the server for its version"),
        rows(client, IDENTIFIER, "reading pg_control_system()"),
        rows(client, FILE_ERRORS, "reading pg_file_settings"),
        rows(client, OVERRIDES, "reading pg_db_role_setting"),
    );
    let mut denied = Vec::new();
    let identifier = allowed(identifier, &mut denied, IDENTIFIER_DENIED)?;
    let file_errors = allowed(file_errors, &mut denied, FILES_DENIED)?;
    let overrides = overrides?;
    let path_of = |name: &str| settings.get(name).map(|setting| setting.value.clone().into());
    let (config_file, data_directory) = (path_of("config_file"), path_of("data_directory"));
    if config_file.is_none() {
        denied.push(PATHS_DENIED.to_owned());
    }
    let read = |error: tokio_postgres::Error| PostgresError::statement("reading the server's state", &error);
    let header = Header::of(&header?).map_err(read)?;
    Ok(Server {
        state: ServerState {
            version_num: header.version_num,
            system_identifier: identifier_of(&identifier).map_err(read)?,
            started_at: header.started_at,
            in_recovery: header.in_recovery,
            config_file,
            data_directory,
            file_errors: file_errors_of(&file_errors, &settings).map_err(read)?,
            role_or_database_settings: overrides_of(&overrides, &settings).map_err(read)?,
            settings,
            facts: BTreeMap::new(),
            memory_budget_bytes: None,
        },
        address: header.address,
        denied,
    })
}

/// When the server last took up a configuration: its start, or its last reload.
pub async fn last_configured_at(client: &Client) -> Result<DateTime<Utc>, PostgresError> {
    moment(client, "SELECT greatest(pg_postmaster_start_time(), pg_conf_load_time())").await
}

/// When the server started.
pub async fn started_at(client: &Client) -> Result<DateTime<Utc>, PostgresError> {
    moment(client, "SELECT pg_postmaster_start_time()").await
}

async fn moment(client: &Client, sql: &str) -> Result<DateTime<Utc>, PostgresError> {
    let failed = |error| PostgresError::statement("asking the server for a time", &error);
    client.query_one(sql, &[]).await.map_err(failed)?.try_get(0).map_err(failed)
}

const IDENTIFIER_DENIED: &str = "the role may not execute pg_control_system(), so leverd cannot tell this server \
    from another one: GRANT EXECUTE ON FUNCTION pg_control_system() TO it";
const FILES_DENIED: &str = "the role may not read pg_file_settings, so errors in the configuration files are seen \
    after a reload only: GRANT SELECT ON pg_file_settings and EXECUTE ON FUNCTION pg_show_all_file_settings() TO it";
const PATHS_DENIED: &str = "the role may not see where the configuration file is: GRANT pg_read_all_settings (or \
    pg_monitor) TO it";

async fn rows(client: &Client, sql: &str, doing: &str) -> Result<Vec<Row>, PostgresError> {
    client.query_typed(sql, &[]).await.map_err(|error| PostgresError::statement(doing, &error))
}

/// A refusal for want of rights is no rows and a remark; any other error stays one.
fn allowed(
    rows: Result<Vec<Row>, PostgresError>,
    denied: &mut Vec<String>,
    remark: &str,
) -> Result<Vec<Row>, PostgresError> {
    match rows {
        Err(PostgresError::Statement { code: Some(code), .. }) if code == INSUFFICIENT_PRIVILEGE => {
            denied.push(remark.to_owned());
            Ok(Vec::new())
        }
        other => other,
    }
}

struct Header {
    version_num: u32,
    started_at: DateTime<Utc>,
    in_recovery: bool,
    address: Option<IpAddr>,
}

impl Header {
    fn of(rows: &[Row]) -> Result<Self, tokio_postgres::Error> {
        let row = rows.first().expect("a SELECT without FROM has one row");
        Ok(Self {
            version_num: row.try_get::<_, i32>(0)?.unsigned_abs(),
            started_at: row.try_get(1)?,
            in_recovery: row.try_get(2)?,
            address: row.try_get::<_, Option<&str>>(3)?.and_then(|text| text.parse().ok()),
        })
    }
}

fn identifier_of(rows: &[Row]) -> Result<u64, tokio_postgres::Error> {
    let Some(row) = rows.first() else { return Ok(UNKNOWN_SYSTEM_IDENTIFIER) };
    // Unsigned in the control file, shown as int8.
    Ok(row.try_get::<_, i64>(0)?.cast_unsigned())
}

/// `file:line: name: error`. A valid value that waits for a restart is listed there as an error too; it is none.
fn file_errors_of(
    rows: &[Row],
    settings: &BTreeMap<String, Setting>,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let mut errors = Vec::new();
    for row in rows {
        let name: Option<&str> = row.try_get(2)?;
        let value: Option<&str> = row.try_get(3)?;
        if let (Some(name), Some(value)) = (name, value)
            && let Some(setting) = settings.get(&name.to_ascii_lowercase())
            && setting.context == Context::Postmaster
            && PgValue::parse(value, setting).is_ok()
        {
            continue;
        }
        let file: Option<&str> = row.try_get(0)?;
        let line: Option<i32> = row.try_get(1)?;
        let error: &str = row.try_get(4)?;
        let place = format!("{}:{}", file.unwrap_or("a configuration file"), line.unwrap_or_default());
        errors.push(match name {
            Some(name) => format!("{place}: {name}: {error}"),
            None => format!("{place}: {error}"),
        });
    }
    Ok(errors)
}

/// Parameter → who sets it to what, and how a person takes that back. Only parameters of `pg_settings`: people keep application secrets in others.
fn overrides_of(
    rows: &[Row],
    settings: &BTreeMap<String, Setting>,
) -> Result<BTreeMap<String, String>, tokio_postgres::Error> {
    let mut overrides: BTreeMap<String, String> = BTreeMap::new();
    for row in rows {
        let database: Option<&str> = row.try_get(0)?;
        let role: Option<&str> = row.try_get(1)?;
        let (who, altered) = match (role, database) {
            (Some(role), Some(database)) => {
                (format!("role {role} in database {database}"), format!("ROLE {role} IN DATABASE {database}"))
            }
            (Some(role), None) => (format!("role {role}"), format!("ROLE {role}")),
            (None, Some(database)) => (format!("database {database}"), format!("DATABASE {database}")),
            (None, None) => ("every role".to_owned(), "ROLE ALL".to_owned()),
        };
        for entry in row.try_get::<_, Option<Vec<&str>>>(2)?.unwrap_or_default() {
            let Some((name, value)) = entry.split_once('=') else { continue };
            // ALTER ROLE keeps the name as it was typed.
            let name = name.to_ascii_lowercase();
            if !settings.contains_key(&name) {
                continue;
            }
            let words = format!("{who} sets it to {value} (`ALTER {altered} RESET {name}` takes that back)");
            overrides
                .entry(name)
                .and_modify(|all| {
                    all.push_str("; ");
                    all.push_str(&words);
                })
                .or_insert(words);
        }
    }
    Ok(overrides)
}
