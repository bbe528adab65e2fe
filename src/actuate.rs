//! What applies, verifies and undoes a change: in `postgresql.conf` and its includes, by `ALTER SYSTEM`, in an
//! application's `.env`, in `pgbouncer.ini`, and a container's limits.
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
mod container_limit;
mod data_folder;
mod durable_file;
mod env_file;
mod error;
mod ini_file;
mod line_edit;
mod managed_file;
mod postgresql_conf;
mod restart;
mod server;
mod undo_text;
mod verify;

pub use error::ActuateError;

use crate::config::Target;
use crate::docker::Engine;
use crate::model::{Activation, Arm, Found, Intent, LimitKind, Place, Plan, Setting};
use crate::postgres::pgbouncer;
use fail::fail_point;
use line_edit::Syntax;
use postgresql_conf::{Located, PathMap};
use restart::Restarter;
use similar::TextDiff;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::Client;

/// Changes one target. It opens connections of its own only to see whether a restarted server answers, and to
/// reload where it was given none.
#[derive(Debug)]
pub struct Actuator {
    target: Target,
    /// Of the container that Postgres runs in.
    engine: Option<Arc<Engine>>,
    restarter: Restarter,
}

impl Actuator {
    /// For this target.
    pub fn new(target: &Target) -> Self {
        let engine = target.container.as_ref().map(|container| Arc::new(Engine::new(container)));
        Self { target: target.clone(), restarter: Restarter::new(target, engine.clone()), engine }
    }

