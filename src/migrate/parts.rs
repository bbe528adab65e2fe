//! What the rows of each table are read in: for each relation a part, of a large one several, and how they can be cut.
//!
//! In: a plan, and a session of the source that has the run's snapshot. Out: [`PartPlan`]s. Always holds: the number of
//! questions is the number of large tables over a hundred; a table that is not large is not asked about. Parts cover
//! their relation whatever statistics say: bounds balance, and cut nothing off.

use super::mysql::MySqlSession;
use super::plan::{Plan, PlannedTable, rows_of};
use super::quote;
use super::ranges::{Extent, by_blocks, by_integer, everything};
use super::transfer::{Failure, PartPlan, Side};
use crate::config::MigrationSettings;
use std::collections::BTreeMap;
use tokio_postgres::Client;

/// Bounds of so many relations are asked for by one query.
const BOUNDS_AT_ONCE: usize = 100;
/// What it is doing then, for errors.
const BOUNDS: &str = "asking the source for the bounds of its keys";

/// The parts of a plan's tables, by the table's number. `chunk_rows`: what one chunk can take is not asked about.
pub(crate) async fn of_postgres(
    client: &Client,
    plan: &Plan,
    settings: &MigrationSettings,
) -> Result<BTreeMap<u32, Vec<PartPlan>>, Failure> {
    let mut parts: BTreeMap<u32, Vec<PartPlan>> = BTreeMap::new();
    let mut questions: Vec<(u32, usize, String)> = Vec::new();
    for (number, table) in (0_u32..).zip(&plan.tables) {
        let of_table = of_table(table, plan, settings);
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
        // Undone, each gives back its locks: on these relations and all of their indexes.
        savepoint(client, "SAVEPOINT leverd_bounds").await?;
        let found = bounds(client, some).await?;
        savepoint(client, "ROLLBACK TO SAVEPOINT leverd_bounds; RELEASE SAVEPOINT leverd_bounds").await?;
        for (at, bounds) in found {
            let (number, part, _) = &some[at];
            if let Some(part) = parts.get_mut(number).and_then(|parts| parts.get_mut(*part)) {
                part.bounds = bounds;
            }
        }
    }
    Ok(parts
        .into_iter()
        .map(|(number, of_table)| (number, divided(of_table, &Division::of(settings))))
        .collect())
}

/// The same of a MySQL's tables: a query for each large one.
pub(crate) async fn of_mysql(
    session: &mut MySqlSession,
    plan: &Plan,
    settings: &MigrationSettings,
) -> Result<BTreeMap<u32, Vec<PartPlan>>, Failure> {
    let mut parts = BTreeMap::new();
    for (number, table) in (0_u32..).zip(&plan.tables) {
        let mut of_table = of_table(table, plan, settings);
        for part in &mut of_table {
            if let Extent::Integer { column, .. } = &part.extent
                && is_cut(part, settings)
            {
                let asked = session.bounds(&part.relation, column).await;
                part.bounds = asked.map_err(|error| error.failure())?;
            }
        }
        parts.insert(number, divided(of_table, &Division::of(settings)));
    }
    Ok(parts)
}

/// How many tables a large one counts as where readers are given out: its parts, as far as `max_partitions` goes.
pub(crate) fn shares(parts: &[PartPlan], settings: &MigrationSettings) -> u32 {
    u32::try_from(parts.len()).unwrap_or(u32::MAX).min(settings.max_partitions).max(1)
}

/// What is divided, and how far.
#[derive(Debug, Clone, Copy)]
struct Division {
    /// A relation with fewer rows is one part.
    large_rows: u64,
    /// Rows that a part should have at least.
    part_rows: u64,
    /// Parts of one table, at most; where it has more relations, one for each.
    most: u32,
}

impl Division {
    fn of(settings: &MigrationSettings) -> Self {
        Self {
            large_rows: settings.large_table_threshold,
            part_rows: u64::from(settings.chunk_size),
            most: settings.max_partitions,
        }
    }
}

/// Divides a table's large relations by their keys or blocks.
///
/// A part keeps its relation's own bounds, blocks and rows: they say how many rows a key or a block has.
fn divided(relations: Vec<PartPlan>, division: &Division) -> Vec<PartPlan> {
    let count = u32::try_from(relations.len()).unwrap_or(u32::MAX).max(1);
    let most = division.most / count;
    let mut parts = Vec::with_capacity(relations.len());
    for whole in relations {
        let rows = whole.rows.unwrap_or(0);
        let extents = match (&whole.extent, whole.bounds) {
            _ if rows < division.large_rows => vec![whole.extent.clone()],
            (Extent::Integer { column, .. }, Some(bounds)) => {
                by_integer(column, bounds, rows, division.part_rows, most)
            }
            (Extent::Blocks { .. }, _) => by_blocks(whole.blocks, rows, division.part_rows, most),
            // Without bounds there are no rows, and where any other key divides a table nobody knows beforehand.
            _ => vec![whole.extent.clone()],
        };
        for extent in extents {
            let number = u32::try_from(parts.len()).unwrap_or(u32::MAX);
            parts.push(PartPlan { number, extent, ..whole.clone() });
        }
    }
    parts
}

