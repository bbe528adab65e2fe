//! The scratch schema of a calibration: made, filled by short runs, and taken away with all that they left.
//!
//! In: the configuration and a plan of it. Out: a configuration whose target is the scratch schema. Always holds: a
//! schema that leverd did not make is neither filled nor dropped; only tables are tried that need nothing outside of
//! themselves.

use super::calibration::Setting;
use super::session;
use crate::config::{MigrationConfig, TableFilter, TablePattern, TargetMode};
use crate::migrate::ddl::Kind;
use crate::migrate::plan::{Plan, PlannedTable};
use crate::migrate::quote;
use crate::migrate::run::MigrateError;
use crate::migrate::schema::{ColumnDefault, TableName};
use crate::migrate::state::{self, StateError};
use crate::migrate::types::NoteKind;
use crate::postgres::PostgresError;
use std::time::Duration;
use tokio_postgres::Client;

/// The schema of the target that is filled and dropped.
pub(super) const SCHEMA: &str = "leverd_calibration";
/// What leverd says of it, by which it knows it again.
const MARK: &str = "made by leverd migrate calibrate, and dropped by it";

/// A session that was left ends soon, and its lock with it: so often it is tried again, and so long is waited.
pub(super) const TRIES: u32 = 20;
pub(super) const PAUSE: Duration = Duration::from_millis(250);

/// Tables that are tried.
const MOST_TABLES: usize = 4;
/// A table with fewer rows says nothing.
const LEAST_ROWS: u64 = 10_000;

const FOUND: &str = "\
SELECT pg_catalog.obj_description(n.oid, 'pg_namespace') FROM pg_catalog.pg_namespace AS n WHERE n.nspname = $1::text";

/// The tables that are tried: the largest that are fit.
pub(super) fn tables(plan: &Plan) -> Vec<TableName> {
    let fit = plan.tables.iter().filter(|table| is_fit(table, plan));
    fit.take(MOST_TABLES).map(|table| table.source.clone()).collect()
}

/// Whether a table can be made anywhere: without types, functions and sequences of the schema's own. Its name must be
/// one that a pattern can be.
fn is_fit(table: &PlannedTable, plan: &Plan) -> bool {
    let names = format!("{}{}", table.source.schema, table.source.name);
    let plain = !names.contains(['*', '?', '.', '[', ']', '"', '`']);
    let own_default = |default: &ColumnDefault| match default {
        ColumnDefault::None | ColumnDefault::Identity { .. } | ColumnDefault::Serial { .. } => false,
        // The server's own functions have no schema before them.
        ColumnDefault::Expression(text) => text.contains('.'),
        ColumnDefault::Generated(_) => true,
    };
    let laid = plan.ddl.tables.iter().find(|laid| laid.source == table.source);
    let own_type = laid.is_none_or(|laid| {
        let mut notes = laid.columns.iter().flat_map(|column| &column.mapped.notes);
        notes.any(|note| matches!(note.kind, NoteKind::MustExist { .. }))
    });
    // Those elsewhere would be made there, and not in the scratch schema.
    let partitions_at_home =
        table.relations.iter().all(|relation| relation.name.schema == table.source.schema);
    plain
        && partitions_at_home
        && !own_type
        && table.rows >= LEAST_ROWS
        && !table.definition.columns.iter().any(|column| own_default(&column.default))
}

/// The same migration of these tables into the scratch schema, and nothing but their rows.
pub(super) fn config(config: &MigrationConfig, tables: &[TableName], setting: Setting) -> MigrationConfig {
    let mut scratch = config.clone();
    scratch.target.schema = SCHEMA.to_owned();
    let settings = &mut scratch.settings;
    settings.chunk_size = setting.chunk_rows;
    settings.write_ahead_writers = setting.writers;
    settings.target_mode = TargetMode::DropRecreate;
    settings.create_indexes = false;
    settings.create_foreign_keys = false;
    settings.create_check_constraints = false;
    settings.strict_consistency = false;
    settings.sample_validation = false;
    settings.ai_adjust = false;
    let pattern =
        |table: &TableName| TablePattern { schema: Some(table.schema.clone()), name: table.name.clone() };
    settings.tables = TableFilter { include: tables.iter().map(pattern).collect(), exclude: Vec::new() };
    scratch
}

/// What a plan would make outside of the scratch schema, and so leave behind.
pub(super) fn made_outside(plan: &Plan) -> Vec<String> {
    let makes = |kind: Kind| {
        matches!(
            kind,
            Kind::Schema | Kind::Type | Kind::Sequence | Kind::Table | Kind::Partition | Kind::View
        )
    };
    let inside = [format!(" {SCHEMA}."), format!(" \"{SCHEMA}\".")];
    let statements = plan.ddl.statements.iter().filter(|statement| makes(statement.kind));
    statements
        .map(|statement| statement.describes.clone())
        .filter(|what| !what.ends_with(SCHEMA) && !inside.iter().any(|name| what.contains(name)))
        .collect()
}

