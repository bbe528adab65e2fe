//! Where a sandbox stands, and as whom its parts run.
//!
//! Everything is under `<project root>/.leverd/sandbox`. As root the parts run as an ordinary user; where that user
//! cannot reach the project folder (under /root, say), `.leverd/sandbox` is a symlink to a folder under the system's
//! folder for temporary files.

use super::error::SandboxError;
use super::files;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The environment variable that marks every process of a sandbox; its value is the folder.
pub(super) const MARK: &str = "LEVERD_SANDBOX";

/// The user that the parts run as where leverd runs as root.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) name: String,
}

/// `None` where this is not root: then the parts run as whoever this is.
pub(super) fn owner() -> Result<Option<Owner>, SandboxError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    owner_in(&passwd).map(Some).ok_or(SandboxError::NoUser)
}

fn owner_in(passwd: &str) -> Option<Owner> {
    ["postgres", "nobody"].into_iter().find_map(|name| {
        let row = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut ids = row.split(':').skip(2).map(|field| field.parse::<i64>());
        // macOS writes `nobody` as -2: the same bits, unsigned.
        let (uid, gid) = (ids.next()?.ok()? as u32, ids.next()?.ok()? as u32);
        (uid != 0).then(|| Owner { uid, gid, name: name.to_owned() })
    })
}

/// The folders and files of one sandbox.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The project root.
    pub(super) root: PathBuf,
    /// Where everything really is, without symlinks.
    pub(super) folder: PathBuf,
}

impl Place {
    /// The sandbox of a project, where its folder is there.
    pub(super) fn existing(root: &Path) -> Option<Self> {
        let folder = fs::canonicalize(link_of(root)).ok()?;
        folder.is_dir().then(|| Self { root: root.to_owned(), folder })
    }

    /// Creates the folder, reachable for `owner`.
    pub(super) fn create(root: &Path, owner: Option<&Owner>) -> Result<Self, SandboxError> {
        let link = link_of(root);
        let parent = root.join(".leverd");
        fs::create_dir_all(&parent).map_err(SandboxError::file("creating", &parent))?;
        if Self::existing(root).is_none() {
            let _ = fs::remove_file(&link);
            match owner {
                Some(owner) if !can_traverse(&parent, owner) => elsewhere(&link)?,
                _ => fs::create_dir(&link).map_err(SandboxError::file("creating", &link))?,
            }
        }
        let place = Self::existing(root).ok_or_else(|| {
            SandboxError::file("opening", &link)(io::Error::from(io::ErrorKind::NotADirectory))
        })?;
        // What root reads back and acts on (the configuration, the programs) stays root's.
        for folder in [place.folder.clone(), place.bin()] {
            fs::create_dir_all(&folder).map_err(SandboxError::file("creating", &folder))?;
            // Whatever the umask: the parts' user passes through.
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(&folder, mode).map_err(SandboxError::file("opening up", &folder))?;
        }
        for folder in [place.logs(), place.run(), place.data(), place.prometheus_data()] {
            if !folder.is_dir() {
                fs::create_dir(&folder).map_err(SandboxError::file("creating", &folder))?;
                give(&folder, owner)?;
            }
        }
        Ok(place)
    }

    /// Removes the folder, and the symlink to it; with `keep_data` all but what says that a sandbox runs.
    pub(super) fn remove(&self, keep_data: bool) -> Result<(), SandboxError> {
        if keep_data {
            for file in [self.state(), self.parts(), self.turn(), self.config()] {
                remove_if_there(fs::remove_file(&file), &file)?;
            }
            return Ok(());
        }
        remove_if_there(fs::remove_dir_all(&self.folder), &self.folder)?;
        let link = link_of(&self.root);
        if link.is_symlink() {
            remove_if_there(fs::remove_file(&link), &link)?;
        }
        Ok(())
    }

    /// Held by the one `sandbox` command that is at work.
    pub(super) fn lock_of(root: &Path) -> PathBuf {
        root.join(".leverd/sandbox.lock")
    }

    /// What `up` started: see [`super::state`].
    pub(super) fn state(&self) -> PathBuf {
        self.folder.join("state.json")
    }

    /// What the supervisor watches: see [`super::state`].
    pub(super) fn parts(&self) -> PathBuf {
        self.run().join("parts.json")
    }

    /// Where the supervisor may write.
    fn run(&self) -> PathBuf {
        self.folder.join("run")
    }

    /// The configuration that the loop runs on.
    pub(super) fn config(&self) -> PathBuf {
        self.folder.join("leverd.yaml")
    }

    pub(super) fn scenario(&self) -> PathBuf {
        self.folder.join("scenario.yaml")
    }

