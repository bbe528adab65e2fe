//! What the target holds before a run: tables of the same names, an open run, earlier runs.
//!
//! In: the configuration and the names of the plan's tables. Out: a [`TargetLook`]. Always holds: it only reads; three
//! queries and a few for each earlier run, whatever the number of tables.

use super::figures::{MOST_NAMES, counted, listed, named, sized};
use super::history::{Past, past};
use super::session;
use crate::config::{MigrationConfig, TargetMode};
use crate::migrate::quote::shown;
use crate::migrate::run::MigrateError;
use crate::migrate::schema::TableName;
use crate::migrate::state::{self, Holder, Run, VERSION};
use crate::postgres::PostgresError;
use serde::Serialize;
use std::fmt::Write as _;
use tokio_postgres::Client;

/// Earlier runs that are looked at.
const MOST_RUNS: u32 = 20;

/// What the target holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct TargetLook {
    /// What has the names of the plan's tables already.
    pub(super) there: Vec<There>,
    /// The open run into the same schema.
    pub(super) open_run: Option<String>,
    /// Who is at work in the same schema.
    pub(super) held_by: Option<String>,
    /// Earlier runs that say how long it takes.
    pub(super) past: Vec<Past>,
    /// The run's state in the target cannot be used: why.
    pub(super) state_problem: Option<String>,
}

/// Something that has a planned table's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct There {
    pub(super) name: String,
    /// Whether it is a table; a view, say, is in the way.
    pub(super) is_table: bool,
    /// As the target's statistics have it; `None`: never counted.
    pub(super) rows: Option<u64>,
    /// With its indexes.
    pub(super) bytes: u64,
}

const THERE: &str = "\
SELECT n.nspname::text, c.relname::text, c.relkind IN ('r', 'p'),
       CASE WHEN c.reltuples >= 0 THEN c.reltuples::bigint END, pg_catalog.pg_total_relation_size(c.oid)
FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) AS w(schema_name, table_name)
JOIN pg_catalog.pg_namespace AS n ON n.nspname = w.schema_name
JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = w.table_name
ORDER BY 1, 2";

/// Looks at the target.
pub(super) async fn look(config: &MigrationConfig, tables: &[TableName]) -> Result<TargetLook, MigrateError> {
    let connection = session::to_look(config).await?;
    let client = connection.client();
    let there = there(client, tables).await.map_err(MigrateError::Target)?;
    let nothing = TargetLook { there, open_run: None, held_by: None, past: Vec::new(), state_problem: None };
    match state::installed_version(client).await {
        Ok(None) => Ok(nothing),
        Ok(Some(VERSION)) => with_runs(client, config, nothing).await,
        Ok(Some(found)) => {
            let problem =
                format!("its schema leverd_migration has version {found}, and this leverd knows {VERSION}");
            Ok(TargetLook { state_problem: Some(problem), ..nothing })
        }
        // A schema of somebody else's, or one that may not be read.
        Err(error) => Ok(TargetLook { state_problem: Some(error.to_string()), ..nothing }),
    }
}

async fn there(client: &Client, tables: &[TableName]) -> Result<Vec<There>, PostgresError> {
    let failed =
        |error: tokio_postgres::Error| PostgresError::statement("looking for tables in the target", &error);
    let schemas: Vec<&str> = tables.iter().map(|table| table.schema.as_str()).collect();
    let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
    let rows = client.query(THERE, &[&schemas, &names]).await.map_err(failed)?;
    let mut there = Vec::with_capacity(rows.len());
    for row in rows {
        let name =
            TableName { schema: row.try_get(0).map_err(failed)?, name: row.try_get(1).map_err(failed)? };
        let counted: Option<i64> = row.try_get(3).map_err(failed)?;
        let bytes: i64 = row.try_get(4).map_err(failed)?;
        there.push(There {
            name: shown(&name),
            is_table: row.try_get(2).map_err(failed)?,
            rows: counted.and_then(|rows| u64::try_from(rows).ok()),
            bytes: u64::try_from(bytes).unwrap_or(0),
        });
    }
    Ok(there)
}

