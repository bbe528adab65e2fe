//! The sandbox's Postgres: `initdb`, start, reload, restart, stop, and telling a crash from an orderly stop.
//!
//! The superuser is `leverd`, trusted on 127.0.0.1 alone: whoever has an account on this machine can use it. That
//! is right for a sandbox with made-up data, and for nothing else.

use super::error::SandboxError;
use super::files;
use super::place::{Owner, Place};
use super::process::{self, ProcessId};
use super::settings::set_in_conf;
use super::state::State;
use crate::postgres::{Connection, PostgresError, connect};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PART: &str = "postgres";

/// The folder of Postgres' programs: the asked one, else the newest of the usual places, else the PATH.
pub(super) fn find_bin(asked: Option<&Path>) -> Result<PathBuf, SandboxError> {
    let has_all =
        |bin: &Path| ["initdb", "pg_ctl", "postgres"].iter().all(|program| bin.join(program).is_file());
    let missing = |looked_in: String| SandboxError::MissingProgram {
        program: "Postgres' server (initdb, pg_ctl)",
        looked_in,
    };
    if let Some(bin) = asked {
        let bin = std::fs::canonicalize(bin).unwrap_or_else(|_| bin.to_owned());
        return if has_all(&bin) { Ok(bin) } else { Err(missing(bin.display().to_string())) };
    }
    let mut usual = Vec::new();
    for (folder, prefix) in
        [("/usr/lib/postgresql", ""), ("/opt/homebrew/opt", "postgresql@"), ("/usr/local/opt", "postgresql@")]
    {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let version = name.to_str().and_then(|name| name.strip_prefix(prefix)?.parse::<u32>().ok());
            usual.extend(version.map(|version| (version, entry.path().join("bin"))));
        }
    }
    usual.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path)
        .filter_map(|folder| Some(std::fs::canonicalize(folder.join("initdb")).ok()?.parent()?.to_owned()));
    let mut candidates = usual.into_iter().rev().map(|(_, bin)| bin).chain(on_path);
    candidates
        .find(|bin| has_all(bin))
        .ok_or_else(|| missing("/usr/lib/postgresql, Homebrew's folders, and the PATH".to_owned()))
}

/// A new data folder.
pub(super) fn initdb(place: &Place, bin: &Path, owner: Option<&Owner>) -> Result<(), SandboxError> {
    let mut command = place.command(&bin.join("initdb"), PART, owner)?;
    command.arg("-D").arg(place.data());
    // The data is made up, and a sandbox does not outlive a power cut: what follows runs with fsync on.
    command.args(["-U", "leverd", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]);
    run(&mut command, "creating the data folder (initdb)", place)
}

/// Puts the files of a data folder that was kept back to what `initdb` wrote: whatever was changed by then, by a
/// scenario or by leverd, is not of this sandbox.
pub(super) fn forget_changes(place: &Place, owner: Option<&Owner>) -> Result<(), SandboxError> {
    let (conf, pristine) = (place.postgresql_conf(), place.pristine_conf());
    if !pristine.is_file() {
        return files::write(&pristine, &files::read(&conf)?, owner);
    }
    files::write(&conf, &files::read(&pristine)?, owner)?;
    files::write(&place.auto_conf(), "", owner)
}

/// Sets values in `postgresql.conf`, the sandbox's own included.
pub(super) fn configure(
    place: &Place,
    port: u16,
    settings: &BTreeMap<String, String>,
    owner: Option<&Owner>,
) -> Result<(), SandboxError> {
    let own = [
        ("listen_addresses", "127.0.0.1".to_owned()),
        ("port", port.to_string()),
        // A socket's path may not be longer than some 100 bytes; a project's folder may.
        ("unix_socket_directories", String::new()),
        ("cluster_name", "leverd-sandbox".to_owned()),
    ];
    let mut all: BTreeMap<String, String> =
        own.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    all.extend(settings.clone());
    let conf = place.postgresql_conf();
    let text = set_in_conf(&files::read(&conf)?, &all);
    files::write(&conf, &text, owner)
}

/// `pg_ctl ACTION`, waiting for it to be done. The server's command line is that of `state`.
pub(super) fn pg_ctl(
    place: &Place,
    state: &State,
    action: &str,
    owner: Option<&Owner>,
) -> Result<(), SandboxError> {
    let mut command = place.command(&state.postgres_bin.join("pg_ctl"), PART, owner)?;
    command.arg(action).arg("-D").arg(place.data());
    match action {
        "start" => {
            command.args(["-w", "-t", "60", "-l"]).arg(place.log(PART));
        }
        "restart" => {
            command.args(["-w", "-t", "60", "-m", "fast", "-l"]).arg(place.log(PART));
        }
        _ => {}
    }
    if !state.command_line.is_empty() {
        // `pg_ctl` gives them to a shell; a scenario's values hold no quote.
        let options = state.command_line.iter().map(|(name, value)| format!("-c '{name}={value}'"));
        command.arg("-o").arg(options.collect::<Vec<_>>().join(" "));
    }
    run(&mut command, &format!("pg_ctl {action}"), place)
}

