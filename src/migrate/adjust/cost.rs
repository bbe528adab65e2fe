//! What asking a model cost: tokens by model, and dollars where the price is known.
//!
//! In: the bodies of answers. Out: a [`Bill`]. Always holds: an answer that was refused is paid for like any other; a
//! model whose price is not in [`PRICES`] has tokens and no dollars, and the sum says that it is not whole; nothing
//! here overflows. Prices are list prices of the day that stands beside them: no invoice, and never read from
//! anywhere.

use super::prompt::Api;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Borrow;
use std::collections::BTreeMap;

/// Tokens of one call, or of many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Sent, and neither read from the provider's cache nor written into it.
    pub input_tokens: u64,
    /// Sent, and written into the cache for a later call.
    pub cache_write_tokens: u64,
    /// Sent, and read from the cache.
    pub cache_read_tokens: u64,
    /// Answered, thinking included.
    pub output_tokens: u64,
}

impl Usage {
    /// What an answer's body says that it took; `None`: it does not say.
    pub fn of(api: Api, body: &Value) -> Option<Self> {
        let count = |from: &Value, key: &str| from.get(key).and_then(Value::as_u64);
        match api {
            Api::Anthropic => {
                let usage = body.get("usage")?;
                Some(Self {
                    input_tokens: count(usage, "input_tokens")?,
                    cache_write_tokens: count(usage, "cache_creation_input_tokens").unwrap_or(0),
                    cache_read_tokens: count(usage, "cache_read_input_tokens").unwrap_or(0),
                    output_tokens: count(usage, "output_tokens")?,
                })
            }
            Api::OpenAi => {
                let usage = body.get("usage")?;
                let details = usage.get("prompt_tokens_details");
                let cached = details.and_then(|details| count(details, "cached_tokens")).unwrap_or(0);
                Some(Self {
                    // Here the whole prompt counts the cached tokens too.
                    input_tokens: count(usage, "prompt_tokens")?.saturating_sub(cached),
                    cache_write_tokens: 0,
                    cache_read_tokens: cached,
                    output_tokens: count(usage, "completion_tokens")?,
                })
            }
            Api::Ollama => Some(Self {
                // It is left out where the whole prompt was in the server's own cache.
                input_tokens: count(body, "prompt_eval_count").unwrap_or(0),
                output_tokens: count(body, "eval_count")?,
                ..Self::default()
            }),
        }
    }

    /// All tokens together.
    pub fn total(&self) -> u64 {
        self.input_tokens
            .saturating_add(self.cache_write_tokens)
            .saturating_add(self.cache_read_tokens)
            .saturating_add(self.output_tokens)
    }

    /// Tokens that were sent, cached ones too.
    fn sent(&self) -> u64 {
        self.total().saturating_sub(self.output_tokens)
    }

    fn add(&mut self, other: &Self) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.cache_write_tokens = self.cache_write_tokens.saturating_add(other.cache_write_tokens);
        self.cache_read_tokens = self.cache_read_tokens.saturating_add(other.cache_read_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
    }
}

/// A model's list price, US dollars for a million tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Price {
    /// The model's name, without a date.
    pub model: &'static str,
    /// Of a token sent.
    pub input: f64,
    /// Of a token written into the cache for five minutes.
    pub cache_write: f64,
    /// Of a token read from the cache.
    pub cache_read: f64,
    /// Of a token answered.
    pub output: f64,
    /// The day or month when this was looked up: `2026-10-24`, `2026-03`.
    pub as_of: &'static str,
}

impl Price {
    const fn new(
        model: &'static str,
        [input, cache_write, cache_read, output]: [f64; 4],
        as_of: &'static str,
    ) -> Self {
        Self { model, input, cache_write, cache_read, output, as_of }
    }

    /// What this many tokens cost, US dollars.
    pub fn of(&self, usage: &Usage) -> f64 {
        let dollars = |tokens: u64, price: f64| tokens as f64 * price / 1e6;
        dollars(usage.input_tokens, self.input)
            + dollars(usage.cache_write_tokens, self.cache_write)
            + dollars(usage.cache_read_tokens, self.cache_read)
            + dollars(usage.output_tokens, self.output)
    }
}

