//! Whether a PostgreSQL's tables are still in the files that they were in before the run's snapshot was taken.
//!
//! TRUNCATE, and an ALTER TABLE that rewrites, obey no snapshot: who reads such a table later in an older one finds it
//! empty, and no error (PostgreSQL's manual, "Caveats" of its chapter on concurrency control). VACUUM FULL and CLUSTER
//! keep its rows, and move them to other blocks, between two chunks too. No lock is held that would keep them off: a run
//! of many tables would need too many. So each table's file is asked for before the rows are read and after it, and a
//! table in another one is read again: by `resume`, for the run ends. Where a run is killed before that question its
//! state still has the files, and the process that goes on compares them.

use super::origin::Origin;
use super::{CONNECT, MigrateError, Running};
use crate::config::TargetMode;
use crate::migrate::plan::PlannedTable;
use crate::migrate::quote;
use crate::migrate::schema::TableName;
use crate::migrate::state::{self, PartState, Resumption};
use crate::postgres::{PostgresError, connect_for_work};
use std::collections::{BTreeMap, BTreeSet};
use tokio_postgres::Client;

/// By relation its file; `None`: it has none, or is not there.
pub(super) type Files = BTreeMap<TableName, Option<u32>>;

/// As it is when the transaction begins, whatever its snapshot.
const FILES: &str = "\
SELECT w.number, pg_catalog.pg_relation_filenode(pg_catalog.to_regclass(w.relation))
FROM ROWS FROM (pg_catalog.unnest($1::bigint[]), pg_catalog.unnest($2::text[])) AS w(number, relation)";

impl Running<'_> {
    /// The files of all relations that rows are read from.
    async fn files(&self, source: &Client) -> Result<Files, MigrateError> {
        let relations: Vec<&TableName> = self
            .plan
            .tables
            .iter()
            .flat_map(|table| &table.relations)
            .map(|relation| &relation.name)
            .collect();
        let numbers: Vec<i64> = (0_i64..).take(relations.len()).collect();
        let names: Vec<String> = relations.iter().map(|name| quote::qualified(name)).collect();
        let failed = |error: tokio_postgres::Error| {
            MigrateError::Source(PostgresError::statement("asking for the tables' files", &error))
        };
        let mut files = Files::new();
        for row in source.query(FILES, &[&numbers, &names]).await.map_err(failed)? {
            let number: i64 = row.try_get(0).map_err(failed)?;
            let relation = usize::try_from(number).ok().and_then(|number| relations.get(number));
            if let Some(relation) = relation {
                files.insert((*relation).clone(), row.try_get(1).map_err(failed)?);
            }
        }
        Ok(files)
    }

    /// The same now, of a PostgreSQL. In a session of its own: the snapshot's hears of no change as long as it is in its
    /// transaction.
    pub(super) async fn files_now(&self) -> Result<Files, MigrateError> {
        if !matches!(self.source, Origin::Postgres(_)) {
            return Ok(Files::new());
        }
        let dsn = self.config.source.postgres_dsn();
        let session =
            connect_for_work(dsn.expose(), "leverd source", CONNECT).await.map_err(MigrateError::Source)?;
        self.files(session.client()).await
    }

    /// The relations of the tables with these numbers that are in other files now than before. Where there are none
    /// nobody need ask again: the state forgets the files.
    pub(super) async fn rewritten(&self, read: &BTreeSet<u32>) -> Result<Vec<TableName>, MigrateError> {
        let now = self.files_now().await?;
        let tables = read.iter().filter_map(|number| self.plan.tables.get(*number as usize));
        let relations: BTreeSet<&TableName> =
            tables.flat_map(|table| &table.relations).map(|relation| &relation.name).collect();
        let mut rewritten = changed(&self.files_before, &now);
        rewritten.retain(|relation| relations.contains(relation));
        if rewritten.is_empty() {
            state::forget_files(self.target.client(), &self.lease).await?;
        }
        Ok(rewritten)
    }

    /// Empties the tables whose relations these are, so that a run that goes on reads them again; and why this one ends.
    pub(super) async fn end_for(&self, rewritten: &[TableName]) -> MigrateError {
        let shown: Vec<String> = rewritten.iter().map(quote::shown).collect();
        let why = format!(
            "{} at the source was emptied, rewritten or dropped while rows were read, of which some may be missing",
            shown.join(", ")
        );
        if self.config.settings.target_mode == TargetMode::Append {
            let why = format!("{why}; target_mode append may not empty it to read it again");
            return MigrateError::Changed { run: self.lease.run().to_owned(), why };
        }
        let is_of =
            |table: &&PlannedTable| table.relations.iter().any(|relation| rewritten.contains(&relation.name));
        let tables = (0_u32..).zip(&self.plan.tables).filter(|(_, table)| is_of(table));
        let mut restart = tables.map(|(number, _)| (number, Resumption::Restart)).collect();
        match self.empty_again(&mut restart).await {
            Ok(()) => MigrateError::Moving(format!(
                "{why}: it is to be read again; where that goes on happening, exclude_tables leaves it out of a new run"
            )),
            Err(error) => error,
        }
    }
}

/// Whether rows of one of these parts were brought, and its relation is in another file by now.
pub(super) fn are_in_others(parts: &[PartState], now: &Files) -> bool {
    parts.iter().filter(|state| !state.chunks.is_empty()).any(|state| {
        let part = &state.part;
        part.file.is_some() && now.get(&part.relation).is_some_and(|file| *file != part.file)
    })
}

fn changed(before: &Files, now: &Files) -> Vec<TableName> {
    before.iter().filter(|(name, file)| now.get(*name) != Some(*file)).map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::ranges::Extent;
    use crate::migrate::schema::fixtures;
    use crate::migrate::state::{CommittedChunk, Part};

    #[test]
    fn another_file_and_none_are_changes() {
        let name = |of: &str| fixtures::name("shop", of);
        let before = Files::from([
            (name("a"), Some(7)),
            (name("b"), Some(8)),
            (name("c"), Some(9)),
            (name("d"), None),
        ]);
        let now =
            Files::from([(name("a"), Some(7)), (name("b"), Some(80)), (name("c"), None), (name("d"), None)]);
        assert_eq!(changed(&before, &now), [name("b"), name("c")]);
        assert_eq!(changed(&before, &before), Vec::new());
    }

    #[test]
    fn a_part_knows_the_file_that_it_was_in() {
        let part = |file| {
            let part = Part {
                table: 0,
                number: 0,
                relation: fixtures::name("shop", "a"),
                extent: Extent::Whole,
                file,
            };
            let chunk = CommittedChunk { seq: 0, extent: Extent::Whole, rows: 5, bytes: 50, rejected: 0 };
            PartState { part, closed: true, chunks: vec![chunk] }
        };
        let now = |file| Files::from([(fixtures::name("shop", "a"), file)]);
        assert!(are_in_others(&[part(None), part(Some(7))], &now(Some(8))));
        assert!(are_in_others(&[part(Some(7))], &now(None)));
        assert!(!are_in_others(&[part(Some(7))], &now(Some(7))));
        // It is no PostgreSQL, or was begun by a leverd that wrote no files down.
        assert!(!are_in_others(&[part(None)], &now(Some(8))));
        assert!(!are_in_others(&[part(Some(7))], &Files::new()));
        let not_begun = PartState { chunks: Vec::new(), ..part(Some(7)) };
        assert!(!are_in_others(&[not_begun], &now(Some(8))));
    }
}
