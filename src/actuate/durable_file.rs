//! Replacing a file so that at every instant the old one or the new one stands there, whole, also after `kill -9`
//! or a power cut.
//!
//! In: a path and bytes. Out: the file replaced by rename of a synced temporary file beside it, with the old owner,
//! group, mode and extended attributes, or an error, the old file whole and no temporary file left.
//! It follows links to the real file and keeps the links. It never writes into an existing file.

use super::ActuateError;
use fail::fail_point;
use rustix::fs::{Access, XattrFlags};
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Configuration files are small; anything larger is not one.
const MAX_BYTES: u64 = 4 << 20;

/// SHA-256 as lower-case hex.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The file itself, all links followed.
pub(super) fn real_path(path: &Path) -> Result<PathBuf, ActuateError> {
    fs::canonicalize(path).map_err(|source| io_error("finding", path, source))
}

/// The whole file. Links are followed.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, ActuateError> {
    // The kind is asked first: opening a FIFO would wait for its writer.
    let metadata = fs::metadata(path).map_err(|source| io_error("reading", path, source))?;
    if !metadata.is_file() {
        return Err(not_writable(path, "it is not a regular file"));
    }
    let file = File::open(path).map_err(|source| io_error("reading", path, source))?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|source| io_error("reading", path, source))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(not_writable(path, "it is larger than 4 MiB, which no configuration file is"));
    }
    Ok(bytes)
}

/// Whether [`replace`] would be allowed, without trying.
pub(super) fn check_replaceable(real: &Path) -> Result<Metadata, ActuateError> {
    let metadata = fs::symlink_metadata(real).map_err(|source| io_error("reading", real, source))?;
    if !metadata.is_file() {
        return Err(not_writable(real, "it is not a regular file"));
    }
    if metadata.nlink() > 1 {
        return Err(not_writable(
            real,
            "it has other names (hard links), which would keep the old text if it were replaced",
        ));
    }
    // Root may write anything, but mode bits without any `w` are a person's "do not touch".
    if metadata.mode() & 0o222 == 0 {
        return Err(not_writable(real, "its mode is read-only"));
    }
    let folder = folder_of(real);
    rustix::fs::access(real, Access::WRITE_OK).map_err(|error| io_error("writing", real, error.into()))?;
    rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| io_error("writing into", folder, error.into()))?;
    Ok(metadata)
}

/// Replaces the content `seen` of `real` (a path without links) by `new`. Refuses where something else than `seen`
/// stands there by now.
pub(super) fn replace(real: &Path, seen: &[u8], new: &[u8]) -> Result<(), ActuateError> {
    let metadata = check_replaceable(real)?;
    let temporary = Temporary::create(real)?;
    let writing = |source| io_error("writing", &temporary.path, source);
    (&temporary.file).write_all(new).map_err(writing)?;
    keep_owner(&temporary, real, &metadata)?;
    copy_attributes(real, &temporary.file);
    temporary.file.set_permissions(Permissions::from_mode(metadata.mode() & 0o7777)).map_err(writing)?;
    fail_point!("actuate::temp_written", |_| std::process::abort());
    temporary.file.sync_all().map_err(writing)?;
    fail_point!("actuate::temp_synced", |_| std::process::abort());
    if read(real)? != seen {
        return Err(not_writable(real, "it changed while it was being edited; try again"));
    }
    fs::rename(&temporary.path, real).map_err(|source| io_error("replacing", real, source))?;
    fail_point!("actuate::renamed", |_| std::process::abort());
    sync_folder(real)
}

