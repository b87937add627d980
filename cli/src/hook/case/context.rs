//! What a call is told, with a default for whatever a case does not care about.

use std::collections::BTreeMap;

use scribe_hooks::contract::context::{
    Attempt, Context, CopyMethod, LastSync, ObjectRef, Replication, Role, SyncStats, Trigger,
};
use scribe_hooks::contract::points::Candidate;
use scribe_hooks::contract::retention::ReplicaPoint;
use serde::Deserialize;

use super::moment::Moment;

/// When nothing else is said: 2026-01-05T12:00:00Z, a Monday.
const NOW: u64 = 1_767_614_400_000;
/// How long whoever asks can wait, in milliseconds: longer than any limit, so that the limit is what counts.
const PATIENCE: u64 = 3_600_000;
const NAMESPACE: &str = "shop";

/// A context, as a case has it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContextInput {
    #[serde(default)]
    replication: ReplicationInput,
    #[serde(default)]
    attempt: AttemptInput,
    #[serde(default)]
    last: LastInput,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ReplicationInput {
    #[serde(default, rename = "ref")]
    object: ObjectInput,
    role: Option<Role>,
    generation: Option<u64>,
    source_pvc: Option<ObjectInput>,
    destination_pvc: Option<ObjectInput>,
    copy_method: Option<CopyMethod>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ObjectInput {
    api_version: Option<String>,
    kind: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
    uid: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AttemptInput {
    attempt_id: Option<String>,
    number: Option<u32>,
    trigger: Option<Trigger>,
    now: Option<Moment>,
    deadline: Option<Moment>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LastInput {
    succeeded: Option<StatsInput>,
    #[serde(default)]
    consecutive_failures: u32,
}

/// What a finished sync did.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StatsInput {
    started: Option<Moment>,
    finished: Option<Moment>,
    #[serde(default)]
    bytes_sent: u64,
    #[serde(default)]
    bytes_total: u64,
    #[serde(default)]
    files_changed: u64,
    #[serde(default)]
    files_deleted: u64,
    mover_exit: Option<i32>,
}

/// A replica that a retention hook judges.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PointInput {
    id: String,
    created: Moment,
    size_bytes: Option<u64>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    pinned: bool,
    #[serde(default)]
    in_use: bool,
    ready: Option<bool>,
}

/// What is about to be promoted, or was.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CandidateInput {
    #[serde(default)]
    volume: ObjectInput,
    taken: Option<Moment>,
    recovery_point_age_seconds: Option<u64>,
}

impl ContextInput {
    /// When the case begins, in milliseconds since 1970-01-01T00:00:00Z.
    pub fn now(&self) -> u64 {
        self.attempt.now.map_or(NOW, |now| now.0)
    }

    /// The whole context.
    pub fn complete(self, settings_json: String) -> Context {
        let now = self.now();
        let Self { replication, attempt, last } = self;
        let ReplicationInput { object, role, generation, source_pvc, destination_pvc, copy_method, labels } =
            replication;
        let role = role.unwrap_or(Role::Source);
        let kind = match role {
            Role::Source => "ReplicationSource",
            Role::Destination => "ReplicationDestination",
        };
        let mut object = object.complete("scribe.dev/v1alpha1", kind, "db");
        if object.namespace.is_empty() {
            NAMESPACE.clone_into(&mut object.namespace);
        }
        let claim = |object: ObjectInput| object.complete("v1", "PersistentVolumeClaim", "data");
        Context {
            replication: Replication {
                object,
                role,
                generation: generation.unwrap_or(1),
                source_pvc: source_pvc.map(claim),
                destination_pvc: destination_pvc.map(claim),
                copy_method: copy_method.unwrap_or(CopyMethod::Clone),
                labels,
            },
            attempt: Attempt {
                attempt_id: attempt.attempt_id.unwrap_or_else(|| "attempt-1".to_owned()),
                number: attempt.number.unwrap_or(1),
                trigger: attempt.trigger.unwrap_or(Trigger::Schedule),
                now,
                deadline: attempt.deadline.map_or(now.saturating_add(PATIENCE), |deadline| deadline.0),
            },
            last: LastSync {
                succeeded: last.succeeded.map(|stats| stats.complete(now)),
                consecutive_failures: last.consecutive_failures,
            },
            settings_json,
        }
    }
}

impl ObjectInput {
    fn complete(self, api_version: &str, kind: &str, name: &str) -> ObjectRef {
        ObjectRef {
            api_version: self.api_version.unwrap_or_else(|| api_version.to_owned()),
            kind: self.kind.unwrap_or_else(|| kind.to_owned()),
            namespace: self.namespace.unwrap_or_default(),
            name: self.name.unwrap_or_else(|| name.to_owned()),
            uid: self.uid,
        }
    }
}

impl StatsInput {
    /// A sync that took a minute and ended now, where nothing else is said.
    pub fn complete(self, now: u64) -> SyncStats {
        let finished = self.finished.map_or(now, |time| time.0);
        SyncStats {
            started: self.started.map_or(finished.saturating_sub(60_000), |time| time.0),
            finished,
            bytes_sent: self.bytes_sent,
            bytes_total: self.bytes_total,
            files_changed: self.files_changed,
            files_deleted: self.files_deleted,
            mover_exit: self.mover_exit,
        }
    }
}

impl PointInput {
    /// One that is ready and nothing else, where nothing else is said.
    pub fn complete(self) -> ReplicaPoint {
        ReplicaPoint {
            id: self.id,
            created: self.created.0,
            size_bytes: self.size_bytes,
            labels: self.labels,
            pinned: self.pinned,
            in_use: self.in_use,
            ready: self.ready.unwrap_or(true),
        }
    }
}

impl CandidateInput {
    /// A claim `data` that is as old as it is, where nothing else is said.
    pub fn complete(self, now: u64) -> Candidate {
        let taken = self.taken.map_or(now.saturating_sub(60_000), |time| time.0);
        Candidate {
            volume: self.volume.complete("v1", "PersistentVolumeClaim", "data"),
            taken,
            recovery_point_age_seconds: self
                .recovery_point_age_seconds
                .unwrap_or(now.saturating_sub(taken) / 1000),
        }
    }
}
