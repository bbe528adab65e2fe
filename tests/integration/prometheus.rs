//! The Prometheus client against the real program, and against everything that may stand in its place.

use crate::support::config;
use crate::support::http::{TinyHttp, response};
use crate::support::postgres::free_port;
use crate::support::prometheus::{PrivatePrometheus, exporter, scraping};
use chrono::{DateTime, TimeDelta, Utc};
use leverd::config::Secret;
use leverd::prometheus::{BODY_CAP_BYTES, Client, PrometheusError, SERIES_CAP, Sample};
use std::io::Write;
use std::time::{Duration, Instant};

const PATIENT: Duration = Duration::from_secs(10);
const HASTY: Duration = Duration::from_millis(300);

fn client(url: &str, timeout: Duration) -> Client {
    Client::new(&config::prometheus(url, timeout)).unwrap()
}

async fn ask(url: &str, timeout: Duration) -> Result<Vec<Sample>, PrometheusError> {
    client(url, timeout).query("up", DateTime::default()).await
}

/// The error's text and hint, its port replaced.
async fn complaint(server: &TinyHttp, timeout: Duration) -> String {
    let error = ask(&server.url(), timeout).await.unwrap_err();
    format!("{error}\nhint: {}", error.hint()).replace(&server.port.to_string(), "PORT")
}

#[expect(clippy::disallowed_methods, reason = "a real Prometheus lives in real time")]
fn now() -> DateTime<Utc> {
    Utc::now()
}

#[tokio::test]
async fn down() {
    let port = free_port();
    let error = ask(&format!("http://127.0.0.1:{port}"), PATIENT).await.unwrap_err();
    assert!(matches!(error, PrometheusError::Unreachable { .. }), "{error}");
    let text = error.to_string().replace(&port.to_string(), "PORT");
    assert!(text.starts_with("Prometheus at http://127.0.0.1:PORT does not answer: "), "{text}");
    assert!(text.contains("refused"), "{text}");
}

