//! What no plan may break, whoever proposed it.
//!
//! A value that PostgreSQL accepts can still keep it from starting (`ALTER SYSTEM SET shared_buffers =
//! '900GB'` is taken), starve its host, or never take effect because something else masks it.

use crate::model::{ContainerState, Context, LimitKind, PgValue, Place, PoolerState, ServerState, Setting};

/// Settings that trade away durability or need more than a value to change: never pulled.
pub const NEVER: [&str; 4] = ["fsync", "full_page_writes", "synchronous_commit", "wal_level"];

/// Safe ranges on top of the server's own, as people write them. In range is not the same as safe:
/// `random_page_cost` allows 1.8e308. The first two are the user's.
const SAFE: [(&str, &str, &str); 14] = [
    ("shared_buffers", "128MB", "32GB"),
    ("max_connections", "10", "1000"),
    ("work_mem", "1MB", "2GB"),
    ("maintenance_work_mem", "16MB", "8GB"),
    ("max_wal_size", "64MB", "256GB"),
    ("min_wal_size", "32MB", "128GB"),
    ("wal_buffers", "64kB", "1GB"),
    ("checkpoint_timeout", "30s", "1h"),
    ("checkpoint_completion_target", "0.5", "0.95"),
    ("random_page_cost", "1.0", "10"),
    ("commit_delay", "0", "10000"),
    ("autovacuum_vacuum_scale_factor", "0.001", "0.5"),
    ("autovacuum_vacuum_cost_delay", "0", "100ms"),
    ("effective_io_concurrency", "0", "1000"),
];

/// A change as the guardrails see it.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// The parameter.
    pub parameter: &'a str,
    /// The new value as people write it.
    pub to: &'a str,
    /// Where it would be written.
    pub place: &'a Place,
}

/// Checks a change of a Postgres parameter against the server as it is now. `Err` is the refusal, for people.
pub fn check(change: Change<'_>, server: &ServerState) -> Result<(), String> {
    let name = change.parameter;
    if NEVER.contains(&name) {
        return Err(format!("{name} guards your data and is never changed"));
    }
    let setting = server.settings.get(name).ok_or_else(|| unknown(name, server))?;
    let value = PgValue::parse(change.to, setting).map_err(|error| error.to_string())?;
    takes_effect(setting)?;
    is_safe(&value, setting)?;
    is_not_masked(setting, change.place, server)?;
    nothing_else_would_change(setting, server)?;
    fits_memory(name, &value, server)?;
    fits_disk(name, &value, setting, server)
}

/// The same for a value that stood there before leverd changed it: how far it may go was its owner's to say.
pub fn check_old(change: Change<'_>, server: &ServerState) -> Result<(), String> {
    let name = change.parameter;
    let setting = server.settings.get(name).ok_or_else(|| unknown(name, server))?;
    let value = PgValue::parse(change.to, setting).map_err(|error| error.to_string())?;
    is_not_masked(setting, change.place, server)?;
    nothing_else_would_change(setting, server)?;
    fits_memory(name, &value, server)
}

/// Of the engine's host, the most that one container may be given: the rest is the system's and its neighbours'.
const MOST_OF_HOST: f64 = 0.9;

