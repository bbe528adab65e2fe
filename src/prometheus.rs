//! A thin client for Prometheus' HTTP API: instant queries, range queries, firing alerts. It knows nothing of tuning.
//!
//! In: PromQL and a time. Out: samples whose value is a finite number or `None` (NaN, ±Inf, a native histogram),
//! or an error that says in plain words what is wrong with the address, the server or the query.
//!
//! Always holds: every request ends within the configured timeout, reads at most [`BODY_CAP_BYTES`] and keeps at
//! most [`SERIES_CAP`] series; a redirect never leaves the configured host; no error or log shows a credential.
//!
//! It speaks HTTP through reqwest itself rather than through `prometheus-http-query`: that crate drops `warnings`
//! (a partial answer of Thanos looks whole), knows whole seconds only (the sandbox scrapes every second and its
//! windows need milliseconds), and reports an HTML page as a JSON error.

mod answer;
mod error;

pub use answer::{RangeSeries, Sample};
pub use error::PrometheusError;

use crate::config::{PrometheusConfig, Secret};
use crate::model::{Alert, Symptom};
use answer::{Data, Envelope};
use chrono::{DateTime, Utc};
use reqwest::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use reqwest::{Response, Url, redirect};
use rustls::pki_types::CertificateDer;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// No answer larger than this is read, bytes.
pub const BODY_CAP_BYTES: usize = 8 << 20;
/// No answer with more series than this is used: a signal is one number, so such a query lacks an aggregation.
pub const SERIES_CAP: usize = 1000;
/// Prometheus refuses a range query with more points than this.
pub const POINTS_CAP: i64 = 11_000;
/// More than a tick uses at once, else it would close one and open another at each tick.
const IDLE_CONNECTIONS: usize = 8;
/// Redirects that stay on the host are followed this often.
const REDIRECTS: usize = 3;
/// Warnings that were logged once are remembered up to this number.
const WARNINGS_REMEMBERED: usize = 64;

/// A client for one Prometheus. Cloning is cheap and shares the connections.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    http: reqwest::Client,
    base: Url,
    /// The base for people, without user and password.
    at: String,
    timeout: Duration,
    auth: Option<Auth>,
    warned: Mutex<BTreeSet<String>>,
}

#[derive(Debug)]
enum Auth {
    Basic(String, Secret),
    Bearer(Secret),
}

