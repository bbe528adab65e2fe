//! `/proc/pressure/{cpu,io,memory}`: for how long tasks had to wait.

use crate::exporter::page::{Kind, Page};

pub(super) const RESOURCES: [&str; 3] = ["cpu", "io", "memory"];

const MICROSECONDS_IN_A_SECOND: f64 = 1e6;

pub(super) fn render(resource: &str, text: &str, page: &mut Page) {
    if let Some(seconds) = total(text, "some ") {
        let name = format!("node_pressure_{resource}_waiting_seconds_total");
        let help = format!("Seconds in which at least one process waited for {resource}.");
        page.single(&name, Kind::Counter, &help, seconds);
    }
    // Of the CPU there is no stall: while it is wanted, somebody has it.
    if let Some(seconds) = total(text, "full ").filter(|_| resource != "cpu") {
        let name = format!("node_pressure_{resource}_stalled_seconds_total");
        let help = format!("Seconds in which all processes waited for {resource}.");
        page.single(&name, Kind::Counter, &help, seconds);
    }
}

fn total(text: &str, row: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with(row))?;
    let micros: f64 = line.rsplit_once("total=")?.1.trim().parse().ok()?;
    Some(micros / MICROSECONDS_IN_A_SECOND)
}