async fn with_runs(
    client: &Client,
    config: &MigrationConfig,
    look: TargetLook,
) -> Result<TargetLook, MigrateError> {
    let schema = &config.target.schema;
    let runs = state::last_runs(client, MOST_RUNS).await?;
    let into_it = |run: &&Run| run.open && run.target_schemas.contains(schema);
    let open_run = runs.iter().find(into_it).map(|run| run.id.clone());
    let holder: Option<Holder> = state::holder(client, std::slice::from_ref(schema)).await?;
    let source = config.source.to_string();
    let mut earlier = Vec::new();
    for run in runs.iter().filter(|run| !run.open) {
        let totals = state::table_totals(client, &run.id).await?;
        earlier.extend(past(run, &totals, &source));
    }
    Ok(TargetLook { open_run, held_by: holder.map(|holder| holder.to_string()), past: earlier, ..look })
}

impl TargetLook {
    /// For people: what becomes of what is there.
    pub(super) fn text(&self, mode: TargetMode) -> String {
        let mut text = match self.there.len() as u64 {
            0 => "The target has none of these tables.\n".to_owned(),
            count => {
                let tables = named(count, "table");
                let fate = match mode {
                    TargetMode::DropRecreate => "will be DROPPED with all rows",
                    TargetMode::Truncate => "will be EMPTIED",
                    TargetMode::Append => "will stay, and get the rows besides",
                    TargetMode::Upsert => "will stay; rows are added, and replaced where the key is there",
                };
                let names: Vec<String> = self.there.iter().map(There::shown).collect();
                format!("{tables} of the target {fate}: {}.\n", listed(&names, MOST_NAMES))
            }
        };
        let in_the_way: Vec<String> =
            self.there.iter().filter(|there| !there.is_table).map(|there| there.name.clone()).collect();
        if !in_the_way.is_empty() {
            let names = listed(&in_the_way, MOST_NAMES);
            let _ = writeln!(text, "In the way, because they are no tables: {names}.");
        }
        if let Some(holder) = &self.held_by {
            let _ = writeln!(text, "The target is taken: {holder}.");
        } else if let Some(run) = &self.open_run {
            let _ = writeln!(
                text,
                "The run {run} into this schema was interrupted: `resume` goes on with it, `run --replace` begins anew."
            );
        }
        if let Some(problem) = &self.state_problem {
            let _ = writeln!(text, "A run would be refused: {problem}.");
        }
        text
    }
}

impl There {
    /// `shop.orders (about 1,000 rows, 80 MB)`.
    fn shown(&self) -> String {
        match (self.is_table, self.rows) {
            (false, _) => self.name.clone(),
            (true, Some(rows)) => {
                format!("{} (about {} rows, {})", self.name, counted(rows), sized(self.bytes))
            }
            (true, None) => format!("{} ({})", self.name, sized(self.bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(name: &str, is_table: bool) -> There {
        There { name: name.to_owned(), is_table, rows: Some(1_000), bytes: 80 << 20 }
    }

    fn look(there: Vec<There>) -> TargetLook {
        TargetLook { there, open_run: None, held_by: None, past: Vec::new(), state_problem: None }
    }

    #[test]
    fn what_becomes_of_what_is_there_depends_on_the_mode() {
        assert_eq!(look(Vec::new()).text(TargetMode::DropRecreate), "The target has none of these tables.\n");
        let one = look(vec![there("public.orders", true)]);
        assert_eq!(
            one.text(TargetMode::DropRecreate),
            "1 table of the target will be DROPPED with all rows: public.orders (about 1,000 rows, 80 MB).\n"
        );
        assert!(one.text(TargetMode::Truncate).contains("EMPTIED"));
        assert!(one.text(TargetMode::Append).contains("get the rows besides"));
        assert!(one.text(TargetMode::Upsert).contains("replaced"));
    }

    #[test]
    fn what_is_in_the_way_and_who_is_at_work_is_told() {
        let mut look = look(vec![there("public.orders", false)]);
        look.open_run = Some("r1".to_owned());
        look.state_problem = Some("it is broken".to_owned());
        let text = look.text(TargetMode::DropRecreate);
        assert!(text.contains("because they are no tables: public.orders."), "{text}");
        assert!(text.contains("The run r1 into this schema was interrupted"), "{text}");
        assert!(text.contains("A run would be refused: it is broken."), "{text}");
        look.held_by = Some("schema public is held by run r1".to_owned());
        assert!(
            look.text(TargetMode::Append).contains("The target is taken: schema public is held by run r1.")
        );
    }
}
