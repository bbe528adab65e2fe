//! A migration from its beginning to its end.
//!
//! ```text
//!   catalog ─▶ plan ─▶ lease ─▶ snapshot ─▶ tables made ─▶ parts ─▶ rows moved ─┬─▶ sample ─▶ validated ─▶ sequences,
//!                                                            each loaded table ─┴─▶ indexes, keys, checks      views
//! ```
//!
//! In: a configuration. Out: a [`Report`]. Always holds: what is done is written down in the target together with what
//! it did, so that whatever ends the run, `resume` goes on behind it; nothing is dropped or emptied before the lease is
//! taken; all of a run's rows are read in one snapshot of the source, and a run that goes on in another one says so.

mod beside;
mod connections;
mod error;
mod files;
mod form;
mod left;
mod load;
mod origin;
mod positions;
mod prediction;
mod sample;

use super::adjust::{Compare, Settings, Stage};
use super::adjuster::Summary;
use super::brain::Decider;
use super::brain::learner::Records;
use super::build::{self, Builder, Site, Step};
use super::ddl::{Kind, Phase};
use super::plan::{Plan, PlannedTable};
use super::progress::Progress;
use super::quote;
use super::schema::TableName;
use super::state::{self, Lease, MovedTable, NewRun, Outcome, Run, RunState, Who};
use super::verify;
use crate::config::{MigrationConfig, TargetMode};
use crate::postgres::{Connection, PostgresError, connect_for_work};
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

pub use super::build::FailedStatement;
pub use beside::{Beside, Leased, Levels};
pub use error::MigrateError;

use beside::Steering;
use files::Files;
use origin::Origin;
use sample::Held;

/// How a run begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// A new one. `replace`: an open run into the same schema is given up.
    New {
        /// Its name.
        id: String,
        /// Whether an open run may be given up.
        replace: bool,
    },
    /// The open run into the same schema goes on.
    Resume,
}

/// What a run is told.
#[derive(Debug)]
pub struct Request<'a> {
    /// From where, to where, how.
    pub config: &'a MigrationConfig,
    /// New, or on with one.
    pub start: Start,
    /// Who runs it.
    pub who: Who,
    /// Builders of indexes.
    pub jobs: usize,
    /// The wall clock now.
    pub now: DateTime<Utc>,
    /// What the settings are adjusted by.
    pub adjusting: Adjusting,
    /// What goes on in the target beside the run; `None`: nothing.
    pub beside: Option<Beside>,
}

/// What the settings of a run are adjusted by.
#[derive(Debug)]
pub struct Adjusting {
    /// Who decides.
    pub decider: Decider,
    /// What is remembered of earlier runs, for the settings to begin with.
    pub records: Records,
    /// Tells a person one line: with what a run begins where that is not what its file says, and why.
    pub tell: fn(&str),
    /// `judge::compare`, which this room may not import.
    pub compare: Compare,
    /// What the machine has: cores, and memory in MB.
    pub machine: (Option<f64>, Option<f64>),
}

/// How a run ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// Its name.
    pub run: String,
    /// Whether it went on with what another process had begun.
    pub resumed: bool,
    /// Each table's rows, by its name in the target.
    pub tables: Vec<TableReport>,
    /// Statements that failed.
    pub failed: Vec<FailedStatement>,
    /// What a person should know.
    pub notes: Vec<String>,
    /// How the settings were adjusted.
    pub adjusted: Option<Summary>,
    /// What came of `sample_validation`; `None`: nobody asked for it.
    pub sample: Option<verify::Report>,
}

/// What became of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableReport {
    /// Its name in the source.
    pub source: String,
    /// Its name in the target.
    pub target: String,
    /// Rows that were brought.
    pub rows: u64,
    /// Rows that the target refused.
    pub rejected: u64,
    /// Chunks that they came in.
    pub chunks: u64,
}

impl Report {
    /// Whether all that was planned is there, and a sample that was compared found nothing else.
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty() && self.sample.as_ref().is_none_or(verify::Report::is_clean)
    }

    /// Rows that the target refused.
    pub fn rejected(&self) -> u64 {
        self.tables.iter().map(|table| table.rejected).sum()
    }
}

