//! Tells when a file of the configuration changed.
//!
//! It watches the folders, because editors and Kubernetes replace files instead of writing them, and compares what
//! is in the files: an event that changes nothing (a log line beside them, a `touch`) tells nothing. What to do is
//! the daemon's, as is SIGHUP.
//!
//! Always so: no change is lost. Events only wake it up; what it tells comes from the files. (A debouncer that
//! merges events by path drops a file that is made and removed in one window, even where the making was told.)

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher, event::AccessKind};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;

/// Events of one save come within this of each other.
const QUIET: Duration = Duration::from_millis(300);
/// A folder that is never quiet is looked at this often.
const MAX_WAITS: u32 = 10;

/// The files cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("{folder} cannot be watched for changes")]
pub struct WatchError {
    /// The folder.
    pub folder: PathBuf,
    /// Why.
    pub source: notify::Error,
}

impl WatchError {
    /// What a person could do about it.
    pub fn hint(&self) -> &'static str {
        "SIGHUP reloads the configuration too; on Linux, fs.inotify.max_user_watches may be too low"
    }
}

/// A running watch; it ends when dropped.
#[derive(Debug)]
pub struct ConfigWatch {
    /// Each file with what was in it when it was last told; `None` where it was not there.
    contents: Vec<(PathBuf, Option<[u8; 32]>)>,
    /// Something happened since the files were last looked at. Kept here, so that a cancelled wait loses nothing.
    stirred: bool,
    wake_ups: mpsc::Receiver<()>,
    _watcher: RecommendedWatcher,
}

impl ConfigWatch {
    /// Waits until one of the files has another content than before, was made or was removed; answers which.
    /// Changes that nobody waited for are not lost. Cancel-safe.
    pub async fn changed(&mut self) -> Vec<PathBuf> {
        loop {
            if !self.stirred {
                if self.wake_ups.recv().await.is_none() {
                    // The watcher is gone: nothing will ever be told again.
                    std::future::pending::<()>().await;
                }
                self.stirred = true;
            }
            self.until_quiet().await;
            self.stirred = false;
            let changed = self.compare();
            if !changed.is_empty() {
                return changed;
            }
        }
    }

    async fn until_quiet(&mut self) {
        for _ in 0..MAX_WAITS {
            match tokio::time::timeout(QUIET, self.wake_ups.recv()).await {
                Ok(Some(())) => tokio::time::sleep(QUIET).await,
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn compare(&mut self) -> Vec<PathBuf> {
        let mut changed = Vec::new();
        for (file, before) in &mut self.contents {
            let now = fingerprint(file);
            if now != *before {
                *before = now;
                changed.push(file.clone());
            }
        }
        changed
    }
}

/// Watches these files, present or not. Their folders must be there.
pub fn watch(files: &[PathBuf]) -> Result<ConfigWatch, WatchError> {
    // One waiting wake-up is as good as many.
    let (send, wake_ups) = mpsc::channel(1);
    let on_event = move |event: notify::Result<Event>| {
        if event.is_ok_and(|event| is_a_read(&event)) {
            return;
        }
        let _ = send.try_send(());
    };
    let error = |folder: &Path| {
        let folder = folder.to_path_buf();
        move |source| WatchError { folder, source }
    };
    let mut watcher = notify::recommended_watcher(on_event).map_err(error(Path::new("the configuration")))?;
    let folders: BTreeSet<&Path> = files.iter().filter_map(|file| file.parent()).collect();
    for folder in folders {
        watcher.watch(folder, RecursiveMode::NonRecursive).map_err(error(folder))?;
    }
    // After the watch began: a change in between is in the content or wakes it up.
    let contents = files.iter().map(|file| (file.clone(), fingerprint(file))).collect();
    Ok(ConfigWatch { contents, stirred: false, wake_ups, _watcher: watcher })
}

/// Looking at the files makes such events itself: answering them would never end.
fn is_a_read(event: &Event) -> bool {
    use notify::event::AccessMode::Write;
    matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(Write))
}

fn fingerprint(file: &Path) -> Option<[u8; 32]> {
    std::fs::read(file).ok().map(|bytes| Sha256::digest(&bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    #[expect(clippy::disallowed_methods, reason = "a test's own file")]
    fn write(file: &Path, text: &str) {
        std::fs::write(file, text).unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_replaced_made_or_removed_is_told_and_its_neighbours_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let (leverd, levers) = (folder.path().join("leverd.yaml"), folder.path().join("levers.yaml"));
        write(&leverd, "a: 1\n");
        let mut watch = watch(&[leverd.clone(), levers.clone()]).unwrap();

        // As an editor saves: a file beside it, renamed over it.
        write(&folder.path().join("leverd.yaml~"), "a: 2\n");
        std::fs::rename(folder.path().join("leverd.yaml~"), &leverd).unwrap();
        assert_eq!(
            tokio::time::timeout(DEADLINE, watch.changed()).await.unwrap(),
            std::slice::from_ref(&leverd)
        );

        // A neighbour and an unchanged content tell nothing: the next thing told is the new file.
        write(&folder.path().join("tuning.log"), "{}\n");
        write(&leverd, "a: 2\n");
        write(&levers, "levers:\n");
        assert_eq!(
            tokio::time::timeout(DEADLINE, watch.changed()).await.unwrap(),
            std::slice::from_ref(&levers)
        );

        std::fs::remove_file(&levers).unwrap();
        assert_eq!(tokio::time::timeout(DEADLINE, watch.changed()).await.unwrap(), [levers]);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let error = watch(&[PathBuf::from("/nowhere/at/all/leverd.yaml")]).unwrap_err();
        assert_eq!(error.to_string(), "/nowhere/at/all cannot be watched for changes");
    }
}
