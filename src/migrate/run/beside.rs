//! What goes on in the target beside a run, and is others' work: its levers are pulled for the run's time, and its
//! levels are watched. This room may not do either; it says when, and heeds what it is told.
//!
//! In: two channels of whoever does that. Out: the run's name, once it has its lease; to the adjuster which levels are
//! broken. Always holds: no row is moved before the answer that the levers are pulled, or that nobody pulls any.

use crate::migrate::brain::Decider;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

/// The names of the target's levels that are broken, as they were at the newest look. Each look is a change of it.
pub type Levels = watch::Receiver<Vec<String>>;

/// Where a run says that it begins, and is told of its target's levels.
#[derive(Debug)]
pub struct Beside {
    /// Used once, when the run has its lease. Dropped without that where it got none.
    pub leased: oneshot::Sender<Leased>,
    /// Where the target serves others.
    pub levels: Option<Levels>,
}

/// A run that has its lease, and waits.
#[derive(Debug)]
pub struct Leased {
    /// The run's name.
    pub run: String,
    /// Bytes of all its rows, as the source has them; what an earlier process has moved among them.
    pub bytes: u64,
    /// It goes on when this is used, or dropped.
    pub pulled: oneshot::Sender<()>,
}

/// What the settings of a run are steered by.
#[derive(Debug)]
pub(super) struct Steering {
    pub(super) decider: Decider,
    pub(super) levels: Option<Levels>,
}

impl Beside {
    /// Says that the run has its lease, and waits until its levers are pulled, or it is asked to stop.
    pub(super) async fn begin(self, run: &str, bytes: u64, stop: &CancellationToken) -> Option<Levels> {
        let (pulled, answer) = oneshot::channel();
        if self.leased.send(Leased { run: run.to_owned(), bytes, pulled }).is_ok() {
            tokio::select! {
                // Dropped without an answer: nobody pulls any.
                _ = answer => {}
                () = stop.cancelled() => {}
            }
        }
        self.levels
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn beside() -> (Beside, oneshot::Receiver<Leased>) {
        let (leased, told) = oneshot::channel();
        (Beside { leased, levels: None }, told)
    }

    #[tokio::test]
    async fn a_run_waits_for_its_levers() {
        let (beside, told) = beside();
        let stop = CancellationToken::new();
        let mut begun = std::pin::pin!(beside.begin("r1", 7, &stop));
        let early = tokio::time::timeout(Duration::from_millis(20), &mut begun).await;
        assert!(early.is_err(), "it did not wait");
        let Leased { run, bytes, pulled } = told.await.unwrap();
        assert_eq!((run.as_str(), bytes), ("r1", 7));
        pulled.send(()).unwrap();
        assert!(begun.await.is_none());
    }

    #[tokio::test]
    async fn it_waits_for_nobody() {
        let stop = CancellationToken::new();
        // Nobody listens.
        let (alone, told) = beside();
        drop(told);
        assert!(alone.begin("r1", 7, &stop).await.is_none());
        // Who listens pulls nothing.
        let (ignored, told) = beside();
        let (levels, ()) = tokio::join!(ignored.begin("r1", 7, &stop), async {
            drop(told.await.unwrap());
        });
        assert!(levels.is_none());
        // It is asked to stop.
        let (stopped, told) = beside();
        stop.cancel();
        assert!(stopped.begin("r1", 7, &stop).await.is_none());
        assert_eq!(told.await.unwrap().run, "r1");
    }
}
