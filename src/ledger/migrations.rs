//! What migrations did, for those that come later: each process that worked on a run, the settings that it changed,
//! and what the learner remembers of both.
//!
//! In: rows; the parts of them that only `migrate` understands are JSON texts. Out: the same rows. Always holds: a
//! process is there from its beginning; its end and its adjustments are written together or not at all, and neither is
//! changed or deleted afterwards; who ended without a word is called killed only once another process has its run, and
//! teaches nothing; a text that is no JSON is refused; what the learner is given is the newest, and bounded. It does
//! not know what the texts say: who wrote them reads them.

use super::LedgerError;
use super::lookup::verdict_of;
use super::store::Ledger;
use super::trials::{stamp, verdict_word};
use crate::model::Verdict;
use chrono::{DateTime, Utc};
use rusqlite::{Connection, Row, params};

/// The learner is given so many trials at most.
const MOST_TRIALS: u32 = 5_000;
/// The learner is given so many runs at most.
const MOST_RUNS: u32 = 1_000;
/// What is told of a process that was killed.
const KILLED: &str = "killed: the process ended without a word";

/// How a process ended its work on a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MigrationEnding {
    /// All is there.
    Complete,
    /// It came to its end, and not all is there: rows were rejected, or statements failed.
    Incomplete,
    /// It could not go on.
    Failed,
    /// It was told to stop.
    Interrupted,
    /// It ended without a word, and another process has the run since.
    Killed,
}

impl MigrationEnding {
    const ALL: [Self; 5] = [Self::Complete, Self::Incomplete, Self::Failed, Self::Interrupted, Self::Killed];

    /// As it stands in the ledger and in JSON; never changes.
    pub fn word(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Incomplete => "incomplete",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Killed => "killed",
        }
    }

    fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.word() == word)
    }
}

/// A process that has a run, and has done nothing for it yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationBeginning {
    /// The run's name in its target.
    pub run: String,
    /// Where rows come from, without a password.
    pub source: String,
    /// Where they go to, without a password.
    pub target: String,
    /// When the process began.
    pub began_at: DateTime<Utc>,
    /// Whether it is to go on with what another process had begun.
    pub resumed: bool,
}

/// What a process did for a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Migration {
    /// Its number in the ledger, which is the order; where it is written, that of its beginning, or 0: it has none.
    pub id: i64,
    /// The run's name in its target; a run that was resumed has several processes.
    pub run: String,
    /// Where rows came from, without a password.
    pub source: String,
    /// Where they went to, without a password.
    pub target: String,
    /// When the process began, by the clock of then.
    pub began_at: DateTime<Utc>,
    /// When it ended; `None`: it was killed, or has no ending.
    pub ended_at: Option<DateTime<Utc>>,
    /// Whether it went on with what another process had begun.
    pub resumed: bool,
    /// How it ended; `None`: it is at work, or was killed and nobody has its run since.
    pub ending: Option<MigrationEnding>,
    /// Why not all is there, one line; `None`: all is, or it has no ending.
    pub why: Option<String>,
    /// Rows of the run that were in the target, those of earlier processes too; 0 where it failed before it counted,
    /// and, as all figures, where nobody told when it ended.
    pub rows: u64,
    /// Rows that the target refused: of the whole run where it came to its end, else of this process.
    pub rejected: u64,
    /// Bytes of rows per second while this process copied; `None`: it copied too little to tell.
    pub bytes_per_second: Option<f64>,
    /// How long this process copied, seconds.
    pub copying_seconds: f64,
    /// What the learner remembers of it, JSON; `None`: nothing.
    pub past: Option<String>,
    /// What was told at its end, JSON; where it did not come to its end at most how it was adjusted.
    pub report: Option<String>,
    /// Settings that it changed, in the order of their numbers.
    pub adjustments: Vec<MigrationAdjustment>,
}

