//! Who may change something: whoever knows the token.
//!
//! It comes as `Authorization: Bearer TOKEN`, or as the password of basic authentication, because Alertmanager and
//! Grafana know both. Compared in constant time: an answer's time tells nothing of how much of a guess was right.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use std::fmt;

/// The secret that a request must name. Only its digest is kept.
#[derive(Clone)]
pub struct Token([u8; 32]);

impl Token {
    /// From the secret.
    pub fn new(secret: &str) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// Whether a request names it.
    fn is_named_in(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some((scheme, rest)) = given.and_then(|text| text.trim().split_once(' ')) else { return false };
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return self.is(rest.as_bytes());
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return false;
        }
        let Ok(pair) = STANDARD.decode(rest) else { return false };
        match pair.iter().position(|byte| *byte == b':') {
            Some(colon) => self.is(&pair[colon + 1..]),
            None => false,
        }
    }

    fn is(&self, guess: &[u8]) -> bool {
        let guess: [u8; 32] = Sha256::digest(guess).into();
        let difference = self.0.iter().zip(guess).fold(0, |sum, (a, b)| sum | (a ^ b));
        std::hint::black_box(difference) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Lets a request through that names the token. Without a token nobody may.
pub(super) async fn needed(State(token): State<Option<Token>>, request: Request, next: Next) -> Response {
    match token {
        Some(token) if token.is_named_in(request.headers()) => next.run(request).await,
        Some(_) => {
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
            (StatusCode::UNAUTHORIZED, challenge, "this needs leverd's token: Authorization: Bearer TOKEN\n")
                .into_response()
        }
        None => {
            let why = "leverd has no token, so nobody may do this: set `api.token_file` in leverd.yaml\n";
            (StatusCode::FORBIDDEN, why).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        Token::new("s3cret").is_named_in(&headers)
    }

    #[test]
    fn bearer_and_basic_are_known() {
        assert!(allowed("Bearer s3cret"));
        assert!(allowed("bearer  s3cret"));
        assert!(allowed(&format!("Basic {}", STANDARD.encode("anyone:s3cret"))));
        for wrong in ["Bearer s3cre", "Bearer s3cret1", "Bearer", "Basic s3cret", "Digest s3cret", ""] {
            assert!(!allowed(wrong), "{wrong}");
        }
        assert!(!allowed(&format!("Basic {}", STANDARD.encode("s3cret"))));
        assert!(!Token::new("s3cret").is_named_in(&HeaderMap::new()));
        assert_eq!(format!("{:?}", Token::new("s3cret")), "Token(…)");
    }
}
