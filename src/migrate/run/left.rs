//! What is still to be moved when a run begins or goes on.
//!
//! Always holds: a table that cannot be gone on with is emptied together with its records and with all that refer to it,
//! or the run does not go on; with `strict_consistency` no row is of another moment than the others.

use super::files::{Files, are_in_others};
use super::origin::Origin;
use super::{MigrateError, Running};
use crate::config::TargetMode;
use crate::migrate::parts;
use crate::migrate::quote;
use crate::migrate::schema::TableName;
use crate::migrate::state::{self, Part, Resumption, RunState, TableState};
use crate::migrate::transfer::{PartPlan, Source, TablePlan};
use crate::postgres::PostgresError;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

/// Which tables of the target refer to which by foreign keys, but to themselves.
const REFERRERS: &str = "\
SELECT n.nspname::text, c.relname::text, fn.nspname::text, f.relname::text
FROM pg_catalog.pg_constraint AS k
JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class AS f ON f.oid = k.confrelid
JOIN pg_catalog.pg_namespace AS fn ON fn.oid = f.relnamespace
WHERE k.contype = 'f' AND k.conrelid <> k.confrelid";

impl Running<'_> {
    /// Where all rows must be of one moment, and some are there of an earlier one while others are missing: begins
    /// again.
    pub(super) async fn of_one_moment(&self, before: RunState) -> Result<RunState, MigrateError> {
        let is_strict = self.resumed && self.config.settings.strict_consistency;
        let is_begun = |table: &TableState| table.parts.iter().any(|part| !part.chunks.is_empty());
        let Some(begun) = before.tables.iter().find(|table| is_begun(table)).filter(|_| is_strict) else {
            return Ok(before);
        };
        let mut is_whole = true;
        // All tables were cut before the first chunk: one without parts had nothing to be read, or is to be read again.
        for table in &before.tables {
            is_whole &= if table.parts.is_empty() {
                table.table.expected_rows.is_none_or(|rows| rows == 0)
            } else {
                let is_complete = matches!(table.resumption()?, Resumption::Complete);
                is_complete && !are_in_others(&table.parts, &self.files_before)
            };
        }
        if is_whole {
            return Ok(before);
        }
        if self.config.settings.target_mode == TargetMode::Append {
            return Err(self.may_not_be_emptied(&begun.table.target));
        }
        state::restart_run(self.target.client(), &self.lease, before.tables.len()).await?;
        self.earlier().await
    }

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
        let mut resumptions = BTreeMap::new();
        for earlier in before.tables.iter().filter(|earlier| !earlier.parts.is_empty()) {
            resumptions.insert(earlier.table.number, earlier.resumption()?);
        }
        self.read_rewritten_again(before, &mut resumptions);
        self.empty_again(&mut resumptions).await?;
        let mut left = Vec::new();
        let mut loaded = Vec::new();
        let mut new_parts: Vec<Part> = Vec::new();
        let mut went_on = 0;
        for (number, table) in (0_u32..).zip(&self.plan.tables) {
            let of_table = whole.get(&number).cloned().unwrap_or_default();
            let parts = match resumptions.remove(&number) {
                None | Some(Resumption::Uncut | Resumption::Restart) => {
                    new_parts.extend(of_table.iter().map(|part| part_of(number, part, &self.files_before)));
                    of_table
                }
                Some(Resumption::Complete) => {
                    loaded.push(number);
                    continue;
                }
                Some(Resumption::Split(mut split)) => {
                    for part in &mut split.added {
                        part.file = self.files_before.get(&part.relation).copied().flatten();
                    }
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

    /// An earlier process may have been killed before it asked for the files.
    fn read_rewritten_again(&mut self, before: &RunState, resumptions: &mut BTreeMap<u32, Resumption>) {
        for table in before.tables.iter().filter(|table| are_in_others(&table.parts, &self.files_before)) {
            self.notes.push(format!(
                "{} at the source was emptied or rewritten since its first row was read: all of it was read again",
                quote::shown(&table.table.source)
            ));
            resumptions.insert(table.table.number, Resumption::Restart);
        }
    }

    /// Empties the tables that were begun and cannot be gone on with, and those that refer to them, which are begun again
    /// then: their rows and their records go in one transaction.
    pub(super) async fn empty_again(
        &self,
        resumptions: &mut BTreeMap<u32, Resumption>,
    ) -> Result<(), MigrateError> {
        let torn = |(_, resumption): &(&u32, &Resumption)| matches!(resumption, Resumption::Restart);
        let mut numbers: BTreeSet<u32> = resumptions.iter().filter(torn).map(|(number, _)| *number).collect();
        let Some(first) = numbers.first() else { return Ok(()) };
        let client = self.target.client();
        match self.config.settings.target_mode {
            TargetMode::DropRecreate | TargetMode::Truncate => {}
            // The same rows take their own places again.
            TargetMode::Upsert => {
                for number in numbers {
                    state::restart_table(client, &self.lease, number).await?;
                }
                return Ok(());
            }
            TargetMode::Append => {
                let table = self.plan.tables.get(*first as usize);
                return Err(match table {
                    Some(table) => self.may_not_be_emptied(&table.target),
                    None => MigrateError::Moving(format!("table {first} is not in the plan")),
                });
            }
        }
        numbers.extend(self.referring_to(&numbers).await?);
        tracing::info!("emptied, and loaded again: {} of the tables", numbers.len());
        let emptied = self.empty(&numbers).await;
        if emptied.is_err() {
            // Where this fails too, the connection is gone.
            let _ = client.batch_execute("ROLLBACK").await;
        }
        emptied?;
        resumptions.extend(numbers.into_iter().map(|number| (number, Resumption::Restart)));
        Ok(())
    }

    async fn empty(&self, numbers: &BTreeSet<u32>) -> Result<(), MigrateError> {
        let tables = numbers.iter().filter_map(|number| self.plan.tables.get(*number as usize));
        let names: Vec<String> = tables.map(|table| quote::qualified(&table.target)).collect();
        let failed = |error: tokio_postgres::Error| {
            MigrateError::Target(PostgresError::statement("emptying what was begun", &error))
        };
        let client = self.target.client();
        let truncate = format!("BEGIN; TRUNCATE TABLE {}", names.join(", "));
        client.batch_execute(&truncate).await.map_err(failed)?;
        for number in numbers {
            state::restart_table(client, &self.lease, *number).await?;
        }
        client.batch_execute("COMMIT").await.map_err(failed)
    }

    /// The run's tables that refer to these by foreign keys of the target, and those that refer to them.
    async fn referring_to(&self, numbers: &BTreeSet<u32>) -> Result<BTreeSet<u32>, MigrateError> {
        let failed = |error: tokio_postgres::Error| {
            MigrateError::Target(PostgresError::statement("looking for foreign keys", &error))
        };
        let places: BTreeMap<(&str, &str), u32> = (0_u32..)
            .zip(&self.plan.tables)
            .map(|(number, table)| ((table.target.schema.as_str(), table.target.name.as_str()), number))
            .collect();
        let mut referrers: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for row in self.target.client().query(REFERRERS, &[]).await.map_err(failed)? {
            let place = |schema: usize| -> Result<Option<u32>, MigrateError> {
                let name = (row.try_get(schema).map_err(failed)?, row.try_get(schema + 1).map_err(failed)?);
                Ok(places.get(&name).copied())
            };
            if let (Some(referring), Some(referred)) = (place(0)?, place(2)?) {
                referrers.entry(referred).or_default().push(referring);
            }
        }
        Ok(all_below(numbers, &referrers))
    }

    fn may_not_be_emptied(&self, table: &TableName) -> MigrateError {
        let name = quote::shown(table);
        let why = format!("{name} was begun, and target_mode append may not empty it to begin again");
        MigrateError::Changed { run: self.lease.run().to_owned(), why }
    }
}

/// These and all that follow from them.
fn all_below(numbers: &BTreeSet<u32>, followers: &BTreeMap<u32, Vec<u32>>) -> BTreeSet<u32> {
    let mut all = numbers.clone();
    let mut open: Vec<u32> = numbers.iter().copied().collect();
    while let Some(number) = open.pop() {
        for follower in followers.get(&number).into_iter().flatten() {
            if all.insert(*follower) {
                open.push(*follower);
            }
        }
    }
    all
}

fn part_of(table: u32, part: &PartPlan, files: &Files) -> Part {
    Part {
        table,
        number: part.number,
        relation: part.relation.clone(),
        extent: part.extent.clone(),
        file: files.get(&part.relation).copied().flatten(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_refers_goes_with_who_is_referred_to() {
        // 1 and 4 refer to 0, 2 to 1, and 1 to 2.
        let referrers = BTreeMap::from([(0, vec![1, 4]), (1, vec![2]), (2, vec![1]), (7, vec![8])]);
        assert_eq!(all_below(&BTreeSet::from([0]), &referrers), BTreeSet::from([0, 1, 2, 4]));
        assert_eq!(all_below(&BTreeSet::from([2]), &referrers), BTreeSet::from([1, 2]));
        assert_eq!(all_below(&BTreeSet::new(), &referrers), BTreeSet::new());
    }
}
