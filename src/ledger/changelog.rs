//! `CHANGELOG_TUNING.md`: the ledger's ends of trials, for people, in the order in which they happened.
//!
//! In: the ledger. Out: entries at the end of a Markdown file that people may read, edit, trim and commit.
//!
//! Always holds: leverd only appends, and syncs what it appended; what is there is never rewritten or cut. Each entry
//! ends in a hidden marker, so [`Changelog::sync`] finds by looking what is missing after a crash, a full disk or a
//! deleted file, and writes each entry once. Entries older than the newest one that is there are not brought back: a
//! person took them out.

use super::entry::{marker, render};
use super::{Due, Ledger, LedgerError};
use crate::model::Trial;
use std::collections::HashSet;
use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How a new changelog begins.
const HEADER: &str = "# Tuning changelog

What leverd changed, oldest first: the result, the arithmetic, the reason, and how to undo it. Times are UTC.
leverd only appends here. Edit and trim it as you like, but leave the hidden line that ends the newest entry.
";

/// Together 5 s: how long another leverd may hold the file.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Why the changelog could not be written. The ledger has it all; the next [`Changelog::sync`] makes up for it.
#[derive(Debug, thiserror::Error)]
pub enum ChangelogError {
    /// A file operation failed.
    #[error("the changelog {}: {doing}: {source}", path.display())]
    File {
        /// The changelog.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// Another process holds it.
    #[error("the changelog {} is locked by another process", path.display())]
    Locked {
        /// The changelog.
        path: PathBuf,
    },
    /// The ledger could not be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl ChangelogError {
    /// What a person could do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("free some space; the ledger has the entry, and it is written the next time")
            }
            Self::File { .. } => {
                Some("check owner and mode (`paths.changelog` names it); the ledger has the entry")
            }
            Self::Locked { .. } => Some("`fuser FILE` names the process; the entry is written the next time"),
            Self::Ledger(error) => error.hint(),
        }
    }
}

/// The changelog of one ledger.
#[derive(Debug, Clone)]
pub struct Changelog {
    path: PathBuf,
    /// How often a held file is asked for, [`LOCK_PAUSE`] apart.
    lock_tries: u32,
}

impl Changelog {
    /// The changelog at `path`; nothing is touched yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), lock_tries: LOCK_TRIES }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends every entry that the ledger has and the file has not, and says how many. `undo` gives the plain
    /// commands that put a trial's old value back without leverd.
    ///
    /// # Errors
    /// The file or the ledger cannot be used. What was appended before that stays, and is not written again.
    pub fn sync(
        &self,
        ledger: &Ledger,
        undo: impl Fn(&Trial) -> Vec<String>,
    ) -> Result<usize, ChangelogError> {
        let due = ledger.entries_due()?;
        if due.is_empty() {
            return Ok(0);
        }
        let identity = ledger.identity()?;
        let mut file = self.open_locked()?;
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(self.failed("reading it"))?;
        let missing = missing(&due, &content, &identity);
        let written = missing.len();
        for due in missing {
            let trial = ledger.trial(due.trial)?;
            let text = render(&trial, due, &identity, &undo(&trial));
            let addition = addition(&content, &text);
            file.write_all(&addition).map_err(self.failed("appending an entry"))?;
            file.sync_data().map_err(self.failed("syncing it"))?;
            content.extend_from_slice(&addition);
        }
        Ok(written)
    }

    /// Opened for reading and appending, held against other writers until it is dropped.
    fn open_locked(&self) -> Result<File, ChangelogError> {
        let mut options = OpenOptions::new();
        options.read(true).append(true);
        let file = match options.open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.create()?;
                options.open(&self.path)
            }
            opened => opened,
        }
        .map_err(self.failed("opening it"))?;
        for _ in 0..self.lock_tries {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
                Err(TryLockError::Error(error)) => return Err(self.failed("locking it")(error)),
            }
        }
        Err(ChangelogError::Locked { path: self.path.clone() })
    }

    /// Puts a file with the header in its place, whole or not at all.
    fn create(&self) -> Result<(), ChangelogError> {
        let failed = self.failed("making a new one");
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(folder).map_err(&failed)?;
        let mut draft = tempfile::Builder::new()
            .prefix(".changelog-")
            .permissions(Permissions::from_mode(0o644))
            .tempfile_in(folder)
            .map_err(&failed)?;
        draft.write_all(HEADER.as_bytes()).map_err(&failed)?;
        draft.as_file().sync_all().map_err(&failed)?;
        match draft.into_temp_path().persist_noclobber(&self.path) {
            Ok(()) => {}
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error.error)),
        }
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(&failed)
    }

    fn failed(&self, doing: &'static str) -> impl Fn(io::Error) -> ChangelogError + '_ {
        move |source| ChangelogError::File { path: self.path.clone(), doing, source }
    }
}

