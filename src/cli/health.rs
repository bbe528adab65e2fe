//! `leverd health`: asks a running leverd whether it is well. For containers, whose images have no other HTTP client.

use super::{EXIT_DONE, EXIT_FAILED};
use std::process::ExitCode;
use std::time::Duration;

/// Arguments of `leverd health`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to ask; /readyz says besides whether it can do its work now
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9188/healthz")]
    url: reqwest::Url,
    /// Seconds to wait for the answer
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    timeout: u64,
}

/// 0 where it answers well, else 1 with the reason.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let timeout = Duration::from_secs(args.timeout.max(1));
    let http = reqwest::Client::builder()
        .timeout(timeout)
        .no_proxy()
        .tls_backend_preconfigured(crate::prometheus::tls(false).map_err(anyhow::Error::msg)?)
        .build()?;
    let answer = match http.get(args.url.clone()).send().await {
        Ok(answer) => answer,
        Err(error) => {
            eprintln!("leverd: {} does not answer: {}", args.url, error.without_url());
            return Ok(ExitCode::from(EXIT_FAILED));
        }
    };
    let status = answer.status();
    if status.is_success() {
        return Ok(ExitCode::from(EXIT_DONE));
    }
    eprintln!("leverd: {} answers {status}", args.url);
    Ok(ExitCode::from(EXIT_FAILED))
}
