//! The database file: making it, opening it, and the one way to read and to write it.
//!
//! A rollback journal, not a WAL: between two writes the one file is the whole ledger, so that `cp` alone copies it
//! and it works on bind mounts and network folders, where SQLite's shared memory does not. `synchronous=EXTRA` is
//! FULL plus a sync of the folder after the journal is gone; without that, a power cut could take back a commit
//! that was already acted upon.
//!
//! A new ledger is made beside its place and then moved there. So a ledger never exists without its tables, and an
//! empty file in its place is a ledger that lost its content, not a new one.
//!
//! Nothing here opens the database file but SQLite: closing any other handle to it would drop SQLite's own locks
//! (POSIX gives them up for the whole process).

use super::LedgerError;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// `lvrd`: how SQLite's header says whose file it is.
const APPLICATION_ID: i64 = 0x6c76_7264;

/// How long another process may hold the ledger.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// One entry for each format, oldest first. Never edited once released: a change is a new entry.
const MIGRATIONS: [&str; 3] =
    [include_str!("schema_1.sql"), include_str!("schema_2.sql"), include_str!("schema_3.sql")];

/// The durable record of trials and migrations. Cheap to clone; clones share one connection.
///
/// The methods block for as long as a disk takes, and for up to 5 s where another process holds the file: from async
/// code call them through [`Ledger::off_thread`].
#[derive(Debug, Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    lock_wait: Duration,
    connection: Mutex<Connection>,
}

impl Ledger {
    /// Opens the ledger, or makes a new one (mode 0600) where there is none, with its folders.
    ///
    /// # Errors
    /// A file that is damaged, foreign, newer or locked, or that cannot be made.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        Self::open_waiting(path, LOCK_WAIT)
    }

    /// Opens the ledger only where there is one, for commands that look back.
    ///
    /// # Errors
    /// [`LedgerError::Missing`] where there is none; else as [`Ledger::open`].
    pub fn open_existing(path: &Path) -> Result<Self, LedgerError> {
        if !exists(path)? {
            return Err(LedgerError::Missing { path: path.to_owned() });
        }
        Self::attach(path, LOCK_WAIT)
    }

    /// As [`Ledger::open`], with the time that another process may hold the file.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn open_waiting(path: &Path, lock_wait: Duration) -> Result<Self, LedgerError> {
        if !exists(path)? {
            create(path)?;
        }
        Self::attach(path, lock_wait)
    }

    fn attach(path: &Path, lock_wait: Duration) -> Result<Self, LedgerError> {
        refuse_what_is_no_ledger(path)?;
        let sqlite = |doing| move |source| LedgerError::from_sqlite(path, doing, lock_wait, source);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(sqlite("opening it"))?;
        connection.busy_timeout(lock_wait).map_err(sqlite("opening it"))?;
        // The pragma answers 0 for a database that nobody marked.
        let owner: i64 = connection
            .pragma_query_value(None, "application_id", |row| row.get(0))
            .map_err(sqlite("reading its header"))?;
        if owner != APPLICATION_ID {
            return Err(LedgerError::Foreign { path: path.to_owned() });
        }
        configure(&connection).map_err(sqlite("opening it"))?;
        check(&connection, path, lock_wait)?;
        let ledger = Self {
            inner: Arc::new(Inner { path: path.to_owned(), lock_wait, connection: Mutex::new(connection) }),
        };
        ledger.migrate()?;
        Ok(ledger)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// A random word made with the ledger, which tells its records from those of another ledger.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn identity(&self) -> Result<String, LedgerError> {
        self.read("reading its identity", |connection| {
            connection.query_row("SELECT value FROM about WHERE key = 'identity'", [], |row| row.get(0))
        })
    }

    /// Does blocking work with the ledger on a thread made for that. A dropped future does not cut the work short.
    pub async fn off_thread<T, F>(&self, work: F) -> T
    where
        T: Send + 'static,
        F: FnOnce(&Self) -> T + Send + 'static,
    {
        let ledger = self.clone();
        match tokio::task::spawn_blocking(move || work(&ledger)).await {
            Ok(done) => done,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime is going away before the work began; nothing polls this again.
            Err(_) => std::future::pending().await,
        }
    }

    /// Reads. Never leaves a transaction open, so that no reader holds a writer up.
    pub(super) fn read<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, LedgerError> {
        work(&self.connection()).map_err(|source| self.sqlite(doing, source))
    }

    /// Writes: all of `work`, on disk, or nothing of it.
    pub(super) fn write<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let mut connection = self.connection();
        let sqlite = |source| self.sqlite(doing, source);
        // IMMEDIATE takes the write lock at once: a reader that turns writer half-way is refused without a wait.
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sqlite)?;
        let done = work(&transaction)?;
        fail::fail_point!("ledger::before_commit", |_| std::process::abort());
        transaction.commit().map_err(sqlite)?;
        fail::fail_point!("ledger::after_commit", |_| std::process::abort());
        Ok(done)
    }

    /// Sorts an answer of SQLite, met while `doing`.
    pub(super) fn sqlite(&self, doing: &'static str, source: rusqlite::Error) -> LedgerError {
        LedgerError::from_sqlite(&self.inner.path, doing, self.inner.lock_wait, source)
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic while it was held rolled its transaction back; the connection itself is sound.
        self.inner.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn migrate(&self) -> Result<(), LedgerError> {
        let format = self.read("reading its format", format_of)?;
        let known = i64::try_from(MIGRATIONS.len()).expect("a handful of formats");
        if format > known {
            return Err(LedgerError::Newer { path: self.inner.path.clone(), found: format, known });
        }
        if format == known {
            return Ok(());
        }
        let doing = "bringing it to the present format";
        self.write(doing, |connection| {
            // Another process may have been quicker: what counts is the format inside the transaction.
            let format = format_of(connection).map_err(|source| self.sqlite(doing, source))?;
            apply_migrations(connection, format).map_err(|source| self.sqlite(doing, source))
        })
    }
}

