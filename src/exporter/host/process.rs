//! leverd's own process, under the names that every Prometheus client uses.

use super::TICKS_PER_SECOND;
use crate::exporter::page::{Kind, Page};
use std::path::Path;

/// Reads `/proc/self`; nothing where there is none.
pub(crate) fn own_process(page: &mut Page) {
    let read = |file: &str| std::fs::read_to_string(Path::new("/proc").join(file)).ok();
    let (Some(stat), Some(status)) = (read("self/stat"), read("self/status")) else { return };
    let boot_time = read("stat").and_then(|text| {
        text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse::<f64>().ok()
    });
    render(&stat, &status, boot_time.unwrap_or(f64::NAN), page);
    let open = std::fs::read_dir("/proc/self/fd").map_or(f64::NAN, |entries| entries.count() as f64);
    page.single("process_open_fds", Kind::Gauge, "Number of open file descriptors.", open);
}

fn render(stat: &str, status: &str, boot_time: f64, page: &mut Page) {
    // The second field is the program's name in parentheses, and may hold blanks and parentheses itself.
    let Some((_, rest)) = stat.rsplit_once(')') else { return };
    let words: Vec<&str> = rest.split_ascii_whitespace().collect();
    // Field numbers as in proc(5), which counts from 1; `words` begins at field 3.
    let field = |number: usize| words.get(number - 3).map_or(f64::NAN, |word| super::number(word));
    let cpu = (field(14) + field(15)) / TICKS_PER_SECOND;
    page.single(
        "process_cpu_seconds_total",
        Kind::Counter,
        "Total user and system CPU time spent in seconds.",
        cpu,
    );
    let memory = [
        ("VmSize:", "process_virtual_memory_bytes", "Virtual memory size in bytes."),
        ("VmRSS:", "process_resident_memory_bytes", "Resident memory size in bytes."),
    ];
    for (key, name, help) in memory {
        let row = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        page.single(name, Kind::Gauge, help, super::number(row.trim().trim_end_matches(" kB")) * 1024.0);
    }
    page.single(
        "process_start_time_seconds",
        Kind::Gauge,
        "Start time of the process since unix epoch in seconds.",
        boot_time + field(22) / TICKS_PER_SECOND,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_does_not_shift_the_fields() {
        let mut page = Page::default();
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 900 0 0 0 150 50 0 0 20 0 3 0 12345 8192000 250 1 1 1";
        let status = "VmPeak:\t    9000 kB\nVmSize:\t    8000 kB\nVmRSS:\t    1000 kB\n";
        render(stat, status, 1_700_000_000.0, &mut page);
        let text = page.into_text();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        insta::assert_snapshot!(lines.join("\n"), @"
        process_cpu_seconds_total 2
        process_virtual_memory_bytes 8192000
        process_resident_memory_bytes 1024000
        process_start_time_seconds 1700000123.45
        ");
    }
}
