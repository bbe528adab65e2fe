//! Who is told of a verdict: a webhook, Slack's form, Grafana's annotations; and what happens where nobody listens.

use crate::support::postgres::free_port;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use chrono::DateTime;
use leverd::announce::{Announcement, Announcer};
use leverd::config::{AnnounceConfig, Secret};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const DEADLINE: Duration = Duration::from_secs(30);

#[derive(Clone, Default)]
struct Heard {
    /// Path, authorization, body.
    posts: Arc<Mutex<Vec<(String, String, serde_json::Value)>>>,
    /// Answers that are errors, before one is good.
    failures: Arc<Mutex<u32>>,
}

async fn hear(State(heard): State<Heard>, uri: Uri, headers: HeaderMap, body: String) -> StatusCode {
    let mut failures = heard.failures.lock().unwrap();
    if *failures > 0 {
        *failures -= 1;
        return StatusCode::BAD_GATEWAY;
    }
    let authorization =
        headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let body = serde_json::from_str(&body).unwrap();
    heard.posts.lock().unwrap().push((uri.path().to_owned(), authorization.to_owned(), body));
    StatusCode::OK
}

async fn listen(heard: Heard) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let at = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(hear).with_state(heard);
    #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    tokio::spawn(async move { axum::serve(listener, router).await });
    at
}

fn announcement() -> Announcement {
    Announcement {
        event: "kept".into(),
        text: "leverd on shop: max_wal_size 512MB → 1GB against high_wal_rate: kept.".into(),
        needs_person: false,
        target: "shop".into(),
        trial: 7,
        lever: "max_wal_size".into(),
        began: DateTime::from_timestamp(1_700_000_000, 0).unwrap(),
        ended: DateTime::from_timestamp(1_700_000_600, 0).unwrap(),
    }
}

async fn wait_for(heard: &Heard, count: usize) -> Vec<(String, String, serde_json::Value)> {
    let waiting = async {
        loop {
            let posts = heard.posts.lock().unwrap().clone();
            if posts.len() >= count {
                return posts;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.expect("all are told")
}

#[tokio::test]
async fn each_place_is_told_in_its_own_form_also_after_a_failure() {
    let heard = Heard::default();
    *heard.failures.lock().unwrap() = 1;
    let at = listen(heard.clone()).await;
    let config = AnnounceConfig {
        webhook: Some(Secret::new(format!("{at}/hook"))),
        slack: Some(Secret::new(format!("{at}/slack"))),
        grafana: Some((at, Secret::new("gr4fana"))),
    };
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let announcer = Announcer::start(&config, &tracker, stop.clone()).unwrap();
    announcer.say(announcement());
    let posts = wait_for(&heard, 3).await;
    let of = |path: &str| posts.iter().find(|post| post.0 == path).unwrap_or_else(|| panic!("{posts:?}"));
    let (_, none, hook) = of("/hook");
    assert_eq!(
        (hook["trial"].as_i64(), hook["needs_person"].as_bool(), none.as_str()),
        (Some(7), Some(false), "")
    );
    assert!(of("/slack").2["text"].as_str().unwrap().contains("kept"));
    let (_, authorization, annotation) = of("/api/annotations");
    assert_eq!(authorization, "Bearer gr4fana");
    assert_eq!(annotation["time"], 1_700_000_000_000_i64);
    assert_eq!(annotation["timeEnd"], 1_700_000_600_000_i64);
    assert_eq!(annotation["tags"], serde_json::json!(["leverd", "kept", "max_wal_size"]));
    stop.cancel();
    tracker.close();
    tokio::time::timeout(DEADLINE, tracker.wait()).await.unwrap();
}

#[tokio::test]
async fn where_nobody_listens_nothing_waits() {
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    assert!(Announcer::start(&AnnounceConfig::default(), &tracker, stop.clone()).is_none());
    let port = free_port();
    let webhook = Some(Secret::new(format!("http://127.0.0.1:{port}/secret-path")));
    let config = AnnounceConfig { webhook, ..AnnounceConfig::default() };
    let announcer = Announcer::start(&config, &tracker, stop.clone()).unwrap();
    for _ in 0..500 {
        announcer.say(announcement());
    }
    // It ends at once, in the middle of its tries.
    stop.cancel();
    tracker.close();
    tokio::time::timeout(Duration::from_secs(5), tracker.wait()).await.unwrap();
}
