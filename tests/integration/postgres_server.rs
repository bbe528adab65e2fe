//! What the server says of itself, on real servers of each version, for roles with few rights, and on a standby.

use crate::support::postgres::{PrivatePostgres, version_bin};
use leverd::model::{Context, SettingType};
use leverd::postgres::server::{self, Server, UNKNOWN_SYSTEM_IDENTIFIER};
use leverd::postgres::{Connection, connect, settings};
use std::io::Write;
use std::time::Duration;

async fn open(dsn: &str) -> Connection {
    connect(dsn, Duration::from_secs(20)).await.unwrap()
}

async fn asked(server: &PrivatePostgres, user: &str) -> Server {
    let dsn = server.dsn().replace("user=postgres", &format!("user={user}"));
    server::state(open(&dsn).await.client()).await.unwrap()
}

fn append(server: &PrivatePostgres, lines: &str) {
    let mut file = std::fs::OpenOptions::new().append(true).open(server.conf()).unwrap();
    file.write_all(lines.as_bytes()).unwrap();
}

/// The first eight bytes of the control file, in every version.
fn control_file_identifier(server: &PrivatePostgres) -> u64 {
    let file = std::fs::read(server.data().join("global/pg_control")).unwrap();
    u64::from_ne_bytes(file[..8].try_into().unwrap())
}

#[tokio::test]
async fn a_superuser_sees_everything() {
    let server = PrivatePostgres::start("work_mem = 8MB\n");
    let Server { state, address, denied } = asked(&server, "postgres").await;
    assert_eq!(denied, Vec::<String>::new());
    assert_eq!(address, Some("127.0.0.1".parse().unwrap()));
    assert_eq!(state.system_identifier, control_file_identifier(&server));
    assert_eq!(state.config_file.as_deref(), Some(server.conf().as_path()));
    assert_eq!(state.data_directory.as_deref(), Some(server.data().as_path()));
    assert!(!state.in_recovery);
    assert!(state.settings.len() > 300, "{} settings", state.settings.len());
    assert!(!state.settings.contains_key("primary_conninfo"));
    assert_eq!((state.file_errors.len(), state.role_or_database_settings.len()), (0, 0));

    let work_mem = &state.settings["work_mem"];
    assert_eq!((work_mem.value.as_str(), work_mem.unit.as_deref()), ("8192", Some("kB")));
    assert_eq!((work_mem.vartype, work_mem.context), (SettingType::Integer, Context::User));
    assert_eq!((work_mem.min, work_mem.max), (Some(64.0), Some(2_147_483_647.0)));
    assert_eq!(
        (work_mem.sourced.source.as_str(), work_mem.boot_value.as_str()),
        ("configuration file", "4096")
    );
    assert_eq!(work_mem.sourced.file.as_deref(), Some(server.conf().as_path()));
    assert!(work_mem.sourced.line.is_some_and(|line| line > 1));
    let buffers = &state.settings["shared_buffers"];
    assert!(buffers.needs_restart() && buffers.unit.as_deref() == Some("8kB") && !buffers.pending_restart);
    assert!(state.settings["wal_compression"].enumvals.contains(&"pglz".to_owned()));
}

#[tokio::test]
async fn the_limits_of_leverds_own_session_are_not_taken_for_the_servers() {
    let server = PrivatePostgres::start("statement_timeout = 90s\n");
    let connection = open(&format!("{} options='-c work_mem=3MB'", server.dsn())).await;
    let state = server::state(connection.client()).await.unwrap().state;
    let limit = &state.settings["statement_timeout"];
    assert_eq!((limit.value.as_str(), limit.reset_value.as_str()), ("90000", "90000"));
    assert_eq!(limit.sourced.file.as_deref(), Some(server.conf().as_path()));
    assert_eq!(state.settings["lock_timeout"].sourced.source, "default");
    assert_eq!(state.settings["work_mem"].value, "3072", "the DSN's own options are lost");
    let one = settings::read_one(connection.client(), "Statement_Timeout").await.unwrap();
    assert_eq!(one.as_ref(), Some(limit));
    let row = connection.client().query_one("SHOW statement_timeout", &[]).await.unwrap();
    assert_eq!(row.get::<_, &str>(0), "20s", "statements are bounded no more");
}

