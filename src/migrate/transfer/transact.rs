//! The one transaction of a chunk: its rows and its record.
//!
//! In: a session of the target, a chunk that is being read. Out: what of the chunk is in the target now. Always holds:
//! rows and record are committed together or not at all; a chunk is there once, however often the answer to its COMMIT
//! was lost, because the target is asked for it before it is tried again.

use super::counters::add;
use super::writer::{Writer, Written};
use super::{Failure, Ready, Shared, Side, TableOrder};
use tokio::time::Instant;

impl Shared {
    /// Brings a chunk, with its record.
    pub(super) async fn transact(
        &self,
        index: u32,
        target: &mut Writer,
        ready: &mut Ready,
    ) -> Result<Written, Failure> {
        let chunk = &ready.chunk;
        let Some(TableOrder { destination, .. }) = self.order.tables.get(&chunk.table) else {
            return Err(Failure::lasting(Side::Target, format!("table {} is not in the plan", chunk.table)));
        };
        // Where the table has a key, each of its rows would be refused as a double.
        if chunk.failures > 0
            && let Some(written) = target.earlier(&self.order.lease, chunk).await?
        {
            return Ok(written);
        }
        let most_rejected = chunk.salvage.then_some(self.order.most_rejected);
        let written = target.write(destination, &mut ready.pieces, most_rejected, &self.counters).await?;
        let commit = Instant::now();
        if target.record(&self.order.lease, chunk, &written, index).await? {
            target.commit().await?;
            target.committed(destination);
        } else {
            // An earlier try was still being committed when the target was asked for it.
            target.roll_back().await?;
        }
        add(&self.counters.commit_time, commit.elapsed());
        Ok(written)
    }
}
