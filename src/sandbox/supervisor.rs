//! The supervisor: a process of its own that keeps the sandbox's parts running.
//!
//! In: `state.json`. Out: `parts.json`, and parts that are started again, ever more slowly, when they die; after
//! [`MAX_DEATHS`] in a row it gives one up and says so there. Once the scenario is broken it starts its neighbour, and
//! carries out its timetable.
//!
//! Postgres is different: `pg_ctl` starts it, and leverd restarts it while it tunes. The supervisor starts it again
//! only after a crash, which leaves the pid file behind; an orderly stop removes that, and is somebody's will.

use super::error::SandboxError;
use super::files;
use super::monitoring::prometheus_arguments;
use super::place::Place;
use super::postgres::{self, Server};
use super::process::{self, ProcessId};
use super::scenario::Scenario;
use super::state::{self, Part, Parts, State};
use super::timetable::Timetable;
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

const TICK: Duration = Duration::from_millis(200);
const MAX_DEATHS: u32 = 6;
/// A part that ran so long has recovered: its deaths are forgotten.
const STEADY: Duration = Duration::from_secs(60);
/// `pg_ctl restart` of a crashed server finds the same stale pid file; it goes first.
const CRASH_GRACE: Duration = Duration::from_secs(2);

/// Watches the parts of the sandbox in `folder` until SIGTERM or SIGINT, and ends them then.
pub async fn supervise(folder: &Path) -> Result<(), SandboxError> {
    // A session of its own: a closed terminal or its Ctrl-C ends `up`, not the sandbox.
    let _ = rustix::process::setsid();
    let place = Place { root: folder.to_owned(), folder: folder.to_owned() };
    let state: State =
        state::load(&place.state())?.ok_or_else(|| SandboxError::NotRunning { root: folder.to_owned() })?;
    let handler = |kind| signal(kind).map_err(SandboxError::file("handling signals in", folder));
    let (mut terminate, mut interrupt) =
        (handler(SignalKind::terminate())?, handler(SignalKind::interrupt())?);
    let mut watched: Vec<Watched> = commands(&place, &state).into_iter().map(Watched::new).collect();
    let mut database = Database::default();
    let scenario = Scenario::read(&place.scenario())?;
    let mut timetable = Timetable::new(&scenario.timetable);
    let mut written = None;
    loop {
        let now = Instant::now();
        if !timetable.has_begun() && is_broken(&place) {
            timetable.begin(now);
            if scenario.broken.neighbour.is_some() {
                watched.push(Watched::new(neighbour(&place)));
            }
        }
        if let Some(turn) = timetable.due(now) {
            tracing::info!("the load changes as the scenario's timetable says");
            files::write(&place.turn(), &turn, None)?;
        }
        for part in &mut watched {
            part.step(&place, now);
        }
        database.step(&place, now);
        let parts = summary(&watched, &database);
        if written.as_ref() != Some(&parts) {
            state::store(&place.parts(), &parts)?;
            written = Some(parts);
        }
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    let running: Vec<ProcessId> = watched.iter().filter_map(Watched::process).collect();
    process::end(&running, Signal::TERM, Duration::from_secs(5))?;
    postgres::stop(&place)
}

/// Whether the scenario's mis-settings are applied. A file that is just being replaced is read at the next look.
fn is_broken(place: &Place) -> bool {
    state::load::<State>(&place.state()).ok().flatten().is_some_and(|state| state.broken)
}

/// How a part is started.
#[derive(Debug)]
struct PartCommand {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
}

fn commands(place: &Place, state: &State) -> Vec<PartCommand> {
    let ports = state.ports;
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let (env, turn, scenario) = (text(place.env()), text(place.turn()), text(place.scenario()));
    let (load_dsn, dsn) = (state.load_dsn(), state.dsn());
    let (load_at, exporter_at) =
        (format!("127.0.0.1:{}", ports.load), format!("127.0.0.1:{}", ports.exporter));
    let load = [
        ["sandbox", "load"],
        ["--env", &env],
        ["--turn", &turn],
        ["--dsn", &load_dsn],
        ["--listen", &load_at],
        ["--scenario", &scenario],
    ]
    .concat();
    let exporter = ["exporter", "--listen", &exporter_at, "--dsn", &dsn];
    vec![
        PartCommand {
            name: "prometheus",
            program: state.prometheus.clone(),
            arguments: prometheus_arguments(place, ports),
        },
        PartCommand {
            name: "load",
            program: place.program(),
            arguments: load.into_iter().map(str::to_owned).collect(),
        },
        PartCommand {
            name: "exporter",
            program: place.program(),
            arguments: exporter.map(str::to_owned).to_vec(),
        },
    ]
}

fn neighbour(place: &Place) -> PartCommand {
    let scenario = place.scenario().to_string_lossy().into_owned();
    let arguments = vec!["sandbox".to_owned(), "neighbour".to_owned(), scenario];
    PartCommand { name: "neighbour", program: place.program(), arguments }
}

fn summary(watched: &[Watched], database: &Database) -> Parts {
    let mut parts = Parts::default();
    for part in watched {
        parts.parts.insert(part.command.name.to_owned(), part.part.clone());
    }
    parts.parts.insert("postgres".to_owned(), database.part.clone());
    parts
}

/// One part that is a child of the supervisor.
#[derive(Debug)]
struct Watched {
    command: PartCommand,
    child: Option<Child>,
    started: Option<Instant>,
    /// When it may be started (again).
    due: Option<Instant>,
    deaths: Deaths,
    part: Part,
}

impl Watched {
    fn new(command: PartCommand) -> Self {
        Self {
            command,
            child: None,
            started: None,
            due: None,
            deaths: Deaths::default(),
            part: Part::default(),
        }
    }

    fn process(&self) -> Option<ProcessId> {
        self.part.process.clone()
    }

    fn step(&mut self, place: &Place, now: Instant) {
        if let Some(child) = &mut self.child {
            let exit = match child.try_wait() {
                Ok(None) => return,
                Ok(Some(status)) => status.to_string(),
                Err(error) => error.to_string(),
            };
            self.child = None;
            self.died(exit, now);
        } else if !self.part.given_up && self.due.is_none_or(|due| now >= due) {
            self.start(place, now);
        }
    }

    fn start(&mut self, place: &Place, now: Instant) {
        if self.started.is_some() {
            self.part.restarts += 1;
        }
        self.started = Some(now);
        let spawned = place
            .command(&self.command.program, self.command.name, None)
            .map_err(|error| error.to_string())
            .and_then(|mut command| {
                command.args(&self.command.arguments).spawn().map_err(|error| error.to_string())
            });
        match spawned {
            Ok(child) => {
                self.part.process = ProcessId::of(child.id());
                self.child = Some(child);
            }
            Err(why) => self.died(why, now),
        }
    }

    fn died(&mut self, exit: String, now: Instant) {
        let ran = self.started.map_or(Duration::ZERO, |started| now - started);
        self.part.process = None;
        match self.deaths.after(ran) {
            Some(delay) => {
                tracing::warn!(part = self.command.name, "ended ({exit}); starting it again in {delay:?}");
                self.due = Some(now + delay);
            }
            None => {
                tracing::error!(part = self.command.name, "ended ({exit}) too often; leaving it alone");
                self.part.given_up = true;
            }
        }
        self.part.last_exit = Some(exit);
    }
}

/// How often something died in a row.
#[derive(Debug, Default)]
struct Deaths(u32);

impl Deaths {
    /// How long to wait after one more death; `None`: give up.
    fn after(&mut self, ran: Duration) -> Option<Duration> {
        self.0 = if ran >= STEADY { 1 } else { self.0 + 1 };
        (self.0 <= MAX_DEATHS).then(|| Duration::from_millis(250) * 2_u32.pow(self.0 - 1))
    }
}

/// Postgres, which is nobody's child.
#[derive(Debug, Default)]
struct Database {
    crashed_since: Option<Instant>,
    started: Option<Instant>,
    deaths: Deaths,
    part: Part,
}

impl Database {
    fn step(&mut self, place: &Place, now: Instant) {
        if self.part.given_up {
            return;
        }
        if postgres::server(place) != Server::Crashed {
            self.crashed_since = None;
            return;
        }
        let since = *self.crashed_since.get_or_insert(now);
        if now - since < CRASH_GRACE {
            return;
        }
        self.crashed_since = None;
        let ran = self.started.map_or(STEADY, |started| now - started);
        if self.deaths.after(ran).is_none() {
            tracing::error!(part = "postgres", "crashed too often; leaving it alone");
            self.part.given_up = true;
            return;
        }
        tracing::warn!(part = "postgres", "crashed; starting it again");
        self.started = Some(now);
        self.part.restarts += 1;
        self.part.last_exit = Some("it left its pid file behind".to_owned());
        // A start that loses against somebody else's is fine; one that fails is seen again as a crash, or as a stop.
        // The state is read again: breaking the scenario may have changed the server's command line.
        let state: Result<Option<State>, _> = state::load(&place.state());
        let started = match state {
            Ok(Some(state)) => postgres::pg_ctl(place, &state, "start", None),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = started {
            tracing::warn!(part = "postgres", "{error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deaths_in_a_row_wait_ever_longer_and_then_end_it() {
        let mut deaths = Deaths::default();
        let waits: Vec<_> =
            (0..8).map(|_| deaths.after(Duration::ZERO).map(|wait| wait.as_millis())).collect();
        assert_eq!(waits, [Some(250), Some(500), Some(1000), Some(2000), Some(4000), Some(8000), None, None]);
    }

    #[test]
    fn a_steady_run_forgets_earlier_deaths() {
        let mut deaths = Deaths::default();
        for _ in 0..5 {
            deaths.after(Duration::ZERO);
        }
        assert_eq!(deaths.after(STEADY), Some(Duration::from_millis(250)));
    }
}