#[tokio::test]
async fn hangs() {
    let server = TinyHttp::start(|_, connection| drop(std::io::copy(connection, &mut std::io::sink())));
    insta::assert_snapshot!(complaint(&server, HASTY).await, @r#"
    Prometheus at http://127.0.0.1:PORT did not answer within 0.3 s
    hint: is Prometheus overloaded? a longer `prometheus.timeout` or a cheaper query helps
    "#);
}

#[tokio::test]
async fn drips() {
    let server = TinyHttp::start(|_, connection| {
        let mut part =
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99999\r\n\r\n{\"";
        while connection.write_all(part.as_bytes()).is_ok() {
            std::thread::sleep(Duration::from_millis(50));
            part = "x";
        }
    });
    insta::assert_snapshot!(complaint(&server, HASTY).await, @r#"
    Prometheus at http://127.0.0.1:PORT did not answer within 0.3 s
    hint: is Prometheus overloaded? a longer `prometheus.timeout` or a cheaper query helps
    "#);
}

#[tokio::test]
async fn hangs_up_without_a_word() {
    let server = TinyHttp::start(|_, _| {});
    let error = ask(&server.url(), PATIENT).await.unwrap_err();
    assert!(matches!(error, PrometheusError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn speaks_no_http() {
    let server = TinyHttp::start(|_, connection| drop(connection.write_all(b"SSH-2.0-OpenSSH_9.2\r\n")));
    let error = ask(&server.url(), PATIENT).await.unwrap_err();
    assert!(matches!(error, PrometheusError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("invalid HTTP"), "{error}");
}

#[tokio::test]
async fn refuses_the_password() {
    let server = TinyHttp::fixed("401 Unauthorized", "text/plain", "Unauthorized\n");
    insta::assert_snapshot!(complaint(&server, PATIENT).await, @r#"
    Prometheus at http://127.0.0.1:PORT answers 401: Unauthorized
    hint: check `prometheus.basic_auth` or `prometheus.bearer_token`
    "#);
}

#[tokio::test]
async fn is_elsewhere() {
    let server = TinyHttp::fixed("404 Not Found", "text/plain", "404 page not found\n");
    insta::assert_snapshot!(complaint(&server, PATIENT).await, @r#"
    Prometheus at http://127.0.0.1:PORT answers 404: 404 page not found
    hint: `prometheus.url` is the base address, e.g. http://host:9090 or https://host/prometheus, without /api/v1
    "#);
}

#[tokio::test]
async fn is_starting() {
    let server = TinyHttp::fixed("503 Service Unavailable", "text/plain", "Service Unavailable");
    insta::assert_snapshot!(complaint(&server, PATIENT).await, @r#"
    Prometheus at http://127.0.0.1:PORT answers 503: Service Unavailable
    hint: it may be starting or overloaded; leverd asks again at the next tick
    "#);
}

#[tokio::test]
async fn a_proxy_fails_with_a_page() {
    let page = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body><hr>nginx</body></html>";
    let server = TinyHttp::fixed("502 Bad Gateway", "text/html", page);
    insta::assert_snapshot!(complaint(&server, PATIENT).await, @r#"
    Prometheus at http://127.0.0.1:PORT answers 502: 502 Bad Gateway nginx
    hint: it may be starting or overloaded; leverd asks again at the next tick
    "#);
}

#[tokio::test]
async fn times_out_by_itself() {
    let body =
        r#"{"status":"error","errorType":"timeout","error":"query timed out in expression evaluation"}"#;
    let server = TinyHttp::fixed("503 Service Unavailable", "application/json", body);
    insta::assert_snapshot!(complaint(&server, PATIENT).await, @r#"
    Prometheus at http://127.0.0.1:PORT answers 503: query timed out in expression evaluation
    hint: it may be starting or overloaded; leverd asks again at the next tick
    "#);
}

#[tokio::test]
async fn an_html_page() {
    let page =
        "<!DOCTYPE html>\n<html lang=\"en\"><head><title>Grafana</title></head><body>Log in</body></html>";
    let server = TinyHttp::fixed("200 OK", "text/html; charset=UTF-8", page);
    insta::assert_snapshot!(complaint(&server, PATIENT).await, @r#"
    what answers at http://127.0.0.1:PORT is not Prometheus' API: text/html; charset=UTF-8, beginning with "Grafana Log in"
    hint: a login page or another service? `prometheus.url` must be Prometheus' own base address
    "#);
}

#[tokio::test]
async fn anothers_json() {
    let server = TinyHttp::json(r#"{"message":"hello"}"#);
    insta::assert_snapshot!(complaint(&server, PATIENT).await, @r#"
    what answers at http://127.0.0.1:PORT is not Prometheus' API: application/json, beginning with "{\"message\":\"hello\"}"
    hint: a login page or another service? `prometheus.url` must be Prometheus' own base address
    "#);
}

#[tokio::test]
async fn json_cut_short() {
    let server = TinyHttp::json(r#"{"status":"success","data":{"resultType":"vector","result":[{"met"#);
    insta::assert_snapshot!(complaint(&server, PATIENT).await, @r#"
    the answer of Prometheus at http://127.0.0.1:PORT broke off: its JSON ends early: EOF while parsing a string at line 1 column 65
    hint: a proxy or a restart cut it; leverd asks again at the next tick
    "#);
}

#[tokio::test]
async fn a_body_cut_short() {
    let whole = response("200 OK", "application/json", r#"{"status":"success","data":{"result":[]}}"#);
    let server = TinyHttp::start(move |_, connection| {
        drop(connection.write_all(&whole.as_bytes()[..whole.len() - 5]));
    });
    let error = ask(&server.url(), PATIENT).await.unwrap_err();
    assert!(matches!(error, PrometheusError::Broken { .. }), "{error}");
}

#[tokio::test]
async fn nothing_and_not_a_number() {
    let server = TinyHttp::json(r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#);
    assert_eq!(ask(&server.url(), PATIENT).await.unwrap(), []);
    let server = TinyHttp::json(
        r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"NaN"]}]}}"#,
    );
    assert_eq!(ask(&server.url(), PATIENT).await.unwrap()[0].value, None);
}

#[tokio::test]
async fn ten_thousand_series() {
    let series: Vec<_> =
        (0..10_000).map(|i| format!(r#"{{"metric":{{"i":"{i}"}},"value":[1,"{i}"]}}"#)).collect();
    let body =
        format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{}]}}}}"#, series.join(","));
    let server = TinyHttp::json(&body);
    insta::assert_snapshot!(complaint(&server, PATIENT).await, @r#"
    the answer to `up` is too large: 10000 series, and at most 1000 are used
    hint: aggregate it to one series, e.g. max by (instance) (…), or narrow its labels
    "#);
}

#[tokio::test]
async fn a_flood_is_not_read() {
    let announced = TinyHttp::start(|_, connection| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", BODY_CAP_BYTES + 1);
        drop(connection.write_all(head.as_bytes()));
    });
    let endless = TinyHttp::start(|_, connection| {
        let chunk = format!("{:x}\r\n{}\r\n", 65536, " ".repeat(65536));
        let mut part = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        while connection.write_all(part.as_bytes()).is_ok() {
            part = &chunk;
        }
    });
    for server in [announced, endless] {
        let error = ask(&server.url(), PATIENT).await.unwrap_err();
        assert!(matches!(error, PrometheusError::TooLarge { .. }), "{error}");
        assert!(error.to_string().contains("more than 8 MiB"), "{error}");
    }
}

#[tokio::test]
async fn a_redirect_stays_on_the_host() {
    let elsewhere = TinyHttp::json(r#"{"status":"success","data":{"result":[]}}"#);
    let target = elsewhere.url();
    let server = TinyHttp::start(move |_, connection| {
        let answer = format!(
            "HTTP/1.1 302 Found\r\nLocation: {target}/login?next=secret\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        drop(connection.write_all(answer.as_bytes()));
    });
    let text = complaint(&server, PATIENT).await.replace(&elsewhere.port.to_string(), "OTHER");
    insta::assert_snapshot!(text, @r#"
    Prometheus at http://127.0.0.1:PORT answers 302: it redirects to http://127.0.0.1:OTHER/login
    hint: leverd follows no redirect to another host: set `prometheus.url` to where Prometheus itself is
    "#);
    assert!(elsewhere.requests().is_empty());

    let server = TinyHttp::start(|head, connection| {
        let answer = if head.starts_with("GET /moved/") {
            response("200 OK", "application/json", r#"{"status":"success","data":{"result":[1,"2"]}}"#)
        } else {
            "HTTP/1.1 308 Moved\r\nLocation: /moved/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                .to_owned()
        };
        drop(connection.write_all(answer.as_bytes()));
    });
    assert_eq!(ask(&server.url(), PATIENT).await.unwrap()[0].value, Some(2.0));
}

#[tokio::test]
async fn credentials_are_sent_and_never_shown() {
    let server = TinyHttp::fixed("403 Forbidden", "text/plain", "no");
    let mut settings = config::prometheus(&server.url(), PATIENT);
    settings.basic_auth = Some(("reader".to_owned(), Secret::new("hunter2")));
    let basic = Client::new(&settings).unwrap();
    settings.bearer_token = Some(Secret::new("hunter2"));
    let bearer = Client::new(&settings).unwrap();
    let in_url = client(&format!("http://reader:hunter2@127.0.0.1:{}/prom/", server.port), PATIENT);
    for client in [basic, bearer, in_url] {
        let error = client.ready().await.unwrap_err();
        assert!(!format!("{error} {error:?} {client:?}").contains("hunter2"), "{error:?} {client:?}");
    }
    let sent: Vec<String> = server
        .requests()
        .iter()
        .flat_map(|head| head.lines().filter(|line| line.to_lowercase().starts_with("authorization")))
        .map(|line| line.split_once(": ").unwrap().1.to_owned())
        .collect();
    assert_eq!(sent, ["Basic cmVhZGVyOmh1bnRlcjI=", "Bearer hunter2", "Basic cmVhZGVyOmh1bnRlcjI="]);
    assert!(server.requests()[2].starts_with("GET /prom/api/v1/query?"), "{:?}", server.requests());
}

#[tokio::test]
async fn the_real_one_answers_queries() {
    let server = PrivatePrometheus::start("", &[]);
    let client = client(&server.url(), PATIENT);
    client.ready().await.unwrap();
    let at = now();
    let samples = client.query("vector(2) * 3", at).await.unwrap();
    assert_eq!(samples[0].value, Some(6.0));
    assert_eq!(samples[0].at.timestamp_millis(), at.timestamp_millis());
    assert_eq!(client.query("1/4", at).await.unwrap()[0].value, Some(0.25));
    assert_eq!(client.query("vector(0)/0", at).await.unwrap()[0].value, None);
    assert_eq!(client.query("no_such_metric", at).await.unwrap(), []);

    let step = Duration::from_millis(250);
    let series = client.query_range("time()", at, at + TimeDelta::seconds(2), step).await.unwrap();
    assert_eq!(series[0].points.len(), 9);
    assert_eq!(series[0].points[1].0 - series[0].points[0].0, TimeDelta::milliseconds(250));

    let error = client.query("sum(rate(x[5m])", at).await.unwrap_err();
    insta::assert_snapshot!(error, @r#"Prometheus cannot evaluate `sum(rate(x[5m])`: invalid parameter "query": 1:16: parse error: unclosed left parenthesis"#);
    let error = client.query("count_values(\"x\", {__name__!=\"\"}", at).await.unwrap_err();
    assert!(matches!(error, PrometheusError::BadQuery { .. }), "{error}");
    let error = client.query_range("up", at, at + TimeDelta::days(1), step).await.unwrap_err();
    insta::assert_snapshot!(error, @"the answer to `up` is too large: 345601 points, and Prometheus answers at most 11000");
}

#[tokio::test]
async fn the_real_one_tells_firing_alerts_and_refuses_a_wide_query() {
    let page = (0..=SERIES_CAP).map(|i| format!("wide{{i=\"{i}\"}} 1\n")).collect::<String>();
    let target = exporter(move |_| page.clone());
    let rules = "groups:\n- name: test\n  rules:\n\
        \x20 - {alert: WalSpikes, expr: 'up == 1', labels: {tuning_trigger: true}}\n\
        \x20 - {alert: Pending, expr: 'up == 1', for: 1h, labels: {tuning_trigger: true}}\n\
        \x20 - {alert: NotOurs, expr: 'up == 1'}\n";
    let begun = now();
    let server = PrivatePrometheus::start(&scraping(&target, "250ms"), &[("rules.yml", rules)]);
    let client = client(&server.url(), PATIENT);
    let deadline = Instant::now() + Duration::from_secs(30);
    let alerts = loop {
        let alerts = client.alerts_firing(("tuning_trigger", "true"), now()).await.unwrap();
        if !alerts.is_empty() {
            break alerts;
        }
        assert!(Instant::now() < deadline, "no alert fires");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(alerts.iter().map(|alert| alert.name.as_str()).collect::<Vec<_>>(), ["WalSpikes"]);
    assert!(alerts[0].active_since > begun - TimeDelta::seconds(1) && alerts[0].active_since <= now());
    assert_eq!(client.alerts_firing(("tuning_trigger", "\"} or x{\\"), now()).await.unwrap(), []);

    let error = client.query("wide", now()).await.unwrap_err();
    insta::assert_snapshot!(error, @"the answer to `wide` is too large: 1001 series, and at most 1000 are used");
}
