//! Alertmanager's webhook: who may send, what is taken, what is refused, and clients that mean no good.

use leverd::api::{ApiState, Limits, Readiness, Taken, Token, serve_with};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const TOKEN: &str = "0123456789abcdef0123";
const DEADLINE: Duration = Duration::from_secs(30);
/// Longer than any test here: nobody is shown out for being slow.
const PATIENT: Limits = Limits {
    connections: 64,
    head_timeout: Duration::from_mins(5),
    write_timeout: Duration::from_mins(5),
    drain: Duration::from_secs(5),
};

const BODY: &str = r#"{"version":"4","groupKey":"{}:{alertname=\"WalSpikes\"}","truncatedAlerts":0,"status":"firing",
"receiver":"leverd","groupLabels":{"alertname":"WalSpikes"},"commonLabels":{"alertname":"WalSpikes"},
"commonAnnotations":{},"externalURL":"http://alertmanager:9093","alerts":[{"status":"firing","labels":
{"alertname":"WalSpikes","tuning_trigger":"true","severity":"warning"},"annotations":{"summary":"WAL"},
"startsAt":"2026-01-02T03:04:05.678Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://prometheus/graph",
"fingerprint":"a5ce87f2b2d6a3c1"}]}"#;

struct Server {
    at: SocketAddr,
    taken: Arc<Mutex<Vec<String>>>,
    refused: Arc<AtomicUsize>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(token: Option<&str>, guarded: bool) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let at = listener.local_addr().unwrap();
        let (taken, refused) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicUsize>::default());
        let (names, count) = (Arc::clone(&taken), Arc::clone(&refused));
        let readiness = || Readiness { ready: true, reason: "well".into() };
        let state = ApiState {
            alerts: Arc::new(move |alerts, _| {
                let accepted = alerts.len();
                let mut names = names.lock().unwrap();
                names.truncate(100);
                names.extend(alerts.into_iter().map(|alert| alert.name));
                Ok(Taken { accepted, duplicates: 0, ignored: 0 })
            }),
            refused: Arc::new(move || {
                count.fetch_add(1, Ordering::Relaxed);
            }),
            token: token.map(Token::new),
            guarded,
            ..ApiState::showing(|| "a 1\n".to_owned(), readiness)
        };
        let shutdown = CancellationToken::new();
        #[expect(clippy::disallowed_methods, reason = "the test awaits it")]
        let task = tokio::spawn(serve_with(listener, state, shutdown.clone(), PATIENT));
        Self { at, taken, refused, shutdown, task }
    }

    /// The status of a POST, and the body of its answer.
    async fn post(&self, authorization: &str, body: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(self.at).await.unwrap();
        post_on(&mut stream, authorization, body).await
    }

    async fn get(&self, path: &str, authorization: &str) -> u16 {
        let mut stream = TcpStream::connect(self.at).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{authorization}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        answer_of(&mut stream).await.0
    }

    async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(DEADLINE, self.task).await.unwrap().unwrap();
    }
}

async fn post_on(stream: &mut TcpStream, authorization: &str, body: &[u8]) -> (u16, String) {
    let head = format!(
        "POST /api/v1/alerts HTTP/1.1\r\nHost: x\r\n{authorization}Content-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    // At once: in two pieces the second would wait for the first one's acknowledgement. A refusal may come before all of
    // it was sent.
    let _ = stream.write_all(&[head.as_bytes(), body].concat()).await;
    answer_of(stream).await
}

/// One answer with a Content-Length; the connection may be used again.
async fn answer_of(stream: &mut TcpStream) -> (u16, String) {
    let read = async {
        let mut all = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            if let Some(end) = all.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&all[..end]).to_ascii_lowercase();
                let length =
                    head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                let body = end + 4 + length.unwrap_or(0_usize);
                if all.len() >= body {
                    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                    return (status, String::from_utf8_lossy(&all[end + 4..body]).into_owned());
                }
            }
            let count = stream.read(&mut buffer).await.unwrap_or(0);
            assert!(count > 0, "the answer broke off: {}", String::from_utf8_lossy(&all));
            all.extend_from_slice(&buffer[..count]);
        }
    };
    tokio::time::timeout(DEADLINE, read).await.expect("an answer")
}

fn bearer() -> String {
    format!("Authorization: Bearer {TOKEN}\r\n")
}

