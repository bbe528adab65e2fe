//! What applies, verifies and undoes a change: in `postgresql.conf` and its includes, by `ALTER SYSTEM`, and in an
//! application's `.env`.
//!
//! In: a [`Plan`], later its [`Intent`]. Out: the place with the change (arm B) or without it (arm A), activated and
//! verified, or an [`ActuateError`] and the place as it was.
//!
//! Always holds: nothing is touched before its intent exists; every step may be done twice; a file is the old one or
//! the new one, never a third; what somebody else wrote is not written over; an undo gives the old bytes back.
//!
//! It does not decide, does not check a value's range or whether the memory bears it (`decide` does), keeps no state
//! beyond one process, and reads no clock of the day.

mod alter_system;
mod backup;
mod command;
mod conf_text;
mod data_folder;
mod durable_file;
mod env_file;
mod error;
mod line_edit;
mod managed_file;
mod postgresql_conf;
mod restart;
mod server;
mod undo_text;
mod verify;

pub use error::ActuateError;

use crate::config::Target;
use crate::model::{Activation, Arm, Found, Intent, Place, Plan};
use fail::fail_point;
use line_edit::Syntax;
use postgresql_conf::{Located, PathMap};
use restart::Restarter;
use similar::TextDiff;
use std::path::{Path, PathBuf};
use tokio_postgres::Client;

/// Changes one target. It opens connections of its own only to see whether a restarted server answers, and to
/// reload where it was given none.
#[derive(Debug)]
pub struct Actuator {
    target: Target,
    restarter: Restarter,
}

impl Actuator {
    /// For this target.
    pub fn new(target: &Target) -> Self {
        Self { target: target.clone(), restarter: Restarter::new(target) }
    }

    /// Reads the plan's place, computes the change and makes the backup in `backup_folder` (`BACKUPS/YYYYMMDD_HHMMSS`;
    /// with `_2` … behind it where another change of that second stands there). Touches nothing else.
    ///
    /// `system_identifier` is the server's, 0 where it is not known.
    pub async fn prepare(
        &self,
        plan: &Plan,
        system_identifier: u64,
        backup_folder: &Path,
        pg: Option<&Client>,
    ) -> Result<Intent, ActuateError> {
        if let Some(pg) = pg {
            server::is_the_one(pg, system_identifier).await?;
        }
        let Some(syntax) = syntax_of(&plan.place) else {
            let pg = open(pg).ok_or(ActuateError::NeedsConnection { doing: "ALTER SYSTEM" })?;
            available(plan)?;
            let value = plain_value(plan);
            return alter_system::prepare(pg, &plan.parameter, &value, system_identifier, backup_folder)
                .await;
        };
        if let Place::PostgresqlConf(main) = &plan.place {
            data_folder::refuse_another(main, system_identifier)?;
        }
        let located = self.located(plan, pg).await?;
        let (key, value) = (plan.parameter.clone(), plain_value(plan));
        let folder = backup_folder.to_owned();
        blocking(move || {
            let Located { file, text } = located;
            managed_file::prepare(&file, &text, syntax, &key, &value, system_identifier, &folder)
        })
        .await
    }

    /// Brings the place under `arm`: with the change (B) or without it (A). A place that is there already stays.
    ///
    /// Without `pg`, or where it is closed, `ALTER SYSTEM` is done in `postgresql.auto.conf` itself, if the data
    /// folder can be reached from here and is the intent's.
    ///
    /// # Errors
    /// [`ActuateError::Edited`] where the place is neither before nor after the change; nothing is written then.
    pub async fn write(
        &self,
        intent: &Intent,
        arm: Arm,
        place: &Place,
        pg: Option<&Client>,
    ) -> Result<(), ActuateError> {
        let pg = open(pg);
        let owned = intent.clone();
        match (syntax_of(place), pg) {
            (Some(syntax), _) => {
                if let Some(pg) = pg
                    && let Err(error @ ActuateError::WrongServer { .. }) =
                        server::is_the_one(pg, intent.system_identifier).await
                {
                    // A server that cannot answer must not keep its file from being put back.
                    return Err(error);
                }
                blocking(move || managed_file::write(&owned, syntax, arm)).await?;
            }
            (None, Some(pg)) => alter_system::write(pg, intent, arm).await?,
            (None, None) => {
                let folders = self.data_folders();
                blocking(move || alter_system::write_offline(&owned, arm, &folders)).await?;
            }
        }
        fail_point!("actuate::written", |_| std::process::abort());
        Ok(())
    }

