//! `/proc/meminfo`, and the few lines of `/proc/vmstat` that tell of a machine in need.

use crate::exporter::page::{Kind, Page};

const SHOWN: [&str; 14] = [
    "MemTotal",
    "MemFree",
    "MemAvailable",
    "Buffers",
    "Cached",
    "SwapCached",
    "SwapTotal",
    "SwapFree",
    "Dirty",
    "Writeback",
    "AnonPages",
    "Shmem",
    "Slab",
    "Committed_AS",
];

const EVENTS: [&str; 4] = ["pgmajfault", "pswpin", "pswpout", "oom_kill"];

pub(super) fn render(text: &str, page: &mut Page) {
    for line in text.lines() {
        let Some((name, rest)) = line.split_once(':') else { continue };
        if !SHOWN.contains(&name) {
            continue;
        }
        let kibibytes = super::number(rest.trim().trim_end_matches(" kB"));
        let (metric, help) =
            (format!("node_memory_{name}_bytes"), format!("Memory information field {name}_bytes."));
        page.single(&metric, Kind::Gauge, &help, kibibytes * 1024.0);
    }
}

pub(super) fn render_events(text: &str, page: &mut Page) {
    for line in text.lines() {
        let Some((name, value)) = line.split_once(' ') else { continue };
        if EVENTS.contains(&name) {
            let (metric, help) =
                (format!("node_vmstat_{name}"), format!("/proc/vmstat information field {name}."));
            page.single(&metric, Kind::Untyped, &help, super::number(value));
        }
    }
}
