//! How a request is changed for a service that refuses what most of them take.
//!
//! In: a request's body, and what the service said to it. Out: the body as this service takes it. Pure. Always
//! holds: a refusal teaches each thing once, so a question is not sent for ever; what is asked never changes, only
//! how.

use crate::migrate::adjust::prompt::TOOL;
use serde_json::{Map, Value, json};

/// What was learned of a service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Habits {
    /// It does not let a tool be forced.
    unforced: bool,
    /// It knows the most tokens of an answer as `max_tokens` alone.
    old_limit: bool,
}

impl Habits {
    /// The body as this service takes it.
    pub(super) fn applied(self, body: &Value) -> Value {
        let mut body = body.clone();
        if let Value::Object(fields) = &mut body {
            self.change(fields);
        }
        body
    }

    fn change(self, fields: &mut Map<String, Value>) {
        if self.unforced {
            let free = fields.get("tool_choice").and_then(without_force);
            if let Some(free) = free {
                fields.insert("tool_choice".to_owned(), free);
            }
        }
        if self.old_limit {
            let most = fields.remove("max_completion_tokens");
            if let Some(most) = most {
                fields.insert("max_tokens".to_owned(), most);
            }
        }
    }

    /// What the service's refusal of `body` teaches; `None`: nothing that was not known.
    pub(super) fn after(self, status: u16, said: &str, body: &Value) -> Option<Self> {
        if !matches!(status, 400 | 422) {
            return None;
        }
        let said = said.to_ascii_lowercase();
        let names = |words: &[&str]| words.iter().any(|word| said.contains(word));
        let forced = body.get("tool_choice").and_then(without_force).is_some();
        if !self.unforced && forced && names(&["tool_choice", "tool choice", "forced tool", "forcing"]) {
            return Some(Self { unforced: true, ..self });
        }
        let limited = body.get("max_completion_tokens").is_some();
        if !self.old_limit && limited && names(&["max_completion_tokens"]) {
            return Some(Self { old_limit: true, ..self });
        }
        None
    }
}

/// The choice in the same API's form for "as you like"; `None`: it forces nothing.
fn without_force(choice: &Value) -> Option<Value> {
    match choice.get("type").and_then(Value::as_str) {
        Some("tool" | "any") => Some(json!({ "type": "auto", "disable_parallel_tool_use": true })),
        Some("function") => Some(json!("auto")),
        Some(_) => None,
        None => (choice.as_str() == Some("required") || choice.as_str() == Some(TOOL)).then(|| json!("auto")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claude() -> Value {
        json!({ "model": "m", "tool_choice": { "type": "tool", "name": TOOL } })
    }

    fn openai() -> Value {
        json!({
            "model": "m", "max_completion_tokens": 9,
            "tool_choice": { "type": "function", "function": { "name": TOOL } },
        })
    }

    #[test]
    fn without_anything_learned_a_body_stays() {
        assert_eq!(Habits::default().applied(&openai()), openai());
        assert_eq!(Habits::default().applied(&json!([1])), json!([1]));
    }

    #[test]
    fn a_refused_force_is_left_out_from_then_on() {
        let said = "tool_choice: type 'tool' is not supported for this model";
        let habits = Habits::default().after(400, said, &claude()).unwrap();
        assert_eq!(habits.applied(&claude())["tool_choice"]["type"], "auto");
        assert_eq!(habits.applied(&openai())["tool_choice"], "auto");
        assert_eq!(habits.after(400, said, &claude()), None, "it is known already");
    }

    #[test]
    fn a_limit_that_is_not_known_gets_its_old_name() {
        let said = r#"{"loc":["body","max_completion_tokens"],"msg":"Extra inputs are not permitted"}"#;
        let habits = Habits::default().after(422, said, &openai()).unwrap();
        let body = habits.applied(&openai());
        assert_eq!((&body["max_tokens"], body.get("max_completion_tokens")), (&json!(9), None));
        assert_eq!(habits.after(422, said, &openai()), None);
        assert!(habits.after(400, "forced tool use is not supported", &openai()).is_some());
    }

    #[test]
    fn other_refusals_teach_nothing() {
        assert_eq!(Habits::default().after(401, "tool_choice", &claude()), None);
        assert_eq!(Habits::default().after(400, "credit balance is too low", &claude()), None);
        let free = json!({ "tool_choice": { "type": "auto" } });
        assert_eq!(Habits::default().after(400, "tool_choice is wrong", &free), None);
    }
}
