//! Tells people and dashboards how a trial ended, and when a person is needed: a webhook, Slack (and what speaks its
//! form), Grafana's annotations.
//!
//! In: an [`Announcement`]. Out: one POST to each place that is configured. Always holds: the loop never waits for it;
//! a place that is down is tried a few times and then passed over, with a warning that does not name its address, for a
//! webhook's address is its secret. It is a courtesy: the record is the changelog.

use crate::config::{AnnounceConfig, Secret};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;
use std::time::Duration;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Announcements that wait for their turn; past that they are dropped.
const QUEUE: usize = 100;
/// For one POST.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Between two tries at a place that is down.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(20)];

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Announcement {
    /// `kept`, `reverted`, `frozen`, `needs a human`, …
    pub event: String,
    /// One line for people.
    pub text: String,
    /// A person must do something.
    pub needs_person: bool,
    /// The workload.
    pub target: String,
    /// The trial's number.
    pub trial: i64,
    /// The lever.
    pub lever: String,
    /// From when the trial ran.
    pub began: DateTime<Utc>,
    /// Until when.
    pub ended: DateTime<Utc>,
}

/// Sends announcements from the background.
#[derive(Debug, Clone)]
pub struct Announcer {
    queue: mpsc::Sender<Announcement>,
}

impl Announcer {
    /// Starts the background task; it ends with `stop`, what is being sent included. `None`: no place is configured.
    pub fn start(config: &AnnounceConfig, tracker: &TaskTracker, stop: CancellationToken) -> Option<Self> {
        let places = Place::all(config);
        if places.is_empty() {
            return None;
        }
        let http = match client() {
            Ok(http) => http,
            Err(error) => {
                tracing::error!("nothing will be announced: {error}");
                return None;
            }
        };
        let (queue, mut waiting) = mpsc::channel::<Announcement>(QUEUE);
        tracker.spawn(async move {
            loop {
                let next = tokio::select! {
                    () = stop.cancelled() => break,
                    next = waiting.recv() => next,
                };
                let Some(announcement) = next else { break };
                for place in &places {
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = place.tell(&http, &announcement) => {}
                    }
                }
            }
        });
        Some(Self { queue })
    }

    /// Queues it. Never waits.
    pub fn say(&self, announcement: Announcement) {
        if let Err(TrySendError::Full(dropped)) = self.queue.try_send(announcement) {
            tracing::warn!("too much to announce, dropped: {}", dropped.text);
        }
    }
}

/// Where an announcement goes.
#[derive(Debug)]
enum Place {
    Webhook(Secret),
    Slack(Secret),
    Grafana { url: String, token: Secret },
}

impl Place {
    fn all(config: &AnnounceConfig) -> Vec<Self> {
        let webhook = config.webhook.clone().map(Self::Webhook);
        let slack = config.slack.clone().map(Self::Slack);
        let grafana = config.grafana.clone().map(|(url, token)| Self::Grafana { url, token });
        [webhook, slack, grafana].into_iter().flatten().collect()
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Webhook(_) => "announce.webhook",
            Self::Slack(_) => "announce.slack",
            Self::Grafana { .. } => "announce.grafana",
        }
    }

    async fn tell(&self, http: &reqwest::Client, announcement: &Announcement) {
        let mut pauses = PAUSES.iter();
        loop {
            let (why, is_final) = match self.post(http, announcement).send().await {
                Ok(answer) if answer.status().is_success() => return,
                Ok(answer) => {
                    let status = answer.status();
                    let may_pass = status.is_server_error() || status.as_u16() == 429;
                    (format!("answered {status}"), !may_pass)
                }
                Err(error) => (format!("could not be reached: {}", error.without_url()), false),
            };
            match pauses.next() {
                Some(pause) if !is_final => tokio::time::sleep(*pause).await,
                _ => {
                    tracing::warn!("{} {why}; not told: {}", self.name(), announcement.text);
                    return;
                }
            }
        }
    }

    fn post(&self, http: &reqwest::Client, announcement: &Announcement) -> reqwest::RequestBuilder {
        match self {
            Self::Webhook(url) => http.post(url.expose()).json(announcement),
            Self::Slack(url) => http.post(url.expose()).json(&json!({ "text": announcement.text })),
            Self::Grafana { url, token } => {
                let body = json!({
                    "time": announcement.began.timestamp_millis(),
                    "timeEnd": announcement.ended.timestamp_millis(),
                    "tags": ["leverd", announcement.event, announcement.lever],
                    "text": announcement.text,
                });
                http.post(format!("{url}/api/annotations")).bearer_auth(token.expose()).json(&body)
            }
        }
    }
}

fn client() -> Result<reqwest::Client, String> {
    let tls = crate::prometheus::tls(true)?;
    let built = reqwest::Client::builder()
        .user_agent(concat!("leverd/", env!("CARGO_PKG_VERSION")))
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .tls_backend_preconfigured(tls)
        .build();
    built.map_err(|error| error.to_string())
}