/// For a connection to come about.
pub(super) const CONNECT: Duration = Duration::from_secs(15);
/// Statements of one transaction: each of them takes some locks, and a server has 6400 of those.
const STATEMENTS_AT_ONCE: usize = 100;
/// Reads the source's catalog, and says what a run would do.
pub async fn plan(config: &MigrationConfig) -> Result<Plan, MigrateError> {
    let mut origin = Origin::open(config).await?;
    origin.plan(config).await
}

/// Runs a migration to its end.
///
/// `progress` has the settings to begin with, as the file and the machine have them; earlier runs, and what an earlier
/// process of this one had reached, may know better.
pub async fn run(
    mut request: Request<'_>,
    progress: Arc<Progress>,
    stop: CancellationToken,
) -> Result<Report, MigrateError> {
    let config = request.config;
    let target = connect_for_work(config.target.postgres_dsn().expose(), "leverd migrate", CONNECT)
        .await
        .map_err(MigrateError::Target)?;
    state::install(target.client()).await?;
    let mut source = Origin::open(config).await?;
    let plan = source.plan(config).await?;
    let fingerprint = source.fingerprint(config).await?;
    let file = *progress.settings.borrow();
    let mut beginning = prediction::start(&request, &plan, file);
    let (lease, open) = take(&request, &target, &plan, &fingerprint, beginning.settings).await?;
    let resumed = open.is_some();
    if let Some(run) = open {
        let adjustments = state::adjustments_of(target.client(), &run.id).await?;
        beginning = prediction::resumed(&request, &run.settings, &adjustments, file);
    }
    progress.name(lease.run());
    progress.settings.send_replace(beginning.settings);
    for line in &beginning.why {
        (request.adjusting.tell)(line);
    }
    let decider = std::mem::replace(&mut request.adjusting.decider, Decider::Rules { unconfigured: false });
    let bytes = plan.tables.iter().map(|table| table.bytes).fold(0, u64::saturating_add);
    let levels = match request.beside.take() {
        Some(beside) => beside.begin(lease.run(), bytes, &stop).await,
        None => None,
    };
    let mut run = Running {
        config,
        request: &request,
        target: &target,
        source,
        plan,
        lease,
        resumed,
        progress,
        stop,
        notes: Vec::new(),
        files_before: Files::new(),
        held: None,
    };
    let ended = run.whole_way(Steering { decider, levels }).await;
    let (outcome, report) = match &ended {
        Ok(report) if report.is_complete() => (Outcome::Complete, serde_json::to_value(report).ok()),
        Ok(report) => (Outcome::Failed, serde_json::to_value(report).ok()),
        Err(MigrateError::Stopped) => (Outcome::Interrupted, None),
        Err(_) => (Outcome::Failed, None),
    };
    let noted = state::finish(target.client(), &run.lease, outcome, report.as_ref()).await;
    let report = ended?;
    noted?;
    Ok(report)
}

/// Begins the run, or takes the one that is open, which it gives back as it was.
async fn take(
    request: &Request<'_>,
    target: &Connection,
    plan: &Plan,
    fingerprint: &str,
    start: Settings,
) -> Result<(Lease, Option<Run>), MigrateError> {
    let config = request.config;
    let open = state::open_runs(target.client()).await?;
    let schema = &config.target.schema;
    let same = open.into_iter().find(|run| run.target_schemas.contains(schema));
    match (&request.start, same) {
        (Start::New { id, replace }, same) => {
            let new = NewRun {
                id: id.clone(),
                source: config.source.to_string(),
                source_fingerprint: fingerprint.to_owned(),
                target_schemas: plan.target_schemas(schema),
                mode: config.settings.target_mode,
                settings: serde_json::to_value(start).unwrap_or_default(),
                plan_hash: plan.hash(),
                snapshot: None,
                replaces: same.filter(|_| *replace).map(|run| vec![run.id]).unwrap_or_default(),
            };
            Ok((Lease::begin(target.client(), &new, &request.who).await?, None))
        }
        (Start::Resume, None) => Err(MigrateError::NothingOpen { schema: schema.clone() }),
        (Start::Resume, Some(run)) => {
            let changed = |why: &str| MigrateError::Changed { run: run.id.clone(), why: why.to_owned() };
            if run.source_fingerprint != fingerprint {
                return Err(changed("it was begun from another database"));
            }
            if run.mode != config.settings.target_mode {
                return Err(changed(&format!("it was begun with target_mode {}", run.mode.as_str())));
            }
            if run.plan_hash != plan.hash() {
                return Err(changed(
                    "the source's tables, or what the file asks for, are not what they were",
                ));
            }
            Ok((Lease::take(target.client(), &run.id, &request.who).await?, Some(run)))
        }
    }
}

