//! What the rows of each table are read in: for each relation one part, and how it can be cut.
//!
//! In: a plan, and a session of the source that has the run's snapshot. Out: [`PartPlan`]s. Always holds: the number of
//! queries is the number of large tables over a hundred; a table that is not large is not asked about. Parts cover
//! their relation whatever statistics say: bounds balance, and cut nothing off.

use super::mysql::MySqlSession;
use super::plan::{Plan, PlannedTable, rows_of};
use super::quote;
use super::ranges::{self, Extent, Method, Rules};
use super::transfer::{Failure, PartPlan, Side};
use crate::config::{MigrationSettings, TargetMode};
use std::collections::BTreeMap;
use tokio_postgres::Client;

/// Bounds of so many relations are asked for by one query.
const BOUNDS_AT_ONCE: usize = 100;

/// The parts of a plan's tables, by the table's number. `chunk_rows`: what one chunk can take is not asked about.
pub(crate) async fn of_postgres(
    client: &Client,
    plan: &Plan,
    settings: &MigrationSettings,
) -> Result<BTreeMap<u32, Vec<PartPlan>>, Failure> {
    let rules = rules(settings);
    let mut parts: BTreeMap<u32, Vec<PartPlan>> = BTreeMap::new();
    let mut questions: Vec<(u32, usize, String)> = Vec::new();
    for (number, table) in (0_u32..).zip(&plan.tables) {
        let of_table = of_table(table, plan, &rules);
        for (at, part) in of_table.iter().enumerate() {
            if let Extent::Integer { column, .. } = &part.extent
                && is_cut(part, settings)
            {
                let name = quote::qualified(&part.relation);
                let column = quote::identifier(column);
                questions.push((
                    number,
                    at,
                    format!("min({column})::text, max({column})::text FROM ONLY {name}"),
                ));
            }
        }
        parts.insert(number, of_table);
    }
    for some in questions.chunks(BOUNDS_AT_ONCE) {
        for (at, bounds) in bounds(client, some).await? {
            let (number, part, _) = &some[at];
            if let Some(part) = parts.get_mut(number).and_then(|parts| parts.get_mut(*part)) {
                part.bounds = bounds;
            }
        }
    }
    Ok(parts)
}

/// The same of a MySQL's tables: a query for each large one.
pub(crate) async fn of_mysql(
    session: &mut MySqlSession,
    plan: &Plan,
    settings: &MigrationSettings,
) -> Result<BTreeMap<u32, Vec<PartPlan>>, Failure> {
    let rules = rules(settings);
    let mut parts = BTreeMap::new();
    for (number, table) in (0_u32..).zip(&plan.tables) {
        let mut of_table = of_table(table, plan, &rules);
        for part in &mut of_table {
            if let Extent::Integer { column, .. } = &part.extent
                && is_cut(part, settings)
            {
                let asked = session.bounds(&part.relation, column).await;
                part.bounds = asked.map_err(|error| error.failure())?;
            }
        }
        parts.insert(number, of_table);
    }
    Ok(parts)
}

/// Ranges by blocks mean something in one snapshot alone. Where a table cannot be emptied and loaded again, it is read
/// by its key.
fn rules(settings: &MigrationSettings) -> Rules {
    let keeps_rows = matches!(settings.target_mode, TargetMode::Append | TargetMode::Upsert);
    Rules {
        large_table_threshold_rows: settings.large_table_threshold,
        max_partitions: settings.max_partitions,
        range_rows: u64::from(settings.chunk_size),
        outlives_snapshot: keeps_rows,
    }
}

fn of_table(table: &PlannedTable, plan: &Plan, rules: &Rules) -> Vec<PartPlan> {
    (0_u32..)
        .zip(&table.relations)
        .map(|(number, relation)| {
            let method = ranges::method(&table.definition, plan.engine, relation.blocks, rules);
            let extent = match method {
                Method::Integer { column } => Extent::Integer { column, from: None, below: None },
                // Without a key, into a table that keeps its rows: all of it in one transaction.
                Method::Blocks if rules.outlives_snapshot => Extent::Whole,
                Method::Blocks => Extent::Blocks { from: None, below: None },
                Method::Keyset { columns } => Extent::Keyset { columns, after: None, up_to: None },
                Method::Whole => Extent::Whole,
            };
            PartPlan {
                number,
                relation: relation.name.clone(),
                extent,
                bounds: None,
                blocks: relation.blocks.unwrap_or(0),
                rows: Some(rows_of(relation)),
                bytes: relation.bytes,
            }
        })
        .collect()
}

/// Whether a part has more rows than the smallest chunk that an adjustment may ask for: else it is one chunk.
fn is_cut(part: &PartPlan, settings: &MigrationSettings) -> bool {
    let least = u64::from(settings.chunk_size.min(10_000));
    part.rows.is_none_or(|rows| rows > least)
}

/// The bounds by place in `questions`; `None`: there are no rows.
async fn bounds(
    client: &Client,
    questions: &[(u32, usize, String)],
) -> Result<Vec<(usize, Option<(i128, i128)>)>, Failure> {
    let asked: Vec<String> =
        questions.iter().enumerate().map(|(at, (_, _, bounds))| format!("SELECT {at}, {bounds}")).collect();
    let doing = "asking the source for the bounds of its keys";
    let failed = |error: tokio_postgres::Error| Failure::of(Side::Source, doing, &error);
    let rows = client.query(&asked.join(" UNION ALL "), &[]).await.map_err(failed)?;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let at: i32 = row.try_get(0).map_err(failed)?;
        let least: Option<String> = row.try_get(1).map_err(failed)?;
        let greatest: Option<String> = row.try_get(2).map_err(failed)?;
        let number = |text: Option<String>| text.and_then(|text| text.parse::<i128>().ok());
        found.push((usize::try_from(at).unwrap_or(usize::MAX), number(least).zip(number(greatest))));
    }
    Ok(found)
}
