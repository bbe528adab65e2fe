//! The section `announce:` of `leverd.yaml`: who is told of verdicts, and when a person is needed.

use super::leverd_file::url;
use super::reader::{At, Fields};
use super::{AnnounceConfig, Secret};

/// Reads the section; what is wrong is reported.
pub(super) fn read(top: &Fields<'_>) -> AnnounceConfig {
    let fields = top.section("announce", &["webhook", "slack", "grafana"]);
    let grafana = fields.get("grafana").and_then(|at| {
        let pair = at.fields(&["url", "token"]);
        let url =
            pair.required("url", "an address such as http://localhost:3000", None).and_then(|at| url(&at));
        let token = pair.required("token", "a service account's token: ${env:NAME}, ${file:PATH}", None);
        Some((url?, Secret::new(token?.secret()?)))
    });
    AnnounceConfig {
        webhook: fields.get("webhook").and_then(|at| secret_url(&at)),
        slack: fields.get("slack").and_then(|at| secret_url(&at)),
        grafana,
    }
}

/// An address that is not quoted in an error: whoever knows it may post there.
fn secret_url(at: &At<'_>) -> Option<Secret> {
    let text = at.secret()?;
    let parsed = reqwest::Url::parse(text.trim()).ok();
    if parsed.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
        return Some(Secret::new(text.trim()));
    }
    at.problem("found no address (it is not shown: it may hold a secret); allowed: https://host/path", None);
    None
}
