//! The runs themselves: begun, taken, ended, listed, forgotten.
//!
//! Always holds: a run is open until it is complete, abandoned or replaced; one that failed or was interrupted stays
//! open, to be gone on with. No two open runs have a target schema in common. Ending a run raises its fence, so that
//! nothing is written under its lease afterwards.

use super::lease::{self, Lease, Who};
use super::{Reader, StateError, ask, failed, json_text, plain, write};
use crate::config::TargetMode;
use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio_postgres::Client;

/// A run that is to begin.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRun {
    /// Its name, which no other run of this target has.
    pub id: String,
    /// Where the rows come from, for people; without a password.
    pub source: String,
    /// What tells the source from another that is called the same.
    pub source_fingerprint: String,
    /// The schemas of the target that it writes into; at least one.
    pub target_schemas: Vec<String>,
    /// What becomes of tables that are there.
    pub mode: TargetMode,
    /// The settings that it begins with; without secrets.
    pub settings: Value,
    /// What tells its plan from another.
    pub plan_hash: String,
    /// The snapshot that is read, where there is one.
    pub snapshot: Option<String>,
    /// Open runs into the same schemas that are given up for this one: they cannot be resumed any more.
    pub replaces: Vec<String>,
}

/// A run as the target has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its name.
    pub id: String,
    /// Raised with each process that took it.
    pub fence: i64,
    /// Where the rows come from, for people.
    pub source: String,
    /// What tells the source from another that is called the same.
    pub source_fingerprint: String,
    /// The schemas of the target that it writes into.
    pub target_schemas: Vec<String>,
    /// What becomes of tables that are there.
    pub mode: TargetMode,
    /// The settings that it began with.
    pub settings: Value,
    /// What tells its plan from another.
    pub plan_hash: String,
    /// The snapshot that was read last.
    pub snapshot: Option<String>,
    /// The machine of the process that took it last.
    pub host: String,
    /// That process.
    pub pid: u32,
    /// When it began.
    pub began_at: DateTime<Utc>,
    /// When it was taken last.
    pub leased_at: DateTime<Utc>,
    /// Whether it can be gone on with.
    pub open: bool,
    /// When the process that took it last said that it stops; `None`: it is at work, or was killed.
    pub ended_at: Option<DateTime<Utc>>,
    /// How that process ended it.
    pub outcome: Option<Outcome>,
    /// What it said then.
    pub report: Option<Value>,
}

/// How a process ends a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All is done. Over.
    Complete,
    /// It could not go on. It stays open.
    Failed,
    /// Somebody stopped it. It stays open.
    Interrupted,
    /// It is given up. Over.
    Abandoned,
    /// Another run was begun in its place. Over.
    Replaced,
}

impl Outcome {
    const ALL: [Self; 5] = [Self::Complete, Self::Failed, Self::Interrupted, Self::Abandoned, Self::Replaced];

    /// As the target has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Abandoned => "abandoned",
            Self::Replaced => "replaced",
        }
    }

    /// Whether the run can be gone on with afterwards.
    pub fn stays_open(self) -> bool {
        matches!(self, Self::Failed | Self::Interrupted)
    }

    fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }
}

const MODES: [TargetMode; 4] =
    [TargetMode::DropRecreate, TargetMode::Truncate, TargetMode::Append, TargetMode::Upsert];

const UNFINISHED: &str = "\
SELECT r.id FROM leverd_migration.run AS r
WHERE r.is_open AND r.id <> $1::text AND r.target_schemas && $2::text[] AND NOT r.id = ANY ($3::text[])
ORDER BY r.began_at DESC LIMIT 1";

/// The fence begins with the time: a run that is forgotten and begun again under its name has another one.
const INSERT: &str = "\
WITH made AS (
    INSERT INTO leverd_migration.run AS r (id, fence, source, source_fingerprint, target_schemas, mode, settings,
                                           plan_hash, snapshot, host, pid, backend_pid)
    VALUES ($1::text, (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000)::bigint, $2::text,
            $3::text, $4::text[], $5::text, $6::text::json, $7::text, $8::text, $9::text, $10::bigint,
            pg_catalog.pg_backend_pid())
    ON CONFLICT (id) DO NOTHING
    RETURNING r.id, r.fence, r.backend_pid
), replaced AS (
    UPDATE leverd_migration.run AS o
    SET is_open = false, outcome = 'replaced', ended_at = pg_catalog.clock_timestamp(), fence = o.fence + 1
    FROM made
    WHERE o.is_open AND o.id = ANY ($11::text[]) AND o.id <> made.id AND o.target_schemas && $4::text[]
)
SELECT made.fence, made.backend_pid FROM made";

const RAISE_FENCE: &str = "\
UPDATE leverd_migration.run AS r
SET fence = r.fence + 1, host = $3::text, pid = $4::bigint, backend_pid = pg_catalog.pg_backend_pid(),
    leased_at = pg_catalog.clock_timestamp(), ended_at = NULL, outcome = NULL
