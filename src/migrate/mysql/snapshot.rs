//! Several sessions that see one moment of the source.
//!
//! In: an endpoint, how many sessions, which tables. Out: the sessions, each in a transaction of its own that began
//! with a snapshot, and how well it is known that all of them see the same. A session cannot join later, nor be
//! replaced: as many as there will ever be are opened at the start and kept.
//!
//! What makes them see the same, in the order in which it is tried:
//!
//! 1. `FLUSH TABLES WITH READ LOCK`: no transaction on the server can commit while they begin. It waits for statements
//!    that run, and everybody waits behind it, even after it gave up; so it is not tried where one has been running for
//!    long.
//! 2. `LOCK TABLES … READ` of all tables that are moved. It waits for open transactions that wrote to them, and then
//!    none of their rows can change. (`LOCK INSTANCE FOR BACKUP` would be no help: it keeps out ALTER TABLE, and lets
//!    rows change. A cascade from a table that is not moved passes by this lock on MySQL 5.7.)
//! 3. No lock. They begin as close together as can be, and afterwards they are compared: a MariaDB, and Percona's
//!    MySQL, tell each snapshot's exact place in the binary log; else the log must not have moved from a while before
//!    the first began until the last had. Where neither can be had, or the source is too busy, that is told in words.
//!
//! Always holds: a lock is asked for and held for a bounded time, and released whatever happens: by this, by the server
//! when its session is idle for too long, or by the server when the connection is gone.

mod position;

use super::connect::text_at;
use super::errors::{MySqlError, ReadError};
use super::session::{MySqlSession, SessionLimits};
use crate::config::DatabaseEndpoint;
use crate::migrate::quote::{mysql_qualified, shown};
use crate::migrate::schema::TableName;
use mysql_async::{Params, Row, Value};
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// A statement that has been running for so long would make everybody wait who comes behind a flush.
const LONG_STATEMENT_S: u64 = 2;
/// The server's own limit on a lock comes first.
const GRACE: Duration = Duration::from_secs(2);
/// Without a lock: so often.
const ATTEMPTS: usize = 8;
/// What was written to the log so long ago is committed.
const QUIET: Duration = Duration::from_millis(100);

/// How well it is known that all sessions see the same moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Consistency {
    /// There is one session.
    OneSession,
    /// Nothing on the server could be committed while they began, for so long.
    ServerLocked(Duration),
    /// Nothing could be written to the tables that are moved while they began, for so long.
    TablesLocked(Duration),
    /// The server tells the same place in its binary log for each of them.
    SamePlace,
    /// The binary log stood still while they began. Sessions that write past it are not seen by that.
    NothingWritten,
    /// It could not be proven, for people.
    Unproven(String),
}

impl Consistency {
    /// Whether they see the same moment, as far as anything on the server tells.
    pub(crate) fn is_proven(&self) -> bool {
        !matches!(self, Self::Unproven(_))
    }
}

impl fmt::Display for Consistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneSession => f.write_str("one session reads, and sees one moment"),
            Self::ServerLocked(held) => {
                write!(f, "all sessions see one moment: writes stood still for {} ms", held.as_millis())
            }
            Self::TablesLocked(held) => write!(
                f,
                "all sessions see one moment: writes to the tables stood still for {} ms",
                held.as_millis()
            ),
            Self::SamePlace => {
                f.write_str("all sessions see one moment: they began at one place of the binary log")
            }
            Self::NothingWritten => {
                f.write_str("all sessions see one moment: nothing was written to the binary log meanwhile")
            }
            Self::Unproven(why) => {
                write!(f, "the sessions may see different moments, some milliseconds apart: {why}")
            }
        }
    }
}

/// Sessions of one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// All alike; whoever reads takes one.
    pub(crate) sessions: Vec<MySqlSession>,
    /// How well it is known that they see the same.
    pub(crate) consistency: Consistency,
    /// Where the binary log stood at that moment, for people; `None`: not known.
    pub(crate) position: Option<String>,
    /// Tables whose engine knows no snapshots (MyISAM): their rows are those of the moment at which they are read.
    pub(crate) without_snapshots: Vec<TableName>,
}

impl Snapshot {
    /// Opens so many sessions (at least one) that read `tables`.
    pub(crate) async fn open(
        source: &DatabaseEndpoint,
        sessions: usize,
        tables: &[TableName],
        limits: SessionLimits,
    ) -> Result<Self, MySqlError> {
        let mut first = MySqlSession::connect(source, limits).await?;
        let without_snapshots = without_snapshots(&mut first, tables).await?;
        let mut opened = vec![first];
        while opened.len() < sessions {
            opened.push(MySqlSession::connect(source, limits).await?);
        }
        let (consistency, position) = if opened.len() == 1 {
            begin_all(&mut opened).await?;
            (Consistency::OneSession, None)
        } else {
            begin_together(source, &mut opened, tables, limits).await?
        };
        Ok(Self { sessions: opened, consistency, position, without_snapshots })
    }

