//! The section `target:` of `leverd.yaml`: the managed Postgres, and how it is reached, changed and restarted.

use super::dsn;
use super::place::absolute;
use super::reader::{At, Fields};
use super::{
    ContainerConfig, EngineSocket, PgBouncerConfig, PostgresqlConf, Restart, RestartMethod, Secret, Target,
};
use crate::model::TargetName;
use std::path::{Path, PathBuf};
use std::time::Duration;

const KEYS: [&str; 10] = [
    "name",
    "dsn",
    "password",
    "postgresql_conf",
    "env_file",
    "app_reload",
    "restart",
    "memory",
    "docker",
    "pgbouncer",
];

/// What the key of a restart method may be, by method.
const RESTART_KEYS: [&str; 7] =
    ["method", "pg_ctl", "data_directory", "command", "unit", "formula", "timeout"];

#[derive(Clone, Copy, PartialEq)]
enum Method {
    Never,
    PgCtl,
    Command,
    Systemd,
    Brew,
    Docker,
}

/// Reads the section; what is wrong is reported. The second part is `env_file`.
pub(super) fn read(top: &Fields<'_>, root: &Path) -> (Target, Option<PathBuf>) {
    let configured = top.get("target").is_some();
    if !configured {
        top.problem(
            "target",
            "found nothing; allowed: a mapping with at least `dsn`",
            Some(
                "name your Postgres there, or run `leverd sandbox up` to try leverd on one of its own"
                    .to_owned(),
            ),
        );
    }
    let fields = &top.section("target", &KEYS);
    let dsn = if configured { read_dsn(fields).unwrap_or_default() } else { String::new() };
    let container = read_container(fields, root);
    let target = Target {
        name: TargetName::new(fields.or("name", "postgres".to_owned(), At::name)),
        dsn: Secret::new(dsn),
        postgresql_conf: fields.or("postgresql_conf", PostgresqlConf::Auto, |at| read_conf(at, root)),
        app_reload: fields.get("app_reload").and_then(|at| at.text()),
        restart: read_restart(fields, root, container.is_some()),
        container,
        pgbouncer: read_pgbouncer(fields, root),
        memory_budget_bytes: fields.get("memory").and_then(|at| at.size()),
    };
    let env_file = fields.get("env_file").and_then(|at| path(&at, root));
    (target, env_file)
}

/// A path, absolute.
pub(super) fn path(at: &At<'_>, root: &Path) -> Option<PathBuf> {
    at.text().map(|text| absolute(root, Path::new(&text)))
}

fn read_dsn(fields: &Fields<'_>) -> Option<String> {
    let password = fields.get("password").and_then(|at| at.secret());
    let at = fields.required("dsn", "postgresql://user@host:5432/database", None)?;
    let dsn = at.secret()?;
    match dsn::complete(dsn.trim(), password.as_deref()) {
        Ok(whole) => Some(whole),
        Err((problem, hint)) => {
            at.problem(problem, Some(hint));
            None
        }
    }
}

fn read_conf(at: &At<'_>, root: &Path) -> Option<PostgresqlConf> {
    at.read("auto, alter_system, or the path of the server's configuration file", |text| match text.trim() {
        "" => None,
        "auto" => Some(PostgresqlConf::Auto),
        "alter_system" => Some(PostgresqlConf::AlterSystem),
        // A word without a dot or a slash is a mistyped choice rather than a file.
        word if !word.contains(['.', '/']) => None,
        file => Some(PostgresqlConf::File(absolute(root, Path::new(file)))),
    })
}

fn read_container(target: &Fields<'_>, root: &Path) -> Option<ContainerConfig> {
    target.get("docker")?;
    let fields = target.section("docker", &["container", "socket"]);
    let name = fields.required("container", "a container's name or id", None)?.text()?;
    let socket = fields.or("socket", EngineSocket::Auto, |at| {
        at.read("auto, or the path of the engine's socket", |text| match text.trim() {
            "auto" => Some(EngineSocket::Auto),
            text => {
                let path = text.strip_prefix("unix://").unwrap_or(text);
                path.contains('/').then(|| EngineSocket::Path(absolute(root, Path::new(path))))
            }
        })
    });
    Some(ContainerConfig { name, socket })
}

