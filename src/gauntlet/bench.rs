//! A sandbox with a scenario on it, brought up by the program itself as a person would, for one run.
//!
//! In: a scenario and a folder. Out: looks at its signals, its settings, and hands to change them for the strategies
//! that have none of their own. Changes go by `ALTER SYSTEM` as the superuser, and into the load's `.env`; what needs
//! a restart gets one. Nothing here asks whether a change is wise.
//!
//! Always holds: [`Bench::down`] ends everything, also what an interrupted `up` left.

use super::GauntletError;
use super::exposure::Samples;
use super::look::{Level, Look, levels};
use super::program::Program;
use super::state::{Change, State, env_of, with};
use super::strategies::pgtune::{Machine, Workload};
use crate::actuate::Actuator;
use crate::config::{Config, RestartMethod};
use crate::model::{Activation, Baseline};
use crate::observe::{Earlier, Grid, Reduce, samples_on, snapshot};
use crate::postgres::{Connection, PostgresError, connect, server};
use crate::prometheus::Client;
use crate::sandbox::{self, SandboxError, Scenario};
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bringing a sandbox up: seeding, a baseline, and two times to warm up. Anything longer hangs.
const UP_PATIENCE: Duration = Duration::from_secs(900);
const DOWN_PATIENCE: Duration = Duration::from_secs(60);
const PG_TIMEOUT: Duration = Duration::from_secs(10);
const RELOAD_PATIENCE: Duration = Duration::from_secs(10);

/// Reads a `leverd.yaml` and the baseline that it names: only the wiring may load a configuration.
pub type Loader<'a> = &'a (dyn Fn(&Path) -> Result<(Config, Option<Baseline>), String> + Sync);

/// Files as they were, to be put back.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    auto_conf: String,
    env: String,
}

/// A sandbox that is up and broken.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) scenario: Scenario,
    pub(super) config: Config,
    pub(super) levels: Vec<Level>,
    root: PathBuf,
    client: Client,
    data: PathBuf,
    env: PathBuf,
}

impl Bench {
    /// Brings a scenario up in `root`, an empty folder with the project's levers: healthy, baseline, broken.
    pub(super) async fn up(
        program: &Program,
        root: &Path,
        scenario: &Scenario,
        load: Loader<'_>,
    ) -> Result<Self, GauntletError> {
        let file = root.join("scenario.yaml");
        super::record::replace(&file, &scenario.text)?;
        let arguments =
            ["sandbox", "up", "--scenario", &file.to_string_lossy(), "--no-tty"].map(str::to_owned);
        let ended = program.run(root, "up", &arguments, UP_PATIENCE).await?;
        if !ended.success {
            return Err(ended.into_error("bringing the sandbox up"));
        }
        let config_file = root.join(".leverd/sandbox/leverd.yaml");
        let (config, baseline) = load(&config_file).map_err(GauntletError::Config)?;
        let levels = levels(&config, baseline.as_ref()).map_err(GauntletError::Config)?;
        let client = Client::new(&config.prometheus)?;
        let RestartMethod::PgCtl { data_directory, .. } = &config.target.restart.method else {
            return Err(GauntletError::Config("a sandbox restarts by pg_ctl".to_owned()));
        };
        let (data, env) = (data_directory.clone(), root.join(".leverd/sandbox/.env"));
        Ok(Self { scenario: scenario.clone(), levels, root: root.to_owned(), client, data, env, config })
    }

