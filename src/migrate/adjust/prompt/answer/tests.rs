//! Answers as the three APIs give them, and nonsense.

use super::super::super::sample::fixtures::settings;
use super::super::super::{Parameter, Writers};
use super::*;
use proptest::prelude::*;
use serde_json::json;

fn arguments() -> Value {
    json!({
        "action": "scale_up", "writers": 6, "chunk_rows": 50_000, "readers": 2, "buffers": 8,
        "confidence": "medium", "reasoning": "Throughput declining and\nresources available",
    })
}

fn claude(input: Value) -> Value {
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5-20251001",
        "content": [
            { "type": "thinking", "thinking": "", "signature": "x" },
            { "type": "text", "text": "I look at the metrics." },
            { "type": "tool_use", "id": "toolu_1", "name": TOOL, "input": input },
        ],
        "stop_reason": "tool_use",
        "usage": { "input_tokens": 900, "output_tokens": 120 },
    })
}

fn openai(arguments: Value) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "error": null,
        "choices": [{
            "index": 0, "finish_reason": "stop",
            "message": {
                "role": "assistant", "content": null,
                "tool_calls": [
                    { "id": "call_1", "type": "function", "function": { "name": TOOL, "arguments": arguments } },
                ],
            },
        }],
    })
}

fn ollama(content: &str) -> Value {
    json!({ "model": "llama3.1:8b", "message": { "role": "assistant", "content": content }, "done": true })
}

fn read(api: Api, body: &Value) -> Result<Decision, Refusal> {
    parse(api, body, "some-model", &settings(), &Caps::WIDEST)
}

/// The refusal of the arguments with one field changed; `None` takes it away.
fn refused(field: &str, value: Option<Value>) -> String {
    let mut input = arguments();
    let fields = input.as_object_mut().unwrap();
    match value {
        Some(value) => drop(fields.insert(field.to_owned(), value)),
        None => drop(fields.remove(field)),
    }
    read(Api::Anthropic, &claude(input)).unwrap_err().to_string()
}

fn is_the_decision(decision: &Decision) {
    assert_eq!(decision.action, Action::ScaleUp);
    assert_eq!(decision.settings, settings().with(Parameter::Writers, 6).unwrap());
    assert_eq!(decision.confidence, Confidence::Medium);
    assert_eq!(decision.reasoning, "Throughput declining and resources available");
    assert_eq!(decision.by, Brain::Model("some-model".to_owned()));
}

#[test]
fn each_apis_answer_is_read() {
    is_the_decision(&read(Api::Anthropic, &claude(arguments())).unwrap());
    is_the_decision(&read(Api::OpenAi, &openai(json!(arguments().to_string()))).unwrap());
    is_the_decision(&read(Api::OpenAi, &openai(arguments())).unwrap());
    is_the_decision(&read(Api::Ollama, &ollama(&arguments().to_string())).unwrap());
    let generate = json!({ "response": arguments().to_string(), "done": true });
    is_the_decision(&read(Api::Ollama, &generate).unwrap());
    let old = json!({ "choices": [{ "message": {
        "function_call": { "name": TOOL, "arguments": arguments().to_string() },
    } }] });
    is_the_decision(&read(Api::OpenAi, &old).unwrap());
}

#[test]
fn a_whole_number_is_an_integer_however_it_is_written() {
    let mut input = arguments();
    input["writers"] = json!(6.0);
    is_the_decision(&read(Api::Anthropic, &claude(input)).unwrap());
}

#[test]
fn a_missing_field_is_refused_by_name() {
    for field in ["action", "writers", "chunk_rows", "readers", "buffers", "confidence", "reasoning"] {
        assert_eq!(refused(field, None), format!("the decision has no field {field}"));
    }
}

#[test]
fn a_wrong_type_is_refused_with_the_right_one() {
    assert_eq!(refused("writers", Some(json!("6"))), "writers is a text; an integer is needed");
    assert_eq!(refused("writers", Some(json!(6.5))), "writers is another number; an integer is needed");
    assert_eq!(refused("writers", Some(json!(1e300))), "writers is another number; an integer is needed");
    assert_eq!(refused("writers", Some(Value::Null)), "writers is null; an integer is needed");
    assert_eq!(refused("action", Some(json!(["scale_up"]))), "action is a list; a text is needed");
    assert_eq!(refused("reasoning", Some(json!({}))), "reasoning is an object; a text is needed");
    assert_eq!(refused("confidence", Some(json!(true))), "confidence is a truth value; a text is needed");
    let error = read(Api::Anthropic, &claude(json!("scale_up"))).unwrap_err();
    assert_eq!(error.to_string(), "the decision is a text; an object is needed");
}

#[test]
fn what_is_out_of_bounds_is_refused_with_the_bound() {
    assert_eq!(refused("writers", Some(json!(17))), "writers = 17 is out of bounds; allowed: 1 to 16");
    assert_eq!(
        refused("chunk_rows", Some(json!(-5))),
        "chunk_rows = -5 is out of bounds; allowed: 1000 to 500000"
    );
    let caps = Caps { writers: Writers::new(5).unwrap(), ..Caps::WIDEST };
    let error = parse(Api::Anthropic, &claude(arguments()), "m", &settings(), &caps).unwrap_err();
    assert_eq!(error.to_string(), "writers = 6 is out of bounds; allowed: 1 to 5");
}