/// The prices that are known. Claude's are of platform.claude.com, of requests of up to 100,000 tokens; GPT's are of
/// developers.openai.com. Both were looked up through others' copies of these pages, on the days that stand here.
pub const PRICES: &[Price] = &[
    Price::new("claude-haiku-5-5", [0.10, 0.125, 0.01, 0.50], "2026-10-24"),
    Price::new("claude-haiku-4-5", [1.0, 1.25, 0.10, 5.0], "2026-10-24"),
    Price::new("claude-sonnet-5-5", [2.0, 2.50, 0.10, 10.0], "2026-10-24"),
    Price::new("claude-sonnet-5", [2.0, 2.50, 0.20, 10.0], "2026-10-24"),
    Price::new("claude-sonnet-4-6", [3.0, 3.75, 0.30, 15.0], "2026-10-24"),
    Price::new("claude-sonnet-4-5", [3.0, 3.75, 0.30, 15.0], "2026-10-24"),
    Price::new("claude-opus-5-5", [4.0, 5.0, 0.20, 20.0], "2026-10-24"),
    Price::new("claude-opus-5", [5.0, 6.25, 0.50, 25.0], "2026-10-24"),
    Price::new("gpt-5-mini", [0.25, 0.25, 0.025, 2.0], "2025-11-13"),
    Price::new("gpt-5-nano", [0.05, 0.05, 0.005, 0.40], "2025-11-13"),
    Price::new("gpt-5", [1.25, 1.25, 0.125, 10.0], "2025-11-13"),
    Price::new("gpt-4.1-mini", [0.40, 0.40, 0.10, 1.60], "2025-07-04"),
    Price::new("gpt-4.1-nano", [0.10, 0.10, 0.025, 0.40], "2025-07-04"),
    Price::new("gpt-4.1", [2.0, 2.0, 0.50, 8.0], "2025-07-04"),
    Price::new("gpt-4o-mini", [0.15, 0.15, 0.075, 0.60], "2025-07-04"),
    Price::new("gpt-4o", [2.50, 2.50, 1.25, 10.0], "2025-07-04"),
];

/// The price of a model by its name, with or without a date (`claude-haiku-4-5-20251001`, `gpt-4o-2024-08-06`,
/// `…-latest`). Another number is another model: `claude-sonnet-5-5` is no `claude-sonnet-5`.
pub fn price_of(model: &str) -> Option<&'static Price> {
    PRICES.iter().find(|price| model.strip_prefix(price.model).is_some_and(is_date_or_nothing))
}

fn is_date_or_nothing(rest: &str) -> bool {
    let digits = rest.chars().filter(char::is_ascii_digit).count();
    let only_date = rest.starts_with('-') && rest.chars().all(|c| c.is_ascii_digit() || c == '-');
    rest.is_empty() || rest == "-latest" || (only_date && digits == 8)
}

/// What one model took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Calls that were made, failed ones too.
    pub calls: u64,
    /// Tokens of those whose answer said how many.
    pub usage: Usage,
}

/// What asking models cost in a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bill {
    by_model: BTreeMap<String, Tally>,
}

impl Bill {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a call. `usage`: what its answer said that it took; `None`: there was no answer, or it did not say.
    pub fn note(&mut self, model: &str, usage: Option<&Usage>) {
        let tally = self.by_model.entry(model.to_owned()).or_default();
        tally.calls = tally.calls.saturating_add(1);
        if let Some(usage) = usage {
            tally.usage.add(usage);
        }
    }

    /// Each model with what it took, by name.
    pub fn models(&self) -> impl Iterator<Item = (&str, &Tally)> {
        self.by_model.iter().map(|(model, tally)| (model.as_str(), tally))
    }