    /// Ends what runs in `root`, and removes the sandbox's folder.
    pub(super) async fn down(root: &Path) -> Result<(), SandboxError> {
        let until = tokio::time::Instant::now() + DOWN_PATIENCE;
        loop {
            let folder = root.to_owned();
            let done = tokio::task::spawn_blocking(move || sandbox::down(&folder, false)).await;
            match done {
                // A killed `up` holds its lock for a moment.
                Ok(Err(SandboxError::Busy { .. })) if tokio::time::Instant::now() < until => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Ok(done) => return done.map(drop),
                Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
            }
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The rate window of a look: one load cycle.
    pub(super) fn window(&self) -> Duration {
        self.config.cycle.load_cycle
    }

    async fn connect(&self) -> Result<Connection, GauntletError> {
        Ok(connect(self.config.target.dsn.expose(), PG_TIMEOUT).await?)
    }

    /// When a setting or the `.env` was last changed.
    async fn last_change(&self) -> Result<DateTime<Utc>, GauntletError> {
        let connection = self.connect().await?;
        let configured = server::last_configured_at(connection.client()).await?;
        let written = fs::metadata(&self.env).and_then(|meta| meta.modified());
        let written = DateTime::<Utc>::from(written.map_err(GauntletError::file("reading", &self.env))?);
        Ok(configured.max(written))
    }

    /// Waits until a whole load cycle has passed since `from`, and since the last change has settled, and looks at that
    /// cycle.
    pub(super) async fn fresh_look(&self, from: DateTime<Utc>) -> Result<Look, GauntletError> {
        let settled = self.last_change().await? + self.config.cycle.settle;
        let at = (settled.max(from) + self.window()).max(now());
        tokio::time::sleep((at - now()).to_std().unwrap_or_default()).await;
        Ok(Look::take(&self.client, &self.levels, self.window(), at).await)
    }

    /// Each level's signal over a time, at each scrape, with its own rate window.
    pub(super) async fn samples(
        &self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Samples, GauntletError> {
        let step = self.config.cycle.scrape_interval;
        let grid = Grid::within(from, to, step);
        let mut values = Vec::new();
        for level in &self.levels {
            let (signal, reduce) = (&level.signal, Reduce::Worst(level.signal.direction));
            let series = samples_on(&self.client, &signal.queries, reduce, grid, signal.window, None).await?;
            values.push(series.values);
        }
        Ok(Samples { values, step_s: step.as_secs_f64() })
    }

    /// Every setting that can be changed, and the `.env`.
    pub(super) async fn state(&self) -> Result<State, GauntletError> {
        const SETTINGS: &str = "SELECT name, coalesce(current_setting(name, true), '') \
            || CASE WHEN pending_restart THEN ' (another value waits for a restart)' ELSE '' END, \
            source NOT IN ('default', 'override', 'client', 'session') OR pending_restart \
            FROM pg_catalog.pg_settings WHERE context <> 'internal'";
        let connection = self.connect().await?;
        let failed = |error| PostgresError::statement("reading pg_settings", &error);
        let rows = connection.client().query(SETTINGS, &[]).await.map_err(failed)?;
        let settings = rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect();
        Ok(State { settings, env: env_of(&self.read_env()?) })
    }

    /// What pgtune asks of a machine.
    pub(super) async fn machine(&self) -> Result<Machine, GauntletError> {
        const SIZE: &str = "SELECT sum(pg_database_size(oid))::int8 FROM pg_catalog.pg_database";
        let connection = self.connect().await?;
        let failed = |error| PostgresError::statement("asking for the databases' size", &error);
        let bytes: i64 = connection.client().query_one(SIZE, &[]).await.map_err(failed)?.get(0);
        let (seen, _) =
            snapshot(&self.config, &self.client, Ok(connection.client()), None, Earlier::default(), now())
                .await;
        let server = seen.server.map_err(GauntletError::Config)?;
        let unknown = || GauntletError::Config("the memory of this machine is not known".to_owned());
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let load = &self.scenario.load;
        let has_reports = load.reports.every_events.get() > 0 || load.analytics.connections.get() > 0;
        Ok(Machine {
            // The sandbox's share: see the head of `strategies/pgtune.rs`.
            memory_kb: server.memory_budget_bytes.ok_or_else(unknown)? / 1024 / 2,
            cpus: cpus as u64,
            database_kb: u64::try_from(bytes).unwrap_or_default() / 1024,
            major_version: server.version_num / 10_000,
            workload: if has_reports { Workload::Mixed } else { Workload::Oltp },
        })
    }

    /// Files as they are now.
    pub(super) fn mark(&self) -> Result<Mark, GauntletError> {
        let auto_conf = self.auto_conf();
        let text = fs::read_to_string(&auto_conf).map_err(GauntletError::file("reading", &auto_conf))?;
        Ok(Mark { auto_conf: text, env: self.read_env()? })
    }

    /// Puts files back as they were marked, and makes that effective.
    pub(super) async fn put_back(&self, mark: &Mark) -> Result<(), GauntletError> {
        self.write_auto_conf(&mark.auto_conf)?;
        if self.read_env()? != mark.env {
            self.write_env(&mark.env)?;
        }
        self.make_effective().await
    }

    /// Sets values. What Postgres refuses is left out, and answered with its words; where it does not come back with
    /// them, all are taken back, as whoever is called then would.
    pub(super) async fn apply(&self, changes: &[Change]) -> Result<Vec<(String, String)>, GauntletError> {
        let mark = self.mark()?;
        let mut refused = Vec::new();
        let connection = self.connect().await?;
        for change in changes.iter().filter(|change| !change.in_env) {
            let (name, value) = (change.parameter.replace('"', ""), change.value.replace('\'', "''"));
            let sql = format!("ALTER SYSTEM SET \"{name}\" = '{value}'");
            if let Err(error) = connection.client().batch_execute(&sql).await {
                let why = PostgresError::statement("setting it", &error).to_string();
                refused.push((change.lever.clone(), why));
            }
        }
        drop(connection);
        let env = changes.iter().filter(|change| change.in_env);
        let env: BTreeMap<String, String> =
            env.map(|change| (change.parameter.clone(), change.value.clone())).collect();
        if !env.is_empty() {
            self.write_env(&with(&mark.env, &env))?;
        }
        if let Err(error) = self.make_effective().await {
            let why = format!("Postgres did not come back with it: {error}");
            self.put_back(&mark).await?;
            return Ok(changes.iter().map(|change| (change.lever.clone(), why.clone())).collect());
        }
        Ok(refused)
    }

    /// A reload, and a restart where a setting waits for one; a server that is down is started.
    async fn make_effective(&self) -> Result<(), GauntletError> {
        let actuator = Actuator::new(&self.config.target);
        let Ok(connection) = self.connect().await else {
            return Ok(actuator.start().await?);
        };
        let client = connection.client();
        let failed = |error| PostgresError::statement("reloading", &error);
        let before = server::last_configured_at(client).await?;
        client.batch_execute("SELECT pg_reload_conf()").await.map_err(failed)?;
        let until = tokio::time::Instant::now() + RELOAD_PATIENCE;
        while server::last_configured_at(client).await? <= before {
            if tokio::time::Instant::now() > until {
                let waited = RELOAD_PATIENCE.as_secs();
                return Err(GauntletError::Config(format!("Postgres did not reload within {waited} s")));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        const PENDING: &str = "SELECT count(*) FROM pg_catalog.pg_settings WHERE pending_restart";
        let pending: i64 = client.query_one(PENDING, &[]).await.map_err(failed)?.get(0);
        if pending > 0 {
            actuator.activate(Activation::Restart, Some(client)).await?;
        }
        Ok(())
    }

    fn auto_conf(&self) -> PathBuf {
        self.data.join("postgresql.auto.conf")
    }

    /// In place: it stays its owner's, and Postgres replaces it as a whole anyway at the next `ALTER SYSTEM`.
    fn write_auto_conf(&self, text: &str) -> Result<(), GauntletError> {
        let path = self.auto_conf();
        let no_follow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let opened = OpenOptions::new().write(true).truncate(true).custom_flags(no_follow).open(&path);
        opened
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(GauntletError::file("writing", &path))
    }

    fn read_env(&self) -> Result<String, GauntletError> {
        fs::read_to_string(&self.env).map_err(GauntletError::file("reading", &self.env))
    }

    /// Whole or not at all: the load reads it every second.
    fn write_env(&self, text: &str) -> Result<(), GauntletError> {
        let written = || -> io::Result<()> {
            let folder = self.env.parent().unwrap_or(&self.root);
            let mut new = tempfile::NamedTempFile::new_in(folder)?;
            new.write_all(text.as_bytes())?;
            new.as_file().set_permissions(Permissions::from_mode(0o644))?;
            new.persist(&self.env).map_err(|error| error.error).map(drop)
        };
        written().map_err(GauntletError::file("writing", &self.env))
    }
}

/// The moment.
#[expect(
    clippy::disallowed_methods,
    reason = "the gauntlet measures in real time, as the sandbox runs in it"
)]
pub(super) fn now() -> DateTime<Utc> {
    Utc::now()
}
