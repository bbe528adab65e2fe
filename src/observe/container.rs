//! What a container and a pooler say of themselves → facts that a lever's evidence may refer to, and the memory that
//! Postgres may use.

use crate::model::{ContainerState, LimitKind, PoolerState, ServerState};
use std::collections::BTreeMap;

/// CPU periods of a container and those in which it was held back, since it started.
pub type CpuPeriods = (u64, u64);

/// Adds to the server what its container limits: the memory budget of every other lever is never past that.
pub(super) fn enter(container: &ContainerState, before: Option<CpuPeriods>, server: &mut ServerState) {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size in bytes")]
    let limit = container.limits.get(LimitKind::Memory).map(|bytes| bytes as u64);
    let host = Some(container.host_memory).filter(|bytes| *bytes > 0);
    server.memory_budget_bytes = [server.memory_budget_bytes, limit.or(host)].into_iter().flatten().min();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    if let (Some(used), Some(limit)) = (container.memory_used, limit) {
        put(&mut server.facts, "container_memory_used_share", used as f64 / limit as f64);
    }
    if let (Some((then, held_then)), Some((now, held_now))) = (before, container.cpu_periods)
        && now > then
        && held_now >= held_then
    {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let share = (held_now - held_then) as f64 / (now - then) as f64;
        put(&mut server.facts, "container_cpu_throttled_share", share);
    }
}

/// Adds who waits for the pooler.
pub(super) fn enter_pooler(pooler: &PoolerState, server: &mut ServerState) {
    put(&mut server.facts, "pool_waiting_clients", pooler.waiting_clients);
    put(&mut server.facts, "pool_wait_seconds", pooler.longest_wait_seconds);
}

fn put(facts: &mut BTreeMap<String, f64>, name: &str, value: f64) {
    if value.is_finite() {
        facts.insert(name.to_owned(), value);
    }
}