/// A setting that was changed while rows moved.
#[derive(Debug, Clone, PartialEq)]
pub struct MigrationAdjustment {
    /// Its number within the process; no other adjustment of it has the same.
    pub number: u32,
    /// Which setting.
    pub setting: String,
    /// Its value before.
    pub before: u32,
    /// Its value after.
    pub after: u32,
    /// Who decided: a model's name, `rules`, `sla`, …
    pub by: String,
    /// Why, in the words of who decided.
    pub reasoning: String,
    /// How its trial ended; `None`: it was no trial.
    pub verdict: Option<Verdict>,
    /// What rows per second did, as a share: 0.1 is 10 % more; `None` is unknown.
    pub change: Option<f64>,
    /// All of it in one line for people.
    pub outcome: String,
    /// What the learner remembers of it, JSON; `None`: nothing.
    pub experience: Option<String>,
}

/// What the learner remembers, each as who wrote it left it: JSON texts, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lessons {
    /// Of trials.
    pub trials: Vec<String>,
    /// Of runs.
    pub runs: Vec<String>,
}

impl Ledger {
    /// Writes down that a process has a run; answers its number. Only for who has the run's lease: earlier processes
    /// of the run that have no ending are called killed.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub fn begin_migration(&self, beginning: &MigrationBeginning) -> Result<i64, LedgerError> {
        let doing = "recording that a migration begins";
        self.write(doing, |connection| {
            begin(connection, beginning).map_err(|source| self.sqlite(doing, source))
        })
    }

    /// Writes down what a process did, with its adjustments; answers its number.
    ///
    /// # Errors
    /// The ledger cannot be written, a text of it is no JSON, or its number is that of what has ended or of another
    /// run.
    pub fn record_migration(&self, migration: &Migration) -> Result<i64, LedgerError> {
        let doing = "recording a migration";
        self.write(doing, |connection| {
            finish(connection, migration).map_err(|source| self.sqlite(doing, source))
        })
    }

    /// The newest `limit` processes, the newest first.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn migrations(&self, limit: u32) -> Result<Vec<Migration>, LedgerError> {
        self.migrations_where("ORDER BY id DESC LIMIT ?1", params![limit])
    }

    /// The newest `limit` processes that worked on a run, the newest first.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn migrations_of(&self, run: &str, limit: u32) -> Result<Vec<Migration>, LedgerError> {
        self.migrations_where("WHERE run = ?1 ORDER BY id DESC LIMIT ?2", params![run, limit])
    }

    /// What the learner remembers: the newest 5,000 trials and the newest 1,000 runs.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn lessons(&self) -> Result<Lessons, LedgerError> {
        let trials = "SELECT experience FROM migration_adjustment WHERE experience IS NOT NULL
                      ORDER BY migration DESC, number DESC LIMIT ?1";
        let runs = "SELECT past FROM migration WHERE past IS NOT NULL ORDER BY id DESC LIMIT ?1";
        Ok(Lessons { trials: self.texts(trials, MOST_TRIALS)?, runs: self.texts(runs, MOST_RUNS)? })
    }

    /// One column of texts, the oldest first; the query has the newest first.
    fn texts(&self, query: &str, limit: u32) -> Result<Vec<String>, LedgerError> {
        let mut texts = self.read("reading what earlier migrations taught", |connection| {
            connection
                .prepare_cached(query)?
                .query_map([limit], |row| row.get::<_, String>(0))?
                .collect::<rusqlite::Result<Vec<String>>>()
        })?;
        texts.reverse();
        Ok(texts)
    }

    fn migrations_where(
        &self,
        which: &str,
        params: impl rusqlite::Params,
    ) -> Result<Vec<Migration>, LedgerError> {
        let query = format!(
            "SELECT began_at, ended_at, ending, id, run, source, target, resumed, why, row_count, rejected_count,
                    bytes_per_s, copying_s, past, report FROM migration {which}"
        );
        let rows = self.read("reading migrations", |connection| {
            connection
                .prepare_cached(&query)?
                .query_map(params, migration_of)?
                .collect::<rusqlite::Result<Vec<_>>>()
        })?;
        let mut migrations = Vec::with_capacity(rows.len());
        for ((began_at, ended_at, ending), migration) in rows {
            let id = migration.id;
            let ending = match ending {
                None => None,
                Some(word) => Some(
                    MigrationEnding::of(&word)
                        .ok_or_else(|| self.damaged(format!("migration {id} has the ending {word:?}")))?,
                ),
            };
            migrations.push(Migration {
                began_at: self.time(&began_at)?,
                ended_at: ended_at.map(|text| self.time(&text)).transpose()?,
                ending,
                adjustments: self.adjustments_of(id)?,
                ..migration
            });
        }
        Ok(migrations)
    }

    fn adjustments_of(&self, migration: i64) -> Result<Vec<MigrationAdjustment>, LedgerError> {
        let query = "SELECT verdict, number, setting, value_before, value_after, decided_by, reasoning, change, outcome,
                            experience FROM migration_adjustment WHERE migration = ?1 ORDER BY number";
        let rows = self.read("reading adjustments of a migration", |connection| {
            connection
                .prepare_cached(query)?
                .query_map([migration], adjustment_of)?
                .collect::<rusqlite::Result<Vec<_>>>()
        })?;
        let mut adjustments = Vec::with_capacity(rows.len());
        for (word, adjustment) in rows {
            let verdict = match word {
                None => None,
                Some(word) => Some(verdict_of(&word).ok_or_else(|| {
                    self.damaged(format!("an adjustment of migration {migration} has the verdict {word:?}"))
                })?),
            };
            adjustments.push(MigrationAdjustment { verdict, ..adjustment });
        }
        Ok(adjustments)
    }
}

