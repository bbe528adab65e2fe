//! Restarting Postgres, and starting it again after its file was put right offline.
//!
//! In: how it is done, and how to connect. Out: a server that answers again and began after the restart, or an
//! error with the command's output and the end of the server's log. Bounded in time; it tries once, never in a loop.

use super::command::{self, run, shell};
use super::{ActuateError, server};
use crate::config::{RestartMethod, Target};
use crate::docker::{DockerError, Engine};
use crate::postgres::{PostgresError, connect};
use fail::fail_point;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::process::Command;
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How long the server from before may still answer once the restart command has ended.
const OLD_ONE_GRACE: Duration = Duration::from_secs(5);
/// `pg_ctl` ends by itself at its own timeout; this is for one that hangs beyond it.
const PG_CTL_GRACE: Duration = Duration::from_secs(10);

/// How the target is restarted.
#[derive(Debug)]
pub(super) struct Restarter {
    target: Target,
    engine: Option<Arc<Engine>>,
    /// Where the server's words went while it ran, so that they go there again: `pg_ctl` does not know it.
    log: Mutex<Option<PathBuf>>,
}

impl Restarter {
    pub(super) fn new(target: &Target, engine: Option<Arc<Engine>>) -> Self {
        Self { target: target.clone(), engine, log: Mutex::new(None) }
    }

    fn timeout(&self) -> Duration {
        self.target.restart.timeout
    }

    /// The data folder, where the configuration names it.
    pub(super) fn data_directory(&self) -> Option<&Path> {
        match &self.target.restart.method {
            RestartMethod::PgCtl { data_directory, .. } => Some(data_directory),
            _ => None,
        }
    }

    /// What a person would type to restart the server.
    pub(super) fn shown(&self) -> Option<String> {
        use super::backup::quoted;
        Some(match &self.target.restart.method {
            RestartMethod::Never => return None,
            RestartMethod::PgCtl { pg_ctl, data_directory } => {
                format!("{} restart -D {} -m fast", quoted(pg_ctl), quoted(data_directory))
            }
            RestartMethod::Command(text) => text.clone(),
            RestartMethod::Systemd(unit) => format!("systemctl restart {}", super::backup::shell_word(unit)),
            RestartMethod::Brew(formula) => {
                format!("brew services restart {}", super::backup::shell_word(formula))
            }
            RestartMethod::Docker => {
                let container = self.engine.as_ref().map_or("", |engine| engine.container());
                let seconds = self.timeout().as_secs();
                format!("docker restart --time {seconds} {}", super::backup::shell_word(container))
            }
        })
    }

    /// Restarts and waits for a server that began after that.
    pub(super) async fn restart(&self, pg: Option<&Client>) -> Result<(), ActuateError> {
        let before = match pg {
            Some(pg) => start_time(pg).await.ok(),
            None => self.start_time_now().await.ok(),
        };
        match &self.target.restart.method {
            RestartMethod::Never => return Err(ActuateError::RestartForbidden),
            RestartMethod::PgCtl { pg_ctl, data_directory } => {
                self.remember_log(data_directory).await;
                self.stop(pg_ctl, data_directory).await?;
                fail_point!("actuate::stopped", |_| std::process::abort());
                self.bring_up(pg_ctl, data_directory).await?;
            }
            RestartMethod::Command(text) => run(shell(text), text, self.timeout()).await?,
            RestartMethod::Systemd(unit) => self.systemctl("restart", unit).await?,
            RestartMethod::Brew(formula) => self.brew(formula).await?,
            RestartMethod::Docker => self.container().await?,
        }
        fail_point!("actuate::restarted", |_| std::process::abort());
        self.answers(before.as_deref()).await
    }

