//! `/proc/diskstats`: whole disks, without loop, RAM and compressed-memory devices and without partitions.

use crate::exporter::page::{Kind, Page};

/// So many disks are shown at most: a host with thousands of LUNs must not drown its Prometheus.
const MOST: usize = 32;

/// A sector of the kernel's statistics, whatever the disk's own is.
const SECTOR_BYTES: f64 = 512.0;

/// Metric, kind, column after the device's name, how the number is converted, help.
type Column = (&'static str, Kind, usize, fn(f64) -> f64, &'static str);

const COLUMNS: [Column; 13] = [
    ("node_disk_reads_completed_total", Kind::Counter, 0, plain, "Reads completed."),
    ("node_disk_reads_merged_total", Kind::Counter, 1, plain, "Reads merged."),
    ("node_disk_read_bytes_total", Kind::Counter, 2, bytes, "Bytes read."),
    ("node_disk_read_time_seconds_total", Kind::Counter, 3, seconds, "Seconds spent by all reads."),
    ("node_disk_writes_completed_total", Kind::Counter, 4, plain, "Writes completed."),
    ("node_disk_writes_merged_total", Kind::Counter, 5, plain, "Writes merged."),
    ("node_disk_written_bytes_total", Kind::Counter, 6, bytes, "Bytes written."),
    ("node_disk_write_time_seconds_total", Kind::Counter, 7, seconds, "Seconds spent by all writes."),
    ("node_disk_io_now", Kind::Gauge, 8, plain, "I/Os in progress."),
    ("node_disk_io_time_seconds_total", Kind::Counter, 9, seconds, "Seconds with I/O in progress."),
    (
        "node_disk_io_time_weighted_seconds_total",
        Kind::Counter,
        10,
        seconds,
        "Seconds with I/O in progress, weighted by how many were.",
    ),
    ("node_disk_flush_requests_total", Kind::Counter, 15, plain, "Flush requests completed."),
    (
        "node_disk_flush_requests_time_seconds_total",
        Kind::Counter,
        16,
        seconds,
        "Seconds spent by all flush requests.",
    ),
];

pub(super) fn render(text: &str, page: &mut Page) {
    let disks: Vec<(&str, Vec<&str>)> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace().skip(2);
            let device = words.next().filter(|device| is_shown(device))?;
            Some((device, words.collect()))
        })
        .take(MOST)
        .collect();
    for (name, kind, column, unit, help) in COLUMNS {
        let mut family = page.family(name, kind, help);
        for (device, row) in &disks {
            // Older kernels have fewer columns.
            let value = row.get(column).map_or(f64::NAN, |word| unit(super::number(word)));
            family.sample(&[("device", device)], value);
        }
    }
}

fn plain(count: f64) -> f64 {
    count
}

fn bytes(sectors: f64) -> f64 {
    sectors * SECTOR_BYTES
}

fn seconds(millis: f64) -> f64 {
    millis / 1000.0
}

fn is_shown(device: &str) -> bool {
    !["loop", "ram", "zram", "fd", "sr"].iter().any(|prefix| numbered(device, prefix))
        && !is_partition(device)
}

fn numbered(device: &str, prefix: &str) -> bool {
    device.strip_prefix(prefix).is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `sda1`, `vdb2`, `nvme0n1p3`, `mmcblk0p1`.
fn is_partition(device: &str) -> bool {
    let whole = device.trim_end_matches(|c: char| c.is_ascii_digit());
    if whole.len() == device.len() {
        return false;
    }
    let lettered = ["sd", "hd", "vd", "xvd"].iter().any(|prefix| {
        whole
            .strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_lowercase()))
    });
    let numbered = (device.starts_with("nvme") || device.starts_with("mmcblk"))
        && whole.strip_suffix('p').is_some_and(|disk| disk.ends_with(|c: char| c.is_ascii_digit()));
    lettered || numbered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_disks_are_shown_and_nothing_else() {
        for shown in ["sda", "vda", "nvme0n1", "mmcblk0", "dm-0", "md127", "xvdaa"] {
            assert!(is_shown(shown), "{shown}");
        }
        for hidden in ["loop0", "ram15", "zram0", "fd0", "sr0", "sda1", "vdb12", "nvme0n1p3", "mmcblk0p1"] {
            assert!(!is_shown(hidden), "{hidden}");
        }
    }
}
