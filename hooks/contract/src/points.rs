//! The points at which hooks are asked, and what they answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::ObjectRef;

/// Where in a sync or a promotion a module is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Point {
    /// Whether to sync now. Pure.
    Decision,
    /// How to transfer. Pure.
    Transfer,
    /// Which replicas to keep. Pure.
    Retention,
    /// Before and after the cut.
    Quiesce,
    /// Before and after a sync.
    Lifecycle,
    /// When an attempt has failed.
    Failure,
    /// Before and after a promotion.
    Promotion,
}

impl Point {
    /// Every point.
    pub const ALL: [Self; 7] = [
        Self::Decision,
        Self::Transfer,
        Self::Retention,
        Self::Quiesce,
        Self::Lifecycle,
        Self::Failure,
        Self::Promotion,
    ];

    /// The name of its interface in the WIT package.
    pub fn interface(self) -> &'static str {
        match self {
            Self::Decision => "decision",
            Self::Transfer => "transfer",
            Self::Retention => "retention",
            Self::Quiesce => "quiesce",
            Self::Lifecycle => "lifecycle",
            Self::Failure => "failure",
            Self::Promotion => "promotion",
        }
    }

    /// Whether a call can have no effect, whatever was granted.
    pub fn is_pure(self) -> bool {
        matches!(self, Self::Decision | Self::Transfer | Self::Retention)
    }
}

/// What a module says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Info {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// A JSON schema of its settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings_schema: Option<String>,
}

/// One thing that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Problem {
    /// Where, as a JSON pointer (RFC 6901).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What, and what to write instead.
    pub message: String,
}

/// The answer of `decide`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Verdict {
    /// Sync.
    Proceed,
    /// Not this time. Says why.
    Skip(String),
    /// Not yet.
    Defer {
        /// Ask again after so many seconds.
        seconds: u32,
        /// Why.
        message: String,
    },
}

/// How files are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Comparison {
    /// Every file by its content.
    Content,
    /// By size and time; used only after a cut that was frozen.
    Metadata,
}

/// How to transfer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TransferOptions {
    /// KiB per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth_kib: Option<u32>,
    /// How files are compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
    /// rsync patterns. They add to those of the spec.
    #[serde(default)]
    pub excludes: Vec<String>,
    /// Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
}

/// What a copy that is cut now is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Consistency {
    /// The application has written down everything.
    Application,
    /// The file system is frozen or synced.
    Filesystem,
    /// As after a power cut.
    Crash,
}

/// The answer of `quiesce`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Frozen {
    /// Given back at release.
    #[serde(default)]
    pub token: String,
    /// What a cut is worth now.
    pub achieved: Consistency,
    /// Shown in the status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Why a quiesced application goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ReleaseReason {
    /// The cut is there.
    CutTaken,
    /// There will be none.
    CutFailed,
    /// `quiesce` failed, trapped, or was never answered.
    QuiesceFailed,
    /// It took too long.
    WindowExpired,
    /// The sync was given up.
    Cancelled,
    /// The controller was restarted meanwhile.
    ControllerRestarted,
    /// The object that names the hook is being deleted.
    ObjectDeleted,
}

/// What was being done when an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// A hook was asked whether to sync.
    Decision,
    /// The hook before the sync.
    PreSync,
    /// The application was brought to rest.
    Quiesce,
    /// The copy was made.
    Cut,
    /// The data were sent.
    Transfer,
    /// The snapshot was cut.
    Publish,
    /// The hook after the sync.
    PostSync,
    /// Old replicas were chosen.
    Retention,
    /// A replica was promoted.
    Promotion,
}

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FailureReport {
    /// What was being done.
    pub phase: Phase,
    /// A reason of the closed table of conditions.
    pub code: String,
    /// In words.
    pub message: String,
    /// The exit code of rsync, where it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mover_exit: Option<i32>,
    /// Whether another attempt would follow unasked.
    pub retryable: bool,
}

/// The answer of `on-failure`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Reaction {
    /// Go on as without a hook.
    Default,
    /// Another attempt after so many seconds.
    RetryAfter(u32),
    /// Compare everything in the next attempt.
    FullResync,
    /// No further sync until the spec changes. Says why.
    Suspend(String),
}

/// What is about to be promoted, or was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Candidate {
    /// The claim.
    pub volume: ObjectRef,
    /// Of when the data is, in milliseconds since 1970-01-01T00:00:00Z.
    pub taken: u64,
    /// How old that is.
    pub recovery_point_age_seconds: u64,
}
