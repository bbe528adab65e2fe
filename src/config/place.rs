//! Where a lever's value is written: the `config_file` of `levers.yaml`, resolved for this target.
//!
//! A file named `postgresql.conf` means the target's own, wherever it stands; `target.postgresql_conf` says how it
//! is reached. An `.env` means the target's `env_file`, else the file as it is named. What cannot be written is
//! `Unavailable` with a reason for people: the lever stays in every list, and is never pulled.

use super::{Paths, PostgresqlConf};
use crate::model::{LimitKind, Place};
use std::path::{Path, PathBuf};

/// What a place depends on.
#[derive(Debug, Clone, Copy)]
pub struct Reach<'a> {
    /// `target.postgresql_conf`.
    pub postgresql_conf: &'a PostgresqlConf,
    /// `target.docker.container`.
    pub container: Option<&'a str>,
    /// `target.pgbouncer.config_file`.
    pub pgbouncer: Option<&'a Path>,
    /// `target.env_file`.
    pub env_file: Option<&'a Path>,
    /// Where relative paths start.
    pub root: &'a Path,
}

/// Resolves a lever's `config_file`; a container's file holds several kinds of limits, so its place depends on the
/// `parameter` too.
pub fn place_for(config_file: &str, parameter: &str, reach: Reach<'_>) -> Place {
    let path = Path::new(config_file);
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let named = || absolute(reach.root, path);
    if name == "postgresql.conf" {
        match reach.postgresql_conf {
            PostgresqlConf::Auto => Place::ServerConf,
            PostgresqlConf::AlterSystem => Place::AlterSystem,
            PostgresqlConf::File(file) => existing(file, Place::PostgresqlConf, "target.postgresql_conf"),
        }
    } else if name == "postgresql.auto.conf" {
        Place::Unavailable(
            "postgresql.auto.conf is Postgres' own: name postgresql.conf, and set `postgresql_conf: alter_system` \
             under `target:` to have it written there"
                .to_owned(),
        )
    } else if name.starts_with(".env") || name.ends_with(".env") {
        match reach.env_file {
            Some(file) => existing(file, Place::EnvFile, "target.env_file"),
            None => existing(&named(), Place::EnvFile, "config_file; target.env_file may name another"),
        }
    } else if name.starts_with("docker-compose") || name.starts_with("compose.") {
        limit(parameter, reach)
    } else if name.starts_with("pgbouncer") {
        match reach.pgbouncer {
            Some(file) => existing(file, Place::PgBouncer, "target.pgbouncer.config_file"),
            None => Place::Unavailable(
                "no PgBouncer is named (`pgbouncer:` under `target:` in leverd.yaml)".to_owned(),
            ),
        }
    } else if name.ends_with(".conf") {
        existing(&named(), Place::PostgresqlConf, "config_file")
    } else {
        Place::Unavailable(format!(
            "{config_file} is no file that leverd can write: it writes postgresql.conf, other *.conf of Postgres, \
             and .env"
        ))
    }
}

/// A limit of the target's container. The compose file itself stays as it is: the engine is told.
fn limit(parameter: &str, reach: Reach<'_>) -> Place {
    match (reach.container, LimitKind::of(parameter)) {
        (None, _) => {
            Place::Unavailable("no container is named (`docker:` under `target:` in leverd.yaml)".to_owned())
        }
        (_, None) => Place::Unavailable(format!(
            "{parameter} is no limit that leverd can move: it moves mem_limit and cpus of a container"
        )),
        (Some(container), Some(kind)) => Place::ContainerLimit { container: container.to_owned(), kind },
    }
}

/// The place, where its file is there.
fn existing(file: &Path, place: fn(PathBuf) -> Place, key: &str) -> Place {
    match std::fs::metadata(file) {
        Ok(meta) if meta.is_file() => place(file.to_path_buf()),
        Ok(_) => Place::Unavailable(format!("{} ({key}) is not a file", file.display())),
        Err(error) => Place::Unavailable(format!("{} ({key}) cannot be reached: {error}", file.display())),
    }
}

/// A path of the configuration, from its root.
pub(super) fn absolute(root: &Path, path: &Path) -> PathBuf {
    // `components` takes `./` and doubled slashes out.
    root.join(path).components().collect()
}

/// The record's places under a root, as they are by default.
pub(super) fn default_paths(root: &Path) -> Paths {
    Paths {
        root: root.to_path_buf(),
        ledger: root.join(".leverd/ledger.db"),
        lock: root.join(".leverd/lock"),
        baseline: root.join("baseline.yaml"),
        changelog: root.join("CHANGELOG_TUNING.md"),
        tuning_log: root.join("tuning.log"),
        log_archive: root.join("logs/archive"),
        backups: root.join("backups"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_file_finds_its_place() {
        let root = tempfile::tempdir().unwrap();
        for file in [".env", "tuning.conf", "real.conf"] {
            #[expect(clippy::disallowed_methods, reason = "a test's own file")]
            std::fs::write(root.path().join(file), "").unwrap();
        }
        let place = |file: &str, conf: &PostgresqlConf, env_file: Option<&Path>| {
            let reach = Reach {
                postgresql_conf: conf,
                container: None,
                pgbouncer: None,
                env_file,
                root: root.path(),
            };
            place_for(file, "mem_limit", reach)
        };
        let real = root.path().join("real.conf");
        let auto = PostgresqlConf::Auto;
        assert_eq!(place("monitoring/postgresql.conf", &auto, None), Place::ServerConf);
        assert_eq!(
            place("monitoring/postgresql.conf", &PostgresqlConf::AlterSystem, None),
            Place::AlterSystem
        );
        assert_eq!(
            place("monitoring/postgresql.conf", &PostgresqlConf::File(real.clone()), None),
            Place::PostgresqlConf(real.clone())
        );
        assert_eq!(place("./.env", &auto, None), Place::EnvFile(root.path().join(".env")));
        assert_eq!(place(".env", &auto, Some(&real)), Place::EnvFile(real));
        assert_eq!(place("tuning.conf", &auto, None), Place::PostgresqlConf(root.path().join("tuning.conf")));
        for nowhere in [
            "app/.env",
            "other.conf",
            "docker-compose.yml",
            "pgbouncer.ini",
            "postgresql.auto.conf",
            "x.toml",
        ] {
            assert!(matches!(place(nowhere, &auto, None), Place::Unavailable(_)), "{nowhere}");
        }
    }

    #[test]
    fn a_compose_file_stands_for_the_containers_limits() {
        let root = tempfile::tempdir().unwrap();
        let ini = root.path().join("pgbouncer.ini");
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        std::fs::write(&ini, "").unwrap();
        let reach = Reach {
            postgresql_conf: &PostgresqlConf::Auto,
            container: Some("db"),
            pgbouncer: Some(&ini),
            env_file: None,
            root: root.path(),
        };
        let limit = |kind| Place::ContainerLimit { container: "db".into(), kind };
        assert_eq!(place_for("docker-compose.yml", "mem_limit", reach), limit(LimitKind::Memory));
        assert_eq!(place_for("compose.yaml", "cpus", reach), limit(LimitKind::Cpus));
        assert!(matches!(place_for("compose.yaml", "shm_size", reach), Place::Unavailable(_)));
        assert_eq!(place_for("pgbouncer.ini", "default_pool_size", reach), Place::PgBouncer(ini.clone()));
    }
}
