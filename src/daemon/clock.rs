//! The one place where the loop reads the clock, and notices when somebody moves it.

use chrono::{DateTime, TimeDelta, Utc};
use std::time::{Duration, Instant};

/// The wall clock now.
#[expect(clippy::disallowed_methods, reason = "this is the named place where the loop reads the wall clock")]
pub fn now() -> DateTime<Utc> {
    Utc::now()
}

/// Compares the wall clock with the monotonic one since it was made.
#[derive(Debug, Clone, Copy)]
pub struct JumpWatch {
    wall: DateTime<Utc>,
    monotonic: Instant,
}

/// A smaller difference than this is slewing, not a jump.
const TOLERANCE: Duration = Duration::from_secs(5);

impl JumpWatch {
    /// Starts watching.
    pub fn start() -> Self {
        Self { wall: now(), monotonic: Instant::now() }
    }

    /// How far the wall clock was moved since the last call, where that is more than slewing.
    pub fn jumped(&mut self) -> Option<TimeDelta> {
        let (wall, monotonic) = (now(), Instant::now());
        let jump = jump_between(wall - self.wall, monotonic - self.monotonic);
        *self = Self { wall, monotonic };
        jump
    }
}

fn jump_between(wall: TimeDelta, monotonic: Duration) -> Option<TimeDelta> {
    let monotonic = TimeDelta::from_std(monotonic).unwrap_or(TimeDelta::MAX);
    let moved = wall - monotonic;
    (moved.abs().to_std().is_ok_and(|moved| moved > TOLERANCE)).then_some(moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_in_either_direction_is_told_from_slewing() {
        let minute = Duration::from_mins(1);
        assert_eq!(jump_between(TimeDelta::seconds(61), minute), None);
        assert_eq!(jump_between(TimeDelta::seconds(3660), minute), Some(TimeDelta::seconds(3600)));
        assert_eq!(jump_between(TimeDelta::seconds(-3540), minute), Some(TimeDelta::seconds(-3600)));
    }
}
