//! Bringing a sandbox up, mis-setting it, and taking it down.

use super::breaking;
use super::error::SandboxError;
use super::files;
use super::monitoring::{answers, find_prometheus, http, leverd_config, prometheus_config, value_of};
use super::place::{Owner, Place, owner};
use super::ports::free_port;
use super::postgres::{self, Server};
use super::process::{self, ProcessId};
use super::scenario::{Scenario, Span};
use super::seed;
use super::settings::{set_in_env, values};
use super::state::{self, Parts, Ports, State};
use chrono::{DateTime, Utc};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What `up` is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// The project root.
    pub root: PathBuf,
    /// What to bring up.
    pub scenario: Scenario,
    /// The leverd binary that runs the load, the exporter and the supervisor.
    pub program: PathBuf,
    /// The folder of Postgres' programs; `None`: the newest that is found.
    pub postgres_bin: Option<PathBuf>,
    /// Use the data that `down --keep-data` left, where they fit the scenario.
    pub keep_data: bool,
}

/// A step of something long, for a progress display.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// From 1.
    pub number: u32,
    /// The last one's number.
    pub of: u32,
    /// What is being done.
    pub what: &'a str,
}

/// Told of each step as it begins.
pub type Progress<'a> = &'a (dyn Fn(Step<'_>) + Sync);

/// A sandbox that is up.
#[derive(Debug, Clone)]
pub struct Up {
    /// The `leverd.yaml` of the sandbox.
    pub config: PathBuf,
    /// What is not as it should be, but stops nothing.
    pub warnings: Vec<String>,
}

/// What `down` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Down {
    /// Whether anything ran.
    pub was_running: bool,
    /// Whether there was anything to remove.
    pub removed: bool,
}

/// Brings a sandbox up, healthy and under its load, warmed up, so that a baseline can be taken.
///
/// A failure leaves no process behind; the logs stay until the next `up` or `down`.
pub async fn up(options: &Options, now: DateTime<Utc>, progress: Progress<'_>) -> Result<Up, SandboxError> {
    let lock = lock(&options.root)?;
    if let Some(place) = Place::existing(&options.root) {
        refuse_if_running(&place)?;
        if !options.keep_data {
            place.remove(false)?;
        }
    }
    let owner = owner()?;
    let place = Place::create(&options.root, owner.as_ref())?;
    let done = start(options, now, &place, owner.as_ref(), progress).await;
    if done.is_err() {
        // The first failure is the one to report.
        let _ = end_all(&place).and_then(|_| place.remove(true));
    }
    drop(lock);
    done
}

async fn start(
    options: &Options,
    now: DateTime<Utc>,
    place: &Place,
    owner: Option<&Owner>,
    progress: Progress<'_>,
) -> Result<Up, SandboxError> {
    let tell = |number, what: &str| progress(Step { number, of: 6, what });
    let scenario = &options.scenario;
    tell(1, "preparing the folder");
    let mut state = State {
        scenario: scenario.name.clone(),
        started_at: now,
        folder: place.folder.clone(),
        user: owner.map(|owner| owner.name.clone()),
        ports: free_ports()?,
        postgres_bin: postgres::find_bin(options.postgres_bin.as_deref())?,
        prometheus: find_prometheus()?,
        broken: false,
        command_line: BTreeMap::new(),
        supervisor: None,
    };
    place.install(&options.program)?;
    files::write(&place.scenario(), &scenario.text, None)?;
    files::write(
        &place.env(),
        &set_in_env(
            "# Read by the load program; leverd's levers with config_file \".env\" mean this file.",
            &values(&scenario.healthy.env),
        ),
        None,
    )?;
    files::write(&place.prometheus_config(), &prometheus_config(state.ports), None)?;
    files::write(&place.config(), &leverd_config(place, &state, scenario), None)?;
    // Before the first process: `down` finds whatever starts from here on.
    state::store(&place.state(), &state)?;

    tell(2, "creating Postgres");
    let has_data = place.data().join("PG_VERSION").is_file();
    if !has_data {
        postgres::initdb(place, &state.postgres_bin, owner)?;
    }
    postgres::forget_changes(place, owner)?;
    postgres::configure(place, state.ports.postgres, &values(&scenario.healthy.postgresql), owner)?;
    postgres::pg_ctl(place, &state, "start", owner)?;

    tell(3, "seeding");
    seed::seed_once(place, &state, &scenario.load, owner).await?;

    tell(4, "starting Prometheus, the exporter and the load");
    start_supervisor(place, &mut state, owner)?;

    tell(5, "waiting for the signals");
    let mut warnings = Vec::new();
    wait_for_signals(place, &state, &mut warnings).await?;

    warm_up(scenario.warm_up, |what| tell(6, what)).await;
    Ok(Up { config: place.config(), warnings })
}

/// Applies the scenario's mis-settings to a healthy sandbox, and waits until their effect shows. `false`: the
/// scenario has none.
pub async fn break_it(root: &Path, progress: Progress<'_>) -> Result<bool, SandboxError> {
    let _lock = lock(root)?;
    let not_running = || SandboxError::NotRunning { root: root.to_owned() };
    let place = Place::existing(root).ok_or_else(not_running)?;
    let mut state: State = state::load(&place.state())?.ok_or_else(not_running)?;
    let scenario = Scenario::read(&place.scenario())?;
    if scenario.broken.is_empty() {
        return Ok(false);
    }
    let owner = owner()?;
    let tell = |number, what: &str| progress(Step { number, of: 2, what });
    tell(1, "applying the scenario's mis-settings");
    breaking::apply(&place, &mut state, &scenario.broken, owner.as_ref()).await?;
    // The supervisor waits for this: from here on the timetable's time counts.
    state.broken = true;
    state::store(&place.state(), &state)?;
    warm_up(scenario.warm_up, |what| tell(2, what)).await;
    Ok(true)
}

/// Ends whatever of a sandbox runs, and removes its folder; with `keep_data` the folder stays, for another `up`.
/// Doing it twice is fine.
pub fn down(root: &Path, keep_data: bool) -> Result<Down, SandboxError> {
    let Some(place) = Place::existing(root) else { return Ok(Down { was_running: false, removed: false }) };
    let _lock = lock(root)?;
    let was_running = end_all(&place)?;
    place.remove(keep_data)?;
    Ok(Down { was_running, removed: !keep_data })
}

/// The `leverd.yaml` of the sandbox that runs under this project root.
pub fn running_config(root: &Path) -> Option<PathBuf> {
    let place = Place::existing(root)?;
    let runs = matches!(postgres::server(&place), Server::Runs(_));
    (runs && place.config().is_file()).then(|| place.config())
}

fn refuse_if_running(place: &Place) -> Result<(), SandboxError> {
    let runs = matches!(postgres::server(place), Server::Runs(_)) || !state::processes(place).is_empty();
    if !runs {
        return Ok(());
    }
    let state: Option<State> = state::load(&place.state()).ok().flatten();
    let known = |tell: &dyn Fn(&State) -> String| state.as_ref().map_or_else(|| "unknown".to_owned(), tell);
    Err(SandboxError::AlreadyRunning {
        scenario: known(&|state| state.scenario.clone()),
        since: known(&|state| state.started_at.format("%Y-%m-%d %H:%M:%S UTC").to_string()),
        folder: place.folder.clone(),
    })
}

/// Whether anything ran.
fn end_all(place: &Place) -> Result<bool, SandboxError> {
    let supervisor: Option<ProcessId> =
        state::load::<State>(&place.state()).ok().flatten().and_then(|state| state.supervisor);
    let mut ran = false;
    if let Some(supervisor) = supervisor.filter(ProcessId::is_alive) {
        ran = true;
        // First, so that it starts nothing again; it ends the parts itself, within this time.
        process::end(&[supervisor], Signal::TERM, Duration::from_secs(30))?;
    }
    if matches!(postgres::server(place), Server::Runs(_)) {
        ran = true;
        postgres::stop(place)?;
    }
    // What a killed supervisor left; read again, since a process may have been started meanwhile.
    for _ in 0..3 {
        let left = state::processes(place);
        if left.is_empty() {
            break;
        }
        ran = true;
        process::end(&left, Signal::TERM, Duration::from_secs(5))?;
    }
    Ok(ran)
}

fn lock(root: &Path) -> Result<File, SandboxError> {
    let path = Place::lock_of(root);
    let folder = root.join(".leverd");
    std::fs::create_dir_all(&folder).map_err(SandboxError::file("creating", &folder))?;
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(SandboxError::file("opening", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SandboxError::Busy { lock: path }),
        Err(TryLockError::Error(error)) => Err(SandboxError::file("locking", &path)(error)),
    }
}

fn free_ports() -> Result<Ports, SandboxError> {
    let next = || free_port().map_err(SandboxError::file("finding a free port on", Path::new("127.0.0.1")));
    Ok(Ports { postgres: next()?, prometheus: next()?, load: next()?, exporter: next()? })
}

fn start_supervisor(place: &Place, state: &mut State, owner: Option<&Owner>) -> Result<(), SandboxError> {
    let program = place.program();
    let mut command = place.command(&program, "supervisor", owner)?;
    command.args(["sandbox", "supervise"]).arg(&place.folder);
    let mut child = command.spawn().map_err(|source| SandboxError::Start { program, source })?;
    state.supervisor = ProcessId::of(child.id());
    state::store(&place.state(), state)?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while !place.parts().is_file() {
        let log = place.log("supervisor");
        if let Ok(Some(status)) = child.try_wait() {
            let tail = files::tail(&log, 12);
            return Err(SandboxError::Failed {
                doing: "the supervisor".to_owned(),
                status: status.to_string(),
                log,
                tail,
            });
        }
        if Instant::now() > deadline {
            let tail = files::tail(&log, 12);
            return Err(SandboxError::NotReady {
                what: "the supervisor".to_owned(),
                waited_s: 10,
                log,
                tail,
            });
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Waits until Prometheus has seen events written, and the exporter's WAL counter. Without the exporter the
/// sandbox still runs: that is a warning.
async fn wait_for_signals(
    place: &Place,
    state: &State,
    warnings: &mut Vec<String>,
) -> Result<(), SandboxError> {
    const WRITTEN: &str = "sum(rate(capsim_events_written_total[5s])) > 0";
    const WAL: &str = "rate(pg_wal_lsn_bytes_total[5s])";
    let (http, port) = (http(), state.ports.prometheus);
    let within = |part, seconds| (part, Duration::from_secs(seconds), Instant::now());
    wait(place, within("prometheus", 30), async || answers(&http, port, "/-/ready").await).await?;
    wait(place, within("load", 30), async || value_of(&http, port, WRITTEN).await.is_some()).await?;
    let exporter =
        wait(place, within("exporter", 20), async || value_of(&http, port, WAL).await.is_some()).await;
    match exporter {
        Err(error @ (SandboxError::NotReady { .. } | SandboxError::Failed { .. })) => {
            warnings.push(format!("without its exporter the sandbox has no WAL and host signals: {error}"));
            Ok(())
        }
        other => other,
    }
}

async fn wait(
    place: &Place,
    (part, within, since): (&str, Duration, Instant),
    is_ready: impl AsyncFn() -> bool,
) -> Result<(), SandboxError> {
    while !is_ready().await {
        let log = place.log(part);
        let parts: Parts = state::load(&place.parts())?.unwrap_or_default();
        if let Some(gone) = parts.parts.get(part).filter(|part| part.given_up) {
            let status = gone.last_exit.clone().unwrap_or_default();
            let tail = files::tail(&log, 6);
            return Err(SandboxError::Failed { doing: format!("the {part}"), status, log, tail });
        }
        if since.elapsed() > within {
            let tail = files::tail(&log, 6);
            return Err(SandboxError::NotReady {
                what: format!("the {part}"),
                waited_s: within.as_secs(),
                log,
                tail,
            });
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// Time itself is what is waited for: the signals' windows must hold nothing from before.
async fn warm_up(span: Span, tell: impl Fn(&str)) {
    let seconds = span.get().as_secs();
    for second in 0..seconds {
        tell(&format!("warming up ({second} of {seconds} s)"));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
