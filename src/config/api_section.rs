//! The sections `api:` and `alerts:` of `leverd.yaml`: who may ask for changes over HTTP, and what a pushed alert means.

use super::reader::Fields;
use super::target_section::path;
use super::{ApiConfig, Secret};
use crate::model::Symptom;
use std::collections::BTreeMap;
use std::path::Path;

/// As long as 64 bits in hex.
const LEAST_TOKEN: usize = 16;

/// The playbook's alerts with their symptoms.
const PLAYBOOK_ALERTS: [(&str, &str); 4] = [
    ("CpuTemperatureHigh", "high_cpu_temperature"),
    ("HighIOWait", "high_io_wait"),
    ("WalSpikes", "high_wal_rate"),
    ("P95WriteLatencyHigh", "high_p95_latency"),
];

/// Reads the section; what is wrong is reported.
pub(super) fn read(top: &Fields<'_>, root: &Path) -> ApiConfig {
    let fields = top.section("api", &["token_file"]);
    let token = fields.get("token_file").and_then(|at| {
        let file = path(&at, root)?;
        match read_token(&file) {
            Ok(token) => token.map(Secret::new),
            Err(why) => {
                let hint = "for one: `openssl rand -hex 32`, into a file that only leverd's user can read";
                at.problem(format!("{}: {why}", file.display()), Some(hint.to_owned()));
                None
            }
        }
    });
    ApiConfig { token }
}

/// A secret that somebody else can read or write is none. An empty file counts as not set: so a service's credential
/// can have a default.
fn read_token(file: &Path) -> Result<Option<String>, String> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = std::fs::metadata(file).map_err(|error| format!("cannot be read: {error}"))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o022 != 0 {
        return Err(format!("its mode is {mode:o}, others may write it; allowed: 600 or 640"));
    }
    if mode & 0o004 != 0 {
        return Err(format!("its mode is {mode:o}, everybody may read it; allowed: 600 or 640"));
    }
    let text = std::fs::read_to_string(file).map_err(|error| format!("cannot be read: {error}"))?;
    let token = text.trim();
    if token.is_empty() {
        return Ok(None);
    }
    if token.len() < LEAST_TOKEN || token.contains(char::is_whitespace) {
        return Err(format!(
            "found a token of {} characters; allowed: {LEAST_TOKEN} or more, no blanks",
            token.len()
        ));
    }
    Ok(Some(token.to_owned()))
}

/// The playbook's alerts, and what a user adds or says otherwise.
pub(super) fn alert_symptoms(top: &Fields<'_>) -> BTreeMap<String, Symptom> {
    let mut symptoms: BTreeMap<String, Symptom> = PLAYBOOK_ALERTS
        .iter()
        .map(|(alert, symptom)| ((*alert).to_owned(), Symptom::new(*symptom)))
        .collect();
    if let Some(at) = top.get("alerts") {
        for (name, at) in at.entries("a mapping of alert names to symptoms") {
            symptoms.extend(at.name().map(|symptom| (name.to_owned(), Symptom::new(symptom))));
        }
    }
    symptoms
}
