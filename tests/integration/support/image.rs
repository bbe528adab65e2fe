//! Root file systems made of this host's own programs and libraries, as images of a private engine: none can be pulled
//! where the tests run.

use super::docker::PrivateDocker;
use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A root file system in the making.
pub(crate) struct Root {
    folder: TempDir,
    /// Folders of this host that are in it as a whole.
    trees: RefCell<Vec<PathBuf>>,
}

impl Root {
    /// One with the folders that every container needs.
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("leverd-image-").tempdir().unwrap();
        let root = Self { folder, trees: RefCell::default() };
        for folder in ["bin", "etc", "proc", "dev", "sys", "run", "usr/bin", "var", "root"] {
            fs::create_dir_all(root.at(folder)).unwrap();
        }
        std::os::unix::fs::symlink("/run", root.at("var/run")).unwrap();
        root.own("/tmp", 0, 0o1777);
        fs::set_permissions(root.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        root
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path.trim_start_matches('/'))
    }

    /// A folder of that user and group.
    pub(crate) fn own(&self, path: &str, owner: u32, mode: u32) {
        fs::create_dir_all(self.at(path)).unwrap();
        chown(self.at(path), Some(owner), Some(owner)).unwrap();
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A text file.
    pub(crate) fn write(&self, path: &str, text: &str) {
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        fs::write(self.at(path), text).unwrap();
    }

    /// A program of the `PATH`, or a file, as `to`, and the libraries that it is linked with.
    pub(crate) fn program(&self, from: &Path, to: &str) {
        let from = if from.is_absolute() { from.to_owned() } else { on_the_path(from) };
        copy(&from, &self.at(to), &["-L"]);
        self.libraries_of(&from);
    }

    /// A folder with everything in it, as it is.
    pub(crate) fn tree(&self, from: &Path, to: &str) {
        fs::create_dir_all(self.at(to).parent().unwrap()).unwrap();
        copy(from, &self.at(to), &["-a"]);
        self.trees.borrow_mut().push(from.to_owned());
    }

    /// The libraries that a program or library is linked with, its loader among them; none of them twice.
    pub(crate) fn libraries_of(&self, file: &Path) {
        let output = Command::new("ldd").arg(file).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for library in text.split_whitespace().filter(|word| word.starts_with('/')) {
            let to = self.at(library);
            let is_in_a_tree = self.trees.borrow().iter().any(|tree| Path::new(library).starts_with(tree));
            if !is_in_a_tree && !to.exists() {
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                copy(Path::new(library), &to, &["-L"]);
            }
        }
    }

    /// Makes the image; `changes` are lines of a Dockerfile.
    pub(crate) fn import(self, docker: &PrivateDocker, image: &str, changes: &[&str]) {
        let tar = tempfile::NamedTempFile::new().unwrap();
        let status = Command::new("tar")
            .arg("-C")
            .arg(self.folder.path())
            .arg("-cf")
            .arg(tar.path())
            .arg(".")
            .status();
        assert!(status.unwrap().success());
        let tar = tar.path().display().to_string();
        let mut arguments = vec!["import"];
        for change in changes {
            arguments.extend(["--change", change]);
        }
        arguments.extend([tar.as_str(), image]);
        docker.docker(&arguments);
    }
}

fn on_the_path(name: &Path) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{} is needed: scripts/setup.sh installs it", name.display()))
}

fn copy(from: &Path, to: &Path, options: &[&str]) {
    let status = Command::new("cp").args(options).arg(from).arg(to).status().unwrap();
    assert!(status.success(), "cp {} {}", from.display(), to.display());
}