/// Who has the run's lease knows that all who had it before are gone.
fn begin(connection: &Connection, beginning: &MigrationBeginning) -> rusqlite::Result<i64> {
    connection.execute(
        "UPDATE migration SET ending = ?2, why = ?3 WHERE run = ?1 AND ending IS NULL",
        params![beginning.run, MigrationEnding::Killed.word(), KILLED],
    )?;
    connection.execute(
        "INSERT INTO migration (run, source, target, began_at, resumed, row_count, rejected_count, copying_s)
         VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, 0.0)",
        params![
            beginning.run,
            beginning.source,
            beginning.target,
            stamp(beginning.began_at),
            beginning.resumed,
        ],
    )?;
    Ok(connection.last_insert_rowid())
}

/// Completes the row of its beginning; without one it is a new row.
fn finish(connection: &Connection, migration: &Migration) -> rusqlite::Result<i64> {
    // What is no time was none.
    let copying_seconds = if migration.copying_seconds.is_finite() { migration.copying_seconds } else { 0.0 };
    let begun = (migration.id > 0).then_some(migration.id);
    let written = connection.execute(
        "INSERT INTO migration (run, source, target, began_at, ended_at, resumed, ending, why, row_count,
                                rejected_count, bytes_per_s, copying_s, past, report, id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
         ON CONFLICT (id) DO UPDATE SET
             ended_at = excluded.ended_at, resumed = excluded.resumed, ending = excluded.ending, why = excluded.why,
             row_count = excluded.row_count, rejected_count = excluded.rejected_count,
             bytes_per_s = excluded.bytes_per_s, copying_s = excluded.copying_s, past = excluded.past,
             report = excluded.report
         WHERE migration.run = excluded.run",
        params![
            migration.run,
            migration.source,
            migration.target,
            stamp(migration.began_at),
            migration.ended_at.map(stamp),
            migration.resumed,
            migration.ending.map(MigrationEnding::word),
            migration.why,
            stored(migration.rows),
            stored(migration.rejected),
            migration.bytes_per_second.filter(|bytes| bytes.is_finite()),
            copying_seconds,
            migration.past,
            migration.report,
            begun,
        ],
    )?;
    // The number is that of another run: the ledger is no longer the one that it began in.
    if written != 1 {
        return Err(rusqlite::Error::StatementChangedRows(written));
    }
    let id = begun.unwrap_or_else(|| connection.last_insert_rowid());
    let mut statement = connection.prepare_cached(
        "INSERT INTO migration_adjustment (migration, number, setting, value_before, value_after, decided_by,
                                           reasoning, verdict, change, outcome, experience)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?;
    for adjustment in &migration.adjustments {
        statement.execute(params![
            id,
            adjustment.number,
            adjustment.setting,
            adjustment.before,
            adjustment.after,
            adjustment.by,
            adjustment.reasoning,
            adjustment.verdict.map(verdict_word),
            adjustment.change.filter(|change| change.is_finite()),
            adjustment.outcome,
            adjustment.experience,
        ])?;
    }
    Ok(id)
}

