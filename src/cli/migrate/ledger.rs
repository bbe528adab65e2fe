//! The history of migrations: which ledger keeps it, what it remembers, and how a run is added to it.
//!
//! In: `--ledger` or the project's `leverd.yaml`; a run as it begins, and as it ended. Out: the learner's records, a
//! row in the ledger. Always holds: a ledger that is not there, or cannot be read or written, is told and changes
//! nothing else of a run; where there is no project, nothing is made; a run is there before its rows move, so that a
//! failed or killed one is kept like any other; no password gets in.

use super::figures::named;
use super::progress::Watched;
use super::{FILE, report, say};
use crate::config::{self, ConfigErrors, MigrationConfig};
use crate::ledger::{
    Ledger, LedgerError, Lessons, Migration, MigrationAdjustment, MigrationBeginning, MigrationEnding,
    one_line,
};
use crate::migrate::adjust::Brain;
use crate::migrate::adjuster::{Adjustment, Kind, Summary};
use crate::migrate::brain::learner::{Experience, PastRun, Records};
use crate::migrate::progress::Progress;
use crate::migrate::run::{Beside, Leased, MigrateError, Report};
use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;
use tokio::sync::oneshot;

/// The ledger of a project whose `leverd.yaml` names no target yet, or that has none.
const LEDGER: &str = ".leverd/ledger.db";
/// A project's `leverd.yaml`.
const LEVERD: &str = "config/leverd.yaml";
/// Earlier processes that are asked how long a migration takes.
const MOST_EARLIER: u32 = 200;
/// In less than this nothing is called a speed.
const LEAST_COPYING: Duration = Duration::from_secs(1);

/// Where the history is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// In this ledger, which need not be there yet.
    At(PathBuf),
    /// Nowhere, and why, one line.
    Nowhere(String),
}

/// Finds it from the working folder. `named`: by a person.
pub(super) fn find(named: Option<&Path>, config: Option<&MigrationConfig>) -> Place {
    // A working folder that is gone leaves relative paths as they are: opening them then says so.
    let here = std::env::current_dir().unwrap_or_default();
    place(named, config.and_then(|config| config.lever_config.as_deref()), &here)
}

/// `named`; else the ledger of the target's `lever_config`; else that of the project in `here`.
fn place(named: Option<&Path>, lever_config: Option<&Path>, here: &Path) -> Place {
    if let Some(named) = named {
        return Place::At(here.join(named));
    }
    if let Some(file) = lever_config {
        return of_file(file);
    }
    let usual = here.join(LEVERD);
    let is_project = [LEVERD, FILE, ".leverd"].iter().any(|name| here.join(name).exists());
    match config::find(None, here) {
        Ok(found) if found == usual => of_file(&usual),
        // It may name another ledger.
        Err(errors) if !lacks_only_a_target(&errors) => unusable(&errors),
        // What else is found is the sandbox's, whose ledger goes with it.
        Ok(_) | Err(_) if is_project => Place::At(here.join(LEDGER)),
        Ok(_) | Err(_) => Place::Nowhere(format!(
            "this folder is no project (there is no {LEVERD}, no {FILE} and no .leverd/ in it); `--ledger FILE` keeps \
             one anywhere"
        )),
    }
}

fn of_file(file: &Path) -> Place {
    match config::load(file, &|name| std::env::var(name).ok()) {
        Ok(config) => Place::At(config.paths.ledger),
        Err(errors) => unusable(&errors),
    }
}

/// The first of the errors tells; `leverd check` tells all of them.
fn unusable(errors: &ConfigErrors) -> Place {
    let text = errors.to_string();
    let first = text.lines().next().unwrap_or_default();
    Place::Nowhere(format!(
        "the project's leverd.yaml, which names its ledger, cannot be used: {first}; `--ledger FILE` names one"
    ))
}

/// Whether all that is wrong is that no Postgres is named: what is shipped does not.
fn lacks_only_a_target(errors: &ConfigErrors) -> bool {
    errors.iter().all(|error| error.key == "target" && error.line.is_none())
}

/// The history, as far as there is one.
#[derive(Debug)]
pub(super) struct History {
    place: Place,
    records: Records,
    /// The number of this run's beginning.
    begun: OnceLock<i64>,
}

impl History {
    /// Finds it and reads what it remembers. What cannot be read is told.
    pub(super) async fn open(named: Option<&Path>, config: &MigrationConfig) -> Self {
        let place = find(named, Some(config));
        let records = match &place {
            Place::At(path) => remembered(path.clone()).await,
            Place::Nowhere(why) => {
                say(&format!("this run has no history and leaves none: {why}"));
                Records::default()
            }
        };
        Self { place, records, begun: OnceLock::new() }
    }

    /// What is remembered of earlier runs.
    pub(super) fn records(&self) -> &Records {
        &self.records
    }

