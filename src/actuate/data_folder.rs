//! Whose data folder a folder is: `global/pg_control` begins with the system identifier, also while the server is
//! down. A path that a remote server names may be another server's here.

use super::ActuateError;
use super::durable_file::read;
use std::path::Path;

fn identifier_of(folder: &Path) -> Option<u64> {
    let control = read(&folder.join("global/pg_control")).ok()?;
    control.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes))
}

/// Whether the file stands in the data folder of this very server. 0 is "not known", and nobody's.
pub(super) fn belongs_to(file: &Path, system_identifier: u64) -> bool {
    let found = file.parent().and_then(identifier_of);
    system_identifier != 0 && found == Some(system_identifier)
}

/// Refuses a file that stands in the data folder of another server. Most configuration files of distributions stand
/// in no data folder; of those nothing can be said.
pub(super) fn refuse_another(file: &Path, expected: u64) -> Result<(), ActuateError> {
    match file.parent().and_then(identifier_of) {
        Some(found) if expected != 0 && found != expected => {
            Err(ActuateError::WrongServer { expected, found })
        }
        _ => Ok(()),
    }
}
