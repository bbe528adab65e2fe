//! The target's own levers and levels, around a run: where `lever_config` names a leverd.yaml, its levers are borrowed
//! for the run's time; where the target serves others, its signals are guards.
//!
//! In: the migration's configuration, and the run's future. Out: what the run answered, and what is to be told of the
//! levers. Always holds: a leverd.yaml that is about another server than the target is refused; levers are pulled under
//! the lock of their target and after the run has its lease, and given back whatever ended the run; what an earlier run
//! has borrowed and left goes back first. Without the lock a run goes on without levers, and says so.

use super::{say, session};
use crate::cli::{EXIT_BAD_CONFIG, EXIT_FAILED};
use crate::config::{self, Config, MigrationConfig};
use crate::daemon::{Borrowed, Guards, Lock, LockError, Progress, Reporter, Session, SessionError};
use crate::migrate::run::{Beside, Leased, Report};
use crate::model::Trial;
use crate::postgres::{connect, server};
use chrono::{DateTime, Utc};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

/// To connect to the server that leverd.yaml names.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What goes on around a run.
pub(super) struct Around {
    leased: oneshot::Receiver<Leased>,
    guards: Option<(Guards, watch::Sender<Vec<String>>)>,
    /// Or why its levers are not pulled, which was told.
    acting: Result<Acting, Hindrance>,
}

/// The right to act on the target, and what acts. In this order they end, too.
struct Acting {
    session: Session,
    _lock: Lock,
}

/// Why levers are not pulled.
enum Hindrance {
    /// For people; and whether something that an earlier run has borrowed stays for it.
    Other { why: String, owes: bool },
    /// What an earlier run has borrowed cannot be given back.
    Owed(Box<SessionError>),
}

/// What is to be told at the run's end.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Sentences for the report.
    notes: Vec<String>,
    /// Something is borrowed that should be back.
    owes: bool,
}

impl Told {
    /// Puts its sentences into the run's report.
    pub(super) fn note(&mut self, report: &mut Report) {
        report.notes.append(&mut self.notes);
    }

    /// Says its sentences where no report has them.
    pub(super) fn say(&self) {
        for sentence in &self.notes {
            say(sentence);
        }
    }

    /// Whether all that was borrowed is back.
    pub(super) fn is_settled(&self) -> bool {
        !self.owes
    }
}

/// Makes ready what goes on beside a run, as the file has it. On error it was told, and this is the exit code.
pub(super) async fn open(migration: &MigrationConfig) -> Result<Option<(Beside, Around)>, ExitCode> {
    let Some(file) = &migration.lever_config else { return Ok(None) };
    let config = Arc::new(load(file).map_err(|words| told(&words, EXIT_BAD_CONFIG))?);
    let acting = match same_server(migration, &config).await {
        Same::Yes => act(&config).await,
        Same::No => {
            let words = format!(
                "leverd: target.lever_config: {} is about another server than this migration's target\n  hint: name \
                 the leverd.yaml whose target.dsn is the migration's target",
                file.display()
            );
            return Err(told(&words, EXIT_BAD_CONFIG));
        }
        Same::Unknown(why) => {
            let why = format!("it cannot be told whether lever_config is about this target: {why}");
            Err(hindered(&config, why))
        }
    };
    match &acting {
        Ok(_) => {}
        Err(Hindrance::Other { why, owes: false }) => {
            tracing::warn!("the target's levers are not pulled: {why}");
        }
        Err(Hindrance::Other { why, owes: true }) => tracing::error!("{}", not_given_back(why)),
        Err(Hindrance::Owed(error)) => {
            tell_owed(error);
            tracing::warn!("the target's levers are not pulled while an earlier run has some");
        }
    }
    let (guards, levels) = match migration.serves {
        true => {
            let guards = Guards::open(Arc::clone(&config))
                .map_err(|error| told(&format!("leverd: {error}"), EXIT_FAILED))?;
            if guards.levels() == 0 {
                tracing::warn!(
                    "the target serves others, and {} has no level that could break",
                    file.display()
                );
            }
            let (tell, levels) = watch::channel(Vec::new());
            (Some((guards, tell)), Some(levels))
        }
        false => (None, None),
    };
    let (begun, leased) = oneshot::channel();
    Ok(Some((Beside { leased: begun, levels }, Around { leased, guards, acting })))
}

