//! Where the source's sequences stand once all rows are there.
//!
//! A sequence obeys no snapshot. What others insert at the source while rows are moved is not among the rows, and has
//! taken numbers all the same: a target that went on from where the sequences stood when the run began would give those
//! numbers a second time.
//!
//! In: the plan. Out: the plan with the newest positions. Always holds: where the source cannot be asked again, its
//! sequences stand in the target as they did when the run began, or behind the largest value that was brought, and the
//! report says so.

use super::Running;
use crate::migrate::ddl::{Kind, Phase};
use std::time::Duration;

/// Reading a catalog is a matter of seconds, unless somebody has locked a table of it.
const PATIENCE: Duration = Duration::from_secs(60);

impl Running<'_> {
    /// Puts the newest positions into the plan's statements.
    pub(super) async fn read_positions_again(&mut self) {
        if !self.plan.statements(Phase::Last).any(|statement| statement.kind == Kind::NextValue) {
            return;
        }
        let why = match tokio::time::timeout(PATIENCE, super::plan(self.config)).await {
            Ok(Ok(newer)) => return self.plan.take_positions(&newer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("it gave no answer for {} s", PATIENCE.as_secs()),
        };
        self.notes.push(format!(
            "the source's sequences could not be read again after its rows: {why}; what was inserted there meanwhile \
             may have taken numbers that the target gives once more"
        ));
    }
}