    /// Runs `work` to its end; once it has its lease, its beginning is added before it goes on. What cannot be written
    /// is told.
    pub(super) async fn around<F: Future>(&self, awaited: Awaited<'_>, work: F) -> F::Output {
        let (ended, ()) = tokio::join!(work, self.begin(awaited));
        ended
    }

    async fn begin(&self, awaited: Awaited<'_>) {
        // It got no lease: it never began.
        let Ok(leased) = awaited.leased.await else { return };
        if let Place::At(path) = &self.place {
            let path = path.clone();
            let beginning = MigrationBeginning {
                run: leased.run.clone(),
                source: awaited.config.source.to_string(),
                target: awaited.config.target.to_string(),
                began_at: awaited.began_at,
                resumed: awaited.resumes,
            };
            match on_a_thread(move || Ledger::open(&path)?.begin_migration(&beginning)).await {
                Ok(number) => {
                    let _ = self.begun.set(number);
                }
                Err(why) => tracing::warn!("the history does not have this run's beginning: {why}"),
            }
        }
        // A run that was stopped meanwhile waits for nobody.
        if let Some(next) = awaited.next
            && !leased.pulled.is_closed()
        {
            // Who pulls nothing does not listen; dropped, it lets the run go on.
            let _ = next.send(leased);
        }
    }

    /// Adds a run's end; `None`: it never began. What cannot be written is told.
    pub(super) async fn keep(&self, migration: Option<Migration>) {
        let (Place::At(path), Some(mut migration)) = (&self.place, migration) else { return };
        let path = path.clone();
        let begun = self.begun.get().copied();
        migration.id = begun.unwrap_or(0);
        let kept = on_a_thread(move || Ledger::open(&path)?.record_migration(&migration)).await;
        if let Err(why) = kept {
            let what = if begun.is_some() { "only the beginning" } else { "nothing" };
            tracing::warn!("the history has {what} of this run: {why}");
        }
    }
}

/// A process that is to work on a run, and has no lease yet.
#[derive(Debug)]
pub(super) struct Awaited<'a> {
    config: &'a MigrationConfig,
    resumes: bool,
    began_at: DateTime<Utc>,
    leased: oneshot::Receiver<Leased>,
    /// Who is to be told of the lease after the history.
    next: Option<oneshot::Sender<Leased>>,
}

impl<'a> Awaited<'a> {
    /// Puts the history before what else goes on beside the run. `resumes`: it is to go on with an open one;
    /// `began_at`: by the wall clock.
    pub(super) fn before(
        beside: Option<Beside>,
        config: &'a MigrationConfig,
        resumes: bool,
        began_at: DateTime<Utc>,
    ) -> (Beside, Self) {
        let (told, leased) = oneshot::channel();
        let (next, levels) = match beside {
            Some(Beside { leased, levels }) => (Some(leased), levels),
            None => (None, None),
        };
        (Beside { leased: told, levels }, Self { config, resumes, began_at, leased, next })
    }
}

/// The newest processes that the history has; none where there is none, or where it cannot be read, which is told.
pub(super) async fn earlier(named: Option<&Path>, config: &MigrationConfig) -> Vec<Migration> {
    let Place::At(path) = find(named, Some(config)) else { return Vec::new() };
    let read = on_a_thread(move || match Ledger::open_existing(&path) {
        Err(LedgerError::Missing { .. }) => Ok(Vec::new()),
        opened => opened?.migrations(MOST_EARLIER),
    });
    read.await.unwrap_or_else(|why| {
        tracing::warn!("nothing is known of earlier runs: {why}");
        Vec::new()
    })
}

async fn remembered(path: PathBuf) -> Records {
    let lessons = on_a_thread(move || match Ledger::open_existing(&path) {
        Err(LedgerError::Missing { .. }) => Ok(Lessons::default()),
        opened => opened?.lessons(),
    });
    match lessons.await {
        Ok(lessons) => {
            let (records, strange) = read(&lessons);
            if strange > 0 {
                let records = named(strange as u64, "record");
                tracing::warn!("{records} of earlier runs have a form that this leverd does not know");
            }
            records
        }
        Err(why) => {
            tracing::warn!("nothing is known of earlier runs: {why}");
            Records::default()
        }
    }
}

/// Does what waits for a disk on a thread made for that; an error in words.
async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LedgerError> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| in_words(&error)),
        Err(error) => Err(error.to_string()),
    }
}

/// One line: what is wrong, and what could be done.
fn in_words(error: &LedgerError) -> String {
    let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
    one_line(&format!("{error}{hint}"))
}

/// The learner's records, and how many could not be read.
fn read(lessons: &Lessons) -> (Records, usize) {
    let trials: Vec<Experience> = known(&lessons.trials);
    let runs: Vec<PastRun> = known(&lessons.runs);
    let strange = (lessons.trials.len() - trials.len()) + (lessons.runs.len() - runs.len());
    (Records { trials, runs }, strange)
}

