//! A model's answer → a decision, or why it is none.
//!
//! In: the body of an answer, as JSON. Out: a [`Decision`] inside the bounds that makes sense as one, or a
//! [`Refusal`] whose text names the field and what is allowed. Always holds: every field is there and of its type; no
//! JSON makes it panic; what a model wrote is shown cut to one short line. A refused answer changes nothing.

use super::super::settings::{Caps, OutOfBounds, Settings};
use super::super::{Action, Brain, Confidence, Decision, Incoherent};
use super::{Api, TOOL};
use crate::migrate::quote::one_line;
use serde_json::{Map, Value};

/// Of a model's reasoning so many characters are kept.
const MOST_REASONING: usize = 300;
/// Of a wrong word so many characters are shown.
const MOST_SHOWN: usize = 60;

/// Why an answer is no decision.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The provider answered with an error.
    #[error("the model's server answered with an error: {kind}")]
    ApiError {
        /// Its kind, as the provider names it.
        kind: String,
    },
    /// The answer has not its API's form.
    #[error("the answer has no {part}")]
    Shape {
        /// What is missing.
        part: &'static str,
    },
    /// It was cut off.
    #[error("the answer was cut off at the most tokens that are allowed")]
    Truncated,
    /// It is text, or a call of something else.
    #[error("the model did not call {TOOL}", TOOL = TOOL)]
    NoCall,
    /// More than one decision.
    #[error("the model called {TOOL} {calls} times; one call is allowed", TOOL = TOOL)]
    SeveralCalls {
        /// How often.
        calls: usize,
    },
    /// The decision is text, and no JSON.
    #[error("the decision is no JSON: {source}")]
    BadJson {
        /// Where it is not.
        source: serde_json::Error,
    },
    /// A field is not there.
    #[error("the decision has no field {field}")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// A field is of another type.
    #[error("{field} is {found}; {expected} is needed")]
    WrongType {
        /// The field.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A field holds a word that it may not.
    #[error("{field} is `{word}`; allowed: {allowed}")]
    UnknownWord {
        /// The field.
        field: &'static str,
        /// Its word, cut.
        word: String,
        /// What it may be.
        allowed: String,
    },
    /// Nobody could tell people why.
    #[error("the reasoning is empty")]
    NoReasoning,
    /// A setting is out of bounds.
    #[error(transparent)]
    OutOfBounds(#[from] OutOfBounds),
    /// The action and the settings do not belong together.
    #[error(transparent)]
    Incoherent(#[from] Incoherent),
}

/// Reads the body of an answer. `model`: its name, for the record; `current`: the settings in force.
///
/// # Errors
/// Where it is no decision that may be carried out.
pub fn parse(
    api: Api,
    body: &Value,
    model: &str,
    current: &Settings,
    caps: &Caps,
) -> Result<Decision, Refusal> {
    if let Some(error) = body.get("error").filter(|error| !error.is_null()) {
        return Err(Refusal::ApiError { kind: error_kind(error) });
    }
    let call = match api {
        Api::Anthropic => claude_call(body)?,
        Api::OpenAi => openai_call(body)?,
        Api::Ollama => ollama_call(body)?,
    };
    let fields = call.as_object().ok_or_else(|| wrong_type("the decision", "an object", &call))?;
    let action = word(fields, "action", Action::from_name, &Action::ALL.map(Action::name))?;
    let settings = Settings::new(
        integer(fields, "writers")?,
        integer(fields, "chunk_rows")?,
        integer(fields, "readers")?,
        integer(fields, "buffers")?,
    )?;
    let confidence =
        word(fields, "confidence", Confidence::from_name, &Confidence::ALL.map(Confidence::name))?;
    let reasoning = one_line(text(fields, "reasoning")?, MOST_REASONING);
    if reasoning.is_empty() {
        return Err(Refusal::NoReasoning);
    }
    action.check(current, &settings)?;
    caps.allow(current, &settings)?;
    Ok(Decision { action, settings, confidence, reasoning, by: Brain::Model(model.to_owned()) })
}

/// The kind alone: a message may repeat what was sent, a part of the key too.
fn error_kind(error: &Value) -> String {
    let kind = text_at(error, "type").or_else(|| text_at(error, "code"));
    one_line(kind.unwrap_or("of no kind that is known"), MOST_SHOWN)
}

fn claude_call(body: &Value) -> Result<Value, Refusal> {
    let content = list_at(body, "content").ok_or(Refusal::Shape { part: "content" })?;
    if text_at(body, "stop_reason") == Some("max_tokens") {
        return Err(Refusal::Truncated);
    }
    let is_call =
        |block: &&Value| text_at(block, "type") == Some("tool_use") && text_at(block, "name") == Some(TOOL);
    let call = only(content.iter().filter(is_call).collect())?;
    call.get("input").cloned().ok_or(Refusal::Shape { part: "input of its tool call" })
}

fn openai_call(body: &Value) -> Result<Value, Refusal> {
    let choice = list_at(body, "choices")
        .and_then(|choices| choices.first())
        .ok_or(Refusal::Shape { part: "choices" })?;
    if text_at(choice, "finish_reason") == Some("length") {
        return Err(Refusal::Truncated);
    }
    let message = choice.get("message").ok_or(Refusal::Shape { part: "message" })?;
    let functions: Vec<&Value> = match list_at(message, "tool_calls") {
        Some(calls) => calls.iter().filter_map(|call| call.get("function")).collect(),
        // The form from before there were tools; some servers still have it.
        None => message.get("function_call").into_iter().collect(),
    };
    let ours = functions.into_iter().filter(|function| text_at(function, "name") == Some(TOOL)).collect();
    match only(ours)?.get("arguments") {
        Some(Value::String(arguments)) => json(arguments),
        // Not OpenAI itself, but servers that speak its form.
        Some(arguments) => Ok(arguments.clone()),
        None => Err(Refusal::Shape { part: "arguments of its function call" }),
    }
}

fn ollama_call(body: &Value) -> Result<Value, Refusal> {
    if text_at(body, "done_reason") == Some("length") {
        return Err(Refusal::Truncated);
    }
    let of_chat = body.get("message").and_then(|message| text_at(message, "content"));
    let content = of_chat.or_else(|| text_at(body, "response")).ok_or(Refusal::Shape { part: "content" })?;
    json(content)
}

fn only(calls: Vec<&Value>) -> Result<&Value, Refusal> {
    match calls.as_slice() {
        [] => Err(Refusal::NoCall),
        [call] => Ok(*call),
        several => Err(Refusal::SeveralCalls { calls: several.len() }),
    }
}

fn json(text: &str) -> Result<Value, Refusal> {
    serde_json::from_str(text).map_err(|source| Refusal::BadJson { source })
}

fn text_at<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key).and_then(Value::as_str)
}

