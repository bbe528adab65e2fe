//! The source of a run: its catalog, who it is, and the moment that all rows are read as of.
//!
//! Always holds: rows are read in one snapshot, which lives as long as the sessions that are made here.

use super::{CONNECT, MigrateError, Running};
use crate::config::{DatabaseEngine, MigrationConfig};
use crate::migrate::catalog;
use crate::migrate::mysql::{MySqlError, MySqlSession, ReadClocks, SessionLimits, Snapshot};
use crate::migrate::plan::{self, Plan};
use crate::migrate::quote;
use crate::migrate::schema::TableName;
use crate::migrate::state;
use crate::migrate::transfer::{self, Source};
use crate::postgres::{Connection, PostgresError, connect_for_work};
use std::sync::Arc;

/// The source before its rows are read.
#[derive(Debug)]
pub(super) enum Origin {
    /// Its session holds the snapshot later.
    Postgres(Connection),
    /// Its snapshot's sessions are opened later.
    MySql(Box<MySqlSession>),
}

impl Origin {
    pub(super) async fn open(config: &MigrationConfig) -> Result<Self, MigrateError> {
        match config.source.engine {
            DatabaseEngine::Postgres => {
                let dsn = config.source.postgres_dsn();
                let opened = connect_for_work(dsn.expose(), "leverd source", CONNECT).await;
                Ok(Self::Postgres(opened.map_err(MigrateError::Source)?))
            }
            DatabaseEngine::MySql | DatabaseEngine::MariaDb => {
                let session = MySqlSession::connect(&config.source, SessionLimits::default()).await;
                Ok(Self::MySql(Box::new(session.map_err(of_mysql)?)))
            }
        }
    }

    pub(super) async fn plan(&mut self, config: &MigrationConfig) -> Result<Plan, MigrateError> {
        let catalog = match self {
            Self::Postgres(connection) => {
                catalog::postgres::read(connection.client()).await.map_err(MigrateError::Source)?
            }
            Self::MySql(session) => session.read_catalog().await.map_err(of_mysql)?,
        };
        Ok(plan::make(catalog, config)?)
    }

    /// What tells a source from another that is called the same.
    pub(super) async fn fingerprint(&self, config: &MigrationConfig) -> Result<String, MigrateError> {
        match self {
            Self::Postgres(connection) => fingerprint(connection).await,
            // Not every flavour has an identity of its own.
            Self::MySql(_) => {
                let source = &config.source;
                Ok(format!("{}:{}/{}", source.host, source.port, source.database))
            }
        }
    }
}

fn of_mysql(error: MySqlError) -> MigrateError {
    MigrateError::OtherSource { hint: error.hint().map(ToString::to_string), why: error.to_string() }
}

async fn fingerprint(source: &Connection) -> Result<String, MigrateError> {
    let failed = |error: tokio_postgres::Error| {
        MigrateError::Source(PostgresError::statement("asking the source who it is", &error))
    };
    let sql = "SELECT pg_catalog.current_database(), d.oid::bigint FROM pg_catalog.pg_database AS d \
               WHERE d.datname = pg_catalog.current_database()";
    let row = source.client().query_one(sql, &[]).await.map_err(failed)?;
    let (name, oid): (String, i64) = (row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?);
    // Not every role may ask for it.
    let system =
        source.client().query_one("SELECT system_identifier::text FROM pg_control_system()", &[]).await;
    let system: String = system.ok().and_then(|row| row.try_get(0).ok()).unwrap_or_default();
    Ok(format!("{system}/{oid}/{name}"))
}

impl Running<'_> {
    /// The moment that all rows are read as of. It is held until the source's connections end.
    pub(super) async fn snapshot(&mut self) -> Result<Source, MigrateError> {
        let connection = match &self.source {
            Origin::Postgres(connection) => connection,
            Origin::MySql(_) => return self.mysql_snapshot().await,
        };
        let failed = |error: tokio_postgres::Error| {
            MigrateError::Source(PostgresError::statement("exporting a snapshot", &error))
        };
        let begin = format!("{}; BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", transfer::EXACT_TEXT);
        connection.client().batch_execute(&begin).await.map_err(failed)?;
        let row = connection.client().query_one("SELECT pg_catalog.pg_export_snapshot()", &[]).await;
        let snapshot: String = row.and_then(|row| row.try_get(0)).map_err(failed)?;
        state::set_snapshot(self.target.client(), &self.lease, Some(&snapshot)).await?;
        Ok(Source::Postgres { endpoint: self.config.source.clone(), snapshot })
    }

    async fn mysql_snapshot(&mut self) -> Result<Source, MigrateError> {
        let settings = &self.config.settings;
        // Later ones could not join: as many as the settings may ever ask for.
        let sessions = settings.workers.saturating_mul(4).min(settings.max_source_connections - 1).max(1);
        let tables: Vec<TableName> = self.plan.tables.iter().map(|table| table.source.clone()).collect();
        let snapshot =
            Snapshot::open(&self.config.source, sessions as usize, &tables, SessionLimits::default())
                .await
                .map_err(of_mysql)?;
        if !snapshot.consistency.is_proven() {
            self.notes.push(snapshot.consistency.to_string());
        }
        for table in &snapshot.without_snapshots {
            let name = quote::shown(table);
            self.notes
                .push(format!("{name} has an engine without snapshots: each chunk is of another moment"));
        }
        state::set_snapshot(self.target.client(), &self.lease, snapshot.position.as_deref()).await?;
        let mut sessions = snapshot.sessions;
        for session in &mut sessions {
            session.count_into(ReadClocks {
                converting: Arc::clone(&self.progress.counters.convert_time),
                ..ReadClocks::default()
            });
        }
        Ok(Source::of_mysql(sessions))
    }
}
