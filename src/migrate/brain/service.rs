//! A client for a model's service: one question, one answer, bounded in time and size.
//!
//! In: the body of a request, as `adjust::prompt` makes it. Out: the answer's body as JSON, or an [`AskError`] that
//! says in plain words what is wrong. Always holds: a question ends within the configured timeout, its second tries
//! included; at most [`BODY_CAP_BYTES`] are read; no redirect is followed, because it would take the key with it;
//! no error, log or `Debug` shows the key. It does not know what a decision is, keeps no history, and does not ask
//! again after a failure: when to, is the adjuster's matter.
//!
//! Two things it learns while it goes: services that take no forced tool choice are asked without one, and those
//! that know `max_completion_tokens` by its old name get that. Both say so with a 400 or 422, and the same question
//! is sent again at once.

mod error;
mod habits;

pub use error::{AskError, ServiceError};

use crate::config::{AiConfig, AiProvider, Secret};
use crate::migrate::adjust::prompt::Api;
use chrono::DateTime;
use error::{chain, clean, said};
use habits::Habits;
use reqwest::header::{ACCEPT, AUTHORIZATION, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url};
use serde_json::Value;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// No answer larger than this is read, bytes.
pub const BODY_CAP_BYTES: usize = 256 * 1024;

/// A service that wants to be left alone for longer is asked after this time all the same.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// The version of Anthropic's API that this speaks.
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// A model's service. Cloning is cheap and shares the connections.
#[derive(Debug, Clone)]
pub struct Service {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    http: reqwest::Client,
    url: Url,
    /// The key is marked as sensitive in here.
    headers: HeaderMap,
    key: Option<Secret>,
    api: Api,
    model: String,
    timeout: Duration,
    habits: Mutex<Habits>,
}

/// What came back, whatever its status is.
struct Answer {
    status: StatusCode,
    retry_after: Option<Duration>,
    body: Vec<u8>,
}

impl Service {
    /// Makes a client for a provider that is a service; nothing is sent yet.
    ///
    /// # Errors
    /// Where no model or address is given, or one of what is given cannot be used.
    pub fn new(config: &AiConfig) -> Result<Self, ServiceError> {
        let api = match config.provider {
            AiProvider::Claude => Api::Anthropic,
            AiProvider::OpenAi => Api::OpenAi,
            AiProvider::Ollama => Api::Ollama,
            AiProvider::Rules | AiProvider::Model => return Err(ServiceError::NotNamed),
        };
        let (Some(model), Some(endpoint)) = (&config.model, &config.endpoint) else {
            return Err(ServiceError::NotNamed);
        };
        let url = address(endpoint, api)?;
        let tls =
            crate::prometheus::tls(url.scheme() == "https").map_err(|why| ServiceError::Client { why })?;
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("leverd/", env!("CARGO_PKG_VERSION")))
            .timeout(config.timeout)
            .connect_timeout(config.timeout)
            .pool_max_idle_per_host(1)
            .redirect(reqwest::redirect::Policy::none())
            .tls_backend_preconfigured(tls);
        if is_loopback(&url) {
            // HTTP_PROXY without NO_PROXY would send what is meant for this host elsewhere.
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| ServiceError::Client { why: chain(&error) })?;
        let shared = Shared {
            http,
            url,
            headers: headers(api, config.api_key.as_ref())?,
            key: config.api_key.clone(),
            api,
            model: model.clone(),
            timeout: config.timeout,
            habits: Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Whose form its requests and answers have.
    pub fn api(&self) -> Api {
        self.shared.api
    }

    /// The model that is asked.
    pub fn model(&self) -> &str {
        &self.shared.model
    }

    /// Asks once, and waits at most as long as is configured. May be dropped at any time.
    ///
    /// # Errors
    /// Where there is no answer, or one that is an error, too long or no JSON.
    pub async fn ask(&self, body: &Value) -> Result<Value, AskError> {
        let after = self.shared.timeout;
        match tokio::time::timeout(after, self.exchange(body)).await {
            Ok(answer) => answer,
            Err(_) => Err(AskError::Timeout { after }),
        }
    }

    /// Sends the question, and again as long as the service's refusal teaches something: at most three times.
    async fn exchange(&self, body: &Value) -> Result<Value, AskError> {
        let mut habits = *self.shared.habits.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let answer = self.send(&habits.applied(body)).await?;
            if answer.status.is_success() {
                // Kept only where it helped.
                *self.shared.habits.lock().unwrap_or_else(PoisonError::into_inner) = habits;
                return serde_json::from_slice(&answer.body).map_err(|_| AskError::NotJson {
                    begins: self.clean(&String::from_utf8_lossy(&answer.body)),
                });
            }
            let words = String::from_utf8_lossy(&answer.body);
            match habits.after(answer.status.as_u16(), &words, body) {
                Some(learned) => habits = learned,
                None => return Err(self.refusal(&answer)),
            }
        }
    }

