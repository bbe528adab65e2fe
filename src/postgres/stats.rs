//! The server's cumulative statistics, normalised over PostgreSQL 12 to 18: one read, one struct.
//!
//! Counters only grow until a statistics reset or a crash; callers take deltas of two reads.
//! A number that the server did not give is NaN, never 0.

use super::PostgresError;
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

/// One read of the cumulative statistics.
#[derive(Debug, Clone, PartialEq)]
pub struct Stats {
    /// The server's clock when they were read.
    pub at: DateTime<Utc>,
    /// `server_version_num`.
    pub version_num: u32,
    /// A standby.
    pub in_recovery: bool,
    /// Position in the WAL, bytes since 0/0; on a standby what was replayed.
    pub wal_lsn_bytes: f64,
    /// `pg_stat_wal`, from PostgreSQL 14.
    pub wal: Option<WalStats>,
    /// Checkpoints: `pg_stat_bgwriter` until 16, `pg_stat_checkpointer` from 17.
    pub checkpoints: Checkpoints,
    /// The background writer.
    pub bgwriter: BackgroundWriter,
    /// Client connections by state (`active`, `idle`, `idle in transaction`, …).
    pub connections: BTreeMap<String, u32>,
    /// `max_connections`.
    pub max_connections: u32,
    /// Parallel workers that help a query at this moment.
    pub parallel_workers: u32,
    /// Every database that takes connections and is no template, oldest first.
    pub databases: Vec<Database>,
    /// Live rows of the connected database's user tables.
    pub live_rows: f64,
    /// Dead rows of the connected database's user tables.
    pub dead_rows: f64,
    /// The largest replay lag of a streaming replica, seconds; `None` without replicas.
    pub replica_lag_seconds: Option<f64>,
}

/// `pg_stat_wal`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WalStats {
    /// Records written.
    pub records: f64,
    /// Full-page images written.
    pub full_page_images: f64,
    /// Bytes written; a `pg_switch_wal()` does not count.
    pub bytes: f64,
    /// Times that data went to disk because the WAL buffers were full.
    pub buffers_full: f64,
}

/// Checkpoints since the last statistics reset.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Checkpoints {
    /// Started because `checkpoint_timeout` had passed.
    pub timed: f64,
    /// Started by WAL volume (`max_wal_size`) or by a person.
    pub requested: f64,
    /// Seconds spent writing.
    pub write_seconds: f64,
    /// Seconds spent syncing.
    pub sync_seconds: f64,
    /// Buffers written.
    pub buffers_written: f64,
}

/// The background writer, and what backends had to write themselves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BackgroundWriter {
    /// Buffers written by it.
    pub buffers_clean: f64,
    /// Times that it stopped at `bgwriter_lru_maxpages`.
    pub maxwritten_clean: f64,
    /// Buffers that backends had to write: `pg_stat_bgwriter` until 16, `pg_stat_io` from 17.
    pub buffers_backend: f64,
    /// Buffers allocated.
    pub buffers_alloc: f64,
}

/// `pg_stat_database`, one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// Connections to it.
    pub connections: f64,
    /// Transactions committed.
    pub commits: f64,
    /// Transactions rolled back.
    pub rollbacks: f64,
    /// Blocks read from the operating system.
    pub blocks_read: f64,
    /// Blocks found in shared buffers.
    pub blocks_hit: f64,
    /// Rows returned by scans.
    pub rows_returned: f64,
    /// Rows fetched by index scans.
    pub rows_fetched: f64,
    /// Rows inserted.
    pub rows_inserted: f64,
    /// Rows updated.
    pub rows_updated: f64,
    /// Rows deleted.
    pub rows_deleted: f64,
    /// Temporary files written.
    pub temp_files: f64,
    /// Bytes written to temporary files.
    pub temp_bytes: f64,
    /// Deadlocks.
    pub deadlocks: f64,
    /// Size on disk, bytes; NaN where the role may not see it.
    pub size_bytes: f64,
}

/// Reads the statistics, in two round trips, with what `pg_monitor` may see.
///
/// Without `pg_monitor` it still answers: other roles' connections count as `unknown`, replicas are not seen, and
/// sizes of databases that the role may not connect to are NaN.
pub async fn read(client: &tokio_postgres::Client) -> Result<Stats, PostgresError> {
    read_parts(client, Parts::All).await
}

