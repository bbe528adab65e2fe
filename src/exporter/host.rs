//! The host as Linux shows it in `/proc` and `/sys`, under node_exporter's names.
//!
//! In: the two trees, and where Postgres' data is. Out: families on a [`Page`], and what could not be read. One
//! file a part; each parses text and knows no file system, so fixtures serve as well as the kernel. What a machine
//! does not have (pressure, temperature, swap) leaves no series. Nothing here runs during a scrape.

mod cpu;
mod disk;
mod filesystem;
mod memory;
mod network;
mod pressure;
mod process;
mod temperature;

use super::page::{Kind, Page};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

pub(crate) use filesystem::{Space, space_of};
pub(crate) use process::own_process;

/// The kernel's USER_HZ: 100 on every architecture that Rust's Linux targets have.
const TICKS_PER_SECOND: f64 = 100.0;

/// Where the host is read.
#[derive(Debug)]
pub(crate) struct HostSampler {
    procfs: PathBuf,
    sysfs: PathBuf,
    /// The `node_*` set; without it only the CPU's temperature is read.
    node_set: bool,
    space: fn(&Path) -> io::Result<Space>,
    cpu: cpu::CpuTimes,
    buffer: String,
}

impl HostSampler {
    /// `space` answers for a mount point: [`space_of`] outside of tests.
    pub(crate) fn new(
        procfs: PathBuf,
        sysfs: PathBuf,
        node_set: bool,
        space: fn(&Path) -> io::Result<Space>,
    ) -> Self {
        Self { procfs, sysfs, node_set, space, cpu: cpu::CpuTimes::default(), buffer: String::new() }
    }

    /// Reads everything once. Returns what should be there and could not be read, for people.
    pub(crate) fn sample(&mut self, page: &mut Page, data_directory: Option<&Path>) -> Vec<String> {
        let mut problems = Vec::new();
        if self.node_set {
            let mut cpu = std::mem::take(&mut self.cpu);
            self.part("stat", &mut problems, |text| cpu.render(text, page));
            self.cpu = cpu;
            self.part("loadavg", &mut problems, |text| load(text, page));
            self.part("meminfo", &mut problems, |text| memory::render(text, page));
            self.part("vmstat", &mut problems, |text| memory::render_events(text, page));
            self.part("diskstats", &mut problems, |text| disk::render(text, page));
            self.part("net/dev", &mut problems, |text| network::render(text, page));
            let space = self.space;
            self.part("self/mounts", &mut problems, |text| {
                filesystem::render(text, data_directory, space, page);
            });
            self.pressure(page);
        }
        temperature::render(&self.sysfs, self.node_set, page);
        problems
    }

    fn part(&mut self, file: &str, problems: &mut Vec<String>, mut render: impl FnMut(&str)) {
        let path = self.procfs.join(file);
        match read_into(&path, &mut self.buffer) {
            Ok(()) => render(&self.buffer),
            Err(error) => problems.push(format!("{}: {error}", path.display())),
        }
    }

    /// A kernel may be built, or booted, without pressure stall information: then there is none.
    fn pressure(&mut self, page: &mut Page) {
        for resource in pressure::RESOURCES {
            if read_into(&self.procfs.join("pressure").join(resource), &mut self.buffer).is_ok() {
                pressure::render(resource, &self.buffer, page);
            }
        }
    }
}

fn read_into(path: &Path, buffer: &mut String) -> io::Result<()> {
    buffer.clear();
    std::fs::File::open(path)?.read_to_string(buffer)?;
    Ok(())
}

fn load(text: &str, page: &mut Page) {
    let names = [
        ("node_load1", "1m load average."),
        ("node_load5", "5m load average."),
        ("node_load15", "15m load average."),
    ];
    for ((name, help), word) in names.into_iter().zip(text.split_ascii_whitespace()) {
        page.single(name, Kind::Gauge, help, number(word));
    }
}

