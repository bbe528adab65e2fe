//! A thin client for a container engine that speaks Docker's API: Docker, Docker Desktop, Colima, OrbStack, Rancher
//! Desktop, Podman. It knows nothing of tuning.
//!
//! In: which container, and perhaps which socket. Out: what the engine says of it; its limits changed; it restarted.
//!
//! Always holds: every request is bounded in time; the socket is looked for anew when the engine went away, so one
//! that comes back, or moves, is found again; what an update did is for the caller to read back, because engines
//! answer "done" with warnings that say otherwise.

mod cgroup;
mod error;
mod sockets;

pub use error::DockerError;

use crate::config::ContainerConfig;
use crate::model::{ContainerLimits, ContainerState, LimitKind, Mount};
use bollard::Docker;
use bollard::models::{ContainerInspectResponse, ContainerUpdateBody, HealthStatusEnum};
use bollard::query_parameters::{RestartContainerOptionsBuilder, StatsOptionsBuilder};
use futures_util::StreamExt;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// For one request that changes nothing.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// For an update: the kernel may have to write pages back before memory is taken away.
const UPDATE_WITHIN: Duration = Duration::from_secs(60);
/// bollard's own limit for a request, s: past ours, which name the operation.
const CLIENT_TIMEOUT: u64 = 300;
const ASK_EVERY: Duration = Duration::from_millis(250);

/// The engine that runs one container.
#[derive(Debug)]
pub struct Engine {
    config: ContainerConfig,
    /// The socket that answered last.
    found: Mutex<Option<(PathBuf, Docker)>>,
    /// Cores and bytes of the engine's host, which do not change while it runs.
    host: Mutex<Option<(u64, u64)>>,
}

impl Engine {
    /// For the container that the configuration names. Connects to nothing yet.
    pub fn new(config: &ContainerConfig) -> Self {
        Self { config: config.clone(), found: Mutex::new(None), host: Mutex::new(None) }
    }

    /// The container's name or id, as it was configured.
    pub fn container(&self) -> &str {
        &self.config.name
    }

    /// What the engine says of the container; its use of memory and CPU only while it runs.
    pub async fn state(&self) -> Result<ContainerState, DockerError> {
        let engine = self.engine().await?;
        let found = self.inspect(&engine).await?;
        let running = is_running(&found);
        let usage = if running { self.usage(&engine).await } else { Usage::default() };
        let (host_cpus, host_memory) = self.host(&engine).await.unwrap_or_default();
        let id = found.id.clone().unwrap_or_default();
        let pid = found.state.as_ref().and_then(|state| state.pid).unwrap_or_default();
        let in_force = if running { cgroup::in_force(pid, &id) } else { cgroup::InForce::default() };
        Ok(ContainerState {
            name: found.name.clone().unwrap_or_default().trim_start_matches('/').to_owned(),
            id,
            running,
            limits: limits(&found),
            memory_used: usage.memory,
            // Where the cgroup cannot be seen, the engine reads it for its statistics.
            memory_limit_in_force: in_force.memory.or(usage.memory_limit),
            cpu_limit_in_force: in_force.cpus,
            cpu_periods: usage.cpu_periods,
            host_cpus,
            host_memory,
            mounts: mounts(&found),
        })
    }

    /// Its limits alone.
    pub async fn limits(&self) -> Result<ContainerLimits, DockerError> {
        let engine = self.engine().await?;
        Ok(limits(&self.inspect(&engine).await?))
    }

