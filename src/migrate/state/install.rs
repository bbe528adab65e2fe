//! The schema `leverd_migration` and its tables: made where they are missing, and checked to be this version's.
//!
//! Always holds: installing twice changes nothing, and two that install at once get the same; tables of somebody else's
//! are never written into; a version that is not known is refused, not changed. A database administrator may make the
//! empty schema beforehand: then the role needs no right to make one.

use super::{Reader, StateError, ask, failed};
use tokio_postgres::Client;

/// The version of the tables that this leverd makes and knows.
pub const VERSION: i32 = 1;

/// The statements, in one message and so in one transaction.
const TABLES: &str = include_str!("install.sql");

/// Two that install at once do it one after the other. For the transaction that the message is.
const ONE_AT_A_TIME: &str = "SELECT pg_catalog.pg_advisory_xact_lock(\
    pg_catalog.hashtextextended('leverd_migration: install', 0));\n";

const SCHEMA: &str = "CREATE SCHEMA IF NOT EXISTS leverd_migration;\n";

const LOOK: &str = "\
SELECT pg_catalog.to_regnamespace('leverd_migration') IS NOT NULL,
       pg_catalog.to_regclass('leverd_migration.meta') IS NOT NULL,
       EXISTS (SELECT 1 FROM pg_catalog.pg_class AS c
               WHERE c.relnamespace = pg_catalog.to_regnamespace('leverd_migration')::oid),
       EXISTS (SELECT 1 FROM pg_catalog.pg_attribute AS a
               WHERE a.attrelid = pg_catalog.to_regclass('leverd_migration.part')::oid AND a.attname = 'file')";

/// Parts had no such column at first. Nobody who does not know it is disturbed by it: the version is the same.
const ADD_FILE: &str = "SET LOCAL lock_timeout = '10s'; \
     ALTER TABLE leverd_migration.part ADD COLUMN IF NOT EXISTS file bigint";

const READ_VERSION: &str = "SELECT m.version FROM leverd_migration.meta AS m";

/// What a target has under the schema's name.
struct Found {
    schema: bool,
    meta: bool,
    relations: bool,
    file: bool,
}

/// Makes the schema and its tables, where they are missing.
///
/// The connection must be in no transaction. Refused where the schema has another version, or is somebody else's.
pub async fn install(client: &Client) -> Result<(), StateError> {
    let found = look(client).await?;
    if !found.meta {
        if found.relations {
            return Err(StateError::Foreign);
        }
        let schema = if found.schema { "" } else { SCHEMA };
        let statements = format!("{ONE_AT_A_TIME}{schema}{TABLES}");
        client.batch_execute(&statements).await.map_err(failed("making the schema leverd_migration"))?;
    }
    match version_of(client).await? {
        VERSION => {}
        found => return Err(StateError::OtherVersion { found, known: VERSION }),
    }
    if found.meta && !found.file {
        client.batch_execute(ADD_FILE).await.map_err(failed("adding a column to leverd_migration.part"))?;
    }
    Ok(())
}

/// The version of the tables that are there; `None`: there are none, and so there was no run. Refused where the schema
/// is somebody else's. It changes nothing, and a version that is not known is no error.
pub async fn installed_version(client: &Client) -> Result<Option<i32>, StateError> {
    let found = look(client).await?;
    if found.meta {
        version_of(client).await.map(Some)
    } else if found.relations {
        Err(StateError::Foreign)
    } else {
        Ok(None)
    }
}

async fn look(client: &Client) -> Result<Found, StateError> {
    let doing = "looking for the schema leverd_migration";
    let found = ask(client, doing, LOOK, &[], |row: Reader<'_>| {
        Ok(Found { schema: row.get(0)?, meta: row.get(1)?, relations: row.get(2)?, file: row.get(3)? })
    });
    let found = found.await?.pop();
    found.ok_or_else(|| StateError::Damaged { what: format!("{doing}: no answer") })
}

async fn version_of(client: &Client) -> Result<i32, StateError> {
    let doing = "reading the version of the schema leverd_migration";
    let versions = ask(client, doing, READ_VERSION, &[], |row: Reader<'_>| row.get::<i32>(0)).await?;
    match versions.as_slice() {
        [version] => Ok(*version),
        other => Err(StateError::Damaged { what: format!("{doing}: {} rows instead of one", other.len()) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables() -> Vec<&'static str> {
        let after = "CREATE TABLE IF NOT EXISTS ";
        TABLES.lines().filter_map(|line| line.strip_prefix(after)?.split(' ').next()).collect()
    }

    #[test]
    fn every_table_is_in_the_schema_and_explained() {
        let tables = tables();
        assert_eq!(tables.len(), 8, "{tables:?}");
        for table in tables {
            assert!(table.starts_with("leverd_migration."), "{table}");
            assert!(TABLES.contains(&format!("COMMENT ON TABLE {table} IS")), "{table}");
        }
        assert!(TABLES.contains("COMMENT ON SCHEMA leverd_migration IS"));
    }

    #[test]
    fn the_version_that_is_written_is_the_version_that_is_known() {
        let written = format!("INSERT INTO leverd_migration.meta (version) VALUES ({VERSION}) ON CONFLICT");
        assert!(TABLES.contains(&written));
    }

    #[test]
    fn nothing_that_is_there_is_changed() {
        for word in ["DROP TABLE", "ALTER", "DELETE FROM", "UPDATE ", "CREATE TABLE leverd"] {
            assert!(!TABLES.contains(word), "{word}");
        }
    }
}
