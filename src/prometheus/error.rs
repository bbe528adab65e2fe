//! What can go wrong between leverd and Prometheus, in words for people.

use std::error::Error;
use std::time::Duration;

/// Longer texts of a server are cut here, characters.
const WORDS_CAP: usize = 160;

/// Why Prometheus gave no usable answer. No text holds a credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrometheusError {
    /// `prometheus.url` cannot be used.
    #[error("the Prometheus address {url} cannot be used: {why}")]
    BadAddress {
        /// The address without credentials.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nobody answers there.
    #[error("Prometheus at {at} does not answer: {why}")]
    Unreachable {
        /// The address without credentials.
        at: String,
        /// The chain of causes.
        why: String,
    },
    /// It did not answer in time.
    #[error("Prometheus at {at} did not answer within {:.1} s", after.as_secs_f64())]
    Timeout {
        /// The address without credentials.
        at: String,
        /// The configured timeout.
        after: Duration,
    },
    /// It answers with an HTTP error.
    #[error("Prometheus at {at} answers {status}: {said}")]
    Status {
        /// The address without credentials.
        at: String,
        /// The HTTP status.
        status: u16,
        /// The server's words, cut short.
        said: String,
    },
    /// Something answers that is not Prometheus.
    #[error("what answers at {at} is not Prometheus' API: {content_type}, beginning with {begins:?}")]
    NotPrometheus {
        /// The address without credentials.
        at: String,
        /// The answer's content type.
        content_type: String,
        /// The answer's first words, without tags.
        begins: String,
    },
    /// The answer broke off.
    #[error("the answer of Prometheus at {at} broke off: {why}")]
    Broken {
        /// The address without credentials.
        at: String,
        /// How it is incomplete.
        why: String,
    },
    /// Prometheus cannot evaluate the query.
    #[error("Prometheus cannot evaluate `{query}`: {said}")]
    BadQuery {
        /// The query, its window filled in.
        query: String,
        /// Prometheus' words.
        said: String,
    },
    /// The answer is larger than a signal can be.
    #[error("the answer to `{query}` is too large: {what}")]
    TooLarge {
        /// The query, its window filled in.
        query: String,
        /// How large it is, and what is allowed.
        what: String,
    },
}

impl PrometheusError {
    /// What a person could do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::BadAddress { .. } => "write it as http://host:9090, with the path if there is one",
            Self::Unreachable { .. } => {
                "is Prometheus up, and `prometheus.url` right? `curl URL/-/ready` tells"
            }
            Self::Timeout { .. } => {
                "is Prometheus overloaded? a longer `prometheus.timeout` or a cheaper query helps"
            }
            Self::Status { status: 401 | 403, .. } => {
                "check `prometheus.basic_auth` or `prometheus.bearer_token`"
            }
            Self::Status { status: 300..=399, .. } => {
                "leverd follows no redirect to another host: set `prometheus.url` to where Prometheus itself is"
            }
            Self::Status { status: 400..=499, .. } => {
                "`prometheus.url` is the base address, e.g. http://host:9090 or https://host/prometheus, without /api/v1"
            }
            Self::Status { .. } => "it may be starting or overloaded; leverd asks again at the next tick",
            Self::NotPrometheus { .. } => {
                "a login page or another service? `prometheus.url` must be Prometheus' own base address"
            }
            Self::Broken { .. } => "a proxy or a restart cut it; leverd asks again at the next tick",
            Self::BadQuery { .. } => "try the query in Prometheus' own page, then correct it under `signals`",
            Self::TooLarge { .. } => {
                "aggregate it to one series, e.g. max by (instance) (…), or narrow its labels"
            }
        }
    }

    /// Whether the fault lies with one query, so that another one may be answered.
    pub fn is_about_the_query(&self) -> bool {
        matches!(self, Self::BadQuery { .. } | Self::TooLarge { .. })
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

/// The first words of a body: tags dropped, blanks folded, control characters out, cut short.
pub(super) fn words(body: &[u8]) -> String {
    // Enough for the words below even if most of it is tags.
    let text = String::from_utf8_lossy(&body[..body.len().min(8192)]);
    let mut plain = String::with_capacity(WORDS_CAP);
    let (mut in_tag, mut gap, mut length) = (false, false, 0);
    let is_html = text.trim_start().starts_with('<');
    for c in text.chars() {
        match c {
            '<' if is_html => in_tag = true,
            '>' if in_tag => (in_tag, gap) = (false, true),
            _ if in_tag => {}
            _ if c.is_whitespace() || c.is_control() => gap = true,
            _ => {
                if gap && !plain.is_empty() {
                    plain.push(' ');
                }
                gap = false;
                length += 1;
                if length > WORDS_CAP {
                    plain.push('…');
                    break;
                }
                plain.push(c);
            }
        }
    }
    if plain.is_empty() { "an empty body".to_owned() } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_short_and_without_tags() {
        let page = b"<!DOCTYPE html>\n<html><head><title>Grafana</title></head>\n<body>Please  log in</body>";
        assert_eq!(words(page), "Grafana Please log in");
        assert_eq!(words(b"  \n"), "an empty body");
        assert_eq!(words(b"1 < 2 > 1\x1b[31m"), "1 < 2 > 1 [31m");
        let long = words("ä".repeat(5000).as_bytes());
        assert_eq!(long.chars().count(), WORDS_CAP + 1);
    }
}
