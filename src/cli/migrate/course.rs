//! A run's course: what it was a moment ago and what it is now → rates, percent, time left. Pure.
//!
//! In: [`View`]s with the time since the process began. Out: a [`Tick`] for each, and what the stages took. Always
//! holds: a rate is that of the last seconds, never a mean over the run's life; what is not known is `None` and not 0;
//! rows of an earlier process are in the count of rows, and in no rate.

use super::eta::{Eta, eta};
use super::figures::{counted, named, rate, spoken_s};
use crate::migrate::adjust::Stage;
use crate::migrate::progress::{View, bottleneck};
use serde::Serialize;
use std::collections::VecDeque;
use std::time::Duration;

/// A rate is that of so much time: rows are counted when a chunk is committed, and so come in bursts.
const INTERVAL: Duration = Duration::from_secs(5);
/// In less than this nothing is called a rate.
const LEAST_TIME: Duration = Duration::from_secs(1);
/// The time that is left is told from so many intervals: two minutes.
const MOST_MARKS: usize = 25;

/// What a run was like, as long as it was watched.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// Of the last interval, the oldest first.
    recent: VecDeque<(Duration, View)>,
    /// Rows at the ends of intervals, while rows are copied.
    marks: VecDeque<(Duration, u64)>,
    /// Rows that were there when copying was first seen.
    rows_before: Option<u64>,
    copying: Duration,
    last: Option<(Duration, View)>,
}

/// A run at one moment, for people and for programs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Tick {
    /// Since the process began.
    pub(super) elapsed_s: f64,
    pub(super) stage: &'static str,
    /// Rows that are in the target.
    pub(super) rows: u64,
    /// Rows that there probably are.
    pub(super) rows_expected: u64,
    /// Of the rows.
    pub(super) percent: Option<f64>,
    /// Of the last five seconds.
    pub(super) rows_per_second: Option<f64>,
    /// Bytes of rows that this process brought.
    pub(super) bytes: u64,
    pub(super) tables: u64,
    pub(super) tables_expected: u64,
    pub(super) writers: u32,
    pub(super) readers: u32,
    pub(super) chunk_rows: u32,
    pub(super) buffers: u32,
    /// What most of the last seconds' work went into.
    pub(super) bottleneck: Option<&'static str>,
    /// Until all rows are there, likely; what comes after them is not in it.
    pub(super) eta_s: Option<f64>,
    pub(super) eta_low_s: Option<f64>,
    pub(super) eta_high_s: Option<f64>,
    pub(super) rejected: u64,
    pub(super) retries: u64,
    /// Indexes and constraints that are being made.
    pub(super) builds: u64,
}

impl Course {
    /// Takes a look; `elapsed` never goes back.
    pub(super) fn tick(&mut self, elapsed: Duration, view: View) -> Tick {
        let stage_before = self.last.map(|(_, last)| last.stage);
        if let Some((at, last)) = self.last
            && last.stage == Stage::Copying
        {
            self.copying += elapsed.saturating_sub(at);
        }
        if stage_before != Some(view.stage) {
            self.recent.clear();
            self.marks.clear();
        }
        if view.stage == Stage::Copying {
            self.rows_before.get_or_insert(view.rows);
            self.mark(elapsed, view.rows);
        }
        self.recent.push_back((elapsed, view));
        // The oldest is at least an interval old, where there is one.
        while self.recent.get(1).is_some_and(|(at, _)| elapsed.saturating_sub(*at) >= INTERVAL) {
            self.recent.pop_front();
        }
        self.last = Some((elapsed, view));
        self.told(elapsed, &view)
    }

    /// How long rows were copied, as far as it was watched.
    pub(super) fn copying(&self) -> Duration {
        self.copying
    }

    /// Rows that this process brought. `resumed`: some were there before; those that came before the first look then
    /// count as such.
    pub(super) fn rows_brought(&self, resumed: bool) -> u64 {
        let rows = self.last.map_or(0, |(_, view)| view.rows);
        let before = if resumed { self.rows_before.unwrap_or(rows) } else { 0 };
        rows.saturating_sub(before)
    }

    fn mark(&mut self, elapsed: Duration, rows: u64) {
        if self.marks.back().is_none_or(|(at, _)| elapsed.saturating_sub(*at) >= INTERVAL) {
            self.marks.push_back((elapsed, rows));
        }
        if self.marks.len() > MOST_MARKS {
            self.marks.pop_front();
        }
    }

