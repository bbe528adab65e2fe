//! `pg_settings`, whole, on PostgreSQL 12 to 18.
//!
//! Rows that only `pg_read_all_settings` may see are absent for other roles, and `sourcefile` is null for them.
//! Parameters that may hold a credential are never read.

use super::PostgresError;
use crate::model::{Context, Setting, SettingType, Sourced};
use std::collections::BTreeMap;
use tokio_postgres::{Client, Row};

/// Connection strings and commands may carry passwords; no lever is among them.
const SQL: &str = "\
SELECT name, setting, unit, vartype, context, min_val, max_val, enumvals, source, sourcefile, sourceline,
       reset_val, boot_val, pending_restart
FROM pg_catalog.pg_settings
WHERE name <> ALL ('{primary_conninfo,ssl_passphrase_command,archive_command,restore_command,\
archive_cleanup_command,recovery_end_command}'::text[])";

/// Reads all settings by name, in one round trip.
pub async fn read(client: &Client) -> Result<BTreeMap<String, Setting>, PostgresError> {
    let failed = |error: tokio_postgres::Error| PostgresError::statement("reading pg_settings", &error);
    let rows = client.query_typed(SQL, &[]).await.map_err(failed)?;
    let mut settings = BTreeMap::new();
    for row in &rows {
        // A type or context that a later version adds is no lever that leverd knows how to pull.
        if let Some(setting) = setting_of(row).map_err(failed)? {
            settings.insert(setting.name.clone(), setting);
        }
    }
    Ok(settings)
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
