//! Who may.

use axum::Json;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use crate::State;

/// What stands for the password once it was shown.
const TOKEN: &str = "a-token-for-tests";

/// Whom a registry is open to.
#[derive(Clone, Debug)]
pub enum Access {
    /// Anybody.
    Anybody,
    /// Who shows this user's name and password with every request.
    Password(String, String),
    /// Who shows a token that they were exchanged for, as most registries have it.
    Token(String, String),
}

fn authorization(headers: &HeaderMap) -> &str {
    headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

/// What is answered to a request that shows nothing, or the wrong thing.
pub fn refusal(state: &State, headers: &HeaderMap) -> Option<Response> {
    let (expected, challenge) = match &state.access {
        Access::Anybody => return None,
        Access::Password(user, password) => (basic(user, password), "Basic realm=\"tests\"".to_owned()),
        Access::Token(..) => {
            let elsewhere = state.content().tokens_at.clone();
            let realm = elsewhere.unwrap_or_else(|| format!("{}/token", state.url));
            (format!("Bearer {TOKEN}"), format!("Bearer realm=\"{realm}\",service=\"tests\""))
        }
    };
    if authorization(headers) == expected {
        return None;
    }
    let body = Json(json!({ "errors": [{ "code": "UNAUTHORIZED", "message": "who are you?" }] }));
    Some((StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, challenge)], body).into_response())
}

/// A token for a password.
pub fn token(state: &State, headers: &HeaderMap) -> Response {
    match &state.access {
        Access::Token(user, password) if authorization(headers) == basic(user, password) => {
            Json(json!({ "token": TOKEN })).into_response()
        }
        _ => (StatusCode::UNAUTHORIZED, "wrong password").into_response(),
    }
}
