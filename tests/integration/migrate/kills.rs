//! Kills at random moments, of runs that are then gone on with until they are whole.

use super::PATIENCE;
use super::pair::{Pair, crash};
use crate::support::leverd::wait_for_exit;
use std::process::Child;
use std::time::{Duration, Instant};

/// A source, a target, and the program between them.
pub(super) struct Scene<'a> {
    /// Starts `leverd migrate` with that command.
    pub(super) begin: &'a dyn Fn(&str) -> Child,
    pub(super) crash_source: &'a dyn Fn(),
    pub(super) crash_target: &'a dyn Fn(),
    /// Runs statements in the target.
    pub(super) target: &'a dyn Fn(&str) -> String,
    /// Makes the target as it is before a run.
    pub(super) fresh: &'a dyn Fn(),
    /// Fails where something is missing, twice there, or another.
    pub(super) is_whole: &'a dyn Fn(),
}

impl Scene<'_> {
    /// Kills leverd, the source or the target until a run comes through, again and again. Only what was not begun is
    /// begun: whatever else was killed is resumed.
    pub(super) fn survives(&self, kills: u32) -> String {
        let kills = number_of("LEVERD_KILLS").and_then(|kills| u32::try_from(kills).ok()).unwrap_or(kills);
        let seed = number_of("LEVERD_SEED").unwrap_or(1);
        let mut chance = Chance(seed);
        let (mut done, mut runs) = (0, 0);
        let mut victims = [0_u32; 3];
        while done < kills {
            (self.target)("DROP SCHEMA IF EXISTS leverd_migration CASCADE");
            (self.fresh)();
            let until = Instant::now() + PATIENCE;
            while let Some(command) = self.next_command() {
                assert!(Instant::now() < until, "seed {seed}: after {done} kills no run comes through");
                let mut child = (self.begin)(command);
                let patience =
                    if done < kills { Duration::from_millis(chance.below(1_500)) } else { PATIENCE };
                if wait_for_exit(&mut child, patience).is_some() {
                    continue;
                }
                let victim = usize::try_from(chance.below(3)).unwrap();
                victims[victim] += 1;
                done += 1;
                match victim {
                    0 => child.kill().unwrap(),
                    1 => (self.crash_source)(),
                    _ => (self.crash_target)(),
                }
                if wait_for_exit(&mut child, PATIENCE).is_none() {
                    child.kill().unwrap();
                    panic!("seed {seed}: leverd did not end");
                }
            }
            runs += 1;
            (self.is_whole)();
        }
        format!(
            "seed {seed}: {done} kills (leverd, source, target: {victims:?}) in {runs} runs, each whole at its end"
        )
    }

    /// What a person would do now; `None`: the run is complete.
    fn next_command(&self) -> Option<&'static str> {
        if (self.target)("SELECT to_regclass('leverd_migration.run') IS NOT NULL") == "f" {
            return Some("run");
        }
        let standing = "SELECT bool_or(is_open), bool_or(outcome = 'complete') FROM leverd_migration.run";
        let standing = (self.target)(standing);
        if standing.starts_with('t') {
            Some("resume")
        } else if standing.ends_with('t') {
            None
        } else {
            Some("run")
        }
    }
}

/// Small, seeded, and the same everywhere.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Some that is the target's own, and some that both have.
const SEED: &str = "CREATE TABLE by_id (id int PRIMARY KEY, v text);
    INSERT INTO by_id SELECT g, 'new ' || g FROM generate_series(1, 20000) AS g;
    CREATE TABLE by_two (a text, b int, v text, PRIMARY KEY (a, b));
    INSERT INTO by_two SELECT 'k' || (g % 50), g, 'new ' || g FROM generate_series(1, 12000) AS g;
    ANALYZE";
const PLACES: &str = "DROP TABLE IF EXISTS by_id, by_two;
    CREATE TABLE by_id (id int PRIMARY KEY, v text); CREATE TABLE by_two (a text, b int, v text, PRIMARY KEY (a, b));
    INSERT INTO by_id SELECT g, 'old ' || g FROM generate_series(100001, 100500) AS g";

fn keeps_what_was_there(mode: &str, shared: &str) {
    let pair = Pair::start(SEED);
    let [source, target] = pair.servers();
    let migration = format!("{{target_mode: {mode}, chunk_size: 1000, workers: 2, parallel_readers: 2}}");
    let is_whole = || {
        let of_source = "SELECT count(*), sum(hashtextextended(t::text, 0)::numeric) FROM";
        let by_id = format!("{of_source} by_id AS t WHERE id <= 100000");
        assert_eq!(pair.target(&by_id), pair.source(&by_id), "{mode}");
        let by_two = format!("{of_source} by_two AS t");
        assert_eq!(pair.target(&by_two), pair.source(&by_two), "{mode}");
        let kept = "SELECT count(*), count(*) FILTER (WHERE v = 'old ' || id) FROM by_id WHERE id > 100000";
        assert_eq!(pair.target(kept), "500|500", "{mode}");
        assert_eq!(pair.target("SELECT count(*) FROM leverd_migration.reject"), "0", "{mode}");
        assert_eq!(pair.target("SELECT sum(row_count) FROM leverd_migration.chunk"), "32000", "{mode}");
    };
    let scene = Scene {
        begin: &|command| pair.begin(&[command], &migration),
        crash_source: &|| crash(source),
        crash_target: &|| crash(target),
        target: &|sql| pair.target(sql),
        fresh: &|| {
            pair.target(&format!("{PLACES}; {shared}"));
        },
        is_whole: &is_whole,
    };
    eprintln!("{mode}: {}", scene.survives(4));
}

#[test]
fn what_is_added_is_added_once() {
    keeps_what_was_there("append", "ANALYZE");
}

#[test]
fn what_is_replaced_is_replaced_whatever_is_killed() {
    let shared = "INSERT INTO by_id SELECT g, 'old ' || g FROM generate_series(1, 20000, 7) AS g; \
         INSERT INTO by_two SELECT 'k' || (g % 50), g, 'old ' || g FROM generate_series(1, 12000, 5) AS g";
    keeps_what_was_there("upsert", shared);
}