/// Words of a row that are not read yet: when it began, when it ended, how.
type Words = (String, Option<String>, Option<String>);

fn migration_of(row: &Row<'_>) -> rusqlite::Result<(Words, Migration)> {
    let words = (row.get(0)?, row.get(1)?, row.get(2)?);
    let migration = Migration {
        id: row.get(3)?,
        run: row.get(4)?,
        source: row.get(5)?,
        target: row.get(6)?,
        began_at: DateTime::UNIX_EPOCH,
        ended_at: None,
        resumed: row.get(7)?,
        ending: None,
        why: row.get(8)?,
        rows: counted(row.get(9)?),
        rejected: counted(row.get(10)?),
        bytes_per_second: row.get(11)?,
        copying_seconds: row.get(12)?,
        past: row.get(13)?,
        report: row.get(14)?,
        adjustments: Vec::new(),
    };
    Ok((words, migration))
}

/// A row, with the verdict's word that is not read yet.
fn adjustment_of(row: &Row<'_>) -> rusqlite::Result<(Option<String>, MigrationAdjustment)> {
    let word = row.get(0)?;
    let adjustment = MigrationAdjustment {
        number: row.get(1)?,
        setting: row.get(2)?,
        before: row.get(3)?,
        after: row.get(4)?,
        by: row.get(5)?,
        reasoning: row.get(6)?,
        verdict: None,
        change: row.get(7)?,
        outcome: row.get(8)?,
        experience: row.get(9)?,
    };
    Ok((word, adjustment))
}