    /// Rows a second of the intervals between the marks.
    fn rates(&self) -> Vec<f64> {
        let ends = self.marks.iter().zip(self.marks.iter().skip(1));
        ends.map(|((from, before), (to, after))| {
            after.saturating_sub(*before) as f64 / to.saturating_sub(*from).as_secs_f64()
        })
        .collect()
    }

    fn told(&self, elapsed: Duration, view: &View) -> Tick {
        let first = self.recent.front();
        let span = first.map(|(at, _)| elapsed.saturating_sub(*at)).filter(|span| *span >= LEAST_TIME);
        let moved = first.map_or(0, |(_, first)| view.rows.saturating_sub(first.rows));
        let left = self.left(view);
        Tick {
            elapsed_s: thousandths(elapsed.as_secs_f64()),
            stage: view.stage.name(),
            rows: view.rows,
            rows_expected: view.rows_expected,
            percent: percent(view),
            rows_per_second: span.map(|span| (moved as f64 / span.as_secs_f64()).round()),
            bytes: view.bytes,
            tables: view.tables,
            tables_expected: view.tables_expected,
            writers: view.settings.writers.get(),
            readers: view.settings.readers.get(),
            chunk_rows: view.settings.chunk_rows.get(),
            buffers: view.settings.buffers.get(),
            bottleneck: first.and_then(|(_, first)| bottleneck(first, view)),
            eta_s: left.map(|left| thousandths(left.likely_s)),
            eta_low_s: left.map(|left| thousandths(left.least_s)),
            eta_high_s: left.and_then(|left| left.most_s).map(thousandths),
            rejected: view.rejected,
            retries: view.retries,
            builds: view.builds,
        }
    }

    fn left(&self, view: &View) -> Option<Eta> {
        // Where there are more rows than expected, nobody knows how many are left.
        let left = view.rows_expected.checked_sub(view.rows).filter(|left| *left > 0)?;
        if view.stage != Stage::Copying {
            return None;
        }
        eta(&self.rates(), INTERVAL.as_secs_f64(), left)
    }
}

/// Until every table is loaded it is less than 100, whatever the source's statistics promised.
fn percent(view: &View) -> Option<f64> {
    match view.stage {
        Stage::Preparing => None,
        Stage::Copying => {
            let share = view.rows as f64 / view.rows_expected as f64 * 100.0;
            (view.rows_expected > 0).then(|| (share.min(99.9) * 10.0).floor() / 10.0)
        }
        Stage::Indexing | Stage::Constraining | Stage::Verifying => Some(100.0),
    }
}

