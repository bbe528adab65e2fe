//! The source of a run: its catalog, who it is, and the moment that all rows are read as of.
//!
//! Always holds: rows are read in one snapshot, which lives as long as the sessions that are made here; it has the
//! partitions that are planned, and no other.

use super::sample::Held;
use super::{CONNECT, MigrateError, Running, connections};
use crate::config::{DatabaseEngine, MigrationConfig};
use crate::migrate::catalog;
use crate::migrate::mysql::{MySqlSession, ReadClocks, SessionLimits, Snapshot};
use crate::migrate::plan::{self, Plan};
use crate::migrate::quote;
use crate::migrate::schema::TableName;
use crate::migrate::state;
use crate::migrate::transfer::{self, Source};
use crate::postgres::{Connection, PostgresError, connect_for_work};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio_postgres::Client;

/// What the rows of partitioned tables lie in: the table's number, and the schema and name of each leaf. Not with
/// `pg_partition_tree`, which would keep a lock on every partition for as long as the snapshot lives.
const LEAVES: &str = "\
WITH RECURSIVE below(number, relid) AS (
    SELECT w.number, pg_catalog.to_regclass(w.root)::oid
    FROM ROWS FROM (pg_catalog.unnest($1::bigint[]), pg_catalog.unnest($2::text[])) AS w(number, root)
    UNION ALL
    SELECT b.number, i.inhrelid FROM below AS b JOIN pg_catalog.pg_inherits AS i ON i.inhparent = b.relid)
SELECT b.number, n.nspname::text, c.relname::text
FROM below AS b
JOIN pg_catalog.pg_class AS c ON c.oid = b.relid AND c.relispartition AND c.relkind <> 'p'
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace";

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
                Ok(Self::MySql(Box::new(session?)))
            }
        }
    }

    pub(super) async fn plan(&mut self, config: &MigrationConfig) -> Result<Plan, MigrateError> {
        let catalog = match self {
            Self::Postgres(connection) => {
                catalog::postgres::read(connection.client()).await.map_err(MigrateError::Source)?
            }
            Self::MySql(session) => session.read_catalog().await?,
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

/// Refuses what `strict_consistency` forbids.
fn must_be_one_moment(snapshot: &Snapshot) -> Result<(), MigrateError> {
    if snapshot.is_one_moment() {
        return Ok(());
    }
    let why = match snapshot.without_snapshots.first() {
        Some(table) if snapshot.consistency.is_proven() => {
            format!("{} has an engine without snapshots", quote::shown(table))
        }
        _ => snapshot.consistency.to_string(),
    };
    Err(MigrateError::NotOneMoment { why })
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
    /// The moment that all rows are read as of. It is held until [`Self::let_go`], or the source's connections end.
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
        self.same_partitions(connection.client()).await?;
        self.sequences_again().await?;
        state::set_snapshot(self.target.client(), &self.lease, Some(&snapshot)).await?;
        if self.config.settings.sample_validation {
            self.held = Some(Held::Postgres(snapshot.clone()));
        }
        Ok(Source::Postgres { endpoint: self.config.source.clone(), snapshot })
    }

    /// Sequences that no column owns are asked again: rows of the snapshot may have taken values since the plan was
    /// made. In a session of its own: the snapshot's would keep a lock on each of them.
    async fn sequences_again(&mut self) -> Result<(), MigrateError> {
        if self.plan.ddl.sequences.is_empty() {
            return Ok(());
        }
        let dsn = self.config.source.postgres_dsn();
        let session =
            connect_for_work(dsn.expose(), "leverd source", CONNECT).await.map_err(MigrateError::Source)?;
        let next = catalog::postgres::next_values(session.client()).await.map_err(MigrateError::Source)?;
        self.plan.ddl.go_on_with(&next);
        Ok(())
    }

    /// A partition that was attached since the plan was made has rows that nobody would read.
    async fn same_partitions(&self, source: &Client) -> Result<(), MigrateError> {
        let (mut numbers, mut roots, mut planned) = (Vec::new(), Vec::new(), BTreeSet::new());
        for (number, table) in (0_i64..).zip(&self.plan.tables) {
            let name = |relation: &TableName| (number, relation.schema.clone(), relation.name.clone());
            let leaves = table.relations.iter().map(|relation| &relation.name);
            if leaves.clone().eq([&table.source]) {
                // It is no partitioned table.
                continue;
            }
            numbers.push(number);
            roots.push(quote::qualified(&table.source));
            planned.extend(leaves.map(name));
        }
        if numbers.is_empty() {
            return Ok(());
        }
        let failed = |error: tokio_postgres::Error| {
            MigrateError::Source(PostgresError::statement("looking at the source's partitions", &error))
        };
        let mut found: BTreeSet<(i64, String, String)> = BTreeSet::new();
        for row in source.query(LEAVES, &[&numbers, &roots]).await.map_err(failed)? {
            let leaf = (
                row.try_get(0).map_err(failed)?,
                row.try_get(1).map_err(failed)?,
                row.try_get(2).map_err(failed)?,
            );
            found.insert(leaf);
        }
        match planned.symmetric_difference(&found).next() {
            None => Ok(()),
            Some((_, schema, name)) => Err(MigrateError::Changed {
                run: self.lease.run().to_owned(),
                why: format!("the source's partition {schema}.{name} came or went after the plan was made"),
            }),
        }
    }

    async fn mysql_snapshot(&mut self) -> Result<Source, MigrateError> {
        let settings = &self.config.settings;
        // Later ones could not join: as many as the settings may ever ask for.
        let sessions = settings.workers.saturating_mul(4).min(connections::readers(self.config)).max(1);
        let tables: Vec<TableName> = self.plan.tables.iter().map(|table| table.source.clone()).collect();
        let snapshot =
            Snapshot::open(&self.config.source, sessions as usize, &tables, SessionLimits::default()).await?;
        if settings.strict_consistency {
            must_be_one_moment(&snapshot)?;
        }
        if !snapshot.consistency.is_proven() {
            self.notes.push(snapshot.consistency.to_string());
        }
        for table in &snapshot.without_snapshots {
            let name = quote::shown(table);
            self.notes
                .push(format!("{name} has an engine without snapshots: each chunk is of another moment"));
        }
        state::set_snapshot(self.target.client(), &self.lease, snapshot.position.as_deref()).await?;
        let one_moment = snapshot.is_one_moment();
        let mut sessions = snapshot.sessions;
        for session in &mut sessions {
            session.count_into(ReadClocks {
                converting: Arc::clone(&self.progress.counters.convert_time),
                ..ReadClocks::default()
            });
        }
        let source = Source::of_mysql(sessions);
        if let (true, Source::MySql { idle, .. }) = (self.config.settings.sample_validation, &source) {
            self.held = Some(Held::MySql { sessions: Arc::clone(idle), one_moment });
        }
        Ok(source)
    }

    /// Ends the transaction that holds a PostgreSQL's snapshot: as long as it is open the source vacuums nothing that
    /// was deleted since.
    pub(super) async fn let_go(&self) {
        if let Origin::Postgres(connection) = &self.source
            && let Err(error) = connection.client().batch_execute("ROLLBACK").await
        {
            tracing::debug!("ending the snapshot of the source: {error}");
        }
    }
}