    /// Sets one limit as `wanted` has it; the others are not sent. What came of it must be read back.
    pub async fn set(&self, kind: LimitKind, wanted: &ContainerLimits) -> Result<(), DockerError> {
        let engine = self.engine().await?;
        let body = match kind {
            // Without its partner the engine refuses a limit past the old sum of memory and swap.
            LimitKind::Memory => ContainerUpdateBody {
                memory: Some(wanted.memory),
                memory_swap: (wanted.memory_swap != 0).then_some(wanted.memory_swap),
                ..ContainerUpdateBody::default()
            },
            LimitKind::Cpus if wanted.nano_cpus > 0 => {
                ContainerUpdateBody { nano_cpus: Some(wanted.nano_cpus), ..ContainerUpdateBody::default() }
            }
            LimitKind::Cpus => ContainerUpdateBody {
                cpu_quota: Some(wanted.cpu_quota),
                cpu_period: (wanted.cpu_period > 0).then_some(wanted.cpu_period),
                ..ContainerUpdateBody::default()
            },
        };
        bounded(
            "changing the container's limits",
            UPDATE_WITHIN,
            engine.update_container(&self.config.name, body),
        )
        .await
    }

    /// Restarts it (or starts it, where it is stopped) and waits until it runs, and where it has a health check, until
    /// that says healthy. Its processes have `within` to end, and as long again to be there.
    pub async fn restart(&self, within: Duration) -> Result<(), DockerError> {
        let engine = self.engine().await?;
        let seconds = i32::try_from(within.as_secs()).unwrap_or(i32::MAX).max(1);
        let options = RestartContainerOptionsBuilder::new().t(seconds).build();
        let restart = engine.restart_container(&self.config.name, Some(options));
        bounded("restarting the container", within + UPDATE_WITHIN, restart).await?;
        let until = Instant::now() + within;
        loop {
            let why = match self.inspect(&engine).await {
                Ok(found) => match standing(&found) {
                    Standing::Well => return Ok(()),
                    Standing::Not(why) => why,
                },
                Err(error) => error.to_string(),
            };
            if Instant::now() >= until {
                let log = self.last_words(&engine).await;
                return Err(DockerError::NotBack {
                    container: self.config.name.clone(),
                    waited: within,
                    why,
                    log,
                });
            }
            sleep(ASK_EVERY).await;
        }
    }

    async fn inspect(&self, engine: &Docker) -> Result<ContainerInspectResponse, DockerError> {
        let asked = engine.inspect_container(&self.config.name, None);
        let found = bounded("inspecting the container", ANSWER_WITHIN, asked).await;
        if matches!(found, Err(DockerError::Unreachable { .. })) {
            self.forget();
        }
        found.map_err(|error| error.naming(&self.config.name))
    }

    async fn host(&self, engine: &Docker) -> Option<(u64, u64)> {
        let known = *self.host.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_some() {
            return known;
        }
        let info = bounded("asking the engine for its host", ANSWER_WITHIN, engine.info()).await.ok()?;
        let host = (info.ncpu?.max(0).cast_unsigned(), info.mem_total?.max(0).cast_unsigned());
        *self.host.lock().unwrap_or_else(PoisonError::into_inner) = Some(host);
        Some(host)
    }

    async fn usage(&self, engine: &Docker) -> Usage {
        let options = StatsOptionsBuilder::new().stream(false).one_shot(true).build();
        let mut answers = pin!(engine.stats(&self.config.name, Some(options)));
        let Ok(Some(Ok(stats))) = timeout(ANSWER_WITHIN, answers.next()).await else {
            return Usage::default();
        };
        let memory = stats.memory_stats.as_ref();
        let cache = |name: &str| memory?.stats.as_ref()?.get(name).copied();
        let cached = cache("inactive_file").or_else(|| cache("total_inactive_file")).unwrap_or_default();
        let throttling = stats.cpu_stats.and_then(|cpu| cpu.throttling_data);
        Usage {
            memory: memory.and_then(|memory| memory.usage).map(|used| used.saturating_sub(cached)),
            memory_limit: memory.and_then(|memory| memory.limit),
            cpu_periods: throttling.and_then(|data| Some((data.periods?, data.throttled_periods?))),
        }
    }

    /// The end of what the container wrote, for the error that it did not come back.
    async fn last_words(&self, engine: &Docker) -> String {
        let options =
            bollard::query_parameters::LogsOptionsBuilder::new().stdout(true).stderr(true).tail("10").build();
        let mut lines = pin!(engine.logs(&self.config.name, Some(options)));
        let mut text = String::new();
        while let Ok(Some(Ok(line))) = timeout(ANSWER_WITHIN, lines.next()).await {
            text.push_str(&line.to_string());
        }
        text.trim().to_owned()
    }