    pub(super) fn env(&self) -> PathBuf {
        self.folder.join(".env")
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub(super) fn postgresql_conf(&self) -> PathBuf {
        self.data().join("postgresql.conf")
    }

    /// What `ALTER SYSTEM` writes.
    pub(super) fn auto_conf(&self) -> PathBuf {
        self.data().join("postgresql.auto.conf")
    }

    /// `postgresql.conf` as `initdb` wrote it.
    pub(super) fn pristine_conf(&self) -> PathBuf {
        self.data().join("leverd-initdb.conf")
    }

    /// The present turn of the scenario's timetable: what wins over the load's `.env`. The supervisor's to write.
    pub(super) fn turn(&self) -> PathBuf {
        self.run().join("turn.env")
    }

    pub(super) fn prometheus_config(&self) -> PathBuf {
        self.folder.join("prometheus.yml")
    }

    pub(super) fn prometheus_data(&self) -> PathBuf {
        self.folder.join("prometheus")
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    pub(super) fn log(&self, part: &str) -> PathBuf {
        self.logs().join(format!("{part}.log"))
    }

    fn bin(&self) -> PathBuf {
        self.folder.join("bin")
    }

    /// The sandbox's own leverd: see [`Self::install`].
    pub(super) fn program(&self) -> PathBuf {
        self.bin().join("leverd")
    }

    /// Links (or copies) the leverd binary into the folder: the user of the parts can reach it there, and a build
    /// that replaces the original does not disturb a running sandbox.
    pub(super) fn install(&self, program: &Path) -> Result<(), SandboxError> {
        let to = self.program();
        remove_if_there(fs::remove_file(&to), &to)?;
        // A link shares its original's mode; one that only root may run needs a copy.
        let is_for_all = fs::metadata(program).is_ok_and(|meta| meta.mode() & 0o005 == 0o005);
        if is_for_all && fs::hard_link(program, &to).is_ok() {
            return Ok(());
        }
        fs::copy(program, &to).map_err(SandboxError::file("copying leverd to", &to))?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755))
            .map_err(SandboxError::file("opening up", &to))
    }

    /// A command that runs for this sandbox: as its user, in its folder, with a small environment, logging to
    /// `logs/PART.log`. Nothing of the caller's environment (a password, a PGHOST) reaches it.
    pub(super) fn command(
        &self,
        program: &Path,
        part: &str,
        owner: Option<&Owner>,
    ) -> Result<Command, SandboxError> {
        use std::os::unix::process::CommandExt;
        let path = self.log(part);
        let log = files::open_log(&path, owner)?;
        let errors = log.try_clone().map_err(SandboxError::file("opening", &path))?;
        let mut command = Command::new(program);
        command.current_dir(&self.folder).stdin(Stdio::null()).stdout(log).stderr(errors);
        command.env_clear().env(MARK, &self.folder).env("HOME", &self.folder).env("LC_ALL", "C");
        for kept in ["PATH", "TZ", "RUST_LOG", "RUST_BACKTRACE"] {
            if let Some(value) = std::env::var_os(kept) {
                command.env(kept, value);
            }
        }
        if let Some(owner) = owner {
            command.uid(owner.uid).gid(owner.gid);
        }
        Ok(command)
    }
}

fn link_of(root: &Path) -> PathBuf {
    root.join(".leverd/sandbox")
}

fn remove_if_there(done: io::Result<()>, path: &Path) -> Result<(), SandboxError> {
    match done {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(SandboxError::file("removing", path)(error))
        }
        _ => Ok(()),
    }
}

fn give(path: &Path, owner: Option<&Owner>) -> Result<(), SandboxError> {
    let Some(owner) = owner else { return Ok(()) };
    chown(path, Some(owner.uid), Some(owner.gid)).map_err(SandboxError::file("giving away", path))
}

/// A folder with an unguessable name under the system's folder for temporary files, and the symlink to it.
fn elsewhere(link: &Path) -> Result<(), SandboxError> {
    let temp = std::env::temp_dir();
    let folder = tempfile::Builder::new()
        .prefix("leverd-sandbox-")
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir_in(&temp)
        .map_err(SandboxError::file("creating a folder in", &temp))?
        .keep();
    std::os::unix::fs::symlink(&folder, link).map_err(SandboxError::file("linking", link))
}

/// Whether `owner` may pass through every folder down to `path`, by the mode bits.
fn can_traverse(path: &Path, owner: &Owner) -> bool {
    let Ok(path) = fs::canonicalize(path) else { return false };
    path.ancestors().all(|folder| {
        fs::metadata(folder).is_ok_and(|meta| {
            let bit = match () {
                () if meta.uid() == owner.uid => 0o100,
                () if meta.gid() == owner.gid => 0o010,
                () => 0o001,
            };
            meta.mode() & bit != 0
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postgres_is_preferred_and_root_is_never_taken() {
        let both = "root:x:0:0::/:/bin/sh\nnobody:x:65534:65533::/:/x\npostgres:x:101:104::/:/x\n";
        let found = owner_in(both).unwrap();
        assert_eq!((found.name.as_str(), found.uid, found.gid), ("postgres", 101, 104));
        let mac = owner_in("nobody:*:-2:-2:Unprivileged User:/var/empty:/usr/bin/false\n").unwrap();
        assert_eq!((mac.uid, mac.gid), (u32::MAX - 1, u32::MAX - 1));
        assert!(owner_in("postgres:x:0:0::/:/x\n").is_none());
    }

    #[test]
    fn a_closed_folder_stops_a_stranger() {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let stranger = Owner { uid: 4_000_001, gid: 4_000_001, name: "stranger".to_owned() };
        fs::set_permissions(outer.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(can_traverse(&inner, &stranger));
        fs::set_permissions(outer.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!can_traverse(&inner, &stranger));
    }
}