    /// Looks at how the place stands to the change. Writes nothing, but removes a temporary file that a killed run
    /// may have left.
    pub async fn look(
        &self,
        intent: &Intent,
        place: &Place,
        pg: Option<&Client>,
    ) -> Result<Found, ActuateError> {
        let owned = intent.clone();
        match (syntax_of(place), open(pg)) {
            (Some(syntax), _) => blocking(move || managed_file::look(&owned, syntax)).await,
            (None, Some(pg)) => alter_system::look(pg, intent).await,
            (None, None) => {
                let folders = self.data_folders();
                blocking(move || alter_system::look_offline(&owned, &folders)).await
            }
        }
    }

    /// Reload, reload of the application, or restart. A restart ends the connection `pg`; it waits until a server
    /// that began after it answers, at most the target's restart timeout.
    pub async fn activate(&self, activation: Activation, pg: Option<&Client>) -> Result<(), ActuateError> {
        match (activation, open(pg)) {
            (Activation::Reload, Some(pg)) => reload(pg).await,
            (Activation::Reload, None) => {
                let timeout = self.target.restart.timeout;
                let own = crate::postgres::connect(self.target.dsn.expose(), timeout).await?;
                reload(own.client()).await
            }
            (Activation::AppReload, _) => match &self.target.app_reload {
                Some(text) => command::run(command::shell(text), text, self.target.restart.timeout).await,
                None => Ok(()),
            },
            (Activation::Restart, pg) => self.restarter.restart(pg).await,
        }
    }

    /// Starts a stopped server, e.g. after its file was put right offline; one that answers is left as it is.
    pub async fn start(&self) -> Result<(), ActuateError> {
        self.restarter.start().await
    }

    /// Whether the value of `arm` is in effect: `setting`, `source`, `sourcefile` and `pending_restart` agree. For an
    /// `.env` the file's value; whether it arrived in the application is the caller's to ask.
    pub async fn verify(
        &self,
        plan: &Plan,
        intent: &Intent,
        arm: Arm,
        pg: &Client,
    ) -> Result<(), ActuateError> {
        let wanted = if arm == Arm::B { Found::After } else { Found::Before };
        let found = self.look(intent, &plan.place, Some(pg)).await?;
        if found != wanted {
            return Err(self.not_in_place(intent, arm, plan, found));
        }
        match plan.place {
            Place::EnvFile(_) => Ok(()),
            _ => verify::in_effect(pg, plan, intent, arm).await,
        }
    }

    /// Commands that a person can paste to undo exactly this change. They hold no password.
    pub fn undo_commands(&self, plan: &Plan, intent: &Intent) -> Vec<String> {
        let dsn = self.target.dsn.expose();
        let mut commands = undo_text::put_back(plan, intent, dsn);
        let restart = self.restarter.shown();
        let app_reload = self.target.app_reload.as_deref();
        commands.extend(undo_text::activate(plan.activation, dsn, restart, app_reload));
        commands
    }

    /// The unified diff that the plan would make, or the statement that it would run. Changes nothing.
    pub async fn preview(&self, plan: &Plan, pg: Option<&Client>) -> Result<String, ActuateError> {
        let value = plain_value(plan);
        let Some(syntax) = syntax_of(&plan.place) else {
            available(plan)?;
            let sql = alter_system::statement(&plan.parameter, Some(&value))?;
            let now = match open(pg) {
                Some(pg) => alter_system::current(pg, &plan.parameter).await?,
                None => return Ok(format!("{sql};\n")),
            };
            let now = now.map_or_else(|| "not set by ALTER SYSTEM".to_owned(), |now| format!("'{now}'"));
            return Ok(format!("{sql};  -- now: {now}\n"));
        };
        let Located { file, text } = self.located(plan, open(pg)).await?;
        let edit = managed_file::edit(&file, &text, syntax, &plan.parameter, &value)?;
        let (before, after) = (String::from_utf8_lossy(&text), String::from_utf8_lossy(&edit.after));
        let name = file.display().to_string();
        Ok(TextDiff::from_lines(before.as_ref(), after.as_ref())
            .unified_diff()
            .context_radius(3)
            .header(&name, &name)
            .to_string())
    }