/// The entries after the newest one that is in the file, each once.
fn missing<'a>(due: &'a [Due], content: &[u8], identity: &str) -> Vec<&'a Due> {
    let mut seen: HashSet<String> = content
        .split(|byte| *byte == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok())
        .map(str::trim)
        .filter(|line| line.starts_with("<!-- leverd trial "))
        .map(str::to_owned)
        .collect();
    let from =
        due.iter().rposition(|due| seen.contains(&marker(due, identity))).map_or(0, |newest| newest + 1);
    // A trial that was frozen twice, say, has one entry for it.
    due[from..].iter().filter(|due| seen.insert(marker(due, identity))).collect()
}

/// The bytes to append to `content` so that it ends in `entry`. Where it ends in the beginning of this very entry,
/// because its writing was cut short, that is the rest of it; another torn end is closed first, so that it cannot
/// swallow what follows.
fn addition(content: &[u8], entry: &str) -> Vec<u8> {
    let entry = entry.as_bytes();
    let longest = content.len().min(entry.len());
    // A single byte is the line ending that every file has.
    if let Some(torn) = (2..=longest).rev().find(|n| content.ends_with(&entry[..*n])) {
        return entry[torn..].to_vec();
    }
    let mut addition = Vec::new();
    if content.last().is_some_and(|last| *last != b'\n') {
        addition.push(b'\n');
    }
    if let Some(fence) = open_fence(content) {
        addition.extend_from_slice(&fence);
        addition.push(b'\n');
    }
    addition.extend_from_slice(entry);
    addition
}

