//! A network between two programs, for one test: it passes bytes on, and cuts or holds a connection where the test
//! says.
//!
//! A thread for each direction of a connection. A fault is done once, to the first connection whose first bytes hold
//! its words: a client of Postgres' begins with its name.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What is done to a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// So many of the server's bytes are passed on; then it is closed on both sides.
    CutAfter(u64),
    /// So many of the server's bytes are passed on, and no more of them; it stays open.
    StallAfter(u64),
    /// When the server answers these words, the last that the client has sent, it is closed on both sides: what was
    /// asked for is done, and the client is not told.
    LoseAnswerTo(&'static [u8]),
}

/// A running one. New connections end with it.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Its loopback port.
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// What is still to be done, and to whom.
    faults: Mutex<Vec<(&'static str, Fault)>>,
    /// How many were done.
    done: AtomicUsize,
    stopped: AtomicBool,
    /// The server speaks first.
    greets: bool,
}

/// What both directions of a connection know.
#[derive(Debug, Default)]
struct Link {
    /// The words were sent: the next answer is lost.
    lose: AtomicBool,
    client_gone: AtomicBool,
}

impl Proxy {
    /// Passes on to a loopback port. Each fault goes with the words of the connection that it is done to.
    pub(crate) fn to(server_port: u16, faults: &[(&'static str, Fault)]) -> Self {
        Self::start(server_port, faults, false)
    }

    /// The same to a MySQL, which speaks first: its greeting is passed on as it is, and not counted.
    pub(crate) fn to_mysql(server_port: u16, faults: &[(&'static str, Fault)]) -> Self {
        Self::start(server_port, faults, true)
    }

    fn start(server_port: u16, faults: &[(&'static str, Fault)], greets: bool) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared { faults: Mutex::new(faults.to_vec()), greets, ..Shared::default() });
        let proxy = Self { port, shared: Arc::clone(&shared) };
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if shared.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let server = TcpStream::connect(("127.0.0.1", server_port));
                if let (Ok(client), Ok(server)) = (client, server) {
                    let shared = Arc::clone(&shared);
                    std::thread::spawn(move || serve(&shared, client, server));
                }
            }
        });
        proxy
    }

    /// How many faults were done.
    pub(crate) fn done(&self) -> usize {
        self.shared.done.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    /// What is to be done to a connection that begins so.
    fn fault_of(&self, first: &[u8]) -> Option<Fault> {
        let holds = |words: &str| first.windows(words.len()).any(|window| window == words.as_bytes());
        let mut faults = self.faults.lock().unwrap();
        let at = faults.iter().position(|(words, _)| holds(words))?;
        Some(faults.remove(at).1)
    }
}

fn serve(shared: &Shared, mut client: TcpStream, mut server: TcpStream) {
    let mut first = vec![0; 4096];
    if shared.greets {
        let Ok(many @ 1..) = server.read(&mut first) else { return };
        if client.write_all(&first[..many]).is_err() {
            return;
        }
    }
    let Ok(many) = client.read(&mut first) else { return };
    first.truncate(many);
    if server.write_all(&first).is_err() {
        return;
    }
    let fault = shared.fault_of(&first);
    let link = Arc::new(Link::default());
    let (from, to, of_link) = (client.try_clone().unwrap(), server.try_clone().unwrap(), Arc::clone(&link));
    std::thread::spawn(move || to_server(from, to, fault, &of_link));
    to_client(shared, &mut server, &mut client, fault, &link);
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}

fn to_server(mut client: TcpStream, mut server: TcpStream, fault: Option<Fault>, link: &Link) {
    let mut buffer = vec![0; 16 * 1024];
    let mut last: Vec<u8> = Vec::new();
    while let Ok(many @ 1..) = client.read(&mut buffer) {
        if let Some(Fault::LoseAnswerTo(words)) = fault {
            last.extend_from_slice(&buffer[..many]);
            last.drain(..last.len().saturating_sub(words.len()));
            if last.as_slice() == words {
                // Before they are sent: the answer may come at once.
                link.lose.store(true, Ordering::SeqCst);
            }
        }
        if server.write_all(&buffer[..many]).is_err() {
            break;
        }
    }
    link.client_gone.store(true, Ordering::SeqCst);
    let _ = server.shutdown(Shutdown::Both);
}

/// Until one side closes it, or the fault is done.
fn to_client(
    shared: &Shared,
    server: &mut TcpStream,
    client: &mut TcpStream,
    fault: Option<Fault>,
    link: &Link,
) {
    let most = match fault {
        Some(Fault::CutAfter(most) | Fault::StallAfter(most)) => most,
        Some(Fault::LoseAnswerTo(_)) | None => u64::MAX,
    };
    let mut left = most;
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(many @ 1..) = server.read(&mut buffer) {
        if link.lose.load(Ordering::SeqCst) {
            shared.done.fetch_add(1, Ordering::SeqCst);
            return;
        }
        let some = many.min(usize::try_from(left).unwrap_or(usize::MAX));
        if client.write_all(&buffer[..some]).is_err() {
            return;
        }
        left -= some as u64;
        if left > 0 {
            continue;
        }
        shared.done.fetch_add(1, Ordering::SeqCst);
        let stalls = matches!(fault, Some(Fault::StallAfter(_)));
        while stalls && !link.client_gone.load(Ordering::SeqCst) && !shared.stopped.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(20));
        }
        return;
    }
}