fn thousandths(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

impl Tick {
    /// One line for people, without the time.
    pub(super) fn line(&self) -> String {
        match self.stage {
            "copying" => self.copying_line(),
            "preparing" => "preparing: tables are made, keys are looked at".to_owned(),
            "verifying" => "verifying: source and target are compared".to_owned(),
            stage => {
                let rows = named(self.rows, "row");
                format!("{stage}: {} being made; {rows} are there", counted(self.builds))
            }
        }
    }

    fn copying_line(&self) -> String {
        let mut parts = vec![match self.percent {
            Some(percent) => {
                let expected = named(self.rows_expected, "row");
                format!("copying: {} of about {expected} ({percent:.1} %)", counted(self.rows))
            }
            None => format!("copying: {}", named(self.rows, "row")),
        }];
        parts.extend(self.rows_per_second.map(rate));
        parts.extend(self.left_words());
        parts.push(format!("{} of {}", counted(self.tables), named(self.tables_expected, "table")));
        parts.push(format!(
            "{}, chunks of {}",
            named(self.writers.into(), "writer"),
            counted(self.chunk_rows.into())
        ));
        parts.extend(self.bottleneck.map(|what| format!("most work is {what}")));
        if self.rejected > 0 {
            parts.push(format!("{} rejected", counted(self.rejected)));
        }
        if self.retries > 0 {
            parts.push(format!("{} tried again", counted(self.retries)));
        }
        parts.join(", ")
    }

    /// `about 12 s left (10 s to 15 s)`.
    fn left_words(&self) -> Option<String> {
        let (likely, least) = (spoken_s(self.eta_s?), spoken_s(self.eta_low_s?));
        Some(match self.eta_high_s {
            Some(most) => format!("about {likely} left ({least} to {})", spoken_s(most)),
            None => format!("about {likely} left (at least {least})"),
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::migrate::adjust::Settings;

    /// A run that copies 1,000,000 rows.
    pub(in crate::cli::migrate) fn view(stage: Stage, rows: u64) -> View {
        View {
            stage,
            rows,
            rows_expected: 1_000_000,
            bytes: rows * 100,
            tables: 1,
            tables_expected: 3,
            rejected: 0,
            retries: 0,
            builds: 2,
            settings: Settings::new(4, 50_000, 2, 8).unwrap(),
            times: [rows, 0, rows * 2, 0],
        }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn rows_of_an_earlier_process_are_in_no_rate() {
        let mut course = Course::default();
        course.tick(seconds(0), view(Stage::Preparing, 0));
        course.tick(seconds(1), view(Stage::Copying, 600_000));
        let tick = course.tick(seconds(3), view(Stage::Copying, 620_000));
        assert_eq!(tick.rows_per_second, Some(10_000.0));
        assert_eq!((course.rows_brought(true), course.rows_brought(false)), (20_000, 620_000));
        assert_eq!(course.copying(), seconds(2));
    }

    #[test]
    fn a_rate_is_that_of_the_last_seconds() {
        let mut course = Course::default();
        for second in 0..20 {
            let rows = if second < 10 { second * 1_000 } else { 10_000 + (second - 10) * 5_000 };
            course.tick(seconds(second), view(Stage::Copying, rows));
        }
        let tick = course.tick(seconds(20), view(Stage::Copying, 60_000));
        assert_eq!(tick.rows_per_second, Some(5_000.0));
        assert_eq!(tick.bottleneck, Some("writing"));
        assert_eq!(tick.percent, Some(6.0));
    }

    #[test]
    fn nothing_is_told_before_it_is_known() {
        let mut course = Course::default();
        let tick = course.tick(Duration::ZERO, view(Stage::Preparing, 0));
        assert_eq!((tick.percent, tick.rows_per_second, tick.eta_s), (None, None, None));
        let tick = course.tick(Duration::from_millis(200), view(Stage::Copying, 100));
        assert_eq!((tick.rows_per_second, tick.bottleneck, tick.eta_s), (None, None, None));
    }

    #[test]
    fn the_time_left_has_a_band_and_ends_with_the_expected_rows() {
        let mut course = Course::default();
        let mut tick = course.tick(Duration::ZERO, view(Stage::Copying, 0));
        for second in 1..=30 {
            tick = course.tick(seconds(second), view(Stage::Copying, second * 10_000));
        }
        assert_eq!((tick.eta_s, tick.eta_low_s, tick.eta_high_s), (Some(70.0), Some(70.0), Some(70.0)));
        assert_eq!(
            tick.line(),
            "copying: 300,000 of about 1,000,000 rows (30.0 %), 10,000 rows/s, about 70 s left (70 s to 70 s), \
             1 of 3 tables, 4 writers, chunks of 50,000, most work is writing"
        );
        let tick = course.tick(seconds(31), view(Stage::Copying, 1_200_000));
        assert_eq!((tick.percent, tick.eta_s), (Some(99.9), None));
    }

    #[test]
    fn a_new_stage_begins_its_rates_anew() {
        let mut course = Course::default();
        course.tick(seconds(0), view(Stage::Copying, 0));
        course.tick(seconds(4), view(Stage::Copying, 1_000_000));
        let tick = course.tick(seconds(6), view(Stage::Indexing, 1_000_000));
        assert_eq!((tick.rows_per_second, tick.percent), (None, Some(100.0)));
        assert_eq!(tick.line(), "indexing: 2 being made; 1,000,000 rows are there");
        assert_eq!(course.copying(), seconds(6));
    }

    #[test]
    fn programs_get_every_number_by_name() {
        let mut course = Course::default();
        let tick = course.tick(seconds(2), view(Stage::Copying, 5));
        let value = serde_json::to_value(tick).unwrap();
        for name in [
            "elapsed_s",
            "rows",
            "rows_expected",
            "rows_per_second",
            "bytes",
            "tables",
            "tables_expected",
            "writers",
            "readers",
            "chunk_rows",
            "buffers",
            "stage",
            "bottleneck",
            "eta_s",
            "eta_low_s",
            "eta_high_s",
            "rejected",
            "retries",
        ] {
            assert!(value.get(name).is_some(), "{name}");
        }
        assert_eq!(value["stage"], "copying");
        assert_eq!(value["writers"], 4);
    }
}
