//! The copy of a file from before a change, in a folder of its own, so that a person restores it with `cp` alone.
//!
//! In: a folder's path, the file's path and bytes. Out: the copy's path; beside it a `README` with the original
//! path, the hash, the owner and the command. Copies are readable for this user only: an `.env` may hold secrets.

use super::ActuateError;
use super::durable_file::{create, io_error, sha256};
use std::ffi::OsStr;
use std::fmt::Write;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Folders tried for one change: `20240115_103000`, `20240115_103000_2`, …
const MAX_SAME_SECOND: u32 = 20;

/// Writes `record`, what stood somewhere that is no file, into a folder of its own, with the command that puts it back.
pub(super) fn make_record(
    folder: &Path,
    name: &str,
    place: &Path,
    record: &[u8],
    put_back: &str,
) -> Result<PathBuf, ActuateError> {
    let readme = format!(
        "What {} was before leverd changed it.\n\nTo put it back:\n\n    {put_back}\n",
        place.display()
    );
    keep(folder, name.as_ref(), record, |_| readme)
}

/// Copies `bytes` of `file` into `folder`, or into `folder_2` … where another change of the same second stands there.
pub(super) fn make(folder: &Path, file: &Path, bytes: &[u8]) -> Result<PathBuf, ActuateError> {
    keep(folder, file.file_name().unwrap_or_default(), bytes, |copy| readme(file, copy, bytes))
}

fn keep(
    folder: &Path,
    name: &OsStr,
    bytes: &[u8],
    readme: impl FnOnce(&Path) -> String,
) -> Result<PathBuf, ActuateError> {
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent).map_err(|source| io_error("creating", parent, source))?;
    }
    let own = own_folder(folder)?;
    let copy = own.join(name);
    let readme = readme(&copy);
    let made = create(&copy, bytes)
        .and_then(|()| create(&own.join("README"), readme.as_bytes()))
        .and_then(|()| sync_parent(&own));
    if let Err(error) = made {
        // Half a backup is none; the folder was ours alone.
        let _ = fs::remove_dir_all(&own);
        return Err(error);
    }
    Ok(copy)
}

fn own_folder(folder: &Path) -> Result<PathBuf, ActuateError> {
    let mut own = folder.to_owned();
    let mut number = 1;
    loop {
        match DirBuilder::new().mode(0o700).create(&own) {
            Ok(()) => return Ok(own),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && number < MAX_SAME_SECOND => {
                number += 1;
                let mut name = folder.as_os_str().to_owned();
                name.push(format!("_{number}"));
                own = PathBuf::from(name);
            }
            Err(source) => return Err(io_error("creating", &own, source)),
        }
    }
}

fn sync_parent(folder: &Path) -> Result<(), ActuateError> {
    let Some(parent) = folder.parent() else { return Ok(()) };
    fs::File::open(parent)
        .and_then(|parent| parent.sync_all())
        .map_err(|source| io_error("syncing", parent, source))
}

fn readme(file: &Path, copy: &Path, bytes: &[u8]) -> String {
    let mut text = format!(
        "What stood in {} before leverd changed it.\n\nsha256  {}\nbytes   {}\n",
        file.display(),
        sha256(bytes),
        bytes.len()
    );
    if let Ok(metadata) = fs::metadata(file) {
        let _ = writeln!(
            text,
            "owner   {}:{}\nmode    {:o}",
            metadata.uid(),
            metadata.gid(),
            metadata.mode() & 0o7777
        );
    }
    let _ = write!(
        text,
        "\nTo put all of it back (`cp` keeps the owner and mode of the file that is there):\n\n    cp {} {}\n",
        quoted(copy),
        quoted(file)
    );
    text
}

/// A path as one word of a shell.
pub(super) fn quoted(path: &Path) -> String {
    shell_word(&path.display().to_string())
}

/// A text as one word of a shell.
pub(super) fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+,=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_is_whole_private_and_explains_itself() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("my .env");
        create(&file, b"KEY=1\n").unwrap();
        let backups = folder.path().join("backups/20240115_103000");
        let copy = make(&backups, &file, b"KEY=1\n").unwrap();
        assert_eq!(copy, backups.join("my .env"));
        assert_eq!(fs::read(&copy).unwrap(), b"KEY=1\n");
        assert_eq!(fs::metadata(&copy).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&backups).unwrap().mode() & 0o777, 0o700);
        let readme = fs::read_to_string(backups.join("README")).unwrap();
        assert!(readme.contains(&format!("cp '{}' '{}'", copy.display(), file.display())), "{readme}");
        let second = make(&backups, &file, b"KEY=2\n").unwrap();
        assert_eq!(second, folder.path().join("backups/20240115_103000_2/my .env"));
        assert_eq!(fs::read(&copy).unwrap(), b"KEY=1\n");
    }

    #[test]
    fn a_shell_word_stays_one_word() {
        assert_eq!(shell_word("/a/b.conf"), "/a/b.conf");
        assert_eq!(shell_word("it's $HOME"), "'it'\\''s $HOME'");
        assert_eq!(shell_word(""), "''");
    }
}
