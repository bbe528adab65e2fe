//! A limit of a container, which its engine is told while it runs.
//!
//! In: a plan, later its intent. Out: the limit moved, read back from the engine and from the cgroup, or an error.
//! Always holds: only the limit that the lever is about is sent, with the swap that belongs to it; a limit that
//! somebody else set is not written over; memory that is in use is not taken away, for the kernel would kill for it.
//! The compose file is not touched: whoever makes the container anew from it gets that file's limits.

use super::backup::{self, shell_word};
use super::{ActuateError, server};
use crate::docker::{DockerError, Engine};
use crate::model::{Arm, ContainerLimits, ContainerState, Found, Intent, LimitKind, OldValue, Plan};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

/// Of the limit, what may be in use when it is lowered: the rest is the kernel's room to write pages back.
const MOST_USED: f64 = 0.9;
/// An engine that is being restarted is waited for, so often.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// How an intent names a container, in the place of a file.
fn named(container: &str) -> PathBuf {
    PathBuf::from(format!("container {container}"))
}

/// Says how the limit will be moved and put back, and writes that down in the backup.
pub(super) async fn prepare(
    engine: &Engine,
    plan: &Plan,
    kind: LimitKind,
    pg: Option<&Client>,
    system_identifier: u64,
    backup_folder: &Path,
) -> Result<Intent, ActuateError> {
    if let Some(pg) = pg {
        server::is_the_one(pg, system_identifier).await?;
    }
    let old = engine.limits().await?;
    let new = wanted(&old, kind, &plan.parameter, &plan.to)?;
    let file = named(engine.container());
    if old.agrees(kind, &new) {
        return Err(ActuateError::Unchanged {
            parameter: plan.parameter.clone(),
            value: plan.to.clone(),
            file,
        });
    }
    let record = format!("{old}\n");
    let put_back = command(engine.container(), kind, &old);
    let copy =
        backup::make_record(backup_folder, "container-limits.txt", &file, record.as_bytes(), &put_back)?;
    Ok(Intent {
        system_identifier,
        file,
        parameter: plan.parameter.clone(),
        old: OldValue::Container(old),
        new: plan.to.clone(),
        sha256_before: String::new(),
        sha256_after: String::new(),
        backup: Some(copy),
        in_place: false,
    })
}

/// The limits with the one moved to a value as people write it; one that was not there is not set.
fn wanted(
    old: &ContainerLimits,
    kind: LimitKind,
    parameter: &str,
    value: &str,
) -> Result<ContainerLimits, ActuateError> {
    let refuse =
        |why: String| ActuateError::Value { parameter: parameter.to_owned(), value: value.to_owned(), why };
    let number = kind.parse(value).map_err(refuse)?;
    if old.get(kind).is_none() {
        return Err(refuse("the container has no such limit, so there is nothing to move".to_owned()));
    }
    Ok(old.with(kind, number))
}

/// The two ends of an intent.
fn ends(intent: &Intent, kind: LimitKind) -> Result<(ContainerLimits, ContainerLimits), ActuateError> {
    let OldValue::Container(old) = &intent.old else {
        return Err(ActuateError::Unavailable {
            parameter: intent.parameter.clone(),
            reason: "its intent is not a container's".to_owned(),
        });
    };
    Ok((*old, wanted(old, kind, &intent.parameter, &intent.new)?))
}

/// Brings the limit under `arm`. An engine that does not answer is waited for `patience` long: it may be restarting.
pub(super) async fn write(
    engine: &Engine,
    intent: &Intent,
    kind: LimitKind,
    arm: Arm,
    patience: Duration,
) -> Result<(), ActuateError> {
    let (old, new) = ends(intent, kind)?;
    let state = patiently(patience, || engine.state()).await?;
    let target = match (standing(&state.limits, intent, kind)?, arm) {
        (Found::Before, Arm::A) | (Found::After, Arm::B) => return Ok(()),
        (Found::Neither(found), _) => {
            return Err(ActuateError::Edited {
                file: intent.file.clone(),
                parameter: intent.parameter.clone(),
                found,
            });
        }
        (_, Arm::A) => old,
        (_, Arm::B) => new,
    };
    fits(&state, kind, &target, intent)?;
    engine.set(kind, &target).await?;
    let found = engine.limits().await?;
    if found.agrees(kind, &target) {
        return Ok(());
    }
    Err(not_in_effect(intent, kind, &target, found.get(kind), "the engine said yes, and shows another limit"))
}