WHERE r.id = $1::text AND r.is_open AND r.target_schemas = $2::text[]
RETURNING r.fence, r.backend_pid";

const SCHEMAS: &str =
    "SELECT r.target_schemas, r.is_open FROM leverd_migration.run AS r WHERE r.id = $1::text";

const FINISH: &str = "\
UPDATE leverd_migration.run AS r
SET is_open = $3::boolean, outcome = $4::text, ended_at = pg_catalog.clock_timestamp(), report = $5::text::json,
    fence = r.fence + 1
WHERE r.id = $1::text AND r.fence = $2::bigint";

const SET_SNAPSHOT: &str =
    held!(" UPDATE leverd_migration.run AS r SET snapshot = $3::text FROM held WHERE r.id = held.id");

/// Told out, though each would go with its parent: a session may have switched the triggers off that do that.
const FORGET: &str = "\
WITH adjustments AS (DELETE FROM leverd_migration.adjustment WHERE run = $1::text),
     statements AS (DELETE FROM leverd_migration.statement WHERE run = $1::text),
     rejects AS (DELETE FROM leverd_migration.reject WHERE run = $1::text),
     chunks AS (DELETE FROM leverd_migration.chunk WHERE run = $1::text),
     parts AS (DELETE FROM leverd_migration.part WHERE run = $1::text),
     tables AS (DELETE FROM leverd_migration.moved_table WHERE run = $1::text)
DELETE FROM leverd_migration.run WHERE id = $1::text";

macro_rules! select_runs {
    ($rest:literal) => {
        concat!(
            "SELECT r.id, r.fence, r.source, r.source_fingerprint, r.target_schemas, r.mode, r.settings::text, \
             r.plan_hash, r.snapshot, r.host, r.pid, r.began_at, r.leased_at, r.is_open, r.ended_at, r.outcome, \
             r.report::text FROM leverd_migration.run AS r ",
            $rest
        )
    };
}

const OPEN_RUNS: &str = select_runs!("WHERE r.is_open ORDER BY r.began_at DESC, r.id");

const LAST_RUNS: &str = select_runs!("ORDER BY r.began_at DESC, r.id LIMIT $1::bigint");

const ONE_RUN: &str = select_runs!("WHERE r.id = $1::text");

/// The runs that can be gone on with, the youngest first. One query; the schema must be installed.
pub async fn open_runs(client: &Client) -> Result<Vec<Run>, StateError> {
    ask(client, "reading the open runs", OPEN_RUNS, &[], Run::of).await
}

/// The last runs of all, at most so many, the youngest first. One query; the schema must be installed.
pub async fn last_runs(client: &Client, most: u32) -> Result<Vec<Run>, StateError> {
    ask(client, "reading the last runs", LAST_RUNS, &[&i64::from(most)], Run::of).await
}

/// Notes which snapshot is read from now on; [`StateError::Lost`] where the lease is.
pub async fn set_snapshot(client: &Client, lease: &Lease, snapshot: Option<&str>) -> Result<(), StateError> {
    let (run, fence) = (lease.run(), lease.fence());
    let doing = "noting the run's snapshot";
    write(client, lease, doing, SET_SNAPSHOT, &[&run, &fence, &snapshot], 1).await
}

/// Says how this process ended the run; [`StateError::Lost`] where the lease is lost.
///
/// Nothing can be written under the lease afterwards: its fence is raised, which waits for chunks that are committing.
/// `report` is for people and for `status`; without secrets. The schemas are free when the lease's connection ends.
pub async fn finish(
    client: &Client,
    lease: &Lease,
    outcome: Outcome,
    report: Option<&Value>,
) -> Result<(), StateError> {
    let report = report.map(json_text);
    let (run, fence) = (lease.run(), lease.fence());
    let (open, word) = (outcome.stays_open(), outcome.as_str());
    write(client, lease, "ending the run", FINISH, &[&run, &fence, &open, &word, &report], 1).await
}

/// Forgets a run and all that belongs to it; rows in the target's own tables stay.
///
/// The connection must be in no transaction, and hold no lease. Refused where the run is open and it or another one
/// into its schemas is at work ([`StateError::Held`]), and where it is not known ([`StateError::UnknownRun`]).
pub async fn forget(client: &Client, run: &str) -> Result<(), StateError> {
    let (schemas, open) = schemas_of(client, run).await?;
    let deleting = async {
        let deleted = client.execute(FORGET, &[&run]).await;
        deleted.map(|_| ()).map_err(failed("forgetting a run"))
    };
    if open { lease::while_locked(client, run, &schemas, deleting).await } else { deleting.await }
}

/// A run's row.
pub(super) async fn read_run(client: &Client, run: &str) -> Result<Run, StateError> {
    let mut found = ask(client, "reading the run", ONE_RUN, &[&run], Run::of).await?;
    found.pop().ok_or_else(|| StateError::UnknownRun { run: run.to_owned() })
}

