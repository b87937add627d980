//! What every hook point speaks of: [`Context`] and what is in it.

use serde::de::DeserializeOwned;

use crate::bindings::host::scribe::hooks::types::Context as RawContext;
pub use crate::bindings::host::scribe::hooks::types::{
    Attempt, CopyMethod, HookError, LastSync, ObjectRef, Problem, Replication, Role, SyncStats, Timestamp,
    Trigger,
};

/// What every call is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context<S> {
    /// The hook's `settings` in the object's spec.
    pub settings: S,
    /// The object that names the hook.
    pub replication: Replication,
    /// This attempt of this sync.
    pub attempt: Attempt,
    /// How it went before.
    pub last: LastSync,
}

impl<S: DeserializeOwned> Context<S> {
    /// Reads the settings of what the host has passed.
    pub(crate) fn read(raw: RawContext) -> Result<Self, Problem> {
        let RawContext { replication, attempt, last, settings_json } = raw;
        Ok(Self { settings: crate::settings::read(&settings_json)?, replication, attempt, last })
    }
}

impl ObjectRef {
    /// An object of the namespace in which the hook works: `ObjectRef::new("apps/v1", "Deployment", "web")`.
    pub fn new(api_version: impl Into<String>, kind: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            api_version: api_version.into(),
            kind: kind.into(),
            namespace: String::new(),
            name: name.into(),
            uid: None,
        }
    }
}

impl Replication {
    /// The value of a label of the object that names the hook.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        label(&self.labels, key)
    }
}

/// The value of `key` among labels.
pub(crate) fn label<'a>(labels: &'a [(String, String)], key: &str) -> Option<&'a str> {
    labels.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

impl Problem {
    /// Something wrong at `path`, a JSON pointer (RFC 6901) such as `/window/start`; empty for the settings as a whole.
    pub fn at(path: impl Into<String>, message: impl Into<String>) -> Self {
        let path = path.into();
        Self { path: (!path.is_empty()).then_some(path), message: message.into() }
    }

    /// Path and message in one line.
    #[must_use]
    pub fn line(&self) -> String {
        match &self.path {
            Some(path) => format!("{path}: {}", self.message),
            None => self.message.clone(),
        }
    }
}

impl HookError {
    /// Not now: ask again after so many seconds.
    pub fn retry_after(seconds: u32, why: impl Into<String>) -> Self {
        Self::RetryAfter((seconds, why.into()))
    }

    /// A decision: this sync is not to happen. `onError` does not apply.
    pub fn rejected(why: impl Into<String>) -> Self {
        Self::Rejected(why.into())
    }

    /// Something broke. `onError` says what follows.
    pub fn failed(why: impl Into<String>) -> Self {
        Self::Failed(why.into())
    }
}

impl From<String> for HookError {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

impl From<&str> for HookError {
    fn from(why: &str) -> Self {
        Self::Failed(why.to_owned())
    }
}

impl From<serde_json::Error> for HookError {
    fn from(error: serde_json::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<Problem> for HookError {
    fn from(problem: Problem) -> Self {
        Self::Failed(format!("settings: {}", problem.line()))
    }
}
