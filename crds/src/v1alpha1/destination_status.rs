//! The status of a ReplicationDestination, and what it is made of.

use super::{
    Comparison, Consistency, CurrentSync, Effective, GuardedSync, HookStatus, MoverStatus, Phase, Progress,
    RecoveryPoint, Transfer,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube_core::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The status of a ReplicationDestination.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DestinationStatus {
    /// What the destination is doing now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// What holds now: `Synchronizing`, `Promotable`, `WithinRPO`, `Degraded`, and with hooks `HooksReady`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::conditions_schema")]
    pub conditions: Vec<Condition>,
    /// The generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Values that were not given, and what they came out as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective: Option<Effective>,
    /// Where the source finds this destination: `address`, `port`, and `sshKeys`, the Secret to carry to the source.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub method_status: BTreeMap<String, String>,
    /// Fingerprints of the keys in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_fingerprints: Option<KeyFingerprints>,
    /// Who is allowed to send: the first source that connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<PinnedSource>,
    /// The sync that runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_sync: Option<CurrentSync>,
    /// The last syncs that were admitted, newest last. One that another has replaced is refused for good.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub sessions: Vec<Session>,
    /// Set before the first write into the receiving claim, cleared by a commit: the claim does not equal any cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dirty: Option<Dirty>,
    /// What was last received completely.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received: Option<Received>,
    /// The last sync that a guard refused. Nothing is pruned until another is received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guarded: Option<GuardedSync>,
    /// What became of the hooks, in the order of `spec.hooks`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub hooks: Vec<HookStatus>,
    /// The last source that was refused because the destination belongs to another. Nothing is pruned until a later sync is received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_source: Option<RefusedSource>,
    /// VolumeSnapshotContents of snapshots that were given up: until they are gone, the receiving claim stays sealed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub releasing: Vec<String>,
    /// A size that the receiving claim could not be given. It is not tried again until `spec.rsync.capacity` is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_expansion: Option<RefusedExpansion>,
    /// The newest published replica.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_image: Option<LatestImage>,
    /// The published replicas, newest first. Of more than 128, the newest 128.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub replicas: Vec<Replica>,
    /// The data time of the newest published replica.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery_point: Option<RecoveryPoint>,
    /// What the source said it aims at: its objective and its schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objective: Option<Objective>,
    /// When the last successful sync was published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_sync_time: Option<Time>,
    /// How long the last successful sync took, from the handshake to its publication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_sync_duration: Option<Duration>,
    /// The tag of `trigger.manual` that was used up by the last accepted sync.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_manual_sync: Option<String>,
    /// How the last session ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_mover_status: Option<MoverStatus>,
    /// How far the transfer is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// Syncs that failed since the last successful one.
    pub consecutive_failures: u32,
    /// What this destination cannot keep.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fidelity: Vec<String>,
}

/// SHA-256 fingerprints of public keys, as `ssh-keygen -l` prints them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyFingerprints {
    /// The key by which the source proves itself.
    pub source: String,
    /// The host key of the destination.
    pub destination: String,
    /// The relationship's own id, random, made together with the keys.
    pub relationship: String,
}

/// The source that a destination belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PinnedSource {
    /// The uid of the namespace `kube-system` in the source's cluster.
    pub cluster_id: String,
    /// The uid of the source claim.
    pub claim_uid: String,
    /// Namespace and name of the ReplicationSource, for people.
    pub name: String,
}

/// A source that was refused because the destination belongs to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefusedSource {
    /// The sync that it offered. The annotation `scribe.dev/admit-sync` admits the source by this id.
    pub sync_id: String,
    /// Who it is.
    #[serde(flatten)]
    pub source: PinnedSource,
    /// When it was refused.
    pub time: Time,
}

/// A sync that was admitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// The id of the sync.
    pub sync_id: String,
    /// The highest attempt that was admitted.
    pub attempt: u32,
    /// The fencing token of that attempt: each admission's is higher than the one before.
    pub token: u64,
    /// Whether the receiving claim equalled the newest published replica when this token was given: only then may the commit say
    /// that nothing changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub clean: bool,
    /// Since when no connection of this session is open. If none comes for a while, the sync has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disconnected_since: Option<Time>,
    /// The question that was answered with this token, so that answering it once more gives no other token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
}

/// A size that a claim could not be given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefusedExpansion {
    /// The size that was asked for.
    pub capacity: String,
    /// Why not, in the API server's words.
    pub message: String,
}

/// The receiving claim is not equal to any cut.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Dirty {
    /// The sync that writes, or wrote.
    pub sync_id: String,
    /// Since when.
    pub since: Time,
}

/// What was last received completely.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Received {
    /// The sync.
    pub sync_id: String,
    /// The attempt that committed it.
    pub attempt: u32,
    /// The time of the data.
    pub data_time: Time,
    /// The uid of the cut that was sent.
    pub cut: String,
    /// The uid of the claim that it was received into. For any other claim this record is void.
    pub claim_uid: String,
    /// What it can be relied upon to be.
    pub consistency: Consistency,
    /// How changed files were found.
    pub comparison: Comparison,
    /// When the commit was recorded.
    pub received_at: Time,
    /// What was moved.
    #[serde(default)]
    pub transfer: Transfer,
    /// Nothing differed from this published replica, so no new one is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unchanged_from: Option<String>,
    /// Counts the snapshots tried for this data, from 1. A later attempt of the same sync tries again.
    pub publication: u32,
    /// Why publication was given up, in the snapshotter's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gave_up: Option<String>,
    /// When it was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_at: Option<Time>,
}

/// A reference to the newest published replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LatestImage {
    /// `snapshot.storage.k8s.io`; empty for a claim.
    pub api_group: String,
    /// `VolumeSnapshot`, or `PersistentVolumeClaim` with `copyMethod: Direct`.
    pub kind: String,
    /// The name, in the namespace of the destination.
    pub name: String,
}

/// A published replica.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replica {
    /// The name of the VolumeSnapshot.
    pub name: String,
    /// The time of the data.
    pub data_time: Time,
    /// The sync that brought it.
    pub sync_id: String,
    /// What it can be relied upon to be.
    pub consistency: Consistency,
    /// How changed files were found.
    pub comparison: Comparison,
    /// Whether it is annotated `scribe.dev/pinned`, and so kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
    /// Why it is kept.
    pub kept_because: String,
}

/// What the source aims at, from its last handshake.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Objective {
    /// The recovery point objective, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpo_seconds: Option<i64>,
    /// The schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// The time zone of the schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}