fn of_table(table: &PlannedTable, plan: &Plan, settings: &MigrationSettings) -> Vec<PartPlan> {
    let keeps_rows = settings.target_mode.keeps_rows();
    (0_u32..)
        .zip(&table.relations)
        .map(|(number, relation)| PartPlan {
            number,
            relation: relation.name.clone(),
            extent: everything(&table.definition, plan.engine, relation.blocks, keeps_rows),
            bounds: None,
            blocks: relation.blocks.unwrap_or(0),
            rows: Some(rows_of(relation)),
            bytes: relation.bytes,
        })
        .collect()
}

/// Whether a part has more rows than the smallest chunk that an adjustment may ask for: else it is one chunk.
fn is_cut(part: &PartPlan, settings: &MigrationSettings) -> bool {
    let least = u64::from(settings.chunk_size.min(10_000));
    part.rows.is_none_or(|rows| rows > least)
}

async fn savepoint(client: &Client, sql: &str) -> Result<(), Failure> {
    let failed = |error: tokio_postgres::Error| Failure::of(Side::Source, BOUNDS, &error);
    client.batch_execute(sql).await.map_err(failed)
}

/// The bounds by place in `questions`; `None`: there are no rows.
async fn bounds(
    client: &Client,
    questions: &[(u32, usize, String)],
) -> Result<Vec<(usize, Option<(i128, i128)>)>, Failure> {
    let asked: Vec<String> =
        questions.iter().enumerate().map(|(at, (_, _, bounds))| format!("SELECT {at}, {bounds}")).collect();
    let failed = |error: tokio_postgres::Error| Failure::of(Side::Source, BOUNDS, &error);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::schema::TableName;

    const DIVISION: Division = Division { large_rows: 1000, part_rows: 100, most: 4 };

    fn whole(number: u32, extent: Extent, rows: u64) -> PartPlan {
        PartPlan {
            number,
            relation: TableName { schema: "shop".to_owned(), name: format!("leaf_{number}") },
            extent,
            bounds: Some((1, 4000)),
            blocks: 80,
            rows: Some(rows),
            bytes: Some(rows * 100),
        }
    }

    fn by_id(number: u32, rows: u64) -> PartPlan {
        whole(number, Extent::Integer { column: "id".to_owned(), from: None, below: None }, rows)
    }

    /// The number, relation and first key or block of each.
    fn shown(parts: &[PartPlan]) -> Vec<(u32, String, Option<i128>)> {
        let first = |part: &PartPlan| match &part.extent {
            Extent::Integer { from, .. } => *from,
            Extent::Blocks { from, .. } => from.map(i128::from),
            Extent::Keyset { .. } | Extent::Whole => None,
        };
        parts.iter().map(|part| (part.number, part.relation.name.clone(), first(part))).collect()
    }

    #[test]
    fn a_large_table_is_divided_and_keeps_what_is_known_of_it() {
        let of = |number: u32, first: Option<i128>| (number, "leaf_0".to_owned(), first);
        let parts = divided(vec![by_id(0, 4000)], &DIVISION);
        assert_eq!(shown(&parts), [of(0, None), of(1, Some(1001)), of(2, Some(2001)), of(3, Some(3001))]);
        assert!(parts.iter().all(|part| part.bounds == Some((1, 4000)) && part.rows == Some(4000)));
        let blocks = Extent::Blocks { from: None, below: None };
        let parts = divided(vec![whole(0, blocks, 4000)], &Division { most: 2, ..DIVISION });
        assert_eq!(shown(&parts), [of(0, None), of(1, Some(40))]);
        assert!(parts.iter().all(|part| part.blocks == 80));
    }

    #[test]
    fn what_is_small_or_has_another_key_is_one_part() {
        let keyset = Extent::Keyset { columns: vec!["k".to_owned()], after: None, up_to: None };
        let empty = PartPlan { bounds: None, ..by_id(0, 4000) };
        for one in [by_id(0, 999), whole(0, keyset, 4000), whole(0, Extent::Whole, 4000), empty] {
            let parts = divided(vec![one.clone()], &DIVISION);
            assert_eq!(parts.len(), 1, "{parts:?}");
            assert_eq!((parts[0].number, &parts[0].extent), (0, &one.extent));
        }
        assert_eq!(divided(vec![by_id(0, 4000)], &Division { most: 1, ..DIVISION }).len(), 1);
        assert!(divided(Vec::new(), &DIVISION).is_empty());
    }

    #[test]
    fn the_bound_is_that_of_the_table_and_not_of_each_partition() {
        let of = |number: u32, leaf: &str, first: Option<i128>| (number, leaf.to_owned(), first);
        let parts = divided(vec![by_id(0, 4000), by_id(1, 10)], &DIVISION);
        assert_eq!(
            shown(&parts),
            [of(0, "leaf_0", None), of(1, "leaf_0", Some(2001)), of(2, "leaf_1", None)]
        );
        let many: Vec<PartPlan> = (0..9).map(|number| by_id(number, 4000)).collect();
        assert_eq!(divided(many, &DIVISION).len(), 9);
    }
}
