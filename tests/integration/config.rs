//! The shipped configuration against a real server, and `leverd check` as people run it.

use crate::support::postgres::{PrivatePostgres, version_bin};
use leverd::config;
use leverd::model::{Context, Lever, PgValue, Place, Setting, SettingType, Sourced};
use leverd::postgres::connect;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

/// A project folder with the shipped levers.
fn project(leverd_yaml: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("config")).unwrap();
    std::fs::copy(shipped("levers.yaml"), folder.path().join("config/levers.yaml")).unwrap();
    write(&folder.path().join("config/leverd.yaml"), leverd_yaml);
    folder
}

fn shipped(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(file)
}

#[expect(clippy::disallowed_methods, reason = "a test's own file")]
fn write(file: &Path, text: &str) {
    std::fs::write(file, text).unwrap();
}

fn check(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_leverd"))
        .arg("check")
        .args(arguments)
        .current_dir(folder)
        .env_remove("LEVERD_CONFIG")
        .output()
        .unwrap()
}

/// Every value of every shipped lever is one that the server takes, in its range and unit, and the defaults are
/// the server's own.
#[tokio::test]
async fn the_shipped_levers_are_valid_on_a_real_server() {
    shipped_levers_are_valid(&PrivatePostgres::start(""), true).await;
}

/// Postgres changed some defaults over the years; the values that leverd would set are right on all of them.
#[tokio::test]
async fn the_shipped_levers_are_valid_on_every_version() {
    for version in [12, 14, 17, 18] {
        shipped_levers_are_valid(&PrivatePostgres::start_from(&version_bin(version), ""), false).await;
    }
}

/// The server itself is asked, by `ALTER SYSTEM`, beside leverd's reading of `pg_settings`.
async fn shipped_levers_are_valid(server: &PrivatePostgres, with_defaults: bool) {
    let folder = project(&format!("target: {{dsn: '{}'}}\n", server.dsn()));
    let levers = config::load(&folder.path().join("config/leverd.yaml"), &|_| None).unwrap().levers;
    let connection = connect(&server.dsn(), Duration::from_secs(10)).await.unwrap();
    let client = connection.client();
    let of_server: Vec<&Lever> = levers.iter().filter(|lever| lever.place == Place::ServerConf).collect();
    assert!(of_server.len() >= 25, "{}", of_server.len());
    for lever in of_server {
        let row = client
            .query_opt(
                "SELECT setting, unit, vartype, context, min_val, max_val, enumvals, boot_val \
                 FROM pg_settings WHERE name = $1",
                &[&lever.parameter],
            )
            .await
            .unwrap()
            .unwrap_or_else(|| panic!("{} is no parameter", lever.parameter));
        let setting = setting(&lever.parameter, &row);
        let mut numbers = Vec::new();
        for value in &lever.values {
            let parsed =
                PgValue::parse(value, &setting).unwrap_or_else(|error| panic!("{}: {error}", lever.name));
            numbers.extend(parsed.number());
            let sql = format!("ALTER SYSTEM SET {} = '{value}'", lever.parameter);
            client.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        }
        let grows = numbers.is_sorted_by(|a, b| a < b);
        let falls = numbers.is_sorted_by(|a, b| a > b);
        assert!(grows || falls, "{}: {:?} go from mild to strong", lever.name, lever.values);
        let default = PgValue::parse(lever.default_value.as_ref().unwrap(), &setting).unwrap();
        if with_defaults {
            assert_eq!(default, PgValue::parse(&setting.boot_value, &setting).unwrap(), "{}", lever.name);
        }
        client.batch_execute(&format!("ALTER SYSTEM RESET {}", lever.parameter)).await.unwrap();
    }
}

fn setting(name: &str, row: &tokio_postgres::Row) -> Setting {
    let number = |column: &str| row.get::<_, Option<String>>(column).and_then(|text| text.parse().ok());
    let word = |column: &str| format!("\"{}\"", row.get::<_, String>(column));
    Setting {
        name: name.to_owned(),
        value: row.get("setting"),
        unit: row.get("unit"),
        vartype: serde_json::from_str::<SettingType>(&word("vartype")).unwrap(),
        context: serde_json::from_str::<Context>(&word("context")).unwrap(),
        min: number("min_val"),
        max: number("max_val"),
        enumvals: row.get::<_, Option<Vec<String>>>("enumvals").unwrap_or_default(),
        sourced: Sourced::default(),
        reset_value: row.get("boot_val"),
        boot_value: row.get("boot_val"),
        pending_restart: false,
    }
}

#[test]
fn check_prints_tables_of_what_is_configured() {
    let folder = project("target: {dsn: 'host=127.0.0.1', password: '${env:HOME}'}\n");
    let output = check(folder.path(), &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for part in [
        "Files",
        "Target",
        "Signals",
        "Levers",
        "≤ 1.5× baseline",
        "checkpoint_timeout",
        "not available: no container is named",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    let output = check(folder.path(), &["--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["ok"], true);
    assert_eq!(json["sections"][0]["title"], "Files");
}

#[test]
fn check_lists_every_error_and_exits_64() {
    let folder = project("target: {dsn: 'host=127.0.0.1'}\ncycle: {tick: 5}\npolicy: {low: ask}\n");
    let output = check(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(64));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("config/leverd.yaml:2: cycle.tick: found \"5\"; allowed: a duration"), "{text}");
    assert!(text.contains("config/leverd.yaml:3: policy.low:"), "{text}");

    let output = check(folder.path(), &["--json"]);
    assert_eq!(output.status.code(), Some(64));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["ok"], &json["errors"][0]["line"]), (&false.into(), &2.into()));

    let empty = tempfile::tempdir().unwrap();
    let output = check(empty.path(), &[]);
    assert_eq!(output.status.code(), Some(64));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("leverd sandbox up") && text.contains("`target:`"), "{text}");
}

#[test]
fn a_bad_baseline_fails_the_check() {
    let folder = project("target: {dsn: 'host=127.0.0.1'}\n");
    write(&folder.path().join("baseline.yaml"), "metrics:\n  wal_rate: {query: x, value_bytes_per_sec: 1}\n");
    let output = check(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(64));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("error: baseline.yaml:2: metrics.wal_rate: this key is not known"), "{text}");
}
