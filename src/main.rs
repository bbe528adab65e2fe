//! The `leverd` binary: arguments → command → exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    leverd::cli::main()
}
