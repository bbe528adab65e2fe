//! Settings that were changed while a run was at work, and what came of it.
//!
//! Each adjustment has a number within its run. It is written down when it is made, and again under the same number
//! when it is judged: then outcome and gain come to it, and nothing else changes. For reports and for what learns from
//! earlier runs; the run itself does not need it to go on.

use super::{Lease, Reader, StateError, ask, plain, write};
use crate::migrate::adjust::Parameter;
use chrono::{DateTime, Utc};
use tokio_postgres::Client;

/// A setting that was changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Adjustment {
    /// Its number within the run; a run that goes on counts on.
    pub number: u32,
    /// Which setting.
    pub setting: Parameter,
    /// Its value before.
    pub before: u32,
    /// Its value since.
    pub after: u32,
    /// Who decided: a model's name, `rules`, `sla`.
    pub by: String,
    /// Why, one line.
    pub reasoning: String,
    /// How it ended, with its reason: `kept, rows per second +12.3 % (faster; …)`; `None`: it is not judged yet.
    pub outcome: Option<String>,
    /// What rows per second did, as a share: 0.1 is 10 % more. `None`: not known.
    pub gain: Option<f64>,
}

impl Adjustment {
    /// Whether its trial proved it, so that the value after it stands.
    pub fn is_kept(&self) -> bool {
        self.outcome.as_deref().is_some_and(|outcome| outcome.starts_with("kept"))
    }
}

/// An adjustment as the target has it.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedAdjustment {
    /// When it was made.
    pub at: DateTime<Utc>,
    /// The adjustment.
    pub adjustment: Adjustment,
}

const RECORD: &str = held!(
    " INSERT INTO leverd_migration.adjustment (run, number, setting, value_before, value_after, decided_by, reasoning, \
     outcome, gain) \
     SELECT held.id, $3::bigint, $4::text, $5::bigint, $6::bigint, $7::text, $8::text, $9::text, \
     $10::double precision FROM held \
     ON CONFLICT (run, number) DO UPDATE SET outcome = excluded.outcome, gain = excluded.gain"
);

const ADJUSTMENTS: &str = "\
SELECT a.adjusted_at, a.number, a.setting, a.value_before, a.value_after, a.decided_by, a.reasoning, a.outcome, a.gain
FROM leverd_migration.adjustment AS a
WHERE a.run = $1::text ORDER BY a.number";

/// Writes down an adjustment, or how one ended. [`StateError::Lost`] where the lease is lost.
pub async fn record_adjustment(
    client: &Client,
    lease: &Lease,
    adjustment: &Adjustment,
) -> Result<(), StateError> {
    let (run, fence, setting) = (lease.run(), lease.fence(), adjustment.setting.name());
    let number = i64::from(adjustment.number);
    let (before, after) = (i64::from(adjustment.before), i64::from(adjustment.after));
    let (by, reasoning) = (plain(&adjustment.by), plain(&adjustment.reasoning));
    let outcome = adjustment.outcome.as_deref().map(plain);
    write(
        client,
        lease,
        "recording an adjustment",
        RECORD,
        &[&run, &fence, &number, &setting, &before, &after, &by, &reasoning, &outcome, &adjustment.gain],
        1,
    )
    .await
}

/// The adjustments of a run, by number.
pub async fn adjustments_of(client: &Client, run: &str) -> Result<Vec<RecordedAdjustment>, StateError> {
    ask(client, "reading the run's adjustments", ADJUSTMENTS, &[&run], |row: Reader<'_>| {
        let word: String = row.get(2)?;
        let setting = Parameter::ALL.into_iter().find(|setting| setting.name() == word);
        Ok(RecordedAdjustment {
            at: row.get(0)?,
            adjustment: Adjustment {
                number: row.number(1)?,
                setting: setting.ok_or_else(|| row.damaged("an unknown setting"))?,
                before: row.number(3)?,
                after: row.number(4)?,
                by: row.get(5)?,
                reasoning: row.get(6)?,
                outcome: row.get(7)?,
                gain: row.get(8)?,
            },
        })
    })
    .await
}
