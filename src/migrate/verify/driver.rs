//! Asks both sides until everything is found.
//!
//! In: two sides, the tables, how to compare. Out: a [`Report`]. Always holds: no more questions are under way than
//! allowed, over all tables together; a table that cannot be compared is told with the server's words and stops no
//! other; where the future is dropped, so is every question. Which question comes next is `bisection`'s and `groups`'
//! to say.

use super::asking::{Sides, TableError, answer_groups, answer_range, digests};
use super::bisection::Bisection;
use super::canonical::{Digest, PROBE};
use super::findings::{Findings, Rules};
use super::groups::{Grouping, Within};
use super::plan::{Circumstances, Method, TablePlan};
use super::report::{Checksum, Coverage, Report, TableReport, Tally};
use super::sides::{Answers, Ask, AskError, Row, Side};
use super::statements::{PARTITIONED, count_of};
use super::{Depth, Others, Settings, Subject};
use crate::migrate::ranges::{Extent, KeyValue, by_integer};
use crate::migrate::schema::TableName;
use crate::migrate::types::Engine;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Rows of a range that is compared at once: some seconds of a server's work.
const RANGE_ROWS: u64 = 500_000;

/// Ranges of one table, at most.
const MOST_RANGES: u32 = 4096;

/// Rows of a range that is not divided further.
const LEAF_ROWS: u64 = 256;

/// The same where the target may hold any number of other rows, so that most ranges differ: their rows are read.
const LEAF_ROWS_AMONG_OTHERS: u64 = 20_000;

/// Rows that are read at once where each reading passes over the whole table.
const BATCH_ROWS: u64 = 200_000;

/// Ranges whose rows are read, at most: two tables that have nothing in common are not read row by row.
const MOST_LEAVES: u64 = 2000;

/// The same where each reading passes over the whole table.
const MOST_BATCHES: u64 = 50;

/// Rows of a table that the source's statistics do not count.
const UNKNOWN_ROWS: u64 = 1_000_000;

const LOST: &str = "its task ended early, which is a fault of leverd; the log says more";

/// Why nothing could be compared.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A side could not be asked what it is.
    #[error("comparing rows: the {side} could not be asked what it is: {why}")]
    Asking {
        /// Which.
        side: Side,
        /// Its words.
        #[source]
        why: AskError,
    },
}

/// One table's task.
#[derive(Debug)]
struct Job {
    plan: TablePlan,
    settings: Settings,
    /// Rows that the run rejected: each may take a look of its own.
    rejected: u64,
}

/// Compares all tables. `told` hears of each when it is done.
///
/// Both sides' sessions must have run their [`pins`](super::pins), and should each see one moment.
///
/// # Errors
/// A side cannot be asked what it is. What fails later fails in its table's report.
pub async fn verify<S: Ask, T: Ask>(
    source: Arc<S>,
    target: Arc<T>,
    subjects: &[Subject],
    settings: &Settings,
    told: &mut (dyn FnMut(&TableReport) + Send),
) -> Result<Report, VerifyError> {
    let began = Instant::now();
    let most = settings.concurrency.clamp(1, Semaphore::MAX_PERMITS);
    let sides = Arc::new(Sides::new(source, target, most));
    let found = circumstances(&sides, settings.engine).await?;
    let mut done: BTreeMap<usize, TableReport> = BTreeMap::new();
    let mut running = JoinSet::new();
    let mut waiting = subjects.iter().enumerate();
    loop {
        while running.len() < most {
            let Some((at, subject)) = waiting.next() else { break };
            match TablePlan::new(subject, found.of(subject, settings.engine)) {
                Ok(plan) => {
                    let job = Arc::new(Job { plan, settings: settings.clone(), rejected: subject.rejected });
                    running.spawn(timed(at, Arc::clone(&sides), job));
                }
                Err(error) => {
                    let report = failed(subject, settings, error.to_string());
                    told(&report);
                    done.insert(at, report);
                }
            }
        }
        match running.join_next().await {
            None => break,
            Some(Ok(Looked { at, job, seconds, found })) => {
                if let Some(subject) = subjects.get(at) {
                    let report = reported(subject, &job, seconds, found);
                    told(&report);
                    done.insert(at, report);
                }
            }
            // Its table is not among the reports yet, and is told below.
            Some(Err(error)) => {
                tracing::error!("comparing a table ended early, which is a fault of leverd: {error}");
            }
        }
    }
    let tables = subjects
        .iter()
        .enumerate()
        .map(|(at, subject)| done.remove(&at).unwrap_or_else(|| failed(subject, settings, LOST.to_owned())));
    Ok(Report {
        tables: tables.collect(),
        source_may_have_changed: settings.source_may_have_changed,
        one_snapshot: sides.source.one_snapshot() && sides.target.one_snapshot(),
        seconds: began.elapsed().as_secs_f64(),
    })
}

