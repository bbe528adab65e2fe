//! Questions to both sides, and their answers read.
//!
//! In: a table's plan and what is to be known. Out: the answer in the words of whoever wanted to know, or a
//! [`TableError`]. Always holds: no more questions are under way than there are permits; an answer of another shape is
//! an error and never taken for "nothing there".

use super::bisection;
use super::canonical::NOT_HASHED;
use super::findings::{RowDigest, Unexpected};
use super::groups;
use super::plan::TablePlan;
use super::sides::{Answers, Ask, AskError, Side};
use super::statements::{digests_of, groups_of, sum_of};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Why one table could not be compared.
#[derive(Debug, thiserror::Error)]
pub(super) enum TableError {
    #[error("asking the {side}: {why}")]
    Asking {
        side: Side,
        #[source]
        why: AskError,
    },
    #[error("the {side} answered with something else than what was asked for")]
    Answer { side: Side },
    #[error(
        "the {side} could not write a row as text; where it is a MySQL, raise max_allowed_packet above the longest row"
    )]
    NotHashed { side: Side },
    #[error("a question ended early, which is a fault of leverd: {0}")]
    Task(#[from] tokio::task::JoinError),
    #[error(transparent)]
    Unexpected(#[from] Unexpected),
}

/// Both sides.
pub(super) struct Sides<S, T> {
    pub(super) source: Arc<S>,
    pub(super) target: Arc<T>,
    /// One for each question that may be under way.
    permits: Semaphore,
}

/// Asks what a bisection wants to know.
pub(super) async fn answer_range<S: Ask, T: Ask>(
    sides: &Sides<S, T>,
    plan: &TablePlan,
    question: &bisection::Question,
) -> Result<bisection::Answer, TableError> {
    match question {
        bisection::Question::Compare(extent) => {
            let (source, target) =
                sides.ask_both(&plan.source.sums(extent), &plan.target.sums(extent)).await?;
            Ok(bisection::Answer::Compared {
                source: sum_of(&source).ok_or(TableError::Answer { side: Side::Source })?,
                target: sum_of(&target).ok_or(TableError::Answer { side: Side::Target })?,
            })
        }
        bisection::Question::Split { extent, side, offset } => {
            let rows = match side {
                Side::Source => sides.ask_source(&plan.source.boundary(extent, *offset)).await?,
                Side::Target => sides.ask_target(&plan.target.boundary(extent, *offset)).await?,
            };
            let Some(row) = rows.first() else { return Ok(bisection::Answer::Boundary(None)) };
            let key = plan.key_of(row).ok_or(TableError::Answer { side: *side })?;
            Ok(bisection::Answer::Boundary(Some(key)))
        }
        bisection::Question::Rows { extent, limit } => {
            let (source, target) =
                sides.ask_both(&plan.source.rows(extent, *limit), &plan.target.rows(extent, *limit)).await?;
            Ok(bisection::Answer::Rows {
                source: digests(Side::Source, source)?,
                target: digests(Side::Target, target)?,
            })
        }
    }
}

/// Asks what a grouping wants to know.
pub(super) async fn answer_groups<S: Ask, T: Ask>(
    sides: &Sides<S, T>,
    plan: &TablePlan,
    question: &groups::Question,
) -> Result<groups::Answer, TableError> {
    match question {
        groups::Question::Groups { bits, within } => {
            let within = within.as_ref();
            let (source, target) = sides
                .ask_both(&plan.source.groups(*bits, within), &plan.target.groups(*bits, within))
                .await?;
            Ok(groups::Answer::Groups {
                source: groups_of(&source).ok_or(TableError::Answer { side: Side::Source })?,
                target: groups_of(&target).ok_or(TableError::Answer { side: Side::Target })?,
            })
        }
        groups::Question::Rows { of, limit } => {
            let (source, target) = sides
                .ask_both(&plan.source.group_rows(of, *limit), &plan.target.group_rows(of, *limit))
                .await?;
            Ok(groups::Answer::Rows {
                source: digests(Side::Source, source)?,
                target: digests(Side::Target, target)?,
            })
        }
    }
}

/// The rows of an answer.
pub(super) fn digests(side: Side, rows: Answers) -> Result<Vec<RowDigest>, TableError> {
    let rows = digests_of(rows).ok_or(TableError::Answer { side })?;
    if rows.iter().any(|row| row.digest == NOT_HASHED) {
        return Err(TableError::NotHashed { side });
    }
    Ok(rows)
}

impl<S: Ask, T: Ask> Sides<S, T> {
    /// With so many questions at once, at most.
    pub(super) fn new(source: Arc<S>, target: Arc<T>, most: usize) -> Self {
        Self { source, target, permits: Semaphore::new(most) }
    }

    /// A question to both.
    pub(super) async fn ask_both(
        &self,
        source: &str,
        target: &str,
    ) -> Result<(Answers, Answers), TableError> {
        let _permit = self.permits.acquire().await;
        tokio::try_join!(
            async { self.source.ask(source).await.map_err(|why| asking(Side::Source, why)) },
            async { self.target.ask(target).await.map_err(|why| asking(Side::Target, why)) },
        )
    }

    /// A question to the source alone.
    pub(super) async fn ask_source(&self, sql: &str) -> Result<Answers, TableError> {
        let _permit = self.permits.acquire().await;
        self.source.ask(sql).await.map_err(|why| asking(Side::Source, why))
    }

    /// A question to the target alone.
    pub(super) async fn ask_target(&self, sql: &str) -> Result<Answers, TableError> {
        let _permit = self.permits.acquire().await;
        self.target.ask(sql).await.map_err(|why| asking(Side::Target, why))
    }
}

fn asking(side: Side, why: AskError) -> TableError {
    TableError::Asking { side, why }
}