/// Lowering memory below what is in use has the kernel kill a process.
fn fits(
    state: &ContainerState,
    kind: LimitKind,
    target: &ContainerLimits,
    intent: &Intent,
) -> Result<(), ActuateError> {
    let (LimitKind::Memory, Some(used), Some(limit)) = (kind, state.memory_used, target.get(kind)) else {
        return Ok(());
    };
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let used = used as f64;
    let lowered = state.limits.get(kind).is_none_or(|now| limit < now);
    if !lowered || used <= limit * MOST_USED {
        return Ok(());
    }
    let mib = |bytes: f64| format!("{:.0} MiB", bytes / 1_048_576.0);
    Err(ActuateError::Value {
        parameter: intent.parameter.clone(),
        value: kind.show(limit),
        why: format!(
            "the container uses {}, {} of {} is the most that may be in use when the limit is lowered: the kernel \
             would kill a process of Postgres",
            mib(used),
            mib(limit * MOST_USED),
            mib(limit)
        ),
    })
}

/// How the container stands to the change.
pub(super) async fn look(engine: &Engine, intent: &Intent, kind: LimitKind) -> Result<Found, ActuateError> {
    standing(&engine.limits().await?, intent, kind)
}

fn standing(found: &ContainerLimits, intent: &Intent, kind: LimitKind) -> Result<Found, ActuateError> {
    let (old, new) = ends(intent, kind)?;
    Ok(if found.agrees(kind, &old) {
        Found::Before
    } else if found.agrees(kind, &new) {
        Found::After
    } else {
        Found::Neither(format!("{} of {}: {found}", intent.parameter, intent.file.display()))
    })
}

/// Whether the limit of `arm` is in force: by the engine's word and by the cgroup, as far as that can be seen.
pub(super) async fn verify(
    engine: &Engine,
    intent: &Intent,
    kind: LimitKind,
    arm: Arm,
) -> Result<(), ActuateError> {
    let (old, new) = ends(intent, kind)?;
    let target = if arm == Arm::B { new } else { old };
    let state = engine.state().await?;
    if !state.running {
        return Err(not_in_effect(intent, kind, &target, None, "the container does not run"));
    }
    if !state.limits.agrees(kind, &target) {
        let found = state.limits.get(kind);
        return Err(not_in_effect(intent, kind, &target, found, "the engine shows another limit"));
    }
    let (in_force, wanted) = match kind {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        LimitKind::Memory => (state.memory_limit_in_force.map(|bytes| bytes as f64), target.get(kind)),
        LimitKind::Cpus => (state.cpu_limit_in_force, target.get(kind)),
    };
    match (in_force, wanted) {
        // The kernel counts memory in pages, and CPU time in microseconds.
        (Some(found), Some(wanted)) if (found - wanted).abs() > wanted * 1e-3 => {
            Err(not_in_effect(intent, kind, &target, Some(found), "its cgroup holds another limit"))
        }
        _ => Ok(()),
    }
}

fn not_in_effect(
    intent: &Intent,
    kind: LimitKind,
    target: &ContainerLimits,
    found: Option<f64>,
    why: &str,
) -> ActuateError {
    let show = |value: Option<f64>| value.map_or_else(|| "none".to_owned(), |value| kind.show(value));
    ActuateError::NotInEffect {
        parameter: intent.parameter.clone(),
        expected: show(target.get(kind)),
        found: show(found),
        why: why.to_owned(),
    }
}

/// What a person types to set the limit.
pub(super) fn command(container: &str, kind: LimitKind, limits: &ContainerLimits) -> String {
    let options = match kind {
        LimitKind::Memory if limits.memory_swap != 0 => {
            format!("--memory {} --memory-swap {}", limits.memory, limits.memory_swap)
        }
        LimitKind::Memory => format!("--memory {}", limits.memory),
        LimitKind::Cpus if limits.nano_cpus > 0 => {
            format!("--cpus {}", kind.show(limits.get(kind).unwrap_or_default()))
        }
        LimitKind::Cpus if limits.cpu_period > 0 => {
            format!("--cpu-period {} --cpu-quota {}", limits.cpu_period, limits.cpu_quota)
        }
        LimitKind::Cpus => format!("--cpu-quota {}", limits.cpu_quota),
    };
    format!("docker update {options} {}", shell_word(container))
}

/// The command that puts an intent's old limit back.
pub(super) fn put_back(intent: &Intent, container: &str, kind: LimitKind) -> Option<String> {
    match &intent.old {
        OldValue::Container(old) => Some(command(container, kind, old)),
        _ => None,
    }
}

async fn patiently<T, F: Future<Output = Result<T, DockerError>>>(
    patience: Duration,
    ask: impl Fn() -> F,
) -> Result<T, DockerError> {
    let until = Instant::now() + patience;
    loop {
        match ask().await {
            Err(DockerError::NoEngine { .. } | DockerError::Unreachable { .. }) if Instant::now() < until => {
                sleep(ASK_EVERY).await;
            }
            answer => return answer,
        }
    }
}
