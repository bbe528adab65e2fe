//! What a scenario's load program does.
//!
//! In: the `load:` of a scenario's file. Out: numbers within bounds. What only some scenarios need is optional, and
//! absent it does nothing.

use super::values::{Bounded, Span};
use std::time::Duration;

/// What the load program does. An event is one unit of work; a batch of events is one transaction.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Offered events per second, whether or not Postgres keeps up; `EVENTS_PER_SEC` in `.env` overrides it.
    pub events_per_sec: Bounded<1, 100_000>,
    /// How they are spread over time.
    pub arrivals: Arrivals,
    /// Connections that write.
    pub writers: Bounded<1, 200>,
    /// Events that may wait; more are dropped and counted.
    pub queue: Bounded<1, 1_000_000>,
    /// How long a writer waits for its batch to fill.
    pub linger: Span,
    /// The hot table: rows updated at random.
    pub accounts: Accounts,
    /// The wide table that reads and reports use.
    pub items: Items,
    /// Rows appended.
    pub inserts: Inserts,
    /// Point reads.
    pub reads: Reads,
    /// Reports that need memory.
    pub reports: Reports,
    /// Look-ups whose plan depends on what the planner believes.
    #[serde(default)]
    pub lookups: Lookups,
    /// A queue in a table: rows that come, are counted, and go.
    #[serde(default)]
    pub jobs: Jobs,
    /// Large queries beside the events.
    #[serde(default)]
    pub analytics: Analytics,
    /// How the writers connect.
    #[serde(default)]
    pub sessions: Sessions,
}

/// How events are spread over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arrivals {
    /// One every 1/n s: the least noise.
    Steady,
    /// Independently of each other, as many people do: the busier a writer, the longer events wait for it.
    Random,
}

/// The hot table: rows updated at random.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accounts {
    /// Its rows.
    pub rows: Bounded<100, 5_000_000>,
    /// Width of a row's text, bytes.
    pub row_bytes: Bounded<1, 1_000>,
    /// How full its pages are at first, percent; room lets updates stay on their page.
    pub fillfactor: Bounded<10, 100>,
    /// Updates of one event.
    pub updates_per_event: Bounded<0, 1_000>,
    /// Whether WAL compression makes its pages smaller.
    #[serde(default)]
    pub compressible: bool,
}

/// The wide table that reads and reports use.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Items {
    /// Its rows.
    pub rows: Bounded<100, 5_000_000>,
    /// Width of a row's text, bytes.
    pub row_bytes: Bounded<1, 1_000>,
}

/// Rows appended.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inserts {
    /// Rows of one event.
    pub per_event: Bounded<0, 100>,
    /// Width of a row's text, bytes.
    pub row_bytes: Bounded<1, 1_000>,
    /// About how many rows are kept; the rest is truncated away, so that a long run fills no disk.
    pub kept_rows: Bounded<1_000, 10_000_000>,
}

/// Point reads by primary key.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reads {
    /// Rows read by one event.
    pub per_event: Bounded<0, 10_000>,
    /// They are taken from so many rows of `items`.
    pub working_set_rows: Bounded<1, 5_000_000>,
}

/// Reports over rows of `items`: they need memory for a hash table and a sort.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reports {
    /// One event of so many has a report; 0: none.
    pub every_events: Bounded<0, 1_000_000>,
    /// Rows that a report takes, leaves out those that are among as many others, and sorts.
    pub rows: Bounded<1, 100_000>,
}

/// Look-ups of scattered rows of `items`, planned anew each time.
///
/// With indexes that the planner believes to be dear they read the whole table instead.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lookups {
    /// One event of so many has a look-up; 0: none.
    pub every_events: Bounded<0, 1_000_000>,
    /// Rows that it looks up.
    pub rows: Bounded<1, 100_000>,
}

impl Default for Lookups {
    fn default() -> Self {
        Self { every_events: Bounded::new(0), rows: Bounded::new(1) }
    }
}

/// A queue in a table: every event adds rows and removes as many that have waited; some events read it all.
///
/// The table's size is that of `pending` rows as long as vacuum keeps up, else it grows with every row that came.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jobs {
    /// Rows that an event adds, and removes; 0: there is no queue.
    pub per_event: Bounded<0, 1_000>,
    /// Width of a row's text, bytes.
    pub row_bytes: Bounded<1, 1_000>,
    /// Rows that wait, of each writer.
    pub pending: Bounded<0, 100_000>,
    /// One event of so many reads the whole queue; 0: none.
    pub scan_every_events: Bounded<0, 1_000_000>,
    /// After so many rows the table is emptied, so that a long run without vacuum fills no disk.
    pub kept_rows: Bounded<1_000, 10_000_000>,
}

impl Default for Jobs {
    fn default() -> Self {
        Self {
            per_event: Bounded::new(0),
            row_bytes: Bounded::new(1),
            pending: Bounded::new(0),
            scan_every_events: Bounded::new(0),
            kept_rows: Bounded::new(1_000),
        }
    }
}

/// Large queries over all of `items`, on connections of their own: they may take parallel workers.
#[derive(Debug, Clone, Copy, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Analytics {
    /// Connections that ask; 0: nobody does.
    pub connections: Bounded<0, 16>,
    /// From the start of one query to that of the next, of each connection.
    pub every: Span,
}

impl Default for Analytics {
    fn default() -> Self {
        Self { connections: Bounded::new(0), every: Span::new(Duration::from_secs(1)) }
    }
}

/// How the writers connect.
#[derive(Debug, Clone, Copy, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sessions {
    /// Whether a connection is kept for the next transaction; without that each opens one, as without a pool.
    pub kept: bool,
    /// How long the application computes with the connection in its hand, before each transaction.
    pub hold: Span,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { kept: true, hold: Span::new(Duration::ZERO) }
    }
}
