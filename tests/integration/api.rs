//! The HTTP side against clients that behave and clients that do not.

use leverd::api::{ApiState, Limits, Readiness, serve_with};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes, unless it hangs.
const DEADLINE: Duration = Duration::from_secs(30);

const QUICK: Limits = Limits {
    connections: 2,
    head_timeout: Duration::from_millis(300),
    write_timeout: Duration::from_millis(300),
    drain: Duration::from_secs(5),
};

struct Server {
    at: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

async fn start(metrics: String, limits: Limits) -> Server {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    let readiness = || Readiness { ready: false, reason: "Postgres does not answer".into() };
    let state = ApiState::showing(move || metrics.clone(), readiness);
    let shutdown = CancellationToken::new();
    #[expect(clippy::disallowed_methods, reason = "the test awaits it")]
    let task = tokio::spawn(serve_with(listener, state, shutdown.clone(), limits));
    Server { at, shutdown, task }
}

impl Server {
    async fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.at).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(DEADLINE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    }

    async fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await
    }
}

#[tokio::test]
async fn each_path_answers_as_it_should() {
    let server = start("a 1\n".into(), Limits::default()).await;
    let metrics = server.get("/metrics").await;
    assert!(metrics.starts_with("HTTP/1.1 200") && metrics.ends_with("\r\n\r\na 1\n"), "{metrics}");
    assert!(metrics.contains("content-type: text/plain; version=0.0.4"), "{metrics}");
    assert!(server.get("/healthz").await.ends_with("\r\n\r\nok\n"));
    let ready = server.get("/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503") && ready.ends_with("Postgres does not answer\n"), "{ready}");
    assert!(server.get("/").await.contains("/metrics"));
    assert!(server.get("/nope").await.starts_with("HTTP/1.1 404"));
    let post = server.ask("POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(post.starts_with("HTTP/1.1 405"), "{post}");
    assert!(server.ask("this is no HTTP\r\n\r\n").await.starts_with("HTTP/1.1 400"));
}

#[tokio::test]
async fn clients_that_send_nothing_make_room_again() {
    let server = start("a 1\n".into(), QUICK).await;
    let mut slow = Vec::new();
    for head in ["", "GET /metrics HTTP/1.1\r\nHost:"] {
        let mut stream = TcpStream::connect(server.at).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    // Both places are taken; this one waits until the others were shown out.
    let answer = timeout(DEADLINE, server.get("/metrics")).await.unwrap();
    assert!(answer.ends_with("a 1\n"), "{answer}");
    for mut stream in slow {
        let mut rest = Vec::new();
        let _ = timeout(DEADLINE, stream.read_to_end(&mut rest)).await.unwrap();
        assert!(!String::from_utf8_lossy(&rest).contains(" 200 "));
    }
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answer_is_dropped() {
    let whole = 64 * 1024 * 1024;
    let server = start("x".repeat(whole), Limits { connections: 1, ..QUICK }).await;
    let mut stuck = TcpStream::connect(server.at).await.unwrap();
    stuck.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    // There is room for this one only after the other was dropped.
    assert!(timeout(DEADLINE, server.get("/healthz")).await.unwrap().ends_with("ok\n"));
    let mut rest = Vec::new();
    let _ = timeout(DEADLINE, stuck.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.len() < whole, "{}", rest.len());
}

#[tokio::test]
async fn a_shutdown_ends_idle_connections_and_closes_the_port() {
    let server = start("a 1\n".into(), Limits::default()).await;
    let mut idle = TcpStream::connect(server.at).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    timeout(DEADLINE, idle.read_exact(&mut first)).await.unwrap().unwrap();
    server.shutdown.cancel();
    timeout(DEADLINE, server.task).await.unwrap().unwrap();
    let mut rest = Vec::new();
    timeout(DEADLINE, idle.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.at).await.is_err());
}
