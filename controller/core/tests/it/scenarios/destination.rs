//! Situations of a ReplicationDestination.

use super::{Hooked, Refused, Warned, heard, over, refusals, render, warnings};
use crate::destination::world::{RD, World, commit, hello};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use scribe_core::build::meta::Owner;
use scribe_core::observed::DestinationObserved;
use scribe_crds::names;
use scribe_crds::snapshots::{
    VolumeSnapshot, VolumeSnapshotContent, VolumeSnapshotContentSpec, VolumeSnapshotError,
    VolumeSnapshotSource, VolumeSnapshotSpec, VolumeSnapshotStatus,
};
use scribe_crds::v1alpha1::DestinationStatus;
use scribe_mover_contract::control::{MoverState, Question, QuestionKind};
use scribe_mover_contract::peer::{Commit, Handshake, Published};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Those before it were answered: sessions that stand in a status name them.
const FIRST_QUESTION: u64 = 10;

/// A situation, as far as it is not the usual one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Situation {
    now: Timestamp,
    /// Nothing was made yet.
    #[serde(default)]
    is_new: bool,
    /// Over the usual one. What a file leaves out of the status is that of a destination that listens.
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: Value,
    #[serde(default)]
    has_finalizer: Option<bool>,
    #[serde(default)]
    is_being_deleted: bool,
    /// Over the usual ones; `false`: there is none.
    #[serde(default)]
    claim: Value,
    #[serde(default)]
    service: Value,
    #[serde(default)]
    pod: Value,
    #[serde(default)]
    mover: Value,
    /// What the mover asks.
    #[serde(default)]
    asks: Vec<Ask>,
    #[serde(default)]
    snapshots: Vec<Seen>,
    /// The deletion policy of each content that is there, by the name of its snapshot.
    #[serde(default)]
    contents: BTreeMap<String, String>,
    #[serde(default)]
    warnings: Vec<Warned>,
    #[serde(default)]
    refusals: Vec<Refused>,
    #[serde(default)]
    hooks: Hooked,
}

/// A question of the mover.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum Ask {
    Handshake(Said),
    Commit(Said),
    Published(Said),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Said {
    sync: String,
    #[serde(default = "one")]
    attempt: u32,
    #[serde(default)]
    data_time: Option<String>,
    /// The seal that was set for a commit.
    #[serde(default)]
    seal: Option<u64>,
    #[serde(default)]
    asked_at: Option<Timestamp>,
    /// Anything else that it says.
    #[serde(default)]
    says: Value,
}

fn one() -> u32 {
    1
}

/// A VolumeSnapshot.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Seen {
    name: String,
    sync: String,
    /// Of a replica.
    #[serde(default)]
    data_time: Option<String>,
    #[serde(default)]
    created: Option<Timestamp>,
    #[serde(default)]
    is_cut: bool,
    #[serde(default)]
    is_ready: bool,
    #[serde(default)]
    is_published: bool,
    #[serde(default)]
    is_pinned: bool,
    #[serde(default)]
    error: Option<String>,
}

/// What is decided.
pub fn decide(text: &str) -> String {
    let situation: Situation = serde_saphyr::from_str(text).unwrap();
    let mut world = if situation.is_new { World::new(RD) } else { World::listening() };
    let now = Time(situation.now);
    let seen = &mut world.seen;
    seen.destination.spec = over(&seen.destination.spec, &situation.spec);
    if !situation.status.is_null() {
        let usual = seen.destination.status.clone().unwrap_or_default();
        seen.destination.status = Some(over::<DestinationStatus>(&usual, &situation.status));
    }
    if let Some(has) = situation.has_finalizer {
        seen.destination.metadata.finalizers = has.then(|| vec![names::FINALIZER.to_owned()]);
    }
    seen.destination.metadata.deletion_timestamp = situation.is_being_deleted.then(|| now.clone());
    part(&mut seen.claim, &situation.claim);
    part(&mut seen.service, &situation.service);
    let mut pod = seen.pods.pop();
    part(&mut pod, &situation.pod);
    seen.pods.extend(pod);
    mover(seen, &situation, &now);
    let owner = Owner::destination(&seen.destination);
    seen.snapshots =
        situation.snapshots.iter().map(|snapshot| self::snapshot(&owner, snapshot, &now)).collect();
    seen.contents = situation.contents.iter().map(|(of, policy)| content(of, policy)).collect();
    seen.around.warnings = warnings(situation.warnings);
    seen.around.refusals = refusals(situation.refusals);
    if situation.is_new {
        world.seen.key_secrets = world.look_at_keys();
    }
    let Hooked { modules, since } = &situation.hooks;
    let (settings, chance) = (&world.settings, &mut world.chance);
    let mut decide = |seen: &mut DestinationObserved, now| {
        let decide = |seen: &_| scribe_core::destination::decide(seen, settings, now, chance);
        heard(modules, seen, |seen| &mut seen.hooks, decide)
    };
    if let Some(since) = since {
        world.seen.destination.status = decide(&mut world.seen, *since).status;
        world.seen.hooks.calls.clear();
    }
    let decision = decide(&mut world.seen, situation.now);
    render::decision(&decision, world.seen.destination.status.as_ref(), situation.now)
}

