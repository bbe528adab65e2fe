//! How many connections a run may have to each side, and who shares them. Pure.
//!
//! In: the configuration, and how many builders of indexes the machine keeps busy. Out: how many readers, writers,
//! builders and comparing sessions there may be. Always holds: together with the run's own sessions they are no more
//! than `max_source_connections` and `max_target_connections`, and there is at least one of each.

use crate::config::{DatabaseEngine, MigrationConfig};
use crate::migrate::adjust::Writers;

/// Sessions that read rows. One more is the catalog's, which holds a PostgreSQL's snapshot; and a MySQL's sessions begin
/// together under another one's lock.
pub(super) fn readers(config: &MigrationConfig) -> u32 {
    let own = match config.source.engine {
        DatabaseEngine::Postgres => 1,
        DatabaseEngine::MySql | DatabaseEngine::MariaDb => 2,
    };
    config.settings.max_source_connections.saturating_sub(own).max(1)
}

/// What the run's own sessions leave of the target's.
fn room(config: &MigrationConfig) -> u32 {
    config.settings.max_target_connections.saturating_sub(config.control_connections())
}

/// Builders beside the load: `jobs`, as far as the writers that the file asks for leave room.
pub(super) fn builders(config: &MigrationConfig, jobs: usize) -> usize {
    let room = room(config);
    let writers = config.settings.write_ahead_writers.min(room.saturating_sub(1));
    jobs.clamp(1, room.saturating_sub(writers).max(1) as usize)
}

/// Writers at most, beside the builders.
pub(super) fn writers(config: &MigrationConfig, jobs: usize) -> u32 {
    let builders = u32::try_from(builders(config, jobs)).unwrap_or(u32::MAX);
    room(config).saturating_sub(builders).clamp(Writers::LEAST, Writers::MOST)
}

/// Sessions of the target that work once all writers are gone: `jobs`, as far as there is room.
pub(super) fn afterwards(config: &MigrationConfig, jobs: usize) -> usize {
    jobs.clamp(1, room(config).max(1) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Machine, load_migration};
    use proptest::prelude::*;

    #[expect(clippy::disallowed_methods, reason = "a test's own file")]
    fn config(engine: &str, source: u32, target: u32, writers: u32) -> MigrationConfig {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("migration.yaml");
        let text = format!(
            "source: {{type: {engine}, host: old.example, database: shop, user: ann}}\n\
             target: {{host: new.example, database: shop, user: leverd}}\n\
             migration: {{max_source_connections: {source}, max_target_connections: {target}, write_ahead_writers: \
             {writers}}}\n"
        );
        std::fs::write(&file, text).unwrap();
        let machine = Machine { cores: 8, memory_bytes: 16 << 30 };
        load_migration(&file, &|_| None, machine).unwrap_or_else(|errors| panic!("{errors}"))
    }

    #[test]
    fn builders_have_what_the_writers_leave() {
        let of = |target: u32, wanted: u32| {
            let config = config("postgres", 16, target, wanted);
            (writers(&config, 8), builders(&config, 8), afterwards(&config, 8))
        };
        assert_eq!(of(16, 2), (6, 8, 8));
        assert_eq!(of(16, 10), (10, 4, 8));
        assert_eq!(of(4, 4), (1, 1, 2));
        assert_eq!(of(64, 4), (16, 8, 8));
    }

    #[test]
    fn a_mysqls_sessions_leave_room_for_who_locks() {
        assert_eq!(readers(&config("postgres", 2, 16, 2)), 1);
        assert_eq!(readers(&config("postgres", 16, 16, 2)), 15);
        assert_eq!(readers(&config("mysql", 2, 16, 2)), 1);
        assert_eq!(readers(&config("mariadb", 16, 16, 2)), 14);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn all_together_are_no_more_than_allowed(
            target in 4_u32..=80, wanted in 1_u32..=16, jobs in 0_usize..=64,
        ) {
            let config = config("postgres", 16, target, wanted);
            let (writers, builders) = (writers(&config, jobs), builders(&config, jobs));
            prop_assert!(writers >= 1 && builders >= 1);
            prop_assert!(writers as usize + builders + 2 <= target as usize);
            prop_assert!(afterwards(&config, jobs) + 2 <= target as usize);
        }
    }
}
