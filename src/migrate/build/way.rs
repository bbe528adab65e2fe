//! Builders beside a service: all but the first make way while a level of the target is broken.
//!
//! In: which levels are broken, at each look. Out: whether a builder may begin something. Always holds: the first
//! builder always may, so that what is to be built is built; what was begun goes on; where nobody looks all may.

use crate::migrate::run::Levels;

/// Whether one of several builders may begin something.
#[derive(Debug, Clone)]
pub(super) struct Way {
    levels: Option<Levels>,
    is_first: bool,
    was_told: bool,
}

impl Way {
    /// Of the builder with that number, from 0.
    pub(super) fn new(levels: Option<&Levels>, number: usize) -> Self {
        Self { levels: levels.cloned(), is_first: number == 0, was_told: false }
    }

    /// Whether it may not begin anything now. The log is told when that begins.
    pub(super) fn is_closed(&mut self) -> bool {
        let broken = match &mut self.levels {
            Some(levels) if !self.is_first => levels.borrow_and_update().join(", "),
            _ => String::new(),
        };
        if !broken.is_empty() && !self.was_told {
            tracing::info!("a builder waits: the target's levels are broken ({broken})");
        }
        self.was_told = !broken.is_empty();
        !broken.is_empty()
    }

    /// Waits for the next look at the levels. Dropping this loses nothing.
    pub(super) async fn looked_at(&mut self) {
        let Some(levels) = &mut self.levels else { return std::future::pending().await };
        if levels.changed().await.is_err() {
            // Nobody looks any more.
            self.levels = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::sync::watch;

    const A_MOMENT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn all_but_the_first_make_way_while_a_level_is_broken() {
        let (tell, levels) = watch::channel(Vec::new());
        let (mut first, mut second) = (Way::new(Some(&levels), 0), Way::new(Some(&levels), 1));
        assert!(!first.is_closed() && !second.is_closed());
        tell.send_replace(vec!["io_wait".to_owned()]);
        assert!(!first.is_closed() && second.is_closed());
        assert!(tokio::time::timeout(A_MOMENT, second.looked_at()).await.is_err(), "nobody has looked");
        tell.send_replace(Vec::new());
        second.looked_at().await;
        assert!(!second.is_closed());
    }

    #[tokio::test]
    async fn where_nobody_looks_all_may() {
        let mut alone = Way::new(None, 3);
        assert!(!alone.is_closed());
        assert!(tokio::time::timeout(A_MOMENT, alone.looked_at()).await.is_err());
        let (tell, levels) = watch::channel(vec!["io_wait".to_owned()]);
        let mut left = Way::new(Some(&levels), 3);
        assert!(left.is_closed());
        drop(tell);
        left.looked_at().await;
        assert!(!left.is_closed(), "nobody looks any more");
    }
}