fn run(command: &mut std::process::Command, doing: &str, place: &Place) -> Result<(), SandboxError> {
    let program = PathBuf::from(command.get_program());
    let status = command.status().map_err(|source| SandboxError::Start { program, source })?;
    if status.success() {
        return Ok(());
    }
    let log = place.log(PART);
    let tail = files::tail(&log, 12);
    Err(SandboxError::Failed { doing: doing.to_owned(), status: status.to_string(), log, tail })
}

/// What the data folder says of its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Server {
    /// It runs.
    Runs(ProcessId),
    /// It left its pid file behind: it was killed, or it crashed.
    Crashed,
    /// No pid file: somebody stopped it, or a start failed. `pg_ctl restart` passes through here.
    Stopped,
}

/// Reads `postmaster.pid`.
pub(super) fn server(place: &Place) -> Server {
    let Ok(text) = std::fs::read_to_string(place.data().join("postmaster.pid")) else {
        return Server::Stopped;
    };
    let process = text.lines().next().and_then(|line| line.trim().parse().ok()).and_then(ProcessId::of);
    match process {
        Some(process) if is_postmaster(&process, place) => Server::Runs(process),
        _ => Server::Crashed,
    }
}

/// A stale pid file's id may belong to somebody else by now.
fn is_postmaster(process: &ProcessId, place: &Place) -> bool {
    #[cfg(target_os = "linux")]
    return std::fs::read_link(format!("/proc/{}/cwd", process.pid)).is_ok_and(|cwd| cwd == place.data());
    #[cfg(not(target_os = "linux"))]
    {
        let output = std::process::Command::new("ps")
            .args(["-o", "command=", "-p", &process.pid.to_string()])
            .output();
        let data = place.data();
        output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(&*data.to_string_lossy()))
    }
}

/// Stops the server where it runs: fast, then at once, then hard.
pub(super) fn stop(place: &Place) -> Result<(), SandboxError> {
    let Server::Runs(postmaster) = server(place) else { return Ok(()) };
    let just = std::slice::from_ref(&postmaster);
    postmaster.signal(Signal::INT);
    if process::wait_gone(just, Duration::from_secs(15)) {
        return Ok(());
    }
    process::end(just, Signal::QUIT, Duration::from_secs(5))
}

/// Connects to a database of the sandbox; statements may take as long as `timeout`.
pub(super) async fn open(
    state: &State,
    database: &str,
    timeout: Duration,
) -> Result<Connection, SandboxError> {
    open_as("leverd", state, database, timeout).await
}

/// The same as another role.
pub(super) async fn open_as(
    role: &str,
    state: &State,
    database: &str,
    timeout: Duration,
) -> Result<Connection, SandboxError> {
    connect(&state.dsn_of(role, database), timeout)
        .await
        .map_err(|source| SandboxError::Postgres { doing: "connecting to the sandbox", source })
}

/// Runs statements.
pub(super) async fn execute(
    connection: &Connection,
    doing: &'static str,
    sql: &str,
) -> Result<(), SandboxError> {
    connection
        .client()
        .batch_execute(sql)
        .await
        .map_err(|error| SandboxError::Postgres { doing, source: PostgresError::statement(doing, &error) })
}

/// Makes what stands in the files and on the command line effective: a reload, and a restart where a setting needs
/// one. Postgres' own words decide, not a list.
pub(super) async fn make_effective(
    place: &Place,
    state: &State,
    owner: Option<&Owner>,
) -> Result<(), SandboxError> {
    const CHECK: &str = "SELECT f.name, f.error, coalesce(s.pending_restart, false) \
        FROM pg_file_settings f LEFT JOIN pg_settings s USING (name) WHERE f.error IS NOT NULL";
    const PENDING: &str = "SELECT count(*) FROM pg_settings WHERE pending_restart";
    let connection = open(state, "capsim", Duration::from_secs(10)).await?;
    execute(&connection, "reloading", "SELECT pg_reload_conf()").await?;
    // The postmaster takes the signal a moment after the answer.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let failed = |error: tokio_postgres::Error| SandboxError::Postgres {
        doing: "checking the settings",
        source: PostgresError::statement("reading pg_file_settings", &error),
    };
    let errors = connection.client().query(CHECK, &[]).await.map_err(failed)?;
    if let Some(row) = errors.iter().find(|row| !row.get::<_, bool>(2)) {
        let name = row.get::<_, Option<String>>(0).unwrap_or_else(|| "postgresql.conf".to_owned());
        return Err(SandboxError::Setting { name, why: row.get(1) });
    }
    let pending: i64 = connection.client().query_one(PENDING, &[]).await.map_err(failed)?.get(0);
    drop(connection);
    if pending > 0 || !state.command_line.is_empty() {
        pg_ctl(place, state, "restart", owner)?;
    }
    Ok(())
}
