//! What the service manager is told: ready, reloading, stopping, and while the loop moves, that it is alive.
//!
//! Without a service manager (`NOTIFY_SOCKET` is not set) nothing is said. A loop that stands still is not called alive,
//! so systemd ends it and starts it again; the open trial is then settled by looking.

use super::clock;
use crate::exporter::OwnMetrics;
use chrono::TimeDelta;
use sd_notify::NotifyState;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The loop may be silent for so long: a restart of Postgres and its verification take minutes at most.
const SILENT_FOR: TimeDelta = TimeDelta::minutes(15);

/// It serves.
pub(super) fn ready() {
    say(&[NotifyState::Ready]);
}

/// It reads its configuration again, and has done so.
pub(super) fn reloaded() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        say(&[NotifyState::Reloading, now]);
    }
    ready();
}

/// It ends.
pub(super) fn stopping() {
    say(&[NotifyState::Stopping]);
}

/// Says that the loop is alive, twice as often as is asked for, as long as it is.
pub(super) async fn watchdog(own: Arc<OwnMetrics>, tick: Duration, stop: CancellationToken) {
    let Some(within) = sd_notify::watchdog_enabled() else { return };
    let silent_for = SILENT_FOR + TimeDelta::from_std(tick).unwrap_or_default();
    loop {
        let is_alive = own.last_alive().is_none_or(|last| clock::now() - last < silent_for);
        if is_alive {
            say(&[NotifyState::Watchdog]);
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(within / 2) => {}
        }
    }
}

fn say(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("the service manager could not be told: {error}");
    }
}