/// Writes `new` into a file that cannot be replaced, because it is mounted by itself: its new bytes over the old ones,
/// then its new length, then synced. A kill in between leaves the beginning of one text and the end of the other, which
/// [`torn`] knows; what is read meanwhile may be such a mixture, so nothing may be told to read it until this is done.
pub(super) fn write_in_place(real: &Path, seen: &[u8], new: &[u8]) -> Result<(), ActuateError> {
    let metadata = fs::symlink_metadata(real).map_err(|source| io_error("reading", real, source))?;
    if metadata.mode() & 0o222 == 0 {
        return Err(not_writable(real, "its mode is read-only"));
    }
    let writing = |source| io_error("writing", real, source);
    if read(real)? != seen {
        return Err(not_writable(real, "it changed while it was being edited; try again"));
    }
    let mut file = OpenOptions::new().write(true).open(real).map_err(writing)?;
    make_room(&file, new.len() as u64).map_err(writing)?;
    let half = new.len() / 2;
    file.write_all(&new[..half]).map_err(writing)?;
    fail_point!("actuate::half_written", |_| std::process::abort());
    file.write_all(&new[half..]).map_err(writing)?;
    fail_point!("actuate::not_cut", |_| std::process::abort());
    file.set_len(new.len() as u64).and_then(|()| file.sync_all()).map_err(writing)
}

