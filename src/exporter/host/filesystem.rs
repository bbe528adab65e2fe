//! Size and free space of two mounts: the root, and the one that holds Postgres' data.

use crate::exporter::page::{Kind, Page};
use std::io;
use std::path::{Path, PathBuf};

/// Room on a mounted file system, bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Space {
    /// All of it.
    pub(crate) size: f64,
    /// Free, root's reserve included.
    pub(crate) free: f64,
    /// Free for everyone.
    pub(crate) available: f64,
}

/// Asks the kernel. Blocks while a network file system hangs, which is why the host has its own thread.
pub(crate) fn space_of(mount_point: &Path) -> io::Result<Space> {
    let answer = rustix::fs::statvfs(mount_point)?;
    let block = answer.f_frsize as f64;
    Ok(Space {
        size: answer.f_blocks as f64 * block,
        free: answer.f_bfree as f64 * block,
        available: answer.f_bavail as f64 * block,
    })
}

struct Mount {
    device: String,
    point: PathBuf,
    kind: String,
}

pub(super) fn render(
    mounts: &str,
    data_directory: Option<&Path>,
    space: fn(&Path) -> io::Result<Space>,
    page: &mut Page,
) {
    let mut shown: Vec<(Mount, Space)> = Vec::new();
    for path in [Some(Path::new("/")), data_directory].into_iter().flatten() {
        let Some(mount) = mount_of(mounts, path) else { continue };
        if shown.iter().all(|(other, _)| other.point != mount.point)
            && let Ok(space) = space(&mount.point)
        {
            shown.push((mount, space));
        }
    }
    type Column = (&'static str, &'static str, fn(&Space) -> f64);
    let columns: [Column; 3] = [
        ("node_filesystem_size_bytes", "Filesystem size in bytes.", |space| space.size),
        ("node_filesystem_free_bytes", "Filesystem free space in bytes.", |space| space.free),
        ("node_filesystem_avail_bytes", "Filesystem space available to non-root users in bytes.", |space| {
            space.available
        }),
    ];
    for (name, help, value) in columns {
        let mut family = page.family(name, Kind::Gauge, help);
        for (mount, space) in &shown {
            let point = mount.point.to_string_lossy();
            let labels = [("device", &*mount.device), ("fstype", &*mount.kind), ("mountpoint", &*point)];
            family.sample(&labels, value(space));
        }
    }
}

/// The mount that a path lives on: the longest mount point above it, and of several there the last, which hides
/// the others.
fn mount_of(mounts: &str, path: &Path) -> Option<Mount> {
    let mut best: Option<Mount> = None;
    for line in mounts.lines() {
        let mut words = line.split(' ').map(unescape);
        let (Some(device), Some(point), Some(kind)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let point = PathBuf::from(point);
        let longer = best.as_ref().is_none_or(|best| point.as_os_str().len() >= best.point.as_os_str().len());
        if longer && path.starts_with(&point) {
            best = Some(Mount { device, point, kind });
        }
    }
    best
}

/// The kernel writes blanks and backslashes as `\040`: three octal digits.
fn unescape(word: &str) -> String {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let octal = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(|_| byte == b'\\') {
            Some(value) => {
                bytes.push(value);
                rest = &after[3..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "/dev/vda / ext4 rw 0 0\n/dev/vdb /var/lib ext4 rw 0 0\n\
        /dev/vdc /var/lib/my\\040data xfs rw 0 0\ntmpfs /var/lib tmpfs rw 0 0\n";

    fn point_of(path: &str) -> String {
        let mount = mount_of(MOUNTS, Path::new(path)).unwrap();
        format!("{} {} {}", mount.device, mount.point.display(), mount.kind)
    }

    #[test]
    fn the_mount_that_a_path_lives_on_is_found() {
        assert_eq!(point_of("/"), "/dev/vda / ext4");
        assert_eq!(point_of("/var/library"), "/dev/vda / ext4");
        assert_eq!(point_of("/var/lib/pg"), "tmpfs /var/lib tmpfs");
        assert_eq!(point_of("/var/lib/my data/pg"), "/dev/vdc /var/lib/my data xfs");
    }

    #[test]
    fn the_kernels_own_answer_is_sound() {
        let space = space_of(Path::new("/")).unwrap();
        assert!(space.size >= space.free && space.free >= space.available && space.available >= 0.0);
    }
}