impl Client {
    /// Makes a client; nothing is sent yet.
    pub fn new(config: &PrometheusConfig) -> Result<Self, PrometheusError> {
        let (base, in_url) = base_of(&config.url)?;
        let at = base.as_str().trim_end_matches('/').to_owned();
        let bad = |why: String| PrometheusError::BadAddress { url: at.clone(), why };
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("leverd/", env!("CARGO_PKG_VERSION")))
            .timeout(config.timeout)
            .connect_timeout(config.timeout)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .redirect(stay_on_host())
            .tls_backend_preconfigured(tls(base.scheme() == "https").map_err(bad)?);
        if is_loopback(&base) {
            // HTTP_PROXY without NO_PROXY would send requests for this host elsewhere.
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| bad(error::chain(&error)))?;
        let auth = match (&config.bearer_token, &config.basic_auth) {
            (Some(token), _) => Some(Auth::Bearer(token.clone())),
            (None, Some((user, password))) => Some(Auth::Basic(user.clone(), password.clone())),
            (None, None) => in_url,
        };
        let warned = Mutex::default();
        Ok(Self { shared: Arc::new(Shared { http, base, at, timeout: config.timeout, auth, warned }) })
    }

    /// The address that it asks, without credentials.
    pub fn at(&self) -> &str {
        &self.shared.at
    }

    /// Evaluates `expr` at one moment: one sample for each series, none where nothing matches.
    pub async fn query(&self, expr: &str, at: DateTime<Utc>) -> Result<Vec<Sample>, PrometheusError> {
        let time = seconds(at);
        let data = self.ask("api/v1/query", expr, &[("time", &time)]).await?;
        Ok(data.into_samples())
    }

    /// Evaluates `expr` at `from`, `from + step`, … up to `to`. At most [`POINTS_CAP`] points.
    pub async fn query_range(
        &self,
        expr: &str,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        step: Duration,
    ) -> Result<Vec<RangeSeries>, PrometheusError> {
        let step_ms = i64::try_from(step.as_millis()).unwrap_or(i64::MAX).max(1);
        let points = (to - from).num_milliseconds() / step_ms + 1;
        if points > POINTS_CAP {
            let what = format!("{points} points, and Prometheus answers at most {POINTS_CAP}");
            return Err(PrometheusError::TooLarge { query: expr.to_owned(), what });
        }
        let (start, end, step) = (seconds(from), seconds(to), seconds_of_ms(step_ms));
        let limits = [("start", start.as_str()), ("end", &end), ("step", &step)];
        Ok(self.ask("api/v1/query_range", expr, &limits).await?.into_series())
    }

    /// The alerts that fire at `at` and carry the label `name="value"`, with the time since when they are active.
    ///
    /// Asked through `ALERTS` and `ALERTS_FOR_STATE`, which also exist behind Thanos, Mimir and remote storage.
    pub async fn alerts_firing(
        &self,
        (name, value): (&str, &str),
        at: DateTime<Utc>,
    ) -> Result<Vec<Alert>, PrometheusError> {
        let value = value.replace('\\', r"\\").replace('"', "\\\"");
        let expr = format!(
            "ALERTS_FOR_STATE{{{name}=\"{value}\"}} and ignoring(alertstate) \
             ALERTS{{alertstate=\"firing\",{name}=\"{value}\"}}"
        );
        let mut alerts: Vec<Alert> = self
            .query(&expr, at)
            .await?
            .into_iter()
            .filter_map(|sample| {
                let since_ms = sample.value? * 1000.0;
                let active_since = DateTime::from_timestamp_millis(since_ms as i64)?;
                let symptom = sample.labels.get("symptom").map(|symptom| Symptom::new(symptom.clone()));
                Some(Alert { name: sample.labels.get("alertname")?.clone(), active_since, symptom })
            })
            .collect();
        alerts.sort_by(|a, b| (&a.name, a.active_since).cmp(&(&b.name, b.active_since)));
        alerts.dedup();
        Ok(alerts)
    }

    /// Whether queries are answered now. Asks a query and not `/-/ready`: that one is not everywhere, and any web
    /// server may answer it.
    pub async fn ready(&self) -> Result<(), PrometheusError> {
        self.ask("api/v1/query", "vector(1)", &[]).await.map(drop)
    }

    async fn ask(&self, path: &str, expr: &str, more: &[(&str, &str)]) -> Result<Data, PrometheusError> {
        let shared = &*self.shared;
        let mut url = shared.base.join(path).expect("a constant relative path joins any base");
        url.query_pairs_mut()
            .append_pair("query", expr)
            // Prometheus stops evaluating when nobody waits for the answer any more.
            .append_pair("timeout", &format!("{}ms", shared.timeout.as_millis()))
            .extend_pairs(more);
        let mut request = shared.http.get(url).header(ACCEPT, "application/json");
        request = match &shared.auth {
            Some(Auth::Basic(user, password)) => request.basic_auth(user, Some(password.expose())),
            Some(Auth::Bearer(token)) => request.bearer_auth(token.expose()),
            None => request,
        };
        let mut response = request.send().await.map_err(|error| self.failed(error))?;
        let body = self.body(&mut response, expr).await?;
        self.read(&response, &body, expr)
    }

    /// Reads the body up to the cap.
    async fn body(&self, response: &mut Response, expr: &str) -> Result<Vec<u8>, PrometheusError> {
        let too_large = || PrometheusError::TooLarge {
            query: expr.to_owned(),
            what: format!("more than {} MiB, and no more is read", BODY_CAP_BYTES >> 20),
        };
        if response.content_length().is_some_and(|length| length > BODY_CAP_BYTES as u64) {
            return Err(too_large());
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(error))? {
            if body.len() + chunk.len() > BODY_CAP_BYTES {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn read(&self, response: &Response, body: &[u8], expr: &str) -> Result<Data, PrometheusError> {
        let at = || self.shared.at.clone();
        let status = response.status();
        let parsed: Result<Envelope, serde_json::Error> = serde_json::from_slice(body);
        if let Ok(envelope) = &parsed
            && envelope.is_query_error()
        {
            return Err(PrometheusError::BadQuery {
                query: expr.to_owned(),
                said: error::words(envelope.error.as_bytes()),
            });
        }
        if !status.is_success() {
            let said = match &parsed {
                Ok(envelope) if !envelope.error.is_empty() => error::words(envelope.error.as_bytes()),
                _ if status.is_redirection() => redirect_target(response),
                _ => error::words(body),
            };
            return Err(PrometheusError::Status { at: at(), status: status.as_u16(), said });
        }
        let envelope = parsed.map_err(|error| match error.classify() {
            serde_json::error::Category::Eof if body.first() == Some(&b'{') => {
                PrometheusError::Broken { at: at(), why: format!("its JSON ends early: {error}") }
            }
            _ => PrometheusError::NotPrometheus {
                at: at(),
                content_type: header(response, CONTENT_TYPE).unwrap_or_else(|| "no content type".to_owned()),
                begins: error::words(body),
            },
        })?;
        self.pass_on(&envelope, expr);
        let Some(data) = envelope.data.filter(|_| envelope.status == "success") else {
            let said = format!("{} {}", envelope.status, error::words(envelope.error.as_bytes()));
            return Err(PrometheusError::Status { at: at(), status: status.as_u16(), said });
        };
        if data.series_seen() > SERIES_CAP {
            let what = format!("{} series, and at most {SERIES_CAP} are used", data.series_seen());
            return Err(PrometheusError::TooLarge { query: expr.to_owned(), what });
        }
        Ok(data)
    }

    /// Logs what Prometheus warns of, each text once: the same query is asked every tick.
    fn pass_on(&self, envelope: &Envelope, expr: &str) {
        for info in &envelope.infos {
            tracing::debug!(prometheus.query = expr, "Prometheus remarks: {info}");
        }
        for warning in &envelope.warnings {
            let mut warned = self.shared.warned.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if warned.len() < WARNINGS_REMEMBERED && warned.insert(warning.clone()) {
                tracing::warn!(prometheus.query = expr, "Prometheus warns: {warning}");
            }
        }
    }

    fn failed(&self, error: reqwest::Error) -> PrometheusError {
        let at = self.shared.at.clone();
        if error.is_timeout() {
            return PrometheusError::Timeout { at, after: self.shared.timeout };
        }
        // The URL in reqwest's text would repeat the whole query.
        let broke_off = error.is_body() || error.is_decode();
        let why = error::chain(&error.without_url());
        if broke_off { PrometheusError::Broken { at, why } } else { PrometheusError::Unreachable { at, why } }
    }
}

/// The base address with one trailing slash, so that paths join below it, and the credentials that stood in it.
fn base_of(url: &str) -> Result<(Url, Option<Auth>), PrometheusError> {
    let bad = |why: &str| PrometheusError::BadAddress { url: without_userinfo(url), why: why.to_owned() };
    let mut base = Url::parse(url).map_err(|error| bad(&error.to_string()))?;
    if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
        return Err(bad("it does not begin with http:// or https:// and a host"));
    }
    let in_url = (!base.username().is_empty())
        .then(|| Auth::Basic(base.username().to_owned(), Secret::new(base.password().unwrap_or_default())));
    let stripped = base.set_username("").and_then(|()| base.set_password(None));
    stripped.map_err(|()| bad("its user and password cannot be read"))?;
    base.set_query(None);
    base.set_fragment(None);
    let path = format!("{}/", base.path().trim_end_matches('/'));
    base.set_path(&path);
    Ok((base, in_url))
}

/// For an address that cannot be parsed, and so cannot be stripped by the parser.
fn without_userinfo(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 <= at => format!("{}…{}", &url[..scheme + 3], &url[at..]),
        (None, Some(at)) => format!("…{}", &url[at..]),
        _ => url.to_owned(),
    }
}

