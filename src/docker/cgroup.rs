//! The limits that a container's cgroup holds, where the container's processes are this host's: what the kernel
//! enforces, whatever the engine says. In a virtual machine (Docker Desktop) they cannot be seen from here.

use std::fs;
use std::path::{Path, PathBuf};

/// What is in force.
#[derive(Debug, Default, PartialEq)]
pub(super) struct InForce {
    /// Bytes; `None`: no limit, or not to be seen.
    pub(super) memory: Option<u64>,
    /// Cores.
    pub(super) cpus: Option<f64>,
}

/// Of the container with this id, whose first process the engine says is `pid`.
pub(super) fn in_force(pid: i64, id: &str) -> InForce {
    read(Path::new("/proc"), Path::new("/sys/fs/cgroup"), pid, id)
}

fn read(procfs: &Path, mount: &Path, pid: i64, id: &str) -> InForce {
    let text = fs::read_to_string(procfs.join(format!("{pid}/cgroup"))).unwrap_or_default();
    let folder = |controller: &str| -> Option<(PathBuf, bool)> {
        text.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            // In another process namespace the number means somebody else.
            let ours = !id.is_empty() && path.contains(id);
            let (v2, v1) = (controllers.is_empty(), controllers.split(',').any(|name| name == controller));
            let root = if v2 { mount.to_owned() } else { mount.join(controller) };
            (ours && (v2 || v1)).then(|| (root.join(path.trim_start_matches('/')), v2))
        })
    };
    InForce { memory: folder("memory").and_then(memory), cpus: folder("cpu").and_then(cpus) }
}

fn memory((folder, v2): (PathBuf, bool)) -> Option<u64> {
    let file = if v2 { "memory.max" } else { "memory.limit_in_bytes" };
    let limit = fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()?;
    // v1's "no limit" is near 2^63.
    (limit < 1 << 60).then_some(limit)
}

fn cpus((folder, v2): (PathBuf, bool)) -> Option<f64> {
    let read = |file: &str| fs::read_to_string(folder.join(file)).ok();
    let text = if v2 {
        read("cpu.max")?
    } else {
        format!("{} {}", read("cpu.cfs_quota_us")?.trim(), read("cpu.cfs_period_us")?.trim())
    };
    let mut words = text.split_ascii_whitespace();
    let (quota, period): (f64, f64) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "fixture files")]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn found(folder: &tempfile::TempDir, id: &str) -> InForce {
        read(&folder.path().join("proc"), &folder.path().join("cg"), 7, id)
    }

    #[test]
    fn both_versions_are_read_and_only_the_containers_own() {
        let v2 = tree(&[
            ("proc/7/cgroup", "0::/system.slice/docker-abc.scope\n"),
            ("cg/system.slice/docker-abc.scope/memory.max", "3221225472\n"),
            ("cg/system.slice/docker-abc.scope/cpu.max", "150000 100000\n"),
        ]);
        assert_eq!(found(&v2, "abc"), InForce { memory: Some(3_221_225_472), cpus: Some(1.5) });
        assert_eq!(found(&v2, "def"), InForce::default(), "another process of that number");
        let v1 = tree(&[
            ("proc/7/cgroup", "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n"),
            ("cg/memory/docker/abc/memory.limit_in_bytes", "9223372036854771712\n"),
            ("cg/cpu/docker/abc/cpu.cfs_quota_us", "-1\n"),
            ("cg/cpu/docker/abc/cpu.cfs_period_us", "100000\n"),
        ]);
        assert_eq!(found(&v1, "abc"), InForce::default());
    }
}