    /// The engine that answers and has the container.
    async fn engine(&self) -> Result<Docker, DockerError> {
        if let Some((_, engine)) = &*self.lock() {
            return Ok(engine.clone());
        }
        let mut tried = Vec::new();
        let mut without = Vec::new();
        for socket in sockets::candidates(&self.config.socket) {
            if !socket.exists() {
                tried.push((socket, "is not there".to_owned()));
                continue;
            }
            let Ok(engine) = Docker::connect_with_unix(
                &socket.to_string_lossy(),
                CLIENT_TIMEOUT,
                bollard::API_DEFAULT_VERSION,
            ) else {
                continue;
            };
            let asked = engine.inspect_container(&self.config.name, None);
            match bounded("inspecting the container", ANSWER_WITHIN, asked).await {
                Ok(_) => {
                    *self.lock() = Some((socket, engine.clone()));
                    return Ok(engine);
                }
                Err(DockerError::NoContainer { .. }) => without.push(socket),
                Err(error) => tried.push((socket, error.to_string())),
            }
        }
        if without.is_empty() {
            return Err(DockerError::NoEngine { tried });
        }
        Err(DockerError::NoContainer { container: self.config.name.clone(), asked: without })
    }

    fn forget(&self) {
        *self.lock() = None;
        *self.host.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(PathBuf, Docker)>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Usage {
    memory: Option<u64>,
    memory_limit: Option<u64>,
    cpu_periods: Option<(u64, u64)>,
}

enum Standing {
    Well,
    Not(String),
}

fn standing(found: &ContainerInspectResponse) -> Standing {
    let Some(state) = &found.state else {
        return Standing::Not("the engine does not tell its state".to_owned());
    };
    if !state.running.unwrap_or_default() || state.restarting.unwrap_or_default() {
        let status = state.status.map_or("not running".to_owned(), |status| status.to_string());
        return Standing::Not(format!("it is {status} (exit code {})", state.exit_code.unwrap_or_default()));
    }
    match state.health.as_ref().and_then(|health| health.status) {
        None | Some(HealthStatusEnum::HEALTHY | HealthStatusEnum::NONE | HealthStatusEnum::EMPTY) => {
            Standing::Well
        }
        Some(other) => Standing::Not(format!("its health check says {other}")),
    }
}

fn is_running(found: &ContainerInspectResponse) -> bool {
    found.state.as_ref().and_then(|state| state.running).unwrap_or_default()
}

fn limits(found: &ContainerInspectResponse) -> ContainerLimits {
    let Some(host) = &found.host_config else { return ContainerLimits::default() };
    ContainerLimits {
        memory: host.memory.unwrap_or_default(),
        memory_swap: host.memory_swap.unwrap_or_default(),
        nano_cpus: host.nano_cpus.unwrap_or_default(),
        cpu_quota: host.cpu_quota.unwrap_or_default(),
        cpu_period: host.cpu_period.unwrap_or_default(),
    }
}

fn mounts(found: &ContainerInspectResponse) -> Vec<Mount> {
    let all = found.mounts.iter().flatten();
    all.filter_map(|mount| {
        Some(Mount {
            source: mount.source.as_ref().filter(|source| !source.is_empty())?.into(),
            destination: mount.destination.as_ref()?.into(),
            writable: mount.rw.unwrap_or_default(),
        })
    })
    .collect()
}

/// A request with an end, its failure in words.
async fn bounded<T>(
    doing: &'static str,
    within: Duration,
    request: impl Future<Output = Result<T, bollard::errors::Error>>,
) -> Result<T, DockerError> {
    match timeout(within, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(DockerError::of(doing, error)),
        Err(_) => {
            Err(DockerError::Unreachable { doing, why: format!("no answer within {} s", within.as_secs()) })
        }
    }
}