fn is_loopback(base: &Url) -> bool {
    let host = base.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A login page elsewhere is not Prometheus, and credentials stay where they were configured for.
fn stay_on_host() -> redirect::Policy {
    redirect::Policy::custom(|attempt| {
        let stays = attempt.previous().first().is_some_and(|first| first.origin() == attempt.url().origin());
        if stays && attempt.previous().len() <= REDIRECTS { attempt.follow() } else { attempt.stop() }
    })
}

fn redirect_target(response: &Response) -> String {
    let target = header(response, LOCATION).and_then(|to| response.url().join(&to).ok());
    match target {
        Some(to) => format!("it redirects to {}{}", to.origin().ascii_serialization(), to.path()),
        None => "it redirects nowhere".to_owned(),
    }
}

fn header(response: &Response, name: reqwest::header::HeaderName) -> Option<String> {
    Some(response.headers().get(name)?.to_str().ok()?.to_owned())
}

/// The system's certificates are read only where they are used: they cost milliseconds and memory.
/// ring's TLS, with this host's certificate authorities where they are needed.
pub(crate) fn tls(with_roots: bool) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    if with_roots {
        let found: Vec<CertificateDer<'static>> = rustls_native_certs::load_native_certs().certs;
        roots.add_parsable_certificates(found);
        if roots.is_empty() {
            return Err("this host has no certificate authorities to check https with".to_owned());
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring supports the default protocol versions")
        .with_root_certificates(roots)
        .with_no_client_auth())
}

fn seconds(at: DateTime<Utc>) -> String {
    seconds_of_ms(at.timestamp_millis())
}

fn seconds_of_ms(ms: i64) -> String {
    format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000))
}

