//! Which of a run's statements (indexes, constraints, validations, …) are done.
//!
//! A statement is known by its phase, its number in the plan, and a hash of its text: where a plan was made anew and
//! has another statement under that number, it is not the one that is done. Where a statement can stand in a
//! transaction, its row belongs into the same one; where it cannot, it is written after it, and the statement may be
//! run a second time, as `ddl` allows.

use super::{Lease, Reader, StateError, ask, write};
use crate::migrate::ddl::{Phase, Statement};
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use tokio_postgres::Client;

/// A statement that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoneStatement {
    /// When it is run.
    pub phase: Phase,
    /// Its number among the plan's statements, from 0.
    pub number: u32,
    /// SHA-256 of its text, in hexadecimal.
    pub sql_hash: String,
    /// When it was written down as done.
    pub at: DateTime<Utc>,
}

const PHASES: [Phase; 4] = [Phase::BeforeLoad, Phase::AfterLoad, Phase::Validate, Phase::Last];

const RECORD: &str = held!(
    " INSERT INTO leverd_migration.statement (run, phase, number, sql_hash) \
     SELECT held.id, $3::text, $4::bigint, $5::text FROM held \
     ON CONFLICT (run, phase, number) DO UPDATE SET sql_hash = excluded.sql_hash, done_at = excluded.done_at"
);

const DONE: &str = "\
SELECT s.phase, s.number, s.sql_hash, s.done_at
FROM leverd_migration.statement AS s
WHERE s.run = $1::text ORDER BY s.done_at, s.phase, s.number";

impl DoneStatement {
    /// Whether it is still one of a plan's: that with its number.
    pub fn is_among(&self, statements: &[Statement]) -> bool {
        statements.get(self.number as usize).is_some_and(|statement| {
            self.phase == statement.phase && self.sql_hash == sql_hash(&statement.sql)
        })
    }
}

/// What tells a statement's text from another: SHA-256 in hexadecimal.
fn sql_hash(sql: &str) -> String {
    let hash: [u8; 32] = Sha256::digest(sql.as_bytes()).into();
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes down that a statement is done; a second time is no error. [`StateError::Lost`] where the lease is lost.
pub async fn record_statement(
    client: &Client,
    lease: &Lease,
    number: u32,
    statement: &Statement,
) -> Result<(), StateError> {
    let (run, fence, word) = (lease.run(), lease.fence(), word_of(statement.phase));
    let (number, hash) = (i64::from(number), sql_hash(&statement.sql));
    let doing = "recording a statement that is done";
    write(client, lease, doing, RECORD, &[&run, &fence, &word, &number, &hash], 1).await
}

/// The statements of a run that are done, in the order in which they were.
pub(super) async fn statements_of(client: &Client, run: &str) -> Result<Vec<DoneStatement>, StateError> {
    ask(client, "reading the statements that are done", DONE, &[&run], |row: Reader<'_>| {
        let word: String = row.get(0)?;
        let phase = PHASES.into_iter().find(|phase| word_of(*phase) == word);
        Ok(DoneStatement {
            phase: phase.ok_or_else(|| row.damaged("an unknown phase"))?,
            number: row.number(1)?,
            sql_hash: row.get(2)?,
            at: row.get(3)?,
        })
    })
    .await
}

fn word_of(phase: Phase) -> &'static str {
    match phase {
        Phase::BeforeLoad => "before_load",
        Phase::AfterLoad => "after_load",
        Phase::Validate => "validate",
        Phase::Last => "last",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::ddl::Kind;

    #[test]
    fn a_hash_is_that_of_sha256() {
        assert_eq!(sql_hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_ne!(sql_hash("SELECT 1"), sql_hash("SELECT 2"));
    }

    #[test]
    fn another_text_under_the_number_is_another_statement() {
        let statement = |sql: &str| Statement {
            phase: Phase::AfterLoad,
            kind: Kind::Index,
            table: None,
            sql: sql.to_owned(),
            describes: "an index".to_owned(),
        };
        let one = statement("CREATE INDEX a");
        let at = DateTime::from_timestamp(0, 0).unwrap();
        let done = DoneStatement { phase: one.phase, number: 1, sql_hash: sql_hash(&one.sql), at };
        let other = statement("CREATE INDEX b");
        assert!(done.is_among(&[other.clone(), one.clone()]));
        assert!(!done.is_among(&[one.clone(), other.clone()]));
        assert!(!done.is_among(std::slice::from_ref(&other)));
        assert!(!done.is_among(&[other, Statement { phase: Phase::Last, ..one }]));
    }

    #[test]
    fn phases_are_called_as_the_tables_have_them() {
        let tables = include_str!("install.sql");
        for phase in PHASES {
            assert!(tables.contains(&format!("'{}'", word_of(phase))), "{phase:?}");
            assert_eq!(serde_json::to_string(&phase).unwrap(), format!("\"{}\"", word_of(phase)));
        }
    }
}