/// The schemas that a run writes into, and whether it is open.
pub(super) async fn schemas_of(client: &Client, run: &str) -> Result<(Vec<String>, bool), StateError> {
    let doing = "reading the run's schemas";
    let mut found: Vec<(Vec<String>, bool)> =
        ask(client, doing, SCHEMAS, &[&run], |row: Reader<'_>| Ok((row.get(0)?, row.get(1)?))).await?;
    found.pop().ok_or_else(|| StateError::UnknownRun { run: run.to_owned() })
}

/// Writes a new run; its fence and the session that wrote it. The schemas' locks must be held.
pub(super) async fn insert(client: &Client, run: &NewRun, who: &Who) -> Result<(i64, i32), StateError> {
    let doing = "looking for runs that were interrupted";
    let unfinished = client
        .query_opt(UNFINISHED, &[&run.id, &run.target_schemas, &run.replaces])
        .await
        .map_err(failed(doing))?;
    if let Some(row) = unfinished {
        return Err(StateError::Unfinished { run: Reader { row: &row, doing }.get(0)? });
    }
    let doing = "beginning the run";
    let (source, host) = (plain(&run.source), plain(&who.host));
    let (mode, settings, pid) = (run.mode.as_str(), json_text(&run.settings), i64::from(who.pid));
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 11] = [
        &run.id,
        &source,
        &run.source_fingerprint,
        &run.target_schemas,
        &mode,
        &settings,
        &run.plan_hash,
        &run.snapshot,
        &host,
        &pid,
        &run.replaces,
    ];
    let made = client.query_opt(INSERT, &params).await.map_err(failed(doing))?;
    let Some(row) = made else { return Err(StateError::RunExists { run: run.id.clone() }) };
    let row = Reader { row: &row, doing };
    Ok((row.get(0)?, row.get(1)?))
}

/// Takes a run over; its new fence and the session that wrote it. The schemas' locks must be held.
pub(super) async fn raise_fence(
    client: &Client,
    run: &str,
    schemas: &[String],
    who: &Who,
) -> Result<(i64, i32), StateError> {
    let doing = "taking the run";
    let (host, pid) = (plain(&who.host), i64::from(who.pid));
    let row = client.query_opt(RAISE_FENCE, &[&run, &schemas, &host, &pid]).await.map_err(failed(doing))?;
    // Ended or forgotten since its schemas were read.
    let Some(row) = row else { return Err(StateError::Over { run: run.to_owned() }) };
    let row = Reader { row: &row, doing };
    Ok((row.get(0)?, row.get(1)?))
}

impl Run {
    fn of(row: Reader<'_>) -> Result<Self, StateError> {
        let mode: String = row.get(5)?;
        let mode = MODES.into_iter().find(|known| known.as_str() == mode);
        let outcome: Option<String> = row.get(15)?;
        let outcome = match outcome {
            None => None,
            Some(word) => Some(Outcome::of(&word).ok_or_else(|| row.damaged("an unknown outcome"))?),
        };
        let report: Option<String> = row.get(16)?;
        Ok(Self {
            id: row.get(0)?,
            fence: row.get(1)?,
            source: row.get(2)?,
            source_fingerprint: row.get(3)?,
            target_schemas: row.get(4)?,
            mode: mode.ok_or_else(|| row.damaged("an unknown mode"))?,
            settings: row.json(6)?,
            plan_hash: row.get(7)?,
            snapshot: row.get(8)?,
            host: row.get(9)?,
            pid: row.number(10)?,
            began_at: row.get(11)?,
            leased_at: row.get(12)?,
            open: row.get(13)?,
            ended_at: row.get(14)?,
            outcome,
            report: if report.is_some() { Some(row.json(16)?) } else { None },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_and_modes_are_read_back() {
        for outcome in Outcome::ALL {
            assert_eq!(Outcome::of(outcome.as_str()), Some(outcome));
        }
        assert_eq!(Outcome::of("lost"), None);
        let words: Vec<&str> = MODES.into_iter().map(TargetMode::as_str).collect();
        assert_eq!(words, ["drop_recreate", "truncate", "append", "upsert"]);
    }

    #[test]
    fn only_what_can_be_gone_on_with_stays_open() {
        let open: Vec<&str> =
            Outcome::ALL.into_iter().filter(|outcome| outcome.stays_open()).map(Outcome::as_str).collect();
        assert_eq!(open, ["failed", "interrupted"]);
    }

    #[test]
    fn forgetting_names_every_table_of_a_run() {
        let tables = include_str!("install.sql").matches("CREATE TABLE IF NOT EXISTS").count();
        // All but `meta`.
        assert_eq!(FORGET.matches("DELETE FROM leverd_migration.").count(), tables - 1);
    }
}
