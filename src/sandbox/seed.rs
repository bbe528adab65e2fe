//! The sandbox's schema and made-up data: bounded, and built by Postgres itself.

use super::error::SandboxError;
use super::files;
use super::place::{Owner, Place};
use super::postgres::{execute, open, open_as};
use super::scenario::Load;
use super::state::{LOAD_ROLE, State};
use crate::postgres::{PostgresError, connect};
use std::path::PathBuf;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(120);

/// Seeds, unless the data folder was kept and holds this very seed.
pub(super) async fn seed_once(
    place: &Place,
    state: &State,
    load: &Load,
    owner: Option<&Owner>,
) -> Result<(), SandboxError> {
    let (marker, wanted) = (marker(place), tables(load));
    if std::fs::read_to_string(&marker).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    seed(state, load).await?;
    files::write(&marker, &wanted, owner)
}

/// Why a load's tables cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The server does not do it.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// They are there, and not as this scenario has them.
    #[error(
        "the tables capsim_* in this database were not made for this scenario as it is now; drop them, or take another database"
    )]
    Another,
}

/// Makes a load's tables in a database of somebody else's, unless they are there. The first table's comment tells
/// which seed they are.
pub(super) async fn seed_tables_once(dsn: &str, load: &Load) -> Result<(), SeedError> {
    const FOUND: &str = "SELECT to_regclass('capsim_accounts') IS NOT NULL,
                                obj_description(to_regclass('capsim_accounts'), 'pg_class') IS NOT DISTINCT FROM $1";
    let connection = connect(dsn, TIMEOUT).await?;
    let client = connection.client();
    let failed = |error: tokio_postgres::Error| PostgresError::statement("making the load's tables", &error);
    let sql = tables(load);
    let seed: String = client.query_one("SELECT md5($1)", &[&sql]).await.map_err(failed)?.get(0);
    let row = client.query_one(FOUND, &[&seed]).await.map_err(failed)?;
    match (row.get(0), row.get(1)) {
        (true, true) => return Ok(()),
        (true, false) => return Err(SeedError::Another),
        (false, _) => tracing::info!("making the load's tables"),
    }
    // One text is one transaction: they are there as a whole, with the comment, or not at all.
    let marked = format!("{sql} COMMENT ON TABLE capsim_accounts IS '{seed}';");
    client.batch_execute(&marked).await.map_err(failed)?;
    for table in ["capsim_accounts", "capsim_items"] {
        client.batch_execute(&format!("VACUUM (ANALYZE, FREEZE) {table}")).await.map_err(failed)?;
    }
    Ok(())
}

/// Nothing of the present seed may be used again.
pub(super) fn forget(place: &Place) -> Result<(), SandboxError> {
    let marker = marker(place);
    match std::fs::remove_file(&marker) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(SandboxError::file("removing", &marker)(error))
        }
        _ => Ok(()),
    }
}

fn marker(place: &Place) -> PathBuf {
    place.data().join("leverd-seed.sql")
}

/// Creates role, database and tables anew and fills them.
async fn seed(state: &State, load: &Load) -> Result<(), SandboxError> {
    let admin = open(state, "postgres", TIMEOUT).await?;
    execute(&admin, "dropping the database", "DROP DATABASE IF EXISTS capsim").await?;
    execute(&admin, "dropping the load's role", &format!("DROP ROLE IF EXISTS {LOAD_ROLE}")).await?;
    execute(&admin, "creating the load's role", &format!("CREATE ROLE {LOAD_ROLE} LOGIN")).await?;
    let create = format!("CREATE DATABASE capsim OWNER {LOAD_ROLE}");
    execute(&admin, "creating the database", &create).await?;
    drop(admin);
    let owner = open_as(LOAD_ROLE, state, "capsim", TIMEOUT).await?;
    execute(&owner, "seeding", &tables(load)).await?;
    drop(owner);
    let connection = open(state, "capsim", TIMEOUT).await?;
    // VACUUM does not run inside the implicit transaction of several statements.
    execute(&connection, "vacuuming", "VACUUM (ANALYZE, FREEZE)").await?;
    execute(&connection, "writing the seed to disk", "CHECKPOINT").await
}

fn tables(load: &Load) -> String {
    let (accounts, items) = (&load.accounts, &load.items);
    let account_bytes = if accounts.compressible {
        format!("convert_to(repeat('x', {}), 'UTF8')", accounts.row_bytes.get())
    } else {
        bytes_of(accounts.row_bytes.get())
    };
    // As many as are allowed, where large queries are asked: the table may be too small to be given them by itself.
    let items_with = if load.analytics.connections.get() > 0 { " WITH (parallel_workers = 16)" } else { "" };
    format!(
        "CREATE TABLE capsim_accounts (id int PRIMARY KEY, balance bigint NOT NULL, note bytea NOT NULL)
           WITH (fillfactor = {fillfactor});
         INSERT INTO capsim_accounts SELECT i, 0, {account_bytes} FROM generate_series(0, {last_account}) i;
         CREATE TABLE capsim_items (id int PRIMARY KEY, label text NOT NULL){items_with};
         INSERT INTO capsim_items SELECT i, {item_text} FROM generate_series(0, {last_item}) i;
         CREATE TABLE capsim_events_0 (seq bigint NOT NULL, at timestamptz NOT NULL DEFAULT now(), body text NOT NULL);
         CREATE TABLE capsim_events_1 (LIKE capsim_events_0 INCLUDING ALL);
         CREATE TABLE capsim_jobs (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text NOT NULL);",
        fillfactor = accounts.fillfactor.get(),
        last_account = accounts.rows.get() - 1,
        item_text = text_of(items.row_bytes.get()),
        last_item = items.rows.get() - 1,
    )
}

/// SQL for a text of so many bytes without any order.
fn text_of(bytes: u32) -> String {
    format!("left({}, {bytes})", digests(bytes.div_ceil(32)))
}

/// SQL for so many bytes that no compression makes smaller: WAL compression must not cure what it does not cure.
fn bytes_of(bytes: u32) -> String {
    format!("substring(decode({}, 'hex') from 1 for {bytes})", digests(bytes.div_ceil(16)))
}

fn digests(count: u32) -> String {
    let pieces: Vec<String> = (0..count).map(|n| format!("md5('{n}:' || i)")).collect();
    pieces.join(" || ")
}
