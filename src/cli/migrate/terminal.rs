//! stderr, where a progress bar may stand: what is written goes above it, and the bar is drawn again.
//!
//! In: log lines and lines for people. Out: the same, whole. Always holds: there is at most one bar, and it is gone
//! before the command's last words.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

/// The bar that stands now. The log and the watch both write to stderr, and know nothing of each other.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// The bar's whole length: tenths of a percent.
const LENGTH: u64 = 1_000;

/// stderr, for one line at a time.
#[derive(Debug)]
pub(super) struct Stderr;

/// A writer for the log.
pub(super) fn stderr() -> Stderr {
    Stderr
}

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let write = || io::stderr().write_all(bytes);
        match bar() {
            Some(bar) => bar.suspend(write)?,
            None => write()?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn bar() -> Option<ProgressBar> {
    BAR.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Puts a bar onto the terminal.
pub(super) fn begin_bar() {
    let style = ProgressStyle::with_template("[{bar:24}] {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    let bar = ProgressBar::with_draw_target(Some(LENGTH), ProgressDrawTarget::stderr()).with_style(style);
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar);
}

/// Moves the bar, where there is one.
pub(super) fn move_bar(percent: f64, message: String) {
    if let Some(bar) = bar() {
        // What is below 0 becomes 0.
        bar.set_position(((percent * 10.0) as u64).min(LENGTH));
        bar.set_message(message);
    }
}

/// Takes the bar away.
pub(super) fn end_bar() {
    let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
}
