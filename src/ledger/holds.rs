//! What keeps a lever from being pulled, or a whole target from being touched: a person's edit, a cool-down, and a
//! server that is not the one the record is about.

use super::LedgerError;
use super::store::Ledger;
use super::trials::{NewEvent, stamp};
use crate::model::{LeverName, TargetName};
use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, params};

/// A lever that leverd leaves alone until a person says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    /// The lever.
    pub lever: LeverName,
    /// What was seen, for people.
    pub why: String,
    /// Since when.
    pub since: DateTime<Utc>,
}

/// A lever that is left alone for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// The lever.
    pub lever: LeverName,
    /// Why, for people.
    pub why: String,
    /// Until when; at that moment it is free.
    pub until: DateTime<Utc>,
}

/// Which lever is held back, why, and since when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held<'a> {
    pub(super) target: &'a TargetName,
    pub(super) lever: &'a LeverName,
    pub(super) why: &'a str,
    pub(super) at: DateTime<Utc>,
}

/// What the end of a trial does to its lever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// It is left alone until a person says otherwise.
    Freeze,
    /// It is left alone until this time.
    Quarantine(DateTime<Utc>),
}

impl Ledger {
    /// Leaves a lever alone until [`Ledger::thaw`]. Frozen twice, it keeps its first date and takes the new reason.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub fn freeze(
        &self,
        target: &TargetName,
        lever: &LeverName,
        why: &str,
        at: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        let held = Held { target, lever, why, at };
        self.write("freezing a lever", |connection| self.hold(connection, Hold::Freeze, held))
    }

    /// Lets a frozen lever be used again. `false`: it was not frozen.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub fn thaw(
        &self,
        target: &TargetName,
        lever: &LeverName,
        at: DateTime<Utc>,
    ) -> Result<bool, LedgerError> {
        let doing = "thawing a lever";
        self.write(doing, |connection| {
            let gone = connection
                .execute(
                    "DELETE FROM freeze WHERE target = ?1 AND lever = ?2",
                    params![target.as_str(), lever.as_str()],
                )
                .map_err(|source| self.sqlite(doing, source))?;
            if gone > 0 {
                self.append(connection, doing, &NewEvent::new(target, Some(lever), "thawed", at))?;
            }
            Ok(gone > 0)
        })
    }

    /// The frozen levers, by name.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn frozen(&self, target: &TargetName) -> Result<Vec<Frozen>, LedgerError> {
        let query = "SELECT lever, why, since FROM freeze WHERE target = ?1 ORDER BY lever";
        self.holds(query, target)?
            .into_iter()
            .map(|(lever, why, since)| {
                Ok(Frozen { lever: LeverName::new(lever), why, since: self.time(&since)? })
            })
            .collect()
    }

    /// Leaves a lever alone until a time. An end that is already later stands.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub fn quarantine(
        &self,
        target: &TargetName,
        lever: &LeverName,
        until: DateTime<Utc>,
        why: &str,
        at: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        let held = Held { target, lever, why, at };
        self.write("quarantining a lever", |connection| self.hold(connection, Hold::Quarantine(until), held))
    }

    /// Holds a lever back, as a part of what else is being written.
    pub(super) fn hold(
        &self,
        connection: &Connection,
        hold: Hold,
        held: Held<'_>,
    ) -> Result<(), LedgerError> {
        let Held { target, lever, why, at } = held;
        let (doing, what, done) = match hold {
            Hold::Freeze => (
                "freezing a lever",
                format!("frozen: {why}"),
                connection.execute(
                    "INSERT INTO freeze (target, lever, why, since) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT DO UPDATE SET why = excluded.why",
                    params![target.as_str(), lever.as_str(), why, stamp(at)],
                ),
            ),
            Hold::Quarantine(until) => (
                "quarantining a lever",
                format!("quarantined until {} UTC: {why}", super::second(until)),
                connection.execute(
                    "INSERT INTO quarantine (target, lever, why, until) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT DO UPDATE SET why = excluded.why, until = excluded.until
                     WHERE excluded.until > quarantine.until",
                    params![target.as_str(), lever.as_str(), why, stamp(until)],
                ),
            ),
        };
        done.map_err(|source| self.sqlite(doing, source))?;
        self.append(connection, doing, &NewEvent::new(target, Some(lever), &what, at))
    }

    /// The levers whose quarantine has not ended at `now`, by name.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn quarantined(
        &self,
        target: &TargetName,
        now: DateTime<Utc>,
    ) -> Result<Vec<Quarantined>, LedgerError> {
        let query = "SELECT lever, why, until FROM quarantine WHERE target = ?1 ORDER BY lever";
        let mut found = Vec::new();
        for (lever, why, until) in self.holds(query, target)? {
            let until = self.time(&until)?;
            if until > now {
                found.push(Quarantined { lever: LeverName::new(lever), why, until });
            }
        }
        Ok(found)
    }

    /// Ties a target's name to the cluster behind it, the first time; afterwards checks that it is still that one.
    ///
    /// # Errors
    /// [`LedgerError::OtherCluster`], or the ledger cannot be written.
    pub fn bind_target(
        &self,
        target: &TargetName,
        system_identifier: u64,
        at: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        let doing = "binding the target to its cluster";
        let known = |connection: &rusqlite::Connection| {
            let query = "SELECT system_identifier FROM target WHERE name = ?1";
            connection.query_row(query, [target.as_str()], |row| row.get::<_, String>(0)).optional()
        };
        // Asked at every tick: the usual answer is found without a write.
        if let Some(recorded) = self.read(doing, known)? {
            return self.same_cluster(target, &recorded, system_identifier);
        }
        self.write(doing, |connection| {
            if let Some(recorded) = known(connection).map_err(|source| self.sqlite(doing, source))? {
                return self.same_cluster(target, &recorded, system_identifier);
            }
            connection
                .execute(
                    "INSERT INTO target (name, system_identifier, bound_at) VALUES (?1, ?2, ?3)",
                    params![target.as_str(), system_identifier.to_string(), stamp(at)],
                )
                .map_err(|source| self.sqlite(doing, source))?;
            let what = format!("bound to the cluster with system identifier {system_identifier}");
            self.append(connection, doing, &NewEvent::new(target, None, &what, at))
        })
    }

    fn same_cluster(&self, target: &TargetName, recorded: &str, found: u64) -> Result<(), LedgerError> {
        let recorded: u64 = recorded.parse().map_err(|_| LedgerError::Damaged {
            path: self.path().to_owned(),
            what: format!("{recorded:?} is not a system identifier"),
        })?;
        if recorded == found {
            return Ok(());
        }
        let (path, target) = (self.path().to_owned(), target.clone());
        Err(LedgerError::OtherCluster { path, target, recorded, found })
    }

    fn holds(&self, query: &str, target: &TargetName) -> Result<Vec<(String, String, String)>, LedgerError> {
        self.read("looking for levers that are held", |connection| {
            connection
                .prepare_cached(query)?
                .query_map([target.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                .collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::at;
    use super::*;

    fn ledger() -> (tempfile::TempDir, Ledger) {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&folder.path().join("ledger.db")).unwrap();
        (folder, ledger)
    }

    #[test]
    fn a_frozen_lever_stays_so_until_a_person_thaws_it() {
        let (_folder, ledger) = ledger();
        let (target, lever) = ("capsim".into(), "work_mem".into());
        ledger.freeze(&target, &lever, "line 12 was edited", at(1)).unwrap();
        ledger.freeze(&target, &lever, "and again", at(2)).unwrap();
        let frozen = Frozen { lever: lever.clone(), why: "and again".to_owned(), since: at(1) };
        assert_eq!(ledger.frozen(&target).unwrap(), [frozen]);
        assert_eq!(ledger.frozen(&"billing".into()).unwrap(), []);
        assert!(ledger.thaw(&target, &lever, at(3)).unwrap());
        assert!(!ledger.thaw(&target, &lever, at(4)).unwrap());
        assert_eq!(ledger.frozen(&target).unwrap(), []);
        let told: Vec<_> = ledger.trail(&target, 9).unwrap().into_iter().map(|event| event.what).collect();
        assert_eq!(told, ["thawed", "frozen: and again", "frozen: line 12 was edited"]);
    }

    #[test]
    fn a_quarantine_ends_at_its_time_and_is_never_shortened() {
        let (_folder, ledger) = ledger();
        let (target, lever) = ("capsim".into(), "jit".into());
        ledger.quarantine(&target, &lever, at(100), "no gain", at(0)).unwrap();
        ledger.quarantine(&target, &lever, at(50), "earlier", at(1)).unwrap();
        let held = Quarantined { lever, why: "no gain".to_owned(), until: at(100) };
        assert_eq!(ledger.quarantined(&target, at(99)).unwrap(), [held]);
        assert_eq!(ledger.quarantined(&target, at(100)).unwrap(), []);
    }

    #[test]
    fn a_target_that_became_another_cluster_is_an_error() {
        let (folder, ledger) = ledger();
        let target = "capsim".into();
        ledger.bind_target(&target, u64::MAX, at(0)).unwrap();
        ledger.bind_target(&target, u64::MAX, at(1)).unwrap();
        ledger.bind_target(&"billing".into(), 7, at(2)).unwrap();
        let error = ledger.bind_target(&target, 7, at(3)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "capsim is another cluster than the one in {}: its system identifier is 7, recorded is \
                 18446744073709551615",
                folder.path().join("ledger.db").display()
            )
        );
        assert_eq!(ledger.trail(&target, 9).unwrap().len(), 1);
    }
}
