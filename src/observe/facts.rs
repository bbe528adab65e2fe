//! Two reads of the cumulative statistics → the numbers that a lever's evidence may refer to. Pure.
//!
//! A fact that cannot be known is absent: no time between the reads, a division by nothing, a counter that went
//! back (a statistics reset, a crash), a view that this version does not have.

use crate::model::{FACTS, PgValue, Setting};
use crate::postgres::stats::{Checkpoints, Database, Stats};
use std::collections::BTreeMap;

/// The facts between two reads; those about a level rather than a rate come from `after` alone.
pub fn facts(before: &Stats, after: &Stats, settings: &BTreeMap<String, Setting>) -> BTreeMap<String, f64> {
    let mut facts = Facts(BTreeMap::new());
    levels(after, settings, &mut facts);
    let elapsed = (after.at - before.at).as_seconds_f64();
    if elapsed > 0.0 {
        checkpoints(before, after, elapsed, &mut facts);
        wal(before, after, elapsed, &mut facts);
        databases(before, after, elapsed, &mut facts);
    }
    facts.0
}

struct Facts(BTreeMap<String, f64>);

impl Facts {
    /// Inserts a value that is there and is a number.
    fn put(&mut self, name: &str, value: Option<f64>) {
        debug_assert!(FACTS.iter().any(|(known, _)| *known == name), "{name} is not in FACTS");
        if let Some(value) = value.filter(|value| value.is_finite()) {
            self.0.insert(name.to_owned(), value);
        }
    }
}

fn levels(after: &Stats, settings: &BTreeMap<String, Setting>, facts: &mut Facts) {
    let used: u32 = after.connections.values().sum();
    let active = after.connections.get("active").copied().unwrap_or_default();
    facts.put("active_connections", Some(f64::from(active)));
    facts.put("connections_used_share", share(f64::from(used), f64::from(after.max_connections)));
    // An instant without one says nothing: they come and go with their queries.
    let workers = Some(after.parallel_workers).filter(|workers| *workers > 0);
    facts.put("parallel_workers", workers.map(f64::from));
    facts.put("dead_row_share", share(after.dead_rows, after.live_rows + after.dead_rows));
    let buffers = settings
        .get("shared_buffers")
        .and_then(|setting| PgValue::parse(&setting.value, setting).ok()?.bytes(setting));
    let size: f64 = after.databases.iter().map(|database| database.size_bytes).sum();
    facts.put("database_bytes_over_shared_buffers", buffers.and_then(|buffers| share(size, buffers)));
}

fn checkpoints(before: &Stats, after: &Stats, elapsed: f64, facts: &mut Facts) {
    let delta = |pick: fn(&Checkpoints) -> f64| grown(pick(&before.checkpoints), pick(&after.checkpoints));
    let (timed, requested) = (delta(|c| c.timed), delta(|c| c.requested));
    let done = timed.zip(requested).map(|(timed, requested)| timed + requested);
    facts.put("checkpoints_per_minute", done.map(|done| done / elapsed * 60.0));
    facts.put("checkpoints_requested_share", requested.zip(done).and_then(|(part, all)| share(part, all)));

    let (was, is) = (&before.bgwriter, &after.bgwriter);
    let maxwritten = grown(was.maxwritten_clean, is.maxwritten_clean);
    facts.put("bgwriter_maxwritten_per_second", maxwritten.map(|times| times / elapsed));
    let backend = grown(was.buffers_backend, is.buffers_backend);
    facts.put("backend_writes_per_second", backend.map(|buffers| buffers / elapsed));
    let others = grown(was.buffers_clean, is.buffers_clean).zip(delta(|c| c.buffers_written));
    let written = backend.zip(others).map(|(backend, (clean, checkpoint))| backend + clean + checkpoint);
    facts.put("backend_write_share", backend.zip(written).and_then(|(part, all)| share(part, all)));
}

