//! Where log lines go: stderr, for stdout is data. `LEVERD_LOG` sets the level (`debug`, `leverd::observe=trace`).

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// Starts logging at `level` unless `LEVERD_LOG` says otherwise.
pub(super) fn start(level: &str, plain: bool) {
    let colour = !plain && std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let subscriber =
        fmt().with_env_filter(filter(level)).with_writer(std::io::stderr).with_ansi(colour).finish();
    // A second start (in tests) changes nothing.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// `level`, unless `LEVERD_LOG` says otherwise; what cannot be read there is told, not obeyed.
pub(super) fn filter(level: &str) -> EnvFilter {
    match std::env::var("LEVERD_LOG") {
        Ok(wanted) => EnvFilter::try_new(&wanted).unwrap_or_else(|error| {
            eprintln!("leverd: LEVERD_LOG={wanted:?} is not a log filter ({error}); logging at {level}");
            EnvFilter::new(level)
        }),
        Err(_) => EnvFilter::new(level),
    }
}
