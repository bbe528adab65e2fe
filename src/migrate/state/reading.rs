//! All that the target knows of a run, in a fixed number of queries and in one view.
//!
//! In: a run's id. Out: its [`RunState`], from which the run goes on. Always holds: what does not belong together (a
//! chunk of a part that is not there) is an error and never left out: rows that are in the target would be read again.

use super::adjustments::{RecordedAdjustment, adjustments_of};
use super::chunks::{TableTotals, chunks_of, table_totals};
use super::parts::{parts_of, tables_of};
use super::runs::read_run;
use super::statements::{DoneStatement, statements_of};
use super::{
    ChunkKey, CommittedChunk, MovedTable, PartState, Run, StateError, TableState, TableStep, failed,
};
use std::collections::BTreeMap;
use tokio_postgres::Client;

/// A run, and what is done of it.
#[derive(Debug, Clone, PartialEq)]
pub struct RunState {
    /// The run.
    pub run: Run,
    /// Its tables by number, with parts and chunks.
    pub tables: Vec<TableState>,
    /// What its chunks brought, table by table, without tables that have none.
    pub totals: Vec<TableTotals>,
    /// The statements that are done, in the order in which they were.
    pub statements: Vec<DoneStatement>,
    /// Its adjustments by number.
    pub adjustments: Vec<RecordedAdjustment>,
}

/// What a run's tables know of each other: not yet put together.
type Pieces = (Vec<(MovedTable, TableStep)>, Vec<PartState>, Vec<(ChunkKey, CommittedChunk)>);

/// Reads all of a run, in seven queries; [`StateError::UnknownRun`] where it is not known. To go on with it, read it
/// after [`super::Lease::take`]: before, an earlier process may still commit chunks.
///
/// The connection must be in no transaction. Where the future is dropped half-way the connection stays in one: drop it
/// too.
pub async fn load(client: &Client, run: &str) -> Result<RunState, StateError> {
    in_one_view(client, read(client, run)).await
}

async fn read(client: &Client, run: &str) -> Result<RunState, StateError> {
    let found = read_run(client, run).await?;
    let tables = tables_of(client, run).await?;
    let parts = parts_of(client, run).await?;
    let chunks = chunks_of(client, run).await?;
    let totals = table_totals(client, run).await?;
    let statements = statements_of(client, run).await?;
    let adjustments = adjustments_of(client, run).await?;
    let tables = assemble((tables, parts, chunks))?;
    Ok(RunState { run: found, tables, totals, statements, adjustments })
}

/// Runs `reading` within one view of the state, and ends that whatever came of it.
async fn in_one_view<T>(
    client: &Client,
    reading: impl Future<Output = Result<T, StateError>>,
) -> Result<T, StateError> {
    let doing = "holding one view of the run's state";
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    client.batch_execute(begin).await.map_err(failed(doing))?;
    let found = reading.await;
    let ended = client.batch_execute("ROLLBACK").await.map_err(failed(doing));
    let found = found?;
    ended?;
    Ok(found)
}

/// Puts each chunk into its part, and each part into its table; all of them are in order.
fn assemble((tables, parts, chunks): Pieces) -> Result<Vec<TableState>, StateError> {
    let mut by_part: BTreeMap<(u32, u32), PartState> =
        parts.into_iter().map(|state| ((state.part.table, state.part.number), state)).collect();
    for (key, chunk) in chunks {
        let Some(state) = by_part.get_mut(&(key.table, key.part)) else {
            let what = format!("a chunk of part {} of table {}, which is not there", key.part, key.table);
            return Err(StateError::Damaged { what });
        };
        state.chunks.push(chunk);
    }
    let mut by_table: BTreeMap<u32, TableState> = tables
        .into_iter()
        .map(|(table, step)| (table.number, TableState { table, step, parts: Vec::new() }))
        .collect();
    for ((table, _), state) in by_part {
        let Some(found) = by_table.get_mut(&table) else {
            let what = format!("a part of table {table}, which is not there");
            return Err(StateError::Damaged { what });
        };
        found.parts.push(state);
    }
    Ok(by_table.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::super::Part;
    use super::*;
    use crate::migrate::ranges::Extent;
    use crate::migrate::schema::TableName;

    fn name() -> TableName {
        TableName { schema: "shop".to_owned(), name: "orders".to_owned() }
    }

    fn table(number: u32) -> (MovedTable, TableStep) {
        let table = MovedTable {
            number,
            source: name(),
            target: name(),
            columns: vec!["id".to_owned()],
            expected_rows: None,
            expected_bytes: None,
        };
        (table, TableStep::Loading)
    }

    fn part(table: u32, number: u32) -> PartState {
        let part = Part { table, number, relation: name(), extent: Extent::Whole, file: None };
        PartState { part, closed: false, chunks: Vec::new() }
    }

    fn chunk(table: u32, part: u32, seq: u32) -> (ChunkKey, CommittedChunk) {
        let key = ChunkKey { table, part, seq };
        (key, CommittedChunk { seq, extent: Extent::Whole, rows: 1, bytes: 1, rejected: 0 })
    }

    #[test]
    fn each_chunk_is_in_its_part_and_each_part_in_its_table() {
        let pieces = (
            vec![table(0), table(7)],
            vec![part(7, 0), part(7, 2)],
            vec![chunk(7, 2, 0), chunk(7, 2, 4), chunk(7, 0, 1)],
        );
        let tables = assemble(pieces).unwrap();
        assert_eq!(tables.iter().map(|state| state.table.number).collect::<Vec<_>>(), [0, 7]);
        assert!(tables[0].parts.is_empty());
        let seqs: Vec<Vec<u32>> = tables[1]
            .parts
            .iter()
            .map(|state| state.chunks.iter().map(|chunk| chunk.seq).collect())
            .collect();
        assert_eq!(seqs, [vec![1], vec![0, 4]]);
    }

    #[test]
    fn what_belongs_nowhere_is_an_error() {
        let orphan = assemble((vec![table(0)], vec![part(0, 0)], vec![chunk(0, 1, 0)])).unwrap_err();
        let told = "the state in the target is damaged: a chunk of part 1 of table 0, which is not there";
        assert_eq!(orphan.to_string(), told);
        let orphan = assemble((vec![table(0)], vec![part(1, 0)], Vec::new())).unwrap_err();
        assert!(orphan.to_string().ends_with("a part of table 1, which is not there"), "{orphan}");
    }
}