fn wal(before: &Stats, after: &Stats, elapsed: f64, facts: &mut Facts) {
    let Some((was, is)) = before.wal.as_ref().zip(after.wal.as_ref()) else { return };
    let full = grown(was.buffers_full, is.buffers_full);
    facts.put("wal_buffers_full_per_second", full.map(|times| times / elapsed));
    let images = grown(was.full_page_images, is.full_page_images);
    let records = grown(was.records, is.records);
    facts.put("full_page_image_share", images.zip(records).and_then(|(part, all)| share(part, all)));
}

fn databases(before: &Stats, after: &Stats, elapsed: f64, facts: &mut Facts) {
    // A database that came or went between the reads has no delta; one whose counter went back spoils the sum.
    let pairs: Vec<(&Database, &Database)> = after
        .databases
        .iter()
        .filter_map(|is| Some((before.databases.iter().find(|was| was.name == is.name)?, is)))
        .collect();
    if pairs.is_empty() {
        return;
    }
    let delta = |pick: fn(&Database) -> f64| -> Option<f64> {
        pairs.iter().map(|(was, is)| grown(pick(was), pick(is))).sum()
    };
    let commits = delta(|db| db.commits);
    let changed = delta(|db| db.rows_inserted + db.rows_updated + db.rows_deleted);
    facts.put("commits_per_second", commits.map(|commits| commits / elapsed));
    facts.put("rows_per_commit", changed.zip(commits).and_then(|(rows, commits)| share(rows, commits)));
    facts.put("temp_bytes_per_second", delta(|db| db.temp_bytes).map(|bytes| bytes / elapsed));
    let (returned, fetched) = (delta(|db| db.rows_returned), delta(|db| db.rows_fetched));
    let sequential = returned.zip(fetched).and_then(|(all, by_index)| share((all - by_index).max(0.0), all));
    facts.put("sequential_rows_share", sequential);
    let (hit, read) = (delta(|db| db.blocks_hit), delta(|db| db.blocks_read));
    facts.put("cache_hit_ratio", hit.zip(read).and_then(|(hit, read)| share(hit, hit + read)));
}

/// A counter's growth; `None` where it went back.
fn grown(was: f64, is: f64) -> Option<f64> {
    (is >= was).then_some(is - was)
}

