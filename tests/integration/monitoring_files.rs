//! The files under `monitoring/`, by the tools that read them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const RULES: [&str; 3] = ["alerts.yml", "alerts.staging.yml", "alerts.production.yml"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn must(program: &str, arguments: &[&str], files: &[PathBuf]) {
    let output = Command::new(program).args(arguments).args(files).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}: scripts/setup.sh installs it"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?} {files:?}\n{out}{err}");
}

fn monitoring(names: &[&str]) -> Vec<PathBuf> {
    names.iter().map(|name| root().join("monitoring").join(name)).collect()
}

#[test]
fn prometheus_takes_its_configuration() {
    must("promtool", &["check", "config"], &monitoring(&["prometheus.yml"]));
    // It names files that are in its container alone.
    must("promtool", &["check", "config", "--syntax-only"], &monitoring(&["prometheus.compose.yml"]));
}

#[test]
fn alertmanager_takes_its_configuration() {
    must("amtool", &["check-config"], &monitoring(&["alertmanager.yml", "alertmanager.compose.yml"]));
}

#[test]
fn every_alert_fires_and_is_quiet_when_it_should() {
    must("promtool", &["check", "rules"], &monitoring(&["recording.yml"]));
    must("promtool", &["check", "rules"], &monitoring(&RULES));
    let folder = root().join("tests/fixtures/monitoring");
    let tests = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let tests: Vec<PathBuf> = tests.filter(|path| path.extension().is_some_and(|it| it == "yml")).collect();
    assert!(tests.len() >= 5, "{tests:?}");
    must("promtool", &["test", "rules"], &tests);
}

/// The stack's Alertmanager differs in leverd's address and token alone, comments aside.
#[test]
fn both_alertmanagers_have_the_same_routes() {
    let own = |name: &str| -> Vec<String> {
        let text = fs::read_to_string(root().join("monitoring").join(name)).unwrap();
        let lines = text.lines().map(str::trim_end).filter(|line| !line.trim_start().starts_with('#'));
        let places = |line: &&str| !line.contains("url: http") && !line.contains("credentials_file:");
        lines.filter(|line| !line.is_empty()).filter(places).map(str::to_owned).collect()
    };
    assert_eq!(own("alertmanager.yml"), own("alertmanager.compose.yml"));
}

/// The environments' files differ in their levels alone.
#[test]
fn the_environments_alerts_are_one_text() {
    let masked = |name: &&str| -> String {
        let text = fs::read_to_string(root().join("monitoring").join(name)).unwrap();
        let mut in_levels = false;
        let mut lines = Vec::new();
        for line in text.lines().skip(1) {
            if let Some(group) = line.trim().strip_prefix("- name: ") {
                in_levels = group == "leverd-levels";
            }
            let mask = |c: char| if in_levels && (c.is_ascii_digit() || c == '.') { '#' } else { c };
            let mut masked: String = line.chars().map(mask).collect();
            while masked.contains("##") {
                masked = masked.replace("##", "#");
            }
            lines.push(masked);
        }
        lines.join("\n")
    };
    let all: BTreeSet<String> = RULES.iter().map(masked).collect();
    assert_eq!(all.len(), 1, "{RULES:?} have drifted apart");
}

/// The levels of the alerts are those of the SLA table that leverd itself has.
#[test]
fn the_alerts_have_the_levels_of_their_environment() {
    for (name, levels) in RULES.iter().zip([
        ["85", "25", "0.2", "1.5"],
        ["80", "20", "0.15", "1.3"],
        ["75", "15", "0.1", "1.2"],
    ]) {
        let text = fs::read_to_string(root().join("monitoring").join(name)).unwrap();
        for level in levels {
            let stands = text.lines().any(|line| {
                line.split(|c: char| !(c.is_ascii_digit() || c == '.')).any(|word| word == level)
                    && (line.contains('>') || line.contains('*'))
            });
            assert!(stands, "{name} has no level {level}");
        }
    }
}

#[test]
fn the_unit_is_one_and_is_hardened() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("not run: there is no systemd-analyze");
        return;
    }
    let unit = root().join("packaging/systemd/leverd.service");
    must("systemd-analyze", &["security", "--offline=true", "--threshold=20"], std::slice::from_ref(&unit));
    // The program is not installed here: another one stands in for it.
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("leverd.service");
    let text = fs::read_to_string(&unit).unwrap();
    let text = text.replace("/usr/bin/leverd", "/bin/true");
    #[expect(clippy::disallowed_methods, reason = "a test's own file")]
    fs::write(&copy, text).unwrap();
    must("systemd-analyze", &["verify", "--man=no"], &[copy]);
}