    /// Whether the server has a parameter's value from the file that the change was written into; `None`: it names no
    /// file.
    pub async fn comes_from_its_file(
        &self,
        setting: &Setting,
        plan: &Plan,
        intent: &Intent,
        pg: &Client,
    ) -> Result<Option<bool>, ActuateError> {
        verify::comes_from_its_file(pg, setting, plan, intent).await
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
        if let Place::ContainerLimit { container, kind } = &plan.place {
            let engine = self.engine(container, &plan.parameter)?;
            return container_limit::prepare(engine, plan, *kind, pg, system_identifier, backup_folder).await;
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
        let mounted_alone = self.is_mounted_alone(&located.file).await;
        blocking(move || {
            let Located { file, text } = &located;
            let original = managed_file::Original { file, text, syntax, mounted_alone };
            managed_file::prepare(&original, &key, &value, system_identifier, &folder)
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
        if let Place::ContainerLimit { container, kind } = place {
            let engine = self.engine(container, &intent.parameter)?;
            // An engine that is being restarted must not leave a change in place.
            let patience = if arm == Arm::A { self.target.restart.timeout } else { Duration::ZERO };
            container_limit::write(engine, intent, *kind, arm, patience).await?;
            fail_point!("actuate::written", |_| std::process::abort());
            return Ok(());
        }
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
        if let Place::ContainerLimit { container, kind } = place {
            let engine = self.engine(container, &intent.parameter)?;
            return container_limit::look(engine, intent, *kind).await;
        }
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
            (Activation::AtOnce, _) => Ok(()),
            (Activation::PoolerReload, _) => Ok(pgbouncer::reload(self.console()?).await?),
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
        if let Place::ContainerLimit { container, kind } = &plan.place {
            let engine = self.engine(container, &plan.parameter)?;
            return container_limit::verify(engine, intent, *kind, arm).await;
        }
        let wanted = if arm == Arm::B { Found::After } else { Found::Before };
        let found = self.look(intent, &plan.place, Some(pg)).await?;
        if found != wanted {
            return Err(self.not_in_place(intent, arm, plan, found));
        }
        match plan.place {
            Place::EnvFile(_) => Ok(()),
            Place::PgBouncer(_) => self.verify_pooler(plan, intent, arm).await,
            _ => verify::in_effect(pg, plan, intent, arm).await,
        }
    }

    /// Commands that a person can paste to undo exactly this change. They hold no password.
    pub fn undo_commands(&self, plan: &Plan, intent: &Intent) -> Vec<String> {
        let dsn = self.target.dsn.expose();
        if let Place::ContainerLimit { container, kind } = &plan.place {
            return container_limit::put_back(intent, container, *kind).into_iter().collect();
        }
        let mut commands = undo_text::put_back(plan, intent, dsn);
        let restart = self.restarter.shown();
        let app_reload = self.target.app_reload.as_deref();
        let console = self.console().unwrap_or_default();
        commands.extend(undo_text::activate(plan.activation, dsn, restart, app_reload, console));
        commands
    }

    /// The unified diff that the plan would make, or the statement that it would run. Changes nothing.
    pub async fn preview(&self, plan: &Plan, pg: Option<&Client>) -> Result<String, ActuateError> {
        let value = plain_value(plan);
        if let Place::ContainerLimit { container, kind } = &plan.place {
            return self.preview_limit(container, *kind, plan).await;
        }
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
            Place::EnvFile(path) | Place::PgBouncer(path) => {
                let path = path.clone();
                blocking(move || {
                    let file = durable_file::real_path(&path)?;
                    let text = durable_file::read(&file)?;
                    Ok(Located { file, text })
                })
                .await
            }
            Place::AlterSystem | Place::ServerConf | Place::ContainerLimit { .. } | Place::Unavailable(_) => {
                Err(unavailable(plan, "it has no file"))
            }
        }
    }

    /// The engine of this container.
    fn engine(&self, container: &str, parameter: &str) -> Result<&Engine, ActuateError> {
        let engine = self.engine.as_deref().filter(|engine| engine.container() == container);
        engine.ok_or_else(|| ActuateError::Unavailable {
            parameter: parameter.to_owned(),
            reason: format!("`target.docker.container` does not name the container {container}"),
        })
    }

    /// PgBouncer's console.
    fn console(&self) -> Result<&str, ActuateError> {
        let pooler = self.target.pgbouncer.as_ref().ok_or_else(|| ActuateError::Unavailable {
            parameter: "pgbouncer.ini".to_owned(),
            reason: "`target.pgbouncer` is not configured".to_owned(),
        })?;
        Ok(pooler.admin_dsn.expose())
    }

    /// Whether the target's container sees this very file rather than its folder. An engine that cannot be asked counts
    /// as no; the verification shows where that was wrong.
    async fn is_mounted_alone(&self, file: &Path) -> bool {
        let Some(engine) = &self.engine else { return false };
        let Ok(state) = engine.state().await else { return false };
        let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        state.mounts.iter().any(|mount| real(&mount.source) == file)
    }

    /// Whether PgBouncer says that it has the value of `arm`.
    async fn verify_pooler(&self, plan: &Plan, intent: &Intent, arm: Arm) -> Result<(), ActuateError> {
        let found = pgbouncer::setting(self.console()?, &plan.parameter).await?;
        let old = managed_file::old_value(intent, Syntax::PgBouncerIni).or_else(|| plan.from.clone());
        let expected = if arm == Arm::B { Some(plan.to.clone()) } else { old };
        // What was absent has the default back, which only PgBouncer knows.
        if expected.is_none() || found == expected {
            return Ok(());
        }
        Err(ActuateError::NotInEffect {
            parameter: plan.parameter.clone(),
            expected: expected.unwrap_or_default(),
            found: found.unwrap_or_else(|| "unknown to PgBouncer".to_owned()),
            why: "SHOW CONFIG says so after RELOAD; does its `%include` set it too?".to_owned(),
        })
    }

    async fn preview_limit(
        &self,
        container: &str,
        kind: LimitKind,
        plan: &Plan,
    ) -> Result<String, ActuateError> {
        let now = self.engine(container, &plan.parameter)?.limits().await?;
        let value = kind.parse(&plan.to).map_err(|why| ActuateError::Value {
            parameter: plan.parameter.clone(),
            value: plan.to.clone(),
            why,
        })?;
        let command = container_limit::command(container, kind, &now.with(kind, value));
        Ok(format!("{command}  # now: {now}\n"))
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
        Place::PgBouncer(_) => Some(Syntax::PgBouncerIni),
        Place::AlterSystem | Place::ServerConf | Place::ContainerLimit { .. } | Place::Unavailable(_) => None,
    }
}

fn available(plan: &Plan) -> Result<(), ActuateError> {
    match &plan.place {
        Place::Unavailable(reason) => Err(unavailable(plan, reason)),
        // A plan's place is resolved when it is made: it never reaches this room unresolved.
        Place::ServerConf => Err(unavailable(plan, "its place was not resolved")),
        Place::PostgresqlConf(_)
        | Place::AlterSystem
        | Place::EnvFile(_)
        | Place::ContainerLimit { .. }
        | Place::PgBouncer(_) => Ok(()),
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
