//! Which file of a `postgresql.conf` and its includes holds the line that takes effect.
//!
//! In: the main file as seen from here, and where the server says that it is. Out: the file to edit, with its text.
//! Follows `include`, `include_if_exists` and `include_dir` in order, as Postgres does, at most ten deep.
//! It reads files and changes nothing; `postgresql.auto.conf` is not part of the chain.

use super::conf_text::{Include, include_of};
use super::durable_file::{io_error, read};
use super::line_edit::{Entry, Syntax};
use super::{ActuateError, durable_file};
use std::fs;
use std::path::{Path, PathBuf};

/// As deep as Postgres follows includes.
const MAX_DEPTH: u32 = 10;

/// The server's paths as seen from here: inside a container the main file stands elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PathMap {
    /// The folder of `config_file` as the server names it, and the same folder as seen from here.
    folders: Option<(PathBuf, PathBuf)>,
}

impl PathMap {
    /// From the main file as seen from here and the server's `config_file`.
    pub(super) fn new(main: &Path, config_file: Option<&Path>) -> Self {
        let folders = config_file.and_then(|server| Some((server.parent()?, main.parent()?)));
        let folders = folders.filter(|(server, here)| server != here);
        Self { folders: folders.map(|(server, here)| (server.to_owned(), here.to_owned())) }
    }

    /// The server's path as seen from here.
    pub(super) fn local(&self, path: &Path) -> PathBuf {
        let mapped =
            self.folders.as_ref().and_then(|(server, here)| Some(here.join(path.strip_prefix(server).ok()?)));
        mapped.unwrap_or_else(|| path.to_owned())
    }
}

/// The file to edit.
#[derive(Debug)]
pub(super) struct Located {
    /// Its real path, links followed.
    pub(super) file: PathBuf,
    /// Its text.
    pub(super) text: Vec<u8>,
}

/// The file whose line for `key` takes effect; the main file where no file sets it.
pub(super) fn locate(main: &Path, map: &PathMap, key: &str) -> Result<Located, ActuateError> {
    let mut walk = Walk { map, key, found: None };
    walk.file(main, 0)?;
    let path = walk.found.unwrap_or_else(|| main.to_owned());
    let file = durable_file::real_path(&path)?;
    let text = read(&file)?;
    Ok(Located { file, text })
}

struct Walk<'a> {
    map: &'a PathMap,
    key: &'a str,
    /// The file of the last assignment so far, as it was included.
    found: Option<PathBuf>,
}

impl Walk<'_> {
    fn file(&mut self, path: &Path, depth: u32) -> Result<(), ActuateError> {
        if depth > MAX_DEPTH {
            let error = std::io::Error::other("includes are nested too deeply, perhaps in a circle");
            return Err(io_error("reading", path, error));
        }
        let text = read(path)?;
        for entry in Syntax::PostgresqlConf.entries(&text) {
            match entry {
                Entry::Malformed { number, line, .. } => {
                    return Err(ActuateError::Syntax {
                        path: path.to_owned(),
                        line: number,
                        found: String::from_utf8_lossy(&text[line]).into_owned(),
                    });
                }
                Entry::Assignment(found) => match include_of(&found.key) {
                    Some(kind) => self.include(kind, &self.resolved(path, &found.value), depth + 1)?,
                    None if Syntax::PostgresqlConf.same_key(&found.key, self.key) => {
                        self.found = Some(path.to_owned());
                    }
                    None => {}
                },
            }
        }
        Ok(())
    }

    /// Relative to the folder of the including file, as it was named: a link to it does not count.
    fn resolved(&self, from: &Path, included: &str) -> PathBuf {
        let included = Path::new(included);
        if included.is_absolute() {
            return self.map.local(included);
        }
        from.parent().unwrap_or(Path::new(".")).join(included)
    }

    fn include(&mut self, kind: Include, path: &Path, depth: u32) -> Result<(), ActuateError> {
        match kind {
            Include::File => self.file(path, depth),
            Include::FileIfExists if !path.exists() => Ok(()),
            Include::FileIfExists => self.file(path, depth),
            Include::Folder => {
                for file in conf_files_in(path)? {
                    self.file(&file, depth)?;
                }
                Ok(())
            }
        }
    }
}

