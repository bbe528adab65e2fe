//! The queue in a table, as one writer sees it: which of its rows wait, and which are to go.
//!
//! It is told of rows only once they are committed, so a batch that fails and is written again changes nothing here.

use crate::sandbox::scenario::Load;
use std::collections::VecDeque;

#[derive(Debug)]
pub(super) struct Jobs {
    per_event: usize,
    pending: usize,
    waiting: VecDeque<i64>,
}

impl Jobs {
    pub(super) fn new(load: &Load) -> Self {
        let (per_event, pending) = (load.jobs.per_event.get() as usize, load.jobs.pending.get() as usize);
        Self { per_event, pending, waiting: VecDeque::new() }
    }

    /// How many rows so many events add.
    pub(super) fn added_by(&self, events: usize) -> usize {
        self.per_event * events
    }

    /// The oldest rows: those that are to go when `added` come.
    pub(super) fn due(&self, added: usize) -> Vec<i64> {
        let count = (self.waiting.len() + added).saturating_sub(self.pending);
        self.waiting.iter().take(count).copied().collect()
    }

    /// It is committed: `added` came, and the `removed` oldest went.
    pub(super) fn committed(&mut self, added: Vec<i64>, removed: usize) {
        self.waiting.drain(..removed.min(self.waiting.len()));
        self.waiting.extend(added);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_wait_until_so_many_younger_ones_came() {
        let mut jobs = Jobs { per_event: 2, pending: 3, waiting: VecDeque::new() };
        assert_eq!(jobs.added_by(2), 4);
        assert_eq!(jobs.due(2), [] as [i64; 0]);
        jobs.committed(vec![1, 2], 0);
        jobs.committed(vec![3, 4], jobs.due(2).len());
        assert_eq!(jobs.waiting, [2, 3, 4]);
        // Not committed: the same rows are due again.
        assert_eq!(jobs.due(2), [2, 3]);
        assert_eq!(jobs.due(2), [2, 3]);
        jobs.committed(vec![5, 6], 2);
        assert_eq!(jobs.waiting, [4, 5, 6]);
    }
}
