//! Ctrl-C and SIGTERM become a request to stop; a second one ends the process.
//!
//! tokio keeps its handler once it has one, so the second one's usual end is made here. One that comes at once is the
//! first one again: `timeout`, say, sends one to the process and one to its group.

use std::future::Future;
use std::io::Write;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What comes so soon after the first is no second one.
const AGAIN: Duration = Duration::from_millis(300);
/// A shell's code of what a signal ended: this and its number.
const SIGNALLED: i32 = 128;

/// Runs `work` to its end; SIGINT and SIGTERM cancel `stop`, which `work` heeds when it can. A second one ends the
/// process: what it holds in its hands is then settled by whoever comes next, as after a kill.
pub(super) async fn until_stopped<F: Future>(work: F, stop: &CancellationToken) -> F::Output {
    let mut work = std::pin::pin!(work);
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return work.await;
    };
    let mut asked: Option<Instant> = None;
    loop {
        let kind = tokio::select! {
            done = &mut work => return done,
            _ = interrupt.recv() => SignalKind::interrupt(),
            _ = terminate.recv() => SignalKind::terminate(),
        };
        match asked {
            None => {
                asked = Some(Instant::now());
                stop.cancel();
            }
            Some(first) if first.elapsed() < AGAIN => {}
            Some(_) => {
                let words = "leverd: told to stop a second time: ended without waiting";
                // Who read this may have gone with the first one (`2>&1 | tee`): no reason to panic.
                let _ = writeln!(std::io::stderr(), "{words}");
                std::process::exit(SIGNALLED + kind.as_raw_value());
            }
        }
    }
}
