//! The thread that asks macmon. It compiles on Apple silicon alone.
//!
//! macmon's sampler is not `Send`, blocks for its interval and may panic: so it lives and dies on this thread, and
//! is made anew after a wait. Thermal pressure and load come from tools that every macOS has, because their system
//! calls would need `unsafe` code, which this crate forbids.

use super::{Readings, Temperature, load_in, render, thermal_pressure_in};
use crate::exporter::Shared;
use crate::exporter::page::Page;
use crate::exporter::slot::Slot;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Between two runs of the tools; what they tell changes slowly.
const TOOLS_EVERY: Duration = Duration::from_secs(10);
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// Samples until `shutdown`.
pub(in crate::exporter) fn run(shared: &Shared, node_set: bool, shutdown: &CancellationToken) {
    let Some(slot) = &shared.host else { return };
    let mut backoff = FIRST_BACKOFF;
    while !shutdown.is_cancelled() {
        let begun = Instant::now();
        // What a panic leaves behind is thrown away: every run makes its own sampler and filter.
        let ended = catch_unwind(AssertUnwindSafe(|| sample(slot, shared.every, node_set, shutdown)));
        let reason = match ended {
            Ok(Ok(())) => return,
            Ok(Err(reason)) => reason,
            Err(_) => "macmon panicked".to_owned(),
        };
        if slot.fail(&reason) {
            tracing::warn!(sampler.name = "macos", "no host metrics: {reason}");
        }
        if begun.elapsed() > LONGEST_BACKOFF {
            backoff = FIRST_BACKOFF;
        }
        std::thread::sleep(backoff);
        backoff = (backoff * 2).min(LONGEST_BACKOFF);
    }
}

fn sample(slot: &Slot, every: Duration, node_set: bool, shutdown: &CancellationToken) -> Result<(), String> {
    // macmon's error is not Send: it becomes text at once.
    let mut sampler = macmon::Sampler::new().map_err(|error| format!("macmon: {error}"))?;
    let interval_ms = u32::try_from(every.as_millis()).unwrap_or(u32::MAX);
    let mut temperature = Temperature::default();
    let mut tools: Option<(Instant, Option<u8>, Option<[f64; 3]>)> = None;
    while !shutdown.is_cancelled() {
        let metrics = sampler.get_metrics(interval_ms).map_err(|error| format!("macmon: {error}"))?;
        if tools.is_none_or(|(asked, _, _)| asked.elapsed() >= TOOLS_EVERY) {
            let pressure = answer("/usr/bin/notifyutil", &["-g", "com.apple.system.thermalpressurelevel"]);
            let load = answer("/usr/sbin/sysctl", &["-n", "vm.loadavg"]);
            tools = Some((
                Instant::now(),
                pressure.as_deref().and_then(thermal_pressure_in),
                load.as_deref().and_then(load_in),
            ));
        }
        let readings = Readings {
            cpu_celsius: temperature.filter(metrics.temp.cpu_temp_avg),
            thermal_pressure: tools.and_then(|(_, pressure, _)| pressure),
            load: tools.and_then(|(_, _, load)| load),
            cpu_active: Some(f64::from(metrics.cpu_active_ratio)),
            memory_total: Some(metrics.memory.ram_total as f64),
            memory_used: Some(metrics.memory.ram_usage as f64),
            swap_total: Some(metrics.memory.swap_total as f64),
            swap_used: Some(metrics.memory.swap_usage as f64),
        };
        let mut page = Page::reusing(slot.spare());
        render(&readings, node_set, &mut page);
        slot.publish(page.into_text(), Instant::now(), 0);
    }
    Ok(())
}

fn answer(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    String::from_utf8(output.stdout).ok().filter(|_| output.status.success())
}