/// SQLite has no number above 2^63.
fn stored(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn counted(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{at, migration, planned};
    use super::*;
    use crate::model::TrialId;
    use proptest::prelude::*;
    use std::path::PathBuf;

    fn ledger() -> (tempfile::TempDir, PathBuf, Ledger) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let ledger = Ledger::open(&path).unwrap();
        (folder, path, ledger)
    }

    #[test]
    fn what_was_written_is_read_back_the_newest_first() {
        let (_folder, path, ledger) = ledger();
        assert_eq!(ledger.migrations(9).unwrap(), []);
        let failed = Migration {
            ending: Some(MigrationEnding::Failed),
            why: Some("the target: it is gone".to_owned()),
            bytes_per_second: None,
            past: None,
            report: None,
            adjustments: Vec::new(),
            ..migration("a")
        };
        assert_eq!(ledger.record_migration(&failed).unwrap(), 1);
        let resumed = Migration { resumed: true, ..migration("a") };
        assert_eq!(ledger.record_migration(&resumed).unwrap(), 2);
        assert_eq!(ledger.record_migration(&migration("b")).unwrap(), 3);
        let again = Ledger::open_existing(&path).unwrap();
        let all = again.migrations(9).unwrap();
        let expected = [
            Migration { id: 3, ..migration("b") },
            Migration { id: 2, ..resumed },
            Migration { id: 1, ..failed },
        ];
        assert_eq!(all, expected);
        assert_eq!(again.migrations(1).unwrap(), expected[..1]);
        assert_eq!(again.migrations_of("a", 9).unwrap(), expected[1..]);
        assert_eq!(again.migrations_of("none", 9).unwrap(), []);
    }

    fn beginning(run: &str) -> MigrationBeginning {
        let Migration { source, target, .. } = migration(run);
        MigrationBeginning { run: run.to_owned(), source, target, began_at: at(0), resumed: false }
    }

    /// A row that has its beginning only.
    fn open(id: i64, run: &str) -> Migration {
        Migration {
            id,
            ended_at: None,
            ending: None,
            rows: 0,
            bytes_per_second: None,
            copying_seconds: 0.0,
            past: None,
            report: None,
            adjustments: Vec::new(),
            ..migration(run)
        }
    }

    #[test]
    fn a_process_is_there_from_its_beginning_and_its_row_is_completed() {
        let (_folder, path, ledger) = ledger();
        assert_eq!(ledger.begin_migration(&beginning("a")).unwrap(), 1);
        assert_eq!(ledger.begin_migration(&beginning("b")).unwrap(), 2);
        // As after a kill.
        let again = Ledger::open_existing(&path).unwrap();
        assert_eq!(again.migrations(9).unwrap(), [open(2, "b"), open(1, "a")]);
        let done = Migration { id: 1, resumed: true, ..migration("a") };
        assert_eq!(again.record_migration(&done).unwrap(), 1);
        assert_eq!(again.migrations(9).unwrap(), [open(2, "b"), done.clone()]);
        assert!(again.record_migration(&done).is_err(), "it ended once");
        assert!(again.record_migration(&Migration { id: 2, ..migration("c") }).is_err(), "another run's");
        assert_eq!(again.migrations(9).unwrap(), [open(2, "b"), done]);
    }

    #[test]
    fn who_ended_without_a_word_was_killed_once_another_has_its_run() {
        let (_folder, _, ledger) = ledger();
        ledger.begin_migration(&beginning("a")).unwrap();
        ledger.begin_migration(&beginning("b")).unwrap();
        let resumed = MigrationBeginning { resumed: true, ..beginning("a") };
        assert_eq!(ledger.begin_migration(&resumed).unwrap(), 3);
        let killed = Migration {
            ending: Some(MigrationEnding::Killed),
            why: Some("killed: the process ended without a word".to_owned()),
            ..open(1, "a")
        };
        let last = Migration { resumed: true, ..open(3, "a") };
        assert_eq!(ledger.migrations(9).unwrap(), [last.clone(), open(2, "b"), killed]);
        // It had only lost its lease, and was slow to say so.
        let failed = Migration {
            id: 1,
            ending: Some(MigrationEnding::Failed),
            why: Some("the lease is lost".to_owned()),
            ..migration("a")
        };
        ledger.record_migration(&failed).unwrap();
        assert_eq!(ledger.migrations(9).unwrap(), [last, open(2, "b"), failed]);
    }

    #[test]
    fn who_has_no_ending_or_was_killed_teaches_nothing() {
        let (_folder, _, ledger) = ledger();
        ledger.begin_migration(&beginning("a")).unwrap();
        assert_eq!(ledger.lessons().unwrap(), Lessons::default());
        ledger.begin_migration(&beginning("a")).unwrap();
        assert_eq!(ledger.lessons().unwrap(), Lessons::default());
        for ending in [None, Some(MigrationEnding::Killed)] {
            let unheard = Migration { id: 2, ended_at: None, ending, ..migration("a") };
            assert!(ledger.record_migration(&unheard).is_err(), "{ending:?} has something to teach");
        }
        assert_eq!(ledger.lessons().unwrap(), Lessons::default());
        ledger.record_migration(&Migration { id: 2, ..migration("a") }).unwrap();
        assert_eq!(ledger.lessons().unwrap().runs, ["{\"run\":\"a\"}"]);
    }

    #[test]
    fn the_learner_is_given_the_newest_in_their_order() {
        let (_folder, _, ledger) = ledger();
        assert_eq!(ledger.lessons().unwrap(), Lessons::default());
        for run in ["a", "b", "c"] {
            ledger.record_migration(&migration(run)).unwrap();
        }
        let silent = Migration { past: None, adjustments: Vec::new(), ..migration("d") };
        ledger.record_migration(&silent).unwrap();
        let texts = ["a", "b", "c"].map(|run| format!("{{\"run\":\"{run}\"}}")).to_vec();
        assert_eq!(ledger.lessons().unwrap(), Lessons { trials: texts.clone(), runs: texts });
        let newest =
            ledger.texts("SELECT past FROM migration WHERE past IS NOT NULL ORDER BY id DESC LIMIT ?1", 2);
        assert_eq!(newest.unwrap(), ["{\"run\":\"b\"}", "{\"run\":\"c\"}"]);
    }

    #[test]
    fn what_is_no_json_is_refused_and_nothing_of_it_stays() {
        let (_folder, _, ledger) = ledger();
        let mut bad = migration("a");
        bad.adjustments[0].experience = Some("{".to_owned());
        assert!(matches!(ledger.record_migration(&bad).unwrap_err(), LedgerError::Sqlite { .. }));
        assert!(
            ledger.record_migration(&Migration { past: Some("no".to_owned()), ..migration("a") }).is_err()
        );
        let mut twice = migration("a");
        twice.adjustments.push(twice.adjustments[0].clone());
        assert!(ledger.record_migration(&twice).is_err(), "two adjustments have one number");
        assert_eq!(ledger.migrations(9).unwrap(), []);
        assert_eq!(ledger.lessons().unwrap(), Lessons::default());
    }

    #[test]
    fn what_is_written_stays_as_it_is() {
        let (_folder, _, ledger) = ledger();
        ledger.record_migration(&migration("a")).unwrap();
        ledger.begin_migration(&beginning("b")).unwrap();
        for statement in [
            "DELETE FROM migration",
            "DELETE FROM migration WHERE run = 'b'",
            "UPDATE migration SET ending = 'failed' WHERE run = 'a'",
            "UPDATE migration SET ending = 'complete' WHERE run = 'b'",
            "DELETE FROM migration_adjustment",
            "UPDATE migration_adjustment SET change = 9.0",
        ] {
            assert!(ledger.read("spoiling", |c| c.execute(statement, [])).is_err(), "{statement}");
        }
        assert_eq!(ledger.migrations(9).unwrap(), [open(2, "b"), Migration { id: 1, ..migration("a") }]);
    }

    #[test]
    fn a_ledger_from_before_is_brought_to_this_format_with_all_that_it_has() {
        let (_folder, path, ledger) = ledger();
        ledger.insert(&planned("capsim")).unwrap();
        let (identity, trial) = (ledger.identity().unwrap(), ledger.trial(TrialId(1)).unwrap());
        drop(ledger);
        let before = Connection::open(&path).unwrap();
        before
            .execute_batch("DROP TABLE migration_adjustment; DROP TABLE migration; PRAGMA user_version = 2")
            .unwrap();
        before.close().unwrap();
        let ledger = Ledger::open_existing(&path).unwrap();
        assert_eq!(ledger.record_migration(&migration("a")).unwrap(), 1);
        assert_eq!(ledger.migrations(9).unwrap().len(), 1);
        assert_eq!(ledger.trial(TrialId(1)).unwrap(), trial);
        assert_eq!(ledger.identity().unwrap(), identity);
    }

    proptest! {
        // Each case makes a ledger, which waits for the disk.
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn any_number_and_any_word_can_be_read_back(
            rows in any::<u64>(), rate in any::<f64>(), change in any::<f64>(), seconds in any::<f64>(),
            words in any::<String>(),
        ) {
            let (_folder, _, ledger) = ledger();
            let mut odd = migration("a");
            (odd.rows, odd.copying_seconds, odd.bytes_per_second) = (rows, seconds, Some(rate));
            odd.why = Some(words.clone());
            odd.adjustments[0].change = Some(change);
            odd.adjustments[0].reasoning.clone_from(&words);
            ledger.record_migration(&odd).unwrap();
            let back = ledger.migrations(1).unwrap().pop().unwrap();
            prop_assert_eq!(back.rows, rows.min(i64::MAX as u64));
            prop_assert!(back.copying_seconds.is_finite());
            prop_assert_eq!(back.bytes_per_second, Some(rate).filter(|rate| rate.is_finite()));
            prop_assert_eq!(back.adjustments[0].change, Some(change).filter(|change| change.is_finite()));
            prop_assert_eq!(&back.adjustments[0].reasoning, &words);
            prop_assert_eq!(back.why, Some(words));
        }
    }
}
