//! HTTP requests to the places that were granted. Redirects are answered as they are, not followed.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::imports::http as import;
use crate::HookError;

pub use crate::bindings::host::scribe::hooks::http::{Error, Request, Response};

/// Seconds that a request has, unless it says otherwise.
const TIMEOUT: u32 = 10;

impl Request {
    /// A request with nothing but a method and a URL, for at most 10 s.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            url: url.into(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout_seconds: TIMEOUT,
            secret_headers: Vec::new(),
        }
    }

    /// `GET`.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    /// `POST`.
    pub fn post(url: impl Into<String>) -> Self {
        Self::new("POST", url)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds a header whose value the host takes from a Secret that was granted: the module names the key and never sees the value.
    #[must_use]
    pub fn secret_header(mut self, name: impl Into<String>, key: impl Into<String>) -> Self {
        self.secret_headers.push((name.into(), key.into()));
        self
    }

    /// Sends this value as JSON.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn json(mut self, body: &impl Serialize) -> Result<Self, Error> {
        self.body = serde_json::to_vec(body).map_err(|error| Error::Protocol(error.to_string()))?;
        Ok(self.header("Content-Type", "application/json"))
    }

    /// How long it may take.
    #[must_use]
    pub fn timeout_seconds(mut self, seconds: u32) -> Self {
        self.timeout_seconds = seconds;
        self
    }

    /// Sends it; the status is for the caller to judge.
    ///
    /// # Errors
    /// There was no answer, or it was too large; `denied` without a grant.
    pub fn send(&self) -> Result<Response, Error> {
        import::send(self)
    }
}

impl Response {
    /// Whether the status is one of 200 to 299.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Reads the body as JSON.
    ///
    /// # Errors
    /// It is not JSON of that type.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, HookError> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}

impl From<Error> for HookError {
    fn from(error: Error) -> Self {
        Self::Failed(match error {
            Error::Denied(why) => format!("HTTP: denied: {why}"),
            Error::Dns(why) => format!("HTTP: name not resolved: {why}"),
            Error::Connect(why) => format!("HTTP: not connected: {why}"),
            Error::Tls(why) => format!("HTTP: TLS: {why}"),
            Error::TimedOut => "HTTP: no answer in time".to_owned(),
            Error::TooLarge(limit) => format!("HTTP: the answer is larger than {limit} bytes"),
            Error::Protocol(why) => format!("HTTP: {why}"),
        })
    }
}
