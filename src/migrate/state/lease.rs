//! The lease: one process at a time has a run, and one run at a time writes into a schema.
//!
//! Two things together. A session's advisory lock for each target schema keeps others out while its connection lives.
//! The run's fence is raised whenever a process takes the run: a chunk that an earlier process still commits names the
//! old fence and is refused by the target, and raising it waits for the chunks that are committing at that moment. So
//! once a lease is taken, what the state says is all that earlier processes ever brought.
//!
//! Locks are tried in the order of their keys and never waited for: of two that want the same schemas one gets them.
//! They end with their connection: whoever loses it has lost the lease. They need a connection that is one session for
//! its whole life; [`Lease::check`] fails behind a pooler that gives out sessions by transaction.

use super::runs::{self, NewRun};
use super::{Reader, StateError, ask, failed};
use chrono::{DateTime, Utc};
use std::fmt;
use tokio_postgres::Client;

/// Who takes a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// The machine's name.
    pub host: String,
    /// leverd's process there.
    pub pid: u32,
}

/// A run that is this process's. It is worth something while the connection lives on which it was taken.
///
/// Dropping it releases nothing: the connection's end does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    run: String,
    fence: i64,
    backend_pid: i32,
    keys: Vec<i64>,
}

/// Who has a schema. What is `None` is not known: the session has the lock, and no run says that it is its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The target schema.
    pub schema: String,
    /// The session that has the lock; `None`: it has just gone.
    pub backend_pid: Option<i32>,
    /// Its run.
    pub run: Option<String>,
    /// The machine that the run is on.
    pub host: Option<String>,
    /// leverd's process there.
    pub pid: Option<u32>,
    /// Since when it has the run.
    pub since: Option<DateTime<Utc>>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "schema {} is held by ", self.schema)?;
        match (&self.run, self.backend_pid) {
            (Some(run), _) => write!(f, "run {run}")?,
            (None, Some(backend)) => write!(f, "the session with PID {backend}, which has not said its run")?,
            (None, None) => write!(f, "a session that has just gone")?,
        }
        if let (Some(host), Some(pid)) = (&self.host, self.pid) {
            write!(f, " on {host}, process {pid}")?;
        }
        if let Some(since) = self.since {
            write!(f, ", since {} UTC", since.format("%Y-%m-%d %H:%M:%S"))?;
        }
        Ok(())
    }
}

/// A schema and the key of its lock.
struct Lock {
    key: i64,
    schema: String,
}

const KEYS: &str = "\
SELECT pg_catalog.hashtextextended('leverd migration into ' || s.name, 0), s.name
FROM pg_catalog.unnest($1::text[]) AS s(name)";

const TRY_LOCK: &str = "SELECT pg_catalog.pg_try_advisory_lock($1::bigint)";

const UNLOCK: &str =
    "SELECT pg_catalog.pg_advisory_unlock(k.key) FROM pg_catalog.unnest($1::bigint[]) AS k(key)";

/// A lock's key is cut into two halves in `pg_locks`; `objsubid` 1 says that it was one number.
const HOLDER: &str = "\
SELECT l.key, l.pid, r.id, r.host, r.pid, r.leased_at
FROM (SELECT (k.classid::bigint << 32) | k.objid::bigint AS key, k.pid
      FROM pg_catalog.pg_locks AS k
      WHERE k.locktype = 'advisory' AND k.objsubid = 1 AND k.granted
        AND k.database = (SELECT d.oid FROM pg_catalog.pg_database AS d
                          WHERE d.datname = pg_catalog.current_database())) AS l
LEFT JOIN LATERAL (SELECT o.id, o.host, o.pid, o.leased_at
                   FROM leverd_migration.run AS o
                   WHERE o.backend_pid = l.pid AND o.is_open AND o.ended_at IS NULL
                     AND o.target_schemas && $2::text[]
                   ORDER BY o.leased_at DESC LIMIT 1) AS r ON true
WHERE l.key = ANY ($1::bigint[])
LIMIT 1";

const CHECK: &str = "\
SELECT pg_catalog.pg_backend_pid(),
       (SELECT pg_catalog.count(DISTINCT (k.classid::bigint << 32) | k.objid::bigint)
        FROM pg_catalog.pg_locks AS k
        WHERE k.locktype = 'advisory' AND k.objsubid = 1 AND k.granted
          AND k.pid = pg_catalog.pg_backend_pid()
          AND k.database = (SELECT d.oid FROM pg_catalog.pg_database AS d
                            WHERE d.datname = pg_catalog.current_database())
          AND ((k.classid::bigint << 32) | k.objid::bigint) = ANY ($1::bigint[])),
       EXISTS (SELECT 1 FROM leverd_migration.run AS r
               WHERE r.id = $2::text AND r.fence = $3::bigint AND r.is_open)";

