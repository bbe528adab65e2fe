//! Applying what a scenario's `broken:` says to a healthy, running sandbox.

use super::error::SandboxError;
use super::files;
use super::place::{Owner, Place};
use super::postgres::{configure, execute, make_effective, open};
use super::scenario::Broken;
use super::seed;
use super::settings::{set_in_env, values};
use super::state::{self, LOAD_ROLE, State};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(120);

/// Applies all of it, and makes it effective. The neighbour is the supervisor's to start.
pub(super) async fn apply(
    place: &Place,
    state: &mut State,
    broken: &Broken,
    owner: Option<&Owner>,
) -> Result<(), SandboxError> {
    let env = files::read(&place.env())?;
    files::write(&place.env(), &set_in_env(&env, &values(&broken.env)), None)?;
    configure(place, state.ports.postgres, &values(&broken.postgresql), owner)?;
    in_the_database(place, state, broken).await?;
    // Before the restart: a supervisor that starts the server after a crash reads it there.
    state.command_line = values(&broken.command_line);
    state::store(&place.state(), state)?;
    make_effective(place, state, owner).await
}

async fn in_the_database(place: &Place, state: &State, broken: &Broken) -> Result<(), SandboxError> {
    let (indexes, system) = (broken.indexes.get(), values(&broken.alter_system));
    let role = values(&broken.role);
    if indexes > 0 || !role.is_empty() {
        // `down --keep-data` must not hand them to the next sandbox.
        seed::forget(place)?;
    }
    let connection = open(state, "capsim", TIMEOUT).await?;
    for (name, value) in system {
        let sql = format!("ALTER SYSTEM SET {name} = '{value}'");
        execute(&connection, "applying the scenario's alter_system", &sql).await?;
    }
    for number in 1..=indexes {
        // With the column that is updated in it, no update is spared its index entries.
        let sql = format!("CREATE INDEX capsim_accounts_more_{number} ON capsim_accounts (id, balance)");
        execute(&connection, "creating the scenario's indexes", &sql).await?;
    }
    for (name, value) in &role {
        let sql = format!("ALTER ROLE {LOAD_ROLE} SET {name} = '{value}'");
        execute(&connection, "applying the scenario's role settings", &sql).await?;
    }
    if !role.is_empty() {
        // They are taken when a session begins.
        let sql =
            format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{LOAD_ROLE}'");
        execute(&connection, "renewing the load's sessions", &sql).await?;
    }
    Ok(())
}
