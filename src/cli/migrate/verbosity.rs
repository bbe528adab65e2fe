//! `--verbosity`: what the log of a migration says, in the form that users of dmt look for.
//!
//! In: the level. Out: a log on stderr whose lines are `[LEVEL] message`, without time and target; without a level the
//! log that every command has. Always holds: `LEVERD_LOG` says what is logged wherever it is set; a library's own
//! lines are there only from warnings on.

use super::terminal;
use crate::cli::logs;
use std::io::IsTerminal;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, fmt};
use tracing_subscriber::registry::LookupSpan;

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Verbosity {
    /// What is measured and decided, and why
    Debug,
    /// What is decided and done
    Info,
    /// What did not go as it should
    Warn,
}

impl Verbosity {
    fn filter(self) -> &'static str {
        match self {
            Self::Debug => "warn,leverd=debug",
            Self::Info => "warn,leverd=info",
            Self::Warn => "warn",
        }
    }
}

/// Starts the log; `plain`: without colour.
pub(super) fn start(verbosity: Option<Verbosity>, plain: bool) {
    // A second start (in tests) changes nothing.
    let _ = match verbosity {
        Some(verbosity) => {
            let filter = logs::filter(verbosity.filter());
            let log = fmt().with_env_filter(filter).with_writer(terminal::stderr).with_ansi(false);
            let subscriber = log.event_format(Levelled).finish();
            tracing::subscriber::set_global_default(subscriber)
        }
        None => {
            let colour = !plain && std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            let filter = logs::filter("warn");
            let log = fmt().with_env_filter(filter).with_writer(terminal::stderr).with_ansi(colour);
            let subscriber = log.finish();
            tracing::subscriber::set_global_default(subscriber)
        }
    };
}

/// `[INFO] message`.
struct Levelled;

impl<S, N> FormatEvent<S, N> for Levelled
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        write!(writer, "[{}] ", event.metadata().level())?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::EnvFilter;

    /// A log that a test reads.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_a_level_and_a_message() {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = fmt()
            .with_env_filter(EnvFilter::new(Verbosity::Debug.filter()))
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .event_format(Levelled)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "leverd::migrate", "AI monitoring started (evaluation interval: 30s)");
            tracing::debug!(target: "leverd::migrate", "Scaled writers from 4 to 6");
            tracing::debug!(target: "hyper", "a library's own");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(
            text,
            "[INFO] AI monitoring started (evaluation interval: 30s)\n[DEBUG] Scaled writers from 4 to 6\n"
        );
    }
}