impl Lease {
    /// Begins a run and takes it.
    ///
    /// The connection must be in no transaction; where the future is dropped half-way it may keep locks: drop it too.
    /// Refused where another run is at work in one of the schemas ([`StateError::Held`]), where one is open that
    /// [`NewRun::replaces`] does not name ([`StateError::Unfinished`]), and where the name is taken
    /// ([`StateError::RunExists`]). Nothing is held then.
    pub async fn begin(client: &Client, run: &NewRun, who: &Who) -> Result<Self, StateError> {
        let locks = locks_of(client, &run.id, &run.target_schemas).await?;
        take_locks(client, &locks).await?;
        let begun = runs::insert(client, run, who).await;
        Self::with_locks(client, &run.id, &locks, begun).await
    }

    /// Takes a run that was interrupted, to go on with it: its fence is raised, which waits for chunks of an earlier
    /// process that are committing, as long as the connection's `lock_timeout` allows.
    ///
    /// The connection must be in no transaction; where the future is dropped half-way it may keep locks: drop it too.
    /// Refused where the run or another one into its schemas is at work ([`StateError::Held`]), is over
    /// ([`StateError::Over`]), or is not known ([`StateError::UnknownRun`]). Nothing is held then.
    pub async fn take(client: &Client, run: &str, who: &Who) -> Result<Self, StateError> {
        let (schemas, open) = runs::schemas_of(client, run).await?;
        if !open {
            return Err(StateError::Over { run: run.to_owned() });
        }
        let locks = locks_of(client, run, &schemas).await?;
        take_locks(client, &locks).await?;
        let taken = runs::raise_fence(client, run, &schemas, who).await;
        Self::with_locks(client, run, &locks, taken).await
    }

    /// The run's id.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// The fence that everything written under this lease names.
    pub fn fence(&self) -> i64 {
        self.fence
    }

    /// Whether the lease is still held, asked on the connection that it was taken on; [`StateError::Lost`] where it is
    /// not, and where that connection has broken. One query; a run asks before its tables are made, and again when its
    /// rows are there.
    pub async fn check(&self, client: &Client) -> Result<(), StateError> {
        let answer = client.query_one(CHECK, &[&self.keys, &self.run, &self.fence]).await;
        let row = match answer {
            Ok(row) => row,
            Err(_) if client.is_closed() => return Err(self.lost()),
            Err(error) => return Err(failed("checking the lease")(error)),
        };
        let row = Reader { row: &row, doing: "checking the lease" };
        let (backend_pid, locks, current): (i32, i64, bool) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let held = backend_pid == self.backend_pid && locks == counted_keys(&self.keys) && current;
        if held { Ok(()) } else { Err(self.lost()) }
    }

    /// What to say where the fence is another.
    pub(super) fn lost(&self) -> StateError {
        StateError::Lost { run: self.run.clone() }
    }

    /// A lease where the run was written; else the locks are given back.
    async fn with_locks(
        client: &Client,
        run: &str,
        locks: &[Lock],
        written: Result<(i64, i32), StateError>,
    ) -> Result<Self, StateError> {
        let keys: Vec<i64> = locks.iter().map(|lock| lock.key).collect();
        match written {
            Ok((fence, backend_pid)) => Ok(Self { run: run.to_owned(), fence, backend_pid, keys }),
            Err(error) => {
                give_back(client, &keys).await;
                Err(error)
            }
        }
    }
}

/// Who is at work in one of the schemas; `None`: nobody. For a status: by the time of the answer it may be another.
pub async fn holder(client: &Client, target_schemas: &[String]) -> Result<Option<Holder>, StateError> {
    let locks = keys_of(client, target_schemas).await?;
    holder_of(client, &locks).await
}

/// Runs `doing` while the schemas of `run` are held by nobody else.
pub(super) async fn while_locked<T>(
    client: &Client,
    run: &str,
    schemas: &[String],
    doing: impl Future<Output = Result<T, StateError>>,
) -> Result<T, StateError> {
    let locks = locks_of(client, run, schemas).await?;
    take_locks(client, &locks).await?;
    let done = doing.await;
    let keys: Vec<i64> = locks.iter().map(|lock| lock.key).collect();
    give_back(client, &keys).await;
    done
}

fn counted_keys(keys: &[i64]) -> i64 {
    i64::try_from(keys.len()).unwrap_or(i64::MAX)
}