/// `*.conf` of a folder that do not begin with a dot, in the order of their bytes.
fn conf_files_in(folder: &Path) -> Result<Vec<PathBuf>, ActuateError> {
    let reading = |source| io_error("reading", folder, source);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(reading)? {
        let name = entry.map_err(reading)?.file_name();
        let bytes = name.as_encoded_bytes();
        let is_conf = bytes.len() > 5 && bytes.ends_with(b".conf") && !bytes.starts_with(b".");
        if is_conf && !folder.join(&name).is_dir() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::super::durable_file::create;
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            create(&path, text.as_bytes()).unwrap();
        }
        folder
    }

    fn located(folder: &tempfile::TempDir, key: &str) -> String {
        let found = locate(&folder.path().join("postgresql.conf"), &PathMap::default(), key).unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        found.file.strip_prefix(root).unwrap().display().to_string()
    }

    #[test]
    fn the_last_of_the_chain_takes_effect() {
        let folder = folder(&[
            (
                "postgresql.conf",
                "a=1\nb=1\nInclude_Dir 'conf.d'\nb=2\ninclude_if_exists='gone.conf'\ninclude = sub/x.conf\n",
            ),
            ("conf.d/10.conf", "A=2\nb=3\nc=1\n"),
            ("conf.d/9.conf", "c=2\n"),
            ("conf.d/.hidden.conf", "a=9\n"),
            ("conf.d/99.conf.bak", "a=9\n"),
            ("sub/x.conf", "include 'y.conf'\n"),
            ("sub/y.conf", "d=1\n"),
        ]);
        assert_eq!(located(&folder, "a"), "conf.d/10.conf");
        assert_eq!(located(&folder, "b"), "postgresql.conf");
        assert_eq!(located(&folder, "c"), "conf.d/9.conf", "names are ordered as text, not as numbers");
        assert_eq!(located(&folder, "d"), "sub/y.conf");
        assert_eq!(located(&folder, "absent"), "postgresql.conf");
    }

    #[test]
    fn a_linked_main_file_includes_from_where_it_was_named() {
        let folder = folder(&[("real/main.conf", "include 'x.conf'\n"), ("x.conf", "a = 1\n")]);
        std::os::unix::fs::symlink("real/main.conf", folder.path().join("postgresql.conf")).unwrap();
        assert_eq!(located(&folder, "a"), "x.conf");
        assert_eq!(located(&folder, "b"), "real/main.conf");
    }

    #[test]
    fn absolute_includes_of_a_container_are_looked_up_here() {
        let folder = folder(&[
            ("postgresql.conf", "include '/etc/postgresql/conf.d/x.conf'\n"),
            ("conf.d/x.conf", "a = 1\n"),
        ]);
        let main = folder.path().join("postgresql.conf");
        let map = PathMap::new(&main, Some(Path::new("/etc/postgresql/postgresql.conf")));
        assert!(locate(&main, &map, "a").unwrap().file.ends_with("conf.d/x.conf"));
        let error = locate(&main, &PathMap::default(), "a").unwrap_err();
        assert!(error.to_string().starts_with("reading /etc/postgresql/conf.d/x.conf: "), "{error}");
    }

    #[test]
    fn circles_and_broken_lines_are_named() {
        let circle = folder(&[("postgresql.conf", "include 'postgresql.conf'\n")]);
        let main = circle.path().join("postgresql.conf");
        assert!(locate(&main, &PathMap::default(), "a").unwrap_err().to_string().contains("circle"));
        let broken = folder(&[("postgresql.conf", "a = 1\nb = = 2\n")]);
        let main = broken.path().join("postgresql.conf");
        let error = locate(&main, &PathMap::default(), "a").unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{}:2: \"b = = 2\" is not a line that Postgres reads", main.display())
        );
    }
}
