//! The host under a local Postgres: its memory, its disk, its OOM kills.
//!
//! Local means: the connection goes to this host, and the server's own end of it is this host too. A port that a
//! container engine forwards looks local from here and has another address there; then nothing is known.
//!
//! Linux is read from `/proc` and `/sys/fs/cgroup`; elsewhere only what the system tells without rights.

use crate::config::ExporterConfig;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use tokio_postgres::config::Host as DsnHost;

/// Whether the server runs on this host.
pub(super) fn is_local(dsn: &str, server_address: Option<IpAddr>) -> bool {
    let Ok(config) = dsn.parse::<tokio_postgres::Config>() else { return false };
    let dialled_here = config.get_hosts().iter().all(|host| match host {
        DsnHost::Tcp(name) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        DsnHost::Unix(_) => true,
    });
    dialled_here && server_address.is_none_or(|address| address.is_loopback())
}

/// The names and addresses that the DSN dials, for finding the host among a monitoring system's instances.
pub(super) fn dialled(dsn: &str) -> Vec<String> {
    let Ok(config) = dsn.parse::<tokio_postgres::Config>() else { return Vec::new() };
    let names = config.get_hosts().iter().filter_map(|host| match host {
        DsnHost::Tcp(name) => Some(name.clone()),
        DsnHost::Unix(_) => None,
    });
    names.chain(config.get_hostaddrs().iter().map(IpAddr::to_string)).collect()
}

/// Where to look.
#[derive(Debug)]
pub(super) struct Host {
    procfs: PathBuf,
    /// The server's cgroup and all above it, where they can be told; else this process' own: they mostly share one.
    cgroups: Vec<Cgroup>,
}

#[derive(Debug, PartialEq, Eq)]
struct Cgroup {
    folder: PathBuf,
    v2: bool,
}

impl Host {
    /// The host with the Postgres whose data folder this is.
    pub(super) fn of(exporter: &ExporterConfig, data_directory: Option<&Path>) -> Self {
        Self::at(&exporter.procfs, &exporter.sysfs, data_directory)
    }

    fn at(procfs: &Path, sysfs: &Path, data_directory: Option<&Path>) -> Self {
        let process = data_directory.and_then(|data| postmaster(procfs, data));
        let memberships = process
            .and_then(|pid| fs::read_to_string(procfs.join(pid).join("cgroup")).ok())
            .or_else(|| fs::read_to_string(procfs.join("self/cgroup")).ok())
            .unwrap_or_default();
        let cgroups = cgroups(&sysfs.join("fs/cgroup"), &memberships);
        Self { procfs: procfs.to_owned(), cgroups }
    }

    /// The least of the RAM and every limit above the server, bytes.
    pub(super) fn memory_budget_bytes(&self) -> Option<u64> {
        let limits = self.cgroups.iter().filter_map(Cgroup::limit_bytes);
        limits.chain(self.ram_bytes()).min()
    }

    /// The fullest of the RAM and every limited cgroup above the server, percent. Page cache counts as free.
    pub(super) fn memory_used_percent(&self) -> Option<f64> {
        let meminfo = fs::read_to_string(self.procfs.join("meminfo")).ok();
        let ram = meminfo.and_then(|text| {
            let (total, available) = (field(&text, "MemTotal:")?, field(&text, "MemAvailable:")?);
            (total > 0.0).then(|| 100.0 * (1.0 - available / total))
        });
        self.cgroups.iter().filter_map(Cgroup::used_percent).chain(ram).reduce(f64::max)
    }

    /// Processes killed for want of memory since the host started.
    pub(super) fn oom_kills(&self) -> Option<f64> {
        field(&fs::read_to_string(self.procfs.join("vmstat")).ok()?, "oom_kill")
    }

    #[cfg(not(target_os = "macos"))]
    fn ram_bytes(&self) -> Option<u64> {
        let kib = field(&fs::read_to_string(self.procfs.join("meminfo")).ok()?, "MemTotal:")?;
        Some(kib as u64 * 1024)
    }

