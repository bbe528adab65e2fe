//! The whole loop with a model's service on loopback, its faults included: in each the rules decide, in the words
//! of the testing guide.

use super::super::tests::{options, reading, sample, settings};
use super::super::{Kind, Options};
use super::*;
use crate::config::AiProvider;
use crate::migrate::brain::Decider;
use crate::migrate::brain::fake_service::{FakeService, KEY, Reply, decision_of};
use crate::migrate::schema::TableName;
use serde_json::json;
use std::time::Duration;

/// For what comes: long enough for a busy machine.
const PATIENT: Duration = Duration::from_secs(30);
/// For answers that do not come.
const SHORT: Duration = Duration::from_millis(150);

const STAYS: &str = "AI adjustment applied: continue - Gathering a baseline of comparable samples (fallback rules) \
                     (confidence: low)";

/// What a run of half a minute of readings and three samples said, and what it came to. The third asks the model.
async fn played(
    fake: &FakeService,
    provider: AiProvider,
    timeout: Duration,
    options: Options,
) -> (Vec<String>, Summary) {
    let decider = Decider::Service(fake.client(provider, timeout));
    let (adjuster, _queue) = Adjuster::new(options, decider, settings());
    let (to, inputs) = mpsc::channel(100);
    let (said, mut heard) = mpsc::unbounded_channel();
    let script = async move {
        for second in 0..30 {
            to.send(Input::Reading(reading(second, 100.0))).await.unwrap();
        }
        for _ in 0..3 {
            to.send(Input::Sample(Box::new(sample(100_000.0)))).await.unwrap();
        }
        let mut lines: Vec<String> = Vec::new();
        let decisions = |lines: &[String]| {
            lines.iter().filter(|line| line.starts_with("AI adjustment applied: ")).count()
        };
        while decisions(&lines) < 3 {
            let event = tokio::time::timeout(PATIENT, heard.recv()).await.expect("it goes on");
            if let Event::Said(line) = event.expect("it is being driven") {
                lines.push(line.text);
            }
        }
        drop(to);
        lines
    };
    let (summary, lines) = tokio::join!(drive(adjuster, Clock::start(), inputs, said), script);
    assert!(lines.iter().all(|line| !line.contains(KEY) && !line.contains('\n')), "{lines:?}");
    (lines, summary)
}

/// The reason that the log gives where the model's service does this.
async fn failure(reply: Reply, timeout: Duration) -> String {
    let fake = FakeService::start(vec![reply]).await;
    let (lines, summary) = played(&fake, AiProvider::Claude, timeout, options()).await;
    assert_eq!(lines.last().map(String::as_str), Some(STAYS), "the rules decide: {lines:?}");
    assert_eq!((summary.calls, summary.failures, summary.adjustments.len()), (1, 1, 0));
    let line =
        lines.iter().find(|line| line.starts_with("AI adjustment failed: ")).expect("it is told").clone();
    let reason = line.strip_prefix("AI adjustment failed: ");
    let reason = reason.and_then(|rest| rest.strip_suffix(", using fallback rules"));
    reason.expect("it is the testing guide's line").to_owned()
}

fn arguments(field: &str, value: Value) -> Value {
    let mut arguments = json!({
        "action": "scale_up", "writers": 6, "chunk_rows": 50_000, "readers": 2, "buffers": 8,
        "confidence": "medium", "reasoning": "there is room",
    });
    arguments[field] = value;
    arguments
}

fn call(field: &str, value: Value) -> Reply {
    Reply::json(&decision_of(AiProvider::Claude, &arguments(field, value)))
}

#[tokio::test]
async fn each_providers_decision_is_carried_out() {
    for provider in [AiProvider::Claude, AiProvider::OpenAi, AiProvider::Ollama] {
        let good = decision_of(provider, &arguments("confidence", json!("high")));
        let fake = FakeService::start(vec![Reply::json(&good)]).await;
        let (lines, summary) = played(&fake, provider, PATIENT, options()).await;
        let applied = "AI adjustment applied: scale_up - there is room (confidence: high)";
        assert_eq!(lines.last().map(String::as_str), Some(applied), "{lines:?}");
        assert_eq!(
            (summary.calls, summary.failures, summary.tokens_in, summary.tokens_out),
            (1, 0, 900, 120)
        );
        let adjustment = &summary.adjustments[0];
        assert_eq!((adjustment.kind, adjustment.to.writers.get()), (Kind::Trial, 6));
        assert_eq!(fake.heard().len(), 1);
    }
}