/// A full disk must not stop a write half way.
#[cfg(target_os = "linux")]
fn make_room(file: &File, bytes: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    match fallocate(file, FallocateFlags::KEEP_SIZE, 0, bytes) {
        // Not every file system can; then the write itself says so, and what is torn is mended.
        Err(rustix::io::Errno::OPNOTSUPP) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn make_room(_file: &File, _bytes: u64) -> io::Result<()> {
    Ok(())
}

/// Whether a text is what a write of one of the two over the other leaves when it is cut short.
pub(super) fn torn(text: &[u8], one: &[u8], other: &[u8]) -> bool {
    let is_mixture = |new: &[u8], old: &[u8]| {
        let written = text.iter().zip(new).take_while(|(a, b)| a == b).count();
        // From some point on, it is the old text at the same offset; the length is the longer of what was written and
        // the old one's.
        (0..=written)
            .rev()
            .any(|at| text.len() == old.len().max(at) && text.get(at..) == old.get(at.min(old.len())..))
    };
    text != one && text != other && (is_mixture(one, other) || is_mixture(other, one))
}

/// Whether a file is a mount point by itself, as in a container that was given this file alone.
#[cfg(target_os = "linux")]
pub(super) fn is_mount_point(real: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    // The fifth field; blanks in it are written as \\040.
    let wanted = real.to_string_lossy().replace('\\', "\\134").replace(' ', "\\040");
    mounts.lines().any(|line| line.split(' ').nth(4) == Some(wanted.as_str()))
}

/// The same: only Linux has such mounts.
#[cfg(not(target_os = "linux"))]
pub(super) fn is_mount_point(_real: &Path) -> bool {
    false
}

/// Makes sure that what stands there survives a power cut: for a file that an interrupted run had replaced.
pub(super) fn sync(real: &Path) -> Result<(), ActuateError> {
    File::open(real).and_then(|file| file.sync_all()).map_err(|source| io_error("syncing", real, source))?;
    sync_folder(real)
}

/// Writes a new file that only this user can read, synced; fails where one stands already.
pub(super) fn create(path: &Path, bytes: &[u8]) -> Result<(), ActuateError> {
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = created.map_err(|source| io_error("creating", path, source))?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(source) = written {
        let _ = fs::remove_file(path);
        return Err(io_error("writing", path, source));
    }
    sync_folder(path)
}

/// Removes the temporary file that a killed run may have left beside `real`.
pub(super) fn remove_leftover(real: &Path) {
    let _ = fs::remove_file(temporary_path(real));
}

pub(super) fn io_error(doing: &'static str, path: &Path, source: io::Error) -> ActuateError {
    ActuateError::Io { doing, path: path.to_owned(), source }
}

fn not_writable(path: &Path, why: impl Into<String>) -> ActuateError {
    ActuateError::NotWritable { path: path.to_owned(), why: why.into() }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sync_folder(path: &Path) -> Result<(), ActuateError> {
    let folder = folder_of(path);
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| io_error("syncing", folder, source))
}

/// A name that `include_dir` skips, always the same for a file: leverd holds a lock, so there is one writer.
fn temporary_path(real: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(real.file_name().unwrap_or_default());
    name.push(".leverd-tmp");
    folder_of(real).join(name)
}

/// The temporary file; gone when dropped. After the rename its name is free, and removing nothing is harmless.
struct Temporary {
    path: PathBuf,
    file: File,
}

impl Temporary {
    fn create(real: &Path) -> Result<Self, ActuateError> {
        remove_leftover(real);
        let path = temporary_path(real);
        let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = created.map_err(|source| io_error("creating", &path, source))?;
        Ok(Self { path, file })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Postgres must be able to read the new file as it read the old one.
fn keep_owner(temporary: &Temporary, real: &Path, old: &Metadata) -> Result<(), ActuateError> {
    let own = temporary.file.metadata().map_err(|source| io_error("reading", &temporary.path, source))?;
    if (own.uid(), own.gid()) == (old.uid(), old.gid()) {
        return Ok(());
    }
    std::os::unix::fs::fchown(&temporary.file, Some(old.uid()), Some(old.gid())).map_err(|error| {
        not_writable(real, format!("its owner {}:{} could not be kept ({error})", old.uid(), old.gid()))
    })
}

/// Access lists and security labels. Best effort: most files have none, and a label that this user may not set is
/// one that the folder gives by itself.
fn copy_attributes(real: &Path, to: &File) {
    let mut names = [0_u8; 4096];
    let Ok(length) = rustix::fs::listxattr(real, names.as_mut_slice()) else { return };
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = [0_u8; 4096];
        if let Ok(length) = rustix::fs::getxattr(real, name, value.as_mut_slice()) {
            let _ = rustix::fs::fsetxattr(to, name, &value[..length], XattrFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        create(&path, text.as_bytes()).unwrap();
        (folder, path)
    }

    fn names_in(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn replacing_keeps_the_mode_and_leaves_nothing_behind() {
        let (folder, path) = folder_with("a.conf", "old");
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        replace(&path, b"old", b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(names_in(folder.path()), ["a.conf"]);
    }

    #[test]
    fn an_edit_in_between_is_not_written_over() {
        let (folder, path) = folder_with("a.conf", "a person's");
        let error = replace(&path, b"old", b"new").unwrap_err();
        assert!(matches!(error, ActuateError::NotWritable { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"a person's");
        assert_eq!(names_in(folder.path()), ["a.conf"]);
    }

    #[test]
    fn a_read_only_mode_is_respected_also_as_root() {
        let (folder, path) = folder_with("a.conf", "old");
        fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
        let error = replace(&path, b"old", b"new").unwrap_err();
        assert_eq!(error.to_string(), format!("{} is not changed: its mode is read-only", path.display()));
        assert_eq!(names_in(folder.path()), ["a.conf"]);
    }

    #[test]
    fn a_second_name_would_keep_the_old_text_so_it_is_refused() {
        let (folder, path) = folder_with("a.conf", "old");
        fs::hard_link(&path, folder.path().join("b.conf")).unwrap();
        let error = replace(&path, b"old", b"new").unwrap_err();
        assert!(error.to_string().contains("hard links"), "{error}");
    }

    #[test]
    fn a_leftover_of_a_killed_run_does_not_stand_in_the_way() {
        let (folder, path) = folder_with("a.conf", "old");
        create(&temporary_path(&path), b"half").unwrap();
        replace(&path, b"old", b"new").unwrap();
        assert_eq!(names_in(folder.path()), ["a.conf"]);
    }

    #[test]
    fn folders_pipes_and_huge_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read(folder.path()), Err(ActuateError::NotWritable { .. })));
        let huge = folder.path().join("huge");
        create(&huge, b"").unwrap();
        OpenOptions::new().write(true).open(&huge).unwrap().set_len(MAX_BYTES + 1).unwrap();
        assert!(read(&huge).unwrap_err().to_string().contains("4 MiB"));
        let gone = read(&folder.path().join("gone")).unwrap_err();
        assert_eq!(gone.hint(), Some("check the path in leverd.yaml"));
    }

    #[test]
    fn the_hash_is_sha256_in_hex() {
        assert_eq!(sha256(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