/// The same without what has to walk files and catalogs: [`Database::size_bytes`] is NaN, and so are
/// [`Stats::live_rows`] and [`Stats::dead_rows`]. For callers that read often.
pub async fn read_quick(client: &tokio_postgres::Client) -> Result<Stats, PostgresError> {
    read_parts(client, Parts::Quick).await
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Parts {
    All,
    Quick,
}

async fn read_parts(client: &tokio_postgres::Client, parts: Parts) -> Result<Stats, PostgresError> {
    let doing = "reading the server's version";
    let first = client
        .simple_query("SELECT current_setting('server_version_num')")
        .await
        .map_err(|error| PostgresError::statement(doing, &error))?;
    let version_num = result_sets(first)
        .first()
        .and_then(|rows| rows.first()?.get(0)?.parse().ok())
        .ok_or_else(|| not_understood(doing, "server_version_num is not a number"))?;
    let doing = "reading the cumulative statistics";
    // One simple query: one round trip, one snapshot, nothing left prepared on the server.
    let messages = client
        .simple_query(&batch(version_num, parts))
        .await
        .map_err(|error| PostgresError::statement(doing, &error))?;
    assemble(version_num, &result_sets(messages)).map_err(|what| not_understood(doing, &what))
}

fn not_understood(doing: &str, what: &str) -> PostgresError {
    PostgresError::Statement { doing: doing.to_owned(), why: what.to_owned(), code: None }
}

/// The statements for this version; [`assemble`] reads their answers in the same order.
fn batch(version_num: u32, parts: Parts) -> String {
    let wal = if version_num >= 140_000 {
        "SELECT wal_records, wal_fpi, wal_bytes, wal_buffers_full FROM pg_stat_wal"
    } else {
        "SELECT WHERE false"
    };
    // From 17 a standby's restartpoints are counted apart; before, they were among the checkpoints.
    let checkpoints = if version_num >= 170_000 {
        "SELECT num_timed + restartpoints_timed, num_requested + restartpoints_req, \
         write_time / 1000, sync_time / 1000, buffers_written FROM pg_stat_checkpointer"
    } else {
        "SELECT checkpoints_timed, checkpoints_req, checkpoint_write_time / 1000, \
         checkpoint_sync_time / 1000, buffers_checkpoint FROM pg_stat_bgwriter"
    };
    // `buffers_backend` counted extensions too, so they are added here. From 18 an operation may span blocks.
    let backend_writes = match version_num {
        180_000.. => {
            "(SELECT sum(coalesce(write_bytes, 0) + coalesce(extend_bytes, 0)) \
             / current_setting('block_size')::numeric FROM pg_stat_io WHERE object = 'relation' \
             AND backend_type NOT IN ('checkpointer', 'background writer'))"
        }
        170_000.. => {
            "(SELECT sum(coalesce(writes, 0) + coalesce(extends, 0)) FROM pg_stat_io \
             WHERE object = 'relation' AND backend_type NOT IN ('checkpointer', 'background writer'))"
        }
        _ => "buffers_backend",
    };
    let size = match parts {
        Parts::All => {
            "CASE WHEN has_database_privilege(d.oid, 'CONNECT') OR pg_has_role('pg_read_all_stats', 'USAGE') \
             THEN pg_database_size(d.oid) END"
        }
        Parts::Quick => "NULL",
    };
    let rows = match parts {
        Parts::All => {
            "SELECT coalesce(sum(n_live_tup), 0), coalesce(sum(n_dead_tup), 0) FROM pg_stat_user_tables"
        }
        Parts::Quick => "SELECT NULL, NULL",
    };
    format!(
        "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, pg_is_in_recovery(), \
           pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_replay_lsn(), \
             pg_last_wal_receive_lsn()) ELSE pg_current_wal_lsn() END, '0/0'), \
           current_setting('max_connections'), \
           (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'parallel worker');\
         {wal};\
         {checkpoints};\
         SELECT buffers_clean, maxwritten_clean, {backend_writes}, buffers_alloc FROM pg_stat_bgwriter;\
         SELECT coalesce(state, 'unknown'), count(*) FROM pg_stat_activity WHERE datid IS NOT NULL \
           AND coalesce(backend_type, 'client backend') = 'client backend' GROUP BY 1;\
         SELECT d.datname, s.numbackends, s.xact_commit, s.xact_rollback, s.blks_read, s.blks_hit, \
           s.tup_returned, s.tup_fetched, s.tup_inserted, s.tup_updated, s.tup_deleted, s.temp_files, \
           s.temp_bytes, s.deadlocks, {size} \
           FROM pg_stat_database s JOIN pg_database d ON d.oid = s.datid \
           WHERE d.datallowconn AND NOT d.datistemplate ORDER BY d.oid;\
         {rows};\
         SELECT CASE WHEN count(*) > 0 THEN coalesce(max(extract(epoch FROM replay_lag)), 0) END \
           FROM pg_stat_replication WHERE state IN ('streaming', 'catchup')"
    )
}

/// Splits the answer to a batch into one list of rows a statement.
fn result_sets(messages: Vec<SimpleQueryMessage>) -> Vec<Vec<SimpleQueryRow>> {
    let mut sets = Vec::new();
    let mut rows = Vec::new();
    for message in messages {
        match message {
            SimpleQueryMessage::Row(row) => rows.push(row),
            SimpleQueryMessage::CommandComplete(_) => sets.push(std::mem::take(&mut rows)),
            _ => {}
        }
    }
    sets
}

fn assemble(version_num: u32, sets: &[Vec<SimpleQueryRow>]) -> Result<Stats, String> {
    let [server, wal, checkpoints, bgwriter, states, databases, rows, replicas] = sets else {
        return Err(format!("{} answers to 8 statements", sets.len()));
    };
    let server = only(server, "the server")?;
    let micros = text(server, 0).parse().map_err(|_| "the server's clock is not a number".to_owned())?;
    let (checkpoints, bgwriter) =
        (only(checkpoints, "the checkpoints")?, only(bgwriter, "the background writer")?);
    let (rows, replicas) = (only(rows, "the tables")?, only(replicas, "the replicas")?);
    Ok(Stats {
        at: DateTime::from_timestamp_micros(micros).ok_or("the server's clock is out of range")?,
        version_num,
        in_recovery: text(server, 1) == "t",
        wal_lsn_bytes: number(server, 2),
        wal: wal.first().map(|row| WalStats {
            records: number(row, 0),
            full_page_images: number(row, 1),
            bytes: number(row, 2),
            buffers_full: number(row, 3),
        }),
        checkpoints: Checkpoints {
            timed: number(checkpoints, 0),
            requested: number(checkpoints, 1),
            write_seconds: number(checkpoints, 2),
            sync_seconds: number(checkpoints, 3),
            buffers_written: number(checkpoints, 4),
        },
        bgwriter: BackgroundWriter {
            buffers_clean: number(bgwriter, 0),
            maxwritten_clean: number(bgwriter, 1),
            buffers_backend: number(bgwriter, 2),
            buffers_alloc: number(bgwriter, 3),
        },
        connections: states
            .iter()
            .map(|row| (text(row, 0).to_owned(), text(row, 1).parse().unwrap_or(u32::MAX)))
            .collect(),
        max_connections: text(server, 3).parse().map_err(|_| "max_connections is not a number".to_owned())?,
        parallel_workers: text(server, 4).parse().unwrap_or_default(),
        databases: databases.iter().map(database).collect(),
        live_rows: number(rows, 0),
        dead_rows: number(rows, 1),
        replica_lag_seconds: Some(number(replicas, 0)).filter(|lag| lag.is_finite()),
    })
}

fn database(row: &SimpleQueryRow) -> Database {
    Database {
        name: text(row, 0).to_owned(),
        connections: number(row, 1),
        commits: number(row, 2),
        rollbacks: number(row, 3),
        blocks_read: number(row, 4),
        blocks_hit: number(row, 5),
        rows_returned: number(row, 6),
        rows_fetched: number(row, 7),
        rows_inserted: number(row, 8),
        rows_updated: number(row, 9),
        rows_deleted: number(row, 10),
        temp_files: number(row, 11),
        temp_bytes: number(row, 12),
        deadlocks: number(row, 13),
        size_bytes: number(row, 14),
    }
}

fn only<'a>(rows: &'a [SimpleQueryRow], of: &str) -> Result<&'a SimpleQueryRow, String> {
    rows.first().ok_or_else(|| format!("no row about {of}"))
}

fn text(row: &SimpleQueryRow, column: usize) -> &str {
    row.get(column).unwrap_or_default()
}

/// NULL is not a number: NaN, never 0.
fn number(row: &SimpleQueryRow, column: usize) -> f64 {
    text(row, column).parse().unwrap_or(f64::NAN)
}
