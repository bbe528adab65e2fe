//! Each wire format and each fault, against a server on loopback.

use super::super::fake_service::{FakeService, KEY, Reply, decision_of};
use super::*;
use crate::migrate::adjust::prompt::{Question, body};
use crate::migrate::adjust::{Caps, Settings, Window};
use serde_json::json;

/// For answers that come: long enough for a busy machine.
const PATIENT: Duration = Duration::from_secs(20);
/// For answers that do not.
const SHORT: Duration = Duration::from_millis(150);

fn question(service: &Service) -> Value {
    let current = Settings::new(4, 50_000, 2, 8).unwrap();
    let window = Window::new(4);
    let caps = Caps::WIDEST;
    let question = Question { window: &window, current: &current, caps: &caps, tried: &[], tables: None };
    body(service.api(), service.model(), &question)
}

async fn asked(replies: Vec<Reply>, timeout: Duration) -> (FakeService, Result<Value, AskError>) {
    let fake = FakeService::start(replies).await;
    let service = fake.client(AiProvider::Claude, timeout);
    let answer = service.ask(&question(&service)).await;
    if let Err(error) = &answer {
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    (fake, answer)
}

async fn error_of(reply: Reply, timeout: Duration) -> AskError {
    asked(vec![reply], timeout).await.1.unwrap_err()
}

#[tokio::test]
async fn each_provider_is_asked_in_its_own_form() {
    for (provider, path, key) in [
        (AiProvider::Claude, "post /v1/messages http/1.1", format!("x-api-key: {KEY}")),
        (AiProvider::OpenAi, "post /v1/chat/completions http/1.1", format!("authorization: bearer {KEY}")),
        (AiProvider::Ollama, "post /api/chat http/1.1", format!("authorization: bearer {KEY}")),
    ] {
        let answer = decision_of(provider, &json!({ "action": "continue" }));
        let fake = FakeService::start(vec![Reply::json(&answer)]).await;
        let service = fake.client(provider, PATIENT);
        assert_eq!(service.ask(&question(&service)).await.unwrap(), answer);
        let heard = fake.heard();
        assert_eq!(heard.len(), 1);
        assert!(heard[0].head.starts_with(path), "{}", heard[0].head);
        assert!(heard[0].head.contains(&key), "{}", heard[0].head);
        assert_eq!(heard[0].head.contains("anthropic-version: 2023-06-01"), provider == AiProvider::Claude);
        assert_eq!(heard[0].body["model"], "claude-haiku-4-5-20251001");
        assert!(!format!("{service:?}").contains("hunter2"), "its Debug hides the key");
    }
}

#[tokio::test]
async fn a_force_that_is_refused_is_left_out_and_remembered() {
    let refusal = json!({ "type": "error", "error": {
        "type": "invalid_request_error", "message": "tool_choice: type `tool` is not supported for this model",
    } });
    let good = decision_of(AiProvider::Claude, &json!({ "action": "continue" }));
    let fake = FakeService::start(vec![Reply::Whole(400, "", refusal.to_string()), Reply::json(&good)]).await;
    let service = fake.client(AiProvider::Claude, PATIENT);
    let body = question(&service);
    assert_eq!(body["tool_choice"]["type"], "tool");
    assert_eq!(service.ask(&body).await.unwrap(), good);
    assert_eq!(service.ask(&body).await.unwrap(), good);
    let choices: Vec<Value> =
        fake.heard().iter().map(|heard| heard.body["tool_choice"]["type"].clone()).collect();
    assert_eq!(choices, ["tool", "auto", "auto"]);
}

#[tokio::test]
async fn a_service_that_refuses_whatever_is_sent_is_asked_three_times_at_most() {
    let refusal = json!({ "error": { "message": "tool_choice and max_completion_tokens are wrong" } });
    let fake = FakeService::start(vec![Reply::Whole(400, "", refusal.to_string())]).await;
    let service = fake.client(AiProvider::OpenAi, PATIENT);
    let error = service.ask(&question(&service)).await.unwrap_err();
    assert!(matches!(error, AskError::Misconfigured { status: 400, .. }), "{error}");
    assert_eq!(fake.heard().len(), 3);
    assert_eq!(fake.heard()[2].body["tool_choice"], "auto");
}

#[tokio::test]
async fn what_a_person_must_set_right_is_told_apart() {
    for status in [400, 401, 402, 403, 404, 301] {
        let said =
            format!("{{\"error\":{{\"message\":\"invalid x-api-key {KEY} \\n {}\"}}}}", "x".repeat(900));
        let error = error_of(Reply::Whole(status, "", said), PATIENT).await;
        assert!(
            matches!(&error, AskError::Misconfigured { status: found, .. } if *found == status),
            "{error}"
        );
        assert!(error.hint().is_some());
        let shown = error.to_string();
        assert!(shown.contains("invalid x-api-key … xxx") && shown.chars().count() < 260, "{shown}");
        assert!(!shown.contains('\n'), "{shown}");
    }
}

#[tokio::test]
async fn too_many_questions_say_when_to_ask_again() {
    let error = error_of(Reply::Whole(429, "Retry-After: 45\r\n", "{}".to_owned()), PATIENT).await;
    assert_eq!(error, AskError::Busy { retry_after: Some(Duration::from_secs(45)) });
    let error = error_of(Reply::Whole(429, "", "{}".to_owned()), PATIENT).await;
    assert_eq!(error, AskError::Busy { retry_after: None });
}

#[tokio::test]
async fn a_fault_of_the_service_is_its_own() {
    let error = error_of(Reply::Whole(500, "", "{\"error\":\"boom\"}".to_owned()), PATIENT).await;
    assert_eq!(error.to_string(), "the model's service has a fault (500): boom");
    let error = error_of(Reply::Whole(529, "Retry-After: 3\r\n", String::new()), PATIENT).await;
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
}

#[tokio::test]
async fn who_does_not_answer_in_time_does_not_answer() {
    let late = Reply::Late(Duration::from_secs(60), "{}".to_owned());
    for reply in [Reply::Silent, late] {
        let error = error_of(reply, SHORT).await;
        assert_eq!(error, AskError::Timeout { after: SHORT });
        assert_eq!(error.to_string(), "context deadline exceeded");
    }
}

#[tokio::test]
async fn an_answer_that_is_none_is_told() {
    let error = error_of(Reply::Close, PATIENT).await;
    assert!(matches!(error, AskError::BrokeOff { .. }), "{error}");
    let error = error_of(Reply::Cut("{\"content\":".to_owned()), PATIENT).await;
    assert!(matches!(error, AskError::BrokeOff { .. }), "{error}");
    let error = error_of(Reply::Endless, PATIENT).await;
    assert_eq!(error, AskError::TooLarge { most_bytes: BODY_CAP_BYTES });
    let error = error_of(Reply::Whole(200, "", "<html>Log in</html>".to_owned()), PATIENT).await;
    assert_eq!(error.to_string(), "the model's answer is no JSON, it begins \"<html>Log in</html>\"");
}

#[tokio::test]
async fn nobody_there_is_no_answer() {
    let fake = FakeService::start(vec![Reply::Close]).await;
    let config = fake.config(AiProvider::Claude, PATIENT);
    drop(fake);
    // Its task may end a little later; until then it only closes.
    let error = Service::new(&config).unwrap().ask(&json!({})).await.unwrap_err();
    assert!(matches!(error, AskError::Unreachable { .. } | AskError::BrokeOff { .. }), "{error}");
}

#[test]
fn a_call_goes_where_the_provider_has_it() {
    let at = |endpoint: &str, api| address(endpoint, api).unwrap().to_string();
    for (endpoint, api, expected) in [
        ("https://api.anthropic.com", Api::Anthropic, "https://api.anthropic.com/v1/messages"),
        ("https://gate.example/anthropic/", Api::Anthropic, "https://gate.example/anthropic/v1/messages"),
        ("https://gate.example/v1", Api::Anthropic, "https://gate.example/v1/messages"),
        ("https://api.openai.com", Api::OpenAi, "https://api.openai.com/v1/chat/completions"),
        ("https://llm.example/openai/v1/", Api::OpenAi, "https://llm.example/openai/v1/chat/completions"),
        (
            "https://llm.example/v1beta/openai",
            Api::OpenAi,
            "https://llm.example/v1beta/openai/chat/completions",
        ),
        ("https://llm.example/vendor", Api::OpenAi, "https://llm.example/vendor/v1/chat/completions"),
        ("http://localhost:11434", Api::Ollama, "http://localhost:11434/api/chat"),
        ("https://llm.example/api", Api::Ollama, "https://llm.example/api/chat"),
    ] {
        assert_eq!(at(endpoint, api), expected);
    }
}

#[test]
fn what_cannot_be_asked_is_refused_without_its_secrets() {
    for endpoint in ["me:hunter2@llm", "ftp://me:hunter2@llm.example", "http://me:hunter2@:9/"] {
        let error = address(endpoint, Api::OpenAi).unwrap_err();
        assert!(matches!(error, ServiceError::BadAddress { .. }), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    let bad = Secret::new("hunter2\u{e4}\n");
    assert_eq!(headers(Api::Anthropic, Some(&bad)).unwrap_err(), ServiceError::BadKey);
}

#[test]
fn waits_are_seconds_or_a_date_by_the_servers_clock() {
    let wait = |value: &str, date: Option<&str>| {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(value).unwrap());
        if let Some(date) = date {
            headers.insert(DATE, HeaderValue::from_str(date).unwrap());
        }
        retry_after(&headers)
    };
    assert_eq!(wait("7", None), Some(Duration::from_secs(7)));
    assert_eq!(wait("0.5", None), Some(Duration::from_millis(500)));
    assert_eq!(wait("1e300", None), Some(LONGEST_WAIT));
    for nonsense in ["-1", "NaN", "soon", "Wed, 21 Oct 2026 07:28:30 GMT"] {
        assert_eq!(wait(nonsense, None), None, "{nonsense}");
    }
    let date = Some("Wed, 21 Oct 2026 07:28:00 GMT");
    assert_eq!(wait("Wed, 21 Oct 2026 07:28:30 GMT", date), Some(Duration::from_secs(30)));
    assert_eq!(wait("Wed, 21 Oct 2026 07:00:00 GMT", date), Some(Duration::ZERO));
}