/// What both servers were found to be.
#[derive(Debug)]
struct Found {
    digest: Digest,
    source_partitioned: BTreeSet<TableName>,
    target_partitioned: BTreeSet<TableName>,
}

impl Found {
    fn of(&self, subject: &Subject, engine: Engine) -> Circumstances {
        Circumstances {
            engine,
            digest: self.digest,
            source_partitioned: self.source_partitioned.contains(&subject.source.name),
            target_partitioned: self.target_partitioned.contains(&subject.target.target),
        }
    }
}

async fn circumstances<S: Ask, T: Ask>(sides: &Sides<S, T>, engine: Engine) -> Result<Found, VerifyError> {
    let of_target = |why| VerifyError::Asking { side: Side::Target, why };
    let of_source = |why| VerifyError::Asking { side: Side::Source, why };
    let target_partitioned = names_of(sides.target.ask(PARTITIONED).await.map_err(of_target)?);
    let (mut digest, mut source_partitioned) = (Digest::Md5, BTreeSet::new());
    if engine == Engine::Postgres {
        source_partitioned = names_of(sides.source.ask(PARTITIONED).await.map_err(of_source)?);
        let theirs = sides.source.ask(PROBE).await.map_err(of_source)?;
        let ours = sides.target.ask(PROBE).await.map_err(of_target)?;
        if theirs == ours && !ours.is_empty() {
            digest = Digest::Fast;
        }
    }
    Ok(Found { digest, source_partitioned, target_partitioned })
}

fn names_of(rows: Answers) -> BTreeSet<TableName> {
    let name = |row: Row| {
        let mut values = row.into_iter();
        Some(TableName { schema: values.next()??, name: values.next()?? })
    };
    rows.into_iter().filter_map(name).collect()
}

/// What was found in a table, and how much of it was compared.
type FoundRows = Result<(Findings, Coverage), TableError>;

/// A table that was looked at.
struct Looked {
    /// Its place among the subjects.
    at: usize,
    job: Arc<Job>,
    seconds: f64,
    found: FoundRows,
}

async fn timed<S: Ask, T: Ask>(at: usize, sides: Arc<Sides<S, T>>, job: Arc<Job>) -> Looked {
    let began = Instant::now();
    let found = look(&sides, &job).await;
    Looked { at, job, seconds: began.elapsed().as_secs_f64(), found }
}

async fn look<S: Ask, T: Ask>(sides: &Arc<Sides<S, T>>, job: &Arc<Job>) -> FoundRows {
    let findings = match (job.settings.depth, &job.plan.method) {
        (Depth::Sample { rows, seed }, _) => return sample(sides, job, rows, seed).await,
        (Depth::Everything, Method::Grouped) => grouped(sides, job).await?,
        (Depth::Everything, _) => ordered(sides, job).await?,
    };
    Ok((findings, Coverage::Everything))
}

