//! Where a lever that lives in "the server's own configuration file" can be written from here.

use crate::actuate::can_edit;
use crate::model::{Lever, Mount, Place, ServerState};
use std::path::{Path, PathBuf};

/// Resolves [`Place::ServerConf`]: the server's `config_file` where this process may edit it, else `ALTER SYSTEM`. Of a
/// server in a container the file is the one that is mounted there. A parameter that `ALTER SYSTEM` has set already
/// stays there, for the file could not win.
pub(super) fn resolve(levers: &[Lever], server: &ServerState, mounts: &[Mount]) -> Vec<Lever> {
    // leverd in a container of its own sees the file under the server's own name, and not what it is mounted from.
    let names = server.config_file.iter().flat_map(|file| [seen_here(file, mounts), file.clone()]);
    let editable = names.into_iter().find(|file| can_edit(file));
    let by_alter_system = |parameter: &str| {
        let file = server.settings.get(parameter).and_then(|setting| setting.sourced.file.as_ref());
        file.is_some_and(|file| file.ends_with("postgresql.auto.conf"))
    };
    levers
        .iter()
        .cloned()
        .map(|mut lever| {
            if lever.place == Place::ServerConf {
                lever.place = match &editable {
                    Some(file) if !by_alter_system(&lever.parameter) => Place::PostgresqlConf(file.clone()),
                    _ => Place::AlterSystem,
                };
            }
            lever
        })
        .collect()
}

/// The server's path as seen from here: through the innermost mount that it lies in.
fn seen_here(file: &Path, mounts: &[Mount]) -> PathBuf {
    let inner = mounts.iter().filter(|mount| file.starts_with(&mount.destination));
    match inner.max_by_key(|mount| mount.destination.components().count()) {
        Some(mount) => match file.strip_prefix(&mount.destination) {
            Ok(rest) if rest.as_os_str().is_empty() => mount.source.clone(),
            Ok(rest) => mount.source.join(rest),
            Err(_) => file.to_owned(),
        },
        None => file.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_containers_file_is_where_its_mount_comes_from() {
        let mount = |source: &str, destination: &str| Mount {
            source: source.into(),
            destination: destination.into(),
            writable: true,
        };
        let mounts = [
            mount("/var/lib/docker/volumes/data/_data", "/var/lib/postgresql/data"),
            mount("/srv/app/monitoring", "/etc/capsim"),
            mount("/srv/app/one.conf", "/etc/one.conf"),
        ];
        let of = |file: &str| seen_here(Path::new(file), &mounts).display().to_string();
        assert_eq!(of("/etc/capsim/postgresql.conf"), "/srv/app/monitoring/postgresql.conf");
        assert_eq!(of("/etc/one.conf"), "/srv/app/one.conf");
        assert_eq!(of("/etc/other.conf"), "/etc/other.conf");
        assert_eq!(
            of("/var/lib/postgresql/data/postgresql.conf"),
            "/var/lib/docker/volumes/data/_data/postgresql.conf"
        );
    }
}
