//! pgtune's formulas, all at once, a restart, done: one cycle, whatever is wrong, also where nothing is.
//!
//! What it has: it knows the machine, it may restart, and it changes many settings in one cycle, so one of them may be
//! the right one. What it lacks: it knows neither symptom nor load, it never touches the application's `.env`, and it
//! takes nothing back.
//!
//! Its type of workload is `oltp`, or `mixed` where the scenario's load has reports or analysts. Its memory is half of
//! what Postgres could use here: the sandbox's load, Prometheus and exporter live on the same machine. The disk is an
//! SSD.

use super::{Proposal, Scene, Strategy};
use crate::gauntlet::GauntletError;
use crate::gauntlet::look::Look;
use crate::gauntlet::state::Change;

const KB: u64 = 1;
const MB: u64 = 1024;
const GB: u64 = 1024 * 1024;

/// The workloads that a scenario can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gauntlet) enum Workload {
    Oltp,
    Mixed,
}

/// What pgtune asks for.
#[derive(Debug, Clone, Copy)]
pub(in crate::gauntlet) struct Machine {
    /// For Postgres alone, kB.
    pub(in crate::gauntlet) memory_kb: u64,
    pub(in crate::gauntlet) cpus: u64,
    pub(in crate::gauntlet) database_kb: u64,
    /// e.g. 15.
    pub(in crate::gauntlet) major_version: u32,
    pub(in crate::gauntlet) workload: Workload,
}

/// The settings, by name, in pgtune's order.
pub(in crate::gauntlet) fn settings(machine: Machine) -> Vec<(&'static str, String)> {
    let Machine { memory_kb, cpus, workload, .. } = machine;
    let (connections, min_wal, max_wal) = match workload {
        Workload::Oltp => (300, 2 * GB, 8 * GB),
        Workload::Mixed => (100, GB, 4 * GB),
    };
    let shared_buffers = memory_kb / 4;
    let maintenance = (memory_kb / 16).min(8 * GB);
    let fits = machine.database_kb <= memory_kb;
    // pgtune's divisor counts the worker processes that it sets, Postgres' 8 with fewer than four CPUs.
    let workers = if cpus >= 4 { cpus } else { 8 };
    let mut work_mem = (memory_kb - shared_buffers) / ((connections + workers) * 3);
    if workload == Workload::Mixed {
        work_mem /= 2;
    }
    work_mem = if fits { work_mem * 13 / 10 } else { work_mem * 9 / 10 };
    let mut settings = vec![
        ("max_connections", connections.to_string()),
        ("shared_buffers", size(shared_buffers)),
        ("effective_cache_size", size(memory_kb * 3 / 4)),
        ("maintenance_work_mem", size(maintenance)),
        ("checkpoint_completion_target", "0.9".to_owned()),
        ("wal_buffers", size((shared_buffers * 3 / 100).clamp(32 * KB, 16 * MB))),
        ("default_statistics_target", "100".to_owned()),
        // On an SSD both cases of the formula are 1.1.
        ("random_page_cost", "1.1".to_owned()),
        ("effective_io_concurrency", "200".to_owned()),
        ("work_mem", size(work_mem.max(4 * MB))),
        ("huge_pages", if shared_buffers >= 2 * GB { "try" } else { "off" }.to_owned()),
        ("min_wal_size", size(min_wal)),
        ("max_wal_size", size(max_wal)),
        ("jit", "off".to_owned()),
    ];
    if maintenance >= 2 * GB {
        settings.push(("autovacuum_work_mem", size(2 * GB)));
    }
    if machine.major_version >= 15 {
        settings.push(("wal_compression", "lz4".to_owned()));
    }
    if cpus >= 4 {
        let per_gather = cpus.div_ceil(2).min(4);
        settings.push(("max_worker_processes", cpus.to_string()));
        settings.push(("max_parallel_workers_per_gather", per_gather.to_string()));
        settings.push(("max_parallel_workers", cpus.to_string()));
        settings.push(("max_parallel_maintenance_workers", per_gather.to_string()));
    }
    settings
}

/// In the largest unit that holds it whole.
fn size(kb: u64) -> String {
    match kb {
        kb if kb.is_multiple_of(GB) && kb > 0 => format!("{}GB", kb / GB),
        kb if kb.is_multiple_of(MB) && kb > 0 => format!("{}MB", kb / MB),
        kb => format!("{kb}kB"),
    }
}

