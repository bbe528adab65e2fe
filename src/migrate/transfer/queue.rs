//! Chunks between readers and writers: first in, first out, bounded in number by a setting that may change.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

/// A queue of at most so many.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    /// One came.
    filled: Notify,
    /// One went, or more may be in it.
    drained: Notify,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    capacity: usize,
}

impl<T> Queue<T> {
    /// With room for `capacity`, which is at least 1.
    pub(crate) fn new(capacity: usize) -> Self {
        let state = State { items: VecDeque::new(), capacity: capacity.max(1) };
        Self { state: Mutex::new(state), filled: Notify::new(), drained: Notify::new() }
    }

    /// Waits for room, then puts it in.
    pub(crate) async fn put(&self, item: T) {
        loop {
            let drained = self.drained.notified();
            tokio::pin!(drained);
            // From here on no going is missed.
            drained.as_mut().enable();
            {
                let mut state = self.lock();
                if state.items.len() < state.capacity {
                    state.items.push_back(item);
                    drop(state);
                    self.filled.notify_one();
                    return;
                }
            }
            drained.await;
        }
    }

    /// Waits for one. Safe to drop while it waits.
    pub(crate) async fn take(&self) -> T {
        loop {
            let filled = self.filled.notified();
            tokio::pin!(filled);
            filled.as_mut().enable();
            {
                let mut state = self.lock();
                if let Some(item) = state.items.pop_front() {
                    let more = !state.items.is_empty();
                    drop(state);
                    self.drained.notify_waiters();
                    if more {
                        // A waiter that was dropped may have swallowed the notice for the next one.
                        self.filled.notify_one();
                    }
                    return item;
                }
            }
            filled.await;
        }
    }

    /// From now on so many may be in it.
    pub(crate) fn resize(&self, capacity: usize) {
        self.lock().capacity = capacity.max(1);
        self.drained.notify_waiters();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