/// How PromQL writes a duration: `5m`, `90s`, `1500ms`.
pub fn duration_text(duration: Duration) -> String {
    const UNITS: [(u128, &str); 4] = [(3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")];
    let ms = duration.as_millis().max(1);
    let (size, unit) = UNITS.into_iter().find(|(size, _)| ms.is_multiple_of(*size)).unwrap_or((1, "ms"));
    format!("{}{unit}", ms / size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_promql() {
        let text = |ms| duration_text(Duration::from_millis(ms));
        assert_eq!(
            [text(300_000), text(90_000), text(1500), text(3_600_000), text(2000), text(0)],
            ["5m", "90s", "1500ms", "1h", "2s", "1ms"]
        );
    }

    #[test]
    fn the_base_keeps_its_path_and_loses_its_credentials() {
        let (base, auth) = base_of("https://me:hunter2@metrics.example/prom//?x=1").unwrap();
        assert_eq!(base.as_str(), "https://metrics.example/prom/");
        assert_eq!(base.join("api/v1/query").unwrap().as_str(), "https://metrics.example/prom/api/v1/query");
        assert!(
            matches!(auth, Some(Auth::Basic(user, password)) if user == "me" && password.expose() == "hunter2")
        );
    }

    #[test]
    fn a_bad_address_is_said_without_its_password() {
        let error = base_of("http://me:hunter2@:90x/").unwrap_err();
        insta::assert_snapshot!(error, @"the Prometheus address http://…@:90x/ cannot be used: empty host");
        let error = base_of("localhost:9090").unwrap_err();
        insta::assert_snapshot!(error, @"the Prometheus address localhost:9090 cannot be used: it does not begin with http:// or https:// and a host");
        let error = base_of("me:hunter2@prom:9090").unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn times_have_milliseconds() {
        let at = DateTime::from_timestamp_millis(1_700_000_000_042).unwrap();
        assert_eq!(seconds(at), "1700000000.042");
    }
}
