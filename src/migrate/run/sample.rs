//! The sample of rows that is compared with the source before a run is called complete, where `sample_validation` asks
//! for it.
//!
//! In: the run's snapshot, which is held for this. Out: what [`verify`] says of it. Always holds: all rows are counted
//! on both sides; the source is read in the snapshot that the rows came from, so that what others write there meanwhile
//! is no difference. Where that snapshot is gone, or rows came in an earlier process's, the report says that a
//! difference may be a change since then. It only reads.

use super::{CONNECT, MigrateError, Running, connections};
use crate::config::{DatabaseEngine, MigrationConfig};
use crate::migrate::adjust::Stage;
use crate::migrate::comparison::{others, subjects};
use crate::migrate::mysql::{MySqlSession, SessionLimits, Snapshot};
use crate::migrate::schema::TableName;
use crate::migrate::state;
use crate::migrate::transfer::IdleSessions;
use crate::migrate::verify::{self, Depth, MySqlSide, PostgresSide, Subject};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

/// Rows of each table that are compared, about. A table with less than twice as many is compared whole.
const ROWS: u64 = 10_000;

/// Questions at once, each to both sides.
const AT_ONCE: u32 = 4;

/// The run's snapshot, for after its rows are read.
#[derive(Debug)]
pub(super) enum Held {
    /// The name under which the source's session has exported it.
    Postgres(String),
    /// Sessions that are in it, where readers give them back; and whether they see one moment for certain.
    MySql { sessions: IdleSessions, one_moment: bool },
}

impl Running<'_> {
    /// Compares a sample; `None`: nobody asked for it. Differences are no error: they are in the report.
    pub(super) async fn sample(&mut self) -> Result<Option<verify::Report>, MigrateError> {
        if !self.config.settings.sample_validation {
            return Ok(None);
        }
        self.progress.enter(Stage::Verifying);
        let totals = state::table_totals(self.target.client(), self.lease.run()).await?;
        let mut rejected: BTreeMap<TableName, u64> = BTreeMap::new();
        for (number, table) in (0_u32..).zip(&self.plan.tables) {
            if let Some(total) = totals.iter().find(|total| total.table == number) {
                rejected.insert(table.source.clone(), total.rejected);
            }
        }
        let subjects = subjects(&self.plan, &rejected);
        let held = self.held.take();
        let report = tokio::select! {
            report = self.compared(&subjects, held) => report?,
            () = self.stop.cancelled() => return Err(MigrateError::Stopped),
        };
        self.let_go().await;
        Ok(Some(report))
    }

    async fn compared(
        &self,
        subjects: &[Subject],
        held: Option<Held>,
    ) -> Result<verify::Report, MigrateError> {
        let config = self.config;
        let sessions = sessions(config);
        let dsn = config.target.postgres_dsn();
        let target = PostgresSide::open(dsn.expose(), sessions, None, CONNECT).await;
        let target = Arc::new(target.map_err(MigrateError::Target)?);
        let mut settings = verify::Settings {
            // Another run, another sample.
            depth: Depth::Sample { rows: ROWS, seed: self.request.now.timestamp().unsigned_abs() },
            concurrency: sessions,
            ..verify::Settings::new(self.plan.engine, others(config.settings.target_mode))
        };
        let mut told = |_: &verify::TableReport| {};
        let compared = match config.source.engine {
            DatabaseEngine::Postgres => {
                let (source, is_held) = self.postgres_side(sessions, held).await?;
                settings.source_may_have_changed = self.resumed || !is_held;
                verify::verify(Arc::new(source), target, subjects, &settings, &mut told).await
            }
            DatabaseEngine::MySql | DatabaseEngine::MariaDb => {
                let (source, is_held) = self.mysql_side(sessions, held).await?;
                settings.source_may_have_changed = self.resumed || !is_held;
                verify::verify(Arc::new(source), target, subjects, &settings, &mut told).await
            }
        };
        compared.map_err(|error| MigrateError::Moving(error.to_string()))
    }

    /// The source, and whether it is seen in the run's own snapshot.
    async fn postgres_side(
        &self,
        sessions: usize,
        held: Option<Held>,
    ) -> Result<(PostgresSide, bool), MigrateError> {
        let dsn = self.config.source.postgres_dsn();
        if let Some(Held::Postgres(snapshot)) = &held {
            match PostgresSide::open(dsn.expose(), sessions, Some(snapshot.as_str()), CONNECT).await {
                Ok(side) => return Ok((side, true)),
                Err(error) => gone(&error),
            }
        }
        let side = PostgresSide::open(dsn.expose(), sessions, None, CONNECT).await;
        Ok((side.map_err(MigrateError::Source)?, false))
    }

    async fn mysql_side(
        &self,
        sessions: usize,
        held: Option<Held>,
    ) -> Result<(MySqlSide, bool), MigrateError> {
        if let Some(Held::MySql { sessions, one_moment }) = held {
            let own: Vec<MySqlSession> =
                std::mem::take(&mut *sessions.lock().unwrap_or_else(PoisonError::into_inner));
            let alive: Vec<MySqlSession> = own.into_iter().filter(|session| !session.is_lost()).collect();
            if !alive.is_empty() {
                match MySqlSide::of_sessions(alive, one_moment).await {
                    Ok(side) => return Ok((side, true)),
                    Err(error) => gone(&error),
                }
            }
        }
        let tables: Vec<TableName> = self.plan.tables.iter().map(|table| table.source.clone()).collect();
        let opened = Snapshot::open(&self.config.source, sessions, &tables, SessionLimits::default()).await;
        let side = MySqlSide::of(opened?).await;
        let side = side.map_err(|error| MigrateError::OtherSource { why: error.to_string(), hint: None })?;
        Ok((side, false))
    }
}

fn gone(error: &dyn std::error::Error) {
    tracing::warn!(
        "the run's snapshot of the source is gone, so the sample is compared with what is there now: {error}"
    );
}

/// As many as both sides have room for.
fn sessions(config: &MigrationConfig) -> usize {
    connections::afterwards(config, AT_ONCE.min(connections::readers(config)) as usize)
}
