//! `/proc/stat`: what each CPU spent its time on, context switches, and how many processes run or wait for I/O.

use super::TICKS_PER_SECOND;
use crate::exporter::page::{Kind, Page};
use std::collections::BTreeMap;

const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];

/// A step back of more than this is a CPU that was unplugged and came again, seconds.
const UNPLUGGED_SECONDS: f64 = 3.0;

/// The times last shown: the kernel lets `idle` and `iowait` step back a little, a counter must not.
#[derive(Debug, Default)]
pub(super) struct CpuTimes {
    shown: BTreeMap<u32, [f64; MODES.len()]>,
}

impl CpuTimes {
    pub(super) fn render(&mut self, text: &str, page: &mut Page) {
        let mut cpus =
            page.family("node_cpu_seconds_total", Kind::Counter, "Seconds the CPUs spent in each mode.");
        for (cpu, row) in text.lines().filter_map(cpu_row) {
            let shown = self.shown.entry(cpu).or_insert([0.0; MODES.len()]);
            let unplugged = shown.iter().zip(row).any(|(old, new)| old - new > UNPLUGGED_SECONDS);
            for (old, new) in shown.iter_mut().zip(row) {
                *old = if unplugged { new } else { old.max(new) };
            }
            let label = cpu.to_string();
            for (mode, seconds) in MODES.iter().zip(shown.iter()) {
                cpus.sample(&[("cpu", &label), ("mode", mode)], *seconds);
            }
        }
        let singles = [
            ("ctxt", "node_context_switches_total", Kind::Counter, "Context switches."),
            ("btime", "node_boot_time_seconds", Kind::Gauge, "Boot time, in unixtime."),
            ("procs_running", "node_procs_running", Kind::Gauge, "Processes in runnable state."),
            ("procs_blocked", "node_procs_blocked", Kind::Gauge, "Processes blocked waiting for I/O."),
        ];
        for (key, name, kind, help) in singles {
            let row = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
            page.single(name, kind, help, row.map_or(f64::NAN, |value| super::number(value.trim())));
        }
    }
}

fn cpu_row(line: &str) -> Option<(u32, [f64; MODES.len()])> {
    let mut words = line.strip_prefix("cpu")?.split(' ');
    let cpu = words.next()?.parse().ok()?;
    let mut row = [0.0; MODES.len()];
    for slot in &mut row {
        *slot = words.next()?.parse::<f64>().ok()? / TICKS_PER_SECOND;
    }
    Some((cpu, row))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn iowait(times: &mut CpuTimes, idle: u32, iowait: u32) -> String {
        let mut page = Page::default();
        times
            .render(&format!("cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 1 2 3 {idle} {iowait} 6 7 8 9 10\n"), &mut page);
        let text = page.into_text();
        text.lines().find(|line| line.contains("iowait")).unwrap().rsplit(' ').next().unwrap().to_owned()
    }

    #[test]
    fn a_small_step_back_is_held_and_a_large_one_is_a_new_cpu() {
        let mut times = CpuTimes::default();
        assert_eq!(iowait(&mut times, 100_000, 5000), "50");
        assert_eq!(iowait(&mut times, 100_100, 4990), "50");
        assert_eq!(iowait(&mut times, 100_200, 5100), "51");
        assert_eq!(iowait(&mut times, 10, 1), "0.01");
    }

    #[test]
    fn a_broken_line_leaves_no_series() {
        let mut page = Page::default();
        CpuTimes::default().render("cpu0 1 2 x\ncpux 1 2 3 4 5 6 7 8\nctxt y\n", &mut page);
        assert_eq!(page.into_text(), "");
    }
}
