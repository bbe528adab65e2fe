//! Tells a person at a terminal what the loop is doing: a line for each event, a bar for each wait. On stderr.

use super::render;
use crate::daemon::{Progress, Reporter};
use crate::model::{Conclusion, Phase, Trial};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::sync::Mutex;

/// A reporter for the terminal. Without one, or with `plain`, waits are told once, in a line.
pub(super) fn to_terminal(plain: bool) -> Reporter {
    let bars = !plain && std::io::stderr().is_terminal();
    let narrator = Mutex::new(Narrator { bars, bar: None, last: String::new() });
    Reporter::new(move |progress| {
        if let Ok(mut narrator) = narrator.lock() {
            narrator.tell(&progress);
        }
    })
}

struct Narrator {
    bars: bool,
    bar: Option<(String, ProgressBar)>,
    /// The last line, so that nothing is said twice.
    last: String,
}

impl Narrator {
    fn tell(&mut self, progress: &Progress) {
        match progress {
            Progress::Observed(_) | Progress::Held(..) => {}
            Progress::Decided(report) => {
                let mut text =
                    format!("{}\n{}", render::findings(&report.findings), render::conclusion(report));
                if let Conclusion::Act(plan) = &report.conclusion {
                    let _ = write!(text, "\n  Why: {}", plan.reason);
                }
                self.line(&text);
            }
            Progress::Moved(trial) => self.moved(trial),
            Progress::Waiting { what, since, until, now } => {
                let total = (*until - *since).num_seconds().max(1);
                let done = (*now - *since).num_seconds().clamp(0, total);
                self.wait(what, total, done);
            }
            Progress::Note(sentence) => self.line(sentence),
        }
    }

    fn moved(&mut self, trial: &Trial) {
        let name = format!("Trial {} ({} = {})", trial.id, trial.plan.parameter, trial.plan.to);
        match &trial.phase {
            phase if phase.is_final() => self.line(&render::ending(trial)),
            Phase::Measuring { look } if *look > 0 => {
                let why = trial.judgements.last().map(|look| look.reason.clone()).unwrap_or_default();
                self.line(&format!("{name}: extended ({look}): {why}"));
            }
            Phase::RollingBack => {
                let why = trial.ending.as_deref().unwrap_or_default();
                self.line(&format!("{name}: rolling back: {why}"));
            }
            phase => self.line(&format!("{name}: {phase}")),
        }
    }

    fn wait(&mut self, what: &str, total: i64, done: i64) {
        if !self.bars {
            self.line(&format!("  waiting: {what} ({total} s)"));
            return;
        }
        let length = total.unsigned_abs();
        if self.bar.as_ref().is_none_or(|(name, _)| name != what) {
            self.clear();
            let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("  {bar:30} {pos:>4}/{len} s  {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style);
            bar.set_message(what.to_owned());
            self.bar = Some((what.to_owned(), bar));
        }
        if let Some((_, bar)) = &self.bar {
            bar.set_length(length);
            bar.set_position(done.unsigned_abs());
        }
    }

    fn line(&mut self, line: &str) {
        if line == self.last {
            return;
        }
        self.last = line.to_owned();
        self.clear();
        eprintln!("{line}");
    }

    fn clear(&mut self) {
        if let Some((_, bar)) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