    /// Whether all sessions see one moment of all tables, as far as anything on the server tells.
    pub(crate) fn is_one_moment(&self) -> bool {
        self.consistency.is_proven() && self.without_snapshots.is_empty()
    }
}

async fn begin_together(
    source: &DatabaseEndpoint,
    sessions: &mut [MySqlSession],
    tables: &[TableName],
    limits: SessionLimits,
) -> Result<(Consistency, Option<String>), MySqlError> {
    let mut reasons = Vec::new();
    for lock in [Lock::Server, Lock::Tables] {
        let mut locker = MySqlSession::connect(source, limits).await?;
        let locked = lock.take(&mut locker, tables, limits).await;
        match locked {
            Ok(()) => return under_lock(lock, locker, sessions, limits).await,
            Err(why) => {
                tracing::debug!("{}: {why}", lock.words());
                reasons.push(format!("{}: {why}", lock.words()));
            }
        }
        locker.close().await;
    }
    let mut watcher = MySqlSession::connect(source, limits).await?;
    let begun = without_lock(&mut watcher, sessions).await;
    watcher.close().await;
    let (consistency, position) = begun?;
    Ok(match consistency {
        Consistency::Unproven(why) => {
            reasons.push(why);
            (Consistency::Unproven(reasons.join("; ")), position)
        }
        proven => (proven, position),
    })
}

/// What keeps others from writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lock {
    Server,
    Tables,
}

impl Lock {
    fn words(self) -> &'static str {
        match self {
            Self::Server => "FLUSH TABLES WITH READ LOCK",
            Self::Tables => "LOCK TABLES … READ",
        }
    }

    /// Takes it, or says for people why not.
    async fn take(
        self,
        locker: &mut MySqlSession,
        tables: &[TableName],
        limits: SessionLimits,
    ) -> Result<(), String> {
        let sql = match self {
            Self::Server => {
                if let Some(seconds) = longest_statement(locker).await {
                    return Err(format!(
                        "not tried, because a statement has been running for {seconds} s, and everybody would have \
                         to wait for it"
                    ));
                }
                "FLUSH TABLES WITH READ LOCK".to_owned()
            }
            Self::Tables if tables.is_empty() => return Err("there are no tables".to_owned()),
            Self::Tables => lock_tables(tables),
        };
        let seconds = limits.lock.as_secs().max(1);
        let first = [
            // A session that may not write may not lock either.
            "SET SESSION TRANSACTION READ WRITE".to_owned(),
            format!("SET SESSION lock_wait_timeout = {seconds}"),
            // Released by the server, should nobody come back to it.
            format!("SET SESSION wait_timeout = {}", seconds * 4),
        ];
        let doing = "locking the source for a moment";
        for statement in &first {
            let set = locker.ask(doing, statement, Params::Empty).await;
            set.map_err(|error| error.to_string())?;
        }
        let asked = locker.ask_within(doing, &sql, Params::Empty, limits.lock + GRACE).await;
        asked.map(drop).map_err(|error| error.to_string())
    }
}

/// For how many seconds the longest statement has been running; `None`: none for long, as far as this user may see.
async fn longest_statement(session: &mut MySqlSession) -> Option<u64> {
    let doing = "looking for statements that run for long";
    let rows = session.ask(doing, "SHOW PROCESSLIST", Params::Empty).await;
    let rows = rows.inspect_err(|error| tracing::debug!("{error}")).ok()?;
    let told = rows.iter().filter_map(|row: &Row| Some((text_at(row, 4)?, text_at(row, 5)?.parse().ok()?)));
    longest(told)
}

/// Of pairs of a command and the seconds that it took.
fn longest(commands: impl Iterator<Item = (String, u64)>) -> Option<u64> {
    commands
        .filter(|(command, seconds)| {
            matches!(command.as_str(), "Query" | "Execute") && *seconds >= LONG_STATEMENT_S
        })
        .map(|(_, seconds)| seconds)
        .max()
}

fn lock_tables(tables: &[TableName]) -> String {
    let locks: Vec<String> = tables.iter().map(|table| format!("{} READ", mysql_qualified(table))).collect();
    format!("LOCK TABLES {}", locks.join(", "))
}