/// Runs `work` to its end, with what goes on beside it. `stop`: whoever waits asked for an end.
pub(super) async fn around<F: Future>(
    around: Option<Around>,
    work: F,
    stop: &CancellationToken,
) -> (F::Output, Told) {
    let Some(Around { leased, guards, acting }) = around else { return (work.await, Told::default()) };
    let over = CancellationToken::new();
    let working = async {
        let ended = work.await;
        over.cancel();
        ended
    };
    let watching = async {
        if let Some((guards, tell)) = guards {
            guards.watch(tell, over.clone()).await;
        }
    };
    let (ended, (), told) = tokio::join!(working, watching, pull(leased, acting, stop, &over));
    (ended, told)
}

/// Gives back what a run has borrowed that is no longer at work, where the file names levers. While somebody acts on
/// the target, a run that borrows or a daemon, it is theirs to do. `false`: something is owed, which was told.
pub(super) async fn give_back_what_is_left(migration: &MigrationConfig) -> bool {
    let Some(file) = &migration.lever_config else { return true };
    let config = match load(file) {
        Ok(config) => Arc::new(config),
        Err(words) => {
            tracing::warn!("what a run may have borrowed was not looked for: {words}");
            return true;
        }
    };
    // A status makes no ledger.
    if !config.paths.ledger.exists() {
        return true;
    }
    let looked = async {
        let mut session = Session::open(Arc::clone(&config), to_log())?;
        if !session.has_borrowed()? {
            return Ok(Vec::new());
        }
        let Ok(_lock) = Lock::take(&config.paths.lock) else { return Ok(Vec::new()) };
        session.give_back_borrowed(GONE).await
    };
    match looked.await {
        Ok(back) => {
            tell_back(&back);
            true
        }
        Err(error) => {
            tell_owed(&error);
            false
        }
    }
}

/// Why it goes back at a start.
const GONE: &str = "its run is no longer at work";

fn told(words: &str, code: u8) -> ExitCode {
    eprintln!("{words}");
    ExitCode::from(code)
}

fn load(file: &Path) -> Result<Config, String> {
    config::load(file, &|name| std::env::var(name).ok()).map_err(|errors| errors.to_string())
}

/// Whether both configurations name one server.
enum Same {
    Yes,
    No,
    /// One of them does not answer, say.
    Unknown(String),
}

/// No two servers began in the same microsecond, and every role may ask for it.
async fn same_server(migration: &MigrationConfig, config: &Config) -> Same {
    let ours = async {
        let connection = session::to_look(migration).await.map_err(|error| error.to_string())?;
        server::started_at(connection.client()).await.map_err(|error| error.to_string())
    };
    let theirs = async {
        let dsn = config.target.dsn.expose();
        let connection = connect(dsn, TIMEOUT).await.map_err(|error| error.to_string())?;
        server::started_at(connection.client()).await.map_err(|error| error.to_string())
    };
    let both: (Result<DateTime<Utc>, String>, Result<DateTime<Utc>, String>) = tokio::join!(ours, theirs);
    match both {
        (Ok(ours), Ok(theirs)) if ours == theirs => Same::Yes,
        (Ok(_), Ok(_)) => Same::No,
        (Err(why), _) | (_, Err(why)) => Same::Unknown(why),
    }
}

/// Nobody can act now, and nobody else does.
fn hindered(config: &Arc<Config>, why: String) -> Hindrance {
    let has_borrowed = || Session::open(Arc::clone(config), to_log())?.has_borrowed();
    // A ledger that cannot be read was told, or is told.
    Hindrance::Other { why, owes: config.paths.ledger.exists() && has_borrowed().unwrap_or(false) }
}

fn not_given_back(why: &str) -> String {
    format!(
        "what an earlier run has borrowed of the target's levers is NOT given back, and none is pulled: {why}"
    )
}