/// The formulas, used once.
#[derive(Debug)]
pub(in crate::gauntlet) struct Pgtune {
    machine: Option<Machine>,
}

impl Pgtune {
    pub(in crate::gauntlet) fn new(machine: Machine) -> Self {
        Self { machine: Some(machine) }
    }
}

impl Strategy for Pgtune {
    const ACTS_ON_HEALTH: bool = true;

    async fn propose(&mut self, _: &Look, scene: &Scene<'_>) -> Result<Option<Proposal>, GauntletError> {
        let Some(machine) = self.machine.take() else { return Ok(None) };
        let lever_of = |parameter: &str| {
            let lever = scene.levers.iter().find(|lever| lever.parameter == parameter);
            lever.map_or_else(|| parameter.to_owned(), |lever| lever.name.as_str().to_owned())
        };
        let wanted = settings(machine).into_iter().map(|(parameter, value)| Change {
            lever: lever_of(parameter),
            parameter: parameter.to_owned(),
            value,
            in_env: false,
        });
        // What stands there already is not pulled.
        let changes: Vec<Change> = wanted
            .filter(|change| scene.state.value_of(&change.parameter, false) != Some(change.value.as_str()))
            .collect();
        Ok((!changes.is_empty()).then_some(Proposal { changes, from_the_start: false }))
    }

    async fn keeps(&mut self, _: &Look, _: &Look) -> Result<bool, GauntletError> {
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(machine: Machine) -> String {
        settings(machine).iter().map(|(name, value)| format!("{name} = {value}\n")).collect()
    }

    /// pgtune.leopard.in.ua's numbers for 16 GB, 4 CPUs, SSD, oltp, PostgreSQL 15, computed by its formulas by hand:
    /// work_mem is 12 GB / ((300 + 4) · 3) · 1.3 = 17936 kB.
    #[test]
    fn a_server_of_sixteen_gigabytes() {
        let machine = Machine {
            memory_kb: 16 * GB,
            cpus: 4,
            database_kb: GB,
            major_version: 15,
            workload: Workload::Oltp,
        };
        insta::assert_snapshot!(shown(machine), @r"
        max_connections = 300
        shared_buffers = 4GB
        effective_cache_size = 12GB
        maintenance_work_mem = 1GB
        checkpoint_completion_target = 0.9
        wal_buffers = 16MB
        default_statistics_target = 100
        random_page_cost = 1.1
        effective_io_concurrency = 200
        work_mem = 17936kB
        huge_pages = try
        min_wal_size = 2GB
        max_wal_size = 8GB
        jit = off
        wal_compression = lz4
        max_worker_processes = 4
        max_parallel_workers_per_gather = 2
        max_parallel_workers = 4
        max_parallel_maintenance_workers = 2
        ");
    }

    /// 768 MB / ((100 + 8) · 3) / 2 · 0.9 is 1092 kB, below pgtune's least of 4 MB.
    #[test]
    fn a_small_machine_and_a_large_database() {
        let machine = Machine {
            memory_kb: GB,
            cpus: 2,
            database_kb: 4 * GB,
            major_version: 14,
            workload: Workload::Mixed,
        };
        insta::assert_snapshot!(shown(machine), @r"
        max_connections = 100
        shared_buffers = 256MB
        effective_cache_size = 768MB
        maintenance_work_mem = 64MB
        checkpoint_completion_target = 0.9
        wal_buffers = 7864kB
        default_statistics_target = 100
        random_page_cost = 1.1
        effective_io_concurrency = 200
        work_mem = 4MB
        huge_pages = off
        min_wal_size = 1GB
        max_wal_size = 4GB
        jit = off
        ");
    }

    #[test]
    fn much_memory_is_capped_where_pgtune_caps_it() {
        let machine = Machine {
            memory_kb: 256 * GB,
            cpus: 32,
            database_kb: GB,
            major_version: 15,
            workload: Workload::Mixed,
        };
        let settings = shown(machine);
        for line in
            ["maintenance_work_mem = 8GB", "autovacuum_work_mem = 2GB", "max_parallel_workers_per_gather = 4"]
        {
            assert!(settings.lines().any(|found| found == line), "{line}\n{settings}");
        }
    }
}
