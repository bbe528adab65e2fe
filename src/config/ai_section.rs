//! The section `ai:` of a migration's file: who is asked for adjustments, and with which key.
//!
//! In: the section, and the environment variables that dmt reads where the section says nothing. Out: an [`AiConfig`].
//! A service without a key is allowed: then nobody is asked, and `AiConfig::can_ask` says so. Always so: no error shows
//! a key.

use super::errors::Problems;
use super::leverd_file::url;
use super::migration_file::{meaning_of, word};
use super::reader::Fields;
use super::{AiConfig, AiProvider, Secret};
use std::time::Duration;

pub(super) const KEYS: [&str; 5] = ["api_key", "provider", "model", "endpoint", "timeout_seconds"];

const PROVIDERS: [(&str, AiProvider); 5] = [
    ("claude", AiProvider::Claude),
    ("openai", AiProvider::OpenAi),
    ("ollama", AiProvider::Ollama),
    ("rules", AiProvider::Rules),
    ("model", AiProvider::Model),
];
/// dmt's other name for the same.
const ALSO_CLAUDE: [(&str, AiProvider); 1] = [("anthropic", AiProvider::Claude)];

/// dmt reads these where the file says nothing.
const PROVIDER_VARIABLE: &str = "DMT_AI_PROVIDER";
const KEY_VARIABLE: &str = "DMT_AI_API_KEY";

/// Reads the section; what is wrong is reported.
pub(super) fn read(top: &Fields<'_>, problems: &Problems, env: &dyn Fn(&str) -> Option<String>) -> AiConfig {
    let fields = top.section("ai", &KEYS);
    let provider = match fields.get("provider") {
        Some(at) => word(&at, &PROVIDERS, &ALSO_CLAUDE),
        None => provider_of_environment(problems, env),
    };
    let provider = provider.unwrap_or(AiProvider::Claude);
    let model =
        fields.get("model").and_then(|at| at.text()).or_else(|| provider.default_model().map(str::to_owned));
    if provider == AiProvider::Ollama && model.is_none() {
        fields.required("model", "a model that this Ollama has (`ollama list`)", None);
    }
    let endpoint = fields
        .get("endpoint")
        .and_then(|at| url(&at))
        .or_else(|| provider.default_endpoint().map(str::to_owned));
    let timeout_seconds = fields.or("timeout_seconds", 30, |at| at.integer(1, 600));
    AiConfig {
        provider,
        api_key: read_api_key(&fields, env),
        model: model.filter(|_| provider.is_service()),
        endpoint: endpoint.filter(|_| provider.is_service()),
        timeout: Duration::from_secs(u64::from(timeout_seconds)),
    }
}

fn provider_of_environment(problems: &Problems, env: &dyn Fn(&str) -> Option<String>) -> Option<AiProvider> {
    let text = env(PROVIDER_VARIABLE).filter(|text| !text.trim().is_empty())?;
    let provider = meaning_of(text.trim(), &PROVIDERS).or_else(|| meaning_of(text.trim(), &ALSO_CLAUDE));
    if provider.is_none() {
        let allowed: Vec<&str> = PROVIDERS.iter().map(|(word, _)| *word).collect();
        problems.add(
            None,
            "ai.provider",
            format!(
                "the environment variable {PROVIDER_VARIABLE} names no provider; allowed: {}",
                allowed.join(", ")
            ),
            Some("set it to one of them, or write `provider:` under `ai:`".to_owned()),
        );
    }
    provider
}

/// The key of the file, else of the environment; blanks around it are a slip of whoever pasted it.
fn read_api_key(fields: &Fields<'_>, env: &dyn Fn(&str) -> Option<String>) -> Option<Secret> {
    let text = match fields.get("api_key") {
        Some(at) => at.secret(),
        None => env(KEY_VARIABLE),
    };
    let key = text.map(|text| text.trim().to_owned()).filter(|key| !key.is_empty())?;
    if key.chars().any(|c| c.is_whitespace() || c.is_control()) {
        fields.problem(
            "api_key",
            "found a key with blanks or line breaks inside (it is not shown); allowed: one word",
            None,
        );
        return None;
    }
    Some(Secret::new(key))
}
