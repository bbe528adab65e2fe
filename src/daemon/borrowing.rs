//! Levers that a migration's run borrows: pulled before its load, and given back when it has ended.
//!
//! In: a run's name and its load; later, that it has ended. Out: what was pulled and what was left, each with its
//! reason; later, what is back. A loan is a trial that nobody judges: the same way into the server, its intent in the
//! ledger first.
//!
//! Always holds: whoever calls this holds the target's lock, and a run keeps it for as long as it has borrowed
//! anything. So what a start finds borrowed was borrowed by a run that is gone, and goes back. It is told as given back
//! only once the server has said so; what a person has set meanwhile, in its place or in one that wins over it, is left,
//! and its lever frozen. What cannot be given back now stays in the ledger as it is, for whoever comes next.

use super::clock;
use super::session::{Session, SessionError, permissions};
use super::trial_run::WhenStopped;
use crate::actuate::ActuateError;
use crate::decide::{Lending, Loans};
use crate::model::{Found, PgValue, Phase, Setting, Trial};
use crate::postgres::settings;
use crate::trial::Event;
use tokio_util::sync::CancellationToken;

/// What came of borrowing.
#[derive(Debug, Default)]
pub struct Borrowed {
    /// The loans that are in effect, in the order in which they were pulled.
    pub pulled: Vec<Trial>,
    /// What was left: a parameter, or all of them, and why.
    pub left: Vec<(String, String)>,
    /// A loan that could neither be had nor put back: a person must look at it.
    pub stuck: Option<Trial>,
}

impl Borrowed {
    fn nothing(why: String) -> Self {
        Self { left: vec![("the target's levers".to_owned(), why)], ..Self::default() }
    }
}

impl Session {
    /// Borrows what a load of many rows can use. `builders`: indexes that the run builds at once; `load_bytes`: of all
    /// its rows. A request to stop ends it between two levers.
    ///
    /// # Errors
    /// The ledger cannot be used. What was pulled until then stands in it, and can be given back.
    pub async fn borrow(
        &mut self,
        run: &str,
        builders: usize,
        load_bytes: u64,
        stop: &CancellationToken,
    ) -> Result<Borrowed, SessionError> {
        let target = self.config.target.name.clone();
        if let Some(open) = self.ledger.open_trial(&target)? {
            let why = format!("trial {} ({}) is open, and must end first", open.id, open.plan.lever);
            return Ok(Borrowed::nothing(why));
        }
        let snapshot = self.observe().await;
        let server = match &snapshot.server {
            Ok(server) => server,
            Err(why) => return Ok(Borrowed::nothing(format!("Postgres cannot be asked: {why}"))),
        };
        let levers = self.levers_for(&snapshot);
        let memory = self.memory()?;
        let permissions = permissions(&self.config, clock::now());
        let lending = Lending {
            run,
            target: &target,
            levers: &levers,
            permissions: &permissions,
            memory: &memory,
            server,
            builders,
            load_bytes,
        };
        let Loans { plans, left } = lending.loans();
        let mut borrowed = Borrowed { left, ..Borrowed::default() };
        for plan in plans {
            if stop.is_cancelled() {
                break;
            }
            let trial = self.open_trial(plan, clock::now())?;
            let trial = self.run_trial(trial, Event::Begin, stop, WhenStopped::PutBack).await?;
            match trial.phase {
                Phase::Kept => borrowed.pulled.push(trial),
                Phase::NeedsHuman => {
                    // Nothing more is touched on a server that a person must look at.
                    borrowed.stuck = Some(trial);
                    break;
                }
                _ => {
                    let why = trial.ending.clone().unwrap_or_else(|| trial.phase.to_string());
                    borrowed.left.push((trial.plan.parameter.clone(), why));
                }
            }
        }
        Ok(borrowed)
    }

