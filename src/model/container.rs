//! A container that Postgres runs in, as its engine keeps it: what it may use, and what it uses.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// Which limit of a container a lever moves, by its `parameter` in `levers.yaml`: the names of a compose file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// `mem_limit`: bytes; what is swap stays as much as it was.
    Memory,
    /// `cpus`: cores, a fraction allowed.
    Cpus,
}

impl LimitKind {
    /// By the parameter's name.
    pub fn of(parameter: &str) -> Option<Self> {
        match parameter {
            "mem_limit" | "memory" => Some(Self::Memory),
            "cpus" => Some(Self::Cpus),
            _ => None,
        }
    }

    /// A value as people write it, in bytes or in cores: `3g`, `1536m`, `3GB`, `2.5`. Sizes are binary, as Docker's.
    pub fn parse(self, text: &str) -> Result<f64, String> {
        let number = match self {
            Self::Memory => size(text),
            Self::Cpus => text.trim().parse().ok(),
        };
        let number = number.filter(|number: &f64| number.is_finite() && *number > 0.0);
        number.ok_or_else(|| {
            let allowed = match self {
                Self::Memory => "a size such as 512m, 3g or 3GB",
                Self::Cpus => "a number of cores such as 2 or 1.5",
            };
            format!("{text:?} is no limit: allowed is {allowed}")
        })
    }

    /// A value in bytes or cores as people write it, exactly.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Cpus => value.to_string(),
            Self::Memory => {
                let units = [("g", 30), ("m", 20), ("k", 10)];
                let whole = units.iter().find(|(_, bits)| value % f64::from(1_u32 << bits) == 0.0);
                match whole {
                    Some((unit, bits)) => format!("{}{unit}", value / f64::from(1_u32 << bits)),
                    None => format!("{value}b"),
                }
            }
        }
    }
}

fn size(text: &str) -> Option<f64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let bits = match text[digits..].trim() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    let bytes = number * 2_f64.powi(bits);
    (bytes.fract() == 0.0).then_some(bytes)
}

/// A container's limits, as `inspect` shows them and `update` takes them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerLimits {
    /// Memory, bytes; 0: none.
    pub memory: i64,
    /// Memory and swap together, bytes; -1: none; 0: the engine's choice.
    pub memory_swap: i64,
    /// Billionths of a core; 0: not limited so.
    pub nano_cpus: i64,
    /// CPU time in a period, µs; 0 or less: not limited so.
    pub cpu_quota: i64,
    /// That period, µs; 0: the engine's 100 ms.
    pub cpu_period: i64,
}

/// The engine's period where a quota has none, µs.
const DEFAULT_PERIOD: i64 = 100_000;

impl ContainerLimits {
    /// A limit in bytes or cores; `None` where there is none.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    pub fn get(&self, kind: LimitKind) -> Option<f64> {
        match kind {
            LimitKind::Memory => (self.memory > 0).then_some(self.memory as f64),
            LimitKind::Cpus if self.nano_cpus > 0 => Some(self.nano_cpus as f64 / 1e9),
            LimitKind::Cpus => (self.cpu_quota > 0).then(|| self.cpu_quota as f64 / self.period() as f64),
        }
    }

    /// The same with one limit moved, in the form that it has: a quota stays a quota, and the swap beyond the memory
    /// stays as much as it was.
    #[expect(clippy::cast_possible_truncation, reason = "far below 2^63")]
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    pub fn with(&self, kind: LimitKind, value: f64) -> Self {
        let mut moved = *self;
        match kind {
            LimitKind::Memory => {
                moved.memory = value.round() as i64;
                if self.memory_swap > 0 {
                    moved.memory_swap = moved.memory + (self.memory_swap - self.memory).max(0);
                }
            }
            LimitKind::Cpus if self.nano_cpus > 0 => moved.nano_cpus = (value * 1e9).round() as i64,
            LimitKind::Cpus => moved.cpu_quota = (value * self.period() as f64).round() as i64,
        }
        moved
    }

    /// Whether one limit is the same in both, the swap that goes with memory included where both name one.
    pub fn agrees(&self, kind: LimitKind, other: &Self) -> bool {
        match kind {
            LimitKind::Memory => {
                let swap_known = self.memory_swap != 0 && other.memory_swap != 0;
                self.memory == other.memory && (!swap_known || self.memory_swap == other.memory_swap)
            }
            LimitKind::Cpus => {
                (self.nano_cpus.max(0), self.cpu_quota.max(0))
                    == (other.nano_cpus.max(0), other.cpu_quota.max(0))
                    && (self.cpu_quota <= 0 || self.period() == other.period())
            }
        }
    }

    fn period(&self) -> i64 {
        if self.cpu_period > 0 { self.cpu_period } else { DEFAULT_PERIOD }
    }
}

