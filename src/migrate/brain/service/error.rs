//! What can go wrong between leverd and a model's service, in words that hold no key.

use crate::config::Secret;
use serde_json::Value;
use std::error::Error;
use std::time::Duration;

/// Of a service's words so many characters are shown.
const MOST_WORDS: usize = 200;
/// So many characters of a key are enough to know it by: services repeat a wrong key with its middle hidden.
const KEY_BEGINS: usize = 6;

/// Why a service cannot be asked at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// A model or an address is missing.
    #[error("preparing to ask a model: `ai.model` or `ai.endpoint` is not given")]
    NotNamed,
    /// `ai.endpoint` is no address of a service. It is not shown, since it may hold a password.
    #[error("preparing to ask a model: `ai.endpoint` cannot be used: {why}")]
    BadAddress {
        /// What is wrong with it.
        why: String,
    },
    /// `ai.api_key` has characters that no HTTP header may have.
    #[error("preparing to ask a model: `ai.api_key` has characters that no key has")]
    BadKey,
    /// No connection can be made from here.
    #[error("preparing to ask a model: {why}")]
    Client {
        /// The chain of causes.
        why: String,
    },
}

/// Why a question has no answer. No text holds the key, or more than 200 characters of the service's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// It does not take the request: the key, the model's name, the address or an account is not right. Asking again
    /// does not help.
    #[error("the model's service refuses the request ({status}): {said}")]
    Misconfigured {
        /// The HTTP status.
        status: u16,
        /// The service's words.
        said: String,
    },
    /// There were too many questions.
    #[error("the model's service is asked too often (429){}", within(*retry_after))]
    Busy {
        /// When it wants to be asked again: so long from now.
        retry_after: Option<Duration>,
    },
    /// It has a fault of its own.
    #[error("the model's service has a fault ({status}): {said}")]
    Server {
        /// The HTTP status.
        status: u16,
        /// The service's words.
        said: String,
        /// When it wants to be asked again: so long from now.
        retry_after: Option<Duration>,
    },
    /// It did not answer in time. The words are those that users of dmt look for in a log.
    #[error("context deadline exceeded")]
    Timeout {
        /// The configured timeout.
        after: Duration,
    },
    /// Nobody answers there.
    #[error("the model's service cannot be reached: {why}")]
    Unreachable {
        /// The chain of causes.
        why: String,
    },
    /// The connection ended before the answer did.
    #[error("the model's answer broke off: {why}")]
    BrokeOff {
        /// The chain of causes.
        why: String,
    },
    /// The answer is longer than any decision.
    #[error("the model's answer has more than {most_bytes} bytes")]
    TooLarge {
        /// No more are read.
        most_bytes: usize,
    },
    /// The answer is something else.
    #[error("the model's answer is no JSON, it begins {begins:?}")]
    NotJson {
        /// Its first words.
        begins: String,
    },
}

fn within(retry_after: Option<Duration>) -> String {
    retry_after.map_or_else(String::new, |wait| format!(", again in {} s", wait.as_secs()))
}

impl AskError {
    /// How long the service wants not to be asked, where it says so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after } | Self::Server { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// What a person must do, where asking again cannot help.
    pub fn hint(&self) -> Option<&'static str> {
        let Self::Misconfigured { status, .. } = self else { return None };
        Some(match status {
            300..=399 => "`ai.endpoint` leads elsewhere: set it to where the service itself is",
            401 | 403 => "check `ai.api_key`: the service does not accept it, or not for this model",
            402 => "the account behind `ai.api_key` has no credit",
            404 | 405 => "check `ai.endpoint` and `ai.model`: the service does not know one of them",
            _ => "check `ai.model` and `ai.provider`: the service does not accept what it is asked",
        })
    }
}

/// An error with all its causes; many say only "error sending request" themselves.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !words.ends_with(&text) {
            words.push_str(": ");
            words.push_str(&text);
        }
        source = cause.source();
    }
    words
}

/// The words of an answer that is an error: its message, else the text itself.
pub(super) fn said(body: &[u8], key: Option<&Secret>) -> String {
    let text = String::from_utf8_lossy(body).into_owned();
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    let message = parsed.as_ref().and_then(message_of).unwrap_or(text.as_str());
    let words = clean(message, key);
    if words.is_empty() { "it says nothing".to_owned() } else { words }
}

fn message_of(body: &Value) -> Option<&str> {
    let error = body.get("error").unwrap_or(body);
    error.as_str().or_else(|| error.get("message").and_then(Value::as_str)).filter(|text| !text.is_empty())
}

/// One line of at most 200 characters, without any word that holds the key or its beginning.
pub(super) fn clean(text: &str, key: Option<&Secret>) -> String {
    let begins: Option<String> = key.map(|key| key.expose().chars().take(KEY_BEGINS).collect());
    let begins = begins.filter(|begins| !begins.is_empty());
    let is_key = |word: &str| begins.as_ref().is_some_and(|begins| word.contains(begins.as_str()));
    let spaced: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words: Vec<&str> =
        spaced.split_whitespace().map(|word| if is_key(word) { "…" } else { word }).collect();
    words.join(" ").chars().take(MOST_WORDS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_are_one_short_line_without_the_key() {
        let key = Secret::new("sk-ant-0123456789");
        assert_eq!(clean("a\n b\t c", None), "a b c");
        assert_eq!(clean("wrong key: sk-ant-0123456789.", Some(&key)), "wrong key: …");
        assert_eq!(clean("wrong key: sk-ant-***789.", Some(&key)), "wrong key: …");
        assert_eq!(clean(&"ä".repeat(900), None).chars().count(), 200);
        assert_eq!(clean("all", Some(&Secret::new(""))), "all");
    }

    #[test]
    fn the_message_is_found_where_services_put_it() {
        assert_eq!(said(br#"{"error":{"type":"x","message":"no such model"}}"#, None), "no such model");
        assert_eq!(said(br#"{"error":"model not found"}"#, None), "model not found");
        assert_eq!(said(br#"{"object":"error","message":"extra inputs"}"#, None), "extra inputs");
        assert_eq!(said(b"<html>Bad gateway</html>", None), "<html>Bad gateway</html>");
        assert_eq!(said(b"", None), "it says nothing");
        assert!(!said(b"\xff\xfe{", None).is_empty());
    }

    #[test]
    fn a_timeout_has_the_testing_guides_words() {
        let error = AskError::Timeout { after: Duration::from_secs(30) };
        assert_eq!(error.to_string(), "context deadline exceeded");
        assert_eq!((error.hint(), error.retry_after()), (None, None));
        let wait = Some(Duration::from_secs(45));
        let busy = AskError::Busy { retry_after: wait };
        assert_eq!(busy.to_string(), "the model's service is asked too often (429), again in 45 s");
        assert_eq!(busy.retry_after(), wait);
    }

    #[test]
    fn what_a_person_must_do_is_said() {
        let hint = |status| AskError::Misconfigured { status, said: String::new() }.hint().unwrap();
        assert!(hint(401).contains("ai.api_key") && hint(404).contains("ai.model"));
        assert!(hint(301).contains("ai.endpoint") && hint(400).contains("ai.model"));
    }

    proptest! {
        #[test]
        fn no_key_gets_through(before in ".{0,40}", key in "[!-~]{1,40}", after in ".{0,300}") {
            let shown = clean(&format!("{before}{key}{after}"), Some(&Secret::new(key.clone())));
            prop_assert!(!shown.contains(&key), "{shown}");
            prop_assert!(shown.chars().count() <= MOST_WORDS && !shown.contains(char::is_control));
        }
    }
}
