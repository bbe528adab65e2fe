//! The timetable of a scenario: when the load changes, counted from the mis-setting. Pure.

use super::scenario::Turn;
use super::settings::{set_in_env, values};
use std::time::{Duration, Instant};

/// The turns that are still to come.
#[derive(Debug)]
pub(super) struct Timetable {
    began: Option<Instant>,
    /// When, and the environment's text from then on; the last one first.
    left: Vec<(Duration, String)>,
}

impl Timetable {
    pub(super) fn new(turns: &[Turn]) -> Self {
        const HEAD: &str = "# The present turn of the scenario's timetable; it wins over the .env.";
        let left = turns.iter().rev().map(|turn| (turn.after.get(), set_in_env(HEAD, &values(&turn.env))));
        Self { began: None, left: left.collect() }
    }

    pub(super) fn has_begun(&self) -> bool {
        self.began.is_some()
    }

    pub(super) fn begin(&mut self, now: Instant) {
        self.began = Some(now);
    }

    /// What is to be written now: the latest turn whose time has come, once.
    pub(super) fn due(&mut self, now: Instant) -> Option<String> {
        let elapsed = now.saturating_duration_since(self.began?);
        let mut due = None;
        while self.left.last().is_some_and(|(after, _)| *after <= elapsed) {
            due = self.left.pop().map(|(_, text)| text);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_come_in_order_once_each_and_not_before_it_began() {
        let turns: Vec<Turn> = serde_yaml::from_str(
            "[{after: 10s, env: {EVENTS_PER_SEC: 1}}, {after: 20s, env: {}}, {after: 30s, env: {EVENTS_PER_SEC: 3}}]",
        )
        .unwrap();
        let mut timetable = Timetable::new(&turns);
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(timetable.due(after(99)), None);
        timetable.begin(start);
        assert!(timetable.has_begun());
        assert_eq!(timetable.due(after(9)), None);
        assert!(timetable.due(after(10)).is_some_and(|text| text.ends_with("\nEVENTS_PER_SEC=1\n")));
        assert_eq!(timetable.due(after(11)), None);
        // Late for two: the later one counts.
        assert!(timetable.due(after(31)).is_some_and(|text| text.ends_with("\nEVENTS_PER_SEC=3\n")));
        assert_eq!(timetable.due(after(99)), None);
    }
}