/// A run that has its lease.
struct Running<'a> {
    config: &'a MigrationConfig,
    request: &'a Request<'a>,
    target: &'a Connection,
    source: Origin,
    plan: Plan,
    lease: Lease,
    resumed: bool,
    progress: Arc<Progress>,
    stop: CancellationToken,
    notes: Vec<String>,
    /// In which files a PostgreSQL's tables were before the snapshot was taken.
    files_before: Files,
    /// The snapshot that rows are read in, while a sample is still to be compared in it.
    held: Option<Held>,
}

impl Running<'_> {
    async fn whole_way(&mut self, steering: Steering) -> Result<Report, MigrateError> {
        // Behind a pooler that gives out sessions by transaction it is no lease; nothing is dropped yet.
        self.lease.check(self.target.client()).await?;
        self.number_tables().await?;
        let site = Site {
            target: self.config.target.clone(),
            lease: self.lease.clone(),
            max_retries: self.config.settings.max_retries,
            connect_timeout: CONNECT,
            sort_bytes: self.sort_bytes(),
            levels: steering.levels.clone(),
            stop: self.stop.clone(),
        };
        // Before the snapshot, in which no change of them would be seen.
        self.files_before = self.files_now().await?;
        let before = self.of_one_moment(self.earlier().await?).await?;
        let done = self.done(&before);
        // Before anything is dropped: a snapshot may be refused.
        let source = self.snapshot().await?;
        self.make_tables(&site, &done).await?;
        self.check_stop()?;
        self.settle_form().await?;
        let as_replica = self.may_pass_triggers_over().await?;
        let (left, loaded) = self.what_is_left(&before, &source).await?;
        let order = self.order(source, as_replica);
        let (failed, adjusted) =
            self.load_measured(&site, (left, loaded), &before, &done, order, steering).await?;
        self.check_stop()?;
        let sample = self.sample().await?;
        // What comes now is about whole tables: not beside another run.
        self.lease.check(self.target.client()).await?;
        let report = self.finish(&site, &before, failed).await?;
        Ok(Report { adjusted: Some(adjusted), sample, ..report })
    }

    /// What one builder may sort in, so that all together take a quarter of the target's memory; `None`: how much that
    /// has is not known. Only of this machine it is.
    fn sort_bytes(&self) -> Option<u64> {
        let (_, memory_mb) = self.request.adjusting.machine;
        let megabytes = memory_mb.filter(|_| self.config.target.is_here())?;
        let builders = connections::builders(self.config, self.request.jobs);
        // What is no number, or below 0, becomes 0.
        Some((megabytes * 1_048_576.0 / 4.0 / builders as f64) as u64)
    }

    async fn earlier(&self) -> Result<RunState, MigrateError> {
        Ok(state::load(self.target.client(), self.lease.run()).await?)
    }

    fn check_stop(&self) -> Result<(), MigrateError> {
        if self.stop.is_cancelled() { Err(MigrateError::Stopped) } else { Ok(()) }
    }

    /// Tables keep the numbers that they had when the run began, whatever their sizes are now.
    async fn number_tables(&mut self) -> Result<(), MigrateError> {
        if !self.resumed {
            let moved: Vec<MovedTable> = (0_u32..)
                .zip(&self.plan.tables)
                .map(|(number, table)| MovedTable {
                    number,
                    source: table.source.clone(),
                    target: table.target.clone(),
                    columns: table.columns.iter().map(|(_, target)| target.clone()).collect(),
                    expected_rows: Some(table.rows),
                    expected_bytes: Some(table.bytes),
                })
                .collect();
            if !moved.is_empty() {
                state::add_tables(self.target.client(), &self.lease, &moved).await?;
            }
            return Ok(());
        }
        let before = self.earlier().await?;
        if before.tables.is_empty() && !self.plan.tables.is_empty() {
            // It ended before it wrote its tables down.
            self.resumed = false;
            return Box::pin(self.number_tables()).await;
        }
        let mut by_name: BTreeMap<TableName, PlannedTable> =
            self.plan.tables.drain(..).map(|table| (table.source.clone(), table)).collect();
        for of_run in &before.tables {
            let table = by_name.remove(&of_run.table.source).ok_or_else(|| MigrateError::Changed {
                run: self.lease.run().to_owned(),
                why: format!("the source has no table {} any more", quote::shown(&of_run.table.source)),
            })?;
            self.plan.tables.push(table);
        }
        Ok(())
    }

    /// Statements that are done, and are still the plan's.
    fn done(&self, before: &RunState) -> BTreeSet<(Phase, u32)> {
        let done = before.statements.iter().filter(|done| done.is_among(&self.plan.ddl.statements));
        done.map(|done| (done.phase, done.number)).collect()
    }

    fn steps(&self, phase: Phase, done: &BTreeSet<(Phase, u32)>) -> Vec<Step> {
        (0_u32..)
            .zip(&self.plan.ddl.statements)
            .filter(|(number, statement)| statement.phase == phase && !done.contains(&(phase, *number)))
            .map(|(number, statement)| Step { number, statement: statement.clone() })
            .collect()
    }

    /// What is made before the first row.
    async fn make_tables(&self, site: &Site, done: &BTreeSet<(Phase, u32)>) -> Result<(), MigrateError> {
        let mut builder = Builder::new(site, "leverd builder 1");
        let steps = self.steps(Phase::BeforeLoad, done);
        // A drop has many tables already.
        let alone = |step: &Step| matches!(step.statement.kind, Kind::Drop | Kind::Truncate);
        for group in steps.chunk_by(|a, b| !alone(a) && !alone(b)) {
            for batch in group.chunks(STATEMENTS_AT_ONCE) {
                self.check_stop()?;
                builder.run(batch).await?;
            }
        }
        Ok(())
    }

    /// Into tables that were there before, rows come in an order that their foreign keys know nothing of, and their
    /// triggers have run in the source already. Only a superuser may pass both over; for others they count.
    async fn may_pass_triggers_over(&mut self) -> Result<bool, MigrateError> {
        if self.config.settings.target_mode == TargetMode::DropRecreate {
            return Ok(false);
        }
        let client = self.target.client();
        let may = client.batch_execute("BEGIN; SET LOCAL session_replication_role = replica").await.is_ok();
        let failed = |error: tokio_postgres::Error| {
            MigrateError::Target(PostgresError::statement("asking for a right", &error))
        };
        client.batch_execute("ROLLBACK").await.map_err(failed)?;
        if !may {
            self.notes.push(
                "the target's role may not set session_replication_role: foreign keys and triggers of tables that \
                 were there counted for each row"
                    .to_owned(),
            );
        }
        Ok(may)
    }

    /// Foreign keys, sequences, views, comments; and the report.
    async fn finish(
        &mut self,
        site: &Site,
        before: &RunState,
        mut failed: Vec<FailedStatement>,
    ) -> Result<Report, MigrateError> {
        self.progress.enter(Stage::Constraining);
        let (validations, others): (Vec<Step>, Vec<Step>) = self
            .steps(Phase::Validate, &self.done(before))
            .into_iter()
            .partition(|step| step.statement.kind == Kind::Validation);
        let counters = Arc::clone(&self.progress.counters);
        failed.extend(build::in_order(site, others, &counters).await);
        let at_once = connections::afterwards(self.config, self.request.jobs);
        failed.extend(build::beside_each_other(site, validations, at_once, &counters).await);
        self.check_stop()?;
        self.read_positions_again().await;
        // By their texts: with another position it is another statement.
        let done = self.done(before);
        failed.extend(build::in_order(site, self.steps(Phase::Last, &done), &counters).await);
        self.check_stop()?;
        let totals = state::table_totals(self.target.client(), self.lease.run()).await?;
        let tables = (0_u32..).zip(&self.plan.tables).map(|(number, table)| {
            let total = totals.iter().find(|total| total.table == number);
            TableReport {
                source: quote::shown(&table.source),
                target: quote::shown(&table.target),
                rows: total.map_or(0, |total| total.rows),
                rejected: total.map_or(0, |total| total.rejected),
                chunks: total.map_or(0, |total| total.chunks),
            }
        });
        Ok(Report {
            run: self.lease.run().to_owned(),
            resumed: self.resumed,
            tables: tables.collect(),
            failed,
            notes: std::mem::take(&mut self.notes),
            ..Report::default()
        })
    }
}
