//! Reading and writing the sandbox's own files: whole or not at all, and owned by the user that the parts run as.
//!
//! Always holds: in a folder of that user, root neither follows a symlink nor gives a path away, only an open file;
//! else whoever can speak to the sandbox's Postgres could have root's files.

use super::error::SandboxError;
use super::place::Owner;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

/// Replaces `path` by `text` through a temporary file beside it. Not synced: a sandbox does not outlive a power cut.
pub(super) fn write(path: &Path, text: &str, owner: Option<&Owner>) -> Result<(), SandboxError> {
    let failed = || SandboxError::file("writing", path);
    let folder = path.parent().expect("a file of the sandbox is in a folder");
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed())?;
    file.write_all(text.as_bytes()).map_err(failed())?;
    file.as_file().set_permissions(PermissionsExt::from_mode(0o644)).map_err(failed())?;
    give(file.as_file(), owner).map_err(failed())?;
    file.persist(path).map_err(|error| failed()(error.error))?;
    Ok(())
}

pub(super) fn read(path: &Path) -> Result<String, SandboxError> {
    let mut text = String::new();
    let opened = no_follow(OpenOptions::new().read(true)).open(path);
    opened
        .and_then(|mut file| file.read_to_string(&mut text))
        .map_err(SandboxError::file("reading", path))?;
    Ok(text)
}

/// Opens a log for appending, for the parts' user.
pub(super) fn open_log(path: &Path, owner: Option<&Owner>) -> Result<File, SandboxError> {
    let opened = no_follow(OpenOptions::new().create(true).append(true)).open(path);
    opened.and_then(|file| give(&file, owner).map(|()| file)).map_err(SandboxError::file("opening", path))
}

fn no_follow(options: &mut OpenOptions) -> &mut OpenOptions {
    options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
}

fn give(file: &File, owner: Option<&Owner>) -> io::Result<()> {
    let Some(owner) = owner else { return Ok(()) };
    fchown(file, Some(owner.uid), Some(owner.gid))
}

/// The last `lines` lines of a log, for an error's text; empty where there is none.
pub(super) fn tail(path: &Path, lines: usize) -> String {
    let text =
        std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
