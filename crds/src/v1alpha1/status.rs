//! What Scribe reports. Both kinds share most of it, so that a reader, a script or another program learns it once.

use super::{
    Consistency, FailedAttempt, GuardedSync, HookStatus, PostSync, Quiesce, SkippedSync, SourceCopyMethod,
    Suspended,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube_core::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a replication is doing now.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Phase {
    /// Nothing to do: no source claim, or a manual trigger without a new tag.
    Idle,
    /// A hook brings the application to rest.
    Quiescing,
    /// The point-in-time copy is being made.
    Cutting,
    /// The mover is being started.
    Starting,
    /// Data is being moved.
    Transferring,
    /// A snapshot of what was received is being made.
    Publishing,
    /// The destination waits for its source.
    Listening,
    /// Waiting for the next trigger, or for something that a condition names.
    #[default]
    Waiting,
    /// `spec.paused` is true.
    Paused,
    /// The last sync failed, or the spec cannot be carried out. A condition says why.
    Failed,
}

impl Phase {
    /// Every phase, in the order of a sync.
    pub const ALL: [Phase; 9] = [
        Phase::Idle,
        Phase::Cutting,
        Phase::Starting,
        Phase::Transferring,
        Phase::Publishing,
        Phase::Listening,
        Phase::Waiting,
        Phase::Paused,
        Phase::Failed,
    ];
}

/// What started a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TriggerKind {
    /// A tick of `trigger.schedule`.
    Schedule,
    /// A new value of `trigger.manual`.
    Manual,
    /// The creation of the source.
    OnCreate,
    /// Continuous replication.
    Continuous,
}

/// The sync that runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CurrentSync {
    /// The id of the sync, random, the same on both sides.
    pub id: String,
    /// What started it (source only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<TriggerKind>,
    /// The tag of a manual trigger as it was when the sync started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// How the point-in-time copy is made, as the spec said when the sync started; absent: `Clone` (source only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_method: Option<SourceCopyMethod>,
    /// Counts the movers started for this sync, from 1.
    pub attempt: u32,
    /// When the sync started.
    pub started_at: Time,
    /// The data time: when the point-in-time copy was made, never later than in truth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_time: Option<Time>,
    /// The uid of the point-in-time copy: of the clone, of the snapshot, or of the claim itself with `copyMethod: Direct`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<String>,
    /// What the copy can be relied upon to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consistency: Option<Consistency>,
    /// The Lifecycle hook has let this sync pass (source only).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pre_synced: bool,
    /// A hook has asked for the pause before the next attempt (source only).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub put_off: bool,
    /// Why this attempt goes on without a Quiesce hook (source only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unquiesced: Option<Failure>,
    /// No mover is started for the next attempt before this time (source only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Time>,
    /// Why the last attempt ended (source only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
    /// The refused sync that the annotation `scribe.dev/admit-sync` named when this one started: the guards let this one pass (source
    /// only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admits: Option<String>,
    /// The guards have let this sync pass. Its further attempts find a part of it done, and are not judged by what is left (source only).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub guards_passed: bool,
}

/// Why something ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// One of the reasons listed in the documentation.
    pub reason: String,
    /// What happened and what to do, in words.
    pub message: String,
}

/// How the last sync that ended came to its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastAttempt {
    /// The id of the sync.
    pub id: String,
    /// What started it.
    pub trigger: TriggerKind,
    /// The tag of a manual trigger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// When it started.
    pub started_at: Time,
    /// When it ended.
    pub ended_at: Time,
    /// Absent if it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// A point in time to which the data can be brought back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryPoint {
    /// The time of the data in the newest published replica.
    pub data_time: Time,
    /// The sync that proved it.
    pub sync_id: String,
}

/// How far a transfer is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// One line for people, for example `42% 1.2 GiB of 2.9 GiB`.
    pub summary: String,
    /// Bytes of the volume that were dealt with so far.
    pub bytes_done: i64,
    /// Bytes of the volume in all, as far as known.
    pub bytes_total: i64,
    /// Files dealt with so far.
    pub files_done: i64,
    /// Files in all, as far as known.
    pub files_total: i64,
    /// Bytes per second, of late.
    pub rate: i64,
    /// Seconds until the end, at that rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<i64>,
}

