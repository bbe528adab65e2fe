//! A model's service for tests: it answers over loopback what the test says, faults included.

use super::Service;
use crate::config::{AiConfig, AiProvider, Secret};
use crate::migrate::adjust::prompt::TOOL;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The key that tests give; it must never be seen in an error.
pub(crate) const KEY: &str = "sk-ant-hunter2-0123456789";

/// What it does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Answers: status, more header lines, body.
    Whole(u16, &'static str, String),
    /// Answers 200 with this body, so long after.
    Late(Duration, String),
    /// Closes the connection without a word.
    Close,
    /// Promises twice as much as it sends, then closes.
    Cut(String),
    /// Sends blanks for ever.
    Endless,
    /// Says nothing for ever.
    Silent,
}

impl Reply {
    /// 200 with this body.
    pub(crate) fn json(body: &Value) -> Self {
        Self::Whole(200, "", body.to_string())
    }
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    /// First line and headers, in small letters.
    pub(crate) head: String,
    /// `null` where it was no JSON.
    pub(crate) body: Value,
}

/// It serves until it is dropped.
#[derive(Debug)]
pub(crate) struct FakeService {
    url: String,
    heard: Arc<Mutex<Vec<Heard>>>,
    _tasks: JoinSet<()>,
}

impl FakeService {
    /// Gives the n-th request the n-th reply, and every later one the last.
    pub(crate) async fn start(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, replies, Arc::clone(&heard)));
        Self { url, heard, _tasks: tasks }
    }

    /// The requests so far.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    /// What is configured for somebody who asks it.
    pub(crate) fn config(&self, provider: AiProvider, timeout: Duration) -> AiConfig {
        AiConfig {
            provider,
            api_key: Some(Secret::new(KEY)),
            model: Some("claude-haiku-4-5-20251001".to_owned()),
            endpoint: Some(self.url.clone()),
            timeout,
        }
    }

    /// A client that asks it.
    pub(crate) fn client(&self, provider: AiProvider, timeout: Duration) -> Service {
        Service::new(&self.config(provider, timeout)).unwrap()
    }
}

/// An answer in the provider's form that decides this.
pub(crate) fn decision_of(provider: AiProvider, arguments: &Value) -> Value {
    match provider {
        AiProvider::OpenAi => json!({
            "choices": [{ "finish_reason": "tool_calls", "message": { "content": null, "tool_calls": [
                { "type": "function", "function": { "name": TOOL, "arguments": arguments.to_string() } },
            ] } }],
            "usage": { "prompt_tokens": 900, "completion_tokens": 120 },
        }),
        AiProvider::Ollama => json!({
            "message": { "role": "assistant", "content": arguments.to_string() },
            "done": true, "prompt_eval_count": 900, "eval_count": 120,
        }),
        _ => json!({
            "content": [{ "type": "tool_use", "id": "toolu_1", "name": TOOL, "input": arguments }],
            "stop_reason": "tool_use",
            "usage": { "input_tokens": 900, "output_tokens": 120 },
        }),
    }
}

async fn serve(listener: TcpListener, replies: Vec<Reply>, heard: Arc<Mutex<Vec<Heard>>>) {
    let mut connections = JoinSet::new();
    for at in 0.. {
        let Ok((connection, _)) = listener.accept().await else { return };
        let reply = replies.get(at).or(replies.last()).cloned().unwrap();
        connections.spawn(one(connection, reply, Arc::clone(&heard)));
    }
}

async fn one(mut connection: TcpStream, reply: Reply, heard: Arc<Mutex<Vec<Heard>>>) {
    let mut bytes = Vec::new();
    let mut buffer = [0_u8; 4096];
    let request = loop {
        if let Some(request) = whole(&bytes) {
            break request;
        }
        match connection.read(&mut buffer).await {
            Ok(read) if read > 0 => bytes.extend_from_slice(&buffer[..read]),
            _ => return,
        }
    };
    heard.lock().unwrap().push(request);
    // Whoever asked may have gone; that is its right.
    let _ = answer(&mut connection, reply).await;
}

async fn answer(connection: &mut TcpStream, reply: Reply) -> std::io::Result<()> {
    match reply {
        Reply::Whole(status, headers, body) => {
            connection.write_all(response(status, headers, body.len(), &body).as_bytes()).await?;
        }
        Reply::Late(after, body) => {
            tokio::time::sleep(after).await;
            connection.write_all(response(200, "", body.len(), &body).as_bytes()).await?;
        }
        Reply::Close => {}
        Reply::Cut(body) => {
            connection.write_all(response(200, "", 2 * body.len(), &body).as_bytes()).await?;
        }
        Reply::Endless => {
            connection.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").await?;
            loop {
                connection.write_all(&[b' '; 4096]).await?;
            }
        }
        Reply::Silent => std::future::pending::<()>().await,
    }
    connection.shutdown().await
}

fn response(status: u16, headers: &str, length: usize, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: close\r\n{headers}\r\n{body}"
    )
}

/// The request, once all of it is there.
fn whole(bytes: &[u8]) -> Option<Heard> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let body = &bytes[end + 4..];
    let length: usize =
        head.lines().find_map(|line| line.strip_prefix("content-length:"))?.trim().parse().ok()?;
    let body = serde_json::from_slice(body.get(..length)?).unwrap_or(Value::Null);
    Some(Heard { head, body })
}