fn list_at<'v>(value: &'v Value, key: &str) -> Option<&'v Vec<Value>> {
    value.get(key).and_then(Value::as_array)
}

fn wrong_type(field: &'static str, expected: &'static str, value: &Value) -> Refusal {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "another number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    Refusal::WrongType { field, expected, found }
}

fn field<'v>(fields: &'v Map<String, Value>, name: &'static str) -> Result<&'v Value, Refusal> {
    fields.get(name).ok_or(Refusal::Missing { field: name })
}

fn text<'v>(fields: &'v Map<String, Value>, name: &'static str) -> Result<&'v str, Refusal> {
    let value = field(fields, name)?;
    value.as_str().ok_or_else(|| wrong_type(name, "a text", value))
}

fn word<T>(
    fields: &Map<String, Value>,
    name: &'static str,
    from_name: fn(&str) -> Option<T>,
    allowed: &[&str],
) -> Result<T, Refusal> {
    let word = text(fields, name)?;
    from_name(word).ok_or_else(|| Refusal::UnknownWord {
        field: name,
        word: one_line(word, MOST_SHOWN),
        allowed: allowed.join(", "),
    })
}

/// An integer, however it is written: JSON has one kind of number, and `4.0` is 4.
fn integer(fields: &Map<String, Value>, name: &'static str) -> Result<i64, Refusal> {
    /// Beyond it a float does not know its last digit.
    const EXACT: f64 = 9e15;
    let value = field(fields, name)?;
    if let Some(integer) = value.as_i64() {
        return Ok(integer);
    }
    match value.as_f64() {
        Some(float) if float.fract() == 0.0 && float.abs() <= EXACT => Ok(float as i64),
        _ => Err(wrong_type(name, "an integer", value)),
    }
}

#[cfg(test)]
mod tests;
