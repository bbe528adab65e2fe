//! Where a lever that lives in "the server's own configuration file" can be written from here.

use crate::actuate::can_edit;
use crate::model::{Lever, Place, ServerState};

/// Resolves [`Place::ServerConf`]: the server's `config_file` where this process may edit it, else `ALTER SYSTEM`. A
/// parameter that `ALTER SYSTEM` has set already stays there, for the file could not win.
pub(super) fn resolve(levers: &[Lever], server: &ServerState) -> Vec<Lever> {
    let editable = server.config_file.as_ref().filter(|file| can_edit(file));
    let by_alter_system = |parameter: &str| {
        let file = server.settings.get(parameter).and_then(|setting| setting.sourced.file.as_ref());
        file.is_some_and(|file| file.ends_with("postgresql.auto.conf"))
    };
    levers
        .iter()
        .cloned()
        .map(|mut lever| {
            if lever.place == Place::ServerConf {
                lever.place = match editable {
                    Some(file) if !by_alter_system(&lever.parameter) => Place::PostgresqlConf(file.clone()),
                    _ => Place::AlterSystem,
                };
            }
            lever
        })
        .collect()
}