impl fmt::Display for ContainerLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |kind: LimitKind| self.get(kind).map_or("none".to_owned(), |value| kind.show(value));
        let swap = match self.memory_swap {
            -1 => "unlimited".to_owned(),
            0 => "the engine's".to_owned(),
            #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
            bytes => LimitKind::Memory.show(bytes as f64),
        };
        write!(f, "memory {}, with swap {swap}, cpus {}", show(LimitKind::Memory), show(LimitKind::Cpus))
    }
}

/// A folder or file of the host inside a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where it is on the engine's host.
    pub source: PathBuf,
    /// Where the container sees it.
    pub destination: PathBuf,
    /// The container may write there.
    pub writable: bool,
}

/// What the engine says of one container at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerState {
    /// The name that people know it by.
    pub name: String,
    /// The engine's id; a container that was made anew has another one.
    pub id: String,
    /// It runs.
    pub running: bool,
    /// What limits it.
    pub limits: ContainerLimits,
    /// Memory in use that is no page cache, bytes; `None` while it does not run or the engine does not say.
    pub memory_used: Option<u64>,
    /// The memory limit that its cgroup holds, bytes; `None` where it cannot be told.
    pub memory_limit_in_force: Option<u64>,
    /// The CPU limit that its cgroup holds, cores; `None` where it cannot be told.
    pub cpu_limit_in_force: Option<f64>,
    /// CPU periods since its start, and those in which it was held back; `None` where it cannot be told.
    pub cpu_periods: Option<(u64, u64)>,
    /// Cores of the engine's host (Docker Desktop's: of its virtual machine); 0: not known.
    pub host_cpus: u64,
    /// Memory of that host, bytes; 0: not known.
    pub host_memory: u64,
    /// What of the host it sees.
    pub mounts: Vec<Mount>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary_and_come_back_as_they_were_written() {
        let memory = LimitKind::Memory;
        for (text, bytes) in
            [("2g", 2_147_483_648.0), ("1536m", 1_610_612_736.0), ("3GB", 3_221_225_472.0), ("100b", 100.0)]
        {
            assert_eq!(memory.parse(text), Ok(bytes), "{text}");
            assert_eq!(memory.parse(&memory.show(bytes)), Ok(bytes), "{text}");
        }
        assert_eq!(memory.show(1_610_612_736.0), "1536m");
        assert_eq!(LimitKind::Cpus.parse("1.5"), Ok(1.5));
        for bad in ["", "g", "-1g", "0", "1.0001b", "2x", "NaN", "inf"] {
            assert!(memory.parse(bad).is_err(), "{bad}");
        }
        assert!(LimitKind::Cpus.parse("two").unwrap_err().contains("a number of cores"));
    }

    #[test]
    fn swap_stays_as_much_as_it_was() {
        let gib = 1_i64 << 30;
        let of = |memory, memory_swap| ContainerLimits { memory, memory_swap, ..Default::default() };
        let three = |limits: ContainerLimits| limits.with(LimitKind::Memory, 3.0 * (1_u64 << 30) as f64);
        assert_eq!(three(of(2 * gib, 4 * gib)), of(3 * gib, 5 * gib));
        assert_eq!(three(of(2 * gib, 2 * gib)), of(3 * gib, 3 * gib), "no swap stays no swap");
        assert_eq!(three(of(2 * gib, -1)), of(3 * gib, -1));
        assert_eq!(three(of(2 * gib, 0)), of(3 * gib, 0));
    }

    #[test]
    fn a_quota_stays_a_quota() {
        let nano = ContainerLimits { nano_cpus: 2_000_000_000, ..Default::default() };
        let quota = ContainerLimits { cpu_quota: 100_000, cpu_period: 50_000, ..Default::default() };
        assert_eq!((nano.get(LimitKind::Cpus), quota.get(LimitKind::Cpus)), (Some(2.0), Some(2.0)));
        assert_eq!(nano.with(LimitKind::Cpus, 3.0).nano_cpus, 3_000_000_000);
        assert_eq!(quota.with(LimitKind::Cpus, 3.0).cpu_quota, 150_000);
        assert!(!nano.agrees(LimitKind::Cpus, &nano.with(LimitKind::Cpus, 3.0)));
        assert!(nano.agrees(LimitKind::Memory, &nano.with(LimitKind::Cpus, 3.0)));
    }
}