/// Takes the right to act, and settles what an earlier run has left.
async fn act(config: &Arc<Config>) -> Result<Acting, Hindrance> {
    let lock = Lock::take(&config.paths.lock).map_err(|error| match &error {
        // Whoever acts gives back.
        LockError::Held { .. } => Hindrance::Other { why: error.to_string(), owes: false },
        LockError::Unusable { .. } => hindered(config, error.to_string()),
    })?;
    let opened = Session::open(Arc::clone(config), to_log());
    let mut session = opened.map_err(|error| hindered(config, error.to_string()))?;
    let back = session.give_back_borrowed(GONE).await.map_err(|error| match error {
        owed @ (SessionError::NotReturned { .. } | SessionError::Stuck { .. }) => {
            Hindrance::Owed(Box::new(owed))
        }
        other => hindered(config, other.to_string()),
    })?;
    tell_back(&back);
    Ok(Acting { session, _lock: lock })
}

/// Pulls levers when the run has its lease, and gives them back when it is `over`.
async fn pull(
    leased: oneshot::Receiver<Leased>,
    acting: Result<Acting, Hindrance>,
    stop: &CancellationToken,
    over: &CancellationToken,
) -> Told {
    let mut acting = match acting {
        Ok(acting) => acting,
        Err(Hindrance::Other { owes: false, .. }) => return Told::default(),
        Err(Hindrance::Other { why, .. }) => return Told { notes: vec![not_given_back(&why)], owes: true },
        Err(Hindrance::Owed(error)) => return Told { notes: vec![error.to_string()], owes: true },
    };
    // It got no lease: nothing was pulled for it.
    let Ok(Leased { run, bytes, pulled }) = leased.await else { return Told::default() };
    let session = &mut acting.session;
    let borrowed = session.borrow(&run, super::jobs(), bytes, stop).await.unwrap_or_else(|error| {
        tracing::warn!("no more of the target's levers are pulled: {error}");
        // What was pulled until then stands in the ledger.
        let pulled = session.ledger().borrowed(&session.config().target.name).unwrap_or_default();
        Borrowed { pulled, ..Borrowed::default() }
    });
    for (what, why) in &borrowed.left {
        tracing::info!("not borrowed: {what}: {why}");
    }
    if !borrowed.pulled.is_empty() {
        let changes: Vec<String> = borrowed.pulled.iter().map(change).collect();
        say(&format!("borrowed for this run: {}", changes.join(", ")));
    }
    // A run that was stopped meanwhile waits no longer.
    let _ = pulled.send(());
    over.cancelled().await;
    let returned = session.give_back_borrowed(&format!("the run {run} has ended")).await;
    if let Err(error) = &returned {
        tell_owed(error);
    }
    // A ledger that cannot be read does not say that anything is back.
    let mut notes: Vec<String> = borrowed
        .pulled
        .iter()
        .map(|loan| note(loan, session.ledger().trial(loan.id).ok().as_ref()))
        .collect();
    notes.extend(borrowed.stuck.as_ref().map(note_of_stuck));
    Told { notes, owes: returned.is_err() || borrowed.stuck.is_some() }
}

/// `max_wal_size 1GB -> 16GB (trial 3)`.
fn change(loan: &Trial) -> String {
    format!("{} {} -> {} (trial {})", loan.plan.parameter, old_value(loan), loan.plan.to, loan.id)
}

fn old_value(loan: &Trial) -> &str {
    loan.plan.from.as_deref().unwrap_or("not set")
}

/// What became of a loan, for the report. `now`: as the ledger has it at the end.
fn note(loan: &Trial, now: Option<&Trial>) -> String {
    let change = change(loan);
    match now {
        Some(now) if now.is_left_to_person() => {
            format!("{change} was borrowed for the run; somebody has set it since, and it is left as it is")
        }
        Some(now) if now.undone_at.is_some() => {
            format!("{change} was borrowed for the run, and was given back")
        }
        _ => format!(
            "{change} was borrowed for the run, and is NOT given back: `leverd rollback {}` does it",
            loan.id
        ),
    }
}

fn note_of_stuck(loan: &Trial) -> String {
    let why = loan.ending.as_deref().unwrap_or_default();
    format!(
        "{} could neither be borrowed nor put back, and needs a person: {why} (`leverd history {}`)",
        change(loan),
        loan.id
    )
}

