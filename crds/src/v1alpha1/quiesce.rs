//! An application that is brought to rest for the cut: what is wanted, and how far it is.

use super::{Consistency, Failure, SourceCopyMethod, TriggerKind};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube_core::Duration;
use kube_derive::KubeSchema;
use schemars::JsonSchema;
use scribe_hooks_contract::undo::Undo;
use serde::{Deserialize, Serialize};

/// How long an application may be at rest, and what a copy has to be worth.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"))]
pub struct QuiesceOptions {
    /// The longest time from the first freeze to the cut. When it is over the application goes on, and a copy that is not complete is discarded.
    /// Default: 60s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = (
        "duration(self) >= duration('1s') && duration(self) <= duration('15m')",
        "maxWindow must be from 1s to 15m, for example 60s"
    ))]
    pub max_window: Option<Duration>,
    /// The least that the hook has to achieve; with less there is no copy. Default: whatever it achieves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_consistency: Option<RequiredConsistency>,
}

/// The least that a copy has to be worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RequiredConsistency {
    /// The application has written down everything.
    Application,
    /// The file system is frozen or synced, or better.
    Filesystem,
}

impl RequiredConsistency {
    /// Whether what was achieved is enough.
    pub fn is_met_by(self, achieved: Consistency) -> bool {
        match self {
            Self::Application => achieved == Consistency::Application,
            Self::Filesystem => matches!(achieved, Consistency::Application | Consistency::Filesystem),
        }
    }
}

/// An application that a hook brings to rest, has brought to rest, or lets go on. It is written before the hook is called, and stays until the hook's
/// release has succeeded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Quiesce {
    /// How far it is.
    pub state: QuiesceState,
    /// The HookModule.
    pub module: String,
    /// The hook's settings, as JSON.
    pub settings: String,
    /// The ServiceAccount that the hook acts as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
    /// The sync that it is for.
    pub sync_id: String,
    /// The attempt that it is for.
    pub attempt: u32,
    /// What started the sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<TriggerKind>,
    /// How the cut is made.
    #[serde(default)]
    pub copy_method: SourceCopyMethod,
    /// When the hook was called.
    pub since: Time,
    /// When the cut has to be complete.
    pub deadline: Time,
    /// The node on which the claim was in use when the hook was called: a copy is made for it, although the pod may be gone by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// What the hook wants back at release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// What a cut is worth now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub achieved: Option<Consistency>,
    /// The hook's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What undoes what the hook has frozen, in the order in which it was frozen. An entry is written before the change that it undoes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub undo: Vec<Undo>,
    /// How the release goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Release>,
}

/// How far a quiesce is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum QuiesceState {
    /// The hook is called. Anything may be frozen already.
    Quiescing,
    /// The application is at rest, and the cut is made.
    Frozen,
    /// The application is let go on.
    Releasing,
}

/// How the release of an application goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// Why it is released.
    pub reason: ReleaseReason,
    /// Counts the tries, from 1.
    pub number: u32,
    /// Whether the hook's own release has succeeded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hook_done: bool,
    /// Whether the host has undone something that the hook had frozen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undone: bool,
    /// The next try comes at this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Time>,
    /// Why the last try failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// Why an application is let go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum ReleaseReason {
    /// The cut is complete.
    CutTaken,
    /// There will be no cut.
    CutFailed,
    /// The hook could not bring it to rest, or not far enough.
    QuiesceFailed,
    /// The cut was not complete in time.
    WindowExpired,
    /// The sync was given up.
    Cancelled,
    /// Who had frozen it is gone.
    ControllerRestarted,
    /// The object is being deleted.
    ObjectDeleted,
}