/// The locks of a run, at least one.
async fn locks_of(client: &Client, run: &str, schemas: &[String]) -> Result<Vec<Lock>, StateError> {
    if schemas.is_empty() {
        return Err(StateError::NoSchema { run: run.to_owned() });
    }
    keys_of(client, schemas).await
}

/// By key, each once: in this order they are taken.
async fn keys_of(client: &Client, schemas: &[String]) -> Result<Vec<Lock>, StateError> {
    let doing = "naming the locks of the target's schemas";
    let mut locks = ask(client, doing, KEYS, &[&schemas], |row: Reader<'_>| {
        Ok(Lock { key: row.get(0)?, schema: row.get(1)? })
    })
    .await?;
    locks.sort_by(|a, b| a.key.cmp(&b.key).then_with(|| a.schema.cmp(&b.schema)));
    locks.dedup_by_key(|lock| lock.key);
    Ok(locks)
}

/// All of the locks, or none and who has the first that is taken.
async fn take_locks(client: &Client, locks: &[Lock]) -> Result<(), StateError> {
    let mut taken: Vec<i64> = Vec::with_capacity(locks.len());
    for lock in locks {
        let refused = match try_lock(client, lock).await {
            Ok(true) => {
                taken.push(lock.key);
                continue;
            }
            Ok(false) => held_by(client, lock).await,
            Err(error) => error,
        };
        give_back(client, &taken).await;
        return Err(refused);
    }
    Ok(())
}

async fn try_lock(client: &Client, lock: &Lock) -> Result<bool, StateError> {
    let doing = "locking the target's schemas";
    let row = client.query_one(TRY_LOCK, &[&lock.key]).await.map_err(failed(doing))?;
    Reader { row: &row, doing }.get(0)
}

/// That the lock is somebody's, and whose.
async fn held_by(client: &Client, lock: &Lock) -> StateError {
    let gone = Holder {
        schema: lock.schema.clone(),
        backend_pid: None,
        run: None,
        host: None,
        pid: None,
        since: None,
    };
    match holder_of(client, std::slice::from_ref(lock)).await {
        Ok(found) => StateError::Held(Box::new(found.unwrap_or(gone))),
        Err(error) => error,
    }
}

async fn holder_of(client: &Client, locks: &[Lock]) -> Result<Option<Holder>, StateError> {
    let doing = "asking who is at work in the target";
    let keys: Vec<i64> = locks.iter().map(|lock| lock.key).collect();
    let schemas: Vec<&str> = locks.iter().map(|lock| lock.schema.as_str()).collect();
    let row = client.query_opt(HOLDER, &[&keys, &schemas]).await.map_err(failed(doing))?;
    let Some(row) = row else { return Ok(None) };
    let row = Reader { row: &row, doing };
    let key: i64 = row.get(0)?;
    let pid: Option<i64> = row.get(4)?;
    let schema = locks.iter().find(|lock| lock.key == key).map_or("", |lock| lock.schema.as_str());
    Ok(Some(Holder {
        schema: schema.to_owned(),
        backend_pid: row.get(1)?,
        run: row.get(2)?,
        host: row.get(3)?,
        pid: pid.and_then(|pid| u32::try_from(pid).ok()),
        since: row.get(5)?,
    }))
}

/// As well as it goes: where it does not, the connection is broken, and the locks have ended with it.
async fn give_back(client: &Client, keys: &[i64]) {
    if !keys.is_empty()
        && let Err(error) = client.execute(UNLOCK, &[&keys]).await
    {
        tracing::debug!("the target's schemas could not be unlocked: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held() -> Holder {
        Holder {
            schema: "shop".to_owned(),
            backend_pid: Some(77),
            run: Some("20260102-x".to_owned()),
            host: Some("mover".to_owned()),
            pid: Some(4711),
            since: DateTime::from_timestamp(1_700_000_000, 0),
        }
    }

    #[test]
    fn a_holder_is_told_as_far_as_it_is_known() {
        assert_eq!(
            held().to_string(),
            "schema shop is held by run 20260102-x on mover, process 4711, since 2023-11-14 22:13:20 UTC"
        );
        let silent = Holder { run: None, host: None, pid: None, since: None, ..held() };
        let told = "schema shop is held by the session with PID 77, which has not said its run";
        assert_eq!(silent.to_string(), told);
        let gone = Holder { backend_pid: None, ..silent };
        assert_eq!(gone.to_string(), "schema shop is held by a session that has just gone");
        let error = StateError::Held(Box::new(held()));
        assert!(error.to_string().starts_with("the target is taken: schema shop"), "{error}");
        assert!(error.hint().is_some());
    }
}