/// Checks a container's limit, in bytes or cores, against what Postgres needs and what the host has.
pub fn check_limit(
    kind: LimitKind,
    to: f64,
    container: &ContainerState,
    server: &ServerState,
) -> Result<(), String> {
    if container.limits.get(kind).is_none() {
        let what = if kind == LimitKind::Memory { "memory" } else { "CPU" };
        return Err(format!(
            "the container {} has no {what} limit: there is nothing to move",
            container.name
        ));
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let (host, used) = match kind {
        LimitKind::Memory => (container.host_memory as f64 * MOST_OF_HOST, container.memory_used),
        LimitKind::Cpus => (container.host_cpus as f64, None),
    };
    if host > 0.0 && to > host {
        return Err(match kind {
            LimitKind::Memory => format!(
                "{} is more than {:.0} % of the {} that the engine's host has",
                mib(to),
                100.0 * MOST_OF_HOST,
                mib(host / MOST_OF_HOST)
            ),
            LimitKind::Cpus => {
                format!("the engine's host has {host} cores, and {} are asked for", kind.show(to))
            }
        });
    }
    if kind == LimitKind::Cpus {
        return Ok(());
    }
    let need = needed_bytes(server, None);
    if to < need {
        return Err(format!("{} is less than Postgres may need: {NEED} are {}", mib(to), mib(need)));
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    match used.map(|used| used as f64) {
        Some(used) if used > to * MOST_OF_HOST => {
            Err(format!("the container uses {} now, of {} that it would have", mib(used), mib(to)))
        }
        _ => Ok(()),
    }
}

/// Checks a change of PgBouncer's settings.
pub fn check_pooler(
    parameter: &str,
    to: &str,
    pooler: &PoolerState,
    server: &ServerState,
) -> Result<(), String> {
    if !pooler.config.contains_key(parameter) {
        return Err(format!("this PgBouncer has no setting {parameter}"));
    }
    if let Some(who) = pooler.own_settings.get(parameter) {
        return Err(format!("{who}, which wins over {parameter}"));
    }
    let size = to.trim().parse::<f64>().ok();
    let connections =
        server.settings.get("max_connections").and_then(|setting| setting.value.parse::<f64>().ok());
    match (parameter, size, connections) {
        // Each pool may take as many; at least the one in use must fit beside those that go past the pooler.
        ("default_pool_size" | "max_db_connections", Some(size), Some(connections))
            if size > 0.8 * connections =>
        {
            Err(format!(
                "a pool of {size} is more than 80 % of the {connections} connections that Postgres takes"
            ))
        }
        _ => Ok(()),
    }
}

fn mib(bytes: f64) -> String {
    format!("{:.0} MB", bytes / 1_048_576.0)
}

fn unknown(name: &str, server: &ServerState) -> String {
    let version = server.version_num / 10_000;
    format!("PostgreSQL {version} has no parameter {name}")
}

fn takes_effect(setting: &Setting) -> Result<(), String> {
    match setting.context {
        Context::Internal => Err(format!("{} was fixed when the cluster was made", setting.name)),
        Context::Backend | Context::SuperuserBackend => {
            Err(format!("{} takes effect for new connections only, so no trial could prove it", setting.name))
        }
        Context::Postmaster | Context::Sighup | Context::Superuser | Context::User => Ok(()),
    }
}

fn is_safe(value: &PgValue, setting: &Setting) -> Result<(), String> {
    let Some((_, low, high)) = SAFE.iter().find(|(name, ..)| *name == setting.name) else { return Ok(()) };
    let bound = |raw: &str| PgValue::parse(raw, setting).ok().and_then(|value| value.number());
    let Some(number) = value.number() else { return Ok(()) };
    let too_low = bound(low).is_some_and(|low| number < low);
    // The upper end may lie past the server's own maximum, which was checked already.
    let too_high = bound(high).is_some_and(|high| number > high);
    if too_low || too_high {
        return Err(format!(
            "{} = {} is outside of the safe range {low} to {high}",
            setting.name,
            value.show(setting)
        ));
    }
    Ok(())
}

fn is_not_masked(setting: &Setting, place: &Place, server: &ServerState) -> Result<(), String> {
    let name = &setting.name;
    let mask = match setting.sourced.source.as_str() {
        "command line" => Some("the server's command line".to_owned()),
        "environment variable" => Some("an environment variable of the server".to_owned()),
        "override" => Some("the server itself".to_owned()),
        "session" | "client" => None,
        _ => match (place, &setting.sourced.file) {
            (Place::PostgresqlConf(_), Some(file)) if file.ends_with("postgresql.auto.conf") => {
                Some(format!("ALTER SYSTEM; `ALTER SYSTEM RESET {name}` gives the file its say back"))
            }
            _ => None,
        },
    };
    if let Some(mask) = mask {
        return Err(format!("{name} is set by {mask}: what the file says has no effect"));
    }
    match server.role_or_database_settings.get(name) {
        Some(who) => Err(format!("{who}, which wins over the file")),
        None => Ok(()),
    }
}

/// A restart or a reload must bring this change alone: else the trial would judge something else too.
fn nothing_else_would_change(setting: &Setting, server: &ServerState) -> Result<(), String> {
    if let Some(error) = server.file_errors.first() {
        return Err(format!("the configuration files have an error, mend it first: {error}"));
    }
    let waiting: Vec<&str> = server
        .settings
        .values()
        .filter(|other| other.pending_restart && (setting.needs_restart() || other.name == setting.name))
        .map(|other| other.name.as_str())
        .collect();
    if waiting.is_empty() {
        return Ok(());
    }
    Err(format!("{} already waits for a restart, which would bring that along", waiting.join(", ")))
}

/// What [`needed_bytes`] adds up, for people.
const NEED: &str = "shared_buffers + wal_buffers + work_mem × max_connections + maintenance_work_mem × \
                    (autovacuum_max_workers + 1)";

/// What Postgres may come to need, in bytes, as it is or with one parameter changed.
fn needed_bytes(server: &ServerState, changed: Option<(&str, &PgValue)>) -> f64 {
    let number = |wanted: &str, in_bytes: bool| -> f64 {
        let Some(setting) = server.settings.get(wanted) else { return 0.0 };
        let present = PgValue::parse(&setting.value, setting).ok();
        let chosen = changed.filter(|(name, _)| *name == wanted).map(|(_, value)| value.clone()).or(present);
        chosen
            .and_then(|chosen| if in_bytes { chosen.bytes(setting) } else { chosen.number() })
            .unwrap_or(0.0)
            .max(0.0)
    };
    number("shared_buffers", true)
        + number("wal_buffers", true)
        + number("work_mem", true) * number("max_connections", false)
        + number("maintenance_work_mem", true) * (number("autovacuum_max_workers", false) + 1.0)
}

fn fits_memory(name: &str, value: &PgValue, server: &ServerState) -> Result<(), String> {
    const MEMORY: [&str; 7] = [
        "shared_buffers",
        "wal_buffers",
        "work_mem",
        "max_connections",
        "maintenance_work_mem",
        "autovacuum_work_mem",
        "autovacuum_max_workers",
    ];
    let Some(budget) = server.memory_budget_bytes else { return Ok(()) };
    if !MEMORY.contains(&name) {
        return Ok(());
    }
    let (before, after) = (needed_bytes(server, None), needed_bytes(server, Some((name, value))));
    #[expect(clippy::cast_precision_loss, reason = "memory sizes are far below 2^53 bytes")]
    let budget = budget as f64;
    if after <= budget || after <= before {
        return Ok(());
    }
    Err(format!(
        "it does not fit the memory: {NEED} would be {} (now {}), and there are {}",
        mib(after),
        mib(before),
        mib(budget)
    ))
}

/// WAL may grow to max_wal_size: at most half of what is free may be given to it.
fn fits_disk(name: &str, value: &PgValue, setting: &Setting, server: &ServerState) -> Result<(), String> {
    let Some(&free) = server.facts.get("data_disk_free_bytes") else { return Ok(()) };
    if !matches!(name, "max_wal_size" | "min_wal_size" | "wal_keep_size") {
        return Ok(());
    }
    match value.bytes(setting) {
        Some(bytes) if bytes > free / 2.0 => Err(format!(
            "{name} = {} is more than half of the {:.0} MB that are free under the data folder",
            value.show(setting),
            free / 1_048_576.0
        )),
        _ => Ok(()),
    }
}