fn tell_back(back: &[Trial]) {
    for loan in back {
        let (parameter, old) = (&loan.plan.parameter, old_value(loan));
        let run = loan.plan.borrowed_for.as_deref().unwrap_or_default();
        if loan.is_left_to_person() {
            say(&format!("{parameter}, which the run {run} had borrowed, is left as somebody has set it"));
        } else {
            say(&format!("{parameter} is given back: {old} again, which the run {run} had borrowed"));
        }
    }
}

/// A person must know, whatever the log's level is.
fn tell_owed(error: &SessionError) {
    match error {
        SessionError::NotReturned { trial, .. } => tracing::error!(
            "{error}; `leverd migrate status`, a running daemon, or `leverd rollback {trial}` does it once that is \
             mended, and the changelog has the commands for doing it without leverd"
        ),
        SessionError::Stuck { trial, .. } => tracing::error!(
            "{error}; `leverd history {trial}` has the commands for putting it back, `leverd rollback {trial}` tries \
             once more"
        ),
        other => tracing::error!("it is not known whether all that was borrowed is given back: {other}"),
    }
}

/// What acts says little: a run's own lines are what a person looks at.
fn to_log() -> Reporter {
    Reporter::new(|progress| match progress {
        Progress::Note(sentence) => tracing::info!("{sentence}"),
        Progress::Moved(trial) => {
            tracing::debug!(
                trial.id = trial.id.0,
                "{} = {}: {}",
                trial.plan.parameter,
                trial.plan.to,
                trial.phase
            );
        }
        _ => {}
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::fixtures;
    use crate::model::{Phase, TrialId};

    fn loan(id: i64) -> Trial {
        let mut loan = Trial { id: TrialId(id), verdict: None, judgements: vec![], ..fixtures::kept("shop") };
        loan.plan.borrowed_for = Some("r1".to_owned());
        loan
    }

    #[test]
    fn each_loan_is_told_with_what_became_of_it() {
        let back = Trial { undone_at: loan(3).closed_at, ..loan(3) };
        assert_eq!(
            note(&loan(3), Some(&back)),
            "checkpoint_timeout 5min -> 10min (trial 3) was borrowed for the run, and was given back"
        );
        let owed = loan(3);
        for now in [Some(&owed), None] {
            let words = note(&owed, now);
            assert!(words.ends_with("is NOT given back: `leverd rollback 3` does it"), "{words}");
        }
        let left = Trial { alarm: true, ..back };
        let words = note(&loan(3), Some(&left));
        assert!(words.ends_with("somebody has set it since, and it is left as it is"), "{words}");
        let stuck = Trial { phase: Phase::NeedsHuman, ending: Some("disk full".to_owned()), ..loan(4) };
        let words = note_of_stuck(&stuck);
        assert!(words.contains("(trial 4) could neither") && words.contains("disk full"), "{words}");
    }

    #[tokio::test]
    async fn a_run_without_levers_is_just_run() {
        let (ended, told) = around(None, async { 7 }, &CancellationToken::new()).await;
        assert_eq!((ended, &told), (7, &Told::default()));
        assert!(told.is_settled());
    }

    fn nobody(owes: bool) -> Hindrance {
        Hindrance::Other { why: "no right".to_owned(), owes }
    }

    #[tokio::test]
    async fn what_is_owed_is_told_also_where_nobody_can_act() {
        let (_begun, leased) = oneshot::channel();
        let around = Around { leased, guards: None, acting: Err(nobody(true)) };
        let (ended, told) = super::around(Some(around), async { 7 }, &CancellationToken::new()).await;
        assert_eq!((ended, told.is_settled()), (7, false));
        assert_eq!(told.notes, [not_given_back("no right")]);
    }

    #[tokio::test]
    async fn a_run_that_got_no_lease_pulls_nothing() {
        let (begun, leased) = oneshot::channel();
        let beside = Beside { leased: begun, levels: None };
        let none = Around { leased, guards: None, acting: Err(nobody(false)) };
        let work = async {
            drop(beside);
            7
        };
        let (ended, told) = around(Some(none), work, &CancellationToken::new()).await;
        assert_eq!((ended, told), (7, Told::default()));
    }
}