    /// Starts a stopped server; one that runs already is left as it is, also where it does not let leverd in.
    pub(super) async fn start(&self) -> Result<(), ActuateError> {
        match self.start_time_now().await {
            Ok(_) => return Ok(()),
            Err(ActuateError::Postgres(PostgresError::Refused { .. })) => return self.answers(None).await,
            Err(_) => {}
        }
        match &self.target.restart.method {
            RestartMethod::Never => return Err(ActuateError::RestartForbidden),
            RestartMethod::PgCtl { pg_ctl, data_directory } => {
                if !self.is_running(pg_ctl, data_directory).await {
                    self.bring_up(pg_ctl, data_directory).await?;
                }
            }
            RestartMethod::Command(text) => run(shell(text), text, self.timeout()).await?,
            RestartMethod::Systemd(unit) => {
                // A unit that failed too often refuses to start until that is forgotten; where it did not, the
                // answer of this does not matter.
                let _ = self.systemctl("reset-failed", unit).await;
                self.systemctl("start", unit).await?;
            }
            RestartMethod::Brew(formula) => self.brew(formula).await?,
            RestartMethod::Docker => self.container().await?,
        }
        self.answers(None).await
    }

    async fn systemctl(&self, verb: &str, unit: &str) -> Result<(), ActuateError> {
        let mut command = Command::new("systemctl");
        command.args(["--no-ask-password", verb, unit]);
        run(command, &format!("systemctl {verb} {unit}"), self.timeout()).await
    }

    async fn brew(&self, formula: &str) -> Result<(), ActuateError> {
        let mut command = Command::new("brew");
        command.args(["services", "restart", formula]);
        run(command, &format!("brew services restart {formula}"), self.timeout()).await
    }

    /// The container is restarted, or started; its server does not come back is what a server that does not start is.
    async fn container(&self) -> Result<(), ActuateError> {
        let engine = self.engine.as_ref().ok_or(ActuateError::RestartForbidden)?;
        match engine.restart(self.timeout()).await {
            Err(DockerError::NotBack { waited, why, log, .. }) => {
                Err(ActuateError::NotBack { waited, why: format!("its container: {why}"), log })
            }
            done => Ok(done?),
        }
    }

    async fn stop(&self, pg_ctl: &Path, data: &Path) -> Result<(), ActuateError> {
        // One that crashed leaves its pid file behind, and `stop` would fail on it.
        if !self.is_running(pg_ctl, data).await {
            return Ok(());
        }
        match self.pg_ctl(pg_ctl, data, &["stop", "-m", "fast"], None).await {
            // It died instead of shutting down: stopped all the same.
            Err(_) if !self.is_running(pg_ctl, data).await => Ok(()),
            result => result,
        }
    }

    async fn is_running(&self, pg_ctl: &Path, data: &Path) -> bool {
        let mut command = as_owner_of(data, pg_ctl);
        command.arg("status").arg("-D").arg(data).current_dir(data);
        run(command, "pg_ctl status", PG_CTL_GRACE).await.is_ok()
    }

    /// `restart` also starts a stopped server, and unlike `start` with the options that it ran with before.
    async fn bring_up(&self, pg_ctl: &Path, data: &Path) -> Result<(), ActuateError> {
        let log = self.log_file(data).await;
        let from = fs::metadata(&log).map_or(0, |metadata| metadata.len());
        let started = self.pg_ctl(pg_ctl, data, &["restart", "-m", "fast"], Some(&log)).await;
        started.map_err(|error| match error {
            ActuateError::Command { why, .. } => ActuateError::NotBack {
                waited: self.timeout(),
                why: format!("pg_ctl {why}"),
                log: log_since(&log, from),
            },
            other => other,
        })
    }

    async fn pg_ctl(
        &self,
        pg_ctl: &Path,
        data: &Path,
        arguments: &[&str],
        log: Option<&Path>,
    ) -> Result<(), ActuateError> {
        let mut command = as_owner_of(data, pg_ctl);
        command.args(arguments).arg("-w").arg("-t").arg(self.timeout().as_secs().max(1).to_string());
        command.arg("-D").arg(data).current_dir(data);
        if let Some(log) = log {
            command.arg("-l").arg(log);
        }
        let shown = format!("{} {} -D {}", pg_ctl.display(), arguments.join(" "), data.display());
        run(command, &shown, self.timeout() + PG_CTL_GRACE).await
    }

