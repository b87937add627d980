//! Calls of hooks that are due after a sync, or after it failed.

use super::{Failure, SourceCopyMethod, TriggerKind};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A sync that was published, and of which a Lifecycle hook is to hear.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PostSync {
    /// The sync.
    pub sync_id: String,
    /// What started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<TriggerKind>,
    /// How the cut was made.
    #[serde(default)]
    pub copy_method: SourceCopyMethod,
    /// Counts the calls, from 1.
    pub number: u32,
    /// The next call comes at this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Time>,
    /// Why the last call failed. Without `retryAt`: it is not called again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// An attempt that failed, and of which a Failure hook is to hear.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailedAttempt {
    /// The sync.
    pub sync_id: String,
    /// The attempt.
    pub attempt: u32,
    /// What started the sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<TriggerKind>,
    /// How the cut was made.
    #[serde(default)]
    pub copy_method: SourceCopyMethod,
    /// What was being done.
    pub phase: FailedPhase,
    /// When it failed.
    pub since: Time,
    /// Why.
    pub failure: Failure,
    /// Whether another attempt follows unasked.
    pub retryable: bool,
}

/// What was being done when an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailedPhase {
    /// The Lifecycle hook was called before the sync.
    PreSync,
    /// The application was brought to rest.
    Quiesce,
    /// The copy was made.
    Cut,
    /// The data were sent.
    Transfer,
    /// The snapshot was cut.
    Publish,
}

/// What a Failure hook said of an attempt that failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReactionRecord {
    /// The sync.
    pub sync_id: String,
    /// The attempt.
    pub attempt: u32,
    /// What it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reaction: Option<FailureReaction>,
    /// Its words, or what was not honoured, and why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Why it said nothing: it broke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The SHA-256 of the module that said it.
    pub digest: String,
    /// When it was recorded.
    pub time: Time,
}

/// What a Failure hook can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailureReaction {
    /// Go on as without it.
    Default,
    /// Another attempt at a time of its own.
    RetryAfter,
    /// Compare everything by content in the next attempt.
    FullResync,
    /// No further sync until the spec changes.
    Suspend,
}

/// A source that a Failure hook has suspended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Suspended {
    /// The HookModule.
    pub module: String,
    /// Why, in the hook's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Since when.
    pub since: Time,
    /// Until the spec is of another generation.
    pub generation: i64,
}
