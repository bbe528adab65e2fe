//! The bounded queue between the arrivals and the writers.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// One unit of work.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event {
    /// Its number, from 0.
    pub(super) sequence: u64,
    /// When it was due.
    pub(super) arrived: Instant,
}

#[derive(Debug)]
pub(super) struct Queue {
    events: Mutex<VecDeque<Event>>,
    capacity: usize,
    arrival: Notify,
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        Self { events: Mutex::new(VecDeque::new()), capacity, arrival: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Event>> {
        self.events.lock().expect("nobody panics while holding the queue")
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Adds what there is room for; returns how many there was none for.
    pub(super) fn push(&self, arrived: Vec<Event>) -> usize {
        let offered = arrived.len();
        let taken = {
            let mut events = self.lock();
            let room = self.capacity.saturating_sub(events.len()).min(offered);
            events.extend(arrived.into_iter().take(room));
            room
        };
        if taken > 0 {
            self.arrival.notify_one();
        }
        offered - taken
    }

    /// The next batch: up to `most()` events, as soon as there are so many or the oldest waited for `linger`.
    pub(super) async fn take(&self, most: impl Fn() -> usize, linger: Duration) -> Vec<Event> {
        loop {
            let wait = {
                let mut events = self.lock();
                let most = most().max(1);
                match events.front() {
                    None => None,
                    Some(oldest) => {
                        let waited = oldest.arrived.elapsed();
                        if events.len() >= most || waited >= linger {
                            let count = events.len().min(most);
                            let batch = events.drain(..count).collect();
                            if !events.is_empty() {
                                self.arrival.notify_one();
                            }
                            return batch;
                        }
                        Some(linger - waited)
                    }
                }
            };
            match wait {
                None => self.arrival.notified().await,
                // More may arrive and fill the batch before the oldest has waited long enough.
                Some(rest) => {
                    let _ = tokio::time::timeout(rest, self.arrival.notified()).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(count: u64) -> Vec<Event> {
        (0..count).map(|sequence| Event { sequence, arrived: Instant::now() }).collect()
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_a_batch_is_bounded() {
        let queue = Queue::new(5);
        assert_eq!(queue.push(events(7)), 2);
        let batch = queue.take(|| 3, Duration::from_secs(60)).await;
        assert_eq!(batch.iter().map(|event| event.sequence).collect::<Vec<_>>(), [0, 1, 2]);
        // The two that are left do not fill a batch: they go when the oldest has waited.
        assert_eq!(queue.take(|| 3, Duration::from_millis(1)).await.len(), 2);
        assert_eq!(queue.len(), 0);
    }
}