    /// What the models with a known price cost, US dollars; `None`: none of those that were asked has one.
    pub fn dollars(&self) -> Option<f64> {
        let known: Vec<f64> = self
            .models()
            .filter_map(|(model, tally)| price_of(model).map(|price| price.of(&tally.usage)))
            .collect();
        if known.is_empty() { None } else { Some(known.iter().sum()) }
    }

    /// For the log, at info, when `model` has answered: what that took, and what all calls of this process took so far.
    /// `usage`: as the answer said; `None`: it did not say.
    pub fn call_line(&self, model: &str, usage: Option<&Usage>) -> String {
        let call = match usage {
            None => "it does not say how many tokens".to_owned(),
            Some(usage) => {
                let dollars = price_of(model).map(|price| price.of(usage));
                let cost = spelled(1, dollars, &[] as &[&str]);
                format!("{} tokens in, {} out, {cost}", usage.sent(), usage.output_tokens)
            }
        };
        let all = self.total();
        format!(
            "AI call: {call}; so far {} calls, {} tokens in, {} out, {}",
            all.calls,
            all.usage.sent(),
            all.usage.output_tokens,
            spelled(all.calls, self.dollars(), &self.unpriced()),
        )
    }

    fn total(&self) -> Tally {
        let mut all = Tally::default();
        for tally in self.by_model.values() {
            all.calls = all.calls.saturating_add(tally.calls);
            all.usage.add(&tally.usage);
        }
        all
    }

    /// The models that were asked and have no known price, by name.
    pub fn unpriced(&self) -> Vec<&str> {
        self.models().map(|(model, _)| model).filter(|model| price_of(model).is_none()).collect()
    }
}

