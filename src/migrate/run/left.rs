//! What is still to be moved when a run begins or goes on.
//!
//! Always holds: a table that cannot be gone on with is emptied together with its records, or the run does not go on.

use super::origin::Origin;
use super::{MigrateError, Running};
use crate::config::TargetMode;
use crate::migrate::parts;
use crate::migrate::plan::PlannedTable;
use crate::migrate::quote;
use crate::migrate::state::{self, Part, Resumption, RunState};
use crate::migrate::transfer::{PartPlan, Source, TablePlan};
use crate::postgres::PostgresError;
use std::collections::BTreeMap;
use std::sync::PoisonError;

impl Running<'_> {
    /// For each table what is to be read, and the tables whose rows are all there.
    pub(super) async fn what_is_left(
        &mut self,
        before: &RunState,
        source: &Source,
    ) -> Result<(Vec<TablePlan>, Vec<u32>), MigrateError> {
        let settings = &self.config.settings;
        let whole = match (&self.source, source) {
            (Origin::Postgres(connection), _) => {
                parts::of_postgres(connection.client(), &self.plan, settings).await?
            }
            (Origin::MySql(_), Source::MySql { idle, .. }) => {
                let session = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let mut session =
                    session.ok_or_else(|| MigrateError::Moving("no session of the source".to_owned()))?;
                let found = parts::of_mysql(&mut session, &self.plan, settings).await;
                idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
                found?
            }
            (Origin::MySql(_), Source::Postgres { .. }) => BTreeMap::new(),
        };
        let mut left = Vec::new();
        let mut loaded = Vec::new();
        let mut new_parts: Vec<Part> = Vec::new();
        let mut went_on = 0;
        for (number, table) in (0_u32..).zip(&self.plan.tables) {
            let of_table = whole.get(&number).cloned().unwrap_or_default();
            let earlier = before.tables.iter().find(|state| state.table.number == number);
            let resumption = match earlier.filter(|state| !state.parts.is_empty()) {
                None => None,
                Some(_) if settings.strict_consistency => Some(Resumption::Restart),
                Some(state) => Some(state.resumption()?),
            };
            let parts = match resumption {
                None | Some(Resumption::Uncut) => {
                    new_parts.extend(of_table.iter().map(|part| part_of(number, part)));
                    of_table
                }
                Some(Resumption::Complete) => {
                    loaded.push(number);
                    continue;
                }
                Some(Resumption::Restart) => {
                    self.empty(number, table).await?;
                    new_parts.extend(of_table.iter().map(|part| part_of(number, part)));
                    of_table
                }
                Some(Resumption::Split(split)) => {
                    state::split_parts(self.target.client(), &self.lease, number, &split).await?;
                    went_on += 1;
                    split.added.iter().map(|part| rest_of(part, &of_table)).collect()
                }
            };
            if parts.is_empty() {
                loaded.push(number);
            } else {
                let large = table.rows >= settings.large_table_threshold;
                let shares = if large { parts::shares(&parts, settings) } else { 1 };
                left.push(TablePlan { number, large, shares, parts });
            }
        }
        if !new_parts.is_empty() {
            state::add_parts(self.target.client(), &self.lease, &new_parts).await?;
        }
        if went_on > 0 {
            self.notes.push(format!(
                "{went_on} tables went on in another snapshot of the source than they were begun in: what was \
                 changed there in between may be missing in them (strict_consistency: true loads them again)"
            ));
        }
        Ok((left, loaded))
    }

    /// A table that was begun and cannot be gone on with: its rows and their records go in one transaction.
    async fn empty(&self, number: u32, table: &PlannedTable) -> Result<(), MigrateError> {
        let client = self.target.client();
        match self.config.settings.target_mode {
            TargetMode::DropRecreate | TargetMode::Truncate => {}
            // The same rows take their own places again.
            TargetMode::Upsert => return Ok(state::restart_table(client, &self.lease, number).await?),
            TargetMode::Append => {
                let name = quote::shown(&table.target);
                let why = format!("{name} was begun, and target_mode append may not empty it to begin again");
                return Err(MigrateError::Changed { run: self.lease.run().to_owned(), why });
            }
        }
        let doing = format!("emptying {}", quote::shown(&table.target));
        let failed = |error: tokio_postgres::Error| {
            MigrateError::Target(PostgresError::statement(doing.clone(), &error))
        };
        client
            .batch_execute(&format!("BEGIN; TRUNCATE TABLE {}", quote::qualified(&table.target)))
            .await
            .map_err(failed)?;
        state::restart_table(client, &self.lease, number).await?;
        client.batch_execute("COMMIT").await.map_err(failed)
    }
}

fn part_of(table: u32, part: &PartPlan) -> Part {
    Part { table, number: part.number, relation: part.relation.clone(), extent: part.extent.clone() }
}

/// What is left of a part is cut as the whole would be.
fn rest_of(part: &Part, whole: &[PartPlan]) -> PartPlan {
    let like = whole.iter().find(|whole| whole.relation == part.relation);
    PartPlan {
        number: part.number,
        relation: part.relation.clone(),
        extent: part.extent.clone(),
        bounds: like.and_then(|whole| whole.bounds),
        blocks: like.map_or(0, |whole| whole.blocks),
        rows: like.and_then(|whole| whole.rows),
        bytes: like.and_then(|whole| whole.bytes),
    }
}
