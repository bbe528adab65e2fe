//! Postgres' statistics as families: the same names for every version from 12 to 18.

use crate::exporter::page::{Kind, Page};
use crate::postgres::stats::{Database, Stats};

/// So many databases are shown at most, the oldest ones.
const MOST: usize = 32;

/// States that are shown at 0 too.
const STATES: [&str; 4] = ["active", "idle", "idle in transaction", "idle in transaction (aborted)"];

type Column = (&'static str, Kind, &'static str, fn(&Database) -> f64);

const COLUMNS: [Column; 14] = [
    ("pg_stat_database_numbackends", Kind::Gauge, "Connections to the database.", |db| db.connections),
    ("pg_stat_database_xact_commit_total", Kind::Counter, "Transactions committed.", |db| db.commits),
    ("pg_stat_database_xact_rollback_total", Kind::Counter, "Transactions rolled back.", |db| db.rollbacks),
    ("pg_stat_database_blks_read_total", Kind::Counter, "Blocks read from the operating system.", |db| {
        db.blocks_read
    }),
    ("pg_stat_database_blks_hit_total", Kind::Counter, "Blocks found in shared buffers.", |db| db.blocks_hit),
    ("pg_stat_database_tup_returned_total", Kind::Counter, "Rows returned by scans.", |db| db.rows_returned),
    ("pg_stat_database_tup_fetched_total", Kind::Counter, "Rows fetched by index scans.", |db| {
        db.rows_fetched
    }),
    ("pg_stat_database_tup_inserted_total", Kind::Counter, "Rows inserted.", |db| db.rows_inserted),
    ("pg_stat_database_tup_updated_total", Kind::Counter, "Rows updated.", |db| db.rows_updated),
    ("pg_stat_database_tup_deleted_total", Kind::Counter, "Rows deleted.", |db| db.rows_deleted),
    ("pg_stat_database_temp_files_total", Kind::Counter, "Temporary files written.", |db| db.temp_files),
    ("pg_stat_database_temp_bytes_total", Kind::Counter, "Bytes written to temporary files.", |db| {
        db.temp_bytes
    }),
    ("pg_stat_database_deadlocks_total", Kind::Counter, "Deadlocks.", |db| db.deadlocks),
    ("pg_database_size_bytes", Kind::Gauge, "Size of the database on disk, read once a minute.", |db| {
        db.size_bytes
    }),
];

pub(super) fn render(stats: &Stats, page: &mut Page) {
    server(stats, page);
    wal(stats, page);
    writers(stats, page);
    // Others call it pg_stat_activity_count; `promtool check metrics` leaves that ending to histograms.
    let help = "Client connections by state, of all databases.";
    let mut states = page.family("pg_stat_activity_connections", Kind::Gauge, help);
    for state in STATES {
        states.sample(&[("state", state)], stats.connections.get(state).map_or(0.0, |n| f64::from(*n)));
    }
    for (state, count) in stats.connections.iter().filter(|(state, _)| !STATES.contains(&&***state)) {
        states.sample(&[("state", state)], f64::from(*count));
    }
    for (name, kind, help, value) in COLUMNS {
        let mut family = page.family(name, kind, help);
        for database in stats.databases.iter().take(MOST) {
            family.sample(&[("datname", &database.name)], value(database));
        }
    }
    let left_out = stats.databases.len().saturating_sub(MOST);
    if left_out > 0 {
        let help = "Databases that are not shown, because there are too many.";
        page.single("leverd_databases_left_out", Kind::Gauge, help, left_out as f64);
    }
}

fn server(stats: &Stats, page: &mut Page) {
    let gauges = [
        ("pg_server_version_num", "server_version_num, e.g. 170004.", f64::from(stats.version_num)),
        ("pg_replication_is_replica", "Whether the server is a standby.", f64::from(stats.in_recovery)),
        ("pg_settings_max_connections", "max_connections.", f64::from(stats.max_connections)),
        (
            "pg_stat_replication_replay_lag_seconds",
            "Replay lag of the slowest connected replica; absent without replicas.",
            stats.replica_lag_seconds.unwrap_or(f64::NAN),
        ),
        (
            "pg_stat_user_tables_n_live_tup",
            "Live rows of the connected database's tables, read once a minute.",
            stats.live_rows,
        ),
        (
            "pg_stat_user_tables_n_dead_tup",
            "Dead rows of the connected database's tables, read once a minute.",
            stats.dead_rows,
        ),
    ];
    for (name, help, value) in gauges {
        page.single(name, Kind::Gauge, help, value);
    }
}

fn wal(stats: &Stats, page: &mut Page) {
    let help = "Position in the WAL, bytes since 0/0; on a standby what was replayed.";
    page.single("pg_wal_lsn_bytes_total", Kind::Counter, help, stats.wal_lsn_bytes);
    let Some(wal) = &stats.wal else { return };
    let counters = [
        ("pg_stat_wal_bytes_total", "Bytes of WAL generated; a segment switch does not count.", wal.bytes),
        ("pg_stat_wal_records_total", "WAL records generated.", wal.records),
        ("pg_stat_wal_fpi_total", "Full-page images in the WAL.", wal.full_page_images),
        ("pg_stat_wal_buffers_full_total", "WAL writes because the WAL buffers were full.", wal.buffers_full),
    ];
    for (name, help, value) in counters {
        page.single(name, Kind::Counter, help, value);
    }
}

fn writers(stats: &Stats, page: &mut Page) {
    let (checkpoints, bgwriter) = (&stats.checkpoints, &stats.bgwriter);
    let counters = [
        ("pg_checkpoints_timed_total", "Checkpoints that checkpoint_timeout began.", checkpoints.timed),
        (
            "pg_checkpoints_requested_total",
            "Checkpoints that WAL volume or a person began.",
            checkpoints.requested,
        ),
        (
            "pg_checkpoint_write_seconds_total",
            "Seconds checkpoints spent writing.",
            checkpoints.write_seconds,
        ),
        ("pg_checkpoint_sync_seconds_total", "Seconds checkpoints spent syncing.", checkpoints.sync_seconds),
        ("pg_checkpoint_buffers_written_total", "Buffers checkpoints wrote.", checkpoints.buffers_written),
        (
            "pg_stat_bgwriter_buffers_clean_total",
            "Buffers the background writer wrote.",
            bgwriter.buffers_clean,
        ),
        (
            "pg_stat_bgwriter_maxwritten_clean_total",
            "Times the background writer stopped at bgwriter_lru_maxpages.",
            bgwriter.maxwritten_clean,
        ),
        (
            "pg_stat_bgwriter_buffers_backend_total",
            "Buffers backends wrote themselves, extensions included.",
            bgwriter.buffers_backend,
        ),
        ("pg_stat_bgwriter_buffers_alloc_total", "Buffers allocated.", bgwriter.buffers_alloc),
    ];
    for (name, help, value) in counters {
        page.single(name, Kind::Counter, help, value);
    }
}