/// The backticks of a code block that is still open at the end.
fn open_fence(content: &[u8]) -> Option<Vec<u8>> {
    let mut open: Option<usize> = None;
    for line in content.split(|byte| *byte == b'\n') {
        let ticks = line.iter().take_while(|byte| **byte == b'`').count();
        let bare = line[ticks..].iter().all(u8::is_ascii_whitespace);
        open = match open {
            None if ticks >= 3 => Some(ticks),
            Some(opened) if ticks >= opened && bare => None,
            unchanged => unchanged,
        };
    }
    open.map(|ticks| vec![b'`'; ticks])
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{at, kept, planned, reverted};
    use super::*;
    use crate::model::{Phase, TrialId, Verdict};
    use std::fs;

    struct Room {
        folder: tempfile::TempDir,
        ledger: Ledger,
        changelog: Changelog,
    }

    impl Room {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let ledger = Ledger::open(&folder.path().join("ledger.db")).unwrap();
            let changelog = Changelog::new(folder.path().join("docs/CHANGELOG_TUNING.md"));
            Self { folder, ledger, changelog }
        }

        fn end(&self, trial: &Trial, seconds: i64) -> TrialId {
            let opened = Trial { phase: Phase::Planned, verdict: None, ..trial.clone() };
            let id = self.ledger.insert(&opened).unwrap();
            self.ledger.save(&Trial { id, ..trial.clone() }, "ended", at(seconds)).unwrap();
            id
        }

        fn sync(&self) -> usize {
            self.changelog.sync(&self.ledger, |_| vec!["cp a b".to_owned()]).unwrap()
        }

        fn text(&self) -> String {
            fs::read_to_string(self.changelog.path()).unwrap()
        }

        /// Puts `bytes` where the changelog is.
        fn put(&self, bytes: &[u8]) {
            let folder = self.changelog.path().parent().unwrap();
            fs::create_dir_all(folder).unwrap();
            let mut draft = tempfile::NamedTempFile::new_in(folder).unwrap();
            draft.write_all(bytes).unwrap();
            draft.persist(self.changelog.path()).unwrap();
        }

        /// How often each trial's heading is there.
        fn entries(&self) -> usize {
            self.text().lines().filter(|line| line.starts_with("## ")).count()
        }
    }

    #[test]
    fn a_file_is_made_with_its_header_and_each_entry_is_written_once() {
        let room = Room::new();
        assert_eq!(room.sync(), 0);
        assert!(!room.changelog.path().exists(), "no change, no file");
        let id = room.end(&kept("capsim"), 960);
        room.end(&reverted("capsim", Verdict::Undecided, "no gain"), 1960);
        room.end(&Trial { phase: Phase::Aborted, ..planned("capsim") }, 2000);
        assert_eq!(room.sync(), 2);
        assert_eq!(room.sync(), 0);
        room.ledger.mark_undone(id, at(3000), "leverd rollback 1").unwrap();
        assert_eq!(room.sync(), 1);
        let text = room.text();
        assert!(text.starts_with(HEADER));
        let results: Vec<_> = text.lines().filter(|line| line.starts_with("* Result")).collect();
        assert_eq!(
            results,
            [
                "* Result: ✅ improved",
                "* Result: ➖ no gain proved, put back",
                "* Result: ↩️ undone by a person",
            ]
        );
    }

    #[test]
    fn an_entry_that_was_cut_short_anywhere_is_completed() {
        let room = Room::new();
        room.end(&kept("capsim"), 960);
        room.sync();
        room.end(&reverted("capsim", Verdict::Reverted, "io_wait is 40 % worse"), 1960);
        let before = room.text().into_bytes();
        room.sync();
        let whole = room.text().into_bytes();
        // Every byte, also inside of a character and of a code block. One byte is just an empty line more.
        for cut in before.len() + 2..whole.len() {
            room.put(&whole[..cut]);
            let due = room.sync();
            // Without its last line ending the marker is whole, and so is the entry.
            assert_eq!(due, usize::from(cut < whole.len() - 1), "cut at {cut}");
            assert_eq!(room.text().trim_end().as_bytes(), whole.trim_ascii_end(), "cut at {cut}");
        }
    }

    #[test]
    fn a_torn_end_that_is_not_the_next_entry_is_closed_first() {
        let room = Room::new();
        room.put(b"# Mine\n\n## 2023-12-31 09:00\n\n```sh\ncp half");
        room.end(&kept("capsim"), 960);
        room.sync();
        let text = room.text();
        assert!(
            text.starts_with("# Mine\n\n## 2023-12-31 09:00\n\n```sh\ncp half\n```\n\n## 2024-01-15 10:30\n"),
            "{text}"
        );
        assert_eq!(open_fence(text.as_bytes()), None);
    }

    #[test]
    fn a_persons_edits_are_left_alone() {
        let room = Room::new();
        for seconds in [960, 1960, 2960] {
            room.end(&kept("capsim"), seconds);
        }
        room.sync();
        // The oldest two are moved to another file, and a note is added without a line ending.
        let newest = room.text().split_off(room.text().rfind("\n## ").unwrap());
        let edited = format!("# Ours\r\n{newest}\nA note by a person");
        room.put(edited.as_bytes());
        assert_eq!(room.sync(), 0, "what a person took out stays out");
        assert_eq!(room.text(), edited);
        room.end(&kept("capsim"), 3960);
        assert_eq!(room.sync(), 1);
        assert!(room.text().starts_with(&format!("{edited}\n\n## 2024-01-15 11:20\n")));
    }

    #[test]
    fn a_deleted_file_is_written_again_from_the_ledger() {
        let room = Room::new();
        room.end(&kept("capsim"), 960);
        room.end(&kept("capsim"), 1960);
        room.sync();
        let whole = room.text();
        fs::remove_file(room.changelog.path()).unwrap();
        assert_eq!(room.sync(), 2);
        assert_eq!(room.text(), whole);
    }

    #[test]
    fn another_ledgers_trials_are_other_trials() {
        let room = Room::new();
        room.end(&kept("capsim"), 960);
        room.sync();
        let other = Ledger::open(&room.folder.path().join("other.db")).unwrap();
        let id = other.insert(&planned("capsim")).unwrap();
        other.save(&Trial { id, ..kept("capsim") }, "ended", at(5000)).unwrap();
        assert_eq!(room.changelog.sync(&other, |_| vec![]).unwrap(), 1);
        assert_eq!(room.entries(), 2);
        assert_eq!(room.sync(), 0);
    }

    #[test]
    fn a_file_that_another_process_holds_is_waited_for_but_not_for_ever() {
        let mut room = Room::new();
        room.changelog.lock_tries = 2;
        room.end(&kept("capsim"), 960);
        room.put(b"");
        let held = File::open(room.changelog.path()).unwrap();
        held.lock().unwrap();
        let error = room.changelog.sync(&room.ledger, |_| vec![]).unwrap_err();
        assert!(matches!(error, ChangelogError::Locked { .. }), "{error}");
        drop(held);
        assert_eq!(room.sync(), 1);
    }

    #[test]
    fn a_folder_in_its_place_is_named() {
        let room = Room::new();
        room.end(&kept("capsim"), 960);
        fs::create_dir_all(room.changelog.path()).unwrap();
        let error = room.changelog.sync(&room.ledger, |_| vec![]).unwrap_err();
        assert!(error.to_string().contains("CHANGELOG_TUNING.md: opening it"), "{error}");
        assert!(error.hint().is_some());
    }

    #[test]
    fn the_projects_own_changelog_begins_with_the_header() {
        assert!(include_str!("../../CHANGELOG_TUNING.md").starts_with(HEADER));
    }
}