    /// Gives back all that is borrowed, the newest first, and what a run was borrowing when it died. `why`, for people.
    /// The loans that are over, as the ledger has them.
    ///
    /// # Errors
    /// [`SessionError::NotReturned`] for the first that cannot be given back now, after the others were;
    /// [`SessionError::Stuck`] for what a person must look at; or the ledger cannot be used.
    pub async fn give_back_borrowed(&mut self, why: &str) -> Result<Vec<Trial>, SessionError> {
        let target = self.config.target.name.clone();
        let mut failed = self.put_back_half_way().await?;
        let borrowed = self.ledger.borrowed(&target)?;
        if borrowed.is_empty() {
            return failed.map_or_else(|| Ok(Vec::new()), Err);
        }
        // A connection that nobody used for the time of a run may hang instead of being closed.
        self.postgres.forget();
        let patience = self.config.target.restart.timeout;
        if let Err(error) = self.postgres.client_within(patience).await {
            tracing::debug!("the target does not answer, and its levers are to be given back: {error}");
        }
        let mut over = Vec::new();
        for trial in borrowed.into_iter().rev() {
            match self.return_one(&trial, why).await {
                Ok(()) => over.push(self.ledger.trial(trial.id)?),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        self.sync_changelog();
        failed.map_or(Ok(over), Err)
    }

    /// Whether there is anything to give back.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn has_borrowed(&self) -> Result<bool, SessionError> {
        let target = &self.config.target.name;
        let open = self.ledger.open_trial(target)?;
        let half_way = open.is_some_and(|open| open.plan.borrowed_for.is_some());
        Ok(half_way || !self.ledger.borrowed(target)?.is_empty())
    }

    /// Puts back what a run was borrowing when it died. Gives back why that is not done, where it is not; then the
    /// trial stays as it is, or has said that a person must act.
    async fn put_back_half_way(&mut self) -> Result<Option<SessionError>, SessionError> {
        let open = self.ledger.open_trial(&self.config.target.name)?;
        let Some(open) = open.filter(|open| open.plan.borrowed_for.is_some()) else { return Ok(None) };
        if open.intent.is_some() {
            // Without an answer its recovery would end here and call a person; the next one that comes can do it.
            let patience = self.config.target.restart.timeout;
            if let Err(error) = self.postgres.client_within(patience).await {
                return Ok(Some(not_returned(&open, error.into())));
            }
        }
        self.reporter.note(format!(
            "trial {} was borrowing {} for the run {} when that ended: looking at what is there",
            open.id,
            open.plan.parameter,
            run_of(&open)
        ));
        let found = Event::Recovered(self.look(&open).await);
        // It only goes back: there is nothing to wait for.
        let ended = self.run_trial(open, found, &CancellationToken::new(), WhenStopped::PutBack).await?;
        let ending = ended.ending.clone().unwrap_or_default();
        if ended.phase == Phase::NeedsHuman {
            return Ok(Some(SessionError::Stuck {
                trial: ended.id,
                parameter: ended.plan.parameter.clone(),
                run: run_of(&ended).to_owned(),
                why: ending,
            }));
        }
        self.reporter.note(format!("trial {} is {}: {ending}", ended.id, ended.phase));
        Ok(None)
    }

    async fn return_one(&mut self, trial: &Trial, why: &str) -> Result<(), SessionError> {
        let returned = self.undo(trial).await;
        fail::fail_point!("loan::undone", |_| std::process::abort());
        let Err(error) = returned else {
            self.ledger.mark_returned(trial.id, clock::now(), why, None)?;
            let old = trial.plan.from.as_deref().unwrap_or("not set");
            self.reporter.note(format!("{} is {old} again: {why}", trial.plan.parameter));
            return Ok(());
        };
        let is_edited = matches!(error, ActuateError::Edited { .. });
        let is_masked = matches!(error, ActuateError::NotInEffect { .. });
        let is_the_persons = is_edited || (is_masked && self.is_set_elsewhere(trial).await);
        if !is_the_persons {
            return Err(not_returned(trial, error));
        }
        let elsewhere = if is_masked { ": somebody has set it in another place" } else { "" };
        let edited = format!("{error}{elsewhere}, and is left as it is");
        self.ledger.mark_returned(trial.id, clock::now(), &edited, Some(&edited))?;
        self.reporter.note(format!("{} is frozen: {edited}", trial.plan.lever));
        Ok(())
    }

    /// Whether the old value stands in its place again, and the server has its own from another place, which wins.
    async fn is_set_elsewhere(&mut self, trial: &Trial) -> bool {
        let Some(intent) = &trial.intent else { return false };
        let Ok(client) = self.postgres.client().await else { return false };
        let found = self.actuator.look(intent, &trial.plan.place, Some(client)).await;
        if !matches!(found, Ok(Found::Before)) {
            return false;
        }
        let Ok(client) = self.postgres.client().await else { return false };
        let Ok(Some(setting)) = settings::read_one(client, &trial.plan.parameter).await else { return false };
        let from_its_file = self.actuator.comes_from_its_file(&setting, &trial.plan, intent, client).await;
        is_of_others(trial, &setting, from_its_file.ok().flatten())
    }
}

/// Whether the server's value is somebody else's, and not what a reload has yet to take away: it is neither what was
/// borrowed nor what it was before; or it is from another file than the loan's. `from_its_file`: whether it is from the
/// loan's, where that is known.
fn is_of_others(trial: &Trial, setting: &Setting, from_its_file: Option<bool>) -> bool {
    if from_its_file == Some(false) {
        return true;
    }
    let read = |text: &str| PgValue::parse(text, setting).ok();
    let own = [Some(trial.plan.to.as_str()), trial.plan.from.as_deref()];
    let Some(now) = read(&setting.value) else { return false };
    own.into_iter().flatten().all(|value| read(value).is_some_and(|value| value != now))
}

fn run_of(trial: &Trial) -> &str {
    trial.plan.borrowed_for.as_deref().unwrap_or_default()
}

fn not_returned(trial: &Trial, source: ActuateError) -> SessionError {
    SessionError::NotReturned {
        trial: trial.id,
        parameter: trial.plan.parameter.clone(),
        run: run_of(trial).to_owned(),
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::fixtures;
    use crate::model::{Context, SettingType, Sourced};

    #[test]
    fn a_value_of_somebody_else_is_told_from_one_that_is_yet_to_go() {
        let mut loan = fixtures::kept("shop");
        (loan.plan.from, loan.plan.to) = (Some("1GB".to_owned()), "8GB".to_owned());
        let is_of_others = |value: &str, from_its_file: Option<bool>| {
            let setting = Setting {
                name: "max_wal_size".into(),
                value: value.into(),
                unit: Some("MB".into()),
                vartype: SettingType::Integer,
                context: Context::Sighup,
                min: Some(2.0),
                max: Some(2_147_483_647.0),
                enumvals: vec![],
                sourced: Sourced { source: "configuration file".into(), file: None, line: None },
                reset_value: value.into(),
                boot_value: "1024".into(),
                pending_restart: false,
            };
            super::is_of_others(&loan, &setting, from_its_file)
        };
        assert!(is_of_others("3072", None));
        // A reload that has not come yet, or that an error in the file keeps away.
        assert!(!is_of_others("8192", None));
        assert!(!is_of_others("8192", Some(true)));
        assert!(!is_of_others("1024", None));
        assert!(!is_of_others("nonsense", None), "what cannot be read says nothing");
        // A person has set the same as the loan, in another file.
        assert!(is_of_others("8192", Some(false)));
    }
}
