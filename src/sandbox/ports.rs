//! Loopback ports for servers that are about to start.

use std::io;
use std::net::TcpListener;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the ports that Linux (from 32768) and macOS (from 49152) give to outgoing connections: one of those could take
/// a port between the look at it and the server's start, or while the server restarts.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// Where this process began, so that two processes seldom look at the same port, and how far it has come.
static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(rand::random_range(0..COUNT)));

/// A loopback port that nobody listens on, and that this process was not given lately.
///
/// # Errors
/// None of them is free, or a port cannot be looked at for another reason than that it is taken.
pub fn free_port() -> io::Result<u16> {
    for _ in 0..COUNT {
        let port = FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(_) => return Ok(port),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, format!("{COUNT} ports from {FIRST} on are in use")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_one_that_is_taken_is_passed_over() {
        let first = free_port().unwrap();
        let next = first + 1;
        let _taken = TcpListener::bind(("127.0.0.1", next));
        let second = free_port().unwrap();
        assert!(![first, next].contains(&second), "{first} {second}");
        assert!((FIRST..FIRST + COUNT).contains(&second));
    }
}
