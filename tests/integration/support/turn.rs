//! Tests that measure take turns: two at once would measure each other.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Waits for the turn, which ends when the guard is dropped.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
