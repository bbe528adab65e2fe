//! A MySQL or a MariaDB as a migration's source: sessions, one moment for all of them, its catalog, its rows, its keys.
//!
//! In: an endpoint of the configuration. Out: sessions that are set up alike ([`MySqlSession`]), several of them as of
//! one moment ([`Snapshot`]), a [`Catalog`](crate::migrate::catalog::Catalog), and rows in COPY's forms.
//!
//! Always holds: nothing is written on the source; a value arrives as it is, or its row is rejected with the column and
//! the reason; a lock on the source is held for a bounded time, whatever happens; no password is in an error, a log or
//! a `Debug`. A command whose answer was not read to its end never gives its rows to the next one: the session is
//! interrupted, or lost.
//!
//! Rows are read as prepared statements send them, and not as text: a FLOAT has all of its digits only there, dates and
//! numbers need no parsing, and the result is streamed all the same. What they become is `copy_binary`'s and
//! `copy_text`'s, which are pure. It chooses no table and cuts none: that is `selection`'s and `ranges`'.

mod catalog;
mod connect;
mod conversion;
mod copy_binary;
mod copy_text;
mod errors;
mod keys;
mod read;
mod row_plan;
mod session;
mod snapshot;

pub(crate) use connect::text_at;
pub(crate) use errors::MySqlError;
pub(crate) use keys::KeyColumn;
pub(crate) use row_plan::RowPlan;
pub(crate) use session::{MySqlSession, ReadClocks, SessionLimits};
pub(crate) use snapshot::Snapshot;

use crate::migrate::quote::mysql_identifier;

/// Names with commas between them.
fn identifiers<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let quoted: Vec<String> = names.map(mysql_identifier).collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_always_quoted() {
        assert_eq!(identifiers(["a", "or`der:x"].into_iter()), "`a`, `or``der:x`");
    }
}
