//! Where a command listens: what a person typed, and whether others than this host could reach it.
//!
//! In: an option's name and its text. Out: an address; or words that name the option, and say what to type instead. It
//! binds nothing, and does not decide who may listen where.

use anyhow::Context as _;
use std::net::{IpAddr, SocketAddr};
use tokio::net::lookup_host;

/// The address that stands behind `option`: a number or a name, and a port. `example`: one that could stand there.
pub(super) async fn address(option: &str, example: &str, text: &str) -> anyhow::Result<SocketAddr> {
    let wrong = || format!("{option} {text}: no such address; write host:port, e.g. {option} {example}");
    let mut found = lookup_host(text).await.with_context(wrong)?;
    found.next().with_context(wrong)
}

/// `::ffff:127.0.0.1` is loopback as well.
pub(super) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Why nobody can listen there, and what could be done.
pub(super) fn not_bound(option: &str, listen: SocketAddr, error: &std::io::Error) -> anyhow::Error {
    let hint = match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!(
                "; another exporter, or another leverd, has the port: stop it, or choose one with {option}"
            )
        }
        std::io::ErrorKind::PermissionDenied => {
            format!("; ports below 1024 are the system's: choose one with {option}")
        }
        _ => String::new(),
    };
    anyhow::anyhow!("cannot listen on {listen}: {error}{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_recognised_in_every_form() {
        for (address, expected) in [
            ("127.0.0.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("0.0.0.0", false),
            ("::", false),
        ] {
            assert_eq!(is_loopback(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[tokio::test]
    async fn what_is_no_address_is_told_with_one_that_is() {
        let wanted = "127.0.0.1:9465";
        assert_eq!(address("--metrics", wanted, wanted).await.unwrap().to_string(), wanted);
        let error = address("--metrics", wanted, "127.0.0.1").await.unwrap_err();
        let words = error.to_string();
        assert!(words.starts_with("--metrics 127.0.0.1: ") && words.ends_with(wanted), "{words}");
    }
}