/// By ranges of the key.
async fn ordered<S: Ask, T: Ask>(sides: &Arc<Sides<S, T>>, job: &Arc<Job>) -> Result<Findings, TableError> {
    let mut bisection = Bisection::new(pieces(sides, &job.plan).await?, job.rules(MOST_LEAVES));
    loop {
        let questions = bisection.questions();
        if questions.is_empty() {
            return Ok(bisection.into_findings());
        }
        let mut tasks = JoinSet::new();
        for (ticket, question) in questions {
            let (sides, job) = (Arc::clone(sides), Arc::clone(job));
            tasks.spawn(async move { (ticket, answer_range(&sides, &job.plan, &question).await) });
        }
        while let Some(done) = tasks.join_next().await {
            let (ticket, answer) = done?;
            bisection.answer(ticket, answer?)?;
        }
    }
}

/// By groups of a digest.
async fn grouped<S: Ask, T: Ask>(sides: &Arc<Sides<S, T>>, job: &Arc<Job>) -> Result<Findings, TableError> {
    let rows = job.plan.estimated_rows.unwrap_or(UNKNOWN_ROWS);
    let mut grouping = Grouping::new(rows, job.rules(MOST_BATCHES));
    loop {
        let questions = grouping.questions();
        if questions.is_empty() {
            return Ok(grouping.into_findings());
        }
        let mut tasks = JoinSet::new();
        for (ticket, question) in questions {
            let (sides, job) = (Arc::clone(sides), Arc::clone(job));
            tasks.spawn(async move { (ticket, answer_groups(&sides, &job.plan, &question).await) });
        }
        while let Some(done) = tasks.join_next().await {
            let (ticket, answer) = done?;
            grouping.answer(ticket, answer?)?;
        }
    }
}

/// Counts all rows, and compares those whose digest ends in certain bits: of both sides the same ones.
async fn sample<S: Ask, T: Ask>(sides: &Sides<S, T>, job: &Job, rows: u64, seed: u64) -> FoundRows {
    let plan = &job.plan;
    let (source, target) = sides.ask_both(&plan.source.count(), &plan.target.count()).await?;
    let source_rows = count_of(&source).ok_or(TableError::Answer { side: Side::Source })?;
    let target_rows = count_of(&target).ok_or(TableError::Answer { side: Side::Target })?;
    let bits = (source_rows / rows.max(1)).checked_ilog2().unwrap_or(0);
    let of = Within { bits, values: vec![seed & ((1_u64 << bits.min(63)) - 1)] };
    let limit = rows.saturating_mul(8).saturating_add(10_000);
    let (source, target) =
        sides.ask_both(&plan.source.group_rows(&of, limit), &plan.target.group_rows(&of, limit)).await?;
    let (source, target) = (digests(Side::Source, source)?, digests(Side::Target, target)?);
    let mut findings = Findings { source_rows, target_rows, ..Findings::default() };
    if source.len() as u64 >= limit || target.len() as u64 >= limit {
        findings.incomplete = true;
    } else {
        findings.compare(&source, &target, &job.rules(1));
    }
    Ok((findings, Coverage::Sample { rows: source.len() as u64 }))
}

/// Ranges that cover a table, each with some [`RANGE_ROWS`] rows of the source's.
async fn pieces<S: Ask, T: Ask>(sides: &Sides<S, T>, plan: &TablePlan) -> Result<Vec<Extent>, TableError> {
    let rows = plan.estimated_rows.unwrap_or(0);
    if rows < RANGE_ROWS * 2 {
        return Ok(vec![plan.everything()]);
    }
    match &plan.method {
        Method::Integer => {
            let answer = sides.ask_source(&plan.source.bounds()).await?;
            let bound = |at: usize| -> Option<i128> { answer.first()?.get(at)?.as_deref()?.parse().ok() };
            let Some(bounds) = bound(0).zip(bound(1)) else { return Ok(vec![plan.everything()]) };
            let column = plan.source.key_names.first().cloned().unwrap_or_default();
            Ok(by_integer(&column, bounds, rows, RANGE_ROWS, MOST_RANGES))
        }
        Method::Keyset { .. } => keyset_pieces(sides, plan).await,
        Method::Grouped => Ok(vec![plan.everything()]),
    }
}

