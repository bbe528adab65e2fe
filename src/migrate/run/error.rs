//! Why a migration did not come to its end, and what a person could do about it.

use crate::migrate::mysql::MySqlError;
use crate::migrate::plan::PlanError;
use crate::migrate::state::StateError;
use crate::migrate::transfer::Failure;
use crate::postgres::PostgresError;

/// Why a migration did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The source cannot be used.
    #[error("the source: {0}")]
    Source(#[source] PostgresError),
    /// A source that is no PostgreSQL cannot be used.
    #[error("the source: {why}")]
    OtherSource {
        /// The driver's words.
        why: String,
        /// What could be done.
        hint: Option<String>,
    },
    /// The target cannot be used.
    #[error("the target: {0}")]
    Target(#[source] PostgresError),
    /// There is no plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The run's state cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// Source or target failed on the way. What is in the target stays.
    #[error("{0}")]
    Moving(String),
    /// There is nothing to go on with.
    #[error("there is no open run into the schema {schema} of the target")]
    NothingOpen {
        /// The target's schema.
        schema: String,
    },
    /// The source is not what it was when the run began.
    #[error("the run {run} cannot go on: {why}")]
    Changed {
        /// The run.
        run: String,
        /// What is not the same.
        why: String,
    },
    /// `strict_consistency` asks for one moment, and the source cannot be seen to give it.
    #[error("strict_consistency: the source's rows cannot be read as of one moment: {why}")]
    NotOneMoment {
        /// What is missing.
        why: String,
    },
    /// It was told to stop.
    #[error("stopped; what is in the target stays")]
    Stopped,
}

impl MigrateError {
    /// What a person could do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Source(error) | Self::Target(error) => error.hint().map(str::to_owned),
            Self::Plan(PlanError::Refused { .. }) => {
                Some("leave their tables out with exclude_tables, or give them another type first".to_owned())
            }
            Self::Plan(PlanError::NoKey { .. }) => {
                Some("give them a primary key, leave them out, or use target_mode append".to_owned())
            }
            Self::Plan(PlanError::Nothing { .. }) => {
                Some("look at source.schema, include_tables and exclude_tables".to_owned())
            }
            Self::OtherSource { hint, .. } => hint.clone(),
            Self::State(error) => error.hint().map(str::to_owned),
            Self::Moving(_) | Self::Stopped => {
                Some("leverd migrate resume -c FILE goes on where it stopped".to_owned())
            }
            Self::NotOneMoment { .. } => Some(
                "give the source's user RELOAD or LOCK TABLES, or stop who writes there and read with one session \
                 (max_source_connections: 2); leave tables without snapshots (MyISAM) out; or set strict_consistency: \
                 false. Then leverd migrate resume -c FILE goes on"
                    .to_owned(),
            ),
            Self::NothingOpen { .. } => Some("leverd migrate run -c FILE begins one".to_owned()),
            Self::Changed { .. } => {
                Some("leverd migrate run -c FILE --replace begins anew, and gives the old run up".to_owned())
            }
        }
    }
}

impl From<MySqlError> for MigrateError {
    fn from(error: MySqlError) -> Self {
        Self::OtherSource { hint: error.hint().map(ToString::to_string), why: error.to_string() }
    }
}

impl From<Failure> for MigrateError {
    fn from(failure: Failure) -> Self {
        Self::Moving(failure.to_string())
    }
}