/// `$0.0123`, `price not known`, `no cost`; of several models those without a price are named.
pub(crate) fn spelled<S: Borrow<str>>(calls: u64, dollars: Option<f64>, unpriced: &[S]) -> String {
    match dollars {
        _ if calls == 0 => "no cost".to_owned(),
        None => "price not known".to_owned(),
        Some(dollars) if unpriced.is_empty() => format!("${dollars:.4}"),
        Some(dollars) => format!("${dollars:.4} and more (no price is known of {})", unpriced.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use std::collections::BTreeSet;

    #[test]
    fn each_apis_usage_is_read() {
        let claude = json!({ "usage": {
            "input_tokens": 900, "cache_creation_input_tokens": 10, "cache_read_input_tokens": 20,
            "output_tokens": 120,
        } });
        let usage = Usage::of(Api::Anthropic, &claude).unwrap();
        assert_eq!(
            usage,
            Usage { input_tokens: 900, cache_write_tokens: 10, cache_read_tokens: 20, output_tokens: 120 }
        );
        assert_eq!(usage.total(), 1_050);
        let openai = json!({ "usage": {
            "prompt_tokens": 900, "completion_tokens": 120, "prompt_tokens_details": { "cached_tokens": 300 },
        } });
        let usage = Usage::of(Api::OpenAi, &openai).unwrap();
        assert_eq!((usage.input_tokens, usage.cache_read_tokens, usage.output_tokens), (600, 300, 120));
        let ollama = json!({ "prompt_eval_count": 26, "eval_count": 259 });
        let usage = Usage::of(Api::Ollama, &ollama).unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens), (26, 259));
    }

    #[test]
    fn what_does_not_say_is_unknown_and_not_zero() {
        for api in [Api::Anthropic, Api::OpenAi, Api::Ollama] {
            for body in [json!({}), json!([]), json!({ "usage": { "input_tokens": "many" } })] {
                assert_eq!(Usage::of(api, &body), None);
            }
        }
    }

    #[test]
    fn a_models_date_does_not_matter_and_its_number_does() {
        let named = |model| price_of(model).map(|price| price.model);
        assert_eq!(named("claude-haiku-4-5-20251001"), Some("claude-haiku-4-5"));
        assert_eq!(named("claude-sonnet-5"), Some("claude-sonnet-5"));
        assert_eq!(named("claude-sonnet-5-5"), Some("claude-sonnet-5-5"));
        assert_eq!(named("claude-sonnet-5-6"), None);
        assert_eq!(named("gpt-4o-2024-08-06"), Some("gpt-4o"));
        assert_eq!(named("gpt-4o-mini"), Some("gpt-4o-mini"));
        assert_eq!(named("gpt-4o-audio-preview"), None);
        assert_eq!(named("llama3.1:8b"), None);
    }

    #[test]
    fn every_price_is_a_price_of_a_day() {
        let models: BTreeSet<&str> = PRICES.iter().map(|price| price.model).collect();
        assert_eq!(models.len(), PRICES.len());
        for price in PRICES {
            let Price { input, cache_write, cache_read, output, .. } = *price;
            assert!(0.0 < cache_read && cache_read < input && input <= cache_write, "{}", price.model);
            assert!(output > input && output < 100.0, "{}", price.model);
            assert!(price.as_of.starts_with("202") && price.as_of.len() >= 7, "{}", price.model);
        }
    }

    #[test]
    fn a_bill_adds_up_and_says_what_it_does_not_know() {
        let mut bill = Bill::new();
        assert_eq!(bill.dollars(), None);
        let usage = Usage { input_tokens: 1_000, output_tokens: 200, ..Usage::default() };
        bill.note("claude-haiku-4-5-20251001", Some(&usage));
        bill.note("claude-haiku-4-5-20251001", Some(&usage));
        bill.note("claude-haiku-4-5-20251001", None);
        assert!((bill.dollars().unwrap() - 0.004).abs() < 1e-12);
        bill.note("llama3.1:8b", Some(&usage));
        assert_eq!(bill.unpriced(), ["llama3.1:8b"]);
        assert!((bill.dollars().unwrap() - 0.004).abs() < 1e-12);
        let taken: Vec<(&str, u64, u64)> =
            bill.models().map(|(model, tally)| (model, tally.calls, tally.usage.total())).collect();
        assert_eq!(taken, [("claude-haiku-4-5-20251001", 3, 2_400), ("llama3.1:8b", 1, 1_200)]);
    }

    #[test]
    fn a_call_is_told_with_the_sum_so_far() {
        let mut bill = Bill::new();
        let usage = Usage { input_tokens: 900, output_tokens: 120, ..Usage::default() };
        bill.note("claude-haiku-4-5", Some(&usage));
        bill.note("claude-haiku-4-5", Some(&usage));
        assert_eq!(
            bill.call_line("claude-haiku-4-5", Some(&usage)),
            "AI call: 900 tokens in, 120 out, $0.0015; so far 2 calls, 1800 tokens in, 240 out, $0.0030"
        );
        bill.note("my-model", None);
        assert_eq!(
            bill.call_line("my-model", None),
            "AI call: it does not say how many tokens; so far 3 calls, 1800 tokens in, 240 out, $0.0030 and more (no \
             price is known of my-model)"
        );
        assert!(bill.call_line("my-model", Some(&usage)).contains("120 out, price not known; so far "));
    }

    #[test]
    fn an_unknown_model_has_tokens_only() {
        let mut bill = Bill::new();
        bill.note("my-model", Some(&Usage { output_tokens: 7, ..Usage::default() }));
        assert_eq!((bill.dollars(), bill.unpriced()), (None, vec!["my-model"]));
    }

    proptest! {
        #[test]
        fn no_usage_overflows(counts in prop::collection::vec(any::<(u64, u64, u64, u64)>(), 0..5)) {
            let mut bill = Bill::new();
            for (input_tokens, cache_write_tokens, cache_read_tokens, output_tokens) in counts {
                let usage = Usage { input_tokens, cache_write_tokens, cache_read_tokens, output_tokens };
                bill.note("claude-haiku-5-5", Some(&usage));
                bill.note("other", Some(&usage));
                prop_assert!(bill.dollars().is_some_and(f64::is_finite));
                prop_assert!(bill.models().all(|(_, tally)| tally.usage.total() >= tally.usage.output_tokens));
            }
        }
    }
}