#[tokio::test]
async fn an_answer_that_is_no_decision_leaves_it_to_the_rules() {
    let talk = json!({ "content": [{ "type": "text", "text": "All is well." }], "stop_reason": "end_turn" });
    assert_eq!(failure(Reply::json(&talk), PATIENT).await, "the model did not call adjust_migration");
    let nonsense = Reply::Whole(200, "", "{\"content\": [".to_owned());
    let reason = failure(nonsense, PATIENT).await;
    assert!(reason.starts_with("the model's answer is no JSON, it begins "), "{reason}");
    let reason = failure(call("writers", json!(17)), PATIENT).await;
    assert_eq!(reason, "writers = 17 is out of bounds; allowed: 1 to 16");
    let reason = failure(call("action", json!("restart")), PATIENT).await;
    assert!(reason.starts_with("action is `restart`; allowed: continue, "), "{reason}");
}

#[tokio::test]
async fn a_service_that_fails_leaves_it_to_the_rules() {
    let reason = failure(Reply::Whole(429, "Retry-After: 45\r\n", String::new()), PATIENT).await;
    assert_eq!(reason, "the model's service is asked too often (429), again in 45 s");
    let reason = failure(Reply::Whole(429, "", String::new()), PATIENT).await;
    assert_eq!(reason, "the model's service is asked too often (429)");
    let reason = failure(Reply::Whole(500, "", String::new()), PATIENT).await;
    assert_eq!(reason, "the model's service has a fault (500): it says nothing");
    let reason = failure(Reply::Close, PATIENT).await;
    assert!(reason.starts_with("the model's answer broke off: "), "{reason}");
    let reason = failure(Reply::Endless, PATIENT).await;
    assert_eq!(reason, "the model's answer has more than 262144 bytes");
}

#[tokio::test]
async fn a_service_that_is_late_or_silent_leaves_it_to_the_rules() {
    let late = Reply::Late(Duration::from_secs(60), "{}".to_owned());
    for reply in [late, Reply::Silent] {
        assert_eq!(failure(reply, SHORT).await, "context deadline exceeded");
    }
}

#[tokio::test]
async fn names_of_tables_are_told_only_where_they_may() {
    let names = vec![
        TableName { schema: "hr".to_owned(), name: "staff".to_owned() },
        TableName { schema: "hr".to_owned(), name: "pay".to_owned() },
    ];
    for (table_names, told) in [(None, false), (Some(names), true)] {
        let fake = FakeService::start(vec![call("confidence", json!("low"))]).await;
        played(&fake, AiProvider::Claude, PATIENT, Options { table_names, ..options() }).await;
        let heard = fake.heard();
        let question = heard[0].body["messages"][0]["content"].as_str().unwrap();
        assert_eq!(question.contains("hr.pay"), told, "{question}");
        assert!(!question.contains("hr.staff"), "it is not in work");
    }
}

#[tokio::test]
async fn a_silent_model_holds_nothing_up() {
    let fake = FakeService::start(vec![Reply::Silent]).await;
    let decider = Decider::Service(fake.client(AiProvider::Claude, Duration::from_secs(600)));
    let (adjuster, _queue) = Adjuster::new(options(), decider, settings());
    let (to, inputs) = mpsc::channel(100);
    let (said, mut heard) = mpsc::unbounded_channel();
    let script = async move {
        for _ in 0..3 {
            to.send(Input::Sample(Box::new(sample(100_000.0)))).await.unwrap();
        }
        while fake.heard().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        to.send(Input::Sample(Box::new(sample(100_000.0)))).await.unwrap();
        let asking = "No adjustment in this interval: the model is being asked";
        while let Some(event) = heard.recv().await {
            if matches!(&event, Event::Said(line) if line.text == asking) {
                break;
            }
        }
        drop(to);
    };
    let both = async { tokio::join!(drive(adjuster, Clock::start(), inputs, said), script).0 };
    let summary = tokio::time::timeout(PATIENT, both).await.expect("it does not wait for the model");
    assert_eq!((summary.turns, summary.calls, summary.failures), (4, 1, 0));
}