/// What a transfer amounted to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Transfer {
    /// The size of all files, in bytes.
    pub bytes_total: i64,
    /// What went over the wire, both directions, in bytes.
    pub bytes_sent: i64,
    /// Content that had to be sent because the destination did not have it, in bytes.
    pub bytes_literal: i64,
    /// All files, directories and other entries.
    pub files_total: i64,
    /// Regular files that were sent, wholly or in part.
    pub files_sent: i64,
    /// Entries deleted at the destination.
    pub files_deleted: i64,
}

/// How the last mover ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MoverStatus {
    /// Whether it did its job.
    pub result: MoverResult,
    /// Why not: one of the reasons listed in the documentation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The last of what it had to say, at most 1 KiB, without secrets.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub logs: String,
    /// What it moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<Transfer>,
}

/// Whether a mover did its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MoverResult {
    /// It did.
    Successful,
    /// It did not.
    Failed,
}

/// Values that were not given, and what they came out as.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Effective {
    /// The time zone of the schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// The recovery point objective: `spec.rpo`, or, for a schedule, twice the longest time between the next ticks (source only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpo: Option<Duration>,
    /// The least time between two continuous syncs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_interval: Option<Duration>,
    /// The size of the point-in-time copy or of the receiving claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<String>,
    /// The storage class of that claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class_name: Option<String>,
    /// The access modes of that claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_modes: Option<Vec<String>>,
    /// How long a cut may take (source), how long a snapshot may take (destination).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
}

/// The status of a ReplicationSource.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SourceStatus {
    /// What the source is doing now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// What holds now: `Synchronizing`, `WithinRPO`, `Degraded`, with hooks `HooksReady`, and `StillFrozen` while an application is not let go on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::conditions_schema")]
    pub conditions: Vec<Condition>,
    /// The generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Values that were not given, and what they came out as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective: Option<Effective>,
    /// What the method has to say, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub method_status: BTreeMap<String, String>,
    /// The sync that runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_sync: Option<CurrentSync>,
    /// How the last sync that ended came to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_attempt: Option<LastAttempt>,
    /// VolumeSnapshotContents of snapshots that are being deleted: until they are gone, no other copy is made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub releasing: Vec<String>,
    /// The last sync that a guard refused, until it is admitted or another sync is published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guarded: Option<GuardedSync>,
    /// What became of the hooks, in the order of `spec.hooks`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub hooks: Vec<HookStatus>,
    /// An application that a hook brings to rest, has brought to rest, or lets go on. No other is begun while it is here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quiesce: Option<Quiesce>,
    /// The sync that was published last, if the Lifecycle hook is still to hear of it, or failed to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub post_sync: Option<PostSync>,
    /// The attempt that failed last, if the Failure hook is still to hear of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_attempt: Option<FailedAttempt>,
    /// The Failure hook wants everything to be compared by content in the next attempts, until one is published.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub full_resync: bool,
    /// The Failure hook wants no further sync, until the spec changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspended: Option<Suspended>,
    /// The last sync that a Decision hook skipped: its trigger has had its due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_skip: Option<SkippedSync>,
    /// The newest replica that the destination is known to have published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery_point: Option<RecoveryPoint>,
    /// When the last successful sync ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_sync_time: Option<Time>,
    /// How long the last successful sync took, from its start to its publication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_sync_duration: Option<Duration>,
    /// When the next sync starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_sync_time: Option<Time>,
    /// The tag of the last manual sync that was published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_manual_sync: Option<String>,
    /// How the last mover ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_mover_status: Option<MoverStatus>,
    /// How far the transfer is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// Syncs that failed since the last successful one.
    pub consecutive_failures: u32,
    /// What the destination could not keep.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fidelity: Vec<String>,
}