    /// The file that holds the plan's value, with its text.
    async fn located(&self, plan: &Plan, pg: Option<&Client>) -> Result<Located, ActuateError> {
        available(plan)?;
        let key = plan.parameter.clone();
        match &plan.place {
            Place::PostgresqlConf(main) => {
                let config_file = match pg {
                    Some(pg) => server::path_setting(pg, "config_file").await?,
                    None => None,
                };
                let map = PathMap::new(main, config_file.as_deref());
                let main = main.clone();
                blocking(move || postgresql_conf::locate(&main, &map, &key)).await
            }
            Place::EnvFile(path) => {
                let path = path.clone();
                blocking(move || {
                    let file = durable_file::real_path(&path)?;
                    let text = durable_file::read(&file)?;
                    Ok(Located { file, text })
                })
                .await
            }
            Place::AlterSystem | Place::ServerConf | Place::Unavailable(_) => {
                Err(unavailable(plan, "it has no file"))
            }
        }
    }

    fn not_in_place(&self, intent: &Intent, arm: Arm, plan: &Plan, found: Found) -> ActuateError {
        match found {
            Found::Neither(found) => {
                ActuateError::Edited { file: intent.file.clone(), parameter: intent.parameter.clone(), found }
            }
            Found::Before | Found::After => ActuateError::NotInEffect {
                parameter: intent.parameter.clone(),
                expected: if arm == Arm::B { plan.to.clone() } else { plan.from.clone().unwrap_or_default() },
                found: format!("{found:?}").to_lowercase(),
                why: format!("{} was not written", intent.file.display()),
            },
        }
    }

    fn data_folders(&self) -> Vec<PathBuf> {
        self.restarter.data_directory().map(Path::to_owned).into_iter().collect()
    }
}

/// Whether this process may edit `file`, or the file that a link of this name leads to.
pub fn can_edit(file: &Path) -> bool {
    let replaceable = |file: &Path| {
        let real = durable_file::real_path(file)?;
        durable_file::check_replaceable(&real)?;
        durable_file::read(&real)
    };
    replaceable(file).is_ok()
}

/// How the place's file is written; `None` where it is no file.
fn syntax_of(place: &Place) -> Option<Syntax> {
    match place {
        Place::PostgresqlConf(_) => Some(Syntax::PostgresqlConf),
        Place::EnvFile(_) => Some(Syntax::EnvFile),
        Place::AlterSystem | Place::ServerConf | Place::Unavailable(_) => None,
    }
}

fn available(plan: &Plan) -> Result<(), ActuateError> {
    match &plan.place {
        Place::Unavailable(reason) => Err(unavailable(plan, reason)),
        // A plan's place is resolved when it is made: it never reaches this room unresolved.
        Place::ServerConf => Err(unavailable(plan, "its place was not resolved")),
        Place::PostgresqlConf(_) | Place::AlterSystem | Place::EnvFile(_) => Ok(()),
    }
}

fn unavailable(plan: &Plan, reason: &str) -> ActuateError {
    ActuateError::Unavailable { parameter: plan.parameter.clone(), reason: reason.to_owned() }
}

/// The plan's value without the quotes that people may have put around it for Postgres.
fn plain_value(plan: &Plan) -> String {
    let value = plan.to.trim();
    let inner = value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    match (&plan.place, inner) {
        (Place::EnvFile(_), _) | (_, None) => value.to_owned(),
        (_, Some(inner)) => inner.replace("''", "'"),
    }
}

fn open(pg: Option<&Client>) -> Option<&Client> {
    pg.filter(|pg| !pg.is_closed())
}

async fn reload(pg: &Client) -> Result<(), ActuateError> {
    server::execute(pg, "reloading the configuration", "SELECT pg_catalog.pg_reload_conf()").await?;
    fail_point!("actuate::reloaded", |_| std::process::abort());
    Ok(())
}

/// Work on the disk, which may take its time to sync, off the runtime's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ActuateError> + Send + 'static,
) -> Result<T, ActuateError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down, and this future with it.
            Err(_) => std::future::pending().await,
        },
    }
}
