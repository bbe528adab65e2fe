//! Comparing what a migration brought with its source: opens both sides, and has the plan's tables verified.
//!
//! In: a configuration, and how much is to be compared. Out: [`verify`](super::verify)'s report. Always holds: nothing
//! is written on either side; rows that the last run into the same schema rejected are told apart from rows that are
//! missing for no known reason. It says nothing of indexes and constraints.

use super::mysql::{SessionLimits, Snapshot};
use super::plan::{Plan, PlannedTable};
use super::run::{self, CONNECT, MigrateError};
use super::schema::TableName;
use super::state::{self, RunState, VERSION};
use super::verify::{
    AskError, Depth, MySqlSide, Others, PostgresSide, Report, Settings, Subject, TableReport, VerifyError,
    verify,
};
use crate::config::{DatabaseEndpoint, DatabaseEngine, MigrationConfig, TargetMode};
use crate::postgres::{PostgresError, connect_for_work};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Among so many of the last runs the one into the same schema is looked for.
const MOST_RUNS: u32 = 50;

/// Why nothing could be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// There is no plan, or a side cannot be opened.
    #[error(transparent)]
    Migration(#[from] MigrateError),
    /// A side cannot be asked what it is.
    #[error(transparent)]
    Comparing(#[from] VerifyError),
    /// The source refuses what its sessions are set to.
    #[error("the source: {0}")]
    Source(#[source] AskError),
}

/// Compares all tables of the plan with `sessions` sessions on each side. `told` hears of each table when it is done.
///
/// # Errors
/// There is no plan, or a side cannot be opened or asked. What fails in one table is in its report.
pub async fn compare(
    config: &MigrationConfig,
    depth: Depth,
    sessions: usize,
    told: &mut (dyn FnMut(&TableReport) + Send),
) -> Result<Report, CompareError> {
    let plan = run::plan(config).await?;
    let subjects = subjects(&plan, &rejected(config).await?);
    let others = others(config.settings.target_mode);
    let settings = Settings {
        depth,
        // Nobody kept it from being written to since.
        source_may_have_changed: true,
        concurrency: sessions.max(1),
        ..Settings::new(plan.engine, others)
    };
    let target = postgres(&config.target, sessions).await.map_err(MigrateError::Target)?;
    let target = Arc::new(target);
    let report = match config.source.engine {
        DatabaseEngine::Postgres => {
            let source = postgres(&config.source, sessions).await.map_err(MigrateError::Source)?;
            verify(Arc::new(source), target, &subjects, &settings, told).await?
        }
        DatabaseEngine::MySql | DatabaseEngine::MariaDb => {
            let tables: Vec<TableName> = plan.tables.iter().map(|table| table.source.clone()).collect();
            let snapshot = Snapshot::open(&config.source, sessions.max(1), &tables, SessionLimits::default());
            let snapshot = snapshot.await.map_err(MigrateError::from)?;
            let source = MySqlSide::of(snapshot).await.map_err(CompareError::Source)?;
            verify(Arc::new(source), target, &subjects, &settings, told).await?
        }
    };
    Ok(report)
}

/// A plan's tables, as they are compared. `rejected`: how many rows are known to be missing, by the table's name in the
/// source.
pub(crate) fn subjects(plan: &Plan, rejected: &BTreeMap<TableName, u64>) -> Vec<Subject> {
    let of_table = |table: &PlannedTable| {
        let target = plan.ddl.tables.iter().find(|laid| laid.source == table.source)?;
        let rejected = rejected.get(&table.source).copied().unwrap_or(0);
        Some(Subject { source: table.definition.clone(), target: target.clone(), rejected })
    };
    plan.tables.iter().filter_map(of_table).collect()
}

/// Whether other rows than the source's may be in the target.
pub(crate) fn others(mode: TargetMode) -> Others {
    if mode.keeps_rows() { Others::Allowed } else { Others::Refused }
}

async fn postgres(endpoint: &DatabaseEndpoint, sessions: usize) -> Result<PostgresSide, PostgresError> {
    PostgresSide::open(endpoint.postgres_dsn().expose(), sessions, None, CONNECT).await
}

/// Rows that the last run into the same schema rejected, by the table's name in the source.
async fn rejected(config: &MigrationConfig) -> Result<BTreeMap<TableName, u64>, MigrateError> {
    let dsn = config.target.postgres_dsn();
    let connection =
        connect_for_work(dsn.expose(), "leverd verify", CONNECT).await.map_err(MigrateError::Target)?;
    let client = connection.client();
    if state::installed_version(client).await? != Some(VERSION) {
        return Ok(BTreeMap::new());
    }
    let runs = state::last_runs(client, MOST_RUNS).await?;
    let last = runs.iter().find(|run| run.target_schemas.contains(&config.target.schema));
    let Some(run) = last else { return Ok(BTreeMap::new()) };
    let state = state::load(client, &run.id).await?;
    Ok(rejected_of(&state))
}

fn rejected_of(state: &RunState) -> BTreeMap<TableName, u64> {
    let of_table = |table: &state::TableState| {
        let chunks = table.parts.iter().flat_map(|part| &part.chunks);
        (table.table.source.clone(), chunks.map(|chunk| chunk.rejected).fold(0, u64::saturating_add))
    };
    state.tables.iter().map(of_table).filter(|(_, rows)| *rows > 0).collect()
}