/// A number of the kernel's; what is none leaves no series.
fn number(word: &str) -> f64 {
    word.parse().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Lays a fixture out as the kernel has it. The links stand in the fixture's file `links`: as links, they would be
    /// loops in the repository.
    fn laid_out(fixture: &str) -> tempfile::TempDir {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/host").join(fixture);
        let to = tempfile::tempdir().unwrap();
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            fs::create_dir_all(to.path().join(&folder)).unwrap();
            for entry in fs::read_dir(from.join(&folder)).unwrap().map(Result::unwrap) {
                let path = folder.join(entry.file_name());
                if entry.file_type().unwrap().is_dir() {
                    folders.push(path);
                } else {
                    fs::copy(entry.path(), to.path().join(path)).unwrap();
                }
            }
        }
        for link in fs::read_to_string(from.join("links")).unwrap_or_default().lines() {
            let (path, target) = link.split_once(" -> ").unwrap();
            let path = to.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(target, path).unwrap();
        }
        to
    }

    fn shown(fixture: &str, node_set: bool, data_directory: Option<&str>) -> (String, Vec<String>) {
        let root = laid_out(fixture);
        let root = root.path();
        let space = |_: &Path| Ok(Space { size: 3e10, free: 2e10, available: 1.5e10 });
        let mut sampler = HostSampler::new(root.join("proc"), root.join("sys"), node_set, space);
        let mut page = Page::default();
        let problems = sampler.sample(&mut page, data_directory.map(Path::new));
        let prefix = root.display().to_string();
        (page.into_text(), problems.into_iter().map(|problem| problem.replace(&prefix, "…")).collect())
    }

    fn samples(text: &str) -> String {
        text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_server_with_all_there_is() {
        let (text, problems) = shown("intel_server", true, Some("/var/lib/postgresql/17/main"));
        assert_eq!(problems, Vec::<String>::new());
        insta::assert_snapshot!("intel_server", text);
    }

    #[test]
    fn without_the_node_set_one_temperature_stays() {
        let (text, _) = shown("intel_server", false, None);
        insta::assert_snapshot!(text, @"
        # HELP leverd_cpu_temperature_celsius Temperature of the hottest CPU, from the best sensor that there is.
        # TYPE leverd_cpu_temperature_celsius gauge
        leverd_cpu_temperature_celsius 61
        ");
    }

    #[test]
    fn tdie_comes_before_tctl_and_a_refusing_sensor_is_left_out() {
        let (text, problems) = shown("ryzen", true, None);
        insta::assert_snapshot!(samples(&text), @r#"
        node_hwmon_chip_names{chip="pci0000:00_0000:00:18_3",chip_name="k10temp"} 1
        node_hwmon_sensor_label{chip="pci0000:00_0000:00:18_3",label="Tdie",sensor="temp2"} 1
        node_hwmon_temp_celsius{chip="pci0000:00_0000:00:18_3",sensor="temp2"} 55.125
        leverd_cpu_temperature_celsius 55.125
        "#);
        insta::assert_snapshot!(problems.join("\n"), @"
        …/proc/stat: No such file or directory (os error 2)
        …/proc/loadavg: No such file or directory (os error 2)
        …/proc/meminfo: No such file or directory (os error 2)
        …/proc/vmstat: No such file or directory (os error 2)
        …/proc/diskstats: No such file or directory (os error 2)
        …/proc/net/dev: No such file or directory (os error 2)
        …/proc/self/mounts: No such file or directory (os error 2)
        ");
    }

    #[test]
    fn a_board_without_hwmon_is_read_by_its_zones_of_cpu_and_soc() {
        let (text, _) = shown("arm_board", true, None);
        insta::assert_snapshot!(samples(&text), @r#"
        node_thermal_zone_temp{type="cpu-thermal",zone="0"} 48.312
        node_thermal_zone_temp{type="soc-thermal",zone="1"} 51.002
        leverd_cpu_temperature_celsius 51.002
        "#);
    }

    #[test]
    fn what_a_machine_does_not_have_leaves_no_series() {
        let (text, problems) = shown("small_vm", true, Some("/data"));
        insta::assert_snapshot!(problems.join("\n"), @"…/proc/vmstat: No such file or directory (os error 2)");
        insta::assert_snapshot!(samples(&text));
    }
}