fn read_pgbouncer(target: &Fields<'_>, root: &Path) -> Option<PgBouncerConfig> {
    target.get("pgbouncer")?;
    let fields = target.section("pgbouncer", &["config_file", "admin_dsn", "password"]);
    let config_file =
        fields.required("config_file", "the path of pgbouncer.ini", None).and_then(|at| path(&at, root));
    let password = fields.get("password").and_then(|at| at.secret());
    let allowed = "postgresql://user@host:6432/pgbouncer, a user of admin_users";
    let at = fields.required("admin_dsn", allowed, None)?;
    match dsn::complete(at.secret()?.trim(), password.as_deref()) {
        Ok(whole) => Some(PgBouncerConfig { config_file: config_file?, admin_dsn: Secret::new(whole) }),
        Err((problem, hint)) => {
            at.problem(problem, Some(hint));
            None
        }
    }
}

fn read_restart(target: &Fields<'_>, root: &Path, has_container: bool) -> Restart {
    let fields = target.section("restart", &RESTART_KEYS);
    let timeout = fields.or("timeout", Duration::from_secs(60), At::positive_duration);
    let methods = [
        ("never", Method::Never),
        ("pg_ctl", Method::PgCtl),
        ("command", Method::Command),
        ("systemd", Method::Systemd),
        ("brew", Method::Brew),
        ("docker", Method::Docker),
    ];
    let method = match target.get("restart") {
        None => Method::Never,
        Some(_) => fields
            .required("method", "never, pg_ctl, command, systemd, brew, docker", None)
            .and_then(|at| at.one_of(&methods))
            .unwrap_or(Method::Never),
    };
    if target.get("restart").is_some() {
        refuse_other_keys(&fields, method, &methods);
    }
    let needed = |key: &str, allowed: &str| fields.required(key, allowed, None);
    let method = match method {
        Method::Never => Some(RestartMethod::Never),
        Method::PgCtl => {
            needed("data_directory", "the data folder").and_then(|at| path(&at, root)).map(|data_directory| {
                let pg_ctl = fields.or("pg_ctl", "pg_ctl".to_owned(), At::text);
                // A bare name is looked up in PATH.
                let pg_ctl =
                    if pg_ctl.contains('/') { absolute(root, Path::new(&pg_ctl)) } else { pg_ctl.into() };
                RestartMethod::PgCtl { pg_ctl, data_directory }
            })
        }
        Method::Command => {
            needed("command", "a command for `sh -c`").and_then(|at| at.text()).map(RestartMethod::Command)
        }
        Method::Systemd => needed("unit", "a systemd unit, e.g. postgresql@15-main")
            .and_then(|at| at.text())
            .map(RestartMethod::Systemd),
        Method::Brew => needed("formula", "a Homebrew formula, e.g. postgresql@17")
            .and_then(|at| at.text())
            .map(RestartMethod::Brew),
        Method::Docker => {
            if !has_container && let Some(at) = fields.get("method") {
                let hint = "name the container: `docker: {container: NAME}` under `target:`";
                at.problem(
                    "`docker` restarts the target's container, and none is named",
                    Some(hint.to_owned()),
                );
            }
            Some(RestartMethod::Docker)
        }
    };
    Restart { method: method.unwrap_or(RestartMethod::Never), timeout }
}

/// A key of another method would be ignored in silence: it is an error instead.
fn refuse_other_keys(fields: &Fields<'_>, method: Method, methods: &[(&str, Method)]) {
    let owners = [
        ("pg_ctl", Method::PgCtl),
        ("data_directory", Method::PgCtl),
        ("command", Method::Command),
        ("unit", Method::Systemd),
        ("formula", Method::Brew),
    ];
    for (key, owner) in owners {
        if owner != method
            && let Some(at) = fields.get(key)
        {
            let name = methods.iter().find(|(_, method)| *method == owner).map_or("", |(name, _)| name);
            at.problem(format!("this key belongs to `method: {name}` only"), None);
        }
    }
}
