//! Ctrl-C and SIGTERM become a request to stop; a second one ends the process as usual.

use std::future::Future;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Runs `work` to its end; SIGINT and SIGTERM cancel `stop`, which `work` heeds when it can.
pub(super) async fn until_stopped<F: Future>(work: F, stop: &CancellationToken) -> F::Output {
    let mut work = std::pin::pin!(work);
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return work.await;
    };
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = interrupt.recv(), if !stop.is_cancelled() => stop.cancel(),
            _ = terminate.recv(), if !stop.is_cancelled() => stop.cancel(),
        }
    }
}
