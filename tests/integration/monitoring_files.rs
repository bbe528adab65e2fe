//! The files under `monitoring/`, by the tools that read them.

use std::process::Command;

#[test]
fn prometheus_takes_its_configuration() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/monitoring/prometheus.yml");
    let output = Command::new("promtool").args(["check", "config", file]).output();
    let output = output.expect("promtool comes with Prometheus: scripts/setup.sh installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