#[tokio::test]
async fn fewer_rights_see_less_and_say_so() {
    let server = PrivatePostgres::start("");
    let admin = open(&server.dsn()).await;
    let roles = "CREATE ROLE monitor LOGIN IN ROLE pg_monitor; CREATE ROLE plain LOGIN;
        REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC;
        GRANT EXECUTE ON FUNCTION pg_control_system() TO pg_monitor";
    admin.client().batch_execute(roles).await.unwrap();

    let monitor = asked(&server, "monitor").await;
    assert_eq!(monitor.state.system_identifier, control_file_identifier(&server));
    assert_eq!(monitor.state.config_file.as_deref(), Some(server.conf().as_path()));
    assert!(monitor.state.settings["port"].sourced.file.is_some());
    insta::assert_snapshot!(monitor.denied.join("\n"), @"the role may not read pg_file_settings, so errors in the configuration files are seen after a reload only: GRANT SELECT ON pg_file_settings and EXECUTE ON FUNCTION pg_show_all_file_settings() TO it");

    let plain = asked(&server, "plain").await;
    assert_eq!(plain.state.system_identifier, UNKNOWN_SYSTEM_IDENTIFIER);
    assert_eq!((plain.state.config_file, plain.state.data_directory), (None, None));
    assert_eq!(plain.state.settings["port"].sourced.file, None);
    insta::assert_snapshot!(plain.denied.join("\n"), @r#"
    the role may not execute pg_control_system(), so leverd cannot tell this server from another one: GRANT EXECUTE ON FUNCTION pg_control_system() TO it
    the role may not read pg_file_settings, so errors in the configuration files are seen after a reload only: GRANT SELECT ON pg_file_settings and EXECUTE ON FUNCTION pg_show_all_file_settings() TO it
    the role may not see where the configuration file is: GRANT pg_read_all_settings (or pg_monitor) TO it
    "#);
}

#[tokio::test]
async fn errors_in_the_file_are_told_and_a_pending_restart_is_none() {
    let server = PrivatePostgres::start("");
    append(&server, "shared_buffers = 64MB\nwork_mem = 54kB\nmax_connections = many\n");
    let last = std::fs::read_to_string(server.conf()).unwrap().lines().count();
    let folder = server.data().display().to_string();
    let errors = async || -> Vec<String> {
        let errors = asked(&server, "postgres").await.state.file_errors;
        errors.iter().map(|error| error.replace(&folder, "DATA")).collect()
    };
    assert_eq!(
        errors().await,
        [
            format!("DATA/postgresql.conf:{}: work_mem: setting could not be applied", last - 1),
            format!("DATA/postgresql.conf:{last}: max_connections: setting could not be applied"),
        ]
    );

    // After an unknown name Postgres looks no further.
    append(&server, "no_such_parameter = 1\n");
    let unknown = "no_such_parameter: unrecognized configuration parameter";
    assert_eq!(errors().await, [format!("DATA/postgresql.conf:{}: {unknown}", last + 1)]);
    append(&server, "work_mem 'unclosed\n");
    assert_eq!(errors().await, [format!("DATA/postgresql.conf:{}: syntax error", last + 2)]);
}

#[tokio::test]
async fn settings_of_roles_and_databases_are_told_without_the_applications_own() {
    let server = PrivatePostgres::start("");
    let admin = open(&server.dsn()).await;
    for statement in [
        "CREATE ROLE app",
        "ALTER ROLE app SET Work_Mem = '64MB'",
        "ALTER DATABASE postgres SET work_mem = '1MB'",
        "ALTER ROLE app IN DATABASE postgres SET jit = off",
        "ALTER ROLE ALL SET random_page_cost = 1.1",
        "ALTER DATABASE postgres SET app.jwt_secret = 'hunter2'",
    ] {
        admin.client().batch_execute(statement).await.unwrap();
    }
    let state = asked(&server, "postgres").await.state;
    insta::assert_debug_snapshot!(state.role_or_database_settings, @r#"
    {
        "jit": "role app in database postgres sets it to off (`ALTER ROLE app IN DATABASE postgres RESET jit` takes that back)",
        "random_page_cost": "every role sets it to 1.1 (`ALTER ROLE ALL RESET random_page_cost` takes that back)",
        "work_mem": "database postgres sets it to 1MB (`ALTER DATABASE postgres RESET work_mem` takes that back); role app sets it to 64MB (`ALTER ROLE app RESET work_mem` takes that back)",
    }
    "#);
}

#[tokio::test]
async fn a_standby_says_so() {
    let server = PrivatePostgres::start("");
    server.pg_ctl("stop");
    std::fs::OpenOptions::new().create(true).append(true).open(server.data().join("standby.signal")).unwrap();
    crate::support::postgres::give_to_unprivileged(&server.data().join("standby.signal"));
    server.pg_ctl("start");
    let state = asked(&server, "postgres").await.state;
    assert!(state.in_recovery);
    assert_eq!(state.system_identifier, control_file_identifier(&server));
}

#[tokio::test]
async fn a_server_that_went_away_is_an_error() {
    let server = PrivatePostgres::start("");
    let connection = open(&server.dsn()).await;
    server.pg_ctl("stop");
    let error = server::state(connection.client()).await.unwrap_err();
    assert!(error.to_string().starts_with("reading pg_settings: "), "{error}");
}

/// The same on another major version, for a role with `pg_monitor` alone.
async fn on_version(major: u32) {
    let server = PrivatePostgres::start_from(&version_bin(major), "");
    let admin = open(&server.dsn()).await;
    admin.client().batch_execute("CREATE ROLE monitor LOGIN IN ROLE pg_monitor").await.unwrap();
    for user in ["postgres", "monitor"] {
        let state = asked(&server, user).await.state;
        assert_eq!(state.version_num / 10_000, major, "{user}");
        assert_eq!(state.system_identifier, control_file_identifier(&server), "{user}");
        assert!(state.settings.len() > 280, "{user}: {} settings", state.settings.len());
        assert_eq!(state.config_file.as_deref(), Some(server.conf().as_path()), "{user}");
        assert!(state.settings["shared_buffers"].needs_restart(), "{user}");
    }
}

#[tokio::test]
async fn postgres_12() {
    on_version(12).await;
}

#[tokio::test]
async fn postgres_14() {
    on_version(14).await;
}

#[tokio::test]
async fn postgres_17() {
    on_version(17).await;
}

#[tokio::test]
async fn postgres_18() {
    on_version(18).await;
}