fn format_of(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn apply_migrations(connection: &Connection, from: i64) -> rusqlite::Result<()> {
    for (format, script) in (1_i64..).zip(MIGRATIONS).filter(|(format, _)| *format > from) {
        connection.execute_batch(script)?;
        connection.pragma_update(None, "user_version", format)?;
    }
    Ok(())
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    // Answers with the mode that it is in now; a ledger that somebody put into another one is as safe, if less handy.
    let _mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "DELETE", |row| row.get(0))?;
    connection.execute_batch(
        // fullfsync: on macOS a plain fsync stops at the drive's cache.
        "PRAGMA synchronous = EXTRA;
         PRAGMA fullfsync = ON;
         PRAGMA foreign_keys = ON;
         PRAGMA trusted_schema = OFF;
         PRAGMA cell_size_check = ON;",
    )
}

fn check(connection: &Connection, path: &Path, lock_wait: Duration) -> Result<(), LedgerError> {
    let sqlite = |source| LedgerError::from_sqlite(path, "checking it", lock_wait, source);
    // One transaction, so that no writer changes the length between two questions.
    let transaction = connection.unchecked_transaction().map_err(sqlite)?;
    let found: String =
        transaction.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(sqlite)?;
    let pages: u32 = transaction.pragma_query_value(None, "page_count", |row| row.get(0)).map_err(sqlite)?;
    let page: u32 = transaction.pragma_query_value(None, "page_size", |row| row.get(0)).map_err(sqlite)?;
    let length = path.metadata().map_err(|error| LedgerError::from_io(path, "checking it", error))?.len();
    transaction.rollback().map_err(sqlite)?;
    let damaged = |what| Err(LedgerError::Damaged { path: path.to_owned(), what });
    if found != "ok" {
        return damaged(found);
    }
    // SQLite reads what is missing of the last page as zeros, and does not mind where that page was empty.
    if length < u64::from(pages) * u64::from(page) || length % u64::from(page) != 0 {
        return damaged(format!("it has {length} bytes where {pages} pages of {page} bytes belong"));
    }
    Ok(())
}

fn exists(path: &Path) -> Result<bool, LedgerError> {
    // A dangling link is not "none": a new ledger in its place would hide the mistake.
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(LedgerError::from_io(path, "looking for it", error)),
    }
}

/// The smallest page that SQLite knows; no database is smaller.
const SMALLEST_DATABASE: u64 = 512;

