//! Watching a run while it works: a bar on a terminal, lines elsewhere, one JSON object a second for programs.
//!
//! In: the run's future, and its [`Progress`]. Out: what the run answered, and its [`Course`]. Always holds: the run is
//! not slowed down and not ended by whoever watches, a closed pipe included; lines for people go to stderr, lines for
//! programs to stdout.

use super::course::{Course, Tick};
use super::figures::spoken_s;
use super::terminal;
use crate::cli::Global;
use crate::migrate::progress::Progress;
use std::io::{IsTerminal, Write};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

/// Between two looks; what is shown is made of several.
const LOOK: Duration = Duration::from_millis(200);
/// Between two lines for programs.
const JSON_LINES: Duration = Duration::from_secs(1);
/// Between two lines for people, within a stage.
const LINES: Duration = Duration::from_secs(10);

/// How a run is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    /// One JSON object a line on stdout.
    Json,
    /// Not at all.
    Quiet,
    /// Lines on stderr.
    Lines,
    /// A bar on stderr.
    Bar,
}

impl Show {
    /// As the options and this process' stderr have it.
    pub(super) fn of(global: &Global) -> Self {
        Self::chosen(global.json, global.no_tty, std::io::stderr().is_terminal())
    }

    fn chosen(json: bool, no_tty: bool, terminal: bool) -> Self {
        match (json, no_tty, terminal) {
            (true, _, _) => Self::Json,
            (_, true, _) => Self::Quiet,
            (_, _, true) => Self::Bar,
            _ => Self::Lines,
        }
    }
}

/// A run that has ended, as it was watched.
#[derive(Debug)]
pub(super) struct Watched {
    /// The run at its end.
    pub(super) last: Tick,
    /// All of it.
    pub(super) course: Course,
    /// Since the watch began.
    pub(super) elapsed: Duration,
}

/// Runs `work` to its end, and shows how far it is.
pub(super) async fn watched<F: Future>(work: F, progress: &Progress, show: Show) -> (F::Output, Watched) {
    let mut work = std::pin::pin!(work);
    let began = Instant::now();
    let mut course = Course::default();
    let mut pace = Pace::default();
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    if show == Show::Bar {
        terminal::begin_bar();
    }
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            _ = looks.tick() => {
                let elapsed = began.elapsed();
                let tick = course.tick(elapsed, progress.view());
                tell(show, &tick, &mut pace, elapsed);
            }
        }
    };
    terminal::end_bar();
    let elapsed = began.elapsed();
    let last = course.tick(elapsed, progress.view());
    (done, Watched { last, course, elapsed })
}

/// When something was last written.
#[derive(Debug, Default)]
struct Pace {
    last: Option<(Duration, &'static str)>,
}

impl Pace {
    /// Whether a line is due: after `every`, and where `on_change` at each new stage.
    fn is_due(&mut self, now: Duration, stage: &'static str, every: Duration, on_change: bool) -> bool {
        let due = self.last.is_none_or(|(last, of)| {
            // Half a look early rather than half a look late.
            now + LOOK / 2 >= last + every || (on_change && of != stage)
        });
        if due {
            self.last = Some((now, stage));
        }
        due
    }
}

fn tell(show: Show, tick: &Tick, pace: &mut Pace, elapsed: Duration) {
    match show {
        Show::Quiet => {}
        Show::Bar => {
            let message = format!("{} · {}", spoken_s(tick.elapsed_s), tick.line());
            terminal::move_bar(tick.percent.unwrap_or(0.0), message);
        }
        Show::Lines => {
            if pace.is_due(elapsed, tick.stage, LINES, true) {
                eprintln!("{}: {}", spoken_s(tick.elapsed_s), tick.line());
            }
        }
        Show::Json => {
            if pace.is_due(elapsed, tick.stage, JSON_LINES, false)
                && let Ok(line) = serde_json::to_string(tick)
            {
                print_line(&line);
            }
        }
    }
}

/// Writes a line for programs. Where nobody reads any more, the run goes on.
pub(super) fn print_line(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::super::course::tests::view;
    use super::*;
    use crate::migrate::adjust::{Settings, Stage};

    #[test]
    fn programs_come_before_silence_and_silence_before_a_bar() {
        assert_eq!(Show::chosen(true, true, true), Show::Json);
        assert_eq!(Show::chosen(false, true, true), Show::Quiet);
        assert_eq!(Show::chosen(false, false, true), Show::Bar);
        assert_eq!(Show::chosen(false, false, false), Show::Lines);
    }

    #[test]
    fn lines_come_in_time_and_at_each_stage() {
        let mut pace = Pace::default();
        let mut due = |millis, stage| pace.is_due(Duration::from_millis(millis), stage, LINES, true);
        assert!(due(0, "preparing") && !due(200, "preparing") && due(400, "copying"));
        assert!(!due(9_000, "copying") && due(10_399, "copying") && !due(10_600, "copying"));
        let mut pace = Pace::default();
        let mut due = |millis, stage| pace.is_due(Duration::from_millis(millis), stage, JSON_LINES, false);
        assert!(due(0, "preparing") && !due(200, "copying") && due(1_000, "copying"));
    }

    #[tokio::test]
    async fn a_run_is_watched_to_its_end() {
        let progress = Progress::new(Settings::new(4, 50_000, 2, 8).unwrap());
        let work = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            7
        };
        let (done, watched) = watched(work, &progress, Show::Quiet).await;
        assert_eq!(done, 7);
        assert!(watched.elapsed >= Duration::from_millis(20));
        assert_eq!((watched.last.stage, watched.course.copying()), ("preparing", Duration::ZERO));
        assert_eq!(Course::default().tick(Duration::ZERO, view(Stage::Copying, 7)).rows, 7);
    }
}