    #[cfg(target_os = "macos")]
    fn ram_bytes(&self) -> Option<u64> {
        // A process at each tick would be too much for a number that never changes.
        static RAM: std::sync::OnceLock<Option<u64>> = std::sync::OnceLock::new();
        *RAM.get_or_init(|| {
            let sysctl = "/usr/sbin/sysctl";
            let asked = std::process::Command::new(sysctl).args(["-n", "hw.memsize"]).output().ok()?;
            String::from_utf8(asked.stdout).ok()?.trim().parse().ok()
        })
    }
}

/// The memory that this process may have, bytes: the least of the RAM and every limit above it; `None`: not known.
pub fn own_memory_bytes() -> Option<u64> {
    Host::at(Path::new("/proc"), Path::new("/sys"), None).memory_budget_bytes()
}

/// The fuller of the data folder's and the WAL folder's file systems: free space for unprivileged users, percent.
pub(super) fn disk_free_percent(data_directory: &Path) -> Option<f64> {
    // A role may tell where the folder is to somebody who may not look into it.
    let free = |path: &Path| {
        let disk = rustix::fs::statvfs(path).ok()?;
        (disk.f_blocks > 0).then(|| 100.0 * disk.f_bavail as f64 / disk.f_blocks as f64)
    };
    [free(data_directory), free(&data_directory.join("pg_wal"))].into_iter().flatten().reduce(f64::min)
}

/// The same in bytes, of whichever has less.
pub(super) fn disk_free_bytes(data_directory: &Path) -> Option<f64> {
    let free = |path: &Path| {
        let disk = rustix::fs::statvfs(path).ok()?;
        (disk.f_blocks > 0).then_some(disk.f_bavail as f64 * disk.f_frsize as f64)
    };
    [free(data_directory), free(&data_directory.join("pg_wal"))].into_iter().flatten().reduce(f64::min)
}

/// The server's process, by its lock file, where that is a Postgres of this host's process table.
fn postmaster(procfs: &Path, data_directory: &Path) -> Option<String> {
    let text = fs::read_to_string(data_directory.join("postmaster.pid")).ok()?;
    let pid = text.lines().next()?.trim();
    pid.parse::<u32>().ok()?;
    // In another process namespace the number means somebody else.
    let name = fs::read_to_string(procfs.join(pid).join("comm")).ok()?;
    matches!(name.trim(), "postgres" | "postmaster").then(|| pid.to_owned())
}

/// The memory cgroups of `/proc/PID/cgroup` and their parents.
fn cgroups(mount: &Path, memberships: &str) -> Vec<Cgroup> {
    let mut found = Vec::new();
    for line in memberships.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let v2 = controllers.is_empty();
        if !v2 && !controllers.split(',').any(|name| name == "memory") {
            continue;
        }
        let root = if v2 { mount.to_owned() } else { mount.join("memory") };
        // Inside a container without a namespace of its own, the path is the host's: its own mount's root counts.
        for above in Path::new(path.trim_start_matches('/')).ancestors() {
            found.push(Cgroup { folder: root.join(above), v2 });
        }
    }
    found
}

impl Cgroup {
    fn limit_bytes(&self) -> Option<u64> {
        // "max" is no limit; v1's "no limit" is near 2^63.
        let file = if self.v2 { "memory.max" } else { "memory.limit_in_bytes" };
        let limit = fs::read_to_string(self.folder.join(file)).ok()?.trim().parse().ok()?;
        (limit < 1 << 60).then_some(limit)
    }

    fn used_percent(&self) -> Option<f64> {
        let limit = self.limit_bytes().filter(|limit| *limit > 0)?;
        let (used, cache) = if self.v2 {
            ("memory.current", "inactive_file")
        } else {
            ("memory.usage_in_bytes", "total_inactive_file")
        };
        let used: f64 = fs::read_to_string(self.folder.join(used)).ok()?.trim().parse().ok()?;
        let stat = fs::read_to_string(self.folder.join("memory.stat")).ok()?;
        let cache = field(&stat, cache).unwrap_or_default();
        Some(100.0 * (used - cache).max(0.0) / limit as f64)
    }
}