/// SQLite takes an empty file for a new database, and a folder or a pipe for "unable to open".
fn refuse_what_is_no_ledger(path: &Path) -> Result<(), LedgerError> {
    let metadata = path.metadata().map_err(|error| LedgerError::from_io(path, "opening it", error))?;
    if !metadata.is_file() {
        let source = io::Error::other("it is not a regular file");
        return Err(LedgerError::from_io(path, "opening it", source));
    }
    if metadata.len() < SMALLEST_DATABASE {
        let what = format!("it has only {} bytes", metadata.len());
        return Err(LedgerError::Damaged { path: path.to_owned(), what });
    }
    Ok(())
}

fn create(path: &Path) -> Result<(), LedgerError> {
    let doing = "making a new one";
    let io = |error| LedgerError::from_io(path, doing, error);
    let sqlite = |source| LedgerError::from_sqlite(path, doing, LOCK_WAIT, source);
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder)
        .map_err(|error| LedgerError::from_io(path, "making its folder", error))?;
    // Mode 0600 from the first moment.
    let draft = tempfile::Builder::new().prefix(".ledger-").suffix(".new").tempfile_in(folder).map_err(io)?;
    let connection = Connection::open(draft.path()).map_err(sqlite)?;
    configure(&connection).map_err(sqlite)?;
    connection.pragma_update(None, "application_id", APPLICATION_ID).map_err(sqlite)?;
    connection
        .execute_batch("BEGIN IMMEDIATE")
        .and_then(|()| apply_migrations(&connection, 0))
        .and_then(|()| connection.execute_batch("COMMIT"))
        .map_err(sqlite)?;
    connection.close().map_err(|(_, source)| sqlite(source))?;
    match draft.into_temp_path().persist_noclobber(path) {
        Ok(()) => {}
        // Another process was quicker; its ledger is as good.
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(io(error.error)),
    }
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{at, planned};
    use super::*;
    use crate::model::TrialId;
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    fn with_a_trial(folder: &Path) -> PathBuf {
        let path = folder.join("new/folders/ledger.db");
        Ledger::open(&path).unwrap().insert(&planned("capsim")).unwrap();
        path
    }

    fn put(path: &Path, bytes: &[u8]) {
        let mut draft = tempfile::NamedTempFile::new_in(path.parent().unwrap()).unwrap();
        draft.write_all(bytes).unwrap();
        draft.persist(path).unwrap();
    }

    #[test]
    fn a_new_ledger_is_for_its_owner_only_and_stands_alone_in_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = with_a_trial(folder.path());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let beside = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(beside, 1, "no journal and no draft: cp of the one file copies the ledger");
        let copy = folder.path().join("copy.db");
        fs::copy(&path, &copy).unwrap();
        let (ledger, copy) = (Ledger::open(&path).unwrap(), Ledger::open_existing(&copy).unwrap());
        assert_eq!(copy.trial(TrialId(1)).unwrap(), ledger.trial(TrialId(1)).unwrap());
        assert_eq!(copy.identity().unwrap(), ledger.identity().unwrap());
    }

    #[test]
    fn it_is_as_durable_as_it_says() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&with_a_trial(folder.path())).unwrap();
        let of = |pragma: &str| {
            ledger.read("asking", |c| c.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0))).unwrap()
        };
        // 2 is FULL, 3 is EXTRA.
        assert_eq!((of("synchronous"), of("fullfsync"), of("foreign_keys")), (3, 1, 1));
        let mode: String =
            ledger.read("asking", |c| c.pragma_query_value(None, "journal_mode", |row| row.get(0))).unwrap();
        assert_eq!(mode, "delete");
    }

    #[test]
    fn a_ledger_cut_short_anywhere_is_named_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = with_a_trial(folder.path());
        let whole = fs::read(&path).unwrap();
        for cut in (0..whole.len()).step_by(1021).chain([1, 15, 16, 99, 100, 511, 512, 4096, whole.len() - 1])
        {
            put(&path, &whole[..cut]);
            for opened in [Ledger::open(&path), Ledger::open_existing(&path)] {
                let error = opened.unwrap_err();
                assert!(matches!(error, LedgerError::Damaged { .. }), "cut at {cut}: {error}");
                assert!(error.to_string().contains("ledger.db is damaged: "), "{error}");
                assert!(error.hint().is_some());
            }
            assert_eq!(fs::read(&path).unwrap(), &whole[..cut], "never overwritten");
        }
    }

    #[test]
    fn a_page_of_zeros_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = with_a_trial(folder.path());
        let whole = fs::read(&path).unwrap();
        for page in 1..whole.len() / 4096 {
            let mut torn = whole.clone();
            torn[page * 4096..(page + 1) * 4096].fill(0);
            put(&path, &torn);
            let error = Ledger::open(&path).unwrap_err();
            assert!(matches!(error, LedgerError::Damaged { .. }), "page {page}: {error}");
        }
    }

    #[test]
    fn a_record_that_cannot_be_read_is_named_by_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&with_a_trial(folder.path())).unwrap();
        ledger.read("spoiling", |c| c.execute("UPDATE trial SET body = '{'", [])).unwrap();
        let error = ledger.trial(TrialId(1)).unwrap_err();
        assert!(error.to_string().contains("is damaged: trial 1 cannot be read: "), "{error}");
    }

    #[test]
    fn what_is_not_a_ledger_is_never_touched() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("notes.txt");
        put(&text, b"not a database at all, just some text that somebody keeps in this file");
        assert!(matches!(Ledger::open(&text).unwrap_err(), LedgerError::Damaged { .. }));

        let theirs = folder.path().join("app.sqlite");
        Connection::open(&theirs).unwrap().execute_batch("CREATE TABLE orders (id INTEGER)").unwrap();
        let before = fs::read(&theirs).unwrap();
        assert!(matches!(Ledger::open(&theirs).unwrap_err(), LedgerError::Foreign { .. }));
        assert_eq!(fs::read(&theirs).unwrap(), before);

        let error = Ledger::open(folder.path()).unwrap_err();
        assert!(error.to_string().ends_with("opening it: it is not a regular file"), "{error}");
        assert!(matches!(
            Ledger::open_existing(&folder.path().join("none.db")).unwrap_err(),
            LedgerError::Missing { .. }
        ));
        let dangling = folder.path().join("link.db");
        std::os::unix::fs::symlink(folder.path().join("gone/ledger.db"), &dangling).unwrap();
        assert!(matches!(Ledger::open(&dangling).unwrap_err(), LedgerError::File { .. }));
    }

    #[test]
    fn a_newer_format_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = with_a_trial(folder.path());
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        let error = Ledger::open(&path).unwrap_err();
        assert!(error.to_string().ends_with("has format 99; this leverd knows formats up to 3"), "{error}");
    }

    #[test]
    fn a_lock_is_waited_for_but_not_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let path = with_a_trial(folder.path());
        let ledger = Ledger::open_waiting(&path, Duration::from_millis(50)).unwrap();
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN EXCLUSIVE").unwrap();
        let error = ledger.freeze(&"capsim".into(), &"jit".into(), "edited", at(0)).unwrap_err();
        assert!(matches!(error, LedgerError::Locked { .. }), "{error}");
        assert!(matches!(ledger.trial(TrialId(1)).unwrap_err(), LedgerError::Locked { .. }));
        let error = Ledger::open_waiting(&path, Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("is locked by another process: "), "{error}");
        other.execute_batch("COMMIT").unwrap();
        ledger.freeze(&"capsim".into(), &"jit".into(), "edited", at(0)).unwrap();
    }

    #[test]
    fn a_write_that_fails_half_way_or_panics_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&with_a_trial(folder.path())).unwrap();
        let half = |c: &Connection| {
            c.execute("UPDATE trial SET lever = 'half'", []).unwrap();
        };
        let refused: Result<(), LedgerError> = ledger.write("trying", |connection| {
            half(connection);
            Err(LedgerError::Missing { path: PathBuf::new() })
        });
        assert!(refused.is_err());
        let other = ledger.clone();
        let panicked = std::thread::spawn(move || {
            other.write::<()>("trying", |connection| {
                half(connection);
                panic!("in the middle");
            })
        });
        assert!(panicked.join().is_err());
        let lever: String =
            ledger.read("asking", |c| c.query_row("SELECT lever FROM trial", [], |row| row.get(0))).unwrap();
        assert_eq!(lever, "checkpoint_timeout");
        ledger.bind_target(&"capsim".into(), 1, at(0)).unwrap();
    }

    #[tokio::test]
    async fn it_is_used_from_async_code_on_a_thread_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&with_a_trial(folder.path())).unwrap();
        let trial = ledger.off_thread(|ledger| ledger.trial(TrialId(1))).await.unwrap();
        assert_eq!(trial.id, TrialId(1));
    }
}
