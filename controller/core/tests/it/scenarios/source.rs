//! Situations of a ReplicationSource.

use super::{Hooked, Refused, Warned, heard, over, refusals, render, warnings};
use crate::source::world::{Counting, World, yaml};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use scribe_core::build::meta::Owner;
use scribe_core::build::pod::CONTAINER;
use scribe_core::observed::SourceObserved;
use scribe_crds::names;
use scribe_crds::v1alpha1::ReplicationSourceSpec;
use scribe_mover_contract::control::MoverState;
use serde::Deserialize;
use serde_json::{Value, json};

const SPEC: &str = "{sourcePVC: data, trigger: {schedule: '@hourly'}, rsync: {sshKeys: db-keys}}";

/// A situation, as far as it is not the usual one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Situation {
    now: Timestamp,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: Value,
    #[serde(default = "yes")]
    has_finalizer: bool,
    #[serde(default)]
    is_being_deleted: bool,
    /// Over the usual one; `false`: there is none.
    #[serde(default)]
    claim: Value,
    #[serde(default)]
    cuts: Vec<Seen>,
    #[serde(default)]
    pods: Vec<Seen>,
    /// What the mover of the first pod says.
    #[serde(default)]
    mover: Option<Value>,
    #[serde(default)]
    warnings: Vec<Warned>,
    #[serde(default)]
    refusals: Vec<Refused>,
    #[serde(default)]
    hooks: Hooked,
}

/// A cut or a pod of ours.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Seen {
    name: String,
    #[serde(default)]
    uid: Option<String>,
    #[serde(default)]
    created: Option<Timestamp>,
    /// Of a cut: `Pending` or `Bound`; of a pod: its phase.
    phase: String,
    #[serde(default)]
    is_being_deleted: bool,
    /// How a pod's mover ended.
    #[serde(default)]
    ended: Option<Ended>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ended {
    exit: i32,
    #[serde(default)]
    says: Value,
}

fn yes() -> bool {
    true
}

/// What is decided.
pub fn decide(text: &str) -> String {
    let situation: Situation = yaml(text);
    let mut world = World::new(SPEC);
    let seen = &mut world.seen;
    seen.source.spec = over::<ReplicationSourceSpec>(&seen.source.spec, &situation.spec);
    seen.source.status =
        (!situation.status.is_null()).then(|| serde_json::from_value(situation.status).unwrap());
    seen.source.metadata.finalizers = situation.has_finalizer.then(|| vec![names::FINALIZER.to_owned()]);
    let now = Time(situation.now);
    seen.source.metadata.deletion_timestamp = situation.is_being_deleted.then(|| now.clone());
    seen.claim = match situation.claim {
        Value::Bool(false) => None,
        given => seen.claim.as_ref().map(|usual| over(usual, &given)),
    };
    let owner = Owner::source(&seen.source);
    let sync = seen
        .source
        .status
        .as_ref()
        .and_then(|status| status.current_sync.as_ref())
        .map(|sync| sync.id.clone());
    seen.cuts = situation.cuts.iter().map(|cut| self::cut(&owner, cut, &now)).collect();
    seen.pods = situation.pods.iter().map(|pod| self::pod(&owner, pod, sync.as_deref(), &now)).collect();
    let mover = situation.pods.first().zip(situation.mover.as_ref());
    seen.mover = mover.map(|(pod, given)| (pod.name.clone(), over(&usual_mover(), given)));
    seen.around.warnings = warnings(situation.warnings);
    seen.around.refusals = refusals(situation.refusals);
    let Hooked { modules, since } = &situation.hooks;
    let settings = &world.settings;
    let decide = |seen: &mut SourceObserved, now| {
        let decide = |seen: &_| scribe_core::source::decide(seen, settings, now, &mut Counting::default());
        heard(modules, seen, |seen| &mut seen.hooks, decide)
    };
    if let Some(since) = since {
        seen.source.status = decide(seen, *since).status;
        seen.hooks.calls.clear();
    }
    let decision = decide(seen, situation.now);
    render::decision(&decision, seen.source.status.as_ref(), situation.now)
}

fn usual_mover() -> MoverState {
    yaml("{protocol: 1, instance: i, revision: 1, activity: connecting}")
}

fn meta(owner: &Owner, seen: &Seen, now: &Time) -> ObjectMeta {
    ObjectMeta {
        uid: Some(seen.uid.clone().unwrap_or_else(|| format!("uid of {}", seen.name))),
        creation_timestamp: Some(seen.created.map_or_else(|| now.clone(), Time)),
        deletion_timestamp: seen.is_being_deleted.then(|| now.clone()),
        ..owner.child(seen.name.clone(), None)
    }
}

fn cut(owner: &Owner, seen: &Seen, now: &Time) -> PersistentVolumeClaim {
    let mut cut: PersistentVolumeClaim =
        yaml("{metadata: {}, spec: {dataSource: {kind: PersistentVolumeClaim, name: data}}}");
    cut.metadata = meta(owner, seen, now);
    cut.metadata.annotations = Some([(names::SOURCE_UID.to_owned(), "claim-uid".to_owned())].into());
    cut.status = Some(serde_json::from_value(json!({"phase": seen.phase})).unwrap());
    cut
}

fn pod(owner: &Owner, seen: &Seen, sync: Option<&str>, now: &Time) -> Pod {
    let mut status = json!({"phase": seen.phase});
    if let Some(ended) = &seen.ended {
        let results = ["done", "transient", "permanent", "refused"];
        let result = usize::try_from(ended.exit).ok().and_then(|exit| results.get(exit));
        let mut message = json!({
            "protocol": 1, "syncId": sync, "result": result, "message": "", "published": ended.exit == 0,
        });
        super::lay_over(&mut message, &if ended.says.is_null() { json!({}) } else { ended.says.clone() });
        let message = if result.is_some() { message.to_string() } else { String::new() };
        let terminated = json!({"exitCode": ended.exit, "message": message, "finishedAt": now.0});
        status["containerStatuses"] = json!([{
            "name": CONTAINER, "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": terminated},
        }]);
    }
    let mut pod: Pod = yaml("{metadata: {}}");
    pod.metadata = meta(owner, seen, now);
    pod.status = Some(serde_json::from_value(status).unwrap());
    pod
}
