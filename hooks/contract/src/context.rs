//! What every call is told.

use serde::{Deserialize, Serialize};

/// A Kubernetes object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectRef {
    /// As in a manifest: `v1`, `apps/v1`.
    pub api_version: String,
    /// As in a manifest: `StatefulSet`.
    pub kind: String,
    /// Empty means the namespace of the object that the hook stands in. No other is ever reached.
    #[serde(default)]
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Where it is given, only that very object is meant, and not a later one of the same name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
}

/// On which side of a replication the hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Where data comes from.
    Source,
    /// Where it goes.
    Destination,
}

/// How the point-in-time copy is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CopyMethod {
    /// A claim cloned from the claim.
    Clone,
    /// A snapshot of the claim.
    Snapshot,
    /// None: the claim itself is read or written.
    Direct,
}

/// Why this sync was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Trigger {
    /// A tick of the schedule.
    Schedule,
    /// A tag of the user's.
    Manual,
    /// Continuous replication.
    Change,
    /// Another attempt of a sync that failed.
    Retry,
    /// A promotion.
    Promotion,
}

/// The ReplicationSource, ReplicationDestination or Promotion that names the hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Replication {
    /// The object itself.
    #[serde(rename = "ref")]
    pub object: ObjectRef,
    /// Its side.
    pub role: Role,
    /// Its `metadata.generation`.
    pub generation: u64,
    /// The claim that is read, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_pvc: Option<ObjectRef>,
    /// The claim that is written, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_pvc: Option<ObjectRef>,
    /// How its copy is made.
    pub copy_method: CopyMethod,
    /// The object's labels. A module sees them sorted by key.
    #[serde(default)]
    pub labels: std::collections::BTreeMap<String, String>,
}

/// One attempt of one sync.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Attempt {
    /// The same in every call of this attempt, also after a restart: an idempotency key.
    pub attempt_id: String,
    /// Counts from 1.
    pub number: u32,
    /// Why there is one.
    pub trigger: Trigger,
    /// Milliseconds since 1970-01-01T00:00:00Z. The only clock that a pure call sees.
    pub now: u64,
    /// Until when whoever asks can wait, in milliseconds since 1970-01-01T00:00:00Z. A module is told this or the end of its time limit,
    /// whichever comes first.
    pub deadline: u64,
}

/// What a finished sync did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SyncStats {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub started: u64,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub finished: u64,
    /// Over the wire.
    pub bytes_sent: u64,
    /// Of all files.
    pub bytes_total: u64,
    /// Files made or rewritten.
    pub files_changed: u64,
    /// Files deleted.
    pub files_deleted: u64,
    /// The exit code of rsync, where it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mover_exit: Option<i32>,
}

/// How the syncs before this one went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LastSync {
    /// The last that succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succeeded: Option<SyncStats>,
    /// Attempts that failed since.
    #[serde(default)]
    pub consecutive_failures: u32,
}

/// What every call is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Context {
    /// Whose hook it is.
    pub replication: Replication,
    /// What is being attempted.
    pub attempt: Attempt,
    /// What went before.
    #[serde(default)]
    pub last: LastSync,
    /// The hook's `settings` in the object's spec, as JSON; `{}` if there are none.
    #[serde(default = "Context::no_settings")]
    pub settings_json: String,
}

impl Context {
    /// The settings of a hook without any.
    pub fn no_settings() -> String {
        "{}".to_owned()
    }
}
