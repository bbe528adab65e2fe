//! A private Postgres, Prometheus, exporter and load, for demonstration, tests and benchmarks. Real parts, no stand-ins.
//!
//! In: a project root and a scenario (`config/scenarios/*.yaml`). Out: a folder `.leverd/sandbox` with everything in
//! it, among it a `leverd.yaml` that the loop runs on. A sandbox comes up healthy ([`up`]), so that a baseline can be
//! taken, and is then mis-set as its scenario says ([`break_it`]).
//!
//! Always holds: what `up` started, [`down`] ends, also after a `kill -9` of anything; a process is only ever
//! signalled when its start time is the one written down; every port is on 127.0.0.1; nothing runs as root.
//!
//! It does not tune, and it never touches a Postgres that it did not create.

mod breaking;
mod error;
mod files;
mod lifecycle;
pub mod load;
mod monitoring;
mod neighbour;
mod place;
mod ports;
mod postgres;
mod process;
mod scenario;
mod seed;
mod settings;
mod state;
mod status;
mod supervisor;
mod timetable;

pub use error::SandboxError;
pub use lifecycle::{Down, Options, Progress, Step, Up, break_it, down, running_config, up};
pub use neighbour::neighbour;
pub use ports::free_port;
pub use scenario::{Arrivals, Broken, Ending, Load, Scalar, Scenario, ScenarioError, Settings, Span, Turn};
pub use status::{Health, PartStatus, Status, status};
pub use supervisor::supervise;