/// Each ends at the key that lies so many rows behind the one before: together one pass over the key's index.
async fn keyset_pieces<S: Ask, T: Ask>(
    sides: &Sides<S, T>,
    plan: &TablePlan,
) -> Result<Vec<Extent>, TableError> {
    let piece = |after: Option<Vec<KeyValue>>, up_to: Option<Vec<KeyValue>>| Extent::Keyset {
        columns: plan.source.key_names.clone(),
        after,
        up_to,
    };
    let mut pieces = Vec::new();
    let mut last: Option<Vec<KeyValue>> = None;
    for _ in 1..MOST_RANGES {
        let rest = piece(last.clone(), None);
        let rows = sides.ask_source(&plan.source.boundary(&rest, RANGE_ROWS - 1)).await?;
        let Some(row) = rows.first() else { break };
        let key = plan.key_of(row).ok_or(TableError::Answer { side: Side::Source })?;
        pieces.push(piece(last.take(), Some(key.clone())));
        last = Some(key);
    }
    pieces.push(piece(last, None));
    Ok(pieces)
}

impl Job {
    fn rules(&self, most_row_questions: u64) -> Rules {
        let others_allowed = self.settings.others == Others::Allowed;
        Rules {
            leaf_rows: if others_allowed { LEAF_ROWS_AMONG_OTHERS } else { LEAF_ROWS },
            batch_rows: BATCH_ROWS,
            most_keys: if self.plan.key.is_empty() { 0 } else { self.settings.most_keys },
            // Among others most ranges differ, and each must be read to know.
            most_row_questions: if others_allowed {
                u64::MAX
            } else {
                most_row_questions.saturating_add(self.rejected)
            },
            others_allowed,
        }
    }
}

fn reported(subject: &Subject, job: &Job, seconds: f64, found: FoundRows) -> TableReport {
    let settings = &job.settings;
    let (found, coverage) = match found {
        Ok(found) => found,
        Err(error) => return TableReport { seconds, ..failed(subject, settings, error.to_string()) },
    };
    // Among others every checksum differs; those of the source's rows do where one of them is not there.
    let differs = match settings.others {
        Others::Refused => found.differs,
        Others::Allowed => found.missing.rows > 0 || found.different.rows > 0,
    };
    let checksum = match coverage {
        Coverage::Sample { .. } => Checksum::NotTaken,
        Coverage::Everything if differs => Checksum::Differs,
        Coverage::Everything => Checksum::Same,
    };
    TableReport {
        source_rows: Some(found.source_rows),
        target_rows: Some(found.target_rows),
        checksum,
        coverage,
        key: job.plan.key.clone(),
        missing: in_order(found.missing),
        extra: in_order(found.extra),
        different: in_order(found.different),
        complete: !found.incomplete,
        notes: job.plan.notes.clone(),
        error: None,
        seconds,
        ..failed(subject, settings, String::new())
    }
}

/// Answers come in any order.
fn in_order(mut tally: Tally) -> Tally {
    tally.keys.sort();
    tally
}

fn failed(subject: &Subject, settings: &Settings, error: String) -> TableReport {
    TableReport {
        source: subject.source.name.clone(),
        target: subject.target.target.clone(),
        source_rows: None,
        target_rows: None,
        checksum: Checksum::NotTaken,
        coverage: Coverage::Everything,
        key: Vec::new(),
        missing: Tally::default(),
        extra: Tally::default(),
        different: Tally::default(),
        complete: false,
        rejected: subject.rejected,
        others_allowed: settings.others == Others::Allowed,
        notes: Vec::new(),
        error: Some(error),
        seconds: 0.0,
    }
}

#[cfg(test)]
mod tests;
