//! The time in which rows are moved: measured, adjusted, and built beside.
//!
//! Always holds: a table is written down as loaded before it is built.

use super::beside::Steering;
use super::{CONNECT, FailedStatement, MigrateError, Running, connections, prediction};
use crate::config::TargetMode;
use crate::migrate::adjust::{Stage, Timing};
use crate::migrate::adjuster::{Adjuster, Options, Summary};
use crate::migrate::build::{self, Site, Step};
use crate::migrate::ddl::Phase;
use crate::migrate::monitor::Monitor;
use crate::migrate::mysql::{KeyColumn, RowPlan};
use crate::migrate::sampler::Extent;
use crate::migrate::schema::TableName;
use crate::migrate::state::{self, RunState, TableStep};
use crate::migrate::transfer::{
    self, Budget, Destination, Form, Limits, Order, Put, Schedule, Source, TableOrder, TablePlan,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Rows of one chunk that may be refused.
const MOST_REJECTED: u64 = 1_000;
/// Leverd itself, without rows.
const OWN_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes that may wait between readers and writers. As many again are in the clients' own buffers.
fn budget_bytes(max_memory_bytes: u64) -> u64 {
    (max_memory_bytes.saturating_sub(OWN_BYTES) / 2).max(8 * 1024 * 1024)
}

impl Running<'_> {
    /// Moves the rows while they are measured, and the settings adjusted.
    pub(super) async fn load_measured(
        &self,
        site: &Site,
        (left, loaded): (Vec<TablePlan>, Vec<u32>),
        before: &RunState,
        done: &BTreeSet<(Phase, u32)>,
        order: Order,
        steering: Steering,
    ) -> Result<(Vec<FailedStatement>, Summary), MigrateError> {
        let settings = &self.config.settings;
        let budget = Budget::new(order.budget_bytes);
        let rows = self.plan.tables.iter().map(|table| table.rows).sum();
        // Asked again: tables may have been emptied since `before`.
        let totals = state::table_totals(self.target.client(), self.lease.run()).await?;
        let rows_before = totals.iter().map(|total| total.rows).sum();
        let monitor = Monitor {
            progress: Arc::clone(&self.progress),
            budget: budget.clone(),
            budget_bytes: order.budget_bytes,
            memory_limit: settings.max_memory_bytes,
            extent: Extent { tables: self.plan.tables.len() as u64, rows, rows_before },
            kinds: self.plan.kinds(),
            interval: settings.ai_adjust_interval,
            began_at: self.request.now,
            target: &self.config.target,
            client: self.target.client(),
            lease: &self.lease,
            numbered: before.adjustments.iter().map(|earlier| earlier.adjustment.number).max().unwrap_or(0),
        };
        let (adjuster, changes) =
            Adjuster::new(self.adjusting(&order), steering.decider, *self.progress.settings.borrow());
        let enough = CancellationToken::new();
        let watching = monitor.watch(adjuster, changes, steering.levels, enough.clone());
        let loading = async {
            self.progress.expect(self.plan.tables.len() as u64, rows, rows_before);
            let ended = self.load(site, (left, loaded), done, order, budget).await;
            enough.cancel();
            ended
        };
        let (ended, summary) = tokio::join!(loading, watching);
        // Also for a run that failed: what was tried in it is worth knowing.
        self.progress.sum_up(&summary);
        Ok((ended?, summary))
    }

    fn adjusting(&self, order: &Order) -> Options {
        let settings = &self.config.settings;
        let adjusting = &self.request.adjusting;
        let interval = settings.ai_adjust_interval;
        Options {
            run: self.lease.run().to_owned(),
            adjusts: settings.ai_adjust,
            interval,
            caps: prediction::caps(order.most_writers),
            // A run that is looked at often is a short one.
            timing: Timing { settle: Timing::default().settle.min(interval), ..Timing::default() },
            compare: adjusting.compare,
            features: prediction::features(&self.plan, adjusting),
            table_names: None,
        }
    }

    /// Moves the rows, and builds beside them.
    async fn load(
        &self,
        site: &Site,
        (left, loaded): (Vec<TablePlan>, Vec<u32>),
        done: &BTreeSet<(Phase, u32)>,
        order: Order,
        budget: Budget,
    ) -> Result<Vec<FailedStatement>, MigrateError> {
        self.progress.enter(Stage::Copying);
        let read: BTreeSet<u32> = left.iter().map(|table| table.number).collect();
        let counters = Arc::clone(&self.progress.counters);
        transfer::counters::count(&counters.tables_loaded, loaded.len() as u64);
        let (tell_loaded, moved) = mpsc::unbounded_channel();
        let (to_build, from_load) = mpsc::unbounded_channel();
        for table in loaded {
            // Its receiver is below.
            let _ = to_build.send(table);
        }
        let build = build::beside_the_load(
            site,
            self.steps_by_table(done),
            from_load,
            connections::builders(self.config, self.request.jobs),
            Arc::clone(&counters),
        );
        let limits = Limits {
            tables: self.config.settings.workers as usize,
            readers: self.progress.settings.borrow().readers.get(),
        };
        let moving = transfer::run(
            order,
            Schedule::new(left, limits),
            counters,
            budget,
            self.progress.settings.subscribe(),
            tell_loaded,
            self.stop.clone(),
        );
        let marking = self.mark_loaded(moved, to_build);
        let moving = async {
            let moved = moving.await;
            if moved.is_ok() && !self.stop.is_cancelled() {
                self.progress.enter(Stage::Indexing);
            }
            moved
        };
        tokio::pin!(build);
        // The first that fails ends both: builders that are told of no more tables must not end the run as if it had
        // been stopped.
        let both = async { tokio::try_join!(async { moving.await.map_err(MigrateError::from) }, marking) };
        tokio::select! {
            biased;
            both = both => both.map(drop)?,
            failed = &mut build => {
                self.check_stop()?;
                let text = format!("the builders ended before the load, with {} failures", failed.len());
                return Err(MigrateError::Moving(text));
            }
        }
        self.check_stop()?;
        let rewritten = self.rewritten(&read).await?;
        let letting_go = async {
            if self.held.is_none() {
                self.let_go().await;
            }
        };
        let (failed, ()) = tokio::join!(&mut build, letting_go);
        build::note_failures(&self.progress.counters, &failed);
        if !rewritten.is_empty() {
            return Err(self.end_for(&rewritten).await);
        }
        Ok(failed)
    }

    /// Writes down which tables are loaded, and hands them on to be built.
    async fn mark_loaded(
        &self,
        mut moved: mpsc::UnboundedReceiver<u32>,
        to_build: mpsc::UnboundedSender<u32>,
    ) -> Result<(), MigrateError> {
        let mut some = Vec::new();
        while moved.recv_many(&mut some, 100).await > 0 {
            state::mark_tables(self.target.client(), &self.lease, &some, TableStep::Loaded).await?;
            for table in some.drain(..) {
                let _ = to_build.send(table);
            }
        }
        Ok(())
    }

    fn steps_by_table(&self, done: &BTreeSet<(Phase, u32)>) -> BTreeMap<u32, (TableName, Vec<Step>)> {
        let numbers: BTreeMap<&TableName, u32> =
            self.plan.tables.iter().zip(0_u32..).map(|(table, number)| (&table.source, number)).collect();
        let mut by_table: BTreeMap<u32, (TableName, Vec<Step>)> = self
            .plan
            .tables
            .iter()
            .zip(0_u32..)
            .map(|(table, number)| (number, (table.target.clone(), Vec::new())))
            .collect();
        for step in self.steps(Phase::AfterLoad, done) {
            let number = step.statement.table.as_ref().and_then(|table| numbers.get(table));
            if let Some((_, steps)) = number.and_then(|number| by_table.get_mut(number)) {
                steps.push(step);
            }
        }
        by_table
    }

    pub(super) fn order(&self, source: Source, as_replica: bool) -> Order {
        let settings = &self.config.settings;
        let is_mysql = matches!(source, Source::MySql { .. });
        let tables = (0_u32..).zip(&self.plan.tables).map(|(number, table)| {
            let destination = Destination {
                number,
                name: table.target.clone(),
                columns: table.columns.iter().map(|(_, target)| target.clone()).collect(),
                key: table.key.clone(),
                form: if table.binary { Form::Binary } else { Form::Text },
                put: if settings.target_mode == TargetMode::Upsert { Put::Replace } else { Put::Add },
            };
            let columns = table.columns.iter().map(|(source, _)| source.clone()).collect();
            let mysql = is_mysql
                .then(|| (RowPlan::new(&table.definition, &table.laid), KeyColumn::of(&table.definition)));
            (number, TableOrder { columns, mysql, destination })
        });
        Order {
            source,
            target: self.config.target.clone(),
            lease: self.lease.clone(),
            tables: tables.collect(),
            workers: settings.workers,
            budget_bytes: budget_bytes(settings.max_memory_bytes),
            max_retries: settings.max_retries,
            most_rejected: MOST_REJECTED,
            as_replica,
            connect_timeout: CONNECT,
            most_readers: connections::readers(self.config),
            most_writers: connections::writers(self.config, self.request.jobs),
        }
    }
}