#[tokio::test]
async fn only_who_knows_the_token_may_send() {
    let server = Server::start(Some(TOKEN), false).await;
    let (status, answer) = server.post(&bearer(), BODY.as_bytes()).await;
    assert_eq!((status, answer.as_str()), (200, r#"{"accepted":1,"duplicates":0,"ignored":0}"#));
    assert_eq!(*server.taken.lock().unwrap(), ["WalSpikes"]);
    // printf 'alertmanager:0123456789abcdef0123' | base64
    let basic = "Authorization: Basic YWxlcnRtYW5hZ2VyOjAxMjM0NTY3ODlhYmNkZWYwMTIz\r\n";
    assert_eq!(server.post(basic, BODY.as_bytes()).await.0, 200);
    for wrong in ["", "Authorization: Bearer 0123456789abcdef0124\r\n", "Authorization: Basic x\r\n"] {
        let (status, why) = server.post(wrong, BODY.as_bytes()).await;
        assert_eq!(status, 401, "{wrong}");
        assert!(why.contains("token") && !why.contains(TOKEN), "{why}");
    }
    assert_eq!(server.get("/metrics", "").await, 200);
    assert_eq!(server.get("/api/v1/alerts", &bearer()).await, 405);
    server.stop().await;

    let without = Server::start(None, false).await;
    let (status, why) = without.post(&bearer(), BODY.as_bytes()).await;
    assert!(status == 403 && why.contains("api.token_file"), "{status} {why}");
    without.stop().await;
}

#[tokio::test]
async fn beyond_loopback_all_but_the_health_asks_for_it() {
    let server = Server::start(Some(TOKEN), true).await;
    for (path, bare, named) in
        [("/metrics", 401, 200), ("/", 401, 200), ("/healthz", 200, 200), ("/readyz", 200, 200)]
    {
        assert_eq!(server.get(path, "").await, bare, "{path}");
        assert_eq!(server.get(path, &bearer()).await, named, "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn too_much_and_nonsense_are_refused_with_a_reason() {
    let server = Server::start(Some(TOKEN), false).await;
    let padded = BODY.replace("\"WAL\"", &format!("\"{}\"", "x".repeat(1 << 20)));
    assert_eq!(server.post(&bearer(), padded.as_bytes()).await.0, 413);
    let one = BODY.split("\"alerts\":[").nth(1).unwrap().strip_suffix("]}").unwrap();
    let small = r#"{"status":"firing","startsAt":"2026-01-02T03:04:05Z"}"#;
    let many = BODY.replace(one, &vec![small; 10_001].join(","));
    let (status, why) = server.post(&bearer(), many.as_bytes()).await;
    assert!(status == 413 && why.contains("10001 alerts"), "{status} {why}");
    let (status, why) = server.post(&bearer(), b"{\"alerts\": 7}").await;
    assert!(status == 400 && why.contains("line 1 column"), "{status} {why}");
    assert_eq!(server.refused.load(Ordering::Relaxed), 2, "what is too large is not read at all");
    server.stop().await;
}

#[tokio::test]
async fn ten_thousand_random_and_mutated_bodies_break_nothing() {
    let server = Server::start(Some(TOKEN), false).await;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut statuses = std::collections::BTreeMap::<u16, u32>::new();
    let mut stream = TcpStream::connect(server.at).await.unwrap();
    for number in 0..10_000 {
        let mut body = match number % 4 {
            0 => (0..random() % 200).map(|_| random().to_le_bytes()[0]).collect(),
            _ => BODY.as_bytes().to_vec(),
        };
        for _ in 0..random() % 5 {
            if body.is_empty() {
                break;
            }
            let at = usize::try_from(random()).unwrap() % body.len();
            match random() % 4 {
                0 => body[at] = random().to_le_bytes()[0],
                1 => drop(body.remove(at)),
                2 => body.truncate(at),
                _ => {
                    let piece = body[at..].to_vec();
                    body.extend(piece);
                }
            }
        }
        let (status, answer) = post_on(&mut stream, &bearer(), &body).await;
        *statuses.entry(status).or_default() += 1;
        assert!(
            matches!(status, 200 | 400 | 413 | 503),
            "{status} {answer}\n{}",
            String::from_utf8_lossy(&body)
        );
    }
    println!("{statuses:?}");
    assert!(statuses[&200] > 500 && statuses[&400] > 500, "both were tried: {statuses:?}");
    assert_eq!(server.post(&bearer(), BODY.as_bytes()).await.0, 200);
    drop(stream);
    server.stop().await;
}

#[tokio::test]
async fn five_hundred_that_send_no_head_do_not_keep_a_scrape_waiting() {
    let server = Server::start(None, false).await;
    let mut slow = Vec::new();
    for _ in 0..500 {
        let mut stream = TcpStream::connect(server.at).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: ").await.unwrap();
        slow.push(stream);
    }
    // Nobody is shown out for being slow here, so it is room made for this one, or none.
    let mut longest = Duration::ZERO;
    for _ in 0..50 {
        let begun = Instant::now();
        assert_eq!(server.get("/metrics", "").await, 200);
        longest = longest.max(begun.elapsed());
        for stream in slow.iter_mut().take(20) {
            let _ = stream.write_all(b"x").await;
        }
    }
    println!("the longest of 50 scrapes beside 500 slow clients took {longest:?}");
    drop(slow);
    server.stop().await;
}
