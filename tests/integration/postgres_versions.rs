//! The private servers that other subjects build on, of each major version that there is a build of.

use crate::support::postgres::{PrivatePostgres, version_bin, versions};
use leverd::postgres::connect;
use std::time::Duration;

/// What the shipped file says is not the default in each version; and two that the server works out at its start.
const DECLARED: &[&str] =
    &["checkpoint_completion_target", "log_checkpoints", "track_io_timing", "shared_buffers", "wal_buffers"];

/// Each starts, is what it says, and accepts `monitoring/postgresql.conf` as it is shipped.
#[tokio::test]
async fn each_version_takes_the_shipped_configuration() {
    // Where it listens stays the test's.
    let shipped: String = include_str!("../../monitoring/postgresql.conf")
        .lines()
        .filter(|line| !line.starts_with("port") && !line.starts_with("listen_addresses"))
        .map(|line| format!("{line}\n"))
        .collect();
    for &major in versions() {
        let server = PrivatePostgres::start_from(&version_bin(major), &shipped);
        let connection = connect(&server.dsn(), Duration::from_secs(5)).await.unwrap();
        let client = connection.client();

        let row = client.query_one("SHOW server_version_num", &[]).await.unwrap();
        let found: u32 = row.get::<_, String>(0).parse().unwrap();
        assert_eq!(found / 10_000, major, "scripts/postgres_versions.sh laid out another version");

        let wrong = "SELECT name || ': ' || error FROM pg_file_settings WHERE error IS NOT NULL";
        let errors = client.query(wrong, &[]).await.unwrap();
        assert!(errors.is_empty(), "PostgreSQL {major}: {}", errors[0].get::<_, String>(0));

        // The file says "PostgreSQL's own default unless a comment says otherwise".
        let names: Vec<&str> = shipped.lines().filter_map(|line| Some(line.split_once(" = ")?.0)).collect();
        assert!(names.contains(&"max_wal_size"), "{names:?}");
        let query = "SELECT name FROM pg_settings WHERE name = ANY($1) AND setting <> boot_val";
        let changed = client.query(query, &[&names]).await.unwrap();
        let changed: Vec<String> = changed.iter().map(|row| row.get(0)).collect();
        let undeclared: Vec<&String> =
            changed.iter().filter(|name| !DECLARED.contains(&name.as_str())).collect();
        assert!(undeclared.is_empty(), "PostgreSQL {major}: not the default: {undeclared:?}");
    }
}
