//! `pg_settings`, whole, on PostgreSQL 12 to 18.
//!
//! Rows that only `pg_read_all_settings` may see are absent for other roles, and `sourcefile` is null for them.
//! Parameters that may hold a credential are never read.

use super::PostgresError;
use crate::model::{Context, Setting, SettingType, Sourced};
use std::collections::BTreeMap;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

const COLUMNS: &str = "\
SELECT name, setting, unit, vartype, context, min_val, max_val, enumvals, source, sourcefile, sourceline,
       reset_val, boot_val, pending_restart
FROM pg_catalog.pg_settings";

/// Connection strings and commands may carry passwords; no lever is among them.
const NO_SECRETS: &str = "\
name <> ALL ('{primary_conninfo,ssl_passphrase_command,archive_command,restore_command,\
archive_cleanup_command,recovery_end_command}'::text[])";

/// The session has limits of its own (see `connect`), and `pg_settings` shows each session its own values. Within a
/// transaction that is rolled back they are the server's, with their source.
const WITHOUT_OWN_LIMITS: &str = "BEGIN; RESET statement_timeout; RESET lock_timeout";

/// Reads all settings by name. The connection may be in no transaction.
pub async fn read(client: &Client) -> Result<BTreeMap<String, Setting>, PostgresError> {
    let rows = rows(client, &format!("{COLUMNS} WHERE {NO_SECRETS}"), &[]).await.map_err(failed)?;
    let mut settings = BTreeMap::new();
    for row in &rows {
        // A type or context that a later version adds is no lever that leverd knows how to pull.
        if let Some(setting) = setting_of(row).map_err(failed)? {
            settings.insert(setting.name.clone(), setting);
        }
    }
    Ok(settings)
}

/// Reads one setting; names ignore case. `None` where the server has none of that name. The connection may be in no
/// transaction.
pub async fn read_one(client: &Client, name: &str) -> Result<Option<Setting>, PostgresError> {
    let sql = format!("{COLUMNS} WHERE {NO_SECRETS} AND lower(name) = lower($1)");
    let rows = rows(client, &sql, &[(&name, Type::TEXT)]).await.map_err(failed)?;
    rows.first().map(setting_of).transpose().map(Option::flatten).map_err(failed)
}

fn failed(error: tokio_postgres::Error) -> PostgresError {
    PostgresError::statement("reading pg_settings", &error)
}

async fn rows(
    client: &Client,
    sql: &str,
    parameters: &[(&(dyn ToSql + Sync), Type)],
) -> Result<Vec<Row>, tokio_postgres::Error> {
    client.batch_execute(WITHOUT_OWN_LIMITS).await?;
    let found = client.query_typed(sql, parameters).await;
    client.batch_execute("ROLLBACK").await?;
    found
}

fn setting_of(row: &Row) -> Result<Option<Setting>, tokio_postgres::Error> {
    let (Some(vartype), Some(context)) = (vartype_of(row.try_get(3)?), context_of(row.try_get(4)?)) else {
        return Ok(None);
    };
    let text = |index| row.try_get::<_, Option<String>>(index).map(Option::unwrap_or_default);
    let number = |index| -> Result<Option<f64>, tokio_postgres::Error> {
        Ok(row.try_get::<_, Option<&str>>(index)?.and_then(|text| text.parse().ok()))
    };
    Ok(Some(Setting {
        name: row.try_get(0)?,
        value: text(1)?,
        unit: row.try_get(2)?,
        vartype,
        context,
        min: number(5)?,
        max: number(6)?,
        enumvals: row.try_get::<_, Option<Vec<String>>>(7)?.unwrap_or_default(),
        sourced: Sourced {
            source: text(8)?,
            file: row.try_get::<_, Option<&str>>(9)?.map(Into::into),
            line: row.try_get::<_, Option<i32>>(10)?.and_then(|line| line.try_into().ok()),
        },
        reset_value: text(11)?,
        boot_value: text(12)?,
        pending_restart: row.try_get(13)?,
    }))
}

fn vartype_of(text: &str) -> Option<SettingType> {
    Some(match text {
        "bool" => SettingType::Bool,
        "integer" => SettingType::Integer,
        "real" => SettingType::Real,
        "enum" => SettingType::Enum,
        "string" => SettingType::String,
        _ => return None,
    })
}

fn context_of(text: &str) -> Option<Context> {
    Some(match text {
        "internal" => Context::Internal,
        "postmaster" => Context::Postmaster,
        "sighup" => Context::Sighup,
        "superuser-backend" => Context::SuperuserBackend,
        "backend" => Context::Backend,
        "superuser" => Context::Superuser,
        "user" => Context::User,
        _ => return None,
    })
}