#[test]
fn nonsense_is_refused_with_its_reason() {
    assert_eq!(
        refused("action", Some(json!("restart\nnow"))),
        "action is `restart now`; allowed: continue, scale_up, scale_down, reduce_chunk, enlarge_chunk"
    );
    assert_eq!(refused("confidence", Some(json!("0.9"))), "confidence is `0.9`; allowed: high, medium, low");
    assert_eq!(refused("reasoning", Some(json!(" \n"))), "the reasoning is empty");
    assert_eq!(refused("action", Some(json!("continue"))), "the action is continue, but writers changes");
    assert_eq!(
        refused("buffers", Some(json!(9))),
        "scale_up changes writers and buffers; one setting at a time may change"
    );
    assert!(refused("writers", Some(json!(16))).contains("more than a step"));
}

#[test]
fn an_answer_without_one_whole_call_is_refused() {
    let refusal = |api, body: Value| read(api, &body).unwrap_err().to_string();
    let talk = json!({ "content": [{ "type": "text", "text": "All is well." }], "stop_reason": "end_turn" });
    assert_eq!(refusal(Api::Anthropic, talk), "the model did not call adjust_migration");
    let mut twice = claude(arguments());
    let call = twice["content"][2].clone();
    twice["content"].as_array_mut().unwrap().push(call);
    assert_eq!(
        refusal(Api::Anthropic, twice),
        "the model called adjust_migration 2 times; one call is allowed"
    );
    let mut cut = claude(arguments());
    cut["stop_reason"] = json!("max_tokens");
    assert!(refusal(Api::Anthropic, cut).contains("was cut off"));
    let cut = json!({ "choices": [{ "finish_reason": "length", "message": {} }] });
    assert!(refusal(Api::OpenAi, cut).contains("was cut off"));
    let cut = json!({ "message": { "content": "{" }, "done_reason": "length" });
    assert!(refusal(Api::Ollama, cut).contains("was cut off"));
    assert!(refusal(Api::Ollama, ollama("I would scale up")).starts_with("the decision is no JSON: "));
    assert!(refusal(Api::OpenAi, openai(json!("{\"action\":"))).starts_with("the decision is no JSON: "));
    assert_eq!(refusal(Api::OpenAi, json!({ "choices": [] })), "the answer has no choices");
    assert_eq!(refusal(Api::Anthropic, json!([])), "the answer has no content");
}

#[test]
fn an_error_of_the_server_shows_its_kind_and_nothing_of_a_key() {
    let body = json!({
        "type": "error",
        "error": { "type": "authentication_error", "message": "invalid x-api-key sk-ant-secret" },
    });
    assert_eq!(
        read(Api::Anthropic, &body).unwrap_err().to_string(),
        "the model's server answered with an error: authentication_error"
    );
    let body = json!({ "error": "model sk-secret not found" });
    let shown = read(Api::Ollama, &body).unwrap_err().to_string();
    assert!(!shown.contains("secret"), "{shown}");
}

#[test]
fn long_reasoning_is_cut() {
    let mut input = arguments();
    input["reasoning"] = json!("ä".repeat(10_000));
    let decision = read(Api::Anthropic, &claude(input)).unwrap();
    assert_eq!(decision.reasoning.chars().count(), MOST_REASONING);
}

/// Keys that lead deep into the reader, among others.
const KEYS: &[&str] = &[
    "content",
    "type",
    "name",
    "input",
    "stop_reason",
    "choices",
    "message",
    "tool_calls",
    "function",
    "function_call",
    "arguments",
    "response",
    "error",
    "action",
    "writers",
    "chunk_rows",
    "readers",
    "buffers",
    "confidence",
    "reasoning",
    "other",
];
const WORDS: &[&str] =
    &["tool_use", TOOL, "scale_up", "continue", "high", "max_tokens", "length", "{", "{}", "[1]", "", "null"];

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop::sample::select(WORDS).prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        let pair = (prop::sample::select(KEYS), inner.clone());
        prop_oneof![
            prop::collection::vec(inner, 0..5).prop_map(Value::from),
            prop::collection::vec(pair, 0..8).prop_map(|pairs| {
                Value::Object(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn no_json_makes_the_reading_panic(body in any_json(), arguments in any_json()) {
        for api in [Api::Anthropic, Api::OpenAi, Api::Ollama] {
            let _ = read(api, &body);
        }
        let _ = read(Api::Anthropic, &claude(arguments.clone()));
        let _ = read(Api::Ollama, &ollama(&arguments.to_string()));
        let _ = read(Api::OpenAi, &openai(arguments));
    }

    #[test]
    fn what_is_read_may_be_carried_out(
        action in prop::sample::select(Action::ALL.to_vec()),
        writers in 0_i64..20, chunk in 0_i64..600_000, readers in 0_i64..6, buffers in 0_i64..40,
    ) {
        let input = json!({
            "action": action.name(), "writers": writers, "chunk_rows": chunk, "readers": readers,
            "buffers": buffers, "confidence": "low", "reasoning": "x",
        });
        if let Ok(decision) = read(Api::Anthropic, &claude(input)) {
            prop_assert_eq!(decision.action.check(&settings(), &decision.settings), Ok(()));
        }
    }
}