fn known<T: DeserializeOwned>(texts: &[String]) -> Vec<T> {
    texts.iter().filter_map(|text| serde_json::from_str(text).ok()).collect()
}

/// A process that worked on a run, as it ended.
#[derive(Debug)]
pub(super) struct Done<'a> {
    pub(super) config: &'a MigrationConfig,
    pub(super) progress: &'a Progress,
    pub(super) watched: &'a Watched,
    pub(super) ended: Result<&'a Report, &'a MigrateError>,
    /// Whether it was to go on with an open run.
    pub(super) resumes: bool,
    /// By the wall clock.
    pub(super) began_at: DateTime<Utc>,
    pub(super) ended_at: DateTime<Utc>,
}

impl Done<'_> {
    /// Its row; `None`: it never had a run.
    pub(super) fn row(&self) -> Option<Migration> {
        let run = self.progress.run()?;
        let copying = self.watched.course.copying();
        let bytes_per_second =
            (copying >= LEAST_COPYING).then(|| self.watched.last.bytes as f64 / copying.as_secs_f64());
        let summary = self.progress.summary();
        // Only who moved all rows, with the settings of its choice, says something of how fast those are.
        let past = summary.filter(|summary| self.ended.is_ok() && !copying.is_zero() && !gave_way(summary));
        let past = past.map(|summary| summary.past_run(run, bytes_per_second, copying.as_secs_f64()));
        let (rows, rejected) = self.counts();
        let adjustments = summary.map(|summary| summary.adjustments.as_slice()).unwrap_or_default();
        Some(Migration {
            id: 0,
            run: run.to_owned(),
            source: self.config.source.to_string(),
            target: self.config.target.to_string(),
            began_at: self.began_at,
            ended_at: Some(self.ended_at),
            resumed: self.ended.map_or(self.resumes, |report| report.resumed),
            ending: Some(self.ending()),
            why: self.why(),
            rows,
            rejected,
            bytes_per_second,
            copying_seconds: copying.as_secs_f64(),
            past: past.and_then(|past| serde_json::to_string(&past).ok()),
            report: self.report(),
            adjustments: adjustments.iter().filter_map(|adjustment| changed(run, adjustment)).collect(),
        })
    }

    /// What was told at its end; of who did not come to its end how it was adjusted: its bill stays.
    fn report(&self) -> Option<String> {
        match self.ended {
            Ok(report) => serde_json::to_string(report).ok(),
            Err(_) => {
                let adjusted = self.progress.summary()?;
                serde_json::to_string(&json!({ "adjusted": adjusted })).ok()
            }
        }
    }

    fn ending(&self) -> MigrationEnding {
        match self.ended {
            Ok(report) if report::is_whole(report) => MigrationEnding::Complete,
            Ok(_) => MigrationEnding::Incomplete,
            Err(MigrateError::Stopped) => MigrationEnding::Interrupted,
            Err(_) => MigrationEnding::Failed,
        }
    }

    fn why(&self) -> Option<String> {
        let report = match self.ended {
            Ok(report) => report,
            Err(error) => return Some(one_line(&error.to_string())),
        };
        let mut reasons = Vec::new();
        if report.rejected() > 0 {
            reasons.push(format!("the target refused {}", named(report.rejected(), "row")));
        }
        if !report.failed.is_empty() {
            reasons.push(format!("{} failed", named(report.failed.len() as u64, "statement")));
        }
        (!reasons.is_empty()).then(|| reasons.join(", "))
    }

    /// Rows that are in the target, and rows that it refused.
    fn counts(&self) -> (u64, u64) {
        match self.ended {
            Ok(report) => {
                let rows = report.tables.iter().map(|table| table.rows).fold(0, u64::saturating_add);
                (rows, report.rejected())
            }
            Err(_) => (self.watched.last.rows, self.watched.last.rejected),
        }
    }
}

/// Whether writers were taken away for the target's levels: neither its speed nor its last settings are then its own.
fn gave_way(summary: &Summary) -> bool {
    summary.adjustments.iter().any(|adjustment| adjustment.kind == Kind::Yielded)
}

/// A change for the ledger; `None`: nothing changed.
fn changed(run: &str, adjustment: &Adjustment) -> Option<MigrationAdjustment> {
    let (setting, before, after) = adjustment.setting()?;
    let by = match &adjustment.by {
        Some(Brain::Model(name)) => name.clone(),
        Some(Brain::Rules) => "rules".to_owned(),
        None => "sla".to_owned(),
    };
    Some(MigrationAdjustment {
        number: adjustment.number,
        setting: setting.name().to_owned(),
        before,
        after,
        by,
        reasoning: one_line(&adjustment.reasoning),
        verdict: adjustment.verdict,
        change: adjustment.throughput_percent.map(|percent| percent / 100.0),
        outcome: one_line(&adjustment.to_string()),
        experience: adjustment.experience(run).and_then(|experience| serde_json::to_string(&experience).ok()),
    })
}

#[cfg(test)]
mod tests;
