//! Metrics of the real program: a page asked for as Prometheus asks, its values, and promtool's opinion of it.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

/// The whole answer, head included. `at`: host and port.
pub(crate) fn get(at: &str, path: &str) -> std::io::Result<String> {
    let mut stream = std::net::TcpStream::connect(at)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// What a page says of a series, written with its labels as they stand there.
pub(crate) fn value(page: &str, series: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

/// promtool's opinion, where there is a promtool. node_exporter's own names for memory are in camel case, and stay.
pub(crate) fn assert_well_formed(page: &str) {
    let checker = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut checker) = checker else {
        eprintln!("no promtool here: the page's form is not checked");
        return;
    };
    checker.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = checker.wait_with_output().unwrap();
    let words =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let complaints: Vec<&str> = words.lines().filter(|line| !line.starts_with("node_memory_")).collect();
    assert_eq!(complaints, Vec::<&str>::new());
}