/// The number after a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some(name)).then(|| words.next())??.parse().ok()
    })
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "fixture files")]
mod tests {
    use super::*;

    #[test]
    fn local_is_both_ends_on_this_host() {
        let loopback: IpAddr = "127.0.0.1".parse().unwrap();
        let bridge: IpAddr = "172.17.0.2".parse().unwrap();
        assert!(is_local("host=127.0.0.1 user=x", Some(loopback)));
        assert!(is_local("postgresql://x@localhost:5433/y", Some("::1".parse().unwrap())));
        assert!(is_local("host=/run/postgresql user=x", None));
        assert!(!is_local("host=127.0.0.1 user=x", Some(bridge)), "a container's forwarded port");
        assert!(!is_local("host=db.example user=x", Some(bridge)));
        assert!(!is_local("host=db.example user=x", None));
    }

    fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let exporter = ExporterConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            host: true,
            postgres: true,
            write_probe: true,
            sample_every: std::time::Duration::from_secs(1),
            procfs: folder.path().join("proc"),
            sysfs: folder.path().join("sys"),
        };
        let host = Host::of(&exporter, Some(&folder.path().join("data")));
        (folder, host)
    }

    const MEMINFO: (&str, &str) =
        ("proc/meminfo", "MemTotal:  1000 kB\nMemFree:  1 kB\nMemAvailable:  600 kB\n");

    #[test]
    fn without_a_limit_the_budget_is_the_ram() {
        let (_folder, host) = tree(&[
            MEMINFO,
            ("proc/self/cgroup", "0::/user.slice\n"),
            ("sys/fs/cgroup/user.slice/memory.max", "max\n"),
            ("proc/vmstat", "nr_free_pages 1\noom_kill 3\n"),
        ]);
        assert_eq!(host.memory_budget_bytes(), Some(1_024_000));
        assert_eq!(host.memory_used_percent(), Some(40.0));
        assert_eq!(host.oom_kills(), Some(3.0));
    }

    #[test]
    fn a_limit_above_the_servers_own_cgroup_counts() {
        let (_folder, host) = tree(&[
            MEMINFO,
            ("data/postmaster.pid", "77\n/data\n"),
            ("proc/77/comm", "postgres\n"),
            ("proc/77/cgroup", "0::/pod/db\n"),
            ("proc/self/cgroup", "0::/leverd\n"),
            ("sys/fs/cgroup/leverd/memory.max", "1000\n"),
            ("sys/fs/cgroup/pod/db/memory.max", "max\n"),
            ("sys/fs/cgroup/pod/memory.max", "500000\n"),
            ("sys/fs/cgroup/pod/memory.current", "480000\n"),
            ("sys/fs/cgroup/pod/memory.stat", "anon 1\ninactive_file 20000\n"),
        ]);
        assert_eq!(host.memory_budget_bytes(), Some(500_000));
        assert_eq!(host.memory_used_percent(), Some(92.0));
    }

    #[test]
    fn version_1_cgroups_are_read_too() {
        let (_folder, host) = tree(&[
            MEMINFO,
            ("data/postmaster.pid", "77\n"),
            ("proc/77/comm", "somebody else\n"),
            ("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "250000\n"),
            ("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        assert_eq!(host.memory_budget_bytes(), Some(250_000));
    }

    #[test]
    fn nothing_readable_is_nothing_known() {
        let (folder, host) = tree(&[]);
        assert_eq!(
            (host.memory_budget_bytes(), host.memory_used_percent(), host.oom_kills()),
            (None, None, None)
        );
        assert_eq!(disk_free_percent(&folder.path().join("gone")), None);
        assert!(disk_free_percent(folder.path()).is_some_and(|free| (0.0..=100.0).contains(&free)));
        assert_eq!(disk_free_bytes(&folder.path().join("gone")), None);
        assert!(disk_free_bytes(folder.path()).is_some_and(f64::is_finite));
    }
}
