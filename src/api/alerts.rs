//! Alertmanager's webhook, version 4 of its payload, on `/api/v1/alerts`.
//!
//! In: a body of at most [`MOST_BYTES`] with at most [`MOST_ALERTS`] alerts. Out: what each alert says, once, to a
//! closure that never blocks. Each alert is judged by its own status: the group's lies where `max_alerts` cut the list.
//! Answers: 200 taken; 400 what cannot be read (Alertmanager drops it for good); 408 a body that does not come; 413 too
//! much; 503 try again, for which alone Alertmanager comes back. Unknown fields are ignored.

use super::pages::ApiState;
use crate::model::PushedAlert;
use axum::body::Bytes;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// The largest body that is read.
pub(super) const MOST_BYTES: usize = 1 << 20;
/// The most alerts of one body.
const MOST_ALERTS: usize = 10_000;
/// For a body to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// What became of a webhook's alerts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Taken {
    /// New to leverd.
    pub accepted: usize,
    /// Known already: Alertmanager repeats itself, and a pair of them says all twice.
    pub duplicates: usize,
    /// Without `tuning_trigger="true"`: none of leverd's business.
    pub ignored: usize,
}

/// leverd cannot take more now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

#[derive(Deserialize)]
struct Payload {
    #[serde(default)]
    version: String,
    #[serde(default, rename = "truncatedAlerts")]
    truncated: u64,
    alerts: Vec<Alert>,
}

#[derive(Deserialize)]
struct Alert {
    status: Status,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(rename = "startsAt")]
    starts_at: DateTime<Utc>,
    #[serde(default)]
    fingerprint: String,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Status {
    Firing,
    Resolved,
}

/// The handler. The right to send was checked before.
pub(super) async fn take(State(state): State<ApiState>, request: Request) -> Response {
    let body = match tokio::time::timeout(BODY_WITHIN, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => body,
        Ok(Err(refused)) => return refused.into_response(),
        Err(_) => {
            let why = format!("the body did not arrive within {} s\n", BODY_WITHIN.as_secs());
            return (StatusCode::REQUEST_TIMEOUT, why).into_response();
        }
    };
    let (alerts, truncated) = match read(&body) {
        Ok(read) => read,
        Err((status, why)) => {
            (state.refused)();
            return (status, format!("{why}\n")).into_response();
        }
    };
    match (state.alerts)(alerts, truncated) {
        Ok(taken) => {
            let body = serde_json::to_string(&taken).expect("three numbers are JSON");
            ([(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
        Err(Busy) => {
            let later = [(header::RETRY_AFTER, "10")];
            (StatusCode::SERVICE_UNAVAILABLE, later, "leverd has no room for more alerts now; try again\n")
                .into_response()
        }
    }
}

/// The alerts of a body, and whether some were left out of it.
fn read(body: &[u8]) -> Result<(Vec<PushedAlert>, bool), (StatusCode, String)> {
    let payload: Payload = serde_json::from_slice(body)
        .map_err(|error| (StatusCode::BAD_REQUEST, format!("this is no Alertmanager payload: {error}")))?;
    if !payload.version.is_empty() && payload.version != "4" {
        let why = format!("the payload has version {:?}, leverd reads version 4", payload.version);
        return Err((StatusCode::BAD_REQUEST, why));
    }
    if payload.alerts.len() > MOST_ALERTS {
        let why = format!(
            "{} alerts in one payload; allowed are {MOST_ALERTS}: set max_alerts in Alertmanager's webhook_config",
            payload.alerts.len()
        );
        return Err((StatusCode::PAYLOAD_TOO_LARGE, why));
    }
    Ok((payload.alerts.into_iter().map(pushed).collect(), payload.truncated > 0))
}

fn pushed(alert: Alert) -> PushedAlert {
    let label = |name: &str| alert.labels.get(name).cloned();
    // Alertmanager always sends one; another sender may not.
    let fingerprint = if alert.fingerprint.is_empty() {
        alert.labels.iter().map(|(name, value)| format!("{name}={value};")).collect()
    } else {
        alert.fingerprint
    };
    PushedAlert {
        name: label("alertname").unwrap_or_default(),
        symptom: label("symptom"),
        is_trigger: label("tuning_trigger").as_deref() == Some("true"),
        is_firing: alert.status == Status::Firing,
        starts_at: alert.starts_at,
        fingerprint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BODY: &str = r#"{"version":"4","groupKey":"{}:{}","truncatedAlerts":0,"status":"firing","receiver":"leverd",
        "groupLabels":{},"commonLabels":{},"commonAnnotations":{},"externalURL":"http://x",
        "alerts":[{"status":"firing","labels":{"alertname":"WalSpikes","tuning_trigger":"true","symptom":"high_wal_rate"},
        "annotations":{},"startsAt":"2026-01-02T03:04:05.678Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"",
        "fingerprint":"c0ffee","new":{}},
        {"status":"resolved","labels":{"alertname":"Other"},"startsAt":"2026-01-02T03:04:05+01:00"}]}"#;

    #[test]
    fn each_alert_speaks_for_itself() {
        let (alerts, truncated) = read(BODY.as_bytes()).unwrap();
        assert!(!truncated);
        assert_eq!(alerts[0].name, "WalSpikes");
        assert!(alerts[0].is_trigger && alerts[0].is_firing);
        assert_eq!(alerts[0].symptom.as_deref(), Some("high_wal_rate"));
        assert!(!alerts[1].is_trigger && !alerts[1].is_firing);
        assert_eq!(alerts[1].fingerprint, "alertname=Other;");
        assert_eq!(alerts[1].starts_at.to_rfc3339(), "2026-01-02T02:04:05+00:00");
        let cut = BODY.replace(r#""truncatedAlerts":0"#, r#""truncatedAlerts":7"#);
        assert!(read(cut.as_bytes()).unwrap().1);
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let why = |body: &str| read(body.as_bytes()).unwrap_err();
        assert!(why("").1.contains("no Alertmanager payload"));
        assert!(
            why(&BODY.replace(r#""status":"firing","labels""#, r#""status":"on fire","labels""#))
                .1
                .contains("on fire")
        );
        assert!(why(&BODY.replace("\"version\":\"4\"", "\"version\":\"3\"")).1.contains("version \"3\""));
        let many = format!(
            r#"{{"alerts":[{}]}}"#,
            vec![r#"{"status":"firing","startsAt":"2026-01-02T03:04:05Z"}"#; MOST_ALERTS + 1].join(",")
        );
        assert_eq!(why(&many).0, StatusCode::PAYLOAD_TOO_LARGE);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_body_panics(cuts in prop::collection::vec((0..BODY.len(), any::<u8>()), 0..6), end in 0..BODY.len()) {
            let mut body = BODY.as_bytes().to_vec();
            for (at, byte) in cuts {
                body[at] = byte;
            }
            let _ = read(&body);
            let _ = read(&body[..end]);
        }
    }
}
