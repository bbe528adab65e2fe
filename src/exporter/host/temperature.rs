//! The CPU's temperature: `/sys/class/hwmon`, and where no driver of a CPU is there, `/sys/class/thermal`.
//!
//! Only sensors of the CPU count: a disk or a battery is no reason to slow a database down, and `acpitz` is the
//! board's guess. A sensor may refuse at any time (EAGAIN, EINVAL, ENODATA): then it leaves no series for once. A
//! virtual machine has no sensor at all.

use crate::exporter::page::{Kind, Page};
use std::fs;
use std::path::{Path, PathBuf};

/// So many sensors are shown at most.
const MOST: usize = 32;

/// Drivers whose chip is the CPU.
const CHIPS: [&str; 4] = ["coretemp", "k10temp", "zenpower", "cpu_thermal"];

/// Sensors that stand for a whole CPU, the best first: Tctl may have an offset for the fans' sake, Tdie has none.
const WHOLE: [&str; 3] = ["Package id", "Tdie", "Tctl"];

struct Sensor {
    chip: String,
    chip_name: String,
    sensor: String,
    label: String,
    celsius: f64,
}

struct Zone {
    kind: String,
    number: String,
    celsius: f64,
}

/// Shows the sensors under node_exporter's names where `node_set` is asked for, and the hottest CPU's
/// temperature as one ready series.
pub(super) fn render(sysfs: &Path, node_set: bool, page: &mut Page) {
    let sensors = sensors(&sysfs.join("class/hwmon"));
    let zones = zones(&sysfs.join("class/thermal"));
    if node_set {
        render_sensors(&sensors, page);
        let mut family = page.family("node_thermal_zone_temp", Kind::Gauge, "Zone temperature in Celsius.");
        for zone in &zones {
            family.sample(&[("type", &zone.kind), ("zone", &zone.number)], zone.celsius);
        }
    }
    let from_chips = sensors.iter().map(|sensor| sensor.celsius).reduce(f64::max);
    let hottest = from_chips.or_else(|| zones.iter().map(|zone| zone.celsius).reduce(f64::max));
    page.single(
        "leverd_cpu_temperature_celsius",
        Kind::Gauge,
        "Temperature of the hottest CPU, from the best sensor that there is.",
        hottest.unwrap_or(f64::NAN),
    );
}

fn render_sensors(sensors: &[Sensor], page: &mut Page) {
    let mut names = page.family("node_hwmon_chip_names", Kind::Gauge, "Annotation metric for chip names.");
    let mut named: Vec<&str> = Vec::new();
    for sensor in sensors {
        if !named.contains(&&*sensor.chip) {
            named.push(&sensor.chip);
            names.sample(&[("chip", &sensor.chip), ("chip_name", &sensor.chip_name)], 1.0);
        }
    }
    let mut labels = page.family("node_hwmon_sensor_label", Kind::Gauge, "Label for given chip and sensor.");
    for sensor in sensors.iter().filter(|sensor| !sensor.label.is_empty()) {
        let of = [("chip", &*sensor.chip), ("label", &*sensor.label), ("sensor", &*sensor.sensor)];
        labels.sample(&of, 1.0);
    }
    let mut family =
        page.family("node_hwmon_temp_celsius", Kind::Gauge, "Hardware monitor for temperature (input).");
    for sensor in sensors {
        family.sample(&[("chip", &sensor.chip), ("sensor", &sensor.sensor)], sensor.celsius);
    }
}

fn sensors(class: &Path) -> Vec<Sensor> {
    let mut found = Vec::new();
    for folder in entries(class, "hwmon") {
        let Some(chip_name) = line(&folder.join("name")).filter(|name| CHIPS.contains(&&**name)) else {
            continue;
        };
        let chip = chip_of(&folder).unwrap_or_else(|| chip_name.clone());
        let mut of_chip: Vec<Sensor> = entries(&folder, "temp")
            .into_iter()
            .filter_map(|file| {
                let sensor = file.file_name()?.to_str()?.strip_suffix("_input")?.to_owned();
                let celsius = millidegrees(&file)?;
                let label = line(&folder.join(format!("{sensor}_label"))).unwrap_or_default();
                Some(Sensor { chip: chip.clone(), chip_name: chip_name.clone(), sensor, label, celsius })
            })
            .collect();
        // A core more or less hot than its package says nothing new.
        let best = WHOLE.iter().find(|name| of_chip.iter().any(|sensor| sensor.label.starts_with(**name)));
        if let Some(best) = best {
            of_chip.retain(|sensor| sensor.label.starts_with(best));
        }
        found.extend(of_chip);
    }
    found.truncate(MOST);
    found
}

/// The chip's name as node_exporter makes it from the device's place: `platform_coretemp_0`.
fn chip_of(folder: &Path) -> Option<String> {
    let device = fs::canonicalize(folder.join("device")).ok()?;
    let clean = |name: &std::ffi::OsStr| {
        let lower = name.to_string_lossy().to_lowercase();
        let kept = lower.replace(|c: char| !(c.is_ascii_alphanumeric() || c == ':' || c == '_'), "_");
        kept.trim_matches('_').to_owned()
    };
    Some(format!("{}_{}", clean(device.parent()?.file_name()?), clean(device.file_name()?)))
}

fn zones(class: &Path) -> Vec<Zone> {
    let mut found: Vec<Zone> = entries(class, "thermal_zone")
        .into_iter()
        .filter_map(|folder| {
            let number = folder.file_name()?.to_str()?.strip_prefix("thermal_zone")?.to_owned();
            let kind = line(&folder.join("type")).filter(|kind| {
                kind == "x86_pkg_temp" || kind.starts_with("cpu") || kind.starts_with("soc")
            })?;
            Some(Zone { kind, number, celsius: millidegrees(&folder.join("temp"))? })
        })
        .collect();
    found.truncate(MOST);
    found
}

/// Entries whose names begin so, in the order of their names; none where there is no such folder.
fn entries(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

fn line(file: &Path) -> Option<String> {
    Some(fs::read_to_string(file).ok()?.trim().to_owned())
}

/// m°C → °C. Whatever the driver answers instead of a number is no temperature.
fn millidegrees(file: &Path) -> Option<f64> {
    let value: f64 = line(file)?.parse().ok()?;
    Some(value / 1000.0)
}