    async fn send(&self, body: &Value) -> Result<Answer, AskError> {
        let shared = &*self.shared;
        let request = shared.http.post(shared.url.clone()).headers(shared.headers.clone()).json(body);
        let mut response = request.send().await.map_err(|error| self.failed(error))?;
        let (status, retry_after) = (response.status(), retry_after(response.headers()));
        let body = match self.body(&mut response).await {
            Ok(body) => body,
            Err(error) if status.is_success() => return Err(error),
            // Beside an error's status its words are a courtesy.
            Err(_) => Vec::new(),
        };
        Ok(Answer { status, retry_after, body })
    }

    /// Reads the body up to the cap.
    async fn body(&self, response: &mut Response) -> Result<Vec<u8>, AskError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(error))? {
            if body.len() + chunk.len() > BODY_CAP_BYTES {
                return Err(AskError::TooLarge { most_bytes: BODY_CAP_BYTES });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn refusal(&self, answer: &Answer) -> AskError {
        let (status, retry_after) = (answer.status.as_u16(), answer.retry_after);
        let said = said(&answer.body, self.shared.key.as_ref());
        match status {
            429 => AskError::Busy { retry_after },
            // 408 and 425 pass; 529 is Anthropic's "overloaded".
            408 | 425 | 500.. => AskError::Server { status, said, retry_after },
            _ => AskError::Misconfigured { status, said },
        }
    }

    fn failed(&self, error: reqwest::Error) -> AskError {
        if error.is_timeout() {
            return AskError::Timeout { after: self.shared.timeout };
        }
        let is_unreachable = error.is_connect();
        // The address may hold a password.
        let why = self.clean(&chain(&error.without_url()));
        if is_unreachable { AskError::Unreachable { why } } else { AskError::BrokeOff { why } }
    }

    fn clean(&self, text: &str) -> String {
        clean(text, self.shared.key.as_ref())
    }
}

/// Where a call goes: the base with the call's path behind it. A base that names a version is not given another.
fn address(endpoint: &str, api: Api) -> Result<Url, ServiceError> {
    let bad = |why: String| ServiceError::BadAddress { why };
    let mut url = Url::parse(endpoint.trim()).map_err(|error| bad(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(bad("it does not begin with http:// or https:// and a host".to_owned()));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    let last = path.rsplit('/').next().unwrap_or_default();
    let call = match api {
        Api::Anthropic if is_version(last) => "/messages",
        Api::Anthropic => "/v1/messages",
        // Gateways have more behind the version: `/v1beta/openai`, `/v1/account/gateway/openai`.
        Api::OpenAi if path.split('/').any(is_version) => "/chat/completions",
        Api::OpenAi => "/v1/chat/completions",
        Api::Ollama if last == "api" => "/chat",
        Api::Ollama => "/api/chat",
    };
    url.set_path(&format!("{path}{call}"));
    Ok(url)
}

/// `v1`, `v4`, `v1beta`.
fn is_version(segment: &str) -> bool {
    segment.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn headers(api: Api, key: Option<&Secret>) -> Result<HeaderMap, ServiceError> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    if api == Api::Anthropic {
        headers.insert(
            HeaderName::from_static("anthropic-version"),
            HeaderValue::from_static(ANTHROPIC_VERSION),
        );
    }
    let Some(key) = key else { return Ok(headers) };
    let (name, text) = match api {
        Api::Anthropic => (HeaderName::from_static("x-api-key"), key.expose().to_owned()),
        // An Ollama of one's own asks for none; one behind a proxy, or in the cloud, does.
        Api::OpenAi | Api::Ollama => (AUTHORIZATION, format!("Bearer {}", key.expose())),
    };
    let mut value = HeaderValue::from_str(&text).map_err(|_| ServiceError::BadKey)?;
    value.set_sensitive(true);
    headers.insert(name, value);
    Ok(headers)
}

/// How long the service wants not to be asked: seconds, or a date by its own clock.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let wanted = text_of(headers, RETRY_AFTER)?;
    if let Ok(seconds) = wanted.parse::<f64>() {
        let longest = LONGEST_WAIT.as_secs_f64();
        return (seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(longest)));
    }
    let until = DateTime::parse_from_rfc2822(wanted).ok()?;
    let now = DateTime::parse_from_rfc2822(text_of(headers, DATE)?).ok()?;
    let wait = until.signed_duration_since(now).to_std().unwrap_or(Duration::ZERO);
    Some(wait.min(LONGEST_WAIT))
}

fn text_of(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    Some(headers.get(name)?.to_str().ok()?.trim())
}

#[cfg(test)]
mod tests;