fn share(part: f64, all: f64) -> Option<f64> {
    (all > 0.0).then(|| part / all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Context, SettingType, Sourced};
    use crate::postgres::stats::{BackgroundWriter, WalStats};
    use chrono::{DateTime, TimeDelta};

    fn database(name: &str, scale: f64) -> Database {
        Database {
            name: name.to_owned(),
            connections: 1.0,
            commits: 10.0 * scale,
            rollbacks: 0.0,
            blocks_read: 5.0 * scale,
            blocks_hit: 95.0 * scale,
            rows_returned: 40.0 * scale,
            rows_fetched: 10.0 * scale,
            rows_inserted: 10.0 * scale,
            rows_updated: 8.0 * scale,
            rows_deleted: 2.0 * scale,
            temp_files: 0.0,
            temp_bytes: 600.0 * scale,
            deadlocks: 0.0,
            size_bytes: 512.0 * 1_048_576.0,
        }
    }

    /// The counters after `scale` of work, `seconds` after the start.
    fn stats(seconds: i64, scale: f64) -> Stats {
        Stats {
            at: DateTime::from_timestamp_millis(1_700_000_000_000).unwrap() + TimeDelta::seconds(seconds),
            version_num: 150_018,
            in_recovery: false,
            wal_lsn_bytes: 0.0,
            wal: Some(WalStats {
                records: 1000.0 * scale,
                full_page_images: 400.0 * scale,
                bytes: 0.0,
                buffers_full: 30.0 * scale,
            }),
            checkpoints: Checkpoints {
                timed: scale,
                requested: 3.0 * scale,
                write_seconds: 0.0,
                sync_seconds: 0.0,
                buffers_written: 60.0 * scale,
            },
            bgwriter: BackgroundWriter {
                buffers_clean: 20.0 * scale,
                maxwritten_clean: 6.0 * scale,
                buffers_backend: 20.0 * scale,
                buffers_alloc: 0.0,
            },
            connections: BTreeMap::from([("active".to_owned(), 3), ("idle".to_owned(), 22)]),
            max_connections: 100,
            parallel_workers: 2,
            databases: vec![database("app", scale), database("postgres", 0.0)],
            live_rows: 90.0,
            dead_rows: 10.0,
            replica_lag_seconds: None,
        }
    }

    fn shared_buffers() -> BTreeMap<String, Setting> {
        let setting = Setting {
            name: "shared_buffers".into(),
            value: "16384".into(),
            unit: Some("8kB".into()),
            vartype: SettingType::Integer,
            context: Context::Postmaster,
            min: Some(16.0),
            max: Some(1_073_741_823.0),
            enumvals: Vec::new(),
            sourced: Sourced::default(),
            reset_value: "16384".into(),
            boot_value: "16384".into(),
            pending_restart: false,
        };
        BTreeMap::from([("shared_buffers".to_owned(), setting)])
    }

    #[test]
    fn every_fact_of_two_ordinary_reads() {
        let facts = facts(&stats(0, 1.0), &stats(60, 2.0), &shared_buffers());
        insta::assert_debug_snapshot!(facts, @r#"
        {
            "active_connections": 3.0,
            "backend_write_share": 0.2,
            "backend_writes_per_second": 0.3333333333333333,
            "bgwriter_maxwritten_per_second": 0.1,
            "cache_hit_ratio": 0.95,
            "checkpoints_per_minute": 4.0,
            "checkpoints_requested_share": 0.75,
            "commits_per_second": 0.16666666666666666,
            "connections_used_share": 0.25,
            "database_bytes_over_shared_buffers": 8.0,
            "dead_row_share": 0.1,
            "full_page_image_share": 0.4,
            "parallel_workers": 2.0,
            "rows_per_commit": 2.0,
            "sequential_rows_share": 0.75,
            "temp_bytes_per_second": 10.0,
            "wal_buffers_full_per_second": 0.5,
        }
        "#);
        assert!(FACTS.is_sorted_by_key(|(name, _)| name));
        // What a container or a pooler tells is entered by another.
        let of_postgres = |name: &&str| !name.starts_with("container_") && !name.starts_with("pool_");
        let known: Vec<&str> = FACTS.iter().map(|(name, _)| *name).filter(of_postgres).collect();
        assert_eq!(facts.keys().map(String::as_str).collect::<Vec<_>>(), known, "FACTS is complete");
    }

    #[test]
    fn two_reads_at_once_tell_levels_only() {
        let names: Vec<_> = facts(&stats(0, 1.0), &stats(0, 1.0), &BTreeMap::new()).into_keys().collect();
        assert_eq!(
            names,
            ["active_connections", "connections_used_share", "dead_row_share", "parallel_workers"]
        );
    }

    #[test]
    fn nothing_is_divided_by_nothing() {
        let none = Stats { parallel_workers: 0, ..stats(60, 1.0) };
        let facts = facts(&stats(0, 1.0), &none, &BTreeMap::new());
        assert!(!facts.contains_key("parallel_workers"), "an instant without one says nothing");
        assert_eq!(facts["commits_per_second"], 0.0);
        for unknown in
            ["cache_hit_ratio", "rows_per_commit", "checkpoints_requested_share", "full_page_image_share"]
        {
            assert!(!facts.contains_key(unknown), "{unknown}");
        }
        assert!(facts.values().all(|value| value.is_finite()));
    }

    #[test]
    fn a_reset_makes_facts_unknown() {
        let facts = facts(&stats(0, 5.0), &stats(60, 1.0), &shared_buffers());
        let names: Vec<_> = facts.into_keys().collect();
        assert_eq!(
            names,
            [
                "active_connections",
                "connections_used_share",
                "database_bytes_over_shared_buffers",
                "dead_row_share",
                "parallel_workers"
            ]
        );
    }

    #[test]
    fn versions_without_wal_statistics_lack_their_facts() {
        let (mut before, mut after) = (stats(0, 1.0), stats(60, 2.0));
        (before.wal, after.wal) = (None, None);
        let facts = facts(&before, &after, &BTreeMap::new());
        assert!(!facts.contains_key("full_page_image_share") && facts.contains_key("cache_hit_ratio"));
    }
}