/// Who is at work in the schema that is to be migrated into.
pub(super) async fn at_work(config: &MigrationConfig) -> Result<Option<String>, MigrateError> {
    let connection = session::to_look(config).await?;
    let client = connection.client();
    if state::installed_version(client).await?.is_none() {
        return Ok(None);
    }
    let holder = state::holder(client, std::slice::from_ref(&config.target.schema)).await?;
    Ok(holder.map(|holder| holder.to_string()))
}

/// Makes the schema anew. `false`: there is one that leverd did not make; nothing was done.
pub(super) async fn make(config: &MigrationConfig) -> Result<bool, MigrateError> {
    let connection = session::to_work(config).await?;
    let client = connection.client();
    if found(client).await? == Found::Foreign {
        return Ok(false);
    }
    let statements = format!(
        "BEGIN; {}; CREATE SCHEMA {name}; COMMENT ON SCHEMA {name} IS {}; COMMIT",
        drop_statement(),
        quote::literal(MARK),
        name = quote::identifier(SCHEMA)
    );
    sent(client, "making the scratch schema", &statements).await?;
    Ok(true)
}

/// Drops the schema, where it is leverd's, and forgets the runs.
pub(super) async fn remove(config: &MigrationConfig, runs: &[String]) -> Result<(), MigrateError> {
    let connection = session::to_work(config).await?;
    let client = connection.client();
    if found(client).await? == Found::Own {
        sent(client, "dropping the scratch schema", &drop_statement()).await?;
    }
    for run in runs {
        forget(client, run).await?;
    }
    Ok(())
}

/// Forgets a run; its own session may still be going.
async fn forget(client: &Client, run: &str) -> Result<(), MigrateError> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        match state::forget(client, run).await {
            // Not every try began a run.
            Ok(()) | Err(StateError::UnknownRun { .. }) => return Ok(()),
            Err(StateError::Held(_)) if attempt < TRIES => tokio::time::sleep(PAUSE).await,
            Err(error) => return Err(error.into()),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Own,
    Foreign,
}

async fn found(client: &Client) -> Result<Found, MigrateError> {
    let failed = |error: tokio_postgres::Error| {
        MigrateError::Target(PostgresError::statement("looking for the scratch schema", &error))
    };
    let Some(row) = client.query_opt(FOUND, &[&SCHEMA]).await.map_err(failed)? else {
        return Ok(Found::Nothing);
    };
    let comment: Option<String> = row.try_get(0).map_err(failed)?;
    Ok(if comment.as_deref() == Some(MARK) { Found::Own } else { Found::Foreign })
}

fn drop_statement() -> String {
    format!("DROP SCHEMA IF EXISTS {} CASCADE", quote::identifier(SCHEMA))
}

async fn sent(client: &Client, doing: &str, sql: &str) -> Result<(), MigrateError> {
    client
        .batch_execute(sql)
        .await
        .map_err(|error| MigrateError::Target(PostgresError::statement(doing, &error)))
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{config as file, plan};
    use super::*;

    const SETTING: Setting = Setting { chunk_rows: 25_000, writers: 4 };

    #[test]
    fn the_largest_fit_tables_are_tried() {
        let mut plan = plan();
        let names =
            |plan: &Plan| -> Vec<String> { tables(plan).into_iter().map(|table| table.name).collect() };
        assert_eq!(names(&plan), ["orders", "log"]);
        plan.tables[0].definition.columns[0].default =
            ColumnDefault::Expression("nextval('public.ids'::regclass)".to_owned());
        assert_eq!(names(&plan), ["log"]);
        plan.tables[1].source.name = "a*".to_owned();
        assert!(names(&plan).is_empty());
    }

    #[test]
    fn rows_go_into_the_scratch_schema_alone() {
        let table = TableName { schema: "public".to_owned(), name: "orders".to_owned() };
        let scratch = config(&file("  target_mode: upsert\n  ai_adjust: true\n"), &[table], SETTING);
        assert_eq!(scratch.target.schema, SCHEMA);
        assert_eq!(scratch.settings.target_mode, TargetMode::DropRecreate);
        assert_eq!((scratch.settings.chunk_size, scratch.settings.write_ahead_writers), (25_000, 4));
        assert!(!scratch.settings.ai_adjust && !scratch.settings.create_indexes);
        let patterns: Vec<String> = scratch.settings.tables.include.iter().map(ToString::to_string).collect();
        assert_eq!(patterns, ["public.orders"]);
        assert!(scratch.settings.tables.exclude.is_empty());
    }

    #[test]
    fn what_would_stay_is_told() {
        // This plan's target is the schema public.
        assert_eq!(made_outside(&plan()).len(), 4);
        let mut inside = plan();
        for statement in &mut inside.ddl.statements {
            statement.describes = statement.describes.replace("public", SCHEMA);
        }
        assert!(made_outside(&inside).is_empty(), "{:?}", made_outside(&inside));
    }
}
