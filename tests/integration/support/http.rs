//! A tiny HTTP server for one test: it answers whatever the test says, faults included.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// A running server; connections end with their client, the listener with this value.
#[derive(Debug)]
pub(crate) struct TinyHttp {
    /// Its loopback port.
    pub(crate) port: u16,
    requests: Arc<Mutex<Vec<String>>>,
    stopped: Arc<AtomicBool>,
}

impl TinyHttp {
    /// Serves `answer(request head, connection)`, one request a connection.
    pub(crate) fn start(answer: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (requests, stopped): (Arc<Mutex<Vec<String>>>, Arc<AtomicBool>) = Default::default();
        let server = Self { port, requests: Arc::clone(&requests), stopped: Arc::clone(&stopped) };
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (answer, requests) = (Arc::clone(&answer), Arc::clone(&requests));
                std::thread::spawn(move || {
                    let mut connection = connection.unwrap();
                    let head = head_of(&connection);
                    requests.lock().unwrap().push(head.clone());
                    answer(&head, &mut connection);
                    let _ = connection.shutdown(Shutdown::Write);
                });
            }
        });
        server
    }

    /// Answers everything with `status`, a content type and a body.
    pub(crate) fn fixed(status: &str, content_type: &str, body: &str) -> Self {
        let answer = response(status, content_type, body);
        Self::start(move |_, connection| {
            let _ = connection.write_all(answer.as_bytes());
        })
    }

    /// Answers every query with this JSON.
    pub(crate) fn json(body: &str) -> Self {
        Self::fixed("200 OK", "application/json", body)
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The heads of the requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for TinyHttp {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// A whole HTTP answer.
pub(crate) fn response(status: &str, content_type: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn head_of(connection: &TcpStream) -> String {
    let mut head = String::new();
    for line in BufReader::new(connection).lines() {
        match line {
            Ok(line) if !line.is_empty() => head.push_str(&format!("{line}\n")),
            _ => break,
        }
    }
    head
}