    /// Only a log that the server's own user may open: another's redirection may have been opened by root, and then
    /// `pg_ctl -l` would keep the server from starting.
    async fn remember_log(&self, data: &Path) {
        let Some(log) = present_log(data) else { return };
        let mut command = as_owner_of(data, Path::new("test"));
        command.arg("-w").arg(&log).current_dir(data);
        if run(command, "test -w", PG_CTL_GRACE).await.is_ok() {
            *self.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(log);
        }
    }

    async fn log_file(&self, data: &Path) -> PathBuf {
        self.remember_log(data).await;
        let known = self.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        known.unwrap_or_else(|| data.join("leverd-restart.log"))
    }

    async fn start_time_now(&self) -> Result<String, ActuateError> {
        let connection = connect(self.target.dsn.expose(), CONNECT_TIMEOUT).await?;
        start_time(connection.client()).await
    }

    /// Waits until a server answers that began at another time than `before`.
    async fn answers(&self, before: Option<&str>) -> Result<(), ActuateError> {
        let asked_from = Instant::now();
        loop {
            let waited = asked_from.elapsed();
            match self.start_time_now().await {
                Ok(since) if before != Some(since.as_str()) => return Ok(()),
                // A unit that stands for others is done before they are.
                Ok(since) if waited >= OLD_ONE_GRACE => {
                    let command = self.shown().unwrap_or_default();
                    return Err(ActuateError::NotRestarted { command, since });
                }
                Err(error) if waited >= self.timeout() => {
                    let why = error.to_string();
                    return Err(ActuateError::NotBack { waited, why, log: String::new() });
                }
                Ok(_) | Err(_) => sleep(ASK_EVERY).await,
            }
        }
    }
}

async fn start_time(pg: &Client) -> Result<String, ActuateError> {
    const SQL: &str = "SELECT pg_catalog.pg_postmaster_start_time()::text";
    let found = server::rows(pg, "reading the server's start time", SQL, &[]).await?;
    Ok(found.first().and_then(|row| row.try_get(0).ok()).unwrap_or_default())
}

/// Postgres refuses to run as root: there the program runs as the data folder's owner.
fn as_owner_of(data: &Path, program: &Path) -> Command {
    let owner = fs::metadata(data).ok().map(|metadata| (metadata.uid(), metadata.gid()));
    let Some((uid, gid)) = owner.filter(|(uid, _)| rustix::process::geteuid().is_root() && *uid != 0) else {
        return Command::new(program);
    };
    // setpriv gives the owner's other groups too: Debian's TLS key is readable through one of them alone.
    if let Some(setpriv) = in_path("setpriv").filter(|_| has_account(uid)) {
        let mut command = Command::new(setpriv);
        command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}")).arg("--init-groups");
        command.arg("--").arg(program);
        return command;
    }
    let mut command = Command::new(program);
    command.uid(uid).gid(gid);
    command
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn has_account(uid: u32) -> bool {
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    accounts.lines().any(|line| line.split(':').nth(2) == Some(uid.to_string().as_str()))
}

/// Where the running server's standard error goes, where that is a file and this system tells.
fn present_log(data: &Path) -> Option<PathBuf> {
    let pid_file = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let pid: u32 = pid_file.lines().next()?.trim().parse().ok()?;
    let log = fs::read_link(format!("/proc/{pid}/fd/2")).ok()?;
    // A pipe, a socket or a removed file is no path.
    fs::metadata(&log).ok().filter(|metadata| log.is_absolute() && metadata.is_file()).map(|_| log)
}

/// What the server wrote into its log since it had `from` bytes.
fn log_since(log: &Path, from: u64) -> String {
    let Ok(mut file) = File::open(log) else { return String::new() };
    let grown = file.metadata().is_ok_and(|metadata| metadata.len() > from);
    if grown { command::tail(&mut file) } else { String::new() }
}
