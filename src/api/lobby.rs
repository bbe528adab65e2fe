//! Who is connected, and who has to go when it is full: the one that has asked nothing for longest.
//!
//! A client that opens connections and sends nothing (slowloris) takes places from itself, not from a scrape. Always
//! holds: at most so many connections; one whose request is being answered is never cut for another.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The connections of one listener.
#[derive(Debug)]
pub(super) struct Lobby {
    most: usize,
    /// In the order in which they came.
    guests: Mutex<VecDeque<Arc<Guest>>>,
    /// Somebody went, or has got an answer.
    moved: Notify,
}

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Guest {
    /// Requests that are being answered.
    asked: AtomicUsize,
    /// It has to go.
    pub(super) out: CancellationToken,
}

/// A request that is being answered, as long as this lives.
pub(super) struct Asked {
    guest: Arc<Guest>,
    lobby: Arc<Lobby>,
}

impl Lobby {
    pub(super) fn new(most: usize) -> Self {
        Self { most, guests: Mutex::default(), moved: Notify::new() }
    }

    /// A place; where there is none the one goes that has asked nothing for longest. Waits where all are being answered.
    pub(super) async fn admit(&self) -> Arc<Guest> {
        loop {
            let moved = self.moved.notified();
            if let Some(guest) = self.place() {
                return guest;
            }
            moved.await;
        }
    }

    fn place(&self) -> Option<Arc<Guest>> {
        let mut guests = self.lock();
        if guests.len() >= self.most {
            let idle = guests.iter().position(|guest| guest.asked.load(Ordering::Acquire) == 0)?;
            guests.remove(idle)?.out.cancel();
        }
        let guest = Arc::new(Guest::default());
        guests.push_back(Arc::clone(&guest));
        Some(guest)
    }

    /// The connection has ended.
    pub(super) fn leave(&self, guest: &Arc<Guest>) {
        self.lock().retain(|other| !Arc::ptr_eq(other, guest));
        self.moved.notify_waiters();
    }

    /// A request of the guest begins to be answered.
    pub(super) fn asked(self: &Arc<Self>, guest: &Arc<Guest>) -> Asked {
        guest.asked.fetch_add(1, Ordering::AcqRel);
        Asked { guest: Arc::clone(guest), lobby: Arc::clone(self) }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Guest>>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.guest.asked.fetch_sub(1, Ordering::AcqRel);
        self.lobby.moved.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_asks_nothing_goes_first_and_who_is_answered_stays() {
        let lobby = Arc::new(Lobby::new(2));
        let (first, second) = (lobby.admit().await, lobby.admit().await);
        let answered = lobby.asked(&first);
        let third = lobby.admit().await;
        assert!(second.out.is_cancelled() && !first.out.is_cancelled());
        let also_answered = lobby.asked(&third);
        let soon = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, lobby.admit()).await.is_err(), "all are being answered");
        drop(answered);
        let fourth = lobby.admit().await;
        assert!(first.out.is_cancelled() && !third.out.is_cancelled());
        lobby.leave(&fourth);
        assert_eq!(lobby.lock().len(), 1);
        drop(also_answered);
    }
}
