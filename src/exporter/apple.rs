//! Apple silicon: temperature, CPU and memory as macmon reads them, thermal pressure and load from macOS' own tools.
//!
//! macOS counts no iowait at all, so there is no such series here: a 0 would be a lie. With Docker Desktop,
//! Postgres' I/O waits inside the Linux VM, and an exporter in there sees it.
//! This file is pure and tested everywhere; the thread that asks the machine is in [`sampler`].

#[cfg(all(target_os = "macos", target_arch = "aarch64"))]
pub(super) mod sampler;

use super::page::{Kind, Page};

/// What one turn saw; `None` is what could not be read.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Readings {
    /// Filtered, °C.
    pub(super) cpu_celsius: Option<f64>,
    /// 0 nominal, 1 moderate, 2 heavy, 3 trapping, 4 sleeping.
    pub(super) thermal_pressure: Option<u8>,
    /// 1, 5 and 15 minutes.
    pub(super) load: Option<[f64; 3]>,
    /// Share of the CPUs' time that they were active, 0 to 1.
    pub(super) cpu_active: Option<f64>,
    /// Bytes.
    pub(super) memory_total: Option<f64>,
    /// Bytes.
    pub(super) memory_used: Option<f64>,
    /// Bytes.
    pub(super) swap_total: Option<f64>,
    /// Bytes.
    pub(super) swap_used: Option<f64>,
}

/// How many turns without a believable temperature make it unknown.
const UNKNOWN_AFTER: u8 = 5;

/// The sensors' average jumps at times: only believable values count, and of the last three the one in the middle.
#[derive(Debug, Default)]
pub(super) struct Temperature {
    latest: Vec<f64>,
    missed: u8,
}

impl Temperature {
    /// Takes a raw reading, and says what the temperature is.
    pub(super) fn filter(&mut self, raw: Option<f32>) -> Option<f64> {
        match raw.map(f64::from).filter(|celsius| *celsius > 10.0 && *celsius <= 130.0) {
            Some(celsius) => {
                self.missed = 0;
                if self.latest.len() == 3 {
                    self.latest.remove(0);
                }
                self.latest.push(celsius);
            }
            None => {
                self.missed = self.missed.saturating_add(1);
                if self.missed >= UNKNOWN_AFTER {
                    self.latest.clear();
                }
            }
        }
        let mut sorted = self.latest.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied()
    }
}

/// The number in `notifyutil -g com.apple.system.thermalpressurelevel`.
pub(super) fn thermal_pressure_in(text: &str) -> Option<u8> {
    text.split_whitespace().last()?.parse().ok().filter(|level| *level <= 4)
}

/// The numbers in `sysctl -n vm.loadavg`: `{ 1.88 2.01 2.10 }`, with commas in some languages.
pub(super) fn load_in(text: &str) -> Option<[f64; 3]> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?.replace(',', ".");
    let mut numbers = inner.split_whitespace().map(|word| word.parse().ok());
    Some([numbers.next()??, numbers.next()??, numbers.next()??])
}

/// Writes the families. `node_set`: load under node_exporter's names too.
pub(super) fn render(readings: &Readings, node_set: bool, page: &mut Page) {
    let gauges = [
        ("macos_cpu_temperature_celsius", "Average temperature of the CPU's cores.", readings.cpu_celsius),
        (
            "leverd_cpu_temperature_celsius",
            "Temperature of the hottest CPU, from the best sensor that there is.",
            readings.cpu_celsius,
        ),
        (
            "macos_thermal_pressure_level",
            "0 nominal, 1 moderate, 2 heavy, 3 trapping, 4 sleeping.",
            readings.thermal_pressure.map(f64::from),
        ),
        ("macos_cpu_active_ratio", "Share of time that the CPUs were active.", readings.cpu_active),
        ("macos_memory_total_bytes", "Installed memory.", readings.memory_total),
        ("macos_memory_used_bytes", "Memory in use.", readings.memory_used),
        ("macos_swap_total_bytes", "Swap space.", readings.swap_total),
        ("macos_swap_used_bytes", "Swap space in use.", readings.swap_used),
    ];
    for (name, help, value) in gauges {
        page.single(name, Kind::Gauge, help, value.unwrap_or(f64::NAN));
    }
    let names = [
        ("node_load1", "1m load average."),
        ("node_load5", "5m load average."),
        ("node_load15", "15m load average."),
    ];
    for ((name, help), value) in
        names.into_iter().zip(readings.load.filter(|_| node_set).into_iter().flatten())
    {
        page.single(name, Kind::Gauge, help, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_the_last_three_believable_temperatures_counts() {
        let mut temperature = Temperature::default();
        let seen: Vec<Option<f64>> = [50.0, 9.9, 90.0, 52.0, 10.0, 130.5, 54.0, 130.0]
            .into_iter()
            .map(|raw| temperature.filter(Some(raw)))
            .collect();
        let expected = [50.0, 50.0, 90.0, 52.0, 52.0, 52.0, 54.0, 54.0].map(Some);
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_sensor_that_stays_away_makes_it_unknown() {
        let mut temperature = Temperature::default();
        temperature.filter(Some(60.0));
        let seen: Vec<Option<f64>> = (0..6).map(|_| temperature.filter(None)).collect();
        assert_eq!(seen, [Some(60.0), Some(60.0), Some(60.0), Some(60.0), None, None]);
        assert_eq!(temperature.filter(Some(f32::NAN)), None);
        assert_eq!(temperature.filter(Some(61.0)), Some(61.0));
    }

    #[test]
    fn the_tools_answers_are_understood() {
        assert_eq!(thermal_pressure_in("com.apple.system.thermalpressurelevel 2\n"), Some(2));
        for odd in ["", "com.apple.system.thermalpressurelevel", "x 77", "x -1"] {
            assert_eq!(thermal_pressure_in(odd), None, "{odd}");
        }
        assert_eq!(load_in("{ 1.88 2.01 2.10 }\n"), Some([1.88, 2.01, 2.1]));
        assert_eq!(load_in("{ 1,88 2,01 2,10 }\n"), Some([1.88, 2.01, 2.1]));
        assert_eq!(load_in("{ 1.88 2.01 }"), None);
    }

    #[test]
    fn there_is_no_iowait_and_what_is_unknown_is_absent() {
        let readings = Readings {
            cpu_celsius: Some(61.5),
            thermal_pressure: Some(0),
            load: Some([1.0, 2.0, 3.0]),
            ..Readings::default()
        };
        let mut page = Page::default();
        render(&readings, true, &mut page);
        let text = page.into_text();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        insta::assert_snapshot!(lines.join("\n"), @"
        macos_cpu_temperature_celsius 61.5
        leverd_cpu_temperature_celsius 61.5
        macos_thermal_pressure_level 0
        node_load1 1
        node_load5 2
        node_load15 3
        ");
    }
}
