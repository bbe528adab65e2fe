//! What the loop tells whoever watches it: the terminal, the log, the metrics.

use crate::exporter::Held;
use crate::model::{Baseline, Report, Snapshot, Trial};
use chrono::{DateTime, Utc};
use std::fmt;
use std::sync::Arc;

/// Something that a watcher may want to show.
#[derive(Debug, Clone)]
pub enum Progress {
    /// A look at the signals.
    Observed(Arc<Snapshot>),
    /// A decision.
    Decided(Arc<Report>),
    /// A trial changed its phase.
    Moved(Arc<Trial>),
    /// Waiting for a time; may come again with the same times.
    Waiting {
        /// For what, for people.
        what: String,
        /// Since when.
        since: DateTime<Utc>,
        /// Until when.
        until: DateTime<Utc>,
        /// The time of this word.
        now: DateTime<Utc>,
    },
    /// What the ledger holds, and what is normal, at a decision.
    Held(Held, Option<Arc<Baseline>>),
    /// A sentence for people.
    Note(String),
}

/// Where progress goes.
#[derive(Clone)]
pub struct Reporter(Arc<dyn Fn(Progress) + Send + Sync>);

impl Reporter {
    /// Sends progress to a function that must not block.
    pub fn new(tell: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// Tells it.
    pub fn tell(&self, progress: Progress) {
        (self.0)(progress);
    }

    /// Tells a sentence.
    pub fn note(&self, sentence: impl Into<String>) {
        self.tell(Progress::Note(sentence.into()));
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reporter")
    }
}