/// A part of what is seen: taken away, or with fields of its own.
fn part<T: serde::Serialize + serde::de::DeserializeOwned>(usual: &mut Option<T>, given: &Value) {
    *usual = match given {
        Value::Bool(false) => None,
        given => usual.as_ref().map(|usual| over(usual, given)),
    };
}

fn mover(seen: &mut DestinationObserved, situation: &Situation, now: &Time) {
    let state = match (&situation.mover, seen.mover.take()) {
        (Value::Bool(false), _) | (_, None) => None,
        (given, Some((pod, usual))) => {
            let mut state: MoverState = over(&usual, given);
            state.questions =
                situation.asks.iter().zip(FIRST_QUESTION..).map(|(ask, id)| question(ask, id, now)).collect();
            Some((pod, state))
        }
    };
    seen.mover = state.filter(|_| !seen.pods.is_empty());
}

fn question(ask: &Ask, id: u64, now: &Time) -> Question {
    let time = |said: &Said| said.data_time.clone().unwrap_or_else(|| now.0.to_string());
    let (said, about) = match ask {
        Ask::Handshake(said) => {
            let usual = hello(&said.sync, said.attempt, &time(said));
            (said, QuestionKind::Handshake(Box::new(over::<Handshake>(&usual, &said.says))))
        }
        Ask::Commit(said) => {
            let commit: Commit = over(&commit(&said.sync, said.attempt, &time(said)), &said.says);
            (said, QuestionKind::Commit { commit, seal: said.seal.unwrap_or_default() })
        }
        Ask::Published(said) => {
            let about = Published { sync_id: said.sync.clone(), attempt: said.attempt };
            (said, QuestionKind::Published(about))
        }
    };
    Question { id, asked_at: said.asked_at.unwrap_or(now.0), about }
}

fn snapshot(owner: &Owner, seen: &Seen, now: &Time) -> VolumeSnapshot {
    let mut metadata = owner.child(seen.name.clone(), Some(&seen.sync));
    metadata.uid = Some(seen.name.clone());
    metadata.resource_version = Some("7".to_owned());
    metadata.creation_timestamp = Some(seen.created.map_or_else(|| now.clone(), Time));
    if seen.is_published {
        metadata.owner_references = None;
        let data_time = seen.data_time.clone().unwrap_or_default();
        let annotations = [
            (names::DATA_TIME, data_time.as_str()),
            (names::SYNC_ID, &seen.sync),
            (names::SOURCE_UID, "west-claim"),
            (names::CONSISTENCY, "crash"),
            (names::COMPARISON, "Content"),
            (names::PUBLISHED, &data_time),
        ];
        let annotations = annotations.into_iter().chain(seen.is_pinned.then_some((names::PINNED, "true")));
        metadata.annotations =
            Some(annotations.map(|(key, value)| (key.to_owned(), value.to_owned())).collect());
    }
    let source = VolumeSnapshotSource {
        persistent_volume_claim_name: Some("scribe-dst-db".to_owned()),
        ..VolumeSnapshotSource::default()
    };
    VolumeSnapshot {
        metadata,
        spec: VolumeSnapshotSpec { source, volume_snapshot_class_name: None },
        status: Some(VolumeSnapshotStatus {
            creation_time: seen.is_cut.then(|| now.clone()),
            ready_to_use: Some(seen.is_ready),
            error: seen
                .error
                .clone()
                .map(|message| VolumeSnapshotError { time: None, message: Some(message) }),
            ..VolumeSnapshotStatus::default()
        }),
    }
}

fn content(of: &str, policy: &str) -> VolumeSnapshotContent {
    let mut content = VolumeSnapshotContent::new(
        &format!("snapcontent-{of}"),
        VolumeSnapshotContentSpec {
            deletion_policy: policy.to_owned(),
            ..VolumeSnapshotContentSpec::default()
        },
    );
    content.spec.volume_snapshot_ref.uid = Some(of.to_owned());
    content
}
