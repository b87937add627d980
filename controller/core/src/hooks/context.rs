//! What every call is told of the object and of the sync.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use scribe_crds::Duration;
use scribe_crds::v1alpha1::{HookSettings, MoverResult, MoverStatus};
use scribe_hooks_contract::context::{
    Attempt, Context, CopyMethod, LastSync, ObjectRef, Replication, Role, SyncStats, Trigger,
};

use crate::build::meta::Owner;

/// The longest settings of a hook, in bytes of JSON.
pub const SETTINGS_MOST: usize = 64 << 10;
/// How long a module may be told to take, in milliseconds, whatever its own limit: nobody waits for longer.
const PATIENCE: u64 = 60_000;

/// What is asked about, apart from the object.
pub(crate) struct Asked<'a> {
    /// The same in every call of this attempt.
    pub attempt_id: String,
    /// Counts from 1.
    pub number: u32,
    pub trigger: Trigger,
    pub now: Timestamp,
    pub last: LastSync,
    pub settings_json: &'a str,
}

/// Settings as a module gets them.
pub(crate) fn settings_json(settings: Option<&HookSettings>) -> String {
    // A map of JSON values can be written.
    settings.and_then(|settings| serde_json::to_string(settings).ok()).unwrap_or_else(Context::no_settings)
}

/// A claim's name, and its uid if it is known.
type ClaimName<'a> = (&'a str, Option<&'a str>);

/// The context of a call. `claims`: the source's, the destination's.
pub(crate) fn context(
    owner: &Owner,
    meta: &ObjectMeta,
    role: Role,
    copy_method: CopyMethod,
    claims: (Option<ClaimName<'_>>, Option<ClaimName<'_>>),
    asked: Asked<'_>,
) -> Context {
    let claim = |(name, uid): ClaimName<'_>| ObjectRef {
        api_version: "v1".to_owned(),
        kind: "PersistentVolumeClaim".to_owned(),
        namespace: owner.namespace.clone(),
        name: name.to_owned(),
        uid: uid.map(str::to_owned),
    };
    let now = millis(asked.now);
    Context {
        replication: Replication {
            object: ObjectRef {
                api_version: owner.api_version.clone(),
                kind: owner.kind.clone(),
                namespace: owner.namespace.clone(),
                name: owner.name.clone(),
                uid: Some(owner.uid.clone()),
            },
            role,
            generation: meta.generation.and_then(|it| u64::try_from(it).ok()).unwrap_or_default(),
            source_pvc: claims.0.map(claim),
            destination_pvc: claims.1.map(claim),
            copy_method,
            labels: meta.labels.clone().unwrap_or_default(),
        },
        attempt: Attempt {
            attempt_id: asked.attempt_id,
            number: asked.number,
            trigger: asked.trigger,
            now,
            deadline: now + PATIENCE,
        },
        last: asked.last,
        settings_json: asked.settings_json.to_owned(),
    }
}

/// How the syncs before this one went, as far as the status tells. What the last one moved is known until another mover has ended.
pub(crate) fn last_sync(
    ended: Option<&Time>,
    took: Option<Duration>,
    mover: Option<&MoverStatus>,
    consecutive_failures: u32,
) -> LastSync {
    let succeeded = ended.zip(took).map(|(ended, took)| {
        let moved = mover.filter(|mover| mover.result == MoverResult::Successful);
        let moved = moved.and_then(|mover| mover.transfer.clone()).unwrap_or_default();
        let count = |count: i64| u64::try_from(count).unwrap_or_default();
        let finished = millis(ended.0);
        let took = u64::try_from(std::time::Duration::from(took).as_millis()).unwrap_or(u64::MAX);
        SyncStats {
            started: finished.saturating_sub(took),
            finished,
            bytes_sent: count(moved.bytes_sent),
            bytes_total: count(moved.bytes_total),
            files_changed: count(moved.files_sent),
            files_deleted: count(moved.files_deleted),
            mover_exit: None,
        }
    });
    LastSync { succeeded, consecutive_failures }
}

/// As modules count time.
pub(crate) fn millis(time: Timestamp) -> u64 {
    u64::try_from(time.as_millisecond()).unwrap_or_default()
}