/// Begins all sessions while `locker` holds its lock, and releases it whatever came of that.
async fn under_lock(
    lock: Lock,
    mut locker: MySqlSession,
    sessions: &mut [MySqlSession],
    limits: SessionLimits,
) -> Result<(Consistency, Option<String>), MySqlError> {
    let since = Instant::now();
    let begun = timeout(limits.lock, begin_all(sessions)).await;
    // The lock lasts as long as the log's position is asked for.
    let position = match &begun {
        Ok(Ok(())) => timeout(GRACE, position::of_the_log(&mut locker)).await.ok().flatten(),
        _ => None,
    };
    let released =
        locker.ask_within("releasing the source", "UNLOCK TABLES", Params::Empty, limits.lock).await;
    let held = since.elapsed();
    match released {
        Ok(_) => locker.close().await,
        Err(error) => {
            tracing::warn!("{error}: the session that holds the lock is ended");
            locker.abandon().await;
        }
    }
    match begun {
        Ok(begun) => begun?,
        Err(_) => {
            let doing = "beginning a snapshot on the source while writes stand still";
            return Err(ReadError::silent(doing, limits.lock).into());
        }
    }
    let consistency = match lock {
        Lock::Server => Consistency::ServerLocked(held),
        Lock::Tables => Consistency::TablesLocked(held),
    };
    Ok((consistency, position))
}

async fn without_lock(
    watcher: &mut MySqlSession,
    sessions: &mut [MySqlSession],
) -> Result<(Consistency, Option<String>), MySqlError> {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let before = position::of_the_log(watcher).await;
        tokio::time::sleep(QUIET).await;
        begin_all(sessions).await?;
        let mut places = BTreeSet::new();
        for session in sessions.iter_mut() {
            places.insert(position::of_the_snapshot(session).await);
        }
        if let (1, Some(Some(place))) = (places.len(), places.first()) {
            return Ok((Consistency::SamePlace, Some(place.clone())));
        }
        let after = position::of_the_log(watcher).await;
        if before.is_some() && before == after {
            return Ok((Consistency::NothingWritten, after));
        }
        let nobody_tells = before.is_none() && places.contains(&None);
        last = after;
        if nobody_tells {
            let why = "the server keeps no binary log, or its position may not be read";
            return Ok((Consistency::Unproven(why.to_owned()), None));
        }
    }
    let why = format!("in {ATTEMPTS} attempts something was written while they began");
    Ok((Consistency::Unproven(why), last))
}

async fn begin_all(sessions: &mut [MySqlSession]) -> Result<(), MySqlError> {
    for session in sessions {
        session.begin().await?;
    }
    Ok(())
}

/// Those of the tables whose engine has no transactions.
async fn without_snapshots(
    session: &mut MySqlSession,
    tables: &[TableName],
) -> Result<Vec<TableName>, MySqlError> {
    let sql = "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES \
               WHERE TABLE_SCHEMA = ? AND TABLE_TYPE <> 'VIEW' AND ENGINE NOT IN \
               (SELECT ENGINE FROM information_schema.ENGINES WHERE TRANSACTIONS = 'YES')";
    let database = Value::Bytes(session.database().as_bytes().to_vec());
    let params = Params::Positional(vec![database]);
    let rows = session.ask("asking which tables have transactions", sql, params).await?;
    let names = rows
        .iter()
        .filter_map(|row| Some(TableName { schema: text_at(row, 0)?, name: text_at(row, 1)? }))
        .filter(|name| tables.contains(name));
    let found: Vec<TableName> = names.collect();
    if !found.is_empty() {
        let names: Vec<String> = found.iter().map(shown).collect();
        tracing::warn!("no snapshot of these tables can be had, their engine has none: {}", names.join(", "));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_tables_are_locked_at_once() {
        let table = |name: &str| TableName { schema: "shop".to_owned(), name: name.to_owned() };
        assert_eq!(
            lock_tables(&[table("orders"), table("it`ems")]),
            "LOCK TABLES `shop`.`orders` READ, `shop`.`it``ems` READ"
        );
    }

    #[test]
    fn a_long_statement_is_found_among_those_that_sleep() {
        let told = |commands: &[(&str, u64)]| {
            longest(commands.iter().map(|(command, seconds)| ((*command).to_owned(), *seconds)))
        };
        assert_eq!(told(&[("Sleep", 900), ("Daemon", 10_000), ("Query", 0), ("Binlog Dump", 77)]), None);
        assert_eq!(told(&[("Query", 3), ("Execute", 40), ("Sleep", 50)]), Some(40));
    }

    #[test]
    fn what_is_not_proven_says_so() {
        let unproven = Consistency::Unproven("nobody may look".to_owned());
        assert!(!unproven.is_proven() && unproven.to_string().contains("different moments"));
        for proven in [
            Consistency::OneSession,
            Consistency::ServerLocked(Duration::from_millis(12)),
            Consistency::TablesLocked(Duration::from_millis(12)),
            Consistency::SamePlace,
            Consistency::NothingWritten,
        ] {
            assert!(proven.is_proven() && proven.to_string().contains("one moment"), "{proven}");
        }
    }
}
